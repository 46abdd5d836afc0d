//! Feeders and charges of a site as dispatch sees them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sos_dispatch::{
    CarbonCap, Charge, Charged, Connection, Feeder, Ramping, Schedule, Step, Sum, fair_shares, least_power,
};
use sos_model::{ReducedTo, Reduction, ReductionRule};
use sos_units::{CarbonIntensity, Power, Price};

use super::carried::Carried;
use super::intervals::{interval_of, length_of, parts, period_end, period_of};
use super::model::{Kind, SiteFeeder, SiteModel};

/// What is expected of a feeder over the steps of a plan.
#[derive(Clone, Debug, Default)]
pub struct ExpectedFeeder {
    /// Net power of what is behind it and cannot be chosen, load negative.
    pub net: Vec<Power>,
    /// Price of what flows in, beside that of the connection.
    pub import_price: Vec<Price>,
    /// Price of what flows out, beside that of the connection.
    pub export_price: Vec<Price>,
    /// Emissions of what flows in that are counted here.
    pub carbon: Vec<CarbonIntensity>,
}

/// The feeders of a site over the steps of a plan, and one more for each device that an order of the grid operator gives a share.
/// `margin` is how far below the limits of what flows into feeders a plan stays, as a share of them.
pub(super) fn feeders(
    model: &SiteModel,
    steps: &[Step],
    expected: &[ExpectedFeeder],
    (breach_price, margin): (Price, f64),
    carried: &Carried,
) -> Vec<Feeder> {
    let mut all = Vec::new();
    for (index, (feeder, expected)) in model.feeders.iter().zip(expected).enumerate() {
        for reduction in &feeder.reductions {
            let shares = shares(model, index, reduction).into_iter();
            all.extend(shares.map(|share| of_one(model, steps, reduction, share, breach_price)));
        }
        let limit = |step: &Step| Some(most_import(model, index, step.start, step.end())? * (1.0 - margin));
        let names = model.behind(index).into_iter().map(|asset| model.assets[asset].name.clone());
        all.push(Feeder {
            id: feeder.name.clone(),
            members: names.collect(),
            fixed: expected.net.clone(),
            connection: Connection {
                import_limit: steps.iter().map(limit).collect(),
                export_limit: vec![feeder.export_limit; steps.len()],
                import_price: expected.import_price.clone(),
                export_price: expected.export_price.clone(),
                carbon_intensity: expected.carbon.clone(),
                carbon_price: model.carbon_price,
                breach_price,
                charges: charges(&feeder.charges, &model.zone, steps, carried),
                ramping: None,
            },
        });
    }
    all
}

/// Most electric power that a device draws, if an order of the grid operator can reach it.
fn steerable(kind: &Kind) -> Option<Power> {
    match kind {
        Kind::Battery(battery) => Some(battery.max_charge),
        Kind::Vehicle(vehicle) => Some(vehicle.battery.max_charge),
        Kind::HeatPump(heat) => Some(heat.pump.max_power),
        Kind::Solar { .. } | Kind::Generator(_) | Kind::Load { .. } => None,
    }
}

/// The devices behind a feeder that orders of the grid operator can reach, with the most that each draws.
fn reached(model: &SiteModel, feeder: usize) -> Vec<(usize, Power)> {
    let behind = model.behind(feeder).into_iter();
    behind.filter_map(|asset| Some((asset, steerable(&model.assets[asset].kind)?))).collect()
}

/// What an order leaves to those behind a feeder together.
fn left_to(model: &SiteModel, feeder: usize, reduction: &Reduction) -> Power {
    match reduction.to {
        ReducedTo::Power(power) => power,
        ReducedTo::Rule(ReductionRule::Section14a) => least_power(reached(model, feeder).len()),
    }
}

/// Whether an order holds at some time of a step or a tick.
fn holds_in(reduction: &Reduction, from: Timestamp, until: Timestamp) -> bool {
    from < reduction.until && until > reduction.from
}

