//! Any order of calls, restarts and refusals gives what a simple model in memory says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use sos_store::{ChannelLimits, Channels, FaultPoint, Settlement, Start, StoreError};

use super::{message, open};
use crate::at;

const GROUPS: [&str; 2] = ["g", "h"];
const LEASE: i64 = 20;
const WINDOW: i64 = 50;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, u8)>),
    Take(usize, usize),
    Settle(usize, Vec<(Index, u8)>),
    Pass(u8),
    Restart,
    /// The next call fails before or after it is stored.
    Fail(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..40_u8, 0..4_u8), 1..6).prop_map(Step::Append),
        4 => (0..2_usize, 1..5_usize).prop_map(|(group, max)| Step::Take(group, max)),
        5 => (0..2_usize, prop::collection::vec((any::<Index>(), 0..5_u8), 1..4))
            .prop_map(|(group, all)| Step::Settle(group, all)),
        2 => (0..30_u8).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Fail),
    ]
}

/// One message of a group, as far as it is not settled.
#[derive(Clone, Copy, Debug, Default)]
struct Out {
    attempt: u32,
    due: i64,
    taken: bool,
}

#[derive(Default)]
struct Model {
    now: i64,
    /// Id and key of each message; position 1 first.
    log: Vec<(u8, u8)>,
    seen: BTreeMap<u8, i64>,
    out: [BTreeMap<u64, Out>; 2],
    settled: [BTreeSet<u64>; 2],
}

impl Model {
    fn append(&mut self, messages: &[(u8, u8)]) -> usize {
        let before = self.log.len();
        for (id, key) in messages {
            if self.seen.get(id).is_none_or(|seen| self.now - seen > WINDOW) {
                self.seen.insert(*id, self.now);
                self.log.push((*id, *key));
            }
        }
        self.log.len() - before
    }

    fn key(&self, position: u64) -> u8 {
        self.log[position as usize - 1].1
    }

    /// What a group must be given: walks through everything that is not settled.
    fn take(&mut self, group: usize, max: usize) -> Vec<(u64, u32)> {
        let (mut given, mut busy) = (Vec::new(), BTreeSet::new());
        for position in 1..=self.log.len() as u64 {
            if given.len() == max {
                break;
            }
            let key = self.key(position);
            if self.settled[group].contains(&position) || busy.contains(&key) {
                continue;
            }
            if key != 0 {
                busy.insert(key);
            }
            let out = self.out[group].entry(position).or_default();
            if out.attempt == 0 || out.due <= self.now {
                *out = Out { attempt: out.attempt + 1, due: self.now + LEASE, taken: true };
                given.push((position, out.attempt));
            }
        }
        given
    }

    /// Answers how many settlements take effect.
    fn settle(&mut self, group: usize, position: u64, what: u8) -> usize {
        let now = self.now;
        let Some(out) = self.out[group].get_mut(&position).filter(|out| out.attempt > 0) else { return 0 };
        if self.settled[group].contains(&position) || (what == 0 && !out.taken) {
            return 0;
        }
        if what == 0 {
            (out.due, out.taken) = (now + 7, false);
        } else {
            self.settled[group].insert(position);
        }
        1
    }

    fn unsettled(&self, group: usize) -> u64 {
        (self.log.len() - self.settled[group].len()) as u64
    }
}

fn settlement(what: u8) -> Settlement {
    match what {
        0 => Settlement::Retry { after: Duration::from_secs(7) },
        1 => Settlement::Dead { reason: "model".to_owned() },
        _ => Settlement::Done,
    }
}

/// Repeats a call that failed as injected; answers whether it had been stored all the same.
fn repeat<T>(channels: &Channels, call: impl Fn() -> Result<T, StoreError>) -> (T, bool) {
    match call() {
        Err(StoreError::Injected) => {
            channels.inject_faults(None);
            (call().unwrap(), true)
        }
        done => (done.unwrap(), false),
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut channels = open(dir.path());
    let limits =
        ChannelLimits { dedupe_window: Duration::from_secs(WINDOW as u64), ..ChannelLimits::default() };
    channels.configure("c", limits).unwrap();
    GROUPS.iter().for_each(|group| assert!(channels.group("c", group, Start::Earliest).unwrap()));
    let mut model = Model::default();
    let mut stored_when_it_fails = false;
    for step in steps {
        match step {
            Step::Append(messages) => {
                let list: Vec<_> = messages
                    .iter()
                    .map(|(id, key)| message(id, &if *key == 0 { String::new() } else { key.to_string() }))
                    .collect();
                let wanted = model.append(&messages);
                let (found, failed) = repeat(&channels, || channels.append("c", &list, at(model.now)));
                // Repeated after it had been stored, all of it is there already.
                let wanted = if failed && stored_when_it_fails { 0 } else { wanted };
                prop_assert_eq!((found.stored, found.stored + found.duplicates), (wanted, list.len()));
            }
            Step::Take(group, max) => {
                let lease = Duration::from_secs(LEASE as u64);
                let mut wanted = model.take(group, max);
                let (found, failed) =
                    repeat(&channels, || channels.take("c", GROUPS[group], max, at(model.now), lease));
                if failed && stored_when_it_fails {
                    // What the lost answer held is out; the next ones came.
                    wanted = model.take(group, max);
                }
                let found: Vec<_> = found.iter().map(|d| (d.position, d.attempt)).collect();
                prop_assert_eq!(found, wanted);
            }
            Step::Settle(group, all) if !model.log.is_empty() => {
                let mut wanted = 0;
                let mut list = Vec::new();
                for (index, what) in all {
                    let position = index.index(model.log.len()) as u64 + 1;
                    wanted += model.settle(group, position, what);
                    list.push((position, settlement(what)));
                }
                let (found, failed) =
                    repeat(&channels, || channels.settle("c", GROUPS[group], &list, at(model.now)));
                let wanted = if failed && stored_when_it_fails { 0 } else { wanted };
                prop_assert_eq!(found.done + found.retried + found.dead, wanted);
            }
            Step::Settle(..) => {}
            Step::Pass(seconds) => model.now += i64::from(seconds),
            Step::Restart => {
                drop(channels);
                channels = open(dir.path());
            }
            Step::Fail(after) => {
                stored_when_it_fails = after;
                let place = if after { FaultPoint::AfterCommit } else { FaultPoint::BeforeCommit };
                channels.inject_faults(Some(Arc::new(move |at| at == place)));
                continue;
            }
        }
        channels.inject_faults(None);
        for (index, group) in GROUPS.iter().enumerate() {
            prop_assert_eq!(channels.lag("c", group).unwrap().messages, model.unsettled(index));
        }
    }
    let ids: Vec<_> = channels.read("c", 0, 10_000).unwrap().into_iter().map(|m| m.message.id).collect();
    prop_assert_eq!(ids, model.log.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn calls_restarts_and_failures_give_what_a_model_in_memory_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        run(steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..ProptestConfig::with_cases(500) })]
    #[test]
    #[ignore = "slow: hundreds of longer histories"]
    fn long_histories_too_give_what_a_model_in_memory_says(
        steps in prop::collection::vec(step(), 40..200),
    ) {
        run(steps)?;
    }
}
