//! Which copy of a service is asked, and which is left out.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt as _};

use super::retry::Verdict;
use super::window::Window;
use super::{Balance, Outliers};
use crate::http::Address;

/// How far back the share of failures looks.
const WINDOW: Duration = Duration::from_secs(30);

/// The copies of a service.
#[derive(Debug)]
pub(super) struct Endpoints {
    balance: Balance,
    rules: Option<Outliers>,
    all: Vec<Endpoint>,
    /// Where the next round goes on.
    turn: usize,
    /// Number of the next endpoint that is new.
    next: u64,
}

#[derive(Debug)]
struct Endpoint {
    /// Tells it from one with the same address that came later.
    id: u64,
    address: Arc<Address>,
    in_flight: u32,
    /// Failures in a row.
    row: u32,
    /// Attempts and failures.
    window: Window,
    ejected_until: Option<Duration>,
    /// How often it was left out lately.
    times: u32,
}

/// An endpoint that was chosen for an attempt.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) id: u64,
    pub(super) address: Arc<Address>,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) address: Arc<Address>,
    pub(crate) in_flight: u32,
    pub(crate) ejected: bool,
}

impl Endpoints {
    pub(super) const fn new(balance: Balance, rules: Option<Outliers>) -> Self {
        Self { balance, rules, all: vec![], turn: 0, next: 0 }
    }

    /// Takes a new list; what is known of those that stay is kept.
    pub(super) fn set(&mut self, addresses: Vec<Address>) {
        let mut old = std::mem::take(&mut self.all);
        for address in addresses {
            if self.all.iter().any(|known| *known.address == address) {
                continue;
            }
            let known = old.iter().position(|known| *known.address == address);
            let endpoint = known.map(|at| old.swap_remove(at)).unwrap_or_else(|| {
                self.next += 1;
                Endpoint {
                    id: self.next,
                    address: Arc::new(address),
                    in_flight: 0,
                    row: 0,
                    window: Window::new(WINDOW),
                    ejected_until: None,
                    times: 0,
                }
            });
            self.all.push(endpoint);
        }
    }

    /// Chooses one, not the one to be avoided where there is another. `None` without endpoints.
    pub(super) fn choose(
        &mut self,
        now: Duration,
        avoid: Option<u64>,
        random: &mut impl Rng,
    ) -> Option<Chosen> {
        let fit = |endpoint: &Endpoint| !endpoint.is_ejected(now) && Some(endpoint.id) != avoid;
        let mut count = self.all.iter().filter(|endpoint| fit(endpoint)).count();
        // Nothing else is left: even one that just failed is better than none.
        let any = count == 0;
        if any {
            count = self.all.len();
        }
        let nth = |rank: usize| {
            let mut fitting = self.all.iter().enumerate().filter(|(_, endpoint)| any || fit(endpoint));
            fitting.nth(rank).map(|(at, _)| at)
        };
        let at = match (count, self.balance) {
            (0, _) => None,
            (1, _) => nth(0),
            (_, Balance::RoundRobin) => {
                self.turn = self.turn.wrapping_add(1);
                nth(self.turn % count)
            }
            (_, Balance::LeastOfTwo) => {
                let one = random.random_range(0..count);
                let other = (one + random.random_range(1..count)) % count;
                let (one, other) = (nth(one)?, nth(other)?);
                Some(if self.all[other].in_flight < self.all[one].in_flight { other } else { one })
            }
        };
        let endpoint = &mut self.all[at?];
        endpoint.in_flight += 1;
        Some(Chosen { id: endpoint.id, address: Arc::clone(&endpoint.address) })
    }

    /// Told what came of an attempt.
    pub(super) fn record(&mut self, now: Duration, id: u64, verdict: Verdict) {
        let Some(at) = self.all.iter().position(|endpoint| endpoint.id == id) else { return };
        self.all[at].in_flight = self.all[at].in_flight.saturating_sub(1);
        let Some(rules) = self.rules else { return };
        if self.all[at].is_bad(now, verdict, &rules) && self.may_eject(now, &rules) {
            self.all[at].eject(now, &rules);
        }
    }

