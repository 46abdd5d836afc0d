//! Speed of plans: `cargo bench -p sos-dispatch`. Prints figures; no thresholds, they belong to the loop's bench.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints figures and may fail loudly")]

#[path = "../tests/it/make.rs"]
mod make;

use std::time::Instant;

use sos_dispatch::{Budget, perfect, solve, verify};
use sos_units::Price;

fn main() {
    for (name, work, negative) in
        [("no work", 0, false), ("one work", 1, false), ("one work, negative prices at noon", 1, true)]
    {
        let mut times = Vec::new();
        let (mut single, mut branched, mut programmes, mut iterations) = (0, 0, 0, 0);
        let mut worst_gap = 0.0_f64;
        let rounds = if negative { 50 } else { 1000 };
        for seed in 0..rounds {
            let mut problem = make::homes(seed, 48, 5, work);
            if negative {
                // Paid to import for some hours: plans would burn energy if they could.
                problem.connection.import_price[8..14].fill(Price::per_kwh(-0.2));
            }
            let start = Instant::now();
            let solved = solve(&problem, &Budget::default()).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            single += u32::from(solved.stats.one_by_one);
            branched += solved.stats.branched;
            programmes += solved.stats.programmes;
            iterations += solved.stats.iterations;
            worst_gap = worst_gap.max(solved.gap);
            let found = verify(&problem, &solved.schedule);
            assert!(found.violations.is_empty(), "seed {seed}: {:?}", found.violations);
        }
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "48 h, 5 batteries, {name}: mean {mean:.2} ms, p50 {:.2}, p99 {:.2}, max {:.2}; {single} one by one, {branched} branched, {programmes} programmes, {iterations} iterations, worst gap {worst_gap:.1e}",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
    }
    for (steps, work) in [(8_784, 0), (8_784, 366), (35_040, 0)] {
        let problem = make::year(1, steps, 5, work);
        let start = Instant::now();
        let solved = perfect(&problem).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let found = verify(&problem, &solved.schedule);
        println!(
            "{steps} steps, 5 equal batteries, {work} work: {seconds:.1} s, gap {:.1e}, verified bound {:?}, {:?}, {} violations, {:?}, peak {} MB",
            solved.gap,
            found.bound.map(|b| b.get()),
            solved.objective,
            found.violations.len(),
            solved.stats,
            peak_mb()
        );
    }
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
