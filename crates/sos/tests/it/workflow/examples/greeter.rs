//! The example that calls a service by its protocol file: a server of grpcio greets.

use std::path::Path;
use std::process::Command;

use super::super::peers::Peer;
use super::{cases, folder, hold, run};
use crate::peers::python_with;

const PROTO: &str = "syntax = \"proto3\";
package GreeterApi;
message Asked { string name = 1; }
message Told { string message = 1; }
service Greeter { rpc SayHello(Asked) returns (Told); }
";

#[test]
fn the_example_of_grpc_greets() {
    let Some(folder) = folder() else { return };
    let Some(python) = python_with("grpc-peers.txt") else { return };
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("greet.proto"), PROTO).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/greeter.py");
    let mut command = Command::new(python);
    command.arg(script).current_dir(place.path());
    let greeter = Peer::start(command);
    hold(&cases(&folder, "grpc", false), |case| {
        let (end, said) = run(case, |command, folder| {
            std::fs::create_dir(folder.join("app")).unwrap();
            std::fs::copy(place.path().join("greet.proto"), folder.join("app/greet.proto")).unwrap();
            command.args(["--resolve", &format!("localhost=127.0.0.1:{}", greeter.port)]);
        });
        case.objection(&end).map(|why| format!("{why}\n{said}"))
    });
}
