//! Drives one run: tells it what happens, keeps that, and only then does what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::Value;
use sos_workflow::ErrorType;
use sos_workflow::jq::Data;
use sos_workflow::machine::{Action, Begin, Effect, Ended, Event, Fault, Id, Permit, Run, Timer, Trace};
use sos_workflow::program::{CallKind, Program};
use sos_workflow::template::{data, json};
use tokio::sync::{mpsc, oneshot};

use super::subscriptions::{Messages, Subscribing, Subscriptions};
use crate::clock::wall_now;

/// What happened, and when.
pub type Entry = (Event, Timestamp);

/// What performs the effects of runs.
pub trait Perform: Send + Sync {
    /// Performs an effect; `key` is the same whenever it is repeated.
    fn perform(&self, key: String, effect: Effect) -> BoxFuture<'static, Result<Value, Fault>>;

    /// Opens a subscription. Who asks for the next message has kept the one before; the end of the messages is that of the
    /// subscription.
    fn subscribe(&self, subscribing: Subscribing) -> Messages;

    /// A subscription is over: nothing needs to be kept for it any more.
    fn unsubscribe(&self, key: &str) -> BoxFuture<'static, ()>;
}

/// What happened to a run, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Happened<'a> {
    /// What happened.
    pub entries: &'a [Entry],
    /// What follows, each with its time.
    pub actions: &'a [(Action, Timestamp)],
    /// How the run ended.
    pub ended: Option<&'a Ended>,
}

/// Who keeps what a run goes through, and hears of it.
pub trait Host: Send {
    /// Keeps what happened, and how the run ended; it counts once this returns.
    ///
    /// # Errors
    /// What cannot be kept has not happened.
    fn keep(&mut self, happened: Happened<'_>) -> impl Future<Output = Result<(), String>> + Send;

    /// Hears what happened to tasks of a run that is restored, which was kept before.
    fn recall(&mut self, trace: &Trace) {
        let _ = trace;
    }

    /// Hears what happens to tasks.
    fn trace(&mut self, at: Timestamp, trace: &Trace) {
        let _ = (at, trace);
    }

    /// Asks people to do something; see [`Told::Done`].
    fn ask(&mut self, key: &str, with: Value) {
        let _ = (key, with);
    }

    /// Nobody needs to do any more what was asked for.
    fn take_back(&mut self, key: &str) {
        let _ = key;
    }

    /// Something asks when it may begin, or goes on that was permitted; see [`Told::Permitted`].
    fn ask_permit(&mut self, permit: &Waiting) {
        let _ = permit;
    }

    /// What waited for a permit, or had one, is over; whether it came to its end.
    fn give_back(&mut self, key: &str, done: bool) {
        let _ = (key, done);
    }

    /// What waits for a permit, or has one, does not ask as long as the run rests.
    fn withdraw(&mut self, key: &str) {
        let _ = key;
    }

    /// All that was under way before has been asked for again.
    fn restored(&mut self) {}

    /// Whether a run that only waits is put aside, as long as `is_idle` holds: nobody has told it anything.
    fn may_rest(&mut self, rest: &Rest, is_idle: &dyn Fn() -> bool) -> bool {
        let _ = (rest, is_idle);
        false
    }
}

/// Something that waits for a permit, or has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Equal whenever it is repeated.
    pub key: String,
    /// Where the task is in the document; `/` is the whole run.
    pub reference: String,
    /// What is declared of it.
    pub with: Value,
    /// The key of what was permitted before, of which it is a part.
    pub part_of: Option<String>,
    /// Since when it waits.
    pub since: Timestamp,
    /// Whether it was permitted.
    pub given: bool,
}

/// What a run waits for that is put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Whether it was told to.
    pub suspended: bool,
    /// When it goes on by itself.
    pub wake: Option<Timestamp>,
    /// The types of events that it listens to: none when it does not listen, an empty set when it may be any.
    pub hears: Option<BTreeSet<String>>,
    /// Whether something of it waits for a permit, or has one.
    pub permits: bool,
}

