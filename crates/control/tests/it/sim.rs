//! A simulator of replicas: programs that become ready, never do, crash or serve errors, seconds at a time, under a
//! planner that is restarted at will.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sos_control::{
    ALL_TRAFFIC, Action, Desired, Exit, Measured, ObservedReplica, Plan, ProbeSpec, Probes, ReplicaPhase,
    RolloutSpec, RolloutState, StopCause, Strategy,
};

use crate::world::{World, at, service};

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Is ready this many seconds after its start.
    Good(i64),
    /// Is good, but one of this many requests fails.
    Failing(u64),
    /// Runs and is never ready.
    NeverReady,
    /// Ends this many seconds after its start.
    Crashing(i64),
}

/// What happens in one second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A replica ends.
    Crash(usize),
    /// A replica is not ready for this many seconds.
    Slow(usize, i64),
    /// The planner is restarted: what it did not store is gone.
    Restart,
    /// The planner dies after this many of its actions.
    Dies(usize),
}

/// The service `a` and its programs by description hash.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) programs: BTreeMap<String, Program>,
    /// Replicas that are not ready until then.
    slow: BTreeMap<String, Timestamp>,
    /// Requests and errors by hash since a time.
    served: BTreeMap<String, (Timestamp, u64, u64)>,
    /// Replicas that no longer get requests, by the latest plan.
    leaving: BTreeSet<String>,
    pub(crate) requests_per_second: u64,
    pub(crate) plan: Plan,
    pub(crate) deployed: BTreeMap<String, u32>,
}

pub(crate) fn probe() -> ProbeSpec {
    ProbeSpec { period: SignedDuration::from_secs(1), failure_threshold: 1, ..ProbeSpec::default() }
}

impl Sim {
    /// `replicas` of revision `v1`, all ready and the last good ones.
    pub(crate) fn new(replicas: u32, rollout: RolloutSpec) -> Self {
        let mut spec = service(replicas, &[]);
        spec.description_hash = "v1".into();
        spec.rollout = rollout;
        spec.probes = Probes { readiness: Some(probe()), ..Probes::default() };
        spec.stored = ["v1", "v2", "v3"].map(str::to_owned).into();
        let mut sim = Self {
            world: World::new([("a", spec)]),
            programs: BTreeMap::from([("v1".to_owned(), Program::Good(1))]),
            slow: BTreeMap::new(),
            served: BTreeMap::new(),
            leaving: BTreeSet::new(),
            requests_per_second: 0,
            plan: Plan::default(),
            deployed: BTreeMap::new(),
        };
        (0..20).for_each(|_| sim.tick(Fault::None));
        assert_eq!(sim.available("v1"), replicas, "{:?}", sim.plan);
        assert_eq!(sim.state().stable, Some(1));
        sim
    }

    pub(crate) fn declare(&mut self, hash: &str, program: Program) {
        self.programs.insert(hash.into(), program);
        let spec = self.world.spec("a");
        spec.description_hash = hash.into();
        spec.generation += 1;
    }

    pub(crate) fn state(&self) -> &RolloutState {
        &self.world.observed.rollouts["a"]
    }

    pub(crate) fn state_mut(&mut self) -> &mut RolloutState {
        self.world.observed.rollouts.get_mut("a").unwrap()
    }

    /// One second: the world moves, is looked at, and the plan is performed. Breaking a promise panics.
    pub(crate) fn tick(&mut self, fault: Fault) {
        self.world.wait(1);
        self.strike(fault);
        self.move_on();
        if matches!(fault, Fault::Restart) {
            self.world.observed.replicas.values_mut().for_each(|replica| replica.probes = Default::default());
        } else {
            self.probe();
        }
        self.measure();
        let plan = self.world.plan();
        self.check_traffic(&plan);
        self.check_voluntary(&plan);
        let performed = if let Fault::Dies(after) = fault { after } else { usize::MAX };
        // Through its stored form, as a restart would.
        let stored = serde_json::to_string(&plan.rollouts).unwrap();
        self.world.observed.rollouts.extend(serde_json::from_str::<BTreeMap<_, _>>(&stored).unwrap());
        for action in plan.actions.iter().take(performed) {
            if let Action::Deploy { description_hash, .. } = action {
                *self.deployed.entry(description_hash.clone()).or_default() += 1;
            }
            self.world.perform(action);
        }
        self.check_ceiling(&plan);
        self.leaving = plan.draining.keys().cloned().collect();
        self.check_rest(&plan, performed);
        self.plan = plan;
    }

