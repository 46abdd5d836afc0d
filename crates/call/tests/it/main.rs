//! Scrapes, deliveries, calls and events against servers that others wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "long tests say what they did")]

mod contract;
mod credentials;
mod events;
mod exposition;
mod grpc;
mod mail;
mod messages;
mod mqtt;
#[path = "../../../../scripts/peers.rs"]
mod peers;
mod rest;
mod scrape;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod soap;
mod support;
mod transport;
mod verdicts;
mod webhook;
