//! Programs that a test starts, ended by their id when it goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::skipped::skipped;

/// How long a part of a cluster may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Those of Kubernetes.
    pub(crate) kubernetes: PathBuf,
    /// The root of what Debian's packages hold: containerd and what it needs. Empty without a node.
    pub(crate) debian: PathBuf,
}

impl Tools {
    /// The programs; `None`, and the test counts as skipped, where they cannot be had.
    pub(crate) fn find(node: bool) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kubernetes.sh");
        let output = Command::new("bash").arg(script).args(node.then_some("node")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {
                let text = String::from_utf8(output.stdout).unwrap();
                let mut lines = text.lines().map(PathBuf::from);
                Some(Self { kubernetes: lines.next().unwrap(), debian: lines.next().unwrap_or_default() })
            }
            Some(77) => {
                skipped(told.lines().last().unwrap_or("no Kubernetes"));
                None
            }
            _ => panic!("kubernetes.sh: {told}"),
        }
    }

    /// A program of Kubernetes.
    pub(crate) fn kubernetes(&self, name: &str) -> Command {
        Command::new(self.kubernetes.join("bin").join(name))
    }

    /// A program of Debian's packages or of this machine, with what it needs found beside it.
    pub(crate) fn debian(&self, name: &str) -> Command {
        let mut command = Command::new("env");
        for (variable, value) in self.environment() {
            command.arg(format!("{variable}={value}"));
        }
        command.arg(name);
        command
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let root = self.debian.display();
        let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut all =
            vec![("PATH", format!("{root}/usr/sbin:{root}/usr/bin:{root}/bin:{path}:/usr/sbin:/sbin"))];
        if self.debian != Path::new("/") {
            all.push(("LD_LIBRARY_PATH", format!("{root}{libraries}")));
            all.push(("XTABLES_LIBDIR", format!("{root}{libraries}/xtables")));
        }
        all
    }
}

/// A program that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it with its output in a file of its name.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).current_dir(folder);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.into(), child, log }
    }

    /// Waits until `check` gives something; fails with the end of the log when the program ends before.
    pub(crate) fn until<T>(&mut self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let name = self.name.clone();
        let start = Instant::now();
        loop {
            if let Some(value) = check() {
                return value;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name} ended with {status} before {what}:\n{}", self.tail());
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}; {name} said:\n{}", self.tail());
            pause();
        }
    }

    /// The last lines of its output.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a condition of other programs.
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is looked at")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100)); // between two looks
}
