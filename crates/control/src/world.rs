//! The snapshot with what follows from it: readiness of every service and the order of stopping.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Desired, DesiredService, Exit, Now, Observed, ObservedReplica, ReplicaPhase, ServiceKind};

/// Desired, observed and time, with derived facts.
pub(crate) struct World<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Now,
    by_service: BTreeMap<&'a str, Vec<(&'a str, &'a ObservedReplica)>>,
    /// Services that are to have no replica and still have one.
    leaving: BTreeSet<&'a str>,
    /// Those of them that may stop now.
    free_to_stop: BTreeSet<&'a str>,
}

impl<'a> World<'a> {
    pub(crate) fn new(desired: &'a Desired, observed: &'a Observed, now: Now) -> Self {
        let mut by_service: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, replica) in &observed.replicas {
            by_service.entry(replica.service.as_str()).or_default().push((id.as_str(), replica));
        }
        let (leaving, free_to_stop) = (BTreeSet::new(), BTreeSet::new());
        let mut world = Self { desired, observed, now, by_service, leaving, free_to_stop };
        let live = |name: &&str| world.replicas(name).any(|(_, replica)| replica.is_live());
        world.leaving =
            world.by_service.keys().copied().filter(|name| !world.wanted(name)).filter(live).collect();
        let held = world.dependencies_of_leaving();
        let free = world.leaving.iter().copied().filter(|name| !held.contains(name));
        world.free_to_stop = free.collect();
        // Services that depend on each other in a circle would wait for each other for ever.
        if world.free_to_stop.is_empty() {
            world.free_to_stop = world.leaving.clone();
        }
        world
    }

    fn wanted(&self, name: &str) -> bool {
        self.desired.services.get(name).is_some_and(|spec| match &spec.kind {
            _ if spec.suspended => false,
            ServiceKind::LongRunning => spec.replicas > 0,
            ServiceKind::Batch { order } => order.is_some(),
            ServiceKind::External => false,
        })
    }

    /// What leaving services need until they are gone: everything they reach through their dependencies, also by
    /// way of services that have stopped already.
    fn dependencies_of_leaving(&self) -> BTreeSet<&'a str> {
        let mut held = BTreeSet::new();
        for &name in &self.leaving {
            let mut open: Vec<&'a str> = self.dependencies(name);
            let mut seen = BTreeSet::from([name]);
            while let Some(dependency) = open.pop() {
                if seen.insert(dependency) {
                    held.insert(dependency);
                    open.extend(self.dependencies(dependency));
                }
            }
        }
        held
    }

    fn dependencies(&self, name: &str) -> Vec<&'a str> {
        let deployed = self.by_service.get(name).into_iter().flatten();
        let deployed = deployed.flat_map(|(_, replica)| &replica.depends_on);
        let declared = self.desired.services.get(name).into_iter().flat_map(|spec| &spec.depends_on);
        deployed.chain(declared).map(String::as_str).collect()
    }

    /// Replicas of a service with their ids, in the order of ids.
    pub(crate) fn replicas(&self, service: &str) -> impl Iterator<Item = (&'a str, &'a ObservedReplica)> {
        self.by_service.get(service).into_iter().flatten().copied()
    }

    /// Replicas of a service that have or may have a process.
    pub(crate) fn live(&self, service: &str) -> u32 {
        let live = self.replicas(service).filter(|(_, replica)| replica.is_live()).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Observed services that are not declared.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &'a str> {
        let declared = &self.desired.services;
        self.by_service.keys().copied().filter(|name| !declared.contains_key(*name))
    }

    /// Whether a service that is leaving may stop now, or which services it waits for.
    pub(crate) fn may_stop(&self, service: &str) -> Result<(), String> {
        if !self.leaving.contains(service) || self.free_to_stop.contains(service) {
            return Ok(());
        }
        let others = self.leaving.iter().filter(|name| **name != service);
        let users: Vec<_> =
            others.copied().filter(|name| self.dependencies(name).contains(&service)).collect();
        let users = if users.is_empty() { "services behind it".to_owned() } else { users.join(", ") };
        Err(format!("stops after what depends on it: {users}"))
    }

    /// `Ok` when all dependencies are ready, else a sentence about the first that is not.
    pub(crate) fn dependencies_ready(&self, spec: &DesiredService) -> Result<(), String> {
        spec.depends_on.iter().try_for_each(|name| self.service_ready(name))
    }

    fn service_ready(&self, name: &str) -> Result<(), String> {
        let Some(spec) = self.desired.services.get(name) else {
            return Err(format!("waits for {name}, which is not declared"));
        };
        let ready = match &spec.kind {
            _ if spec.suspended => return Err(format!("waits for {name}, which is suspended")),
            ServiceKind::External => self.external_ready(name, spec),
            ServiceKind::Batch { order } => {
                order.as_ref().is_some_and(|order| self.run_complete(name, &order.run))
            }
            ServiceKind::LongRunning if spec.replicas == 0 => {
                return Err(format!("waits for {name}, which is declared with no replicas"));
            }
            ServiceKind::LongRunning => {
                self.replicas(name).any(|(_, replica)| self.replica_ready(spec, replica))
            }
        };
        if ready { Ok(()) } else { Err(format!("waits for {name}, which is not ready")) }
    }

    /// Running, not asked to stop, and let through by its probes.
    pub(crate) fn replica_ready(&self, spec: &DesiredService, replica: &ObservedReplica) -> bool {
        replica.phase == ReplicaPhase::Running && replica.probes.ready(&spec.probes)
    }

    /// An external service counts as ready when nothing is declared to probe it with.
    pub(crate) fn external_ready(&self, name: &str, spec: &DesiredService) -> bool {
        spec.probes.readiness.is_none()
            || self.observed.external.get(name).is_some_and(|record| record.verdict == Some(true))
    }

    /// Ids of the ready replicas of a service, in order.
    pub(crate) fn ready_replicas(&self, name: &str, spec: &DesiredService) -> Vec<String> {
        let ready = self.replicas(name).filter(|(_, replica)| self.replica_ready(spec, replica));
        ready.map(|(id, _)| id.to_owned()).collect()
    }

    /// Whether this run of a batch job ended by itself with code 0.
    pub(crate) fn run_complete(&self, service: &str, run: &str) -> bool {
        let done = |replica: &ObservedReplica| {
            let present =
                matches!(&replica.phase, ReplicaPhase::Exited { exit: Exit::Code(0), asked: None, .. })
                    && replica.run.as_deref() == Some(run);
            let past = replica.past_runs.iter();
            present
                || past
                    .filter(|past| past.run.as_deref() == Some(run))
                    .any(|past| past.exit == Exit::Code(0) && past.asked.is_none())
        };
        self.replicas(service).any(|(_, replica)| done(replica))
    }
}
