//! `sos alerts test`: unit tests of rules in promtool's format, with its verdicts.

use std::path::{Path, PathBuf};

use sos_watch::rule_test::{self, RuleFiles};

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Rule files that one pattern may name.
const MOST_FILES: usize = 1_000;

/// Arguments of `sos alerts test`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Test files; the rule files that they name are read beside them
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs all tests of all files; exit 1 when one fails, 2 when a file cannot be read.
pub(super) fn run(args: &Args) -> Outcome {
    let (mut passed, mut failed, mut problems) = (0, 0, Vec::new());
    let mut text = String::new();
    for path in &args.files {
        let bytes = match sos_engine::folder::read_bounded(path) {
            Ok(bytes) => bytes,
            Err(problem) => {
                problems.push(problem.to_string());
                continue;
            }
        };
        let report = rule_test::run(&path.to_string_lossy(), &bytes, &Disk);
        text.push_str(&format!("{report}\n"));
        if report.passed() {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    text.push_str(&format!("{passed} passed, {failed} failed\n"));
    output::text(&text)?;
    match (problems.is_empty(), failed) {
        (false, _) => Err(Failure::BadInput(problems)),
        (true, 0) => Ok(()),
        (true, _) => Err(Failure::unsuccessful(format!("{failed} of {} test files failed", passed + failed))),
    }
}

/// Rule files from disk. A pattern may have `*` and `?` in its last part, as promtool's globs mostly do.
struct Disk;

impl RuleFiles for Disk {
    fn matching(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let read = |path: &Path| {
            let bytes = sos_engine::folder::read_bounded(path).map_err(|problem| problem.to_string())?;
            Ok((path.to_string_lossy().into_owned(), bytes))
        };
        let path = Path::new(pattern);
        let wild = |text: &str| text.contains(['*', '?', '[']);
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()).filter(|name| wild(name)) else {
            let folder =
                path.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
            if wild(&folder) {
                return Err(format!("{pattern}: a pattern in a folder's name is not supported"));
            }
            return if path.exists() { Ok(vec![read(path)?]) } else { Ok(Vec::new()) };
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.file_name().is_some_and(|file| fits(&name, &file.to_string_lossy())));
        paths.sort();
        if paths.len() > MOST_FILES {
            return Err(format!("{pattern} names {} files: expected at most {MOST_FILES}", paths.len()));
        }
        paths.iter().map(|path| read(path)).collect()
    }
}

/// Whether a name fits a pattern of `*` (any text), `?` (any character) and plain characters.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Whether the pattern read so far fits each beginning of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; name.len() + 1];
        for end in 0..=name.len() {
            next[end] = match part {
                '*' => reached[end] || (end > 0 && next[end - 1]),
                part => end > 0 && reached[end - 1] && (part == '?' || part == name[end - 1]),
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("rules-?.yml", "rules-1.yml", true),
            ("rules-?.yml", "rules-10.yml", false),
            ("a*b*c", "a-b-b-c", true),
            ("*", "", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
