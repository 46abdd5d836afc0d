//! A run of a workflow as a state machine: an event goes in, actions come out.
//!
//! # Guarantees
//! Pure: time, outcomes and events are arguments. The same events in the same order give the same actions, byte by byte; that is
//! what a run is restored by. What is waited for has a number, by which its outcome finds back; what has an effect has a key that is
//! the same whenever the step is repeated.

mod activation;
mod authorization;
mod catching;
mod core;
mod fault;
mod listening;
mod sequence;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::jq::Data;
use crate::program::{CallKind, Program, RunKind};

pub use self::fault::Fault;

use self::core::{Core, Locals};
use self::sequence::{Sequence, Step};

/// Number of something that is waited for, unique in its run.
pub type Id = u64;

/// What happens to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It begins.
    Started,
    /// An effect has an outcome.
    Done {
        /// Of which effect.
        id: Id,
        /// What came of it.
        outcome: Result<Data, Fault>,
    },
    /// A time has come.
    Due {
        /// Of which task.
        id: Id,
        /// Which of its times.
        timer: Timer,
    },
    /// An event came that a task listens to, as CloudEvent; or a message of its subscription.
    Received {
        /// Which task.
        id: Id,
        /// The event or message.
        event: Data,
    },
    /// What waits for a permit may begin, or never may.
    Permitted {
        /// Of which task; zero is the whole run.
        id: Id,
        /// The permit, or why there is none.
        permit: Result<Permit, Fault>,
    },
    /// It goes on after [`Action::Pause`].
    Continued,
    /// It shall stop.
    Cancelled,
    /// It shall rest: whatever happens is kept until it is resumed.
    Suspended,
    /// It shall go on.
    Resumed,
}

/// That something may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// Whether calls and programs within it ask again, each before it begins.
    pub again: bool,
    /// Why it may begin now; not looked into here.
    pub because: Data,
}

/// Times that a task may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The end of a wait, or of the time for which messages are consumed.
    Wait,
    /// The next attempt.
    Retry,
    /// The end of the time that it has.
    Timeout,
    /// The end of the time that one attempt has.
    Attempt,
}

/// What a run asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Do this, and tell its outcome.
    Perform {
        /// By which the outcome is told.
        id: Id,
        /// Equal for each repetition, different for everything else.
        key: String,
        /// What is to be done.
        effect: Effect,
        /// Whether it must not be begun again when its outcome was lost.
        once: bool,
    },
    /// Tell when this time has come.
    Wake {
        /// Of which task.
        id: Id,
        /// Which of its times.
        timer: Timer,
        /// When.
        at: Timestamp,
    },
    /// Tell when this may begin. What decides that is outside.
    Permit {
        /// By which the permit is told; zero is the whole run.
        id: Id,
        /// Equal for each repetition, different for everything else.
        key: String,
        /// Where the task is in the document; `/` is the whole run.
        reference: String,
        /// What is declared of it; not looked into here.
        with: Data,
        /// The key of what was permitted before and asks again, of which this is a part.
        part_of: Option<String>,
    },
    /// What was permitted is over.
    Release {
        /// By which it was permitted.
        id: Id,
        /// Whether it came to its end, rather than failing or being broken off.
        done: bool,
    },
    /// Tell of events that [`Run::wants`].
    Listen {
        /// Which task listens.
        id: Id,
    },
    /// Tell of messages that [`Run::wants`], of this subscription, for as long as [`Run::takes`] any; and of its end as an outcome.
    Subscribe {
        /// Which task subscribes.
        id: Id,
        /// Equal for each repetition, different for everything else.
        key: String,
        /// The arguments of the call, evaluated.
        with: Data,
        /// What its URI templates are filled from.
        input: Data,
    },
    /// Nothing of this number is waited for any more; what is being done for it shall be broken off.
    Drop {
        /// The number.
        id: Id,
    },
    /// It has done much at once; let others go first and tell [`Event::Continued`].
    Pause,
    /// Something for the trace.
    Trace(Trace),
    /// It is over.
    End(Ended),
}

