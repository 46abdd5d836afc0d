//! `sos optimize` and `sos verify`: cases as files, wrong input, tampering, the documentation.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Ran, answer, sos};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Compares with a list in which `null` stands for anything.
fn close(what: &str, found: &[f64], expected: &Value, tolerance: f64) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let Some(expected) = expected.as_f64() else { continue };
        assert!((found - expected).abs() <= tolerance, "{what}, step {step}: {found} instead of {expected}");
    }
}

/// Runs `optimize` in a folder, keeps its answer beside its input, and reads it.
fn optimize(dir: &Path, file: &str, args: &[&str], code: i32) -> Value {
    let ran = sos(dir, &[&["optimize", file, "-o", "json"], args].concat());
    assert_eq!(ran.code, code, "{}: {}{}", dir.display(), ran.stdout, ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn verify(dir: &Path, problem: &str, solution: &Value, args: &[&str]) -> Ran {
    let kept = tempfile::tempdir().unwrap();
    let path = kept.path().join("solution.json");
    std::fs::write(&path, solution.to_string()).unwrap();
    sos(dir, &[&["verify", problem, path.to_str().unwrap(), "-o", "json"], args].concat())
}

/// Energy of each hour, kWh, out of the asset positive.
fn hourly(powers: &[f64], per_hour: usize) -> Vec<f64> {
    powers.chunks(per_hour).map(|hour| hour.iter().sum::<f64>() / per_hour as f64).collect()
}

fn holds(folder: &Path) {
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let args: Vec<&str> =
        expected["args"].as_array().into_iter().flatten().map(|arg| arg.as_str().unwrap()).collect();
    let code = expected["exit"].as_i64().unwrap_or(0);
    let found = optimize(folder, "input.yaml", &args, i32::try_from(code).unwrap());
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(found["status"], *expected.get("status").unwrap_or(&json!("optimal")), "{name}: {found:#}");
    let off = (number(&found["objective"]) - number(&expected["objective"])).abs();
    assert!(off <= number(&expected["tolerance"]), "{name}: objective {}", found["objective"]);
    let part = |asset: &str, list: &str| numbers(&found["solution"][asset][list]);
    for (asset, powers) in expected["power_kw"].as_object().into_iter().flatten() {
        close(&format!("{name}: {asset}"), &part(asset, "power_kw"), powers, 1e-5);
    }
    if let Some(grid) = expected.get("grid_kw") {
        close(&format!("{name}: grid"), &numbers(&found["grid_kw"]), grid, 1e-5);
    }
    for (asset, energies) in expected["hourly_kwh"].as_object().into_iter().flatten() {
        let powers = part(asset, "power_kw");
        let energy = hourly(&powers, powers.len() / energies.as_array().unwrap().len());
        close(&format!("{name}: {asset}"), &energy, energies, number(&expected["kwh_tolerance"]));
    }
    for (asset, soc) in expected["end_soc"].as_object().into_iter().flatten() {
        let last = *part(asset, "soc").last().unwrap();
        assert!((last - number(soc)).abs() <= 1e-6, "{name}: {asset} ends at {last}");
    }
    let given_up: Vec<&Value> =
        found["given_up"].as_array().unwrap().iter().map(|given| &given["limit"]).collect();
    let wanted: Vec<&Value> = expected["given_up"].as_array().into_iter().flatten().collect();
    assert_eq!(given_up, wanted, "{name}");
    let ranges = found["conflict"]["limits"].as_array().into_iter().flatten();
    let ranges: Vec<Value> =
        ranges.map(|range| json!([range["limit"], range["from"], range["to"]])).collect();
    let wanted: Vec<Value> = expected["conflict"].as_array().into_iter().flatten().cloned().collect();
    assert_eq!(ranges, wanted, "{name}");
    let checked = verify(folder, "input.yaml", &found, &args);
    assert_eq!(checked.code, 0, "{name}: {}{}", checked.stdout, checked.stderr);
}

#[test]
fn every_case_is_planned_as_expected_and_verified() {
    let folder = root().join("cases/optimize");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 7, "{folders:?}");
    folders.iter().for_each(|folder| holds(folder));
}

#[test]
fn powers_of_all_parts_and_the_grid_add_up_to_nothing() {
    let folder = root().join("cases/optimize/negative-prices");
    let found = optimize(&folder, "input.yaml", &[], 0);
    let mut sum = numbers(&found["grid_kw"]);
    for part in found["solution"].as_object().unwrap().values() {
        sum.iter_mut().zip(numbers(&part["power_kw"])).for_each(|(sum, power)| *sum += power);
    }
    assert!(sum.iter().all(|sum| sum.abs() < 1e-9), "{sum:?}");
    assert_eq!(found["steps"][0], "2026-01-05T11:00:00+01:00");
    assert_eq!(found["solution"]["battery"]["because"].as_array().unwrap().len(), 4);
    for list in ["read", "build", "solve"] {
        assert!(number(&found["seconds"][list]) >= 0.0);
    }
}

#[test]
fn people_see_costs_bound_and_what_was_given_up() {
    let folder = root().join("cases/optimize/limit-and-target-in-conflict");
    let ran = sos(&folder, &["optimize", "input.yaml", "-o", "table"]);
    assert_eq!(ran.code, 1);
    for words in [
        "infeasible, limits are exceeded as cheaply as can be: costs 12.4 EUR, no plan costs less than 12.4 EUR",
        "costs: energy 2.40 EUR, missed targets 10.0 EUR",
        "given up: 2.00 kWh of the target of battery at the end of the step at 2026-01-05T01:00:00+01:00, at 5.00 EUR/kWh",
        "cannot hold together: import limit 2026-01-05T00:00:00+01:00 … 2026-01-05T02:00:00+01:00 + target of battery by \
         2026-01-05T02:00:00+01:00",
        "TIME                        GRID             STORED   PRICE           BECAUSE",
    ] {
        assert!(ran.stdout.contains(words), "no {words:?} in\n{}", ran.stdout);
    }
    let csv = sos(&folder, &["optimize", "input.yaml", "-o", "csv"]).stdout;
    assert!(
        csv.starts_with("time,asset,power_kw,soc,because\n2026-01-05T00:00:00+01:00,grid,4,,\n"),
        "{csv}"
    );
}

#[test]
fn people_and_programs_see_by_how_much_a_carbon_cap_does_not_hold() {
    let folder = root().join("cases/optimize/carbon-cap-cannot-hold");
    let from = ["--from", "2026-03-02T00:00:00+01:00"];
    let ran = sos(&folder, &[&["optimize", "input.yaml", "-o", "table"], &from[..]].concat());
    for words in [
        "given up: carbon cap by 3.00 kg, at 50.0 EUR/kg\n",
        "cannot hold together: carbon cap 2026-03-02T00:00:00+01:00 … 2026-03-02T02:00:00+01:00\n",
    ] {
        assert!(ran.code == 1 && ran.stdout.contains(words), "no {words:?} in\n{}", ran.stdout);
    }
    let good = optimize(&folder, "input.yaml", &from, 1);
    let [given] = good["given_up"].as_array().unwrap().as_slice() else { panic!("{good:#}") };
    assert!((number(&given["by_kg"]) - 3.0).abs() < 1e-6 && given["price_per_kg"] == json!(50.0), "{given}");
    for (place, value, words) in [
        ("/given_up", json!([]), "carbon cap and what is listed as given up, kg"),
        (
            "/given_up/0/price_per_kg",
            json!(1.0),
            "carbon cap and what is listed as given up: its price per kg",
        ),
        (
            "/conflict/limits/0/limit",
            json!("import"),
            "conflict: a limit in conflict that the problem does not have",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        let ran = verify(&folder, "input.yaml", &bad, &from);
        assert!(ran.code == 1 && ran.stdout.contains(words), "{place}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn needs_that_nobody_priced_make_a_plan_infeasible_and_priced_ones_are_a_choice() {
    let from = ["--from", "2026-03-02T00:00:00+01:00"];
    let chosen = |case: &str, need: &str, priced: &str| {
        let text =
            std::fs::read_to_string(root().join("cases/optimize").join(case).join("input.yaml")).unwrap();
        assert!(text.contains(need), "{text}");
        let dir = home(&text.replacen(need, priced, 1), DATA);
        let found = optimize(dir.path(), "home.yaml", &from, 0);
        assert_eq!((&found["status"], &found["conflict"]), (&json!("optimal"), &Value::Null), "{found:#}");
        assert!(!found["given_up"].as_array().unwrap().is_empty(), "{found:#}");
        let ran = verify(dir.path(), "home.yaml", &found, &from);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    };
    chosen("job-has-no-room", "duration: 2 h", "duration: 2 h, value: 3 EUR");
    chosen("trip-cannot-be-driven", "uses: 20 kWh", "uses: 20 kWh, price: 2 EUR/kWh");
    chosen("building-cannot-be-kept-warm", "maxPower: 1 kW", "maxPower: 1 kW\n    lackPrice: 1 EUR/kWh");
    // Who says that it is optimal is not believed.
    let folder = root().join("cases/optimize/job-has-no-room");
    let mut hidden = optimize(&folder, "input.yaml", &from, 1);
    hidden["status"] = json!("optimal");
    drop(hidden.as_object_mut().unwrap().remove("conflict"));
    let ran = verify(&folder, "input.yaml", &hidden, &from);
    let words = "status optimal without a conflict, where no plan holds all limits";
    assert!(ran.code == 1 && ran.stdout.contains(words), "{}{}", ran.stdout, ran.stderr);
    let table = sos(&folder, &[&["optimize", "input.yaml", "-o", "table"], &from[..]].concat()).stdout;
    let words = " + work of wash/2026-03-02 2026-03-02T00:00:00+01:00 … 2026-03-02T02:00:00+01:00\n";
    assert!(table.contains(words), "{table}");
}

#[test]
fn a_trip_that_begins_with_the_plan_is_told_of() {
    let folder = root().join("cases/optimize/vehicle-leaves-in-the-first-step");
    let text = std::fs::read_to_string(folder.join("input.yaml")).unwrap();
    let dir = home(&text.replacen("T00:40:00", "T00:00:00", 1), DATA);
    let ran = sos(dir.path(), &["optimize", "home.yaml", "--from", "2026-03-02T00:00:00+01:00"]);
    for words in [
        "Asset/car: the trip at 2026-03-02T00:00:00+01:00 has begun when the plan begins",
        "it has 2.0 kWh less than is wanted for it",
    ] {
        assert!(ran.code == 0 && ran.stderr.contains(words), "no {words:?} in\n{}", ran.stderr);
    }
}

const SITE: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: home }
spec:
  timeZone: Europe/Berlin
  currency: EUR
  horizon: 3 h
  planEvery: 1 h
  connection: { importLimit: 4 kW, importPrice: { signal: price } }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: price }
spec: { unit: EUR/kWh, source: { file: { path: data.csv, column: price } } }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: house }
spec: { unit: kW, source: { file: { path: data.csv, column: kw, sign: consumption } } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: house }
spec: { site: home, type: load, power: { signal: house } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: battery }
spec:
  site: home
  type: battery
  battery: { capacity: 6 kWh, maxCharge: 3 kW, maxDischarge: 3 kW, initialSoc: 0.5 }
";

const DATA: &str = "time,price,kw
2026-01-05T00:00:00+01:00,0.1,1
2026-01-05T01:00:00+01:00,0.4,2
2026-01-05T02:00:00+01:00,0.3,1.5
";

fn home(manifest: &str, data: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("home.yaml"), manifest).unwrap();
    std::fs::write(dir.path().join("data.csv"), data).unwrap();
    dir
}

