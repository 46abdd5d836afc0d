//! Sums what test runners say they ran, for the last line of `./test`. It believes the runners' own summaries
//! only: a runner that died before its summary adds nothing here, and `./test` counts its stage as failed. The one
//! line of a test that is believed is that it could not run here (`scripts/skipped.rs`): cargo test counts it as passed.

use crate::Outcome;

/// Tests that ran and did not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Skipped by themselves and counted as passed by their runner.
    left_out: u64,
}

impl Count {
    /// Passed, failed, skipped.
    fn result(self) -> (u64, u64, u64) {
        (self.passed.saturating_sub(self.left_out), self.failed, self.skipped + self.left_out)
    }

    fn add(&mut self, word: &str, number: u64) {
        match word {
            "passed" | "pass" => self.passed += number,
            "failed" | "fail" | "error" | "errors" | "cancelled" => self.failed += number,
            "skipped" | "ignored" | "todo" | "xfailed" => self.skipped += number,
            _ => {}
        }
    }
}

/// Prints `passed failed skipped` summed over the logs.
///
/// # Errors
/// When a log cannot be read.
pub(crate) fn run(logs: &[&str]) -> Result<Outcome, String> {
    let mut sum = Count::default();
    for log in logs {
        let bytes = std::fs::read(log).map_err(|e| format!("cannot read {log}: {e}"))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            count_line(&plain(line), &mut sum);
        }
    }
    let (passed, failed, skipped) = sum.result();
    println!("{passed} {failed} {skipped}");
    Ok(Outcome::Done)
}

/// The line without terminal colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    text
}

fn count_line(line: &str, sum: &mut Count) {
    let line = line.trim();
    if let Some((test, reason)) = line.strip_prefix("SKIPPED ").and_then(|rest| rest.split_once(": ")) {
        // `SKIPPED peer::a_python_home: python3 is not installed`
        sum.left_out += u64::from(!test.contains(' ') && !reason.is_empty());
    } else if let Some(summary) = line.strip_prefix("test result: ") {
        // cargo test: `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
        count_pairs(summary.split_once(". ").map_or(summary, |(_, counts)| counts), sum);
    } else if let Some(summary) = line.strip_prefix("Tests ").filter(|rest| rest.ends_with(')')) {
        // vitest: `Tests  1 failed | 12 passed | 2 skipped (15)`
        count_pairs(summary, sum);
    } else if let Some(summary) = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# ")) {
        // node --test: `ℹ pass 12`, or `# pass 12` in TAP
        count_node(summary, sum);
    } else if line.starts_with('=') && line.ends_with('=') && line.contains(" in ") {
        // pytest: `===== 1 failed, 5 passed, 1 skipped in 0.12s =====`
        count_pairs(line.trim_matches('='), sum);
    }
}

/// Counts `N word` pairs, whatever stands between them.
fn count_pairs(text: &str, sum: &mut Count) {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        if let Ok(number) = pair[0].parse() {
            sum.add(pair[1], number);
        }
    }
}

fn count_node(text: &str, sum: &mut Count) {
    let mut words = text.split_whitespace();
    if let (Some(word @ ("pass" | "fail" | "cancelled" | "skipped" | "todo")), Some(number), None) =
        (words.next(), words.next(), words.next())
    {
        sum.add(word, number.parse().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> (u64, u64, u64) {
        let mut sum = Count::default();
        text.lines().for_each(|line| count_line(&plain(line), &mut sum));
        sum.result()
    }

    #[test]
    fn a_test_that_says_it_cannot_run_here_has_not_passed() {
        let log = "test a ... \nSKIPPED it::peer: python3 is missing\nok\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(count(log), (2, 0, 1));
        assert_eq!(count("SKIPPED\nSKIPPED by hand: so it says\nnot SKIPPED a: b\n"), (0, 0, 0));
    }

    #[test]
    fn cargo_test_binaries_are_summed() {
        let log = "running 3 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\ntest result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s\n";
        assert_eq!(count(log), (7, 2, 1));
    }

    #[test]
    fn vitest_counts_tests_and_not_files() {
        let log = " Test Files  2 passed (2)\n\u{1b}[2m      Tests \u{1b}[22m \u{1b}[1m\u{1b}[31m1 failed\u{1b}[39m | 12 passed\u{1b}[22m | 2 skipped\u{1b}[90m (15)\u{1b}[39m\n";
        assert_eq!(count(log), (12, 1, 2));
    }

    #[test]
    fn node_counts_in_both_of_its_formats() {
        assert_eq!(
            count("ℹ tests 4\nℹ suites 0\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n"),
            (2, 1, 1)
        );
        assert_eq!(count("# tests 1\n# pass 1\n# fail 0\n# pass the salt please\n"), (1, 0, 0));
    }

    #[test]
    fn pytest_is_counted() {
        assert_eq!(count("==== 1 failed, 5 passed, 1 skipped, 2 errors in 0.12s ====\n"), (5, 3, 1));
    }

    #[test]
    fn words_in_the_output_of_a_test_are_not_results() {
        assert_eq!(count("3 passed by\nTests say 3 passed\nresult: 4 failed\n# 3 passed\n"), (0, 0, 0));
    }
}
