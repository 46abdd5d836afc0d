//! Services and `sos` itself → metrics. Each target is asked on its own, so that one that hangs delays no other; what it
//! answers is one change of the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sos_call::exposition::{Format, ScrapedBody, Told};
use sos_call::scrape::{ScrapeError, Target, scrape};
use sos_call::{Address, Auth, HttpClient, Secret, Trust};
use sos_model::Metrics;
use sos_store::{
    IngestReport, MetricKey, MetricMetadata, MetricSample, Refusal, Refused, STALE, SeriesId, SeriesRef,
    Store, StoreError,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::catalogue::{Catalogue, Entries};
use crate::clock::wall_now;
use crate::relock;
use crate::services::board::Board;
use crate::services::secrets;

/// How often `sos` takes its own measures.
const OWN_EVERY: Duration = Duration::from_secs(5);
/// How often the targets are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Targets asked at the same time.
const AT_ONCE: usize = 32;
/// Samples whose own time is further ahead than this, in ms, are refused: a clock that jumped.
const AHEAD_MS: i64 = 600_000;
/// The same for samples that come late.
const LATE_MS: i64 = 30 * 86_400_000;
/// Why the store may refuse a sample.
const REASONS: [Refusal; 7] = [
    Refusal::Series,
    Refusal::SeriesOfName,
    Refusal::Labels,
    Refusal::LabelName,
    Refusal::LabelValue,
    Refusal::Malformed,
    Refusal::Reading,
];
/// What a target says about a metric is stored again after so many scrapes.
const METADATA_EVERY: u64 = 60;

/// Times of samples that are taken in at a moment, in ms.
#[must_use]
pub fn taken(now: Timestamp) -> std::ops::RangeInclusive<i64> {
    let now = now.as_millisecond();
    now - LATE_MS..=now + AHEAD_MS
}

/// The measures of `sos`, in Prometheus' format.
pub type Own = Arc<dyn Fn() -> String + Send + Sync>;
/// The services as they are.
pub type Boards = Arc<dyn Fn() -> Arc<Board> + Send + Sync>;

/// Who is asked, and under which labels its series are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetView {
    /// `service/replica`, unique.
    pub id: String,
    /// `job`, `instance`, `service`, `replica`.
    pub labels: BTreeMap<String, String>,
    /// Where, without secrets.
    pub url: String,
    /// When it was last asked.
    pub asked: Option<Timestamp>,
    /// Why the last answer brought nothing.
    pub error: Option<String>,
    /// Samples of the last answer.
    pub samples: u64,
}

/// What scraping has counted since the program started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeView {
    /// By id.
    pub targets: BTreeMap<String, TargetView>,
    /// Refused samples by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What is asked of one replica.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    url: String,
    labels: BTreeMap<String, String>,
    metrics: Metrics,
}

/// The running scrapers.
#[derive(Debug)]
pub struct Scraper {
    view: Arc<Mutex<ScrapeView>>,
    manager: JoinHandle<()>,
    own: JoinHandle<()>,
}

impl Scraper {
    /// Starts to scrape: `sos` itself at once, services as they come.
    #[must_use]
    pub fn start(store: &Store, boards: Boards, own: Own) -> Self {
        // From zero on, so that the first refusal is an increase.
        let none = REASONS.iter().map(|why| (why.to_string(), 0)).collect();
        let view = Arc::new(Mutex::new(ScrapeView { refused: none, ..ScrapeView::default() }));
        let shared = Arc::new(Shared {
            store: store.clone(),
            view: Arc::clone(&view),
            places: Semaphore::new(AT_ONCE),
        });
        let manager = tokio::spawn(manage(Arc::clone(&shared), boards));
        let own = tokio::spawn(scrape_own(shared, own));
        Self { view, manager, own }
    }

    /// What there is to see.
    #[must_use]
    pub fn view(&self) -> ScrapeView {
        relock(&self.view).clone()
    }

    /// Counts what was refused of samples that came by another way, with what was refused before, by reason.
    pub fn count<'r>(&self, report: &IngestReport, before: impl IntoIterator<Item = (&'r str, u64)>) {
        let refused = &mut relock(&self.view).refused;
        count(refused, report);
        for (reason, samples) in before {
            *refused.entry(reason.to_owned()).or_default() += samples;
        }
    }

    /// Ends all scraping.
    pub fn stop(&self) {
        self.manager.abort();
        self.own.abort();
    }
}

