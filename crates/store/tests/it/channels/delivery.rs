use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sos_store::{
    Appended, Bounds, ChannelLimits, Channels, Consumed, NewMessage, Settlement, Start, StoreError,
};

use super::{LEASE, done, message, open, options, with_channel};
use crate::at;

fn group(channels: &Channels, limits: ChannelLimits) {
    channels.configure("c", limits).unwrap();
    assert!(channels.group("c", "g", Start::Earliest).unwrap());
}

fn append(channels: &Channels, messages: &[NewMessage], now: i64) -> Appended {
    channels.append("c", messages, at(now)).unwrap()
}

/// Positions and attempts of what is taken.
fn take(channels: &Channels, now: i64) -> Vec<(u64, u32)> {
    let taken = channels.take("c", "g", 100, at(now), LEASE).unwrap();
    taken.iter().map(|delivery| (delivery.position, delivery.attempt)).collect()
}

fn settle(channels: &Channels, position: u64, settlement: Settlement, now: i64) {
    let settled = channels.settle("c", "g", &[(position, settlement)], at(now)).unwrap();
    assert_eq!((settled.ignored, settled.done + settled.retried + settled.dead), (0, 1));
}

fn retry(seconds: u64) -> Settlement {
    Settlement::Retry { after: Duration::from_secs(seconds) }
}

fn dead(reason: &str) -> Settlement {
    Settlement::Dead { reason: reason.to_owned() }
}

#[test]
fn repeated_ids_are_dropped_and_counted_within_the_window_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    let window = Duration::from_secs(60);
    channels.configure("c", ChannelLimits { dedupe_window: window, ..ChannelLimits::default() }).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|id| message(id, ""));
    let first = append(&channels, &[a.clone(), b.clone(), a.clone()], 0);
    assert_eq!(first, Appended { first: 1, last: 2, stored: 2, duplicates: 1 });
    drop(channels);
    let channels = open(dir.path());
    let second = append(&channels, &[b.clone(), c, a.clone()], 50);
    assert_eq!(second, Appended { first: 3, last: 3, stored: 1, duplicates: 2 });
    assert_eq!(
        append(&channels, &[a.clone(), b], 61),
        Appended { first: 4, last: 5, stored: 2, duplicates: 0 }
    );
    assert_eq!(append(&channels, &[a], 61), Appended { duplicates: 1, ..Appended::default() });
    let statistics = channels.channel_statistics("c").unwrap();
    assert_eq!((statistics.appended, statistics.duplicates), (5, 4));
    let ids: Vec<_> = channels.read("c", 0, 9).unwrap().into_iter().map(|m| m.message.id).collect();
    assert_eq!(ids, ["a", "b", "c", "a", "b"]);
}

#[test]
fn a_channel_without_a_window_drops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    channels
        .configure("c", ChannelLimits { dedupe_window: Duration::ZERO, ..ChannelLimits::default() })
        .unwrap();
    assert_eq!(append(&channels, &vec![message("a", ""); 3], 0).stored, 3);
    assert_eq!(append(&channels, &[message("a", "")], 0).stored, 1);
}

#[test]
fn what_is_read_is_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    let mut messages: Vec<_> = (0..700).map(|n| message(n, if n % 3 == 0 { "k" } else { "" })).collect();
    messages[5].body = vec![7; 300_000];
    messages[6].body.clear();
    messages[7].time = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
    append(&channels, &messages[..400], 10);
    append(&channels, &messages[400..], 20);
    let all = channels.read("c", 0, 1000).unwrap();
    assert!(all.iter().map(|stored| &stored.message).eq(&messages));
    assert!(all.iter().map(|stored| stored.position).eq(1..=700));
    assert_eq!((all[399].stored_at, all[400].stored_at), (at(10), at(20)));
    let some = channels.read("c", 395, 10).unwrap();
    assert_eq!(some, all[394..404]);
    assert!(channels.read("c", 701, 10).unwrap().is_empty());
    assert_eq!(channels.bounds("c").unwrap(), Bounds { first: 1, next: 701 });
}

