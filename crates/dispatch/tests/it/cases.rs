//! Cases as files: `cases/dispatch/*.json`, described in its README.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sos_dispatch::{Budget, Problem, SocTarget, Solved, solve, verify};
use sos_units::*;

use crate::make;
use crate::skipped::skipped;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    source: String,
    input: Input,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    step_hours: f64,
    import_price: Vec<f64>,
    export_price: Option<Vec<f64>>,
    net_kw: Vec<f64>,
    import_limit_kw: Option<Vec<f64>>,
    #[serde(default)]
    storages: Vec<StorageInput>,
    #[serde(default)]
    work: Vec<WorkInput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageInput {
    id: String,
    capacity_kwh: f64,
    soc: f64,
    #[serde(default)]
    min_soc: f64,
    power_kw: f64,
    charge_efficiency: Option<f64>,
    discharge_efficiency: Option<f64>,
    target: Option<SocTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkInput {
    id: String,
    energy_kwh: f64,
    power_kw: f64,
    earliest_hour: f64,
    deadline_hour: f64,
    value: f64,
    #[serde(default)]
    interruptible: bool,
    #[serde(default)]
    running: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    objective: f64,
    tolerance: f64,
    #[serde(default)]
    final_kwh: BTreeMap<String, f64>,
    #[serde(default)]
    storage_kw: BTreeMap<String, BTreeMap<usize, f64>>,
    #[serde(default)]
    work_hours: BTreeMap<String, Vec<usize>>,
    breaches: Option<usize>,
}

fn problem(input: Input) -> Problem {
    let mut problem = make::problem(input.step_hours, &input.import_price, &input.net_kw);
    if let Some(prices) = input.export_price {
        problem.connection.export_price = prices.into_iter().map(Price::per_kwh).collect();
    }
    if let Some(limits) = input.import_limit_kw {
        problem.connection.import_limit = limits.into_iter().map(|l| Some(Power::kw(l))).collect();
    }
    for s in input.storages {
        let mut storage = make::battery(&s.id, s.capacity_kwh, s.power_kw, s.soc);
        storage.min_soc = Soc::fraction(s.min_soc);
        storage.charge_efficiency = s.charge_efficiency.unwrap_or(0.95);
        storage.discharge_efficiency = s.discharge_efficiency.unwrap_or(0.95);
        storage.targets.extend(s.target);
        problem.storages.push(storage);
    }
    for w in input.work {
        let mut work = make::job(&w.id, w.energy_kwh, w.power_kw, w.earliest_hour, w.deadline_hour);
        (work.interruptible, work.running, work.value) = (w.interruptible, w.running, Money::new(w.value));
        problem.work.push(work);
    }
    problem
}

/// Solves with a proof and has the plan checked.
fn proven(name: &str, problem: &Problem) -> Solved {
    let solved = solve(problem, &Budget { gap: 0.0, ..Budget::default() }).unwrap();
    let found = verify(problem, &solved.schedule);
    assert_eq!(found.violations, [], "{name}");
    assert!((found.objective - solved.objective).abs().get() < 1e-6, "{name}: {:?}", found.objective);
    assert!(solved.gap < 1e-3, "{name}: gap {}", solved.gap);
    solved
}

fn near(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!((a - b).abs() <= tolerance, "{what}: {a} instead of {b}");
}

fn check(name: &str, case: Case) {
    assert!(
        !case.about.is_empty() && !case.source.is_empty(),
        "{name} says what it is and where it comes from"
    );
    let problem = problem(case.input);
    let solved = proven(name, &problem);
    let (expected, schedule) = (case.expected, &solved.schedule);
    near(solved.objective.get(), expected.objective, expected.tolerance, name);
    for (id, energy) in expected.final_kwh {
        near(
            schedule.storage[&id].stored_after.last().unwrap().as_kwh(),
            energy,
            1e-5,
            &format!("{name}: {id}"),
        );
    }
    for (id, steps) in expected.storage_kw {
        for (step, power) in steps {
            let found = schedule.storage[&id].power[step].as_kw();
            near(found, power, 1e-5, &format!("{name}: {id}, step {step}"));
        }
    }
    for (id, hours) in expected.work_hours {
        let runs = |(t, p): (usize, &Power)| (p.as_kw() > 1e-6).then_some(t);
        let found: Vec<usize> = schedule.work[&id].iter().enumerate().filter_map(runs).collect();
        assert_eq!(found, hours, "{name}: {id}");
    }
    if let Some(breaches) = expected.breaches {
        assert_eq!(schedule.breaches.len(), breaches, "{name}: {:?}", schedule.breaches);
    }
}

#[test]
fn every_case_file_has_its_expected_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/dispatch");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(files.len() >= 12, "cases are missing: {files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let case = serde_json::from_str(&std::fs::read_to_string(&file).unwrap());
        check(&name, case.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

/// The published storage cases, where the folder with the shared cases is at hand: `SOS_CONFORMANCE`, or `shared`
/// beside the repository. Without it the own files above state the same facts.
#[test]
fn published_totals_agree_where_they_are_at_hand() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder = std::env::var_os("SOS_CONFORMANCE").map_or(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("energy/storage-scheduling.json")) else {
        skipped("the folder with the published cases is not at hand (SOS_CONFORMANCE)");
        return;
    };
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let prices: Vec<f64> = file["prices_eur_per_mwh_by_hour_0_23"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_f64().unwrap() / 1000.0)
        .collect();
    let case = |id: &str| file["cases"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone();

    let toy = case("toy-1-battery");
    let number = |name: &str| toy["input"][name].as_f64().unwrap();
    let quarter: Vec<f64> = prices[7..19].iter().flat_map(|&p| [p; 4]).collect();
    let mut problem = make::problem(0.25, &quarter, &[0.0; 48]);
    problem.connection.export_price = problem.connection.import_price.clone();
    let capacity = number("energy_max_kwh");
    let mut s = make::battery("battery", capacity, number("power_kw"), number("energy_start_kwh") / capacity);
    s.min_soc = Soc::fraction(number("energy_min_kwh") / capacity);
    s.charge_efficiency = number("round_trip_efficiency").sqrt();
    s.discharge_efficiency = s.charge_efficiency;
    problem.storages.push(s);
    let solved = proven("toy-1-battery", &problem);
    near(solved.objective.get(), toy["expected"]["cost_eur"].as_f64().unwrap(), 1e-5, "toy-1-battery");

    for (id, running) in [("toy-4-process-inflexible", true), ("toy-4-process-shiftable", false)] {
        let case = case(id);
        let power = case["input"]["power_kw"].as_f64().unwrap();
        let energy = power * case["input"]["duration_h"].as_f64().unwrap();
        // The forbidden hour splits the day; the better part counts.
        let best = [(0.0, 15.0), (16.0, 24.0)].map(|(from, to)| {
            let mut problem = make::problem(1.0, &prices, &[0.0; 24]);
            let mut job = make::job("process", energy, power, from, to);
            (job.running, job.value) = (running, Money::new(1e3));
            problem.work.push(job);
            proven(id, &problem).objective.get()
        });
        near(best[0].min(best[1]), case["expected"]["cost_eur"].as_f64().unwrap(), 1e-6, id);
    }
}
