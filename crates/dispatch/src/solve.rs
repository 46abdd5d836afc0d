//! From a problem to a plan: relax, repair, branch only where it must be, split groups, explain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::{Money, Power, Price};
use thiserror::Error;

use crate::assemble::{GeneratorPlan, Raw, WorkPlan, assemble};
use crate::commitment::Commitment;
use crate::connection::{Behind, Connection};
use crate::generator::Generator;
use crate::group::{Group, groups, split};
use crate::interior::{self, Frame, Iterate};
use crate::lp::{Failure, Point, Relaxed};
use crate::model::{Built, Exclusive, WorkColumns, build};
use crate::place::part_names;
use crate::problem::{Budget, Invalid, Problem, Step};
use crate::reasons::explain;
use crate::schedule::{Costs, Schedule, Shadow};
use crate::work::Options;

/// How good a plan is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Within the budget's gap of the bound.
    Optimal,
    /// Holds, but the budget ended before it was known to be that good.
    Feasible,
}

/// Figures about a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Columns of the last programme.
    pub columns: usize,
    /// Rows of the last programme.
    pub rows: usize,
    /// Iterations, simplex and interior point, over all programmes.
    pub iterations: u64,
    /// Linear programmes solved.
    pub programmes: u32,
    /// Searches by branch and cut.
    pub branched: u32,
    /// Whether storages had to be planned one by one.
    pub one_by_one: bool,
}

/// A plan with its proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solved {
    /// The plan.
    pub schedule: Schedule,
    /// What it costs, by cause.
    pub costs: Costs,
    /// What it costs.
    pub objective: Money,
    /// No plan costs less.
    pub bound: Money,
    /// (objective − bound) / max(|objective|, gross import cost).
    pub gap: f64,
    /// How good it is known to be.
    pub status: Status,
    /// Figures about the search.
    pub stats: Stats,
}

/// Why there is no plan. Limits are elastic, so that it is never the limits.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Unsolvable {
    /// The problem makes no sense.
    #[error("the dispatch problem is invalid: {0}")]
    Invalid(#[from] Invalid),
    /// The budget ended before there was any plan.
    #[error("no plan within the budget of {iterations} iterations; raise the budget or shorten the horizon")]
    Budget {
        /// Iterations allowed.
        iterations: u32,
    },
    /// The solver gave up.
    #[error("the solver found no plan ({what}); the rule-based plan is used where one is needed")]
    Solver {
        /// What it said.
        what: &'static str,
    },
}

/// Finds the cheapest plan.
///
/// # Guarantees
/// Deterministic: the same problem and budget give the same plan, bit for bit. Connection limits, targets and work
/// are elastic, so every valid problem has a plan.
///
/// Storages that are alike (efficiencies, wear, end value, availability) are planned as one and do not work against
/// each other, even where burning energy in losses would pay; the bound holds for such plans.
///
/// # Errors
/// When the problem is invalid, or the solver stops without a plan.
pub fn solve(problem: &Problem, budget: &Budget) -> Result<Solved, Unsolvable> {
    solve_again(problem, budget, None)
}

/// What a search leaves for the next one, of a plan that is made anew: with many assets that takes half the time then. Empty to begin
/// with, and about as large as the plan's programme where there are many assets; else nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Memory(Option<Iterate>);

/// As [`solve`], beginning where the search before stood that `memory` knows of. Where it began tells only in how long it takes, and in
/// which of the plans within the budget's gap it finds.
///
/// # Errors
/// As [`solve`].
pub fn solve_again(
    problem: &Problem,
    budget: &Budget,
    memory: Option<&mut Memory>,
) -> Result<Solved, Unsolvable> {
    problem.validate()?;
    let behind = &problem.behind();
    let mut search = Search {
        problem,
        behind,
        budget,
        memory,
        stats: Stats::default(),
        best: None,
        bound: f64::NEG_INFINITY,
    };
    if !search.run(&groups(problem, behind, false)).map_err(|f| unsolvable(f, budget))? {
        search.stats.one_by_one = true;
        // One by one they might work against each other, which the sum's choices rule out.
        search.bound = f64::NEG_INFINITY;
        search.run(&groups(problem, behind, true)).map_err(|f| unsolvable(f, budget))?;
    }
    search.finish()
}

