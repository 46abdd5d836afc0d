//! The site as it is shown, and as it is learned again after a restart.

use jiff::{SignedDuration, Timestamp};
use sos_model::{Charge, Charged};
use sos_store::{Store, StoreError};
use sos_units::{Energy, Missing, Power, Reading, Soc};

use super::ledger::Case;
use super::model::{Kind, SiteModel};
use super::outlook::Outlook;
use super::people;
use super::task::{Site, before, carbon_now};
use super::telemetry::{AVAILABLE, DEVICE, GRID, PLANNED, SOC, grid, labels, own_power};
use crate::live::{AssetState, ChargeState, ChartPoint, Compared, FeederState, SiteState};

/// How far back forecasters learn from after a restart.
const LEARN_FROM: SignedDuration = SignedDuration::from_hours(24 * 60);
/// The most points of a chart.
const MAX_POINTS: usize = 5_000;

/// The picture of a site at its latest tick.
pub(super) fn state(site: &Site, now: Timestamp) -> SiteState {
    let model = &site.task.model;
    let ended = before(now, model.tick);
    let sum = |wanted: fn(&Kind) -> bool| -> Reading<Power> {
        let chosen = model.assets.iter().zip(&site.own).filter(|(asset, _)| wanted(&asset.kind));
        chosen.map(|(_, power)| *power).try_fold(Power::ZERO, |sum, power| Ok(sum + power?))
    };
    let assets = (0..model.assets.len()).map(|index| asset(site, index)).collect();
    let stored = site.stored();
    SiteState {
        site: model.name.clone(),
        zone: model.zone.clone(),
        time: now,
        tick: site.tick,
        step: model.tick,
        speed: site.task.clock.speed,
        currency: model.currency.clone(),
        island: model.connection.is_island(),
        grid: grid(model, &site.own, site.work_power),
        import_limit: model.connection.import_limit,
        export_limit: model.connection.export_limit,
        feeders: (0..model.feeders.len()).map(|place| feeder(site, place, now)).collect(),
        charges: charges(site, ended),
        carbon_cap: model
            .carbon_cap
            .as_ref()
            .filter(|cap| cap.per.is_some())
            .map(|cap| (cap.most.as_kg(), site.carried.emissions(model, ended).as_kg())),
        price: connected(model, || super::account::price(&model.connection.import_price, now)),
        carbon: connected(model, || carbon_now(model, ended)),
        totals: site.accounts.totals(model, stored, site.worth(), site.task.work.unserved().1),
        solar: sum(|kind| matches!(kind, Kind::Solar { .. })),
        load: sum(|kind| matches!(kind, Kind::Load { .. } | Kind::Vehicle(_) | Kind::HeatPump(_))),
        battery: sum(|kind| matches!(kind, Kind::Battery(_))),
        work: site.work_power,
        waiting: site.task.work.errands.shown(),
        soc: all_soc(model, |index| site.socs.get(&index).copied()).ok_or(Missing::Unavailable),
        assets,
        plan: site.plan.as_ref().map(super::plan::SitePlan::state),
        plans: site.stats.plans,
        fallbacks: site.stats.fallbacks,
        forecasts: site.outlook.states(model),
    }
}

/// A figure of the connection; an island has none.
fn connected<T>(model: &SiteModel, figure: impl Fn() -> T) -> Reading<T> {
    if model.connection.is_island() { Err(Missing::Unavailable) } else { Ok(figure()) }
}

/// The stored share of all batteries' capacity, when every state of charge is known.
fn all_soc(model: &SiteModel, soc: impl Fn(usize) -> Option<Soc>) -> Option<Soc> {
    let (mut stored, mut capacity) = (Energy::ZERO, Energy::ZERO);
    for (index, _, battery) in model.batteries() {
        stored += soc(index)? * battery.capacity;
        capacity += battery.capacity;
    }
    (capacity > Energy::ZERO).then(|| Soc::fraction(stored / capacity))
}

fn feeder(site: &Site, place: usize, now: Timestamp) -> FeederState {
    let model = &site.task.model;
    let members = site.own.iter().enumerate().filter(|(asset, _)| model.is_behind(*asset, place));
    let measured = members.filter(|(asset, _)| model.assets[*asset].via.is_some());
    let power: Reading<Power> = measured.map(|(_, power)| *power).sum();
    FeederState {
        name: model.feeders[place].name.clone(),
        power: power.map(|power| -power),
        import_limit: super::feeders::most_import(model, place, now, now + model.tick),
        export_limit: model.feeders[place].export_limit,
    }
}

fn charges(site: &Site, at: Timestamp) -> Vec<ChargeState> {
    let (model, ledger) = (&site.task.model, site.accounts.ledger());
    let charge = |(place, charge): (Option<usize>, &Charge)| {
        let (actual, baseline) = site.accounts.counted(model, charge, at);
        let cost =
            |case: &Case| case.charges.get(charge.name.as_str()).map_or(0.0, |cost| cost.to_money().get());
        ChargeState {
            name: charge.name.to_string(),
            feeder: place.map(|place| model.feeders[place].name.clone()),
            unit: if matches!(charge.on, Charged::Peak(_)) { "kW" } else { "kWh" },
            so_far: Compared { actual, baseline },
            cost: Compared { actual: cost(&ledger.actual), baseline: cost(&ledger.baseline) },
        }
    };
    model.charges().map(charge).collect()
}

