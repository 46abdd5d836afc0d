//! `sos control`: driven line by line by small simulations, held against `sos optimize`, fed with wrong input.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::cli::{Ran, answer, sos, sos_with};

/// A run of `sos control` that is asked line by line.
struct Asked {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Asked {
    fn new(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.args(["control", "home.yaml"]).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// The answer to a line, as it is written.
    fn text(&mut self, line: &Value) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer
    }

    fn ask(&mut self, line: &Value) -> Value {
        let text = self.text(line);
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(answer["time"], line["time"]);
        answer
    }

    /// Ends the input; it ends well.
    fn end(mut self) {
        drop(self.stdin.take());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

const START: &str = "2026-01-05T00:00:00Z";

/// Begin of an hour, counted from [`START`].
fn hour(n: i64) -> String {
    (START.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(n)).to_string()
}

const SITE: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: home }
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 1 h
  planEvery: 1 h
  horizon: 24 h
  forecasting: { members: profile }
  connection: { importPrice: { signal: price } }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: price }
spec: { unit: EUR/kWh, source: { lines: {} } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: house }
spec: { site: home, type: load }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: battery }
spec:
  site: home
  type: battery
  battery: { capacity: 6 kWh, maxCharge: 2 kW, maxDischarge: 2 kW, minSoc: 0.1, initialSoc: 0.5, endValue: 0 EUR/kWh }
";
const CAPACITY: f64 = 6.0;
const EFFICIENCY: f64 = 0.95;

fn home(manifest: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("home.yaml"), manifest).unwrap();
    dir
}

/// A battery that follows its set-points exactly.
struct Battery {
    soc: f64,
    kw: f64,
}

impl Battery {
    fn follow(&mut self, kw: f64, hours: f64) {
        let stored = if kw > 0.0 { -kw / EFFICIENCY } else { -kw * EFFICIENCY };
        self.soc += stored * hours / CAPACITY;
        self.kw = kw;
        assert!((0.1 - 1e-9..=1.0 + 1e-9).contains(&self.soc), "{} after {kw} kW", self.soc);
    }

    fn measured(&self) -> Value {
        json!({ "power_kw": self.kw, "soc": self.soc, "temperature": 21.5 })
    }
}

/// Price of an hour of the day.
fn tariff(n: i64) -> f64 {
    if (17..21).contains(&n.rem_euclid(24)) { 0.4 } else { 0.1 }
}

fn values(hours: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Value {
    hours.map(|n| json!({ "time": hour(n), "value": value(n) })).collect()
}

#[test]
fn a_battery_serves_the_dear_hours_once_the_days_are_known() {
    let dir = home(SITE);
    let (mut asked, mut battery) = (Asked::new(dir.path()), Battery { soc: 0.5, kw: 0.0 });
    let load = |n: i64| if (17..21).contains(&n.rem_euclid(24)) { 1.3 } else { 0.5 };
    let (mut bought_dear, mut reasons) = (0.0, Vec::new());
    for n in 0..10 * 24 {
        let line = json!({
            "time": hour(n),
            "measured": { "house": { "power_kw": -load(n - 1) }, "battery": battery.measured() },
            "signals": { "price": tariff(n) },
            "ahead": { "price": values(n..n + 24, tariff) },
        });
        let answer = asked.ask(&line);
        battery.follow(number(&answer["setpoints"]["battery"]), 1.0);
        if n >= 8 * 24 && tariff(n) > 0.2 {
            bought_dear += (load(n) - battery.kw).max(0.0);
            reasons.push(answer["because"]["battery"].as_str().unwrap().to_owned());
        }
    }
    asked.end();
    // 5.2 kWh are needed in the dear hours of a day, 5.13 kWh can be delivered.
    assert!(bought_dear < 0.6, "{bought_dear} kWh of 10.4");
    assert!(reasons.iter().all(|reason| reason.contains("power costs 0.40")), "{reasons:?}");
}

/// Numbers from 0 to 1 that look like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in a range, or now and then nothing.
    fn number(&mut self, low: f64, high: f64) -> Value {
        if self.next() < 0.1 { Value::Null } else { json!(low + (high - low) * self.next()) }
    }
}

