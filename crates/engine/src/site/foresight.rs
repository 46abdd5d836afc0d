//! Forecasts as they are kept: the latest of every series, what came of earlier ones, and both in the store.
//!
//! In memory a forecast of a load is a magnitude; in the store and on the wire it follows the sign rule of a site.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sos_forecast::accuracy::{Accuracy, AccuracyRecord, Issued};
use sos_forecast::{Forecast, ForecastConfig, Forecaster, Refit, Rivals, SumForecaster};
use sos_store::{Labels, Sample, SeriesId, Store, StoreError, Tx};
use sos_units::Reading;

use super::model::{Asset, SiteModel};
use super::outlook::{Member, Outlook};
use super::telemetry::labels;
use crate::live::ForecastState;

/// Name of the series of an asset's forecasts, kW, positive into the site; the label `statistic` says of what: `mean`,
/// `q0.1`, …. Time is the end of the step, `known_at` when the forecast was issued.
pub(crate) const ASSET: &str = "asset_forecast_kw";
/// As [`ASSET`], of what all assets whose power cannot be chosen need together, kW, import positive.
pub(crate) const NEED: &str = "site_need_forecast_kw";
/// As [`ASSET`], of the carbon intensity of import, kg CO2 per kWh.
pub(crate) const CARBON: &str = "site_carbon_forecast_kg_per_kwh";
/// The label that says what of a forecast a series holds.
const STATISTIC: &str = "statistic";
const MEAN: &str = "mean";
pub(super) const NEED_KIND: &str = "need";
const CARBON_KIND: &str = "carbon";
/// Forecasts kept in the store reach this far ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The latest forecast of a series, what came of the ones before, and where they are kept.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) step: SignedDuration,
    quantiles: Vec<f64>,
    pub(super) accuracy: Accuracy,
    latest: Option<Arc<Forecast>>,
    /// Kept to be compared, and not in the store yet.
    unstored: Option<Issued>,
    /// The series in the store by statistic, the mean first; empty before [`Outlook::open`].
    kept: Vec<(String, SeriesId)>,
}

impl Track {
    pub(super) fn new(config: &ForecastConfig) -> Self {
        Self {
            step: config.step,
            quantiles: config.quantiles.clone(),
            accuracy: Accuracy::new(config.step),
            latest: None,
            unstored: None,
            kept: Vec::new(),
        }
    }

    fn outcome(&mut self, time: Timestamp, value: Reading<f64>) {
        if let Ok(value) = value {
            self.accuracy.outcome(time, value);
        }
    }

    fn issued(&mut self, forecast: Forecast) -> Arc<Forecast> {
        let forecast = Arc::new(forecast);
        if let Some(issued) = self.accuracy.issued(&forecast) {
            self.unstored = Some(issued.clone());
        }
        self.latest = Some(Arc::clone(&forecast));
        forecast
    }
}

/// A forecaster and what it said; [`Forecaster`] of a series or [`SumForecaster`] of the sum of several.
#[derive(Debug)]
pub(super) struct Tracked<F = Forecaster> {
    pub(super) forecaster: F,
    pub(super) track: Track,
    /// Where all members are asked too.
    pub(super) rivals: Option<Rivals>,
    /// Decisions to forget what came before a change, oldest first.
    pub(super) refits: Vec<Refit>,
}

impl Tracked {
    pub(super) fn new(forecaster: Forecaster) -> Self {
        let track = Track::new(forecaster.config());
        Self { forecaster, track, rivals: None, refits: Vec::new() }
    }

    /// Learns the mean of a step.
    pub(super) fn observe(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        self.forecaster.observe(time, known_at, value);
        if let (Some(rivals), Ok(value)) = (&mut self.rivals, value) {
            rivals.outcome(time, value);
        }
        self.track.outcome(time, value);
    }

    /// Forecasts for a plan.
    pub(super) fn forecast(&mut self, issued_at: Timestamp, horizon: usize) -> Arc<Forecast> {
        let own = self.forecaster.forecast(issued_at, horizon);
        self.track.issued(match &mut self.rivals {
            Some(rivals) => rivals.choose(own),
            None => own,
        })
    }
}

impl Tracked<SumForecaster> {
    pub(super) fn sum(forecaster: SumForecaster, config: &ForecastConfig) -> Self {
        Self { forecaster, track: Track::new(config), rivals: None, refits: Vec::new() }
    }

    /// Learns the mean of a step of the sum.
    pub(super) fn observe(&mut self, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        self.forecaster.observe(time, known_at, value);
        self.track.outcome(time, value);
    }

    /// The sum of `members`, each times its factor.
    pub(super) fn forecast(
        &mut self,
        issued_at: Timestamp,
        horizon: usize,
        members: &[(&Forecast, f64)],
    ) -> Arc<Forecast> {
        self.track.issued(self.forecaster.forecast(issued_at, horizon, members))
    }
}

