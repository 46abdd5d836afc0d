//! What travels between server, dashboard and command line, as JSON.
//!
//! The unit is in the field's name: `_kw` is kW, `_kwh` kWh, `_kg` kg CO2; `price_per_kwh` is in the site's currency;
//! state of charge is 0…1. Signs follow the project's one rule: power above zero flows into the site (generation,
//! discharge, import), below zero is consumption, charging, export; people read words ("uses 2.0 kW").
//! Times are RFC 3339 with the site's offset ([`wire_time`]). A number that is not known is `null` or left out, never
//! zero and never NaN (which JSON cannot carry; the page shows both as "–").
//!
//! The dashboard's TypeScript types are generated from these (`web/src/contract.ts`, held equal by a test).

mod alarms;
mod calls;
mod channels;
mod logs;
mod runs;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use alarms::*;
pub use calls::*;
pub use channels::*;
pub use logs::*;
pub use runs::*;

/// RFC 3339 with the offset that holds in `zone` at that time, the form of every time on the wire.
pub fn wire_time(time: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(time);
    time.display_with_offset(offset).to_string()
}

/// The controlled case beside the uncontrolled reference case, over the same period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Compared {
    /// What happened.
    pub actual: f64,
    /// What would have happened without control.
    pub baseline: f64,
}

/// A count in the controlled case beside the uncontrolled reference case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ComparedCount {
    /// What happened.
    #[cfg_attr(test, ts(type = "number"))]
    pub actual: u64,
    /// What would have happened without control.
    #[cfg_attr(test, ts(type = "number"))]
    pub baseline: u64,
}

/// The state of one site at one tick, complete in itself: a reader that missed ticks needs no earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SiteLive {
    /// Name of the site.
    pub site: String,
    /// Site time of the tick.
    pub time: String,
    /// Ticks since the site's start.
    #[cfg_attr(test, ts(type = "number"))]
    pub tick: u64,
    /// Length of a data step, seconds, above zero.
    #[cfg_attr(test, ts(type = "number"))]
    pub step_seconds: u64,
    /// `max` in lock-step, else how many times faster than the wall clock, as text (`1`, `600`).
    pub speed: String,
    /// ISO 4217 code of all money here.
    pub currency: String,
    /// What people must know about how the site runs now ("advise only: nothing is written").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub mode_note: Option<String>,
    /// The shared connection to the grid.
    pub connection: Connection,
    /// Parts of the site behind meters or fuses of their own.
    #[serde(default)]
    pub feeders: Vec<FeederLive>,
    /// What is charged for peaks and amounts.
    #[serde(default)]
    pub charges: Vec<ChargeLive>,
    /// The limit on emissions of a period; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub carbon_cap: Option<CarbonCapLive>,
    /// Price of import now, currency per kWh.
    pub price_per_kwh: Option<f64>,
    /// Carbon intensity of import now, kg CO2 per kWh.
    pub carbon_kg_per_kwh: Option<f64>,
    /// Sums since the site's start.
    pub totals: Totals,
    /// Generation of all photovoltaics, kW, zero or above.
    pub solar_kw: Option<f64>,
    /// Consumption of all loads, kW, zero or below.
    pub load_kw: Option<f64>,
    /// Power of all batteries: above zero discharges, below zero charges.
    pub battery_kw: Option<f64>,
    /// Energy stored over all batteries by their capacity, 0…1.
    pub soc: Option<f64>,
    /// Work of workflows that may wait.
    #[serde(default)]
    pub work: Vec<WorkLive>,
    /// In the order they are shown.
    pub assets: Vec<AssetLive>,
    /// The schedule in force; `null` before the first.
    pub plan: Option<PlanLive>,
    /// Services of the site's platform.
    pub services: Vec<ServiceLive>,
}

/// The connection to the grid: measured exchange and its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Connection {
    /// Whether there is none: the power is then what lacks, above zero, or what is lost, below.
    #[serde(default)]
    pub island: bool,
    /// Import above zero, export below.
    pub power_kw: Option<f64>,
    /// Most that may be imported, kW, zero or above; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub import_limit_kw: Option<f64>,
    /// Most that may be exported, kW, zero or above; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub export_limit_kw: Option<f64>,
    /// How far the exchange is over its limit now, kW, zero when within.
    pub over_limit_kw: f64,
}

/// A part of a site behind a meter or a fuse of its own: what flows and what may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FeederLive {
    /// Its name.
    pub name: String,
    /// Flow into it above zero, out of it below, and its limits now: by its fuse and by orders of the grid operator.
    pub connection: Connection,
}

