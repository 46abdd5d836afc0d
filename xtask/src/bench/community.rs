//! A community of homes behind one connection: `sos optimize` on manifests and series as files, beside HiGHS on the same kind of
//! case.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Chance, Check, built_product, example, target_folder};
use crate::Outcome;

const STEPS: usize = 96;
/// Sizes with the most seconds and megabytes that they may take.
const GOALS: [(usize, f64, f64); 2] = [(1_000, 2.0, 1_000.0), (10_000, 20.0, 1_000.0)];
/// The gap that is asked for.
const GAP: f64 = 1e-3;

/// `[HOMES…] [--no-peer]`.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let peer = !arguments.contains(&"--no-peer");
    let sizes = arguments.iter().filter(|argument| **argument != "--no-peer");
    let sizes: Vec<usize> = sizes
        .map(|text| text.parse().map_err(|_| format!("`{text}` is not a number of homes")))
        .collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { GOALS.map(|(homes, ..)| homes).to_vec() } else { sizes };
    let target = target_folder(root);
    let sos = built_product(&target)?;
    let mut checks = Vec::new();
    for homes in sizes {
        let folder = target.join("bench").join("community").join(homes.to_string());
        write_case(&folder, homes).map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
        let found = optimize(&sos, &folder)?;
        println!("{homes} homes x {STEPS} steps: {found}");
        if let Some((_, seconds, megabytes)) = GOALS.iter().find(|(goal, ..)| *goal == homes) {
            let Measured { wall, rss_mb, gap, .. } = found;
            checks.push(Check::new(
                wall <= *seconds,
                format!("{homes} homes: {wall:.2} s (at most {seconds} s)"),
            ));
            checks.push(Check::new(
                rss_mb <= *megabytes,
                format!("{homes} homes: {rss_mb:.0} MB (at most {megabytes} MB)"),
            ));
            checks.push(Check::new(
                gap <= GAP,
                format!("{homes} homes: certified gap {gap:.1e} (at most {GAP:.0e})"),
            ));
        }
    }
    if peer {
        println!();
        example(root, "sos-dispatch", "community", &["1000", "--peer"])?;
    }
    println!();
    checks.iter().for_each(|check| println!("{check}"));
    Ok(if checks.iter().all(|check| check.met) { Outcome::Done } else { Outcome::Failed })
}

/// What one run took and found.
struct Measured {
    wall: f64,
    rss_mb: f64,
    gap: f64,
    status: String,
    seconds: Value,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wall, rss_mb, gap, status, seconds } = self;
        write!(f, "{wall:.2} s and {rss_mb:.0} MB in all, {status} with a gap of {gap:.1e}; inside {seconds}")
    }
}

fn optimize(sos: &Path, folder: &Path) -> Result<Measured, String> {
    let answer = folder.join("answer.json");
    let file = std::fs::File::create(&answer).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let mut child = Command::new(sos)
        .args(["optimize", "--gap", &GAP.to_string(), "-o", "json"])
        .arg(folder.join("site"))
        .stdout(Stdio::from(file))
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", sos.display()))?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut rss_mb = 0.0_f64;
    let code = loop {
        if let Some(code) = child.try_wait().map_err(|error| error.to_string())? {
            break code;
        }
        if let Ok(text) = std::fs::read_to_string(&status) {
            rss_mb = rss_mb.max(high_water(&text));
        }
        pause();
    };
    let wall = began.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(&answer).map_err(|error| error.to_string())?;
    let answer: Value =
        serde_json::from_str(&text).map_err(|error| format!("sos optimize ended with {code}: {error}"))?;
    Ok(Measured {
        wall,
        rss_mb,
        gap: answer["gap"].as_f64().unwrap_or(f64::INFINITY),
        status: answer["status"].as_str().unwrap_or("without a status").to_owned(),
        seconds: answer["seconds"].clone(),
    })
}

#[expect(clippy::disallowed_methods, reason = "samples the memory of a process while it runs")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// The most memory that a process had, in megabytes, from its `status`.
fn high_water(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0 / 1e6
}

/// Writes the manifests and the series of a community, the same for each number of homes.
fn write_case(folder: &Path, homes: usize) -> std::io::Result<()> {
    let site = folder.join("site");
    if site.exists() {
        std::fs::remove_dir_all(&site)?;
    }
    std::fs::create_dir_all(&site)?;
    let mut chance = Chance::new(1);
    let mut manifests = connection(homes);
    let mut columns = Vec::with_capacity(2 * homes);
    for home in 0..homes {
        let (load, sun) = powers(&mut chance);
        columns.extend([load, sun]);
        home_manifests(&mut manifests, home, &mut chance);
        // A file of manifests is a few megabytes at the most.
        if (home + 1) % 1_000 == 0 || home + 1 == homes {
            std::fs::write(site.join(format!("homes-{home}.yaml")), std::mem::take(&mut manifests))?;
        }
    }
    let mut csv = "time,price".to_owned();
    for home in 0..homes {
        let _ = write!(csv, ",load-{home},sun-{home}");
    }
    csv.push('\n');
    for t in 0..STEPS {
        let price = match t / 4 {
            0..6 => 0.18,
            17..21 => 0.42,
            _ => 0.28,
        };
        let _ = write!(csv, "2026-06-01T{:02}:{:02}:00Z,{price}", t / 4, t % 4 * 15);
        for column in &columns {
            let _ = write!(csv, ",{:.3}", column[t]);
        }
        csv.push('\n');
    }
    std::fs::write(site.join("community.csv"), csv)
}

