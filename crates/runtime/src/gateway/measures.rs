//! What is counted of requests, as plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

/// Upper bounds of the buckets of durations, in seconds.
pub const GATEWAY_DURATION_BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const BUCKETS: usize = GATEWAY_DURATION_BOUNDS.len() + 1;

/// What was counted since the gateway began. Counts only rise; those of a service or revision end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Connections of clients that are open, WebSockets included.
    pub connections: u64,
    /// By the name of the service.
    pub services: BTreeMap<String, ServiceMeasures>,
}

/// Of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceMeasures {
    /// Requests as clients saw them, retries and waiting included.
    pub requests: RequestCounts,
    /// Requests that clients wait for.
    pub in_flight: u64,
    /// Of them those that wait for a replica.
    pub held: u64,
    /// Attempts beyond the first of their request.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_refused: u64,
    /// Requests that the gateway answered itself.
    pub refused: Refused,
    /// WebSockets that are open.
    pub tunnels: u64,
    /// Times that a replica was left out.
    pub ejections: u64,
    /// Since the last request ended; since the service is there where none did. Zero while any is under way or a WebSocket open.
    pub idle_for: Duration,
    /// Since when the files of the certificate cannot be used, as a message; an older certificate goes on.
    pub certificate_problem: Option<String>,
    /// By the name of the revision.
    pub revisions: BTreeMap<String, RevisionMeasures>,
}

/// Of one revision: attempts, as the gateway saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevisionMeasures {
    /// Those of all its replicas, of those that are gone, too.
    pub requests: RequestCounts,
    /// By the name of the replica.
    pub replicas: BTreeMap<String, ReplicaMeasures>,
}

/// Of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaMeasures {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its attempts.
    pub requests: RequestCounts,
    /// Attempts under way, WebSockets included.
    pub in_flight: u32,
    /// It is left out because it failed.
    pub ejected: bool,
    /// It takes no new requests.
    pub leaving: bool,
}

/// Rate, errors and durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Answers by the hundreds of their status: 1xx (WebSockets), 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 5],
    /// Those without an answer: of a replica when the connection failed, broke or took too long.
    pub unanswered: u64,
    /// Failures: answers of 5xx, what is unanswered, answers that broke off, and gRPC statuses that a server is to blame for (`UNKNOWN`,
    /// `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`).
    pub errors: u64,
    /// Those that the client left before the end. They are in no class and no duration.
    pub cancelled: u64,
    /// Counts by duration, from the head of the request to the end of the answer; each bucket up to its bound in
    /// [`GATEWAY_DURATION_BOUNDS`], the last one beyond. Not cumulative.
    pub durations: [u64; BUCKETS],
    /// Sum of durations, in microseconds.
    pub duration_sum_us: u64,
}

/// Requests that the gateway answered itself, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// 400, 413, 501: the request cannot be passed on.
    pub bad_request: u64,
    /// 503: no replica took it.
    pub no_replica: u64,
    /// 503: too many wait already.
    pub queue_full: u64,
    /// 502: the replica broke off.
    pub broken: u64,
    /// 504: the replica took too long.
    pub timed_out: u64,
}

impl RequestCounts {
    /// Requests that ended, those that clients left included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_class.iter().sum::<u64>() + self.unanswered + self.cancelled
    }

    /// The bound below which the share `q` (0 … 1) of the durations lies, in seconds; `None` without any, infinite beyond the
    /// last bound.
    #[must_use]
    pub fn quantile_bound(&self, q: f64) -> Option<f64> {
        let all: u64 = self.durations.iter().sum();
        let mut left = (q.clamp(0.0, 1.0) * all as f64).ceil().max(1.0) as u64;
        for (at, count) in self.durations.iter().enumerate() {
            if *count > 0 && left <= *count {
                return Some(GATEWAY_DURATION_BOUNDS.get(at).copied().unwrap_or(f64::INFINITY));
            }
            left = left.saturating_sub(*count);
        }
        None
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sum = |mine: &mut [u64], others: &[u64]| {
            for (mine, other) in mine.iter_mut().zip(others) {
                *mine += other;
            }
        };
        sum(&mut self.by_class, &other.by_class);
        sum(&mut self.durations, &other.durations);
        self.unanswered += other.unanswered;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.duration_sum_us += other.duration_sum_us;
    }
}