/// What is charged for a peak of import, or for import beyond an amount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChargeLive {
    /// Its name.
    pub name: String,
    /// The feeder where it is paid; left out for the site's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub feeder: Option<String>,
    /// `kW` of a peak, `kWh` of an amount.
    pub unit: String,
    /// What the running period has come to so far, in that unit.
    pub so_far: Compared,
    /// What it has cost since the site's start, currency.
    pub cost: Compared,
}

/// A piece of work of a workflow that may wait for cheap and clean power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct WorkLive {
    /// Name of the run and, when it is a part of that, where in the workflow: `RUN/do/0/TASK`.
    pub name: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Whether it may use power now.
    pub running: bool,
    /// When it is to begin or began, RFC 3339; left out when no plan knows it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub planned: Option<String>,
    /// When it has to be done, RFC 3339.
    pub deadline: String,
    /// All of its energy, kWh, zero or above.
    pub energy_kwh: f64,
    /// What is left of that.
    pub left_kwh: f64,
    /// Money saved against beginning at once, currency; left out when no plan knows it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub saves: Option<f64>,
    /// The same in kg CO2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub saves_kg: Option<f64>,
    /// Why it waits or runs.
    pub because: String,
}

/// A limit on the emissions of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CarbonCapLive {
    /// Most of a period, kg CO2.
    pub most_kg: f64,
    /// Emitted in the running one, kg CO2.
    pub so_far_kg: f64,
}

/// Sums of a site since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Totals {
    /// Paid for energy, currency.
    pub cost: Compared,
    /// Emissions of what was imported or burnt, kg CO2.
    pub emissions_kg: Compared,
    /// Cost + carbon price × emissions + unserved energy − value of what is stored, currency.
    pub objective: Compared,
    /// `objective.baseline − objective.actual`, currency; below zero when control cost more.
    pub saving: f64,
    /// Imported, kWh.
    pub import_kwh: f64,
    /// Exported, kWh.
    pub export_kwh: f64,
    /// Surplus of one home used by another, kWh.
    pub shared_kwh: f64,
    /// Part of the generation used on site, 0…1; `null` before any was generated.
    pub self_consumption: Option<f64>,
    /// Steps in which a limit of the connection or of a feeder was exceeded.
    pub limit_violations: ComparedCount,
}

/// What a site cost, emitted and saved in each period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteReport {
    /// Name of the site.
    pub site: String,
    /// The site's currency.
    pub currency: String,
    /// Oldest first; the last one is not over.
    pub periods: Vec<PeriodTotals>,
}

/// Sums of one period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeriodTotals {
    /// Its first day with a settled step, in the site's zone, `YYYY-MM-DD`.
    pub first: String,
    /// Its last such day.
    pub last: String,
    /// The sums. `objective` and `saving` hold no value of what is stored: that is carried over to the next period.
    pub totals: Totals,
}

/// Length of the periods of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportPeriod {
    /// Civil days.
    Day,
    /// From Monday to Sunday.
    Week,
    /// Calendar months.
    #[default]
    Month,
    /// Calendar years.
    Year,
}

/// What is expected of every series of a site, and how good earlier forecasts were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SiteForecasts {
    /// Name of the site.
    pub site: String,
    /// Site time of the latest tick.
    pub time: String,
    /// Assets first, then what is the site's; what has not been forecast yet is left out.
    pub series: Vec<SeriesForecast>,
}

/// The latest forecast of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SeriesForecast {
    /// Name of the asset, `SITE.need` for what all whose power cannot be chosen need together, or `SITE.carbon` for the
    /// carbon intensity of import.
    pub name: String,
    /// The asset; left out for what belongs to the whole site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub asset: Option<String>,
    /// `load`, `solar`, `need` or `carbon`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unit of values and errors: `kW` (above zero into the site, so a load is below and a need above) or `kgCO2/kWh`.
    pub unit: String,
    /// Length of a step, seconds, above zero.
    #[cfg_attr(test, ts(type = "number"))]
    pub step_seconds: u64,
    /// Rung of the fallback ladder, one word.
    pub method: String,
    /// What the forecast rests on, for people.
    pub because: String,
    /// Nothing known later was used.
    pub issued_at: String,
    /// The next 24 hours, in order of time.
    pub steps: Vec<ForecastStep>,
    /// Means measured in the last 24 hours, in order of time; gaps are left out.
    pub actual: Vec<MeasuredStep>,
    /// How good the forecasts of the last weeks were, the nearest horizon first.
    pub accuracy: Vec<ForecastAccuracy>,
    /// Recent mean absolute error by the usual one; left out before enough is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub error_by_usual: Option<f64>,
    /// Whether forecasts are far worse than usual.
    pub drifting: bool,
}

/// What is expected of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ForecastStep {
    /// Start of the step.
    pub valid_at: String,
    /// Expected mean.
    pub mean: f64,
    /// In the order of `q`.
    pub quantiles: Vec<ForecastQuantile>,
}

