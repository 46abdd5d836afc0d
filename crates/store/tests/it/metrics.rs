use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sos_store::{
    Aggregate, IngestReport, Labels, Matcher, MetricKey, MetricLimits, MetricMetadata, MetricSample, Options,
    Refusal, STALE, Sample, Select, Selection, SeriesId, SeriesKind, SeriesRef, Store, StoreError,
};
use sos_units::Missing;

use crate::{at, open, options};

pub(crate) const ALWAYS: std::ops::RangeInclusive<i64> = i64::MIN..=i64::MAX;

pub(crate) fn of(series: SeriesId, time: i64, value: f64) -> MetricSample<'static> {
    MetricSample { series: SeriesRef::Id(series), time, value }
}

pub(crate) fn metric(store: &Store, name: &str, labels: &[(&str, &str)]) -> SeriesId {
    store.metric_series(&[MetricKey { name, labels }]).unwrap()[0].unwrap()
}

pub(crate) fn select(store: &Store, matchers: &[Matcher], times: (i64, i64)) -> Selection {
    let select = Select { matchers, times, aggregate: Aggregate::Last, max_samples: u64::MAX };
    store.select(&select).unwrap()
}

fn all(store: &Store, name: &str) -> Vec<(i64, u64)> {
    let found = select(store, &[Matcher::name(name)], (i64::MIN, i64::MAX));
    let points = found.series.iter().flat_map(|s| s.times.iter().copied().zip(&s.values));
    points.map(|(time, value)| (time, value.to_bits())).collect()
}

fn accepted(report: &IngestReport) -> (u64, u64, u64) {
    (report.accepted, report.replaced, report.duplicates)
}

#[test]
fn every_value_comes_back_bit_for_bit_from_memory_from_chunks_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = metric(&store, "odd", &[]);
    let quiet = f64::from_bits(0x7ff8_0000_0000_0001);
    let odd =
        [1.5, STALE, quiet, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MIN_POSITIVE, 1e300];
    let batch: Vec<_> = (0..).zip(odd).map(|(i, v)| of(id, i * 1000, v)).collect();
    let wanted: Vec<_> = (0..).zip(odd).map(|(i, v)| (i * 1000, v.to_bits())).collect();
    assert_eq!(accepted(&store.ingest(&batch, &ALWAYS).unwrap()), (10, 0, 0));
    assert_eq!(all(&store, "odd"), wanted);
    drop(store);
    let store = open(dir.path());
    assert_eq!(all(&store, "odd"), wanted);
    assert_eq!(store.flush_metrics().unwrap(), 10);
    assert_eq!(all(&store, "odd"), wanted);
    assert_eq!(all(&Store::open_read_only(dir.path()).unwrap(), "odd"), wanted);
    assert_eq!(accepted(&store.ingest(&batch, &ALWAYS).unwrap()), (0, 0, 10), "stored NaN are known again");
}