/// What a run is told from outside.
#[derive(Debug)]
pub enum Told {
    /// An order; told when it is kept.
    Order(Event, oneshot::Sender<Result<(), String>>),
    /// An event came.
    Heard(Arc<Value>),
    /// What waits for a permit may begin, or never may; told when it is kept.
    Permitted {
        /// The key of what waits.
        key: String,
        /// The permit.
        permit: Result<Permit, Fault>,
        /// Told when it is kept.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// What a person did; told when it is kept.
    Done {
        /// The key of the step that asked for it.
        key: String,
        /// What came of it.
        outcome: Result<Value, Fault>,
        /// Told when it is kept.
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// A page of events, and where the next one begins.
pub type Page = (Vec<Arc<Value>>, Option<u64>);

/// The world that a run of a server lives in.
pub struct Outside {
    /// What it is told.
    pub inbox: mpsc::UnboundedReceiver<Told>,
    /// Events that came before it listened, from a place on.
    pub earlier: Box<dyn Fn(u64) -> BoxFuture<'static, Page> + Send>,
    /// Where the events begin that are its own.
    pub floor: u64,
    /// Source and id of events that others have consumed.
    pub consumed: HashSet<(String, String)>,
}

/// A run that begins, or goes on.
#[derive(Debug)]
pub struct Start {
    /// What it does.
    pub program: Arc<Program>,
    /// What it began with.
    pub begin: Begin,
    /// What has happened so far; nothing for one that begins.
    pub entries: Vec<Entry>,
    /// None for a run on its own: it hears the events that it emits.
    pub outside: Option<Outside>,
}

/// How far a run was driven.
#[derive(Debug)]
pub enum Drove {
    /// To its end.
    Ended(Ended),
    /// To where it only waits.
    Rests(Rest),
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("floor", &self.floor).finish_non_exhaustive()
    }
}

/// What a run that waits hears of.
enum Came {
    Outcome(Id, Option<Result<Value, Fault>>),
    Message(Id, Option<Result<Value, Fault>>),
    Told(Option<Told>),
    Earlier(Page),
    Due(Id, Timer),
}

type Pending = Pin<Box<dyn Future<Output = (Id, Option<Result<Value, Fault>>)> + Send>>;

struct Driver<'a, H> {
    run: Run,
    performer: Arc<dyn Perform>,
    host: &'a mut H,
    outside: Option<Outside>,
    timers: Timers,
    listening: Vec<Id>,
    subscriptions: Subscriptions,
    effects: FuturesUnordered<Pending>,
    /// By which effects are broken off.
    open: HashMap<Id, oneshot::Sender<()>>,
    ready: Vec<Event>,
    /// What people are asked to do, by the number of the step, with its key.
    asked: BTreeMap<Id, String>,
    /// What waits for a permit, or has one, by the number of the step.
    permits: BTreeMap<Id, Waiting>,
    /// Source and id of the events that it has consumed.
    consumed: HashSet<(String, String)>,
    /// The page of earlier events that is being read.
    earlier: Option<BoxFuture<'static, Page>>,
    /// Of a run on its own that listens somewhere: the events that it emitted and that nobody has heard yet.
    emitted: Vec<Data>,
    keeps_emitted: bool,
    /// Whether they are to be looked at again: one came, or somebody listens.
    looks_back: bool,
    /// What has happened and is not kept yet, and what follows from it.
    entries: Vec<Entry>,
    actions: Vec<(Action, Timestamp)>,
}

/// Times that are waited for.
#[derive(Default)]
struct Timers {
    by_time: BTreeSet<(Timestamp, Id, Timer)>,
    by_id: HashMap<Id, Vec<(Timestamp, Timer)>>,
}

impl Timers {
    fn insert(&mut self, at: Timestamp, id: Id, timer: Timer) {
        self.by_time.insert((at, id, timer));
        self.by_id.entry(id).or_default().push((at, timer));
    }

