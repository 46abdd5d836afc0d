//! Forecasts as they are kept: the latest of every series, what came of earlier ones, and both in the store.
//!
//! In memory a forecast of a load is a magnitude; in the store and on the wire it follows the sign rule of a site.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sos_forecast::accuracy::{Accuracy, AccuracyRecord, Issued};
use sos_forecast::{Forecast, Forecaster};
use sos_store::{Labels, Sample, SeriesId, Store, StoreError, Tx};
use sos_units::Reading;

use super::model::SiteModel;
use super::outlook::Outlook;
use super::telemetry::labels;
use crate::live::ForecastState;

/// Name of the series of an asset's forecasts, kW, positive into the site; the label `statistic` says of what: `mean`,
/// `q0.1`, …. Time is the end of the step, `known_at` when the forecast was issued.
pub(crate) const ASSET: &str = "asset_forecast_kw";
/// As [`ASSET`], of the carbon intensity of import, kg CO2 per kWh.
pub(crate) const CARBON: &str = "site_carbon_forecast_kg_per_kwh";
/// The label that says what of a forecast a series holds.
const STATISTIC: &str = "statistic";
const MEAN: &str = "mean";
/// Forecasts kept in the store reach this far ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// A forecaster with the latest forecast of its series and what came of the ones before.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) forecaster: Forecaster,
    pub(super) accuracy: Accuracy,
    latest: Option<Arc<Forecast>>,
    /// Kept to be compared, and not in the store yet.
    unstored: Option<Issued>,
}

impl Tracked {
    pub(super) fn new(forecaster: Forecaster) -> Self {
        let accuracy = Accuracy::new(forecaster.config().step);
        Self { forecaster, accuracy, latest: None, unstored: None }
    }

    /// Learns the mean of a step.
    pub(super) fn observe(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        self.forecaster.observe(time, known_at, value);
        if let Ok(value) = value {
            self.accuracy.outcome(time, value);
        }
    }

    /// Forecasts for a plan.
    pub(super) fn forecast(&mut self, issued_at: Timestamp, horizon: usize) -> Arc<Forecast> {
        let forecast = Arc::new(self.forecaster.forecast(issued_at, horizon));
        if let Some(issued) = self.accuracy.issued(&forecast) {
            self.unstored = Some(issued.clone());
        }
        self.latest = Some(Arc::clone(&forecast));
        forecast
    }
}

/// A series that is forecast.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The asset's name, or `SITE.carbon`, which no asset can be called.
    pub(super) name: String,
    /// `load`, `solar` or `carbon`.
    pub(super) kind: &'static str,
    /// The asset; none for the carbon intensity of the site.
    asset: Option<String>,
    /// What forecasts are multiplied with to follow the sign rule of a site.
    sign: f64,
}

impl Subject {
    /// Kind and name of the resource it belongs to.
    pub(super) fn resource<'a>(&'a self, model: &'a SiteModel) -> (&'static str, &'a str) {
        self.asset.as_deref().map_or(("Site", &model.name), |asset| ("Asset", asset))
    }

    pub(super) const fn unit(&self) -> &'static str {
        if self.asset.is_some() { "kW" } else { "kgCO2/kWh" }
    }

    fn series(&self, model: &SiteModel, statistic: &str) -> (&'static str, Labels) {
        let mut labels = labels(&model.name, self.asset.as_deref());
        labels.insert(STATISTIC.to_owned(), statistic.to_owned());
        (if self.asset.is_some() { ASSET } else { CARBON }, labels)
    }

    /// From a magnitude to the sign rule, or back: then the lowest quantile is the highest.
    fn signed(&self, issued: &Issued) -> Issued {
        let sign = self.sign;
        let times = |values: &[f64]| values.iter().map(|value| value * sign).collect();
        let quantile = |(q, values): &(f64, Vec<f64>)| (if sign < 0.0 { 1.0 - q } else { *q }, times(values));
        let mut quantiles: Vec<(f64, Vec<f64>)> = issued.quantiles.iter().map(quantile).collect();
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        Issued { mean: times(&issued.mean), quantiles, ..issued.clone() }
    }

    /// As it is kept: a watt, or a milligram, is fine enough.
    fn rounded(&self, value: f64) -> f64 {
        let fine = if self.asset.is_some() { 1e3 } else { 1e6 };
        (value * fine).round() / fine
    }
}

