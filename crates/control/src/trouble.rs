//! What is wrong with a replica, and what to do about it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::probe::later;
use crate::world::World;
use crate::{DesiredService, Exit, ObservedReplica, ProbeKind, ProbeRecord, RestartSpec, restart_delay};

/// Failures in a row after which a replica is quarantined: the doubling waits up to here last some four minutes.
pub const QUARANTINE_AFTER: u32 = 10;
/// A replica in quarantine is tried again this seldom, so that a machine that nobody watches heals by itself when the
/// cause is gone.
pub const QUARANTINE_WAIT: SignedDuration = SignedDuration::from_mins(30);
/// How many of the last lines of output are told.
const LINES: usize = 10;
/// How much of one line is told, characters.
const LINE: usize = 200;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The program does not exist or cannot be run.
    ProgramMissing,
    /// The image does not exist, or not for this machine.
    ImageMissing,
    /// The registry did not answer or refused.
    ImageNotPulled,
    /// Another program has the port.
    PortTaken,
    /// No space, or no inode, is left.
    DiskFull,
    /// A secret has no value.
    SecretMissing,
    /// The runtime (a daemon, an API server) does not answer.
    RuntimeAway,
    /// The runtime refuses: rights, quota, a name.
    NotAllowed,
    /// The configuration cannot be deployed as it is.
    Configuration,
    /// It used more memory than it may.
    OutOfMemory,
    /// It could not be started for another reason.
    NotStarted,
    /// It does not answer any more.
    Hung,
    /// It was never ready.
    NeverReady,
    /// It was ready and is not any more.
    NotReady,
    /// It ends again and again.
    CrashLoop,
    /// It ended.
    Failing,
}

impl Problem {
    /// One word, for a condition.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::ProgramMissing => "ProgramMissing",
            Self::ImageMissing => "ImageMissing",
            Self::ImageNotPulled => "ImageNotPulled",
            Self::PortTaken => "PortTaken",
            Self::DiskFull => "DiskFull",
            Self::SecretMissing => "SecretMissing",
            Self::RuntimeAway => "RuntimeAway",
            Self::NotAllowed => "NotAllowed",
            Self::Configuration => "Configuration",
            Self::OutOfMemory => "OutOfMemory",
            Self::NotStarted => "NotStarted",
            Self::Hung => "Hung",
            Self::NeverReady => "NeverReady",
            Self::NotReady => "NotReady",
            Self::CrashLoop => "CrashLoop",
            Self::Failing => "Failing",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::ProgramMissing => "check command and workingDir, and that the file may be executed",
            Self::ImageMissing => "check the image's name and tag, and that it exists for this processor",
            Self::ImageNotPulled => "check the registry's address, the network and the pull secret",
            Self::PortTaken => {
                "stop the program that has the port, or leave the number out to get a free one"
            }
            Self::DiskFull => "free space on the disk; it starts by itself once there is room",
            Self::SecretMissing => "give the secret the key that is named",
            Self::RuntimeAway => "start the runtime; what runs goes on, and the rest starts once it answers",
            Self::NotAllowed => "check rights, quotas and names of the runtime",
            Self::Configuration => "correct what is named and apply again",
            Self::OutOfMemory => "raise resources.memory, or find out what needs so much",
            Self::NotStarted => "look at the message and at the logs",
            Self::Hung => "look at the logs of the time before; the liveness probe may be too strict",
            Self::NeverReady => {
                "check port, path and command of the probe, and how long the program takes to start"
            }
            Self::NotReady => "look at the logs, and at what it depends on",
            Self::CrashLoop => "look at the last lines; apply a corrected version, or order a new try",
            Self::Failing => "look at the logs",
        }
    }

    /// Whether another revision may not have it: what is wrong with the machine would hit that one too.
    #[must_use]
    pub fn is_of_the_revision(self) -> bool {
        !matches!(self, Self::DiskFull | Self::RuntimeAway | Self::ImageNotPulled | Self::PortTaken)
    }

    fn of_exit(exit: &Exit) -> Self {
        match exit {
            Exit::OutOfMemory => Self::OutOfMemory,
            Exit::NotStarted(_) => Self::NotStarted,
            Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => Self::Failing,
        }
    }
}

/// A deployment that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The service.
    pub service: String,
    /// Hash of the description that was to be deployed.
    pub description_hash: String,
    /// What is wrong.
    pub problem: Problem,
    /// What exactly.
    pub message: String,
    /// The last attempt, wall time.
    pub at: Timestamp,
    /// How often in a row it was tried; 1 after the first.
    pub times: u32,
}

