//! Between two plans: set-points that hold the plan's intent on what is measured now.
//!
//! In this order, for all storages together (`need` = deficit of everything else, kW):
//!
//! 1. surplus is absorbed, unless export earns more than it would be worth in store;
//! 2. where the plan discharges in a dear step and covers most of the forecast need: the measured need is covered,
//!    whatever it is; elsewhere a planned discharge goes down to the planned energy, and never into worthless export;
//! 3. where the plan buys: charging up to the planned energy at the pace that gets there in time;
//! 4. economic discharge stops at the energy reserved for the connection's limit;
//! 5. buying is gentle: it brings import to a share of the limit only;
//! 6. the limits hold with the pessimistic (import) and optimistic (export) net power, beyond the reserve too;
//! 7. nobody is asked for more than it can do in the tick.
//!
//! Why the plan's power is not simply held: following the meter in dear steps and absorbing all surplus is worth
//! far more than a better forecast (measured on a year of five homes: 70 % of the possible saving by holding, 84 %
//! by following, both without limits).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Hours, Power, Price, Soc};

use crate::connection::Connection;
use crate::group::level;
use crate::problem::{Problem, Storage};
use crate::schedule::{BreachKind, Reason, ReasonCode, Schedule};

/// What the plan wants of one storage in the step in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorageIntent {
    /// Planned mean power, kW, site sign.
    pub power: Power,
    /// Planned energy at the step's end, kWh.
    pub stored_after: Energy,
    /// Value of a stored kWh; `None` when a rule made the plan.
    pub value: Option<Price>,
}

/// The step of the plan that is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Planned exchange with the grid, kW, import positive.
    pub grid: Power,
    /// Net power of everything but storages that the plan was made with, kW, site sign.
    pub net: Power,
    /// Price of import, carbon included.
    pub import_price: Price,
    /// Earned by export.
    pub export_price: Price,
    /// Whether import is dear: above the middle between the lowest and the highest price of the horizon.
    pub dear: bool,
    /// Per storage.
    pub storage: BTreeMap<String, StorageIntent>,
    /// Time left in the step, hours; a tick at least.
    pub time_left: Hours,
}

impl PlanStep {
    /// The step of a schedule that is in force at `now`, if the schedule reaches there, at the site's connection.
    #[must_use]
    pub fn at(problem: &Problem, schedule: &Schedule, now: jiff::Timestamp) -> Option<Self> {
        Self::behind(problem, schedule, now, None, |_| true)
    }

    /// The same at a feeder; `None` is the connection. Only the storages that `follows` knows are chosen there, whatever else is
    /// behind it is part of the net power. Prices add up on the way to the grid.
    #[must_use]
    pub fn behind(
        problem: &Problem,
        schedule: &Schedule,
        now: jiff::Timestamp,
        feeder: Option<&str>,
        follows: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let t = problem.steps.iter().rposition(|step| step.start <= now)?;
        let end = problem.steps[t].end();
        let grid = match feeder {
            None => *schedule.grid.get(t)?,
            Some(feeder) => *schedule.feeders.get(feeder)?.get(t)?,
        };
        if now >= end {
            return None;
        }
        let mut storage = BTreeMap::new();
        let mut net = -grid;
        for (id, plan) in &schedule.storage {
            let value = schedule.shadow.stored_value.get(id).and_then(|values| values.get(t)).copied();
            let (power, stored_after) = (*plan.power.get(t)?, *plan.stored_after.get(t)?);
            // What people ordered is not the follower's to choose: it is part of the net power.
            let ordered = problem.storages.iter().any(|s| s.id == *id && s.ordered_in(t).is_some());
            if ordered || !follows(id) {
                continue;
            }
            net -= power;
            storage.insert(id.clone(), StorageIntent { power, stored_after, value });
        }
        let way = way(problem, feeder);
        let price = |t: usize| way.iter().map(|one| one.full_import_price(t)).sum::<Price>();
        let low = (0..problem.len()).map(price).reduce(Price::min)?;
        let high = (0..problem.len()).map(price).reduce(Price::max)?;
        Some(Self {
            grid,
            net,
            import_price: price(t),
            export_price: way.iter().map(|one| one.export_price[t]).sum(),
            dear: price(t) > (low + high) * 0.5,
            storage,
            time_left: Hours::from_seconds(end.duration_since(now).as_secs_f64()),
        })
    }
}

