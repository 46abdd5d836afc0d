//! What a site shows of itself: to the page, the terminal and the API. A complete picture of one tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_forecast::Forecast;
pub use sos_forecast::accuracy::Score;
use sos_units::{CarbonIntensity, Energy, Missing, Power, Price, Reading, Soc};

use crate::clock::Speed;

/// A site at its latest tick.
#[derive(Clone, Debug)]
pub struct SiteState {
    /// Name of the site.
    pub site: String,
    /// For showing times.
    pub zone: TimeZone,
    /// Site time of the latest tick.
    pub time: Timestamp,
    /// Number of the latest tick since the site's epoch.
    pub tick: u64,
    /// Length of a tick.
    pub step: SignedDuration,
    /// How fast site time passes.
    pub speed: Speed,
    /// ISO code.
    pub currency: String,
    /// Whether there is no connection: what would be imported lacks then, what would be exported is lost.
    pub island: bool,
    /// Mean exchange over the last step, import positive.
    pub grid: Reading<Power>,
    /// Limit on import.
    pub import_limit: Option<Power>,
    /// Limit on export.
    pub export_limit: Option<Power>,
    /// Parts of the site behind meters or fuses of their own.
    pub feeders: Vec<FeederState>,
    /// What is charged for peaks and amounts.
    pub charges: Vec<ChargeState>,
    /// The limit on emissions of a period, and what was emitted in it so far, kgCO2.
    pub carbon_cap: Option<(f64, f64)>,
    /// Import price in force.
    pub price: Reading<Price>,
    /// Carbon intensity of the step.
    pub carbon: Reading<CarbonIntensity>,
    /// Sums since the site's epoch.
    pub totals: Totals,
    /// All generation.
    pub solar: Reading<Power>,
    /// All consumption of the groups, zero or below.
    pub load: Reading<Power>,
    /// All batteries, discharge positive.
    pub battery: Reading<Power>,
    /// Work of services, zero or below.
    pub work: Power,
    /// Work of workflows that may wait, in the order of its keys.
    pub waiting: Vec<WaitingState>,
    /// Stored share of all batteries' capacity.
    pub soc: Reading<Soc>,
    /// Every asset, by name.
    pub assets: Vec<AssetState>,
    /// The plan in force.
    pub plan: Option<PlanState>,
    /// Plans made since the program started.
    pub plans: u64,
    /// Those of them that a fallback made.
    pub fallbacks: u64,
    /// The latest forecast of every series that is forecast, assets first.
    pub forecasts: Vec<ForecastState>,
}

/// A piece of work of a workflow that may wait.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingState {
    /// Name of the run and, when it is a part of that, where in the workflow: `RUN/do/0/TASK`.
    pub name: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Whether it may use power now.
    pub running: bool,
    /// When it is to begin, or began; none when no plan knows it yet.
    pub planned: Option<Timestamp>,
    /// When it has to be done.
    pub deadline: Timestamp,
    /// All of its energy, zero or above.
    pub energy: Energy,
    /// What is left of that.
    pub left: Energy,
    /// What is saved against beginning at once: money in the site's currency, and kgCO2.
    pub saves: Option<(f64, f64)>,
    /// Why it waits or runs.
    pub because: String,
}

/// The latest forecast of a series, what was measured before it, and how good the earlier ones were.
#[derive(Clone, Debug)]
pub struct ForecastState {
    /// Name of the asset, or `SITE.need` or `SITE.carbon`, which no asset can be called.
    pub series: String,
    /// The asset; none for what is the site's.
    pub asset: Option<String>,
    /// `load`, `solar`, `need` (of the site, import positive) or `carbon`.
    pub kind: &'static str,
    /// Unit of its values and errors, `kW` or `kgCO2/kWh`.
    pub unit: &'static str,
    /// −1 for a load, whose values here are magnitudes: times the sign they follow the sign rule of a site.
    pub sign: f64,
    /// The latest forecast.
    pub forecast: Arc<Forecast>,
    /// Values of the last 24 hours, by the start of their steps, oldest first.
    pub actual: Vec<(Timestamp, f64)>,
    /// How good the recent forecasts were, the nearest horizon first.
    pub scores: Vec<Score>,
    /// Recent by usual error; none before enough is known.
    pub worse: Option<f64>,
    /// Whether forecasts are far worse than usual.
    pub drifting: bool,
}

