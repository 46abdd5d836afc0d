//! The answer of `sos optimize`, which `sos verify` reads again.
//!
//! Powers are in kW, positive from the asset into the site and, for the grid, for import; energies in kWh; money in the
//! site's currency; every list has one entry per step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sos_dispatch::{
    Breach, BreachKind, Conflict, Costs, GeneratorSchedule, Limit, PlanSource, Planned, Problem, Schedule,
    Shadow, StorageSchedule, Verification, emissions, over_cap, relative_gap, verify,
};
use sos_engine::site::case::Case;
use sos_engine::site::plan::source_text;
use sos_engine::time_text;
use sos_model::CarbonFactor;
use sos_units::{Energy, Money, Power, Price, Soc};

/// What was decided, what it costs, how good that is, and why.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// What the plan costs.
    pub(crate) objective: f64,
    /// No plan costs less.
    pub(crate) bound: f64,
    pub(crate) bound_by: BoundBy,
    /// See [`sos_dispatch::relative_gap`].
    pub(crate) gap: f64,
    /// The gap that was asked for.
    pub(crate) wanted_gap: f64,
    pub(crate) currency: String,
    pub(crate) carbon: Carbon,
    /// `solver`, or the rule that took its place and why.
    pub(crate) source: String,
    pub(crate) seconds: Seconds,
    /// Starts of the steps, RFC 3339.
    pub(crate) steps: Vec<String>,
    pub(crate) grid_kw: Vec<f64>,
    /// What flows into each feeder, by name; below zero what flows out of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) feeders: BTreeMap<String, Vec<f64>>,
    /// Assets and work by name.
    pub(crate) solution: BTreeMap<String, Part>,
    pub(crate) costs: Costs,
    /// What the plan does not hold or leaves undone.
    pub(crate) given_up: Vec<GivenUp>,
    /// Limits that no plan holds together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conflict: Option<ConflictRanges>,
    /// Marginal values that prove the bound.
    pub(crate) multipliers: Shadow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// Within the wanted gap of the bound, and every limit can hold.
    Optimal,
    /// Holds, but is not known to be that good.
    Feasible,
    /// No plan holds all limits and needs; this one exceeds them as cheaply as can be.
    Infeasible,
}

impl Status {
    /// That of a plan with this gap; `conflict`: whether limits are known that no plan holds.
    pub(crate) fn of(conflict: bool, gap: f64, wanted: f64) -> Self {
        match (conflict, within(gap, wanted)) {
            (true, _) => Self::Infeasible,
            (false, true) => Self::Optimal,
            (false, false) => Self::Feasible,
        }
    }

    /// As it is written.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Optimal => "optimal",
            Self::Feasible => "feasible",
            Self::Infeasible => "infeasible",
        }
    }
}

/// What proves the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BoundBy {
    /// The multipliers: it can be computed from them again.
    Multipliers,
    /// The search over whole numbers, which leaves nothing to check.
    Search,
}

/// Emissions of the plan.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Carbon {
    /// Of import and of generators.
    pub(crate) emissions_kg: f64,
    /// What kind of factor import is counted with: `average` or `marginal`.
    pub(crate) factor: Factor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Factor {
    Average,
    Marginal,
}

impl From<CarbonFactor> for Factor {
    fn from(factor: CarbonFactor) -> Self {
        match factor {
            CarbonFactor::Average => Self::Average,
            CarbonFactor::Marginal => Self::Marginal,
        }
    }
}

/// How long it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seconds {
    /// Manifests and series.
    pub(crate) read: f64,
    /// From them to the problem.
    pub(crate) build: f64,
    /// The solver, the check of its plan, and the search for limits in conflict.
    pub(crate) solve: f64,
}

/// One asset or piece of work.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) power_kw: Vec<f64>,
    /// Whether it runs; generators only, whose least power may be zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) on: Vec<bool>,
    /// State of charge at the end of each step, 0…1; batteries only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) soc: Vec<f64>,
    /// What its use goes without in each step, kWh; only where something is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing_kwh: Vec<f64>,
    /// One sentence per step; empty for what was not decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<String>,
}

