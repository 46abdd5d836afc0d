//! What a schedule costs, added up again by cause from prices and powers, for the verifier: it shares no formula with `assemble.rs`.

use sos_units::{Money, Power, Price};

use crate::connection::Meter;
use crate::covering::uncovered;
use crate::problem::{Problem, Storage};
use crate::running::generator_cost;
use crate::schedule::{Costs, Schedule, StorageSchedule};
use crate::verify::{energy_of, hours_left, mean_price};

/// The costs of a schedule; prices of missing reserves for the import limit are not part of them.
///
/// # Panics
/// When the schedule is not one of the problem.
pub(crate) fn recount(problem: &Problem, schedule: &Schedule) -> Costs {
    let mut costs = Costs::default();
    for meter in problem.meters() {
        exchanged(problem, &meter, schedule.flow(&meter), &mut costs);
    }
    if let Some(cap) = problem.carbon_cap {
        costs.carbon_cap = Money::new(over_cap(problem, schedule) * cap.price.as_per_kg());
    }
    let short = problem.spinning.as_ref().map_or(0.0, |spinning| spinning.price.as_per_kwh());
    let lacks = uncovered(problem, schedule);
    let lacks = lacks.iter().zip(&problem.steps).map(|(kw, step)| kw * step.duration.get() * short);
    costs.reserve = Money::new(lacks.sum());
    for storage in &problem.storages {
        stored(problem, storage, &schedule.storage[&storage.id], &mut costs);
    }
    for generator in &problem.generators {
        let [fuel, carbon, starts] =
            generator_cost(problem, generator, &schedule.generators[&generator.id]).map(Money::new);
        costs.fuel += fuel;
        costs.carbon += carbon;
        costs.starts += starts;
    }
    worked(problem, schedule, &mut costs);
    costs
}

/// What is paid for the flow through a meter.
fn exchanged(problem: &Problem, meter: &Meter<'_>, flow: &[Power], costs: &mut Costs) {
    let c = meter.connection;
    let (mut energy, mut carbon, mut breach) = (0.0, 0.0, 0.0);
    for (t, step) in problem.steps.iter().enumerate() {
        let kwh = flow[t].as_kw() * step.duration.get();
        if kwh > 0.0 {
            energy += kwh * c.import_price[t].as_per_kwh();
            carbon += kwh * c.carbon_price.as_per_kg() * c.carbon_intensity[t].as_kg_per_kwh();
        } else {
            energy += kwh * c.export_price[t].as_per_kwh();
        }
        let above = |limit: Option<Power>, kwh: f64| {
            limit.map_or(0.0, |limit| (kwh - limit.as_kw() * step.duration.get()).max(0.0))
        };
        let over = above(c.import_limit[t], kwh) + above(c.export_limit[t], -kwh);
        breach += over * c.breach_price.as_per_kwh();
    }
    costs.energy += Money::new(energy);
    costs.carbon += Money::new(carbon);
    costs.breach += Money::new(breach);
    for charge in &c.charges {
        let mut highest = charge.free;
        for sum in &charge.sums {
            let drawn = sum.steps.iter().map(|&(t, weight)| flow[t].as_kw().max(0.0) * weight);
            highest = highest.max(sum.so_far + drawn.sum::<f64>());
        }
        costs.charges += Money::new((highest - charge.free) * charge.price);
    }
    if let Some(ramping) = c.ramping {
        let mut before = ramping.before.map(Power::as_kw);
        for flow in flow.iter().map(|flow| flow.as_kw()) {
            costs.ramping += Money::new(before.map_or(0.0, |before| (flow - before).abs()) * ramping.price);
            before = Some(flow);
        }
    }
}

fn stored(problem: &Problem, s: &Storage, plan: &StorageSchedule, costs: &mut Costs) {
    let (mut wear, mut holding, mut targets) = (0.0, 0.0, 0.0);
    for (power, step) in plan.power.iter().zip(&problem.steps) {
        let power = power.as_kw().abs();
        let more = |&(above, price): &(Power, Price)| (power - above.as_kw()).max(0.0) * price.as_per_kwh();
        let more: f64 = s.dynamics.wear_above.iter().map(more).sum();
        wear += (s.wear_cost.as_per_kwh() * power + more) * step.duration.get();
    }
    for (stored, step) in plan.stored_after.iter().zip(&problem.steps) {
        holding += s.dynamics.holding_cost.as_per_kwh() * stored.as_kwh() * step.duration.get();
    }
    for target in &s.targets {
        let wanted = target.soc.as_fraction() * s.capacity.as_kwh();
        let missing = wanted - plan.stored_after[target.step].as_kwh();
        targets += missing.max(0.0) * target.price.as_per_kwh();
    }
    let price = s.dynamics.draw.as_ref().map_or(0.0, |draw| draw.price.as_per_kwh());
    let missing = price * plan.missing.iter().map(|e| e.as_kwh().max(0.0)).sum::<f64>();
    let end = plan.stored_after.last().map_or(0.0, |e| e.as_kwh());
    costs.wear += Money::new(wear);
    costs.holding += Money::new(holding);
    costs.targets += Money::new(targets);
    costs.missing += Money::new(missing);
    costs.end_value += Money::new(-end * s.end_value.as_per_kwh());
}

fn worked(problem: &Problem, schedule: &Schedule, costs: &mut Costs) {
    for work in &problem.work {
        let power: Vec<f64> = schedule.work[&work.id].iter().map(|p| p.as_kw()).collect();
        let undone = schedule.work_not_done.get(&work.id).map_or(0.0, |e| e.as_kwh());
        let energy = work.energy.as_kwh();
        let late = work.running && !work.interruptible;
        let rest = (energy - energy_of(problem, &power)).max(0.0);
        let room = work.max_power.as_kw() * hours_left(problem, work);
        let later = if late { rest.min(room) } else { (rest - undone).clamp(0.0, room) };
        costs.work_later += Money::new(later * mean_price(problem));
        if undone > 0.0 {
            let part = if work.interruptible { undone / energy } else { 1.0 };
            costs.work_lost += Money::new(work.value.get() * part);
        }
    }
}

/// Emissions of a plan, kg: of what flows in wherever it counts, and of generators.
///
/// # Panics
/// When the schedule is not one of the problem.
#[must_use]
pub fn emissions(problem: &Problem, schedule: &Schedule) -> f64 {
    (0..problem.steps.len()).map(|t| emitted(problem, schedule, t)).sum()
}

/// By how much the emissions that count exceed the carbon cap, kg; zero without a cap.
///
/// # Panics
/// When the schedule is not one of the problem.
#[must_use]
pub fn over_cap(problem: &Problem, schedule: &Schedule) -> f64 {
    let Some(cap) = problem.carbon_cap else { return 0.0 };
    let counted = (0..problem.steps.len()).filter(|&t| cap.counts(t));
    let emitted: f64 = counted.map(|t| emitted(problem, schedule, t)).sum();
    (emitted - cap.kg).max(0.0)
}

/// Emissions of one step, kg.
fn emitted(problem: &Problem, schedule: &Schedule, t: usize) -> f64 {
    let mut per_hour = 0.0;
    for meter in problem.meters() {
        let into = schedule.flow(&meter)[t].as_kw().max(0.0);
        per_hour += into * meter.connection.carbon_intensity[t].as_kg_per_kwh();
    }
    for generator in &problem.generators {
        let power = schedule.generators[&generator.id].power[t].as_kw();
        per_hour += power * generator.emissions.as_kg_per_kwh();
    }
    per_hour * problem.steps[t].duration.get()
}
