//! Keeps the workflows as declared, and what is kept of runs within its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sos_model::{Declared, Kind};
use sos_store::{RunState, StoreError};

use super::definition::{self, Workflow};
use super::hub::Followed;
use super::{Runs, starts};
use crate::clock::wall_now;
use crate::declarations::{self, Declarations};
use crate::relock;
use crate::resources::{self, Ready};

/// How often runs that have ended are looked at.
const UPKEEP: Duration = Duration::from_secs(60);
/// Documents that could not be had are tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// The condition of a workflow.
const READY: Ready = Ready { writer: "sos/workflows", reason: "Usable", message: "it can run" };

/// A workflow as it was declared, and what reads it tells.
type Seen = BTreeMap<String, (Declared, bool)>;

/// Runs until it is aborted.
pub(super) async fn keep(runs: Runs) {
    let store = runs.0.store.clone();
    let mut declarations = Declarations::follow(&store, &[Kind::Workflow]);
    let mut upkeep = tokio::time::interval(UPKEEP);
    let mut again = tokio::time::interval(AGAIN);
    let (mut seen, mut started) = (Seen::new(), Followed::default());
    follow(&runs, &mut seen, &mut started).await;
    loop {
        tokio::select! {
            () = declarations.changed() => follow(&runs, &mut seen, &mut started).await,
            _ = again.tick() => {
                seen.retain(|_, (_, usable)| *usable);
                follow(&runs, &mut seen, &mut started).await;
            }
            _ = upkeep.tick() => {
                prune(&runs).await;
                tidy(&runs).await;
            }
        }
    }
}

/// Removes containers whose time after their end is over.
async fn tidy(runs: &Runs) {
    if runs.workflows().values().all(|workflow| workflow.spec.containers.is_none()) {
        return;
    }
    let removed = sos_runtime::remove_ended(sos_runtime::docker_socket(), wall_now().as_second()).await;
    if let Err(error) = removed {
        tracing::warn!(error = error.full(), "containers that have ended cannot be removed");
    }
}

async fn prune(runs: &Runs) {
    for workflow in runs.workflows().values().cloned() {
        let log = runs.0.log.clone();
        let done = tokio::task::spawn_blocking(move || {
            let keep = &workflow.spec.keep;
            let kept = [
                (keep.completed, vec![RunState::Completed, RunState::Cancelled]),
                (keep.faulted, vec![RunState::Faulted]),
            ];
            for (time, states) in kept {
                let Ok(before) = wall_now().checked_sub(time) else { continue };
                while log.prune(&workflow.name, before, &states)? > 0 {}
            }
            Ok::<(), StoreError>(())
        });
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "runs that have ended cannot be removed"),
            Err(error) => tracing::error!(%error, "the upkeep of runs failed"),
        }
    }
}

/// Reads, replaces and forgets workflows so that they are as declared.
async fn follow(runs: &Runs, seen: &mut Seen, started: &mut Followed) {
    let declared: Vec<Declared> = match declarations::read(&runs.0.store, Kind::Workflow).await {
        Ok(declared) => declared.into_iter().map(|(_, declared)| declared).collect(),
        Err(why) => return tracing::error!(why, "the declared workflows cannot be read"),
    };
    let mut now = super::Workflows::clone(&runs.workflows());
    now.retain(|name, _| declared.iter().any(|one| *one.name == **name));
    seen.retain(|name, _| declared.iter().any(|one| *one.name == **name));
    started.0.retain(|name, task| {
        let stays = declared.iter().any(|one| *one.name == **name);
        if !stays {
            task.abort();
        }
        stays
    });
    let mut changed = Vec::new();
    for one in declared {
        let name = one.name.to_string();
        if seen.get(&name).is_some_and(|(before, _)| *before == one && !is_changed(runs, &name)) {
            continue;
        }
        let read = definition::read(&one, &runs.0.base, &runs.0.reach, &runs.0.store).await;
        tell(runs, &name, read.as_ref().err().map(String::as_str));
        seen.insert(name.clone(), (one, read.is_ok()));
        if let Ok(workflow) = read {
            let workflow = Arc::new(workflow);
            now.insert(name, Arc::clone(&workflow));
            changed.push(workflow);
        }
    }
    *runs.0.workflows.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(now);
    runs.0.loaded.send_replace(true);
    for workflow in changed {
        let stranded = relock(&runs.0.stranded).remove(&workflow.name).unwrap_or_default();
        stranded.into_iter().for_each(|run| relock(&runs.0.table).queue(run));
        begin(runs, started, workflow);
    }
    runs.0.turn.notify_one();
}

/// Whether the file of a workflow is no longer what was read.
fn is_changed(runs: &Runs, name: &str) -> bool {
    let Some(workflow) = runs.workflows().get(name).cloned() else { return false };
    workflow.is_changed()
}

/// Has a workflow start runs as it says now.
fn begin(runs: &Runs, started: &mut Followed, workflow: Arc<Workflow>) {
    let name = workflow.name.clone();
    if let Some(before) = started.0.insert(name, tokio::spawn(starts::start(runs.clone(), workflow))) {
        before.abort();
    }
}

fn tell(runs: &Runs, name: &str, problem: Option<&str>) {
    if let Some(problem) = problem {
        tracing::error!(workflow = name, problem, "the workflow cannot run");
    }
    if let Err(error) = resources::put_ready(&runs.0.store, Kind::Workflow, name, &READY, problem) {
        tracing::warn!(%error, workflow = name, "the condition of a workflow cannot be written");
    }
}
