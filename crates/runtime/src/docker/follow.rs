//! Copying the logs of containers into the files that all services have.
//!
//! The daemon keeps the output of a container (bounded, see `create`), so nothing is lost while `sos` is away; a
//! [`LogCopy`] knows what it has. While a container runs its log is followed; when it has ended the rest is read once
//! more without following, because only then the end of the answer is the end of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::daemon::{Daemon, Fault};
use crate::logs::{CopiedLine, LogCopy};
use crate::{LogRotation, LogStream};

/// At most so many pieces are written at once.
const BATCH: usize = 512;
/// After a copy broke off, so long until the next try.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The log of one container.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) replica: String,
    pub(super) container: String,
    pub(super) path: PathBuf,
    pub(super) cursor: PathBuf,
    pub(super) rule: LogRotation,
}

/// The copies under way, by replica.
#[derive(Debug)]
pub(super) struct Copies {
    daemon: Arc<Daemon>,
    under_way: BTreeMap<String, Copying>,
    /// When a copy broke off.
    broken: BTreeMap<String, Timestamp>,
    /// Containers whose log is copied to its end.
    whole: BTreeSet<String>,
}

#[derive(Debug)]
struct Copying {
    container: String,
    /// Whether it reads to the end only, of a container that has ended.
    last: bool,
    task: JoinHandle<Result<(), String>>,
    /// Dropped to end it.
    _stop: oneshot::Sender<()>,
}

impl Copies {
    pub(super) fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, under_way: BTreeMap::new(), broken: BTreeMap::new(), whole: BTreeSet::new() }
    }

    /// Sees to it that the log of a container is being copied, or was to its end.
    pub(super) async fn tend(&mut self, source: &Source, ended: bool, now: Timestamp) {
        if self.whole.contains(&source.container) {
            return;
        }
        if self.under_way.get(&source.replica).is_some_and(|copying| !copying.task.is_finished()) {
            return;
        }
        self.conclude(&source.replica, now).await;
        let soon = |at: &Timestamp| (SignedDuration::ZERO..AGAIN).contains(&now.duration_since(*at));
        if self.whole.contains(&source.container) || self.broken.get(&source.replica).is_some_and(soon) {
            return;
        }
        self.begin(source.clone(), ended);
    }

    fn begin(&mut self, source: Source, last: bool) {
        let (stop, stopped) = oneshot::channel();
        let (replica, container) = (source.replica.clone(), source.container.clone());
        let task = tokio::spawn(copy(Arc::clone(&self.daemon), source, last, stopped));
        self.under_way.insert(replica, Copying { container, last, task, _stop: stop });
    }

    /// Takes in how a copy ended that has ended.
    async fn conclude(&mut self, replica: &str, now: Timestamp) {
        let Some(copying) = self.under_way.remove(replica) else { return };
        match copying.task.await {
            Ok(Ok(())) if copying.last => {
                self.whole.insert(copying.container);
            }
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::warn!(replica, why, "the log of a container could not be copied; it is tried again");
                self.broken.insert(replica.to_owned(), now);
            }
            Err(error) => {
                tracing::error!(replica, %error, "copying the log of a container ended abnormally");
                self.broken.insert(replica.to_owned(), now);
            }
        }
    }

    /// Copies the rest of the log of a container that has ended; false when that took longer than `time`.
    pub(super) async fn drain(&mut self, source: &Source, time: Duration, now: Timestamp) -> bool {
        let drained = async {
            // What follows ends by itself; what does not is of another container.
            if let Some(copying) = self.under_way.get_mut(&source.replica)
                && copying.container == source.container
            {
                let _ended = tokio::time::timeout(time / 2, &mut copying.task).await;
            }
            self.stop(&source.replica).await;
            if !self.whole.contains(&source.container) {
                self.begin(source.clone(), true);
                if let Some(copying) = self.under_way.get_mut(&source.replica) {
                    let result = (&mut copying.task).await;
                    if matches!(result, Ok(Ok(()))) {
                        self.whole.insert(source.container.clone());
                    }
                }
                self.under_way.remove(&source.replica);
            }
        };
        let in_time = tokio::time::timeout(time, drained).await.is_ok();
        if !in_time {
            self.broken.insert(source.replica.clone(), now);
        }
        in_time && self.whole.contains(&source.container)
    }

    /// Ends a copy between two writes.
    async fn stop(&mut self, replica: &str) {
        if let Some(Copying { task, _stop, .. }) = self.under_way.remove(replica) {
            drop(_stop);
            if !task.is_finished() {
                let _ended = task.await;
            }
        }
    }

    /// Lets go of a replica whose container is removed.
    pub(super) async fn forget(&mut self, replica: &str, container: Option<&str>) {
        self.stop(replica).await;
        self.broken.remove(replica);
        if let Some(container) = container {
            self.whole.remove(container);
        }
    }
}

