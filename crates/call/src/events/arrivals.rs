//! Who waits until events are in the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Those who wait, by the id of the event that they wait for.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    waiting: Mutex<HashMap<String, Vec<Arc<Batch>>>>,
}

/// Events that somebody waits for together.
#[derive(Debug)]
struct Batch {
    left: Mutex<(usize, Option<oneshot::Sender<()>>)>,
}

/// Waits for a batch; who drops it waits no longer.
pub(super) struct Expected<'a> {
    arrivals: &'a Arrivals,
    batch: Arc<Batch>,
    ids: Vec<String>,
    arrived: oneshot::Receiver<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arrivals {
    /// From now on waits for these.
    pub(super) fn expect(&self, mut ids: Vec<String>) -> Expected<'_> {
        ids.sort_unstable();
        ids.dedup();
        let (sender, arrived) = oneshot::channel();
        let batch = Arc::new(Batch { left: Mutex::new((ids.len(), Some(sender))) });
        let mut waiting = locked(&self.waiting);
        for id in &ids {
            waiting.entry(id.clone()).or_default().push(Arc::clone(&batch));
        }
        Expected { arrivals: self, batch, ids, arrived }
    }

    /// These are in the log.
    pub(super) fn tell<'i>(&self, ids: impl Iterator<Item = &'i str>) {
        let mut waiting = locked(&self.waiting);
        if waiting.is_empty() {
            return;
        }
        for id in ids {
            for batch in waiting.remove(id).unwrap_or_default() {
                let mut left = locked(&batch.left);
                left.0 -= 1;
                if left.0 == 0
                    && let Some(sender) = left.1.take()
                {
                    // Who waits no longer does not mind.
                    let _told = sender.send(());
                }
            }
        }
    }
}

impl Expected<'_> {
    /// Returns when all are in the log.
    pub(super) async fn wait(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        // The sender lives as long as the batch, which is held here.
        let _arrived = (&mut self.arrived).await;
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut waiting = locked(&self.arrivals.waiting);
        for id in &self.ids {
            if let Some(batches) = waiting.get_mut(id) {
                batches.retain(|batch| !Arc::ptr_eq(batch, &self.batch));
                if batches.is_empty() {
                    waiting.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn all_of_a_batch_must_arrive_and_nothing_is_left_behind() {
        let arrivals = Arrivals::default();
        let mut first = arrivals.expect(vec!["a".to_owned(), "b".to_owned(), "a".to_owned()]);
        let mut second = arrivals.expect(vec!["b".to_owned()]);
        arrivals.tell(["b", "other"].into_iter());
        assert!(first.wait().now_or_never().is_none());
        assert!(second.wait().now_or_never().is_some());
        arrivals.tell(["a", "a", "b"].into_iter());
        assert!(first.wait().now_or_never().is_some());
        let third = arrivals.expect(vec!["c".to_owned()]);
        drop((first, second, third));
        assert!(locked(&arrivals.waiting).is_empty());
    }
}
