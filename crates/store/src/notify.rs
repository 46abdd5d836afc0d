//! Waking whoever waits for a new revision, from threads and from any async executor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::store::relock;

/// Called after each commit that changed a resource, with the newest version.
pub type ChangeHook = Arc<dyn Fn(u64) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Notifier {
    state: Mutex<State>,
    raised: Condvar,
}

#[derive(Default)]
struct State {
    newest: u64,
    wakers: BTreeMap<u64, Waker>,
    next_id: u64,
    hooks: Vec<ChangeHook>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("newest", &relock(&self.state).newest).finish_non_exhaustive()
    }
}

impl Notifier {
    pub(crate) fn publish(&self, newest: u64) {
        let (wakers, hooks) = {
            let mut state = relock(&self.state);
            // Commits are ordered, their announcements need not be.
            state.newest = state.newest.max(newest);
            (std::mem::take(&mut state.wakers), state.hooks.clone())
        };
        self.raised.notify_all();
        wakers.into_values().for_each(Waker::wake);
        hooks.iter().for_each(|hook| hook(newest));
    }

    pub(crate) fn newest(&self) -> u64 {
        relock(&self.state).newest
    }

    pub(crate) fn register(&self) -> u64 {
        let mut state = relock(&self.state);
        state.next_id += 1;
        state.next_id
    }

    pub(crate) fn forget(&self, id: u64) {
        relock(&self.state).wakers.remove(&id);
    }

    pub(crate) fn add_hook(&self, hook: ChangeHook) {
        relock(&self.state).hooks.push(hook);
    }

    /// Ready once a version above `seen` was announced.
    pub(crate) fn poll_above(&self, id: u64, seen: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = relock(&self.state);
        if state.newest > seen {
            return Poll::Ready(());
        }
        state.wakers.insert(id, cx.waker().clone());
        Poll::Pending
    }

    /// Whether a version above `seen` was announced within `timeout`.
    pub(crate) fn wait_above(&self, seen: u64, timeout: Duration) -> bool {
        let state = relock(&self.state);
        let (state, _) = self
            .raised
            .wait_timeout_while(state, timeout, |s| s.newest <= seen)
            .unwrap_or_else(PoisonError::into_inner);
        state.newest > seen
    }
}
