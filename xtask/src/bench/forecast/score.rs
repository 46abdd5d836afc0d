//! The arithmetic of judging: errors, skill, pinball loss, coverage.

use std::collections::HashMap;

use super::series::{Step, column, number, seconds};

/// The quantiles asked for; the outer two are the interval of 80 %.
pub(super) const QUANTILES: [&str; 3] = ["0.1", "0.5", "0.9"];
const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

/// What a forecaster said for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) mean: f64,
    pub(super) quantiles: Option<[f64; 3]>,
}

/// Reads the answer of a forecaster and lays it beside the steps.
///
/// # Errors
/// When a column or a judged step is missing, or a cell is no number.
pub(super) fn answers(text: &str, steps: &[Step]) -> Result<Vec<Said>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let at = |name: &str| column(&headers, name);
    let (issued, valid, mean) = (at("issued_at")?, at("valid_at")?, at("mean")?);
    let quantiles = QUANTILES.map(|level| at(&format!("q{level}")).ok());
    let mut said = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(|e| e.to_string())?;
        let quantiles = match quantiles {
            [Some(low), Some(middle), Some(high)] => {
                Some([number(&row[low])?, number(&row[middle])?, number(&row[high])?])
            }
            _ => None,
        };
        let key = (seconds(&row[issued])?, seconds(&row[valid])?);
        said.insert(key, Said { mean: number(&row[mean])?, quantiles });
    }
    let find = |step: &Step| said.get(&(step.issued, step.valid)).copied();
    let found: Option<Vec<Said>> = steps.iter().map(find).collect();
    found.ok_or_else(|| {
        let missing = steps.iter().filter(|step| find(step).is_none()).count();
        format!("no forecast for {missing} of {} steps", steps.len())
    })
}

/// Mean absolute error and root of the mean square error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Errors {
    pub(super) absolute: f64,
    pub(super) square: f64,
}

pub(super) fn errors(steps: &[Step], forecast: impl Iterator<Item = f64>) -> Errors {
    let (mut absolute, mut square) = (0.0, 0.0);
    for (step, forecast) in steps.iter().zip(forecast) {
        absolute += (forecast - step.actual).abs();
        square += (forecast - step.actual).powi(2);
    }
    let count = steps.len() as f64;
    Errors { absolute: absolute / count, square: (square / count).sqrt() }
}

/// The least mean absolute error of the first `count` references: what skill is measured against.
pub(super) fn best_naive(steps: &[Step], count: usize) -> f64 {
    let error = |at: usize| errors(steps, steps.iter().map(|step| step.references[at])).absolute;
    (0..count).map(error).fold(f64::INFINITY, f64::min)
}

/// The share of a naive forecast's error that is saved.
pub(super) fn skill(error: f64, naive: f64) -> f64 {
    1.0 - error / naive
}

/// Mean pinball loss over steps and quantiles.
pub(super) fn pinball(steps: &[Step], said: &[[f64; 3]]) -> f64 {
    let losses = steps.iter().zip(said).flat_map(|(step, quantiles)| {
        LEVELS.iter().zip(quantiles).map(|(level, quantile)| {
            let over = step.actual - quantile;
            (level * over).max((level - 1.0) * over)
        })
    });
    losses.sum::<f64>() / (3 * steps.len()) as f64
}

/// How many outcomes fell into the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inside {
    inside: usize,
    of: usize,
}

impl Inside {
    pub(super) fn share(self) -> f64 {
        self.inside as f64 / self.of as f64
    }

    pub(super) fn sum(counts: impl IntoIterator<Item = Self>) -> Self {
        counts.into_iter().fold(Self::default(), |a, b| Self { inside: a.inside + b.inside, of: a.of + b.of })
    }
}

/// Coverage by the hour of the day.
pub(super) type Hours = [Inside; 24];