/// A value that is not exceeded with a probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ForecastQuantile {
    /// The probability, 0…1.
    pub q: f64,
    /// The value.
    pub value: f64,
}

/// A mean that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MeasuredStep {
    /// Start of the step.
    pub time: String,
    /// The mean.
    pub value: f64,
}

/// How good the forecasts of one horizon were, with what is older than 14 days counting less than half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ForecastAccuracy {
    /// Hours ahead: `1h`, `2-4h`, `5-12h` or `13-24h`.
    pub horizon: String,
    /// Pairs of forecast and outcome that it rests on, weighed by their age.
    pub pairs: f64,
    /// Mean absolute error, zero or above.
    pub mae: f64,
    /// Mean absolute error by that of the same time yesterday: below 1 is better than that.
    pub mase: Option<f64>,
    /// Mean loss over the quantiles, zero or above.
    pub pinball: Option<f64>,
    /// Share of outcomes between the quantiles 0.1 and 0.9, 0…1: 0.8 is right.
    pub coverage: Option<f64>,
}

/// One asset at one tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AssetLive {
    /// Name of the asset, unique in its site.
    pub name: String,
    /// `battery`, `solar`, `load`, …: the asset's declared type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `observe`, `advise` or `control`.
    pub mode: String,
    /// The home or building it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub group: Option<String>,
    /// Measured: generation and discharge above zero, consumption and charging below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub power_kw: Option<f64>,
    /// State of charge, 0…1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub soc: Option<f64>,
    /// What it was last told, same sign as `power_kw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub setpoint_kw: Option<f64>,
    /// Whether it can be measured and, in mode `control`, commanded.
    pub available: bool,
    /// Why it does what it does, a sentence for people.
    pub reason: String,
    /// Why a measurement is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub missing: Option<String>,
}

/// The schedule in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PlanLive {
    /// Site time at which it was made.
    pub made_at: String,
    /// What made it: the optimiser, or the name of the fallback.
    pub source: String,
    /// From now on, in order of time.
    pub steps: Vec<PlanStep>,
}

/// One step of the schedule in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PlanStep {
    /// Start of the step.
    pub time: String,
    /// Planned exchange with the grid, import above zero.
    pub grid_kw: f64,
    /// Planned state of charge over all batteries at the step's end, 0…1.
    pub soc: Option<f64>,
    /// Expected price of import, currency per kWh.
    pub price_per_kwh: Option<f64>,
    /// Why, a sentence for people.
    pub because: String,
    /// Limits that the step is at, in words; empty where nothing holds the plan back.
    #[serde(default)]
    pub binding_limits: Vec<String>,
}

/// One service now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ServiceLive {
    /// Name of the service.
    pub name: String,
    /// `Waiting`, `Starting`, `Running`, `Degraded`, `BackOff`, `Rolling`, `Stopping`, `Stopped`, `Completed`, `Failed`.
    pub phase: String,
    /// Replicas that answer their readiness probe.
    pub ready: u32,
    /// Replicas that are declared.
    pub replicas: u32,
    /// Restarts since the service was deployed, over all replicas.
    #[cfg_attr(test, ts(type = "number"))]
    pub restarts: u64,
    /// What people should know; empty when all is well.
    pub message: String,
}

/// Measured and planned series of one site, for a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SiteChart {
    /// Name of the site.
    pub site: String,
    /// Length of a step, seconds, above zero.
    #[cfg_attr(test, ts(type = "number"))]
    pub step_seconds: u64,
    /// In order of time; a gap in the data is a row of `null`s or no row.
    pub actual: Vec<ActualPoint>,
    /// The plan in force from now on, in order of time.
    pub plan: Vec<PlanPoint>,
}

/// Measured means over the step that starts at `time`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ActualPoint {
    /// Start of the step.
    pub time: String,
    /// Exchange with the grid, import above zero.
    pub grid_kw: Option<f64>,
    /// What the plan in force at that time said.
    pub planned_grid_kw: Option<f64>,
    /// Generation, zero or above.
    pub solar_kw: Option<f64>,
    /// Consumption, zero or below.
    pub load_kw: Option<f64>,
    /// State of charge over all batteries at the step's end, 0…1.
    pub soc: Option<f64>,
    /// Price of import, currency per kWh.
    pub price_per_kwh: Option<f64>,
}

