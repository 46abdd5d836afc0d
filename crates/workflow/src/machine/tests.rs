use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::testing::{World, alone, output, program};
use super::{Action, Begin, Effect, Ended, Event, Fault, Run, Traced};
use crate::template::{data, json as to_json};

fn refused() -> Fault {
    Fault {
        kind: "https://open-workflow-specification.org/spec/1.0.0/errors/communication".into(),
        status: 503,
        title: None,
        detail: None,
        instance: String::new(),
    }
}

const CALL: &str = "{call: http, with: {method: get, endpoint: 'http://a/b'}}";

#[test]
fn tasks_follow_each_other_and_hand_on_their_output() {
    let yaml = "do: [{a: {set: {n: '${ .n + 1 }'}}}, {b: {set: {n: '${ .n * 10 }'}}}]";
    assert_eq!(output(yaml, json!({"n": 1})), json!({"n": 20}));
}

#[test]
fn directives_are_followed() {
    let yaml = "do:\n- a: {set: {x: 1}, then: c}\n- b: {set: {x: '${ .x + 10 }'}, then: end}\n- c: {set: {x: '${ .x + 1 }'}, then: b}";
    assert_eq!(output(yaml, json!({})), json!({"x": 12}));
    let exits = "do: [{outer: {do: [{a: {set: {x: 1}, then: exit}}, {b: {set: {x: 2}}}]}}, {c: {set: {x: '${ .x + 5 }'}}}]";
    assert_eq!(output(exits, json!({})), json!({"x": 6}));
    let ends = "do: [{outer: {do: [{a: {set: {x: 1}, then: end}}, {b: {set: {x: 2}}}]}}, {c: {set: {x: 9}}}]";
    assert_eq!(output(ends, json!({})), json!({"x": 1}));
}

#[test]
fn a_task_whose_condition_does_not_hold_is_left_out() {
    let yaml = "do: [{a: {if: .go, set: {x: 1}, then: end}}, {b: {set: {was: '${ . }'}}}]";
    let mut world = alone(yaml, json!({"go": false}));
    assert_eq!(world.output(), json!({"was": {"go": false}}));
    assert_eq!(world.of("a"), [Traced::Skipped]);
    assert_eq!(output(yaml, json!({"go": true})), json!({"x": 1}));
}

#[test]
fn data_flows_through_input_output_and_context() {
    let yaml = "input: {from: .order}\noutput: {as: '{total: ., kept: $context}'}\ndo:\n- a: {input: {from: .price}, set: {p: '${ . }', raw: '${ $task.input.price }'}, output: {as: .p * 2}, export: {as: '{p: $output, before: $context.price, in: $input}'}}";
    assert_eq!(
        output(yaml, json!({"order": {"price": 4}})),
        json!({"total": 8, "kept": {"p": 8, "before": 4, "in": 4}})
    );
}

#[test]
fn schemas_are_held() {
    let yaml = "input: {schema: {document: {type: object, required: [n]}}}\ndo: [{a: {set: {n: '${ .n }'}, output: {schema: {document: {properties: {n: {type: number}}}}}}}]";
    assert_eq!(output(yaml, json!({"n": 1})), json!({"n": 1}));
    let fault = alone(yaml, json!({})).fault();
    assert!(fault.kind.ends_with("/validation") && fault.status == 400, "{fault:?}");
    let fault = alone(yaml, json!({"n": "x"})).fault();
    assert_eq!((fault.instance.as_str(), fault.detail.unwrap().contains("/n")), ("/do/0/a", true));
}

#[test]
fn arguments_of_expressions_are_there() {
    let yaml = "do: [{a: {set: {id: '${ $workflow.id }', name: '${ $workflow.definition.document.name }', at: '${ $task.reference }', key: '${ $secrets.key }', when: '${ $task.startedAt.epoch.seconds }', by: '${ $runtime.name }', of: '${ $task.definition.set.by }'}}}]";
    assert_eq!(
        output(yaml, Value::Null),
        json!({"id": "run-1", "name": "test", "at": "/do/0/a", "key": "hidden", "when": 1_767_600_000, "by": "sos", "of": "${ $runtime.name }"})
    );
}

#[test]
fn a_loop_hands_its_output_on_and_ends_by_its_condition() {
    let yaml = "do: [{l: {for: {each: x, in: .items, at: i}, while: .sum < 5, do: [{add: {set: {sum: '${ .sum + $x * ($i + 1) }', items: '${ .items }'}}}]}}]";
    assert_eq!(output(yaml, json!({"items": [1, 2, 3], "sum": 0})), json!({"sum": 5, "items": [1, 2, 3]}));
    assert_eq!(output(yaml, json!({"items": [], "sum": 0})), json!({"items": [], "sum": 0}));
    let fault = alone(yaml, json!({"items": 5})).fault();
    assert!(fault.detail.unwrap().contains("not 5"));
}

