//! What pods use: asked now and then in the background, summed to processor time so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::error::KubernetesError;
use super::usage::{ContainerUsage, UsageSource};
use crate::Usage;

/// How often it is asked: a metrics server measures every 15 s.
const EVERY: Duration = Duration::from_secs(10);
/// After a refusal, which seldom passes by itself.
const AGAIN: Duration = Duration::from_secs(120);

/// The task that asks. It ends when this goes.
#[derive(Debug)]
pub(super) struct Meter {
    table: Arc<Mutex<Table>>,
    task: JoinHandle<()>,
}

/// What is known of each pod, by name.
#[derive(Debug, Default)]
struct Table {
    pods: BTreeMap<String, Known>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    cpu_seconds: f64,
    memory_bytes: u64,
    at: Option<Timestamp>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Asks about the pods of a namespace; `nodes` tells on which nodes those are that matter.
    pub(super) fn start(
        cluster: &Cluster,
        namespace: &str,
        nodes: impl Fn() -> BTreeSet<String> + Send + 'static,
    ) -> Self {
        let table = Arc::new(Mutex::new(Table::default()));
        let (mine, cluster, namespace) = (Arc::clone(&table), cluster.clone(), namespace.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let nodes = nodes();
                let pause = match ask(&cluster, &namespace, &nodes).await {
                    Ok(found) => {
                        lock(&mine).take_in(&found);
                        EVERY
                    }
                    Err(why) => {
                        tracing::debug!(namespace, why, "what pods use is not known");
                        AGAIN
                    }
                };
                // Without a pod nothing was asked; the first one is measured soon.
                tokio::time::sleep(if nodes.is_empty() { Duration::from_secs(1) } else { pause }).await;
            }
        });
        Self { table, task }
    }

    /// What a pod has used so far, all its containers together.
    pub(super) fn of(&self, pod: &str) -> Option<Usage> {
        let known = *lock(&self.table).pods.get(pod)?;
        Some(Usage { cpu_seconds: known.cpu_seconds, memory_bytes: known.memory_bytes, whole_group: true })
    }
}

/// By the metrics API where there is one, else by the kubelets.
async fn ask(
    cluster: &Cluster,
    namespace: &str,
    nodes: &BTreeSet<String>,
) -> Result<Vec<ContainerUsage>, String> {
    if nodes.is_empty() {
        return Ok(vec![]);
    }
    match cluster.usage(namespace, &UsageSource::MetricsApi).await {
        Ok(found) => return Ok(found),
        // No metrics server runs, or it may not be asked: the kubelets may be.
        Err(KubernetesError::Missing(_) | KubernetesError::Denied { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut all = vec![];
    for node in nodes {
        let source = UsageSource::Kubelet { node: node.clone() };
        all.extend(cluster.usage(namespace, &source).await.map_err(|error| error.to_string())?);
    }
    Ok(all)
}

impl Table {
    /// Rates are summed to what was used so far; counts are taken as they are.
    fn take_in(&mut self, found: &[ContainerUsage]) {
        let mut now: BTreeMap<&str, Vec<&ContainerUsage>> = BTreeMap::new();
        for one in found {
            now.entry(one.pod.as_str()).or_default().push(one);
        }
        let before = std::mem::take(&mut self.pods);
        for (pod, containers) in now {
            let old = before.get(pod).copied().unwrap_or_default();
            let at = containers.iter().filter_map(|one| one.at).max();
            let memory_bytes = containers.iter().filter_map(|one| one.memory_bytes).sum();
            let counted: Option<f64> = containers.iter().map(|one| one.cpu_seconds).sum();
            let cpu_seconds = counted.unwrap_or_else(|| {
                let cores: f64 = containers.iter().filter_map(|one| one.cpu_cores).sum();
                let window = containers.iter().filter_map(|one| one.window_seconds).fold(0.0, f64::max);
                let since = old.at.zip(at).map(|(old, at)| at.duration_since(old).as_secs_f64());
                old.cpu_seconds + cores * since.unwrap_or(window).max(0.0)
            });
            self.pods.insert(pod.to_owned(), Known { cpu_seconds, memory_bytes, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(pod: &str, at: i64, cores: Option<f64>, seconds: Option<f64>) -> ContainerUsage {
        ContainerUsage {
            pod: pod.into(),
            container: "main".into(),
            cpu_cores: cores,
            window_seconds: cores.map(|_| 10.0),
            cpu_seconds: seconds,
            memory_bytes: Some(100),
            at: Timestamp::from_second(at).ok(),
        }
    }

    #[test]
    fn rates_are_summed_and_counts_are_taken_as_they_are() {
        let mut table = Table::default();
        for at in [100, 120, 120] {
            table.take_in(&[used("a", at, Some(0.5), None), used("b", at, None, Some(at as f64))]);
        }
        // 10 s of the first window, then 20 s; the third answer is the second one again.
        let seconds = |pod: &str| table.pods[pod].cpu_seconds.round() as i64;
        assert_eq!((seconds("a"), seconds("b"), table.pods["b"].memory_bytes), (15, 120, 100));
        table.take_in(&[]);
        assert!(table.pods.is_empty(), "pods that are gone are forgotten");
    }
}
