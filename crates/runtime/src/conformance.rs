//! What every driver must do, in one place.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    Driver, DriverError, Exit, Limits, Phase, PortRequest, RecoveryReport, ReplicaConfig, ReplicaState,
    SecretValues, ServiceConfig, describe_deployment, load_configuration,
};

/// How long a driver may take until something is observed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the replicas of a service do that the checks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConformanceConduct {
    /// Run for ever, and end when they are asked.
    Runs,
    /// End by themselves at once with this code.
    Exits(i32),
    /// Run for ever, and only a kill ends them.
    Deaf,
}

/// Checks the contract of [`Driver`].
///
/// `service` makes a service called `name` whose replicas behave as said, in a working directory that is seen from here; one
/// that does not exist has to be an error. All are asked for before the first driver is. `open` makes a driver on the same data
/// directory each time, which is empty at first and in the end. `deaf` tells whether a replica of a deaf service that runs
/// is deaf by now. `clock` gives the time.
///
/// # Errors
/// The first promise that is not kept.
pub async fn conformance<D: Driver>(
    open: impl Fn() -> Result<D, DriverError> + Sync,
    service: impl Fn(&str, ConformanceConduct) -> ServiceConfig + Sync,
    deaf: impl Fn(&ServiceConfig) -> bool + Sync,
    clock: impl Fn() -> Timestamp + Sync,
) -> Result<(), String> {
    use ConformanceConduct::{Deaf, Exits, Runs};
    let (sleeper, leaver, deaf_one) =
        (service("sleeper", Runs), service("leaver", Exits(7)), service("deaf", Deaf));
    let (broken, resized, server) =
        (service("broken", Exits(0)), service("resized", Runs), service("server", Runs));
    let (keeper, past) = (service("keeper", Runs), service("past", Runs));
    let check = Check::open(&open, &clock).await?;
    check.unknown_replicas_are_no_error().await?;
    check.runs_and_stops(sleeper).await?;
    check.tells_exit_codes(leaver).await?;
    check.kills_what_does_not_listen(deaf_one, &deaf).await?;
    check.reports_what_cannot_start(broken).await?;
    check.changes_limits_in_place(resized).await?;
    check.keeps_ports(server).await?;
    let id = check.leaves(&keeper, &past).await?;
    drop(check);
    let check = Check::open(&open, &clock).await?;
    check.takes_over(&keeper, &past, &id).await?;
    let left = check.observe().await?;
    ensure(left.is_empty(), || format!("replicas are left: {left:?}"))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

struct Check<'a, D, C> {
    driver: D,
    /// What it found when it was opened.
    found: RecoveryReport,
    clock: &'a C,
}

impl<'a, D: Driver, C: Fn() -> Timestamp + Sync> Check<'a, D, C> {
    async fn open(open: &impl Fn() -> Result<D, DriverError>, clock: &'a C) -> Result<Self, String> {
        let driver = open().map_err(|error| error.full())?;
        let found = driver.recover(clock()).await.map_err(|error| error.full())?;
        Ok(Self { driver, found, clock })
    }

    async fn observe(&self) -> Result<Vec<ReplicaState>, String> {
        self.driver.observe((self.clock)()).await.map_err(|error| error.full())
    }

    async fn deploy(&self, config: &ReplicaConfig) -> Result<String, String> {
        let metadata = self.driver.resolve(config).await.map_err(|error| error.full())?;
        let deployment = describe_deployment(config, &metadata).map_err(|error| error.to_string())?;
        let handle = self.driver.deploy(&deployment, &SecretValues::new(), (self.clock)()).await;
        handle.map(|handle| handle.id).map_err(|error| error.full())
    }

