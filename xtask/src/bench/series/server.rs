//! The two servers as processes: started on free ports of this machine, looked at, and ended whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http::Client;
use crate::bench::output;

/// How long a server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

const MANIFEST: &str = "apiVersion: sos.energy/v1alpha1
kind: AlertRule
metadata: {name: quiet}
spec:
  groups:
  - name: quiet
    interval: 1h
    rules:
    - {record: bench:constant, expr: vector(1)}
";

const CONFIG: &str = "global: {scrape_interval: 1m}\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sos,
    Prometheus,
}

pub(super) const BOTH: [Kind; 2] = [Kind::Sos, Kind::Prometheus];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sos => "sos",
            Self::Prometheus => "Prometheus",
        }
    }
}

/// The programs, and the folder in which they may write.
pub(super) struct Programs {
    pub(super) sos: PathBuf,
    pub(super) prometheus: PathBuf,
    pub(super) scratch: PathBuf,
}

/// A running server with a data folder of its own.
pub(super) struct Server {
    pub(super) kind: Kind,
    child: Child,
    port: u16,
    folder: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// User and system time.
    pub(super) cpu_seconds: f64,
    /// Resident memory now and at its peak.
    pub(super) rss_mb: f64,
    pub(super) peak_mb: f64,
}

impl Programs {
    /// Starts one with an empty data folder and waits until it answers.
    pub(super) fn start(&self, kind: Kind) -> Result<Server, String> {
        let folder = self.scratch.join(kind.name());
        empty(&folder)?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let data = folder.join("data");
        let mut command = match kind {
            Kind::Sos => {
                let manifests = folder.join("manifests");
                make(&manifests)?;
                write(&manifests.join("quiet.yaml"), MANIFEST)?;
                let mut command = Command::new(&self.sos);
                command.arg("up").arg(manifests).args(["--listen", &address]).arg("--data-dir").arg(&data);
                command
            }
            Kind::Prometheus => {
                let config = folder.join("prometheus.yml");
                write(&config, CONFIG)?;
                let mut command = Command::new(&self.prometheus);
                command
                    .arg(option("--config.file", &config))
                    .arg(option("--storage.tsdb.path", &data))
                    .arg(option("--web.listen-address", &address))
                    .args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
                command
            }
        };
        let log = folder.join("log");
        let file = File::create(&log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let again = file.try_clone().map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(again).spawn();
        let child = child.map_err(|e| format!("cannot start {}: {e}", kind.name()))?;
        let mut server = Server { kind, child, port, folder };
        server.wait_until_ready()?;
        Ok(server)
    }
}

impl Server {
    /// A connection with the token it wants.
    pub(super) fn client(&self) -> Result<Client, String> {
        let token = match self.kind {
            Kind::Prometheus => None,
            Kind::Sos => {
                let path = self.data().join("token");
                let text =
                    fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Client::new(self.port, token)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let path = if self.kind == Kind::Sos { "/healthz" } else { "/-/ready" };
        let begun = Instant::now();
        loop {
            let ready = self.client().and_then(|mut client| client.get(path));
            if ready.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let how = ended.map_or("does not answer".to_owned(), |status| format!("ended with {status}"));
                return Err(format!("{} {how}:\n{}", self.kind.name(), log.trim_end()));
            }
            look_again();
        }
    }

    pub(super) fn used(&self) -> Result<Used, String> {
        let of = |file: &str| {
            let path = format!("/proc/{}/{file}", self.child.id());
            fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))
        };
        used(&of("stat")?, &of("status")?).ok_or_else(|| "/proc is not as expected".to_owned())
    }

    /// Ends it as its administrator would; the data folder stays.
    pub(super) fn stop(mut self) -> Result<(), String> {
        output(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => look_again(),
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{} ended with {status}", self.kind.name())),
                Err(e) => return Err(format!("cannot wait for {}: {e}", self.kind.name())),
            }
        }
        Err(format!("{} does not end", self.kind.name()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is looked at until a condition holds")]
fn look_again() {
    std::thread::sleep(Duration::from_millis(20)); // between two looks
}

fn option(name: &str, value: impl AsRef<OsStr>) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|e| format!("no free port on this machine: {e}"))
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Makes a folder, without what was in it.
pub(super) fn empty(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| format!("cannot empty {}: {e}", folder.display()))?;
    }
    make(folder)
}

/// Bytes of all files below a folder, or of a file.
pub(super) fn size(path: &Path) -> Result<u64, String> {
    let wrong = |e: std::io::Error| format!("cannot look at {}: {e}", path.display());
    let about = fs::symlink_metadata(path).map_err(wrong)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path).map_err(wrong)? {
        sum += size(&entry.map_err(wrong)?.path())?;
    }
    Ok(sum)
}

/// From `/proc/PID/stat` and `/proc/PID/status`.
fn used(stat: &str, status: &str) -> Option<Used> {
    /// Ticks a second, the same on every machine that runs Linux.
    const TICKS: f64 = 100.0;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let cpu_seconds = (ticks()? + ticks()?) / TICKS;
    let mb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Used { cpu_seconds, rss_mb: mb("VmRSS:")?, peak_mb: mb("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_used_is_read_although_its_name_has_brackets() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        let used = used(stat, "Name:\tx\nVmHWM:\t 4096 kB\nVmRSS:\t 2048 kB\n").unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(used.cpu_seconds, 3.0) && near(used.rss_mb, 2.0) && near(used.peak_mb, 4.0), "{used:?}");
        assert!(super::used("", "").is_none());
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let scratch = tempfile::tempdir().unwrap();
        let program = PathBuf::from("/bin/false");
        let programs =
            Programs { sos: program.clone(), prometheus: program, scratch: scratch.path().to_owned() };
        let message = programs.start(Kind::Prometheus).err().unwrap();
        assert!(message.contains("Prometheus ended with exit status: 1"), "{message}");
    }

    #[test]
    fn the_size_of_a_folder_is_that_of_all_files_below_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), [0; 10]).unwrap();
        fs::write(folder.path().join("d"), [0; 5]).unwrap();
        assert_eq!(size(folder.path()), Ok(15));
        assert!(size(&folder.path().join("none")).unwrap_err().contains("none"));
    }
}
