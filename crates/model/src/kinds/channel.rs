//! `Channel`: where events flow.

use jiff::SignedDuration;

use super::contract::ClientTls;
use super::service::SecretKey;
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::Bytes;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// Where events (CloudEvents) flow: published by some, delivered to groups of others, at least once.
    pub struct ChannelSpec {
        ..over: ChannelTransport;
        /// How much is kept for those who come later or again.
        retention: ChannelRetention = ChannelRetention::default();
        /// Events that may wait for the slowest group; with more nothing is taken in until it has caught up.
        max_backlog: u32 = 1_000_000, in ABOVE_ZERO;
        /// The largest event.
        max_event: Bytes = Bytes(1 << 20), in Range { min: Some(1024.0), above: false, max: Some(67_108_864.0) };
        /// An event with the id of one that came within this time is dropped.
        deduplicate: SignedDuration = SignedDuration::from_hours(24), in NOT_NEGATIVE;
        /// How events are delivered to a group.
        delivery: ChannelDelivery = ChannelDelivery::default();
        /// File with a JSON Schema of the data of every event, relative to the manifest. What does not fit is refused
        /// from those who publish here, and put aside as a dead letter when it comes from a broker.
        schema: Option<String>;
        /// Makes events of messages that are none: those of devices.
        wrap: Option<Wrap>;
    }
}

choice! {
    /// What carries the events.
    pub enum ChannelTransport {
        /// `sos` itself, in its data directory.
        Embedded(EmbeddedChannel),
        /// NATS JetStream.
        Nats(NatsChannel),
        /// MQTT 5 or 3.1.1.
        Mqtt(MqttChannel),
    }
}

record! {
    /// A channel that `sos` keeps itself. It has no settings of its own: `embedded: {}`.
    pub struct EmbeddedChannel {}
}

record! {
    /// A stream of NATS JetStream.
    pub struct NatsChannel checked by check_nats {
        /// Its servers: `nats://HOST:4222` or `tls://HOST:4222`, several with commas.
        servers: String;
        /// Name of the stream.
        stream: String;
        /// Subject that is published to and heard, such as `meters.readings`; `*` and `>` only hear.
        subject: String;
        /// Subject that is published to, when `subject` has wildcards.
        publish_subject: Option<String>;
        /// Whether the stream is made when there is none.
        create: bool = true;
        /// Name to log in with.
        username: Option<String>;
        /// Password to log in with.
        password: Option<SecretKey>;
        /// Token to log in with.
        token: Option<SecretKey>;
        /// Text of a credentials file.
        credentials: Option<SecretKey>;
        /// Whom to trust, and the certificate of `sos`.
        tls: Option<ClientTls>;
        /// Whether attributes of events go into headers (binary) or everything into the body (structured).
        mode: EventMode = EventMode::Binary;
    }
}

record! {
    /// Topics of an MQTT broker.
    pub struct MqttChannel checked by check_mqtt_channel {
        /// `mqtt://HOST:1883` or `mqtts://HOST:8883`.
        broker: String;
        /// Topic or filter that is heard, such as `meters/+/readings`.
        topic: String;
        /// Topic that is published to, when `topic` has wildcards.
        publish_topic: Option<String>;
        /// Version of the protocol.
        version: MqttProtocol = MqttProtocol::V5;
        /// Name by which the broker knows this subscriber again. Default: `sos-` and the name of the channel.
        client_id: Option<String>;
        /// Name to log in with.
        username: Option<String>;
        /// Password to log in with.
        password: Option<SecretKey>;
        /// Whom to trust, and the certificate of `sos`.
        tls: Option<ClientTls>;
        /// How long the broker keeps messages while `sos` is away.
        session_expiry: SignedDuration = SignedDuration::from_hours(24), in NOT_NEGATIVE;
        /// Whether attributes of events go into properties (binary) or everything into the body (structured).
        mode: EventMode = EventMode::Binary;
    }
}

words! {
    /// Version of MQTT.
    pub enum MqttProtocol as "version" {
        /// MQTT 5.
        V5,
        /// MQTT 3.1.1; it has no properties, so events are structured.
        V311,
    }
}

