//! Commands and questions about services: scale, rollouts, logs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sos_api::Problem;
use sos_api::wire::{Revision, RolloutOrder, RolloutStatus, Scale, wire_time};
use sos_control::{self as control, ServicePhase};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::resources;
use sos_engine::services::OrderRefused;
use sos_engine::services::board::{ReplicaView, ServiceView};
use sos_engine::services::convert::RESTARTED_AT;
use sos_model::{AttachMode, Kind, Runtime, ServiceSpec};
use sos_runtime::{EnvValue, LogReader};
use sos_store::{Resource, Store};

use super::resources::stored;
use super::store_problem;

/// Most bytes of a log that are looked at for its last lines, and read at once.
const LOG_BYTES: u64 = 1 << 20;
/// How soon a followed log shows what was written.
const LOG_LOOK: Duration = Duration::from_millis(200);
/// Most replicas of one service.
const MAX_REPLICAS: u32 = 1000;

fn service(store: &Store, name: &str) -> Result<(Resource, ServiceSpec), Problem> {
    let resource = stored(store, Kind::Service, name)?;
    let declared = resources::declared(&resource).map_err(Problem::internal)?;
    let spec = declared.service().cloned().ok_or_else(|| Problem::internal("a service without its spec"))?;
    Ok((resource, spec))
}

/// A service that runs here as replicas, else why it does not.
fn long_running(store: &Store, name: &str, verb: &str) -> Result<(Resource, ServiceSpec), Problem> {
    let (resource, spec) = service(store, name)?;
    match (&spec.external, &spec.batch) {
        (Some(_), _) => {
            Err(Problem::conflict(format!("service {name} is external, so it cannot be {verb} from here")))
        }
        (None, Some(_)) => Err(Problem::conflict(format!(
            "service {name} is a batch job that its site's plan starts, so it cannot be {verb}"
        ))),
        (None, None) => Ok((resource, spec)),
    }
}

/// Sets the number of replicas, or gives the decision back to the manifest.
pub(super) fn scale(engine: &Engine, name: &str, replicas: Option<u32>) -> Result<Scale, Problem> {
    let (_, spec) = long_running(engine.store(), name, "scaled")?;
    let attached = spec.kubernetes.as_ref().and_then(|cluster| cluster.attach.as_ref());
    if replicas.is_some() && attached.is_some_and(|attach| attach.mode == AttachMode::Recommend) {
        return Err(Problem::conflict(format!(
            "service {name} is watched only (attach: recommend), so it is not scaled from here; set mode: scale in its manifest"
        )));
    }
    let wanted = replicas.unwrap_or(0);
    if wanted > MAX_REPLICAS {
        return Err(Problem::bad_request(format!("replicas is {wanted}: expected 0 to {MAX_REPLICAS}")));
    }
    let here = matches!(spec.runtime, Runtime::Process | Runtime::Docker);
    if wanted > 1
        && here
        && let Some(port) = spec.ports.iter().find(|port| port.port.is_some())
    {
        return Err(Problem::conflict(format!(
            "{wanted} replicas of {name} cannot share the fixed port of \"{}\": leave its number out of the manifest",
            port.name
        )));
    }
    engine.store().put_scale(Kind::Service.name(), name, replicas).map_err(store_problem)?;
    Ok(Scale { replicas })
}

/// How far the replicas are on the way to what is declared.
pub(super) fn rollout_status(engine: &Engine, name: &str) -> Result<RolloutStatus, Problem> {
    let (resource, spec) = service(engine.store(), name)?;
    let board = engine.board();
    let Some(view) = board.services.get(name) else {
        return Ok(RolloutStatus {
            service: name.to_owned(),
            revision: 0,
            strategy: None,
            replicas: resource.replicas.unwrap_or(spec.replicas),
            updated: 0,
            ready: 0,
            weight: 0.0,
            step: None,
            done: false,
            message: "not looked at yet".into(),
        });
    };
    // External services and what somebody else deployed have nothing to roll; jobs run what is declared when their time comes.
    let attached = spec.kubernetes.as_ref().is_some_and(|cluster| cluster.attach.is_some());
    if spec.external.is_some() || spec.batch.is_some() || attached {
        let message = "there is nothing to roll out".into();
        return Ok(RolloutStatus { done: true, message, ..status_of(name, view, None) });
    }
    let asked = resource.status[RESTARTED_AT].as_str();
    Ok(with_verdict(status_of(name, view, asked), view, resource.generation))
}

