//! The driver's work: a table of records, moved on by the time that calls carry.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::faults::{Fault, FaultKind, later};
use super::life::{self, Happened};
use super::schedule::Schedule;
use super::{Record, SimulatedOptions};
use crate::driver::PortTable;
use crate::ports::taken_from;
use crate::shared::{
    check_secrets, check_workdir, file_error, instance_of, make_private, recorded, remove_if_there,
};
use crate::{
    Capabilities, Deployment, DriverError, Enforcement, Handle, HealthStatus, InPlaceLimits, Level,
    LimitEnforcement, Limits, LogSource, Metadata, PortError, PortRequest, ProbeOutcome, RecoveryReport,
    ReplicaConfig, ReplicaState, RotatingFile, SecretValues, assign_ports,
};

/// Everything that the driver holds. One lock: its calls are short.
#[derive(Debug)]
pub(super) struct Worker {
    options: SimulatedOptions,
    /// Tells this data directory from others on the machine.
    instance: String,
    run: PathBuf,
    logs: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Ports promised by `resolve` to replicas that have no record yet.
    promised: PortTable,
    /// From the first recovery on.
    schedule: Option<Schedule>,
    /// The time that was told last, for calls that carry none.
    now: Timestamp,
    launches: u64,
}

fn held(limit: Option<u64>) -> Enforcement {
    limit.map_or(Enforcement::NotRequested, |_| not_enforced())
}

fn not_enforced() -> Enforcement {
    Enforcement::NotEnforced("simulated replicas use what is declared for them".into())
}

fn enforcement(limits: &Limits) -> LimitEnforcement {
    LimitEnforcement { memory: held(limits.memory_bytes), cpu: held(limits.cpu_millis) }
}

pub(super) fn capabilities() -> Capabilities {
    Capabilities {
        driver: "simulated".into(),
        memory_limit: not_enforced(),
        cpu_limit: not_enforced(),
        in_place_limits: InPlaceLimits { cpu: true, memory: true, why_not: None },
        exit_code_after_adoption: true,
        host_network: true,
    }
}

