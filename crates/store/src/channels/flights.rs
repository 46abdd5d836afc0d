//! What a group of consumers has taken and not settled: pure bookkeeping, no database and no clock.
//!
//! Everything below `next` that has no flight is settled. Of the messages with one key at most one is handed out: the
//! others are held back until it is settled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Settlement;

/// A clock that is put back by more than this moves leases and waits back with it. Less is two callers whose times
/// overtook each other.
const CLOCK_SLACK: i64 = 5_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An earlier message of its key comes first.
    Held,
    /// Handed out until `due`.
    Taken,
    /// To be handed out again from `due` on.
    Waiting,
}

/// A message that was looked at and is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) state: State,
    /// How often it was handed out.
    pub(super) attempt: u32,
    pub(super) due: i64,
    /// 0: none.
    pub(super) key: u64,
    /// About how large it is.
    pub(super) bytes: u32,
    /// Whether its message is a dead letter that was sent again.
    pub(super) letter: bool,
}

/// The messages of one key: one that may be handed out, and those that come after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Queue {
    active: u64,
    held: BTreeSet<u64>,
}

/// What became of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(Flight),
    Retried,
    Dead(Flight),
    /// It was not handed out, or is settled already.
    Ignored,
}

#[derive(Debug, Default)]
pub(super) struct Flights {
    /// First position that was never looked at.
    pub(super) next: u64,
    /// Latest time that was told.
    pub(super) clock: i64,
    all: BTreeMap<u64, Flight>,
    /// May be handed out now.
    ready: BTreeSet<u64>,
    /// Ends of leases and waits.
    due: BTreeSet<(i64, u64)>,
    keys: HashMap<u64, Queue>,
    taken: usize,
    /// What differs from the database.
    changed: BTreeSet<u64>,
}

/// How much a call of take may still give.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) messages: usize,
    pub(super) bytes: u64,
    pub(super) lease_until: i64,
}

impl Room {
    fn fits(&self, bytes: u32, first: bool) -> bool {
        self.messages > 0 && (first || u64::from(bytes) <= self.bytes)
    }

    fn spend(&mut self, bytes: u32) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }
}

/// A message that is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) position: u64,
    pub(super) attempt: u32,
    pub(super) letter: bool,
}

impl Flights {
    /// As it was stored: flights in order of their position.
    pub(super) fn load(next: u64, clock: i64, stored: impl IntoIterator<Item = (u64, Flight)>) -> Self {
        let mut flights = Self { next, clock, all: stored.into_iter().collect(), ..Self::default() };
        let all: Vec<(u64, Flight)> = flights.all.iter().map(|(p, f)| (*p, *f)).collect();
        // Whoever is out keeps its key; only then is the lowest of those held back the next one.
        for (position, flight) in all.iter().filter(|(_, f)| f.state != State::Held) {
            flights.due.insert((flight.due, *position));
            flights.taken += usize::from(flight.state == State::Taken);
            if flight.key != 0 {
                flights.keys.entry(flight.key).or_default().active = *position;
            }
        }
        for (position, flight) in all.iter().filter(|(_, f)| f.state == State::Held) {
            flights.enqueue(*position, flight.key);
        }
        flights
    }

