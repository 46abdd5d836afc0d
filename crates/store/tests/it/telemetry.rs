use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use sos_store::{Labels, Point, Sample, SeriesId, Store, StoreError};
use sos_units::{Missing, Reading};

use crate::{at, open};

fn sample(series: SeriesId, time: i64, known: i64, value: Reading<f64>) -> Sample {
    Sample { series, time: at(time), known_at: at(known), value }
}

fn all(store: &Store, series: SeriesId, as_known_at: Option<Timestamp>) -> Vec<Point> {
    store.range(series, at(-1_000_000)..at(100_000_000), as_known_at).unwrap()
}

/// What `range` must answer, said in the simplest way.
fn model(samples: &[Sample], series: SeriesId, as_known_at: Option<Timestamp>) -> Vec<Point> {
    let mut latest: BTreeMap<Timestamp, Point> = BTreeMap::new();
    for s in samples.iter().filter(|s| s.series == series && as_known_at.is_none_or(|k| s.known_at <= k)) {
        let point = Point { time: s.time, known_at: s.known_at, value: s.value };
        let newest = latest.entry(s.time).or_insert(point);
        if point.known_at >= newest.known_at {
            *newest = point;
        }
    }
    latest.into_values().collect()
}

#[test]
fn a_year_of_thirty_series_is_kept_exactly_in_three_bytes_per_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let series: Vec<SeriesId> =
        (0..30).map(|n| store.series_id(&format!("home-{n}"), &Labels::new()).unwrap()).collect();
    let value = |tick: i64, n: i64| -> Reading<f64> {
        match (tick * 7 + n) % 501 {
            0 => Err(Missing::Gap),
            r => Ok(((tick % 96 - 48) * (tick % 96 - 48) + r % 97) as f64 / 1e3),
        }
    };
    for tick in 0..6000_i64 {
        if [1030, 3333, 5125].contains(&tick) {
            store = open(dir.path());
        }
        let batch: Vec<Sample> = (0..30)
            .zip(&series)
            .map(|(n, s)| sample(*s, tick * 900, tick * 900 + 900 + (tick + n) % 3, value(tick, n)))
            .collect();
        store.append_samples(&batch).unwrap();
    }
    for (n, s) in (0..30).zip(&series) {
        let points = all(&store, *s, None);
        assert_eq!(points.len(), 6000);
        assert!(
            points.iter().zip(0..).all(|(p, tick)| p.time == at(tick * 900) && p.value == value(tick, n))
        );
    }
    let stats = store.telemetry_stats().unwrap();
    assert_eq!(stats.chunk_samples + stats.hot_samples, 180_000, "none lost, none twice: {stats:?}");
    assert!(stats.chunk_samples > 100_000, "{stats:?}");
    assert!(stats.chunk_bytes < 3 * stats.chunk_samples, "{stats:?}");
    assert!(stats.hot_batches < 5000, "{stats:?}");
    let week = store.range(series[4], at(900_000)..at(900_000 + 604_800), None).unwrap();
    assert_eq!((week.len(), week[0].time), (672, at(900_000)));
}

#[test]
fn a_slow_series_does_not_keep_the_rows_of_a_fast_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fast = store.series_id("fast", &Labels::new()).unwrap();
    let slow = store.series_id("slow", &Labels::new()).unwrap();
    let mut written = Vec::new();
    for tick in 0..12_000_i64 {
        let mut batch = vec![sample(fast, tick, tick, Ok(tick as f64))];
        if tick % 1000 == 0 {
            batch.push(sample(slow, tick, tick, Ok(tick as f64)));
        }
        store.append_samples(&batch).unwrap();
        written.extend(batch);
    }
    assert!(store.telemetry_stats().unwrap().hot_batches < 5000);
    let reopened = Store::open_read_only(dir.path()).unwrap();
    for series in [fast, slow] {
        assert_eq!(all(&store, series, None), model(&written, series, None));
        assert_eq!(all(&reopened, series, None), model(&written, series, None));
    }
}

#[test]
fn series_are_interned_and_unknown_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let labels = Labels::from([("asset".into(), "pv".into())]);
    let id = store.series_id("power_kw", &labels).unwrap();
    assert_eq!(store.series_id("power_kw", &labels).unwrap(), id);
    let other = store.series_id("power_kw", &Labels::new()).unwrap();
    assert_ne!(other, id);
    let listed = store.list_series().unwrap();
    assert_eq!((listed.len(), listed[0].id, &listed[0].labels), (2, id, &labels));
    let empty_dir = tempfile::tempdir().unwrap();
    let empty = open(empty_dir.path());
    let error = empty.append_samples(&[sample(id, 0, 0, Ok(1.0))]).unwrap_err();
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
}

#[test]
fn a_value_that_is_no_number_is_kept_as_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = store.series_id("x", &Labels::new()).unwrap();
    let values = [f64::NAN, f64::INFINITY, 1.5].map(Ok);
    let batch: Vec<Sample> = values.into_iter().zip(0..).map(|(v, t)| sample(id, t, t, v)).collect();
    store.append_samples(&batch).unwrap();
    let read: Vec<_> = all(&store, id, None).iter().map(|p| p.value).collect();
    assert_eq!(read, [Err(Missing::Invalid), Err(Missing::Invalid), Ok(1.5)]);
}

#[test]
fn pruning_drops_old_chunks_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = store.series_id("x", &Labels::new()).unwrap();
    for tick in 0..3000 {
        store.append_samples(&[sample(id, tick, tick, Ok(0.5))]).unwrap();
    }
    assert_eq!(store.prune_samples(at(1500)).unwrap(), 1024);
    assert_eq!(all(&store, id, None).len(), 3000 - 1024);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn revisions_and_late_values_read_back_as_they_were_known(
        plan in prop::collection::vec((0_i64..400, 0_i64..50, 0..2_usize, -5..5_i32), 1..4000),
        known in 0_i64..500,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let ids = ["a", "b"].map(|n| store.series_id(n, &Labels::new()).unwrap());
        let written: Vec<Sample> = plan
            .iter()
            .map(|(time, lag, n, value)| sample(ids[*n], *time, time + lag, Ok(f64::from(*value))))
            .collect();
        for (n, part) in written.chunks(37).enumerate() {
            if n % 40 == 39 {
                drop(store);
                store = open(dir.path());
            }
            store.append_samples(part).unwrap();
        }
        for id in ids {
            prop_assert_eq!(all(&store, id, None), model(&written, id, None));
            prop_assert_eq!(all(&store, id, Some(at(known))), model(&written, id, Some(at(known))));
        }
    }
}

#[test]
fn all_versions_of_a_value_are_kept_and_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let series = store.series_id("forecast", &Labels::new()).unwrap();
    // Each issue tells the next 24 times; 100 of them fill two chunks and some more.
    for issued in 0..100_i64 {
        let batch: Vec<Sample> = (1..=24)
            .map(|lead| sample(series, issued + lead, issued, Ok((issued * 24 + lead) as f64)))
            .collect();
        store.append_samples(&batch).unwrap();
    }
    let versions = store.versions(series, at(50)..at(52)).unwrap();
    let told: Vec<_> = versions.iter().map(|point| (point.time, point.known_at)).collect();
    let wanted: Vec<_> =
        (50..52).flat_map(|time| (time - 24..time).map(move |known| (at(time), at(known)))).collect();
    assert_eq!(told, wanted);
    assert_eq!(versions[0].value, Ok((26 * 24 + 24) as f64));
    let latest = store.range(series, at(50)..at(52), Some(at(40))).unwrap();
    assert!(latest.len() == 2 && latest.iter().all(|point| point.known_at == at(40)));
}