    fn remove(&mut self, id: Id) {
        for (at, timer) in self.by_id.remove(&id).into_iter().flatten() {
            self.by_time.remove(&(at, id, timer));
        }
    }

    fn done(&mut self, id: Id, timer: Timer) {
        let Some(all) = self.by_id.get_mut(&id) else { return };
        all.retain(|(at, which)| {
            let other = *which != timer;
            if !other {
                self.by_time.remove(&(*at, id, timer));
            }
            other
        });
        if all.is_empty() {
            self.by_id.remove(&id);
        }
    }

    fn first(&self) -> Option<(Timestamp, Id, Timer)> {
        self.by_time.first().copied()
    }
}

/// Now, as exactly as journals keep it.
pub(super) fn now() -> Timestamp {
    let now = wall_now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Drives a run to its end, or to where it may be put aside: performs its effects, tells it the time and what comes from outside.
///
/// # Errors
/// When what happened cannot be kept, or a run on its own waits for what never comes.
pub async fn drive<H: Host>(
    mut start: Start,
    performer: Arc<dyn Perform>,
    host: &mut H,
) -> Result<Drove, String> {
    let keeps_emitted = start.outside.is_none() && start.program.listens();
    let mut driver = Driver {
        run: Run::new(start.program, start.begin),
        performer,
        host,
        consumed: start
            .outside
            .as_mut()
            .map(|outside| std::mem::take(&mut outside.consumed))
            .unwrap_or_default(),
        outside: start.outside,
        timers: Timers::default(),
        listening: Vec::new(),
        subscriptions: Subscriptions::default(),
        effects: FuturesUnordered::new(),
        open: HashMap::new(),
        ready: Vec::new(),
        asked: BTreeMap::new(),
        permits: BTreeMap::new(),
        earlier: None,
        emitted: Vec::new(),
        keeps_emitted,
        looks_back: false,
        entries: Vec::new(),
        actions: Vec::new(),
    };
    driver.restore(start.entries);
    loop {
        while (!driver.ready.is_empty() || driver.looks_back) && driver.run.ended().is_none() {
            for event in std::mem::take(&mut driver.ready) {
                driver.tell(event);
            }
            driver.look_back();
            driver.flush().await?;
            driver.look_up().await?;
            tokio::task::yield_now().await;
        }
        if let Some(ended) = driver.run.ended() {
            driver.subscriptions.leave().await;
            return Ok(Drove::Ended(ended.clone()));
        }
        driver.subscriptions.attend(&driver.run, &*driver.performer);
        if let Some(rest) = driver.rests()
            && let Some(outside) = &driver.outside
            && driver.host.may_rest(&rest, &|| outside.inbox.is_empty())
        {
            return Ok(Drove::Rests(rest));
        }
        driver.next().await?;
        driver.flush().await?;
    }
}

impl<H: Host> Driver<'_, H> {
    /// Does again what has happened, and begins what was being done. An effect whose outcome was not kept is performed again,
    /// but for one that must not be: its outcome is unknown.
    fn restore(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            self.ready.push(Event::Started);
            return;
        }
        let mut performing = BTreeMap::new();
        let mut paused = false;
        // Of a run on its own: the events that it emitted, and who was still to hear which.
        let mut emitted: Vec<(Id, Data)> = Vec::new();
        let mut owed: Vec<(Id, Id, Data)> = Vec::new();
        for (event, at) in entries {
            match &event {
                Event::Done { id, outcome } => {
                    performing.remove(id);
                    if outcome.is_err() {
                        owed.retain(|(emitted, ..)| emitted != id);
                    }
                    self.subscriptions.ended(*id);
                }
                Event::Continued => paused = false,
                Event::Due { id, timer } => self.timers.done(*id, *timer),
                Event::Permitted { id, permit } => self.note(*id, permit),
                Event::Received { id, event } => {
                    self.consumed.extend(identity(event));
                    self.subscriptions.heard(*id, event);
                    let heard = owed.iter().position(|(_, by, owed)| by == id && owed == event);
                    heard.map(|place| owed.remove(place));
                }
                _ => {}
            }
            for action in self.run.apply(event, at) {
                match action {
                    Action::Perform { id, .. } => {
                        if let Action::Perform { effect: Effect::Emit(event), .. } = &action {
                            owed.extend(self.wanting(event).map(|by| (id, by, event.clone())));
                            if self.keeps_emitted {
                                emitted.push((id, event.clone()));
                            }
                        }
                        performing.insert(id, action);
                    }
                    Action::Drop { id } => {
                        performing.remove(&id);
                        owed.retain(|(_, by, _)| *by != id);
                        self.act(action, at);
                    }
                    Action::Pause => paused = true,
                    Action::Permit { .. } => drop(self.waits(action, at)),
                    Action::Release { id, .. } => drop(self.permits.remove(&id)),
                    Action::Trace(trace) => self.host.recall(&trace),
                    action => self.act(action, at),
                }
            }
        }
        self.ask_permits();
        self.host.restored();
        self.subscriptions.restored();
        if paused {
            self.ready.push(Event::Continued);
        }
        // One that is emitted again is heard then, and one that nobody has heard is looked at again.
        let heard = |event: &Data| identity(event).is_some_and(|identity| self.consumed.contains(&identity));
        owed.retain(|(emitted, _, event)| !performing.contains_key(emitted) && heard(event));
        emitted.retain(|(id, event)| !performing.contains_key(id) && !heard(event));
        self.emitted = emitted.into_iter().map(|(_, event)| event).collect();
        self.ready.extend(owed.into_iter().map(|(_, id, event)| Event::Received { id, event }));
        for (id, action) in performing {
            match action {
                Action::Perform { once: true, key, .. } => {
                    let detail = format!("{key} was begun, and what came of it was not kept");
                    let unknown = Fault::of(ErrorType::Runtime, "Outcome unknown", detail);
                    self.ready.push(Event::Done { id, outcome: Err(unknown) });
                }
                action => self.act(action, now()),
            }
        }
    }