/// The connections on the way from a feeder to the grid: its own, those that it is behind, and the site's.
fn way<'a>(problem: &'a Problem, feeder: Option<&str>) -> Vec<&'a Connection> {
    let own = feeder.and_then(|id| problem.feeders.iter().find(|one| one.id == id));
    let outer =
        problem.feeders.iter().filter(|one| own.is_some_and(|own| own.members.is_subset(&one.members)));
    std::iter::once(&problem.connection).chain(outer.map(|one| &one.connection)).collect()
}

/// A storage as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveStorage {
    /// The storage.
    pub id: String,
    /// Usable capacity, kWh.
    pub capacity: Energy,
    /// State of charge now, 0…1.
    pub soc: Soc,
    /// Lowest state of charge.
    pub min_soc: Soc,
    /// Highest state of charge.
    pub max_soc: Soc,
    /// Most charging power, kW, zero or above.
    pub max_charge: Power,
    /// Most discharging power, kW, zero or above.
    pub max_discharge: Power,
    /// Stored per taken energy.
    pub charge_efficiency: f64,
    /// Delivered per withdrawn energy.
    pub discharge_efficiency: f64,
    /// Wear per kWh at the terminals.
    pub wear_cost: Price,
}

impl LiveStorage {
    /// A planned storage at another state of charge.
    #[must_use]
    pub fn of(storage: &Storage, soc: Soc) -> Self {
        Self {
            id: storage.id.clone(),
            capacity: storage.capacity,
            soc,
            min_soc: storage.min_soc,
            max_soc: storage.max_soc,
            max_charge: storage.max_charge,
            max_discharge: storage.max_discharge,
            charge_efficiency: storage.charge_efficiency,
            discharge_efficiency: storage.discharge_efficiency,
            wear_cost: storage.wear_cost,
        }
    }

    /// Energy that it can still take in, at its terminals.
    #[must_use]
    pub fn room(&self) -> Energy {
        (self.max_soc - self.soc).max(Soc::ZERO) * self.capacity / self.charge_efficiency
    }

    /// Energy that it can still give, at its terminals.
    #[must_use]
    pub fn deliverable(&self) -> Energy {
        (self.soc - self.min_soc).max(Soc::ZERO) * self.capacity * self.discharge_efficiency
    }

    /// Most charging and discharging power, both zero or above, that it can hold for a time.
    #[must_use]
    pub fn most(&self, lasts: Hours) -> (Power, Power) {
        (self.max_charge.min(self.room() / lasts), self.max_discharge.min(self.deliverable() / lasts))
    }

    /// A power, positive discharging, as far as it can hold it for a time; nothing where not enough is known of it.
    #[must_use]
    pub fn able(&self, power: Power, lasts: Hours) -> Power {
        let (into, out) = self.most(lasts);
        let known = into.is_finite() && out.is_finite() && -into <= out;
        if known { power.clamp(-into, out) } else { Power::ZERO }
    }
}

/// Everything the follower sees in a tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FollowInput {
    /// The plan's step in force; `None` = no plan: surplus is stored, limits are held, nothing else happens.
    pub plan: Option<PlanStep>,
    /// Net power of everything but these storages, as estimated for this tick, kW, site sign: the last measurement,
    /// or the forecast where a step begins.
    pub net: Power,
    /// A lower quantile of the net power in this tick, for this time of day and place in the hour; the import
    /// limit is held with it.
    pub net_pessimistic: Power,
    /// A lower quantile over all times of day, kW; buying holds the import limit with this one too.
    pub net_pessimistic_any: Power,
    /// An upper quantile; the export limit is held with it.
    pub net_optimistic: Power,
    /// Stored energy above the lowest states of charge, all storages together, that is kept for the import limit.
    pub reserve: Energy,
    /// Storages that obey.
    pub storages: Vec<LiveStorage>,
    /// Length of a tick.
    pub tick: Hours,
    /// Most import, kW.
    pub import_limit: Option<Power>,
    /// Most export, kW.
    pub export_limit: Option<Power>,
    /// Whether enough was seen of the net power for these quantiles to mean what they say.
    #[serde(default = "learned")]
    pub learned: bool,
    /// Constants of the rules.
    #[serde(default)]
    pub tuning: Tuning,
}

const fn learned() -> bool {
    true
}