/// Counts and shares, as the board has them. `asked` says when a restart was asked for.
fn status_of(name: &str, view: &ServiceView, asked: Option<&str>) -> RolloutStatus {
    let current = view.revisions.current_revision();
    let hash = current.map_or("", |revision| revision.description_hash.as_str());
    let is_new = |replica: &&ReplicaView| {
        let env = &replica.deployment.env;
        let has = env.iter().find(|var| var.name == "SOS_RESTARTED_AT").map(|var| &var.value);
        let restarted = match (asked, has) {
            (Some(asked), Some(EnvValue::Plain(at))) => asked == at,
            (asked, _) => asked.is_none(),
        };
        replica.live && replica.deployment.description_hash == hash && restarted
    };
    let is_ready = |replica: &&ReplicaView| view.status.ready_replicas.contains(&replica.deployment.replica);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let rollout = view.rollout.as_ref();
    RolloutStatus {
        service: name.to_owned(),
        revision: current.map_or(0, |revision| revision.number),
        strategy: rollout.map(|rollout| rollout.strategy.clone()),
        replicas: view.status.replicas,
        updated: count(view.replicas.iter().filter(is_new).count()),
        ready: count(view.replicas.iter().filter(is_new).filter(is_ready).count()),
        weight: rollout.map_or(100.0, |rollout| f64::from(rollout.weight) / 100.0),
        step: rollout.and_then(|rollout| rollout.step.as_ref()).map(|step| (step.number, step.of)),
        done: false,
        message: String::new(),
    }
}

/// Whether it is done, and what to say.
fn with_verdict(status: RolloutStatus, view: &ServiceView, generation: u64) -> RolloutStatus {
    let RolloutStatus { revision, replicas, ready, updated, .. } = status;
    let seen = view.status.observed_generation == generation;
    let still = view.rollout.is_some() || view.status.phase == ServicePhase::Rolling;
    let done = seen && !still && updated == replicas && ready >= replicas;
    let conditions = &view.status.conditions;
    let progressing = conditions.iter().find(|condition| condition.kind == "Progressing");
    let told = view.rollout.as_ref().map(|rollout| rollout.message.clone()).filter(|text| !text.is_empty());
    let detail = told
        .or_else(|| progressing.filter(|_| !done || view.revisions.hold.is_some()).map(|c| c.message.clone()))
        .or_else(|| Some(view.message.clone()))
        .filter(|text| !text.is_empty())
        .map_or_else(String::new, |text| format!("; {text}"));
    let message = if done {
        format!("revision {revision} is rolled out: {ready} of {replicas} replicas are ready{detail}")
    } else {
        format!(
            "{updated} of {replicas} replicas have revision {revision}, {ready} of them are ready{detail}"
        )
    };
    RolloutStatus { done, message, ..status }
}

/// Revisions with what became of each, oldest first.
pub(super) fn rollout_history(engine: &Engine, name: &str) -> Result<Vec<Revision>, Problem> {
    service(engine.store(), name)?;
    let board = engine.board();
    let Some(view) = board.services.get(name) else { return Ok(Vec::new()) };
    let state = &view.revisions;
    let revisions = state.revisions.iter().map(|revision| Revision {
        revision: revision.number,
        time: wire_time(revision.created_at, &TimeZone::UTC),
        change: revision.cause.clone(),
        outcome: revision.outcome.to_string(),
        reason: revision.reason.clone(),
        current: state.current == Some(revision.number),
    });
    Ok(revisions.collect())
}

