//! What people ask of runs.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sos_store::{RunChange, RunEvent, RunFilter, RunId, RunRecord, RunState, RunWrite};
use sos_workflow::machine::Event;
use tokio::sync::oneshot;

use super::lifecycle::Lifecycle;
use super::perform::publish;
use super::{Runs, clock, hub};
use crate::clock::wall_now;
use crate::relock;
use crate::workflow::drive::Told;
use crate::workflow::run_id;

/// How long a run is waited for that is just being read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(2);
/// The most runs of one order.
const MOST: usize = 1_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It ends; what it did is undone as it says.
    Cancel,
    /// It rests until it is resumed.
    Suspend,
    /// It goes on.
    Resume,
    /// One that faulted goes on with the step that failed.
    Retry,
}

/// Which runs are meant.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// By their names; else all that the filter lets pass.
    pub names: Vec<String>,
    /// Which others.
    pub filter: RunFilter,
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// Names of the runs that follow it.
    pub done: Vec<String>,
    /// Names of those that it does not fit, and why.
    pub passed: Vec<(String, String)>,
    /// Whether there are more than one order takes; repeat it.
    pub more: bool,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such run.
    Unknown(String),
    /// It does not fit where the run stands.
    Unfit(String),
    /// What the store or a channel says.
    Failed(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unknown(why) | Self::Unfit(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl Order {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Retry => "retry",
        }
    }

    /// The order of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Cancel, Self::Suspend, Self::Resume, Self::Retry]
            .into_iter()
            .find(|order| order.word() == word)
    }

    /// The states in which it means something.
    const fn fits(self, state: RunState) -> bool {
        match self {
            Self::Cancel => !state.is_ended(),
            Self::Suspend => matches!(state, RunState::Running | RunState::Waiting),
            Self::Resume => matches!(state, RunState::Suspended),
            Self::Retry => matches!(state, RunState::Faulted),
        }
    }

    const fn event(self) -> Event {
        match self {
            Self::Suspend => Event::Suspended,
            Self::Resume => Event::Resumed,
            Self::Cancel | Self::Retry => Event::Cancelled,
        }
    }
}

impl Runs {
    /// Gives an order to runs, to each on its own.
    ///
    /// # Errors
    /// A name that no run has, an order that does not fit the one run that was named, what the store says.
    pub async fn order(&self, order: Order, which: Which) -> Result<Ordered, Refusal> {
        let named = which.names.len();
        let records = self.meant(order, which).await?;
        let more = named == 0 && records.len() >= MOST;
        let mut ordered = Ordered { more, ..Ordered::default() };
        for record in records {
            if !order.fits(record.state) {
                let why = format!(
                    "run {} is {}: it cannot be told to {}",
                    record.name,
                    record.state.word(),
                    order.word()
                );
                if named == 1 {
                    return Err(Refusal::Unfit(why));
                }
                ordered.passed.push((record.name, why));
                continue;
            }
            match self.give(order, &record).await {
                Ok(()) => ordered.done.push(record.name),
                Err(refusal) if named == 1 => return Err(refusal),
                Err(refusal) => ordered.passed.push((record.name, refusal.to_string())),
            }
        }
        Ok(ordered)
    }

