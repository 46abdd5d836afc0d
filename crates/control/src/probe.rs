//! Probe timing and thresholds, with the meaning they have in Kubernetes.
//!
//! Start-up holds back the other two until it succeeded once. Readiness begins at "not ready", liveness at "alive".
//! A verdict changes after `success_threshold` or `failure_threshold` equal results in a row.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Probes;

/// Timing and thresholds of one probe, all on wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// From the start of the replica to the first attempt.
    pub initial_delay: SignedDuration,
    /// From the start of one attempt to the start of the next.
    pub period: SignedDuration,
    /// After which an attempt counts as failed.
    pub timeout: SignedDuration,
    /// Successes in a row until the verdict is good; at least 1, exactly 1 for start-up and liveness.
    pub success_threshold: u32,
    /// Failures in a row until the verdict is bad; at least 1.
    pub failure_threshold: u32,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self {
            initial_delay: SignedDuration::ZERO,
            period: SignedDuration::from_secs(10),
            timeout: SignedDuration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Has it started?
    Startup,
    /// May it be used?
    Readiness,
    /// Is it alive?
    Liveness,
}

impl std::fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        })
    }
}

/// A probe to run now. Tell [`ProbeRecord::begin`] first, then [`ProbeRecord::record`] its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeDue {
    /// The service.
    pub service: String,
    /// The replica, or `None` for an external service.
    pub replica: Option<String>,
    /// Which probe.
    pub kind: ProbeKind,
    /// After which the attempt counts as failed.
    pub timeout: SignedDuration,
}

/// Results of one probe during one run of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// An attempt that has begun and not ended.
    pub in_flight: Option<Timestamp>,
    /// Start of the last attempt.
    pub last_at: Option<Timestamp>,
    /// Successes in a row.
    pub successes: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The verdict; `None` until a threshold is first reached.
    pub verdict: Option<bool>,
    /// What the last attempt said.
    pub message: String,
    /// Start of the attempt that last changed the verdict; `None` where that is not known.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
    /// Whether the verdict was ever good.
    #[serde(default)]
    pub was_good: bool,
}

impl ProbeRecord {
    /// An attempt begins.
    pub fn begin(&mut self, at: Timestamp) {
        self.in_flight = Some(at);
        self.last_at = Some(at);
    }

    /// An attempt has ended.
    pub fn record(&mut self, spec: &ProbeSpec, success: bool, message: &str) {
        self.in_flight = None;
        message.clone_into(&mut self.message);
        if success {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
            if self.successes >= spec.success_threshold {
                self.decide(true);
            }
        } else {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
            if self.failures >= spec.failure_threshold {
                self.decide(false);
            }
        }
    }

    fn decide(&mut self, verdict: bool) {
        if self.verdict != Some(verdict) {
            self.changed_at = self.last_at;
        }
        self.verdict = Some(verdict);
        self.was_good |= verdict;
    }

    /// When the next attempt is due. An attempt whose result never came is repeated one period after its time-out.
    pub(crate) fn due_at(&self, spec: &ProbeSpec, started_at: Timestamp) -> Timestamp {
        let first = later(started_at, spec.initial_delay);
        let next = self.last_at.map_or(first, |last| later(last, spec.period));
        let lost = self.in_flight.map_or(first, |since| later(later(since, spec.timeout), spec.period));
        first.max(next).max(lost)
    }
}

/// The three probes of one replica, and what whoever runs it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaProbes {
    /// Start-up results.
    pub startup: ProbeRecord,
    /// Readiness results.
    pub readiness: ProbeRecord,
    /// Liveness results.
    pub liveness: ProbeRecord,
    /// What whoever runs the replica has found out by itself, such as the node of a cluster or the health check of an image.
    /// Its verdict counts beside those of the probes; it restarts what is not alive by itself.
    #[serde(default)]
    pub reported: Option<ProbeRecord>,
}

