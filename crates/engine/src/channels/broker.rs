//! A manifest → the broker it names.

use std::sync::Arc;
use std::time::Duration;

use sos_call::events::{
    Broker, BrokerTls, Confirm, EventError, Mode, Mqtt, MqttChannelSettings, Nats, NatsAuth, NatsSettings,
    Plain, StreamMode,
};
use sos_call::{Identity, Login, Secret};
use sos_model::{
    ChannelSpec, ChannelTransport, ClientTls, EventMode, MqttChannel, MqttProtocol, NatsChannel, SecretKey,
    Wrap,
};
use sos_store::Store;

use crate::calls::{duration, random, trust};
use crate::services::secrets;

/// How long an event that an MQTT broker has acknowledged may take until it has come back.
const COMES_BACK: Duration = Duration::from_secs(10);
/// Where a channel would publish that only hears; nobody is let.
const NOWHERE: &str = "sos.nowhere";

/// The broker of a channel.
pub(super) struct Chosen {
    pub(super) broker: Arc<dyn Broker>,
    /// When what is published there counts as published.
    pub(super) confirm: Confirm,
    /// Whether there is something that can be published to.
    pub(super) publishes: bool,
}

/// The broker that a manifest names; none for an embedded channel.
pub(super) fn of(store: &Store, name: &str, spec: &ChannelSpec) -> Result<Option<Chosen>, String> {
    match &spec.over {
        ChannelTransport::Embedded(_) => Ok(None),
        ChannelTransport::Nats(nats) => self::nats(store, name, spec, nats).map(Some),
        ChannelTransport::Mqtt(mqtt) => self::mqtt(store, name, spec, mqtt).map(Some),
    }
}

fn nats(store: &Store, name: &str, spec: &ChannelSpec, nats: &NatsChannel) -> Result<Chosen, String> {
    let servers: Vec<&str> = nats.servers.split(',').map(str::trim).collect();
    let encrypted = nats.tls.is_some() || servers.iter().any(|server| server.starts_with("tls://"));
    let first = servers.first().and_then(|server| address(server, 4222)).ok_or("servers are no addresses")?;
    let wild = nats.subject.contains(['*', '>']);
    let subject = if wild { nats.publish_subject.as_deref().unwrap_or(NOWHERE) } else { &nats.subject };
    let mut settings = NatsSettings::new(first.0, first.1, &nats.stream, subject);
    settings.servers = servers.iter().filter_map(|server| address(server, 4222)).collect();
    settings.filter = Some(nats.subject.clone());
    settings.consumer = format!("sos-{name}");
    settings.mode = mode(nats.mode);
    settings.plain = spec.wrap.as_ref().map(plain);
    settings.tls = tls(store, encrypted, nats.tls.as_ref())?;
    settings.auth = nats_auth(store, nats)?;
    settings.stream.mode = match settings.stream.mode {
        StreamMode::Ensured { max_messages, replicas, .. } if nats.create => StreamMode::Ensured {
            subjects: vec![nats.subject.clone()],
            max_bytes: Some(spec.retention.max_size.0),
            max_messages,
            max_age: duration(spec.retention.max_age),
            duplicate_window: duration(spec.deduplicate)
                .clamp(Duration::from_millis(100), duration(spec.retention.max_age)),
            replicas,
        },
        _ => StreamMode::Required,
    };
    let broker = Nats::new(settings).map_err(text)?;
    let publishes = !wild || nats.publish_subject.is_some();
    Ok(Chosen { broker: Arc::new(broker), confirm: Confirm::Broker, publishes })
}

fn nats_auth(store: &Store, nats: &NatsChannel) -> Result<NatsAuth, String> {
    let secret = |key: &SecretKey| secrets::needed(store, key).map(Secret::new);
    Ok(match (&nats.credentials, &nats.token, &nats.username, &nats.password) {
        (Some(key), ..) => NatsAuth::Credentials(secret(key)?),
        (None, Some(key), ..) => NatsAuth::Token(secret(key)?),
        (None, None, Some(user), Some(key)) => {
            NatsAuth::Login(Login { user: user.clone(), password: secret(key)? })
        }
        _ => NatsAuth::None,
    })
}

