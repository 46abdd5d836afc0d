//! The examples of processes, run as their READMEs say.

use serde_json::{Value, json};

use crate::skipped::skipped;
use crate::support::{Rig, Server, fontana, wait_for};

/// The files of an example, with those of fontana beside them; none without Python, in which its services are written.
fn example(name: &str) -> Option<Rig> {
    if !std::process::Command::new("python3").arg("--version").output().is_ok_and(|ran| ran.status.success())
    {
        skipped("`python3` is missing");
        return None;
    }
    Some(Rig::at(fontana().with_file_name(name)))
}

fn wait_ready(server: &Server) {
    wait_for("the services", || {
        let services = server.answer(&["get", "services"]);
        let ready = |one: &Value| one["status"]["phase"] == "Running" && one["status"]["readyReplicas"] == 1;
        services.as_array().unwrap().iter().all(ready).then_some(())
    });
    server.wait_rules();
}

/// The run whose input has this value below a key, once it is in a state.
fn wait_run(server: &Server, (key, value): (&str, &str), state: &str) -> Value {
    wait_for(&format!("the run of {value} to be {state}"), || {
        let runs = server.answer(&["get", "runs"]);
        let found = |run: &&Value| run["spec"]["input"][key] == value;
        let run = runs.as_array().unwrap().iter().find(found).cloned()?;
        let is = run["status"]["state"].as_str().unwrap_or_default();
        assert!(
            is == state || !["completed", "faulted", "cancelled"].contains(&is),
            "{is} instead of {state}: {run}"
        );
        (is == state).then_some(run)
    })
}

#[test]
fn loans_are_granted_asked_about_and_undone() {
    let Some(rig) = example("loan-approval") else { return };
    let mut server = Server::over(rig);
    wait_ready(&server);
    server.publish("loan.wanted", "l1", &json!({"id": "l1", "customer": "anna", "amount": 2000}));
    let run = wait_run(&server, ("id", "l1"), "completed");
    assert_eq!(run["status"]["output"]["granted"], true, "{run}");
    server.publish("loan.wanted", "l2", &json!({"id": "l2", "customer": "ben", "amount": 50000}));
    let task = wait_for("a task", || {
        let tasks = server.answer(&["tasks"]);
        tasks.as_array().unwrap().first().cloned()
    });
    assert!(task["spec"]["title"].as_str().unwrap().starts_with("Loan l2: 50000 for ben, score "), "{task}");
    // A power cut while a person thinks.
    server = server.restart();
    wait_ready(&server);
    let number = task["metadata"]["name"].as_str().unwrap();
    let wrong = server.sos(&["tasks", "complete", number, "--data", "{\"approved\": \"yes\"}"]);
    assert_ne!(wrong.code, 0, "the form is held to");
    let done = server.sos(&["tasks", "complete", number, "--data", "{\"approved\": true}"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    wait_run(&server, ("id", "l2"), "completed");
    server.publish("loan.wanted", "l3", &json!({"id": "l3", "customer": "blocked-carl", "amount": 900}));
    let run = wait_run(&server, ("id", "l3"), "faulted");
    assert_eq!(run["status"]["fault"]["status"], 409, "{run}");
    server.publish("loan.wanted", "l4", &json!({"id": "l4", "customer": "poor-dora", "amount": 900}));
    let run = wait_run(&server, ("id", "l4"), "completed");
    assert_eq!(run["status"]["output"], json!({"id": "l4", "granted": false, "score": 350}));
    server.publish("loan.wanted", "l5", &json!({"id": "l5", "customer": "eva", "amount": 0}));
    wait_for("the decision about l5", || {
        let told = server.sos(&["describe", "rule", "loan-wanted"]).stdout;
        told.contains("passed: `if` does not hold").then_some(())
    });
    let book = server.answer(&["call", "bank", "getBook"]);
    assert_eq!(book["paid"], json!({"l1": 2000, "l2": 50000}), "{book}");
    assert_eq!(book["reserved"], json!({}), "what was set aside for l3 was given back: {book}");
    let history = json!([
        ["reserve", "l1"],
        ["pay", "l1"],
        ["reserve", "l2"],
        ["pay", "l2"],
        ["reserve", "l3"],
        ["pay", "l3"],
        ["release", "l3"]
    ]);
    assert_eq!(book["history"], history, "no money moved twice");
}

#[test]
fn a_street_follows_the_grid_reports_once_and_survives_a_power_cut_meanwhile() {
    let Some(rig) = example("demand-response") else { return };
    let speed = ["--speed", "60"];
    let server = Server::over_with(rig, &speed);
    wait_ready(&server);
    wait_for("a plan", || (server.sos(&["plan", "street"]).code == 0).then_some(()));
    // Too little to do anything about.
    server.publish("grid.reduce", "e0", &json!({"kw": 0.5, "minutes": 30}));
    server.publish("grid.reduce", "e1", &json!({"kw": 6, "minutes": 30}));
    let run = wait_run(&server, ("event", "e1"), "running");
    let name = run["metadata"]["name"].as_str().unwrap();
    wait_for("the run to listen", || {
        let run = server.answer(&["describe", "run", name]);
        let at = run["status"]["at"].as_array().unwrap().last().cloned();
        at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with("/confirmation"))).then_some(())
    });
    let Server { rig, up, .. } = server;
    up.kill();
    let server = Server::over_with(rig, &speed);
    let run = wait_run(&server, ("event", "e1"), "completed");
    let output = &run["status"]["output"];
    assert_eq!(
        output["partners"],
        json!([{"accepted": true, "kw": 3, "minutes": 30}, {"accepted": true, "kw": 3, "minutes": 30}]),
        "{run}"
    );
    assert!(output["grid_kw"].as_f64().is_some_and(|kw| kw < -0.5), "{run}");
    let reports = server.answer(&["call", "operator", "listReports"]);
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");
    assert_eq!((&reports[0]["event"], &reports[0]["confirmed"]), (&json!("e1"), &json!(true)));
    for partner in ["north", "south"] {
        let asked = server.answer(&["call", partner, "listReductions"]);
        assert_eq!(asked, json!([{"kw": 3, "minutes": 30}]));
    }
    let rule = server.answer(&["get", "rule", "less-please"]);
    let outcomes: Vec<&str> = rule["status"]["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .filter_map(|one| one["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, ["passed", "acted"], "{rule}");
    let orders = server.answer(&["get", "overrides"]);
    let by = |order: &&Value| {
        order["status"]["orderedBy"] == "rule less-please" && order["spec"]["power"] == "3 kW"
    };
    assert_eq!(orders.as_array().unwrap().iter().filter(by).count(), 2, "{orders}");
}
