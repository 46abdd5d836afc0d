//! A plan when the solver has none: a rule that needs no search.

use serde::{Deserialize, Serialize};
use sos_units::Power;

use crate::assemble::{GeneratorPlan, Raw, WorkPlan, assemble};
use crate::group::level;
use crate::merit::{Call, Merit};
use crate::ordered::{after, clipped};
use crate::problem::{Budget, Invalid, Problem, Storage};
use crate::reasons::explain;
use crate::schedule::{Costs, ReasonCode, Schedule, Shadow};
use crate::solve::{Memory, Solved, Unsolvable, solve_again};
use crate::work::{Options, options};

/// What made a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanSource {
    /// The solver, with its proof.
    Solver,
    /// A rule, because the solver had no plan.
    Rule {
        /// The rule's name.
        name: String,
        /// Why the solver had no plan.
        because: String,
    },
}

/// A plan, whatever happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The plan.
    pub schedule: Schedule,
    /// What it costs, by cause.
    pub costs: Costs,
    /// What made it.
    pub source: PlanSource,
    /// The solver's result without its schedule: objective, bound, gap. Absent for a rule.
    pub proof: Option<Proof>,
}

/// How good a solver's plan is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// What the plan costs.
    pub objective: sos_units::Money,
    /// No plan costs less.
    pub bound: sos_units::Money,
    /// (objective − bound) / max(|objective|, gross import cost).
    pub gap: f64,
    /// How good it is known to be.
    pub status: crate::solve::Status,
    /// Figures about the search.
    pub stats: crate::solve::Stats,
}

/// Name of the rule of [`rule_plan`].
pub const RULE: &str = "surplus-and-dear-hours";

/// A plan for every valid problem: the solver's, from where the search before stood that `memory` knows of; else the rule's.
///
/// # Errors
/// Only when the problem itself is invalid.
pub fn solve_or_fallback(
    problem: &Problem,
    budget: &Budget,
    memory: Option<&mut Memory>,
) -> Result<Planned, Invalid> {
    match solve_again(problem, budget, memory) {
        Ok(Solved { schedule, costs, objective, bound, gap, status, stats }) => {
            let proof = Some(Proof { objective, bound, gap, status, stats });
            Ok(Planned { schedule, costs, source: PlanSource::Solver, proof })
        }
        Err(Unsolvable::Invalid(invalid)) => Err(invalid),
        Err(why) => {
            let (schedule, costs) = rule_plan(problem)?;
            let source = PlanSource::Rule { name: RULE.into(), because: why.to_string() };
            Ok(Planned { schedule, costs, source, proof: None })
        }
    }
}

/// Stores surplus; discharges against load in hours dearer than the mean; holds the connection's limits as far as
/// storages and generation allow; runs generators in merit order where power lacks or is dearer; runs work at its earliest.
///
/// # Errors
/// When the problem is invalid.
pub fn rule_plan(problem: &Problem) -> Result<(Schedule, Costs), Invalid> {
    problem.validate()?;
    let n = problem.len();
    let work: Vec<WorkPlan> =
        problem.work.iter().map(|work| earliest(problem, &options(problem, work), work)).collect();
    let mut generation: Vec<Vec<f64>> =
        problem.curtailable.iter().map(|c| c.available.iter().map(|p| p.as_kw()).collect()).collect();
    let mean = crate::work::price_after(problem);
    let mut fleet = Fleet::new(problem);
    let mut merit = Merit::new(&problem.generators);
    let mut generators = vec![GeneratorPlan::default(); problem.generators.len()];
    for t in 0..n {
        let used: f64 = work.iter().map(|plan| plan.power[t]).sum();
        let ordered = fleet.ordered(problem, t);
        let given: f64 = ordered.iter().flatten().sum();
        let net = problem.fixed[t].as_kw() + generation.iter().map(|g| g[t]).sum::<f64>() - used + given;
        let dear = problem.connection.full_import_price(t).as_per_kwh() > mean;
        let limit = problem.connection.import_limit[t].map_or(f64::INFINITY, Power::as_kw);
        let wanted = if net >= 0.0 || dear { -net } else { (-net - limit).max(0.0) };
        let moved = fleet.move_power(problem, t, wanted, &ordered);
        let export = problem.connection.export_limit[t].map_or(f64::INFINITY, Power::as_kw);
        let burnt = burn(problem, t, &mut merit, &mut generators, (-net - moved, limit));
        turn_down(&mut generation, t, net + moved + burnt - export);
    }
    let raw = Raw {
        storage: fleet.power,
        missing: Vec::new(),
        generation,
        generators,
        work,
        shadow: Shadow::default(),
    };
    let (mut schedule, costs) = assemble(problem, &raw);
    schedule.because = explain(problem, &schedule);
    for reason in schedule.because.values_mut().flatten() {
        reason.code = ReasonCode::Rule;
        reason.text = format!("{} (by rule: the solver gave no plan)", reason.text);
    }
    Ok((schedule, costs))
}

