//! The channel without a broker.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sos_call::ErrorKind;
use sos_call::events::conformance::{Live, Load, Subject};
use sos_call::events::{Channel, ChannelParts, CloudEvent, Confirm, Log as _, NewMessage};

use super::memory::Memory;
use super::{clock, eager, judged, until};

/// Channels that are a log and nothing else. What lies behind them is the log: it fails while it is killed.
#[derive(Default)]
struct Embedded {
    logs: Mutex<Vec<Arc<Memory>>>,
}

fn channel(log: Arc<Memory>) -> Channel {
    let parts =
        ChannelParts { name: "c".to_owned(), broker: None, log, clock: clock(), confirm: Confirm::Broker };
    Channel::new(parts)
}

impl Embedded {
    fn down(&self, down: bool) {
        self.logs.lock().unwrap().iter().for_each(|log| log.down.store(down, SeqCst));
    }
}

impl Subject for Embedded {
    fn fresh(&self, backlog: u64) -> BoxFuture<'_, Result<Live, String>> {
        let log = Arc::new(Memory::new(backlog));
        self.logs.lock().unwrap().push(Arc::clone(&log));
        async move { Ok(Live::start(channel(log), eager())) }.boxed()
    }

    fn malformed<'a>(&'a self, live: &'a Live, raw: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        let message =
            NewMessage { id: format!("raw {}", raw.len()), key: None, time: clock()(), body: raw.to_vec() };
        let appended =
            self.logs.lock().unwrap().last().unwrap().append(live.channel.name(), &[message], clock()());
        async move { appended.map(drop).map_err(|error| error.to_string()) }.boxed()
    }

    fn cut(&self) -> BoxFuture<'_, Result<(), String>> {
        async move {
            self.kill().await?;
            self.revive().await
        }
        .boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), String>> {
        self.down(true);
        async { Ok(()) }.boxed()
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), String>> {
        self.down(false);
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_without_a_broker_conforms() {
    // Without a broker it is over so soon that more is needed to be disturbed.
    judged(&Embedded::default(), &Load { messages: 30_000, ..Load::SMOKE }).await;
}

#[tokio::test]
async fn wrong_events_are_refused_with_channel_and_place_and_a_full_log_is_temporary() {
    let channel = channel(Arc::new(Memory::new(2)));
    let event = |id: &str| CloudEvent::new(id, "/s", "t");
    let error = channel.publish(&[event("1"), event("")]).await.unwrap_err();
    assert_eq!(
        (error.channel.as_str(), error.place.as_str(), error.kind),
        ("c", "/1/id", ErrorKind::BadInput)
    );
    assert_eq!(channel.replay(0, 10).await.unwrap(), [], "nothing of a batch that is refused");
    channel.lag("g").await.unwrap();
    channel.publish(&[event("1"), event("2")]).await.unwrap();
    let error = channel.publish(&[event("3")]).await.unwrap_err();
    assert!(error.kind == ErrorKind::Overloaded && error.is_temporary(), "{error}");
    let huge = event("4").with_json("x".repeat(2 << 20).into());
    assert_eq!(channel.publish(&[huge]).await.unwrap_err().kind, ErrorKind::BadInput);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_or_hangs_holds_up_nobody() {
    use std::time::Duration;

    use sos_call::events::{Backoff, ConsumeMeasures, ConsumeOptions, Handler, NotHandled};
    use tokio_util::sync::CancellationToken;

    struct Wild;
    impl Handler for Wild {
        fn handle(&self, event: CloudEvent, _attempt: u32) -> BoxFuture<'_, Result<(), NotHandled>> {
            async move {
                match event.id.as_str() {
                    "panics" => panic!("as it must"),
                    "hangs" => std::future::pending().await,
                    "refuses" => Err(NotHandled { reason: "never".to_owned(), permanent: true }),
                    _ => Ok(()),
                }
            }
            .boxed()
        }
    }

    let channel = channel(Arc::new(Memory::new(100)));
    let ids = ["panics", "hangs", "refuses", "good"];
    let events: Vec<_> = ids.iter().map(|id| CloudEvent::new(*id, "/s", "t").about(*id)).collect();
    channel.publish(&events).await.unwrap();
    let (measures, stop) = (ConsumeMeasures::default(), CancellationToken::new());
    let options = ConsumeOptions {
        limit: Duration::from_millis(20),
        max_attempts: 2,
        backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(1) },
        poll: Duration::from_millis(5),
        ..ConsumeOptions::new("g")
    };
    let consuming = channel.consume(Arc::new(Wild), &options, &measures, &|error| panic!("{error}"), &stop);
    let watching = async {
        until("all to be settled", || measures.dead.load(SeqCst) == 3 && measures.done.load(SeqCst) == 1)
            .await;
        stop.cancel();
    };
    tokio::join!(consuming, watching);
    assert_eq!(channel.lag("g").await.unwrap().messages, 0);
    let mut reasons: Vec<_> =
        channel.dead_letters(0, 10).await.unwrap().into_iter().map(|letter| letter.reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["never", "not dealt with within 0.02 s", "the handler panicked"]);
    assert_eq!(measures.retried.load(SeqCst), 2);
}
