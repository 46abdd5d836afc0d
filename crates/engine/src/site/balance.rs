//! What generators do in a tick, and on an island the plants that may be turned down. Between two plans they take up, with the
//! storages and by marginal cost, what loads and renewables do otherwise than planned. Whether a generator runs is the plan's to
//! decide; only on an island, where power would lack, one starts without it or does not stop yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_dispatch::{Generator, LiveStorage, Piece, Supply, redispatch};
use sos_model::Mode;
use sos_units::{Hours, Power, Price};

use super::decide::{Snapshot, whole_watts};
use super::generators::Live;
use super::model::{Asset, Kind};
use super::people;
use super::plan;
use super::planner::LIMIT_REACHED;

/// Beyond this nothing flows over a connection without a limit.
const ANY: Power = Power::kw(1e6);
/// Limits of plants are hundredths of a percent of their rated power.
const LIMIT_STEPS: f64 = 1e4;

/// What is decided here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Balance {
    /// Every generator that is commanded.
    pub(super) runs: Vec<Run>,
    /// On an island the most that each plant may give; none for all there is.
    pub(super) plants: BTreeMap<usize, Option<Power>>,
    /// What the plants give more than in the tick before.
    pub(super) shift: Power,
}

/// What one generator does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) index: usize,
    /// Its set-point; zero stops it.
    pub(super) power: Power,
    /// While it runs, the powers that are possible in the tick; none while it starts or rests.
    pub(super) range: Option<(Power, Power)>,
    /// Why, in words.
    pub(super) because: String,
}

impl Balance {
    /// What generators give in the tick.
    pub(super) fn generated(&self) -> Power {
        self.runs.iter().filter(|run| run.range.is_some()).map(|run| run.power).sum()
    }
}

/// A generator that is commanded.
struct Unit<'a> {
    index: usize,
    asset: &'a Asset,
    declared: &'a sos_model::Generator,
    live: Live,
    generator: Generator,
    /// What people order of it.
    ordered: Option<Power>,
    call: Call,
    /// What is said of its call.
    why: String,
}

/// Whether it runs in the tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Runs,
    Starts,
    Rests,
}

/// Decides for a `need` of everything that is not chosen, with the storages that the follower moves.
pub(super) fn balance(
    snapshot: &Snapshot<'_>,
    storages: &[&LiveStorage],
    need: Power,
    tick: Hours,
) -> Balance {
    let mut units = units(snapshot);
    let island = snapshot.model.connection.is_island();
    if units.is_empty() && !island {
        return Balance::default();
    }
    if island {
        call_for_lack(snapshot, &mut units, storages, need);
    }
    let plants = if island { plants(snapshot) } else { Vec::new() };
    let running: Vec<&Unit<'_>> = units.iter().filter(|unit| unit.call == Call::Runs).collect();
    let mut supplies: Vec<Supply> = storages.iter().map(|one| stored(snapshot, one, tick)).collect();
    supplies.extend(running.iter().map(|unit| unit.supply(snapshot)));
    supplies.extend(plants.iter().map(Plant::supply));
    if !island {
        supplies.push(grid(snapshot));
    }
    let powers = redispatch(&supplies, need + plants.iter().map(|plant| plant.now).sum::<Power>());
    let (powers, rest) = powers[storages.len()..].split_at(running.len());
    let mut powers: BTreeMap<usize, Power> =
        running.iter().zip(powers).map(|(unit, power)| (unit.index, whole_watts(*power))).collect();
    let mut balance = Balance::default();
    for (plant, power) in plants.iter().zip(rest) {
        balance.turn(plant, *power);
    }
    balance.runs = units.iter().map(|unit| unit.run(snapshot, powers.remove(&unit.index))).collect();
    balance
}

