//! A log in memory, which fails when it is told to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sos_call::events::{
    Appended, DeadLetter, Delivery, Lag, Log, LogError, LogErrorKind, LogResult, NewMessage, Settlement,
    Start, Stored,
};

/// Bytes of a message.
const LARGEST: usize = 1 << 20;

/// A log of one channel.
pub(crate) struct Memory {
    backlog: u64,
    /// Whether every call fails.
    pub(crate) down: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stored: Vec<Stored>,
    ids: HashSet<String>,
    groups: HashMap<String, Group>,
    dead: Vec<DeadLetter>,
}

#[derive(Default)]
struct Group {
    /// Index of the first message that was never looked at.
    next: usize,
    unsettled: BTreeSet<u64>,
    ready: BTreeSet<u64>,
    out: BTreeMap<u64, Timestamp>,
    attempts: HashMap<u64, u32>,
    /// Keys of which one is ready or out, with those that wait for it.
    held: HashMap<String, VecDeque<u64>>,
}

impl Group {
    fn lag(&self, stored: usize) -> u64 {
        (stored - self.next + self.unsettled.len()) as u64
    }

    /// Settled: the next one of its key may go.
    fn gone(&mut self, position: u64, key: Option<&String>) {
        self.unsettled.remove(&position);
        self.attempts.remove(&position);
        let Some(key) = key else { return };
        match self.held.get_mut(key).and_then(VecDeque::pop_front) {
            Some(next) => drop(self.ready.insert(next)),
            None => drop(self.held.remove(key)),
        }
    }

    fn look(&mut self, stored: &Stored) {
        self.next += 1;
        self.unsettled.insert(stored.position);
        match stored.message.key.as_ref() {
            Some(key) if self.held.contains_key(key) => {
                self.held.get_mut(key).unwrap().push_back(stored.position);
            }
            key => {
                key.map(|key| self.held.insert(key.clone(), VecDeque::new()));
                self.ready.insert(stored.position);
            }
        }
    }
}

