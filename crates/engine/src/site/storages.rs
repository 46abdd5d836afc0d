//! What stores energy, as dispatch sees it: batteries, vehicles, heat.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_dispatch::{Draw, Dynamics, LiveStorage, SocTarget, Step, Storage};
use sos_model::{Battery, Building, Heated, Tank, Trip, Vehicle};
use sos_units::{Energy, Power, Price, Soc};

use super::model::{Asset, Heat, Kind};

/// A battery as dispatch sees it, without worth at the end and without wear.
pub(super) fn battery(asset: &Asset, battery: &Battery, soc: Soc) -> Storage {
    let curve =
        |points: &[sos_model::CurvePoint]| points.iter().map(|point| (point.soc, point.power)).collect();
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
        ordered: None,
        dynamics: Dynamics {
            retention: 1.0 - battery.standing_loss.get(),
            charge_curve: curve(&battery.charge_curve),
            discharge_curve: curve(&battery.discharge_curve),
            holding_cost: battery.holding_cost.map_or(Price::ZERO, |amount| amount.value),
            wear_above: battery.wear_above.iter().map(|wear| (wear.power, wear.price.value)).collect(),
            ..Dynamics::default()
        },
    }
}

/// Prices that a plan sets where nothing is declared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    /// Of what is missing from a target or from a use.
    pub(super) breach: Price,
    /// Of a kWh of electricity at the end of the plan.
    pub(super) cheapest: Price,
    /// Least wear.
    pub(super) wear: Price,
    /// Of each kWh that a trip needs and that is not there an hour before, two hours before, … up to [`EARLY`]: what nobody can be
    /// sure to charge in the last hour is charged before where that costs hardly more.
    pub(super) early: Price,
    /// Heat that it would rather keep above the lowest temperature, as a share of what there is room for, 0…1.
    pub(super) warmth: f64,
}

/// For how many hours before a trip its energy is wanted, if it costs hardly more.
const EARLY: i64 = 6;

/// A battery with its targets, wear and worth at the end.
pub(super) fn planned(
    asset: &Asset,
    declared: &Battery,
    soc: Soc,
    steps: &[Step],
    defaults: Defaults,
) -> Storage {
    let worth = || defaults.cheapest.max(Price::ZERO) * declared.discharge_efficiency.get();
    Storage {
        end_value: declared.end_value.map_or_else(worth, |amount| amount.value),
        wear_cost: declared.wear_cost.map_or(defaults.wear, |amount| amount.value),
        targets: targets(declared, steps, defaults.breach),
        ..battery(asset, declared, soc)
    }
}

/// The targets that fall into the steps. Each counts at the end of the last step that ends by its time; in the first step, at
/// the end of that one.
pub(super) fn targets(battery: &Battery, steps: &[Step], breach_price: Price) -> Vec<SocTarget> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let inside = battery.targets.iter().filter(|target| target.by > first.start && target.by <= last.end());
    let target = |target: &sos_model::SocTarget| SocTarget {
        step: steps.iter().rposition(|step| step.end() <= target.by).unwrap_or(0),
        soc: target.soc,
        price: target.price.map_or(breach_price, |amount| amount.value),
    };
    inside.map(target).collect()
}

/// A vehicle: a battery that is not there during its trips, each of which takes its energy when it leaves. A step in which it is
/// away for a part is one in which it is away.
pub(super) fn vehicle(
    asset: &Asset,
    declared: &Vehicle,
    soc: Soc,
    (steps, zone): (&[Step], &TimeZone),
    defaults: Defaults,
) -> Storage {
    let mut storage = planned(asset, &declared.battery, soc, steps, defaults);
    let mut available = vec![true; steps.len()];
    let mut used = vec![Energy::ZERO; steps.len()];
    let mut price = defaults.breach;
    let span = steps.first().zip(steps.last()).map(|(first, last)| (first.start, last.end()));
    let trips = span.map(|(from, to)| declared.trips_between(zone, from, to)).unwrap_or_default();
    for trip in &trips {
        let away = |step: &Step| step.start < trip.returns && step.end() > trip.leaves;
        available.iter_mut().zip(steps).filter(|(_, step)| away(step)).for_each(|(here, _)| *here = false);
        let wanted = trip.price.map_or(defaults.breach, |amount| amount.value);
        if let Some(step) = leaving(steps, trip.leaves)
            && trip.uses > Energy::ZERO
        {
            used[step] += trip.uses;
            price = price.min(wanted);
        }
        let needed = trip.soc.unwrap_or(Soc::ZERO).max(Soc::fraction(trip.uses / declared.battery.capacity));
        let needed = needed.min(declared.battery.max_soc);
        storage.targets.extend(early(steps, trip.leaves, needed, defaults.early));
        let target = departure(&storage, steps, trip);
        storage.targets.extend(target.map(|(step, soc)| SocTarget { step, soc, price: wanted }));
    }
    if available.contains(&false) {
        storage.available = Some(available);
    }
    if used.iter().any(|energy| *energy > Energy::ZERO) {
        storage.dynamics.draw = Some(Draw { energy: used, price });
    }
    storage.dynamics.min_charge = declared.min_charge;
    storage
}