/// Refused with exit code 2 and these words on stderr, and nothing on stdout.
fn refused(manifest: &str, data: &str, args: &[&str], words: &[&str]) {
    let dir = home(manifest, data);
    let ran = sos(dir.path(), &[&["optimize", "home.yaml"], args].concat());
    assert_eq!(ran.code, 2, "{words:?}: {}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "");
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} in\n{}", ran.stderr);
    }
}

fn changed(from: &str, to: &str) -> String {
    assert!(SITE.contains(from), "{from}");
    SITE.replacen(from, to, 1)
}

#[test]
fn wrong_input_is_refused_with_file_line_name_and_what_was_expected() {
    let data = |from: &str, to: &str| DATA.replacen(from, to, 1);
    refused(
        &changed(", power: { signal: house }", ""),
        DATA,
        &[],
        &[
            "home.yaml:24:7: spec.power: house without an expected power; expected { signal: NAME } of a Signal in kW",
        ],
    );
    refused(
        &changed("importPrice: { signal: price }", ""),
        DATA,
        &[],
        &["home.yaml:9:15: spec.connection: \"importPrice\" is missing"],
    );
    refused(
        &changed("signal: price }", "signal: prices }"),
        DATA,
        &[],
        &[
            "home.yaml:9:59: spec.connection.importPrice.signal: no Signal is named \"prices\"; did you mean \"price\"?",
        ],
    );
    refused(
        &changed("horizon: 3 h", "horizon: 0 h"),
        DATA,
        &[],
        &["home.yaml:7:12: ", "horizon", "0 h is out of range; expected a value above 0 s"],
    );
    refused(
        &changed("horizon: 3 h", "horizon: 4 h"),
        DATA,
        &[],
        &[
            "data.csv: signal price ends at 2026-01-05T03:00:00+01:00; spec.connection.importPrice.signal of Site/home needs a value at \
         every time from 2026-01-05T00:00:00+01:00 to 2026-01-05T04:00:00+01:00: add rows, or shorten spec.horizon",
            "data.csv: signal house ends at",
        ],
    );
    refused(
        &changed("initialSoc: 0.5", "initialSoc: 0.5, chargeEfficiency: 0.001"),
        DATA,
        &[],
        &["home.yaml:30:3: spec: charge efficiency of battery is 0.001; expected 0.01…1"],
    );
    refused(SITE, &data("0.4", "NaN"), &[], &["data.csv:3:27: ", "NaN"]);
    refused(
        SITE,
        &data("0.4", ""),
        &[],
        &["data.csv: signal price has no value at 2026-01-05T01:00:00+01:00", "fill the gap"],
    );
    refused(SITE, &data("0.3,1.5\n", "0."), &[], &["data.csv:4:", "2 fields"]);
    refused(SITE, &data("kw\n", "load\n"), &[], &["data.csv:1:", "no column is named \"kw\""]);
    refused(
        &changed("  horizon: 3 h", "  tariff: {}\n  horizon: 3 h"),
        DATA,
        &[],
        &["home.yaml:7:3: ", "unknown key \"tariff\""],
    );
    refused(
        &changed(", sign: consumption", ""),
        DATA,
        &[],
        &["home.yaml:24:40: spec.power: a load that generates over the whole horizon; say sign: consumption"],
    );
    refused(
        &changed("maxDischarge: 3 kW", "maxDischarge: 3 kW, minSoc: 0.9, maxSoc: 0.2"),
        DATA,
        &[],
        &["home.yaml:32:", "minSoc < maxSoc"],
    );
    refused(
        &changed("unit: kW", "unit: °C").replace(", sign: consumption", ""),
        DATA,
        &[],
        &["home.yaml:24:50: spec.power.signal: Signal/house is in °C; expected a power"],
    );
    refused(
        SITE,
        DATA,
        &["--from", "yesterday"],
        &["--from: \"yesterday\" is not a time; expected RFC 3339"],
    );
    refused(
        SITE,
        DATA,
        &["--from", "2026-01-04T00:00"],
        &["signal price begins at 2026-01-05T00:00:00+01:00"],
    );
    refused(
        &SITE.replace("home", "other").replacen(
            "---\n",
            &format!("---\n{}---\n", SITE.split("---\n").next().unwrap()),
            1,
        ),
        DATA,
        &[],
        &["home.yaml:11:1: a second Site, after Site/other; expected one"],
    );
    refused(SITE.split_once("---\n").unwrap().1, DATA, &[], &["spec.site: no Site is named \"home\""]);
    refused(SITE, DATA, &["--gap", "2"], &["--gap", "expected a share of 0…1"]);
    refused(SITE, DATA, &["--time-limit", "0s"], &["--time-limit", "more than 0 s"]);
    refused(SITE, DATA, &["--threads", "0"], &["--threads"]);
}

