//! Workflows of a server: started, woken by events and times, ordered about, killed and gone on with.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stub::{self, Kill};
use crate::support::{Server, wait_for};

/// The manifest of a workflow with this document.
pub(super) fn workflow(name: &str, document: &str, more: &str) -> String {
    let text = document.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}, labels: {{of: test}}}}\nspec:\n  egress: [127.0.0.1]\n{more}  document: |\n{text}---\n"
    )
}

pub(super) fn document(name: &str, rest: &str) -> String {
    format!("document: {{dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0'}}\n{rest}")
}

/// Three calls one after the other.
fn calls(port: u16) -> String {
    let call = |name: &str| {
        format!(
            "- {name}:\n    call: http\n    with: {{method: post, endpoint: 'http://127.0.0.1:{port}/anything', body: {{step: {name}}}}}\n    output: {{as: .body.step}}\n    export: {{as: '$context + {{{name}: .}}'}}\n"
        )
    };
    let tasks = ["a", "b", "c"].map(call).concat();
    document("calls", &format!("do:\n{tasks}output: {{as: $context}}\n"))
}

pub(super) fn state(server: &Server, run: &str) -> String {
    server.answer(&["get", "run", run])["status"]["state"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn wait_state(server: &Server, run: &str, wanted: &str) -> Value {
    wait_for(&format!("run {run} to be {wanted}"), || {
        let run = server.answer(&["get", "run", run]);
        (run["status"]["state"] == wanted).then_some(run)
    })
}

pub(super) fn start(server: &Server, args: &[&str]) -> String {
    let ran = server.sos(&[&["start"], args].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

#[test]
fn a_run_is_started_waited_for_and_shown() {
    let (port, asked) = stub::plain();
    let server = Server::start(&[("w.yaml", &workflow("calls", &calls(port), ""))]);
    let ran = server.sos(&["start", "calls", "--input", "{\"of\": 1}", "--wait"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let output: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(output, json!({"of": 1, "a": "a", "b": "b", "c": "c"}));
    let runs = server.answer(&["get", "runs"]);
    assert_eq!(runs[0]["status"]["state"], "completed");
    assert_eq!(runs[0]["metadata"]["labels"], json!({"of": "test"}));
    let name = runs[0]["metadata"]["name"].as_str().unwrap();
    let shown = server.answer(&["describe", "run", name]);
    let tasks = shown["status"]["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 6);
    assert_eq!((&tasks[5]["task"], &tasks[5]["event"]), (&json!("c"), &json!("completed")));
    let keys: Vec<String> = asked.heard.lock().unwrap().iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(keys, ["/do/0/a", "/do/1/b", "/do/2/c"].map(|place| format!("{name}{place}")));
    // The same key starts nothing more.
    let first = start(&server, &["calls", "--key", "once"]);
    assert_eq!(start(&server, &["calls", "--key", "once"]), first);
    wait_state(&server, &first, "completed");
    assert_eq!(asked.heard.lock().unwrap().len(), 6);
    let unknown = server.sos(&["start", "call"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("did you mean \"calls\""), "{}", unknown.stderr);
    let shown = server.sos(&["get", "workflows"]);
    assert!(shown.stdout.contains("when asked") && shown.stdout.contains("True"), "{}", shown.stdout);
}

#[test]
fn a_run_goes_on_after_a_kill_at_any_of_its_calls() {
    let (port, asked) = stub::plain();
    let mut server = Server::start(&[("w.yaml", &workflow("calls", &calls(port), ""))]);
    for at in 1..=3 {
        for answered in [false, true] {
            asked.heard.lock().unwrap().clear();
            *asked.kill.lock().unwrap() = Some(Kill { at, answered, process: server.up.pid() });
            // The server may be gone before it has told that the run began.
            let key = format!("{at}-{answered}");
            let _begun = server.sos(&["start", "calls", "--key", &key]);
            wait_for("the kill", || server.up.has_ended().then_some(()));
            server = Server::over(server.rig);
            let run = start(&server, &["calls", "--key", &key]);
            let run = wait_state(&server, &run, "completed");
            assert_eq!(run["status"]["output"], json!({"a": "a", "b": "b", "c": "c"}));
            let heard = asked.heard.lock().unwrap();
            let keys: BTreeSet<&String> = heard.iter().map(|(_, key)| key).collect();
            assert_eq!(keys.len(), 3, "each call has its key: {heard:?}");
            assert!(heard.len() <= 4, "only the call at the kill is repeated: {heard:?}");
        }
    }
}

#[test]
fn events_start_runs_once_each_and_are_kept_for_runs_that_listen_later() {
    let listens = document(
        "orders",
        "schedule: {on: {one: {with: {type: order.placed}}}}
do:
- nap: {wait: {milliseconds: 300}}
- paid:
    listen:
      to:
        one:
          with: {type: order.paid}
          correlate: {order: {from: .data.order, expect: '${ $workflow.input[0].data.order }'}}
- done: {set: {order: '${ $workflow.input[0].data.order }', paid: '${ .[0].sum }'}}
",
    );
    let mut server = Server::start(&[("w.yaml", &workflow("orders", &listens, ""))]);
    wait_for("the workflow", || server.sos(&["get", "workflows"]).stdout.contains("True").then_some(()));
    let publish = |server: &Server, kind: &str, id: &str, data: Value| {
        let (id, data) = (format!("{kind}-{id}"), data.to_string());
        let args = ["publish", "events", &data, "--type", kind, "--source", "/shop", "--id", &id];
        let ran = server.sos(&args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    // Its channel may be made a moment after the workflow.
    wait_for("the channel", || server.sos(&["channels"]).stdout.contains("events").then_some(()));
    for order in ["1", "2"] {
        publish(&server, "order.placed", order, json!({"order": order}));
        // The same event again.
        publish(&server, "order.placed", order, json!({"order": order}));
    }
    // Paid while the run still naps: nothing listens yet.
    publish(&server, "order.paid", "2", json!({"order": "2", "sum": 20}));
    let two = wait_for("one run to end", || {
        let runs = server.answer(&["get", "runs"]);
        let ended = runs.as_array().unwrap().iter().find(|run| run["status"]["state"] == "completed");
        ended.cloned()
    });
    assert_eq!(two["status"]["output"], json!({"order": "2", "paid": 20}));
    server = server.restart();
    let runs = server.answer(&["get", "runs"]);
    assert_eq!(runs.as_array().unwrap().len(), 2, "each event starts one run: {runs}");
    publish(&server, "order.placed", "3", json!({"order": "3"}));
    publish(&server, "order.paid", "1", json!({"order": "1", "sum": 10}));
    publish(&server, "order.paid", "3", json!({"order": "3", "sum": 30}));
    let ended = wait_for("all runs to end", || {
        let runs = server.answer(&["get", "runs"]);
        let runs = runs.as_array().unwrap().clone();
        runs.iter().all(|run| run["status"]["state"] == "completed").then_some(runs)
    });
    let mut paid: Vec<i64> =
        ended.iter().map(|run| run["status"]["output"]["paid"].as_i64().unwrap()).collect();
    paid.sort_unstable();
    assert_eq!(paid, [10, 20, 30]);
}

#[test]
fn runs_are_ordered_about_one_by_one_and_all_at_once() {
    let naps = document("naps", "do:\n- nap: {wait: {hours: 1}}\n");
    let hears = document(
        "hears",
        "do:\n- word: {listen: {to: {one: {with: {type: word}}}}}\n- said: {set: {said: '${ .[0] }'}}\n",
    );
    let fails = document(
        "fails",
        "do:\n- bad: {raise: {error: {type: 'https://e.org/bad', status: 500, title: Bad}}}\n",
    );
    let all = [workflow("naps", &naps, ""), workflow("hears", &hears, ""), workflow("fails", &fails, "")];
    let mut server = Server::start(&[("w.yaml", &all.concat())]);
    let naps: Vec<String> = (0..3).map(|_| start(&server, &["naps", "--label", "tier=nap"])).collect();
    let hearer = start(&server, &["hears"]);
    wait_state(&server, &naps[0], "waiting");
    server.answer(&["suspend", &naps[0]]);
    wait_state(&server, &naps[0], "suspended");
    let twice = server.sos(&["suspend", &naps[0]]);
    assert_eq!(twice.code, 1);
    assert!(twice.stderr.contains("is suspended: it cannot be told to suspend"), "{}", twice.stderr);
    server = server.restart();
    assert_eq!(state(&server, &naps[0]), "suspended", "a restart changes nothing");
    server.answer(&["resume", &naps[0]]);
    wait_state(&server, &naps[0], "waiting");
    server.answer(&["cancel", &naps[1]]);
    wait_state(&server, &naps[1], "cancelled");
    let ordered = server.answer(&["cancel", "--selector", "tier=nap"]);
    assert_eq!(ordered["done"].as_array().unwrap().len(), 2, "{ordered}");
    for run in &naps {
        wait_state(&server, run, "cancelled");
    }
    let sent = server.sos(&["signal", &hearer, "word", "--data", "{\"a\": 1}"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    let heard = wait_state(&server, &hearer, "completed");
    assert_eq!(heard["status"]["output"], json!({"said": {"a": 1}}));
    let over = server.sos(&["signal", &hearer, "word"]);
    assert!(over.code == 1 && over.stderr.contains("is completed"), "{}", over.stderr);
    let failed = server.sos(&["start", "fails", "--wait"]);
    assert_eq!(failed.code, 1);
    let error: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["title"], "Bad");
    let wrong = [
        (vec!["cancel"], 2, "which runs?"),
        (vec!["cancel", "nobody"], 1, "there is no run \"nobody\""),
        (vec!["cancel", "--state", "tired"], 2, "no state of a run"),
        (vec!["retry", &hearer], 1, "is completed: it cannot be told to retry"),
        (vec!["start", "naps", "--input", "{"], 2, "no JSON"),
        (vec!["start", "naps", "--wait", "1h"], 2, "at most 5 min"),
        (vec!["describe", "run", "nobody"], 1, "there is no Run/nobody"),
    ];
    for (args, code, said) in wrong {
        let ran = server.sos(&args);
        assert!(ran.code == code && ran.stderr.contains(said), "{args:?}: {} {}", ran.code, ran.stderr);
    }
}

#[test]
fn what_was_done_is_undone_in_reverse_and_a_failed_step_is_tried_again() {
    let (port, asked) = stub::plain();
    let call = |path: &str| format!("{{method: post, endpoint: 'http://127.0.0.1:{port}/{path}'}}");
    let saga = document(
        "saga",
        &format!(
            "use:
  functions:
    undo: {{call: http, with: {{method: post, endpoint: 'http://127.0.0.1:{port}/anything', body: {{undo: '${{ .what }}'}}}}}}
do:
- hotel: {{call: http, with: {}}}
- noted1: {{call: 'compensate:1.0.0@default', with: {{function: undo, with: {{what: hotel}}}}}}
- flight: {{call: http, with: {}}}
- noted2: {{call: 'compensate:1.0.0@default', with: {{function: undo, with: {{what: flight}}}}}}
- car: {{call: http, with: {}}}
",
            call("anything"),
            call("anything"),
            call("status/503")
        ),
    );
    let plain = document("plain", &format!("do:\n- car: {{call: http, with: {}}}\n", call("status/503")));
    let all = [workflow("saga", &saga, ""), workflow("plain", &plain, "")].concat();
    let server = Server::start(&[("w.yaml", &all)]);
    let run = start(&server, &["saga"]);
    let ended = wait_state(&server, &run, "faulted");
    assert_eq!(ended["status"]["fault"]["status"], 503);
    let heard: Vec<String> = asked.heard.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(heard, ["/anything", "/anything", "/status/503", "/anything", "/anything"]);
    let shown = server.answer(&["describe", "run", &run]);
    let refused = server.sos(&["retry", &run]);
    assert!(refused.code == 1 && refused.stderr.contains("has undone what it did"), "{}", refused.stderr);
    assert!(shown["status"]["tasks"].as_array().unwrap().len() >= 10, "{shown}");
    let run = start(&server, &["plain"]);
    wait_state(&server, &run, "faulted");
    let before = asked.heard.lock().unwrap().len();
    server.answer(&["retry", &run]);
    wait_for("another call", || (asked.heard.lock().unwrap().len() > before).then_some(()));
    wait_state(&server, &run, "faulted");
    let heard = asked.heard.lock().unwrap();
    assert_eq!(heard[before - 1], heard[before], "the same key");
}

#[test]
fn schedules_start_runs_and_workflows_run_workflows() {
    let ticks = document("ticks", "schedule: {every: {milliseconds: 200}}\ndo:\n- t: {set: {t: 1}}\n");
    let inner = document("inner", "do:\n- double: {set: {n: '${ .n * 2 }'}}\n");
    let outer = document(
        "outer",
        "do:
- inner: {run: {workflow: {namespace: test, name: inner, version: '1.0.0', input: {n: '${ .n }'}}}}
- more: {set: {n: '${ .n + 1 }'}}
",
    );
    let all = [workflow("ticks", &ticks, ""), workflow("inner", &inner, ""), workflow("outer", &outer, "")];
    let mut server = Server::start(&[("w.yaml", &all.concat())]);
    let count = |server: &Server| {
        let runs = server.answer(&["get", "runs"]);
        let ticks = runs.as_array().unwrap().iter().filter(|run| run["spec"]["workflow"] == "ticks");
        ticks.count()
    };
    wait_for("three ticks", || (count(&server) >= 3).then_some(()));
    let ran = server.sos(&["start", "outer", "--input", "{\"n\": 4}", "--wait"]);
    assert_eq!(ran.stdout.trim(), "{\"n\":9}", "{}", ran.stderr);
    server = server.restart();
    let before = count(&server);
    wait_for("more ticks", || (count(&server) > before).then_some(()));
}

#[test]
fn people_do_what_runs_ask_them_to_and_are_held_to_the_form() {
    let asks = document(
        "loan",
        "do:
- approve:
    call: human-task:1.0.0@default
    with:
      title: Approve the loan
      assignee: anna
      due: {milliseconds: 1500}
      escalate: {role: operator}
      form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
      data: {sum: '${ .sum }'}
- done: {set: {approved: '${ .data.approved }', by: '${ .by }'}}
",
    );
    let mut server = Server::start(&[("w.yaml", &workflow("loan", &asks, ""))]);
    let run = start(&server, &["loan", "--input", "{\"sum\": 5}"]);
    let task = wait_for("the task", || server.answer(&["tasks"]).as_array().unwrap().first().cloned());
    assert_eq!((&task["spec"]["assignee"], &task["spec"]["data"]), (&json!("anna"), &json!({"sum": 5})));
    let id = task["metadata"]["name"].as_str().unwrap().to_owned();
    wait_state(&server, &run, "waiting");
    server = server.restart();
    assert_eq!(server.answer(&["tasks"]).as_array().unwrap().len(), 1, "asked once");
    let wrong = server.sos(&["tasks", "complete", &id, "--data", "{\"approved\": \"maybe\"}"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("does not fit the form"), "{}", wrong.stderr);
    let passed_on = wait_for("its escalation", || {
        let task = server.answer(&["tasks"])[0].clone();
        (task["status"]["escalated"].is_string()).then_some(task)
    });
    assert_eq!(passed_on["spec"]["role"], "operator");
    assert!(passed_on["spec"]["assignee"].is_null());
    let ran = server.sos(&["tasks", "claim", &id]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = server.sos(&["tasks", "complete", &id, "--data", "{\"approved\": true}"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ended = wait_state(&server, &run, "completed");
    assert_eq!(ended["status"]["output"]["approved"], true);
    let again = server.sos(&["tasks", "complete", &id]);
    assert!(again.code == 1 && again.stderr.contains("there is no task"), "{}", again.stderr);
    let refused = start(&server, &["loan"]);
    let id = wait_for("the task", || {
        let tasks = server.answer(&["tasks"]);
        tasks[0]["metadata"]["name"].as_str().map(str::to_owned)
    });
    let ran = server.sos(&["tasks", "refuse", &id, "--reason", "no papers"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let fault = wait_state(&server, &refused, "faulted");
    assert!(fault["status"]["fault"]["detail"].as_str().unwrap().contains("no papers"), "{fault}");
}

#[test]
fn commands_of_a_server_have_limits_of_memory_time_and_network() {
    let (port, asked) = stub::plain();
    let script = |name: &str, text: &str, limits: &str| {
        let document =
            document(name, &format!("do:\n- s: {{run: {{shell: {{command: {}}}}}}}\n", json!(text)));
        workflow(name, &document, &format!("  shell: {{{limits}}}\n"))
    };
    let call =
        format!("curl -s -m 5 http://127.0.0.1:{port}/anything >/dev/null && echo reached || echo alone");
    let marked = format!("sleep {}.77", 4000 + u32::from(port) % 1000);
    let all = [
        script(
            "large",
            "python3 -c 'x = bytearray(300 << 20); print(len(x))'",
            "memory: 64 MiB, network: true",
        ),
        script(
            "small",
            "python3 -c 'x = bytearray(300 << 20); print(len(x))'",
            "memory: 1 GiB, network: true",
        ),
        script("late", &format!("{marked} & {marked}"), "timeout: 1 s, network: true"),
        script("alone", &call, ""),
        script("reaches", &call, "network: true"),
        workflow("refused", &document("refused", "do:\n- s: {run: {shell: {command: echo hi}}}\n"), ""),
    ];
    let server = Server::start(&[("w.yaml", &all.concat())]);
    let run = |name: &str| {
        let run = start(&server, &[name]);
        wait_for(&format!("the end of {name}"), || {
            let run = server.answer(&["get", "run", &run]);
            (run["status"]["state"] != "running").then_some(run)
        })
    };
    let large = run("large");
    assert!(large["status"]["fault"]["detail"].as_str().unwrap().contains("MemoryError"), "{large}");
    assert_eq!(run("small")["status"]["output"], "314572800\n");
    assert_eq!(run("late")["status"]["fault"]["status"], 408);
    let found = std::process::Command::new("pgrep").args(["-f", &marked]).output().unwrap();
    assert!(found.stdout.is_empty(), "nothing of it is left: {}", String::from_utf8_lossy(&found.stdout));
    assert_eq!(run("refused")["status"]["fault"]["status"], 403);
    assert_eq!(run("reaches")["status"]["output"], "reached\n");
    if std::process::Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|ran| ran.success()) {
        assert_eq!(run("alone")["status"]["output"], "alone\n");
        assert_eq!(asked.heard.lock().unwrap().len(), 1, "only the one that may");
    } else {
        crate::skipped::skipped("networks of their own need a privilege (`unshare --net`)");
    }
}
