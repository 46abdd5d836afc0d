//! Joins readings, settlement and ledger: what each tick's settlement needs, and why a limit was exceeded.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sos_dispatch::Before;
use sos_model::{Battery, Charge, Mode};
use sos_units::{
    CarbonIntensity, Energy, ExactEnergy, ExactIntensity, ExactPrice, Money, Power, Price, Reading, Soc,
};

use super::burnt::{Burn, Fires, Tick};
use super::carried::{Carried, Exchange, own_energy};
use super::feeders;
use super::generators::Live;
use super::ledger::{Case, Excess, FeederFlow, GroupFlow, Ledger, TickFlows};
use super::links::AssetReading;
use super::model::{Asset, Kind, SiteFeeder, SiteModel, Value};
use super::movable::{Met, Step, Uncontrolled};
use super::periods::DayEnd;
use super::settlement::{Count, LONGEST_WAIT, OpenTick, Settlement, Source};
use crate::live::{Compared, Totals};
use crate::report::Violation;

/// Violations that are kept one by one; all are counted.
pub(super) const KEPT_VIOLATIONS: usize = 1_000;

/// What was known when the set-points of a tick were chosen, in watts; load and discharge as positive sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Net need that was expected.
    pub expected_w: i64,
    /// Net need that was expected at the most.
    pub at_most_w: i64,
    /// Discharge that was asked for.
    pub asked_w: i64,
    /// Discharge that the batteries could have given.
    pub able_w: i64,
    /// Assets whose measurement was missing.
    pub missing: u32,
}

/// What the ledger needs of a tick besides the devices' energies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickContext {
    /// Work of services, zero or below.
    pub work: ExactEnergy,
    /// The same work at its earliest.
    pub work_baseline: ExactEnergy,
    /// Generation that was turned down, zero or above.
    pub curtailed: ExactEnergy,
    /// Of it, what each plant was turned down by, by asset index.
    #[serde(default)]
    pub turned_down: Vec<(usize, ExactEnergy)>,
    /// Asset indices of generators that could not run.
    #[serde(default)]
    pub away: Vec<usize>,
    /// What vehicles and heat pumps met, by asset index.
    #[serde(default)]
    pub met: Vec<(usize, Met)>,
    /// Why the set-points were what they were.
    pub decision: Decision,
    /// Own power by asset that was expected, in watts, positive into the site; empty where all was measured.
    pub expected_w: Vec<i64>,
}

/// All accounts of a site. What is serialised is kept with every tick and has a constant size; violations and ticks
/// that wait are kept apart, each when it comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accounts {
    /// Start of the first step.
    from: Option<Timestamp>,
    /// States of charge at the start, by asset index, of the batteries that told.
    initial: BTreeMap<usize, Soc>,
    ledger: Ledger,
    #[serde(default)]
    fires: Fires,
    #[serde(default)]
    uncontrolled: Uncontrolled,
    /// What charges have counted of the settled ticks: as it was, and uncontrolled.
    #[serde(default)]
    carried: (Carried, Carried),
    pub(super) settlement: Settlement<TickContext>,
    #[serde(skip)]
    pub(super) violations: Vec<Violation>,
    estimated: u64,
    /// Civil day of the step that was settled last.
    #[serde(default)]
    day: Option<Date>,
    /// Days that have ended since they were last kept.
    #[serde(skip)]
    pub(super) ended: Vec<DayEnd>,
}

/// An energy that became known after its tick, or never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late {
    /// The asset's index.
    pub asset: usize,
    /// End of the tick it belongs to.
    pub time: Timestamp,
    /// Mean power of the device in it.
    pub power: Power,
    /// Whether it is a best estimate.
    pub estimated: bool,
}