struct Shared {
    store: Store,
    view: Arc<Mutex<ScrapeView>>,
    places: Semaphore,
}

/// Keeps a task for each target, ends it with the target.
async fn manage(shared: Arc<Shared>, boards: Boards) {
    let mut tasks: BTreeMap<String, (Wanted, AbortOnDrop)> = BTreeMap::new();
    let mut catalogue = Catalogue::new(shared.store.clone());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let read = tokio::task::spawn_blocking(move || (catalogue.now(), catalogue)).await;
        let entries;
        (entries, catalogue) = match read {
            Ok((Ok(entries), catalogue)) => (entries, catalogue),
            // Those that are scraped go on being scraped.
            Ok((Err(_), kept)) => {
                catalogue = kept;
                continue;
            }
            Err(_) => {
                catalogue = Catalogue::new(shared.store.clone());
                continue;
            }
        };
        let wanted = targets(&entries, &boards());
        tasks.retain(|id, (old, _)| wanted.get(id) == Some(old));
        relock(&shared.view).targets.retain(|id, _| id == OWN || wanted.contains_key(id));
        for (id, target) in wanted {
            tasks.entry(id).or_insert_with_key(|id| {
                let task = tokio::spawn(follow(Arc::clone(&shared), id.clone(), target.clone()));
                (target, AbortOnDrop(task))
            });
        }
    }
}

/// A task that ends with whoever holds it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whom to ask now: each live replica, and external services at their address.
fn targets(entries: &Entries, board: &Board) -> BTreeMap<String, Wanted> {
    let mut wanted = BTreeMap::new();
    let understood = entries.iter().filter_map(|(name, entry)| Some((name, entry.spec.as_deref().ok()?)));
    for (name, spec) in understood {
        let Some(metrics) = &spec.metrics else { continue };
        let mut add = |replica: &str, base: String, instance: String| {
            let labels =
                [("job", name.as_str()), ("service", name), ("replica", replica), ("instance", &instance)];
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            let labels = labels.map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
            let id = if replica.is_empty() { name.clone() } else { format!("{name}/{replica}") };
            let url = format!("{}{}", base.trim_end_matches('/'), metrics.path);
            wanted.insert(id, Wanted { url, labels, metrics: metrics.clone() });
        };
        if let Some(external) = &spec.external {
            let instance = external.url.split_once("://").map_or("", |(_, rest)| rest);
            let instance = instance.split('/').next().unwrap_or_default().to_owned();
            add("", external.url.clone(), instance);
            continue;
        }
        let Some(view) = board.services.get(name) else { continue };
        for replica in view.replicas.iter().filter(|replica| replica.live) {
            if let Some(socket) = metrics.port.as_ref().and_then(|port| replica.socket(port)) {
                let instance = socket.to_string();
                add(&replica.deployment.replica, format!("http://{instance}"), instance);
            }
        }
    }
    wanted
}

/// Asks one target again and again.
async fn follow(shared: Arc<Shared>, id: String, wanted: Wanted) {
    let mut series = TargetSeries::new(wanted.labels.clone(), wanted.metrics.honor_labels);
    let mut pace = tokio::time::interval(wanted.metrics.interval.unsigned_abs());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let client = HttpClient::new(&Trust::System);
    loop {
        pace.tick().await;
        let at = wall_now();
        let began = tokio::time::Instant::now();
        let answer = match (&client, target(&shared.store, &wanted)) {
            (Ok(client), Ok(target)) => {
                let Ok(_place) = shared.places.acquire().await else { return };
                scrape(client, &target).await.map_err(|error: ScrapeError| error.message)
            }
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error),
        };
        let took = began.elapsed();
        let body = answer.map(|scraped| scraped.body);
        let error = body.as_ref().err().cloned();
        series = take(&shared, &id, &wanted.url, series, (body, at, took), error).await;
    }
}

fn target(store: &Store, wanted: &Wanted) -> Result<Target, String> {
    let mut target = Target::new(Address::parse(&wanted.url)?);
    target.timeout = wanted.metrics.timeout.unsigned_abs();
    target.sample_limit = usize::try_from(wanted.metrics.max_samples).unwrap_or(usize::MAX);
    if let Some(key) = &wanted.metrics.token {
        target.auth = Auth::Bearer(Secret::new(secrets::needed(store, key)?));
    }
    Ok(target)
}

/// The id of `sos` among the targets.
const OWN: &str = "sos";

