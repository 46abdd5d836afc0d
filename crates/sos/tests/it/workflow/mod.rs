//! Workflows by scenarios in the language of the conformance kit: those of `cases/workflow/kit`, and the official ones in a folder that
//! `WORKFLOW_CASES_DIR` names. Each runs through `sos run`, as people run it; what documents call is answered here.

mod asyncapi;
mod examples;
mod feature;
mod lifecycle;
mod live;
mod peers;
mod played;
mod server;
pub(crate) mod stub;
mod tokens;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use self::feature::{Expected, Scenario, Then};
use self::stub::{Kill, Stub};
use crate::skipped::skipped;

/// What a run came to.
struct Ran {
    exit: i32,
    output: Option<Value>,
    /// The last line of stderr.
    error: Option<Value>,
    stderr: String,
    /// Task and event, in their order.
    trace: Vec<(String, String)>,
}

fn features(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "feature")).collect();
    files.sort();
    files
}

fn run(scenario: &Scenario, stub: &Stub, data: Option<&Path>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let (document, input, trace) =
        (folder.path().join("w.yaml"), folder.path().join("i.yaml"), folder.path().join("t"));
    std::fs::write(&document, &scenario.definition).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
    command
        .arg("run")
        .arg(&document)
        .arg("--trace")
        .arg(&trace)
        .args(["--timeout", "60s"])
        .arg("--allow-shell");
    if let Some(text) = &scenario.input {
        std::fs::write(&input, text).unwrap();
        command.arg("--input").arg(format!("@{}", input.display()));
    }
    if let Some(data) = data {
        command.arg("--data-dir").arg(data);
    }
    for secret in &scenario.secrets {
        command.arg("--secret").arg(secret);
    }
    for resolved in stub.resolved() {
        command.arg("--resolve").arg(resolved);
    }
    command.arg("--ca-file").arg(&stub.authority);
    let done = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    let lines = std::fs::read_to_string(&trace).unwrap_or_default();
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["task"].as_str().unwrap().to_owned(), value["event"].as_str().unwrap().to_owned())
    };
    Ran {
        exit: done.status.code().unwrap_or(-1),
        output: serde_json::from_slice(&done.stdout).ok(),
        error: stderr.lines().last().and_then(|line| serde_json::from_str(line).ok()),
        stderr,
        trace: lines.lines().map(line).collect(),
    }
}

/// What of a scenario does not hold.
fn objection(scenario: &Scenario, ran: &Ran) -> Option<String> {
    scenario.then.iter().find_map(|then| broken(then, ran))
}

fn broken(then: &Then, ran: &Ran) -> Option<String> {
    let first = |task: &str| ran.trace.iter().position(|(name, event)| name == task && event == "started");
    let output = || ran.output.clone().unwrap_or_default();
    let check = |holds: bool, text: String| (!holds).then_some(text);
    match then {
        Then::Completes(expected) => match expected {
            _ if ran.exit != 0 => Some(format!("it did not complete: exit code {}", ran.exit)),
            Some(expected) => {
                check(same(&output(), expected), format!("output {}, expected {expected}", output()))
            }
            None => None,
        },
        Then::Faults(expected) => match (expected, &ran.error) {
            _ if ran.exit != 1 => Some(format!("it did not fault: exit code {}", ran.exit)),
            (_, None) => Some("no error as the last line of stderr".to_owned()),
            (Some(Value::Object(wanted)), Some(error)) => wanted
                .iter()
                .find(|(name, value)| !is_error(name, value, &error[name.as_str()]))
                .map(|(name, value)| format!("error {error}, expected {name}: {value}")),
            _ => None,
        },
        Then::HasProperties(paths) => {
            let missing = paths.iter().find(|path| at(&output(), path).is_none());
            missing.map(|path| format!("no property {path} in {}", output()))
        }
        Then::HasProperty(path, Expected::Value(value)) => {
            let found = at(&output(), path);
            let holds = found.as_ref().is_some_and(|found| same(found, value));
            check(holds, format!("{path} is {found:?}, expected {value}"))
        }
        Then::HasProperty(path, Expected::Items(count)) => {
            let found = at(&output(), path).and_then(|found| found.as_array().map(Vec::len));
            check(found == Some(*count), format!("{path} has {found:?} items, expected {count}"))
        }
        Then::RunsFirst(task) => {
            let begun = ran.trace.iter().find(|(_, event)| event == "started");
            check(
                begun.is_some_and(|(name, _)| name == task),
                format!("{task} is not the first: {:?}", ran.trace),
            )
        }
        Then::RunsLast(task) => {
            let begun = ran.trace.iter().rfind(|(_, event)| event == "started");
            check(
                begun.is_some_and(|(name, _)| name == task),
                format!("{task} is not the last: {:?}", ran.trace),
            )
        }
        Then::RunsAfter(task, other) => {
            let holds = first(task).zip(first(other)).is_some_and(|(task, other)| task > other);
            check(holds, format!("{task} does not run after {other}: {:?}", ran.trace))
        }
        Then::TaskIs(task, event) => {
            let holds = ran.trace.iter().any(|(name, what)| name == task && what == event);
            check(holds, format!("{task} was not {event}: {:?}", ran.trace))
        }
        Then::TaskRuns(task, times) => {
            let found = ran.trace.iter().filter(|(name, event)| name == task && event == "started").count();
            check(found == *times, format!("{task} ran {found} times, expected {times}"))
        }
    }
}