/// At the end of which step what is wanted for a trip counts, and how much it is; none for a trip that has begun already. One that
/// leaves within the first step takes with it what it has: what that lacks is missing at the end of the step, after use and losses.
fn departure(storage: &Storage, steps: &[Step], trip: &Trip) -> Option<(usize, Soc)> {
    let soc = trip.soc?;
    if let Some(step) = last_before(steps, trip.leaves) {
        return Some((step, soc));
    }
    let step = leaving(steps, trip.leaves)?;
    let rest = (soc.as_fraction() - trip.uses / storage.capacity).max(0.0);
    let kept = storage.dynamics.retention.powf(steps[step].duration.get());
    Some((step, Soc::fraction(rest * kept)))
}

/// Wishes for what a trip needs in the hours before it, each of little worth.
fn early(steps: &[Step], leaves: Timestamp, soc: Soc, price: Price) -> Vec<SocTarget> {
    if price <= Price::ZERO {
        return Vec::new();
    }
    let before = |hours: i64| leaves.checked_sub(SignedDuration::from_hours(hours)).ok();
    let mut at: Vec<usize> =
        (1..=EARLY).filter_map(before).filter_map(|time| last_before(steps, time)).collect();
    at.dedup();
    at.into_iter().map(|step| SocTarget { step, soc, price }).collect()
}

/// The step in which it leaves; none for what is past or beyond the steps.
fn leaving(steps: &[Step], at: Timestamp) -> Option<usize> {
    let (first, last) = (steps.first()?, steps.last()?);
    if at <= first.start || at >= last.end() {
        return None;
    }
    steps.iter().rposition(|step| step.start <= at)
}

/// The last step that ends before something that happens at a time; none for what is past or beyond the steps.
fn last_before(steps: &[Step], at: Timestamp) -> Option<usize> {
    if at > steps.last()?.end() {
        return None;
    }
    steps.iter().rposition(|step| step.end() <= at)
}

/// What a heat pump is expected to meet in each step.
#[derive(Clone, Debug)]
pub(super) struct HeatExpected {
    /// Heat per electric energy.
    pub(super) cop: Vec<f64>,
    /// Heat that comes in by itself, kW; below zero what is drawn.
    pub(super) flow: Vec<Power>,
    /// Temperature outside, °C.
    pub(super) outside: Vec<f64>,
}

/// The heat between empty and full, and the share of it that is left after an hour.
pub(super) fn heat_store(heat: &Heat) -> (Energy, f64) {
    let store = Store::of(heat);
    (store.capacity, store.retention)
}

/// The share of heat that is declared to be in store at the start; below zero for a building that is colder than it may be, above 1
/// for one that is warmer.
pub(super) fn initial_heat(heat: &Heat) -> Soc {
    Store::of(heat).soc
}

