//! A container that runs once, to its end, for whoever waits for what it writes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    ListContainersOptionsBuilder, WaitContainerOptions,
};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt as _;

use super::daemon::{CHANGE, Daemon, Fault, LOOK};
use super::start::{remove, start};
use crate::{DriverError, PullPolicy};

/// The label that says for what a container was started: equal for repetitions.
const KEY: &str = "energy.sos.once";
/// The label of a container that is removed a while after its end: when, in seconds since 1970.
const UNTIL: &str = "energy.sos.once.until";
/// Longest time to fetch an image.
const FETCH: Duration = Duration::from_secs(60 * 60);
/// The most bytes that are kept of each of the two that it writes.
const MOST: usize = 4 << 20;
/// The most processes in it.
const PIDS: i64 = 1024;

/// What is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnceContainer {
    /// Equal for repetitions: an earlier one that still runs is ended first.
    pub key: String,
    /// The image.
    pub image: String,
    /// When it is fetched.
    pub pull: PullPolicy,
    /// Its name; none: one that the daemon makes up.
    pub name: Option<String>,
    /// Program and arguments instead of those of the image; empty: those.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// Ports of this machine's loopback interface, and those inside that they lead to.
    pub ports: BTreeMap<u16, u16>,
    /// Folders of this machine, and where they are inside.
    pub volumes: BTreeMap<String, String>,
    /// Whether it may use a network.
    pub network: bool,
    /// The most memory, bytes.
    pub memory: u64,
    /// The longest time.
    pub timeout: Duration,
    /// When it is removed after its end; none: never.
    pub removed_after: Option<Duration>,
    /// Now, seconds since 1970, for a container that is removed later.
    pub now: i64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnceOutcome {
    /// Its exit code.
    pub code: i64,
    /// What it wrote, up to 4 MiB.
    pub stdout: String,
    /// What it wrote of errors, up to 4 MiB.
    pub stderr: String,
}

/// Runs a container to its end; none when it took longer than it may, and was ended.
///
/// # Errors
/// [`DriverError::Daemon`] when the daemon cannot be asked, [`DriverError::Refused`] when it refuses, the image cannot be had too.
pub async fn run_once(socket: PathBuf, what: &OnceContainer) -> Result<Option<OnceOutcome>, DriverError> {
    let daemon = Daemon::new(socket);
    let failed = |fault| daemon.error("run a container once", fault);
    end_earlier(&daemon, &what.key).await.map_err(failed)?;
    fetch(&daemon, what).await.map_err(failed)?;
    let options = CreateContainerOptionsBuilder::new();
    let options = what.name.as_deref().map_or(options.clone(), |name| options.name(name)).build();
    let body = body(what);
    let create = |docker: Docker| async move { docker.create_container(Some(options), body).await };
    let id = daemon.ask(CHANGE, create).await.map_err(failed)?.id;
    // Dropped when nobody waits any more: then it goes with everything in it.
    let mut guard = Guard { daemon: Some((daemon.socket().to_owned(), id.clone())) };
    let ended = tokio::time::timeout(what.timeout, attended(&daemon, &id, what)).await;
    match ended {
        Ok(outcome) => {
            let outcome = outcome.map_err(failed)?;
            if what.removed_after != Some(Duration::ZERO) {
                guard.daemon = None;
            } else {
                remove(&daemon, &id).await.map_err(failed)?;
                guard.daemon = None;
            }
            Ok(Some(outcome))
        }
        Err(_) => Ok(None),
    }
}

/// Removes containers that have ended and whose time after that is over.
///
/// # Errors
/// As [`run_once`].
pub async fn remove_ended(socket: PathBuf, now: i64) -> Result<(), DriverError> {
    let daemon = Daemon::new(socket);
    let failed = |fault| daemon.error("look for containers that have ended", fault);
    let filters = HashMap::from([
        ("label".to_owned(), vec![UNTIL.to_owned()]),
        ("status".to_owned(), vec!["exited".to_owned(), "dead".to_owned()]),
    ]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let list = |docker: Docker| async move { docker.list_containers(Some(options)).await };
    for found in daemon.ask(LOOK, list).await.map_err(failed)? {
        let labels = found.labels.unwrap_or_default();
        let until = labels.get(UNTIL).and_then(|text| text.parse::<i64>().ok());
        if let (Some(id), Some(until)) = (found.id, until)
            && until <= now
        {
            remove(&daemon, &id).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes a container when nobody waits for it any more.
struct Guard {
    daemon: Option<(PathBuf, String)>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((socket, id)) = self.daemon.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(fault) = remove(&Daemon::new(socket), &id).await {
                    tracing::warn!(id, ?fault, "a container that nobody waits for cannot be removed");
                }
            });
        }
    }
}

