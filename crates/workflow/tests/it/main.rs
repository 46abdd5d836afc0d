//! Integration tests of the crate: no input panics, and the verdict on documents is that of the DSL's JSON Schema.

mod cases;
mod conformance;
mod expressions;
mod mutate;
mod robust;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
