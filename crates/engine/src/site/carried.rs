//! What a plan carries over from the time before it: the exchange, peaks and amounts of the running periods, emissions under a cap.
//! The same counts make the bill: what each charge costs is what its count rises to.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_model::{Charge, Charged};
use sos_units::{
    Emissions, ExactEmissions, ExactEnergy, ExactIntensity, ExactMoney, ExactPrice, Power, Price,
};

use super::account::carbon;
use super::intervals::{Interval, interval_of, length_of, parts, period_of};
use super::model::{Kind, SiteModel};

/// What flowed through the meters of a site in a tick, import positive; none where something was not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Start of the tick.
    pub start: Timestamp,
    /// Its length.
    pub seconds: i64,
    /// Through the connection.
    pub grid: Option<ExactEnergy>,
    /// Through each feeder, in the order of the model.
    pub feeders: Vec<Option<ExactEnergy>>,
    /// Emissions of what was imported or burnt.
    pub emissions: Option<ExactEmissions>,
}

impl Exchange {
    /// From the own energy of each asset, positive into the site, and the work of services, zero or below.
    #[must_use]
    pub fn of(
        model: &SiteModel,
        (start, seconds): (Timestamp, i64),
        own: &[Option<ExactEnergy>],
        work: ExactEnergy,
    ) -> Self {
        let grid = own.iter().copied().sum::<Option<ExactEnergy>>().map(|net| -(net + work));
        let mut feeders = vec![Some(ExactEnergy::ZERO); model.feeders.len()];
        for (asset, energy) in own.iter().enumerate() {
            for place in model.way(asset) {
                feeders[place] = feeders[place].zip(*energy).map(|(flow, energy)| flow - energy);
            }
        }
        let emissions = emitted(model, start, own, grid, &feeders);
        Self { start, seconds, grid, feeders, emissions }
    }
}

/// Emissions of what was imported or burnt; none where something was not known.
fn emitted(
    model: &SiteModel,
    start: Timestamp,
    own: &[Option<ExactEnergy>],
    grid: Option<ExactEnergy>,
    feeders: &[Option<ExactEnergy>],
) -> Option<ExactEmissions> {
    let mut sum = ExactEmissions::ZERO;
    // On an island what lacks is not imported.
    if !model.connection.is_island() {
        let intensity = carbon(&model.connection.carbon, start);
        sum += ExactIntensity::from_intensity(intensity) * grid?.positive_part();
    }
    for (feeder, flow) in model.feeders.iter().zip(feeders) {
        let Some(value) = &feeder.carbon else { continue };
        sum += ExactIntensity::from_intensity(carbon(value, start)) * (*flow)?.positive_part();
    }
    for (index, _, generator) in model.generators() {
        sum += ExactIntensity::from_intensity(generator.emissions) * own[index]?.positive_part();
    }
    Some(sum)
}

/// Own energy of each asset in a tick from what the devices say: a load's meter less what it measures together with others.
#[must_use]
pub fn own_energy(
    model: &SiteModel,
    device: impl Fn(usize) -> Option<ExactEnergy>,
) -> Vec<Option<ExactEnergy>> {
    let own = |(index, asset): (usize, &super::model::Asset)| {
        let Kind::Load { net_of, .. } = &asset.kind else { return device(index) };
        let others = net_of.iter().map(|&other| device(other)).sum::<Option<ExactEnergy>>()?;
        Some(device(index)? - others)
    };
    model.assets.iter().enumerate().map(own).collect()
}

/// The exchange so far, as far as charges, a cap and a price on its changes need it. Its size does not grow with time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// The last exchange with the grid, import positive.
    pub before: Option<Power>,
    /// Of each charge, by name.
    counted: BTreeMap<String, Counted>,
    /// First day of the running period of the carbon cap, and what was emitted in it.
    emitted: Option<(Date, ExactEmissions)>,
}

/// What a charge has counted in the running period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    /// The first day of the period.
    period: Date,
    /// The amount; of a peak what the highest interval drew.
    so_far: ExactEnergy,
    /// The interval that runs: its day, its begin in seconds after the begin of the day, and what it has drawn.
    running: Option<(Date, i64, ExactEnergy)>,
}

