//! Where every replica of a service stands, counted by revision.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::state::RolloutState;
use crate::probe::later;
use crate::world::World;
use crate::{DesiredService, Exit, ObservedReplica, ReplicaPhase, RestartPolicy, StopCause, replica_id};

/// A program that nobody asks whether it is ready counts as available after this long, so that one that ends at once
/// does not pass for a good revision.
const UNPROBED_MIN_READY: SignedDuration = SignedDuration::from_secs(1);

/// How much a replica is worth to its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It ended and will not be started again, though it has not done its work.
    Dead,
    /// It ended and waits to be started again, or its probes failed.
    Bad,
    /// It is starting, or it is not known yet whether it is well.
    Unproven,
    /// It is ready, but not for long enough.
    Settling,
    /// It serves, or has done its work.
    Available,
}

/// A replica that fills a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) id: &'a str,
    pub(crate) replica: &'a ObservedReplica,
    pub(crate) revision: u32,
    pub(crate) standing: Standing,
    /// It runs, and nobody has asked since long whether it is well: the planner was started anew.
    pub(crate) unwatched: bool,
    /// It gets no more requests.
    pub(crate) draining: bool,
}

/// Counts of one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Replicas that fill a place.
    pub(crate) places: u32,
    /// Those that are available.
    pub(crate) available: u32,
    /// Those that serve, available or not for long enough.
    pub(crate) ready: u32,
    /// Those that are known not to be well.
    pub(crate) bad: u32,
    /// Those that have no process.
    pub(crate) ended: u32,
    /// Those that run and get requests, of which nothing is known any more: each may be one that serves.
    pub(crate) unwatched: u32,
}

/// All replicas of a long-running service.
#[derive(Debug, Default)]
pub(crate) struct Census<'a> {
    /// Those that fill a place, in the order of their numbers.
    pub(crate) members: Vec<Member<'a>>,
    /// Those that are stopping.
    pub(crate) stopping: Vec<(&'a str, &'a ObservedReplica)>,
    /// Records of replicas that ended on purpose, and replicas under a wrong id.
    pub(crate) leftovers: Vec<(&'a str, &'a ObservedReplica)>,
    /// The next wall time at which waiting alone makes a replica available.
    pub(crate) next: Option<jiff::Timestamp>,
}

impl<'a> Census<'a> {
    pub(crate) fn take(name: &str, spec: &DesiredService, state: &RolloutState, world: &World<'a>) -> Self {
        let mut census = Self::default();
        for (id, replica) in world.replicas(name) {
            if matches!(replica.phase, ReplicaPhase::Stopping { .. }) {
                census.stopping.push((id, replica));
            }
            let revision = state.of_hash(&replica.description_hash).map(|revision| revision.number);
            let place = revision.filter(|_| replica_id(name, replica.ordinal) == id);
            match (place, census.standing(spec, replica, world)) {
                (Some(revision), Some(standing)) => {
                    let now = world.now.wall;
                    let unwatched = replica.phase == ReplicaPhase::Running
                        && replica.probes.unwatched(&spec.probes, replica.started_at, now);
                    let draining = state.draining.contains_key(id);
                    census.members.push(Member { id, replica, revision, standing, unwatched, draining });
                }
                _ if matches!(replica.phase, ReplicaPhase::Stopping { .. }) => {}
                _ => census.leftovers.push((id, replica)),
            }
        }
        census.members.sort_by_key(|member| member.replica.ordinal);
        census
    }

    /// `None` for a replica that ends or ended on purpose. One that is stopped for its health keeps its place, and its
    /// count of failures with it.
    fn standing(
        &mut self,
        spec: &DesiredService,
        replica: &ObservedReplica,
        world: &World<'_>,
    ) -> Option<Standing> {
        match &replica.phase {
            ReplicaPhase::Stopping { cause: StopCause::Unhealthy, .. } => Some(Standing::Bad),
            ReplicaPhase::Stopping { .. } => None,
            ReplicaPhase::Exited { asked: Some(cause), .. } if *cause != StopCause::Unhealthy => None,
            ReplicaPhase::Exited { exit, asked, .. } => Some(ended(spec, exit, *asked)),
            ReplicaPhase::Starting => Some(Standing::Unproven),
            ReplicaPhase::Running if world.replica_ready(spec, replica) => {
                let since = replica.probes.ready_since(&spec.probes, replica.started_at);
                let available = later(since, min_ready(spec));
                if available <= world.now.wall {
                    return Some(Standing::Available);
                }
                self.next = Some(self.next.map_or(available, |earlier| earlier.min(available)));
                Some(Standing::Settling)
            }
            ReplicaPhase::Running if replica.probes.known_unready(&spec.probes) => Some(Standing::Bad),
            ReplicaPhase::Running => Some(Standing::Unproven),
        }
    }

    pub(crate) fn of(&self, revision: u32) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(move |member| member.revision == revision)
    }

    pub(crate) fn counts(&self) -> BTreeMap<u32, Count> {
        let mut counts: BTreeMap<u32, Count> = BTreeMap::new();
        for member in &self.members {
            let count = counts.entry(member.revision).or_default();
            count.places += 1;
            count.available += u32::from(member.standing == Standing::Available);
            count.ready += u32::from(member.standing >= Standing::Settling);
            count.bad += u32::from(member.standing <= Standing::Bad);
            count.ended += u32::from(!member.replica.is_live());
            count.unwatched += u32::from(member.unwatched && !member.draining);
        }
        counts
    }
}

fn ended(spec: &DesiredService, exit: &Exit, asked: Option<StopCause>) -> Standing {
    let clean = *exit == Exit::Code(0) && asked.is_none();
    match spec.restart.policy {
        RestartPolicy::Always => Standing::Bad,
        _ if clean => Standing::Available,
        RestartPolicy::OnFailure => Standing::Bad,
        RestartPolicy::Never => Standing::Dead,
    }
}

fn min_ready(spec: &DesiredService) -> SignedDuration {
    let probed = spec.probes.readiness.is_some() || spec.probes.startup.is_some();
    if probed { spec.rollout.min_ready } else { spec.rollout.min_ready.max(UNPROBED_MIN_READY) }
}
