use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use sos_store::{Labels, Part, PutResource, Selector, StoreError, Watched};

use crate::{open, resource};

#[test]
fn the_generation_rises_with_the_spec_and_the_version_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = store.put(&resource("b", "dir", json!({ "kwh": 6.4 }))).unwrap();
    assert_eq!((first.created, first.changed, first.generation), (true, true, 1));
    let same = store.put(&resource("b", "dir", json!({ "kwh": 6.4 }))).unwrap();
    assert_eq!((same.changed, same.version), (false, first.version));
    let status = store.put_status("Asset", "b", "engine", &json!({ "phase": "Ready" })).unwrap();
    assert!(status.changed && status.version > first.version);
    assert!(!store.put_status("Asset", "b", "engine", &json!({ "phase": "Ready" })).unwrap().changed);
    let scale = store.put_scale("Asset", "b", Some(3)).unwrap();
    assert!(scale.changed && !store.put_scale("Asset", "b", Some(3)).unwrap().changed);
    let labelled = PutResource {
        labels: Labels::from([("a".into(), "1".into())]),
        ..resource("b", "dir", json!({ "kwh": 6.4 }))
    };
    let relabelled = store.put(&labelled).unwrap();
    assert_eq!((relabelled.generation, relabelled.version > scale.version), (1, true));
    let changed = store.put(&PutResource { spec: json!({ "kwh": 7 }), ..labelled }).unwrap();
    assert_eq!(changed.generation, 2);
    let got = store.get("Asset", "b").unwrap().unwrap();
    assert_eq!(
        (got.version, got.replicas, got.status["phase"].as_str()),
        (changed.version, Some(3), Some("Ready"))
    );
    assert_eq!(store.get("Asset", "none").unwrap(), None);
}

#[test]
fn a_conflict_names_the_owner_and_force_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(&resource("b", "dir", json!(1))).unwrap();
    let error = store.put(&resource("b", "cli", json!(2))).unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { owner, .. } if owner == "dir"), "{error}");
    assert!(error.to_string().contains("--force"));
    let forced = PutResource { force: true, ..resource("b", "cli", json!(2)) };
    assert_eq!(store.put(&forced).unwrap().generation, 2);
    assert!(store.list_owned("dir").unwrap().is_empty());
    assert_eq!(store.list_owned("cli").unwrap().len(), 1);
}

#[test]
fn a_dry_run_and_a_stale_version_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let dry = store.put(&PutResource { dry_run: true, ..resource("b", "dir", json!(1)) }).unwrap();
    assert!(dry.created && store.get("Asset", "b").unwrap().is_none());
    let real = store.put(&resource("b", "dir", json!(1))).unwrap();
    assert_eq!(real.version, dry.version);
    let stale = PutResource { expected_version: Some(real.version + 5), ..resource("b", "dir", json!(2)) };
    assert!(
        matches!(store.put(&stale), Err(StoreError::VersionMismatch { found, .. }) if found == real.version)
    );
    let absent = PutResource { expected_version: Some(0), ..resource("b", "dir", json!(2)) };
    assert!(matches!(store.put(&absent), Err(StoreError::VersionMismatch { .. })));
    assert_eq!(store.get("Asset", "b").unwrap().unwrap().spec, json!(1));
}

#[test]
fn each_status_field_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(&resource("b", "dir", json!(1))).unwrap();
    store.put_status("Asset", "b", "engine", &json!({ "phase": "Ready", "soc": 0.5 })).unwrap();
    store.put_status("Asset", "b", "device", &json!({ "firmware": "1.2" })).unwrap();
    let error = store.put_status("Asset", "b", "device", &json!({ "soc": 1 })).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { owner, .. } if owner == "engine"));
    let status = store.get("Asset", "b").unwrap().unwrap().status;
    assert_eq!(status, json!({ "phase": "Ready", "soc": 0.5, "firmware": "1.2" }));
    assert!(matches!(store.put_status("Asset", "c", "x", &json!({})), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.put_status("Asset", "b", "x", &json!(1)), Err(StoreError::Invalid { .. })));
}

#[test]
fn the_last_specs_are_kept_for_an_undo_and_go_with_the_resource() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 1..=15 {
        store.put(&resource("b", "dir", json!(n))).unwrap();
    }
    let history = store.spec_history("Asset", "b").unwrap();
    assert_eq!(history.iter().map(|h| h.generation).collect::<Vec<_>>(), (6..=15).rev().collect::<Vec<_>>());
    assert_eq!(history[0].spec, json!(15));
    let uid = store.get("Asset", "b").unwrap().unwrap().uid;
    assert!(store.delete("Asset", "b", None).unwrap());
    assert!(!store.delete("Asset", "b", None).unwrap());
    assert!(store.spec_history("Asset", "b").unwrap().is_empty());
    assert_eq!(store.put(&resource("b", "cli", json!(1))).unwrap().generation, 1);
    assert_ne!(store.get("Asset", "b").unwrap().unwrap().uid, uid);
}

