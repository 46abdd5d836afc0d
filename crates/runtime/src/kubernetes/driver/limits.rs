//! Limits that are changed while a pod runs, by its `resize` subresource.

use std::time::Duration;

use serde_json::{Value, json};

use super::names::MAIN;
use super::objects::resources;
use super::worker::{Link, Worker, held};
use super::{PodRef, Record};
use crate::kubernetes::KubernetesError;
use crate::{DriverError, LimitEnforcement, Limits};

/// How long a node may take to change what a container may use.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it did.
const LOOK: Duration = Duration::from_millis(200);

impl Worker {
    /// The node changes what the container may use; what it cannot do is taken back.
    pub(super) async fn set_limits(
        &self,
        replica: &str,
        limits: &Limits,
    ) -> Result<LimitEnforcement, DriverError> {
        let mut state = self.state.lock().await;
        let record = state.records.get(replica).filter(|record| record.is_live()).cloned();
        let mut record = record.ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        let old = record.deployment.limits;
        if *limits == old {
            return Ok(record.limits);
        }
        let refuse = |why: String| DriverError::NotInPlace { replica: replica.to_owned(), why };
        if limits.cpu_millis == Some(0) || limits.memory_bytes == Some(0) {
            return Err(refuse("limits must be above zero".into()));
        }
        let kinds = |limits: &Limits| (limits.cpu_millis.is_some(), limits.memory_bytes.is_some());
        if kinds(limits) != kinds(&old) {
            return Err(refuse("a cluster changes limits in place and neither adds nor removes one".into()));
        }
        let Some(pod) = record.own.pod.clone() else { return Err(refuse("it has no pod yet".into())) };
        let link = state.linked().ok_or_else(|| refuse("the cluster was not asked yet".into()))?;
        if let Err(why) = self.resize(&link, &pod, limits).await {
            // What was asked for must not happen later.
            if let Err(again) = self.resize(&link, &pod, &old).await {
                tracing::warn!(replica, why = again, "limits that were refused could not be taken back");
            }
            return Err(refuse(why));
        }
        self.note(&mut record, *limits);
        self.write(&record).await?;
        let held = record.limits.clone();
        state.records.insert(replica.to_owned(), record);
        Ok(held)
    }

    fn note(&self, record: &mut Record, limits: Limits) {
        // New pods begin with what the description says.
        record.own.declared.get_or_insert(record.deployment.limits);
        record.deployment_mut().limits = limits;
        record.limits = held(&limits);
    }

    /// Asks for it and waits until it is so; the error says why it is not.
    async fn resize(&self, link: &Link, pod: &PodRef, limits: &Limits) -> Result<(), String> {
        let wanted = resources(limits);
        let change = json!({"spec": {"containers": [{"name": MAIN, "resources": wanted}]}});
        let (path, name) = (link.pod(&pod.name), &pod.name);
        let what = format!("patch pods/resize {name} in namespace {}", link.objects.namespace);
        let told = |error: KubernetesError| format!("{error}; {}", error.advice());
        link.cluster.change(&format!("{path}/resize"), &change, &what).await.map_err(told)?;
        let what = format!("get pods {name} in namespace {}", link.objects.namespace);
        let mut last = String::from("its node did not do it in time");
        let mut ticks = tokio::time::interval(LOOK);
        let until = async {
            loop {
                ticks.tick().await;
                let found: Value = link.cluster.get(&path, &what).await.map_err(told)?;
                match is_as(&found, limits) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err((why, true)) => return Err(why),
                    Err((why, false)) => last = why,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, until).await {
            Ok(result) => result,
            Err(_) => Err(last),
        }
    }
}

/// Whether the node has done it; why not, and whether that is its last word.
fn is_as(pod: &Value, limits: &Limits) -> Result<bool, (String, bool)> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    for one in conditions.into_iter().flatten().filter(|one| one["status"] == "True") {
        let said = format!(
            "{}: {}",
            one["reason"].as_str().unwrap_or("Error"),
            one["message"].as_str().unwrap_or_default()
        );
        match (one["type"].as_str(), one["reason"].as_str()) {
            (Some("PodResizePending"), Some("Infeasible")) => return Err((said, true)),
            (Some("PodResizePending"), _) => return Err((said, false)),
            (Some("PodResizeInProgress"), Some("Error")) => return Err((said, false)),
            _ => {}
        }
    }
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let main = statuses.into_iter().flatten().find(|one| one["name"] == MAIN);
    let held = |key: &str| {
        main.and_then(|one| one.pointer(&format!("/resources/limits/{key}"))).and_then(Value::as_str)
    };
    let cpu = held("cpu").and_then(crate::kubernetes::quantity::millis);
    let memory = held("memory").and_then(crate::kubernetes::quantity::whole);
    Ok((cpu, memory) == (limits.cpu_millis, limits.memory_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_held_when_the_node_says_so_and_a_refusal_is_told() {
        let limits = Limits { cpu_millis: Some(300), memory_bytes: Some(128 << 20) };
        let pod = |conditions: Value, memory: &str| {
            json!({"status": {"conditions": conditions, "containerStatuses": [
                {"name": "main", "resources": {"limits": {"cpu": "300m", "memory": memory}}}]}})
        };
        assert_eq!(is_as(&pod(json!([]), "128Mi"), &limits), Ok(true));
        assert_eq!(is_as(&pod(json!([]), "256Mi"), &limits), Ok(false));
        let refused = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "too much"}]);
        let (why, last) = is_as(&pod(refused, "256Mi"), &limits).unwrap_err();
        assert!(why.contains("too much") && last, "{why}");
    }
}