    /// Tells the run what happened; see [`Driver::flush`].
    fn tell(&mut self, event: Event) {
        let at = now();
        let actions = self.run.apply(event.clone(), at);
        self.entries.push((event, at));
        self.actions.extend(actions.into_iter().map(|action| (action, at)));
    }

    /// Keeps what has happened, and then does what follows from it.
    async fn flush(&mut self) -> Result<(), String> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let (entries, actions) = (entries.as_slice(), self.actions.as_slice());
        self.host.keep(Happened { entries, actions, ended: self.run.ended() }).await?;
        let actions = std::mem::take(&mut self.actions);
        // What is given up in the same breath is not begun.
        let mut dropped: HashMap<Id, usize> = HashMap::new();
        for (place, (action, _)) in actions.iter().enumerate() {
            if let Action::Drop { id } = action {
                dropped.insert(*id, place);
            }
        }
        for (place, (action, at)) in actions.into_iter().enumerate() {
            let given_up = matches!(&action, Action::Perform { id, .. } if dropped.get(id).is_some_and(|drop| *drop > place));
            if !given_up {
                self.act(action, at);
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action, at: Timestamp) {
        match action {
            Action::Perform { id, effect: Effect::Emit(event), .. } if self.outside.is_none() => {
                self.emit(id, event);
            }
            Action::Perform { id, key, effect: Effect::Call { what: CallKind::Human, with, .. }, .. }
                if self.outside.is_some() =>
            {
                self.host.ask(&key, json(&with));
                self.asked.insert(id, key);
            }
            Action::Perform { id, key, effect, .. } => {
                let performed = self.performer.perform(key, effect);
                let (stop, stopped) = oneshot::channel();
                self.open.insert(id, stop);
                self.effects.push(Box::pin(async move {
                    tokio::select! {
                        outcome = performed => (id, Some(outcome)),
                        _ = stopped => (id, None),
                    }
                }));
            }
            Action::Wake { id, timer, at } => self.timers.insert(at, id, timer),
            Action::Listen { id } => {
                self.listening.push(id);
                // What came before it listened is looked at again, from the beginning of the run.
                self.earlier = self.outside.as_ref().map(|outside| (outside.earlier)(outside.floor));
                self.looks_back = self.outside.is_none();
            }
            Action::Subscribe { id, key, with, input } => self.subscriptions.add(id, key, with, input),
            Action::Drop { id } => {
                self.timers.remove(id);
                self.listening.retain(|of| *of != id);
                self.subscriptions.remove(id, &*self.performer);
                self.open.remove(&id);
                if let Some(key) = self.asked.remove(&id) {
                    self.host.take_back(&key);
                }
            }
            Action::Permit { id, .. } if self.outside.is_none() => {
                // On its own nobody decides about it.
                let permit = Permit { again: false, because: data(&Value::Null) };
                self.ready.push(Event::Permitted { id, permit: Ok(permit) });
            }
            Action::Permit { .. } => {
                if let Some(waiting) = self.waits(action, at) {
                    self.host.ask_permit(&waiting);
                }
            }
            Action::Release { id, done } => {
                if let Some(waiting) = self.permits.remove(&id) {
                    self.host.give_back(&waiting.key, done);
                }
            }
            Action::Pause => {
                // Told once, it goes to all that pause: a second one would double with each round.
                if !self.ready.contains(&Event::Continued) {
                    self.ready.push(Event::Continued);
                }
            }
            Action::Trace(trace) => self.host.trace(at, &trace),
            Action::End(_) => {}
        }
    }

    /// A run on its own hears itself what it emits.
    fn emit(&mut self, id: Id, event: Data) {
        if let Err(fault) = check_time(&event) {
            self.ready.push(Event::Done { id, outcome: Err(fault) });
            return;
        }
        if self.keeps_emitted {
            self.emitted.push(event.clone());
            self.looks_back = true;
        }
        self.ready.push(Event::Done { id, outcome: Ok(event) });
    }

    /// Notes that something waits for a permit.
    fn waits(&mut self, action: Action, since: Timestamp) -> Option<Waiting> {
        let Action::Permit { id, key, reference, with, part_of } = action else { return None };
        let waiting = Waiting { key, reference, with: json(&with), part_of, since, given: false };
        self.permits.insert(id, waiting.clone());
        Some(waiting)
    }

    /// Notes what became of something that waited.
    fn note(&mut self, id: Id, permit: &Result<Permit, Fault>) {
        if let Some(waiting) = self.permits.get_mut(&id) {
            waiting.given = permit.is_ok();
        }
    }

    /// Asks for all permits that are waited for; a run that was told to rest asks for none.
    fn ask_permits(&mut self) {
        for waiting in self.permits.values() {
            if self.run.is_suspended() {
                self.host.withdraw(&waiting.key);
            } else {
                self.host.ask_permit(waiting);
            }
        }
    }

    /// Tells what waits for a permit that it has one. `Err`: nothing of that key waits, or it could not be kept.
    async fn permit(&mut self, key: &str, permit: Result<Permit, Fault>) -> Result<(), String> {
        let waits = |(_, waiting): &(&Id, &Waiting)| waiting.key == key && !waiting.given;
        let found = self.permits.iter().find(waits).filter(|_| !self.run.is_suspended());
        let id = found.map(|(id, _)| *id).ok_or("nothing waits for it any more")?;
        self.note(id, &permit);
        self.tell(Event::Permitted { id, permit });
        self.flush().await
    }

    /// Those of a run on its own that an event is for.
    fn wanting<'e>(&'e self, event: &'e Data) -> impl Iterator<Item = Id> + 'e {
        let listening = self.listening.iter().filter(|_| self.outside.is_none());
        listening.copied().filter(|id| self.run.wants(*id, event))
    }

    /// Has the events that a run on its own emitted heard by those who listen now. What nobody hears is kept for who listens later.
    fn look_back(&mut self) {
        if std::mem::take(&mut self.looks_back) {
            let emitted = std::mem::take(&mut self.emitted);
            self.emitted = emitted.into_iter().filter(|event| !self.hear(event)).collect();
        }
    }

    /// Tells an event to all who want it now; whether anybody did.
    fn hear(&mut self, event: &Data) -> bool {
        let wanting: Vec<Id> =
            self.listening.iter().copied().filter(|id| self.run.wants(*id, event)).collect();
        for id in &wanting {
            self.tell(Event::Received { id: *id, event: event.clone() });
        }
        !wanting.is_empty()
    }

    /// An event that came from outside, once.
    fn take_event(&mut self, event: &Value) {
        if self.listening.is_empty() {
            return;
        }
        let event = data(event);
        let Some(identity) = identity(&event) else { return };
        if !self.consumed.contains(&identity) && self.hear(&event) {
            self.consumed.insert(identity);
        }
    }

    /// A message came, or the end of a subscription.
    fn take_message(&mut self, id: Id, message: Option<Result<Value, Fault>>) {
        let outcome = match message {
            Some(Ok(message)) => {
                let event = data(&message);
                if self.run.wants(id, &event) {
                    self.subscriptions.heard(id, &event);
                    self.tell(Event::Received { id, event });
                }
                return;
            }
            Some(Err(fault)) => Err(fault),
            None => Ok(Data::Null),
        };
        self.subscriptions.ended(id);
        self.tell(Event::Done { id, outcome });
    }

    /// What it waits for, when nothing is being done for it.
    fn rests(&self) -> Option<Rest> {
        let outside = self.outside.as_ref()?;
        let suspended = self.run.is_suspended();
        let open = !suspended && !self.subscriptions.is_empty();
        let busy = open || !self.effects.is_empty() || self.earlier.is_some() || !outside.inbox.is_empty();
        if busy {
            return None;
        }
        let wake = self.timers.first().map(|(at, ..)| at).filter(|_| !suspended);
        let mut hears = None;
        for id in self.listening.iter().filter(|_| !suspended) {
            let types = hears.get_or_insert_with(BTreeSet::new);
            match self.run.hears(*id) {
                Some(more) => types.extend(more),
                // Anything, which no list of types can say.
                None => {
                    types.clear();
                    break;
                }
            }
        }
        Some(Rest { suspended, wake, hears, permits: !self.permits.is_empty() })
    }

    /// Looks up from work that goes on by itself: what has come meanwhile, such as the end of its time or an order, is not kept
    /// waiting by it. A little of it each time, so that neither keeps the other off.
    async fn look_up(&mut self) -> Result<(), String> {
        const AT_ONCE: usize = 16;
        for _ in 0..AT_ONCE {
            if self.ready.is_empty() || self.run.ended().is_some() {
                return Ok(());
            }
            self.subscriptions.attend(&self.run, &*self.performer);
            let Some(came) = self.came().now_or_never() else { return Ok(()) };
            self.take(came).await?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Waits for what happens next.
    async fn next(&mut self) -> Result<(), String> {
        let idle = self.effects.is_empty() && self.subscriptions.is_empty();
        if self.awaited().is_none() && idle && self.outside.is_none() {
            let detail = "the run waits for events that nobody here sends; workflows that listen to others run in `sos up`";
            if self.listening.is_empty() {
                return Err(detail.to_owned());
            }
            let id = self.listening.remove(0);
            let fault = Fault::of(ErrorType::Runtime, "Nothing will come", detail);
            self.tell(Event::Done { id, outcome: Err(fault) });
            return Ok(());
        }
        let came = self.came().await;
        self.take(came).await
    }

    /// The next time that is waited for.
    fn awaited(&self) -> Option<(Timestamp, Id, Timer)> {
        self.timers.first().filter(|_| !self.run.is_suspended() || self.outside.is_none())
    }

    /// What comes next. It may be given up at any time, and nothing is lost.
    async fn came(&mut self) -> Came {
        let timer = self.awaited();
        let inbox = async {
            match &mut self.outside {
                Some(outside) => outside.inbox.recv().await,
                None => std::future::pending().await,
            }
        };
        let earlier = async {
            match &mut self.earlier {
                Some(page) => page.await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            until(timer.map(|(at, ..)| at)).await;
            match timer {
                Some((_, id, timer)) => Came::Due(id, timer),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (id, message) = self.subscriptions.next(&self.run) => Came::Message(id, message),
            Some((id, outcome)) = self.effects.next() => Came::Outcome(id, outcome),
            told = inbox => Came::Told(told),
            page = earlier => Came::Earlier(page),
            due = due => due,
        }
    }

    /// Tells the run what came.
    async fn take(&mut self, came: Came) -> Result<(), String> {
        match came {
            Came::Message(id, message) => self.take_message(id, message),
            Came::Outcome(id, Some(outcome)) => {
                self.open.remove(&id);
                self.tell(Event::Done { id, outcome: outcome.map(|value| data(&value)) });
            }
            Came::Outcome(_, None) => {}
            Came::Told(Some(told)) => return self.take_told(told).await,
            Came::Told(None) => return Err("the server stops".to_owned()),
            Came::Earlier((events, next)) => {
                self.earlier =
                    self.outside.as_ref().and_then(|outside| next.map(|next| (outside.earlier)(next)));
                events.iter().for_each(|event| self.take_event(event));
            }
            Came::Due(id, timer) => {
                self.timers.done(id, timer);
                self.tell(Event::Due { id, timer });
            }
        }
        Ok(())
    }

    /// What it is told from outside, which is answered once it is kept; who told it may have gone.
    async fn take_told(&mut self, told: Told) -> Result<(), String> {
        match told {
            Told::Order(event, answer) => {
                let rested = self.run.is_suspended();
                self.tell(event);
                let kept = self.flush().await;
                if kept.is_ok() && rested != self.run.is_suspended() {
                    self.ask_permits();
                }
                let _gone = answer.send(kept.clone());
                kept
            }
            Told::Heard(event) => {
                self.take_event(&event);
                Ok(())
            }
            Told::Permitted { key, permit, answer } => {
                let _gone = answer.send(self.permit(&key, permit).await);
                Ok(())
            }
            Told::Done { key, outcome, answer } => {
                let asked = self.asked.iter().find(|(_, asked)| **asked == key).map(|(id, _)| *id);
                let Some(id) = asked else {
                    let _gone = answer.send(Err("nobody waits for it any more".to_owned()));
                    return Ok(());
                };
                self.asked.remove(&id);
                self.tell(Event::Done { id, outcome: outcome.map(|value| data(&value)) });
                let kept = self.flush().await;
                let _gone = answer.send(kept.clone());
                kept
            }
        }
    }
}

/// Waits for a time, however the clock is set meanwhile; for ever without one.
pub(crate) async fn until(at: Option<Timestamp>) {
    const LONGEST: Duration = Duration::from_mins(1);
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let left = Duration::try_from(at.duration_since(wall_now())).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST)).await;
    }
}

/// Whether the time of an event is one, as RFC 3339 writes it.
fn check_time(event: &Data) -> Result<(), Fault> {
    let Data::Obj(attributes) = event else { return Ok(()) };
    let Some(time) = attributes.get(&Data::from("time".to_owned())).map(json) else { return Ok(()) };
    if time.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()) {
        return Ok(());
    }
    let detail = format!("expected a time such as 2026-04-05T17:31:00Z as `time` of an event, found {time}");
    Err(Fault::of(ErrorType::Validation, "No event", detail))
}

/// Source and id of an event, which are one event's only.
pub(super) fn identity(event: &Data) -> Option<(String, String)> {
    let Data::Obj(attributes) = event else { return None };
    let text = |name: &str| match attributes.get(&Data::from(name.to_owned())) {
        Some(Data::TStr(text)) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    };
    Some((text("source")?, text("id")?))
}

#[cfg(test)]
mod tests;
