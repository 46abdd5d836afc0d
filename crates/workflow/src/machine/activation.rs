//! A task that has begun.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ErrorType;
use jiff::Timestamp;

use super::catching::Trying;
use super::core::{Around, Core, DEEPEST, Locals, Undo, ended, is_true};
use super::listening::Listening;
use super::sequence::{Leave, Sequence, Step};
use super::{Action, Effect, Event, Fault, Id, Timer, Traced};
use crate::jq::Data;
use crate::program::{Kind, List, Next, Program, StepId, Subscription};
use crate::template::{Template, json};

/// The most branches of a fork.
const MOST_BRANCHES: usize = 100_000;
/// The most steps that a run may have to undo.
const MOST_UNDONE: usize = 10_000;

/// What comes after a task.
#[derive(Debug)]
pub(super) enum After {
    Pending,
    /// It is done: its output and what comes next.
    Done(Data, Next),
    Failed(Fault),
}

#[derive(Debug)]
pub(super) struct Activation {
    step: StepId,
    pub(super) id: Id,
    locals: Locals,
    /// The input as it came.
    raw: Data,
    input: Data,
    started: Timestamp,
    timed: bool,
    /// Whether it has asked for a permit.
    permitted: bool,
    stage: Stage,
    state: State,
    /// Extensions that apply.
    around: Vec<usize>,
    /// How they see the task.
    extended: Data,
    /// What comes next, once it is done.
    next: Next,
}

/// Where a task is among what is put around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not begun: it waits for a permit.
    Gate,
    Before(usize),
    Own,
    After(usize),
}

#[derive(Debug)]
enum State {
    /// Nothing is going on.
    None,
    /// An effect is awaited.
    Effect,
    /// A time is awaited.
    Waiting,
    /// Tasks one after the other.
    Inner(Sequence),
    Loop(Loop),
    Fork(Vec<Branch>),
    Try(Box<Trying>),
    Listen(Box<Listening>),
}

#[derive(Debug)]
struct Loop {
    items: Arc<Vec<Data>>,
    index: usize,
    body: Sequence,
}

#[derive(Debug)]
enum Branch {
    Running(Sequence),
    Done(Data),
}

impl Activation {
    pub(super) fn new(core: &mut Core, step: StepId, raw: Data, locals: Locals) -> Self {
        Self {
            step,
            id: core.next_id(),
            locals,
            input: raw.clone(),
            raw,
            started: core.now,
            timed: false,
            permitted: false,
            stage: Stage::Own,
            state: State::None,
            around: Vec::new(),
            extended: Data::Null,
            next: Next::Continue,
        }
    }