/// How a request or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Answered to the end. `error`: the answer says that the server failed.
    Answered { status: StatusCode, error: bool },
    /// The answer broke off.
    BrokeOff(StatusCode),
    /// There was none.
    Unanswered,
    /// The client left.
    Cancelled,
}

/// [`RequestCounts`] while they are counted, by many threads at once.
#[derive(Debug, Default)]
pub(super) struct Counter {
    by_class: [AtomicU64; 5],
    unanswered: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    durations: [AtomicU64; BUCKETS],
    duration_sum_us: AtomicU64,
}

impl Counter {
    pub(super) fn count(&self, end: End, took: Duration) {
        let error = match end {
            End::Cancelled => {
                self.cancelled.fetch_add(1, Relaxed);
                return;
            }
            End::Unanswered => {
                self.unanswered.fetch_add(1, Relaxed);
                true
            }
            End::Answered { status, error } => {
                self.class(status);
                error || status.is_server_error()
            }
            End::BrokeOff(status) => {
                self.class(status);
                true
            }
        };
        if error {
            self.errors.fetch_add(1, Relaxed);
        }
        self.durations[bucket(took)].fetch_add(1, Relaxed);
        self.duration_sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn class(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> RequestCounts {
        let load = |value: &AtomicU64| value.load(Relaxed);
        RequestCounts {
            by_class: self.by_class.each_ref().map(load),
            unanswered: load(&self.unanswered),
            errors: load(&self.errors),
            cancelled: load(&self.cancelled),
            durations: self.durations.each_ref().map(load),
            duration_sum_us: load(&self.duration_sum_us),
        }
    }
}

fn bucket(took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    GATEWAY_DURATION_BOUNDS.partition_point(|bound| *bound < seconds)
}

/// Whether the server is to blame for a gRPC status, as OpenTelemetry's conventions for servers have it.
pub(super) fn grpc_fault(status: &[u8]) -> bool {
    matches!(status, b"2" | b"4" | b"12" | b"13" | b"14" | b"15")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_of_their_bound() {
        let at = |micros| bucket(Duration::from_micros(micros));
        assert_eq!([at(0), at(1000), at(1001), at(60_000_000), at(60_000_001)], [0, 0, 1, 14, 15]);
    }

    #[test]
    fn errors_are_what_the_server_is_to_blame_for() {
        let counter = Counter::default();
        let millisecond = Duration::from_millis(1);
        let answered = |status, error| End::Answered { status, error };
        for end in [
            answered(StatusCode::OK, false),
            answered(StatusCode::OK, true),
            answered(StatusCode::NOT_FOUND, false),
            answered(StatusCode::BAD_GATEWAY, false),
            End::BrokeOff(StatusCode::OK),
            End::Unanswered,
            End::Cancelled,
        ] {
            counter.count(end, millisecond);
        }
        let counts = counter.read();
        assert_eq!((counts.by_class, counts.unanswered, counts.cancelled), ([0, 3, 0, 1, 1], 1, 1));
        assert_eq!((counts.errors, counts.total(), counts.durations[0]), (4, 7, 6));
        assert_eq!(counts.duration_sum_us, 6000);
        let mut twice = counts.clone();
        twice.add(&counts);
        assert_eq!((twice.total(), twice.errors, twice.duration_sum_us), (14, 8, 12_000));
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let counter = Counter::default();
        assert_eq!(counter.read().quantile_bound(0.5), None);
        for millis in [1, 1, 1, 40, 90_000] {
            counter.count(End::Unanswered, Duration::from_millis(millis));
        }
        let counts = counter.read();
        let quantile = |q| counts.quantile_bound(q);
        assert_eq!([quantile(0.0), quantile(0.6), quantile(0.8)], [Some(0.001), Some(0.001), Some(0.05)]);
        assert_eq!(quantile(1.0), Some(f64::INFINITY));
    }

    #[test]
    fn grpc_statuses_of_clients_are_no_faults() {
        let faults: Vec<u8> =
            (0..=16_u8).filter(|status| grpc_fault(status.to_string().as_bytes())).collect();
        assert_eq!(faults, [2, 4, 12, 13, 14, 15]);
        assert!(!grpc_fault(b"x"));
    }
}