/// An effect outside of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A call.
    Call {
        /// Of what.
        what: CallKind,
        /// Its arguments, evaluated.
        with: Data,
        /// What its URI templates are filled from.
        input: Data,
    },
    /// An event that is published, a CloudEvent.
    Emit(Data),
    /// A program or another workflow.
    Run {
        /// Of which kind.
        what: RunKind,
        /// Its arguments, evaluated.
        with: Data,
        /// Whether its end is waited for; if not, its beginning is its outcome.
        awaits: bool,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With this output.
    Completed(Data),
    /// With this error.
    Faulted(Fault),
    /// Before its end.
    Cancelled,
}

/// What happened to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The name of the task.
    pub task: String,
    /// Where it is in the document.
    pub reference: String,
    /// Which iteration of the loops and calls around it, as in keys; empty outside of them.
    pub iteration: String,
    /// Whether it listens to events.
    pub listens: bool,
    /// What happened.
    pub what: Traced,
    /// The output of one that is done, the error of one that failed.
    pub outcome: Option<Result<Data, Fault>>,
}

/// What happens to tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traced {
    /// It began.
    Started,
    /// It is done.
    Completed,
    /// It failed.
    Faulted,
    /// It was broken off.
    Cancelled,
    /// Its condition does not hold.
    Skipped,
    /// It is tried again.
    Retried,
}

impl Traced {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Faulted => "faulted",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Retried => "retried",
        }
    }
}

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Unique.
    pub id: String,
    /// The input as it came.
    pub input: Data,
    /// The values of the secrets that the document uses, an object.
    pub secrets: Data,
    /// When it begins.
    pub at: Timestamp,
    /// What is declared of it as a whole, when it waits for a permit.
    pub permit: Option<Data>,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    core: Core,
    root: Option<Sequence>,
    /// The input of a run that waits for its permit, and whether it has been asked for or given.
    waiting: Option<Data>,
    permitted: bool,
    /// While it is suspended, what happened meanwhile.
    held: Option<Vec<(Event, Timestamp)>>,
    /// What it will have ended with, once what it did is undone.
    ending: Option<Ended>,
    undone: bool,
    ended: Option<Ended>,
}

/// The number by which the time of the whole run is told.
const WHOLE: Id = 0;

impl Run {
    /// A run that has not begun.
    #[must_use]
    pub fn new(program: Arc<Program>, begin: Begin) -> Self {
        Self {
            core: Core::new(program, begin),
            root: None,
            waiting: None,
            permitted: false,
            held: None,
            ending: None,
            undone: false,
            ended: None,
        }
    }

    /// How it ended; none while it goes on.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Whether it has begun to undo what it did.
    #[must_use]
    pub fn has_undone(&self) -> bool {
        self.undone
    }

