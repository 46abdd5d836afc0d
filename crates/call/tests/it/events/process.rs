//! A server that is killed and started again with the same data.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use crate::skipped::skipped;
use crate::support::closed_port;

/// A server in a folder of its own, on a port of its own; it ends with the test.
pub(crate) struct Process {
    program: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Writes the configuration, which is told folder and port, and starts the server. A port may be taken between
    /// choice and start, so it tries again.
    pub(crate) async fn new(program: PathBuf, config: impl Fn(&Path, u16) -> String) -> Self {
        for _ in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let port = closed_port();
            std::fs::write(folder.path().join("config"), config(folder.path(), port)).unwrap();
            let this = Self { program: program.clone(), folder, port, child: Mutex::default() };
            if this.start().await.is_ok() {
                return this;
            }
        }
        panic!("{} does not start", program.display());
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(&self) -> Result<(), String> {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.path().join("config")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *self.child.lock().unwrap() = Some(child);
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                if self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() {
                    return Err(format!("it ended: {}", self.log()));
                }
                tokio::time::sleep(Duration::from_millis(10)).await; // between two looks
            }
            Ok(())
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), listening).await;
        waited.unwrap_or_else(|_| Err("it does not listen".to_owned()))
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program that a variable names, or that is at one of the usual places. `None`, and the test is skipped, without.
pub(crate) fn program(variable: &str, usual: &[&str]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let found = named.or_else(|| usual.iter().map(PathBuf::from).find(|path| path.exists()));
    if found.is_none() {
        skipped(&format!("{variable} names no program, and none is installed"));
    }
    found
}
