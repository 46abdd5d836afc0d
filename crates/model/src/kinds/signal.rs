//! `Signal`: a series of values that comes from outside, such as a price or a temperature.

use jiff::SignedDuration;
use serde_json::{Value as Json, json};

use crate::currency::Currency;
use crate::declare::{choice, record, words};
use crate::field::{Cx, Field, scalar_schema};
use crate::node::Node;
use crate::problem::{known_list, shown};
use crate::quantity::{price_scale, series_scale};
use crate::scalar::KnownAhead;
use crate::schema::{ABOVE_ZERO, Schema};

record! {
    /// A series of values that comes from outside: a price, a carbon intensity, a temperature, a measured power.
    pub struct SignalSpec checked by check_signal {
        /// Unit of the values: a price such as `USD/kWh`, `kg/kWh`, `kW`, `kWh`, `°C`, `%`, `1`, `W/m2`, `m/s`.
        unit: SignalUnit;
        /// Where the values come from.
        source: SignalSource;
        /// How far ahead values are published: `false`, a duration such as `24 h`, or `always`.
        known_ahead: KnownAhead = KnownAhead::Never;
        /// Time between two values. Default: found in the data.
        step: Option<SignedDuration>, in ABOVE_ZERO;
    }
}

choice! {
    /// Where the values of a signal come from.
    pub enum SignalSource {
        /// A column of a CSV file.
        File(FileSource),
        /// The lines that `sos control` reads; for no other command.
        Lines(LinesSource),
    }
}

record! {
    /// Values come with the lines of `sos control`, in the unit of the signal.
    pub struct LinesSource {
    }
}

record! {
    /// A column of a CSV file with a header line.
    pub struct FileSource checked by check_file {
        /// Path of the file, relative to the manifest.
        path: String;
        /// Name of the column with the values.
        column: String;
        /// Name of the column with the times: RFC 3339 with offset, or local times of the site's zone. A time is the
        /// start of its step.
        time: String = "time".to_owned();
        /// For powers: which direction is positive in the file. Values are converted to generation on reading.
        sign: Option<SignConvention>;
    }
}

words! {
    /// Which direction of power is positive in a data source.
    pub enum SignConvention as "sign" {
        /// Power from the asset into the site is positive, as everywhere in `sos`.
        Generation,
        /// Power from the site into the asset is positive.
        Consumption,
    }
}

/// What a signal measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Money per energy.
    Price(Currency),
    /// Emissions per energy.
    CarbonIntensity,
    /// Power.
    Power,
    /// Energy within a step.
    Energy,
    /// Temperature in °C.
    Temperature,
    /// Irradiance in W/m2.
    Irradiance,
    /// Speed in m/s.
    Speed,
    /// A share, 0…1.
    Fraction,
    /// A bare number.
    Number,
}

/// The unit of a signal with its factor to the canonical unit of its dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalUnit {
    /// As it was written.
    pub text: String,
    /// What is measured.
    pub dimension: Dimension,
    /// Values times this are in the canonical unit: currency/kWh, kg/kWh, kW, kWh, °C, W/m2, m/s, 0…1.
    pub scale: f64,
}

impl SignalUnit {
    /// The unit with this notation, when it is known.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let (dimension, scale) = match text {
            "°C" | "C" | "degC" => (Dimension::Temperature, 1.0),
            "W/m2" | "W/m²" => (Dimension::Irradiance, 1.0),
            "m/s" => (Dimension::Speed, 1.0),
            "%" => (Dimension::Fraction, 0.01),
            "1" => (Dimension::Number, 1.0),
            _ => match (series_scale(text), price_scale(text)) {
                (Some(("kW", scale)), _) => (Dimension::Power, scale),
                (Some(("kWh", scale)), _) => (Dimension::Energy, scale),
                (Some((_, scale)), _) => (Dimension::CarbonIntensity, scale),
                (None, Some((currency, scale))) => (Dimension::Price(currency), scale),
                (None, None) => return None,
            },
        };
        Some(Self { text: text.to_owned(), dimension, scale })
    }
}

const KNOWN_UNITS: [&str; 15] = [
    "CUR/kWh", "CUR/MWh", "kg/kWh", "g/kWh", "W", "kW", "MW", "Wh", "kWh", "MWh", "°C", "W/m2", "m/s", "%",
    "1",
];

impl Field for SignalUnit {
    fn schema() -> Schema {
        scalar_schema(
            "unit",
            "a unit, such as USD/kWh, kg/kWh, kW or °C",
            json!({"type": ["string", "integer"]}),
        )
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let unit = Self::new(text);
        if unit.is_none() {
            let help = format!("{} with CUR an ISO 4217 code", known_list(KNOWN_UNITS));
            cx.report(node.position, format!("unknown unit \"{}\"", shown(text)), help);
        }
        unit
    }
    fn write(&self) -> Json {
        json!(self.text)
    }
}

fn check_file(file: &FileSource, node: &Node, cx: &mut Cx<'_>) {
    for (key, value) in [("path", &file.path), ("column", &file.column), ("time", &file.time)] {
        if value.trim().is_empty() {
            let position = node.get(key).map_or(node.position, |n| n.position);
            cx.report(position, format!("{key} is empty"), "expected text");
        }
    }
    if file.column == file.time {
        let position = node.get("column").map_or(node.position, |n| n.position);
        cx.report(position, "values and times are the same column", "expected two different columns");
    }
}

fn check_signal(signal: &SignalSpec, node: &Node, cx: &mut Cx<'_>) {
    let SignalSource::File(file) = &signal.source else { return };
    let directed = matches!(signal.unit.dimension, Dimension::Power | Dimension::Energy);
    if file.sign.is_some() && !directed {
        let at = node.get("source").and_then(|n| n.get("file")).and_then(|n| n.get("sign"));
        let position = at.map_or(node.position, |n| n.position);
        let message = format!("sign has no meaning for values in {}", signal.unit.text);
        cx.report(position, message, "remove it; only power and energy have a direction");
    }
}