#[test]
fn each_group_goes_through_all_messages_on_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    append(&channels, &[message("a", ""), message("b", "")], 0);
    for (name, start) in [("early", Start::Earliest), ("late", Start::Latest), ("two", Start::Position(2))] {
        assert!(channels.group("c", name, start).unwrap());
        assert!(!channels.group("c", name, Start::Earliest).unwrap());
    }
    append(&channels, &[message("c", "")], 0);
    let seen = |name| -> Vec<u64> {
        let taken = channels.take("c", name, 9, at(0), LEASE).unwrap();
        taken.iter().map(|d| d.position).collect()
    };
    assert_eq!((seen("early"), seen("late"), seen("two")), (vec![1, 2, 3], vec![3], vec![2, 3]));
    assert_eq!(channels.groups("c").unwrap(), ["early", "late", "two"]);
    assert!(channels.delete_group("c", "two").unwrap());
    assert!(!channels.delete_group("c", "two").unwrap());
    assert!(matches!(channels.take("c", "two", 1, at(0), LEASE), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_message_waits_for_the_earlier_one_of_its_key_however_often_that_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    append(&channels, &[message("a", "k"), message("b", "k"), message("c", "l"), message("d", "")], 0);
    assert_eq!(take(&channels, 0), [(1, 1), (3, 1), (4, 1)]);
    assert_eq!(take(&channels, 1), []);
    settle(&channels, 1, retry(10), 1);
    assert_eq!(take(&channels, 10), []);
    assert_eq!(channels.next_due("c", "g").unwrap(), Some(at(11)));
    assert_eq!(take(&channels, 11), [(1, 2)]);
    settle(&channels, 1, Settlement::Done, 11);
    assert_eq!(take(&channels, 11), [(2, 1)]);
    let lag = channels.lag("c", "g").unwrap();
    assert_eq!((lag.messages, lag.oldest), (3, Some(at(0))));
}

#[test]
fn leases_and_attempts_outlast_a_restart_and_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    append(&channels, &[message("a", "k"), message("b", "k"), message("c", "")], 0);
    assert_eq!(take(&channels, 0), [(1, 1), (3, 1)]);
    settle(&channels, 3, Settlement::Done, 0);
    drop(channels);
    let channels = open(dir.path());
    assert_eq!(take(&channels, 29), []);
    assert_eq!(take(&channels, 30), [(1, 2)]);
    assert_eq!(channels.release("c", "g", at(31)).unwrap(), 1);
    assert_eq!(take(&channels, 31), [(1, 3)]);
    // Whoever had it at first may still say that it is done.
    settle(&channels, 1, Settlement::Done, 31);
    assert_eq!(take(&channels, 31), [(2, 1)]);
    assert_eq!(channels.settle("c", "g", &done([1, 3, 99]), at(31)).unwrap().ignored, 3);
}

#[test]
fn a_clock_that_jumps_neither_loses_nor_blocks_messages() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_age: Some(Duration::from_secs(1000)), ..ChannelLimits::default() });
    let day = 86_400;
    append(&channels, &[message("a", "k")], day);
    append(&channels, &[message("b", "k")], 0);
    assert_eq!(take(&channels, day), [(1, 1)]);
    assert_eq!(take(&channels, 10), []);
    drop(channels);
    let channels = open(dir.path());
    assert_eq!(take(&channels, 41), [(1, 2)]);
    assert_eq!(channels.position_at("c", at(1)).unwrap(), 1);
    // The first message seems to be of tomorrow, yet it came before one that is too old.
    assert_eq!(channels.enforce(at(900)).unwrap().messages, 0);
    assert_eq!(channels.enforce(at(1001)).unwrap().messages, 2);
}

