//! What is to be decided: steps, connection, net power, storages, work. Independent of manifests.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::{Energy, FlexibleWork, Hours, Power, Price, Soc};
use thiserror::Error;

use crate::connection::{CarbonCap, Connection, Feeder};
use crate::dynamics::Dynamics;
use crate::generator::Generator;
use crate::ordered::Ordered;
use crate::spinning::Spinning;

/// One step of the horizon. Steps follow each other in time; their lengths may differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Start of the step.
    pub start: Timestamp,
    /// Length, hours, above zero.
    pub duration: Hours,
}

impl Step {
    /// Its end.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let millis = (self.duration.get() * 3.6e6).round() as i64;
        self.start.checked_add(jiff::SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX)
    }
}

/// A pessimistic net power for which storage is kept in reserve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pessimistic {
    /// Net inflexible power that is undercut only rarely (a lower quantile), per step, kW, site sign.
    pub fixed: Vec<Power>,
    /// Charged per kWh by which the import limit would be exceeded under `fixed`, zero or above: the breach price
    /// times the chance that it comes to this is a good start.
    pub price: Price,
}

/// Stored energy kept for the connection's limit, whatever the plan expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reserve {
    /// Wanted at the end of each step above the lowest states of charge, all storages together, kWh.
    pub energy: Vec<Energy>,
    /// Charged per kWh missing at the end of a step, zero or above. Below the spread between dear and cheap
    /// hours, else energy is bought for it.
    pub price: Price,
}

/// Generation that may be turned down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curtailable {
    /// Unique within the problem.
    pub id: String,
    /// What could be generated, per step, kW, zero or above.
    pub available: Vec<Power>,
}

/// A battery or anything that acts like one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// Unique within the problem.
    pub id: String,
    /// Usable capacity, kWh, zero or above.
    pub capacity: Energy,
    /// State of charge at the start of the first step, 0…1. May lie outside `min_soc..=max_soc`; it then never
    /// gets worse.
    pub soc: Soc,
    /// Lowest state of charge the plan may reach, 0…1.
    pub min_soc: Soc,
    /// Highest state of charge the plan may reach, 0…1.
    pub max_soc: Soc,
    /// Most charging power at the terminals, kW, as a size: zero or above.
    pub max_charge: Power,
    /// Most discharging power at the terminals, kW, zero or above.
    pub max_discharge: Power,
    /// Stored per taken energy, above 0, at most 1.
    pub charge_efficiency: f64,
    /// Delivered per withdrawn energy, above 0, at most 1.
    pub discharge_efficiency: f64,
    /// What a kWh in store is worth at the end of the horizon.
    pub end_value: Price,
    /// Wear per kWh charged and per kWh discharged at the terminals, zero or above.
    pub wear_cost: Price,
    /// Steps in which it may be used; `None` = always.
    pub available: Option<Vec<bool>>,
    /// States of charge wanted by a certain step, each elastic at its own price.
    #[serde(default)]
    pub targets: Vec<SocTarget>,
    /// Power that people ordered of it.
    #[serde(default)]
    pub ordered: Option<Ordered>,
    /// How it differs from a plain battery.
    #[serde(default)]
    pub dynamics: Dynamics,
}

impl Storage {
    /// Whether it may be used in `step`.
    #[must_use]
    pub fn is_available(&self, step: usize) -> bool {
        self.available.as_ref().is_none_or(|steps| steps[step])
    }

    /// Lowest stored energy of a plan: what `min_soc` says, or less when there is less already.
    #[must_use]
    pub fn energy_min(&self) -> Energy {
        self.min_soc.min(self.soc) * self.capacity
    }

    /// Highest stored energy of a plan: what `max_soc` says, or more when there is more already.
    #[must_use]
    pub fn energy_max(&self) -> Energy {
        self.max_soc.max(self.soc) * self.capacity
    }
}

