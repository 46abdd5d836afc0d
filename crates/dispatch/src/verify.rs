//! Checks a schedule without the solver that made it, and shares no formula with it.
//!
//! The objective is added up again from prices and powers. The bound comes from the schedule's marginal values
//! alone: for any site price and any value of stored energy, each asset left to itself against those prices cannot
//! do better than its own cheapest reaction, and the sum of these reactions is never dearer than the best plan
//! (Lagrangian relaxation; M. L. Fisher, Management Science 27, 1981). Wrong marginal values only loosen it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sos_units::{FlexibleWork, Money};

use crate::connection::{Feeder, Meter};
use crate::covering::uncovered;
use crate::generator::Generator;
use crate::problem::{Problem, Storage};
use crate::running::{check_generator, generator_cost, least_cost};
use crate::schedule::{Breach, BreachKind, Schedule, StorageSchedule};

/// A constraint that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Which constraint, of what.
    pub what: String,
    /// In which step, where it belongs to one.
    pub step: Option<usize>,
    /// By how much, in the unit that `what` names.
    pub by: f64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Empty when the schedule holds.
    pub violations: Vec<Violation>,
    /// The objective, added up again; the price of a missing reserve for the import limit is not part of it.
    pub objective: Money,
    /// No plan costs less than this; absent without marginal values. Reserves are left out, which only lowers it.
    pub bound: Option<Money>,
}

/// Most that a power or an energy may be off, kW or kWh: rounding of the solver.
const TOLERANCE: f64 = 1e-5;

/// Checks every constraint and adds up the objective again.
#[must_use]
pub fn verify(problem: &Problem, schedule: &Schedule) -> Verification {
    if let Err(invalid) = problem.validate() {
        let what = format!("the problem is invalid: {invalid}");
        let violations = vec![Violation { what, step: None, by: f64::INFINITY }];
        return Verification { violations, objective: Money::ZERO, bound: None };
    }
    let mut check = Checker { problem, schedule, violations: Vec::new() };
    let objective = if check.shape() {
        check.storages();
        check.generation();
        check.generators();
        check.work();
        check.balance();
        check.breaches();
        check.spinning();
        check.objective()
    } else {
        0.0
    };
    let bound = Bound::new(problem, schedule).map(|bound| Money::new(bound.value()));
    Verification { violations: check.violations, objective: Money::new(objective), bound }
}

struct Checker<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    violations: Vec<Violation>,
}

