//! The published cases of vehicles, of storages and of control where they lie; their figures are not shipped.

use std::collections::BTreeMap;

use serde_json::Value;
use sos_dispatch::{
    Budget, Dynamics, FollowInput, LiveStorage, PlanStep, SocTarget, StorageIntent, Tuning, follow, solve,
    verify,
};
use sos_units::*;

use crate::make;
use crate::skipped::skipped;

/// The cases of a file.
fn cases(file: &str) -> Option<(Value, Vec<Value>)> {
    let Ok(folder) = std::env::var("ENERGY_CASES_DIR") else {
        skipped("ENERGY_CASES_DIR names no folder of published cases");
        return None;
    };
    let text = std::fs::read_to_string(format!("{folder}/{file}.json")).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    let cases = all["cases"].take();
    Some((all, cases.as_array().unwrap().clone()))
}

/// What is wrong with each case; prints how many are right.
#[expect(clippy::print_stdout, reason = "how many published cases hold is asked for")]
fn tally(what: &str, results: Vec<(String, Result<(), String>)>) {
    let good = results.iter().filter(|(_, result)| result.is_ok()).count();
    println!("{what}: {good}/{}", results.len());
    let wrong: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// A vehicle of one kW that is to be charged for some minutes before a deadline: when it first charges, and what that costs.
fn charged(prices: &[f64], duration: f64, now: f64, deadline: f64) -> (Option<f64>, f64, f64) {
    // Steps that meet every time of the case.
    let step = 30.0;
    let count = ((prices.len() as f64 * 60.0 - now) / step).round() as usize;
    let price = |t: usize| prices[((now + t as f64 * step) / 60.0) as usize] / 1.0;
    let prices: Vec<f64> = (0..count).map(price).collect();
    let mut problem = make::problem(step / 60.0, &prices, &vec![0.0; count]);
    let wanted = duration / 60.0;
    let mut car = make::battery("car", wanted, 1.0, 0.0);
    (car.charge_efficiency, car.max_discharge) = (1.0, Power::ZERO);
    car.dynamics = Dynamics { min_charge: Power::kw(1.0), ..Dynamics::default() };
    // Where the deadline has passed, every step counts: as soon as can be.
    let steps = match ((deadline - now) / step).floor() {
        last if last >= 1.0 => (last as usize - 1)..(last as usize),
        _ => 0..count,
    };
    car.targets =
        steps.map(|step| SocTarget { step, soc: Soc::fraction(1.0), price: Price::per_kwh(1e4) }).collect();
    problem.storages = vec![car];
    let solved = solve(&problem, &Budget { gap: 1e-6, ..Budget::default() }).unwrap();
    assert_eq!(verify(&problem, &solved.schedule).violations, []);
    let power: Vec<f64> = solved.schedule.storage["car"].power.iter().map(|p| -p.as_kw()).collect();
    let first = power.iter().position(|&kw| kw > 1e-6).map(|t| now + t as f64 * step);
    let minutes = power.iter().sum::<f64>() * step;
    (first, solved.costs.energy.get(), minutes)
}

#[test]
fn published_cases_of_vehicles() {
    let Some((file, cases)) = cases("ev-planner") else { return };
    let hourly = numbers(&file["prices_by_hour"]);
    let mut results = Vec::new();
    for case in cases {
        let (input, expected) = (&case["input"], &case["expected"]);
        let id = case["id"].as_str().unwrap().to_owned();
        let number = |key: &str| input[key].as_f64();
        let prices = match (&input["prices_by_hour"], &input["slots_min"]) {
            (Value::Array(_), _) => numbers(&input["prices_by_hour"]),
            // A time without a price is one at the highest that is known.
            (_, Value::Array(slots)) => {
                let mut prices = vec![10.0; (number("deadline_min").unwrap() / 60.0) as usize];
                slots.iter().map(numbers).for_each(|slot| prices[(slot[0] / 60.0) as usize] = slot[2]);
                prices
            }
            _ => hourly.clone(),
        };
        let duration = number("duration_min").unwrap();
        let deadlines = match &input["deadline_min"] {
            Value::Array(_) => numbers(&input["deadline_min"]),
            one => vec![one.as_f64().unwrap()],
        };
        let mut result = Ok(());
        for deadline in deadlines {
            let (first, cost, minutes) =
                charged(&prices, duration, number("now_min").unwrap_or(0.0), deadline);
            let mut wrong = String::new();
            if expected["cost"].as_f64().is_some_and(|wanted| (wanted - cost).abs() > 1e-6 * wanted) {
                wrong += &format!("cost {cost}; ");
            }
            let begins = expected["first_start_min"].as_f64().or((deadline <= 0.0).then_some(0.0));
            if begins.is_some() && first != begins {
                wrong += &format!("first start {first:?}; ");
            }
            if minutes < duration - 1e-6 {
                wrong += &format!("{minutes} minutes; ");
            }
            if !wrong.is_empty() {
                result = Err(wrong);
            }
        }
        results.push((id, result));
    }
    tally("vehicles", results);
}

/// Self-consumption, keeping what is stored, and buying: the modes of the published controller as intents of a plan.
#[test]
fn published_cases_of_control() {
    let Some((_, cases)) = cases("realtime-control") else { return };
    let mut results = Vec::new();
    for case in cases {
        let (input, expected) = (&case["input"], &case["expected"]);
        // Another controller's filter is a matter of taste: this one holds the limit in one tick.
        let Some(mode) = input["mode"].as_str() else { continue };
        let kw = |key: &str| input[key].as_f64().unwrap_or(0.0) / 1000.0;
        let net = kw("production") - kw("consumption") - kw("managed_consumption");
        let mut storage = LiveStorage::of(&make::battery("ess", 1000.0, 1.0, 0.5), Soc::fraction(0.5));
        (storage.max_charge, storage.max_discharge) =
            (Power::kw(kw("ess_max_charge")), Power::kw(kw("ess_max_discharge")));
        (storage.charge_efficiency, storage.discharge_efficiency) = (1.0, 1.0);
        let bought = kw("charge_from_grid");
        // Charging from the grid: what surplus and grid give, up to the power of the battery.
        let into = (net.max(0.0) + bought).min(kw("ess_max_charge"));
        let power = if mode == "balancing" {
            (-net).max(0.0)
        } else if bought > 0.0 {
            -into
        } else {
            0.0
        };
        let intent = StorageIntent {
            power: Power::kw(power),
            stored_after: Energy::kwh(500.0 - power),
            value: Some(Price::per_kwh(0.3)),
        };
        let plan = PlanStep {
            grid: Power::kw(-net - power),
            net: Power::kw(net),
            import_price: Price::per_kwh(0.3),
            export_price: Price::ZERO,
            dear: mode == "balancing",
            storage: BTreeMap::from([("ess".to_owned(), intent)]),
            time_left: Hours::new(1.0),
        };
        let points = follow(&FollowInput {
            plan: Some(plan),
            net: Power::kw(net),
            net_pessimistic: Power::kw(net),
            net_pessimistic_any: Power::kw(net),
            net_optimistic: Power::kw(net),
            reserve: Energy::ZERO,
            storages: vec![storage],
            tick: Hours::new(1.0),
            import_limit: Some(Power::kw(kw("grid_max_buy"))),
            export_limit: Some(Power::kw(kw("grid_max_sell"))),
            learned: true,
            tuning: Tuning::default(),
        });
        let found = points[0].power.as_kw() * 1000.0;
        let (ess, grid) = (expected["ess"].as_f64().unwrap(), expected["grid"].as_f64().unwrap());
        let right = (found - ess).abs() < 1e-6 && (-net * 1000.0 - found - grid).abs() < 1e-6;
        let result = if right { Ok(()) } else { Err(format!("{found} W instead of {ess} W")) };
        results.push((case["id"].as_str().unwrap().to_owned(), result));
    }
    tally("control", results);
}

/// Storages of the published cases that the own cases do not state already.
#[test]
fn published_cases_of_storages() {
    let Some((_, cases)) = cases("storage-scheduling") else { return };
    let case = |id: &str| cases.iter().find(|case| case["id"] == id).unwrap();
    let mut results = Vec::new();

    let multi = case("multi-commodity");
    let of = |key: &str| multi["input"]["battery"][key].as_f64().unwrap();
    let price = multi["input"]["electricity_price_eur_per_mwh_both_ways"].as_f64().unwrap() / 1000.0;
    let mut problem = make::problem(1.0, &[price; 24], &[0.0; 24]);
    problem.connection.export_price = problem.connection.import_price.clone();
    let capacity = of("energy_max_kwh");
    let mut battery = make::battery("b", capacity, of("power_kw"), of("energy_start_kwh") / capacity);
    (battery.charge_efficiency, battery.discharge_efficiency) =
        (of("charge_efficiency"), of("discharge_efficiency"));
    let soc = Soc::fraction(of("energy_target_kwh") / capacity);
    let step = of("target_at_hour") as usize - 1;
    battery.targets = vec![SocTarget { step, soc, price: Price::per_kwh(10.0) }];
    problem.storages = vec![battery];
    let solved = solve(&problem, &Budget { gap: 1e-9, ..Budget::default() }).unwrap();
    let wanted = multi["expected"]["electricity_eur"].as_f64().unwrap();
    let found = solved.objective.get();
    let right = (found - wanted).abs() < 1e-5;
    results.push((
        "multi-commodity".to_owned(),
        if right { Ok(()) } else { Err(format!("{found} instead of {wanted}")) },
    ));

    let standing = case("standing-loss-99");
    let changes = numbers(&standing["input"]["changes"]);
    let start = standing["input"]["initial"].as_f64().unwrap();
    let mut problem = make::problem(1.0, &vec![0.1; changes.len()], &vec![0.0; changes.len()]);
    let mut store = make::battery("s", 2.0 * start, 1e3, 0.5);
    (store.charge_efficiency, store.discharge_efficiency) = (1.0, 1.0);
    store.dynamics.retention = standing["input"]["efficiency_per_step"].as_f64().unwrap();
    let range = changes.iter().map(|change| Some((Power::kw(-change), Power::kw(-change)))).collect();
    store.ordered = Some(sos_dispatch::Ordered { power: Power::ZERO, range, because: "given".into() });
    problem.storages = vec![store];
    let solved = solve(&problem, &Budget::default()).unwrap();
    let stored = &solved.schedule.storage["s"].stored_after;
    let wanted = numbers(&standing["expected"]["stocks"]);
    let right = stored.iter().zip(&wanted[1..]).all(|(found, wanted)| (found.as_kwh() - wanted).abs() < 1e-6);
    results.push(("standing-loss-99".to_owned(), if right { Ok(()) } else { Err(format!("{stored:?}")) }));
    tally("storages", results);
}

/// A store that costs for what it holds.
#[test]
fn published_case_of_holding_costs() {
    let Some((_, cases)) = cases("unit-commitment") else { return };
    let case = cases.iter().find(|case| case["id"] == "storage-holding-cost").unwrap();
    let input = &case["input"];
    let load: Vec<f64> = numbers(&input["load"]).iter().map(|load| -load).collect();
    let generator = &input["generator"];
    let mut problem = make::problem(1.0, &vec![generator["cost"].as_f64().unwrap(); load.len()], &load);
    problem.connection.import_limit =
        numbers(&generator["available"]).iter().map(|&most| Some(Power::kw(most))).collect();
    problem.connection.breach_price = Price::per_kwh(1e4);
    let number = |key: &str| input["store"][key].as_f64().unwrap();
    let mut store =
        make::battery("s", number("energy_max"), 1e3, number("energy_start") / number("energy_max"));
    (store.charge_efficiency, store.discharge_efficiency) = (1.0, 1.0);
    store.dynamics.holding_cost = Price::per_kwh(number("cost_per_mwh_held_per_step"));
    problem.storages = vec![store];
    let solved = solve(&problem, &Budget { gap: 1e-9, ..Budget::default() }).unwrap();
    let (found, wanted) = (solved.objective.get(), case["expected"]["cost"].as_f64().unwrap());
    let right = (found - wanted).abs() < 1e-6 * wanted;
    let result = if right { Ok(()) } else { Err(format!("{found} instead of {wanted}")) };
    tally("holding cost", vec![("storage-holding-cost".to_owned(), result)]);
}