#[test]
fn branches_run_side_by_side_and_the_winner_ends_the_others() {
    let two = |compete: bool| {
        format!(
            "do: [{{f: {{fork: {{compete: {compete}, branches: [{{slow: {{do: [{{w: {{wait: PT10S}}}}, {{s: {{set: {{v: slow}}}}}}]}}}}, {{fast: {{do: [{{w: {{wait: PT1S}}}}, {{s: {{set: {{v: fast}}}}}}]}}}}]}}}}}}]"
        )
    };
    let mut all = alone(&two(false), json!({}));
    assert_eq!(all.output(), json!([{"v": "slow"}, {"v": "fast"}]));
    assert_eq!(all.seconds(), 10);
    let mut first = alone(&two(true), json!({}));
    assert_eq!((first.output(), first.seconds()), (json!({"v": "fast"}), 1));
    assert_eq!(first.of("slow"), [Traced::Started, Traced::Cancelled]);
}

#[test]
fn a_wide_fork_and_a_long_loop_let_others_go_first() {
    let items: Vec<usize> = (0..12_000).collect();
    let yaml = "do: [{l: {for: {in: .items}, do: [{a: {set: {n: '${ .n + 1 }', items: []}}}]}}]";
    let mut world = alone(yaml, json!({"items": items, "n": 0}));
    assert_eq!(world.output()["n"], json!(12_000));
    assert!(world.journal.len() >= 3, "{}", world.journal.len());
    let endless = "do: [{a: {set: {n: '${ .n + 1 }'}, then: b}}, {b: {set: {n: '${ .n }'}, then: a}}]";
    let begin = Begin {
        id: "x".into(),
        input: data(&json!({"n": 0})),
        secrets: data(&json!({})),
        at: "2026-01-05T08:00:00Z".parse().unwrap(),
        permit: None,
    };
    let mut run = Run::new(program(endless), begin);
    let actions = run.apply(Event::Started, "2026-01-05T08:00:00Z".parse().unwrap());
    assert!(actions.contains(&Action::Pause) && run.ended().is_none());
}

#[test]
fn a_raised_error_has_its_place_and_can_be_caught() {
    let raise = "{raise: {error: {type: 'https://serverlessworkflow.io/spec/1.0.0/errors/validation', status: 400, title: bad, detail: '${ \"no \" + .what }'}}}";
    let fault = alone(&format!("do: [{{r: {raise}}}]"), json!({"what": "luck"})).fault();
    assert_eq!((fault.instance.as_str(), fault.detail.as_deref()), ("/do/0/r", Some("no luck")));
    let caught = "do: [{t: {try: [{r: {raise}}], catch: {errors: {with: {type: 'https://open-workflow-specification.org/dsl/errors/types/validation'}}, as: e, do: [{s: {set: {at: '${ $e.instance }', was: '${ .what }'}}}]}}}]";
    let caught = caught.replace("{raise}", raise);
    assert_eq!(output(&caught, json!({"what": "x"})), json!({"at": "/do/0/t/try/0/r", "was": "x"}));
    let other = caught.replace("types/validation", "types/timeout");
    assert_eq!(alone(&other, json!({"what": "x"})).fault().status, 400);
}

#[test]
fn attempts_wait_longer_each_time_and_end() {
    let yaml = |policy: &str| format!("do: [{{t: {{try: [{{c: {CALL}}}], catch: {{retry: {policy}}}}}}}]");
    let tries = |policy: &str, fails: usize| {
        let calls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&calls);
        let mut world = World::new(&yaml(policy), json!({}), move |_, _| {
            counted.set(counted.get() + 1);
            Some(if counted.get() > fails { Ok(json!("ok")) } else { Err(refused()) })
        });
        let output = match world.finish() {
            Ended::Completed(output) => to_json(output),
            other => panic!("{other:?}"),
        };
        (output, calls.get(), world.seconds(), world.keys.clone())
    };
    let (output, calls, seconds, keys) =
        tries("{delay: PT2S, backoff: {exponential: {}}, limit: {attempt: {count: 5}}}", 3);
    assert_eq!((output, calls, seconds), (json!("ok"), 4, 14));
    assert!(keys.windows(2).all(|two| two[0] == two[1]), "a repeated call has the same key: {keys:?}");
    assert_eq!(tries("{delay: PT2S, backoff: {linear: {}}, limit: {attempt: {count: 5}}}", 3).2, 12);
    let (output, calls, ..) = tries("{delay: PT2S, limit: {attempt: {count: 2}}}", 9);
    assert_eq!((output, calls), (json!({}), 3), "caught without tasks, the input goes on");
    assert_eq!(tries("{delay: PT2S, limit: {duration: PT5S}}", 9).1, 3);
    let jittered = tries("{delay: PT2S, jitter: {from: PT1S, to: PT3S}, limit: {attempt: {count: 1}}}", 1).2;
    assert!((3..=5).contains(&jittered), "{jittered}");
    let (_, calls, ..) =
        tries("{when: '$error.status == 404', delay: PT2S, limit: {attempt: {count: 2}}}", 9);
    assert_eq!(calls, 1);
}

