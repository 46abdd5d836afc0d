//! Spinning reserve: what runs must be able to take over from the largest generator, and from a share of the renewables.
//!
//! The two events are covered each by itself, not at once. Generators count with the power that they have left at once, storages
//! with what they can hold for [`Spinning::duration`]. The requirement is elastic at a price, and what it lacks is listed.

use serde::{Deserialize, Serialize};
use sos_units::{Hours, Power, Price};

use crate::assemble::HELD;
use crate::group::Group;
use crate::model::Builder;
use crate::problem::{Check, Invalid, Problem, Storage};
use crate::schedule::{Breach, BreachKind, Costs, Schedule};

/// What has to be covered at every step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spinning {
    /// The loss of the generator that gives most.
    pub largest_generator: bool,
    /// The loss of this share of what renewables give, 0…1.
    pub renewable_share: f64,
    /// Renewable power that cannot be chosen and is part of the fixed power, per step, kW, zero or above.
    pub renewables: Vec<Power>,
    /// How long a storage has to be able to hold the power that it counts with, hours, above zero.
    pub duration: Hours,
    /// Charged per kWh of missing reserve: power times the length of the step. Zero or above.
    pub price: Price,
}

impl Spinning {
    pub(crate) fn validate(&self, steps: usize) -> Result<(), Invalid> {
        if self.renewables.len() != steps {
            let (what, found) = ("renewables of the spinning reserve".to_owned(), self.renewables.len());
            return Err(Invalid::Length { what, expected: steps, found });
        }
        for power in &self.renewables {
            Check::at_least_zero("renewables of the spinning reserve", power.as_kw())?;
        }
        Check::at_least_zero("price of the spinning reserve", self.price.as_per_kwh())?;
        Check::at_least_zero("share of renewables in the spinning reserve", self.renewable_share)?;
        let hours = self.duration.get();
        if hours <= 0.0 || hours > 8784.0 {
            let what = "duration of the spinning reserve".to_owned();
            return Err(Invalid::Range { what, value: hours, expected: "above 0 h, at most a year" });
        }
        Ok(())
    }
}

impl Builder<'_> {
    /// Rows for each event of each step. Call it when storages, generation and generators have their columns.
    pub(crate) fn spinning(&mut self, groups: &[Group]) {
        let Some(spinning) = self.problem.spinning.clone() else { return };
        for t in 0..self.problem.len() {
            let mut rows = Vec::new();
            if spinning.largest_generator {
                for g in 0..self.problem.generators.len() {
                    rows.push((self.built.lp.add_row(0.0, f64::INFINITY), Some(g)));
                }
            }
            if spinning.renewable_share > 0.0 {
                let fixed = spinning.renewable_share * spinning.renewables[t].as_kw();
                let row = self.built.lp.add_row(fixed, f64::INFINITY);
                for columns in &self.built.generation {
                    self.built.lp.append(columns[t], row, -spinning.renewable_share);
                }
                rows.push((row, None));
            }
            self.left_of_generators(t, &rows);
            let all: Vec<(usize, f64)> = rows.iter().map(|&(row, _)| (row, 1.0)).collect();
            for (g, group) in groups.iter().enumerate() {
                self.held_by(&spinning, t, g, group, &all);
            }
            let cost = spinning.price.as_per_kwh() * self.problem.steps[t].duration.get();
            // Finite, so that the bound stays finite whatever the multipliers are.
            let most = most_lost(self.problem, &spinning, t);
            self.column(cost, 0.0, 0.0, most, &all);
        }
    }

    /// What generators have left counts where another one is lost; what the lost one gives is to be covered.
    fn left_of_generators(&mut self, t: usize, rows: &[(usize, Option<usize>)]) {
        for (g, generator) in self.problem.generators.iter().enumerate() {
            let columns = &self.built.generators[g];
            for &(row, lost) in rows {
                let on =
                    if lost == Some(g) { -generator.least() } else { generator.most() - generator.least() };
                self.built.lp.append(columns.on[t], row, on);
                for &piece in &columns.pieces[t] {
                    self.built.lp.append(piece, row, -1.0);
                }
            }
        }
    }

    /// A column for what a group of storages holds ready in a step: power that it has left, for which its energy lasts from the
    /// beginning of the step and from its end.
    fn held_by(&mut self, spinning: &Spinning, t: usize, g: usize, group: &Group, rows: &[(usize, f64)]) {
        let members = || group.members.iter().map(|&i| &self.problem.storages[i]);
        if !members().all(|storage| counts(storage, t)) {
            return;
        }
        let least: f64 = members().map(|storage| storage.energy_min().as_kwh()).sum();
        let lasts = spinning.duration.get() / self.problem.storages[group.members[0]].discharge_efficiency;
        let lp = &mut self.built.lp;
        let power = lp.add_row(f64::NEG_INFINITY, group.discharge);
        lp.append(self.built.discharge[g][t], power, 1.0);
        lp.append(self.built.charge[g][t], power, -1.0);
        let mut entries = vec![(power, 1.0)];
        let before = t.checked_sub(1).map(|before| self.built.stored[g][before]);
        for stored in [before, Some(self.built.stored[g][t])] {
            let side = if stored.is_none() { group.energy - least } else { -least };
            let row = lp.add_row(f64::NEG_INFINITY, side);
            if let Some(stored) = stored {
                lp.append(stored, row, -1.0);
            }
            entries.push((row, lasts));
        }
        entries.extend(rows);
        self.column(0.0, 0.0, 0.0, group.discharge + group.charge, &entries);
    }
}

