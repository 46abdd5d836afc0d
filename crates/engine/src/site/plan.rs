//! Making a plan: the site and its outlook as a dispatch problem, solved, verified, and shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sos_dispatch::{
    Before, Budget, Connection, CostPoint, Curtailable, Feeder, Generator, Memory, PlanSource, Planned,
    Problem, Reserve, Schedule, Spinning, Step, Verification, solve_or_fallback, verify,
};
use sos_model::Mode;
use sos_units::{CarbonIntensity, Energy, FlexibleWork, Hours, Money, Power, Price, Reading, Soc};

use super::carried::Carried;
use super::feeders::{self, ExpectedFeeder};
use super::links::AssetReading;
use super::model::{Asset, Kind, SiteModel};
use super::people::{self, Standing};
use super::storages::{self, Defaults, HeatExpected};
use crate::live::{PlanState, PlanStepState};

/// Least price of a kWh beyond a limit when the site declares none, in its currency.
const BREACH_PRICE: f64 = 5.0;
/// That price is at least this multiple of the most that a kWh can cost otherwise: limits give way to nothing that is only dear.
const FAR_ABOVE: f64 = 5.0;
/// What a start brings about at the least, as a share of a generator's most power over the shortest step.
const LEAST_RUN: f64 = 0.1;
/// Price of a kWh missing in the reserve for the limit; below the spread of dear and cheap hours, so that the
/// reserve gives way to nothing but the limit itself (`docs/study-fontana.md`).
const RESERVE_PRICE: f64 = 0.1;
/// Price of a kWh of missing spinning reserve where none is declared, as a share of that of energy that is not served.
const MISSING_RESERVE: f64 = 0.1;
/// Wear that is planned with where none is declared, so that energy is not moved for nothing.
const NO_GAIN: f64 = 1e-5;
/// Heat that is kept above the lowest temperature: what a quarter of an hour may lose beside what was expected.
const WARMTH: f64 = 0.03;
/// What a kWh for a trip may cost more for each hour by which it is charged earlier, as a share of the cheapest price: the guard may
/// leave less for charging than is planned, and a vehicle does not wait.
const AN_HOUR_EARLIER: f64 = 0.01;
/// How far below the import limit plans stay, as a share of it: room for what forecasts miss within a step.
const LIMIT_MARGIN: f64 = 1.0 / 12.0;

/// What a plan allows for because it does not know everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caution {
    /// How far below the import limits of the connection and of feeders it stays, as a share of them, 0…1.
    pub limit_margin: f64,
    /// Least wear it reckons with per kWh charged and discharged, zero or above.
    pub least_wear: Price,
    /// What a kWh for a trip may cost more for each hour by which it is charged earlier, as a share of the cheapest, 0…1.
    pub early: f64,
    /// Heat that it would rather keep above the lowest temperature, as a share of what there is room for, 0…1.
    pub warmth: f64,
}

impl Caution {
    /// Of the loop, which plans with forecasts.
    #[must_use]
    pub const fn of_forecasts() -> Self {
        Self {
            limit_margin: LIMIT_MARGIN,
            least_wear: Price::per_kwh(NO_GAIN),
            early: AN_HOUR_EARLIER,
            warmth: WARMTH,
        }
    }

    /// None: what is expected comes true.
    #[must_use]
    pub const fn none() -> Self {
        Self { limit_margin: 0.0, least_wear: Price::ZERO, early: 0.0, warmth: 0.0 }
    }
}

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
    /// Of `net` what solar plants and wind turbines give, zero or above; empty for nothing.
    pub renewables: Vec<Power>,
    /// Energy to be kept for the import limit at the start of each step; empty for none.
    pub reserve: Vec<Energy>,
    /// Of each feeder, in the order of the model.
    pub feeders: Vec<ExpectedFeeder>,
    /// What is carried over from before.
    pub carried: Carried,
    /// Of each heat pump, by asset index.
    pub(super) heat: BTreeMap<usize, HeatExpected>,
}

impl Expected {
    /// Adds the power of something that cannot be chosen.
    pub(super) fn add(&mut self, model: &SiteModel, asset: usize, powers: &[Power]) {
        let sums = [&mut self.net].into_iter().chain(
            self.feeders
                .iter_mut()
                .zip(0..)
                .filter(|(_, feeder)| model.is_behind(asset, *feeder))
                .map(|(one, _)| &mut one.net),
        );
        for sum in sums {
            sum.iter_mut().zip(powers).for_each(|(sum, power)| *sum += *power);
        }
    }

