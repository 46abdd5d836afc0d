//! The MQTT protocol binding of CloudEvents: messages to events and back.

use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::{ContentType, Packet, Property, Qos, UserProperty, v3_1_1, v5_0};

use crate::events::binary::Binary;
use crate::events::broker::{Content, Malformed, Mode, Plain, looks_structured};
use crate::events::check::extension_name;
use crate::events::error::EventError;
use crate::events::event::CloudEvent;
use crate::events::http::{Format, STRUCTURED};
use crate::mqtt::Made;

/// A message as it came, whatever the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// Where it is acknowledged; `None` where nobody wants to know.
    pub(super) packet_id: Option<u16>,
    /// Whether the broker may have sent it before.
    pub(super) dup: bool,
    /// Whether it was published before somebody listened.
    pub(super) retain: bool,
    pub(super) content_type: Option<String>,
    pub(super) properties: Vec<(String, String)>,
    /// What it answers to, as text; empty where it does not say.
    pub(super) correlation: String,
}

impl Incoming {
    /// The message of a packet, where it has one.
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let acknowledged = |qos: Qos, id: Option<u16>| id.filter(|_| qos == Qos::AtLeastOnce);
        match packet {
            Packet::V3_1_1Publish(publish) => Some(Self {
                topic: publish.topic_name().to_owned(),
                payload: publish.payload().as_slice().to_vec(),
                packet_id: acknowledged(publish.qos(), publish.packet_id()),
                dup: publish.dup(),
                retain: publish.retain(),
                ..Self::default()
            }),
            Packet::V5_0Publish(publish) => {
                let mut incoming = Self {
                    topic: publish.topic_name().to_owned(),
                    payload: publish.payload().as_slice().to_vec(),
                    packet_id: acknowledged(publish.qos(), publish.packet_id()),
                    dup: publish.dup(),
                    retain: publish.retain(),
                    ..Self::default()
                };
                for property in publish.props() {
                    match property {
                        Property::ContentType(found) => incoming.content_type = Some(found.val().to_owned()),
                        Property::UserProperty(pair) => {
                            incoming.properties.push((pair.key().to_owned(), pair.val().to_owned()));
                        }
                        Property::CorrelationData(found) => {
                            incoming.correlation = String::from_utf8_lossy(found.val()).into_owned();
                        }
                        _ => {}
                    }
                }
                Some(incoming)
            }
            _ => None,
        }
    }

    /// What the message is. `id` is what it is known by when it is no event.
    pub(super) fn content(self, id: String, plain: Option<&Plain>) -> Content {
        let result = self.event().and_then(|found| match (found, plain) {
            (Some(event), _) => Ok(event),
            (None, Some(plain)) => {
                plain.event(id.clone(), &self.topic, self.content_type.as_deref(), &self.payload)
            }
            (None, None) => {
                Err(EventError::bad("", "no event: expected its attributes as user properties, or JSON"))
            }
        });
        match result {
            Ok(event) => Content::Event(Box::new(event)),
            Err(error) => Content::Malformed(Malformed { id, raw: self.payload, reason: error.to_string() }),
        }
    }

    /// The event; `None` where nothing says that it is one.
    fn event(&self) -> Result<Option<CloudEvent>, EventError> {
        match Format::of(self.content_type.as_deref())? {
            Format::Structured => return CloudEvent::from_json(&self.payload).map(Some),
            Format::Batch => {
                return Err(EventError::bad("content type", "a batch, which MQTT does not carry"));
            }
            Format::None => {}
        }
        if !self.properties.iter().any(|(name, _)| name == "specversion") {
            // 3.1.1 has no content type, also for those who receive with 5.
            let structured = looks_structured(&self.payload);
            return structured.then(|| CloudEvent::from_json(&self.payload)).transpose();
        }
        let mut content_type = self.content_type.clone();
        let mut attributes = vec![];
        for (name, value) in &self.properties {
            match name.as_str() {
                // Senders that follow the binding's example say it twice.
                "datacontenttype" => drop(content_type.get_or_insert_with(|| value.clone())),
                "specversion" | "id" | "source" | "type" | "subject" | "time" | "dataschema" => {
                    attributes.push((name.clone(), value.clone()));
                }
                // Other user properties are nobody's attributes.
                _ if extension_name(name).is_err() => {}
                _ => attributes.push((name.clone(), value.clone())),
            }
        }
        CloudEvent::from_binary(Binary { attributes, content_type, data: self.payload.clone() }).map(Some)
    }
}

/// What of an event does not depend on the connection.
pub(super) struct Outgoing {
    pub(super) content_type: Option<String>,
    pub(super) properties: Vec<(String, String)>,
    pub(super) payload: Vec<u8>,
    /// Whether the broker keeps it for those who subscribe later.
    pub(super) retain: bool,
}

