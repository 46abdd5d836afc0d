//! Alerts as the rules give them.

use std::collections::BTreeMap;

use crate::labels::Labels;
use crate::rules::{AlertState, Group, GroupState};
use crate::template::links;

/// An alert that fires, or ended a short while ago. Pending alerts are none of these.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    /// They identify it.
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires, in ms since 1970.
    pub starts_at_ms: i64,
    /// When it ended; none while it fires.
    pub ends_at_ms: Option<i64>,
    pub value: f64,
    /// The page of its rule.
    pub generator_url: String,
}

/// What a group of rules has to tell: firing alerts, and those that ended less than 15 min ago. Labels of the place are
/// added where an alert does not have them itself.
pub fn active_alerts(
    group: &Group,
    state: &GroupState,
    external: &Labels,
    external_url: &str,
) -> Vec<ActiveAlert> {
    let mut active = Vec::new();
    for (rule, known) in group.rules.iter().zip(&state.rules) {
        let url = format!("{external_url}{}", links::graph(rule.expr.text(), 1));
        for alert in known.alerts.iter().filter(|alert| alert.state != AlertState::Pending) {
            let Some(starts_at_ms) = alert.fired_at_ms else { continue };
            let missing = external.iter().filter(|(name, _)| alert.labels.get(name).is_empty());
            let labels = missing.fold(alert.labels.clone(), |labels, (name, value)| labels.with(name, value));
            active.push(ActiveAlert {
                labels,
                annotations: alert.annotations.clone(),
                starts_at_ms,
                ends_at_ms: alert.resolved_at_ms,
                value: alert.value,
                generator_url: url.clone(),
            });
        }
    }
    active
}

/// The fingerprint of labels, the same as Alertmanager's: FNV-1a of 64 bits, in hexadecimal.
pub fn fingerprint(labels: &Labels) -> String {
    let mut hash = Fnv::default();
    for (name, value) in labels.iter() {
        hash.add(name.as_bytes());
        hash.add(&[0xff]);
        hash.add(value.as_bytes());
        hash.add(&[0xff]);
    }
    hash.hex()
}

/// FNV-1a of 64 bits: stable for ever, as keys must be.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_alertmanager() {
        // The hash of nothing is the start value of FNV-1a.
        assert_eq!(fingerprint(&Labels::empty()), "cbf29ce484222325");
        let one = fingerprint(&Labels::new([("a", "bc")]));
        assert_ne!(one, fingerprint(&Labels::new([("ab", "c")])));
        assert_eq!(one, fingerprint(&Labels::new([("a", "bc"), ("d", "")])));
    }
}
