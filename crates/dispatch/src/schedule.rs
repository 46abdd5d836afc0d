//! What was decided, what it costs, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Money, Power, Price};

use crate::connection::Meter;

/// The plan of one storage; every list has one entry per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StorageSchedule {
    /// Power, kW, site sign: discharging positive, charging negative.
    pub power: Vec<Power>,
    /// Stored energy at the end of the step, kWh.
    pub stored_after: Vec<Energy>,
    /// State of charge at the end of the step, 0…1; 0 where the capacity is 0.
    pub soc_after: Vec<sos_units::Soc>,
    /// Of what its use takes from store, what lacks in the step, kWh; below zero what comes in by itself and is let go. Empty where
    /// nothing is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Energy>,
}

/// Which limit of the connection is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreachKind {
    /// More import than allowed.
    Import,
    /// More export than allowed.
    Export,
    /// The import limit would be exceeded with the pessimistic net power: the reserve is too small.
    Reserve,
    /// What runs could not take over from the largest generator, or from a share of the renewables.
    Spinning,
}

impl BreachKind {
    /// Whether it is a limit of the connection.
    #[must_use]
    pub const fn is_of_connection(self) -> bool {
        matches!(self, Self::Import | Self::Export)
    }
}

/// A limit that the plan does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The step.
    pub step: usize,
    /// Which limit.
    pub kind: BreachKind,
    /// By how much, kW, above zero.
    pub over: Power,
    /// The feeder whose limit it is; none for the site's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feeder: Option<String>,
}

/// One reason, for programs and for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of reason.
    pub code: ReasonCode,
    /// One sentence.
    pub text: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonCode {
    /// Charging what would be exported.
    ChargeSurplus,
    /// Charging from the grid because it is cheap.
    ChargeCheap,
    /// Charging so that an export limit holds.
    ChargeForLimit,
    /// Discharging because power from the grid is dear.
    DischargeDear,
    /// Discharging into export because it pays.
    DischargeExport,
    /// Discharging so that an import limit holds.
    DischargeForLimit,
    /// Discharging so that a peak charge does not rise.
    DischargeForPeak,
    /// Idle with energy kept for later.
    Keep,
    /// Idle with energy kept for a possible breach of the import limit.
    KeepReserve,
    /// Idle: nothing in store.
    Empty,
    /// Idle: no room.
    Full,
    /// Idle: moving energy would cost more than it earns.
    NotWorth,
    /// People ordered it.
    Ordered,
    /// May not be used.
    Unavailable,
    /// Work runs at its cheapest time.
    WorkRuns,
    /// Work runs because it may not be interrupted.
    WorkGoesOn,
    /// Work waits for a better time.
    WorkWaits,
    /// Work is not done in time.
    WorkNotDone,
    /// Generation is turned down.
    Curtailed,
    /// Generation is used.
    Generating,
    /// A generator runs where its cost curve meets the price, or as much as it can.
    GeneratorRuns,
    /// A generator runs at its least power, because stopping would cost more or is not possible.
    GeneratorStays,
    /// A generator is off.
    GeneratorOff,
    /// A rule took the place of the solver.
    Rule,
}

/// Marginal values at the optimum; empty when a rule made the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// What one more kWh of load would cost, per step.
    pub site_price: Vec<Price>,
    /// What one more stored kWh at the end of the step would save, per storage and step: the water value.
    pub stored_value: BTreeMap<String, Vec<Price>>,
    /// What one more kWh behind a feeder costs beyond the site's price, per feeder and step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feeder_price: BTreeMap<String, Vec<Price>>,
    /// What one more unit in each sum of a charge costs, per charge, zero or above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charges: BTreeMap<String, Vec<f64>>,
    /// What one more kW of rise into each step costs, per feeder and step; the site has the empty name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ramping: BTreeMap<String, Vec<f64>>,
    /// What one more kg of emissions costs because of the carbon cap, zero or above.
    #[serde(default)]
    pub carbon: f64,
}