    fn strike(&mut self, fault: Fault) {
        let ids: Vec<_> = self.world.observed.replicas.keys().cloned().collect();
        match fault {
            Fault::Crash(index) if !ids.is_empty() => self.world.end(&ids[index % ids.len()], Exit::Code(1)),
            Fault::Slow(index, seconds) if !ids.is_empty() => {
                let until = self.world.now.wall + SignedDuration::from_secs(seconds);
                self.slow.insert(ids[index % ids.len()].clone(), until);
            }
            _ => {}
        }
    }

    fn move_on(&mut self) {
        let now = self.world.now.wall;
        for (id, replica) in self.world.observed.replicas.clone() {
            let age = now.duration_since(replica.started_at).as_secs();
            match (&replica.phase, self.programs[&replica.description_hash]) {
                (ReplicaPhase::Stopping { since, .. }, _) if now.duration_since(*since).as_secs() >= 2 => {
                    self.world.end(&id, Exit::Signal(15));
                }
                (ReplicaPhase::Running, Program::Crashing(after)) if age >= after => {
                    self.world.end(&id, Exit::Code(3));
                }
                _ => {}
            }
        }
    }

    /// Ready in truth, whatever the planner knows.
    fn is_ready(&self, id: &str, replica: &ObservedReplica) -> bool {
        let age = self.world.now.wall.duration_since(replica.started_at).as_secs();
        let well = match self.programs[&replica.description_hash] {
            Program::Good(after) => age >= after,
            Program::Failing(_) => age >= 1,
            Program::NeverReady => false,
            Program::Crashing(_) => age >= 1,
        };
        let slow = self.slow.get(id).is_some_and(|until| *until > self.world.now.wall);
        replica.phase == ReplicaPhase::Running && well && !slow
    }

    fn probe(&mut self) {
        let now = self.world.now.wall;
        let ready: BTreeMap<_, _> = self
            .world
            .observed
            .replicas
            .iter()
            .filter(|(_, replica)| replica.phase == ReplicaPhase::Running)
            .map(|(id, replica)| (id.clone(), self.is_ready(id, replica)))
            .collect();
        for (id, ready) in ready {
            let record = &mut self.world.replica(&id).probes.readiness;
            record.begin(now);
            record.record(&probe(), ready, if ready { "" } else { "503" });
        }
    }

    /// Requests of the last second go where the latest plan sent them; counted anew from the begin of a step.
    fn measure(&mut self) {
        let since = self.plan.progress.get("a").and_then(|p| p.step.as_ref()).and_then(|step| step.since);
        let Some(since) = since else {
            self.served.clear();
            return self.world.observed.measured.clear();
        };
        for share in self.plan.traffic.get("a").into_iter().flatten() {
            let (begin, requests, errors) =
                self.served.entry(share.description_hash.clone()).or_insert((since, 0, 0));
            if *begin != since {
                (*begin, *requests, *errors) = (since, 0, 0);
            }
            let before = *requests;
            *requests += self.requests_per_second * u64::from(share.weight) / u64::from(ALL_TRAFFIC);
            if let Program::Failing(one_of) = self.programs[&share.description_hash] {
                *errors += *requests / one_of - before / one_of;
            }
        }
        let measured = self.served.iter().map(|(hash, (since, requests, errors))| Measured {
            description_hash: hash.clone(),
            since: *since,
            requests: *requests,
            errors: *errors,
            latency: None,
        });
        self.world.observed.measured.insert("a".into(), measured.collect());
    }

    fn check_traffic(&self, plan: &Plan) {
        let shares = &plan.traffic["a"];
        let sum: u32 = shares.iter().map(|share| share.weight).sum();
        assert!(sum == ALL_TRAFFIC || shares.is_empty(), "{shares:?}");
        for share in shares {
            assert!(!share.replicas.is_empty(), "{shares:?}");
            for id in &share.replicas {
                let replica = &self.world.observed.replicas[id];
                assert_eq!(replica.description_hash, share.description_hash);
                assert!(self.is_ready(id, replica) && !plan.draining.contains_key(id), "{id} {plan:?}");
            }
        }
    }

