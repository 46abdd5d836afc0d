//! Silences: alerts that people know of, up to an end.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::matcher::Matcher;

/// How long a silence is kept after its end, so that people see what it was: 5 days, in ms.
pub(super) const KEPT_MS: i64 = 5 * 86_400_000;

/// Alerts that match are not told between its start and its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Chosen by whoever makes it; a later one with the same id takes its place.
    pub id: String,
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// In ms since 1970, inclusive.
    pub starts_at_ms: i64,
    /// Exclusive.
    pub ends_at_ms: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// # Errors
    /// When it silences nothing or everything, has no end after its start, or does not say who and why.
    pub fn check(&self) -> Result<(), String> {
        if self.matchers.is_empty() || self.matchers.iter().all(|m| m.matches("")) {
            return Err("the silence would match every alert; expected a matcher such as alertname=\"Name\""
                .to_owned());
        }
        if self.ends_at_ms <= self.starts_at_ms {
            return Err("the silence ends before it starts; expected an end after its start".to_owned());
        }
        if self.created_by.is_empty() || self.comment.is_empty() {
            return Err("the silence does not say who made it and why; expected both".to_owned());
        }
        Ok(())
    }

    pub fn is_active(&self, now_ms: i64) -> bool {
        self.starts_at_ms <= now_ms && now_ms < self.ends_at_ms
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(m.name())))
    }
}
