//! Runs: what each began with, how it stands, and its journal, in the database of the channels, so that neither a flood of runs nor
//! one of messages holds up the control loop, and both are backed up as they were at one moment.
//!
//! What runs do, begin with and go through is opaque here.
//!
//! # Guarantees
//! - What [`Runs::write`] acknowledges survives the end of the process and, with
//!   [`Durability::Full`](crate::Durability::Full), a power cut; all of a call or nothing of it.
//! - A beginning with a key is kept once, whatever becomes of the answer.
//! - The entries of a run are numbered without gaps.

mod read;
mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::Selector;
use crate::channels::Channels;

/// The runs of one data directory. Cheap to clone. Calls block, so async callers use blocking threads.
#[derive(Clone, Debug)]
pub struct Runs(Channels);

impl Channels {
    /// The runs that are kept beside the channels.
    #[must_use]
    pub fn runs(&self) -> Runs {
        Runs(self.clone())
    }
}

/// Number of a run in the store; never used twice.
pub type RunId = i64;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// It goes on.
    Running,
    /// It waits for a time or an event, and nothing of it is in memory.
    Waiting,
    /// It was told to rest.
    Suspended,
    /// It ended with an output.
    Completed,
    /// It ended with an error.
    Faulted,
    /// It was ended.
    Cancelled,
}

impl RunState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Waiting, Self::Suspended, Self::Completed, Self::Faulted, Self::Cancelled];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Faulted => "faulted",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Faulted | Self::Cancelled)
    }
}

/// A run that begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its name, unique.
    pub name: String,
    /// Equal for beginnings of which only the first counts.
    pub key: Option<String>,
    /// What is run.
    pub owner: String,
    /// What it does: a digest by which that is known again, and the whole.
    pub document: ([u8; 32], std::sync::Arc<[u8]>),
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it begins.
    pub began: Timestamp,
    /// What it begins with.
    pub start: Vec<u8>,
    /// What others are told of its beginning, if it begins.
    pub tells: Vec<RunEvent>,
}

/// Something that others are told of a run: kept together with what it tells of, until it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    /// The channel that it goes to.
    pub channel: std::sync::Arc<str>,
    /// The event.
    pub body: Vec<u8>,
}

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// When it happened, to the microsecond.
    pub at: Timestamp,
    /// What happened.
    pub body: Vec<u8>,
}

/// How a run stands from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunChange {
    /// Its state.
    pub state: RunState,
    /// When a run that rests goes on by itself.
    pub wake: Option<Timestamp>,
    /// What a run that rests listens to.
    pub hears: Option<String>,
    /// When it ended and with what.
    pub ended: Option<(Timestamp, Vec<u8>)>,
}

/// Something that is written.
#[derive(Clone, Debug)]
pub enum RunWrite {
    /// A run begins, with its first entries and how it stands after them.
    Begin(Box<NewRun>, Vec<RunEntry>, Option<RunChange>),
    /// A run goes on.
    Append {
        /// Which.
        run: RunId,
        /// Number of the first entry, one more than that of the last one kept.
        first: u64,
        /// The entries.
        entries: Vec<RunEntry>,
        /// How it stands now, where that changes.
        change: Option<RunChange>,
    },
    /// A run goes on that has ended, without the entries from a number on.
    Reopen {
        /// Which.
        run: RunId,
        /// The first number that is dropped.
        from: u64,
    },
    /// A run waits for somebody to do something; a repetition with the same key changes nothing.
    Ask(Box<NewTask>),
    /// What is known of a task changes.
    Retell {
        /// Which.
        task: i64,
        /// When it is passed on to others.
        due: Option<Timestamp>,
        /// What is to be done and by whom.
        body: Value,
    },
    /// A task is done, or nobody waits for it any more.
    Forget {
        /// The key of its step.
        key: String,
    },
    /// Others are told of something.
    Tell(Vec<RunEvent>),
    /// What was to be told on a channel is told, up to a number.
    Told {
        /// The channel.
        channel: String,
        /// The number of the last that is told.
        upto: i64,
    },
    /// A small value, kept under a name.
    Mark {
        /// Its name.
        name: String,
        /// The value.
        value: Vec<u8>,
    },
}

/// Something that a run waits for a person to do.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// The run.
    pub run: RunId,
    /// The key of its step, unique.
    pub key: String,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When it is passed on to others.
    pub due: Option<Timestamp>,
    /// What is to be done and by whom.
    pub body: Value,
}

/// A task of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its number.
    pub id: i64,
    /// Name of the run that waits for it.
    pub run_name: String,
    /// What is run.
    pub owner: String,
    /// The task.
    pub task: NewTask,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunWritten {
    /// The run began.
    Began(RunId),
    /// A run with this key had begun before: its number and name.
    Known(RunId, String),
    /// It is kept.
    Kept,
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Its number.
    pub id: RunId,
    /// Its name.
    pub name: String,
    /// What is run.
    pub owner: String,
    /// Number of what it does; see [`Runs::document`].
    pub document: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub began: Timestamp,
    /// What it began with.
    pub start: Vec<u8>,
    /// How it stands.
    pub state: RunState,
    /// When it goes on by itself.
    pub wake: Option<Timestamp>,
    /// What it listens to.
    pub hears: Option<String>,
    /// When it ended, and with what.
    pub ended: Option<(Timestamp, Vec<u8>)>,
}

/// A run that has not ended, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRun {
    /// Its number.
    pub id: RunId,
    /// What is run.
    pub owner: String,
    /// How it stands.
    pub state: RunState,
    /// When it goes on by itself.
    pub wake: Option<Timestamp>,
    /// What it listens to.
    pub hears: Option<String>,
}

/// Which runs are meant.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// What is run.
    pub owner: Option<String>,
    /// How they stand; empty: however.
    pub states: Vec<RunState>,
    /// Their labels.
    pub selector: Selector,
    /// Only those with a lower number.
    pub before: Option<RunId>,
}
