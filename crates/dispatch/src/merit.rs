//! Generators in merit order: the rule where there is no solver's plan.

use crate::assemble::GeneratorPlan;
use crate::generator::Generator;
use crate::problem::Problem;

/// Generators, step after step.
pub(crate) struct Merit {
    /// Plans so far.
    pub(crate) plans: Vec<GeneratorPlan>,
    /// Indices, those first that are cheapest at full power.
    order: Vec<usize>,
    states: Vec<State>,
}

#[derive(Clone, Copy)]
struct State {
    on: bool,
    /// Hours since it came on or went off.
    hours: f64,
    power: f64,
}

/// Cost of a kWh at full power, carbon included.
fn full_price(problem: &Problem, generator: &Generator) -> f64 {
    let most = generator.most();
    let fuel = generator.curve.last().map_or(0.0, |point| point.per_hour.get());
    let carbon = (problem.connection.carbon_price * generator.emissions).as_per_kwh();
    if most > 0.0 { fuel / most + carbon } else { f64::INFINITY }
}

impl Merit {
    pub(crate) fn new(problem: &Problem) -> Self {
        let generators = &problem.generators;
        let mut order: Vec<usize> = (0..generators.len()).collect();
        let price = |&g: &usize| full_price(problem, &generators[g]);
        order.sort_by(|a, b| price(a).total_cmp(&price(b)));
        let state = |generator: &Generator| {
            let before = generator.before;
            let power = if before.on { before.power.as_kw().max(generator.least()) } else { 0.0 };
            State { on: before.on, hours: before.hours.get(), power }
        };
        Self {
            plans: vec![GeneratorPlan::default(); generators.len()],
            order,
            states: generators.iter().map(state).collect(),
        }
    }

    /// Generates for what is `lacking` (kW) in a step when at the most `limit` of it can be imported; returns the sum.
    pub(crate) fn step(&mut self, problem: &Problem, t: usize, lacking: f64, limit: f64) -> f64 {
        let import = problem.connection.full_import_price(t).as_per_kwh();
        let ranges: Vec<Option<(f64, f64)>> = problem
            .generators
            .iter()
            .zip(&self.states)
            .map(|(g, state)| state.range(problem, g, t))
            .collect();
        let mut power = vec![None; ranges.len()];
        let mut left = lacking;
        // Those that may not stop run at their least.
        for (g, range) in ranges.iter().enumerate() {
            if let (Some((low, _)), true) =
                (range, self.states[g].must_stay(&problem.generators[g], problem, t))
            {
                power[g] = Some(*low);
                left -= low;
            }
        }
        for &g in &self.order {
            let Some((low, high)) = ranges[g] else { continue };
            let cheaper = full_price(problem, &problem.generators[g]) < import;
            let wanted = if cheaper { left } else { left - limit };
            let already = power[g].unwrap_or(0.0);
            if wanted > 1e-9 {
                let now = (already + wanted).clamp(low, high);
                left -= now - already;
                power[g] = Some(now);
            }
        }
        let hours = problem.steps[t].duration.get();
        for (g, power) in power.iter().enumerate() {
            self.plans[g].on.push(power.is_some());
            self.plans[g].power.push(power.unwrap_or(0.0));
            self.states[g].pass(*power, hours);
        }
        power.iter().flatten().sum()
    }
}

impl State {
    /// Powers at which it can run in a step; none when it may not run.
    fn range(&self, problem: &Problem, generator: &Generator, t: usize) -> Option<(f64, f64)> {
        let rested = self.on || self.hours >= generator.min_down.get() - 1e-6;
        if !generator.is_available(t) || !rested {
            return None;
        }
        let hours = problem.steps[t].duration.get();
        let (up, down) = generator.ramps(hours);
        let (least, most) = (generator.least(), generator.most());
        Some(if self.on {
            ((self.power - down).clamp(least, most), (self.power + up).clamp(least, most))
        } else {
            (least, generator.edges(hours).0)
        })
    }

    fn must_stay(&self, generator: &Generator, problem: &Problem, t: usize) -> bool {
        let too_fast = self.power > generator.edges(problem.steps[t].duration.get()).1 + 1e-9;
        self.on && (self.hours < generator.min_up.get() - 1e-6 || too_fast)
    }

    fn pass(&mut self, power: Option<f64>, hours: f64) {
        if power.is_some() != self.on {
            self.hours = 0.0;
        }
        self.on = power.is_some();
        self.power = power.unwrap_or(0.0);
        self.hours += hours;
    }
}