/// A limit that is exceeded, a target that is missed, or work that is not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenUp {
    pub(crate) limit: LimitName,
    /// The storage, the work, or the feeder whose limit it is; none for what is of the whole site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Start of the step; for a target the one at whose end it counts. None for work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    /// By how much a limit is exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_kw: Option<f64>,
    /// By how much emissions exceed their cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_kg: Option<f64>,
    /// What is missing from a target or left of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_kwh: Option<f64>,
    /// The price of each kWh of it; none for work, which has a worth as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_per_kwh: Option<f64>,
    /// The price of each kg of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_per_kg: Option<f64>,
}

impl GivenUp {
    /// Something of which nothing is given up yet.
    const fn of(limit: LimitName, name: Option<String>, step: Option<String>) -> Self {
        let (by_kw, by_kg, by_kwh) = (None, None, None);
        Self { limit, name, step, by_kw, by_kg, by_kwh, price_per_kwh: None, price_per_kg: None }
    }

    /// By how much, in kW, kg or kWh, with the unit.
    pub(crate) fn amount(&self) -> (f64, &'static str) {
        let amounts = [(self.by_kw, "kW"), (self.by_kg, "kg"), (self.by_kwh, "kWh")];
        let stated = amounts.into_iter().find_map(|(by, unit)| Some((by?, unit)));
        stated.unwrap_or((f64::NAN, "kWh"))
    }

    /// The price of each kWh or kg of it.
    pub(crate) fn price(&self) -> Option<f64> {
        self.price_per_kwh.or(self.price_per_kg)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LimitName {
    Import,
    Export,
    Target,
    /// What is used of a storage: heat that lacks, a way not driven.
    Use,
    Work,
    SpinningReserve,
    CarbonCap,
}

impl LimitName {
    /// For people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Import => "import limit",
            Self::Export => "export limit",
            Self::Target => "target",
            Self::Use => "use",
            Self::Work => "work",
            Self::SpinningReserve => "spinning reserve",
            Self::CarbonCap => "carbon cap",
        }
    }
}

/// Limits and needs that cannot hold together, neighbouring steps as one range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConflictRanges {
    pub(crate) limits: Vec<LimitRange>,
    /// Whether the others can hold when any one of them is lifted.
    pub(crate) irreducible: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitRange {
    pub(crate) limit: LimitName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Start of the first step.
    pub(crate) from: String,
    /// End of the last step.
    pub(crate) to: String,
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) planned: Planned,
    pub(crate) verification: Verification,
    pub(crate) conflict: Option<Conflict>,
    pub(crate) wanted_gap: f64,
    pub(crate) seconds: Seconds,
}

/// Whether a gap is within what was wanted, solver's rounding aside.
pub(super) fn within(gap: f64, wanted: f64) -> bool {
    gap <= wanted.max(1e-6)
}

/// Prices at which anything proves a bound, where no solver left better ones: what the grid asks, and what energy is worth at
/// the end.
fn plain_multipliers(problem: &Problem) -> Shadow {
    let n = problem.len();
    let worth = problem.storages.iter().map(|s| (s.id.clone(), vec![s.end_value; n]));
    Shadow {
        site_price: (0..n).map(|t| problem.connection.full_import_price(t)).collect(),
        stored_value: worth.collect(),
        feeder_price: problem.feeders.iter().map(|f| (f.id.clone(), vec![Price::ZERO; n])).collect(),
        ..Shadow::default()
    }
}