    pub(super) fn seen(&self, now: Duration) -> Vec<Seen> {
        let seen = |endpoint: &Endpoint| Seen {
            address: Arc::clone(&endpoint.address),
            in_flight: endpoint.in_flight,
            ejected: endpoint.is_ejected(now),
        };
        self.all.iter().map(seen).collect()
    }

    fn may_eject(&self, now: Duration, rules: &Outliers) -> bool {
        let ejected = self.all.iter().filter(|endpoint| endpoint.is_ejected(now)).count();
        let allowed = self.all.len() * usize::from(rules.ejected_at_most_percent) / 100;
        // A single one of few may always go, or a service of two copies could lose none; one always stays.
        let allowed = allowed.max(usize::from(rules.ejected_at_most_percent > 0));
        ejected < allowed.min(self.all.len().saturating_sub(1))
    }
}

impl Endpoint {
    fn is_ejected(&self, now: Duration) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Counts an attempt; whether the endpoint should be left out because of it.
    fn is_bad(&mut self, now: Duration, verdict: Verdict, rules: &Outliers) -> bool {
        if verdict == Verdict::Unknown || self.is_ejected(now) {
            return false;
        }
        self.calm(now, rules);
        let failed = verdict == Verdict::Failed;
        self.row = if failed { self.row + 1 } else { 0 };
        self.window.add(now, [1, u32::from(failed)]);
        let [all, failures] = self.window.sums(now);
        let row = rules.consecutive_failures.is_some_and(|most| self.row >= most);
        let share = rules
            .failure_share
            .is_some_and(|share| all >= rules.minimum_calls && f64::from(failures) >= share * f64::from(all));
        failed && (row || share)
    }

    fn eject(&mut self, now: Duration, rules: &Outliers) {
        self.times = self.times.saturating_add(1);
        let time = rules.ejected_for.saturating_mul(self.times).min(rules.ejected_for_at_most);
        self.ejected_until = Some(now + time);
        self.row = 0;
        self.window.clear();
    }

