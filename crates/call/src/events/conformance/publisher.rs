//! Events that tell their key and their number, and who publishes them until they are taken.

use std::time::Duration;

use serde_json::json;

use super::super::{Channel, CloudEvent};

/// Event `number` of all, which goes to one of so many keys.
pub(super) fn event(number: u64, keys: u64) -> CloudEvent {
    let key = format!("k{}", number % keys);
    let mut event = CloudEvent::new(number.to_string(), "/conformance", "org.example.counted");
    event.datacontenttype = Some("application/json".to_owned());
    event.about(key).with_json(json!({ "number": number }))
}

/// Publishes what is not refused for good until it is taken. How often it was not.
pub(super) async fn publish(channel: &Channel, events: &[CloudEvent]) -> Result<u64, String> {
    let mut failures = 0;
    loop {
        match channel.publish(events).await {
            Ok(()) => return Ok(failures),
            Err(error) if error.is_temporary() => failures += 1,
            Err(error) => return Err(format!("publishing was refused for good: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes the numbers in batches.
pub(super) async fn publish_numbers(
    channel: &Channel,
    numbers: std::ops::Range<u64>,
    keys: u64,
    batch: usize,
) -> Result<u64, String> {
    let all: Vec<u64> = numbers.collect();
    let mut failures = 0;
    for part in all.chunks(batch.max(1)) {
        let events: Vec<CloudEvent> = part.iter().map(|number| event(*number, keys)).collect();
        failures += publish(channel, &events).await?;
    }
    Ok(failures)
}
