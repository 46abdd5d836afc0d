//! gRPC: against grpcio, against the conformance suite of connectrpc.com, and against answers that are none.

mod answers;
mod conformance;
mod grpcio;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sos_call::grpc::Client;
use sos_call::{Address, Call, Documents, Limits, Settings, Transport, Version};

use crate::peers;
use crate::skipped::skipped;
use crate::support::{Server, WAIT, script_path};

/// What a script of `scripts/` prints, line by line; `None`, and the test counts as skipped, when it cannot have what it is for.
fn script(name: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name);
    let output = Command::new("bash").arg(script).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()),
        Some(77) => {
            skipped(told.lines().last().unwrap_or(name));
            None
        }
        _ => panic!("{name}: {told}"),
    }
}

/// A server by grpcio.
fn grpcio_server(more: &[&str]) -> Option<Server> {
    let python = script("peers.sh", &["grpc-peers.txt"])?.pop()?;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(script_path("grpc_server.py")).arg("--log").arg(folder.path().join("log")).args(more);
    Some(Server::start(command, folder).0)
}

fn transport() -> Transport {
    Transport::new(&Settings { version: Version::Http2, ..Settings::default() }).unwrap()
}

/// The contract of [`grpcio_server`].
fn client() -> Client {
    let text = std::fs::read(script_path("bench.proto")).unwrap();
    Client::read(&Documents::one("bench.proto", text)).unwrap()
}

fn call<'a>(endpoint: &'a Address, operation: &'a str, input: &'a Value) -> Call<'a> {
    Call { endpoint, operation, input, headers: &[], query: &[], timeout: WAIT, limits: Limits::default() }
}

/// Within what errors have to come whose time is `time`.
fn soon(time: Duration) -> Duration {
    time + Duration::from_secs(5)
}

/// The Python of the other peers makes certificates.
fn has_certificates() -> bool {
    peers::python().is_some()
}
