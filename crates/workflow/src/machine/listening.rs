//! Events or messages that a task waits for, and what is done with each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ReadAs;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::activation::Activation;
use super::core::{Around, Core, is_true};
use super::sequence::{Leave, Sequence, Step};
use super::{Event, Fault, Id};
use crate::jq::Data;
use crate::program::{Consume, Filter, Listen, Match, Program, Strategy, Until};
use crate::template::{Template, data, json as to_json};

/// The most events that one task gathers.
const MOST: usize = 100_000;
/// The most messages that wait for their turn; others stay where they come from.
const MOST_WAITING: usize = 1_000;

/// A `listen` or a subscription that is going on.
#[derive(Debug)]
pub(super) struct Listening {
    to: Wanted,
    /// What has ended it.
    over: bool,
    /// Values that correlate: those expected, and those that the first event fixed.
    keys: BTreeMap<String, Data>,
    /// Events that wait for their turn.
    queue: VecDeque<Data>,
    /// Their outputs.
    outputs: Vec<Data>,
    /// What is done with the event at hand.
    current: Option<(Sequence, Data)>,
    handled: usize,
    /// How many came.
    came: usize,
}

/// How far a strategy is.
#[derive(Debug, Default)]
struct Wanted {
    /// Of `all`: which filters have had their event.
    had: Vec<bool>,
    /// Of a nested `until`.
    until: Option<Box<Wanted>>,
}

impl Wanted {
    fn of(strategy: &Strategy) -> Self {
        match strategy {
            Strategy::One(_) => Self { had: vec![false], until: None },
            Strategy::All(filters) => Self { had: vec![false; filters.len()], until: None },
            Strategy::Any { until: Some(Until::Events(events)), .. } => {
                Self { had: vec![false], until: Some(Box::new(Self::of(events))) }
            }
            Strategy::Any { .. } | Strategy::Messages { .. } => Self { had: vec![false], until: None },
        }
    }

    fn is_met(&self) -> bool {
        self.had.iter().all(|had| *had)
    }
}

impl Listening {
    pub(super) fn begin(core: &Core, around: &Around<'_>, listen: &Listen) -> Result<Self, Fault> {
        let mut keys = BTreeMap::new();
        for filter in filters(&listen.to) {
            for (name, _, expect) in &filter.correlate {
                if let Some(expect) = expect {
                    keys.insert(name.clone(), core.evaluate(expect, around.input, around)?);
                }
            }
        }
        let to = Wanted::of(&listen.to);
        let over = match &listen.to {
            Strategy::Messages { consume: Consume::While(_), .. } => {
                is_enough(core, around, &listen.to, &|| std::iter::empty::<Data>().collect())?
            }
            _ => to.is_met(),
        };
        let (queue, outputs) = (VecDeque::new(), Vec::new());
        Ok(Self { to, over, keys, queue, outputs, current: None, handled: 0, came: 0 })
    }

    /// Whether more may come.
    pub(super) fn takes(&self) -> bool {
        !self.over && self.queue.len() < MOST_WAITING
    }

    pub(super) fn wants(&self, core: &Core, around: &Around<'_>, listen: &Listen, event: &Data) -> bool {
        if self.over {
            return false;
        }
        let ends = || match (&listen.to, &self.to.until) {
            (Strategy::Any { until: Some(Until::Events(events)), .. }, Some(wanted)) => {
                matching(core, around, events, wanted, &self.keys, event).is_some()
            }
            _ => false,
        };
        matching(core, around, &listen.to, &self.to, &self.keys, event).is_some() || ends()
    }