#[test]
fn a_local_begin_other_steps_and_a_folder_are_understood() {
    let dir = home(
        &changed("planEvery: 1 h", "planEvery: 30 min").replacen("horizon: 3 h", "horizon: 1 h", 1),
        DATA,
    );
    let found = optimize(dir.path(), ".", &["--from", "2026-01-05T01:30"], 0);
    assert_eq!(found["steps"], json!(["2026-01-05T01:30:00+01:00", "2026-01-05T02:00:00+01:00"]));
    assert_eq!(found["solution"]["house"]["power_kw"], json!([-2.0, -1.5]));
    // Steps longer than the data take its mean; without planEvery they are the data's.
    let long = home(&changed("planEvery: 1 h", "planEvery: 3 h"), DATA);
    assert_eq!(optimize(long.path(), ".", &[], 0)["solution"]["house"]["power_kw"], json!([-1.5]));
    let data = home(&changed("  planEvery: 1 h\n", ""), DATA);
    assert_eq!(optimize(data.path(), ".", &[], 0)["steps"].as_array().unwrap().len(), 3);
}

#[test]
fn a_search_out_of_time_answers_with_the_rule_by_its_name_and_a_bound() {
    let rows: String = (0..2000)
        .map(|hour: i64| {
            let time = jiff::Timestamp::from_second(1_767_225_600 + hour * 3600).unwrap();
            format!("{time},{},{}\n", 0.2 + 0.001 * (hour * 7919 % 97) as f64, 1 + hour % 5)
        })
        .collect();
    let dir = home(&changed("horizon: 3 h", "horizon: 2000 h"), &format!("time,price,kw\n{rows}"));
    let found = optimize(dir.path(), "home.yaml", &["--time-limit", "1ms"], 0);
    assert_eq!((&found["status"], &found["bound_by"]), (&json!("feasible"), &json!("multipliers")));
    assert_eq!(found["source"], "rule surplus-and-dear-hours (no plan within 1 ms)");
    assert!(
        number(&found["bound"]) < number(&found["objective"]) && number(&found["gap"]) > 1e-3,
        "{}",
        found["gap"]
    );
    assert_eq!(verify(dir.path(), "home.yaml", &found, &[]).code, 0);
}

