//! What starts runs without being asked: schedules and events.
//!
//! Each start has a key and is kept together with how far its schedule is, so that none is lost and none comes twice. What was
//! missed while the server was away is made up for once, not as often as it was missed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sos_workflow::machine::{Begin, Ended, Event};
use sos_workflow::program::{Program, Resources, trigger};
use sos_workflow::template::{data, json as to_json};
use sos_workflow::{Duration, DurationValue, Schedule};
use tokio::sync::mpsc;

use super::definition::Workflow;
use super::hub::is_for;
use super::{NewStart, Runs};
use crate::channels::Position;
use crate::clock::{self, wall_now};
use crate::relock;
use crate::workflow::drive::{self, Drove, Happened, Host, Outside, Page, Perform, Start, drive, until};
use crate::workflow::subscriptions::{Messages, Subscribing};

/// After a failure it is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a channel is asked for events before it is asked again.
const WAIT: std::time::Duration = std::time::Duration::from_secs(20);
/// Events that are read at once.
const PAGE: usize = 256;

/// Starts runs of a workflow as its document says, until it is aborted.
pub(super) async fn start(runs: Runs, workflow: Arc<Workflow>) {
    let Some(schedule) = workflow.kept.program.definition().schedule.clone() else { return };
    let timed = async {
        if schedule.cron.is_some() || schedule.every.is_some() || schedule.after.is_some() {
            timed(&runs, &workflow, &schedule).await;
        }
    };
    let evented = async {
        if schedule.on.is_some() {
            evented(&runs, &workflow).await;
        }
    };
    tokio::join!(timed, evented);
}

/// How far a schedule is: when it last came, and the run that it then started.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Come {
    at: Timestamp,
    run: Option<i64>,
}