#[test]
fn pages_of_samples_that_went_into_chunks_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids: Vec<SeriesId> = (0..200).map(|i| metric(&store, "many", &[("i", &i.to_string())])).collect();
    for step in 0..100 {
        // Values at full precision fill the log.
        let value = |i: usize| (step as f64 + i as f64).sin();
        let batch: Vec<_> = (0..).zip(&ids).map(|(i, id)| of(*id, step * 1000, value(i))).collect();
        store.ingest(&batch, &ALWAYS).unwrap();
    }
    store.flush_metrics().unwrap();
    let before = all(&store, "many");
    let given = store.shrink(u32::MAX >> 1).unwrap();
    assert!(given > 16, "{given} pages");
    assert_eq!(store.shrink(u32::MAX >> 1).unwrap(), 0, "nothing is left to give");
    assert_eq!(all(&store, "many"), before);
    drop(store);
    assert_eq!(all(&open(dir.path()), "many"), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn late_early_and_repeated_samples_read_back_as_the_last_that_was_told(
        plan in prop::collection::vec((0..3_usize, 0_i64..3000, 0..4_u8, 0..40_u8), 1..4000),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let small = Options { metrics: MetricLimits { samples_in_memory: 300, ..MetricLimits::default() }, ..options() };
        let reopened = || Store::open(dir.path(), small.clone()).unwrap();
        let mut store = reopened();
        let ids = ["a", "b", "c"].map(|name| metric(&store, name, &[]));
        let mut model: [BTreeMap<i64, f64>; 3] = Default::default();
        let mut clock = 0;
        for (n, part) in plan.chunks(97).enumerate() {
            if n % 9 == 8 {
                drop(store);
                store = reopened();
            }
            let mut wanted = (0, 0, 0);
            // Most come in order, some late; a few far ahead, as from a clock that jumped.
            let batch: Vec<_> = part.iter().map(|(which, time, value, kind)| {
                clock += 10;
                let time = match kind { 0 => clock + 100_000, 1..=4 => *time * 10, _ => clock };
                (*which, time, f64::from(*value))
            }).collect();
            for (which, time, value) in &batch {
                match model[*which].insert(*time, *value) {
                    None => wanted.0 += 1,
                    Some(old) if old.to_bits() == value.to_bits() => wanted.2 += 1,
                    Some(_) => wanted = (wanted.0 + 1, wanted.1 + 1, wanted.2),
                }
            }
            let batch: Vec<_> = batch.iter().map(|(which, time, value)| of(ids[*which], *time, *value)).collect();
            prop_assert_eq!(accepted(&store.ingest(&batch, &ALWAYS).unwrap()), wanted);
        }
        for (name, model) in ["a", "b", "c"].iter().zip(&model) {
            let wanted: Vec<_> = model.iter().map(|(t, v)| (*t, v.to_bits())).collect();
            prop_assert_eq!(&all(&store, name), &wanted);
            let found = select(&store, &[Matcher::name(name)], (500, 20_000));
            let between = model.range(500..=20_000).count();
            prop_assert_eq!(found.samples, between as u64);
        }
        store.flush_metrics().unwrap();
        let stats = store.telemetry_stats().unwrap();
        prop_assert_eq!(stats.chunk_samples, model.iter().map(|m| m.len() as u64).sum::<u64>(), "none twice");
        prop_assert_eq!((stats.hot_samples, stats.hot_batches), (0, 1));
    }
}

#[test]
fn a_thousand_series_make_full_chunks_and_a_short_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let ids: Vec<_> = names.iter().map(|n| metric(&store, "requests_total", &[("path", n)])).collect();
    for tick in 0..1000_i64 {
        // One of them reports seldom and must not keep the log long.
        let mut batch: Vec<_> = ids[1..].iter().map(|id| of(*id, tick * 15_000, (tick * 3) as f64)).collect();
        if tick % 300 == 0 {
            batch.push(of(ids[0], tick * 15_000, 1.0));
        }
        assert_eq!(store.ingest(&batch, &ALWAYS).unwrap().accepted, batch.len() as u64);
    }
    let stats = store.telemetry_stats().unwrap();
    assert_eq!(stats.chunk_samples + stats.hot_samples, 999_000 + 4);
    assert!(stats.hot_samples < 200_000 && stats.hot_batches < 600, "{stats:?}");
    let file = std::fs::metadata(dir.path().join("sos.db")).unwrap().len();
    assert!(file < 3_000_000, "{file} bytes for a million samples");
    let found = select(&store, &[Matcher::equal("path", "0")], (0, i64::MAX));
    assert_eq!(found.series[0].times, [0, 4_500_000, 9_000_000, 13_500_000]);
    let started = Store::open(dir.path(), options()).unwrap();
    assert_eq!(select(&started, &[Matcher::name("requests_total")], (0, i64::MAX)).samples, 999_004);
}

#[test]
fn what_cannot_be_kept_is_counted_and_named_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let limits = MetricLimits {
        series: 5,
        series_per_name: 3,
        labels: 2,
        label_name_bytes: 8,
        label_value_bytes: 8,
        ..MetricLimits::default()
    };
    let store = Store::open(dir.path(), Options { metrics: limits, ..options() }).unwrap();
    let reading = store.series_id("power_kw", &Labels::new()).unwrap();
    let long = "x".repeat(9);
    let pairs: Vec<Vec<(&str, &str)>> = vec![
        vec![("a", "1")],
        vec![("a", "2")],
        vec![("a", "3")],
        vec![("a", "4")],
        vec![("a", "5")],
        vec![("a", "1"), ("b", "2"), ("c", "3")],
        vec![(&long, "1")],
        vec![("a", &long)],
        vec![("a", "1"), ("a", "2")],
        vec![("__name__", "x")],
        vec![("", "x")],
    ];
    let sample = |name, labels| MetricSample {
        series: SeriesRef::Key(MetricKey { name, labels }),
        time: 5,
        value: 1.0,
    };
    let mut batch: Vec<_> = pairs.iter().map(|labels| sample("up", labels)).collect();
    batch.extend([
        sample("b", &[]),
        sample("c", &[]),
        sample("d", &[]),
        sample("power_kw", &[]),
        sample("", &[]),
    ]);
    batch.push(of(reading, 5, 1.0));
    batch.push(MetricSample { time: 11, ..sample("b", &[]) });
    batch.push(MetricSample { time: -1, ..sample("b", &[]) });
    let report = store.ingest(&batch, &(0..=10)).unwrap();
    assert_eq!((report.accepted, report.new_series, report.out_of_bounds), (5, 5, 2));
    assert_eq!(report.refused_samples, 12);
    let named: Vec<_> = report.refused.iter().map(|r| (r.metric.as_str(), r.why, r.samples)).collect();
    assert_eq!(
        named,
        [
            ("up", Refusal::SeriesOfName, 2),
            ("up", Refusal::Labels, 1),
            ("up", Refusal::LabelName, 1),
            ("up", Refusal::LabelValue, 1),
            ("up", Refusal::Malformed, 3),
            ("d", Refusal::Series, 1),
            ("power_kw", Refusal::Reading, 2),
            ("", Refusal::Malformed, 1),
        ]
    );
    assert_eq!(store.ingest(&batch, &(0..=10)).unwrap().duplicates, 5, "known series stay usable");
    let foreign = open(tempfile::tempdir().unwrap().path());
    assert_eq!(foreign.ingest(&[of(reading, 0, 1.0)], &ALWAYS).unwrap().unknown, 1);
}

