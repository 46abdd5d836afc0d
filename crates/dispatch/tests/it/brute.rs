//! Plans against exhaustive search. With whole numbers and lossless storage every best plan has a whole-numbered
//! twin (each choice of directions leaves a network flow), so the search over whole numbers is exact.

use proptest::prelude::*;
use sos_dispatch::{Budget, Problem, solve, verify};
use sos_units::*;

use crate::make;

/// Cheapest continuation from step `t` with whole-numbered energies, work being a fixed extra load.
fn search(problem: &Problem, load: &[f64], t: usize, stored: &[i32]) -> f64 {
    if t == problem.steps.len() {
        return -stored
            .iter()
            .zip(&problem.storages)
            .map(|(&e, s)| f64::from(e) * s.end_value.as_per_kwh())
            .sum::<f64>();
    }
    let mut best = f64::INFINITY;
    let mut moves = vec![0; stored.len()];
    each_move(problem, stored, 0, &mut moves, &mut |moves| {
        let after: Vec<i32> = stored.iter().zip(moves).map(|(e, m)| e - m).collect();
        let power: i32 = moves.iter().sum();
        let wear: f64 = moves
            .iter()
            .zip(&problem.storages)
            .map(|(m, s)| f64::from(m.abs()) * s.wear_cost.as_per_kwh())
            .sum();
        let grid = load[t] - problem.fixed[t].as_kw() - f64::from(power);
        let cost = exchange(problem, t, grid) + wear + search(problem, load, t + 1, &after);
        best = best.min(cost);
    });
    best
}

fn each_move(
    problem: &Problem,
    stored: &[i32],
    i: usize,
    moves: &mut Vec<i32>,
    visit: &mut dyn FnMut(&[i32]),
) {
    let Some(s) = problem.storages.get(i) else { return visit(moves) };
    let (most_in, most_out) = (s.max_charge.as_kw() as i32, s.max_discharge.as_kw() as i32);
    for power in -most_in..=most_out {
        if (0..=s.capacity.as_kwh() as i32).contains(&(stored[i] - power)) {
            moves[i] = power;
            each_move(problem, stored, i + 1, moves, visit);
        }
    }
    moves[i] = 0;
}

fn exchange(problem: &Problem, t: usize, grid: f64) -> f64 {
    let c = &problem.connection;
    let price = if grid > 0.0 { c.import_price[t] } else { c.export_price[t] };
    let over_in = c.import_limit[t].map_or(0.0, |l| (grid - l.as_kw()).max(0.0));
    let over_out = c.export_limit[t].map_or(0.0, |l| (-grid - l.as_kw()).max(0.0));
    grid * price.as_per_kwh() + (over_in + over_out) * c.breach_price.as_per_kwh()
}

/// Best over all starts of the only work, or leaving it out.
fn exhaustive(problem: &Problem) -> f64 {
    let n = problem.steps.len();
    let stored: Vec<i32> =
        problem.storages.iter().map(|s| (s.soc.as_fraction() * s.capacity.as_kwh()).round() as i32).collect();
    let Some(work) = problem.work.first() else { return search(problem, &vec![0.0; n], 0, &stored) };
    let hours = (work.energy.as_kwh() / work.max_power.as_kw()).round() as usize;
    let mut best = work.value.get() + search(problem, &vec![0.0; n], 0, &stored);
    for start in 0..=(n - hours) {
        if make::at(start as f64) < work.earliest || make::at((start + hours) as f64) > work.deadline {
            continue;
        }
        let mut load = vec![0.0; n];
        load[start..start + hours].fill(work.max_power.as_kw());
        best = best.min(search(problem, &load, 0, &stored));
    }
    best
}

prop_compose! {
    fn tiny()(
        prices in prop::collection::vec((-3..8_i32, -3..8_i32, -5..5_i32), 4..=4),
        limits in prop::collection::vec((prop::option::of(0..4_i32), prop::option::of(0..4_i32)), 4..=4),
        stores in prop::collection::vec((0..4_i32, 0..3_i32, 0..3_i32, 0..=4_i32, -1..4_i32, 0..2_i32), 0..3),
        work in prop::option::of((1..3_usize, 1..4_i32, 0..2_i32, 3..=4_i32, 0..25_i32)),
    ) -> Problem {
        let import: Vec<f64> = prices.iter().map(|p| f64::from(p.0)).collect();
        let net: Vec<f64> = prices.iter().map(|p| f64::from(p.2)).collect();
        let mut problem = make::problem(1.0, &import, &net);
        for t in 0..4 {
            problem.connection.export_price[t] = Price::per_kwh(f64::from(prices[t].1));
            problem.connection.import_limit[t] = limits[t].0.map(|l| Power::kw(f64::from(l)));
            problem.connection.export_limit[t] = limits[t].1.map(|l| Power::kw(f64::from(l)));
        }
        problem.connection.breach_price = Price::per_kwh(20.0);
        for (i, (capacity, charge, discharge, energy, value, wear)) in stores.into_iter().enumerate() {
            let mut s = make::battery(&format!("s{i}"), f64::from(capacity), 0.0, 0.0);
            s.soc = Soc::fraction(if capacity > 0 { f64::from(energy.min(capacity)) / f64::from(capacity) } else { 0.0 });
            s.max_charge = Power::kw(f64::from(charge));
            s.max_discharge = Power::kw(f64::from(discharge));
            (s.charge_efficiency, s.discharge_efficiency) = (1.0, 1.0);
            s.end_value = Price::per_kwh(f64::from(value));
            s.wear_cost = Price::per_kwh(f64::from(wear));
            problem.storages.push(s);
        }
        if let Some((hours, power, earliest, deadline, value)) = work {
            let energy = hours as f64 * f64::from(power);
            let mut job = make::job("job", energy, f64::from(power), f64::from(earliest), f64::from(deadline));
            job.value = Money::new(f64::from(value));
            problem.work.push(job);
        }
        problem
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_is_cheaper_than_the_solved_one(problem in tiny()) {
        let best = exhaustive(&problem);
        let solved = solve(&problem, &Budget { gap: 0.0, ..Budget::default() }).unwrap();
        let found = verify(&problem, &solved.schedule);
        prop_assert!(found.violations.is_empty(), "{:?}", found.violations);
        prop_assert!((solved.objective.get() - best).abs() < 1e-4, "solved {} exhaustive {best} bound {} {:?}", solved.objective.get(), solved.bound.get(), solved.stats);
        prop_assert!((solved.objective - found.objective).abs().get() < 1e-6);
        prop_assert!(solved.bound.get() <= best + 1e-6);
        prop_assert!(found.bound.unwrap().get() <= best + 1e-6);
    }
}
