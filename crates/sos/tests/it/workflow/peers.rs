//! Servers of others that workflows call, as child processes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A child that tells its port in its first line and ends with the test.
pub(super) struct Peer {
    child: Child,
    pub(super) port: u16,
    folder: TempDir,
}

impl Peer {
    /// Starts a program.
    pub(super) fn start(command: Command) -> Self {
        Self::within(command, tempfile::tempdir().unwrap())
    }

    /// Starts a script, which notes what it is asked.
    pub(super) fn script(python: &Path, script: &Path, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(python);
        command.arg(script).arg("--log").arg(folder.path().join("log")).args(more);
        Self::within(command, folder)
    }

    fn within(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse();
        let Ok(port) = port else {
            let _ended = child.kill();
            panic!("the server ended, or told no port: {line:?}");
        };
        Self { child, port, folder }
    }

    /// What it noted so far, one value for each request.
    pub(super) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A script of the tests of calls.
pub(super) fn path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../call/tests/peer").join(script)
}
