//! Orders of people in a plan: held as far as the storage goes, told in words, and never an obstacle.

use sos_dispatch::{Budget, Ordered, Problem, Solved, solve, verify};
use sos_units::*;

use crate::make;

/// Twelve hours at one price with a load of 1 kW and a battery of 6.4 kWh, charging with `kw` until an hour.
fn ordered(soc: f64, kw: f64, hours: f64) -> (Problem, Solved) {
    let mut problem = make::problem(1.0, &[0.3; 12], &[-1.0; 12]);
    let mut battery = make::battery("b", 6.4, 5.0, soc);
    let because = "ordered by anna until 18:00: inspection".to_owned();
    battery.ordered = Some(Ordered::new(&battery, &problem.steps, Power::kw(kw), make::at(hours), because));
    problem.storages.push(battery);
    let solved = solve(&problem, &Budget::default()).unwrap();
    assert_eq!(verify(&problem, &solved.schedule).violations, []);
    (problem, solved)
}

fn power(solved: &Solved) -> Vec<f64> {
    solved.schedule.storage["b"].power.iter().map(|p| p.as_kw()).collect()
}

#[test]
fn an_order_is_in_the_plan_with_its_author() {
    let (_, solved) = ordered(0.2, -2.0, 2.0);
    assert!(power(&solved)[..2].iter().all(|p| (p + 2.0).abs() < 1e-6), "{:?}", power(&solved));
    let told = &solved.schedule.because["b"][1].text;
    assert_eq!(told, "2.0 kW charging: ordered by anna until 18:00: inspection");
    // What was charged is used afterwards.
    assert!(power(&solved)[2..].iter().sum::<f64>() > 3.0, "{:?}", power(&solved));
}

#[test]
fn what_the_battery_cannot_do_is_told_and_the_plan_is_there() {
    let (_, solved) = ordered(0.9, -2.0, 6.0);
    let told = &solved.schedule.because["b"][3].text;
    assert!(told.ends_with("inspection; 2.0 kW charging is not possible, it is full"), "{told}");
    let (_, solved) = ordered(0.1, 4.0, 6.0);
    let told = &solved.schedule.because["b"][3].text;
    assert!(told.ends_with("4.0 kW discharging is not possible, it is empty"), "{told}");
}

#[test]
fn a_step_that_is_covered_in_part_has_the_mean_of_the_order_and_the_rest_is_free() {
    let (problem, solved) = ordered(0.2, -2.0, 1.5);
    let (low, high) = problem.storages[0].ordered_in(1).unwrap();
    let planned = power(&solved)[1];
    assert!(low.as_kw() < -1.0 && high.as_kw() > -1.0, "{low} {high}");
    assert!((low.as_kw() - 1e-6..high.as_kw() + 1e-6).contains(&planned), "{planned}");
}

#[test]
fn a_limit_that_the_order_would_exceed_is_a_breach_that_is_told() {
    let mut problem = make::problem(1.0, &[0.3; 4], &[-1.0; 4]);
    problem.connection.import_limit = vec![Some(Power::kw(2.0)); 4];
    let mut battery = make::battery("b", 6.4, 5.0, 0.2);
    battery.ordered =
        Some(Ordered::new(&battery, &problem.steps, Power::kw(-3.0), make::at(1.0), "ordered".into()));
    problem.storages.push(battery);
    let solved = solve(&problem, &Budget::default()).unwrap();
    let told = &solved.schedule.because["b"][0].text;
    assert!(told.ends_with("the import limit would be exceeded by 2.0 kW and will narrow it"), "{told}");
    assert!((solved.schedule.breaches[0].over.as_kw() - 2.0).abs() < 1e-6);
}

#[test]
fn a_plan_beside_its_order_is_noticed() {
    let (problem, solved) = ordered(0.2, -2.0, 2.0);
    let mut other = problem.clone();
    let storage = &mut other.storages[0];
    storage.ordered = None;
    storage.ordered =
        Some(Ordered::new(storage, &problem.steps, Power::kw(-1.0), make::at(2.0), String::new()));
    let found = verify(&other, &solved.schedule);
    assert_eq!(found.violations[0].what, "power of b beside what was ordered, kW");
}
