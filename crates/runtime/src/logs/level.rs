//! Levels of log lines, whatever a program calls them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How serious a line is, as OpenTelemetry names it; a later one is more serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Finest detail.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What happens as expected.
    Info,
    /// What should be looked at.
    Warn,
    /// Something failed.
    Error,
    /// The program cannot go on.
    Fatal,
}

/// What programs write, in lower case.
const NAMES: [(&str, Level); 31] = [
    ("trace", Level::Trace),
    ("trc", Level::Trace),
    ("verbose", Level::Trace),
    ("finest", Level::Trace),
    ("finer", Level::Trace),
    ("debug", Level::Debug),
    ("dbg", Level::Debug),
    ("debg", Level::Debug),
    ("fine", Level::Debug),
    ("info", Level::Info),
    ("inf", Level::Info),
    ("information", Level::Info),
    ("informational", Level::Info),
    ("notice", Level::Info),
    ("note", Level::Info),
    ("warn", Level::Warn),
    ("wrn", Level::Warn),
    ("warning", Level::Warn),
    ("error", Level::Error),
    ("err", Level::Error),
    ("eror", Level::Error),
    ("severe", Level::Error),
    ("fatal", Level::Fatal),
    ("ftl", Level::Fatal),
    ("critical", Level::Fatal),
    ("crit", Level::Fatal),
    ("alert", Level::Fatal),
    ("emerg", Level::Fatal),
    ("emergency", Level::Fatal),
    ("panic", Level::Fatal),
    ("dpanic", Level::Fatal),
];

impl Level {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// What a program calls a level, in any case.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let named = |(name, _): &&(&str, Self)| name.eq_ignore_ascii_case(word);
        NAMES.iter().find(named).map(|(_, level)| *level)
    }

    /// What programs call this level and those above.
    pub(super) fn names_from(least: Self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(_, level)| *level >= least).map(|(name, _)| *name)
    }

    /// A severity of syslog (0 to 7), or the numbers 10 to 60 of bunyan and pino.
    pub(super) fn of_number(number: i64) -> Option<Self> {
        match number {
            0..=2 | 60 => Some(Self::Fatal),
            3 | 50 => Some(Self::Error),
            4 | 40 => Some(Self::Warn),
            5 | 6 | 30 => Some(Self::Info),
            7 | 20 => Some(Self::Debug),
            10 => Some(Self::Trace),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    /// Takes what programs call levels, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::of_word(text).ok_or_else(|| {
            format!("{text:?} is no level; known are trace, debug, info, warn, error and fatal")
        })
    }
}
