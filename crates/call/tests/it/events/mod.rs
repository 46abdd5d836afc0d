//! Channels over brokers that others wrote, killed and cut.

mod embedded;
mod memory;
pub(crate) mod mqtt;
pub(crate) mod nats;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sos_call::events::conformance::{Live, Load, Proxy, Report, Subject, conformance};
use sos_call::events::{Backoff, BridgeSettings, Broker, Channel, ChannelParts, Clock, CloudEvent, Confirm};

use memory::Memory;
use process::Process;

/// Time as the tests see it.
pub(crate) fn clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "channels of tests live in real time")]
    Arc::new(Timestamp::now)
}

/// Reconnects at once, as the tests wait for it.
pub(crate) fn eager() -> BridgeSettings {
    let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
    BridgeSettings { backoff, ..BridgeSettings::default() }
}

/// How a channel is made on a broker behind a proxy: its port, and a number that no other channel has.
type Make = dyn Fn(u16, u64) -> Arc<dyn Broker> + Send + Sync;
/// How bytes are published that are no event: the port of the broker, the number of the channel.
type Raw = dyn for<'a> Fn(u16, u64, &'a [u8]) -> BoxFuture<'a, Result<(), String>> + Send + Sync;

/// A broker in a process of its own, behind a proxy, with a log in memory.
pub(crate) struct Brokered {
    pub(crate) process: Process,
    pub(crate) proxy: Proxy,
    pub(crate) make: Box<Make>,
    pub(crate) raw: Box<Raw>,
    pub(crate) confirm: Confirm,
    pub(crate) count: AtomicU64,
}

impl Brokered {
    pub(crate) fn live(&self, backlog: u64) -> Live {
        let number = self.count.fetch_add(1, SeqCst) + 1;
        let parts = ChannelParts {
            name: number.to_string(),
            broker: Some((self.make)(self.proxy.port(), number)),
            log: Arc::new(Memory::new(backlog)),
            clock: clock(),
            confirm: self.confirm,
        };
        Live::start(Channel::new(parts), eager())
    }
}

impl Subject for Brokered {
    fn fresh(&self, backlog: u64) -> BoxFuture<'_, Result<Live, String>> {
        async move {
            let live = self.live(backlog);
            // Where a session is kept, it must have begun before something is published for it.
            until("the bridge to be connected", || {
                live.measures.connected.load(std::sync::atomic::Ordering::Relaxed)
            })
            .await;
            Ok(live)
        }
        .boxed()
    }

    fn malformed<'a>(&'a self, live: &'a Live, raw: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        let number = live.channel.name().parse().unwrap();
        (self.raw)(self.process.port, number, raw)
    }

    fn cut(&self) -> BoxFuture<'_, Result<(), String>> {
        self.proxy.cut();
        async { Ok(()) }.boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), String>> {
        self.process.kill();
        async { Ok(()) }.boxed()
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), String>> {
        self.process.start().boxed()
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Runs the suite and shows its figures.
#[expect(clippy::print_stdout, reason = "figures of tests are shown with --nocapture")]
pub(crate) async fn judged(subject: &dyn Subject, load: &Load) {
    let report: Report = Box::pin(conformance(subject, load)).await.unwrap_or_else(|why| panic!("{why}"));
    println!("{report:?}");
}

/// How many messages a second go to the broker, and from there into the log.
#[expect(clippy::print_stdout, reason = "figures of tests are shown with --nocapture")]
pub(crate) async fn measured(subject: &Brokered, messages: u64, batch: u64) {
    let live = subject.fresh(10_000_000).await.unwrap();
    let begun = std::time::Instant::now();
    for from in (0..messages).step_by(usize::try_from(batch).unwrap()) {
        let events: Vec<CloudEvent> = (from..from + batch)
            .map(|number| {
                let event = CloudEvent::new(number.to_string(), "/bench", "reading")
                    .about(format!("m{}", number % 100));
                event.with_json(serde_json::json!({"kwh": 1.5, "number": number, "text": "x".repeat(100)}))
            })
            .collect();
        live.channel.publish(&events).await.unwrap();
    }
    let published = begun.elapsed();
    while live.measures.stored.load(SeqCst) < messages {
        tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
    }
    let stored = begun.elapsed();
    let rate = |took: Duration| f64::from(u32::try_from(messages).unwrap()) / took.as_secs_f64();
    println!(
        "{messages} messages: published {:.0} a second, bridged {:.0} a second",
        rate(published),
        rate(stored)
    );
    live.stop().await;
}