impl Answer {
    /// The answer of what was found for a case.
    pub(crate) fn new(case: &Case, mut found: Found) -> Self {
        let Case { model, problem, .. } = case;
        let schedule = &mut found.planned.schedule;
        if found.planned.source != PlanSource::Solver || schedule.shadow.site_price.len() != problem.len() {
            schedule.shadow = plain_multipliers(problem);
            found.verification = verify(problem, schedule);
        }
        let schedule = &found.planned.schedule;
        let objective = found.planned.costs.total().get();
        let (bound, bound_by) = bound(problem, &found);
        let gap = relative_gap(problem, &schedule.grid, objective, bound);
        let zone = &model.zone;
        let start = |step: &sos_dispatch::Step| time_text(step.start, zone);
        Self {
            status: Status::of(found.conflict.is_some(), gap, found.wanted_gap),
            objective,
            bound,
            bound_by,
            gap,
            wanted_gap: found.wanted_gap,
            currency: model.currency.clone(),
            carbon: Carbon {
                emissions_kg: emissions(problem, schedule),
                factor: model.connection.carbon_factor.into(),
            },
            source: source_text(&found.planned.source),
            seconds: found.seconds,
            steps: problem.steps.iter().map(start).collect(),
            grid_kw: kilowatts(&schedule.grid, 1.0),
            feeders: schedule.feeders.iter().map(|(id, flow)| (id.clone(), kilowatts(flow, 1.0))).collect(),
            costs: found.planned.costs,
            given_up: given_up(problem, schedule, zone),
            conflict: found.conflict.map(|conflict| ranges(problem, &conflict, zone)),
            multipliers: std::mem::take(&mut found.planned.schedule.shadow),
            // Reasons are most of a large schedule: they are moved.
            solution: parts(case, found.planned.schedule),
        }
    }

    /// The schedule that the answer states.
    pub(crate) fn schedule(&self, problem: &Problem) -> Schedule {
        let power = |name: &str, sign: f64| -> Vec<Power> {
            let part = self.solution.get(name).map(|part| part.power_kw.as_slice()).unwrap_or_default();
            part.iter().map(|&kw| Power::kw(sign * kw)).collect()
        };
        let mut schedule =
            Schedule { grid: self.grid_kw.iter().map(|&kw| Power::kw(kw)).collect(), ..Schedule::default() };
        let here = |name: &String| self.solution.contains_key(name);
        for storage in problem.storages.iter().filter(|storage| here(&storage.id)) {
            let soc = self.solution[&storage.id].soc.iter();
            let plan = StorageSchedule {
                power: power(&storage.id, 1.0),
                stored_after: soc.clone().map(|&soc| Soc::fraction(soc) * storage.capacity).collect(),
                soc_after: soc.map(|&soc| Soc::fraction(soc)).collect(),
                missing: self.solution[&storage.id].missing_kwh.iter().map(|&kwh| Energy::kwh(kwh)).collect(),
            };
            schedule.storage.insert(storage.id.clone(), plan);
        }
        for item in problem.curtailable.iter().filter(|item| here(&item.id)) {
            schedule.generation.insert(item.id.clone(), power(&item.id, 1.0));
        }
        for item in problem.generators.iter().filter(|item| here(&item.id)) {
            let plan =
                GeneratorSchedule { on: self.solution[&item.id].on.clone(), power: power(&item.id, 1.0) };
            schedule.generators.insert(item.id.clone(), plan);
        }
        for work in problem.work.iter().filter(|work| here(&work.id)) {
            schedule.work.insert(work.id.clone(), power(&work.id, -1.0));
        }
        for given in &self.given_up {
            self.give_up(given, &mut schedule);
        }
        for (id, flow) in &self.feeders {
            schedule.feeders.insert(id.clone(), flow.iter().map(|&kw| Power::kw(kw)).collect());
        }
        schedule.shadow = self.multipliers.clone();
        schedule
    }

    fn give_up(&self, given: &GivenUp, schedule: &mut Schedule) {
        let step = given.step.as_ref().and_then(|step| self.steps.iter().position(|one| one == step));
        let kind = match given.limit {
            LimitName::Import => BreachKind::Import,
            LimitName::Export => BreachKind::Export,
            LimitName::SpinningReserve => BreachKind::Spinning,
            LimitName::Work => {
                if let (Some(name), Some(kwh)) = (&given.name, given.by_kwh) {
                    schedule.work_not_done.insert(name.clone(), Energy::kwh(kwh));
                }
                return;
            }
            // What is missing of these is told beside the power, and emissions come from it.
            LimitName::Target | LimitName::Use | LimitName::CarbonCap => return,
        };
        if let (Some(step), Some(kw)) = (step, given.by_kw) {
            let feeder = given.name.clone();
            schedule.breaches.push(Breach { step, kind, over: Power::kw(kw), feeder });
        }
    }

