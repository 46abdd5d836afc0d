//! Runs of a server: durable, many at once, with events and schedules.
//!
//! - `definition.rs`: what is declared of a workflow, ready to run.
//! - `journal.rs`: writes of many runs share a wait for the disk.
//! - `table.rs`: which runs are in memory, which rest, what wakes them.
//! - `reside.rs`: one run in memory.
//! - `perform.rs`: what runs do outside.
//! - `clock.rs`: wakes runs whose time has come.
//! - `hub.rs`: hands events to runs.
//! - `starts.rs`: schedules, and events that start runs.
//! - `keeper.rs`: keeps the workflows as declared, and the runs within their time.
//! - `lifecycle.rs`: tells others what runs go through.
//! - `orders.rs`: what people ask of runs.
//! - `permits.rs`: what of runs waits for permits, and how it is shown.
//! - `people.rs`: what runs ask of people.
//! - `view.rs`: runs and workflows as they are shown.

mod clock;
mod definition;
mod hub;
mod journal;
mod keeper;
mod lifecycle;
mod orders;
mod people;
mod perform;
mod permits;
mod reside;
mod starts;
mod table;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use serde_json::Value;
use sos_call::{Egress, Resolved, Trust};
use sos_model::{did_you_mean, known_list};
use sos_store::{RunId, RunState, RunWrite, Runs as Log, Store, StoreError};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;
use sos_workflow::program::Program;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use crate::calls::Calls;
use crate::channels::Channels;
use crate::permits::Permits;
use crate::relock;
use crate::workflow::executor::Reach;
use crate::workflow::version::{LATEST, precedence};

pub use definition::check;
pub(crate) use definition::check_document;
pub use orders::{Order, Ordered, Refusal, Which};
pub use people::{Doing, Person};
pub use view::RunQuery;

use definition::{Kept, Workflow};
use journal::Journal;
use table::Table;

/// Calls, commands and containers of all runs at the same time; others wait for their turn.
const MOST_BUSY: usize = 512;

/// What came of a run: its output, or the fault with which it ended; one that was cancelled has one too.
pub type RunEnd = Result<Value, Fault>;

/// All runs. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Arc<Inner>);

/// Where the end of a run is told.
type Waiting = oneshot::Sender<(RunState, RunEnd)>;

/// Workflows that can run, by name.
type Workflows = BTreeMap<String, Arc<Workflow>>;

struct Inner {
    store: Store,
    log: Log,
    journal: Journal,
    calls: Calls,
    channels: Channels,
    base: PathBuf,
    reach: Reach,
    /// Replaced as a whole when something changes.
    workflows: RwLock<Arc<Workflows>>,
    /// Whether what is declared was looked at.
    loaded: watch::Sender<bool>,
    /// Programs of documents that runs go on with, by their number.
    programs: Mutex<HashMap<i64, Arc<Program>>>,
    table: Mutex<Table>,
    /// Told when a run may be due, or there is room.
    turn: Notify,
    /// Told when people are asked for something new.
    asked: Notify,
    /// Told when others are to be told of something.
    told: Notify,
    /// Who waits for the end of a run.
    waiting: Mutex<HashMap<RunId, Vec<Waiting>>>,
    /// Bounds what all runs do outside at the same time.
    busy: Arc<Semaphore>,
    /// Runs that are going on in some way, of each workflow.
    open: Mutex<BTreeMap<String, u64>>,
    /// What of them waits for permits.
    permits: Permits,
    /// Runs that cannot go on until their workflow is there again, by its name.
    stranded: Mutex<BTreeMap<String, BTreeSet<RunId>>>,
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}

/// The runs, kept going until this is dropped.
#[derive(Debug)]
pub struct RunningRuns {
    /// For whoever starts runs or asks about them.
    pub runs: Runs,
    tasks: Vec<JoinHandle<()>>,
}

/// How runs are started.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder that documents without a file are relative to.
    pub base: PathBuf,
    /// What calls may reach beside what services and workflows declare.
    pub egress: Egress,
    /// Addresses of hosts that are not looked up.
    pub resolve: Vec<(String, Vec<Resolved>)>,
    /// Whose certificates are trusted.
    pub trust: Trust,
}

/// What a run starts with.
#[derive(Clone, Debug, Default)]
pub struct NewStart {
    /// Its input.
    pub input: Value,
    /// Equal for starts of which only the first counts.
    pub key: Option<String>,
    /// Who or what started it.
    pub by: String,
    /// Labels beside those of its workflow.
    pub labels: BTreeMap<String, String>,
    /// How many runs stand above it.
    pub depth: u32,
    /// A small value that is kept together with its beginning.
    pub mark: Option<(String, Vec<u8>)>,
}