impl Worker {
    pub(super) fn new(options: SimulatedOptions) -> Result<Self, DriverError> {
        let (run, logs) = (options.data_dir.join("run/simulated"), options.data_dir.join("logs"));
        make_private(&options.data_dir.join("run"))?;
        make_private(&run)?;
        make_private(&logs)?;
        let instance = instance_of(&options.data_dir)?;
        Ok(Self { options, instance, run, logs, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves records that are true on their own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_path(&self, replica: &str) -> PathBuf {
        self.run.join(format!("{replica}.json"))
    }

    fn log_path(&self, replica: &str) -> PathBuf {
        self.logs.join(format!("{replica}.log"))
    }

    /// The logs in the data directory, with what is known of the replicas that wrote them.
    pub(super) fn log_sources(&self, zone: &TimeZone) -> Result<Vec<LogSource>, DriverError> {
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

    pub(super) fn probe(&self, replica: &str) -> ProbeOutcome {
        let state = self.lock();
        let away = state.check_there().err().map(|error| error.full());
        let health = state.records.get(replica).and_then(|record| life::health(record, state.now));
        let (success, message) = match (away, health) {
            (Some(why), _) => (false, why),
            (None, None) => (false, format!("{replica} does not run")),
            (None, Some(health)) => match health.status {
                HealthStatus::Healthy => (true, "healthy".into()),
                HealthStatus::Starting => (false, format!("{replica} is being started")),
                HealthStatus::Unhealthy => (false, health.output),
            },
        };
        ProbeOutcome { success, duration: Duration::ZERO, message }
    }

    // ---- time ----

    /// What every call does first: what happened up to now, and whether it can be asked at all.
    fn enter(&self, now: Option<Timestamp>) -> Result<MutexGuard<'_, State>, DriverError> {
        let mut state = self.lock();
        state.now = now.unwrap_or(state.now);
        self.settle(&mut state);
        state.check_there()?;
        Ok(state)
    }

    /// Lets faults come and time pass up to now. Records are written only when they have changed.
    fn settle(&self, state: &mut State) {
        let now = state.now;
        while let Some((at, fault)) = state.schedule.as_mut().and_then(|schedule| schedule.next(now)) {
            self.strike(state, &fault, at);
        }
        for record in state.records.values_mut() {
            let happened = life::settle(record, now);
            self.note(record, &happened);
        }
    }

    /// Lets a fault hit the runs that are under way. A repeat, after a recovery, changes nothing.
    fn strike(&self, state: &mut State, fault: &Fault, at: Timestamp) {
        let hit = |replica: &str, record: &Record| fault.target.is(replica) && record.started_at < at;
        for (replica, record) in &mut state.records {
            if hit(replica, record) {
                let mut happened = life::settle(record, at);
                if record.is_live() {
                    happened.extend(life::strike(record, &fault.kind, at));
                }
                self.note(record, &happened);
            }
        }
        if fault.kind == FaultKind::Lost {
            let lost: Vec<String> = state
                .records
                .iter()
                .filter(|(replica, record)| hit(replica, record))
                .map(|(replica, _)| replica.clone())
                .collect();
            for replica in lost {
                self.lose(state, &replica, at);
            }
        }
    }

    fn lose(&self, state: &mut State, replica: &str, at: Timestamp) {
        state.promised.remove(replica);
        if let Some(record) = state.records.remove(replica) {
            self.log(
                &record,
                &[Happened::new(at, Level::Warn, format!("injected fault: {}", FaultKind::Lost))],
            );
        }
        if let Err(error) = remove_if_there(&self.record_path(replica)) {
            tracing::error!(replica, error = error.full(), "its record could not be removed");
        }
    }

    /// Writes down what happened to a replica by itself, if anything did. A failure is reported; what follows from the
    /// times in the record is found again by those who read the one before.
    fn note(&self, record: &Record, happened: &[Happened]) {
        if happened.is_empty() {
            return;
        }
        self.log(record, happened);
        let path = self.record_path(&record.deployment.replica);
        if let Err(error) = record.save(&path) {
            tracing::error!(path = %path.display(), %error, "the state of a replica could not be written");
        }
    }

    /// Appends to the log of a replica.
    fn log(&self, record: &Record, happened: &[Happened]) {
        let Deployment { replica, log, logs, .. } = &*record.deployment;
        let lines =
            happened.iter().map(|Happened { at, level, what }| format!("{at} {level} {replica} {what}\n"));
        let written = RotatingFile::open(log, *logs)
            .and_then(|mut file| lines.into_iter().try_for_each(|line| file.write_all(line.as_bytes())));
        if let Err(error) = written {
            tracing::warn!(path = %log.display(), %error, "a log could not be written");
        }
    }

    // ---- resolving ----

    pub(super) fn resolve(&self, config: &ReplicaConfig) -> Result<Metadata, DriverError> {
        let mut state = self.enter(None)?;
        let (replica, service) = (&config.replica, &config.service);
        let kept = state.ports_of(replica);
        let same = |request: &PortRequest| {
            let port = *kept.get(&request.name)?;
            request.port.is_none_or(|wanted| wanted == port).then(|| (request.name.clone(), port))
        };
        let ports = if state.records.get(replica).is_some_and(Record::is_live) {
            kept
        } else if let Some(all) = service.ports.iter().map(same).collect() {
            // Nobody listens on them, so whether another program does is not asked again.
            all
        } else {
            assign_ports(replica, &service.ports, &kept, &state.taken_from(replica))?
        };
        state.promised.insert(replica.clone(), ports.clone());
        let mut labels = service.labels.clone();
        labels.insert("sos.energy/driver".into(), "simulated".into());
        labels.insert("sos.energy/instance".into(), self.instance.clone());
        let (program, version) = (service.program.clone().into(), "simulated".into());
        Ok(Metadata { ports, program, version, log: self.log_path(replica), labels })
    }

    // ---- deploying ----

    pub(super) fn deploy(
        &self,
        deployment: Deployment,
        secrets: &SecretValues,
        now: Timestamp,
    ) -> Result<Handle, DriverError> {
        let mut state = self.enter(Some(now))?;
        let replica = deployment.replica.clone();
        let handle = self.start(&mut state, deployment, secrets)?;
        state.answer("deploy", &replica)?;
        Ok(handle)
    }

    fn start(
        &self,
        state: &mut State,
        deployment: Deployment,
        secrets: &SecretValues,
    ) -> Result<Handle, DriverError> {
        let (now, replica) = (state.now, deployment.replica.clone());
        let old = state.records.get(&replica);
        if let Some(record) = old.filter(|record| record.is_live()) {
            let same = record.runs(&deployment).then(|| life::handle(record)).flatten();
            return same.ok_or(DriverError::AlreadyRunning(replica));
        }
        let past_runs = old.cloned().map(Record::into_past_runs).unwrap_or_default();
        state.launches += 1;
        let runs = past_runs.0.len() + past_runs.1.total() as usize;
        // Unlike any other also when time stands still: runs before it, and starts since the recovery.
        let launch = format!("{}-{runs}-{}", now.as_nanosecond(), state.launches);
        let held = enforcement(&deployment.limits);
        let mut record = Record::new(deployment, now, launch, held, past_runs);
        record.own.conduct =
            self.options.conducts.get(&record.deployment.service).cloned().unwrap_or_default();
        let delay = state.schedule.as_ref().map(|schedule| schedule.delay(&replica, now)).unwrap_or_default();
        record.own.runs_from = later(now, record.own.conduct.start_after.saturating_add(delay));
        if let Err(error) = state.check_start(&record.deployment, secrets) {
            let happened = life::fail(&mut record, error.full(), now);
            self.note(&record, &happened);
            state.records.insert(replica, record);
            return Err(error);
        }
        let handle = Handle { replica: replica.clone(), id: record.launch.clone(), pid: None };
        let happened = life::settle(&mut record, now);
        self.save(&record)?;
        self.log(&record, &happened);
        state.records.insert(replica, record);
        Ok(handle)
    }

    fn save(&self, record: &Record) -> Result<(), DriverError> {
        let path = self.record_path(&record.deployment.replica);
        record.save(&path).map_err(file_error("write", &path))
    }

    // ---- observing ----

    pub(super) fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        let state = self.enter(Some(now))?;
        Ok(state.records.values().map(|record| life::state(record, now)).collect())
    }

    // ---- changing and ending ----

    pub(super) fn stop(
        &self,
        replica: &str,
        grace: SignedDuration,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let mut state = self.enter(Some(now))?;
        self.end(&mut state, replica, |record| life::ask(record, grace, cause, now))?;
        state.answer("stop", replica)
    }

    pub(super) fn kill(&self, replica: &str, now: Timestamp) -> Result<(), DriverError> {
        let mut state = self.enter(Some(now))?;
        self.end(&mut state, replica, |record| life::kill(record, now))?;
        state.answer("kill", replica)
    }

    /// Applies `act` to a replica that lives. What cannot be written has not happened.
    fn end(
        &self,
        state: &mut State,
        replica: &str,
        act: impl FnOnce(&mut Record) -> Vec<Happened>,
    ) -> Result<(), DriverError> {
        let Some(record) = state.records.get_mut(replica).filter(|record| record.is_live()) else {
            return Ok(());
        };
        let mut changed = record.clone();
        let happened = act(&mut changed);
        if !happened.is_empty() {
            self.save(&changed)?;
            self.log(&changed, &happened);
            *record = changed;
        }
        Ok(())
    }

    pub(super) fn set_limits(&self, replica: &str, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
        let mut state = self.enter(None)?;
        let record = state.records.get_mut(replica).filter(|record| record.is_live());
        let record = record.ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        let holds = record.own.conduct.memory_bytes;
        if limits.memory_bytes.is_some_and(|limit| limit < holds) {
            let why = format!("it holds {holds} bytes of memory, more than the new limit");
            return Err(DriverError::NotInPlace { replica: replica.to_owned(), why });
        }
        let mut changed = record.clone();
        changed.deployment_mut().limits = *limits;
        changed.limits = enforcement(limits);
        self.save(&changed)?;
        *record = changed;
        state.answer("set limits of", replica)?;
        Ok(enforcement(limits))
    }

    pub(super) fn adopt(&self, replica: &str, generation: u64) -> Result<(), DriverError> {
        let mut state = self.enter(None)?;
        let record = state.records.get_mut(replica);
        let record = record.ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        record.deployment_mut().generation = generation;
        self.save(record)?;
        state.answer("adopt", replica)
    }

    pub(super) fn forget(&self, replica: &str) -> Result<(), DriverError> {
        let mut state = self.enter(None)?;
        if state.records.get(replica).is_some_and(Record::is_live) {
            return Err(DriverError::StillRunning(replica.into()));
        }
        remove_if_there(&self.record_path(replica))?;
        state.promised.remove(replica);
        state.records.remove(replica);
        state.answer("forget", replica)
    }

    // ---- recovering ----

    pub(super) fn recover(&self, now: Timestamp) -> Result<RecoveryReport, DriverError> {
        let mut state = self.lock();
        state.now = now;
        // One that was away tries again; the faults go on from the first time.
        if state.schedule.is_none() {
            state.schedule = Some(Schedule::new(self.options.faults.clone(), now));
        }
        state.check_there()?;
        let mut report = RecoveryReport::default();
        for replica in recorded(&self.run)? {
            let path = self.record_path(&replica);
            match Record::load(&path, &replica) {
                Ok(record) => {
                    state.records.insert(replica, record);
                }
                Err(why) => {
                    report.unreadable.push(format!("{}: {why}", path.display()));
                    let aside = self.run.join(format!("{replica}.json.invalid"));
                    fs::rename(&path, &aside).map_err(file_error("set aside", &path))?;
                }
            }
        }
        let lived = state.live();
        self.settle(&mut state);
        report.adopted = state.live();
        let ended = |replica: &String| !state.records.get(replica).is_some_and(Record::is_live);
        report.ended = lived.into_iter().filter(ended).collect();
        Ok(report)
    }
}

impl State {
    /// Fails while the runtime is away.
    fn check_there(&self) -> Result<(), DriverError> {
        let until = self.schedule.as_ref().and_then(|schedule| schedule.away_until(self.now));
        let why = |until| format!("it is away until {until}");
        until.map_or(Ok(()), |until| Err(DriverError::SimulatedAway { why: why(until) }))
    }

    /// Fails when the answer to a call that was done is lost.
    fn answer(&mut self, call: &str, replica: &str) -> Result<(), DriverError> {
        let lost = self.schedule.as_mut().is_some_and(|schedule| schedule.loses_answer(replica));
        if !lost {
            return Ok(());
        }
        Err(DriverError::SimulatedAway { why: format!("the answer to {call} {replica} is lost") })
    }

    /// What a start needs.
    fn check_start(&self, deployment: &Deployment, secrets: &SecretValues) -> Result<(), DriverError> {
        check_secrets(deployment, secrets)?;
        if deployment.container.is_none() {
            check_workdir(deployment)?;
        }
        let replica = &deployment.replica;
        let taken = if deployment.ports.is_empty() { BTreeMap::new() } else { self.taken_from(replica) };
        for (name, port) in &deployment.ports {
            if let Some(by) = taken.get(port) {
                let (name, by) = (name.clone(), format!("replica {by}"));
                return Err(PortError::InUse { replica: replica.clone(), name, port: *port, by }.into());
            }
        }
        let refusal = self.schedule.as_ref().and_then(|schedule| schedule.refusal(replica, self.now));
        refusal.map_or(Ok(()), |reason| {
            Err(DriverError::Start { replica: replica.clone(), source: io::Error::other(reason.to_owned()) })
        })
    }

    fn live(&self) -> Vec<String> {
        let live = self.records.iter().filter(|(_, record)| record.is_live());
        live.map(|(replica, _)| replica.clone()).collect()
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
