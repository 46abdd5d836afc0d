//! Workloads of clusters that somebody else deployed: each is watched by a task of its own, its pods are shown as replicas,
//! and its number is recommended or set. Nothing of it is ever applied.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sos_control::{Condition, ServicePhase, ServiceStatus, Truth};
use sos_model::{Attach, AttachMode, ServiceSpec, WorkloadKind};
use sos_runtime::kubernetes::{self as cluster, Attached, AttachedState, KubernetesError, WorkloadRef};
use sos_runtime::{self as runtime, HealthStatus, Phase, ReplicaState};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::namespace::Namespace;
use super::{Known, is_live};
use crate::clock::wall_now;

/// How often a workload is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a cluster that does not answer is left alone, at first and at the most.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// How long a number that was refused is not tried again.
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// How often what pods use is told when nothing else changes.
const TELL_USAGE: SignedDuration = SignedDuration::from_secs(5);

/// What a service is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    namespace: Namespace,
    workload: WorkloadRef,
}

/// All workloads that are watched.
#[derive(Debug)]
pub(super) struct Workloads {
    tasks: BTreeMap<String, Task>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
}

#[derive(Debug)]
struct Task {
    target: Target,
    /// The number of replicas that it is to have.
    wanted: watch::Sender<Option<u32>>,
    handle: JoinHandle<()>,
    seen: Option<AttachedState>,
    /// Why it cannot be looked at.
    away: Option<String>,
    /// How setting the number went last.
    scaled: Option<Result<u32, String>>,
}

/// What a task tells.
#[derive(Debug)]
pub(super) struct Report {
    service: String,
    /// Tells reports of an earlier target apart.
    target: Target,
    news: News,
}

#[derive(Debug)]
enum News {
    Seen(AttachedState),
    Away(String),
    Scaled(Result<u32, String>),
}