impl Accounts {
    /// Nothing settled yet.
    #[must_use]
    pub fn new(model: &SiteModel) -> Self {
        Self {
            from: None,
            initial: BTreeMap::new(),
            ledger: Ledger::default(),
            fires: Fires::begin(model, |_| None),
            uncontrolled: Uncontrolled::default(),
            carried: <(Carried, Carried)>::default(),
            settlement: Settlement::new(model.assets.len()),
            violations: Vec::new(),
            estimated: 0,
            day: None,
            ended: Vec::new(),
        }
    }

    /// Whether these accounts are of a site with these assets.
    #[must_use]
    pub fn fits(&self, model: &SiteModel) -> bool {
        self.settlement.devices() == model.assets.len()
    }

    /// Begins at `now`: takes the counters and the states of charge that stand before anything has flowed.
    pub fn begin(
        &mut self,
        model: &SiteModel,
        now: Timestamp,
        readings: &[Reading<AssetReading>],
        (socs, generators): (&BTreeMap<usize, Soc>, &BTreeMap<usize, Live>),
    ) {
        self.from = Some(now);
        self.initial.clone_from(socs);
        self.fires = Fires::begin(model, |index| Some(generators.get(&index)?.before));
        self.count(now, readings);
    }

    fn count(&mut self, now: Timestamp, readings: &[Reading<AssetReading>]) {
        for (index, reading) in readings.iter().enumerate() {
            let Ok(reading) = reading else { continue };
            if let Some(counter) = reading.counter {
                let count = Count {
                    net: ExactEnergy::from_energy(counter),
                    range: reading.counter_range.map(ExactEnergy::from_energy),
                };
                self.settlement.counter(index, now, count);
            }
        }
    }

    /// Adds the tick `start..now` and settles what is complete. Returns energies that became known late.
    pub fn add(
        &mut self,
        model: &SiteModel,
        start: Timestamp,
        now: Timestamp,
        readings: &[Reading<AssetReading>],
        context: TickContext,
    ) -> Vec<Late> {
        let seconds = now.duration_since(start).as_secs().max(1);
        let energies = model
            .assets
            .iter()
            .zip(readings)
            .map(|(asset, reading)| match (&asset.via, reading) {
                (None, _) => Some(ExactEnergy::ZERO),
                (Some(_), Ok(reading)) => Some(ExactEnergy::from_power(reading.power, seconds)),
                (Some(_), Err(_)) => None,
            })
            .collect();
        self.settlement.push(start, seconds, energies, context);
        self.count(now, readings);
        self.settle(model, Some(readings), LONGEST_WAIT)
    }

    /// Adds a tick in which the controller did not run: nothing was measured. Returns energies that are estimated now.
    pub fn add_missed(
        &mut self,
        model: &SiteModel,
        start: Timestamp,
        seconds: i64,
        context: TickContext,
    ) -> Vec<Late> {
        let energies =
            model.assets.iter().map(|asset| asset.via.is_none().then_some(ExactEnergy::ZERO)).collect();
        self.settlement.push(start, seconds, energies, context);
        self.settle(model, None, LONGEST_WAIT)
    }

    /// Settles complete ticks. Estimates what no counter will tell: of devices that answer now and could not say what
    /// they did meanwhile, and of all ticks but the newest `keep`.
    fn settle(
        &mut self,
        model: &SiteModel,
        readings: Option<&[Reading<AssetReading>]>,
        keep: usize,
    ) -> Vec<Late> {
        let answers = |device: usize| readings.is_some_and(|readings| readings[device].is_ok());
        let guess = |device: usize, tick: &OpenTick<TickContext>, beyond: bool| {
            (beyond || answers(device)).then(|| estimate(model, device, tick, beyond)).flatten()
        };
        self.estimated += self.settlement.estimate(keep, readings.is_some(), guess);
        let mut late = Vec::new();
        while let Some(tick) = self.settlement.pop() {
            late.extend(late_of(&tick));
            self.settle_one(model, &tick);
        }
        late
    }

