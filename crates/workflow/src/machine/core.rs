//! What all tasks of a run share, and how their expressions are evaluated.

use std::sync::Arc;

use crate::{Duration, ErrorType};
use jiff::Timestamp;
use serde_json::json;

use super::{Action, Begin, Fault, Id, Trace, Traced};
use crate::jq::{Data, Limits};
use crate::program::{Kind, List, Program, Span, Step, Transform};
use crate::template::{Scope, Template, data, json};

/// How many tasks begin before a run lets others go first.
const AT_ONCE: usize = 5_000;
/// How many tasks may stand in each other: what calls itself ends here.
pub(super) const DEEPEST: usize = 128;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) program: Arc<Program>,
    pub(super) context: Data,
    pub(super) actions: Vec<Action>,
    pub(super) now: Timestamp,
    pub(super) id: String,
    /// What is declared of the run as a whole, when it waits for a permit.
    pub(super) permit: Option<Data>,
    secrets: Data,
    workflow: Data,
    runtime: Data,
    input: Data,
    serial: Id,
    /// Tasks that may still begin in this call.
    left: usize,
    pub(super) depth: usize,
    /// How to undo what was done, the latest last.
    pub(super) undo: Vec<Undo>,
}

/// Tasks that undo something.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) tasks: List,
    pub(super) input: Data,
    pub(super) locals: Locals,
}

/// Variables of the tasks around, the innermost last; and which iteration of them it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Locals {
    variables: Option<Arc<Bound>>,
    /// For keys: the number of each loop around.
    pub(super) iteration: String,
    /// The key of what was permitted around, where calls and programs within it ask again.
    gate: Option<Arc<str>>,
}

#[derive(Debug)]
struct Bound {
    name: String,
    value: Data,
    outer: Option<Arc<Bound>>,
}

/// What is known of the task whose expressions are evaluated.
pub(super) struct Around<'a> {
    pub(super) step: &'a Step,
    pub(super) started: Timestamp,
    pub(super) raw: &'a Data,
    pub(super) input: &'a Data,
    /// `$output`.
    pub(super) output: &'a Data,
    /// `$task.output`: the output before it is transformed.
    pub(super) raw_output: &'a Data,
    pub(super) locals: &'a Locals,
}

impl Locals {
    pub(super) fn with(&self, name: &str, value: Data) -> Self {
        let bound = Bound { name: name.to_owned(), value, outer: self.variables.clone() };
        Self { variables: Some(Arc::new(bound)), ..self.clone() }
    }

    /// The same in one iteration of a loop.
    pub(super) fn iterated(mut self, number: usize) -> Self {
        use std::fmt::Write as _;
        let _ = write!(self.iteration, ".{number}");
        self
    }

    /// Those inside a function that a task calls: none of its own, and the task in the keys.
    pub(super) fn of_call(&self, reference: &str) -> Self {
        let iteration = format!("{}{reference}", self.iteration);
        Self { variables: None, iteration, gate: self.gate.clone() }
    }

    /// The same where calls and programs ask for a permit each, as parts of what has this key.
    pub(super) fn gated(self, key: &str) -> Self {
        Self { gate: Some(Arc::from(key)), ..self }
    }

    /// The same where nothing asks: what is undone does not wait.
    pub(super) fn ungated(self) -> Self {
        Self { gate: None, ..self }
    }

    pub(super) fn gate(&self) -> Option<&str> {
        self.gate.as_deref()
    }

    fn get(&self, name: &str) -> Option<Data> {
        let mut next = self.variables.as_ref();
        while let Some(bound) = next {
            if bound.name == name {
                return Some(bound.value.clone());
            }
            next = bound.outer.as_ref();
        }
        None
    }
}

fn moment(at: Timestamp) -> serde_json::Value {
    let milliseconds = at.as_millisecond();
    json!({"iso8601": at.to_string(), "epoch": {"seconds": at.as_second(), "milliseconds": milliseconds}})
}

