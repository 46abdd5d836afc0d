//! From one metric to a number of replicas: whole thousandths, percentages cut off, ratios as floats, as upstream.

use super::{HpaError, PodTotals, Tolerance};

/// What one metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Replicas.
    pub(super) replicas: i32,
    /// Usage as a percentage of the requests, of a target that is one.
    pub(super) utilization: Option<i32>,
    /// Mean a pod, or the value itself where that is the target; thousandths.
    pub(super) value: i64,
}

/// Rounds up. What no number of replicas can be becomes the nearest that can.
fn ceil(replicas: f64) -> i32 {
    // The cast saturates, and turns NaN (nothing of nothing) into 0.
    replicas.ceil() as i32
}

/// The target as a share of the requests, percent.
///
/// # Errors
/// When no sample has a request or the target is not above zero.
pub(super) fn by_utilization(
    current: i32,
    target: i32,
    totals: &PodTotals,
    tolerance: Tolerance,
) -> Result<Asked, HpaError> {
    positive(i64::from(target))?;
    let percent = |usage: i64, requests: i64| {
        if requests == 0 {
            return Err(HpaError::NoMatchingPods);
        }
        let share = i128::from(usage) * 100 / i128::from(requests);
        Ok(i32::try_from(share).unwrap_or(if share < 0 { i32::MIN } else { i32::MAX }))
    };
    let utilization = percent(totals.usage, totals.requests)?;
    let value = totals.usage / totals.matched.max(1);
    let replicas = propose(current, totals, tolerance, totals.missing_fallback, |sum| {
        Ok(f64::from(percent(sum.usage, sum.requests)?) / f64::from(target))
    })?;
    Ok(Asked { replicas, utilization: Some(utilization), value })
}

/// The target as a mean a pod, thousandths.
///
/// # Errors
/// When there is no sample or the target is not above zero.
pub(super) fn by_average(
    current: i32,
    target: i64,
    totals: &PodTotals,
    tolerance: Tolerance,
) -> Result<Asked, HpaError> {
    positive(target)?;
    if totals.samples == 0 {
        return Err(HpaError::NoReadySamples);
    }
    let fallback = target.saturating_mul(totals.missing.pods);
    let replicas = propose(current, totals, tolerance, fallback, |sum| {
        Ok((sum.usage / sum.samples) as f64 / target as f64)
    })?;
    Ok(Asked { replicas, utilization: None, value: totals.usage / totals.samples })
}

/// The common part: what the ready pods ask for, and whether it still holds with the others thought in.
fn propose(
    current: i32,
    totals: &PodTotals,
    tolerance: Tolerance,
    fallback: i64,
    ratio_of: impl Fn(&PodTotals) -> Result<f64, HpaError>,
) -> Result<i32, HpaError> {
    let ratio = ratio_of(totals)?;
    let up_with_unready = totals.unready.pods > 0 && ratio > 1.0;
    if !up_with_unready && totals.missing.pods == 0 {
        let within = tolerance.holds(ratio);
        return Ok(if within { current } else { ceil(ratio * totals.ready as f64) });
    }
    let mut all = *totals;
    let mut include = |share: super::PodShare, usage: i64| {
        all.samples += share.pods;
        all.requests = all.requests.saturating_add(share.requests);
        all.usage = all.usage.saturating_add(usage);
    };
    if ratio < 1.0 {
        include(totals.missing, fallback);
    } else if ratio > 1.0 {
        include(totals.missing, 0);
    }
    if up_with_unready {
        include(totals.unready, 0);
    }
    let again = ratio_of(&all)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if tolerance.holds(again) || turned {
        return Ok(current);
    }
    let replicas = ceil(again * all.samples as f64);
    let against = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    Ok(if against { current } else { replicas })
}

/// The target as a value of something else than the pods; `ready` says how many pods run and are ready.
///
/// # Errors
/// When the target is not above zero, or what `ready` says.
pub(super) fn by_value(
    current: i32,
    total: i64,
    target: i64,
    tolerance: Tolerance,
    ready: impl FnOnce() -> Result<i64, HpaError>,
) -> Result<Asked, HpaError> {
    positive(target)?;
    let ratio = total as f64 / target as f64;
    let replicas = if current == 0 {
        ceil(ratio)
    } else if tolerance.holds(ratio) {
        current
    } else {
        ceil(ratio * ready()? as f64)
    };
    Ok(Asked { replicas, utilization: None, value: total })
}

