//! Which patterns can be checked.

use std::collections::HashMap;

use serde_json::json;

use crate::rest::check::options;

/// Bytes of a pattern, and how many different ones are tried.
const MAX_BYTES: usize = 4096;
const MAX_PATTERNS: usize = 20_000;

/// What became of each pattern so far.
#[derive(Default)]
pub(super) struct Patterns(HashMap<String, bool>);

impl Patterns {
    /// Whether a regular expression can be checked: those of ECMA 262 can, nearly all of them.
    pub(super) fn works(&mut self, pattern: &str) -> bool {
        if let Some(known) = self.0.get(pattern) {
            return *known;
        }
        if pattern.len() > MAX_BYTES || self.0.len() >= MAX_PATTERNS {
            return false;
        }
        let works = options().build(&json!({"pattern": pattern})).is_ok();
        self.0.insert(pattern.to_owned(), works);
        works
    }
}