    /// For each ejection time that it was there again, one ejection is forgotten.
    fn calm(&mut self, now: Duration, rules: &Outliers) {
        let Some(until) = self.ejected_until else { return };
        let step = rules.ejected_for.max(Duration::from_millis(1));
        let calm = now.saturating_sub(until).as_nanos() / step.as_nanos();
        if calm > 0 {
            self.times = self.times.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX));
            self.ejected_until =
                (self.times > 0).then_some(until + step * u32::try_from(calm).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha12Rng;

    use super::*;

    const RULES: Outliers = Outliers {
        consecutive_failures: Some(3),
        failure_share: Some(0.8),
        minimum_calls: 10,
        ejected_for: Duration::from_secs(10),
        ejected_for_at_most: Duration::from_secs(25),
        ejected_at_most_percent: 50,
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn of(count: u16, balance: Balance) -> (Endpoints, ChaCha12Rng) {
        let mut endpoints = Endpoints::new(balance, Some(RULES));
        endpoints.set((1..=count).map(|port| Address::parse(&format!("http://a:{port}")).unwrap()).collect());
        (endpoints, ChaCha12Rng::seed_from_u64(3))
    }

    fn fail(endpoints: &mut Endpoints, id: u64, now: u64, times: u32) {
        for _ in 0..times {
            endpoints.record(secs(now), id, Verdict::Failed);
        }
    }

    fn ejected(endpoints: &Endpoints, now: u64) -> Vec<bool> {
        endpoints.seen(secs(now)).iter().map(|seen| seen.ejected).collect()
    }

    #[test]
    fn the_less_busy_of_two_is_asked() {
        let (mut endpoints, mut random) = of(4, Balance::LeastOfTwo);
        for _ in 0..400 {
            endpoints.choose(secs(0), None, &mut random).unwrap();
        }
        let busy: Vec<_> = endpoints.seen(secs(0)).iter().map(|seen| seen.in_flight).collect();
        assert!(busy.iter().all(|count| (95..=105).contains(count)), "{busy:?}");
    }

    #[test]
    fn in_turn_each_is_asked_as_often() {
        let (mut endpoints, mut random) = of(3, Balance::RoundRobin);
        for _ in 0..30 {
            endpoints.choose(secs(0), None, &mut random).unwrap();
        }
        assert!(endpoints.seen(secs(0)).iter().all(|seen| seen.in_flight == 10));
    }

    #[test]
    fn one_that_just_failed_is_avoided_where_there_is_another() {
        let (mut endpoints, mut random) = of(2, Balance::LeastOfTwo);
        for _ in 0..20 {
            assert_eq!(endpoints.choose(secs(0), Some(1), &mut random).unwrap().id, 2);
        }
        let (mut alone, mut random) = of(1, Balance::LeastOfTwo);
        assert_eq!(alone.choose(secs(0), Some(1), &mut random).unwrap().id, 1);
        assert!(of(0, Balance::LeastOfTwo).0.choose(secs(0), None, &mut random).is_none());
    }

    #[test]
    fn one_that_fails_is_left_out_for_longer_each_time_and_forgiven_later() {
        let (mut endpoints, _) = of(2, Balance::LeastOfTwo);
        fail(&mut endpoints, 1, 0, 2);
        assert_eq!(ejected(&endpoints, 0), [false, false]);
        fail(&mut endpoints, 1, 0, 1);
        assert_eq!(ejected(&endpoints, 9), [true, false]);
        fail(&mut endpoints, 1, 10, 3);
        assert_eq!(
            (ejected(&endpoints, 29), ejected(&endpoints, 30)),
            (vec![true, false], vec![false, false])
        );
        fail(&mut endpoints, 1, 30, 3);
        assert_eq!(
            (ejected(&endpoints, 54), ejected(&endpoints, 55)),
            (vec![true, false], vec![false, false])
        );
        fail(&mut endpoints, 1, 200, 3);
        assert_eq!(
            (ejected(&endpoints, 209), ejected(&endpoints, 210)),
            (vec![true, false], vec![false, false])
        );
    }

    #[test]
    fn a_share_of_failures_is_enough_where_successes_are_between() {
        let (mut endpoints, _) = of(2, Balance::LeastOfTwo);
        for at in 0..10 {
            let verdict = if at == 2 || at == 5 { Verdict::Good } else { Verdict::Failed };
            assert_eq!(ejected(&endpoints, 0), [false, false], "{at}");
            endpoints.rules.as_mut().unwrap().consecutive_failures = None;
            endpoints.record(secs(0), 2, verdict);
        }
        assert_eq!(ejected(&endpoints, 0), [false, true]);
    }

    #[test]
    fn a_new_list_keeps_what_is_known_of_those_that_stay() {
        let (mut endpoints, mut random) = of(2, Balance::LeastOfTwo);
        fail(&mut endpoints, 2, 0, 3);
        endpoints.choose(secs(0), None, &mut random).unwrap();
        let address = |port: u16| Address::parse(&format!("http://a:{port}")).unwrap();
        endpoints.set(vec![address(2), address(9), address(2)]);
        let seen = endpoints.seen(secs(0));
        assert_eq!(seen.iter().map(|seen| seen.ejected).collect::<Vec<_>>(), [true, false]);
        endpoints.record(secs(0), 1, Verdict::Good);
        assert_eq!(endpoints.seen(secs(0)), seen, "what came of one that is gone changes nothing");
    }

    proptest! {
        #[test]
        fn ejection_never_removes_all_nor_more_than_allowed(
            count in 1_u16..8,
            percent in 0_u8..=100,
            steps in prop::collection::vec((0_u64..4, 1_u64..8, 0_u8..4), 1..300),
        ) {
            let (mut endpoints, mut random) = of(count, Balance::LeastOfTwo);
            endpoints.rules.as_mut().unwrap().ejected_at_most_percent = percent;
            let mut now = 0;
            for (step, id, verdict) in steps {
                now += step;
                let verdict = if verdict == 0 { Verdict::Good } else { Verdict::Failed };
                endpoints.record(secs(now), id, verdict);
                let out = ejected(&endpoints, now).iter().filter(|ejected| **ejected).count();
                prop_assert!(out < usize::from(count));
                let allowed = (usize::from(count) * usize::from(percent) / 100).max(usize::from(percent > 0));
                prop_assert!(out <= allowed);
                let chosen = endpoints.choose(secs(now), None, &mut random).unwrap();
                let index = usize::try_from(chosen.id).unwrap() - 1;
                prop_assert!(!ejected(&endpoints, now)[index]);
            }
        }
    }
}
