//! Running a template, by the rules of Go's `text/template`, with its messages.

use std::sync::Arc;

use super::ast::{Branch, Command, Node, Operand, Pipe, Term};
use super::functions::{self, Function, Param};
use super::value::{Top, Value};
use super::{Context, MAX_OUTPUT, MAX_STEPS, Template, time};

/// The deepest calls of named parts.
const MAX_CALLS: usize = 50;
/// The deepest nesting of structures that run, calls among them: what a small stack bears.
const MAX_NESTING: usize = 200;

/// # Errors
/// What is wrong, as `template: NAME:LINE:COLUMN: executing …`.
pub(super) fn run(template: &Template, top: Top, context: &Context<'_>) -> Result<String, String> {
    let dot = Value::Top(Arc::new(top));
    let mut run = Run {
        template,
        part: Arc::clone(&template.name),
        context,
        out: String::new(),
        variables: vec![("$".into(), dot.clone())],
        steps: 0,
        calls: 0,
        nesting: 0,
    };
    run.part(&Arc::clone(&template.name), &dot)?;
    Ok(run.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'t> {
    template: &'t Template,
    /// The named part that runs.
    part: Arc<str>,
    context: &'t Context<'t>,
    out: String,
    variables: Vec<(Arc<str>, Value)>,
    steps: usize,
    calls: usize,
    nesting: usize,
}

/// Why it ended, or a value.
type Done<T> = Result<T, String>;

/// The value before a `|`, when there is one.
type Final = Option<Value>;

impl Run<'_> {
    /// An error at a node that is shown as `shown`.
    fn fail<T>(&self, pos: usize, shown: &dyn std::fmt::Display, message: &str) -> Done<T> {
        let before = &self.template.full_text()[..pos.min(self.template.full_text().len())];
        let line = 1 + before.matches('\n').count();
        let column = pos - before.rfind('\n').map_or(0, |at| at + 1);
        let (name, part) = (&self.template.name, &self.part);
        let part = super::printf::go_quote(part);
        Err(format!("template: {name}:{line}:{column}: executing {part} at <{shown}>: {message}"))
    }

    fn at<T>(&self, operand: &Operand, message: &str) -> Done<T> {
        self.fail(operand.pos, operand, message)
    }

    fn part(&mut self, name: &Arc<str>, dot: &Value) -> Done<Flow> {
        match self.template.parts.get(name) {
            Some(nodes) => self.list(&Arc::clone(nodes), dot),
            None => Ok(Flow::On),
        }
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Done<Flow> {
        if self.nesting >= MAX_NESTING {
            return Err(format!("template: {}: nested deeper than {MAX_NESTING} levels", self.template.name));
        }
        self.nesting += 1;
        let flow = self.nodes(nodes, dot);
        self.nesting -= 1;
        flow
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Done<Flow> {
        for node in nodes {
            self.steps += 1;
            if self.steps > MAX_STEPS || self.out.len() > MAX_OUTPUT {
                return Err(format!(
                    "template: {}: more than {MAX_STEPS} steps or {MAX_OUTPUT} bytes of text; make it smaller",
                    self.template.name
                ));
            }
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Done<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    match value {
                        Value::Text(text) => self.out.push_str(&text),
                        value => self.out.push_str(&value.printed()),
                    }
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let known = self.variables.len();
                let flow = self.choose(branch, dot, matches!(node, Node::With(_)))?;
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Range(branch) => {
                let known = self.variables.len();
                let flow = self.range(branch, dot)?;
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Template { pos, name, pipe } => self.call_part(*pos, node, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, with: bool) -> Done<Flow> {
        let value = self.pipeline(dot, &branch.pipe)?;
        match value.is_true() {
            true if with => self.list(&branch.list, &value),
            true => self.list(&branch.list, dot),
            false => self.list(&branch.otherwise, dot),
        }
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Done<Flow> {
        let over = self.pipeline(dot, &branch.pipe)?;
        let items: Vec<(Value, Value)> = match &over {
            Value::Vector(points) => points
                .iter()
                .enumerate()
                .map(|(index, point)| (Value::Int(index as i64), Value::Point(Arc::clone(point))))
                .collect(),
            Value::Labels(labels) => {
                labels.iter().map(|(name, value)| (Value::text(name), Value::text(value))).collect()
            }
            Value::Args(args) => {
                args.iter().map(|(name, value)| (Value::text(name.as_str()), value.clone())).collect()
            }
            Value::Int(count) if (0..=MAX_STEPS as i64).contains(count) => {
                (0..*count).map(|index| (Value::Int(index), Value::Int(index))).collect()
            }
            Value::Missing => Vec::new(),
            other => {
                let message = format!("range can't iterate over {}", other.shown());
                let last = branch.pipe.commands.last().and_then(|command| command.args.first());
                return match last {
                    Some(operand) => self.at(operand, &message),
                    None => Err(message),
                };
            }
        };
        if items.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        let known = self.variables.len();
        for (index, item) in items {
            match branch.pipe.variables.len() {
                0 => {}
                1 => self.variables[known - 1].1 = item.clone(),
                _ => {
                    self.variables[known - 1].1 = item.clone();
                    self.variables[known - 2].1 = index;
                }
            }
            let flow = self.list(&branch.list, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn call_part(
        &mut self,
        pos: usize,
        node: &Node,
        name: &Arc<str>,
        pipe: Option<&Pipe>,
        dot: &Value,
    ) -> Done<()> {
        if !self.template.parts.contains_key(name) {
            let message = format!("template {} not defined", super::printf::go_quote(name));
            return self.fail(pos, node, &message);
        }
        if self.calls >= MAX_CALLS {
            return self.fail(pos, node, &format!("exceeded maximum template depth ({MAX_CALLS})"));
        }
        let dot = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Missing,
        };
        let outer_part = std::mem::replace(&mut self.part, Arc::clone(name));
        let outer = std::mem::replace(&mut self.variables, vec![("$".into(), dot.clone())]);
        self.calls += 1;
        self.part(name, &dot)?;
        self.calls -= 1;
        self.variables = outer;
        self.part = outer_part;
        Ok(())
    }

    fn pipeline(&mut self, dot: &Value, pipe: &Pipe) -> Done<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for variable in &pipe.variables {
            if !pipe.assign {
                self.variables.push((Arc::clone(variable), value.clone()));
            } else if let Some(known) = self.variables.iter_mut().rev().find(|(name, _)| name == variable) {
                known.1 = value.clone();
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &Command, last: Final) -> Done<Value> {
        let Some(first) = command.args.first() else { return Ok(Value::Missing) };
        let args = &command.args[1..];
        match &first.term {
            Term::Field(names) => self.fields(dot, dot.clone(), first, names, args, last),
            Term::Chain(inner, names) => {
                let value = self.inner(dot, inner)?;
                self.fields(dot, value, first, names, args, last)
            }
            Term::Function(name) => self.function(dot, first, name, Some(command), args, last),
            Term::Variable(name, names) => {
                let value = self.variable(name);
                if names.is_empty() {
                    self.no_function(first, args, last.is_some())?;
                    return Ok(value);
                }
                self.fields(dot, value, first, names, args, last)
            }
            Term::Pipe(pipe) => {
                self.no_function(first, args, last.is_some())?;
                self.pipeline(dot, pipe)
            }
            Term::Nil => {
                self.no_function(first, args, last.is_some())?;
                self.at(first, "nil is not a command")
            }
            Term::Dot | Term::Bool(_) | Term::Number(_) | Term::Text(..) => {
                self.no_function(first, args, last.is_some())?;
                self.constant(dot, first)
            }
        }
    }

    fn no_function(&self, first: &Operand, args: &[Operand], piped: bool) -> Done<()> {
        if args.is_empty() && !piped {
            return Ok(());
        }
        self.at(first, &format!("can't give argument to non-function {first}"))
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(known, _)| &**known == name);
        found.map_or(Value::Missing, |(_, value)| value.clone())
    }

    /// The operand before the fields of a chain.
    fn inner(&mut self, dot: &Value, operand: &Operand) -> Done<Value> {
        match &operand.term {
            Term::Pipe(pipe) => self.pipeline(dot, pipe),
            Term::Function(name) => self.function(dot, operand, name, None, &[], None),
            _ => self.any(dot, operand),
        }
    }

    /// What is no function: `.`, a constant.
    fn constant(&self, dot: &Value, operand: &Operand) -> Done<Value> {
        Ok(match &operand.term {
            Term::Dot => dot.clone(),
            Term::Bool(value) => Value::Bool(*value),
            Term::Text(_, value) => Value::Text(Arc::clone(value)),
            Term::Number(number) if number.is_float => Value::Float(number.float),
            Term::Number(number) => match number.int {
                Some(int) => Value::Int(int),
                None => return self.at(operand, &format!("{} overflows int", number.text)),
            },
            _ => Value::Missing,
        })
    }

    /// An operand where any value is taken.
    fn any(&mut self, dot: &Value, operand: &Operand) -> Done<Value> {
        match &operand.term {
            Term::Field(names) => self.fields(dot, dot.clone(), operand, names, &[], None),
            Term::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(dot, value, operand, names, &[], None)
            }
            Term::Chain(inner, names) => {
                let value = self.inner(dot, inner)?;
                self.fields(dot, value, operand, names, &[], None)
            }
            Term::Function(name) => self.function(dot, operand, name, None, &[], None),
            Term::Pipe(pipe) => self.pipeline(dot, pipe),
            Term::Nil => Ok(Value::Missing),
            Term::Dot | Term::Bool(_) | Term::Number(_) | Term::Text(..) => self.constant(dot, operand),
        }
    }

    /// `.a.b` of a value; arguments belong to the last name.
    fn fields(
        &mut self,
        dot: &Value,
        mut value: Value,
        node: &Operand,
        names: &[Arc<str>],
        args: &[Operand],
        last: Final,
    ) -> Done<Value> {
        let Some((method, before)) = names.split_last() else { return Ok(value) };
        for name in before {
            value = self.field(value, node, name, &[], false)?;
        }
        let mut given = Vec::new();
        if !(args.is_empty() && last.is_none()) && matches!(value, Value::Time(_) | Value::Duration(_)) {
            for arg in args {
                given.push(self.any(dot, arg)?);
            }
            given.extend(last);
            return self.field(value, node, method, &given, false);
        }
        let has_args = !args.is_empty() || last.is_some();
        self.field(value, node, method, &[], has_args)
    }

    fn field(&self, of: Value, node: &Operand, name: &str, args: &[Value], has_args: bool) -> Done<Value> {
        let no_method = |run: &Self| run.at(node, &format!("{name} is not a method but has arguments"));
        let no_function =
            |run: &Self| run.at(node, &format!("{name} has arguments but cannot be invoked as function"));
        match (&of, name) {
            (Value::Missing, _) => Ok(Value::Missing),
            (Value::Labels(_) | Value::Args(_), _) if has_args => no_method(self),
            (Value::Labels(labels), _) => Ok(Value::text(labels.get(name))),
            (Value::Args(args), _) => Ok(args.get(name).cloned().unwrap_or(Value::Missing)),
            (Value::Top(_), "Labels" | "ExternalLabels" | "ExternalURL" | "Value") if has_args => {
                no_function(self)
            }
            (Value::Top(top), "Labels") => Ok(Value::Labels(top.labels.clone())),
            (Value::Top(top), "ExternalLabels") => Ok(Value::Labels(top.external_labels.clone())),
            (Value::Top(top), "ExternalURL") => Ok(Value::Text(Arc::clone(&top.external_url))),
            (Value::Top(top), "Value") => Ok(Value::Float(top.value)),
            (Value::Point(_), "Labels" | "Value") if has_args => no_function(self),
            (Value::Point(point), "Labels") => Ok(Value::Labels(point.labels.clone())),
            (Value::Point(point), "Value") => Ok(Value::Float(point.value)),
            (Value::Time(ns), _) => match time_method(*ns, name, args) {
                Some(value) => Ok(value),
                None => self.at(node, &format!("can't evaluate field {name} in type *time.Time")),
            },
            (Value::Duration(ns), _) => match duration_method(*ns, name) {
                Some(value) => Ok(value),
                None => self.at(node, &format!("can't evaluate field {name} in type *time.Duration")),
            },
            _ => self.at(node, &format!("can't evaluate field {name} in type {}", of.type_name())),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        node: &Operand,
        name: &str,
        command: Option<&Command>,
        args: &[Operand],
        last: Final,
    ) -> Done<Value> {
        let Some(function) = functions::find(name) else {
            return self.at(node, &format!("{name} is not a defined function"));
        };
        self.check_count(node, function, args.len() + usize::from(last.is_some()))?;
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, name == "or", args, last);
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for (index, arg) in args.iter().enumerate() {
            values.push(self.argument(dot, function.param(index), arg)?);
        }
        if let Some(value) = last {
            let (param, place) = (function.param(values.len()), args.last().unwrap_or(node));
            values.push(self.fitting(value, param, place)?);
        }
        (function.run)(self.context, &values).or_else(|message| {
            let message = format!("error calling {name}: {message}");
            match command {
                Some(command) => self.fail(node.pos, command, &message),
                None => self.at(node, &message),
            }
        })
    }

    fn check_count(&self, node: &Operand, function: &Function, count: usize) -> Done<()> {
        let (name, least) = (function.name, function.params.len());
        if function.rest.is_some() && count < least {
            return self
                .at(node, &format!("wrong number of args for {name}: want at least {least} got {count}"));
        }
        if function.rest.is_none() && count != least {
            return self.at(node, &format!("wrong number of args for {name}: want {least} got {count}"));
        }
        Ok(())
    }

    /// `and`, `or`: the first argument that decides, or the last one.
    fn short_circuit(&mut self, dot: &Value, decides: bool, args: &[Operand], last: Final) -> Done<Value> {
        let mut value = Value::Missing;
        for arg in args {
            value = self.any(dot, arg)?;
            if value.is_true() == decides {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// An argument of a function that takes `param`.
    fn argument(&mut self, dot: &Value, param: Param, operand: &Operand) -> Done<Value> {
        let constant = matches!(operand.term, Term::Bool(_) | Term::Number(_) | Term::Text(..));
        match (param, &operand.term) {
            (Param::Text, Term::Text(_, value)) => Ok(Value::Text(Arc::clone(value))),
            (Param::Text, _) if constant => self.at(operand, &format!("expected string; found {operand}")),
            (Param::Text, Term::Nil) => self.at(operand, "cannot assign nil to string"),
            (Param::Point | Param::Vector, _) if constant => {
                let message = format!("can't handle {operand} for arg of type {}", param.type_name());
                self.at(operand, &message)
            }
            _ => {
                let value = self.any(dot, operand)?;
                self.fitting(value, param, operand)
            }
        }
    }

    /// The value when it is what a function takes.
    fn fitting(&self, value: Value, param: Param, place: &Operand) -> Done<Value> {
        let fits = matches!(
            (param, &value),
            (Param::Any, _)
                | (Param::Text, Value::Text(_))
                | (Param::Point, Value::Point(_) | Value::Missing)
                | (Param::Vector, Value::Vector(_) | Value::Missing)
        );
        match value {
            value if fits => Ok(value),
            Value::Missing => self.at(place, &format!("invalid value; expected {}", param.type_name())),
            value => {
                let (want, got) = (param.type_name(), value.type_name());
                self.at(place, &format!("wrong type for value; expected {want}; got {got}"))
            }
        }
    }
}

fn time_method(ns: i128, name: &str, args: &[Value]) -> Option<Value> {
    if let ("Format", [Value::Text(layout)]) = (name, args) {
        return Some(Value::text(time::format(ns, layout)));
    }
    if !args.is_empty() {
        return None;
    }
    match name {
        "String" => Some(Value::text(time::text(ns))),
        "UTC" | "Local" => Some(Value::Time(ns)),
        _ => time::number(ns, name).map(Value::Int).or_else(|| time::word(ns, name).map(Value::text)),
    }
}

fn duration_method(ns: i64, name: &str) -> Option<Value> {
    let float = |unit: f64| Some(Value::Float(ns as f64 / unit));
    match name {
        "Seconds" => float(1e9),
        "Minutes" => float(6e10),
        "Hours" => float(3.6e12),
        "Milliseconds" => Some(Value::Int(ns / 1_000_000)),
        "Microseconds" => Some(Value::Int(ns / 1_000)),
        "Nanoseconds" => Some(Value::Int(ns)),
        "String" => Some(Value::text(time::duration(ns))),
        _ => None,
    }
}
