//! Orders of a grid operator about controllable consumption (§14a EnWG, decision BK6-22-300 of the Bundesnetzagentur):
//! how much power remains behind one energy manager, and how the devices share it.

use sos_units::Power;

/// Power that a single controllable device keeps, kW.
const SINGLE_KW: f64 = 4.2;

/// Simultaneity factors for 2, 3 … 8 devices; from 9 on the last one.
const SIMULTANEITY: [f64; 8] = [0.80, 0.75, 0.70, 0.65, 0.60, 0.55, 0.50, 0.45];

/// Power from the grid that `devices` controllable devices behind one energy manager keep under an order, kW as a size:
/// `4.2 + (n − 1) · f(n) · 4.2`; nothing without a device.
#[must_use]
pub fn least_power(devices: usize) -> Power {
    let Some(others) = devices.checked_sub(1) else { return Power::ZERO };
    let Some(index) = others.checked_sub(1) else { return Power::kw(SINGLE_KW) };
    let factor = SIMULTANEITY[index.min(SIMULTANEITY.len() - 1)];
    Power::kw(SINGLE_KW + others as f64 * factor * SINGLE_KW)
}

/// Shares `allowed` over devices that want `wanted`, all of them consumption in kW as sizes: equal shares, and what a
/// device does not need is shared by the others.
///
/// # Guarantees
/// Nobody gets more than it wants, all together never more than `allowed`; who gets less than it wants gets at least
/// `allowed / n` and as much as anyone. Values below zero and not finite count as none.
#[must_use]
pub fn fair_shares(allowed: Power, wanted: &[Power]) -> Vec<Power> {
    let size = |power: Power| if power.is_finite() { power.as_kw().max(0.0) } else { 0.0 };
    let wanted: Vec<f64> = wanted.iter().copied().map(size).collect();
    let mut left = size(allowed);
    // From the least on, everyone is offered an equal part of what is left.
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut shares = vec![Power::ZERO; wanted.len()];
    for (done, &device) in order.iter().enumerate() {
        let offered = left / (wanted.len() - done) as f64;
        let taken = wanted[device].min(offered);
        left = (left - taken).max(0.0);
        shares[device] = Power::kw(taken);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kw(powers: &[f64]) -> Vec<Power> {
        powers.iter().copied().map(Power::kw).collect()
    }

    /// Worked values of BK6-22-300 for one to five devices; the others by the formula.
    #[test]
    fn the_operator_leaves_what_the_table_says() {
        let table = [4.2, 7.56, 10.5, 13.02, 15.12, 16.8, 18.06, 18.9, 19.32, 21.21];
        for (n, expected) in table.into_iter().enumerate() {
            let found = least_power(n + 1).as_kw();
            assert!((found - expected).abs() < 1e-9, "{} devices: {found} instead of {expected}", n + 1);
        }
        assert_eq!(least_power(0), Power::ZERO);
    }

    #[test]
    fn who_needs_less_leaves_its_rest_to_the_others() {
        let shares = fair_shares(least_power(3), &kw(&[11.0, 2.0, 4.0]));
        assert_eq!(shares, kw(&[4.5, 2.0, 4.0]));
        assert_eq!(fair_shares(Power::kw(9.0), &kw(&[11.0, 5.0, 4.0])), kw(&[3.0, 3.0, 3.0]));
        assert_eq!(fair_shares(Power::kw(9.0), &[]), Vec::new());
    }

    proptest! {
        #[test]
        fn shares_are_fair_and_never_too_much(
            allowed in prop::num::f64::ANY, wanted in prop::collection::vec(prop::num::f64::ANY, 0..12),
        ) {
            let size = |kw: f64| if kw.is_finite() { kw.max(0.0) } else { 0.0 };
            let shares = fair_shares(Power::kw(allowed), &kw(&wanted));
            let sum: f64 = shares.iter().map(|share| share.as_kw()).sum();
            prop_assert!(sum <= size(allowed) * (1.0 + 1e-12), "{sum} of {allowed}");
            let most = shares.iter().fold(0.0_f64, |most, share| most.max(share.as_kw()));
            let part = size(allowed) / wanted.len().max(1) as f64;
            for (share, wanted) in shares.iter().zip(&wanted) {
                let share = share.as_kw();
                prop_assert!(share >= 0.0 && share <= size(*wanted));
                let full = share >= size(*wanted);
                prop_assert!(full || share >= part * (1.0 - 1e-12), "{share} below {part}");
                prop_assert!(full || share >= most * (1.0 - 1e-9), "{share} below {most}");
            }
        }
    }
}
