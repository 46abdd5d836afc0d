//! A measured value, or the reason why there is none.

use serde::{Deserialize, Serialize};

/// Why a value is missing. Missing data is a value with a reason, never zero and never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Nothing has been measured yet.
    NotYet,
    /// The source has a gap at this time.
    Gap,
    /// The last value is older than its source allows.
    Stale,
    /// The service or device that would deliver it does not answer.
    Unavailable,
    /// A value came but is impossible: not a number, outside its range, or of the wrong type.
    Invalid,
    /// The controller itself was not running.
    NotRunning,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotYet => "not measured yet",
            Self::Gap => "gap in the source",
            Self::Stale => "too old",
            Self::Unavailable => "source does not answer",
            Self::Invalid => "impossible value",
            Self::NotRunning => "controller was not running",
        })
    }
}

/// A value or the reason for its absence.
pub type Reading<T> = Result<T, Missing>;
