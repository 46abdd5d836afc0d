//! A test that cannot run on this machine says so. Test binaries include this file with `#[path]`.

use std::io::Write as _;

/// Tells that the running test is left out and why; the test has to return then. The harness takes it for one that
/// passed, `cargo xtask tally` does not: the line goes to stderr itself, which the harness does not capture.
pub(crate) fn skipped(reason: &str) {
    let reason = reason.replace(['\n', '\r'], " ");
    let thread = std::thread::current();
    // The harness runs each test in a thread of its name. One write, on lines of its own: other tests write too.
    let line = format!("\nSKIPPED {}: {reason}\n", thread.name().unwrap_or("test"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}
