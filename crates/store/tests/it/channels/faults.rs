use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use sos_store::{
    ChannelLimits, ChannelOptions, Channels, FaultPoint, NewMessage, Settlement, Start, StoreError,
};

use super::{LEASE, done, message, open, options, with_channel};
use crate::at;

#[test]
fn a_full_disk_half_applies_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = ChannelOptions { max_pages: Some(120), ..options() };
    let channels = Channels::open(dir.path(), tiny).unwrap();
    channels.configure("c", ChannelLimits::default()).unwrap();
    channels.group("c", "g", Start::Earliest).unwrap();
    let three = |n: u64| -> Vec<NewMessage> {
        (0..3).map(|i| NewMessage { body: vec![1; 2000], ..message(n * 3 + i, "k") }).collect()
    };
    let mut done_batches = 0;
    let error = loop {
        match channels.append("c", &three(done_batches), at(0)) {
            Ok(appended) => assert_eq!(appended.first, done_batches * 3 + 1),
            Err(error) => break error,
        }
        done_batches += 1;
        assert!(done_batches < 10_000, "the limit was never met");
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(done_batches > 10);
    let next = done_batches * 3 + 1;
    assert_eq!(
        (channels.bounds("c").unwrap().next, channels.lag("c", "g").unwrap().messages),
        (next, next - 1)
    );
    // A small call shares no fate with a large one that finds no room.
    let large = NewMessage { body: vec![1; 100_000], ..message("large", "") };
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| channels.append("c", std::slice::from_ref(&large), at(0)));
        assert!(channels.take("c", "g", 1, at(0), LEASE).is_ok());
        assert!(matches!(refused.join().unwrap(), Err(StoreError::Full)));
    });
    drop(channels);
    let roomy = open(dir.path());
    assert_eq!(roomy.append("c", &three(done_batches), at(0)).unwrap().first, next);
    assert_eq!(roomy.append("c", &[large], at(0)).unwrap().stored, 1);
    let all = roomy.read("c", 0, 100_000).unwrap();
    assert!(all.iter().map(|m| m.position).eq(1..next + 4));
}

#[test]
fn a_failed_commit_leaves_no_trace_in_memory_either() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    channels.group("c", "g", Start::Earliest).unwrap();
    channels.append("c", &[message("a", ""), message("b", "")], at(0)).unwrap();
    let fails = |wanted| channels.inject_faults(Some(Arc::new(move |at| at == wanted)));
    fails(FaultPoint::BeforeCommit);
    assert!(matches!(channels.append("c", &[message("x", "")], at(0)), Err(StoreError::Injected)));
    assert!(matches!(channels.take("c", "g", 9, at(0), LEASE), Err(StoreError::Injected)));
    channels.inject_faults(None);
    let taken = channels.take("c", "g", 9, at(0), LEASE).unwrap();
    assert_eq!(taken.iter().map(|d| (d.position, d.attempt)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    fails(FaultPoint::BeforeCommit);
    assert!(channels.settle("c", "g", &done([1]), at(0)).is_err());
    fails(FaultPoint::AfterCommit);
    assert!(channels.settle("c", "g", &[(2, Settlement::Dead { reason: "r".into() })], at(0)).is_err());
    channels.inject_faults(None);
    let settled = channels.settle("c", "g", &done([1, 2]), at(0)).unwrap();
    assert_eq!((settled.done, settled.ignored), (1, 1));
    assert_eq!(channels.dead_letters("c", 0, 9).unwrap().len(), 1);
    assert_eq!(channels.append("c", &[message("x", "")], at(0)).unwrap().first, 3);
}

#[test]
fn of_calls_that_share_a_transaction_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    channels.configure("c", ChannelLimits { max_backlog: 400, ..ChannelLimits::default() }).unwrap();
    channels.group("c", "g", Start::Earliest).unwrap();
    // Some fail at their commit, and with them at first all that share it.
    let turn = std::sync::atomic::AtomicU32::new(0);
    let fails = move |at| {
        at == FaultPoint::BeforeCommit && turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 5 == 4
    };
    channels.inject_faults(Some(Arc::new(fails)));
    let stored: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let channels = &channels;
                scope.spawn(move || {
                    let one = |n: i32| match channels.append("c", &[message(thread * 1000 + n, "")], at(0)) {
                        Ok(appended) => appended.stored,
                        Err(StoreError::Injected | StoreError::Backlog { .. }) => 0,
                        Err(other) => panic!("{other}"),
                    };
                    (0..100).map(one).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    channels.inject_faults(None);
    assert_eq!(channels.read("c", 0, 1000).unwrap().len(), stored);
    assert_eq!(stored, 400);
}

/// Changes bytes of the database where `old` stands.
fn damage(path: &std::path::Path, old: &[u8]) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let place = bytes.windows(old.len()).position(|window| window == old).unwrap();
    file.seek(SeekFrom::Start(place as u64)).unwrap();
    file.write_all(&vec![b'#'; old.len()]).unwrap();
}

#[test]
fn a_damaged_file_is_told_and_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    channels.group("c", "g", Start::Earliest).unwrap();
    channels.append("c", &[message("first", "")], at(0)).unwrap();
    channels.append("c", &[message("second", "")], at(0)).unwrap();
    drop(channels);
    let path = dir.path().join("channels.db");
    damage(&path, b"body of second");
    let channels = open(dir.path());
    assert_eq!(channels.read("c", 1, 1).unwrap()[0].message.id, "first");
    for damaged in [channels.read("c", 2, 1).map(drop), channels.take("c", "g", 2, at(0), LEASE).map(drop)] {
        let error = damaged.unwrap_err();
        assert!(error.to_string().contains("restore a backup with `sos restore FILE`"), "{error}");
    }
    drop(channels);
    // Cut off in the middle of its pages.
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 3).unwrap();
    let outcome = Channels::open(dir.path(), options())
        .and_then(|channels| channels.append("c", &[message("third", "")], at(0)));
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}