#[test]
fn dead_letters_are_listed_sent_again_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_dead: 2, ..ChannelLimits::default() });
    append(&channels, &[message("a", "k"), message("b", ""), message("c", "")], 0);
    assert_eq!(take(&channels, 0).len(), 3);
    let all: Vec<_> = (1..=3).map(|n| (n, dead("no such meter"))).collect();
    let refused = channels.settle("c", "g", &all, at(1)).unwrap_err();
    assert!(refused.to_string().contains("3 dead letters with this, 2 are allowed"), "{refused}");
    assert_eq!(channels.settle("c", "g", &all[..2], at(1)).unwrap().dead, 2);
    assert!(matches!(channels.dead("c", &message("x", ""), "r", at(1)), Err(StoreError::Backlog { .. })));
    drop(channels);

    let channels = open(dir.path());
    let letters = channels.dead_letters("c", 0, 10).unwrap();
    let told = (letters[0].group.as_deref(), letters[0].position, letters[0].attempts, &*letters[0].reason);
    assert_eq!(told, (Some("g"), Some(1), 1, "no such meter"));
    assert_eq!((&letters[0].message, letters[0].at), (&message("a", "k"), at(1)));
    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(channels.redrive("c", &ids).unwrap(), 2);
    assert_eq!(channels.redrive("c", &ids).unwrap(), 0);
    assert_eq!(channels.drop_dead("c", &ids).unwrap(), 0);
    // Also when the channel has dropped them meanwhile.
    channels
        .configure("c", ChannelLimits { max_age: Some(Duration::from_secs(5)), ..ChannelLimits::default() })
        .unwrap();
    assert_eq!(channels.enforce(at(7)).unwrap().messages, 3);
    let again = channels.take("c", "g", 9, at(8), LEASE).unwrap();
    assert_eq!(again.iter().map(|d| (d.position, d.attempt)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert_eq!(again[0].message, message("a", "k"));
    settle(&channels, 1, Settlement::Done, 9);
    settle(&channels, 2, dead("still none"), 9);
    let letters = channels.dead_letters("c", 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].attempts, &*letters[0].reason, letters[0].redriven), (2, "still none", false));
    assert_eq!(channels.drop_dead("c", &ids).unwrap(), 1);
    assert_eq!(channels.channel_statistics("c").unwrap().dead_letters, 0);
}

#[test]
fn what_never_was_a_message_can_be_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    let raw = NewMessage { id: String::new(), key: None, time: at(0), body: vec![0xff; 10] };
    let id = channels.dead("c", &raw, "not a CloudEvent", at(3)).unwrap();
    let letters = channels.dead_letters("c", 0, 10).unwrap();
    assert_eq!((letters[0].id, &letters[0].group, &letters[0].message), (id, &None, &raw));
    assert!(channels.dead_letters("c", id, 10).unwrap().is_empty());
    let refused = channels.redrive("c", &[id]).unwrap_err();
    assert!(refused.to_string().contains("never was a message"), "{refused}");
    assert!(matches!(channels.dead("x", &raw, "r", at(3)), Err(StoreError::NotFound { .. })));
    assert_eq!(channels.drop_dead("c", &[id]).unwrap(), 1);
}

#[test]
fn what_comes_of_a_message_is_stored_with_its_settlement_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    channels.configure("out", ChannelLimits { max_bytes: 500, ..ChannelLimits::default() }).unwrap();
    channels.group("out", "o", Start::Earliest).unwrap();
    append(&channels, &[message("a", "k"), message("b", "k")], 0);
    let step = |position, produced: &[(&str, &[NewMessage])]| {
        let settlements = done([position]);
        let consumed = Consumed { channel: "c", group: "g", settlements: &settlements };
        channels.append_and_settle(&consumed, produced, at(1))
    };
    let small = [message("a'", "")];
    assert!(matches!(step(1, &[("out", &small)]), Err(StoreError::Invalid { .. })));
    take(&channels, 0);
    let large = [NewMessage { body: vec![0; 600], ..message("large", "") }];
    assert!(matches!(step(1, &[("out", &small), ("out", &large)]), Err(StoreError::Backlog { .. })));
    assert!(matches!(step(1, &[("out", &small), ("no", &small)]), Err(StoreError::NotFound { .. })));
    assert_eq!(channels.bounds("out").unwrap().next, 1);
    assert_eq!(channels.lag("c", "g").unwrap().messages, 2);
    let (appended, settled) = step(1, &[("out", &small), ("c", &[message("c", "")])]).unwrap();
    assert_eq!((appended[0].stored, appended[1].first, settled.done), (1, 3, 1));
    let again = step(1, &[("out", &small)]).unwrap_err();
    assert!(again.to_string().contains("message 1 of channel c is not out to group g any more"), "{again}");
    assert_eq!(take(&channels, 1), [(2, 1), (3, 1)]);
}

