//! Sharing whole amounts without a remainder.

/// The largest amount that is shared out exactly.
const MOST: i128 = 1 << 66;

/// Parts of `total` in proportion to `weights`, which add up to `total` exactly; the whole where no weight is above
/// zero goes to nobody: `None`. Weights that are no numbers, or not above zero, count as zero. `total` is taken as
/// at most 2^66 and at least 0.
///
/// # Guarantees
/// Each part lies within one of its exact share (but for weights below 2^-44 of the heaviest), and none is below
/// zero.
#[must_use]
pub fn apportion(total: i128, weights: &[f64]) -> Option<Vec<i128>> {
    const UNIT: f64 = (1_u64 << 44) as f64;
    let total = total.clamp(0, MOST);
    let usable = |weight: &f64| if weight.is_finite() && *weight > 0.0 { *weight } else { 0.0 };
    let heaviest = weights.iter().map(usable).fold(0.0, f64::max);
    if heaviest <= 0.0 {
        return None;
    }
    let units: Vec<i128> = weights.iter().map(|weight| (usable(weight) / heaviest * UNIT) as i128).collect();
    let all: i128 = units.iter().sum();
    // Each part is the difference of two rounded running shares: what one loses by rounding the next one gains.
    let mut sum = 0;
    let mut given = 0;
    let parts = units.iter().map(|unit| {
        sum += unit;
        // 2^66 times 2^44 times a hundred thousand shares fits.
        let until = (total * sum + all / 2) / all;
        let part = until - given;
        given = until;
        part
    });
    Some(parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_follow_the_weights() {
        assert_eq!(apportion(10, &[1.0, 1.0, 2.0]), Some(vec![3, 2, 5]));
        assert_eq!(apportion(1, &[1.0, 1.0, 1.0]), Some(vec![0, 1, 0]));
        assert_eq!(apportion(7, &[0.0, f64::NAN, -1.0, 3.0]), Some(vec![0, 0, 0, 7]));
        assert_eq!(apportion(7, &[0.0, f64::INFINITY]), None);
        assert_eq!(apportion(7, &[]), None);
        assert_eq!(apportion(i128::MAX, &[1.0]), Some(vec![MOST]));
        assert_eq!(apportion(-5, &[1.0]), Some(vec![0]));
        let many = apportion(MOST, &vec![1.0; 2000]).unwrap();
        assert_eq!(many.iter().sum::<i128>(), MOST);
    }
}
