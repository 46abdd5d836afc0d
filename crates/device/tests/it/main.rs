//! Homes, adapter and job over real sockets, and against independent SunSpec peers in Python.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "registers carry decimals, which come out as they went in")]

mod adapter;
mod peer;
#[path = "../../../../scripts/peers.rs"]
mod peers;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod support;