#[test]
fn tampering_is_found_by_name_step_and_size() {
    let dir = home(SITE, DATA);
    let good = optimize(dir.path(), "home.yaml", &[], 0);
    assert_eq!(verify(dir.path(), "home.yaml", &good, &[]).code, 0);
    let second = "2026-01-05T01:00:00+01:00";
    let cases: &[(&str, &str, Value, &str, Option<&str>)] = &[
        ("a grid that does not balance", "/grid_kw/1", json!(9.0), "balance of the site, kW", Some(second)),
        (
            "power beyond the device",
            "/solution/battery/power_kw/1",
            json!(5.0),
            "discharging power of battery, kW",
            Some(second),
        ),
        (
            "energy from nowhere",
            "/solution/battery/soc/1",
            json!(0.9),
            "energy balance of battery, kWh",
            Some(second),
        ),
        (
            "an overfull battery",
            "/solution/battery/soc/1",
            json!(1.2),
            "highest energy of battery, kWh",
            Some(second),
        ),
        (
            "another load",
            "/solution/house/power_kw/1",
            json!(-1.0),
            "power of house against what is declared, kW",
            Some(second),
        ),
        (
            "an exceeded limit",
            "/grid_kw/1",
            json!(9.0),
            "Import limit and its listed breach, kW",
            Some(second),
        ),
        (
            "a cheaper objective",
            "/objective",
            json!(-1.0),
            "objective against the sum from prices and powers, EUR",
            None,
        ),
        (
            "a cheaper cause",
            "/costs/energy",
            json!(-1.0),
            "objective against the sum by its causes, EUR",
            None,
        ),
        ("a better bound", "/bound", json!(0.5), "bound above what the multipliers prove, EUR", None),
        ("a bound above everything", "/bound", json!(99.0), "bound above the objective, EUR", None),
        (
            "other multipliers",
            "/multipliers/site_price/0",
            json!(9.0),
            "bound above what the multipliers prove, EUR",
            None,
        ),
        ("no multipliers", "/multipliers/site_price", json!([]), "multipliers are missing", None),
        (
            "another status",
            "/status",
            json!("feasible"),
            "status feasible where gap, wanted gap and conflict",
            None,
        ),
        ("fewer emissions", "/carbon/emissions_kg", json!(-1.0), "emissions added up again, kg", None),
        (
            "another factor",
            "/carbon/factor",
            json!("marginal"),
            "carbon.factor against what is declared",
            None,
        ),
        ("a smaller gap", "/gap", json!(0.9), "gap against objective and bound", None),
        (
            "a short list",
            "/solution/battery/power_kw",
            json!([0.0]),
            "power of battery has 1 steps instead of 3",
            None,
        ),
        ("a missing asset", "/solution/battery", Value::Null, "power of battery is missing", None),
    ];
    for (what, place, value, words, step) in cases {
        let mut bad = good.clone();
        match value {
            Value::Null => drop(bad["solution"].as_object_mut().unwrap().remove("battery")),
            value => *bad.pointer_mut(place).unwrap() = value.clone(),
        }
        let ran = verify(dir.path(), "home.yaml", &bad, &[]);
        assert_eq!(ran.code, 1, "{what}: {}{}", ran.stdout, ran.stderr);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        let named = told["violations"].as_array().unwrap().iter().any(|one| {
            one["what"].as_str().unwrap().contains(words)
                && one.get("step").and_then(Value::as_str) == *step
                && number(&one["by"]) > 0.0
        });
        assert!(named, "{what}: {told:#}");
    }
}

