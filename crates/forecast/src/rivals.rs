//! Two families of one series: the incremental one with every value, all members now and then. Which of them is asked
//! for which horizon is decided by how good both were on the series' own past.

use jiff::Timestamp;
use sos_units::TimeGrid;

use crate::accuracy::{Accuracy, AccuracyRecord, Horizon, Score};
use crate::config::ForecastConfig;
use crate::forecaster::Forecast;

/// The other family is believed where its error is below this share of the incremental one's.
const CLEARLY: f64 = 0.97;
/// Hours of forecasts that have met their outcome, wanted of both before they are compared.
const ENOUGH_HOURS: f64 = 48.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct Rivals {
    incremental: Accuracy,
    all: Accuracy,
    latest: Option<Forecast>,
}

impl Rivals {
    /// For the series of this configuration.
    #[must_use]
    pub fn new(config: &ForecastConfig) -> Self {
        let accuracy = || Accuracy::new(config.step);
        Self { incremental: accuracy(), all: accuracy(), latest: None }
    }

    /// Notes the value of the step that starts at `time`.
    pub fn outcome(&mut self, time: Timestamp, value: f64) {
        self.incremental.outcome(time, value);
        self.all.outcome(time, value);
    }

    /// Notes a forecast of all members; an older one than the last is left out.
    pub fn renewed(&mut self, forecast: Forecast) {
        if self.latest.as_ref().is_none_or(|latest| latest.issued_at <= forecast.issued_at) {
            self.latest = Some(forecast);
        }
    }

    /// The forecast to go by: `incremental`, which was issued now, with the steps in their place for which all members
    /// were clearly better. Both are judged as they stand now, so a forecast of all members that has grown old is
    /// judged by what it is worth when it is old.
    pub fn choose(&mut self, incremental: Forecast) -> Forecast {
        let _ = self.incremental.issued(&incremental);
        let Some(other) = self.latest.as_ref().and_then(|latest| as_of(latest, &incremental)) else {
            return incremental;
        };
        let _ = self.all.issued(&other);
        let better = self.better();
        if better.is_empty() { incremental } else { joined(incremental, &other, &better) }
    }

    /// Horizons in which all members were clearly better, with both mean absolute errors, the incremental one's first.
    #[must_use]
    pub fn better(&self) -> Vec<(Horizon, f64, f64)> {
        let (own, all) = (self.incremental.scores(), self.all.scores());
        let pair = |horizon: Horizon| {
            let enough = ENOUGH_HOURS * self.all.pairs_per_hour(horizon);
            let of = |scores: &[Score]| {
                scores.iter().find(|s| s.horizon == horizon && s.pairs >= enough).map(|s| s.mae)
            };
            Some((horizon, of(&own)?, of(&all)?))
        };
        Horizon::ALL.into_iter().filter_map(pair).filter(|(_, own, all)| *all < own * CLEARLY).collect()
    }

    /// What to keep for a restart: of the incremental family, of all members.
    #[must_use]
    pub fn record(&self) -> [AccuracyRecord; 2] {
        [self.incremental.record(), self.all.record()]
    }

    /// Goes on from a record.
    pub fn restore(&mut self, [incremental, all]: &[AccuracyRecord; 2]) {
        self.incremental.restore(incremental);
        self.all.restore(all);
    }
}

/// The steps of an older forecast that `now` has too, as if it had been issued now; none where it does not reach the
/// first of them.
fn as_of(older: &Forecast, now: &Forecast) -> Option<Forecast> {
    if older.grid.step() != now.grid.step() {
        return None;
    }
    let from = older.grid.index_of(now.grid.start())?;
    let len = (older.mean.len() - from).min(now.mean.len());
    let cut = |values: &[f64]| values[from..from + len].to_vec();
    Some(Forecast {
        issued_at: now.issued_at,
        grid: TimeGrid::new(now.grid.start(), now.grid.step(), len).ok()?,
        mean: cut(&older.mean),
        quantiles: older.quantiles.iter().map(|(q, values)| (*q, cut(values))).collect(),
        method: older.method,
        because: older.because.clone(),
    })
}

