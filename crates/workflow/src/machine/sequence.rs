//! Tasks one after the other.

use super::activation::{Activation, After};
use super::core::{Core, Locals};
use super::{Event, Fault, Id};
use crate::jq::Data;
use crate::program::{List, Next};

/// Where a part of a run is.
#[derive(Debug)]
pub(super) enum Step {
    /// It waits for something.
    Pending,
    /// It is done, with an output; and whether the workflow is.
    Done(Data, Leave),
    /// It failed.
    Failed(Fault),
}

/// What a list of tasks that is done means for what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It goes on.
    Continue,
    /// It goes on; the list was left before its end.
    Exit,
    /// The workflow is complete.
    End,
}

#[derive(Debug)]
pub(super) struct Sequence {
    list: List,
    place: usize,
    /// The output of the task before, or the input of the first.
    input: Data,
    locals: Locals,
    /// How often each task began, for those that begin again.
    begun: Vec<u32>,
    running: Option<Box<Activation>>,
}

impl Sequence {
    pub(super) fn within(list: List, input: Data, locals: Locals) -> Self {
        Self { begun: vec![0; list.len()], list, place: 0, input, locals, running: None }
    }

    /// Goes on as far as possible.
    pub(super) fn run(&mut self, core: &mut Core) -> Step {
        loop {
            if self.place >= self.list.len() {
                return Step::Done(std::mem::take(&mut self.input), Leave::Continue);
            }
            if !core.may_begin() {
                return Step::Pending;
            }
            let locals = match self.begun[self.place] {
                0 => self.locals.clone(),
                again => self.locals.clone().iterated(again as usize),
            };
            self.begun[self.place] += 1;
            let input = std::mem::take(&mut self.input);
            let mut next = Box::new(Activation::new(core, self.list[self.place], input, locals));
            let after = next.begin(core);
            if let Some(step) = self.take(after, next) {
                return step;
            }
        }
    }

    pub(super) fn wake(&mut self, core: &mut Core, event: &Event) -> Step {
        match self.running.take() {
            Some(mut running) => {
                let after = running.wake(core, event);
                self.take(after, running).unwrap_or_else(|| self.run(core))
            }
            None if *event == Event::Continued => self.run(core),
            None => Step::Pending,
        }
    }

    /// What comes after a task; none when the next one begins.
    fn take(&mut self, after: After, task: Box<Activation>) -> Option<Step> {
        match after {
            After::Pending => {
                self.running = Some(task);
                Some(Step::Pending)
            }
            After::Failed(fault) => Some(Step::Failed(fault)),
            After::Done(output, Next::End) => Some(Step::Done(output, Leave::End)),
            After::Done(output, Next::Exit) => Some(Step::Done(output, Leave::Exit)),
            After::Done(output, next) => {
                self.input = output;
                self.place = if let Next::Place(place) = next { place } else { self.place + 1 };
                None
            }
        }
    }

    pub(super) fn abandon(&mut self, core: &mut Core) {
        if let Some(mut running) = self.running.take() {
            running.abandon(core);
        }
    }

    /// The task of this number.
    pub(super) fn find(&self, id: Id) -> Option<&Activation> {
        self.running.as_ref()?.find(id)
    }

    pub(super) fn wants(&self, core: &Core, id: Id, event: &Data) -> bool {
        self.find(id).is_some_and(|task| task.wants(core, event))
    }
}
