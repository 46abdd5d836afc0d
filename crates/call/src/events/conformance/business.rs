//! The business side: notes everything, and what should never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::super::{CloudEvent, Data, Handler, NotHandled};

/// Which events fail, and how often.
type Failing = BTreeMap<u64, u32>;

/// Notes every event that it has dealt with.
#[derive(Debug, Default)]
pub(super) struct Business {
    state: Mutex<State>,
    count: watch::Sender<usize>,
    failing: Failing,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers by key, as they were dealt with.
    done: BTreeMap<String, Vec<u64>>,
    /// Numbers with the attempts that were seen.
    attempts: BTreeMap<u64, Vec<u32>>,
    /// Keys that are dealt with now.
    running: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Business {
    /// Fails so often with these numbers.
    pub(super) fn failing(failing: impl IntoIterator<Item = (u64, u32)>) -> Self {
        Self { failing: failing.into_iter().collect(), ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that were dealt with, repeats included.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Returns as soon as it has dealt with so many.
    pub(super) async fn had(&self, events: usize) {
        // The sender is here, so it does not end before.
        let mut counts = self.count.subscribe();
        let _had = counts.wait_for(|count| *count >= events).await.is_ok();
    }

    /// Attempts that were made with a number.
    pub(super) fn attempts(&self, number: u64) -> Vec<u32> {
        self.state().attempts.get(&number).cloned().unwrap_or_default()
    }

    /// Numbers of a key, as they were dealt with.
    pub(super) fn done(&self, key: &str) -> Vec<u64> {
        self.state().done.get(key).cloned().unwrap_or_default()
    }

    /// Whether exactly these numbers were dealt with, once each and in order for each key.
    pub(super) fn had_once(&self, numbers: std::ops::Range<u64>, keys: u64) -> Result<(), String> {
        let state = self.state();
        if let Some(wrong) = state.wrong.first() {
            return Err(wrong.clone());
        }
        for key in 0..keys {
            let expected: Vec<u64> = numbers.clone().filter(|number| number % keys == key).collect();
            let found = state.done.get(&format!("k{key}")).map_or(&[][..], Vec::as_slice);
            if found == expected {
                continue;
            }
            let at = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
            let (found, expected) = (&found[at..], &expected[at..]);
            let shown =
                |numbers: &[u64]| format!("{:?} of {}", &numbers[..numbers.len().min(5)], numbers.len());
            return Err(format!("key k{key}: expected next {}, found {}", shown(expected), shown(found)));
        }
        Ok(())
    }
}

impl Handler for Business {
    fn handle(&self, event: CloudEvent, attempt: u32) -> BoxFuture<'_, Result<(), NotHandled>> {
        async move {
            let key = event.subject.clone().unwrap_or_default();
            let number = match &event.data {
                Some(Data::Json(value)) => value["number"].as_u64(),
                _ => None,
            };
            let Some(number) = number.filter(|number| event.id == number.to_string()) else {
                self.state().wrong.push(format!("an event is not what it was: {event:?}"));
                return Ok(());
            };
            if !self.state().running.insert(key.clone()) {
                self.state().wrong.push(format!("two events of key {key} at once"));
            }
            self.state().attempts.entry(number).or_default().push(attempt);
            // Lets others of the same key come in between, if they could.
            tokio::task::yield_now().await;
            let mut state = self.state();
            state.running.remove(&key);
            if self.failing.get(&number).is_some_and(|failures| attempt <= *failures) {
                return Err(NotHandled { reason: format!("number {number} fails"), permanent: false });
            }
            state.done.entry(key).or_default().push(number);
            drop(state);
            self.count.send_modify(|count| *count += 1);
            Ok(())
        }
        .boxed()
    }
}