    /// Starts of the steps as they are written.
    pub(crate) fn starts(&self) -> Result<Vec<Timestamp>, String> {
        let read = |(step, text): (usize, &String)| {
            text.parse().map_err(|_| format!("steps[{step}]: \"{text}\" is not a time; expected RFC 3339"))
        };
        self.steps.iter().enumerate().map(read).collect()
    }
}

/// The bound with what proves it: one that can be computed again, unless only the search proves the wanted gap.
fn bound(problem: &Problem, found: &Found) -> (f64, BoundBy) {
    let objective = found.planned.costs.total();
    let certified = found.verification.bound.map(|bound| bound.min(objective).get());
    let searched = found.planned.proof.map(|proof| proof.bound.min(objective).get());
    let good = |bound: f64| {
        let gap = relative_gap(problem, &found.planned.schedule.grid, objective.get(), bound);
        within(gap, found.wanted_gap)
    };
    match (certified, searched) {
        (Some(certified), Some(searched)) if searched > certified && !good(certified) => {
            (searched, BoundBy::Search)
        }
        (Some(certified), _) => (certified, BoundBy::Multipliers),
        (None, Some(searched)) => (searched, BoundBy::Search),
        (None, None) => (Money::new(f64::MIN).get(), BoundBy::Search),
    }
}

fn kilowatts(powers: &[Power], sign: f64) -> Vec<f64> {
    // Adding zero turns -0 into 0.
    powers.iter().map(|power| power.as_kw() * sign + 0.0).collect()
}

/// The parts of a schedule.
fn parts(case: &Case, mut schedule: Schedule) -> BTreeMap<String, Part> {
    let mut because = |name: &String| {
        let reasons = schedule.because.remove(name).unwrap_or_default();
        reasons.into_iter().map(|reason| reason.text).collect()
    };
    let mut parts = BTreeMap::new();
    for (name, powers) in &case.given {
        parts.insert(name.clone(), Part { power_kw: kilowatts(powers, 1.0), ..Part::default() });
    }
    for (name, plan) in schedule.storage {
        let part = Part {
            power_kw: kilowatts(&plan.power, 1.0),
            soc: plan.soc_after.iter().map(|soc| soc.as_fraction()).collect(),
            missing_kwh: plan.missing.iter().map(|energy| energy.as_kwh()).collect(),
            because: because(&name),
            ..Part::default()
        };
        parts.insert(name, part);
    }
    for (name, plan) in schedule.generators {
        let (power_kw, because) = (kilowatts(&plan.power, 1.0), because(&name));
        parts.insert(name, Part { power_kw, on: plan.on, because, ..Part::default() });
    }
    let chosen = schedule.generation.into_iter().map(|(name, powers)| (name, powers, 1.0));
    let work = schedule.work.into_iter().map(|(name, powers)| (name, powers, -1.0));
    for (name, powers, sign) in chosen.chain(work) {
        let part = Part { power_kw: kilowatts(&powers, sign), because: because(&name), ..Part::default() };
        parts.insert(name, part);
    }
    parts
}

/// A target that is missed by less is rounding of the solver, kWh.
const REACHED: f64 = 1e-6;

/// Emissions above their cap by less than this share of it, or kg, are rounding of the solver.
const CAPPED: f64 = 1e-5;

/// Whether a plan leaves limits or misses targets, the solver's rounding aside.
pub(crate) fn exceeds(problem: &Problem, schedule: &Schedule) -> bool {
    !given_up(problem, schedule, &problem.zone).is_empty()
}