impl Counted {
    /// What an interval has drawn; nothing unless it is the one that runs.
    fn drawn_in(&self, interval: &Interval) -> ExactEnergy {
        match self.running {
            Some((day, after, drawn)) if (day, after) == (interval.day, interval.after) => drawn,
            _ => ExactEnergy::ZERO,
        }
    }
}

impl Carried {
    /// Takes over a tick. Answers by how much it makes each charge dearer; charges that nothing flowed for are left out.
    pub fn observe(&mut self, model: &SiteModel, exchange: &Exchange) -> Vec<(String, ExactMoney)> {
        let (start, seconds) = (exchange.start, exchange.seconds.max(1));
        let mean = |energy: ExactEnergy| Power::kw(energy.as_watt_seconds() as f64 / seconds as f64 / 1000.0);
        self.before = exchange.grid.map(mean);
        self.emit(model, exchange);
        let mut dearer = Vec::new();
        for (place, charge) in model.charges() {
            let flow = place.map_or(exchange.grid, |place| exchange.feeders[place]);
            let Some(flow) = flow else { continue };
            let more = self.count(charge, &model.zone, (start, seconds), flow.positive_part());
            if more != ExactMoney::ZERO {
                dearer.push((charge.name.to_string(), more));
            }
        }
        dearer
    }

    fn emit(&mut self, model: &SiteModel, exchange: &Exchange) {
        let Some(cap) = &model.carbon_cap else { return };
        let (Some(per), Some(emissions)) = (cap.per, exchange.emissions) else { return };
        let period = period_of(exchange.start, &model.zone, per);
        let so_far = match self.emitted {
            Some((running, so_far)) if running == period => so_far,
            Some(_) => ExactEmissions::ZERO,
            None => ExactEmissions::from_emissions(cap.so_far),
        };
        self.emitted = Some((period, so_far + emissions));
    }

    /// Counts an import over a tick of so many seconds; by how much it makes the charge dearer. A tick that reaches over the border
    /// of an interval or a period is split there.
    fn count(
        &mut self,
        charge: &Charge,
        zone: &TimeZone,
        (start, seconds): (Timestamp, i64),
        import: ExactEnergy,
    ) -> ExactMoney {
        let until = start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        // Parts are differences of what has flowed, so that they add up to the last digit.
        let flowed = |at: Timestamp| part_of(import, at.duration_since(start), until.duration_since(start));
        let mut more = ExactMoney::ZERO;
        for (from, to) in parts(charge, zone, (start, until)) {
            more += self.count_part(charge, zone, from, flowed(to) - flowed(from));
        }
        more
    }

    /// Counts an import within one interval or period, in which `at` lies.
    fn count_part(
        &mut self,
        charge: &Charge,
        zone: &TimeZone,
        at: Timestamp,
        import: ExactEnergy,
    ) -> ExactMoney {
        let period = period_of(at, zone, charge.per());
        let first = || Counted { period, so_far: declared(charge), running: None };
        let counted = self.counted.entry(charge.name.to_string()).or_insert_with(first);
        if counted.period != period {
            *counted = Counted { period, so_far: ExactEnergy::ZERO, running: None };
        }
        let before = paid(charge, counted.so_far);
        match &charge.on {
            Charged::Tier(_) => counted.so_far += import,
            Charged::Peak(_) => {
                let interval = interval_of(at, zone, length_of(charge));
                let drawn = counted.drawn_in(&interval) + import;
                counted.running = Some((interval.day, interval.after, drawn));
                counted.so_far = counted.so_far.max(levelled(charge, &interval, drawn));
            }
        }
        paid(charge, counted.so_far) - before
    }

    /// What a charge has counted in the period of a time, kW of a peak and kWh of an amount.
    #[must_use]
    pub fn of(&self, charge: &Charge, zone: &TimeZone, at: Timestamp) -> f64 {
        let counted = match self.counted.get(charge.name.as_str()) {
            Some(counted) if counted.period == period_of(at, zone, charge.per()) => counted.so_far,
            Some(_) => ExactEnergy::ZERO,
            None => declared(charge),
        };
        figure(charge, counted)
    }