const ROOF: &str = "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: roof }
spec: { site: home, type: solar, solar: { peakPower: 5 kW, curtailable: true } }
";

fn limited() -> String {
    let limits = "{ importLimit: 3 kW, exportLimit: 1 kW, importPrice: { signal: price }, exportPrice: { signal: price } }";
    SITE.replacen("{ importPrice: { signal: price } }", limits, 1).replacen("tick: 1 h", "tick: 15 min", 1)
        + ROOF
}

#[test]
fn no_lines_whatever_bring_a_set_point_outside_a_device() {
    let dir = home(&limited());
    for seed in 1..=12 {
        let (mut asked, mut chance) = (Asked::new(dir.path()), Chance(seed));
        let mut time: Timestamp = START.parse().unwrap();
        for n in 0..60 {
            let soc = chance.number(0.0, 1.0);
            let mut measured = Map::new();
            measured.insert("house".into(), json!({ "power_kw": chance.number(-20.0, 20.0) }));
            if chance.next() < 0.9 {
                measured.insert("roof".into(), json!({ "power_kw": chance.number(-1.0, 9.0) }));
            }
            measured.insert("battery".into(), json!({ "power_kw": chance.number(-9.0, 9.0), "soc": soc }));
            let price = if n == 0 { json!(0.3) } else { chance.number(-1.0, 1.0) };
            let answer = asked.ask(
                &json!({ "time": time.to_string(), "measured": measured, "signals": { "price": price } }),
            );
            holds(&soc, &answer);
            time += SignedDuration::from_mins(if chance.next() < 0.1 { 100 } else { 15 });
        }
        asked.end();
    }
}

/// Within the devices, and for a quarter of an hour within the states of charge.
fn holds(soc: &Value, answer: &Value) {
    let kw = number(&answer["setpoints"]["battery"]);
    let roof = number(&answer["setpoints"]["roof"]);
    assert!((0.0..=5.0).contains(&roof), "{answer}");
    let because = answer["because"]["battery"].as_str().unwrap();
    let Some(soc) = soc.as_f64() else {
        assert_eq!(kw, 0.0);
        assert!(because.contains("state of charge is not known"), "{answer}");
        return;
    };
    let (stored, room) = ((soc - 0.1).max(0.0) * CAPACITY, (1.0 - soc) * CAPACITY);
    let (least, most) = (-(room / EFFICIENCY * 4.0).min(2.0), (stored * EFFICIENCY * 4.0).min(2.0));
    assert!((least - 1e-9..=most + 1e-9).contains(&kw), "{kw} at {soc}: {answer}");
    assert!(!because.is_empty());
}

#[test]
fn the_same_lines_give_the_same_answers_byte_for_byte() {
    let dir = home(&limited().replacen("  forecasting: { members: profile }\n", "", 1));
    let run = || {
        let (mut asked, mut chance) = (Asked::new(dir.path()), Chance(7));
        let line = |n: i64| {
            let time = START.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(15 * n);
            json!({
                "time": time.to_string(),
                "measured": {
                    "house": { "power_kw": -0.5 - chance.next() },
                    "roof": { "power_kw": 4.0 * chance.next() },
                    "battery": { "power_kw": 0.0, "soc": 0.3 + 0.4 * chance.next() },
                },
                "signals": { "price": 0.1 + 0.3 * chance.next() },
            })
        };
        let lines: Vec<Value> = (0..96 * 2).map(line).collect();
        let answers: String = lines.iter().map(|line| asked.text(line)).collect();
        asked.end();
        answers
    };
    let (first, second) = (run(), run());
    assert_eq!(first.lines().count(), 96 * 2);
    assert!(first == second, "two runs differ");
}

/// Load of two days, the second of which is empty and cheap, so that nothing is worth keeping for it.
fn known_load(n: i64) -> f64 {
    if n < 24 { 0.4 + 0.3 * (n * 7 % 5) as f64 } else { 0.0 }
}

fn known_price(n: i64) -> f64 {
    if n < 24 { 0.1 + 0.05 * (n * 5 % 7) as f64 } else { 0.1 }
}

