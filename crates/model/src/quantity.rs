//! Quantities with their unit as people write them: `6.4 kWh`, `0.22 USD/kWh`, `15 min`.

use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use sos_units::{CarbonIntensity, CarbonPrice, Emissions, Energy, Money, Power, Price, Soc};

use crate::currency::Currency;
use crate::field::{Cx, Field};
use crate::node::Node;
use crate::problem::{did_you_mean, known_list, shown};
use crate::schema::{Scalar, Schema};

/// A unit with the factor to the canonical one as `multiply / divide`, so that both stay exact.
struct Unit {
    name: &'static str,
    multiply: f64,
    divide: f64,
}

const fn unit(name: &'static str, multiply: f64, divide: f64) -> Unit {
    Unit { name, multiply, divide }
}

/// A physical dimension with its units; the canonical one comes first where values are written back.
struct Dimension {
    name: &'static str,
    example: &'static str,
    canonical: &'static str,
    units: &'static [Unit],
}

static POWER: Dimension = Dimension {
    name: "power",
    example: "5 kW",
    canonical: "kW",
    units: &[unit("W", 1.0, 1e3), unit("kW", 1.0, 1.0), unit("MW", 1e3, 1.0)],
};
static ENERGY: Dimension = Dimension {
    name: "energy",
    example: "6.4 kWh",
    canonical: "kWh",
    units: &[unit("Wh", 1.0, 1e3), unit("kWh", 1.0, 1.0), unit("MWh", 1e3, 1.0)],
};
static DURATION: Dimension = Dimension {
    name: "duration",
    example: "15 min",
    canonical: "s",
    units: &[
        unit("ms", 1.0, 1e3),
        unit("s", 1.0, 1.0),
        unit("min", 60.0, 1.0),
        unit("h", 3600.0, 1.0),
        unit("d", 86400.0, 1.0),
    ],
};
static INTENSITY: Dimension = Dimension {
    name: "carbon intensity",
    example: "0.2 kg/kWh",
    canonical: "kg/kWh",
    units: &[
        unit("g/kWh", 1.0, 1e3),
        unit("kg/kWh", 1.0, 1.0),
        unit("kg/MWh", 1.0, 1e3),
        unit("t/MWh", 1.0, 1.0),
        unit("gCO2/kWh", 1.0, 1e3),
        unit("kgCO2/kWh", 1.0, 1.0),
    ],
};
static RAMP: Dimension = Dimension {
    name: "ramp",
    example: "2 kW/min",
    canonical: "kW/min",
    units: &[
        unit("W/s", 60.0, 1e3),
        unit("kW/s", 60.0, 1.0),
        unit("W/min", 1.0, 1e3),
        unit("kW/min", 1.0, 1.0),
        unit("MW/min", 1e3, 1.0),
    ],
};
static SIZE: Dimension = Dimension {
    name: "size",
    example: "64 MiB",
    canonical: "B",
    units: &[
        unit("B", 1.0, 1.0),
        unit("kB", 1e3, 1.0),
        unit("MB", 1e6, 1.0),
        unit("GB", 1e9, 1.0),
        unit("KiB", 1024.0, 1.0),
        unit("MiB", 1_048_576.0, 1.0),
        unit("GiB", 1_073_741_824.0, 1.0),
    ],
};
static REQUESTS: Dimension = Dimension {
    name: "rate of requests",
    example: "20/s",
    canonical: "/s",
    units: &[unit("/s", 1.0, 1.0), unit("/min", 1.0, 60.0), unit("/h", 1.0, 3600.0)],
};
static EMISSIONS: Dimension = Dimension {
    name: "emissions",
    example: "1200 kg",
    canonical: "kg",
    units: &[unit("g", 1.0, 1e3), unit("kg", 1.0, 1.0), unit("t", 1e3, 1.0)],
};
static EMISSION_RATE: Dimension = Dimension {
    name: "emissions in a time",
    example: "0.5 kg/h",
    canonical: "kg/h",
    units: &[
        unit("g/h", 1.0, 1e3),
        unit("kg/h", 1.0, 1.0),
        unit("gCO2/h", 1.0, 1e3),
        unit("kgCO2/h", 1.0, 1.0),
        unit("kg/d", 1.0, 24.0),
    ],
};
/// What follows the currency in a price.
static PER_ENERGY: Dimension = Dimension {
    name: "price",
    example: "0.22 USD/kWh",
    canonical: "/kWh",
    units: &[unit("/Wh", 1e3, 1.0), unit("/kWh", 1.0, 1.0), unit("/MWh", 1.0, 1e3)],
};
static PER_CARBON: Dimension = Dimension {
    name: "carbon price",
    example: "0.1 USD/kg",
    canonical: "/kg",
    units: &[unit("/kg", 1.0, 1.0), unit("/t", 1.0, 1e3), unit("/kgCO2", 1.0, 1.0), unit("/tCO2", 1.0, 1e3)],
};
static MONEY: Dimension =
    Dimension { name: "money", example: "5 USD", canonical: "", units: &[unit("", 1.0, 1.0)] };

