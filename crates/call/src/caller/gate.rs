//! How many attempts are under way, and who waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::policy::Concurrency;

/// Lets so many in at a time; the others wait in the order in which they came.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Concurrency,
    places: Semaphore,
    waiting: AtomicUsize,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many wait.
    Queue,
    /// It took too long.
    Wait,
}

/// One who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn new(rules: Concurrency) -> Self {
        let places = Semaphore::new(rules.in_flight.min(Semaphore::MAX_PERMITS));
        Self { rules, places, waiting: AtomicUsize::new(0) }
    }

    /// A place, at once or within `patience`; given back when it is dropped.
    pub(super) async fn enter(&self, patience: Duration) -> Result<SemaphorePermit<'_>, Full> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.rules.queue {
            return Err(Full::Queue);
        }
        // It is never closed.
        tokio::time::timeout(patience, self.places.acquire())
            .await
            .map_or(Err(Full::Wait), |place| place.map_err(|_| Full::Wait))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.rules.in_flight - self.places.available_permits()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
