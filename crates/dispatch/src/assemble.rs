//! From decisions to a schedule and its costs.

use sos_units::{Energy, Money, Power, Soc};

use crate::generator::Generator;
use crate::problem::{Problem, Storage};
use crate::schedule::{Breach, BreachKind, Costs, GeneratorSchedule, Schedule, Shadow, StorageSchedule};
use crate::spinning;
use crate::work::{Profile, price_after};

/// Decisions in plain numbers, in the problem's order: kW and kWh.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    /// Power of each storage, discharge positive.
    pub(crate) storage: Vec<Vec<f64>>,
    /// Of each storage, what its use goes without, kWh; empty for nothing.
    pub(crate) missing: Vec<Vec<f64>>,
    /// Used generation.
    pub(crate) generation: Vec<Vec<f64>>,
    /// Power of each generator; zero when off. A least power of zero leaves on and off apart.
    pub(crate) generators: Vec<GeneratorPlan>,
    pub(crate) work: Vec<WorkPlan>,
    pub(crate) shadow: Shadow,
}

/// When one generator runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorPlan {
    pub(crate) on: Vec<bool>,
    /// kW per step.
    pub(crate) power: Vec<f64>,
}

/// When one piece of work runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkPlan {
    /// Consumption, kW per step.
    pub(crate) power: Vec<f64>,
    /// Left for the time after the horizon, kWh.
    pub(crate) later: f64,
}

impl WorkPlan {
    pub(crate) fn add(&mut self, profile: &Profile, part: f64) {
        for (k, power) in profile.power.iter().enumerate() {
            self.power[profile.start + k] += part * power;
        }
        self.later += part * profile.later;
    }
}

/// Overshoot of a limit below which it counts as held, kW.
pub(crate) const HELD: f64 = 1e-6;

/// Completes decisions to a schedule: energy in store, exchange with the grid, breaches, costs.
pub(crate) fn assemble(problem: &Problem, raw: &Raw) -> (Schedule, Costs) {
    let mut schedule = Schedule::default();
    let mut net: Vec<f64> = problem.fixed.iter().map(|p| p.as_kw()).collect();
    let mut costs = Costs::default();
    for (index, storage) in problem.storages.iter().enumerate() {
        let missing = raw.missing.get(index).map_or(&[][..], Vec::as_slice);
        let plan = store(problem, storage, &raw.storage[index], missing);
        for (sum, power) in net.iter_mut().zip(&plan.power) {
            *sum += power.as_kw();
        }
        price_storage(problem, storage, &plan, &mut costs);
        schedule.storage.insert(storage.id.clone(), plan);
    }
    for (item, used) in problem.curtailable.iter().zip(&raw.generation) {
        net.iter_mut().zip(used).for_each(|(sum, p)| *sum += p);
        schedule.generation.insert(item.id.clone(), used.iter().map(|&p| Power::kw(p)).collect());
    }
    for (generator, plan) in problem.generators.iter().zip(&raw.generators) {
        let plan = generated(problem, generator, plan, &mut costs);
        net.iter_mut().zip(&plan.power).for_each(|(sum, p)| *sum += p.as_kw());
        schedule.generators.insert(generator.id.clone(), plan);
    }
    for (index, plan) in raw.work.iter().enumerate() {
        net.iter_mut().zip(&plan.power).for_each(|(sum, p)| *sum -= p);
        add_work(problem, index, plan, &mut schedule, &mut costs);
    }
    schedule.grid = net.iter().map(|&p| Power::kw(if p == 0.0 { 0.0 } else { -p })).collect();
    feeders(problem, &mut schedule);
    exchange(problem, &mut schedule, &mut costs);
    reserve(problem, &mut schedule, &mut costs);
    stock(problem, &schedule, &mut costs);
    spinning::price(problem, &mut schedule, &mut costs);
    (schedule, costs)
}

/// Follows the energy in store; rounding of the solver that would leave the limits is taken off the power.
fn store(problem: &Problem, s: &Storage, power: &[f64], missing: &[f64]) -> StorageSchedule {
    let mut energy = (s.soc * s.capacity).as_kwh();
    let mut floor = s.energy_min().as_kwh();
    let mut plan = StorageSchedule::default();
    for (t, (step, &wanted)) in problem.steps.iter().zip(power).enumerate() {
        let h = step.duration.get();
        let missing = missing.get(t).copied().unwrap_or(0.0);
        let [into, out] = s.room(t, h, energy + missing, floor);
        // A trace below a milliwatt is the solver's rounding, not a decision.
        let wanted = if wanted.abs() < 1e-9 { 0.0 } else { wanted };
        let power = wanted.clamp(-into, out);
        let moved = s.moved(t, h, energy, floor, power, missing);
        energy = moved.after;
        floor *= s.kept(h);
        let capacity = s.capacity.as_kwh();
        plan.power.push(Power::kw(power));
        plan.stored_after.push(Energy::kwh(energy));
        plan.soc_after.push(Soc::fraction(if capacity > 0.0 { energy / capacity } else { 0.0 }));
        if s.dynamics.draw.is_some() {
            plan.missing.push(Energy::kwh(moved.missing));
        }
    }
    plan
}

