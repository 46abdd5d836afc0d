//! One writer; calls that wait for it at the same time share a transaction and so a wait for the disk: the first of them
//! runs what all of them want.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rusqlite::Connection;

use super::state::State;
use super::wake::Wakes;
use super::{ChannelOptions, Channels, file};
use crate::error::{Result, StoreError};
use crate::store::{FaultHook, FaultPoint, relock};

const MAX_READERS: usize = 4;
/// How many calls share a transaction at most.
const TOGETHER: usize = 64;

pub(super) struct Inner {
    dir: PathBuf,
    /// Closed before the writer, which as the last one moves the log into the file.
    readers: Mutex<Readers>,
    reader_free: Condvar,
    writer: Mutex<Writer>,
    waiting: Mutex<Waiting>,
    /// Told when a transaction has ended.
    ended: Condvar,
    pub(super) wakes: Wakes,
    faults: Mutex<Option<FaultHook>>,
    _held: file::Held,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Box<dyn Job>>,
    /// Whether one of the callers is running the jobs of all.
    busy: bool,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    open: usize,
}

struct Writer {
    conn: Connection,
    state: State,
}

/// What a call sees of the writer's transaction.
pub(super) struct Work<'a> {
    pub(super) conn: &'a Connection,
    pub(super) state: &'a mut State,
    /// Whether this call has changed anything: after a refusal it must then be rolled back.
    pub(super) touched: bool,
    woken: &'a mut BTreeMap<String, Option<u64>>,
}

impl Work<'_> {
    /// Wakes who waits for this channel once everything is committed; `appended` is the newest position.
    pub(super) fn wake(&mut self, channel: &str, appended: Option<u64>) {
        if let Some(newest) = self.woken.get_mut(channel) {
            *newest = appended.or(*newest);
        } else {
            self.woken.insert(channel.to_owned(), appended);
        }
    }
}

