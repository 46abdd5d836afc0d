//! Conventional generators: committed or not, and when they run, between their least and their most power.

use serde::{Deserialize, Serialize};
use sos_units::{CarbonIntensity, CarbonPrice, Hours, Money, Power, Price};

use crate::problem::{Check, Invalid, Problem, Step};
use crate::schedule::GeneratorSchedule;

/// A point of a generator's cost curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostPoint {
    /// Power at the terminals, kW, zero or above.
    pub power: Power,
    /// What an hour at this power costs, mostly fuel; carbon is counted apart.
    pub per_hour: Money,
}

/// What a generator did before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Whether it ran.
    pub on: bool,
    /// For how long it had done so, hours, zero or above.
    pub hours: Hours,
    /// Its power, kW; zero when it did not run.
    pub power: Power,
}

/// A generator that burns something. Its power is a mean over each step; it starts and stops between steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Unique within the problem.
    pub id: String,
    /// Cost by power, from the least power when it runs to the most: powers rise, and each further kWh costs at least as much as
    /// the one before. A single point is a generator that runs at one power only.
    pub curve: Vec<CostPoint>,
    /// Paid in the step in which it comes on.
    pub start_cost: Money,
    /// Emissions per kWh generated.
    pub emissions: CarbonIntensity,
    /// Shortest run and shortest rest, hours. A step counts from its start.
    pub min_up: Hours,
    /// See `min_up`.
    pub min_down: Hours,
    /// Fastest rise of the power from one step to the next while it runs, kW per hour; `None` = no limit.
    pub ramp_up: Option<Power>,
    /// Fastest fall, likewise.
    pub ramp_down: Option<Power>,
    /// Most power in the step in which it comes on, and in the last one before it goes off. Without it what its ramp allows from
    /// standstill, and its least power in any case.
    pub start_power: Option<Power>,
    /// See `start_power`.
    pub stop_power: Option<Power>,
    /// What it did before.
    pub before: Before,
    /// Steps in which it may run; `None` = always. It stops where it may not, however short its run was.
    pub available: Option<Vec<bool>>,
}

