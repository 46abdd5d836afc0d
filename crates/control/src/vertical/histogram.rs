//! A histogram that forgets.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::buckets::Buckets;

/// The weight in a checkpoint of the heaviest bucket; all others are relative to it.
pub const MAX_CHECKPOINT_WEIGHT: u32 = 10_000;

/// The exponent of the decay beyond which all weights are made smaller instead.
const MAX_DECAY_EXPONENT: f64 = 100.0;

/// What may be left of a weight, as a share of it, when it was added to others and taken out again.
const ROUNDING: f64 = 1e-12;

/// Weights by bucket. A sample's weight is multiplied by `2^((time − reference) / half-life)`, so that newer ones
/// count for more; the reference is moved, and all weights made smaller, before that grows beyond `2^100`.
///
/// Source: `vertical-pod-autoscaler/pkg/recommender/util/{histogram,decaying_histogram}.go` of Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    buckets: Buckets,
    half_life: SignedDuration,
    /// In half-lives since 1970; none before the first sample.
    reference: Option<i64>,
    weights: Vec<f64>,
    /// The most that a bucket has weighed; it fades like the weights do.
    heaviest: f64,
}

/// A histogram in few bytes: each weight is rounded to a ten-thousandth of the heaviest one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistogramCheckpoint {
    /// The time at which a sample has its own weight, in half-lives since 1970.
    pub reference: Option<i64>,
    /// Weights by bucket, 1 … 10,000.
    pub bucket_weights: BTreeMap<usize, u32>,
    /// What they add up to.
    pub total_weight: f64,
}

/// Why histograms do not go together, or a checkpoint is of no use.
#[derive(Clone, Debug, PartialEq)]
pub enum HistogramError {
    /// The half-life is not above zero.
    HalfLife,
    /// They have other buckets or another half-life.
    Mismatch,
    /// A checkpoint names a bucket that does not exist.
    Bucket {
        /// The bucket.
        bucket: usize,
        /// How many there are.
        count: usize,
    },
    /// A bucket of a checkpoint weighs more than [`MAX_CHECKPOINT_WEIGHT`].
    Weight(u32),
    /// The reference time of a checkpoint lies beyond the calendar.
    Reference(i64),
    /// The total weight of a checkpoint is below zero, not a number, or too large to be one of ours.
    Total(f64),
}

impl std::fmt::Display for HistogramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HalfLife => f.write_str("the half-life of a histogram must be above zero"),
            Self::Mismatch => f.write_str("the histograms have other buckets or another half-life"),
            Self::Bucket { bucket, count } => {
                write!(f, "the checkpoint names bucket {bucket}, expected one of 0 to {}", count - 1)
            }
            Self::Weight(weight) => {
                write!(f, "the checkpoint has a weight of {weight}, expected {MAX_CHECKPOINT_WEIGHT} at most")
            }
            Self::Reference(reference) => {
                write!(
                    f,
                    "the reference time of the checkpoint, {reference} half-lives, lies beyond the calendar"
                )
            }
            Self::Total(total) => {
                write!(f, "the checkpoint has a total weight of {total}, expected zero or above and finite")
            }
        }
    }
}
impl std::error::Error for HistogramError {}

impl Histogram {
    /// An empty one.
    ///
    /// # Errors
    /// When the half-life is not above zero.
    pub fn new(buckets: Buckets, half_life: SignedDuration) -> Result<Self, HistogramError> {
        if half_life <= SignedDuration::ZERO {
            return Err(HistogramError::HalfLife);
        }
        Ok(Self { buckets, half_life, reference: None, weights: vec![0.0; buckets.count()], heaviest: 0.0 })
    }

    /// Adds a sample. What has no weight above zero, or is no number, is left out.
    pub fn add(&mut self, value: f64, weight: f64, at: Timestamp) {
        if !usable(value, weight) {
            return;
        }
        let bucket = self.buckets.find(value);
        let weight = weight * self.decay(at);
        self.weights[bucket] += weight;
        self.heaviest = self.heaviest.max(self.weights[bucket]);
    }

    /// Takes a sample out that was added before; what is left below the least weight, or is no more than what rounding
    /// leaves of the heaviest bucket there was, becomes nothing.
    pub fn subtract(&mut self, value: f64, weight: f64, at: Timestamp) {
        if !usable(value, weight) {
            return;
        }
        let bucket = self.buckets.find(value);
        let weight = weight * self.decay(at);
        let left = self.weights[bucket] - weight;
        let nothing = self.buckets.epsilon().max(ROUNDING * self.heaviest);
        self.weights[bucket] = if left < nothing { 0.0 } else { left };
    }