fn joined(mut own: Forecast, other: &Forecast, better: &[(Horizon, f64, f64)]) -> Forecast {
    let same = own.quantiles.len() == other.quantiles.len()
        && own.quantiles.iter().zip(&other.quantiles).all(|((a, _), (b, _))| (a - b).abs() < 1e-9);
    if !same {
        return own;
    }
    let mut any = false;
    for at in 0..other.mean.len() {
        let lead = own.grid.at(at + 1).duration_since(own.issued_at).as_secs();
        let wanted = Horizon::of(lead).unwrap_or(Horizon::Hours24);
        if better.iter().any(|(horizon, ..)| *horizon == wanted) {
            any = true;
            own.mean[at] = other.mean[at];
            own.quantiles.iter_mut().zip(&other.quantiles).for_each(|((_, to), (_, from))| to[at] = from[at]);
        }
    }
    if any {
        let parts: Vec<String> = better
            .iter()
            .map(|(horizon, own, all)| format!("{} ahead (error {all:.3} against {own:.3})", horizon.text()))
            .collect();
        own.because = format!("{}; all members for {}: {}", own.because, parts.join(", "), other.because);
        own.method = other.method;
    }
    own
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, tz::TimeZone};

    use super::*;
    use crate::config::Character;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(hour: i64) -> Timestamp {
        "2024-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + HOUR * i32::try_from(hour).unwrap()
    }

    fn forecast(hour: i64, method: &'static str, value: impl Fn(i64) -> f64) -> Forecast {
        let mean: Vec<f64> = (hour..hour + 36).map(value).collect();
        let shift = |by: f64| mean.iter().map(|v| v + by).collect();
        Forecast {
            issued_at: at(hour),
            grid: TimeGrid::new(at(hour), HOUR, 36).unwrap(),
            quantiles: vec![(0.1, shift(-1.0)), (0.9, shift(1.0))],
            mean,
            method,
            because: method.to_owned(),
        }
    }

    /// Every hour the incremental family says 10, off by 2; twice a day all members say what comes, but for the first
    /// four hours from their issue, in which they are off by 5.
    fn run(days: i64) -> (Rivals, Vec<Forecast>) {
        let mut rivals = Rivals::new(&ForecastConfig::new(Character::Load, HOUR, TimeZone::UTC));
        let truth = |hour: i64| 10.0 + if hour % 2 == 0 { 2.0 } else { -2.0 };
        let mut chosen = Vec::new();
        for hour in 0..days * 24 {
            if hour % 12 == 0 {
                rivals.renewed(forecast(hour, "blend", |h| truth(h) + if h < hour + 4 { 5.0 } else { 0.0 }));
            }
            chosen.push(rivals.choose(forecast(hour, "profile", |_| 10.0)));
            rivals.outcome(at(hour), truth(hour));
        }
        (rivals, chosen)
    }

    #[test]
    fn each_horizon_is_forecast_by_whoever_was_better_there() {
        let (rivals, chosen) = run(20);
        let better: Vec<&str> = rivals.better().iter().map(|(horizon, ..)| horizon.text()).collect();
        assert_eq!(better.last(), Some(&"13-24h"));
        assert!(better.contains(&"5-12h"), "{better:?}");
        let last = chosen.iter().rev().find(|one| (one.issued_at - at(0)).as_hours() % 12 == 0).unwrap();
        assert_eq!(last.method, "blend");
        assert!(last.because.contains("13-24h ahead (error "), "{}", last.because);
        assert!((last.mean[20] - 10.0).abs() > 1.5 && last.quantiles[0].1[20] < last.mean[20]);
    }

    #[test]
    fn before_both_were_judged_the_incremental_family_speaks() {
        let (rivals, chosen) = run(1);
        assert!(rivals.better().is_empty());
        assert!(
            chosen
                .iter()
                .all(|one| one.method == "profile" && one.mean.iter().all(|v| (v - 10.0).abs() < 1e-9))
        );
    }

    #[test]
    fn a_forecast_that_ended_or_has_another_step_is_not_used() {
        let (mut rivals, _) = run(20);
        let late = forecast(20 * 24 + 48, "profile", |_| 10.0);
        assert_eq!(rivals.choose(late.clone()), late);
        let fine = TimeGrid::new(at(480), HOUR / 2, 36).unwrap();
        let other = Forecast { grid: fine, ..forecast(480, "profile", |_| 10.0) };
        assert_eq!(rivals.choose(other.clone()), other);
    }

    #[test]
    fn what_was_learned_outlives_a_restart() {
        let (rivals, _) = run(20);
        let mut resumed = Rivals::new(&ForecastConfig::new(Character::Load, HOUR, TimeZone::UTC));
        resumed.restore(&rivals.record());
        assert_eq!(resumed.better(), rivals.better());
    }
}
