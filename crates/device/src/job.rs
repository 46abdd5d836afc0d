//! A batch job that uses real power: it burns CPU for a declared span of site time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sos_units::Power;

use crate::DeviceError;
use crate::checkpoint::{Checkpoint, Found};
use crate::clock::{self, Clock, ClockArgs, ClockReply};
use crate::quantity;

/// What is hashed per slice: about a millisecond of work, little enough that a year of nights stays cheap.
const SLICE_BYTES: usize = 1 << 20;

/// Arguments of `sos job burn`.
#[derive(Clone, Debug, clap::Args)]
pub struct JobArgs {
    /// Power that the job is declared to use while it runs.
    #[arg(long, value_parser = quantity::power)]
    pub power: Power,
    /// Site time that the job runs for.
    #[arg(long, value_parser = quantity::seconds)]
    pub duration: u32,
    /// File that keeps the progress across restarts.
    #[arg(long)]
    pub state: PathBuf,
    /// Name of this run; progress of another run in the state file does not count.
    #[arg(long, env = "SOS_JOB_RUN", default_value = "")]
    pub run: String,
    /// How the job knows the time.
    #[command(flatten)]
    pub clock: ClockArgs,
}

/// Progress of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    run: String,
    /// Site time up to which work is counted, in seconds since 1970; `None` before the first tick.
    time: Option<i64>,
    worked: u32,
    /// The result so far, so that the work cannot be left out.
    digest: [u8; 32],
}

#[derive(Debug)]
struct Job {
    duration: u32,
    state: State,
    file: Checkpoint,
    block: Vec<u8>,
}

/// Runs a job to its end.
///
/// Only time in which the process lived counts as work: it begins with the first time that the process is handed or,
/// scaled, with its start.
///
/// # Errors
/// When an argument or the state file is unusable or the clock's port is taken.
pub async fn run(args: JobArgs) -> Result<(), DeviceError> {
    let job = Job::open(&args)?;
    tracing::info!(power = %args.power, seconds = args.duration, worked = job.state.worked, "job");
    if job.done() {
        return Ok(());
    }
    match args.clock.start().await? {
        Clock::Lockstep(listener) => {
            let job = Arc::new(Mutex::new(job));
            let advance = move |now| job.lock().unwrap_or_else(PoisonError::into_inner).advance(now);
            clock::serve(listener, advance).await;
        }
        Clock::Scaled(scale) => {
            let mut job = job;
            while !job.advance_to(scale.site_seconds(clock::wall_now())) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(())
}

impl Job {
    fn open(args: &JobArgs) -> Result<Self, DeviceError> {
        let (file, found) = Checkpoint::open::<State>(&args.state)?;
        let state = match found {
            // Work is counted from the first tick on: the time in which no process lived does not count.
            Found::State(state) if state.run == args.run => State { time: None, ..state },
            found => {
                if let Found::Corrupt(aside) = found {
                    tracing::error!(moved_to = %aside.display(), "the state file is corrupt; starting anew");
                }
                State { run: args.run.clone(), time: None, worked: 0, digest: [0; 32] }
            }
        };
        Ok(Self { duration: args.duration, state, file, block: vec![0x5a; SLICE_BYTES] })
    }

    fn done(&self) -> bool {
        self.state.worked >= self.duration
    }

    fn advance(&mut self, now: Timestamp) -> ClockReply {
        let done = self.advance_to(now.as_second());
        let time = self.state.time.and_then(|time| Timestamp::from_second(time).ok());
        ClockReply { now: time, worked_seconds: Some(self.state.worked), done, error: None }
    }

    /// Works for the time since the last tick; true when the job is done.
    fn advance_to(&mut self, now: i64) -> bool {
        let passed = now - self.state.time.unwrap_or(now);
        if passed > 0 && !self.done() {
            let hash = Sha256::new().chain_update(self.state.digest).chain_update(&self.block);
            self.state.digest = hash.finalize().into();
            let worked = i64::from(self.state.worked).saturating_add(passed).min(i64::from(self.duration));
            self.state.worked = u32::try_from(worked).unwrap_or(self.duration);
        }
        if passed > 0 || self.state.time.is_none() {
            self.state.time = Some(now);
            if let Err(error) = self.file.save(&self.state) {
                tracing::error!(%error, "cannot save the progress; a restart would repeat work");
            }
        }
        self.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ClockMode;

    fn args(dir: &tempfile::TempDir, epoch: i64) -> JobArgs {
        JobArgs {
            power: Power::kw(1.5),
            duration: 7200,
            state: dir.path().join("job"),
            run: "night-1".to_owned(),
            clock: ClockArgs {
                clock: ClockMode::Lockstep,
                clock_port: 0,
                site_epoch: Timestamp::from_second(epoch).ok(),
                time_epoch: None,
                time_factor: 1.0,
            },
        }
    }

    #[test]
    fn the_declared_duration_is_worked_and_a_kill_loses_only_the_time_it_was_dead() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = Job::open(&args(&dir, 0)).unwrap();
        assert!(!job.advance_to(50_000), "the first tick only starts the clock");
        assert!(!job.advance_to(53_600));
        assert!(!job.advance_to(53_600), "a repeat counts nothing");
        drop(job);
        let mut job = Job::open(&args(&dir, 0)).unwrap();
        assert_eq!(job.state.worked, 3600);
        assert!(!job.advance_to(90_000), "time without a process does not count");
        assert!(job.advance_to(93_600));
        assert!(Job::open(&args(&dir, 0)).unwrap().done());
        let other = Job::open(&JobArgs { run: "night-2".to_owned(), ..args(&dir, 0) }).unwrap();
        assert_eq!(other.state.worked, 0);
    }
}
