//! Checks a schedule without the solver that made it, and shares no formula with it.
//!
//! The objective is added up again from prices and powers. The bound comes from the schedule's marginal values
//! alone: for any site price and any value of stored energy, each asset left to itself against those prices cannot
//! do better than its own cheapest reaction, and the sum of these reactions is never dearer than the best plan
//! (Lagrangian relaxation; M. L. Fisher, Management Science 27, 1981). Wrong marginal values only loosen it.

use serde::{Deserialize, Serialize};
use sos_units::{FlexibleWork, Money};

use crate::generator::Generator;
use crate::problem::{Problem, Storage};
use crate::running::{check_generator, generator_cost, least_cost};
use crate::schedule::{BreachKind, Schedule};

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
    /// The objective, added up again; the price of a missing reserve is not part of it.
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
            for t in 0..plan.power.len() {
                let power = plan.power[t].as_kw();
                let after = plan.stored_after[t].as_kwh();
                let moved = power * self.problem.steps[t].duration.get();
                let expected = match power > 0.0 {
                    true => before - moved / s.discharge_efficiency,
                    false => before - moved * s.charge_efficiency,
                };
                let id = &s.id;
                self.at_most_zero((after - expected).abs(), t, || format!("energy balance of {id}, kWh"));
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

    /// What is left over at the connection: everything that flows in less everything that flows out.
    fn balance(&mut self) {
        for t in 0..self.problem.steps.len() {
            let schedule = self.schedule;
            let mut sum = schedule.grid[t].as_kw() + self.problem.fixed[t].as_kw();
            sum +=
                self.problem.storages.iter().map(|s| schedule.storage[&s.id].power[t].as_kw()).sum::<f64>();
            sum +=
                self.problem.curtailable.iter().map(|c| schedule.generation[&c.id][t].as_kw()).sum::<f64>();
            sum += self
                .problem
                .generators
                .iter()
                .map(|g| schedule.generators[&g.id].power[t].as_kw())
                .sum::<f64>();
            sum -= self.problem.work.iter().map(|w| schedule.work[&w.id][t].as_kw()).sum::<f64>();
            self.at_most_zero(sum.abs(), t, || "balance of the site, kW".into());
        }
    }

    /// A limit may be exceeded, but only openly.
    fn breaches(&mut self) {
        for t in 0..self.problem.steps.len() {
            let grid = self.schedule.grid[t].as_kw();
            let c = &self.problem.connection;
            for (kind, flow, limit) in [
                (BreachKind::Import, grid, c.import_limit[t]),
                (BreachKind::Export, -grid, c.export_limit[t]),
            ] {
                let over = limit.map_or(0.0, |limit| (flow - limit.as_kw()).max(0.0));
                let listed = self.schedule.breaches.iter().filter(|b| b.step == t && b.kind == kind);
                let owned: f64 = listed.map(|b| b.over.as_kw()).sum();
                self.at_most_zero((over - owned).abs(), t, || {
                    format!("{kind:?} limit and its listed breach, kW")
                });
            }
        }
    }

    fn objective(&self) -> f64 {
        let c = &self.problem.connection;
        let mut total = 0.0;
        for (t, step) in self.problem.steps.iter().enumerate() {
            let kwh = self.schedule.grid[t].as_kw() * step.duration.get();
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
        total + self.storage_costs() + self.generator_costs() + self.work_costs()
    }

    fn storage_costs(&self) -> f64 {
        let mut total = 0.0;
        for s in &self.problem.storages {
            let plan = &self.schedule.storage[&s.id];
            for (power, step) in plan.power.iter().zip(&self.problem.steps) {
                total += s.wear_cost.as_per_kwh() * power.as_kw().abs() * step.duration.get();
            }
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
    /// Site price per step.
    site: Vec<f64>,
    /// Stored value per storage and step.
    stored: Vec<Vec<f64>>,
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
        Some(Self { problem, site, stored })
    }

    fn value(&self) -> f64 {
        let n = self.problem.steps.len();
        let mut total: f64 = (0..n).map(|t| self.connection(t)).sum();
        total += self.problem.storages.iter().zip(&self.stored).map(|(s, v)| self.storage(s, v)).sum::<f64>();
        for item in &self.problem.curtailable {
            for (t, most) in item.available.iter().enumerate() {
                let earns = self.site[t] * most.as_kw() * self.problem.steps[t].duration.get();
                total -= earns.max(0.0);
            }
        }
        total += self
            .problem
            .generators
            .iter()
            .map(|generator| least_cost(self.problem, generator, &self.site))
            .sum::<f64>();
        total + self.problem.work.iter().map(|work| self.work(work)).sum::<f64>()
    }

    /// The grid sells at its price what the site buys at the site price; fixed power is bought as it is.
    fn connection(&self, t: usize) -> f64 {
        let (p, c) = (self.problem, &self.problem.connection);
        let h = p.steps[t].duration.get();
        let buy = c.import_price[t].as_per_kwh()
            + c.carbon_price.as_per_kg() * c.carbon_intensity[t].as_kg_per_kwh();
        let sell = c.export_price[t].as_per_kwh();
        let breach = c.breach_price.as_per_kwh();
        let (most_in, most_out) = self.range(t);
        let import = c.import_limit[t].map_or(most_in, |l| l.as_kw());
        let export = c.export_limit[t].map_or(most_out, |l| l.as_kw());
        let cost = |grid: f64| {
            let over = (grid - import).max(0.0) + (-grid - export).max(0.0);
            let own = if grid > 0.0 { grid * buy } else { grid * sell };
            (own + over * breach - grid * self.site[t]) * h
        };
        let points = [0.0, import, -export];
        least(&points, -most_out, most_in, cost) - self.site[t] * p.fixed[t].as_kw() * h
    }

    /// Most that could ever flow in and out.
    fn range(&self, t: usize) -> (f64, f64) {
        let p = self.problem;
        let fixed = p.fixed[t].as_kw();
        let charge: f64 = p.storages.iter().map(|s| s.max_charge.as_kw()).sum();
        let discharge: f64 = p.storages.iter().map(|s| s.max_discharge.as_kw()).sum();
        let work: f64 = p.work.iter().map(|w| w.max_power.as_kw()).sum();
        let burnt: f64 = p.generators.iter().map(Generator::most).sum();
        let generation: f64 = p.curtailable.iter().map(|c| c.available[t].as_kw()).sum::<f64>() + burnt;
        ((charge + work - fixed).max(0.0), (discharge + generation + fixed).max(0.0))
    }

    fn storage(&self, s: &Storage, value: &[f64]) -> f64 {
        let capacity = s.capacity.as_kwh();
        let start = s.soc.as_fraction();
        let low = capacity * start.min(s.min_soc.as_fraction());
        let high = capacity * start.max(s.max_soc.as_fraction());
        let wear = s.wear_cost.as_per_kwh();
        let mut total = -value[0] * start * capacity;
        for (t, step) in self.problem.steps.iter().enumerate() {
            if s.available.as_ref().is_none_or(|a| a[t]) {
                let charging = self.site[t] + wear - value[t] * s.charge_efficiency;
                let discharging = value[t] / s.discharge_efficiency + wear - self.site[t];
                let range = s.ordered.as_ref().and_then(|ordered| ordered.range[t]);
                let (low, high) = range.unwrap_or((-s.max_charge, s.max_discharge));
                // Both flows are free of each other, which only lowers the bound.
                let flow = |cost: f64, least: f64, most: f64| least_of(cost, least.max(0.0), most.max(0.0));
                let flows = flow(charging, -high.as_kw(), -low.as_kw())
                    + flow(discharging, low.as_kw(), high.as_kw());
                total += flows * step.duration.get();
            }
            let next = value.get(t + 1).copied().unwrap_or(s.end_value.as_per_kwh());
            let targets: Vec<_> = s.targets.iter().filter(|target| target.step == t).collect();
            let wanted: Vec<f64> = targets.iter().map(|target| target.soc.as_fraction() * capacity).collect();
            total += least(&wanted, low, high, |energy| {
                let missed =
                    targets.iter().zip(&wanted).map(|(t, w)| t.price.as_per_kwh() * (w - energy).max(0.0));
                (value[t] - next) * energy + missed.sum::<f64>()
            });
        }
        total
    }

    /// Work buys at the site price: the cheapest steps, or the cheapest block; or is left; or is lost.
    fn work(&self, work: &FlexibleWork) -> f64 {
        let problem = self.problem;
        let view = Checker { problem, schedule: &Schedule::default(), violations: Vec::new() };
        let energy = work.energy.as_kwh();
        let after = mean_price(problem);
        let room = work.max_power.as_kw() * hours_left(problem, work);
        if work.interruptible {
            let lost = if energy > 0.0 { work.value.get() / energy } else { 0.0 };
            let mut offers: Vec<(f64, f64)> = (0..problem.steps.len())
                .map(|t| (self.site[t], view.most(work, t) * problem.steps[t].duration.get()))
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
            let (money, _, missed) = self.block(work, 0, true);
            return money + if missed > 1e-9 { work.value.get() } else { 0.0 };
        }
        let starts = (0..problem.steps.len()).filter(|&t| view.most(work, t) > 0.0);
        let mut best = starts
            .map(|t| self.block(work, t, false))
            .filter(|&(_, _, missed)| missed <= 1e-6 * (1.0 + energy))
            .map(|(money, _, _)| money)
            .fold(work.value.get(), f64::min);
        if energy <= room + 1e-9 && work.max_power.as_kw() > 0.0 {
            best = best.min(energy * after);
        }
        best
    }

    /// Money, energy after the horizon and energy missed of a block that starts in step `first`.
    fn block(&self, work: &FlexibleWork, first: usize, running: bool) -> (f64, f64, f64) {
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
            money += taken * self.site[t];
            left -= taken;
        }
        let later = left.min(full * hours_left(problem, work));
        (money + later * mean_price(problem), later, missed + left - later)
    }
}