#[test]
fn what_takes_too_long_is_broken_off_and_can_be_caught() {
    let yaml = "do: [{c: {call: http, with: {method: get, endpoint: 'http://a/b'}, timeout: {after: PT3S}}}]";
    let mut world = World::new(yaml, json!({}), |_, _| None);
    let fault = world.fault();
    assert_eq!((fault.status, fault.instance.as_str(), world.seconds()), (408, "/do/0/c", 3));
    let whole = "timeout: {after: {seconds: 5}}\ndo: [{w: {wait: PT1H}}]";
    let mut world = alone(whole, json!({}));
    assert_eq!((world.fault().status, world.seconds()), (408, 5));
    let caught = "do: [{t: {try: [{w: {wait: PT1H, timeout: {after: PT1S}}}], catch: {errors: {with: {status: 408}}, do: [{s: {set: {x: late}}}]}}}]";
    assert_eq!(output(caught, json!({})), json!({"x": "late"}));
}

#[test]
fn a_switch_chooses() {
    let yaml = "do:\n- s: {switch: [{a: {when: .k == 1, then: one}}, {b: {when: .k == 2, then: two}}, {c: {then: end}}]}\n- one: {set: {x: one}, then: end}\n- two: {set: {x: two}, then: end}";
    assert_eq!(output(yaml, json!({"k": 1})), json!({"x": "one"}));
    assert_eq!(output(yaml, json!({"k": 2})), json!({"x": "two"}));
    assert_eq!(output(yaml, json!({"k": 3})), json!({"k": 3}));
}

#[test]
fn an_event_is_its_output_and_has_what_it_needs() {
    let mut world = alone(
        "do: [{e: {emit: {event: {with: {source: 'https://a', type: t.x, data: {n: '${ .n }'}}}}}}]",
        json!({"n": 7}),
    );
    let output = world.output();
    assert_eq!(output, world.emitted[0]);
    assert_eq!(
        (&output["data"], &output["specversion"], &output["type"]),
        (&json!({"n": 7}), &json!("1.0"), &json!("t.x"))
    );
    assert_eq!(output["id"], json!("run-1/do/0/e"));
}

fn event(kind: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "s", "type": kind, "data": data})
}

#[test]
fn events_are_waited_for_by_their_strategy() {
    let listen = |to: &str| alone(&format!("do: [{{l: {{listen: {{to: {to}}}}}}}]"), json!({"limit": 38}));
    let mut one = listen("{one: {with: {type: 'a[.].*', data: '${ .t > $input.limit }'}}}");
    one.publish(&event("b.x", json!({"t": 40})));
    one.publish(&event("a.x", json!({"t": 37})));
    assert!(one.run.ended().is_none());
    one.publish(&event("a.x", json!({"t": 39})));
    assert_eq!(one.output(), json!([{"t": 39}]));
    let mut all = listen("{all: [{with: {type: a}}, {with: {type: b}}]}");
    all.publish(&event("b", json!(1)));
    all.publish(&event("b", json!(2)));
    assert!(all.run.ended().is_none());
    all.publish(&event("a", json!(3)));
    assert_eq!(all.output(), json!([1, 3]));
    let mut any = listen("{any: [{with: {type: a}}, {with: {type: b}}]}");
    any.publish(&event("b", json!(1)));
    assert_eq!(any.output(), json!([1]));
    let mut until = listen("{any: [{with: {type: a}}], until: '(. | length) == 2'}");
    until.publish(&event("a", json!(1)));
    until.publish(&event("a", json!(2)));
    assert_eq!(until.output(), json!([1, 2]));
    let mut ended = listen("{any: [], until: {one: {with: {type: stop}}}}");
    ended.publish(&event("a", json!(1)));
    ended.publish(&event("stop", json!(9)));
    assert_eq!(ended.output(), json!([1]), "the event that ends it is no part of the output");
}

