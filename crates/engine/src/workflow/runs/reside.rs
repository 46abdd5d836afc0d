//! One run in memory: what it needs, what is kept of it, and where it goes when nothing happens.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sos_store::{NewRun, RunChange, RunEntry, RunId, RunState, RunWrite, RunWritten};
use sos_workflow::machine::{Begin, Ended, Trace};
use sos_workflow::program::Program;
use sos_workflow::template::{data, json as to_json};
use tokio::sync::{mpsc, oneshot};

use super::definition::Workflow;
use super::hub;
use super::lifecycle::Lifecycle;
use super::perform::Performer;
use super::table::{self, Resident};
use super::{Begun, NewStart, RunEnd, Runs};
use crate::clock::wall_now;
use crate::permits::Asked;
use crate::relock;
use crate::workflow::drive::{self, Drove, Entry, Happened, Host, Outside, Rest, Start, Waiting, drive};
use crate::workflow::entry;
use crate::workflow::run_id;

/// A run that cannot go on for a reason that is not its own is tried again after this.
const AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// What a run began with, as it is kept.
pub(super) struct Origin {
    pub(super) input: Value,
    pub(super) by: String,
    pub(super) floor: u64,
    pub(super) depth: u32,
    /// What is declared of it as a whole, when it waits for a permit.
    pub(super) permit: Option<Value>,
}

impl Origin {
    fn written(&self) -> Vec<u8> {
        let mut value =
            json!({ "input": self.input, "by": self.by, "floor": self.floor, "depth": self.depth });
        if let Some(permit) = &self.permit {
            value["permit"] = permit.clone();
        }
        value.to_string().into_bytes()
    }

    /// The beginning of a run as its machine takes it.
    pub(super) fn begin(&self, id: String, at: Timestamp, secrets: &Value) -> Begin {
        Begin {
            id,
            input: data(&self.input),
            secrets: data(secrets),
            at,
            permit: self.permit.as_ref().map(data),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            input: value["input"].take(),
            by: value["by"].as_str()?.to_owned(),
            floor: value["floor"].as_u64()?,
            depth: u32::try_from(value["depth"].as_u64()?).ok()?,
            permit: value.get("permit").cloned(),
        })
    }
}

/// Keeps what a run goes through.
struct Keeper {
    runs: Runs,
    owner: String,
    channel: Arc<str>,
    kept: Place,
    /// The name of the run.
    name: String,
    /// Whether it has ever asked for a permit.
    asks: bool,
    /// What is told of it to others.
    lifecycle: Option<Lifecycle>,
    /// Until the run is in the table: what it is to be told by.
    resident: Option<Resident>,
}

/// Where a run is kept.
enum Place {
    /// Nowhere yet; told when it is.
    New(Option<Box<NewRun>>, Option<(String, Vec<u8>)>, Option<oneshot::Sender<Result<Begun, String>>>),
    /// With the number of its next entry; and whether the store may take it for one that rests.
    At(RunId, u64, bool),
    /// Another run with its key had begun before.
    Elsewhere,
}

impl Runs {
    /// Starts a run of a workflow.
    pub(super) async fn begin(&self, workflow: &Arc<Workflow>, start: NewStart) -> Result<Begun, String> {
        let at = drive::now();
        let name = run_id(at);
        let channel: Arc<str> = Arc::from(workflow.spec.channel());
        let listens = workflow.kept.program.listens();
        let floor = if listens { self.0.channels.next(&channel).await? } else { 0 };
        let permit = workflow.permit.clone();
        let origin = Origin { input: start.input, by: start.by, floor, depth: start.depth, permit };
        let mut labels = workflow.labels.clone();
        labels.extend(start.labels);
        let new = NewRun {
            name: name.clone(),
            key: start.key,
            owner: workflow.name.clone(),
            document: (workflow.kept.digest, Arc::clone(&workflow.kept.body)),
            labels,
            began: at,
            start: origin.written(),
            tells: Vec::new(),
        };
        let (told, begun) = oneshot::channel();
        if start.depth == 0 && !relock(&self.0.table).has_room() {
            return self.queue(new, start.mark).await;
        }
        let place = Place::New(Some(Box::new(new)), start.mark, Some(told));
        let program = Arc::clone(&workflow.kept.program);
        self.reside(Residing { workflow, program, name, at, origin, entries: Vec::new(), place })?;
        begun.await.map_err(|_| "the run did not begin".to_owned())?
    }

