//! Is a new revision as good as it must be? Judged on requests that were really made.
//!
//! # The rule
//! - Nothing is judged before both revisions have [`AnalysisSpec::min_requests`] (the old one only where it is
//!   compared with).
//! - Error rate against a limit: failed when the lower end of Wilson's score interval lies above the limit; good when
//!   the rate itself does not; in between it is open, and more requests are awaited.
//! - Error rate against the old revision: failed when it is higher by more than the tolerance and the one-sided test
//!   of two proportions (pooled, with Yates' correction) says so as well; else good.
//! - Both are looked at all the time. Looking often finds differences that are none, so before the end of a step the
//!   critical value is that of Haybittle and Peto (z = 3.09, p = 0.001), at its end that of p = 0.05 (z = 1.645).
//! - Latency is judged at the end of a step only, and only when at least ten requests lie beyond the quantile.
//!
//! Sources: E. B. Wilson, JASA 22 (1927); F. Yates, J. R. Stat. Soc. Suppl. 1 (1934); R. Peto et al., Br. J. Cancer 34
//! (1976) on looking early.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Critical value at the end of a step: p = 0.05, one-sided.
const AT_THE_END: f64 = 1.644_853_626_951_472_2;
/// Critical value before the end: p = 0.001, one-sided.
const EARLY: f64 = 3.090_232_306_167_813_5;
/// How many requests must lie beyond a latency quantile for it to say something.
const BEYOND_QUANTILE: f64 = 10.0;

/// What a new revision must keep to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisSpec {
    /// Fewest requests per revision and step for a judgement.
    pub min_requests: u64,
    /// Highest share of requests that fail, 0 … 1.
    pub max_error_rate: Option<f64>,
    /// By how much the share of failed requests may exceed that of the old revision, 0 … 1.
    pub error_tolerance: Option<f64>,
    /// Which quantile of the latency is measured, above 0, below 1.
    pub latency_quantile: f64,
    /// Highest latency at the quantile.
    pub max_latency: Option<SignedDuration>,
    /// How many times the old revision's latency at the quantile is allowed, 1 or above.
    pub max_latency_ratio: Option<f64>,
    /// How long a step whose pause is over waits for a judgement, wall time, zero or above.
    pub patience: SignedDuration,
    /// What happens after that.
    pub inconclusive: Inconclusive,
}

impl Default for AnalysisSpec {
    fn default() -> Self {
        Self {
            min_requests: 100,
            max_error_rate: None,
            error_tolerance: Some(0.005),
            latency_quantile: 0.95,
            max_latency: None,
            max_latency_ratio: None,
            patience: SignedDuration::from_mins(10),
            inconclusive: Inconclusive::Wait,
        }
    }
}

/// What happens to a step that cannot be judged, for want of traffic above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    /// It stays until traffic or a person decides.
    Wait,
    /// It counts as good.
    Continue,
    /// It counts as failed.
    RollBack,
}

/// Requests of one revision during one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Hash of the revision.
    pub description_hash: String,
    /// Begin of the time measured; requests before the step began are no evidence, so an earlier one is not used.
    pub since: Timestamp,
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Latency at [`AnalysisSpec::latency_quantile`]; `None` when it was not measured.
    pub latency: Option<SignedDuration>,
}

impl Measured {
    /// Share of requests that failed, 0 … 1.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        self.errors() / self.total().max(1.0)
    }

    fn total(&self) -> f64 {
        wide(self.requests)
    }

    fn errors(&self) -> f64 {
        wide(self.errors.min(self.requests))
    }
}

/// Counts beyond 2^53 are rounded, which does here.
fn wide(count: u64) -> f64 {
    count as f64
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It breaks a rule; which one.
    Failed(String),
    /// It keeps all.
    Good,
    /// Not known; why not.
    Open(String),
}

/// Judges a revision. `old` is `None` where there is nothing to compare with. `ended`: the pause of the step is over.
pub(crate) fn judge(
    spec: &AnalysisSpec,
    new: Option<&Measured>,
    old: Option<&Measured>,
    compare: bool,
    ended: bool,
) -> Judgement {
    let few = |whose: &str, requests: u64| {
        Judgement::Open(format!("{requests} of {} requests of the {whose} revision", spec.min_requests))
    };
    let Some(new) = new else { return few("new", 0) };
    if new.requests < spec.min_requests.max(1) {
        return few("new", new.requests);
    }
    let mut verdicts = vec![against_limit(spec, new, ended)];
    if ended {
        verdicts.push(latency_limit(spec, new));
    }
    if compare && (spec.error_tolerance.is_some() || spec.max_latency_ratio.is_some()) {
        match old.filter(|old| old.requests >= spec.min_requests.max(1)) {
            None => verdicts.push(few("old", old.map_or(0, |old| old.requests))),
            Some(old) => verdicts.extend(against_old(spec, new, old, ended)),
        }
    }
    worst(verdicts)
}

