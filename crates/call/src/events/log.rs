//! The durable log of a channel, as channels need it. The store of this machine is one.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// A message as it is appended, and as it is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// By which a repeated one is known; 1 … 1024 bytes.
    pub id: String,
    /// Messages with the same key are handed out one at a time and in order; up to 1024 bytes.
    pub key: Option<String>,
    /// When what it tells of happened.
    pub time: Timestamp,
    /// The event in JSON.
    pub body: Vec<u8>,
}

/// What an append stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first message that was stored; 0 when none was.
    pub first: u64,
    /// Position of the last one; 0 when none was.
    pub last: u64,
    /// How many were stored.
    pub stored: usize,
    /// How many were dropped because their id was known.
    pub duplicates: usize,
}

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the channel; rises.
    pub position: u64,
    /// When it was appended; never falls.
    pub time: Timestamp,
    /// As it was appended.
    pub message: NewMessage,
}

/// A message that was handed to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the channel, by which it is settled.
    pub position: u64,
    /// How often it has been handed to this group, this time included.
    pub attempt: u32,
    /// As it was appended.
    pub message: NewMessage,
}

/// What a consumer says of a message that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is dealt with.
    Done,
    /// It is to come again, not before this time has passed.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// It can never be dealt with: it becomes a dead letter.
    Dead {
        /// Why.
        reason: String,
    },
}

/// How far a group is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages that it has not settled.
    pub messages: u64,
    /// When the oldest of them was appended.
    pub oldest: Option<Timestamp>,
}

/// Where a group goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is kept.
    Earliest,
    /// With the next one that is appended.
    Latest,
    /// With this position.
    Position(u64),
    /// With the first message that was appended at this time or later.
    Time(Timestamp),
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number; rises.
    pub id: u64,
    /// Group that gave it up; `None` when it never was an event of the channel.
    pub group: Option<String>,
    /// Why.
    pub reason: String,
    /// As it was.
    pub message: NewMessage,
}

/// Why a log has not done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogError {
    /// What to do about it.
    pub kind: LogErrorKind,
    /// For people.
    pub message: String,
}

/// What to do about an error of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogErrorKind {
    /// The consumers are too far behind, or the disk is full: the same may succeed later.
    Full,
    /// A message cannot be kept as it is, too large for example; nothing of the call was stored.
    Invalid,
    /// Anything else: the same may succeed later.
    Failed,
}

impl LogError {
    /// An error of this kind.
    pub fn new(kind: LogErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LogError {}

/// Shorthand of this module.
pub type LogResult<T> = Result<T, LogError>;

/// A durable log for every channel. Calls block; they are made on threads that may wait. What a call has returned is kept
/// whatever ends the process; after an error nothing of the call is.
pub trait Log: Send + Sync {
    /// Appends in this order what is not known by its id.
    ///
    /// # Errors
    /// `Full` while back-pressure holds, `Invalid` for a message that no log keeps.
    fn append(&self, channel: &str, messages: &[NewMessage], now: Timestamp) -> LogResult<Appended>;

    /// Keeps what is no event as a dead letter.
    ///
    /// # Errors
    /// As [`Self::append`].
    fn dead(&self, channel: &str, raw: &NewMessage, reason: &str, now: Timestamp) -> LogResult<()>;

    /// The messages from a position on, or from the first one kept after it; none behind the end.
    ///
    /// # Errors
    /// `Failed`.
    fn read(&self, channel: &str, from: u64, max: usize) -> LogResult<Vec<Stored>>;

    /// Position of the first message that was appended at a time or later, or of the next one that will be.
    ///
    /// # Errors
    /// `Failed`.
    fn position_at(&self, channel: &str, time: Timestamp) -> LogResult<u64>;

    /// Hands messages to a group for the time of the lease. Of those with one key at most one is out at a time, the
    /// first that is not settled.
    ///
    /// # Errors
    /// `Failed`.
    fn take(
        &self,
        channel: &str,
        group: &str,
        max: usize,
        now: Timestamp,
        lease: Duration,
    ) -> LogResult<Vec<Delivery>>;

    /// Settles what was taken; what is not out any more is passed over.
    ///
    /// # Errors
    /// `Failed`; nothing is settled then.
    fn settle(
        &self,
        channel: &str,
        group: &str,
        settlements: &[(u64, Settlement)],
        now: Timestamp,
    ) -> LogResult<()>;

    /// How far a group is behind.
    ///
    /// # Errors
    /// `Failed`.
    fn lag(&self, channel: &str, group: &str) -> LogResult<Lag>;

    /// Lets a group go on elsewhere: all from there on is handed out (again), nothing before it.
    ///
    /// # Errors
    /// `Failed`.
    fn seek(&self, channel: &str, group: &str, start: Start) -> LogResult<()>;

    /// Dead letters with numbers above `after`.
    ///
    /// # Errors
    /// `Failed`.
    fn dead_letters(&self, channel: &str, after: u64, max: usize) -> LogResult<Vec<DeadLetter>>;
}