    /// Keeps a run that begins when there is room for it.
    async fn queue(&self, new: NewRun, mark: Option<(String, Vec<u8>)>) -> Result<Begun, String> {
        let (name, owner) = (new.name.clone(), new.owner.clone());
        let mut writes = vec![RunWrite::Begin(Box::new(new), Vec::new(), None)];
        writes.extend(mark.map(|(name, value)| RunWrite::Mark { name, value }));
        match self.0.journal.write(writes).await?.first() {
            Some(RunWritten::Began(run)) => {
                self.count(&owner, true);
                let mut table = relock(&self.0.table);
                table.rest(*run, None, None);
                table.queue(*run);
                Ok(Begun { id: *run, name, is_new: true })
            }
            Some(RunWritten::Known(run, name)) => Ok(Begun { id: *run, name: name.clone(), is_new: false }),
            _ => Err("the store answered something else".to_owned()),
        }
    }

    /// Takes a run into memory that was put aside, or was there when the server ended.
    pub(super) async fn resume(&self, run: RunId) -> Result<(), String> {
        let log = self.0.log.clone();
        let found = tokio::task::spawn_blocking(move || log.load(run)).await.map_err(|e| e.to_string())?;
        let Some((record, kept)) = found.map_err(|e| e.to_string())? else { return Ok(()) };
        if record.state.is_ended() {
            return Ok(());
        }
        let Ok(workflow) = self.workflow(&record.owner).await else {
            // It rests until the workflow is there again; `describe` says so.
            relock(&self.0.table).rest(run, None, None);
            relock(&self.0.stranded).entry(record.owner).or_default().insert(run);
            return Ok(());
        };
        let program = self.program(record.document)?;
        let origin = Origin::read(&record.start).ok_or("what it began with cannot be read")?;
        let mut entries = Vec::with_capacity(kept.len());
        for one in &kept {
            entries.push((entry::read(&one.body)?, one.at));
        }
        // Whatever the store says just now, what it is put aside with may still be on its way there.
        let place = Place::At(run, kept.len() as u64 + 1, true);
        let (name, at) = (record.name, record.began);
        self.reside(Residing { workflow: &workflow, program, name, at, origin, entries, place })
    }

    /// The values of the secrets that a workflow uses, each an object of its keys.
    pub(super) fn secrets(&self, program: &Program) -> Result<Value, String> {
        let mut all = Map::new();
        for name in &program.definition().r#use.secrets {
            all.insert(name.clone(), crate::services::secrets::all(&self.0.store, name)?);
        }
        Ok(Value::Object(all))
    }

    fn reside(&self, residing: Residing<'_>) -> Result<(), String> {
        let Residing { workflow, program, name, at, origin, entries, place } = residing;
        let secrets = self.secrets(&program)?;
        let (sender, inbox) = mpsc::unbounded_channel();
        let channel: Arc<str> = Arc::from(workflow.spec.channel());
        let hears = program.listens().then(|| Arc::clone(&channel));
        let mut keeper = Keeper {
            runs: self.clone(),
            owner: workflow.name.clone(),
            channel: Arc::clone(&channel),
            kept: place,
            lifecycle: Lifecycle::of(workflow, &program, &name),
            name: name.clone(),
            asks: false,
            resident: Some(Resident { inbox: sender, name: name.clone(), channel: hears }),
        };
        if let Place::At(run, ..) = keeper.kept {
            keeper.settle(run);
        }
        let performer = Arc::new(Performer {
            runs: Arc::downgrade(&self.0),
            executor: workflow.executor.clone(),
            calls: self.0.calls.clone(),
            channels: self.0.channels.clone(),
            channel: Arc::clone(&channel),
            busy: Arc::clone(&self.0.busy),
            depth: origin.depth,
        });
        let outside = Outside {
            inbox,
            earlier: hub::earlier(&self.0.channels, &channel, Some(&name)),
            floor: origin.floor,
            consumed: HashSet::new(),
        };
        let begin = origin.begin(name, at, &secrets);
        let start = Start { program, begin, entries, outside: Some(outside) };
        tokio::spawn(async move {
            let drove = drive(start, performer, &mut keeper).await;
            keeper.leave(drove);
        });
        Ok(())
    }
}