/// A state of charge wanted at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocTarget {
    /// The step at whose end it counts.
    pub step: usize,
    /// At least this, 0…1.
    pub soc: Soc,
    /// Charged per kWh missing, zero or above.
    pub price: Price,
}

/// One decision over a horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The horizon.
    pub steps: Vec<Step>,
    /// The connection to the grid.
    pub connection: Connection,
    /// Parts of the site behind meters or fuses of their own.
    #[serde(default)]
    pub feeders: Vec<Feeder>,
    /// Most emissions over the horizon.
    #[serde(default)]
    pub carbon_cap: Option<CarbonCap>,
    /// Net power that cannot be chosen, per step, kW, site sign: load is negative, must-take solar positive.
    pub fixed: Vec<Power>,
    /// A pessimistic version of `fixed`, under which the import limit is to hold too.
    pub pessimistic: Option<Pessimistic>,
    /// Energy to be kept for the connection's limit; simpler than `pessimistic`, and both may be given.
    #[serde(default)]
    pub reserve: Option<Reserve>,
    /// What has to be able to take over at once.
    #[serde(default)]
    pub spinning: Option<Spinning>,
    /// Generation that may be turned down.
    pub curtailable: Vec<Curtailable>,
    /// Batteries.
    pub storages: Vec<Storage>,
    /// Generators that burn something.
    #[serde(default)]
    pub generators: Vec<Generator>,
    /// Work that may be done earlier or later. It consumes; see [`FlexibleWork`].
    pub work: Vec<FlexibleWork>,
    /// The zone in which reasons name times.
    #[serde(with = "jiff::fmt::serde::tz::required", default = "utc")]
    pub zone: jiff::tz::TimeZone,
}

fn utc() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::UTC
}

fn yes() -> bool {
    true
}

/// When a search stops. Never by a clock, so that the same problem has the same answer on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Accepted distance to the bound, relative to the larger of |objective| and gross import cost.
    pub gap: f64,
    /// Most simplex iterations of one linear programme.
    pub iterations: u32,
    /// Most nodes of the search over start times and commitments.
    pub nodes: u32,
    /// Whether directions of flows are branched over where the plan that goes one way is not known to be within the gap.
    #[serde(default = "yes")]
    pub directions: bool,
    /// Most threads, where they help; zero for as many as there are processors. The plan does not depend on it.
    #[serde(default)]
    pub threads: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { gap: 1e-3, iterations: 1_000_000, nodes: 200, directions: true, threads: 0 }
    }
}

/// What is wrong with a problem.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Invalid {
    /// No step at all.
    #[error("the horizon has no steps; give at least one")]
    NoSteps,
    /// A list that does not fit the horizon.
    #[error("{what} has {found} values; the horizon has {expected} steps and needs one each")]
    Length {
        /// The list.
        what: String,
        /// Steps of the horizon.
        expected: usize,
        /// Values in the list.
        found: usize,
    },
    /// NaN or infinite.
    #[error("{what} is not a finite number")]
    NotFinite {
        /// The value.
        what: String,
    },
    /// Outside of what makes sense.
    #[error("{what} is {value}; expected {expected}")]
    Range {
        /// The value's name.
        what: String,
        /// The value.
        value: f64,
        /// What was expected.
        expected: &'static str,
    },
    /// Two things of the same name.
    #[error("the id \"{id}\" is used twice; ids are unique within a problem")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// Times that run backwards or leave a gap.
    #[error("step {step} does not start where the step before it ends")]
    Order {
        /// The step.
        step: usize,
    },
}

/// Collects checks, so that each is one line.
pub(crate) struct Check;