#[test]
fn events_belong_together_by_what_correlates() {
    let yaml = "do: [{l: {listen: {to: {all: [{with: {type: a}, correlate: {order: {from: .data.order}}}, {with: {type: b}, correlate: {order: {from: .data.order}}}]}}}}]";
    let mut world = alone(yaml, json!({}));
    world.publish(&event("a", json!({"order": 1})));
    world.publish(&event("b", json!({"order": 2})));
    assert!(world.run.ended().is_none());
    world.publish(&event("b", json!({"order": 1, "x": true})));
    assert_eq!(world.output(), json!([{"order": 1}, {"order": 1, "x": true}]));
    let expected = "do: [{l: {listen: {to: {one: {with: {type: a}, correlate: {order: {from: .data.order, expect: '${ .mine }'}}}}}}}]";
    let mut world = alone(expected, json!({"mine": 5}));
    world.publish(&event("a", json!({"order": 4})));
    assert!(world.run.ended().is_none());
    world.publish(&event("a", json!({"order": 5})));
    assert_eq!(world.output(), json!([{"order": 5}]));
}

#[test]
fn each_event_is_handled_in_its_turn() {
    let yaml = "do: [{l: {listen: {to: {any: [{with: {type: a}}], until: '(. | length) == 3'}}, foreach: {item: e, at: i, do: [{w: {wait: PT1S}}, {s: {set: {n: '${ $e.n }', i: '${ $i }'}}}], output: {as: '{got: .n, i}'}, export: {as: '{last: $output.got}'}}, output: {as: '{all: ., last: $context.last}'}}}]";
    let mut world = alone(yaml, json!({}));
    for n in 1..=4 {
        world.publish(&event("a", json!({"n": n})));
    }
    assert_eq!(
        world.output(),
        json!({"all": [{"got": 1, "i": 0}, {"got": 2, "i": 1}, {"got": 3, "i": 2}], "last": 3})
    );
}

#[test]
fn functions_are_called_with_their_arguments() {
    let yaml = "use: {functions: {double: {set: {n: '${ .n * 2 }'}}, again: {call: again}}}\ndo: [{c: {call: double, with: {n: '${ .x + 1 }'}}}]";
    assert_eq!(output(yaml, json!({"x": 3})), json!({"n": 8}));
    let endless = "use: {functions: {again: {call: again}}}\ndo: [{c: {call: again}}]";
    let fault = alone(endless, json!({})).fault();
    assert!(fault.title.as_deref() == Some("Too deep"), "{fault:?}");
}

#[test]
fn extensions_stand_around_tasks_and_may_stand_for_them() {
    let yaml = "use: {extensions: [{log: {extend: all, before: [{b: {set: {logged: true}}}], after: [{a: {set: {x: 0}}}]}}]}\ndo: [{s: {set: {n: '${ .n + 1 }'}}}]";
    let mut world = alone(yaml, json!({"n": 1}));
    assert_eq!(world.output(), json!({"n": 2}));
    assert_eq!((world.of("b").len(), world.of("a").len()), (2, 2));
    let mock = format!(
        "use: {{extensions: [{{mock: {{extend: call, when: '$task.definition.with.method == \"get\"', before: [{{m: {{set: {{status: 200}}, then: exit}}}}]}}}}]}}\ndo: [{{c: {CALL}}}]"
    );
    assert_eq!(output(&mock, json!({})), json!({"status": 200}), "nothing is called");
}

#[test]
fn a_run_can_be_stopped_and_can_rest() {
    let mut world =
        World::new(&format!("do: [{{c: {CALL}}}, {{s: {{set: {{x: '${{ . }}'}}}}}}]"), json!({}), |_, _| {
            None
        });
    let id = world.open[0].0;
    world.tell(Event::Suspended);
    world.tell(Event::Done { id, outcome: Ok(data(&json!(5))) });
    assert!(world.run.ended().is_none() && world.of("s").is_empty());
    world.open.clear();
    world.tell(Event::Resumed);
    assert_eq!(world.output(), json!({"x": 5}));
    let mut world = World::new(&format!("do: [{{c: {CALL}}}]"), json!({}), |_, _| None);
    world.tell(Event::Cancelled);
    assert_eq!(*world.finish(), Ended::Cancelled);
    assert_eq!(world.of("c"), [Traced::Started, Traced::Cancelled]);
    world.tell(Event::Done { id, outcome: Ok(data(&json!(5))) });
    assert_eq!(*world.finish(), Ended::Cancelled, "what comes after the end changes nothing");
}

