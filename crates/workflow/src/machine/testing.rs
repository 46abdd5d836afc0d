//! Runs on a clock and with services of their own, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{Action, Begin, Effect, Ended, Event, Fault, Id, Permit, Run, Timer, Traced};

use crate::program::{Program, Resources};
use crate::template::{data, json};

type Service = Box<dyn FnMut(&str, &Effect) -> Option<Result<Value, Fault>>>;

/// A run with what surrounds it.
pub(super) struct World {
    pub(super) run: Run,
    now: Timestamp,
    service: Service,
    timers: BTreeMap<(Timestamp, Id, Timer), ()>,
    ready: VecDeque<Event>,
    listening: Vec<Id>,
    /// Subscriptions that are open, and what was asked for.
    pub(super) subscribed: Vec<(Id, Value)>,
    pub(super) emitted: Vec<Value>,
    pub(super) trace: Vec<(String, Traced)>,
    pub(super) keys: Vec<String>,
    pub(super) open: Vec<(Id, String)>,
    /// What waits for a permit.
    pub(super) waiting: Vec<(Id, String)>,
    /// What was permitted and is not over, or waits for it.
    pub(super) asked: Vec<Id>,
    /// What was told, as a journal keeps it.
    pub(super) journal: Vec<(Event, Timestamp)>,
    pub(super) actions: Vec<Action>,
}

pub(super) fn program(yaml: &str) -> Arc<Program> {
    let head = "document: {dsl: '1.0.3', namespace: test, name: test, version: '1.0.0'}\n";
    let text = if yaml.starts_with("document") { yaml.to_owned() } else { format!("{head}{yaml}") };
    let definition = crate::read(&text).unwrap().check().unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(Program::build(definition, &Resources::new()).unwrap_or_else(|refused| panic!("{refused:?}")))
}

impl World {
    pub(super) fn new(
        yaml: &str,
        input: Value,
        service: impl FnMut(&str, &Effect) -> Option<Result<Value, Fault>> + 'static,
    ) -> Self {
        let mut world = Self::idle(yaml, input, service, None);
        world.settle();
        world
    }

