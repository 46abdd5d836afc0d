//! Rules about the text of sources: words of unfinished work, sleeps in tests, length, paths of one machine.

use super::Problem;
use crate::tree::Tree;

/// Words of unfinished work. Written in two halves so that this table does not find itself.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimple", "mented!")];

/// Waiting for time instead of a condition makes tests slow and flaky.
/// What stands behind the pause of a loop that looks at another process until a condition holds.
const LOOK: &str = "// between two looks";
const SLEEPS: &[&str] = &["thread::sleep(", "time::sleep(", "time.sleep(", "waitForTimeout("];

const SOURCES: &[&str] = &["rs", "ts", "tsx", "js", "mjs", "svelte", "vue", "css", "html", "py", "sh"];

/// Lines of code (blank lines and comments do not count) from which a file is named, and from which it fails.
const LONG: usize = 600;
const TOO_LONG: usize = 900;

const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

fn extension(path: &str) -> &str {
    path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension)
}

fn is_source(path: &str) -> bool {
    matches!(path, "run" | "test" | ".ci/run") || SOURCES.contains(&extension(path))
}

fn sources(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts().filter(|(path, _)| is_source(path))
}

pub(super) fn rust_files(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts().filter(|(path, _)| extension(path) == "rs")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether the whole file is test code.
fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| part == "tests" || part == "test" || part == "e2e")
        || name == "tests.rs"
        || name.starts_with("test_")
        || [".test.", ".spec."].iter().any(|mark| name.contains(mark))
}

/// Number of the line at which the test module at the bottom of a Rust file starts, one past the end without it.
fn tests_start(path: &str, text: &str) -> usize {
    if is_test_file(path) {
        return 1;
    }
    let lines: Vec<&str> = text.lines().collect();
    let module = |rest: &[&str]| {
        let next =
            rest.iter().map(|line| line.trim()).find(|line| !line.is_empty() && !line.starts_with("#["));
        next.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let start = (0..lines.len()).find(|i| lines[*i].trim() == "#[cfg(test)]" && module(&lines[i + 1..]));
    start.map_or(lines.len() + 1, |index| index + 1)
}

/// The numbered lines of a Rust file that are not test code.
pub(super) fn production_lines<'a>(path: &str, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let end = tests_start(path, text);
    numbered(text).filter(move |(number, _)| *number < end)
}

/// No words of unfinished work, and tests left out only with a reason.
///
/// A slow test may carry `#[ignore = "slow: …"]`: `./test --all` runs it and the plain `./test` counts it as skipped.
/// A helper process of other tests, which is this test binary started again, carries `#[ignore = "child: …"]`; it is
/// no test and does nothing unless its parent starts it.
pub(super) fn words(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in sources(tree) {
        for (number, line) in numbered(text) {
            let found = UNFINISHED.iter().filter(|word| contains_word(line, word));
            problems.extend(
                found.map(|word| Problem::at(path, number, format!("`{word}` marks unfinished work"))),
            );
            if extension(path) == "rs" && ignored_without_reason(line) {
                let message = "a test is left out; only `#[ignore = \"slow: why\"]`, for ./test --all, and \
                               `#[ignore = \"child: of what\"]`, for a helper process, are allowed";
                problems.push(Problem::at(path, number, message));
            }
        }
    }
    problems
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, found)| {
        let after = if found.ends_with('!') { None } else { line[start + found.len()..].chars().next() };
        !part_of_word(line[..start].chars().next_back()) && !part_of_word(after)
    })
}

fn ignored_without_reason(line: &str) -> bool {
    let line = line.trim();
    let reason = line.strip_prefix("#[ignore = \"").unwrap_or_default();
    line.starts_with("#[ignore") && !["slow: ", "child: "].iter().any(|kind| reason.starts_with(kind))
}

/// Tests wait for conditions.
pub(super) fn sleeps(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in sources(tree) {
        let start =
            if extension(path) == "rs" || is_test_file(path) { tests_start(path, text) } else { usize::MAX };
        for (number, line) in numbered(text).filter(|(number, _)| *number >= start) {
            if SLEEPS.iter().any(|sleep| line.contains(sleep))
                && !is_comment(path, line.trim())
                && !line.contains(LOOK)
            {
                problems.push(Problem::at(path, number, "a test sleeps; wait for a condition instead (the pause of a loop that looks at another process: `// between two looks`)"));
            }
        }
    }
    problems
}

