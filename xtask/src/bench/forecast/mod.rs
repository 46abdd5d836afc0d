//! `cargo xtask bench forecast`: `sos forecast` against published kinds of models in Python, on the same issue times
//! and hours. Each forecaster is a process that answers with CSV; all are judged here (`score`, `verdict`).
//!
//! Everyone has one thread. The seconds of `sos` are those of its whole process; a peer's are those of fitting and
//! forecasting alone. Processor time is shown beside wall time: more than wall time means that there were more threads
//! after all, less that the machine was busy with something else.

mod score;
mod series;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use jiff::Timestamp;

use self::score::{QUANTILES, Said, answers, best_naive, coverage, errors, pinball, skill};
use self::series::{SERIES, Series, Split, Step, Values};
use self::verdict::{Entry, Judged, Ours, Role, Seconds};
use super::{built_product, output, target_folder};
use crate::Outcome;

const USAGE: &str = "bench forecast takes `--data FOLDER` (default ../shared/data beside the checkout) and `--again` \
                     (the peers' answers and times of the last run)";

/// Where things are, and whether the peers run.
struct Bench {
    data: PathBuf,
    product: PathBuf,
    python: PathBuf,
    script: PathBuf,
    /// The peers' answers are kept here.
    answers: PathBuf,
    again: bool,
}