fn asset(site: &Site, index: usize) -> AssetState {
    let asset = &site.task.model.assets[index];
    let order = site.orders.iter().find(|order| order.asset == index);
    let held = people::of(&site.standing, index).filter(|order| order.is_hold());
    let reason = match (site.failures.get(&index), order) {
        _ if held.is_some() => held.map(|order| order.because.clone()).unwrap_or_default(),
        (Some(why), _) => format!("unavailable: {why}"),
        (None, Some(order)) if order.write => order.because.clone(),
        (None, Some(order)) => format!("advice only: {}", order.because),
        (None, None) => String::new(),
    };
    AssetState {
        name: asset.name.clone(),
        kind: asset.kind.word(),
        mode: asset.mode.to_string(),
        group: asset.group.clone(),
        power: if site.failures.contains_key(&index) { Err(Missing::Unavailable) } else { site.own[index] },
        soc: matches!(asset.kind, Kind::Battery(_) | Kind::Vehicle(_) | Kind::HeatPump(_))
            .then(|| site.readings[index].and_then(|reading| reading.soc.ok_or(Missing::Invalid))),
        setpoint: order.filter(|order| order.write).and_then(|order| order.power),
        reason,
    }
}

/// Teaches the forecasters what was measured before a restart.
pub(super) fn relearn(
    store: &Store,
    model: &SiteModel,
    outlook: &mut Outlook,
    now: Timestamp,
) -> Result<(), StoreError> {
    let from = now.checked_sub(LEARN_FROM).unwrap_or(Timestamp::MIN);
    let until = now + SignedDuration::from_secs(1);
    let (mut columns, mut available) = (Vec::new(), Vec::new());
    for asset in &model.assets {
        let labels = labels(&model.name, Some(&asset.name));
        columns.push(column(store, DEVICE, &labels, from, until)?);
        available.push(column(store, AVAILABLE, &labels, from, until)?);
    }
    let mut ends: Vec<Timestamp> = columns.iter().flat_map(|column| column.keys().copied()).collect();
    ends.sort();
    ends.dedup();
    for end in ends {
        let at = |column: &Column| column.get(&end).copied().unwrap_or(Err(Missing::Gap)).map(Power::kw);
        let device: Vec<Reading<Power>> = columns.iter().map(at).collect();
        let mut own = own_power(model, &device);
        for (own, could) in own.iter_mut().zip(&available) {
            if let Some(Ok(kw)) = could.get(&end) {
                *own = Ok(Power::kw(*kw));
            }
        }
        outlook.observe(before(end, model.tick), end, end, &own);
    }
    outlook.observe_signals(model, now);
    Ok(())
}

pub(super) type Column = std::collections::BTreeMap<Timestamp, Reading<f64>>;

/// The latest known values of a series by the end of their step; empty for an unknown series.
pub(super) fn column(
    store: &Store,
    name: &str,
    labels: &std::collections::BTreeMap<String, String>,
    from: Timestamp,
    until: Timestamp,
) -> Result<Column, StoreError> {
    let Some(series) = store.find_series_id(name, labels)? else { return Ok(Column::new()) };
    Ok(store.range(series, from..until, None)?.into_iter().map(|point| (point.time, point.value)).collect())
}

/// Plan against actual: the steps measured in `from..to`.
///
/// # Errors
/// What the store says.
pub fn chart(
    store: &Store,
    model: &SiteModel,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ChartPoint>, StoreError> {
    // A series holds means at the end of their step; the chart shows them at the start.
    let step = model.tick;
    let most = SignedDuration::from_secs(model.tick_seconds().saturating_mul(MAX_POINTS as i64));
    let from = from.max(to.checked_sub(most).unwrap_or(Timestamp::MIN));
    let (first, last) = (from + step, to + step);
    let own = labels(&model.name, None);
    let site = |name: &str| column(store, name, &own, first, last);
    let (grid, planned) = (site(GRID)?, site(PLANNED)?);
    let each = |name: &str, wanted: fn(&Kind) -> bool| -> Result<Vec<(usize, Column)>, StoreError> {
        let assets = model.assets.iter().enumerate().filter(|(_, asset)| wanted(&asset.kind));
        assets
            .map(|(i, asset)| {
                Ok((i, column(store, name, &labels(&model.name, Some(&asset.name)), first, last)?))
            })
            .collect()
    };
    let power = super::telemetry::POWER;
    let solar = each(power, |kind| matches!(kind, Kind::Solar { .. }))?;
    let load = each(power, |kind| matches!(kind, Kind::Load { .. } | Kind::Vehicle(_) | Kind::HeatPump(_)))?;
    let soc = each(SOC, |kind| matches!(kind, Kind::Battery(_)))?;
    let value = |column: &Column, end: &Timestamp| column.get(end).and_then(|value| value.ok());
    let sum = |columns: &[(usize, Column)], end: &Timestamp| -> Option<Power> {
        columns.iter().try_fold(0.0, |sum, (_, c)| Some(sum + value(c, end)?)).map(Power::kw)
    };
    let points = grid.keys().map(|end| ChartPoint {
        time: before(*end, step),
        grid: value(&grid, end).map(Power::kw),
        planned_grid: value(&planned, end).map(Power::kw),
        solar: sum(&solar, end),
        load: sum(&load, end),
        soc: all_soc(model, |index| {
            let column = soc.iter().find(|(i, _)| *i == index)?;
            value(&column.1, end).map(Soc::fraction)
        }),
        price: Some(super::account::price(&model.connection.import_price, before(*end, step))),
    });
    Ok(points.collect())
}
