//! Storages that are more than plain batteries: worked by hand, and any of them together.

use proptest::prelude::*;
use rand::RngExt;
use sos_dispatch::{Budget, Draw, Dynamics, Problem, SocTarget, Solved, Storage, solve, verify};
use sos_units::*;

use crate::make;

fn store(capacity: f64, power: f64, soc: f64, dynamics: Dynamics) -> Storage {
    let plain = make::battery("s", capacity, power, soc);
    Storage { charge_efficiency: 1.0, discharge_efficiency: 1.0, dynamics, ..plain }
}

fn solved(problem: &Problem) -> Solved {
    let solved = solve(problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
    let checked = verify(problem, &solved.schedule);
    assert_eq!(checked.violations, []);
    let (objective, bound) = (solved.objective.get(), checked.bound.unwrap().get());
    assert!((checked.objective.get() - objective).abs() < 1e-6 * (1.0 + objective.abs()));
    assert!(bound <= objective + 1e-6 * (1.0 + objective.abs()), "bound {bound} of {objective}");
    solved
}

fn kw(power: &[Power]) -> Vec<f64> {
    power.iter().map(|p| (p.as_kw() * 1e6).round() / 1e6).collect()
}

/// A store at rest keeps its share of each hour, above its lowest state of charge and below.
#[test]
fn what_is_stored_is_lost_over_time() {
    let mut problem = make::problem(2.0, &[0.5; 3], &[0.0; 3]);
    let half = Dynamics { retention: 0.9, ..Dynamics::default() };
    problem.storages = vec![Storage { min_soc: Soc::fraction(0.5), ..store(10.0, 1.0, 0.5, half) }];
    let plan = solved(&problem);
    let stored: Vec<f64> = plan.schedule.storage["s"].stored_after.iter().map(|e| e.as_kwh()).collect();
    for (found, expected) in stored.iter().zip([5.0 * 0.81, 5.0 * 0.6561, 5.0 * 0.531_441]) {
        assert!((found - expected).abs() < 1e-6, "{stored:?}");
    }
}

/// The published trace: what changes at the start of a step is in store for all of it, then a part is lost.
#[test]
fn losses_follow_changes_within_a_step() {
    let mut problem = make::problem(1.0, &[0.1; 4], &[0.0; 4]);
    let lossy = Dynamics { retention: 0.99, ..Dynamics::default() };
    let mut storage = store(2000.0, 100.0, 0.5, lossy);
    let range = [-100.0, 100.0, 100.0, -100.0].map(|kw| Some((Power::kw(kw), Power::kw(kw)))).to_vec();
    storage.ordered = Some(sos_dispatch::Ordered { power: Power::ZERO, range, because: "given".into() });
    problem.storages = vec![storage];
    let plan = solved(&problem);
    let stored: Vec<f64> = plan.schedule.storage["s"].stored_after.iter().map(|e| e.as_kwh()).collect();
    for (found, expected) in stored.iter().zip([1089.0, 979.11, 870.3189, 960.615_711]) {
        assert!((found - expected).abs() < 1e-6, "{stored:?}");
    }
}

#[test]
fn a_target_is_reached_although_the_last_part_is_slow() {
    let mut problem = make::problem(1.0, &[0.4, 0.3, 0.2, 0.1], &[0.0; 4]);
    // From 8 of 10 kWh on, power falls to 1 kW when full.
    let curve = vec![(Soc::fraction(0.8), Power::kw(5.0)), (Soc::fraction(1.0), Power::kw(1.0))];
    let slow = Dynamics { charge_curve: curve, ..Dynamics::default() };
    problem.storages = vec![store(10.0, 5.0, 0.0, slow)];
    problem.storages[0].targets =
        vec![SocTarget { step: 3, soc: Soc::fraction(1.0), price: Price::per_kwh(9.0) }];
    let plan = solved(&problem);
    // Full at the end of the last hour is at most 1 kW; 9 kWh after the third at most 3 kW, 6 kWh before it.
    assert_eq!(kw(&plan.schedule.storage["s"].power), [-1.0, -5.0, -3.0, -1.0]);
    assert!(plan.costs.targets.get().abs() < 1e-6);
}

#[test]
fn a_charger_gives_its_least_power_or_none() {
    let mut problem = make::problem(1.0, &[0.3, 0.1, 0.2], &[0.0; 3]);
    let charger = Dynamics { min_charge: Power::kw(4.0), ..Dynamics::default() };
    problem.storages = vec![Storage { max_discharge: Power::ZERO, ..store(20.0, 6.0, 0.0, charger) }];
    problem.storages[0].targets =
        vec![SocTarget { step: 2, soc: Soc::fraction(0.4), price: Price::per_kwh(9.0) }];
    let plan = solved(&problem);
    // 8 kWh: 6 kW in the cheapest hour would leave 2 kW, which it cannot give.
    assert_eq!(kw(&plan.schedule.storage["s"].power), [0.0, -4.0, -4.0]);
    let because: Vec<&str> = plan.schedule.because["s"].iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(because[0], "0 kW: waits for 08:00, when power costs 0.10; 40 % are wanted by 10:00");
    assert_eq!(because[1], "charging: 40 % are wanted by 10:00, power costs 0.10 now");
}

/// What people order, or what a device on hold does by itself, may be less than it would be told to do.
#[test]
fn an_order_below_the_least_power_is_planned_as_it_is() {
    let mut problem = make::problem(1.0, &[0.3, 0.1, 0.2], &[0.0; 3]);
    let charger = Dynamics { min_charge: Power::kw(4.0), ..Dynamics::default() };
    let mut storage = Storage { max_discharge: Power::ZERO, ..store(20.0, 6.0, 0.0, charger) };
    storage.targets = vec![SocTarget { step: 2, soc: Soc::fraction(0.25), price: Price::per_kwh(9.0) }];
    let until = problem.steps[0].end();
    let ordered = sos_dispatch::Ordered::new(&storage, &problem.steps, Power::kw(-0.5), until, "held".into());
    storage.ordered = Some(ordered);
    problem.storages = vec![storage];
    assert_eq!(kw(&solved(&problem).schedule.storage["s"].power), [-0.5, -4.5, 0.0]);
}

#[test]
fn use_is_served_from_store_and_what_lacks_is_told() {
    let mut problem = make::problem(1.0, &[0.1, 0.5], &[0.0; 2]);
    let energy = vec![Energy::ZERO, Energy::kwh(9.0)];
    let used = Dynamics { draw: Some(Draw { energy, price: Price::per_kwh(2.0) }), ..Dynamics::default() };
    problem.storages = vec![Storage { max_discharge: Power::ZERO, ..store(10.0, 4.0, 0.0, used) }];
    let plan = solved(&problem);
    assert_eq!(kw(&plan.schedule.storage["s"].power), [-4.0, -4.0]);
    assert!((plan.schedule.storage["s"].missing[1].as_kwh() - 1.0).abs() < 1e-6);
    assert!((plan.costs.missing.get() - 2.0).abs() < 1e-6);
    let because = &plan.schedule.because["s"][0].text;
    assert_eq!(because, "charging: 9.0 kWh are needed at 08:00, power costs 0.10 now");
}

#[test]
fn a_heat_pump_runs_when_it_is_warm_outside_or_power_is_cheap() {
    let mut problem = make::problem(1.0, &[0.2, 0.2], &[0.0; 2]);
    let energy = vec![Energy::ZERO, Energy::kwh(4.0)];
    let warm = Dynamics {
        draw: Some(Draw { energy, price: Price::per_kwh(9.0) }),
        charge_efficiency: Some(vec![4.0, 2.0]),
        ..Dynamics::default()
    };
    problem.storages = vec![Storage { max_discharge: Power::ZERO, ..store(10.0, 2.0, 0.0, warm) }];
    let plan = solved(&problem);
    assert_eq!(kw(&plan.schedule.storage["s"].power), [-1.0, 0.0]);
    assert!((plan.objective.get() - 0.2).abs() < 1e-6);
}

/// The sun warms more than there is room for: the rest is let go.
#[test]
fn gains_beyond_the_room_are_let_go() {
    let mut problem = make::problem(1.0, &[0.2, 0.2], &[0.0; 2]);
    let energy = vec![Energy::kwh(-30.0), Energy::kwh(3.0)];
    let sunny = Dynamics { draw: Some(Draw { energy, price: Price::per_kwh(9.0) }), ..Dynamics::default() };
    problem.storages = vec![Storage { max_discharge: Power::ZERO, ..store(10.0, 2.0, 0.5, sunny) }];
    let plan = solved(&problem);
    let stored = &plan.schedule.storage["s"].stored_after;
    assert!((stored[0].as_kwh() - 10.0).abs() < 1e-6 && (stored[1].as_kwh() - 7.0).abs() < 1e-6);
}

#[test]
fn wear_that_rises_with_power_spreads_it() {
    let mut problem = make::problem(1.0, &[0.1, 0.1, 0.5, 0.5], &[0.0, 0.0, -2.0, -2.0]);
    let careful = Dynamics { wear_above: vec![(Power::kw(2.0), Price::per_kwh(0.3))], ..Dynamics::default() };
    problem.storages = vec![store(10.0, 4.0, 0.0, careful)];
    assert_eq!(kw(&solved(&problem).schedule.storage["s"].power), [-2.0, -2.0, 2.0, 2.0]);
}

/// PyPSA's case: a store that costs 0.2 per kWh held, a source in the first hour only.
#[test]
fn holding_costs_for_as_long_as_it_is_held() {
    let mut problem = make::problem(1.0, &[1.0, 1e3, 1e3], &[-1.0; 3]);
    let held = Dynamics { holding_cost: Price::per_kwh(0.2), ..Dynamics::default() };
    problem.storages = vec![store(10.0, 10.0, 0.1, held)];
    problem.connection.import_limit = vec![Some(Power::kw(3.0)), Some(Power::ZERO), Some(Power::ZERO)];
    let plan = solved(&problem);
    assert!((plan.objective.get() - 2.6).abs() < 1e-6, "{:?}", plan.costs);
}

/// Anything that is not plainly wrong.
fn anything(seed: u64) -> Problem {
    let mut rng = make::random(seed);
    let n = rng.random_range(1..10);
    let prices: Vec<f64> = (0..n).map(|_| rng.random_range(-0.05..0.5)).collect();
    let net: Vec<f64> = (0..n).map(|_| rng.random_range(-6.0..3.0)).collect();
    let mut problem = make::problem(0.5, &prices, &net);
    for i in 0..2 {
        let mut one =
            make::battery(&format!("s{i}"), rng.random_range(1.0..12.0), 3.0, rng.random_range(0.0..1.0));
        one.min_soc = Soc::fraction(0.2);
        one.end_value = Price::per_kwh(rng.random_range(0.0..0.3));
        let d = &mut one.dynamics;
        let mut flip = || rng.random_range(0..2) == 0;
        let (a, b, c, e, f, g) = (flip(), flip(), flip(), flip(), flip(), flip());
        if a {
            d.retention = rng.random_range(0.5..1.0);
        }
        if b {
            let energy = (0..n).map(|_| Energy::kwh(rng.random_range(-1.0..2.0))).collect();
            d.draw = Some(Draw { energy, price: Price::per_kwh(3.0) });
        }
        if c {
            d.charge_curve = vec![(Soc::fraction(0.5), Power::kw(3.0)), (Soc::fraction(1.0), Power::kw(0.5))];
            d.discharge_curve = vec![(Soc::fraction(0.0), Power::ZERO), (Soc::fraction(0.5), Power::kw(3.0))];
        }
        if e {
            d.charge_efficiency = Some((0..n).map(|_| rng.random_range(0.5..4.0)).collect());
        }
        if f {
            d.min_charge = Power::kw(1.0);
        }
        if g {
            d.wear_above =
                vec![(Power::kw(1.0), Price::per_kwh(0.05)), (Power::kw(2.0), Price::per_kwh(0.05))];
            d.holding_cost = Price::per_kwh(0.01);
        }
        problem.storages.push(one);
    }
    problem
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_storage_is_its_plan_holds(seed in any::<u64>()) {
        let problem = anything(seed);
        let solved = solve(&problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
        let checked = verify(&problem, &solved.schedule);
        prop_assert_eq!(&checked.violations, &[]);
        let (objective, bound) = (solved.objective.get(), checked.bound.unwrap().get());
        let close = 1e-5 * (1.0 + objective.abs());
        prop_assert!((checked.objective.get() - objective).abs() < close, "{} {}", checked.objective.get(), objective);
        prop_assert!(bound <= objective + close, "bound {} above {}", bound, objective);
        let curves = problem.storages.iter().any(|s| !s.dynamics.charge_curve.is_empty() || s.dynamics.min_charge > Power::ZERO);
        if !curves && solved.stats.programmes == 1 {
            prop_assert!(bound > objective - 1e-4 * (1.0 + objective.abs()), "bound {} of {}", bound, objective);
        }
        let rule = sos_dispatch::rule_plan(&problem).unwrap();
        prop_assert_eq!(&verify(&problem, &rule.0).violations, &[]);
        prop_assert!(rule.1.total() >= solved.objective - Money::new(close), "{} {}", rule.1.total().get(), objective);
    }
}
