//! A site in co-simulation (`sos control`): another program hands over time, measurements and signals, line by line, and takes
//! set-points. It sees, expects, plans and decides with the loop's own parts; only the devices, the store and the clock are not
//! there.

mod line;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sos_dispatch::Memory;
use sos_model::{Declared, KnownAhead, Mode, SiteSpec, duration_text};
use sos_units::{ExactEnergy, GridError, Missing, Power, Reading, Soc, TimeGrid};

pub use self::line::{Ahead, Answer, Line, Measured};
use super::carried::{Carried, Exchange};
use super::case::{self, Read};
use super::decide::{Order, Snapshot, decide};
use super::generators::{Book, Live};
use super::links::AssetReading;
use super::model::{Asset, Kind, SiteModel, Value};
use super::movable::Movables;
use super::outlook::Outlook;
use super::plan::SitePlan;
use super::planner::{Basis, Seen, turned_down};
use super::telemetry::own_power;
use crate::clock::Speed;
use crate::folder::Series;
use crate::signals::SignalSeries;

/// The most steps of a plan.
const MOST_STEPS: i64 = 40_000;
/// The longest horizon and `planEvery`.
const LONGEST: SignedDuration = SignedDuration::from_hours(10 * 8784);
/// Ticks before the first line from which forecasters learn: more than a year of quarter-hours.
const MOST_HISTORY: i64 = 40_000;
/// What lines tell ahead is kept for as many steps of its signal, and for as long as plans reach.
const STEPS_AHEAD: i32 = 40_000;
/// Values of lines are kept for so long; prices beyond what is published are those of up to 14 days before.
const KEPT: SignedDuration = SignedDuration::from_hours(15 * 24);

/// A signal as it is known, with the factor from its unit to the canonical one.
#[derive(Debug)]
struct Signal {
    series: Arc<SignalSeries>,
    scale: f64,
}

/// A site that is driven from outside.
#[derive(Debug)]
pub struct Control {
    model: SiteModel,
    outlook: Outlook,
    /// Where the search for the latest plan stood.
    search: Memory,
    signals: BTreeMap<String, Signal>,
    /// Expected powers as the manifests declare them, by asset.
    declared: Vec<Option<Value<Power>>>,
    /// Forecasts that the lines gave, by asset.
    ahead: BTreeMap<usize, SignalSeries>,
    plan: Option<SitePlan>,
    book: Book,
    movables: Movables,
    orders: Vec<Order>,
    last: Option<Timestamp>,
    told_spacing: bool,
    prices_known: bool,
    /// What charges have counted.
    carried: Carried,
}

/// What a line says of the assets.
struct Now {
    readings: Vec<Reading<AssetReading>>,
    /// Own power, measured or else as declared.
    own: Vec<Reading<Power>>,
    socs: BTreeMap<usize, Soc>,
    coming: BTreeMap<usize, Soc>,
    generators: BTreeMap<usize, Live>,
}

impl Control {
    /// The one site that is declared, whose batteries, generators and curtailable plants are set whatever their `mode`.
    ///
    /// # Errors
    /// All problems at once: not one site, references that lead nowhere, times that make no plan.
    pub fn new(read: &Read) -> Result<Self, Vec<sos_model::Problem>> {
        let site = read.site().map_err(|problem| vec![problem])?;
        let Some(spec) = site.site() else { return Err(Vec::new()) };
        let (tick, plan_every) = times(read, site, spec).map_err(|problem| vec![problem])?;
        let series = all_series(read, tick)?;
        let mut model = case::assemble_one(read, site, &series)?;
        (model.tick, model.plan_every) = (tick, plan_every);
        for asset in &mut model.assets {
            if asset.kind.is_choosable() || matches!(asset.kind, Kind::Solar { curtailable: true, .. }) {
                asset.mode = Mode::Control;
            }
        }
        let setup = |why: String| vec![site.problem("spec", why, "")];
        let mut outlook = Outlook::new(&model).map_err(setup)?;
        outlook.start(&model, Speed::LockStep).map_err(setup)?;
        let forecast = model.assets.iter().enumerate().filter(|(_, asset)| is_forecast(&asset.kind));
        let waiting = |(index, asset): (usize, &Asset)| {
            Ok((index, empty(&asset.name, outlook.step(), KnownAhead::Never)?))
        };
        let ahead = forecast.map(waiting).collect::<Result<_, GridError>>();
        let ahead = ahead.map_err(|error| setup(error.to_string()))?;
        let scales = read.signals().map(|(one, signal)| (one.name.to_string(), signal.unit.scale));
        let scales: BTreeMap<String, f64> = scales.collect();
        let signal = |(name, series): (String, Arc<SignalSeries>)| {
            let scale = scales.get(&name).copied().unwrap_or(1.0);
            (name, Signal { series, scale })
        };
        Ok(Self {
            declared: model.assets.iter().map(|asset| asset.kind.expected().cloned()).collect(),
            signals: series.into_iter().map(signal).collect(),
            model,
            outlook,
            search: Memory::default(),
            ahead,
            plan: None,
            book: Book::default(),
            movables: Movables::default(),
            orders: Vec::new(),
            last: None,
            told_spacing: false,
            prices_known: false,
            carried: Carried::default(),
        })
    }