/// The generators that are commanded, each as the plan wants it.
fn units<'a>(snapshot: &Snapshot<'a>) -> Vec<Unit<'a>> {
    let commanded = snapshot.model.generators().filter(|(index, asset, _)| {
        asset.mode == Mode::Control && !people::is_held(snapshot.standing, *index)
    });
    let unit = |(index, asset, declared): (usize, &'a Asset, &'a sos_model::Generator)| {
        let live = *snapshot.generators.get(&index)?;
        let soon = snapshot.now.checked_add(declared.start_time).unwrap_or(snapshot.now);
        let planned = |until: Timestamp| runs_by(snapshot, &asset.name, until);
        let (call, why) = match (live.before.on, planned(snapshot.now), planned(soon)) {
            (true, Some(false), _) => (Call::Rests, reason(snapshot, &asset.name, "stopping as planned")),
            (true, _, _) => (Call::Runs, reason(snapshot, &asset.name, "running")),
            (false, _, Some(true)) => (Call::Starts, "starting as planned".to_owned()),
            (false, _, _) => (Call::Rests, reason(snapshot, &asset.name, "off")),
        };
        let generator = plan::generator(asset, declared);
        let mut unit = Unit { index, asset, declared, live, generator, ordered: None, call, why };
        if let Some(order) = people::of(snapshot.standing, index) {
            unit.obey(order);
        }
        Some(unit)
    };
    commanded.filter_map(unit).collect()
}

/// Whether the plan has a generator running now or from a step on that begins by `until`; none without a plan.
fn runs_by(snapshot: &Snapshot<'_>, name: &str, until: Timestamp) -> Option<bool> {
    let plan = snapshot.plan?;
    let from = plan.step_at(snapshot.now)?;
    let on = &plan.schedule.generators.get(name)?.on;
    let steps = plan.problem.steps.iter().enumerate().skip(from);
    Some(steps.take_while(|(t, step)| *t == from || step.start <= until).any(|(t, _)| on[t]))
}

fn reason(snapshot: &Snapshot<'_>, name: &str, otherwise: &str) -> String {
    let planned = || {
        let plan = snapshot.plan?;
        Some(plan.schedule.because.get(name)?.get(plan.step_at(snapshot.now)?)?.text.clone())
    };
    planned().unwrap_or_else(|| otherwise.to_owned())
}

/// On an island: those that the plan stops go on, and those that rest start, the cheapest first, as long as power would lack.
fn call_for_lack(snapshot: &Snapshot<'_>, units: &mut [Unit<'_>], storages: &[&LiveStorage], need: Power) {
    let start = units.iter().map(|unit| unit.declared.start_time).max().unwrap_or_default();
    let lasts = Hours::from_seconds((start + snapshot.model.plan_every).as_secs_f64());
    let stored: Power = storages.iter().map(|storage| storage.most(lasts).1).sum();
    let counts = |unit: &&Unit<'_>| unit.call != Call::Rests;
    let running: Power = units.iter().filter(counts).map(|unit| unit.declared.max_power).sum();
    let mut lacks = need - stored - running;
    let carbon = snapshot.model.carbon_price;
    let mut order: Vec<usize> =
        (0..units.len()).filter(|i| units[*i].call == Call::Rests && units[*i].ordered.is_none()).collect();
    let price = |i: usize| units[i].generator.full_price(carbon).as_per_kwh();
    order.sort_by(|&a, &b| {
        let runs = |i: usize| !units[i].live.before.on;
        runs(a).cmp(&runs(b)).then(price(a).total_cmp(&price(b)))
    });
    for i in order {
        let unit = &mut units[i];
        let rested = unit.live.before.hours.get() + 1e-6 >= unit.generator.min_down.get();
        if lacks <= Power::kw(1e-3) || !(unit.live.before.on || rested || unit.live.ready.is_some()) {
            continue;
        }
        (unit.call, unit.why) = match unit.live.before.on {
            true => (Call::Runs, format!("not stopping yet: {lacks:.1} would lack")),
            false => (Call::Starts, format!("starting: {lacks:.1} would lack")),
        };
        lacks -= unit.declared.max_power;
    }
}