impl Check {
    pub(crate) fn finite(what: &str, value: f64) -> Result<(), Invalid> {
        // Beyond 1e9 of any unit the numbers are a mistake and the solver's tolerances are gone.
        if value.is_finite() && value.abs() <= 1e9 {
            Ok(())
        } else if value.is_finite() {
            Err(Invalid::Range { what: what.into(), value, expected: "a size of at most 1e9" })
        } else {
            Err(Invalid::NotFinite { what: what.into() })
        }
    }
    pub(crate) fn at_least_zero(what: &str, value: f64) -> Result<(), Invalid> {
        Self::finite(what, value)?;
        if value < 0.0 {
            return Err(Invalid::Range { what: what.into(), value, expected: "zero or above" });
        }
        Ok(())
    }
    pub(crate) fn share(what: &str, value: f64) -> Result<(), Invalid> {
        Self::finite(what, value)?;
        if !(-1e-9..=1.0 + 1e-9).contains(&value) {
            return Err(Invalid::Range { what: what.into(), value, expected: "0…1" });
        }
        Ok(())
    }
    pub(crate) fn list(
        what: &str,
        steps: usize,
        values: impl ExactSizeIterator<Item = f64>,
        each: fn(&str, f64) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        if values.len() != steps {
            return Err(Invalid::Length { what: what.into(), expected: steps, found: values.len() });
        }
        for (step, value) in values.enumerate() {
            // The name with its step is only built when something is wrong.
            if each("", value).is_err() {
                each(&format!("{what}, step {step},"), value)?;
            }
        }
        Ok(())
    }
}

impl Problem {
    /// The number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The end of the last step.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        self.steps.last().map(|step| step.end())
    }

    /// Checks everything a solver relies on.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_steps()?;
        self.validate_connections()?;
        let n = self.len();
        Check::list("fixed power", n, self.fixed.iter().map(|p| p.as_kw()), Check::finite)?;
        if let Some(low) = &self.pessimistic {
            Check::list("pessimistic power", n, low.fixed.iter().map(|p| p.as_kw()), Check::finite)?;
            Check::at_least_zero("price of the reserve", low.price.as_per_kwh())?;
        }
        if let Some(reserve) = &self.reserve {
            let wanted = reserve.energy.iter().map(|e| e.as_kwh());
            Check::list("energy of the reserve", n, wanted, Check::at_least_zero)?;
            Check::at_least_zero("price of the reserve", reserve.price.as_per_kwh())?;
        }
        if let Some(spinning) = &self.spinning {
            spinning.validate(n)?;
        }
        let mut ids = BTreeSet::new();
        for item in &self.curtailable {
            unique(&mut ids, &item.id)?;
            let what = format!("available power of {}", item.id);
            Check::list(&what, n, item.available.iter().map(|p| p.as_kw()), Check::at_least_zero)?;
        }
        for storage in &self.storages {
            unique(&mut ids, &storage.id)?;
            validate_storage(storage, n)?;
        }
        for generator in &self.generators {
            unique(&mut ids, &generator.id)?;
            generator.validate(n)?;
        }
        for work in &self.work {
            unique(&mut ids, &work.id)?;
            validate_work(work)?;
        }
        Ok(())
    }

    fn validate_steps(&self) -> Result<(), Invalid> {
        if self.steps.is_empty() {
            return Err(Invalid::NoSteps);
        }
        for (i, step) in self.steps.iter().enumerate() {
            let hours = step.duration.get();
            Check::finite("length of a step", hours)?;
            if hours <= 0.0 || hours > 8784.0 {
                let what = format!("length of step {i}");
                return Err(Invalid::Range { what, value: hours, expected: "above 0 h, at most a year" });
            }
        }
        for (i, pair) in self.steps.windows(2).enumerate() {
            let apart = pair[1].start.duration_since(pair[0].end()).as_secs_f64();
            if apart.abs() > 1.0 {
                return Err(Invalid::Order { step: i + 1 });
            }
        }
        Ok(())
    }

    fn validate_connections(&self) -> Result<(), Invalid> {
        self.connection.validate(self.len(), "")?;
        let (mut ids, mut charges) = (BTreeSet::new(), BTreeSet::new());
        for feeder in &self.feeders {
            unique(&mut ids, &feeder.id)?;
            feeder.validate(self.len())?;
        }
        for charge in self.meters().flat_map(|meter| &meter.connection.charges) {
            unique(&mut charges, &charge.id)?;
        }
        let Some(cap) = &self.carbon_cap else { return Ok(()) };
        Check::at_least_zero("most emissions", cap.kg)?;
        Check::at_least_zero("price of emissions above the cap", cap.price.as_per_kg())
    }
}

