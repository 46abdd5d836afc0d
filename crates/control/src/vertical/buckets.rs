//! Where the buckets of a histogram begin.

use serde::{Deserialize, Serialize};

/// The most buckets that a histogram may have.
pub const MAX_BUCKETS: usize = 1000;

/// Buckets that grow: number `k` begins at `first · (ratio^k − 1) / (ratio − 1)`, and with a ratio of 1, the limit of
/// that, at `first · k`. The last one has no end.
///
/// Source: `vertical-pod-autoscaler/pkg/recommender/util/histogram_options.go` of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    first: f64,
    ratio: f64,
    count: usize,
    epsilon: f64,
}

/// Why buckets cannot be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BucketsError {
    /// A size, the largest value or the least weight is not above zero and finite.
    NotPositive {
        /// What.
        what: &'static str,
        /// The value.
        value: f64,
    },
    /// The ratio is below 1 or not finite.
    Ratio(f64),
    /// There would be more than [`MAX_BUCKETS`].
    TooMany,
}

impl std::fmt::Display for BucketsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPositive { what, value } => {
                write!(f, "the {what} of a histogram is {value}, expected a number above zero")
            }
            Self::Ratio(value) => write!(f, "buckets grow by a factor of {value}, expected 1 or above"),
            Self::TooMany => {
                write!(f, "a histogram may have {MAX_BUCKETS} buckets at most; make them larger")
            }
        }
    }
}
impl std::error::Error for BucketsError {}

impl Buckets {
    /// Buckets of which the first has size `first`, each further one `ratio` times that of the one before, and the
    /// last one begins at `max` or above. A bucket whose weight is below `epsilon` counts as empty.
    ///
    /// # Errors
    /// When a number is not above zero and finite, the ratio is below 1, or there would be more than [`MAX_BUCKETS`].
    pub fn new(max: f64, first: f64, ratio: f64, epsilon: f64) -> Result<Self, BucketsError> {
        for (what, value) in
            [("largest value", max), ("size of the first bucket", first), ("least weight", epsilon)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(BucketsError::NotPositive { what, value });
            }
        }
        if !(ratio.is_finite() && ratio >= 1.0) {
            return Err(BucketsError::Ratio(ratio));
        }
        let steps = (level(max / first, ratio)).ceil();
        if steps >= MAX_BUCKETS as f64 {
            return Err(BucketsError::TooMany);
        }
        Ok(Self { first, ratio, count: steps as usize + 1, epsilon })
    }

    /// Processor use in cores: the first bucket holds 0.01 core, the last begins at 1,000 cores or above, each is 5
    /// % larger.
    #[must_use]
    pub const fn cpu() -> Self {
        Self { first: 0.01, ratio: 1.05, count: 176, epsilon: EPSILON }
    }

    /// Memory in bytes: the first bucket holds 10 MB, the last begins at 1 TB or above, each is 5 % larger.
    #[must_use]
    pub const fn memory() -> Self {
        Self { first: 1e7, ratio: 1.05, count: 176, epsilon: EPSILON }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The weight below which a bucket counts as empty.
    #[must_use]
    pub const fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Where a bucket begins; one that does not exist counts as the last.
    #[must_use]
    pub fn start(&self, bucket: usize) -> f64 {
        let k = bucket.min(self.count - 1) as f64;
        if self.ratio > 1.0 {
            self.first * (self.ratio.powf(k) - 1.0) / (self.ratio - 1.0)
        } else {
            self.first * k
        }
    }

    /// The bucket of a value: below the first start (and for what is no number) the first one, beyond the last start
    /// the last one.
    #[must_use]
    pub fn find(&self, value: f64) -> usize {
        if value.is_nan() || value < self.first {
            return 0;
        }
        let guess = level(value / self.first, self.ratio);
        let mut bucket = (guess as usize).min(self.count - 1);
        // A logarithm lands beside the start of a bucket by its last digit.
        while bucket + 1 < self.count && self.start(bucket + 1) <= value {
            bucket += 1;
        }
        while bucket > 0 && self.start(bucket) > value {
            bucket -= 1;
        }
        bucket
    }

    /// The end of a bucket; of the last one, which has none, its start.
    #[must_use]
    pub fn end(&self, bucket: usize) -> f64 {
        self.start(bucket + 1)
    }
}

/// The least weight kept: a thousandth of the least weight of a sample, so that samples at the far end of eight
/// half-lives still count.
const EPSILON: f64 = 1e-4;

/// The number of the bucket, as a fraction, that begins at `multiple` times the first size.
fn level(multiple: f64, ratio: f64) -> f64 {
    if ratio > 1.0 { (multiple * (ratio - 1.0) + 1.0).ln() / ratio.ln() } else { multiple }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    /// `TestExponentialHistogramOptions` and `TestLinearHistogramOptions` of Kubernetes.
    #[test]
    fn the_buckets_are_those_of_kubernetes() {
        let growing = Buckets::new(500.0, 40.0, 1.5, 0.001).unwrap();
        assert_eq!(growing.count(), 6);
        let starts: Vec<_> = (0..6).map(|k| growing.start(k)).collect();
        for (start, expected) in starts.iter().zip([0.0, 40.0, 100.0, 190.0, 325.0, 527.5]) {
            assert!(close(*start, expected), "{starts:?}");
        }
        let found: Vec<_> = [-1.0, 39.99, 40.0, 100.0, 900.0].map(|value| growing.find(value)).to_vec();
        assert_eq!(found, [0, 0, 1, 2, 5]);
        let even = Buckets::new(5.0, 0.3, 1.0, 0.001).unwrap();
        assert_eq!(even.count(), 18);
        assert!(close(even.start(17), 5.1));
        assert_eq!([-1.0, 0.0, 1.3, 100.0].map(|value| even.find(value)), [0, 0, 4, 17]);
    }

    #[test]
    fn the_ready_made_ones_follow_from_their_rule() {
        let cpu = Buckets::new(1000.0, 0.01, 1.05, 1e-4).unwrap();
        assert_eq!(cpu, Buckets::cpu());
        let memory = Buckets::new(1e12, 1e7, 1.05, 1e-4).unwrap();
        assert_eq!(memory, Buckets::memory());
        assert!(cpu.start(cpu.count() - 1) >= 1000.0 && memory.start(memory.count() - 1) >= 1e12);
    }

    #[test]
    fn each_start_is_found_in_its_own_bucket() {
        for buckets in [Buckets::cpu(), Buckets::memory()] {
            for k in 0..buckets.count() {
                assert_eq!(buckets.find(buckets.start(k)), k);
                assert!(k + 1 == buckets.count() || buckets.end(k) > buckets.start(k));
            }
        }
        assert_eq!(Buckets::cpu().find(f64::NAN), 0);
        assert_eq!(Buckets::cpu().find(f64::INFINITY), Buckets::cpu().count() - 1);
    }

    #[test]
    fn impossible_buckets_are_refused() {
        assert!(matches!(Buckets::new(0.0, 1.0, 1.5, 1.0), Err(BucketsError::NotPositive { .. })));
        assert!(matches!(Buckets::new(1.0, f64::NAN, 1.5, 1.0), Err(BucketsError::NotPositive { .. })));
        assert!(matches!(Buckets::new(1.0, 1.0, 0.9, 1.0), Err(BucketsError::Ratio(_))));
        assert_eq!(Buckets::new(1e9, 1.0, 1.0, 1.0), Err(BucketsError::TooMany));
    }
}
