use jiff::SignedDuration;
use sos_store::{
    Aggregate, Labels, Maintained, Matcher, MetricMetadata, RetentionClass, Sample, Select, Selected,
    SeriesKind, Store,
};

use crate::metrics::{ALWAYS, metric, of, select};
use crate::{at, open};

const DAY: i64 = 86_400;
/// Samples every 15 s for five days.
const TICKS: i64 = 5 * DAY / 15;

fn class(kind: SeriesKind, days: i64) -> RetentionClass {
    RetentionClass {
        kind,
        matchers: Vec::new(),
        samples: SignedDuration::from_hours(24 * days),
        five_minutes: Some(SignedDuration::from_hours(36)),
        hours: Some(SignedDuration::from_hours(24 * 30)),
    }
}

/// Maintains until everything is done; answers the sums.
fn maintain(store: &Store, now: i64, classes: &[RetentionClass]) -> Maintained {
    let mut sum = Maintained::default();
    for _ in 0..10_000 {
        let done = store.maintain(at(now), classes).unwrap();
        sum.dropped_samples += done.dropped_samples;
        sum.made_steps += done.made_steps;
        sum.dropped_steps += done.dropped_steps;
        sum.vanished += done.vanished;
        let idle = (done.dropped_samples, done.dropped_steps, done.vanished) == (0, 0, 0);
        if done.all_done && idle {
            return sum;
        }
    }
    panic!("maintenance never ends: {sum:?}");
}

fn counter(tick: i64) -> f64 {
    // Reset every 1,111 ticks.
    ((tick % 1111) * 7) as f64
}

fn filled(store: &Store) {
    let id = metric(store, "requests_total", &[]);
    for part in (0..TICKS).collect::<Vec<_>>().chunks(2000) {
        let batch: Vec<_> = part.iter().map(|tick| of(id, tick * 15_000, counter(*tick))).collect();
        store.ingest(&batch, &ALWAYS).unwrap();
    }
}

fn read(store: &Store, times: (i64, i64), aggregate: Aggregate) -> Selected {
    let matchers = [Matcher::name("requests_total")];
    let select = Select { matchers: &matchers, times, aggregate, max_samples: u64::MAX };
    store.select(&select).unwrap().series.remove(0)
}

#[test]
fn old_samples_become_steps_from_which_every_statistic_is_still_right() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    filled(&store);
    let classes = [class(SeriesKind::Metric, 1)];
    let done = maintain(&store, 5 * DAY, &classes);
    // Everything older than a day went, but for chunks that reach into it; five-minute steps stay until
    // their whole chunk is older than 36 hours.
    assert!(done.dropped_samples > 4 * DAY as u64 / 15 - 700, "{done:?}");
    assert_eq!(done.made_steps, 4 * 288 + 4 * 24);

    let whole = (0, i64::MAX);
    let shown = read(&store, whole, Aggregate::Average);
    assert!(shown.hours >= 24 && shown.five_minutes >= 100, "{} {}", shown.hours, shown.five_minutes);
    let steps = shown.hours + shown.five_minutes;
    assert_eq!((shown.times.len() - steps) as i64, DAY / 15, "a day of samples");
    assert!(shown.times.is_sorted_by(|a, b| a < b));
    for (aggregate, of) in [
        (Aggregate::Sum, (|v| v.iter().sum()) as fn(&[f64]) -> f64),
        (Aggregate::Count, |v| v.len() as f64),
        (Aggregate::Min, |v| v.iter().copied().fold(f64::INFINITY, f64::min)),
        (Aggregate::Max, |v| v.iter().copied().fold(0.0, f64::max)),
        (Aggregate::Last, |v| v[v.len() - 1]),
        (Aggregate::Average, |v| v.iter().sum::<f64>() / v.len() as f64),
    ] {
        let shown = read(&store, whole, aggregate);
        for (i, (time, value)) in shown.times.iter().zip(&shown.values).enumerate().take(steps) {
            let step = if i < shown.hours { 240 } else { 20 };
            let last = time / 15_000;
            let values: Vec<f64> = (last + 1 - step..=last).map(counter).collect();
            assert_eq!(value.to_bits(), of(&values).to_bits(), "{aggregate:?} at {time}");
        }
    }
    // The counter has risen by as much as its samples did.
    let increase = |values: &[f64]| -> f64 {
        values.windows(2).map(|w| if w[1] < w[0] { w[1] } else { w[1] - w[0] }).sum()
    };
    let shown = read(&store, whole, Aggregate::Counter);
    let first = shown.times[0] / 15_000;
    let samples: Vec<f64> = (first..TICKS).map(counter).collect();
    assert_eq!(increase(&shown.values).to_bits(), increase(&samples).to_bits());
    assert!(shown.times.is_sorted_by(|a, b| a < b));

    // A second look finds nothing more to do, and a restart changes nothing.
    assert_eq!(maintain(&store, 5 * DAY, &classes).made_steps, 0);
    drop(store);
    assert_eq!(read(&open(dir.path()), whole, Aggregate::Counter), shown);
}