/// Constants of the follower's rules, chosen on a measured year; neighbours of each do nearly as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Share of the forecast need that the plan must cover for the whole measured need to be covered, 0…1.
    pub cover_from: f64,
    /// Share of the import limit up to which buying may bring import, 0…1.
    pub buy_up_to: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { cover_from: 0.6, buy_up_to: 2.0 / 3.0 }
    }
}

/// A power asked of an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetPoint {
    /// The asset.
    pub asset: String,
    /// Power, kW, site sign.
    pub power: Power,
    /// Why.
    pub because: Reason,
}

/// Net power below which a need counts as none when shares of it are taken, kW.
const SMALL_NEED: f64 = 0.1;

/// Planned power below which a storage counts as idle, kW.
const IDLE: f64 = 1e-3;

/// A storage's abilities in this tick, kW and kWh at the terminals.
struct Able {
    out: f64,
    into: f64,
    deliverable: f64,
    room: f64,
    /// Into store to reach the planned energy, kWh at the terminals; negative: out of it.
    to_plan: f64,
    /// Whether surplus is worth storing rather than exporting.
    absorbs: bool,
}

/// Set-points for all storages, in the order of the input.
///
/// # Guarantees
/// Deterministic; never more than a storage's power and energy allow in the tick. Values that are not finite count
/// as zero.
#[must_use]
pub fn follow(input: &FollowInput) -> Vec<SetPoint> {
    let able: Vec<Able> = input.storages.iter().map(|s| abilities(s, input)).collect();
    let fleet = Fleet { able: &able, hours: hours(input.tick) };
    let wish = limits(input, economy(input, &fleet));
    let powers = fleet.share(wish.power, wish.all);
    let point = |(i, s): (usize, &LiveStorage)| SetPoint {
        asset: s.id.clone(),
        power: Power::kw(powers[i]),
        because: describe(&wish, powers[i], &able[i], input),
    };
    input.storages.iter().enumerate().map(point).collect()
}

fn finite(power: Power) -> f64 {
    if power.is_finite() { power.as_kw() } else { 0.0 }
}

fn hours(tick: Hours) -> f64 {
    // A tick without length would make every energy limit infinite power.
    if tick.get().is_finite() && tick.get() > 0.0 { tick.get() } else { 1.0 }
}

fn abilities(s: &LiveStorage, input: &FollowInput) -> Able {
    let sound = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let efficiency = |value: f64| if value > 0.0 && value <= 1.0 { value } else { 1.0 };
    let (charging, discharging) = (efficiency(s.charge_efficiency), efficiency(s.discharge_efficiency));
    let deliverable = sound(((s.soc - s.min_soc) * s.capacity).as_kwh() * discharging);
    let room = sound(((s.max_soc - s.soc) * s.capacity).as_kwh() / charging);
    let h = hours(input.tick);
    let intent = input.plan.as_ref().and_then(|plan| plan.storage.get(&s.id));
    let missing = intent.map_or(0.0, |i| (i.stored_after - s.soc * s.capacity).as_kwh());
    let missing = if missing.is_finite() { missing } else { 0.0 };
    let sell = input.plan.as_ref().map_or(0.0, |plan| plan.export_price.as_per_kwh());
    let value = intent.and_then(|i| i.value).map(Price::as_per_kwh).filter(|v| v.is_finite());
    let stored = value.map(|value| value * charging - s.wear_cost.as_per_kwh());
    let planned_in = intent.is_some_and(|i| i.power.as_kw() < 0.0);
    Able {
        out: sound(s.max_discharge.as_kw()).min(deliverable / h),
        into: sound(s.max_charge.as_kw()).min(room / h),
        deliverable,
        room,
        to_plan: if missing > 0.0 { missing / charging } else { missing * discharging },
        // Surplus that earns nothing costs nothing to keep; else the plan's value of energy decides, ties go to it.
        absorbs: sell <= 0.0 || planned_in || stored.is_some_and(|stored| stored > sell),
    }
}

/// What all storages together should do, and why.
struct Wish {
    /// kW, discharge positive.
    power: f64,
    code: ReasonCode,
    /// What a limit says, when it moved the power.
    limit: Option<(BreachKind, String)>,
    /// Whether those that would rather export must charge as well.
    all: bool,
}

