//! A writing process is killed at seeded moments; nothing it acknowledged may be lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sos_store::{
    Aggregate, Durability, Labels, Matcher, MetricKey, MetricLimits, MetricSample, Options, Sample, Select,
    SeriesRef, Store,
};

use crate::{at, entry};

const DIR: &str = "SOS_STORE_CRASH_DIR";
const KILLS: u64 = 30;

/// Not a test of its own: what the killed process runs. It acknowledges each commit with a line.
#[test]
#[ignore = "child: the process that the crash test kills"]
fn child_of_the_crash_test() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    // Both durabilities must survive the end of the process; the weaker one gives more commits to hit.
    // So few samples in memory that most commits move some into chunks.
    let metrics = MetricLimits { samples_in_memory: 500, ..MetricLimits::default() };
    let options = Options { durability: Durability::Normal, metrics, ..Options::default() };
    let store = Store::open(Path::new(&dir), options).unwrap();
    let lease = store.lock_controller().unwrap();
    let series = store.series_id("x", &Labels::new()).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nepoch {}", lease.epoch()).unwrap();
    loop {
        let seq = store
            .commit(|tx| {
                let seq = tx.journal("ticks", "tick", 1, &[1; 900])?;
                let n = seq.cast_signed();
                assert_eq!(tx.audit(&entry(n))?, seq);
                let sample = |i| Sample {
                    series,
                    time: at(n * 40 + i),
                    known_at: at(n * 40 + i),
                    value: Ok(i as f64),
                };
                assert_eq!(tx.ingest(&scraped(seq), &(0..=i64::MAX))?.accepted, 20);
                tx.append_samples(&(0..40).map(sample).collect::<Vec<_>>())?;
                tx.put_kv("seq", &serde_json::json!(seq))?;
                Ok(seq)
            })
            .unwrap();
        writeln!(out, "done {seq}").unwrap();
        out.flush().unwrap();
    }
}

/// Twenty samples of sixteen series, three of them late.
fn scraped(seq: u64) -> Vec<MetricSample<'static>> {
    const NAMES: [&str; 16] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let n = seq.cast_signed() * 1000;
    let sample = |name, time| MetricSample {
        series: SeriesRef::Key(MetricKey { name, labels: &[] }),
        time,
        value: seq as f64 / 3.0,
    };
    let late = (0..3).map(|i| sample(NAMES[i as usize], n / 2 + 250 + i));
    let other = MetricSample { value: f64::INFINITY, ..sample(NAMES[(seq / 50 % 16) as usize], n + 7) };
    NAMES.iter().map(|name| sample(name, n)).chain(late).chain([other]).collect()
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_of_the_crash_test", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child acknowledge `commits`, kills it, and answers its epoch and the last acknowledged number.
fn run_and_kill(dir: &Path, commits: u64) -> (u64, u64) {
    let mut child = start(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut epoch, mut last, mut seen) = (0, 0, 0);
    let mut killed = false;
    // After the kill the pipe still holds what was acknowledged before it.
    while let Some(Ok(line)) = lines.next() {
        if let Some(n) = line.strip_prefix("epoch ") {
            epoch = n.parse().unwrap();
        }
        if let Some(n) = line.strip_prefix("done ") {
            last = n.parse().unwrap_or(last);
            seen += 1;
        }
        if seen >= commits && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {seen} commits");
    (epoch, last)
}

#[test]
fn no_acknowledged_record_is_lost_when_the_process_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let mut seed = 0x5eed_u64;
    let (mut epoch, mut total) = (0, 0);
    for kill in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (new_epoch, last) = run_and_kill(&dir, seed >> 33 & 127);
        assert!(new_epoch == 0 || new_epoch > epoch, "epoch {new_epoch} after {epoch}");
        epoch = epoch.max(new_epoch);
        total = total.max(last);
        check(&dir, &mut total, kill);
    }
    assert!(total > 500, "{total}");
}

/// Every part of every commit up to the last acknowledged one is there; of a later one all parts or none.
fn check(dir: &Path, total: &mut u64, kill: u64) {
    let store = Store::open(dir, Options::default()).unwrap();
    let summary = store.verify_audit().unwrap();
    assert!(summary.entries >= *total, "kill {kill}: {} of {total} entries", summary.entries);
    let kept = summary.entries;
    assert_eq!(store.read_journal("ticks", 1, 1_000_000).unwrap().len() as u64, kept);
    assert_eq!(store.get_kv("seq").unwrap().and_then(|n| n.as_u64()).unwrap_or(0), kept);
    let readings = |name: &str| name == "x";
    let points: u64 = store
        .list_series()
        .unwrap()
        .iter()
        .filter(|s| readings(&s.name))
        .map(|s| store.range(s.id, at(0)..at(1_000_000_000), None).unwrap().len() as u64)
        .sum();
    assert_eq!(points, kept * 40, "kill {kill}");
    let matchers = [Matcher::not_equal("__name__", "x")];
    let (times, aggregate) = ((0, i64::MAX), Aggregate::Last);
    let all = store.select(&Select { matchers: &matchers, times, aggregate, max_samples: u64::MAX }).unwrap();
    assert_eq!(all.samples, kept * 20, "kill {kill}");
    *total = kept;
}