fn mqtt(store: &Store, name: &str, spec: &ChannelSpec, mqtt: &MqttChannel) -> Result<Chosen, String> {
    let encrypted = mqtt.broker.starts_with("mqtts://");
    let (host, port) =
        address(&mqtt.broker, if encrypted { 8883 } else { 1883 }).ok_or("broker is no address")?;
    let wild = mqtt.topic.contains(['+', '#']);
    let topic = if wild { mqtt.publish_topic.as_deref().unwrap_or(NOWHERE) } else { &mqtt.topic };
    let client_id = mqtt.client_id.clone().unwrap_or_else(|| format!("sos-{name}"));
    let mut settings = MqttChannelSettings::new(host, port, &client_id, topic);
    settings.filters = vec![mqtt.topic.clone()];
    settings.mode = mode(mqtt.mode);
    settings.plain = spec.wrap.as_ref().map(plain);
    settings.tls = tls(store, encrypted, mqtt.tls.as_ref())?;
    settings.session_expiry = duration(mqtt.session_expiry);
    // Messages of devices have no ids; those that are made for them must not be those of an earlier start.
    settings.seed = u64::from_le_bytes(first_eight(random()));
    settings.version = match mqtt.version {
        MqttProtocol::V5 => sos_call::deliver::MqttVersion::V5,
        MqttProtocol::V311 => sos_call::deliver::MqttVersion::V3,
    };
    // The structured mode is the only one that 3.1.1 has.
    if mqtt.version == MqttProtocol::V311 {
        settings.mode = Mode::Structured;
    }
    if let (Some(user), Some(key)) = (&mqtt.username, &mqtt.password) {
        let password = Secret::new(secrets::needed(store, key)?);
        settings.login = Some(Login { user: user.clone(), password });
    }
    let comes_back = !wild || mqtt.publish_topic.as_deref().is_some_and(|topic| hears(&mqtt.topic, topic));
    let confirm = if comes_back { Confirm::Log { within: COMES_BACK } } else { Confirm::Broker };
    let broker = Mqtt::new(settings).map_err(text)?;
    Ok(Chosen { broker: Arc::new(broker), confirm, publishes: !wild || mqtt.publish_topic.is_some() })
}

/// Whether a filter matches a topic (MQTT 5, section 4.7).
fn hears(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn first_eight(bytes: [u8; 16]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}

/// Host and port of `scheme://host[:port]`.
fn address(text: &str, usual: u16) -> Option<(String, u16)> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((unbracketed(host), port.parse().ok()?)),
        _ => Some((unbracketed(rest), usual)),
    }
}

fn unbracketed(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn tls(store: &Store, encrypted: bool, tls: Option<&ClientTls>) -> Result<Option<BrokerTls>, String> {
    if !encrypted {
        return Ok(None);
    }
    let trust = trust(tls.and_then(|tls| tls.ca_file.as_deref()))?;
    let pair = tls.and_then(|tls| Some((tls.certificate.as_ref()?, tls.key.as_ref()?)));
    let identity = pair.map(|(certificate, key)| -> Result<Identity, String> {
        Ok(Identity {
            certificates: secrets::needed(store, certificate)?.into_bytes(),
            key: Secret::new(secrets::needed(store, key)?),
        })
    });
    Ok(Some(BrokerTls { trust, identity: identity.transpose()? }))
}

const fn mode(mode: EventMode) -> Mode {
    match mode {
        EventMode::Binary => Mode::Binary,
        EventMode::Structured => Mode::Structured,
    }
}

fn plain(wrap: &Wrap) -> Plain {
    Plain { source: wrap.source.clone(), event_type: wrap.event_type.clone() }
}

fn text(error: EventError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_hear_topics_as_the_standard_says() {
        for (filter, topic, heard) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a", true),
            ("+/b", "a/c", false),
        ] {
            assert_eq!(hears(filter, topic), heard, "{filter} {topic}");
        }
    }

    #[test]
    fn addresses_have_a_usual_port() {
        assert_eq!(address("nats://a:1", 4222), Some(("a".to_owned(), 1)));
        assert_eq!(address("tls://a", 4222), Some(("a".to_owned(), 4222)));
        assert_eq!(address("mqtt://[::1]:9", 1883), Some(("::1".to_owned(), 9)));
        assert_eq!(address("mqtt://a:x", 1883), None);
    }
}
