//! The driver's work, step by step, on plain files and processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use super::cgroup::{Cgroups, ReplicaCgroup};
use super::identity::{Identity, Life, boot_id, kill_all, marked};
use super::launch::{LaunchFile, Setup, launch};
use super::{DeployStep, ProcessOptions, Record, limits};
use crate::driver::PortTable;
use crate::ports::{check_free, taken_from};
use crate::shared::{
    check_secrets, check_workdir, file_error, hex, instance_of, make_private, recorded, remove_if_there,
};
use crate::{
    Capabilities, Deployment, DriverError, Enforcement, Exit, Handle, LimitEnforcement, Limits, LogSource,
    Metadata, Phase, RecoveryReport, ReplicaConfig, ReplicaState, SecretValues, Usage, assign_ports, rotate,
};

/// How often usage is measured and logs are looked at; that processes live is looked at each time.
const INSPECT_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Everything that the driver holds. One lock: its calls are short and rare.
#[derive(Debug)]
pub(crate) struct Worker {
    options: ProcessOptions,
    /// Tells this data directory from others on the machine.
    instance: String,
    boot_id: String,
    cgroups: Cgroups,
    run: PathBuf,
    logs: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Ports promised by `resolve` to replicas that have no record yet.
    promised: PortTable,
    launches: u64,
    /// When usage and logs were last looked at, and the usage found then.
    inspected: Option<Timestamp>,
    usage: BTreeMap<String, Usage>,
    /// Groups of replicas that are gone, still to be removed.
    leftovers: Vec<ReplicaCgroup>,
    versions: Versions,
}

/// Hashes of program files, made again only when a file has changed: a large one takes longer than its start.
#[derive(Debug, Default)]
struct Versions(BTreeMap<PathBuf, (FileState, String)>);

/// What tells a changed file: inode, length, time of the last change.
type FileState = (u64, u64, i64, i64);

impl Versions {
    fn of(&mut self, program: &Path) -> io::Result<String> {
        let found = fs::metadata(program)?;
        let now = (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        if let Some((_, version)) = self.0.get(program).filter(|(state, _)| *state == now) {
            return Ok(version.clone());
        }
        let version = hash_file(program)?;
        self.0.insert(program.to_owned(), (now, version.clone()));
        Ok(version)
    }
}

impl Worker {
    pub(crate) fn new(options: ProcessOptions) -> Result<Self, DriverError> {
        let (run, logs) = (options.data_dir.join("run"), options.data_dir.join("logs"));
        make_private(&run)?;
        make_private(&logs)?;
        let instance = instance_of(&options.data_dir)?;
        let boot_id = boot_id().map_err(file_error("read", Path::new("/proc/sys/kernel/random/boot_id")))?;
        let cgroups = if options.control_groups { Cgroups::detect(&instance) } else { Cgroups::default() };
        cgroups.remove_parents();
        Ok(Self { options, instance, boot_id, cgroups, run, logs, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves records that are true on their own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.json"))
    }

    fn launch_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.launch"))
    }

    fn exit_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.exit"))
    }

    pub(crate) fn log_path(&self, replica: &str) -> PathBuf {
        self.logs.join(format!("{replica}.log"))
    }

