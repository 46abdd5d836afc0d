//! Pods as a metric sees them: which count, which are not ready yet, and of which a sample is missing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::HpaError;
use crate::Truth;

/// The resource whose samples are believed only once a pod is ready.
const CPU: &str = "cpu";

/// The phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted, not running yet.
    Pending,
    /// Its containers run.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
    /// Not known.
    Unknown,
}

/// The `Ready` condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyCondition {
    /// Whether it is ready.
    pub status: Truth,
    /// Since when it is, or is not.
    pub since: Timestamp,
}

/// What one container reserves, in thousandths by resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRequests {
    /// Name of the container.
    pub name: String,
    /// Request in thousandths by resource (`cpu`, `memory`, …).
    pub requests: BTreeMap<String, i64>,
}

/// One pod, or replica, that the target selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodView {
    /// Its name; samples name it too.
    pub name: String,
    /// Its phase.
    pub phase: PodPhase,
    /// Whether its deletion was asked for.
    pub deleted: bool,
    /// When it began to run; nothing before that.
    pub started_at: Option<Timestamp>,
    /// Its readiness; nothing while it is not known.
    pub ready: Option<ReadyCondition>,
    /// What its containers reserve, containers that start with it and stay included.
    pub containers: Vec<ContainerRequests>,
    /// What the pod as a whole reserves, where it says so; goes before its containers.
    pub pod_requests: Option<BTreeMap<String, i64>>,
}

impl PodView {
    fn is_ignored(&self) -> bool {
        self.deleted || self.phase == PodPhase::Failed
    }

    /// Whether it runs and is ready, which is what `Value` targets count.
    pub(super) fn is_ready(&self) -> bool {
        self.phase == PodPhase::Running && self.ready.is_some_and(|ready| ready.status == Truth::True)
    }

    /// What it reserves of `resource`, thousandths: of one container, or of all of it.
    fn request(&self, resource: &str, container: Option<&str>) -> Result<i64, HpaError> {
        let missing = |of: &str| HpaError::MissingRequest {
            resource: resource.into(),
            container: of.into(),
            pod: self.name.clone(),
        };
        if let Some(name) = container {
            let found = self.containers.iter().find(|one| one.name == name).ok_or_else(|| {
                HpaError::UnknownContainer { container: name.into(), pod: self.name.clone() }
            })?;
            return found.requests.get(resource).copied().ok_or_else(|| missing(name));
        }
        if let Some(requests) = &self.pod_requests {
            return requests.get(resource).copied().ok_or_else(|| missing(""));
        }
        self.containers.iter().try_fold(0_i64, |sum, one| {
            let request = one.requests.get(resource).ok_or_else(|| missing(&one.name))?;
            Ok(sum.saturating_add(*request))
        })
    }
}

/// One measured value of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Value in thousandths.
    pub value: i64,
    /// When it was taken.
    pub at: Timestamp,
    /// Time that it covers, ending at `at`.
    pub window: SignedDuration,
}

/// Periods that decide whether a CPU sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessPeriods {
    /// How long after its start a pod's CPU samples count only when it is ready and they were taken since. Default 5 min.
    pub cpu_initialization: SignedDuration,
    /// A pod that became unready within this time of its start was never ready. Default 30 s.
    pub initial_delay: SignedDuration,
}

impl Default for ReadinessPeriods {
    fn default() -> Self {
        Self {
            cpu_initialization: SignedDuration::from_mins(5),
            initial_delay: SignedDuration::from_secs(30),
        }
    }
}

/// Some pods and what they reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodShare {
    /// How many.
    pub pods: i64,
    /// What they reserve, thousandths; 0 where the target is no utilisation.
    pub requests: i64,
}

impl PodShare {
    fn add(&mut self, request: i64) {
        self.pods += 1;
        self.requests = self.requests.saturating_add(request);
    }
}

/// What a metric says about all pods, summed up. Values in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTotals {
    /// Pods whose sample counts.
    pub ready: i64,
    /// Samples that count, those of pods nobody knows included.
    pub samples: i64,
    /// Samples with a known request; of a target without utilisation all of them.
    pub matched: i64,
    /// Sum of the matched samples.
    pub usage: i64,
    /// Sum of the requests of the matched samples.
    pub requests: i64,
    /// Pods that are not ready yet.
    pub unready: PodShare,
    /// Pods without a sample.
    pub missing: PodShare,
    /// What the pods without a sample count as when the others are below the target.
    pub missing_fallback: i64,
}

/// The pods in groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups<'a> {
    pub(super) ready: BTreeSet<&'a str>,
    pub(super) unready: BTreeSet<&'a str>,
    pub(super) missing: BTreeSet<&'a str>,
    pub(super) ignored: BTreeSet<&'a str>,
}

/// Puts every pod in its group. `resource` is empty for a metric that is no resource.
pub(super) fn group<'a>(
    pods: &'a [PodView],
    samples: &BTreeMap<String, Sample>,
    resource: &str,
    periods: &ReadinessPeriods,
    now: Timestamp,
) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in pods {
        let set = if pod.is_ignored() {
            &mut groups.ignored
        } else if pod.phase == PodPhase::Pending {
            &mut groups.unready
        } else {
            match samples.get(&pod.name) {
                None => &mut groups.missing,
                Some(sample) if resource == CPU && too_early(pod, sample, periods, now) => {
                    &mut groups.unready
                }
                Some(_) => &mut groups.ready,
            }
        };
        set.insert(pod.name.as_str());
    }
    groups
}

