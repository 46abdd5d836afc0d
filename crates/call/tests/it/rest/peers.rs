//! Servers of others for REST.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::python;
use crate::skipped::skipped;
use crate::support::{Server, closed_port, script_path};

/// What a script of this project prints; `None`, and the test is skipped, where it cannot be had.
fn script(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name);
    let output = Command::new("bash").arg(script).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().into()),
        Some(77) => {
            skipped(told.lines().last().unwrap_or(name));
            None
        }
        _ => panic!("{name}: {told}"),
    }
}

pub(super) fn public_descriptions() -> Option<PathBuf> {
    script("openapi-documents.sh")
}

/// The server that repeats what it was asked, or answers badly.
pub(super) fn echo() -> Option<Server> {
    let mut command = Command::new(python()?);
    command.arg(script_path("rest_server.py"));
    Some(Server::start(command, tempfile::tempdir().unwrap()).0)
}

/// A program that says when it listens. Its port may be taken between choice and start, so it tries again.
fn listening(make: impl Fn(u16) -> Command, ready: &str, failed: &str) -> Server {
    for _ in 0..10 {
        let port = closed_port();
        let (mut server, mut line) = Server::start(make(port), tempfile::tempdir().unwrap());
        while !line.contains(ready) && !line.contains(failed) {
            line = server.line();
        }
        if line.contains(ready) {
            server.port = port;
            return server;
        }
    }
    panic!("no port was free");
}

/// Prism, playing the service of a description.
pub(super) fn prism(description: &Path) -> Option<Server> {
    let program = script("prism.sh")?;
    let make = |port: u16| {
        let mut command = Command::new("node");
        command.arg(&program).args(["mock", "--errors", "--host", "127.0.0.1", "--port"]);
        command.arg(port.to_string()).arg(description).env("NO_COLOR", "1");
        command
    };
    Some(listening(make, "listening", "EADDRINUSE"))
}

/// WireMock with answers from a folder of mappings.
pub(super) fn wiremock(mappings: &[serde_json::Value]) -> Option<Server> {
    let program = script("wiremock.sh")?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("mappings");
    std::fs::create_dir(&root).unwrap();
    for (number, mapping) in mappings.iter().enumerate() {
        std::fs::write(root.join(format!("{number}.json")), mapping.to_string()).unwrap();
    }
    let make = |port: u16| {
        let mut command = Command::new("java");
        command.arg("-jar").arg(&program).args(["--bind-address", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--root-dir").arg(folder.path()).arg("--disable-gzip");
        command
    };
    let mut server = listening(make, "port:", "already in use");
    server.folder = folder;
    Some(server)
}
