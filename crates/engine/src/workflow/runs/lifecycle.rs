//! Tells others what runs and their tasks go through, by the lifecycle events of the DSL.
//!
//! # Guarantees
//! An event is kept in one transaction with what it tells of, and goes when the channel has it: none is lost and none tells of what did
//! not happen. Each is published at least once, always with the same id. Those of a run come in their order.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sos_call::events::CloudEvent;
use sos_store::{RunEvent, RunWrite, StoreError};
use sos_workflow::machine::{Action, Ended, Event, Trace, Traced};
use sos_workflow::program::Program;
use sos_workflow::template::json as to_json;

use super::Runs;
use super::definition::Workflow;
use crate::workflow::drive::Happened;

/// What the types of all events begin with.
const TYPES: &str = "io.serverlessworkflow";
/// A larger output is not sent along: events beyond 64 KiB need not pass.
const MOST_OUTPUT: usize = 32 << 10;
/// Events that are published together.
const PAGE: u32 = 256;
/// So many wait for a channel that takes none; then the oldest are given up.
const MOST_WAITING: u32 = 100_000;
/// A channel that takes none is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What is told of one run.
pub(super) struct Lifecycle {
    channel: Arc<str>,
    source: String,
    run: String,
    /// The name of the run as the DSL qualifies it.
    name: String,
    definition: Value,
    /// Tasks that go on: where each is, and in which iteration.
    open: Vec<(String, String)>,
}

impl Lifecycle {
    /// None where nobody is to be told.
    pub(super) fn of(workflow: &Workflow, program: &Program, run: &str) -> Option<Self> {
        let channel = workflow.spec.lifecycle()?;
        let document = &program.definition().document;
        let (namespace, name, version) = (&document.namespace, &document.name, &document.version);
        Some(Self {
            channel: Arc::from(channel),
            source: format!("/sos/workflows/{}", workflow.name),
            run: run.to_owned(),
            name: format!("{name}-{run}.{namespace}"),
            definition: json!({"namespace": namespace, "name": name, "version": version}),
            open: Vec::new(),
        })
    }

    /// Hears what happened before to a task of a run that is restored.
    pub(super) fn recall(&mut self, trace: &Trace) {
        let is = |(reference, iteration): &(String, String)| {
            *reference == trace.reference && *iteration == trace.iteration
        };
        match trace.what {
            Traced::Started => self.open.push((trace.reference.clone(), trace.iteration.clone())),
            Traced::Completed | Traced::Faulted | Traced::Cancelled => {
                if let Some(place) = self.open.iter().rposition(is) {
                    self.open.remove(place);
                }
            }
            Traced::Skipped | Traced::Retried => {}
        }
    }

    /// What is told of a run that goes on after it faulted.
    pub(super) fn reopened(mut self, at: Timestamp) -> Vec<RunEvent> {
        let mut told = Telling { of: &mut self, events: Vec::new() };
        told.rests("resumed", "running", at);
        told.events
    }

    /// What is told of something that happened.
    pub(super) fn events(&mut self, happened: Happened<'_>) -> Vec<RunEvent> {
        let mut told = Telling { of: self, events: Vec::new() };
        for (event, at) in happened.entries {
            match event {
                Event::Started => told.started(*at),
                Event::Suspended => told.rests("suspended", "suspended", *at),
                Event::Resumed => told.rests("resumed", "running", *at),
                _ => {}
            }
        }
        for (action, at) in happened.actions {
            if let Action::Trace(trace) = action {
                told.task(trace, *at);
            }
        }
        if let (Some(ended), Some((_, at))) = (happened.ended, happened.entries.last()) {
            told.ended(ended, *at);
        }
        told.events
    }
}

/// Events that are being made.
struct Telling<'a> {
    of: &'a mut Lifecycle,
    events: Vec<RunEvent>,
}

