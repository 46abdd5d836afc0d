//! Commands and questions about services: scale, rollouts, logs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sos_api::Problem;
use sos_api::wire::{Revision, RolloutStatus, Scale, wire_time};
use sos_control::ServicePhase;
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::resources;
use sos_engine::services::board::ReplicaView;
use sos_engine::services::convert::RESTARTED_AT;
use sos_model::{Declared, Kind, ServiceSpec};
use sos_runtime::{EnvValue, LogReader};
use sos_store::{AuditEntry, PutResource, Resource, SpecRevision, Store};

use super::resources::stored;
use super::store_problem;

/// Most bytes of a log that are looked at for its last lines, and read at once.
const LOG_BYTES: u64 = 1 << 20;
/// How soon a followed log shows what was written.
const LOG_LOOK: Duration = Duration::from_millis(200);
/// Most replicas of one service.
const MAX_REPLICAS: u32 = 1000;
/// Entries of the audit record in which the times of revisions are looked for.
const AUDIT_LOOKED_AT: usize = 1000;

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

/// Sets the number of replicas.
pub(super) fn scale(engine: &Engine, name: &str, replicas: u32) -> Result<Scale, Problem> {
    let (_, spec) = long_running(engine.store(), name, "scaled")?;
    if replicas > MAX_REPLICAS {
        return Err(Problem::bad_request(format!("replicas is {replicas}: expected 0 to {MAX_REPLICAS}")));
    }
    if replicas > 1
        && let Some(port) = spec.ports.iter().find(|port| port.port.is_some())
    {
        return Err(Problem::conflict(format!(
            "{replicas} replicas of {name} cannot share the fixed port of \"{}\": leave its number out of the manifest",
            port.name
        )));
    }
    engine.store().put_scale(Kind::Service.name(), name, Some(replicas)).map_err(store_problem)?;
    Ok(Scale { replicas })
}

/// How far the replicas are on the way to what is declared.
pub(super) fn rollout_status(engine: &Engine, name: &str) -> Result<RolloutStatus, Problem> {
    let (resource, spec) = service(engine.store(), name)?;
    let replicas = resource.replicas.unwrap_or(spec.replicas);
    let board = engine.board();
    let Some(view) = board.services.get(name) else {
        return Ok(RolloutStatus {
            service: name.to_owned(),
            revision: resource.generation,
            replicas,
            updated: 0,
            ready: 0,
            done: false,
            message: "not looked at yet".into(),
        });
    };
    let asked = resource.status[RESTARTED_AT].as_str();
    let is_new = |deployment: &sos_runtime::Deployment| {
        let has = deployment.env.iter().find(|var| var.name == "SOS_RESTARTED_AT").map(|var| &var.value);
        let restarted = match (asked, has) {
            (None, _) => true,
            (Some(asked), Some(EnvValue::Plain(at))) => asked == at,
            (Some(_), _) => false,
        };
        deployment.generation == resource.generation && restarted
    };
    let new = || view.replicas.iter().filter(|replica| replica.live && is_new(&replica.deployment));
    let is_ready = |replica: &&ReplicaView| view.status.ready_replicas.contains(&replica.deployment.replica);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (updated, ready) = (count(new().count()), count(new().filter(is_ready).count()));
    // External services and batch jobs have nothing to roll.
    let fixed = spec.external.is_some() || spec.batch.is_some();
    let replicas = if fixed { 0 } else { replicas };
    let (updated, ready) = if fixed { (0, 0) } else { (updated, ready) };
    let seen = view.status.observed_generation == resource.generation;
    let done = seen && updated == replicas && ready >= replicas && view.status.phase != ServicePhase::Rolling;
    let message = if done {
        format!("revision {} is rolled out: {ready} of {replicas} replicas are ready", resource.generation)
    } else {
        let detail = if view.message.is_empty() { String::new() } else { format!("; {}", view.message) };
        format!(
            "{updated} of {replicas} replicas have revision {}, {ready} of them are ready{detail}",
            resource.generation
        )
    };
    Ok(RolloutStatus {
        service: name.to_owned(),
        revision: resource.generation,
        replicas,
        updated,
        ready,
        done,
        message,
    })
}

