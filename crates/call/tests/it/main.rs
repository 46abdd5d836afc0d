//! Scrapes and deliveries against servers that others wrote: Python's `http.server`, aiosmtpd, Mosquitto.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exposition;
mod mail;
mod mqtt;
#[path = "../../../../scripts/peers.rs"]
mod peers;
mod scrape;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod support;
mod verdicts;
mod webhook;