/// What a day costs with the battery under control.
fn controlled_cost(dir: &Path, ahead: impl Fn(i64) -> Value) -> f64 {
    let (mut asked, mut battery) = (Asked::new(dir), Battery { soc: 0.5, kw: 0.0 });
    let mut cost = 0.0;
    for n in 0..24 {
        let measured = json!({ "house": { "power_kw": -known_load(n - 1) }, "battery": battery.measured() });
        let answer = asked.ask(&json!({ "time": hour(n), "measured": measured, "ahead": ahead(n) }));
        battery.follow(number(&answer["setpoints"]["battery"]), 1.0);
        cost += known_price(n) * (known_load(n) - battery.kw).max(0.0);
    }
    asked.end();
    cost
}

#[test]
fn what_is_known_is_controlled_at_the_cost_of_the_perfect_plan() {
    let of_file = |column: &str, more: &str| {
        format!("source: {{ file: {{ path: data.csv, column: {column}{more} }} }}, knownAhead: always")
    };
    let signal = of_file("kw", ", sign: consumption");
    let declared = SITE.replacen("source: { lines: {} }", &of_file("price", ""), 1).replacen(
        "type: load }",
        "type: load, power: { signal: use } }",
        1,
    ) + &format!(
        "---\napiVersion: sos.energy/v1alpha1\nkind: Signal\nmetadata: {{ name: use }}\nspec: {{ unit: kW, {signal} }}\n"
    );
    let dir = home(&declared);
    let rows: String =
        (0..48).map(|n| format!("{},{},{}\n", hour(n), known_price(n), known_load(n))).collect();
    std::fs::write(dir.path().join("data.csv"), format!("time,price,kw\n{rows}")).unwrap();
    let plan: Value =
        serde_json::from_str(&answer(dir.path(), &["optimize", "home.yaml", "-o", "json"])).unwrap();
    let perfect = number(&plan["objective"]);
    let idle: f64 = (0..24).map(|n| known_price(n) * known_load(n)).sum();
    assert!(perfect < 0.9 * idle, "{perfect} of {idle}");
    let by_file = controlled_cost(dir.path(), |_| json!({}));
    assert!((by_file - perfect).abs() < 1e-3, "{by_file} instead of {perfect}");
    // The same told by the lines: prices each hour anew, powers once.
    let told = home(SITE);
    let by_lines = controlled_cost(told.path(), |n| {
        let price = values(n..n + 24, known_price);
        if n > 0 {
            json!({ "price": price })
        } else {
            json!({ "price": price, "house": values(0..48, |n| -known_load(n)) })
        }
    });
    assert!((by_lines - perfect).abs() < 1e-3, "{by_lines} instead of {perfect}");
}

/// A battery behind a home's own meter, and a neighbour with sun.
const STREET: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: street }
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 1 h
  planEvery: 1 h
  horizon: 4 h
  forecasting: { members: profile }
  connection: { importPrice: { fixed: 0 EUR/kWh } }
  feeders:
  - { name: home, importPrice: { signal: price } }
  - { name: neighbour, importPrice: { signal: price } }
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: { name: price }
spec: { unit: EUR/kWh, source: { lines: {} } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: house }
spec: { site: street, feeder: home, type: load }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: roof }
spec: { site: street, feeder: neighbour, type: solar, solar: { peakPower: 5 kW } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: battery }
spec:
  site: street
  feeder: home
  type: battery
  battery: { capacity: 6 kWh, maxCharge: 2 kW, maxDischarge: 2 kW, chargeEfficiency: 1, dischargeEfficiency: 1, initialSoc: 0.5, endValue: 0 EUR/kWh }
";

