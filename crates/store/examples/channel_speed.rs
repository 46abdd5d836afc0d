//! How many messages a second a channel takes in and hands out again, every commit waited for on the disk: batches of
//! 1,000 messages of 200 bytes with different ids and keys.
//!
//! `cargo xtask bench call` runs it; `MESSAGES FOLDER` are for a longer look or another disk.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: prints its figures, fails by panicking"
)]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sos_store::{ChannelLimits, ChannelOptions, Channels, NewMessage, Settlement, Start};

const BATCH: usize = 1000;
const BODY: usize = 200;
/// Durable messages a second that a channel must move.
const GOAL: f64 = 100_000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages: usize = arguments.first().map_or(500_000, |text| text.parse().unwrap());
    let folder = match arguments.get(1) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir_in(".").unwrap(),
    };
    let channels = Channels::open(folder.path(), ChannelOptions::default()).unwrap();
    let limits = ChannelLimits { max_backlog: u64::MAX, max_bytes: 8 << 30, ..ChannelLimits::default() };
    channels.configure("c", limits).unwrap();
    channels.group("c", "g", Start::Earliest).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let batches: Vec<Vec<NewMessage>> = (0..messages / BATCH).map(|number| batch(number, now)).collect();

    let begun = Instant::now();
    for batch in &batches {
        assert_eq!(channels.append("c", batch, now).unwrap().stored, BATCH);
    }
    let appended = rate(messages, begun.elapsed());

    let begun = Instant::now();
    let mut settled = 0;
    while settled < messages {
        let taken = channels.take("c", "g", BATCH, now, Duration::from_secs(60)).unwrap();
        assert!(!taken.is_empty(), "{settled} of {messages} were handed out");
        let done: Vec<_> = taken.iter().map(|one| (one.position, Settlement::Done)).collect();
        settled += channels.settle("c", "g", &done, now).unwrap().done;
    }
    let consumed = rate(messages, begun.elapsed());
    println!(
        "embedded channel, {messages} messages of {BODY} bytes in batches of {BATCH}, each commit on the disk:"
    );
    println!("appended        {appended:>10.0} a second");
    println!("taken, settled  {consumed:>10.0} a second");
    let reached = appended >= GOAL && consumed >= GOAL;
    println!("goal: {GOAL:.0} a second: {}", if reached { "reached" } else { "missed" });
}

fn batch(number: usize, now: Timestamp) -> Vec<NewMessage> {
    let message = |at: usize| NewMessage {
        id: format!("meter-{number}-{at}"),
        key: Some(format!("key-{at}")),
        time: now,
        body: format!("{:>width$}", number * BATCH + at, width = BODY).into_bytes(),
    };
    (0..BATCH).map(message).collect()
}

fn rate(messages: usize, took: Duration) -> f64 {
    messages as f64 / took.as_secs_f64()
}