    /// Settles everything, estimating what is still unknown. Returns energies that are estimated now.
    pub fn close(&mut self, model: &SiteModel) -> Vec<Late> {
        self.settle(model, None, 0)
    }

    fn settle_one(&mut self, model: &SiteModel, tick: &OpenTick<TickContext>) {
        let date = model.zone.to_datetime(tick.start).date();
        if date != self.day.unwrap_or(date) {
            self.ended.extend(self.day_so_far());
        }
        self.day = Some(date);
        let movable = self.movable(model, tick);
        let flows = flows(model, tick, &movable, &mut self.fires);
        let excess = self.ledger.settle(&flows);
        self.charge(model, tick, &flows);
        let Some(excess) = excess else { return };
        if self.violations.len() < KEPT_VIOLATIONS {
            self.violations.push(Violation {
                time: crate::time_text(tick.start, &model.zone),
                kw_over: round3(excess.over.as_kw()),
                reason: reason(model, &excess, &flows, &tick.context.decision),
            });
        }
    }

    /// Adds what a settled tick makes charges dearer by, to both cases.
    fn charge(&mut self, model: &SiteModel, tick: &OpenTick<TickContext>, flows: &TickFlows) {
        let own = own_energy(model, |index| tick.of(index));
        let actual = Exchange::of(model, (tick.start, tick.seconds), &own, tick.context.work);
        let baseline = Exchange {
            grid: Some(flows.exchanged().1),
            feeders: flows.feeders.iter().map(|feeder| Some(feeder.baseline)).collect(),
            emissions: None,
            ..actual
        };
        let Self { carried, ledger, .. } = self;
        for (carried, exchange, case) in
            [(&mut carried.0, &actual, &mut ledger.actual), (&mut carried.1, &baseline, &mut ledger.baseline)]
        {
            carried.observe(model, exchange).into_iter().for_each(|(name, more)| case.charge(name, more));
        }
    }

    /// What charges have counted, and what else a plan carries over: of the settled ticks, and of those that wait by what is known
    /// of them and the best estimates of the rest.
    #[must_use]
    pub fn carried(&self, model: &SiteModel) -> Carried {
        let mut carried = self.carried.0.clone();
        for tick in self.settlement.waiting_ticks() {
            let own =
                own_energy(model, |index| tick.of(index).or_else(|| estimate(model, index, tick, true)));
            carried.observe(model, &Exchange::of(model, (tick.start, tick.seconds), &own, tick.context.work));
        }
        carried
    }

    /// What a charge has counted of the settled ticks in the period of a time, kW of a peak and kWh of an amount: as it was, and
    /// uncontrolled.
    #[must_use]
    pub fn counted(&self, model: &SiteModel, charge: &Charge, at: Timestamp) -> (f64, f64) {
        let of = |carried: &Carried| carried.of(charge, &model.zone, at);
        (of(&self.carried.0), of(&self.carried.1))
    }

    /// The running totals. `stored` is the energy in all batteries now, `worth` what a stored kWh is worth, `unserved`
    /// the price of what was to be done and was not.
    #[must_use]
    pub fn totals(&self, model: &SiteModel, stored: Energy, worth: Price, unserved: Money) -> Totals {
        let value = worth * stored - unserved;
        totals_of(model, &self.ledger, (value, worth * self.stored_uncontrolled(model)))
    }

    /// What each generator did before the first step, by name.
    #[must_use]
    pub fn initial_generators(&self, model: &SiteModel) -> BTreeMap<String, Before> {
        let names = model.generators().map(|(_, asset, _)| asset.name.clone());
        names.zip(self.fires.initial.iter().copied()).collect()
    }

    /// The sums at the end of the latest day that has a settled step.
    #[must_use]
    pub fn day_so_far(&self) -> Option<DayEnd> {
        Some(DayEnd { date: self.day?, ledger: self.ledger.clone() })
    }