/// Measures, prints tables and says which targets are met.
///
/// # Errors
/// When the data, the product or the peers are missing, or a forecaster fails.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let (mut data, mut again) = (root.join("../shared/data"), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--again" => again = true,
            "--data" => data = PathBuf::from(rest.next().ok_or(USAGE)?),
            other => return Err(format!("unknown argument `{other}`; {USAGE}")),
        }
    }
    if !data.is_dir() {
        return Err(format!(
            "no folder {} with the measured series; name it with --data FOLDER",
            data.display()
        ));
    }
    let target = target_folder(root);
    let product = built_product(&target)?;
    let answers = target.join("bench").join("forecast");
    std::fs::create_dir_all(&answers).map_err(|e| format!("cannot make {}: {e}", answers.display()))?;
    let (python, script) = (python(root)?, root.join("scripts/forecast_peers.py"));
    let bench = Bench { data, product, python, script, answers, again };

    let mut judged = Vec::new();
    for series in SERIES {
        let outcome = bench.judge(series).map_err(|e| format!("{}: {e}", series.name))?;
        println!("{}", verdict::table(&outcome));
        judged.push(outcome);
    }
    println!("{}", verdict::summary(&judged));
    let mut outcome = Outcome::Done;
    for check in verdict::checks(&judged) {
        println!("{check}");
        if !check.met {
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// The Python that has the packages of `scripts/forecast-peers.txt`.
fn python(root: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new("bash");
    let output = output(command.arg(root.join("scripts/peers.sh")).arg("forecast-peers.txt"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

impl Bench {
    fn judge(&self, series: &'static Series) -> Result<Judged, String> {
        let file = self.data.join(series.file);
        let values = Values::read(&file, series.split.time, series.target)?;
        let steps = series.split.judged(&values);
        if steps.is_empty() {
            return Err("nothing to judge in the last days of the data".to_owned());
        }
        let issues = series.split.issues(&values);
        let naive = best_naive(&steps, series.split.naive.len());
        let entry = |name, role, seconds, said: &mut dyn Iterator<Item = f64>| {
            let errors = errors(&steps, said);
            Entry { name, role, seconds, errors, skill: skill(errors.absolute, naive) }
        };
        let mut peers = Vec::new();
        for peer in series.split.peers {
            let (said, seconds) = self.peer(peer, series, &file, issues, &steps)?;
            peers.push(entry(*peer, Role::Peer, Some(seconds), &mut said.iter().map(|said| said.mean)));
        }
        let references = series.split.references().enumerate().map(|(position, reference)| {
            let said = &mut steps.iter().map(|step| step.references[position]);
            entry(reference.name(), Role::Reference, None, said)
        });
        let (said, seconds) = self.ours(series, &file, issues, &steps)?;
        let quantiles: Option<Vec<[f64; 3]>> = said.iter().map(|said| said.quantiles).collect();
        let quantiles = quantiles.ok_or("sos forecast: the quantiles are missing")?;
        let median = &mut quantiles.iter().map(|[_, median, _]| *median);
        let ours = Ours {
            mean: entry("sos", Role::Ours, Some(seconds), &mut said.iter().map(|said| said.mean)),
            median: entry("sos, its median", Role::Ours, None, median),
            pinball: pinball(&steps, &quantiles),
            hours: coverage(&steps, &quantiles),
        };
        let others = peers.into_iter().chain(references).collect();
        Ok(Judged { series, steps: steps.len(), ours, others })
    }

    fn ours(
        &self,
        series: &Series,
        file: &Path,
        (first, last): (i64, i64),
        steps: &[Step],
    ) -> Result<(Vec<Said>, Seconds), String> {
        let Split { step, steps: leads, every, time, .. } = *series.split;
        let (start, before) = (Instant::now(), children_seconds()?);
        let output = output(
            one_thread(&self.product)
                .arg("forecast")
                .arg(file)
                .args(["--time", time, "--target", series.target, "--zone", series.zone])
                .args(["--from", &shown(first), "--to", &shown(last)])
                .args(["--horizon", &duration(leads * step), "--every", &duration(every)])
                .args(["--quantiles", &QUANTILES.join(",")]),
        )?;
        let seconds =
            Seconds { wall: start.elapsed().as_secs_f64(), processor: children_seconds()? - before };
        let text = String::from_utf8_lossy(&output.stdout);
        let said = answers(&text, steps).map_err(|e| format!("sos forecast: {e}"))?;
        Ok((said, seconds))
    }

    fn peer(
        &self,
        peer: &str,
        series: &Series,
        file: &Path,
        (first, last): (i64, i64),
        steps: &[Step],
    ) -> Result<(Vec<Said>, Seconds), String> {
        let kept = |extension: &str| self.answers.join(format!("{}-{peer}.{extension}", series.target));
        let (answer, messages) = (kept("csv"), kept("log"));
        if !(self.again && answer.is_file() && messages.is_file()) {
            let Split { step, steps: leads, every, time, .. } = *series.split;
            let output = output(
                one_thread(&self.python)
                    .arg(&self.script)
                    .arg(peer)
                    .arg(file)
                    .args(["--time", time, "--target", series.target, "--zone", series.zone])
                    .args([
                        "--from",
                        &shown(first),
                        "--to",
                        &shown(last),
                        "--every",
                        &(every / 60).to_string(),
                    ])
                    .args(["--step", &(step / 60).to_string(), "--horizon", &leads.to_string()]),
            )?;
            for (path, content) in [(&answer, output.stdout), (&messages, output.stderr)] {
                std::fs::write(path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            }
        }
        let text = |path: &Path| {
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        let said = answers(&text(&answer)?, steps).map_err(|e| format!("{peer}: {e}"))?;
        let seconds = seconds(&text(&messages)?).ok_or_else(|| format!("{peer} did not say its seconds"))?;
        Ok((said, seconds))
    }
}

/// A command whose libraries are told to use one thread.
fn one_thread(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("OMP_NUM_THREADS", "1").env("RAYON_NUM_THREADS", "1");
    command
}

/// The last line of a peer's messages: `seconds WALL PROCESSOR`.
fn seconds(messages: &str) -> Option<Seconds> {
    let (wall, processor) = messages.lines().next_back()?.strip_prefix("seconds ")?.split_once(' ')?;
    Some(Seconds { wall: wall.parse().ok()?, processor: processor.parse().ok()? })
}

/// User and system time of the children that have ended.
fn children_seconds() -> Result<f64, String> {
    const STAT: &str = "/proc/self/stat";
    /// Ticks a second, the same on every machine that runs Linux.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(STAT).map_err(|e| format!("cannot read {STAT}: {e}"))?;
    // Fields 16 and 17; the second is the program's name, which may hold blanks and ends with the last bracket.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(13).take(2);
    let ticks: Option<f64> = fields.map(|field| field.parse::<f64>().ok()).sum();
    ticks.map(|ticks| ticks / TICKS).ok_or_else(|| format!("{STAT} is not as expected: {text}"))
}

fn shown(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// As the command line of `sos` takes it: whole hours, else minutes.
fn duration(seconds: i64) -> String {
    if seconds % 3600 == 0 { format!("{}h", seconds / 3600) } else { format!("{}min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_data_folder_is_named_with_what_to_do() {
        let message = run(Path::new("."), &["--data", "no/such/folder"]).unwrap_err();
        assert!(message.contains("no/such/folder") && message.contains("--data FOLDER"), "{message}");
        assert!(run(Path::new("."), &["--date", "x"]).unwrap_err().starts_with("unknown argument `--date`"));
    }

    #[test]
    fn the_command_line_has_whole_hours_or_minutes() {
        assert_eq!((duration(24 * 3600), duration(600)), ("24h".to_owned(), "10min".to_owned()));
    }

    #[test]
    fn a_peers_time_is_its_last_message() {
        let said = seconds("warning: slow\nseconds 12.5 11.25\n");
        assert_eq!(said, Some(Seconds { wall: 12.5, processor: 11.25 }));
        assert_eq!(seconds("Traceback\n"), None);
    }

    #[test]
    fn the_processor_time_of_a_child_is_counted_once_it_has_ended() {
        let before = children_seconds().unwrap();
        output(Command::new("sh").args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])).unwrap();
        assert!(children_seconds().unwrap() > before);
    }
}
