//! Tests of the evaluator: cases as files, conformance to Prometheus, properties, limits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly, in its helpers too")]

mod conformance;
mod errors;
mod limits;
mod notify;
mod pack;
mod pack_delay;
mod properties;
mod rule_tests;
mod rules;
mod script;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod speed;