struct Residing<'a> {
    workflow: &'a Arc<Workflow>,
    program: Arc<Program>,
    name: String,
    at: Timestamp,
    origin: Origin,
    entries: Vec<Entry>,
    place: Place,
}

/// How a run stands that ended.
fn ending(ended: &Ended, at: Timestamp) -> RunChange {
    let (state, result) = match ended {
        Ended::Completed(output) => (RunState::Completed, to_json(output)),
        Ended::Faulted(fault) => (RunState::Faulted, fault.to_json()),
        Ended::Cancelled => (RunState::Cancelled, Value::Null),
    };
    RunChange { state, wake: None, hears: None, ended: Some((at, result.to_string().into_bytes())) }
}

impl Host for Keeper {
    async fn keep(&mut self, happened: Happened<'_>) -> Result<(), String> {
        let Happened { entries, ended, .. } = happened;
        let tells = self.lifecycle.as_mut().map(|lifecycle| lifecycle.events(happened)).unwrap_or_default();
        let is_told = !tells.is_empty();
        let lines: Vec<RunEntry> = entries
            .iter()
            .map(|(event, at)| RunEntry { at: *at, body: entry::written(event).to_string().into_bytes() })
            .collect();
        if let (true, Place::At(run, ..)) = (self.asks, &self.kept) {
            self.runs.0.permits.quiet(*run, false);
        }
        let last = entries.last().map_or_else(drive::now, |(_, at)| *at);
        let change = ended.map(|ended| ending(ended, last));
        match &mut self.kept {
            Place::At(run, next, rests) => {
                let going_on = RunChange { state: RunState::Running, wake: None, hears: None, ended: None };
                let change = change.or_else(|| std::mem::take(rests).then_some(going_on));
                let (first, count) = (*next, lines.len() as u64);
                *next += count;
                let mut writes = vec![RunWrite::Append { run: *run, first, entries: lines, change }];
                writes.extend(is_told.then_some(RunWrite::Tell(tells)));
                self.runs.0.journal.write(writes).await?;
                if is_told {
                    self.runs.0.told.notify_one();
                }
                Ok(())
            }
            Place::New(new, mark, told) => {
                let Some(mut new) = new.take() else {
                    return Err("its beginning could not be kept".to_owned());
                };
                new.tells = tells;
                let (name, told) = (new.name.clone(), told.take());
                let mark = mark.take().map(|(name, value)| RunWrite::Mark { name, value });
                let count = lines.len() as u64;
                let mut writes = vec![RunWrite::Begin(new, lines, change)];
                writes.extend(mark);
                let written = self.runs.0.journal.write(writes).await;
                let outcome = match written.as_deref() {
                    Ok([RunWritten::Began(run), ..]) => {
                        self.kept = Place::At(*run, count + 1, false);
                        self.runs.count(&self.owner, true);
                        if is_told {
                            self.runs.0.told.notify_one();
                        }
                        if ended.is_none() {
                            self.settle(*run);
                        }
                        Ok(Begun { id: *run, name, is_new: true })
                    }
                    Ok([RunWritten::Known(run, name), ..]) => {
                        self.kept = Place::Elsewhere;
                        Ok(Begun { id: *run, name: name.clone(), is_new: false })
                    }
                    Ok(_) => Err("the store answered something else".to_owned()),
                    Err(why) => Err(why.clone()),
                };
                let failed = match &self.kept {
                    Place::Elsewhere => Err("begun before".to_owned()),
                    _ => outcome.as_ref().map(drop).map_err(Clone::clone),
                };
                if let Some(told) = told {
                    // Who asked may have gone; the run goes on.
                    let _gone = told.send(outcome);
                }
                failed
            }
            Place::Elsewhere => Err("begun before".to_owned()),
        }
    }

    fn recall(&mut self, trace: &Trace) {
        if let Some(lifecycle) = &mut self.lifecycle {
            lifecycle.recall(trace);
        }
    }

