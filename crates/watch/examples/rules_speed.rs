//! How long 200 rules over 10,000 series take: `cargo xtask bench rules`.
//!
//! A hundred metrics of a hundred series each, an hour of them every 15 s, and rules of the kinds that people write.
//! All groups are evaluated as a server does, one after the other, several times.

use std::time::{Duration, Instant};

use sos_watch::rules::{Environment, Group, GroupState, evaluate, read};
use sos_watch::{Labels, Memory, Options, Sample};

const STEP_MS: i64 = 15_000;
/// An hour of samples.
const STEPS: i64 = 240;
const EVALUATIONS: usize = 9;
/// What one evaluation of all rules may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Rules, with `METRIC` and `HISTOGRAM` for numbers of counters and gauges, and of histograms.
const KINDS: [&str; 20] = [
    "alert: HighMETRIC\n    expr: gauge_METRIC > 95\n    for: 1m",
    "alert: FastMETRIC\n    expr: rate(counter_METRIC_total[5m]) > 9\n    for: 5m",
    "record: job:counter_METRIC:rate5m\n    expr: sum by (job) (rate(counter_METRIC_total[5m]))",
    "record: job:latency_METRIC:p90\n    expr: histogram_quantile(0.9, sum by (job, le) (rate(latency_HISTOGRAM_bucket[5m])))",
    "alert: AbsentMETRIC\n    expr: absent(gauge_METRIC{instance=\"none\"})",
    "alert: MeanHighMETRIC\n    expr: avg_over_time(gauge_METRIC[10m]) > 60\n    for: 10m",
    "alert: ErrorsMETRIC\n    expr: sum by (job) (rate(counter_METRIC_total{code=~\"5..\"}[5m])) / sum by (job) (rate(counter_METRIC_total[5m])) > 0.9",
    "alert: FillingMETRIC\n    expr: predict_linear(gauge_METRIC[30m], 3600) < -100",
    "record: job:gauge_METRIC:spread\n    expr: max by (job) (gauge_METRIC) - min by (job) (gauge_METRIC)",
    "alert: JumpMETRIC\n    expr: gauge_METRIC / (gauge_METRIC offset 5m) > 50",
    "record: instance:share_METRIC\n    expr: gauge_METRIC / on (job) group_left () sum by (job) (gauge_METRIC)",
    "alert: RestartsMETRIC\n    expr: resets(counter_METRIC_total[15m]) > 2",
    "alert: OutOfBandMETRIC\n    expr: gauge_METRIC > 98 or gauge_METRIC < 1",
    "alert: BothMETRIC\n    expr: gauge_METRIC > 90 and on (instance) rate(counter_METRIC_total[5m]) > 5",
    "alert: NobodyMETRIC\n    expr: gauge_METRIC > 99 unless on (instance) counter_METRIC_total",
    "record: job:counter_METRIC:increase1h\n    expr: sum without (instance, code) (increase(counter_METRIC_total[1h]))",
    "alert: TopMETRIC\n    expr: topk(3, gauge_METRIC) > 99",
    "alert: StuckMETRIC\n    expr: changes(gauge_METRIC[15m]) == 0\n    keep_firing_for: 5m",
    "record: job:gauge_METRIC:p95\n    expr: quantile by (job) (0.95, gauge_METRIC)",
    "alert: PeakMETRIC\n    expr: max_over_time(rate(counter_METRIC_total[5m])[15m:1m]) > 20",
];

/// Rules over every series there is.
const WIDE: [&str; 4] = [
    "record: job:series:count\n    expr: count by (job) ({__name__=~\".+\"})",
    "record: instance:counters:sum\n    expr: sum by (instance) ({__name__=~\"counter_.+\"})",
    "alert: AnyHigh\n    expr: max by (instance) ({__name__=~\"gauge_.+\"}) > 99.9",
    "alert: NoInstance\n    expr: absent({instance=\"i-100\"})",
];

fn labels(metric: &str, instance: usize, other: (&str, &str)) -> Labels {
    let (job, instance) = (format!("job-{}", instance % 10), format!("i-{instance}"));
    Labels::new([("__name__", metric), ("job", &job), ("instance", &instance), other])
}