/// The best plan that knows the whole period: `solve` for long horizons, with the same guarantees.
/// Storages that are alike cost no more time than one.
///
/// # Errors
/// As [`solve`].
pub fn perfect(problem: &Problem) -> Result<Solved, Unsolvable> {
    solve(problem, &Budget { gap: 1e-4, iterations: 20_000_000, nodes: 1_000, ..Budget::default() })
}

fn unsolvable(failure: Failure, budget: &Budget) -> Unsolvable {
    match failure {
        Failure::Budget => Unsolvable::Budget { iterations: budget.iterations },
        Failure::Infeasible => Unsolvable::Solver { what: "reported as infeasible" },
        Failure::Solver => Unsolvable::Solver { what: "numerical trouble" },
    }
}

struct Search<'a> {
    problem: &'a Problem,
    behind: &'a Behind<'a>,
    budget: &'a Budget,
    memory: Option<&'a mut Memory>,
    stats: Stats,
    best: Option<Candidate>,
    bound: f64,
}

/// A plan that holds, with its price and the marginal values around it.
struct Candidate {
    raw: Raw,
    schedule: Schedule,
    costs: Costs,
}

/// Rounds of adding either-or choices before what is found is taken as it is.
const ROUNDS: usize = 5;
/// How near that method comes to the optimum, as a share of the gap that is accepted: its plan is repaired afterwards.
const NEAR: f64 = 0.5;
/// Columns from which the method that uses the structure of many storages is tried first.
const MANY: usize = 20_000;
/// Columns beyond which no branch and cut is tried: rounding is within the gap there.
const BRANCHABLE: usize = 20_000;

