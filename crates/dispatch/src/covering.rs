//! What the verifier knows of spinning reserve: its own reading of what is ready and of what may be lost. Shares no formula with
//! the solver.

use crate::problem::Problem;
use crate::schedule::Schedule;

/// What a schedule lacks in each step, kW; empty where no reserve is wanted.
pub(crate) fn uncovered(problem: &Problem, schedule: &Schedule) -> Vec<f64> {
    let Some(wanted) = &problem.spinning else { return Vec::new() };
    let mut found = Vec::with_capacity(problem.steps.len());
    for t in 0..problem.steps.len() {
        // Every unit that could step in, with the event that takes it away, and all events with what they take.
        let mut ready: Vec<(Option<&str>, f64)> = Vec::new();
        let mut events: Vec<(Option<&str>, f64)> = Vec::new();
        for generator in &problem.generators {
            let (plan, id) = (&schedule.generators[&generator.id], generator.id.as_str());
            let most = generator.curve.last().map_or(0.0, |point| point.power.as_kw());
            if plan.on[t] {
                ready.push((Some(id), most - plan.power[t].as_kw()));
            }
            if wanted.largest_generator {
                events.push((Some(id), plan.power[t].as_kw()));
            }
        }
        for storage in &problem.storages {
            let away = storage.available.as_ref().is_some_and(|steps| !steps[t]);
            let ordered = storage.ordered.as_ref().is_some_and(|ordered| ordered.range[t].is_some());
            if away || ordered {
                continue;
            }
            let plan = &schedule.storage[&storage.id];
            let capacity = storage.capacity.as_kwh();
            let at_start =
                if t == 0 { storage.soc.as_fraction() * capacity } else { plan.stored_after[t - 1].as_kwh() };
            let floor = capacity * storage.min_soc.as_fraction().min(storage.soc.as_fraction());
            let lasting =
                (at_start.min(plan.stored_after[t].as_kwh()) - floor) * storage.discharge_efficiency;
            let by_energy = lasting / wanted.duration.get();
            let by_power = storage.max_discharge.as_kw() - plan.power[t].as_kw();
            ready.push((None, by_energy.min(by_power).max(0.0)));
        }
        let renewables = problem.curtailable.iter().map(|item| schedule.generation[&item.id][t].as_kw());
        events
            .push((None, wanted.renewable_share * (wanted.renewables[t].as_kw() + renewables.sum::<f64>())));
        let lacks = |(lost, size): &(Option<&str>, f64)| {
            let rest = ready.iter().filter(|(unit, _)| lost.is_none() || unit != lost);
            size - rest.map(|(_, power)| power).sum::<f64>()
        };
        found.push(events.iter().map(lacks).fold(0.0, f64::max));
    }
    found
}