/// Copies until the log ends, or with `last` what there is.
async fn copy(
    daemon: Arc<Daemon>,
    source: Source,
    last: bool,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), String> {
    let Source { path, cursor, rule, container, .. } = source;
    let name = container.clone();
    let opened = on_disk(move || LogCopy::open(&path, &cursor, &name, rule)).await;
    let mut copy = opened.map_err(|error| error.to_string())?;
    let options = LogsOptionsBuilder::new()
        .follow(!last)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(i32::try_from(copy.since()).unwrap_or(i32::MAX))
        .tail("all")
        .build();
    let docker = daemon.connection().await.map_err(|fault| format!("{fault:?}"))?;
    let mut pieces = std::pin::pin!(docker.logs(&container, Some(options)).ready_chunks(BATCH));
    loop {
        let batch = tokio::select! {
            batch = pieces.next() => batch,
            _ = &mut stopped => return Ok(()),
        };
        let Some(batch) = batch else { break };
        let mut broken = None;
        let mut lines = vec![];
        for piece in batch {
            match piece {
                Ok(piece) => lines.push(line(piece)),
                Err(error) => broken = Some(Fault::of(&error)),
            }
        }
        copy = on_disk(move || copy.write(lines).map(|()| copy)).await.map_err(|error| error.to_string())?;
        match broken {
            None => {}
            // Removed meanwhile: there is nothing more to read.
            Some(fault) if fault.is_missing() || fault.is_conflict() => break,
            Some(fault) => return Err(format!("{fault:?}")),
        }
    }
    if last { on_disk(move || copy.finish()).await.map_err(|error| error.to_string()) } else { Ok(()) }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The daemon puts the time in front of each piece.
fn line(piece: LogOutput) -> CopiedLine {
    let stream =
        if matches!(piece, LogOutput::StdErr { .. }) { LogStream::Stderr } else { LogStream::Stdout };
    let bytes = piece.into_bytes();
    let space = bytes.iter().take(40).position(|byte| *byte == b' ');
    let split = space.and_then(|at| {
        let time: Timestamp = std::str::from_utf8(&bytes[..at]).ok()?.parse().ok()?;
        Some((time, at + 1))
    });
    match split {
        Some((time, from)) => CopiedLine { stream, time: Some(time), text: bytes[from..].to_vec() },
        None => CopiedLine { stream, time: None, text: bytes.to_vec() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_front_is_taken_off_and_nothing_else() {
        let piece = |text: &'static [u8]| LogOutput::StdErr { message: text.into() };
        let read = line(piece(b"2026-11-29T08:51:01.574993964Z  a  b\n"));
        assert_eq!(read.text, b" a  b\n");
        assert_eq!(read.time.unwrap().subsec_nanosecond(), 574_993_964);
        assert_eq!(read.stream, LogStream::Stderr);
        let read = line(piece(b"no time \xff\n"));
        assert_eq!((read.time, read.text.as_slice()), (None, b"no time \xff\n".as_slice()));
        assert_eq!(line(piece(b"")).text, b"");
    }
}
