use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use sos_store::{EVENTS_KEPT, Event, EventFilter, EventType, Role, Store, StoreError};

use crate::{at, open};

fn event(n: i64, reason: &str) -> Event {
    Event {
        time: at(n),
        site_time: Some(at(n + 1000)),
        kind: "Service".into(),
        name: "web".into(),
        event_type: EventType::Warning,
        reason: reason.into(),
        message: format!("{reason} happened"),
    }
}

#[test]
fn every_file_is_private_even_when_it_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open(&path);
    let _lease = store.lock_controller().unwrap();
    store.set_secret("db", "password", b"x").unwrap();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn one_controller_at_a_time_with_an_epoch_that_only_rises() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let lease = one.lock_controller().unwrap();
    assert_eq!(lease.epoch(), 1);
    match two.lock_controller().unwrap_err() {
        StoreError::Locked { pid } => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
    drop(lease);
    assert_eq!(two.lock_controller().unwrap().epoch(), 2);
    drop((one, two));
    assert_eq!(open(dir.path()).lock_controller().unwrap().epoch(), 3);
}

#[test]
fn journals_number_their_records_across_truncation_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 1..=10_u8 {
        assert_eq!(store.journal("run/1", "event", 2, &[n]).unwrap(), u64::from(n));
    }
    assert_eq!(store.journal("run/2", "event", 1, b"other").unwrap(), 1);
    assert_eq!(store.truncate_journal("run/1", 8).unwrap(), 7);
    let read = store.read_journal("run/1", 0, 2).unwrap();
    assert_eq!(
        read.iter().map(|r| (r.seq, r.bytes[0], r.version)).collect::<Vec<_>>(),
        [(8, 8, 2), (9, 9, 2)]
    );
    assert_eq!(store.truncate_journal("run/1", 1000).unwrap(), 3);
    drop(store);
    store = open(dir.path());
    assert_eq!(store.journal("run/1", "event", 2, b"").unwrap(), 11);
    assert!(store.read_journal("unknown", 0, 10).unwrap().is_empty());
}

#[test]
fn equal_events_are_counted_and_old_ones_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in [5, 9, 7] {
        store.record_event(&event(n, "ProbeFailed")).unwrap();
    }
    let found = store.list_events(&EventFilter::default()).unwrap();
    assert_eq!((found.len(), found[0].count, found[0].first, found[0].event.time), (1, 3, at(5), at(9)));
    assert_eq!(found[0].event.site_time, Some(at(1007)), "that of the latest one");
    store
        .commit(|tx| {
            (0..EVENTS_KEPT as i64 + 5).try_for_each(|n| tx.record_event(&event(n, &format!("R{n}"))))
        })
        .unwrap();
    let all = store.list_events(&EventFilter::default()).unwrap();
    assert_eq!((all.len() as u64, all[0].event.reason.as_str()), (EVENTS_KEPT, "R5"));
    let last = EventFilter { limit: Some(2), kind: Some("Service".into()), ..EventFilter::default() };
    let last: Vec<_> = store.list_events(&last).unwrap().into_iter().map(|e| e.event.reason).collect();
    assert_eq!(last, [format!("R{}", EVENTS_KEPT + 3), format!("R{}", EVENTS_KEPT + 4)]);
    let none = EventFilter { event_type: Some(EventType::Normal), ..EventFilter::default() };
    assert!(store.list_events(&none).unwrap().is_empty());
}

#[test]
fn named_values_are_kept_replaced_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.get_kv("clock").unwrap(), None);
    for value in [json!({ "epoch": 1 }), json!(null)] {
        store.put_kv("clock", &value).unwrap();
        assert_eq!(store.get_kv("clock").unwrap(), Some(value));
    }
    assert!(store.delete_kv("clock").unwrap() && !store.delete_kv("clock").unwrap());
}