fn unique<'a>(ids: &mut BTreeSet<&'a str>, id: &'a str) -> Result<(), Invalid> {
    if ids.insert(id) { Ok(()) } else { Err(Invalid::Duplicate { id: id.into() }) }
}

fn validate_storage(s: &Storage, steps: usize) -> Result<(), Invalid> {
    let of = |what: &str| format!("{what} of {}", s.id);
    Check::at_least_zero(&of("capacity"), s.capacity.as_kwh())?;
    Check::at_least_zero(&of("charging power"), s.max_charge.as_kw())?;
    Check::at_least_zero(&of("discharging power"), s.max_discharge.as_kw())?;
    for (what, soc) in [("state of charge", s.soc), ("lowest", s.min_soc), ("highest", s.max_soc)] {
        Check::share(&of(what), soc.as_fraction())?;
    }
    if s.min_soc > s.max_soc {
        let (what, value) = (of("lowest state of charge"), s.min_soc.as_fraction());
        return Err(Invalid::Range { what, value, expected: "at most the highest state of charge" });
    }
    for (what, value) in [("charge", s.charge_efficiency), ("discharge", s.discharge_efficiency)] {
        let what = of(&format!("{what} efficiency"));
        Check::finite(&what, value)?;
        // Below one percent it is a percentage that lost its unit, and it would ruin the solver's scaling.
        if !(0.01..=1.0).contains(&value) {
            return Err(Invalid::Range { what, value, expected: "0.01…1" });
        }
    }
    Check::finite(&of("end value"), s.end_value.as_per_kwh())?;
    Check::at_least_zero(&of("wear cost"), s.wear_cost.as_per_kwh())?;
    if let Some(list) = &s.available
        && list.len() != steps
    {
        return Err(Invalid::Length { what: of("availability"), expected: steps, found: list.len() });
    }
    if let Some(ordered) = &s.ordered {
        validate_ordered(s, ordered, steps)?;
    }
    s.validate_dynamics(steps)?;
    for target in &s.targets {
        Check::share(&of("target"), target.soc.as_fraction())?;
        Check::at_least_zero(&of("price of the target"), target.price.as_per_kwh())?;
        if target.step >= steps {
            let (what, value) = (of("step of the target"), target.step as f64);
            return Err(Invalid::Range { what, value, expected: "a step of the horizon" });
        }
    }
    Ok(())
}

fn validate_ordered(s: &Storage, ordered: &Ordered, steps: usize) -> Result<(), Invalid> {
    let what = format!("ordered power of {}", s.id);
    if ordered.range.len() != steps {
        return Err(Invalid::Length { what, expected: steps, found: ordered.range.len() });
    }
    let (least, most) = (-s.max_charge.as_kw() - 1e-9, s.max_discharge.as_kw() + 1e-9);
    for (low, high) in ordered.range.iter().flatten().map(|(low, high)| (low.as_kw(), high.as_kw())) {
        Check::finite(&what, low)?;
        Check::finite(&what, high)?;
        if low > high || low < least || high > most {
            let expected = "a range within the powers of the storage";
            return Err(Invalid::Range { what, value: low, expected });
        }
    }
    Ok(())
}

fn validate_work(work: &FlexibleWork) -> Result<(), Invalid> {
    let of = |what: &str| format!("{what} of {}", work.id);
    Check::at_least_zero(&of("energy"), work.energy.as_kwh())?;
    Check::at_least_zero(&of("lowest power"), work.min_power.as_kw())?;
    Check::at_least_zero(&of("highest power"), work.max_power.as_kw())?;
    Check::at_least_zero(&of("value"), work.value.get())
}
