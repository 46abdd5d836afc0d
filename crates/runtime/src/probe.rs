//! Running probes: HTTP, TCP and commands.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;

/// Bytes of a command's output that are kept for the message.
const MAX_OUTPUT: u64 = 512;
/// Redirects that are followed on the same host.
const MAX_REDIRECTS: usize = 10;

/// What to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ProbeTarget {
    /// GET; good when the status is 200…399. Redirects are followed on the same host and port only.
    Http {
        /// The address, `http://…`.
        url: String,
    },
    /// Good when a connection is accepted.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// Good when a command exits with code 0. When its time is over, it and what it started are killed.
    Exec {
        /// Program: a path, or a name looked up in `PATH`.
        program: String,
        /// Arguments.
        args: Vec<String>,
        /// Working directory.
        workdir: PathBuf,
    },
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// Whether it is good.
    pub success: bool,
    /// How long it took.
    pub duration: Duration,
    /// What it said, for people.
    pub message: String,
}

/// Runs probes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProbeRunner {
    client: reqwest::Client,
}

impl ProbeRunner {
    /// A runner that uses no proxy and keeps no connection between probes: each one tests a new connection.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up, with the reason.
    pub fn new() -> Result<Self, String> {
        let same_place = reqwest::redirect::Policy::custom(|attempt| {
            let last = attempt.previous().last();
            let same = last.is_some_and(|last| last.origin() == attempt.url().origin());
            if same && attempt.previous().len() < MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
        });
        let builder = reqwest::Client::builder().no_proxy().redirect(same_place).pool_max_idle_per_host(0);
        let client = builder.build().map_err(|error| full(&error))?;
        Ok(Self { client })
    }

    /// Runs one probe; it ends at the latest after `timeout`.
    pub async fn run(&self, target: &ProbeTarget, timeout: Duration) -> ProbeOutcome {
        let start = Instant::now();
        let result = match target {
            ProbeTarget::Http { url } => in_time(timeout, self.http(url)).await,
            ProbeTarget::Tcp { address } => in_time(timeout, tcp(address)).await,
            ProbeTarget::Exec { program, args, workdir } => exec(program, args, workdir, timeout).await,
        };
        let (success, message) = match result {
            Ok(message) => (true, message),
            Err(message) => (false, message),
        };
        ProbeOutcome { success, duration: start.elapsed(), message }
    }

    async fn http(&self, url: &str) -> Result<String, String> {
        let response = self.client.get(url).header("user-agent", "sos-probe").send().await;
        let status = response.map_err(|error| full(&error))?.status();
        let message = format!("GET {url} answered {status}");
        if (200..400).contains(&status.as_u16()) { Ok(message) } else { Err(message) }
    }
}

async fn in_time(
    timeout: Duration,
    probe: impl Future<Output = Result<String, String>>,
) -> Result<String, String> {
    tokio::time::timeout(timeout, probe).await.unwrap_or_else(|_| Err(too_long(timeout)))
}

fn too_long(timeout: Duration) -> String {
    format!("no answer within {} s", timeout.as_secs_f64())
}

async fn tcp(address: &str) -> Result<String, String> {
    match TcpStream::connect(address).await {
        Ok(_) => Ok(format!("{address} accepts connections")),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

/// Ends the group of a probe command, however the probe ends: also when its future is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn exec(
    program: &str,
    args: &[String],
    workdir: &PathBuf,
    timeout: Duration,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(workdir).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let stdout = child.stdout.take();
    let finish = async {
        let (output, status) = tokio::join!(first_bytes(stdout), child.wait());
        let status = status.map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&output).trim().to_owned();
        let message = format!("{program}: {status}{}{text}", if text.is_empty() { "" } else { ": " });
        if status.success() { Ok(message) } else { Err(message) }
    };
    let result = tokio::time::timeout(timeout, finish).await;
    if result.is_err() {
        drop(group);
        let _reaped = child.wait().await;
        return Err(too_long(timeout));
    }
    // The leader was reaped, so its id may name another group by now.
    group.0 = None;
    result.unwrap_or_else(|_| Err(too_long(timeout)))
}

/// Keeps the beginning of the output and reads the rest away, so that the command never blocks on it.
async fn first_bytes(stdout: Option<tokio::process::ChildStdout>) -> Vec<u8> {
    let mut kept = vec![];
    if let Some(mut stdout) = stdout {
        let _broken = (&mut stdout).take(MAX_OUTPUT).read_to_end(&mut kept).await;
        let _broken = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
    }
    kept
}

/// An error with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
