//! What must hold for any series and many queries.

use proptest::prelude::*;
use sos_watch::{Answer, Labels, Memory, Options, Query, ResultSeries, STALE, Sample, notation};

/// Queries of every kind over `m{a,b}` and `n{a}`.
const QUERIES: [&str; 24] = [
    "m",
    "m offset 30s",
    "-m",
    "sum by (a) (m)",
    "avg(m)",
    "stddev without (b) (m)",
    "quantile by (b) (0.3, m)",
    "topk(2, m)",
    "count_values(\"v\", round(m / 50))",
    "rate(m[2m])",
    "increase(m[90s] offset 15s)",
    "max_over_time(m[1m]) - min_over_time(m[1m])",
    "deriv(m[3m])",
    "predict_linear(m[2m], 60)",
    "sum_over_time(sum(m)[2m:20s])",
    "max_over_time(rate(m[1m])[3m:30s])",
    "m > 20",
    "m > bool on (a) group_left n",
    "m / on (a) group_left n",
    "sum by (a) (m) + on (a) n",
    "m and on (a) (n > 10)",
    "m unless on (a) (n > 10)",
    "n or on (a) sum by (a) (m)",
    "absent(m{a=\"0\"}) or timestamp(n)",
];

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        8 => (-100..100_i32).prop_map(|v| Some(f64::from(v))),
        2 => Just(None),
        1 => Just(Some(STALE)),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(f64::INFINITY)),
    ]
}

fn memory() -> impl Strategy<Value = Memory> {
    let series = proptest::collection::vec(proptest::collection::vec(value(), 0..40), 6);
    series.prop_map(|series| {
        let mut memory = Memory::new();
        for (index, values) in series.iter().enumerate() {
            let (a, b) = ((index % 2).to_string(), (index / 2).to_string());
            let labels = match index {
                0..4 => Labels::new([("__name__", "m"), ("a", &a), ("b", &b)]),
                _ => Labels::new([("__name__", "n"), ("a", &a)]),
            };
            memory.append(&labels, notation::samples(values, 0, 15_000));
        }
        memory
    })
}

/// By labels, values as bits so that NaN equals itself.
fn sorted(series: Vec<ResultSeries>) -> Vec<(Labels, u64)> {
    let mut pairs: Vec<_> = series.into_iter().map(|s| (s.labels, canonical(s.samples[0].v))).collect();
    pairs.sort();
    pairs
}

fn canonical(v: f64) -> u64 {
    if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_range_query_gives_at_each_step_what_an_instant_query_gives_there(
        memory in memory(),
        which in 0..QUERIES.len(),
        start in -60_000..500_000_i64,
        step in 1_000..70_000_i64,
        count in 1..12_i64,
    ) {
        let query = Query::parse(QUERIES[which]).unwrap();
        let options = Options::default();
        let end = start + step * (count - 1);
        let range = match query.range(&memory, start, end, step, &options) {
            Ok(Answer::Matrix(series)) => series,
            // What clashes at a step clashes in the range.
            Err(_) => {
                let steps = (0..count).map(|i| start + step * i);
                prop_assert!(steps.into_iter().any(|t| query.instant(&memory, t, &options).is_err()));
                return Ok(());
            }
            Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        for t in (0..count).map(|i| start + step * i) {
            let there = range.iter().filter_map(|series| {
                let sample = series.samples.iter().find(|sample| sample.t == t)?;
                Some(ResultSeries { labels: series.labels.clone(), samples: vec![*sample] })
            });
            let Ok(Answer::Vector(instant)) = query.instant(&memory, t, &options) else {
                return Err(TestCaseError::fail("an instant query failed where the range query did not"));
            };
            prop_assert_eq!(sorted(there.collect()), sorted(instant), "{} at {}", QUERIES[which], t);
        }
    }

    #[test]
    fn series_of_a_result_are_unique_and_their_samples_ordered(memory in memory(), which in 0..QUERIES.len()) {
        let query = Query::parse(QUERIES[which]).unwrap();
        if let Ok(Answer::Matrix(series)) = query.range(&memory, 0, 600_000, 20_000, &Options::default()) {
            prop_assert!(series.is_sorted_by(|a, b| a.labels < b.labels));
            let ordered = |samples: &[Sample]| samples.is_sorted_by(|a, b| a.t < b.t);
            prop_assert!(series.iter().all(|s| !s.samples.is_empty() && ordered(&s.samples)));
        }
    }

    #[test]
    fn a_query_cut_anywhere_is_read_or_refused_but_never_panics(which in 0..QUERIES.len(), at in 0..60_usize, c in any::<char>()) {
        let mut text: Vec<char> = QUERIES[which].chars().collect();
        let at = at.min(text.len());
        text.insert(at, c);
        let text: String = text.into_iter().collect();
        if let Err(error) = Query::parse(&text) {
            prop_assert!(error.span().start <= text.len());
        }
        let cut: String = QUERIES[which].chars().take(at).collect();
        let _ = Query::parse(&cut);
    }

    #[test]
    fn any_text_is_read_or_refused_but_never_panics(text in "\\PC{0,40}", notes in "[a-z0-9x+_ .{}=\"-]{0,30}") {
        let _ = Query::parse(&text);
        let _ = notation::parse(&notes);
        let _ = sos_watch::duration::parse(&text);
    }
}

#[test]
fn a_printed_query_reads_back_as_itself() {
    for query in QUERIES {
        let printed = Query::parse(query).unwrap().to_string();
        assert_eq!(Query::parse(&printed).unwrap().to_string(), printed);
    }
}