/// The target as a share for each replica of a value of something else than the pods.
///
/// # Errors
/// When the target is not above zero.
pub(super) fn by_share(
    replicas: i32,
    total: i64,
    target: i64,
    tolerance: Tolerance,
) -> Result<Asked, HpaError> {
    positive(target)?;
    let ratio = total as f64 / (target as f64 * f64::from(replicas));
    let asked = if tolerance.holds(ratio) { replicas } else { ceil(total as f64 / target as f64) };
    // Upstream divides by no replicas here as well; the number is only shown.
    let value = (total as f64 / f64::from(replicas.max(1))).ceil() as i64;
    Ok(Asked { replicas: asked, utilization: None, value })
}

fn positive(target: i64) -> Result<(), HpaError> {
    if target > 0 { Ok(()) } else { Err(HpaError::Target { value: target }) }
}

#[cfg(test)]
mod tests {
    use super::super::PodShare;
    use super::*;

    fn even(ready: i64, usage: i64, requests: i64) -> PodTotals {
        PodTotals { ready, samples: ready, matched: ready, usage, requests, ..PodTotals::default() }
    }

    const TENTH: Tolerance = Tolerance { up: 0.1, down: 0.1 };

    #[test]
    fn a_percentage_is_cut_off_before_the_ratio_is_taken() {
        // 66.9 % of the request count as 66 %: 66/60 is within the tolerance, 66.9/60 would not be.
        assert_eq!(by_utilization(3, 60, &even(3, 2007, 3000), TENTH).unwrap().replicas, 3);
        assert_eq!(by_utilization(3, 60, &even(3, 2010, 3000), TENTH).unwrap().replicas, 4);
    }

    #[test]
    fn the_tolerance_holds_for_each_direction_by_itself() {
        let loose_up = Tolerance { up: 0.5, down: 0.0 };
        assert_eq!(by_average(4, 1000, &even(4, 5600, 0), loose_up).unwrap().replicas, 4);
        assert_eq!(by_average(4, 1000, &even(4, 2900, 0), loose_up).unwrap().replicas, 3);
        assert_eq!(by_average(4, 1000, &even(4, 5600, 0), TENTH).unwrap().replicas, 6);
    }

    #[test]
    fn a_missing_pod_counts_at_least_as_the_target_when_scaling_in() {
        let missing = PodShare { pods: 1, requests: 1000 };
        let totals = PodTotals { missing, missing_fallback: 1500, ..even(3, 3000, 3000) };
        // 100 % against 150 %: with the missing pod at 150 %, (3000+1500)/4000 = 112 % asks for ceil(0.747 · 4) = 3.
        assert_eq!(by_utilization(4, 150, &totals, TENTH).unwrap().replicas, 3);
    }

    #[test]
    fn nothing_running_is_started_by_a_value_without_tolerance() {
        let never = || Err(HpaError::NoPods);
        assert_eq!(by_value(0, 50, 1000, TENTH, never).unwrap().replicas, 1);
        assert_eq!(by_value(0, 0, 1000, TENTH, never).unwrap().replicas, 0);
        assert_eq!(by_share(0, 2500, 1000, TENTH).unwrap().replicas, 3);
        assert_eq!(by_share(0, 0, 1000, TENTH).unwrap().replicas, 0);
    }

    #[test]
    fn numbers_beyond_all_bounds_stay_numbers() {
        assert_eq!(by_value(1, i64::MAX, 1, TENTH, || Ok(1)).unwrap().replicas, i32::MAX);
        assert_eq!(by_share(3, i64::MAX, 1, TENTH).unwrap().replicas, i32::MAX);
        let huge = even(2, i64::MAX, 1);
        assert_eq!(by_utilization(2, 1, &huge, TENTH).unwrap().replicas, i32::MAX);
        assert!(by_average(1, 0, &even(1, 1, 0), TENTH).is_err());
        assert!(by_utilization(1, -5, &even(1, 1, 1), TENTH).is_err());
    }
}