/// 45 counters, 45 gauges and 10 histograms, a hundred series each.
fn series() -> Memory {
    let mut memory = Memory::new();
    // A pseudo-random walk with a fixed seed: the same values each time.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    let samples = |values: &mut dyn FnMut() -> f64| -> Vec<Sample> {
        (0..STEPS).map(|step| Sample { t: step * STEP_MS, v: values() }).collect()
    };
    for metric in 0..45 {
        for instance in 0..100 {
            let code = if instance % 7 == 0 { "500" } else { "200" };
            let mut total = 0.0;
            let counter = samples(&mut || {
                total += (random() * 100.0).floor();
                total
            });
            memory.append(&labels(&format!("counter_{metric}_total"), instance, ("code", code)), counter);
            let gauge = samples(&mut || (random() * 10_000.0).round() / 100.0);
            memory.append(&labels(&format!("gauge_{metric}"), instance, ("code", code)), gauge);
        }
    }
    for metric in 0..10 {
        for instance in 0..10 {
            for (index, le) in
                ["0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"].iter().enumerate()
            {
                let mut step = 0.0;
                let bucket = samples(&mut || {
                    step += 1.0;
                    step * (index + 1) as f64
                });
                memory.append(&labels(&format!("latency_{metric}_bucket"), instance, ("le", le)), bucket);
            }
        }
    }
    memory
}

/// 200 rules in ten groups.
fn groups() -> Result<Vec<Group>, String> {
    let mut text = "groups:\n".to_owned();
    let rules = (0..200).map(|index| match WIDE.get(199 - index) {
        Some(wide) => (*wide).to_owned(),
        None => {
            let (kind, round) = (KINDS[index % KINDS.len()], index / KINDS.len());
            let metric = (round * 7 + index) % 45;
            let texts = [("METRIC", metric), ("HISTOGRAM", metric % 10)];
            texts.iter().fold((*kind).to_owned(), |text, (word, n)| text.replace(word, &n.to_string()))
        }
    });
    for (index, rule) in rules.enumerate() {
        if index % 20 == 0 {
            text.push_str(&format!("- name: g{}\n  rules:\n", index / 20));
        }
        text.push_str(&format!("  - {rule}\n"));
    }
    let rules = read("rules.yml", text.as_bytes());
    Ok(rules.map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect::<String>())?.groups)
}

/// All groups at one time; what the rules gave is stored.
fn evaluate_all(
    groups: &[Group],
    states: &mut [GroupState],
    memory: &mut Memory,
    now_ms: i64,
) -> (Duration, usize) {
    let external = Labels::empty();
    let environment = Environment {
        external_labels: &external,
        external_url: "",
        options: Options::default(),
        elapsed_us: &|| 0,
    };
    let mut samples = Vec::new();
    let started = Instant::now();
    for (group, state) in groups.iter().zip(states) {
        let evaluation = evaluate(group, memory, now_ms, std::mem::take(state), &environment);
        *state = evaluation.state;
        samples.extend(evaluation.samples);
    }
    let took = started.elapsed();
    for new in &samples {
        memory.append(&new.labels, [new.sample]);
    }
    (took, samples.len())
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn main() -> Result<(), String> {
    let mut memory = series();
    let groups = groups()?;
    let mut states = vec![GroupState::default(); groups.len()];
    let end = (STEPS - 1) * STEP_MS;
    let (mut times, mut stored) = (Vec::new(), 0);
    for index in 0..EVALUATIONS {
        let now_ms = end + index as i64 * 1_000;
        let (took, samples) = evaluate_all(&groups, &mut states, &mut memory, now_ms);
        times.push(took);
        stored = samples;
    }
    let failed: Vec<&str> = states
        .iter()
        .flat_map(|state| &state.rules)
        .filter_map(|rule| rule.health.error.as_deref())
        .collect();
    if let Some(error) = failed.first() {
        return Err(format!("{} rules failed, the first: {error}", failed.len()));
    }
    times.sort_unstable();
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "200 rules over 10,000 series: {:.1} ms (median of {EVALUATIONS} evaluations, most {:.1} ms), {stored} samples stored; limit {:.0} ms",
        ms(median),
        ms(most),
        ms(LIMIT)
    );
    if median > LIMIT { Err("slower than promised".to_owned()) } else { Ok(()) }
}
