//! Following changes of resources.
//!
//! A watcher holds no queue: it remembers the version it has seen and reads the change log, which is bounded. One
//! that falls behind the log is told to list again; it can neither block a writer nor grow.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Result, StoreError};
use crate::notify::ChangeHook;
use crate::resources::revision_of;
use crate::rows;
use crate::store::Store;

/// How many changes the log keeps.
pub(crate) const CHANGES_KEPT: u64 = 8192;
/// How many changes one [`Watcher::poll`] answers at most.
const BATCH: usize = 1024;

static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// Which part of a resource changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was created, or its spec, labels or manager changed.
    Spec,
    /// What is reported about it.
    Status,
    /// The number of replicas set beside the spec.
    Scale,
    /// It was deleted.
    Deleted,
}

/// One change. It says what to look at, not how that looks: read the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Version the store got by it.
    pub version: u64,
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Which part changed.
    pub part: Part,
}

/// What a watcher learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// What changed since the last look, oldest first; empty when nothing did.
    Changes(Vec<Change>),
    /// More changed than the log keeps: list everything again. The watcher goes on at this version.
    Relist(u64),
}

/// Follows the changes after a version; see [`Store::watch`].
///
/// Threads call [`Watcher::wait`], async tasks `watcher.changed().await` (any executor), then both call
/// [`Watcher::poll`]. Only commits of this process wake; those of others are seen at the next look.
#[derive(Debug)]
pub struct Watcher {
    store: Store,
    seen: u64,
    id: u64,
}

impl Store {
    /// Follows the changes after `since`, usually the version of a [`Store::snapshot`].
    #[must_use]
    pub fn watch(&self, since: u64) -> Watcher {
        Watcher { store: self.clone(), seen: since, id: self.notifier().register() }
    }

    /// Calls `hook` after each commit that changed resources, with the newest version; in the committing thread, so
    /// it must be short.
    pub fn on_change(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        let hook: ChangeHook = Arc::new(hook);
        self.notifier().add_hook(hook);
    }
}

/// How often watchers of this process had to list again because they fell behind.
#[must_use]
pub fn watch_overruns() -> u64 {
    OVERRUNS.load(Ordering::Relaxed)
}

impl Watcher {
    /// The version up to which changes were answered.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What changed since the last look, at once; at most 1024 changes, so look until there are none.
    pub fn poll(&mut self) -> Result<Watched> {
        let seen = self.seen;
        let watched = self.store.read(|conn| {
            let newest = revision_of(conn)?;
            let oldest: Option<i64> =
                conn.prepare_cached("SELECT min(version) FROM change")?.query_row([], |r| r.get(0))?;
            let oldest = oldest.unwrap_or(0).unsigned_abs();
            // Also when the store was put back to an earlier state: then the watcher has seen what is not there.
            if seen > newest || (seen + 1 < oldest && newest > seen) {
                return Ok(Watched::Relist(newest));
            }
            changes_after(conn, seen).map(Watched::Changes)
        })?;
        match &watched {
            Watched::Changes(changes) => self.seen = changes.last().map_or(seen, |c| c.version),
            Watched::Relist(newest) => {
                OVERRUNS.fetch_add(1, Ordering::Relaxed);
                self.seen = *newest;
            }
        }
        Ok(watched)
    }

    /// Blocks until there may be something to [`poll`](Self::poll), at most for `timeout`; says whether there is.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        if self.store.revision()? != self.seen {
            return Ok(true);
        }
        Ok(self.store.notifier().wait_above(self.seen, timeout))
    }

    /// Resolves when there may be something to [`poll`](Self::poll). Safe to drop at any time.
    ///
    /// Changes that were committed before a watcher's first look are only found by that look: poll first, then wait.
    pub async fn changed(&self) {
        poll_fn(|cx| self.store.notifier().poll_above(self.id, self.seen, cx)).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.store.notifier().forget(self.id);
    }
}

fn changes_after(conn: &rusqlite::Connection, seen: u64) -> Result<Vec<Change>> {
    let mut query = conn.prepare_cached(
        "SELECT version, kind, name, part FROM change WHERE version > ? ORDER BY version LIMIT ?",
    )?;
    let mut found = query.query((rows::int(seen), rows::limit(BATCH)))?;
    let mut changes = Vec::new();
    while let Some(row) = found.next()? {
        let part = match row.get::<_, u8>(3)? {
            0 => Part::Spec,
            1 => Part::Status,
            2 => Part::Scale,
            3 => Part::Deleted,
            other => return Err(StoreError::corrupt(format!("{other} is no part of a resource"))),
        };
        let version = row.get::<_, i64>(0)?.unsigned_abs();
        changes.push(Change { version, kind: row.get(1)?, name: row.get(2)?, part });
    }
    Ok(changes)
}
