//! Deliveries: one message to one receiver, within a time, with an answer that tells whether to try again.
//!
//! Nothing is kept between two deliveries but idle HTTP connections, so no receiver holds up another.

mod mail;
mod mqtt;
mod webhook;

use std::fmt;
use std::time::Duration;

pub use mail::{Email, Encryption, SmtpServer, SmtpSettings};
pub use mqtt::{MqttBroker, MqttMessage, MqttSettings, MqttVersion};
pub use webhook::{PingMethod, Webhook, ping, post_json};

/// Characters of a receiver's answer that an error shows.
const SHOWN: usize = 200;

/// The receiver has taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What it answered, in a few words.
    pub answer: String,
}

/// Why the receiver has not, or not surely, taken it. Never holds a password, a token or a path of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    /// Whether it is worth to try again.
    pub kind: DeliveryErrorKind,
    /// For people.
    pub message: String,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Whether a failed delivery is worth to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryErrorKind {
    /// It may succeed later.
    Temporary,
    /// It fails again until somebody changes something.
    Permanent,
}

impl DeliveryError {
    fn temporary(message: impl Into<String>) -> Self {
        Self { kind: DeliveryErrorKind::Temporary, message: message.into(), retry_after: None }
    }

    fn permanent(message: impl Into<String>) -> Self {
        Self { kind: DeliveryErrorKind::Permanent, message: message.into(), retry_after: None }
    }

    /// Whether it is worth to try again.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind == DeliveryErrorKind::Temporary
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeliveryError {}

/// Ends a delivery when its time is over; dropping it closes its connection.
async fn in_time<T>(
    limit: Duration,
    receiver: &impl fmt::Display,
    delivery: impl Future<Output = Result<T, DeliveryError>>,
) -> Result<T, DeliveryError> {
    tokio::time::timeout(limit, delivery).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs_f64();
        Err(DeliveryError::temporary(format!("{receiver} did not take it within {seconds} s")))
    })
}

/// What a receiver said, in one line of bounded length.
fn shown(text: &str) -> String {
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN + 1).collect();
    if let Some((cut, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// The first bytes of a hash of a notification's key, as `2 × bytes` hexadecimal digits.
fn digest(key: &str, bytes: usize) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(key.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_shown_in_one_short_line() {
        assert_eq!(shown("  no\r\nsuch channel "), "no  such channel");
        let long = shown(&"ä".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with('…')), (201, true));
    }
}