/// The orders of the grid operator for a feeder that hold at some time of a step or a tick.
fn orders(
    model: &SiteModel,
    feeder: usize,
    from: Timestamp,
    until: Timestamp,
) -> impl Iterator<Item = &Reduction> {
    model.feeders[feeder].reductions.iter().filter(move |one| holds_in(one, from, until))
}

/// What orders of the grid operator leave to flow into a feeder in a step or a tick; none without an order.
pub(super) fn reduced(model: &SiteModel, feeder: usize, from: Timestamp, until: Timestamp) -> Option<Power> {
    let left = orders(model, feeder, from, until).map(|reduction| left_to(model, feeder, reduction));
    left.reduce(Power::min)
}

/// The most that may flow into a feeder in a step or a tick, by its fuse and by orders.
pub(super) fn most_import(
    model: &SiteModel,
    feeder: usize,
    from: Timestamp,
    until: Timestamp,
) -> Option<Power> {
    model.feeders[feeder]
        .import_limit
        .into_iter()
        .chain(reduced(model, feeder, from, until))
        .reduce(Power::min)
}

/// The most that each device may draw in a tick while an order of the grid operator gives everyone a share.
pub(super) fn most_drawn(
    model: &SiteModel,
    feeder: usize,
    from: Timestamp,
    until: Timestamp,
) -> Vec<(usize, Power)> {
    orders(model, feeder, from, until).flat_map(|reduction| shares(model, feeder, reduction)).collect()
}

/// The fair share of each device of what an order by a rule leaves to all of them.
fn shares(model: &SiteModel, feeder: usize, reduction: &Reduction) -> Vec<(usize, Power)> {
    if !matches!(reduction.to, ReducedTo::Rule(_)) {
        return Vec::new();
    }
    let (devices, most): (Vec<usize>, Vec<Power>) = reached(model, feeder).into_iter().unzip();
    devices.into_iter().zip(fair_shares(left_to(model, feeder, reduction), &most)).collect()
}

/// A limit for a device while an order of the grid operator gives it a share.
fn of_one(
    model: &SiteModel,
    steps: &[Step],
    reduction: &Reduction,
    (asset, share): (usize, Power),
    breach_price: Price,
) -> Feeder {
    let name = &model.assets[asset].name;
    let limit = |step: &Step| holds_in(reduction, step.start, step.end()).then_some(share);
    let import_limit = steps.iter().map(limit).collect();
    Feeder {
        id: format!("share of {name} from {}", crate::time_text(reduction.from, &model.zone)),
        members: BTreeSet::from([name.clone()]),
        fixed: vec![Power::ZERO; steps.len()],
        connection: Connection { breach_price, import_limit, ..Connection::free(steps.len()) },
    }
}

/// The limit on emissions of a plan. Of what is left for a period it takes the share that it has of the time left, so that a plan
/// of some hours does not use up a month; only steps of the running period count.
pub(super) fn carbon_cap(model: &SiteModel, steps: &[Step], carried: &Carried) -> Option<CarbonCap> {
    let cap = model.carbon_cap?;
    let (Some(per), Some(begin)) = (cap.per, steps.first().map(|step| step.start)) else {
        return Some(CarbonCap { kg: cap.most.as_kg(), price: cap.price, steps: None });
    };
    let end = period_end(begin, &model.zone, per);
    let within = steps.iter().take_while(|step| step.start < end).count();
    let until = steps[..within].last().map_or(begin, |step| step.end().min(end));
    let left = (cap.most - carried.emissions(model, begin)).as_kg().max(0.0);
    let share = until.duration_since(begin).as_secs_f64() / end.duration_since(begin).as_secs_f64().max(1.0);
    Some(CarbonCap { kg: left * share.min(1.0), price: cap.price, steps: Some(within) })
}

/// The price on changes of the exchange.
pub(super) fn ramping(model: &SiteModel, carried: &Carried) -> Option<Ramping> {
    let price = model.connection.ramp_price?;
    Some(Ramping { price, before: carried.before })
}

