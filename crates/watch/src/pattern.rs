//! Regular expressions in the syntax of Go's `regexp` (RE2), which PromQL is defined by, run by the crate `regex`.
//!
//! Both descend from RE2; what differs is rewritten: `\d \s \w \b` mean ASCII, a `{` that starts no repetition and a
//! `[`, `&&`, `~~` or `--` within a class mean themselves, `\Q…\E` quotes.

use std::iter::Peekable;
use std::str::CharIndices;

use regex::{Captures, Regex};

/// A regular expression that must match a whole value.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    whole: Regex,
    /// When the expression is a list of plain words.
    words: Option<Box<[Box<str>]>>,
}

impl Pattern {
    /// # Errors
    /// What is wrong with the expression.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let whole = Regex::new(&format!("^(?:{})$", translate(text))).map_err(|error| {
            format!("invalid regular expression {text:?}: {}", last_line(&error.to_string()))
        })?;
        let plain = !text.is_empty() && !text.contains(|c: char| r"\.+*?()[]{}^$".contains(c));
        let words = plain.then(|| text.split('|').map(Box::from).collect());
        Ok(Self { whole, words })
    }

    pub(crate) fn is_match(&self, value: &str) -> bool {
        match &self.words {
            Some(words) => words.iter().any(|word| **word == *value),
            None => self.whole.is_match(value),
        }
    }

    pub(crate) fn captures<'v>(&self, value: &'v str) -> Option<Captures<'v>> {
        self.whole.captures(value)
    }

    pub(crate) fn alternatives(&self) -> Option<Vec<&str>> {
        self.words.as_ref().map(|words| words.iter().map(|word| &**word).collect())
    }
}

/// A regular expression that may match any part of a text.
///
/// # Errors
/// What is wrong with the expression.
pub(crate) fn free(text: &str) -> Result<Regex, String> {
    Regex::new(&translate(text))
        .map_err(|error| format!("invalid regular expression {text:?}: {}", last_line(&error.to_string())))
}

/// The crate draws a picture of several lines; its last one says what is wrong.
fn last_line(message: &str) -> &str {
    let line = message.trim_end().lines().next_back().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.char_indices().peekable();
    let mut in_class = false;
    while let Some((at, c)) = chars.next() {
        let rest = &text[at + c.len_utf8()..];
        match c {
            '\\' => escape(&mut chars, &mut out, in_class),
            '[' if in_class && rest.starts_with(':') => named_class(&mut chars, &mut out),
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                out.push('[');
                open_class(&mut chars, &mut out);
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && rest.starts_with('-') => out.push_str(r"\-"),
            '{' if !in_class && !is_repetition(rest) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

/// After the `[` of a class: `^`, and a `]` in first place, which means itself.
fn open_class(chars: &mut Peekable<CharIndices<'_>>, out: &mut String) {
    if chars.next_if(|(_, c)| *c == '^').is_some() {
        out.push('^');
    }
    if chars.next_if(|(_, c)| *c == ']').is_some() {
        out.push_str(r"\]");
    }
}

/// `[:alpha:]` within a class, up to its end.
fn named_class(chars: &mut Peekable<CharIndices<'_>>, out: &mut String) {
    out.push('[');
    for (_, c) in chars.by_ref() {
        out.push(c);
        if c == ']' {
            break;
        }
    }
}

fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// What follows a backslash.
fn escape(chars: &mut Peekable<CharIndices<'_>>, out: &mut String, in_class: bool) {
    let Some((_, c)) = chars.next() else {
        out.push('\\');
        return;
    };
    let ascii = match c {
        'd' => "0-9",
        's' => r"\t\n\x0C\r ",
        'w' => "0-9A-Za-z_",
        'D' => "^0-9",
        'S' => r"^\t\n\x0C\r ",
        'W' => "^0-9A-Za-z_",
        'b' if !in_class => return out.push_str(r"(?-u:\b)"),
        'B' if !in_class => return out.push_str(r"(?-u:\B)"),
        'Q' => return quote(chars, out),
        _ => {
            out.push('\\');
            return out.push(c);
        }
    };
    out.push('[');
    out.push_str(ascii);
    out.push(']');
}

/// Everything between `\Q` and `\E`, or the end, means itself.
fn quote(chars: &mut Peekable<CharIndices<'_>>, out: &mut String) {
    while let Some((_, c)) = chars.next() {
        if c == '\\' && chars.next_if(|(_, next)| *next == 'E').is_some() {
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_accepts_is_accepted_and_means_the_same() {
        let yes = [
            ("{foo}", "{foo}"),
            ("a{2}", "aa"),
            ("a{,2}", "a{,2}"),
            (r"\d+", "17"),
            (r"[\w-]+", "a-b"),
            ("[a[b]+", "a[b"),
            ("[]a]+", "]a"),
            ("[^]a]", "b"),
            ("[a&&b]+", "a&b"),
            ("[[:alpha:]_]+", "ab_"),
            (r"\Qa.b\E+", "a.b"),
            ("(?i:PRO).*", "production"),
            ("((?i)PRO).*", "production"),
            (r"(?P<x>a)\.b", "a.b"),
        ];
        for (pattern, value) in yes {
            assert!(Pattern::new(pattern).unwrap().is_match(value), "{pattern} {value}");
        }
        let no = [(r"\d", "٣"), (r"\w", "ä"), ("[a&&b]", "c"), (r"\Qa.b\E", "axb"), ("a.b", "a\nb")];
        for (pattern, value) in no {
            assert!(!Pattern::new(pattern).unwrap().is_match(value), "{pattern} {value}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(Pattern::new("(.*").unwrap_err(), r#"invalid regular expression "(.*": unclosed group"#);
    }
}
