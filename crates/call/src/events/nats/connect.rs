//! One connection, which ends when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, stream};
use async_nats::{Auth, AuthError, ConnectErrorKind, ConnectOptions, ServerAddr};
use tokio::sync::watch;

use super::Nats;
use super::settings::{NatsAuth, StreamMode};
use crate::error::ErrorKind;
use crate::events::error::EventError;
use crate::http::full;
use crate::secret::Secret;

/// How often a silent connection is checked; two missing answers end it.
const PING: Duration = Duration::from_secs(10);

/// A connection with its stream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: async_nats::Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) stream: stream::Stream,
    /// Turns true when the connection is lost.
    pub(super) lost: watch::Receiver<bool>,
}

impl Nats {
    pub(super) fn error(&self, kind: ErrorKind, why: impl Into<String>) -> EventError {
        EventError::new(kind, self.settings.place(), why)
    }

    /// Connects, and sees to the stream.
    pub(super) async fn connect(&self) -> Result<Connection, EventError> {
        let limit = self.settings.timeout;
        let connecting = tokio::time::timeout(limit, Box::pin(self.connect_client()));
        let (client, lost) = connecting.await.unwrap_or_else(|_| {
            let message = format!("cannot be reached within {} s", limit.as_secs_f64());
            Err(self.error(ErrorKind::TimedOut, message))
        })?;
        let context = ContextBuilder::new().timeout(limit).ack_timeout(limit);
        let context = context.max_ack_inflight(self.settings.outstanding).backpressure_on_inflight(true);
        let jetstream = context.build(client.clone());
        let stream = Box::pin(self.see_to_stream(&jetstream)).await?;
        Ok(Connection { client, jetstream, stream, lost })
    }

    async fn connect_client(&self) -> Result<(async_nats::Client, watch::Receiver<bool>), EventError> {
        let settings = &self.settings;
        let addresses = settings.servers.iter().map(|(host, port)| {
            let scheme = if settings.tls.is_some() { "tls" } else { "nats" };
            format!("{scheme}://{host}:{port}").parse::<ServerAddr>()
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|error| self.error(ErrorKind::BadInput, full(&error)))?;
        // Set after the first connection: who asks to sign in again is refused, which ends the client.
        let connected = Arc::new(AtomicBool::new(false));
        let sign_in = SignIn::new(&settings.auth).map_err(|why| self.error(ErrorKind::NoCredentials, why))?;
        let (sender, lost) = watch::channel(false);
        let again = Arc::clone(&connected);
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            let auth = if again.load(SeqCst) {
                Err(AuthError::new("the connection was lost; the channel makes a new one"))
            } else {
                sign_in.auth(&nonce)
            };
            async move { auth }
        });
        let mut options = options
            .name("sos")
            .max_reconnects(addresses.len())
            .connection_timeout(settings.timeout)
            .request_timeout(Some(settings.timeout))
            .ping_interval(PING)
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let ended = matches!(event, async_nats::Event::Disconnected | async_nats::Event::Closed);
                if ended {
                    sender.send_replace(true);
                }
                async {}
            });
        if let Some(config) = &self.tls {
            options = options.require_tls(true).tls_client_config(config.clone());
        }
        let client = options.connect(addresses).await.map_err(|error| {
            let kind = match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    ErrorKind::NoCredentials
                }
                ConnectErrorKind::TimedOut => ErrorKind::TimedOut,
                _ => ErrorKind::Unreachable,
            };
            self.error(kind, format!("cannot connect: {}", full(&error)))
        })?;
        connected.store(true, SeqCst);
        Ok((client, lost))
    }

    async fn see_to_stream(&self, context: &jetstream::Context) -> Result<stream::Stream, EventError> {
        let name = &self.settings.stream.name;
        match context.get_stream(name).await {
            Ok(found) => {
                let wanted = self.wanted(Some(&found.cached_info().config));
                if let Some(wanted) = wanted.filter(|wanted| *wanted != found.cached_info().config) {
                    let updated = context.update_stream(&wanted).await;
                    updated.map_err(|error| self.stream_error("cannot be changed", &error))?;
                }
                Ok(found)
            }
            Err(error) => match (error.kind(), self.wanted(None)) {
                (jetstream::context::GetStreamErrorKind::JetStream(found), Some(wanted))
                    if found.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    let created = context.create_stream(wanted).await;
                    created.map_err(|error| self.stream_error("cannot be made", &error))
                }
                (jetstream::context::GetStreamErrorKind::JetStream(_), _) => {
                    Err(self.stream_error("cannot be used", &error))
                }
                _ => {
                    let why = format!("JetStream does not answer (is it enabled?): {}", full(&error));
                    Err(self.error(ErrorKind::Unreachable, why))
                }
            },
        }
    }

    fn stream_error(&self, what: &str, error: &dyn std::error::Error) -> EventError {
        let why = format!("stream `{}` {what}: {}", self.settings.stream.name, full(error));
        self.error(ErrorKind::Fault, why)
    }

    /// The configuration that a stream of ours must have; `None` for that of somebody else.
    fn wanted(&self, found: Option<&stream::Config>) -> Option<stream::Config> {
        let StreamMode::Ensured { subjects, max_bytes, max_messages, max_age, duplicate_window, replicas } =
            &self.settings.stream.mode
        else {
            return None;
        };
        let limit = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let mut config = found.cloned().unwrap_or_else(|| stream::Config {
            name: self.settings.stream.name.clone(),
            storage: stream::StorageType::File,
            ..stream::Config::default()
        });
        config.subjects.clone_from(subjects);
        config.max_bytes = limit(*max_bytes);
        config.max_messages = limit(*max_messages);
        config.max_age = *max_age;
        // A window longer than messages are kept is refused by servers.
        config.duplicate_window =
            if max_age.is_zero() { *duplicate_window } else { (*duplicate_window).min(*max_age) };
        config.num_replicas = usize::from(*replicas);
        // What does not fit is refused, so that publishers know; dropping the oldest would lose events.
        config.discard = stream::DiscardPolicy::New;
        Some(config)
    }
}