    fn idle(
        yaml: &str,
        input: Value,
        service: impl FnMut(&str, &Effect) -> Option<Result<Value, Fault>> + 'static,
        permit: Option<crate::jq::Data>,
    ) -> Self {
        let now = "2026-01-05T08:00:00Z".parse().unwrap();
        let secrets = data(&serde_json::json!({"key": "hidden"}));
        let begin = Begin { id: "run-1".to_owned(), input: data(&input), secrets, at: now, permit };
        Self {
            run: Run::new(program(yaml), begin),
            now,
            service: Box::new(service),
            timers: BTreeMap::new(),
            ready: VecDeque::from([Event::Started]),
            listening: Vec::new(),
            subscribed: Vec::new(),
            emitted: Vec::new(),
            trace: Vec::new(),
            keys: Vec::new(),
            open: Vec::new(),
            waiting: Vec::new(),
            asked: Vec::new(),
            journal: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// The same for a run that waits for a permit as a whole.
    pub(super) fn permitted(
        yaml: &str,
        service: impl FnMut(&str, &Effect) -> Option<Result<Value, Fault>> + 'static,
    ) -> Self {
        let mut world =
            Self::idle(yaml, Value::Null, service, Some(data(&serde_json::json!({"for": "all"}))));
        world.settle();
        world
    }

    /// Permits the first that waits.
    pub(super) fn permit(&mut self, again: bool) -> String {
        let (id, key) = self.waiting.remove(0);
        self.tell(Event::Permitted { id, permit: Ok(Permit { again, because: data(&Value::Null) }) });
        key
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.ready.push_back(event);
        self.settle();
    }

    /// Publishes an event to all tasks that listen.
    pub(super) fn publish(&mut self, event: &Value) {
        let event = data(event);
        for id in self.listening.clone() {
            if self.run.wants(id, &event) {
                self.tell(Event::Received { id, event: event.clone() });
            }
        }
    }

    /// A message for all subscriptions that are open; whether one takes it.
    pub(super) fn message(&mut self, payload: Value) -> bool {
        let message = data(&serde_json::json!({"payload": payload, "headers": {}}));
        let open: Vec<Id> = self.subscribed.iter().map(|(id, _)| *id).collect();
        let wanting: Vec<Id> =
            open.into_iter().filter(|id| self.run.takes(*id) && self.run.wants(*id, &message)).collect();
        for id in &wanting {
            self.tell(Event::Received { id: *id, event: message.clone() });
        }
        !wanting.is_empty()
    }

    fn settle(&mut self) {
        while let Some(event) = self.ready.pop_front() {
            self.journal.push((event.clone(), self.now));
            let actions = self.run.apply(event, self.now);
            self.actions.extend(actions.iter().cloned());
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Perform { id, key, effect, .. } => {
                self.keys.push(key.clone());
                if let Effect::Emit(event) = &effect {
                    self.emitted.push(json(event));
                    self.ready.push_back(Event::Done { id, outcome: Ok(event.clone()) });
                    return;
                }
                match (self.service)(&key, &effect) {
                    Some(outcome) => {
                        let outcome = outcome.map(|value| data(&value));
                        self.ready.push_back(Event::Done { id, outcome });
                    }
                    None => self.open.push((id, key)),
                }
            }
            Action::Wake { id, timer, at } => drop(self.timers.insert((at, id, timer), ())),
            Action::Permit { id, key, .. } => {
                self.waiting.push((id, key));
                self.asked.push(id);
            }
            Action::Release { id, .. } => {
                self.waiting.retain(|(of, _)| *of != id);
                self.asked.retain(|of| *of != id);
            }
            Action::Listen { id } => self.listening.push(id),
            Action::Subscribe { id, with, .. } => self.subscribed.push((id, json(&with))),
            Action::Drop { id } => {
                self.timers.retain(|(_, of, _), ()| *of != id);
                self.listening.retain(|of| *of != id);
                self.subscribed.retain(|(of, _)| *of != id);
                self.open.retain(|(of, _)| *of != id);
            }
            Action::Pause => self.ready.push_back(Event::Continued),
            Action::Trace(trace) => self.trace.push((trace.task, trace.what)),
            Action::End(_) => {
                assert!(self.asked.is_empty(), "no permit is left at the end: {:?}", self.asked);
                assert!(self.timers.is_empty(), "no time is waited for at the end: {:?}", self.timers);
                assert!(
                    self.listening.is_empty() && self.subscribed.is_empty() && self.open.is_empty(),
                    "nothing is waited for at the end"
                );
            }
        }
    }

    /// Lets time pass to the next time that is waited for; false when there is none.
    pub(super) fn pass(&mut self) -> bool {
        let Some(((at, id, timer), ())) = self.timers.pop_first() else { return false };
        self.now = self.now.max(at);
        self.tell(Event::Due { id, timer });
        true
    }

    /// Lets time pass until the run is over or waits for something else.
    pub(super) fn finish(&mut self) -> &Ended {
        while self.run.ended().is_none() && self.pass() {}
        self.run.ended().unwrap_or_else(|| panic!("it still waits: {:?}", self.open))
    }

    pub(super) fn seconds(&self) -> i64 {
        let began: Timestamp = "2026-01-05T08:00:00Z".parse().unwrap();
        self.now.duration_since(began).as_secs()
    }

    pub(super) fn output(&mut self) -> Value {
        match self.finish() {
            Ended::Completed(output) => json(output),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fault(&mut self) -> Fault {
        match self.finish() {
            Ended::Faulted(fault) => fault.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// What happened to a task, in order.
    pub(super) fn of(&self, task: &str) -> Vec<Traced> {
        self.trace.iter().filter(|(name, _)| name == task).map(|(_, what)| *what).collect()
    }
}

/// A run of tasks that need no services.
pub(super) fn alone(yaml: &str, input: Value) -> World {
    World::new(yaml, input, |key, _| panic!("{key} calls something"))
}

pub(super) fn output(yaml: &str, input: Value) -> Value {
    alone(yaml, input).output()
}