impl Memory {
    pub(crate) fn new(backlog: u64) -> Self {
        Self { backlog, down: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> LogResult<MutexGuard<'_, State>> {
        if self.down.load(SeqCst) {
            return Err(LogError::new(LogErrorKind::Failed, "the log is down"));
        }
        Ok(self.state.lock().unwrap())
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now + SignedDuration::try_from(wait).unwrap()
}

fn valid(message: &NewMessage) -> LogResult<()> {
    let short = |text: &str| text.len() <= 1024;
    if short(&message.id) && message.key.as_deref().is_none_or(short) && message.body.len() <= LARGEST {
        return Ok(());
    }
    Err(LogError::new(LogErrorKind::Invalid, format!("{} bytes are too many", message.body.len())))
}

impl Log for Memory {
    fn append(&self, _channel: &str, messages: &[NewMessage], now: Timestamp) -> LogResult<Appended> {
        let mut state = self.state()?;
        messages.iter().try_for_each(valid)?;
        let lag = state.groups.values().map(|group| group.lag(state.stored.len())).max().unwrap_or(0);
        if lag + messages.len() as u64 > self.backlog {
            return Err(LogError::new(LogErrorKind::Full, format!("{lag} messages are not settled")));
        }
        let mut appended = Appended::default();
        for message in messages {
            if !state.ids.insert(message.id.clone()) {
                appended.duplicates += 1;
                continue;
            }
            let position = state.stored.len() as u64 + 1;
            state.stored.push(Stored { position, time: now, message: message.clone() });
            appended.stored += 1;
            appended.last = position;
            appended.first = if appended.first == 0 { position } else { appended.first };
        }
        Ok(appended)
    }

    fn dead(&self, _channel: &str, raw: &NewMessage, reason: &str, _now: Timestamp) -> LogResult<()> {
        let mut state = self.state()?;
        valid(raw)?;
        let id = state.dead.len() as u64 + 1;
        state.dead.push(DeadLetter { id, group: None, reason: reason.to_owned(), message: raw.clone() });
        Ok(())
    }

    fn read(&self, _channel: &str, from: u64, max: usize) -> LogResult<Vec<Stored>> {
        let state = self.state()?;
        let first = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
        Ok(state.stored.iter().skip(first).take(max).cloned().collect())
    }

    fn position_at(&self, _channel: &str, time: Timestamp) -> LogResult<u64> {
        let state = self.state()?;
        Ok(state.stored.iter().take_while(|stored| stored.time < time).count() as u64 + 1)
    }

    fn take(
        &self,
        _channel: &str,
        group: &str,
        max: usize,
        now: Timestamp,
        lease: Duration,
    ) -> LogResult<Vec<Delivery>> {
        let mut state = self.state()?;
        let State { stored, groups, .. } = &mut *state;
        let group = groups.entry(group.to_owned()).or_default();
        let due: Vec<u64> =
            group.out.iter().filter(|(_, due)| **due <= now).map(|(position, _)| *position).collect();
        for position in due {
            group.out.remove(&position);
            group.ready.insert(position);
        }
        let mut taken = vec![];
        while taken.len() < max {
            let Some(position) = group.ready.pop_first() else {
                let Some(next) = stored.get(group.next) else { break };
                group.look(next);
                continue;
            };
            group.out.insert(position, after(now, lease));
            let attempt = group.attempts.entry(position).or_default();
            *attempt += 1;
            let message = stored[usize::try_from(position).unwrap() - 1].message.clone();
            taken.push(Delivery { position, attempt: *attempt, message });
        }
        Ok(taken)
    }

    fn settle(
        &self,
        _channel: &str,
        name: &str,
        settlements: &[(u64, Settlement)],
        now: Timestamp,
    ) -> LogResult<()> {
        let mut state = self.state()?;
        let State { stored, groups, dead, .. } = &mut *state;
        let group = groups.entry(name.to_owned()).or_default();
        for (position, settlement) in settlements {
            if !group.out.contains_key(position) {
                continue;
            }
            let message = &stored[usize::try_from(*position).unwrap() - 1].message;
            if let Settlement::Retry { after: wait } = settlement {
                group.out.insert(*position, after(now, *wait));
                continue;
            }
            group.out.remove(position);
            group.gone(*position, message.key.as_ref());
            if let Settlement::Dead { reason } = settlement {
                let (id, reason) = (dead.len() as u64 + 1, reason.clone());
                dead.push(DeadLetter { id, group: Some(name.to_owned()), reason, message: message.clone() });
            }
        }
        Ok(())
    }

    fn lag(&self, _channel: &str, group: &str) -> LogResult<Lag> {
        let mut state = self.state()?;
        let State { stored, groups, .. } = &mut *state;
        let group = groups.entry(group.to_owned()).or_default();
        let oldest =
            group.unsettled.first().map_or(group.next, |position| usize::try_from(*position).unwrap() - 1);
        Ok(Lag { messages: group.lag(stored.len()), oldest: stored.get(oldest).map(|stored| stored.time) })
    }

    fn seek(&self, _channel: &str, group: &str, start: Start) -> LogResult<()> {
        let mut state = self.state()?;
        let next = match start {
            Start::Earliest => 0,
            Start::Latest => state.stored.len(),
            Start::Position(position) => {
                usize::try_from(position.max(1) - 1).unwrap().min(state.stored.len())
            }
            Start::Time(time) => state.stored.iter().take_while(|stored| stored.time < time).count(),
        };
        state.groups.insert(group.to_owned(), Group { next, ..Group::default() });
        Ok(())
    }

    fn dead_letters(&self, _channel: &str, after: u64, max: usize) -> LogResult<Vec<DeadLetter>> {
        let state = self.state()?;
        Ok(state.dead.iter().filter(|letter| letter.id > after).take(max).cloned().collect())
    }
}
