use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use sos_store::{
    ChannelLimits, ChannelOptions, Channels, Labels, NewMessage, Sample, Settlement, Start, Store,
    StoreError, restore,
};

use crate::{at, entry, open, resource};

fn filled(dir: &std::path::Path) -> Store {
    let store = open(dir);
    store.put(&resource("b", "dir", json!({ "kwh": 6.4 }))).unwrap();
    store.set_secret("meter", "password", b"hunter2").unwrap();
    (1..=5).for_each(|n| assert_eq!(store.audit(&entry(n)).unwrap(), n.unsigned_abs()));
    let series = store.series_id("x", &Labels::new()).unwrap();
    store.append_samples(&[Sample { series, time: at(0), known_at: at(1), value: Ok(2.5) }]).unwrap();
    store
}

fn read(dir: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    files.map(|f| (f.clone(), std::fs::read(&f).unwrap())).collect()
}

#[test]
fn a_restored_backup_is_a_working_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file, new) = (home.path().join("data"), home.path().join("b.sos"), home.path().join("new"));
    let store = filled(&dir);
    let epoch = store.lock_controller().unwrap().epoch();
    let made = store.backup(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(store.backup(&file), Err(StoreError::Io { .. })));
    store.audit(&entry(6)).unwrap();
    let done = restore(&file, &new, false).unwrap();
    assert_eq!((done.audit.entries, &done.audit, done.replaced), (5, &made.audit, None));
    let restored = open(&new);
    assert_eq!(restored.get("Asset", "b").unwrap().unwrap().spec, json!({ "kwh": 6.4 }));
    assert_eq!(restored.get_secret("meter", "password").unwrap().unwrap().expose(), b"hunter2");
    let series = restored.list_series().unwrap()[0].id;
    assert_eq!(restored.range(series, at(0)..at(9), None).unwrap()[0].value, Ok(2.5));
    assert!(restored.lock_controller().unwrap().epoch() > epoch + 1000);
    assert_eq!(restored.audit(&entry(6)).unwrap(), 6);
    assert_eq!(restored.verify_audit().unwrap().entries, 6);
}

#[test]
fn a_directory_in_use_or_with_content_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b.sos"));
    let store = filled(&dir);
    store.backup(&file).unwrap();
    store.put_kv("later", &json!(1)).unwrap();
    assert!(matches!(restore(&file, &dir, false), Err(StoreError::Invalid { .. })));
    assert!(matches!(restore(&file, &dir, true), Err(StoreError::Locked { .. })));
    assert_eq!(store.get_kv("later").unwrap(), Some(json!(1)));
    drop(store);
    let done = restore(&file, &dir, true).unwrap();
    assert_eq!(open(&dir).get_kv("later").unwrap(), None);
    assert_eq!(open(&done.replaced.unwrap()).get_kv("later").unwrap(), Some(json!(1)));
}

#[test]
fn a_damaged_backup_is_refused_and_the_directory_untouched() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b.sos"));
    filled(&dir).backup(&file).unwrap();
    let before = read(&dir);
    let bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(8).position(|w| w == b"reason 3").unwrap();
    let mut changed = bytes.clone();
    changed[place] ^= 1;
    std::fs::write(&file, changed).unwrap();
    assert!(matches!(restore(&file, &dir, true), Err(StoreError::Audit(bad)) if bad.seq == 3));
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(restore(&file, &dir, true), Err(StoreError::Corrupt { .. })));
    std::fs::write(&file, b"not a backup, but text").unwrap();
    assert!(matches!(restore(&file, &dir, true), Err(StoreError::Corrupt { .. })));
    assert!(matches!(restore(&dir.join("sos.db"), &dir, true), Err(StoreError::Invalid { .. })));
    let after = read(&dir);
    let kept = |name: &str| after[&dir.join(name)] == before[&dir.join(name)];
    assert!(kept("sos.db") && kept("key") && kept("audit.head"));
}

#[test]
fn channels_are_restored_as_they_were_while_they_were_in_use() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file, new) = (home.path().join("data"), home.path().join("b.sos"), home.path().join("new"));
    let store = filled(&dir);
    let channels = Channels::open(&dir, ChannelOptions::default()).unwrap();
    channels
        .configure("c", ChannelLimits { dedupe_window: Duration::from_secs(60), ..ChannelLimits::default() })
        .unwrap();
    channels.group("c", "g", Start::Earliest).unwrap();
    let message =
        |n: u32| NewMessage { id: n.to_string(), key: None, time: at(0), body: vec![n as u8; 1000] };
    let all: Vec<_> = (0..3000).map(message).collect();
    channels.append("c", &all, at(0)).unwrap();
    assert_eq!(channels.take("c", "g", 2, at(0), Duration::from_secs(9)).unwrap().len(), 2);
    channels.settle("c", "g", &[(1, Settlement::Done)], at(0)).unwrap();
    let made = store.backup(&file).unwrap();
    assert!(made.channels > 3_000_000 && made.bytes > made.channels);
    channels.append("c", &[message(3000)], at(0)).unwrap();
    assert!(!home.path().join("b.sos.channels").exists());

    assert_eq!(restore(&file, &new, false).unwrap().channels, made.channels);
    assert!(std::fs::metadata(new.join("sos.db")).unwrap().len() < 1_000_000);
    assert_eq!(std::fs::metadata(new.join("channels.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = Channels::open(&new, ChannelOptions::default()).unwrap();
    assert!(restored.read("c", 0, 9999).unwrap().into_iter().map(|m| m.message).eq(all));
    let taken = restored.take("c", "g", 2, at(9), Duration::from_secs(9)).unwrap();
    assert_eq!(taken.iter().map(|d| (d.position, d.attempt)).collect::<Vec<_>>(), [(2, 2), (3, 1)]);
    let again = restored.append("c", &[message(2999), message(3000)], at(9)).unwrap();
    assert_eq!((again.stored, again.duplicates), (1, 1));
    // A directory whose channels are open is not replaced.
    drop(store);
    assert!(matches!(restore(&file, &dir, true), Err(StoreError::Locked { .. })));
    drop(channels);
    assert!(restore(&file, &dir, true).unwrap().replaced.is_some());
}

#[test]
fn a_backup_with_damaged_or_newer_channels_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b.sos"));
    let store = filled(&dir);
    drop(Channels::open(&dir, ChannelOptions::default()).unwrap());
    store.backup(&file).unwrap();
    let refused = |sql: &str| {
        let changed = home.path().join("changed.sos");
        std::fs::copy(&file, &changed).unwrap();
        rusqlite::Connection::open(&changed).unwrap().execute_batch(sql).unwrap();
        let new = home.path().join("new");
        let error = restore(&changed, &new, false).unwrap_err();
        assert!(!new.exists());
        error
    };
    let cut = refused("UPDATE backup_channels SET bytes = substr(bytes, 1, 9000)");
    assert!(matches!(cut, StoreError::Corrupt { .. }), "{cut}");
    // The schema's number stands at byte 60 of a database.
    let newer = "UPDATE backup_channels SET bytes = CAST(substr(bytes, 1, 60) || x'00000063' || substr(bytes, 65) AS BLOB) WHERE part = 1";
    let newer = refused(newer);
    assert!(matches!(newer, StoreError::NewerSchema { found: 99, .. }), "{newer}");
}