    /// Takes a line: what was measured up to its time, and what is known then. Answers set-points for the step that begins.
    ///
    /// # Errors
    /// What is wrong with the line: a time that is not later than the one before, a name that is not declared, a price that
    /// nobody has told yet. Nothing has changed then, except where it is said that a signal has no value.
    pub fn answer(&mut self, line: &Line) -> Result<Answer, String> {
        self.check(line)?;
        let (now, mut notes) = (line.time, Vec::new());
        notes.extend(self.spacing(now));
        self.hear(line);
        self.prices_are_known(now)?;
        let seen = self.see(line);
        self.learn(now, &seen);
        self.outlook.observe_signals(&self.model, now);
        self.outlook.refresh(&self.model, now);
        notes.extend(self.plan_if_due(now, &seen));
        self.orders = self.choose(now, &seen);
        self.last = Some(now);
        Ok(self.words(line, notes))
    }

    /// Told once: set-points hold for a tick.
    fn spacing(&mut self, now: Timestamp) -> Option<String> {
        let apart = now.duration_since(self.last?);
        if apart == self.model.tick || std::mem::replace(&mut self.told_spacing, true) {
            return None;
        }
        let (apart, tick) = (duration_text(apart), duration_text(self.model.tick));
        Some(format!(
            "lines are {apart} apart, but set-points hold for {tick}: that is the tick of Site/{}",
            self.model.name
        ))
    }

    /// Takes over what the line says of signals, and its forecasts of assets.
    fn hear(&mut self, line: &Line) {
        let (now, kept) = (line.time, line.time - KEPT);
        let plans = self.model.horizon + self.model.plan_every;
        let end =
            |series: &SignalSeries| now + plans.max(series.step().saturating_mul(STEPS_AHEAD).min(LONGEST));
        let mut renewed: BTreeMap<&String, SignalSeries> = BTreeMap::new();
        for (name, ahead) in &line.ahead {
            let index = self.forecast_asset(name);
            if let Some((index, series)) = index.and_then(|index| Some((index, self.ahead.get_mut(&index)?)))
            {
                series.forget(kept, now);
                ahead.tell(series, 1.0, now, end(series));
                let shown = Arc::new(series.clone());
                self.model.assets[index].kind.expect(Some(Value::Series(shown)));
            } else if let Some(signal) = self.signals.get(name) {
                let series = renewed.entry(name).or_insert_with(|| SignalSeries::clone(&signal.series));
                series.forget(kept, now);
                ahead.tell(series, signal.scale, now, end(series));
            }
        }
        for (name, value) in &line.signals {
            let Some(signal) = self.signals.get(name) else { continue };
            let series = renewed.entry(name).or_insert_with(|| SignalSeries::clone(&signal.series));
            series.forget(kept, Timestamp::MAX);
            series.tell(now, now + SignedDuration::from_secs(1), value.map(|value| value * signal.scale));
        }
        for (name, series) in renewed {
            let series = Arc::new(series);
            self.model.renew_series(&series);
            if let Some(signal) = self.signals.get_mut(name) {
                signal.series = series;
            }
        }
    }

    /// The index of the load or plant with this name.
    fn forecast_asset(&self, name: &str) -> Option<usize> {
        self.model.assets.iter().position(|asset| asset.name == name && is_forecast(&asset.kind))
    }