    pub(super) fn receive(
        &mut self,
        core: &mut Core,
        task: &Activation,
        listen: &Listen,
        event: &Data,
    ) -> Result<Step, Fault> {
        let program = core.program.clone();
        let around = task.scope(&program, &Data::Null);
        if let (Strategy::Any { until: Some(Until::Events(events)), .. }, Some(wanted)) =
            (&listen.to, &mut self.to.until)
            && let Some(index) = matching(core, &around, events, wanted, &self.keys, event)
        {
            wanted.had[index] = true;
            self.over = wanted.is_met();
            return self.go_on(core, task, listen);
        }
        let Some(index) = matching(core, &around, &listen.to, &self.to, &self.keys, event) else {
            return Ok(Step::Pending);
        };
        if let Some(filter) = filters(&listen.to).nth(index) {
            for (name, from, _) in &filter.correlate {
                if !self.keys.contains_key(name) {
                    self.keys.insert(name.clone(), core.evaluate(from, event, &around)?);
                }
            }
        }
        self.queue.push_back(read(listen.read, event));
        self.came += 1;
        match &listen.to {
            Strategy::Any { until: None, .. } => self.over = true,
            Strategy::Messages { consume: Consume::Amount(amount), .. } => self.over = self.came >= *amount,
            Strategy::Any { .. } | Strategy::Messages { .. } => {
                // With something to be done for each, it is looked at when that is done.
                if listen.each.is_none() {
                    let so_far = || -> Data { self.outputs.iter().chain(&self.queue).cloned().collect() };
                    self.over = is_enough(core, &around, &listen.to, &so_far)?;
                }
            }
            Strategy::One(_) | Strategy::All(_) => {
                self.to.had[index] = true;
                self.over = self.to.is_met();
            }
        }
        if self.queue.len() + self.outputs.len() > MOST {
            let detail = format!("more than {MOST} events came; end the wait with `until`");
            return Err(Fault::of(crate::ErrorType::Runtime, "Too many events", detail));
        }
        self.go_on(core, task, listen)
    }

    /// Nothing more comes; what came is still handled.
    pub(super) fn close(
        &mut self,
        core: &mut Core,
        task: &Activation,
        listen: &Listen,
    ) -> Result<Step, Fault> {
        self.over = true;
        self.go_on(core, task, listen)
    }

    pub(super) fn wake(
        &mut self,
        core: &mut Core,
        task: &Activation,
        listen: &Listen,
        event: &Event,
    ) -> Result<Step, Fault> {
        let Some((mut tasks, item)) = self.current.take() else { return Ok(Step::Pending) };
        let step = tasks.wake(core, event);
        match self.take(core, task, listen, (tasks, item), step)? {
            Some(step) => Ok(step),
            None => self.go_on(core, task, listen),
        }
    }

    /// Handles events one after the other as far as possible.
    pub(super) fn go_on(
        &mut self,
        core: &mut Core,
        task: &Activation,
        listen: &Listen,
    ) -> Result<Step, Fault> {
        let Some(each) = &listen.each else {
            self.outputs.extend(self.queue.drain(..));
            return Ok(self.end());
        };
        while self.current.is_none() {
            let Some(item) = self.queue.pop_front() else { return Ok(self.end()) };
            let locals = task
                .locals()
                .with(&each.item, item.clone())
                .with(&each.at, Data::from(self.handled as isize));
            let locals = locals.iterated(self.handled);
            self.handled += 1;
            let mut tasks = Sequence::within(each.tasks.clone(), item.clone(), locals);
            let step = tasks.run(core);
            if let Some(step) = self.take(core, task, listen, (tasks, item), step)? {
                return Ok(step);
            }
        }
        Ok(Step::Pending)
    }

