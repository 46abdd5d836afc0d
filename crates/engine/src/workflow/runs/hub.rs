//! Hands the events of channels to the runs that listen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use sos_store::{RunChange, RunId, RunState, RunWrite};
use tokio::task::JoinHandle;

use super::{Runs, clock};
use crate::channels::{Channels, Position};
use crate::relock;
use crate::workflow::drive::{Page, Told};

/// Events that are read at once.
const PAGE: usize = 256;
/// How long the log is asked for events before it is asked again.
const WAIT: Duration = Duration::from_secs(20);
/// A channel that cannot be read is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// The attribute of an event that is for one run only: its name.
pub(super) const ONLY: &str = "sosrun";

/// Follows the channels of all workflows until it is aborted.
pub(super) async fn listen(runs: Runs) {
    let mut loaded = runs.0.loaded.subscribe();
    let mut followed = Followed::default();
    loop {
        // The sender is held by the runs.
        drop(loaded.changed().await);
        let channels: BTreeSet<String> =
            runs.workflows().values().map(|workflow| workflow.spec.channel().to_owned()).collect();
        for channel in channels {
            followed.0.entry(channel).or_insert_with_key(|channel| {
                tokio::spawn(follow(runs.clone(), Arc::from(channel.as_str())))
            });
        }
    }
}

/// Tasks that end with the one that started them.
#[derive(Default)]
pub(super) struct Followed(pub(super) BTreeMap<String, JoinHandle<()>>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

async fn follow(runs: Runs, channel: Arc<str>) {
    let mark = format!("heard/{channel}");
    let mut at = match runs.mark(&mark).await {
        Some(at) => at,
        None => loop {
            match runs.0.channels.next(&channel).await {
                Ok(next) => break next,
                Err(why) => {
                    tracing::warn!(channel = &*channel, why, "events cannot be heard; tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        },
    };
    loop {
        let (events, next) = match runs.0.channels.events(&channel, Position::At(at), PAGE, WAIT).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::warn!(channel = &*channel, %error, "events cannot be heard; tried again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let mut woken = BTreeSet::new();
        for event in &events {
            woken.extend(tell(&runs, &channel, &Arc::new(event.event.clone())));
        }
        if !events.is_empty() {
            hand_out(
                &runs,
                woken,
                RunWrite::Mark { name: mark.clone(), value: next.to_string().into_bytes() },
            )
            .await;
        }
        at = next;
    }
}

/// Wakes runs that look at all events since they began. That they go on is kept together with how far the channel was heard:
/// after a crash they hear of it, or the events come once more.
async fn hand_out(runs: &Runs, woken: BTreeSet<RunId>, mark: RunWrite) {
    let going_on = |run: &RunId| RunWrite::Append {
        run: *run,
        first: 1,
        entries: Vec::new(),
        change: Some(RunChange { state: RunState::Running, wake: None, hears: None, ended: None }),
    };
    let writes = woken.iter().map(going_on).chain([mark]).collect();
    if let Err(why) = runs.0.journal.write(writes).await {
        tracing::warn!(why, "what was heard cannot be noted; after a crash it is heard again");
    }
    clock::wake(runs, woken).await;
}

/// Tells an event to all runs in memory that may listen to it; those that rest and listen to it rest no more.
fn tell(runs: &Runs, channel: &Arc<str>, event: &Arc<Value>) -> Vec<RunId> {
    let event_type = event["type"].as_str().unwrap_or_default();
    let mut table = relock(&runs.0.table);
    let listening = table.resident.values().filter(|resident| resident.channel.as_ref() == Some(channel));
    for resident in listening.filter(|resident| is_for(event, Some(&resident.name))) {
        // One that has just ended hears nothing.
        let _gone = resident.inbox.send(Told::Heard(Arc::clone(event)));
    }
    let hearers: Vec<RunId> = table.hearers(channel, event_type).into_iter().collect();
    hearers.iter().for_each(|run| table.rouse(*run));
    hearers
}

/// Reads the events of a channel from a place on, a page at a time, up to the present: those that are for all, and those for one run.
pub(super) fn earlier(
    channels: &Channels,
    channel: &Arc<str>,
    run: Option<&str>,
) -> Box<dyn Fn(u64) -> BoxFuture<'static, Page> + Send> {
    let (channels, channel, run) = (channels.clone(), Arc::clone(channel), run.map(str::to_owned));
    Box::new(move |from| {
        let (channels, channel, run) = (channels.clone(), Arc::clone(&channel), run.clone());
        async move {
            loop {
                match channels.events(&channel, Position::At(from), PAGE, Duration::ZERO).await {
                    Ok((events, next)) => {
                        let next = (!events.is_empty()).then_some(next);
                        let mine = |event: &Value| is_for(event, run.as_deref());
                        let events = events.into_iter().map(|one| one.event).filter(mine).map(Arc::new);
                        return (events.collect(), next);
                    }
                    Err(error) => {
                        tracing::warn!(channel = &*channel, %error, "earlier events cannot be read; tried again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
        .boxed()
    })
}

/// Whether an event is for a run, or for those that start when it comes.
pub(super) fn is_for(event: &Value, run: Option<&str>) -> bool {
    match event.get(ONLY).and_then(Value::as_str) {
        None => true,
        Some(only) => run == Some(only),
    }
}
