//! What is counted of calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::ErrorKind;
use crate::policy::CircuitState;

/// Upper bounds of the buckets of durations, in seconds.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// All results of a call, as words.
const RESULTS: [&str; 12] = [
    "ok",
    ErrorKind::BadDocument.word(),
    ErrorKind::BadInput.word(),
    ErrorKind::NotAllowed.word(),
    ErrorKind::NoCredentials.word(),
    ErrorKind::Overloaded.word(),
    ErrorKind::Unreachable.word(),
    ErrorKind::Broken.word(),
    ErrorKind::TimedOut.word(),
    ErrorKind::TooLarge.word(),
    ErrorKind::BadAnswer.word(),
    ErrorKind::Fault.word(),
];

/// What was counted since a caller began, and how things are.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Of each operation that was called.
    pub operations: Vec<OperationMeasures>,
    /// Calls of operations that there are not.
    pub unknown_operations: u64,
    /// Attempts that were refused because of the policy.
    pub refused: Refused,
    /// Attempts under way.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// What the circuit does; `None` where there is none.
    pub circuit: Option<CircuitState>,
    /// The copies of the service.
    pub endpoints: Vec<EndpointMeasures>,
}

/// What was counted of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationMeasures {
    /// Its name.
    pub operation: String,
    /// Calls by result: `ok` or the word of an [`ErrorKind`]. Those that there were.
    pub calls: Vec<(&'static str, u64)>,
    /// Attempts that were sent.
    pub attempts: u64,
    /// Attempts beyond the first of their call.
    pub retries: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Whole calls by their duration: how many are at most as long as each of [`DURATION_BOUNDS`]. The last is all calls.
    pub duration_buckets: Vec<u64>,
    /// Durations of all calls together.
    pub duration_sum: Duration,
}

/// Attempts that were refused because of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The circuit was open.
    pub circuit: u64,
    /// Too many were under way and waiting.
    pub concurrency: u64,
    /// There were too many in a time.
    pub rate: u64,
    /// There was no endpoint.
    pub no_endpoint: u64,
}

/// How an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointMeasures {
    /// Scheme, host and port.
    pub address: String,
    /// Attempts under way.
    pub in_flight: u32,
    /// Whether it is left out because it failed.
    pub ejected: bool,
}

/// Counts of one operation.
#[derive(Debug, Default)]
pub(super) struct Meter {
    results: [AtomicU64; RESULTS.len()],
    attempts: AtomicU64,
    retries: AtomicU64,
    in_flight: AtomicU64,
    /// Not summed up; the last is what is longer than all bounds.
    buckets: [AtomicU64; DURATION_BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// A call under way; without a result it ends as one that nobody waited for.
#[derive(Debug)]
pub(super) struct Running<'a>(&'a Meter);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    pub(super) fn begin(&self) -> Running<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Running(self)
    }

    pub(super) fn attempt(&self, is_first: bool) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if !is_first {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn result(&self, error: Option<ErrorKind>, duration: Duration) {
        let word = error.map_or("ok", ErrorKind::word);
        if let Some(at) = RESULTS.iter().position(|known| *known == word) {
            self.results[at].fetch_add(1, Ordering::Relaxed);
        }
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// `None` where there was no call.
    pub(super) fn read(&self, operation: &str) -> Option<OperationMeasures> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let calls: Vec<_> =
            RESULTS.into_iter().zip(self.results.iter().map(get)).filter(|(_, count)| *count > 0).collect();
        let in_flight = get(&self.in_flight);
        if calls.is_empty() && in_flight == 0 {
            return None;
        }
        let mut sum = 0;
        let duration_buckets = self.buckets.iter().map(|bucket| {
            sum += get(bucket);
            sum
        });
        Some(OperationMeasures {
            operation: operation.to_owned(),
            calls,
            attempts: get(&self.attempts),
            retries: get(&self.retries),
            in_flight,
            duration_buckets: duration_buckets.collect(),
            duration_sum: Duration::from_nanos(get(&self.nanoseconds)),
        })
    }
}

/// Counts of refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) circuit: AtomicU64,
    pub(super) concurrency: AtomicU64,
    pub(super) rate: AtomicU64,
    pub(super) no_endpoint: AtomicU64,
}

impl Refusals {
    pub(super) fn read(&self) -> Refused {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Refused {
            circuit: get(&self.circuit),
            concurrency: get(&self.concurrency),
            rate: get(&self.rate),
            no_endpoint: get(&self.no_endpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_result_and_duration() {
        let meter = Meter::default();
        assert!(meter.read("getOffer").is_none());
        let running = meter.begin();
        assert_eq!(meter.read("getOffer").unwrap().in_flight, 1);
        drop(running);
        meter.attempt(true);
        meter.attempt(false);
        meter.result(None, Duration::from_millis(1));
        meter.result(Some(ErrorKind::TimedOut), Duration::from_secs(31));
        let read = meter.read("getOffer").unwrap();
        assert_eq!(read.calls, [("ok", 1), ("timed_out", 1)]);
        assert_eq!((read.attempts, read.retries, read.in_flight), (2, 1, 0));
        assert_eq!(read.duration_buckets[0], 1, "a bound belongs to its bucket");
        assert_eq!(read.duration_buckets.iter().rev().take(2).collect::<Vec<_>>(), [&2, &1]);
        assert_eq!(read.duration_sum, Duration::from_millis(31_001));
    }
}
