//! `cargo xtask bench NAME`: measures the built product. To add a benchmark, write a function and a line in
//! [`BENCHMARKS`].

mod citylearn;
mod community;
mod control;
mod emhass;
mod forecast;
mod series;
mod services;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::Outcome;

type Benchmark = fn(&Path, &[&str]) -> Result<Outcome, String>;

const BENCHMARKS: &[(&str, &str, Benchmark)] = &[
    ("loop", "a year of examples/fontana in lock-step; [--until TIME] shortens it", control_loop),
    (
        "forecast",
        "sos forecast against Python peers; [--data FOLDER], [--again] with the peers of last time",
        forecast::run,
    ),
    (
        "series",
        "sos as a home of metrics beside Prometheus; [--rounds N], [--only ingest|queries]; SOS_BENCH_SOS names a built sos",
        series::run,
    ),
    (
        "series-store",
        "the store as a home of metrics; [full] with commits that wait for the disk",
        series_store,
    ),
    (
        "call",
        "calls through sos beside plain reqwest and tonic, and the embedded channel; [SECONDS ROUNDS]",
        call,
    ),
    ("gateway", "the gateway beside nginx: CPU and latency; [SECONDS ROUNDS]", gateway),
    ("services", "100 processes until all are ready; 1,000 simulated services at rest", services::run),
    (
        "community",
        "homes behind one connection through `sos optimize`, beside HiGHS; [HOMES…] [--no-peer]",
        community::run,
    ),
    (
        "control",
        "answers of `sos control` for a site of 100 assets; [--all] with all forecasters",
        control::run,
    ),
    (
        "household",
        "a home in France under `sos control` against the perfect plan; --data FOLDER",
        control::household,
    ),
    (
        "citylearn",
        "five homes for a year, CityLearn's challenge of 2022, under `sos control`; --data FOLDER [--homes | --district] [--all] [--hours N] [--knowing loads,sun,carbon,hour]",
        citylearn::run,
    ),
    ("emhass", "`sos optimize` beside EMHASS on days of a home in France; --data FOLDER", emhass::run),
    (
        "workflow",
        "runs of three calls a second, started over the API, beside Restate; [SECONDS ROUNDS], or sleeping [COUNT]",
        workflow,
    ),
    (
        "carbon",
        "nightly jobs that may move eight hours: what forecasts save of what perfect ones save; --data FOLDER",
        carbon,
    ),
    ("rules", "200 alerting and recording rules over 10,000 series in memory", rules),
];

/// The example's data ends here.
const YEAR_END: &str = "2017-07-31T23:00:00-08:00";

/// What the control loop must keep, by the path inside `timings`: largest value and unit. Wall time and memory are
/// those of a whole year.
const LOOP_LIMITS: &[(&str, f64)] = &[("tick_seconds.p99", 0.060), ("wall_seconds", 120.0), ("rss_mb", 80.0)];

/// Runs one benchmark, or lists them all.
///
/// # Errors
/// When the name is unknown, the product is not built or its report cannot be read.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let Some((name, rest)) = arguments.split_first() else {
        for (name, about, _) in BENCHMARKS {
            println!("{name:<12} {about}");
        }
        return Ok(Outcome::Done);
    };
    match BENCHMARKS.iter().find(|(known, _, _)| known == name) {
        Some((_, _, benchmark)) => benchmark(root, rest),
        None => {
            let known: Vec<&str> = BENCHMARKS.iter().map(|(known, _, _)| *known).collect();
            Err(format!("no benchmark `{name}`; known are: {}", known.join(", ")))
        }
    }
}

