//! The report of a run. Everything but `timings` is the same for the same seed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::site::task::Stats;

/// What `sos up --report FILE` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Start of the first step.
    pub from: String,
    /// End of the last step.
    pub to: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// Whether every site reached its end. If not, the run was stopped, and the figures are those up to `to`.
    pub finished: bool,
    /// By name.
    pub sites: Vec<SiteReport>,
    /// By name.
    pub services: Vec<ServiceReport>,
    /// Alerts that fired; empty while no alert rule is declared.
    pub alerts: Vec<AlertReport>,
    /// What `sos` itself used.
    #[serde(rename = "self")]
    pub own: OwnUse,
    /// Differs from run to run.
    pub timings: Timings,
}

/// A figure in the three cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cases {
    /// As it was.
    pub actual: f64,
    /// Uncontrolled.
    pub baseline: f64,
    /// One optimisation that knew the period; none when it could not be computed.
    pub perfect: Option<f64>,
}

/// Cost in the three cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostReport {
    /// ISO code.
    pub currency: String,
    /// As it was.
    pub actual: f64,
    /// Uncontrolled.
    pub baseline: f64,
    /// One optimisation that knew the period.
    pub perfect: Option<f64>,
}

/// Steps above a limit, in the three cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationCount {
    /// As it was.
    pub actual: u64,
    /// Uncontrolled.
    pub baseline: u64,
    /// One optimisation that knew the period.
    pub perfect: Option<u64>,
}

/// One step above a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Start of the step.
    pub time: String,
    /// Excess.
    pub kw_over: f64,
    /// Why it could not be avoided.
    pub reason: String,
}

/// A part of a site behind a meter or a fuse of its own, as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeederReport {
    /// Energy that flowed in.
    pub import_kwh: f64,
    /// Energy that flowed out.
    pub export_kwh: f64,
    /// Highest mean power of a step into it.
    pub peak_kw: f64,
    /// Its own limit on what flows in; orders of the grid operator may have set a lower one for a time.
    pub import_limit_kw: Option<f64>,
    /// Limit on what flows out.
    pub export_limit_kw: Option<f64>,
    /// Steps in which a limit of it was exceeded.
    pub limit_violations: u64,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Name of the site.
    pub name: String,
    /// Ticks settled.
    pub steps: u64,
    /// Plans made.
    pub plans: u64,
    /// Import paid less export earned, at the connection and at feeders, charges, fuel and starts of generators.
    pub cost: CostReport,
    /// Part of the cost: what each charge came to, by name.
    #[serde(default)]
    pub charges: BTreeMap<String, Cases>,
    /// By name.
    #[serde(default)]
    pub feeders: BTreeMap<String, FeederReport>,
    /// Emissions of what was imported or burnt.
    pub emissions_kg: Cases,
    /// Cost + carbon price × emissions + priced unserved energy − value of the energy stored at the end.
    pub objective: Cases,
    /// `(baseline − actual) / (baseline − perfect)` of the objective.
    pub saving_share_of_perfect: Option<f64>,
    /// From the grid.
    pub import_kwh: f64,
    /// To the grid.
    pub export_kwh: f64,
    /// Surplus of one group used by another.
    pub shared_kwh: f64,
    /// Share of generation used on site.
    pub self_consumption: Option<f64>,
    /// Generation that was turned down: what the forecast saw less what was measured, in steps held at their limit; on an
    /// island the surplus that nobody took as well.
    pub curtailed_kwh: f64,
    /// Given by generators.
    pub generated_kwh: f64,
    /// Starts of generators.
    pub starts: u64,
    /// Part of `unserved_kwh`: what an island lacked.
    pub lost_load_kwh: Cases,
    /// Lost in batteries.
    pub losses_kwh: f64,
    /// Demand that was not met: energy of services' runs that were not done by their deadlines, and what an island lacked.
    pub unserved_kwh: f64,
    /// Highest mean import of a step.
    pub peak_kw: f64,
    /// Steps above a limit.
    pub limit_violations: ViolationCount,
    /// Each step above a limit; at most the first thousand.
    pub violations: Vec<Violation>,
    /// Plans that came from a fallback instead of the solver.
    pub fallbacks: u64,
    /// Energies of devices in single ticks that never became known and were estimated.
    pub estimated_values: u64,
}

