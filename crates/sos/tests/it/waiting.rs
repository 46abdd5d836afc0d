//! Workflows that wait for power: the plan of a simulated site in lock-step decides when they begin, over power cuts, in pieces.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Rig, Server, wait_for};

/// Midnight of the first day of the site's data.
const BEGIN: &str = "2026-01-05T00:00:00Z";

fn at(hours: i64) -> Timestamp {
    BEGIN.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

/// A site that nothing is behind, and its prices and carbon: both low in these hours of each day.
fn site(low: &[i64]) -> (String, String) {
    let manifest = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: {name: home}
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  horizon: 24 h
  replay: true
  connection:
    importPrice: {signal: price}
    carbonIntensity: {signal: carbon}
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: {name: price}
spec: {unit: EUR/kWh, knownAhead: always, source: {file: {path: grid.csv, column: price}}}
---
apiVersion: sos.energy/v1alpha1
kind: Signal
metadata: {name: carbon}
spec: {unit: kg/kWh, knownAhead: always, source: {file: {path: grid.csv, column: carbon}}}
";
    let row = |hour: i64| {
        let (price, carbon) = if low.contains(&(hour % 24)) { (0.1, 0.1) } else { (0.3, 0.4) };
        format!("{},{price},{carbon}\n", at(hour))
    };
    (manifest.to_owned(), format!("time,price,carbon\n{}", (0..240).map(row).collect::<String>()))
}

/// The manifest of the documentation's section about work that may wait.
fn documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflows.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("## Work that may wait\n").nth(1).expect("the section");
    section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

fn rig(low: &[i64], workflow: &str) -> Rig {
    let (site, grid) = site(low);
    Rig::of(&[("site.yaml", &site), ("grid.csv", &grid), ("w.yaml", workflow)])
}

/// A server whose site time passes slowly, from an hour on or from where it was.
fn slowly(rig: Rig, from: Option<i64>) -> Server {
    let from = from.map(|hours| at(hours).to_string());
    let mut args = vec!["--speed", "300"];
    args.extend(from.iter().flat_map(|from| ["--from", from.as_str()]));
    Server::over_with(rig, &args)
}

/// In lock-step up to an hour, to the end.
fn swiftly(rig: &Rig, until: i64, report: &str) {
    let (until, report) = (at(until).to_string(), rig.path(report).display().to_string());
    rig.up_with(&["--speed", "max", "--seed", "1", "--until", &until, "--report", &report]).finish();
}

fn start(server: &Server, workflow: &str) -> String {
    let ran = server.sos(&["start", workflow]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

fn show(server: &Server, run: &str) -> Value {
    server.answer(&["describe", "run", run])["status"].clone()
}

/// How a run stands once there is a plan for what it waits with.
fn planned(server: &Server, run: &str) -> Value {
    wait_for("a plan", || {
        let work = show(server, run)["work"][0].clone();
        work["saves"].is_object().then_some(work)
    })
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

fn lines(rig: &Rig, name: &str) -> usize {
    std::fs::read_to_string(rig.manifests.join(name)).map_or(0, |text| text.lines().count())
}

/// Ends a server as a power cut would.
fn cut(server: Server) -> Rig {
    let Server { rig, up, .. } = server;
    up.kill();
    rig
}

#[test]
fn a_run_waits_for_cheap_hours_and_goes_on_after_a_power_cut() {
    let rig = rig(&[2, 3, 4], &documented());
    let server = slowly(rig, Some(20));
    let run = start(&server, "nightly");
    let work = planned(&server, &run);
    assert_eq!((&work["state"], &work["site"]), (&Value::from("waiting"), &Value::from("home")), "{work}");
    assert!((at(26)..=at(27)).contains(&time(&work["planned"])), "{work}");
    assert_eq!(time(&work["deadline"]), at(30), "the next morning: {work}");
    // Two kilowatt-hours, each 0.2 EUR and 0.3 kg lower.
    let saves =
        |work: &Value| (work["saves"]["money"].as_f64().unwrap(), work["saves"]["kgCO2e"].as_f64().unwrap());
    let (money, kg) = saves(&work);
    assert!((money - 0.4).abs() < 1e-3 && (kg - 0.6).abs() < 1e-3, "{work}");
    assert!(work["because"].as_str().unwrap().contains("waits for 0"), "{work}");
    let plan = server.answer(&["plan", "home"]).to_string();
    assert!(plan.contains(&format!("nightly/{run}")), "it is part of the site's plan: {plan}");
    let rig = cut(server);
    assert_eq!(lines(&rig, "done.txt"), 0);
    swiftly(&rig, 36, "report.json");
    let server = slowly(rig, None);
    let status = show(&server, &run);
    assert_eq!(status["state"], "completed", "{status}");
    let work = &status["work"][0];
    assert_eq!(work["state"], "done", "{work}");
    assert!((at(26)..=at(27)).contains(&time(&work["at"])), "it began in the cheap hours: {work}");
    assert!((saves(work).0 - 0.4).abs() < 1e-3, "{work}");
    assert_eq!(lines(&server.rig, "done.txt"), 1, "once");
    let text = server.sos(&["describe", "run", &run]).stdout;
    assert!(text.contains("saves:") && text.contains("kgCO2e") && text.contains("because:"), "{text}");
    let events = server.sos(&["events"]).stdout;
    assert!(events.contains("WorkBegins") && events.contains("against beginning at once"), "{events}");
    // Its energy is in the books, where it was and where it would have been.
    let report = server.rig.report("report.json");
    let cost = &report["sites"][0]["cost"];
    let figure = |case: &str| cost[case].as_f64().unwrap();
    assert!((figure("baseline") - figure("actual") - 0.4).abs() < 1e-6, "{cost}");
    assert!((figure("perfect") - figure("actual")).abs() < 1e-3, "{cost}");
}

/// Six steps that may pause between each other, two hours of work.
const PIECES: &str = "apiVersion: sos.energy/v1alpha1
kind: Workflow
metadata: {name: pieces}
spec:
  shell: {}
  flexible: {site: home, energy: 2 kWh, power: 1 kW, within: 12 h, interruptible: true}
  document: |
    document: {dsl: '1.0.3', namespace: test, name: pieces, version: '1.0.0'}
    do:
    - steps:
        for: {each: n, in: '[1, 2, 3, 4, 5, 6]'}
        do:
        - work: {run: {shell: {command: 'echo step >> steps.txt'}}}
        - note: {set: {done: '${ $n }'}}
";

#[test]
fn a_run_that_may_pause_is_done_in_the_cheap_hours_in_pieces() {
    let rig = rig(&[1, 4], PIECES);
    let server = slowly(rig, Some(22));
    let run = start(&server, "pieces");
    let work = planned(&server, &run);
    assert_eq!(time(&work["planned"]), at(25), "{work}");
    let rig = cut(server);
    // Between the two cheap hours: four ticks, a step in each.
    swiftly(&rig, 27, "first.json");
    assert_eq!(lines(&rig, "steps.txt"), 4);
    let server = slowly(rig, None);
    let status = wait_for("the run to be read again", || {
        let status = show(&server, &run);
        (status["work"][0]["pieces"].as_array().map(Vec::len) == Some(4)).then_some(status)
    });
    assert_eq!(status["work"][0]["state"], "at work", "{status}");
    assert_ne!(status["state"], "completed");
    let rig = cut(server);
    swiftly(&rig, 36, "second.json");
    let server = slowly(rig, None);
    let status = show(&server, &run);
    assert_eq!(status["state"], "completed", "{status}");
    let hours: Vec<i64> = status["work"][0]["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| time(&piece["at"]).duration_since(at(0)).as_hours())
        .collect();
    assert_eq!(hours, [25, 25, 25, 25, 28, 28], "{status}");
    assert_eq!(lines(&server.rig, "steps.txt"), 6, "each once");
    let cost = &server.rig.report("second.json")["sites"][0]["cost"];
    let saved = cost["baseline"].as_f64().unwrap() - cost["actual"].as_f64().unwrap();
    assert!((saved - 0.4).abs() < 1e-6, "{cost}");
}

/// A task that waits, and one beside it that does not.
const TASK: &str = "apiVersion: sos.energy/v1alpha1
kind: Workflow
metadata: {name: beside}
spec:
  shell: {}
  document: |
    document: {dsl: '1.0.3', namespace: test, name: beside, version: '1.0.0'}
    do:
    - both:
        fork:
          branches:
          - heavy:
              run: {shell: {command: 'echo heavy >> heavy.txt'}}
              metadata: {flexible: {site: home, energy: 1 kWh, power: 1 kW, within: 4 h}}
          - light: {run: {shell: {command: 'echo light >> light.txt'}}}
";

#[test]
fn a_task_waits_while_others_go_on_and_what_rests_keeps_its_deadline() {
    let rig = rig(&[3], TASK);
    let server = slowly(rig, Some(0));
    let run = start(&server, "beside");
    wait_for("the task beside it", || (lines(&server.rig, "light.txt") == 1).then_some(()));
    let work = planned(&server, &run);
    assert_eq!(work["task"], "/do/0/both/fork/branches/0/heavy", "{work}");
    let deadline = time(&work["deadline"]);
    assert_eq!(server.sos(&["suspend", &run]).code, 0);
    assert!(show(&server, &run)["work"][0]["planned"].is_null(), "what rests is not planned");
    assert_eq!(server.sos(&["resume", &run]).code, 0);
    assert_eq!(time(&planned(&server, &run)["deadline"]), deadline);
    let rig = cut(server);
    swiftly(&rig, 10, "report.json");
    let server = slowly(rig, None);
    let status = show(&server, &run);
    assert_eq!(status["state"], "completed", "{status}");
    assert!(time(&status["work"][0]["at"]) + SignedDuration::from_hours(1) <= deadline, "{status}");
    assert_eq!((lines(&server.rig, "heavy.txt"), lines(&server.rig, "light.txt")), (1, 1));
}

#[test]
fn wrong_values_and_sites_that_are_not_there_are_told() {
    let wrong = TASK.replace("within: 4 h", "within: 30 min").replace("site: home", "site: hom");
    let rig = rig(&[1], &wrong);
    let ran = crate::cli::sos(&rig.manifests, &["validate", "."]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("heavy.metadata.flexible") && ran.stderr.contains("30 min"),
        "{}",
        ran.stderr
    );
    let whole = PIECES.replace("site: home", "site: hom");
    let rig = self::rig(&[1], &whole);
    let ran = crate::cli::sos(&rig.manifests, &["validate", "."]);
    assert!(ran.code == 2 && ran.stderr.contains("no Site is named \"hom\""), "{}", ran.stderr);
    assert!(ran.stderr.contains("w.yaml:6:"), "{}", ran.stderr);
}