fn control_loop(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let until = match arguments {
        [] => YEAR_END,
        ["--until", time] => time,
        other => return Err(format!("bench loop takes `--until TIME` only, not `{}`", other.join(" "))),
    };
    let target = target_folder(root);
    let binary = built_product(&target)?;
    let scratch = target.join("bench").join("loop");
    if scratch.exists() {
        // A run on an old data folder would continue it instead of starting at the first row.
        std::fs::remove_dir_all(&scratch).map_err(|e| format!("cannot empty {}: {e}", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).map_err(|e| format!("cannot make {}: {e}", scratch.display()))?;
    let report = scratch.join("report.json");
    let status = Command::new(&binary)
        .args(["up", "examples/fontana", "--speed", "max", "--seed", "1", "--until", until, "--report"])
        .arg(&report)
        .arg("--data-dir")
        .arg(scratch.join("data"))
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(root)
        .status()
        .map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
    if !status.success() {
        return Err(format!("sos up examples/fontana ended with {status}; its messages are above"));
    }
    let text = std::fs::read_to_string(&report)
        .map_err(|e| format!("sos up wrote no report at {}: {e}", report.display()))?;
    show_timings(&text)
}

fn series_store(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    if !matches!(arguments, [] | ["full"]) {
        return Err(format!("bench series-store takes `full` only, not `{}`", arguments.join(" ")));
    }
    example(root, "sos-store", "series_store", arguments)
}

fn call(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let calls = workspace(root, "call", arguments)?;
    println!();
    let channel = example(root, "sos-store", "channel_speed", &[])?;
    Ok(if matches!((&calls, &channel), (Outcome::Done, Outcome::Done)) {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

fn gateway(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    workspace(root, "gateway", arguments)
}

fn workflow(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let sos = built_product(&target_folder(root))?;
    let mut told = vec![("SOS_BENCH_SOS", sos)];
    let found = Command::new(root.join("scripts/restate.sh")).output();
    let found = found.map_err(|e| format!("cannot start scripts/restate.sh: {e}"))?;
    if found.status.success() {
        told.push(("SOS_BENCH_RESTATE", PathBuf::from(String::from_utf8_lossy(&found.stdout).trim())));
    } else {
        println!("Restate is left out: {}", String::from_utf8_lossy(&found.stderr).trim());
    }
    workspace_told(root, "workflow", arguments, &told)
}

/// A measuring program in a workspace of its own, which takes `SECONDS ROUNDS`.
fn workspace(root: &Path, name: &str, arguments: &[&str]) -> Result<Outcome, String> {
    workspace_told(root, name, arguments, &[])
}

/// The same with these variables in its environment.
fn workspace_told(
    root: &Path,
    name: &str,
    arguments: &[&str],
    told: &[(&str, PathBuf)],
) -> Result<Outcome, String> {
    if arguments.len() > 2 {
        return Err(format!("bench {name} takes SECONDS ROUNDS only, not `{}`", arguments.join(" ")));
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(root.join("benches").join(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_folder(root).join(format!("bench-{name}")))
        .arg("--")
        .args(arguments)
        .envs(told.iter().map(|(name, value)| (name, value)))
        .current_dir(root)
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    Ok(if status.success() { Outcome::Done } else { Outcome::Failed })
}

fn carbon(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    if !matches!(arguments, ["--data", _] | ["--data", _, "--full"]) {
        return Err(
            "expected --data FOLDER, with ontario-2016 and fontana-2016, and --full or nothing".to_owned()
        );
    }
    example(root, "sos-engine", "carbon_study", arguments)
}

fn rules(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    if !arguments.is_empty() {
        return Err(format!("bench rules takes nothing, not `{}`", arguments.join(" ")));
    }
    example(root, "sos-watch", "rules_speed", arguments)
}

/// A measuring program that stands beside the crate whose types it uses.
fn example(root: &Path, package: &str, name: &str, arguments: &[&str]) -> Result<Outcome, String> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--release", "--locked", "--quiet", "--package", package, "--example", name, "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    Ok(if status.success() { Outcome::Done } else { Outcome::Failed })
}

fn target_folder(root: &Path) -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root.join(folder)
}

fn built_product(target: &Path) -> Result<PathBuf, String> {
    let binary = target.join("release").join("sos");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!("{} is not built; run `cargo build --release -p sos --locked` first", binary.display()))
}

/// Runs to the end; what it wrote, or its messages as an error.
fn output(command: &mut Command) -> Result<Output, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|e| format!("cannot start {program}: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}:\n{}", output.status, messages.trim_end()))
}

/// Numbers from 0 to 1 that look like chance (Knuth's multiplier for 64 bits).
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A target and whether it is met, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    met: bool,
    text: String,
}

impl Check {
    fn new(met: bool, text: String) -> Self {
        Self { met, text }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", if self.met { "met   " } else { "MISSED" }, self.text)
    }
}

fn show_timings(report: &str) -> Result<Outcome, String> {
    let report: Value = serde_json::from_str(report).map_err(|e| format!("the report is not JSON: {e}"))?;
    let timings = report.get("timings").ok_or("the report has no `timings`")?;
    let mut rows = Vec::new();
    flatten("", timings, &mut rows);
    let mut outcome = Outcome::Done;
    for (name, value) in rows {
        let limit = LOOP_LIMITS.iter().find(|(limited, _)| *limited == name).map(|(_, limit)| *limit);
        let note = match limit {
            Some(limit) if value > limit => {
                outcome = Outcome::Failed;
                format!("  over the limit of {limit}")
            }
            Some(limit) => format!("  (limit {limit})"),
            None => String::new(),
        };
        println!("{name:<20} {value:>12.6}{note}");
    }
    Ok(outcome)
}

/// Numbers of an object by their dotted path: `{"a":{"b":1}}` → `("a.b", 1.0)`.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, f64)>) {
    if let Some(number) = value.as_f64() {
        rows.push((prefix.to_owned(), number));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        flatten(&path, inner, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let message = run(Path::new("."), &["lop"]).unwrap_err();
        assert_eq!(
            message,
            "no benchmark `lop`; known are: loop, forecast, series, series-store, call, gateway, services, community, control, household, citylearn, emhass, workflow, carbon, rules"
        );
    }

    #[test]
    fn a_missing_product_is_named_with_the_command_that_builds_it() {
        let folder = tempfile::tempdir().unwrap();
        let message = built_product(folder.path()).unwrap_err();
        assert!(message.contains("release/sos is not built") && message.contains("cargo build"), "{message}");
    }

    #[test]
    fn timings_over_a_limit_fail() {
        let report = |p99: f64| {
            format!(r#"{{"timings":{{"wall_seconds":80,"tick_seconds":{{"p50":0.001,"p99":{p99}}}}}}}"#)
        };
        assert_eq!(show_timings(&report(0.010)), Ok(Outcome::Done));
        assert_eq!(show_timings(&report(0.061)), Ok(Outcome::Failed));
        assert!(show_timings("{}").unwrap_err().contains("no `timings`"));
        assert!(show_timings("oops").unwrap_err().contains("not JSON"));
    }
}