    /// Adds all that another one holds.
    ///
    /// # Errors
    /// When its buckets or its half-life are others.
    pub fn merge(&mut self, other: &Self) -> Result<(), HistogramError> {
        if self.buckets != other.buckets || self.half_life != other.half_life {
            return Err(HistogramError::Mismatch);
        }
        let Some(theirs) = other.reference else { return Ok(()) };
        let ours = self.reference.unwrap_or(theirs);
        self.shift(ours.max(theirs));
        let factor = power_of_two(theirs, ours.max(theirs));
        for (weight, more) in self.weights.iter_mut().zip(&other.weights) {
            *weight += more * factor;
        }
        self.heaviest =
            self.weights.iter().copied().fold(self.heaviest.max(other.heaviest * factor), f64::max);
        Ok(())
    }

    /// The end of the bucket up to which a share `percentile` (0 … 1) of all weight lies; of the last bucket its
    /// start. `None` when there is nothing.
    #[must_use]
    pub fn percentile(&self, percentile: f64) -> Option<f64> {
        let full = |weight: &f64| *weight >= self.buckets.epsilon();
        let first = self.weights.iter().position(full)?;
        let last = self.weights.iter().rposition(full)?;
        let threshold = percentile * self.total();
        let mut sum = 0.0;
        let mut bucket = first;
        while bucket < last {
            sum += self.weights[bucket];
            if sum >= threshold {
                break;
            }
            bucket += 1;
        }
        Some(self.buckets.end(bucket))
    }

    /// Whether no bucket holds as much as the least weight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.iter().all(|weight| *weight < self.buckets.epsilon())
    }

    /// All weight, as of the reference time.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// What is needed to go on after a restart.
    #[must_use]
    pub fn checkpoint(&self) -> HistogramCheckpoint {
        let heaviest = self.weights.iter().copied().fold(0.0, f64::max);
        if heaviest < self.buckets.epsilon() {
            return HistogramCheckpoint::default();
        }
        let relative = |weight: &f64| (weight / heaviest * f64::from(MAX_CHECKPOINT_WEIGHT)).round() as u32;
        let weights = self.weights.iter().map(relative).enumerate().filter(|(_, weight)| *weight > 0);
        HistogramCheckpoint {
            reference: self.reference,
            bucket_weights: weights.collect(),
            total_weight: self.total(),
        }
    }

    /// The histogram that a checkpoint was made of, as exact as the checkpoint is.
    ///
    /// # Errors
    /// When the half-life is not above zero or the checkpoint is not one of such a histogram.
    pub fn restore(
        buckets: Buckets,
        half_life: SignedDuration,
        checkpoint: &HistogramCheckpoint,
    ) -> Result<Self, HistogramError> {
        let mut histogram = Self::new(buckets, half_life)?;
        let total = checkpoint.total_weight;
        if !(total.is_finite() && (0.0..=f64::exp2(2.0 * MAX_DECAY_EXPONENT)).contains(&total)) {
            return Err(HistogramError::Total(total));
        }
        let calendar = histogram.half_lives(Timestamp::MIN)..=histogram.half_lives(Timestamp::MAX);
        if let Some(reference) = checkpoint.reference.filter(|at| !calendar.contains(&(*at as f64))) {
            return Err(HistogramError::Reference(reference));
        }
        for (&bucket, &weight) in &checkpoint.bucket_weights {
            if bucket >= buckets.count() {
                return Err(HistogramError::Bucket { bucket, count: buckets.count() });
            }
            if weight > MAX_CHECKPOINT_WEIGHT {
                return Err(HistogramError::Weight(weight));
            }
        }
        let sum: f64 = checkpoint.bucket_weights.values().map(|weight| f64::from(*weight)).sum();
        if sum > 0.0 {
            for (&bucket, &weight) in &checkpoint.bucket_weights {
                histogram.weights[bucket] = f64::from(weight) * total / sum;
            }
        }
        histogram.heaviest = histogram.weights.iter().copied().fold(0.0, f64::max);
        histogram.reference = checkpoint.reference;
        Ok(histogram)
    }

    fn half_lives(&self, at: Timestamp) -> f64 {
        at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() / self.half_life.as_secs_f64()
    }

    /// The factor of a sample at `at`; moves the reference when it would grow too large.
    fn decay(&mut self, at: Timestamp) -> f64 {
        let at = self.half_lives(at);
        let reference = match self.reference {
            Some(reference) if at - reference as f64 <= MAX_DECAY_EXPONENT => reference,
            _ => {
                self.shift(at.round() as i64);
                at.round() as i64
            }
        };
        (at - reference as f64).exp2()
    }

    fn shift(&mut self, reference: i64) {
        let factor = self.reference.map_or(1.0, |before| power_of_two(before, reference));
        for weight in &mut self.weights {
            *weight *= factor;
        }
        self.heaviest *= factor;
        self.reference = Some(reference);
    }
}

