//! What the verifier knows of generators: its own reading of their limits and costs, and what they would do at their best
//! against given prices. Shares no formula with the solver.

use crate::generator::Generator;
use crate::problem::Problem;
use crate::schedule::GeneratorSchedule;

/// Less than this is the rounding of a time, hours.
const MOMENT: f64 = 1e-6;

/// Everything that must not be above zero: what, in which step, by how much.
pub(crate) fn check_generator(
    problem: &Problem,
    generator: &Generator,
    plan: &GeneratorSchedule,
) -> Vec<(String, usize, f64)> {
    let id = &generator.id;
    let (least, most) =
        (generator.curve[0].power.as_kw(), generator.curve[generator.curve.len() - 1].power.as_kw());
    let mut found = Vec::new();
    let (mut was_on, mut hours) = (generator.before.on, generator.before.hours.get());
    let mut before = if was_on { generator.before.power.as_kw().max(least) } else { 0.0 };
    for (t, (&on, power)) in plan.on.iter().zip(&plan.power).enumerate() {
        let (power, h) = (power.as_kw(), problem.steps[t].duration.get());
        let may = generator.available.as_ref().is_none_or(|steps| steps[t]);
        let mut say = |what: &str, by: f64| found.push((format!("{what} of {id}"), t, by));
        say("power below the least, kW,", if on { least - power } else { -power });
        say("power above the most, kW,", if on { power - most } else { power });
        say("running while not available", if on && !may { 1.0 } else { 0.0 });
        if on != was_on {
            let shortest = if was_on { generator.min_up.get() } else { generator.min_down.get() };
            let short = if was_on && !may { 0.0 } else { shortest - hours };
            say(if on { "rest too short, hours," } else { "run too short, hours," }, short - MOMENT);
            hours = 0.0;
        }
        // Without a ramp power changes at once; then a start and a stop do, unless they have limits of their own.
        let ramp = |limit: Option<sos_units::Power>| limit.map_or(f64::INFINITY, |limit| limit.as_kw() * h);
        let edge =
            |limit: Option<sos_units::Power>, ramp: f64| limit.map_or(ramp, |limit| limit.as_kw()).max(least);
        let (up, down) = (ramp(generator.ramp_up), ramp(generator.ramp_down));
        match (was_on, on) {
            (true, true) => {
                say("rise of power, kW,", power - before - up);
                // From above its most power it comes down as fast as it can.
                say("fall of power, kW,", before - power - down.max(before - most));
            }
            (false, true) => say("power at its start, kW,", power - edge(generator.start_power, up)),
            (true, false) if may => {
                say("power before its stop, kW,", before - edge(generator.stop_power, down));
            }
            _ => {}
        }
        hours += h;
        (was_on, before) = (on, power);
    }
    found.retain(|(_, _, by)| *by > 0.0 || by.is_nan());
    found
}

/// What a plan of a generator costs: fuel, carbon, starts.
pub(crate) fn generator_cost(problem: &Problem, generator: &Generator, plan: &GeneratorSchedule) -> [f64; 3] {
    let per_kwh = problem.connection.carbon_price.as_per_kg() * generator.emissions.as_kg_per_kwh();
    let [mut fuel, mut carbon, mut starts] = [0.0; 3];
    let mut was_on = generator.before.on;
    for ((&on, power), step) in plan.on.iter().zip(&plan.power).zip(&problem.steps) {
        if on {
            let power = power.as_kw();
            fuel += hour_at(generator, power) * step.duration.get();
            carbon += per_kwh * power * step.duration.get();
            starts += if was_on { 0.0 } else { generator.start_cost.get() };
        }
        was_on = on;
    }
    [fuel, carbon, starts]
}

/// Cost of an hour at a power, along the curve.
fn hour_at(generator: &Generator, power: f64) -> f64 {
    let curve = &generator.curve;
    let point = |i: usize| (curve[i].power.as_kw(), curve[i].per_hour.get());
    let Some(next) =
        (1..curve.len()).find(|&i| power <= point(i).0).or(curve.len().checked_sub(1).filter(|&i| i > 0))
    else {
        return point(0).1;
    };
    let ((p0, c0), (p1, c1)) = (point(next - 1), point(next));
    c0 + (c1 - c0) * ((power - p0) / (p1 - p0)).clamp(0.0, 1.0)
}

/// The least that a generator costs, less what it earns at a price per step, over all its runs and rests. Ramps are left out,
/// which only lowers it. `cap` is the price of a kg per step, beside that of the connection.
pub(crate) fn least_cost(problem: &Problem, generator: &Generator, prices: &[f64], cap: &[f64]) -> f64 {
    let n = problem.steps.len();
    let price = problem.connection.carbon_price.as_per_kg();
    let carbon = |t: usize| (price + cap[t]) * generator.emissions.as_kg_per_kwh();
    let may = |t: usize| generator.available.as_ref().is_none_or(|steps| steps[t]);
    let hours = |t: usize| problem.steps[t].duration.get();
    // The best point of a convex curve against a price is one of its corners.
    let running = |t: usize| {
        let at = |point: &crate::generator::CostPoint| {
            point.per_hour.get() + (carbon(t) - prices[t]) * point.power.as_kw()
        };
        generator.curve.iter().map(at).fold(f64::INFINITY, f64::min) * hours(t)
    };
    // From the end: the cheapest way on for one that comes on at the beginning of a step, and for one that goes off there.
    let (mut on, mut off) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let run = |from: usize, so_far: f64, off: &[f64]| {
        let (mut best, mut cost, mut time) = (f64::INFINITY, 0.0, so_far);
        for t in from..=n {
            let over = t == n || !may(t);
            if over || time >= generator.min_up.get() - MOMENT {
                best = f64::min(best, cost + off[t]);
            }
            if over {
                break;
            }
            cost += running(t);
            time += hours(t);
        }
        best
    };
    let rest = |from: usize, so_far: f64, on: &[f64]| {
        let (mut best, mut time) = (0.0_f64, so_far);
        for t in from..n {
            if time >= generator.min_down.get() - MOMENT && may(t) {
                best = best.min(generator.start_cost.get() + on[t]);
            }
            time += hours(t);
        }
        best
    };
    for t in (0..n).rev() {
        // One that comes on runs for this step at least, one that goes off rests for it.
        on[t] = if may(t) { running(t) + run(t + 1, hours(t), &off) } else { 0.0 };
        off[t] = rest(t + 1, hours(t), &on);
    }
    let so_far = generator.before.hours.get();
    if generator.before.on { run(0, so_far, &off) } else { rest(0, so_far, &on) }
}
