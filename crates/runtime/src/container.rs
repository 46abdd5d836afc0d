//! What a container needs beyond what a process does, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::describe::check_name;
use crate::{DescribeError, ServiceConfig};

/// Longest reference of an image, bytes: a name of 255, a tag of 128 and a digest.
const MAX_REFERENCE: usize = 512;

/// How a service runs in a container. Its program, when there is one, replaces the entry point of the image; its
/// arguments replace the image's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Where the image comes from.
    pub image: ImageSource,
    /// When the image is fetched. Without meaning for one that is built.
    pub pull: PullPolicy,
    /// The ports that the program listens on inside the container, by the names of the service's ports. One that is not
    /// here listens on the number that was assigned outside.
    pub ports: BTreeMap<String, u16>,
    /// Whether the working directory is seen inside, under the same path, and is where the program starts.
    pub workdir: WorkdirMount,
    /// What else is seen inside.
    pub volumes: Vec<Volume>,
    /// The network it is in.
    pub network: ContainerNetwork,
    /// `USER[:GROUP]`, names or numbers. Default: that of the image.
    pub user: Option<String>,
    /// Whether the files of the image cannot be written.
    pub read_only_root: bool,
    /// Whether a small program with number 1 hands on signals and reaps; without it the service itself has that number,
    /// and signals that it does not handle do not end it.
    pub init: bool,
    /// What whoever runs the container asks it by itself. The drivers of this machine leave that to the caller.
    #[serde(default, skip_serializing_if = "ContainerProbes::is_empty")]
    pub probes: ContainerProbes,
}

