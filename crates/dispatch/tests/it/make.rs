//! Seeded problems for tests and benches.
#![allow(dead_code, reason = "shared by a bench and tests that each use a part")]

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sos_dispatch::{Connection, Problem, Step, Storage};
use sos_units::*;

pub(crate) fn at(hours: f64) -> Timestamp {
    let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs((hours * 3600.0).round() as i64)
}

pub(crate) fn steps(count: usize, hours: f64) -> Vec<Step> {
    (0..count).map(|t| Step { start: at(t as f64 * hours), duration: Hours::new(hours) }).collect()
}

/// A connection with one price both ways of import, nothing for export and no limits.
pub(crate) fn connection(prices: &[f64]) -> Connection {
    let n = prices.len();
    Connection {
        import_limit: vec![None; n],
        export_limit: vec![None; n],
        import_price: prices.iter().map(|&p| Price::per_kwh(p)).collect(),
        export_price: vec![Price::ZERO; n],
        carbon_intensity: vec![CarbonIntensity::ZERO; n],
        carbon_price: CarbonPrice::ZERO,
        breach_price: Price::per_kwh(10.0),
        charges: Vec::new(),
        ramping: None,
    }
}

pub(crate) fn problem(hours: f64, prices: &[f64], net: &[f64]) -> Problem {
    Problem {
        steps: steps(prices.len(), hours),
        connection: connection(prices),
        fixed: net.iter().map(|&p| Power::kw(p)).collect(),
        pessimistic: None,
        reserve: None,
        spinning: None,
        curtailable: Vec::new(),
        storages: Vec::new(),
        generators: Vec::new(),
        feeders: Vec::new(),
        carbon_cap: None,
        work: Vec::new(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

pub(crate) fn battery(id: &str, capacity: f64, power: f64, soc: f64) -> Storage {
    Storage {
        id: id.into(),
        capacity: Energy::kwh(capacity),
        soc: Soc::fraction(soc),
        min_soc: Soc::ZERO,
        max_soc: Soc::fraction(1.0),
        max_charge: Power::kw(power),
        max_discharge: Power::kw(power),
        charge_efficiency: 0.95,
        discharge_efficiency: 0.95,
        end_value: Price::ZERO,
        wear_cost: Price::ZERO,
        available: None,
        targets: Vec::new(),
        ordered: None,
        dynamics: Default::default(),
    }
}

pub(crate) fn job(id: &str, energy: f64, power: f64, earliest: f64, deadline: f64) -> FlexibleWork {
    FlexibleWork {
        id: id.into(),
        energy: Energy::kwh(energy),
        earliest: at(earliest),
        deadline: at(deadline),
        min_power: Power::kw(power),
        max_power: Power::kw(power),
        interruptible: false,
        running: false,
        value: Money::new(20.0),
        required: false,
    }
}

/// A community like the example's: time-of-use price, noisy load and sun, one limit.
fn community(rng: &mut ChaCha8Rng, count: usize, hours: f64, homes: usize) -> Problem {
    let mut prices = Vec::new();
    let mut net = Vec::new();
    let first = rng.random_range(0.0..24.0_f64).floor();
    for t in 0..count {
        let hour = (first + t as f64 * hours) % 24.0;
        prices.push(if (16.0..21.0).contains(&hour) { 0.54 } else { 0.22 });
        let sun =
            ((hour - 6.0) / 12.0 * std::f64::consts::PI).sin().max(0.0) * 4.0 * rng.random_range(0.3..1.0);
        let load = 1.0 + rng.random_range(0.0..1.0) + if hour > 16.0 { 1.2 } else { 0.0 };
        net.push((sun - load) * homes as f64);
    }
    let mut problem = problem(hours, &prices, &net);
    problem.connection.carbon_price = CarbonPrice::per_kg(0.1);
    for t in 0..count {
        problem.connection.import_limit[t] = Some(Power::kw(2.6 * homes as f64));
        problem.connection.carbon_intensity[t] = CarbonIntensity::kg_per_kwh(rng.random_range(0.1..0.3));
    }
    problem
}

/// An online plan: batteries in different states.
pub(crate) fn homes(seed: u64, count: usize, batteries: usize, work: usize) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut problem = community(&mut rng, count, 1.0, batteries);
    for i in 0..batteries {
        let mut battery = battery(&format!("b{i}"), 6.4, 5.0, rng.random_range(0.0..1.0));
        battery.end_value = Price::per_kwh(0.2);
        problem.storages.push(battery);
    }
    let low = problem.fixed.iter().map(|&p| p - Power::kw(rng.random_range(0.0..3.0))).collect();
    problem.pessimistic = Some(sos_dispatch::Pessimistic { fixed: low, price: Price::per_kwh(1.0) });
    for i in 0..work {
        let earliest = rng.random_range(0.0..20.0_f64).floor();
        let energy = rng.random_range(2.0..9.0);
        problem.work.push(job(&format!("job{i}"), energy, 2.0, earliest, earliest + 16.0));
    }
    problem
}

/// A long period with equal batteries and one job a day.
pub(crate) fn year(seed: u64, count: usize, batteries: usize, work: usize) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hours = 8784.0 / count as f64;
    let hours = if count == 35_040 { 0.25 } else { hours };
    let mut problem = community(&mut rng, count, hours, batteries);
    problem.storages = (0..batteries).map(|i| battery(&format!("b{i}"), 6.4, 5.0, 0.0)).collect();
    for i in 0..work {
        let earliest = i as f64 * 24.0;
        let energy = 4.0 + 2.0 * rng.random_range(0.0..2.0_f64).floor();
        problem.work.push(job(&format!("job{i}"), energy, 2.0, earliest, (earliest + 16.0).min(8784.0)));
    }
    problem
}

pub(crate) fn random(seed: u64) -> impl Rng {
    ChaCha8Rng::seed_from_u64(seed)
}
