//! Measures the store as a home of metrics: how fast samples are taken in, how large they are, how fast they are read.
//!
//! `cargo run --release -p sos-store --example series_store [-- full]` (`full`: each commit waits for the disk)
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program answers on stdout")]

use std::path::Path;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use sos_store::{
    Aggregate, Durability, Labels, Matcher, MetricKey, MetricSample, Options, Sample, Select, SeriesId,
    SeriesRef, Store,
};

const START: i64 = 1_790_000_000_000;
const ALL: std::ops::RangeInclusive<i64> = 0..=i64::MAX;

/// What a series looks like.
type Shape = fn(&mut Noise, u32, f64) -> f64;

const SHAPES: [(&str, Shape); 5] = [
    ("counters of requests", |noise, _, last| last + noise.below(200) as f64),
    ("counters of seconds", |noise, _, last| ((last + noise.unit() * 0.4) * 1e3).round() / 1e3),
    ("gauges of bytes", |noise, n, last| {
        if n % 4 == 0 { (last + (noise.below(4096) as f64 - 2048.0) * 4096.0).abs() } else { last }
    }),
    ("repeated values", |noise, _, last| if noise.below(200) == 0 { noise.below(3) as f64 } else { last }),
    ("noise at full precision", |noise, n, _| 20.0 + (f64::from(n) / 100.0).sin() * 5.0 + noise.unit()),
];

fn main() {
    let durability = match std::env::args().nth(1).as_deref() {
        Some("full") => Durability::Full,
        _ => Durability::Normal,
    };
    let options = Options { durability, ..Options::default() };
    println!("commits survive: {}", if durability == Durability::Full { "a power cut" } else { "a kill" });
    for batch in [1_000, 10_000] {
        ingest(&options, batch);
    }
    by_labels(&options);
    sizes(&options);
    readings(&options);
    read(&options);
    many_series(&options);
}

/// 10,000 series for two hours at 15 s, a mixture of all shapes but noise.
fn ingest(options: &Options, batch: usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let ids = series(&store, 10_000);
    let before = rss_kib();
    let mut made = Made::new(ids.len());
    let (mut spent, mut samples, mut slowest) = (0.0, 0_u64, 0.0_f64);
    for tick in 0..480 {
        let all = made.tick(&ids, tick, 15_000, |i| SHAPES[i % 4].1);
        for part in all.chunks(batch) {
            let start = Instant::now();
            let report = store.ingest(part, &ALL).unwrap();
            let took = start.elapsed().as_secs_f64();
            (spent, slowest) = (spent + took, slowest.max(took));
            samples += report.accepted;
        }
    }
    println!(
        "ingest in batches of {batch}: {:.0} samples/s, slowest batch {:.0} ms",
        samples as f64 / spent,
        slowest * 1e3
    );
    println!("  memory for {} series: {:.1} MB more", ids.len(), (rss_kib() - before) as f64 / 1024.0);
    let times = (START + 475 * 15_000, START + 480 * 15_000);
    let found = timed(&store, &[Matcher::equal("job", "node")], times);
    println!("  the last five values of each of them: {} samples in {:.0} ms", found.0, found.1);
    size(&store, dir.path(), samples, "  all of it");
    drop(store);
    let start = Instant::now();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let report = store.ingest(&made.tick(&ids, 480, 15_000, |i| SHAPES[i % 4].1), &ALL).unwrap();
    println!(
        "  opened again and written to after {:.2} s ({} samples)",
        start.elapsed().as_secs_f64(),
        report.accepted
    );
}