/// A series that is forecast.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The asset's name, or `SITE.need` or `SITE.carbon`, which no asset can be called.
    pub(super) name: String,
    /// `load`, `solar`, `need` or `carbon`.
    pub(super) kind: &'static str,
    /// The asset; none for what is the site's.
    asset: Option<String>,
    /// What forecasts are multiplied with to follow the sign rule of a site.
    sign: f64,
}

impl Subject {
    /// Kind and name of the resource it belongs to.
    pub(super) fn resource<'a>(&'a self, model: &'a SiteModel) -> (&'static str, &'a str) {
        self.asset.as_deref().map_or(("Site", &model.name), |asset| ("Asset", asset))
    }

    pub(super) fn unit(&self) -> &'static str {
        if self.is_power() { "kW" } else { "kgCO2/kWh" }
    }

    fn is_power(&self) -> bool {
        self.kind != CARBON_KIND
    }

    fn series(&self, model: &SiteModel, statistic: &str) -> (&'static str, Labels) {
        let mut labels = labels(&model.name, self.asset.as_deref());
        labels.insert(STATISTIC.to_owned(), statistic.to_owned());
        let name = match (&self.asset, self.is_power()) {
            (Some(_), _) => ASSET,
            (None, true) => NEED,
            (None, false) => CARBON,
        };
        (name, labels)
    }

    /// What of a forecast is kept, under the sign rule: the mean, then the quantiles, ascending.
    fn statistics(&self, quantiles: &[f64]) -> Vec<String> {
        let mut turned: Vec<f64> = quantiles.iter().map(|q| self.turned(*q)).collect();
        turned.sort_by(f64::total_cmp);
        std::iter::once(MEAN.to_owned()).chain(turned.into_iter().map(quantile_label)).collect()
    }

    /// The quantile of the other sign: where values turn, the lowest is the highest.
    fn turned(&self, q: f64) -> f64 {
        if self.sign < 0.0 { 1.0 - q } else { q }
    }

    /// From a magnitude to the sign rule, or back.
    fn signed(&self, issued: &Issued) -> Issued {
        let sign = self.sign;
        let times = |values: &[f64]| values.iter().map(|value| value * sign).collect();
        let quantile = |(q, values): &(f64, Vec<f64>)| (self.turned(*q), times(values));
        let mut quantiles: Vec<(f64, Vec<f64>)> = issued.quantiles.iter().map(quantile).collect();
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        Issued { mean: times(&issued.mean), quantiles, ..issued.clone() }
    }

    /// As it is kept: a watt, or a milligram, is fine enough.
    fn rounded(&self, value: f64) -> f64 {
        let fine = if self.is_power() { 1e3 } else { 1e6 };
        (value * fine).round() / fine
    }
}