static PER_POWER: Dimension = Dimension {
    name: "price of power",
    example: "8.5 EUR/kW",
    canonical: "/kW",
    units: &[unit("/W", 1e3, 1.0), unit("/kW", 1.0, 1.0), unit("/MW", 1.0, 1e3)],
};
static TEMPERATURE: Dimension = Dimension {
    name: "temperature",
    example: "21 °C",
    canonical: "°C",
    units: &[unit("°C", 1.0, 1.0), unit("C", 1.0, 1.0), unit("degC", 1.0, 1.0)],
};
static HEAT_CAPACITY: Dimension = Dimension {
    name: "heat capacity",
    example: "4 kWh/K",
    canonical: "kWh/K",
    units: &[
        unit("Wh/K", 1.0, 1e3),
        unit("kWh/K", 1.0, 1.0),
        unit("MJ/K", 1.0, 3.6),
        unit("kJ/K", 1.0, 3600.0),
    ],
};
static HEAT_LOSS: Dimension = Dimension {
    name: "heat loss",
    example: "150 W/K",
    canonical: "kW/K",
    units: &[unit("W/K", 1.0, 1e3), unit("kW/K", 1.0, 1.0)],
};

static PHYSICAL: [&Dimension; 12] = [
    &POWER,
    &ENERGY,
    &DURATION,
    &INTENSITY,
    &RAMP,
    &SIZE,
    &REQUESTS,
    &EMISSION_RATE,
    &EMISSIONS,
    &TEMPERATURE,
    &HEAT_CAPACITY,
    &HEAT_LOSS,
];

/// What is wrong with a notation: message and help.
type Wrong = (String, String);

impl Dimension {
    fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.units.iter().map(|unit| unit.name)
    }

    fn expected(&self) -> String {
        format!("a number with a unit, such as {}", self.example)
    }

    fn help(&self) -> String {
        format!("expected {}; {}", self.expected(), known_list(self.names()))
    }

    fn schema(&self) -> Schema {
        let known: Vec<String> = self.names().map(str::to_owned).collect();
        let units = known.join("|");
        let json = json!({"type": "string", "pattern": format!(r"^\s*{NUMBER}\s*({units})\s*$")});
        Schema::Scalar(Scalar { name: self.name, expected: self.expected(), known, json })
    }

    fn find(&self, name: &str) -> Option<&'static Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The number in the canonical unit.
    fn parse(&self, text: &str) -> Result<f64, Wrong> {
        let (number, rest) = split_number(text).map_err(|message| (message, self.help()))?;
        if rest.is_empty() {
            return Err((format!("{} has no unit", shown(text)), self.help()));
        }
        let Some(unit) = self.find(rest) else {
            let message = match PHYSICAL.iter().find(|other| other.find(rest).is_some()) {
                Some(other) => format!("{rest} is a unit of {}, not of {}", other.name, self.name),
                None => format!("unknown unit \"{}\"", shown(rest)),
            };
            return Err((message, format!("{}{}", did_you_mean(rest, self.names()), self.help())));
        };
        unit.scale(number).ok_or_else(|| (format!("{} is too large", shown(text)), self.help()))
    }
}

impl Unit {
    fn scale(&self, number: f64) -> Option<f64> {
        let value = number * self.multiply / self.divide;
        // `-0` is zero, and is written so.
        (value.abs() <= 1e15).then_some(if value == 0.0 { 0.0 } else { value })
    }
}

/// The notation of a number as a regular expression.
const NUMBER: &str = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?";

