//! Rules of a server: they act or not and say why, once each, over power cuts; what they order gives way to people.

use serde_json::{Value, json};

use crate::support::{Rig, Server, wait_for};
use crate::workflow::stub;

const WORKFLOW: &str = "apiVersion: sos.energy/v1alpha1
kind: Workflow
metadata: {name: shed}
spec:
  document: |
    document: {dsl: '1.0.3', namespace: test, name: shed, version: '1.0.0'}
    do:
    - note: {set: '${ { did: .level } }'}
---
";

fn rule(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: sos.energy/v1alpha1\nkind: Rule\nmetadata: {{name: {name}}}\nspec:\n{spec}---\n")
}

/// What a rule decided, the oldest first: outcome, and what it did or why not.
fn decisions(server: &Server, name: &str) -> Vec<(String, String)> {
    let rule = server.answer(&["get", "rule", name]);
    let decisions = rule["status"]["decisions"].as_array().cloned().unwrap_or_default();
    let one = |decision: &Value| {
        let did: Vec<&str> =
            decision["did"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let why = decision["why"].as_str().map_or_else(|| did.join("; "), str::to_owned);
        (decision["outcome"].as_str().unwrap().to_owned(), why)
    };
    decisions.iter().rev().map(one).collect()
}

fn wait_decisions(server: &Server, name: &str, count: usize) -> Vec<(String, String)> {
    wait_for(&format!("{count} decisions of {name}"), || {
        let found = decisions(server, name);
        (found.len() >= count).then_some(found)
    })
}

#[test]
fn events_are_acted_on_once_when_the_condition_holds_and_the_reason_is_kept() {
    let (port, asked) = stub::plain();
    let notifier = format!(
        "apiVersion: sos.energy/v1alpha1\nkind: Notifier\nmetadata: {{name: ops}}\nspec: {{webhook: {{url: 'http://127.0.0.1:{port}/anything'}}, matchers: ['never=\"told\"']}}\n---\n"
    );
    let acts = rule(
        "shedding",
        "when: {event: {type: 'grid\\..*'}}
if: .data.level >= 2
then:
- workflow: {name: shed, input: '{ level: .data.level }'}
- notify: {notifier: ops, text: '${ \"level \\(.data.level)\" }', severity: warning}
- publish: {type: told, data: .data}
limit: {most: 2, per: 1 h}",
    );
    let dry =
        rule("trial", "when: {event: {type: grid.reduce}}\nthen: [{workflow: {name: shed}}]\ndryRun: true");
    let heard = rule(
        "hearing",
        "when: {event: {type: told, source: /rules/shedding}}\nthen: [{workflow: {name: shed, input: .data}}]",
    );
    let files = [WORKFLOW.to_owned(), notifier, acts, dry, heard].concat();
    let mut server = Server::start(&[("rules.yaml", &files)]);
    server.wait_rules();
    server.publish("grid.reduce", "1", &json!({"level": 1}));
    server.publish("other", "2", &json!({"level": 3}));
    server.publish("grid.reduce", "3", &json!({"level": 2}));
    // The same event again is none.
    server.publish("grid.reduce", "3", &json!({"level": 2}));
    let found = wait_decisions(&server, "shedding", 2);
    assert_eq!(found[0], ("passed".to_owned(), "`if` does not hold".to_owned()));
    assert_eq!(found[1].0, "acted", "{found:?}");
    for did in ["of workflow shed", "told ops: level 2", "published told to events with {\"level\":2}"] {
        assert!(found[1].1.contains(did), "{found:?}");
    }
    let trial = wait_decisions(&server, "trial", 2);
    assert!(
        trial
            .iter()
            .all(|(outcome, did)| outcome == "dry run" && did.starts_with("would start workflow shed"))
    );
    wait_decisions(&server, "hearing", 1);
    wait_for("the note to the notifier", || (asked.heard.lock().unwrap().len() == 1).then_some(()));
    // What is decided outlives a power cut, and so does the limit; what came meanwhile is heard.
    server = server.restart();
    assert_eq!(wait_decisions(&server, "shedding", 2), found);
    server.publish("grid.reduce", "4", &json!({"level": 4}));
    server.publish("grid.reduce", "5", &json!({"level": 5}));
    let found = wait_decisions(&server, "shedding", 4);
    assert_eq!(found[2].0, "acted");
    assert!(
        found[3].0 == "passed" && found[3].1.starts_with("its limit is reached: it acted 2 times"),
        "{found:?}"
    );
    let runs = wait_for("four runs", || {
        let runs = server.answer(&["get", "runs"]);
        let done = |run: &Value| run["status"]["state"] == "completed";
        let runs = runs.as_array().unwrap().clone();
        (runs.len() == 4 && runs.iter().all(done)).then_some(runs)
    });
    let by = |who: &str| runs.iter().filter(|run| run["spec"]["by"] == who).count();
    assert_eq!((by("rule shedding"), by("rule hearing")), (2, 2));
    let shown = server.sos(&["describe", "rule", "shedding"]).stdout;
    assert!(shown.contains("passed: its limit is reached") && shown.contains("\"level\":5"), "{shown}");
    let table = server.sos(&["get", "rules", "-o", "table"]).stdout;
    assert!(table.contains("workflow, notify, publish") && table.contains("workflow (dry run)"), "{table}");
}

#[test]
fn a_schedule_comes_and_what_is_wrong_with_a_rule_has_its_place() {
    let every = rule(
        "often",
        "when: {schedule: {every: 1 s}}\nthen: [{workflow: {name: shed, input: '{ level: 1 }'}}]\nlimit: {most: 1, per: 1 h}",
    );
    let server = Server::start(&[("rules.yaml", &(WORKFLOW.to_owned() + &every))]);
    let found = wait_decisions(&server, "often", 2);
    assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("acted", "passed"));
    let wrong = rule(
        "wrong",
        "when: {metric: {query: 'sum('}}
if: '.data |'
then:
- workflow: {name: shet, input: '{'}
- override: {asset: nothing, power: 1 kW, for: 5 min}",
    );
    std::fs::write(server.rig.path("wrong.yaml"), wrong).unwrap();
    let path = server.rig.path("wrong.yaml").display().to_string();
    let refused = |told: &[&str]| {
        let ran = server.sos(&["apply", "-f", &path]);
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        for told in told {
            assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
        }
    };
    refused(&[
        "8:22: spec.then[0].workflow.name: no Workflow",
        "did you mean \"shed\"?",
        "no Asset is named \"nothing\"",
    ]);
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("shet", "shed").replace("asset: nothing", "asset: '${ .data. }'");
    std::fs::write(&path, text).unwrap();
    refused(&[
        "5:26: spec.when.metric.query",
        "spec.if: ",
        "spec.then[0].workflow.input: ",
        "spec.then[1].override.asset: ",
    ]);
}