/// A run that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub id: RunId,
    /// Its name.
    pub name: String,
    /// Whether it began just now; if not, one with the same key had begun before.
    pub is_new: bool,
}

impl RunningRuns {
    /// Goes on with all runs that have not ended, and follows what is declared, on the runtime of the caller.
    ///
    /// # Errors
    /// What the store says.
    pub fn start(
        store: &Store,
        calls: &Calls,
        channels: &Channels,
        options: RunOptions,
    ) -> Result<Self, StoreError> {
        let log = channels.runs();
        let journal = Journal::start(log.clone())?;
        let (permits, granted) = Permits::new();
        let inner = Inner {
            store: store.clone(),
            log,
            journal,
            calls: calls.clone(),
            channels: channels.clone(),
            base: options.base,
            reach: Reach { egress: options.egress, resolve: options.resolve, trust: options.trust },
            workflows: RwLock::default(),
            loaded: watch::Sender::new(false),
            programs: Mutex::default(),
            table: Mutex::default(),
            turn: Notify::new(),
            asked: Notify::new(),
            told: Notify::new(),
            waiting: Mutex::default(),
            busy: Arc::new(Semaphore::new(MOST_BUSY)),
            open: Mutex::default(),
            permits,
            stranded: Mutex::default(),
        };
        let runs = Runs(Arc::new(inner));
        runs.recall()?;
        let tasks = vec![
            tokio::spawn(keeper::keep(runs.clone())),
            tokio::spawn(clock::tick(runs.clone())),
            tokio::spawn(hub::listen(runs.clone())),
            tokio::spawn(people::escalate(runs.clone())),
            tokio::spawn(permits::hand_on(runs.clone(), granted)),
            tokio::spawn(lifecycle::publish(runs.clone())),
        ];
        Ok(Self { runs, tasks })
    }
}

impl Drop for RunningRuns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Those in memory hold on to what they need until they are told.
        relock(&self.runs.0.table).resident.clear();
    }
}

impl Runs {
    /// What of them waits for permits.
    #[must_use]
    pub fn permits(&self) -> &Permits {
        &self.0.permits
    }

