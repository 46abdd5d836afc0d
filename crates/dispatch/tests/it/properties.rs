//! There is always a plan, it holds, and it is the same every time.

use proptest::prelude::*;
use rand::{Rng, RngExt};
use sos_dispatch::{
    Budget, Ordered, Pessimistic, PlanSource, Problem, Reserve, SocTarget, rule_plan, solve,
    solve_or_fallback, verify,
};
use sos_units::*;

use crate::make;

/// Anything that is not plainly wrong: no capacity, no power, limit 0, negative prices, charge outside its range.
fn nonsense(seed: u64) -> Problem {
    let mut rng = make::random(seed);
    let n = rng.random_range(1..30);
    let some = |rng: &mut dyn Rng, values: &[f64]| values[rng.random_range(0..values.len())];
    let prices: Vec<f64> = (0..n).map(|_| some(&mut rng, &[-0.3, 0.0, 0.1, 0.22, 0.54])).collect();
    let net: Vec<f64> = (0..n).map(|_| rng.random_range(-12.0..8.0)).collect();
    let mut problem = make::problem(some(&mut rng, &[0.25, 1.0, 2.5]), &prices, &net);
    for t in 0..n {
        let c = &mut problem.connection;
        c.export_price[t] = Price::per_kwh(some(&mut rng, &[-0.1, 0.0, 0.0, 0.05, 0.3]));
        c.import_limit[t] = [None, Some(Power::ZERO), Some(Power::kw(6.0))][rng.random_range(0..3)];
        c.export_limit[t] = [None, Some(Power::ZERO), Some(Power::kw(2.0))][rng.random_range(0..3)];
        c.carbon_intensity[t] = CarbonIntensity::kg_per_kwh(rng.random_range(0.0..0.5));
    }
    problem.connection.carbon_price = CarbonPrice::per_kg(0.1);
    for i in 0..rng.random_range(0..4) {
        let capacity = some(&mut rng, &[0.0, 1.0, 6.4, 50.0]);
        let power = some(&mut rng, &[0.0, 5.0, 5.0, 22.0]);
        let soc = rng.random_range(0.0..1.0);
        let mut s = make::battery(&format!("b{i}"), capacity, power, soc);
        (s.min_soc, s.max_soc) =
            (Soc::fraction(some(&mut rng, &[0.0, 0.2])), Soc::fraction(some(&mut rng, &[0.8, 1.0])));
        s.wear_cost = Price::per_kwh(some(&mut rng, &[0.0, 0.02]));
        s.end_value = Price::per_kwh(some(&mut rng, &[0.0, 0.2, 0.6]));
        if rng.random_range(0..3) == 0 {
            s.available = Some((0..n).map(|_| rng.random_range(0..4) > 0).collect());
        }
        if rng.random_range(0..4) == 0 {
            let step = rng.random_range(0..n);
            s.targets.push(SocTarget { step, soc: Soc::fraction(0.7), price: Price::per_kwh(2.0) });
        }
        problem.storages.push(s);
    }
    if rng.random_range(0..2) == 0 {
        let available = (0..n).map(|_| Power::kw(rng.random_range(0.0..6.0))).collect();
        problem.curtailable.push(sos_dispatch::Curtailable { id: "pv".into(), available });
    }
    for i in 0..rng.random_range(0..3) {
        let earliest = rng.random_range(-3.0..20.0);
        let energy = some(&mut rng, &[0.0, 2.0, 5.3]);
        let mut job =
            make::job(&format!("w{i}"), energy, 2.0, earliest, earliest + rng.random_range(0.0..12.0));
        job.interruptible = rng.random_range(0..2) == 0;
        job.running = rng.random_range(0..3) == 0;
        job.value = Money::new(some(&mut rng, &[0.0, 0.5, 20.0]));
        problem.work.push(job);
    }
    if rng.random_range(0..2) == 0 {
        let fixed = problem.fixed.iter().map(|&p| p - Power::kw(rng.random_range(0.0..4.0))).collect();
        problem.pessimistic = Some(Pessimistic { fixed, price: Price::per_kwh(1.0) });
    }
    if rng.random_range(0..3) == 0 {
        let energy = (0..n).map(|_| Energy::kwh(rng.random_range(0.0..10.0))).collect();
        problem.reserve = Some(Reserve { energy, price: Price::per_kwh(0.1) });
    }
    for storage in &mut problem.storages {
        if rng.random_range(0..4) == 0 {
            let (power, hours) = (rng.random_range(-25.0..25.0), rng.random_range(-1.0..20.0));
            let (power, until) = (Power::kw(power), make::at(hours));
            storage.ordered = Some(Ordered::new(storage, &problem.steps, power, until, "ordered".into()));
        }
    }
    problem
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_valid_problem_has_a_plan_that_holds(seed: u64) {
        let problem = nonsense(seed);
        let planned = solve_or_fallback(&problem, &Budget::default(), None).unwrap();
        prop_assert_eq!(&planned.source, &PlanSource::Solver);
        let found = verify(&problem, &planned.schedule);
        prop_assert!(found.violations.is_empty(), "{:?}", found.violations);
        let own = (planned.costs.total() - planned.costs.reserve).get();
        prop_assert!((own - found.objective.get()).abs() < 1e-6 * (1.0 + own.abs()), "{own} {:?}", found.objective);
        let proof = planned.proof.unwrap();
        prop_assert!(proof.bound <= proof.objective + Money::new(1e-6));
        prop_assert!(proof.gap < 0.02, "gap {} {:?} {:?} {:?}", proof.gap, proof, planned.costs, problem);
        prop_assert!(found.bound.unwrap().get() <= planned.costs.total().get() + 1e-6);
        for reasons in planned.schedule.because.values() {
            prop_assert_eq!(reasons.len(), problem.len());
        }
    }

    #[test]
    fn the_rule_plans_hold_and_are_never_better_than_the_bound(seed: u64) {
        let problem = nonsense(seed);
        let (schedule, costs) = rule_plan(&problem).unwrap();
        let found = verify(&problem, &schedule);
        prop_assert!(found.violations.is_empty(), "{:?}", found.violations);
        let own = (costs.total() - costs.reserve).get();
        prop_assert!((own - found.objective.get()).abs() < 1e-6 * (1.0 + own.abs()));
        let solved = solve(&problem, &Budget::default()).unwrap();
        prop_assert!(solved.bound.get() <= costs.total().get() + 1e-6);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_problem_has_the_same_plan(seed: u64) {
        let problem = nonsense(seed);
        let once = solve(&problem, &Budget::default()).unwrap();
        prop_assert_eq!(&once, &solve(&problem, &Budget::default()).unwrap());
        let text = serde_json::to_string(&problem).unwrap();
        let again: Problem = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&once, &solve(&again, &Budget::default()).unwrap());
    }
}