#[test]
fn a_list_is_ordered_and_selected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (name, zone) in [("c", "x"), ("a", "x"), ("b", "y")] {
        let labels = Labels::from([("zone".into(), zone.into())]);
        store.put(&PutResource { labels, ..resource(name, "dir", json!(1)) }).unwrap();
    }
    let names = |selector: &str| {
        let found = store.list("Asset", &selector.parse().unwrap()).unwrap();
        found.into_iter().map(|r| r.name).collect::<Vec<_>>().join(",")
    };
    assert_eq!((names(""), names("zone=x"), names("zone!=x")), ("a,b,c".into(), "a,c".into(), "b".into()));
    assert!(store.list("Site", &Selector::all()).unwrap().is_empty());
}

#[test]
fn a_watcher_sees_each_change_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (version, _) = store.snapshot("Asset", &Selector::all()).unwrap();
    let mut watcher = store.watch(version);
    store.put(&resource("b", "dir", json!(1))).unwrap();
    store.put_status("Asset", "b", "x", &json!({ "a": 1 })).unwrap();
    store.delete("Asset", "b", None).unwrap();
    assert!(watcher.wait(Duration::from_secs(10)).unwrap());
    let Watched::Changes(changes) = watcher.poll().unwrap() else { panic!("a list was not due") };
    assert_eq!(changes.iter().map(|c| c.part).collect::<Vec<_>>(), [Part::Spec, Part::Status, Part::Deleted]);
    assert_eq!(watcher.poll().unwrap(), Watched::Changes(vec![]));
    assert!(!watcher.wait(Duration::ZERO).unwrap());
}

#[test]
fn a_watcher_that_fell_behind_is_told_to_list_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut watcher = store.watch(0);
    store.put(&resource("b", "dir", json!(1))).unwrap();
    store.commit(|tx| (0..9000_u32).try_for_each(|n| tx.put_scale("Asset", "b", Some(n)).map(drop))).unwrap();
    let before = sos_store::watch_overruns();
    assert_eq!(watcher.poll().unwrap(), Watched::Relist(9001));
    assert!(sos_store::watch_overruns() > before);
    assert_eq!(watcher.poll().unwrap(), Watched::Changes(vec![]));
}

struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn async_callers_and_hooks_are_woken_by_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let newest = Arc::new(AtomicU64::new(0));
    let hooked = newest.clone();
    store.on_change(move |version| hooked.store(version, Ordering::SeqCst));
    let watcher = store.watch(0);
    let flag = Arc::new(Flag(AtomicUsize::new(0)));
    let waker = Waker::from(flag.clone());
    let mut changed = pin!(watcher.changed());
    assert_eq!(changed.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    store.put_kv("no-resource", &json!(1)).unwrap();
    assert_eq!(flag.0.load(Ordering::SeqCst), 0);
    let version = store.put(&resource("b", "dir", json!(1))).unwrap().version;
    assert_eq!((flag.0.load(Ordering::SeqCst), newest.load(Ordering::SeqCst)), (1, version));
    assert_eq!(changed.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
}

#[test]
fn a_waiting_thread_is_woken_by_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let watcher = store.watch(0);
    let (ready, started) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        ready.send(()).unwrap();
        watcher.wait(Duration::from_secs(60)).unwrap()
    });
    started.recv().unwrap();
    store.put(&resource("b", "dir", json!(1))).unwrap();
    assert!(waiting.join().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn versions_never_repeat_and_an_aborted_transaction_leaves_no_trace(
        steps in prop::collection::vec((0..3_u8, 0..4_u8, any::<bool>()), 1..40)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let mut last = 0;
        for (name, value, abort) in steps {
            let before = store.list_all().unwrap();
            let outcome = store.commit(|tx| {
                let put = tx.put(&resource(&name.to_string(), "dir", json!(value)))?;
                if abort { tx.put_status("Asset", "absent", "x", &json!({}))?; }
                Ok(put)
            });
            match outcome {
                Ok(put) if put.changed => { prop_assert!(put.version > last); last = put.version; }
                Ok(_) => {}
                Err(_) => prop_assert_eq!(store.list_all().unwrap(), before),
            }
            prop_assert_eq!(store.revision().unwrap(), last);
        }
    }
}