/// One planned step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PlanPoint {
    /// Start of the step.
    pub time: String,
    /// Length of the step, seconds, above zero; plans may have longer steps than the data.
    #[cfg_attr(test, ts(type = "number"))]
    pub seconds: u64,
    /// Exchange with the grid, import above zero.
    pub grid_kw: f64,
    /// State of charge over all batteries at the step's end, 0…1.
    pub soc: Option<f64>,
    /// Expected price of import, currency per kWh.
    pub price_per_kwh: Option<f64>,
}

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct EventRecord {
    /// Rises with each event; an event that happens again gets a new one, with a higher count.
    #[cfg_attr(test, ts(type = "number"))]
    pub id: u64,
    /// When it last happened, by the wall clock.
    pub time: String,
    /// When it last happened in the time of its site; left out for what follows no site's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub site_time: Option<String>,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub level: String,
    /// One word for machines (`Started`, `BackOff`, `PlanFallback`).
    pub reason: String,
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// A sentence for people.
    pub message: String,
    /// How often it happened in a row.
    #[cfg_attr(test, ts(type = "number"))]
    pub count: u64,
}

/// One site in the list of sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SiteSummary {
    /// Name of the site.
    pub name: String,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Session {
    /// Name of the token's owner.
    pub name: String,
    /// What it may do.
    pub role: crate::Role,
}

/// What an apply did, or would do, to one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyResult {
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// `created`, `configured` or `unchanged`.
    pub action: String,
    /// The resource's version afterwards (before, for a dry run).
    pub version: u64,
}

/// How one resource differs from a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiffResult {
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// What an apply would do: `created`, `configured` or `unchanged`.
    pub action: String,
    /// Every field that would change.
    pub changes: Vec<FieldChange>,
}

/// One field that would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Path of the field, `spec.replicas`.
    pub path: String,
    /// Value now; `null` when absent.
    pub before: serde_json::Value,
    /// Value in the manifest; `null` when absent.
    pub after: serde_json::Value,
}

/// Replicas asked for and in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scale {
    /// Number of replicas; null gives the decision back to the manifest.
    pub replicas: Option<u32>,
}

/// End and reason of an order about an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetOrder {
    /// Its end in site time, RFC 3339 with offset. Either this or `for_seconds`.
    #[serde(default)]
    pub until: Option<String>,
    /// Its length from now on in seconds of site time, above zero.
    #[serde(default)]
    pub for_seconds: Option<i64>,
    /// Why; not empty.
    pub reason: String,
    /// Replaces one that another manager owns.
    #[serde(default)]
    pub force: bool,
}

/// A power that is ordered of an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssetOverride {
    /// Power in kW, positive from the asset into the site: −2 charges a battery with 2 kW.
    pub power_kw: f64,
    /// End and reason.
    pub order: AssetOrder,
}

/// A hold of an asset for maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetHold {
    /// End and reason.
    pub order: AssetOrder,
}

/// What became of an order about an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssetOrdered {
    /// The Override as a resource.
    pub order: serde_json::Value,
    /// The Override whose place it took, while that still acted.
    pub replaced: Option<serde_json::Value>,
}

/// How far a service's rollout is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStatus {
    /// Name of the service.
    pub service: String,
    /// The revision that runs or comes in; 0 before there is one.
    pub revision: u32,
    /// How it comes in; left out when nothing is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Replicas wanted.
    pub replicas: u32,
    /// Replicas of that revision.
    pub updated: u32,
    /// Replicas of that revision that are ready.
    pub ready: u32,
    /// Its share of the traffic, per cent.
    pub weight: f64,
    /// The step of a canary, from 1, and how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<(u32, u32)>,
    /// Whether nothing is left to do.
    pub done: bool,
    /// A sentence for people.
    pub message: String,
}

/// One revision of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// Number of the revision, rising.
    pub revision: u32,
    /// When it was first seen.
    pub time: String,
    /// Why it came to be.
    pub change: String,
    /// What became of it, such as `succeeded` or `rolled back`.
    pub outcome: String,
    /// Why that; empty where nothing is to be said.
    pub reason: String,
    /// Whether replicas are brought to it.
    pub current: bool,
}

/// What may be asked of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "order", deny_unknown_fields)]
pub enum RolloutOrder {
    /// Goes no further for now; a failure still leads back.
    Pause,
    /// Goes on.
    Resume,
    /// Ends the present wait: the next step of a canary, the switch of blue/green.
    Promote {
        /// All remaining steps are skipped as well, without being judged.
        #[serde(default)]
        full: bool,
    },
    /// Gives the new revision up and brings the last good one back.
    Abort {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Brings an earlier revision back, until another one is declared.
    Undo {
        /// Which one; the good one before the present when left out.
        #[serde(default)]
        to: Option<u32>,
    },
    /// Tries again what is declared, though it was given up or undone.
    Retry,
}

/// Body of a login: one of the two.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The one-time code from the link that `sos up` printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A token, when the link was used already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginRequest { *** }")
    }
}
