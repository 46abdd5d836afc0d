//! E-mail over SMTP.

use std::fmt;
use std::time::{Duration, SystemTime};

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};

use super::{Delivered, DeliveryError, digest, in_time, shown};
use crate::http::full;
use crate::secret::Login;
use crate::tls::Trust;

/// How a mail server is reached.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// Its name or IP address; its certificate must be for it.
    pub host: String,
    /// Usually 587 with STARTTLS, 465 with TLS, 25 without.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub encryption: Encryption,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// Who sends. Without, the server takes mail from anybody.
    pub login: Option<Login>,
    /// What this machine calls itself in `EHLO`. Default: `localhost`.
    pub hello: Option<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all; a password can be read on the way.
    None,
    /// Where the server offers it. With a login it must offer it: else whoever is on the way takes the offer out and
    /// reads the password.
    StartTlsIfOffered,
    /// From `STARTTLS` on; a server that does not offer it gets nothing.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A mail server. Each e-mail has a connection of its own.
#[derive(Clone)]
pub struct SmtpServer {
    settings: SmtpSettings,
    tls: Tls,
}

/// An e-mail as plain text with an HTML alternative.
#[derive(Clone, Debug)]
pub struct Email<'a> {
    /// `ops@example.org` or `SOS <ops@example.org>`.
    pub from: &'a str,
    /// One or more of them. When the server refuses one, none gets it.
    pub to: &'a [String],
    /// One line; control characters become spaces.
    pub subject: &'a str,
    pub text: &'a str,
    pub html: &'a str,
    /// When the notification was made, in ms since 1970; before that counts as 1970.
    pub sent_at_ms: i64,
}

impl SmtpServer {
    /// Prepares TLS once for all e-mails.
    ///
    /// # Errors
    /// When the authorities to trust cannot be used.
    pub fn new(settings: SmtpSettings) -> Result<Self, String> {
        let tls = match settings.encryption {
            Encryption::None => Tls::None,
            Encryption::StartTlsIfOffered if settings.login.is_none() => Tls::Opportunistic(tls(&settings)?),
            Encryption::StartTlsIfOffered | Encryption::StartTls => Tls::Required(tls(&settings)?),
            Encryption::Tls => Tls::Wrapper(tls(&settings)?),
        };
        Ok(Self { settings, tls })
    }

    /// Sends an e-mail. `key` becomes its Message-ID, so that mailboxes recognise what comes again.
    ///
    /// # Errors
    /// Temporary: no connection, no end within `limit`, TLS that fails, answers 4xx. Permanent: answers 5xx (a wrong
    /// password, an unknown receiver), STARTTLS that is not offered, addresses that are none.
    pub async fn send(
        &self,
        email: &Email<'_>,
        key: &str,
        limit: Duration,
    ) -> Result<Delivered, DeliveryError> {
        let message = message(email, key).map_err(DeliveryError::permanent)?;
        in_time(limit, self, async {
            let sent = self.transport(limit).send(message).await;
            match sent {
                Ok(response) => {
                    let said: Vec<&str> = response.message().collect();
                    Ok(Delivered { answer: shown(&format!("{} {}", response.code(), said.join(" "))) })
                }
                Err(error) => Err(self.failed(&error)),
            }
        })
        .await
    }

    fn transport(&self, limit: Duration) -> AsyncSmtpTransport<Tokio1Executor> {
        let hello = self.settings.hello.clone().unwrap_or_else(|| "localhost".to_owned());
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.settings.host)
            .port(self.settings.port)
            .tls(self.tls.clone())
            .hello_name(ClientId::Domain(hello))
            .timeout(Some(limit));
        match &self.settings.login {
            None => builder.build(),
            Some(login) => {
                let password = login.password.expose().to_owned();
                builder.credentials(Credentials::new(login.user.clone(), password)).build()
            }
        }
    }

    fn failed(&self, error: &Error) -> DeliveryError {
        let message = shown(&format!("{self}: {}", full(error)));
        // What neither the server nor the connection did is a setting that does not fit: no STARTTLS, no way to log in.
        if error.is_permanent() || error.is_client() {
            DeliveryError::permanent(message)
        } else {
            DeliveryError::temporary(message)
        }
    }
}

