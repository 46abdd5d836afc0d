//! `sos control` as simulations drive it: how long an answer of a large site takes, and what a home costs that it controls.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::{Chance, Check, built_product, target_folder};
use crate::Outcome;

/// A run of `sos control` that is asked line by line.
pub(super) struct Asked {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Asked {
    pub(super) fn start(sos: &Path, manifest: &Path) -> Result<Self, String> {
        let mut child = Command::new(sos)
            .arg("control")
            .arg(manifest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", sos.display()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("sos control has no pipes".to_owned());
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// The answer to a line, and the seconds it took.
    pub(super) fn ask(&mut self, line: &Value) -> Result<(Value, f64), String> {
        let began = Instant::now();
        self.tell(line)?;
        let answer = self.answer()?;
        Ok((answer, began.elapsed().as_secs_f64()))
    }

    /// Writes a line whose answer is fetched later.
    pub(super) fn tell(&mut self, line: &Value) -> Result<(), String> {
        let text = format!("{line}\n");
        self.stdin.write_all(text.as_bytes()).map_err(|error| error.to_string())
    }

    /// The next answer, as soon as it is there.
    pub(super) fn answer(&mut self) -> Result<Value, String> {
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).map_err(|error| error.to_string())?;
        serde_json::from_str(&answer).map_err(|error| format!("{error} in {answer:?}"))
    }

    pub(super) fn end(mut self) -> Result<(), String> {
        drop(self.stdin);
        let code = self.child.wait().map_err(|error| error.to_string())?;
        if code.success() { Ok(()) } else { Err(format!("sos control ended with {code}")) }
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Homes of the large site: a load, a roof and a battery for each of the first 30, and 10 loads more.
const HOMES: usize = 40;
const ROOFS: usize = 30;
/// Quarter-hours that are asked for: ten days, each of which is planned anew.
const LINES: i32 = 960;
/// The longest that 99 of 100 answers may take, seconds.
const P99: f64 = 0.1;

/// `[--all]`: with the whole family of forecasters instead of the profile alone.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let members = if arguments.contains(&"--all") { "all" } else { "profile" };
    let target = target_folder(root);
    let manifest = target.join("bench").join("control").join("site.yaml");
    write(&manifest, &large_site(members))?;
    let mut asked = Asked::start(&built_product(&target)?, &manifest)?;
    let (mut chance, mut socs) = (Chance::new(1), [0.5; ROOFS]);
    let start: Timestamp = "2026-06-01T00:00:00Z".parse().map_err(|_| "a time")?;
    let mut seconds = Vec::new();
    for n in 0..LINES {
        let time = start + SignedDuration::from_mins(15) * n;
        let (answer, took) = asked.ask(&large_line(time, n, &socs, &mut chance))?;
        seconds.push(took);
        for (home, soc) in socs.iter_mut().enumerate() {
            let kw = answer["setpoints"][format!("battery-{home}")].as_f64().ok_or("no set-point")?;
            *soc = (*soc - kw * 0.25 / 10.0).clamp(0.1, 1.0);
        }
    }
    asked.end()?;
    let first = seconds[0];
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds[(share * (seconds.len() - 1) as f64).round() as usize];
    println!(
        "{} assets, {LINES} lines with a plan each, members {members}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; the first line {:.1} ms",
        HOMES + 2 * ROOFS,
        1e3 * at(0.5),
        1e3 * at(0.99),
        1e3 * at(1.0),
        1e3 * first
    );
    let check =
        Check::new(at(0.99) <= P99, format!("p99 {:.1} ms (at most {:.0} ms)", 1e3 * at(0.99), 1e3 * P99));
    println!("{check}");
    Ok(if check.met { Outcome::Done } else { Outcome::Failed })
}

pub(super) const KIND: &str = "---\napiVersion: sos.energy/v1alpha1\nkind:";

fn large_site(members: &str) -> String {
    let mut text = format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: street }}\nspec:\n  timeZone: UTC\n  currency: EUR\n  tick: 15 min\n  planEvery: 15 min\n  \
         horizon: 24 h\n  forecasting: {{ members: {members} }}\n  connection:\n    importLimit: 40 kW\n    exportLimit: 60 kW\n    importPrice: {{ signal: price }}\n    \
         exportPrice: {{ fixed: 0.08 EUR/kWh }}\n    carbonIntensity: {{ signal: carbon }}\n  carbonPrice: 0.05 EUR/kg\n\
         {KIND} Signal\nmetadata: {{ name: price }}\nspec: {{ unit: EUR/kWh, source: {{ lines: {{}} }} }}\n\
         {KIND} Signal\nmetadata: {{ name: carbon }}\nspec: {{ unit: g/kWh, source: {{ lines: {{}} }} }}\n"
    );
    for home in 0..HOMES {
        let _ = write!(
            text,
            "{KIND} Asset\nmetadata: {{ name: load-{home} }}\nspec: {{ site: street, type: load }}\n"
        );
    }
    for home in 0..ROOFS {
        let _ = write!(
            text,
            "{KIND} Asset\nmetadata: {{ name: roof-{home} }}\nspec: {{ site: street, type: solar, solar: {{ peakPower: 5 kW, curtailable: true }} }}\n\
             {KIND} Asset\nmetadata: {{ name: battery-{home} }}\nspec: {{ site: street, type: battery, battery: {{ capacity: 10 kWh, maxCharge: 5 kW, maxDischarge: 5 kW, minSoc: 0.1 }} }}\n"
        );
    }
    text
}

