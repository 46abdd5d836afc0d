//! What a service has used: the input of a recommendation.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::buckets::Buckets;
use super::histogram::{Histogram, HistogramCheckpoint, HistogramError};

/// The most replicas whose present memory interval is remembered; beyond it the one that was not heard of for longest
/// is forgotten.
pub const MAX_TRACKED_REPLICAS: usize = 2000;

/// The least weight of a processor sample.
const MIN_SAMPLE_WEIGHT: f64 = 0.1;

/// The version of [`UsageCheckpoint`]; raised when it, or the buckets, change.
pub const CHECKPOINT_VERSION: u32 = 1;

/// How use is gathered. Defaults: those of the recommender of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UsageSettings {
    /// In which time a sample loses half its weight, above zero.
    pub half_life: SignedDuration,
    /// Of each interval of this length the highest memory use of a replica is kept, above zero.
    pub memory_interval: SignedDuration,
    /// How many such intervals count, above zero.
    pub memory_intervals: u32,
    /// After a kill at the memory limit, memory is raised by this factor at least, 1 or above.
    pub oom_bump_ratio: f64,
    /// After a kill at the memory limit, memory is raised by this many bytes at least.
    pub oom_min_bump: u64,
}

impl Default for UsageSettings {
    fn default() -> Self {
        Self {
            half_life: SignedDuration::from_hours(24),
            memory_interval: SignedDuration::from_hours(24),
            memory_intervals: 8,
            oom_bump_ratio: 1.2,
            oom_min_bump: 100 << 20,
        }
    }
}

/// Why samples cannot be gathered, or a checkpoint is of no use.
#[derive(Clone, Debug, PartialEq)]
pub enum UsageError {
    /// A setting is out of its range.
    Setting(&'static str),
    /// The checkpoint has another version.
    Version(u32),
    /// A histogram of the checkpoint is of no use.
    Histogram(HistogramError),
    /// The checkpoint holds more than it may, or times that go backwards.
    Malformed(&'static str),
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Setting(what) => f.write_str(what),
            Self::Version(version) => {
                write!(f, "the checkpoint has version {version}, expected {CHECKPOINT_VERSION}")
            }
            Self::Histogram(error) => error.fmt(f),
            Self::Malformed(what) => write!(f, "the checkpoint {what}"),
        }
    }
}
impl std::error::Error for UsageError {}

impl From<HistogramError> for UsageError {
    fn from(error: HistogramError) -> Self {
        Self::Histogram(error)
    }
}

/// The memory of one replica in its present interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MemoryInterval {
    /// It ends here, and its peak is counted at this time.
    end: Timestamp,
    /// The latest sample.
    last: Timestamp,
    /// The highest use, bytes.
    peak: u64,
    /// What a kill at the limit let be taken for the need, bytes.
    oom_peak: u64,
}

/// Processor and memory use of all replicas of a service, with forgetting.
///
/// Source: `vertical-pod-autoscaler/pkg/recommender/model/{aggregate_container_state,container}.go` of Kubernetes.
/// One rule is ours: what a kill at the limit showed to be needed is remembered apart from the histogram for as long
/// as memory counts, so that it cannot be outvoted by replicas that need less.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageHistory {
    settings: UsageSettings,
    cpu: Histogram,
    memory: Histogram,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    samples: u64,
    last_cpu: BTreeMap<String, Timestamp>,
    intervals: BTreeMap<String, MemoryInterval>,
    /// The need that kills showed, by interval since 1970.
    oom: BTreeMap<i64, u64>,
}

/// A [`UsageHistory`] in at most a few kilobytes and about 150 bytes for each replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsageCheckpoint {
    version: u32,
    cpu: HistogramCheckpoint,
    memory: HistogramCheckpoint,
    first_sample: Option<Timestamp>,
    last_sample: Option<Timestamp>,
    samples: u64,
    last_cpu: BTreeMap<String, Timestamp>,
    intervals: BTreeMap<String, MemoryInterval>,
    oom: BTreeMap<i64, u64>,
}

