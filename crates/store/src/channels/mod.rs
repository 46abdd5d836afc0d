//! Channels: durable queues of messages inside the data directory, in a database of their own, so that a flood of
//! messages never holds up the control loop.
//!
//! Messages of a channel have positions 1, 2, 3 … and stay until their channel's limits drop them. Each group of
//! consumers goes through them on its own: it takes messages for a time (a lease) and settles each as done, to be
//! retried, or dead. What was taken and not settled comes again when its lease has ended, also after a crash.
//!
//! # Guarantees
//! - What a call acknowledges survives the end of the process and, with [`Durability::Full`], a power cut. After an
//!   error nothing of the call is stored. Calls of several threads share a wait for the disk.
//! - A message whose id was appended within the window of its channel is dropped and counted, also after a restart.
//! - Every message is handed to each group at least once; once it is settled, never again. Only an end of its age, a
//!   [`seek`](Channels::seek) or a [`redrive`](Channels::redrive) changes that.
//! - Of the messages with one key, one at a time is handed to a group, in order of their positions, however often it
//!   is retried.
//! - Memory and the work under the writer's lock are bounded by the limits of a channel and the size of a call.
//!
//! One process at a time has the channels of a directory open. No clock is read: every time is an argument.

mod append;
mod block;
mod commit;
mod consume;
mod dedupe;
mod file;
mod flights;
mod letters;
mod manage;
mod read;
mod retain;
mod state;
mod wake;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::store::{Durability, FaultHook};

pub(crate) use file::{DB, check_copy, open_reader};
pub use wake::ChannelWatch;

/// Durable channels of one data directory. Cheap to clone; all clones are the same. Calls block, so async callers use
/// blocking threads.
#[derive(Clone)]
pub struct Channels(Arc<commit::Inner>);

/// How channels are opened.
#[derive(Clone, Debug)]
pub struct ChannelOptions {
    /// What an acknowledged call survives.
    pub durability: Durability,
    /// Page cache of the writing connection in KiB (the up to four reading ones have 256 KiB each).
    pub page_cache_kib: u32,
    /// Largest size of the database in pages of 4 KiB; more answers [`StoreError::Full`]. `None`: the disk is the limit.
    pub max_pages: Option<u32>,
    /// About how many bytes of memory the ids seen by all channels may take. What is not used is read again when it is
    /// needed; a single busy channel may need more.
    pub memory_for_ids: usize,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            page_cache_kib: 8 << 10,
            max_pages: None,
            memory_for_ids: 64 << 20,
        }
    }
}

/// A message as it is appended, and as it is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// By which a repeated one is known; 1 … 1024 bytes.
    pub id: String,
    /// Messages with the same key are consumed one at a time and in order; up to 1024 bytes.
    pub key: Option<String>,
    /// When what it tells of happened. Nothing here depends on it.
    pub time: Timestamp,
    /// Its content.
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
    /// How many were dropped because their id had been seen.
    pub duplicates: usize,
}

/// What a channel keeps and accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelLimits {
    /// Messages that were stored longer ago are dropped, whether settled or not. `None`: they stay.
    pub max_age: Option<Duration>,
    /// Beyond so many bytes the oldest messages are dropped that every group has settled; when those that are left are still
    /// too many, nothing more is accepted.
    pub max_bytes: u64,
    /// How many messages the slowest group may have left unsettled; then nothing more is accepted.
    pub max_backlog: u64,
    /// Largest body in bytes.
    pub max_message_bytes: usize,
    /// How long an id is remembered; zero: never.
    pub dedupe_window: Duration,
    /// How many ids are remembered at most; the oldest are forgotten first, about 65,000 at once. Each takes two bytes of memory.
    pub dedupe_ids: u64,
    /// How many messages of a group may be taken, waiting or held back for their key. A group that has so many gets
    /// none of the messages after them until it settles some.
    pub max_unsettled: usize,
    /// How many dead letters are kept. When there are so many, a message cannot be settled as dead.
    pub max_dead: u64,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            max_age: None,
            max_bytes: 1 << 30,
            max_backlog: 1_000_000,
            max_message_bytes: 1 << 20,
            dedupe_window: Duration::from_secs(600),
            dedupe_ids: 10_000_000,
            max_unsettled: 65_536,
            max_dead: 10_000,
        }
    }
}

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its place in the channel.
    pub position: u64,
    /// When it was appended.
    pub stored_at: Timestamp,
    /// As it was appended.
    pub message: NewMessage,
}

