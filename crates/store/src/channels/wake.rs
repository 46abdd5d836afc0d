//! Waking consumers when there may be something for them, so that nobody has to ask again and again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Channels;
use crate::notify::Notifier;
use crate::store::relock;

type AppendHook = Arc<dyn Fn(&str, u64) + Send + Sync>;

#[derive(Default)]
pub(super) struct Wakes {
    turn: AtomicU64,
    channels: Mutex<HashMap<String, Arc<Notifier>>>,
    hooks: Mutex<Vec<AppendHook>>,
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}

impl Wakes {
    /// `woken` holds channels, and the newest position of those where something was appended.
    pub(super) fn publish(&self, woken: BTreeMap<String, Option<u64>>) {
        if woken.is_empty() {
            return;
        }
        let hooks = relock(&self.hooks).clone();
        for (channel, appended) in woken {
            let notifier = relock(&self.channels).get(&channel).cloned();
            if let Some(notifier) = notifier {
                notifier.publish(self.turn.fetch_add(1, Ordering::Relaxed) + 1);
            }
            if let Some(last) = appended {
                hooks.iter().for_each(|hook| hook(&channel, last));
            }
        }
    }

    fn watch(&self, channel: &str) -> Arc<Notifier> {
        let mut channels = relock(&self.channels);
        // Nobody waits any more for those that only this table holds.
        channels.retain(|_, notifier| Arc::strong_count(notifier) > 1);
        channels.entry(channel.to_owned()).or_default().clone()
    }
}

/// Waits for a channel; see [`Channels::watch`].
#[derive(Debug)]
pub struct ChannelWatch {
    notifier: Arc<Notifier>,
    id: u64,
    seen: u64,
}

impl Channels {
    /// Tells when there may be something new to take from a channel: something was appended, a key became free, a dead
    /// letter was sent again. What becomes due by time alone is told by [`next_due`](Self::next_due).
    ///
    /// Make the watch first, then take until nothing comes, then wait: so nothing is missed.
    #[must_use]
    pub fn watch(&self, channel: &str) -> ChannelWatch {
        let notifier = self.0.wakes.watch(channel);
        ChannelWatch { id: notifier.register(), seen: notifier.newest(), notifier }
    }

    /// Calls `hook` after each append that stored something, with the channel and its newest position; in the thread of
    /// one of the appending calls, so it must be short and must not call the channels.
    pub fn on_append(&self, hook: impl Fn(&str, u64) + Send + Sync + 'static) {
        relock(&self.0.wakes.hooks).push(Arc::new(hook));
    }
}

impl ChannelWatch {
    /// Blocks until something may have come since the last call, at most for `timeout`; says whether it may.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let woken = self.notifier.wait_above(self.seen, timeout);
        self.seen = self.notifier.newest();
        woken
    }

    /// Resolves when something may have come since the last call. Safe to drop at any time, on any executor.
    pub async fn changed(&mut self) {
        poll_fn(|cx| self.notifier.poll_above(self.id, self.seen, cx)).await;
        self.seen = self.notifier.newest();
    }
}

impl Drop for ChannelWatch {
    fn drop(&mut self) {
        self.notifier.forget(self.id);
    }
}
