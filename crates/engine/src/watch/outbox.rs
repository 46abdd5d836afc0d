//! Stored notifications → receivers. What is decided to be told stands in a journal of its notifier until it is
//! delivered or given up; each notifier is worked for on its own, so that one that hangs delays no other.
//!
//! A notification goes out with its key at least once: again only when the program ended after the receiver took it
//! and before that was noted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_model::{Kind, NotifierSpec, Receiver};
use sos_store::{Event, EventType, JournalRecord, Store, StoreError, Tx};
use sos_watch::alerts::{Heartbeat, Notification, NotifiedAlert};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::send::{self, Undelivered};
use crate::clock::wall_now;
use crate::relock;

/// The journal of what became of notifications.
const DONE: &str = "notifications";
/// How many of those are kept.
const DONE_KEPT: u64 = 1_000;
/// Alerts of each that are kept.
const ALERTS_KEPT: usize = 20;
/// The most notifications that wait for one notifier; beyond it the oldest is given up.
const WAITING: usize = 1_000;
/// Wait after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What could not be delivered for so long is given up.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(24);
/// Without an evaluation of rules for so long there is no sign of life.
const STALE_AFTER_MS: i64 = 60_000;

/// Puts a notification into the outbox, in the transaction that decided it.
///
/// # Errors
/// What the store says.
pub(super) fn put(tx: &mut Tx<'_>, notification: &Notification) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(notification).map_err(|error| StoreError::Invalid {
        what: format!("a notification cannot be written: {error}"),
    })?;
    tx.journal(&stream(&notification.notifier), "notification", 1, &bytes).map(drop)
}

fn stream(notifier: &str) -> String {
    format!("outbox/{notifier}")
}

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When.
    pub at: Timestamp,
    /// What was told, with the first of its alerts.
    pub notification: Notification,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was given up; none when it was delivered.
    pub error: Option<String>,
}

/// A notifier as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotifierState {
    /// Notifications that wait, the one under way included.
    pub waiting: u64,
    /// When the oldest of them was decided.
    pub oldest: Option<Timestamp>,
    /// Delivered since the program started; of a heartbeat, signs given.
    pub delivered: u64,
    /// Attempts that failed since the program started.
    pub failed_attempts: u64,
    /// Given up since the program started.
    pub given_up: u64,
    /// When one was last delivered.
    pub last_delivered: Option<Timestamp>,
    /// Why the latest attempt failed; none when it did not.
    pub error: Option<String>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// How often the one under way was tried.
    pub attempts: u32,
}

/// Tells when rules were last evaluated.
pub type LastEvaluation = Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// Everybody who is told.
pub struct Outbox {
    shared: Arc<Shared>,
    workers: Mutex<BTreeMap<String, Worker>>,
    runtime: tokio::runtime::Handle,
}

struct Shared {
    store: Store,
    external_url: String,
    last_evaluation: LastEvaluation,
    states: Mutex<BTreeMap<String, NotifierState>>,
}

struct Worker {
    spec: NotifierSpec,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("states", &self.shared.states).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox without notifiers; its work runs on `runtime`.
    #[must_use]
    pub fn new(
        store: Store,
        external_url: String,
        last_evaluation: LastEvaluation,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let shared = Shared { store, external_url, last_evaluation, states: Mutex::default() };
        Self { shared: Arc::new(shared), workers: Mutex::default(), runtime }
    }

    /// Works for these notifiers and no others. What waits for one that is gone is dropped.
    pub fn configure(&self, notifiers: &BTreeMap<String, NotifierSpec>) {
        let mut workers = relock(&self.workers);
        let gone: Vec<String> =
            workers.keys().filter(|name| !notifiers.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(worker) = workers.remove(&name) {
                worker.task.abort();
            }
            relock(&self.shared.states).remove(&name);
            if let Err(error) = self.shared.store.truncate_journal(&stream(&name), u64::MAX) {
                tracing::warn!(%error, name, "what waits for a notifier that is gone stays");
            }
        }
        for (name, spec) in notifiers {
            if workers.get(name).is_some_and(|worker| worker.spec == *spec) {
                continue;
            }
            if let Some(old) = workers.remove(name) {
                old.task.abort();
            }
            let wake = Arc::new(Notify::new());
            let work = Work {
                shared: Arc::clone(&self.shared),
                name: name.clone(),
                spec: spec.clone(),
                wake: Arc::clone(&wake),
            };
            let task = match &spec.receiver {
                Receiver::Heartbeat(_) => self.runtime.spawn(work.beat()),
                _ => self.runtime.spawn(work.deliver_all()),
            };
            workers.insert(name.clone(), Worker { spec: spec.clone(), wake, task });
        }
    }

