//! Messages to an MQTT broker, with quality of service 1: each is acknowledged by the broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use rustls::pki_types::ServerName;

use super::{Delivered, DeliveryError, digest, in_time};
use crate::mqtt::{Hello, Link, Made, Refused, Tls, connected, dial, farewell};
use crate::secret::Login;
use crate::tls::Trust;

/// Bytes of a packet that a broker may send; acknowledgements are small.
const PACKET_LIMIT: u32 = 64 * 1024;
/// Packets that a broker may send while an acknowledgement is awaited.
const PACKETS: usize = 64;
/// Time for the farewell, after which the connection is dropped without.
const FAREWELL: Duration = Duration::from_millis(500);

/// How an MQTT broker is reached.
#[derive(Clone, Debug)]
pub struct MqttSettings {
    /// Its name or IP address; its certificate must be for it.
    pub host: String,
    /// Usually 1883, and 8883 with TLS.
    pub port: u16,
    /// What is spoken.
    pub version: MqttVersion,
    /// TLS, and whose certificates are trusted. Default: the connection is not encrypted.
    pub tls: Option<Trust>,
    /// Who publishes.
    pub login: Option<Login>,
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5.0, and 3.1.1 with brokers that do not know it.
    #[default]
    Newest,
    /// 5.0 only.
    V5,
    /// 3.1.1 only.
    V3,
}

/// An MQTT broker. Each message has a connection of its own.
#[derive(Clone)]
pub struct MqttBroker {
    settings: MqttSettings,
    tls: Tls,
}

/// A message.
#[derive(Clone, Debug)]
pub struct MqttMessage<'a> {
    /// Its topic, without `+`, `#` and NUL, of 1 to 65,535 bytes.
    pub topic: &'a str,
    /// Its content.
    pub payload: &'a [u8],
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
}

/// Why a broker has not taken a message.
enum Refusal {
    /// It does not speak this version.
    Version(String),
    Other(DeliveryError),
}

impl MqttBroker {
    /// Prepares TLS once for all messages.
    ///
    /// # Errors
    /// When the authorities to trust cannot be used, or the host is no name.
    pub fn new(settings: MqttSettings) -> Result<Self, String> {
        let tls = match &settings.tls {
            None => None,
            Some(trust) => {
                let name = ServerName::try_from(settings.host.clone())
                    .map_err(|_| format!("`{}` is no name of a host", settings.host))?;
                Some((Arc::new(trust.client_config()?), name))
            }
        };
        Ok(Self { settings, tls })
    }

    /// Publishes a message and returns when the broker has acknowledged it. The client's id is made of `key`, so that a
    /// repeat ends what is left of the try before; with MQTT 5 the key also goes along as user property
    /// `idempotency-key`.
    ///
    /// # Errors
    /// Temporary: no connection, no acknowledgement within `limit`, a broker that is busy. Permanent: a login that is
    /// refused, a topic that is not allowed or none, a version that the broker does not speak.
    pub async fn publish(
        &self,
        message: &MqttMessage<'_>,
        key: &str,
        limit: Duration,
    ) -> Result<Delivered, DeliveryError> {
        check(message).map_err(DeliveryError::permanent)?;
        in_time(limit, self, async {
            let first =
                if self.settings.version == MqttVersion::V3 { Version::V3_1_1 } else { Version::V5_0 };
            let mut result = Box::pin(self.publish_as(first, message, key)).await;
            if self.settings.version == MqttVersion::Newest && matches!(result, Err(Refusal::Version(_))) {
                result = Box::pin(self.publish_as(Version::V3_1_1, message, key)).await;
            }
            result.map_err(|refusal| match refusal {
                Refusal::Version(why) => DeliveryError::permanent(format!("{self}: {why}")),
                Refusal::Other(error) => {
                    DeliveryError { message: format!("{self}: {}", error.message), ..error }
                }
            })
        })
        .await
    }

    async fn publish_as(
        &self,
        version: Version,
        message: &MqttMessage<'_>,
        key: &str,
    ) -> Result<Delivered, Refusal> {
        let stream = dial(&self.settings.host, self.settings.port, &self.tls).await;
        let stream = stream.map_err(|error| temporary(error.to_string()))?;
        talk(Link::new(stream, version, PACKET_LIMIT), self, message, key).await
    }
}

impl fmt::Display for MqttBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MQTT broker {}:{}", self.settings.host, self.settings.port)
    }
}

impl fmt::Debug for MqttBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MqttBroker").field(&self.settings).finish()
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused { version: true, message, .. } => Self::Version(message),
            Refused { temporary: true, message, .. } => temporary(message),
            Refused { message, .. } => permanent(message),
        }
    }
}

