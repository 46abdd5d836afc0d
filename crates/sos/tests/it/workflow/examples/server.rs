//! Examples that hear events or have a schedule, on a server.

use serde_json::{Value, json};

use super::super::server::{start, wait_state};
use super::super::stub::{self, Stub};
use super::super::{played, server};
use super::{Case, cases, folder, hold};
use crate::cli::sos_with;
use crate::support::{Rig, Server, wait_for};

/// The name of a case as that of a resource: the channel and the workflow.
fn resource(case: &Case) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    case.name.replace(", case", "").chars().map(plain).collect()
}

fn manifests(cases: &[Case]) -> Rig {
    let hosts: Vec<&str> = stub::HOSTS.iter().chain(played::HOSTS).copied().collect();
    let one = |case: &Case| {
        let (name, file) = (resource(case), case.file.file_name().unwrap().to_str().unwrap());
        format!(
            "apiVersion: sos.energy/v1alpha1\nkind: Channel\nmetadata: {{name: {name}}}\nspec: {{embedded: {{}}}}\n---\napiVersion: sos.energy/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{file: '{file}', channel: {name}, egress: {}}}\n---\n",
            json!(hosts)
        )
    };
    let rig = Rig::of(&[("all.yaml", &cases.iter().map(one).collect::<String>())]);
    for case in cases {
        std::fs::copy(&case.file, rig.manifests.join(case.file.file_name().unwrap())).unwrap();
    }
    rig
}

fn publish(server: &Server, channel: &str, id: &str, event: &Value) {
    let mut event = event.clone();
    for (name, value) in [("specversion", "1.0"), ("id", id), ("source", "/test")] {
        if event.get(name).is_none() {
            event[name] = json!(value);
        }
    }
    let args = ["publish", channel, "--events", "-", "--server", &server.address, "--token", &server.token];
    let ran = sos_with(&server.rig.manifests, &args, json!([event]).to_string().as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// The first run of a workflow.
fn first(server: &Server, workflow: &str) -> Option<String> {
    let runs = server.answer(&["get", "runs"]);
    let of = runs.as_array().unwrap().iter().rev().find(|run| run["spec"]["workflow"] == workflow);
    of.map(|run| run["metadata"]["name"].as_str().unwrap().to_owned())
}

/// The run of a case, begun by hand or by its events, with all events published.
fn begun(server: &Server, case: &Case) -> String {
    let name = resource(case);
    let events = case.told["events"].as_array().cloned().unwrap_or_default();
    if case.told["scheduled"] != true {
        let input = case.told.get("input").cloned().unwrap_or_else(|| json!({}));
        let run = start(server, &[&name, "--input", &input.to_string()]);
        for (number, event) in events.iter().enumerate() {
            publish(server, &name, &number.to_string(), event);
        }
        return run;
    }
    // Until the workflow hears it, which is a moment after it can run.
    let mut number = 0;
    wait_for(&format!("a run of {name}"), || {
        number += 1;
        events.iter().for_each(|event| publish(server, &name, &number.to_string(), event));
        first(server, &name)
    })
}

/// What was asked of the hosts that a case calls.
fn lines(case: &Case, stub: &Stub) -> Vec<String> {
    let host = |line: &str| -> String {
        let rest = line.split(' ').nth(1).unwrap_or_default();
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let hosts: Vec<String> = case.texts("calls").iter().map(|line| host(line)).collect();
    let lines = stub.calls.lines.lock().unwrap();
    lines.iter().filter(|line| hosts.contains(&host(line))).cloned().collect()
}

fn objection(server: &Server, stub: &Stub, case: &Case) -> Option<String> {
    let run = begun(server, case);
    if case.told["cancel"] == true {
        let wanted = case.texts("calls").len();
        wait_for("the calls", || (lines(case, stub).len() >= wanted).then_some(()));
        assert_eq!(server::state(server, &run), "running", "it goes on for ever");
        server.answer(&["cancel", &run]);
        wait_state(server, &run, "cancelled");
        return case.miscalled(lines(case, stub));
    }
    let ended = wait_for(&format!("the end of {}", case.name), || {
        let run = server.answer(&["get", "run", &run]);
        run["status"]["ended"].is_string().then_some(run)
    });
    let status = &ended["status"];
    let end = match status["state"].as_str() {
        Some("completed") => Ok(status["output"].clone()),
        _ => Err(status["fault"].clone()),
    };
    case.objection(&end).or_else(|| {
        // Events that start a workflow may have come more than once until it heard them.
        let mut lines = lines(case, stub);
        if case.told["scheduled"] == true {
            lines.dedup();
        }
        case.miscalled(lines)
    })
}

#[test]
fn examples_run_on_a_server() {
    let Some(folder) = folder() else { return };
    let Some(stub) = Stub::start() else { return };
    let cases = cases(&folder, "up", false);
    let resolved = stub.resolved();
    let mut args = vec!["--ca-file", stub.authority.to_str().unwrap()];
    resolved.iter().for_each(|one| args.extend(["--resolve", one]));
    let server = Server::over_with(manifests(&cases), &args);
    wait_for("the workflows", || {
        let workflows = server.answer(&["get", "workflows"]);
        let usable = |one: &Value| one["status"]["conditions"][0]["status"] == "True";
        let channels = server.sos(&["channels"]).stdout;
        let all = workflows.as_array().unwrap();
        let ready = all.len() == cases.len() && all.iter().all(usable);
        (ready && cases.iter().all(|case| channels.contains(&resource(case)))).then_some(())
    });
    let shown = server.sos(&["get", "workflows"]).stdout;
    assert!(shown.contains("cron 0 0 * * *"), "{shown}");
    hold(&cases, |case| objection(&server, &stub, case));
}
