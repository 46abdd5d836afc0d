//! The reference case `perfect`: one optimisation that knew the period, with the same physics. Made afterwards, in a
//! process of its own, so that it takes neither time nor memory of the loop.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_dispatch::{
    Before, Connection, Curtailable, Draw, Generator, Problem, Schedule, Step, Storage, perfect,
};
use sos_model::{Charge, Charged, Vehicle};
use sos_store::{Store, StoreError};
use sos_units::{
    CarbonIntensity, CarbonPrice, Emissions, Energy, Hours, Missing, Money, Power, Price, Reading, Soc,
};

use super::account::{carbon, price};
use super::carried::Carried;
use super::feeders::{self, ExpectedFeeder};
use super::intervals::{interval_of, length_of, period_of};
use super::links::AssetReading;
use super::model::{Asset, Heat, Kind, SiteFeeder, SiteModel, Value};
use super::movable::{Met, Movables};
use super::plan::{breach_price, far_above, generator, plans_with, set_breach_price};
use super::storages::{self, Defaults, HeatExpected};
use super::telemetry::{AVAILABLE, DEVICE, ESTIMATE, SOC, labels, own_power};
use super::view::{Column, column};
use super::work::WorkBook;

/// A kWh beyond a limit costs this much more than any energy, so that the case breaks a limit only where it must.
const BREACH_PRICE: f64 = 100.0;

/// What the optimisation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerfectCase {
    /// Import paid less export earned, at the connection and at feeders, charges, fuel and starts of generators.
    pub cost: f64,
    /// Part of the cost: what each charge came to, by name.
    #[serde(default)]
    pub charges: BTreeMap<String, f64>,
    /// Emissions of what was imported or burnt, kg.
    pub emissions_kg: f64,
    /// Cost and priced emissions less the value of what is stored at the end.
    pub objective: f64,
    /// Steps above a limit.
    pub limit_violations: u64,
    /// What an island lacked, kWh.
    #[serde(default)]
    pub unserved_kwh: f64,
}

/// Where a run began and ended, with what was stored at its start, and what a stored kWh is worth at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Period {
    /// Start of the first step.
    pub from: Timestamp,
    /// End of the last step.
    pub to: Timestamp,
    /// Per kWh.
    pub worth: Price,
    /// States of charge at the start, by asset.
    pub initial: BTreeMap<String, Soc>,
    /// What generators did before the start, by name.
    #[serde(default)]
    pub generators: BTreeMap<String, Before>,
}

/// Computes the case from what was measured.
///
/// # Errors
/// What the store or the solver says.
pub fn perfect_case(
    store: &Store,
    model: &SiteModel,
    work: &WorkBook,
    period: &Period,
) -> Result<PerfectCase, String> {
    let measured = measured(store, model, period).map_err(|error| error.to_string())?;
    let mut problem = problem(model, work, period, &measured);
    let errands = super::record::done_errands(store, &model.name).map_err(|error| error.to_string())?;
    problem.work.extend(errands.into_iter().filter(|work| work.deadline <= period.to));
    let solved = perfect(&problem).map_err(|error| error.to_string())?;
    let schedule = &solved.schedule;
    let island = model.connection.is_island();
    let charges = charges(&problem, schedule);
    let mut cost = solved.costs.fuel + solved.costs.starts + solved.costs.energy + solved.costs.charges;
    let (mut emissions, mut lacking) =
        (Emissions::kg(sos_dispatch::emissions(&problem, schedule)), Energy::ZERO);
    let mut violations = 0;
    for (t, (step, row)) in problem.steps.iter().zip(&measured).enumerate() {
        if island {
            // Beyond its limit of zero it is unserved, or lost, and neither paid nor emitted.
            let import = schedule.grid[t].max(Power::ZERO) * step.duration;
            cost -= problem.connection.import_price[t] * import;
            emissions -= problem.connection.carbon_intensity[t] * import;
            lacking += import;
        }
        violations += if breached(model, &problem, schedule, t) { row.ticks } else { 0 };
    }
    let stored: Energy =
        schedule.storage.values().filter_map(|storage| storage.stored_after.last().copied()).sum();
    let objective =
        cost + model.carbon_price * emissions + unserved(&problem, schedule) + breach_price(model) * lacking
            - period.worth * stored;
    Ok(PerfectCase {
        cost: cost.get(),
        charges,
        emissions_kg: emissions.as_kg(),
        objective: objective.get(),
        limit_violations: violations,
        unserved_kwh: lacking.as_kwh(),
    })
}