#[test]
fn a_run_is_restored_by_what_happened() {
    let yaml = "do: [{f: {fork: {branches: [{a: {do: [{w: {wait: PT1S}}, {c: {CALL}}]}}, {l: {for: {in: '[1,2,3]'}, do: [{c: {CALL}}]}}]}}}]";
    let yaml = &yaml.replace("{CALL}", CALL);
    let mut world = World::new(yaml, json!({}), |key, _| Some(Ok(json!(key))));
    world.finish();
    let begin = Begin {
        id: "run-1".into(),
        input: data(&json!({})),
        secrets: data(&json!({"key": "hidden"})),
        at: "2026-01-05T08:00:00Z".parse().unwrap(),
        permit: None,
    };
    let mut again = Run::new(program(yaml), begin);
    let mut actions = Vec::new();
    for (event, at) in &world.journal {
        actions.extend(again.apply(event.clone(), *at));
    }
    assert_eq!(actions, world.actions);
    let keys: std::collections::BTreeSet<&String> = world.keys.iter().collect();
    assert_eq!(keys.len(), 4, "every effect has its own key: {keys:?}");
}

#[test]
fn calls_get_their_evaluated_arguments() {
    let yaml = "do: [{c: {call: http, with: {method: post, endpoint: 'http://a/{id}', body: {x: '${ .id }'}, headers: {k: '${ $secrets.key }'}}}}]";
    let mut world = World::new(yaml, json!({"id": 4}), |_, effect| match effect {
        Effect::Call { with, .. } => Some(Ok(to_json(with))),
        _ => None,
    });
    assert_eq!(
        world.output(),
        json!({"method": "post", "endpoint": "http://a/{id}", "body": {"x": 4}, "headers": {"k": "hidden"}})
    );
}

const WAITS: &str = "do: [{a: {CALL, metadata: {flexible: {site: home}}}}, {b: {set: {b: 1}}}]";

/// A call without braces, to add properties to.
fn waits() -> String {
    WAITS.replace("CALL", CALL.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap())
}

#[test]
fn a_task_begins_once_it_is_permitted_and_hands_its_permit_back() {
    let mut world = World::new(&waits(), json!({}), |key, _| Some(Ok(json!(key))));
    assert!(world.keys.is_empty() && world.of("a").is_empty(), "nothing begins before");
    let asked = world.actions.iter().find_map(|action| match action {
        Action::Permit { with, part_of, reference, .. } => {
            Some((to_json(with), part_of.clone(), reference.clone()))
        }
        _ => None,
    });
    assert_eq!(asked, Some((json!({"site": "home"}), None, "/do/0/a".to_owned())));
    assert_eq!(world.permit(false), "run-1/do/0/a");
    assert_eq!(world.output(), json!({"b": 1}));
    assert_eq!(world.keys, ["run-1/do/0/a"]);
    assert!(world.actions.contains(&Action::Release { id: 1, done: true }));
}

#[test]
fn a_permit_that_is_refused_is_a_fault_of_its_task_and_a_cancelled_one_is_given_back() {
    let mut world = World::new(&waits(), json!({}), |key, _| panic!("{key}"));
    let (id, _) = world.waiting.remove(0);
    let refused = Fault::of(crate::ErrorType::Configuration, "No such site", "x");
    world.tell(Event::Permitted { id, permit: Err(refused) });
    assert_eq!(world.fault().instance, "/do/0/a");
    let mut world = World::new(&waits(), json!({}), |key, _| panic!("{key}"));
    world.tell(Event::Cancelled);
    assert_eq!(world.finish(), &Ended::Cancelled);
    assert!(world.actions.contains(&Action::Release { id: 1, done: false }));
}

#[test]
fn a_run_that_waits_as_a_whole_asks_again_before_each_call_where_the_permit_says_so() {
    let yaml =
        format!("do: [{{l: {{for: {{in: '[1,2]'}}, do: [{{c: {CALL}}}, {{s: {{set: {{x: 1}}}}}}]}}}}]");
    let calls = |key: &str, _: &Effect| Some(Ok(json!(key)));
    let mut world = World::permitted(&yaml, calls);
    assert_eq!(world.permit(false), "run-1");
    assert_eq!((world.output(), world.keys.len()), (json!({"x": 1}), 2));
    let mut world = World::permitted(&yaml, calls);
    assert_eq!(world.permit(true), "run-1");
    assert!(world.keys.is_empty());
    let first = world.permit(false);
    assert_eq!((world.keys.len(), world.waiting.len()), (1, 1), "it pauses between the iterations");
    assert_ne!(first, world.permit(false));
    assert_eq!(world.output(), json!({"x": 1}));
    let parts = world
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Permit { part_of: Some(of), .. } if of == "run-1"));
    assert_eq!(parts.count(), 2);
}

/// A run that subscribes with this policy, and what else the subscription says.
fn subscribes(consume: &str, more: &str, around: &str) -> World {
    let call = format!(
        "{{call: asyncapi, with: {{document: {{endpoint: 'http://a/{{of}}'}}, channel: c, server: {{name: '${{ .server }}'}}, subscription: {{consume: {consume}{more}}}}}{around}}}"
    );
    alone(&format!("do: [{{s: {call}}}]"), json!({"server": "main", "limit": 3}))
}

