//! The gateway beside nginx: CPU for each 10,000 requests, and what is added to the latency at a fixed rate.
//!
//! A service (two replicas), nginx with two workers and our gateway with two are processes of their own. The load comes from threads
//! here that block, so that the time of a request is that of its bytes. All sides have their turn in each round, one after
//! the other, so that they see the same machine.
//!
//! `cargo xtask bench gateway` runs it; `SECONDS ROUNDS` are for a quick look. `SOS_NGINX` names an nginx,
//! `SOS_BENCH_OTHER` another proxy to be measured: a program that is called with where to listen and whom to ask.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement: prints its figures, fails by panicking, sends at fixed times"
)]

mod load;
mod sides;

use std::time::Duration;

use load::Load;
use sides::{Side, Sides};

/// Requests in a second of the fixed rate.
const RATE: f64 = 1000.0;
/// Connections of clients.
const CONNECTIONS: usize = 32;
/// CPU beside nginx's, and latency added at the 99th percentile.
const GOAL_CPU: f64 = 1.25;
const GOAL_P99: Duration = Duration::from_millis(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => return sides::serve(),
        Some("gateway") => return sides::gateway(&arguments[1..]),
        _ => {}
    }
    let number = |at: usize, usual: f64| arguments.get(at).map_or(usual, |text| text.parse().unwrap());
    let (seconds, rounds) = (Duration::from_secs_f64(number(0, 5.0)), number(1, 5.0) as usize);
    let sides = Sides::start();
    let mut results: Vec<Result> = sides.all().map(Result::new).collect();
    for _ in 0..rounds {
        for result in &mut results {
            result.measure(seconds);
        }
    }
    report(&results);
}

/// What one side showed, round by round.
struct Result<'a> {
    side: &'a Side,
    /// CPU seconds for each 10,000 requests as fast as they go, and at the fixed rate.
    cpu: Vec<f64>,
    cpu_paced: Vec<f64>,
    per_second: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

impl<'a> Result<'a> {
    fn new(side: &'a Side) -> Self {
        Self { side, cpu: vec![], cpu_paced: vec![], per_second: vec![], p50: vec![], p99: vec![] }
    }

    fn measure(&mut self, seconds: Duration) {
        // Connections are made first; they are not what is measured.
        load::run(self.side.address, CONNECTIONS, Load::Closed, Duration::from_millis(300));
        let before = self.side.cpu();
        let closed = load::run(self.side.address, CONNECTIONS, Load::Closed, seconds);
        let per = |cpu: f64, count: usize| cpu / count as f64 * 10_000.0;
        self.cpu.push(per(self.side.cpu() - before, closed.len()));
        self.per_second.push(closed.len() as f64 / seconds.as_secs_f64());
        let before = self.side.cpu();
        let mut paced = load::run(self.side.address, CONNECTIONS, Load::Paced(RATE), seconds);
        self.cpu_paced.push(per(self.side.cpu() - before, paced.len()));
        paced.sort_unstable();
        self.p50.push(paced[paced.len() / 2]);
        self.p99.push(paced[paced.len() * 99 / 100]);
    }
}

fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.partial_cmp(other).unwrap());
    sorted[sorted.len() / 2]
}

fn report(results: &[Result<'_>]) {
    println!(
        "{:<9} {:>12} {:>22} {:>22} {:>11} {:>11}",
        "", "requests/s", "CPU s per 10,000", "the same at 1,000/s", "p50 [ms]", "p99 [ms]"
    );
    for result in results {
        println!(
            "{:<9} {:>12.0} {:>22.3} {:>22.3} {:>11.3} {:>11.3}",
            result.side.name,
            median(&result.per_second),
            median(&result.cpu),
            median(&result.cpu_paced),
            median(&result.p50).as_secs_f64() * 1e3,
            median(&result.p99).as_secs_f64() * 1e3,
        );
    }
    let of = |name: &str| results.iter().find(|result| result.side.name == name);
    let (Some(direct), Some(ours)) = (of("direct"), of("gateway")) else { return };
    let added = median(&ours.p99).saturating_sub(median(&direct.p99));
    let verdict = |met: bool| if met { "reached" } else { "missed" };
    println!(
        "\np99 added at {RATE} requests/s: {:.3} ms, goal below 1 ms: {}",
        added.as_secs_f64() * 1e3,
        verdict(added < GOAL_P99)
    );
    let Some(nginx) = of("nginx") else {
        println!("no nginx was found (Debian's package nginx-light, or SOS_NGINX): no comparison");
        return;
    };
    for (what, ours, theirs) in [
        ("as fast as they go", &ours.cpu, &nginx.cpu),
        ("at 1,000 requests/s", &ours.cpu_paced, &nginx.cpu_paced),
    ] {
        // Round by round, as both sides of a round saw the same machine.
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&ratios);
        println!("CPU beside nginx, {what}: {ratio:.2}, goal {GOAL_CPU}: {}", verdict(ratio <= GOAL_CPU));
    }
}