/// Whether a limit of the connection or of a feeder is exceeded in a step, beyond the rounding of the solver.
fn breached(model: &SiteModel, problem: &Problem, schedule: &Schedule, t: usize) -> bool {
    let over = |limit: Option<Power>, flow: Power| limit.is_some_and(|limit| flow > limit + Power::kw(1e-4));
    let above = |connection: &Connection, flow: Power| {
        over(connection.import_limit[t], flow) || over(connection.export_limit[t], -flow)
    };
    let declared = |id: &str| model.feeders.iter().any(|feeder| feeder.name == id);
    let feeders = problem.feeders.iter().filter(|one| declared(&one.id));
    let mut feeders = feeders.filter_map(|one| Some((one, *schedule.feeders.get(&one.id)?.get(t)?)));
    above(&problem.connection, schedule.grid[t]) || feeders.any(|(one, flow)| above(&one.connection, flow))
}

/// What each charge came to over all its periods, by name.
fn charges(problem: &Problem, schedule: &Schedule) -> BTreeMap<String, f64> {
    let own = problem.connection.charges.iter().map(|charge| (charge, &schedule.grid));
    let of_feeders = problem.feeders.iter().filter_map(|one| Some((one, schedule.feeders.get(&one.id)?)));
    let of_feeders =
        of_feeders.flat_map(|(one, flows)| one.connection.charges.iter().map(move |c| (c, flows)));
    let mut all = BTreeMap::new();
    for (charge, flows) in own.chain(of_feeders) {
        let name = charge.id.split_once(", ").map_or(charge.id.as_str(), |(name, _)| name);
        *all.entry(name.to_owned()).or_default() += charge.cost(flows);
    }
    all
}

/// What the work was worth that the case left undone.
fn unserved(problem: &Problem, schedule: &Schedule) -> Money {
    let each = problem.work.iter().map(|work| {
        let powers = schedule.work.get(&work.id).map(Vec::as_slice).unwrap_or_default();
        let done: Energy =
            powers.iter().zip(&problem.steps).map(|(power, step)| *power * step.duration).sum();
        let left = (work.energy - done).max(Energy::ZERO);
        // The solver ends within its tolerance of a whole run.
        if left < work.energy * 1e-6 { Money::ZERO } else { work.value * (left / work.energy) }
    });
    each.sum()
}

/// Steps with the same data, joined.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    start: Timestamp,
    ticks: u64,
    net: Power,
    /// Of it what is behind each feeder, in the order of the model.
    behind: Vec<Power>,
    /// What each plant that may be turned down could give, in the order of [`curtailable`].
    available: Vec<Power>,
    /// Whether each generator could run, in the order of the site's.
    may_run: Vec<bool>,
    /// What vehicles and heat pumps met.
    met: BTreeMap<usize, Met>,
}

/// What was measured of one tick.
#[derive(Clone, Debug, Default)]
struct Own {
    net: Power,
    behind: Vec<Power>,
    available: Vec<Power>,
}

impl Own {
    /// Of what cannot be chosen.
    fn of(model: &SiteModel, rest: impl Iterator<Item = usize>, own: &[Reading<Power>]) -> Reading<Self> {
        let mut sum = Self { behind: vec![Power::ZERO; model.feeders.len()], ..Self::default() };
        for asset in rest {
            let power = own[asset]?;
            sum.net += power;
            model.way(asset).for_each(|place| sum.behind[place] += power);
        }
        Ok(sum)
    }
}

/// The plants that may be turned down.
fn curtailable(model: &SiteModel) -> Vec<usize> {
    (0..model.assets.len())
        .filter(|index| plans_with(model, *index) && matches!(model.assets[*index].kind, Kind::Solar { .. }))
        .collect()
}