#[test]
fn a_rule_that_is_declared_again_under_its_name_knows_nothing_of_the_earlier_one() {
    let hears = |name: &str| {
        rule(name, "when: {event: {type: level}}\nthen: [{workflow: {name: shed, input: .data}}]")
    };
    let files = [WORKFLOW.to_owned(), hears("stays"), hears("goes")].concat();
    let server = Server::start(&[("rules.yaml", &files)]);
    server.wait_rules();
    server.publish("level", "1", &json!({"level": 1}));
    wait_decisions(&server, "goes", 1);
    assert_eq!(server.sos(&["delete", "rule", "goes", "--force"]).code, 0);
    server.publish("level", "2", &json!({"level": 2}));
    wait_decisions(&server, "stays", 2);
    let path = server.rig.path("goes.yaml");
    std::fs::write(&path, hears("goes")).unwrap();
    let ran = server.sos(&["apply", "-f", &path.display().to_string()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    server.wait_rules();
    server.publish("level", "3", &json!({"level": 3}));
    wait_decisions(&server, "goes", 1);
    wait_decisions(&server, "stays", 3);
    let decisions = server.answer(&["get", "rule", "goes"])["status"]["decisions"].clone();
    let causes: Vec<&str> =
        decisions.as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert!(causes.len() == 1 && causes[0].contains("\"level\":3"), "{causes:?}");
}

#[test]
fn orders_of_rules_give_way_by_priority_and_to_people() {
    let rig = Rig::quick();
    let order = |name: &str, asset: &str, kw: &str, priority: u32| {
        rule(
            name,
            &format!(
                "when: {{event: {{type: {name}}}}}\nthen: [{{override: {{asset: {asset}, {kw}, for: 2 h}}}}]\npriority: {priority}"
            ),
        )
    };
    let all = [
        order("low", "home-1-battery", "power: -1 kW", 10),
        order("high", "home-1-battery", "kw: .data.kw", 20),
        order("much", "home-2-battery", "kw: .data.kw", 20),
    ];
    std::fs::write(rig.manifests.join("rules.yaml"), all.concat()).unwrap();
    let server = Server::over_with(rig, &["--speed", "900"]);
    let ordered = |server: &Server| -> Vec<(String, String)> {
        let orders = server.answer(&["get", "overrides"]);
        let text = |order: &Value, at: &str| {
            order.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let one = |order: &Value| (text(order, "/spec/power"), text(order, "/status/orderedBy"));
        orders.as_array().unwrap().iter().map(one).collect()
    };
    let say = |kind: &str, kw: f64, count: usize| {
        server.publish(kind, &format!("{kind}{count}"), &json!({ "kw": kw }));
        wait_decisions(&server, kind, count).pop().unwrap()
    };
    assert_eq!(say("low", 0.0, 1).0, "acted");
    let (outcome, did) = say("high", 1.5, 1);
    assert!(outcome == "acted" && did.starts_with("ordered 1.5 kW of home-1-battery until 2016-"), "{did}");
    assert_eq!(ordered(&server), [("1.5 kW".to_owned(), "rule high".to_owned())]);
    let (outcome, did) = say("low", 0.0, 2);
    assert!(outcome == "failed" && did.contains("is ordered by rule high, whose priority is 20"), "{did}");
    let person = ["override", "home-1-battery", "--power", "0 kW", "--for", "10d", "--reason", "inspection"];
    assert_eq!(server.sos(&person).code, 0, "people go before rules");
    let (outcome, did) = say("high", 2.0, 2);
    assert!(outcome == "failed" && did.contains("is ordered by admin until"), "{did}");
    // No rule orders what the device can never do.
    let (outcome, did) = say("much", 50.0, 1);
    assert!(outcome == "failed" && did.contains("can never have 50.000 kW"), "{did}");
}