    /// Start of the first step; none before it.
    #[must_use]
    pub const fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// State of charge of a battery at the start: as it said, else as declared.
    #[must_use]
    pub fn initial_soc(&self, index: usize, battery: &Battery) -> Soc {
        self.initial.get(&index).copied().unwrap_or_else(|| battery.initial_soc_or_min())
    }

    /// What vehicles and heat pumps would have taken in a tick without control, zero or below, by asset index.
    fn movable(&mut self, model: &SiteModel, tick: &OpenTick<TickContext>) -> BTreeMap<usize, ExactEnergy> {
        let mut taken = BTreeMap::new();
        for (index, asset) in model.assets.iter().enumerate() {
            if !(asset.kind.is_movable() && asset.is_chosen()) {
                continue;
            }
            let met = tick.context.met.iter().find(|(at, _)| *at == index).map(|(_, met)| *met);
            let actual = tick.of(index).unwrap_or(ExactEnergy::ZERO);
            let step = Step { seconds: tick.seconds, met, actual };
            let initial = self.initial_share(index, asset);
            taken.insert(index, self.uncontrolled.settle(asset, index, initial, step));
        }
        taken
    }

    /// State of charge at the start of anything that stores: as it said, else as declared.
    #[must_use]
    pub fn initial_share(&self, index: usize, asset: &Asset) -> Soc {
        match &asset.kind {
            Kind::Battery(battery) => self.initial_soc(index, battery),
            Kind::Vehicle(vehicle) => self.initial_soc(index, &vehicle.battery),
            Kind::HeatPump(heat) => {
                let declared = || super::storages::initial_heat(heat).clamp(Soc::ZERO, Soc::fraction(1.0));
                self.initial.get(&index).copied().unwrap_or_else(declared)
            }
            _ => Soc::ZERO,
        }
    }

    /// What is stored without control in all batteries: those of vehicles as their charging on arrival has left them, the others as
    /// they were.
    fn stored_uncontrolled(&self, model: &SiteModel) -> Energy {
        let planned = model.stores().filter(|(_, asset, _)| asset.mode != Mode::Observe);
        let one = |(index, _, battery): (usize, &Asset, &Battery)| {
            let charged = self.uncontrolled.stored(index, battery);
            charged.unwrap_or_else(|| self.initial_soc(index, battery) * battery.capacity)
        };
        planned.map(one).sum()
    }

    /// What was stored at the start in the batteries that are planned with.
    #[must_use]
    pub fn initially_stored(&self, model: &SiteModel) -> Energy {
        let planned = model.batteries().filter(|(_, asset, _)| asset.mode != Mode::Observe);
        planned.map(|(index, _, battery)| self.initial_soc(index, battery) * battery.capacity).sum()
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Steps above a limit, with their reasons.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Values that were estimated.
    #[must_use]
    pub const fn estimated(&self) -> u64 {
        self.estimated
    }
}

/// Sums of a ledger; `values` is what is stored at the end worth, as it was and uncontrolled.
#[must_use]
pub fn totals_of(model: &SiteModel, ledger: &Ledger, values: (Money, Money)) -> Totals {
    let compare = |figure: fn(&Case) -> f64| Compared {
        actual: figure(&ledger.actual),
        baseline: figure(&ledger.baseline),
    };
    let solar = ledger.solar.to_energy();
    let used = (solar - ledger.actual.export.to_energy()).max(Energy::ZERO);
    Totals {
        cost: compare(|case| case.cost.to_money().get()),
        emissions_kg: compare(|case| case.emissions.to_emissions().as_kg()),
        objective: Compared {
            actual: objective(model, &ledger.actual, values.0).get(),
            baseline: objective(model, &ledger.baseline, values.1).get(),
        },
        import: ledger.actual.import.to_energy(),
        export: ledger.actual.export.to_energy(),
        shared: ledger.shared.to_energy(),
        self_consumption: (solar > Energy::ZERO).then(|| used / solar),
        limit_violations: (ledger.actual.limit_violations, ledger.baseline.limit_violations),
    }
}

/// Cost, priced emissions and priced unserved energy less the value of what is stored.
#[must_use]
pub fn objective(model: &SiteModel, case: &Case, stored: Money) -> Money {
    let unserved = super::plan::breach_price(model) * case.unserved.to_energy();
    case.cost.to_money() + model.carbon_price * case.emissions.to_emissions() + unserved - stored
}

/// What is stored in those of these batteries that are planned with and whose state of charge is known.
#[must_use]
pub fn stored<'a>(
    batteries: impl Iterator<Item = (usize, &'a Asset, &'a Battery)>,
    soc: impl Fn(usize) -> Option<Soc>,
) -> Energy {
    let planned = batteries.filter(|(_, asset, _)| asset.mode != Mode::Observe);
    planned.filter_map(|(index, _, battery)| Some(soc(index)? * battery.capacity)).sum()
}