/// What a storage costs: wear, use that goes without, what is held, missed targets; and what is left at the end.
fn price_storage(problem: &Problem, s: &Storage, plan: &StorageSchedule, costs: &mut Costs) {
    for ((step, power), stored) in problem.steps.iter().zip(&plan.power).zip(&plan.stored_after) {
        costs.wear += s.wear_cost * (power.abs() * step.duration);
        for &(above, more) in &s.dynamics.wear_above {
            costs.wear += more * ((power.abs() - above).max(Power::ZERO) * step.duration);
        }
        costs.holding += (s.dynamics.holding_cost * *stored) * step.duration.get();
    }
    if let Some(draw) = &s.dynamics.draw {
        let missing = plan.missing.iter().map(|missing| missing.max(Energy::ZERO));
        costs.missing += draw.price * missing.sum::<Energy>();
    }
    let last = plan.stored_after.last().copied().unwrap_or_default();
    costs.end_value += -(s.end_value * last);
    for target in &s.targets {
        let missing = (target.soc * s.capacity - plan.stored_after[target.step]).max(Energy::ZERO);
        costs.targets += target.price * missing;
    }
}

/// Prices what a generator does; rounding of the solver that would leave its limits is taken off.
fn generated(
    problem: &Problem,
    generator: &Generator,
    plan: &GeneratorPlan,
    costs: &mut Costs,
) -> GeneratorSchedule {
    let mut schedule = GeneratorSchedule { on: plan.on.clone(), power: Vec::with_capacity(plan.on.len()) };
    let mut before = generator.before.on;
    for ((&on, &power), step) in plan.on.iter().zip(&plan.power).zip(&problem.steps) {
        let power = Power::kw(if on { power.clamp(generator.least(), generator.most()) } else { 0.0 });
        if on {
            costs.fuel += generator.fuel(power) * step.duration.get();
            costs.carbon += problem.connection.carbon_price * (generator.emissions * (power * step.duration));
        }
        if on && !before {
            costs.starts += generator.start_cost;
        }
        before = on;
        schedule.power.push(power);
    }
    schedule
}

fn add_work(problem: &Problem, index: usize, plan: &WorkPlan, schedule: &mut Schedule, costs: &mut Costs) {
    let work = &problem.work[index];
    // What runs after the deadline counts as not done; only work that goes on anyway can.
    let in_time: f64 = (0..problem.len())
        .map(|t| {
            let step = problem.steps[t];
            let late = step.end().duration_since(work.deadline).as_secs_f64() / 3600.0;
            let hours = (step.duration.get() - late.max(0.0)).max(0.0);
            (plan.power[t] * step.duration.get()).min(work.max_power.as_kw() * hours)
        })
        .sum();
    let missing = (work.energy.as_kwh() - in_time - plan.later).max(0.0);
    if missing > 1e-6 * (1.0 + work.energy.as_kwh()) {
        schedule.work_not_done.insert(work.id.clone(), Energy::kwh(missing));
        let part = if work.interruptible { missing / work.energy.as_kwh() } else { 1.0 };
        costs.work_lost += work.value * part;
    }
    costs.work_later += Money::new(plan.later * price_after(problem));
    schedule.work.insert(work.id.clone(), plan.power.iter().map(|&p| Power::kw(p)).collect());
}

/// What flows into each feeder.
fn feeders(problem: &Problem, schedule: &mut Schedule) {
    let mut net: Vec<Vec<Power>> = problem.feeders.iter().map(|feeder| feeder.fixed.clone()).collect();
    for (net, feeder) in net.iter_mut().zip(&problem.feeders) {
        for id in &feeder.members {
            net.iter_mut().zip(schedule.power(id)).for_each(|(sum, power)| *sum += power);
        }
    }
    for (feeder, net) in problem.feeders.iter().zip(net) {
        let into = net.into_iter().map(|power| Power::kw(0.0 - power.as_kw())).collect();
        schedule.feeders.insert(feeder.id.clone(), into);
    }
}

