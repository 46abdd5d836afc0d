//! promtool's own rule tests, when a folder of them is given, and ours.

use std::path::{Path, PathBuf};

use sos_watch::rule_test::{self, FileReport, RuleFiles};

use crate::skipped::skipped;

/// Rule files from disk; patterns with `*` in the last part only.
pub(crate) struct Disk;

impl RuleFiles for Disk {
    fn matching(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let path = Path::new(pattern);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((before, after)) = name.split_once('*') else {
            return Ok(std::fs::read(path).map(|bytes| (pattern.to_owned(), bytes)).into_iter().collect());
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(before) && name.ends_with(after)
        });
        paths.sort();
        Ok(paths
            .into_iter()
            .map(|path| (path.to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
            .collect())
    }
}

pub(crate) fn run(path: &Path) -> FileReport {
    rule_test::run(&path.to_string_lossy(), &std::fs::read(path).unwrap(), &Disk)
}

/// Test files with promtool's verdict.
const VERDICTS: [(&str, bool); 9] = [
    ("unittest.yml", true),
    ("long-period.yml", true),
    ("at-modifier-test.yml", true),
    ("negative-offset-test.yml", true),
    ("failing.yml", false),
    ("bad-input-series.yml", false),
    ("bad-promql.yml", false),
    ("bad-rules-error-test.yml", false),
    ("bad-rules-syntax-test.yml", false),
];

/// `PROMQL_RULES=DIR cargo test --release -p sos-watch rule_conformance -- --nocapture`
#[test]
fn rule_conformance() {
    let Some(folder) = std::env::var_os("PROMQL_RULES") else {
        skipped("PROMQL_RULES names no folder of promtool's rule tests");
        return;
    };
    let mut wrong = Vec::new();
    for (name, verdict) in VERDICTS {
        let report = run(&Path::new(&folder).join(name));
        println!("{report}");
        if report.passed() != verdict {
            wrong.push(name);
        }
    }
    println!("rules: {}/{}", VERDICTS.len() - wrong.len(), VERDICTS.len());
    assert!(wrong.is_empty(), "another verdict than promtool's: {wrong:?}");
}
