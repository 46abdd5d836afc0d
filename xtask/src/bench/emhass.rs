//! `sos optimize` beside EMHASS: the same home, days, tariff and battery, judged by one cost function that is neither's.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::control::{AT_ENDS, CAPACITY, EFFICIENCY, HALF, KIND, RATED, tariff, write};
use super::{Check, built_product, output, target_folder};
use crate::Outcome;

const ZONE: &str = "Europe/Paris";
/// One of each season and weather, with 48 half-hours each.
const DAYS: [&str; 5] = ["2024-03-01", "2024-06-03", "2024-09-16", "2024-11-16", "2025-02-08"];
/// What a kWh earns, EUR, and what the connection carries, kW: EMHASS's own defaults, as are tariff and battery.
const EARNED: f64 = 0.1419;
const LIMIT: f64 = 9.0;
/// States of charge that a plan stays between.
const SOCS: (f64, f64) = (0.3, 0.9);
/// EMHASS takes the rated power of a discharge before its losses, and that of a charge at the meter.
const MOST_GIVEN: f64 = RATED * EFFICIENCY;
/// How often each is run: the least time counts, which is what others on the machine disturb least.
const RUNS: usize = 9;
const THEIR_RUNS: usize = 3;
/// How many times as fast `sos` should be.
const FASTER: f64 = 50.0;
/// The gap that `sos` is asked for; EMHASS ships 1e-2.
const GAP: &str = "1e-4";
/// Costs that differ by less are equal, EUR.
const EQUAL: f64 = 1e-5;
/// What a state of charge may be off by.
const SLIGHTLY: f64 = 1e-5;

/// A day in half-hours: kW, and EUR/kWh.
#[derive(Clone, Debug)]
struct Day {
    date: &'static str,
    times: Vec<Timestamp>,
    load: Vec<f64>,
    sun: Vec<f64>,
}

/// A plan and the seconds it took: without start and input of its program, and in all.
struct Plan {
    battery: Vec<f64>,
    inner: f64,
    whole: f64,
}

/// `--data FOLDER` with `household_fr_30min.csv`.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let ["--data", data] = arguments else {
        return Err("expected --data FOLDER with household_fr_30min.csv".to_owned());
    };
    let days = read(&Path::new(data).join("household_fr_30min.csv"))?;
    let target = target_folder(root);
    let (sos, folder) = (built_product(&target)?, target.join("bench").join("emhass"));
    let python = match python(root) {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: EMHASS cannot be had: {why}");
            return Ok(Outcome::Done);
        }
    };
    let theirs = Emhass { root, folder: &folder, python: &python };
    let whole = theirs.whole(&days[0])?;
    let answers = theirs.answers(&days)?;
    let (mut dearer, mut ratios) = (f64::NEG_INFINITY, Vec::new());
    for (day, answer) in days.iter().zip(&answers) {
        let ours = planned(&sos, &folder.join(day.date), day)?;
        let cost = judged(day, &ours.battery)?;
        let [shipped, exact] = [&answer[0], &answer[1]].map(|answer| Said::read(day, answer));
        let (shipped, exact) = (shipped?, exact?);
        println!(
            "{}: no battery {:.4} EUR; EMHASS {:.4} (no gap {:.4}) in {:.0} ms, again {:.0} ms; sos {cost:.4} in {:.2} ms, whole process {:.1} ms",
            day.date,
            judged(day, &vec![0.0; day.load.len()])?,
            shipped.cost,
            exact.cost,
            1e3 * shipped.first,
            1e3 * shipped.second,
            1e3 * ours.inner,
            1e3 * ours.whole
        );
        dearer = dearer.max(cost - shipped.cost.min(exact.cost));
        ratios.push([shipped.first / ours.inner, shipped.second / ours.inner, whole / ours.whole]);
    }
    let ratio = |which: usize| least(ratios.iter().map(|ratios| ratios[which]));
    println!("EMHASS, whole process for one day: {whole:.2} s");
    println!(
        "least ratio of times: first call {:.0}, call again {:.0}, whole process {:.0}",
        ratio(0),
        ratio(1),
        ratio(2)
    );
    let checks = [
        Check::new(
            dearer <= EQUAL,
            format!("sos is dearer by {dearer:.1e} EUR at the most (at most {EQUAL:.0e})"),
        ),
        Check::new(
            ratio(0) >= FASTER,
            format!("{:.0} times as fast as the call (at least {FASTER})", ratio(0)),
        ),
        Check::new(
            ratio(2) >= FASTER,
            format!("{:.0} times as fast as the process (at least {FASTER})", ratio(2)),
        ),
    ];
    checks.iter().for_each(|check| println!("{check}"));
    Ok(if checks.iter().all(|check| check.met) { Outcome::Done } else { Outcome::Failed })
}

