//! Seeded variation within a step of the data that keeps the step's energy, to the watt-second.

use sos_units::Power;

use crate::{from_watts, whole_watts};

/// Largest relative deviation of a sub-step from the mean, before rounding, in thousandths.
const AMPLITUDE: u64 = 300;
const UNIT: u64 = 1_000;

/// The power of every sub-step of one step: whole watts of the same sign as `mean`, whose sum is exactly
/// `substeps × mean` (`mean` in whole watts). The same arguments give the same values on every machine.
#[must_use]
pub fn profile(seed: u64, step_index: u64, substeps: u32, mean: Power) -> Vec<Power> {
    let count = u64::from(substeps);
    let weights: Vec<u64> = (0..count).map(|k| weight(seed, step_index, k)).collect();
    let total_weight = i128::from(weights.iter().sum::<u64>().max(1));
    let total = i128::from(whole_watts(mean)) * i128::from(count);
    let (mut weight_so_far, mut given) = (0_i128, 0_i128);
    weights
        .into_iter()
        .map(|weight| {
            // The running total is rounded, not each share, so the last one closes the sum exactly.
            weight_so_far += i128::from(weight);
            let upto = total * weight_so_far / total_weight;
            let share = upto - given;
            given = upto;
            from_watts(i64::try_from(share).unwrap_or(0))
        })
        .collect()
}

/// One value of [`profile`]; the mean itself where there is no such sub-step.
#[must_use]
pub fn variation(seed: u64, step_index: u64, substep: u32, substeps: u32, mean: Power) -> Power {
    let whole = from_watts(whole_watts(mean));
    profile(seed, step_index, substeps, mean).get(substep as usize).copied().unwrap_or(whole)
}

/// Half of the deviation changes with every sub-step, half with every eighth one: appliances run for a while.
fn weight(seed: u64, step: u64, substep: u64) -> u64 {
    let fast = mix(seed, step, substep) % (AMPLITUDE + 1);
    let slow = mix(!seed, step, substep / 8) % (AMPLITUDE + 1);
    UNIT - AMPLITUDE + fast + slow
}

/// SplitMix64's finaliser over the three numbers (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
fn mix(seed: u64, step: u64, substep: u64) -> u64 {
    let mut state = seed;
    for part in [step, substep] {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(part);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_energy_of_the_step_is_kept_exactly(
            seed in any::<u64>(), step in any::<u64>(), substeps in 1_u32..400, watts in -30_000_i64..30_000,
        ) {
            let profile = profile(seed, step, substeps, from_watts(watts));
            let sum: i64 = profile.iter().map(|power| whole_watts(*power)).sum();
            prop_assert_eq!(sum, watts * i64::from(substeps));
            prop_assert!(profile.iter().all(|power| power.as_kw() * watts as f64 >= 0.0));
            prop_assert!(profile.iter().all(|power| whole_watts(*power).abs() <= watts.abs() * 13 / 7 + 1));
        }
    }

    #[test]
    fn it_varies_and_depends_on_seed_and_step() {
        let kw = Power::kw(2.0);
        assert_ne!(profile(1, 0, 12, kw), profile(2, 0, 12, kw));
        assert_ne!(profile(1, 0, 12, kw), profile(1, 1, 12, kw));
        assert_eq!(profile(1, 0, 12, kw), profile(1, 0, 12, kw));
        assert_eq!(variation(1, 0, 3, 12, kw), profile(1, 0, 12, kw)[3]);
        assert!(profile(1, 0, 12, kw).iter().any(|power| *power != kw));
    }

    #[test]
    fn nothing_stays_nothing() {
        assert!(profile(7, 7, 9, Power::ZERO).iter().all(|power| *power == Power::ZERO));
        assert_eq!(variation(1, 0, 9, 0, Power::kw(1.0)), Power::kw(1.0));
    }
}
