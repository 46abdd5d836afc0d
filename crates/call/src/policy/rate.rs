//! How many attempts there are in a time.

use std::time::Duration;

use super::Rate;

/// The generic cell rate algorithm (ITU-T I.371): one number, the time at which the next attempt is due when all come
/// evenly; an attempt may be early by the burst.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    between: Duration,
    early: Duration,
    due: Duration,
}

impl Bucket {
    pub(super) fn new(rate: &Rate) -> Self {
        let between = Duration::from_secs_f64(1.0 / rate.per_second);
        Self { between, early: between * (rate.burst - 1), due: Duration::ZERO }
    }

    /// Takes the next place, where it comes within `patience`, and says how long it is until then.
    ///
    /// # Errors
    /// How long it would be.
    pub(super) fn take(&mut self, now: Duration, patience: Duration) -> Result<Duration, Duration> {
        let due = self.due.max(now);
        let wait = due.saturating_sub(self.early).saturating_sub(now);
        if wait > patience {
            return Err(wait);
        }
        self.due = due + self.between;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_a_burst_places_come_evenly() {
        let mut bucket = Bucket::new(&Rate { per_second: 10.0, burst: 3 });
        let now = Duration::from_secs(7);
        let patience = Duration::from_millis(200);
        let takes: Vec<_> = (0..6).map(|_| bucket.take(now, patience)).collect();
        let ms = Duration::from_millis;
        assert_eq!(takes, [Ok(ms(0)), Ok(ms(0)), Ok(ms(0)), Ok(ms(100)), Ok(ms(200)), Err(ms(300))]);
        assert_eq!(bucket.take(now + ms(300), Duration::ZERO), Ok(ms(0)));
    }

    proptest! {
        #[test]
        fn no_time_has_more_than_rate_and_burst(
            per_second in 0.5..50.0_f64,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let mut bucket = Bucket::new(&Rate { per_second, burst });
            let (mut now, mut starts) = (Duration::ZERO, vec![]);
            for step in steps {
                now += Duration::from_millis(step);
                if let Ok(wait) = bucket.take(now, Duration::from_secs(2)) {
                    starts.push((now + wait).as_secs_f64());
                }
            }
            for (at, first) in starts.iter().enumerate() {
                for (more, last) in starts[at..].iter().enumerate() {
                    let allowed = (last - first) * per_second + f64::from(burst) + 1e-6;
                    prop_assert!(f64::from(u32::try_from(more + 1).unwrap()) <= allowed);
                }
            }
        }
    }
}