    /// Waits until the replica is in a phase that `is` accepts.
    async fn until(&self, replica: &str, is: impl Fn(&Phase) -> bool) -> Result<Phase, String> {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut last = None;
        let wait = async {
            loop {
                ticks.tick().await;
                let states = self.observe().await?;
                let state = states.into_iter().find(|state| state.deployment.replica == replica);
                last = state.map(|state| state.phase);
                if let Some(phase) = last.clone().filter(&is) {
                    return Ok(phase);
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, wait).await;
        result.unwrap_or_else(|_| Err(format!("{replica} stays at {last:?}")))
    }

    async fn ended(&self, replica: &str) -> Result<(Exit, Option<String>), String> {
        match self.until(replica, |phase| matches!(phase, Phase::Exited { .. })).await? {
            Phase::Exited { exit, asked, .. } => Ok((exit, asked)),
            other => Err(format!("{replica} is {other:?}")),
        }
    }

    async fn stop(&self, replica: &str) -> Result<(), String> {
        let grace = SignedDuration::from_secs(5);
        let done = self.driver.stop(replica, grace, "because", (self.clock)()).await;
        done.map_err(|error| error.full())
    }

    async fn kill(&self, replica: &str) -> Result<(), String> {
        self.driver.kill(replica, (self.clock)()).await.map_err(|error| error.full())
    }

    async fn forget(&self, replica: &str) -> Result<(), String> {
        self.driver.forget(replica).await.map_err(|error| error.full())
    }

    async fn unknown_replicas_are_no_error(&self) -> Result<(), String> {
        self.stop("nobody-0").await?;
        self.kill("nobody-0").await?;
        self.forget("nobody-0").await
    }

    async fn runs_and_stops(&self, service: ServiceConfig) -> Result<(), String> {
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        let id = self.deploy(&config).await?;
        let again = self.deploy(&config).await?;
        ensure(id == again, || "deploying twice started a second copy".into())?;
        self.until(&config.replica, |phase| *phase == Phase::Running).await?;
        ensure(self.driver.forget(&config.replica).await.is_err(), || "a live replica was forgotten".into())?;
        self.driver.adopt(&config.replica, 2).await.map_err(|error| error.full())?;
        let generation = self.observe().await?.first().map(|state| state.deployment.generation);
        ensure(generation == Some(2), || format!("the adopted generation is {generation:?}"))?;
        self.stop(&config.replica).await?;
        self.stop(&config.replica).await?;
        let (_, asked) = self.ended(&config.replica).await?;
        ensure(asked.as_deref() == Some("because"), || format!("the cause came back as {asked:?}"))?;
        self.deploy(&config).await?;
        let runs = self.observe().await?.first().map_or(0, |state| state.past_runs.len());
        ensure(runs == 1, || format!("{runs} past runs after one"))?;
        self.kill(&config.replica).await?;
        self.ended(&config.replica).await?;
        self.forget(&config.replica).await?;
        self.forget(&config.replica).await
    }

    async fn tells_exit_codes(&self, service: ServiceConfig) -> Result<(), String> {
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        self.deploy(&config).await?;
        let ended = self.ended(&config.replica).await?;
        ensure(ended == (Exit::Code(7), None), || format!("exit 7 is told as {ended:?}"))?;
        self.forget(&config.replica).await
    }

    async fn kills_what_does_not_listen(
        &self,
        service: ServiceConfig,
        deaf: impl Fn(&ServiceConfig) -> bool,
    ) -> Result<(), String> {
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        self.deploy(&config).await?;
        self.until(&config.replica, |phase| *phase == Phase::Running && deaf(&service)).await?;
        self.stop(&config.replica).await?;
        self.until(&config.replica, |phase| matches!(phase, Phase::Stopping { killed: false, .. })).await?;
        self.kill(&config.replica).await?;
        let (_, asked) = self.ended(&config.replica).await?;
        ensure(asked.as_deref() == Some("because"), || format!("a kill changed the cause to {asked:?}"))?;
        self.forget(&config.replica).await
    }

    async fn reports_what_cannot_start(&self, mut service: ServiceConfig) -> Result<(), String> {
        service.workdir = "/nonexistent/folder".into();
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        // Said at once, or found out by whoever runs it on another machine.
        let at_once = self.deploy(&config).await;
        let (exit, _) = self.ended(&config.replica).await?;
        ensure(matches!(exit, Exit::NotStarted(_)), || {
            format!("a failed start ({at_once:?}) is told as {exit:?}")
        })?;
        self.forget(&config.replica).await
    }

    /// Where the capability says so; elsewhere it is refused and nothing changes.
    async fn changes_limits_in_place(&self, mut service: ServiceConfig) -> Result<(), String> {
        let small = Limits { cpu_millis: Some(200), memory_bytes: Some(256 << 20) };
        service.limits = small;
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        let unknown = self.driver.set_limits(&config.replica, &small).await;
        ensure(unknown.is_err(), || "limits of a replica that does not run were changed".into())?;
        let id = self.deploy(&config).await?;
        self.until(&config.replica, |phase| *phase == Phase::Running).await?;
        let can = self.driver.capabilities().in_place_limits;
        let changes = [
            (can.cpu, Limits { cpu_millis: Some(400), ..small }),
            (can.memory, Limits { memory_bytes: Some(512 << 20), ..small }),
            (can.cpu && can.memory, Limits { cpu_millis: Some(300), memory_bytes: Some(128 << 20) }),
            (true, small),
        ];
        let mut present = small;
        for (possible, wanted) in changes {
            let done = self.driver.set_limits(&config.replica, &wanted).await;
            if possible {
                done.map_err(|error| error.full())?;
                present = wanted;
            } else {
                ensure(done.is_err(), || format!("{wanted:?} were set against {can:?}"))?;
            }
            let state = self.observe().await?;
            let seen = state.first().map(|state| (state.deployment.limits, state.handle.clone()));
            let same =
                seen.as_ref().and_then(|(_, handle)| handle.as_ref()).is_some_and(|handle| handle.id == id);
            ensure(same, || "the replica was replaced to change its limits".into())?;
            ensure(seen.as_ref().is_some_and(|(limits, _)| *limits == present), || {
                format!("limits {present:?} are observed as {seen:?}")
            })?;
        }
        self.kill(&config.replica).await?;
        self.ended(&config.replica).await?;
        self.forget(&config.replica).await
    }

    async fn keeps_ports(&self, mut service: ServiceConfig) -> Result<(), String> {
        service.ports = vec![PortRequest { name: "http".into(), port: None }];
        let config = load_configuration(&service, 0, 1, None).map_err(|error| error.to_string())?;
        let mut ports = vec![];
        for _ in 0..2 {
            self.deploy(&config).await?;
            ports.extend(self.observe().await?.into_iter().map(|state| state.deployment.ports.clone()));
            self.kill(&config.replica).await?;
            self.ended(&config.replica).await?;
        }
        ensure(ports[0] == ports[1] && ports[0].contains_key("http"), || {
            format!("ports changed: {ports:?}")
        })?;
        self.forget(&config.replica).await
    }

    /// A replica that runs and one that was stopped, for the next driver. One that ends by itself may be started again by the
    /// runtime meanwhile. Returns what identifies the one that runs.
    async fn leaves(&self, keeper: &ServiceConfig, past: &ServiceConfig) -> Result<String, String> {
        let config = load_configuration(keeper, 0, 1, None).map_err(|error| error.to_string())?;
        let id = self.deploy(&config).await?;
        self.until(&config.replica, |phase| *phase == Phase::Running).await?;
        self.driver.adopt(&config.replica, 3).await.map_err(|error| error.full())?;
        let config = load_configuration(past, 0, 1, None).map_err(|error| error.to_string())?;
        self.deploy(&config).await?;
        self.until(&config.replica, |phase| *phase == Phase::Running).await?;
        self.stop(&config.replica).await?;
        self.ended(&config.replica).await?;
        Ok(id)
    }

    /// What [`leaves`](Self::leaves) left is there, once, and as it was.
    async fn takes_over(&self, keeper: &ServiceConfig, past: &ServiceConfig, id: &str) -> Result<(), String> {
        let config = load_configuration(keeper, 0, 3, None).map_err(|error| error.to_string())?;
        let replica = &config.replica;
        ensure(self.found.adopted == [replica.clone()], || format!("taken over was {:?}", self.found))?;
        let again = self.deploy(&config).await?;
        ensure(again == id, || "deploying what was taken over started a second copy".into())?;
        let states = self.observe().await?;
        ensure(states.len() == 2, || format!("two replicas are told as {states:?}"))?;
        let kept = states.iter().find(|state| state.deployment.replica == *replica);
        let same = kept.is_some_and(|state| {
            state.deployment.generation == 3
                && state.past_runs.is_empty()
                && state.handle.as_ref().is_some_and(|handle| handle.id == id)
        });
        ensure(same, || format!("what was taken over is told as {kept:?}"))?;
        self.until(replica, |phase| *phase == Phase::Running).await?;
        self.stop(replica).await?;
        let (_, asked) = self.ended(replica).await?;
        ensure(asked.as_deref() == Some("because"), || format!("the cause came back as {asked:?}"))?;
        self.forget(replica).await?;
        let config = load_configuration(past, 0, 1, None).map_err(|error| error.to_string())?;
        let (_, asked) = self.ended(&config.replica).await?;
        ensure(asked.as_deref() == Some("because"), || format!("an end of before is told as {asked:?}"))?;
        self.forget(&config.replica).await
    }
}
