//! Messages between the engine and an adapter; `docs/adapter-protocol.md` describes them for other languages.
//!
//! # Units and signs
//! Powers in kW, energies in kWh, states of charge 0…1. Power is positive from the asset into the site.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::Missing;

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// A line from the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the client; the response carries the same.
    pub id: u64,
    /// What is asked for.
    pub call: Call,
}

/// What an adapter can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Must be the first call of a connection.
    Hello(Hello),
    /// Replaces the set of assets; connections of those that stay the same are kept.
    Configure(Configure),
    /// Measures every asset.
    Read(Read),
    /// Commands some assets and reads back what they took.
    Write(Write),
    /// Nameplates, read from the devices.
    Ratings(Ratings),
}

/// Version and access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// The adapter's `SOS_ADAPTER_TOKEN`.
    pub token: Token,
}

/// A bearer token; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Takes over the text of a token.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The assets that the adapter is to reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// All assets; names are unique.
    pub assets: Vec<AssetConfig>,
}

/// What an asset is, which decides how its device is read and commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetType {
    /// A battery with its inverter.
    Battery,
    /// A solar inverter.
    Solar,
    /// A meter of consumption.
    Load,
    /// A generator set: power above zero starts it, zero stops it.
    Generator,
    /// A meter of a connection to the grid: import is positive.
    Connection,
}

/// One asset and where its device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetConfig {
    /// Name of the asset.
    pub asset: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AssetType,
    /// Host name or address.
    pub host: String,
    /// TCP port, commonly 502.
    pub port: u16,
    /// Modbus unit id, 1…247.
    pub unit: u8,
    /// Longest wait for one answer of the device, 10…60 000; 1 000 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

/// Asks for measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Site time of the measurement; values are known at it.
    pub time: Timestamp,
}

/// Commands assets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The controller's epoch; one that is lower than the highest seen is refused.
    pub epoch: u64,
    /// Seconds of site time after which a device goes to its safe state unless it is commanded again; 1 or more.
    pub lease_s: u32,
    /// At most one per asset.
    pub setpoints: Vec<Setpoint>,
}

/// A command to one asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setpoint {
    /// Name of the asset.
    pub asset: String,
    /// A battery's power (positive discharges), the upper limit of a solar inverter, 0 or above, or the power of a generator,
    /// which starts above 0 and stops at 0. `null` releases the asset: the battery idles, the inverter runs without a limit,
    /// the generator stops.
    pub power_kw: Option<f64>,
}

/// Asks for nameplates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratings {}

/// A line from the adapter: exactly one of `ok` and `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Id of the request; `null` when it could not be read.
    pub id: Option<u64>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Answer>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// The answers, named like the calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Call::Hello`].
    Hello(HelloReply),
    /// To [`Call::Configure`].
    Configure(ConfigureReply),
    /// To [`Call::Read`].
    Read(ReadReply),
    /// To [`Call::Write`].
    Write(WriteReply),
    /// To [`Call::Ratings`].
    Ratings(RatingsReply),
}

/// Why a whole call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// Why a whole call failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// Not JSON, not a request, or a value out of range.
    Malformed,
    /// No or a wrong token, or a call before hello.
    Unauthorized,
    /// A version that the adapter does not speak.
    Version,
    /// A higher epoch has commanded before.
    StaleEpoch,
}

/// Who the adapter is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the adapter, e.g. `sunspec`.
    pub adapter: String,
}

/// How many assets are configured now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureReply {
    /// Number of assets.
    pub assets: usize,
}

/// One measurement per configured asset, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadReply {
    /// The time of the request.
    pub time: Timestamp,
    /// The measurements.
    pub assets: Vec<Measurement>,
}

/// What one asset's device tells. A value that is absent was not delivered or not possible; never a guess.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the asset.
    pub asset: String,
    /// Power, positive into the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_kw: Option<f64>,
    /// State of charge, 0…1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soc: Option<f64>,
    /// Counter of energy given to the site, zero or above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_kwh: Option<f64>,
    /// Counter of energy taken from the site, zero or above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_kwh: Option<f64>,
    /// What these counters count before they begin again at zero; absent when they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_range_kwh: Option<f64>,
    /// The set-point (battery, generator) or limit (solar) that the device follows now; absent when it follows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setpoint_kw: Option<f64>,
    /// What the engine of a generator does; absent when the device does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Power that a solar inverter could give, known only while no limit is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_kw: Option<f64>,
    /// When the values became known; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Timestamp>,
    /// Why the power is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AssetError>,
}

/// What the engine of a generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// It rests.
    Off,
    /// It starts and gives no power yet.
    Starting,
    /// It runs.
    Running,
    /// It has stopped by itself and cannot start.
    Fault,
}

/// Why an asset could not be read or commanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AssetError {
    /// For programs: `unavailable` (no or no proper answer), `invalid` (an impossible value), `not-yet` (nothing
    /// measured so far).
    pub reason: Missing,
    /// For people: what, where, why.
    pub message: String,
}

/// One result per set-point, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteReply {
    /// The results.
    pub results: Vec<WriteResult>,
}

/// What became of a set-point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteResult {
    /// Name of the asset.
    pub asset: String,
    /// What the device says it follows after the command; absent when it follows none or did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readback_kw: Option<f64>,
    /// Why the command did not take effect as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AssetError>,
}

/// One nameplate per configured asset, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatingsReply {
    /// The nameplates.
    pub assets: Vec<Nameplate>,
}

/// What a device says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nameplate {
    /// Name of the asset.
    pub asset: String,
    /// Usable energy of a battery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_kwh: Option<f64>,
    /// Largest charge power, as a magnitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_charge_kw: Option<f64>,
    /// Largest discharge power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_discharge_kw: Option<f64>,
    /// Rated power of an inverter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_power_kw: Option<f64>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manufacturer: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub product: String,
    /// Which one it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// The SunSpec models found, in the order of the map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<u16>,
    /// Whether set-points are possible.
    #[serde(default)]
    pub controllable: bool,
    /// Why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AssetError>,
}