/// Whether the CPU sample of a pod speaks of its start rather than of its load.
fn too_early(pod: &PodView, sample: &Sample, periods: &ReadinessPeriods, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod.ready, pod.started_at) else { return true };
    let unready = ready.status == Truth::False;
    if now.duration_since(start) < periods.cpu_initialization {
        // Whole windows only: one that began before the pod was ready holds its start as well.
        unready || sample.at.duration_since(ready.since) < sample.window
    } else {
        unready && ready.since.duration_since(start) < periods.initial_delay
    }
}

/// Sums up the samples of `pods`. With `utilization`, the percentage that is the target, requests are summed as well.
///
/// # Errors
/// When there are no pods or no samples, and with `utilization` when a pod does not say what it reserves.
pub(super) fn totals(
    pods: &[PodView],
    samples: &BTreeMap<String, Sample>,
    resource: &str,
    container: Option<&str>,
    utilization: Option<i32>,
    periods: &ReadinessPeriods,
    now: Timestamp,
) -> Result<PodTotals, HpaError> {
    if pods.is_empty() {
        return Err(HpaError::NoPods);
    }
    let groups = group(pods, samples, resource, periods, now);
    let counts = |name: &str| !groups.ignored.contains(name) && !groups.unready.contains(name);
    if !samples.keys().any(|name| counts(name)) {
        return Err(HpaError::NoReadySamples);
    }
    let mut requests = BTreeMap::new();
    if utilization.is_some() {
        for pod in pods {
            requests.insert(pod.name.as_str(), pod.request(resource, container)?);
        }
    }
    let request_of = |name: &str| requests.get(name).copied();
    let mut sum = PodTotals { ready: groups.ready.len() as i64, ..PodTotals::default() };
    for (name, sample) in samples.iter().filter(|(name, _)| counts(name)) {
        sum.samples += 1;
        let request = request_of(name);
        if utilization.is_none() || request.is_some() {
            sum.matched += 1;
            sum.usage = sum.usage.saturating_add(sample.value);
            sum.requests = sum.requests.saturating_add(request.unwrap_or(0));
        }
    }
    for name in &groups.unready {
        sum.unready.add(request_of(name).unwrap_or(0));
    }
    let percent = i128::from(utilization.unwrap_or(0).max(100));
    for name in &groups.missing {
        let request = request_of(name).unwrap_or(0);
        sum.missing.add(request);
        let fallback = i128::from(request) * percent / 100;
        sum.missing_fallback =
            sum.missing_fallback.saturating_add(i64::try_from(fallback).unwrap_or(i64::MAX));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(age: i64) -> Timestamp {
        Timestamp::from_second(NOW - age).unwrap()
    }

    fn pod(started: i64, ready: bool, since: i64) -> PodView {
        PodView {
            name: "p".into(),
            phase: PodPhase::Running,
            deleted: false,
            started_at: Some(at(started)),
            ready: Some(ReadyCondition { status: ready.into(), since: at(since) }),
            containers: Vec::new(),
            pod_requests: None,
        }
    }

    /// `R`eady, `U`nready, `M`issing or `I`gnored. Periods: 2 min and 10 s.
    fn letter(pod: &PodView, sample: Option<(i64, i64)>, resource: &str) -> char {
        let samples = sample.map(|(age, window)| {
            ("p".to_owned(), Sample { value: 1, at: at(age), window: SignedDuration::from_secs(window) })
        });
        let periods = ReadinessPeriods {
            cpu_initialization: SignedDuration::from_mins(2),
            initial_delay: SignedDuration::from_secs(10),
        };
        let pods = std::slice::from_ref(pod);
        let groups = group(pods, &samples.into_iter().collect(), resource, &periods, at(0));
        let sets = [(groups.ready, 'R'), (groups.unready, 'U'), (groups.missing, 'M'), (groups.ignored, 'I')];
        sets.iter().find(|(set, _)| set.contains("p")).unwrap().1
    }

    #[test]
    fn a_cpu_sample_counts_once_it_was_taken_as_a_whole_while_the_pod_was_ready() {
        assert_eq!(letter(&pod(60, true, 30), Some((0, 30)), "cpu"), 'R');
        assert_eq!(letter(&pod(60, true, 30), Some((0, 60)), "cpu"), 'U');
        assert_eq!(letter(&pod(60, false, 30), Some((0, 30)), "cpu"), 'U');
        assert_eq!(letter(&pod(60, false, 30), Some((0, 30)), "memory"), 'R');
    }

    #[test]
    fn after_the_first_minutes_only_a_pod_that_was_never_ready_is_left_out() {
        assert_eq!(letter(&pod(180, true, 180), Some((120, 60)), "cpu"), 'R');
        assert_eq!(letter(&pod(600, false, 540), Some((0, 60)), "cpu"), 'R');
        assert_eq!(letter(&pod(600, false, 594), Some((0, 60)), "cpu"), 'U');
        assert_eq!(letter(&pod(600, false, 590), Some((0, 60)), "cpu"), 'R');
    }

    #[test]
    fn pods_without_a_sample_without_readiness_pending_or_gone_have_their_groups() {
        let cool = pod(600, true, 600);
        assert_eq!(letter(&cool, None, "cpu"), 'M');
        assert_eq!(letter(&PodView { ready: None, ..cool.clone() }, Some((0, 1)), "cpu"), 'U');
        assert_eq!(letter(&PodView { started_at: None, ..cool.clone() }, Some((0, 1)), "cpu"), 'U');
        assert_eq!(letter(&PodView { phase: PodPhase::Pending, ..cool.clone() }, None, ""), 'U');
        assert_eq!(letter(&PodView { phase: PodPhase::Failed, ..cool.clone() }, Some((0, 1)), "cpu"), 'I');
        assert_eq!(letter(&PodView { deleted: true, ..cool }, Some((0, 1)), "cpu"), 'I');
    }
}
