//! The thread that evaluates rules and decides who is told.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use sos_model::Kind;
use sos_store::{Event, EventType, Store, StoreError, Tx};
use sos_watch::Labels;
use sos_watch::alerts::{self, Notification, NotifyState, Silence, Step};
use sos_watch::rules::{AlertState, Transition};

use super::config::{self, RuleClock, WatchConfig, WatchedGroup};
use super::rules::{Counts, RunningGroup, SiteNow, store_samples};
use crate::clock::wall_now;
use crate::people::Held;
use crate::query::Stored;
use crate::relock;
use crate::report::AlertReport;
use crate::resources::{self, Ready};

/// Longest time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Evaluations of a group that are made up for in one pass.
const AT_ONCE: usize = 512;
/// Where the decided state is kept.
const NOTIFY: &str = "watch/notify";
/// Where the counts are kept, by the time of their rules.
const COUNTS: &str = "watch/counts";
/// The condition of rules that are evaluated.
const READY: Ready = Ready { writer: "watch", reason: "Evaluating", message: "the rules are evaluated" };

/// Everything there is to see about watching, at one moment.
#[derive(Clone, Debug, Default)]
pub struct WatchView {
    /// In the order of their files.
    pub groups: Vec<RunningGroup>,
    /// What is declared.
    pub config: Arc<WatchConfig>,
    /// The last evaluation of any group, by wall time.
    pub evaluated_at: Option<Timestamp>,
    /// Samples of rules that the store refused.
    pub refused_samples: u64,
}

/// Why an order about alerts is not followed.
#[derive(Debug, thiserror::Error)]
pub enum AlarmError {
    /// It makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// There is no such alert or silence.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the holds come from that act now.
pub type Holds = Box<dyn Fn() -> Vec<Held> + Send>;
/// Where the time of the sites comes from.
pub type SiteClocks = Box<dyn Fn() -> Option<SiteNow> + Send>;
/// What the outbox is told.
#[derive(Debug)]
pub enum News<'n> {
    /// Something else may be declared.
    Declared(&'n WatchConfig),
    /// Something new waits for these notifiers.
    Waiting(&'n [String]),
}
/// Whom the watcher tells.
pub type Tell = Box<dyn Fn(News<'_>) + Send>;

/// The running watcher.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    notify: Mutex<NotifyState>,
    view: Mutex<Arc<WatchView>>,
    counts: Mutex<BTreeMap<String, Counts>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Look,
    Stop,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the store says.
    pub fn start(
        store: &Store,
        external_url: String,
        sites: SiteClocks,
        holds: Holds,
        tell: Tell,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::open(store)?);
        let (orders, inbox) = mpsc::channel();
        let mut task = Task::new(Arc::clone(&shared), external_url, sites, holds, tell);
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || task.run(&inbox));
        let thread = thread.map_err(|error| StoreError::Invalid { what: format!("no thread: {error}") })?;
        Ok(Self { shared, orders, thread: Mutex::new(Some(thread)) })
    }

    /// Has it look now, for tests and after a change.
    pub fn look(&self) {
        // A thread that has ended looks no more.
        let _ = self.orders.send(Order::Look);
    }