words! {
    /// Where the attributes of an event go.
    pub enum EventMode as "mode" {
        /// Into headers or properties; the body is the data.
        Binary,
        /// Into the body, with the data, as JSON.
        Structured,
    }
}

record! {
    /// How much of a channel is kept.
    pub struct ChannelRetention {
        /// How long events are kept.
        max_age: SignedDuration = SignedDuration::from_hours(168), in ABOVE_ZERO;
        /// How many bytes are kept.
        max_size: Bytes = Bytes(1 << 30), in Range { min: Some(1_048_576.0), above: false, max: None };
    }
}

record! {
    /// How events are delivered to a group.
    pub struct ChannelDelivery checked by check_delivery {
        /// Attempts before an event is put aside as a dead letter, 1 … 1000.
        max_attempts: u32 = 5, in Range::between(1.0, 1000.0);
        /// Wait before the second attempt; it doubles with each further one.
        initial_backoff: SignedDuration = SignedDuration::from_secs(1), in ABOVE_ZERO;
        /// Longest wait before an attempt.
        max_backoff: SignedDuration = SignedDuration::from_mins(5), in ABOVE_ZERO;
        /// How long a consumer may work on an event before it is given to another.
        lease: SignedDuration = SignedDuration::from_secs(30), in ABOVE_ZERO;
    }
}

record! {
    /// Makes events of messages that are none. The id is made of topic and payload, the subject is the topic.
    pub struct Wrap {
        /// `source` of the events, such as `/substation/7`.
        source: String;
        /// `type` of the events, such as `org.example.reading`.
        event_type: String;
    }
}

impl Default for ChannelRetention {
    fn default() -> Self {
        Self { max_age: SignedDuration::from_hours(168), max_size: Bytes(1 << 30) }
    }
}

impl Default for ChannelDelivery {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_backoff: SignedDuration::from_secs(1),
            max_backoff: SignedDuration::from_mins(5),
            lease: SignedDuration::from_secs(30),
        }
    }
}

impl ChannelSpec {
    /// Every secret it uses, by the path of its key in the spec.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretKey)> {
        let (pairs, tls): (Vec<(&'static str, &Option<SecretKey>)>, _) = match &self.over {
            ChannelTransport::Embedded(_) => return Vec::new(),
            ChannelTransport::Nats(nats) => (
                vec![
                    ("nats.password", &nats.password),
                    ("nats.token", &nats.token),
                    ("nats.credentials", &nats.credentials),
                ],
                nats.tls.as_ref().map(|tls| {
                    ["nats.tls.certificate", "nats.tls.key"].into_iter().zip([&tls.certificate, &tls.key])
                }),
            ),
            ChannelTransport::Mqtt(mqtt) => (
                vec![("mqtt.password", &mqtt.password)],
                mqtt.tls.as_ref().map(|tls| {
                    ["mqtt.tls.certificate", "mqtt.tls.key"].into_iter().zip([&tls.certificate, &tls.key])
                }),
            ),
        };
        let all = pairs.into_iter().chain(tls.into_iter().flatten());
        all.filter_map(|(path, key)| key.as_ref().map(|key| (path, key))).collect()
    }

    /// The files it names.
    pub fn files_mut(&mut self) -> Vec<&mut String> {
        let tls = match &mut self.over {
            ChannelTransport::Embedded(_) => None,
            ChannelTransport::Nats(nats) => nats.tls.as_mut(),
            ChannelTransport::Mqtt(mqtt) => mqtt.tls.as_mut(),
        };
        let ca_file = tls.and_then(|tls| tls.ca_file.as_mut());
        self.schema.as_mut().into_iter().chain(ca_file).collect()
    }
}

fn place(node: &Node, key: &str) -> crate::problem::Position {
    node.get(key).map_or(node.position, |n| n.position)
}