impl Checker<'_> {
    fn fail(&mut self, what: String, step: Option<usize>, by: f64) {
        self.violations.push(Violation { what, step, by });
    }

    /// Reports `value` unless it is at most the tolerance. NaN is reported.
    fn at_most_zero(&mut self, value: f64, step: usize, what: impl Fn() -> String) {
        let holds = value <= TOLERANCE;
        if !holds {
            self.fail(what(), Some(step), value);
        }
    }

    /// Every list there, of the right length, with finite numbers.
    fn shape(&mut self) -> bool {
        let n = self.problem.steps.len();
        let mut lists: Vec<(String, Option<Vec<f64>>)> = Vec::new();
        let schedule = self.schedule;
        lists.push(("grid".into(), Some(schedule.grid.iter().map(|p| p.as_kw()).collect())));
        for s in &self.problem.storages {
            let plan = schedule.storage.get(&s.id);
            let power = plan.map(|p| p.power.iter().map(|p| p.as_kw()).collect());
            lists.push((format!("power of {}", s.id), power));
            let stored = plan.map(|p| p.stored_after.iter().map(|e| e.as_kwh()).collect());
            lists.push((format!("energy of {}", s.id), stored));
            if s.dynamics.draw.is_some() {
                let missing = plan.map(|p| p.missing.iter().map(|e| e.as_kwh()).collect());
                lists.push((format!("use of {} that lacks", s.id), missing));
            }
        }
        for item in &self.problem.curtailable {
            let used = schedule.generation.get(&item.id).map(|p| p.iter().map(|p| p.as_kw()).collect());
            lists.push((format!("power of {}", item.id), used));
        }
        for generator in &self.problem.generators {
            let plan = schedule.generators.get(&generator.id);
            let power = plan.map(|p| p.power.iter().map(|p| p.as_kw()).collect());
            lists.push((format!("power of {}", generator.id), power));
            let on = plan.map(|p| p.on.iter().map(|&on| f64::from(u8::from(on))).collect());
            lists.push((format!("state of {}", generator.id), on));
        }
        for work in &self.problem.work {
            let used = schedule.work.get(&work.id).map(|p| p.iter().map(|p| p.as_kw()).collect());
            lists.push((format!("power of {}", work.id), used));
        }
        for feeder in &self.problem.feeders {
            let flows = schedule.feeders.get(&feeder.id).map(|p| p.iter().map(|p| p.as_kw()).collect());
            lists.push((format!("flow into feeder {}", feeder.id), flows));
        }
        for (name, list) in lists {
            match list {
                None => self.fail(format!("{name} is missing"), None, n as f64),
                Some(list) if list.len() != n => {
                    self.fail(format!("{name} has {} steps instead of {n}", list.len()), None, n as f64);
                }
                Some(list) => {
                    if let Some(step) = list.iter().position(|v| !v.is_finite()) {
                        self.fail(format!("{name} is not a finite number"), Some(step), f64::INFINITY);
                    }
                }
            }
        }
        self.violations.is_empty()
    }

    fn storages(&mut self) {
        for s in &self.problem.storages {
            let plan = &self.schedule.storage[&s.id];
            let capacity = s.capacity.as_kwh();
            let mut before = s.soc.as_fraction() * capacity;
            let floor = capacity * s.min_soc.as_fraction().min(s.soc.as_fraction());
            let ceiling = capacity * s.max_soc.as_fraction().max(s.soc.as_fraction());
            let mut decayed = 1.0;
            for t in 0..plan.power.len() {
                let power = plan.power[t].as_kw();
                let after = plan.stored_after[t].as_kwh();
                let hours = self.problem.steps[t].duration.get();
                let moved = power * hours;
                let gain = s.dynamics.charge_efficiency.as_ref().map_or(s.charge_efficiency, |each| each[t]);
                let flown = match power > 0.0 {
                    true => before - moved / s.discharge_efficiency,
                    false => before - moved * gain,
                };
                let id = &s.id;
                let left = s.dynamics.retention.powf(hours);
                let energy = after / left;
                let used = self.used(s, plan, t);
                self.at_most_zero((flown - used - energy).abs(), t, || {
                    format!("energy balance of {id}, kWh")
                });
                self.dynamics(s, t, power, energy);
                let (floor, ceiling) = (floor * decayed * left, ceiling * left);
                decayed *= left;
                self.at_most_zero(power - s.max_discharge.as_kw(), t, || {
                    format!("discharging power of {id}, kW")
                });
                self.at_most_zero(-power - s.max_charge.as_kw(), t, || format!("charging power of {id}, kW"));
                self.at_most_zero(floor - after, t, || format!("lowest energy of {id}, kWh"));
                self.at_most_zero(after - ceiling, t, || format!("highest energy of {id}, kWh"));
                if s.available.as_ref().is_some_and(|a| !a[t]) {
                    self.at_most_zero(power.abs(), t, || format!("power of {id} while not available, kW"));
                }
                if let Some((least, most)) = s.ordered.as_ref().and_then(|ordered| ordered.range[t]) {
                    let off = (least.as_kw() - power).max(power - most.as_kw());
                    self.at_most_zero(off, t, || format!("power of {id} beside what was ordered, kW"));
                }
                if let Some(soc) = plan.soc_after.get(t) {
                    let off = (soc.as_fraction() * capacity - after).abs();
                    self.at_most_zero(off, t, || format!("state of charge of {id} against its energy, kWh"));
                }
                before = after;
            }
        }
    }

    /// What use has taken from a store in a step, kWh; below zero what has come in by itself.
    fn used(&mut self, s: &Storage, plan: &StorageSchedule, t: usize) -> f64 {
        let Some(draw) = &s.dynamics.draw else { return 0.0 };
        let (wanted, missing) = (draw.energy[t].as_kwh(), plan.missing[t].as_kwh());
        let off = (wanted.min(0.0) - missing).max(missing - wanted.max(0.0));
        self.at_most_zero(off, t, || format!("use of {} that lacks beside what is wanted, kWh", s.id));
        wanted - missing
    }

    /// What holds for storages that are more than plain batteries, with the energy before losses.
    fn dynamics(&mut self, s: &Storage, t: usize, power: f64, energy: f64) {
        let d = &s.dynamics;
        for (curve, size) in [(&d.charge_curve, -power), (&d.discharge_curve, power)] {
            let soc = energy / s.capacity.as_kwh().max(1e-9);
            for pair in curve.windows(2) {
                let (s0, s1) = (pair[0].0.as_fraction(), pair[1].0.as_fraction());
                let (p0, p1) = (pair[0].1.as_kw(), pair[1].1.as_kw());
                let most = p0 + (soc - s0) * (p1 - p0) / (s1 - s0);
                self.at_most_zero(size - most.max(0.0), t, || {
                    format!("power of {} at its state of charge, kW", s.id)
                });
            }
        }
        let short = if power < -TOLERANCE { d.min_charge.as_kw() + power } else { 0.0 };
        self.at_most_zero(short, t, || format!("least charging power of {}, kW", s.id));
    }

    fn generation(&mut self) {
        for item in &self.problem.curtailable {
            for (t, used) in self.schedule.generation[&item.id].iter().enumerate() {
                let used = used.as_kw();
                self.at_most_zero(-used, t, || format!("power of {} below zero, kW", item.id));
                let over = used - item.available[t].as_kw();
                self.at_most_zero(over, t, || format!("power of {} above what is available, kW", item.id));
            }
        }
    }

    fn generators(&mut self) {
        for generator in &self.problem.generators {
            let plan = &self.schedule.generators[&generator.id];
            for (what, step, by) in check_generator(self.problem, generator, plan) {
                self.at_most_zero(by, step, || what.clone());
            }
        }
    }

    fn generator_costs(&self) -> f64 {
        let cost = |g: &Generator| generator_cost(self.problem, g, &self.schedule.generators[&g.id]);
        self.problem.generators.iter().map(cost).sum()
    }

    fn work(&mut self) {
        for work in &self.problem.work {
            let power: Vec<f64> = self.schedule.work[&work.id].iter().map(|p| p.as_kw()).collect();
            let goes_on = work.running && !work.interruptible;
            for (t, &p) in power.iter().enumerate() {
                self.at_most_zero(-p, t, || format!("power of {} below zero, kW", work.id));
                let most = if goes_on { work.max_power.as_kw() } else { self.most(work, t) };
                self.at_most_zero(p - most, t, || format!("power of {} outside its window, kW", work.id));
            }
            self.work_energy(work, &power);
            if !work.interruptible {
                self.one_block(work, &power);
            }
        }
    }

    /// Most mean power of work in a step: its highest power for the part of the step inside its window.
    fn most(&self, work: &FlexibleWork, t: usize) -> f64 {
        let hours = self.problem.steps[t].duration.get();
        let start = self.problem.steps[t].start.duration_since(work.earliest).as_secs_f64() / 3600.0;
        let end = work.deadline.duration_since(self.problem.steps[t].start).as_secs_f64() / 3600.0;
        // Before `earliest`, `start` is negative: that part of the step is lost.
        let inside = (hours.min(end) - (-start).max(0.0)).clamp(0.0, hours);
        work.max_power.as_kw() * inside / hours
    }

    fn work_energy(&mut self, work: &FlexibleWork, power: &[f64]) {
        let energy = work.energy.as_kwh();
        let done = self.energy_of(power);
        let undone = self.schedule.work_not_done.get(&work.id).map_or(0.0, |e| e.as_kwh());
        let slack = 1e-5 * (1.0 + energy);
        if done > energy + slack {
            self.fail(format!("energy of {} above what it needs, kWh", work.id), None, done - energy);
        }
        let goes_on = work.running && !work.interruptible;
        let later = energy - done - undone;
        let room = work.max_power.as_kw() * hours_left(self.problem, work);
        if !goes_on && later > room + slack {
            self.fail(
                format!("energy of {} is neither done nor owned up to, kWh", work.id),
                None,
                later - room,
            );
        }
    }

    /// Work that may not pause: full power from its start to its end, in one piece or not at all.
    fn one_block(&mut self, work: &FlexibleWork, power: &[f64]) {
        let on: Vec<usize> = (0..power.len()).filter(|&t| power[t] > TOLERANCE).collect();
        let (Some(&first), Some(&last)) = (on.first(), on.last()) else { return };
        let full = work.max_power.as_kw();
        for (t, &found) in power.iter().enumerate().take(last).skip(first) {
            let expected = if work.running { full } else { self.most(work, t).max(0.0) };
            let off = (expected - found).max(0.0);
            self.at_most_zero(off, t, || format!("power of {}, which may not be interrupted, kW", work.id));
        }
        let done = self.energy_of(power);
        let rest = work.energy.as_kwh() - done;
        if last + 1 < power.len() && rest > 1e-5 * (1.0 + done) {
            self.fail(format!("{} stops before it is done, kWh", work.id), Some(last), rest);
        }
    }

    fn energy_of(&self, power: &[f64]) -> f64 {
        power.iter().zip(&self.problem.steps).map(|(p, step)| p * step.duration.get()).sum()
    }

    /// What is left over at each connection: everything that flows in less everything that flows out.
    fn balance(&mut self) {
        let (problem, schedule) = (self.problem, self.schedule);
        for meter in problem.meters() {
            let inside = |id: &String| meter.counts(id);
            let mut sums: Vec<f64> =
                self.flow(&meter).iter().zip(meter.fixed).map(|(flow, p)| flow.as_kw() + p.as_kw()).collect();
            let mut add = |powers: &[sos_units::Power], sign: f64| {
                sums.iter_mut().zip(powers).for_each(|(sum, power)| *sum += sign * power.as_kw());
            };
            let storages = problem.storages.iter().map(|s| &s.id).filter(|id| inside(id));
            storages.for_each(|id| add(&schedule.storage[id].power, 1.0));
            let plants = problem.curtailable.iter().map(|c| &c.id).filter(|id| inside(id));
            plants.for_each(|id| add(&schedule.generation[id], 1.0));
            let generators = problem.generators.iter().map(|g| &g.id).filter(|id| inside(id));
            generators.for_each(|id| add(&schedule.generators[id].power, 1.0));
            problem
                .work
                .iter()
                .map(|w| &w.id)
                .filter(|id| inside(id))
                .for_each(|id| add(&schedule.work[id], -1.0));
            for (t, sum) in sums.into_iter().enumerate() {
                self.at_most_zero(sum.abs(), t, || match meter.feeder {
                    None => "balance of the site, kW".into(),
                    Some(feeder) => format!("balance of feeder {}, kW", feeder.id),
                });
            }
        }
    }

    /// What flows through a meter, import positive.
    fn flow(&self, meter: &Meter<'_>) -> &'_ [sos_units::Power] {
        match meter.feeder {
            None => &self.schedule.grid,
            Some(feeder) => &self.schedule.feeders[&feeder.id],
        }
    }

    /// A limit may be exceeded, but only openly.
    fn breaches(&mut self) {
        for meter in self.problem.meters() {
            let name = meter.feeder.map(|feeder| &feeder.id);
            let c = meter.connection;
            for t in 0..self.problem.steps.len() {
                let flow = self.flow(&meter)[t].as_kw();
                for (kind, flow, limit) in [
                    (BreachKind::Import, flow, c.import_limit[t]),
                    (BreachKind::Export, -flow, c.export_limit[t]),
                ] {
                    let over = limit.map_or(0.0, |limit| (flow - limit.as_kw()).max(0.0));
                    let breaches = self.schedule.breaches.iter();
                    let listed =
                        breaches.filter(|b| b.step == t && b.kind == kind && b.feeder.as_ref() == name);
                    let owned: f64 = listed.map(|b| b.over.as_kw()).sum();
                    self.at_most_zero((over - owned).abs(), t, || {
                        let of = name.map_or_else(String::new, |name| format!(" of feeder {name}"));
                        format!("{kind:?} limit{of} and its listed breach, kW")
                    });
                }
            }
        }
    }

    /// A reserve may be missing, but only openly.
    fn spinning(&mut self) {
        for (t, lacks) in uncovered(self.problem, self.schedule).into_iter().enumerate() {
            let listed = |b: &&Breach| b.step == t && b.kind == BreachKind::Spinning;
            let owned: f64 = self.schedule.breaches.iter().filter(listed).map(|b| b.over.as_kw()).sum();
            self.at_most_zero((lacks - owned).abs(), t, || "spinning reserve and what is listed, kW".into());
        }
    }

    fn spinning_costs(&self) -> f64 {
        let price = self.problem.spinning.as_ref().map_or(0.0, |spinning| spinning.price.as_per_kwh());
        let lacks = uncovered(self.problem, self.schedule);
        lacks.iter().zip(&self.problem.steps).map(|(kw, step)| kw * step.duration.get() * price).sum()
    }

    fn objective(&self) -> f64 {
        let exchanged: f64 = self.problem.meters().map(|meter| self.exchanged(&meter)).sum();
        let above_cap = self.problem.carbon_cap.map_or(0.0, |cap| {
            (emissions(self.problem, self.schedule) - cap.kg).max(0.0) * cap.price.as_per_kg()
        });
        exchanged
            + above_cap
            + self.spinning_costs()
            + self.storage_costs()
            + self.generator_costs()
            + self.work_costs()
    }

    /// What is paid for the flow through a meter.
    fn exchanged(&self, meter: &Meter<'_>) -> f64 {
        let (c, flow) = (meter.connection, self.flow(meter));
        let mut total = 0.0;
        for (t, step) in self.problem.steps.iter().enumerate() {
            let kwh = flow[t].as_kw() * step.duration.get();
            let carbon = c.carbon_price.as_per_kg() * c.carbon_intensity[t].as_kg_per_kwh();
            total += match kwh > 0.0 {
                true => kwh * (c.import_price[t].as_per_kwh() + carbon),
                false => kwh * c.export_price[t].as_per_kwh(),
            };
            let above = |limit: Option<sos_units::Power>, kwh: f64| {
                limit.map_or(0.0, |limit| (kwh - limit.as_kw() * step.duration.get()).max(0.0))
            };
            let over = above(c.import_limit[t], kwh) + above(c.export_limit[t], -kwh);
            total += over * c.breach_price.as_per_kwh();
        }
        for charge in &c.charges {
            let mut highest = charge.free;
            for sum in &charge.sums {
                let drawn = sum.steps.iter().map(|&(t, weight)| flow[t].as_kw().max(0.0) * weight);
                highest = highest.max(sum.so_far + drawn.sum::<f64>());
            }
            total += (highest - charge.free) * charge.price;
        }
        if let Some(ramping) = c.ramping {
            let mut before = ramping.before.map(sos_units::Power::as_kw);
            for flow in flow.iter().map(|flow| flow.as_kw()) {
                total += before.map_or(0.0, |before| (flow - before).abs()) * ramping.price;
                before = Some(flow);
            }
        }
        total
    }

    fn storage_costs(&self) -> f64 {
        let mut total = 0.0;
        for s in &self.problem.storages {
            let plan = &self.schedule.storage[&s.id];
            for (power, step) in plan.power.iter().zip(&self.problem.steps) {
                let power = power.as_kw().abs();
                let more = |&(above, price): &(sos_units::Power, sos_units::Price)| {
                    (power - above.as_kw()).max(0.0) * price.as_per_kwh()
                };
                let more: f64 = s.dynamics.wear_above.iter().map(more).sum();
                total += (s.wear_cost.as_per_kwh() * power + more) * step.duration.get();
            }
            for (stored, step) in plan.stored_after.iter().zip(&self.problem.steps) {
                total += s.dynamics.holding_cost.as_per_kwh() * stored.as_kwh() * step.duration.get();
            }
            let price = s.dynamics.draw.as_ref().map_or(0.0, |draw| draw.price.as_per_kwh());
            total += price * plan.missing.iter().map(|e| e.as_kwh().max(0.0)).sum::<f64>();
            let end = plan.stored_after.last().map_or(0.0, |e| e.as_kwh());
            total -= end * s.end_value.as_per_kwh();
            for target in &s.targets {
                let wanted = target.soc.as_fraction() * s.capacity.as_kwh();
                let missing = wanted - plan.stored_after[target.step].as_kwh();
                total += missing.max(0.0) * target.price.as_per_kwh();
            }
        }
        total
    }

    fn work_costs(&self) -> f64 {
        let mut total = 0.0;
        for work in &self.problem.work {
            let power: Vec<f64> = self.schedule.work[&work.id].iter().map(|p| p.as_kw()).collect();
            let undone = self.schedule.work_not_done.get(&work.id).map_or(0.0, |e| e.as_kwh());
            let energy = work.energy.as_kwh();
            let late = work.running && !work.interruptible;
            let rest = (energy - self.energy_of(&power)).max(0.0);
            let room = work.max_power.as_kw() * hours_left(self.problem, work);
            let later = if late { rest.min(room) } else { (rest - undone).clamp(0.0, room) };
            total += later * mean_price(self.problem);
            if undone > 0.0 {
                total += work.value.get() * if work.interruptible { undone / energy } else { 1.0 };
            }
        }
        total
    }
}

