//! The example in lock-step: repeatable, balanced, and continued where it was stopped.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Rig, commands, csv_watt_seconds, services, tick, wait_for};

const KWH: f64 = 3.6e6;

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report:#}"))
}

#[test]
fn the_same_seed_gives_the_same_report_but_for_timings() {
    let (one, other) = (Rig::new(), Rig::new());
    let (first, second) = (one.up(288, "r.json", &[]), other.up(288, "r.json", &[]));
    first.finish();
    second.finish();
    for rig in [&one, &other] {
        for service in rig.report("r.json")["services"].as_array().unwrap() {
            let name = service["name"].as_str().unwrap();
            assert_eq!(service["restarts"], 0, "{name}: {:#?}", rig.events("Service", name));
        }
    }
    assert_eq!(one.same_report("r.json"), other.same_report("r.json"));
    assert_eq!(number(&one.report("r.json"), "/sites/0/steps"), 288.0);
    assert!(services(&one).is_empty(), "at its end sos stops what it started");
}

#[test]
fn a_second_up_after_the_end_gives_the_same_report_again() {
    let rig = Rig::new();
    rig.up(100, "r.json", &[]).finish();
    rig.up(100, "again.json", &[]).finish();
    assert_eq!(rig.same_report("r.json"), rig.same_report("again.json"));
}

#[test]
fn twenty_days_save_money_and_everything_balances() {
    let rig = Rig::new();
    rig.up(1920, "r.json", &[]).finish();
    let report = rig.report("r.json");
    let site = |name: &str| number(&report, &format!("/sites/0/{name}"));
    let ledger = rig.ledger();
    assert_eq!((site("steps"), ledger.steps), (1920.0, 1920));
    assert_eq!(ledger.imbalance().as_watt_seconds(), 0);
    assert_eq!(site("estimated_values"), 0.0);
    assert_eq!(site("fallbacks"), 0.0);

    // What was settled is what the files say: each meter may hold back less than a watt of its last interval.
    let hours = 0..480;
    let files = |column| (1..=5).map(|home| csv_watt_seconds(home, column, hours.clone())).sum::<i64>();
    let (load, solar) = (files("load_kw"), files("solar_kw"));
    assert!(
        (-ledger.load.as_watt_seconds() - load).abs() < 5 * 900,
        "{} {load}",
        ledger.load.as_watt_seconds()
    );
    assert!(
        (ledger.solar.as_watt_seconds() - solar).abs() < 5 * 900,
        "{} {solar}",
        ledger.solar.as_watt_seconds()
    );

    // Import − export = load − solar + work + what the batteries kept and lost.
    let night = report["services"].as_array().unwrap().iter().find(|s| s["name"] == "night-batch").unwrap();
    let kept = (ledger.charged - ledger.discharged).as_watt_seconds() as f64 / KWH;
    let need = (load - solar) as f64 / KWH + night["energy_kwh"].as_f64().unwrap() + kept;
    assert!((site("import_kwh") - site("export_kwh") - need).abs() < 0.003, "{need} {report:#}");
    // Each step charges and discharges at 0.95: what was lost lies between both ways and nothing.
    let (charged, discharged) =
        (ledger.charged.as_watt_seconds() as f64 / KWH, ledger.discharged.as_watt_seconds() as f64 / KWH);
    let lost = charged * 0.05 + discharged * (1.0 / 0.95 - 1.0);
    assert!((site("losses_kwh") - lost).abs() < 0.2, "{lost} {}", site("losses_kwh"));

    // Objective = cost + 0.10 USD/kg − what is stored at the end (at most 32 kWh at a dollar).
    let objective = |case: &str| site(&format!("objective/{case}"));
    assert!(
        (objective("baseline") - site("cost/baseline") - 0.1 * site("emissions_kg/baseline")).abs() < 1e-5
    );
    let stored_value = site("cost/actual") + 0.1 * site("emissions_kg/actual") - objective("actual");
    assert!((-1e-5..32.0).contains(&stored_value), "{stored_value}");
    assert!(
        objective("baseline") > objective("actual") && objective("actual") > objective("perfect"),
        "{report:#}"
    );
    assert!(site("saving_share_of_perfect") > 0.3, "{report:#}");
    assert!(site("limit_violations/actual") < site("limit_violations/baseline"), "{report:#}");
    let listed = report["sites"][0]["violations"].as_array().unwrap();
    assert_eq!(listed.len() as f64, site("limit_violations/actual"));
    assert!(
        listed.iter().all(|one| one["kw_over"].as_f64() > Some(0.0) && one["reason"].as_str() != Some(""))
    );
    assert_eq!(
        (night["deadlines"]["met"].as_u64(), night["deadlines"]["missed"].as_u64()),
        (Some(20), Some(0))
    );
    assert_eq!((night["energy_kwh"].as_f64(), night["restarts"].as_u64()), (Some(40.0), Some(0)));
}

