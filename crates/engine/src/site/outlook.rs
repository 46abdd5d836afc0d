//! What a site expects: forecasts of its loads, its sun, its carbon intensity, and of its net need in the next tick.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_dispatch::Step;
use sos_forecast::{Character, Forecast, ForecastConfig, Forecaster, Hours as Around, SumForecaster};
use sos_units::{CarbonIntensity, Energy, Missing, Power, Price, Reading};

use super::background::Background;
use super::feeders::ExpectedFeeder;
use super::foresight::Tracked;
use super::model::{Heat, Kind, SiteModel, Value};
use super::plan::{Expected, usable_capacity};
use super::storages::HeatExpected;
use crate::signals::SignalSeries;

/// Ticks shorter than this are averaged before they are forecast.
const SHORTEST_STEP: SignedDuration = SignedDuration::from_mins(5);
const HOUR: i64 = 3600;
/// Days of measured need that the reserve for the import limit rests on (`docs/study-fontana.md`).
const RESERVE_DAYS: usize = 28;
/// Hours over which a peak is added up.
const RESERVE_WINDOW: usize = 6;
/// Need above this share of the import limit counts towards the reserve.
const RESERVE_FROM: f64 = 0.7;
/// The reserve is at most this share of the batteries' capacity.
const RESERVE_CAP: f64 = 0.3;
/// Delivered per stored energy, when the reserve is turned into stored energy.
const RESERVE_EFFICIENCY: f64 = 0.95;

/// On an island half of the difference between what is measured and what was forecast is left after this time.
const FADES: SignedDuration = SignedDuration::from_hours(2);

/// Quantiles of the forecasts of a site.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// The forecasters of a site. They learn with every tick and know nothing that is later than the time they are asked.
#[derive(Debug)]
pub struct Outlook {
    pub(super) members: Vec<Option<Member>>,
    pub(super) carbon: Option<Tracked>,
    carbon_seen: Option<Timestamp>,
    /// Of the sum of all members as need, import positive.
    pub(super) need: Tracked<SumForecaster>,
    need_mean: Averager,
    /// The same tick by tick, for the next one.
    net: Forecaster,
    /// And for what is behind each feeder, in the order of the model.
    behind: Vec<Behind>,
    /// Local day on which series were looked at last.
    pub(super) renewed: Option<Date>,
    /// Where all members are asked.
    pub(super) background: Option<Background>,
    hours: HourlyNeed,
    /// The latest step that was asked for tick by tick, by its number, with what was expected.
    expected_step: Option<(i64, Vec<Power>)>,
    step: SignedDuration,
    zone: TimeZone,
}

#[derive(Debug)]
pub(super) struct Member {
    /// −1 for a load, whose forecast is a magnitude; +1 for generation.
    pub(super) sign: f64,
    pub(super) tracked: Tracked,
    mean: Averager,
    /// Own power in the tick that was learned last, kW, positive into the site, when it was measured.
    last: Option<f64>,
}

/// What cannot be chosen behind a feeder.
#[derive(Debug)]
struct Behind {
    /// Assets with forecasts, by index.
    members: Vec<usize>,
    /// Of their need, import positive.
    net: Forecaster,
}

/// What the next tick may bring, as net power of what cannot be chosen, positive into the site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextTick {
    /// Expected.
    pub net: Power,
    /// Hardly ever undercut at this time of day.
    pub pessimistic: Power,
    /// Hardly ever undercut at any time of day.
    pub pessimistic_any: Power,
    /// Hardly ever exceeded.
    pub optimistic: Power,
    /// Whether enough was seen for these bounds to mean what they say; before that they are as wide as can be.
    pub learned: bool,
}

/// Errors of the forecast that must have been seen for its bounds to mean what they say.
const LEARNED_FROM: usize = 10;
/// Until then: how often an error may be larger than what is reckoned with.
const SELDOM: f64 = 0.005;

impl NextTick {
    /// Of nobody.
    const fn nothing() -> Self {
        let net = Power::ZERO;
        Self { net, pessimistic: net, pessimistic_any: net, optimistic: net, learned: true }
    }

    /// The same, where until enough was seen no more comes than `most`, or than is expected.
    pub(super) fn at_most(self, most: Option<Power>) -> Self {
        let most = most.filter(|_| !self.learned).map_or(self.optimistic, |most| most.max(self.net));
        Self { optimistic: self.optimistic.min(most), ..self }
    }

