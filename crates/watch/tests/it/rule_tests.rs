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

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/rules")
}

/// Names of the cases that end so, with the verdict.
fn named(ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths
}

#[test]
fn rule_cases_that_must_pass_do() {
    let paths = named(".pass.yml");
    assert!(paths.len() >= 5);
    for path in paths.into_iter().chain(named(".later.yml")) {
        let report = run(&path);
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn rule_cases_that_must_fail_say_why() {
    let paths = named(".fail.yml");
    assert!(paths.len() >= 15);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let report = run(&path);
        assert!(!report.passed(), "{report}");
        assert!(report.to_string().contains(expected), "{expected}\n{report}");
    }
}

/// `PROMTOOL=PATH cargo test --release -p sos-watch rule_cases`
#[test]
fn rule_cases_have_the_verdicts_of_promtool() {
    let Some(promtool) = std::env::var_os("PROMTOOL") else {
        skipped("PROMTOOL names no promtool");
        return;
    };
    for path in named(".pass.yml").into_iter().chain(named(".fail.yml")) {
        let status =
            std::process::Command::new(&promtool).args(["test", "rules"]).arg(&path).output().unwrap();
        let passed = status.status.success();
        assert_eq!(passed, run(&path).passed(), "{}: promtool says {passed}", path.display());
    }
}

#[test]
fn templates_that_do_not_parse_are_told_as_promtool_tells_them() {
    let text = std::fs::read_to_string(cases().join("templates-that-do-not-parse.txt")).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert!(lines.len() >= 60);
    for pair in lines.chunks(2) {
        let template: String = serde_json::from_str(pair[0]).unwrap();
        let error = sos_watch::template::Template::of_alert("A", &template).unwrap_err();
        assert_eq!(error, pair[1].trim(), "{template}");
    }
}

#[test]
fn duplicates_of_promtools_lint_are_found() {
    let Some(folder) = std::env::var_os("PROMQL_RULES") else {
        skipped("PROMQL_RULES names no folder of promtool's rule tests");
        return;
    };
    for (name, expected) in [
        ("prometheus-rules.lint.yml", "HighRequestLatency"),
        ("rules_duplicates.yml", "job:test:count_over_time1m"),
    ] {
        let path = Path::new(&folder).join(name);
        let rules = sos_watch::rules::read(name, &std::fs::read(path).unwrap()).unwrap();
        let found = sos_watch::rules::duplicates(&rules);
        assert_eq!(found.iter().map(|duplicate| duplicate.name.as_str()).collect::<Vec<_>>(), [expected]);
    }
}