impl Outlook {
    /// Every series that is forecast, assets first.
    pub(super) fn tracked<'a>(
        &'a self,
        model: &'a SiteModel,
    ) -> impl Iterator<Item = (Subject, &'a Tracked)> + 'a {
        let members = model.assets.iter().zip(&self.members).filter_map(|(asset, member)| {
            let member = member.as_ref()?;
            let name = asset.name.clone();
            let subject =
                Subject { asset: Some(name.clone()), name, kind: asset.kind.word(), sign: member.sign };
            Some((subject, &member.tracked))
        });
        members.chain(self.carbon.iter().map(|tracked| (carbon(model), tracked)))
    }

    fn tracked_mut(&mut self, model: &SiteModel) -> Vec<(Subject, &mut Tracked)> {
        let subjects: Vec<Subject> = self.tracked(model).map(|(subject, _)| subject).collect();
        let members = self.members.iter_mut().flatten().map(|member| &mut member.tracked);
        subjects.into_iter().zip(members.chain(&mut self.carbon)).collect()
    }

    /// Whether forecasts wait to be stored: once an hour.
    pub(super) fn has_unstored(&self) -> bool {
        let members = self.members.iter().flatten().map(|member| &member.tracked);
        members.chain(&self.carbon).any(|tracked| tracked.unstored.is_some())
    }

    /// Stores what waits for it: samples of the forecasts kept, and how good the earlier ones were.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn store(&self, tx: &mut Tx<'_>, model: &SiteModel) -> Result<Vec<Sample>, StoreError> {
        let mut samples = Vec::new();
        for (subject, tracked) in self.tracked(model) {
            let Some(issued) = &tracked.unstored else { continue };
            let issued = subject.signed(issued);
            let step = tracked.forecaster.config().step;
            let mut add = |statistic: &str, values: &[f64]| -> Result<(), StoreError> {
                let (name, labels) = subject.series(model, statistic);
                let series = tx.series_id(name, &labels)?;
                samples.extend(issued.steps.iter().zip(values).map(|(start, value)| Sample {
                    series,
                    time: *start + step,
                    known_at: issued.issued_at,
                    value: Ok(subject.rounded(*value)),
                }));
                Ok(())
            };
            add(MEAN, &issued.mean)?;
            issued.quantiles.iter().try_for_each(|(q, values)| add(&quantile_label(*q), values))?;
        }
        if !samples.is_empty() {
            let records: BTreeMap<String, AccuracyRecord> = self
                .tracked(model)
                .map(|(subject, tracked)| (subject.name, tracked.accuracy.record()))
                .collect();
            let records = serde_json::to_string(&records).unwrap_or_default();
            tx.put_kv(&key(model), &serde_json::Value::String(records))?;
        }
        Ok(samples)
    }

    /// What waited is stored.
    pub(super) fn stored(&mut self) {
        let members = self.members.iter_mut().flatten().map(|member| &mut member.tracked);
        members.chain(&mut self.carbon).for_each(|tracked| tracked.unstored = None);
    }

    /// Goes on where an earlier run stopped at `now`. To be called before what was measured is learned again, so that
    /// each value is compared once.
    pub(super) fn resume(
        &mut self,
        store: &Store,
        model: &SiteModel,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = store.get_kv(&key(model))?;
        let kept = kept.as_ref().and_then(serde_json::Value::as_str);
        let records: BTreeMap<String, AccuracyRecord> =
            kept.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let known = store.list_series()?;
        for (subject, tracked) in self.tracked_mut(model) {
            if let Some(record) = records.get(&subject.name) {
                tracked.accuracy.restore(record);
            }
            let found = known.iter().filter(|series| {
                let statistic = series.labels.get(STATISTIC).map(String::as_str);
                statistic.is_some_and(|s| {
                    subject.series(model, s) == (series.name.as_str(), series.labels.clone())
                })
            });
            let found = found.map(|series| (series.labels[STATISTIC].as_str(), series.id)).collect();
            let step = tracked.forecaster.config().step;
            for issued in read(store, found, step, now)? {
                let _ = tracked.accuracy.keep(subject.signed(&issued));
            }
        }
        Ok(())
    }

    /// Every series with its latest forecast, for showing.
    pub(super) fn states(&self, model: &SiteModel) -> Vec<ForecastState> {
        let state = |(subject, tracked): (Subject, &Tracked)| {
            let accuracy = &tracked.accuracy;
            Some(ForecastState {
                forecast: tracked.latest.clone()?,
                kind: subject.kind,
                unit: subject.unit(),
                series: subject.name,
                asset: subject.asset,
                sign: subject.sign,
                actual: accuracy.values().collect(),
                scores: accuracy.scores(),
                worse: accuracy.worse(),
                drifting: accuracy.drifting(),
            })
        };
        self.tracked(model).filter_map(state).collect()
    }
}