impl Generator {
    /// Least power while it runs, kW.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.curve.first().map_or(0.0, |point| point.power.as_kw())
    }

    /// Most power, kW.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.curve.last().map_or(0.0, |point| point.power.as_kw())
    }

    /// Whether it may run in a step.
    #[must_use]
    pub fn is_available(&self, step: usize) -> bool {
        self.available.as_ref().is_none_or(|steps| steps[step])
    }

    /// What a kWh costs at full power, with carbon.
    #[must_use]
    pub fn full_price(&self, carbon: CarbonPrice) -> Price {
        let fuel = self.curve.last().map_or(0.0, |point| point.per_hour.get());
        let each = if self.most() > 0.0 { fuel / self.most() } else { f64::INFINITY };
        Price::per_kwh(each) + carbon * self.emissions
    }

    /// The pieces of its curve above the least power: width in kW, and cost per kWh with carbon.
    #[must_use]
    pub fn pieces(&self, carbon: CarbonPrice) -> Vec<(f64, f64)> {
        let carbon = (carbon * self.emissions).as_per_kwh();
        let piece = |pair: &[CostPoint]| {
            let width = (pair[1].power - pair[0].power).as_kw();
            (width, (pair[1].per_hour - pair[0].per_hour).get() / width + carbon)
        };
        self.curve.windows(2).map(piece).collect()
    }

    /// What an hour at the least power costs, with carbon.
    pub(crate) fn idle_cost(&self, carbon: CarbonPrice) -> f64 {
        let fuel = self.curve.first().map_or(0.0, |point| point.per_hour.get());
        fuel + self.least() * (carbon * self.emissions).as_per_kwh()
    }

    /// What an hour at a power from the least to the most costs, without carbon.
    #[must_use]
    pub fn fuel(&self, power: Power) -> Money {
        let Some(first) = self.curve.first() else { return Money::ZERO };
        let mut cost = first.per_hour;
        for pair in self.curve.windows(2) {
            let width = (pair[1].power - pair[0].power).as_kw();
            let used = (power - pair[0].power).as_kw().clamp(0.0, width);
            cost += (pair[1].per_hour - pair[0].per_hour) * (used / width);
        }
        cost
    }

    /// Most change of power between two steps while it runs, for a step of `hours`, up and down.
    pub(crate) fn ramps(&self, hours: f64) -> (f64, f64) {
        let ramp = |limit: Option<Power>| limit.map_or(f64::INFINITY, |limit| limit.as_kw() * hours);
        (ramp(self.ramp_up), ramp(self.ramp_down))
    }

    /// Most power in the first step of a run and in the last one.
    pub(crate) fn edges(&self, hours: f64) -> (f64, f64) {
        let (up, down) = self.ramps(hours);
        let edge = |limit: Option<Power>, ramp: f64| {
            limit.map_or(ramp, Power::as_kw).clamp(self.least(), self.most().max(self.least()))
        };
        (edge(self.start_power, up), edge(self.stop_power, down))
    }

    /// The last step, exclusive, until which it has to stay as it was before: its run or its rest was too short so far.
    pub(crate) fn bound_until(&self, problem: &Problem) -> usize {
        let least = if self.before.on { self.min_up } else { self.min_down };
        let left = least.get() - self.before.hours.get();
        let mut since = 0.0;
        for (t, step) in problem.steps.iter().enumerate() {
            // What it may not do it does not do, and from then on it is free.
            if since >= left - MOMENT || (self.before.on && !self.is_available(t)) {
                return t;
            }
            since += step.duration.get();
        }
        problem.len()
    }

    /// The first step `s ≤ t` such that a change in `s` still binds it in `t`, for a least time in hours.
    pub(crate) fn bound_since(problem: &Problem, t: usize, least: Hours) -> usize {
        let mut since = 0.0;
        for s in (0..t).rev() {
            since += problem.steps[s].duration.get();
            if since >= least.get() - MOMENT {
                return s + 1;
            }
        }
        0
    }

    /// What it has done when step `last` of a plan is over: what the next plan begins with.
    #[must_use]
    pub fn after(&self, steps: &[Step], plan: &GeneratorSchedule, last: usize) -> Before {
        let mut before = self.before;
        for ((&on, &power), step) in plan.on.iter().zip(&plan.power).zip(steps).take(last + 1) {
            let hours = if on == before.on { before.hours } else { Hours::new(0.0) };
            before = Before { on, hours: Hours::new(hours.get() + step.duration.get()), power };
        }
        before
    }

    pub(crate) fn validate(&self, steps: usize) -> Result<(), Invalid> {
        let of = |what: &str| format!("{what} of {}", self.id);
        let Some(first) = self.curve.first() else {
            return Err(Invalid::Range {
                what: of("points of the cost curve"),
                value: 0.0,
                expected: "at least one",
            });
        };
        Check::at_least_zero(&of("least power"), first.power.as_kw())?;
        for point in &self.curve {
            Check::finite(&of("power of the cost curve"), point.power.as_kw())?;
            Check::finite(&of("cost of an hour"), point.per_hour.get())?;
        }
        let mut before = f64::NEG_INFINITY;
        for pair in self.curve.windows(2) {
            let width = (pair[1].power - pair[0].power).as_kw();
            if width <= 0.0 {
                let value = pair[1].power.as_kw();
                return Err(Invalid::Range {
                    what: of("power of the cost curve"),
                    value,
                    expected: "powers that rise",
                });
            }
            let slope = (pair[1].per_hour - pair[0].per_hour).get() / width;
            if slope < before - 1e-9 * (1.0 + before.abs()) {
                let expected = "a curve on which each further kWh costs at least as much as the one before";
                return Err(Invalid::Range { what: of("cost per kWh"), value: slope, expected });
            }
            before = slope;
        }
        let powers = [
            ("rise of power", self.ramp_up),
            ("fall of power", self.ramp_down),
            ("most power at a start", self.start_power),
            ("most power at a stop", self.stop_power),
        ];
        for (what, power) in powers {
            Check::at_least_zero(&of(what), power.map_or(0.0, Power::as_kw))?;
        }
        let hours = [
            ("shortest run", self.min_up),
            ("shortest rest", self.min_down),
            ("time so far", self.before.hours),
        ];
        for (what, hours) in hours {
            Check::at_least_zero(&of(what), hours.get())?;
        }
        Check::at_least_zero(&of("cost of a start"), self.start_cost.get())?;
        Check::at_least_zero(&of("emissions"), self.emissions.as_kg_per_kwh())?;
        Check::at_least_zero(&of("power so far"), self.before.power.as_kw())?;
        if let Some(available) = &self.available
            && available.len() != steps
        {
            return Err(Invalid::Length {
                what: of("availability"),
                expected: steps,
                found: available.len(),
            });
        }
        Ok(())
    }
}

/// Less than this is the rounding of a time, hours.
const MOMENT: f64 = 1e-6;
