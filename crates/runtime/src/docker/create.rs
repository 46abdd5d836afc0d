//! From a description to what the daemon is asked to make.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount,
    MountType, MountVolumeOptions, NetworkingConfig, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};
use jiff::Timestamp;

use super::names::{labels, network_name, of_instance, volume_name};
use crate::{
    ContainerConfig, ContainerNetwork, Deployment, EnvValue, Limits, LogRotation, SecretValues, Volume,
    VolumeSource, WorkdirMount,
};

/// Length of the period in which processor time is shared out, microseconds.
const CPU_PERIOD_US: i64 = 100_000;
/// The daemon keeps at most so many files of a log while nobody copies it.
const MOST_LOG_FILES: u32 = 10;
/// Smaller files would be rotated faster than they are copied.
const LEAST_LOG_BYTES: u64 = 64 << 10;

/// One start of a replica.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) container: &'a ContainerConfig,
    pub(super) instance: &'a str,
    pub(super) launch: &'a str,
    pub(super) started_at: Timestamp,
    pub(super) secrets: &'a SecretValues,
}

impl Start<'_> {
    /// What the daemon is asked for.
    pub(super) fn body(&self) -> ContainerCreateBody {
        let (deployment, container) = (self.deployment, self.container);
        let program = deployment.program.to_string_lossy().into_owned();
        let (entrypoint, args) = (Some(vec![program]), Some(deployment.args.clone()));
        ContainerCreateBody {
            // The very image that was resolved, whatever its reference means by now.
            image: Some(deployment.version.clone()),
            entrypoint: entrypoint.filter(|words| words.iter().all(|word| !word.is_empty())),
            cmd: args.filter(|args| !args.is_empty()),
            env: Some(self.env()),
            working_dir: (container.workdir != WorkdirMount::No).then(|| text(&deployment.workdir)),
            user: container.user.clone(),
            exposed_ports: Some(self.bindings().into_keys().collect()),
            labels: Some(labels(deployment, self.instance, self.launch, self.started_at)),
            tty: Some(false),
            host_config: Some(self.host()),
            networking_config: self.aliases(),
            ..ContainerCreateBody::default()
        }
    }

    fn env(&self) -> Vec<String> {
        let value = |var: &crate::EnvVar| match &var.value {
            EnvValue::Plain(text) => text.clone(),
            EnvValue::Secret { .. } => self.secrets.get(&var.name).unwrap_or_default().to_owned(),
        };
        self.deployment.env.iter().map(|var| format!("{}={}", var.name, value(var))).collect()
    }

    fn host(&self) -> HostConfig {
        let (limits, container) = (self.deployment.limits, self.container);
        let memory = limits.memory_bytes.map(signed);
        HostConfig {
            memory,
            // Memory and swap together: no swap.
            memory_swap: memory,
            cpu_period: limits.cpu_millis.map(|_| CPU_PERIOD_US),
            cpu_quota: limits.cpu_millis.map(cpu_quota),
            init: Some(container.init),
            // Who restarts is decided elsewhere; the daemon must not start a second time what was given up.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                ..RestartPolicy::default()
            }),
            log_config: Some(log_config(&self.deployment.logs)),
            network_mode: Some(network_name(self.instance, &container.network)),
            port_bindings: Some(self.bindings()),
            mounts: Some(self.mounts()),
            readonly_rootfs: Some(container.read_only_root),
            ..HostConfig::default()
        }
    }

    /// Where the ports inside are found outside: on the loopback interface, as those of processes.
    fn bindings(&self) -> PortMap {
        let mut bindings = PortMap::new();
        if matches!(self.container.network, ContainerNetwork::Host | ContainerNetwork::Off) {
            return bindings;
        }
        for (name, port) in &self.deployment.ports {
            let inside = format!("{}/tcp", self.container.inner_port(name, *port));
            let outside =
                PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
            bindings.entry(inside).or_default().get_or_insert_default().push(outside);
        }
        bindings
    }

    fn mounts(&self) -> Vec<Mount> {
        let workdir = &self.deployment.workdir;
        let bind = |read_only| mount(MountType::BIND, text(workdir), workdir, read_only);
        let own = match self.container.workdir {
            WorkdirMount::No => None,
            WorkdirMount::ReadOnly => Some(bind(true)),
            WorkdirMount::ReadWrite => Some(bind(false)),
        };
        own.into_iter().chain(self.container.volumes.iter().map(|volume| self.volume(volume))).collect()
    }

    fn volume(&self, volume: &Volume) -> Mount {
        match &volume.source {
            VolumeSource::Path(path) => mount(MountType::BIND, text(path), &volume.target, volume.read_only),
            VolumeSource::Named(name) => {
                let options = MountVolumeOptions {
                    labels: Some(of_instance(self.instance)),
                    ..MountVolumeOptions::default()
                };
                let name = volume_name(self.instance, name);
                let mount = mount(MountType::VOLUME, name, &volume.target, volume.read_only);
                Mount { volume_options: Some(options), ..mount }
            }
        }
    }

    /// The names under which others in the network find the replica.
    fn aliases(&self) -> Option<NetworkingConfig> {
        if matches!(self.container.network, ContainerNetwork::Host | ContainerNetwork::Off) {
            return None;
        }
        let aliases = vec![self.deployment.replica.clone(), self.deployment.service.clone()];
        let settings = EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() };
        let name = network_name(self.instance, &self.container.network);
        Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(name, settings)])) })
    }
}