/// How to sign in, prepared so that nothing can fail later.
enum SignIn {
    Auth(Auth),
    Key { key: Box<nkeys::KeyPair>, jwt: Option<String> },
}

impl SignIn {
    fn new(auth: &NatsAuth) -> Result<Self, String> {
        let mut plain = Auth::new();
        match auth {
            NatsAuth::None => {}
            NatsAuth::Login(login) => {
                plain.username = Some(login.user.clone());
                plain.password = Some(login.password.expose().to_owned());
            }
            NatsAuth::Token(token) => plain.token = Some(token.expose().to_owned()),
            NatsAuth::Nkey(seed) => return Ok(Self::Key { key: key(seed.expose())?, jwt: None }),
            NatsAuth::Credentials(text) => {
                let (jwt, seed) = credentials(text)?;
                return Ok(Self::Key { key: key(&seed)?, jwt: Some(jwt) });
            }
        }
        Ok(Self::Auth(plain))
    }

    fn auth(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        match self {
            Self::Auth(auth) => Ok(auth.clone()),
            Self::Key { key, jwt } => {
                let mut auth = Auth::new();
                auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
                auth.jwt.clone_from(jwt);
                if jwt.is_none() {
                    auth.nkey = Some(key.public_key());
                }
                Ok(auth)
            }
        }
    }
}

fn key(seed: &str) -> Result<Box<nkeys::KeyPair>, String> {
    let key = nkeys::KeyPair::from_seed(seed.trim());
    key.map(Box::new).map_err(|_| "expected the seed of an NKey, such as SU…".to_owned())
}

/// JWT and seed: the two blocks between lines of dashes.
fn credentials(text: &Secret) -> Result<(String, String), String> {
    let mut blocks = vec![];
    let mut inside = false;
    for line in text.expose().lines().map(str::trim) {
        if line.starts_with("---") {
            inside = line.contains("BEGIN");
        } else if inside && !line.is_empty() {
            blocks.push(line.to_owned());
        }
    }
    match <[String; 2]>::try_from(blocks) {
        Ok([jwt, seed]) => Ok((jwt, seed)),
        Err(_) => {
            Err("expected a JWT and a seed between lines of dashes, as `.creds` files have them".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_have_two_blocks() {
        let text = "-----BEGIN NATS USER JWT-----\neyJ0.a.b\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
                    -----BEGIN USER NKEY SEED-----\nSUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM\n\
                    ------END USER NKEY SEED------\n";
        let (jwt, seed) = credentials(&Secret::new(text)).unwrap();
        assert_eq!(jwt, "eyJ0.a.b");
        key(&seed).unwrap();
        let wrong = SignIn::new(&NatsAuth::Credentials(Secret::new("SECRET"))).err().unwrap();
        assert!(wrong.contains("between lines of dashes") && !wrong.contains("SECRET"));
        let wrong = SignIn::new(&NatsAuth::Nkey(Secret::new("SECRET"))).err().unwrap();
        assert!(!wrong.contains("SECRET"));
    }
}