/// Rules 1 to 5.
fn economy(input: &FollowInput, fleet: &Fleet<'_>) -> Wish {
    let need = -finite(input.net);
    let mut wish = Wish { power: 0.0, code: ReasonCode::Keep, limit: None, all: false };
    let to_plan = fleet.sum(|a| a.to_plan);
    if need <= 0.0 {
        // No more than those take that would rather store than export, so that the limits see what happens.
        wish.power = need.max(-fleet.sum(|a| if a.absorbs { a.into } else { 0.0 }));
        wish.code = ReasonCode::ChargeSurplus;
    }
    if let Some(plan) = &input.plan {
        let planned: f64 = plan.storage.values().map(|i| finite(i.power)).sum();
        let forecast = -finite(plan.net);
        let left = hours(plan.time_left).max(fleet.hours);
        if planned > IDLE && need > 0.0 {
            let covers = planned >= input.tuning.cover_from * forecast.max(SMALL_NEED);
            wish.power = if plan.dear && covers { need } else { need.min((-to_plan).max(0.0) / left) };
            wish.code = ReasonCode::DischargeDear;
        }
        if planned > IDLE && plan.export_price.as_per_kwh() > 0.0 && finite(plan.grid) < 0.0 {
            // Export was planned because it pays: down to the planned energy.
            wish.power = wish.power.max(to_plan.min(0.0) / -left);
            wish.code = ReasonCode::DischargeExport;
        }
        if -planned > (-forecast).max(0.0) + IDLE {
            let pace = -to_plan.max(0.0) / left;
            if pace < wish.power {
                (wish.power, wish.code) = (gently(input, need, pace), ReasonCode::ChargeCheap);
                wish.power = wish.power.min(need.min(0.0));
                wish.all = true;
            }
        }
    }
    wish.power = wish.power.min(fleet.sum(|a| a.out));
    if wish.power > 0.0 {
        let reserve = if input.reserve.is_finite() { input.reserve.as_kwh().max(0.0) } else { 0.0 };
        let free = (fleet.sum(|a| a.deliverable) - reserve * fleet.efficiency(input)).max(0.0);
        if wish.power > free / fleet.hours {
            (wish.power, wish.code) = (free / fleet.hours, ReasonCode::KeepReserve);
        }
    }
    wish
}

/// Charging at `power` (negative), cut so that import stays below a share of the limit.
fn gently(input: &FollowInput, need: f64, power: f64) -> f64 {
    let Some(limit) = input.import_limit.filter(|l| l.is_finite()) else { return power };
    power.max(need - limit.as_kw().max(0.0) * input.tuning.buy_up_to).min(0.0)
}

/// Rule 6; the import limit last, so that it wins.
fn limits(input: &FollowInput, mut wish: Wish) -> Wish {
    if let Some(limit) = input.export_limit.filter(|l| l.is_finite()).map(|l| l.as_kw().max(0.0)) {
        let over = finite(input.net_optimistic) + wish.power - limit;
        if over > 1e-9 {
            wish.power -= over;
            wish.all = true;
            let text = if limit > 0.0 {
                format!("export limit {limit:.1} kW would be exceeded by {over:.1} kW")
            } else {
                "nobody else takes what is left".to_owned()
            };
            wish.limit = Some((BreachKind::Export, text));
        }
    }
    let Some(limit) = input.import_limit.filter(|l| l.is_finite()).map(|l| l.as_kw().max(0.0)) else {
        return wish;
    };
    let need = -finite(input.net);
    let (here, any) = (-finite(input.net_pessimistic), -finite(input.net_pessimistic_any));
    // Buying is cut for surprises of any time of day; what is not bought cannot be missed.
    let without_buying = need.min(0.0);
    let mut floor = here - limit;
    if wish.power < without_buying {
        floor = floor.max((any - limit).min(without_buying));
    }
    if wish.power < floor - 1e-9 {
        let over = floor - wish.power;
        wish.power = floor;
        let text = if limit <= 0.0 {
            "nobody else gives what lacks".to_owned()
        } else if input.learned {
            format!("import limit {limit:.1} kW could be exceeded by {over:.1} kW")
        } else {
            // Before that the excess is as large as the caution, not as any load.
            format!(
                "too little is known of the load yet, and the import limit {limit:.1} kW could be exceeded"
            )
        };
        wish.limit = Some((BreachKind::Import, text));
    }
    wish
}