/// Deadlines of a batch service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// Runs done in time.
    pub met: u64,
    /// Runs not done in time.
    pub missed: u64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Name of the service.
    pub name: String,
    /// Declared replicas.
    pub replicas: u32,
    /// Restarts after failures.
    pub restarts: u32,
    /// Declared energy of its runs.
    pub energy_kwh: f64,
    /// Of that energy, by the site's carbon intensity of each tick.
    pub emissions_kg: f64,
    /// Site time in which it was wanted and not ready.
    pub slo_violation_seconds: i64,
    /// Of its runs.
    pub deadlines: Deadlines,
}

/// One alert rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertReport {
    /// Name of the rule.
    pub name: String,
    /// How often it fired.
    pub fired: u64,
    /// How often it was resolved.
    pub resolved: u64,
}

/// What the controller's own box used over the period, by its declared power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnUse {
    /// Energy.
    pub kwh: f64,
    /// Emissions.
    pub kg: f64,
}

/// Two percentiles of a duration in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// Ninety-ninth percentile.
    pub p99: f64,
}

/// Wall-clock figures; not reproducible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Of the whole run.
    pub wall_seconds: f64,
    /// Of a plan.
    pub plan_seconds: Percentiles,
    /// Of a tick.
    pub tick_seconds: Percentiles,
    /// From the start of the command to the first plan of every site.
    pub ready_seconds: f64,
    /// Peak resident memory of `sos`.
    pub rss_mb: f64,
}

/// Durations in buckets of 5 %, so that a year of ticks takes a kilobyte.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    buckets: BTreeMap<i32, u64>,
    count: u64,
}

impl Timings {
    /// The figures of all sites of a run together: the percentiles are over the plans and ticks of all of them, and the
    /// run was ready when the last of them had its first plan.
    #[must_use]
    pub fn of<'a>(sites: impl Iterator<Item = &'a Stats>, wall_seconds: f64, rss_mb: f64) -> Self {
        let (mut plans, mut ticks) = (Durations::default(), Durations::default());
        let mut ready = std::time::Duration::ZERO;
        for stats in sites {
            plans.add(&stats.plan_seconds);
            ticks.add(&stats.tick_seconds);
            ready = ready.max(stats.ready.unwrap_or_default());
        }
        Self {
            wall_seconds,
            plan_seconds: plans.percentiles(),
            tick_seconds: ticks.percentiles(),
            ready_seconds: ready.as_secs_f64(),
            rss_mb,
        }
    }
}

impl Durations {
    const BASE: f64 = 1.05;

    /// Counts what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (&bucket, n) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += n;
        }
        self.count += other.count;
    }

    /// Counts one duration.
    pub fn record(&mut self, seconds: f64) {
        let bucket = (seconds.max(1e-6).ln() / Self::BASE.ln()).round() as i32;
        *self.buckets.entry(bucket).or_default() += 1;
        self.count += 1;
    }

    /// The median and the ninety-ninth percentile, within 5 %.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.quantile(0.5), p99: self.quantile(0.99) }
    }

    fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (&bucket, &n) in &self.buckets {
            seen += n;
            if seen >= rank {
                return Self::BASE.powi(bucket);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let mut durations = Durations::default();
        for i in 1..=1000 {
            durations.record(f64::from(i) / 1000.0);
        }
        let found = durations.percentiles();
        assert!((found.p50 / 0.5 - 1.0).abs() < 0.06, "{found:?}");
        assert!((found.p99 / 0.99 - 1.0).abs() < 0.06, "{found:?}");
    }

    #[test]
    fn timings_are_those_of_all_sites_together() {
        let site = |tick: f64, times: u32, ready: u64| {
            let mut stats = Stats { ready: Some(std::time::Duration::from_secs(ready)), ..Stats::default() };
            (0..times).for_each(|_| stats.tick_seconds.record(tick));
            stats.plan_seconds.record(tick * 10.0);
            stats
        };
        let (quick, slow) = (site(0.001, 90, 1), site(0.1, 10, 3));
        let timings = Timings::of([&quick, &slow].into_iter(), 5.0, 64.0);
        assert!((timings.tick_seconds.p50 / 0.001 - 1.0).abs() < 0.06, "{timings:?}");
        assert!((timings.tick_seconds.p99 / 0.1 - 1.0).abs() < 0.06, "{timings:?}");
        assert!((timings.plan_seconds.p99 / 1.0 - 1.0).abs() < 0.06, "{timings:?}");
        assert_eq!((timings.ready_seconds, timings.wall_seconds, timings.rss_mb), (3.0, 5.0, 64.0));
    }
}