/// Takes the measures of `sos` itself, without a detour over the network.
async fn scrape_own(shared: Arc<Shared>, own: Own) {
    let labels = [("job", "sos"), ("instance", "self")].map(|(l, v)| (l.to_owned(), v.to_owned()));
    let mut series = TargetSeries::new(labels.into(), true);
    let mut pace = tokio::time::interval(OWN_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let at = wall_now();
        let began = tokio::time::Instant::now();
        let own = Arc::clone(&own);
        let text = tokio::task::spawn_blocking(move || own()).await.unwrap_or_default();
        let body = ScrapedBody::parse(text.into_bytes(), Format::Text, usize::MAX);
        let body = body.map_err(|error| error.to_string());
        let error = body.as_ref().err().cloned();
        series = take(&shared, OWN, "self", series, (body, at, began.elapsed()), error).await;
    }
}

type Answer = (Result<ScrapedBody, String>, Timestamp, Duration);

/// Stores an answer and notes how it went.
async fn take(
    shared: &Arc<Shared>,
    id: &str,
    url: &str,
    mut series: TargetSeries,
    answer: Answer,
    error: Option<String>,
) -> TargetSeries {
    let store = shared.store.clone();
    let at = answer.1;
    let labels = series.labels.clone();
    let fresh = TargetSeries::new(labels.clone(), series.honor_labels);
    let stored = tokio::task::spawn_blocking(move || {
        let report = series.store(&store, &answer);
        (series, report)
    });
    let (series, report) = match stored.await {
        Ok((series, report)) => (series, report.map_err(|error| error.to_string())),
        Err(panic) => (fresh, Err(format!("the answer cannot be stored: {panic}"))),
    };
    let mut view = relock(&shared.view);
    let samples = report.as_ref().map_or(0, |report| report.accepted + report.duplicates);
    let failed = report.as_ref().err().cloned();
    if let Ok(report) = report {
        count(&mut view.refused, &report);
    }
    let error = error.or(failed);
    let view = &mut view.targets;
    let url = url.split('?').next().unwrap_or(url).to_owned();
    view.insert(
        id.to_owned(),
        TargetView { id: id.to_owned(), labels, url, asked: Some(at), error, samples },
    );
    series
}

/// Adds what a report refused, by reason.
fn count(refused: &mut BTreeMap<String, u64>, report: &IngestReport) {
    let named: u64 = report.refused.iter().map(|one| one.samples).sum();
    for one in &report.refused {
        *refused.entry(one.why.to_string()).or_default() += one.samples;
    }
    let others = [
        ("other", report.refused_samples.saturating_sub(named)),
        ("time out of bounds", report.out_of_bounds),
    ];
    for (reason, samples) in others.into_iter().filter(|(_, samples)| *samples > 0) {
        *refused.entry(reason.to_owned()).or_default() += samples;
    }
}

/// The series of one target, known by how its text writes them.
struct TargetSeries {
    labels: BTreeMap<String, String>,
    honor_labels: bool,
    /// By name and labels as they came, with the scrape that saw them last.
    known: HashMap<String, (SeriesId, u64)>,
    scrapes: u64,
}

impl TargetSeries {
    fn new(labels: BTreeMap<String, String>, honor_labels: bool) -> Self {
        Self { labels, honor_labels, known: HashMap::new(), scrapes: 0 }
    }