    /// Adds what a plant gives that cannot be turned down.
    pub(super) fn add_renewable(&mut self, powers: &[Power]) {
        self.renewables.iter_mut().zip(powers).for_each(|(sum, power)| *sum += power.max(Power::ZERO));
    }

    /// Adds a plant that may be turned down: what it uses itself at night cannot be.
    pub(super) fn add_curtailable(&mut self, model: &SiteModel, asset: usize, powers: Vec<Power>) {
        let used: Vec<Power> = powers.iter().map(|power| power.min(Power::ZERO)).collect();
        self.add(model, asset, &used);
        // More than its most is not taken of it by any set-point.
        let most = match model.assets[asset].kind {
            Kind::Solar { peak, .. } => peak,
            _ => Power::kw(f64::INFINITY),
        };
        let powers = powers.into_iter().map(|power| power.max(Power::ZERO).min(most));
        self.curtailable.insert(asset, powers.collect());
    }
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
    /// What plants that may be turned down could give, whatever people order of them, by name.
    pub could: BTreeMap<String, Vec<Power>>,
    /// Names of its batteries: what is in store is told of them.
    pub batteries: BTreeSet<String>,
    /// Assets that it could plan with.
    pub(super) with: BTreeSet<usize>,
    /// What people ordered then.
    pub(super) standing: Vec<Standing>,
}