#[test]
fn a_terminated_run_is_continued_at_the_next_tick_with_its_services_adopted() {
    let (rig, whole) = (Rig::new(), Rig::new());
    let uninterrupted = whole.up(288, "r.json", &[]);
    let mut up = rig.up(288, "r.json", &[]);
    rig.wait_ticks(&mut up, 90);
    up.signal(Signal::SIGTERM);
    let ended = up.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!rig.path("r.json").exists(), "a run that goes on has no report yet");
    assert!(ended.stderr.contains("no report was written to"), "{}", ended.stderr);
    let (before, reached) = (rig.pids(), rig.ticks());
    assert!(before.len() >= 6, "SIGTERM leaves the services: {before:?}");
    assert!(reached < 289);

    let mut up = rig.up(288, "r.json", &[]);
    rig.wait_ticks(&mut up, reached + 1);
    let now = rig.pids();
    for (replica, pid) in before.iter().filter(|(replica, _)| !replica.starts_with("night-batch")) {
        assert_eq!(now.get(replica), Some(pid), "{replica} was adopted");
    }
    up.finish();
    uninterrupted.finish();

    let store = rig.store().unwrap();
    let times: Vec<_> = commands(&store).iter().map(|command| command.time).collect();
    // Before the first step nothing has been measured, so nothing is commanded.
    assert_eq!(times, (1..=288).map(tick).collect::<Vec<_>>(), "each tick was decided once");
    let (report, same) = (rig.report("r.json"), whole.report("r.json"));
    for figure in [
        "/sites/0/steps",
        "/sites/0/cost/baseline",
        "/sites/0/emissions_kg/baseline",
        "/services/5/deadlines/met",
    ] {
        assert_eq!(number(&report, figure), number(&same, figure), "{figure}");
    }
    assert_eq!(rig.ledger().imbalance().as_watt_seconds(), 0);
    assert_eq!(number(&report, "/sites/0/estimated_values"), 0.0);
    let costs = [&report, &same].map(|report| number(report, "/sites/0/objective/actual"));
    assert!((costs[0] / costs[1] - 1.0).abs() < 0.01, "{costs:?}");
}

#[test]
fn a_job_at_work_goes_on_when_the_controller_is_restarted() {
    let rig = Rig::new();
    let mut up = rig.up(288, "r.json", &[]);
    let job = wait_for("the job at work", || {
        assert!(!up.has_ended(), "{}", up.errors());
        rig.pids().get("night-batch-0").copied()
    });
    up.signal(Signal::SIGTERM);
    up.finish();
    // The job may have ended by itself before the controller was stopped; then there is nothing to show.
    let still = rig.pids().get("night-batch-0") == Some(&job);
    let reached = rig.ticks();
    let mut up = rig.up(288, "r.json", &[]);
    rig.wait_ticks(&mut up, reached + 1);
    let pids = rig.pids();
    if still {
        let stopped = rig.events("Service", "night-batch").into_iter().any(|e| e.event.reason == "Stopping");
        assert!(!stopped, "the job was disturbed: {pids:?} {job}");
    }
    up.finish();
    assert_eq!(number(&rig.report("r.json"), "/services/5/deadlines/met"), 3.0);
}

#[test]
fn an_interrupt_stops_all_services_and_reports_what_was_run() {
    let rig = Rig::new();
    let mut up = rig.up(2880, "r.json", &[]);
    rig.wait_ticks(&mut up, 5);
    up.signal(Signal::SIGINT);
    let ended = up.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(services(&rig).is_empty(), "{:?}", services(&rig));
    let report = rig.report("r.json");
    let steps = number(&report, "/sites/0/steps") as i64;
    assert!((4..2880).contains(&steps), "{report:#}");
    assert_eq!(report["finished"], false);
    let to: jiff::Timestamp = report["to"].as_str().unwrap().parse().unwrap();
    assert_eq!(to, tick(steps), "up to the last completed step");
    let [perfect, baseline] =
        ["perfect", "baseline"].map(|case| number(&report, &format!("/sites/0/objective/{case}")));
    assert!(perfect <= baseline * 1.001, "{report:#}");
    let told = format!(
        "stopped before its end: the report covers 2016-07-31T23:00:00-08:00 to {}",
        report["to"].as_str().unwrap()
    );
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);

    // The next start goes on as if nothing had been.
    rig.up(steps + 10, "whole.json", &[]).finish();
    let whole = rig.report("whole.json");
    assert_eq!((number(&whole, "/sites/0/steps") as i64, &whole["finished"]), (steps + 10, &true.into()));
}

#[test]
fn outages_of_what_is_not_there_are_bad_input() {
    let rig = Rig::new();
    let faults = rig.path("faults.json");
    let wrong = r#"[{"site":"fontana","service":"home-9","at":"2016-08-01T08:00:00Z","seconds":900},
 {"site":"fontana","service":"home-1","at":"2016-09-01T08:00:00Z","seconds":900}]"#;
    std::fs::write(&faults, wrong).unwrap();
    let ended = rig.up(96, "r.json", &["--faults", faults.to_str().unwrap()]).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in ["faults.json:1:30: ", "known: home-1, home-2", "faults.json:2:44: ", "2 problems found"] {
        assert!(ended.stderr.contains(part), "no {part} in {}", ended.stderr);
    }
    assert!(!rig.data.exists(), "nothing was started");
}

#[test]
fn a_second_controller_is_refused_and_told_who_runs() {
    let rig = Rig::new();
    let mut up = rig.up(2880, "r.json", &[]);
    rig.wait_ticks(&mut up, 2);
    let refused = rig.up(2880, "other.json", &[]).wait();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains(&up.pid().to_string()), "{}", refused.stderr);
    let reached = rig.ticks();
    rig.wait_ticks(&mut up, reached + 1);
}

#[test]
fn an_end_that_is_not_after_the_start_is_bad_input() {
    let rig = Rig::new();
    for ticks in [-4, 0] {
        let ended = rig.up(ticks, "r.json", &[]).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("is not after 2016-07-31T23:00:00-08:00, where site fontana begins"),
            "{}",
            ended.stderr
        );
        assert!(!rig.data.exists(), "nothing was started");
    }
}
