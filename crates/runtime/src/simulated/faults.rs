//! What goes wrong in a simulated runtime, and when.

use std::fmt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::file::{self, SimulationError};
use crate::DriverError;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub time: FaultTime,
    /// Whom it hits; [`FaultKind::Away`] hits the whole runtime whatever stands here.
    pub target: FaultTarget,
    /// What it is.
    pub kind: FaultKind,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultTime {
    /// Then.
    At(Timestamp),
    /// So long after [`Driver::recover`](crate::Driver::recover) was called; again with each driver that is made.
    After(SignedDuration),
}

/// Which replicas a fault hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// Every one.
    All,
    /// All of this service.
    Service(String),
    /// This one.
    Replica(String),
}

impl FaultTarget {
    pub(super) fn is(&self, replica: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => replica.rsplit_once('-').is_some_and(|(of, _)| of == service),
            Self::Replica(name) => replica == name,
        }
    }
}

/// What goes wrong. What happens to a replica hits the run that is under way, not one that is started later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It ends by itself with this code.
    Crash {
        /// The exit code.
        code: i32,
    },
    /// A signal ends it.
    Signal {
        /// The number of the signal.
        signal: i32,
    },
    /// It is killed at its memory limit.
    OutOfMemory,
    /// Starts fail.
    NotStarted {
        /// How long.
        lasts: SignedDuration,
        /// Why, as it is told.
        reason: String,
    },
    /// Its health check fails.
    Hung {
        /// How long; `None` until it ends.
        lasts: Option<SignedDuration>,
    },
    /// It does not end when it is asked, only when it is killed.
    Deaf,
    /// Starts take longer.
    SlowStart {
        /// By how much.
        by: SignedDuration,
        /// How long.
        lasts: SignedDuration,
    },
    /// No call is answered, and none does anything.
    Away {
        /// How long.
        lasts: SignedDuration,
    },
    /// It is gone and so is its record, as after the loss of a disk.
    Lost,
    /// The next call that changes something does so, and fails: its answer is lost.
    Unanswered,
}

impl FaultKind {
    /// How long it goes on by itself, for what is not over at once.
    pub(super) const fn lasts(&self) -> SignedDuration {
        match self {
            Self::NotStarted { lasts, .. } | Self::SlowStart { lasts, .. } | Self::Away { lasts } => *lasts,
            _ => SignedDuration::ZERO,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { code } => write!(f, "crash with code {code}"),
            Self::Signal { signal } => write!(f, "signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::NotStarted { lasts, reason } => write!(f, "no starts for {lasts:#}: {reason}"),
            Self::Hung { lasts: Some(lasts) } => write!(f, "hung for {lasts:#}"),
            Self::Hung { lasts: None } => f.write_str("hung"),
            Self::Deaf => f.write_str("deaf to requests to stop"),
            Self::SlowStart { by, lasts } => write!(f, "starts take {by:#} longer for {lasts:#}"),
            Self::Away { lasts } => write!(f, "away for {lasts:#}"),
            Self::Lost => f.write_str("record lost"),
            Self::Unanswered => f.write_str("the next answer is lost"),
        }
    }
}

/// Faults to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Reads a file of JSON Lines; see [`Faults::parse`].
    ///
    /// # Errors
    /// When the file cannot be read, or the first thing in it that is wrong.
    pub fn read(path: &Path) -> Result<Self, DriverError> {
        let text = file::text(path)?;
        Ok(Self::parse(&text, &path.display().to_string())?)
    }

    /// Reads JSON Lines: an object for each fault, such as
    /// `{"after": "5s", "replica": "web-0", "fault": "crash", "code": 1}`. Blank lines and those that begin with `#` are left
    /// out. `name` is that of the text in errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and field.
    pub fn parse(text: &str, name: &str) -> Result<Self, SimulationError> {
        file::faults(text, name)
    }

    /// Faults of all kinds at random times, the same for the same arguments: `count` of them within `span` of the driver's
    /// recovery, each for at most a twentieth of it, to any of `replicas`, or to all where none is given.
    #[must_use]
    pub fn seeded(seed: u64, count: usize, span: SignedDuration, replicas: &[&str]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| {
                let time = FaultTime::After(up_to(span, &mut random));
                let index = random.random_range(0..replicas.len().max(1));
                let target = replicas
                    .get(index)
                    .map_or(FaultTarget::All, |replica| FaultTarget::Replica((*replica).to_owned()));
                Fault { time, target, kind: any_kind(span / 20, &mut random) }
            })
            .collect();
        faults.sort_by_key(|fault| fault.time);
        Self(faults)
    }

    /// The same faults with `base` as the time of the recovery: they do not come again with another driver.
    #[must_use]
    pub fn since(mut self, base: Timestamp) -> Self {
        for fault in &mut self.0 {
            if let FaultTime::After(after) = fault.time {
                fault.time = FaultTime::At(later(base, after));
            }
        }
        self
    }

    /// All of them, in the order in which they were declared.
    #[must_use]
    pub fn all(&self) -> &[Fault] {
        &self.0
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

/// A time that is at most the last one there is.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A duration from zero to below `limit`, in whole milliseconds.
fn up_to(limit: SignedDuration, random: &mut impl Rng) -> SignedDuration {
    let millis = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX).max(1);
    SignedDuration::from_millis(random.random_range(0..millis))
}

fn any_kind(longest: SignedDuration, random: &mut impl Rng) -> FaultKind {
    let lasts = up_to(longest, random);
    match random.random_range(0..10) {
        0 => FaultKind::Crash { code: random.random_range(0..128) },
        1 => FaultKind::Signal { signal: random.random_range(1..16) },
        2 => FaultKind::OutOfMemory,
        3 => FaultKind::NotStarted { lasts, reason: "a seeded fault".into() },
        4 => FaultKind::Hung { lasts: Some(lasts) },
        5 => FaultKind::Deaf,
        6 => FaultKind::SlowStart { by: up_to(longest, random), lasts },
        7 => FaultKind::Away { lasts },
        8 => FaultKind::Lost,
        _ => FaultKind::Unanswered,
    }
}
