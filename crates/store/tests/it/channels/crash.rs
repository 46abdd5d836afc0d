//! A process that produces and consumes is killed at seeded moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sos_store::{ChannelLimits, Channels, Consumed, NewMessage, Settlement, Start};

use super::{LEASE, message, options};
use crate::at;

const DIR: &str = "SOS_CHANNELS_CRASH_DIR";
const KILLS: u64 = 25;
const KEYS: u64 = 7;

/// Message `n` has key `n % 7`, and every tenth none.
fn numbered(n: u64) -> NewMessage {
    let key = if n.is_multiple_of(10) { String::new() } else { (n % KEYS).to_string() };
    message(n, &key)
}

/// Not a test of its own: what the killed process runs. It tells each call before it makes it, and its answer.
#[test]
#[ignore = "child: the process that the crash test kills"]
fn child_of_the_channels_crash_test() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let channels = Channels::open(Path::new(&dir), options()).unwrap();
    channels.configure("in", ChannelLimits::default()).unwrap();
    channels.configure("out", ChannelLimits::default()).unwrap();
    channels.group("in", "g", Start::Earliest).unwrap();
    // Its former life has ended, and so have its leases.
    channels.release("in", "g", at(0)).unwrap();
    let mut out = std::io::stdout();
    let mut tell = |line: String| {
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    tell("\nstart".to_owned());
    let mut next = channels.bounds("in").unwrap().next;
    loop {
        // Some are repeated, as by a producer that got no answer.
        let from = next.saturating_sub(3).max(1);
        let batch: Vec<_> = (from..next + 5).map(numbered).collect();
        let appended = channels.append("in", &batch, at(0)).unwrap();
        next = channels.bounds("in").unwrap().next;
        tell(format!("appended {}", appended.last));
        for delivery in channels.take("in", "g", 6, at(0), LEASE).unwrap() {
            tell(format!("taken {} {} {}", delivery.position, delivery.attempt, delivery.message.id));
            let n = delivery.position;
            let settlement = match (n % 13, delivery.attempt) {
                (0, 1) => Settlement::Retry { after: std::time::Duration::ZERO },
                (1, _) => Settlement::Dead { reason: "thirteen".into() },
                _ => Settlement::Done,
            };
            let settlements = [(n, settlement)];
            let consumed = Consumed { channel: "in", group: "g", settlements: &settlements };
            let produced = [message(format!("of {n}"), "")];
            let produced: &[NewMessage] =
                if matches!(settlements[0].1, Settlement::Done) { &produced } else { &[] };
            channels.append_and_settle(&consumed, &[("out", produced)], at(0)).unwrap();
            if !matches!(settlements[0].1, Settlement::Retry { .. }) {
                tell(format!("settled {n}"));
            }
        }
    }
}

fn start(dir: &Path) -> Child {
    let name = "channels::crash::child_of_the_channels_crash_test";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the process told over all its lives.
#[derive(Default)]
struct Told {
    appended: u64,
    attempts: BTreeMap<u64, u32>,
    settled: BTreeSet<u64>,
    /// Taken or about to be settled when it was killed.
    open: BTreeSet<u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["appended", last] => self.appended = self.appended.max(last.parse().unwrap()),
            ["taken", position, attempt, id] => self.taken(position, attempt, id),
            ["settled", position] => {
                let position = position.parse().unwrap();
                self.settled.insert(position);
                self.open.remove(&position);
            }
            _ => {}
        }
    }

    fn taken(&mut self, position: &str, attempt: &str, id: &str) {
        assert_eq!(position, id, "message {id} is at position {position}");
        let (position, attempt): (u64, u32) = (position.parse().unwrap(), attempt.parse().unwrap());
        assert!(!self.settled.contains(&position), "{position} was settled and comes again");
        // Attempts that were counted before a kill but not heard of may be missing.
        assert!(attempt > self.attempts.get(&position).copied().unwrap_or(0), "attempts of {position}");
        self.attempts.insert(position, attempt);
        let key = position % KEYS;
        let overtaken = (1..position)
            .filter(|p| p % KEYS == key && p % 10 != 0 && position % 10 != 0)
            .find(|p| !self.settled.contains(p) && !self.open.contains(p));
        assert_eq!(overtaken, None, "{position} came before it was settled");
        self.open.insert(position);
    }
}

fn run_and_kill(dir: &Path, calls: u64, told: &mut Told) {
    let mut child = start(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut seen, mut killed) = (0, false);
    // After the kill the pipe still holds what was told before it; its last line may be cut off.
    let mut before: Option<String> = None;
    while let Some(Ok(line)) = lines.next() {
        before.replace(line).iter().for_each(|line| told.hear(line));
        seen += 1;
        if seen >= calls && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {seen} lines");
}

#[test]
fn a_killed_consumer_loses_nothing_repeats_only_what_was_open_and_keeps_the_order_of_keys() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let mut seed = 0x5eed_u64;
    let mut told = Told::default();
    for kill in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        run_and_kill(&dir, 10 + (seed >> 33 & 255), &mut told);
        check(&dir, &mut told, kill);
    }
    assert!(told.settled.len() > 500, "{}", told.settled.len());
}

/// Everything acknowledged is there once, in order; what is settled is so with what came of it.
fn check(dir: &Path, told: &mut Told, kill: u64) {
    let Ok(channels) = Channels::open(dir, options()) else {
        panic!("kill {kill}: the channels cannot be opened");
    };
    let all = channels.read("in", 0, 1_000_000).unwrap();
    assert!(all.len() as u64 >= told.appended, "kill {kill}: {} of {} messages", all.len(), told.appended);
    assert!(all.iter().all(|m| m.message == numbered(m.position)), "kill {kill}");
    let produced = channels.read("out", 0, 1_000_000).unwrap();
    let produced: BTreeSet<u64> =
        produced.iter().map(|m| m.message.id.trim_start_matches("of ").parse().unwrap()).collect();
    let dead: BTreeSet<u64> = channels
        .dead_letters("in", 0, 1_000_000)
        .unwrap()
        .iter()
        .filter_map(|letter| letter.position)
        .collect();
    let settled: BTreeSet<u64> = produced.union(&dead).copied().collect();
    assert!(told.settled.is_subset(&settled), "kill {kill}");
    // At most the one settlement whose answer was not told any more.
    let untold: Vec<_> = settled.difference(&told.settled).collect();
    assert!(untold.len() <= 2, "kill {kill}: {untold:?}");
    let lag = channels.lag("in", "g").unwrap().messages;
    assert_eq!(lag, (all.len() - settled.len()) as u64, "kill {kill}");
    assert_eq!(channels.bounds("out").unwrap().next - 1, produced.len() as u64, "kill {kill}");
    told.settled = settled;
    let done = &told.settled;
    told.open.retain(|position| !done.contains(position));
}