    fn ask(&mut self, key: &str, with: Value) {
        let Place::At(run, ..) = self.kept else { return };
        let kept = self.runs.0.journal.queue(vec![super::people::asked(run, key, with)]);
        let runs = self.runs.clone();
        tokio::spawn(async move {
            // Without it the run asks again when it is restored.
            let _kept = kept.await;
            runs.0.asked.notify_one();
        });
    }

    fn take_back(&mut self, key: &str) {
        self.write_later(RunWrite::Forget { key: key.to_owned() });
    }

    fn ask_permit(&mut self, permit: &Waiting) {
        let Place::At(run, ..) = self.kept else { return };
        self.asks = true;
        let Waiting { key, reference, with, part_of, since, given } = permit.clone();
        let (name, workflow) = (self.name.clone(), self.owner.clone());
        self.runs.0.permits.ask(Asked { run, name, workflow, key, reference, with, part_of, since, given });
    }

    fn give_back(&mut self, key: &str, done: bool) {
        self.runs.0.permits.release(key, done);
    }

    fn withdraw(&mut self, key: &str) {
        self.runs.0.permits.withdraw(key);
    }

    fn restored(&mut self) {
        if let Place::At(run, ..) = self.kept {
            self.runs.0.permits.heard(run);
        }
    }

    fn may_rest(&mut self, rest: &Rest, is_idle: &dyn Fn() -> bool) -> bool {
        let Place::At(run, next, _) = self.kept else { return false };
        if self.asks {
            self.runs.0.permits.quiet(run, is_idle());
        }
        let hears = rest.hears.clone().map(|types| (Arc::clone(&self.channel), types));
        let state = if rest.suspended { RunState::Suspended } else { RunState::Waiting };
        let written = table::written(&self.channel, rest);
        let change = Some(RunChange { state, wake: rest.wake, hears: written, ended: None });
        {
            let mut table = relock(&self.runs.0.table);
            // Under the lock nobody tells it anything.
            if !table.is_better_aside(rest, wall_now()) || !is_idle() {
                return false;
            }
            // Before anybody can wake it, whose write has to come after this one. Not waited for: without it the run is only
            // looked at once more after a restart.
            let write = RunWrite::Append { run, first: next, entries: Vec::new(), change };
            drop(self.runs.0.journal.queue(vec![write]));
            table.rest(run, rest.wake, hears);
        }
        self.runs.0.turn.notify_one();
        true
    }
}

impl Keeper {
    /// Writes what can be made good when it is lost: a run that is restored asks again.
    fn write_later(&self, write: RunWrite) {
        drop(self.runs.0.journal.queue(vec![write]));
    }

    /// Puts the run into the table, where it can be told what happens.
    fn settle(&mut self, run: RunId) {
        if let Some(resident) = self.resident.take() {
            let mut table = relock(&self.runs.0.table);
            table.rouse(run);
            table.resident.insert(run, resident);
        }
    }

    /// Leaves memory.
    fn leave(self, drove: Result<Drove, String>) {
        let Place::At(run, ..) = self.kept else { return };
        match drove {
            Ok(Drove::Ended(ended)) => {
                relock(&self.runs.0.table).resident.remove(&run);
                self.runs.0.permits.quiet(run, false);
                self.runs.count(&self.owner, false);
                let end: (RunState, RunEnd) = match ended {
                    Ended::Completed(output) => (RunState::Completed, Ok(to_json(&output))),
                    Ended::Faulted(fault) => (RunState::Faulted, Err(fault)),
                    Ended::Cancelled => (RunState::Cancelled, Err(super::view::cancelled())),
                };
                self.runs.tell_end(run, &end);
                self.runs.0.turn.notify_one();
            }
            // All of that was done when it was put aside.
            Ok(Drove::Rests(_)) => {}
            Err(why) => {
                let stopped = relock(&self.runs.0.table).resident.remove(&run).is_none();
                if stopped {
                    return;
                }
                tracing::error!(run, workflow = self.owner, why, "a run cannot go on; tried again soon");
                let again = wall_now().checked_add(AGAIN).ok();
                relock(&self.runs.0.table).rest(run, again, None);
                self.runs.0.turn.notify_one();
            }
        }
    }
}
