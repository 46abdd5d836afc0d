//! Making a plan: the site and its outlook as a dispatch problem, solved, verified, and shown.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sos_dispatch::{
    Budget, Connection, Curtailable, PlanSource, Problem, Reserve, Schedule, Step, Storage,
    solve_or_fallback, verify,
};
use sos_model::{Battery, Mode};
use sos_units::{CarbonIntensity, Energy, FlexibleWork, Hours, Power, Price, Soc};

use super::model::{Asset, Kind, SiteModel};
use crate::live::{PlanState, PlanStepState};

/// Price of a kWh beyond a limit when the site declares none, in its currency: far above any energy price.
const BREACH_PRICE: f64 = 5.0;
/// Price of a kWh missing in the reserve for the limit; below the spread of dear and cheap hours, so that the
/// reserve gives way to nothing but the limit itself (`docs/study-fontana.md`).
const RESERVE_PRICE: f64 = 0.1;
/// Wear that is planned with where none is declared, so that energy is not moved for nothing.
const NO_GAIN: f64 = 1e-5;
/// How far below the import limit plans stay, as a share of it: room for what forecasts miss within a step.
const LIMIT_MARGIN: f64 = 1.0 / 12.0;

/// What is expected over the steps of a plan.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Net power of what cannot be chosen, load negative.
    pub net: Vec<Power>,
    /// Generation of what may be turned down, by asset index.
    pub curtailable: BTreeMap<usize, Vec<Power>>,
    /// Price of import.
    pub import_price: Vec<Price>,
    /// Price of export.
    pub export_price: Vec<Price>,
    /// Carbon intensity of import.
    pub carbon: Vec<CarbonIntensity>,
    /// Energy to be kept for the import limit at the start of each step.
    pub reserve: Vec<Energy>,
}

/// A plan with the problem it answers.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// When it was made.
    pub made_at: Timestamp,
    /// What it answers.
    pub problem: Problem,
    /// The plan.
    pub schedule: Schedule,
    /// `solver` or the name of the fallback.
    pub source: String,
    /// Whether a fallback made it.
    pub fallback: bool,
}

/// The steps of a plan made at `now`: the rest of the running step, then whole steps up to the horizon.
#[must_use]
pub fn steps(now: Timestamp, epoch: Timestamp, every: SignedDuration, horizon: SignedDuration) -> Vec<Step> {
    let every_s = every.as_secs().max(1);
    let into = now.duration_since(epoch).as_secs().rem_euclid(every_s);
    let mut steps = vec![Step { start: now, duration: hours(every_s - into) }];
    let mut start = now + SignedDuration::from_secs(every_s - into);
    while start < now + horizon {
        steps.push(Step { start, duration: hours(every_s) });
        start += every;
    }
    steps
}

fn hours(seconds: i64) -> Hours {
    Hours::from_seconds(seconds as f64)
}

/// Energy between the lowest and the highest state of charge of all batteries.
#[must_use]
pub fn usable_capacity(model: &SiteModel) -> Energy {
    model.batteries().map(|(_, _, battery)| (battery.max_soc - battery.min_soc) * battery.capacity).sum()
}

/// A battery as dispatch sees it, without worth at the end and without wear.
pub(super) fn storage(asset: &Asset, battery: &Battery, soc: Soc) -> Storage {
    Storage {
        id: asset.name.clone(),
        capacity: battery.capacity,
        soc,
        min_soc: battery.min_soc,
        max_soc: battery.max_soc,
        max_charge: battery.max_charge,
        max_discharge: battery.max_discharge,
        charge_efficiency: battery.charge_efficiency.get(),
        discharge_efficiency: battery.discharge_efficiency.get(),
        end_value: Price::ZERO,
        wear_cost: Price::ZERO,
        available: None,
        targets: Vec::new(),
    }
}

/// The dispatch problem of a site. `socs` holds the state of charge of each battery that can be commanded now.
#[must_use]
pub fn problem(
    model: &SiteModel,
    steps: Vec<Step>,
    expected: &Expected,
    socs: &BTreeMap<usize, Soc>,
    work: Vec<FlexibleWork>,
) -> Problem {
    let n = steps.len();
    let site = &model.connection;
    let price = |t: usize| expected.import_price[t] + model.carbon_price * expected.carbon[t];
    let cheapest = (0..n).map(price).reduce(Price::min).unwrap_or(Price::ZERO);
    let planned_limit = site.import_limit.map(|limit| limit * (1.0 - LIMIT_MARGIN));
    let storages = model
        .batteries()
        .filter_map(|(index, asset, battery)| {
            let soc = *socs.get(&index)?;
            let wear = battery.wear_cost.as_ref().map_or(Price::per_kwh(NO_GAIN), |amount| amount.value);
            Some(Storage {
                end_value: cheapest.max(Price::ZERO) * battery.discharge_efficiency.get(),
                wear_cost: wear,
                ..storage(asset, battery, soc)
            })
        })
        .collect();
    Problem {
        connection: Connection {
            import_limit: vec![planned_limit; n],
            export_limit: vec![site.export_limit; n],
            import_price: expected.import_price.clone(),
            export_price: expected.export_price.clone(),
            carbon_intensity: expected.carbon.clone(),
            carbon_price: model.carbon_price,
            breach_price: site.breach_price.unwrap_or(Price::per_kwh(BREACH_PRICE)),
        },
        steps,
        fixed: expected.net.clone(),
        pessimistic: None,
        reserve: reserve(&expected.reserve),
        curtailable: expected
            .curtailable
            .iter()
            .map(|(index, available)| Curtailable {
                id: model.assets[*index].name.clone(),
                available: available.clone(),
            })
            .collect(),
        storages,
        work,
        zone: model.zone.clone(),
    }
}