/// A quarter-hour of the large site; tomorrow's prices are told at noon.
fn large_line(time: Timestamp, n: i32, socs: &[f64], chance: &mut Chance) -> Value {
    let hour = f64::from(n % 96) / 4.0;
    let bump = |at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
    let mut measured = Map::new();
    for home in 0..HOMES {
        let kw = (0.3 + bump(7.5, 1.5) + 2.0 * bump(19.0, 2.0)) * (0.7 + 0.6 * chance.next());
        measured.insert(format!("load-{home}"), json!({ "power_kw": -kw }));
    }
    for (home, soc) in socs.iter().enumerate() {
        let kw = 4.0 * bump(12.5, 2.8) * (0.5 + 0.5 * chance.next());
        measured.insert(format!("roof-{home}"), json!({ "power_kw": kw }));
        measured.insert(format!("battery-{home}"), json!({ "power_kw": 0.0, "soc": soc }));
    }
    let price =
        |n: i32| 0.18 + if (68..84).contains(&n.rem_euclid(96)) { 0.2 } else { 0.03 * f64::from(n / 4 % 5) };
    let signals = json!({ "price": price(n), "carbon": 200.0 + 100.0 * bump(19.0, 4.0) });
    if n % 96 != 48 && n > 0 {
        return json!({ "time": time.to_string(), "measured": measured, "signals": signals });
    }
    let ahead: Vec<Value> = (0..144)
        .map(|k| json!({ "time": (time + SignedDuration::from_mins(15) * k).to_string(), "value": price(n + k) }))
        .collect();
    json!({ "time": time.to_string(), "measured": measured, "signals": signals, "ahead": { "price": ahead } })
}

/// Half-hours of the study: the last 14 days of its file.
const STUDY: usize = 14 * 48;
pub(super) const HALF: SignedDuration = SignedDuration::from_mins(30);
/// The battery of the study: kWh, kW, losses each way, state of charge.
pub(super) const CAPACITY: f64 = 5.0;
pub(super) const RATED: f64 = 1.0;
pub(super) const EFFICIENCY: f64 = 0.95;
pub(super) const AT_ENDS: f64 = 0.6;

/// The load of a home, kW, by half-hours from `start`.
struct Home {
    start: Timestamp,
    load: Vec<f64>,
}

