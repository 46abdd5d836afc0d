//! What is observed, as plain data.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Measured, ProbeRecord, Refusal, ReplicaProbes, RolloutState};

/// How many past runs of a replica are kept; more are of no use to the back-off.
pub const MAX_PAST_RUNS: usize = 64;

/// The time on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Wall time: probes, back-off, stop time-outs.
    pub wall: Timestamp,
    /// Site time: windows, deadlines, power envelopes.
    pub site: Timestamp,
}

/// Everything observed about services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Replicas by id; those that ended stay until forgotten or started again.
    pub replicas: BTreeMap<String, ObservedReplica>,
    /// Readiness of external services, by service name.
    pub external: BTreeMap<String, ProbeRecord>,
    /// What was remembered of revisions, by service name: [`crate::Plan::rollouts`] of the plan before.
    #[serde(default)]
    pub rollouts: BTreeMap<String, RolloutState>,
    /// Requests per revision since the present step of a canary began, by service name.
    #[serde(default)]
    pub measured: BTreeMap<String, Vec<Measured>>,
    /// Requests under way to replicas that get no new ones, by replica. One that may still get some is left out; one
    /// that never gets any (nothing routes to its service) stands with zero.
    #[serde(default)]
    pub in_flight: BTreeMap<String, u64>,
    /// Deployments that could not be made, by replica, until one is made.
    #[serde(default)]
    pub refusals: BTreeMap<String, Refusal>,
    /// The last lines of output, by replica, the newest last.
    #[serde(default)]
    pub last_lines: BTreeMap<String, Vec<String>>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservedReplica {
    /// The service it belongs to.
    pub service: String,
    /// Its number within the service, from 0.
    pub ordinal: u32,
    /// The generation it was deployed or adopted with.
    pub generation: u64,
    /// Hash of the description it was deployed with.
    pub description_hash: String,
    /// The run of a batch job it was deployed for.
    pub run: Option<String>,
    /// Dependencies as deployed: the stop order still holds when the declaration is gone.
    pub depends_on: Vec<String>,
    /// Stop time-out as deployed, used when the declaration is gone.
    pub stop_timeout: SignedDuration,
    /// When its process started (or the attempt was made), wall time.
    pub started_at: Timestamp,
    /// What it does now.
    pub phase: ReplicaPhase,
    /// Probe results of the present run.
    pub probes: ReplicaProbes,
    /// Earlier runs, oldest first, at most [`MAX_PAST_RUNS`]. The present run is not among them.
    pub past_runs: Vec<PastRun>,
    /// Restarts after failures of runs that are too old to be among them.
    #[serde(default)]
    pub older_restarts: u32,
}

impl ObservedReplica {
    /// Whether a process may exist.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.phase, ReplicaPhase::Exited { .. })
    }
}

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum ReplicaPhase {
    /// Being started; no process is known yet.
    Starting,
    /// Its process runs.
    Running,
    /// Asked to stop, its process still runs.
    Stopping {
        /// When it was asked, wall time.
        since: Timestamp,
        /// Time allowed until the kill.
        grace: SignedDuration,
        /// Why.
        cause: StopCause,
        /// Whether it was killed already.
        killed: bool,
    },
    /// No process is left.
    Exited {
        /// How it ended.
        exit: Exit,
        /// When the end was noticed, wall time.
        at: Timestamp,
        /// Why it had been asked to stop, if it had.
        asked: Option<StopCause>,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "exit", content = "detail")]
pub enum Exit {
    /// By itself with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed at its memory limit.
    OutOfMemory,
    /// It could not be started, and why.
    NotStarted(String),
    /// It ended while nobody watched; the exit code is lost.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("was killed at its memory limit"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unknown => f.write_str("ended with an unknown exit code"),
        }
    }
}

/// Why a replica is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// It is no longer declared, scaled away or suspended.
    NotWanted,
    /// It makes room for a newer description.
    Roll,
    /// A probe failed; counts as a failed run.
    Unhealthy,
    /// The site's plan gives a batch job no power now.
    Paused,
    /// A batch job's deadline has passed.
    Deadline,
}

impl StopCause {
    const ALL: [(Self, &'static str); 5] = [
        (Self::NotWanted, "not-wanted"),
        (Self::Roll, "roll"),
        (Self::Unhealthy, "unhealthy"),
        (Self::Paused, "paused"),
        (Self::Deadline, "deadline"),
    ];
}

impl std::fmt::Display for StopCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.iter().find(|(cause, _)| cause == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

/// A text that names no [`StopCause`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownStopCause(pub String);

impl std::fmt::Display for UnknownStopCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known: Vec<_> = StopCause::ALL.iter().map(|(_, name)| *name).collect();
        write!(f, "unknown stop cause {:?}, known are {}", self.0, known.join(", "))
    }
}
impl std::error::Error for UnknownStopCause {}

impl std::str::FromStr for StopCause {
    type Err = UnknownStopCause;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(cause, _)| *cause).ok_or_else(|| UnknownStopCause(text.into()))
    }
}

/// A run of a replica that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    /// When it started, wall time.
    pub started_at: Timestamp,
    /// When it ended, wall time.
    pub ended_at: Timestamp,
    /// Hash of the description it ran.
    pub description_hash: String,
    /// The batch run it worked on.
    pub run: Option<String>,
    /// How it ended.
    pub exit: Exit,
    /// Why it had been asked to stop, if it had.
    pub asked: Option<StopCause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_causes_survive_their_text_form() {
        for (cause, _) in StopCause::ALL {
            assert_eq!(cause.to_string().parse(), Ok(cause));
        }
        assert!("nap".parse::<StopCause>().unwrap_err().to_string().contains("not-wanted"));
    }
}