#[test]
fn a_channel_takes_no_more_than_its_slowest_group_may_leave_unsettled() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_backlog: 3, ..ChannelLimits::default() });
    channels.group("c", "fast", Start::Latest).unwrap();
    append(&channels, &[message("a", ""), message("b", "")], 0);
    let more = [message("c", ""), message("d", "")];
    let full = channels.append("c", &more, at(0)).unwrap_err();
    assert!(
        full.to_string().contains("channel c is full: 4 unsettled messages with this, 3 are allowed"),
        "{full}"
    );
    // A repeated message needs no room, and what was refused was not seen.
    assert_eq!(append(&channels, &[message("a", ""), message("c", "")], 0).stored, 1);
    take(&channels, 0);
    settle(&channels, 1, Settlement::Done, 0);
    channels.take("c", "fast", 9, at(0), LEASE).unwrap();
    assert!(channels.append("c", &more[1..], at(0)).is_err());
    channels.settle("c", "fast", &done(1..=3), at(0)).unwrap();
    assert_eq!(append(&channels, &more, 0), Appended { first: 4, last: 4, stored: 1, duplicates: 1 });
}

#[test]
fn bytes_beyond_the_limit_go_only_where_all_have_settled() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_bytes: 10_000, ..ChannelLimits::default() });
    let large = |n: u64| NewMessage { body: vec![1; 3000], ..message(n, "") };
    (1..=3).for_each(|n| assert_eq!(append(&channels, &[large(n)], 0).first, n));
    let full = channels.append("c", &[large(4)], at(0)).unwrap_err();
    assert!(matches!(full, StoreError::Backlog { what: "bytes", .. }), "{full}");
    take(&channels, 0);
    settle(&channels, 2, Settlement::Done, 0);
    assert!(channels.append("c", &[large(4)], at(0)).is_err());
    settle(&channels, 1, Settlement::Done, 0);
    assert_eq!(append(&channels, &[large(4)], 0).first, 4);
    assert_eq!(channels.bounds("c").unwrap().first, 2);
    channels.configure("c", ChannelLimits { max_bytes: 4000, ..ChannelLimits::default() }).unwrap();
    assert_eq!(channels.enforce(at(0)).unwrap().messages, 1);
    assert_eq!(channels.read("c", 0, 9).unwrap()[0].position, 3);
}

#[test]
fn messages_that_are_too_old_go_and_are_counted_for_groups_that_had_not_settled_them() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_age: Some(Duration::from_secs(100)), ..ChannelLimits::default() });
    for n in 0..300 {
        append(&channels, &[message(n, "")], n);
    }
    assert_eq!(channels.take("c", "g", 10, at(300), LEASE).unwrap().len(), 10);
    channels.settle("c", "g", &done(1..=4), at(300)).unwrap();
    let mut rounds = 0;
    while channels.enforce(at(350)).unwrap().more {
        rounds += 1;
    }
    assert!((1..9).contains(&rounds));
    assert_eq!(channels.bounds("c").unwrap(), Bounds { first: 251, next: 301 });
    let lag = channels.lag("c", "g").unwrap();
    assert_eq!((lag.messages, lag.oldest), (50, Some(at(250))));
    assert_eq!(channels.channel_statistics("c").unwrap().groups[0].expired, 246);
    assert_eq!(take(&channels, 350)[0], (251, 1));
    assert_eq!(channels.position_at("c", at(270)).unwrap(), 271);
    assert_eq!(channels.position_at("c", at(0)).unwrap(), 251);
    assert_eq!(channels.position_at("c", at(999)).unwrap(), 301);
}

#[test]
fn a_group_goes_back_and_forth_and_settles_anew() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    for n in 0..5 {
        append(&channels, &[message(n, "k")], n * 10);
    }
    for n in 1..=4 {
        assert_eq!(take(&channels, 50), [(n, 1)]);
        settle(&channels, n, Settlement::Done, 50);
    }
    channels.seek("c", "g", Start::Time(at(11))).unwrap();
    assert_eq!(take(&channels, 50), [(3, 1)]);
    channels.seek("c", "g", Start::Position(99)).unwrap();
    assert_eq!((take(&channels, 50), channels.lag("c", "g").unwrap().messages), (vec![], 0));
    channels.seek("c", "g", Start::Earliest).unwrap();
    drop(channels);
    assert_eq!(take(&open(dir.path()), 50), [(1, 1)]);
}

