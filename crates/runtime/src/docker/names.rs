//! Names and labels by which what belongs to a data directory is found again.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{ContainerNetwork, Deployment};

pub(super) const DRIVER: &str = "sos.energy/driver";
pub(super) const INSTANCE: &str = "sos.energy/instance";
pub(super) const SERVICE: &str = "sos.energy/service";
pub(super) const REPLICA: &str = "sos.energy/replica";
const ORDINAL: &str = "sos.energy/ordinal";
const GENERATION: &str = "sos.energy/generation";
const DESCRIPTION: &str = "sos.energy/description-hash";
const RUN: &str = "sos.energy/run";
/// Tells a start from all others of its replica.
pub(super) const LAUNCH: &str = "sos.energy/launch";
pub(super) const STARTED: &str = "sos.energy/started-at";
/// The whole description, so that a container whose record was lost is adopted all the same. Secrets are in it by
/// reference only.
pub(super) const DEPLOYMENT: &str = "sos.energy/deployment";

/// The name of a replica's container. Names are unique in a daemon, so there is at most one.
pub(super) fn container_name(instance: &str, replica: &str) -> String {
    format!("sos-{instance}-{replica}")
}

/// The name of a network that the driver makes, or the mode for those that there are anyway.
pub(super) fn network_name(instance: &str, network: &ContainerNetwork) -> String {
    match network {
        ContainerNetwork::Shared => format!("sos-{instance}"),
        ContainerNetwork::Named(name) => format!("sos-{instance}-{name}"),
        ContainerNetwork::Host => "host".into(),
        ContainerNetwork::Off => "none".into(),
    }
}

/// The name of a volume that services of a data directory share.
pub(super) fn volume_name(instance: &str, name: &str) -> String {
    format!("sos-{instance}-{name}")
}

/// The labels of everything of a data directory.
pub(super) fn of_instance(instance: &str) -> HashMap<String, String> {
    [(DRIVER, "docker"), (INSTANCE, instance)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Finds everything of a data directory.
pub(super) fn filter(instance: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{INSTANCE}={instance}")])])
}

/// The labels of a container.
pub(super) fn labels(
    deployment: &Deployment,
    instance: &str,
    launch: &str,
    started_at: Timestamp,
) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = deployment.labels.clone().into_iter().collect();
    labels.extend(of_instance(instance));
    let mut add = |key: &str, value: String| labels.insert(key.to_owned(), value);
    add(SERVICE, deployment.service.clone());
    add(REPLICA, deployment.replica.clone());
    add(ORDINAL, deployment.ordinal.to_string());
    add(GENERATION, deployment.generation.to_string());
    add(DESCRIPTION, deployment.description_hash.clone());
    if let Some(run) = &deployment.run {
        add(RUN, run.clone());
    }
    add(LAUNCH, launch.to_owned());
    add(STARTED, started_at.to_string());
    // Plain data always serialises.
    add(DEPLOYMENT, serde_json::to_string(deployment).unwrap_or_default());
    labels
}

/// What the labels of a container say about a start whose record was lost; `None` when they are not those of `labels`.
pub(super) fn described(labels: &BTreeMap<String, String>) -> Option<(Deployment, String, Timestamp)> {
    let deployment: Deployment = serde_json::from_str(labels.get(DEPLOYMENT)?).ok()?;
    let whole =
        labels.get(REPLICA) == Some(&deployment.replica) && labels.get(SERVICE) == Some(&deployment.service);
    // It becomes a file name.
    let replica = format!("{}-{}", deployment.service, deployment.ordinal);
    let named =
        crate::describe::check_name("service", &deployment.service).is_ok() && replica == deployment.replica;
    let started_at = labels.get(STARTED)?.parse().ok()?;
    (whole && named).then_some((deployment, labels.get(LAUNCH)?.clone(), started_at))
}
