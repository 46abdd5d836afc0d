//! Probes that are commands run inside the container: what they look at is not seen from outside.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt;

use super::daemon::{Daemon, Fault};
use crate::ProbeOutcome;

/// Bytes of a command's output that are kept for the message, as of probes on this machine.
const MAX_OUTPUT: usize = 512;

/// Runs a command in a container; good when it exits with code 0 within `timeout`. What takes longer goes on inside.
pub(super) async fn probe(
    daemon: &Daemon,
    container: &str,
    command: &[String],
    timeout: Duration,
) -> ProbeOutcome {
    let start = Instant::now();
    let program = command.first().map_or("", String::as_str);
    let result = daemon.ask(timeout, |docker: Docker| run(docker, container, command)).await;
    let (success, message) = match result {
        Ok((Some(0), output)) => (true, told(program, "exit code 0", &output)),
        Ok((Some(code), output)) => (false, told(program, &format!("exit code {code}"), &output)),
        Ok((None, output)) => (false, told(program, "no exit code", &output)),
        Err(Fault::Away(why)) => (false, format!("{program}: {why}")),
        Err(Fault::Refused { message, .. }) => (false, format!("{program}: {message}")),
    };
    ProbeOutcome { success, duration: start.elapsed(), message }
}

async fn run(docker: Docker, container: &str, command: &[String]) -> Result<(Option<i64>, String), Error> {
    let options = CreateExecOptions {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(container, options).await?.id;
    let mut kept = vec![];
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec, None).await? {
        while let Some(piece) = output.next().await {
            let piece = piece?.into_bytes();
            let room = MAX_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..room.min(piece.len())]);
        }
    }
    let code = docker.inspect_exec(&exec).await?.exit_code;
    Ok((code, String::from_utf8_lossy(&kept).trim().to_owned()))
}

fn told(program: &str, end: &str, output: &str) -> String {
    format!("{program}: {end}{}{output}", if output.is_empty() { "" } else { ": " })
}
