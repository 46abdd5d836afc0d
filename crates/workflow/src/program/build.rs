//! From a definition to a program.

mod address;
mod asyncapi;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    AsyncApiAction, Call, Definition, Document, DurationValue, EvaluateMode, EventConsumption, EventFilter,
    Export, FlowDirective, Input, Output, Problem, ProblemKind, Process, Retry as Declared, RetryPolicy,
    Schema, SchemaSource, SubscriptionIterator, Task, TaskKind, Timeout,
};
use serde_json::{Map, Value, json};
use sos_model::shown;

pub use self::address::{AS_IT_IS, Missing};
pub use self::asyncapi::SPOKEN;

use super::{
    CallKind, Catch, Each, Extension, Filter, Kind, List, Listen, Match, Next, Pattern, Program, Retry,
    RunKind, Span, Step, StepId, Strategy, Transform, Until, Validator,
};
use crate::path::{self, dotted};
use crate::template::{Mode, Template, data, enclosed};

/// What lies elsewhere and is needed before a workflow can run, by its address: schemas and functions.
pub type Resources = BTreeMap<String, Value>;

/// Something in a definition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where, as a JSON pointer into the document.
    pub reference: String,
    /// Why.
    pub why: String,
    /// Whether it is an expression that cannot be read.
    pub is_expression: bool,
}

impl Refused {
    /// The same as a problem of the document, with its place.
    #[must_use]
    pub fn problem(&self, document: &Document) -> Problem {
        let (node, depth) = document.root().nearest(&self.reference);
        let parts = self.reference.split('/').skip(1).take(depth);
        let parts: Vec<String> = parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
        Problem {
            kind: ProblemKind::Meaning,
            position: node.position,
            path: dotted(&parts.iter().map(|part| step_to(part)).collect::<Vec<_>>()),
            message: self.why.clone(),
            help: String::new(),
        }
    }
}

/// A part of a pointer as a step: a number is taken for a place in a list.
fn step_to(part: &str) -> path::Step<'_> {
    part.parse().map_or(path::Step::Key(part), path::Step::Index)
}

/// Why a definition has no program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unbuilt {
    /// What cannot be used.
    pub refused: Vec<Refused>,
    /// What is needed and was not given: once it is, there may be more.
    pub missing: Vec<Missing>,
}

/// Arguments of expressions, by where they stand.
const AT_START: &[&str] = &["secrets", "workflow", "runtime"];
const BEFORE: &[&str] = &["context", "secrets", "task", "workflow", "runtime"];
const DURING: &[&str] = &["context", "input", "secrets", "task", "workflow", "runtime", "authorization"];
const AFTER: &[&str] =
    &["context", "input", "output", "secrets", "task", "workflow", "runtime", "authorization"];
const AT_END: &[&str] = &["context", "secrets", "workflow", "runtime"];

/// Functions of the default catalogue, with what they call.
const DEFAULT_CATALOGUE: &[(&str, CallKind)] =
    &[("soap", CallKind::Soap), ("service", CallKind::Service), ("human-task", CallKind::Human)];
/// The function of the default catalogue by which a step says how it is undone.
const COMPENSATE: &str = "compensate";
/// The key of `metadata` by which a task waits for a permit, where a map stands there; it is not looked into here. All else is
/// the user's own.
pub(crate) const PERMIT: &str = "flexible";
/// How deep functions may call functions.
const DEEPEST: usize = 32;

struct Build<'a> {
    definition: &'a Definition,
    resources: &'a Resources,
    mode: Mode,
    steps: Vec<Option<Step>>,
    unbuilt: Unbuilt,
    /// Variables of the tasks around the one at work.
    locals: Vec<String>,
    functions: BTreeMap<String, List>,
    depth: usize,
    /// The document that is being read, where it is not that of the workflow.
    foreign: Option<Value>,
    /// Whether extensions are being read, whose tasks are not extended themselves.
    inside_extension: bool,
}

fn is_compensation(name: &str) -> bool {
    let (base, catalogue) = name.rsplit_once('@').unwrap_or((name, ""));
    catalogue == "default" && base.split(':').next() == Some(COMPENSATE)
}

