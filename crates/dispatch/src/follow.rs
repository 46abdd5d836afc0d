//! Between two plans: set-points that hold the plan's intent on what is measured now.
//!
//! The plan says what stored energy is worth (its water value). Against the prices of the step in force this
//! decides for each storage what to do with a deficit and with surplus, whatever their size turns out to be:
//!
//! * discharge against load when `(import price − wear) · discharge efficiency > value`,
//! * discharge into export when `(export price − wear) · discharge efficiency > value`,
//! * store surplus when `value · charge efficiency − wear > export price`,
//! * charge from the grid when `value · charge efficiency − wear > import price`.
//!
//! Where a comparison is a tie, the plan's own power for the step decides. After that the connection's limits are
//! held with the pessimistic net power.

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Hours, Power, Price, Soc};

use crate::group::level;
use crate::problem::{Problem, Storage, end_of};
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
    /// Price of import, carbon included.
    pub import_price: Price,
    /// Earned by export.
    pub export_price: Price,
    /// Per storage.
    pub storage: std::collections::BTreeMap<String, StorageIntent>,
    /// Time left in the step, hours; a tick at least.
    pub time_left: Hours,
}

impl PlanStep {
    /// The step of a schedule that is in force at `now`, if the schedule reaches there.
    #[must_use]
    pub fn at(problem: &Problem, schedule: &Schedule, now: jiff::Timestamp) -> Option<Self> {
        let t = problem.steps.iter().rposition(|step| step.start <= now)?;
        let end = end_of(problem.steps[t]);
        let grid = *schedule.grid.get(t)?;
        if now >= end {
            return None;
        }
        let mut storage = std::collections::BTreeMap::new();
        for (id, plan) in &schedule.storage {
            let value = schedule.shadow.stored_value.get(id).and_then(|values| values.get(t)).copied();
            let (power, stored_after) = (*plan.power.get(t)?, *plan.stored_after.get(t)?);
            storage.insert(id.clone(), StorageIntent { power, stored_after, value });
        }
        Some(Self {
            grid,
            import_price: problem.connection.full_import_price(t),
            export_price: problem.connection.export_price[t],
            storage,
            time_left: Hours::from_seconds(end.duration_since(now).as_secs_f64()),
        })
    }
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
}

/// Everything the follower sees in a tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FollowInput {
    /// The plan's step in force; `None` = no plan: surplus is stored, limits are held, nothing else happens.
    pub plan: Option<PlanStep>,
    /// Net power of everything but these storages, as measured or expected for this tick, kW, site sign.
    pub net: Power,
    /// A lower quantile of the net power of the tick ahead; the import limit is held with it.
    pub net_pessimistic: Power,
    /// An upper quantile; the export limit is held with it.
    pub net_optimistic: Power,
    /// Storages that obey.
    pub storages: Vec<LiveStorage>,
    /// Length of a tick.
    pub tick: Hours,
    /// Most import, kW.
    pub import_limit: Option<Power>,
    /// Most export, kW.
    pub export_limit: Option<Power>,
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

/// Relative closeness of a price and a value that counts as a tie: marginal storages sit exactly on it.
const TIE: f64 = 0.01;

/// Whether something pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pays {
    Yes,
    Tie,
    No,
}

fn pays(gain: f64, scale: f64) -> Pays {
    let band = TIE * scale.abs().max(1e-3);
    if gain > band {
        Pays::Yes
    } else if gain < -band {
        Pays::No
    } else {
        Pays::Tie
    }
}

/// What one storage would do, most power first decided by prices, kW as sizes.
struct Will {
    /// Against a deficit.
    cover: f64,
    /// Whether a deficit is only covered down to the planned exchange.
    to_plan: bool,
    /// Into export.
    export: f64,
    /// From surplus.
    absorb: f64,
    /// From the grid, whatever the surplus.
    take: f64,
}

/// A storage's abilities in this tick, kW and kWh at the terminals.
struct Able {
    out: f64,
    into: f64,
    deliverable: f64,
    room: f64,
}