/// Everything that a schedule does not hold or leaves undone, each with its price.
pub(crate) fn given_up(problem: &Problem, schedule: &Schedule, zone: &TimeZone) -> Vec<GivenUp> {
    let start = |step: usize| Some(time_text(problem.steps[step].start, zone));
    let breach = |breach: &Breach| {
        let limit = match breach.kind {
            BreachKind::Import => LimitName::Import,
            BreachKind::Export => LimitName::Export,
            BreachKind::Spinning => LimitName::SpinningReserve,
            // There is no reserve for forecasts in these problems.
            BreachKind::Reserve => return None,
        };
        let price = match (&problem.spinning, breach.kind) {
            (Some(spinning), BreachKind::Spinning) => spinning.price,
            _ => problem.connection.breach_price,
        };
        Some(GivenUp {
            by_kw: Some(breach.over.as_kw()),
            price_per_kwh: Some(price.as_per_kwh()),
            ..GivenUp::of(limit, breach.feeder.clone(), start(breach.step))
        })
    };
    let mut all: Vec<GivenUp> = schedule.breaches.iter().filter_map(breach).collect();
    all.extend(missed_targets(problem, schedule).into_iter().map(|(name, step, kwh, price)| GivenUp {
        by_kwh: Some(kwh),
        price_per_kwh: Some(price.as_per_kwh()),
        ..GivenUp::of(LimitName::Target, Some(name), start(step))
    }));
    all.extend(lacking(problem, schedule, zone));
    all.extend(schedule.work_not_done.iter().map(|(name, energy)| GivenUp {
        by_kwh: Some(energy.as_kwh()),
        ..GivenUp::of(LimitName::Work, Some(name.clone()), None)
    }));
    all.extend(above_cap(problem, schedule));
    all
}

/// Emissions above the cap.
fn above_cap(problem: &Problem, schedule: &Schedule) -> Option<GivenUp> {
    let (cap, over) = (problem.carbon_cap?, over_cap(problem, schedule));
    (over > CAPPED * cap.kg.max(1.0)).then(|| GivenUp {
        by_kg: Some(over),
        price_per_kg: Some(cap.price.as_per_kg()),
        ..GivenUp::of(LimitName::CarbonCap, None, None)
    })
}

/// Use of storages that goes without.
fn lacking(problem: &Problem, schedule: &Schedule, zone: &TimeZone) -> Vec<GivenUp> {
    let mut lacking = Vec::new();
    for storage in &problem.storages {
        let plan = schedule.storage.get(&storage.id);
        let (Some(plan), Some(draw)) = (plan, &storage.dynamics.draw) else { continue };
        let lacks = plan.missing.iter().zip(&problem.steps).filter(|(missing, _)| missing.as_kwh() > REACHED);
        lacking.extend(lacks.map(|(missing, step)| GivenUp {
            by_kwh: Some(missing.as_kwh()),
            price_per_kwh: Some(draw.price.as_per_kwh()),
            ..GivenUp::of(LimitName::Use, Some(storage.id.clone()), Some(time_text(step.start, zone)))
        }));
    }
    lacking
}

/// Targets that are missed: battery, step, kWh and price of each.
fn missed_targets(problem: &Problem, schedule: &Schedule) -> Vec<(String, usize, f64, Price)> {
    let mut missed = Vec::new();
    for storage in &problem.storages {
        let Some(plan) = schedule.storage.get(&storage.id) else { continue };
        for target in &storage.targets {
            let Some(stored) = plan.stored_after.get(target.step) else { continue };
            let kwh = (target.soc * storage.capacity - *stored).as_kwh();
            if kwh > REACHED {
                missed.push((storage.id.clone(), target.step, kwh, target.price));
            }
        }
    }
    missed
}

/// What a limit is, whose, and over which steps it holds.
type Place = (LimitName, Option<String>, Range<usize>);