impl Default for Workloads {
    fn default() -> Self {
        Self { tasks: BTreeMap::new(), reports: mpsc::channel(64) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// How a service is attached to a workload, if it is.
pub(super) fn attach(spec: &ServiceSpec) -> Option<&Attach> {
    spec.kubernetes.as_ref()?.attach.as_ref()
}

/// Whether its number is set, and not only recommended.
pub(super) fn is_scaled(spec: &ServiceSpec) -> bool {
    attach(spec).is_some_and(|attach| attach.mode == AttachMode::Scale)
}

impl Workloads {
    /// Watches the workloads of these services, and no others.
    pub(super) fn keep(&mut self, known: &BTreeMap<String, Known>) {
        let targets: BTreeMap<&String, Target> =
            known.iter().filter_map(|(name, known)| Some((name, target(&known.spec)?))).collect();
        self.tasks.retain(|name, task| targets.get(name) == Some(&task.target));
        for (name, target) in targets {
            if self.tasks.contains_key(name) {
                continue;
            }
            let (wanted, orders) = watch::channel(None);
            let work = follow(name.clone(), target.clone(), orders, self.reports.0.clone());
            let handle = tokio::spawn(work);
            let task = Task { target, wanted, handle, seen: None, away: None, scaled: None };
            self.tasks.insert(name.clone(), task);
        }
    }

    /// The next thing that is told.
    pub(super) async fn next(&mut self) -> Option<Report> {
        self.reports.1.recv().await
    }

    /// What has been told meanwhile.
    pub(super) fn told(&mut self) -> Vec<Report> {
        std::iter::from_fn(|| self.reports.1.try_recv().ok()).collect()
    }

    /// Takes in what a task tells.
    pub(super) fn note(&mut self, report: Report) {
        let Some(task) = self.tasks.get_mut(&report.service) else { return };
        if task.target != report.target {
            return;
        }
        match report.news {
            News::Seen(state) => {
                task.seen = Some(state);
                task.away = None;
            }
            News::Away(why) => task.away = Some(why),
            News::Scaled(result) => task.scaled = Some(result),
        }
    }

    /// The pods of all workloads, as replicas.
    pub(super) fn states(&self) -> Vec<ReplicaState> {
        let seen = self.tasks.values().filter_map(|task| task.seen.as_ref());
        seen.flat_map(|state| state.replicas.iter().cloned()).collect()
    }

    /// How many replicas a workload is declared with in its cluster, as far as that is known.
    pub(super) fn declared(&self, service: &str) -> Option<u32> {
        let task = self.tasks.get(service)?;
        task.seen.as_ref().filter(|_| task.away.is_none()).map(|state| state.declared)
    }

    /// Whether setting the number was refused when it was last tried.
    pub(super) fn is_refused(&self, service: &str) -> bool {
        self.tasks.get(service).is_some_and(|task| matches!(task.scaled, Some(Err(_))))
    }

    /// Sets how many it is to have.
    pub(super) fn order(&self, service: &str, replicas: Option<u32>) {
        if let Some(task) = self.tasks.get(service) {
            task.wanted.send_if_modified(|wanted| std::mem::replace(wanted, replicas) != replicas);
        }
    }

    /// What is known of one.
    pub(super) fn status(&self, service: &str, generation: u64) -> Option<ServiceStatus> {
        let task = self.tasks.get(service)?;
        Some(status(task, generation))
    }
}

fn target(spec: &ServiceSpec) -> Option<Target> {
    let attach = attach(spec)?;
    let namespace = Namespace::of(spec);
    let kind = match attach.kind {
        WorkloadKind::Deployment => cluster::WorkloadKind::Deployment,
        WorkloadKind::StatefulSet => cluster::WorkloadKind::StatefulSet,
        WorkloadKind::DaemonSet => cluster::WorkloadKind::DaemonSet,
    };
    let workload = WorkloadRef { kind, namespace: namespace.name.clone(), name: attach.name.clone() };
    Some(Target { namespace, workload })
}

/// The task of one workload: connects, looks and scales until it is dropped.
async fn follow(
    service: String,
    target: Target,
    mut wanted: watch::Receiver<Option<u32>>,
    reports: mpsc::Sender<Report>,
) {
    let mut pause = AGAIN;
    loop {
        let tell = |news| reports.send(Report { service: service.clone(), target: target.clone(), news });
        let source = target.namespace.source();
        let error = match Attached::connect(&source, &target.workload, wall_now()).await {
            Ok(mut attached) => {
                pause = AGAIN;
                let Err(error) = watch_one(&service, &mut attached, &mut wanted, &tell).await else { return };
                error
            }
            Err(error) => error,
        };
        if tell(News::Away(told(&error))).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_AT_MOST);
    }
}

/// Looks and scales as long as the cluster answers; ends without an error when nobody listens any more.
async fn watch_one<F, S>(
    service: &str,
    attached: &mut Attached,
    wanted: &mut watch::Receiver<Option<u32>>,
    tell: &F,
) -> Result<(), KubernetesError>
where
    F: Fn(News) -> S,
    S: Future<Output = Result<(), mpsc::error::SendError<Report>>>,
{
    let mut last: Option<AttachedState> = None;
    let mut at = Timestamp::MIN;
    // What was refused, and when: who decides seldom changes, so it is not asked for again and again.
    let mut refused: Option<(u32, Timestamp)> = None;
    loop {
        let now = wall_now();
        let state = attached.look(service, now).await?;
        let usage_due = now.duration_since(at) >= TELL_USAGE;
        if last.as_ref().is_none_or(|last| differs(last, &state, usage_due)) {
            (last, at) = (Some(state.clone()), now);
            if tell(News::Seen(state.clone())).await.is_err() {
                return Ok(());
            }
        }
        let held = |wanted: u32| {
            refused.is_some_and(|(number, since)| number == wanted && now.duration_since(since) < TRY_AGAIN)
        };
        let order = *wanted.borrow_and_update();
        if let Some(replicas) = order.filter(|replicas| *replicas != state.declared && !held(*replicas)) {
            let scaled = match attached.scale(replicas).await {
                Ok(scaled) => Ok(scaled.to),
                Err(error) if is_away(&error) => return Err(error),
                Err(error) => Err(told(&error)),
            };
            refused = scaled.is_err().then_some((replicas, now));
            if tell(News::Scaled(scaled)).await.is_err() {
                return Ok(());
            }
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK, wanted.changed()).await {
            return Ok(());
        }
    }
}

fn is_away(error: &KubernetesError) -> bool {
    matches!(error, KubernetesError::Unreachable { .. } | KubernetesError::TimedOut { .. })
}

fn told(error: &KubernetesError) -> String {
    format!("{error}; {}", error.advice())
}

/// Whether there is news; what pods use is some only now and then.
fn differs(last: &AttachedState, state: &AttachedState, usage_counts: bool) -> bool {
    if usage_counts {
        return last != state;
    }
    last.declared != state.declared || !runtime::same_but_usage(&last.replicas, &state.replicas)
}

fn is_ready(state: &ReplicaState) -> bool {
    state.phase == Phase::Running
        && state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy)
}

fn status(task: &Task, generation: u64) -> ServiceStatus {
    let pods = task.seen.as_ref().map_or(&[][..], |state| state.replicas.as_slice());
    let declared = task.seen.as_ref().map_or(0, |state| state.declared);
    let ready_replicas: Vec<String> =
        pods.iter().filter(|pod| is_ready(pod)).map(|pod| pod.deployment.replica.clone()).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let ready = count(ready_replicas.len());
    let phase = match (&task.seen, ready >= declared, ready) {
        (None, ..) => ServicePhase::Waiting,
        (Some(_), true, 0) => ServicePhase::Stopped,
        (Some(_), true, _) => ServicePhase::Running,
        (Some(_), false, 0) => ServicePhase::Starting,
        (Some(_), false, _) => ServicePhase::Degraded,
    };
    ServiceStatus {
        phase,
        ready,
        ready_replicas,
        live: count(pods.iter().filter(|pod| is_live(&pod.phase)).count()),
        replicas: declared,
        observed_generation: generation,
        restarts: count(pods.iter().map(|pod| pod.past_runs.len()).sum()),
        conditions: conditions(task, ready, declared),
    }
}

fn conditions(task: &Task, ready: u32, declared: u32) -> Vec<Condition> {
    let mut conditions = Vec::new();
    match &task.scaled {
        Some(Ok(replicas)) => {
            let message = format!("it was set to {replicas} replicas");
            conditions.push(Condition::new("AbleToScale", Truth::True, "Scaled", message));
        }
        Some(Err(why)) => {
            conditions.push(Condition::new("AbleToScale", Truth::False, "Refused", why.as_str()));
        }
        None => {}
    }
    conditions.push(match &task.away {
        None => Condition::new("Healthy", Truth::True, "NoFailure", ""),
        Some(why) => Condition::new("Healthy", Truth::False, "RuntimeAway", why.as_str()),
    });
    let known = task.seen.is_some() && task.away.is_none();
    let truth = if known { Truth::from(ready > 0 && ready >= declared) } else { Truth::Unknown };
    let message = format!("{ready} of {declared} replicas are ready");
    conditions.push(Condition::new("Ready", truth, if known { "Counted" } else { "NotKnown" }, message));
    conditions
}