impl Refusal {
    pub(crate) fn trouble(&self, id: &str) -> Trouble {
        let what = format!("{id} could not be deployed, tried {} times: {}", self.times, self.message);
        Trouble::new(self.problem, what)
    }

    /// When the next attempt is due: as after a crash, but never at once.
    pub(crate) fn due(&self, spec: &RestartSpec) -> Timestamp {
        later(self.at, restart_delay(spec, self.times.saturating_add(1)))
    }
}

/// Something to tell of a service's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) problem: Problem,
    /// What happened, without advice.
    pub(crate) what: String,
    pub(crate) quarantined: bool,
}

impl Trouble {
    pub(crate) fn new(problem: Problem, what: impl Into<String>) -> Self {
        Self { problem, what: what.into(), quarantined: false }
    }

    /// What happened and what to do.
    pub(crate) fn message(&self) -> String {
        format!("{}; {}", self.what, self.problem.advice())
    }
}

/// A replica that ended and waits for its next start.
pub(crate) fn waiting(
    id: &str,
    exit: &Exit,
    unhealthy: bool,
    failures: u32,
    delay: SignedDuration,
    world: &World<'_>,
) -> Trouble {
    let quarantined = failures >= QUARANTINE_AFTER;
    let seconds = delay.as_secs_f64();
    let what = format!("{id} {exit}, {failures} times in a row; next try {seconds} s after the last");
    let problem = match (quarantined, unhealthy) {
        (true, _) => Problem::CrashLoop,
        (false, true) => Problem::Hung,
        (false, false) => Problem::of_exit(exit),
    };
    let what = if quarantined { format!("{what}{}", last_lines(id, world)) } else { what };
    Trouble { problem, what, quarantined }
}

/// The wait before the next start; in quarantine it is long.
pub(crate) fn delay(spec: &RestartSpec, failures: u32) -> SignedDuration {
    let delay = restart_delay(spec, failures);
    if failures >= QUARANTINE_AFTER { delay.max(QUARANTINE_WAIT) } else { delay }
}

/// Such as `; last lines: … | …`, bounded; empty without any.
pub(crate) fn last_lines(id: &str, world: &World<'_>) -> String {
    let lines = world.observed.last_lines.get(id).map_or(&[][..], Vec::as_slice);
    let lines = &lines[lines.len().saturating_sub(LINES)..];
    let cut = |line: &String| line.chars().take(LINE).collect::<String>();
    let lines: Vec<_> = lines.iter().map(cut).collect();
    if lines.is_empty() { String::new() } else { format!("; last lines: {}", lines.join(" | ")) }
}

/// What a running replica that is not ready has to say.
pub(crate) fn unready(id: &str, replica: &ObservedReplica, spec: &DesiredService) -> Option<Trouble> {
    if !replica.probes.known_unready(&spec.probes) {
        return None;
    }
    let of = |record: &ProbeRecord| if record.was_good { Problem::NotReady } else { Problem::NeverReady };
    if let Some(record) = replica.probes.reported_unready() {
        let between = if record.message.is_empty() { "" } else { ": " };
        let text = format!("{id} is reported not to be ready{between}{}", record.message);
        return Some(Trouble::new(of(record), text));
    }
    let (kind, record) = if replica.probes.started(&spec.probes) {
        (ProbeKind::Readiness, &replica.probes.readiness)
    } else {
        (ProbeKind::Startup, &replica.probes.startup)
    };
    Some(Trouble::new(of(record), format!("{kind} probe of {id} fails: {}", record.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_deployment_is_tried_again_after_doubling_waits_and_never_at_once() {
        let waits: Vec<_> = (1..=4)
            .map(|times| {
                let refusal = Refusal {
                    service: "a".into(),
                    description_hash: "h".into(),
                    problem: Problem::PortTaken,
                    message: String::new(),
                    at: Timestamp::UNIX_EPOCH,
                    times,
                };
                refusal.due(&RestartSpec::default()).as_second()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8]);
    }

    #[test]
    fn quarantine_is_seldom_but_not_for_ever() {
        let spec = RestartSpec::default();
        assert_eq!(delay(&spec, QUARANTINE_AFTER - 1).as_secs(), 128);
        assert_eq!(delay(&spec, QUARANTINE_AFTER), QUARANTINE_WAIT);
        assert_eq!(delay(&spec, u32::MAX), QUARANTINE_WAIT);
    }
}
