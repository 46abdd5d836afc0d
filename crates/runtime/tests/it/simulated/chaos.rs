//! A simple loop that reconciles what is declared with what is seen, under seeded faults.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::SignedDuration;
use sos_runtime::simulated::{Conduct, Faults};
use sos_runtime::{
    Driver, DriverError, Phase, ReplicaState, SecretValues, SimulatedDriver, SimulatedOptions,
};

use super::{at, describe, seconds};
use crate::rig::plain_service;

const REPLICAS: [&str; 6] = ["web-0", "web-1", "web-2", "web-3", "api-0", "api-1"];
/// How long faults come, seconds; each lasts at most a twentieth of it.
const SPAN: f64 = 1000.0;
/// How long the loop goes on.
const END: f64 = 1200.0;
const STEP: f64 = 5.0;
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// What is declared at a time: there are more replicas at some times than at others.
fn declared(now: f64) -> BTreeSet<&'static str> {
    let count = if ((now / 100.0) as u64).is_multiple_of(2) { 6 } else { 4 };
    REPLICAS.into_iter().take(count).collect()
}

struct World {
    dir: tempfile::TempDir,
    faults: Faults,
    driver: SimulatedDriver,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::seeded(seed, 200, seconds(SPAN), &REPLICAS).since(at(0.0));
        let driver = open(dir.path(), &faults);
        Self { dir, faults, driver }
    }

    async fn deploy(&self, replica: &str, now: f64) -> Result<(), DriverError> {
        let (service, ordinal) = replica.rsplit_once('-').unwrap();
        let service = plain_service(Path::new("/"), service, "");
        let deployment = describe(&self.driver, &service, ordinal.parse().unwrap()).await?;
        self.driver.deploy(&deployment, &SecretValues::new(), at(now)).await.map(drop)
    }

    /// One look and what follows from it. An error is what the next look is for.
    async fn reconcile(&self, now: f64) -> Result<(), DriverError> {
        let wanted = declared(now);
        let states = self.driver.observe(at(now)).await?;
        check_single(&states);
        for state in &states {
            let replica = state.deployment.replica.as_str();
            match &state.phase {
                Phase::Starting | Phase::Running if !wanted.contains(replica) => {
                    self.driver.stop(replica, GRACE, "scale", at(now)).await?;
                }
                Phase::Stopping { since, grace, .. } if at(now).duration_since(*since) >= *grace => {
                    self.driver.kill(replica, at(now)).await?;
                }
                Phase::Exited { .. } if !wanted.contains(replica) => self.driver.forget(replica).await?,
                _ => {}
            }
        }
        let live = live(&states);
        for replica in wanted.iter().filter(|replica| !live.contains(**replica)) {
            self.deploy(replica, now).await?;
        }
        Ok(())
    }
}

fn open(data_dir: &Path, faults: &Faults) -> SimulatedDriver {
    let slow = Conduct { start_after: seconds(3.0), stops_in: Some(seconds(2.0)), ..Conduct::default() };
    let conducts = [("api".to_owned(), slow)].into();
    let options = SimulatedOptions { faults: faults.clone(), conducts, ..SimulatedOptions::new(data_dir) };
    SimulatedDriver::new(options).unwrap()
}

fn live(states: &[ReplicaState]) -> BTreeSet<&str> {
    let live = states.iter().filter(|state| !matches!(state.phase, Phase::Exited { .. }));
    live.map(|state| state.deployment.replica.as_str()).collect()
}

fn check_single(states: &[ReplicaState]) {
    let names: BTreeSet<&str> = states.iter().map(|state| state.deployment.replica.as_str()).collect();
    assert_eq!(names.len(), states.len(), "a replica is told twice");
    for state in states {
        let ordered = state.past_runs.iter().all(|run| run.started_at <= run.ended_at);
        assert!(ordered && state.past_runs.iter().all(|run| run.ended_at <= state.started_at), "{state:?}");
    }
}

/// The loop to its end; every 25 looks with another driver. Returns what is seen at last, and the errors there were.
async fn run(seed: u64) -> (Vec<ReplicaState>, usize) {
    let mut world = World::new(seed);
    let (mut recovered, mut errors) = (false, 0);
    for look in 0..(END / STEP) as u32 {
        let now = f64::from(look) * STEP;
        if look % 25 == 24 {
            world.driver = open(world.dir.path(), &world.faults);
            recovered = false;
        }
        if !recovered {
            recovered = world.driver.recover(at(now)).await.is_ok();
        }
        if recovered {
            errors += usize::from(world.reconcile(now).await.is_err());
        }
    }
    (world.driver.observe(at(END)).await.unwrap(), errors)
}

#[tokio::test]
async fn what_is_declared_runs_after_two_hundred_faults() {
    for seed in 0..50 {
        let (states, errors) = run(seed).await;
        let names: BTreeSet<&str> = states.iter().map(|state| state.deployment.replica.as_str()).collect();
        assert_eq!(names, declared(END - STEP), "seed {seed}");
        let running = states.iter().filter(|state| state.phase == Phase::Running).count();
        assert_eq!(running, names.len(), "seed {seed}: {states:?}");
        assert!(errors > 0, "seed {seed}: no fault was seen");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_history() {
    let told = |states: Vec<ReplicaState>| {
        let times = states.into_iter().map(|state| (state.started_at, state.past_runs, state.older_runs));
        times.collect::<Vec<_>>()
    };
    assert_eq!(told(run(7).await.0), told(run(7).await.0));
}