impl Search<'_> {
    /// Plans with these groups. `false` when a plan cannot be split over a group's members.
    fn run(&mut self, groups: &[Group]) -> Result<bool, Failure> {
        let mut exclusive = Exclusive::default();
        for round in 0..ROUNDS {
            let built = build(self.problem, self.behind, groups, &exclusive);
            self.stats.columns = built.lp.columns();
            self.stats.rows = built.lp.row_low.len();
            let (point, bound, relaxed) = self.optimise(&built, groups)?;
            self.bound = self.bound.max(bound);
            if !self.offer(&built, groups, &point) {
                return Ok(false);
            }
            if let Some(relaxed) = relaxed {
                self.one_way(&built, groups, relaxed);
            }
            if self.gap() <= self.budget.gap.max(1e-9) || built.lp.columns() > BRANCHABLE {
                break;
            }
            let before = exclusive.clone();
            // What a choice means for a linear programme may be enough; it is made where that is not.
            exclusive.whole = self.budget.directions && !exclusive.is_empty();
            conflicts(&built, &point.x, &mut exclusive);
            // Burning energy pays somewhere; choices made one by one would only move it to where it pays next.
            let last = round + 2 >= ROUNDS;
            if !exclusive.is_empty() {
                let pays = |t: usize| last || burning_pays(self.problem, &built, &point, t);
                where_it_pays(self.problem, groups.len(), pays, &mut exclusive);
            }
            if exclusive == before {
                break;
            }
        }
        Ok(true)
    }

    fn gap(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |best| gap(self.problem, best, self.bound))
    }

    /// Solves one programme; where start times come out in parts, rounds them, and branches if that is not good
    /// enough. Returns a point whose integers are whole, a bound, and the solver where it can go on from the point.
    fn optimise(
        &mut self,
        built: &Built,
        groups: &[Group],
    ) -> Result<(Point, f64, Option<Relaxed>), Failure> {
        if built.lp.columns() > MANY
            && !built.lp.integer.contains(&true)
            && let Ok((point, steps)) = self.by_structure(built, groups)
        {
            self.stats.programmes += 1;
            self.stats.iterations += u64::from(steps);
            let bound = built.constant + built.lp.dual_bound(&built.costs, &point.dual);
            return Ok((point, bound, None));
        }
        let relaxed = built.lp.relaxed(self.budget)?;
        self.count(&relaxed, 0);
        let mut bound = built.constant + built.lp.dual_bound(&built.costs, &relaxed.point.dual);
        if whole(built, &relaxed.point.x) {
            let goes_on = built.lp.columns() <= BRANCHABLE && !built.lp.integer.contains(&true);
            return Ok((relaxed.point.clone(), bound, goes_on.then_some(relaxed)));
        }
        let choices_only = built.work.iter().all(|w| !matches!(w, WorkColumns::Block { .. }));
        let mut start = relaxed.point.clone();
        if !choices_only {
            start = self.round(built, relaxed)?;
            // The rounded plan may be good enough; if so, the search ends here.
            let saved = self.bound;
            self.bound = self.bound.max(bound);
            // What is half on, to run below its least power, is no plan.
            let good = (!built.commits || whole(built, &start.x))
                && self.offer(built, groups, &start)
                && self.gap() <= self.budget.gap;
            self.bound = saved;
            let too_large = built.lp.columns() > BRANCHABLE && !built.commits;
            if (good && whole(built, &start.x)) || too_large {
                return Ok((start, bound, None));
            }
        }
        self.stats.branched += 1;
        match built.lp.mixed(&built.costs, self.budget) {
            Ok(mixed) => {
                bound = bound.max(built.constant + mixed.bound);
                Ok((self.fixed_to(built, &mixed.x)?, bound, None))
            }
            // What was found without branching holds too, unless something is half on.
            Err(failure) if built.commits => Err(failure),
            Err(_) => Ok((start, bound, None)),
        }
    }

    /// The point that the method finds which uses the structure of many storages, and its steps.
    fn by_structure(&mut self, built: &Built, groups: &[Group]) -> Result<(Point, u32), Failure> {
        let (distance, threads) = (NEAR * self.budget.gap, self.budget.threads);
        let Some(Memory(kept)) = self.memory.as_deref_mut() else {
            return interior::solve(&built.lp, distance, threads, None);
        };
        let parts = part_names(self.problem, groups);
        let starts: Vec<Timestamp> = self.problem.steps.iter().map(|step| step.start).collect();
        let frame = Frame { parts: &parts, starts: &starts };
        interior::solve(&built.lp, distance, threads, Some((frame, kept)))
    }

    /// Where a point goes both ways at once, the lesser way is given up and the rest solved on from there, until the plan is good
    /// enough or goes one way everywhere.
    fn one_way(&mut self, built: &Built, groups: &[Group], mut relaxed: Relaxed) {
        while self.gap() > self.budget.gap.max(1e-9) {
            let lesser = lesser_ways(self.problem, built, groups, &relaxed.point.x);
            let before = relaxed.iterations;
            let (false, Ok(next)) = (lesser.is_empty(), relaxed.fix(&lesser)) else { return };
            self.count(&next, before);
            self.offer(built, groups, &next.point);
            relaxed = next;
        }
    }

    fn count(&mut self, relaxed: &Relaxed, before: i64) {
        self.stats.programmes += 1;
        self.stats.iterations += u64::try_from(relaxed.iterations - before).unwrap_or(0);
    }

    /// Gives every block of work the start with the largest part, the earliest of equals, and solves on.
    fn round(&mut self, built: &Built, relaxed: Relaxed) -> Result<Point, Failure> {
        let mut fixed = Vec::new();
        for columns in &built.work {
            let WorkColumns::Block { starts, undone } = columns else { continue };
            let x = &relaxed.point.x;
            let all: Vec<usize> = starts.iter().chain([undone]).copied().collect();
            let best = all.iter().copied().reduce(|a, b| if x[b] > x[a] + 1e-6 { b } else { a });
            fixed.extend(all.iter().map(|&c| (c, if Some(c) == best { 1.0 } else { 0.0 })));
        }
        let before = relaxed.iterations;
        let next = relaxed.fix(&fixed)?;
        self.count(&next, before);
        Ok(next.point)
    }

    /// The programme with its integers fixed: continuous values under tie-breaking costs, and marginal values.
    fn fixed_to(&mut self, built: &Built, x: &[f64]) -> Result<Point, Failure> {
        let mut lp = built.lp.clone();
        for (column, &value) in x.iter().enumerate() {
            if lp.integer[column] {
                (lp.low[column], lp.high[column]) = (value.round(), value.round());
            }
        }
        let relaxed = lp.relaxed(self.budget)?;
        self.count(&relaxed, 0);
        Ok(relaxed.point)
    }

    /// Turns a point into a plan and keeps it when it is the best so far. `false` when a group cannot be split.
    fn offer(&mut self, built: &Built, groups: &[Group], point: &Point) -> bool {
        let Some(mut raw) = raw_plan(self.problem, built, groups, &point.x) else { return false };
        raw.shadow = shadow(self.problem, built, groups, &point.dual);
        let (schedule, costs) = assemble(self.problem, &raw);
        let better = self.best.as_ref().is_none_or(|best| costs.total() < best.costs.total());
        if better {
            self.best = Some(Candidate { raw, schedule, costs });
        }
        true
    }

    fn finish(self) -> Result<Solved, Unsolvable> {
        let Some(best) = self.best else { return Err(Unsolvable::Solver { what: "no plan could be split" }) };
        let gap = gap(self.problem, &best, self.bound);
        let objective = best.costs.total();
        let bound = Money::new(self.bound).min(objective);
        let status = if gap <= self.budget.gap.max(1e-6) { Status::Optimal } else { Status::Feasible };
        let mut schedule = best.schedule;
        schedule.shadow = best.raw.shadow;
        schedule.because = explain(self.problem, &schedule);
        Ok(Solved { schedule, costs: best.costs, objective, bound, gap, status, stats: self.stats })
    }
}

