//! The Python of the independent peers, for the test binaries that include this file with `#[path]`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skipped::skipped;

/// The Python that has the packages of `peers.txt`; `None`, and the test counts as skipped, where it cannot be had.
pub(crate) fn python() -> Option<PathBuf> {
    python_with("peers.txt")
}

/// The same with the packages of another list in `scripts/`.
pub(crate) fn python_with(list: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/peers.sh");
    let output = Command::new("bash").arg(script).arg(list).output().unwrap();
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
