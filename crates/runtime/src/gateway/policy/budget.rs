//! How many retries all requests of a service may make together: whatever fails, replicas see at most 1 + share of the requests
//! (Google SRE book, chapter 22).

use std::time::Duration;

use super::window::Window;
use crate::gateway::options::Retries;

/// What is left for retries.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Budget {
    share: f64,
    minimum: f64,
    /// Requests and retries.
    window: Window,
}

impl Budget {
    pub(in crate::gateway) fn new(retries: &Retries) -> Self {
        Self {
            share: retries.budget_share,
            minimum: retries.budget_minimum * 10.0,
            window: Window::default(),
        }
    }

    /// New limits; what was spent is spent.
    pub(in crate::gateway) fn limit(&mut self, retries: &Retries) {
        (self.share, self.minimum) = (retries.budget_share, retries.budget_minimum * 10.0);
    }

    /// Told of a request, which pays in.
    pub(in crate::gateway) fn request(&mut self, now: Duration) {
        self.window.add(now, [1, 0]);
    }

    /// Takes one retry, where there is one left.
    pub(in crate::gateway) fn retry(&mut self, now: Duration) -> bool {
        let [requests, retries] = self.window.sums(now).map(f64::from);
        let left = retries + 1.0 <= requests * self.share + self.minimum;
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

    fn retries(budget_share: f64, budget_minimum: f64) -> Retries {
        Retries { budget_share, budget_minimum, ..Retries::default() }
    }

    #[test]
    fn requests_pay_for_retries_and_the_minimum_is_there_anyway() {
        let mut budget = Budget::new(&retries(0.5, 0.2));
        let now = Duration::from_secs(100);
        assert!(budget.retry(now) && budget.retry(now) && !budget.retry(now));
        for _ in 0..4 {
            budget.request(now);
        }
        assert!(budget.retry(now) && budget.retry(now) && !budget.retry(now));
        assert!(budget.retry(now + Duration::from_secs(10)), "the minimum comes back");
        budget.limit(&retries(0.0, 0.0));
        assert!(!budget.retry(now + Duration::from_secs(30)));
    }

    proptest! {
        #[test]
        fn retries_never_exceed_share_and_minimum(
            share in 0.0..1.0_f64,
            minimum in 0.0..3.0_f64,
            steps in prop::collection::vec((0_u64..1500, 0_u32..20, 0_u32..40), 1..80),
        ) {
            let mut budget = Budget::new(&retries(share, minimum));
            let (mut now, mut requests, mut repeated) = (0, 0.0, 0.0);
            for (step, new, wanted) in steps {
                now += step;
                let at = Duration::from_millis(now);
                for _ in 0..new {
                    budget.request(at);
                    requests += 1.0;
                }
                for _ in 0..wanted {
                    repeated += f64::from(u32::from(budget.retry(at)));
                }
                let windows = f64::from(u32::try_from(now / 10_000 + 1).unwrap());
                prop_assert!(repeated <= share * requests + minimum * 10.0 * windows + 1e-9, "{repeated} of {requests}");
            }
        }
    }
}