fn is_comment(path: &str, line: &str) -> bool {
    match extension(path) {
        "py" | "sh" | "" => line.starts_with('#'),
        "html" | "svelte" | "vue" => line.starts_with("//") || line.starts_with("<!--"),
        _ => line.starts_with("//") || line.starts_with("/*") || line.starts_with('*'),
    }
}

/// Files stay readable.
pub(super) fn length(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in sources(tree) {
        let code =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(path, line)).count();
        if code > LONG {
            let message =
                format!("{code} lines of code (aim for {LONG}, limit {TOO_LONG}); split along a real seam");
            problems.push(Problem { warning: code <= TOO_LONG, ..Problem::in_file(path, message) });
        }
    }
    problems
}

/// No path that exists on one machine only.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.texts() {
        for (number, line) in numbered(text) {
            for machine in MACHINE_PATHS.iter().filter(|machine| starts_path(line, machine)) {
                problems.push(Problem::at(path, number, format!("`{machine}` is a path of one machine")));
            }
        }
    }
    problems
}

/// Whether `path` occurs as the start of an absolute path, not as the middle of a longer one.
fn starts_path(line: &str, path: &str) -> bool {
    let longer = |c: char| c.is_alphanumeric() || "._-/}*".contains(c);
    line.match_indices(path).any(|(start, _)| !line[..start].chars().next_back().is_some_and(longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Tree) -> Vec<Problem>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)])).into_iter().map(|p| p.line).collect()
    }

    #[test]
    fn unfinished_work_is_found_as_a_word_only() {
        for word in UNFINISHED {
            assert_eq!(
                found(words, "crates/a/src/a.rs", &format!("fn a() {{}}\n// {word}: later\n")),
                [2],
                "{word}"
            );
        }
        assert!(found(words, "a.rs", &format!("struct {}S;", UNFINISHED[0])).is_empty());
        assert_eq!(found(words, "test", &format!("# {}", UNFINISHED[1])), [1]);
    }

    #[test]
    fn a_test_may_be_left_out_only_for_being_slow_or_a_helper_process() {
        assert_eq!(found(words, "a.rs", "#[test]\n    #[ignore]\nfn a() {}"), [2]);
        assert_eq!(found(words, "a.rs", "#[ignore = \"flaky\"]"), [1]);
        assert_eq!(found(words, "a.rs", "#[ignore = \"slowly\"]"), [1]);
        assert!(found(words, "a.rs", "#[ignore = \"slow: a month of crashes\"]").is_empty());
        assert!(found(words, "a.rs", "#[ignore = \"child: of the crash test\"]").is_empty());
    }

    #[test]
    fn sleeps_are_found_in_tests_only() {
        for sleep in SLEEPS {
            let call = format!("{sleep}step);");
            let text =
                format!("fn run() {{ {call} }}\n#[cfg(test)]\nmod tests {{\n    // {call}\n    {call}\n}}\n");
            assert_eq!(found(sleeps, "crates/a/src/lib.rs", &text), [5]);
            let whole_files =
                ["crates/a/tests/it/main.rs", "web/e2e/page.spec.ts", "crates/device/tests/peer.py"];
            assert!(whole_files.iter().all(|path| found(sleeps, path, &call) == [1]));
            assert!(found(sleeps, "scripts/serve.py", &call).is_empty());
        }
    }

    #[test]
    fn long_files_are_named_and_longer_ones_fail() {
        let lines = |n: usize| format!("// comment\n\n{}", "let a = 1;\n".repeat(n));
        let of = |n: usize| length(&Tree::of(&[("a.rs", lines(n).as_str())]));
        assert!(of(600).is_empty());
        assert!(of(601)[0].warning && of(900)[0].warning);
        assert!(!of(901)[0].warning);
    }

    #[test]
    fn machine_paths_are_found_wherever_they_start() {
        for path in MACHINE_PATHS {
            assert_eq!(found(machine_paths, "docs/a.md", &format!("see `{path}x`")), [1]);
            assert!(found(machine_paths, "docs/a.md", &format!("see flexible{path}x")).is_empty());
        }
    }

    #[test]
    fn a_test_attribute_on_something_small_does_not_hide_the_rest_of_the_file() {
        let text = "#[cfg(test)]\nuse a::b;\nfn production() {}\n";
        assert_eq!(production_lines("crates/a/src/a.rs", text).count(), 3);
    }
}
