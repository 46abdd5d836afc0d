//! Measures, and holds to less than a tenth of what was seen.

use std::time::Instant;

use sos_store::{ChannelLimits, ChannelOptions, Channels, NewMessage, Start};

use super::{LEASE, done};
use crate::at;

const BATCH: usize = 1000;

fn batch(from: u64) -> Vec<NewMessage> {
    let one = |n: u64| NewMessage {
        id: format!("urn:meter:reading:{n:012}"),
        key: None,
        time: at(n.cast_signed()),
        body: vec![b'x'; 200],
    };
    (from..from + BATCH as u64).map(one).collect()
}

#[expect(clippy::print_stdout, reason = "figures for whoever runs it")]
fn report(what: &str, messages: u64, since: Instant) -> f64 {
    let rate = messages as f64 / since.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} messages a second");
    rate
}

/// `cargo test --release -p sos-store channels::speed -- --ignored --nocapture`
#[test]
#[ignore = "slow: moves a million messages, waiting for the disk after each thousand"]
fn a_million_durable_messages_are_moved_in_batches() {
    let count: u64 = std::env::var("SOS_MESSAGES").map_or(1_000_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let channels = Channels::open(dir.path(), ChannelOptions::default()).unwrap();
    let limits = ChannelLimits { max_bytes: 64 << 30, max_backlog: u64::MAX, ..ChannelLimits::default() };
    channels.configure("c", limits).unwrap();
    channels.group("c", "g", Start::Earliest).unwrap();

    let start = Instant::now();
    let mut made = std::time::Duration::ZERO;
    for from in (0..count).step_by(BATCH) {
        let making = Instant::now();
        let messages = batch(from);
        made += making.elapsed();
        assert_eq!(channels.append("c", &messages, at(0)).unwrap().stored, BATCH);
    }
    let appended = report("append, 1,000 of 200 bytes each", count, start + made);

    let start = Instant::now();
    let (mut taken, mut spent) = (0, std::time::Duration::ZERO);
    loop {
        let before = Instant::now();
        let deliveries = channels.take("c", "g", BATCH, at(1), LEASE).unwrap();
        spent += before.elapsed();
        if deliveries.is_empty() {
            break;
        }
        taken += deliveries.len() as u64;
        let settled = channels.settle("c", "g", &done(deliveries.iter().map(|d| d.position)), at(1)).unwrap();
        assert_eq!(settled.done, deliveries.len());
    }
    assert_eq!(taken, count);
    let consumed = report("take and settle", count, start);
    println!("  of which take: {spent:?} of {:?}", start.elapsed());

    let start = Instant::now();
    for from in (0..count).step_by(BATCH) {
        assert_eq!(channels.append("c", &batch(from), at(2)).unwrap().duplicates, BATCH);
    }
    report("append of what is there already", count, start);

    drop(channels);
    let start = Instant::now();
    let channels = Channels::open(dir.path(), ChannelOptions::default()).unwrap();
    assert_eq!(channels.lag("c", "g").unwrap().messages, 0);
    println!("open and first look: {:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(channels.append("c", &batch(count), at(3)).unwrap().stored, BATCH);
    println!("first append after it: {:?}", start.elapsed());
    for name in ["channels.db", "channels.db-wal"] {
        println!("{name}: {} MiB", std::fs::metadata(dir.path().join(name)).unwrap().len() >> 20);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    assert!(appended > 10_000.0 && consumed > 10_000.0, "{appended} {consumed}");
}

/// As above, with every message appended, taken and settled alone by several threads.
#[test]
#[ignore = "slow: ten thousand waits for the disk"]
fn single_messages_of_many_threads_share_the_wait_for_the_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let channels = Channels::open(dir.path(), ChannelOptions::default()).unwrap();
    channels.configure("c", ChannelLimits::default()).unwrap();
    for threads in [1_u64, 4, 16] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let channels = &channels;
                scope.spawn(move || {
                    for n in 0..2000 {
                        let id = (threads * 1000 + thread) * 1_000_000 + n;
                        assert_eq!(channels.append("c", &batch(id)[..1], at(0)).unwrap().stored, 1);
                    }
                });
            }
        });
        report(&format!("append, one at a time by {threads} threads"), threads * 2000, start);
    }
}