/// Net power of what cannot be chosen, step by step. What was never measured is as it was estimated for the accounts,
/// and without that as in the step before.
fn measured(store: &Store, model: &SiteModel, period: &Period) -> Result<Vec<Row>, StoreError> {
    let until = period.to + SignedDuration::from_secs(1);
    let (mut columns, mut estimates, mut available) = (Vec::new(), Vec::new(), Vec::new());
    for asset in &model.assets {
        let labels = labels(&model.name, Some(&asset.name));
        columns.push(column(store, DEVICE, &labels, period.from, until)?);
        estimates.push(column(store, ESTIMATE, &labels, period.from, until)?);
        available.push(column(store, AVAILABLE, &labels, period.from, until)?);
    }
    let batteries = model.batteries().map(|(index, _, _)| index);
    let others = (0..model.assets.len()).filter(|&index| {
        let kind = &model.assets[index].kind;
        (kind.is_movable() || matches!(kind, Kind::Generator(_))) && plans_with(model, index)
    });
    let chosen: BTreeSet<usize> = batteries.chain(others).collect();
    let mut movables = Seen::open(store, model, (period.from, until))?;
    let plants = curtailable(model);
    let mut rows: Vec<Row> = Vec::new();
    let mut last = Own { behind: vec![Power::ZERO; model.feeders.len()], ..Own::default() };
    last.available = vec![Power::ZERO; plants.len()];
    let mut start = period.from;
    while start < period.to {
        let end = start + model.tick;
        let device: Vec<Reading<Power>> = (0..model.assets.len())
            .map(|index| match model.assets[index].via {
                Some(_) => told(&columns[index], &end).or_else(|_| told(&estimates[index], &end)),
                None => Ok(Power::ZERO),
            })
            .collect();
        let own = own_power(model, &device);
        let given = plants.iter().map(|&plant| told(&available[plant], &end).or(own[plant]));
        let rest = (0..own.len()).filter(|index| !chosen.contains(index) && !plants.contains(index));
        if let (Ok(now), Ok(given)) = (Own::of(model, rest, &own), given.collect::<Reading<Vec<Power>>>()) {
            let available = given.into_iter().map(|power| power.max(Power::ZERO)).collect();
            last = Own { available, ..now };
        }
        let may_run: Vec<bool> = model
            .generators()
            .map(|(index, _, _)| told(&available[index], &end) != Ok(Power::ZERO))
            .collect();
        let met = movables.at(model, start, end, &device);
        let same = |row: &Row| {
            (row.net, &row.behind, &row.available, &row.may_run, &row.met)
                == (last.net, &last.behind, &last.available, &may_run, &met)
                && !met.values().any(Met::has_used)
                && same_prices(model, row.start, start)
        };
        match rows.last_mut().filter(|row| same(row)) {
            Some(row) => row.ticks += 1,
            None => {
                let Own { net, behind, available } = last.clone();
                rows.push(Row { start, ticks: 1, net, behind, available, may_run, met });
            }
        }
        start = end;
    }
    Ok(rows)
}

/// What vehicles and heat pumps met, read again from what was recorded.
struct Seen {
    /// State of charge of each, by asset index.
    socs: BTreeMap<usize, Column>,
    movables: Movables,
    last: BTreeMap<usize, Met>,
}