/// The same figure with control and without.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// As it was.
    pub actual: f64,
    /// As it would have been uncontrolled.
    pub baseline: f64,
}

/// Sums since the site's epoch, of the ticks that are settled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Import paid less export earned, in the site's currency.
    pub cost: Compared,
    /// Emissions of what was imported, kgCO2.
    pub emissions_kg: Compared,
    /// Cost and priced emissions less the value of what is stored.
    pub objective: Compared,
    /// From the grid.
    pub import: Energy,
    /// To the grid.
    pub export: Energy,
    /// Surplus of one group used by another.
    pub shared: Energy,
    /// Share of the generation used on site, 0…1; none before any generation.
    pub self_consumption: Option<f64>,
    /// Steps above a limit of the connection or of a feeder, as it was and uncontrolled.
    pub limit_violations: (u64, u64),
}

/// A part of a site behind a meter or a fuse of its own.
#[derive(Clone, Debug)]
pub struct FeederState {
    /// Its name.
    pub name: String,
    /// Mean of the last step, positive into the feeder.
    pub power: Reading<Power>,
    /// Most that may flow in now, by its fuse and by orders of the grid operator.
    pub import_limit: Option<Power>,
    /// Most that may flow out.
    pub export_limit: Option<Power>,
}

/// What is charged for a peak or an amount.
#[derive(Clone, Debug)]
pub struct ChargeState {
    /// Its name.
    pub name: String,
    /// The feeder where it is paid; none for the site's connection.
    pub feeder: Option<String>,
    /// `kW` of a peak, `kWh` of an amount.
    pub unit: &'static str,
    /// What has been counted in the running period, in that unit, as it was and uncontrolled.
    pub so_far: Compared,
    /// What it has cost since the site's epoch.
    pub cost: Compared,
}

/// One asset.
#[derive(Clone, Debug)]
pub struct AssetState {
    /// Name of the asset.
    pub name: String,
    /// `battery`, `solar` or `load`.
    pub kind: &'static str,
    /// `observe`, `advise` or `control`.
    pub mode: String,
    /// The home it belongs to.
    pub group: Option<String>,
    /// Mean of the last step, positive into the site.
    pub power: Reading<Power>,
    /// State of charge; none for what stores nothing.
    pub soc: Option<Reading<Soc>>,
    /// The set-point in force.
    pub setpoint: Option<Power>,
    /// Why it does what it does, in words.
    pub reason: String,
}

impl AssetState {
    /// Why it cannot be used, if it cannot.
    #[must_use]
    pub fn unavailable(&self) -> Option<Missing> {
        self.power.err()
    }
}

/// The plan in force.
#[derive(Clone, Debug)]
pub struct PlanState {
    /// When it was made.
    pub made_at: Timestamp,
    /// `solver` or the name of the fallback.
    pub source: String,
    /// Step by step.
    pub steps: Vec<PlanStepState>,
}

/// One step of the plan in force.
#[derive(Clone, Debug)]
pub struct PlanStepState {
    /// Start of the step.
    pub time: Timestamp,
    /// Planned exchange, import positive.
    pub grid: Power,
    /// Planned state of charge of all batteries at the step's end.
    pub soc: Option<Soc>,
    /// Import price.
    pub price: Price,
    /// Planned power per battery and work, positive into the site.
    pub power: BTreeMap<String, Power>,
    /// Planned flow into each feeder.
    pub feeders: BTreeMap<String, Power>,
    /// Reason per battery and work.
    pub because: BTreeMap<String, String>,
    /// Limits that the step is at, in words.
    pub binding_limits: Vec<String>,
}

/// One measured step for a chart.
#[derive(Clone, Debug)]
pub struct ChartPoint {
    /// Start of the step.
    pub time: Timestamp,
    /// Mean exchange, import positive.
    pub grid: Option<Power>,
    /// The exchange that was planned for it.
    pub planned_grid: Option<Power>,
    /// All generation.
    pub solar: Option<Power>,
    /// All consumption, zero or below.
    pub load: Option<Power>,
    /// State of charge of all batteries at its end.
    pub soc: Option<Soc>,
    /// Import price.
    pub price: Option<Price>,
}