/// The charges of a connection over the steps of a plan: one for each period that they reach into.
pub(super) fn charges(
    declared: &[sos_model::Charge],
    zone: &TimeZone,
    steps: &[Step],
    carried: &Carried,
) -> Vec<Charge> {
    let mut all = Vec::new();
    let Some(begin) = steps.first().map(|step| step.start) else { return all };
    for charge in declared {
        let counted = carried.of(charge, zone, begin);
        let (per, what, price, anew) = match &charge.on {
            sos_model::Charged::Peak(peak) => (peak.per, Charged::Peak, peak.price.value.as_per_kw(), 0.0),
            sos_model::Charged::Tier(tier) => {
                (tier.per, Charged::Energy, tier.price.value.as_per_kwh(), tier.above.as_kwh())
            }
        };
        // What counted so far counts in the period in which the plan begins alone.
        let first = if what == Charged::Peak { counted } else { (anew - counted).max(0.0) };
        let parts = parts_of(steps, charge, zone);
        let period = |part: &Part| period_of(part.from, zone, per);
        for (index, parts) in parts.chunk_by(|a, b| period(a) == period(b)).enumerate() {
            let mut sums = sums(parts, charge, zone);
            if let Some(sum) = sums.first_mut().filter(|_| index == 0) {
                sum.so_far = carried.running(charge, zone, begin);
            }
            // Of intervals within one step there is one that counts.
            sums.dedup();
            let free = if index == 0 { first } else { anew };
            all.push(Charge { id: id(charge, index), what, price, free, sums });
        }
    }
    all
}

/// What a charge is called in a plan, in the period of this number from that in which the plan begins.
fn id(charge: &sos_model::Charge, period: usize) -> String {
    match period {
        0 => charge.name.to_string(),
        _ => format!("{}, period {}", charge.name, period + 1),
    }
}

/// A part of a step that lies in one interval or period.
struct Part {
    step: usize,
    from: Timestamp,
    seconds: f64,
}

/// The steps of a plan, split at the borders of the intervals or periods of a charge: the power of a step is the same in all of it.
fn parts_of(steps: &[Step], charge: &sos_model::Charge, zone: &TimeZone) -> Vec<Part> {
    let of_step = |(step, one): (usize, &Step)| {
        let part = move |(from, until): (Timestamp, Timestamp)| Part {
            step,
            from,
            seconds: until.duration_since(from).as_secs_f64(),
        };
        parts(charge, zone, (one.start, one.end())).into_iter().map(part)
    };
    steps.iter().enumerate().flat_map(of_step).collect()
}

/// The sums of a charge within one period: of a peak one for each interval, with the shares of it that parts of steps are, of an
/// amount one with their hours.
fn sums(parts: &[Part], charge: &sos_model::Charge, zone: &TimeZone) -> Vec<Sum> {
    let sum = |parts: &[Part], whole: f64| Sum {
        so_far: 0.0,
        steps: parts.iter().map(|part| (part.step, part.seconds / whole)).collect(),
    };
    let interval = |part: &Part| interval_of(part.from, zone, length_of(charge));
    match &charge.on {
        sos_model::Charged::Tier(_) => vec![sum(parts, 3600.0)],
        sos_model::Charged::Peak(_) => parts
            .chunk_by(|a, b| interval(a) == interval(b))
            .map(|parts| sum(parts, interval(&parts[0]).seconds() as f64))
            .collect(),
    }
}

/// The peak that a plan comes to in the period of this number, from that in which it begins, what was counted before included, kW;
/// none where a charge is not planned.
pub(super) fn foreseen(
    connection: &Connection,
    flows: &[Power],
    charge: &sos_model::Charge,
    period: usize,
) -> Option<f64> {
    let id = id(charge, period);
    let planned = connection.charges.iter().find(|one| one.id == id)?;
    Some(planned.largest(flows).max(planned.free))
}