impl Outlook {
    /// Every series that is forecast, assets first.
    pub(super) fn tracks<'a>(
        &'a self,
        model: &'a SiteModel,
    ) -> impl Iterator<Item = (Subject, &'a Track)> + 'a {
        self.subjects(model).into_iter().zip(self.all())
    }

    pub(super) fn subjects(&self, model: &SiteModel) -> Vec<Subject> {
        let member = |(asset, member): (&Asset, &Option<Member>)| {
            let (name, sign) = (asset.name.clone(), member.as_ref()?.sign);
            Some(Subject { asset: Some(name.clone()), name, kind: asset.kind.word(), sign })
        };
        let of_site = |kind| Subject { name: format!("{}.{kind}", model.name), kind, asset: None, sign: 1.0 };
        let members = model.assets.iter().zip(&self.members).filter_map(member);
        let carbon = self.carbon.iter().map(|_| of_site(CARBON_KIND));
        members.chain(std::iter::once(of_site(NEED_KIND))).chain(carbon).collect()
    }

    /// In the order of the subjects.
    fn all(&self) -> impl Iterator<Item = &Track> {
        let members = self.members.iter().flatten().map(|member| &member.tracked.track);
        let carbon = self.carbon.iter().map(|carbon| &carbon.track);
        members.chain(std::iter::once(&self.need.track)).chain(carbon)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        let members = self.members.iter_mut().flatten().map(|member| &mut member.tracked.track);
        let carbon = self.carbon.iter_mut().map(|carbon| &mut carbon.track);
        members.chain(std::iter::once(&mut self.need.track)).chain(carbon)
    }

    /// The forecasters of single series, in the order of their subjects.
    pub(super) fn trackeds(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.members.iter_mut().flatten().map(|member| &mut member.tracked).chain(&mut self.carbon)
    }

    /// Finds or creates the series in which forecasts are kept.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn open(&mut self, store: &Store, model: &SiteModel) -> Result<(), StoreError> {
        let subjects = self.subjects(model);
        store.commit(|tx| {
            for (subject, track) in subjects.iter().zip(self.all_mut()) {
                let mut id = |statistic: String| -> Result<(String, SeriesId), StoreError> {
                    let (name, labels) = subject.series(model, &statistic);
                    Ok((statistic, tx.series_id(name, &labels)?))
                };
                let statistics = subject.statistics(&track.quantiles);
                track.kept = statistics.into_iter().map(&mut id).collect::<Result<_, _>>()?;
            }
            Ok(())
        })
    }

    /// Whether forecasts wait to be stored: once an hour.
    pub(super) fn has_unstored(&self) -> bool {
        self.all().any(|track| track.unstored.is_some())
    }

    /// Stores what waits for it: samples of the forecasts kept, and how good the earlier ones were.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn store(&self, tx: &mut Tx<'_>, model: &SiteModel) -> Result<Vec<Sample>, StoreError> {
        if !self.has_unstored() {
            return Ok(Vec::new());
        }
        let mut samples = Vec::new();
        let mut records: BTreeMap<String, AccuracyRecord> = BTreeMap::new();
        for (subject, track) in self.tracks(model) {
            if let Some(issued) = &track.unstored {
                append(&mut samples, &subject, track, &subject.signed(issued));
            }
            records.insert(subject.name, track.accuracy.record());
        }
        let mut put = |key: &str, records: String| tx.put_kv(key, &serde_json::Value::String(records));
        put(&key(model), serde_json::to_string(&records).unwrap_or_default())?;
        let rivals = self.rivals(model);
        if !rivals.is_empty() {
            put(&rivals_key(model), serde_json::to_string(&rivals).unwrap_or_default())?;
        }
        Ok(samples)
    }

    /// What waited is stored.
    pub(super) fn stored(&mut self) {
        self.all_mut().for_each(|track| track.unstored = None);
    }

    /// Goes on where an earlier run stopped at `now`. To be called before what was measured is learned again, so that
    /// each value is compared once.
    pub(super) fn resume(
        &mut self,
        store: &Store,
        model: &SiteModel,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let records: BTreeMap<String, AccuracyRecord> = kept(store, &key(model))?;
        let rivals: BTreeMap<String, [AccuracyRecord; 2]> = kept(store, &rivals_key(model))?;
        let subjects = self.subjects(model);
        self.restore_rivals(model, &rivals);
        self.restore_refits(store, model)?;
        for (subject, track) in subjects.into_iter().zip(self.all_mut()) {
            if let Some(record) = records.get(&subject.name) {
                track.accuracy.restore(record);
            }
            for issued in read(store, &track.kept, track.step, now)? {
                let _ = track.accuracy.keep(subject.signed(&issued));
            }
        }
        Ok(())
    }

    /// Every series with its latest forecast, for showing.
    pub(super) fn states(&self, model: &SiteModel) -> Vec<ForecastState> {
        let state = |(subject, track): (Subject, &Track)| {
            let accuracy = &track.accuracy;
            Some(ForecastState {
                forecast: track.latest.clone()?,
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
        self.tracks(model).filter_map(state).collect()
    }
}

/// The samples of one issue, already under the sign rule.
fn append(samples: &mut Vec<Sample>, subject: &Subject, track: &Track, issued: &Issued) {
    let statistics = std::iter::once(&issued.mean).chain(issued.quantiles.iter().map(|(_, values)| values));
    for ((_, series), values) in track.kept.iter().zip(statistics) {
        samples.extend(issued.steps.iter().zip(values).map(|(start, value)| Sample {
            series: *series,
            time: *start + track.step,
            known_at: issued.issued_at,
            value: Ok(subject.rounded(*value)),
        }));
    }
}

fn key(model: &SiteModel) -> String {
    format!("site/{}/forecasts", model.name)
}

fn rivals_key(model: &SiteModel) -> String {
    format!("site/{}/rivals", model.name)
}

/// What is kept under a key; nothing where it cannot be read.
pub(super) fn kept<T: serde::de::DeserializeOwned + Default>(
    store: &Store,
    key: &str,
) -> Result<T, StoreError> {
    let value = store.get_kv(key)?;
    let text = value.as_ref().and_then(serde_json::Value::as_str);
    Ok(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
}

fn quantile_label(q: f64) -> String {
    format!("q{}", (q * 1e6).round() / 1e6)
}

/// Values of the statistics of one issue: start of the step and value.
type Statistics<'a> = BTreeMap<&'a str, Vec<(Timestamp, f64)>>;

/// The forecasts that reach beyond `now`, as they are in the store, oldest first.
fn read(
    store: &Store,
    series: &[(String, SeriesId)],
    step: SignedDuration,
    now: Timestamp,
) -> Result<Vec<Issued>, StoreError> {
    let mut values: BTreeMap<Timestamp, Statistics<'_>> = BTreeMap::new();
    let before = now.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
    for (statistic, id) in series {
        for point in store.versions(*id, before..now + AHEAD * 2)? {
            let Some(value) = point.value.ok().filter(|_| point.known_at >= before) else { continue };
            let of = values.entry(point.known_at).or_default().entry(statistic.as_str()).or_default();
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
        let found: Vec<(String, SeriesId)> =
            stats.iter().map(|(statistic, _)| ((*statistic).to_owned(), series(statistic))).collect();
        let back = read(&store, &found, step, at(1)).unwrap();
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