    fn workflows(&self) -> Arc<Workflows> {
        Arc::clone(&self.0.workflows.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A workflow by its name; while the server starts, what is declared is looked at first.
    async fn workflow(&self, name: &str) -> Result<Arc<Workflow>, String> {
        let mut loaded = self.0.loaded.subscribe();
        // The sender is held here, so there is nothing to fail.
        drop(loaded.wait_for(|loaded| *loaded).await);
        let workflows = self.workflows();
        workflows.get(name).cloned().ok_or_else(|| {
            if self.0.store.get("Workflow", name).ok().flatten().is_some() {
                return format!("Workflow/{name} cannot run; `sos describe workflow {name}` says why");
            }
            let names = || workflows.keys().map(String::as_str);
            let hint = did_you_mean(name, names());
            format!("there is no workflow \"{name}\"; {hint}{}", known_list(names()))
        })
    }

    /// Starts a run of a workflow; it is kept when this returns.
    ///
    /// # Errors
    /// That there is no such workflow, or what the store says.
    pub async fn start(&self, workflow: &str, start: NewStart) -> Result<Begun, String> {
        let workflow = self.workflow(workflow).await?;
        self.begin(&workflow, start).await
    }

    /// A small value that is kept beside the runs.
    async fn mark_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.kept(name).await.ok()?
    }

    /// A number that is kept beside the runs.
    async fn mark(&self, name: &str) -> Option<u64> {
        String::from_utf8(self.mark_bytes(name).await?).ok()?.parse().ok()
    }

    /// A small value that others keep beside the runs.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let (log, name) = (self.0.log.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || log.mark(&name)).await;
        found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Keeps one; it is on disk when this returns.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn keep_mark(&self, name: String, value: Vec<u8>) -> Result<(), String> {
        self.0.journal.write(vec![RunWrite::Mark { name, value }]).await.map(drop)
    }

    /// Whether there is a workflow of this name.
    ///
    /// # Errors
    /// That there is none, with those that there are.
    pub async fn exists(&self, workflow: &str) -> Result<(), String> {
        self.workflow(workflow).await.map(drop)
    }

    /// The workflow that a document refers to by namespace, name and version.
    fn by_reference(&self, named: &Value) -> Result<Arc<Workflow>, Fault> {
        let part = |key: &str| named.get(key).and_then(Value::as_str);
        let workflows = self.workflows();
        let fits = |workflow: &&Arc<Workflow>| {
            let document = &workflow.kept.program.definition().document;
            part("name") == Some(document.name.as_str())
                && part("namespace").is_none_or(|namespace| namespace == document.namespace)
                && part("version").is_none_or(|version| version == LATEST || version == document.version)
        };
        let rising = |a: &&Arc<Workflow>, b: &&Arc<Workflow>| {
            let (a, b) = (a.kept.program.definition(), b.kept.program.definition());
            precedence(&a.document.version).cmp(&precedence(&b.document.version))
        };
        workflows.values().filter(fits).max_by(rising).cloned().ok_or_else(|| {
            let shown = |key| part(key).unwrap_or("?");
            let known = workflows.values().map(|workflow| {
                let document = &workflow.kept.program.definition().document;
                format!("{}/{} {}", document.namespace, document.name, document.version)
            });
            let known: Vec<String> = known.collect();
            let detail = format!(
                "no declared workflow is {}/{} {}; {}",
                shown("namespace"),
                shown("name"),
                shown("version"),
                known_list(known.iter().map(String::as_str))
            );
            Fault::of(ErrorType::Configuration, "No such workflow", detail)
        })
    }

    /// The program of a document that runs were begun with.
    fn program(&self, document: i64) -> Result<Arc<Program>, String> {
        /// Beyond so many, those that are not used just now are forgotten.
        const MOST: usize = 256;
        if let Some(known) = relock(&self.0.programs).get(&document) {
            return Ok(Arc::clone(known));
        }
        let body = self.0.log.document(document).map_err(|error| error.to_string())?;
        let body = body.ok_or("what it does was not kept")?;
        let program = Arc::new(Kept::read(&body)?);
        let mut programs = relock(&self.0.programs);
        if programs.len() >= MOST {
            programs.retain(|_, program| Arc::strong_count(program) > 1);
        }
        programs.insert(document, Arc::clone(&program));
        Ok(program)
    }

    /// Waits for the end of a run: how it stands then, and what came of it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ended(&self, run: RunId) -> Result<(RunState, RunEnd), String> {
        let (told, ended) = oneshot::channel();
        relock(&self.0.waiting).entry(run).or_default().push(told);
        if relock(&self.0.table).resident.contains_key(&run) {
            return ended.await.map_err(|_| "the server stops".to_owned());
        }
        // It may have ended before.
        let log = self.0.log.clone();
        let found = tokio::task::spawn_blocking(move || log.load(run)).await.map_err(|e| e.to_string())?;
        let (record, _) = found.map_err(|e| e.to_string())?.ok_or("there is no such run")?;
        if record.state.is_ended() {
            return Ok((record.state, view::end(&record)));
        }
        ended.await.map_err(|_| "the server stops".to_owned())
    }

    /// Tells those who wait for a run that it has ended.
    fn tell_end(&self, run: RunId, end: &(RunState, RunEnd)) {
        for told in relock(&self.0.waiting).remove(&run).into_iter().flatten() {
            // Who waited may have gone.
            let _gone = told.send(end.clone());
        }
    }

    /// Counts a run of a workflow in or out.
    fn count(&self, owner: &str, more: bool) {
        let mut open = relock(&self.0.open);
        let count = open.entry(owner.to_owned()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }

    /// How many runs go on, of each workflow; and how many of all are in memory and rest.
    #[must_use]
    pub fn figures(&self) -> (BTreeMap<String, u64>, usize, usize) {
        let open = relock(&self.0.open).clone();
        let table = relock(&self.0.table);
        (open, table.resident.len(), table.resting())
    }

    /// Puts all runs that have not ended where they were.
    fn recall(&self) -> Result<(), StoreError> {
        let open = self.0.log.open_runs()?;
        for run in open {
            self.count(&run.owner, true);
            let mut table = relock(&self.0.table);
            match run.state {
                RunState::Waiting => {
                    table.rest(run.id, run.wake, run.hears.as_deref().and_then(table::read));
                    if run.hears.as_deref().is_some_and(table::asks) {
                        self.0.permits.expect(run.id, true);
                        table.queue(run.id);
                    }
                }
                RunState::Suspended => {
                    self.0.permits.expect(run.id, false);
                    table.rest(run.id, None, None);
                }
                _ => {
                    self.0.permits.expect(run.id, true);
                    table.rest(run.id, None, None);
                    table.queue(run.id);
                }
            }
        }
        Ok(())
    }
}
