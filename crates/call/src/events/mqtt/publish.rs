//! Publishing: as many messages under way as the broker allows.

use std::collections::VecDeque;

use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode as Code;

use super::Mqtt;
use super::binding::Outgoing;
use crate::error::ErrorKind;
use crate::events::error::EventError;
use crate::events::event::CloudEvent;
use crate::mqtt::{Hello, Link};

/// Packets that may come and are no acknowledgement, in a row.
const PACKETS: usize = 1000;

/// Makes the message of a number.
type Make<'a> = dyn Fn(usize, Version) -> Result<Outgoing, EventError> + Sync + 'a;

/// A connection that publishes.
pub(super) struct Publisher {
    link: Link,
    /// Messages that may be under way.
    window: usize,
    /// Bytes of a packet that the broker takes.
    largest: usize,
}

impl Mqtt {
    /// Publishes on the connection that there is, or on a new one.
    pub(super) async fn publish_all(&self, events: &[CloudEvent]) -> Result<(), EventError> {
        let made = |at: usize, version| Outgoing::new(&events[at], version, self.settings.mode);
        self.publish_made(events.len(), &made).await
    }

    /// Publishes so many messages, each made for the version of the connection.
    pub(super) async fn publish_made(&self, count: usize, made: &Make<'_>) -> Result<(), EventError> {
        let mut kept = self.publisher.lock().await;
        // Taken out: who drops this call leaves no connection behind that has half of it under way.
        let (mut publisher, fresh) = match kept.take() {
            Some(publisher) => (publisher, false),
            None => (self.publisher().await?, true),
        };
        let mut result = self.send(&mut publisher, count, made).await;
        // Nobody listened to a connection that was idle; it may have ended long ago.
        if !fresh && result.as_ref().is_err_and(|error| error.kind == ErrorKind::Broken) {
            publisher = self.publisher().await?;
            result = self.send(&mut publisher, count, made).await;
        }
        if result.is_ok() {
            *kept = Some(publisher);
        }
        result
    }

    async fn publisher(&self) -> Result<Publisher, EventError> {
        let client_id = format!("{}-publisher", self.settings.client_id);
        let login = self.settings.login.as_ref();
        let who = Hello { client_id: &client_id, clean: true, session_expiry: 0, keep_alive: 0, login };
        let (link, welcome) = self.connect(&who, None).await?;
        let window = self.settings.outstanding.min(welcome.receive_maximum).max(1);
        let largest =
            welcome.maximum_packet.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Publisher { link, window: usize::from(window), largest })
    }

    async fn send(&self, publisher: &mut Publisher, count: usize, made: &Make<'_>) -> Result<(), EventError> {
        let (version, topic) = (publisher.link.version(), self.settings.topic.as_str());
        let broken = |why: String| self.error(ErrorKind::Broken, why);
        let mut under_way: VecDeque<(usize, u16)> = VecDeque::new();
        let mut next = 0;
        while next < count || !under_way.is_empty() {
            while next < count && under_way.len() < publisher.window {
                let place = |error: EventError| error.within(&format!("/{next}"));
                let outgoing = made(next, version).map_err(place)?;
                let size = outgoing.size(topic);
                if size > publisher.largest.min(256 << 20) {
                    let message =
                        format!("an event of {size} bytes, and the broker takes {}", publisher.largest);
                    return Err(place(EventError::new(ErrorKind::TooLarge, "", message)));
                }
                let id = publisher.link.packet_id().map_err(broken)?;
                let packet = outgoing.packet(version, topic, id);
                let packet = packet.map_err(|error| {
                    place(EventError::bad("", format!("MQTT cannot carry this event: {error}")))
                })?;
                publisher.link.queue(packet).map_err(broken)?;
                under_way.push_back((next, id));
                next += 1;
            }
            self.in_time(publisher.link.flush()).await?;
            self.acknowledgements(&mut publisher.link, &mut under_way).await?;
        }
        Ok(())
    }

    /// Waits for one acknowledgement, and takes those that are there too.
    async fn acknowledgements(
        &self,
        link: &mut Link,
        under_way: &mut VecDeque<(usize, u16)>,
    ) -> Result<(), EventError> {
        let mut any = false;
        for _ in 0..PACKETS {
            let packet = match link.take() {
                Some(packet) => packet,
                None if any => return Ok(()),
                None => self.in_time(link.receive()).await?,
            };
            let Some((id, code)) = puback(&packet) else {
                if let Packet::V5_0Disconnect(goodbye) = &packet {
                    let why = goodbye.reason_code().map_or(String::new(), |code| format!(": {code}"));
                    return Err(self.error(ErrorKind::Broken, format!("ended the connection{why}")));
                }
                continue;
            };
            let Some(found) = under_way.iter().position(|(_, known)| *known == id) else { continue };
            let at = under_way.remove(found).map_or(0, |(at, _)| at);
            self.taken(at, code)?;
            any = true;
        }
        if any { Ok(()) } else { Err(self.error(ErrorKind::Fault, "sends packets and no acknowledgement")) }
    }

    fn taken(&self, at: usize, code: Option<Code>) -> Result<(), EventError> {
        let kind = match code {
            None | Some(Code::Success | Code::NoMatchingSubscribers) => return Ok(()),
            Some(Code::NotAuthorized) => ErrorKind::NoCredentials,
            Some(Code::QuotaExceeded) => ErrorKind::Overloaded,
            Some(Code::TopicNameInvalid | Code::PayloadFormatInvalid) => ErrorKind::BadInput,
            Some(_) => ErrorKind::Fault,
        };
        let why = code.map_or(String::new(), |code| code.to_string());
        Err(self.error(kind, format!("event {at} was not taken: {why}")))
    }

    /// Ends what takes too long.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, EventError> {
        let limit = self.settings.timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|why| self.error(ErrorKind::Broken, why)),
            Err(_) => {
                let message = format!("no acknowledgement within {} s", limit.as_secs_f64());
                Err(self.error(ErrorKind::TimedOut, message))
            }
        }
    }
}

fn puback(packet: &Packet) -> Option<(u16, Option<Code>)> {
    match packet {
        Packet::V3_1_1Puback(puback) => Some((puback.packet_id(), None)),
        Packet::V5_0Puback(puback) => Some((puback.packet_id(), puback.reason_code())),
        _ => None,
    }
}
