//! The drivers with real processes and real containers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod child;
mod docker;
mod gateway;
mod kubernetes;
mod log_files;
mod logs;
mod probes;
mod process;
mod rig;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
