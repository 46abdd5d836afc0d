//! What holds on every call, declared once for a service.
//!
//! Everything here decides and does nothing: time is an argument, counted from an origin of the caller's choice, and
//! chance comes from a seed. [`crate::Caller`] asks and performs.

mod breaker;
mod budget;
mod decider;
mod endpoints;
mod rate;
mod retry;
mod window;

use std::time::Duration;

use crate::call::Limits;

pub use breaker::CircuitState;
pub(crate) use decider::{Decider, Refusal, Ticket};
pub(crate) use retry::{Verdict, may_repeat, verdict};

/// What holds on every call of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Time for one attempt, answer included. Above zero.
    pub timeout: Duration,
    /// Time for a whole call: waiting, all attempts and what is between them. Above zero.
    pub deadline: Duration,
    /// What is tried again.
    pub retries: Retries,
    /// When a service that fails is left alone; `None`: never.
    pub circuit: Option<Circuit>,
    /// When an endpoint that fails is left out; `None`: never.
    pub outliers: Option<Outliers>,
    /// How many attempts there are at a time.
    pub concurrency: Concurrency,
    /// How many attempts there are in a time; `None`: any number.
    pub rate: Option<Rate>,
    /// Which endpoint is asked.
    pub balance: Balance,
    /// What is read of an answer.
    pub limits: Limits,
}

/// What is tried again: failures that cannot have taken effect (no connection, 429, 503 with `Retry-After`), and every
/// temporary failure of operations that do no harm when repeated or are sent with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Attempts of a call in all, the first included; 1 … 100.
    pub attempts: u32,
    /// What is waited before the second attempt at most, doubled for each further one. The wait is drawn evenly from
    /// zero to that ("full jitter"), and is never shorter than the service asks for.
    pub initial_backoff: Duration,
    /// What is waited before any attempt at most, unless the service asks for more.
    pub max_backoff: Duration,
    /// Retries of all calls together, as a share of the calls of the last 10 s; 0 … 10.
    pub budget_share: f64,
    /// Retries in a second that are allowed beside the share, for services that are called seldom; 0 … 1000.
    pub budget_minimum: f64,
}

/// When a service that fails is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circuit {
    /// Share of failed attempts that opens the circuit; above 0, up to 1.
    pub failure_share: f64,
    /// Attempts in the window before the share means something; at least 1.
    pub minimum_calls: u32,
    /// How far back attempts count. At least 10 ms.
    pub window: Duration,
    /// How long nothing is sent.
    pub open_for: Duration,
    /// Attempts that are let through after that. When all succeed the circuit closes, when one fails it opens again.
    pub probes: u32,
}

/// When an endpoint that fails is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outliers {
    /// Failures in a row; `None`: they do not matter.
    pub consecutive_failures: Option<u32>,
    /// Share of failed attempts in the last 30 s, of at least `minimum_calls`; above 0, up to 1. `None`: it does not matter.
    pub failure_share: Option<f64>,
    /// Attempts in the window before the share means something; at least 1.
    pub minimum_calls: u32,
    /// How long it is left out the first time; one such time longer each time it happens again.
    pub ejected_for: Duration,
    /// The longest.
    pub ejected_for_at_most: Duration,
    /// How many of all endpoints are left out at a time at most, in percent; 0 … 100. One always stays.
    pub ejected_at_most_percent: u8,
}

/// How many attempts there are at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Attempts under way; 1 … 1,000,000.
    pub in_flight: usize,
    /// Calls that wait for their turn; what is beyond is refused.
    pub queue: usize,
    /// How long they wait at most, for this and for the rate.
    pub queue_wait: Duration,
}

/// How many attempts there are in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Attempts in a second on average; 0.001 … 1,000,000.
    pub per_second: f64,
    /// Attempts at once after a rest; 1 … 1,000,000.
    pub burst: u32,
}