impl Outgoing {
    pub(super) fn new(event: &CloudEvent, version: Version, mode: Mode) -> Result<Self, EventError> {
        if version == Version::V3_1_1 || mode == Mode::Structured {
            let content_type = Some(STRUCTURED.to_owned());
            return Ok(Self { content_type, properties: vec![], payload: event.to_json()?, retain: false });
        }
        let binary = event.to_binary()?;
        let (content_type, properties, payload) = (binary.content_type, binary.attributes, binary.data);
        Ok(Self { content_type, properties, payload, retain: false })
    }

    /// About how many bytes its packet has.
    pub(super) fn size(&self, topic: &str) -> usize {
        let properties = self.properties.iter().map(|(name, value)| name.len() + value.len() + 5);
        let head = topic.len() + self.content_type.as_ref().map_or(0, |text| text.len() + 3) + 16;
        head + properties.sum::<usize>() + self.payload.len()
    }

    pub(super) fn packet(&self, version: Version, topic: &str, id: u16) -> Made {
        if version == Version::V3_1_1 {
            let packet = v3_1_1::Publish::builder().topic_name(topic)?.qos(Qos::AtLeastOnce).packet_id(id);
            return packet.retain(self.retain).payload(self.payload.as_slice()).build().map(Packet::from);
        }
        let mut properties: Vec<Property> = vec![];
        if let Some(content_type) = &self.content_type {
            properties.push(ContentType::new(content_type.as_str())?.into());
        }
        for (name, value) in &self.properties {
            properties.push(UserProperty::new(name.as_str(), value.as_str())?.into());
        }
        let packet = v5_0::Publish::builder().topic_name(topic)?.qos(Qos::AtLeastOnce).packet_id(id);
        packet
            .retain(self.retain)
            .props(properties)
            .payload(self.payload.as_slice())
            .build()
            .map(Packet::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> CloudEvent {
        let mut event = CloudEvent::new("ä \"1\"", "/s", "t").about("m 7 %").with_json(json!({"kwh": 1}));
        event.datacontenttype = Some("application/json".to_owned());
        event.extensions.insert("ext".to_owned(), "€".into());
        event
    }

    #[test]
    fn events_come_back_from_every_version_and_mode() {
        let modes = [
            (Version::V5_0, Mode::Binary),
            (Version::V5_0, Mode::Structured),
            (Version::V3_1_1, Mode::Binary),
        ];
        for (version, mode) in modes {
            let outgoing = Outgoing::new(&event(), version, mode).unwrap();
            let packet = outgoing.packet(version, "a/b", 7).unwrap();
            let incoming = Incoming::of(&packet).unwrap();
            assert_eq!((incoming.topic.as_str(), incoming.packet_id), ("a/b", Some(7)));
            assert_eq!(
                incoming.content(String::new(), None),
                Content::Event(Box::new(event())),
                "{version:?} {mode:?}"
            );
            assert!(outgoing.size("a/b") >= packet_size(&packet), "{version:?} {mode:?}");
        }
    }

    fn packet_size(packet: &Packet) -> usize {
        use mqtt_protocol_core::mqtt::packet::GenericPacketTrait as _;
        packet.to_continuous_buffer().len()
    }

    #[test]
    fn user_properties_have_the_names_of_attributes_without_a_prefix() {
        let outgoing = Outgoing::new(&event(), Version::V5_0, Mode::Binary).unwrap();
        let incoming = Incoming::of(&outgoing.packet(Version::V5_0, "t", 1).unwrap()).unwrap();
        assert_eq!(incoming.content_type.as_deref(), Some("application/json"));
        assert!(incoming.properties.contains(&("subject".to_owned(), "m 7 %".to_owned())));
        assert!(!incoming.properties.iter().any(|(name, _)| name == "datacontenttype"));
    }

    #[test]
    fn what_is_no_event_is_told_or_wrapped_and_other_properties_are_passed_over() {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let with = |properties: &[(&str, &str)], payload: &[u8]| Incoming {
            topic: "hall/m7".to_owned(),
            payload: payload.to_vec(),
            properties: properties.iter().copied().map(pair).collect(),
            ..Incoming::default()
        };
        let Content::Malformed(malformed) = with(&[], b"21.5").content("7".to_owned(), None) else {
            panic!()
        };
        assert_eq!((malformed.id.as_str(), malformed.raw.as_slice()), ("7", b"21.5".as_slice()));
        let Content::Malformed(malformed) =
            with(&[("specversion", "1.0")], b"").content("7".to_owned(), None)
        else {
            panic!()
        };
        assert!(malformed.reason.contains("/id"), "{}", malformed.reason);
        let plain = Plain { source: "/hall".to_owned(), event_type: "reading".to_owned() };
        let Content::Event(event) = with(&[], b"21.5").content("7".to_owned(), Some(&plain)) else {
            panic!()
        };
        assert_eq!(event.subject.as_deref(), Some("hall/m7"));
        let head = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t"), ("Trace-Id", "x")];
        let Content::Event(event) = with(&head, b"").content("7".to_owned(), None) else { panic!() };
        assert!(event.extensions.is_empty());
    }
}
