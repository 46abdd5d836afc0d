//! Writes of many runs share a wait for the disk: one thread takes all that wait and writes them together.

use std::sync::{Arc, mpsc};

use sos_store::{RunWrite, RunWritten, Runs as Log, StoreError};
use tokio::sync::oneshot;

/// The most writes of one transaction.
const TOGETHER: usize = 2_000;

type Answer = oneshot::Sender<Result<Vec<RunWritten>, String>>;

/// The answer to a write.
pub(super) type Answered = oneshot::Receiver<Result<Vec<RunWritten>, String>>;

struct Job {
    writes: Vec<RunWrite>,
    answer: Answer,
}

/// Where runs are written. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Journal(mpsc::Sender<Job>);

impl Journal {
    pub(super) fn start(log: Log) -> Result<Self, StoreError> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("runs".to_owned());
        thread.spawn(move || work(&log, &jobs)).map_err(|source| StoreError::Io {
            action: "start a thread for",
            path: "the journal of runs".into(),
            source,
        })?;
        Ok(Self(sender))
    }

    /// Writes all of it or nothing; it is on disk when this returns.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn write(&self, writes: Vec<RunWrite>) -> Result<Vec<RunWritten>, String> {
        self.queue(writes).await.map_err(|_| "the journal of runs is closed".to_owned())?
    }

    /// Has it written before all that comes later; the answer comes when it is on disk.
    pub(super) fn queue(&self, writes: Vec<RunWrite>) -> Answered {
        let (answer, answered) = oneshot::channel();
        // Without the thread the answer is that there is none.
        let _closed = self.0.send(Job { writes, answer });
        answered
    }
}

fn work(log: &Log, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let (mut together, mut size) = (vec![first], 0);
        while size < TOGETHER
            && let Ok(job) = jobs.try_recv()
        {
            size += job.writes.len();
            together.push(job);
        }
        perform(log, together);
    }
}

fn perform(log: &Log, jobs: Vec<Job>) {
    let mut waiting = Vec::with_capacity(jobs.len());
    let mut writes = Vec::new();
    for job in jobs {
        waiting.push((job.writes.len(), job.answer));
        writes.extend(job.writes);
    }
    let writes: Arc<[RunWrite]> = writes.into();
    let mut written = match log.write(Arc::clone(&writes)) {
        Ok(written) => written.into_iter(),
        Err(error) => return one_by_one(log, &writes, waiting, &error),
    };
    for (count, answer) in waiting {
        // Who asked may have gone.
        let _gone = answer.send(Ok(written.by_ref().take(count).collect()));
    }
}

/// One that cannot be written keeps no other from it.
fn one_by_one(log: &Log, writes: &[RunWrite], waiting: Vec<(usize, Answer)>, error: &StoreError) {
    let (mut from, alone) = (0, waiting.len() == 1);
    for (count, answer) in waiting {
        let own = &writes[from..from + count];
        let written =
            if alone { Err(error.to_string()) } else { log.write(own).map_err(|error| error.to_string()) };
        from += count;
        let _gone = answer.send(written);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sos_store::{ChannelOptions, Channels, NewRun};

    use super::*;

    fn new(name: &str) -> RunWrite {
        let new = NewRun {
            name: name.to_owned(),
            key: None,
            owner: "w".to_owned(),
            document: ([0; 32], Arc::from(&b""[..])),
            labels: std::collections::BTreeMap::new(),
            began: Timestamp::UNIX_EPOCH,
            start: Vec::new(),
            tells: Vec::new(),
        };
        RunWrite::Begin(Box::new(new), Vec::new(), None)
    }

    #[tokio::test]
    async fn of_writes_that_wait_together_only_the_wrong_one_fails() {
        let folder = tempfile::tempdir().unwrap();
        let log = Channels::open(folder.path(), ChannelOptions::default()).unwrap().runs();
        let journal = Journal::start(log.clone()).unwrap();
        let nowhere = RunWrite::Reopen { run: 99, from: 1 };
        let writes = [vec![new("a")], vec![new("b"), nowhere], vec![new("c")]];
        let written = futures::future::join_all(writes.map(|writes| journal.write(writes))).await;
        assert_eq!(written.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let kept = log.list(&sos_store::RunFilter::default(), 9).unwrap();
        assert_eq!(kept.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    }
}
