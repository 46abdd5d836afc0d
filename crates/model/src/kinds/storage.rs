//! What stores energy: batteries, vehicles, heat.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use sos_units::{Energy, Power, Price, Soc};

use super::asset::PowerSource;
use super::scaling::Weekday;
use crate::declare::{choice, record};
use crate::field::Cx;
use crate::node::{Node, Value};
use crate::quantity::{Amount, Fraction, HeatCapacity, HeatLoss, Number, Temperature};
use crate::scalar::Name;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// A battery, with its limits at its terminals.
    pub struct Battery checked by check_battery {
        /// Usable energy, such as `6.4 kWh`; above zero.
        capacity: Energy, in ABOVE_ZERO;
        /// Highest charging power at the terminals, such as `5 kW`; zero or above.
        max_charge: Power, in NOT_NEGATIVE;
        /// Highest discharging power at the terminals, such as `5 kW`; zero or above.
        max_discharge: Power, in NOT_NEGATIVE;
        /// Stored energy per energy charged, above 0 and at most 1.
        charge_efficiency: Fraction = Fraction::new(0.95), in Range::above_up_to(0.0, 1.0);
        /// Delivered energy per energy taken from store, above 0 and at most 1.
        discharge_efficiency: Fraction = Fraction::new(0.95), in Range::above_up_to(0.0, 1.0);
        /// Share of the stored energy that is lost in an hour at rest, such as `0.01 %`; below 1. Of a step, energy is charged or
        /// discharged first and a part of what is then in store is lost.
        standing_loss: Fraction = Fraction::new(0.0), in Range::between(0.0, 0.99);
        /// Most charging power by state of charge at the end of a step, where it is less than `maxCharge`: points of a line that
        /// falls ever faster, such as `[{soc: 80 %, power: 5 kW}, {soc: 100 %, power: 1 kW}]`.
        charge_curve: Vec<CurvePoint> = Vec::new();
        /// Most discharging power by state of charge at the end of a step, where it is less than `maxDischarge`, in the same way.
        discharge_curve: Vec<CurvePoint> = Vec::new();
        /// Lowest state of charge, 0 … 1 or in %.
        min_soc: Soc = Soc::fraction(0.0);
        /// Highest state of charge, 0 … 1 or in %.
        max_soc: Soc = Soc::fraction(1.0);
        /// State of charge of a simulated battery at its start, 0 … 1 or in %. Default: `minSoc`.
        initial_soc: Option<Soc>;
        /// Cost of wear per energy charged and again per energy discharged, at the terminals, such as `0.01 USD/kWh`. Default:
        /// none.
        wear_cost: Option<Amount<Price>>, in NOT_NEGATIVE;
        /// More wear for energy that flows above a power, on top of `wearCost` and of one another.
        wear_above: Vec<WearAbove> = Vec::new();
        /// Cost of each kWh that is in store for an hour, such as `0.001 USD/kWh`. Default: none.
        holding_cost: Option<Amount<Price>>, in NOT_NEGATIVE;
        /// What a kWh in store is worth at the end of a plan, such as `0.1 USD/kWh`. Default: the lowest price of import of the
        /// plan, with carbon and at least zero, times `dischargeEfficiency`.
        end_value: Option<Amount<Price>>;
        /// Whether its inverter forms the grid of an island: by itself, within its limits, it takes up what loads and generation
        /// do otherwise than when it was commanded. Without one the set-points on an island leave room for that.
        grid_forming: bool = false;
        /// States of charge that are wanted by certain times.
        targets: Vec<SocTarget> = Vec::new();
    }
}

record! {
    /// A point of a curve of power by state of charge.
    pub struct CurvePoint {
        /// State of charge, 0 … 1 or in %.
        soc: Soc;
        /// Most power there, zero or above.
        power: Power, in NOT_NEGATIVE;
    }
}

record! {
    /// More wear for energy that flows above a power.
    pub struct WearAbove {
        /// Power at the terminals, charging as discharging, such as `2.5 kW`.
        power: Power, in NOT_NEGATIVE;
        /// What each kWh above costs more, such as `0.02 EUR/kWh`.
        price: Amount<Price>, in NOT_NEGATIVE;
    }
}