    /// None when the event is done with.
    fn take(
        &mut self,
        core: &mut Core,
        task: &Activation,
        listen: &Listen,
        (tasks, item): (Sequence, Data),
        step: Step,
    ) -> Result<Option<Step>, Fault> {
        let output = match step {
            Step::Pending => {
                self.current = Some((tasks, item));
                return Ok(Some(Step::Pending));
            }
            Step::Failed(_) | Step::Done(_, Leave::End) => return Ok(Some(step)),
            Step::Done(output, _) => output,
        };
        let program = core.program.clone();
        let Some(each) = &listen.each else { return Ok(None) };
        let index = Data::from(self.handled as isize - 1);
        let locals = task.locals().with(&each.item, item).with(&each.at, index);
        let around = Around { locals: &locals, ..task.scope(&program, &output) };
        let made = core.transform(&each.output, "the output", output.clone(), &around)?;
        if each.export.with.is_some() || each.export.schema.is_some() {
            let around = Around { output: &made, ..around };
            core.context = core.transform(&each.export, "the context", made.clone(), &around)?;
        }
        self.outputs.push(made);
        let around = Around { locals: &locals, ..task.scope(&program, &output) };
        if is_enough(core, &around, &listen.to, &|| self.outputs.iter().cloned().collect())? {
            self.over = true;
            self.queue.clear();
        }
        Ok(None)
    }

    fn end(&mut self) -> Step {
        if !self.over {
            return Step::Pending;
        }
        Step::Done(self.outputs.drain(..).collect(), Leave::Continue)
    }

    pub(super) fn abandon(&mut self, core: &mut Core) {
        if let Some((mut tasks, _)) = self.current.take() {
            tasks.abandon(core);
        }
        self.over = true;
    }

    pub(super) fn find(&self, id: Id) -> Option<&Activation> {
        self.current.as_ref()?.0.find(id)
    }
}

fn filters(strategy: &Strategy) -> impl Iterator<Item = &Filter> {
    match strategy {
        Strategy::One(filter) => std::slice::from_ref(filter).iter(),
        Strategy::All(filters) | Strategy::Any { filters, .. } => filters.iter(),
        Strategy::Messages { .. } => [].iter(),
    }
}

/// Whether a condition says that what was consumed so far is enough. An amount is counted when messages come.
fn is_enough(
    core: &Core,
    around: &Around<'_>,
    strategy: &Strategy,
    so_far: &dyn Fn() -> Data,
) -> Result<bool, Fault> {
    let (template, ends) = match strategy {
        Strategy::Any { until: Some(Until::Condition(until)), .. } => {
            let so_far = so_far();
            return core.holds(until, &so_far, &Around { output: &so_far, raw_output: &so_far, ..*around });
        }
        Strategy::Messages { consume: Consume::While(template), .. } => (template, false),
        Strategy::Messages { consume: Consume::Until(template), .. } => (template, true),
        _ => return Ok(false),
    };
    let so_far = so_far();
    let context = with_messages(&core.context, &so_far);
    let more = |name: &str| (name == "context").then(|| context.clone());
    let around = Around { output: &so_far, raw_output: &so_far, ..*around };
    let held = core.evaluate_with(template, &so_far, &around, &more)?;
    Ok(is_true(&held) == ends)
}

/// The context as a condition of a subscription sees it: with what was consumed, under the names that the specification's examples
/// use, unless the workflow has something there itself.
fn with_messages(context: &Data, so_far: &Data) -> Data {
    let mut entries = match context {
        Data::Obj(entries) => (**entries).clone(),
        Data::Null => jaq_json::Map::default(),
        other => return other.clone(),
    };
    for name in ["consumedMessages", "messages"] {
        entries.entry(Data::from(name.to_owned())).or_insert_with(|| so_far.clone());
    }
    Data::obj(entries)
}

/// The types that the events of a strategy have, as [`Pattern`](crate::program::Pattern)s; none when a filter takes others too.
pub(super) fn types(strategy: &Strategy) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    filters(strategy).next()?;
    for filter in filters(strategy) {
        let literal = filter.with.iter().find_map(|(name, wanted)| match wanted {
            Match::Value(Data::TStr(text), _) if name == "type" => String::from_utf8(text.to_vec()).ok(),
            _ => None,
        });
        all.insert(literal?);
    }
    if let Strategy::Any { until: Some(Until::Events(events)), .. } = strategy {
        all.extend(types(events)?);
    }
    Some(all)
}