    /// Something new waits for these notifiers.
    pub fn wake(&self, names: &[String]) {
        let workers = relock(&self.workers);
        for worker in names.iter().filter_map(|name| workers.get(name)) {
            worker.wake.notify_one();
        }
    }

    /// Every notifier as it stands.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, NotifierState> {
        relock(&self.shared.states).clone()
    }

    /// What became of the latest notifications, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub fn done(&self, limit: usize) -> Result<Vec<Done>, StoreError> {
        let records =
            self.shared.store.read_journal(DONE, 1, usize::try_from(2 * DONE_KEPT).unwrap_or(limit))?;
        let newest = records.iter().rev().take(limit);
        Ok(newest.filter_map(|record| serde_json::from_slice(&record.bytes).ok()).collect())
    }

    /// What waits for a notifier, oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub fn waiting(&self, notifier: &str, limit: usize) -> Result<Vec<Notification>, StoreError> {
        let records = self.shared.store.read_journal(&stream(notifier), 1, limit)?;
        Ok(records.iter().filter_map(|record| serde_json::from_slice(&record.bytes).ok()).collect())
    }

    /// Ends all work; what waits goes out after the next start.
    pub fn stop(&self) {
        for worker in std::mem::take(&mut *relock(&self.workers)).into_values() {
            worker.task.abort();
        }
    }
}

/// The work for one notifier.
struct Work {
    shared: Arc<Shared>,
    name: String,
    spec: NotifierSpec,
    wake: Arc<Notify>,
}

