//! What a pod says of the run of a replica.

use super::names::MAIN;
use crate::kubernetes::{ContainerCondition, PodPhase, PodState, Termination};
use crate::{Exit, Health, HealthStatus};

/// How far the container of a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Not started yet; why, where that is told.
    Waits(Option<String>),
    Runs,
    /// Ended, or cannot be started; the node starts it again by itself.
    Ended(Exit),
}

/// What becomes of the container, and how often it was started again.
pub(super) fn life(pod: &PodState) -> (Life, u32) {
    let Some(main) = main_container(pod) else {
        return (Life::Waits(pod.unschedulable.clone().map(|why| format!("no node takes it: {why}"))), 0);
    };
    if main.running_since.is_some() {
        return (Life::Runs, main.restarts);
    }
    let ended = main.last_end.as_ref().map(exit_of);
    let life = match (&main.waiting, ended) {
        (Some(waiting), None) if is_stuck(&waiting.reason) => {
            Life::Ended(Exit::NotStarted(advised(&waiting.reason, &waiting.message)))
        }
        (Some(waiting), None) => Life::Waits(Some(waiting.message.clone()).filter(|text| !text.is_empty())),
        (_, Some(exit)) => Life::Ended(exit),
        (None, None) => Life::Waits(None),
    };
    (life, main.restarts)
}

fn main_container(pod: &PodState) -> Option<&ContainerCondition> {
    pod.containers.iter().find(|one| !one.init && one.name == MAIN)
}

/// Whether a pod is over as a whole: evicted, or ended by its node.
pub(super) fn is_over(pod: &PodState) -> bool {
    matches!(pod.phase, PodPhase::Failed | PodPhase::Succeeded)
}

/// How the last run in a pod that is gone or over ended, as far as that was seen.
pub(super) fn last_exit(pod: &PodState) -> Exit {
    let main = main_container(pod);
    match (main, &pod.failure) {
        (Some(main), _) if main.running_since.is_none() && main.last_end.is_some() => {
            main.last_end.as_ref().map_or(Exit::Unknown, exit_of)
        }
        (None, Some((reason, message))) => Exit::NotStarted(format!("{reason}: {message}")),
        _ => Exit::Unknown,
    }
}

fn exit_of(end: &Termination) -> Exit {
    if end.is_out_of_memory() {
        return Exit::OutOfMemory;
    }
    if matches!(end.reason.as_str(), "StartError" | "ContainerCannotRun") {
        return Exit::NotStarted(advised(&end.reason, &end.message));
    }
    match end.exit_code - 128 {
        signal @ 1..=64 => Exit::Signal(signal),
        _ => Exit::Code(end.exit_code),
    }
}

/// Reasons that do not pass by themselves, or not soon.
fn is_stuck(reason: &str) -> bool {
    !matches!(reason, "ContainerCreating" | "PodInitializing" | "")
}

/// What a node says, and what to do.
fn advised(reason: &str, message: &str) -> String {
    let advice = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ImageInspectError" => {
            "; check the reference of the image, and whether the nodes may fetch it (registry, pull secrets)"
        }
        "ErrImageNeverPull" => "; load the image on the nodes, or let them fetch it (pull policy)",
        "CreateContainerConfigError" => "; check the secrets and paths that are declared",
        "StartError" | "ContainerCannotRun" | "RunContainerError" => {
            "; check the program, and whether the image has it"
        }
        _ => "",
    };
    let between = if message.is_empty() { "" } else { ": " };
    format!("{reason}{between}{message}{advice}")
}

/// What the node's probes say, or what a start waits for.
pub(super) fn health(pod: Option<&PodState>, probed: bool, waiting: Option<&String>) -> Option<Health> {
    let told = |status, output: &str| {
        let since = pod.and_then(|pod| pod.ready_since);
        Some(Health { status, failures: 0, output: output.chars().take(512).collect(), since })
    };
    let waits = match pod.map(life) {
        Some((Life::Waits(why), _)) => why.or_else(|| waiting.cloned()),
        None => waiting.cloned(),
        Some(_) => None,
    };
    if let Some(why) = waits {
        return told(HealthStatus::Starting, &why);
    }
    let pod = pod.filter(|_| probed)?;
    if pod.ready {
        told(HealthStatus::Healthy, "")
    } else if pod.ready_since.is_some_and(|at| pod.started_at.is_some_and(|start| at > start)) {
        told(HealthStatus::Unhealthy, waiting.map_or("", String::as_str))
    } else {
        told(HealthStatus::Starting, waiting.map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> PodState {
        let pod = json!({"metadata": {"name": "a"}, "status": {"containerStatuses": [status]}});
        PodState::read(&serde_json::from_value(pod).unwrap())
    }

    fn container(state: serde_json::Value, last: serde_json::Value, restarts: u32) -> PodState {
        pod(json!({"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last}))
    }

    #[test]
    fn a_crash_loop_is_an_end_until_the_node_starts_it_again() {
        let end = json!({"terminated": {"exitCode": 7, "reason": "Error"}});
        let ended = container(end.clone(), json!({}), 0);
        assert_eq!(life(&ended), (Life::Ended(Exit::Code(7)), 0));
        let waits = container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), end.clone(), 1);
        assert_eq!(life(&waits), (Life::Ended(Exit::Code(7)), 1));
        let again = container(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}), end, 1);
        assert_eq!(life(&again), (Life::Runs, 1));
        let eaten = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(life(&container(eaten, json!({}), 0)).0, Life::Ended(Exit::OutOfMemory));
        let killed = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        assert_eq!(life(&container(killed, json!({}), 0)).0, Life::Ended(Exit::Signal(9)));
    }

    #[test]
    fn what_cannot_start_says_why_and_what_to_do() {
        let missing = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "no image x"}});
        let (Life::Ended(Exit::NotStarted(why)), _) = life(&container(missing, json!({}), 0)) else {
            panic!("not told")
        };
        assert!(why.contains("no image x") && why.contains("load the image"), "{why}");
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(life(&container(creating, json!({}), 0)).0, Life::Waits(None));
    }
}