fn late_of(tick: &OpenTick<TickContext>) -> impl Iterator<Item = Late> + '_ {
    let time = tick.start + jiff::SignedDuration::from_secs(tick.seconds);
    let known = tick.energy.iter().enumerate().filter_map(|(asset, known)| Some((asset, (*known)?)));
    known.filter(|(_, (_, source))| *source != Source::Measured).map(move |(asset, (energy, source))| {
        let watts = energy.as_watt_seconds() as f64 / tick.seconds.max(1) as f64;
        Late { asset, time, power: Power::kw(watts / 1000.0), estimated: source == Source::Estimated }
    })
}

/// The best estimate of a device's energy: what was expected of it, a battery being idle. A meter measures others too:
/// what they did belongs to it, and unless the tick can wait no longer, it waits for them.
fn estimate(
    model: &SiteModel,
    device: usize,
    tick: &OpenTick<TickContext>,
    now: bool,
) -> Option<ExactEnergy> {
    let expected = |index: usize| {
        let watts = tick.context.expected_w.get(index).copied().unwrap_or_default();
        ExactEnergy::watt_seconds(watts.saturating_mul(tick.seconds))
    };
    let Kind::Load { net_of, .. } = &model.assets[device].kind else { return Some(expected(device)) };
    let others = net_of.iter().map(|other| tick.of(*other).or_else(|| now.then(|| expected(*other))));
    others.sum::<Option<ExactEnergy>>().map(|others| expected(device) + others)
}

/// A complete tick as the ledger settles it.
fn flows(
    model: &SiteModel,
    tick: &OpenTick<TickContext>,
    movable: &BTreeMap<usize, ExactEnergy>,
    fires: &mut Fires,
) -> TickFlows {
    let energy = |index: usize| tick.of(index).unwrap_or(ExactEnergy::ZERO);
    let mut groups = vec![GroupFlow::default(); model.groups.len()];
    for (index, asset) in model.assets.iter().enumerate() {
        let group = &mut groups[asset.group_index];
        match &asset.kind {
            Kind::Battery(_) => group.battery += energy(index),
            Kind::Solar { .. } => group.solar += energy(index),
            Kind::Generator(_) => group.generator += energy(index),
            Kind::Vehicle(_) | Kind::HeatPump(_) if asset.is_chosen() => group.movable += energy(index),
            Kind::Vehicle(_) | Kind::HeatPump(_) => group.load += energy(index),
            Kind::Load { net_of, .. } => {
                let together: ExactEnergy = net_of.iter().map(|other| energy(*other)).sum();
                group.load += energy(index) - together;
            }
        }
    }
    let movable_baseline = movable.values().copied().sum();
    let (burnt, burnt_baseline, generated) = burnt(model, tick, (&groups, movable_baseline), fires);
    let site = &model.connection;
    TickFlows {
        seconds: tick.seconds,
        groups,
        burnt,
        burnt_baseline,
        island: site.is_island(),
        work: tick.context.work,
        work_baseline: tick.context.work_baseline,
        movable_baseline,
        curtailed: tick.context.curtailed,
        import_price: ExactPrice::from_price(price(&site.import_price, tick.start)),
        export_price: ExactPrice::from_price(price(&site.export_price, tick.start)),
        carbon: ExactIntensity::from_intensity(carbon(&site.carbon, tick.start)),
        import_limit: site.import_limit,
        export_limit: site.export_limit,
        feeders: feeder_flows(model, tick, &generated, movable),
    }
}

