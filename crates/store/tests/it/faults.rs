use std::sync::Arc;

use serde_json::json;
use sos_store::{FaultPoint, Labels, Matcher, Options, Sample, Store, StoreError};

use crate::metrics::{ALWAYS, metric, of, select};
use crate::{at, entry, open, options};

#[test]
fn a_full_store_says_so_keeps_everything_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Options { max_pages: Some(150), ..options() };
    let store = Store::open(dir.path(), tiny).unwrap();
    let series = store.series_id("x", &Labels::new()).unwrap();
    let tick = |store: &Store, n: i64| {
        store.commit(|tx| {
            tx.audit(&entry(n))?;
            tx.append_samples(&[Sample { series, time: at(n), known_at: at(n), value: Ok(0.5) }])?;
            tx.journal("j", "k", 1, &[0; 4000])?;
            tx.put_kv("n", &json!(n))
        })
    };
    let mut done = 0;
    let error = loop {
        match tick(&store, done + 1) {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 10_000, "the limit was never met");
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(done > 20);
    assert!(matches!(tick(&store, done + 1), Err(StoreError::Full)));
    let whole = |store: &Store| {
        assert_eq!(store.verify_audit().unwrap().entries, done.unsigned_abs());
        assert_eq!(store.range(series, at(0)..at(100_000), None).unwrap().len(), done as usize);
        assert_eq!(store.read_journal("j", 0, 100_000).unwrap().len(), done as usize);
        assert_eq!(store.get_kv("n").unwrap(), Some(json!(done)));
    };
    whole(&store);
    drop(store);
    let roomy = open(dir.path());
    whole(&roomy);
    tick(&roomy, done + 1).unwrap();
    assert_eq!(roomy.verify_audit().unwrap().entries, done.unsigned_abs() + 1);
}

#[test]
fn a_full_store_loses_no_metric_that_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options { max_pages: Some(200), ..options() }).unwrap();
    let ids: Vec<_> = ["a", "b", "c"].iter().map(|name| metric(&store, name, &[])).collect();
    let tick = |store: &Store, n: i64| {
        store.ingest(
            &ids.iter().map(|id| of(*id, n * 1000, (n as f64 * 0.7).sin())).collect::<Vec<_>>(),
            &ALWAYS,
        )
    };
    let mut done = 0;
    let error = loop {
        match tick(&store, done) {
            Ok(report) => assert_eq!(report.accepted, 3),
            Err(error) => break error,
        }
        done += 1;
        assert!(done < 100_000, "the limit was never met");
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    let whole = |store: &Store| {
        let all = select(store, &[Matcher::predicate("__name__", |_| true)], (0, i64::MAX));
        assert_eq!(all.samples, done.unsigned_abs() * 3);
    };
    whole(&store);
    drop(store);
    let roomy = open(dir.path());
    whole(&roomy);
    assert_eq!(tick(&roomy, done).unwrap().accepted, 3);
}

#[test]
fn a_swallowed_storage_error_still_rolls_the_transaction_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options { max_pages: Some(60), ..options() }).unwrap();
    let outcome = store.commit(|tx| {
        tx.put_kv("half", &json!(1))?;
        let refused = tx.journal("j", "k", 1, &vec![0; 1 << 20]);
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
        Ok(())
    });
    assert!(outcome.is_err());
    assert_eq!(store.get_kv("half").unwrap(), None);
}

#[test]
fn a_handled_refusal_does_not_stop_the_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit(|tx| {
            assert!(tx.put_scale("Service", "absent", Some(1)).is_err());
            tx.put_kv("whole", &json!(1))
        })
        .unwrap();
    assert_eq!(store.get_kv("whole").unwrap(), Some(json!(1)));
}

#[test]
fn injected_faults_hit_before_or_after_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fail_at = |point| store.inject_faults(Some(Arc::new(move |at| at == point)));
    fail_at(FaultPoint::BeforeCommit);
    assert!(matches!(store.put_kv("before", &json!(1)), Err(StoreError::Injected)));
    fail_at(FaultPoint::AfterCommit);
    assert!(matches!(store.put_kv("after", &json!(1)), Err(StoreError::Injected)));
    fail_at(FaultPoint::Read);
    assert!(matches!(store.get_kv("after"), Err(StoreError::Injected)));
    store.inject_faults(None);
    assert_eq!((store.get_kv("before").unwrap(), store.get_kv("after").unwrap()), (None, Some(json!(1))));
}