/// The probes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProbes {
    /// Whether it has started; until then nothing else is asked, and when it has failed as often as is allowed the container
    /// is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<ContainerProbe>,
    /// Whether it may get traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ContainerProbe>,
    /// Whether it is alive: otherwise it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<ContainerProbe>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProbe {
    /// What is asked.
    pub check: ContainerCheck,
    /// From the start to the first time.
    pub delay: SignedDuration,
    /// From one time to the next.
    pub every: SignedDuration,
    /// How long an answer may take.
    pub timeout: SignedDuration,
    /// So many failures in a row count.
    pub failures: u32,
    /// So many successes in a row count, for readiness.
    pub successes: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerCheck {
    /// That a GET is answered with 200 to 399.
    Http {
        /// The name of the port.
        port: String,
        /// The path.
        path: String,
    },
    /// That a connection is accepted.
    Tcp {
        /// The name of the port.
        port: String,
    },
    /// That a command inside ends with 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

impl ContainerProbes {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &ContainerProbe> {
        [&self.startup, &self.readiness, &self.liveness].into_iter().flatten()
    }

    /// All words of its commands.
    pub(crate) fn commands_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let all = [&mut self.startup, &mut self.readiness, &mut self.liveness].into_iter().flatten();
        all.flat_map(|probe| match &mut probe.check {
            ContainerCheck::Exec { command } => command.as_mut_slice(),
            ContainerCheck::Http { .. } | ContainerCheck::Tcp { .. } => &mut [],
        })
    }

    fn check(&self, service: &ServiceConfig) -> Result<(), String> {
        for probe in self.all() {
            match &probe.check {
                ContainerCheck::Exec { command } if command.is_empty() => {
                    return Err("a command needs at least a program".into());
                }
                ContainerCheck::Http { port, .. } | ContainerCheck::Tcp { port }
                    if !service.ports.iter().any(|known| known.name == *port) =>
                {
                    let known: Vec<_> = service.ports.iter().map(|port| port.name.as_str()).collect();
                    return Err(format!(
                        "{port:?} is no port of the service; known are {}",
                        known.join(", ")
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl ContainerProbe {
    /// Asks every 10 s, for at most 1 s, and takes three failures in a row for one.
    #[must_use]
    pub fn new(check: ContainerCheck) -> Self {
        Self {
            check,
            delay: SignedDuration::ZERO,
            every: SignedDuration::from_secs(10),
            timeout: SignedDuration::from_secs(1),
            failures: 3,
            successes: 1,
        }
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// A reference: `NAME[:TAG][@DIGEST]`.
    Reference(String),
    /// Made from a folder.
    Build(ImageBuild),
}

/// How an image is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBuild {
    /// The folder, absolute.
    pub context: PathBuf,
    /// The file with the instructions, relative to the folder.
    pub dockerfile: String,
    /// Values of its `ARG`s.
    pub args: BTreeMap<String, String>,
    /// The stage to build. Default: the last.
    pub target: Option<String>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// Before each start.
    Always,
    /// Never: it has to be there.
    Never,
}

/// Whether the working directory is seen inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkdirMount {
    /// Not: the program starts in the directory that the image declares.
    #[default]
    No,
    /// It can be read.
    ReadOnly,
    /// It can be read and written.
    ReadWrite,
}

/// Something from outside that is seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What is seen.
    pub source: VolumeSource,
    /// Where, an absolute path inside.
    pub target: PathBuf,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// What is seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeSource {
    /// A file or folder of this machine, an absolute path. It has to exist.
    Path(PathBuf),
    /// A volume of this name that services of the same data directory share. It is made when there is none, and outlives
    /// the service.
    Named(String),
}

/// The network of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerNetwork {
    /// One that all services of the data directory share. In it a replica is found by its id, and all replicas of a
    /// service by the service's name.
    #[default]
    Shared,
    /// One of this name within the data directory, such as that of a site.
    Named(String),
    /// That of the machine.
    Host,
    /// None but its own loopback interface.
    Off,
}

impl ContainerConfig {
    /// An image with the defaults of all else.
    #[must_use]
    pub fn new(image: ImageSource) -> Self {
        Self {
            image,
            pull: PullPolicy::default(),
            ports: BTreeMap::new(),
            workdir: WorkdirMount::default(),
            volumes: vec![],
            network: ContainerNetwork::default(),
            user: None,
            read_only_root: false,
            init: true,
            probes: ContainerProbes::default(),
        }
    }

    /// The port on which the program listens inside, where `assigned` is the one outside.
    #[must_use]
    pub fn inner_port(&self, name: &str, assigned: u16) -> u16 {
        if self.network == ContainerNetwork::Host {
            return assigned;
        }
        self.ports.get(name).copied().unwrap_or(assigned)
    }

    pub(crate) fn check(&self, service: &ServiceConfig) -> Result<(), DescribeError> {
        let wrong = |what: &'static str, why: String| DescribeError::Container {
            service: service.service.clone(),
            what,
            why,
        };
        self.image.check().map_err(|why| wrong("image", why))?;
        self.check_ports(service).map_err(|why| wrong("ports", why))?;
        if let ContainerNetwork::Named(name) = &self.network {
            check_name("network", name)?;
        }
        let odd = |user: &String| {
            user.is_empty()
                || user.len() > 256
                || user.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if self.user.as_ref().is_some_and(odd) {
            return Err(wrong("user", "expected USER or USER:GROUP".into()));
        }
        self.check_volumes(service).map_err(|why| wrong("volumes", why))?;
        self.probes.check(service).map_err(|why| wrong("probes", why))?;
        let mut named = self.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::Named(name) => Some(name),
            VolumeSource::Path(_) => None,
        });
        named.try_for_each(|name| check_name("volume", name))
    }

    fn check_ports(&self, service: &ServiceConfig) -> Result<(), String> {
        if self.network == ContainerNetwork::Off && !service.ports.is_empty() {
            return Err(
                "without a network no port can be reached; remove the ports or the network setting".into()
            );
        }
        for (name, number) in &self.ports {
            let Some(request) = service.ports.iter().find(|port| port.name == *name) else {
                return Err(format!("{name:?} is no port of the service"));
            };
            if *number == 0 {
                return Err(format!("the port of {name:?} inside the container must be 1 to 65535"));
            }
            if self.network == ContainerNetwork::Host && request.port != Some(*number) {
                let why = "in the network of the machine inside and outside are one";
                return Err(format!("{why}; declare port {number} for {name:?}"));
            }
        }
        Ok(())
    }

    fn check_volumes(&self, service: &ServiceConfig) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        if self.workdir != WorkdirMount::No {
            let path = &service.workdir;
            if !path.is_absolute() || path == Path::new("/") || has_zero(path) || path.to_str().is_none() {
                return Err(format!("working directory {} is not an absolute path below /", path.display()));
            }
            seen.insert(path.clone());
        }
        for volume in &self.volumes {
            inside(&volume.target)?;
            if !seen.insert(volume.target.clone()) {
                return Err(format!("two are mounted at {}", volume.target.display()));
            }
            if let VolumeSource::Path(path) = &volume.source
                && (!path.is_absolute() || has_zero(path))
            {
                return Err(format!("{} is not an absolute path", path.display()));
            }
        }
        Ok(())
    }
}

/// Checks a path at which something is mounted.
fn inside(path: &Path) -> Result<(), String> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path != Path::new("/") && !has_zero(path) && path.to_str().is_some() {
        return Ok(());
    }
    Err(format!("{} is not an absolute path below / without ..", path.display()))
}

fn has_zero(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}

impl ImageSource {
    fn check(&self) -> Result<(), String> {
        let build = match self {
            Self::Reference(reference) => return check_reference(reference),
            Self::Build(build) => build,
        };
        if !build.context.is_absolute() || has_zero(&build.context) {
            return Err(format!("build folder {} is not an absolute path", build.context.display()));
        }
        let file = Path::new(&build.dockerfile);
        let within = file.components().all(|part| matches!(part, Component::Normal(_)));
        if build.dockerfile.is_empty() || !within || has_zero(file) {
            return Err(format!("{:?} is not a file within the build folder", build.dockerfile));
        }
        let words = build.args.keys().chain(build.target.as_ref());
        match words.into_iter().find(|word| word.is_empty() || word.contains(['=', '\0', ' '])) {
            Some(word) => Err(format!("{word:?} is not a name of a build argument or stage")),
            None => Ok(()),
        }
    }

    /// For people: the reference, or the folder.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Reference(reference) => reference.clone(),
            Self::Build(build) => format!("built from {}", build.context.display()),
        }
    }
}

/// The characters of references; the daemon knows the rest of their rules.
fn check_reference(reference: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let begins = reference.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && reference.len() <= MAX_REFERENCE && reference.chars().all(known) {
        return Ok(());
    }
    Err(format!("{:?} is not a reference such as registry.example/name:tag", shortened(reference)))
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
