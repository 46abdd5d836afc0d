//! Runs and workflows as they are shown.

use serde_json::{Value, json};
use sos_model::API_VERSION;
use sos_store::{RunEntry, RunFilter, RunRecord, RunState};
use sos_workflow::ErrorType;
use sos_workflow::machine::{Action, Event, Fault, Run, Traced};

use super::permits::Works;
use super::reside::Origin;
use super::{RunEnd, Runs};
use crate::workflow::entry;

/// The most lines of what happened to tasks that are shown.
const MOST_TRACED: usize = 200;

/// What the journal of a run gives.
struct Course {
    /// Where it is.
    at: Vec<String>,
    /// The last of what happened to its tasks.
    tasks: Vec<Value>,
    /// What of it waits for permits, or had one.
    work: Works,
}

/// Which runs are shown.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Which.
    pub filter: RunFilter,
    /// The most of them.
    pub limit: usize,
}

/// What a run that was cancelled ended with, for those who waited for it.
pub(super) fn cancelled() -> Fault {
    Fault::of(ErrorType::Runtime, "Cancelled", "the run was cancelled")
}

/// What a run ended with.
pub(super) fn end(record: &RunRecord) -> RunEnd {
    let result = record.ended.as_ref().map(|(_, result)| result.as_slice()).unwrap_or_default();
    let value: Value = serde_json::from_slice(result).unwrap_or_default();
    match record.state {
        RunState::Completed => Ok(value),
        RunState::Cancelled => Err(cancelled()),
        _ => Err(Fault::from_json(&value)
            .unwrap_or_else(|| Fault::of(ErrorType::Runtime, "Unknown", "its error was not kept"))),
    }
}

/// A run, without what happened to its tasks.
fn object(record: &RunRecord) -> Value {
    let origin = Origin::read(&record.start);
    let mut metadata = json!({ "name": record.name });
    if !record.labels.is_empty() {
        metadata["labels"] = json!(record.labels);
    }
    let mut status = json!({ "state": record.state.word(), "began": record.began.to_string() });
    if let Some((at, _)) = &record.ended {
        status["ended"] = json!(at.to_string());
        match end(record) {
            Ok(output) => status["output"] = output,
            Err(fault) if record.state == RunState::Faulted => status["fault"] = fault.to_json(),
            Err(_) => {}
        }
    }
    if let Some(wake) = record.wake {
        status["wake"] = json!(wake.to_string());
    }
    if let Some((channel, types)) = record.hears.as_deref().and_then(super::table::read) {
        status["hears"] = json!({ "channel": &*channel, "types": types });
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": "Run",
        "metadata": metadata,
        "spec": {
            "workflow": record.owner,
            "input": origin.as_ref().map(|origin| &origin.input),
            "by": origin.as_ref().map(|origin| &origin.by),
        },
        "status": status,
    })
}

impl Runs {
    /// Runs, the newest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, query: RunQuery) -> Result<Vec<Value>, String> {
        let log = self.0.log.clone();
        let found = tokio::task::spawn_blocking(move || log.list(&query.filter, query.limit));
        let found = found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(found.iter().map(object).collect())
    }

    /// One run, with where it is and what happened to its tasks; none when there is none of that name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn show(&self, name: &str) -> Result<Option<Value>, String> {
        let (log, name) = (self.0.log.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let Some(record) = log.find(&name)? else { return Ok(None) };
            log.load(record.id)
        });
        let found = found
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error: sos_store::StoreError| error.to_string())?;
        let Some((record, entries)) = found else { return Ok(None) };
        let mut shown = object(&record);
        match self.traced(&record, &entries) {
            Ok(Course { at, tasks, work }) => {
                shown["status"]["at"] = json!(at);
                shown["status"]["tasks"] = json!(tasks);
                let work = work.shown(|key| self.0.permits.decided(key));
                if !work.is_empty() {
                    shown["status"]["work"] = json!(work);
                }
            }
            Err(why) => shown["status"]["problem"] = json!(why),
        }
        let stranded =
            crate::relock(&self.0.stranded).get(&record.owner).is_some_and(|runs| runs.contains(&record.id));
        if stranded {
            let why = format!(
                "it rests until Workflow/{} is there again and can run; cancel it if that is over",
                record.owner
            );
            shown["status"]["problem"] = json!(why);
        }
        Ok(Some(shown))
    }

    /// From which entry on a run is done again that faulted: the one with which it ended.
    ///
    /// # Errors
    /// That it has undone what it did, or cannot be read.
    pub(super) fn retried_from(&self, record: &RunRecord, entries: &[RunEntry]) -> Result<u64, String> {
        let mut run = self.again(record)?;
        for one in entries {
            run.apply(entry::read(&one.body)?, one.at);
        }
        if run.has_undone() {
            return Err(format!("run {} has undone what it did: start a new one", record.name));
        }
        Ok(entries.len().max(1) as u64)
    }

    /// A run as it began.
    fn again(&self, record: &RunRecord) -> Result<Run, String> {
        let program = self.program(record.document)?;
        let origin = Origin::read(&record.start).ok_or("what it began with cannot be read")?;
        let secrets = self.secrets(&program)?;
        Ok(Run::new(program, origin.begin(record.name.clone(), record.began, &secrets)))
    }

    /// Where a run is, and the last of what happened to its tasks: what its journal gives when it is done again.
    fn traced(&self, record: &RunRecord, entries: &[RunEntry]) -> Result<Course, String> {
        let mut run = self.again(record)?;
        let (mut at, mut tasks) = (Vec::<String>::new(), std::collections::VecDeque::new());
        let mut work = Works::default();
        for one in entries {
            let event = entry::read(&one.body)?;
            work.tell(&event, one.at);
            if let Event::Permitted { id: 0, .. } = &event {
                at.retain(|open| open != "/");
            }
            for action in run.apply(event, one.at) {
                work.see(&action, one.at);
                if let Action::Permit { reference, .. } = &action {
                    at.push(reference.clone());
                }
                let Action::Trace(trace) = action else { continue };
                match trace.what {
                    // It waited for a permit before.
                    Traced::Started if at.last() == Some(&trace.reference) => {}
                    Traced::Started => at.push(trace.reference.clone()),
                    Traced::Retried | Traced::Skipped => {}
                    _ => {
                        if let Some(place) = at.iter().rposition(|open| *open == trace.reference) {
                            at.remove(place);
                        }
                    }
                }
                if tasks.len() >= MOST_TRACED {
                    tasks.pop_front();
                }
                tasks.push_back(json!({
                    "at": one.at.to_string(),
                    "task": trace.task,
                    "reference": trace.reference,
                    "event": trace.what.word(),
                }));
            }
        }
        Ok(Course { at, tasks: tasks.into(), work })
    }

    /// What is known of a declared workflow beside its manifest.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<Value> {
        let workflow = self.workflows().get(name).cloned()?;
        let definition = workflow.kept.program.definition();
        let running = crate::relock(&self.0.open).get(name).copied().unwrap_or(0);
        let starts = match &definition.schedule {
            None => "when asked".to_owned(),
            Some(schedule) => {
                let cron = schedule.cron.as_ref().map(|cron| format!("cron {}", cron.text()));
                let every = schedule.every.as_ref().map(|_| "at an interval".to_owned());
                let after = schedule.after.as_ref().map(|_| "after its end".to_owned());
                let on = schedule.on.as_ref().map(|_| "on events".to_owned());
                [cron, every, after, on].into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
        };
        Some(json!({
            "namespace": definition.document.namespace,
            "document": definition.document.name,
            "version": definition.document.version,
            "starts": starts,
            "running": running,
        }))
    }
}