/// Hours between the end of the horizon and a deadline in which work could still run.
fn hours_left(problem: &Problem, work: &FlexibleWork) -> f64 {
    let Some(last) = problem.steps.last() else { return 0.0 };
    let from_last_start = work.deadline.duration_since(last.start).as_secs_f64() / 3600.0;
    let window = work.deadline.duration_since(work.earliest).as_secs_f64() / 3600.0;
    (from_last_start - last.duration.get()).min(window).max(0.0)
}

/// Emissions of a plan, kg: of what flows in wherever it counts, and of generators.
///
/// # Panics
/// When the schedule is not one of the problem.
#[must_use]
pub fn emissions(problem: &Problem, schedule: &Schedule) -> f64 {
    let mut total = 0.0;
    for (t, step) in problem.steps.iter().enumerate() {
        let mut per_hour =
            schedule.grid[t].as_kw().max(0.0) * problem.connection.carbon_intensity[t].as_kg_per_kwh();
        for feeder in &problem.feeders {
            let into = schedule.feeders[&feeder.id][t].as_kw().max(0.0);
            per_hour += into * feeder.connection.carbon_intensity[t].as_kg_per_kwh();
        }
        for generator in &problem.generators {
            let power = schedule.generators[&generator.id].power[t].as_kw();
            per_hour += power * generator.emissions.as_kg_per_kwh();
        }
        total += per_hour * step.duration.get();
    }
    total
}

