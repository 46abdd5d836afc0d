//! The real binary, run as people run it: real processes, each test in a data directory of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]
#![expect(clippy::float_cmp, reason = "figures of reports are decimals, which come out as they went in")]

mod chaos;
mod cli;
mod client;
mod devices;
mod peer;
mod replay;
mod support;
