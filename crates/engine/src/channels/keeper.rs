//! Keeps the channels as declared, and their logs within their limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sos_call::events::{Channel, ChannelParts, Schema};
use sos_model::{ChannelSpec, Declared, Kind, WorkflowSpec};
use sos_store::ChannelLimits;
use sos_store::Selector;

use super::running::Running;
use super::{Channels, broker};
use crate::calls::duration;
use crate::clock::wall_now;
use crate::declarations::{self, Declarations};
use crate::resources::{self, Ready};

/// How often the logs are brought within their limits.
const UPKEEP: Duration = Duration::from_secs(30);
/// The condition of a channel.
const READY: Ready = Ready { writer: "sos/channels", reason: "Usable", message: "events flow" };

/// Runs until it is aborted.
pub(super) async fn keep(channels: Channels) {
    let store = channels.0.store.clone();
    let mut declarations = Declarations::follow(&store, &[Kind::Channel, Kind::Workflow, Kind::Rule]);
    let mut upkeep = tokio::time::interval(UPKEEP);
    follow(&channels).await;
    channels.0.loaded.send_replace(true);
    loop {
        tokio::select! {
            () = declarations.changed() => follow(&channels).await,
            _ = upkeep.tick() => enforce(&channels).await,
        }
    }
}

async fn enforce(channels: &Channels) {
    let log = channels.0.log.clone();
    let done = tokio::task::spawn_blocking(move || {
        while log.0.enforce(wall_now())?.more {}
        Ok::<(), sos_store::StoreError>(())
    });
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "logs of channels cannot be brought within their limits"),
        Err(error) => tracing::error!(%error, "the upkeep of channels failed"),
    }
}

/// Starts, restarts and ends channels so that they are as declared.
async fn follow(channels: &Channels) {
    let all = channels.clone();
    let declared = tokio::task::spawn_blocking(move || {
        let found = declarations::of_kind(&all.0.store, Kind::Channel)?;
        let mut declared: Vec<Declared> = found.into_iter().map(|(_, declared)| declared).collect();
        // Workflows and rules hear and publish events without anything more being declared.
        let named = declared.iter().any(|one| *one.name == *WorkflowSpec::CHANNEL);
        let used = |kind: Kind| {
            Ok::<_, sos_store::StoreError>(!all.0.store.list(kind.name(), &Selector::default())?.is_empty())
        };
        if !named && (used(Kind::Workflow)? || used(Kind::Rule)?) {
            declared.extend(usual());
        }
        Ok::<_, sos_store::StoreError>(declared)
    });
    let declared: Vec<Declared> = match declared.await {
        Ok(Ok(declared)) => declared,
        Ok(Err(error)) => return tracing::error!(%error, "the declared channels cannot be read"),
        Err(error) => return tracing::error!(%error, "the declared channels cannot be read"),
    };
    let before = channels.running();
    let mut now: BTreeMap<String, Arc<Running>> = BTreeMap::new();
    for one in &declared {
        let Some(spec) = one.channel() else { continue };
        let name = one.name.to_string();
        match before.get(&name).filter(|running| running.spec == *spec) {
            Some(running) => drop(now.insert(name, Arc::clone(running))),
            None => {
                if let Some(old) = before.get(&name) {
                    old.stop();
                }
                let made = make(channels, &name, spec);
                let problem = made.as_ref().err().cloned();
                now.extend(made.ok().map(|running| (name.clone(), Arc::new(running))));
                tell(channels, &name, problem.as_deref());
            }
        }
    }
    for (name, gone) in before.iter().filter(|(name, _)| !now.contains_key(*name)) {
        // What it holds stays until its limits drop it: a manifest that is missing by mistake loses nothing.
        tracing::info!(channel = name, "ended");
        gone.stop();
    }
    *channels.0.running.write().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
}

/// The channel of workflows that name none.
fn usual() -> Option<Declared> {
    let manifest = serde_json::json!({
        "apiVersion": sos_model::API_VERSION,
        "kind": "Channel",
        "metadata": { "name": WorkflowSpec::CHANNEL },
        "spec": { "embedded": {} },
    });
    Declared::from_json("", &manifest).ok()
}

fn tell(channels: &Channels, name: &str, problem: Option<&str>) {
    if let Some(problem) = problem {
        tracing::error!(channel = name, problem, "the channel cannot be used");
    }
    if let Err(error) =
        resources::put_ready(&channels.0.store, sos_model::Kind::Channel, name, &READY, problem)
    {
        tracing::warn!(%error, channel = name, "the condition of a channel cannot be written");
    }
}

fn make(channels: &Channels, name: &str, spec: &ChannelSpec) -> Result<Running, String> {
    let log = &channels.0.log;
    log.0.configure(name, limits(spec)).map_err(|error| error.to_string())?;
    let schema = spec.schema.as_deref().map(schema).transpose()?;
    let chosen = broker::of(&channels.0.store, name, spec)?;
    let channel = Channel::new(ChannelParts {
        name: name.to_owned(),
        broker: chosen.as_ref().map(|chosen| Arc::clone(&chosen.broker)),
        log: Arc::new(log.clone()),
        clock: Arc::new(wall_now),
        confirm: chosen.as_ref().map(|chosen| chosen.confirm).unwrap_or_default(),
    });
    let channel = match schema {
        Some(schema) => channel.with_schema(schema),
        None => channel,
    };
    let publishes = chosen.is_none_or(|chosen| chosen.publishes);
    Ok(Running::start(spec.clone(), channel, publishes, channels.0.seed))
}

fn schema(path: &str) -> Result<Schema, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let json = serde_json::from_slice(&text).map_err(|error| format!("{path}: no JSON: {error}"))?;
    Schema::new(&json).map_err(|error| format!("{path}: {error}"))
}

fn limits(spec: &ChannelSpec) -> ChannelLimits {
    ChannelLimits {
        max_age: Some(duration(spec.retention.max_age)),
        max_bytes: spec.retention.max_size.0,
        max_backlog: u64::from(spec.max_backlog),
        max_message_bytes: usize::try_from(spec.max_event.0).unwrap_or(usize::MAX),
        dedupe_window: duration(spec.deduplicate),
        ..ChannelLimits::default()
    }
}
