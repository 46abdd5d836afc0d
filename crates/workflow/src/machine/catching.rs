//! Attempts, and what is done with their errors.

use std::hash::Hasher;
use std::time::Duration as Exact;

use crate::Backoff;
use jiff::{SignedDuration, Timestamp};

use super::activation::Activation;
use super::core::{Around, Core, ended};
use super::sequence::{Sequence, Step};
use super::{Action, Event, Fault, Id, Timer};
use crate::jq::Data;
use crate::program::{Catch, List, Retry, Span};

/// The longest time between two attempts.
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(24);

/// A `try` that is going on.
#[derive(Debug)]
pub(super) struct Trying {
    phase: Phase,
    /// Attempts made.
    attempts: u32,
    began: Timestamp,
    /// Whether the attempt has a time.
    timed: bool,
    caught: bool,
}

#[derive(Debug)]
enum Phase {
    Attempting(Sequence),
    /// It waits for the next attempt.
    Resting,
    Catching(Sequence),
    /// An error was caught and nothing is done with it.
    Over,
}

impl Trying {
    pub(super) fn begin(core: &mut Core, task: &Activation, tasks: &List) -> Result<(Self, Step), Fault> {
        let sequence = Sequence::within(tasks.clone(), task.input().clone(), task.locals().clone());
        let mut trying = Self {
            phase: Phase::Attempting(sequence),
            attempts: 1,
            began: core.now,
            timed: false,
            caught: false,
        };
        let program = core.program.clone();
        let around = task.scope(&program, &Data::Null);
        if let crate::program::Kind::Try { catch, .. } = &around.step.kind {
            trying.time(core, &around, catch, task.id)?;
        }
        let step = trying.go_on(core);
        Ok((trying, step))
    }

    pub(super) const fn was_caught(&self) -> bool {
        self.caught
    }

    fn go_on(&mut self, core: &mut Core) -> Step {
        match &mut self.phase {
            Phase::Attempting(tasks) | Phase::Catching(tasks) => tasks.run(core),
            Phase::Resting | Phase::Over => Step::Pending,
        }
    }

    fn time(&mut self, core: &mut Core, around: &Around<'_>, catch: &Catch, id: Id) -> Result<(), Fault> {
        if let Some(span) = catch.retry.as_ref().and_then(|retry| retry.attempt_lasts.as_ref()) {
            let at = ended(core.span(span, around)?, core.now)?;
            core.actions.push(Action::Wake { id, timer: Timer::Attempt, at });
            self.timed = true;
        }
        Ok(())
    }

    pub(super) fn wake(&mut self, core: &mut Core, event: &Event) -> Step {
        match &mut self.phase {
            Phase::Attempting(tasks) | Phase::Catching(tasks) => tasks.wake(core, event),
            Phase::Resting | Phase::Over => Step::Pending,
        }
    }

    /// The time of the attempt is over: it is broken off.
    pub(super) fn too_long(&mut self, core: &mut Core) -> Option<Step> {
        self.timed = false;
        let Phase::Attempting(tasks) = &mut self.phase else { return Some(Step::Pending) };
        tasks.abandon(core);
        Some(Step::Failed(Fault::timeout("an attempt")))
    }

    /// None when the next attempt is due.
    pub(super) fn again(&mut self) -> Option<Step> {
        (!matches!(self.phase, Phase::Resting)).then_some(Step::Pending)
    }

    /// The next attempt.
    pub(super) fn attempt(
        &mut self,
        core: &mut Core,
        task: &Activation,
        tasks: &List,
        catch: &Catch,
    ) -> Result<Step, Fault> {
        self.attempts += 1;
        self.phase =
            Phase::Attempting(Sequence::within(tasks.clone(), task.input().clone(), task.locals().clone()));
        let program = core.program.clone();
        self.time(core, &task.scope(&program, &Data::Null), catch, task.id)?;
        Ok(self.go_on(core))
    }

    /// What an attempt that went on means; an error that is meant here is tried again or caught.
    pub(super) fn take(
        &mut self,
        core: &mut Core,
        task: &Activation,
        (tasks, catch): (&List, &Catch),
        step: Step,
    ) -> Result<Step, Fault> {
        let mut step = step;
        loop {
            if matches!(step, Step::Pending) {
                return Ok(step);
            }
            if std::mem::take(&mut self.timed) {
                core.actions.push(Action::Drop { id: task.id });
            }
            let Step::Failed(fault) = step else { return Ok(step) };
            if !matches!(self.phase, Phase::Attempting(_)) {
                return Ok(Step::Failed(fault));
            }
            let program = core.program.clone();
            let around = task.scope(&program, &Data::Null);
            let fault = fault.at(&around.step.reference);
            let locals = task.locals().with(&catch.variable, fault.to_data());
            let within = Around { locals: &locals, ..around };
            if !is_meant(core, &within, catch, &fault, task.input())? {
                return Ok(Step::Failed(fault));
            }
            if let Some(retry) = &catch.retry
                && let Some(at) = self.next_attempt(core, &within, retry, task)?
            {
                self.phase = Phase::Resting;
                if at > core.now {
                    core.actions.push(Action::Wake { id: task.id, timer: Timer::Retry, at });
                    return Ok(Step::Pending);
                }
                core.trace(within.step, within.locals, super::Traced::Retried, None);
                step = self.attempt(core, task, tasks, catch)?;
                continue;
            }
            self.caught = true;
            let Some(list) = &catch.tasks else {
                self.phase = Phase::Over;
                return Ok(Step::Done(task.input().clone(), super::sequence::Leave::Continue));
            };
            self.phase = Phase::Catching(Sequence::within(list.clone(), task.input().clone(), locals));
            step = self.go_on(core);
        }
    }