    /// No price, no efficiency and no temperature is taken to be zero.
    fn prices_are_known(&mut self, now: Timestamp) -> Result<(), String> {
        if self.prices_known {
            return Ok(());
        }
        let mut needed = self.model.exchange_series().chain(self.model.heat_series());
        let unknown = needed.find(|series| !series.has_value(now));
        if let Some(series) = unknown {
            let name = series.name();
            return Err(format!(
                "signal {name} has no value yet; expected it in \"signals\" or \"ahead\" of the first line"
            ));
        }
        self.prices_known = true;
        Ok(())
    }

    fn see(&mut self, line: &Line) -> Now {
        let nothing = Measured::default();
        let measured = |name: &String| line.measured.get(name).unwrap_or(&nothing);
        let assets = || self.model.assets.iter();
        let device: Vec<Reading<Power>> = assets()
            .enumerate()
            .map(|(index, asset)| {
                let told = line.measured.contains_key(&asset.name);
                measured(&asset.name).power.or_else(|why| self.followed(index, told).ok_or(why))
            })
            .collect();
        let reading = |(asset, power): (&Asset, &Reading<Power>)| {
            power.map(|power| AssetReading::of(power, share(asset, measured(&asset.name))))
        };
        let readings: Vec<Reading<AssetReading>> = assets().zip(&device).map(reading).collect();
        let start =
            self.last.map_or(line.time - self.model.tick, |last| last.max(line.time - self.model.tick));
        let own = own_power(&self.model, &device).into_iter().enumerate();
        let own = own
            .map(|(index, own)| own.or_else(|missing| self.declared(index, start, line.time).ok_or(missing)));
        let own = own.collect();
        let socs = self.model.batteries();
        let socs = socs.filter_map(|(index, asset, _)| Some((index, share(asset, measured(&asset.name))?)));
        let mut socs: BTreeMap<usize, Soc> = socs.collect();
        let sight = self.movables.see(&self.model, self.last, line.time, &readings);
        socs.extend(sight.socs);
        let generators = self.book.see(&self.model, line.time, &readings);
        Now { readings, own, socs, coming: sight.coming, generators }
    }

    /// The power of a generator that nobody measured: what was ordered last, and at first what is declared. So of a vehicle or a
    /// heat pump whose state was `told` alone.
    fn followed(&self, index: usize, told: bool) -> Option<Power> {
        let ordered = self.orders.iter().find(|order| order.asset == index).and_then(|order| order.power);
        let kind = &self.model.assets[index].kind;
        if kind.is_movable() && told {
            return Some(ordered.unwrap_or(Power::ZERO));
        }
        let Kind::Generator(declared) = kind else { return None };
        let initially = declared.initially.as_ref().filter(|before| before.running);
        let initially = initially.map(|before| before.power.unwrap_or(declared.min_power));
        Some(ordered.or(initially).unwrap_or(Power::ZERO))
    }

    /// The declared mean power of an asset over a step that has ended.
    fn declared(&self, index: usize, start: Timestamp, end: Timestamp) -> Option<Power> {
        match self.declared[index].as_ref()? {
            Value::Fixed(power) => Some(*power),
            Value::Series(series) => {
                let series = &self.signals.get(series.name())?.series;
                series.mean(start, end).ok().map(Power::kw)
            }
        }
    }

    /// Teaches the forecasters the step that has ended, and what the declared series say of the time since they were taught last.
    fn learn(&mut self, now: Timestamp, seen: &Now) {
        let tick = self.model.tick;
        let start = self.last.map_or(now - tick, |last| last.max(now - tick));
        let from = self.last.or(self.recorded_from()).unwrap_or(start);
        let before = start.duration_since(from).as_secs().max(0) / self.model.tick_seconds();
        for back in (1..=before.min(MOST_HISTORY)).rev() {
            let from = start - SignedDuration::from_secs(back * self.model.tick_seconds());
            let own = |index| self.declared(index, from, from + tick).ok_or(Missing::Gap);
            let own: Vec<Reading<Power>> = (0..self.model.assets.len()).map(own).collect();
            if own.iter().any(Result::is_ok) {
                self.outlook.observe(from, from + tick, from + tick, &own);
            }
        }
        let mut could = seen.own.clone();
        for (index, available) in turned_down(&self.model, self.plan.as_ref(), &self.orders, &seen.own, start)
        {
            could[index] = Ok(available);
        }
        self.outlook.observe(start, now, now, &could);
        self.carry(start, now, &seen.own);
    }