/// Mean import price with carbon over the horizon.
fn mean_price(problem: &Problem) -> f64 {
    let c = &problem.connection;
    let (mut money, mut hours) = (0.0, 0.0);
    for (t, step) in problem.steps.iter().enumerate() {
        let h = step.duration.get();
        money += h * c.import_price[t].as_per_kwh();
        money += h * c.carbon_price.as_per_kg() * c.carbon_intensity[t].as_kg_per_kwh();
        hours += h;
    }
    money / hours
}

/// Marginal values, and what each part of the site would do against them.
struct Bound<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    /// Price per meter and step: the site's, then what feeders add.
    prices: Vec<Vec<f64>>,
    /// Feeders that things are behind.
    behind: BTreeMap<&'a str, Vec<usize>>,
    /// Stored value per storage and step.
    stored: Vec<Vec<f64>>,
    /// Price of a kg under the carbon cap.
    carbon: f64,
}

/// The least of a convex piecewise linear function on an interval lies at a kink or an end.
fn least(points: &[f64], low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let inside = points.iter().copied().filter(|p| *p > low && *p < high);
    inside.chain([low, high]).map(cost).fold(f64::INFINITY, f64::min)
}

/// The least of a linear function on an interval.
fn least_of(slope: f64, low: f64, high: f64) -> f64 {
    (slope * low).min(slope * high)
}