/// Set-points for all storages, in the order of the input.
///
/// # Guarantees
/// Deterministic; never more than a storage's power and energy allow in the tick. Values that are not finite count
/// as zero.
#[must_use]
pub fn follow(input: &FollowInput) -> Vec<SetPoint> {
    let able: Vec<Able> = input.storages.iter().map(|s| abilities(s, input.tick)).collect();
    let wills: Vec<Will> = input.storages.iter().zip(&able).map(|(s, a)| will(input.plan.as_ref(), s, a)).collect();
    let mut fleet = Fleet { able: &able, hours: hours(input.tick), power: vec![0.0; able.len()] };
    let net = finite(input.net);
    let code = fleet.economy(net, &wills, input.plan.as_ref());
    let economic = fleet.power.clone();
    let limit = fleet.limits(input);
    let because = |i: usize| -> Reason {
        let moved = (fleet.power[i] - economic[i]).abs() > 1e-6;
        match &limit {
            Some((kind, text)) if moved => limited(*kind, text, fleet.power[i]),
            _ => describe(&code[i], fleet.power[i], &able[i], input),
        }
    };
    let point = |(i, s): (usize, &LiveStorage)| SetPoint {
        asset: s.id.clone(),
        power: Power::kw(if fleet.power[i] == 0.0 { 0.0 } else { fleet.power[i] }),
        because: because(i),
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

fn abilities(s: &LiveStorage, tick: Hours) -> Able {
    let sound = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let efficiency = |value: f64| if value > 0.0 && value <= 1.0 { value } else { 1.0 };
    let deliverable = sound(((s.soc - s.min_soc) * s.capacity).as_kwh() * efficiency(s.discharge_efficiency));
    let room = sound(((s.max_soc - s.soc) * s.capacity).as_kwh() / efficiency(s.charge_efficiency));
    let h = hours(tick);
    let out = sound(s.max_discharge.as_kw()).min(deliverable / h);
    let into = sound(s.max_charge.as_kw()).min(room / h);
    Able { out, into, deliverable, room }
}

/// What a storage would do at the prices of the step.
fn will(plan: Option<&PlanStep>, s: &LiveStorage, able: &Able) -> Will {
    let mut will = Will { cover: 0.0, to_plan: false, export: 0.0, absorb: 0.0, take: 0.0 };
    let Some(plan) = plan else {
        will.absorb = able.into;
        return will;
    };
    let Some(intent) = plan.storage.get(&s.id) else { return will };
    let planned = finite(intent.power);
    // Up to the planned energy at the step's end, at a pace that arrives there in time.
    let left = hours(plan.time_left);
    let missing = (intent.stored_after - s.soc * s.capacity).as_kwh() / s.charge_efficiency;
    let pace = if missing.is_finite() { (missing / left).clamp(0.0, able.into) } else { 0.0 };
    let (buy, sell) = (plan.import_price.as_per_kwh(), plan.export_price.as_per_kwh());
    let Some(value) = intent.value.map(Price::as_per_kwh).filter(|v| v.is_finite()) else {
        will.cover = if planned > 0.0 { able.out } else { 0.0 };
        will.to_plan = true;
        will.absorb = if planned < 0.0 || sell <= 0.0 { able.into } else { 0.0 };
        will.take = if planned < 0.0 && finite(plan.grid) > 0.0 { pace } else { 0.0 };
        return will;
    };
    let wear = s.wear_cost.as_per_kwh();
    let stored = value * s.charge_efficiency - wear;
    let delivered = |price: f64| (price - wear) * s.discharge_efficiency;
    match pays(delivered(buy) - value, buy) {
        Pays::Yes => will.cover = able.out,
        Pays::Tie if planned > 0.0 => (will.cover, will.to_plan) = (able.out, true),
        _ => {}
    }
    match pays(delivered(sell) - value, sell.max(value)) {
        // With nothing earned there is nothing to export for, whatever the value.
        Pays::Yes if sell > 0.0 => will.export = able.out,
        Pays::Tie if sell > 0.0 && planned > 0.0 && finite(plan.grid) < 0.0 => will.export = planned.min(able.out),
        _ => {}
    }
    will.absorb = match pays(stored - sell, sell.max(value)) {
        Pays::Yes => able.into,
        // Free surplus costs nothing to keep.
        Pays::Tie if planned < 0.0 || sell <= 0.0 => able.into,
        _ => 0.0,
    };
    will.take = match pays(stored - buy, buy) {
        Pays::Yes => pace,
        Pays::Tie if planned < 0.0 && finite(plan.grid) > 0.0 => pace.min(-planned),
        _ => 0.0,
    };
    will
}

struct Fleet<'a> {
    able: &'a [Able],
    hours: f64,
    power: Vec<f64>,
}

impl Fleet<'_> {
    fn total(&self) -> f64 {
        self.power.iter().sum()
    }

    /// Shares a power among storages so that they stay level in the time they could go on.
    fn share(&self, total: f64, most: impl Fn(usize) -> f64, room: impl Fn(usize) -> f64) -> Vec<f64> {
        let rate: Vec<f64> = (0..self.able.len()).map(&most).collect();
        let room: Vec<f64> = (0..self.able.len()).map(|i| if rate[i] > 0.0 { room(i) } else { 0.0 }).collect();
        level(total, self.hours, &rate, &room)
    }

    /// Follows prices; returns what each does.
    fn economy(&mut self, net: f64, wills: &[Will], plan: Option<&PlanStep>) -> Vec<ReasonCode> {
        let mut code = vec![ReasonCode::Keep; wills.len()];
        for (i, will) in wills.iter().enumerate().filter(|(_, will)| will.take > 1e-9) {
            self.power[i] = -will.take;
            code[i] = ReasonCode::ChargeCheap;
        }
        if net > 0.0 {
            self.absorb(net, wills, &mut code);
        } else {
            self.cover(-net, wills, plan, &mut code);
        }
        for (i, will) in wills.iter().enumerate().filter(|(_, will)| will.export > 1e-9) {
            self.power[i] = self.power[i].max(will.export);
            code[i] = ReasonCode::DischargeExport;
        }
        code
    }

    fn absorb(&mut self, surplus: f64, wills: &[Will], code: &mut [ReasonCode]) {
        let taken = -self.total();
        let left = (surplus - taken).max(0.0);
        let most = |i: usize| (wills[i].absorb + self.power[i]).max(0.0);
        let shares = self.share(left, most, |i| self.able[i].room + self.power[i] * self.hours);
        for (i, share) in shares.into_iter().enumerate() {
            self.power[i] -= share;
            if self.power[i] < -1e-9 && share > 0.0 {
                code[i] = ReasonCode::ChargeSurplus;
            }
        }
    }

    /// Covers a deficit: first those for whom it pays, then the ties, down to the planned exchange only.
    fn cover(&mut self, deficit: f64, wills: &[Will], plan: Option<&PlanStep>, code: &mut [ReasonCode]) {
        let kept = plan.map_or(0.0, |plan| finite(plan.grid).max(0.0));
        for (tie, wanted) in [(false, deficit), (true, deficit - kept)] {
            let given: f64 = self.power.iter().map(|p| p.max(0.0)).sum();
            let most = |i: usize| if wills[i].to_plan == tie { wills[i].cover } else { 0.0 };
            let shares = self.share((wanted - given).max(0.0), most, |i| self.able[i].deliverable);
            for (i, share) in shares.into_iter().enumerate().filter(|(_, share)| *share > 1e-9) {
                self.power[i] = self.power[i].max(0.0) + share;
                code[i] = ReasonCode::DischargeDear;
            }
        }
    }

    /// Holds the connection's limits with the quantiles; the import limit last, so that it wins.
    fn limits(&mut self, input: &FollowInput) -> Option<(BreachKind, String)> {
        let mut reason = None;
        if let Some(limit) = input.export_limit.filter(|l| l.is_finite()).map(|l| l.as_kw().max(0.0)) {
            let over = finite(input.net_optimistic) + self.total() - limit;
            if over > 1e-9 {
                self.lower(over);
                let text = format!("export limit {limit:.1} kW would be exceeded by {over:.1} kW");
                reason = Some((BreachKind::Export, text));
            }
        }
        if let Some(limit) = input.import_limit.filter(|l| l.is_finite()).map(|l| l.as_kw().max(0.0)) {
            let over = -finite(input.net_pessimistic) - self.total() - limit;
            if over > 1e-9 {
                self.raise(over);
                let text = format!("import limit {limit:.1} kW would be exceeded by {over:.1} kW");
                reason = Some((BreachKind::Import, text));
            }
        }
        reason
    }

    /// Less charging first, then more discharging.
    fn raise(&mut self, over: f64) {
        let charging: f64 = self.power.iter().map(|p| (-p).max(0.0)).sum();
        if charging > 0.0 {
            let keep = ((charging - over) / charging).max(0.0);
            self.power.iter_mut().filter(|p| **p < 0.0).for_each(|p| *p *= keep);
        }
        let rest = over - charging;
        if rest > 0.0 {
            let most = |i: usize| (self.able[i].out - self.power[i]).max(0.0);
            let left = |i: usize| self.able[i].deliverable - self.power[i] * self.hours;
            let shares = self.share(rest, most, left);
            self.power.iter_mut().zip(shares).for_each(|(p, share)| *p += share);
        }
    }

    /// Less discharging first, then more charging.
    fn lower(&mut self, over: f64) {
        let out: f64 = self.power.iter().map(|p| p.max(0.0)).sum();
        if out > 0.0 {
            let keep = ((out - over) / out).max(0.0);
            self.power.iter_mut().filter(|p| **p > 0.0).for_each(|p| *p *= keep);
        }
        let rest = over - out;
        if rest > 0.0 {
            let most = |i: usize| (self.able[i].into + self.power[i]).max(0.0);
            let left = |i: usize| self.able[i].room + self.power[i] * self.hours;
            let shares = self.share(rest, most, left);
            self.power.iter_mut().zip(shares).for_each(|(p, share)| *p -= share);
        }
    }
}

