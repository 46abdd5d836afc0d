//! What a query may cost, and that it is refused with the count.

use std::cell::Cell;

use sos_watch::{Answer, ErrorKind, Limits, Memory, Options, Query, notation};

/// Series `x{n="…"}` with a sample every 15 s for an hour.
fn memory(series: usize) -> Memory {
    let mut memory = Memory::new();
    for n in 0..series {
        let (labels, values) = notation::parse(&format!("x{{n=\"{n}\"}} 0+1x240")).unwrap();
        memory.append(&labels, notation::samples(&values, 0, 15_000));
    }
    memory
}

fn refused(query: &str, end_ms: i64, step_ms: i64, limits: Limits) -> String {
    let options = Options { limits, ..Options::default() };
    let error = Query::parse(query).unwrap().range(&memory(10), 0, end_ms, step_ms, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooMuch, "{error}");
    error.to_string()
}

#[test]
fn steps_samples_points_and_touches_are_bounded_and_counted() {
    let limits = Limits { max_samples: 3_000, max_touched: 100_000, max_steps: 11_000 };
    assert!(refused("1", 11_000_000, 1_000, limits).contains("would have 11001 steps, 11000 are allowed"));
    let few = Limits { max_samples: 2_000, ..limits };
    assert!(
        refused("x", 3_600_000, 60_000, few)
            .contains("would load 2410 samples into memory, 2000 are allowed")
    );
    let message = refused("x", 3_600_000, 6_000, limits);
    assert!(
        message.contains("would hold 6010 points (10 series at 601 steps), 3000 are allowed"),
        "{message}"
    );
    // 241 steps look at up to 241 samples of 10 series: 10 × 241 × 242 / 2, beside what was loaded and made.
    let message = refused("rate(x[1h])", 3_600_000, 15_000, limits);
    assert!(message.contains("would touch 296430 samples, 100000 are allowed"), "{message}");
}

#[test]
fn a_subquery_of_endless_steps_is_refused_before_it_is_made() {
    for query in
        ["sum_over_time(vector(1)[100y:1ms])", "sum_over_time(x[290y:1s])", "rate((x)[1y:1s] @ start())"]
    {
        let message = refused(query, 0, 1, Limits::default());
        assert!(message.contains("steps, 50000000 are allowed") || message.contains("3153600"), "{message}");
    }
}

#[test]
fn times_at_the_ends_of_all_time_do_no_harm() {
    let memory = memory(1);
    let options = Options::default();
    for query in [
        "x",
        "rate(x[290y])",
        "x offset 290y",
        "x offset -290y",
        "sum_over_time(x[1m:1s] @ -9223372036)",
        "year()",
    ] {
        let query = Query::parse(query).unwrap();
        for t in [i64::MIN, i64::MIN / 4, -1, 0, i64::MAX / 4, i64::MAX] {
            let _ = query.instant(&memory, t, &options);
            let _ = query.range(&memory, t, t.saturating_add(1), 1, &options);
            let _ = query.range(&memory, t, i64::MAX / 4, i64::MAX, &options);
        }
    }
    assert!(Query::parse("x").unwrap().range(&memory, 1, 0, 1, &options).is_err());
    assert!(Query::parse("x").unwrap().range(&memory, 0, 1, 0, &options).is_err());
}

#[test]
fn the_caller_can_stop_a_query_within_its_work() {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 8
    };
    let options = Options { stop: &stop, ..Options::default() };
    let query = Query::parse("sum(rate(x[1h])) + sum(rate(x[1h]))").unwrap();
    let error = query.range(&memory(20), 0, 3_600_000, 1_000, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped);
    asked.set(-1_000_000);
    assert!(matches!(query.range(&memory(20), 0, 3_600_000, 1_000, &options), Ok(Answer::Matrix(_))));
}