fn payloads(world: &mut World) -> Vec<Value> {
    let all = world.output();
    all.as_array().unwrap().iter().map(|one| one["payload"].clone()).collect()
}

#[test]
fn messages_are_consumed_until_there_are_enough() {
    let mut amount = subscribes("{amount: 2}", ", filter: '${ .payload.n > 1 }'", "");
    assert_eq!(
        amount.subscribed[0].1,
        json!({"document": {"endpoint": "http://a/{of}"}, "channel": "c", "server": {"name": "main"}})
    );
    let taken: Vec<bool> = [1, 2, 3, 4].map(|n| amount.message(json!({"n": n}))).to_vec();
    assert_eq!(taken, [false, true, true, false], "one that does not pass, and none after the last");
    assert_eq!(payloads(&mut amount), [json!({"n": 2}), json!({"n": 3})]);
    let mut strange = subscribes("{amount: 1}", ", filter: '${ .payload.n > 1 and .payload.x.y }'", "");
    assert!(!strange.message(json!({"n": 2, "x": "text"})), "an expression that fails lets nothing pass");
    assert!(strange.message(json!({"n": 2, "x": {"y": true}})));
    strange.output();
}

#[test]
fn conditions_see_what_was_consumed_and_the_context() {
    for consume in [
        "{until: '${ (. | length) == $context.limit }'}",
        "{until: '${ ($context.consumedMessages | length) == 3 }'}",
        "{while: '${ ($context.messages | length) < 3 }'}",
    ] {
        let mut world = subscribes(consume, "", "");
        for n in 1..=4 {
            assert_eq!(world.message(json!(n)), n <= 3, "{consume}");
        }
        assert_eq!(payloads(&mut world), [1, 2, 3].map(|n| json!(n)), "{consume}");
    }
    let mut never = subscribes("{while: '${ $context.x }'}", "", "");
    assert_eq!((never.output(), never.actions.iter().any(is_subscription)), (json!([]), false));
    let fault = {
        let mut world = subscribes("{until: '${ .[0].payload | error }'}", "", "");
        world.message(json!("no"));
        world.fault()
    };
    assert!(fault.kind.ends_with("/expression") && fault.instance == "/do/0/s", "{fault:?}");
}

fn is_subscription(action: &super::Action) -> bool {
    matches!(action, super::Action::Subscribe { .. })
}

#[test]
fn messages_are_consumed_for_a_time() {
    let mut world = subscribes("{amount: 5, for: {seconds: 10}}", "", "");
    world.message(json!(1));
    assert_eq!((payloads(&mut world), world.seconds()), (vec![json!(1)], 10));
    let mut early = subscribes("{amount: 1, for: PT10S}", "", "");
    early.message(json!(1));
    assert_eq!(
        (payloads(&mut early), early.seconds()),
        (vec![json!(1)], 0),
        "its time is waited for no more"
    );
    // What came before the time was over is still handled.
    let each = ", foreach: {item: m, do: [{w: {wait: PT8S}}, {s: {set: {n: '${ $m.payload }'}}}]}";
    let mut late = subscribes("{amount: 5, for: PT10S}", each, "");
    late.message(json!(1));
    late.message(json!(2));
    assert_eq!((late.output(), late.seconds()), (json!([{"n": 1}, {"n": 2}]), 16));
}

#[test]
fn each_message_is_handled_in_its_turn() {
    let each = ", foreach: {item: m, at: i, do: [{w: {wait: PT1S}}, {e: {emit: {event: {with: {type: t, data: '${ $m.payload }'}}}}}], output: {as: '{got: .data, i: $i}'}, export: {as: '{last: $output.got}'}}";
    let mut world =
        subscribes("{until: '${ .[-1].got == 3 }'}", each, ", output: {as: '{all: ., last: $context.last}'}");
    for n in 1..=4 {
        assert!(world.message(json!(n)), "they wait for their turn");
    }
    assert_eq!(
        world.output(),
        json!({"all": [{"got": 1, "i": 0}, {"got": 2, "i": 1}, {"got": 3, "i": 2}], "last": 3})
    );
    assert_eq!(world.emitted.len(), 3, "the one after the end is not handled");
    let mut counted = subscribes("{amount: 2}", each, "");
    assert_eq!([1, 2, 3].map(|n| counted.message(json!(n))), [true, true, false]);
    assert_eq!(counted.output(), json!([{"got": 1, "i": 0}, {"got": 2, "i": 1}]));
}

#[test]
fn messages_that_nobody_has_handled_yet_are_bounded() {
    let each = ", foreach: {do: [{w: {wait: PT1S}}]}";
    let mut world = subscribes("{while: '${ true }'}", each, "");
    let taken = (0..2_000).take_while(|n| world.message(json!(n))).count();
    assert_eq!(taken, 1_001, "one is handled, a thousand wait");
    assert!(world.pass() && world.message(json!("more")), "there is room again");
}

