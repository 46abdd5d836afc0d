//! Small conversions between Rust values and columns.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Result, StoreError};

pub(crate) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::invalid(format!("cannot be written as JSON: {e}")))
}

pub(crate) fn opt_text(value: Option<&impl Serialize>) -> Result<Option<String>> {
    value.map(text).transpose()
}

pub(crate) fn json<T: DeserializeOwned>(stored: &str) -> Result<T> {
    serde_json::from_str(stored).map_err(|e| StoreError::corrupt(format!("stored JSON cannot be read: {e}")))
}

pub(crate) fn opt_json<T: DeserializeOwned>(stored: Option<String>) -> Result<Option<T>> {
    stored.map(|s| json(&s)).transpose()
}

pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) fn from_micros(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|_| StoreError::corrupt("a stored time is out of range"))
}

/// A number as SQLite holds it; what is above is nowhere stored.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 == 1 {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
}