fn mount(typ: MountType, source: String, target: &Path, read_only: bool) -> Mount {
    Mount {
        typ: Some(typ),
        source: Some(source),
        target: Some(text(target)),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// Bounds what the daemon keeps as the copy is bounded: it is all there is after a time without `sos`.
fn log_config(rule: &LogRotation) -> HostConfigLogConfig {
    let files = rule.keep.saturating_add(1).clamp(2, MOST_LOG_FILES);
    let config = [
        ("max-size", rule.max_bytes.clamp(LEAST_LOG_BYTES, 1 << 40).to_string()),
        ("max-file", files.to_string()),
    ];
    let config = config.map(|(key, value)| (key.to_owned(), value)).into();
    HostConfigLogConfig { typ: Some("json-file".into()), config: Some(config) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What the daemon is asked to change while a container runs; -1 takes a limit away.
pub(super) fn changed(limits: &Limits) -> ContainerUpdateBody {
    let memory = limits.memory_bytes.map_or(-1, signed);
    ContainerUpdateBody {
        memory: Some(memory),
        memory_swap: Some(memory),
        cpu_period: Some(CPU_PERIOD_US),
        cpu_quota: Some(limits.cpu_millis.map_or(-1, cpu_quota)),
        ..ContainerUpdateBody::default()
    }
}

/// The kernel refuses quotas below 1 ms.
fn cpu_quota(millis: u64) -> i64 {
    signed(millis.saturating_mul(100).max(1000))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::SignedDuration;

    use super::super::names::described;
    use super::*;
    use crate::{
        EnvVar, ImageSource, Limits, Metadata, PortRequest, ServiceConfig, describe_deployment,
        load_configuration,
    };

    fn deployment(change: impl Fn(&mut ServiceConfig, &mut ContainerConfig)) -> Deployment {
        let mut service = ServiceConfig {
            service: "web".into(),
            program: "sh".into(),
            args: vec!["-c".into(), "serve $(PORT)".into()],
            env: vec![EnvVar {
                name: "TOKEN".into(),
                value: EnvValue::Secret { secret: "api".into(), key: "token".into() },
            }],
            workdir: "/srv/web".into(),
            ports: vec![PortRequest { name: "http".into(), port: None }],
            limits: Limits { cpu_millis: Some(1), memory_bytes: Some(64 << 20) },
            logs: LogRotation { max_bytes: 1024, keep: 100 },
            depends_on: vec![],
            stop_timeout: SignedDuration::from_secs(10),
            labels: BTreeMap::from([("team".into(), "a".into())]),
            container: None,
            place: None,
        };
        let mut container = ContainerConfig::new(ImageSource::Reference("x".into()));
        change(&mut service, &mut container);
        service.container = Some(container);
        let metadata = Metadata {
            ports: BTreeMap::from([("http".into(), 20_001)]),
            program: service.program.clone().into(),
            version: "sha256:1".into(),
            log: "/log".into(),
            labels: service.labels.clone(),
        };
        describe_deployment(&load_configuration(&service, 3, 7, Some("r-1")).unwrap(), &metadata).unwrap()
    }

    fn body(deployment: &Deployment) -> ContainerCreateBody {
        let secrets = SecretValues::new().with("TOKEN", "hunter2");
        let start = Start {
            deployment,
            container: deployment.container.as_ref().unwrap(),
            instance: "abc",
            launch: "l1",
            started_at: Timestamp::UNIX_EPOCH,
            secrets: &secrets,
        };
        start.body()
    }

    #[test]
    fn ports_inside_are_published_on_the_loopback_interface_only() {
        let deployment = deployment(|_, container| {
            container.ports.insert("http".into(), 80);
        });
        let body = body(&deployment);
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".into()]));
        let host = body.host_config.unwrap();
        let bindings = host.port_bindings.unwrap();
        let binding = &bindings["80/tcp"].as_ref().unwrap()[0];
        assert_eq!(
            (binding.host_ip.as_deref(), binding.host_port.as_deref()),
            (Some("127.0.0.1"), Some("20001"))
        );
        assert_eq!(body.cmd.unwrap()[1], "serve 80");
    }

    #[test]
    fn limits_are_in_the_units_of_the_daemon() {
        let host = body(&deployment(|_, _| {})).host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.cpu_period, host.cpu_quota), (Some(100_000), Some(1000)), "at least 1 ms");
        let half =
            deployment(|service, _| service.limits = Limits { cpu_millis: Some(500), memory_bytes: None });
        let host = body(&half).host_config.unwrap();
        assert_eq!((host.memory, host.cpu_quota), (None, Some(50_000)));
        assert_eq!(host.log_config.unwrap().config.unwrap()["max-file"], "10");
    }

    #[test]
    fn the_labels_lead_back_to_the_description_and_hold_no_secret() {
        let deployment = deployment(|_, _| {});
        let body = body(&deployment);
        assert!(body.env.unwrap().contains(&"TOKEN=hunter2".to_owned()));
        let labels: BTreeMap<_, _> = body.labels.unwrap().into_iter().collect();
        assert!(labels.values().all(|value| !value.contains("hunter2")));
        assert_eq!((labels["team"].as_str(), labels["sos.energy/run"].as_str()), ("a", "r-1"));
        assert_eq!(described(&labels), Some((deployment.clone(), "l1".into(), Timestamp::UNIX_EPOCH)));
        for key in
            ["sos.energy/deployment", "sos.energy/replica", "sos.energy/launch", "sos.energy/started-at"]
        {
            let mut spoiled = labels.clone();
            spoiled.insert(key.into(), "../../x".into());
            let read = described(&spoiled);
            assert!(read.is_none() || key == "sos.energy/launch", "{key}: {read:?}");
        }
        assert_eq!(described(&BTreeMap::new()), None);
    }

    #[test]
    fn without_a_program_the_image_decides_and_networks_of_the_machine_publish_nothing() {
        let deployment = deployment(|service, container| {
            service.program = String::new();
            service.args = vec![];
            container.network = ContainerNetwork::Host;
        });
        let body = body(&deployment);
        assert_eq!((body.entrypoint, body.cmd, body.working_dir), (None, None, None));
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert!(host.port_bindings.unwrap().is_empty() && body.networking_config.is_none());
    }

    #[test]
    fn what_is_mounted_can_be_read_only_and_named_volumes_belong_to_the_data_directory() {
        let deployment = deployment(|_, container| {
            container.workdir = WorkdirMount::ReadOnly;
            let named = VolumeSource::Named("data".into());
            container.volumes = vec![
                Volume { source: VolumeSource::Path("/etc/x".into()), target: "/x".into(), read_only: true },
                Volume { source: named, target: "/data".into(), read_only: false },
            ];
        });
        let mounts = body(&deployment).host_config.unwrap().mounts.unwrap();
        let seen: Vec<_> = mounts
            .iter()
            .map(|m| (m.source.as_deref().unwrap(), m.target.as_deref().unwrap(), m.read_only.unwrap()))
            .collect();
        assert_eq!(
            seen,
            [("/srv/web", "/srv/web", true), ("/etc/x", "/x", true), ("sos-abc-data", "/data", false)]
        );
    }
}