/// Surplus stored while the pessimistic net lacks power: a reserve may lack more than the expected import.
#[test]
fn a_missing_reserve_never_keeps_surplus_out_of_store() {
    let problem = nonsense(9_383_849_603_459_893_871);
    let (_, costs) = rule_plan(&problem).unwrap();
    let solved = solve(&problem, &Budget::default()).unwrap();
    assert!(solved.bound.get() <= costs.total().get() + 1e-6, "{:?} {costs:?}", solved.bound);
}

#[test]
fn what_is_not_a_number_is_refused_by_name() {
    let mut problem = make::homes(1, 24, 2, 1);
    problem.fixed[3] = Power::kw(f64::NAN);
    let error = solve(&problem, &Budget::default()).unwrap_err().to_string();
    assert_eq!(error, "the dispatch problem is invalid: fixed power, step 3, is not a finite number");
    let mut problem = make::homes(1, 24, 2, 1);
    problem.storages[1].charge_efficiency = 95.0;
    let error = solve_or_fallback(&problem, &Budget::default(), None).unwrap_err().to_string();
    assert_eq!(error, "charge efficiency of b1 is 95; expected 0.01…1");
    let mut problem = make::homes(1, 24, 2, 1);
    problem.connection.import_limit.pop();
    let error = solve(&problem, &Budget::default()).unwrap_err().to_string();
    assert!(error.contains("import limit has 23 values; the horizon has 24 steps"), "{error}");
}

#[test]
fn a_spent_budget_gives_the_rule_plan_with_its_reason() {
    let problem = make::homes(5, 48, 5, 1);
    let planned = solve_or_fallback(&problem, &Budget { iterations: 3, ..Budget::default() }, None).unwrap();
    let PlanSource::Rule { name, because } = &planned.source else { panic!("{:?}", planned.source) };
    assert_eq!(name, sos_dispatch::RULE);
    assert!(because.contains("budget of 3 iterations"), "{because}");
    assert!(verify(&problem, &planned.schedule).violations.is_empty());
}

/// The solver's first setting gets stuck on these.
#[test]
fn problems_of_numbers_that_hardly_differ_have_a_plan() {
    for seed in [
        4_591_087_756_183_767_888,
        4_893_027_767_692_934_467,
        1_117_147_353_285_679_076,
        4_414_344_190_565_010_052,
    ] {
        let problem = nonsense(seed);
        let solved = solve(&problem, &Budget::default()).unwrap();
        assert!(verify(&problem, &solved.schedule).violations.is_empty(), "seed {seed}");
    }
}
