//! What kind of series this is, from its values alone.

use crate::config::Character;

/// Share of the times of day that are dark in a solar series, at least and at most.
const NIGHT: std::ops::Range<f64> = 0.15..0.85;
/// A time of day is dark when at least this share of its values is none.
const DARK: f64 = 0.97;
/// Days before a night is believed.
const FEWEST_DAYS: usize = 3;

impl Character {
    /// [`Character::Solar`] for a series that is dark at the same times each day and was never negative beyond a
    /// hundredth of its largest value (inverters on stand-by); [`Character::Rate`] (0 or above) for one that never was
    /// negative; else [`Character::Any`]. `values` holds what is known, oldest first, `per_day` steps a day, missing
    /// values as `NAN`.
    #[must_use]
    pub fn guessed(values: &[f64], per_day: usize) -> Self {
        let known = || values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = known().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high || low < -0.01 * high.abs() {
            return if low > high { Self::Rate } else { Self::Any };
        }
        if is_dark_each_night(values, per_day, 0.002 * high) {
            return Self::Solar;
        }
        if low < 0.0 { Self::Any } else { Self::Rate }
    }
}

fn is_dark_each_night(values: &[f64], per_day: usize, none: f64) -> bool {
    if per_day < 12 || values.len() < FEWEST_DAYS * per_day {
        return false;
    }
    let dark = (0..per_day)
        .filter(|slot| {
            let there: Vec<f64> =
                values.iter().skip(*slot).step_by(per_day).copied().filter(|v| v.is_finite()).collect();
            let nothing = there.iter().filter(|v| **v <= none).count();
            !there.is_empty() && nothing as f64 >= DARK * there.len() as f64
        })
        .count();
    NIGHT.contains(&(dark as f64 / per_day as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_series_is_seen_in_its_values() {
        let sun = |at: usize| ((at % 24) as f64 - 6.0) / 12.0;
        let solar: Vec<f64> = (0..240)
            .map(|at| if (0.0..1.0).contains(&sun(at)) { (sun(at) * 3.2).sin().max(0.0) } else { -0.001 })
            .collect();
        assert_eq!(Character::guessed(&solar, 24), Character::Solar);
        let load: Vec<f64> = (0..240).map(|at| 1.0 + (at % 24) as f64).collect();
        assert_eq!(Character::guessed(&load, 24), Character::Rate);
        let price: Vec<f64> = (0..240).map(|at| (at % 24) as f64 - 5.0).collect();
        assert_eq!(Character::guessed(&price, 24), Character::Any);
        assert_eq!(Character::guessed(&[f64::NAN; 50], 24), Character::Rate);
        assert_eq!(Character::guessed(&[0.0; 240], 24), Character::Rate);
    }
}