async fn end_earlier(daemon: &Daemon, key: &str) -> Result<(), Fault> {
    let filters = HashMap::from([
        ("label".to_owned(), vec![format!("{KEY}={key}")]),
        ("status".to_owned(), vec!["created".to_owned(), "running".to_owned()]),
    ]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let list = |docker: Docker| async move { docker.list_containers(Some(options)).await };
    for earlier in daemon.ask(LOOK, list).await? {
        if let Some(id) = earlier.id {
            remove(daemon, &id).await?;
        }
    }
    Ok(())
}

async fn fetch(daemon: &Daemon, what: &OnceContainer) -> Result<(), Fault> {
    let image = what.image.clone();
    let inspect = |docker: Docker| async move { docker.inspect_image(&image).await.map(drop) };
    let there = match daemon.ask(LOOK, inspect).await {
        Ok(()) => true,
        Err(fault) if fault.is_missing() => false,
        Err(fault) => return Err(fault),
    };
    match (what.pull, there) {
        (PullPolicy::Never, false) => {
            let message = format!("the image {} is not here, and it may not be fetched", what.image);
            Err(Fault::Refused { status: 404, message })
        }
        (PullPolicy::Never | PullPolicy::Missing, true) => Ok(()),
        _ => {
            let tagged = what.image.rsplit('/').next().is_some_and(|name| name.contains([':', '@']));
            let name = if tagged { what.image.clone() } else { format!("{}:latest", what.image) };
            let options = CreateImageOptionsBuilder::new().from_image(&name).build();
            let pulled = daemon.ask(FETCH, |docker: Docker| async move {
                docker.create_image(Some(options), None, None).try_for_each(async |_| Ok(())).await
            });
            pulled.await
        }
    }
}

fn body(what: &OnceContainer) -> ContainerCreateBody {
    let mut labels = HashMap::from([(KEY.to_owned(), what.key.clone())]);
    if let Some(after) = what.removed_after.filter(|after| !after.is_zero()) {
        let after = i64::try_from((what.timeout + after).as_secs()).unwrap_or(i64::MAX);
        labels.insert(UNTIL.to_owned(), what.now.saturating_add(after).to_string());
    }
    let inside = |port: u16| format!("{port}/tcp");
    let bindings = what.ports.iter().map(|(outside, port)| {
        let binding =
            PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(outside.to_string()) };
        (inside(*port), Some(vec![binding]))
    });
    let memory = i64::try_from(what.memory).unwrap_or(i64::MAX);
    ContainerCreateBody {
        image: Some(what.image.clone()),
        cmd: (!what.command.is_empty()).then(|| what.command.clone()),
        env: Some(what.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(labels),
        exposed_ports: Some(what.ports.values().map(|port| inside(*port)).collect()),
        attach_stdin: Some(what.stdin.is_some()),
        open_stdin: Some(what.stdin.is_some()),
        stdin_once: Some(what.stdin.is_some()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(HostConfig {
            memory: Some(memory),
            // Memory and swap together: no swap.
            memory_swap: Some(memory),
            pids_limit: Some(PIDS),
            network_mode: (!what.network).then(|| "none".to_owned()),
            port_bindings: Some(bindings.collect()),
            binds: Some(what.volumes.iter().map(|(outside, inside)| format!("{outside}:{inside}")).collect()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Starts it, feeds it, reads what it writes, and waits for its end.
async fn attended(daemon: &Daemon, id: &str, what: &OnceContainer) -> Result<OnceOutcome, Fault> {
    let docker = daemon.connection().await?;
    let told = |error: bollard::errors::Error| Fault::of(&error);
    let options = AttachContainerOptionsBuilder::new()
        .stream(true)
        .stdin(what.stdin.is_some())
        .stdout(true)
        .stderr(true)
        .build();
    // Before it starts, so that nothing it writes is missed.
    let attached = docker.attach_container(id, Some(options)).await.map_err(told)?;
    start(daemon, id).await?;
    let (mut output, mut input) = (attached.output, attached.input);
    let feed = async {
        if let Some(text) = &what.stdin {
            // One that does not read its input is none that failed.
            let _fed = input.write_all(text.as_bytes()).await;
        }
        let _closed = input.shutdown().await;
    };
    let read = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(piece) = output.next().await {
            let (kept, bytes) = match piece.map_err(told)? {
                LogOutput::StdErr { message } => (&mut stderr, message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut stdout, message),
                LogOutput::StdIn { .. } => continue,
            };
            let room = MOST.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
        }
        Ok::<_, Fault>((stdout, stderr))
    };
    let ((), written) = tokio::join!(feed, read);
    let (stdout, stderr) = written?;
    let mut ends = docker.wait_container(id, None::<WaitContainerOptions>);
    let code = match ends.next().await {
        Some(Ok(end)) => end.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(error)) => return Err(told(error)),
        None => return Err(Fault::Away("the daemon did not tell how it ended".into())),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(OnceOutcome { code, stdout: text(stdout), stderr: text(stderr) })
}