/// A heat pump with what it heats: a store that takes in electricity and holds heat, `soc` of it now. A building that is colder than
/// its lowest temperature (`soc` below zero) counts from where it is, and what it lacks is wanted at the end of each step. One that is
/// warmer than its highest temperature (`soc` above 1) cools first.
pub(super) fn heat_pump(
    asset: &Asset,
    heat: &Heat,
    soc: Soc,
    steps: &[Step],
    expected: &HeatExpected,
    defaults: Defaults,
) -> Storage {
    let pump = &heat.pump;
    let (store, lacks) = Store::of(heat).down_to(soc);
    let mut efficiency = Vec::with_capacity(steps.len());
    let mut drawn = Vec::with_capacity(steps.len());
    for (t, step) in steps.iter().enumerate() {
        let hours = step.duration.get();
        let lasting = store.lasting(hours);
        efficiency.push(expected.cop[t] * lasting);
        let out = store.per_kelvin * (store.base - expected.outside.get(t).copied().unwrap_or(store.base));
        drawn.push(Energy::kwh((out - expected.flow[t].as_kw()) * hours * lasting));
    }
    store.cool_first(soc, steps, &mut drawn);
    let soc = soc.clamp(Soc::ZERO, Soc::fraction(1.0));
    let used = drawn.iter().any(|energy| energy.as_kwh().abs() > 0.0);
    let lack = pump.lack_price.map_or(defaults.breach, |amount| amount.value);
    let (wanted, worth) =
        if lacks > Energy::ZERO { (lacks / store.capacity, 1.0) } else { (defaults.warmth, RATHER) };
    let wish = |(step, length): (usize, &Step)| {
        let price = lack * (worth * length.duration.get().min(LONGEST_LACK));
        SocTarget { step, soc: Soc::fraction(wanted), price }
    };
    let targets = steps.iter().enumerate().filter(|_| wanted > 0.0).map(wish).collect();
    Storage {
        id: asset.name.clone(),
        capacity: store.capacity,
        soc,
        min_soc: Soc::ZERO,
        max_soc: Soc::fraction(1.0),
        max_charge: pump.max_power,
        max_discharge: Power::ZERO,
        charge_efficiency: 1.0,
        discharge_efficiency: 1.0,
        end_value: pump.end_value.map_or(Price::ZERO, |amount| amount.value),
        wear_cost: Price::ZERO,
        available: None,
        targets,
        ordered: None,
        dynamics: Dynamics {
            retention: store.retention,
            draw: used.then_some(Draw { energy: drawn, price: lack }),
            charge_efficiency: Some(efficiency),
            min_charge: pump.min_power,
            heat: true,
            ..Dynamics::default()
        },
    }
}

/// What is rather kept is worth this share of what lacks: so little that no reason speaks of it.
const RATHER: f64 = 0.009;
/// For how many hours of a step heat that lacks is priced, at most: below one, so that it never counts as a limit.
const LONGEST_LACK: f64 = 0.9;

/// What stores energy as it is now, with its declared wear; none for what does not.
pub(super) fn live(asset: &Asset, soc: Soc, now: Timestamp) -> Option<LiveStorage> {
    let worn = |declared: &Battery| {
        let wear_cost = declared.wear_cost.map_or(Price::ZERO, |amount| amount.value);
        LiveStorage { wear_cost, ..LiveStorage::of(&battery(asset, declared, soc), soc) }
    };
    match &asset.kind {
        Kind::Battery(battery) => Some(worn(battery)),
        Kind::Vehicle(vehicle) => Some(worn(&vehicle.battery)),
        Kind::HeatPump(heat) => Some(LiveStorage {
            id: asset.name.clone(),
            capacity: heat_store(heat).0,
            soc,
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
            max_charge: heat.pump.max_power,
            max_discharge: Power::ZERO,
            charge_efficiency: heat.cop_at(now),
            discharge_efficiency: 1.0,
            wear_cost: Price::ZERO,
        }),
        Kind::Solar { .. } | Kind::Load { .. } | Kind::Generator(_) => None,
    }
}

/// Heat above the lowest temperature.
struct Store {
    capacity: Energy,
    soc: Soc,
    /// Share that is left after an hour.
    retention: f64,
    /// Heat that is lost per degree between the lowest temperature and the outside, kW/K.
    per_kelvin: f64,
    /// The lowest temperature, °C.
    base: f64,
    /// Degrees between empty and full; none for a tank.
    span: f64,
}

impl Store {
    fn of(heat: &Heat) -> Self {
        match &heat.pump.heats {
            Heated::Tank(tank) => Self::of_tank(tank),
            Heated::Building(building) => Self::of_building(building),
        }
    }