impl Telling<'_> {
    fn started(&mut self, at: Timestamp) {
        self.workflow("started", json!({}), at);
        self.status("running", at);
    }

    /// Of an order that holds or releases the run, and with it all tasks that go on.
    fn rests(&mut self, what: &str, status: &str, at: Timestamp) {
        for (reference, iteration) in self.of.open.clone() {
            self.of_task(what, (&reference, &iteration), json!({}), at);
        }
        self.workflow(what, json!({}), at);
        self.status(status, at);
    }

    fn task(&mut self, trace: &Trace, at: Timestamp) {
        self.of.recall(trace);
        let place = (trace.reference.as_str(), trace.iteration.as_str());
        let more = match &trace.outcome {
            Some(Ok(output)) => self.output(&to_json(output)),
            Some(Err(fault)) => json!({ "error": fault.to_json() }),
            None => json!({}),
        };
        match trace.what {
            // The DSL has no event of it.
            Traced::Skipped => return,
            Traced::Started => self.of_task("created", place, json!({}), at),
            _ => {}
        }
        self.of_task(trace.what.word(), place, more, at);
        match trace.what {
            Traced::Started if trace.listens => self.workflow("correlation-started", json!({}), at),
            Traced::Completed if trace.listens => self.workflow("correlation-completed", json!({}), at),
            _ => {}
        }
    }

    fn ended(&mut self, ended: &Ended, at: Timestamp) {
        let (what, more) = match ended {
            Ended::Completed(output) => ("completed", self.output(&to_json(output))),
            Ended::Faulted(fault) => ("faulted", json!({ "error": fault.to_json() })),
            Ended::Cancelled => ("cancelled", json!({})),
        };
        self.workflow(what, more, at);
        self.status(what, at);
    }

    /// An output, and where it is to be had when it is too large to be sent along.
    fn output(&self, output: &Value) -> Value {
        if output.to_string().len() <= MOST_OUTPUT {
            return json!({ "output": output });
        }
        json!({ "outputUri": format!("/api/v1/resources/Run/{}", self.of.run) })
    }

    fn status(&mut self, status: &str, at: Timestamp) {
        self.workflow("status-changed", json!({ "status": status }), at);
    }

    fn workflow(&mut self, what: &str, more: Value, at: Timestamp) {
        let data = json!({ "name": self.of.name, "definition": self.of.definition });
        self.event("workflow", what, "", (data, more), at);
    }

    fn of_task(&mut self, what: &str, (reference, iteration): (&str, &str), more: Value, at: Timestamp) {
        let data = json!({ "workflow": self.of.name, "task": reference });
        self.event("task", what, &format!("{reference}{iteration}"), (data, more), at);
    }

    fn event(&mut self, whose: &str, what: &str, place: &str, data: (Value, Value), at: Timestamp) {
        let mut all = Map::new();
        for part in [data.0, data.1] {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
        all.insert(moment(what).to_owned(), json!(at.to_string()));
        let Lifecycle { run, source, channel, .. } = &*self.of;
        // A task may begin more than once in one place, and much may happen at one time.
        let id = format!("{run}{place}/{whose}.{what}/{}.{}", at.as_microsecond(), self.events.len());
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": format!("{TYPES}.{whose}.{what}.v1"),
            "subject": run,
            "time": at.to_string(),
            "datacontenttype": "application/json",
            "data": all,
        });
        let body = event.to_string().into_bytes();
        self.events.push(RunEvent { channel: Arc::clone(channel), body });
    }
}

/// The property that says when something happened.
fn moment(what: &str) -> &'static str {
    match what {
        "created" => "createdAt",
        "started" | "correlation-started" => "startedAt",
        "suspended" => "suspendedAt",
        "resumed" => "resumedAt",
        "retried" => "retriedAt",
        "completed" | "correlation-completed" => "completedAt",
        "faulted" => "faultedAt",
        "cancelled" => "cancelledAt",
        _ => "updatedAt",
    }
}