/// More than any event can take in a step, kW.
fn most_lost(problem: &Problem, spinning: &Spinning, t: usize) -> f64 {
    let generators: f64 = problem.generators.iter().map(crate::generator::Generator::most).sum();
    let renewables: f64 = problem.curtailable.iter().map(|item| item.available[t].as_kw()).sum();
    generators + spinning.renewable_share * (renewables + spinning.renewables[t].as_kw())
}

/// Whether a storage can be counted on in a step: it is there, and nobody ordered what it does.
fn counts(storage: &Storage, t: usize) -> bool {
    storage.is_available(t) && storage.ordered_in(t).is_none()
}

/// Prices what the reserve lacks and lists it.
pub(crate) fn price(problem: &Problem, schedule: &mut Schedule, costs: &mut Costs) {
    let Some(spinning) = &problem.spinning else { return };
    for t in 0..problem.len() {
        let missing = Power::kw(lacks(problem, schedule, spinning, t));
        costs.reserve += spinning.price * (missing * problem.steps[t].duration);
        if missing.as_kw() > HELD {
            schedule.breaches.push(Breach {
                step: t,
                kind: BreachKind::Spinning,
                over: missing,
                feeder: None,
            });
        }
    }
}

/// The most that is not covered of any event in a step, kW.
fn lacks(problem: &Problem, schedule: &Schedule, spinning: &Spinning, t: usize) -> f64 {
    let generators = problem.generators.iter().map(|generator| {
        let plan = &schedule.generators[&generator.id];
        let power = plan.power[t].as_kw();
        (power, if plan.on[t] { generator.most() - power } else { 0.0 })
    });
    let generators: Vec<(f64, f64)> = generators.collect();
    let left: f64 = generators.iter().map(|(_, left)| left).sum();
    let ready: f64 = problem.storages.iter().map(|storage| held(schedule, storage, spinning, t)).sum();
    let largest = generators.iter().map(|(power, own)| power - (left - own)).fold(0.0, f64::max);
    let largest = if spinning.largest_generator { largest - ready } else { 0.0 };
    let used: f64 = problem.curtailable.iter().map(|item| schedule.generation[&item.id][t].as_kw()).sum();
    let share = spinning.renewable_share * (used + spinning.renewables[t].as_kw());
    largest.max(share - left - ready).max(0.0)
}

/// What a storage holds ready, kW.
fn held(schedule: &Schedule, storage: &Storage, spinning: &Spinning, t: usize) -> f64 {
    if !counts(storage, t) {
        return 0.0;
    }
    let plan = &schedule.storage[&storage.id];
    let before = t.checked_sub(1).map_or(storage.soc * storage.capacity, |t| plan.stored_after[t]);
    let energy = (before.min(plan.stored_after[t]) - storage.energy_min()).as_kwh().max(0.0);
    let power = storage.max_discharge - plan.power[t];
    power.as_kw().min(energy * storage.discharge_efficiency / spinning.duration.get()).max(0.0)
}