/// The least that charging and discharging cost per hour, where a kWh costs `price` and one in store is worth `value`. Both flows
/// are free of each other, which only lowers it; neither is above its room.
fn flows(s: &Storage, t: usize, price: f64, value: f64, room: (f64, f64)) -> f64 {
    let wear = s.wear_cost.as_per_kwh();
    let gain = s.dynamics.charge_efficiency.as_ref().map_or(s.charge_efficiency, |each| each[t]);
    let range = s.ordered.as_ref().and_then(|ordered| ordered.range[t]);
    let (low, high) = range.map_or_else(
        || (-s.max_charge.as_kw().min(room.0), s.max_discharge.as_kw().min(room.1)),
        |(low, high)| (low.as_kw(), high.as_kw()),
    );
    let kinks: Vec<f64> = s.dynamics.wear_above.iter().map(|(above, _)| above.as_kw()).collect();
    let flow = |each: f64, low: f64, high: f64| {
        least(&kinks, low.max(0.0), high.max(0.0), |power| {
            let above = |(above, more): &(sos_units::Power, sos_units::Price)| {
                more.as_per_kwh() * (power - above.as_kw()).max(0.0)
            };
            each * power + s.dynamics.wear_above.iter().map(above).sum::<f64>()
        })
    };
    flow(price + wear - value * gain, -high, -low)
        + flow(value / s.discharge_efficiency + wear - price, low, high)
}