/// Prices what flows through connections and feeders, and lists breaches.
fn exchange(problem: &Problem, schedule: &mut Schedule, costs: &mut Costs) {
    let (cap, mut emitted, mut breaches) = (problem.carbon_cap, 0.0, Vec::new());
    for meter in problem.meters() {
        let (c, flows) = (meter.connection, schedule.flow(&meter));
        for (t, &flow) in flows.iter().enumerate() {
            let hours = problem.steps[t].duration;
            let (import, export) = (flow.max(Power::ZERO), (-flow).max(Power::ZERO));
            costs.energy += c.import_price[t] * (import * hours);
            costs.energy += -(c.export_price[t] * (export * hours));
            let carbon = c.carbon_intensity[t] * (import * hours);
            costs.carbon += c.carbon_price * carbon;
            emitted += if cap.is_some_and(|cap| cap.counts(t)) { carbon.as_kg() } else { 0.0 };
            let limits = [
                (BreachKind::Import, import, c.import_limit[t]),
                (BreachKind::Export, export, c.export_limit[t]),
            ];
            for (kind, power, limit) in limits {
                let over = limit.map_or(Power::ZERO, |limit| (power - limit).max(Power::ZERO));
                costs.breach += c.breach_price * (over * hours);
                if over.as_kw() > HELD {
                    let feeder = meter.feeder.map(|feeder| feeder.id.clone());
                    breaches.push(Breach { step: t, kind, over, feeder });
                }
            }
        }
        costs.charges += Money::new(c.charges.iter().map(|charge| charge.cost(flows)).sum());
        costs.ramping += Money::new(c.ramping.map_or(0.0, |ramping| ramping.cost(flows)));
    }
    schedule.breaches.append(&mut breaches);
    let Some(cap) = cap else { return };
    for generator in &problem.generators {
        let plan = &schedule.generators[&generator.id];
        let powers = plan.power.iter().zip(&problem.steps).enumerate().filter(|(t, _)| cap.counts(*t));
        emitted +=
            powers.map(|(_, (p, step))| (generator.emissions * (*p * step.duration)).as_kg()).sum::<f64>();
    }
    costs.carbon_cap += Money::new((emitted - cap.kg).max(0.0) * cap.price.as_per_kg());
}

/// Prices what the reserve for the pessimistic net power lacks: storages are asked for what they have left beyond
/// the plan, step after step over each run of steps in which the pessimistic net alone exceeds the limit. What is
/// used early must not be missing later in the run, where the plan itself needs it.
fn reserve(problem: &Problem, schedule: &mut Schedule, costs: &mut Costs) {
    let Some(low) = &problem.pessimistic else { return };
    let lacks = |t: usize| {
        let limit = problem.connection.import_limit[t].map(Power::as_kw);
        limit.filter(|limit| -low.fixed[t].as_kw() > *limit)
    };
    // From the end: the least energy that is left in any later step of the same run.
    let mut spare = vec![0.0; problem.len()];
    for t in (0..problem.len()).rev() {
        let able = problem.storages.iter().filter(|s| s.is_available(t));
        let left = |s: &Storage| {
            (schedule.storage[&s.id].stored_after[t] - s.energy_min()).as_kwh() * s.discharge_efficiency
        };
        let later = spare.get(t + 1).copied().filter(|_| lacks(t + 1).is_some()).unwrap_or(f64::INFINITY);
        spare[t] = able.map(left).sum::<f64>().min(later);
    }
    let mut used = 0.0;
    for (t, &spare) in spare.iter().enumerate() {
        let Some(limit) = lacks(t) else {
            used = 0.0;
            continue;
        };
        let hours = problem.steps[t].duration;
        // The plan's exchange if the fixed power were the pessimistic one, less the limit.
        let over = schedule.grid[t].as_kw() + (problem.fixed[t] - low.fixed[t]).as_kw() - limit;
        let able = problem.storages.iter().filter(|s| s.is_available(t));
        let power: f64 = able.map(|s| s.most_out(t) - schedule.storage[&s.id].power[t].as_kw()).sum();
        let extra = over.max(0.0).min(power.max(0.0)).min((spare - used).max(0.0) / hours.get());
        used += extra * hours.get();
        let missing = Power::kw((over - extra).max(0.0));
        costs.reserve += low.price * (missing * hours);
        if missing.as_kw() > HELD {
            schedule.breaches.push(Breach {
                step: t,
                kind: BreachKind::Reserve,
                over: missing,
                feeder: None,
            });
        }
    }
}

/// Prices energy that is missing from the wanted reserve.
fn stock(problem: &Problem, schedule: &Schedule, costs: &mut Costs) {
    let Some(reserve) = &problem.reserve else { return };
    for (t, &wanted) in reserve.energy.iter().enumerate() {
        let kept = |s: &Storage| schedule.storage[&s.id].stored_after[t] - s.energy_min();
        let missing = (wanted - problem.storages.iter().map(kept).sum()).max(Energy::ZERO);
        costs.reserve += reserve.price * missing;
    }
}