    /// Lets a message that was never handed out wait for its turn; says whether that is now.
    fn enqueue(&mut self, position: u64, key: u64) -> bool {
        if let Some(queue) = self.keys.get_mut(&key).filter(|_| key != 0) {
            queue.held.insert(position);
            return false;
        }
        if key != 0 {
            self.keys.insert(key, Queue { active: position, held: BTreeSet::new() });
        }
        self.ready.insert(position);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn get(&self, position: u64) -> Option<&Flight> {
        self.all.get(&position)
    }

    /// Everything below is settled.
    pub(super) fn floor(&self) -> u64 {
        self.all.keys().next().map_or(self.next, |first| self.next.min(*first))
    }

    /// When a lease or a wait ends next.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Lets time pass: what has come due is ready again.
    pub(super) fn tick(&mut self, now: i64) {
        if now < self.clock.saturating_sub(CLOCK_SLACK) {
            self.shift(self.clock.saturating_sub(now));
            self.clock = now;
        }
        self.clock = self.clock.max(now);
        while let Some((due, position)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, position));
            self.ready.insert(position);
        }
    }

    fn shift(&mut self, by: i64) {
        self.due.clear();
        for (position, flight) in self.all.iter_mut().filter(|(_, f)| f.state != State::Held) {
            flight.due = flight.due.saturating_sub(by);
            self.changed.insert(*position);
            if !self.ready.contains(position) {
                self.due.insert((flight.due, *position));
            }
        }
    }

    /// Hands out what is ready, lowest positions first.
    pub(super) fn give_ready(&mut self, room: &mut Room, given: &mut Vec<Given>) {
        while let Some(position) = self.ready.first().copied() {
            let Some(bytes) = self.all.get(&position).map(|f| f.bytes) else {
                self.ready.remove(&position);
                continue;
            };
            if !room.fits(bytes, given.is_empty()) {
                return;
            }
            self.give(position, room, given);
        }
    }

    fn give(&mut self, position: u64, room: &mut Room, given: &mut Vec<Given>) {
        self.ready.remove(&position);
        let Some(flight) = self.all.get_mut(&position) else { return };
        self.taken += usize::from(flight.state != State::Taken);
        flight.state = State::Taken;
        flight.attempt = flight.attempt.saturating_add(1);
        flight.due = room.lease_until;
        self.due.insert((flight.due, position));
        self.changed.insert(position);
        room.spend(flight.bytes);
        given.push(Given { position, attempt: flight.attempt, letter: flight.letter });
    }

    /// Looks at the message at `next`, whose turn comes now or later; says whether there was room for it.
    pub(super) fn admit(&mut self, key: u64, bytes: u32, room: &mut Room, given: &mut Vec<Given>) -> bool {
        let blocked = key != 0 && self.keys.contains_key(&key);
        if !blocked && !room.fits(bytes, given.is_empty()) {
            return false;
        }
        let position = self.next;
        self.next += 1;
        self.insert(position, key, bytes, false);
        if !blocked {
            self.give(position, room, given);
        }
        true
    }

    fn insert(&mut self, position: u64, key: u64, bytes: u32, letter: bool) {
        let flight = Flight { state: State::Held, attempt: 0, due: 0, key, bytes, letter };
        self.all.insert(position, flight);
        self.changed.insert(position);
        self.enqueue(position, key);
    }

    /// Hands a dead letter out once more, as soon as nothing of its key is out.
    pub(super) fn send_again(&mut self, position: u64, key: u64, bytes: u32) {
        self.insert(position, key, bytes, true);
    }

    /// Whether a message is handed out, or was and waits.
    pub(super) fn is_out(&self, position: u64) -> bool {
        self.all.get(&position).is_some_and(|f| f.attempt > 0)
    }

    pub(super) fn settle(&mut self, position: u64, settlement: &Settlement, now: i64) -> Outcome {
        let Some(flight) = self.all.get(&position).copied().filter(|f| f.attempt > 0) else {
            return Outcome::Ignored;
        };
        match settlement {
            Settlement::Retry { .. } if flight.state != State::Taken => Outcome::Ignored,
            Settlement::Retry { after } => {
                self.wait(position, now.saturating_add(micros(*after)));
                Outcome::Retried
            }
            Settlement::Done => {
                self.remove(position);
                Outcome::Done(flight)
            }
            Settlement::Dead { .. } => {
                self.remove(position);
                Outcome::Dead(flight)
            }
        }
    }

    fn wait(&mut self, position: u64, until: i64) {
        let Some(flight) = self.all.get_mut(&position) else { return };
        self.due.remove(&(flight.due, position));
        self.ready.remove(&position);
        self.taken -= usize::from(flight.state == State::Taken);
        flight.state = State::Waiting;
        flight.due = until;
        self.due.insert((until, position));
        self.changed.insert(position);
    }

    fn remove(&mut self, position: u64) {
        let Some(flight) = self.all.remove(&position) else { return };
        self.changed.insert(position);
        self.due.remove(&(flight.due, position));
        self.ready.remove(&position);
        self.taken -= usize::from(flight.state == State::Taken);
        let Some(queue) = self.keys.get_mut(&flight.key).filter(|_| flight.key != 0) else { return };
        if queue.active != position {
            queue.held.remove(&position);
        } else if let Some(next) = queue.held.pop_first() {
            queue.active = next;
            self.ready.insert(next);
        } else {
            self.keys.remove(&flight.key);
        }
    }

    /// Ends all leases at once.
    pub(super) fn release(&mut self, now: i64) -> usize {
        let taken: Vec<u64> =
            self.all.iter().filter(|(_, f)| f.state == State::Taken).map(|(p, _)| *p).collect();
        taken.iter().for_each(|position| self.wait(*position, now));
        taken.len()
    }

    /// Forgets what is no longer kept, but for dead letters that were sent again; answers how many were not settled.
    pub(super) fn expire(&mut self, first: u64) -> u64 {
        let gone: Vec<u64> = self.all.range(..first).filter(|(_, f)| !f.letter).map(|(p, _)| *p).collect();
        gone.iter().for_each(|position| self.remove(*position));
        let passed = first.saturating_sub(self.next);
        self.next = self.next.max(first);
        gone.len() as u64 + passed
    }

    /// Goes on at `next`; everything taken or waiting is forgotten.
    pub(super) fn seek(&mut self, next: u64) {
        let clock = self.clock;
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(self.all.keys());
        *self = Self { next, clock, changed, ..Self::default() };
    }

    /// What differs from the database since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changed)
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a consumer may do; positions are chosen among those that are out.
    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Take(usize),
        Settle(usize, u8),
        Pass(i64),
        Reload,
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u64).prop_map(Step::Append),
            3 => (1..6_usize).prop_map(Step::Take),
            5 => (any::<usize>(), 0..4_u8).prop_map(|(n, what)| Step::Settle(n, what)),
            2 => (-20_000_000..20_000_000_i64).prop_map(Step::Pass),
            1 => Just(Step::Reload),
            1 => Just(Step::Release),
        ]
    }

    /// Keys of the appended messages by position, what was settled, and what was handed out last.
    #[derive(Default)]
    struct Model {
        keys: Vec<u64>,
        settled: BTreeSet<u64>,
        attempts: BTreeMap<u64, u32>,
        stored: BTreeMap<u64, Flight>,
        now: i64,
    }

    impl Model {
        fn key(&self, position: u64) -> u64 {
            self.keys[position as usize - 1]
        }

        fn take(&mut self, flights: &mut Flights, max: usize) -> Result<(), TestCaseError> {
            flights.tick(self.now);
            let mut room = Room { messages: max, bytes: u64::MAX, lease_until: self.now + 10_000_000 };
            let mut given = Vec::new();
            flights.give_ready(&mut room, &mut given);
            while flights.next <= self.keys.len() as u64 {
                if !flights.admit(self.key(flights.next), 1, &mut room, &mut given) {
                    break;
                }
            }
            prop_assert!(given.is_sorted_by(|a, b| a.position < b.position));
            for given in given {
                let (position, attempts) = (given.position, &mut self.attempts);
                prop_assert!(!self.settled.contains(&position), "{position} was settled");
                *attempts.entry(position).or_default() += 1;
                prop_assert_eq!(attempts[&position], given.attempt);
                let key = self.key(position);
                let earlier = (1..position).filter(|p| key != 0 && self.key(*p) == key);
                let unsettled: Vec<u64> = earlier.filter(|p| !self.settled.contains(p)).collect();
                prop_assert!(unsettled.is_empty(), "{position} overtook {unsettled:?}");
            }
            Ok(())
        }

        fn save(&mut self, flights: &mut Flights) {
            for position in flights.take_changed() {
                match flights.get(position) {
                    Some(flight) => self.stored.insert(position, *flight),
                    None => self.stored.remove(&position),
                };
            }
        }

        fn settle(&mut self, flights: &mut Flights, n: usize, what: u8) {
            let out: Vec<u64> = self.attempts.keys().copied().filter(|p| !self.settled.contains(p)).collect();
            let Some(position) = out.get(n % out.len().max(1)).copied() else { return };
            let settlement = match what {
                0 => Settlement::Retry { after: Duration::from_secs(3) },
                1 => Settlement::Dead { reason: String::new() },
                _ => Settlement::Done,
            };
            match flights.settle(position, &settlement, self.now) {
                Outcome::Done(_) | Outcome::Dead(_) => {
                    self.settled.insert(position);
                }
                Outcome::Retried | Outcome::Ignored => {}
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn nothing_settled_comes_again_no_key_is_overtaken_and_all_comes_in_the_end(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut model = Model::default();
            let mut flights = Flights { next: 1, ..Flights::default() };
            for step in steps {
                match step {
                    Step::Append(key) => model.keys.push(key),
                    Step::Take(max) => model.take(&mut flights, max)?,
                    Step::Settle(n, what) => model.settle(&mut flights, n, what),
                    Step::Pass(micros) => model.now += micros,
                    Step::Reload => {
                        model.save(&mut flights);
                        let stored = model.stored.clone();
                        let same = Flights::load(flights.next, flights.clock, stored);
                        prop_assert_eq!(&same.all, &flights.all);
                        prop_assert_eq!(&same.keys, &flights.keys);
                        prop_assert_eq!(same.taken, flights.taken);
                        flights = same;
                    }
                    Step::Release => drop(flights.release(model.now)),
                }
                let open = flights.all.len() as u64;
                prop_assert_eq!(flights.next - 1 - open, model.settled.len() as u64);
            }
            // Consumers that settle everything reach the end.
            for _ in 0..=model.keys.len() {
                model.now += 60_000_000;
                model.take(&mut flights, usize::MAX)?;
                for position in flights.all.keys().copied().collect::<Vec<_>>() {
                    if let Outcome::Done(_) = flights.settle(position, &Settlement::Done, model.now) {
                        model.settled.insert(position);
                    }
                }
            }
            prop_assert_eq!(model.settled.len(), model.keys.len());
            prop_assert!(flights.keys.is_empty() && flights.due.is_empty() && flights.ready.is_empty());
        }
    }

    fn taken(keys: &[u64]) -> Flights {
        let mut flights = Flights { next: 1, ..Flights::default() };
        let mut room = Room { messages: 100, bytes: u64::MAX, lease_until: 30 };
        keys.iter().for_each(|key| assert!(flights.admit(*key, 1, &mut room, &mut Vec::new())));
        flights
    }

    #[test]
    fn a_dead_letter_that_is_sent_again_waits_for_what_is_out_of_its_key() {
        let mut flights = taken(&[7, 7]);
        assert!(matches!(flights.settle(1, &Settlement::Dead { reason: "x".into() }, 0), Outcome::Dead(_)));
        let mut given = Vec::new();
        flights.give_ready(&mut Room { messages: 9, bytes: 9, lease_until: 30 }, &mut given);
        assert_eq!(given[0].position, 2);
        flights.send_again(1, 7, 1);
        assert!(!flights.any_ready());
        assert!(matches!(flights.settle(2, &Settlement::Done, 0), Outcome::Done(_)));
        given.clear();
        flights.give_ready(&mut Room { messages: 9, bytes: 9, lease_until: 30 }, &mut given);
        assert_eq!(given, [Given { position: 1, attempt: 1, letter: true }]);
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_make_a_lease_longer() {
        let mut flights = taken(&[0]);
        flights.release(0);
        let hour = 3_600_000_000;
        flights.tick(hour);
        flights.give_ready(&mut Room { messages: 1, bytes: 1, lease_until: hour + 30 }, &mut Vec::new());
        flights.tick(0);
        assert!(!flights.any_ready());
        flights.tick(31);
        assert!(flights.any_ready());
    }

    #[test]
    fn what_is_no_longer_kept_is_forgotten_and_counted() {
        let mut flights = taken(&[7, 7, 0]);
        assert!(matches!(flights.settle(3, &Settlement::Done, 0), Outcome::Done(_)));
        assert_eq!((flights.expire(10), flights.next, flights.len(), flights.taken()), (2 + 6, 10, 0, 0));
    }
}
