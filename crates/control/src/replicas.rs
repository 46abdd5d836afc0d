//! Long-running services: each revision is brought to its number of replicas.

use std::collections::{BTreeMap, BTreeSet};

use crate::draft::Draft;
use crate::findings::Findings;
use crate::health::{backed_off, supervise};
use crate::report;
use crate::retire::{drained, press, retire, stop};
use crate::rollout::{Course, Drain, Member, progress, shares};
use crate::trouble::unready;
use crate::world::World;
use crate::{
    Action, DesiredService, Exit, ReplicaPhase, RestartPolicy, ServiceStatus, StopCause, replica_id,
};

/// One pass over one service.
struct Pass<'a, 'w> {
    course: Course<'a>,
    world: &'w World<'a>,
    draft: &'w mut Draft,
    found: Findings,
    /// Numbers of replicas that are taken.
    taken: BTreeSet<u32>,
    /// All numbers below are taken.
    lowest: u32,
    /// Replicas that are out of traffic and have not gone.
    drains: BTreeMap<String, Drain>,
    /// Replicas that get no more traffic.
    leaving: BTreeSet<&'a str>,
}

/// Brings a long-running service to its declared replicas.
pub(crate) fn converge<'a>(
    name: &'a str,
    spec: &'a DesiredService,
    world: &World<'a>,
    draft: &mut Draft,
) -> ServiceStatus {
    let course = Course::set(name, spec, world, draft);
    let mut pass = Pass {
        course,
        world,
        draft,
        found: Findings::default(),
        taken: BTreeSet::new(),
        lowest: 0,
        drains: BTreeMap::new(),
        leaving: BTreeSet::new(),
    };
    pass.run();
    pass.finish()
}