trait Job: Send {
    /// Does the work inside the transaction. An error means that the transaction must be rolled back.
    fn run(&mut self, work: &mut Work<'_>) -> Result<()>;
    /// Hands the answer to the caller: that of [`run`](Job::run), or this error.
    fn finish(&mut self, failure: Option<StoreError>);
}

type Answer<T> = Arc<Mutex<Option<Result<T>>>>;

struct Pending<T, F> {
    work: F,
    made: Option<Result<T>>,
    answer: Answer<T>,
}

impl<T: Send, F: Fn(&mut Work<'_>) -> Result<T> + Send> Job for Pending<T, F> {
    fn run(&mut self, work: &mut Work<'_>) -> Result<()> {
        work.touched = false;
        match (self.work)(work) {
            Err(error) if work.touched || !error.is_refusal() => Err(error),
            made => {
                self.made = Some(made);
                Ok(())
            }
        }
    }

    fn finish(&mut self, failure: Option<StoreError>) {
        *relock(&self.answer) = failure.map(Err).or_else(|| self.made.take());
    }
}

impl Inner {
    pub(super) fn open(dir: &Path, options: ChannelOptions) -> Result<Self> {
        let held = file::hold(dir)?;
        let conn = file::open_writer(dir, &options)?;
        Ok(Self {
            dir: dir.to_owned(),
            writer: Mutex::new(Writer { conn, state: State::new(options.memory_for_ids) }),
            waiting: Mutex::default(),
            ended: Condvar::new(),
            readers: Mutex::default(),
            reader_free: Condvar::new(),
            wakes: Wakes::default(),
            faults: Mutex::default(),
            _held: held,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn inject_faults(&self, hook: Option<FaultHook>) {
        *relock(&self.faults) = hook;
    }

    fn fault(&self, point: FaultPoint) -> Result<()> {
        let hook = relock(&self.faults).clone();
        if hook.is_some_and(|fails| fails(point)) { Err(StoreError::Injected) } else { Ok(()) }
    }

    /// Runs `work` in a transaction, alone or together with that of others, and answers once it is durable. `work` may
    /// run again when others, with which it shared a transaction, failed.
    fn submit<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Work<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = Answer::default();
        let job = Pending { work, made: None, answer: answer.clone() };
        relock(&self.waiting).jobs.push(Box::new(job));
        loop {
            let mut waiting = relock(&self.waiting);
            while waiting.busy && relock(&answer).is_none() {
                waiting = self.ended.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(answer) = relock(&answer).take() {
                drop(waiting);
                return answer.and_then(|value| self.fault(FaultPoint::AfterCommit).map(|()| value));
            }
            let together = waiting.jobs.len().min(TOGETHER);
            let jobs: Vec<_> = waiting.jobs.drain(..together).collect();
            if jobs.is_empty() {
                // Whoever had taken our work has panicked.
                return Err(StoreError::Busy);
            }
            waiting.busy = true;
            drop(waiting);
            self.lead(jobs);
        }
    }

    /// Runs these jobs, and then lets the others go on.
    fn lead(&self, mut jobs: Vec<Box<dyn Job>>) {
        let _end = End(self);
        let woken = relock(&self.writer).run(&mut jobs, &|| self.fault(FaultPoint::BeforeCommit));
        self.wakes.publish(woken);
    }

    /// Runs `work` on a consistent view of what is committed.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.fault(FaultPoint::Read)?;
        let reader = self.reader()?;
        let view = reader.conn().unchecked_transaction()?;
        work(&view)
    }

    fn reader(&self) -> Result<Reader<'_>> {
        let mut readers = relock(&self.readers);
        loop {
            if let Some(conn) = readers.idle.pop() {
                return Ok(Reader { inner: self, conn: Some(conn) });
            }
            if readers.open < MAX_READERS {
                readers.open += 1;
                drop(readers);
                // Counted before it is opened; the guard gives the place back when opening fails.
                let mut reader = Reader { inner: self, conn: None };
                reader.conn = Some(file::open_reader(&self.dir.join(file::DB))?);
                return Ok(reader);
            }
            readers = self.reader_free.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lets the next caller run what waits, also when running it has panicked.
struct End<'a>(&'a Inner);

impl Drop for End<'_> {
    fn drop(&mut self) {
        relock(&self.0.waiting).busy = false;
        self.0.ended.notify_all();
    }
}

struct Reader<'a> {
    inner: &'a Inner,
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
        let mut readers = relock(&self.inner.readers);
        match self.conn.take() {
            Some(conn) if conn.is_autocommit() => readers.idle.push(conn),
            _ => readers.open -= 1,
        }
        self.inner.reader_free.notify_one();
    }
}

impl Writer {
    /// Runs all jobs in one transaction or, when that fails, each in its own. Answers whom to wake.
    fn run(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        before_commit: &dyn Fn() -> Result<()>,
    ) -> BTreeMap<String, Option<u64>> {
        match self.together(jobs, before_commit) {
            Ok(woken) => {
                jobs.iter_mut().for_each(|job| job.finish(None));
                woken
            }
            Err(error) if jobs.len() == 1 => {
                jobs.iter_mut().zip([error]).for_each(|(job, error)| job.finish(Some(error)));
                BTreeMap::new()
            }
            Err(_) => {
                let mut all = BTreeMap::new();
                for job in jobs.chunks_mut(1) {
                    let woken = self.run(job, before_commit);
                    for (channel, newest) in woken {
                        let known = all.entry(channel).or_insert(None);
                        *known = newest.or(*known);
                    }
                }
                all
            }
        }
    }

    fn together(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        before_commit: &dyn Fn() -> Result<()>,
    ) -> Result<BTreeMap<String, Option<u64>>> {
        self.rollback_leftover()?;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let outcome = self.work(jobs).and_then(|woken| {
            before_commit()?;
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            Ok(woken)
        });
        match outcome {
            Ok(woken) => {
                self.state.committed();
                Ok(woken)
            }
            Err(error) => {
                if let Err(error) = self.rollback_leftover() {
                    tracing::warn!(%error, "a failed transaction of the channels could not be rolled back; tried again before the next one");
                }
                self.state.forget();
                Err(error)
            }
        }
    }

    fn work(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<BTreeMap<String, Option<u64>>> {
        let mut woken = BTreeMap::new();
        let Self { conn, state } = self;
        for job in jobs {
            job.run(&mut Work { conn, state, touched: false, woken: &mut woken })?;
        }
        state.flush(conn)?;
        Ok(woken)
    }

    fn rollback_leftover(&mut self) -> Result<()> {
        if !self.conn.is_autocommit() {
            self.state.forget();
            self.conn.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }
}

impl Channels {
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Work<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.submit(work)
    }

    pub(super) fn view<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.0.read(work)
    }

    /// Writes into tables that are no channel's, in a transaction with what others write; all of it or nothing.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(move |inside| {
            inside.touched = true;
            work(inside.conn)
        })
    }

    /// Looks into tables that are no channel's.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.view(work)
    }
}