/// The number at the start, and what follows it without spaces around.
pub(crate) fn split_number(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = number_end(text.as_bytes());
    let (number, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if end == 0 {
        let bare = text.trim_start_matches(['.', '+', '-']).to_ascii_lowercase();
        let message = if bare.starts_with("nan") || bare.starts_with("inf") {
            format!("{} is not a finite number", shown(text))
        } else {
            format!("\"{}\" is not a number", shown(text))
        };
        return Err(message);
    }
    if rest.starts_with(',') {
        return Err(format!(
            "\"{}\" has a comma: write a decimal point and no thousands separators",
            shown(text)
        ));
    }
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, rest)),
        _ => Err(format!("{} is too large", shown(text))),
    }
}

/// The length of the number that the text starts with.
fn number_end(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        if whole + fraction > 0 {
            at += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = if text.len() > at + 1 + sign { digits(at + 1 + sign) } else { 0 };
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

fn read_with<T: Field>(node: &Node, cx: &mut Cx<'_>, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
    let text = cx.scalar::<T>(node)?;
    match parse(text) {
        Ok(value) => Some(value),
        Err((message, help)) => {
            cx.report(node.position, message, help);
            None
        }
    }
}

macro_rules! quantity_field {
    ($ty:ty, $dimension:ident, $new:path, $get:path) => {
        impl Field for $ty {
            fn schema() -> Schema {
                $dimension.schema()
            }
            fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                read_with(node, cx, |text| $dimension.parse(text).map($new))
            }
            fn write(&self) -> Json {
                json!(format!("{} {}", $get(*self), $dimension.canonical))
            }
            fn magnitude(&self) -> Option<f64> {
                Some($get(*self))
            }
            fn unit() -> &'static str {
                $dimension.canonical
            }
        }
    };
}
quantity_field!(Power, POWER, Power::kw, Power::as_kw);
quantity_field!(Energy, ENERGY, Energy::kwh, Energy::as_kwh);
quantity_field!(CarbonIntensity, INTENSITY, CarbonIntensity::kg_per_kwh, CarbonIntensity::as_kg_per_kwh);
quantity_field!(Ramp, RAMP, Ramp::new, Ramp::kw_per_minute);
quantity_field!(RequestRate, REQUESTS, RequestRate::per_second, RequestRate::as_per_second);
quantity_field!(Emissions, EMISSIONS, Emissions::kg, Emissions::as_kg);
quantity_field!(EmissionRate, EMISSION_RATE, EmissionRate::kg_per_hour, EmissionRate::as_kg_per_hour);

/// A quantity with one unit, which only manifests know.
macro_rules! declared_quantity {
    ($(#[$doc:meta])* $name:ident, $new:ident, $get:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// From a number of its unit.
            #[must_use]
            pub const fn $new(value: f64) -> Self {
                Self(value)
            }
            /// The number of its unit.
            #[must_use]
            pub const fn $get(self) -> f64 {
                self.0
            }
        }
    };
}
declared_quantity!(
    /// Money per power, in the site's currency per kW.
    CapacityPrice, per_kw, as_per_kw
);
declared_quantity!(
    /// A temperature in °C.
    Temperature, celsius, as_celsius
);
declared_quantity!(
    /// Heat that warms something by one degree, kWh/K.
    HeatCapacity, kwh_per_kelvin, as_kwh_per_kelvin
);
declared_quantity!(
    /// Heat that something loses per degree of difference, kW/K.
    HeatLoss, kw_per_kelvin, as_kw_per_kelvin
);
quantity_field!(Temperature, TEMPERATURE, Temperature::celsius, Temperature::as_celsius);
quantity_field!(HeatCapacity, HEAT_CAPACITY, HeatCapacity::kwh_per_kelvin, HeatCapacity::as_kwh_per_kelvin);
quantity_field!(HeatLoss, HEAT_LOSS, HeatLoss::kw_per_kelvin, HeatLoss::as_kw_per_kelvin);

/// Requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct RequestRate(f64);

impl RequestRate {
    /// From requests per second.
    #[must_use]
    pub const fn per_second(rate: f64) -> Self {
        Self(rate)
    }
    /// Requests per second.
    #[must_use]
    pub const fn as_per_second(self) -> f64 {
        self.0
    }
}

/// Emissions in a time.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct EmissionRate(f64);

