//! A tiny world that performs plans: enough of a runtime to see what a plan leads to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sos_control::{
    Action, Amount, Desired, DesiredService, Exit, Now, Observed, ObservedReplica, PastRun, Plan, ProbeSpec,
    Probes, ReplicaPhase, ReplicaProbes, RestartPolicy, RestartSpec, RolloutSpec, ServiceKind, StopCause,
    plan,
};

/// Declared and observed services with both clocks.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) now: Now,
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn service(replicas: u32, depends_on: &[&str]) -> DesiredService {
    DesiredService {
        generation: 1,
        description_hash: "a".into(),
        kind: ServiceKind::LongRunning,
        replicas,
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        probes: Probes::default(),
        restart: RestartSpec { policy: RestartPolicy::Always, ..RestartSpec::default() },
        stop_timeout: SignedDuration::from_secs(10),
        suspended: false,
        rollout: in_place(),
        ..DesiredService::default()
    }
}

/// One replica after the other, none beside another.
pub(crate) fn in_place() -> RolloutSpec {
    RolloutSpec { max_surge: Amount::Count(0), max_unavailable: Amount::Count(1), ..RolloutSpec::default() }
}

pub(crate) fn readiness() -> Probes {
    Probes { readiness: Some(ProbeSpec::default()), ..Probes::default() }
}

impl World {
    pub(crate) fn new<const N: usize>(services: [(&str, DesiredService); N]) -> Self {
        let services = services.map(|(name, spec)| (name.to_owned(), spec));
        Self {
            desired: Desired { services: BTreeMap::from(services) },
            observed: Observed::default(),
            now: Now { wall: at(0), site: at(0) },
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.desired, &self.observed, self.now)
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        self.now.wall += SignedDuration::from_secs(seconds);
        self.now.site += SignedDuration::from_secs(seconds);
    }

    /// Plans, stores what is to be remembered and performs; the plan is returned.
    pub(crate) fn step(&mut self) -> Plan {
        let plan = self.plan();
        self.observed.rollouts.extend(plan.rollouts.clone());
        plan.actions.iter().for_each(|action| self.perform(action));
        plan
    }

    pub(crate) fn spec(&mut self, name: &str) -> &mut DesiredService {
        self.desired.services.get_mut(name).unwrap()
    }

    pub(crate) fn replica(&mut self, id: &str) -> &mut ObservedReplica {
        self.observed.replicas.get_mut(id).unwrap()
    }

    pub(crate) fn perform(&mut self, action: &Action) {
        match action {
            Action::Kill { replica } => self.end(replica, Exit::Signal(9)),
            Action::Stop { replica, grace, cause } => {
                let (since, grace, cause) = (self.now.wall, *grace, *cause);
                self.replica(replica).phase = ReplicaPhase::Stopping { since, grace, cause, killed: false };
            }
            Action::Forget { replica } => {
                let gone = self.observed.replicas.remove(replica).unwrap();
                assert!(!gone.is_live(), "{replica} was forgotten while it ran");
            }
            Action::Adopt { replica, generation } => self.replica(replica).generation = *generation,
            Action::Deploy { .. } => self.deploy(action),
        }
    }

    fn deploy(&mut self, action: &Action) {
        let Action::Deploy { service, replica, ordinal, generation, description_hash, work, .. } = action
        else {
            return;
        };
        let old = self.observed.replicas.remove(replica);
        assert!(!old.as_ref().is_some_and(ObservedReplica::is_live), "two live replicas {replica}");
        let spec = &self.desired.services[service];
        let new = ObservedReplica {
            service: service.clone(),
            ordinal: *ordinal,
            generation: *generation,
            description_hash: description_hash.clone(),
            run: work.as_ref().map(|work| work.run.clone()),
            depends_on: spec.depends_on.clone(),
            stop_timeout: spec.stop_timeout,
            started_at: self.now.wall,
            phase: ReplicaPhase::Running,
            probes: ReplicaProbes::default(),
            older_restarts: old.as_ref().map_or(0, |old| old.older_restarts),
            past_runs: old.map(history).unwrap_or_default(),
        };
        self.observed.replicas.insert(replica.clone(), new);
    }

    /// The process of a replica ends.
    pub(crate) fn end(&mut self, id: &str, exit: Exit) {
        let at = self.now.wall;
        let replica = self.replica(id);
        let asked = match &replica.phase {
            ReplicaPhase::Stopping { cause, .. } => Some(*cause),
            ReplicaPhase::Exited { .. } => return,
            _ => None,
        };
        replica.phase = ReplicaPhase::Exited { exit, at, asked };
    }

    /// A probe of a replica gives the same result `times` times.
    pub(crate) fn ready(&mut self, id: &str, success: bool, times: u32) {
        for _ in 0..times {
            self.replica(id).probes.readiness.record(&ProbeSpec::default(), success, "said so");
        }
    }
}

fn history(old: ObservedReplica) -> Vec<PastRun> {
    let mut runs = old.past_runs;
    if let ReplicaPhase::Exited { exit, at, asked } = old.phase {
        runs.push(PastRun {
            started_at: old.started_at,
            ended_at: at,
            description_hash: old.description_hash,
            run: old.run,
            exit,
            asked,
        });
    }
    runs
}

/// Short names of the actions of a plan.
pub(crate) fn verbs(plan: &Plan) -> Vec<String> {
    let verb = |action: &Action| match action {
        Action::Kill { replica } => format!("kill {replica}"),
        Action::Stop { replica, cause, .. } => format!("stop {replica} {cause}"),
        Action::Forget { replica } => format!("forget {replica}"),
        Action::Adopt { replica, .. } => format!("adopt {replica}"),
        Action::Deploy { replica, .. } => format!("deploy {replica}"),
    };
    plan.actions.iter().map(verb).collect()
}

pub(crate) const STOP_CAUSES: [StopCause; 5] =
    [StopCause::NotWanted, StopCause::Roll, StopCause::Unhealthy, StopCause::Paused, StopCause::Deadline];