/// Publishes what is to be told, until it is aborted.
pub(super) async fn publish(runs: Runs) {
    loop {
        match round(&runs).await {
            Ok(()) => runs.0.told.notified().await,
            Err(why) => {
                tracing::warn!(why, "lifecycle events of workflows cannot be published; tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Publishes all that there is, channel by channel. One that takes none keeps no other from it.
async fn round(runs: &Runs) -> Result<(), String> {
    let log = runs.0.log.clone();
    let channels = blocking(move || log.untold_channels()).await?;
    let mut failed = Vec::new();
    for channel in channels {
        if let Err(why) = tell(runs, &channel).await {
            failed.push(format!("channel {channel}: {why}"));
            give_up(runs, &channel).await?;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

async fn tell(runs: &Runs, channel: &str) -> Result<(), String> {
    loop {
        let (log, of) = (runs.0.log.clone(), channel.to_owned());
        let page = blocking(move || log.untold(&of, PAGE)).await?;
        let Some((upto, _)) = page.last() else { return Ok(()) };
        let events: Vec<CloudEvent> =
            page.iter().filter_map(|(_, body)| CloudEvent::from_json(body).ok()).collect();
        runs.0.channels.publish(channel, &events).await.map_err(|error| error.to_string())?;
        let told = RunWrite::Told { channel: channel.to_owned(), upto: *upto };
        runs.0.journal.write(vec![told]).await?;
    }
}

/// Gives the oldest up when too many wait.
async fn give_up(runs: &Runs, channel: &str) -> Result<(), String> {
    let (log, of) = (runs.0.log.clone(), channel.to_owned());
    let Some(upto) = blocking(move || log.untold_beyond(&of, MOST_WAITING)).await? else { return Ok(()) };
    tracing::error!(channel, "more than {MOST_WAITING} lifecycle events wait; the oldest are given up");
    let told = RunWrite::Told { channel: channel.to_owned(), upto };
    runs.0.journal.write(vec![told]).await.map(drop)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use sos_workflow::machine::Fault;
    use sos_workflow::template::data;

    use super::*;

    fn lifecycle() -> Lifecycle {
        Lifecycle {
            channel: Arc::from("life"),
            source: "/sos/workflows/w".to_owned(),
            run: "r".to_owned(),
            name: "w-r.test".to_owned(),
            definition: json!({"name": "w"}),
            open: Vec::new(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn traced(what: Traced, outcome: Option<Result<sos_workflow::jq::Data, Fault>>) -> (Action, Timestamp) {
        let (task, reference) = ("a".to_owned(), "/do/0/a".to_owned());
        let trace = Trace { task, reference, iteration: ".1".to_owned(), listens: false, what, outcome };
        (Action::Trace(trace), at(1))
    }

    fn told(
        of: &mut Lifecycle,
        entries: &[(Event, Timestamp)],
        actions: &[(Action, Timestamp)],
        ended: Option<&Ended>,
    ) -> Vec<Value> {
        let events = of.events(Happened { entries, actions, ended });
        events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect()
    }

    fn types(events: &[Value]) -> Vec<String> {
        let short = |event: &Value| {
            let text = event["type"].as_str().unwrap();
            text.trim_start_matches("io.serverlessworkflow.").trim_end_matches(".v1").to_owned()
        };
        events.iter().map(short).collect()
    }

    #[test]
    fn what_happens_is_told_with_when_and_where_and_each_has_its_id() {
        let mut of = lifecycle();
        let begun = told(&mut of, &[(Event::Started, at(1))], &[traced(Traced::Started, None)], None);
        assert_eq!(
            types(&begun),
            ["workflow.started", "workflow.status-changed", "task.created", "task.started"]
        );
        assert_eq!(begun[3]["data"]["task"], "/do/0/a");
        assert_eq!(begun[3]["id"], "r/do/0/a.1/task.started/1000000.3");
        let held = told(&mut of, &[(Event::Suspended, at(2))], &[], None);
        assert_eq!(types(&held), ["task.suspended", "workflow.suspended", "workflow.status-changed"]);
        assert_eq!((&held[2]["data"]["status"], &held[1]["subject"]), (&json!("suspended"), &json!("r")));
        let fault = Fault::of(sos_workflow::ErrorType::Runtime, "Bad", "why");
        let ended = Ended::Faulted(fault.clone());
        let entries = [(Event::Continued, at(3))];
        let over = told(&mut of, &entries, &[traced(Traced::Faulted, Some(Err(fault)))], Some(&ended));
        assert_eq!(types(&over), ["task.faulted", "workflow.faulted", "workflow.status-changed"]);
        assert_eq!(over[1]["data"]["error"]["title"], "Bad");
        assert_eq!(over[1]["data"]["faultedAt"], at(3).to_string());
        assert!(of.open.is_empty());
    }

    #[test]
    fn a_large_output_is_told_by_where_it_is() {
        let mut of = lifecycle();
        let output = |value: Value| {
            let ended = Ended::Completed(data(&value));
            told(&mut of, &[(Event::Continued, at(3))], &[], Some(&ended)).remove(0)["data"].clone()
        };
        let mut output = output;
        assert_eq!(output(json!({"a": 1}))["output"], json!({"a": 1}));
        let large = output(json!("x".repeat(MOST_OUTPUT)));
        assert!(large["output"].is_null() && large["outputUri"].as_str().unwrap().ends_with("Run/r"));
    }
}
