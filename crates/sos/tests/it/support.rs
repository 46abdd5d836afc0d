//! `sos up` as a process: started, watched through its data directory, ended with everything it started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use sos_engine::site::ledger::Ledger;
use sos_store::{EventFilter, EventRecord, Store};
use tempfile::TempDir;

/// The longest that anything may take; met only when something hangs.
pub(crate) const WAIT: Duration = Duration::from_secs(240);

/// Start of the example's data.
pub(crate) const START: &str = "2016-08-01T07:00:00Z";
/// Length of the example's tick.
pub(crate) const TICK: i64 = 900;

/// The example as shipped.
pub(crate) fn fontana() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fontana")).unwrap()
}

/// Site time after so many ticks of the example.
pub(crate) fn tick(n: i64) -> jiff::Timestamp {
    START.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(n * TICK)
}

/// Between two looks at something that another process does.
#[expect(clippy::disallowed_methods, reason = "another process cannot be waited for but by looking again")]
fn pause() {
    std::thread::sleep(Duration::from_millis(2)); // between two looks
}

/// Looks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(WAIT, what, look)
}

fn wait_within<T>(longest: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < longest, "waited in vain for {what}");
        pause();
    }
}

/// A folder of manifests with a data directory. Nothing that was started for it outlives it.
pub(crate) struct Rig {
    dir: TempDir,
    pub(crate) manifests: PathBuf,
    pub(crate) data: PathBuf,
}

impl Rig {
    /// The example as shipped.
    pub(crate) fn new() -> Self {
        Self::at(fontana())
    }

    /// A folder as it is.
    pub(crate) fn at(manifests: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self { manifests, data, dir }
    }