async fn timed(runs: &Runs, workflow: &Arc<Workflow>, schedule: &Schedule) {
    let mark = format!("schedule/{}", workflow.name);
    let mut last = loop {
        match known(runs, &mark).await {
            Ok(Some(come)) => break come,
            Ok(None) => {
                // It counts from when it was first declared.
                let first = Come { at: drive::now(), run: None };
                let write = sos_store::RunWrite::Mark { name: mark.clone(), value: kept(&first) };
                if runs.0.journal.write(vec![write]).await.is_ok() {
                    break first;
                }
            }
            Err(why) => tracing::warn!(workflow = workflow.name, why, "the schedule cannot be read"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    loop {
        let Some(at) = next(runs, workflow, schedule, &last).await else { return };
        until(Some(at)).await;
        // Of all that were missed, the latest is made up for.
        let at = latest(workflow, schedule, at, wall_now());
        let come = Come { at, run: None };
        let start = NewStart {
            input: json!({}),
            key: Some(format!("{mark}/{at}")),
            by: "schedule".to_owned(),
            mark: Some((mark.clone(), kept(&come))),
            ..NewStart::default()
        };
        match runs.begin(workflow, start).await {
            Ok(begun) => last = Come { at, run: Some(begun.id) },
            Err(why) => {
                tracing::error!(workflow = workflow.name, why, "a scheduled run did not begin; tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn known(runs: &Runs, mark: &str) -> Result<Option<Come>, String> {
    let (log, mark) = (runs.0.log.clone(), mark.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        let Some(bytes) = log.mark(&mark)? else { return Ok(None) };
        let Some(at) = String::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) else {
            return Ok(None);
        };
        // The run has its key by the time.
        let run = log.keyed(&format!("{mark}/{at}"))?;
        Ok::<_, sos_store::StoreError>(Some(Come { at, run }))
    });
    found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn kept(come: &Come) -> Vec<u8> {
    come.at.to_string().into_bytes()
}

fn fixed(duration: Option<&DurationValue>) -> Option<Duration> {
    match duration? {
        DurationValue::Fixed(duration) => Some(*duration),
        DurationValue::Expression(_) => None,
    }
}

/// When it comes next; waits for the end of the run before where that counts.
async fn next(runs: &Runs, workflow: &Workflow, schedule: &Schedule, last: &Come) -> Option<Timestamp> {
    if let Some(cron) = &schedule.cron {
        return cron.next(last.at, &zone(workflow));
    }
    if let Some(every) = fixed(schedule.every.as_ref()) {
        return every.ending(last.at);
    }
    let after = fixed(schedule.after.as_ref())?;
    match last.run {
        // The first run begins after the delay too.
        None => after.ending(last.at),
        Some(run) => {
            // How it ended does not matter.
            let _end = runs.ended(run).await;
            after.ending(wall_now())
        }
    }
}

fn zone(workflow: &Workflow) -> TimeZone {
    workflow.spec.time_zone.as_ref().map_or(TimeZone::UTC, |zone| zone.zone().clone())
}

/// The last time at which it comes up to now, from one at which it comes.
fn latest(workflow: &Workflow, schedule: &Schedule, first: Timestamp, now: Timestamp) -> Timestamp {
    let zone = zone(workflow);
    clock::latest(first, now, |at| match (&schedule.cron, fixed(schedule.every.as_ref())) {
        (Some(cron), _) => cron.next(at, &zone),
        (None, Some(every)) => every.ending(at),
        (None, None) => None,
    })
}

/// How far the events are that start runs: from which place on, and which behind it were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    floor: u64,
    /// Source, id and place.
    consumed: Vec<(String, String, u64)>,
}

impl Taken {
    fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let one =
            |one: &Value| Some((one[0].as_str()?.to_owned(), one[1].as_str()?.to_owned(), one[2].as_u64()?));
        let consumed = value["consumed"].as_array()?.iter().filter_map(one).collect();
        Some(Self { floor: value["floor"].as_u64()?, consumed })
    }

    fn written(&self) -> Vec<u8> {
        json!({ "floor": self.floor, "consumed": self.consumed }).to_string().into_bytes()
    }

    /// After some more were taken: what is before the first of them has had its chance.
    fn and(mut self, more: Vec<(String, String, u64)>) -> Self {
        if let Some(first) = more.iter().map(|(.., place)| *place).min() {
            self.floor = self.floor.max(first + 1);
        }
        self.consumed.extend(more);
        let floor = self.floor;
        self.consumed.retain(|(.., place)| *place >= floor);
        self
    }
}

type Places = Arc<Mutex<HashMap<(String, String), u64>>>;

async fn evented(runs: &Runs, workflow: &Arc<Workflow>) {
    let built = trigger(workflow.kept.program.definition())
        .and_then(|definition| Program::build(definition, &Resources::new()).ok());
    let Some(program) = built.map(Arc::new) else {
        tracing::error!(workflow = workflow.name, "the events that start it cannot be understood");
        return;
    };
    let channel = workflow.spec.channel().to_owned();
    let mark = format!("events/{}/{channel}", workflow.name);
    let mut taken = loop {
        let known = runs.mark_bytes(&mark).await.and_then(|bytes| Taken::read(&bytes));
        match known {
            Some(taken) => break taken,
            None => {
                // It hears what comes from when it was first declared.
                if let Ok(floor) = runs.0.channels.next(&channel).await {
                    let first = Taken { floor, consumed: Vec::new() };
                    let write = sos_store::RunWrite::Mark { name: mark.clone(), value: first.written() };
                    if runs.0.journal.write(vec![write]).await.is_ok() {
                        break first;
                    }
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    loop {
        let Some((events, more)) = matched(runs, &program, &channel, &taken).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let places: Vec<String> = more.iter().map(|(.., place)| place.to_string()).collect();
        let after = taken.clone().and(more);
        let start = NewStart {
            input: events,
            key: Some(format!("{mark}/{}", places.join("+"))),
            by: "event".to_owned(),
            mark: Some((mark.clone(), after.written())),
            ..NewStart::default()
        };
        match runs.begin(workflow, start).await {
            Ok(_) => taken = after,
            Err(why) => {
                tracing::error!(workflow = workflow.name, why, "a run did not begin; tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Waits for the events that start a run: as its input, and which they were.
async fn matched(
    runs: &Runs,
    program: &Arc<Program>,
    channel: &str,
    taken: &Taken,
) -> Option<(Value, Vec<(String, String, u64)>)> {
    let places = Places::default();
    let (_open, inbox) = mpsc::unbounded_channel();
    let consumed: HashSet<(String, String)> =
        taken.consumed.iter().map(|(source, id, _)| (source.clone(), id.clone())).collect();
    let outside = Outside { inbox, earlier: following(runs, channel, &places), floor: taken.floor, consumed };
    let (nothing, at) = (data(&json!({})), drive::now());
    let begin = Begin { id: String::new(), input: nothing.clone(), secrets: nothing, at, permit: None };
    let start = Start { program: Arc::clone(program), begin, entries: Vec::new(), outside: Some(outside) };
    let mut hearer = Hearer { heard: Vec::new() };
    let drove = drive(start, Arc::new(Nothing), &mut hearer).await;
    let Ok(Drove::Ended(Ended::Completed(events))) = drove else { return None };
    let places = relock(&places);
    let place = |(source, id): (String, String)| {
        let place = places.get(&(source.clone(), id.clone())).copied()?;
        Some((source, id, place))
    };
    Some((to_json(&events), hearer.heard.into_iter().filter_map(place).collect()))
}

/// Follows a channel from a place on, for ever, and notes where its events stand.
fn following(
    runs: &Runs,
    channel: &str,
    places: &Places,
) -> Box<dyn Fn(u64) -> futures::future::BoxFuture<'static, Page> + Send> {
    let (channels, channel, places) = (runs.0.channels.clone(), channel.to_owned(), Arc::clone(places));
    Box::new(move |from| {
        let (channels, channel, places) = (channels.clone(), channel.clone(), Arc::clone(&places));
        async move {
            match channels.events(&channel, Position::At(from), PAGE, WAIT).await {
                Ok((events, next)) => {
                    let mut page = Vec::with_capacity(events.len());
                    for one in events.into_iter().filter(|one| is_for(&one.event, None)) {
                        let text = |key: &str| one.event[key].as_str().unwrap_or_default().to_owned();
                        relock(&places).insert((text("source"), text("id")), one.position);
                        page.push(Arc::new(one.event));
                    }
                    (page, Some(next))
                }
                Err(error) => {
                    tracing::warn!(channel, %error, "events cannot be heard; tried again");
                    tokio::time::sleep(AGAIN).await;
                    (Vec::new(), Some(from))
                }
            }
        }
        .boxed()
    })
}

/// Notes which events were taken.
struct Hearer {
    heard: Vec<(String, String)>,
}

impl Host for Hearer {
    async fn keep(&mut self, happened: Happened<'_>) -> Result<(), String> {
        for (event, _) in happened.entries {
            if let Event::Received { event, .. } = event {
                self.heard.extend(drive::identity(event));
            }
        }
        Ok(())
    }
}

/// A task that listens has no effects.
struct Nothing;

impl Perform for Nothing {
    fn perform(
        &self,
        _: String,
        _: sos_workflow::machine::Effect,
    ) -> futures::future::BoxFuture<'static, Result<Value, sos_workflow::machine::Fault>> {
        std::future::pending().boxed()
    }

    fn subscribe(&self, _: Subscribing) -> Messages {
        futures::stream::pending().boxed()
    }

    fn unsubscribe(&self, _: &str) -> futures::future::BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_were_passed_over_stay_and_those_taken_do_not_come_again() {
        let one = |id: &str, place| ("s".to_owned(), id.to_owned(), place);
        let taken = Taken { floor: 10, consumed: Vec::new() };
        let taken = taken.and(vec![one("a1", 10), one("b1", 12)]);
        assert_eq!(taken, Taken { floor: 11, consumed: vec![one("b1", 12)] });
        let taken = taken.and(vec![one("a2", 11), one("b2", 13)]);
        assert_eq!(taken, Taken { floor: 12, consumed: vec![one("b1", 12), one("b2", 13)] });
        assert_eq!(Taken::read(&taken.written()), Some(taken.clone()));
        let taken = taken.and(vec![one("c", 14)]);
        assert_eq!(taken, Taken { floor: 15, consumed: Vec::new() });
    }
}