/// What flowed through feeders in a complete tick; `generated` is what each generator gave uncontrolled.
fn feeder_flows(
    model: &SiteModel,
    tick: &OpenTick<TickContext>,
    generated: &[ExactEnergy],
    movable: &BTreeMap<usize, ExactEnergy>,
) -> Vec<FeederFlow> {
    let (start, until) = (tick.start, tick.start + jiff::SignedDuration::from_secs(tick.seconds));
    let exact = |price: &Option<Value<Price>>| {
        price
            .as_ref()
            .map_or(ExactPrice::default(), |value| ExactPrice::from_price(self::price(value, start)))
    };
    let feeder = |(place, feeder): (usize, &SiteFeeder)| FeederFlow {
        import_price: exact(&feeder.import_price),
        export_price: exact(&feeder.export_price),
        carbon: feeder
            .carbon
            .as_ref()
            .map_or(ExactIntensity::default(), |value| ExactIntensity::from_intensity(carbon(value, start))),
        import_limit: feeders::most_import(model, place, start, until),
        export_limit: feeder.export_limit,
        ..FeederFlow::default()
    };
    let mut flows: Vec<FeederFlow> = model.feeders.iter().enumerate().map(feeder).collect();
    let own = own_energy(model, |index| tick.of(index));
    for (index, own) in own.into_iter().enumerate() {
        let own = own.unwrap_or(ExactEnergy::ZERO);
        let moved = movable.get(&index).copied();
        let uncontrolled = moved.unwrap_or_else(|| uncontrolled(model, index, own, &tick.context, generated));
        for place in model.way(index) {
            flows[place].actual += -own;
            flows[place].baseline += -uncontrolled;
        }
    }
    flows
}

/// What an asset would have given without control.
fn uncontrolled(
    model: &SiteModel,
    index: usize,
    own: ExactEnergy,
    context: &TickContext,
    generated: &[ExactEnergy],
) -> ExactEnergy {
    match &model.assets[index].kind {
        Kind::Battery(_) => ExactEnergy::ZERO,
        Kind::Generator(_) => {
            let mut generators = model.generators().map(|(index, _, _)| index).zip(generated);
            generators.find(|(at, _)| *at == index).map_or(ExactEnergy::ZERO, |(_, given)| *given)
        }
        Kind::Solar { .. } => {
            let turned = context.turned_down.iter().filter(|(asset, _)| *asset == index);
            own + turned.map(|(_, energy)| *energy).sum::<ExactEnergy>()
        }
        // Vehicles and heat pumps that are commanded have been asked before.
        Kind::Load { .. } | Kind::Vehicle(_) | Kind::HeatPump(_) => own,
    }
}

/// What generators burnt in a tick, as it was and in merit order, and what each gave there.
fn burnt(
    model: &SiteModel,
    tick: &OpenTick<TickContext>,
    (groups, movable): (&[GroupFlow], ExactEnergy),
    fires: &mut Fires,
) -> (Burn, Burn, Vec<ExactEnergy>) {
    let uncontrolled: ExactEnergy = groups.iter().map(|g| g.load + g.solar).sum();
    let given = model.generators().map(|(index, _, _)| tick.of(index).unwrap_or(ExactEnergy::ZERO));
    let tick = Tick {
        start: tick.start,
        seconds: tick.seconds,
        given: given.collect(),
        away: &tick.context.away,
        lacking: -(uncontrolled + movable + tick.context.curtailed + tick.context.work_baseline),
    };
    fires.settle(model, &tick)
}

