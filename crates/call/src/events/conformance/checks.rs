//! Promises that hold while nothing is disturbed.

use std::sync::Arc;

use super::super::{CloudEvent, Start};
use super::business::Business;
use super::publisher::{event, publish, publish_numbers};
use super::{Consumer, Live, Suite, ensure, told};

const GROUP: &str = "business";

impl Suite<'_> {
    pub(super) async fn everything_arrives(&self) -> Result<(), String> {
        let live = self.fresh().await?;
        let (business, other) = (Arc::new(Business::default()), Arc::new(Business::default()));
        let consumers = [
            Consumer::start(&live, GROUP, business.clone()),
            Consumer::start(&live, "others", other.clone()),
        ];
        // Batches of one and of many.
        publish_numbers(&live.channel, 0..20, 7, 1).await?;
        publish_numbers(&live.channel, 20..500, 7, 97).await?;
        self.had(&business, 500).await?;
        self.had(&other, 500).await?;
        self.lag(&live, GROUP, 0).await?;
        for consumer in consumers {
            consumer.stop().await?;
        }
        business.had_once(0..500, 7)?;
        other.had_once(0..500, 7)?;
        live.stop().await;
        Ok(())
    }

    pub(super) async fn twice_is_once(&self) -> Result<(), String> {
        let live = self.fresh().await?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, business.clone());
        for _ in 0..2 {
            publish_numbers(&live.channel, 0..50, 3, 50).await?;
        }
        // The same again within one batch.
        publish(&live.channel, &[event(50, 3), event(50, 3)]).await?;
        publish_numbers(&live.channel, 51..60, 3, 4).await?;
        self.had(&business, 60).await?;
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        business.had_once(0..60, 3)?;
        live.stop().await;
        Ok(())
    }

    pub(super) async fn failures_are_repeated(&self) -> Result<(), String> {
        let live = self.fresh().await?;
        // Three attempts are made: one number fails for good, one twice.
        let business = Arc::new(Business::failing([(3, u32::MAX), (4, 2)]));
        let consumer = Consumer::start(&live, GROUP, business.clone());
        publish_numbers(&live.channel, 0..30, 3, 10).await?;
        self.had(&business, 29).await?;
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        let (dead, late) = (business.attempts(3), business.attempts(4));
        ensure(dead == [1, 2, 3], || format!("the one that fails was tried as {dead:?}"))?;
        ensure(late == [1, 2, 3], || format!("the one that fails twice was tried as {late:?}"))?;
        let kept = |key: u64, dead: &[u64]| -> Vec<u64> {
            (0..30).filter(|number| number % 3 == key && !dead.contains(number)).collect()
        };
        for (key, dead) in [(0, &[3][..]), (1, &[]), (2, &[])] {
            let (found, expected) = (business.done(&format!("k{key}")), kept(key, dead));
            ensure(found == expected, || format!("key k{key}: expected {expected:?}, found {found:?}"))?;
        }
        let letters = live.channel.dead_letters(0, 10).await.map_err(told)?;
        let told: Vec<_> =
            letters.iter().map(|letter| (letter.group.as_deref(), letter.reason.as_str())).collect();
        ensure(told == [(Some(GROUP), "number 3 fails")], || format!("dead letters: {told:?}"))?;
        let found = CloudEvent::from_json(&letters[0].message.body);
        ensure(found.as_ref() == Ok(&event(3, 3)), || format!("the dead letter became {found:?}"))?;
        live.stop().await;
        Ok(())
    }

    pub(super) async fn slow_consumers_lose_nothing(&self) -> Result<(), String> {
        const BACKLOG: u64 = 500;
        let live = self.subject.fresh(BACKLOG).await?;
        live.channel.seek(GROUP, Start::Earliest).await.map_err(told)?;
        let channel = live.channel.clone();
        let publisher = tokio::spawn(async move { publish_numbers(&channel, 0..BACKLOG * 6, 11, 50).await });
        self.until("the log to be almost full", async || {
            let lag = live.channel.lag(GROUP).await.map_err(told)?.messages;
            Ok((lag >= BACKLOG - 50, format!("{lag} are left")))
        })
        .await?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, business.clone());
        self.until("all events", async || {
            let lag = live.channel.lag(GROUP).await.map_err(told)?.messages;
            ensure(lag <= BACKLOG + 50, || format!("{lag} are left, and {BACKLOG} are allowed"))?;
            let had = business.count() as u64;
            Ok((had >= BACKLOG * 6, format!("{had} came, {lag} are left")))
        })
        .await?;
        publisher.await.map_err(|error| format!("the publisher failed: {error}"))??;
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        business.had_once(0..BACKLOG * 6, 11)?;
        live.stop().await;
        Ok(())
    }

    pub(super) async fn replay(&self) -> Result<(), String> {
        let live = self.fresh().await?;
        let first = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, first.clone());
        publish_numbers(&live.channel, 0..50, 3, 20).await?;
        self.had(&first, 50).await?;
        let between = self.a_later_time(&live).await?;
        publish_numbers(&live.channel, 50..100, 3, 20).await?;
        self.had(&first, 100).await?;
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        first.had_once(0..100, 3)?;
        let position = live.channel.position_at(between).await.map_err(told)?;
        let stored = live.channel.replay(position, 1000).await.map_err(told)?;
        let rising = stored.windows(2).all(|pair| pair[0].position < pair[1].position);
        let numbers: Vec<_> =
            stored.iter().map(|stored| CloudEvent::from_json(&stored.message.body)).collect();
        let expected: Vec<_> = (50..100).map(|number| Ok(event(number, 3))).collect();
        ensure(rising && numbers == expected, || format!("read again from {position}: {numbers:?}"))?;
        self.again(&live, Start::Time(between), 50).await?;
        self.again(&live, Start::Position(stored[25].position), 75).await?;
        self.again(&live, Start::Earliest, 0).await?;
        live.stop().await;
        Ok(())
    }

    /// A time after everything that was appended and before what will be.
    async fn a_later_time(&self, live: &Live) -> Result<jiff::Timestamp, String> {
        let stored = live.channel.replay(0, 1000).await.map_err(told)?;
        let last = stored.last().map_or(jiff::Timestamp::MIN, |stored| stored.time);
        // Stores may keep milliseconds.
        let later =
            last.checked_add(jiff::SignedDuration::from_millis(2)).map_err(|error| error.to_string())?;
        let passed = || live.channel.now() > later;
        self.until("time to pass", async || Ok((passed(), "it stands still".to_owned()))).await?;
        Ok(later)
    }

    /// Lets the group go on elsewhere, and checks that it is handed all from a number on.
    async fn again(&self, live: &Live, start: Start, from: u64) -> Result<(), String> {
        live.channel.seek(GROUP, start).await.map_err(told)?;
        self.lag(live, GROUP, 100 - from).await?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(live, GROUP, business.clone());
        self.had(&business, usize::try_from(100 - from).unwrap_or_default()).await?;
        self.lag(live, GROUP, 0).await?;
        consumer.stop().await?;
        business.had_once(from..100, 3).map_err(|why| format!("after going to {start:?}: {why}"))
    }

    pub(super) async fn lag_rises_and_falls(&self) -> Result<(), String> {
        let live = self.fresh().await?;
        live.channel.seek(GROUP, Start::Earliest).await.map_err(told)?;
        let lag = live.channel.lag(GROUP).await.map_err(told)?;
        ensure(lag == super::super::Lag::default(), || format!("an empty channel has {lag:?}"))?;
        publish_numbers(&live.channel, 0..20, 3, 5).await?;
        self.lag(&live, GROUP, 20).await?;
        let lag = live.channel.lag(GROUP).await.map_err(told)?;
        let stored = live.channel.replay(0, 1).await.map_err(told)?;
        ensure(lag.oldest.is_some() && lag.oldest == stored.first().map(|first| first.time), || {
            format!("the oldest is {:?}", lag.oldest)
        })?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, business.clone());
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        let lag = live.channel.lag(GROUP).await.map_err(told)?;
        ensure(lag.oldest.is_none(), || format!("nothing is left, and the oldest is {:?}", lag.oldest))?;
        business.had_once(0..20, 3)?;
        live.stop().await;
        Ok(())
    }

    pub(super) async fn malformed_messages_stop_nothing(&self) -> Result<(), String> {
        const RAW: [&[u8]; 4] =
            [b"no event", b"\xff\xfe\x00", b"{\"specversion\":\"1.0\",\"id\":\"1\"}", b"{\"specversion\":"];
        let live = self.fresh().await?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, business.clone());
        for (at, raw) in RAW.into_iter().enumerate() {
            let from = at as u64 * 10;
            publish_numbers(&live.channel, from..from + 10, 3, 10).await?;
            self.subject.malformed(&live, raw).await?;
        }
        publish_numbers(&live.channel, 40..50, 3, 10).await?;
        self.had(&business, 50).await?;
        let mut expected = RAW;
        expected.sort_unstable();
        self.until("four dead letters", async || {
            let found = live.channel.dead_letters(0, 10).await.map_err(told)?;
            let mut bodies: Vec<_> = found.iter().map(|letter| letter.message.body.as_slice()).collect();
            bodies.sort_unstable();
            Ok((bodies == expected, format!("{bodies:?} are there")))
        })
        .await?;
        self.lag(&live, GROUP, 0).await?;
        consumer.stop().await?;
        business.had_once(0..50, 3)?;
        live.stop().await;
        Ok(())
    }
}