/// The sentence for a power that a limit moved to `power`.
fn limited(kind: BreachKind, text: &str, power: f64) -> Reason {
    let (code, verb) = match kind {
        BreachKind::Export if power < -1e-9 => (ReasonCode::ChargeForLimit, "charging"),
        BreachKind::Export => (ReasonCode::ChargeForLimit, "discharging less"),
        _ if power > 1e-9 => (ReasonCode::DischargeForLimit, "discharging"),
        _ => (ReasonCode::DischargeForLimit, "charging less"),
    };
    Reason { code, text: format!("{verb}: {text}") }
}

fn describe(code: &ReasonCode, power: f64, able: &Able, input: &FollowInput) -> Reason {
    let price = |pick: fn(&PlanStep) -> Price| {
        input.plan.as_ref().map_or(String::from("unknown"), |plan| format!("{:.2}", pick(plan).as_per_kwh()))
    };
    let text = match code {
        ReasonCode::ChargeSurplus => "charging: solar surplus now".into(),
        ReasonCode::ChargeCheap => format!("charging as planned: power costs {} now", price(|p| p.import_price)),
        ReasonCode::DischargeDear => {
            format!("discharging against the load: power costs {} now", price(|p| p.import_price))
        }
        ReasonCode::DischargeExport => format!("discharging: export earns {} now", price(|p| p.export_price)),
        _ if power == 0.0 && able.deliverable < 1e-2 => {
            return Reason { code: ReasonCode::Empty, text: "0 kW: empty".into() };
        }
        _ => format!("0 kW: keeping {:.1} kWh for later", able.deliverable),
    };
    Reason { code: *code, text }
}