impl fmt::Display for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mail server {}:{}", self.settings.host, self.settings.port)
    }
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmtpServer").field(&self.settings).finish()
    }
}

fn tls(settings: &SmtpSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if !settings.trust.includes_system() {
        builder = builder.certificate_store(CertificateStore::None);
    }
    for certificate in settings.trust.own()? {
        let certificate = Certificate::from_der(certificate.to_vec());
        builder = builder.add_root_certificate(certificate.map_err(|error| full(&error))?);
    }
    builder.build_rustls().map_err(|error| format!("TLS cannot be set up: {}", full(&error)))
}

fn message(email: &Email<'_>, key: &str) -> Result<Message, String> {
    let from = mailbox(email.from)?;
    if email.to.is_empty() {
        return Err("an e-mail needs a receiver".to_owned());
    }
    let id = format!("<{}@{}>", digest(key, 16), from.email.domain());
    let ms = u64::try_from(email.sent_at_ms).unwrap_or(0);
    let subject: String = email.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut builder = Message::builder()
        .from(from)
        .subject(subject)
        .message_id(Some(id))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS)));
    for to in email.to {
        builder = builder.to(mailbox(to)?);
    }
    let parts = MultiPart::alternative_plain_html(email.text.to_owned(), email.html.to_owned());
    builder.multipart(parts).map_err(|error| format!("the e-mail cannot be made: {error}"))
}

/// The end of the year 9999, beyond which a date has no form.
const LATEST_MS: u64 = 253_402_300_799_000;

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("`{}` is no e-mail address: {error}", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email<'a>(to: &'a [String], subject: &'a str) -> Email<'a> {
        Email { from: "SOS <sos@example.org>", to, subject, text: "plain", html: "<p>x</p>", sent_at_ms: 0 }
    }

    #[test]
    fn the_same_key_gives_the_same_message_id_and_subjects_stay_in_their_line() {
        let to = ["a@example.org".to_owned(), "B <b@example.org>".to_owned()];
        let text = |key: &str| {
            String::from_utf8(message(&email(&to, "x\r\nBcc: eve@example.org"), key).unwrap().formatted())
                .unwrap()
        };
        let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
        let once = text("ops/1");
        assert_eq!(id(&once), id(&text("ops/1")));
        assert_ne!(id(&once), id(&text("ops/2")));
        assert!(id(&once).ends_with("@example.org>"), "{once}");
        assert!(once.contains("Date: Thu, 01 Jan 1970 00:00:00"), "{once}");
        assert!(!once.lines().any(|line| line.starts_with("Bcc")), "{once}");
    }

    #[test]
    fn addresses_that_are_none_are_named() {
        let to = ["nobody".to_owned()];
        let refused = |email: &Email<'_>| message(email, "k").unwrap_err();
        assert!(refused(&email(&to, "x")).contains("`nobody` is no e-mail address"));
        assert!(refused(&email(&[], "x")).contains("needs a receiver"));
        let to = ["a@b.c".to_owned()];
        let huge = Email { sent_at_ms: i64::MAX, ..email(&to, "x") };
        assert!(message(&huge, "k").is_ok());
    }

    #[test]
    fn a_password_is_never_offered_to_a_server_that_may_not_encrypt() {
        let settings = SmtpSettings {
            host: "mail.example.org".into(),
            port: 587,
            encryption: Encryption::StartTlsIfOffered,
            trust: Trust::System,
            login: Some(Login { user: "ops".into(), password: crate::Secret::new("hunter2") }),
            hello: None,
        };
        let server = SmtpServer::new(settings).unwrap();
        assert!(matches!(server.tls, Tls::Required(_)));
        assert!(!format!("{server:?} {server}").contains("hunter2"));
    }
}