    /// Counts what flowed in the step that has ended for the charges and the cap on it.
    fn carry(&mut self, start: Timestamp, now: Timestamp, own: &[Reading<Power>]) {
        let seconds = now.duration_since(start).as_secs();
        if seconds < 1 {
            return;
        }
        let energy = |power: &Reading<Power>| Some(ExactEnergy::from_power((*power).ok()?, seconds));
        let own: Vec<Option<ExactEnergy>> = own.iter().map(energy).collect();
        let exchange = Exchange::of(&self.model, (start, seconds), &own, ExactEnergy::ZERO);
        self.carried.observe(&self.model, &exchange);
    }

    /// The first time of a declared power that is recorded.
    fn recorded_from(&self) -> Option<Timestamp> {
        let series = |value: &Option<Value<Power>>| match value {
            Some(Value::Series(series)) => self.signals.get(series.name()).map(|signal| &signal.series),
            _ => None,
        };
        let recorded = self.declared.iter().filter_map(series);
        recorded.filter(|series| series.end() > series.start()).map(|series| series.start()).min()
    }

    fn plan_if_due(&mut self, now: Timestamp, seen: &Now) -> Option<String> {
        let basis = Basis { model: &self.model, now, seen: seen.of(), carried: &self.carried };
        if !basis.is_due(self.plan.as_ref()) {
            return None;
        }
        self.outlook.renew(&self.model, now);
        match basis.plan(&mut self.outlook, Some(&mut self.search), Vec::new()) {
            Ok(plan) => {
                let told = plan.fallback.then(|| format!("the plan comes from {}", plan.source));
                self.plan = Some(plan);
                told
            }
            Err(why) => Some(format!("no plan could be made, the one before stays in force: {why}")),
        }
    }

    fn choose(&mut self, now: Timestamp, seen: &Now) -> Vec<Order> {
        let basis = Basis { model: &self.model, now, seen: seen.of(), carried: &self.carried };
        let next = basis.next_tick(&mut self.outlook, self.plan.as_ref(), |_| true);
        let next_behind = basis.next_behind(&mut self.outlook, self.plan.as_ref());
        let (orders, _) = decide(&Snapshot {
            model: &self.model,
            now,
            readings: &seen.readings,
            socs: &seen.socs,
            generators: &seen.generators,
            plan: self.plan.as_ref(),
            standing: &[],
            next,
            next_behind: &next_behind,
            carried: &self.carried,
            work: Power::ZERO,
            reserve: self.outlook.reserve(&self.model, now),
        });
        orders
    }

    /// The orders as an answer. What nothing was ordered of gets the set-point that changes nothing: a battery rests, a plant
    /// gives all there is.
    fn words(&self, line: &Line, notes: Vec<String>) -> Answer {
        let missing = self.missing(line);
        let mut answer = Answer { notes, ..Answer::default() };
        for (index, asset) in self.model.assets.iter().enumerate() {
            let order = self.orders.iter().find(|order| order.asset == index);
            let power = order.and_then(|order| order.power);
            let because = order.map(|order| order.because.clone());
            let (power, because) = match &asset.kind {
                Kind::Battery(_) => {
                    let because =
                        because.unwrap_or_else(|| "0 kW: its state of charge is not known".to_owned());
                    (power.unwrap_or(Power::ZERO), because + &missing)
                }
                Kind::Solar { peak, curtailable: true, .. } => {
                    let because =
                        because.unwrap_or_else(|| "generating all there is: nothing is planned".to_owned());
                    (power.unwrap_or(*peak), because)
                }
                Kind::Generator(_) => {
                    let because = because.unwrap_or_else(|| "0 kW: nothing is planned".to_owned());
                    (power.unwrap_or(Power::ZERO), because)
                }
                Kind::Vehicle(_) => {
                    let because = because.unwrap_or_else(|| "0 kW: it is not plugged in".to_owned());
                    (power.unwrap_or(Power::ZERO), because)
                }
                Kind::HeatPump(_) => {
                    let because =
                        because.unwrap_or_else(|| "0 kW: its heat in store is not known".to_owned());
                    (power.unwrap_or(Power::ZERO), because)
                }
                Kind::Solar { .. } | Kind::Load { .. } => continue,
            };
            answer.setpoints.insert(asset.name.clone(), power);
            answer.because.insert(asset.name.clone(), because);
        }
        answer
    }