/// Whether documents of this version of the DSL get whole events as their input: `schedule.read`, and data as its default, came after 1.0.3, whose
/// examples read `$workflow.input[0].data`.
fn reads_whole_events(dsl: &str) -> bool {
    let core = dsl.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<u64> = core.split('.').map(|number| number.parse().unwrap_or(u64::MAX)).collect();
    numbers.as_slice() <= [1, 0, 3].as_slice()
}

/// What waits for the events that start a workflow: a definition with one task that listens to them; none when none do.
#[must_use]
pub fn trigger(definition: &Definition) -> Option<Definition> {
    let schedule = definition.part("/schedule")?;
    let mut listen = json!({ "to": schedule.get("on")? });
    let by_version = || reads_whole_events(&definition.document.dsl).then(|| json!("envelope"));
    if let Some(read) = schedule.get("read").cloned().or_else(by_version) {
        listen["read"] = read;
    }
    let document = json!({
        "document": definition.part("/document")?,
        "do": [{ "events": { "listen": listen } }],
    });
    Document::from_json(&document).and_then(|document| document.check()).ok()
}

impl Program {
    /// Builds the program of a definition.
    ///
    /// # Errors
    /// Every expression that cannot be read, every schema and function that cannot be used; and what is not there.
    pub fn build(definition: Definition, resources: &Resources) -> Result<Self, Unbuilt> {
        let mode = if definition.evaluate.mode == EvaluateMode::Loose { Mode::Loose } else { Mode::Strict };
        let mut build = Build {
            definition: &definition,
            resources,
            mode,
            steps: Vec::new(),
            unbuilt: Unbuilt::default(),
            locals: Vec::new(),
            functions: BTreeMap::new(),
            depth: 0,
            foreign: None,
            inside_extension: false,
        };
        if definition.evaluate.language != "jq" {
            let why = format!(
                "expressions in `{}` are not known; expected jq",
                shown(&definition.evaluate.language)
            );
            build.refuse("/evaluate/language", why);
        }
        let extensions = build.extensions();
        let main = build.list(&definition.tasks);
        let input = build.input(definition.input.as_ref(), "/input", AT_START);
        let output = build.output(definition.output.as_ref(), "/output", AT_END);
        let timeout = definition.timeout.as_ref().and_then(|timeout| build.timeout(timeout, "/timeout"));
        let Build { steps, unbuilt, .. } = build;
        if unbuilt != Unbuilt::default() {
            return Err(unbuilt);
        }
        let document = data(definition.json());
        let steps = steps.into_iter().flatten().collect();
        Ok(Self { document, steps, main, input, output, timeout, extensions, definition })
    }
}