fn place(problem: &Problem, limit: &Limit) -> Place {
    match limit {
        Limit::Import { step, feeder } => (LimitName::Import, feeder.clone(), *step..*step + 1),
        Limit::Export { step, feeder } => (LimitName::Export, feeder.clone(), *step..*step + 1),
        Limit::Target { storage, step } => (LimitName::Target, Some(storage.clone()), *step..*step + 1),
        Limit::CarbonCap => {
            let counted = problem.carbon_cap.and_then(|cap| cap.steps).unwrap_or(usize::MAX);
            (LimitName::CarbonCap, None, 0..counted.clamp(1, problem.len()))
        }
        Limit::Use { storage } => {
            let stores = problem.storages.iter().find(|one| one.id == *storage);
            let draw = stores.and_then(|one| one.dynamics.draw.as_ref());
            let used = |t: usize| draw.is_some_and(|draw| draw.energy[t] > Energy::ZERO);
            (LimitName::Use, Some(storage.clone()), steps_where(problem, used))
        }
        Limit::Work { work } => {
            let found = problem.work.iter().find(|one| one.id == *work);
            let may = |t: usize| {
                let step = problem.steps[t];
                found.is_some_and(|one| step.start < one.deadline && step.end() > one.earliest)
            };
            (LimitName::Work, Some(work.clone()), steps_where(problem, may))
        }
    }
}

/// From the first to the last step of which something is true; all steps where it is true of none.
fn steps_where(problem: &Problem, is: impl Fn(usize) -> bool) -> Range<usize> {
    let mut found = (0..problem.len()).filter(|&t| is(t));
    let first = found.next();
    first.map_or(0..problem.len(), |first| first..found.last().unwrap_or(first) + 1)
}

fn ranges(problem: &Problem, conflict: &Conflict, zone: &TimeZone) -> ConflictRanges {
    let places: Vec<Place> = conflict.limits.iter().map(|limit| place(problem, limit)).collect();
    let adjoin = |a: &Place, b: &Place| {
        let by_step = matches!(a.0, LimitName::Import | LimitName::Export);
        by_step && (a.0, &a.1) == (b.0, &b.1) && a.2.end == b.2.start
    };
    let range = |chunk: &[Place]| {
        let (limit, name, steps) = chunk.first()?.clone();
        let last = problem.steps[chunk.last()?.2.end - 1];
        let length = jiff::SignedDuration::from_secs((last.duration.get() * 3600.0).round() as i64);
        let from = time_text(problem.steps[steps.start].start, zone);
        Some(LimitRange { limit, name, from, to: time_text(last.start + length, zone) })
    };
    ConflictRanges {
        limits: places.chunk_by(adjoin).filter_map(range).collect(),
        irreducible: conflict.irreducible,
    }
}

impl ConflictRanges {
    /// The limits that the ranges stand for. A range that names no step of the problem stands for none.
    pub(crate) fn limits(&self, problem: &Problem) -> Conflict {
        let limits = self.limits.iter().flat_map(|range| range.limits(problem)).collect();
        Conflict { limits, irreducible: self.irreducible }
    }
}

impl LimitRange {
    fn limits(&self, problem: &Problem) -> Vec<Limit> {
        let (Ok(from), Ok(to)) = (self.from.parse::<Timestamp>(), self.to.parse::<Timestamp>()) else {
            return Vec::new();
        };
        let inside = |step: &usize| {
            let step = problem.steps[*step];
            step.start >= from && step.end() <= to
        };
        let each = |step: usize| match self.limit {
            LimitName::Import => Some(Limit::Import { step, feeder: self.name.clone() }),
            LimitName::Export => Some(Limit::Export { step, feeder: self.name.clone() }),
            LimitName::Target => Some(Limit::Target { storage: self.name.clone()?, step }),
            LimitName::CarbonCap => Some(Limit::CarbonCap),
            LimitName::Use => Some(Limit::Use { storage: self.name.clone()? }),
            LimitName::Work => Some(Limit::Work { work: self.name.clone()? }),
            LimitName::SpinningReserve => None,
        };
        let mut limits: Vec<Limit> = (0..problem.len()).filter(inside).filter_map(each).collect();
        // One that holds over several steps is one limit.
        limits.dedup();
        limits
    }
}

/// Seconds of a duration.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
