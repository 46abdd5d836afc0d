//! The log of a replica, copied from its pod as it comes: the cluster keeps it only as long as the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::names::MAIN;
use super::pod::{Life, life};
use super::worker::{Link, Worker};
use super::{PodRef, Record};
use crate::kubernetes::{KubernetesError, PodState};
use crate::logs::{CopiedLine, LogCopy};
use crate::{LogRotation, LogStream};

/// A longer line is written in parts.
const MAX_PART: usize = 256 << 10;
/// After a copy broke off, so long until the next try.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// How long the end of a run waits for the end of its log, so that who reads of it finds the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The copies under way, by replica.
#[derive(Debug, Default)]
pub(super) struct Copies {
    under_way: BTreeMap<String, Copying>,
    /// When a copy broke off.
    broken: BTreeMap<String, Timestamp>,
    /// Up to which run of which pod the log was copied to its end.
    whole: BTreeMap<String, (PodRef, u32)>,
}

#[derive(Debug)]
struct Copying {
    run: (PodRef, u32),
    task: JoinHandle<Result<(), String>>,
    /// Dropped to end it.
    _stop: oneshot::Sender<()>,
}

/// What is copied where.
struct Source {
    link: Link,
    pod: PodRef,
    path: std::path::PathBuf,
    cursor: std::path::PathBuf,
    rule: LogRotation,
}

impl Copies {
    /// Sees to it that the log of a pod's container is being copied, or was to its end.
    pub(super) async fn tend(
        &mut self,
        worker: &Worker,
        link: &Link,
        record: &Record,
        pod: &PodState,
        now: Timestamp,
    ) {
        let replica = &record.deployment.replica;
        let (life, restarts) = life(pod);
        if matches!(life, Life::Waits(_) | Life::Ended(crate::Exit::NotStarted(_))) {
            return;
        }
        if self.under_way.get(replica).is_some_and(|copying| !copying.task.is_finished()) {
            return;
        }
        self.conclude(replica, now).await;
        let run = (PodRef { name: pod.name.clone(), uid: pod.uid.clone() }, restarts);
        let soon = |at: &Timestamp| (SignedDuration::ZERO..AGAIN).contains(&now.duration_since(*at));
        if self.whole.get(replica) == Some(&run) || self.broken.get(replica).is_some_and(soon) {
            return;
        }
        let source = Source {
            link: link.clone(),
            pod: run.0.clone(),
            path: worker.log_path(replica),
            cursor: worker.cursor_path(replica),
            rule: record.deployment.logs,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(copy(source, stopped));
        self.under_way.insert(replica.clone(), Copying { run, task, _stop: stop });
    }

    /// Takes in how a copy ended that has ended.
    async fn conclude(&mut self, replica: &str, now: Timestamp) {
        let Some(copying) = self.under_way.remove(replica) else { return };
        match copying.task.await {
            Ok(Ok(())) => {
                self.whole.insert(replica.to_owned(), copying.run);
            }
            Ok(Err(why)) => {
                tracing::debug!(replica, why, "the log of a pod could not be copied; it is tried again");
                self.broken.insert(replica.to_owned(), now);
            }
            Err(error) => {
                tracing::error!(replica, %error, "copying the log of a pod ended abnormally");
                self.broken.insert(replica.to_owned(), now);
            }
        }
    }

    /// Waits a moment for the end of the log of a run that is over.
    pub(super) async fn last_lines(&mut self, replica: &str) {
        if let Some(copying) = self.under_way.get_mut(replica)
            && !copying.task.is_finished()
        {
            let ended = async {
                while !copying.task.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await; // between two looks
                }
            };
            let _in_time = tokio::time::timeout(LAST_LINES, ended).await;
        }
    }

    /// Lets go of a replica.
    pub(super) async fn forget(&mut self, replica: &str) {
        if let Some(Copying { task, _stop, .. }) = self.under_way.remove(replica) {
            drop(_stop);
            if !task.is_finished() {
                let _ended = task.await;
            }
        }
        self.broken.remove(replica);
        self.whole.remove(replica);
    }
}

/// Copies until the container has ended.
async fn copy(source: Source, mut stopped: oneshot::Receiver<()>) -> Result<(), String> {
    let Source { link, pod, path, cursor, rule } = source;
    let name = pod.uid.clone();
    let opened = on_disk(move || LogCopy::open(&path, &cursor, &name, rule)).await;
    let mut copy = opened.map_err(|error| error.to_string())?;
    let since = Timestamp::from_second(copy.since()).ok().filter(|time| time.as_second() > 0);
    let since = since.map(|time| format!("&sinceTime={time}")).unwrap_or_default();
    let path = format!("{}/log?container={MAIN}&follow=true&timestamps=true{since}", link.pod(&pod.name));
    let what = format!("get pods/log {} in namespace {}", pod.name, link.objects.namespace);
    let body = tokio::select! {
        body = link.cluster.open(&path, &what) => body,
        _ = &mut stopped => return Ok(()),
    };
    let mut body = match body {
        Ok(body) => body,
        // There is nothing more to read.
        Err(KubernetesError::Missing(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let mut rest = vec![];
    loop {
        let piece = tokio::select! {
            piece = next(&mut body) => piece,
            _ = &mut stopped => return Ok(()),
        };
        let (bytes, end) = match piece {
            Ok(Some(bytes)) => (bytes, false),
            Ok(None) => (vec![], true),
            Err(why) => return Err(why),
        };
        rest.extend_from_slice(&bytes);
        let lines = lines(&mut rest, end);
        copy = on_disk(move || copy.write(lines).map(|()| copy)).await.map_err(|error| error.to_string())?;
        if end {
            return on_disk(move || copy.finish()).await.map_err(|error| error.to_string());
        }
    }
}

async fn next(body: &mut Body) -> Result<Option<Vec<u8>>, String> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data.to_vec()));
                }
            }
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Takes whole lines off the front; at the end what is left, too. The cluster puts the time in front of each. Both streams
/// come as one.
fn lines(rest: &mut Vec<u8>, end: bool) -> Vec<CopiedLine> {
    let whole = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
    let whole = if end || rest.len() > MAX_PART { rest.len() } else { whole };
    let taken: Vec<u8> = rest.drain(..whole).collect();
    taken.split_inclusive(|byte| *byte == b'\n').map(line).collect()
}

fn line(bytes: &[u8]) -> CopiedLine {
    let space = bytes.iter().take(40).position(|byte| *byte == b' ');
    let split = space.and_then(|at| {
        let time: Timestamp = std::str::from_utf8(&bytes[..at]).ok()?.parse().ok()?;
        Some((time, at + 1))
    });
    let (time, from) = split.map_or((None, 0), |(time, from)| (Some(time), from));
    CopiedLine { stream: LogStream::Stdout, time, text: bytes[from..].to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_in_pieces_are_whole_and_without_the_time_in_front() {
        let mut rest = b"2026-11-29T08:51:01.574993964Z one\n2026-11-29T08:51:02Z tw".to_vec();
        let first = lines(&mut rest, false);
        assert_eq!((first.len(), first[0].text.as_slice()), (1, b"one\n".as_slice()));
        rest.extend_from_slice(b"o\nthree");
        let second = lines(&mut rest, true);
        assert_eq!(
            second.iter().map(|line| line.text.clone()).collect::<Vec<_>>(),
            [b"two\n".to_vec(), b"three".to_vec()]
        );
        assert!(second[0].time.is_some() && second[1].time.is_none() && rest.is_empty());
    }
}
