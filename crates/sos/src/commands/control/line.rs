//! The lines as they are written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_engine::site::control::{Ahead, Answer, Line, Measured};
use sos_units::{Missing, Power, Reading, Soc};

/// A line in. What is `null` or not there is missing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    time: String,
    measured: Option<BTreeMap<String, Option<GivenAsset>>>,
    signals: Option<BTreeMap<String, Option<f64>>>,
    ahead: Option<BTreeMap<String, Option<Vec<GivenValue>>>>,
}

/// What was measured of an asset; what else a simulation says of it is passed over.
#[derive(Debug, Deserialize)]
struct GivenAsset {
    /// kW, positive from the asset into the site.
    power_kw: Option<f64>,
    /// 0…1.
    soc: Option<f64>,
    /// Of a building, °C.
    temperature_c: Option<f64>,
}

/// A value from a time on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenValue {
    time: String,
    value: Option<f64>,
}

/// A line out.
#[derive(Debug, Serialize)]
pub(super) struct Written<'a> {
    time: &'a str,
    /// kW, positive from the asset into the site.
    setpoints: BTreeMap<&'a str, f64>,
    because: &'a BTreeMap<String, String>,
}

/// Reads a line; its time is answered as it was written.
///
/// # Errors
/// What is wrong with it, with its column.
pub(super) fn read(text: &[u8]) -> Result<(String, Line), String> {
    // A list would be read as the fields in their order.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err("column 1: a list; expected an object such as {\"time\": …, \"measured\": …}".into());
    }
    let given: Given = serde_json::from_slice(text).map_err(|error| refused(text, &error))?;
    let measured = |(name, asset): (String, Option<GivenAsset>)| {
        let measured = asset.map_or_else(Measured::default, |asset| Measured {
            power: reading(asset.power_kw).map(Power::kw),
            soc: reading(asset.soc).map(Soc::fraction),
            temperature: reading(asset.temperature_c),
        });
        (name, measured)
    };
    let ahead = |(name, values): (String, Option<Vec<GivenValue>>)| {
        let value = |(place, given): (usize, GivenValue)| {
            let time = time(&given.time).map_err(|problem| format!("ahead.{name}[{place}].{problem}"))?;
            Ok((time, reading(given.value)))
        };
        let values = values.into_iter().flatten().enumerate().map(value).collect::<Result<_, String>>()?;
        Ok((name.clone(), Ahead(values)))
    };
    let line = Line {
        time: time(&given.time)?,
        measured: given.measured.into_iter().flatten().map(measured).collect(),
        signals: given.signals.into_iter().flatten().map(|(name, value)| (name, reading(value))).collect(),
        ahead: given.ahead.into_iter().flatten().map(ahead).collect::<Result<_, String>>()?,
    };
    Ok((given.time, line))
}

fn reading(value: Option<f64>) -> Reading<f64> {
    value.ok_or(Missing::Gap)
}

fn time(text: &str) -> Result<Timestamp, String> {
    let shown = || sos_model::shown(text);
    text.parse().map_err(|_| format!("time: \"{}\" is not a time; expected RFC 3339 with offset", shown()))
}

/// Why a text is no line. Some programs write NaN for what is missing, which JSON does not know.
fn refused(text: &[u8], error: &serde_json::Error) -> String {
    let (why, column) = (error.to_string(), error.column());
    let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
    let is_nan = !error.is_data() && String::from_utf8_lossy(text).contains("NaN");
    let help = if is_nan { "; NaN is not JSON: expected null for what is missing" } else { "" };
    format!("column {column}: {why}{help}")
}

impl<'a> Written<'a> {
    /// The answer to the line of a time.
    pub(super) fn new(time: &'a str, answer: &'a Answer) -> Self {
        let setpoints = answer.setpoints.iter().map(|(name, power)| (name.as_str(), power.as_kw()));
        Self { time, setpoints: setpoints.collect(), because: &answer.because }
    }

    /// As one line.
    pub(super) fn line(&self) -> Result<String, String> {
        serde_json::to_string(self).map(|text| text + "\n").map_err(|error| error.to_string())
    }
}
