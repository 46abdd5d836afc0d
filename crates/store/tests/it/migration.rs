use std::path::Path;

use sos_store::{Labels, Matcher, Point, SeriesKind, Store, StoreError};
use sos_units::{Missing, Reading};

use crate::metrics::{ALWAYS, metric, of, select};
use crate::{at, open, options};

/// The data directory as the program with schema 2 left it.
fn old(dir: &Path) {
    let conn = rusqlite::Connection::open(dir.join("sos.db")).unwrap();
    conn.execute_batch(include_str!("schema2.sql")).unwrap();
    std::fs::write(dir.join("audit.head"), include_bytes!("schema2.head")).unwrap();
}

/// What was written then.
fn power(tick: i64) -> Reading<f64> {
    if tick % 100 == 7 { Err(Missing::Gap) } else { Ok((tick * 37 % 5000) as f64 / 1e3) }
}

fn check(store: &Store) {
    let all = store.list_series().unwrap();
    let names: Vec<&str> = all.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names[..2], ["power_kw", "forecast_kw"]);
    assert_eq!(all[0].labels, Labels::from([("asset".into(), "pv".into())]));
    let points = store.range(all[0].id, at(0)..at(2_000_000), None).unwrap();
    let wanted = |tick: i64| Point {
        time: at(tick * 900),
        known_at: at(tick * 900 + 900 + tick % 3),
        value: power(tick),
    };
    assert_eq!(points, (0..1150).map(wanted).collect::<Vec<_>>());
    let versions = store.versions(all[1].id, at(86_400)..at(86_400 + 9_001)).unwrap();
    let told: Vec<_> = versions.iter().map(|p| (p.known_at, p.value)).collect();
    assert_eq!(told, [(at(0), Ok(0.0)), (at(60), Ok(0.0)), (at(9000), Ok(10.0 / 7.0)), (at(9060), Ok(10.0))]);
    assert_eq!(store.get_kv("written by").unwrap(), Some(serde_json::json!("schema 2")));
}

#[test]
fn a_store_of_the_release_before_metrics_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    old(dir.path());
    assert!(matches!(Store::open_read_only(dir.path()), Err(StoreError::OlderSchema { found: 2, .. })));
    let store = open(dir.path());
    check(&store);
    let power = store.series_id("power_kw", &Labels::from([("asset".into(), "pv".into())])).unwrap();
    assert_eq!(store.series_kind(power).unwrap(), Some(SeriesKind::Reading));
    let up = metric(&store, "up", &[("asset", "pv")]);
    store.ingest(&[of(up, 0, 1.0)], &ALWAYS).unwrap();
    store.flush_metrics().unwrap();
    drop(store);
    let store = Store::open(dir.path(), options()).unwrap();
    check(&store);
    let found = select(&store, &[Matcher::equal("asset", "pv")], (0, 900_000_000));
    let points: Vec<usize> = found.series.iter().map(|series| series.times.len()).collect();
    assert_eq!(points, [1001, 1]);
}
