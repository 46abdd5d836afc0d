//! A place in a body, and what both forms read alike.

use std::borrow::Cow;

use super::{Format, ParseError};

/// Characters of a body that an error shows.
const SHOWN: usize = 24;

/// A part of a body's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Bodies above 4 GiB were refused before, so both fit.
    #[expect(clippy::cast_possible_truncation, reason = "bodies above 4 GiB are refused")]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }

    /// With `\\`, `\"` and `\n` replaced; any other backslash stays.
    pub(super) fn unescaped(self, text: &str) -> Cow<'_, str> {
        unescaped(self.of(text), true)
    }

    /// HELP in the text format knows `\\` and `\n` only.
    pub(super) fn unescaped_help(self, text: &str, format: Format) -> Cow<'_, str> {
        unescaped(self.of(text), format == Format::OpenMetrics)
    }
}

fn unescaped(raw: &str, quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.clone().next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            _ => {
                out.push('\\');
                continue;
            }
        }
        rest.next();
    }
    Cow::Owned(out)
}

/// A place in a body.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes the byte when it is the next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes the text when it is the next.
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(text.as_bytes());
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Takes spaces and tabs; tells whether there were any.
    pub(super) fn blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// Everything up to the end of the line, which is not taken.
    pub(super) fn rest_of_line(&mut self) -> Span {
        let start = self.at;
        self.at = memchr::memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |n| start + n);
        Span::new(start, self.at)
    }

    /// Takes all bytes until one of those that `ends` names.
    pub(super) fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|byte| !ends(byte)) {
            self.at += 1;
        }
        // Only ASCII ends a word, so no character is cut.
        &self.text[start..self.at]
    }

    /// A metric's name: letters, digits, `_` and `:`.
    pub(super) fn metric_name(&mut self) -> Option<Span> {
        self.word(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':')
    }

    /// A label's name: letters, digits and `_`.
    pub(super) fn label_name(&mut self) -> Option<Span> {
        self.word(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    }

    fn word(&mut self, begins: impl Fn(u8) -> bool) -> Option<Span> {
        let start = self.at;
        if !self.peek().is_some_and(&begins) {
            return None;
        }
        while self.peek().is_some_and(|byte| begins(byte) || byte.is_ascii_digit()) {
            self.at += 1;
        }
        Some(Span::new(start, self.at))
    }

    /// A text in quotes whose first quote is the next byte; the part within, escapes as they are.
    pub(super) fn quoted(&mut self) -> Result<Span, ParseError> {
        let open = self.at;
        let start = open + 1;
        self.at = start;
        loop {
            let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', &self.bytes[self.at..]) else {
                return Err(self.error_at(open, "expected the closing `\"` of this text"));
            };
            let place = self.at + found;
            match self.bytes[place] {
                b'"' => {
                    self.at = place + 1;
                    return Ok(Span::new(start, place));
                }
                b'\\' if self.bytes.get(place + 1).is_some_and(|byte| *byte != b'\n') => self.at = place + 2,
                _ => return Err(self.error_at(open, "expected the closing `\"` of this text on its line")),
            }
        }
    }

    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        error_at(self.text, at, message.into())
    }

    /// An error at this place that also says what is there.
    pub(super) fn expected(&self, what: &str) -> ParseError {
        self.error_at(self.at, format!("expected {what}, found {}", self.found()))
    }

    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "the end".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(' ') => "a space".to_owned(),
            Some('\t') => "a tab".to_owned(),
            Some(_) => {
                // Up to a blank; a carriage return at its end is what is wrong, so it is shown.
                let ends = [' ', '\t', '\n'];
                let word = self.text[self.at..].chars().take_while(|c| !ends.contains(c)).take(SHOWN);
                format!("`{}`", shown(word))
            }
        }
    }
}

/// Characters that cannot be seen are written out.
fn shown(word: impl Iterator<Item = char>) -> String {
    word.fold(String::new(), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_debug())
        } else {
            out.push(c)
        }
        out
    })
}

/// An error at a byte of a text.
pub(super) fn error_at(text: &str, at: usize, message: String) -> ParseError {
    let bytes = &text.as_bytes()[..at.min(text.len())];
    let line = memchr::memchr_iter(b'\n', bytes).count() + 1;
    let begin = memchr::memrchr(b'\n', bytes).map_or(0, |n| n + 1);
    // Continuation bytes are no characters of their own.
    let column = bytes[begin..].iter().filter(|byte| (**byte & 0xc0) != 0x80).count() + 1;
    ParseError { line, column, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_replaced_and_other_backslashes_stay() {
        assert_eq!(unescaped(r#"a\\b\"c\nd\te\"#, true), "a\\b\"c\nd\\te\\");
        assert_eq!(unescaped(r#"a\"b"#, false), r#"a\"b"#);
        assert!(matches!(unescaped("plain", true), Cow::Borrowed("plain")));
    }

    #[test]
    fn columns_count_characters() {
        let error = error_at("x\näöü!", 8, String::new());
        assert_eq!((error.line, error.column), (2, 4));
    }
}
