//! Messages over MQTT, with quality of service 1.

use std::time::Duration;

use sha2::Digest as _;

use super::{Message, Place, Protocol};
use crate::deliver::MqttVersion;
use crate::error::CallError;
use crate::events::{EventError, MessageReceiver, Mqtt, MqttChannelSettings};
use crate::http::Transport;
use crate::secret::{Login, Secret};

/// How long a broker keeps what comes while nobody is connected.
const KEPT: Duration = Duration::from_hours(24);
/// Messages that come before one is acknowledged.
const OUTSTANDING: u16 = 64;
/// Where a subscription would publish, which it never does.
const NOWHERE: &str = "sos/nowhere";
/// The user property by which a repetition is known.
const KEY: &str = "idempotency-key";

pub(super) async fn publish(
    transport: &Transport,
    place: &Place,
    mut message: Message,
    key: &str,
) -> Result<(), CallError> {
    message.headers.push((KEY.to_owned(), key.to_owned()));
    let settings = settings(place, key, &place.address);
    let mqtt = Mqtt::over(settings, transport.clone(), place.peer.encrypted).map_err(error)?;
    mqtt.publish_message(&message, place.bindings.retain).await.map_err(error)
}

pub(super) async fn subscribe(
    transport: &Transport,
    place: &Place,
    key: &str,
) -> Result<MessageReceiver, CallError> {
    subscriber(transport, place, key)?.receive_messages().await.map_err(error)
}

pub(super) async fn unsubscribe(transport: &Transport, place: &Place, key: &str) -> Result<(), CallError> {
    subscriber(transport, place, key)?.forget().await.map_err(error)
}

fn subscriber(transport: &Transport, place: &Place, key: &str) -> Result<Mqtt, CallError> {
    let mut settings = settings(place, key, NOWHERE);
    settings.filters = vec![place.address.clone()];
    settings.session_expiry = KEPT;
    settings.receive_maximum = OUTSTANDING;
    Mqtt::over(settings, transport.clone(), place.peer.encrypted).map_err(error)
}

fn settings(place: &Place, key: &str, topic: &str) -> MqttChannelSettings {
    // Up to 23 letters and digits, which any broker takes.
    let digest = sha2::Sha256::digest(key);
    let name = digest.iter().take(10).fold("sos".to_owned(), |name, byte| format!("{name}{byte:02x}"));
    let mut settings = MqttChannelSettings::new(&place.peer.host, place.peer.port, &name, topic);
    if place.protocol == Protocol::Mqtt5 {
        settings.version = MqttVersion::V5;
    }
    // A token stands in the place of a password.
    let by_token = |token: &Secret| Login { user: String::new(), password: token.clone() };
    settings.login = place.who.login.clone().or_else(|| place.who.token.as_ref().map(by_token));
    settings
}

pub(super) fn error(error: EventError) -> CallError {
    CallError::new(error.kind, error.place, error.message)
}