impl Unit<'_> {
    /// Takes an order of people in the place of the plan. A shortest rest holds for people too: it protects the engine.
    fn obey(&mut self, order: &people::Standing) {
        let Some(power) = order.power else { return };
        let rested = self.live.before.hours.get() + 1e-6 >= self.generator.min_down.get();
        self.ordered = Some(power);
        (self.call, self.why) = match (power > Power::ZERO, self.live.before.on) {
            (true, true) => (Call::Runs, format!("{power:.1} {}", order.because)),
            (true, false) if rested || self.live.ready.is_some() => {
                (Call::Starts, format!("starting: {power:.1} {}", order.because))
            }
            (true, false) => (Call::Rests, format!("0 kW until it has rested: {}", order.because)),
            (false, _) => (Call::Rests, format!("0 kW {}", order.because)),
        };
    }

    /// The powers that are possible in the tick.
    fn range(&self, snapshot: &Snapshot<'_>) -> (Power, Power) {
        let minutes = snapshot.model.tick_seconds() as f64 / 60.0;
        let (least, most) = (self.declared.min_power, self.declared.max_power);
        let power = self.live.before.power;
        let by = |ramp: Option<Power>| ramp.map_or(ANY, |ramp| ramp * minutes);
        let (up, down) = (by(self.asset.ramp.0), by(self.asset.ramp.1));
        let (low, high) = ((power - down).clamp(least, most), (power + up).clamp(least, most));
        self.ordered.map_or((low, high), |power| (power.clamp(low, high), power.clamp(low, high)))
    }

    fn supply(&self, snapshot: &Snapshot<'_>) -> Supply {
        let (lowest, highest) = self.range(snapshot);
        let mut from = Power::kw(self.generator.least());
        let mut pieces = Vec::new();
        for (width, price) in self.generator.pieces(snapshot.model.carbon_price) {
            let to = from + Power::kw(width);
            let width = (to.min(highest) - from.max(lowest)).max(Power::ZERO);
            pieces.push(Piece { width, price: Price::per_kwh(price) });
            from = to;
        }
        let planned =
            planned(snapshot, |plan, t| plan.generators.get(&self.asset.name)?.power.get(t).copied());
        let planned = planned.filter(|power| *power > Power::ZERO).unwrap_or(self.live.before.power);
        Supply { id: self.asset.name.clone(), planned, lowest, pieces }
    }

    fn run(&self, snapshot: &Snapshot<'_>, power: Option<Power>) -> Run {
        let index = self.index;
        match (self.call, power) {
            (Call::Runs, Some(power)) => {
                Run { index, power, range: Some(self.range(snapshot)), because: self.why.clone() }
            }
            (Call::Starts, _) => {
                // One without a least power is told apart from one that rests by a little more than nothing.
                let power = self.declared.min_power.max(self.declared.max_power * 0.01);
                Run { index, power, range: None, because: self.why.clone() }
            }
            _ => Run { index, power: Power::ZERO, range: None, because: self.why.clone() },
        }
    }
}

/// Something of the plan's step in force.
fn planned<T>(
    snapshot: &Snapshot<'_>,
    of: impl Fn(&sos_dispatch::Schedule, usize) -> Option<T>,
) -> Option<T> {
    let plan = snapshot.plan?;
    of(&plan.schedule, plan.step_at(snapshot.now)?)
}

/// A storage with what the plan's value of a stored kWh makes of its power.
fn stored(snapshot: &Snapshot<'_>, storage: &LiveStorage, tick: Hours) -> Supply {
    let (into, out) = storage.most(tick);
    let value = planned(snapshot, |plan, t| plan.shadow.stored_value.get(&storage.id)?.get(t).copied());
    let value = value.unwrap_or(Price::ZERO);
    let power = planned(snapshot, |plan, t| plan.storage.get(&storage.id)?.power.get(t).copied());
    Supply {
        id: storage.id.clone(),
        planned: power.unwrap_or(Power::ZERO),
        lowest: -into,
        pieces: vec![
            Piece { width: into, price: value * storage.charge_efficiency - storage.wear_cost },
            Piece { width: out, price: value * (1.0 / storage.discharge_efficiency) + storage.wear_cost },
        ],
    }
}

