//! Where a rollout stands and what comes next: one service at one moment.

use std::collections::BTreeMap;

use super::census::{Census, Count};
use super::failure;
use super::revise::revise;
use super::sizes::{Rolling, Sizes, share};
use super::spec::{BlueGreen, Canary, Limits, Strategy};
use super::state::{Outcome, RolloutState};
use super::step::{self, Verdict};
use crate::DesiredService;
use crate::draft::Draft;
use crate::probe::later;
use crate::world::World;

/// What a pass over one service works with.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    pub(crate) name: &'a str,
    pub(crate) spec: &'a DesiredService,
    pub(crate) state: RolloutState,
    pub(crate) census: Census<'a>,
    pub(crate) counts: BTreeMap<u32, Count>,
    pub(crate) limits: Limits,
    /// Why replicas of the present revision cannot be started at all, if so.
    pub(crate) hindrance: Option<String>,
}

/// How the present revision comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode<'a> {
    Rolling,
    Recreate,
    BlueGreen(&'a BlueGreen),
    Canary(&'a Canary),
}

impl<'a> Course<'a> {
    /// Brings the remembered state up to date: revisions, failures, sizes.
    pub(crate) fn set(name: &'a str, spec: &'a DesiredService, world: &World<'a>, draft: &mut Draft) -> Self {
        let want = if spec.suspended { 0 } else { spec.replicas };
        let state = world.observed.rollouts.get(name).cloned().unwrap_or_default();
        let census = Census::take(name, spec, &state, world);
        let limits = spec.rollout.limits(want, spec.exclusive.is_some());
        let counts = census.counts();
        let mut course = Self { name, spec, state, census, counts, limits, hindrance: None };
        // What the old declaration achieved is noted before the new one counts.
        course.conclude(world);
        revise(spec, &mut course.state, world.replicas(name).map(|(_, replica)| replica), world.now.wall);
        course.census = Census::take(name, spec, &course.state, world);
        course.counts = course.census.counts();
        course.hindrance = course.hindrance(world);
        if let Some(next) = course.census.next {
            draft.check_at(next);
        }
        course.note_progress(world);
        if let (Some(reason), Some(to)) = (failure::reason(&course, world), course.state.way_back()) {
            course.state.roll_back(to, &reason, world.now.wall);
            course.hindrance = course.hindrance(world);
        }
        course.size(world, draft);
        course.conclude(world);
        course.note_progress(world);
        course.watch_deadline(world, draft);
        course
    }

    pub(crate) fn count(&self, revision: u32) -> Count {
        self.counts.get(&revision).copied().unwrap_or_default()
    }

    /// Available replicas of the present revision.
    pub(crate) fn available(&self) -> u32 {
        self.state.current.map_or(0, |current| self.count(current).available)
    }

    /// Whether a configuration with this hash can be deployed.
    pub(crate) fn deployable(&self, hash: &str) -> bool {
        let declared = self.spec.unresolved.is_none() && hash == self.spec.description_hash;
        declared || self.spec.stored.contains(hash)
    }

    fn hindrance(&self, world: &World<'_>) -> Option<String> {
        let Some(revision) = self.state.current_revision() else {
            return Some(self.spec.unresolved.clone().unwrap_or_else(|| "no revision is known".into()));
        };
        if !self.deployable(&revision.description_hash) {
            let gone = || format!("the configuration of revision {} is not stored", revision.number);
            return Some(self.spec.unresolved.clone().unwrap_or_else(gone));
        }
        world.dependencies_ready(self.spec).err()
    }

    pub(crate) fn mode(&self) -> Mode<'a> {
        let Some(rollout) = &self.state.rollout else { return Mode::Rolling };
        if self.spec.rollout.strategy == Strategy::Recreate {
            return Mode::Recreate;
        }
        let beside = self.state.way_back().is_some() && self.spec.exclusive.is_none();
        if !beside || rollout.quick || rollout.back.is_some() {
            return Mode::Rolling;
        }
        match &self.spec.rollout.strategy {
            Strategy::BlueGreen(spec) => Mode::BlueGreen(spec),
            Strategy::Canary(spec) if rollout.promoted_at.is_none() && !spec.steps.is_empty() => {
                Mode::Canary(spec)
            }
            Strategy::Rolling | Strategy::Recreate | Strategy::Canary(_) => Mode::Rolling,
        }
    }

    /// All replicas are of the present revision and available: it is the good one from now on.
    fn conclude(&mut self, world: &World<'_>) {
        let (Some(current), Some(_)) = (self.state.current, &self.state.rollout) else { return };
        let replicas = self.state.replicas;
        let alone = self.state.sizes.keys().all(|revision| *revision == current);
        if replicas == 0 || !alone || self.state.size(current) < replicas || self.available() < replicas {
            return;
        }
        if self.state.revision(current).is_some_and(|revision| revision.outcome != Outcome::Succeeded) {
            self.state.decide(current, Outcome::Succeeded, "", world.now.wall);
        }
        self.state.stable = Some(current);
        self.state.rollout = None;
    }

    /// The deadline runs only while replicas of the present revision could be there and are not, and only while somebody
    /// watches: after a restart of the planner it begins anew.
    fn note_progress(&mut self, world: &World<'_>) {
        let (available, now) = (self.available(), world.now.wall);
        let current = self.state.current.unwrap_or(0);
        let wanted = self.state.size(current).min(self.limits.replicas);
        let unwatched = self.census.of(current).any(|member| member.unwatched);
        let waits = available < wanted && self.hindrance.is_none() && !unwatched;
        let Some(rollout) = &mut self.state.rollout else { return };
        let progressed = available > rollout.best;
        rollout.best = rollout.best.max(available);
        rollout.waiting_since = match rollout.waiting_since {
            _ if !waits || rollout.paused.is_some() => None,
            Some(since) if !progressed => Some(since),
            _ => Some(now),
        };
    }

    /// When the wait for further replicas is too long, wall time.
    pub(crate) fn deadline(&self) -> Option<jiff::Timestamp> {
        let since = self.state.rollout.as_ref()?.waiting_since?;
        Some(later(since, self.spec.rollout.progress_deadline))
    }

    fn watch_deadline(&self, world: &World<'_>, draft: &mut Draft) {
        if let Some(deadline) = self.deadline().filter(|deadline| *deadline > world.now.wall) {
            draft.check_at(deadline);
        }
    }

    /// Decides how many replicas each revision is to have.
    fn size(&mut self, world: &World<'_>, draft: &mut Draft) {
        let Some(current) = self.state.current else { return };
        if self.limits.replicas == 0 {
            self.state.sizes.clear();
        } else {
            match self.mode() {
                Mode::Rolling => self.roll(current),
                Mode::Recreate => self.recreate(current),
                Mode::BlueGreen(spec) => self.blue_green(spec, current, world, draft),
                Mode::Canary(spec) => self.canary(spec, current, world, draft),
            }
        }
        self.state.replicas = self.limits.replicas;
        self.state.ceiling = self.limits.ceiling();
    }

    fn roll(&mut self, current: u32) {
        if self.state.replicas != self.limits.replicas {
            share(&mut self.state.sizes, current, self.state.ceiling, self.limits);
        }
        self.cap_old(current);
        let others = self.state.sizes.keys().any(|revision| *revision != current);
        let paused = self.state.rollout.as_ref().is_some_and(|rollout| rollout.paused.is_some());
        let rolling = Rolling {
            target: current,
            stable: self.state.stable,
            counts: &self.counts,
            limits: self.limits,
            drop_bad: self.state.rollout.as_ref().is_some_and(|rollout| rollout.back.is_some()),
        };
        // Nothing that runs is given up for what could not start.
        if others && (paused || self.hindrance.is_some()) {
            rolling.take_back(&mut self.state.sizes);
        } else {
            rolling.run(&mut self.state.sizes);
        }
    }

    /// Of revisions that are left, only the last good one is started again, and only while it is stored.
    pub(crate) fn restartable(&self, number: u32) -> bool {
        let revision = self.state.revision(number);
        Some(number) == self.state.stable
            && revision.is_some_and(|revision| self.deployable(&revision.description_hash))
    }

    /// Revisions that are not started again are no larger than what is left of them.
    fn cap_old(&mut self, current: u32) {
        let cap = |(&number, &size): (&u32, &u32)| {
            let count = self.count(number);
            let free = number == current || self.restartable(number);
            (number, if free { size } else { size.min(count.places - count.ended) })
        };
        let sizes = self.state.sizes.iter().map(cap).filter(|(_, size)| *size > 0).collect();
        self.state.sizes = sizes;
    }

    fn recreate(&mut self, current: u32) {
        if self.hindrance.is_some() {
            return;
        }
        let mut old = self.census.members.iter().filter(|member| member.revision != current);
        let old_lives = old.any(|member| member.replica.is_live());
        let old_stops = self.census.stopping.iter().any(|(_, replica)| {
            self.state.of_hash(&replica.description_hash).is_none_or(|revision| revision.number != current)
        });
        let size = if old_lives || old_stops { self.state.size(current) } else { self.limits.replicas };
        self.state.sizes = [(current, size.min(self.limits.replicas))].into();
        self.state.sizes.retain(|_, size| *size > 0);
    }

    fn blue_green(&mut self, spec: &BlueGreen, current: u32, world: &World<'_>, draft: &mut Draft) {
        let now = world.now.wall;
        let whole = self.available() >= self.limits.replicas;
        let Some(rollout) = &mut self.state.rollout else { return };
        if rollout.promoted_at.is_none() {
            rollout.step_since = whole.then(|| rollout.step_since.unwrap_or(now));
        }
        if let (Some(since), None) = (rollout.step_since, rollout.promoted_at) {
            let due = spec.promote_after.filter(|_| rollout.paused.is_none()).map(|wait| later(since, wait));
            if rollout.promote || due.is_some_and(|due| due <= now) {
                rollout.promoted_at = Some(now);
                rollout.promote = false;
            } else if let Some(due) = due {
                draft.check_at(due);
            }
        }
        let mut keep = true;
        if let Some(promoted) = rollout.promoted_at {
            let end = later(promoted, spec.scale_down_delay);
            // The old set stays while the new one is not whole: it is what traffic falls back to.
            keep = end > now || !whole;
            if end > now {
                draft.check_at(end);
            }
        }
        self.side_by_side(current, self.limits.replicas, keep);
    }

    fn canary(&mut self, spec: &Canary, current: u32, world: &World<'_>, draft: &mut Draft) {
        // Each turn begins or ends a step.
        for _ in 0..=spec.steps.len().saturating_mul(2) {
            let verdict = step::verdict(self, spec, world);
            let Some(rollout) = &mut self.state.rollout else { return };
            let index = usize::try_from(rollout.step).unwrap_or(usize::MAX);
            if rollout.promote_full || index >= spec.steps.len() {
                rollout.promoted_at = Some(world.now.wall);
                return self.roll(current);
            }
            match verdict {
                Verdict::Begins => rollout.step_since = Some(world.now.wall),
                Verdict::Passed => {
                    rollout.step = rollout.step.saturating_add(1);
                    rollout.step_since = None;
                    rollout.promote = false;
                }
                Verdict::Runs { next, .. } => {
                    if let Some(next) = next {
                        draft.check_at(next);
                    }
                    break;
                }
                Verdict::Starting | Verdict::Failed(_) => break,
            }
        }
        let index = self.state.rollout.as_ref().map_or(0, |rollout| rollout.step);
        let wanted = spec.replicas_at(usize::try_from(index).unwrap_or(usize::MAX), self.limits.replicas);
        self.side_by_side(current, wanted, true);
    }

    /// The last good revision stays whole beside `wanted` replicas of the present one. Replicas beyond that go only as
    /// far as the floor allows: after a change of strategy, or of mind, there may be few of those that are to stay.
    fn side_by_side(&mut self, current: u32, wanted: u32, keep: bool) {
        let old = self.state.way_back().filter(|_| keep);
        let mut sizes = Sizes::from([(current, wanted)]);
        if let Some(old) = old {
            sizes.insert(old, self.limits.replicas);
        }
        let stays = |number: u32, size: u32| self.count(number).available.min(size);
        let staying: u32 = sizes.iter().map(|(number, size)| stays(*number, *size)).sum();
        let mut missing = self.limits.floor().saturating_sub(staying);
        let mut keep = |usable: &dyn Fn(&Count) -> u32, missing: u32| {
            let mut left = missing;
            for (number, count) in &self.counts {
                let size = sizes.get(number).copied().unwrap_or(0);
                let more = usable(count).saturating_sub(size).min(left);
                left -= more;
                if more > 0 {
                    sizes.insert(*number, size.saturating_add(more));
                }
            }
            left
        };
        missing = keep(&|count| count.ready, missing);
        if missing > 0 {
            // Any of those that are not known to be bad may be one that serves.
            keep(&|count| count.places - count.bad, u32::MAX);
        }
        self.state.sizes = sizes;
        self.cap_old(current);
    }
}
