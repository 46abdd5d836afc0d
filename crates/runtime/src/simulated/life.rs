//! What becomes of a simulated replica, as a function of its record and of time. How often anybody looks changes nothing:
//! what happened is told with the time at which it did.

use jiff::{SignedDuration, Timestamp};

use super::Record;
use super::faults::{FaultKind, later};
use crate::{Exit, Handle, Health, HealthStatus, Level, Phase, ReplicaState, Usage};

/// The signal of a kill.
const SIGKILL: i32 = 9;

/// Something that happened to a replica, for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) what: String,
}

impl Happened {
    pub(super) fn new(at: Timestamp, level: Level, what: impl Into<String>) -> Self {
        Self { at, level, what: what.into() }
    }
}

/// Lets time pass. Nothing is returned when nothing has changed.
pub(super) fn settle(record: &mut Record, now: Timestamp) -> Vec<Happened> {
    let mut happened = vec![];
    if record.phase == Phase::Starting && record.own.runs_from <= now {
        record.phase = Phase::Running;
        happened.push(Happened::new(record.own.runs_from, Level::Info, "started"));
    }
    if let Some((at, exit)) = next_end(record).filter(|(at, _)| *at <= now) {
        happened.push(end(record, exit, at));
    }
    happened
}

/// When and how a replica ends if nothing else happens to it.
fn next_end(record: &Record) -> Option<(Timestamp, Exit)> {
    if !record.is_live() {
        return None;
    }
    let by_itself = record.own.conduct.exit.as_ref();
    let by_itself = by_itself.map(|(after, exit)| (later(record.own.runs_from, *after), exit.clone()));
    let asked = record.own.stops_at.map(|at| (at, Exit::Code(0)));
    by_itself.into_iter().chain(asked).min_by_key(|(at, _)| *at)
}

fn end(record: &mut Record, exit: Exit, at: Timestamp) -> Happened {
    let what = match &exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::OutOfMemory => "ended for lack of memory".into(),
        Exit::NotStarted(why) => format!("not started: {why}"),
        Exit::Unknown => "ended".into(),
    };
    let level = if exit == Exit::Code(0) { Level::Info } else { Level::Error };
    record.phase = Phase::Exited { exit, at, asked: record.asked() };
    Happened::new(at, level, what)
}

/// A start that fails.
pub(super) fn fail(record: &mut Record, why: String, now: Timestamp) -> Vec<Happened> {
    vec![end(record, Exit::NotStarted(why), now)]
}

/// What a fault does to a live replica at a time up to which it has settled; nothing when it did that before.
pub(super) fn strike(record: &mut Record, fault: &FaultKind, at: Timestamp) -> Vec<Happened> {
    let exit = match fault {
        FaultKind::Crash { code } => Some(Exit::Code(*code)),
        FaultKind::Signal { signal } => Some(Exit::Signal(*signal)),
        FaultKind::OutOfMemory => Some(Exit::OutOfMemory),
        FaultKind::Hung { lasts } => {
            let until = Some(lasts.map_or(Timestamp::MAX, |lasts| later(at, lasts)));
            if record.own.hung_until >= until {
                return vec![];
            }
            record.own.hung_until = until;
            None
        }
        FaultKind::Deaf if !record.own.deaf => {
            record.own.deaf = true;
            record.own.stops_at = None;
            None
        }
        // These hit calls, or are over.
        FaultKind::Deaf
        | FaultKind::NotStarted { .. }
        | FaultKind::SlowStart { .. }
        | FaultKind::Away { .. }
        | FaultKind::Lost
        | FaultKind::Unanswered => return vec![],
    };
    let mut happened = vec![Happened::new(at, Level::Warn, format!("injected fault: {fault}"))];
    happened.extend(exit.map(|exit| end(record, exit, at)));
    happened
}

/// A request to stop; the first one counts.
pub(super) fn ask(record: &mut Record, grace: SignedDuration, cause: &str, now: Timestamp) -> Vec<Happened> {
    if !matches!(record.phase, Phase::Starting | Phase::Running) {
        return vec![];
    }
    record.phase = Phase::Stopping { since: now, grace, cause: cause.into(), killed: false };
    let stops_in = record.own.conduct.stops_in.filter(|_| !record.own.deaf);
    record.own.stops_at = stops_in.map(|stops_in| later(now, stops_in));
    vec![Happened::new(now, Level::Info, format!("asked to stop: {cause}"))]
}

pub(super) fn kill(record: &mut Record, now: Timestamp) -> Vec<Happened> {
    if !matches!(record.phase, Phase::Stopping { .. }) {
        let (grace, cause) = (SignedDuration::ZERO, "killed".to_owned());
        record.phase = Phase::Stopping { since: now, grace, cause, killed: true };
    }
    vec![end(record, Exit::Signal(SIGKILL), now)]
}

pub(super) fn handle(record: &Record) -> Option<Handle> {
    record.is_live().then(|| Handle {
        replica: record.deployment.replica.clone(),
        id: record.launch.clone(),
        pid: None,
    })
}

/// What is seen of a replica that has settled.
pub(super) fn state(record: &Record, now: Timestamp) -> ReplicaState {
    record.state(handle(record), usage(record, now), health(record, now))
}

fn usage(record: &Record, now: Timestamp) -> Option<Usage> {
    let ran = now.duration_since(record.own.runs_from).max(SignedDuration::ZERO);
    let conduct = &record.own.conduct;
    record.is_live().then(|| Usage {
        cpu_seconds: ran.as_secs_f64() * conduct.cpu,
        memory_bytes: conduct.memory_bytes,
        whole_group: true,
    })
}

pub(super) fn health(record: &Record, now: Timestamp) -> Option<Health> {
    let (status, failures, output) = if record.own.hung_until.is_some_and(|until| now < until) {
        (HealthStatus::Unhealthy, 1, "an injected fault: hung")
    } else if now < record.own.runs_from {
        (HealthStatus::Starting, 0, "")
    } else {
        (HealthStatus::Healthy, 0, "")
    };
    record.is_live().then(|| Health { status, failures, output: output.into(), since: None })
}