#[test]
fn readings_and_metrics_keep_to_themselves_and_are_read_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let reading = store.series_id("power_kw", &Labels::from([("site".into(), "fontana".into())])).unwrap();
    let scraped = metric(&store, "up", &[("site", "fontana")]);
    let values = [Ok(1.0), Ok(2.0), Err(Missing::Gap), Err(Missing::Stale), Ok(3.0)];
    let batch: Vec<_> = (0..)
        .zip(values)
        .map(|(i, value)| Sample { series: reading, time: at(i), known_at: at(i), value })
        .collect();
    store.append_samples(&batch).unwrap();
    // What became known later is what is shown.
    store
        .append_samples(&[Sample { series: reading, time: at(1), known_at: at(9), value: Ok(2.5) }])
        .unwrap();
    store.ingest(&[of(scraped, 2000, 1.0)], &ALWAYS).unwrap();

    let found = select(&store, &[Matcher::equal("site", "fontana")], (0, 10_000));
    let shown: Vec<_> = found.series.iter().map(|s| (&**s.labels.name(), s.times.clone())).collect();
    assert_eq!(shown, [("power_kw", vec![0, 1000, 2000, 4000]), ("up", vec![2000])]);
    let bits: Vec<_> = found.series[0].values.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [1.0, 2.5, STALE, 3.0].map(f64::to_bits));

    let wrong = Sample { series: scraped, time: at(0), known_at: at(0), value: Ok(1.0) };
    assert!(matches!(store.append_samples(&[wrong]), Err(StoreError::Invalid { .. })));
    let taken = store.series_id("up", &Labels::from([("site".into(), "fontana".into())]));
    assert!(matches!(taken, Err(StoreError::Invalid { .. })), "{taken:?}");
    let kinds = [reading, scraped].map(|id| store.series_kind(id).unwrap().unwrap());
    assert_eq!(kinds, [SeriesKind::Reading, SeriesKind::Metric]);
    let known = store.find_series_id("up", &Labels::from([("site".into(), "fontana".into())])).unwrap();
    assert_eq!(known, Some(scraped));
}

#[test]
fn series_labels_and_values_are_listed_by_conditions_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = metric(&store, "up", &[("job", "api"), ("zone", "west")]);
    let b = metric(&store, "up", &[("job", "node")]);
    let c = metric(&store, "rate", &[("job", "node"), ("unit", "s")]);
    store.ingest(&[of(a, 1000, 1.0), of(b, 2000, 1.0)], &ALWAYS).unwrap();
    store.flush_metrics().unwrap();
    store.ingest(&[of(c, 3000, 1.0)], &ALWAYS).unwrap();
    let ids = |matchers: &[Matcher], times| -> Vec<SeriesId> {
        store.find_series(matchers, times).unwrap().iter().map(|entry| entry.id).collect()
    };
    let node = Matcher::predicate("job", |v| v.starts_with('n'));
    assert_eq!(ids(std::slice::from_ref(&node), None), [b, c]);
    assert_eq!(ids(&[], Some((1500, 2500))), [b]);
    assert_eq!(ids(&[], Some((2000, 9000))), [b, c]);
    assert_eq!(ids(&[Matcher::equal("zone", "")], None), [b, c]);
    let names = |m: &[Matcher]| -> Vec<Arc<str>> { store.label_names(m, None).unwrap() };
    assert_eq!(names(&[]), ["__name__", "job", "unit", "zone"].map(Arc::from));
    assert_eq!(names(&[node]), ["__name__", "job", "unit"].map(Arc::from));
    assert_eq!(store.label_values("job", &[], None).unwrap(), ["api", "node"].map(Arc::from));
    let named = store.label_values("__name__", &[Matcher::equal("job", "node")], Some((0, 2500))).unwrap();
    assert_eq!(named, ["up"].map(Arc::from));
}

