//! What pods use, by the metrics API or by the kubelet of a node.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::error::KubernetesError;
use super::names::{check_name, check_namespace};
use super::quantity::whole;

/// The most containers of a node that are read.
const MAX_CONTAINERS: usize = 10_000;

/// Where usage is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageSource {
    /// `metrics.k8s.io`: processors used lately, of all pods of the namespace. It is there only where a metrics server runs.
    MetricsApi,
    /// The kubelet of a node, through the API server: processor time so far, of the pods of the namespace on this node. It needs
    /// the right to `nodes/proxy`, which is a strong one, and no metrics server.
    Kubelet {
        /// The node.
        node: String,
    },
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// Its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Processors used lately, such as 0.25; the metrics API tells it.
    pub cpu_cores: Option<f64>,
    /// Over how long they were measured, seconds.
    pub window_seconds: Option<f64>,
    /// Processor time since its start, seconds; the kubelet tells it.
    pub cpu_seconds: Option<f64>,
    /// Memory that cannot be given back at once (the working set), bytes.
    pub memory_bytes: Option<u64>,
    /// When it was measured.
    pub at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Option<Timestamp>,
    window: Option<String>,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: BTreeMap<String, String>,
}

impl Cluster {
    /// What the containers of a namespace use, by pod and name. Containers without a measure are left out.
    ///
    /// # Errors
    /// [`KubernetesError::Missing`] where there is no metrics API or no such node; when it may not be asked, or the cluster
    /// cannot be reached.
    pub async fn usage(
        &self,
        namespace: &str,
        source: &UsageSource,
    ) -> Result<Vec<ContainerUsage>, KubernetesError> {
        check_namespace(namespace)?;
        let mut found = match source {
            UsageSource::MetricsApi => {
                let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
                let pods: Vec<PodMetrics> = self.list(&path, "list pods of metrics.k8s.io").await?;
                pods.into_iter().flat_map(of_metrics).collect()
            }
            UsageSource::Kubelet { node } => {
                check_name("node", node)?;
                let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
                let text = self.exchange(http::Method::GET, &path, None, "get nodes/proxy").await?;
                of_kubelet(&String::from_utf8_lossy(&text), namespace)?
            }
        };
        found.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
        Ok(found)
    }
}

fn of_metrics(pod: PodMetrics) -> impl Iterator<Item = ContainerUsage> {
    let PodMetrics { metadata, timestamp, window, containers } = pod;
    let window_seconds = window.as_deref().and_then(go_seconds);
    containers.into_iter().map(move |container| ContainerUsage {
        pod: metadata.name.clone(),
        cpu_cores: container.usage.get("cpu").and_then(|text| cores(text)),
        window_seconds,
        cpu_seconds: None,
        memory_bytes: container.usage.get("memory").and_then(|text| whole(text)),
        at: timestamp,
        container: container.name,
    })
}

/// Processors, to a millionth of one.
fn cores(text: &str) -> Option<f64> {
    let micros = super::quantity::micros(text)?;
    Some(micros as f64 / 1e6)
}

/// A duration as Go prints it: `10.062s`, `1m30s`, `1h0m0s`.
fn go_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| end + length);
        sum += number
            * match &rest[end..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

/// The kubelet's own measures: two series of each container.
fn of_kubelet(text: &str, namespace: &str) -> Result<Vec<ContainerUsage>, KubernetesError> {
    let mut found: BTreeMap<(String, String), ContainerUsage> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, labels, value, at)) = sample(line) else { continue };
        let of = |label: &str| labels.iter().find(|(key, _)| key == label).map(|(_, value)| value.clone());
        let (Some(pod), Some(container)) = (of("pod"), of("container")) else { continue };
        if of("namespace").as_deref() != Some(namespace) {
            continue;
        }
        if found.len() >= MAX_CONTAINERS {
            return Err(KubernetesError::TooMany {
                what: "containers of a node".into(),
                limit: MAX_CONTAINERS,
            });
        }
        let key = (pod.clone(), container.clone());
        let entry = found.entry(key).or_insert_with(|| ContainerUsage {
            pod,
            container,
            ..ContainerUsage::default()
        });
        match name {
            "container_cpu_usage_seconds_total" => entry.cpu_seconds = Some(value),
            "container_memory_working_set_bytes" => entry.memory_bytes = Some(value as u64),
            _ => continue,
        }
        entry.at = at.max(entry.at);
    }
    found.retain(|_, usage| usage.cpu_seconds.is_some() || usage.memory_bytes.is_some());
    Ok(found.into_values().collect())
}

type Sample<'a> = (&'a str, Vec<(String, String)>, f64, Option<Timestamp>);

/// A line `name{label="value",…} value [milliseconds]` with a finite value that is not negative.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_once('{')?;
    let (labels, rest) = labels(rest)?;
    let mut words = rest.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let at = words.next().and_then(|word| Timestamp::from_millisecond(word.parse().ok()?).ok());
    (value.is_finite() && value >= 0.0).then_some((name, labels, value, at))
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((key.to_owned(), value));
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_measures_are_read_by_namespace() {
        let text = "# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"web\",namespace=\"shop\",pod=\"a-1\"} 1.5 1700000000000
container_memory_working_set_bytes{container=\"web\",namespace=\"shop\",pod=\"a-1\"} 1.048576e+06 1700000001000
container_memory_working_set_bytes{container=\"web\",namespace=\"other\",pod=\"a-1\"} 7
container_start_time_seconds{container=\"idle\",namespace=\"shop\",pod=\"a-2\"} 1.7e9
container_cpu_usage_seconds_total{container=\"web\",namespace=\"shop\",pod=\"a-3\"} NaN
node_cpu_usage_seconds_total 5
container_cpu_usage_seconds_total{broken
";
        let found = of_kubelet(text, "shop").unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].cpu_seconds, found[0].memory_bytes), (Some(1.5), Some(1 << 20)));
        assert_eq!(found[0].at, Timestamp::from_second(1_700_000_001).ok());
    }

    #[test]
    fn labels_may_hold_quotes_and_braces() {
        let (name, labels, ..) = sample(r#"a{x="1\"}",y="2\n\\"} 3"#).unwrap();
        assert_eq!(name, "a");
        assert_eq!(labels, [("x".to_owned(), "1\"}".to_owned()), ("y".to_owned(), "2\n\\".to_owned())]);
        for wrong in ["a 1", "a{x=\"1} 2", "a{x=1} 2", "a{} ", "a{} -1", "a{} x", "a{x=\"\\"] {
            assert!(sample(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_metrics_api_tells_processors_over_a_window() {
        let pod: PodMetrics = serde_json::from_value(serde_json::json!({"metadata": {"name": "a"},
            "timestamp": "2026-01-01T00:00:00Z", "window": "1m30.5s",
            "containers": [{"name": "web", "usage": {"cpu": "12345678n", "memory": "2048Ki"}}]}))
        .unwrap();
        let found: Vec<_> = of_metrics(pod).collect();
        assert_eq!((found[0].cpu_cores, found[0].memory_bytes), (Some(0.012_346), Some(2 << 20)));
        assert_eq!(found[0].window_seconds, Some(90.5));
        assert_eq!(
            (go_seconds(""), go_seconds("5"), go_seconds("s"), go_seconds("5y")),
            (None, None, None, None)
        );
    }
}