    /// What its expressions see.
    pub(super) fn scope<'a>(&'a self, program: &'a Program, output: &'a Data) -> Around<'a> {
        Around {
            step: program.step(self.step),
            started: self.started,
            raw: &self.raw,
            input: &self.input,
            output,
            raw_output: output,
            locals: &self.locals,
        }
    }

    pub(super) const fn locals(&self) -> &Locals {
        &self.locals
    }

    pub(super) const fn input(&self) -> &Data {
        &self.input
    }

    /// Equal whenever this step is repeated, different from that of every other step.
    fn key(&self, core: &Core, program: &Program) -> String {
        format!("{}{}{}", core.id, program.step(self.step).reference, self.locals.iteration)
    }

    pub(super) fn begin(&mut self, core: &mut Core) -> After {
        let program = Arc::clone(&core.program);
        let step = program.step(self.step);
        if let Some(when) = &step.when {
            match core.holds(when, &self.raw, &self.scope(&program, &Data::Null)) {
                Ok(true) => {}
                Ok(false) => {
                    core.trace(step, &self.locals, Traced::Skipped, None);
                    return After::Done(std::mem::take(&mut self.raw), Next::Continue);
                }
                Err(fault) => return self.fail(core, fault),
            }
        }
        if self.asks(core, step) {
            return After::Pending;
        }
        self.started(core, &program)
    }

    /// Asks for a permit, where the task itself or what is around it needs one.
    fn asks(&mut self, core: &mut Core, step: &crate::program::Step) -> bool {
        let works = matches!(step.kind, Kind::Call { .. } | Kind::Run { .. });
        let (with, part_of) = match (self.locals.gate(), &step.permit) {
            (Some(key), _) if works => (Data::Null, Some(key.to_owned())),
            (None, Some(with)) => (with.clone(), None),
            _ => return false,
        };
        let program = Arc::clone(&core.program);
        let (key, reference) = (self.key(core, &program), step.reference.clone());
        core.actions.push(Action::Permit { id: self.id, key, reference, with, part_of });
        self.permitted = true;
        self.stage = Stage::Gate;
        true
    }

    /// What the permit says that it waits for.
    fn permit(&mut self, core: &mut Core, program: &Arc<Program>, event: &Event) -> After {
        match event {
            Event::Permitted { id, permit } if *id == self.id => match permit {
                Ok(permit) => {
                    if permit.again && self.locals.gate().is_none() {
                        self.locals = self.locals.clone().gated(&self.key(core, program));
                    }
                    self.started = core.now;
                    self.started(core, program)
                }
                Err(fault) => self.fail(core, fault.clone()),
            },
            _ => After::Pending,
        }
    }

    fn started(&mut self, core: &mut Core, program: &Arc<Program>) -> After {
        core.trace(program.step(self.step), &self.locals, Traced::Started, None);
        core.depth += 1;
        let after = self.enter(core, program);
        core.depth -= 1;
        after
    }

    fn enter(&mut self, core: &mut Core, program: &Arc<Program>) -> After {
        if core.depth > DEEPEST {
            let detail =
                format!("tasks stand in each other deeper than {DEEPEST}: a function that calls itself?");
            return self.fail(core, Fault::of(ErrorType::Runtime, "Too deep", detail));
        }
        let step = program.step(self.step);
        let made = core.transform(&step.input, "input", self.raw.clone(), &self.scope(program, &Data::Null));
        self.input = match made {
            Ok(input) => input,
            Err(fault) => return self.fail(core, fault),
        };
        if let Some(span) = &step.timeout {
            let around = self.scope(program, &Data::Null);
            let at = core.span(span, &around).and_then(|span| ended(span, core.now));
            match at {
                Ok(at) => core.actions.push(Action::Wake { id: self.id, timer: Timer::Timeout, at }),
                Err(fault) => return self.fail(core, fault),
            }
            self.timed = true;
        }
        self.extend(core, program);
        self.before(core, program, 0)
    }

    /// Sees which extensions apply. One whose condition fails does not, as it is with filters of events: tasks of one kind look
    /// different, and the examples of the specification ask for what not all of them have.
    fn extend(&mut self, core: &Core, program: &Program) {
        let step = program.step(self.step);
        if step.around.is_empty() {
            return;
        }
        let around = self.scope(program, &Data::Null);
        let extended = core.extended(&around);
        let task = |name: &str| (name == "task").then(|| extended.clone());
        let applies = |index: &&usize| {
            program.extensions[**index].when.as_ref().is_none_or(|when| {
                let held = core.evaluate_with(when, &self.input, &around, &task);
                held.is_ok_and(|held| is_true(&held))
            })
        };
        let applying = step.around.iter().filter(applies).copied().collect();
        (self.around, self.extended) = (applying, extended);
    }

    /// Tasks of an extension, for which `$task` is the task that is extended.
    fn extension(&self, list: List, input: Data) -> Sequence {
        Sequence::within(list, input, self.locals.with("task", self.extended.clone()))
    }

    /// What extensions put before it, then its own.
    fn before(&mut self, core: &mut Core, program: &Arc<Program>, from: usize) -> After {
        for number in from..self.around.len() {
            let list = program.extensions[self.around[number]].before.clone();
            self.stage = Stage::Before(number);
            let mut tasks = self.extension(list, self.input.clone());
            let step = tasks.run(core);
            self.state = State::Inner(tasks);
            if let Some(after) = self.take_before(core, step) {
                return after;
            }
        }
        self.stage = Stage::Own;
        let step = self.execute(core, program);
        self.take(core, program, step)
    }

    /// None when what comes before is done and the next comes.
    fn take_before(&mut self, core: &mut Core, step: Step) -> Option<After> {
        match step {
            Step::Pending => Some(After::Pending),
            Step::Failed(fault) => Some(self.fail(core, fault)),
            Step::Done(_, Leave::Continue) => None,
            // What is left before its end stands for the task itself.
            Step::Done(output, leave) => {
                let program = Arc::clone(&core.program);
                self.stage = Stage::Own;
                let leave = if leave == Leave::Exit { Leave::Continue } else { leave };
                Some(self.take(core, &program, Step::Done(output, leave)))
            }
        }
    }

    /// Begins what the task itself does.
    fn execute(&mut self, core: &mut Core, program: &Arc<Program>) -> Step {
        let step = program.step(self.step);
        match self.execute_kind(core, program, &step.kind) {
            Ok(step) => step,
            Err(fault) => Step::Failed(fault),
        }
    }

    fn execute_kind(&mut self, core: &mut Core, program: &Arc<Program>, kind: &Kind) -> Result<Step, Fault> {
        let done = |output| Ok(Step::Done(output, Leave::Continue));
        match kind {
            Kind::Set(template) => done(self.evaluate(core, program, template)?),
            Kind::Switch(_) => done(self.input.clone()),
            Kind::Raise(template) => {
                let value = json(&self.evaluate(core, program, template)?);
                let wrong = |why: String| Fault::of(ErrorType::Configuration, "No error", why);
                Err(Fault::raised(&value).unwrap_or_else(wrong))
            }
            Kind::Call { with, what } => {
                let with = self.evaluate(core, program, with)?;
                let effect = Effect::Call { what: *what, with, input: self.input.clone() };
                Ok(self.perform(core, program, effect))
            }
            Kind::Run { with, what, awaits } => {
                let with = self.evaluate(core, program, with)?;
                Ok(self.perform(core, program, Effect::Run { what: *what, with, awaits: *awaits }))
            }
            Kind::Emit(with) => {
                let event = self.evaluate(core, program, with)?;
                let event = super::listening::published(event, core.now, &self.key(core, program), program);
                Ok(self.perform(core, program, Effect::Emit(event)))
            }
            Kind::Wait(span) => {
                let around = self.scope(program, &Data::Null);
                let at = ended(core.span(span, &around)?, core.now)?;
                core.actions.push(Action::Wake { id: self.id, timer: Timer::Wait, at });
                self.state = State::Waiting;
                Ok(Step::Pending)
            }
            Kind::Do(list) => Ok(self.inner(core, list.clone(), self.input.clone(), self.locals.clone())),
            Kind::Function { with, task } => {
                let with = self.evaluate(core, program, with)?;
                let locals = self.locals.of_call(&program.step(self.step).reference);
                Ok(self.inner(core, task.clone(), with, locals))
            }
            Kind::Compensate { with, undo } => {
                let input = self.evaluate(core, program, with)?;
                if core.undo.len() >= MOST_UNDONE {
                    let detail = format!("more than {MOST_UNDONE} steps have to be undone");
                    return Err(Fault::of(ErrorType::Runtime, "Too many compensations", detail));
                }
                let locals = self.locals.of_call(&program.step(self.step).reference).ungated();
                core.undo.push(Undo { tasks: undo.clone(), input, locals });
                done(self.input.clone())
            }
            Kind::For { items, .. } => {
                let items = match self.evaluate(core, program, items)? {
                    Data::Arr(items) => items,
                    other => {
                        let detail = format!("`for.in` has to give a list, not {}", shown(&other));
                        return Err(Fault::of(ErrorType::Expression, "No list", detail));
                    }
                };
                self.iterate(core, program, items, 0, self.input.clone())
            }
            Kind::Fork { branches, .. } => self.fork(core, program, branches),
            Kind::Try { tasks, .. } => {
                let (trying, step) = Trying::begin(core, self, tasks)?;
                self.state = State::Try(Box::new(trying));
                self.take_try(core, program, step)
            }
            Kind::Listen(listen) => {
                let mut listening = Listening::begin(core, &self.scope(program, &Data::Null), listen)?;
                match &listen.subscription {
                    Some(subscription) => self.subscribe(core, program, subscription, &listening)?,
                    None => core.actions.push(Action::Listen { id: self.id }),
                }
                let step = listening.go_on(core, self, listen)?;
                self.state = State::Listen(Box::new(listening));
                Ok(step)
            }
        }
    }

    /// Asks for the messages of a subscription, unless its condition ends it before the first.
    fn subscribe(
        &self,
        core: &mut Core,
        program: &Program,
        subscription: &Subscription,
        listening: &Listening,
    ) -> Result<(), Fault> {
        if !listening.takes() {
            return Ok(());
        }
        let with = self.evaluate(core, program, &subscription.with)?;
        if let Some(span) = &subscription.lasts {
            let at = ended(core.span(span, &self.scope(program, &Data::Null))?, core.now)?;
            core.actions.push(Action::Wake { id: self.id, timer: Timer::Wait, at });
        }
        let (id, key, input) = (self.id, self.key(core, program), self.input.clone());
        core.actions.push(Action::Subscribe { id, key, with, input });
        Ok(())
    }

    fn evaluate(&self, core: &Core, program: &Program, template: &Template) -> Result<Data, Fault> {
        core.evaluate(template, &self.input, &self.scope(program, &Data::Null))
    }

    fn perform(&mut self, core: &mut Core, program: &Program, effect: Effect) -> Step {
        let key = self.key(core, program);
        let once = program.step(self.step).once;
        core.actions.push(Action::Perform { id: self.id, key, effect, once });
        self.state = State::Effect;
        Step::Pending
    }

    fn inner(&mut self, core: &mut Core, list: List, input: Data, locals: Locals) -> Step {
        let mut tasks = Sequence::within(list, input, locals);
        let step = tasks.run(core);
        self.state = State::Inner(tasks);
        step
    }

    /// Iterations from a number on.
    fn iterate(
        &mut self,
        core: &mut Core,
        program: &Program,
        items: Arc<Vec<Data>>,
        from: usize,
        mut input: Data,
    ) -> Result<Step, Fault> {
        let Kind::For { each, at, condition, tasks, .. } = &program.step(self.step).kind else {
            return Ok(Step::Pending);
        };
        for index in from..items.len() {
            let locals = self.locals.with(each, items[index].clone()).with(at, Data::from(index as isize));
            if let Some(condition) = condition {
                let around = Around { locals: &locals, ..self.scope(program, &Data::Null) };
                if !core.holds(condition, &input, &around)? {
                    break;
                }
            }
            let mut body = Sequence::within(tasks.clone(), input, locals.iterated(index));
            match body.run(core) {
                Step::Done(output, Leave::End) => return Ok(Step::Done(output, Leave::End)),
                Step::Done(output, _) => input = output,
                step => {
                    self.state = State::Loop(Loop { items, index, body });
                    return Ok(step);
                }
            }
        }
        Ok(Step::Done(input, Leave::Continue))
    }

    fn fork(&mut self, core: &mut Core, program: &Program, list: &List) -> Result<Step, Fault> {
        // Nobody can win it: as an empty list of tasks, it changes nothing.
        if list.is_empty() && matches!(program.step(self.step).kind, Kind::Fork { compete: true, .. }) {
            return Ok(Step::Done(self.input.clone(), Leave::Continue));
        }
        if list.len() > MOST_BRANCHES {
            let detail = format!("a fork has at most {MOST_BRANCHES} branches");
            return Err(Fault::of(ErrorType::Configuration, "Too many branches", detail));
        }
        let branch = |&id: &StepId| {
            Branch::Running(Sequence::within(Arc::from([id]), self.input.clone(), self.locals.clone()))
        };
        self.state = State::Fork(list.iter().map(branch).collect());
        Ok(self.each_branch(core, program, &mut |branch, core| branch.run(core)))
    }

    /// Lets every branch go on, and sees what that means for all of them.
    fn each_branch(
        &mut self,
        core: &mut Core,
        program: &Program,
        go_on: &mut dyn FnMut(&mut Sequence, &mut Core) -> Step,
    ) -> Step {
        let Kind::Fork { compete, .. } = program.step(self.step).kind else { return Step::Pending };
        let State::Fork(branches) = &mut self.state else { return Step::Pending };
        let mut running = false;
        for branch in &mut *branches {
            let Branch::Running(tasks) = branch else { continue };
            match go_on(tasks, core) {
                Step::Pending => running = true,
                Step::Done(output, Leave::End) => return Step::Done(output, Leave::End),
                Step::Done(output, _) if compete => return Step::Done(output, Leave::Continue),
                Step::Done(output, _) => *branch = Branch::Done(output),
                Step::Failed(fault) => return Step::Failed(fault),
            }
        }
        if running {
            return Step::Pending;
        }
        let outputs = branches.drain(..).map(|branch| match branch {
            Branch::Done(output) => output,
            Branch::Running(_) => Data::Null,
        });
        Step::Done(outputs.collect(), Leave::Continue)
    }

    /// What an attempt that went on means for its `try`.
    fn take_try(&mut self, core: &mut Core, program: &Program, step: Step) -> Result<Step, Fault> {
        let State::Try(mut trying) = std::mem::replace(&mut self.state, State::None) else { return Ok(step) };
        let Kind::Try { tasks, catch } = &program.step(self.step).kind else { return Ok(step) };
        let step = trying.take(core, self, (tasks, catch), step)?;
        self.state = State::Try(trying);
        Ok(step)
    }

    pub(super) fn wake(&mut self, core: &mut Core, event: &Event) -> After {
        let program = Arc::clone(&core.program);
        if let Event::Due { id, timer: Timer::Timeout } = event
            && *id == self.id
        {
            let fault = Fault::timeout(&format!("task `{}`", program.step(self.step).name));
            self.timed = false;
            return self.fail(core, fault);
        }
        if self.stage == Stage::Gate {
            return self.permit(core, &program, event);
        }
        core.depth += 1;
        let after = match self.stage {
            Stage::Own => {
                let step = self.wake_own(core, &program, event).unwrap_or_else(Step::Failed);
                self.take(core, &program, step)
            }
            stage => self.wake_around(core, &program, stage, event),
        };
        core.depth -= 1;
        after
    }

    fn wake_around(&mut self, core: &mut Core, program: &Arc<Program>, stage: Stage, event: &Event) -> After {
        let State::Inner(tasks) = &mut self.state else { return After::Pending };
        let step = tasks.wake(core, event);
        match stage {
            Stage::Before(number) => match self.take_before(core, step) {
                Some(after) => after,
                None => self.before(core, program, number + 1),
            },
            Stage::After(number) => match step {
                Step::Pending => After::Pending,
                Step::Failed(fault) => self.fail(core, fault),
                Step::Done(..) => self.after(core, program, number + 1),
            },
            Stage::Own | Stage::Gate => After::Pending,
        }
    }

    fn wake_own(&mut self, core: &mut Core, program: &Arc<Program>, event: &Event) -> Result<Step, Fault> {
        let mine = |id: &Id| *id == self.id;
        match (&mut self.state, event) {
            (State::Effect, Event::Done { id, outcome }) if mine(id) => {
                self.state = State::None;
                let output = outcome.clone()?;
                // What is not waited for has no output of its own.
                let awaits = !matches!(program.step(self.step).kind, Kind::Run { awaits: false, .. });
                Ok(Step::Done(if awaits { output } else { self.input.clone() }, Leave::Continue))
            }
            (State::Waiting, Event::Due { id, timer: Timer::Wait }) if mine(id) => {
                self.state = State::None;
                Ok(Step::Done(self.input.clone(), Leave::Continue))
            }
            (State::Inner(tasks), event) => Ok(tasks.wake(core, event)),
            (State::Loop(going), event) => {
                let step = going.body.wake(core, event);
                let (items, index) = (Arc::clone(&going.items), going.index);
                match step {
                    Step::Done(output, Leave::Continue | Leave::Exit) => {
                        self.state = State::None;
                        self.iterate(core, program, items, index + 1, output)
                    }
                    step => Ok(step),
                }
            }
            (State::Fork(_), event) => {
                Ok(self.each_branch(core, program, &mut |branch, core| branch.wake(core, event)))
            }
            (State::Try(trying), event) => {
                let step = match event {
                    Event::Due { id, timer: Timer::Retry } if *id == self.id => trying.again(),
                    Event::Due { id, timer: Timer::Attempt } if *id == self.id => trying.too_long(core),
                    event => Some(trying.wake(core, event)),
                };
                match step {
                    Some(step) => self.take_try(core, program, step),
                    None => self.try_again(core, program),
                }
            }
            (State::Listen(_), event) => self.wake_listening(core, program, event),
            _ => Ok(Step::Pending),
        }
    }

    fn try_again(&mut self, core: &mut Core, program: &Arc<Program>) -> Result<Step, Fault> {
        let State::Try(mut trying) = std::mem::replace(&mut self.state, State::None) else {
            return Ok(Step::Pending);
        };
        let Kind::Try { tasks, catch } = &program.step(self.step).kind else { return Ok(Step::Pending) };
        core.trace(program.step(self.step), &self.locals, Traced::Retried, None);
        let step = trying.attempt(core, self, tasks, catch)?;
        self.state = State::Try(trying);
        self.take_try(core, program, step)
    }

    fn wake_listening(
        &mut self,
        core: &mut Core,
        program: &Arc<Program>,
        event: &Event,
    ) -> Result<Step, Fault> {
        let State::Listen(mut listening) = std::mem::replace(&mut self.state, State::None) else {
            return Ok(Step::Pending);
        };
        let Kind::Listen(listen) = &program.step(self.step).kind else { return Ok(Step::Pending) };
        let step = match event {
            Event::Received { id, event } if *id == self.id => listening.receive(core, self, listen, event),
            Event::Due { id, timer: Timer::Wait } if *id == self.id => listening.close(core, self, listen),
            Event::Done { id, outcome } if *id == self.id => match outcome {
                Ok(_) => listening.close(core, self, listen),
                Err(fault) => Err(fault.clone()),
            },
            event => listening.wake(core, self, listen, event),
        };
        self.state = State::Listen(listening);
        step
    }

    /// What a step of its own means for the task.
    fn take(&mut self, core: &mut Core, program: &Arc<Program>, step: Step) -> After {
        match step {
            Step::Pending => After::Pending,
            Step::Failed(fault) => self.fail(core, fault),
            Step::Done(output, leave) => {
                // What still waits of it, such as branches that have lost, does so no more.
                self.stop(core);
                match self.finish(core, program, &output) {
                    Ok((transformed, next)) => {
                        if !self.around.is_empty() {
                            self.extended = core.extended(&self.scope(program, &output));
                        }
                        let output = transformed;
                        self.raw = output;
                        self.next = if leave == Leave::End { Next::End } else { next };
                        self.state = State::None;
                        self.after(core, program, 0)
                    }
                    Err(fault) => self.fail(core, fault),
                }
            }
        }
    }

    /// Output and context of a task that is done, and what comes next.
    fn finish(&mut self, core: &mut Core, program: &Program, raw: &Data) -> Result<(Data, Next), Fault> {
        let step = program.step(self.step);
        let next = self.directive(core, program)?;
        let output = core.transform(&step.output, "the output", raw.clone(), &self.scope(program, raw))?;
        if step.export.with.is_some() || step.export.schema.is_some() {
            let around = Around { output: &output, ..self.scope(program, raw) };
            core.context = core.transform(&step.export, "the context", output.clone(), &around)?;
        }
        Ok((output, next))
    }

    fn directive(&self, core: &Core, program: &Program) -> Result<Next, Fault> {
        let step = program.step(self.step);
        match (&step.kind, &self.state) {
            (Kind::Switch(cases), _) => {
                let around = self.scope(program, &Data::Null);
                let mut otherwise = None;
                for (when, then) in cases {
                    match when {
                        Some(when) if is_true(&core.evaluate(when, &self.input, &around)?) => {
                            return Ok(*then);
                        }
                        Some(_) => {}
                        None => otherwise = Some(*then),
                    }
                }
                Ok(otherwise.unwrap_or(step.then))
            }
            (Kind::Try { catch, .. }, State::Try(trying)) if trying.was_caught() => {
                Ok(catch.then.unwrap_or(step.then))
            }
            _ => Ok(step.then),
        }
    }

    /// What extensions put after it, from a number on, then what comes next.
    fn after(&mut self, core: &mut Core, program: &Arc<Program>, from: usize) -> After {
        for number in from..self.around.len() {
            let list = program.extensions[self.around[number]].after.clone();
            self.stage = Stage::After(number);
            let mut tasks = self.extension(list, self.raw.clone());
            let step = tasks.run(core);
            self.state = State::Inner(tasks);
            match step {
                Step::Pending => return After::Pending,
                Step::Failed(fault) => return self.fail(core, fault),
                Step::Done(..) => {}
            }
        }
        self.state = State::None;
        self.untime(core, true);
        let output = Some(Ok(self.raw.clone()));
        core.trace(program.step(self.step), &self.locals, Traced::Completed, output);
        After::Done(std::mem::take(&mut self.raw), self.next)
    }

    fn fail(&mut self, core: &mut Core, fault: Fault) -> After {
        let program = Arc::clone(&core.program);
        self.stop(core);
        self.untime(core, false);
        let step = program.step(self.step);
        let fault = fault.at(&step.reference);
        core.trace(step, &self.locals, Traced::Faulted, Some(Err(fault.clone())));
        After::Failed(fault)
    }

    /// Its time and its permit are over; `done`: it came to its end.
    fn untime(&mut self, core: &mut Core, done: bool) {
        if std::mem::take(&mut self.timed) {
            core.actions.push(Action::Drop { id: self.id });
        }
        if std::mem::take(&mut self.permitted) {
            core.actions.push(Action::Release { id: self.id, done });
        }
    }

    /// Ends what the task waits for.
    fn stop(&mut self, core: &mut Core) {
        match &mut self.state {
            State::None => return,
            State::Effect | State::Waiting => core.actions.push(Action::Drop { id: self.id }),
            State::Inner(tasks) => tasks.abandon(core),
            State::Loop(going) => going.body.abandon(core),
            State::Fork(branches) => {
                for branch in branches {
                    if let Branch::Running(tasks) = branch {
                        tasks.abandon(core);
                    }
                }
            }
            State::Try(trying) => {
                trying.abandon(core, self.id);
                // Whether it was caught is still asked for.
                return;
            }
            State::Listen(listening) => {
                listening.abandon(core);
                core.actions.push(Action::Drop { id: self.id });
            }
        }
        self.state = State::None;
    }

    pub(super) fn abandon(&mut self, core: &mut Core) {
        let program = Arc::clone(&core.program);
        self.stop(core);
        self.untime(core, false);
        core.trace(program.step(self.step), &self.locals, Traced::Cancelled, None);
    }

    pub(super) fn find(&self, id: Id) -> Option<&Self> {
        if self.id == id {
            return Some(self);
        }
        match &self.state {
            State::Inner(tasks) => tasks.find(id),
            State::Loop(going) => going.body.find(id),
            State::Try(trying) => trying.find(id),
            State::Listen(listening) => listening.find(id),
            State::Fork(branches) => branches.iter().find_map(|branch| match branch {
                Branch::Running(tasks) => tasks.find(id),
                Branch::Done(_) => None,
            }),
            State::None | State::Effect | State::Waiting => None,
        }
    }

    /// The types of the events that it listens to, where they are known.
    pub(super) fn hears(&self, program: &Program) -> Option<BTreeSet<String>> {
        match &program.step(self.step).kind {
            Kind::Listen(listen) => super::listening::types(&listen.to),
            _ => None,
        }
    }

    /// Whether it takes more messages.
    pub(super) fn takes(&self) -> bool {
        matches!(&self.state, State::Listen(listening) if listening.takes())
    }

    pub(super) fn wants(&self, core: &Core, event: &Data) -> bool {
        let step = core.program.step(self.step);
        match (&self.state, &step.kind) {
            (State::Listen(listening), Kind::Listen(listen)) => {
                listening.wants(core, &self.scope(&core.program, &Data::Null), listen, event)
            }
            _ => false,
        }
    }
}

/// A value as it is shown in an error: not all of a large one.
fn shown(value: &Data) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