    /// When the next attempt is; none where there is no more.
    fn next_attempt(
        &self,
        core: &Core,
        around: &Around<'_>,
        retry: &Retry,
        task: &Activation,
    ) -> Result<Option<Timestamp>, Fault> {
        let input = task.input();
        let condition = |template: &Option<_>, otherwise| match template {
            Some(template) => core.holds(template, input, around),
            None => Ok(otherwise),
        };
        if !condition(&retry.when, true)? || condition(&retry.except_when, false)? {
            return Ok(None);
        }
        // Without any limit nothing ends an attempt that always fails: the count is that of the attempts after the first.
        if retry.attempts.is_some_and(|most| self.attempts > most) {
            return Ok(None);
        }
        let delay = self.delay(core, around, retry, task)?;
        let at = core.now.checked_add(delay).unwrap_or(Timestamp::MAX);
        if let Some(span) = &retry.lasts
            && at > ended(core.span(span, around)?, self.began)?
        {
            return Ok(None);
        }
        Ok(Some(at))
    }

    /// `delay`, `delay · n` or `delay · 2^(n−1)` before the nth repetition, at most [`LONGEST_DELAY`]; then the jitter, which follows
    /// from run, task and number, so that it is the same when the run is replayed.
    fn delay(
        &self,
        core: &Core,
        around: &Around<'_>,
        retry: &Retry,
        task: &Activation,
    ) -> Result<SignedDuration, Fault> {
        let exact = |span: &Span| -> Result<SignedDuration, Fault> {
            let span = core.span(span, around)?;
            Ok(ended(span, core.now)?.duration_since(core.now))
        };
        let base = retry.delay.as_ref().map(exact).transpose()?.unwrap_or(SignedDuration::ZERO);
        let factor = match retry.backoff {
            None | Some(Backoff::Constant) => 1,
            Some(Backoff::Linear) => i32::try_from(self.attempts).unwrap_or(i32::MAX),
            Some(Backoff::Exponential) => 1_i32 << (self.attempts - 1).min(30),
        };
        let delay = base.checked_mul(factor).unwrap_or(LONGEST_DELAY).min(LONGEST_DELAY.max(base));
        let Some((from, to)) = &retry.jitter else { return Ok(delay) };
        let (from, to) = (exact(from)?, exact(to)?);
        let wide = to.saturating_sub(from).max(SignedDuration::ZERO);
        let share = share(&format!(
            "{}{}{}#{}",
            core.id,
            around.step.reference,
            task.locals().iteration,
            self.attempts
        ));
        let random = Exact::try_from(wide).unwrap_or_default().mul_f64(share);
        Ok(delay.saturating_add(from).saturating_add(SignedDuration::try_from(random).unwrap_or_default()))
    }

    pub(super) fn abandon(&mut self, core: &mut Core, id: Id) {
        match &mut self.phase {
            Phase::Attempting(tasks) | Phase::Catching(tasks) => tasks.abandon(core),
            Phase::Resting => core.actions.push(Action::Drop { id }),
            Phase::Over => {}
        }
        if std::mem::take(&mut self.timed) {
            core.actions.push(Action::Drop { id });
        }
        self.phase = Phase::Over;
    }

    pub(super) fn find(&self, id: Id) -> Option<&Activation> {
        match &self.phase {
            Phase::Attempting(tasks) | Phase::Catching(tasks) => tasks.find(id),
            Phase::Resting | Phase::Over => None,
        }
    }
}

/// Whether a `catch` means an error.
fn is_meant(
    core: &Core,
    around: &Around<'_>,
    catch: &Catch,
    fault: &Fault,
    input: &Data,
) -> Result<bool, Fault> {
    if catch.errors.as_ref().is_some_and(|filter| !fault.is_meant_by(filter)) {
        return Ok(false);
    }
    let holds = |template: &Option<_>, otherwise| match template {
        Some(template) => core.holds(template, input, around),
        None => Ok(otherwise),
    };
    Ok(holds(&catch.when, true)? && !holds(&catch.except_when, false)?)
}

/// A number from 0 to below 1 that follows from a text and looks random (FNV-1a).
fn share(text: &str) -> f64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            // The low bits of FNV-1a are the better ones; they are spread over the word.
            self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(text.as_bytes());
    (hash.finish() >> 11) as f64 / (1_u64 << 53) as f64
}