/// Where a group of consumers begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is kept.
    Earliest,
    /// With the next one that is appended.
    Latest,
    /// With this position; with the nearest one that is kept or to come where it is not.
    Position(u64),
    /// With the first message that was stored at this time or later.
    Time(Timestamp),
}

/// A message that was handed to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the channel, by which it is settled.
    pub position: u64,
    /// How often it has been handed to this group, this time included.
    pub attempt: u32,
    /// When it was appended; for a dead letter that was sent again, when it died.
    pub stored_at: Timestamp,
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
        /// Why; cut after 4096 bytes.
        reason: String,
    },
}

/// What settling did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Done now.
    pub done: usize,
    /// Will come again.
    pub retried: usize,
    /// Dead letters now.
    pub dead: usize,
    /// Were not out any more: settled before, or moved past by a seek.
    pub ignored: usize,
}

/// What one call consumes, for [`Channels::append_and_settle`].
#[derive(Clone, Copy, Debug)]
pub struct Consumed<'a> {
    /// Channel.
    pub channel: &'a str,
    /// Group of consumers.
    pub group: &'a str,
    /// Position and what becomes of it.
    pub settlements: &'a [(u64, Settlement)],
}

/// How far a group is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages that it has not settled.
    pub messages: u64,
    /// When the oldest of them was appended.
    pub oldest: Option<Timestamp>,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number, by which it is redriven or dropped.
    pub id: u64,
    /// Group that gave it up; nothing when it never was a message of the channel.
    pub group: Option<String>,
    /// Its place in the channel.
    pub position: Option<u64>,
    /// How often it was handed out.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Whether it was sent again and is not settled yet.
    pub redriven: bool,
    /// As it was.
    pub message: NewMessage,
}

/// What is kept of a channel: positions from `first` to before `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Position of the oldest message that is kept; `next` when none is.
    pub first: u64,
    /// Position that the next message will get.
    pub next: u64,
}

/// Figures of a channel. Counts never go down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStatistics {
    /// Its name.
    pub channel: String,
    /// Which positions it keeps.
    pub bounds: Bounds,
    /// Bytes that its messages take.
    pub bytes: u64,
    /// Messages stored so far.
    pub appended: u64,
    /// Messages dropped so far because their id had been seen.
    pub duplicates: u64,
    /// Dead letters that are kept now.
    pub dead_letters: u64,
    /// Its groups in order of their names.
    pub groups: Vec<GroupStatistics>,
}

/// Figures of a group of consumers. Counts never go down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatistics {
    /// Its name.
    pub group: String,
    /// Messages that it has not settled.
    pub lag: u64,
    /// Messages that are taken and neither settled nor waiting now.
    pub in_flight: u64,
    /// Messages handed out, repeated ones included.
    pub given: u64,
    /// Messages settled as done.
    pub settled: u64,
    /// Messages that were to come again.
    pub retried: u64,
    /// Messages settled as dead.
    pub dead: u64,
    /// Messages dropped for their age before they were settled.
    pub expired: u64,
}

/// What [`Channels::enforce`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    /// Messages dropped.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("dir", &self.0.dir()).finish_non_exhaustive()
    }
}

impl Channels {
    /// Opens the channels of a data directory, creating directory and database when they are missing. Reads nothing of
    /// the messages, however many there are.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process (or this one) has them open, [`StoreError::NewerSchema`],
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn open(dir: &Path, options: ChannelOptions) -> Result<Self> {
        Ok(Self(Arc::new(commit::Inner::open(dir, options)?)))
    }

    /// Lets calls fail where `hook` says so; for tests of the callers. `None` ends it.
    pub fn inject_faults(&self, hook: Option<FaultHook>) {
        self.0.inject_faults(hook);
    }
}

fn no_channel(name: &str) -> StoreError {
    StoreError::NotFound { what: format!("channel {name}") }
}

fn no_group(channel: &str, group: &str) -> StoreError {
    StoreError::NotFound { what: format!("group {group} of channel {channel}") }
}