/// What flows through a feeder by a plan, or through the connection.
pub(super) fn planned_flows<'a>(schedule: &'a Schedule, feeder: Option<&str>) -> Option<&'a [Power]> {
    match feeder {
        None => Some(&schedule.grid),
        Some(feeder) => schedule.feeders.get(feeder).map(Vec::as_slice),
    }
}

impl SiteFeeder {
    /// Whether anything is paid or counted at it.
    #[must_use]
    pub const fn is_priced(&self) -> bool {
        self.import_price.is_some()
            || self.export_price.is_some()
            || self.carbon.is_some()
            || !self.charges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use sos_model::BillingPeriod;
    use sos_units::{CarbonPrice, Emissions, Hours};

    use super::super::model::SiteCap;
    use super::super::testing;
    use super::*;

    fn steps(from: &str, n: i64) -> Vec<Step> {
        let start: Timestamp = from.parse().unwrap();
        let step = |t| Step { start: start + SignedDuration::from_hours(t), duration: Hours::new(1.0) };
        (0..n).map(step).collect()
    }

    #[test]
    fn a_plan_takes_its_share_of_what_is_left_of_a_cap() {
        let mut model = testing::street();
        let cap = |per| SiteCap {
            most: Emissions::kg(31.0),
            per,
            so_far: Emissions::kg(0.0),
            price: CarbonPrice::per_kg(1.0),
        };
        let found = |model: &SiteModel, from: &str, n| {
            let found = carbon_cap(model, &steps(from, n), &Carried::default()).unwrap();
            ((found.kg * 1e6).round() / 1e6, found.steps)
        };
        model.carbon_cap = Some(cap(None));
        assert_eq!(found(&model, "2026-01-01T00:00:00Z", 36), (31.0, None));
        model.carbon_cap = Some(cap(Some(BillingPeriod::Day)));
        assert_eq!(
            found(&model, "2026-01-01T12:00:00Z", 36),
            (31.0, Some(12)),
            "the rest of the day has all of it"
        );
        model.carbon_cap = Some(SiteCap { so_far: Emissions::kg(1.0), ..cap(Some(BillingPeriod::Month)) });
        assert_eq!(
            found(&model, "2026-01-02T00:00:00Z", 24),
            (1.0, Some(24)),
            "one of thirty days that are left"
        );
    }

    #[test]
    fn the_peak_that_a_plan_foresees_is_that_of_the_period() {
        let model = testing::street();
        let steps = steps("2026-01-01T22:00:00Z", 4);
        let charges = charges(&model.connection.charges, &model.zone, &steps, &Carried::default());
        let connection = Connection { charges, ..Connection::free(4) };
        let flows = [1.0, 3.0, 4.0, -2.0].map(Power::kw);
        let peak = |period| foreseen(&connection, &flows, &model.connection.charges[0], period);
        assert_eq!([peak(0), peak(1), peak(2)], [Some(3.0), Some(4.0), None]);
    }

    /// A charge of 1 EUR for each kW or kWh.
    fn one_euro(on: &str) -> sos_model::Charge {
        let text = format!(
            "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: {{ name: home }}
spec:
  timeZone: Etc/UTC
  currency: EUR
  connection: {{ importPrice: {{ fixed: 0 EUR/kWh }}, charges: [{{ name: one, {on} }}] }}
"
        );
        let declared = sos_model::load(&[("site.yaml".into(), text.into_bytes())]).unwrap();
        declared[0].site().unwrap().connection.as_ref().unwrap().charges[0].clone()
    }

    /// What charges of a plan in steps of so many minutes come to, of each period.
    fn cost(on: &str, zone: &str, from: &str, minutes: i64, flows: &[f64]) -> Vec<f64> {
        let begin: Timestamp = from.parse().unwrap();
        let step = |t: usize| Step {
            start: begin + SignedDuration::from_mins(minutes * i64::try_from(t).unwrap()),
            duration: Hours::from_seconds(minutes as f64 * 60.0),
        };
        let (steps, flows): (Vec<Step>, Vec<Power>) =
            flows.iter().enumerate().map(|(t, kw)| (step(t), Power::kw(*kw))).unzip();
        let zone = TimeZone::get(zone).unwrap();
        let found = charges(&[one_euro(on)], &zone, &steps, &Carried::default());
        found.iter().map(|charge| (charge.cost(&flows) * 1e9).round() / 1e9).collect()
    }

    fn every(interval: &str) -> String {
        format!("peak: {{ price: 1 EUR/kW, interval: {interval} }}")
    }

    #[test]
    fn a_constant_power_is_the_peak_whatever_the_step() {
        for (minutes, interval) in [
            (10, "15 min"),
            (45, "1 h"),
            (40, "1 h"),
            (30, "45 min"),
            (7, "15 min"),
            (60, "15 min"),
            (90, "1 h"),
        ] {
            let found = cost(&every(interval), "Etc/UTC", "2026-01-05T00:00:00Z", minutes, &[3.0; 12]);
            assert_eq!(found, [3.0], "steps of {minutes} min, intervals of {interval}");
        }
    }

    #[test]
    fn a_step_counts_in_each_interval_by_what_lies_in_it() {
        let found = |flows: &[f64]| cost(&every("15 min"), "Etc/UTC", "2026-01-05T00:00:00Z", 10, flows);
        // 10 min and 5 min; 5 min and 10 min.
        assert_eq!(found(&[3.0, 0.0, 0.0]), [2.0]);
        assert_eq!(found(&[0.0, 3.0, 0.0]), [1.0]);
        assert_eq!(found(&[0.0, 6.0, 3.0]), [4.0]);
        // A step of an hour from 00:07 on has whole quarters of an hour within it.
        let long = cost(&every("15 min"), "Etc/UTC", "2026-01-05T00:07:00Z", 60, &[3.0, 6.0]);
        assert_eq!(long, [6.0]);
        let few = charges(
            &[one_euro(&every("15 min"))],
            &TimeZone::UTC,
            &steps("2026-01-05T00:00:00Z", 2),
            &Carried::default(),
        );
        assert_eq!(few[0].sums.len(), 2, "one of each hour: {few:?}");
    }

    #[test]
    fn a_step_over_midnight_counts_in_both_days() {
        let peak = "peak: { price: 1 EUR/kW, interval: 1 h, per: day }";
        let flows = [0.0, 4.0, 0.0];
        assert_eq!(cost(peak, "Etc/UTC", "2026-01-05T22:15:00Z", 60, &flows), [3.0, 1.0]);
        let tier = "tier: { price: 1 EUR/kWh, above: 0.5 kWh, per: day }";
        assert_eq!(cost(tier, "Etc/UTC", "2026-01-05T22:15:00Z", 60, &flows), [2.5, 0.5]);
    }

    #[test]
    fn an_hour_that_clocks_repeat_is_another_one() {
        for (zone, midnight, minutes, interval) in [
            ("Europe/Berlin", "2026-10-24T22:00:00Z", 60, "1 h"),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", 15, "15 min"),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", 60, "2 h"),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", 60, "24 h"),
            ("Europe/Berlin", "2026-03-28T23:00:00Z", 60, "1 h"),
            ("Europe/Berlin", "2026-03-28T23:00:00Z", 60, "2 h"),
            ("Europe/Lisbon", "2026-10-24T23:00:00Z", 60, "1 h"),
            ("Australia/Sydney", "2026-04-04T13:00:00Z", 60, "1 h"),
            ("Australia/Lord_Howe", "2026-04-04T13:00:00Z", 30, "1 h"),
        ] {
            let found = cost(&every(interval), zone, midnight, minutes, &[3.0; 50]);
            assert_eq!(found, [3.0], "{interval} in {zone}");
        }
    }
}