    fn of_tank(tank: &Tank) -> Self {
        let retention = 1.0 - tank.standing_loss.get();
        Self { capacity: tank.capacity, soc: tank.initial, retention, per_kelvin: 0.0, base: 0.0, span: 0.0 }
    }

    /// `C · dT/dt = heat − K · (T − outside)`, with the heat above the lowest temperature as what is stored.
    fn of_building(building: &Building) -> Self {
        let (min, max) = (building.min.as_celsius(), building.max.as_celsius());
        let capacity = building.heat_capacity.as_kwh_per_kelvin();
        let loss = building.heat_loss.as_kw_per_kelvin();
        Self {
            capacity: Energy::kwh(capacity * (max - min)),
            soc: building.initial.map_or(Soc::ZERO, |initial| building.share_at(initial)),
            retention: (-loss / capacity).exp(),
            per_kelvin: loss,
            base: min,
            span: max - min,
        }
    }

    /// The same counted from where it is, if that is below empty; with the heat that lacks up to what was empty.
    fn down_to(self, soc: Soc) -> (Self, Energy) {
        let below = (-soc.as_fraction()).max(0.0);
        let lacks = self.capacity * below;
        let store = Self { capacity: self.capacity + lacks, base: self.base - below * self.span, ..self };
        (store, lacks)
    }

    /// What is drawn from a building that is warmer than full. As long as it would be even without heat, it counts as full, because
    /// that leaves no room; in the step in which it cools below full, what it had above comes in.
    fn cool_first(&self, soc: Soc, steps: &[Step], drawn: &mut [Energy]) {
        let full = self.capacity;
        let (mut counted, mut there) = (full, soc * full);
        if there <= full {
            return;
        }
        for (drawn, step) in drawn.iter_mut().zip(steps) {
            let rest = there - *drawn;
            if rest <= full {
                *drawn = counted - rest;
                return;
            }
            *drawn = counted - full;
            let kept = self.retention.powf(step.duration.get());
            (counted, there) = (full * kept, rest * kept);
        }
    }

    /// Heat that flows evenly over a step is lost less than heat that is there from its start: how much more of it is left, as a
    /// factor. The exact solution of the equation of [`Self::of_building`] for a constant flow.
    fn lasting(&self, hours: f64) -> f64 {
        let rate = -self.retention.ln() * hours;
        if rate < 1e-9 { 1.0 } else { rate.exp_m1() / rate }
    }
}

#[cfg(test)]
mod tests {
    use sos_units::Hours;

    use super::*;

    fn steps(n: i64) -> Vec<Step> {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let step = |t| Step { start: start + SignedDuration::from_hours(t), duration: Hours::new(1.0) };
        (0..n).map(step).collect()
    }

    fn store() -> Store {
        let capacity = Energy::kwh(4.0);
        Store { capacity, soc: Soc::fraction(3.0), retention: 0.5, per_kelvin: 1.0, base: 20.0, span: 2.0 }
    }

    /// What is drawn of 1 kWh in each hour from a store that begins with this share.
    fn drawn(soc: f64, hours: i64) -> Vec<f64> {
        let mut drawn = vec![Energy::kwh(1.0); usize::try_from(hours).unwrap()];
        store().cool_first(Soc::fraction(soc), &steps(hours), &mut drawn);
        drawn.iter().map(|energy| energy.as_kwh()).collect()
    }

    #[test]
    fn a_building_that_is_too_warm_ends_where_it_would_without_heat() {
        // Without heat 12 kWh become 11 / 2 = 5.5, then 4.5 / 2 = 2.25, then 1.25 / 2.
        let drawn = drawn(3.0, 3);
        assert_eq!(drawn, vec![0.0, -2.0, 0.75]);
        let after = |stored: f64, drawn: &f64| (stored - drawn) * 0.5;
        assert!((drawn.iter().fold(4.0, after) - 0.625).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_too_warm_is_drawn_from_as_it_is() {
        assert_eq!(drawn(1.0, 2), vec![1.0, 1.0]);
        assert_eq!(drawn(-0.5, 2), vec![1.0, 1.0]);
        assert_eq!(drawn(1.125, 2), vec![0.5, 1.0], "what is above full is gone in the first hour");
    }
}
