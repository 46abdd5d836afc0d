//! The declared kinds: parsed with positions, defaulted, validated all at once, explained, and as JSON Schema.
//!
//! One commented declaration per kind (see `declare.rs`) gives the type, its reading from YAML and JSON, its
//! defaults, the text of `explain`, JSON Schema and canonical JSON. Nothing here reads files, clocks or the network.

mod check;
mod currency;
mod declare;
mod declared;
mod diff;
mod explain;
pub mod field;
mod kind;
mod kinds;
mod node;
mod outage;
mod problem;
mod quantity;
mod reference;
mod scalar;
pub mod schema;
pub mod series;
mod status;
mod verbatim;
mod yaml;

pub use check::{Referrer, check, referrers};
pub use currency::Currency;
pub use declared::{Declared, Metadata, Source, Spec, json_schema, kind_schema, load, load_checked};
pub use diff::{FieldChange, diff};
pub use explain::explain;
pub use kind::{API_VERSION, AnyKind, Kind, ReadOnlyKind};
pub use kinds::*;
pub use node::{Key, Node, Value};
pub use outage::{Outage, Period, read_outages};
pub use problem::{Position, Problem, did_you_mean, known_list, shown, too_large};
pub use quantity::{
    Amount, Bytes, CapacityPrice, Cpu, EmissionRate, Fraction, HeatCapacity, HeatLoss, Number, Ramp,
    RequestRate, Temperature, duration_text, read_duration, read_power,
};
pub use reference::{Reference, references, resolve_references};
pub use scalar::{KnownAhead, Name, PortRef, ReplicaAmount, Switch, ZoneName};
pub use status::{Condition, ConditionStatus, Event, EventType, ObjectRef, set_condition};
pub use verbatim::Verbatim;
pub use yaml::{MAX_ALIAS_BYTES, MAX_DEPTH, MAX_MANIFEST_BYTES, MAX_NODES, parse as parse_yaml};