#[test]
fn secrets_are_sealed_bound_to_their_name_and_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.set_secret("meter", "password", b"correct horse").unwrap();
    store.set_secret("other", "password", b"battery staple").unwrap();
    let value = store.get_secret("meter", "password").unwrap().unwrap();
    assert_eq!(value.expose_str(), Some("correct horse"));
    assert_eq!(format!("{value:?}"), "SecretValue(…)");
    assert!(store.get_secret("meter", "none").unwrap().is_none());
    assert_eq!(store.list_secrets().unwrap().len(), 2);
    for file in ["sos.db", "sos.db-wal"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        assert!(!bytes.windows(13).any(|w| w == b"correct horse"), "{file}");
    }
    let conn = rusqlite::Connection::open(dir.path().join("sos.db")).unwrap();
    conn.execute_batch(
        "UPDATE secret SET (nonce, sealed) = (SELECT nonce, sealed FROM secret WHERE name = 'other') WHERE name = 'meter'",
    )
    .unwrap();
    assert!(matches!(store.get_secret("meter", "password"), Err(StoreError::Undecryptable { .. })));
    assert_eq!(store.delete_secret("meter", None).unwrap(), 1);
}

#[test]
fn a_lost_key_is_reported_and_never_silently_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.set_secret("a", "b", b"c").unwrap();
    std::fs::remove_file(dir.path().join("key")).unwrap();
    assert!(matches!(store.get_secret("a", "b"), Err(StoreError::Io { .. })));
    assert!(matches!(store.set_secret("a", "d", b"e"), Err(StoreError::Io { .. })));
    std::fs::write(dir.path().join("key"), "00").unwrap();
    assert!(matches!(store.get_secret("a", "b"), Err(StoreError::Corrupt { .. })));
    std::fs::write(dir.path().join("key"), "00".repeat(32)).unwrap();
    assert!(matches!(store.get_secret("a", "b"), Err(StoreError::Undecryptable { .. })));
}

#[test]
fn tokens_are_known_by_their_hash_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let token = store.create_token("grafana", Role::Viewer).unwrap();
    let text = token.expose_str().unwrap().to_owned();
    assert_eq!(store.check_token(&text).unwrap(), Some(("grafana".into(), Role::Viewer)));
    assert_eq!(store.check_token("sos_nonsense").unwrap(), None);
    assert_eq!(store.check_token(&text[..text.len() - 1]).unwrap(), None);
    let wal = std::fs::read(dir.path().join("sos.db-wal")).unwrap();
    assert!(!wal.windows(text.len()).any(|w| w == text.as_bytes()));
    let replaced = store.create_token("grafana", Role::Admin).unwrap();
    assert_eq!(store.check_token(&text).unwrap(), None);
    assert_eq!(store.list_tokens().unwrap(), [("grafana".into(), Role::Admin)]);
    assert!(store.revoke_token("grafana").unwrap());
    assert_eq!(store.check_token(replaced.expose_str().unwrap()).unwrap(), None);
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
}

#[test]
fn a_login_code_works_once_and_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let code = |expires| store.create_login_code("local", Role::Admin, at(expires)).unwrap();
    let (good, late) = (code(100), code(50));
    let redeem =
        |c: &sos_store::SecretValue, now| store.redeem_login_code(c.expose_str().unwrap(), at(now)).unwrap();
    assert_eq!(redeem(&late, 51), None);
    assert_eq!(redeem(&good, 100), Some(("local".into(), Role::Admin)));
    assert_eq!(redeem(&good, 100), None);
}

#[test]
fn a_store_opened_for_reading_refuses_to_write() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_read_only(dir.path()), Err(StoreError::Io { .. })));
    let store = open(dir.path());
    store.put_kv("a", &json!(1)).unwrap();
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.get_kv("a").unwrap(), Some(json!(1)));
    assert!(matches!(reader.put_kv("a", &json!(2)), Err(StoreError::ReadOnly)));
}

#[test]
fn a_file_that_is_no_database_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("sos.db"), vec![0x5a; 9000]).unwrap();
    let error = Store::open(dir.path(), crate::options()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
