use serde_json::json;
use sos_store::Labels;

use crate::{entry, open};

#[test]
fn threads_and_a_second_process_like_store_write_one_unbroken_record() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let series = stores[0].series_id("x", &Labels::new()).unwrap();
    std::thread::scope(|scope| {
        for (n, store) in stores.iter().chain(&stores).enumerate() {
            scope.spawn(move || {
                for tick in 0..50_i64 {
                    let time = crate::at(tick * 4 + n as i64);
                    let sample = sos_store::Sample { series, time, known_at: time, value: Ok(1.0) };
                    store
                        .commit(|tx| {
                            tx.audit(&entry(tick))?;
                            tx.append_samples(&[sample])?;
                            tx.journal("j", "k", 1, b"x")
                        })
                        .unwrap();
                    store.get_kv("nothing").unwrap();
                }
            });
        }
    });
    let all = crate::at(0)..crate::at(10_000);
    for store in &stores {
        assert_eq!(store.verify_audit().unwrap().entries, 200);
        assert_eq!(store.range(series, all.clone(), None).unwrap().len(), 200);
        let records = store.read_journal("j", 0, 1000).unwrap();
        assert!(records.iter().zip(1..).all(|(r, seq)| r.seq == seq) && records.len() == 200);
    }
}

#[test]
fn a_panic_inside_a_transaction_leaves_no_trace_and_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let panicking = store.clone();
    let outcome = std::thread::spawn(move || {
        panicking.commit(|tx| -> sos_store::Result<()> {
            tx.audit(&entry(1))?;
            tx.put_kv("half", &json!(1))?;
            panic!("a bug of the caller")
        })
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!(store.get_kv("half").unwrap(), None);
    assert_eq!(store.audit(&entry(2)).unwrap(), 1);
    assert_eq!(store.verify_audit().unwrap().entries, 1);
}