impl UsageHistory {
    /// Nothing known yet.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(settings: UsageSettings) -> Result<Self, UsageError> {
        if settings.memory_interval <= SignedDuration::ZERO
            || !(1..=1000).contains(&settings.memory_intervals)
        {
            return Err(UsageError::Setting(
                "the memory interval must be above zero and the number of them between 1 and 1000",
            ));
        }
        if !(settings.oom_bump_ratio.is_finite() && settings.oom_bump_ratio >= 1.0) {
            return Err(UsageError::Setting("the ratio by which memory is raised must be 1 or above"));
        }
        Ok(Self {
            settings,
            cpu: Histogram::new(Buckets::cpu(), settings.half_life)?,
            memory: Histogram::new(Buckets::memory(), settings.half_life)?,
            first: None,
            last: None,
            samples: 0,
            last_cpu: BTreeMap::new(),
            intervals: BTreeMap::new(),
            oom: BTreeMap::new(),
        })
    }

    /// Adds the mean processor use of a replica, in cores, over the time that began at `at`. The sample weighs as
    /// much as the cores that the replica is allowed, at least 0.1. False when it is no number, below zero, or not
    /// newer than the one before.
    pub fn add_cpu(&mut self, replica: &str, at: Timestamp, cores: f64, allowed: Option<f64>) -> bool {
        let newer = self.last_cpu.get(replica).is_none_or(|last| at > *last);
        if !(cores.is_finite() && cores >= 0.0 && newer) {
            return false;
        }
        self.forget_if_old(at);
        let weight = allowed.filter(|cores| cores.is_finite()).unwrap_or(0.0).clamp(MIN_SAMPLE_WEIGHT, 1e4);
        self.cpu.add(cores, weight, at);
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        self.samples = self.samples.saturating_add(1);
        self.last_cpu.insert(replica.to_owned(), at);
        forget_oldest(&mut self.last_cpu, |at| *at);
        true
    }

    /// Adds the memory that a replica used at `at`, bytes. False when it is older than the one before.
    pub fn add_memory(&mut self, replica: &str, at: Timestamp, bytes: u64) -> bool {
        if self.intervals.get(replica).is_some_and(|interval| at < interval.last) {
            return false;
        }
        self.forget_if_old(at);
        self.memory_sample(replica, at, bytes, false);
        true
    }

    /// A replica was killed at its memory limit: what it needs is taken for the larger of its limit and its use,
    /// raised by the bump. Gives what is taken for the need, bytes; `None` when it is older than an interval and
    /// left out.
    pub fn record_oom(&mut self, replica: &str, at: Timestamp, limit: u64) -> Option<u64> {
        let interval = self.intervals.get(replica);
        let oldest = interval.map(|interval| later(interval.last, -self.settings.memory_interval));
        if oldest.is_some_and(|oldest| at < oldest) {
            return None;
        }
        // The need that an earlier kill showed is left out, or it would run away with each kill.
        let used = limit.max(interval.map_or(0, |interval| interval.peak));
        let scaled = (used as f64 * self.settings.oom_bump_ratio) as u64;
        let need = used.saturating_add(self.settings.oom_min_bump).max(scaled);
        self.memory_sample(replica, at, need, true);
        let most = self.oom.entry(self.interval_of(at)).or_default();
        *most = need.max(*most);
        let newest = self.oom.keys().next_back().copied().unwrap_or(0);
        let oldest = newest.saturating_sub(i64::from(self.settings.memory_intervals));
        self.oom.retain(|interval, _| *interval > oldest);
        Some(need)
    }

    /// One peak per interval and replica: a higher one takes the place of that which was counted.
    fn memory_sample(&mut self, replica: &str, at: Timestamp, bytes: u64, oom: bool) {
        let known = self.intervals.get(replica).copied();
        let mut interval = known.unwrap_or(MemoryInterval { end: at, last: at, peak: 0, oom_peak: 0 });
        interval.last = interval.last.max(at);
        let counted = interval.peak.max(interval.oom_peak);
        let mut add = false;
        if at >= interval.end {
            interval = self.next_interval(interval, at);
            add = true;
        } else if bytes > counted {
            if counted > 0 {
                self.memory.subtract(counted as f64, 1.0, interval.end);
            }
            add = true;
        }
        if add {
            self.memory.add(bytes as f64, 1.0, interval.end);
            let peak = if oom { &mut interval.oom_peak } else { &mut interval.peak };
            *peak = bytes;
        }
        self.intervals.insert(replica.to_owned(), interval);
        forget_oldest(&mut self.intervals, |interval| interval.last);
    }

    fn next_interval(&self, interval: MemoryInterval, at: Timestamp) -> MemoryInterval {
        let length = self.settings.memory_interval.as_nanos();
        let whole = at.duration_since(interval.end).as_nanos() / length + 1;
        let shift = SignedDuration::from_nanos(i64::try_from(whole * length).unwrap_or(i64::MAX));
        let end = if i64::try_from(whole * length).is_ok() { later(interval.end, shift) } else { at };
        MemoryInterval { end, last: interval.last, peak: 0, oom_peak: 0 }
    }

    fn interval_of(&self, at: Timestamp) -> i64 {
        let length = self.settings.memory_interval.as_nanos();
        i64::try_from(at.as_nanosecond().div_euclid(length)).unwrap_or(i64::MAX)
    }

    /// Nothing that is older than all memory intervals counts: after such a silence everything begins anew.
    fn forget_if_old(&mut self, at: Timestamp) {
        if self.is_expired(at) {
            let settings = self.settings;
            if let Ok(fresh) = Self::new(settings) {
                *self = fresh;
            }
        }
    }

    /// Whether the latest sample is older than all memory intervals together.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let intervals = i32::try_from(self.settings.memory_intervals).unwrap_or(i32::MAX);
        let window = self.settings.memory_interval.saturating_mul(intervals);
        self.last.is_some_and(|last| now.duration_since(last) >= window)
    }

    /// How sure the history makes: the days from the first processor sample to the last, or the days that its samples
    /// would fill at one a minute, whichever is less; with another `interval` in place of a day, in that.
    #[must_use]
    pub fn confidence(&self, interval: SignedDuration) -> f64 {
        let (Some(first), Some(last)) = (self.first, self.last) else { return 0.0 };
        let span = last.duration_since(first).as_secs_f64() / interval.as_secs_f64();
        span.min(self.samples as f64 / (interval.as_secs_f64() / 60.0))
    }

    /// Processor use, cores.
    #[must_use]
    pub const fn cpu(&self) -> &Histogram {
        &self.cpu
    }

    /// Peaks of memory use, bytes.
    #[must_use]
    pub const fn memory(&self) -> &Histogram {
        &self.memory
    }

    /// How many processor samples there were.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// The most that a kill within the last memory intervals showed to be needed, bytes.
    #[must_use]
    pub fn oom_need(&self, now: Timestamp) -> Option<u64> {
        let oldest = self.interval_of(now).saturating_sub(i64::from(self.settings.memory_intervals));
        self.oom.range(oldest.saturating_add(1)..).map(|(_, need)| *need).max()
    }

    /// Adds what another history of the same service knows; of a replica that both know, the later interval stays.
    ///
    /// # Errors
    /// When it was gathered by other settings.
    pub fn merge(&mut self, other: &Self) -> Result<(), UsageError> {
        if self.settings != other.settings {
            return Err(UsageError::Setting("the histories were gathered by other settings"));
        }
        self.cpu.merge(&other.cpu)?;
        self.memory.merge(&other.memory)?;
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
        self.samples = self.samples.saturating_add(other.samples);
        for (replica, at) in &other.last_cpu {
            let mine = self.last_cpu.entry(replica.clone()).or_insert(*at);
            *mine = (*mine).max(*at);
        }
        for (replica, interval) in &other.intervals {
            let mine = self.intervals.entry(replica.clone()).or_insert(*interval);
            if interval.last > mine.last {
                *mine = *interval;
            }
        }
        for (interval, need) in &other.oom {
            let mine = self.oom.entry(*interval).or_default();
            *mine = (*mine).max(*need);
        }
        forget_oldest(&mut self.last_cpu, |at| *at);
        forget_oldest(&mut self.intervals, |interval| interval.last);
        Ok(())
    }

    /// What is needed to go on after a restart.
    #[must_use]
    pub fn checkpoint(&self) -> UsageCheckpoint {
        UsageCheckpoint {
            version: CHECKPOINT_VERSION,
            cpu: self.cpu.checkpoint(),
            memory: self.memory.checkpoint(),
            first_sample: self.first,
            last_sample: self.last,
            samples: self.samples,
            last_cpu: self.last_cpu.clone(),
            intervals: self.intervals.clone(),
            oom: self.oom.clone(),
        }
    }

    /// The history that a checkpoint was made of.
    ///
    /// # Errors
    /// When a setting is out of its range, or the checkpoint has another version or is malformed.
    pub fn restore(settings: UsageSettings, checkpoint: &UsageCheckpoint) -> Result<Self, UsageError> {
        if checkpoint.version != CHECKPOINT_VERSION {
            return Err(UsageError::Version(checkpoint.version));
        }
        let empty = Self::new(settings)?;
        let most = MAX_TRACKED_REPLICAS;
        if checkpoint.last_cpu.len() > most || checkpoint.intervals.len() > most {
            return Err(UsageError::Malformed("names more replicas than are remembered"));
        }
        if checkpoint.oom.len() > settings.memory_intervals as usize {
            return Err(UsageError::Malformed("remembers kills of more intervals than count"));
        }
        if checkpoint.first_sample > checkpoint.last_sample {
            return Err(UsageError::Malformed("has a first sample after the last one"));
        }
        Ok(Self {
            cpu: Histogram::restore(Buckets::cpu(), settings.half_life, &checkpoint.cpu)?,
            memory: Histogram::restore(Buckets::memory(), settings.half_life, &checkpoint.memory)?,
            first: checkpoint.first_sample,
            last: checkpoint.last_sample,
            samples: checkpoint.samples,
            last_cpu: checkpoint.last_cpu.clone(),
            intervals: checkpoint.intervals.clone(),
            oom: checkpoint.oom.clone(),
            ..empty
        })
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

fn forget_oldest<T>(of: &mut BTreeMap<String, T>, at: impl Fn(&T) -> Timestamp) {
    while of.len() > MAX_TRACKED_REPLICAS {
        let oldest = of.iter().min_by_key(|(_, value)| at(value)).map(|(replica, _)| replica.clone());
        if let Some(replica) = oldest {
            of.remove(&replica);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn history() -> UsageHistory {
        UsageHistory::new(UsageSettings::default()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The time of the tests of Kubernetes.
    fn start() -> Timestamp {
        at("2017-04-18T17:35:05Z")
    }

    fn hours(count: i64) -> SignedDuration {
        SignedDuration::from_hours(count)
    }

    /// A memory histogram with these peaks and no others.
    fn peaks(samples: &[(u64, Timestamp)]) -> Histogram {
        let mut histogram = history().memory;
        for (bytes, at) in samples {
            histogram.add(*bytes as f64, 1.0, *at);
        }
        histogram
    }

    /// `TestAggregateContainerUsageSamples` of Kubernetes.
    #[test]
    fn an_interval_counts_its_peak_and_what_is_out_of_order_is_left_out() {
        let mut history = history();
        let sizes = [50 * MB, 100 * MB, 20 * MB];
        for (i, (cores, bytes)) in [3.1, 6.2, 1.5].into_iter().zip(sizes).enumerate() {
            let at = start() + hours(12 * i as i64);
            assert!(history.add_cpu("a-0", at, cores, None) && history.add_memory("a-0", at, bytes));
        }
        let day = start() + hours(24);
        assert_eq!(history.memory, peaks(&[(100 * MB, day), (20 * MB, day + hours(24))]));
        assert_eq!(history.samples, 3);
        assert!(!history.add_cpu("a-0", start() + hours(24), 1.0, None), "not newer");
        assert!(!history.add_cpu("a-0", start() + hours(48), -1.0, None));
        assert!(!history.add_cpu("a-0", start() + hours(48), f64::NAN, None));
        assert!(!history.add_memory("a-0", start(), MB));
        assert_eq!(history.samples, 3);
    }

    /// `TestRecordOOMIncreasedByBumpUp`, `…ByMin`, `…DontRunAway` and `…MaxedWithKnownSample` of Kubernetes.
    #[test]
    fn a_kill_at_the_limit_raises_the_peak_once() {
        let mut history = history();
        let end = start() + hours(24);
        assert_eq!(history.record_oom("a-0", start(), 1000 * MB), Some(1200 * MB));
        assert_eq!(history.memory, peaks(&[(1200 * MB, end)]));
        for _ in 0..2 {
            history.record_oom("a-0", start(), 999 * MB);
        }
        assert_eq!(history.memory, peaks(&[(1200 * MB, end)]), "smaller ones change nothing");
        assert_eq!(history.record_oom("a-0", start(), 2000 * MB), Some(2400 * MB));
        assert_eq!(history.memory, peaks(&[(2400 * MB, end)]));
        assert_eq!(super::tests::history().record_oom("a-0", start(), MB), Some(101 * MB));
        let mut used = super::tests::history();
        used.add_memory("a-0", start(), 3000 * MB);
        assert_eq!(used.record_oom("a-0", start(), 1000 * MB), Some(3600 * MB));
        assert_eq!(used.memory, peaks(&[(3600 * MB, end)]));
    }

    /// `TestRecordOOMDiscardsOldSample`, `…InNewWindow` and `…FreshOOMNearWindowBoundaryIsNotDiscarded` of
    /// Kubernetes.
    #[test]
    fn a_kill_counts_while_it_is_fresh() {
        let mut old = history();
        old.add_memory("a-0", start(), 1000 * MB);
        assert_eq!(old.record_oom("a-0", start() - hours(30), 1000 * MB), None);
        let mut next = history();
        next.add_memory("a-0", start(), 2000 * MB);
        assert_eq!(next.record_oom("a-0", start() + hours(48), 1000 * MB), Some(2400 * MB));
        assert_eq!(next.memory, peaks(&[(2000 * MB, start() + hours(24)), (2400 * MB, start() + hours(72))]));
        let mut edge = history();
        edge.add_memory("a-0", start(), 100 * MB);
        edge.add_memory("a-0", start() + hours(24), 2000 * MB);
        let fresh = start() + hours(24) - SignedDuration::from_secs(1);
        assert_eq!(edge.record_oom("a-0", fresh, 1000 * MB), Some(2400 * MB));
        assert_eq!(edge.memory, peaks(&[(100 * MB, start() + hours(24)), (2400 * MB, start() + hours(48))]));
    }

    /// `TestConfidenceMultiplier` and `…WithCustomInterval` of Kubernetes.
    #[test]
    fn confidence_grows_with_time_and_samples() {
        let mut history = history();
        for i in 0..9 {
            history.add_cpu("a-0", start() + SignedDuration::from_mins(2 * i), 1.0, None);
        }
        assert!((history.confidence(hours(24)) - 0.00625).abs() < 1e-12);
        assert!((history.confidence(SignedDuration::from_mins(18)) - 0.5).abs() < 1e-12);
        assert!(super::tests::history().confidence(hours(24)).abs() < 1e-12);
    }

    /// `TestAggregateContainerStateIsExpired` of Kubernetes.
    #[test]
    fn after_eight_days_of_silence_everything_begins_anew() {
        let mut history = history();
        history.add_cpu("a-0", start(), 8.0, None);
        assert!(!history.is_expired(start() + hours(7 * 24)) && history.is_expired(start() + hours(8 * 24)));
        history.add_cpu("a-0", start() + hours(9 * 24), 0.5, None);
        assert_eq!(history.samples, 1);
        assert!(history.cpu.percentile(1.0).unwrap() < 1.0);
    }

    #[test]
    fn a_restart_from_a_checkpoint_goes_on_with_the_open_interval() {
        let mut history = history();
        history.add_cpu("a-0", start(), 0.5, Some(1.0));
        history.add_memory("a-0", start(), 500 * MB);
        history.record_oom("a-1", start(), 300 * MB);
        let text = serde_json::to_string(&history.checkpoint()).unwrap();
        let checkpoint: UsageCheckpoint = serde_json::from_str(&text).unwrap();
        let mut again = UsageHistory::restore(UsageSettings::default(), &checkpoint).unwrap();
        for history in [&mut history, &mut again] {
            history.add_memory("a-0", start() + hours(2), 800 * MB);
        }
        for percentile in [0.0, 0.5, 1.0] {
            assert_eq!(again.memory.percentile(percentile), history.memory.percentile(percentile));
        }
        assert_eq!(again.oom_need(start()), Some(400 * MB));
    }

    #[test]
    fn checkpoints_of_another_version_or_shape_are_refused() {
        let restore = |text: &str| {
            let checkpoint: UsageCheckpoint = serde_json::from_str(text).unwrap();
            UsageHistory::restore(UsageSettings::default(), &checkpoint)
        };
        let text = serde_json::to_string(&history().checkpoint()).unwrap();
        assert!(restore(&text).is_ok());
        let other = text.replace("\"version\":1", "\"version\":9");
        assert_eq!(restore(&other), Err(UsageError::Version(9)));
        let ooms: Vec<_> = (0..9).map(|i| format!("\"{i}\":1")).collect();
        let many = text.replace("\"oom\":{}", &format!("\"oom\":{{{}}}", ooms.join(",")));
        assert!(matches!(restore(&many), Err(UsageError::Malformed(_))));
        assert!(serde_json::from_str::<UsageCheckpoint>("{\"version\":1}").is_err());
    }

    #[test]
    fn the_number_of_replicas_remembered_has_a_bound() {
        let mut history = history();
        for i in 0..MAX_TRACKED_REPLICAS as i64 + 5 {
            let at = start() + SignedDuration::from_secs(i);
            history.add_memory(&format!("a-{i}"), at, MB);
        }
        assert_eq!(history.intervals.len(), MAX_TRACKED_REPLICAS);
        assert!(!history.intervals.contains_key("a-4") && history.intervals.contains_key("a-5"));
    }
}
