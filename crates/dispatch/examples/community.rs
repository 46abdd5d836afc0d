//! A community of homes behind one connection whose limits bind: how long a plan takes and how good it is known to be.
//!
//! `cargo run --release -p sos-dispatch --example community -- HOMES [--peer | --again]`; with `--peer` HiGHS solves the same case, with `--again` a plan a quarter of an hour later follows, which begins
//! where the search before stood. All data are made up, the same each time: loads with a morning and an evening,
//! sunshine at noon, batteries that all differ, a tariff of three levels.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement: prints its figures")]

use std::time::Instant;

use sos_dispatch::{
    Budget, Connection, Memory, Problem, Schedule, Step, Storage, solve, solve_again, verify,
};
use sos_units::{CarbonIntensity, CarbonPrice, Hours, Power, Price, Soc};

const STEPS: usize = 96;
/// Limits of the connection per home, kW; that on export binds at noon.
const IMPORT: f64 = 0.6;
const EXPORT: f64 = 0.9;

/// Numbers from 0 to 1 that look like chance (Knuth's multiplier for 64 bits).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn battery(number: usize, chance: &mut Chance) -> Storage {
    let capacity = 5.0 + 10.0 * chance.next();
    let power = capacity * (0.25 + 0.25 * chance.next());
    Storage {
        id: format!("home-{number}"),
        capacity: sos_units::Energy::kwh(capacity),
        soc: Soc::fraction(0.2 + 0.6 * chance.next()),
        min_soc: Soc::fraction(0.1),
        max_soc: Soc::fraction(0.9 + 0.1 * chance.next()),
        max_charge: Power::kw(power),
        max_discharge: Power::kw(power),
        charge_efficiency: 0.92 + 0.06 * chance.next(),
        discharge_efficiency: 0.92 + 0.06 * chance.next(),
        end_value: Price::per_kwh(0.15),
        wear_cost: Price::per_kwh(0.005 + 0.01 * chance.next()),
        available: None,
        targets: Vec::new(),
        ordered: None,
        dynamics: Default::default(),
    }
}

/// Net power of one home: its load, less its sunshine.
fn net(chance: &mut Chance) -> Vec<f64> {
    let (size, roof) = (0.2 + 0.6 * chance.next(), 2.0 + 6.0 * chance.next());
    let bump = |hour: f64, at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
    (0..STEPS)
        .map(|t| {
            let hour = t as f64 / 4.0;
            let load = size
                * (0.6 + bump(hour, 7.5, 1.5) + 2.5 * bump(hour, 19.0, 2.0))
                * (0.8 + 0.4 * chance.next());
            roof * 0.7 * bump(hour, 12.5, 2.8) - load
        })
        .collect()
}

