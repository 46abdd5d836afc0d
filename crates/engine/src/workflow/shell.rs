//! `run: shell`: a command, where the operator allowed it.

use std::process::Stdio;

use serde_json::{Value, json};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::executor::{Executor, Within, text, wrong};

/// The most bytes that are kept of what it writes.
const MOST: u64 = 4 << 20;

/// Ends everything that a command has started, when it is let go.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It may have ended by itself.
            let _ended =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Within what commands run, where they may.
pub(super) fn allowed(executor: &Executor) -> Result<Within, Fault> {
    executor.allowed.shell.ok_or_else(|| {
        let detail = "commands are run only where the operator allowed it (`--allow-shell`, `spec.shell`)";
        Fault::of(ErrorType::Authorization, "Not allowed", detail)
    })
}

pub(super) async fn run(executor: &Executor, with: &Value) -> Result<Value, Fault> {
    let within = allowed(executor)?;
    let own = with.get("with").unwrap_or(&Value::Null);
    let (script, arguments) = script_of(own)?;
    let mut command = limited(within);
    command.arg(script).arg("sh").args(arguments);
    command.env_clear().process_group(0).current_dir(&executor.base);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in own.get("environment").and_then(Value::as_object).into_iter().flatten() {
        command.env(name, plain(value));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed =
        |error: std::io::Error| Fault::of(ErrorType::Runtime, "The command did not run", error.to_string());
    let mut child = command.spawn().map_err(failed)?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    let stdin = own.get("stdin").map(plain).unwrap_or_default();
    let mut input = child.stdin.take();
    let feed = async move {
        if let Some(mut input) = input.take() {
            // A command that does not read its input is none that failed.
            let _fed = input.write_all(stdin.as_bytes()).await;
        }
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let ((), stdout, stderr) = tokio::join!(feed, read(out), read(err));
        Ok((child.wait().await?, stdout?, stderr?))
    };
    let done = tokio::time::timeout(within.timeout, work).await;
    drop(group);
    let late = |_| {
        let detail = format!("the command took longer than {:?} and was ended", within.timeout);
        Fault::of(ErrorType::Timeout, "Timeout", detail)
    };
    let (status, stdout, stderr) = done.map_err(late)?.map_err(failed)?;
    returned(with, "command", (i64::from(status.code().unwrap_or(-1)), stdout, stderr))
}

/// A shell within limits, still without its script. Memory is what a process allocates for itself (`RLIMIT_DATA`): what is mapped
/// and not used, which runtimes such as Node.js reserve plenty of, does not count. Without a network it has one of its own with nothing in it.
fn limited(within: Within) -> Command {
    const LIMITED: &str = "ulimit -d \"$1\" || exit 125; shift; exec /bin/sh -c \"$@\"";
    let mut command = if within.network {
        Command::new("/bin/sh")
    } else {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-current-user"]);
        }
        command.args(["--net", "--", "/bin/sh"]);
        command
    };
    command.args(["-c", LIMITED, "sh"]).arg((within.memory / 1024).to_string());
    command
}

/// What a command or a container gives, as its task asks for it. Only who asks for what it writes when all is well takes another
/// exit code for a failure.
pub(super) fn returned(
    with: &Value,
    what: &str,
    (code, stdout, stderr): (i64, String, String),
) -> Result<Value, Fault> {
    Ok(match with.get("return").and_then(Value::as_str).unwrap_or("stdout") {
        "none" => Value::Null,
        "code" => json!(code),
        "all" => json!({ "code": code, "stdout": stdout, "stderr": stderr }),
        "stderr" => json!(stderr),
        _ if code != 0 => {
            let said: String = stderr.trim().chars().take(400).collect();
            let detail = format!("exit code {code}: {said}");
            return Err(Fault::of(ErrorType::Runtime, &format!("The {what} failed"), detail));
        }
        _ => json!(stdout),
    })
}

async fn read(from: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let mut from = from.take(MOST);
        from.read_to_end(&mut bytes).await?;
        // The rest is let go, so that the command does not wait for a reader.
        tokio::io::copy(&mut from.into_inner(), &mut tokio::io::sink()).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The command, and its arguments: in the text where it says nothing of them, else where it names them (`$1`, `$@`).
pub(super) fn script_of(own: &Value) -> Result<(String, Vec<String>), Fault> {
    let mut script = text(own, "command")?.to_owned();
    let arguments: Vec<String> = match own.get("arguments") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(plain).collect(),
        Some(_) => return Err(wrong("expected a list as `arguments`")),
    };
    if !names_arguments(&script) {
        for argument in &arguments {
            script.push_str(" '");
            script.push_str(&argument.replace('\'', r"'\''"));
            script.push('\'');
        }
    }
    Ok((script, arguments))
}

/// Whether a script uses its positional parameters.
fn names_arguments(script: &str) -> bool {
    let after = script.split('$').skip(1).map(|text| text.strip_prefix('{').unwrap_or(text));
    after.filter_map(|text| text.chars().next()).any(|first| matches!(first, '1'..='9' | '@' | '*' | '#'))
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_at_the_end_or_where_the_command_names_them() {
        let made =
            |command: &str| script_of(&json!({ "command": command, "arguments": ["a b", "it's"] })).unwrap();
        assert_eq!(made("echo").0, r"echo 'a b' 'it'\''s'");
        assert_eq!(made("echo $1 ${2}").0, "echo $1 ${2}");
        assert_eq!(made("echo $1").1, ["a b", "it's"]);
        assert!(!names_arguments("echo $HOME ${x}") && names_arguments("f \"$@\""));
    }
}
