//! `run: container`: a container that runs to its end, where the operator allowed it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sos_runtime::{DriverError, OnceContainer, OnceOutcome, PullPolicy, docker_socket, run_once};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;

use super::executor::{Executor, Within, text, wrong};
use super::shell::{plain, returned, script_of};
use crate::clock::wall_now;

/// Within what containers run, where they may.
pub(super) fn allowed(executor: &Executor) -> Result<Within, Fault> {
    executor.allowed.containers.ok_or_else(|| {
        let detail =
            "containers are run only where the operator allowed it (`--allow-containers`, `spec.containers`)";
        Fault::of(ErrorType::Authorization, "Not allowed", detail)
    })
}

pub(super) async fn run(executor: &Executor, key: &str, with: &Value) -> Result<Value, Fault> {
    let allowed = allowed(executor)?;
    let own = with.get("with").unwrap_or(&Value::Null);
    let container = declared(key, own, allowed)?;
    let outcome = run_once(docker_socket(), &container).await.map_err(|error| failed(&error))?;
    let Some(outcome) = outcome else {
        let detail = format!("the container took longer than {:?} and was ended", allowed.timeout);
        return Err(Fault::of(ErrorType::Timeout, "Timeout", detail));
    };
    let OnceOutcome { code, stdout, stderr } = outcome;
    returned(with, "container", (code, stdout, stderr))
}

fn declared(key: &str, own: &Value, allowed: Within) -> Result<OnceContainer, Fault> {
    let map = |name: &str| -> BTreeMap<String, String> {
        let entries = own.get(name).and_then(Value::as_object).into_iter().flatten();
        entries.map(|(name, value)| (name.clone(), plain(value))).collect()
    };
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| wrong(format!("expected a port of 1 to 65535 in `ports`, not `{text}`")))
    };
    let ports = map("ports").into_iter().map(|(outside, inside)| Ok((port(&outside)?, port(&inside)?)));
    let after = match own.pointer("/lifetime/cleanup").and_then(Value::as_str) {
        Some("always") => Some(Duration::ZERO),
        Some("eventually") => {
            let after = own.pointer("/lifetime/after").map(sos_workflow::Duration::from_json);
            let after = after.transpose().map_err(wrong)?;
            let seconds =
                after.and_then(|after| after.ending(wall_now())).map(|end| end.duration_since(wall_now()));
            Some(seconds.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::from_secs(3600)))
        }
        _ => None,
    };
    let command = match own.get("command").and_then(Value::as_str) {
        // As of commands on this machine: a text for a shell.
        Some(_) => {
            let (script, arguments) = script_of(own)?;
            ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
                .into_iter()
                .chain(arguments)
                .collect()
        }
        None => own.get("arguments").and_then(Value::as_array).into_iter().flatten().map(plain).collect(),
    };
    Ok(OnceContainer {
        key: key.to_owned(),
        image: text(own, "image")?.to_owned(),
        pull: match own.get("pullPolicy").and_then(Value::as_str) {
            Some("always") => PullPolicy::Always,
            Some("never") => PullPolicy::Never,
            _ => PullPolicy::Missing,
        },
        name: own.get("name").and_then(Value::as_str).map(name),
        command,
        environment: map("environment"),
        stdin: own.get("stdin").filter(|stdin| !stdin.is_null()).map(plain),
        ports: ports.collect::<Result<_, Fault>>()?,
        volumes: map("volumes"),
        network: allowed.network,
        memory: allowed.memory,
        timeout: allowed.timeout,
        removed_after: after,
        now: wall_now().as_second(),
    })
}

/// A name as the daemon takes it: what it does not know is a dash.
fn name(text: &str) -> String {
    let known = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(known).collect();
    name.trim_start_matches(['-', '.', '_']).to_owned()
}

fn failed(error: &DriverError) -> Fault {
    let kind = match error {
        DriverError::Daemon { .. } => ErrorType::Communication,
        _ => ErrorType::Runtime,
    };
    Fault::of(kind, "The container did not run", error.full())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_read_from_its_task() {
        let own = json!({
            "image": "alpine", "command": "echo $1", "arguments": ["a", 2], "environment": {"A": 1},
            "ports": {"8080": 80}, "name": "/hello world", "lifetime": {"cleanup": "eventually", "after": "PT30M"},
        });
        let container = declared("k", &own, Within::default()).unwrap();
        assert_eq!(container.command, ["/bin/sh", "-c", "echo $1", "sh", "a", "2"]);
        assert_eq!(container.environment, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!(container.ports, BTreeMap::from([(8080, 80)]));
        assert_eq!(container.name.as_deref(), Some("hello-world"));
        let after = container.removed_after.unwrap().as_secs();
        assert!((1799..=1800).contains(&after), "{after}");
        let wrong = declared("k", &json!({"image": "a", "ports": {"x": 1}}), Within::default());
        assert!(wrong.unwrap_err().detail.unwrap().contains("`x`"));
    }
}
