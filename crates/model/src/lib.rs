//! The declared kinds: parsed with positions, defaulted, validated all at once, explained, and as JSON Schema.
//!
//! One commented declaration per kind (see `declare.rs`) gives the type, its reading from YAML and JSON, its
//! defaults, the text of `explain`, JSON Schema and canonical JSON. Nothing here reads files, clocks or the network.

mod currency;
mod declare;
pub mod field;
mod kinds;
mod node;
mod problem;
mod quantity;
mod scalar;
pub mod schema;
mod yaml;

pub use currency::Currency;
pub use kinds::*;
pub use node::{Key, Node, Value};
pub use problem::{Position, Problem, too_large};
pub use quantity::{Amount, Bytes, Cpu, Fraction, Ramp, duration_text};
pub use scalar::{KnownAhead, Name, PortRef, Switch, ZoneName};
pub use yaml::{MAX_ALIAS_BYTES, MAX_DEPTH, MAX_MANIFEST_BYTES, MAX_NODES};
