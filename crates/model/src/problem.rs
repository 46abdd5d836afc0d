//! What is wrong with an input, told to people.

use std::fmt;

/// One thing that is wrong with an input. Shown as `path:line:column: message; help`.
///
/// Problems sort by file, line and column, so that a list reads like the files it speaks about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as the user named it.
    pub path: String,
    /// Line, from 1; 0 when the problem concerns the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 when the problem concerns the file as a whole.
    pub column: u32,
    /// What is wrong and where in the document, as a lower-case fragment.
    pub message: String,
    /// What was expected, what is known there, what to do; may be empty.
    pub help: String,
}

impl Problem {
    /// A problem at a position of a file.
    #[must_use]
    pub fn at(path: &str, position: Position, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: position.line,
            column: position.column,
            message: message.into(),
            help: help.into(),
        }
    }

    /// A problem of a file as a whole.
    #[must_use]
    pub fn in_file(path: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::at(path, Position::NONE, message, help)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}", self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A place in a file; both numbers count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// No position: the value was not read from a file.
    pub const NONE: Self = Self { line: 0, column: 0 };
}

/// The problem of a file that is larger than what is read; the caller looks at the size before it reads.
#[must_use]
pub fn too_large(path: &str, size: u64, max: u64) -> Problem {
    Problem::in_file(
        path,
        format!("the file has {}", human_bytes(size)),
        format!("expected at most {}; split it into several files", human_bytes(max)),
    )
}

fn human_bytes(bytes: u64) -> String {
    const STEPS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match STEPS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) if bytes.is_multiple_of(*size) => format!("{} {unit}", bytes / size),
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

/// `known: a, b, c`, shortened when there are very many.
#[must_use]
pub fn known_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 40;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "none is known".to_owned(),
        n if n > SHOWN => format!("known: {}, … and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => format!("known: {}", names.join(", ")),
    }
}

/// `did you mean "x"?; ` when one of the names is close to what was written, else nothing.
#[must_use]
pub fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let written = written.to_lowercase();
    let close = |name: &&str| {
        let name = name.to_lowercase();
        let extended = name.len() >= 4
            && written.len() <= 64
            && (written.starts_with(&name) || name.starts_with(&written) && written.len() >= 3);
        let score = if extended { 0.9 } else { 0.0 };
        strsim::normalized_damerau_levenshtein(&written, &name).max(score)
    };
    // Longer input cannot be a slip of a short name, and comparing it would be slow.
    if written.len() > 64 {
        return String::new();
    }
    names
        .into_iter()
        .map(|name| (close(&name), name))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map_or_else(String::new, |(_, name)| format!("did you mean \"{name}\"?; "))
}

/// Text of a user shortened for a message, without control characters.
#[must_use]
pub fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut out: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_path_line_column_message_help() {
        let problem = Problem::at("a.yaml", Position { line: 3, column: 7 }, "unknown key", "known: a, b");
        assert_eq!(problem.to_string(), "a.yaml:3:7: unknown key; known: a, b");
        assert_eq!(
            too_large("b.csv", 1 << 30, 256 << 20).to_string(),
            "b.csv: the file has 1 GiB; expected at most 256 MiB; split it into several files"
        );
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        assert_eq!(did_you_mean("capcity", ["capacity", "maxCharge"]), "did you mean \"capacity\"?; ");
        assert_eq!(did_you_mean("periodSeconds", ["period", "timeout"]), "did you mean \"period\"?; ");
        assert_eq!(did_you_mean("wibble", ["capacity", "maxCharge"]), "");
    }
}