/// Runs generators in merit order for what is `lacking` (kW) in a step when at the most `limit` of it can be imported; returns
/// their sum.
fn burn(
    problem: &Problem,
    t: usize,
    merit: &mut Merit,
    plans: &mut [GeneratorPlan],
    (lacking, limit): (f64, f64),
) -> f64 {
    let call = Call {
        duration: problem.steps[t].duration,
        lacking: Power::kw(lacking),
        limit: Power::kw(limit),
        import_price: problem.connection.full_import_price(t),
        carbon_price: problem.connection.carbon_price,
    };
    let powers = merit.step(&problem.generators, call, |g| problem.generators[g].is_available(t));
    for (plan, power) in plans.iter_mut().zip(&powers) {
        plan.on.push(power.is_some());
        plan.power.push(power.map_or(0.0, Power::as_kw));
    }
    powers.iter().flatten().map(|power| power.as_kw()).sum()
}

/// Takes `over` kW off generation, in order.
fn turn_down(generation: &mut [Vec<f64>], t: usize, mut over: f64) {
    for power in generation.iter_mut().map(|g| &mut g[t]) {
        let less = over.clamp(0.0, *power);
        *power -= less;
        over -= less;
    }
}

fn earliest(problem: &Problem, options: &Options, work: &sos_units::FlexibleWork) -> WorkPlan {
    let mut plan = WorkPlan { power: vec![0.0; problem.len()], later: 0.0 };
    match options {
        Options::GoesOn(profile) => plan.add(profile, 1.0),
        Options::Block(profiles) => {
            if let Some(first) = profiles.first() {
                plan.add(first, 1.0);
            }
        }
        Options::Free(free) => {
            let mut left = work.energy.as_kwh();
            for (k, &most) in free.most.iter().enumerate() {
                let t = free.start + k;
                let hours = problem.steps[t].duration.get();
                plan.power[t] = most.min(left / hours).max(0.0);
                left -= plan.power[t] * hours;
            }
            plan.later = left.clamp(0.0, free.later);
        }
    }
    plan
}

/// Stored energy and power so far, per storage.
struct Fleet {
    stored: Vec<f64>,
    power: Vec<Vec<f64>>,
}

impl Fleet {
    fn new(problem: &Problem) -> Self {
        let stored = problem.storages.iter().map(|s| (s.soc * s.capacity).as_kwh()).collect();
        Self { stored, power: vec![Vec::new(); problem.storages.len()] }
    }

    /// What storages do in a step because it was ordered, kW: as little as the order allows.
    fn ordered(&self, problem: &Problem, t: usize) -> Vec<Option<f64>> {
        let hours = problem.steps[t].duration.get();
        let given = |(i, s): (usize, &Storage)| {
            let (low, high) = s.ordered_in(t)?;
            Some(clipped(s, t, self.stored[i], 0.0_f64.clamp(low.as_kw(), high.as_kw()), hours))
        };
        problem.storages.iter().enumerate().map(given).collect()
    }

    /// Shares a power (discharge positive) over the storages of which nothing is ordered, as far as they can; returns
    /// what they do.
    fn move_power(&mut self, problem: &Problem, t: usize, wanted: f64, ordered: &[Option<f64>]) -> f64 {
        let hours = problem.steps[t].duration.get();
        let out = wanted > 0.0;
        let free = |i: usize| problem.storages[i].is_available(t) && ordered[i].is_none();
        let able = |i: usize| if free(i) { 1.0 } else { 0.0 };
        let (mut rate, mut room) = (Vec::new(), Vec::new());
        for (i, s) in problem.storages.iter().enumerate() {
            let [into, away] = s.room(t, hours, self.stored[i], s.energy_min().as_kwh());
            rate.push(able(i) * if out { s.max_discharge.as_kw() } else { s.max_charge.as_kw() });
            room.push(if out { away } else { into } * hours);
        }
        let mut shares = level(wanted.abs(), hours, &rate, &room);
        for (share, s) in shares.iter_mut().zip(&problem.storages).filter(|_| !out) {
            if *share < s.dynamics.min_charge.as_kw() {
                *share = 0.0;
            }
        }
        for (i, s) in problem.storages.iter().enumerate() {
            let power = ordered[i].unwrap_or(if out { shares[i] } else { -shares[i] });
            self.stored[i] = after(s, t, self.stored[i], power, hours);
            self.power[i].push(power);
        }
        shares.iter().sum::<f64>() * if out { 1.0 } else { -1.0 }
    }
}