pub(super) fn coverage(steps: &[Step], said: &[[f64; 3]]) -> Hours {
    let mut hours = Hours::default();
    for (step, [low, _, high]) in steps.iter().zip(said) {
        let hour = &mut hours[step.hour];
        hour.of += 1;
        hour.inside += usize::from((*low..=*high).contains(&step.actual));
    }
    hours
}

/// The least and the largest coverage of an hour of the day; hours that were not judged do not count.
pub(super) fn extremes(hours: &Hours) -> (f64, f64) {
    let shares = hours.iter().filter(|hour| hour.of > 0).map(|hour| hour.share());
    shares
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), share| (least.min(share), most.max(share)))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers of these cases are exact")]
mod tests {
    use super::*;

    /// Steps of an issue at time 0 with these outcomes, an hour apart from hour 1 on.
    fn steps(actual: &[f64]) -> Vec<Step> {
        let step = |(hour, actual): (usize, &f64)| Step {
            issued: 0,
            valid: 3600 * (hour as i64 + 1),
            actual: *actual,
            references: Vec::new(),
            hour: hour + 1,
        };
        actual.iter().enumerate().map(step).collect()
    }

    #[test]
    fn errors_are_means_over_the_steps() {
        let errors = errors(&steps(&[1.0, 2.0]), [4.0, -2.0].into_iter());
        assert_eq!(errors, Errors { absolute: 3.5, square: 12.5_f64.sqrt() });
    }

    #[test]
    fn skill_is_measured_against_the_better_naive_forecast() {
        let mut steps = steps(&[0.0, 0.0]);
        steps[0].references = vec![10.0, 0.0, 1.0];
        steps[1].references = vec![10.0, 16.0, 1.0];
        assert_eq!(best_naive(&steps, 2), 8.0);
        assert_eq!(skill(6.0, 8.0), 0.25);
        assert!(skill(9.0, 8.0) < 0.0);
    }

    #[test]
    fn pinball_weighs_the_side_on_which_a_quantile_fails() {
        // Above all quantiles by 10: (1 + 5 + 9) / 3. Below all by 10: (9 + 5 + 1) / 3.
        let said = [[0.0; 3]];
        assert!((pinball(&steps(&[10.0]), &said) - 5.0).abs() < 1e-12);
        assert!((pinball(&steps(&[-10.0]), &said) - 5.0).abs() < 1e-12);
        // Each quantile is off by 1 towards its cheap side: (0.1 + 0.1) / 3.
        assert!((pinball(&steps(&[0.0]), &[[-1.0, 0.0, 1.0]]) - 0.2 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn coverage_counts_by_hour_and_includes_the_ends() {
        let said = [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]];
        let mut steps = steps(&[0.0, 2.0, 2.1, 1.0]);
        steps[3].hour = 3;
        let hours = coverage(&steps, &said);
        assert_eq!(extremes(&hours), (0.5, 1.0));
        assert_eq!(Inside::sum(hours), Inside { inside: 3, of: 4 });
        assert_eq!(Inside::sum(hours).share(), 0.75);
    }

    #[test]
    fn an_answer_is_read_by_its_times_whatever_its_order_and_extra_columns() {
        let text = "issued_at,valid_at,mean,q0.1,q0.5,q0.9,method\n\
                    1970-01-01T00:00:00Z,1970-01-01T02:00:00Z,5,4,5,6,x\n\
                    1970-01-01T00:00:00Z,1970-01-01T02:00:00+01:00,3,1,2,4,x\n";
        let said = answers(text, &steps(&[0.0, 0.0])).unwrap();
        assert_eq!(said[0], Said { mean: 3.0, quantiles: Some([1.0, 2.0, 4.0]) });
        assert_eq!(said[1].mean, 5.0);
        assert_eq!(answers(text, &steps(&[0.0; 3])).unwrap_err(), "no forecast for 1 of 3 steps");
        let without = "issued_at,valid_at,mean\n1970-01-01T00:00:00Z,1970-01-01T01:00:00Z,nan\n";
        assert_eq!(answers(without, &steps(&[0.0])).unwrap_err(), "`nan` is no finite number");
    }
}
