//! The examples of the specification, in the folder that `WORKFLOW_CASES_DIR` names: each is run as `cases/workflow/examples.yaml` says, against
//! services that are played, and comes to what stands there.

mod containers;
mod greeter;
mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::is_error;
use super::stub::Stub;
use crate::skipped::skipped;

/// How many examples run at the same time: most of them wait.
const TOGETHER: usize = 4;

/// An example, and what is given to it.
struct Case {
    /// The name of its file, and which of its cases it is.
    name: String,
    file: PathBuf,
    told: Value,
}

impl Case {
    fn texts(&self, key: &str) -> Vec<String> {
        let all = self.told[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn on(&self) -> &str {
        self.told["on"].as_str().unwrap_or("run")
    }

    /// What of an end is not as it is told.
    fn objection(&self, end: &Result<Value, Value>) -> Option<String> {
        let Self { told, .. } = self;
        match (end, told.get("output"), told.get("fault")) {
            (Ok(output), Some(expected), None) => {
                (!fits(expected, output)).then(|| format!("output {output}, expected {expected}"))
            }
            (Err(fault), None, Some(Value::Object(expected))) => expected
                .iter()
                .find(|(name, value)| !is_error(name, value, &fault[name.as_str()]))
                .map(|(name, value)| format!("fault {fault}, expected {name}: {value}")),
            _ => Some(format!("it came to {end:?}")),
        }
    }

    /// What of the calls is not as it is told.
    fn miscalled(&self, lines: Vec<String>) -> Option<String> {
        let mut expected = self.texts("calls");
        let mut found = lines;
        expected.sort();
        found.sort();
        let told = self.told.get("calls").is_some();
        (told && found != expected).then(|| format!("called {found:?}, expected {expected:?}"))
    }
}

/// Whether a value is what is expected, where there may be parts that can be anything.
fn fits(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "<any>" => true,
        (Value::Object(expected), Value::Object(found)) => {
            let more = expected.contains_key("<more>");
            let known = expected.iter().filter(|(name, _)| *name != "<more>");
            known.clone().all(|(name, value)| found.get(name).is_some_and(|found| fits(value, found)))
                && (more || found.len() == known.count())
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| fits(a, b))
        }
        _ => super::same(expected, found),
    }
}

/// The folder of the examples; none, and the test is skipped, where it is not named.
fn folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WORKFLOW_CASES_DIR") else {
        skipped("WORKFLOW_CASES_DIR names no folder with the examples of the specification");
        return None;
    };
    Some(Path::new(&folder).join("examples"))
}

/// The table, case by case.
fn table(folder: &Path) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/workflow/examples.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let table = sos_workflow::read(&text).unwrap_or_else(|problems| panic!("{problems}")).root().to_json();
    let mut cases: Vec<Case> = Vec::new();
    for told in table.as_array().unwrap().clone() {
        let example = told["example"].as_str().unwrap().to_owned();
        let before = cases.iter().filter(|case| case.told["example"] == *example).count();
        let name = format!("{example}, case {}", before + 1);
        cases.push(Case { name, file: folder.join(format!("{example}.yaml")), told });
    }
    cases
}

/// The cases that run in a way, those that are slow or the others.
fn cases(folder: &Path, on: &str, slow: bool) -> Vec<Case> {
    let mut cases = table(folder);
    cases.retain(|case| {
        case.on() == on && case.told.get("later").is_none() && case.told.get("slow").is_some() == slow
    });
    assert!(!cases.is_empty(), "no cases on {on}");
    cases
}

/// Runs cases, some at the same time, and fails with all that is wrong.
fn hold(cases: &[Case], objection: impl Fn(&Case) -> Option<String> + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(objection(case).map(|why| format!("{}: {why}", case.name)));
        }
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    eprintln!("{} of {} cases hold", cases.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case by `sos run`, with what else the command is told; how it ended, and what it said.
fn run(case: &Case, more: impl FnOnce(&mut Command, &Path)) -> (Result<Value, Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("example.yaml");
    std::fs::copy(&case.file, &document).unwrap();
    for (name, text) in case.told["beside"].as_object().into_iter().flatten() {
        std::fs::write(folder.path().join(name), text.as_str().unwrap()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
    command.arg("run").arg(&document).args(["--timeout", "200s"]);
    let input = case.told.get("input").cloned().unwrap_or_else(|| json!({}));
    command.arg("--input").arg(input.to_string());
    for (name, value) in case.told["secrets"].as_object().into_iter().flatten() {
        command.arg("--secret").arg(format!("{name}={value}"));
    }
    more(&mut command, folder.path());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let end = match done.status.code() {
        Some(0) => serde_json::from_slice(&done.stdout).map_err(|_| Value::from("no JSON")),
        _ => {
            let last = said.lines().last().unwrap_or_default();
            Err(serde_json::from_str(last).unwrap_or_else(|_| Value::from(last)))
        }
    };
    (end, said)
}

fn by_run(case: &Case) -> Option<String> {
    let stub = Stub::start()?;
    let (end, said) = run(case, |command, _| {
        command.arg("--allow-shell").arg("--ca-file").arg(&stub.authority);
        for resolved in stub.resolved() {
            command.arg("--resolve").arg(resolved);
        }
    });
    let lines = std::mem::take(&mut *stub.calls.lines.lock().unwrap());
    let objection = case.objection(&end).or_else(|| case.miscalled(lines));
    objection.map(|why| format!("{why}\n{said}"))
}

#[test]
fn every_example_is_valid_and_in_the_table() {
    let Some(folder) = folder() else { return };
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let checked = sos_workflow::read(&text).and_then(|document| document.check());
        assert!(checked.is_ok(), "{}: {}", file.display(), checked.unwrap_err());
        found.insert(file.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    let table = table(&folder);
    let named: BTreeSet<String> =
        table.iter().map(|case| case.told["example"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, named);
    let later = table.iter().filter(|case| case.told.get("later").is_some()).count();
    eprintln!("{} examples, {later} of them left out", found.len());
}

#[test]
fn examples_run_alone() {
    let Some(folder) = folder() else { return };
    if Stub::start().is_some() {
        hold(&cases(&folder, "run", false), by_run);
    }
}

#[test]
#[ignore = "slow: examples that wait for half a minute"]
fn examples_that_wait_run_alone() {
    let Some(folder) = folder() else { return };
    if Stub::start().is_some() {
        hold(&cases(&folder, "run", true), by_run);
    }
}
