//! A line in, an answer out, and what is refused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_model::{did_you_mean, known_list};
use sos_units::{Missing, Power, Reading, Soc};

use super::Control;
use crate::signals::SignalSeries;

/// Times before and after which nothing is taken, seconds since 1970: far from the ends of what can be reckoned with.
const TIMES: std::ops::Range<i64> = 0..221_845_392_000;

/// What a line says.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// End of the step that was measured and start of the one that is decided.
    pub time: Timestamp,
    /// What was measured, by asset.
    pub measured: BTreeMap<String, Measured>,
    /// Values that hold now, by signal, in its unit.
    pub signals: BTreeMap<String, Reading<f64>>,
    /// Values from now on, by signal in its unit, or by asset in kW, positive into the site.
    pub ahead: BTreeMap<String, Ahead>,
}

/// What was measured of an asset.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Mean over the step that has ended, as its device measures it, positive into the site.
    pub power: Reading<Power>,
    /// At the end of that step; of a heat pump the share of heat in store. None of a vehicle that is not plugged in.
    pub soc: Reading<Soc>,
    /// Of a building at the end of that step, °C.
    pub temperature: Reading<f64>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { power: Err(Missing::Gap), soc: Err(Missing::Gap), temperature: Err(Missing::Gap) }
    }
}

/// Values with the times from which they hold, ascending; each holds until the next one, the last for as long as the one before it.
#[derive(Clone, Debug, Default)]
pub struct Ahead(pub Vec<(Timestamp, Reading<f64>)>);

/// Set-points for the step that begins.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// By asset, positive into the site; of a plant the most that it may give.
    pub setpoints: BTreeMap<String, Power>,
    /// Why, by asset.
    pub because: BTreeMap<String, String>,
    /// What people should know besides.
    pub notes: Vec<String>,
}

impl Ahead {
    /// Tells a series what holds in `now..end`.
    pub(super) fn tell(&self, series: &mut SignalSeries, scale: f64, now: Timestamp, end: Timestamp) {
        let times = &self.0;
        let last = match times.as_slice() {
            [.., (before, _), (last, _)] => last.duration_since(*before),
            _ => series.step(),
        };
        for (place, (from, value)) in times.iter().enumerate() {
            let until =
                times.get(place + 1).map_or_else(|| from.checked_add(last).unwrap_or(end), |next| next.0);
            let (from, until) = ((*from).max(now), until.min(end));
            if from < until {
                series.tell(from, until, value.map(|value| value * scale));
            }
        }
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let wrong = self.0.windows(2).find(|pair| pair[1].0 <= pair[0].0);
        wrong.map_or(Ok(()), |pair| {
            Err(format!(
                "ahead.{name}: {} does not come after {}; expected ascending times",
                pair[1].0, pair[0].0
            ))
        })
    }
}

impl Control {
    /// Whether a line can be taken.
    pub(super) fn check(&self, line: &Line) -> Result<(), String> {
        let now = line.time;
        if !TIMES.contains(&now.as_second()) || now.subsec_nanosecond() != 0 {
            return Err(format!("time: {now} is not taken; expected whole seconds from 1970 to 9000"));
        }
        if let Some(last) = self.last.filter(|last| now <= *last) {
            return Err(format!("time: {now} does not come after {last}, the time of the line before"));
        }
        for (name, measured) in &line.measured {
            let assets = || self.model.assets.iter().map(|asset| asset.name.as_str());
            known("measured", "Asset", name, assets)?;
            measured.check(name)?;
        }
        let signals = || self.signals.keys().map(String::as_str);
        for (name, value) in &line.signals {
            known("signals", "Signal", name, signals)?;
            finite(&format!("signals.{name}"), *value)?;
        }
        for (name, ahead) in &line.ahead {
            if self.forecast_asset(name).is_none() {
                known("ahead", "Signal, load or solar plant", name, signals)?;
            }
            ahead.check(name)?;
            ahead.0.iter().try_for_each(|(_, value)| finite(&format!("ahead.{name}"), *value))?;
        }
        Ok(())
    }
}

impl Measured {
    fn check(&self, name: &str) -> Result<(), String> {
        finite(&format!("measured.{name}.power_kw"), self.power.map(Power::as_kw))?;
        finite(&format!("measured.{name}.temperature_c"), self.temperature)?;
        let soc = self.soc.map(Soc::as_fraction);
        match soc {
            Ok(soc) if !(-SLIGHTLY..=1.0 + SLIGHTLY).contains(&soc) => {
                Err(format!("measured.{name}.soc: {soc} is out of range; expected a share of 0…1"))
            }
            _ => Ok(()),
        }
    }
}

/// A state of charge may be off by as much: rounding of a simulation.
const SLIGHTLY: f64 = 1e-3;
/// No power, price or intensity is as large.
const LARGEST: f64 = 1e9;

fn finite(place: &str, value: Reading<f64>) -> Result<(), String> {
    match value {
        Ok(value) if value.abs() > LARGEST || value.is_nan() => {
            Err(format!("{place}: {value} is out of range; expected at most {LARGEST}"))
        }
        _ => Ok(()),
    }
}

fn known<'a, I: Iterator<Item = &'a str>>(
    key: &str,
    kind: &str,
    name: &str,
    names: impl Fn() -> I,
) -> Result<(), String> {
    if names().any(|known| known == name) {
        return Ok(());
    }
    let name = sos_model::shown(name);
    Err(format!(
        "{key}: no {kind} is named \"{name}\"; {}{}",
        did_you_mean(&name, names()),
        known_list(names())
    ))
}