/// Types of errors are the same by their last part.
fn is_error(name: &str, wanted: &Value, found: &Value) -> bool {
    match (name, wanted.as_str(), found.as_str()) {
        ("type", Some(wanted), Some(found)) => wanted.rsplit('/').next() == found.rsplit('/').next(),
        _ => same(wanted, found),
    }
}

/// Numbers are the same by their value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn at(value: &Value, path: &str) -> Option<Value> {
    path.split('.').try_fold(value, |value, name| value.get(name)).cloned()
}

fn hold(folder: &Path, least: usize) {
    let Some(stub) = Stub::start() else { return };
    let scenarios: Vec<Scenario> = features(folder).iter().flat_map(|file| feature::read(file)).collect();
    assert!(scenarios.len() >= least, "{} scenarios in {}", scenarios.len(), folder.display());
    let failed: Vec<String> = scenarios
        .iter()
        .filter_map(|scenario| {
            let ran = run(scenario, &stub, None);
            let objection = objection(scenario, &ran)?;
            Some(format!("{}: {objection}\n{}", scenario.name, ran.stderr))
        })
        .collect();
    eprintln!("{} of {} scenarios hold", scenarios.len() - failed.len(), scenarios.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn own_scenarios_hold() {
    hold(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/workflow/kit"), 20);
}

#[test]
fn scenarios_of_the_official_kit_hold() {
    let Some(folder) = std::env::var_os("WORKFLOW_CASES_DIR") else {
        skipped("WORKFLOW_CASES_DIR names no folder of the official kit");
        return;
    };
    hold(&Path::new(&folder).join("ctk/features"), 21);
}

/// A run that is broken off after any line of its journal, in the middle of the next, comes to the same end, and calls with the keys that
/// it had before.
fn hold_after_any_line(folder: &Path) {
    let Some(stub) = Stub::start() else { return };
    let heard = || -> BTreeSet<String> {
        std::mem::take(&mut *stub.calls.heard.lock().unwrap()).into_iter().map(|(_, key)| key).collect()
    };
    let (mut broken, mut failed) = (0, Vec::new());
    for scenario in features(folder).iter().flat_map(|file| feature::read(file)) {
        let data = tempfile::tempdir().unwrap();
        heard();
        let whole = run(&scenario, &stub, Some(data.path()));
        let keys = heard();
        // A document that is refused has none.
        let Some(journal) = std::fs::read_dir(data.path()).ok().and_then(|mut files| files.next()) else {
            continue;
        };
        let journal = journal.unwrap().path();
        let name = journal.file_stem().unwrap().to_str().unwrap().to_owned();
        let digest = name.strip_prefix("ended-").and_then(|rest| rest.split_once('-')).unwrap().0;
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::remove_file(&journal).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for kept in 1..=lines.len() {
            broken += 1;
            let torn = lines.get(kept).map_or("", |line| &line[..line.len() / 2]);
            let open = data.path().join(format!("open-{digest}.jsonl"));
            std::fs::write(open, lines[..kept].join("\n") + "\n" + torn).unwrap();
            let again = run(&scenario, &stub, Some(data.path()));
            let more: Vec<String> = heard().difference(&keys).cloned().collect();
            // What ran before is not in its trace.
            let said = |then: &&Then| {
                matches!(
                    then,
                    Then::Completes(_) | Then::Faults(_) | Then::HasProperties(_) | Then::HasProperty(..)
                )
            };
            let objection = scenario.then.iter().filter(said).find_map(|then| self::broken(then, &again));
            let objection =
                objection.or_else(|| (again.exit != whole.exit).then(|| format!("exit {}", again.exit)));
            let objection = objection.or_else(|| (!more.is_empty()).then(|| format!("new keys {more:?}")));
            if let Some(why) = objection {
                failed.push(format!("{} after line {kept}: {why}\n{}", scenario.name, again.stderr));
            }
        }
    }
    eprintln!("{broken} runs were broken off, {} came to another end", failed.len());
    assert!(broken > 50 && failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn own_scenarios_broken_off_after_any_line_of_their_journals_come_to_the_same_end() {
    hold_after_any_line(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/workflow/kit"));
}

#[test]
fn official_scenarios_broken_off_after_any_line_of_their_journals_come_to_the_same_end() {
    let Some(folder) = std::env::var_os("WORKFLOW_CASES_DIR") else {
        skipped("WORKFLOW_CASES_DIR names no folder of the official kit");
        return;
    };
    hold_after_any_line(&Path::new(&folder).join("ctk/features"));
}

/// Calls one after the other, side by side, in a loop, again after an error, and a wait between them.
const CALLING: &str = r#"
document: { dsl: '1.0.3', namespace: a, name: calling, version: '1.0.0' }
do:
  - first: { call: http, with: { method: post, endpoint: 'https://stub.example/anything', body: { n: 1 } }, output: { as: '{ n: .body.n }' } }
  - both:
      fork:
        branches:
          - a: { call: http, with: { method: post, endpoint: 'https://stub.example/anything', body: { n: 2 } }, output: { as: .body.n } }
          - b: { call: http, with: { method: post, endpoint: 'https://stub.example/anything', body: { n: 3 } }, output: { as: .body.n } }
      output: { as: '{ sum: add, items: [] }' }
  - pause: { wait: { milliseconds: 30 } }
  - each:
      for: { each: x, in: '[10, 20]' }
      do:
        - one: { call: http, with: { method: post, endpoint: 'https://stub.example/anything', body: { n: '${ $x }' } }, output: { as: '{ sum: $task.input.sum, items: ($task.input.items + [.body.n]) }' } }
  - again:
      try:
        - bad: { call: http, with: { method: post, endpoint: 'https://stub.example/status/503' } }
      catch: { retry: { delay: { milliseconds: 10 }, limit: { attempt: { count: 1 } } } }
"#;

#[test]
fn a_run_that_is_killed_around_each_call_comes_to_the_same_end() {
    let Some(stub) = Stub::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yaml");
    std::fs::write(&file, CALLING).unwrap();
    let data = folder.path().join("data");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        command.arg("run").arg(&file).arg("--data-dir").arg(&data).arg("--ca-file").arg(&stub.authority);
        command.args(["--timeout", "60s", "--resolve", &format!("stub.example=127.0.0.1:{}", stub.port)]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let output = |child: Child| {
        let done = child.wait_with_output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let heard = || std::mem::take(&mut *stub.calls.heard.lock().unwrap());
    let (done, expected) = output(start());
    assert!(done && expected == "{\"items\":[10,20],\"sum\":5}\n", "{expected}");
    let calls = heard();
    assert_eq!(calls.len(), 7);
    let keys = |calls: &[(String, String)]| -> BTreeSet<String> {
        calls.iter().map(|(_, key)| key.split_once('/').unwrap().1.to_owned()).collect()
    };
    for at in 1..=calls.len() {
        // After the answer to its last call it may be done before it is killed.
        for answered in [false, true].into_iter().take(if at < calls.len() { 2 } else { 1 }) {
            // The process has to be known before it calls: its first call comes after this thread let it.
            let hold = stub.calls.heard.lock().unwrap();
            let child = start();
            *stub.calls.kill.lock().unwrap() = Some(Kill { at, answered, process: child.id() });
            drop(hold);
            assert!(!output(child).0, "killed by call {at}");
            let (done, again) = output(start());
            assert!(done && again == expected, "killed by call {at}: {again}");
            let all = heard();
            assert_eq!(keys(&all), keys(&calls), "a call that is repeated has the same key");
            // The call by which it was killed is made again, and one beside it may be.
            assert!((calls.len()..=calls.len() + 2).contains(&all.len()), "killed by call {at}: {all:?}");
        }
    }
}

#[test]
fn the_workflow_of_the_documentation_does_what_is_said() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflows.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = |kind: &str| -> Vec<String> {
        let open = format!("```{kind}\n");
        page.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("offer.yaml"), &blocks("yaml")[0]).unwrap();
    let (commands, answers) = (blocks("sh"), blocks("json"));
    // What follows is asked of a server; see `server.rs`.
    assert_eq!((commands.len(), answers.len()), (3, 2));
    for (command, answer) in commands.iter().zip(&answers) {
        let binary = Path::new(env!("CARGO_BIN_EXE_sos")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let shell =
            Command::new("sh").args(["-c", command]).env("PATH", path).current_dir(folder.path()).output();
        let shell = shell.unwrap();
        let said = if shell.status.success() { shell.stdout } else { shell.stderr };
        assert_eq!(String::from_utf8_lossy(&said), *answer);
    }
    let manifests = blocks("yaml");
    let head = "document: {dsl: '1.0.3', namespace: n, name: more, version: '1.0.0'}\nuse: {functions: {cancelBooking: {set: {a: 1}}}}\n";
    std::fs::write(folder.path().join("more.yaml"), format!("{head}{}", manifests[2])).unwrap();
    let more = manifests[1].replace("offer", "more");
    std::fs::write(folder.path().join("manifests.yaml"), format!("{}---\n{more}", manifests[1])).unwrap();
    let validated =
        Command::new(env!("CARGO_BIN_EXE_sos")).arg("validate").arg(folder.path()).output().unwrap();
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));
}

#[test]
fn what_is_wrong_with_a_document_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yaml");
    let head = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\n";
    let said = |text: &str, more: &[&str]| {
        std::fs::write(&file, format!("{head}{text}")).unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_sos")).arg("run").arg(&file).args(more).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, text) = said("do: [{a: {sett: {x: 1}}}, {b: {set: {x: 1}, then: c}}]", &[]);
    assert!(code == 2 && text.contains("w.yaml:2:10") && text.contains("did you mean \"set\"?"), "{text}");
    assert!(text.contains("there is no task \"c\"") && text.contains("2 problems found"), "{text}");
    let (code, text) = said("do: [{a: {sett: {x: 1}}}, {b: {set: {x: '${ .a + }'}}}]", &[]);
    assert!(code == 2 && text.contains("without a kind") && text.contains("cannot be read"), "{text}");
    let (code, text) = said("input: {schema: {resource: {endpoint: '${ .at }'}}}\ndo: []", &[]);
    assert!(
        code == 2 && text.contains("is an expression") && text.contains("input.schema.resource"),
        "{text}"
    );
    let (code, text) = said("do:\n- a:\n    set: {x: '${ .a + }', y: '${ $contxt }'}", &[]);
    assert!(
        code == 2 && text.contains("w.yaml:4:14: do[0].a.set.x: the expression cannot be read"),
        "{text}"
    );
    assert!(text.contains("unknown variable `$contxt`; known: $context, $input"), "{text}");
    let (code, text) = said(
        "do:\n- a: {set: {x: 1}, metadata: {flexible: {site: home, energy: 2 kWh, power: 1 kW, within: 5}}}",
        &[],
    );
    assert!(
        code == 2 && text.contains("w.yaml:3:") && text.contains("do[0].a.metadata.flexible: within"),
        "{text}"
    );
    let (code, text) = said("use: {secrets: [key]}\ndo: [{a: {set: {x: 1}}}]", &["--secret", "key"]);
    assert!(code == 2 && text.contains("expected NAME=VALUE"), "{text}");
    let (code, text) = said("do: [{a: {set: {x: 1}}}]", &["--input", "{"]);
    assert!(code == 2 && text.contains("--input is no JSON"), "{text}");
    let (code, text) = said("do: [{a: {run: {shell: {command: 'echo hi'}}}}]", &[]);
    assert!(code == 1 && text.contains("--allow-shell") && text.contains("/authorization"), "{text}");
    let (code, text) = said("do: [{a: {set: {x: '${ def f: f; f }'}}}]", &[]);
    assert!(code == 1 && text.contains("it did not end within"), "{text}");
}

#[test]
fn documents_are_validated_alone_and_with_their_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let head = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\n";
    let manifest =
        "apiVersion: sos.energy/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {file: w.yaml}\n";
    std::fs::write(folder.path().join("m.yaml"), manifest).unwrap();
    let said = |text: &str, of: &str| {
        std::fs::write(folder.path().join("w.yaml"), format!("{head}{text}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        let done = command.arg("validate").arg(of).current_dir(folder.path()).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
    };
    let well = "do: [{a: {set: {x: 1}}}]";
    assert_eq!(said(well, "w.yaml"), (0, "1 resources are valid: 1 workflow documents\n".to_owned()));
    assert_eq!(said(well, "."), (0, "2 resources are valid: 1 Workflow, 1 workflow documents\n".to_owned()));
    for wrong in [
        "do: [{a: {set: {x: '${ .a + }'}}}]",
        "do: [{a: {set: {x: '${ $contxt }'}}}]",
        "evaluate: {language: js}\ndo: []",
        "input: {schema: {format: avro, document: {}}}\ndo: []",
        "do: [{a: {sett: {x: 1}}}]",
    ] {
        for of in ["w.yaml", "m.yaml", "."] {
            let (code, text) = said(wrong, of);
            assert_eq!(code, 2, "{of} {wrong}: {text}");
            assert_eq!(text.matches("w.yaml:2:").count(), 1, "{of} {wrong}: {text}");
            assert!(!text.contains("error: :"), "{text}");
        }
    }
}
