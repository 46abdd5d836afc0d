//! What holds while things are killed and connections are cut.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::business::Business;
use super::publisher::publish_numbers;
use super::{Consumer, Report, Suite, ensure, told};

const GROUP: &str = "business";
/// So many that some are always in hand, and few enough for each to have an order.
const KEYS: u64 = 50;

impl Suite<'_> {
    pub(super) async fn disturbances_lose_nothing(&self) -> Result<Report, String> {
        let (messages, batch) = (self.load.messages, self.load.batch);
        let live = self.fresh().await?;
        let business = Arc::new(Business::default());
        let consumer = Consumer::start(&live, GROUP, business.clone());
        let channel = live.channel.clone();
        let begun = tokio::time::Instant::now();
        let publisher =
            tokio::spawn(async move { publish_numbers(&channel, 0..messages, KEYS, batch).await });
        for disturbance in 0..self.load.disturbances {
            // Spread over the whole way, so that something is always under way.
            let after = messages * (disturbance + 1) / (self.load.disturbances + 1);
            self.had(&business, usize::try_from(after).unwrap_or(usize::MAX)).await?;
            ensure(
                !publisher.is_finished() || business.count() < usize::try_from(messages).unwrap_or(0),
                || "all was over before it was disturbed".to_owned(),
            )?;
            if disturbance % 2 == 0 {
                self.subject.kill().await?;
                self.subject.revive().await?;
            } else {
                self.subject.cut().await?;
            }
        }
        let failed_publishes =
            publisher.await.map_err(|error| format!("the publisher failed: {error}"))??;
        self.had(&business, usize::try_from(messages).unwrap_or(usize::MAX)).await?;
        self.lag(&live, GROUP, 0).await?;
        let took = begun.elapsed();
        consumer.stop().await?;
        business.had_once(0..messages, KEYS)?;
        let letters = live.channel.dead_letters(0, 10).await.map_err(told)?;
        ensure(letters.is_empty(), || format!("dead letters: {letters:?}"))?;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let (duplicates, connections) = (count(&live.measures.duplicates), count(&live.measures.connections));
        live.stop().await;
        Ok(Report { messages, took, failed_publishes, duplicates, connections })
    }
}