impl EmissionRate {
    /// From kilograms of CO2 equivalent per hour.
    #[must_use]
    pub const fn kg_per_hour(rate: f64) -> Self {
        Self(rate)
    }
    /// Kilograms of CO2 equivalent per hour.
    #[must_use]
    pub const fn as_kg_per_hour(self) -> f64 {
        self.0
    }
}

/// A number without a unit.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(f64);

impl Number {
    /// From the number.
    #[must_use]
    pub const fn new(number: f64) -> Self {
        Self(number)
    }
    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Field for Number {
    fn schema() -> Schema {
        crate::field::scalar_schema("number", "a number, such as 12 or 0.5", json!({"type": "number"}))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let help = || "expected a number, such as 12 or 0.5".to_owned();
        read_with(node, cx, |text| {
            let (number, rest) = split_number(text).map_err(|message| (message, help()))?;
            if !rest.is_empty() {
                return Err((format!("{} has a unit", shown(text)), help()));
            }
            Ok(Self(number))
        })
    }
    fn write(&self) -> Json {
        json!(self.0)
    }
    fn magnitude(&self) -> Option<f64> {
        Some(self.0)
    }
}

/// The fastest change of power that is allowed, as power per minute; above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ramp(Power);

impl Ramp {
    fn new(kw: f64) -> Self {
        Self(Power::kw(kw))
    }
    fn kw_per_minute(self) -> f64 {
        self.0.as_kw()
    }
    /// The change of power within one minute.
    #[must_use]
    pub const fn per_minute(self) -> Power {
        self.0
    }
}

/// The longest duration in a manifest: a hundred years.
const MAX_SECONDS: f64 = 100.0 * 366.0 * 86400.0;

/// Reads `15 min`; resolution 1 ms, at most a hundred years.
fn parse_duration(text: &str) -> Result<SignedDuration, Wrong> {
    let seconds = DURATION.parse(text)?;
    if seconds.abs() > MAX_SECONDS {
        return Err((format!("{} is too long", shown(text)), "expected at most 100 years".to_owned()));
    }
    let millis = seconds * 1e3;
    if (millis - millis.round()).abs() > 1e-3 {
        return Err((format!("{} is finer than 1 ms", shown(text)), DURATION.help()));
    }
    Ok(SignedDuration::from_millis(millis.round() as i64))
}

/// Reads a power that a person gave on the command line: `-2 kW`, `500 W`.
///
/// # Errors
/// What is wrong and what was expected, in one line.
pub fn read_power(text: &str) -> Result<Power, String> {
    POWER.parse(text).map(Power::kw).map_err(|(message, help)| format!("{message}; {help}"))
}

/// Reads a duration that a person gave on the command line: `24h`, `15 min`, `7 d`.
///
/// # Errors
/// What is wrong and what was expected, in one line.
pub fn read_duration(text: &str) -> Result<SignedDuration, String> {
    parse_duration(text).map_err(|(message, help)| format!("{message}; {help}"))
}

/// `15 min`, in the largest unit that states it exactly.
#[must_use]
pub fn duration_text(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let exact = units.iter().find(|(size, _)| millis != 0 && millis % size == 0);
    exact.map_or_else(|| "0 s".to_owned(), |(size, name)| format!("{} {name}", millis / size))
}

impl Field for SignedDuration {
    fn schema() -> Schema {
        DURATION.schema()
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        read_with(node, cx, parse_duration)
    }
    fn write(&self) -> Json {
        json!(duration_text(*self))
    }
    fn magnitude(&self) -> Option<f64> {
        Some(self.as_secs_f64())
    }
    fn unit() -> &'static str {
        "s"
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Field for Bytes {
    fn schema() -> Schema {
        SIZE.schema()
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        read_with(node, cx, |text| match SIZE.parse(text)? {
            bytes if bytes < 0.0 => Err((format!("{} is negative", shown(text)), SIZE.help())),
            bytes if bytes.fract() > 0.0 => {
                Err((format!("{} is not a whole number of bytes", shown(text)), SIZE.help()))
            }
            bytes => Ok(Self(bytes as u64)),
        })
    }
    fn write(&self) -> Json {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let exact = units.iter().find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size));
        json!(
            exact.map_or_else(|| format!("{} B", self.0), |(size, name)| format!("{} {name}", self.0 / size))
        )
    }
    fn magnitude(&self) -> Option<f64> {
        Some(self.0 as f64)
    }
    fn unit() -> &'static str {
        "B"
    }
}

