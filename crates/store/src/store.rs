//! The open store: one writing connection, a few reading ones, one transaction at a time.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::audit::{self, Head};
use crate::error::{Result, StoreError};
use crate::metrics::{MetricLimits, Metrics};
use crate::notify::Notifier;
use crate::tx::{Cache, Tx};
use crate::{files, lock, schema};

const MAX_READERS: usize = 4;
/// In [`Durability::Normal`], commits between two moments at which everything is forced to disk.
const SYNC_EVERY: u32 = 1000;

/// What an acknowledged commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: every commit waits for the disk.
    #[default]
    Full,
    /// The end of this process in any way. A power cut may take the last seconds, never the consistency.
    Normal,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// Page cache of the writing connection in KiB (the up to four reading ones have 256 KiB each).
    pub page_cache_kib: u32,
    /// Largest size of the database in pages of 4 KiB; more answers [`StoreError::Full`]. `None`: the disk is the limit.
    pub max_pages: Option<u32>,
    /// How many past specs of each resource are kept.
    pub history: u32,
    /// How much of metrics is accepted.
    pub metrics: MetricLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            page_cache_kib: 1024,
            max_pages: None,
            history: 10,
            metrics: MetricLimits::default(),
        }
    }
}

/// Where a test may let a call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// Before anything was done: the call fails and changed nothing.
    BeforeCommit,
    /// After it was done: the call fails although everything is stored (as when an answer is lost).
    AfterCommit,
    /// Before reading.
    Read,
}

/// Decides for each passage of a [`FaultPoint`] whether it fails; see [`Store::inject_faults`].
pub type FaultHook = Arc<dyn Fn(FaultPoint) -> bool + Send + Sync>;

/// The durable state of one data directory. Cheap to clone; all clones are the same store.
///
/// # Guarantees
/// Calls block, so async callers use blocking threads. Every writing call is one transaction: after an error nothing
/// of it is stored. Several processes may have the same directory open; SQLite orders their commits.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    options: Options,
    writer: Option<Mutex<Writer>>,
    readers: Mutex<Readers>,
    reader_free: Condvar,
    /// What a store that only reads remembers of metrics.
    seen: Mutex<Option<Metrics>>,
    notifier: Notifier,
    faults: Mutex<Option<FaultHook>>,
    _in_use: Option<File>,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    open: usize,
}

struct Writer {
    conn: Connection,
    cache: Cache,
    head: Head,
    unsynced: u32,
    dir: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.0.dir)
            .field("read_only", &self.0.writer.is_none())
            .finish()
    }
}

impl Store {
    /// Opens the store of a data directory, creating directory, database and key file when they are missing.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::Migration`] (the old file is untouched),
    /// [`StoreError::Audit`] when the end of the audit record is not the one noted, [`StoreError::Io`].
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        Self::open_with(dir, options, schema::MIGRATIONS)
    }

    pub(crate) fn open_with(dir: &Path, options: Options, migrations: &[&str]) -> Result<Self> {
        files::private_dir(dir)?;
        let fresh = !dir.join(schema::DB).exists();
        let head = Head::open(dir, fresh)?;
        schema::migrate_if_older(dir, migrations)?;
        // From here on nobody migrates, so the file that is opened stays the one in the directory.
        let in_use = lock::share(dir)?;
        let conn = schema::open_writer(dir, &options, migrations)?;
        head.check(&conn)?;
        let writer = Writer { conn, cache: Cache::default(), head, unsynced: 0, dir: dir.to_owned() };
        Ok(Self::assemble(dir, options, Some(Mutex::new(writer)), Some(in_use)))
    }

    /// Opens an existing store for reading, also while a controller runs. Writing calls answer
    /// [`StoreError::ReadOnly`].
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        drop(schema::open_reader(dir)?);
        // On a read-only disk there is no lock file, and nothing that could migrate the store either.
        let in_use = match lock::share(dir) {
            Ok(file) => Some(file),
            Err(StoreError::Io { .. }) => None,
            Err(e) => return Err(e),
        };
        Ok(Self::assemble(dir, Options::default(), None, in_use))
    }

    fn assemble(dir: &Path, options: Options, writer: Option<Mutex<Writer>>, in_use: Option<File>) -> Self {
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            options,
            writer,
            readers: Mutex::default(),
            reader_free: Condvar::new(),
            seen: Mutex::default(),
            notifier: Notifier::default(),
            faults: Mutex::default(),
            _in_use: in_use,
        }))
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Does everything that `work` asks of the transaction, or nothing of it. Inside `work` use the transaction only:
    /// a call of the store itself would wait for this very transaction to end.
    ///
    /// # Errors
    /// The error `work` returned, or that of the commit. When a call inside `work` failed for another reason than a
    /// refusal ([`StoreError::is_refusal`]), the transaction is rolled back even if `work` answers `Ok`.
    pub fn commit<T>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        self.fault(FaultPoint::BeforeCommit)?;
        let mut writer = self.writer()?;
        let (value, revision) = writer.commit(&self.0.options, work)?;
        drop(writer);
        if let Some(revision) = revision {
            self.0.notifier.publish(revision);
        }
        self.fault(FaultPoint::AfterCommit)?;
        Ok(value)
    }

    /// Waits until everything acknowledged so far survives a power cut. Needed in [`Durability::Normal`] only.
    pub fn sync(&self) -> Result<()> {
        self.writer()?.sync()
    }

    /// Lets calls fail where `hook` says so; for tests of the callers. `None` ends it.
    pub fn inject_faults(&self, hook: Option<FaultHook>) {
        *relock(&self.0.faults) = hook;
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// Runs `work` on a consistent view of what is committed.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.fault(FaultPoint::Read)?;
        let reader = self.reader()?;
        let view = reader.conn().unchecked_transaction()?;
        work(&view)
    }

    /// Runs `look` on the writer's memory and `work` on a view of the very same commit.
    pub(crate) fn read_with_cache<A, T>(
        &self,
        look: impl FnOnce(&Connection, &mut Cache) -> Result<A>,
        work: impl FnOnce(&Connection, A) -> Result<T>,
    ) -> Result<T> {
        self.fault(FaultPoint::Read)?;
        let reader = self.reader()?;
        let (view, seen) = match &self.0.writer {
            None => {
                let view = reader.conn().unchecked_transaction()?;
                // The first read fixes the view.
                schema::schema_of(&view)?;
                let mut kept = relock(&self.0.seen);
                let mut cache = Cache { metrics: still_current(kept.take(), &view)?, ..Cache::default() };
                let seen = look(&view, &mut cache);
                *kept = cache.metrics;
                (view, seen?)
            }
            Some(_) => {
                let mut writer = self.writer()?;
                writer.refresh()?;
                let Writer { conn, cache, .. } = &mut *writer;
                let seen = look(conn, cache)?;
                let view = reader.conn().unchecked_transaction()?;
                // The first read fixes the view; until then the writer must wait.
                schema::schema_of(&view)?;
                (view, seen)
            }
        };
        work(&view, seen)
    }

    fn fault(&self, point: FaultPoint) -> Result<()> {
        let hook = relock(&self.0.faults).clone();
        if hook.is_some_and(|fails| fails(point)) { Err(StoreError::Injected) } else { Ok(()) }
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        Ok(relock(self.0.writer.as_ref().ok_or(StoreError::ReadOnly)?))
    }

    fn reader(&self) -> Result<Reader<'_>> {
        let mut readers = relock(&self.0.readers);
        loop {
            if let Some(conn) = readers.idle.pop() {
                return Ok(Reader { store: self, conn: Some(conn) });
            }
            if readers.open < MAX_READERS {
                readers.open += 1;
                drop(readers);
                // Counted before it is opened; the guard gives the place back when opening fails.
                let mut reader = Reader { store: self, conn: None };
                reader.conn = Some(schema::open_reader(&self.0.dir)?);
                return Ok(reader);
            }
            readers = self.0.reader_free.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What is remembered of metrics, unless another connection has changed them.
fn still_current(kept: Option<Metrics>, conn: &Connection) -> Result<Option<Metrics>> {
    match kept {
        Some(metrics) if metrics.is_current(conn)? => Ok(Some(metrics)),
        _ => Ok(None),
    }
}

/// A panic while the lock was held leaves nothing half-done: the next transaction starts by rolling back.
pub(crate) fn relock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader<'a> {
    store: &'a Store,
    conn: Option<Connection>,
}

