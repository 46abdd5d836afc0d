//! All that a policy remembers, and what it decides.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use super::breaker::{Breaker, CircuitState, Pass};
use super::budget::Budget;
use super::endpoints::{Chosen, Endpoints, Seen};
use super::rate::Bucket;
use super::retry::{Verdict, backoff};
use super::{Policy, Retries};
use crate::http::Address;

/// All that a policy remembers of a service's calls.
#[derive(Debug)]
pub(crate) struct Decider {
    retries: Retries,
    budget: Budget,
    breaker: Option<Breaker>,
    bucket: Option<Bucket>,
    endpoints: Endpoints,
    random: ChaCha12Rng,
}

/// An attempt that may be made; [`Decider::end`] must be told what came of it.
#[derive(Debug)]
pub(crate) struct Ticket {
    chosen: Chosen,
    pass: Option<Pass>,
}

impl Ticket {
    pub(crate) fn address(&self) -> &Arc<Address> {
        &self.chosen.address
    }

    /// Tells the endpoint from others.
    pub(crate) fn endpoint(&self) -> u64 {
        self.chosen.id
    }
}

/// Why no attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The circuit is open, for as long as that.
    Circuit(Duration),
    /// There is no endpoint.
    NoEndpoint,
    /// The next place comes only then.
    Rate(Duration),
}

impl Decider {
    pub(crate) fn new(policy: &Policy, seed: u64) -> Self {
        Self {
            retries: policy.retries,
            budget: Budget::new(&policy.retries),
            breaker: policy.circuit.map(Breaker::new),
            bucket: policy.rate.as_ref().map(Bucket::new),
            endpoints: Endpoints::new(policy.balance, policy.outliers),
            random: ChaCha12Rng::seed_from_u64(seed),
        }
    }

    pub(crate) fn set_endpoints(&mut self, addresses: Vec<Address>) {
        self.endpoints.set(addresses);
    }

    /// A call begins: it pays for retries. Early, so that nobody waits for what is refused anyway.
    pub(crate) fn call(&mut self, now: Duration) -> Result<(), Refusal> {
        self.would_begin(now)?;
        self.budget.call(now);
        Ok(())
    }

    /// Whether an attempt would be let through now.
    pub(crate) fn would_begin(&self, now: Duration) -> Result<(), Refusal> {
        self.breaker.as_ref().map_or(Ok(()), |breaker| breaker.would_admit(now)).map_err(Refusal::Circuit)
    }

    /// Takes a place in the rate, and says how long it is until then.
    pub(crate) fn place(&mut self, now: Duration, patience: Duration) -> Result<Duration, Refusal> {
        self.bucket
            .as_mut()
            .map_or(Ok(Duration::ZERO), |bucket| bucket.take(now, patience))
            .map_err(Refusal::Rate)
    }

    /// Lets an attempt through to an endpoint, not the one to be avoided where there is another.
    pub(crate) fn begin(&mut self, now: Duration, avoid: Option<u64>) -> Result<Ticket, Refusal> {
        self.would_begin(now)?;
        let chosen = self.endpoints.choose(now, avoid, &mut self.random).ok_or(Refusal::NoEndpoint)?;
        let pass = match &mut self.breaker {
            None => None,
            Some(breaker) => Some(breaker.admit(now).map_err(Refusal::Circuit)?),
        };
        Ok(Ticket { chosen, pass })
    }

    /// Told what came of an attempt.
    pub(crate) fn end(&mut self, now: Duration, ticket: &Ticket, verdict: Verdict) {
        self.endpoints.record(now, ticket.chosen.id, verdict);
        if let (Some(breaker), Some(pass)) = (&mut self.breaker, ticket.pass) {
            breaker.record(now, pass, verdict);
        }
    }

    /// How long to wait before another attempt after `made`, where the failure allows one ([`super::may_repeat`]).
    /// `None` when all attempts or the budget are used up, or it would begin only when `left` is over.
    pub(crate) fn retry(
        &mut self,
        now: Duration,
        made: u32,
        retry_after: Option<Duration>,
        left: Duration,
    ) -> Option<Duration> {
        if made >= self.retries.attempts {
            return None;
        }
        let wait = backoff(&self.retries, made, retry_after, &mut self.random);
        (wait < left && self.budget.retry(now)).then_some(wait)
    }

    /// A number by chance that is not zero.
    pub(crate) fn id(&mut self) -> u64 {
        self.random.next_u64().max(1)
    }

    pub(crate) fn circuit(&self, now: Duration) -> Option<CircuitState> {
        self.breaker.as_ref().map(|breaker| breaker.state(now))
    }

