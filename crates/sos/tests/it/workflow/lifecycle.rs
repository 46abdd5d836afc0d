//! What runs go through is told to others: rules and workflows hear it, and a power cut loses none of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::server::{document, start, wait_state, workflow};
use super::stub::{self, Kill};
use crate::support::{Server, wait_for};

const LIFE: &str =
    "apiVersion: sos.energy/v1alpha1\nkind: Channel\nmetadata: {name: life}\nspec: {embedded: {}}\n---\n";

/// The events of a channel that a group has not had yet, the oldest first.
fn told(server: &Server, channel: &str, group: &str) -> Vec<Value> {
    let ran = server.sos(&["subscribe", channel, "--group", group, "--no-follow"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was told of a run, in short, once it is told that it ended so.
fn of_run(server: &Server, run: &str, end: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    wait_for(&format!("run {run} to be told {end}"), || {
        all.extend(told(server, "life", &format!("{run}-{end}")));
        let of: Vec<(String, Value)> = all
            .iter()
            .filter(|event| event["subject"] == run)
            .cloned()
            .map(|event| {
                let kind = event["type"].as_str().unwrap();
                let kind = kind.strip_prefix("io.serverlessworkflow.").unwrap();
                (kind.strip_suffix(".v1").unwrap().to_owned(), event)
            })
            .collect();
        of.iter().any(|(kind, event)| is_status(kind, event, end)).then_some(of)
    })
}

fn is_status(kind: &str, event: &Value, status: &str) -> bool {
    kind == "workflow.status-changed" && event["data"]["status"] == status
}

fn kinds(of: &[(String, Value)]) -> Vec<&str> {
    of.iter().map(|(kind, _)| kind.as_str()).filter(|kind| *kind != "workflow.status-changed").collect()
}

#[test]
fn a_fault_is_heard_by_a_rule_and_an_end_by_a_workflow() {
    let fails = document(
        "fails",
        "do:\n- bad: {raise: {error: {type: 'https://e.org/bad', status: 500, title: Bad}}}\n",
    );
    let repair = document("repair", "do:\n- note: {set: {of: '${ .of }', why: '${ .why }'}}\n");
    let hears = document(
        "hears",
        "schedule: {on: {one: {with: {type: io.serverlessworkflow.workflow.completed.v1, source: /sos/workflows/repair}}}}
do:
- what: {set: {did: '${ $workflow.input[0].data.output.why }'}}
",
    );
    let rule = "apiVersion: sos.energy/v1alpha1
kind: Rule
metadata: {name: repairing}
spec:
  when: {event: {type: io.serverlessworkflow.workflow.faulted.v1, source: /sos/workflows/fails, channel: life}}
  then: [{workflow: {name: repair, input: '{ of: .subject, why: .data.error.title }'}}]
---
";
    let all = [
        LIFE.to_owned(),
        rule.to_owned(),
        workflow("fails", &fails, "  lifecycle: {channel: life}\n"),
        workflow("repair", &repair, "  lifecycle: {channel: life}\n"),
        workflow("hears", &hears, "  channel: life\n"),
    ];
    let server = Server::start(&[("all.yaml", &all.concat())]);
    server.wait_rules();
    let run = start(&server, &["fails"]);
    wait_state(&server, &run, "faulted");
    let of = of_run(&server, &run, "faulted");
    let expected = ["workflow.started", "task.created", "task.started", "task.faulted", "workflow.faulted"];
    assert_eq!(kinds(&of), expected);
    let (_, fault) = &of[of.len() - 2];
    assert_eq!(fault["data"]["error"]["instance"], "/do/0/bad");
    assert_eq!(fault["data"]["name"], format!("fails-{run}.test"));
    let repaired = wait_for("the repair", || {
        let runs = server.answer(&["get", "runs"]);
        let is = |one: &&Value, name: &str| {
            one["spec"]["workflow"] == name && one["status"]["state"] == "completed"
        };
        let of = |name: &str| runs.as_array()?.iter().find(|one| is(one, name)).cloned();
        of("repair").zip(of("hears"))
    });
    assert_eq!(repaired.0["status"]["output"], json!({"of": run, "why": "Bad"}));
    assert_eq!(repaired.1["status"]["output"], json!({"did": "Bad"}));
    assert_eq!(told(&server, "events", "g"), [] as [Value; 0], "nobody else is told");
}

#[test]
fn orders_attempts_and_what_is_listened_to_are_told() {
    let naps = document("naps", "do:\n- nap: {wait: {hours: 1}}\n");
    let tries = document(
        "tries",
        "do:
- again:
    try:
    - bad: {raise: {error: {type: 'https://e.org/bad', status: 500, title: Bad}}}
    catch: {retry: {delay: {milliseconds: 1}, limit: {attempt: {count: 1}}}}
",
    );
    let hears = document("hears", "do:\n- word: {listen: {to: {one: {with: {type: word}}}}}\n");
    let life = "  lifecycle: {channel: life}\n";
    let all = [
        LIFE.to_owned(),
        workflow("naps", &naps, life),
        workflow("tries", &tries, life),
        workflow("hears", &hears, life),
    ];
    let server = Server::start(&[("all.yaml", &all.concat())]);
    let nap = start(&server, &["naps"]);
    wait_state(&server, &nap, "waiting");
    server.answer(&["suspend", &nap]);
    server.answer(&["resume", &nap]);
    server.answer(&["cancel", &nap]);
    let expected = [
        "workflow.started",
        "task.created",
        "task.started",
        "task.suspended",
        "workflow.suspended",
        "task.resumed",
        "workflow.resumed",
        "task.cancelled",
        "workflow.cancelled",
    ];
    assert_eq!(kinds(&of_run(&server, &nap, "cancelled")), expected);
    let tried = start(&server, &["tries"]);
    // What is caught after the last attempt is dealt with.
    let of = of_run(&server, &tried, "completed");
    assert_eq!(kinds(&of).iter().filter(|kind| **kind == "task.retried").count(), 1);
    let hearer = start(&server, &["hears"]);
    let ran = server.sos(&["signal", &hearer, "word", "--data", "5"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let of = of_run(&server, &hearer, "completed");
    let kinds = kinds(&of);
    assert!(
        kinds.contains(&"workflow.correlation-started") && kinds.contains(&"workflow.correlation-completed")
    );
    assert_eq!(of[of.len() - 2].1["data"]["output"], json!([5]));
}

#[test]
fn a_power_cut_loses_nothing_of_what_is_told() {
    let (port, asked) = stub::plain();
    let call = |name: &str| {
        format!(
            "- {name}: {{call: http, with: {{method: post, endpoint: 'http://127.0.0.1:{port}/anything'}}}}\n"
        )
    };
    let calls = document("calls", &format!("do:\n{}", ["a", "b", "c"].map(call).concat()));
    let manifests = LIFE.to_owned() + &workflow("calls", &calls, "  lifecycle: {channel: life}\n");
    let mut server = Server::start(&[("all.yaml", &manifests)]);
    for at in 1..=3 {
        asked.heard.lock().unwrap().clear();
        *asked.kill.lock().unwrap() = Some(Kill { at, answered: true, process: server.up.pid() });
        // The server may be gone before it has told that the run began.
        let key = at.to_string();
        let _begun = server.sos(&["start", "calls", "--key", &key]);
        wait_for("the kill", || server.up.has_ended().then_some(()));
        server = Server::over(server.rig);
        let run = start(&server, &["calls", "--key", &key]);
        wait_state(&server, &run, "completed");
        let of = of_run(&server, &run, "completed");
        let ids: BTreeSet<&str> = of.iter().map(|(_, event)| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), of.len(), "the channel knows those again that come twice");
        let count = |wanted: &str| of.iter().filter(|(kind, _)| kind == wanted).count();
        let all = ["workflow.started", "task.started", "task.completed", "workflow.completed"].map(count);
        assert_eq!(all, [1, 3, 3, 1], "killed at call {at}: {:?}", kinds(&of));
    }
}