impl Reader<'_> {
    #[expect(
        clippy::expect_used,
        reason = "set before the guard is handed out, taken only when it is dropped"
    )]
    fn conn(&self) -> &Connection {
        self.conn.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let inner = &self.store.0;
        let mut readers = relock(&inner.readers);
        match self.conn.take() {
            Some(conn) if conn.is_autocommit() => readers.idle.push(conn),
            _ => readers.open -= 1,
        }
        inner.reader_free.notify_one();
    }
}

impl Writer {
    fn commit<T>(
        &mut self,
        options: &Options,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<(T, Option<u64>)> {
        self.rollback_leftover()?;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let outcome = self.refresh_in_tx().and_then(|()| {
            let mut tx = Tx::new(&self.conn, &mut self.cache, options, &self.dir);
            let value = work(&mut tx)?;
            let revision = tx.finish()?;
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            Ok((value, revision))
        });
        if outcome.is_err() {
            self.cache.forget();
            if let Err(error) = self.rollback_leftover() {
                tracing::warn!(%error, "a failed transaction could not be rolled back; tried again before the next one");
            }
            return outcome;
        }
        if let Some(metrics) = &mut self.cache.metrics {
            metrics.committed();
        }
        self.after_commit(options.durability);
        outcome
    }

    fn rollback_leftover(&mut self) -> Result<()> {
        if !self.conn.is_autocommit() {
            self.cache.forget();
            self.conn.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Forgets what is remembered when another connection has written since.
    fn refresh_in_tx(&mut self) -> Result<()> {
        let version: i64 = self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))?;
        if self.cache.data_version != Some(version) {
            let metrics = still_current(self.cache.metrics.take(), &self.conn)?;
            self.cache = Cache { data_version: Some(version), metrics, ..Cache::default() };
            self.head.reload();
        }
        Ok(())
    }

    fn refresh(&mut self) -> Result<()> {
        self.rollback_leftover()?;
        self.refresh_in_tx()
    }

    /// Notes the end of the audit record beside the database. What fails here is caught up by the next commit: a
    /// note that is behind is not an alarm.
    fn after_commit(&mut self, durability: Durability) {
        let outcome = match durability {
            Durability::Full => self.note_head(true),
            Durability::Normal => {
                self.unsynced += 1;
                if self.unsynced >= SYNC_EVERY { self.sync() } else { self.note_head(false) }
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the end of the audit record could not be noted");
        }
    }

    fn note_head(&mut self, durable: bool) -> Result<()> {
        match self.cache.audit {
            Some(end) => self.head.note(end, durable),
            None => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<()> {
        let path = self.dir.join("sos.db-wal");
        match File::open(&path).and_then(|wal| wal.sync_data()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("sync", &path)(e));
            }
            _ => {}
        }
        self.unsynced = 0;
        self.refresh()?;
        if self.cache.audit.is_none() {
            self.cache.audit = Some(audit::end(&self.conn)?);
        }
        self.note_head(true)?;
        self.head.sync()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the store could not be synced while closing");
        }
    }
}