impl Seen {
    fn open(
        store: &Store,
        model: &SiteModel,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<Self, StoreError> {
        let mut socs = BTreeMap::new();
        for (index, asset) in model.assets.iter().enumerate().filter(|(_, asset)| asset.kind.is_movable()) {
            let labels = labels(&model.name, Some(&asset.name));
            socs.insert(index, column(store, SOC, &labels, from, until)?);
        }
        Ok(Self { socs, movables: Movables::default(), last: BTreeMap::new() })
    }

    /// What they met in a tick; where nothing was recorded, what they met in the one before.
    fn at(
        &mut self,
        model: &SiteModel,
        start: Timestamp,
        end: Timestamp,
        device: &[Reading<Power>],
    ) -> BTreeMap<usize, Met> {
        if self.socs.is_empty() {
            return BTreeMap::new();
        }
        let mut readings: Vec<Reading<AssetReading>> = vec![Err(Missing::Gap); model.assets.len()];
        for (&index, column) in &self.socs {
            let Some(told) = column.get(&end) else { continue };
            readings[index] =
                device[index].map(|power| AssetReading::of(power, told.ok().map(Soc::fraction)));
        }
        let sight = self.movables.see(model, Some(start), end, &readings);
        for met in self.last.values_mut() {
            *met = met.without_use();
        }
        self.last.extend(sight.met);
        self.last.clone()
    }
}

/// The value of the step that ends at `end`.
fn told(column: &Column, end: &Timestamp) -> Reading<Power> {
    column.get(end).copied().unwrap_or(Err(Missing::Gap)).map(Power::kw)
}

/// Whether two times differ in nothing that is paid, limited or counted.
fn same_prices(model: &SiteModel, a: Timestamp, b: Timestamp) -> bool {
    let site = &model.connection;
    let (prices, zone) = ([&site.import_price, &site.export_price], &model.zone);
    let of_feeders = model.feeders.iter().flat_map(|one| one.import_price.iter().chain(&one.export_price));
    let intensities =
        std::iter::once(&site.carbon).chain(model.feeders.iter().filter_map(|one| one.carbon.as_ref()));
    let counted = |charge: &Charge| {
        let same = period_of(a, zone, charge.per()) == period_of(b, zone, charge.per());
        let Charged::Peak(_) = &charge.on else { return same };
        let length = length_of(charge);
        same && interval_of(a, zone, length) == interval_of(b, zone, length)
    };
    let limits = |time| -> Vec<Option<Power>> {
        let until = time + model.tick;
        (0..model.feeders.len()).map(|place| feeders::most_import(model, place, time, until)).collect()
    };
    prices.into_iter().chain(of_feeders).all(|value| price(value, a) == price(value, b))
        && intensities.into_iter().all(|value| carbon(value, a) == carbon(value, b))
        && model.charges().all(|(_, charge)| counted(charge))
        && limits(a) == limits(b)
}

/// What was expected of each feeder: what came.
fn behind(model: &SiteModel, rows: &[Row]) -> Vec<ExpectedFeeder> {
    let feeder = |(place, feeder): (usize, &SiteFeeder)| {
        let prices = |value: &Option<Value<Price>>| {
            let at = |row: &Row| value.as_ref().map_or(Price::ZERO, |value| price(value, row.start));
            rows.iter().map(at).collect()
        };
        let at = |row: &Row| {
            feeder.carbon.as_ref().map_or(CarbonIntensity::ZERO, |value| carbon(value, row.start))
        };
        ExpectedFeeder {
            net: rows.iter().map(|row| row.behind[place]).collect(),
            import_price: prices(&feeder.import_price),
            export_price: prices(&feeder.export_price),
            carbon: rows.iter().map(at).collect(),
        }
    };
    model.feeders.iter().enumerate().map(feeder).collect()
}

/// The case as a problem. A price on changes of the exchange and a cap on emissions guide plans, they are no cost: it does without.
fn problem(model: &SiteModel, work: &WorkBook, period: &Period, rows: &[Row]) -> Problem {
    let n = rows.len();
    let tick = Hours::from_seconds(model.tick_seconds() as f64);
    let site = &model.connection;
    let hours = |row: &Row| Hours::new(tick.get() * row.ticks as f64);
    let steps: Vec<Step> = rows.iter().map(|row| Step { start: row.start, duration: hours(row) }).collect();
    let (zone, before) = (&model.zone, Carried::default());
    let mut connection = Connection {
        import_limit: vec![site.import_limit; n],
        export_limit: vec![site.most_export(); n],
        import_price: rows.iter().map(|row| price(&site.import_price, row.start)).collect(),
        export_price: rows.iter().map(|row| price(&site.export_price, row.start)).collect(),
        carbon_intensity: rows.iter().map(|row| carbon(&site.carbon, row.start)).collect(),
        carbon_price: CarbonPrice::per_kg(model.carbon_price.as_per_kg()),
        charges: feeders::charges(&site.charges, zone, &steps, &before),
        ramping: None,
        breach_price: Price::ZERO,
    };
    let mut feeders = feeders::feeders(model, &steps, &behind(model, rows), (Price::ZERO, 0.0), &before);
    let generators = generators(model, period, rows);
    let far_above = far_above(&connection, &feeders, &generators, &steps);
    let wanted = site.breach_price.unwrap_or(breach_price(model).max(far_above));
    let breach = if site.is_island() { wanted } else { Price::per_kwh(BREACH_PRICE).max(far_above) };
    set_breach_price(&mut connection, &mut feeders, breach);
    Problem {
        connection,
        fixed: rows.iter().map(|row| row.net).collect(),
        pessimistic: None,
        reserve: None,
        // It knows what fails, and when.
        spinning: None,
        curtailable: curtailable(model)
            .into_iter()
            .enumerate()
            .map(|(at, plant)| Curtailable {
                id: model.assets[plant].name.clone(),
                available: rows.iter().map(|row| row.available[at]).collect(),
            })
            .collect(),
        storages: all_storages(model, period, rows, &steps, wanted),
        feeders,
        carbon_cap: None,
        generators,
        work: work.whole(&model.zone, period.from, period.to),
        zone: model.zone.clone(),
        steps,
    }
}

/// Batteries, and the vehicles and heat pumps that are planned with.
fn all_storages(
    model: &SiteModel,
    period: &Period,
    rows: &[Row],
    steps: &[Step],
    breach: Price,
) -> Vec<Storage> {
    let defaults =
        Defaults { breach, cheapest: Price::ZERO, wear: Price::ZERO, early: Price::ZERO, warmth: 0.0 };
    let one = |(index, asset): (usize, &Asset)| {
        let initial = |declared: Soc| period.initial.get(&asset.name).copied().unwrap_or(declared);
        match &asset.kind {
            Kind::Battery(battery) => {
                let storage = storages::battery(asset, battery, initial(battery.initial_soc_or_min()));
                Some(Storage { end_value: period.worth, ..storage })
            }
            Kind::Vehicle(vehicle) if plans_with(model, index) => {
                let soc = initial(vehicle.battery.initial_soc_or_min());
                let storage = storages::vehicle(asset, vehicle, soc, (steps, &model.zone), defaults);
                Some(driven(storage, vehicle, index, period.worth, rows))
            }
            Kind::HeatPump(heat) if plans_with(model, index) => {
                let soc = initial(storages::initial_heat(heat).clamp(Soc::ZERO, Soc::fraction(1.0)));
                Some(storages::heat_pump(asset, heat, soc, steps, &flowed(heat, index, rows), defaults))
            }
            _ => None,
        }
    };
    model.assets.iter().enumerate().filter_map(one).collect()
}

/// A vehicle that was away when it was, and came back with what it came back with.
fn driven(storage: Storage, vehicle: &Vehicle, index: usize, worth: Price, rows: &[Row]) -> Storage {
    let available = rows.iter().map(|row| row.met.get(&index) != Some(&Met::Away)).collect();
    let mut energy = vec![Energy::ZERO; rows.len()];
    for (t, row) in rows.iter().enumerate() {
        if let Some(Met::Here { used }) = row.met.get(&index) {
            // It was used before it was plugged in again.
            energy[t.saturating_sub(1)] += used.to_energy();
        }
    }
    let price = storage.dynamics.draw.as_ref().map_or(Price::per_kwh(BREACH_PRICE), |draw| draw.price);
    let mut storage = Storage { available: Some(available), end_value: worth, ..storage };
    storage.wear_cost = vehicle.battery.wear_cost.map_or(Price::ZERO, |amount| amount.value);
    storage.dynamics.draw = Some(Draw { energy, price });
    storage
}

/// What a heat pump met, as if it had been expected.
fn flowed(heat: &Heat, index: usize, rows: &[Row]) -> HeatExpected {
    let met = |row: &Row| match row.met.get(&index) {
        Some(Met::Heat { inflow_w, cop_milli }) => {
            (*cop_milli as f64 / 1000.0, Power::kw(*inflow_w as f64 / 1000.0))
        }
        _ => (heat.cop_at(row.start), Power::ZERO),
    };
    let (cop, flow) = rows.iter().map(met).unzip();
    HeatExpected { cop, flow, outside: Vec::new() }
}

/// The generators that were planned with, where they could run.
fn generators(model: &SiteModel, period: &Period, rows: &[Row]) -> Vec<Generator> {
    let chosen = model.generators().enumerate().filter(|(_, (index, _, _))| plans_with(model, *index));
    let one = |(at, (_, asset, declared))| {
        let generator = generator(asset, declared);
        Generator {
            before: period.generators.get(&asset.name).copied().unwrap_or(generator.before),
            available: Some(rows.iter().map(|row| row.may_run[at]).collect()),
            ..generator
        }
    };
    chosen.map(one).collect()
}
