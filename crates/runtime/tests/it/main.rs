//! The process driver with real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod child;
mod log_files;
mod logs;
mod probes;
mod process;
mod rig;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