/// `--data FOLDER` with `household_fr_30min.csv`: a home in France for 14 days, against the perfect plan of `sos optimize`.
pub(super) fn household(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let ["--data", folder] = arguments else {
        return Err("expected --data FOLDER with household_fr_30min.csv".to_owned());
    };
    let home = read_home(&Path::new(folder).join("household_fr_30min.csv"))?;
    let target = target_folder(root);
    let (sos, folder) = (built_product(&target)?, target.join("bench").join("household"));
    let begin = home.load.len() - STUDY;
    let price = |n: usize| tariff(home.start + HALF * i32::try_from(n).unwrap_or(0));
    let mut csv = "time,load,price\n".to_owned();
    for (n, kw) in home.load.iter().enumerate() {
        let _ = writeln!(csv, "{},{kw},{}", home.start + HALF * i32::try_from(n).unwrap_or(0), price(n));
    }
    write(&folder.join("home.csv"), &csv)?;
    let (from, to) = (
        home.start + HALF * i32::try_from(begin).unwrap_or(0),
        home.start + HALF * i32::try_from(home.load.len()).unwrap_or(0),
    );
    write(&folder.join("perfect/home.yaml"), &home_manifest("336 h", "always", to))?;
    write(&folder.join("control/home.yaml"), &home_manifest("48 h", "false", to))?;
    let idle: f64 = (begin..home.load.len()).map(|n| 0.5 * price(n) * home.load[n]).sum();
    let perfect = perfect(&sos, &folder.join("perfect/home.yaml"), from)?;
    println!("14 days from {from}: no battery {idle:.4} EUR, perfect plan {perfect:.4} EUR");
    for (exports, how) in
        [(false, "stops at no exchange by itself"), (true, "holds its set-point, whatever is used")]
    {
        let found = controlled(&sos, &folder.join("control/home.yaml"), &home, begin, exports)?;
        let share = (idle - found.cost) / (idle - perfect);
        println!("sos control, a battery that {how}: {found}, {:.2} % of what can be saved", 100.0 * share);
    }
    Ok(Outcome::Done)
}

/// What a controlled home cost, and what its battery held at the end.
struct Controlled {
    cost: f64,
    exported: f64,
    soc: f64,
    slowest: f64,
}

impl std::fmt::Display for Controlled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cost, exported, soc, slowest } = self;
        write!(
            f,
            "{cost:.4} EUR with {exported:.3} kWh given away and {soc:.4} stored at the end; slowest answer {slowest:.2} s"
        )
    }
}

/// Drives the battery through the study; whether it gives to the grid what the home does not use, for which nothing is paid.
fn controlled(
    sos: &Path,
    manifest: &Path,
    home: &Home,
    begin: usize,
    exports: bool,
) -> Result<Controlled, String> {
    let mut asked = Asked::start(sos, manifest)?;
    let (mut soc, mut kw, mut found) =
        (AT_ENDS, 0.0_f64, Controlled { cost: 0.0, exported: 0.0, soc: 0.0, slowest: 0.0 });
    for n in begin..home.load.len() {
        let time = home.start + HALF * i32::try_from(n).unwrap_or(0);
        let measured =
            json!({ "house": { "power_kw": -home.load[n - 1] }, "battery": { "power_kw": kw, "soc": soc } });
        let (answer, took) = asked.ask(&json!({ "time": time.to_string(), "measured": measured }))?;
        kw = answer["setpoints"]["battery"].as_f64().ok_or("no set-point")?.clamp(-RATED, RATED);
        kw = if exports { kw } else { kw.min(home.load[n].max(0.0)) };
        soc -= 0.5 / CAPACITY * if kw > 0.0 { kw / EFFICIENCY } else { kw * EFFICIENCY };
        let grid = home.load[n] - kw;
        found.cost += 0.5 * tariff(time) * grid.max(0.0);
        found.exported += 0.5 * (-grid).max(0.0);
        found.slowest = found.slowest.max(took);
    }
    found.soc = soc;
    asked.end().map(|()| found)
}

fn perfect(sos: &Path, manifest: &Path, from: Timestamp) -> Result<f64, String> {
    let output = Command::new(sos)
        .args(["optimize", "--gap", "1e-6", "-o", "json", "--from", &from.to_string()])
        .arg(manifest)
        .output()
        .map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("sos optimize: {}", String::from_utf8_lossy(&output.stderr)))?;
    answer["objective"].as_f64().ok_or_else(|| "no objective".to_owned())
}

/// What a kWh costs in the half-hour that begins at a time, EUR: dear from 02:54 to 15:24 and from 17:24 to 20:24 local time.
pub(super) fn tariff(time: Timestamp) -> f64 {
    let local = TimeZone::get("Europe/Paris").unwrap_or(TimeZone::UTC).to_datetime(time);
    let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
    let dear = (174..924).contains(&minute) || (1044..1224).contains(&minute);
    if dear { 0.1907 } else { 0.1419 }
}