/// A failure counts before doubt, doubt before success.
fn worst(verdicts: Vec<Judgement>) -> Judgement {
    let rank = |verdict: &Judgement| match verdict {
        Judgement::Failed(_) => 0,
        Judgement::Open(_) => 1,
        Judgement::Good => 2,
    };
    verdicts.into_iter().min_by_key(rank).unwrap_or(Judgement::Good)
}

fn against_limit(spec: &AnalysisSpec, new: &Measured, ended: bool) -> Judgement {
    let Some(limit) = spec.max_error_rate else { return Judgement::Good };
    let lower = wilson_lower(new.errors(), new.total(), critical(ended));
    let text = format!(
        "error rate {} over {} requests, allowed {}",
        percent(new.error_rate()),
        new.requests,
        percent(limit)
    );
    if lower > limit {
        Judgement::Failed(text)
    } else if new.error_rate() > limit {
        Judgement::Open(format!("{text}: more requests are needed to be sure"))
    } else {
        Judgement::Good
    }
}

fn against_old(spec: &AnalysisSpec, new: &Measured, old: &Measured, ended: bool) -> Vec<Judgement> {
    let mut verdicts = Vec::new();
    if let Some(tolerance) = spec.error_tolerance {
        let higher = new.error_rate() - old.error_rate() > tolerance;
        if higher && two_proportions(new, old) > critical(ended) {
            verdicts.push(Judgement::Failed(format!(
                "error rate {} over {} requests against {} over {}",
                percent(new.error_rate()),
                new.requests,
                percent(old.error_rate()),
                old.requests
            )));
        }
    }
    if ended {
        verdicts.push(latency_ratio(spec, new, old));
    }
    verdicts
}

fn latency_limit(spec: &AnalysisSpec, new: &Measured) -> Judgement {
    let Some(limit) = spec.max_latency else { return Judgement::Good };
    let latency = match known_latency(spec, new, "new") {
        Ok(latency) => latency,
        Err(open) => return open,
    };
    if latency <= limit {
        return Judgement::Good;
    }
    let (latency, limit) = (millis(latency), millis(limit));
    Judgement::Failed(format!("{} latency {latency}, allowed {limit}", quantile(spec)))
}

fn latency_ratio(spec: &AnalysisSpec, new: &Measured, old: &Measured) -> Judgement {
    let Some(ratio) = spec.max_latency_ratio else { return Judgement::Good };
    let both = known_latency(spec, new, "new").and_then(|new| Ok((new, known_latency(spec, old, "old")?)));
    let (new, old) = match both {
        Ok(both) => both,
        Err(open) => return open,
    };
    if new.as_secs_f64() <= old.as_secs_f64() * ratio {
        return Judgement::Good;
    }
    let (new, old) = (millis(new), millis(old));
    Judgement::Failed(format!("{} latency {new} against {old}, allowed {ratio} times", quantile(spec)))
}

fn known_latency(spec: &AnalysisSpec, measured: &Measured, whose: &str) -> Result<SignedDuration, Judgement> {
    let beyond = measured.total() * (1.0 - spec.latency_quantile);
    match measured.latency {
        None => Err(Judgement::Open(format!("the latency of the {whose} revision is not known"))),
        // A hair's breadth for a product such as 1000 × (1 − 0.99).
        Some(_) if beyond < BEYOND_QUANTILE - 1e-6 => Err(Judgement::Open(format!(
            "{} requests of the {whose} revision are too few for its {} latency",
            measured.requests,
            quantile(spec)
        ))),
        Some(latency) => Ok(latency),
    }
}

fn critical(ended: bool) -> f64 {
    if ended { AT_THE_END } else { EARLY }
}

/// Lower end of Wilson's score interval of `errors` out of `total` (above zero).
fn wilson_lower(errors: f64, total: f64, z: f64) -> f64 {
    let rate = errors / total;
    let square = z * z;
    let centre = rate + square / (2.0 * total);
    let spread = z * (rate * (1.0 - rate) / total + square / (4.0 * total * total)).sqrt();
    (centre - spread) / (1.0 + square / total)
}

/// How many standard deviations the new error rate lies above the old one, with Yates' correction; zero when it does
/// not.
fn two_proportions(new: &Measured, old: &Measured) -> f64 {
    let (n, m) = (new.total(), old.total());
    let pooled = (new.errors() + old.errors()) / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let difference = new.error_rate() - old.error_rate() - (1.0 / n + 1.0 / m) / 2.0;
    // Everything failed, or nothing did: no difference.
    if deviation > 0.0 { (difference / deviation).max(0.0) } else { 0.0 }
}

/// Such as `0.2 %`.
pub(crate) fn percent(share: f64) -> String {
    let rounded = (share * 10_000.0).round() / 100.0;
    format!("{rounded} %")
}