fn carbon(model: &SiteModel) -> Subject {
    Subject { name: format!("{}.carbon", model.name), kind: "carbon", asset: None, sign: 1.0 }
}

fn key(model: &SiteModel) -> String {
    format!("site/{}/forecasts", model.name)
}

fn quantile_label(q: f64) -> String {
    format!("q{}", (q * 1e6).round() / 1e6)
}

/// Values of the statistics of one issue: start of the step and value.
type Statistics<'a> = BTreeMap<&'a str, Vec<(Timestamp, f64)>>;

/// The forecasts that reach beyond `now`, as they are in the store, oldest first.
fn read(
    store: &Store,
    series: Vec<(&str, SeriesId)>,
    step: SignedDuration,
    now: Timestamp,
) -> Result<Vec<Issued>, StoreError> {
    let mut values: BTreeMap<Timestamp, Statistics<'_>> = BTreeMap::new();
    let before = now.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
    for (statistic, id) in series {
        for point in store.versions(id, before..now + AHEAD * 2)? {
            let Some(value) = point.value.ok().filter(|_| point.known_at >= before) else { continue };
            let of = values.entry(point.known_at).or_default().entry(statistic).or_default();
            of.push((point.time - step, value));
        }
    }
    let issued = values.into_iter().filter_map(|(issued_at, mut values)| {
        let mean = values.remove(MEAN)?;
        let all: BTreeSet<usize> = values.values().map(Vec::len).chain([mean.len()]).collect();
        let (steps, mean) = mean.into_iter().unzip();
        let quantiles = values.into_iter().filter_map(|(label, values)| {
            let q = label.strip_prefix('q')?.parse().ok()?;
            Some((q, values.into_iter().map(|(_, value)| value).collect()))
        });
        (all.len() == 1).then(|| Issued { issued_at, steps, mean, quantiles: quantiles.collect() })
    });
    Ok(issued.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_follows_the_sign_rule_and_comes_back_as_it_was() {
        let model = super::super::testing::site("mode: observe");
        let subject = Subject { name: "load".into(), kind: "load", asset: Some("load".into()), sign: -1.0 };
        let at =
            |hour| "2016-08-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hour);
        let issued = Issued {
            issued_at: at(0),
            steps: vec![at(0), at(1)],
            mean: vec![2.0, 3.0],
            quantiles: vec![(0.1, vec![1.0, 2.0]), (0.9, vec![4.0, 5.0])],
        };
        let signed = subject.signed(&issued);
        assert_eq!(signed.mean, [-2.0, -3.0]);
        assert_eq!(
            (quantile_label(signed.quantiles[0].0), &signed.quantiles[0].1),
            ("q0.1".into(), &vec![-4.0, -5.0])
        );
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        let step = SignedDuration::from_hours(1);
        let series = |statistic: &str| {
            let (name, labels) = subject.series(&model, statistic);
            store.commit(|tx| tx.series_id(name, &labels)).unwrap()
        };
        let stats = [
            (MEAN, signed.mean.clone()),
            ("q0.1", signed.quantiles[0].1.clone()),
            ("q0.9", signed.quantiles[1].1.clone()),
        ];
        let mut samples = Vec::new();
        for (statistic, values) in &stats {
            let of = |(start, value): (&Timestamp, &f64)| Sample {
                series: series(statistic),
                time: *start + step,
                known_at: at(0),
                value: Ok(*value),
            };
            samples.extend(signed.steps.iter().zip(values).map(of));
        }
        store.commit(|tx| tx.append_samples(&samples)).unwrap();
        let found = stats.iter().map(|(statistic, _)| (*statistic, series(statistic))).collect();
        let back = read(&store, found, step, at(1)).unwrap();
        assert_eq!(back.len(), 1);
        let back = subject.signed(&back[0]);
        assert_eq!(
            (back.issued_at, &back.steps, &back.mean),
            (issued.issued_at, &issued.steps, &issued.mean)
        );
        for ((q, values), (wanted, of)) in back.quantiles.iter().zip(&issued.quantiles) {
            assert!((q - wanted).abs() < 1e-9 && values == of, "{back:?}");
        }
    }
}