/// Revisions with what each changed, oldest first.
pub(super) fn rollout_history(store: &Store, name: &str) -> Result<Vec<Revision>, Problem> {
    let (resource, _) = service(store, name)?;
    let history = store.spec_history(Kind::Service.name(), name).map_err(store_problem)?;
    let mut recorded = store
        .recent_audit(Some(&format!("Service/{name}")), AUDIT_LOOKED_AT)
        .map_err(store_problem)?
        .into_iter()
        .filter_map(|record| Some((record.entry.time, record.entry.after?["spec"].take())))
        .collect::<VecDeque<_>>();
    let mut before: Option<&SpecRevision> = None;
    let mut revisions = Vec::new();
    for revision in &history {
        // Entries are in the order of the revisions, so each is looked for behind the one before.
        let found = recorded.iter().position(|(_, spec)| *spec == revision.spec["spec"]);
        let time = found.and_then(|at| recorded.drain(..=at).next_back()).map(|(time, _)| time);
        revisions.push(Revision {
            revision: revision.generation,
            time: time.map(|time| wire_time(time, &TimeZone::UTC)),
            change: change(before, revision),
            current: revision.generation == resource.generation,
        });
        before = Some(revision);
    }
    Ok(revisions)
}

fn change(before: Option<&SpecRevision>, revision: &SpecRevision) -> String {
    let Some(before) = before else { return format!("{}: declared", revision.manager) };
    let paths: Vec<String> =
        sos_model::diff(&before.spec, &revision.spec).into_iter().map(|change| change.path).collect();
    let more = paths.len().saturating_sub(4);
    let shown = paths.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}: {shown}{rest}", revision.manager)
}

/// Declares an earlier revision again, as the same owner.
pub(super) fn rollout_undo(engine: &Engine, name: &str, to: Option<u64>) -> Result<RolloutStatus, Problem> {
    let store = engine.store();
    let (resource, _) = service(store, name)?;
    let history = store.spec_history(Kind::Service.name(), name).map_err(store_problem)?;
    let earlier: Vec<&SpecRevision> =
        history.iter().filter(|r| r.generation != resource.generation).collect();
    let wanted = match to {
        None => earlier.last().copied(),
        Some(to) => history.iter().find(|revision| revision.generation == to),
    };
    let known: Vec<String> = history.iter().map(|revision| revision.generation.to_string()).collect();
    let wanted = wanted.ok_or_else(|| {
        let asked = to.map_or_else(|| "no earlier revision".to_owned(), |to| format!("no revision {to}"));
        Problem::not_found(format!("service {name} has {asked}; known: {}", known.join(", ")))
    })?;
    let back = Resource { spec: wanted.spec.clone(), ..resource.clone() };
    fits(store, &back)?;
    let put = PutResource {
        kind: back.kind.clone(),
        name: back.name.clone(),
        manager: resource.manager.clone(),
        spec: wanted.spec.clone(),
        labels: resource.labels.clone(),
        force: false,
        expected_version: None,
        dry_run: false,
    };
    let entry = AuditEntry {
        time: wall_now(),
        who: "sos/api".into(),
        what: "apply".into(),
        target: format!("Service/{name}"),
        why: format!("revision {} is declared again", wanted.generation),
        before: Some(resources::manifest(&resource)),
        after: Some(resources::manifest(&back)),
    };
    let put = store.commit(|tx| {
        tx.audit(&entry)?;
        tx.put(&put)
    });
    put.map_err(store_problem)?;
    engine.refresh_sites();
    rollout_status(engine, name)
}

/// An earlier spec may name what is no longer there.
fn fits(store: &Store, back: &Resource) -> Result<(), Problem> {
    let known: Vec<Declared> = sos_engine::apply::declared(store).map_err(store_problem)?;
    let declared = resources::declared(back).map_err(Problem::conflict)?;
    let problems = sos_model::check(&[declared], &known);
    if problems.is_empty() {
        return Ok(());
    }
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(Problem::conflict(format!("the earlier revision no longer fits what is declared: {text}")))
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
            .driver()
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