impl<'a> Bound<'a> {
    fn new(problem: &'a Problem, schedule: &'a Schedule) -> Option<Self> {
        let n = problem.steps.len();
        let list = |prices: &[sos_units::Price]| -> Option<Vec<f64>> {
            let values: Vec<f64> = prices.iter().map(|p| p.as_per_kwh()).collect();
            (values.len() == n && values.iter().all(|v| v.is_finite())).then_some(values)
        };
        let site = list(&schedule.shadow.site_price)?;
        let value = |s: &Storage| list(schedule.shadow.stored_value.get(&s.id)?);
        let stored = problem.storages.iter().map(value).collect::<Option<_>>()?;
        let feeder = |feeder: &Feeder| list(schedule.shadow.feeder_price.get(&feeder.id)?);
        let feeders = problem.feeders.iter().map(feeder).collect::<Option<Vec<_>>>()?;
        let prices = std::iter::once(site).chain(feeders).collect();
        let carbon = Some(schedule.shadow.carbon).filter(|value| value.is_finite()).unwrap_or(0.0);
        let most = problem.carbon_cap.map_or(0.0, |cap| cap.price.as_per_kg());
        let (behind, carbon) = (problem.behind(), carbon.clamp(0.0, most));
        Some(Self { problem, schedule, prices, behind, stored, carbon })
    }

    fn value(&self) -> f64 {
        let problem = self.problem;
        let most = self.ranges();
        let mut total: f64 =
            problem.meters().enumerate().map(|(m, meter)| self.meter(m, &meter, &most[m])).sum();
        total -= problem.carbon_cap.map_or(0.0, |cap| self.carbon * cap.kg);
        total += problem.storages.iter().zip(&self.stored).map(|(s, v)| self.storage(s, v)).sum::<f64>();
        for item in &problem.curtailable {
            let prices = self.prices_of(&item.id);
            for ((most, price), step) in item.available.iter().zip(&prices).zip(&problem.steps) {
                total -= (price * most.as_kw() * step.duration.get()).max(0.0);
            }
        }
        for generator in &problem.generators {
            total += least_cost(problem, generator, &self.prices_of(&generator.id), self.carbon);
        }
        total + problem.work.iter().map(|work| self.work(work)).sum::<f64>()
    }

    /// What a kWh is worth to something: the site's price and what each feeder that it is behind adds.
    fn prices_of(&self, id: &str) -> Vec<f64> {
        let mut prices = self.prices[0].clone();
        for &feeder in self.behind.get(id).map(Vec::as_slice).unwrap_or_default() {
            prices.iter_mut().zip(&self.prices[feeder + 1]).for_each(|(sum, price)| *sum += price);
        }
        prices
    }

