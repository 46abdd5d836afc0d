//! `.dockerignore`: which files of a build folder the daemon does not need.
//!
//! One pattern a line, matched against the whole path from the folder on; the last one that matches a path or a folder
//! above it decides. `*` and `?` do not match `/`, `**` does; `[…]` is one of several characters; `!` in front takes
//! back; `#` in front is a comment.

use std::fmt::Write as _;

use regex::Regex;

/// Longest `.dockerignore`, bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The patterns of a `.dockerignore`.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<(Regex, bool)>,
}

impl Ignore {
    /// Reads the patterns, or says which line is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = vec![];
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (pattern, back) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            let Some(pattern) = clean(pattern) else {
                // Alone or above the folder it matches nothing.
                continue;
            };
            let wrong =
                || format!("line {} of .dockerignore is no pattern: {:?}", index + 1, shortened(line));
            let pattern = expression(&pattern).and_then(|text| Regex::new(&text).ok()).ok_or_else(wrong)?;
            patterns.push((pattern, back));
        }
        Ok(Self { patterns })
    }

    /// Whether a path, with `/` between its parts, is left out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for (pattern, back) in &self.patterns {
            if *back != out {
                // It could change nothing.
                continue;
            }
            if ancestors(path).any(|path| pattern.is_match(path)) {
                out = !back;
            }
        }
        out
    }

    /// Whether something below a folder that is left out may be taken back.
    pub(super) fn takes_back(&self) -> bool {
        self.patterns.iter().any(|(_, back)| *back)
    }
}

/// The path and the folders above it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above))
}

/// A pattern without empty parts, `.` and `..`.
fn clean(pattern: &str) -> Option<String> {
    let mut parts: Vec<&str> = vec![];
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A pattern as a regular expression over whole paths.
fn expression(pattern: &str) -> Option<String> {
    let mut out = String::from("^(?s:");
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.peek() == Some(&'*') => {
                while rest.next_if_eq(&'*').is_some() {}
                let below = rest.next_if_eq(&'/').is_some();
                out.push_str(if below { "(?:.*/)?" } else { ".*" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => out.push_str(&class(&mut rest)?),
            '\\' => literal(&mut out, rest.next()?),
            c => literal(&mut out, c),
        }
    }
    out.push_str(")$");
    Some(out)
}

/// The characters between brackets.
fn class(rest: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut out = String::from("[");
    let mut first = true;
    loop {
        match rest.next()? {
            ']' if !first => return Some(format!("{out}]")),
            '^' if first && out == "[" => {
                out.push('^');
                continue;
            }
            '\\' => literal(&mut out, rest.next()?),
            '-' => out.push('-'),
            c => literal(&mut out, c),
        }
        first = false;
    }
}

fn literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        let _to_a_string = write!(out, "\\{c}");
    } else {
        out.push(c);
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_the_reference_says() {
        // Pattern file, path, whether it is left out.
        let cases = [
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "somedir/subdir/temporary.txt", false),
            ("*/temp*", "somedir/temp/below/it", true),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("temp?", "temp/", false),
            ("**/*.go", "a.go", true),
            ("**/*.go", "a/b/c.go", true),
            ("**/*.go", "a/b/c.gone", false),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "OTHER.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("node_modules", "node_modules/x/y.js", true),
            ("node_modules", "a/node_modules", false),
            ("**/node_modules", "a/node_modules/b", true),
            ("/foo/", "foo", true),
            ("./foo/../bar", "bar", true),
            ("foo\n!foo/keep", "foo/keep", false),
            ("foo\n!foo/keep", "foo/lose", true),
            ("# foo", "# foo", false),
            ("\\#foo", "#foo", true),
            ("  spaces  ", "spaces", true),
            ("[a-c].txt", "b.txt", true),
            ("[^a-c].txt", "b.txt", false),
            ("[^a-c].txt", "x.txt", true),
            ("a[^b]c", "axc", true),
            ("a.b$(c)", "a.b$(c)", true),
            ("a.b", "axb", false),
            ("**", "anything/at/all", true),
            ("dir/**", "dir/a/b", true),
            ("dir/**", "dirx/a", false),
            (".", "a", false),
            ("", "a", false),
            ("\u{feff}a", "a", true),
            ("a\r\nb\r\n", "b", true),
        ];
        for (patterns, path, out) in cases {
            assert_eq!(Ignore::parse(patterns).unwrap().leaves_out(path), out, "{patterns:?} {path:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named_with_its_line() {
        for wrong in ["a\n[", "a\n[a", "a\nb\\", "a\n[z-a]"] {
            let error = Ignore::parse(wrong).unwrap_err();
            assert!(error.starts_with("line 2"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "*", "**", "?", "[", "]", "^", "-", "\\", "/", "!", "#", ".", "..", "a", "&&", "~~", "\n", "ü", " ",
            ]), 0..20),
            path in "[a/.&]{0,10}",
        ) {
            if let Ok(ignore) = Ignore::parse(&parts.concat()) {
                let _either = ignore.leaves_out(&path);
            }
        }
    }
}