struct Fleet<'a> {
    able: &'a [Able],
    hours: f64,
}

impl Fleet<'_> {
    fn sum(&self, of: impl Fn(&Able) -> f64) -> f64 {
        self.able.iter().map(of).sum()
    }

    /// Delivered per withdrawn energy, the mean weighed by what can be delivered.
    fn efficiency(&self, input: &FollowInput) -> f64 {
        let all = self.sum(|a| a.deliverable);
        let weighed: f64 =
            input.storages.iter().zip(self.able).map(|(s, a)| s.discharge_efficiency * a.deliverable).sum();
        if all > 0.0 && weighed.is_finite() { (weighed / all).clamp(0.0, 1.0) } else { 1.0 }
    }

    /// Rule 7: shares a power such that all keep their power for as long as possible.
    fn share(&self, total: f64, all: bool) -> Vec<f64> {
        let out = total > 0.0;
        let rate: Vec<f64> = self
            .able
            .iter()
            .map(|a| {
                if out {
                    a.out
                } else if all || a.absorbs {
                    a.into
                } else {
                    0.0
                }
            })
            .collect();
        let room: Vec<f64> = self.able.iter().map(|a| if out { a.deliverable } else { a.room }).collect();
        let shares = level(total.abs(), self.hours, &rate, &room);
        shares.into_iter().map(|p| if p == 0.0 { 0.0 } else { p * total.signum() }).collect()
    }
}

fn describe(wish: &Wish, power: f64, able: &Able, input: &FollowInput) -> Reason {
    if let Some((kind, text)) = &wish.limit {
        let empty = input.learned && wish.power > 0.0 && able.deliverable < 1e-2;
        return limited(*kind, text, power, empty);
    }
    let price = |pick: fn(&PlanStep) -> Price| {
        input.plan.as_ref().map_or(String::from("unknown"), |plan| format!("{:.2}", pick(plan).as_per_kwh()))
    };
    let (code, text) = match wish.code {
        ReasonCode::ChargeSurplus if power < 0.0 => (wish.code, "charging: solar surplus now".into()),
        ReasonCode::ChargeSurplus if able.absorbs && able.room < 1e-2 => {
            (ReasonCode::Full, "0 kW: full".into())
        }
        ReasonCode::ChargeCheap if power < 0.0 => {
            (wish.code, format!("charging as planned: power costs {} now", price(|p| p.import_price)))
        }
        ReasonCode::DischargeDear if power > 0.0 => (
            wish.code,
            format!("discharging against the load: power costs {} now", price(|p| p.import_price)),
        ),
        ReasonCode::DischargeExport if power > 0.0 => {
            (wish.code, format!("discharging: export earns {} now", price(|p| p.export_price)))
        }
        ReasonCode::KeepReserve => {
            let kept = input.reserve.as_kwh();
            (
                wish.code,
                format!("{}: keeping {kept:.1} kWh because the import limit may be exceeded", size(power)),
            )
        }
        _ if power == 0.0 && able.deliverable < 1e-2 => (ReasonCode::Empty, "0 kW: empty".into()),
        _ => (ReasonCode::Keep, format!("{}: keeping {:.1} kWh for later", size(power), able.deliverable)),
    };
    Reason { code, text }
}

/// A power in words; nothing is `0 kW`, whatever its sign.
fn size(power: f64) -> String {
    if power.abs() < 0.05 { "0 kW".to_owned() } else { format!("{power:.1} kW") }
}

/// The sentence for a power that a limit moved to `power`; `empty` when it should discharge and has nothing to give.
fn limited(kind: BreachKind, text: &str, power: f64, empty: bool) -> Reason {
    let (code, verb) = match kind {
        BreachKind::Export if power < -1e-9 => (ReasonCode::ChargeForLimit, "charging"),
        BreachKind::Export if power > 1e-9 => (ReasonCode::ChargeForLimit, "discharging less"),
        BreachKind::Export => (ReasonCode::ChargeForLimit, "not discharging"),
        _ if power > 1e-9 => (ReasonCode::DischargeForLimit, "discharging"),
        _ if power < -1e-9 => (ReasonCode::DischargeForLimit, "charging less"),
        _ if empty => (ReasonCode::Empty, "0 kW, being empty"),
        _ => (ReasonCode::DischargeForLimit, "holding"),
    };
    Reason { code, text: format!("{verb}: {text}") }
}