/// The exchange with the grid.
fn grid(snapshot: &Snapshot<'_>) -> Supply {
    let connection = &snapshot.model.connection;
    let (import, export) =
        (connection.import_limit.unwrap_or(ANY).min(ANY), connection.export_limit.unwrap_or(ANY).min(ANY));
    let power = planned(snapshot, |plan, t| plan.grid.get(t).copied());
    let price = snapshot.plan.and_then(|plan| {
        let (t, connection) = (plan.step_at(snapshot.now)?, &plan.problem.connection);
        Some((connection.export_price[t], connection.full_import_price(t)))
    });
    let (earned, paid) = price.unwrap_or_default();
    Supply {
        id: snapshot.model.name.clone(),
        planned: power.unwrap_or(Power::ZERO),
        lowest: -export,
        pieces: vec![Piece { width: export, price: earned.min(paid) }, Piece { width: import, price: paid }],
    }
}

/// A plant that may be turned down.
struct Plant {
    index: usize,
    /// What it gives.
    now: Power,
    /// What it could give.
    could: Power,
    rated: Power,
    /// Whether a limit holds it back.
    limited: bool,
}

impl Plant {
    fn supply(&self) -> Supply {
        let pieces = vec![Piece { width: self.could, price: Price::ZERO }];
        Supply { id: String::new(), planned: self.now, lowest: Power::ZERO, pieces }
    }
}

/// Those that may be turned down now, with what they could give: more than they do only where a limit holds them back.
fn plants(snapshot: &Snapshot<'_>) -> Vec<Plant> {
    let plant = |(index, asset): (usize, &Asset)| {
        let Kind::Solar { peak, curtailable: true, .. } = asset.kind else { return None };
        if asset.mode != Mode::Control || people::is_held(snapshot.standing, index) {
            return None;
        }
        let reading = snapshot.readings[index].ok()?;
        let now = reading.power.max(Power::ZERO);
        let limited = reading.setpoint.is_some_and(|limit| now >= limit - LIMIT_REACHED);
        let available = snapshot.plan.and_then(|plan| plan.available(&asset.name, snapshot.now));
        let could = if limited { available.unwrap_or(now).clamp(now, peak.max(now)) } else { now };
        let most = people::of(snapshot.standing, index).and_then(|order| order.power);
        let could = most.map_or(could, |most| could.min(most.max(Power::ZERO)));
        Some(Plant { index, now, could, rated: peak, limited })
    };
    snapshot.model.assets.iter().enumerate().filter_map(plant).collect()
}

impl Balance {
    /// Takes over what a plant shall give: a limit where it holds it back now or did so before.
    fn turn(&mut self, plant: &Plant, power: Power) {
        if !plant.limited && power >= plant.now - Power::kw(1e-3) {
            self.plants.insert(plant.index, None);
            return;
        }
        let steps = (power / plant.rated * LIMIT_STEPS + 1e-6).floor().clamp(0.0, LIMIT_STEPS);
        let limit = whole_watts(plant.rated * (steps / LIMIT_STEPS));
        self.plants.insert(plant.index, Some(limit));
        self.shift += limit - plant.now;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sos_device::protocol::Engine;
    use sos_units::{Energy, Missing, Reading, Soc};

    use super::super::decide::{Order, decide};
    use super::super::generators::Book;
    use super::super::links::AssetReading;
    use super::super::testing;
    use super::*;

    /// Orders on an island without a plan: for a state of charge, a load, and what the generator's device says.
    fn decided(soc: f64, load: f64, set: Option<(f64, Engine)>) -> BTreeMap<&'static str, Order> {
        ordered(soc, load, set, None)
    }

