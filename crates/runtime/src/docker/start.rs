//! A start, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};

use super::create::Start;
use super::daemon::{CHANGE, Daemon, Fault, LOOK, unless_missing};
use super::found::inspect;
use super::names::{container_name, filter, network_name, of_instance};
use super::{Own, Record};
use crate::ports::check_free;
use crate::shared::{check_secrets, check_workdir, file_error};
use crate::{
    ContainerConfig, ContainerNetwork, Deployment, DriverError, Enforcement, LimitEnforcement, SecretValues,
    VolumeSource, WorkdirMount,
};

/// How often a name that a container has is freed before one gives up.
const ATTEMPTS: usize = 3;

/// What can be known to be wrong before anything is begun.
pub(super) fn check(
    deployment: &Deployment,
    container: &ContainerConfig,
    secrets: &SecretValues,
    taken: &BTreeMap<u16, String>,
) -> Result<(), DriverError> {
    check_secrets(deployment, secrets)?;
    if container.workdir != WorkdirMount::No {
        check_workdir(deployment)?;
    }
    for volume in &container.volumes {
        if let VolumeSource::Path(path) = &volume.source {
            fs::metadata(path).map_err(file_error("mount", path))?;
        }
    }
    let mut mine = BTreeSet::new();
    for (name, port) in &deployment.ports {
        check_free(&deployment.replica, name, *port, &mine, taken)?;
        mine.insert(*port);
    }
    Ok(())
}

/// Makes the network of a container when there is none.
pub(super) async fn ensure_network(
    daemon: &Daemon,
    instance: &str,
    network: &ContainerNetwork,
) -> Result<(), Fault> {
    if matches!(network, ContainerNetwork::Host | ContainerNetwork::Off) {
        return Ok(());
    }
    let name = network_name(instance, network);
    if networks(daemon, instance).await?.contains(&name) {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".into()),
        labels: Some(of_instance(instance)),
        ..NetworkCreateRequest::default()
    };
    daemon.ask(CHANGE, |docker: Docker| async move { docker.create_network(request).await }).await?;
    Ok(())
}

/// Names of the networks of a data directory.
pub(super) async fn networks(daemon: &Daemon, instance: &str) -> Result<BTreeSet<String>, Fault> {
    let options = ListNetworksOptionsBuilder::new().filters(&filter(instance)).build();
    let found =
        daemon.ask(LOOK, |docker: Docker| async move { docker.list_networks(Some(options)).await }).await?;
    Ok(found.into_iter().filter_map(|network| network.name).collect())
}

/// Removes networks of a data directory that nobody needs any more. One that is in use stays.
pub(super) async fn remove_networks(daemon: &Daemon, instance: &str, needed: &BTreeSet<String>) {
    let found = networks(daemon, instance).await.unwrap_or_default();
    for name in found.difference(needed) {
        let removed =
            daemon.ask(CHANGE, |docker: Docker| async move { docker.remove_network(name).await }).await;
        if let Err(fault) = removed {
            tracing::debug!(name, ?fault, "a network is kept");
        }
    }
}

/// Makes the container. One that has its name is of an earlier start and goes: the record says that none is alive.
pub(super) async fn create(daemon: &Daemon, start: &Start<'_>) -> Result<(String, LimitEnforcement), Fault> {
    let name = container_name(start.instance, &start.deployment.replica);
    for _ in 1..ATTEMPTS {
        match try_create(daemon, start, &name).await {
            Err(fault) if fault.is_conflict() => remove(daemon, &name).await?,
            other => return other,
        }
    }
    try_create(daemon, start, &name).await
}

async fn try_create(
    daemon: &Daemon,
    start: &Start<'_>,
    name: &str,
) -> Result<(String, LimitEnforcement), Fault> {
    let (options, body) = (CreateContainerOptionsBuilder::new().name(name).build(), start.body());
    let create = |docker: Docker| async move { docker.create_container(Some(options), body).await };
    let made = daemon.ask(CHANGE, create).await?;
    Ok((made.id, held(start, &made.warnings)))
}

/// How the limits are held, after what the daemon warned of.
fn held(start: &Start<'_>, warnings: &[String]) -> LimitEnforcement {
    let about = |word: &str| warnings.iter().find(|warning| warning.to_ascii_lowercase().contains(word));
    let how = |limit: Option<u64>, warning: Option<&String>| match (limit, warning) {
        (None, _) => Enforcement::NotRequested,
        (Some(_), Some(warning)) => Enforcement::NotEnforced(warning.clone()),
        (Some(_), None) => control_groups(),
    };
    let limits = start.deployment.limits;
    LimitEnforcement {
        memory: how(limits.memory_bytes, about("memory limit")),
        cpu: how(limits.cpu_millis, about("cpu")),
    }
}

/// The version of control groups of this machine, on which the daemon is too.
pub(super) fn control_groups() -> Enforcement {
    let second = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if second { Enforcement::CgroupV2 } else { Enforcement::CgroupV1 }
}

pub(super) async fn start(daemon: &Daemon, id: &str) -> Result<(), Fault> {
    let start =
        |docker: Docker| async move { docker.start_container(id, None::<StartContainerOptions>).await };
    daemon.ask(CHANGE, start).await
}

/// Removes a container with everything that runs in it and the volumes without a name. One that is not there, or is
/// just being removed, is fine.
pub(super) async fn remove(daemon: &Daemon, id: &str) -> Result<(), Fault> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let remove = |docker: Docker| async move { docker.remove_container(id, Some(options)).await };
    match unless_missing(daemon.ask(CHANGE, remove).await) {
        Err(fault) if fault.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

/// Notes what identifies a container that runs.
pub(super) async fn introduce(daemon: &Daemon, record: &mut Record, id: &str) -> Result<(), Fault> {
    record.own = Own { container: Some(id.to_owned()), ..record.own.clone() };
    let Some(inspected) = inspect(daemon, id).await? else { return Ok(()) };
    let pid = inspected.state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok());
    record.own.pid = pid.filter(|pid| *pid > 0);
    record.own.stop_signal =
        inspected.config.and_then(|config| config.stop_signal).filter(|name| !name.is_empty());
    Ok(())
}
