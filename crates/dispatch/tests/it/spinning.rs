//! Spinning reserve: who is on only to be able to take over, what that costs, and when it is given up.

use proptest::prelude::*;
use sos_dispatch::{BreachKind, Budget, Problem, Solved, Spinning, rule_plan, solve, verify};
use sos_units::*;

use crate::generators::{generator, island, proven};
use crate::make;

fn spinning(steps: usize, largest_generator: bool, renewable_share: f64, price: f64) -> Spinning {
    Spinning {
        largest_generator,
        renewable_share,
        renewables: vec![Power::ZERO; steps],
        duration: Hours::new(0.5),
        price: Price::per_kwh(price),
    }
}

fn missing(solved: &Solved) -> Vec<f64> {
    let of_reserve = solved.schedule.breaches.iter().filter(|breach| breach.kind == BreachKind::Spinning);
    of_reserve.map(|breach| (breach.over.as_kw() * 1e6).round() / 1e6).collect()
}

/// 10 kW of load; a cheap generator could give all of it.
fn two(price: f64) -> Problem {
    let generators = vec![generator("cheap", 2.0, 20.0, 0.2), generator("dear", 2.0, 20.0, 0.5)];
    let mut problem = island(&[10.0], generators);
    problem.spinning = Some(spinning(1, true, 0.0, price));
    problem
}

#[test]
fn a_second_generator_runs_so_that_the_first_may_fail() {
    let solved = proven(&two(10.0));
    assert_eq!(missing(&solved), [0.0; 0]);
    let power = |id: &str| solved.schedule.generators[id].power[0].as_kw();
    assert!((power("dear") - 2.0).abs() < 1e-6 && (power("cheap") - 8.0).abs() < 1e-6);
}

#[test]
fn the_reserve_gives_way_where_it_is_cheaper_to_do_without_and_says_so() {
    let solved = proven(&two(0.01));
    assert_eq!(missing(&solved), [10.0], "nothing takes over from the cheap one");
    assert!((solved.costs.reserve.get() - 0.1).abs() < 1e-9);
}

#[test]
fn a_battery_takes_over_as_far_as_its_power_and_its_energy_last() {
    let mut problem = two(10.0);
    let mut battery = make::battery("battery", 20.0, 12.0, 1.0);
    battery.end_value = Price::per_kwh(5.0);
    problem.storages.push(battery);
    let solved = proven(&problem);
    assert!(!solved.schedule.generators["dear"].on[0], "the battery holds 10 kW for half an hour");
    problem.storages[0].soc = Soc::fraction(0.05);
    let solved = proven(&problem);
    assert!(solved.schedule.generators["dear"].on[0], "it holds less than 2 kW for half an hour");
}

#[test]
fn a_share_of_renewables_is_covered_too() {
    let mut problem = island(&[10.0], vec![generator("set", 1.0, 8.0, 0.3)]);
    problem.fixed[0] = Power::kw(-1.0);
    let mut reserve = spinning(1, false, 0.5, 10.0);
    reserve.renewables[0] = Power::kw(10.0);
    problem.spinning = Some(reserve);
    let solved = proven(&problem);
    assert!(solved.schedule.generators["set"].on[0], "5 kW of 10 kW may be lost");
    assert_eq!(missing(&solved), [0.0; 0]);
}

#[test]
fn what_is_missing_and_not_listed_is_found() {
    let problem = two(0.01);
    let mut schedule = proven(&problem).schedule;
    schedule.breaches.clear();
    let found = verify(&problem, &schedule).violations;
    assert!(found.iter().any(|violation| violation.what.contains("spinning reserve")), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is wanted: plans hold, the check agrees on what is missing and on the costs, and the rule's plan owns up to
    /// what it lacks.
    #[test]
    fn plans_with_reserve_hold_and_own_up_to_what_they_lack(
        loads in prop::collection::vec(1.0..25.0f64, 1..5),
        (largest, share, price) in (any::<bool>(), 0.0..1.0f64, 0.0..20.0f64),
        (capacity, power, soc) in (0.0..30.0f64, 0.0..12.0f64, 0.0..1.0f64),
    ) {
        let generators = vec![generator("a", 2.0, 12.0, 0.2), generator("b", 3.0, 20.0, 0.4)];
        let mut problem = island(&loads, generators);
        problem.storages.push(make::battery("battery", capacity, power, soc));
        problem.spinning = Some(spinning(loads.len(), largest, share, price));
        let solved = solve(&problem, &Budget::default()).unwrap();
        let found = verify(&problem, &solved.schedule);
        prop_assert_eq!(&found.violations, &[]);
        let size = 1.0 + solved.objective.get().abs();
        prop_assert!((found.objective - solved.objective).abs().get() < 1e-6 * size);
        prop_assert!(solved.bound.get() <= solved.objective.get() + 1e-6 * size);
        prop_assert!(solved.gap < 2e-3, "one battery is planned exactly: {}", solved.gap);
        let (schedule, _) = rule_plan(&problem).unwrap();
        prop_assert_eq!(verify(&problem, &schedule).violations, []);
    }
}