/// What a plan of the loop may cost. What forecasts miss costs far more than the last half percent, and the next plan is made soon;
/// branching over directions took most of the time of plans and gained at most 0.06 % (decision 0062).
fn budget() -> Budget {
    Budget { gap: 5e-3, directions: false, ..Budget::default() }
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

/// A generator as dispatch sees it.
pub(super) fn generator(asset: &Asset, declared: &sos_model::Generator) -> Generator {
    let hours = |duration: SignedDuration| Hours::from_seconds(duration.as_secs_f64());
    let money = |amount: &Option<sos_model::Amount<Money>>| amount.map_or(Money::ZERO, |amount| amount.value);
    // Cost of an hour at a power: what is idle, and the pieces below it.
    let cost = |power: Power| {
        let (mut from, mut sum) = (Power::ZERO, money(&declared.idle_cost));
        for piece in &declared.fuel_cost {
            let to = piece.up_to.unwrap_or(Power::kw(f64::INFINITY)).min(power);
            sum += piece.price.value * ((to - from).max(Power::ZERO) * Hours::new(1.0));
            from = from.max(to);
        }
        CostPoint { power, per_hour: sum }
    };
    let (least, most) = (declared.min_power, declared.max_power);
    let kinks = declared.fuel_cost.iter().filter_map(|piece| piece.up_to);
    let kinks = kinks.filter(|power| *power > least && *power < most);
    let last = (most > least).then_some(most);
    // A minute's ramp is declared.
    let ramp = |per_minute: Option<Power>| per_minute.map(|power| power * 60.0);
    let rested = Before { on: false, hours: hours(declared.min_down_time), power: Power::ZERO };
    Generator {
        id: asset.name.clone(),
        curve: std::iter::once(least).chain(kinks).chain(last).map(cost).collect(),
        start_cost: money(&declared.start_cost),
        emissions: declared.emissions,
        min_up: hours(declared.min_up_time),
        min_down: hours(declared.min_down_time),
        ramp_up: ramp(asset.ramp.0),
        ramp_down: ramp(asset.ramp.1),
        start_power: None,
        stop_power: None,
        before: declared.initially.as_ref().map_or(rested, |before| Before {
            on: before.running,
            hours: hours(before.since),
            power: if before.running { before.power.unwrap_or(least) } else { Power::ZERO },
        }),
        available: None,
    }
}

/// Price of a kWh that is not served on an island, as it is counted.
pub(super) fn breach_price(model: &SiteModel) -> Price {
    model.connection.breach_price.unwrap_or(Price::per_kwh(BREACH_PRICE))
}

/// A price far above the most that a kWh can cost in any of the steps, whatever it is bought, charged or made with.
pub(super) fn far_above(
    connection: &Connection,
    feeders: &[Feeder],
    generators: &[Generator],
    steps: &[Step],
) -> Price {
    let shortest = steps.iter().map(|step| step.duration.get()).fold(f64::INFINITY, f64::min);
    let through = feeders.iter().map(|feeder| dearest(&feeder.connection, steps)).fold(0.0, f64::max);
    let made = |generator: &Generator| {
        let pieces = generator.pieces(connection.carbon_price).into_iter().map(|(_, price)| price);
        let full = generator.full_price(connection.carbon_price).as_per_kwh();
        let least = generator.curve.first().map_or(0.0, |point| point.power.as_kw());
        let run = least.max(LEAST_RUN * generator.most()) * shortest;
        let start = if run > 0.0 { generator.start_cost.get() / run } else { 0.0 };
        pieces.fold(full, f64::max) + start
    };
    let made = generators.iter().map(made).filter(|price| price.is_finite()).fold(0.0, f64::max);
    Price::per_kwh(FAR_ABOVE * made.max(dearest(connection, steps) + through))
}

/// The most that a kWh through a connection costs or earns in one of the steps, each charge at what it may add.
fn dearest(connection: &Connection, steps: &[Step]) -> f64 {
    let largest = |values: &[Price]| values.iter().map(|price| price.as_per_kwh().abs()).fold(0.0, f64::max);
    let carbon = connection.carbon_intensity.iter().map(|&intensity| connection.carbon_price * intensity);
    let carbon = carbon.map(|price| price.as_per_kwh()).fold(0.0, f64::max);
    let of_charge = |charge: &sos_dispatch::Charge| {
        let each = charge.sums.iter().flat_map(|sum| &sum.steps);
        charge.price * each.map(|&(t, weight)| weight / steps[t].duration.get()).fold(0.0, f64::max)
    };
    let charged: f64 = connection.charges.iter().map(of_charge).sum();
    let shortest = steps.iter().map(|step| step.duration.get()).fold(f64::INFINITY, f64::min);
    // A kWh more in one step is a change up and one down.
    let ramping = connection.ramping.as_ref().map_or(0.0, |ramping| 2.0 * ramping.price / shortest);
    largest(&connection.import_price).max(largest(&connection.export_price)) + carbon + charged + ramping
}

/// Gives a connection and all feeders behind it the same price of what is beyond their limits.
pub(super) fn set_breach_price(connection: &mut Connection, feeders: &mut [Feeder], price: Price) {
    connection.breach_price = price;
    feeders.iter_mut().for_each(|feeder| feeder.connection.breach_price = price);
}

/// The least that a kWh costs, of these prices of import; on an island, of what its generators give at full power.
pub(super) fn cheapest(model: &SiteModel, import: impl Iterator<Item = Price>) -> Price {
    let burnt = model.generators().map(|(_, asset, declared)| generator(asset, declared));
    let burnt = burnt.map(|generator| generator.full_price(model.carbon_price));
    let least =
        if model.connection.is_island() { burnt.reduce(Price::min) } else { import.reduce(Price::min) };
    least.unwrap_or(Price::ZERO)
}

/// The dispatch problem of a site. `socs` holds the state of charge of each battery that can be commanded now, of each vehicle that
/// is plugged in or expected back, and the share of heat of each heat pump.
#[must_use]
pub fn problem(
    model: &SiteModel,
    steps: Vec<Step>,
    expected: &Expected,
    socs: &BTreeMap<usize, Soc>,
    mut work: Vec<FlexibleWork>,
    caution: Caution,
) -> Problem {
    let n = steps.len();
    let site = &model.connection;
    let planned_limit = site.import_limit.map(|limit| limit * (1.0 - caution.limit_margin));
    let mut connection = Connection {
        import_limit: vec![planned_limit; n],
        export_limit: vec![site.most_export(); n],
        import_price: expected.import_price.clone(),
        export_price: expected.export_price.clone(),
        carbon_intensity: expected.carbon.clone(),
        carbon_price: model.carbon_price,
        breach_price: Price::ZERO,
        charges: feeders::charges(&site.charges, &model.zone, &steps, &expected.carried),
        ramping: feeders::ramping(model, &expected.carried),
    };
    let margin = (Price::ZERO, caution.limit_margin);
    let mut feeders = feeders::feeders(model, &steps, &expected.feeders, margin, &expected.carried);
    let generators = model.generators().map(|(_, asset, declared)| generator(asset, declared));
    let generators: Vec<Generator> = generators.collect();
    let far = Price::per_kwh(BREACH_PRICE).max(far_above(&connection, &feeders, &generators, &steps));
    let breach = site.breach_price.unwrap_or(far);
    let required = work.iter_mut().filter(|work| work.required);
    required.for_each(|work| work.value = work.value.max(far * work.energy));
    set_breach_price(&mut connection, &mut feeders, breach);
    let price = |t: usize| expected.import_price[t] + model.carbon_price * expected.carbon[t];
    let cheapest = cheapest(model, (0..n).map(price));
    let defaults = Defaults {
        breach,
        cheapest,
        wear: caution.least_wear,
        early: cheapest.max(Price::ZERO) * caution.early,
        warmth: caution.warmth,
    };
    let batteries = model.batteries().filter_map(|(index, asset, battery)| {
        Some(storages::planned(asset, battery, *socs.get(&index)?, &steps, defaults))
    });
    let others = model.assets.iter().enumerate().filter_map(|(index, asset)| match &asset.kind {
        Kind::Vehicle(vehicle) => {
            Some(storages::vehicle(asset, vehicle, *socs.get(&index)?, (&steps, &model.zone), defaults))
        }
        Kind::HeatPump(heat) => {
            let (soc, expected) = (*socs.get(&index)?, expected.heat.get(&index)?);
            Some(storages::heat_pump(asset, heat, soc, &steps, expected, defaults))
        }
        _ => None,
    });
    let storages = batteries.chain(others).collect();
    Problem {
        connection,
        feeders,
        carbon_cap: feeders::carbon_cap(model, &steps, &expected.carried),
        steps,
        fixed: expected.net.clone(),
        pessimistic: None,
        reserve: reserve(&expected.reserve),
        spinning: spinning(model, &expected.renewables, breach),
        curtailable: expected
            .curtailable
            .iter()
            .map(|(index, available)| Curtailable {
                id: model.assets[*index].name.clone(),
                available: available.clone(),
            })
            .collect(),
        storages,
        generators: Vec::new(),
        work,
        zone: model.zone.clone(),
    }
}

/// Puts what people order of batteries into the problem.
pub(super) fn order(
    problem: &mut Problem,
    model: &SiteModel,
    standing: &[Standing],
    readings: &[Reading<AssetReading>],
) {
    for order in standing {
        let name = &model.assets[order.asset].name;
        let Some(storage) = problem.storages.iter_mut().find(|storage| storage.id == *name) else { continue };
        let ordered = people::ordered(order, storage, &problem.steps, &readings[order.asset]);
        storage.ordered = Some(ordered);
    }
}

/// What has to be able to take over at once.
fn spinning(model: &SiteModel, renewables: &[Power], breach: Price) -> Option<Spinning> {
    let declared = model.spinning_reserve.as_ref()?;
    Some(Spinning {
        largest_generator: declared.largest_generator,
        renewable_share: declared.renewable_share.get(),
        renewables: renewables.to_vec(),
        duration: Hours::from_seconds(declared.duration.as_secs_f64()),
        price: declared.price.map_or(breach * MISSING_RESERVE, |amount| amount.value),
    })
}

/// What is to be kept at the start of the next step is wanted at the end of each.
fn reserve(at_start: &[Energy]) -> Option<Reserve> {
    let last = at_start.last().copied()?;
    let energy = at_start.iter().skip(1).copied().chain([last]).collect();
    Some(Reserve { energy, price: Price::per_kwh(RESERVE_PRICE) })
}

/// Plans, from where the search before stood that `memory` knows of. There is always a plan: where the solver or the verifier says no, a
/// rule takes its place, by name.
///
/// # Errors
/// When the problem itself makes no sense; the plan before then stays in force.
pub fn make(problem: Problem, made_at: Timestamp, memory: Option<&mut Memory>) -> Result<SitePlan, String> {
    let planned = solve_or_fallback(&problem, &budget(), memory).map_err(|error| error.to_string())?;
    let (Planned { schedule, source, .. }, _) = verified(&problem, planned)?;
    let fallback = source != PlanSource::Solver;
    let (could, batteries, with, standing) = Default::default();
    let source = source_text(&source);
    Ok(SitePlan { made_at, schedule, problem, source, fallback, could, batteries, with, standing })
}

/// The plan when the verifier passes it, else that of the rule; with what the verifier found about it.
///
/// # Errors
/// When the problem itself makes no sense.
pub fn verified(problem: &Problem, planned: Planned) -> Result<(Planned, Verification), String> {
    let found = verify(problem, &planned.schedule);
    let Some(first) = found.violations.first() else { return Ok((planned, found)) };
    tracing::error!(what = first.what, by = first.by, "the plan does not hold; a rule takes its place");
    let planned = by_rule(problem, format!("the verifier found: {}", first.what))?;
    let found = verify(problem, &planned.schedule);
    Ok((planned, found))
}

/// The plan of the rule, and why it is asked.
///
/// # Errors
/// When the problem itself makes no sense.
pub fn by_rule(problem: &Problem, because: String) -> Result<Planned, String> {
    let (schedule, costs) = sos_dispatch::rule_plan(problem).map_err(|error| error.to_string())?;
    let source = PlanSource::Rule { name: sos_dispatch::RULE.to_owned(), because };
    Ok(Planned { schedule, costs, source, proof: None })
}

/// `solver`, or the rule's name with the reason.
#[must_use]
pub fn source_text(source: &PlanSource) -> String {
    match source {
        PlanSource::Solver => "solver".to_owned(),
        PlanSource::Rule { name, because } => format!("rule {name} ({because})"),
    }
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
        self.could.get(asset)?.get(self.step_at(now)?).copied()
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
                if self.batteries.contains(&storage.id) {
                    stored += plan.stored_after.get(t).copied().unwrap_or(Energy::ZERO);
                    capacity += storage.capacity;
                }
            }
        }
        for (id, plan) in &self.schedule.generators {
            power.insert(id.clone(), plan.power.get(t).copied().unwrap_or(Power::ZERO));
        }
        for (id, powers) in &self.schedule.work {
            power.insert(id.clone(), -powers.get(t).copied().unwrap_or(Power::ZERO));
        }
        let (because, feeders) = (self.schedule.because.iter(), self.schedule.feeders.iter());
        PlanStepState {
            time,
            grid: self.schedule.grid.get(t).copied().unwrap_or(Power::ZERO),
            soc: (capacity > Energy::ZERO).then(|| Soc::fraction(stored / capacity)),
            price: self.problem.connection.import_price[t],
            power,
            feeders: feeders.filter_map(|(id, flows)| Some((id.clone(), *flows.get(t)?))).collect(),
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
    (asset.is_chosen() || matches!(asset.kind, Kind::Solar { curtailable: true, .. }))
        && asset.mode != Mode::Observe
}

