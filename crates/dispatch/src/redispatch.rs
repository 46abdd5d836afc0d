//! Between two plans: who takes up what loads and renewables do otherwise than planned, by marginal cost.

use sos_units::{Power, Price};

/// A piece of what one unit can give in a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// Width, kW, zero or above.
    pub width: Power,
    /// What a kWh in it costs.
    pub price: Price,
}

/// What one unit can give in a tick: from its lowest power on in pieces, each at least as dear as the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// The unit.
    pub id: String,
    /// What the plan wants of it, kW.
    pub planned: Power,
    /// Its lowest power in the tick, kW.
    pub lowest: Power,
    /// What it can give above that.
    pub pieces: Vec<Piece>,
}

/// A part of a unit's range, above or below what is planned.
struct Part {
    unit: usize,
    width: f64,
    price: f64,
}

/// Powers that add up to `need` where the units can: the planned ones, and what differs from them at the least cost. Of equals
/// the first unit moves first.
#[must_use]
pub fn redispatch(supplies: &[Supply], need: Power) -> Vec<Power> {
    let mut powers: Vec<f64> = supplies.iter().map(planned).collect();
    let mut left = finite(need) - powers.iter().sum::<f64>();
    let up = left > 0.0;
    let mut parts: Vec<Part> = supplies
        .iter()
        .enumerate()
        .flat_map(|(unit, supply)| parts(unit, supply, powers[unit], up))
        .collect();
    // The sort is stable: of equals the first unit moves first.
    parts.sort_by(|a, b| if up { a.price.total_cmp(&b.price) } else { b.price.total_cmp(&a.price) });
    for part in parts {
        let moved = left.abs().min(part.width) * left.signum();
        powers[part.unit] += moved;
        left -= moved;
    }
    powers.into_iter().map(Power::kw).collect()
}

fn finite(power: Power) -> f64 {
    if power.is_finite() { power.as_kw() } else { 0.0 }
}

fn width(piece: &Piece) -> f64 {
    finite(piece.width).max(0.0)
}

/// What is planned, within what it can do.
fn planned(supply: &Supply) -> f64 {
    let lowest = finite(supply.lowest);
    let highest = lowest + supply.pieces.iter().map(width).sum::<f64>();
    finite(supply.planned).clamp(lowest, highest)
}

/// The parts of its range above or below a power.
fn parts(unit: usize, supply: &Supply, at: f64, up: bool) -> Vec<Part> {
    let mut from = finite(supply.lowest);
    let mut found = Vec::new();
    for piece in &supply.pieces {
        let to = from + width(piece);
        let width = if up { to - at.max(from) } else { at.min(to) - from };
        let price = piece.price.as_per_kwh();
        if width > 0.0 {
            found.push(Part { unit, width, price: if price.is_finite() { price } else { 0.0 } });
        }
        from = to;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn supply(planned: f64, lowest: f64, pieces: &[(f64, f64)]) -> Supply {
        let piece =
            |&(width, price): &(f64, f64)| Piece { width: Power::kw(width), price: Price::per_kwh(price) };
        Supply {
            id: "unit".into(),
            planned: Power::kw(planned),
            lowest: Power::kw(lowest),
            pieces: pieces.iter().map(piece).collect(),
        }
    }

    fn kw(powers: Vec<Power>) -> Vec<f64> {
        powers.into_iter().map(|power| (power.as_kw() * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn more_comes_from_the_cheapest_and_less_from_the_dearest() {
        // A generator between 4 and 10 kW, a battery between −5 and 5 kW.
        let units =
            [supply(6.0, 4.0, &[(4.0, 0.3), (2.0, 0.5)]), supply(1.0, -5.0, &[(5.0, 0.2), (5.0, 0.4)])];
        assert_eq!(kw(redispatch(&units, Power::kw(7.0))), [6.0, 1.0], "as planned");
        assert_eq!(kw(redispatch(&units, Power::kw(10.0))), [8.0, 2.0]);
        assert_eq!(kw(redispatch(&units, Power::kw(14.5))), [9.5, 5.0]);
        assert_eq!(kw(redispatch(&units, Power::kw(4.5))), [4.5, 0.0]);
        assert_eq!(kw(redispatch(&units, Power::kw(1.0))), [4.0, -3.0], "never below its least");
        assert_eq!(kw(redispatch(&units, Power::kw(50.0))), [10.0, 5.0]);
    }

    proptest! {
        #[test]
        fn powers_are_within_the_ranges_and_meet_the_need_where_they_can(
            units in prop::collection::vec((any::<f64>(), -9.0..9.0f64, prop::collection::vec((0.0..5.0f64, 0.0..1.0f64), 0..4)), 1..5),
            need in -60.0..60.0f64,
        ) {
            let units: Vec<Supply> = units.iter().map(|(planned, low, pieces)| supply(*planned, *low, pieces)).collect();
            let powers = redispatch(&units, Power::kw(need));
            let (mut lowest, mut highest) = (0.0, 0.0);
            for (unit, power) in units.iter().zip(&powers) {
                let low = unit.lowest.as_kw();
                let high = low + unit.pieces.iter().map(width).sum::<f64>();
                prop_assert!(power.as_kw() >= low - 1e-9 && power.as_kw() <= high + 1e-9);
                (lowest, highest) = (lowest + low, highest + high);
            }
            let sum: f64 = powers.iter().map(|power| power.as_kw()).sum();
            prop_assert!((sum - need.clamp(lowest, highest)).abs() < 1e-6);
        }
    }
}