    pub(crate) fn endpoints(&self, now: Duration) -> Vec<Seen> {
        self.endpoints.seen(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::super::{Circuit, Outliers};
    use super::*;

    /// Attempts for each call, and shares of calls that succeed, of a service of which some endpoints fail.
    struct Played {
        amplification: f64,
        succeeded: f64,
    }

    /// Plays a minute of calls on a clock of its own; each attempt takes 20 ms. `fails` says whether an endpoint does.
    fn play(policy: &Policy, seed: u64, endpoints: u16, fails: impl Fn(u64, u16) -> bool) -> Played {
        let mut decider = Decider::new(policy, seed);
        let address = |port| Address::parse(&format!("http://a:{port}")).unwrap();
        decider.set_endpoints((1..=endpoints).map(address).collect());
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        // Earliest first: time in ms, attempts that were made, endpoint that failed.
        let mut due: BinaryHeap<std::cmp::Reverse<(u64, u32, Option<u64>)>> =
            (0..6000).map(|_| std::cmp::Reverse((random.random_range(0..60_000), 0, None))).collect();
        let (mut calls, mut attempts, mut good) = (0.0, 0.0, 0.0);
        while let Some(std::cmp::Reverse((ms, made, avoid))) = due.pop() {
            let now = Duration::from_millis(ms);
            if made == 0 {
                calls += 1.0;
                if decider.call(now).is_err() {
                    continue;
                }
            }
            let Ok(ticket) = decider.begin(now, avoid) else { continue };
            attempts += 1.0;
            let port = ticket.address().port().unwrap();
            let failed = fails(ms, port);
            let then = now + Duration::from_millis(20);
            decider.end(then, &ticket, if failed { Verdict::Failed } else { Verdict::Good });
            if !failed {
                good += 1.0;
                continue;
            }
            if let Some(wait) = decider.retry(then, made + 1, None, Duration::from_secs(30)) {
                let next = u64::try_from((then + wait).as_millis()).unwrap();
                due.push(std::cmp::Reverse((next, made + 1, Some(ticket.endpoint()))));
            }
        }
        Played { amplification: attempts / calls, succeeded: good / calls }
    }

    fn plain() -> Policy {
        Policy { circuit: None, outliers: None, ..Policy::default() }
    }

    #[test]
    fn with_one_of_three_endpoints_failing_most_calls_succeed_within_the_budget() {
        for seed in 0..5 {
            let played = play(&plain(), seed, 3, |_, port| port == 1);
            assert!(played.amplification < 1.2 + 0.02, "{}", played.amplification);
            let policy = Policy { circuit: None, ..Policy::default() };
            let ejecting = play(&policy, seed, 3, |_, port| port == 1);
            assert!(ejecting.succeeded > 0.99, "{}", ejecting.succeeded);
            assert!(ejecting.amplification < 1.05, "{}", ejecting.amplification);
        }
    }

    #[test]
    fn a_service_that_fails_wholly_sees_no_storm() {
        for seed in 0..5 {
            let retries = Retries { attempts: 10, ..Retries::default() };
            let played = play(&Policy { retries, ..plain() }, seed, 3, |_, _| true);
            // The share, and the minimum of one in a second beside a hundred calls.
            assert!(played.amplification < 1.2 + 0.01 + 0.01, "{}", played.amplification);
            assert!(played.amplification > 1.15, "the budget is used: {}", played.amplification);
            let broken = play(&Policy { outliers: None, ..Policy::default() }, seed, 3, |_, _| true);
            assert!(broken.amplification < 0.1, "the circuit is open: {}", broken.amplification);
        }
    }

    #[test]
    fn an_outage_ends_and_so_does_the_open_circuit() {
        let played = play(&Policy::default(), 1, 3, |ms, _| (10_000..20_000).contains(&ms));
        assert!(played.succeeded > 0.6, "{}", played.succeeded);
    }

    #[test]
    fn the_same_seed_decides_alike() {
        let one = play(&plain(), 9, 3, |_, port| port == 1);
        let other = play(&plain(), 9, 3, |_, port| port == 1);
        assert_eq!(one.amplification.to_bits(), other.amplification.to_bits());
    }

    #[test]
    fn no_retry_begins_after_the_deadline_or_the_last_attempt() {
        let mut decider = Decider::new(&plain(), 1);
        let (now, asked) = (Duration::ZERO, Some(Duration::from_secs(9)));
        assert!(decider.retry(now, 1, asked, Duration::from_secs(9)).is_none());
        assert!(decider.retry(now, 1, asked, Duration::from_secs(10)).unwrap() >= Duration::from_secs(9));
        assert!(decider.retry(now, 3, None, Duration::from_secs(10)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn load_stays_below_one_and_the_budget_whatever_fails(
            seed in 0_u64..1000,
            share in 0.0..1.0_f64,
            pattern in prop::collection::vec(any::<bool>(), 60),
            endpoints in 1_u16..5,
            (circuit, outliers) in (any::<bool>(), any::<bool>()),
        ) {
            let retries = Retries { attempts: 20, budget_share: share, budget_minimum: 0.0, ..Retries::default() };
            let circuit = circuit.then(Circuit::default);
            let outliers = outliers.then(Outliers::default);
            let policy = Policy { retries, circuit, outliers, ..Policy::default() };
            let fails = |ms: u64, port: u16| pattern[usize::try_from(ms / 1000).unwrap() % 60] && port != 1;
            let all = play(&policy, seed, endpoints, |_, _| true);
            prop_assert!(all.amplification <= 1.0 + share + 1e-9);
            let some = play(&policy, seed, endpoints, fails);
            prop_assert!(some.amplification <= 1.0 + share + 1e-9);
        }
    }
}