    /// What should have been measured and was not, to be said behind a reason.
    fn missing(&self, line: &Line) -> String {
        let unknown = |index: &usize| {
            let asset = &self.model.assets[*index];
            let measured = line.measured.get(&asset.name).is_some_and(|measured| measured.power.is_ok());
            is_forecast(&asset.kind) && !measured && self.declared[*index].is_none()
        };
        let missing = (0..self.model.assets.len()).filter(unknown);
        let missing: Vec<&str> = missing.map(|index| self.model.assets[index].name.as_str()).collect();
        match missing.as_slice() {
            [] => String::new(),
            [one] => format!("; {one} was not measured"),
            [first, rest @ ..] => format!("; {first} and {} more were not measured", rest.len()),
        }
    }
}

impl Now {
    fn of(&self) -> Seen<'_> {
        let (socs, coming) = (&self.socs, &self.coming);
        Seen {
            readings: &self.readings,
            own: &self.own,
            socs,
            coming,
            generators: &self.generators,
            standing: &[],
        }
    }
}

/// The state of charge that was measured of an asset, or that its temperature stands for.
fn share(asset: &Asset, measured: &Measured) -> Option<Soc> {
    let by_temperature = || {
        let Kind::HeatPump(heat) = &asset.kind else { return None };
        let sos_model::Heated::Building(building) = &heat.pump.heats else { return None };
        let share = building.share_at(sos_model::Temperature::celsius(measured.temperature.ok()?));
        Some(share.min(Soc::fraction(1.0)))
    };
    let share = |soc: Soc| soc.clamp(Soc::ZERO, Soc::fraction(1.0));
    measured.soc.ok().map(share).or_else(by_temperature)
}

const fn is_forecast(kind: &Kind) -> bool {
    matches!(kind, Kind::Load { .. } | Kind::Solar { .. })
}

/// The tick and the time between two plans. The tick is declared, or the step of the finest signal, or that between two plans.
fn times(
    read: &Read,
    site: &Declared,
    spec: &SiteSpec,
) -> Result<(SignedDuration, SignedDuration), sos_model::Problem> {
    let quarter = SignedDuration::from_mins(15);
    let recorded = read.series().values().map(|series| series.step());
    let finest = recorded.chain(read.lines_signals().filter_map(|(_, signal)| signal.step)).min();
    let tick = spec.tick.or(finest).or(spec.plan_every).unwrap_or(quarter);
    let plan_every = spec.plan_every.or(finest).unwrap_or(quarter).max(tick);
    if tick.as_secs() < 1 || tick.subsec_nanos() != 0 {
        return Err(site.problem("spec.tick", duration_text(tick), "expected whole seconds"));
    }
    let steps = spec.horizon.as_secs() / plan_every.as_secs();
    if steps > MOST_STEPS || spec.horizon > LONGEST || plan_every > LONGEST {
        let message =
            format!("plans of {} in steps of {}", duration_text(spec.horizon), duration_text(plan_every));
        let help = format!("expected at most {MOST_STEPS} steps and ten years");
        return Err(site.problem("spec.horizon", message, help));
    }
    Ok((tick, plan_every))
}

/// The recorded series, and empty ones for the signals whose values come with lines.
fn all_series(read: &Read, tick: SignedDuration) -> Result<Series, Vec<sos_model::Problem>> {
    let mut series = read.series().clone();
    for (one, signal) in read.lines_signals() {
        let step = signal.step.unwrap_or(tick);
        let empty = empty(one.name.as_str(), step, signal.known_ahead);
        let empty = empty.map_err(|error| vec![one.problem("spec.step", error.to_string(), "")])?;
        series.insert(one.name.to_string(), Arc::new(empty));
    }
    Ok(series)
}

/// A series of steps of this length that waits for what is told.
fn empty(name: &str, step: SignedDuration, known_ahead: KnownAhead) -> Result<SignalSeries, GridError> {
    let grid = TimeGrid::new(Timestamp::UNIX_EPOCH, step, 0)?;
    Ok(SignalSeries::new(name, grid, Vec::new(), known_ahead))
}
