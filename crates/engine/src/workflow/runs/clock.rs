//! Wakes runs whose time has come, as far as there is room for them.

use futures::StreamExt as _;
use sos_store::RunId;

use super::Runs;
use crate::clock::wall_now;
use crate::relock;
use crate::workflow::drive::until;

/// How many runs are read again at once.
const AT_ONCE: usize = 16;
/// A run that cannot be read is tried again after this.
const AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// Runs until it is aborted.
pub(super) async fn tick(runs: Runs) {
    // What is declared is known before anything goes on.
    let mut loaded = runs.0.loaded.subscribe();
    drop(loaded.wait_for(|loaded| *loaded).await);
    loop {
        let (due, next) = relock(&runs.0.table).due(wall_now());
        wake(&runs, due).await;
        tokio::select! {
            () = runs.0.turn.notified() => {}
            () = until(next) => {}
        }
    }
}

/// Takes runs into memory that rested.
pub(super) async fn wake(runs: &Runs, due: impl IntoIterator<Item = RunId>) {
    let resumed = futures::stream::iter(due).map(|run| async move { (run, runs.resume(run).await) });
    let mut resumed = resumed.buffer_unordered(AT_ONCE);
    while let Some((run, outcome)) = resumed.next().await {
        if let Err(why) = outcome {
            tracing::error!(run, why, "a run cannot go on; tried again later");
            relock(&runs.0.table).rest(run, wall_now().checked_add(AGAIN).ok(), None);
        }
    }
}