    async fn meant(&self, order: Order, which: Which) -> Result<Vec<RunRecord>, Refusal> {
        let log = self.0.log.clone();
        let found = tokio::task::spawn_blocking(move || {
            if which.names.is_empty() {
                let mut filter = which.filter;
                if filter.states.is_empty() {
                    filter.states = RunState::ALL.into_iter().filter(|state| order.fits(*state)).collect();
                }
                return Ok(log.list(&filter, MOST));
            }
            let mut records = Vec::new();
            for name in which.names {
                match log.find(&name) {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => return Err(Refusal::Unknown(format!("there is no run \"{name}\""))),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(records))
        });
        let found = found.await.map_err(|error| Refusal::Failed(error.to_string()))??;
        found.map_err(|error| Refusal::Failed(error.to_string()))
    }

    async fn give(&self, order: Order, record: &RunRecord) -> Result<(), Refusal> {
        if order == Order::Retry {
            return self.retry(record).await;
        }
        if order == Order::Cancel && self.end_stranded(record).await? {
            return Ok(());
        }
        let told = |answer| Told::Order(order.event(), answer);
        self.insist(record.id, &record.name, told, Refusal::Failed).await
    }

    /// Tells a run something until it has kept it: one that rests is woken for it.
    ///
    /// # Errors
    /// That it has ended or does not answer; what it says itself, as `refused`.
    pub(super) async fn insist(
        &self,
        run: RunId,
        name: &str,
        told: impl Fn(oneshot::Sender<Result<(), String>>) -> Told,
        refused: fn(String) -> Refusal,
    ) -> Result<(), Refusal> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (answer, answered) = oneshot::channel();
            let (sent, rests) = self.tell(run, told(answer));
            if rests {
                clock::wake(self, [run]).await;
            }
            if sent {
                // One that answers nothing ended, or was put aside, before it heard of it.
                if let Ok(kept) = answered.await {
                    return kept.map_err(refused);
                }
            }
            if let Some(state) = self.state(name).await?.filter(|state| state.is_ended()) {
                return Err(Refusal::Unfit(format!("run {name} is {} by now", state.word())));
            }
            if tokio::time::Instant::now() > until {
                return Err(Refusal::Failed(format!("run {name} does not answer")));
            }
            if !sent && !rests {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Ends a run whose workflow is gone: nothing of it can be undone any more. Whether it was one.
    async fn end_stranded(&self, record: &RunRecord) -> Result<bool, Refusal> {
        let is_one =
            relock(&self.0.stranded).get_mut(&record.owner).is_some_and(|runs| runs.remove(&record.id));
        if !is_one {
            return Ok(false);
        }
        let ended = Some((wall_now(), b"null".to_vec()));
        let change = Some(RunChange { state: RunState::Cancelled, wake: None, hears: None, ended });
        let write = RunWrite::Append { run: record.id, first: 1, entries: Vec::new(), change };
        self.0.journal.write(vec![write]).await.map_err(Refusal::Failed)?;
        relock(&self.0.table).rouse(record.id);
        self.0.permits.heard(record.id);
        self.count(&record.owner, false);
        self.tell_end(record.id, &(RunState::Cancelled, Err(super::view::cancelled())));
        Ok(true)
    }

    /// Tells a run that is in memory something; whether it was told, and whether it rested and is now to be woken.
    fn tell(&self, run: RunId, told: Told) -> (bool, bool) {
        let mut table = relock(&self.0.table);
        if let Some(resident) = table.resident.get(&run) {
            return (resident.inbox.send(told).is_ok(), false);
        }
        let rests = table.is_resting(run);
        table.rouse(run);
        (false, rests)
    }

    async fn state(&self, name: &str) -> Result<Option<RunState>, Refusal> {
        let (log, name) = (self.0.log.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || log.find(&name));
        let found = found.await.map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok(found.map_err(|error| Refusal::Failed(error.to_string()))?.map(|record| record.state))
    }

    /// What it ended with is forgotten: the step that failed is performed again, with the same key.
    async fn retry(&self, record: &RunRecord) -> Result<(), Refusal> {
        let (log, run) = (self.0.log.clone(), record.id);
        let loaded = tokio::task::spawn_blocking(move || log.load(run));
        let loaded = loaded.await.map_err(|error| Refusal::Failed(error.to_string()))?;
        let loaded = loaded.map_err(|error| Refusal::Failed(error.to_string()))?;
        let Some((_, entries)) = loaded else {
            return Err(Refusal::Unknown(format!("there is no run \"{}\"", record.name)));
        };
        let from = self.retried_from(record, &entries).map_err(Refusal::Unfit)?;
        let mut writes = vec![RunWrite::Reopen { run, from }];
        writes.extend(self.told_reopened(record).await.map(RunWrite::Tell));
        self.0.journal.write(writes).await.map_err(Refusal::Failed)?;
        self.0.told.notify_one();
        self.count(&record.owner, true);
        {
            let mut table = relock(&self.0.table);
            table.rest(run, None, None);
            table.queue(run);
        }
        self.0.turn.notify_one();
        Ok(())
    }

    /// What is told of a run that goes on after its end; none where nobody is told.
    async fn told_reopened(&self, record: &RunRecord) -> Option<Vec<RunEvent>> {
        let workflow = self.workflow(&record.owner).await.ok()?;
        let program = self.program(record.document).ok()?;
        Some(Lifecycle::of(&workflow, &program, &record.name)?.reopened(wall_now()))
    }

    /// Sends an event to one run, which hears it when it listens, now or later.
    ///
    /// # Errors
    /// That there is no such run, that it has ended, what the channel says.
    pub async fn signal(&self, name: &str, event_type: &str, payload: Option<Value>) -> Result<(), Refusal> {
        let which = Which { names: vec![name.to_owned()], ..Which::default() };
        let record = self.meant(Order::Cancel, which).await?.into_iter().next();
        let record = record.ok_or_else(|| Refusal::Unknown(format!("there is no run \"{name}\"")))?;
        if record.state.is_ended() {
            return Err(Refusal::Unfit(format!("run {name} is {}: it hears nothing", record.state.word())));
        }
        let workflow = self.workflow(&record.owner).await.map_err(Refusal::Failed)?;
        if !workflow.kept.program.listens() {
            let why = format!("run {name} of workflow {} never listens to events", record.owner);
            return Err(Refusal::Unfit(why));
        }
        let mut event = Map::new();
        let now = wall_now();
        for (key, value) in [
            ("specversion", "1.0"),
            ("id", &run_id(now)),
            ("source", "/sos/signal"),
            ("type", event_type),
            ("time", &now.to_string()),
            ("subject", name),
            (hub::ONLY, name),
        ] {
            event.insert(key.to_owned(), json!(value));
        }
        if let Some(payload) = payload {
            event.insert("datacontenttype".to_owned(), json!("application/json"));
            event.insert("data".to_owned(), payload);
        }
        let published = publish(&self.0.channels, workflow.spec.channel(), Value::Object(event)).await;
        published.map(drop).map_err(|fault| Refusal::Failed(fault.detail.or(fault.title).unwrap_or_default()))
    }
}