/// Below this size of money a relative gap says nothing.
const CENT: f64 = 0.01;

/// How far a plan may be from the best one: (objective − bound) / max(|objective|, gross import cost), at least zero. `grid` has a power
/// for each step, kW, import positive.
#[must_use]
pub fn relative_gap(problem: &Problem, grid: &[Power], objective: f64, bound: f64) -> f64 {
    let import = |(t, grid): (usize, &Power)| {
        let price = problem.connection.full_import_price(t).as_per_kwh();
        grid.as_kw().max(0.0) * price.max(0.0) * problem.steps[t].duration.get()
    };
    let gross: f64 = grid.iter().enumerate().take(problem.len()).map(import).sum();
    (objective - bound).max(0.0) / objective.abs().max(gross).max(CENT)
}

fn gap(problem: &Problem, best: &Candidate, bound: f64) -> f64 {
    relative_gap(problem, &best.schedule.grid, best.costs.total().get(), bound)
}

/// Whether all integers are whole.
fn whole(built: &Built, x: &[f64]) -> bool {
    x.iter().zip(&built.lp.integer).all(|(&x, &integer)| !integer || (x - x.round()).abs() < 1e-6)
}

const BOTH: f64 = 1e-6;

/// Columns to be held at zero so that a point goes one way where it goes both: of a storage the way that reaches the store less,
/// of a meter the smaller flow.
fn lesser_ways(problem: &Problem, built: &Built, groups: &[Group], x: &[f64]) -> Vec<(usize, f64)> {
    let mut lesser = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let storage = &problem.storages[group.members[0]];
        for (t, (&c, &d)) in built.charge[g].iter().zip(&built.discharge[g]).enumerate() {
            if x[c] > BOTH && x[d] > BOTH {
                let reach = x[c] * storage.charge_efficiency_in(t) * storage.discharge_efficiency - x[d];
                lesser.push((if reach > 0.0 { d } else { c }, 0.0));
            }
        }
    }
    for flow in built.grid.iter().flatten() {
        if x[flow.import] > BOTH && x[flow.export] > BOTH {
            let out = flow.exports().map(|column| x[column]).sum::<f64>();
            let into = flow.imports().map(|column| x[column]).sum::<f64>();
            let all: Vec<usize> =
                if into > out { flow.exports().collect() } else { flow.imports().collect() };
            lesser.extend(all.into_iter().map(|column| (column, 0.0)));
        }
    }
    lesser
}