/// Carries out what is asked of a rollout.
pub(super) fn rollout(
    engine: &Engine,
    name: &str,
    order: &RolloutOrder,
    who: &str,
) -> Result<RolloutStatus, Problem> {
    long_running(engine.store(), name, "rolled out")?;
    let order = match order.clone() {
        RolloutOrder::Pause => control::RolloutOrder::Pause,
        RolloutOrder::Resume => control::RolloutOrder::Resume,
        RolloutOrder::Promote { full } => control::RolloutOrder::Promote { full },
        RolloutOrder::Abort { reason } => control::RolloutOrder::Abort { reason },
        RolloutOrder::Undo { to } => control::RolloutOrder::Undo { to },
        RolloutOrder::Retry => control::RolloutOrder::Retry,
    };
    engine.service_orders().rollout(name, order, who).map_err(|refused| {
        let message = format!("service {name}: {refused}");
        match refused {
            OrderRefused::Refused(control::OrderError::Unknown { .. }) => Problem::not_found(message),
            OrderRefused::NotRecorded(_) | OrderRefused::Ended => Problem::internal(message),
            OrderRefused::NoRevisions | OrderRefused::Refused(_) => Problem::conflict(message),
        }
    })?;
    rollout_status(engine, name)
}

/// Asks for new processes for all replicas, one after the other. It is kept beside the spec, like the scale: the
/// manifest, its owner and its revision stay.
pub(super) fn restart(engine: &Engine, name: &str) -> Result<RolloutStatus, Problem> {
    long_running(engine.store(), name, "restarted")?;
    let asked: Value = json!({ RESTARTED_AT: wall_now() });
    engine.store().put_status(Kind::Service.name(), name, "sos/restart", &asked).map_err(store_problem)?;
    rollout_status(engine, name)
}

/// A replica's log, and what stands before its lines where there are several.
struct Source {
    reader: LogReader,
    prefix: String,
    part: String,
}

/// The last lines of all replicas, then, when followed, what they write.
pub(super) fn logs(
    engine: &Arc<Engine>,
    name: &str,
    lines: usize,
    follow: bool,
) -> Result<BoxStream<'static, String>, Problem> {
    let (resource, spec) = service(engine.store(), name)?;
    let declared = resource.replicas.unwrap_or(spec.replicas).max(1);
    let board = engine.board();
    let replicas = board.services.get(name).map(|view| view.replicas.as_slice()).unwrap_or_default();
    let mut ordinals: Vec<u32> = (0..declared).chain(replicas.iter().map(|r| r.deployment.ordinal)).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let several = ordinals.len() > 1;
    let mut sources = Vec::new();
    for ordinal in ordinals {
        let replica = format!("{name}-{ordinal}");
        let reader = engine
            .drivers()
            .logs(&replica, lines, LOG_BYTES)
            .map_err(|error| Problem::internal(error.full()))?;
        let prefix = if several { format!("{replica}: ") } else { String::new() };
        sources.push(Source { reader, prefix, part: String::new() });
    }
    let first = read(&mut sources, !follow).map_err(unreadable)?;
    if !follow {
        return Ok(stream::iter(first).boxed());
    }
    Ok(stream::iter(first).chain(followed(sources)).boxed())
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::internal(format!("the log cannot be read: {error}"))
}

/// Whole lines that were written since the last look; at the end also what has no line end yet.
fn read(sources: &mut [Source], to_the_end: bool) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for source in sources {
        loop {
            let chunk = source.reader.read(LOG_BYTES)?;
            source.part.push_str(&chunk.text);
            while let Some(end) = source.part.find('\n') {
                let line: String = source.part.drain(..=end).collect();
                lines.push(format!("{}{}", source.prefix, line.trim_end_matches(['\n', '\r'])));
            }
            if !chunk.more || lines.len() > 100_000 {
                break;
            }
        }
        if to_the_end && !source.part.is_empty() {
            lines.push(format!("{}{}", source.prefix, std::mem::take(&mut source.part)));
        }
    }
    Ok(lines)
}

fn followed(sources: Vec<Source>) -> BoxStream<'static, String> {
    stream::unfold(Some(sources), |sources| async move {
        let mut sources = sources?;
        tokio::time::sleep(LOG_LOOK).await;
        let looked = tokio::task::spawn_blocking(move || {
            let lines = read(&mut sources, false);
            (sources, lines)
        });
        match looked.await {
            Ok((sources, Ok(lines))) => Some((lines, Some(sources))),
            Ok((_, Err(error))) => Some((vec![format!("sos: the log cannot be read on: {error}")], None)),
            Err(_) => None,
        }
    })
    .flat_map(stream::iter)
    .boxed()
}
