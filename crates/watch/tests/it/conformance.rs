//! Prometheus' own tests, when a folder of them is given, and ours.

use std::path::{Path, PathBuf};

use crate::script::{self, Tally};
use crate::skipped::skipped;

/// Runs all `.test` files of a folder in order of name; every failure is printed.
#[expect(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn run_folder(folder: &Path) -> Tally {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let mut all = Tally::default();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tally = script::run(&std::fs::read_to_string(&path).unwrap());
        println!("promql: {name} {}/{}", tally.total - tally.failures.len().min(tally.total), tally.total);
        for (line, reason) in &tally.failures {
            println!("promql: failed {name}:{line}: {reason}");
        }
        all.total += tally.total;
        all.failures.extend(tally.failures);
    }
    all
}

/// `PROMQL_TESTS=DIR cargo test --release -p sos-watch promql_conformance -- --nocapture`
#[test]
fn promql_conformance() {
    let Some(folder) = std::env::var_os("PROMQL_TESTS") else {
        skipped("PROMQL_TESTS names no folder of Prometheus' .test files");
        return;
    };
    let tally = run_folder(Path::new(&folder));
    let passed = tally.total - tally.failures.len().min(tally.total);
    println!("promql: {passed}/{}", tally.total);
    assert!(tally.total > 0, "no evaluations in {}", Path::new(&folder).display());
    assert!(passed * 100 >= tally.total * 90, "fewer than 90 % passed");
}

#[test]
fn our_own_cases_all_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/promql");
    let tally = run_folder(&folder);
    assert!(tally.total > 100, "only {} evaluations", tally.total);
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
}
