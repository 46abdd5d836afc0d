//! One delivery: a notifier's manifest and a notification → what its receiver is sent.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use sos_call::deliver::{
    self, Delivered, DeliveryError, Encryption, MqttBroker, MqttMessage, MqttSettings, MqttVersion,
    PingMethod, SmtpServer, SmtpSettings,
};
use sos_call::{Address, Auth, HttpClient, Login, Secret, Trust};
use sos_model::{
    Chat, Email, HeartbeatSpec, MailTls, Mqtt, NotifierSpec, Receiver, SecretKey, UrlSource, ValueFrom,
    Webhook,
};
use sos_store::Store;
use sos_watch::alerts::Notification;
use sos_watch::alerts::payload;

use crate::services::secrets;

/// Why something was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    /// For people; no secret.
    pub(super) message: String,
    /// Whether it fails again until somebody changes something.
    pub(super) for_good: bool,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Undelivered {
    pub(super) const fn for_good(message: String) -> Self {
        Self { message, for_good: true, retry_after: None }
    }

    /// A manifest or secret that cannot be used yet may be put right before the notification is given up.
    const fn for_now(message: String) -> Self {
        Self { message, for_good: false, retry_after: None }
    }
}

impl From<DeliveryError> for Undelivered {
    fn from(error: DeliveryError) -> Self {
        Self { for_good: !error.is_temporary(), retry_after: error.retry_after, message: error.message }
    }
}

/// Delivers a notification.
pub(super) async fn send(
    store: &Store,
    spec: &NotifierSpec,
    notification: &Notification,
    external_url: &str,
) -> Result<(), Undelivered> {
    match &spec.receiver {
        Receiver::Webhook(webhook) => {
            let most = usize::try_from(webhook.max_alerts).unwrap_or(usize::MAX);
            let body = match most {
                0 => payload::webhook(notification, external_url),
                most => payload::webhook_of(notification, external_url, most),
            };
            post(&target(store, webhook)?, notification, &body).await
        }
        Receiver::Slack(chat) => {
            post(&chat_target(store, chat)?, notification, &payload::slack(notification)).await
        }
        Receiver::Mattermost(chat) => {
            post(&chat_target(store, chat)?, notification, &payload::mattermost(notification)).await
        }
        Receiver::Discord(chat) => {
            post(&chat_target(store, chat)?, notification, &payload::discord(notification)).await
        }
        Receiver::Teams(chat) => {
            post(&chat_target(store, chat)?, notification, &payload::teams(notification)).await
        }
        Receiver::Email(email) => mail(store, email, notification, external_url).await,
        Receiver::Mqtt(mqtt) => publish(store, mqtt, notification).await,
        Receiver::Heartbeat(_) => Err(Undelivered::for_good("a heartbeat is told of no alerts".to_owned())),
    }
}

/// Gives a sign of life.
pub(super) async fn beat(store: &Store, heartbeat: &HeartbeatSpec) -> Result<(), Undelivered> {
    let target = HttpTarget {
        webhook: plain(store, &heartbeat.address)?,
        client: client(heartbeat.ca_file.as_deref())?,
        limit: duration(heartbeat.timeout),
    };
    done(deliver::ping(&target.client, &target.webhook, PingMethod::Get, target.limit).await)
}

/// A receiver over HTTP, ready to be asked.
struct HttpTarget {
    webhook: deliver::Webhook,
    client: HttpClient,
    limit: Duration,
}

async fn post(target: &HttpTarget, notification: &Notification, body: &Value) -> Result<(), Undelivered> {
    let json = body.to_string().into_bytes();
    done(deliver::post_json(&target.client, &target.webhook, &notification.key, json, target.limit).await)
}

fn target(store: &Store, webhook: &Webhook) -> Result<HttpTarget, Undelivered> {
    let mut to = plain(store, &webhook.address)?;
    if let Some(token) = &webhook.token {
        to.auth = Auth::Bearer(Secret::new(secret(store, token)?));
    }
    let headers = webhook.headers.iter();
    to.headers = headers.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
    Ok(HttpTarget {
        webhook: to,
        client: client(webhook.ca_file.as_deref())?,
        limit: duration(webhook.timeout),
    })
}