fn check_nats(nats: &NatsChannel, node: &Node, cx: &mut Cx<'_>) {
    let server = |text: &str| {
        let rest = ["nats://", "tls://"].iter().find_map(|scheme| text.trim().strip_prefix(scheme));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '/', ' ']))
    };
    if !nats.servers.split(',').all(server) {
        let help = "expected nats://HOST:PORT or tls://HOST:PORT; names and passwords have keys of their own";
        cx.report(place(node, "servers"), "servers holds what is not an address", help);
    }
    let name = |text: &str| !text.is_empty() && !text.contains(['.', '*', '>', '/', '\\', ' ', '\t']);
    if !name(&nats.stream) {
        cx.report(
            place(node, "stream"),
            "stream is not the name of a stream",
            "expected text without . * > / \\ and spaces",
        );
    }
    let tokens = |text: &str| !text.split('.').any(str::is_empty) && !text.contains(char::is_whitespace);
    if !tokens(&nats.subject) {
        cx.report(
            place(node, "subject"),
            "subject is not a subject",
            "expected such as meters.readings or meters.>",
        );
    }
    let wild = |text: &str| text.contains(['*', '>']);
    check_published(
        &nats.subject,
        nats.publish_subject.as_deref(),
        ("subject", "publishSubject"),
        wild,
        node,
        cx,
    );
    check_login(nats.username.is_some(), nats.password.is_some(), node, cx);
}

fn check_mqtt_channel(mqtt: &MqttChannel, node: &Node, cx: &mut Cx<'_>) {
    let rest = ["mqtt://", "mqtts://"].iter().find_map(|scheme| mqtt.broker.strip_prefix(scheme));
    if !rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '/', ' '])) {
        cx.report(
            place(node, "broker"),
            "broker is not an address",
            "expected mqtt://HOST:PORT or mqtts://HOST:PORT",
        );
    }
    let level = |(index, part): (usize, &str)| match part {
        "+" => true,
        "#" => index + 1 == mqtt.topic.split('/').count(),
        _ => !part.contains(['+', '#', '\0']),
    };
    if mqtt.topic.is_empty() || !mqtt.topic.split('/').enumerate().all(level) {
        cx.report(
            place(node, "topic"),
            "topic is not a topic or filter",
            "expected such as meters/7/readings or meters/+/readings",
        );
    }
    let wild = |text: &str| text.contains(['+', '#']);
    check_published(&mqtt.topic, mqtt.publish_topic.as_deref(), ("topic", "publishTopic"), wild, node, cx);
    check_login(mqtt.username.is_some(), mqtt.password.is_some(), node, cx);
}

/// What is published to has no wildcards.
fn check_published(
    heard: &str,
    published: Option<&str>,
    (heard_key, key): (&str, &str),
    wild: impl Fn(&str) -> bool,
    node: &Node,
    cx: &mut Cx<'_>,
) {
    if published.is_some_and(&wild) {
        cx.report(place(node, key), format!("{key} has wildcards"), "expected what can be published to");
    }
    if published.is_some() && !wild(heard) {
        cx.report(
            place(node, key),
            format!("{key} beside {heard_key} without wildcards"),
            "remove one of them",
        );
    }
}

fn check_login(username: bool, password: bool, node: &Node, cx: &mut Cx<'_>) {
    if username != password {
        cx.report(node.position, "username and password belong together", "expected both or none");
    }
}

fn check_delivery(delivery: &ChannelDelivery, node: &Node, cx: &mut Cx<'_>) {
    if delivery.max_backoff < delivery.initial_backoff {
        let key = if node.get("maxBackoff").is_some() { "maxBackoff" } else { "initialBackoff" };
        cx.report(
            place(node, key),
            "maxBackoff is shorter than initialBackoff",
            "expected initialBackoff or longer",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::node::Value;
    use crate::problem::Position;

    #[test]
    fn the_defaults_of_a_group_are_those_of_its_keys() {
        fn of_an_empty_map<T: Field>() -> Option<T> {
            T::read(&Node { position: Position::NONE, value: Value::Map(Vec::new()) }, &mut Cx::new("test"))
        }
        assert_eq!(of_an_empty_map(), Some(ChannelRetention::default()));
        assert_eq!(of_an_empty_map(), Some(ChannelDelivery::default()));
    }
}
