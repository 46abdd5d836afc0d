//! One connection to a broker.

use std::collections::VecDeque;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{Hello, Made, Stream, hello};
use crate::http::full;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// How long a broker may take to answer a ping.
const PONG: Duration = Duration::from_secs(10);

/// One connection to a broker. Dropping it closes it without a farewell.
pub(crate) struct Link {
    stream: Box<dyn Stream>,
    version: Version,
    largest: u32,
    protocol: Connection<role::Client>,
    received: VecDeque<Packet>,
    chunk: Box<[u8]>,
    /// What is still to be written, and how much of it is.
    outgoing: Vec<u8>,
    written: usize,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
}

impl Link {
    /// `largest` is how many bytes a packet of the broker may have.
    pub(crate) fn new(stream: Box<dyn Stream>, version: Version, largest: u32) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(largest);
        let mut protocol = Connection::with_options(version, options);
        protocol.set_pingresp_recv_timeout(u64::try_from(PONG.as_millis()).unwrap_or(10_000));
        Self {
            stream,
            version,
            largest,
            protocol,
            received: VecDeque::new(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            outgoing: Vec::new(),
            written: 0,
            ping_at: None,
            pong_by: None,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// A packet identifier that is free.
    pub(crate) fn packet_id(&mut self) -> Result<u16, String> {
        self.protocol.acquire_packet_id().map_err(|error| format!("no packet identifier is free: {error}"))
    }

    /// Puts a packet behind what is still to be written.
    pub(crate) fn queue(&mut self, packet: Packet) -> Result<(), String> {
        let events = self.protocol.send(packet);
        self.handle(events)
    }

    /// Writes what is queued. Dropping this loses nothing; the next call goes on.
    pub(crate) async fn flush(&mut self) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("the connection broke off: {}", full(&error));
        while self.written < self.outgoing.len() {
            let written = self.stream.write(&self.outgoing[self.written..]).await.map_err(broken)?;
            if written == 0 {
                return Err("closed the connection".to_owned());
            }
            self.written += written;
        }
        self.outgoing.clear();
        self.written = 0;
        self.stream.flush().await.map_err(broken)
    }

    /// Writes a packet.
    pub(crate) async fn send(&mut self, packet: Packet) -> Result<(), String> {
        self.queue(packet)?;
        self.flush().await
    }

    /// Writes the first packet. What is written asks the broker to keep to `receive_maximum`; the protocol is not told of
    /// it, as it would end the connection with one that does not (Mosquitto 2.0.11 doubles what it may send with every
    /// round). Whoever receives bounds what it holds itself.
    pub(crate) async fn greet(
        &mut self,
        who: &Hello<'_>,
        receive_maximum: Option<u16>,
    ) -> Result<(), String> {
        let made =
            |packet: Made| packet.map_err(|error| format!("the connection cannot be asked for: {error}"));
        self.queue(made(hello(self.version, who, None))?)?;
        if let (Some(count), Version::V5_0) = (receive_maximum, self.version) {
            let limits = Some((count.max(1), self.largest));
            self.outgoing = made(hello(self.version, who, limits))?.to_continuous_buffer();
        }
        self.flush().await
    }

    /// The next packet that was read already.
    pub(crate) fn take(&mut self) -> Option<Packet> {
        self.received.pop_front()
    }

    /// The next packet. Sends pings when it is time. Dropping this loses nothing.
    pub(crate) async fn receive(&mut self) -> Result<Packet, String> {
        loop {
            if let Some(packet) = self.received.pop_front() {
                return Ok(packet);
            }
            self.flush().await?;
            let timer = self.timer();
            tokio::select! {
                read = self.stream.read(&mut self.chunk) => {
                    let read = read.map_err(|error| format!("the connection broke off: {}", full(&error)))?;
                    if read == 0 {
                        return Err("closed the connection".to_owned());
                    }
                    self.feed(read)?;
                }
                kind = fired(timer) => self.fire(kind)?,
            }
        }
    }

    /// Reads nothing and sends pings when it is time, until something fails. Dropping this loses nothing.
    pub(crate) async fn hold(&mut self) -> String {
        loop {
            // What is not read cannot be missed.
            self.pong_by = None;
            if let Err(why) = self.flush().await {
                return why;
            }
            let timer = self.timer();
            let kind = fired(timer).await;
            if let Err(why) = self.fire(kind) {
                return why;
            }
        }
    }

    fn timer(&self) -> Option<(Instant, TimerKind)> {
        let ping = self.ping_at.map(|at| (at, TimerKind::PingreqSend));
        let pong = self.pong_by.map(|at| (at, TimerKind::PingrespRecv));
        match (ping, pong) {
            (Some(ping), Some(pong)) => Some(if pong.0 < ping.0 { pong } else { ping }),
            (ping, pong) => ping.or(pong),
        }
    }

    fn fire(&mut self, kind: TimerKind) -> Result<(), String> {
        if kind == TimerKind::PingrespRecv {
            return Err(format!("did not answer a ping within {} s", PONG.as_secs()));
        }
        self.ping_at = None;
        let events = self.protocol.notify_timer_fired(kind);
        self.handle(events)
    }

    fn feed(&mut self, read: usize) -> Result<(), String> {
        let chunk = std::mem::take(&mut self.chunk);
        let mut cursor = Cursor::new(&chunk[..read]);
        let mut result = Ok(());
        while result.is_ok() && cursor.position() < read as u64 {
            let events = self.protocol.recv(&mut cursor);
            result = self.handle(events);
        }
        self.chunk = chunk;
        result
    }

    fn handle(&mut self, events: Vec<Event>) -> Result<(), String> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.outgoing.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyPacketReceived(packet) => self.received.push_back(packet),
                Event::NotifyError(error) => return Err(format!("MQTT failed: {error}")),
                Event::RequestTimerReset { kind, duration_ms } => {
                    let at = Some(Instant::now() + Duration::from_millis(duration_ms));
                    match kind {
                        TimerKind::PingreqSend => self.ping_at = at,
                        TimerKind::PingrespRecv => self.pong_by = at,
                        TimerKind::PingreqRecv => {}
                    }
                }
                Event::RequestTimerCancel(TimerKind::PingreqSend) => self.ping_at = None,
                Event::RequestTimerCancel(TimerKind::PingrespRecv) => self.pong_by = None,
                // A close shows at the next read.
                Event::RequestTimerCancel(_) | Event::RequestClose | Event::NotifyPacketIdReleased(_) => {}
            }
        }
        Ok(())
    }
}

/// Waits for a timer; for ever without one.
async fn fired(timer: Option<(Instant, TimerKind)>) -> TimerKind {
    match timer {
        Some((at, kind)) => {
            tokio::time::sleep_until(at).await;
            kind
        }
        None => std::future::pending().await,
    }
}