/// As remote write does it: each sample with its labels.
fn by_labels(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let names: Vec<[String; 3]> = (0..10_000)
        .map(|i| [format!("metric_{}", i % 100), format!("10.0.0.{}:9100", i / 100), format!("{i}")])
        .collect();
    let labels: Vec<[(&str, &str); 4]> = names
        .iter()
        .map(|n| [("device", n[2].as_str()), ("instance", &n[1]), ("job", "node"), ("region", "west")])
        .collect();
    let mut made = Made::new(names.len());
    let (mut spent, mut samples) = (0.0, 0);
    for tick in 0..100 {
        let values = made.values(tick, |i| SHAPES[i % 4].1);
        let all: Vec<MetricSample<'_>> = (0..names.len())
            .map(|i| MetricSample {
                series: SeriesRef::Key(MetricKey { name: &names[i][0], labels: &labels[i] }),
                time: START + i64::from(tick) * 15_000,
                value: values[i],
            })
            .collect();
        let start = Instant::now();
        for part in all.chunks(2_000) {
            samples += store.ingest(part, &ALL).unwrap().accepted;
        }
        if tick > 0 {
            spent += start.elapsed().as_secs_f64();
        }
    }
    println!("ingest by labels in batches of 2000: {:.0} samples/s", samples as f64 * 0.99 / spent);
}

/// 200 series of one shape for two days at 1 min.
fn sizes(options: &Options) {
    for (name, shape) in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options.clone()).unwrap();
        let ids = series(&store, 200);
        let mut made = Made::new(ids.len());
        let mut samples = 0;
        for tick in 0..2880 {
            samples += store.ingest(&made.tick(&ids, tick, 60_000, |_| shape), &ALL).unwrap().accepted;
        }
        size(&store, dir.path(), samples, name);
    }
}

/// Readings of 30 series for a year at 15 min, measured to 1 W.
fn readings(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let ids: Vec<SeriesId> = (0..30)
        .map(|n| store.series_id("power_kw", &Labels::from([("asset".into(), format!("{n}"))])).unwrap())
        .collect();
    let mut noise = Noise(7);
    let mut samples = 0;
    for tick in 0..35_040_u32 {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(tick) * 900);
        let mut one = |series: SeriesId| {
            let day = f64::from(tick % 96) / 96.0 * std::f64::consts::TAU;
            let kw = 1.2 + 0.8 * (day + f64::from(ids.len() as u32)).sin() + noise.unit() * 0.2;
            let known_at = time + SignedDuration::from_millis(900_000 + noise.below(64).cast_signed());
            Sample { series, time, known_at, value: Ok((kw * 1e3).round() / 1e3) }
        };
        let batch: Vec<Sample> = ids.iter().map(|id| one(*id)).collect();
        samples += batch.len() as u64;
        store.append_samples(&batch).unwrap();
    }
    size(&store, dir.path(), samples, "readings with the time they were known");
}

/// A day of 1,000 series at 1 min.
fn read(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let ids = series(&store, 1000);
    let mut made = Made::new(ids.len());
    for tick in 0..1440 {
        store.ingest(&made.tick(&ids, tick, 60_000, |i| SHAPES[i % 4].1), &ALL).unwrap();
    }
    let matchers = [Matcher::predicate("__name__", |name| name.starts_with("metric"))];
    let select = |from: i64| timed(&store, &matchers, (START + from * 60_000, START + 1440 * 60_000));
    let mut took: Vec<(u64, f64)> = (0..5).map(|_| select(0)).collect();
    took.sort_by(|a, b| a.1.total_cmp(&b.1));
    println!(
        "read a day of 1,000 series at 1 min: {} samples in {:.0} ms (of 5 the median)",
        took[2].0, took[2].1
    );
    size(&store, dir.path(), 1_440_000, "  all of it");
    let mut noise = Noise(3);
    let mut late = |id: &SeriesId| MetricSample {
        series: SeriesRef::Id(*id),
        time: START + noise.below(1000).cast_signed() * 60_000 + 30_000,
        value: 1.0,
    };
    let batch: Vec<MetricSample<'_>> = ids.iter().map(&mut late).collect();
    let start = Instant::now();
    let report = store.ingest(&batch, &ALL).unwrap();
    println!(
        "  a sample hours late for each: {:.0} samples/s",
        report.accepted as f64 / start.elapsed().as_secs_f64()
    );
}

/// How many samples are read, and in how many milliseconds.
fn timed(store: &Store, matchers: &[Matcher], times: (i64, i64)) -> (u64, f64) {
    let start = Instant::now();
    let select = Select { matchers, times, aggregate: Aggregate::Last, max_samples: u64::MAX };
    let found = store.select(&select).unwrap();
    (found.samples, start.elapsed().as_secs_f64() * 1e3)
}

