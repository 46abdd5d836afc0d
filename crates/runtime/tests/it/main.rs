//! The drivers with real processes and real containers, and the simulated one.
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
mod simulated;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
