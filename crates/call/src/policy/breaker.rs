//! When a service that fails is left alone.

use std::time::Duration;

use super::Circuit;
use super::retry::Verdict;
use super::window::Window;

/// What a circuit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything goes through.
    Closed,
    /// Nothing goes through.
    Open,
    /// Some attempts go through and decide.
    HalfOpen,
}

/// A circuit breaker: closed while few attempts fail, open for a time when many do, then half open.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    rules: Circuit,
    state: State,
    /// Attempts and failures.
    window: Window,
    /// Counts changes of state: results of attempts from before a change say nothing about what is after it.
    era: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { under_way: u32, succeeded: u32 },
}

/// An attempt was let through, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    era: u64,
}

impl Breaker {
    pub(super) fn new(rules: Circuit) -> Self {
        Self { rules, state: State::Closed, window: Window::new(rules.window), era: 0 }
    }

    /// Whether an attempt would be let through.
    ///
    /// # Errors
    /// How long the circuit stays open; zero while probes decide.
    pub(super) fn would_admit(&self, now: Duration) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => Ok(()),
            State::HalfOpen { under_way, succeeded } if under_way + succeeded < self.rules.probes => Ok(()),
            State::HalfOpen { .. } => Err(Duration::ZERO),
        }
    }

    /// Lets an attempt through, of which [`Breaker::record`] must be told.
    ///
    /// # Errors
    /// Those of [`Breaker::would_admit`].
    pub(super) fn admit(&mut self, now: Duration) -> Result<Pass, Duration> {
        self.would_admit(now)?;
        if let State::Open { .. } = self.state {
            self.change(State::HalfOpen { under_way: 0, succeeded: 0 });
        }
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way += 1;
        }
        Ok(Pass { era: self.era })
    }

    /// Told what came of an attempt.
    pub(super) fn record(&mut self, now: Duration, pass: Pass, verdict: Verdict) {
        if pass.era != self.era {
            return;
        }
        let Circuit { probes, failure_share, minimum_calls, open_for, .. } = self.rules;
        match (&mut self.state, verdict) {
            (State::Closed, Verdict::Unknown) | (State::Open { .. }, _) => {}
            (State::Closed, verdict) => {
                self.window.add(now, [1, u32::from(verdict == Verdict::Failed)]);
                let [all, failed] = self.window.sums(now);
                if all >= minimum_calls && f64::from(failed) >= failure_share * f64::from(all) {
                    self.change(State::Open { until: now + open_for });
                }
            }
            (State::HalfOpen { .. }, Verdict::Failed) => self.change(State::Open { until: now + open_for }),
            (State::HalfOpen { under_way, succeeded }, verdict) => {
                *under_way -= 1;
                *succeeded += u32::from(verdict == Verdict::Good);
                if *succeeded >= probes {
                    self.change(State::Closed);
                }
            }
        }
    }

    pub(super) fn state(&self, now: Duration) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } | State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Circuit = Circuit {
        failure_share: 0.5,
        minimum_calls: 4,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 2,
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(RULES);
        for verdict in [Verdict::Good, Verdict::Good, Verdict::Failed, Verdict::Failed] {
            let pass = breaker.admit(secs(1)).unwrap();
            breaker.record(secs(1), pass, verdict);
        }
        assert_eq!(breaker.state(secs(1)), CircuitState::Open);
        breaker
    }

    #[test]
    fn few_failures_and_few_calls_open_nothing() {
        let mut breaker = Breaker::new(RULES);
        for verdict in [Verdict::Failed, Verdict::Failed, Verdict::Failed, Verdict::Unknown] {
            let pass = breaker.admit(secs(1)).unwrap();
            breaker.record(secs(1), pass, verdict);
        }
        assert_eq!(breaker.state(secs(1)), CircuitState::Closed, "three attempts are too few");
        let pass = breaker.admit(secs(12)).unwrap();
        breaker.record(secs(12), pass, Verdict::Failed);
        assert_eq!(breaker.state(secs(12)), CircuitState::Closed, "the others are forgotten");
    }

    #[test]
    fn an_open_circuit_lets_only_probes_through_and_closes_when_they_succeed() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(secs(4)), Err(secs(2)));
        let probes = [breaker.admit(secs(6)).unwrap(), breaker.admit(secs(6)).unwrap()];
        assert_eq!(breaker.admit(secs(6)), Err(Duration::ZERO));
        for probe in probes {
            assert_eq!(breaker.state(secs(7)), CircuitState::HalfOpen);
            breaker.record(secs(7), probe, Verdict::Good);
        }
        assert_eq!(breaker.state(secs(7)), CircuitState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_again_and_one_that_says_nothing_makes_room() {
        let mut breaker = opened();
        let (first, second) = (breaker.admit(secs(6)).unwrap(), breaker.admit(secs(6)).unwrap());
        breaker.record(secs(6), first, Verdict::Unknown);
        let third = breaker.admit(secs(6)).unwrap();
        breaker.record(secs(7), second, Verdict::Failed);
        assert_eq!(breaker.admit(secs(7)), Err(secs(5)));
        breaker.record(secs(8), third, Verdict::Good);
        assert_eq!(breaker.state(secs(8)), CircuitState::Open, "a result from before says nothing");
    }

    proptest! {
        #[test]
        fn never_more_than_the_probes_are_under_way_while_it_is_not_closed(
            steps in prop::collection::vec((0_u64..3, any::<bool>(), 0_u8..3), 1..200),
        ) {
            let mut breaker = Breaker::new(RULES);
            let (mut now, mut passes) = (0, Vec::<(u64, Pass)>::new());
            for (step, begin, verdict) in steps {
                now += step;
                if begin {
                    let open = breaker.state(secs(now)) != CircuitState::Closed;
                    if let Ok(pass) = breaker.admit(secs(now)) {
                        passes.push((breaker.era, pass));
                        let probing = passes.iter().filter(|(era, _)| *era == breaker.era).count();
                        prop_assert!(!open || probing <= 2);
                    }
                } else if !passes.is_empty() {
                    let verdict = [Verdict::Good, Verdict::Failed, Verdict::Unknown][usize::from(verdict)];
                    let (_, pass) = passes.remove(0);
                    breaker.record(secs(now), pass, verdict);
                }
            }
        }
    }
}
