//! How long to wait before the next try.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Waits that double from try to try, each somewhere between half of it and all of it, so that many who failed
/// together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait at most.
    pub first: Duration,
    /// Every wait at most.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row, 1 for the first.
    pub fn wait(&self, failures: u32, random: &mut ChaCha8Rng) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
        let whole = self.first.saturating_mul(factor).min(self.longest);
        whole.mul_f64(random.random_range(0.5..=1.0))
    }
}

pub(super) fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        let mut random = random(1);
        for (failures, whole) in [(1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (u32::MAX, 10.0)] {
            let wait = backoff.wait(failures, &mut random).as_secs_f64();
            assert!(wait >= whole / 2.0 && wait <= whole, "{failures}: {wait}");
        }
    }
}
