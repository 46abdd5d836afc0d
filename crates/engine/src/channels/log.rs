//! The store's channels as the log that `sos_call` needs.

use std::time::Duration;

use jiff::Timestamp;
use sos_call::events::{
    Appended, DeadLetter, Delivery, Lag, Log, LogError, LogErrorKind, LogResult, NewMessage, Settlement,
    Start, Stored,
};
use sos_store as store;
use sos_store::{Channels, StoreError};

/// Channels of the store.
#[derive(Clone, Debug)]
pub struct StoreLog(pub Channels);

fn told(error: StoreError) -> LogError {
    let kind = match error {
        StoreError::Full | StoreError::Backlog { .. } => LogErrorKind::Full,
        StoreError::Invalid { .. } => LogErrorKind::Invalid,
        _ => LogErrorKind::Failed,
    };
    LogError::new(kind, error.to_string())
}

fn to_store(message: &NewMessage) -> store::NewMessage {
    let NewMessage { id, key, time, body } = message.clone();
    store::NewMessage { id, key, time, body }
}

fn from_store(message: store::NewMessage) -> NewMessage {
    let store::NewMessage { id, key, time, body } = message;
    NewMessage { id, key, time, body }
}

/// Where a group begins, as the store says it.
pub(super) const fn start(start: Start) -> store::Start {
    match start {
        Start::Earliest => store::Start::Earliest,
        Start::Latest => store::Start::Latest,
        Start::Position(position) => store::Start::Position(position),
        Start::Time(time) => store::Start::Time(time),
    }
}

fn settlement(settlement: &Settlement) -> store::Settlement {
    match settlement {
        Settlement::Done => store::Settlement::Done,
        Settlement::Retry { after } => store::Settlement::Retry { after: *after },
        Settlement::Dead { reason } => store::Settlement::Dead { reason: reason.clone() },
    }
}

impl Log for StoreLog {
    fn append(&self, channel: &str, messages: &[NewMessage], now: Timestamp) -> LogResult<Appended> {
        let messages: Vec<_> = messages.iter().map(to_store).collect();
        let store::Appended { first, last, stored, duplicates } =
            self.0.append(channel, &messages, now).map_err(told)?;
        Ok(Appended { first, last, stored, duplicates })
    }

    fn dead(&self, channel: &str, raw: &NewMessage, reason: &str, now: Timestamp) -> LogResult<()> {
        self.0.dead(channel, &to_store(raw), reason, now).map(drop).map_err(told)
    }

    fn read(&self, channel: &str, from: u64, max: usize) -> LogResult<Vec<Stored>> {
        let stored = |one: store::StoredMessage| Stored {
            position: one.position,
            time: one.stored_at,
            message: from_store(one.message),
        };
        Ok(self.0.read(channel, from, max).map_err(told)?.into_iter().map(stored).collect())
    }

    fn position_at(&self, channel: &str, time: Timestamp) -> LogResult<u64> {
        self.0.position_at(channel, time).map_err(told)
    }

    fn take(
        &self,
        channel: &str,
        group: &str,
        max: usize,
        now: Timestamp,
        lease: Duration,
    ) -> LogResult<Vec<Delivery>> {
        let taken = match self.0.take(channel, group, max, now, lease) {
            Err(StoreError::NotFound { .. }) => {
                self.0.group(channel, group, store::Start::Earliest).map_err(told)?;
                self.0.take(channel, group, max, now, lease)
            }
            taken => taken,
        };
        let handed = |one: store::Delivery| Delivery {
            position: one.position,
            attempt: one.attempt,
            message: from_store(one.message),
        };
        Ok(taken.map_err(told)?.into_iter().map(handed).collect())
    }

    fn settle(
        &self,
        channel: &str,
        group: &str,
        settlements: &[(u64, Settlement)],
        now: Timestamp,
    ) -> LogResult<()> {
        let all: Vec<_> = settlements.iter().map(|(position, one)| (*position, settlement(one))).collect();
        self.0.settle(channel, group, &all, now).map(drop).map_err(told)
    }

    fn lag(&self, channel: &str, group: &str) -> LogResult<Lag> {
        let store::Lag { messages, oldest } = self.0.lag(channel, group).map_err(told)?;
        Ok(Lag { messages, oldest })
    }

    fn seek(&self, channel: &str, group: &str, to: Start) -> LogResult<()> {
        // Makes the group where there is none; moves it where there is one.
        self.0.group(channel, group, start(to)).map_err(told)?;
        self.0.seek(channel, group, start(to)).map_err(told)
    }

    fn dead_letters(&self, channel: &str, after: u64, max: usize) -> LogResult<Vec<DeadLetter>> {
        let letter = |one: store::DeadLetter| DeadLetter {
            id: one.id,
            group: one.group,
            reason: one.reason,
            message: from_store(one.message),
        };
        Ok(self.0.dead_letters(channel, after, max).map_err(told)?.into_iter().map(letter).collect())
    }
}
