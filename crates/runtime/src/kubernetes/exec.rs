//! Credentials by a program that a kubeconfig names, where that is allowed: it runs once, in bounded time, alone.
//!
//! Source: `ExecCredential` of `client.authentication.k8s.io/v1` and `v1beta1`.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::error::shortened;

/// How long it may take: it may ask a service of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that it may print, bytes.
const MAX_OUTPUT: u64 = 1 << 20;
/// The versions of its answer that are known.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "apiVersion")]
    version: String,
    status: Option<AnswerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerStatus {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

/// Runs the program; its credentials, and when they expire, where it says so. What it prints is in no error.
pub(super) async fn credentials(exec: &ExecConfig) -> Result<(AuthInfo, Option<Timestamp>), String> {
    let program =
        exec.command.as_deref().filter(|program| !program.is_empty()).ok_or("its exec names no command")?;
    let name = shortened(program, 100);
    let version = exec.api_version.as_deref().unwrap_or_default();
    if !VERSIONS.contains(&version) {
        return Err(format!(
            "{name:?} is to answer in version {version:?}; known are {}",
            VERSIONS.join(", ")
        ));
    }
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(format!("{name:?} asks a person, who is not there"));
    }
    let mut child =
        start(exec, program, version).map_err(|error| format!("{name:?} cannot be run: {error}"))?;
    let _group = Group(child.id());
    let whole = async {
        let mut output = vec![];
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await.map_err(|error| error.to_string())?;
        }
        if output.len() as u64 > MAX_OUTPUT {
            return Err(format!("{name:?} prints more than {MAX_OUTPUT} bytes"));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(output) } else { Err(format!("{name:?} failed: {status}")) }
    };
    let late = || format!("{name:?} took longer than {} s", PATIENCE.as_secs());
    let output = tokio::time::timeout(PATIENCE, whole).await.map_err(|_| late())??;
    read(&output, version).map_err(|why| format!("the answer of {name:?} {why}"))
}

fn start(exec: &ExecConfig, program: &str, version: &str) -> std::io::Result<Child> {
    let mut info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": false}});
    if let Some(cluster) = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info) {
        info["spec"]["cluster"] = serde_json::to_value(cluster).unwrap_or(Value::Null);
    }
    let mut command = Command::new(program);
    command.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Ends what the program started, however the call ends.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

fn read(output: &[u8], version: &str) -> Result<(AuthInfo, Option<Timestamp>), String> {
    let wrong =
        |error: serde_json::Error| format!("is wrong at line {}, column {}", error.line(), error.column());
    let answer: Answer = serde_json::from_slice(output).map_err(wrong)?;
    if answer.version != version {
        return Err(format!("is of version {:?}, not {version:?}", shortened(&answer.version, 100)));
    }
    let status = answer.status.ok_or("has no status")?;
    let encoded = |text: &Option<String>| text.as_ref().map(|text| STANDARD.encode(text));
    let (certificate, key) = (encoded(&status.client_certificate_data), encoded(&status.client_key_data));
    if certificate.is_some() != key.is_some() {
        return Err("has a client certificate or its key, but not both".into());
    }
    if certificate.is_none() && status.token.is_none() {
        return Err("has no credentials".into());
    }
    let user = json!({"token": status.token, "client-certificate-data": certificate, "client-key-data": key});
    let user = serde_json::from_value(user).map_err(|_| "cannot be used".to_owned())?;
    Ok((user, status.expiration_timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(script: &str) -> ExecConfig {
        serde_json::from_value(json!({"apiVersion": VERSIONS[0], "command": "sh", "args": ["-c", script],
            "env": [{"name": "WORD", "value": "hunter2"}]}))
        .unwrap()
    }

    fn run(exec: &ExecConfig) -> Result<(AuthInfo, Option<Timestamp>), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(credentials(exec))
    }

    #[test]
    fn a_program_hands_over_a_token_with_its_time() {
        let script = r#"echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",
            \"status\":{\"token\":\"$WORD\",\"expirationTimestamp\":\"2026-01-01T00:00:00Z\"}}""#;
        let (user, expires) = run(&exec(script)).unwrap();
        assert_eq!(serde_json::to_value(user).unwrap()["token"], "hunter2");
        assert_eq!(expires, "2026-01-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn what_goes_wrong_is_told_without_what_it_printed() {
        for (script, expected) in [
            ("echo hunter2", "line 1"),
            ("echo hunter2; exit 3", "failed"),
            ("yes hunter2", "more than"),
            ("echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\"}'", "no status"),
            ("echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{}}'", "no credentials"),
            ("echo '{\"apiVersion\":\"v9\",\"status\":{}}'", "v9"),
        ] {
            let why = run(&exec(script)).unwrap_err();
            assert!(why.contains(expected) && !why.contains("hunter2"), "{script}: {why}");
        }
        let missing = ExecConfig { command: Some("no-such-program".into()), ..exec("") };
        assert!(run(&missing).unwrap_err().contains("no-such-program"));
        assert!(
            run(&ExecConfig { api_version: Some("v1alpha1".into()), ..exec("") })
                .unwrap_err()
                .contains("known are")
        );
        assert!(
            run(&ExecConfig { interactive_mode: Some(ExecInteractiveMode::Always), ..exec("") }).is_err()
        );
    }
}