    /// The same, as if nothing else could come.
    pub(super) const fn certain(self) -> Self {
        Self { pessimistic: self.net, pessimistic_any: self.net, optimistic: self.net, ..self }
    }
}

impl Outlook {
    /// Forecasters for everything that cannot be chosen at a site.
    ///
    /// # Errors
    /// When a step does not divide a day.
    pub fn new(model: &SiteModel) -> Result<Self, String> {
        let step = if model.tick >= SHORTEST_STEP { model.tick } else { model.plan_every };
        let zone = model.zone.clone();
        let make = |character, step: SignedDuration| {
            Forecaster::new(ForecastConfig::new(character, step, zone.clone()))
                .map_err(|error| error.to_string())
        };
        let members = model
            .assets
            .iter()
            .map(|asset| {
                let (sign, mut config) = match &asset.kind {
                    Kind::Load { .. } => (-1.0, ForecastConfig::new(Character::Load, step, zone.clone())),
                    // Nobody chooses what is only observed.
                    _ if asset.kind.is_movable() && !asset.is_chosen() => {
                        (-1.0, ForecastConfig::new(Character::Load, step, zone.clone()))
                    }
                    Kind::Solar { peak, of_wind, .. } => {
                        let character = if *of_wind { Character::Wind } else { Character::Solar };
                        let mut config = ForecastConfig::new(character, step, zone.clone());
                        config.prior = Some(peak.as_kw());
                        config.maximum = Some(peak.as_kw() * 1.2);
                        (1.0, config)
                    }
                    Kind::Battery(_) | Kind::Vehicle(_) | Kind::HeatPump(_) | Kind::Generator(_) => {
                        return Ok(None);
                    }
                };
                config.quantiles = QUANTILES.to_vec();
                let forecaster = Forecaster::new(config).map_err(|error| error.to_string())?;
                Ok(Some(Member {
                    sign,
                    tracked: Tracked::new(forecaster),
                    mean: Averager::default(),
                    last: None,
                }))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let carbon = match model.carbon_signal() {
            Some(series) if !series.is_published() => {
                Some(Tracked::new(make(Character::Carbon, series.step())?))
            }
            _ => None,
        };
        let behind = |place: usize| {
            let members = model.behind(place).into_iter().filter(|&asset| members[asset].is_some()).collect();
            Ok(Behind { members, net: make(Character::Net, model.tick)? })
        };
        let behind = (0..model.feeders.len()).map(behind).collect::<Result<Vec<_>, String>>()?;
        let mut sum = ForecastConfig::new(Character::Net, step, zone.clone());
        sum.quantiles = QUANTILES.to_vec();
        let need = SumForecaster::new(sum.clone()).map_err(|error| error.to_string())?;
        Ok(Self {
            members,
            carbon,
            carbon_seen: None,
            need: Tracked::sum(need, &sum),
            need_mean: Averager::default(),
            net: make(Character::Net, model.tick)?,
            behind,
            renewed: None,
            background: None,
            hours: HourlyNeed::default(),
            expected_step: None,
            step,
            zone,
        })
    }

    /// Step of the forecasts of power.
    pub(super) const fn step(&self) -> SignedDuration {
        self.step
    }

    /// Learns the tick `start..end`: own power of every asset, positive into the site; what belongs to a battery is
    /// ignored. `known_at` is when it became known.
    pub fn observe(
        &mut self,
        start: Timestamp,
        end: Timestamp,
        known_at: Timestamp,
        powers: &[Reading<Power>],
    ) {
        let mut net: Reading<f64> = Ok(0.0);
        let members = self.members.iter_mut().zip(powers);
        let members = members.filter_map(|(member, power)| Some((member.as_mut()?, power)));
        for (series, (member, power)) in members.enumerate() {
            let own = power.map(|power| power.as_kw());
            net = match (net, own) {
                (Ok(sum), Ok(kw)) => Ok(sum - kw),
                (Err(missing), _) | (_, Err(missing)) => Err(missing),
            };
            member.last = own.ok();
            let magnitude = own.map(|kw| kw * member.sign);
            if let Some((step_start, value)) = member.mean.add(start, end, self.step, magnitude) {
                member.tracked.observe(step_start, known_at, value);
                if let Some(background) = &self.background {
                    background.observe(series, step_start, known_at, value);
                }
            }
        }
        if let Some((step_start, value)) = self.need_mean.add(start, end, self.step, net) {
            self.need.observe(step_start, known_at, value);
        }
        self.net.observe(start, known_at, net);
        for one in &mut self.behind {
            let needs = one.members.iter().map(|&asset| powers[asset].map(|power| -power.as_kw()));
            one.net.observe(start, known_at, needs.sum());
        }
        if let Ok(kw) = net {
            self.hours.add(start, end, kw, &self.zone);
        }
    }

    /// Learns the values of the carbon signal that became known up to `now`.
    pub fn observe_signals(&mut self, model: &SiteModel, now: Timestamp) {
        let (Some(carbon), Some(series)) = (&mut self.carbon, model.carbon_signal()) else { return };
        let since = self.carbon_seen.unwrap_or(series.start());
        let place = self.members.iter().flatten().count();
        for (start, value) in series.completed(since, now) {
            let known_at = start + series.step();
            carbon.observe(start, known_at, value);
            if let Some(background) = &self.background {
                background.observe(place, start, known_at, value);
            }
        }
        self.carbon_seen = Some(now);
    }

    /// What is expected over the steps of a plan made at `now`.
    pub fn expected(&mut self, model: &SiteModel, now: Timestamp, steps: &[Step]) -> Expected {
        let end = steps.last().map_or(now, |step| step.start + hours(step));
        let mut expected = Expected {
            net: vec![Power::ZERO; steps.len()],
            renewables: vec![Power::ZERO; steps.len()],
            feeders: self.feeders(model, now, steps, end),
            ..Expected::default()
        };
        let horizon = count(now, end, self.step);
        let mut forecasts = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter_mut().enumerate() {
            let Some(member) = member else { continue };
            let forecast = member.tracked.forecast(now, horizon);
            let declared = model.assets[index].kind.expected();
            let power = |step: &Step| {
                let forecast = || Power::kw(member.sign * mean_over(&forecast, step));
                declared.and_then(|value| known(value, now, step)).unwrap_or_else(forecast)
            };
            let mut powers: Vec<Power> = steps.iter().map(power).collect();
            if let (true, Some(last)) = (model.connection.is_island(), member.last) {
                joined(&mut powers, Power::kw(last), member.sign, now, steps);
            }
            let chosen = super::plan::plans_with(model, index)
                && matches!(model.assets[index].kind, Kind::Solar { curtailable: true, .. });
            if chosen {
                expected.add_curtailable(model, index, powers);
            } else {
                expected.add(model, index, &powers);
                if member.sign > 0.0 {
                    expected.add_renewable(&powers);
                }
            }
            forecasts.push((forecast, -member.sign));
        }
        let forecasts: Vec<(&Forecast, f64)> = forecasts.iter().map(|(f, factor)| (&**f, *factor)).collect();
        let _ = self.need.forecast(now, horizon, &forecasts);
        expected.carbon = self.expected_carbon(model, &model.connection.carbon, now, steps, end);
        expected.reserve = self.reserves(model, steps);
        expected.heat =
            model.heat_pumps().map(|(index, _, heat)| (index, heat_expected(heat, now, steps))).collect();
        expected.import_price = prices(&model.connection.import_price, now, steps);
        expected.export_price = prices(&model.connection.export_price, now, steps);
        expected
    }

    /// What is expected of each feeder, still without power.
    fn feeders(
        &mut self,
        model: &SiteModel,
        now: Timestamp,
        steps: &[Step],
        end: Timestamp,
    ) -> Vec<ExpectedFeeder> {
        let mut all = Vec::with_capacity(model.feeders.len());
        for feeder in &model.feeders {
            let price = |value: &Option<Value<Price>>| {
                value
                    .as_ref()
                    .map_or_else(|| vec![Price::ZERO; steps.len()], |value| prices(value, now, steps))
            };
            let none = Value::Fixed(CarbonIntensity::ZERO);
            all.push(ExpectedFeeder {
                net: vec![Power::ZERO; steps.len()],
                import_price: price(&feeder.import_price),
                export_price: price(&feeder.export_price),
                carbon: self.expected_carbon(model, feeder.carbon.as_ref().unwrap_or(&none), now, steps, end),
            });
        }
        all
    }

    /// Own power expected of every asset in the tick that starts at `start`, positive into the site, by what was known
    /// when the step of the forecasts began; batteries idle.
    pub fn expected_tick(&mut self, start: Timestamp) -> Vec<Power> {
        let step = start.as_second().div_euclid(self.step.as_secs().max(1));
        if let Some((_, powers)) = self.expected_step.as_ref().filter(|(known, _)| *known == step) {
            return powers.clone();
        }
        let one = |member: &mut Option<Member>| {
            let Some(member) = member else { return Power::ZERO };
            let forecast = member.tracked.forecaster.forecast(start, 1);
            Power::kw(member.sign * forecast.mean.first().copied().unwrap_or_default())
        };
        let powers: Vec<Power> = self.members.iter_mut().map(one).collect();
        self.expected_step = Some((step, powers.clone()));
        powers
    }

    /// An intensity over the steps. The signal that is forecast is forecast wherever it is used.
    fn expected_carbon(
        &mut self,
        model: &SiteModel,
        value: &Value<CarbonIntensity>,
        now: Timestamp,
        steps: &[Step],
        end: Timestamp,
    ) -> Vec<CarbonIntensity> {
        let is_forecast =
            |series: &SignalSeries| model.carbon_signal().is_some_and(|one| one.name() == series.name());
        let tracked =
            self.carbon.as_mut().filter(|_| matches!(value, Value::Series(series) if is_forecast(series)));
        match (value, tracked) {
            (Value::Fixed(intensity), _) => vec![*intensity; steps.len()],
            (Value::Series(series), None) => steps
                .iter()
                .map(|step| {
                    let known = series.known(step.start, now);
                    CarbonIntensity::kg_per_kwh(
                        known.unwrap_or_else(|_| series.actual_or_before(now)).max(0.0),
                    )
                })
                .collect(),
            (Value::Series(series), Some(carbon)) => {
                let forecast = carbon.forecast(now, count(now, end, series.step()));
                steps
                    .iter()
                    .map(|step| {
                        let known = series.known_mean(step.start, step.start + hours(step), now);
                        let kg = known.unwrap_or_else(|| mean_over(&forecast, step));
                        CarbonIntensity::kg_per_kwh(kg.max(0.0))
                    })
                    .collect()
            }
        }
    }

    /// What the tick that starts at `now` may bring. Where a step of the plan begins, `planned` is what it expects; else
    /// the last tick goes on (`docs/study-fontana.md`). The spread around that is the largest that was seen.
    pub fn next_tick(
        &mut self,
        now: Timestamp,
        planned: Option<Power>,
        last: Option<Power>,
    ) -> Option<NextTick> {
        Some(next_of(&mut self.net, now, planned, last))
    }

    /// The same for what is behind each feeder, in the order of the model.
    pub(super) fn next_behind(
        &mut self,
        now: Timestamp,
        planned: impl Fn(usize) -> Option<Power>,
        last: impl Fn(usize) -> Option<Power>,
    ) -> Vec<NextTick> {
        let next = |(place, one): (usize, &mut Behind)| match one.members.is_empty() {
            true => NextTick::nothing(),
            false => next_of(&mut one.net, now, planned(place), last(place)),
        };
        self.behind.iter_mut().enumerate().map(next).collect()
    }

    /// Energy to be kept in the batteries for the import limit at a time.
    #[must_use]
    pub fn reserve(&self, model: &SiteModel, at: Timestamp) -> Energy {
        let Some(limit) = reserved_for(model) else { return Energy::ZERO };
        let cap = usable_capacity(model) * RESERVE_CAP;
        self.hours.reserve(local_hour(at, &self.zone), limit.as_kw() * RESERVE_FROM).min(cap)
    }

    fn reserves(&self, model: &SiteModel, steps: &[Step]) -> Vec<Energy> {
        let Some(limit) = reserved_for(model) else { return vec![Energy::ZERO; steps.len()] };
        let cap = usable_capacity(model) * RESERVE_CAP;
        let by_hour: Vec<Energy> =
            (0..24).map(|hour| self.hours.reserve(hour, limit.as_kw() * RESERVE_FROM).min(cap)).collect();
        steps.iter().map(|step| by_hour[local_hour(step.start, &self.zone)]).collect()
    }
}

fn next_of(net: &mut Forecaster, now: Timestamp, planned: Option<Power>, last: Option<Power>) -> NextTick {
    let near = net.next_step(now, 1.0, Around::Near);
    let any = net.next_step(now, 1.0, Around::All);
    let low = net.next_step(now, 0.0, Around::Near);
    let expected = planned.or(last).unwrap_or(Power::kw(-near.estimate));
    let above = |quantile: f64, estimate: f64| Power::kw((quantile - estimate).max(0.0));
    let (here, anywhere) = (above(near.quantile, near.estimate), above(any.quantile, any.estimate));
    let learned = near.errors >= LEARNED_FROM;
    // In the first days the spread of one hour is a guess, which one jump makes far larger than all that was ever seen.
    let worst = if learned { here } else { here.min(anywhere * beyond(any.errors)) };
    NextTick {
        net: expected,
        pessimistic: expected - worst,
        pessimistic_any: expected - anywhere,
        optimistic: expected + above(-low.quantile, -low.estimate),
        learned,
    }
}

/// How far beyond the largest of some errors lies what is exceeded [`SELDOM`], if many are small and few large (exponential, whose
/// largest of n is expected to grow with ln n). At least 1.
fn beyond(errors: usize) -> f64 {
    (-SELDOM.ln() / (errors.max(1) as f64 + 1.0).ln()).max(1.0)
}

/// The import limit that energy is kept for; none on an island, where nothing can be bought in time.
fn reserved_for(model: &SiteModel) -> Option<Power> {
    model.connection.import_limit.filter(|_| !model.connection.is_island())
}

fn local_hour(at: Timestamp, zone: &TimeZone) -> usize {
    usize::try_from(zone.to_datetime(at).hour()).unwrap_or(0) % 24
}

fn hours(step: &Step) -> SignedDuration {
    SignedDuration::from_secs((step.duration.get() * 3600.0).round() as i64)
}

pub(super) fn count(from: Timestamp, to: Timestamp, step: SignedDuration) -> usize {
    let steps = to.duration_since(from).as_secs() / step.as_secs().max(1);
    usize::try_from(steps).unwrap_or(0) + 2
}

/// Mean of a forecast over a step of the plan; the nearest value where the forecast does not reach.
fn mean_over(forecast: &Forecast, step: &Step) -> f64 {
    let (from, to) = (step.start, step.start + hours(step));
    let (mut sum, mut weight) = (0.0, 0.0);
    let grid = &forecast.grid;
    let first =
        grid.index_of(from).unwrap_or(if from < grid.start() { 0 } else { grid.len().saturating_sub(1) });
    for index in first..grid.len() {
        let (start, end) = (grid.at(index).max(from), grid.at(index + 1).min(to));
        let overlap = end.duration_since(start).as_secs_f64();
        if overlap <= 0.0 {
            break;
        }
        sum += forecast.mean[index] * overlap;
        weight += overlap;
    }
    if weight > 0.0 { sum / weight } else { forecast.mean.get(first).copied().unwrap_or(0.0) }
}

/// Lets what is expected begin with what is measured now: an island has to meet that, whatever was forecast. The difference fades.
fn joined(powers: &mut [Power], last: Power, sign: f64, now: Timestamp, steps: &[Step]) {
    let Some(first) = powers.first().copied() else { return };
    for (power, step) in powers.iter_mut().zip(steps) {
        let ahead = step.start.duration_since(now).as_secs_f64() / FADES.as_secs_f64();
        let size = (*power + (last - first) * 0.5_f64.powf(ahead)) * sign;
        *power = size.max(Power::ZERO) * sign;
    }
}

/// The declared power over a step, as far as it is known at `now`.
fn known(declared: &Value<Power>, now: Timestamp, step: &Step) -> Option<Power> {
    match declared {
        Value::Fixed(power) => Some(*power),
        Value::Series(series) => series.known_mean(step.start, step.start + hours(step), now).map(Power::kw),
    }
}

/// Prices of the steps as far as they are published; beyond that, what held a day before.
fn prices(value: &Value<Price>, now: Timestamp, steps: &[Step]) -> Vec<Price> {
    ahead(value, now, steps, Price::per_kwh)
}

/// Values of the steps as far as they are known; beyond that, what held a day before.
fn ahead<T: Copy>(value: &Value<T>, now: Timestamp, steps: &[Step], make: impl Fn(f64) -> T) -> Vec<T> {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    let series = match value {
        Value::Fixed(value) => return vec![*value; steps.len()],
        Value::Series(series) => series,
    };
    let at = |time: Timestamp| {
        let mut time = time;
        for _ in 0..14 {
            if let Ok(value) = series.known(time, now) {
                return make(value);
            }
            time -= DAY;
        }
        let last = series.known(now, now);
        make(last.unwrap_or_else(|_| series.actual_or_before(now - series.step())))
    };
    steps.iter().map(|step| at(step.start)).collect()
}

/// What a heat pump is expected to meet.
fn heat_expected(heat: &Heat, now: Timestamp, steps: &[Step]) -> HeatExpected {
    let flow = heat.flow.as_ref().map(|flow| ahead(flow, now, steps, Power::kw));
    let outside = heat.outside.as_ref().map(|outside| ahead(outside, now, steps, |value| value));
    HeatExpected {
        cop: ahead(&heat.cop, now, steps, |value| value),
        flow: flow.unwrap_or_else(|| vec![Power::ZERO; steps.len()]),
        outside: outside.unwrap_or_default(),
    }
}

/// Averages ticks into longer steps.
#[derive(Clone, Copy, Debug, Default)]
struct Averager {
    step_start: Option<Timestamp>,
    sum: f64,
    seconds: f64,
}

impl Averager {
    /// Adds a tick; when it completes a step, returns the step's start and mean.
    fn add(
        &mut self,
        start: Timestamp,
        end: Timestamp,
        step: SignedDuration,
        value: Reading<f64>,
    ) -> Option<(Timestamp, Reading<f64>)> {
        let length = step.as_secs().max(1);
        let step_start = Timestamp::from_second(start.as_second().div_euclid(length) * length).ok()?;
        if self.step_start != Some(step_start) {
            *self = Self { step_start: Some(step_start), ..Self::default() };
        }
        if let Ok(value) = value {
            let seconds = end.duration_since(start).as_secs_f64();
            self.sum += value * seconds;
            self.seconds += seconds;
        }
        if end.as_second() < step_start.as_second() + length {
            return None;
        }
        let mean = if self.seconds > 0.0 { Ok(self.sum / self.seconds) } else { Err(Missing::Gap) };
        *self = Self::default();
        Some((step_start, mean))
    }
}

/// Measured need by the hour, over the last weeks.
#[derive(Clone, Debug, Default)]
struct HourlyNeed {
    hours: VecDeque<(i64, usize, f64)>,
    running: Option<(i64, usize, f64, f64)>,
}

impl HourlyNeed {
    fn add(&mut self, start: Timestamp, end: Timestamp, kw: f64, zone: &TimeZone) {
        let hour = start.as_second().div_euclid(HOUR);
        let seconds = end.duration_since(start).as_secs_f64();
        match &mut self.running {
            Some((running, _, sum, weight)) if *running == hour => {
                *sum += kw * seconds;
                *weight += seconds;
            }
            running => {
                if let Some((before, local, sum, weight)) = running.take() {
                    self.hours.push_back((before, local, if weight > 0.0 { sum / weight } else { 0.0 }));
                }
                *running = Some((hour, local_hour(start, zone), kw * seconds, seconds));
            }
        }
        while self.hours.len() > RESERVE_DAYS * 24 {
            self.hours.pop_front();
        }
    }

    /// The largest energy that the need above `from` kW took in windows which began near this hour of the day.
    fn reserve(&self, hour: usize, from: f64) -> Energy {
        let near = |local: usize| (local + 25 - hour) % 24 <= 2;
        let above = |kw: f64| (kw - from).max(0.0);
        let windows = (0..self.hours.len()).filter(|&i| near(self.hours[i].1)).map(|i| {
            let window = self.hours.range(i..(i + RESERVE_WINDOW).min(self.hours.len()));
            window.map(|(_, _, kw)| above(*kw)).sum::<f64>()
        });
        Energy::kwh(windows.fold(0.0, f64::max) / RESERVE_EFFICIENCY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_averaged_into_steps() {
        let mut mean = Averager::default();
        let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let step = SignedDuration::from_mins(15);
        let tick = SignedDuration::from_mins(5);
        assert_eq!(mean.add(start, start + tick, step, Ok(1.0)), None);
        assert_eq!(mean.add(start + tick, start + tick * 2, step, Err(Missing::Gap)), None);
        assert_eq!(mean.add(start + tick * 2, start + step, step, Ok(3.0)), Some((start, Ok(2.0))));
        assert_eq!(
            mean.add(start + step, start + step * 2, step, Err(Missing::Gap)),
            Some((start + step, Err(Missing::Gap)))
        );
    }

    #[test]
    fn a_declared_power_is_planned_with_as_far_as_it_is_known() {
        let mut model = super::super::testing::site("");
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let hour = SignedDuration::from_hours(1);
        let steps: Vec<Step> =
            (0..2).map(|t| Step { start: start + hour * t, duration: sos_units::Hours::new(1.0) }).collect();
        let mut net = |power| {
            let load = model.assets.iter_mut().find(|asset| asset.name == "load").unwrap();
            load.kind = Kind::Load { net_of: Vec::new(), power };
            Outlook::new(&model).unwrap().expected(&model, start, &steps).net
        };
        let forecast = net(None);
        assert_eq!(net(Some(Value::Fixed(Power::kw(-2.0)))), [Power::kw(-2.0); 2]);
        let grid = sos_units::TimeGrid::new(start, hour, 2).unwrap();
        let ahead = sos_model::KnownAhead::For(SignedDuration::from_mins(30));
        let series = crate::signals::SignalSeries::new("load", grid, vec![Ok(-3.0), Ok(-4.0)], ahead);
        let known = net(Some(Value::Series(std::sync::Arc::new(series))));
        assert_eq!(known, [Power::kw(-3.0), forecast[1]], "the second hour is not known yet");
    }

    #[test]
    fn in_the_first_days_one_jump_is_no_reason_to_keep_everything_free() {
        let ahead = [0, 1, 2, 10, 70, 199, 5000].map(beyond);
        assert!(ahead.windows(2).all(|pair| pair[1] <= pair[0]), "{ahead:?}");
        assert!(
            (ahead[4] - 200.0_f64.ln() / 71.0_f64.ln()).abs() < 1e-12 && ahead[6] < 1.0 + 1e-12,
            "{ahead:?}"
        );
        let mut net =
            Forecaster::new(ForecastConfig::new(Character::Net, SignedDuration::from_mins(5), TimeZone::UTC))
                .unwrap();
        let start: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let at = |tick: i32| start + SignedDuration::from_mins(5) * tick;
        // Two days of half a kilowatt, more or less, and one jump.
        for tick in 0..576 {
            let kw = if tick == 301 { 7.0 } else { 0.5 + 0.1 * f64::from(tick % 5) };
            net.observe(at(tick), at(tick + 1), Ok(kw));
        }
        let next = next_of(&mut net, at(576), None, None);
        let kept = (next.net - next.pessimistic).as_kw();
        assert!(!next.learned && kept > 0.0 && kept < 2.0, "{next:?}");
    }

    #[test]
    fn on_an_island_what_is_expected_begins_with_what_is_measured() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let step = |t: i32| Step {
            start: start + SignedDuration::from_hours(1) * t,
            duration: sos_units::Hours::new(1.0),
        };
        let mut powers = [20.0, 20.0, 0.0].map(Power::kw);
        joined(&mut powers, Power::kw(4.0), 1.0, start, &[step(0), step(2), step(4)]);
        assert_eq!(powers, [4.0, 12.0, 0.0].map(Power::kw), "no plant consumes");
    }

    #[test]
    fn the_reserve_covers_the_worst_evening_and_nothing_at_noon() {
        let mut need = HourlyNeed::default();
        let midnight: Timestamp = "2016-08-01T00:00:00Z".parse().unwrap();
        for hour in 0..72 {
            let start = midnight + SignedDuration::from_hours(hour);
            let kw = if hour % 24 == 18 { 10.0 + hour as f64 / 24.0 } else { 1.0 };
            need.add(start, start + SignedDuration::from_hours(1), kw, &TimeZone::UTC);
        }
        assert_eq!(need.reserve(3, 8.0), Energy::ZERO);
        let evening = need.reserve(17, 8.0).as_kwh();
        assert!((evening - 4.75 / 0.95).abs() < 1e-9, "{evening}");
    }
}
