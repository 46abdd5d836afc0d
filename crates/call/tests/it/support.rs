//! Servers of others as child processes.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sos_call::{Address, HttpClient, Trust};
use tempfile::TempDir;

use crate::peers::{python, python_with};

/// Far beyond what any good answer takes.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// For those that never answer.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A child that ends with the test.
pub(crate) struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that is told where its log is, if it wants to know, and waits for its first line.
    pub(crate) fn start(mut command: Command, folder: TempDir) -> (Self, String) {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, output, port: 0, folder };
        let line = this.line();
        this.port = line.parse().unwrap_or_default();
        (this, line)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server ended");
        line.trim().to_owned()
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// What it noted so far, one value for each request.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn address(&self, path: &str) -> Address {
        Address::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }
}

fn peer(python: &Path, script: &str, more: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(script_path(script)).arg("--log").arg(folder.path().join("log")).args(more);
    Server::start(command, folder).0
}

pub(crate) fn script_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer").join(script)
}

/// Python's own HTTP server. `None`, and the test is skipped, without Python.
pub(crate) fn http_server(more: &[&str]) -> Option<Server> {
    Some(peer(&python()?, "http_server.py", more))
}

/// aiosmtpd.
pub(crate) fn mail_server(more: &[&str]) -> Option<Server> {
    Some(peer(&python()?, "mail_server.py", more))
}

/// Hypercorn: HTTP/1.1 and HTTP/2.
pub(crate) fn app_server(more: &[&str]) -> Option<Server> {
    Some(peer(&python()?, "app_server.py", more))
}

/// pproxy: an HTTP proxy.
pub(crate) fn proxy_server(more: &[&str]) -> Option<Server> {
    Some(peer(&python()?, "proxy_server.py", more))
}

/// oauthlib: tokens, and what they open.
pub(crate) fn token_server(more: &[&str]) -> Option<Server> {
    Some(peer(&python_with("credential-peers.txt")?, "token_server.py", more))
}

/// httpbin: digests.
pub(crate) fn digest_server() -> Option<Server> {
    Some(peer(&python_with("credential-peers.txt")?, "digest_server.py", &[]))
}

/// Certificates for `localhost`, and others that are wrong in some way (`certificates.py`).
pub(crate) fn certificates() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python()?);
    assert!(command.arg(script_path("certificates.py")).arg(folder.path()).status().unwrap().success());
    Some(folder)
}

/// The authority of [`certificates`], or the other one, which signed nothing.
pub(crate) fn trust(certificates: &TempDir, name: &str) -> Trust {
    Trust::Authorities(std::fs::read(certificates.path().join(name)).unwrap())
}

pub(crate) fn client() -> HttpClient {
    HttpClient::new(&Trust::System).unwrap()
}

/// A port where nobody listens.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that accepts connections, because its system does, and never says anything.
pub(crate) fn silent() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
