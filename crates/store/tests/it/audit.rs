use std::path::Path;

use rusqlite::Connection;
use sos_store::{StoreError, verify_audit};

use crate::{entry, open};

fn filled(entries: i64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 1..=entries {
        assert_eq!(store.audit(&entry(n)).unwrap(), n.unsigned_abs());
    }
    dir
}

/// Someone with write access to the file and the will to go around the triggers.
fn tamper(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join("sos.db")).unwrap();
    conn.execute_batch(&format!("DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; {sql}"))
        .unwrap();
}

fn first_bad(dir: &Path) -> (u64, String) {
    match verify_audit(dir).unwrap_err() {
        StoreError::Audit(bad) => (bad.seq, bad.why),
        other => panic!("{other}"),
    }
}

#[test]
fn an_untouched_record_verifies_also_while_it_is_written() {
    let dir = filled(20);
    assert_eq!(verify_audit(dir.path()).unwrap().entries, 20);
    let store = open(dir.path());
    store.audit(&entry(21)).unwrap();
    let summary = store.verify_audit().unwrap();
    assert_eq!(summary.entries, 21);
    let listed = store.list_audit(19, None, 10).unwrap();
    assert_eq!(listed.iter().map(|r| r.seq).collect::<Vec<_>>(), [19, 20, 21]);
    assert_eq!(listed[2].entry, entry(21));
    assert_eq!(store.list_audit(1, Some("Asset/battery-0"), 100).unwrap().len(), 7);
    let recent = store.recent_audit(Some("Asset/battery-0"), 2).unwrap();
    assert_eq!(recent.iter().map(|r| r.seq).collect::<Vec<_>>(), [18, 21]);
    let empty = tempfile::tempdir().unwrap();
    drop(open(empty.path()));
    assert_eq!(verify_audit(empty.path()).unwrap().entries, 0);
}

#[test]
fn the_triggers_forbid_update_and_delete() {
    let dir = filled(3);
    let conn = Connection::open(dir.path().join("sos.db")).unwrap();
    for sql in ["UPDATE audit SET why = 'x'", "DELETE FROM audit WHERE seq = 3"] {
        let error = conn.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

#[test]
fn a_change_of_any_field_is_found_at_its_entry() {
    for column in ["time", "who", "what", "target", "why", "\"before\"", "\"after\""] {
        let dir = filled(12);
        tamper(dir.path(), &format!("UPDATE audit SET {column} = {column} || ' ' WHERE seq = 8"));
        assert_eq!(first_bad(dir.path()).0, 8, "{column}");
    }
    for change in [
        "\"before\" = NULL",
        "\"after\" = ''",
        "why = 5",
        "who = 'tests', what = 'et-point'",
        "hash = zeroblob(32)",
        "hash = x'00'",
    ] {
        let dir = filled(12);
        tamper(dir.path(), &format!("UPDATE audit SET {change} WHERE seq = 8"));
        assert_eq!(first_bad(dir.path()).0, 8, "{change}");
    }
}

#[test]
fn removed_inserted_and_reordered_entries_are_found() {
    let cases = [
        ("DELETE FROM audit WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 5; UPDATE audit SET seq = seq - 1 WHERE seq > 5", 5),
        (
            "UPDATE audit SET seq = 100 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6; UPDATE audit SET seq = 6 WHERE seq = 100",
            5,
        ),
        (
            "INSERT INTO audit SELECT 0, time, who, what, target, why, \"before\", \"after\", hash FROM audit WHERE seq = 1",
            1,
        ),
        (
            "INSERT INTO audit SELECT 13, time, who, what, target, why, \"before\", \"after\", hash FROM audit WHERE seq = 1",
            13,
        ),
    ];
    for (sql, seq) in cases {
        let dir = filled(12);
        tamper(dir.path(), sql);
        assert_eq!(first_bad(dir.path()).0, seq, "{sql}");
    }
}

#[test]
fn entries_cut_off_the_end_are_found_and_stop_the_writer() {
    for keep in [11, 5, 0] {
        let dir = filled(12);
        tamper(dir.path(), &format!("DELETE FROM audit WHERE seq > {keep}"));
        let (seq, why) = first_bad(dir.path());
        assert_eq!(seq, keep + 1);
        assert!(why.contains("cut off"), "{why}");
        let error = sos_store::Store::open(dir.path(), crate::options()).unwrap_err();
        assert!(matches!(error, StoreError::Audit(_)), "{error}");
    }
}

#[test]
fn a_record_that_was_written_anew_is_found() {
    let (dir, other) = (filled(12), filled(0));
    {
        let store = open(other.path());
        (1..=12).for_each(|n| assert_eq!(store.audit(&entry(n + 100)).unwrap(), n.unsigned_abs()));
    }
    std::fs::copy(other.path().join("sos.db"), dir.path().join("sos.db")).unwrap();
    assert_eq!(first_bad(dir.path()).0, 12);
}

#[test]
fn a_missing_or_damaged_note_of_the_end_is_reported() {
    let dir = filled(3);
    let note = dir.path().join("audit.head");
    let bytes = std::fs::read(&note).unwrap();
    std::fs::write(&note, vec![b'x'; bytes.len()]).unwrap();
    assert!(first_bad(dir.path()).1.contains("damaged"));
    std::fs::remove_file(&note).unwrap();
    assert!(first_bad(dir.path()).1.contains("cannot be read"));
    assert!(matches!(sos_store::Store::open(dir.path(), crate::options()), Err(StoreError::Audit(_))));
}

#[test]
fn a_torn_note_falls_back_to_the_one_before_without_alarm() {
    let dir = filled(6);
    let note = dir.path().join("audit.head");
    let bytes = std::fs::read(&note).unwrap();
    for slot in 0..bytes.len() / 512 {
        let mut torn = bytes.clone();
        torn[slot * 512 + 100..(slot + 1) * 512].fill(0);
        std::fs::write(&note, torn).unwrap();
        assert_eq!(verify_audit(dir.path()).unwrap().entries, 6);
    }
}

#[test]
fn every_flipped_byte_of_an_entrys_text_is_found() {
    let dir = filled(4);
    let path = dir.path().join("sos.db");
    let bytes = std::fs::read(&path).unwrap();
    let needle = b"reason 3";
    let place = bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    for at in place..place + needle.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(first_bad(dir.path()).0, 3);
    }
}

#[test]
fn an_entry_exchanged_with_a_valid_hash_of_its_own_breaks_the_chain_after_it() {
    let (dir, other) = (filled(8), filled(4));
    // The same first four entries, then another fifth: its hash is right for its place.
    assert_eq!(open(other.path()).audit(&entry(77)).unwrap(), 5);
    let path = other.path().join("sos.db");
    tamper(
        dir.path(),
        &format!(
            "DELETE FROM audit WHERE seq = 5; ATTACH '{}' AS other;
             INSERT INTO audit SELECT * FROM other.audit WHERE seq = 5",
            path.display()
        ),
    );
    assert_eq!(first_bad(dir.path()).0, 6);
}