    /// What the interval of a time amounts to already, as a mean over the whole of it, kW.
    #[must_use]
    pub fn running(&self, charge: &Charge, zone: &TimeZone, at: Timestamp) -> f64 {
        if !matches!(charge.on, Charged::Peak(_)) {
            return 0.0;
        }
        let interval = interval_of(at, zone, length_of(charge));
        let drawn = self.counted.get(charge.name.as_str()).map(|counted| counted.drawn_in(&interval));
        drawn.map_or(0.0, |drawn| figure(charge, levelled(charge, &interval, drawn)))
    }

    /// The mean import of a tick that begins at a time, its length in seconds, with which no interval that it reaches into exceeds
    /// this peak, kW.
    #[must_use]
    pub fn allowed(&self, charge: &Charge, zone: &TimeZone, at: Timestamp, tick: i64, peak: f64) -> Power {
        let interval = interval_of(at, zone, length_of(charge));
        let left = interval.end.duration_since(at).as_secs().clamp(1, interval.seconds());
        let unused = (peak - self.running(charge, zone, at)).max(0.0);
        let here = unused * interval.seconds() as f64 / left as f64;
        // The rest of the tick is in the next interval, of which nothing is used.
        let next = (tick - left).min(length_of(charge));
        let there = if next > 0 { peak * length_of(charge) as f64 / next as f64 } else { f64::INFINITY };
        Power::kw(here.min(there))
    }

    /// What was emitted in the period of a time that the carbon cap counts.
    #[must_use]
    pub fn emissions(&self, model: &SiteModel, at: Timestamp) -> Emissions {
        let Some(cap) = &model.carbon_cap else { return Emissions::ZERO };
        let period = cap.per.map(|per| period_of(at, &model.zone, per));
        match self.emitted {
            Some((running, so_far)) if Some(running) == period => so_far.to_emissions(),
            Some(_) => Emissions::ZERO,
            None => cap.so_far,
        }
    }
}

/// What a charge costs that has come to a count, what is declared to have been counted included.
fn paid(charge: &Charge, so_far: ExactEnergy) -> ExactMoney {
    let (price, free) = match &charge.on {
        // A kW over an interval is so many kWh.
        Charged::Peak(peak) => {
            let hours = length_of(charge) as f64 / 3600.0;
            (Price::per_kwh(peak.price.value.as_per_kw() / hours), ExactEnergy::ZERO)
        }
        Charged::Tier(tier) => (tier.price.value, energy(tier.above.as_kwh())),
    };
    ExactPrice::from_price(price) * (so_far - free).positive_part()
}

/// What is declared to have been counted in the period in which the first plan begins.
fn declared(charge: &Charge) -> ExactEnergy {
    match &charge.on {
        Charged::Peak(peak) => ExactEnergy::from_power(peak.so_far, length_of(charge)),
        Charged::Tier(tier) => energy(tier.so_far.as_kwh()),
    }
}

/// A count in the unit of its charge.
fn figure(charge: &Charge, counted: ExactEnergy) -> f64 {
    match &charge.on {
        Charged::Peak(_) => counted.as_watt_seconds() as f64 / length_of(charge) as f64 / 1000.0,
        Charged::Tier(_) => counted.to_energy().as_kwh(),
    }
}

fn energy(kwh: f64) -> ExactEnergy {
    ExactEnergy::watt_seconds((kwh * 3.6e6).round() as i64)
}

/// What an interval has drawn, as one of the declared length with the same mean draws it; only the last of a day can be of another.
fn levelled(charge: &Charge, interval: &Interval, drawn: ExactEnergy) -> ExactEnergy {
    let [length, own] = [length_of(charge), interval.seconds()].map(SignedDuration::from_secs);
    part_of(drawn, length, own)
}

