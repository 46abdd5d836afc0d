//! The Python of the independent peers, for the test binaries that include this file with `#[path]`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skipped::skipped;

/// The Python that has the packages of `peers.txt`; `None`, and the test counts as skipped, where it cannot be had.
pub(crate) fn python() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/peers.sh");
    let output = Command::new("bash").arg(script).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().into()),
        Some(77) => {
            skipped(told.lines().last().unwrap_or("no peers in Python"));
            None
        }
        _ => panic!("peers.sh: {told}"),
    }
}