#[cfg(test)]
mod tests {
    use sos_model::{Battery, SocTarget as Wish};

    use super::super::testing::site;
    use super::*;

    #[test]
    fn a_target_counts_at_the_end_of_the_last_step_that_ends_by_its_time() {
        let model = site("");
        let (_, asset, battery) = model.batteries().next().unwrap();
        let (now, hour): (Timestamp, _) =
            ("2026-01-01T00:30:00Z".parse().unwrap(), SignedDuration::from_hours(1));
        let epoch = "2026-01-01T00:00:00Z".parse().unwrap();
        let steps = steps(now, epoch, hour, hour * 3);
        let wish = |by: &str| Wish { by: by.parse().unwrap(), soc: Soc::fraction(0.8), price: None };
        let battery = Battery {
            targets: vec![
                wish("2026-01-01T00:30:00Z"),
                wish("2026-01-01T00:40:00Z"),
                wish("2026-01-01T02:00:00Z"),
                wish("2026-01-01T02:59:59Z"),
                wish("2026-01-01T04:00:01Z"),
            ],
            ..battery.clone()
        };
        let found = storages::targets(&battery, &steps, Price::per_kwh(5.0));
        let at: Vec<usize> = found.iter().map(|target| target.step).collect();
        assert_eq!(at, [0, 1, 1], "what is past or beyond the plan plays no part");
        assert_eq!(found[0].price, Price::per_kwh(5.0));
        assert_eq!(asset.name, "battery");
    }