record! {
    /// A state of charge that is wanted by a certain time.
    pub struct SocTarget {
        /// When it is to be reached, RFC 3339 with offset. It counts at the end of the last step of a plan that ends by then.
        by: Timestamp;
        /// At least this, `minSoc` … `maxSoc`.
        soc: Soc;
        /// Price in the plan per kWh that is missing, such as `1 USD/kWh`: the wish gives way where that is cheaper. Default: as
        /// for the limits of the connection, so that it gives way only where it must.
        price: Option<Amount<Price>>, in NOT_NEGATIVE;
    }
}

record! {
    /// An electric vehicle at its charging point: a battery that is away at times. With `maxDischarge` above zero it gives back.
    pub struct Vehicle checked by check_vehicle {
        ..battery: Battery;
        /// Least power at which it charges, if it charges at all, such as `1.4 kW` for 6 A.
        min_charge: Power = Power::ZERO, in NOT_NEGATIVE;
        /// When it is away and what it uses there, in order of time.
        trips: Vec<Trip> = Vec::new();
        /// Trips that come back every week, such as to work. On a day with an entry of `trips` that leaves on it they do not count.
        routine: Vec<Routine> = Vec::new();
    }
}

record! {
    /// A time during which a vehicle is not plugged in.
    pub struct Trip checked by check_trip {
        /// When it leaves, RFC 3339 with offset. A leave before a plan begins means that it is away at first.
        leaves: Timestamp;
        /// When it is plugged in again, RFC 3339 with offset.
        returns: Timestamp;
        /// Energy from store that the trip takes, such as `8 kWh`. It counts when it leaves.
        uses: Energy = Energy::ZERO, in NOT_NEGATIVE;
        /// State of charge that is wanted when it leaves. Default: enough for the trip is all that is wanted.
        soc: Option<Soc>;
        /// Price in the plan per kWh that is missing, for the trip or from `soc`, such as `2 EUR/kWh`. Default: as for the limits
        /// of the connection.
        price: Option<Amount<Price>>, in NOT_NEGATIVE;
    }
}

record! {
    /// A trip that comes back on some days of every week, in the site's local time.
    pub struct Routine checked by check_routine {
        /// Days on which it leaves. Default: all.
        days: Vec<Weekday> = Vec::new();
        /// When it leaves, such as `"07:30"`.
        leaves: Time;
        /// When it is plugged in again, the next day where it is not after `leaves`.
        returns: Time;
        /// As of a trip.
        uses: Energy = Energy::ZERO, in NOT_NEGATIVE;
        /// As of a trip.
        soc: Option<Soc>;
        /// As of a trip.
        price: Option<Amount<Price>>, in NOT_NEGATIVE;
    }
}

record! {
    /// A heat pump or an electric heater with what it heats.
    pub struct HeatPump checked by check_heat_pump {
        /// Highest electric power, such as `3 kW`; above zero.
        max_power: Power, in ABOVE_ZERO;
        /// Least electric power, if it runs at all, such as `0.8 kW`; zero or above.
        min_power: Power = Power::ZERO, in NOT_NEGATIVE;
        /// Heat per electric energy: the coefficient of performance, above zero.
        cop: NumberSource = NumberSource::Fixed(Number::new(3.0));
        /// What it heats.
        heats: Heated;
        /// Price in the plan per kWh of heat that lacks, such as `1 EUR/kWh`. Default: as for the limits of the connection.
        lack_price: Option<Amount<Price>>, in NOT_NEGATIVE;
        /// What a kWh of heat in store is worth at the end of a plan. Default: nothing.
        end_value: Option<Amount<Price>>;
    }
}

choice! {
    /// A number that may change with time.
    pub enum NumberSource {
        /// Name of a `Signal` without unit.
        Signal(Name),
        /// The same number at all times.
        Fixed(Number),
    }
}

choice! {
    /// A temperature that may change with time.
    pub enum TemperatureSource {
        /// Name of a `Signal` in °C.
        Signal(Name),
        /// The same temperature at all times, such as `5 °C`.
        Fixed(Temperature),
    }
}

