//! Drives one run to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde_json::Value;
use sos_workflow::machine::{Action, Begin, Effect, Ended, Event, Fault, Id, Run, Timer, Trace};
use sos_workflow::program::Program;
use sos_workflow::template::{data, json};
use tokio::sync::oneshot;

use super::Executor;
use crate::clock::wall_now;

/// What happened, as it is kept before anything follows from it.
pub type Journaled<'a> = (&'a Event, Timestamp);

/// Who is told what a run does.
pub trait Observer {
    /// Keeps what happened before anything follows from it.
    ///
    /// # Errors
    /// What cannot be kept does not happen.
    fn journal(&mut self, entry: Journaled<'_>) -> Result<(), String> {
        let _ = entry;
        Ok(())
    }

    /// Hears what happens to tasks.
    fn trace(&mut self, at: Timestamp, trace: &Trace);

    /// Hears of an event that the run publishes.
    fn emitted(&mut self, event: &Value) {
        let _ = event;
    }
}

type Pending = Pin<Box<dyn Future<Output = (Id, Option<Result<Value, Fault>>)> + Send>>;

/// A run that begins, or goes on.
#[derive(Debug)]
pub struct Start {
    /// What it does.
    pub program: Arc<Program>,
    /// What it began with.
    pub begin: Begin,
    /// What has happened so far; nothing for one that begins.
    pub entries: Vec<(Event, Timestamp)>,
}

struct Driver<'a, O> {
    run: Run,
    executor: &'a Executor,
    observer: &'a mut O,
    timers: BTreeMap<(Timestamp, Id, Timer), ()>,
    listening: Vec<Id>,
    effects: FuturesUnordered<Pending>,
    /// By which effects are broken off.
    open: BTreeMap<Id, oneshot::Sender<()>>,
    ready: Vec<Event>,
}

/// Drives a run to its end, performing its effects and telling it the time.
///
/// # Errors
/// When what happened cannot be kept.
pub async fn drive(start: Start, executor: &Executor, observer: &mut impl Observer) -> Result<Ended, String> {
    let mut driver = Driver {
        run: Run::new(start.program, start.begin),
        executor,
        observer,
        timers: BTreeMap::new(),
        listening: Vec::new(),
        effects: FuturesUnordered::new(),
        open: BTreeMap::new(),
        ready: Vec::new(),
    };
    driver.restore(start.entries);
    loop {
        while !driver.ready.is_empty() {
            for event in std::mem::take(&mut driver.ready) {
                driver.tell(event)?;
            }
            tokio::task::yield_now().await;
        }
        if let Some(ended) = driver.run.ended() {
            return Ok(ended.clone());
        }
        let event = driver.next().await?;
        driver.tell(event)?;
    }
}

impl<O: Observer> Driver<'_, O> {
    /// Does again what has happened, and begins what was being done. An effect whose outcome was not kept is performed again.
    fn restore(&mut self, entries: Vec<(Event, Timestamp)>) {
        if entries.is_empty() {
            self.ready.push(Event::Started);
            return;
        }
        let mut performing = BTreeMap::new();
        let mut paused = false;
        for (event, at) in entries {
            match &event {
                Event::Done { id, .. } => drop(performing.remove(id)),
                Event::Continued => paused = false,
                Event::Due { id, timer } => {
                    self.timers.retain(|(_, of, which), ()| (of, which) != (id, timer))
                }
                _ => {}
            }
            for action in self.run.apply(event, at) {
                match action {
                    Action::Perform { id, key, effect } => drop(performing.insert(id, (key, effect))),
                    Action::Drop { id } => {
                        performing.remove(&id);
                        self.act(action, at);
                    }
                    Action::Pause => paused = true,
                    Action::Trace(_) => {}
                    action => self.act(action, at),
                }
            }
        }
        if paused {
            self.ready.push(Event::Continued);
        }
        for (id, (key, effect)) in performing {
            self.act(Action::Perform { id, key, effect }, wall_now());
        }
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        let at = wall_now();
        self.observer.journal((&event, at))?;
        for action in self.run.apply(event, at) {
            self.act(action, at);
        }
        Ok(())
    }

    fn act(&mut self, action: Action, at: Timestamp) {
        match action {
            Action::Perform { id, effect: Effect::Emit(event), .. } => self.emit(id, event),
            Action::Perform { id, key, effect } => {
                let executor = self.executor.clone();
                let (stop, stopped) = oneshot::channel();
                self.open.insert(id, stop);
                self.effects.push(Box::pin(async move {
                    tokio::select! {
                        outcome = executor.perform(&key, &effect) => (id, Some(outcome)),
                        _ = stopped => (id, None),
                    }
                }));
            }
            Action::Wake { id, timer, at } => drop(self.timers.insert((at, id, timer), ())),
            Action::Listen { id } => self.listening.push(id),
            Action::Drop { id } => {
                self.timers.retain(|(_, of, _), ()| *of != id);
                self.listening.retain(|of| *of != id);
                self.open.remove(&id);
            }
            Action::Pause => self.ready.push(Event::Continued),
            Action::Trace(trace) => self.observer.trace(at, &trace),
            Action::End(_) => {}
        }
    }

    /// Publishes an event; tasks of the run itself hear it too.
    fn emit(&mut self, id: Id, event: sos_workflow::jq::Data) {
        self.observer.emitted(&json(&event));
        self.ready.push(Event::Done { id, outcome: Ok(event.clone()) });
        let wanting = self.listening.iter().filter(|id| self.run.wants(**id, &event));
        self.ready.extend(wanting.map(|id| Event::Received { id: *id, event: event.clone() }));
    }

    /// What happens next.
    async fn next(&mut self) -> Result<Event, String> {
        loop {
            let timer = self.timers.first_key_value().map(|((at, ..), ())| *at);
            let due = async {
                match timer {
                    Some(at) => {
                        let left = at.duration_since(wall_now());
                        let left = std::time::Duration::try_from(left).unwrap_or_default();
                        tokio::time::sleep(left).await;
                    }
                    None => std::future::pending().await,
                }
            };
            if timer.is_none() && self.effects.is_empty() {
                return Err("the run waits for events that nobody here sends; workflows that listen to others run in `sos up`".to_owned());
            }
            tokio::select! {
                Some((id, outcome)) = self.effects.next() => {
                    let Some(outcome) = outcome else { continue };
                    self.open.remove(&id);
                    return Ok(Event::Done { id, outcome: outcome.map(|value| data(&value)) });
                }
                () = due => {
                    if let Some(((_, id, timer), ())) = self.timers.pop_first() {
                        return Ok(Event::Due { id, timer });
                    }
                }
            }
        }
    }
}