    /// Ends the thread after a last pass over everything that is due.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let thread = relock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the watcher ended abnormally");
        }
    }

    /// What there is to see.
    #[must_use]
    pub fn view(&self) -> Arc<WatchView> {
        Arc::clone(&relock(&self.shared.view))
    }

    /// Adds a silence, or changes the one with its id.
    ///
    /// # Errors
    /// When it makes no sense or cannot be stored.
    pub fn silence(&self, silence: Silence) -> Result<(), AlarmError> {
        self.order(|state| state.silence(silence).map_err(AlarmError::Wrong))
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When there is none with this id that is not over, or it cannot be stored.
    pub fn end_silence(&self, id: &str, now: Timestamp) -> Result<(), AlarmError> {
        self.order(|state| state.end_silence(id, now.as_millisecond()).map_err(AlarmError::NotFound))
    }

    /// Notes that somebody looks after the alert with these labels.
    ///
    /// # Errors
    /// When it does not fire, or it cannot be stored.
    pub fn acknowledge(
        &self,
        labels: &Labels,
        by: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<(), AlarmError> {
        let at = now.as_millisecond();
        self.order(|state| state.acknowledge(labels, by, comment, at).map_err(AlarmError::NotFound))
    }

    /// What was decided about telling people.
    #[must_use]
    pub fn notify_state(&self) -> NotifyState {
        relock(&self.shared.notify).clone()
    }

    /// Changes the state and stores it, or changes nothing.
    fn order(
        &self,
        change: impl FnOnce(&mut NotifyState) -> Result<(), AlarmError>,
    ) -> Result<(), AlarmError> {
        let mut state = relock(&self.shared.notify);
        let mut changed = state.clone();
        change(&mut changed)?;
        self.shared.store.put_kv(NOTIFY, &json!(changed))?;
        *state = changed;
        drop(state);
        self.look();
        Ok(())
    }

    /// How often each alert fired and was resolved. In lock-step only rules on site time are the same in every run.
    #[must_use]
    pub fn report(&self, only_site_time: bool) -> Vec<AlertReport> {
        let counts = relock(&self.shared.counts);
        let mut sums = Counts::new();
        for (_, counts) in counts.iter().filter(|(clock, _)| !only_site_time || *clock == SITE) {
            for (name, (fired, resolved)) in counts {
                let sum = sums.entry(name.clone()).or_default();
                *sum = (sum.0 + fired, sum.1 + resolved);
            }
        }
        let report = |(name, (fired, resolved))| AlertReport { name, fired, resolved };
        sums.into_iter().map(report).collect()
    }
}

impl Shared {
    /// As it was left.
    fn open(store: &Store) -> Result<Self, StoreError> {
        let notify = store.get_kv(NOTIFY)?.and_then(|value| serde_json::from_value(value).ok());
        let counts = store.get_kv(COUNTS)?.and_then(|value| serde_json::from_value(value).ok());
        Ok(Self {
            store: store.clone(),
            notify: Mutex::new(notify.unwrap_or_default()),
            view: Mutex::default(),
            counts: Mutex::new(counts.unwrap_or_default()),
        })
    }
}

const SITE: &str = "site";
const WALL: &str = "wall";

/// What the thread has.
struct Task {
    shared: Arc<Shared>,
    stored: Stored,
    /// Of the store when the configuration was read.
    revision: Option<u64>,
    config: Arc<WatchConfig>,
    groups: Vec<RunningGroup>,
    external_url: String,
    sites: SiteClocks,
    holds: Holds,
    tell: Tell,
    refused_samples: u64,
    evaluated_at: Option<Timestamp>,
    /// When something may have to be told although no alert changes.
    next_step_ms: Option<i64>,
}

/// What is to be stored of a pass over the rules.
#[derive(Default)]
struct Found {
    samples: Vec<sos_watch::rules::NewSample>,
    /// Each with its file and the time of its rules.
    transitions: Vec<(String, RuleClock, Transition)>,
    /// Indices of groups whose state is to be stored.
    save: Vec<usize>,
    evaluated: bool,
}

impl Task {
    fn new(shared: Arc<Shared>, external_url: String, sites: SiteClocks, holds: Holds, tell: Tell) -> Self {
        Self {
            stored: Stored::new(shared.store.clone()),
            shared,
            revision: None,
            config: Arc::default(),
            groups: Vec::new(),
            external_url,
            sites,
            holds,
            tell,
            refused_samples: 0,
            evaluated_at: None,
            next_step_ms: None,
        }
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Order>) {
        loop {
            let order = inbox.recv_timeout(self.pause());
            let stop = matches!(order, Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected));
            let changed = self.refresh();
            let mut more = self.pass(wall_now(), changed || order.is_ok());
            if stop {
                // All site time that was reached is evaluated, so that a replay always reports the same.
                while more {
                    more = self.pass(wall_now(), false);
                }
                return;
            }
        }
    }

    /// Time until something is due.
    fn pause(&self) -> Duration {
        let now = wall_now().as_millisecond();
        let due = self.groups.iter().filter_map(RunningGroup::next_wall_ms).chain(self.next_step_ms).min();
        let left = due.map_or(i64::MAX, |due| due - now);
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LOOK)
    }

    /// Takes over what is declared; whether anything may have changed.
    fn refresh(&mut self) -> bool {
        let store = &self.shared.store;
        let read = store.revision().and_then(|revision| match Some(revision) == self.revision {
            true => Ok(None),
            false => Ok(Some((revision, declared(store)?))),
        });
        let (revision, declared) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "the declared rules cannot be read");
                return false;
            }
        };
        self.revision = Some(revision);
        let (config, problems) = config::config(&declared);
        let mut known: BTreeMap<(String, String), RunningGroup> = std::mem::take(&mut self.groups)
            .into_iter()
            .map(|group| ((group.watched.file.clone(), group.watched.group.name.clone()), group))
            .collect();
        for watched in &config.groups {
            let kept = known.remove(&(watched.file.clone(), watched.group.name.clone()));
            let group = match kept {
                Some(kept) if kept.watched.group == watched.group => Ok(kept),
                Some(kept) => Ok(kept.renewed(watched.clone())),
                None => RunningGroup::open(&self.shared.store, watched.clone()),
            };
            match group {
                Ok(group) => self.groups.push(group),
                Err(error) => tracing::error!(%error, file = watched.file, "rules cannot be evaluated"),
            }
        }
        let gone: Vec<RunningGroup> = known.into_values().collect();
        if let Err(error) = self.shared.store.commit(|tx| gone.iter().try_for_each(|group| group.forget(tx)))
        {
            tracing::warn!(%error, "states of rules that are gone stay");
        }
        self.config = Arc::new(config);
        self.tell_problems(&declared, &problems);
        self.show();
        (self.tell)(News::Declared(&self.config));
        true
    }

    /// Evaluates what is due, decides, stores. Site time that has passed meanwhile is made up for; whether there is more
    /// of it than one pass takes.
    fn pass(&mut self, wall: Timestamp, mut decide: bool) -> bool {
        for _ in 0..AT_ONCE {
            let found = self.evaluate(wall);
            decide |= found.evaluated || self.next_step_ms.is_some_and(|next| next <= wall.as_millisecond());
            if !decide {
                return false;
            }
            match self.decide(&found, wall) {
                Ok(next) => self.next_step_ms = next,
                Err(error) => {
                    tracing::error!(%error, "what rules found cannot be stored; they are evaluated again");
                    self.reload();
                    return false;
                }
            }
            if found.evaluated {
                self.evaluated_at = Some(wall);
                self.show();
            }
            decide = false;
        }
        true
    }

    /// Goes on from what is stored: a change that failed may have been made all the same.
    fn reload(&mut self) {
        let store = &self.shared.store;
        for group in &mut self.groups {
            match RunningGroup::open(store, WatchedGroup::clone(&group.watched)) {
                Ok(stored) => *group = stored,
                Err(error) => return tracing::error!(%error, "states of rules cannot be read"),
            }
        }
        match Shared::open(store) {
            Ok(Shared { notify, counts, .. }) => {
                *relock(&self.shared.notify) = std::mem::take(&mut *relock(&notify));
                *relock(&self.shared.counts) = std::mem::take(&mut *relock(&counts));
            }
            Err(error) => tracing::error!(%error, "the state of notifications cannot be read"),
        }
    }

    /// Each group that is due, once.
    fn evaluate(&mut self, wall: Timestamp) -> Found {
        let site = (self.sites)();
        let mut found = Found::default();
        let wall_ms = wall.as_millisecond();
        for (index, group) in self.groups.iter_mut().enumerate() {
            let Some(at) = group.due(wall_ms, site) else { continue };
            let evaluated = group.evaluate(&self.stored, at, wall_ms, &self.external_url);
            found.evaluated = true;
            found.samples.extend(evaluated.samples);
            let (file, clock) = (&group.watched.file, group.watched.clock);
            found.transitions.extend(evaluated.transitions.into_iter().map(|t| (file.clone(), clock, t)));
            if evaluated.save {
                found.save.push(index);
            }
        }
        found
    }

    /// Decides who is told and stores everything at once.
    fn decide(&mut self, found: &Found, wall: Timestamp) -> Result<Option<i64>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut state = relock(&shared.notify);
        let active: Vec<_> = self.groups.iter().flat_map(|group| group.active(&self.external_url)).collect();
        let mut silenced = state.clone();
        super::holds::silence(&mut silenced, &(self.holds)(), wall);
        let Step { state: decided, notifications, next_ms } =
            alerts::step(&self.config.alerts, silenced, &active, wall.as_millisecond());
        // An alert that no notifier wants goes to the root, which has none.
        let told: Vec<&Notification> = notifications.iter().filter(|one| !one.notifier.is_empty()).collect();
        let counts = self.counted(&found.transitions);
        let changed = decided != *state;
        if !changed
            && told.is_empty()
            && found.samples.is_empty()
            && found.save.is_empty()
            && counts.is_none()
        {
            return Ok(next_ms);
        }
        let refused = shared.store.commit(|tx| {
            for index in &found.save {
                self.groups[*index].save(tx)?;
            }
            if changed {
                tx.put_kv(NOTIFY, &json!(decided))?;
            }
            for one in &told {
                super::outbox::put(tx, one)?;
            }
            if let Some(counts) = &counts {
                tx.put_kv(COUNTS, &json!(counts))?;
            }
            tell_transitions(tx, &found.transitions, wall)?;
            store_samples(tx, &found.samples)
        })?;
        self.refused_samples += refused;
        *state = decided;
        drop(state);
        if let Some(counts) = counts {
            *relock(&shared.counts) = counts;
        }
        let names: Vec<String> = told.iter().map(|one| one.notifier.clone()).collect();
        if !names.is_empty() {
            (self.tell)(News::Waiting(&names));
        }
        Ok(next_ms)
    }

    /// The counts after these transitions, when they change any.
    fn counted(&self, transitions: &[(String, RuleClock, Transition)]) -> Option<BTreeMap<String, Counts>> {
        let mut changed = transitions.iter().filter(|(_, _, t)| fired(t) || resolved(t)).peekable();
        changed.peek()?;
        let mut counts = relock(&self.shared.counts).clone();
        for (_, clock, transition) in changed {
            let clock = if *clock == RuleClock::Site { SITE } else { WALL };
            let of = counts.entry(clock.to_owned()).or_default();
            let count = of.entry(transition.alert.clone()).or_default();
            count.0 += u64::from(fired(transition));
            count.1 += u64::from(resolved(transition));
        }
        Some(counts)
    }

    /// Writes what is wrong with a resource into its conditions.
    fn tell_problems(&self, declared: &[sos_model::Declared], problems: &BTreeMap<String, String>) {
        for one in declared.iter().filter(|one| one.kind() == Kind::AlertRule) {
            let problem = problems.get(&one.id()).map(String::as_str);
            if let Err(error) =
                resources::put_ready(&self.shared.store, one.kind(), one.name.as_str(), &READY, problem)
            {
                tracing::error!(%error, "a condition cannot be written");
            }
        }
        for (id, problem) in problems {
            tracing::error!(id, problem, "rules do not run");
        }
    }

    fn show(&self) {
        let view = WatchView {
            groups: self.groups.clone(),
            config: Arc::clone(&self.config),
            evaluated_at: self.evaluated_at,
            refused_samples: self.refused_samples,
        };
        *relock(&self.shared.view) = Arc::new(view);
    }
}