#[test]
fn a_query_of_too_many_samples_is_refused_with_their_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in ["a", "b"] {
        let id = metric(&store, name, &[]);
        let batch: Vec<_> = (0..3000).map(|i| of(id, i * 1000, i as f64)).collect();
        store.ingest(&batch, &ALWAYS).unwrap();
    }
    let ask = |max_samples| {
        let matchers = [Matcher::predicate("__name__", |_| true)];
        store.select(&Select {
            matchers: &matchers,
            times: (0, i64::MAX),
            aggregate: Aggregate::Last,
            max_samples,
        })
    };
    assert_eq!(ask(6000).unwrap().samples, 6000);
    let error = ask(5999).unwrap_err();
    assert!(matches!(error, StoreError::TooMany { samples: 6000, allowed: 5999 }), "{error:?}");
    assert!(matches!(ask(10).unwrap_err(), StoreError::TooMany { samples: 640.., allowed: 10 }));
}

#[test]
fn metadata_are_kept_cut_and_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let limits = MetricLimits { help_bytes: 5, series: 2, ..MetricLimits::default() };
    let store = Store::open(dir.path(), Options { metrics: limits, ..options() }).unwrap();
    let one = |name: &str, help: &str| MetricMetadata {
        name: name.into(),
        kind: "counter".into(),
        help: help.into(),
        unit: "s".into(),
    };
    let told = [one("a", "how much"), one("b", "zwölf"), one("c", "beyond the limit")];
    assert_eq!(store.put_metadata(&told).unwrap(), 2);
    assert_eq!(store.put_metadata(&told).unwrap(), 0, "nothing new");
    let store = open(dir.path());
    assert_eq!(store.metadata(None).unwrap(), [one("a", "how m"), one("b", "zwöl")]);
    assert_eq!(store.metadata(Some("b")).unwrap().len(), 1);
}

#[test]
fn a_failed_transaction_leaves_no_sample_and_no_series_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = metric(&store, "kept", &[]);
    store.ingest(&[of(id, 1000, 1.0)], &ALWAYS).unwrap();
    let made =
        MetricSample { series: SeriesRef::Key(MetricKey { name: "gone", labels: &[] }), time: 1, value: 1.0 };
    let outcome = store.commit(|tx| {
        assert_eq!(tx.ingest(&[of(id, 2000, 2.0), made], &ALWAYS)?.accepted, 2);
        tx.put_scale("Service", "absent", Some(1))
    });
    assert!(outcome.is_err());
    assert_eq!(all(&store, "kept"), [(1000, 1.0_f64.to_bits())]);
    assert!(store.find_series(&[Matcher::name("gone")], None).unwrap().is_empty());
    assert_eq!(store.ingest(&[of(id, 2000, 2.0), made], &ALWAYS).unwrap().new_series, 1);
    assert_eq!(all(&store, "kept").len(), 2);
}

#[test]
fn two_processes_see_each_others_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()), open(dir.path()));
    let reader = Store::open_read_only(dir.path()).unwrap();
    let a = metric(&one, "a", &[]);
    for round in 0..200_i64 {
        assert_eq!(one.ingest(&[of(a, round * 10, 1.0)], &ALWAYS).unwrap().accepted, 1);
        let b = MetricSample { time: round * 10 + 5, ..of(a, 0, 2.0) };
        assert_eq!(other.ingest(&[b], &ALWAYS).unwrap().accepted, 1);
        // Other work in between must not make the metrics forgotten, nor be hidden by them.
        other.put_kv("n", &serde_json::json!(round)).unwrap();
        if round % 50 == 49 {
            for store in [&one, &other, &reader] {
                assert_eq!(all(store, "a").len() as i64, 2 * (round + 1));
            }
        }
    }
    let made = other.series_id("power_kw", &Labels::new()).unwrap();
    assert_eq!(one.find_series(&[Matcher::name("power_kw")], None).unwrap()[0].id, made);
}