#[test]
fn a_battery_behind_a_meter_of_its_own_serves_its_home_alone() {
    let dir = home(STREET);
    let mut asked = Asked::new(dir.path());
    let price = |n: i64| if n >= 2 { 0.5 } else { 0.2 };
    let ahead = json!({
        "price": values(0..4, price), "house": values(0..4, |_| -1.0), "roof": values(0..4, |_| 4.0)
    });
    let line = json!({
        "time": hour(0), "signals": { "price": 0.2 }, "ahead": ahead,
        "measured": {
            "house": { "power_kw": -1.0 }, "roof": { "power_kw": 4.0 }, "battery": { "power_kw": 0.0, "soc": 0.5 }
        }
    });
    // The neighbour's sun costs the home what any other power costs: 3 kWh last for three hours, the cheapest one is bought.
    let first = asked.ask(&line);
    let mut set = vec![number(&first["setpoints"]["battery"])];
    let mut soc = 0.5;
    for n in 1..4 {
        soc -= set[set.len() - 1] / 6.0;
        let line = json!({ "time": hour(n), "measured": {
            "house": { "power_kw": -1.0 }, "roof": { "power_kw": 4.0 },
            "battery": { "power_kw": set[set.len() - 1], "soc": soc }
        } });
        set.push(number(&asked.ask(&line)["setpoints"]["battery"]));
    }
    let close = |found: f64, wanted: f64| (found - wanted).abs() < 0.002;
    assert!(close(set[2], 1.0) && close(set[3], 1.0), "{set:?}");
    assert!(close(set[0] + set[1], 1.0), "{set:?}");
    asked.end();
}