    /// The logs in the data directory, with what is known of the replicas that wrote them.
    pub(crate) fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
        let mut sources = LogSource::in_folder(&self.logs).map_err(file_error("list", &self.logs))?;
        let state = self.lock();
        for (replica, source) in &mut sources {
            source.zone = zone.clone();
            if let Some(record) = state.records.get(replica) {
                record.describe_log(source);
            }
        }
        Ok(sources.into_values().collect())
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            driver: "process".into(),
            memory_limit: self.cgroups.enforcement("memory"),
            cpu_limit: self.cgroups.enforcement("cpu"),
            in_place_limits: self.cgroups.in_place_limits(),
            exit_code_after_adoption: false,
            host_network: true,
        }
    }

    // ---- resolving ----

    pub(crate) fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        if config.service.container.is_some() {
            let (replica, why) = (config.replica.clone(), "it is declared for containers");
            return Err(DriverError::WrongRuntime { replica, driver: "process", why });
        }
        let program = find_program(config)?;
        let mut state = self.lock();
        let version = state.versions.of(&program).map_err(file_error("read", &program))?;
        let replica = &config.replica;
        let ports = match state.records.get(replica).filter(|record| record.is_live()) {
            Some(record) => record.deployment.ports.clone(),
            None => {
                let kept = state.ports_of(replica);
                assign_ports(replica, &config.service.ports, &kept, &state.taken_from(replica))?
            }
        };
        state.promised.insert(replica.clone(), ports.clone());
        let mut labels = config.service.labels.clone();
        labels.insert("sos.energy/driver".into(), "process".into());
        labels.insert("sos.energy/instance".into(), self.instance.clone());
        Ok(Metadata { ports, program, version, log: self.log_path(replica), labels })
    }

    // ---- deploying ----

    pub(crate) fn deploy(
        &self,
        deployment: &Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let mut state = self.lock();
        let replica = &deployment.replica;
        let old = state.records.get(replica);
        if let Some(record) = old.filter(|record| record.is_live()) {
            return record
                .runs(deployment)
                .then(|| handle(record))
                .flatten()
                .ok_or_else(|| DriverError::AlreadyRunning(replica.clone()));
        }
        let path = self.launch_path(replica);
        let file = LaunchFile::lock(&path).map_err(file_error("lock", &path))?;
        let past_runs = old.cloned().map(Record::into_past_runs).unwrap_or_default();
        state.launches += 1;
        // Unlike any other, after a reboot too.
        let launch =
            format!("{}-{}-{}-{}", self.boot_id, now.as_nanosecond(), std::process::id(), state.launches);
        let mut record =
            Record::new(deployment.clone(), now, launch, self.enforcement(&deployment.limits), past_runs);
        let result = self.start(&mut record, &state, secrets, &file);
        if let Err(error) = &result {
            if matches!(error, DriverError::Interrupted(_)) {
                return result;
            }
            self.abandon(&mut record, error, now);
        }
        state.usage.remove(replica);
        state.records.insert(replica.clone(), record);
        result
    }

    fn start(
        &self,
        record: &mut Record,
        state: &State,
        secrets: &SecretValues,
        file: &LaunchFile,
    ) -> Result<Handle, DriverError> {
        let replica = record.deployment.replica.clone();
        check_secrets(&record.deployment, secrets)?;
        check_workdir(&record.deployment)?;
        self.clear(&self.cgroups.of(&replica), &replica);
        let taken = state.taken_from(&replica);
        for (name, port) in &record.deployment.ports {
            check_free(&replica, name, *port, &BTreeSet::new(), &taken)?;
        }
        record.own.cgroup = Some(self.cgroups.of(&replica));
        let path = self.record_path(&replica);
        record.save(&path).map_err(file_error("write", &path))?;
        self.interrupt(DeployStep::Intent, "writing the intent")?;
        let exit_file = self.exit_path(&replica);
        remove_if_there(&exit_file)?;
        self.enter_group(record, &replica);
        self.interrupt(DeployStep::Group, "making the control group")?;
        let failed = |source| DriverError::Start { replica: replica.clone(), source };
        let setup = Setup {
            launch: record.launch.clone(),
            marker: format!("{}/{replica}/{}", self.instance, record.launch),
            groups: record
                .own
                .cgroup
                .as_ref()
                .map_or(Ok(vec![]), |group| group.entrances())
                .map_err(failed)?,
            address_space: record
                .deployment
                .limits
                .memory_bytes
                .filter(|_| record.limits.memory == Enforcement::AddressSpace),
            exit_file: &exit_file,
            secrets,
        };
        let identity = launch(&record.deployment, &setup, file, &self.boot_id).map_err(failed)?;
        self.interrupt(DeployStep::Launch, "starting the process")?;
        record.own.identity = Some(identity);
        record.phase = Phase::Running;
        // The process runs. Should this write fail, the intent and the launch file lead to it all the same.
        self.save(record);
        handle(record).ok_or_else(|| DriverError::Unknown(replica.clone()))
    }

    /// Makes the control group, or states why the limits are not held by one.
    fn enter_group(&self, record: &mut Record, replica: &str) {
        let made = self
            .cgroups
            .ensure_parents()
            .and_then(|()| self.cgroups.create(replica, &record.deployment.limits));
        match made {
            Ok(group) => record.own.cgroup = group,
            Err(error) => {
                record.own.cgroup = None;
                let limits = record.deployment.limits;
                let why = format!("the control group could not be made: {error}");
                tracing::warn!(replica, why, "limits are not held by a control group");
                if limits.memory_bytes.is_some() {
                    record.limits.memory = Enforcement::AddressSpace;
                }
                if limits.cpu_millis.is_some() {
                    record.limits.cpu = Enforcement::NotEnforced(why);
                }
            }
        }
    }

    fn abandon(&self, record: &mut Record, error: &DriverError, now: Timestamp) {
        if let Some(group) = record.own.cgroup.take() {
            group.kill();
            group.remove();
            self.cgroups.remove_parents();
        }
        record.phase = Phase::Exited { exit: Exit::NotStarted(error.full()), at: now, asked: None };
        self.save(record);
    }

    fn interrupt(&self, step: DeployStep, what: &'static str) -> Result<(), DriverError> {
        if self.options.interrupt_after == Some(step) {
            return Err(DriverError::Interrupted(what));
        }
        Ok(())
    }

    fn enforcement(&self, limits: &Limits) -> LimitEnforcement {
        let held = |limit: Option<u64>, controller| {
            limit.map_or(Enforcement::NotRequested, |_| self.cgroups.enforcement(controller))
        };
        LimitEnforcement { memory: held(limits.memory_bytes, "memory"), cpu: held(limits.cpu_millis, "cpu") }
    }

    /// Saves a record whose truth lies with the process; a failure is reported and repaired by the next save.
    fn save(&self, record: &Record) {
        let path = self.record_path(&record.deployment.replica);
        if let Err(error) = record.save(&path) {
            tracing::error!(path = %path.display(), %error, "the state of a replica could not be written");
        }
    }

    // ---- observing ----

    pub(crate) fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        let mut state = self.lock();
        self.tidy_groups(&mut state);
        for record in state.records.values_mut().filter(|record| record.is_live()) {
            self.refresh(record, now);
        }
        // Also after the clock was set back.
        let recently =
            |at: Timestamp| (SignedDuration::ZERO..INSPECT_EVERY).contains(&now.duration_since(at));
        if !state.inspected.is_some_and(recently) {
            state.inspect(now);
        }
        Ok(state.records.values().map(|record| state.state_of(record)).collect())
    }

    /// Notices the end of a replica, and ends what it left behind.
    fn refresh(&self, record: &mut Record, now: Timestamp) {
        let Some(identity) = record.own.identity.clone() else { return };
        let life = identity.life(&self.boot_id);
        let exit = match life {
            Life::Alive => return,
            Life::Ended(exit) => {
                identity.signal_group(Signal::SIGKILL);
                exit
            }
            Life::Gone => self.left_exit(&record.deployment.replica),
        };
        let starved = record.own.cgroup.as_ref().is_some_and(|group| group.out_of_memory());
        if !self.sweep(record) {
            // Something of it is still dying and may hold its ports: it has ended when that is gone.
            return;
        }
        identity.reap();
        let asked = record.asked();
        let exit = if starved && asked.is_none() && exit != Exit::Code(0) { Exit::OutOfMemory } else { exit };
        record.own.cgroup = None;
        self.cgroups.remove_parents();
        record.phase = Phase::Exited { exit, at: now, asked };
        record.own.identity = None;
        self.save(record);
    }

    /// How a program whose end was not seen says it ended.
    fn left_exit(&self, replica: &str) -> Exit {
        let left = fs::read_to_string(self.exit_path(replica)).unwrap_or_default();
        left.trim().parse().map_or(Exit::Unknown, Exit::Code)
    }

    /// Ends everything that a launch started. True when nothing of it is there any more, its group included.
    fn sweep(&self, record: &Record) -> bool {
        let none = ReplicaCgroup::default();
        let group = record.own.cgroup.as_ref().unwrap_or(&none);
        self.clear(group, &record.deployment.replica) && group.remove()
    }

    /// Ends what is left of a replica; true when nothing was. What it started cannot leave its group; without one, all
    /// processes of the machine are asked for the marker, which takes a hundred times longer.
    fn clear(&self, group: &ReplicaCgroup, replica: &str) -> bool {
        if !group.is_none() {
            group.kill();
            return true;
        }
        let left = self.strays(|stray| stray == replica);
        let none = left.is_empty();
        kill_all(left);
        none
    }

    fn strays(&self, is: impl Fn(&str) -> bool) -> Vec<i32> {
        marked(&self.instance).into_iter().filter(|found| is(&found.replica)).map(|found| found.pid).collect()
    }

    /// Removes groups that could not be removed before, because something in them was still dying.
    fn tidy_groups(&self, state: &mut State) {
        let before = state.leftovers.len();
        state.leftovers.retain(|group| {
            group.kill();
            !group.remove()
        });
        if state.leftovers.len() < before {
            self.cgroups.remove_parents();
        }
    }

    // ---- stopping ----

    pub(crate) fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        self.end(replica, |record, identity| {
            if record.phase != Phase::Running {
                return Ok(());
            }
            record.phase = Phase::Stopping { since: now, grace, cause: cause.into(), killed: false };
            self.save(record);
            identity.signal_group(Signal::SIGTERM);
            Ok(())
        })
    }

    pub(crate) fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        self.end(replica, |record, identity| {
            let (since, grace, cause) = match &record.phase {
                Phase::Stopping { since, grace, cause, .. } => (*since, *grace, cause.clone()),
                _ => (now, SignedDuration::ZERO, "killed".to_owned()),
            };
            record.phase = Phase::Stopping { since, grace, cause, killed: true };
            self.save(record);
            identity.signal_group(Signal::SIGKILL);
            self.sweep(record);
            Ok(())
        })
    }

    /// Applies `act` to a replica whose process is certainly the one that was started.
    fn end(
        &self,
        replica: &str,
        act: impl FnOnce(&mut Record, &Identity) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let mut state = self.lock();
        let Some(record) = state.records.get_mut(replica).filter(|record| record.is_live()) else {
            return Ok(());
        };
        let Some(identity) = record.own.identity.clone() else { return Ok(()) };
        // Gone or ended: the next observation says how.
        if identity.life(&self.boot_id) != Life::Alive {
            return Ok(());
        }
        act(record, &identity)
    }

    pub(crate) fn set_limits(&self, replica: &str, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
        let mut state = self.lock();
        let record = state.records.get_mut(replica).filter(|record| record.is_live());
        let record = record.ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        let set = limits::change(record, limits)?;
        let path = self.record_path(replica);
        record.save(&path).map_err(file_error("write", &path))?;
        Ok(set)
    }

    pub(crate) fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        let mut state = self.lock();
        let record =
            state.records.get_mut(replica).ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        record.deployment_mut().generation = generation;
        let path = self.record_path(replica);
        record.save(&path).map_err(file_error("write", &path))
    }

    pub(crate) fn forget(&self, replica: &str) -> Result<(), DriverError> {
        let mut state = self.lock();
        if state.records.get(replica).is_some_and(Record::is_live) {
            return Err(DriverError::StillRunning(replica.into()));
        }
        state.promised.remove(replica);
        if state.records.remove(replica).is_none() {
            return Ok(());
        }
        for path in [self.record_path(replica), self.launch_path(replica), self.exit_path(replica)] {
            remove_if_there(&path)?;
        }
        Ok(())
    }

    // ---- recovering ----

    pub(crate) fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        let mut state = self.lock();
        let mut report = RecoveryReport::default();
        for replica in recorded(&self.run)? {
            let path = self.record_path(&replica);
            match Record::load(&path, &replica) {
                Ok(mut record) => {
                    self.take_over(&mut record, now, &mut report)?;
                    state.records.insert(replica, record);
                }
                Err(why) => {
                    report.unreadable.push(format!("{}: {why}", path.display()));
                    let aside = self.run.join(format!("{replica}.json.invalid"));
                    fs::rename(&path, &aside).map_err(file_error("set aside", &path))?;
                }
            }
        }
        self.end_orphans(&mut state, &mut report);
        Ok(report)
    }

    /// Finds out what became of a replica.
    fn take_over(
        &self,
        record: &mut Record,
        now: Timestamp,
        report: &mut RecoveryReport,
    ) -> Result<(), DriverError> {
        if !record.is_live() {
            return Ok(());
        }
        let replica = record.deployment.replica.clone();
        if record.own.identity.is_none() {
            self.complete_start(record, now)?;
        }
        if record.is_live() {
            self.refresh(record, now);
        }
        let alive = |identity: &Identity| identity.life(&self.boot_id) == Life::Alive;
        if !record.is_live() || !record.own.identity.as_ref().is_some_and(alive) {
            report.ended.push(replica);
            return Ok(());
        }
        // The request may have been recorded and not sent.
        if let (Phase::Stopping { killed, .. }, Some(identity)) = (&record.phase, &record.own.identity) {
            identity.signal_group(if *killed { Signal::SIGKILL } else { Signal::SIGTERM });
        }
        report.adopted.push(replica);
        Ok(())
    }

    /// A start was begun and its outcome is not recorded: the launch file tells.
    fn complete_start(&self, record: &mut Record, now: Timestamp) -> Result<(), DriverError> {
        let replica = &record.deployment.replica;
        let path = self.launch_path(replica);
        let file = LaunchFile::lock(&path).map_err(file_error("lock", &path))?;
        record.own.identity =
            file.identity(&record.launch, &self.boot_id).map_err(file_error("read", &path))?;
        if record.own.identity.is_some() {
            record.phase = Phase::Running;
        } else {
            let why = "sos ended while it was being started".to_owned();
            record.phase = Phase::Exited { exit: Exit::NotStarted(why), at: now, asked: None };
        }
        self.save(record);
        Ok(())
    }

    /// Ends processes and removes groups that no live record accounts for.
    fn end_orphans(&self, state: &mut State, report: &mut RecoveryReport) {
        let live = |replica: &str| state.records.get(replica).filter(|record| record.is_live());
        for found in marked(&self.instance) {
            if live(&found.replica).is_some_and(|record| record.launch == found.launch) {
                continue;
            }
            kill_all([found.pid]);
            report.orphans.push(format!("{} ({})", found.replica, found.pid));
        }
        let unused = self.cgroups.existing().into_iter().filter(|replica| live(replica).is_none());
        state.leftovers = unused.map(|replica| self.cgroups.of(&replica)).collect();
        self.tidy_groups(state);
        self.cgroups.remove_parents();
    }
}