/// A share of processors in thousandths of one: `500m` and `0.5` are half a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// Thousandths of a processor.
    pub milli: u32,
}

fn parse_cpu(text: &str) -> Result<Cpu, Wrong> {
    let help = || "expected a number of processors, such as 0.5 or 500m".to_owned();
    let (number, rest) = split_number(text).map_err(|message| (message, help()))?;
    let milli = match rest {
        "" => number * 1000.0,
        "m" => number,
        _ => return Err((format!("unknown unit \"{}\"", shown(rest)), help())),
    };
    if !(0.0..=1e6).contains(&milli) {
        return Err((
            format!("{} is out of range", shown(text)),
            "expected 1m to 1000 processors".to_owned(),
        ));
    }
    if (milli - milli.round()).abs() > 1e-6 || milli < 1.0 {
        return Err((format!("{} is finer than 1m", shown(text)), help()));
    }
    Ok(Cpu { milli: milli.round() as u32 })
}

impl Field for Cpu {
    fn schema() -> Schema {
        let json = json!({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^[0-9.]+m?$"}]});
        crate::field::scalar_schema("processors", "a number of processors, such as 0.5 or 500m", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        read_with(node, cx, parse_cpu)
    }
    fn write(&self) -> Json {
        if self.milli.is_multiple_of(1000) {
            json!((self.milli / 1000).to_string())
        } else {
            json!(format!("{}m", self.milli))
        }
    }
}

/// A share from 0 to 1, written `0.2` or `20 %`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// From a number, 0…1.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self(value)
    }
    /// The number, 0…1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

const FRACTION: &str = "a fraction from 0 to 1, such as 0.2 or 20 %";

fn parse_fraction(text: &str) -> Result<f64, Wrong> {
    let help = || format!("expected {FRACTION}");
    let (number, rest) = split_number(text).map_err(|message| (message, help()))?;
    let value = match rest {
        "" => number,
        "%" => number / 100.0,
        _ => return Err((format!("unknown unit \"{}\"", shown(rest)), help())),
    };
    if !(0.0..=1.0).contains(&value) {
        let hint = if rest.is_empty() && (2.0..=100.0).contains(&number) {
            format!("did you mean {number} %?; ")
        } else {
            String::new()
        };
        return Err((format!("{} is out of range", shown(text)), format!("{hint}{}", help())));
    }
    Ok(value)
}

macro_rules! fraction_field {
    ($ty:ty, $name:literal, $new:path, $get:path) => {
        impl Field for $ty {
            fn schema() -> Schema {
                let json = json!({"anyOf": [
                    {"type": "number", "minimum": 0, "maximum": 1},
                    {"type": "string", "pattern": format!(r"^\s*{NUMBER}\s*%?\s*$")},
                ]});
                crate::field::scalar_schema($name, FRACTION, json)
            }
            fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                read_with(node, cx, |text| parse_fraction(text).map($new))
            }
            fn write(&self) -> Json {
                json!($get(*self))
            }
            fn magnitude(&self) -> Option<f64> {
                Some($get(*self))
            }
        }
    };
}
fraction_field!(Fraction, "fraction", Fraction::new, Fraction::get);
fraction_field!(Soc, "state of charge", Soc::fraction, Soc::as_fraction);

/// An amount with the currency it is written in; a cross-check holds it against the site's currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount<T> {
    /// The amount, in `currency`.
    pub value: T,
    /// The currency that was written.
    pub currency: Currency,
}