impl ReplicaProbes {
    /// The record of `kind`.
    pub fn get_mut(&mut self, kind: ProbeKind) -> &mut ProbeRecord {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        }
    }

    /// Whether the start-up probe has let the replica through.
    #[must_use]
    pub fn started(&self, probes: &Probes) -> bool {
        probes.startup.is_none() || self.startup.verdict == Some(true)
    }

    /// Whether the replica may be used.
    #[must_use]
    pub fn ready(&self, probes: &Probes) -> bool {
        self.started(probes)
            && (probes.readiness.is_none() || self.readiness.verdict == Some(true))
            && self.reported.as_ref().is_none_or(|record| record.verdict == Some(true))
    }

    /// Since when it may be used, given that it may.
    pub(crate) fn ready_since(&self, probes: &Probes, started_at: Timestamp) -> Timestamp {
        let asked = [(probes.startup, &self.startup), (probes.readiness, &self.readiness)];
        let since = asked
            .into_iter()
            .filter(|(probe, _)| probe.is_some())
            .map(|(_, record)| record)
            .chain(&self.reported)
            .filter_map(|record| record.changed_at);
        since.fold(started_at, Ord::max)
    }

    /// Whether a probe has said that it may not be used; without a verdict that is not known.
    pub(crate) fn known_unready(&self, probes: &Probes) -> bool {
        let says_no =
            |probe: Option<ProbeSpec>, record: &ProbeRecord| probe.is_some() && record.verdict == Some(false);
        says_no(probes.startup, &self.startup)
            || says_no(probes.readiness, &self.readiness)
            || self.reported_unready().is_some()
    }

    /// What a start waits for, where whoever runs the replica says so.
    pub(crate) fn reported_waiting(&self) -> Option<&str> {
        let record = self.reported.as_ref().filter(|record| record.verdict.is_none())?;
        Some(record.message.as_str()).filter(|message| !message.is_empty())
    }

    /// What whoever runs the replica says, where it says that it may not be used.
    pub(crate) fn reported_unready(&self) -> Option<&ProbeRecord> {
        self.reported.as_ref().filter(|record| record.verdict == Some(false))
    }

    /// Whether a probe that decides about readiness should have been asked long ago and never was: nobody watched.
    pub(crate) fn unwatched(&self, probes: &Probes, started_at: Timestamp, now: Timestamp) -> bool {
        let first = if self.started(probes) {
            (probes.readiness, &self.readiness)
        } else {
            (probes.startup, &self.startup)
        };
        let (Some(spec), record) = first else { return false };
        record.last_at.is_none() && later(record.due_at(&spec, started_at), spec.period) < now
    }

    /// The probe, if any, whose failure asks for a restart, with its last message.
    pub(crate) fn failed(&self, probes: &Probes) -> Option<(ProbeKind, &ProbeRecord)> {
        if !self.started(probes) {
            return (self.startup.verdict == Some(false)).then_some((ProbeKind::Startup, &self.startup));
        }
        let dead = probes.liveness.is_some() && self.liveness.verdict == Some(false);
        dead.then_some((ProbeKind::Liveness, &self.liveness))
    }

    /// The probes that take part at present, with when each is next due.
    pub(crate) fn schedule(
        &self,
        probes: &Probes,
        started_at: Timestamp,
    ) -> Vec<(ProbeKind, ProbeSpec, Timestamp)> {
        let candidates: &[_] = if self.started(probes) {
            &[
                (ProbeKind::Readiness, probes.readiness, &self.readiness),
                (ProbeKind::Liveness, probes.liveness, &self.liveness),
            ]
        } else {
            &[(ProbeKind::Startup, probes.startup, &self.startup)]
        };
        let due = |&(kind, spec, record): &(ProbeKind, Option<ProbeSpec>, &ProbeRecord)| {
            spec.map(|spec| (kind, spec, record.due_at(&spec, started_at)))
        };
        candidates.iter().filter_map(due).collect()
    }
}

/// `time + duration`, at the end of representable time where it lies beyond.
pub(crate) fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(success_threshold: u32, failure_threshold: u32) -> ProbeSpec {
        ProbeSpec { success_threshold, failure_threshold, ..ProbeSpec::default() }
    }

    #[test]
    fn a_verdict_changes_only_after_its_threshold_of_equal_results() {
        let (spec, mut record) = (spec(2, 3), ProbeRecord::default());
        let mut verdicts = vec![];
        for success in [true, false, true, true, false, false, true, false, false, false] {
            record.record(&spec, success, "");
            verdicts.push(record.verdict);
        }
        let (good, bad) = (Some(true), Some(false));
        assert_eq!(verdicts, [None, None, None, good, good, good, good, good, good, bad]);
    }

    #[test]
    fn what_is_reported_counts_beside_the_probes() {
        let mut replica = ReplicaProbes::default();
        assert!(replica.ready(&Probes::default()), "without a probe and a report it is ready once it runs");
        replica.reported = Some(ProbeRecord::default());
        assert!(!replica.ready(&Probes::default()) && !replica.known_unready(&Probes::default()));
        let record = replica.reported.insert(ProbeRecord { verdict: Some(true), ..ProbeRecord::default() });
        record.changed_at = Some(Timestamp::from_second(5).unwrap());
        assert!(replica.ready(&Probes::default()));
        assert_eq!(replica.ready_since(&Probes::default(), Timestamp::UNIX_EPOCH).as_second(), 5);
        replica.reported = Some(ProbeRecord { verdict: Some(false), ..ProbeRecord::default() });
        assert!(replica.known_unready(&Probes::default()) && replica.failed(&Probes::default()).is_none());
    }

    #[test]
    fn start_up_gates_the_other_probes_and_then_rests() {
        let probes =
            Probes { startup: Some(spec(1, 30)), readiness: Some(spec(1, 3)), liveness: Some(spec(1, 3)) };
        let mut replica = ReplicaProbes::default();
        let kinds = |r: &ReplicaProbes| {
            r.schedule(&probes, Timestamp::UNIX_EPOCH).iter().map(|p| p.0).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&replica), [ProbeKind::Startup]);
        replica.startup.record(&spec(1, 30), true, "");
        assert_eq!(kinds(&replica), [ProbeKind::Readiness, ProbeKind::Liveness]);
        assert!(!replica.ready(&probes), "readiness begins at not ready");
        assert_eq!(replica.failed(&probes), None, "liveness begins at alive");
    }

    #[test]
    fn attempts_start_after_the_delay_and_one_period_apart() {
        let spec = ProbeSpec { initial_delay: SignedDuration::from_secs(7), ..ProbeSpec::default() };
        let (start, mut record) = (Timestamp::UNIX_EPOCH, ProbeRecord::default());
        assert_eq!(record.due_at(&spec, start).as_second(), 7);
        record.begin(later(start, SignedDuration::from_secs(8)));
        assert_eq!(record.due_at(&spec, start).as_second(), 19, "a lost attempt: 8 + time-out 1 + period 10");
        record.record(&spec, true, "");
        assert_eq!(record.due_at(&spec, start).as_second(), 18);
    }
}