impl State {
    /// Measures what is used and rotates logs. The kernel adds up a group's memory for each reading, which takes
    /// longer than all the rest of a look.
    fn inspect(&mut self, now: Timestamp) {
        self.inspected = Some(now);
        let live = self.records.iter().filter(|(_, record)| record.is_live());
        self.usage = live.filter_map(|(replica, record)| Some((replica.clone(), usage(record)?))).collect();
        for record in self.records.values() {
            let log = &record.deployment.log;
            if let Err(error) = rotate(log, &record.deployment.logs) {
                tracing::warn!(path = %log.display(), %error, "a log could not be rotated");
            }
        }
    }

    fn state_of(&self, record: &Record) -> ReplicaState {
        let measured = || self.usage.get(&record.deployment.replica).copied().or_else(|| usage(record));
        record.state(handle(record), record.is_live().then(measured).flatten(), None)
    }

    /// The ports that a replica had or was promised.
    fn ports_of(&self, replica: &str) -> BTreeMap<String, u16> {
        let recorded = self.records.get(replica).map(|record| &record.deployment.ports);
        recorded.or_else(|| self.promised.get(replica)).cloned().unwrap_or_default()
    }

    /// The ports of all other replicas, whether they run or not.
    fn taken_from(&self, replica: &str) -> BTreeMap<u16, String> {
        let recorded = self.records.iter().map(|(id, record)| (id, &record.deployment.ports));
        taken_from(replica, recorded.chain(&self.promised))
    }
}

