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
#[path = "../../../../scripts/cluster/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the drivers, which need more of it")]
mod cluster;
mod control;
mod devices;
#[path = "../../../../scripts/dockerd.rs"]
#[allow(dead_code, reason = "shared with the tests of the drivers, which need more of it")]
mod dockerd;
mod feeders;
mod follow;
mod forecast;
mod home;
mod island;
mod optimize;
mod page;
mod peer;
#[path = "../../../../scripts/peers.rs"]
mod peers;
mod people;
mod processes;
mod replay;
mod rules;
mod runtimes;
mod services;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod support;
mod utility;
mod waiting;
mod workflow;
mod year;