/// The home with its load and price in `home.csv`, which ends at `to` with what it began with stored.
fn home_manifest(horizon: &str, known_ahead: &str, to: Timestamp) -> String {
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: home }}\nspec:\n  timeZone: Europe/Paris\n  currency: EUR\n  tick: 30 min\n  planEvery: 30 min\n  \
         horizon: {horizon}\n  connection: {{ importPrice: {{ signal: price }} }}\n\
         {KIND} Signal\nmetadata: {{ name: price }}\nspec: {{ unit: EUR/kWh, knownAhead: always, source: {{ file: {{ path: ../home.csv, column: price }} }} }}\n\
         {KIND} Signal\nmetadata: {{ name: load }}\nspec: {{ unit: kW, knownAhead: {known_ahead}, source: {{ file: {{ path: ../home.csv, column: load, sign: consumption }} }} }}\n\
         {KIND} Asset\nmetadata: {{ name: house }}\nspec: {{ site: home, type: load, power: {{ signal: load }} }}\n\
         {KIND} Asset\nmetadata: {{ name: battery }}\nspec:\n  site: home\n  type: battery\n  battery: {{ capacity: {CAPACITY} kWh, maxCharge: {RATED} kW, maxDischarge: {RATED} kW, \
         chargeEfficiency: {EFFICIENCY}, dischargeEfficiency: {EFFICIENCY}, minSoc: 0.3, maxSoc: 0.9, initialSoc: {AT_ENDS}, endValue: 0 EUR/kWh, targets: [{{ by: \"{to}\", soc: {AT_ENDS} }}] }}\n"
    )
}

/// The load of the file; what is blank is drawn from its neighbours as a line.
fn read_home(path: &PathBuf) -> Result<Home, String> {
    let failed = |error: csv::Error| format!("{}: {error}", path.display());
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    let (mut start, mut load) = (None, Vec::<Option<f64>>::new());
    for row in reader.records() {
        let row = row.map_err(failed)?;
        let time: Timestamp = row[0].parse().map_err(|_| format!("{:?} is not a time", &row[0]))?;
        let start = *start.get_or_insert(time);
        let place = usize::try_from(time.duration_since(start).as_secs() / HALF.as_secs())
            .map_err(|_| "times go back")?;
        load.resize(place + 1, None);
        load[place] = row[1].parse().ok().map(|watts: f64| watts / 1000.0);
    }
    let start = start.ok_or("no rows")?;
    if load.len() <= STUDY {
        return Err("the file is shorter than the study".to_owned());
    }
    Ok(Home { start, load: filled(&load) })
}

/// Gaps between two values become a line; before the first and after the last value, that one.
fn filled(values: &[Option<f64>]) -> Vec<f64> {
    let known: Vec<(usize, f64)> =
        values.iter().enumerate().filter_map(|(n, value)| Some((n, (*value)?))).collect();
    let at = |n: usize| {
        let after = known.partition_point(|(place, _)| *place < n);
        match (after.checked_sub(1).and_then(|before| known.get(before)), known.get(after)) {
            (_, Some((place, value))) if *place == n => *value,
            (Some((a, from)), Some((b, to))) => from + (to - from) * (n - a) as f64 / (b - a) as f64,
            (Some((_, value)), None) | (None, Some((_, value))) => *value,
            (None, None) => 0.0,
        }
    };
    (0..values.len()).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_becomes_a_line() {
        let values = [None, Some(1.0), None, None, Some(4.0), None];
        assert_eq!(filled(&values), [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
    }

    #[test]
    fn the_step_that_begins_before_the_change_has_the_price_before_it() {
        let price = |time: &str| tariff(time.parse().unwrap());
        assert!((price("2025-02-01T02:30:00+01:00") - 0.1419).abs() < 1e-9);
        assert!((price("2025-02-01T03:00:00+01:00") - 0.1907).abs() < 1e-9);
        assert!((price("2025-02-01T15:30:00+01:00") - 0.1419).abs() < 1e-9);
        assert!((price("2025-02-01T20:00:00+01:00") - 0.1907).abs() < 1e-9);
    }
}