    /// A connection sells at its price what is bought behind it at the site's, or at what a feeder adds; fixed power is bought
    /// as it is.
    fn meter(&self, m: usize, meter: &Meter<'_>, most: &[(f64, f64)]) -> f64 {
        let (c, steps) = (meter.connection, &self.problem.steps);
        let (extra, mut total) = self.charged(meter);
        let ramps = self.ramps(meter, &mut total);
        for (t, step) in steps.iter().enumerate() {
            let (h, price) = (step.duration.get(), self.prices[m][t]);
            let carbon = (c.carbon_price.as_per_kg() + self.carbon) * c.carbon_intensity[t].as_kg_per_kwh();
            let buy = c.import_price[t].as_per_kwh() + carbon + extra[t] / h;
            let sell = c.export_price[t].as_per_kwh();
            let breach = c.breach_price.as_per_kwh();
            let (most_in, most_out) = most[t];
            let import = c.import_limit[t].map_or(most_in, |l| l.as_kw());
            let export = c.export_limit[t].map_or(most_out, |l| l.as_kw());
            let ramp = (ramps[t] - ramps[t + 1]) / h;
            let cost = |flow: f64| {
                let over = (flow - import).max(0.0) + (-flow - export).max(0.0);
                let own = if flow > 0.0 { flow * buy } else { flow * sell };
                (own + over * breach + flow * (ramp - price)) * h
            };
            let points = [0.0, import, -export];
            total += least(&points, -most_out, most_in, cost) - price * meter.fixed[t].as_kw() * h;
        }
        total
    }

    /// What charges add to the price of import in each step, per kW, and what their free parts give back. Multipliers are cut to what
    /// is allowed: zero or above, and no more than the price together.
    fn charged(&self, meter: &Meter<'_>) -> (Vec<f64>, f64) {
        let (mut extra, mut total) = (vec![0.0; self.problem.steps.len()], 0.0);
        for charge in &meter.connection.charges {
            let Some(found) = self.schedule.shadow.charges.get(&charge.id) else { continue };
            let found =
                |j: usize| found.get(j).copied().filter(|value| value.is_finite()).unwrap_or(0.0).max(0.0);
            let sum: f64 = (0..charge.sums.len()).map(found).sum();
            let factor = if sum > charge.price { charge.price / sum } else { 1.0 };
            for (j, one) in charge.sums.iter().enumerate() {
                one.steps.iter().for_each(|&(t, weight)| extra[t] += factor * found(j) * weight);
                total -= (charge.free - one.so_far) * found(j) * factor;
            }
        }
        (extra, total)
    }

    /// What a kW of rise into each step is charged with, and none after the last one; a fall is given as much.
    fn ramps(&self, meter: &Meter<'_>, total: &mut f64) -> Vec<f64> {
        let n = self.problem.steps.len();
        let Some(ramping) = meter.connection.ramping else { return vec![0.0; n + 1] };
        let found = self.schedule.shadow.ramping.get(meter.id());
        let at = |t: usize| {
            let value = found.and_then(|found| found.get(t)).copied().filter(|value| value.is_finite());
            value.unwrap_or(0.0).clamp(-ramping.price, ramping.price)
        };
        let mut ramps: Vec<f64> = (0..n).map(at).chain([0.0]).collect();
        match ramping.before {
            Some(before) => *total -= ramps[0] * before.as_kw(),
            None => ramps[0] = 0.0,
        }
        ramps
    }

    /// Most that could ever flow in and out, per meter and step.
    fn ranges(&self) -> Vec<Vec<(f64, f64)>> {
        let p = self.problem;
        let fixed = |meter: Meter<'_>| meter.fixed.iter().map(|p| (-p.as_kw(), p.as_kw())).collect();
        let mut ranges: Vec<Vec<(f64, f64)>> = p.meters().map(fixed).collect();
        let mut add = |id: &str, most: &dyn Fn(usize) -> (f64, f64)| {
            let feeders = self.behind.get(id).map(Vec::as_slice).unwrap_or_default();
            for m in std::iter::once(0).chain(feeders.iter().map(|feeder| feeder + 1)) {
                for (t, range) in ranges[m].iter_mut().enumerate() {
                    let (into, out) = most(t);
                    *range = (range.0 + into, range.1 + out);
                }
            }
        };
        for s in &p.storages {
            add(&s.id, &|_| (s.max_charge.as_kw(), s.max_discharge.as_kw()));
        }
        p.work.iter().for_each(|w| add(&w.id, &|_| (w.max_power.as_kw(), 0.0)));
        p.generators.iter().for_each(|g| add(&g.id, &|_| (0.0, g.most())));
        p.curtailable.iter().for_each(|c| add(&c.id, &|t| (0.0, c.available[t].as_kw())));
        ranges.iter_mut().flatten().for_each(|range| *range = (range.0.max(0.0), range.1.max(0.0)));
        ranges
    }

