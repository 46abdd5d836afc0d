//! What went wrong with a query, where, and what was expected.

use std::fmt;
use std::ops::Range;

/// A place in the text of a query, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub(crate) fn to(self, end: Span) -> Self {
        Self { start: self.start, end: end.end }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// What kind of failure it is; the HTTP API answers each with another code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is no valid query.
    Parse,
    /// The query is valid but cannot be evaluated over these series or times.
    Execution,
    /// It would touch more than the limits allow.
    TooMuch,
    /// The caller asked to stop.
    Stopped,
    /// The source of the series failed.
    Source,
}

/// A failed query: printed as `line:column: message`, with `parse error` where the text itself is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    span: Span,
    /// 1-based; columns count bytes, as Prometheus counts them.
    line: usize,
    column: usize,
}

impl Error {
    pub(crate) fn located(self, query: &str) -> Self {
        let before = &query.as_bytes()[..self.span.start.min(query.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.len() - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
        Self { line, column, ..self }
    }

    pub(crate) fn new(kind: ErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), span, line: 1, column: 1 }
    }

    pub(crate) fn parse(span: Span, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Parse, span, message)
    }

    pub(crate) fn execution(span: Span, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Execution, span, message)
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The part of the query that is meant.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Line and column of the part that is meant, both 1-based.
    pub fn position(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.kind == ErrorKind::Parse { "parse error: " } else { "" };
        write!(f, "{}:{}: {what}{}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Error {}