/// What is to be kept at the start of the next step is wanted at the end of each.
fn reserve(at_start: &[Energy]) -> Option<Reserve> {
    let last = at_start.last().copied()?;
    let energy = at_start.iter().skip(1).copied().chain([last]).collect();
    Some(Reserve { energy, price: Price::per_kwh(RESERVE_PRICE) })
}

/// Plans. There is always one: where the solver or the verifier says no, a rule takes its place, by name.
///
/// # Errors
/// When the problem itself makes no sense; the plan before then stays in force.
pub fn make(problem: Problem, made_at: Timestamp) -> Result<SitePlan, String> {
    let planned = solve_or_fallback(&problem, &Budget::default()).map_err(|error| error.to_string())?;
    let (source, fallback) = match &planned.source {
        PlanSource::Solver => ("solver".to_owned(), false),
        PlanSource::Rule { name, because } => (format!("rule {name} ({because})"), true),
    };
    let checked = verify(&problem, &planned.schedule);
    if checked.violations.is_empty() {
        return Ok(SitePlan { made_at, schedule: planned.schedule, problem, source, fallback });
    }
    let first = &checked.violations[0];
    tracing::error!(what = first.what, by = first.by, "the plan does not hold; a rule takes its place");
    let (schedule, _) = sos_dispatch::rule_plan(&problem).map_err(|error| error.to_string())?;
    let source = format!("rule {} (the verifier found: {})", sos_dispatch::RULE, first.what);
    Ok(SitePlan { made_at, schedule, problem, source, fallback: true })
}

impl SitePlan {
    /// The step in force at a time.
    #[must_use]
    pub fn step_at(&self, now: Timestamp) -> Option<usize> {
        self.problem.steps.iter().rposition(|step| step.start <= now)
    }

    /// What a plant that may be turned down is expected to be able to give at a time.
    #[must_use]
    pub fn available(&self, asset: &str, now: Timestamp) -> Option<Power> {
        let step = self.step_at(now)?;
        let plant = self.problem.curtailable.iter().find(|one| one.id == asset)?;
        plant.available.get(step).copied()
    }

    /// Power of each work from `now` on, with its reason, as consumption.
    #[must_use]
    pub fn work(&self, now: Timestamp) -> BTreeMap<String, Vec<(Timestamp, Power, String)>> {
        let from = self.step_at(now).unwrap_or(0);
        let rows = |(id, powers): (&String, &Vec<Power>)| {
            let reasons = self.schedule.because.get(id);
            let steps = (from..powers.len()).map(|t| {
                let reason =
                    reasons.and_then(|reasons| reasons.get(t)).map_or_else(String::new, |r| r.text.clone());
                (self.problem.steps[t].start, powers[t], reason)
            });
            (id.clone(), steps.collect())
        };
        self.schedule.work.iter().map(rows).collect()
    }

    /// Power planned for all work at a time, as consumption.
    #[must_use]
    pub fn grid_at(&self, now: Timestamp) -> Option<Power> {
        self.schedule.grid.get(self.step_at(now)?).copied()
    }

    /// The plan as it is shown.
    #[must_use]
    pub fn state(&self) -> PlanState {
        let steps = self.problem.steps.iter().enumerate().map(|(t, step)| self.step_state(t, step.start));
        PlanState { made_at: self.made_at, source: self.source.clone(), steps: steps.collect() }
    }

    fn step_state(&self, t: usize, time: Timestamp) -> PlanStepState {
        let mut power = BTreeMap::new();
        let (mut stored, mut capacity) = (Energy::ZERO, Energy::ZERO);
        for storage in &self.problem.storages {
            if let Some(plan) = self.schedule.storage.get(&storage.id) {
                power.insert(storage.id.clone(), plan.power.get(t).copied().unwrap_or(Power::ZERO));
                stored += plan.stored_after.get(t).copied().unwrap_or(Energy::ZERO);
                capacity += storage.capacity;
            }
        }
        for (id, powers) in &self.schedule.work {
            power.insert(id.clone(), -powers.get(t).copied().unwrap_or(Power::ZERO));
        }
        let because = self.schedule.because.iter();
        PlanStepState {
            time,
            grid: self.schedule.grid.get(t).copied().unwrap_or(Power::ZERO),
            soc: (capacity > Energy::ZERO).then(|| Soc::fraction(stored / capacity)),
            price: self.problem.connection.import_price[t],
            power,
            because: because
                .filter_map(|(id, reasons)| Some((id.clone(), reasons.get(t)?.text.clone())))
                .collect(),
            binding_limits: sos_dispatch::binding(&self.problem, &self.schedule, t),
        }
    }
}

/// Whether the plan may use an asset: it is simulated or meant to be commanded.
#[must_use]
pub fn plans_with(model: &SiteModel, index: usize) -> bool {
    let asset = &model.assets[index];
    matches!(asset.kind, Kind::Battery(_) | Kind::Solar { curtailable: true, .. })
        && asset.mode != Mode::Observe
}