/// What weights are multiplied by when their reference moves.
fn power_of_two(from: i64, to: i64) -> f64 {
    (from as f64 - to as f64).exp2()
}

fn usable(value: f64, weight: f64) -> bool {
    !value.is_nan() && weight.is_finite() && weight > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten buckets of 1 as in the tests of Kubernetes.
    fn plain() -> Histogram {
        let buckets = Buckets::new(10.0, 1.0, 1.0, 1e-15).unwrap();
        Histogram::new(buckets, SignedDuration::from_hours(1)).unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        // The arbitrary time of those tests.
        Timestamp::from_second(1_234_567_890 + 3600 * hours).unwrap()
    }

    fn expect(histogram: &Histogram, values: &[(f64, f64)]) {
        for (percentile, value) in values {
            let found = histogram.percentile(*percentile).unwrap();
            assert!((found - value).abs() < 1e-12, "percentile {percentile} is {found}, expected {value}");
        }
    }

    /// `TestPercentiles` and `TestNoDecay` of Kubernetes.
    #[test]
    fn percentiles_without_decay_are_those_of_kubernetes() {
        let mut histogram = plain();
        for i in 1..=4 {
            histogram.add(f64::from(i), f64::from(i), at(0));
        }
        let values = [2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0, 5.0, 5.0, 5.0, 5.0];
        let expected: Vec<_> = (0..=10).map(|i| f64::from(i) / 10.0).zip(values).collect();
        expect(&histogram, &expected);
        // `TestPercentileOutOfBounds`.
        expect(&histogram, &[(-0.1, 2.0), (1.1, 5.0)]);
    }

    /// `TestDecayingHistogramPercentiles` of Kubernetes.
    #[test]
    fn percentiles_with_decay_are_those_of_kubernetes() {
        let mut histogram = plain();
        for i in 1..=4_i32 {
            histogram.add(f64::from(i), f64::from(i), at(i64::from(i) - 1));
        }
        let values = [
            (0.0, 2.0),
            (0.02, 2.0),
            (0.03, 3.0),
            (0.10, 3.0),
            (0.11, 4.0),
            (0.34, 4.0),
            (0.35, 5.0),
            (1.0, 5.0),
        ];
        expect(&histogram, &values);
    }

    /// `TestSimpleDecay` and `TestLongtermDecay` of Kubernetes.
    #[test]
    fn what_is_old_fades_and_at_last_is_gone() {
        let mut histogram = plain();
        histogram.add(2.0, 1000.0, at(0));
        histogram.add(1.0, 1.0, at(20));
        expect(&histogram, &[(0.999, 2.0), (1.0, 3.0)]);
        let mut histogram = plain();
        histogram.add(2.0, 1.0, at(0));
        histogram.add(1.0, 1.0, at(101));
        expect(&histogram, &[(1.0, 2.0)]);
    }

    /// `TestEmptyHistogram` and `TestNonEmptyOnEpsilonAddition` of Kubernetes.
    #[test]
    fn less_than_the_least_weight_is_nothing() {
        let mut histogram = plain();
        assert_eq!((histogram.is_empty(), histogram.percentile(0.5)), (true, None));
        // At a time with a factor of exactly 1.
        let now = Timestamp::from_second(3600 * 342_935).unwrap();
        histogram.add(0.1, 2.5e-15, now);
        assert!(!histogram.is_empty());
        histogram.subtract(0.1, 1e-15, now);
        assert!(!histogram.is_empty());
        histogram.subtract(0.1, 1e-15, now);
        assert!(histogram.is_empty());
        histogram.add(9.9, 3e-15, now);
        histogram.add(0.1, 0.3e-15, now);
        histogram.add(999.9, 0.3e-15, now);
        assert!(!histogram.is_empty());
    }

    /// `TestDecayingHistogramMerge` of Kubernetes.
    #[test]
    fn merged_histograms_hold_the_samples_of_both() {
        let (mut one, mut other, mut both) = (plain(), plain(), plain());
        for (value, hour) in [(1.0, 0), (2.0, 1)] {
            one.add(value, 1.0, at(hour));
        }
        for (value, hour) in [(2.0, 2), (3.0, 1)] {
            other.add(value, 1.0, at(hour));
        }
        for (value, hour) in [(2.0, 2), (2.0, 1), (3.0, 1), (1.0, 0)] {
            both.add(value, 1.0, at(hour));
        }
        one.merge(&other).unwrap();
        for percentile in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
            assert_eq!(one.percentile(percentile), both.percentile(percentile));
        }
        let elsewhere = Histogram::new(Buckets::cpu(), SignedDuration::from_hours(1)).unwrap();
        assert_eq!(one.merge(&elsewhere), Err(HistogramError::Mismatch));
    }

    /// `TestHistogramSaveToCheckpointForMultipleValues`, `…DropsRelativelySmallValues` and
    /// `TestHistogramLoadFromCheckpoint` of Kubernetes.
    #[test]
    fn a_checkpoint_holds_what_it_does_in_kubernetes() {
        let now = Timestamp::from_second(3600 * 342_935).unwrap();
        let mut histogram = plain();
        for (value, weight) in [(1.0, 1.0), (2.0, 10_000.0), (3.0, 50.0)] {
            histogram.add(value, weight, now);
        }
        let checkpoint = histogram.checkpoint();
        assert_eq!(checkpoint.bucket_weights, BTreeMap::from([(1, 1), (2, 10_000), (3, 50)]));
        assert!((checkpoint.total_weight - 10_051.0).abs() < 1e-9);

        let mut histogram = plain();
        histogram.add(1.0, 1.0, now);
        histogram.add(2.0, 100_000.0, now);
        assert_eq!(histogram.checkpoint().bucket_weights, BTreeMap::from([(2, 10_000)]));
        assert_eq!(plain().checkpoint(), HistogramCheckpoint::default());

        let checkpoint = HistogramCheckpoint {
            reference: Some(1),
            bucket_weights: BTreeMap::from([(0, 1), (1, 2)]),
            total_weight: 6.0,
        };
        let restored = Histogram::restore(plain().buckets, plain().half_life, &checkpoint).unwrap();
        assert!((restored.weights[0] - 2.0).abs() < 1e-12 && (restored.weights[1] - 4.0).abs() < 1e-12);
    }

    /// `TestHistogramIsNotEmptyAfterSavingAndLoadingCheckpointsWithBoundaryValues` of Kubernetes.
    #[test]
    fn a_checkpoint_of_weights_at_the_least_one_is_not_empty() {
        let now = Timestamp::from_second(3600 * 342_935).unwrap();
        let mut histogram = plain();
        histogram.add(1.0, 1e-15, now);
        histogram.add(2.0, f64::from(MAX_CHECKPOINT_WEIGHT) * 1e-15 - 1e-15, now);
        let restored =
            Histogram::restore(plain().buckets, plain().half_life, &histogram.checkpoint()).unwrap();
        assert!(!restored.is_empty() && restored.percentile(0.0).is_some());
    }

    #[test]
    fn checkpoints_of_something_else_are_refused_with_the_reason() {
        let restore = |bucket, weight, total_weight| {
            let bucket_weights = BTreeMap::from([(bucket, weight)]);
            let checkpoint = HistogramCheckpoint { reference: Some(0), bucket_weights, total_weight };
            Histogram::restore(plain().buckets, plain().half_life, &checkpoint)
        };
        assert_eq!(restore(99, 1, 1.0), Err(HistogramError::Bucket { bucket: 99, count: 11 }));
        assert_eq!(restore(1, 10_001, 1.0), Err(HistogramError::Weight(10_001)));
        assert_eq!(restore(1, 1, -1.0), Err(HistogramError::Total(-1.0)));
        assert!(restore(1, 1, f64::INFINITY).is_err() && restore(1, 1, f64::NAN).is_err());
        assert!(Histogram::new(plain().buckets, SignedDuration::ZERO).is_err());
    }

    #[test]
    fn what_rounding_leaves_of_large_weights_is_nothing() {
        let mut histogram = plain();
        let samples = [(0.3, 0), (7.7, 90), (1.9, 88), (3.1, 95), (0.1, 99)];
        histogram.add(9.0, 1e-9, at(0));
        for (weight, hour) in samples {
            histogram.add(2.5, weight, at(hour));
        }
        for (weight, hour) in samples {
            histogram.subtract(2.5, weight, at(hour));
        }
        assert!(histogram.weights[2].abs() < f64::MIN_POSITIVE, "{histogram:?}");
        assert_eq!(histogram.percentile(0.0), Some(10.0));
    }

    #[test]
    fn samples_that_are_no_numbers_change_nothing() {
        let mut histogram = plain();
        histogram.add(f64::NAN, 1.0, at(0));
        histogram.add(1.0, f64::NAN, at(0));
        histogram.add(1.0, -1.0, at(0));
        histogram.subtract(1.0, 1.0, Timestamp::MIN);
        histogram.add(1.0, 1.0, Timestamp::MAX);
        histogram.add(3.0, 1.0, Timestamp::MIN);
        assert_eq!(histogram.percentile(1.0), Some(2.0));
    }
}
