//! A solar inverter that can be curtailed.

use sos_units::Power;

use crate::{from_watts, whole_watts};

/// The power that flows when `available` could and at most `limit` may. Whole watts, zero or above.
#[must_use]
pub fn step(available: Power, limit: Option<Power>) -> Power {
    let available = whole_watts(available).max(0);
    let limit = limit.map_or(available, |limit| whole_watts(limit).max(0));
    from_watts(available.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_only_narrows() {
        assert_eq!(step(Power::kw(2.0), Some(Power::kw(1.5))), Power::kw(1.5));
        assert_eq!(step(Power::kw(2.0), Some(Power::kw(3.0))), Power::kw(2.0));
        assert_eq!(step(Power::kw(2.0), Some(Power::kw(-1.0))), Power::ZERO);
        assert_eq!(step(Power::kw(2.0), None), Power::kw(2.0));
    }

    #[test]
    fn what_the_cells_draw_at_night_is_no_generation() {
        assert_eq!(step(Power::kw(-0.1), None), Power::ZERO);
        assert_eq!(step(Power::kw(f64::NAN), None), Power::ZERO);
    }
}
