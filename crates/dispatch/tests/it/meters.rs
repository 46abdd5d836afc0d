//! Feeders, charges, prices on ramps, caps on emissions: worked by hand, and any of them together.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;
use sos_dispatch::{
    Budget, CarbonCap, Charge, Charged, Connection, Feeder, Problem, Ramping, ReasonCode, Solved, Sum,
    emissions, solve, verify,
};
use sos_units::*;

use crate::make;

/// A feeder with these members and this power of its own, without limits and prices.
fn feeder(id: &str, members: &[&str], net: &[f64]) -> Feeder {
    Feeder {
        id: id.into(),
        members: members.iter().map(|&id| id.to_owned()).collect(),
        fixed: net.iter().map(|&kw| Power::kw(kw)).collect(),
        connection: Connection { breach_price: Price::per_kwh(10.0), ..Connection::free(net.len()) },
    }
}

/// A battery without losses.
fn ideal(id: &str, capacity: f64, power: f64, soc: f64) -> sos_dispatch::Storage {
    let plain = make::battery(id, capacity, power, soc);
    sos_dispatch::Storage { charge_efficiency: 1.0, discharge_efficiency: 1.0, ..plain }
}

fn peak(price: f64, free: f64, steps: usize) -> Charge {
    let sums = (0..steps).map(|t| Sum { so_far: 0.0, steps: vec![(t, 1.0)] }).collect();
    Charge { id: "peak".into(), what: Charged::Peak, price, free, sums }
}

