//! How good a forecast was. All functions skip pairs that are not finite and return none when nothing is left.

/// Mean absolute error.
#[must_use]
pub fn mae(pairs: &[(f64, f64)]) -> Option<f64> {
    mean(pairs.iter().map(|(forecast, actual)| (forecast - actual).abs()))
}

/// Mean error, forecast − actual: positive when forecasts are too high.
#[must_use]
pub fn bias(pairs: &[(f64, f64)]) -> Option<f64> {
    mean(pairs.iter().map(|(forecast, actual)| forecast - actual))
}

/// Mean pinball loss of quantile `q`.
#[must_use]
pub fn pinball(q: f64, pairs: &[(f64, f64)]) -> Option<f64> {
    mean(pairs.iter().map(|(f, a)| if a >= f { q * (a - f) } else { (1.0 - q) * (f - a) }))
}

/// Share of outcomes at or below the forecast quantile; close to `q` when calibrated.
#[must_use]
pub fn coverage(pairs: &[(f64, f64)]) -> Option<f64> {
    mean(
        pairs.iter().map(
            |(f, a)| if f.is_finite() && a.is_finite() { f64::from(u8::from(a <= f)) } else { f64::NAN },
        ),
    )
}

/// 1 − error / reference error: 0 as good as the reference, 1 perfect.
#[must_use]
pub fn skill(error: f64, reference: f64) -> Option<f64> {
    (reference > 0.0 && error.is_finite()).then(|| 1.0 - error / reference)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.filter(|v| v.is_finite()).fold((0.0, 0_u64), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinball_weighs_the_two_sides() {
        assert!((pinball(0.9, &[(1.0, 2.0)]).unwrap() - 0.9).abs() < 1e-12);
        assert!((pinball(0.9, &[(2.0, 1.0)]).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(mae(&[(f64::NAN, 1.0)]), None);
        assert_eq!(coverage(&[(1.0, 1.0), (1.0, 2.0)]), Some(0.5));
    }
}
