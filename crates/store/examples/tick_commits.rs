//! Measures what the store costs a control loop: one transaction per tick with 30 samples, 5 audit entries of about
//! 300 bytes and a journal record of 2 KB.
//!
//! `cargo run --release -p sos-store --example tick_commits [-- TICKS [full]]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program answers on stdout")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sos_store::{AuditEntry, Durability, Labels, Options, Sample, SeriesId, Store};

const SERIES: u32 = 30;

fn main() {
    let mut args = std::env::args().skip(1);
    let ticks: u32 = args.next().map_or(20_000, |n| n.parse().unwrap());
    let durability = if args.next().is_some() { Durability::Full } else { Durability::Normal };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options { durability, ..Options::default() }).unwrap();
    let series: Vec<SeriesId> = (0..SERIES)
        .map(|n| store.series_id("power_kw", &Labels::from([("asset".into(), n.to_string())])).unwrap())
        .collect();
    let before = rss_kib();
    appends(&store, &series, ticks);
    batches(&store, &series, ticks);
    let stats = store.telemetry_stats().unwrap();
    println!(
        "telemetry: {} samples in chunks, {:.2} bytes each; {} hot rows",
        stats.chunk_samples,
        stats.chunk_bytes as f64 / stats.chunk_samples.max(1) as f64,
        stats.hot_batches
    );
    println!("resident memory: {before} KiB before, {} KiB after", rss_kib());
    for name in ["sos.db", "sos.db-wal"] {
        println!("{name}: {} KiB", std::fs::metadata(dir.path().join(name)).unwrap().len() / 1024);
    }
    let start = Instant::now();
    let from = time(ticks, 0) - SignedDuration::from_hours(24 * 7);
    let read = store.range(series[3], from..time(ticks, 0), None).unwrap();
    println!("range: {} points in {:?}", read.len(), start.elapsed());
    let start = Instant::now();
    let summary = store.verify_audit().unwrap();
    println!("audit verify: {} entries in {:?}", summary.entries, start.elapsed());
}

fn appends(store: &Store, series: &[SeriesId], ticks: u32) {
    let mut spent = Vec::new();
    for tick in 0..ticks {
        let samples = samples(series, tick, 0);
        let start = Instant::now();
        store.append_samples(&samples).unwrap();
        spent.push(start.elapsed());
    }
    print("append of 30 samples", spent);
}

fn batches(store: &Store, series: &[SeriesId], ticks: u32) {
    let record = vec![7_u8; 2048];
    let mut spent = Vec::new();
    for tick in 0..ticks {
        let samples = samples(series, tick, 20);
        let entries: Vec<AuditEntry> = (0..5).map(|n| entry(tick, n)).collect();
        let start = Instant::now();
        store
            .commit(|tx| {
                entries.iter().try_for_each(|e| tx.audit(e).map(drop))?;
                tx.append_samples(&samples)?;
                tx.journal("site/fontana", "tick", 1, &record)?;
                tx.put_kv("site-clock", &serde_json::json!({ "tick": tick }))
            })
            .unwrap();
        spent.push(start.elapsed());
    }
    print("whole tick", spent);
}

/// The second pass gets its own year, `years` after the first one.
fn time(tick: u32, years: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(tick) * 900 + years * 31_536_000)
}

/// A household-like day curve with noise, measured to 1 W.
fn samples(series: &[SeriesId], tick: u32, years: i64) -> Vec<Sample> {
    let time = time(tick, years);
    let day = f64::from(tick % 96) / 96.0 * std::f64::consts::TAU;
    let one = |series: SeriesId, n: u32| {
        let mut noise = (u64::from(tick) << 8 | u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        noise = (noise ^ (noise >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let kw = 1.2 + 0.8 * (day + f64::from(n)).sin() + (noise >> 40) as f64 / f64::from(1_u32 << 24) * 0.2;
        let known_at = time + SignedDuration::from_millis(900_000 + i64::from(noise as u8 & 63));
        Sample { series, time, known_at, value: Ok((kw * 1e3).round() / 1e3) }
    };
    series.iter().zip(0..).map(|(s, n)| one(*s, n)).collect()
}

fn entry(tick: u32, n: u32) -> AuditEntry {
    AuditEntry {
        time: time(tick, 20),
        who: "controller epoch 7".into(),
        what: "set-point".into(),
        target: format!("Asset/home-{n}-battery"),
        why: "charging: solar surplus now, evening price 0.54 USD/kWh later; limit of the connection not binding".into(),
        before: Some(serde_json::json!({ "power_kw": 0.0, "lease": "2017-01-01T00:00:30Z", "soc": 0.51 })),
        after: Some(serde_json::json!({ "power_kw": -1.5, "lease": "2017-01-01T00:00:40Z", "soc": 0.52 })),
    }
}

fn print(what: &str, mut spent: Vec<Duration>) {
    let mean = spent.iter().sum::<Duration>() / spent.len().max(1) as u32;
    spent.sort();
    let at = |q: usize| spent[(spent.len() * q / 1000).min(spent.len() - 1)];
    println!("{what}: mean {mean:?}, p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1000));
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok()).unwrap_or(0)
}
