//! How long evaluation takes, against what is promised for it.

use std::time::{Duration, Instant};

use sos_watch::{Answer, Labels, Memory, Options, Query, Sample};

/// `requests_total{job,instance,path}` and `up{job,instance}`: a sample a minute over `minutes`.
fn memory(series: usize, minutes: i64) -> Memory {
    let mut memory = Memory::new();
    for n in 0..series {
        let (job, instance, path) = ((n % 20).to_string(), (n % 500).to_string(), (n / 500).to_string());
        let labels = Labels::new([
            ("__name__", "requests_total"),
            ("job", job.as_str()),
            ("instance", instance.as_str()),
            ("path", path.as_str()),
        ]);
        let slope = (n % 7) as f64 + 0.5;
        memory.append(&labels, (0..minutes).map(|m| Sample { t: m * 60_000, v: m as f64 * slope }));
    }
    memory
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn timed(name: &str, work: impl FnOnce() -> usize) -> Duration {
    let start = Instant::now();
    let series = work();
    let took = start.elapsed();
    println!("promql speed: {name}: {:.1} ms, {series} series", took.as_secs_f64() * 1000.0);
    took
}

fn count(answer: Result<Answer, sos_watch::Error>) -> usize {
    match answer.unwrap() {
        Answer::Vector(series) | Answer::Matrix(series) => series.len(),
        Answer::Scalar(_) | Answer::Text(..) => 1,
    }
}

/// `cargo test --release -p sos-watch speed -- --ignored --nocapture`
#[test]
#[ignore = "slow: times want an idle machine"]
fn a_day_of_a_thousand_series_takes_less_than_300_ms() {
    let memory = memory(1_000, 1_441);
    let end = 1_440 * 60_000;
    let queries = [
        "requests_total",
        "rate(requests_total[5m])",
        "sum by (job) (rate(requests_total[5m]))",
        "requests_total / ignoring () requests_total",
        "max_over_time(requests_total[10m])",
        "topk(5, requests_total)",
        "quantile by (job) (0.9, requests_total)",
        "requests_total * on (job) group_left sum by (job) (requests_total)",
    ];
    for text in queries {
        let query = Query::parse(text).unwrap();
        let took = timed(text, || count(query.range(&memory, 0, end, 60_000, &Options::default())));
        assert!(took < Duration::from_millis(300), "{text} took {took:?}");
    }
}

#[test]
#[ignore = "slow: times want an idle machine"]
fn two_hundred_rules_over_ten_thousand_series_take_less_than_a_second() {
    let memory = memory(10_000, 61);
    let kinds = [
        "sum by (job) (rate(requests_total{path=\"PATH\"}[5m])) > 0.5",
        "rate(requests_total{path=\"PATH\"}[5m]) > 0.1",
        "avg without (instance) (requests_total{path=\"PATH\"}) / 100",
        "requests_total{path=\"PATH\"} == 0",
        "count(requests_total{path=~\"PATH|X\"} > 5) by (job)",
    ];
    let rules: Vec<Query> = (0..200)
        .map(|n| Query::parse(&kinds[n % 5].replace("PATH", &(n / 5 % 20).to_string())).unwrap())
        .collect();
    let all: Vec<Query> = ["sum by (job) (rate(requests_total[5m]))", "requests_total > 1e9"]
        .iter()
        .map(|q| Query::parse(q).unwrap())
        .collect();
    let options = Options::default();
    let took = timed("200 rules, each over 500 of 10,000 series", || {
        rules.iter().map(|rule| count(rule.instant(&memory, 3_600_000, &options))).sum()
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    let took = timed("200 rules, each over all 10,000 series", || {
        (0..200).map(|n| count(all[n % 2].instant(&memory, 3_600_000, &options))).sum()
    });
    assert!(took < Duration::from_secs(3), "two million series took {took:?}");
}
