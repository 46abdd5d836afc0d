//! Channels and the events in them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// `embedded`, `nats` or `mqtt`.
    pub over: String,
    /// Whether the broker is connected; always for an embedded one.
    pub connected: bool,
    /// Why it is not, or what was last wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Position of the oldest event that is kept; 0 when there is none.
    pub first: u64,
    /// Position of the newest event.
    pub last: u64,
    /// Bytes that are kept.
    pub bytes: u64,
    /// Events that were put aside.
    pub dead_letters: u64,
    /// Who hears.
    pub groups: Vec<GroupView>,
}

/// A group of consumers: each event goes to one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Events it has not settled.
    pub lag: u64,
    /// Time of the oldest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Events that are being worked on.
    pub in_flight: u64,
}

/// What became of events that were published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// How many there were; those whose id the channel knew are among them.
    pub events: usize,
}

/// An event with its place in the channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlacedEvent {
    /// Position, rising, 1 or more.
    pub position: u64,
    /// The CloudEvent in its structured form.
    pub event: Value,
}

/// Events from a position on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<PlacedEvent>,
    /// Where to go on.
    pub next: u64,
}

/// An event that is handed to a consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HandedEvent {
    /// Position in the channel, by which it is settled.
    pub position: u64,
    /// How often it has been handed out, this time included.
    pub attempt: u32,
    /// The CloudEvent in its structured form.
    pub event: Value,
}

/// A wish for events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TakeRequest {
    /// The most events, 1…1000; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// How long to wait when there is none, seconds, 0…30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<f64>,
}

/// What became of an event that was handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettledEvent {
    /// Its position.
    pub position: u64,
    /// What became of it.
    pub outcome: EventOutcome,
    /// Its attempt, as it was handed out; 1 when left out.
    #[serde(default = "first")]
    pub attempt: u32,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

const fn first() -> u32 {
    1
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventOutcome {
    /// It was worked on.
    Done,
    /// It failed and is to come again after the channel's back-off; after `delivery.maxAttempts` it is put aside.
    Failed,
    /// It can never be worked on: it is put aside.
    Dead,
}

/// Where a group begins, or begins again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupStart {
    /// `earliest`, `latest`, a position, or a time in RFC 3339.
    pub from: String,
}

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// By which it is brought back.
    pub id: u64,
    /// When it was put aside.
    pub time: String,
    /// Whose it was; left out when it never was an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why.
    pub reason: String,
    /// The CloudEvent, or the text of what was none.
    pub event: Value,
}

/// Which dead letters are brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Their ids; none: all.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// Whether they are thrown away instead.
    #[serde(default)]
    pub discard: bool,
}
