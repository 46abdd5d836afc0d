use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use sos_store::{Labels, Sample, Store, StoreError, restore};

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