fn handle(record: &Record) -> Option<Handle> {
    let identity = record.own.identity.as_ref()?;
    Some(Handle {
        replica: record.deployment.replica.clone(),
        id: format!("{}/{}/{}", identity.boot_id, identity.pid, identity.start_ticks),
        pid: Some(identity.pid),
    })
}

fn usage(record: &Record) -> Option<Usage> {
    let grouped = record.own.cgroup.as_ref().and_then(|group| group.usage());
    grouped.or_else(|| record.own.identity.as_ref()?.usage())
}

/// The program as an absolute path: itself, relative to the working directory, or found in `PATH`.
fn find_program(config: &ReplicaConfig) -> Result<PathBuf, DriverError> {
    let declared = &config.service.program;
    let wrong = |why: &str| DriverError::Program {
        replica: config.replica.clone(),
        program: declared.clone(),
        why: why.into(),
    };
    let candidates: Vec<PathBuf> = if declared.contains('/') {
        vec![config.service.workdir.join(declared)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(declared)).collect()
    };
    let found = candidates.iter().find(|path| path.is_file());
    let found = found
        .ok_or_else(|| wrong(if declared.contains('/') { "does not exist" } else { "is not in PATH" }))?;
    let mode = fs::metadata(found).map_err(file_error("read", found))?.permissions().mode();
    if mode & 0o111 == 0 {
        return Err(wrong("is not executable"));
    }
    // Links stay: a Python of a virtual environment finds its packages by the path it is called by.
    std::path::absolute(found).map_err(file_error("find", found))
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hex(&hasher.finalize()))
}
