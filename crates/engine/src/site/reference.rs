//! The reference case `perfect`: one optimisation that knew the period, with the same physics. Made afterwards, in a
//! process of its own, so that it takes neither time nor memory of the loop.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_dispatch::{Connection, Curtailable, Problem, Schedule, Step, Storage, perfect};
use sos_store::{Store, StoreError};
use sos_units::{CarbonPrice, Emissions, Energy, Hours, Missing, Money, Power, Price, Reading, Soc};

use super::account::{carbon, price};
use super::model::{Kind, SiteModel};
use super::plan::{plans_with, storage};
use super::telemetry::{AVAILABLE, DEVICE, ESTIMATE, labels, own_power};
use super::view::{Column, column};
use super::work::WorkBook;

/// A kWh beyond a limit costs this much more than any energy, so that the case breaks a limit only where it must.
const BREACH_PRICE: f64 = 100.0;

/// What the optimisation found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerfectCase {
    /// Import paid less export earned.
    pub cost: f64,
    /// Emissions of what was imported, kg.
    pub emissions_kg: f64,
    /// Cost and priced emissions less the value of what is stored at the end.
    pub objective: f64,
    /// Steps above a limit.
    pub limit_violations: u64,
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
    let (mut cost, mut emissions, mut violations) = (Money::ZERO, Emissions::ZERO, 0);
    for (t, (step, row)) in problem.steps.iter().zip(&measured).enumerate() {
        let grid = schedule.grid[t];
        let (import, export) =
            (grid.max(Power::ZERO) * step.duration, (-grid).max(Power::ZERO) * step.duration);
        cost += problem.connection.import_price[t] * import;
        cost -= problem.connection.export_price[t] * export;
        emissions += problem.connection.carbon_intensity[t] * import;
        let over =
            |limit: Option<Power>, flow: Power| limit.is_some_and(|limit| flow > limit + Power::kw(1e-4));
        let breached =
            over(model.connection.import_limit, grid) || over(model.connection.export_limit, -grid);
        violations += if breached { row.ticks } else { 0 };
    }
    let stored: Energy =
        schedule.storage.values().filter_map(|storage| storage.stored_after.last().copied()).sum();
    let objective =
        cost + model.carbon_price * emissions + unserved(&problem, schedule) - period.worth * stored;
    Ok(PerfectCase {
        cost: cost.get(),
        emissions_kg: emissions.as_kg(),
        objective: objective.get(),
        limit_violations: violations,
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
    let batteries: BTreeSet<usize> = model.batteries().map(|(index, _, _)| index).collect();
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
        let rest = (0..own.len()).filter(|index| !batteries.contains(index) && !plants.contains(index));
        let net = rest.map(|index| own[index]).try_fold(Power::ZERO, |sum, power| power.map(|p| sum + p));
        if let (Ok(net), Ok(given)) = (net, given.collect::<Reading<Vec<Power>>>()) {
            last = (net, given.into_iter().map(|power| power.max(Power::ZERO)).collect());
        }
        let same = |row: &Row| {
            (row.net, &row.available) == (last.0, &last.1) && same_prices(model, row.start, start)
        };
        match rows.last_mut().filter(|row| same(row)) {
            Some(row) => row.ticks += 1,
            None => rows.push(Row { start, ticks: 1, net: last.0, available: last.1.clone() }),
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
            export_limit: vec![site.export_limit; n],
            import_price: rows.iter().map(|row| price(&site.import_price, row.start)).collect(),
            export_price: rows.iter().map(|row| price(&site.export_price, row.start)).collect(),
            carbon_intensity: rows.iter().map(|row| carbon(&site.carbon, row.start)).collect(),
            carbon_price: CarbonPrice::per_kg(model.carbon_price.as_per_kg()),
            breach_price: Price::per_kwh(BREACH_PRICE),
        },
        fixed: rows.iter().map(|row| row.net).collect(),
        pessimistic: None,
        reserve: None,
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
                ..storage(
                    asset,
                    battery,
                    period.initial.get(&asset.name).copied().unwrap_or(battery.initial_soc_or_min()),
                )
            })
            .collect(),
        generators: Vec::new(),
        work: work.whole(&model.zone, period.from, period.to),
        zone: model.zone.clone(),
    }
}