/// The price that was in force. Where the source has a gap, the last value before it holds.
#[must_use]
pub fn price(value: &Value<Price>, time: Timestamp) -> Price {
    match value {
        Value::Fixed(price) => *price,
        Value::Series(series) => Price::per_kwh(series.actual_or_before(time)),
    }
}

/// The intensity that was in force. Where the source has a gap, the last value before it holds.
#[must_use]
pub fn carbon(value: &Value<CarbonIntensity>, time: Timestamp) -> CarbonIntensity {
    match value {
        Value::Fixed(intensity) => *intensity,
        Value::Series(series) => CarbonIntensity::kg_per_kwh(series.actual_or_before(time)),
    }
}

fn kw(watts: i64) -> f64 {
    watts as f64 / 1000.0
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Why a limit was exceeded, from what was known when the set-points were chosen.
fn reason(model: &SiteModel, excess: &Excess, flows: &TickFlows, decision: &Decision) -> String {
    if let Some(feeder) = excess.feeder {
        return of_feeder(&model.feeders[feeder], excess, &flows.feeders[feeder], decision);
    }
    let side = if excess.import { "import" } else { "export" };
    let need: ExactEnergy = flows.groups.iter().map(|g| g.load + g.solar).sum::<ExactEnergy>() + flows.work;
    let givers = if flows.island { "batteries and generators" } else { "the batteries" };
    let need_w = -need.as_watt_seconds() / flows.seconds.max(1);
    if decision.missing > 0 {
        return format!("{} measurements were missing when the set-points were chosen", decision.missing);
    }
    if excess.import && decision.able_w <= decision.asked_w + 50 {
        return format!(
            "{givers} gave all they had ({:.2} kW) against a need of {:.2} kW",
            kw(decision.able_w.max(0)),
            kw(need_w)
        );
    }
    if excess.import && need_w > decision.at_most_w {
        return format!(
            "the need rose to {:.2} kW within the step; {:.2} kW was expected and {:.2} kW at the most",
            kw(need_w),
            kw(decision.expected_w),
            kw(decision.at_most_w)
        );
    }
    if flows.island {
        return format!(
            "{:.2} kW lacked with a need of {:.2} kW, {:.2} kW expected",
            excess.over.as_kw(),
            kw(need_w),
            kw(decision.expected_w)
        );
    }
    format!(
        "{side} was {:.2} kW over with a need of {:.2} kW, {:.2} kW expected",
        excess.over.as_kw(),
        kw(need_w),
        kw(decision.expected_w)
    )
}

/// Why the limit of a feeder was exceeded.
fn of_feeder(feeder: &SiteFeeder, excess: &Excess, flow: &FeederFlow, decision: &Decision) -> String {
    let name = &feeder.name;
    if decision.missing > 0 {
        let missing = decision.missing;
        return format!("feeder {name}: {missing} measurements were missing when the set-points were chosen");
    }
    let (side, limit) = match excess.import {
        true => ("into", flow.import_limit),
        false => ("out of", flow.export_limit),
    };
    let limit = limit.unwrap_or(Power::ZERO);
    format!("feeder {name}: {:.2} flowed {side} it, {limit:.2} may", limit + excess.over)
}

/// Mean carbon intensity of a period, by the hour.
#[must_use]
pub fn mean_carbon(model: &SiteModel, from: Timestamp, to: Timestamp) -> CarbonIntensity {
    let hours = usize::try_from(to.duration_since(from).as_hours()).unwrap_or(0).max(1);
    let at = |hour: usize| from + jiff::SignedDuration::from_hours(i64::try_from(hour).unwrap_or(i64::MAX));
    let sum: f64 = (0..hours).map(|hour| carbon(&model.connection.carbon, at(hour)).as_kg_per_kwh()).sum();
    CarbonIntensity::kg_per_kwh(sum / hours as f64)
}
