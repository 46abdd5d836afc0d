//! What runs of a server do outside: calls, events, other workflows.

use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sos_call::events::CloudEvent;
use sos_workflow::ErrorType;
use sos_workflow::machine::{Effect, Fault};
use sos_workflow::program::{CallKind, RunKind};
use sos_workflow::template::json as to_json;

use tokio::sync::Semaphore;

use super::{Inner, NewStart, Runs};
use crate::calls::{Calls, Wanted};
use crate::channels::Channels;
use crate::workflow::drive::Perform;
use crate::workflow::executor::{Executor, failed, text};
use crate::workflow::subscriptions::{Messages, Subscribing};

/// How deep workflows may run workflows.
const DEEPEST: u32 = 32;

/// Performs the effects of one run.
pub(super) struct Performer {
    pub(super) runs: Weak<Inner>,
    pub(super) executor: Executor,
    pub(super) calls: Calls,
    pub(super) channels: Channels,
    pub(super) channel: Arc<str>,
    pub(super) busy: Arc<Semaphore>,
    /// How many runs stand above this one.
    pub(super) depth: u32,
}

impl Perform for Performer {
    fn perform(&self, key: String, effect: Effect) -> BoxFuture<'static, Result<Value, Fault>> {
        match effect {
            Effect::Emit(event) => {
                let (channels, channel) = (self.channels.clone(), Arc::clone(&self.channel));
                async move { publish(&channels, &channel, to_json(&event)).await }.boxed()
            }
            Effect::Call { what: CallKind::Service, with, .. } => {
                let calls = self.calls.clone();
                async move { call_service(&calls, key, &to_json(&with)).await }.boxed()
            }
            Effect::Run { what: RunKind::Workflow, with, awaits } => {
                let (runs, depth) = (self.runs.clone(), self.depth);
                async move {
                    let Some(inner) = runs.upgrade() else { return std::future::pending().await };
                    run_workflow(&Runs(inner), key, &to_json(&with), awaits, depth).await
                }
                .boxed()
            }
            effect => {
                let (busy, performed) = (Arc::clone(&self.busy), self.executor.perform(key, effect));
                async move {
                    // It is never closed.
                    let _turn = busy.acquire().await;
                    performed.await
                }
                .boxed()
            }
        }
    }

    fn subscribe(&self, subscribing: Subscribing) -> Messages {
        // Whoever only waits takes nobody's turn.
        self.executor.subscribe(subscribing)
    }

    fn unsubscribe(&self, key: &str) -> BoxFuture<'static, ()> {
        self.executor.unsubscribe(key)
    }
}

/// Publishes an event; a repetition has the same id and is dropped by the channel.
pub(super) async fn publish(channels: &Channels, channel: &str, event: Value) -> Result<Value, Fault> {
    let bytes = event.to_string();
    let parsed = CloudEvent::from_json(bytes.as_bytes());
    let parsed = parsed.map_err(|error| Fault::of(ErrorType::Validation, "No event", error.to_string()))?;
    channels.publish(channel, &[parsed]).await.map_err(|error| {
        let detail = format!("channel {channel}: {error}");
        Fault::of(ErrorType::Communication, "The event cannot be published", detail)
    })?;
    Ok(event)
}

async fn call_service(calls: &Calls, key: String, with: &Value) -> Result<Value, Fault> {
    let service = text(with, "service")?;
    let wanted = Wanted {
        operation: text(with, "operation")?.to_owned(),
        input: with.get("input").cloned().unwrap_or_else(|| json!({})),
        key: Some(key),
        ..Wanted::default()
    };
    let outcome = calls.call(service, &wanted).await.map_err(|error| failed(&error))?;
    Ok(outcome.answer.output)
}

async fn run_workflow(
    runs: &Runs,
    key: String,
    with: &Value,
    awaits: bool,
    depth: u32,
) -> Result<Value, Fault> {
    let named = with.get("with").unwrap_or(with);
    let workflow = runs.by_reference(named)?;
    if depth >= DEEPEST {
        let detail = format!("workflows run workflows deeper than {DEEPEST}: one that runs itself?");
        return Err(Fault::of(ErrorType::Runtime, "Too deep", detail));
    }
    let start = NewStart {
        input: named.get("input").cloned().unwrap_or_else(|| json!({})),
        key: Some(format!("run/{key}")),
        by: format!("run {key}"),
        depth: depth + 1,
        ..NewStart::default()
    };
    let begun = runs.begin(&workflow, start).await;
    let begun = begun.map_err(|why| Fault::of(ErrorType::Runtime, "The workflow did not begin", why))?;
    if !awaits {
        return Ok(json!({ "id": begun.name }));
    }
    match runs.ended(begun.id).await {
        Ok((_, end)) => end,
        Err(why) => Err(Fault::of(ErrorType::Runtime, "The workflow cannot be followed", why)),
    }
}
