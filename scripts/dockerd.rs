//! A Docker daemon of a test's own, for the test binaries that include this file with `#[path]`: its files, its socket, its containers, and nothing left when it goes.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// Seconds that the daemon may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Dockerd {
    dir: tempfile::TempDir,
    tools: PathBuf,
    child: Option<Child>,
    options: Vec<&'static str>,
}

impl Dockerd {
    /// Starts a daemon, or says why there can be none on this machine.
    pub(crate) fn start(options: &[&'static str]) -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Err("a Docker daemon of the test's own needs root".into());
        }
        let tools = tools()?;
        let dir = tempfile::Builder::new().prefix("sos-docker-").tempdir().unwrap();
        let mut daemon = Self { dir, tools, child: None, options: options.to_vec() };
        daemon.launch()?;
        Ok(daemon)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("docker.sock")
    }

    /// A program of the daemon's package, with its libraries.
    fn program(&self, name: &str) -> Command {
        let libraries = self.tools.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let path = std::env::var("PATH").unwrap_or_default();
        let own = format!("{0}/usr/sbin:{0}/usr/bin", self.tools.display());
        let found = ["usr/sbin", "usr/bin"].map(|folder| self.tools.join(folder).join(name));
        let mut command = Command::new(found.iter().find(|path| path.exists()).unwrap());
        command.env("PATH", format!("{own}:{path}")).env("LD_LIBRARY_PATH", &libraries);
        command.env("XTABLES_LIBDIR", libraries.join("xtables"));
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon on the files of an earlier one, if there was any. On a busy machine its own parts may take longer
    /// than it waits for them.
    pub(crate) fn launch(&mut self) -> Result<(), String> {
        self.try_launch().or_else(|_| self.try_launch()).or_else(|_| self.try_launch())
    }

    fn try_launch(&mut self) -> Result<(), String> {
        let folder = self.path().display().to_string();
        let log = std::fs::File::options().append(true).create(true).open(self.path().join("log")).unwrap();
        // No bridge and no filter rules of its own: the machine's network stays as it is. Networks of the driver are bridges
        // of their own, and what is published goes through the daemon's proxy.
        let command = &mut self.program("dockerd");
        command
            .args(["--data-root", &format!("{folder}/root"), "--exec-root", &format!("{folder}/exec")])
            .args(["--host", &format!("unix://{folder}/docker.sock"), "--pidfile", &format!("{folder}/pid")])
            .args(["--group", "root", "--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--userland-proxy-path", &self.tools.join("usr/sbin/docker-proxy").display().to_string()])
            .args(["--init-path", &self.tools.join("usr/bin/tini-static").display().to_string()])
            .args(&self.options);
        // A group of its own: a signal to the terminal of the tests does not reach it.
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().map_err(|error| format!("dockerd: {error}"))?);
        let start = Instant::now();
        loop {
            if self.docker(&["version"]).status.success() {
                return Ok(());
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || start.elapsed() > PATIENCE {
                return Err(format!("dockerd does not start here: {}", self.last_words()));
            }
            pause();
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
        log.lines().last().unwrap_or_default().chars().take(300).collect()
    }

    /// The command line, to see and to do things behind the driver's back.
    pub(crate) fn docker(&self, args: &[&str]) -> Output {
        let host = format!("unix://{}", self.socket().display());
        self.program("docker").arg("--host").arg(host).args(args).output().unwrap()
    }

    /// What the command line says, line by line.
    pub(crate) fn lines(&self, args: &[&str]) -> Vec<String> {
        let output = self.docker(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Ids of the containers of a replica that run.
    pub(crate) fn running(&self, replica: &str) -> Vec<String> {
        let filter = format!("label=sos.energy/replica={replica}");
        self.lines(&["ps", "--quiet", "--no-trunc", "--filter", &filter])
    }

    /// Ends the daemon; `SIGTERM` ends its containers too, `SIGKILL` leaves them alone.
    pub(crate) fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let _gone = kill(pid, signal);
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                let _gone = kill(pid, Signal::SIGKILL);
            }
            pause();
        }
    }

    /// A folder with a busybox, to build an image from.
    pub(crate) fn busybox(&self, name: &str, more: &str) -> PathBuf {
        let folder = self.path().join("images").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(self.tools.join("bin/busybox"), folder.join("busybox")).unwrap();
        let file = format!(
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n{more}\n"
        );
        std::fs::write(folder.join("Dockerfile"), file).unwrap();
        folder
    }

    /// Ends what is left of the daemon, whatever a test did to it.
    fn clean(&mut self) {
        let alive = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if !alive && self.launch().is_err() {
            return;
        }
        let ids = self.lines(&["ps", "--all", "--quiet"]);
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat());
        }
        // The bridges of networks outlive the daemon.
        self.docker(&["network", "prune", "--force"]);
        self.end(Signal::SIGTERM);
    }

    /// Processes that still name the folder of this daemon.
    fn left(&self) -> Vec<i32> {
        let folder = self.path().as_os_str().as_encoded_bytes().to_vec();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let names = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(folder.len()).any(|part| part == folder)
        };
        pids.filter(|pid| *pid != std::process::id().cast_signed()).filter(names).collect()
    }

    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut below: Vec<_> = below.filter(|point| Path::new(point).starts_with(self.path())).collect();
        below.sort_unstable();
        for point in below.into_iter().rev() {
            let _tried = Command::new("umount").args(["--lazy", point]).status();
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
            let from = log.lines().count().saturating_sub(20);
            let _unheard = writeln!(
                std::io::stderr(),
                "the daemon said last:\n{}",
                log.lines().skip(from).collect::<Vec<_>>().join("\n")
            );
        }
        // A second failure while a test fails would end the whole binary and leave the daemon behind.
        let _failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean()));
        self.end(Signal::SIGKILL);
        // What watched over containers goes a moment after them.
        let start = Instant::now();
        while !self.left().is_empty() && start.elapsed() < Duration::from_secs(10) {
            pause();
        }
        let left = self.left();
        for pid in &left {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        self.unmount();
        assert!(left.is_empty() || std::thread::panicking(), "processes of the daemon were left: {left:?}");
    }
}

fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "processes are asked again and again until they are ready"
    )]
    std::thread::sleep(Duration::from_millis(50)); // between two looks
}

/// The folder of `scripts/docker.sh`.
fn tools() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/docker.sh");
    let mut child = Command::new("bash")
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("bash: {error}"))?;
    let (mut path, mut why) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut path).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    let status = child.wait().unwrap();
    match status.code() {
        Some(0) => Ok(path.trim().into()),
        Some(77) => Err(why.trim().into()),
        _ => panic!("scripts/docker.sh: {status}: {why}"),
    }
}
