//! Receiving: a task has the connection, so that it is kept alive while the log takes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, RetainHandling, SubEntry, SubOpts, v3_1_1, v5_0};
use tokio::sync::{mpsc, oneshot};

use super::binding::Incoming;
use super::session::Known;
use super::{Mqtt, Retained};
use crate::error::ErrorKind;
use crate::events::broker::{Plain, Received, Receiver, Token, broken};
use crate::events::error::EventError;
use crate::mqtt::{Hello, Link, Made, farewell};

/// Time for the farewell, after which the connection is dropped without.
const FAREWELL: Duration = Duration::from_millis(500);
/// Messages that may come before the subscription is confirmed.
const EARLY: usize = 100_000;

/// Acknowledgements to send, and where to say that they are.
type Acknowledge = (Vec<u16>, oneshot::Sender<()>);

/// Receives with one session.
pub(super) struct MqttReceiver {
    messages: mpsc::Receiver<Result<Incoming, String>>,
    acknowledge: mpsc::Sender<Acknowledge>,
    /// What is out, by its token.
    packet_ids: BTreeMap<u64, u16>,
    next: u64,
    known: Arc<Mutex<Known>>,
    plain: Option<Plain>,
    place: String,
}

/// Connects, goes on with the session and sees to its subscriptions.
pub(super) async fn begin(mqtt: &Mqtt) -> Result<MqttReceiver, EventError> {
    let settings = &mqtt.settings;
    let who = Hello {
        client_id: &settings.client_id,
        clean: false,
        session_expiry: u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX).max(1),
        keep_alive: settings.keep_alive,
        login: settings.login.as_ref(),
    };
    let (mut link, welcome) = mqtt.connect(&who, Some(settings.receive_maximum)).await?;
    if !welcome.session_present {
        locked(&mqtt.known).forget();
    }
    let early = tokio::time::timeout(settings.timeout, subscribe(mqtt, &mut link)).await;
    let early = early.unwrap_or_else(|_| {
        let message =
            format!("the subscription was not confirmed within {} s", settings.timeout.as_secs_f64());
        Err(mqtt.error(ErrorKind::TimedOut, message))
    })?;
    let (messages, received) = mpsc::channel(usize::from(settings.receive_maximum));
    let (acknowledge, asked) = mpsc::channel(1);
    let passed_over = settings.retained == Retained::Ignore;
    tokio::spawn(Task { link, messages, asked, waiting: early, passed_over }.run());
    Ok(MqttReceiver {
        messages: received,
        acknowledge,
        packet_ids: BTreeMap::new(),
        next: 0,
        known: Arc::clone(&mqtt.known),
        plain: settings.plain.clone(),
        place: settings.place(),
    })
}

