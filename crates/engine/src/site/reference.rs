//! The reference case `perfect`: one optimisation that knew the period, with the same physics. Made afterwards, in a
//! process of its own, so that it takes neither time nor memory of the loop.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_dispatch::{Before, Connection, Curtailable, Generator, Problem, Schedule, Step, Storage, perfect};
use sos_store::{Store, StoreError};
use sos_units::{CarbonPrice, Emissions, Energy, Hours, Missing, Money, Power, Price, Reading, Soc};

use super::account::{carbon, price};
use super::model::{Kind, SiteModel};
use super::plan::{breach_price, generator, plans_with};
use super::storages;
use super::telemetry::{AVAILABLE, DEVICE, ESTIMATE, labels, own_power};
use super::view::{Column, column};
use super::work::WorkBook;

/// A kWh beyond a limit costs this much more than any energy, so that the case breaks a limit only where it must.
const BREACH_PRICE: f64 = 100.0;

/// What the optimisation found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerfectCase {
    /// Import paid less export earned, fuel and starts of generators.
    pub cost: f64,
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
    /// States of charge at the start, by battery.
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
    let problem = problem(model, work, period, &measured);
    let solved = perfect(&problem).map_err(|error| error.to_string())?;
    let schedule = &solved.schedule;
    let island = model.connection.is_island();
    let mut cost = solved.costs.fuel + solved.costs.starts;
    let (mut emissions, mut violations) = (Emissions::ZERO, 0);
    let mut lacking = Energy::ZERO;
    for (t, (step, row)) in problem.steps.iter().zip(&measured).enumerate() {
        let grid = schedule.grid[t];
        let (import, export) =
            (grid.max(Power::ZERO) * step.duration, (-grid).max(Power::ZERO) * step.duration);
        cost += problem.connection.import_price[t] * import;
        cost -= problem.connection.export_price[t] * export;
        emissions += problem.connection.carbon_intensity[t] * import;
        let over =
            |limit: Option<Power>, flow: Power| limit.is_some_and(|limit| flow > limit + Power::kw(1e-4));
        for generator in &problem.generators {
            let power = schedule.generators.get(&generator.id).map_or(Power::ZERO, |plan| plan.power[t]);
            emissions += generator.emissions * (power * step.duration);
        }
        // On an island what is beyond its limit of zero is unserved, or lost.
        lacking += if island { import } else { Energy::ZERO };
        let breached = over(model.connection.import_limit, grid)
            || (!island && over(model.connection.export_limit, -grid));
        violations += if breached { row.ticks } else { 0 };
    }
    let stored: Energy =
        schedule.storage.values().filter_map(|storage| storage.stored_after.last().copied()).sum();
    let objective =
        cost + model.carbon_price * emissions + unserved(&problem, schedule) + breach_price(model) * lacking
            - period.worth * stored;
    Ok(PerfectCase {
        cost: cost.get(),
        emissions_kg: emissions.as_kg(),
        objective: objective.get(),
        limit_violations: violations,
        unserved_kwh: lacking.as_kwh(),
    })
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
    /// What each plant that may be turned down could give, in the order of [`curtailable`].
    available: Vec<Power>,
    /// Whether each generator could run, in the order of the site's.
    may_run: Vec<bool>,
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
    let burning = model.generators().map(|(index, _, _)| index).filter(|index| plans_with(model, *index));
    let chosen: BTreeSet<usize> = batteries.chain(burning).collect();
    let plants = curtailable(model);
    let mut rows: Vec<Row> = Vec::new();
    let mut last = (Power::ZERO, vec![Power::ZERO; plants.len()]);
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
        let net = rest.map(|index| own[index]).try_fold(Power::ZERO, |sum, power| power.map(|p| sum + p));
        if let (Ok(net), Ok(given)) = (net, given.collect::<Reading<Vec<Power>>>()) {
            last = (net, given.into_iter().map(|power| power.max(Power::ZERO)).collect());
        }
        let may_run: Vec<bool> = model
            .generators()
            .map(|(index, _, _)| told(&available[index], &end) != Ok(Power::ZERO))
            .collect();
        let same = |row: &Row| {
            (row.net, &row.available, &row.may_run) == (last.0, &last.1, &may_run)
                && same_prices(model, row.start, start)
        };
        match rows.last_mut().filter(|row| same(row)) {
            Some(row) => row.ticks += 1,
            None => rows.push(Row { start, ticks: 1, net: last.0, available: last.1.clone(), may_run }),
        }
        start = end;
    }
    Ok(rows)
}

/// The value of the step that ends at `end`.
fn told(column: &Column, end: &Timestamp) -> Reading<Power> {
    column.get(end).copied().unwrap_or(Err(Missing::Gap)).map(Power::kw)
}

fn same_prices(model: &SiteModel, a: Timestamp, b: Timestamp) -> bool {
    let site = &model.connection;
    price(&site.import_price, a) == price(&site.import_price, b)
        && price(&site.export_price, a) == price(&site.export_price, b)
        && carbon(&site.carbon, a) == carbon(&site.carbon, b)
}

fn problem(model: &SiteModel, work: &WorkBook, period: &Period, rows: &[Row]) -> Problem {
    let n = rows.len();
    let tick = Hours::from_seconds(model.tick_seconds() as f64);
    let site = &model.connection;
    let hours = |row: &Row| Hours::new(tick.get() * row.ticks as f64);
    Problem {
        steps: rows.iter().map(|row| Step { start: row.start, duration: hours(row) }).collect(),
        connection: Connection {
            import_limit: vec![site.import_limit; n],
            export_limit: vec![site.most_export(); n],
            import_price: rows.iter().map(|row| price(&site.import_price, row.start)).collect(),
            export_price: rows.iter().map(|row| price(&site.export_price, row.start)).collect(),
            carbon_intensity: rows.iter().map(|row| carbon(&site.carbon, row.start)).collect(),
            carbon_price: CarbonPrice::per_kg(model.carbon_price.as_per_kg()),
            charges: Vec::new(),
            ramping: None,
            breach_price: if site.is_island() { breach_price(model) } else { Price::per_kwh(BREACH_PRICE) },
        },
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
        storages: model
            .batteries()
            .map(|(_, asset, battery)| Storage {
                end_value: period.worth,
                ..storages::battery(
                    asset,
                    battery,
                    period.initial.get(&asset.name).copied().unwrap_or(battery.initial_soc_or_min()),
                )
            })
            .collect(),
        feeders: Vec::new(),
        carbon_cap: None,
        generators: generators(model, period, rows),
        work: work.whole(&model.zone, period.from, period.to),
        zone: model.zone.clone(),
    }
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