fn chat_target(store: &Store, chat: &Chat) -> Result<HttpTarget, Undelivered> {
    Ok(HttpTarget {
        webhook: plain(store, &chat.address)?,
        client: client(chat.ca_file.as_deref())?,
        limit: duration(chat.timeout),
    })
}

fn plain(store: &Store, source: &UrlSource) -> Result<deliver::Webhook, Undelivered> {
    let text = match source {
        UrlSource::Url(url) => url.clone(),
        UrlSource::UrlFrom(ValueFrom::Secret(key)) => secret(store, key)?,
    };
    let address = Address::parse(text.trim()).map_err(Undelivered::for_now)?;
    Ok(deliver::Webhook { address, auth: Auth::None, headers: Vec::new() })
}

async fn mail(
    store: &Store,
    email: &Email,
    notification: &Notification,
    external_url: &str,
) -> Result<(), Undelivered> {
    let (host, port) = host_and_port(&email.server)?;
    let settings = SmtpSettings {
        host,
        port,
        encryption: match email.tls {
            MailTls::None => Encryption::None,
            MailTls::Starttls => Encryption::StartTls,
            MailTls::Tls => Encryption::Tls,
        },
        trust: trust(email.ca_file.as_deref())?,
        login: login(store, email.username.as_deref(), email.password.as_ref())?,
        hello: None,
    };
    let server = SmtpServer::new(settings).map_err(Undelivered::for_now)?;
    let built = payload::mail(notification, external_url);
    let message = deliver::Email {
        from: &email.from,
        to: &email.to,
        subject: &built.subject,
        text: &built.text,
        html: &built.html,
        sent_at_ms: notification.at_ms,
    };
    done(server.send(&message, &notification.key, duration(email.timeout)).await)
}

async fn publish(store: &Store, mqtt: &Mqtt, notification: &Notification) -> Result<(), Undelivered> {
    let encrypted = mqtt.broker.starts_with("mqtts://");
    let (host, port) = host_and_port(mqtt.broker.split_once("://").map_or("", |(_, rest)| rest))?;
    let settings = MqttSettings {
        host,
        port,
        version: MqttVersion::Newest,
        tls: if encrypted { Some(trust(mqtt.ca_file.as_deref())?) } else { None },
        login: login(store, mqtt.username.as_deref(), mqtt.password.as_ref())?,
    };
    let broker = MqttBroker::new(settings).map_err(Undelivered::for_now)?;
    let (topic, body) = payload::mqtt(notification, &mqtt.topic);
    let payload = body.to_string();
    let message = MqttMessage { topic: &topic, payload: payload.as_bytes(), retain: mqtt.retain };
    done(broker.publish(&message, &notification.key, duration(mqtt.timeout)).await)
}

fn done(result: Result<Delivered, DeliveryError>) -> Result<(), Undelivered> {
    result.map(drop).map_err(Undelivered::from)
}

fn client(ca_file: Option<&str>) -> Result<HttpClient, Undelivered> {
    HttpClient::new(&trust(ca_file)?).map_err(Undelivered::for_now)
}

fn trust(ca_file: Option<&str>) -> Result<Trust, Undelivered> {
    let Some(path) = ca_file else { return Ok(Trust::System) };
    let pem = std::fs::read(path)
        .map_err(|error| Undelivered::for_now(format!("cannot read the certificates in {path}: {error}")))?;
    Ok(Trust::Authorities(pem))
}

fn login(
    store: &Store,
    user: Option<&str>,
    password: Option<&SecretKey>,
) -> Result<Option<Login>, Undelivered> {
    let (Some(user), Some(password)) = (user, password) else { return Ok(None) };
    Ok(Some(Login { user: user.to_owned(), password: Secret::new(secret(store, password)?) }))
}

fn secret(store: &Store, key: &SecretKey) -> Result<String, Undelivered> {
    secrets::needed(store, key).map_err(Undelivered::for_now)
}

fn host_and_port(text: &str) -> Result<(String, u16), Undelivered> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| Undelivered::for_good(format!("{text} is not host and port")))
}

fn duration(duration: SignedDuration) -> Duration {
    duration.unsigned_abs()
}