    /// Whether it is suspended.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.held.is_some()
    }

    /// Whether a task that listens takes an event, a CloudEvent; or one that subscribes a message.
    #[must_use]
    pub fn wants(&self, id: Id, event: &Data) -> bool {
        self.root.as_ref().is_some_and(|root| root.wants(&self.core, id, event))
    }

    /// Whether a task that subscribes takes more messages now.
    #[must_use]
    pub fn takes(&self, id: Id) -> bool {
        self.root.as_ref().and_then(|root| root.find(id)).is_some_and(activation::Activation::takes)
    }

    /// The types of the events that a task listens to; none when their types are not known beforehand.
    #[must_use]
    pub fn hears(&self, id: Id) -> Option<BTreeSet<String>> {
        self.root.as_ref()?.find(id)?.hears(&self.core.program)
    }

    /// Takes what happened at a time. What does not concern it any more changes nothing.
    pub fn apply(&mut self, event: Event, at: Timestamp) -> Vec<Action> {
        self.core.begin(at);
        if self.ended.is_none() {
            self.take(event, at);
        }
        std::mem::take(&mut self.core.actions)
    }

    fn take(&mut self, event: Event, at: Timestamp) {
        match (event, &mut self.held) {
            (Event::Cancelled, held) => {
                *held = None;
                let again = self.ending.is_some();
                self.stop(Ended::Cancelled, again);
            }
            (Event::Suspended, held) => drop(held.get_or_insert_default()),
            (Event::Resumed, held) => {
                for (event, at) in held.take().into_iter().flatten() {
                    self.core.now = at;
                    if self.ended.is_none() {
                        self.take(event, at);
                    }
                }
            }
            (event, Some(held)) => held.push((event, at)),
            (Event::Started, None) => {
                let begun = self.start();
                self.settle(begun);
            }
            (Event::Due { id: WHOLE, .. }, None) => {
                if self.ending.is_none() {
                    self.stop(Ended::Faulted(Fault::timeout("the workflow").at("/")), false);
                }
            }
            (Event::Permitted { id: WHOLE, permit }, None) => {
                let Some(input) = self.waiting.take() else { return };
                let step = match permit {
                    Ok(permit) => self.go(input, permit.again),
                    Err(fault) => Step::Failed(fault.at("/")),
                };
                self.settle(step);
            }
            (event, None) => {
                let Some(root) = &mut self.root else { return };
                let step = root.wake(&mut self.core, &event);
                self.settle(step);
            }
        }
    }

    fn start(&mut self) -> Step {
        let input = match self.core.workflow_input() {
            Ok(input) => input,
            Err(fault) => return Step::Failed(fault),
        };
        self.core.context = input.clone();
        let Some(with) = self.core.permit.clone() else { return self.go(input, false) };
        let (key, reference) = (self.core.id.clone(), "/".to_owned());
        self.core.actions.push(Action::Permit { id: WHOLE, key, reference, with, part_of: None });
        self.permitted = true;
        self.waiting = Some(input);
        Step::Pending
    }

    /// Begins its tasks; `again`: calls and programs of it wait for a permit each.
    fn go(&mut self, input: Data, again: bool) -> Step {
        let program = Arc::clone(&self.core.program);
        if let Some(span) = &program.timeout {
            match self.core.ending(span, &input) {
                Ok(at) => self.core.actions.push(Action::Wake { id: WHOLE, timer: Timer::Timeout, at }),
                Err(fault) => return Step::Failed(fault),
            }
        }
        let locals = Locals::default();
        let locals = if again { locals.gated(&self.core.id) } else { locals };
        let mut root = Sequence::within(program.main.clone(), input, locals);
        let step = root.run(&mut self.core);
        self.root = Some(root);
        step
    }

    fn settle(&mut self, step: Step) {
        match (step, &self.ending) {
            (Step::Pending, _) => {}
            // One that cannot be undone does not keep the others from it.
            (Step::Done(..) | Step::Failed(_), Some(_)) => self.undo(),
            (Step::Done(output, _), None) => {
                if std::mem::take(&mut self.permitted) {
                    self.core.actions.push(Action::Release { id: WHOLE, done: true });
                }
                self.abandon();
                let ended = match self.core.workflow_output(&output) {
                    Ok(output) => Ended::Completed(output),
                    Err(fault) => Ended::Faulted(fault),
                };
                self.end(ended);
            }
            (Step::Failed(fault), None) => self.stop(Ended::Faulted(fault), false),
        }
    }

    /// Breaks off what goes on and undoes what was done, the latest first, unless it is to end at once.
    fn stop(&mut self, ended: Ended, at_once: bool) {
        self.abandon();
        if at_once {
            self.core.undo.clear();
        }
        self.ending.get_or_insert(ended);
        self.undo();
    }

    fn undo(&mut self) {
        self.abandon();
        while let Some(undo) = self.core.undo.pop() {
            self.undone = true;
            let mut root = Sequence::within(undo.tasks, undo.input, undo.locals);
            let step = root.run(&mut self.core);
            if matches!(step, Step::Pending) {
                self.root = Some(root);
                return;
            }
        }
        if let Some(ended) = self.ending.take() {
            self.end(ended);
        }
    }

    fn abandon(&mut self) {
        self.waiting = None;
        if std::mem::take(&mut self.permitted) {
            self.core.actions.push(Action::Release { id: WHOLE, done: false });
        }
        if let Some(mut root) = self.root.take() {
            root.abandon(&mut self.core);
        }
    }

    fn end(&mut self, ended: Ended) {
        if self.core.program.timeout.is_some() {
            self.core.actions.push(Action::Drop { id: WHOLE });
        }
        self.ended = Some(ended.clone());
        self.core.actions.push(Action::End(ended));
    }
}