#[test]
fn a_hidden_breach_and_a_missed_target_that_is_not_listed_are_found() {
    let folder = root().join("cases/optimize/limit-and-target-in-conflict");
    let mut found = optimize(&folder, "input.yaml", &[], 1);
    found["given_up"] = json!([]);
    let told = verify(&folder, "input.yaml", &found, &[]).stdout;
    assert!(told.contains("target of battery and what is listed as given up, kWh"), "{told}");
    let good = optimize(&folder, "input.yaml", &[], 1);
    let claims: &[(&str, Value, &str)] = &[
        ("/given_up/0/price_per_kwh", json!(0.01), "its price per kWh"),
        ("/conflict", Value::Null, "status infeasible where gap, wanted gap and conflict say"),
        (
            "/conflict/limits/1/name",
            json!("other"),
            "conflict: a limit in conflict that the problem does not have",
        ),
        ("/conflict/limits", json!([]), "conflict: limits said to be in conflict that one plan holds"),
    ];
    for (place, value, words) in claims {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap_or_else(|| panic!("{place}: {good:#}")) = value.clone();
        let ran = verify(&folder, "input.yaml", &bad, &[]);
        assert!(ran.code == 1 && ran.stdout.contains(words), "{place}: {}{}", ran.stdout, ran.stderr);
    }
    let claimed = optimize(&root().join("cases/optimize/job-waits-for-cheap-hours"), "input.yaml", &[], 0);
    let mut late = claimed.clone();
    late["solution"]["backup/2026-01-05"]["power_kw"] = json!([0.0, 0.0, 0.0, -1.0, 0.0, 0.0]);
    let told =
        verify(&root().join("cases/optimize/job-waits-for-cheap-hours"), "input.yaml", &late, &[]).stdout;
    assert!(told.contains("stops before it is done, kWh"), "{told}");
}

