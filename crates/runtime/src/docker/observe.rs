//! Comparing what is recorded with what the daemon says there is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::Record;
use super::daemon::Fault;
use super::found::{Found, Life, exit_of, inspect, list, somebody_killed, was_killed};
use super::measure::measure;
use super::names::described;
use super::start::{control_groups, introduce, remove};
use super::worker::{State, Worker};
use crate::{
    DriverError, Enforcement, Exit, LimitEnforcement, OlderRuns, Phase, RecoveryReport, ReplicaState,
};

/// How often usage and health are measured; that containers live is looked at each time.
const MEASURE_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// How long the end of a run waits for the end of its log, so that who reads of it finds the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) async fn observe(&self, now: Timestamp) -> Result<Vec<ReplicaState>, DriverError> {
        let mut state = self.state.lock().await;
        if state.records.is_empty() {
            // Where no service runs in a container, no daemon is needed.
            return Ok(vec![]);
        }
        let found = self.look(&mut state, now, &mut RecoveryReport::default()).await?;
        self.measure(&mut state, &found, now).await;
        Ok(state.records.values().map(|record| state.state_of(record)).collect())
    }

    /// Compares the records with what there is, and notes what became of them.
    pub(super) async fn look(
        &self,
        state: &mut State,
        now: Timestamp,
        report: &mut RecoveryReport,
    ) -> Result<Vec<Found>, DriverError> {
        let found = match list(&self.daemon, &self.instance).await {
            Ok(found) => found,
            Err(fault) => {
                state.steady = false;
                return Err(self.daemon.error("list containers", fault));
            }
        };
        let mut accounted = BTreeSet::new();
        for replica in state.records.keys().cloned().collect::<Vec<_>>() {
            let mine = state
                .records
                .get(&replica)
                .and_then(|record| found.iter().find(|found| found.is_of(&replica, &record.launch)));
            accounted.extend(mine.map(|found| found.id.clone()));
            self.attend(state, &replica, mine, now, report).await?;
        }
        for stray in found.iter().filter(|found| !accounted.contains(&found.id)) {
            self.take_in(state, stray, now, report).await?;
        }
        state.steady = true;
        Ok(found)
    }

    /// Brings one record up to what was found of its start.
    async fn attend(
        &self,
        state: &mut State,
        replica: &str,
        mine: Option<&Found>,
        now: Timestamp,
        report: &mut RecoveryReport,
    ) -> Result<(), DriverError> {
        let Some(record) = state.records.get(replica) else { return Ok(()) };
        let life = mine.map(|found| found.life);
        let waiting = matches!(record.phase, Phase::Stopping { .. }) && !record.own.signalled;
        if record.is_live() && (life != Some(Life::Runs) || record.phase == Phase::Starting || waiting) {
            let mut record = record.clone();
            let result = self.refresh(state, &mut record, mine, now).await;
            state.records.insert(replica.to_owned(), record);
            result?;
        } else if !record.is_live() && life == Some(Life::Runs) {
            // Started again by somebody else: the record says that it is over, and so it is to be.
            if let Some(found) = mine {
                let removed = remove(&self.daemon, &found.id).await;
                removed.map_err(|fault| self.daemon.error("remove a container", fault))?;
                report.orphans.push(format!("{replica} ({})", short(&found.id)));
            }
            return Ok(());
        }
        let source = state.records.get(replica).and_then(|record| self.source(record));
        if let (Some(source), Some(Life::Runs | Life::Ended)) = (source, life) {
            state.copies.tend(&source, life == Some(Life::Ended), now).await;
        }
        Ok(())
    }

    /// Notes a change of a live record.
    async fn refresh(
        &self,
        state: &mut State,
        record: &mut Record,
        mine: Option<&Found>,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let failed = |fault| self.daemon.error("look at a container", fault);
        let starting = record.phase == Phase::Starting;
        let Some(found) = mine else {
            let why = "the start was broken off before its container was made".to_owned();
            let exit = if starting { Exit::NotStarted(why) } else { Exit::Unknown };
            self.over(record, exit, now).await;
            return Ok(());
        };
        match found.life {
            Life::Made => {
                remove(&self.daemon, &found.id).await.map_err(failed)?;
                let why = "the start was broken off before its container was started".to_owned();
                record.own.container = None;
                self.over(record, Exit::NotStarted(why), now).await;
            }
            Life::Runs => {
                if starting {
                    introduce(&self.daemon, record, &found.id).await.map_err(failed)?;
                    record.phase = Phase::Running;
                    self.save(record).await;
                }
                if matches!(record.phase, Phase::Stopping { .. }) && !record.own.signalled {
                    self.signal(record).await?;
                }
            }
            Life::Ended => {
                record.own.container = Some(found.id.clone());
                let exit = self.exit(record, &found.id, state.steady, now).await.map_err(failed)?;
                if let Some(source) = self.source(record) {
                    state.copies.drain(&source, LAST_LINES, now).await;
                }
                self.over(record, exit, now).await;
            }
        }
        Ok(())
    }

    async fn over(&self, record: &mut Record, exit: Exit, now: Timestamp) {
        record.phase = Phase::Exited { exit, at: now, asked: record.asked() };
        record.own.pid = None;
        self.save(record).await;
    }

    /// How a container ended. The daemon sometimes loses the kernel's word that memory ran out, when the end comes
    /// first: a program with a memory limit that is killed, and not by anybody who asked the daemon, is taken for that.
    async fn exit(&self, record: &Record, id: &str, steady: bool, now: Timestamp) -> Result<Exit, Fault> {
        let Some(inspected) = inspect(&self.daemon, id).await? else { return Ok(Exit::Unknown) };
        let exit = exit_of(&inspected);
        let asked = record.asked().is_some();
        if asked && exit == Exit::OutOfMemory {
            let code =
                inspected.state.and_then(|state| state.exit_code).and_then(|code| i32::try_from(code).ok());
            return Ok(code.map_or(Exit::Unknown, |code| {
                if code > 128 { Exit::Signal(code - 128) } else { Exit::Code(code) }
            }));
        }
        let suspect =
            steady && !asked && was_killed(&exit) && record.deployment.limits.memory_bytes.is_some();
        if suspect && !somebody_killed(&self.daemon, id, record.started_at, now).await? {
            return Ok(Exit::OutOfMemory);
        }
        Ok(exit)
    }

    /// A container that no record is about: adopted when its record was lost, else removed.
    async fn take_in(
        &self,
        state: &mut State,
        stray: &Found,
        now: Timestamp,
        report: &mut RecoveryReport,
    ) -> Result<(), DriverError> {
        let unknown = !state.records.contains_key(stray.replica()) && stray.life != Life::Made;
        if let Some((deployment, launch, started_at)) = described(&stray.labels).filter(|_| unknown) {
            let limits = LimitEnforcement {
                memory: deployment
                    .limits
                    .memory_bytes
                    .map_or(Enforcement::NotRequested, |_| control_groups()),
                cpu: deployment.limits.cpu_millis.map_or(Enforcement::NotRequested, |_| control_groups()),
            };
            let replica = deployment.replica.clone();
            let record = Record::new(deployment, started_at, launch, limits, (vec![], OlderRuns::default()));
            state.records.insert(replica.clone(), record);
            return self.attend(state, &replica, Some(stray), now, report).await;
        }
        let removed = remove(&self.daemon, &stray.id).await;
        removed.map_err(|fault| self.daemon.error("remove a container", fault))?;
        report.orphans.push(format!("{} ({})", stray.replica(), short(&stray.id)));
        Ok(())
    }

    /// Takes in what was measured, and begins to measure again when it is time.
    async fn measure(&self, state: &mut State, found: &[Found], now: Timestamp) {
        if state.measuring.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(done) = state.measuring.take()
        {
            state.measured = done.await.unwrap_or_default();
        }
        // Also after the clock was set back.
        let recently =
            |at: Timestamp| (SignedDuration::ZERO..MEASURE_EVERY).contains(&now.duration_since(at));
        if state.measuring.is_some() || state.measured_at.is_some_and(recently) {
            return;
        }
        let running = found.iter().filter(|found| found.life == Life::Runs);
        let running: Vec<_> = running.map(|found| (found.id.clone(), found.checked)).collect();
        state.measured_at = Some(now);
        state.measuring = Some(tokio::spawn(measure(Arc::clone(&self.daemon), running)));
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