/// The first filter that lets an event pass and still waits for one; without filters, the place of any.
fn matching(
    core: &Core,
    around: &Around<'_>,
    strategy: &Strategy,
    wanted: &Wanted,
    keys: &BTreeMap<String, Data>,
    event: &Data,
) -> Option<usize> {
    let passes = |filter: &Filter| passes(core, around, filter, keys, event);
    match strategy {
        Strategy::Messages { filter, .. } => {
            let holds = |filter| core.holds(filter, event, around).unwrap_or(false);
            filter.as_ref().is_none_or(holds).then_some(0)
        }
        Strategy::Any { filters, .. } if filters.is_empty() => Some(0),
        Strategy::Any { filters, .. } => filters.iter().any(passes).then_some(0),
        _ => {
            let mut open = filters(strategy).enumerate().filter(|(index, _)| !wanted.had[*index]);
            open.find(|(_, filter)| passes(filter)).map(|(index, _)| index)
        }
    }
}

/// Whether a filter lets an event pass. An expression that fails lets nothing pass.
fn passes(
    core: &Core,
    around: &Around<'_>,
    filter: &Filter,
    keys: &BTreeMap<String, Data>,
    event: &Data,
) -> bool {
    let Data::Obj(attributes) = event else { return false };
    let attribute = |name: &str| attributes.get(&Data::from(name.to_owned())).cloned().unwrap_or_default();
    let matched = |(name, wanted): &(String, Match)| {
        let found = attribute(name);
        match wanted {
            Match::Value(value, _) if *value == found => true,
            Match::Value(_, Some(pattern)) => match &found {
                Data::TStr(text) => std::str::from_utf8(text).is_ok_and(|text| pattern.matches(text)),
                _ => false,
            },
            Match::Value(_, None) => false,
            Match::Expression(template) => match core.evaluate(template, &found, around) {
                Ok(Data::Bool(holds)) => holds,
                Ok(value) => is_true(&value) && value == found,
                Err(_) => false,
            },
        }
    };
    let correlated =
        |(name, from, expect): &(String, _, _)| match (keys.get(name), core.evaluate(from, event, around)) {
            // A constant is always written as text.
            (Some(key), Ok(found)) => {
                *key == found || matches!(expect, Some(Template::Constant(_))) && is_written(&found, key)
            }
            (None, Ok(found)) => found != Data::Null,
            (_, Err(_)) => false,
        };
    filter.with.iter().all(matched) && filter.correlate.iter().all(correlated)
}

/// Whether a number or a truth value is written so.
fn is_written(value: &Data, text: &Data) -> bool {
    matches!(value, Data::Num(_) | Data::Bool(_)) && Data::from(value.to_string()) == *text
}

/// An event as a workflow reads it.
pub(super) fn read(how: ReadAs, event: &Data) -> Data {
    match (how, event) {
        (ReadAs::Envelope, _) => event.clone(),
        (ReadAs::Data | ReadAs::Raw, Data::Obj(attributes)) => {
            attributes.get(&Data::from("data".to_owned())).cloned().unwrap_or_default()
        }
        _ => Data::Null,
    }
}

/// An event that is published, with what the document leaves out. Its id follows from the key, so that it is the same when it is
/// published again.
pub(super) fn published(with: Data, now: Timestamp, key: &str, program: &Program) -> Data {
    let mut event = match to_json(&with) {
        Value::Object(entries) => entries,
        _ => serde_json::Map::new(),
    };
    let document = &program.definition.document;
    let mut or = |name: &str, value: Value| {
        event.entry(name).or_insert(value);
    };
    or("specversion", json!("1.0"));
    or("id", json!(key));
    or("source", json!(format!("/workflows/{}/{}/{}", document.namespace, document.name, document.version)));
    or("time", json!(now.to_string()));
    if event.contains_key("data") {
        event.entry("datacontenttype").or_insert(json!("application/json"));
    }
    data(&Value::Object(event))
}
