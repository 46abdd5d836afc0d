//! Faults that a test switches on in a running device by writing a file.
//!
//! One fault per line, `[UNIT] FAULT`, the first that fits wins:
//! `rubbish` (arbitrary register contents), `nan` (all points not implemented), `short` (fewer registers than asked
//! for), `late 3s`, `never`, `exception 4`; of a generator `trip` (its engine stops and does not start). An empty or
//! absent file means none.

use std::path::PathBuf;
use std::time::Duration;

use crate::quantity;

/// What a device does instead of answering properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Rubbish,
    NotImplemented,
    Short,
    Late(Duration),
    Never,
    Exception(u8),
    Trip,
}

/// The file with the faults, read at each request so that a test can change it at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(pub(crate) Option<PathBuf>);

impl Faults {
    pub(crate) fn of_unit(&self, unit: u8) -> Option<Fault> {
        let text = std::fs::read_to_string(self.0.as_ref()?).ok()?;
        text.lines().find_map(|line| parse(line, unit))
    }
}

fn parse(line: &str, unit: u8) -> Option<Fault> {
    let mut words = line.split_whitespace().peekable();
    if let Ok(only) = words.peek()?.parse::<u8>() {
        words.next();
        if only != unit {
            return None;
        }
    }
    match (words.next()?, words.next()) {
        ("rubbish", _) => Some(Fault::Rubbish),
        ("nan", _) => Some(Fault::NotImplemented),
        ("short", _) => Some(Fault::Short),
        ("never", _) => Some(Fault::Never),
        ("trip", _) => Some(Fault::Trip),
        ("late", Some(time)) => {
            Some(Fault::Late(Duration::from_secs(u64::from(quantity::seconds(time).ok()?))))
        }
        ("exception", Some(code)) => Some(Fault::Exception(code.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_may_be_limited_to_a_unit() {
        assert_eq!(parse("2 late 3s", 2), Some(Fault::Late(Duration::from_secs(3))));
        assert_eq!(parse("2 late 3s", 1), None);
        assert_eq!(parse("exception 4", 1), Some(Fault::Exception(4)));
        assert_eq!(parse("", 1), None);
    }
}