choice! {
    /// What a heat pump heats.
    pub enum Heated {
        /// A tank of hot water, or anything that stores heat by its amount.
        Tank(Tank),
        /// A building by its temperature.
        Building(Building),
    }
}

record! {
    /// A store of heat from which heat is drawn.
    pub struct Tank {
        /// Heat between empty and full, such as `10 kWh`; above zero.
        capacity: Energy, in ABOVE_ZERO;
        /// Share of it that is full at the start, 0 … 1 or in %.
        initial: Soc = Soc::fraction(0.5);
        /// Share of the stored heat that is lost in an hour; below 1.
        standing_loss: Fraction = Fraction::new(0.01), in Range::between(0.0, 0.99);
        /// Heat that is drawn, in kW of heat; with `sign: consumption` in the source of its signal, or below zero. Default: none.
        demand: Option<PowerSource>;
    }
}

record! {
    /// A building as one store of heat. It loses heat to the outside by the difference of temperatures.
    pub struct Building checked by check_building {
        /// Heat that warms it by one degree, such as `4 kWh/K`; above zero.
        heat_capacity: HeatCapacity, in ABOVE_ZERO;
        /// Heat that it loses per degree of difference, such as `150 W/K`; above zero.
        heat_loss: HeatLoss, in ABOVE_ZERO;
        /// Lowest temperature that is wanted.
        min: Temperature;
        /// Highest temperature that is wanted, above `min`.
        max: Temperature;
        /// Temperature at the start. Default: `min`.
        initial: Option<Temperature>;
        /// Temperature outside.
        outside: TemperatureSource;
        /// Heat that comes in by itself, from the sun or from people, in kW of heat, above zero. Default: none.
        gains: Option<PowerSource>;
    }
}

impl HeatPump {
    /// The signals that it is planned with.
    pub fn signals(&self) -> impl Iterator<Item = &str> {
        let cop = if let NumberSource::Signal(name) = &self.cop { Some(name) } else { None };
        let (flow, outside) = match &self.heats {
            Heated::Tank(tank) => (&tank.demand, None),
            Heated::Building(building) => (&building.gains, Some(&building.outside)),
        };
        let flow = if let Some(PowerSource::Signal(name)) = flow { Some(name) } else { None };
        let outside = if let Some(TemperatureSource::Signal(name)) = outside { Some(name) } else { None };
        [cop, flow, outside].into_iter().flatten().map(Name::as_str)
    }
}

/// The most days over which a routine is laid out: two years.
const MOST_DAYS: usize = 732;