    /// Stores an answer, how the scrape went, and the end of series that came before and do not any more.
    fn store(&mut self, store: &Store, answer: &Answer) -> Result<IngestReport, StoreError> {
        let (body, at, took) = answer;
        self.scrapes += 1;
        let at_ms = at.as_millisecond();
        let mut refused = Vec::new();
        let fresh = match body {
            Ok(body) => self.register(store, body, &mut refused)?,
            Err(_) => 0,
        };
        let mut samples = Vec::new();
        if let Ok(body) = body {
            let mut key = String::new();
            for sample in body.samples() {
                write_key(&mut key, &sample);
                // What was refused when it was registered is not known.
                let Some((id, seen)) = self.known.get_mut(&key) else { continue };
                *seen = self.scrapes;
                let time = sample.timestamp_ms.unwrap_or(at_ms);
                samples.push(MetricSample { series: SeriesRef::Id(*id), time, value: sample.value });
            }
        }
        let gone = self.known.values().filter(|(_, seen)| *seen != self.scrapes);
        samples.extend(gone.map(|(id, _)| MetricSample {
            series: SeriesRef::Id(*id),
            time: at_ms,
            value: STALE,
        }));
        self.known.retain(|_, (_, seen)| *seen == self.scrapes);
        let own: Vec<(&str, &str)> = self.labels.iter().map(|(l, v)| (l.as_str(), v.as_str())).collect();
        let scraped = body.as_ref().map_or(0, ScrapedBody::len);
        let about = [
            ("up", f64::from(u8::from(body.is_ok()))),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", scraped as f64),
        ];
        for (name, value) in about {
            let series = SeriesRef::Key(MetricKey { name, labels: &own });
            samples.push(MetricSample { series, time: at_ms, value });
        }
        let mut report = store.commit(|tx| {
            if let Ok(body) = body
                && (fresh > 0 || self.scrapes % METADATA_EVERY == 1)
            {
                tx.put_metadata(&metadata(body))?;
            }
            tx.ingest(&samples, &taken(*at))
        })?;
        for (metric, why) in refused {
            report.refused_samples += 1;
            match report.refused.iter_mut().find(|one| one.why == why) {
                Some(known) => known.samples += 1,
                None => report.refused.push(Refused { metric, why, samples: 1 }),
            }
        }
        if report.unknown > 0 {
            // Series that retention took meanwhile are registered again by the next scrape.
            self.known.clear();
        }
        Ok(report)
    }

    /// Asks for the ids of series that are new; how many there were.
    fn register(
        &mut self,
        store: &Store,
        body: &ScrapedBody,
        refused: &mut Vec<(String, Refusal)>,
    ) -> Result<usize, StoreError> {
        let mut fresh: BTreeMap<String, (String, Vec<(String, String)>)> = BTreeMap::new();
        let mut key = String::new();
        for sample in body.samples() {
            write_key(&mut key, &sample);
            if !self.known.contains_key(&key) && !fresh.contains_key(&key) {
                let labels = sample.labels.clone().map(|(l, v)| (l.into_owned(), v.into_owned()));
                fresh.insert(key.clone(), (sample.name.to_string(), self.labelled(labels)));
            }
        }
        if fresh.is_empty() {
            return Ok(0);
        }
        let borrowed: Vec<(&str, Vec<(&str, &str)>)> = fresh
            .values()
            .map(|(name, labels)| {
                (name.as_str(), labels.iter().map(|(l, v)| (l.as_str(), v.as_str())).collect())
            })
            .collect();
        let keys: Vec<MetricKey<'_>> =
            borrowed.iter().map(|(name, labels)| MetricKey { name, labels }).collect();
        let ids = store.metric_series(&keys)?;
        let mut count = 0;
        for ((key, (name, _)), id) in fresh.into_iter().zip(ids) {
            match id {
                Ok(id) => {
                    count += 1;
                    self.known.insert(key, (id, 0));
                }
                Err(why) => refused.push((name, why)),
            }
        }
        Ok(count)
    }

    /// The labels of a sample with those of its target; where both have one, the sample's is kept as `exported_…`.
    fn labelled(&self, labels: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (label, value) in labels {
            let taken = self.labels.contains_key(&label) && !self.honor_labels;
            all.insert(if taken { format!("exported_{label}") } else { label }, value);
        }
        for (label, value) in &self.labels {
            all.entry(label.clone()).or_insert_with(|| value.clone());
        }
        all.into_iter().collect()
    }
}

/// Name and labels in the order of the text; a control character, which names cannot have, keeps them apart.
fn write_key(key: &mut String, sample: &sos_call::exposition::Sample<'_>) {
    key.clear();
    key.push_str(&sample.name);
    for (label, value) in sample.labels.clone() {
        for part in [&label, &value] {
            key.push('\u{1}');
            key.push_str(part);
        }
    }
}

fn metadata(body: &ScrapedBody) -> Vec<MetricMetadata> {
    let mut all: BTreeMap<String, MetricMetadata> = BTreeMap::new();
    for told in body.metadata() {
        let one = all.entry(told.name.to_string()).or_insert_with(|| MetricMetadata {
            name: told.name.to_string(),
            kind: "unknown".to_owned(),
            help: String::new(),
            unit: String::new(),
        });
        match told.told {
            Told::Type(kind) => one.kind = kind.as_str().to_owned(),
            Told::Help(help) => one.help = help.into_owned(),
            Told::Unit(unit) => one.unit = unit.to_owned(),
        }
    }
    all.into_values().collect()
}