const MOVABLES: &str = "---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: car }
spec:
  site: home
  type: vehicle
  vehicle:
    { capacity: 40 kWh, maxCharge: 7 kW, maxDischarge: 0 kW, minCharge: 1.4 kW, chargeEfficiency: 1, routine: [{ leaves: \"08:00\", returns: \"16:00\", uses: 10 kWh }] }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: heater }
spec:
  site: home
  type: heatPump
  heatPump:
    maxPower: 3 kW
    minPower: 0.5 kW
    cop: { fixed: 3 }
    heats: { building: { heatCapacity: 4 kWh/K, heatLoss: 150 W/K, min: 20 °C, max: 23 °C, outside: { fixed: 5 °C } } }
";

/// Temperature of the building after an hour: the exact solution of its equation.
fn warmed(celsius: f64, kw: f64) -> f64 {
    let (kept, loss) = ((-0.15_f64 / 4.0).exp(), 0.15);
    let rest = 5.0 + 3.0 * kw / loss;
    rest + (celsius - rest) * kept
}

#[test]
fn a_vehicle_and_a_building_take_what_they_need_in_cheap_hours() {
    let dir = home(&format!("{SITE}{MOVABLES}"));
    let (mut asked, mut battery) = (Asked::new(dir.path()), Battery { soc: 0.5, kw: 0.0 });
    let (mut soc, mut celsius, mut set) = (0.5, 21.0, (0.0, 0.0));
    let (mut dear, mut all) = (0.0, 0.0);
    for n in 0..4 * 24 {
        let away = (8..16).contains(&(n % 24));
        if n > 24 && n % 24 == 16 {
            soc -= 0.25;
            assert!(soc >= -1e-6, "it left with too little");
        }
        let car = if away {
            json!({ "power_kw": 0.0, "soc": null })
        } else {
            json!({ "power_kw": set.0, "soc": soc })
        };
        let heater = json!({ "power_kw": set.1, "temperature_c": celsius });
        let line = json!({
            "time": hour(n),
            "measured": { "house": { "power_kw": -0.5 }, "battery": battery.measured(), "car": car, "heater": heater },
            "signals": { "price": tariff(n) },
            "ahead": { "price": values(n..n + 24, tariff) },
        });
        let answer = asked.ask(&line);
        let points = &answer["setpoints"];
        set = (number(&points["car"]), number(&points["heater"]));
        battery.follow(number(&points["battery"]), 1.0);
        assert!(set.0.abs() < 1e-9 || (-7.0..=-1.4).contains(&set.0), "{answer}");
        assert!(set.1.abs() < 1e-9 || (-3.0..=-0.5).contains(&set.1), "{answer}");
        if away {
            assert_eq!((set.0, answer["because"]["car"].as_str()), (0.0, Some("0 kW: it is not plugged in")));
        }
        soc -= set.0 / 40.0;
        celsius = warmed(celsius, -set.1);
        assert!(
            soc < 1.0 + 1e-6 && celsius > 20.0 - 0.05 && celsius < 23.05,
            "hour {n}: {soc}, {celsius} °C"
        );
        let import = (0.5 - set.0 - set.1 - battery.kw).max(0.0);
        all += import;
        dear += if tariff(n) > 0.3 { import } else { 0.0 };
    }
    assert!(all > 100.0 && dear < 0.02 * all, "{dear} of {all} kWh bought in dear hours");
    asked.end();
}

#[test]
fn a_peak_that_has_been_reached_is_free_for_the_rest_of_its_month() {
    let charged = "connection:
    importPrice: { fixed: 0.2 EUR/kWh }
    charges: [ { name: demand, peak: { price: 5 EUR/kW, interval: 1 h } } ]";
    let manifest = STREET
        .replace("connection: { importPrice: { fixed: 0 EUR/kWh } }", charged)
        .replace("  feeders:\n  - { name: home, importPrice: { signal: price } }\n  - { name: neighbour, importPrice: { signal: price } }\n", "")
        .replace("feeder: home, ", "")
        .replace("feeder: neighbour, ", "")
        .replace("  feeder: home\n", "");
    let dir = home(&manifest);
    let mut asked = Asked::new(dir.path());
    let line = |n: i64, house: f64, soc: f64| {
        let ahead = json!({ "house": values(n..n + 4, |_| -3.0), "roof": values(n..n + 4, |_| 0.0) });
        json!({ "time": hour(n), "signals": { "price": 0.2 }, "ahead": ahead, "measured": {
            "house": { "power_kw": house }, "roof": { "power_kw": 0.0 }, "battery": { "power_kw": 0.0, "soc": soc }
        } })
    };
    // 3 kWh for four hours of 3 kW: each hour a quarter, so that the peak is as low as can be.
    let set = number(&asked.ask(&line(0, -0.5, 0.5))["setpoints"]["battery"]);
    assert!((set - 0.75).abs() < 0.002, "{set}");
    // Once 3 kW have been drawn there is nothing to be gained from it.
    let answer = asked.ask(&line(1, -3.0, 0.5));
    let set = number(&answer["setpoints"]["battery"]);
    let again = asked.ask(&line(2, -3.0, 0.5));
    assert!(!again["because"]["battery"].as_str().unwrap().contains("peak"), "{answer} {again} {set}");
    asked.end();
}

#[test]
fn what_was_not_measured_is_told_and_nothing_is_taken_to_be_zero() {
    let dir = home(SITE);
    let mut asked = Asked::new(dir.path());
    let first = asked.ask(&json!({ "time": hour(0), "signals": { "price": 0.2 } }));
    assert_eq!(first["setpoints"], json!({ "battery": 0.0 }));
    let because = first["because"]["battery"].as_str().unwrap();
    assert_eq!(because, "0 kW: its state of charge is not known; house was not measured");
    let line = json!({ "time": hour(1), "measured": { "battery": { "power_kw": null, "soc": 0.5 }, "house": null } });
    let second = asked.ask(&line);
    assert!(second["because"]["battery"].as_str().unwrap().ends_with("; house was not measured"), "{second}");
    asked.end();
}

#[test]
fn a_blank_line_is_passed_over_and_nothing_is_answered_to_nothing() {
    let dir = home(SITE);
    let ran = sos_with(dir.path(), &["control", "home.yaml"], b"");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let line = format!("\n{}\n\n", json!({ "time": hour(0), "signals": { "price": 0.2 } }));
    let ran = sos_with(dir.path(), &["control", "home.yaml"], line.as_bytes());
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{}", ran.stderr);
}

#[test]
fn a_wrong_line_is_refused_with_its_number_and_what_was_expected() {
    let dir = home(SITE);
    let first = json!({ "time": hour(5), "signals": { "price": 0.2 } }).to_string();
    let at = |rest: &str| format!("{{\"time\":\"{}\",{rest}}}", hour(6));
    let cases: [(String, &str); 15] = [
        (at("\"measured\":"), "line 2: column "),
        (
            at("\"measured\":{\"house\":{\"power_kw\":NaN}}"),
            "NaN is not JSON: expected null for what is missing",
        ),
        (at("\"measured\":{\"house\":{\"power_kw\":1e999}}"), "out of range"),
        (
            at("\"measured\":{\"house\":{\"power_kw\":1e12}}"),
            "measured.house.power_kw: 1000000000000 is out of range",
        ),
        (at("\"measured\":{\"house\":{\"power_kw\":\"1\"}}"), "invalid type: string"),
        (
            at("\"measured\":{\"hous\":{}}"),
            "measured: no Asset is named \"hous\"; did you mean \"house\"?; known: battery, house",
        ),
        (
            at("\"measured\":{\"battery\":{\"soc\":55}}"),
            "measured.battery.soc: 55 is out of range; expected a share of 0…1",
        ),
        (at("\"signals\":{\"prise\":1}"), "signals: no Signal is named \"prise\"; did you mean \"price\"?"),
        (at("\"ahead\":{\"battery\":[]}"), "ahead: no Signal, load or solar plant is named \"battery\""),
        (
            at("\"ahead\":{\"price\":[{\"time\":\"soon\",\"value\":1}]}"),
            "ahead.price[0].time: \"soon\" is not a time",
        ),
        (
            at(&format!(
                "\"ahead\":{{\"price\":{}}}",
                json!([{ "time": hour(8), "value": 1 }, { "time": hour(7), "value": 1 }])
            )),
            "ahead.price: 2026-01-05T07:00:00Z does not come after 2026-01-05T08:00:00Z",
        ),
        (at("\"measure\":{}"), "unknown field `measure`"),
        ("{}".to_owned(), "missing field `time`"),
        (first.clone(), "line 2: time: 2026-01-05T05:00:00Z does not come after 2026-01-05T05:00:00Z"),
        (json!({ "time": "9500-12-31T00:00:00Z" }).to_string(), "expected whole seconds from 1970 to 9000"),
    ];
    for (line, words) in cases {
        let ran =
            sos_with(dir.path(), &["control", "home.yaml"], format!("{first}\n{line}\n{first}\n").as_bytes());
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 1, "what came before is answered: {line}");
        assert!(
            ran.stderr.contains("line 2: ") && ran.stderr.contains(words),
            "no {words:?} in {}",
            ran.stderr
        );
    }
    let ran =
        sos_with(dir.path(), &["control", "home.yaml"], format!("{{\"time\":\"{}\"}}\n", hour(0)).as_bytes());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("line 1: signal price has no value yet"), "{}", ran.stderr);
}

#[test]
fn wrong_manifests_are_refused_and_signals_of_lines_are_for_nothing_else() {
    let refused = |manifest: &str, words: &str| {
        let dir = home(manifest);
        let Ran { code, stderr, .. } = sos_with(dir.path(), &["control", "home.yaml"], b"");
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(words), "no {words:?} in {stderr}");
    };
    refused(&SITE.replacen("horizon: 24 h", "horizon: 900000 h", 1), "home.yaml:9:12: spec.horizon");
    refused(&SITE.replacen("signal: price", "signal: prices", 1), "no Signal is named \"prices\"");
    refused(SITE.split_once("---\n").unwrap().1, "no Site is named \"home\"");
    refused(&SITE.replacen("lines: {}", "lines: { path: a }", 1), "unknown key \"path\"");
    let dir = home(SITE);
    assert_eq!(sos(dir.path(), &["validate", "home.yaml"]).code, 0);
    let ran = sos(dir.path(), &["optimize", "home.yaml"]);
    assert_eq!(ran.code, 2);
    let words = "home.yaml:16:32: spec.source: signal price has its values from the lines of sos control";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
}

fn page() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/control.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_documented_example_answers_as_it_is_shown() {
    let page = page();
    let block = |fence: &str, n: usize| {
        page.split(&format!("```{fence}\n")).nth(n).unwrap().split("```").next().unwrap().to_owned()
    };
    let dir = home(&block("yaml", 1));
    let (lines, shown) = (block("json", 1), block("json", 2));
    let ran = sos_with(dir.path(), &["control", "home.yaml"], lines.as_bytes());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, shown);
}
