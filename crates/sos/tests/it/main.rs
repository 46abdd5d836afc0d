//! The real binary, run as people run it: real processes, each test in a data directory of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where it cannot go on; clippy knows test functions only, not their helpers"
)]
#![allow(clippy::print_stderr, reason = "long tests say what they did")]
#![allow(clippy::float_cmp, reason = "figures of a report are compared as printed")]

mod alerts;
mod api;
mod calls;
mod chaos;
mod cli;
mod client;
mod devices;
mod follow;
mod forecast;
mod page;
mod peer;
#[path = "../../../../scripts/peers.rs"]
mod peers;
mod replay;
mod services;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod support;
mod utility;
mod year;