    /// A copy of the example, each manifest changed by `edit` (name of the file, its text).
    pub(crate) fn edited(edit: impl Fn(&str, String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("fontana");
        std::fs::create_dir_all(manifests.join("data")).unwrap();
        for entry in std::fs::read_dir(fontana()).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".yaml") {
                let text = edit(name, std::fs::read_to_string(&entry).unwrap());
                std::fs::write(manifests.join(name), text).unwrap();
            }
        }
        for entry in std::fs::read_dir(fontana().join("data")).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&entry, manifests.join("data").join(entry.file_name().unwrap())).unwrap();
        }
        Self { manifests, data: dir.path().join("data"), dir }
    }

    /// A folder with these manifests and nothing else.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        std::fs::create_dir_all(&manifests).unwrap();
        for (name, text) in files {
            std::fs::write(manifests.join(name), text).unwrap();
        }
        Self { manifests, data: dir.path().join("data"), dir }
    }

    /// The example whose services are restarted without long pauses.
    pub(crate) fn quick() -> Self {
        Self::edited(|_, text| quick_restarts(&text))
    }

    /// A file of this rig.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `sos up` in lock-step until a tick, with a report.
    pub(crate) fn up(&self, ticks: i64, report: &str, more: &[&str]) -> Up {
        let (until, report) = (tick(ticks).to_string(), self.path(report).display().to_string());
        let mut args = vec!["--speed", "max", "--seed", "1", "--until", &until, "--report", &report];
        args.extend(more);
        self.up_with(&args)
    }

    /// `sos up` with these arguments.
    pub(crate) fn up_with(&self, args: &[&str]) -> Up {
        self.up_at(&self.manifests, args)
    }

    /// The same over other manifests.
    pub(crate) fn up_at(&self, manifests: &Path, args: &[&str]) -> Up {
        self.up_in(manifests, args, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn up_in(&self, manifests: &Path, args: &[&str], env: &[(&str, &str)]) -> Up {
        let kept = |name| {
            let file = tempfile::Builder::new().prefix(name).tempfile_in(self.dir.path()).unwrap();
            file.keep().unwrap()
        };
        let ((out, stdout), (err, stderr)) = (kept("stdout."), kept("stderr."));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.arg("up").arg(manifests).arg("--data-dir").arg(&self.data);
        command.args(["--listen", "127.0.0.1:0"]).args(args).env_remove("SOS_TOKEN").env_remove("SOS_SERVER");
        command.envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::from(out)).stderr(Stdio::from(err));
        Up { child: command.spawn().unwrap(), stdout, stderr }
    }

    /// A command of `sos` against the one that runs: whether it succeeded, and all that it said.
    pub(crate) fn sos(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
    }

    /// What a command answers as JSON; `None` when it answers nothing.
    pub(crate) fn json(&self, args: &[&str]) -> Option<Value> {
        let output = self.command(&[args, &["-o", "json"]].concat()).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn command(&self, args: &[&str]) -> Command {
        let file = |name: &str| std::fs::read_to_string(self.data.join(name)).unwrap_or_default();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.args(args).env("SOS_SERVER", file("server").trim()).env("SOS_TOKEN", file("token").trim());
        command
    }

    /// The report of that name.
    pub(crate) fn report(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.path(name)).expect("the report was written");
        serde_json::from_str(&text).unwrap()
    }

    /// The report without what differs from run to run.
    pub(crate) fn same_report(&self, name: &str) -> Value {
        let mut report = self.report(name);
        assert!(report.as_object_mut().unwrap().remove("timings").is_some());
        report
    }

    /// The store, for reading; `None` while it is not there.
    pub(crate) fn store(&self) -> Option<Store> {
        Store::open_read_only(&self.data).ok()
    }

    /// What is kept of the site with every tick; `None` before the first one.
    pub(crate) fn kept(&self) -> Option<Value> {
        let value = self.store()?.get_kv("site/fontana").ok()??;
        Some(serde_json::from_str(value.as_str()?).unwrap())
    }

    /// Ticks decided so far; 1 after the very first.
    pub(crate) fn ticks(&self) -> i64 {
        self.kept().map_or(0, |kept| kept["tick"].as_i64().unwrap())
    }

    /// Waits until the site has decided so many ticks.
    pub(crate) fn wait_ticks(&self, up: &mut Up, ticks: i64) {
        wait_for(&format!("tick {ticks}"), || {
            up.assert_running();
            (self.ticks() >= ticks).then_some(())
        });
    }

    pub(crate) fn ledger(&self) -> Ledger {
        serde_json::from_value(self.kept().unwrap()["accounts"]["ledger"].clone()).unwrap()
    }

    /// Events of a resource.
    pub(crate) fn events(&self, kind: &str, name: &str) -> Vec<EventRecord> {
        let filter =
            EventFilter { kind: Some(kind.into()), name: Some(name.into()), ..EventFilter::default() };
        self.store().unwrap().list_events(&filter).unwrap()
    }

    /// Processes of the services, by replica: those that live.
    pub(crate) fn pids(&self) -> BTreeMap<String, i32> {
        let Ok(entries) = std::fs::read_dir(self.data.join("run")) else { return BTreeMap::new() };
        let records = entries.flatten().map(|entry| entry.path());
        records
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .filter_map(|path| live(&path))
            .collect()
    }

    /// Ends the process of a service at once; false when there was none.
    pub(crate) fn kill(&self, replica: &str) -> bool {
        let Some(pid) = self.pids().get(replica).copied() else { return false };
        kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A process may be about to start another one: until nothing is left.
        for _ in 0..1000 {
            let pids = self.pids();
            if pids.is_empty() {
                return;
            }
            for pid in pids.into_values() {
                let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            pause();
        }
    }
}

/// The replica and the process of a state record, when that very process lives.
fn live(path: &Path) -> Option<(String, i32)> {
    let record: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let pid = i32::try_from(record["identity"]["pid"].as_i64()?).ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let same = fields.get(19)?.parse::<u64>().ok() == record["identity"]["start_ticks"].as_u64();
    let alive = !matches!(*fields.first()?, "Z" | "X");
    (same && alive).then(|| (path.file_stem().unwrap().to_str().unwrap().to_owned(), pid))
}

/// Manifests of services that are restarted after milliseconds instead of seconds.
pub(crate) fn quick_restarts(text: &str) -> String {
    text.replace("initialBackoff: 1 s, maxBackoff: 30 s", "initialBackoff: 10 ms, maxBackoff: 50 ms").replace(
        "restart: { policy: onFailure }",
        "restart: { policy: onFailure, initialBackoff: 10 ms, maxBackoff: 50 ms }",
    )
}

/// A running `sos up`, killed when it is dropped.
pub(crate) struct Up {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How `sos up` ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Up {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("sos ended with {status}: {}", self.errors());
        }
    }

    /// What it has answered so far.
    pub(crate) fn answer(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has said so far.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(self) -> Ended {
        self.wait_within(WAIT)
    }

    fn wait_within(mut self, longest: Duration) -> Ended {
        let status = wait_within(longest, "the end of sos", || self.child.try_wait().unwrap());
        Ended { code: status.code(), stderr: self.errors() }
    }

    /// Waits until it has ended, which must be well.
    pub(crate) fn finish(self) {
        self.finish_within(WAIT);
    }

    /// The same for what takes long.
    pub(crate) fn finish_within(self, longest: Duration) {
        let ended = self.wait_within(longest);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A `sos up` of some manifests, and what its server is reached with.
pub(crate) struct Server {
    pub(crate) rig: Rig,
    pub(crate) up: Up,
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Server {
    pub(crate) fn start(files: &[(&str, &str)]) -> Self {
        Self::over(Rig::of(files))
    }

    /// Over a folder that may have been served before.
    pub(crate) fn over(rig: Rig) -> Self {
        Self::over_with(rig, &[])
    }

    /// The same with further arguments.
    pub(crate) fn over_with(rig: Rig, args: &[&str]) -> Self {
        // An address that an earlier one left is not that of this one.
        drop(std::fs::remove_file(rig.data.join("server")));
        let up = rig.up_with(args);
        let file = |rig: &Rig, name: &str| std::fs::read_to_string(rig.data.join(name)).unwrap_or_default();
        wait_for("the server", || file(&rig, "server").ends_with('\n').then_some(()));
        let address = file(&rig, "server").trim().to_owned();
        let token = file(&rig, "token").trim().to_owned();
        Self { rig, up, address, token }
    }

    /// Ends it as a power cut would, and starts it again.
    pub(crate) fn restart(self) -> Self {
        let Self { rig, up, .. } = self;
        up.kill();
        Self::over(rig)
    }

    pub(crate) fn sos(&self, args: &[&str]) -> crate::cli::Ran {
        let server = ["--server", self.address.as_str(), "--token", self.token.as_str()];
        crate::cli::sos(&self.rig.manifests, &[args, server.as_slice()].concat())
    }

    /// Publishes an event, which must succeed.
    pub(crate) fn publish(&self, kind: &str, id: &str, data: &Value) {
        let data = data.to_string();
        let ran = self.sos(&["publish", "events", &data, "--type", kind, "--source", "/test", "--id", id]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    /// Waits until all declared rules look.
    pub(crate) fn wait_rules(&self) {
        wait_for("the rules", || {
            let rules = self.answer(&["get", "rules"]);
            let ready = |rule: &Value| rule["status"]["conditions"][0]["status"] == "True";
            rules.as_array().unwrap().iter().all(ready).then_some(())
        });
    }

    /// What a command answers as JSON, which must succeed.
    pub(crate) fn answer(&self, args: &[&str]) -> Value {
        let ran = self.sos(&[args, &["-o", "json"]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ran.stdout))
    }
}

/// One entry of the audit record about set-points.
#[derive(Debug)]
pub(crate) struct Commanded {
    pub(crate) time: jiff::Timestamp,
    pub(crate) epoch: u64,
    pub(crate) kw: BTreeMap<String, Option<f64>>,
}

/// The set-points in the order in which they were recorded.
pub(crate) fn commands(store: &Store) -> Vec<Commanded> {
    let summary = store.verify_audit().expect("the audit record is what was written");
    let records = store.list_audit(1, None, usize::try_from(summary.entries).unwrap()).unwrap();
    let entries = records.into_iter().map(|record| record.entry).filter(|entry| entry.what == "set-point");
    entries
        .map(|entry| {
            let after = entry.after.unwrap();
            let assets = after["assets"].as_object().unwrap().iter();
            Commanded {
                time: entry.time,
                epoch: after["epoch"].as_u64().unwrap(),
                kw: assets.map(|(name, order)| (name.clone(), order["kw"].as_f64())).collect(),
            }
        })
        .collect()
}

/// Energy of a column of a home's file over its first hours, in watt-seconds, each row in whole watts as devices count.
pub(crate) fn csv_watt_seconds(home: u32, column: &str, hours: std::ops::Range<usize>) -> i64 {
    let text = std::fs::read_to_string(fontana().join(format!("data/home-{home}.csv"))).unwrap();
    let mut lines = text.lines();
    let at = lines.next().unwrap().split(',').position(|name| name == column).unwrap();
    let kw = |line: &str| line.split(',').nth(at).unwrap().parse::<f64>().unwrap();
    lines.skip(hours.start).take(hours.len()).map(|line| (kw(line) * 1000.0).round() as i64 * 3600).sum()
}

/// Names of the services that have a process.
pub(crate) fn services(rig: &Rig) -> BTreeSet<String> {
    rig.pids().into_keys().collect()
}
