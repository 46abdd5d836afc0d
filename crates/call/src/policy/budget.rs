//! How many retries all calls of a service may make together.
//!
//! Retries that each call decides on for itself multiply the load of a service just when it fails. A budget bounds the
//! load at 1 + share, whatever fails (Google SRE book, chapter 22; Finagle's `RetryBudget`).

use std::time::Duration;

use super::Retries;
use super::window::Window;

/// How far back calls pay for retries.
const WINDOW: Duration = Duration::from_secs(10);

/// What is left for retries.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    share: f64,
    minimum: f64,
    /// Calls and retries.
    window: Window,
}

impl Budget {
    pub(super) fn new(retries: &Retries) -> Self {
        let minimum = retries.budget_minimum * WINDOW.as_secs_f64();
        Self { share: retries.budget_share, minimum, window: Window::new(WINDOW) }
    }

    /// Told of a call, which pays in.
    pub(super) fn call(&mut self, now: Duration) {
        self.window.add(now, [1, 0]);
    }

    /// Takes one retry, where there is one left.
    pub(super) fn retry(&mut self, now: Duration) -> bool {
        let [calls, retries] = self.window.sums(now).map(f64::from);
        let left = retries + 1.0 <= calls * self.share + self.minimum;
        if left {
            self.window.add(now, [0, 1]);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_pay_for_retries_and_the_minimum_is_there_anyway() {
        let retries = Retries { budget_share: 0.5, budget_minimum: 0.2, ..Retries::default() };
        let mut budget = Budget::new(&retries);
        let now = Duration::from_secs(100);
        assert!(budget.retry(now) && budget.retry(now) && !budget.retry(now));
        for _ in 0..4 {
            budget.call(now);
        }
        assert!(budget.retry(now) && budget.retry(now) && !budget.retry(now));
        assert!(budget.retry(now + WINDOW), "the minimum comes back");
    }

    proptest! {
        #[test]
        fn retries_never_exceed_share_and_minimum(
            share in 0.0..2.0_f64,
            minimum in 0.0..3.0_f64,
            steps in prop::collection::vec((0_u64..1500, 0_u32..20, 0_u32..40), 1..80),
        ) {
            let mut budget = Budget::new(&Retries { budget_share: share, budget_minimum: minimum, ..Retries::default() });
            let (mut now, mut calls, mut retries) = (0, 0.0, 0.0);
            for (step, new, wanted) in steps {
                now += step;
                let at = Duration::from_millis(now);
                for _ in 0..new {
                    budget.call(at);
                    calls += 1.0;
                }
                for _ in 0..wanted {
                    retries += f64::from(u32::from(budget.retry(at)));
                }
                let windows = f64::from(u32::try_from(now / 10_000 + 1).unwrap());
                prop_assert!(retries <= share * calls + minimum * 10.0 * windows + 1e-9, "{retries} of {calls} calls");
            }
        }
    }
}