    /// What a store does at its best against the prices. Powers that fall with the state of charge are left out, which only lowers
    /// the bound.
    fn storage(&self, s: &Storage, value: &[f64]) -> f64 {
        let capacity = s.capacity.as_kwh();
        let start = s.soc.as_fraction();
        let low = capacity * start.min(s.min_soc.as_fraction());
        let high = capacity * start.max(s.max_soc.as_fraction());
        let mut total = -value[0] * start * capacity;
        let prices = self.prices_of(&s.id);
        let mut decayed = 1.0;
        for (t, step) in self.problem.steps.iter().enumerate() {
            let hours = step.duration.get();
            if s.available.as_ref().is_none_or(|a| a[t]) {
                let start = start * capacity;
                let room = match t {
                    0 if s.is_plain() => (
                        (high - start) / (s.charge_efficiency * hours),
                        (start - low) * s.discharge_efficiency / hours,
                    ),
                    _ => (f64::INFINITY, f64::INFINITY),
                };
                total += flows(s, t, prices[t], value[t], room) * hours;
            }
            if let Some(draw) = &s.dynamics.draw {
                let wanted = draw.energy[t].as_kwh();
                total += value[t] * wanted;
                total += least_of(draw.price.as_per_kwh() - value[t], 0.0, wanted.max(0.0));
                total += least_of(value[t], 0.0, (-wanted).max(0.0));
            }
            let left = s.dynamics.retention.powf(hours);
            let next = value.get(t + 1).copied().unwrap_or(s.end_value.as_per_kwh());
            let held = s.dynamics.holding_cost.as_per_kwh() * hours;
            let targets: Vec<_> = s.targets.iter().filter(|target| target.step == t).collect();
            let wanted: Vec<f64> = targets.iter().map(|target| target.soc.as_fraction() * capacity).collect();
            total += least(&wanted, low * decayed * left, high * left, |energy| {
                let missed =
                    targets.iter().zip(&wanted).map(|(t, w)| t.price.as_per_kwh() * (w - energy).max(0.0));
                (value[t] / left - next + held) * energy + missed.sum::<f64>()
            });
            decayed *= left;
        }
        total
    }

    /// Work buys at the site price: the cheapest steps, or the cheapest block; or is left; or is lost.
    fn work(&self, work: &FlexibleWork) -> f64 {
        let problem = self.problem;
        let prices = self.prices_of(&work.id);
        let view = Checker { problem, schedule: &Schedule::default(), violations: Vec::new() };
        let energy = work.energy.as_kwh();
        let after = mean_price(problem);
        let room = work.max_power.as_kw() * hours_left(problem, work);
        if work.interruptible {
            let lost = if energy > 0.0 { work.value.get() / energy } else { 0.0 };
            let mut offers: Vec<(f64, f64)> = (0..problem.steps.len())
                .map(|t| (prices[t], view.most(work, t) * problem.steps[t].duration.get()))
                .collect();
            offers.extend([(after, room), (lost, energy)]);
            offers.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut left = energy;
            let mut total = 0.0;
            for (price, most) in offers {
                let taken = left.min(most);
                total += price * taken;
                left -= taken;
            }
            return total;
        }
        if work.running {
            let (money, _, missed) = self.block(work, &prices, 0, true);
            return money + if missed > 1e-9 { work.value.get() } else { 0.0 };
        }
        let starts = (0..problem.steps.len()).filter(|&t| view.most(work, t) > 0.0);
        let mut best = starts
            .map(|t| self.block(work, &prices, t, false))
            .filter(|&(_, _, missed)| missed <= 1e-6 * (1.0 + energy))
            .map(|(money, _, _)| money)
            .fold(work.value.get(), f64::min);
        if energy <= room + 1e-9 && work.max_power.as_kw() > 0.0 {
            best = best.min(energy * after);
        }
        best
    }

    /// Money, energy after the horizon and energy missed of a block that starts in step `first`.
    fn block(&self, work: &FlexibleWork, prices: &[f64], first: usize, running: bool) -> (f64, f64, f64) {
        let problem = self.problem;
        let full = work.max_power.as_kw();
        let (mut left, mut money, mut missed) = (work.energy.as_kwh(), 0.0, 0.0);
        for t in first..problem.steps.len() {
            let step = problem.steps[t];
            let wait = work.earliest.duration_since(step.start).as_secs_f64() / 3600.0;
            let until = work.deadline.duration_since(step.start).as_secs_f64() / 3600.0;
            let begin = if running { 0.0 } else { wait.clamp(0.0, step.duration.get()) };
            let taken = left.min(full * (step.duration.get() - begin));
            missed += (taken - full * (until.min(step.duration.get()) - begin).max(0.0)).max(0.0);
            money += taken * prices[t];
            left -= taken;
        }
        let later = left.min(full * hours_left(problem, work));
        (money + later * mean_price(problem), later, missed + left - later)
    }
}
