//! Checks a schedule without the solver that made it, and shares no formula with it: every constraint. The objective is added up
//! again in `recount.rs`, what no plan can be cheaper than in `bound.rs`.

use serde::{Deserialize, Serialize};
use sos_units::{FlexibleWork, Money};

use crate::bound::Bound;
use crate::covering::uncovered;
use crate::problem::{Problem, Step, Storage};
use crate::recount::recount;
use crate::running::check_generator;
use crate::schedule::{Breach, BreachKind, Costs, Schedule, StorageSchedule};

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
    /// The same by cause.
    pub costs: Costs,
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
        return Verification { violations, objective: Money::ZERO, costs: Costs::default(), bound: None };
    }
    let mut check = Checker { problem, schedule, violations: Vec::new() };
    let costs = if check.shape() {
        check.storages();
        check.generation();
        check.generators();
        check.work();
        check.balance();
        check.breaches();
        check.spinning();
        recount(problem, schedule)
    } else {
        Costs::default()
    };
    let bound = Bound::new(problem, schedule).map(|bound| Money::new(bound.value()));
    Verification { violations: check.violations, objective: costs.total(), costs, bound }
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
        // What people order, or what a device on hold does by itself, is as it is.
        let chosen = power < -TOLERANCE && s.ordered_in(t).is_none();
        let short = if chosen { d.min_charge.as_kw() + power } else { 0.0 };
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

    fn work(&mut self) {
        for work in &self.problem.work {
            let power: Vec<f64> = self.schedule.work[&work.id].iter().map(|p| p.as_kw()).collect();
            let goes_on = work.running && !work.interruptible;
            for (t, &p) in power.iter().enumerate() {
                self.at_most_zero(-p, t, || format!("power of {} below zero, kW", work.id));
                let most = if goes_on { work.max_power.as_kw() } else { most(self.problem, work, t) };
                self.at_most_zero(p - most, t, || format!("power of {} outside its window, kW", work.id));
            }
            self.work_energy(work, &power);
            if !work.interruptible {
                self.one_block(work, &power);
            }
        }
    }

    fn work_energy(&mut self, work: &FlexibleWork, power: &[f64]) {
        let energy = work.energy.as_kwh();
        let done = energy_of(self.problem, power);
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
            let expected = if work.running { full } else { most(self.problem, work, t).max(0.0) };
            let off = (expected - found).max(0.0);
            self.at_most_zero(off, t, || format!("power of {}, which may not be interrupted, kW", work.id));
        }
        let done = energy_of(self.problem, power);
        let rest = work.energy.as_kwh() - done;
        if last + 1 < power.len() && rest > 1e-5 * (1.0 + done) {
            self.fail(format!("{} stops before it is done, kWh", work.id), Some(last), rest);
        }
    }

    /// What is left over at each connection: everything that flows in less everything that flows out.
    fn balance(&mut self) {
        let (problem, schedule) = (self.problem, self.schedule);
        for meter in problem.meters() {
            let inside = |id: &String| meter.counts(id);
            let mut sums: Vec<f64> = self
                .schedule
                .flow(&meter)
                .iter()
                .zip(meter.fixed)
                .map(|(flow, p)| flow.as_kw() + p.as_kw())
                .collect();
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

    /// A limit may be exceeded, but only openly.
    fn breaches(&mut self) {
        for meter in self.problem.meters() {
            let name = meter.feeder.map(|feeder| &feeder.id);
            let c = meter.connection;
            for t in 0..self.problem.steps.len() {
                let flow = self.schedule.flow(&meter)[t].as_kw();
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
}

/// The energy of a list of powers, kWh.
pub(crate) fn energy_of(problem: &Problem, power: &[f64]) -> f64 {
    power.iter().zip(&problem.steps).map(|(p, step)| p * step.duration.get()).sum()
}

/// Most mean power of work in a step: its highest power for the part of the step inside its window.
pub(crate) fn most(problem: &Problem, work: &FlexibleWork, t: usize) -> f64 {
    let Step { start, duration } = problem.steps[t];
    let hours = duration.get();
    let begun = start.duration_since(work.earliest).as_secs_f64() / 3600.0;
    let end = work.deadline.duration_since(start).as_secs_f64() / 3600.0;
    // Before `earliest`, `begun` is negative: that part of the step is lost.
    let inside = (hours.min(end) - (-begun).max(0.0)).clamp(0.0, hours);
    work.max_power.as_kw() * inside / hours
}

/// Hours between the end of the horizon and a deadline in which work could still run.
pub(crate) fn hours_left(problem: &Problem, work: &FlexibleWork) -> f64 {
    let Some(last) = problem.steps.last() else { return 0.0 };
    let from_last_start = work.deadline.duration_since(last.start).as_secs_f64() / 3600.0;
    let window = work.deadline.duration_since(work.earliest).as_secs_f64() / 3600.0;
    (from_last_start - last.duration.get()).min(window).max(0.0)
}

/// Mean import price with carbon over the horizon.
pub(crate) fn mean_price(problem: &Problem) -> f64 {
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
