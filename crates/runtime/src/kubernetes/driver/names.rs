//! Names and labels by which what belongs to a data directory is found again, and what may be named so.

use crate::{ContainerNetwork, Deployment, DriverError, ImageSource, ReplicaConfig, VolumeSource};

pub(super) const INSTANCE: &str = "sos.energy/instance";
pub(super) const SERVICE: &str = "sos.energy/service";
/// The beginning of the hash of the description.
pub(super) const REVISION: &str = "sos.energy/revision";
/// On a pod: which replica it is.
pub(super) const REPLICA: &str = "sos.energy/replica";
/// On a pod: `on` where it gets traffic.
pub(super) const TRAFFIC: &str = "sos.energy/traffic";
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// On a Deployment: the description it was made of, so that replicas whose records were lost are adopted all the same.
/// Secrets are in it by reference only.
pub(super) const DESCRIPTION: &str = "sos.energy/deployment";
/// The container of a pod in which the program runs.
pub(super) const MAIN: &str = "main";
/// The longest name of a service: with a hyphen and a number it is a label, which has 63 characters at most.
const MAX_SERVICE: usize = 48;
/// Listened on where no port is declared; the second one has the next number. Each pod has an address of its own.
const FIRST_PORT: u16 = 8080;

/// The beginning of a description's hash.
pub(super) fn revision(deployment: &Deployment) -> &str {
    deployment.description_hash.get(..8).unwrap_or(&deployment.description_hash)
}

/// The Deployment of a service's revision, and the Secret beside it.
pub(super) fn deployment_name(deployment: &Deployment) -> String {
    format!("{}-{}", deployment.service, revision(deployment))
}

/// Finds everything of a data directory.
pub(super) fn selector(instance: &str) -> String {
    format!("{INSTANCE}={instance}")
}

/// The ports on which a replica listens: the same for all, because each has an address of its own.
pub(super) fn ports(config: &ReplicaConfig) -> std::collections::BTreeMap<String, u16> {
    let inside = config.service.container.as_ref().map(|container| &container.ports);
    let numbered = config.service.ports.iter().zip(FIRST_PORT..);
    let port = |name: &String, declared: Option<u16>, otherwise: u16| {
        inside.and_then(|ports| ports.get(name).copied()).or(declared).unwrap_or(otherwise)
    };
    numbered.map(|(wanted, number)| (wanted.name.clone(), port(&wanted.name, wanted.port, number))).collect()
}

/// Refuses what a cluster cannot run, with what is allowed.
pub(super) fn check(config: &ReplicaConfig) -> Result<(), DriverError> {
    let service = &config.service;
    let unfit = |why: String| Err(DriverError::Unfit { replica: config.replica.clone(), why });
    let Some(container) = &service.container else {
        return unfit("it declares no image; add one, or choose another runtime".into());
    };
    let name = &service.service;
    if name.len() > MAX_SERVICE || !is_dns_label(name) {
        return unfit(format!(
            "its name {name:?} cannot be that of a Service; expected lower-case letters, digits and \"-\", at most \
             {MAX_SERVICE}, with a letter first and a letter or digit last"
        ));
    }
    if config.run.is_some() {
        return unfit(
            "it is a batch job, and a Deployment would run it again and again; choose another runtime".into(),
        );
    }
    if let ImageSource::Build(build) = &container.image {
        return unfit(format!(
            "its image is built from {}, where no node finds it; build it, push it to a registry of the cluster and declare \
             its reference",
            build.context.display()
        ));
    }
    if matches!(container.network, ContainerNetwork::Named(_) | ContainerNetwork::Off) {
        return unfit(
            "pods have the network of the cluster or of their node; remove the network setting".into(),
        );
    }
    if container.volumes.iter().any(|volume| matches!(volume.source, VolumeSource::Named(_))) {
        return unfit(
            "named volumes are of one machine; mount a path of the nodes, or choose another runtime".into(),
        );
    }
    if let Some(user) = &container.user
        && numbers(user).is_none()
    {
        return unfit(format!("its user {user:?} is a name; expected numbers, USER or USER:GROUP"));
    }
    check_names(config)
}

fn check_names(config: &ReplicaConfig) -> Result<(), DriverError> {
    let service = &config.service;
    let unfit = |why: String| Err(DriverError::Unfit { replica: config.replica.clone(), why });
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if let Some(var) = service.env.iter().find(|var| !var.name.chars().all(known) || var.name.len() > 253) {
        return unfit(format!(
            "variable {:?} cannot be a key; expected letters, digits, \"-\", \"_\" and \".\"",
            var.name
        ));
    }
    if let Some(port) = service.ports.iter().find(|port| port.name.len() > 15 || !is_dns_label(&port.name)) {
        return unfit(format!(
            "port {:?} cannot be named so; expected at most 15 lower-case letters, digits and \"-\", with a letter first",
            port.name
        ));
    }
    let texts = service.args.iter().chain(service.env.iter().filter_map(|var| match &var.value {
        crate::EnvValue::Plain(text) => Some(text),
        crate::EnvValue::Secret { .. } => None,
    }));
    let own =
        |text: &String| ["$(SOS_REPLICA)", "$(SOS_ORDINAL)"].into_iter().find(|name| text.contains(name));
    match texts.into_iter().find_map(own) {
        None => Ok(()),
        Some(name) => unfit(format!(
            "it uses {name}, and the pods of a Deployment are all described alike; read the variable HOSTNAME in the program"
        )),
    }
}

/// A label of RFC 1035.
fn is_dns_label(name: &str) -> bool {
    super::super::names::is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// `USER[:GROUP]` in numbers.
pub(super) fn numbers(user: &str) -> Option<(i64, Option<i64>)> {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let group = match group {
        None => None,
        Some(group) => Some(group.parse::<u32>().ok()?.into()),
    };
    Some((user.parse::<u32>().ok()?.into(), group))
}
