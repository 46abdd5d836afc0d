//! The server over a real connection, with a platform of sample data behind it.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where it cannot go on; clippy knows test functions only, not their helpers"
)]
#[allow(dead_code, reason = "shared with the preview, which uses other parts")]
#[path = "../../examples/preview/fake.rs"]
mod fake;

#[allow(dead_code, reason = "shared with unit tests, which use other parts")]
#[path = "../../src/ingest/remote_write/messages.rs"]
mod messages;
#[allow(dead_code, reason = "shared with unit tests, which use other parts")]
#[path = "../../src/ingest/otlp/messages.rs"]
mod otlp_messages;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;

mod access;
mod alarms;
mod calls;
mod otlp;
mod pages;
mod prometheus;
mod remote_write;
mod requests;
mod server;
mod streams;