/// Which endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Of two drawn by chance the one with fewer attempts under way.
    #[default]
    LeastOfTwo,
    /// One after the other.
    RoundRobin,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            retries: Retries::default(),
            circuit: Some(Circuit::default()),
            outliers: Some(Outliers::default()),
            concurrency: Concurrency::default(),
            rate: None,
            balance: Balance::LeastOfTwo,
            limits: Limits::default(),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            budget_share: 0.2,
            budget_minimum: 1.0,
        }
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            failure_share: 0.5,
            minimum_calls: 20,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(10),
            probes: 3,
        }
    }
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            failure_share: Some(0.85),
            minimum_calls: 20,
            ejected_for: Duration::from_secs(10),
            ejected_for_at_most: Duration::from_mins(5),
            ejected_at_most_percent: 50,
        }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { in_flight: 256, queue: 1024, queue_wait: Duration::from_secs(5) }
    }
}

impl Policy {
    /// Whether all values are in their ranges.
    ///
    /// # Errors
    /// Which is not, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &str, expected: &str| Err(format!("`{what}`: expected {expected}"));
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let Retries { attempts, budget_share, budget_minimum, .. } = self.retries;
        if self.timeout.is_zero() || self.deadline.is_zero() {
            return wrong("timeout and deadline", "more than no time");
        }
        if !(1..=100).contains(&attempts) {
            return wrong("retries.attempts", "1 to 100");
        }
        if !(0.0..=10.0).contains(&budget_share) || !(0.0..=1000.0).contains(&budget_minimum) {
            return wrong("retries.budget", "a share of 0 to 10 and a minimum of 0 to 1000 in a second");
        }
        if let Some(Circuit { failure_share, minimum_calls, window, probes, .. }) = self.circuit {
            if !share(failure_share) || minimum_calls == 0 || probes == 0 {
                return wrong("circuit", "a share above 0 up to 1, and at least one call and one probe");
            }
            if window < Duration::from_millis(10) {
                return wrong("circuit.window", "at least 10 ms");
            }
        }
        if let Some(outliers) = &self.outliers {
            let rows = outliers.consecutive_failures.is_none_or(|failures| failures > 0);
            if !rows || !outliers.failure_share.is_none_or(share) || outliers.minimum_calls == 0 {
                return wrong("outliers", "a share above 0 up to 1, and counts of at least 1");
            }
            if outliers.ejected_at_most_percent > 100 {
                return wrong("outliers.ejected_at_most_percent", "0 to 100");
            }
        }
        if !(1..=1_000_000).contains(&self.concurrency.in_flight) {
            return wrong("concurrency.in_flight", "1 to 1000000");
        }
        if let Some(Rate { per_second, burst }) = self.rate
            && (!(0.001..=1e6).contains(&per_second) || !(1..=1_000_000).contains(&burst))
        {
            return wrong("rate", "0.001 to 1000000 in a second and a burst of 1 to 1000000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_ranges_are_named() {
        Policy::default().check().unwrap();
        let changed = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().unwrap_err()
        };
        for (message, what) in [
            (changed(|policy| policy.timeout = Duration::ZERO), "timeout"),
            (changed(|policy| policy.retries.attempts = 0), "retries.attempts"),
            (changed(|policy| policy.retries.budget_share = f64::NAN), "retries.budget"),
            (changed(|policy| policy.circuit.as_mut().unwrap().failure_share = 0.0), "circuit"),
            (changed(|policy| policy.circuit.as_mut().unwrap().window = Duration::ZERO), "circuit.window"),
            (changed(|policy| policy.outliers.as_mut().unwrap().consecutive_failures = Some(0)), "outliers"),
            (changed(|policy| policy.concurrency.in_flight = 0), "concurrency.in_flight"),
            (changed(|policy| policy.rate = Some(Rate { per_second: 0.0, burst: 1 })), "rate"),
        ] {
            assert!(message.starts_with(&format!("`{what}")), "{message}");
        }
    }
}
