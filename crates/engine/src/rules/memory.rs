//! What a rule keeps: how far it has looked, what it has to remember, and what it decided and why.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sos_workflow::rule::Memory;

use super::Rules;
use crate::relock;

/// Decisions that are kept.
const KEPT: usize = 30;
/// Characters of what happened that are kept with a decision.
const LONGEST: usize = 500;

/// Everything about a rule that outlives the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Tells the rule from an earlier one of its name, whose memory is none of its business.
    pub(super) uid: u64,
    /// The channel that was heard, and the place of its next event.
    pub(super) heard: Option<(String, u64)>,
    /// When its schedule came last.
    pub(super) came: Option<Timestamp>,
    /// The series that its query gave last, by their labels.
    pub(super) present: BTreeMap<String, Present>,
    pub(super) memory: Memory,
    decisions: VecDeque<Decision>,
    acted: u64,
    passed: u64,
}

/// A series that a query gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Present {
    /// Since when.
    pub(super) since: Timestamp,
    /// Whether it has counted.
    pub(super) counted: bool,
}

/// What a rule decided, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decision {
    at: Timestamp,
    /// What happened, shortened.
    cause: String,
    /// `acted`, `failed`, `waits`, `passed` or `dry run`.
    outcome: String,
    /// Why it did not act, or until when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What was done, or would have been, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    did: Vec<String>,
}

impl Decision {
    pub(super) fn new(at: Timestamp, cause: &Value, outcome: &str) -> Self {
        let mut text = cause.to_string();
        if text.chars().count() > LONGEST {
            text = text.chars().take(LONGEST).chain(['…']).collect();
        }
        Self { at, cause: text, outcome: outcome.to_owned(), why: None, did: Vec::new() }
    }

    pub(super) fn because(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    pub(super) fn did(self, did: Vec<String>) -> Self {
        Self { did, ..self }
    }
}

impl State {
    /// Of a new rule.
    pub(super) fn of(uid: u64) -> Self {
        Self { uid, ..Self::default() }
    }

    pub(super) fn note(&mut self, decision: Decision) {
        match decision.outcome.as_str() {
            "acted" | "failed" | "dry run" => self.acted += 1,
            "passed" => self.passed += 1,
            _ => {}
        }
        self.decisions.push_front(decision);
        self.decisions.truncate(KEPT);
    }

    /// As it is shown, the latest decision first.
    pub(super) fn shown(&self) -> Value {
        let last =
            self.decisions.iter().find(|one| matches!(one.outcome.as_str(), "acted" | "failed" | "dry run"));
        json!({
            "acted": self.acted,
            "passed": self.passed,
            "lastActed": last.map(|one| one.at.to_string()),
            "waitsUntil": self.memory.waiting.as_ref().map(|(until, _)| until.to_string()),
            "decisions": self.decisions,
        })
    }
}

fn mark(rule: &str) -> String {
    format!("rule/{rule}")
}

impl Rules {
    /// What the rule with this number kept; none for a new one.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn recall(&self, rule: &str, uid: u64) -> Result<Option<State>, String> {
        let Some(platform) = self.0.platform.upgrade() else { return Err("the server stops".to_owned()) };
        let kept = platform.runs().kept(&mark(rule)).await?;
        // What another version kept and this one cannot read counts as nothing.
        let state = kept.and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
        let state = state.filter(|state| state.uid == uid);
        if let Some(state) = &state {
            relock(&self.0.states).insert(rule.to_owned(), state.clone());
        }
        Ok(state)
    }

    /// Keeps it; it is on disk when this returns.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn keep(&self, rule: &str, state: &State) -> Result<(), String> {
        relock(&self.0.states).insert(rule.to_owned(), state.clone());
        let Some(platform) = self.0.platform.upgrade() else { return Err("the server stops".to_owned()) };
        let bytes = serde_json::to_vec(state).map_err(|error| error.to_string())?;
        platform.runs().keep_mark(mark(rule), bytes).await
    }
}
