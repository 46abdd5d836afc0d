//! Feeders and charges of a site as dispatch sees them.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use sos_dispatch::{Charge, Charged, Connection, Feeder, Ramping, Step, Sum, fair_shares, least_power};
use sos_model::{BillingPeriod, ReducedTo, Reduction, ReductionRule};
use sos_units::{CarbonIntensity, Power, Price};

use super::carried::{Carried, interval_of, period_of};
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
pub(super) fn feeders(
    model: &SiteModel,
    steps: &[Step],
    expected: &[ExpectedFeeder],
    breach_price: Price,
    carried: &Carried,
) -> Vec<Feeder> {
    let mut all = Vec::new();
    for (index, (feeder, expected)) in model.feeders.iter().zip(expected).enumerate() {
        let names =
            |assets: &BTreeSet<usize>| assets.iter().map(|&asset| model.assets[asset].name.clone()).collect();
        let members = model.behind(index);
        let mut import_limit = vec![feeder.import_limit; steps.len()];
        for reduction in &feeder.reductions {
            let devices: Vec<usize> = members
                .iter()
                .copied()
                .filter(|&asset| steerable(&model.assets[asset].kind).is_some())
                .collect();
            lower(&mut import_limit, steps, reduction, left_to(reduction, devices.len()));
            all.extend(shares(model, steps, reduction, &devices, breach_price));
        }
        all.push(Feeder {
            id: feeder.name.clone(),
            members: names(&members),
            fixed: expected.net.clone(),
            connection: Connection {
                import_limit,
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

/// What an order leaves to so many devices together.
fn left_to(reduction: &Reduction, devices: usize) -> Power {
    match reduction.to {
        ReducedTo::Power(power) => power,
        ReducedTo::Rule(ReductionRule::Section14a) => least_power(devices),
    }
}

/// Whether an order holds at some time of a step.
fn holds_in(reduction: &Reduction, step: &Step) -> bool {
    step.start < reduction.until && step.end() > reduction.from
}

fn lower(limits: &mut [Option<Power>], steps: &[Step], reduction: &Reduction, to: Power) {
    for (limit, step) in limits.iter_mut().zip(steps) {
        if holds_in(reduction, step) {
            *limit = Some(limit.map_or(to, |limit| limit.min(to)));
        }
    }
}

/// A limit for each device while an order of the grid operator holds: its fair share of what is left to all of them.
fn shares(
    model: &SiteModel,
    steps: &[Step],
    reduction: &Reduction,
    devices: &[usize],
    breach_price: Price,
) -> Vec<Feeder> {
    if !matches!(reduction.to, ReducedTo::Rule(_)) {
        return Vec::new();
    }
    let most: Vec<Power> = devices.iter().filter_map(|&asset| steerable(&model.assets[asset].kind)).collect();
    let shares = fair_shares(left_to(reduction, devices.len()), &most);
    let feeder = |(&asset, share): (&usize, Power)| {
        let mut connection = Connection { breach_price, ..Connection::free(steps.len()) };
        lower(&mut connection.import_limit, steps, reduction, share);
        let name = &model.assets[asset].name;
        Feeder {
            id: format!("share of {name} from {}", crate::time_text(reduction.from, &model.zone)),
            members: BTreeSet::from([name.clone()]),
            fixed: vec![Power::ZERO; steps.len()],
            connection,
        }
    };
    devices.iter().zip(shares).map(feeder).collect()
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
        for (index, within) in periods(steps, zone, per).into_iter().enumerate() {
            let mut sums = match &charge.on {
                sos_model::Charged::Peak(peak) => {
                    intervals(&steps[within.clone()], within.start, zone, peak.interval.as_secs())
                }
                sos_model::Charged::Tier(_) => {
                    vec![Sum { so_far: 0.0, steps: within.map(|t| (t, steps[t].duration.get())).collect() }]
                }
            };
            if let Some(sum) = sums.first_mut().filter(|_| index == 0) {
                sum.so_far = carried.running(charge, zone, begin);
            }
            let id = match index {
                0 => charge.name.to_string(),
                _ => format!("{}, period {}", charge.name, index + 1),
            };
            all.push(Charge { id, what, price, free: if index == 0 { first } else { anew }, sums });
        }
    }
    all
}

/// The steps of each period.
fn periods(steps: &[Step], zone: &TimeZone, per: BillingPeriod) -> Vec<std::ops::Range<usize>> {
    let period = |step: &Step| period_of(step.start, zone, per);
    let mut end = 0;
    let chunk = |chunk: &[Step]| {
        let start = end;
        end += chunk.len();
        start..end
    };
    steps.chunk_by(|a, b| period(a) == period(b)).map(chunk).collect()
}

/// The intervals of some steps, from local midnight on: the steps of each with their shares of it. A step that is longer than an
/// interval is one.
fn intervals(steps: &[Step], first: usize, zone: &TimeZone, seconds: i64) -> Vec<Sum> {
    let length = seconds.max(1);
    let interval = |step: &Step| interval_of(step.start, zone, length);
    let mut t = first;
    let weigh = |chunk: &[Step]| {
        let weight = |step: &Step| (step.duration.get() * 3600.0 / length as f64).min(1.0);
        let steps = chunk.iter().map(|step| {
            t += 1;
            (t - 1, weight(step))
        });
        Sum { so_far: 0.0, steps: steps.collect() }
    };
    steps.chunk_by(|a, b| interval(a) == interval(b)).map(weigh).collect()
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