impl Work {
    async fn deliver_all(self) {
        let mut attempts = 0;
        loop {
            let waiting = match self.waiting().await {
                Ok(waiting) => waiting,
                Err(error) => {
                    tracing::error!(%error, notifier = self.name, "the outbox cannot be read");
                    tokio::time::sleep(LONGEST_PAUSE / 10).await;
                    continue;
                }
            };
            let Some(first) = waiting.first() else {
                self.wake.notified().await;
                continue;
            };
            attempts += 1;
            match self.attempt(first, waiting.len(), attempts).await {
                Ok(()) => attempts = 0,
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// What waits, as it is stored.
    async fn waiting(&self) -> Result<Vec<JournalRecord>, StoreError> {
        let (store, stream) = (self.shared.store.clone(), stream(&self.name));
        let read = move || store.read_journal(&stream, 1, WAITING + 1);
        let waiting = blocking(read).await?;
        let oldest = waiting.first().and_then(|record| notification(record).ok());
        self.state(|state| {
            state.waiting = waiting.len() as u64;
            state.oldest = oldest.and_then(|one| Timestamp::from_millisecond(one.at_ms).ok());
        });
        Ok(waiting)
    }

    /// Tries to deliver one, and notes what became of it.
    ///
    /// # Errors
    /// How long to wait before the next attempt.
    async fn attempt(&self, record: &JournalRecord, waiting: usize, attempts: u32) -> Result<(), Duration> {
        let notification = match notification(record) {
            Ok(notification) => notification,
            Err(error) => {
                tracing::error!(
                    notifier = self.name,
                    error,
                    "a stored notification cannot be read and is dropped"
                );
                return self.settle(record.seq, None).await;
            }
        };
        let sent = match waiting > WAITING {
            true => Err(Undelivered::for_good(format!("more than {WAITING} notifications wait"))),
            false => {
                send::send(&self.shared.store, &self.spec, &notification, &self.shared.external_url).await
            }
        };
        let now = wall_now();
        let age = Timestamp::from_millisecond(notification.at_ms)
            .map_or(SignedDuration::ZERO, |at| now.duration_since(at));
        let error = match sent {
            Ok(()) => None,
            Err(failed) if failed.for_good || age > GIVE_UP => Some(failed.message),
            Err(failed) => {
                let pause = failed.retry_after.unwrap_or_else(|| pause(attempts));
                tracing::warn!(notifier = self.name, error = failed.message, ?pause, "not delivered yet");
                self.state(|state| {
                    state.failed_attempts += 1;
                    state.error = Some(failed.message);
                    state.next_try = now.checked_add(pause).ok();
                    state.attempts = attempts;
                });
                return Err(pause);
            }
        };
        self.state(|state| match &error {
            None => {
                state.delivered += 1;
                state.last_delivered = Some(now);
                state.error = None;
                state.next_try = None;
                state.attempts = 0;
            }
            Some(message) => {
                state.failed_attempts += 1;
                state.given_up += 1;
                state.error = Some(message.clone());
            }
        });
        let mut notification = notification;
        notification.alerts.truncate(ALERTS_KEPT);
        let done = Done { at: now, notification, attempts, error };
        self.settle(record.seq, Some(done)).await
    }

    /// Takes one out of the outbox and notes what became of it; without that it would go out again, so it is tried
    /// until it succeeds.
    async fn settle(&self, seq: u64, done: Option<Done>) -> Result<(), Duration> {
        loop {
            let (store, stream, done) = (self.shared.store.clone(), stream(&self.name), done.clone());
            let write = move || store.commit(|tx| note(tx, &stream, seq, done.as_ref()));
            match blocking(write).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, notifier = self.name, "a delivery cannot be noted; tried again");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
            }
        }
    }

    /// Gives signs of life while rules are evaluated.
    async fn beat(self) {
        let Receiver::Heartbeat(heartbeat) = &self.spec.receiver else { return };
        let every_ms = i64::try_from(heartbeat.every.as_millis()).unwrap_or(i64::MAX);
        let decider = Heartbeat { every_ms, stale_after_ms: STALE_AFTER_MS };
        let mut last = None;
        loop {
            let now = wall_now();
            let evaluated = (self.shared.last_evaluation)().map(Timestamp::as_millisecond);
            let beat = decider.decide(last, evaluated, now.as_millisecond());
            self.state(|state| state.error.clone_from(&beat.withheld));
            if beat.due {
                last = Some(now.as_millisecond());
                let sent = send::beat(&self.shared.store, heartbeat).await;
                self.state(|state| match sent {
                    Ok(()) => {
                        state.delivered += 1;
                        state.last_delivered = Some(now);
                        state.error = None;
                    }
                    Err(failed) => {
                        tracing::warn!(notifier = self.name, error = failed.message, "no sign of life");
                        state.failed_attempts += 1;
                        state.error = Some(failed.message);
                    }
                });
            }
            let left = beat.next_ms - wall_now().as_millisecond();
            let pause = u64::try_from(left).unwrap_or(0).clamp(100, 60_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn state(&self, change: impl FnOnce(&mut NotifierState)) {
        change(relock(&self.shared.states).entry(self.name.clone()).or_default());
    }
}

/// Takes a notification out of the outbox and notes what became of it.
fn note(tx: &mut Tx<'_>, stream: &str, seq: u64, done: Option<&Done>) -> Result<(), StoreError> {
    tx.truncate_journal(stream, seq + 1)?;
    let Some(done) = done else { return Ok(()) };
    let bytes = serde_json::to_vec(done)
        .map_err(|error| StoreError::Invalid { what: format!("a delivery cannot be written: {error}") })?;
    let last = tx.journal(DONE, "delivery", 1, &bytes)?;
    tx.truncate_journal(DONE, last.saturating_sub(DONE_KEPT))?;
    if let Some(error) = &done.error {
        let alerts: Vec<&str> = done.notification.alerts.iter().map(NotifiedAlert::name).collect();
        tx.record_event(&Event {
            time: done.at,
            site_time: None,
            kind: Kind::Notifier.name().to_owned(),
            name: done.notification.notifier.clone(),
            event_type: EventType::Warning,
            reason: "NotDelivered".to_owned(),
            message: format!("{} given up after {} attempts: {error}", alerts.join(", "), done.attempts),
        })?;
    }
    Ok(())
}

fn notification(record: &JournalRecord) -> Result<Notification, String> {
    serde_json::from_slice(&record.bytes).map_err(|error| error.to_string())
}

/// Twice as long after each failure.
fn pause(attempts: u32) -> Duration {
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

/// Calls of the store block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let failed =
        |error: tokio::task::JoinError| StoreError::Invalid { what: format!("a task failed: {error}") };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sos_store::{EventFilter, Options};
    use sos_watch::Labels;
    use sos_watch::alerts::NotifiedAlert;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, 40].into_iter().map(|n| pause(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }

    fn notification(notifier: &str, key: &str) -> Notification {
        let alert = NotifiedAlert {
            labels: Labels::new([("alertname", "Down")]),
            annotations: BTreeMap::new(),
            starts_at_ms: 0,
            ends_at_ms: None,
            value: 1.0,
            generator_url: String::new(),
            acknowledged_by: None,
        };
        Notification {
            key: key.to_owned(),
            notifier: notifier.to_owned(),
            group: "{}".to_owned(),
            group_labels: Labels::empty(),
            reason: sos_watch::alerts::Reason::First,
            at_ms: wall_now().as_millisecond(),
            alerts: vec![alert],
        }
    }

    /// A receiver: tells the key of each request, and answers with this status, or never.
    async fn receiver(status: Option<u16>) -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (told, keys) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let key = text.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
                told.send(key.unwrap_or_default().to_owned()).unwrap();
                match status {
                    None => held.push(stream),
                    Some(status) => {
                        let answer =
                            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        (url, keys)
    }

    fn notifiers(urls: &[(&str, &str)]) -> BTreeMap<String, NotifierSpec> {
        let one = |(name, url): &(&str, &str)| {
            let text = format!(
                "apiVersion: sos.energy/v1alpha1\nkind: Notifier\nmetadata: {{name: {name}}}\nspec: {{webhook: {{url: '{url}', timeout: 5 min}}}}\n"
            );
            let declared = sos_model::load(&[("n.yaml".to_owned(), text.into_bytes())]).unwrap();
            ((*name).to_owned(), declared[0].notifier().unwrap().clone())
        };
        urls.iter().map(one).collect()
    }

    fn outbox(store: &Store) -> Outbox {
        let runtime = tokio::runtime::Handle::current();
        Outbox::new(store.clone(), "http://sos".to_owned(), Arc::new(|| None), runtime)
    }

    fn store(dir: &Path) -> Store {
        Store::open(dir, Options::default()).unwrap()
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect(what);
    }

    #[tokio::test]
    async fn a_receiver_that_hangs_delays_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let ((hangs, mut hung), (answers, mut keys)) = (receiver(None).await, receiver(Some(200)).await);
        let outbox = outbox(&store);
        outbox.configure(&notifiers(&[("hangs", &hangs), ("answers", &answers)]));
        store.commit(|tx| put(tx, &notification("hangs", "k1"))).unwrap();
        outbox.wake(&["hangs".to_owned()]);
        assert_eq!(hung.recv().await.unwrap(), "k1");
        for key in ["k2", "k3"] {
            store.commit(|tx| put(tx, &notification("answers", key))).unwrap();
            outbox.wake(&["answers".to_owned()]);
            assert_eq!(keys.recv().await.unwrap(), key);
        }
        until("both are delivered", || outbox.states()["answers"].delivered == 2).await;
        let states = outbox.states();
        assert_eq!((states["hangs"].delivered, states["hangs"].waiting), (0, 1));
        outbox.stop();
    }

    #[tokio::test]
    async fn what_was_under_way_when_the_program_ended_goes_out_after_its_restart_with_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (hangs, mut hung) = receiver(None).await;
        let first = outbox(&store);
        first.configure(&notifiers(&[("n", &hangs)]));
        store.commit(|tx| put(tx, &notification("n", "k1"))).unwrap();
        first.wake(&["n".to_owned()]);
        assert_eq!(hung.recv().await.unwrap(), "k1");
        first.stop();
        let (answers, mut keys) = receiver(Some(204)).await;
        let second = outbox(&store);
        second.configure(&notifiers(&[("n", &answers)]));
        assert_eq!(keys.recv().await.unwrap(), "k1");
        until("it is noted", || second.done(10).unwrap().len() == 1).await;
        let done = &second.done(10).unwrap()[0];
        assert_eq!((done.attempts, done.error.as_deref(), done.notification.key.as_str()), (1, None, "k1"));
        assert!(second.waiting("n", 10).unwrap().is_empty());
        second.stop();
        // A third start has nothing to do.
        let third = outbox(&store);
        third.configure(&notifiers(&[("n", &answers)]));
        until("it looked", || third.states().contains_key("n")).await;
        assert_eq!((third.states()["n"].waiting, keys.try_recv().ok()), (0, None));
        third.stop();
    }

    #[tokio::test]
    async fn what_is_refused_is_given_up_with_an_event_and_the_next_goes_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (refuses, mut keys) = receiver(Some(404)).await;
        let outbox = outbox(&store);
        outbox.configure(&notifiers(&[("n", &refuses)]));
        store.commit(|tx| put(tx, &notification("n", "k1"))).unwrap();
        store.commit(|tx| put(tx, &notification("n", "k2"))).unwrap();
        outbox.wake(&["n".to_owned()]);
        assert_eq!(keys.recv().await.unwrap(), "k1");
        assert_eq!(keys.recv().await.unwrap(), "k2");
        until("both are given up", || outbox.states()["n"].given_up == 2).await;
        until("both are noted", || outbox.done(10).unwrap().len() == 2).await;
        let events = store.list_events(&EventFilter::default()).unwrap();
        assert!(
            events.iter().all(|one| one.event.reason == "NotDelivered" && one.event.name == "n"),
            "{events:?}"
        );
        assert!(outbox.done(10).unwrap()[0].error.as_ref().unwrap().contains("404"));
        outbox.stop();
    }

    #[tokio::test]
    async fn what_waits_for_a_notifier_that_is_gone_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let outbox = outbox(&store);
        outbox.configure(&notifiers(&[("n", "http://127.0.0.1:1/")]));
        store.commit(|tx| put(tx, &notification("n", "k1"))).unwrap();
        outbox.wake(&["n".to_owned()]);
        until("it was tried", || outbox.states().get("n").is_some_and(|state| state.failed_attempts > 0))
            .await;
        assert_eq!(outbox.waiting("n", 10).unwrap().len(), 1);
        outbox.configure(&BTreeMap::new());
        assert!(outbox.waiting("n", 10).unwrap().is_empty() && outbox.states().is_empty());
    }
}