#[test]
fn a_subscription_ends_with_its_task_its_run_or_itself() {
    let mut late = subscribes("{while: '${ true }'}", "", ", timeout: {after: PT3S}");
    late.message(json!(1));
    assert_eq!((late.fault().status, late.seconds(), late.subscribed.len()), (408, 3, 0));
    let mut cancelled = subscribes("{while: '${ true }'}", ", foreach: {do: [{w: {wait: PT1H}}]}", "");
    cancelled.message(json!(1));
    cancelled.tell(Event::Cancelled);
    assert_eq!(*cancelled.finish(), Ended::Cancelled);
    assert_eq!(cancelled.of("w"), [Traced::Started, Traced::Cancelled]);
    let mut ended = subscribes("{amount: 5}", "", "");
    ended.message(json!(1));
    let id = ended.subscribed[0].0;
    ended.tell(Event::Done { id, outcome: Ok(crate::jq::Data::Null) });
    assert_eq!(payloads(&mut ended), [json!(1)]);
    let mut lost = subscribes("{amount: 5}", "", "");
    let id = lost.subscribed[0].0;
    lost.tell(Event::Done { id, outcome: Err(refused()) });
    assert_eq!((lost.fault().status, lost.subscribed.len()), (503, 0));
}

#[test]
fn a_run_that_subscribes_is_restored_by_what_came() {
    let each = ", foreach: {do: [{w: {wait: PT1S}}]}";
    let mut world = subscribes("{amount: 3}", each, "");
    for n in 1..=3 {
        assert!(world.message(json!(n)));
    }
    world.output();
    let yaml = "do: [{s: {call: asyncapi, with: {document: {endpoint: 'http://a/{of}'}, channel: c, server: {name: '${ .server }'}, subscription: {consume: {amount: 3}, foreach: {do: [{w: {wait: PT1S}}]}}}}}]";
    let begin = Begin {
        id: "run-1".into(),
        input: data(&json!({"server": "main", "limit": 3})),
        secrets: data(&json!({"key": "hidden"})),
        at: "2026-01-05T08:00:00Z".parse().unwrap(),
        permit: None,
    };
    let mut again = Run::new(program(yaml), begin);
    let actions: Vec<super::Action> =
        world.journal.iter().flat_map(|(event, at)| again.apply(event.clone(), *at)).collect();
    assert_eq!(actions, world.actions);
}

#[test]
fn the_task_in_an_export_has_the_output_before_it_was_transformed() {
    let yaml = "output: {as: $context}\ndo: [{a: {set: {a: 1}, output: {as: .a}, export: {as: '{raw: $task.output, out: $output, in: .}'}}}]";
    assert_eq!(output(yaml, json!({})), json!({"raw": {"a": 1}, "out": 1, "in": 1}));
    let each = "output: {as: $context}\ndo: [{f: {fork: {branches: [{l: {listen: {to: {one: {with: {type: t}}}}, foreach: {do: [{s: {set: {n: '${ .n + 1 }'}}}], output: {as: .n}, export: {as: '{raw: $task.output, out: $output}'}}}}, {e: {emit: {event: {with: {source: s, type: t, data: {n: 1}}}}}}]}}}]";
    let mut world = alone(each, json!({}));
    let event = world.emitted[0].clone();
    world.publish(&event);
    assert_eq!(world.output(), json!({"raw": {"n": 2}, "out": 2}));
}

#[test]
fn a_call_knows_who_it_says_that_it_comes_from() {
    let asked = |authentication: &str| {
        let yaml = format!(
            "use: {{secrets: [key], authentications: {{mine: {{bearer: {{token: '${{ $secrets.key }}'}}}}}}}}\ndo: [{{c: {{call: http, with: {{method: post, endpoint: {{uri: 'http://a/b', authentication: {authentication}}}, body: '${{ $authorization }}'}}, output: {{as: '{{answer: ., by: $authorization}}'}}, export: {{as: $authorization.scheme}}}}}}, {{s: {{set: {{was: '${{ . }}', scheme: '${{ $context }}', now: '${{ $authorization }}'}}}}}}]"
        );
        let service = |_: &str, effect: &Effect| match effect {
            Effect::Call { with, .. } => Some(Ok(to_json(with)["body"].clone())),
            _ => None,
        };
        World::new(&yaml, json!({"who": "anna"}), service).output()
    };
    let seen = |by: Value| json!({"was": {"answer": by, "by": by}, "scheme": by["scheme"], "now": null});
    assert_eq!(asked("{use: mine}"), seen(json!({"scheme": "Bearer", "parameter": "hidden"})));
    let basic = json!({"scheme": "Basic", "parameter": "YW5uYTpw"});
    assert_eq!(asked("{basic: {username: '${ .who }', password: p}}"), seen(basic));
    assert_eq!(asked("{digest: {username: u, password: p}}"), seen(json!({"scheme": "Digest"})));
}