impl Vehicle {
    /// The trips that it is away on at some time of `from..to` or that begin at its end, those of its routine among them, in order of
    /// time.
    #[must_use]
    pub fn trips_between(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Trip> {
        let mut all: Vec<Trip> = self.trips.clone();
        let date = |at: Timestamp| zone.to_datetime(at).date();
        let declared: Vec<Date> = self.trips.iter().map(|trip| date(trip.leaves)).collect();
        // One that left the day before may not be back yet.
        let first = date(from).yesterday().unwrap_or(date(from));
        let days = first.series(jiff::Span::new().days(1)).take(MOST_DAYS).take_while(|day| *day <= date(to));
        for day in days.filter(|day| !declared.contains(day)) {
            all.extend(self.routine.iter().filter_map(|routine| routine.on(zone, day)));
        }
        all.retain(|trip| trip.leaves <= to && trip.returns > from);
        all.sort_by_key(|trip| trip.leaves);
        all
    }
}

impl Routine {
    /// The trip of a day, if it leaves on it.
    fn on(&self, zone: &TimeZone, day: Date) -> Option<Trip> {
        if !self.days.is_empty() && !self.days.iter().any(|one| one.is(day.weekday())) {
            return None;
        }
        let back = if self.returns > self.leaves { day } else { day.tomorrow().ok()? };
        let at = |day: Date, time: Time| zone.to_timestamp(day.to_datetime(time)).ok();
        Some(Trip {
            leaves: at(day, self.leaves)?,
            returns: at(back, self.returns)?,
            uses: self.uses,
            soc: self.soc,
            price: self.price,
        })
    }
}

impl Building {
    /// The share of the heat between `min` and `max` that a temperature stands for: below zero where it is colder than `min`, above 1
    /// where it is warmer than `max`.
    #[must_use]
    pub fn share_at(&self, temperature: Temperature) -> Soc {
        let (min, max) = (self.min.as_celsius(), self.max.as_celsius());
        Soc::fraction((temperature.as_celsius() - min) / (max - min))
    }
}

impl Battery {
    /// The state of charge of a simulated battery at its start.
    #[must_use]
    pub fn initial_soc_or_min(&self) -> Soc {
        self.initial_soc.unwrap_or(self.min_soc)
    }
}

fn check_battery(battery: &Battery, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if battery.min_soc >= battery.max_soc {
        let key = if node.get("maxSoc").is_some() { "maxSoc" } else { "minSoc" };
        let (min, max) = (battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
        cx.report(at(key), format!("minSoc {min} is not below maxSoc {max}"), "expected minSoc < maxSoc");
    }
    if let Some(soc) = battery.initial_soc
        && (soc < battery.min_soc || soc > battery.max_soc)
    {
        let help = format!("expected {} … {}", battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
        cx.report(at("initialSoc"), "initialSoc is outside minSoc … maxSoc", help);
    }
    for (target, node) in battery.targets.iter().zip(items(node, "targets")) {
        if target.soc < battery.min_soc || target.soc > battery.max_soc {
            let position = node.get("soc").map_or(node.position, |n| n.position);
            let (min, max) = (battery.min_soc.as_fraction(), battery.max_soc.as_fraction());
            cx.report(position, "a target outside minSoc … maxSoc", format!("expected {min} … {max}"));
        }
    }
    if battery.max_charge == Power::ZERO && battery.max_discharge == Power::ZERO {
        cx.report(
            at("maxCharge"),
            "the battery can neither charge nor discharge",
            "expected a power above 0 kW",
        );
    }
    for (key, curve) in [("chargeCurve", &battery.charge_curve), ("dischargeCurve", &battery.discharge_curve)]
    {
        check_curve(curve, key, node, cx);
    }
}

/// The items of a list as they are written.
fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    match node.get(key).map(|list| &list.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// At least two points, rising in state of charge, on a line that bends downwards only.
fn check_curve(curve: &[CurvePoint], key: &str, node: &Node, cx: &mut Cx<'_>) {
    let written = items(node, key);
    if curve.len() == 1 {
        let position = written.first().map_or(node.position, |n| n.position);
        cx.report(position, format!("{key} with one point"), "expected two points or more, or none");
    }
    let mut before = f64::INFINITY;
    for (index, pair) in curve.windows(2).enumerate() {
        let position = written.get(index + 1).map_or(node.position, |n| n.position);
        let width = (pair[1].soc - pair[0].soc).as_fraction();
        if width <= 1e-6 {
            cx.report(
                position,
                "a point whose soc is not above the one before",
                "expected states of charge that rise",
            );
            return;
        }
        let slope = (pair[1].power - pair[0].power).as_kw() / width;
        if slope > before + 1e-9 {
            let help = "expected powers that rise ever slower, or fall ever faster";
            cx.report(position, "a point after which the curve bends upwards", help);
            return;
        }
        before = slope;
    }
}

fn check_vehicle(vehicle: &Vehicle, node: &Node, cx: &mut Cx<'_>) {
    if vehicle.min_charge > vehicle.battery.max_charge {
        let position = node.get("minCharge").map_or(node.position, |n| n.position);
        let (least, most) = (vehicle.min_charge, vehicle.battery.max_charge);
        let message = format!("minCharge {least:.3} is above maxCharge {most:.3}");
        cx.report(position, message, "expected minCharge ≤ maxCharge");
    }
}

fn check_trip(trip: &Trip, node: &Node, cx: &mut Cx<'_>) {
    if trip.returns <= trip.leaves {
        let position = node.get("returns").map_or(node.position, |n| n.position);
        cx.report(position, "returns is not after leaves", "expected a later time");
    }
}

fn check_routine(routine: &Routine, node: &Node, cx: &mut Cx<'_>) {
    if routine.leaves == routine.returns {
        let position = node.get("returns").map_or(node.position, |n| n.position);
        cx.report(position, "returns is when it leaves", "expected another time of day");
    }
}

fn check_heat_pump(pump: &HeatPump, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if pump.min_power > pump.max_power {
        let (least, most) = (pump.min_power, pump.max_power);
        let message = format!("minPower {least:.3} is above maxPower {most:.3}");
        cx.report(at("minPower"), message, "expected minPower ≤ maxPower");
    }
    if let NumberSource::Fixed(cop) = pump.cop
        && !(0.1..=20.0).contains(&cop.get())
    {
        cx.report(at("cop"), format!("cop {}", cop.get()), "expected 0.1 … 20");
    }
}

fn check_building(building: &Building, node: &Node, cx: &mut Cx<'_>) {
    if building.max <= building.min {
        let position = node.get("max").map_or(node.position, |n| n.position);
        cx.report(position, "max is not above min", "expected a higher temperature");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn vehicle(trips: Vec<Trip>) -> Vehicle {
        let battery = Battery {
            capacity: Energy::kwh(40.0),
            max_charge: Power::kw(7.0),
            max_discharge: Power::ZERO,
            charge_efficiency: Fraction::new(1.0),
            discharge_efficiency: Fraction::new(1.0),
            standing_loss: Fraction::new(0.0),
            charge_curve: Vec::new(),
            discharge_curve: Vec::new(),
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
            initial_soc: None,
            wear_cost: None,
            wear_above: Vec::new(),
            holding_cost: None,
            end_value: None,
            grid_forming: false,
            targets: Vec::new(),
        };
        let routine = |days: &[Weekday], leaves: &str, returns: &str| Routine {
            days: days.to_vec(),
            leaves: leaves.parse().unwrap(),
            returns: returns.parse().unwrap(),
            uses: Energy::kwh(8.0),
            soc: None,
            price: None,
        };
        let routine = vec![
            routine(&[Weekday::Mon, Weekday::Fri], "07:30", "17:00"),
            routine(&[Weekday::Sun], "20:00", "06:00"),
        ];
        Vehicle { battery, min_charge: Power::ZERO, trips, routine }
    }

    #[test]
    fn a_routine_is_laid_out_in_local_time_over_nights_and_changes_of_the_clock() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let found = |from: &str, to: &str, trips: Vec<Trip>| {
            let trips = vehicle(trips).trips_between(&zone, at(from), at(to));
            trips.iter().map(|trip| (trip.leaves.to_string(), trip.returns.to_string())).collect::<Vec<_>>()
        };
        let text = |leaves: &str, returns: &str| (leaves.to_owned(), returns.to_owned());
        // Summer time begins on Sunday 29 March 2026: 20:00 is 18:00Z then, and 07:30 is 05:30Z instead of 06:30Z.
        assert_eq!(
            found("2026-03-27T00:00:00Z", "2026-03-31T00:00:00Z", Vec::new()),
            [
                text("2026-03-27T06:30:00Z", "2026-03-27T16:00:00Z"),
                text("2026-03-29T18:00:00Z", "2026-03-30T04:00:00Z"),
                text("2026-03-30T05:30:00Z", "2026-03-30T15:00:00Z"),
            ]
        );
        let night = found("2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z", Vec::new());
        assert_eq!(night, [text("2026-03-29T18:00:00Z", "2026-03-30T04:00:00Z")], "it left the day before");
        let other = Trip {
            leaves: at("2026-03-27T09:00:00Z"),
            returns: at("2026-03-27T10:00:00Z"),
            uses: Energy::ZERO,
            soc: None,
            price: None,
        };
        let found = found("2026-03-27T00:00:00Z", "2026-03-28T00:00:00Z", vec![other]);
        assert_eq!(
            found,
            [text("2026-03-27T09:00:00Z", "2026-03-27T10:00:00Z")],
            "a trip takes the place of its day"
        );
    }
}
