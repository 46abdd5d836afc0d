//! Conditions and events, in the shape Kubernetes users know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

/// One aspect of the state of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word for programs, such as `ProbeFailed`.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// When `status` changed last.
    pub last_transition_time: Timestamp,
}

/// Puts a condition among others: one per type, and the transition time moves only when the status changes. Says
/// whether anything changed.
pub fn set_condition(conditions: &mut Vec<Condition>, new: Condition) -> bool {
    let Some(old) = conditions.iter_mut().find(|old| old.kind == new.kind) else {
        conditions.push(new);
        return true;
    };
    let time = if old.status == new.status { old.last_transition_time } else { new.last_transition_time };
    let new = Condition { last_transition_time: time, ..new };
    let changed = *old != new;
    *old = new;
    changed
}

/// Whether an event needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// It is the expected course.
    Normal,
    /// It needs attention.
    Warning,
}

/// The resource that something concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind, such as `Service`.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Something that happened to a resource; repeats are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What it happened to.
    pub involved_object: ObjectRef,
    /// Whether it needs attention.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// What happened, as one word for programs, such as `Restarted`.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// When it happened first.
    pub first_timestamp: Timestamp,
    /// When it happened last.
    pub last_timestamp: Timestamp,
    /// How often.
    pub count: u32,
}

impl Event {
    /// Counts a repeat of the same event; `false` when `other` is another one.
    pub fn absorb(&mut self, other: &Self) -> bool {
        let same = self.involved_object == other.involved_object
            && self.kind == other.kind
            && self.reason == other.reason
            && self.message == other.message;
        if same {
            self.count = self.count.saturating_add(other.count);
            self.first_timestamp = self.first_timestamp.min(other.first_timestamp);
            self.last_timestamp = self.last_timestamp.max(other.last_timestamp);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: ConditionStatus, second: i64) -> Condition {
        let last_transition_time = Timestamp::from_second(second).unwrap();
        let (kind, reason, message) = ("Ready".to_owned(), "Probe".to_owned(), String::new());
        Condition { kind, status, reason, message, last_transition_time }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        assert!(set_condition(&mut conditions, ready(ConditionStatus::True, 1)));
        assert!(!set_condition(&mut conditions, ready(ConditionStatus::True, 2)));
        assert_eq!(conditions[0].last_transition_time.as_second(), 1);
        assert!(set_condition(&mut conditions, ready(ConditionStatus::False, 3)));
        assert_eq!(conditions[0].last_transition_time.as_second(), 3);
    }

    #[test]
    fn a_condition_has_the_keys_of_kubernetes() {
        let json = serde_json::to_value(ready(ConditionStatus::True, 0)).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["lastTransitionTime", "message", "reason", "status", "type"]);
    }

    #[test]
    fn repeats_of_an_event_are_counted() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let event = |second| Event {
            involved_object: ObjectRef { kind: "Service".into(), name: "a".into() },
            kind: EventType::Warning,
            reason: "Restarted".into(),
            message: "exit 1".into(),
            first_timestamp: at(second),
            last_timestamp: at(second),
            count: 1,
        };
        let mut first = event(1);
        assert!(first.absorb(&event(5)));
        assert_eq!((first.count, first.last_timestamp), (2, at(5)));
        assert!(!first.absorb(&Event { reason: "Stopped".into(), ..event(6) }));
    }
}