fn quantile(spec: &AnalysisSpec) -> String {
    format!("p{}", (spec.latency_quantile * 10_000.0).round() / 100.0)
}

pub(crate) fn millis(duration: SignedDuration) -> String {
    format!("{} ms", (duration.as_secs_f64() * 10_000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(requests: u64, errors: u64, millis: i64) -> Measured {
        Measured {
            description_hash: "h".into(),
            since: Timestamp::UNIX_EPOCH,
            requests,
            errors,
            latency: Some(SignedDuration::from_millis(millis)),
        }
    }

    fn judged(spec: &AnalysisSpec, new: Measured, old: Measured, ended: bool) -> Judgement {
        judge(spec, Some(&new), Some(&old), true, ended)
    }

    #[test]
    fn the_interval_and_the_test_agree_with_published_values() {
        // Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29 at 95 %.
        let z = 1.959_963_984_540_054;
        for (errors, total, lower) in
            [(81.0, 263.0, 0.2553), (15.0, 148.0, 0.0624), (0.0, 20.0, 0.0), (1.0, 29.0, 0.0061)]
        {
            assert!((wilson_lower(errors, total, z) - lower).abs() < 5e-5, "{errors} of {total}");
        }
        // 2×2 table 15/85 against 5/95: chi-squared with Yates' correction is 4.5, so z is 2.1213.
        let z = two_proportions(&measured(100, 15, 1), &measured(100, 5, 1));
        assert!((z * z - 4.5).abs() < 1e-9, "{z}");
    }

    #[test]
    fn too_few_requests_decide_nothing_however_bad_they_are() {
        let spec = AnalysisSpec { max_error_rate: Some(0.01), ..AnalysisSpec::default() };
        assert!(matches!(judged(&spec, measured(99, 99, 1), measured(500, 0, 1), true), Judgement::Open(_)));
        assert!(matches!(judge(&spec, None, None, true, true), Judgement::Open(_)));
        let open = judged(&spec, measured(500, 1, 1), measured(10, 0, 1), true);
        assert!(matches!(open, Judgement::Open(why) if why.contains("old")));
    }

    #[test]
    fn a_difference_fails_early_only_when_it_is_beyond_doubt() {
        let spec = AnalysisSpec::default();
        let (slight, plain) = (measured(200, 9, 1), measured(200, 40, 1));
        let old = || measured(200, 2, 1);
        assert_eq!(judged(&spec, slight.clone(), old(), false), Judgement::Good);
        assert!(matches!(judged(&spec, slight, old(), true), Judgement::Failed(_)));
        let Judgement::Failed(why) = judged(&spec, plain, old(), false) else {
            panic!("20 % is beyond doubt")
        };
        assert_eq!(why, "error rate 20 % over 200 requests against 1 % over 200");
    }

    #[test]
    fn a_rate_above_its_limit_by_chance_is_open() {
        let spec =
            AnalysisSpec { max_error_rate: Some(0.01), error_tolerance: None, ..AnalysisSpec::default() };
        assert!(matches!(judged(&spec, measured(100, 2, 1), measured(0, 0, 1), true), Judgement::Open(_)));
        assert!(matches!(judged(&spec, measured(100, 6, 1), measured(0, 0, 1), true), Judgement::Failed(_)));
        assert_eq!(judged(&spec, measured(100, 1, 1), measured(0, 0, 1), true), Judgement::Good);
    }

    #[test]
    fn latency_is_judged_at_the_end_and_on_enough_requests() {
        let spec = AnalysisSpec {
            max_latency: Some(SignedDuration::from_millis(50)),
            max_latency_ratio: Some(1.5),
            ..AnalysisSpec::default()
        };
        assert_eq!(judged(&spec, measured(200, 0, 90), measured(200, 0, 20), false), Judgement::Good);
        let Judgement::Failed(why) = judged(&spec, measured(200, 0, 90), measured(200, 0, 20), true) else {
            panic!("90 ms is above 50 ms")
        };
        assert_eq!(why, "p95 latency 90 ms, allowed 50 ms");
        let ratio = judged(&spec, measured(200, 0, 45), measured(200, 0, 20), true);
        assert!(matches!(ratio, Judgement::Failed(why) if why.contains("allowed 1.5 times")));
        assert!(matches!(
            judged(&spec, measured(150, 0, 45), measured(150, 0, 40), true),
            Judgement::Open(_)
        ));
    }

    #[test]
    fn more_errors_than_requests_and_odd_limits_are_borne() {
        let spec = AnalysisSpec { max_error_rate: Some(f64::NAN), ..AnalysisSpec::default() };
        let all = judged(&spec, measured(100, u64::MAX, 1), measured(100, u64::MAX, 1), true);
        assert_eq!(all, Judgement::Good, "everything fails in both");
    }
}