impl Core {
    pub(super) fn new(program: Arc<Program>, begin: Begin) -> Self {
        let input = begin.input;
        let document = program.document.clone();
        let mut workflow = jaq_json::Map::default();
        let mut set = |name: &str, value: Data| drop(workflow.insert(Data::from(name.to_owned()), value));
        set("id", Data::from(begin.id.clone()));
        set("definition", document);
        set("input", input.clone());
        set("startedAt", data(&moment(begin.at)));
        Self {
            workflow: Data::obj(workflow),
            runtime: data(&json!({"name": "sos", "version": env!("CARGO_PKG_VERSION"), "metadata": {}})),
            program,
            context: Data::Null,
            actions: Vec::new(),
            now: begin.at,
            id: begin.id,
            permit: begin.permit,
            secrets: begin.secrets,
            input,
            serial: super::WHOLE,
            left: AT_ONCE,
            depth: 0,
            undo: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, at: Timestamp) {
        self.now = at;
        self.left = AT_ONCE;
    }

    pub(super) fn next_id(&mut self) -> Id {
        self.serial += 1;
        self.serial
    }

    /// Whether another task may begin now.
    pub(super) fn may_begin(&mut self) -> bool {
        if self.left == 0 {
            if !self.actions.contains(&Action::Pause) {
                self.actions.push(Action::Pause);
            }
            return false;
        }
        self.left -= 1;
        true
    }

    pub(super) fn trace(
        &mut self,
        step: &Step,
        locals: &Locals,
        what: Traced,
        outcome: Option<Result<Data, Fault>>,
    ) {
        self.actions.push(Action::Trace(Trace {
            task: step.name.clone(),
            reference: step.reference.clone(),
            iteration: locals.iteration.clone(),
            listens: matches!(step.kind, Kind::Listen(_)),
            what,
            outcome,
        }));
    }

    /// The value of a template of a task.
    pub(super) fn evaluate(
        &self,
        template: &Template,
        of: &Data,
        around: &Around<'_>,
    ) -> Result<Data, Fault> {
        self.evaluate_with(template, of, around, &|_| None)
    }

    pub(super) fn evaluate_with(
        &self,
        template: &Template,
        of: &Data,
        around: &Around<'_>,
        more: &dyn Fn(&str) -> Option<Data>,
    ) -> Result<Data, Fault> {
        let variable = |name: &str| match more(name).or_else(|| around.locals.get(name)) {
            Some(value) => value,
            None => match name {
                "context" => self.context.clone(),
                "input" => around.input.clone(),
                "output" => around.output.clone(),
                "task" => self.task(around),
                "authorization" => self.authorization(around),
                name => self.of_run(name),
            },
        };
        let scope = Scope { input: of, variable: &variable, now: self.now, limits: Limits::default() };
        template.evaluate(&scope).map_err(|why| Fault::expression(&why).at(&around.step.reference))
    }

    /// Whether a condition holds: it does unless it is false or null.
    pub(super) fn holds(&self, template: &Template, of: &Data, around: &Around<'_>) -> Result<bool, Fault> {
        Ok(is_true(&self.evaluate(template, of, around)?))
    }

    fn task(&self, around: &Around<'_>) -> Data {
        let mut task = jaq_json::Map::default();
        let mut set = |name: &str, value: Data| drop(task.insert(Data::from(name.to_owned()), value));
        set("name", Data::from(around.step.name.clone()));
        set("reference", Data::from(around.step.reference.clone()));
        set("definition", around.step.definition.clone());
        set("input", around.raw.clone());
        set("output", around.raw_output.clone());
        set("startedAt", data(&moment(around.started)));
        Data::obj(task)
    }

    /// The task as its extensions see it: what its definition says is there as well (`$task.with`), as examples of the specification
    /// read it.
    pub(super) fn extended(&self, around: &Around<'_>) -> Data {
        let task = self.task(around);
        let (Data::Obj(known), Data::Obj(definition)) = (&task, &around.step.definition) else { return task };
        let mut all = (**known).clone();
        for (name, value) in definition.iter() {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Data::obj(all)
    }

    /// Who a call says that it comes from. What the policy cannot give, the call cannot either, which then says why.
    fn authorization(&self, around: &Around<'_>) -> Data {
        let Some(policy) = &around.step.authentication else { return Data::Null };
        // It cannot be seen by what it is made of.
        let itself = |name: &str| (name == "authorization").then_some(Data::Null);
        let policy = self.evaluate_with(policy, around.input, around, &itself);
        policy.map_or(Data::Null, |policy| data(&super::authorization::of(&json(&policy))))
    }

    fn of_run(&self, name: &str) -> Data {
        match name {
            "context" => self.context.clone(),
            "secrets" => self.secrets.clone(),
            "workflow" => self.workflow.clone(),
            "runtime" => self.runtime.clone(),
            _ => Data::Null,
        }
    }

    /// Checks and transforms data of a task.
    pub(super) fn transform(
        &self,
        transform: &Transform,
        what: &str,
        of: Data,
        around: &Around<'_>,
    ) -> Result<Data, Fault> {
        let at = |fault: Fault| fault.at(&around.step.reference);
        match what {
            // An input is checked as it comes, all else as it goes.
            "input" => {
                self.checked(transform, "the input", &of).map_err(at)?;
                transform
                    .with
                    .as_ref()
                    .map_or_else(|| Ok(of.clone()), |with| self.evaluate(with, &of, around))
            }
            what => {
                let made = match &transform.with {
                    Some(with) => self.evaluate(with, &of, around)?,
                    None => of,
                };
                self.checked(transform, what, &made).map_err(at)?;
                Ok(made)
            }
        }
    }

    fn checked(&self, transform: &Transform, what: &str, of: &Data) -> Result<(), Fault> {
        let Some(schema) = &transform.schema else { return Ok(()) };
        schema.check(of).map_err(|why| Fault::validation(what, &why))
    }

    pub(super) fn workflow_input(&self) -> Result<Data, Fault> {
        let program = &self.program;
        self.checked(&program.input, "the input", &self.input).map_err(|fault| fault.at("/input"))?;
        self.of_whole(&program.input, &self.input, "/input")
    }

    pub(super) fn workflow_output(&self, output: &Data) -> Result<Data, Fault> {
        let program = &self.program;
        let made = self.of_whole(&program.output, output, "/output")?;
        self.checked(&program.output, "the output", &made).map_err(|fault| fault.at("/output"))?;
        Ok(made)
    }

    fn of_whole(&self, transform: &Transform, of: &Data, at: &str) -> Result<Data, Fault> {
        let Some(with) = &transform.with else { return Ok(of.clone()) };
        let variable = |name: &str| self.of_run(name);
        let scope = Scope { input: of, variable: &variable, now: self.now, limits: Limits::default() };
        with.evaluate(&scope).map_err(|why| Fault::expression(&why).at(at))
    }

    /// When a duration that begins now has passed, in a workflow as a whole.
    pub(super) fn ending(&self, span: &Span, input: &Data) -> Result<Timestamp, Fault> {
        match span {
            Span::Fixed(duration) => ended(*duration, self.now),
            Span::Of(template) => {
                let variable = |name: &str| self.of_run(name);
                let scope = Scope { input, variable: &variable, now: self.now, limits: Limits::default() };
                let value =
                    template.evaluate(&scope).map_err(|why| Fault::expression(&why).at("/timeout"))?;
                ended(duration(&value)?, self.now)
            }
        }
    }

    /// A duration of a task.
    pub(super) fn span(&self, span: &Span, around: &Around<'_>) -> Result<Duration, Fault> {
        match span {
            Span::Fixed(duration) => Ok(*duration),
            Span::Of(template) => {
                let value = self.evaluate(template, around.input, around)?;
                duration(&value).map_err(|fault| fault.at(&around.step.reference))
            }
        }
    }
}

pub(super) fn is_true(value: &Data) -> bool {
    !matches!(value, Data::Null | Data::Bool(false))
}

fn duration(value: &Data) -> Result<Duration, Fault> {
    Duration::from_json(&json(value)).map_err(|why| Fault::of(ErrorType::Expression, "No duration", why))
}

/// When a duration that begins at a time has passed.
pub(super) fn ended(duration: Duration, from: Timestamp) -> Result<Timestamp, Fault> {
    let beyond = || Fault::of(ErrorType::Configuration, "Too long", "the duration ends after the year 9999");
    duration.ending(from).ok_or_else(beyond)
}
