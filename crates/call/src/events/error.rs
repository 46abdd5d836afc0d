//! Why an event was not published, received or kept.

use std::fmt;

use crate::error::ErrorKind;

/// Why an event was not published, received or kept. Names channel and place; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// Name of the channel; empty where none is known, as in a reader of events.
    pub channel: String,
    /// What went wrong, for programs: `BadInput` for an event that is none, `NoCredentials` for a login or a certificate
    /// that is refused, `Overloaded` where back-pressure holds, `Broken` and `TimedOut` where it is not known whether
    /// the event was taken; the same event again does no harm, as its id is known.
    pub kind: ErrorKind,
    /// Where: a JSON pointer such as `/data/items/3`, `header ce-id`, the address of a broker. Empty where there is none.
    pub place: String,
    /// For people: what was found and what was expected, a lower-case fragment.
    pub message: String,
}

impl EventError {
    /// An error at a place.
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { channel: String::new(), kind, place: place.into(), message: message.into() }
    }

    /// An event that is none.
    pub(crate) fn bad(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadInput, place, message)
    }

    /// The same error, told of this channel.
    #[must_use]
    pub fn of(mut self, channel: &str) -> Self {
        channel.clone_into(&mut self.channel);
        self
    }

    /// The same error, its place within another: `2` + `/id` is `/2/id`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.place = if self.place.starts_with('/') || self.place.is_empty() {
            format!("{outer}{}", self.place)
        } else {
            format!("{outer} {}", self.place)
        };
        self
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Overloaded | ErrorKind::Unreachable | ErrorKind::Broken | ErrorKind::TimedOut
        )
    }
}

/// `CHANNEL · MESSAGE (at PLACE)`
impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.channel.is_empty() {
            write!(f, "{} · ", self.channel)?;
        }
        f.write_str(&self.message)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " (at {})", self.place) }
    }
}

impl std::error::Error for EventError {}

/// What was found, in one line of bounded length.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN + 1).collect();
    if let Some((cut, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_channel_and_place() {
        let error = EventError::bad("/id", "is missing").within("/2").of("meters");
        assert_eq!(error.to_string(), "meters · is missing (at /2/id)");
        assert!(!error.is_temporary());
    }
}
