//! Declared resources in the store: as what they are kept, and how they are read again.

use std::path::Path;

use serde_json::{Value, json};
use sos_model::{
    API_VERSION, Condition, ConditionStatus, Declared, Kind, MountSource, Problem, SecretSource,
    SignalSource, Spec, WorkflowSource,
};
use sos_store::{PutResource, Resource, Store, StoreError};

use crate::clock::wall_now;

/// A declared resource as the store keeps it: spec and annotations; labels stand beside.
#[must_use]
pub fn put(declared: &Declared, manager: &str, force: bool, dry_run: bool) -> PutResource {
    let manifest = declared.to_json();
    PutResource {
        kind: declared.kind().name().to_owned(),
        name: declared.name.to_string(),
        manager: manager.to_owned(),
        spec: json!({ "annotations": manifest["metadata"]["annotations"], "spec": manifest["spec"] }),
        labels: declared.labels.clone(),
        force,
        expected_version: None,
        dry_run,
    }
}

/// A stored resource as its manifest.
#[must_use]
pub fn manifest(resource: &Resource) -> Value {
    let mut metadata = json!({ "name": resource.name });
    if !resource.labels.is_empty() {
        metadata["labels"] = json!(resource.labels);
    }
    if resource.spec["annotations"].as_object().is_some_and(|annotations| !annotations.is_empty()) {
        metadata["annotations"] = resource.spec["annotations"].clone();
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": resource.spec["spec"],
    })
}

/// A stored resource with everything that is known of it, as `sos get -o json` shows it.
#[must_use]
pub fn object(resource: &Resource) -> Value {
    let mut object = manifest(resource);
    object["metadata"]["generation"] = json!(resource.generation);
    object["metadata"]["resourceVersion"] = json!(resource.version);
    object["metadata"]["manager"] = json!(resource.manager);
    if let Some(replicas) = resource.replicas {
        object["scale"] = json!({ "replicas": replicas });
    }
    object["status"] = resource.status.clone();
    object
}

/// A stored resource as a typed value.
///
/// # Errors
/// What this version does not understand of it.
pub fn declared(resource: &Resource) -> Result<Declared, String> {
    let label = format!("{}/{}", resource.kind, resource.name);
    Declared::from_json(&label, &manifest(resource)).map_err(|problems| in_one_line(&problems))
}

/// Several problems as one text.
pub(crate) fn in_one_line(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The conditions in a status.
#[must_use]
pub fn conditions(status: &Value) -> Vec<Condition> {
    serde_json::from_value(status["conditions"].clone()).unwrap_or_default()
}

/// What the condition `Ready` of a resource says when all is well, and who writes it.
pub(crate) struct Ready {
    pub(crate) writer: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

/// Writes whether what is declared works into the condition `Ready`, when that has changed.
///
/// # Errors
/// What the store says.
pub(crate) fn put_ready(
    store: &Store,
    kind: Kind,
    name: &str,
    well: &Ready,
    problem: Option<&str>,
) -> Result<(), StoreError> {
    let Some(resource) = store.get(kind.name(), name)? else { return Ok(()) };
    let mut conditions = conditions(&resource.status);
    let condition = Condition {
        kind: "Ready".into(),
        status: if problem.is_none() { ConditionStatus::True } else { ConditionStatus::False },
        reason: if problem.is_none() { well.reason } else { "NotUsable" }.into(),
        message: problem.unwrap_or(well.message).to_owned(),
        last_transition_time: wall_now(),
    };
    if sos_model::set_condition(&mut conditions, condition) {
        store.put_status(kind.name(), name, well.writer, &json!({ "conditions": conditions }))?;
    }
    Ok(())
}

/// Makes paths absolute that a manifest states relative to its own place.
pub fn anchor(declared: &mut Declared, base: &Path) {
    let absolute = |path: &mut String| *path = base.join(&*path).display().to_string();
    match &mut declared.spec {
        Spec::Service(service) => {
            match &mut service.working_dir {
                Some(dir) => absolute(dir),
                None if service.external.is_none() => service.working_dir = Some(base.display().to_string()),
                None => {}
            }
            if let Some(build) = &mut service.build {
                absolute(&mut build.context);
            }
            if let Some(config) = service.kubernetes.as_mut().and_then(|cluster| cluster.config.as_mut()) {
                absolute(config);
            }
            if let Some(tls) = service.gateway.0.as_mut().and_then(|gateway| gateway.tls.as_mut()) {
                absolute(&mut tls.certificate);
                absolute(&mut tls.key);
            }
            for mount in service.container.iter_mut().flat_map(|container| &mut container.mounts) {
                if let MountSource::Path(path) = &mut mount.source {
                    absolute(path);
                }
            }
            if let Some(file) = service.contract.as_mut().and_then(|contract| contract.document.file_mut()) {
                absolute(file);
            }
            if let Some(file) = service.calls.tls.as_mut().and_then(|tls| tls.ca_file.as_mut()) {
                absolute(file);
            }
        }
        Spec::Signal(signal) => {
            if let SignalSource::File(file) = &mut signal.source {
                absolute(&mut file.path);
            }
        }
        Spec::Secret(secret) => {
            for reference in secret.data.values_mut() {
                if let SecretSource::File(path) = &mut reference.0 {
                    absolute(path);
                }
            }
        }
        Spec::Notifier(notifier) => {
            if let Some(file) = notifier.receiver.ca_file_mut() {
                absolute(file);
            }
        }
        Spec::Channel(channel) => channel.files_mut().into_iter().for_each(absolute),
        Spec::Workflow(workflow) => {
            if let WorkflowSource::File(file) = &mut workflow.source {
                absolute(file);
            }
        }
        Spec::Site(_)
        | Spec::Asset(_)
        | Spec::AlertRule(_)
        | Spec::Machine(_)
        | Spec::Override(_)
        | Spec::Rule(_) => {}
    }
}