#[test]
fn solutions_that_are_none_or_of_another_problem_are_refused() {
    let dir = home(SITE, DATA);
    let good = optimize(dir.path(), "home.yaml", &[], 0);
    let text = good.to_string();
    let path = dir.path().join("solution.json");
    let cases: [(String, &[&str]); 6] = [
        (text[..text.len() / 2].to_owned(), &["solution.json:1:", "EOF"]),
        (
            text.replacen("\"objective\"", "\"objectiv\"", 1),
            &["solution.json:1:", "unknown field `objectiv`"],
        ),
        (
            text.replace("\"battery\"", "\"batery\""),
            &["solution.batery is not of this problem", "known: house, battery"],
        ),
        (text.replace("2026-01-05T02", "2026-01-05T04"), &["its 3 steps are not the 3 of the problem"]),
        (
            text.replace("2026-01-05T00:00:00", "2026-01-04T00:00:00"),
            &["it begins at 2026-01-04", "give the same --from"],
        ),
        (text.replace("2026-01-05T00:00:00+01:00", "soon"), &["steps[0]: \"soon\" is not a time"]),
    ];
    for (text, words) in cases {
        std::fs::write(&path, &text).unwrap();
        let ran = sos(dir.path(), &["verify", "home.yaml", "solution.json"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}: {}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "no {word:?} in\n{}", ran.stderr);
        }
    }
    let ran = sos(dir.path(), &["verify", "home.yaml", "none.json"]);
    assert!(ran.code == 2 && ran.stderr.contains("none.json: cannot be read"), "{}", ran.stderr);
}

/// The blocks of the documentation that begin with a comment naming their file.
fn documented(language: &str) -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/optimize.md")).unwrap();
    let fence = format!("```{language}\n");
    let named = |block: &str| {
        let text = block.split("```").next().unwrap();
        let name = text.strip_prefix("# ")?.split_whitespace().next()?;
        Some((name.to_owned(), text.to_owned()))
    };
    page.split(&fence).skip(1).filter_map(named).collect()
}

#[test]
fn the_documented_example_runs_as_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in documented("yaml").into_iter().chain(documented("csv")) {
        let text = if name.ends_with(".csv") { text.split_once('\n').unwrap().1.to_owned() } else { text };
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let page = std::fs::read_to_string(root().join("docs/optimize.md")).unwrap();
    let shown = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(answer(dir.path(), &["optimize", "home.yaml", "-o", "table"]), shown);
    let solution = answer(dir.path(), &["optimize", "home.yaml", "-o", "json"]);
    std::fs::write(dir.path().join("solution.json"), solution).unwrap();
    let checked = answer(dir.path(), &["verify", "home.yaml", "solution.json", "-o", "table"]);
    assert!(checked.starts_with("holds: objective "), "{checked}");
}