    /// What is given up for another revision leaves the floor untouched.
    fn check_voluntary(&self, plan: &Plan) {
        let Some(spec) = self.world.desired.services.get("a") else { return };
        if spec.suspended || spec.rollout.strategy == Strategy::Recreate {
            return;
        }
        let floor = spec.replicas - spec.rollout.unavailable(spec.replicas, spec.exclusive.is_some());
        let leaving = |id: &String| {
            plan.draining.contains_key(id)
                || plan.actions.iter().any(|action| {
                    matches!(action, Action::Stop { replica, cause, .. }
                        if replica == id && *cause != StopCause::Unhealthy)
                })
        };
        let ready = self.world.observed.replicas.iter().filter(|(id, replica)| self.is_ready(id, replica));
        let (mut before, mut after) = (0, 0);
        for (id, _) in ready {
            before += u32::from(!self.leaving.contains(id));
            after += u32::from(!leaving(id));
        }
        let sizes = &plan.rollouts["a"].sizes;
        let because = (&plan.because, &plan.draining, sizes);
        assert!(after >= before.min(floor), "{before} → {after} available, at least {floor}: {because:?}");
    }

    fn check_ceiling(&self, plan: &Plan) {
        let spec = &self.world.desired.services["a"];
        let ceiling = spec.replicas + spec.rollout.surge(spec.replicas, spec.exclusive.is_some());
        let started = plan.actions.iter().any(|action| matches!(action, Action::Deploy { .. }));
        assert!(
            !started || self.live() <= ceiling,
            "{} live, at most {ceiling}: {:?}",
            self.live(),
            plan.because
        );
    }

    /// Performed, nothing more is asked for; and time alone brings the next look.
    fn check_rest(&self, plan: &Plan, performed: usize) {
        if performed < plan.actions.len() {
            return;
        }
        let again = self.world.plan();
        assert!(again.actions.is_empty(), "after {:?} asked for {:?}", plan.because, again.because);
        // Whether further replicas can come is seen only once what hindered them has been done: a wait of no time is none.
        let settled = |state: &RolloutState| {
            let mut state = state.clone();
            if let Some(rollout) = &mut state.rollout {
                rollout.waiting_since = rollout.waiting_since.filter(|since| *since < self.world.now.wall);
            }
            state
        };
        let remembered = again.rollouts.get("a").map(settled);
        assert_eq!(remembered, Some(settled(self.state())), "remembered anew after {:?}", plan.because);
        assert!(again.next_check.is_none_or(|next| next > self.world.now.wall), "a hot loop");
    }

    pub(crate) fn live(&self) -> u32 {
        count(self.world.observed.replicas.values().filter(|replica| replica.is_live()).count())
    }

    pub(crate) fn available(&self, hash: &str) -> u32 {
        let of = self.world.observed.replicas.iter().filter(|(_, r)| r.description_hash == hash);
        count(of.filter(|(id, replica)| self.is_ready(id, replica)).count())
    }

    /// Runs without faults until only `hash` is left and nothing is to be done; false after `seconds`.
    pub(crate) fn settles_on(&mut self, hash: &str, seconds: u32) -> bool {
        for _ in 0..seconds {
            self.tick(Fault::None);
            let replicas = self.world.desired.services["a"].replicas;
            let done = self.state().rollout.is_none() && self.plan.actions.is_empty();
            if done && self.available(hash) == replicas && self.live() == replicas {
                return true;
            }
        }
        false
    }

    /// Share of the traffic that a revision gets, in ten-thousandths.
    pub(crate) fn weight(&self, hash: &str) -> u32 {
        let shares = self.plan.traffic["a"].iter();
        shares.filter(|share| share.description_hash == hash).map(|share| share.weight).sum()
    }

    /// The sentence about the rollout.
    pub(crate) fn sentence(&self) -> String {
        self.plan.progress.get("a").map_or(String::new(), |status| status.sentence(self.world.now.wall))
    }

    /// What is not declared any more.
    pub(crate) fn remove(&mut self) {
        self.world.desired = Desired::default();
    }

    pub(crate) fn second(&self) -> i64 {
        self.world.now.wall.duration_since(at(0)).as_secs()
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}
