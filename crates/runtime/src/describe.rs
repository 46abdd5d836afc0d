//! From a declared service to the description of one deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ContainerConfig;

/// A service as declared, as far as running it is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Its name: lower-case letters, digits, `-`, `.`.
    pub service: String,
    /// Program: a path, or a name looked up in `PATH`. Empty for the entry point of the container's image.
    pub program: String,
    /// Arguments. `$(NAME)` stands for a plain variable of `env` or for one of the given variables
    /// (`SOS_SERVICE`, `SOS_REPLICA`, `SOS_ORDINAL`, `SOS_RUN`, `PORT`, `PORT_NAME`); `$$(` for `$(`.
    pub args: Vec<String>,
    /// Environment, expanded like `args`, in order.
    pub env: Vec<EnvVar>,
    /// Working directory.
    pub workdir: PathBuf,
    /// Ports on the loopback interface.
    pub ports: Vec<PortRequest>,
    /// Limits.
    pub limits: Limits,
    /// Rotation of logs.
    pub logs: LogRotation,
    /// Services it needs; kept with the replica so that stopping keeps the order.
    pub depends_on: Vec<String>,
    /// From the request to stop to the kill.
    pub stop_timeout: SignedDuration,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What a container needs; `None` for a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerConfig>,
    /// Where it runs, where that makes it another one although all else is the same: a namespace of a cluster, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// One variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value or where that comes from.
    pub value: EnvValue,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvValue {
    /// This text.
    Plain(String),
    /// A key of a secret; the value is handed to the driver apart, in [`crate::SecretValues`].
    Secret {
        /// The secret.
        secret: String,
        /// The key within it.
        key: String,
    },
}

/// A port that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// Its name: lower-case letters, digits, `-`.
    pub name: String,
    /// A certain port; without it a free one is assigned and kept over restarts.
    pub port: Option<u16>,
}

/// Limits of one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time in thousandths of one processor, above 0.
    pub cpu_millis: Option<u64>,
    /// Memory in bytes, above 0.
    pub memory_bytes: Option<u64>,
}

/// When logs are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRotation {
    /// A log that is larger is rotated, bytes.
    pub max_bytes: u64,
    /// Rotated logs that are kept.
    pub keep: u32,
}

impl Default for LogRotation {
    fn default() -> Self {
        Self { max_bytes: 10 << 20, keep: 3 }
    }
}

/// The configuration of one replica, checked: the result of the first step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaConfig {
    /// The service.
    pub service: ServiceConfig,
    /// Replica id, unique in the data directory: `SERVICE-ORDINAL`.
    pub replica: String,
    /// Its number within the service.
    pub ordinal: u32,
    /// The generation of the declaration.
    pub generation: u64,
    /// The run of a batch job.
    pub run: Option<String>,
}

/// What is found out on the machine: the result of the second step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Ports by name.
    pub ports: BTreeMap<String, u16>,
    /// Absolute path of the program; in a container as declared.
    pub program: PathBuf,
    /// SHA-256 of the program file, in hex; in a container the id of its image.
    pub version: String,
    /// The log of standard output and standard error.
    pub log: PathBuf,
    /// Labels, those of the driver included.
    pub labels: BTreeMap<String, String>,
}

/// The generated description of one deployment: all that a driver is told, apart from secret values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The service.
    pub service: String,
    /// Replica id.
    pub replica: String,
    /// Its number within the service.
    pub ordinal: u32,
    /// The generation of the declaration.
    pub generation: u64,
    /// See [`description_hash`].
    pub description_hash: String,
    /// The run of a batch job.
    pub run: Option<String>,
    /// Absolute path of the program; in a container as declared.
    pub program: PathBuf,
    /// SHA-256 of the program file, in hex; in a container the id of its image.
    pub version: String,
    /// Arguments, expanded.
    pub args: Vec<String>,
    /// Environment, expanded; secrets by reference.
    pub env: Vec<EnvVar>,
    /// Working directory.
    pub workdir: PathBuf,
    /// Assigned ports by name.
    pub ports: BTreeMap<String, u16>,
    /// Limits.
    pub limits: Limits,
    /// The log of standard output and standard error.
    pub log: PathBuf,
    /// Rotation of logs.
    pub logs: LogRotation,
    /// Services it needs.
    pub depends_on: Vec<String>,
    /// From the request to stop to the kill.
    pub stop_timeout: SignedDuration,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What a container needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerConfig>,
}

