//! WS-Security: who calls, by name and password (OASIS UsernameToken Profile 1.1).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use sha1::{Digest as _, Sha1};

use super::names::{QName, WSSE, WSU};
use super::wsdl::Version;
use super::xml::Writer;
use crate::secret::Login;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

const PROFILE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0";
const ENCODING: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// How the password is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// As it is; for connections with TLS.
    #[default]
    Text,
    /// Base64 of SHA-1 of nonce, time and password, with a new nonce for each message.
    Digest,
}

/// A `wsse:Security` header on every message.
#[derive(Clone)]
pub struct Security {
    /// Name and password of the `UsernameToken`.
    pub login: Login,
    /// How the password is sent.
    pub password: Password,
    /// How long a message is valid: a `wsu:Timestamp` with its end. `None`: no timestamp.
    pub timestamp: Option<Duration>,
    /// Whether the service must refuse the message when it does not know WS-Security.
    pub must_understand: bool,
    /// The time that is written.
    pub clock: Clock,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("login", &self.login)
            .field("password", &self.password)
            .field("timestamp", &self.timestamp)
            .field("must_understand", &self.must_understand)
            .finish_non_exhaustive()
    }
}

impl Security {
    /// Writes the header.
    pub(crate) fn write(&self, writer: &mut Writer, version: Version, nonce: [u8; 16]) {
        let now = (self.clock)();
        let created = written(now);
        writer.start_as("wsse", WSSE, "Security");
        if self.must_understand {
            writer.attribute(&QName::new(version.envelope(), "mustUnderstand"), "1");
        }
        if let Some(valid) = self.timestamp {
            writer.start_as("wsu", WSU, "Timestamp");
            writer.attribute(&QName::new(WSU, "Id"), "timestamp");
            writer.leaf("wsu", WSU, "Created", &created);
            let end = now.checked_add(valid).unwrap_or(Timestamp::MAX);
            writer.leaf("wsu", WSU, "Expires", &written(end));
            writer.end();
        }
        writer.start_as("wsse", WSSE, "UsernameToken");
        writer.attribute(&QName::new(WSU, "Id"), "user");
        writer.leaf("wsse", WSSE, "Username", &self.login.user);
        writer.start_as("wsse", WSSE, "Password");
        let kind = match self.password {
            Password::Text => "PasswordText",
            Password::Digest => "PasswordDigest",
        };
        writer.attribute(&QName::new("", "Type"), &format!("{PROFILE}#{kind}"));
        match self.password {
            Password::Text => writer.text(self.login.password.expose()),
            Password::Digest => writer.text(&digest(&nonce, &created, self.login.password.expose())),
        }
        writer.end();
        writer.start_as("wsse", WSSE, "Nonce");
        writer.attribute(&QName::new("", "EncodingType"), ENCODING);
        writer.text(&BASE64.encode(nonce));
        writer.end();
        writer.leaf("wsu", WSU, "Created", &created);
        writer.end();
        writer.end();
    }
}

/// UTC with milliseconds, as the Basic Security Profile wants it (BSP 1.1, R3217 and R3229).
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// `Password_Digest = Base64(SHA-1(nonce + created + password))`
fn digest(nonce: &[u8], created: &str, password: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(nonce);
    hash.update(created.as_bytes());
    hash.update(password.as_bytes());
    BASE64.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::soap::xml::{Bounds, parse};

    #[test]
    fn the_digest_is_that_of_the_profile() {
        // Made with Python: base64(sha1(bytes(range(16)) + b"2026-11-29T12:00:00.000Z" + b"secret")).
        assert_eq!(
            digest(&std::array::from_fn::<u8, 16, _>(|n| n as u8), "2026-11-29T12:00:00.000Z", "secret"),
            "O6FIqzwOpyIzl1RM9hCevOInD0E="
        );
    }

    #[test]
    fn the_header_holds_token_and_timestamp() {
        let security = Security {
            login: Login { user: "ops<".into(), password: Secret::new("p&w") },
            password: Password::Text,
            timestamp: Some(Duration::from_secs(300)),
            must_understand: true,
            clock: Arc::new(|| "2026-11-29T12:00:00.25Z".parse().unwrap()),
        };
        assert!(!format!("{security:?}").contains("p&w"));
        let mut writer = Writer::new();
        security.write(&mut writer, Version::V12, [7; 16]);
        let text = writer.finish();
        let tree = parse(&text, &Bounds::DOCUMENT).unwrap();
        let root = tree.root();
        assert_eq!(root.attribute_of(Version::V12.envelope(), "mustUnderstand"), Some("1"));
        let stamp = root.child(WSU, "Timestamp").unwrap();
        assert_eq!(stamp.child(WSU, "Created").unwrap().text(), "2026-11-29T12:00:00.250Z");
        assert_eq!(stamp.child(WSU, "Expires").unwrap().text(), "2026-11-29T12:05:00.250Z");
        let token = root.child(WSSE, "UsernameToken").unwrap();
        assert_eq!(token.child(WSSE, "Username").unwrap().text(), "ops<");
        assert_eq!(token.child(WSSE, "Password").unwrap().text(), "p&w");
    }
}