impl Build<'_> {
    fn refuse(&mut self, reference: &str, why: impl Into<String>) {
        let (reference, why) = (reference.to_owned(), why.into());
        self.unbuilt.refused.push(Refused { reference, why, is_expression: false });
    }

    /// Reads a value with expressions.
    fn template(&mut self, value: &Value, reference: &str, arguments: &[&str]) -> Template {
        let read = Template::read(value, self.mode, &self.variables(arguments));
        self.read(read, reference)
    }

    /// Reads what is an expression whether it is enclosed or not.
    fn bare(&mut self, value: &Value, reference: &str, arguments: &[&str]) -> Template {
        let read = Template::read_bare(value, self.mode, &self.variables(arguments));
        self.read(read, reference)
    }

    fn condition(&mut self, text: Option<&String>, reference: &str, arguments: &[&str]) -> Option<Template> {
        text.map(|text| self.bare(&json!(text), reference, arguments))
    }

    fn variables<'s>(&'s self, arguments: &[&'s str]) -> Vec<&'s str> {
        self.locals.iter().map(String::as_str).chain(arguments.iter().copied()).collect()
    }

    fn read(&mut self, read: Result<Template, Vec<crate::template::Fault>>, reference: &str) -> Template {
        match read {
            Ok(template) => template,
            Err(faults) => {
                for fault in faults {
                    let (reference, why) = (format!("{reference}{}", fault.pointer), fault.why.to_string());
                    self.unbuilt.refused.push(Refused { reference, why, is_expression: true });
                }
                Template::Constant(crate::jq::Data::Null)
            }
        }
    }

    fn list(&mut self, tasks: &[Task]) -> List {
        let ids: Vec<StepId> = tasks
            .iter()
            .map(|_| {
                self.steps.push(None);
                self.steps.len() - 1
            })
            .collect();
        for (task, &id) in tasks.iter().zip(&ids) {
            let step = self.step(task, tasks);
            self.steps[id] = Some(step);
        }
        ids.into()
    }

    /// The same with more variables.
    fn list_with(&mut self, tasks: &[Task], variables: &[&str]) -> List {
        let before = self.locals.len();
        self.locals.extend(variables.iter().map(|name| (*name).to_owned()));
        let list = self.list(tasks);
        self.locals.truncate(before);
        list
    }

    fn step(&mut self, task: &Task, siblings: &[Task]) -> Step {
        let at = &task.reference;
        let definition = self.part(at);
        let next = |then: &FlowDirective| next(then, siblings);
        Step {
            name: task.name.clone(),
            reference: at.clone(),
            when: self.condition(task.r#if.as_ref(), &format!("{at}/if"), BEFORE),
            input: self.input(task.input.as_ref(), &format!("{at}/input"), BEFORE),
            output: self.output(task.output.as_ref(), &format!("{at}/output"), AFTER),
            export: self.export(task.export.as_ref(), &format!("{at}/export")),
            timeout: task
                .timeout
                .as_ref()
                .and_then(|timeout| self.timeout(timeout, &format!("{at}/timeout"))),
            then: task.then.as_ref().map_or(Next::Continue, next),
            authentication: self.authentication(task, &definition),
            kind: self.kind(task, siblings, &definition),
            once: task.metadata.get("once").and_then(Value::as_bool).unwrap_or(false),
            permit: task.permit().map(data),
            around: if self.inside_extension { Vec::new() } else { self.around(task) },
            definition: data(&definition),
        }
    }

    /// A part of the document that is being read.
    fn part(&self, at: &str) -> Value {
        let part = match &self.foreign {
            Some(document) => document.pointer(at),
            None => self.definition.part(at),
        };
        part.cloned().unwrap_or_default()
    }

    fn kind(&mut self, task: &Task, siblings: &[Task], definition: &Value) -> Kind {
        let at = &task.reference;
        let part = |name: &str| definition.get(name).cloned().unwrap_or_default();
        match &task.kind {
            TaskKind::Call(call) => self.call(call, at, definition),
            TaskKind::Do(tasks) => Kind::Do(self.list(tasks)),
            TaskKind::Emit(emit) => Kind::Emit(self.template(
                &Value::Object(emit.with.clone()),
                &format!("{at}/emit/event/with"),
                DURING,
            )),
            TaskKind::For(each) => {
                let names = [each.each.as_str(), each.at.as_str()];
                let items = match &each.r#in {
                    text @ Value::String(_) => self.bare(text, &format!("{at}/for/in"), DURING),
                    list => self.template(list, &format!("{at}/for/in"), DURING),
                };
                let before = self.locals.len();
                self.locals.extend(names.map(str::to_owned));
                let condition = self.condition(each.r#while.as_ref(), &format!("{at}/while"), DURING);
                self.locals.truncate(before);
                let tasks = self.list_with(&each.tasks, &names);
                Kind::For { each: each.each.clone(), at: each.at.clone(), items, condition, tasks }
            }
            TaskKind::Fork(fork) => Kind::Fork { branches: self.list(&fork.branches), compete: fork.compete },
            TaskKind::Listen(listen) => {
                let to = self.strategy(&listen.to, &format!("{at}/listen/to"));
                let each = listen.foreach.as_ref().map(|each| self.each(each, &format!("{at}/foreach")));
                Kind::Listen(Box::new(Listen { to, read: listen.read, each, subscription: None }))
            }
            TaskKind::Raise(raise) => {
                let declared = part("raise").get("error").cloned().unwrap_or_default();
                let (error, from) = match raise {
                    crate::Raise::Named(name) => {
                        let from = format!("/use/errors/{}", escaped(name));
                        (self.definition.part(&from).cloned().unwrap_or_default(), from)
                    }
                    crate::Raise::Error(_) => (declared, format!("{at}/raise/error")),
                };
                Kind::Raise(self.template(&error, &from, DURING))
            }
            TaskKind::Run(run) => {
                let (what, name) = match &run.process {
                    Process::Container(_) => (RunKind::Container, "container"),
                    Process::Script(_) => (RunKind::Script, "script"),
                    Process::Shell(_) => (RunKind::Shell, "shell"),
                    Process::Workflow(_) => (RunKind::Workflow, "workflow"),
                };
                let mut with = part("run");
                if let Value::Object(entries) = &mut with {
                    let own = entries.remove(name).unwrap_or_default();
                    let mut merged = Map::new();
                    merged.insert("with".to_owned(), own);
                    merged.insert(
                        "return".to_owned(),
                        entries.remove("return").unwrap_or_else(|| json!("stdout")),
                    );
                    with = Value::Object(merged);
                }
                let with = self.template(&with, &format!("{at}/run"), DURING);
                Kind::Run { with, what, awaits: run.r#await }
            }
            TaskKind::Set(value) => Kind::Set(self.template(value, &format!("{at}/set"), DURING)),
            TaskKind::Switch(switch) => {
                let cases = switch.cases.iter().enumerate().map(|(i, case)| {
                    let from = format!("{at}/switch/{i}/{}/when", escaped(&case.name));
                    (self.condition(case.when.as_ref(), &from, DURING), next(&case.then, siblings))
                });
                Kind::Switch(cases.collect())
            }
            TaskKind::Try(attempt) => {
                let tasks = self.list(&attempt.tasks);
                Kind::Try {
                    tasks,
                    catch: Box::new(self.catch(&attempt.catch, &format!("{at}/catch"), siblings)),
                }
            }
            TaskKind::Wait(span) => Kind::Wait(self.span(span, &format!("{at}/wait"))),
        }
    }

    fn call(&mut self, call: &Call, at: &str, definition: &Value) -> Kind {
        let from = format!("{at}/with");
        let mut with = definition.get("with").cloned().unwrap_or_else(|| json!({}));
        let what = match call {
            Call::Http(_) => CallKind::Http,
            Call::OpenApi(_) => CallKind::OpenApi,
            Call::Grpc(_) => CallKind::Grpc,
            Call::A2a(_) => CallKind::A2a,
            Call::Mcp(_) => CallKind::Mcp,
            Call::AsyncApi(call) => {
                self.check_protocol(call, &from);
                if let AsyncApiAction::Subscription(subscription) = &call.action {
                    return self.subscription(subscription, with, &from);
                }
                CallKind::AsyncApi
            }
            Call::Function(function) if is_compensation(&function.function) => {
                return self.compensation(&function.with, at);
            }
            Call::Function(function) => {
                let with = self.template(&Value::Object(function.with.clone()), &from, DURING);
                return self.function(&function.function, with, at);
            }
        };
        Kind::Call { with: address::marked(self.arguments(&mut with, &from), what), what }
    }

    /// The arguments of a call, with the credentials that they name.
    fn arguments(&mut self, with: &mut Value, from: &str) -> Template {
        let policies = self.definition.part("/use/authentications").cloned().unwrap_or_default();
        name_authentication(with, &policies);
        self.template(with, from, DURING)
    }

    /// Who a call says that it comes from. What cannot be read in it is told of its arguments, of which it is a part.
    fn authentication(&self, task: &Task, definition: &Value) -> Option<Template> {
        let TaskKind::Call(call) = &task.kind else { return None };
        let place = match &**call {
            Call::Http(_) => "/with/endpoint",
            Call::OpenApi(_) | Call::AsyncApi(_) => "/with",
            Call::Grpc(_) => "/with/service",
            Call::A2a(_) | Call::Mcp(_) | Call::Function(_) => return None,
        };
        let authentication = definition.pointer(place)?.get("authentication")?;
        let mut with = json!({ "authentication": authentication });
        let policies = self.definition.part("/use/authentications").cloned().unwrap_or_default();
        name_authentication(&mut with, &policies);
        Template::read(with.get("authentication")?, self.mode, &self.variables(DURING)).ok()
    }

    /// What is done with each event or message.
    fn each(&mut self, declared: &SubscriptionIterator, from: &str) -> Each {
        let names = [declared.item.as_str(), declared.at.as_str()];
        let tasks = self.list_with(&declared.tasks, &names);
        let before = self.locals.len();
        self.locals.extend(names.map(str::to_owned));
        let output = self.output(declared.output.as_ref(), &format!("{from}/output"), AFTER);
        let export = self.export(declared.export.as_ref(), &format!("{from}/export"));
        self.locals.truncate(before);
        Each { item: declared.item.clone(), at: declared.at.clone(), tasks, output, export }
    }

    /// A function: of the document, of the default catalogue, or from elsewhere.
    fn function(&mut self, name: &str, with: Template, at: &str) -> Kind {
        if let Some(list) = self.functions.get(name) {
            return Kind::Function { with, task: list.clone() };
        }
        let own = self.definition.r#use.functions.get(name).cloned();
        if let Some(task) = own {
            return self.declared(name, (task, None), with, at);
        }
        let (base, catalogue) = name.rsplit_once('@').unwrap_or((name, ""));
        let plain = base.split(':').next().unwrap_or(base);
        if catalogue == "default"
            && let Some((_, what)) = DEFAULT_CATALOGUE.iter().find(|(known, _)| *known == plain)
        {
            return Kind::Call { with: address::marked(with, *what), what: *what };
        }
        if let Some(catalogue) = self.definition.r#use.catalogs.get(catalogue)
            && !self.is_known(&catalogue.endpoint, &format!("{at}/call"))
        {
            return Kind::Do(Arc::from([]));
        }
        let Some(address) = self.address_of(name) else {
            let known: Vec<&str> = self.definition.r#use.functions.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none is declared".to_owned() } else { known.join(", ") };
            self.refuse(
                &format!("{at}/call"),
                format!("unknown function `{}`; known: {}", shown(name), shown(&known)),
            );
            return Kind::Do(Arc::from([]));
        };
        match self.resources.get(&address).map(|document| function(plain, document)) {
            Some(Ok((task, document))) => self.declared(name, (task, Some(document)), with, at),
            Some(Err(why)) => {
                self.refuse(
                    &format!("{at}/call"),
                    format!("the function at {address} cannot be used: {why}"),
                );
                Kind::Do(Arc::from([]))
            }
            None => {
                let from = format!("/use/catalogs/{}/endpoint", escaped(catalogue));
                let endpoint = self.definition.part(&from).cloned().unwrap_or_default();
                self.miss(address, &endpoint);
                Kind::Do(Arc::from([]))
            }
        }
    }

    /// What a step says about how it is undone: a function of the document, with its arguments as they are now.
    fn compensation(&mut self, with: &Map<String, Value>, at: &str) -> Kind {
        let arguments = with.get("with").cloned().unwrap_or_else(|| json!({}));
        let arguments = self.template(&arguments, &format!("{at}/with/with"), DURING);
        let nothing = Kind::Do(Arc::from([]));
        let Some(name) = with.get("function").and_then(Value::as_str) else {
            self.refuse(
                &format!("{at}/with"),
                "expected the name of a function that undoes it as `function`",
            );
            return nothing;
        };
        let none = Template::Constant(data(&json!({})));
        match self.function(name, none, at) {
            Kind::Function { task, .. } => Kind::Compensate { with: arguments, undo: task },
            _ => {
                let why = format!(
                    "`{}` is no function of use.functions; what undoes a step has to be one",
                    shown(name)
                );
                self.refuse(&format!("{at}/with/function"), why);
                nothing
            }
        }
    }

    /// Where a function is that the document does not declare: at its own address, or in a catalogue.
    fn address_of(&self, name: &str) -> Option<String> {
        if name.contains("://") {
            return Some(name.to_owned());
        }
        let (function, catalogue) = name.rsplit_once('@')?;
        let (function, version) = function.split_once(':')?;
        let root = raw_address(&self.definition.r#use.catalogs.get(catalogue)?.endpoint.uri);
        Some(format!("{}/functions/{function}/{version}/function.yaml", root.trim_end_matches('/')))
    }

    fn declared(
        &mut self,
        name: &str,
        (task, document): (Task, Option<Value>),
        with: Template,
        at: &str,
    ) -> Kind {
        if self.depth >= DEEPEST {
            self.refuse(&format!("{at}/call"), format!("functions call each other deeper than {DEEPEST}"));
            return Kind::Do(Arc::from([]));
        }
        self.depth += 1;
        let locals = std::mem::take(&mut self.locals);
        let foreign = document.or_else(|| self.foreign.clone());
        let around = std::mem::replace(&mut self.foreign, foreign);
        // A function that calls itself finds its own list.
        self.steps.push(None);
        let id = self.steps.len() - 1;
        let list: List = Arc::from([id]);
        self.functions.insert(name.to_owned(), list.clone());
        let step = self.step(&task, std::slice::from_ref(&task));
        self.steps[id] = Some(step);
        self.locals = locals;
        self.foreign = around;
        self.depth -= 1;
        Kind::Function { with, task: list }
    }

    fn catch(&mut self, declared: &crate::Catch, at: &str, siblings: &[Task]) -> Catch {
        let variable = declared.r#as.clone();
        let before = self.locals.len();
        self.locals.push(variable.clone());
        let catch = Catch {
            errors: declared.errors.clone(),
            when: self.condition(declared.when.as_ref(), &format!("{at}/when"), DURING),
            except_when: self.condition(declared.except_when.as_ref(), &format!("{at}/exceptWhen"), DURING),
            retry: declared.retry.as_ref().map(|retry| self.retry(retry, &format!("{at}/retry"))),
            tasks: declared.tasks.as_ref().map(|tasks| self.list(tasks)),
            then: declared.then.as_ref().map(|then| next(then, siblings)),
            variable,
        };
        self.locals.truncate(before);
        catch
    }

    fn retry(&mut self, declared: &Declared, at: &str) -> Retry {
        let (policy, from): (RetryPolicy, String) = match declared {
            Declared::Policy(policy) => ((**policy).clone(), at.to_owned()),
            Declared::Named(name) => {
                let policy = self.definition.r#use.retries.get(name).cloned().unwrap_or_default();
                (policy, format!("/use/retries/{}", escaped(name)))
            }
        };
        let span = |build: &mut Self, span: &Option<DurationValue>| {
            span.as_ref().map(|span| build.span(span, &from))
        };
        Retry {
            when: self.condition(policy.when.as_ref(), &format!("{from}/when"), DURING),
            except_when: self.condition(policy.except_when.as_ref(), &format!("{from}/exceptWhen"), DURING),
            delay: span(self, &policy.delay),
            backoff: policy.backoff,
            attempts: policy.limit_attempts.map(|count| u32::try_from(count.max(0)).unwrap_or(u32::MAX)),
            attempt_lasts: span(self, &policy.limit_attempt_duration),
            lasts: span(self, &policy.limit_duration),
            jitter: policy
                .jitter
                .as_ref()
                .map(|jitter| (self.span(&jitter.from, &from), self.span(&jitter.to, &from))),
        }
    }

    fn span(&mut self, declared: &DurationValue, at: &str) -> Span {
        match declared {
            DurationValue::Fixed(duration) => Span::Fixed(*duration),
            DurationValue::Expression(text) => Span::Of(self.bare(&json!(text), at, DURING)),
        }
    }

    fn timeout(&mut self, declared: &Timeout, at: &str) -> Option<Span> {
        let declared = match declared {
            Timeout::After(span) => span.clone(),
            Timeout::Named(name) => self.definition.r#use.timeouts.get(name)?.clone(),
        };
        Some(self.span(&declared, at))
    }

    fn strategy(&mut self, declared: &EventConsumption, at: &str) -> Strategy {
        let filters = |build: &mut Self, filters: &[EventFilter], name: &str| {
            let filters = filters.iter().enumerate();
            filters.map(|(i, filter)| build.filter(filter, &format!("{at}/{name}/{i}"))).collect()
        };
        match declared {
            EventConsumption::One(filter) => Strategy::One(self.filter(filter, &format!("{at}/one"))),
            EventConsumption::All(all) => Strategy::All(filters(self, all, "all")),
            EventConsumption::Any { filters: any, until } => Strategy::Any {
                filters: filters(self, any, "any"),
                until: until.as_ref().map(|until| match until {
                    crate::Until::Condition(text) => {
                        Until::Condition(self.bare(&json!(text), &format!("{at}/until"), DURING))
                    }
                    crate::Until::Events(events) => {
                        Until::Events(Box::new(self.strategy(events, &format!("{at}/until"))))
                    }
                }),
            },
        }
    }

    fn filter(&mut self, declared: &EventFilter, at: &str) -> Filter {
        let with = declared.with.iter().map(|(name, value)| {
            let from = format!("{at}/with/{}", escaped(name));
            let matched = match value {
                Value::String(text) if enclosed(text).is_some() => {
                    Match::Expression(self.bare(value, &from, DURING))
                }
                Value::String(text) => Match::Value(data(value), Some(Pattern::new(text))),
                // A list or an object may have expressions in it.
                _ => match self.template(value, &from, DURING) {
                    Template::Constant(value) => Match::Value(value, None),
                    template => Match::Expression(template),
                },
            };
            (name.clone(), matched)
        });
        let with = with.collect();
        let correlate = declared.correlate.iter().map(|(name, correlation)| {
            let from = format!("{at}/correlate/{}", escaped(name));
            let expect = correlation.expect.as_ref().map(|text| self.template(&json!(text), &from, DURING));
            (name.clone(), self.bare(&json!(correlation.from), &from, DURING), expect)
        });
        Filter { with, correlate: correlate.collect() }
    }

    fn extensions(&mut self) -> Vec<Extension> {
        self.inside_extension = true;
        let declared = self.definition.r#use.extensions.clone();
        let extensions = declared.iter().enumerate().map(|(i, extension)| {
            let from = format!("/use/extensions/{i}/{}", escaped(&extension.name));
            Extension {
                when: self.condition(extension.when.as_ref(), &format!("{from}/when"), DURING),
                before: self.list(&extension.before),
                after: self.list(&extension.after),
            }
        });
        let extensions = extensions.collect();
        self.inside_extension = false;
        extensions
    }

    /// Which extensions stand around a task.
    fn around(&self, task: &Task) -> Vec<usize> {
        let composite = matches!(task.kind, TaskKind::Do(_) | TaskKind::Fork(_));
        let kind = if composite { "composite" } else { task.kind_name() };
        let extensions = self.definition.r#use.extensions.iter().enumerate();
        let meant = extensions.filter(|(_, extension)| extension.extend == "all" || extension.extend == kind);
        meant.map(|(i, _)| i).collect()
    }

    fn input(&mut self, declared: Option<&Input>, at: &str, arguments: &[&str]) -> Transform {
        let Some(declared) = declared else { return Transform::default() };
        self.transform(declared.schema.as_ref(), (declared.from.as_ref(), "from"), at, arguments)
    }

    fn output(&mut self, declared: Option<&Output>, at: &str, arguments: &[&str]) -> Transform {
        let Some(declared) = declared else { return Transform::default() };
        self.transform(declared.schema.as_ref(), (declared.r#as.as_ref(), "as"), at, arguments)
    }

    fn export(&mut self, declared: Option<&Export>, at: &str) -> Transform {
        let Some(declared) = declared else { return Transform::default() };
        self.transform(declared.schema.as_ref(), (declared.r#as.as_ref(), "as"), at, AFTER)
    }

    fn transform(
        &mut self,
        schema: Option<&Schema>,
        (with, name): (Option<&Value>, &str),
        at: &str,
        arguments: &[&str],
    ) -> Transform {
        let from = format!("{at}/{name}");
        let with = with.map(|value| match value {
            Value::String(_) => self.bare(value, &from, arguments),
            _ => self.template(value, &from, arguments),
        });
        Transform { schema: schema.and_then(|schema| self.schema(schema, &format!("{at}/schema"))), with }
    }

    fn schema(&mut self, declared: &Schema, at: &str) -> Option<Validator> {
        if declared.format.split(':').next() != Some("json") {
            self.refuse(at, format!("schemas in `{}` are not known; expected json", shown(&declared.format)));
            return None;
        }
        let schema = match &declared.source {
            SchemaSource::Document(schema) => schema,
            SchemaSource::Resource(resource) => {
                let from = format!("{at}/resource/endpoint");
                if !self.is_known(&resource.endpoint, &from) {
                    return None;
                }
                let Some(schema) = self.resources.get(&resource.endpoint.uri) else {
                    let endpoint = self.part(&from);
                    self.miss(resource.endpoint.uri.clone(), &endpoint);
                    return None;
                };
                schema
            }
        };
        match Validator::compile(schema) {
            Ok(validator) => Some(validator),
            Err(why) => {
                self.refuse(at, format!("no JSON Schema: {why}"));
                None
            }
        }
    }
}

/// The task that a document of its own declares.
fn function(name: &str, document: &Value) -> Result<(Task, Value), String> {
    let whole = json!({
        "document": {"dsl": "1.0.3", "namespace": "default", "name": "function", "version": "1.0.0"},
        "use": {"functions": {name: document}},
        "do": [],
    });
    let read = Document::from_json(&whole).and_then(|document| document.check());
    let mut definition = read.map_err(|problems| problems.to_string())?;
    let task = definition.r#use.functions.remove(name).ok_or("no function")?;
    Ok((task, whole))
}

/// The files of a repository on the web are elsewhere than its pages.
fn raw_address(root: &str) -> String {
    let github = || {
        let (owner, rest) = root.strip_prefix("https://github.com/")?.split_once('/')?;
        let (repository, rest) = rest.split_once("/tree/").unwrap_or((rest, "main"));
        Some(format!("https://raw.githubusercontent.com/{owner}/{repository}/{rest}"))
    };
    let gitlab = || Some(root.strip_prefix("https://gitlab.com/")?.replacen("/-/tree/", "/-/raw/", 1));
    github()
        .or_else(|| gitlab().map(|rest| format!("https://gitlab.com/{rest}")))
        .unwrap_or_else(|| root.to_owned())
}

fn next(then: &FlowDirective, siblings: &[Task]) -> Next {
    match then {
        FlowDirective::Continue => Next::Continue,
        FlowDirective::Exit => Next::Exit,
        FlowDirective::End => Next::End,
        FlowDirective::Task(name) => {
            siblings.iter().position(|task| task.name == *name).map_or(Next::Continue, Next::Place)
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Puts declared policies in the place of their names.
fn name_authentication(value: &mut Value, policies: &Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if key == "authentication" {
                    let named = value.get("use").and_then(Value::as_str).or_else(|| value.as_str());
                    if let Some(policy) = named.and_then(|name| policies.get(name)) {
                        *value = policy.clone();
                    }
                    by_secret(value);
                } else if key != "body" {
                    name_authentication(value, policies);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_authentication(item, policies)),
        _ => {}
    }
}

/// A scheme that is a secret becomes the expression that gives it.
fn by_secret(authentication: &mut Value) {
    for (_, scheme) in authentication.as_object_mut().into_iter().flatten() {
        if let Some(name) = scheme.get("use").and_then(Value::as_str) {
            *scheme = json!(format!("${{ $secrets[{}] }}", json!(name)));
        }
    }
}