#[test]
fn extensions_see_the_task_that_they_extend() {
    let yaml = "use: {extensions: [{log: {extend: set, when: '$task.set.n == 1 and $task.name == \"a\"', before: [{b: {set: {before: '${ $task.reference }', with: '${ $task.definition.set.n }', out: '${ $task.output }'}, export: {as: .}}}], after: [{c: {set: {after: '${ $task.reference }', in: '${ $task.input }', out: '${ $task.output }'}, export: {as: '{first: $context, then: .}'}}}]}}]}\noutput: {as: $context}\ndo: [{a: {set: {n: 1}, output: {as: .n}}}, {b: {set: {n: 2}}}]";
    let before = json!({"before": "/do/0/a", "with": 1, "out": null});
    let after = json!({"after": "/do/0/a", "in": {"x": 0}, "out": {"n": 1}});
    assert_eq!(output(yaml, json!({"x": 0})), json!({"first": before, "then": after}));
}

#[test]
fn the_example_that_mocks_a_service_mocks_it() {
    let yaml = |uri: &str| {
        format!(
            "use: {{extensions: [{{mock: {{extend: call, when: '$task.call == \"http\" and ($task.with.uri != null and ($task.with.uri | startswith(\"https://mocked\"))) or ($task.with.endpoint.uri != null and ($task.with.endpoint.uri | startswith(\"https://mocked\")))', before: [{{i: {{set: {{mocked: true}}, then: exit}}}}]}}}}]}}\ndo: [{{c: {{call: http, with: {{method: get, endpoint: {uri}}}}}}}]"
        )
    };
    assert_eq!(output(&yaml("{uri: 'https://mocked.example'}"), json!({})), json!({"mocked": true}));
    // An endpoint that is text has no `uri`: the condition fails.
    for other in ["{uri: 'https://other.example'}", "'https://other.example'"] {
        let mut called = World::new(&yaml(other), json!({}), |_, _| Some(Ok(json!("called"))));
        assert_eq!(called.output(), json!("called"));
    }
}

#[test]
fn what_is_not_waited_for_hands_on_its_input() {
    let yaml = "do: [{a: {input: {from: .n}, run: {shell: {command: x}, await: false}}}]";
    let mut world = World::new(yaml, json!({"n": 4}), |_, effect| {
        assert!(matches!(effect, Effect::Run { awaits: false, .. }));
        Some(Ok(json!({"id": "began"})))
    });
    assert_eq!(world.output(), json!(4));
}

#[test]
fn a_race_of_nobody_changes_nothing() {
    assert_eq!(output("do: [{f: {fork: {compete: true, branches: []}}}]", json!({"n": 1})), json!({"n": 1}));
    assert_eq!(output("do: [{f: {fork: {branches: []}}}]", json!({"n": 1})), json!([]));
}

#[test]
fn what_an_error_says_is_text_whatever_it_is_made_of() {
    let yaml = "do: [{r: {raise: {error: {type: 'https://example.org/e', status: 400, title: '${ .n }', detail: '${ . }'}}}}]";
    let fault = alone(yaml, json!({"n": 7})).fault();
    assert_eq!((fault.title.as_deref(), fault.detail.as_deref()), (Some("7"), Some("{\"n\":7}")));
    let fault = alone(yaml, json!({"n": null})).fault();
    assert_eq!(fault.title, None);
}

#[test]
fn a_filter_has_expressions_inside_of_its_values_and_constants_that_are_written() {
    let waits = |filter: &str| format!("do: [{{l: {{listen: {{to: {{one: {{{filter}}}}}}}}}}}]");
    let event =
        |n: i64| json!({"source": "s", "id": n.to_string(), "type": "t", "data": {"n": n, "of": "a"}});
    for filter in [
        "with: {type: t, data: {n: '${ $input.want }', of: a}}",
        "with: {type: t, data: '${ .n > 6 }'}",
        "with: {type: t}, correlate: {n: {from: .data.n, expect: '7'}}",
        "with: {type: t}, correlate: {n: {from: .data.n, expect: '${ .want }'}}",
    ] {
        let mut world = alone(&waits(filter), json!({"want": 7}));
        world.publish(&event(6));
        assert!(world.run.ended().is_none(), "{filter}");
        world.publish(&event(7));
        assert_eq!(world.output(), json!([{"n": 7, "of": "a"}]), "{filter}");
    }
}