/// The Python that has the packages of `scripts/emhass-peers.txt`.
fn python(root: &Path) -> Result<String, String> {
    let mut command = Command::new("bash");
    let output = output(command.arg(root.join("scripts/peers.sh")).arg("emhass-peers.txt"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// EMHASS as a program.
struct Emhass<'a> {
    root: &'a Path,
    folder: &'a Path,
    python: &'a str,
}

impl Emhass<'_> {
    /// Seconds of a process that plans one day once.
    fn whole(&self, day: &Day) -> Result<f64, String> {
        let mut seconds = Vec::new();
        for _ in 0..THEIR_RUNS {
            let began = Instant::now();
            self.ask(&case(std::slice::from_ref(day), json!([null]), 1, 1))?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        Ok(least(seconds))
    }

    /// By day: with the gap that it ships, and with none.
    fn answers(&self, days: &[Day]) -> Result<Vec<Value>, String> {
        let answers = self.ask(&case(days, json!([null, 0.0]), 2, THEIR_RUNS))?;
        let answers = answers.as_array().cloned().filter(|answers| answers.len() == days.len());
        answers.ok_or_else(|| "EMHASS did not answer every day".to_owned())
    }

    fn ask(&self, case: &Value) -> Result<Value, String> {
        let (question, answer) = (self.folder.join("case.json"), self.folder.join("answer.json"));
        write(&question, &case.to_string())?;
        let mut command = Command::new(self.python);
        output(command.arg(self.root.join("scripts/emhass_peer.py")).args([&question, &answer]))?;
        let text = std::fs::read_to_string(&answer).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("the answer of EMHASS: {error}"))
    }
}

/// What EMHASS is asked.
fn case(days: &[Day], gaps: Value, calls: usize, fresh: usize) -> Value {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let watts = |kw: &[f64]| kw.iter().map(|kw| 1000.0 * kw).collect::<Vec<f64>>();
    let day = |day: &Day| {
        let import: Vec<f64> = day.times.iter().map(|time| tariff(*time)).collect();
        let times: Vec<String> = day.times.iter().map(ToString::to_string).collect();
        let export = vec![EARNED; times.len()];
        json!({ "times": times, "load_w": watts(&day.load), "sun_w": watts(&day.sun), "import": import, "export": export })
    };
    json!({
        "time_zone": ZONE, "threads": threads, "limit_kw": LIMIT, "gaps": gaps, "calls": calls, "fresh": fresh,
        "battery": { "capacity_kwh": CAPACITY, "kw": RATED, "efficiency": EFFICIENCY, "min_soc": SOCS.0, "max_soc": SOCS.1, "at_ends": AT_ENDS },
        "days": days.iter().map(day).collect::<Vec<Value>>(),
    })
}

/// What EMHASS found for a day.
struct Said {
    cost: f64,
    first: f64,
    second: f64,
}

impl Said {
    fn read(day: &Day, answer: &Value) -> Result<Self, String> {
        if answer["status"] != "Optimal" {
            return Err(format!("{}: EMHASS ended {}", day.date, answer["status"]));
        }
        let numbers = |key: &str| {
            answer[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<f64>>()
        };
        let battery: Vec<f64> = numbers("battery_w").into_iter().map(|watts| watts / 1000.0).collect();
        let [first, second] = numbers("seconds")[..] else {
            return Err("EMHASS was not called twice".to_owned());
        };
        Ok(Self { cost: judged(day, &battery)?, first, second })
    }
}

/// What a day costs with this power of the battery, kW at the meter, discharge above zero.
fn judged(day: &Day, battery: &[f64]) -> Result<f64, String> {
    if battery.len() != day.load.len() {
        return Err(format!("{}: {} steps are planned, not {}", day.date, battery.len(), day.load.len()));
    }
    let (mut soc, mut cost, hours) = (AT_ENDS, 0.0, HALF.as_secs_f64() / 3600.0);
    for (step, kw) in battery.iter().enumerate() {
        soc -= hours / CAPACITY * if *kw > 0.0 { kw / EFFICIENCY } else { kw * EFFICIENCY };
        let grid = day.load[step] - day.sun[step] - kw;
        let (low, high) = (SOCS.0 - SLIGHTLY, SOCS.1 + SLIGHTLY);
        if !(low..=high).contains(&soc) || grid.abs() > LIMIT + SLIGHTLY || kw.abs() > RATED + SLIGHTLY {
            return Err(format!("{}, step {step}: {kw} kW, state {soc}, grid {grid} kW", day.date));
        }
        cost += hours * if grid > 0.0 { grid * tariff(day.times[step]) } else { grid * EARNED };
    }
    if soc < AT_ENDS - SLIGHTLY {
        return Err(format!("{} ends with {soc} stored", day.date));
    }
    Ok(cost)
}

/// The plan of `sos optimize`, with the least of its times.
fn planned(sos: &Path, folder: &Path, day: &Day) -> Result<Plan, String> {
    let mut csv = "time,load,sun,price\n".to_owned();
    for (step, time) in day.times.iter().enumerate() {
        let _ = writeln!(csv, "{time},{},{},{}", day.load[step], day.sun[step], tariff(*time));
    }
    write(&folder.join("day.csv"), &csv)?;
    let manifest = folder.join("home.yaml");
    write(&manifest, &home(day))?;
    let (mut inner, mut whole, mut battery) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = Instant::now();
        let mut command = Command::new(sos);
        let output = output(command.args(["optimize", "--gap", GAP, "-o", "json"]).arg(&manifest))?;
        whole.push(began.elapsed().as_secs_f64());
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let seconds = |part: &str| answer["seconds"][part].as_f64().ok_or("no seconds");
        inner.push(seconds("build")? + seconds("solve")?);
        let kw = answer["solution"]["battery"]["power_kw"].as_array().ok_or("no plan of the battery")?;
        battery = kw.iter().filter_map(Value::as_f64).collect();
    }
    Ok(Plan { battery, inner: least(inner), whole: least(whole) })
}

fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// The home, which ends the day with what it began with stored.
fn home(day: &Day) -> String {
    let end = day.times.last().map_or(Timestamp::UNIX_EPOCH, |last| *last + HALF);
    let signal = |name: &str, unit: &str, more: &str| {
        format!(
            "{KIND} Signal\nmetadata: {{ name: {name} }}\nspec: {{ unit: {unit}, source: {{ file: {{ path: day.csv, column: {name}{more} }} }} }}\n"
        )
    };
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: home }}\nspec:\n  timeZone: {ZONE}\n  currency: EUR\n  planEvery: 30 min\n  horizon: 24 h\n  \
         connection: {{ importLimit: {LIMIT} kW, exportLimit: {LIMIT} kW, importPrice: {{ signal: price }}, exportPrice: {{ fixed: {EARNED} EUR/kWh }} }}\n{}{}{}\
         {KIND} Asset\nmetadata: {{ name: house }}\nspec: {{ site: home, type: load, power: {{ signal: load }} }}\n\
         {KIND} Asset\nmetadata: {{ name: roof }}\nspec: {{ site: home, type: solar, solar: {{ peakPower: 6 kW, availablePower: {{ signal: sun }} }} }}\n\
         {KIND} Asset\nmetadata: {{ name: battery }}\nspec:\n  site: home\n  type: battery\n  battery: {{ capacity: {CAPACITY} kWh, maxCharge: {RATED} kW, maxDischarge: {MOST_GIVEN} kW, \
         chargeEfficiency: {EFFICIENCY}, dischargeEfficiency: {EFFICIENCY}, minSoc: {}, maxSoc: {}, initialSoc: {AT_ENDS}, endValue: 0 EUR/kWh, targets: [{{ by: \"{end}\", soc: {AT_ENDS} }}] }}\n",
        signal("price", "EUR/kWh", ""),
        signal("load", "kW", ", sign: consumption"),
        signal("sun", "kW", ""),
        SOCS.0,
        SOCS.1
    )
}

/// The days of the study. A blank of the sun means that the plant is off.
fn read(path: &Path) -> Result<Vec<Day>, String> {
    let zone = TimeZone::get(ZONE).map_err(|error| error.to_string())?;
    let dates: Vec<Date> = DAYS.iter().filter_map(|date| date.parse().ok()).collect();
    let empty = |date: &&'static str| Day { date, times: Vec::new(), load: Vec::new(), sun: Vec::new() };
    let mut days: Vec<Day> = DAYS.iter().map(empty).collect();
    let failed = |error: csv::Error| format!("{}: {error}", path.display());
    for row in csv::Reader::from_path(path).map_err(failed)?.records() {
        let row = row.map_err(failed)?;
        let time: Timestamp = row[0].parse().map_err(|_| format!("{:?} is not a time", &row[0]))?;
        let date = zone.to_datetime(time).date();
        let Some(day) = dates.iter().position(|known| *known == date) else { continue };
        let day = &mut days[day];
        let load: f64 = row[1].parse().map_err(|_| format!("{}: no load at {time}", path.display()))?;
        day.times.push(time);
        day.load.push(load / 1000.0);
        day.sun.push(row[2].parse().unwrap_or(0.0_f64).max(0.0) / 1000.0);
    }
    let short = days.iter().find(|day| day.times.len() != 48);
    short.map_or(Ok(()), |day| Err(format!("{} has {} half-hours, not 48", day.date, day.times.len())))?;
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        // 00:00 and 00:30 in Paris: cheap.
        let times = ["2024-06-02T22:00:00Z", "2024-06-02T22:30:00Z"].map(|time| time.parse().unwrap());
        Day { date: "2024-06-03", times: times.to_vec(), load: vec![1.0, 0.2], sun: vec![0.0, 1.2] }
    }

    #[test]
    fn a_plan_is_judged_by_what_flows_and_what_is_left() {
        let close = |found: Result<f64, String>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        };
        // 0.5 kWh bought, 0.5 kWh sold for as much.
        close(judged(&day(), &[0.0, 0.0]), 0.0);
        // More than its power would be needed to take 0.95 kW back.
        assert!(judged(&day(), &[0.95, -0.95 / (0.95 * 0.95)]).unwrap_err().contains("step 1"));
        // Half of it: 0.25 kWh bought instead of 0.5, and sold less by what is put back.
        let back = 0.5 / (0.95 * 0.95);
        close(judged(&day(), &[0.5, -back]), 0.1419 * (0.5 * 0.5 - 0.5 * (1.0 - back)));
    }

    #[test]
    fn a_plan_that_leaves_less_or_too_little_is_refused() {
        assert!(judged(&day(), &[0.5, 0.0]).unwrap_err().contains("ends with"));
        assert!(judged(&day(), &[0.5]).unwrap_err().contains("1 steps are planned, not 2"));
        assert!(judged(&Day { load: vec![0.0, 12.0], ..day() }, &[0.0, 0.0]).unwrap_err().contains("grid"));
    }
}