/// What of an energy that flows evenly over a `whole` flows in a time, rounded down to watt-seconds.
fn part_of(energy: ExactEnergy, time: SignedDuration, whole: SignedDuration) -> ExactEnergy {
    let part = i128::from(energy.as_watt_seconds()) * time.as_nanos() / whole.as_nanos().max(1);
    ExactEnergy::watt_seconds(i64::try_from(part).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use sos_model::{Amount, BillingPeriod, CapacityPrice, Currency, Name, PeakCharge, Tier};
    use sos_units::Energy;

    use super::super::testing;
    use super::*;

    fn currency() -> Currency {
        Currency::new("EUR").unwrap()
    }

    fn peak() -> Charge {
        let on = Charged::Peak(PeakCharge {
            price: Amount { value: CapacityPrice::per_kw(8.0), currency: currency() },
            interval: SignedDuration::from_mins(30),
            per: BillingPeriod::Month,
            so_far: Power::kw(2.0),
        });
        Charge { on, name: Name::new("demand").unwrap() }
    }

    fn tier(per: BillingPeriod) -> Charge {
        let on = Charged::Tier(Tier {
            above: Energy::kwh(3.0),
            price: Amount { value: Price::per_kwh(0.1), currency: currency() },
            per,
            so_far: Energy::ZERO,
        });
        Charge { on, name: Name::new("tier").unwrap() }
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Counts a power above zero; what it costs.
    fn count(carried: &mut Carried, charge: &Charge, from: &str, minutes: i64, kw: f64) -> f64 {
        let import = ExactEnergy::from_power(Power::kw(kw), minutes * 60);
        carried.count(charge, &TimeZone::UTC, (at(from), minutes * 60), import).to_money().get()
    }

    #[test]
    fn a_peak_is_a_mean_over_an_interval_and_ends_with_its_month() {
        let (peak, zone) = (peak(), TimeZone::UTC);
        let mut carried = Carried::default();
        assert!(near(carried.of(&peak, &zone, at("2026-01-31T22:00:00Z")), 2.0));
        let cost = count(&mut carried, &peak, "2026-01-31T22:30:00Z", 15, 6.0);
        assert!(near(cost, 8.0), "2 kW are paid already, 3 kW are the mean so far");
        assert!(near(carried.running(&peak, &zone, at("2026-01-31T22:45:00Z")), 3.0));
        assert!(near(carried.of(&peak, &zone, at("2026-01-31T22:45:00Z")), 3.0));
        let allowed = carried.allowed(&peak, &zone, at("2026-01-31T22:45:00Z"), 60, 3.5);
        assert!(near(allowed.as_kw(), 1.0), "{allowed}: half of the interval is left for half a kW");
        assert!(near(count(&mut carried, &peak, "2026-01-31T22:45:00Z", 15, 2.0), 8.0));
        assert!(near(carried.of(&peak, &zone, at("2026-01-31T23:00:00Z")), 4.0));
        assert!(near(carried.running(&peak, &zone, at("2026-01-31T23:00:00Z")), 0.0));
        assert!(near(carried.of(&peak, &zone, at("2026-02-01T00:00:00Z")), 0.0), "a month begins anew");
        assert!(
            near(count(&mut carried, &peak, "2026-02-01T00:00:00Z", 60, 1.5), 12.0),
            "an hour is one interval"
        );
    }

    #[test]
    fn a_tick_over_the_border_of_an_interval_is_split_to_the_last_watt_second() {
        let (peak, zone) = (peak(), TimeZone::UTC);
        let mut carried = Carried::default();
        // 20 min before half past and 20 min after it.
        let cost = count(&mut carried, &peak, "2026-01-05T10:10:00Z", 40, 6.0);
        assert!(near(cost, 16.0), "two thirds of the interval, 4 kW, of which 2 kW are paid already: {cost}");
        assert!(near(carried.running(&peak, &zone, at("2026-01-05T10:50:00Z")), 4.0));
        assert!(near(count(&mut carried, &peak, "2026-01-05T10:50:00Z", 40, 6.0), 16.0));
        assert!(
            near(carried.of(&peak, &zone, at("2026-01-05T11:30:00Z")), 6.0),
            "a constant power is the peak"
        );
        let mut carried = Carried::default();
        let import = ExactEnergy::watt_seconds(1_000_001);
        for minute in [10, 17] {
            let start = at(&format!("2026-01-05T10:{minute}:00Z"));
            carried.count(&tier(BillingPeriod::Day), &zone, (start, 420), import);
            carried.count(&peak, &zone, (start, 420), import);
        }
        assert_eq!(carried.counted["tier"].so_far, import + import);
        assert_eq!(carried.counted["demand"].running.unwrap().2, import + import);
        carried.count(&tier(BillingPeriod::Day), &zone, (at("2026-01-05T23:59:00Z"), 420), import);
        assert_eq!(
            carried.counted["tier"].so_far,
            ExactEnergy::watt_seconds(1_000_001 - 1_000_001 / 7),
            "six of seven minutes are of the next day"
        );
    }

    #[test]
    fn an_hour_that_clocks_repeat_is_not_counted_twice() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let on = Charged::Peak(PeakCharge {
            price: Amount { value: CapacityPrice::per_kw(1.0), currency: currency() },
            interval: SignedDuration::from_hours(1),
            per: BillingPeriod::Month,
            so_far: Power::ZERO,
        });
        let hourly = Charge { on, ..peak() };
        let mut carried = Carried::default();
        for quarter in 0..8 {
            let start = at("2026-10-25T00:00:00Z") + SignedDuration::from_mins(15 * quarter);
            carried.count(&hourly, &berlin, (start, 900), ExactEnergy::from_power(Power::kw(3.0), 900));
        }
        assert!(near(carried.of(&hourly, &berlin, at("2026-10-25T02:00:00Z")), 3.0));
    }

    #[test]
    fn a_tick_over_a_border_may_draw_what_neither_interval_makes_a_peak_of() {
        let (peak, carried, zone) = (peak(), Carried::default(), TimeZone::UTC);
        let allowed = |from, tick| carried.allowed(&peak, &zone, at(from), tick, 3.0).as_kw();
        assert!(near(allowed("2026-01-05T10:20:00Z", 900), 9.0), "10 min of 30, then 5 min");
        assert!(near(allowed("2026-01-05T10:25:00Z", 1500), 4.5), "5 min of 30, then 20 min");
        assert!(near(allowed("2026-01-05T10:20:00Z", 7200), 3.0), "whole intervals lie within it");
    }

    #[test]
    fn what_was_kept_by_earlier_versions_is_read() {
        let text = r#"{"before":1.5,"counted":{"demand":{"period":"2026-01-01","so_far":7200000,"running":["2026-01-05",37800,1800000]}},"emitted":null}"#;
        let carried: Carried = serde_json::from_str(text).unwrap();
        let (peak, zone) = (peak(), TimeZone::UTC);
        assert!(near(carried.of(&peak, &zone, at("2026-01-05T10:45:00Z")), 4.0));
        assert!(near(carried.running(&peak, &zone, at("2026-01-05T10:45:00Z")), 1.0));
    }

    #[test]
    fn an_amount_adds_up_and_costs_what_lies_above() {
        let mut carried = Carried::default();
        let tier = tier(BillingPeriod::Day);
        let cost: f64 = [(1, 3.0), (2, 0.0), (3, 1.0)]
            .map(|(hour, kw)| count(&mut carried, &tier, &format!("2026-01-01T0{hour}:00:00Z"), 60, kw))
            .iter()
            .sum();
        assert!(near(carried.of(&tier, &TimeZone::UTC, at("2026-01-01T05:00:00Z")), 4.0));
        assert!(near(cost, 0.1));
    }

    #[test]
    fn what_is_carried_survives_being_written_down() {
        let mut carried = Carried { before: Some(Power::kw(1.25)), ..Carried::default() };
        count(&mut carried, &peak(), "2026-01-31T22:30:00Z", 15, 6.123);
        carried.emitted =
            Some((jiff::civil::date(2026, 1, 31), ExactEmissions::from_emissions(Emissions::kg(1.5))));
        let text = serde_json::to_string(&carried).unwrap();
        assert_eq!(serde_json::from_str::<Carried>(&text).unwrap(), carried);
    }

    #[test]
    fn import_through_a_feeder_and_the_connection_counts_at_both() {
        let model = testing::street();
        let kwh = |kwh: f64| Some(energy(kwh));
        let exchange = |own: &[Option<ExactEnergy>]| {
            Exchange::of(&model, (at("2026-01-01T00:00:00Z"), 900), own, ExactEnergy::ZERO)
        };
        // Behind the feeder: the battery and load-1; load-2 is not.
        let found = exchange(&[kwh(0.5), kwh(-2.0), kwh(-1.0)]);
        assert_eq!((found.grid, &found.feeders[..]), (kwh(2.5), &[kwh(1.5)][..]));
        let found = exchange(&[kwh(0.5), kwh(-2.0), None]);
        assert_eq!((found.grid, &found.feeders[..]), (None, &[kwh(1.5)][..]));
    }
}