/// Why a service cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DescribeError {
    /// A name that cannot be a file name, a variable or a label.
    #[error(
        "{what} {name:?} may hold only lower-case letters, digits, '-' and '.', and must begin with a letter or digit"
    )]
    Name {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The name of an environment variable is empty or holds `=` or a zero byte.
    #[error("environment variable {0:?} needs a name without '=' and zero bytes")]
    Variable(String),
    /// No program.
    #[error("service {0} names no program")]
    NoProgram(String),
    /// The same name twice.
    #[error("{what} {name:?} is given twice")]
    Twice {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A zero byte, which no argument may hold.
    #[error("an argument or variable of service {0} holds a zero byte")]
    ZeroByte(String),
    /// A limit of zero.
    #[error("the {what} limit of service {service} must be above zero")]
    ZeroLimit {
        /// Which limit.
        what: &'static str,
        /// The service.
        service: String,
    },
    /// A reference to a variable that is not known.
    #[error("$({name}) is not known; known are {known}")]
    UnknownVariable {
        /// The name.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// A secret where all users of the machine could read it.
    #[error(
        "$({0}) is a secret and cannot be put into an argument or another variable; pass it as a variable of its own"
    )]
    SecretInText(String),
    /// What a container needs is declared wrongly.
    #[error("{what} of the container of service {service}: {why}")]
    Container {
        /// The service.
        service: String,
        /// Which part.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A requested port was not assigned.
    #[error("no port was assigned for {0:?}")]
    PortMissing(String),
}

/// Step 1: checks what is declared and makes it the configuration of one replica.
///
/// # Errors
/// The first thing that is wrong.
pub fn load_configuration(
    service: &ServiceConfig,
    ordinal: u32,
    generation: u64,
    run: Option<&str>,
) -> Result<ReplicaConfig, DescribeError> {
    check_name("service", &service.service)?;
    if service.program.is_empty() && service.container.is_none() {
        return Err(DescribeError::NoProgram(service.service.clone()));
    }
    check_ports(service)?;
    check_limits(service)?;
    for var in &service.env {
        if var.name.is_empty() || var.name.contains(['=', '\0']) {
            return Err(DescribeError::Variable(var.name.clone()));
        }
    }
    let plain = service.env.iter().filter_map(|var| match &var.value {
        EnvValue::Plain(text) => Some(text),
        EnvValue::Secret { .. } => None,
    });
    if service.args.iter().chain(plain).chain([&service.program]).any(|text| text.contains('\0')) {
        return Err(DescribeError::ZeroByte(service.service.clone()));
    }
    if let Some(container) = &service.container {
        container.check(service)?;
    }
    let replica = format!("{}-{ordinal}", service.service);
    Ok(ReplicaConfig { service: service.clone(), replica, ordinal, generation, run: run.map(str::to_owned) })
}

fn check_ports(service: &ServiceConfig) -> Result<(), DescribeError> {
    let mut seen = BTreeSet::new();
    for port in &service.ports {
        check_name("port", &port.name)?;
        if !seen.insert(&port.name) {
            return Err(DescribeError::Twice { what: "port", name: port.name.clone() });
        }
    }
    Ok(())
}

fn check_limits(service: &ServiceConfig) -> Result<(), DescribeError> {
    let zero = |what| DescribeError::ZeroLimit { what, service: service.service.clone() };
    match service.limits {
        Limits { cpu_millis: Some(0), .. } => Err(zero("cpu")),
        Limits { memory_bytes: Some(0), .. } => Err(zero("memory")),
        _ => Ok(()),
    }
}

/// Names become file names; nothing that could leave the folder is allowed.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), DescribeError> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
    if first && rest && name.len() <= 200 {
        return Ok(());
    }
    Err(DescribeError::Name { what, name: name.into() })
}