/// Solves, checks that the plan holds and that its figures are right, and that the multipliers prove it.
fn proven(problem: &Problem) -> Solved {
    let solved = solve(problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
    let checked = verify(problem, &solved.schedule);
    assert_eq!(checked.violations, []);
    let (objective, bound) = (solved.objective.get(), checked.bound.unwrap().get());
    // Costs that decide between equal plans count in the multipliers.
    let close = 1e-4 * (1.0 + objective.abs());
    assert!((checked.objective.get() - objective).abs() < close, "{} {objective}", checked.objective.get());
    assert!(bound <= objective + close && bound > objective - close, "bound {bound} of {objective}");
    solved
}

#[test]
fn a_peak_charge_levels_import_down_to_what_is_free() {
    let mut problem = make::problem(1.0, &[0.2; 3], &[-1.0, -5.0, -1.0]);
    problem.storages = vec![ideal("b", 10.0, 5.0, 0.0)];
    problem.connection.charges = vec![peak(3.0, 0.0, 3)];
    let solved = proven(&problem);
    // The battery cannot give back before it has taken: 1 kWh more in the first hour makes 3 + 3 of 1 + 5.
    assert!(
        (solved.schedule.grid[0].as_kw() - 3.0).abs() < 1e-6
            && (solved.schedule.grid[1].as_kw() - 3.0).abs() < 1e-6
    );
    assert!((solved.costs.charges.get() - 9.0).abs() < 1e-6);
    assert_eq!(solved.schedule.because["b"][1].code, ReasonCode::DischargeForPeak);
    problem.connection.charges = vec![peak(3.0, 4.0, 3)];
    let solved = proven(&problem);
    assert!(solved.costs.charges.get().abs() < 1e-6 && solved.schedule.grid[1].as_kw() < 4.0 + 1e-6);
}

#[test]
fn a_tier_makes_the_kwh_beyond_it_dearer() {
    let mut problem = make::problem(1.0, &[0.2, 0.2], &[-2.0, -2.0]);
    let sums = vec![Sum { so_far: 0.0, steps: vec![(0, 1.0), (1, 1.0)] }];
    let tier = Charge { id: "tier".into(), what: Charged::Energy, price: 0.1, free: 3.0, sums };
    problem.connection.charges = vec![tier];
    let solved = proven(&problem);
    assert!((solved.costs.charges.get() - 0.1).abs() < 1e-9);
    assert!((solved.objective.get() - 0.9).abs() < 1e-9);
}

#[test]
fn a_home_pays_at_its_own_meter_whatever_its_neighbour_exports() {
    let mut problem = make::problem(1.0, &[0.0, 0.0], &[1.0, -1.0]);
    problem.storages = vec![ideal("b", 10.0, 5.0, 0.0)];
    let mut sunny = feeder("sunny", &["b"], &[3.0, 1.0]);
    sunny.connection.import_price = vec![Price::per_kwh(0.3); 2];
    let mut shady = feeder("shady", &[], &[-2.0, -2.0]);
    shady.connection.import_price = vec![Price::per_kwh(0.3); 2];
    problem.feeders = vec![sunny, shady];
    let solved = proven(&problem);
    // The neighbour buys 4 kWh; the sunny home buys nothing, with or without its battery.
    assert!((solved.objective.get() - 1.2).abs() < 1e-6, "{:?}", solved.costs);
    assert!((solved.schedule.feeders["shady"][0].as_kw() - 2.0).abs() < 1e-6);
}

#[test]
fn a_fuse_holds_where_the_connection_has_room() {
    let mut problem = make::problem(1.0, &[0.1, 0.05], &[-1.0, -6.0]);
    problem.storages = vec![ideal("b", 10.0, 5.0, 0.0)];
    let mut fuse = feeder("fuse", &["b"], &[0.0, -4.0]);
    fuse.connection.import_limit = vec![Some(Power::kw(2.0)); 2];
    let street = Feeder { id: "street".into(), ..fuse.clone() };
    problem.feeders = vec![street, fuse];
    let solved = proven(&problem);
    assert!((solved.schedule.storage["b"].power[0].as_kw() + 2.0).abs() < 1e-6);
    assert!(solved.schedule.breaches.is_empty());
    let because = &solved.schedule.because["b"][1];
    assert_eq!(because.code, ReasonCode::DischargeForLimit);
    assert!(because.text.contains(" of street") || because.text.contains(" of fuse"), "{}", because.text);
    assert!(
        sos_dispatch::binding(&problem, &solved.schedule, 0).iter().any(|limit| limit.contains("of fuse"))
    );
}

#[test]
fn fuses_that_cannot_hold_are_named() {
    let mut problem = make::problem(1.0, &[0.1, 0.5], &[-1.0, -6.0]);
    let mut fuse = feeder("fuse", &[], &[0.0, -4.0]);
    fuse.connection.import_limit = vec![Some(Power::kw(2.0)); 2];
    problem.feeders = vec![fuse];
    let solved = proven(&problem);
    assert_eq!(solved.schedule.breaches[0].feeder.as_deref(), Some("fuse"));
    let found = sos_dispatch::conflict(&problem, 100).unwrap().unwrap();
    assert_eq!(found.limits, [sos_dispatch::Limit::Import { feeder: Some("fuse".into()), step: 1 }]);
}

#[test]
fn a_price_on_ramps_makes_the_exchange_smooth() {
    let mut problem = make::problem(1.0, &[0.2; 4], &[-1.0, -3.0, -1.0, -3.0]);
    problem.storages = vec![ideal("b", 10.0, 5.0, 0.5)];
    problem.storages[0].end_value = Price::per_kwh(0.2);
    problem.connection.ramping = Some(Ramping { price: 1.0, before: Some(Power::kw(2.0)) });
    let solved = proven(&problem);
    assert!(solved.costs.ramping.get().abs() < 1e-6, "{:?}", solved.schedule.grid);
}

#[test]
fn a_cap_moves_import_to_where_it_emits_less() {
    let mut problem = make::problem(1.0, &[0.1, 0.2], &[0.0, -4.0]);
    problem.storages = vec![ideal("b", 10.0, 5.0, 0.0)];
    problem.connection.carbon_intensity = [0.5, 0.25].map(CarbonIntensity::kg_per_kwh).to_vec();
    let free = proven(&problem);
    assert!((emissions(&problem, &free.schedule) - 2.0).abs() < 1e-6);
    problem.carbon_cap = Some(CarbonCap { kg: 1.5, price: CarbonPrice::per_kg(100.0), steps: None });
    let capped = proven(&problem);
    assert!((emissions(&problem, &capped.schedule) - 1.5).abs() < 1e-6);
    // 0.1 more for each kWh that emits 0.25 kg less.
    assert!((capped.schedule.shadow.carbon - 0.4).abs() < 1e-3);
    problem.carbon_cap = Some(CarbonCap { kg: 0.5, price: CarbonPrice::per_kg(100.0), steps: None });
    let beyond = proven(&problem);
    problem.carbon_cap = Some(CarbonCap { kg: 1.5, price: CarbonPrice::per_kg(100.0), steps: Some(1) });
    let first = proven(&problem);
    assert!((first.schedule.grid[0].as_kw() - 3.0).abs() < 1e-6, "the rest of the horizon is another period");
    assert!((beyond.costs.carbon_cap.get() - 50.0).abs() < 1e-6, "{:?}", beyond.costs);
}

/// A street of homes that pay at meters of their own, behind one limit: more than the general solver is asked.
#[test]
fn many_homes_with_meters_of_their_own_are_planned_by_their_structure() {
    let mut rng = make::random(7);
    let (homes, n) = (70, 96);
    let dear = |t: usize| if (68..84).contains(&t) { 0.5 } else { 0.2 };
    let mut problem = make::problem(0.25, &vec![0.0; n], &vec![0.0; n]);
    problem.connection.import_limit = vec![Some(Power::kw(60.0)); n];
    for home in 0..homes {
        let noon = rng.random_range(1.0..5.0);
        let net: Vec<f64> = (0..n)
            .map(|t| noon * (1.0 - ((t as f64 - 50.0) / 14.0).powi(2)).max(0.0) - rng.random_range(0.3..1.6))
            .collect();
        let mut battery =
            make::battery(&format!("b{home}"), rng.random_range(4.0..12.0), 3.0, rng.random_range(0.1..0.9));
        battery.charge_efficiency = rng.random_range(0.9..0.97);
        problem.storages.push(battery);
        problem.fixed.iter_mut().zip(&net).for_each(|(sum, kw)| *sum += Power::kw(*kw));
        let mut own = feeder(&format!("home{home}"), &[&format!("b{home}")], &net);
        own.connection.import_price = (0..n).map(|t| Price::per_kwh(dear(t))).collect();
        own.connection.export_price = vec![Price::per_kwh(0.08); n];
        problem.feeders.push(own);
    }
    let solved = solve(&problem, &Budget::default()).unwrap();
    assert!(solved.stats.columns > 20_000 && solved.gap <= 1e-3, "{:?} {}", solved.stats, solved.gap);
    assert!(solved.stats.iterations < 100, "{:?}", solved.stats);
    let checked = verify(&problem, &solved.schedule);
    assert_eq!(checked.violations, []);
    let (objective, bound) = (solved.objective.get(), checked.bound.unwrap().get());
    assert!(bound <= objective && bound > objective - 2e-3 * objective.abs(), "{bound} of {objective}");
}

/// Batteries behind nested feeders with any limits, prices and charges.
fn anything(seed: u64) -> Problem {
    let mut rng = make::random(seed);
    let n = rng.random_range(2..12);
    let prices: Vec<f64> = (0..n).map(|_| rng.random_range(-0.05..0.5)).collect();
    let net: Vec<f64> = (0..n).map(|_| rng.random_range(-6.0..3.0)).collect();
    let mut problem = make::problem(0.5, &prices, &net);
    let kw = |rng: &mut dyn rand::Rng, most: f64| {
        (0..n).map(|_| Power::kw(rng.random_range(0.0..most))).collect::<Vec<_>>()
    };
    problem.storages =
        (0..3).map(|i| make::battery(&format!("b{i}"), 5.0, 3.0, rng.random_range(0.0..1.0))).collect();
    problem.curtailable = vec![sos_dispatch::Curtailable { id: "pv".into(), available: kw(&mut rng, 5.0) }];
    let mut inner = feeder("inner", &["b0"], &vec![0.0; n]);
    let mut outer = feeder("outer", &["b0", "b1", "pv"], &vec![-1.0; n]);
    for connection in [&mut problem.connection, &mut inner.connection, &mut outer.connection] {
        for t in 0..n {
            let limit = |rng: &mut dyn rand::Rng| {
                let most = rng.random_range(0.0..8.0);
                (rng.random_range(0..3) > 0).then_some(Power::kw(most))
            };
            connection.import_limit[t] = limit(&mut rng);
            connection.export_limit[t] = limit(&mut rng);
            connection.import_price[t] += Price::per_kwh(rng.random_range(0.0..0.1));
            // Never above what import costs, so that nothing has to be either or.
            let price = connection.import_price[t].as_per_kwh().min(0.05) - 0.01;
            connection.export_price[t] = Price::per_kwh(price);
            connection.carbon_intensity[t] = CarbonIntensity::kg_per_kwh(rng.random_range(0.0..0.6));
        }
    }
    let half = n / 2;
    let sum =
        |so_far, steps: std::ops::Range<usize>| Sum { so_far, steps: steps.map(|t| (t, 0.5)).collect() };
    let sums = vec![sum(rng.random_range(0.0..2.0), 0..half), sum(0.0, half..n)];
    let tier = Charge { id: "tier".into(), what: Charged::Energy, price: 0.1, free: 2.0, sums };
    problem.connection.charges = vec![peak(rng.random_range(0.0..2.0), 2.0, n), tier];
    outer.connection.charges = vec![Charge { id: "outer".into(), ..peak(0.5, 0.5, n) }];
    if rng.random_range(0..2) == 0 {
        let before = (rng.random_range(0..2) == 0).then_some(Power::kw(1.0));
        problem.connection.ramping = Some(Ramping { price: 0.05, before });
    }
    if rng.random_range(0..2) == 0 {
        let (kg, price) = (rng.random_range(0.0..3.0), CarbonPrice::per_kg(1.0));
        let steps = (rng.random_range(0..2) == 0).then(|| rng.random_range(0..=n));
        problem.carbon_cap = Some(CarbonCap { kg, price, steps });
    }
    problem.feeders = vec![outer, inner];
    problem
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_declared_holds_and_is_proven(seed in any::<u64>()) {
        let problem = anything(seed);
        let solved = solve(&problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
        let checked = verify(&problem, &solved.schedule);
        prop_assert_eq!(&checked.violations, &[]);
        let (objective, bound) = (solved.objective.get(), checked.bound.unwrap().get());
        let close = 1e-4 * (1.0 + objective.abs());
        prop_assert!((checked.objective.get() - objective).abs() < close);
        prop_assert!(bound <= objective + close, "bound {} above {}", bound, objective);
        // Where burning energy would pay and choices are made, the multipliers prove less.
        if solved.stats.programmes == 1 {
            prop_assert!(bound > objective - 1e-3 * (1.0 + objective.abs()), "bound {} of {}", bound, objective);
        }
        let rule = sos_dispatch::rule_plan(&problem).unwrap();
        prop_assert_eq!(&verify(&problem, &rule.0).violations, &[]);
        prop_assert!(rule.1.total() >= solved.objective - Money::new(close));
    }

    #[test]
    fn a_feeder_around_everything_is_the_connection(seed in any::<u64>()) {
        let mut problem = anything(seed);
        problem.feeders.clear();
        let alone = solve(&problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
        let ids: BTreeSet<String> = ["b0", "b1", "b2", "pv"].map(str::to_owned).into();
        let all = Feeder { id: "all".into(), members: ids, fixed: problem.fixed.clone(), connection: problem.connection.clone() };
        let free = Connection::free(problem.steps.len());
        let moved = Problem { connection: free, feeders: vec![all], ..problem };
        let behind = solve(&moved, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
        let (a, b) = (alone.objective.get(), behind.objective.get());
        prop_assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} and {b}");
    }

    /// What a reason names holds the step back: with more room at it the step changes, with more room elsewhere it does not.
    #[test]
    fn relaxing_the_limit_that_a_reason_names_changes_its_step(seed in any::<u64>()) {
        let mut rng = make::random(seed);
        let n = 8;
        let prices: Vec<f64> = (0..n).map(|_| rng.random_range(0.1..0.5)).collect();
        let net: Vec<f64> = (0..n).map(|_| rng.random_range(-7.0..4.0)).collect();
        let mut problem = make::problem(1.0, &prices, &net);
        problem.storages = vec![make::battery("b", 12.0, 4.0, 0.5)];
        problem.connection.import_limit = vec![Some(Power::kw(4.5)); n];
        problem.connection.export_limit = vec![Some(Power::kw(1.5)); n];
        problem.connection.export_price = prices.iter().map(|price| Price::per_kwh(price * 0.4)).collect();
        let budget = Budget { gap: 1e-7, ..Budget::default() };
        let plan = solve(&problem, &budget).unwrap().schedule;
        let power = |plan: &sos_dispatch::Schedule, t: usize| plan.storage["b"].power[t].as_kw();
        for t in 0..n {
            let import = match plan.because["b"][t].code {
                ReasonCode::DischargeForLimit => true,
                _ if plan.because["b"][t].text.contains("allows no more") => true,
                ReasonCode::ChargeForLimit => false,
                _ => continue,
            };
            // Where the limit is exceeded all the same, a little more room changes nothing.
            let over = if import { plan.grid[t].as_kw() - 4.5 } else { -plan.grid[t].as_kw() - 1.5 };
            if over > 1e-3 {
                continue;
            }
            let mut relaxed = problem.clone();
            let limits = &mut relaxed.connection;
            let limits = if import { &mut limits.import_limit } else { &mut limits.export_limit };
            limits[t] = limits[t].map(|limit| limit + Power::kw(0.2));
            let changed = solve(&relaxed, &budget).unwrap().schedule;
            prop_assert!((power(&changed, t) - power(&plan, t)).abs() > 1e-4, "step {t}: {:?}", plan.because["b"][t]);
            // A limit of another step that is not reached plays no part.
            let free = (0..n).find(|&other| plan.grid[other].as_kw().abs() < 1.0);
            if let Some(other) = free {
                let mut relaxed = problem.clone();
                relaxed.connection.import_limit[other] = Some(Power::kw(9.0));
                let same = solve(&relaxed, &budget).unwrap().schedule;
                prop_assert!((power(&same, t) - power(&plan, t)).abs() < 1e-4);
            }
        }
    }
}