fn fired(transition: &Transition) -> bool {
    transition.to == AlertState::Firing
}

fn resolved(transition: &Transition) -> bool {
    transition.from == AlertState::Firing && transition.to == AlertState::Inactive
}

/// The resources about watching, in order.
fn declared(store: &Store) -> Result<Vec<sos_model::Declared>, StoreError> {
    let mut all = Vec::new();
    for kind in [Kind::AlertRule, Kind::Notifier] {
        for resource in store.list(kind.name(), &sos_store::Selector::default())? {
            match resources::declared(&resource) {
                Ok(one) => all.push(one),
                Err(problem) => {
                    tracing::error!(kind = %kind, name = resource.name, problem, "not understood")
                }
            }
        }
    }
    Ok(all)
}

/// Alerts that begin and end are events of their rules.
fn tell_transitions(
    tx: &mut Tx<'_>,
    transitions: &[(String, RuleClock, Transition)],
    wall: Timestamp,
) -> Result<(), StoreError> {
    for (file, clock, transition) in transitions.iter().filter(|(_, _, t)| fired(t) || resolved(t)) {
        let begins = fired(transition);
        let labels = transition.labels.rest().filter(|(name, _)| *name != "alertname");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let summary = transition.annotations.get("summary").cloned().unwrap_or_else(|| labels.join(", "));
        let site_time = Timestamp::from_millisecond(transition.at_ms).ok();
        tx.record_event(&Event {
            time: wall,
            site_time: site_time.filter(|_| *clock == RuleClock::Site),
            kind: Kind::AlertRule.name().to_owned(),
            name: file.clone(),
            event_type: if begins { EventType::Warning } else { EventType::Normal },
            reason: if begins { "AlertFiring" } else { "AlertResolved" }.to_owned(),
            message: format!("{}: {summary}", transition.alert),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sos_store::{FaultPoint, MetricKey, MetricSample, Options, SeriesRef};
    use sos_watch::alerts::Reason;

    use super::*;

    const RULES: &str = "apiVersion: sos.energy/v1alpha1\nkind: AlertRule\nmetadata: {name: a}\nspec:\n  groups:\n  - name: g\n    interval: 5s\n    rules:\n    - {record: down, expr: 'up == bool 0'}\n    - {alert: Down, expr: down == 1, for: 5s, labels: {severity: critical}}\n---\napiVersion: sos.energy/v1alpha1\nkind: Notifier\nmetadata: {name: n}\nspec: {webhook: {url: 'http://127.0.0.1:1/'}, groupInterval: 10 s}\n";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn open(dir: &Path) -> Store {
        let store = Store::open(dir, Options::default()).unwrap();
        let declared = sos_model::load(&[("a.yaml".to_owned(), RULES.as_bytes().to_vec())]).unwrap();
        for one in &declared {
            store.put(&resources::put(one, "test", true, false)).unwrap();
        }
        store
    }

    fn task(store: &Store) -> Task {
        let shared = Arc::new(Shared::open(store).unwrap());
        Task::new(shared, "http://sos".to_owned(), Box::new(|| None), Box::new(Vec::new), Box::new(|_| {}))
    }

    fn measure(store: &Store, second: i64, up: f64) {
        let key = MetricKey { name: "up", labels: &[("job", "a")] };
        let time = at(second).as_millisecond();
        let sample = MetricSample { series: SeriesRef::Key(key), time, value: up };
        store.ingest(&[sample], &(i64::MIN..=i64::MAX)).unwrap();
    }

    fn told(store: &Store) -> Vec<Notification> {
        let records = store.read_journal("outbox/n", 1, 100).unwrap();
        records.iter().map(|record| serde_json::from_slice(&record.bytes).unwrap()).collect()
    }

    /// Down from 20 s to 60 s, looked at each second until 100 s; `fails` decides about each commit of the watcher.
    fn play(store: &Store, mut restart: impl FnMut(i64) -> bool, fails: impl Fn(i64, bool)) {
        let mut task = task(store);
        for second in 0..=100 {
            fails(second, false);
            measure(store, second, f64::from(u8::from(!(20..60).contains(&second))));
            if restart(second) {
                task = self::task(store);
            }
            fails(second, true);
            task.refresh();
            task.pass(at(second), false);
        }
        fails(101, false);
    }

    fn reasons(store: &Store) -> Vec<Reason> {
        told(store).iter().map(|one| one.reason).collect()
    }

    #[test]
    fn an_alert_is_told_once_when_it_begins_and_once_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        play(&store, |_| false, |_, _| {});
        assert_eq!(reasons(&store), [Reason::First, Reason::Resolved]);
        let first = &told(&store)[0];
        assert!((25..=40).contains(&(first.at_ms / 1000 - 1_800_000_000)), "{first:?}");
        let events = store.list_events(&sos_store::EventFilter::default()).unwrap();
        let reasons: Vec<&str> = events.iter().map(|record| record.event.reason.as_str()).collect();
        assert_eq!(reasons, ["AlertFiring", "AlertResolved"]);
        let watcher_counts = Shared::open(&store).unwrap().counts;
        assert_eq!(relock(&watcher_counts)[WALL]["Down"], (1, 1));
    }

    #[test]
    fn a_restart_at_any_second_tells_nothing_twice_and_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for killed in 0..=100 {
            let store = open(&dir.path().join(killed.to_string()));
            play(&store, |second| second == killed, |_, _| {});
            assert_eq!(reasons(&store), [Reason::First, Reason::Resolved], "killed at {killed} s");
        }
    }

    #[test]
    fn a_commit_that_fails_before_or_after_it_was_done_is_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        for point in [FaultPoint::BeforeCommit, FaultPoint::AfterCommit] {
            for failing in 0..40 {
                let store = open(&dir.path().join(format!("{point:?}{failing}")));
                let seen = Arc::new(AtomicUsize::new(0));
                let arm = |_: i64, armed: bool| {
                    let seen = Arc::clone(&seen);
                    let hook: sos_store::FaultHook =
                        Arc::new(move |at| at == point && seen.fetch_add(1, Ordering::Relaxed) == failing);
                    store.inject_faults(armed.then_some(hook));
                };
                play(&store, |_| false, arm);
                assert_eq!(reasons(&store), [Reason::First, Reason::Resolved], "{point:?} {failing}");
            }
        }
    }
}