/// What a generator does, per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSchedule {
    /// Whether it runs.
    pub on: Vec<bool>,
    /// Its power, kW, zero or above.
    pub power: Vec<Power>,
}

/// A plan for every step of a problem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Exchange with the grid, kW, import positive, per step.
    pub grid: Vec<Power>,
    /// What flows into each feeder, kW, per step; below zero what flows out of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feeders: BTreeMap<String, Vec<Power>>,
    /// Per storage.
    pub storage: BTreeMap<String, StorageSchedule>,
    /// Generation used of what may be turned down, kW, zero or above.
    pub generation: BTreeMap<String, Vec<Power>>,
    /// Per generator.
    #[serde(default)]
    pub generators: BTreeMap<String, GeneratorSchedule>,
    /// Consumption of work, kW, zero or above.
    pub work: BTreeMap<String, Vec<Power>>,
    /// Energy of work that is neither done in this horizon nor left for the time after it, kWh.
    pub work_not_done: BTreeMap<String, Energy>,
    /// Limits that are not held.
    pub breaches: Vec<Breach>,
    /// Why, per asset or work and step.
    pub because: BTreeMap<String, Vec<Reason>>,
    /// Marginal values.
    pub shadow: Shadow,
}

impl Schedule {
    /// What flows through a meter, kW, import positive, per step; empty where the plan does not say.
    pub(crate) fn flow(&self, meter: &Meter<'_>) -> &[Power] {
        match meter.feeder {
            None => &self.grid,
            Some(feeder) => self.feeders.get(&feeder.id).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// The power of anything planned, kW, per step, site sign; empty for what the plan does not know.
    #[must_use]
    pub fn power(&self, id: &str) -> Vec<Power> {
        if let Some(storage) = self.storage.get(id) {
            storage.power.clone()
        } else if let Some(generation) = self.generation.get(id) {
            generation.clone()
        } else if let Some(generator) = self.generators.get(id) {
            generator.power.clone()
        } else {
            self.work.get(id).map_or_else(Vec::new, |work| work.iter().map(|&power| -power).collect())
        }
    }
}

/// What a plan costs, by cause; their sum is the objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Paid for import less earned by export.
    pub energy: Money,
    /// Carbon price times emissions of import and of generators.
    pub carbon: Money,
    /// Cost curves of generators.
    #[serde(default)]
    pub fuel: Money,
    /// Starts of generators.
    #[serde(default)]
    pub starts: Money,
    /// Peak charges and dearer tiers.
    #[serde(default)]
    pub charges: Money,
    /// Changes of the exchange.
    #[serde(default)]
    pub ramping: Money,
    /// Emissions above the carbon cap.
    #[serde(default)]
    pub carbon_cap: Money,
    /// Wear of storages.
    pub wear: Money,
    /// Breaches of connection limits.
    pub breach: Money,
    /// Missing reserve for the pessimistic net power.
    pub reserve: Money,
    /// Missed state-of-charge targets.
    pub targets: Money,
    /// Use of storages that went without: heat that lacked, ways not driven.
    #[serde(default)]
    pub missing: Money,
    /// Energy held in store.
    #[serde(default)]
    pub holding: Money,
    /// Value of work that is not done.
    pub work_lost: Money,
    /// Expected cost of work that is left for the time after the horizon.
    pub work_later: Money,
    /// Value of what is in store at the end, as a negative cost.
    pub end_value: Money,
}

impl Costs {
    /// The objective.
    #[must_use]
    pub fn total(&self) -> Money {
        self.energy
            + self.carbon
            + self.fuel
            + self.starts
            + self.charges
            + self.ramping
            + self.carbon_cap
            + self.wear
            + self.breach
            + self.reserve
            + self.targets
            + self.missing
            + self.holding
            + self.work_lost
            + self.work_later
            + self.end_value
    }
}
