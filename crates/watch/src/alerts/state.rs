//! What is kept between two steps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::{ActiveAlert, fingerprint};
use super::silence::{KEPT_MS, Silence};
use super::told::Told;
use crate::labels::Labels;

/// Written as JSON it can be read back after a restart, and nothing is told twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotifyState {
    /// By fingerprint.
    pub(super) alerts: BTreeMap<String, Known>,
    /// By route and labels.
    pub(super) groups: BTreeMap<String, GroupTold>,
    silences: Vec<Silence>,
    /// By fingerprint.
    acknowledged: BTreeMap<String, Acknowledgement>,
}

/// An alert that some group has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) labels: Labels,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) starts_at_ms: i64,
    pub(super) ends_at_ms: Option<i64>,
    #[serde(with = "crate::written::float")]
    pub(super) value: f64,
    pub(super) generator_url: String,
}

impl Known {
    pub(super) fn is_firing(&self) -> bool {
        self.ends_at_ms.is_none()
    }
}

impl From<&ActiveAlert> for Known {
    fn from(alert: &ActiveAlert) -> Self {
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at_ms: alert.starts_at_ms,
            ends_at_ms: alert.ends_at_ms,
            value: alert.value,
            generator_url: alert.generator_url.clone(),
        }
    }
}

/// A group, and what each notifier was told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupTold {
    pub(super) labels: Labels,
    /// When it began, in ms since 1970: a group of the same labels that begins later is another one.
    pub(super) since_ms: i64,
    /// When it may tell next.
    pub(super) next_ms: i64,
    /// Fingerprints.
    pub(super) alerts: BTreeSet<String>,
    /// Since when alerts were told that nobody acknowledged.
    pub(super) unheard_since_ms: Option<i64>,
    /// By notifier.
    pub(super) told: BTreeMap<String, Told>,
}

/// Somebody looks after an alert: it is not repeated nor escalated until it ends and fires anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub by: String,
    pub comment: String,
    /// In ms since 1970.
    pub at_ms: i64,
    /// Of the alert that is meant.
    pub(super) starts_at_ms: i64,
}

impl NotifyState {
    /// All silences, those that ended up to 5 days ago among them.
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Adds a silence, or changes the one with its id.
    ///
    /// # Errors
    /// See [`Silence::check`].
    pub fn silence(&mut self, silence: Silence) -> Result<(), String> {
        silence.check()?;
        self.silences.retain(|known| known.id != silence.id);
        self.silences.push(silence);
        Ok(())
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// When there is none with this id that is not over.
    pub fn end_silence(&mut self, id: &str, now_ms: i64) -> Result<(), String> {
        let found = self.silences.iter_mut().find(|silence| silence.id == id && silence.ends_at_ms > now_ms);
        let silence = found.ok_or_else(|| format!("no silence with id {id:?} that is not over"))?;
        silence.starts_at_ms = silence.starts_at_ms.min(now_ms);
        silence.ends_at_ms = now_ms;
        Ok(())
    }

    /// Acknowledges an alert that fires.
    ///
    /// # Errors
    /// When none with these labels fires.
    pub fn acknowledge(
        &mut self,
        labels: &Labels,
        by: &str,
        comment: &str,
        now_ms: i64,
    ) -> Result<(), String> {
        let id = fingerprint(labels);
        let known = self.alerts.get(&id).filter(|known| known.is_firing());
        let known = known.ok_or_else(|| format!("no alert {labels} fires"))?;
        let acknowledgement = Acknowledgement {
            by: by.to_owned(),
            comment: comment.to_owned(),
            at_ms: now_ms,
            starts_at_ms: known.starts_at_ms,
        };
        self.acknowledged.insert(id, acknowledgement);
        Ok(())
    }

    /// Who acknowledged the alert with this fingerprint since it fires.
    pub(super) fn acknowledged(&self, id: &str, known: &Known) -> Option<&Acknowledgement> {
        self.acknowledged.get(id).filter(|a| a.starts_at_ms == known.starts_at_ms)
    }

    /// Takes note of what fires now. What fired before and is missing ended.
    pub(super) fn observe(&mut self, active: &[ActiveAlert], now_ms: i64) {
        let mut missing: BTreeSet<String> = self.alerts.keys().cloned().collect();
        for alert in active {
            let id = fingerprint(&alert.labels);
            missing.remove(&id);
            let before = self.alerts.get(&id);
            // One that ended before it was heard of is nothing to tell.
            if before.is_none() && alert.ends_at_ms.is_some() {
                continue;
            }
            let mut known = Known::from(alert);
            if let Some(before) = before {
                // It came back with the begin that it had: it fires anew since now.
                let same = before.starts_at_ms >= known.starts_at_ms;
                if same && !before.is_firing() && known.is_firing() {
                    known.starts_at_ms = now_ms;
                } else if same {
                    known.starts_at_ms = before.starts_at_ms;
                    known.ends_at_ms = before.ends_at_ms.or(known.ends_at_ms);
                }
            }
            self.alerts.insert(id, known);
        }
        for id in missing {
            if let Some(known) = self.alerts.get_mut(&id) {
                known.ends_at_ms.get_or_insert(now_ms);
            }
        }
    }

    /// Forgets what no group has, and silences that are long over.
    pub(super) fn clean(&mut self, now_ms: i64) {
        let used: BTreeSet<&String> = self.groups.values().flat_map(|group| &group.alerts).collect();
        self.alerts.retain(|id, _| used.contains(id));
        let alerts = &self.alerts;
        self.acknowledged.retain(|id, a| {
            alerts.get(id).is_some_and(|known| known.is_firing() && known.starts_at_ms == a.starts_at_ms)
        });
        self.silences.retain(|silence| now_ms - silence.ends_at_ms < KEPT_MS);
    }
}