fn locked(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Subscribes to everything, also when the session is known, as the filters may have changed. Messages that come
/// meanwhile are returned.
async fn subscribe(mqtt: &Mqtt, link: &mut Link) -> Result<VecDeque<Incoming>, EventError> {
    let filters = mqtt.settings.subscriptions();
    let mut early = VecDeque::new();
    if filters.is_empty() {
        return Ok(early);
    }
    let place = &mqtt.settings.place();
    let id = link.packet_id().map_err(|why| broken(place, why))?;
    let packet = subscription(link.version(), id, &filters, mqtt.settings.retained);
    let packet = packet
        .map_err(|error| mqtt.error(ErrorKind::BadInput, format!("the filters cannot be sent: {error}")))?;
    link.send(packet).await.map_err(|why| broken(place, why))?;
    loop {
        let packet = link.receive().await.map_err(|why| broken(place, why))?;
        if let Some(answers) = granted(&packet, id) {
            let refused =
                filters.iter().zip(answers).find_map(|(filter, answer)| Some((filter, answer.err()?)));
            let Some((filter, why)) = refused else { return Ok(early) };
            return Err(
                mqtt.error(ErrorKind::Fault, format!("subscription `{filter}` is not granted: {why}"))
            );
        }
        if let Some(why) = ended(&packet) {
            return Err(broken(place, why));
        }
        early.extend(Incoming::of(&packet));
        if early.len() > EARLY {
            return Err(mqtt.error(ErrorKind::TooLarge, format!("sent {EARLY} messages and no confirmation")));
        }
    }
}

fn subscription(version: Version, id: u16, filters: &[String], retained: Retained) -> Made {
    let handling = match retained {
        Retained::Receive => RetainHandling::SendRetainedIfNotExists,
        Retained::Ignore => RetainHandling::DoNotSendRetained,
    };
    let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
    let entries = |options: SubOpts| {
        let entry = |filter: &String| SubEntry::new(filter.as_str(), options);
        filters.iter().map(entry).collect::<Result<Vec<_>, _>>()
    };
    if version == Version::V3_1_1 {
        let packet = v3_1_1::Subscribe::builder().packet_id(id).entries(entries(options)?);
        return packet.build().map(Packet::from);
    }
    let packet = v5_0::Subscribe::builder().packet_id(id).entries(entries(options.set_rh(handling))?);
    packet.build().map(Packet::from)
}

/// What a broker says of each filter; `None` when it speaks of something else. Less than was asked for is too little.
fn granted(packet: &Packet, id: u16) -> Option<Vec<Result<(), String>>> {
    const LESS: &str = "only with quality of service 0, which loses messages";
    let answer = |failed: bool, code: String, least: bool| match (failed, least) {
        (true, _) => Err(code),
        (_, true) => Err(LESS.to_owned()),
        _ => Ok(()),
    };
    match packet {
        Packet::V3_1_1Suback(suback) if suback.packet_id() == id => {
            let codes = suback.return_codes().into_iter();
            Some(codes.map(|code| answer(code.is_failure(), code.to_string(), code as u8 == 0)).collect())
        }
        Packet::V5_0Suback(suback) if suback.packet_id() == id => {
            let codes = suback.reason_codes().into_iter();
            Some(codes.map(|code| answer(code.is_failure(), code.to_string(), code as u8 == 0)).collect())
        }
        _ => None,
    }
}

/// Why the broker ends the connection, when it says so.
fn ended(packet: &Packet) -> Option<String> {
    let Packet::V5_0Disconnect(goodbye) = packet else { return None };
    let why = goodbye.reason_code().map_or(String::new(), |code| format!(": {code}"));
    Some(format!("ended the connection{why}"))
}

/// Has the connection until the receiver is dropped or the connection lost.
struct Task {
    link: Link,
    messages: mpsc::Sender<Result<Incoming, String>>,
    asked: mpsc::Receiver<Acknowledge>,
    /// What was read and nobody had room for; while there is something, nothing more is read.
    waiting: VecDeque<Incoming>,
    /// Whether retained messages are acknowledged and passed over.
    passed_over: bool,
}

/// What happened first.
enum Step {
    Asked(Option<Acknowledge>),
    Read(Result<Packet, String>),
    Room,
}

impl Task {
    async fn run(mut self) {
        let why = loop {
            match self.step().await {
                // The receiver is gone.
                Step::Asked(None) => return self.farewell().await,
                Step::Asked(Some((ids, told))) => match self.acknowledge(ids).await {
                    // Who asked may be gone.
                    Ok(()) => drop(told.send(())),
                    Err(why) => break why,
                },
                Step::Read(Err(why)) => break why,
                Step::Read(Ok(packet)) => {
                    if let Some(why) = ended(&packet) {
                        break why;
                    }
                    if let Err(why) = self.read(&packet).await {
                        break why;
                    }
                }
                Step::Room => {}
            }
        };
        // Acknowledgements are of no use any more, and who waits for one must know.
        let Self { messages, asked, waiting, link, .. } = self;
        drop((asked, link));
        for incoming in waiting {
            if messages.send(Ok(incoming)).await.is_err() {
                return;
            }
        }
        let _told = messages.send(Err(why)).await;
    }

    async fn step(&mut self) -> Step {
        while let Some(incoming) = self.waiting.pop_front() {
            match self.messages.try_send(Ok(incoming)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(Ok(incoming))) => {
                    self.waiting.push_front(incoming);
                    break;
                }
                Err(_) => return Step::Asked(None),
            }
        }
        let full = !self.waiting.is_empty();
        let (link, messages) = (&mut self.link, &self.messages);
        let read = async {
            // The connection is kept alive in either case.
            if full { Err(link.hold().await) } else { link.receive().await }
        };
        let room = async {
            // Only waits; the message is put there above.
            match messages.reserve().await {
                Ok(_permit) => Step::Room,
                Err(_) => Step::Asked(None),
            }
        };
        tokio::select! {
            asked = self.asked.recv() => Step::Asked(asked),
            read = read => Step::Read(read),
            step = room, if full => step,
        }
    }

    async fn read(&mut self, packet: &Packet) -> Result<(), String> {
        let Some(incoming) = Incoming::of(packet) else { return Ok(()) };
        if incoming.retain && self.passed_over {
            return self.acknowledge(incoming.packet_id.into_iter().collect()).await;
        }
        self.waiting.push_back(incoming);
        Ok(())
    }

    async fn acknowledge(&mut self, ids: Vec<u16>) -> Result<(), String> {
        let version = self.link.version();
        for id in ids {
            let packet = match version {
                Version::V3_1_1 => v3_1_1::Puback::builder().packet_id(id).build().map(Packet::from),
                _ => v5_0::Puback::builder().packet_id(id).build().map(Packet::from),
            };
            self.link.queue(packet.map_err(|error| error.to_string())?)?;
        }
        self.link.flush().await
    }

    async fn farewell(mut self) {
        if let Ok(packet) = farewell(self.link.version()) {
            let _said = tokio::time::timeout(FAREWELL, self.link.send(packet)).await;
        }
    }
}