/// Reads `0.22 USD/kWh`: number, currency, and what it is per.
fn parse_amount(text: &str, per: &Dimension) -> Result<(f64, Currency), Wrong> {
    let help = || {
        let units: Vec<String> = per.names().map(|unit| format!("CUR{unit}")).collect();
        format!(
            "expected a number with currency and unit, such as {}; known: {} with CUR an ISO 4217 code",
            per.example,
            units.join(", ")
        )
    };
    let (number, rest) = split_number(text).map_err(|message| (message, help()))?;
    if rest.is_empty() {
        return Err((format!("{} has no unit", shown(text)), help()));
    }
    let (code, suffix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (code, suffix) = (code.trim(), suffix.replace(' ', ""));
    let Some(currency) = Currency::new(code) else {
        if PHYSICAL.iter().any(|dimension| dimension.find(rest).is_some()) {
            return Err((format!("{rest} is not a unit of {}", per.name), help()));
        }
        let hint = did_you_mean(code, Currency::codes());
        return Err((format!("unknown currency \"{}\"", shown(code)), format!("{hint}{}", help())));
    };
    let Some(unit) = per.find(&suffix) else {
        return Err((format!("{} is not a unit of {}", shown(rest), per.name), help()));
    };
    let value = unit.scale(number).ok_or_else(|| (format!("{} is too large", shown(text)), help()))?;
    Ok((value, currency))
}

macro_rules! amount_field {
    ($ty:ty, $per:ident, $new:path, $get:path) => {
        impl Field for Amount<$ty> {
            fn schema() -> Schema {
                let units: Vec<&str> = $per.names().collect();
                let json = json!({"type": "string", "pattern": format!(r"^\s*{NUMBER}\s*[A-Z]{{3}}\s*({})\s*$", units.join("|"))});
                let expected = format!("a number with currency and unit, such as {}", $per.example);
                Schema::Scalar(Scalar { name: $per.name, expected, known: Vec::new(), json })
            }
            fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                read_with(node, cx, |text| {
                    parse_amount(text, &$per).map(|(value, currency)| Self { value: $new(value), currency })
                })
            }
            fn write(&self) -> Json {
                json!(format!("{} {}{}", $get(self.value), self.currency, $per.canonical))
            }
            fn magnitude(&self) -> Option<f64> {
                Some($get(self.value))
            }
        }
    };
}
amount_field!(Price, PER_ENERGY, Price::per_kwh, Price::as_per_kwh);
amount_field!(CarbonPrice, PER_CARBON, CarbonPrice::per_kg, CarbonPrice::as_per_kg);
amount_field!(CapacityPrice, PER_POWER, CapacityPrice::per_kw, CapacityPrice::as_per_kw);
amount_field!(Money, MONEY, Money::new, Money::get);

/// Scale and dimension of a unit that a series may have.
pub(crate) fn series_scale(text: &str) -> Option<(&'static str, f64)> {
    let physical = [&POWER, &ENERGY, &INTENSITY];
    physical.iter().find_map(|dimension| {
        dimension.find(text).map(|unit| (dimension.canonical, unit.multiply / unit.divide))
    })
}

/// Currency and factor to currency per kWh of a price unit such as `EUR/MWh`.
pub(crate) fn price_scale(text: &str) -> Option<(Currency, f64)> {
    let (code, suffix) = text.split_at(text.find('/')?);
    let unit = PER_ENERGY.find(suffix)?;
    Some((Currency::new(code)?, unit.multiply / unit.divide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_scale_exactly() {
        assert_eq!(ENERGY.parse("6400 Wh"), Ok(6.4));
        assert_eq!(POWER.parse("0.02MW"), Ok(20.0));
        assert_eq!(POWER.parse("-0 W").map(f64::to_bits), Ok(0));
        assert_eq!(parse_duration("0.5 h"), Ok(SignedDuration::from_mins(30)));
        assert_eq!(parse_amount("100 EUR / t", &PER_CARBON).map(|(price, _)| price), Ok(0.1));
        assert_eq!(parse_cpu("0.1"), Ok(Cpu { milli: 100 }));
    }

    #[test]
    fn a_wrong_dimension_is_named() {
        assert_eq!(ENERGY.parse("6.4 kW").unwrap_err().0, "kW is a unit of power, not of energy");
        assert_eq!(POWER.parse("5").unwrap_err().0, "5 has no unit");
    }

    #[test]
    fn durations_are_written_in_the_largest_exact_unit() {
        let text = |seconds: i64| duration_text(SignedDuration::from_secs(seconds));
        assert_eq!(
            [text(900), text(90), text(7200), text(172_800), text(0)],
            ["15 min", "90 s", "2 h", "2 d", "0 s"]
        );
        assert_eq!(duration_text(SignedDuration::from_millis(1500)), "1500 ms");
    }

    #[test]
    fn a_fraction_above_one_may_be_meant_in_percent() {
        assert_eq!(parse_fraction("20 %"), Ok(0.2));
        assert!(parse_fraction("20").unwrap_err().1.starts_with("did you mean 20 %?"));
        assert!(parse_fraction("1.05").unwrap_err().1.starts_with("expected"));
    }
}