/// Adds choices where a point goes both ways at once.
fn conflicts(built: &Built, x: &[f64], exclusive: &mut Exclusive) {
    for (g, (charge, discharge)) in built.charge.iter().zip(&built.discharge).enumerate() {
        for (t, (&c, &d)) in charge.iter().zip(discharge).enumerate() {
            if x[c] > BOTH && x[d] > BOTH {
                exclusive.storage.insert((g, t));
            }
        }
    }
    for (m, flows) in built.grid.iter().enumerate() {
        for (t, flow) in flows.iter().enumerate() {
            if x[flow.import] > BOTH && x[flow.export] > BOTH {
                exclusive.grid.insert((m, t));
            }
        }
    }
}

/// Whether losing energy in a step would earn money somewhere.
fn burning_pays(problem: &Problem, built: &Built, point: &Point, t: usize) -> bool {
    let least = |c: &Connection| c.full_import_price(t).min(c.export_price[t]).as_per_kwh();
    let dual = |row: usize| point.dual.get(row).copied().unwrap_or(0.0);
    let feeders = built.balance.iter().zip(problem.meters()).skip(1);
    let (prices, duals): (Vec<f64>, Vec<f64>) =
        feeders.map(|(rows, meter)| (least(meter.connection).min(0.0), dual(rows[t]).min(0.0))).unzip();
    // What is behind a feeder pays its price as well; all of them together are the least that anything could pay.
    least(&problem.connection) + prices.iter().sum::<f64>() < 0.0
        || dual(built.balance[0][t]) + duals.iter().sum::<f64>() < -1e-9
}

/// Choices for every group in the steps given, and for every meter wherever export pays more than import costs.
fn where_it_pays(problem: &Problem, groups: usize, pays: impl Fn(usize) -> bool, exclusive: &mut Exclusive) {
    for t in 0..problem.len() {
        if pays(t) {
            exclusive.storage.extend((0..groups).map(|g| (g, t)));
        }
        for (m, meter) in problem.meters().enumerate() {
            if meter.connection.export_price[t] > meter.connection.full_import_price(t) {
                exclusive.grid.insert((m, t));
            }
        }
    }
}

/// Reads decisions from a point; going both ways at once is netted such that the energy in store stays.
fn raw_plan(problem: &Problem, built: &Built, groups: &[Group], x: &[f64]) -> Option<Raw> {
    let mut storage = vec![Vec::new(); problem.storages.len()];
    let mut missing = vec![Vec::new(); problem.storages.len()];
    for (g, group) in groups.iter().enumerate() {
        let first = &problem.storages[group.members[0]];
        let net = |(t, (&c, &d)): (usize, (&usize, &usize))| {
            let round_trip = first.charge_efficiency_in(t) * first.discharge_efficiency;
            let (c, d) = (x[c].max(0.0), x[d].max(0.0));
            // c·ηc − d/ηd is what reaches the store; one flow alone does the same.
            let reach = c * round_trip - d;
            if c == 0.0 || d == 0.0 {
                d - c
            } else if reach > 0.0 {
                -reach / round_trip
            } else {
                -reach
            }
        };
        let power: Vec<f64> = built.charge[g].iter().zip(&built.discharge[g]).enumerate().map(net).collect();
        let lacks =
            |column: &Option<(usize, f64)>| column.map_or(0.0, |(column, sign)| sign * x[column].max(0.0));
        missing[group.members[0]] = built.missing[g].iter().map(lacks).collect();
        for (&member, share) in group.members.iter().zip(split(problem, group, &power)?) {
            storage[member] = share;
        }
    }
    let generation =
        built.generation.iter().map(|columns| columns.iter().map(|&c| x[c].max(0.0)).collect()).collect();
    let generators = problem.generators.iter().zip(&built.generators);
    let generators = generators.map(|(generator, columns)| generator_plan(generator, columns, x)).collect();
    let work =
        built.work.iter().zip(&built.options).map(|(c, o)| work_plan(problem.len(), c, o, x)).collect();
    Some(Raw { storage, missing, generation, generators, work, shadow: Shadow::default() })
}