impl MqttReceiver {
    fn received(&mut self, incoming: Incoming) -> Received {
        let token = self.next;
        self.next += 1;
        let packet_id = incoming.packet_id;
        self.packet_ids.extend(packet_id.map(|id| (token, id)));
        let name = locked(&self.known).name(&incoming);
        Received { content: incoming.content(name, self.plain.as_ref()), token: Token(token) }
    }

    /// The next message as it came.
    pub(super) async fn next_incoming(&mut self) -> Result<(Incoming, Token), EventError> {
        match self.messages.recv().await {
            Some(Ok(incoming)) => {
                let token = self.next;
                self.next += 1;
                self.packet_ids.extend(incoming.packet_id.map(|id| (token, id)));
                Ok((incoming, Token(token)))
            }
            Some(Err(why)) => Err(broken(&self.place, why)),
            None => Err(broken(&self.place, "the connection was lost")),
        }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Received>, EventError> {
        let place = self.place.clone();
        let lost = |found: Option<Result<Incoming, String>>| match found {
            Some(Ok(incoming)) => Ok(incoming),
            Some(Err(why)) => Err(broken(&place, why)),
            None => Err(broken(&place, "the connection was lost")),
        };
        let first = lost(self.messages.recv().await)?;
        let mut batch = vec![self.received(first)];
        while batch.len() < max {
            match self.messages.try_recv() {
                Ok(Ok(incoming)) => batch.push(self.received(incoming)),
                // These go to the log; acknowledging them tells that the connection is lost.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok(batch)
    }

    pub(super) async fn acknowledge_all(&mut self, tokens: Vec<Token>) -> Result<(), EventError> {
        let ids: Vec<u16> = tokens.iter().filter_map(|token| self.packet_ids.remove(&token.0)).collect();
        let lost = || broken(&self.place, "the connection was lost");
        let (told, done) = oneshot::channel();
        self.acknowledge.send((ids.clone(), told)).await.map_err(|_| lost())?;
        done.await.map_err(|_| lost())?;
        let mut known = locked(&self.known);
        for id in ids {
            known.acknowledged(id);
        }
        Ok(())
    }
}

impl Receiver for MqttReceiver {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Received>, EventError>> {
        self.next_batch(max).boxed()
    }

    fn acknowledge(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<(), EventError>> {
        self.acknowledge_all(tokens).boxed()
    }
}