#[test]
fn steps_made_piece_by_piece_are_those_made_at_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stores = [open(dirs[0].path()), open(dirs[1].path())];
    let classes = [class(SeriesKind::Metric, 1)];
    for store in &stores {
        filled(store);
    }
    for hour in 0..=120 {
        maintain(&stores[0], hour * 3600, &classes);
    }
    maintain(&stores[1], 5 * DAY, &classes);
    let both = stores.each_ref().map(|store| read(store, (0, 4 * DAY * 1000 - 1), Aggregate::Counter));
    // Which five-minute steps are gone depends on the chunks; where both have the same steps they are equal.
    let hours = both[0].hours.min(both[1].hours);
    assert!(hours >= 23);
    assert_eq!(both[0].values[..hours], both[1].values[..hours]);
    assert_eq!(both[0].values.last(), both[1].values.last());
}

#[test]
fn a_series_of_which_nothing_is_left_vanishes_with_its_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let about =
        |name: &str| MetricMetadata { name: name.into(), kind: "gauge".into(), ..MetricMetadata::default() };
    store.put_metadata(&[about("old"), about("requests")]).unwrap();
    let old = metric(&store, "old", &[("a", "b")]);
    filled(&store);
    let unused = metric(&store, "unused", &[]);
    let last = metric(&store, "last", &[]);
    store.ingest(&[of(old, 1000, 1.0)], &ALWAYS).unwrap();
    let kept = RetentionClass { hours: None, five_minutes: None, ..class(SeriesKind::Metric, 1) };
    let names = |store: &Store| -> Vec<String> {
        store.list_series().unwrap().into_iter().map(|series| series.name).collect()
    };
    maintain(&store, DAY, std::slice::from_ref(&kept));
    assert!(names(&store).contains(&"old".to_owned()), "not before its time");
    let done = maintain(&store, 3 * DAY, &[kept]);
    assert_eq!((done.vanished, done.made_steps), (2, 0), "{done:?}");
    assert_eq!(names(&store), ["requests_total", "last"]);
    let known: Vec<_> = store.metadata(None).unwrap().into_iter().map(|m| m.name).collect();
    assert_eq!(known, ["requests"]);
    let report =
        store.ingest(&[of(old, DAY * 3000, 1.0), of(unused, 0, 1.0), of(last, 0, 1.0)], &ALWAYS).unwrap();
    assert_eq!((report.unknown, report.accepted), (2, 1));
    assert_ne!(metric(&store, "old", &[("a", "b")]), old, "ids are never used twice");
    assert_eq!(store.label_values("a", &[], None).unwrap().len(), 1);
}

#[test]
fn readings_lose_nothing_unless_a_class_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = store.series_id("power_kw", &Labels::new()).unwrap();
    for day in 0..40_i64 {
        let of = |i: i64| {
            let time = at(day * DAY + i * 900);
            Sample { series: id, time, known_at: time, value: Ok((i % 4) as f64) }
        };
        store.append_samples(&(0..96).map(of).collect::<Vec<_>>()).unwrap();
    }
    let all = || store.range(id, at(0)..at(50 * DAY), None).unwrap().len();
    assert_eq!(maintain(&store, 40 * DAY, &[class(SeriesKind::Metric, 1)]), Maintained::default());
    assert_eq!(all(), 40 * 96);
    let done = maintain(&store, 40 * DAY, &[class(SeriesKind::Reading, 5)]);
    assert!(done.dropped_samples > 30 * 96 && all() < 10 * 96, "{done:?}");
    let matchers = [Matcher::name("power_kw")];
    let found = select(&store, &matchers, (0, i64::MAX));
    // Hours of the last thirty days, with the last value of each.
    let shown = &found.series[0];
    assert!(
        shown.hours > 20 * 24 && shown.values[..shown.hours].iter().all(|v| v.to_bits() == 3.0_f64.to_bits())
    );
    assert_eq!(store.list_series().unwrap().len(), 1);
}

#[test]
fn a_call_of_maintenance_does_a_bounded_part_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let ids: Vec<_> = names.iter().map(|n| metric(&store, "m", &[("n", n)])).collect();
    for tick in 0..10_i64 {
        let batch: Vec<_> = ids.iter().map(|id| of(*id, tick * 60_000, tick as f64)).collect();
        store.ingest(&batch, &ALWAYS).unwrap();
    }
    let classes = [class(SeriesKind::Metric, 1)];
    let mut calls = 0;
    let mut dropped = 0;
    loop {
        let done = store.maintain(at(3 * DAY), &classes).unwrap();
        assert!(done.dropped_samples <= 64 * 10, "{done:?}");
        dropped += done.dropped_samples;
        calls += 1;
        if done.all_done {
            break;
        }
    }
    assert_eq!((dropped, calls), (3000, 5));
}