    /// The same with an order of its power.
    fn ordered(
        soc: f64,
        load: f64,
        set: Option<(f64, Engine)>,
        power: Option<f64>,
    ) -> BTreeMap<&'static str, Order> {
        let model = testing::island();
        let reading = |kw: f64, engine: Option<Engine>| AssetReading {
            power: Power::kw(kw),
            soc: None,
            counter: None,
            counter_range: None,
            setpoint: None,
            engine,
        };
        let readings: Vec<Reading<AssetReading>> = vec![
            Ok(reading(0.0, None)),
            Ok(reading(-load, None)),
            set.map(|(kw, engine)| reading(kw, Some(engine))).ok_or(Missing::Unavailable),
        ];
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let generators = Book::default().see(&model, now, &readings);
        let socs = BTreeMap::from([(0, Soc::fraction(soc))]);
        let order = |kw: f64| people::Standing {
            asset: 2,
            power: Some(Power::kw(kw)),
            until: "2026-01-01T02:00:00Z".parse().unwrap(),
            by: ["anna".into(), "test run".into()],
            because: "ordered by anna until 02:00: test run".into(),
        };
        let standing: Vec<people::Standing> = power.into_iter().map(order).collect();
        let (orders, _) = decide(&Snapshot {
            model: &model,
            now,
            readings: &readings,
            socs: &socs,
            generators: &generators,
            plan: None,
            standing: &standing,
            next: None,
            next_behind: &[],
            carried: &super::super::carried::Carried::default(),
            work: Power::ZERO,
            reserve: Energy::ZERO,
        });
        orders.into_iter().map(|order| (["battery", "load", "set"][order.asset], order)).collect()
    }

    fn kw(orders: &BTreeMap<&'static str, Order>, asset: &str) -> f64 {
        orders[asset].power.unwrap().as_kw()
    }

    #[test]
    fn people_start_stop_and_set_a_generator_within_what_it_can() {
        let set = |orders: BTreeMap<&'static str, Order>| {
            let order = &orders["set"];
            (order.power, order.because.clone())
        };
        let (power, because) = set(ordered(0.5, 2.0, Some((0.0, Engine::Off)), Some(6.0)));
        assert_eq!(power, Some(Power::kw(4.0)), "it is started at its least");
        assert!(because.starts_with("starting: 6.0 kW ordered by anna"), "{because}");
        let (power, because) = set(ordered(0.5, 2.0, Some((5.0, Engine::Running)), Some(6.0)));
        assert_eq!((power, because.starts_with("6.0 kW ordered by anna")), (Some(Power::kw(6.0)), true));
        let (power, _) = set(ordered(0.5, 2.0, Some((5.0, Engine::Running)), Some(99.0)));
        assert_eq!(power, Some(Power::kw(10.0)), "its most");
        let (power, because) = set(ordered(0.0, 9.0, Some((5.0, Engine::Running)), Some(0.0)));
        assert_eq!(power, Some(Power::ZERO), "even where power lacks: {because}");
    }

    #[test]
    fn a_generator_that_runs_and_the_battery_meet_the_load_together() {
        let orders = decided(0.5, 7.5, Some((6.0, Engine::Running)));
        assert!((kw(&orders, "battery") + kw(&orders, "set") - 7.5).abs() < 1e-9, "{orders:?}");
        assert!((4.0..=10.0).contains(&kw(&orders, "set")) && orders["set"].write, "{orders:?}");
        let orders = decided(0.5, 1.0, Some((4.0, Engine::Running)));
        assert_eq!((kw(&orders, "set"), kw(&orders, "battery")), (4.0, -3.0), "its least goes into store");
    }

    #[test]
    fn one_that_rests_starts_without_a_plan_only_where_power_would_lack() {
        let orders = decided(0.9, 3.0, Some((0.0, Engine::Off)));
        assert_eq!((kw(&orders, "set"), kw(&orders, "battery")), (0.0, 3.0), "the battery carries the load");
        let orders = decided(0.05, 4.5, Some((0.0, Engine::Off)));
        assert!(kw(&orders, "set") > 0.0 && orders["set"].because.contains("would lack"), "{orders:?}");
    }

    #[test]
    fn one_that_failed_or_is_silent_gets_no_orders() {
        assert!(!decided(0.05, 4.5, Some((0.0, Engine::Fault))).contains_key("set"));
        assert!(!decided(0.05, 4.5, None).contains_key("set"));
    }
}
