//! How fast many services are started, and what they cost at rest.
#![expect(clippy::disallowed_methods, reason = "a measurement waits while nothing happens")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Check, built_product, output, target_folder};
use crate::Outcome;

/// Services as processes, and how long all may take until they are ready.
const PROCESSES: usize = 100;
const READY: Duration = Duration::from_secs(5);
/// Services that are played, how long a pass over them may take, and the share of one processor they may cost at rest.
const SIMULATED: usize = 1000;
const PASS: Duration = Duration::from_millis(50);
const IDLE: f64 = 0.02;
/// How long rest is watched.
const REST: Duration = Duration::from_secs(30);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is declared before the rest; nothing runs for it.
const FIRST: &str = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: { name: first }\n\
                     spec: { command: [sleep, '1'], replicas: 0 }\n";
/// Clock ticks of `/proc` in a second, fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// A `sos up` over a folder with next to nothing.
struct Up {
    sos: PathBuf,
    data: PathBuf,
    child: Child,
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended with its services, which a kill would leave.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _gone = self.child.kill();
        }
        let _ended = self.child.wait();
    }
}

/// Both measurements.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    if !arguments.is_empty() {
        return Err(format!("bench services takes nothing, not `{}`", arguments.join(" ")));
    }
    let target = target_folder(root);
    let sos = built_product(&target)?;
    let scratch = target.join("bench").join("services");
    let mut checks = Vec::new();
    let took = ready(&sos, &scratch.join("process"), "process", PROCESSES)?.0;
    let text =
        format!("{PROCESSES} process services: all ready {:.2} s after apply began", took.as_secs_f64());
    checks.push(Check::new(took <= READY, format!("{text} (at most {} s)", READY.as_secs())));
    let (took, up) = ready(&sos, &scratch.join("simulated"), "simulated", SIMULATED)?;
    println!("{SIMULATED} simulated services: all ready {:.2} s after apply began", took.as_secs_f64());
    let (idle, pass) = rest(&up)?;
    let text = format!("{SIMULATED} simulated services at rest: {:.2} % of one processor", idle * 100.0);
    checks.push(Check::new(idle <= IDLE, format!("{text} (at most {:.0} %)", IDLE * 100.0)));
    let text = format!("the longest pass over them: {:.1} ms", pass.as_secs_f64() * 1000.0);
    checks.push(Check::new(pass <= PASS, format!("{text} (at most {} ms)", PASS.as_millis())));
    checks.iter().for_each(|check| println!("{check}"));
    Ok(if checks.iter().all(|check| check.met) { Outcome::Done } else { Outcome::Failed })
}

/// Applies so many services; how long it takes until all are ready.
fn ready(sos: &Path, scratch: &Path, runtime: &str, count: usize) -> Result<(Duration, Up), String> {
    if scratch.exists() {
        std::fs::remove_dir_all(scratch).map_err(|e| format!("cannot empty {}: {e}", scratch.display()))?;
    }
    let (first, data) = (scratch.join("first"), scratch.join("data"));
    let written =
        std::fs::create_dir_all(&first).and_then(|()| std::fs::write(first.join("first.yaml"), FIRST));
    written.map_err(|e| format!("cannot write into {}: {e}", first.display()))?;
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(
            text,
            "---\napiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{ name: s{number} }}\n\
             spec: {{ runtime: {runtime}, command: [sleep, '100000'] }}\n"
        );
    }
    let manifests = scratch.join("services.yaml");
    std::fs::write(&manifests, text).map_err(|e| format!("cannot write {}: {e}", manifests.display()))?;
    let child = Command::new(sos)
        .arg("up")
        .arg(&first)
        .arg("--data-dir")
        .arg(&data)
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", sos.display()))?;
    let up = Up { sos: sos.to_owned(), data, child };
    until("the server", || up.metrics().is_ok())?;
    let began = Instant::now();
    output(up.command(&["apply", "-f"]).arg(&manifests))?;
    until("all services", || {
        up.metrics().is_ok_and(|text| sum(&text, "sos_service_ready_replicas") >= count as f64)
    })?;
    Ok((began.elapsed(), up))
}

/// What it costs when nothing happens: the share of one processor, and the longest of the passes that were seen.
fn rest(up: &Up) -> Result<(f64, Duration), String> {
    // Statuses that are still written are no rest.
    std::thread::sleep(Duration::from_secs(5));
    let (before, began) = (processor_seconds(up.child.id())?, Instant::now());
    std::thread::sleep(REST);
    let used = processor_seconds(up.child.id())? - before;
    let share = used / began.elapsed().as_secs_f64();
    let mut longest = 0.0_f64;
    for _ in 0..20 {
        longest = longest.max(sum(&up.metrics()?, "sos_services_pass_seconds"));
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok((share, Duration::from_secs_f64(longest)))
}

impl Up {
    fn command(&self, arguments: &[&str]) -> Command {
        let file = |name: &str| std::fs::read_to_string(self.data.join(name)).unwrap_or_default();
        let mut command = Command::new(&self.sos);
        command
            .args(arguments)
            .env("SOS_SERVER", file("server").trim())
            .env("SOS_TOKEN", file("token").trim());
        command
    }

    fn metrics(&self) -> Result<String, String> {
        let file = |name: &str| std::fs::read_to_string(self.data.join(name)).map_err(|e| e.to_string());
        let (server, token) = (file("server")?, file("token")?);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--max-time", "10"]);
        curl.args(["--header", &format!("Authorization: Bearer {}", token.trim())]);
        let told = output(curl.arg(format!("{}/metrics", server.trim())))?;
        String::from_utf8(told.stdout).map_err(|e| e.to_string())
    }
}

/// The sum of a metric over all its labels.
fn sum(exposition: &str, name: &str) -> f64 {
    let lines = exposition.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with([' ', '{'])).filter_map(|rest| rest.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

/// Processor time of a process and its threads so far.
fn processor_seconds(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
    // The name of the program may hold spaces; after it come the state and, as 12th and 13th, the times.
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS)
}

fn until(what: &str, is_there: impl Fn() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !is_there() {
        if began.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(20)); // between two looks
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is() {
        let text = "# TYPE a gauge\na{x=\"1\"} 2\na{x=\"2\"} 3.5\na_b 9\na 1\n";
        assert!((sum(text, "a") - 6.5).abs() < 1e-9);
    }

    #[test]
    fn the_processor_time_of_this_process_is_read() {
        assert!(processor_seconds(std::process::id()).is_ok_and(|seconds| seconds >= 0.0));
    }
}
