//! How a NATS server is reached, and what is used there.

use std::time::Duration;

use crate::events::broker::{Mode, Plain};
use crate::events::error::{EventError, shown};
use crate::events::identity::BrokerTls;
use crate::secret::{Login, Secret};

/// A channel on a NATS server.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// Names or addresses and ports of the servers of one cluster; one is enough.
    pub servers: Vec<(String, u16)>,
    /// TLS; default: the connection is not encrypted.
    pub tls: Option<BrokerTls>,
    /// Who connects.
    pub auth: NatsAuth,
    /// The stream that keeps the events.
    pub stream: Stream,
    /// Subject that events are published to; one of the stream's.
    pub subject: String,
    /// Subject or pattern of what is received; all of the stream without.
    pub filter: Option<String>,
    /// Name of the durable consumer that remembers what this channel has; letters, digits, `-` and `_`.
    pub consumer: String,
    /// How events are put into messages.
    pub mode: Mode,
    /// What becomes of messages that are no CloudEvents; default: dead letters.
    pub plain: Option<Plain>,
    /// Messages that are handed out and not acknowledged at most.
    pub max_ack_pending: u16,
    /// How long the server waits for an acknowledgement before it hands out a message again.
    pub ack_wait: Duration,
    /// Messages that are published and not acknowledged at most.
    pub outstanding: usize,
    /// Time to connect, for each request, and for the acknowledgement of what is published.
    pub timeout: Duration,
}

/// Who connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NatsAuth {
    /// Nobody in particular, or whom the certificate names.
    #[default]
    None,
    /// A user with a password.
    Login(Login),
    /// Who has the token.
    Token(Secret),
    /// The seed of an NKey; its public part is the user.
    Nkey(Secret),
    /// The text of a `.creds` file: a JWT and the seed of its key.
    Credentials(Secret),
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name: no spaces, `.`, `*`, `>` or slashes.
    pub name: String,
    /// Whose it is.
    pub mode: StreamMode,
}

/// Whose a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMode {
    /// Ours: made where it is missing, in files, and its subjects and limits kept as declared.
    Ensured {
        /// Subjects that it keeps.
        subjects: Vec<String>,
        /// Bytes that it keeps; then it refuses more. `None`: what the server allows.
        max_bytes: Option<u64>,
        /// Messages that it keeps; then it refuses more.
        max_messages: Option<u64>,
        /// How long it keeps a message; zero for ever.
        max_age: Duration,
        /// How long it recognises a message that is published twice.
        duplicate_window: Duration,
        /// Copies in a cluster; 1 to 5.
        replicas: u8,
    },
    /// Somebody else's: it must be there and is not changed.
    Required,
}

impl NatsSettings {
    /// Usual settings for a stream and a subject of its own on one server.
    pub fn new(host: impl Into<String>, port: u16, stream: &str, subject: &str) -> Self {
        let mode = StreamMode::Ensured {
            subjects: vec![subject.to_owned()],
            max_bytes: None,
            max_messages: None,
            max_age: Duration::ZERO,
            duplicate_window: Duration::from_secs(120),
            replicas: 1,
        };
        Self {
            servers: vec![(host.into(), port)],
            tls: None,
            auth: NatsAuth::None,
            stream: Stream { name: stream.to_owned(), mode },
            subject: subject.to_owned(),
            filter: None,
            consumer: "sos".to_owned(),
            mode: Mode::Binary,
            plain: None,
            max_ack_pending: 2048,
            ack_wait: Duration::from_secs(30),
            outstanding: 512,
            timeout: Duration::from_secs(10),
        }
    }

    /// Servers for people.
    pub(super) fn place(&self) -> String {
        let all: Vec<_> = self.servers.iter().map(|(host, port)| format!("nats://{host}:{port}")).collect();
        all.join(",")
    }

    pub(super) fn check(&self) -> Result<(), EventError> {
        if self.servers.is_empty() {
            return Err(EventError::bad("servers", "expected at least one server"));
        }
        for (host, _) in &self.servers {
            // Whatever else there is in a host would be read as user, port or path.
            let good = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
            if host.is_empty() || !host.chars().all(good) {
                return Err(EventError::bad("servers", format!("`{}` is no name of a host", shown(host))));
            }
        }
        name("stream", &self.stream.name)?;
        name("consumer", &self.consumer)?;
        subject("subject", &self.subject, false)?;
        if let Some(filter) = &self.filter {
            subject("filter", filter, true)?;
        }
        if let StreamMode::Ensured { subjects, replicas, .. } = &self.stream.mode {
            if subjects.is_empty() {
                return Err(EventError::bad("stream", "expected at least one subject"));
            }
            for each in subjects {
                subject("stream", each, true)?;
            }
            if !(1..=5).contains(replicas) {
                return Err(EventError::bad("stream", format!("expected 1 to 5 replicas, found {replicas}")));
            }
        }
        let positive = self.max_ack_pending > 0 && self.outstanding > 0 && !self.timeout.is_zero();
        if !positive || self.ack_wait < Duration::from_secs(1) {
            let message = "expected positive numbers, and an ack_wait of a second at least";
            return Err(EventError::bad("max_ack_pending, outstanding, timeout, ack_wait", message));
        }
        Ok(())
    }
}

/// Names of streams and consumers are parts of subjects and of files.
fn name(place: &str, name: &str) -> Result<(), EventError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=200).contains(&name.len()) && name.chars().all(good) {
        return Ok(());
    }
    let message = format!("expected a name of letters, digits, `-` and `_`, found `{}`", shown(name));
    Err(EventError::bad(place, message))
}

/// Tokens between dots; `*` and, at the end, `>` only in patterns.
fn subject(place: &str, subject: &str, pattern: bool) -> Result<(), EventError> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let last = tokens.len() - 1;
    let good = |(at, token): (usize, &&str)| match *token {
        "*" => pattern,
        ">" => pattern && at == last,
        token => {
            !token.is_empty()
                && !token.contains(['*', '>'])
                && token.chars().all(|c| !c.is_whitespace() && !c.is_control())
        }
    };
    if subject.len() <= 1024 && !subject.starts_with('$') && tokens.iter().enumerate().all(good) {
        return Ok(());
    }
    let message = format!("expected a subject such as `meters.read`, found `{}`", shown(subject));
    Err(EventError::bad(place, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_mean_something_else_are_refused() {
        let good = NatsSettings::new("localhost", 4222, "METERS", "meters.read");
        good.check().unwrap();
        let place = |change: &dyn Fn(&mut NatsSettings)| {
            let mut settings = good.clone();
            change(&mut settings);
            settings.check().unwrap_err().place
        };
        assert_eq!(place(&|all| all.servers = vec![("user:pass@host".into(), 1)]), "servers");
        assert_eq!(place(&|all| all.stream.name = "a.b".into()), "stream");
        assert_eq!(place(&|all| all.subject = "meters.*".into()), "subject");
        assert_eq!(place(&|all| all.subject = "$JS.API.>".into()), "subject");
        assert_eq!(place(&|all| all.filter = Some("a.>.b".into())), "filter");
        assert_eq!(place(&|all| all.consumer = String::new()), "consumer");
    }
}