/// Load and sunshine of one home, kW.
fn powers(chance: &mut Chance) -> (Vec<f64>, Vec<f64>) {
    let (size, roof) = (0.2 + 0.6 * chance.next(), 2.0 + 6.0 * chance.next());
    let bump = |hour: f64, at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
    let hour = |t: usize| t as f64 / 4.0;
    let load = (0..STEPS).map(|t| {
        let day = 0.6 + bump(hour(t), 7.5, 1.5) + 2.5 * bump(hour(t), 19.0, 2.0);
        size * day * (0.8 + 0.4 * chance.next())
    });
    (load.collect(), (0..STEPS).map(|t| roof * 0.7 * bump(hour(t), 12.5, 2.8)).collect())
}

fn connection(homes: usize) -> String {
    let (import, export) = (0.45 * homes as f64, 0.9 * homes as f64);
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: community }}\nspec:\n  timeZone: UTC\n  currency: EUR\n  \
         horizon: 24 h\n  planEvery: 15 min\n  carbonPrice: 0.05 EUR/kg\n  connection:\n    importLimit: {import} kW\n    exportLimit: {export} kW\n    \
         importPrice: {{ signal: price }}\n    exportPrice: {{ fixed: 0.08 EUR/kWh }}\n    carbonIntensity: {{ fixed: 0.3 kg/kWh }}\n    \
         limitBreachPrice: 10 EUR/kWh\n{}",
        signal("price", "EUR/kWh", "price", "")
    )
}

fn signal(name: &str, unit: &str, column: &str, more: &str) -> String {
    format!(
        "---\napiVersion: sos.energy/v1alpha1\nkind: Signal\nmetadata: {{ name: {name} }}\nspec: {{ unit: {unit}, source: {{ file: {{ path: community.csv, column: {column}{more} }} }} }}\n"
    )
}

fn home_manifests(manifests: &mut String, home: usize, chance: &mut Chance) {
    manifests.push_str(&signal(
        &format!("load-{home}"),
        "kW",
        &format!("load-{home}"),
        ", sign: consumption",
    ));
    manifests.push_str(&signal(&format!("sun-{home}"), "kW", &format!("sun-{home}"), ""));
    let capacity = 5.0 + 10.0 * chance.next();
    let power = capacity * (0.25 + 0.25 * chance.next());
    let (soc, most) = (0.2 + 0.6 * chance.next(), 0.9 + 0.1 * chance.next());
    let (charge, discharge) = (0.92 + 0.06 * chance.next(), 0.92 + 0.06 * chance.next());
    let wear = 0.005 + 0.01 * chance.next();
    let asset = "---\napiVersion: sos.energy/v1alpha1\nkind: Asset\nmetadata:";
    let _ = write!(
        manifests,
        "{asset} {{ name: load-{home} }}\nspec: {{ site: community, type: load, power: {{ signal: load-{home} }} }}\n\
         {asset} {{ name: roof-{home} }}\nspec: {{ site: community, type: solar, solar: {{ peakPower: 8 kW, availablePower: {{ signal: sun-{home} }} }} }}\n\
         {asset} {{ name: battery-{home} }}\nspec: {{ site: community, type: battery, battery: {{ capacity: {capacity} kWh, maxCharge: {power} kW, maxDischarge: {power} kW, \
         chargeEfficiency: {charge}, dischargeEfficiency: {discharge}, minSoc: 0.1, maxSoc: {most}, initialSoc: {soc}, endValue: 0.15 EUR/kWh, wearCost: {wear} EUR/kWh }} }}\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_megabytes() {
        assert!((high_water("Name:\tsos\nVmHWM:\t  1000 kB\n") - 1.024).abs() < 1e-9);
        assert!(high_water("Name:\tsos\n").abs() < 1e-9);
    }

    #[test]
    fn a_case_has_a_row_for_each_step_and_a_column_for_each_series() {
        let folder = tempfile::tempdir().unwrap();
        write_case(folder.path(), 3).unwrap();
        let csv = std::fs::read_to_string(folder.path().join("site/community.csv")).unwrap();
        assert_eq!(csv.lines().count(), STEPS + 1);
        assert!(csv.lines().all(|line| line.split(',').count() == 2 + 2 * 3));
        let manifests = std::fs::read_to_string(folder.path().join("site/homes-2.yaml")).unwrap();
        assert_eq!(manifests.matches("kind: ").count(), 2 + 5 * 3);
    }
}