#[test]
fn a_group_with_too_much_unsettled_gets_no_more_until_it_settles() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits { max_unsettled: 3, ..ChannelLimits::default() });
    let keys = ["k", "k", "k", "", ""];
    append(&channels, &(0..5).map(|n| message(n, keys[n])).collect::<Vec<_>>(), 0);
    assert_eq!(take(&channels, 0), [(1, 1)]);
    settle(&channels, 1, Settlement::Done, 0);
    assert_eq!(take(&channels, 0), [(2, 1), (4, 1)]);
}

#[test]
fn whoever_waits_is_woken_by_what_can_be_taken() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    channels.configure("other", ChannelLimits::default()).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    channels.on_append(move |channel, last| hear.lock().unwrap().push((channel.to_owned(), last)));
    let mut watch = channels.watch("c");
    assert!(!watch.wait(Duration::ZERO));
    std::thread::scope(|scope| {
        scope.spawn(|| append(&channels, &[message("a", "k"), message("b", "k")], 0));
        assert!(watch.wait(Duration::from_secs(60)));
    });
    channels.append("other", &[message("a", "")], at(0)).unwrap();
    assert!(!watch.wait(Duration::ZERO));
    take(&channels, 0);
    assert!(!watch.wait(Duration::ZERO));
    settle(&channels, 1, Settlement::Done, 0);
    assert!(watch.wait(Duration::ZERO));
    append(&channels, &[message("a", "")], 0);
    assert!(!watch.wait(Duration::ZERO), "a repeated message is nothing new");
    assert_eq!(*heard.lock().unwrap(), [("c".to_owned(), 2), ("other".to_owned(), 1)]);
}

#[test]
fn a_deleted_channel_begins_anew_and_its_rest_goes_in_steps() {
    let dir = tempfile::tempdir().unwrap();
    let channels = open(dir.path());
    group(&channels, ChannelLimits::default());
    for n in 0..300 {
        append(&channels, &[NewMessage { body: vec![1; 9000], ..message(n, "") }], 0);
    }
    take(&channels, 0);
    assert!(channels.delete_channel("c").unwrap());
    assert!(!channels.delete_channel("c").unwrap());
    assert!(matches!(channels.append("c", &[message(1, "")], at(0)), Err(StoreError::NotFound { .. })));
    group(&channels, ChannelLimits::default());
    assert_eq!(append(&channels, &[message(1, "")], 0).first, 1);
    assert_eq!(take(&channels, 0), [(1, 1)]);
    let size = || std::fs::metadata(dir.path().join("channels.db")).unwrap().len();
    drop(channels);
    let (channels, before) = (open(dir.path()), size());
    let mut rounds = 0;
    while channels.enforce(at(0)).unwrap().more {
        rounds += 1;
    }
    assert!((3..20).contains(&rounds), "{rounds}");
    drop(channels);
    assert!(size() < before / 2, "{} of {before}", size());
    assert_eq!(open(dir.path()).channels().unwrap().len(), 1);
}

#[test]
fn files_are_private_and_one_process_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    append(&channels, &[message("a", "")], 0);
    for name in ["channels.db", "channels.db-wal", "channels.db-shm", "channels.lock"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let pid = std::process::id();
    let second = Channels::open(dir.path(), options()).unwrap_err();
    assert!(matches!(second, StoreError::Locked { pid: Some(found) } if found == pid), "{second}");
    drop(channels);
    assert_eq!(open(dir.path()).bounds("c").unwrap().next, 2);
}

#[test]
fn limits_and_names_that_allow_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let channels = with_channel(dir.path());
    let none = ChannelLimits { max_backlog: 0, ..ChannelLimits::default() };
    assert!(channels.configure("c", none).unwrap_err().to_string().contains("max_backlog is 0"));
    assert!(channels.configure("", ChannelLimits::default()).is_err());
    assert!(channels.group("c", &"g".repeat(300), Start::Latest).is_err());
    let large = NewMessage { body: vec![0; 2 << 20], ..message("large", "") };
    let refused = channels.append("c", &[message("a", ""), large], at(0)).unwrap_err();
    assert!(refused.to_string().contains("a message of 2097152 bytes; channel c takes up to 1048576"));
    for n in 0..64 {
        channels.group("c", &format!("g{n}"), Start::Latest).unwrap();
    }
    assert!(channels.group("c", "more", Start::Latest).unwrap_err().to_string().contains("64 groups"));
}