fn generator_plan(generator: &Generator, columns: &Commitment, x: &[f64]) -> GeneratorPlan {
    let on: Vec<bool> = columns.on.iter().map(|&column| x[column] > 0.5).collect();
    let above = |pieces: &Vec<usize>| pieces.iter().map(|&column| x[column].max(0.0)).sum::<f64>();
    let power = on.iter().zip(&columns.pieces);
    let power = power.map(|(&on, pieces)| if on { generator.least() + above(pieces) } else { 0.0 }).collect();
    GeneratorPlan { on, power }
}

fn work_plan(steps: usize, columns: &WorkColumns, option: &Options, x: &[f64]) -> WorkPlan {
    let mut plan = WorkPlan { power: vec![0.0; steps], later: 0.0 };
    match (columns, option) {
        (WorkColumns::GoesOn, Options::GoesOn(profile)) => plan.add(profile, 1.0),
        (WorkColumns::Block { starts, .. }, Options::Block(profiles)) => {
            for (&column, profile) in starts.iter().zip(profiles) {
                let part =
                    if (x[column] - x[column].round()).abs() < 1e-6 { x[column].round() } else { x[column] };
                plan.add(profile, part);
            }
        }
        (WorkColumns::Free { power, later, .. }, Options::Free(free)) => {
            for (k, &column) in power.iter().enumerate() {
                plan.power[free.start + k] = x[column].max(0.0);
            }
            plan.later = x[*later].max(0.0);
        }
        _ => {}
    }
    plan
}

/// Marginal values: a balance row's dual is per kW over a step, a store row's per kWh given away.
fn shadow(problem: &Problem, built: &Built, groups: &[Group], dual: &[f64]) -> Shadow {
    let mut shadow = Shadow::default();
    let price = |rows: &Vec<usize>| {
        let each = |(row, step): (&usize, &Step)| Price::per_kwh(dual[*row] / step.duration.get());
        rows.iter().zip(&problem.steps).map(each).collect::<Vec<Price>>()
    };
    for (rows, meter) in built.balance.iter().zip(problem.meters()) {
        match meter.feeder {
            None => shadow.site_price = price(rows),
            Some(feeder) => drop(shadow.feeder_price.insert(feeder.id.clone(), price(rows))),
        }
    }
    // A row that is an upper limit has a dual of zero or below.
    let charged = |row: &usize| (-dual[*row]).max(0.0);
    let charges = built.charged.charges.iter();
    shadow.charges = charges.map(|(id, rows)| (id.clone(), rows.iter().map(charged).collect())).collect();
    let ramp = |row: &Option<usize>| row.map_or(0.0, |row| -dual[row]);
    let ramping = built.charged.ramping.iter();
    shadow.ramping = ramping.map(|(id, rows)| (id.clone(), rows.iter().map(ramp).collect())).collect();
    shadow.carbon = built.charged.carbon.as_ref().map_or(0.0, charged);
    for (group, rows) in groups.iter().zip(&built.store_rows) {
        let values: Vec<Price> = rows.iter().map(|&row| Price::per_kwh(-dual[row])).collect();
        for &member in &group.members {
            shadow.stored_value.insert(problem.storages[member].id.clone(), values.clone());
        }
    }
    shadow
}