    #[test]
    fn a_plant_uses_at_night_what_cannot_be_turned_down() {
        let model = site("");
        let mut expected = Expected { net: vec![Power::kw(-1.0); 2], ..Expected::default() };
        expected.add_curtailable(&model, 0, vec![Power::kw(-0.25), Power::kw(3.0)]);
        assert_eq!(expected.curtailable[&0], [Power::ZERO, Power::kw(3.0)]);
        assert_eq!(expected.net, [Power::kw(-1.25), Power::kw(-1.0)]);
    }

    #[test]
    fn only_forecasts_are_met_with_caution() {
        let model = site("mode: advise");
        let steps = vec![Step { start: Timestamp::UNIX_EPOCH, duration: hours(3600) }];
        let expected = Expected {
            net: vec![Power::ZERO],
            import_price: vec![Price::per_kwh(0.3)],
            export_price: vec![Price::ZERO],
            carbon: vec![CarbonIntensity::ZERO],
            ..Expected::default()
        };
        let socs = model.batteries().map(|(index, _, _)| (index, Soc::fraction(0.5))).collect();
        let with = |caution| problem(&model, steps.clone(), &expected, &socs, Vec::new(), caution);
        let (careful, sure) = (with(Caution::of_forecasts()), with(Caution::none()));
        assert_eq!(sure.connection.import_limit, [Some(Power::kw(4.0))]);
        assert!(careful.connection.import_limit[0] < sure.connection.import_limit[0]);
        assert_eq!(sure.storages[0].wear_cost, Price::ZERO);
        assert!(careful.storages[0].wear_cost > Price::ZERO);
        assert_eq!(sure.reserve, None);
        assert_eq!(sure.storages[0].end_value, Price::per_kwh(0.3 * 0.95));
    }
}
