//! What containers use, and what the health checks of their images say. Measured beside the looks: the daemon adds up
//! numbers of the kernel for each answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ContainerStatsResponse, Health as Reported, HealthStatusEnum};
use bollard::query_parameters::{InspectContainerOptions, StatsOptionsBuilder};
use futures::StreamExt;

use super::daemon::{Daemon, LOOK};
use crate::{Health, HealthStatus, Usage};

/// So many containers are measured at once.
const AT_ONCE: usize = 4;
/// Most bytes of the output of a health check that are kept.
const MAX_OUTPUT: usize = 512;

/// What was found of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) usage: Option<Usage>,
    pub(super) health: Option<Health>,
}

/// Measures containers, given with whether they have a health check.
pub(super) async fn measure(
    daemon: Arc<Daemon>,
    containers: Vec<(String, bool)>,
) -> BTreeMap<String, Measured> {
    let one = |(container, checked): (String, bool)| {
        let daemon = Arc::clone(&daemon);
        async move {
            let usage = usage(&daemon, &container).await;
            let health = if checked { health(&daemon, &container).await } else { None };
            (container, Measured { usage, health })
        }
    };
    futures::stream::iter(containers).map(one).buffer_unordered(AT_ONCE).collect().await
}

async fn usage(daemon: &Daemon, container: &str) -> Option<Usage> {
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let container = container.to_owned();
    let look =
        |docker: Docker| async move { docker.stats(&container, Some(options)).next().await.transpose() };
    used(&daemon.ask(LOOK, look).await.ok()??)
}

/// Resident memory as for processes, without what the kernel merely keeps of files.
fn used(stats: &ContainerStatsResponse) -> Option<Usage> {
    let cpu = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory = stats.memory_stats.as_ref()?;
    let detail = |key: &str| memory.stats.as_ref()?.get(key).copied();
    // Versions 1 and 2 of control groups.
    let memory_bytes = detail("total_rss").or_else(|| detail("anon")).or(memory.usage)?;
    Some(Usage { cpu_seconds: cpu as f64 / 1e9, memory_bytes, whole_group: true })
}

async fn health(daemon: &Daemon, container: &str) -> Option<Health> {
    let container = container.to_owned();
    let look = |docker: Docker| async move {
        docker.inspect_container(&container, None::<InspectContainerOptions>).await
    };
    reported(daemon.ask(LOOK, look).await.ok()?.state?.health?)
}

fn reported(health: Reported) -> Option<Health> {
    let status = match health.status? {
        HealthStatusEnum::STARTING => HealthStatus::Starting,
        HealthStatusEnum::HEALTHY => HealthStatus::Healthy,
        HealthStatusEnum::UNHEALTHY => HealthStatus::Unhealthy,
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => return None,
    };
    let failures = u32::try_from(health.failing_streak.unwrap_or(0)).unwrap_or(0);
    let last = health.log.unwrap_or_default().pop().and_then(|result| result.output);
    let mut output = last.unwrap_or_default().trim().to_owned();
    let end = (0..=MAX_OUTPUT.min(output.len())).rev().find(|at| output.is_char_boundary(*at));
    output.truncate(end.unwrap_or(0));
    Some(Health { status, failures, output, since: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_resident_memory_in_both_versions_of_control_groups() {
        let read = |memory: &str| {
            let text = format!(
                r#"{{"cpu_stats":{{"cpu_usage":{{"total_usage":1500000000}}}},"memory_stats":{memory}}}"#
            );
            used(&serde_json::from_str(&text).unwrap()).map(|usage| usage.memory_bytes)
        };
        assert_eq!(read(r#"{"usage":900,"stats":{"total_rss":100,"cache":800}}"#), Some(100));
        assert_eq!(read(r#"{"usage":900,"stats":{"anon":200,"file":700}}"#), Some(200));
        assert_eq!(read(r#"{"usage":900}"#), Some(900));
        assert_eq!(read("{}"), None);
    }

    #[test]
    fn of_a_long_output_of_a_check_the_beginning_is_kept() {
        let text = "ü".repeat(1000);
        let health = format!(
            r#"{{"Status":"unhealthy","FailingStreak":3,"Log":[{{"Output":"old"}},{{"ExitCode":1,"Output":"{text}"}}]}}"#
        );
        let health = reported(serde_json::from_str(&health).unwrap()).unwrap();
        assert_eq!((health.status, health.failures, health.output.len()), (HealthStatus::Unhealthy, 3, 512));
        assert_eq!(reported(serde_json::from_str(r#"{"Status":"none"}"#).unwrap()), None);
    }
}