/// A hash over everything that makes a replica a different program when it changes: not over its id, its
/// generation, its run, its labels, the ports that happened to be assigned, or the program file (an upgrade of
/// `sos` itself must not restart what runs).
#[must_use]
pub fn description_hash(service: &ServiceConfig) -> String {
    let relevant = (
        (&service.service, &service.program, &service.args, &service.env),
        (&service.workdir, &service.ports, &service.limits, &service.logs),
    );
    // Plain structs of text and numbers always serialise.
    let mut bytes = serde_json::to_vec(&relevant).unwrap_or_default();
    // Appended, so that services without a container keep their hash.
    if let Some(container) = &service.container {
        bytes.extend(serde_json::to_vec(container).unwrap_or_default());
    }
    if let Some(place) = &service.place {
        bytes.extend(place.as_bytes());
    }
    Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Step 3: the description, a pure function of configuration and metadata.
///
/// # Errors
/// When a `$(NAME)` is unknown or would reveal a secret, or a port is missing.
pub fn describe_deployment(config: &ReplicaConfig, metadata: &Metadata) -> Result<Deployment, DescribeError> {
    let service = &config.service;
    let mut known = given_variables(config, metadata)?;
    let mut env: Vec<EnvVar> = known
        .iter()
        .filter_map(|(name, value)| {
            let value = EnvValue::Plain(value.clone()?);
            Some(EnvVar { name: name.clone(), value })
        })
        .collect();
    for var in &service.env {
        let value = match &var.value {
            EnvValue::Plain(text) => {
                let text = expand(text, &known)?;
                known.insert(var.name.clone(), Some(text.clone()));
                EnvValue::Plain(text)
            }
            EnvValue::Secret { .. } => {
                known.insert(var.name.clone(), None);
                var.value.clone()
            }
        };
        env.retain(|other| other.name != var.name);
        env.push(EnvVar { name: var.name.clone(), value });
    }
    let args = service.args.iter().map(|arg| expand(arg, &known)).collect::<Result<_, _>>()?;
    Ok(Deployment {
        service: service.service.clone(),
        replica: config.replica.clone(),
        ordinal: config.ordinal,
        generation: config.generation,
        description_hash: description_hash(service),
        run: config.run.clone(),
        program: metadata.program.clone(),
        version: metadata.version.clone(),
        args,
        env,
        workdir: service.workdir.clone(),
        ports: metadata.ports.clone(),
        limits: service.limits,
        log: metadata.log.clone(),
        logs: service.logs,
        depends_on: service.depends_on.clone(),
        stop_timeout: service.stop_timeout,
        labels: metadata.labels.clone(),
        container: service.container.as_ref().map(|container| described(container, &known)).transpose()?,
    })
}

/// Commands of probes may name the same variables as arguments.
fn described(
    container: &ContainerConfig,
    known: &BTreeMap<String, Option<String>>,
) -> Result<ContainerConfig, DescribeError> {
    let mut container = container.clone();
    for word in container.probes.commands_mut() {
        *word = expand(word, known)?;
    }
    Ok(container)
}

/// Variables that every replica is given; ports are those that the program itself listens on. `None` marks a secret.
fn given_variables(
    config: &ReplicaConfig,
    metadata: &Metadata,
) -> Result<BTreeMap<String, Option<String>>, DescribeError> {
    let mut known = BTreeMap::from([
        ("SOS_SERVICE".to_owned(), Some(config.service.service.clone())),
        ("SOS_REPLICA".to_owned(), Some(config.replica.clone())),
        ("SOS_ORDINAL".to_owned(), Some(config.ordinal.to_string())),
    ]);
    if let Some(run) = &config.run {
        known.insert("SOS_RUN".into(), Some(run.clone()));
    }
    for (index, request) in config.service.ports.iter().enumerate() {
        let port = metadata.ports.get(&request.name);
        let port = *port.ok_or_else(|| DescribeError::PortMissing(request.name.clone()))?;
        let container = config.service.container.as_ref();
        let port = container.map_or(port, |container| container.inner_port(&request.name, port)).to_string();
        let name = request.name.to_ascii_uppercase().replace(['-', '.'], "_");
        known.insert(format!("PORT_{name}"), Some(port.clone()));
        if index == 0 {
            known.insert("PORT".into(), Some(port));
        }
    }
    Ok(known)
}

/// Replaces `$(NAME)`; `$$(` gives `$(`.
fn expand(text: &str, known: &BTreeMap<String, Option<String>>) -> Result<String, DescribeError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("$(") {
        if let Some(literal) = rest[..start].strip_suffix('$') {
            out.push_str(literal);
            out.push_str("$(");
            rest = &rest[start + 2..];
            continue;
        }
        let Some(end) = rest[start..].find(')') else { break };
        let name = &rest[start + 2..start + end];
        out.push_str(&rest[..start]);
        match known.get(name) {
            Some(Some(value)) => out.push_str(value),
            Some(None) => return Err(DescribeError::SecretInText(name.into())),
            None => {
                let known: Vec<_> = known.keys().map(String::as_str).collect();
                return Err(DescribeError::UnknownVariable { name: name.into(), known: known.join(", ") });
            }
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ContainerCheck, ContainerNetwork, ContainerProbe, ImageBuild, ImageSource, Volume, VolumeSource,
    };

    fn service() -> ServiceConfig {
        ServiceConfig {
            service: "gateway".into(),
            program: "sos".into(),
            args: vec!["--listen=127.0.0.1:$(PORT_HTTP)".into(), "$(WHERE)".into(), "$$(raw)".into()],
            env: vec![
                EnvVar { name: "WHERE".into(), value: EnvValue::Plain("home of $(SOS_REPLICA)".into()) },
                EnvVar {
                    name: "TOKEN".into(),
                    value: EnvValue::Secret { secret: "api".into(), key: "token".into() },
                },
            ],
            workdir: "/".into(),
            ports: vec![PortRequest { name: "http".into(), port: None }],
            limits: Limits::default(),
            logs: LogRotation::default(),
            depends_on: vec![],
            stop_timeout: SignedDuration::from_secs(10),
            labels: BTreeMap::new(),
            container: None,
            place: None,
        }
    }

    fn metadata() -> Metadata {
        Metadata {
            ports: BTreeMap::from([("http".into(), 8123)]),
            program: "/usr/bin/sos".into(),
            version: "ab".into(),
            log: "/tmp/log".into(),
            labels: BTreeMap::new(),
        }
    }

    fn describe(service: &ServiceConfig) -> Result<Deployment, DescribeError> {
        describe_deployment(&load_configuration(service, 0, 1, None)?, &metadata())
    }

    #[test]
    fn references_are_expanded_in_arguments_and_variables() {
        let deployment = describe(&service()).unwrap();
        assert_eq!(deployment.args, ["--listen=127.0.0.1:8123", "home of gateway-0", "$(raw)"]);
    }

    #[test]
    fn a_secret_is_shown_by_reference_and_refused_in_an_argument() {
        let mut service = service();
        let shown = serde_json::to_string(&describe(&service).unwrap()).unwrap();
        assert!(shown.contains(r#""secret":"api""#), "{shown}");
        service.args = vec!["--token=$(TOKEN)".into()];
        assert_eq!(describe(&service), Err(DescribeError::SecretInText("TOKEN".into())));
    }

    #[test]
    fn an_unknown_reference_lists_what_is_known() {
        let mut service = service();
        service.args = vec!["$(PROT)".into()];
        let message = describe(&service).unwrap_err().to_string();
        assert!(message.contains("PORT_HTTP") && message.contains("SOS_REPLICA"), "{message}");
    }

    #[test]
    fn wrong_configurations_are_refused() {
        let wrong: [fn(&mut ServiceConfig); 7] = [
            |s| s.service = "../etc".into(),
            |s| s.service = String::new(),
            |s| s.program = String::new(),
            |s| s.args = vec!["a\0b".into()],
            |s| s.limits.memory_bytes = Some(0),
            |s| s.ports.push(s.ports[0].clone()),
            |s| s.env[0].name = "A=B".into(),
        ];
        for (index, spoil) in wrong.iter().enumerate() {
            let mut service = service();
            spoil(&mut service);
            assert!(load_configuration(&service, 0, 1, None).is_err(), "case {index}");
        }
    }

    #[test]
    fn the_hash_changes_with_the_program_and_not_with_labels() {
        let (one, mut two) = (service(), service());
        two.labels.insert("team".into(), "a".into());
        assert_eq!(description_hash(&one), description_hash(&two));
        two.args.push("-v".into());
        assert_ne!(description_hash(&one), description_hash(&two));
    }

    fn contained(change: impl Fn(&mut ServiceConfig, &mut ContainerConfig)) -> ServiceConfig {
        let mut service = service();
        let mut container = ContainerConfig::new(ImageSource::Reference("registry.example/a/b:1".into()));
        change(&mut service, &mut container);
        ServiceConfig { container: Some(container), ..service }
    }

    #[test]
    fn in_a_container_a_program_is_told_the_port_it_listens_on_inside() {
        let service = contained(|_, container| {
            container.ports.insert("http".into(), 80);
        });
        assert_eq!(describe(&service).unwrap().args[0], "--listen=127.0.0.1:80");
        assert_eq!(describe(&contained(|_, _| {})).unwrap().args[0], "--listen=127.0.0.1:8123");
        let host = contained(|_, container| container.network = ContainerNetwork::Host);
        assert_eq!(describe(&host).unwrap().args[0], "--listen=127.0.0.1:8123");
    }

    #[test]
    fn the_hash_changes_with_the_container_and_stays_without_one() {
        // That of a version that knew no containers: an upgrade restarts nothing.
        assert_eq!(description_hash(&service()), "45d6fd2bc1040eae");
        let one = contained(|_, _| {});
        assert_ne!(description_hash(&one), description_hash(&service()));
        let two = contained(|_, container| container.read_only_root = true);
        assert_ne!(description_hash(&one), description_hash(&two));
        // Without probes nothing of them is in the description.
        assert!(!serde_json::to_string(&one).unwrap().contains("probes"));
        let probe = |port: &str| ContainerProbe::new(ContainerCheck::Tcp { port: port.into() });
        let three = contained(|_, container| container.probes.readiness = Some(probe("http")));
        assert_ne!(description_hash(&one), description_hash(&three));
        let wrong = contained(|_, container| container.probes.readiness = Some(probe("htpt")));
        let error = load_configuration(&wrong, 0, 1, None).unwrap_err().to_string();
        assert!(error.contains("htpt") && error.contains("known are http"), "{error}");
    }

    #[test]
    fn wrong_containers_are_refused_with_what_is_wrong() {
        let build = |context: &str, dockerfile: &str| {
            ImageSource::Build(ImageBuild {
                context: context.into(),
                dockerfile: dockerfile.into(),
                args: BTreeMap::new(),
                target: None,
            })
        };
        let volume = |source: &str, target: &str| Volume {
            source: VolumeSource::Path(source.into()),
            target: target.into(),
            read_only: true,
        };
        type Spoil<'a> = (&'a str, Box<dyn Fn(&mut ServiceConfig, &mut ContainerConfig) + 'a>);
        let wrong: Vec<Spoil<'_>> = vec![
            ("image", Box::new(|_, c| c.image = ImageSource::Reference("a b".into()))),
            ("image", Box::new(|_, c| c.image = ImageSource::Reference(String::new()))),
            ("image", Box::new(|_, c| c.image = ImageSource::Reference("a".repeat(600)))),
            ("not an absolute path", Box::new(|_, c| c.image = build("relative", "Dockerfile"))),
            ("within the build folder", Box::new(|_, c| c.image = build("/a", "../Dockerfile"))),
            ("no port of the service", Box::new(|_, c| c.ports = [("grpc".into(), 1)].into())),
            ("1 to 65535", Box::new(|_, c| c.ports = [("http".into(), 0)].into())),
            (
                "inside and outside are one",
                Box::new(|_, c| {
                    c.network = ContainerNetwork::Host;
                    c.ports.insert("http".into(), 80);
                }),
            ),
            ("no port can be reached", Box::new(|_, c| c.network = ContainerNetwork::Off)),
            ("network", Box::new(|_, c| c.network = ContainerNetwork::Named("../x".into()))),
            ("USER", Box::new(|_, c| c.user = Some("a b".into()))),
            ("not an absolute path", Box::new(|_, c| c.volumes = vec![volume("a", "/b")])),
            ("without ..", Box::new(|_, c| c.volumes = vec![volume("/a", "/b/../c")])),
            ("below /", Box::new(|_, c| c.volumes = vec![volume("/a", "/")])),
            ("two are mounted", Box::new(|_, c| c.volumes = vec![volume("/a", "/b"), volume("/c", "/b")])),
        ];
        for (expected, spoil) in &wrong {
            let error = load_configuration(&contained(spoil), 0, 1, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
        assert!(load_configuration(&contained(|s, _| s.program = String::new()), 0, 1, None).is_ok());
    }
}