/// 100,000 series: one is found among them.
fn many_series(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let before = rss_kib();
    let start = Instant::now();
    let ids = series(&store, 100_000);
    let made_in = start.elapsed().as_secs_f64();
    let mut made = Made::new(ids.len());
    store.ingest(&made.tick(&ids, 0, 15_000, |i| SHAPES[i % 4].1), &ALL).unwrap();
    println!(
        "100,000 series: made in {made_in:.1} s, {:.0} MB with a sample each",
        (rss_kib() - before) as f64 / 1024.0
    );
    let ask = |what: &str, matchers: &[Matcher]| {
        let start = Instant::now();
        let select =
            Select { matchers, times: (0, i64::MAX), aggregate: Aggregate::Last, max_samples: u64::MAX };
        let found = store.select(&select).unwrap().series.len();
        println!("  {what}: {found} series in {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    };
    ask("name and one label", &[Matcher::name("metric_7"), Matcher::equal("device", "70007")]);
    ask("one label by a predicate", &[Matcher::predicate("device", |v| v.ends_with("0007"))]);
    ask("name, and one label excluded", &[Matcher::name("metric_7"), Matcher::not_equal("device", "70007")]);
    drop(store);
    let start = Instant::now();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let found = store.find_series(&[Matcher::name("metric_7")], None).unwrap().len();
    println!("  opened again, {found} of them found after {:.2} s", start.elapsed().as_secs_f64());
}

fn series(store: &Store, n: usize) -> Vec<SeriesId> {
    let names: Vec<[String; 3]> = (0..n)
        .map(|i| [format!("metric_{}", i % 100), format!("10.0.0.{}:9100", i / 100), format!("{i}")])
        .collect();
    let labels: Vec<[(&str, &str); 4]> = names
        .iter()
        .map(|n| [("device", n[2].as_str()), ("instance", &n[1]), ("job", "node"), ("region", "west")])
        .collect();
    let keys: Vec<MetricKey<'_>> =
        names.iter().zip(&labels).map(|(n, labels)| MetricKey { name: &n[0], labels }).collect();
    store.metric_series(&keys).unwrap().into_iter().map(|id| id.unwrap()).collect()
}

/// The values of many series as they go on.
struct Made {
    noise: Noise,
    last: Vec<f64>,
}

impl Made {
    fn new(series: usize) -> Self {
        let mut noise = Noise(42);
        let last = (0..series).map(|_| noise.below(10_000_000) as f64).collect();
        Self { noise, last }
    }

    fn values(&mut self, tick: u32, shape: impl Fn(usize) -> Shape) -> &[f64] {
        for (i, last) in self.last.iter_mut().enumerate() {
            *last = shape(i)(&mut self.noise, tick, *last);
        }
        &self.last
    }

    fn tick(
        &mut self,
        ids: &[SeriesId],
        tick: u32,
        step: i64,
        shape: impl Fn(usize) -> Shape,
    ) -> Vec<MetricSample<'static>> {
        let time = START + i64::from(tick) * step;
        let values = self.values(tick, shape);
        ids.iter()
            .zip(values)
            .map(|(id, value)| MetricSample { series: SeriesRef::Id(*id), time, value: *value })
            .collect()
    }
}

/// What is on disk once the log of the database is in its file.
fn size(store: &Store, dir: &Path, samples: u64, what: &str) {
    store.sync().unwrap();
    let checkpoint = rusqlite::Connection::open(dir.join("sos.db")).unwrap();
    checkpoint.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let file = std::fs::metadata(dir.join("sos.db")).unwrap().len();
    let free: u64 =
        checkpoint.query_row("PRAGMA freelist_count", [], |r| r.get::<_, i64>(0)).unwrap().unsigned_abs()
            * 4096;
    let stats = store.telemetry_stats().unwrap();
    println!(
        "{what}: {:.2} bytes a sample in the file ({:.2} without its free pages), {:.2} in chunks; {} of {samples} not in chunks yet",
        file as f64 / samples as f64,
        (file - free) as f64 / samples as f64,
        stats.chunk_bytes as f64 / stats.chunk_samples.max(1) as f64,
        stats.hot_samples,
    );
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn rss_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok()).unwrap_or(0)
}