impl<'a> Pass<'a, '_> {
    fn run(&mut self) {
        for (id, replica) in self.course.census.stopping.clone() {
            press(id, replica, self.world, self.draft, &mut self.found);
            let (time, known) = (self.course.spec.rollout.drain_time, self.course.state.draining.get(id));
            let drain = drained(replica, time, known, self.world);
            self.drains.extend(drain.map(|drain| (id.to_owned(), drain)));
        }
        let (kept, surplus) = self.places();
        self.take_numbers(&kept);
        for member in &surplus {
            self.release(member);
        }
        for (id, replica) in self.course.census.leftovers.clone() {
            if replica.is_live() {
                retire(id, replica, self.course.name, self.world, self.draft, &mut self.found);
            }
        }
        for member in &kept {
            self.keep(member);
        }
        for (number, size) in self.course.state.sizes.clone() {
            let have = kept.iter().filter(|member| member.revision == number).count();
            for _ in have..usize::try_from(size).unwrap_or(usize::MAX) {
                let ordinal = self.take_free_number();
                self.start(number, ordinal, "it is declared and does not run");
            }
        }
        self.sweep(&surplus);
    }

    /// Members that keep their places, good ones first to be kept, and those that are too many. Revisions that are left
    /// come before the present one.
    fn places(&self) -> (Vec<Member<'a>>, Vec<Member<'a>>) {
        let state = &self.course.state;
        let (mut kept, mut surplus) = (Vec::new(), Vec::new());
        let mut numbers: Vec<_> = self.course.counts.keys().copied().collect();
        numbers.sort_by_key(|number| state.current == Some(*number));
        for number in numbers {
            let mut members: Vec<_> = self.course.census.of(number).copied().collect();
            let left = state.current != Some(number);
            let startable = !left || self.course.restartable(number);
            members.sort_by_key(|member| {
                let ordinal = i64::from(member.replica.ordinal);
                let gone = !startable && !member.replica.is_live();
                // Of two of which nothing is known, one that has run for a while is more likely to serve.
                let known = (std::cmp::Reverse(member.standing), member.draining, !member.unwatched);
                (gone, known, if left { -ordinal } else { ordinal })
            });
            let size = usize::try_from(state.size(number)).unwrap_or(usize::MAX).min(members.len());
            let mut rest = members.split_off(size);
            rest.sort_by_key(|member| member.replica.ordinal);
            surplus.append(&mut rest);
            members.sort_by_key(|member| member.replica.ordinal);
            kept.append(&mut members);
        }
        (kept, surplus)
    }

    fn take_numbers(&mut self, kept: &[Member<'_>]) {
        self.taken = kept.iter().map(|member| member.replica.ordinal).collect();
        let live = self.world.replicas(self.course.name).filter(|(_, replica)| replica.is_live());
        self.taken.extend(live.map(|(_, replica)| replica.ordinal));
    }

    /// The lowest number that no replica has, and takes it.
    fn take_free_number(&mut self) -> u32 {
        let foreign = |ordinal: u32| {
            let id = replica_id(self.course.name, ordinal);
            self.world.observed.replicas.get(&id).is_some_and(|other| other.service != self.course.name)
        };
        let free = |ordinal: &u32| !self.taken.contains(ordinal) && !foreign(*ordinal);
        let ordinal = (self.lowest..u32::MAX).find(free).unwrap_or(u32::MAX);
        self.lowest = ordinal.saturating_add(1);
        self.taken.insert(ordinal);
        ordinal
    }

    /// A replica too many: out of traffic, then asked to stop.
    fn release(&mut self, member: &Member<'a>) {
        let (id, replica) = (member.id, member.replica);
        if !matches!(replica.phase, ReplicaPhase::Starting | ReplicaPhase::Running) {
            return;
        }
        if let Err(why) = self.world.may_stop(self.course.name) {
            self.found.stopping = Some(why);
            return;
        }
        self.leaving.insert(id);
        let (time, known) = (self.course.spec.rollout.drain_time, self.course.state.draining.get(id));
        if let Some(drain) = drained(replica, time, known, self.world) {
            let over = drain.is_over(id, self.world);
            self.drains.insert(id.to_owned(), drain);
            if !over {
                self.found.stopping = Some(format!("{id} gets no more requests"));
                return;
            }
        }
        self.found.stopping = Some(format!("{id} is asked to stop"));
        let (cause, because) = match self.course.state.current {
            Some(current) if current != member.revision => {
                (StopCause::Roll, format!("{id} makes room for revision {current}"))
            }
            _ => (StopCause::NotWanted, format!("{id} is not wanted any more")),
        };
        stop(id, replica.stop_timeout, cause, because, self.draft);
    }

    /// Looks after a replica that keeps its place.
    fn keep(&mut self, member: &Member<'a>) {
        let (id, replica, spec) = (member.id, member.replica, self.course.spec);
        match &replica.phase {
            ReplicaPhase::Stopping { .. } => {}
            ReplicaPhase::Exited { exit, asked, .. } => self.restart(member, exit, *asked),
            ReplicaPhase::Starting | ReplicaPhase::Running => {
                let declared = replica.description_hash == spec.description_hash && spec.unresolved.is_none();
                if declared && replica.generation != spec.generation {
                    let action = Action::Adopt { replica: id.into(), generation: spec.generation };
                    let because = format!("{id} already runs what generation {} asks for", spec.generation);
                    self.draft.act(action, because);
                }
                if let Some(why) = replica.probes.reported_waiting() {
                    self.found.waiting.get_or_insert_with(|| format!("{id} waits: {why}"));
                }
                if let Some(trouble) = unready(id, replica, spec) {
                    self.found.note(trouble);
                }
                supervise(id, replica, self.course.name, spec, self.world, self.draft, &mut self.found);
            }
        }
    }

    /// Starts a replica that ended, if its policy asks for it and the back-off has passed.
    fn restart(&mut self, member: &Member<'_>, exit: &Exit, asked: Option<StopCause>) {
        let clean = *exit == Exit::Code(0) && asked.is_none();
        let again = match self.course.spec.restart.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !clean,
            RestartPolicy::Never => false,
        };
        if !again {
            self.found.ended = Some((clean, format!("{} {exit}", member.id)));
            return;
        }
        let forgiven = self.course.state.forgiven_until;
        let (spec, replica) = (self.course.spec, member.replica);
        let because = backed_off(replica, exit, spec, forgiven, self.world, self.draft, &mut self.found);
        if let Some(because) = because {
            self.start(member.revision, replica.ordinal, &because);
        }
    }

    /// Starts a replica of a revision, if it can be deployed, its dependencies are ready and there is room for it.
    fn start(&mut self, number: u32, ordinal: u32, because: &str) {
        let Some(revision) = self.course.state.revision(number).cloned() else { return };
        let (name, hash) = (self.course.name, &revision.description_hash);
        let replica = replica_id(name, ordinal);
        if !self.course.deployable(hash) {
            let gone = || format!("the configuration of revision {number} is not stored");
            self.found.waiting = Some(self.course.spec.unresolved.clone().unwrap_or_else(gone));
            return;
        }
        if let Err(why) = self.world.dependencies_ready(self.course.spec) {
            self.found.waiting = Some(why);
            return;
        }
        if self.refused(&replica, hash) {
            return;
        }
        if self.world.live(name).saturating_add(self.draft.deployments(name)) >= self.most() {
            self.found.waiting = Some("waits for surplus replicas to stop".into());
            return;
        }
        let because = format!("{replica} starts: {because}");
        let action = Action::Deploy {
            service: name.into(),
            replica,
            ordinal,
            generation: revision.generation,
            revision: number,
            description_hash: revision.description_hash,
            work: None,
        };
        self.draft.act(action, because);
    }

    /// Most replicas with a process: the surge is for rollouts, and for the time in which their last replicas stop.
    fn most(&self) -> u32 {
        let (limits, state) = (self.course.limits, &self.course.state);
        if state.rollout.is_some() {
            return limits.ceiling();
        }
        let other = |hash: &str| state.of_hash(hash).map(|revision| revision.number) != state.current;
        let left = self.world.replicas(self.course.name);
        let left = left.filter(|(_, replica)| replica.is_live() && other(&replica.description_hash)).count();
        limits.replicas.saturating_add(u32::try_from(left).unwrap_or(u32::MAX).min(limits.surge))
    }

    /// Whether the last attempt to deploy this could not be made and the next is not due.
    fn refused(&mut self, replica: &str, hash: &str) -> bool {
        let known = self.world.observed.refusals.get(replica);
        let Some(refusal) = known.filter(|refusal| refusal.description_hash == hash) else { return false };
        let due = refusal.due(&self.course.spec.restart);
        self.found.back_off(refusal.trouble(replica));
        if due <= self.world.now.wall {
            return false;
        }
        self.draft.check_at(due);
        true
    }

    /// Forgets records of replicas that ended and whose number nobody took.
    fn sweep(&mut self, surplus: &[Member<'_>]) {
        let leftovers = self.course.census.leftovers.iter().copied();
        let surplus = surplus.iter().map(|member| (member.id, member.replica));
        for (id, replica) in leftovers.chain(surplus) {
            let reused =
                self.taken.contains(&replica.ordinal) && replica_id(self.course.name, replica.ordinal) == id;
            if !replica.is_live() && !reused {
                let because = format!("{id} has ended and is not wanted");
                self.draft.act(Action::Forget { replica: id.into() }, because);
            }
        }
    }

    fn finish(mut self) -> ServiceStatus {
        self.course.state.draining = std::mem::take(&mut self.drains);
        let traffic = shares(&self.course, &self.leaving, self.world);
        let status = report::status(&self.course, &self.leaving, &self.found, self.world);
        let name = self.course.name.to_owned();
        if let Some(progress) = progress(&self.course, &traffic, self.world) {
            self.draft.progress.insert(name.clone(), progress);
        }
        self.draft.drain(&self.course.state.draining, self.world.now.wall);
        self.draft.traffic.insert(name.clone(), traffic);
        self.draft.rollouts.insert(name, self.course.state);
        status
    }
}
