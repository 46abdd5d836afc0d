//! Workflows of three calls to a stub, started over HTTP and waited for: `sos up` beside Restate, by turns, with the same stub and
//! the same generator. A run counts when its answer has come, which both give once its last record is kept.
//!
//! Arguments: SECONDS ROUNDS, or `sleeping` COUNT for what runs cost that wait. `SOS_BENCH_SOS` names the built sos.

mod sides;

use std::time::{Duration, Instant};

use sides::{Side, Stub};

/// Clients at the same time.
const CLIENTS: [usize; 3] = [1, 16, 128];

/// What one round gave: runs a second, and the median and the 99th percentile of their times in ms.
struct Measured {
    per_second: f64,
    median: f64,
    high: f64,
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("sleeping") {
        let count = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(100_000);
        return sides::sleeping(count).await;
    }
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let seconds = numbers.first().copied().unwrap_or(8.0);
    let rounds = numbers.get(1).copied().unwrap_or(3.0) as usize;
    let stub = Stub::start().await;
    let sides = [sides::sos(&stub).await, sides::restate(&stub).await];
    for side in sides.iter().flatten() {
        // Connections are made, code is warm.
        drop(load(side, 16, Duration::from_secs(2)).await);
    }
    for clients in CLIENTS {
        let mut all: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            let order: Vec<usize> = if round % 2 == 0 { vec![0, 1] } else { vec![1, 0] };
            for number in order {
                let Some(side) = &sides[number] else { continue };
                let before = stub.answered();
                let measured = load(side, clients, Duration::from_secs_f64(seconds)).await;
                let calls = (stub.answered() - before) as f64;
                let runs = measured.per_second * seconds;
                assert!(calls >= 3.0 * runs, "{}: {calls} calls for {runs} runs", side.name);
                all[number].push(measured);
            }
        }
        let mut best = Vec::new();
        for (side, mut measured) in sides.iter().zip(all) {
            let Some(side) = side else { continue };
            measured.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
            let middle = &measured[measured.len() / 2];
            println!(
                "{:<8} {clients:>4} clients {:>8.0} runs/s  p50 {:>7.2} ms  p99 {:>7.2} ms",
                side.name, middle.per_second, middle.median, middle.high
            );
            best.push(middle.per_second);
        }
        if let [sos, restate] = best.as_slice() {
            println!("         {clients:>4} clients {:>8.1} times as many", sos / restate);
        }
    }
}

async fn load(side: &Side, clients: usize, lasts: Duration) -> Measured {
    let began = Instant::now();
    let end = began + lasts;
    let work = (0..clients).map(|_| {
        let side = side.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                side.run().await;
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            times
        })
    });
    let mut times = Vec::new();
    for client in work.collect::<Vec<_>>() {
        times.extend(client.await.unwrap());
    }
    let took = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Measured { per_second: times.len() as f64 / took, median: at(0.5), high: at(0.99) }
}
