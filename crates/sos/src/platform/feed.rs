//! What is pushed to the readers of the event stream: states of sites when they changed, and events as they come.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sos_api::LiveEvent;
use sos_api::wire::SiteLive;
use sos_store::{EventFilter, Store};

use super::{Platform, live, resources};

/// States are sent at most this often.
const PACE: Duration = Duration::from_millis(250);
/// Most events that are sent after one look; older ones are read from the list of events.
const EVENTS: usize = 256;
/// Looks between two counts of what the store holds.
const COUNT_EVERY: u64 = 40;

/// Starts the feed of a platform; it ends when the platform is dropped.
pub(super) fn start(platform: &Arc<Platform>) {
    tokio::spawn(feed(Arc::downgrade(platform)));
}

async fn feed(platform: Weak<Platform>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sent: BTreeMap<String, Arc<SiteLive>> = BTreeMap::new();
    let mut last_event = None;
    for look in 0_u64.. {
        pace.tick().await;
        let Some(platform) = platform.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            if look % COUNT_EVERY == 0 {
                platform.figures.count(platform.engine.store());
            }
            last_event = tell_events(&platform, last_event);
            tell_sites(&platform, &mut sent);
            (sent, last_event)
        });
        match looked.await {
            Ok(after) => (sent, last_event) = after,
            Err(error) => {
                tracing::error!(%error, "the feed of the event stream ended abnormally");
                return;
            }
        }
    }
}

/// Sends what differs from what was sent last.
fn tell_sites(platform: &Platform, sent: &mut BTreeMap<String, Arc<SiteLive>>) {
    if platform.live.receiver_count() == 0 {
        return;
    }
    for name in platform.engine.site_names() {
        let Some(state) = live::site(&platform.engine, &name) else { continue };
        if sent.get(&name).is_some_and(|before| **before == state) {
            continue;
        }
        let state = Arc::new(state);
        sent.insert(name, Arc::clone(&state));
        // Nobody listening is no failure.
        let _ = platform.live.send(LiveEvent::Site(state));
    }
}

/// Sends the events after the last one that was seen; the first look only notes which that is.
fn tell_events(platform: &Platform, last: Option<u64>) -> Option<u64> {
    let Some(last) = last else { return newest(platform.engine.store()) };
    let found = resources::events(&platform.engine, last, EVENTS);
    let found =
        found.inspect_err(|error| tracing::warn!(%error, "events cannot be read")).unwrap_or_default();
    let mut newest = last;
    for event in found {
        newest = newest.max(event.id);
        let _ = platform.live.send(LiveEvent::Event(Arc::new(event)));
    }
    Some(newest)
}

fn newest(store: &Store) -> Option<u64> {
    let latest = EventFilter { limit: Some(1), ..EventFilter::default() };
    store.list_events(&latest).ok().map(|found| found.last().map_or(0, |record| record.seq))
}
