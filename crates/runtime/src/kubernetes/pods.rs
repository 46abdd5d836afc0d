//! Pods in plain states.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use serde::{Deserialize, Serialize};

use super::error::shortened;
use super::service::{count, timestamp};

/// Characters of a message that are kept.
const MAX_MESSAGE: usize = 500;

/// A pod as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its name, unique in the namespace at a time.
    pub name: String,
    /// The cluster's own id, unique for ever.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What controls it, as kind and name, such as a ReplicaSet.
    pub controller: Option<(String, String)>,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// Since when it is ready or not.
    pub ready_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When its node accepted it.
    pub started_at: Option<Timestamp>,
    /// When it was asked to end, if it was.
    pub deleted_at: Option<Timestamp>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// How often its containers were started again, all together.
    pub restarts: u32,
    /// Why it has no node: what the scheduler says.
    pub unschedulable: Option<String>,
    /// Why it was ended as a whole, such as `Evicted`, with the message.
    pub failure: Option<(String, String)>,
    /// Its containers, those that prepare it first.
    pub containers: Vec<ContainerCondition>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodPhase {
    /// Not all of its containers have been started.
    Pending,
    /// At least one runs, or is being started again.
    Running,
    /// All ended well.
    Succeeded,
    /// All ended, at least one with an error.
    Failed,
    /// Its node does not answer.
    Unknown,
}

/// A container of a pod as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCondition {
    /// Its name.
    pub name: String,
    /// Whether it prepares the pod or runs beside the others from before their start.
    pub init: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Since when it runs, while it does.
    pub running_since: Option<Timestamp>,
    /// Why it does not run yet, or not again.
    pub waiting: Option<Waiting>,
    /// How it ended last, where it ended.
    pub last_end: Option<Termination>,
}

/// Why a container waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In a word, such as `ImagePullBackOff`, `ErrImageNeverPull`, `CrashLoopBackOff`, `CreateContainerConfigError`.
    pub reason: String,
    /// In a sentence, at most 500 characters.
    pub message: String,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// In a word: `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, ….
    pub reason: String,
    /// Its exit code; 128 + n after signal n.
    pub exit_code: i32,
    /// When.
    pub ended_at: Option<Timestamp>,
    /// What it left as a message, at most 500 characters.
    pub message: String,
}

impl Termination {
    /// Whether it was killed at its memory limit.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.reason == "OOMKilled"
    }
}

impl PodState {
    /// The first container that waits for a reason that does not pass by itself: an image that cannot be had, a crash loop, a
    /// wrong configuration.
    #[must_use]
    pub fn stuck(&self) -> Option<(&str, &Waiting)> {
        let passes = |reason: &str| matches!(reason, "ContainerCreating" | "PodInitializing" | "");
        let waiting =
            self.containers.iter().filter_map(|one| Some((one.name.as_str(), one.waiting.as_ref()?)));
        waiting.into_iter().find(|(_, waiting)| !passes(&waiting.reason))
    }

    /// How a container of it ended last, the latest of all.
    #[must_use]
    pub fn last_end(&self) -> Option<(&str, &Termination)> {
        let ends = self.containers.iter().filter_map(|one| Some((one.name.as_str(), one.last_end.as_ref()?)));
        ends.max_by_key(|(_, end)| end.ended_at)
    }

    /// From the object of the cluster.
    pub(in crate::kubernetes) fn read(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let metadata = &pod.metadata;
        let condition =
            |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
        let ready = condition("Ready");
        let placed = condition("PodScheduled").filter(|condition| condition.status == "False");
        let failed = status.reason.clone().map(|reason| (reason, message(status.message.as_deref())));
        let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let before = status.init_container_statuses.iter().flatten().map(|one| container(one, true));
        let containers: Vec<_> = before
            .chain(status.container_statuses.iter().flatten().map(|one| container(one, false)))
            .collect();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            labels: metadata.labels.clone().unwrap_or_default(),
            controller: owner.map(|owner| (owner.kind.clone(), owner.name.clone())),
            phase: phase(status.phase.as_deref()),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_since: ready.and_then(|condition| timestamp(condition.last_transition_time.as_ref()?)),
            created_at: metadata.creation_timestamp.as_ref().and_then(timestamp),
            started_at: status.start_time.as_ref().and_then(timestamp),
            deleted_at: metadata.deletion_timestamp.as_ref().and_then(timestamp),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty()),
            address: status.pod_ip.clone().filter(|address| !address.is_empty()),
            restarts: containers.iter().fold(0, |sum: u32, one| sum.saturating_add(one.restarts)),
            unschedulable: placed.map(|condition| message(condition.message.as_deref())),
            failure: failed,
            containers,
        }
    }
}

fn phase(name: Option<&str>) -> PodPhase {
    match name {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some("Unknown") => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

fn container(status: &ContainerStatus, init: bool) -> ContainerCondition {
    let state = status.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let ended =
        |state: Option<&ContainerState>| state.and_then(|state| state.terminated.as_ref()).map(termination);
    ContainerCondition {
        name: status.name.clone(),
        init,
        ready: status.ready,
        restarts: count(Some(status.restart_count)),
        running_since: state.and_then(|state| timestamp(state.running.as_ref()?.started_at.as_ref()?)),
        waiting: waiting.map(|waiting| Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: message(waiting.message.as_deref()),
        }),
        last_end: ended(state).or_else(|| ended(status.last_state.as_ref())),
    }
}

fn termination(end: &ContainerStateTerminated) -> Termination {
    Termination {
        reason: end.reason.clone().unwrap_or_default(),
        exit_code: end.exit_code,
        ended_at: end.finished_at.as_ref().and_then(timestamp),
        message: message(end.message.as_deref()),
    }
}

fn message(text: Option<&str>) -> String {
    shortened(text.unwrap_or_default(), MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: serde_json::Value) -> PodState {
        PodState::read(&serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap())
    }

    #[test]
    fn a_container_killed_at_its_memory_limit_is_told_while_it_waits_to_be_started_again() {
        let state = read(json!({"phase": "Running", "containerStatuses": [{
            "name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-01T00:00:00Z"}}}]}));
        assert_eq!((state.phase, state.ready, state.restarts), (PodPhase::Running, false, 4));
        assert_eq!(
            state.stuck().map(|(name, waiting)| (name, waiting.reason.as_str())),
            Some(("web", "CrashLoopBackOff"))
        );
        let (_, end) = state.last_end().unwrap();
        assert!(end.is_out_of_memory() && end.exit_code == 137);
    }

    #[test]
    fn a_pod_that_finds_no_node_says_what_the_scheduler_says() {
        let state = read(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}]}));
        assert_eq!(state.unschedulable.as_deref(), Some("0/1 nodes: Insufficient cpu"));
        assert_eq!((state.stuck(), state.last_end(), state.node.as_deref()), (None, None, None));
    }

    #[test]
    fn a_pod_without_a_status_is_pending_and_one_being_made_is_not_stuck() {
        assert_eq!(PodState::read(&Pod::default()).phase, PodPhase::Pending);
        let state =
            read(json!({"containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]}));
        assert_eq!(state.stuck(), None);
    }
}