fn temporary(message: String) -> Refusal {
    Refusal::Other(DeliveryError::temporary(message))
}

fn permanent(message: String) -> Refusal {
    Refusal::Other(DeliveryError::permanent(message))
}

fn check(message: &MqttMessage<'_>) -> Result<(), String> {
    let topic = message.topic;
    if topic.is_empty() || topic.len() > usize::from(u16::MAX) {
        return Err(format!("a topic has 1 to 65,535 bytes, found {}", topic.len()));
    }
    if topic.contains(['+', '#', '\0']) {
        return Err(format!(
            "the topic `{}` has `+`, `#` or NUL, which only subscriptions may have",
            super::shown(topic)
        ));
    }
    Ok(())
}

/// Publishes on a fresh connection and takes leave.
async fn talk(
    mut link: Link,
    broker: &MqttBroker,
    message: &MqttMessage<'_>,
    key: &str,
) -> Result<Delivered, Refusal> {
    let made = |error: &dyn fmt::Debug| permanent(format!("the message cannot be sent: {error:?}"));
    let version = link.version();
    // Up to 23 letters and digits, which any broker takes.
    let id = format!("sos{}", digest(key, 10));
    let login = broker.settings.login.as_ref();
    let first = Hello { client_id: &id, clean: true, session_expiry: 0, keep_alive: 0, login };
    link.greet(&first, None).await.map_err(temporary)?;
    match link.receive().await {
        Ok(answer) => drop(connected(&answer).map_err(Refusal::from)?),
        // Old brokers close, or answer in the form of their own version.
        Err(why) if version == Version::V5_0 => return Err(Refusal::Version(why)),
        Err(why) => return Err(temporary(why)),
    }
    let id = link.packet_id().map_err(permanent)?;
    link.send(publish(version, message, id, key).map_err(|error| made(&error))?).await.map_err(temporary)?;
    for _ in 0..PACKETS {
        let answer = link.receive().await.map_err(temporary)?;
        if let Some(result) = acknowledged(&answer, id) {
            let delivered = result?;
            // It is delivered, whatever becomes of the farewell.
            if let Ok(packet) = farewell(version) {
                let _said = tokio::time::timeout(FAREWELL, link.send(packet)).await;
            }
            return Ok(delivered);
        }
    }
    Err(temporary(format!("sent more than {PACKETS} packets and no acknowledgement")))
}

fn publish(version: Version, message: &MqttMessage<'_>, id: u16, key: &str) -> Made {
    if version == Version::V3_1_1 {
        let packet =
            v3_1_1::Publish::builder().topic_name(message.topic)?.qos(Qos::AtLeastOnce).packet_id(id);
        return packet.retain(message.retain).payload(message.payload).build().map(Packet::from);
    }
    let property = mqtt_protocol_core::mqtt::packet::UserProperty::new("idempotency-key", key)?;
    let packet = v5_0::Publish::builder().topic_name(message.topic)?.qos(Qos::AtLeastOnce).packet_id(id);
    let packet = packet.retain(message.retain).payload(message.payload).props(vec![property.into()]);
    packet.build().map(Packet::from)
}

/// What the broker says about the message; `None` when it speaks of something else.
fn acknowledged(answer: &Packet, id: u16) -> Option<Result<Delivered, Refusal>> {
    let taken = |answer: &str| Ok(Delivered { answer: answer.to_owned() });
    match answer {
        Packet::V3_1_1Puback(puback) if puback.packet_id() == id => Some(taken("PUBACK")),
        Packet::V5_0Puback(puback) if puback.packet_id() == id => Some(match puback.reason_code() {
            None | Some(PubackReasonCode::Success) => taken("PUBACK"),
            Some(PubackReasonCode::NoMatchingSubscribers) => taken("PUBACK, nobody listens"),
            Some(
                code @ (PubackReasonCode::NotAuthorized
                | PubackReasonCode::TopicNameInvalid
                | PubackReasonCode::PayloadFormatInvalid),
            ) => Err(permanent(format!("refused the message: {code}"))),
            Some(code) => Err(temporary(format!("refused the message: {code}"))),
        }),
        Packet::V5_0Disconnect(goodbye) => {
            let why = goodbye.reason_code().map_or(String::new(), |code| format!(": {code}"));
            Some(Err(temporary(format!("ended the connection{why}"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_cannot_be_published_to_are_refused() {
        let refused = |topic: &str| check(&MqttMessage { topic, payload: b"", retain: false }).is_err();
        assert!(!refused("sos/ops/HomeDown"));
        let long = "x".repeat(65_536);
        assert!(refused("") && refused("a/#") && refused("a/+/b") && refused("a\0") && refused(&long));
    }
}