fn community(homes: usize) -> Problem {
    let mut chance = Chance(1);
    let mut fixed = vec![0.0; STEPS];
    let mut storages = Vec::with_capacity(homes);
    for number in 0..homes {
        fixed.iter_mut().zip(net(&mut chance)).for_each(|(sum, one)| *sum += one);
        storages.push(battery(number, &mut chance));
    }
    let price = |t: usize| match t / 4 {
        0..6 => 0.18,
        17..21 => 0.42,
        _ => 0.28,
    };
    let start: jiff::Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let limit = |per_home: f64| vec![Some(Power::kw(per_home * homes as f64)); STEPS];
    Problem {
        steps: (0..STEPS)
            .map(|t| Step {
                start: start + jiff::SignedDuration::from_mins(15 * t as i64),
                duration: Hours::new(0.25),
            })
            .collect(),
        connection: Connection {
            import_limit: limit(IMPORT),
            export_limit: limit(EXPORT),
            import_price: (0..STEPS).map(|t| Price::per_kwh(price(t))).collect(),
            export_price: vec![Price::per_kwh(0.08); STEPS],
            carbon_intensity: vec![CarbonIntensity::kg_per_kwh(0.3); STEPS],
            carbon_price: CarbonPrice::per_kg(0.05),
            breach_price: Price::per_kwh(10.0),
            charges: Vec::new(),
            ramping: None,
        },
        fixed: fixed.into_iter().map(Power::kw).collect(),
        pessimistic: None,
        reserve: None,
        spinning: None,
        curtailable: Vec::new(),
        storages,
        generators: Vec::new(),
        feeders: Vec::new(),
        carbon_cap: None,
        work: Vec::new(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

/// The case a quarter of an hour later: batteries as planned, other needs than expected.
fn later(problem: &Problem, schedule: &Schedule) -> Problem {
    let mut chance = Chance(2);
    let mut later = problem.clone();
    for step in &mut later.steps {
        step.start += jiff::SignedDuration::from_mins(15);
    }
    let c = &mut later.connection;
    c.import_price.rotate_left(1);
    later.fixed.rotate_left(1);
    for power in &mut later.fixed {
        *power = *power * (0.9 + 0.2 * chance.next());
    }
    for storage in &mut later.storages {
        storage.soc = schedule.storage[&storage.id].soc_after[0];
    }
    later
}

fn again(problem: &Problem) {
    let mut memory = Memory::default();
    let mut problem = problem.clone();
    for quarter in 0..6 {
        let took = |began: Instant| began.elapsed().as_secs_f64();
        let began = Instant::now();
        let anew = solve(&problem, &Budget::default()).unwrap();
        let (cold, began) = (took(began), Instant::now());
        let solved = solve_again(&problem, &Budget::default(), Some(&mut memory)).unwrap();
        println!(
            "quarter {quarter}: anew {cold:.2} s, {} steps, gap {:.4} %; again {:.2} s, {} steps, gap {:.4} %",
            anew.stats.iterations,
            100.0 * anew.gap,
            took(began),
            solved.stats.iterations,
            100.0 * solved.gap,
        );
        assert!(verify(&problem, &solved.schedule).violations.is_empty(), "the plan holds");
        problem = later(&problem, &solved.schedule);
    }
}

/// The same case as HiGHS is given it by anyone: one linear programme, solved by its interior-point method.
fn with_highs(problem: &Problem) -> f64 {
    let mut lp = highs::ColProblem::new();
    let c = &problem.connection;
    let breach = c.breach_price.as_per_kwh();
    let kw = |limit: Option<Power>| limit.map_or(f64::INFINITY, Power::as_kw);
    let balance: Vec<highs::Row> =
        problem.fixed.iter().map(|fixed| lp.add_row(-fixed.as_kw()..=-fixed.as_kw())).collect();
    for (t, &row) in balance.iter().enumerate() {
        let h = problem.steps[t].duration.get();
        let (buy, sell) = (c.full_import_price(t).as_per_kwh() * h, -c.export_price[t].as_per_kwh() * h);
        for (cost, limit, sign) in [(buy, c.import_limit[t], 1.0), (sell, c.export_limit[t], -1.0)] {
            lp.add_column(cost, 0.0..=kw(limit), [(row, sign)]);
            lp.add_column(cost + breach * h, 0.0.., [(row, sign)]);
        }
    }
    for s in &problem.storages {
        let start = |t: usize| if t == 0 { (s.soc * s.capacity).as_kwh() } else { 0.0 };
        let rows: Vec<highs::Row> = (0..STEPS).map(|t| lp.add_row(start(t)..=start(t))).collect();
        for t in 0..STEPS {
            let h = problem.steps[t].duration.get();
            let wear = s.wear_cost.as_per_kwh() * h;
            let charge = [(balance[t], -1.0), (rows[t], -s.charge_efficiency * h)];
            lp.add_column(wear, 0.0..=s.max_charge.as_kw(), charge);
            let discharge = [(balance[t], 1.0), (rows[t], h / s.discharge_efficiency)];
            lp.add_column(wear, 0.0..=s.max_discharge.as_kw(), discharge);
            let value = if t + 1 == STEPS { -s.end_value.as_per_kwh() } else { 0.0 };
            let stored = std::iter::once((rows[t], 1.0)).chain(rows.get(t + 1).map(|&row| (row, -1.0)));
            lp.add_column(
                value,
                s.energy_min().as_kwh()..=s.energy_max().as_kwh(),
                stored.collect::<Vec<_>>(),
            );
        }
    }
    let mut model = lp.optimise(highs::Sense::Minimise);
    model.make_quiet();
    model.set_option("solver", "ipm");
    model.set_option("run_crossover", "off");
    model.solve().objective_value()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let homes = arguments.next().map_or(1000, |text| text.parse().unwrap());
    let problem = community(homes);
    let further = arguments.next();
    if further.as_deref() == Some("--again") {
        return again(&problem);
    }
    let began = Instant::now();
    let solved = solve(&problem, &Budget::default()).unwrap();
    let took = began.elapsed().as_secs_f64();
    let bound_by = |limit: f64| {
        let at = |grid: &&Power| (grid.as_kw().abs() - limit * homes as f64).abs() < 1e-3 * homes as f64;
        solved.schedule.grid.iter().filter(at).count()
    };
    println!(
        "{homes} homes x {STEPS} steps: {took:.2} s, gap {:.5} %, cost {:.2}, {} steps at the import limit, {} at the export limit",
        solved.gap * 100.0,
        solved.objective.get(),
        bound_by(IMPORT),
        bound_by(EXPORT),
    );
    let began = Instant::now();
    let verified = verify(&problem, &solved.schedule);
    println!(
        "verified in {:.2} s: {} violations, bound {:.2}; {:?}",
        began.elapsed().as_secs_f64(),
        verified.violations.len(),
        verified.bound.unwrap().get(),
        solved.stats
    );
    assert!(verified.violations.is_empty(), "{:?}", verified.violations);
    if further.as_deref() == Some("--peer") {
        let began = Instant::now();
        let objective = with_highs(&problem);
        let peer = began.elapsed().as_secs_f64();
        println!(
            "HiGHS, interior point: {peer:.2} s, cost {objective:.2}; {:.1} times the time",
            peer / took
        );
    }
}
