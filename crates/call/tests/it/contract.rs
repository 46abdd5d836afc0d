//! What breaks callers of a contract, and what does not.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sos_call::{Contract, Difference, DifferenceKind, Operation, Protocol, Streaming, compare_contracts};

use DifferenceKind::{Breaking, Compatible, Unknown};

fn contract(input: Value, output: Value) -> Contract {
    let operation = Operation {
        name: "call".into(),
        path: "POST /call".into(),
        summary: String::new(),
        input,
        output,
        streaming: Streaming::None,
        repeatable: true,
        deprecated: false,
    };
    Contract { protocol: Protocol::Rest, title: "t".into(), version: "1".into(), operations: vec![operation] }
}

fn told(old: &Contract, new: &Contract) -> Vec<(String, DifferenceKind)> {
    compare_contracts(old, new).into_iter().map(|d| (format!("{} {}", d.place, d.change), d.kind)).collect()
}

/// The kinds of a change of an input and of an output, and of the change back.
fn kinds(old: &Value, new: &Value) -> [BTreeSet<DifferenceKind>; 4] {
    let any = json!(true);
    let of = |a: &Contract, b: &Contract| compare_contracts(a, b).into_iter().map(|d| d.kind).collect();
    let inputs = [contract(old.clone(), any.clone()), contract(new.clone(), any.clone())];
    let outputs = [contract(any.clone(), old.clone()), contract(any, new.clone())];
    [
        of(&inputs[0], &inputs[1]),
        of(&outputs[0], &outputs[1]),
        of(&inputs[1], &inputs[0]),
        of(&outputs[1], &outputs[0]),
    ]
}

/// Places that a schema can be put at; a change there counts the same.
fn wrapped(schema: &Value) -> Vec<Value> {
    vec![
        schema.clone(),
        json!({ "type": "object", "properties": { "a/b~c": schema } }),
        json!({ "type": "array", "items": schema }),
        json!({ "type": "object", "additionalProperties": schema }),
        json!({ "prefixItems": [{ "type": "string" }, schema] }),
        json!({ "allOf": [{ "properties": { "x": schema } }, { "required": ["x"] }] }),
        json!({ "anyOf": [schema, { "type": "null" }] }),
        json!({ "oneOf": [{ "title": "other", "type": "boolean" }, { "title": "this", "allOf": [schema] }] }),
        json!({ "$ref": "#/$defs/D", "$defs": { "D": { "properties": { "d": { "$ref": "#/$defs/D" }, "x": schema } } } }),
    ]
}

fn holds(old: Value, new: Value, wanted: [DifferenceKind; 4]) {
    for (old, new) in wrapped(&old).iter().zip(&wrapped(&new)) {
        assert_eq!(kinds(old, new), wanted.map(|kind| BTreeSet::from([kind])), "{old}\n{new}");
    }
}

/// What lets less through breaks inputs only, and going back outputs only.
const NARROWER: [DifferenceKind; 4] = [Breaking, Compatible, Compatible, Breaking];
const UNCLEAR: [DifferenceKind; 4] = [Unknown; 4];

#[test]
fn what_lets_less_through_breaks_inputs_and_what_lets_more_through_breaks_outputs() {
    for (old, new) in [
        (json!({ "type": "number" }), json!({ "type": "integer" })),
        (json!({ "type": ["string", "integer"] }), json!({ "type": "string" })),
        (json!({ "type": "string" }), json!({ "type": "string", "enum": ["a"] })),
        (json!({ "enum": ["a", "b", 3] }), json!({ "enum": ["b", "a"] })),
        (json!({ "enum": ["a", "b"] }), json!({ "const": "a" })),
        (json!({ "minimum": 1 }), json!({ "minimum": 2 })),
        (json!({ "maximum": 2.5 }), json!({ "maximum": 2 })),
        (json!({ "maximum": 9_007_199_254_740_993_i64 }), json!({ "maximum": 9_007_199_254_740_992_i64 })),
        (json!({ "type": "string" }), json!({ "type": "string", "maxLength": 5 })),
        (json!({ "type": "array" }), json!({ "type": "array", "minItems": 1 })),
        (json!({ "type": "array" }), json!({ "type": "array", "items": { "type": "string" } })),
        (json!({ "type": "array" }), json!({ "type": "array", "uniqueItems": true })),
        (json!({ "multipleOf": 2 }), json!({ "multipleOf": 4 })),
        (json!({ "type": "string" }), json!({ "type": "string", "pattern": "^a" })),
        (json!({ "type": "integer", "format": "int64" }), json!({ "type": "integer", "format": "int32" })),
        (json!({ "properties": { "a": {} } }), json!({ "properties": { "a": {} }, "required": ["a"] })),
        (json!({}), json!({ "required": ["a"] })),
        (
            json!({ "type": "object" }),
            json!({ "type": "object", "properties": { "a": {} }, "required": ["a"] }),
        ),
        (json!({ "additionalProperties": true }), json!({ "additionalProperties": { "type": "string" } })),
        (
            json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            json!({ "oneOf": [{ "type": "number" }] }),
        ),
        (json!({ "minimum": 1 }), json!({ "allOf": [{ "minimum": 1 }, { "minimum": 3 }] })),
    ] {
        // A required property that is gone: not known for inputs, and worse than optional for outputs.
        let gone = new.get("required").is_some()
            && old.get("properties").is_none()
            && new.get("properties").is_some();
        let wanted = if gone { [Breaking, Compatible, Unknown, Breaking] } else { NARROWER };
        holds(old, new, wanted);
    }
}

#[test]
fn properties_that_come_and_go_follow_the_rules_of_readers() {
    let (none, one) = (json!({ "type": "object" }), json!({ "type": "object", "properties": { "a": {} } }));
    holds(none, one, [Compatible, Compatible, Unknown, Breaking]);
    let closed = |properties: Value| json!({ "properties": properties, "additionalProperties": false });
    holds(closed(json!({})), closed(json!({ "a": {} })), [Compatible, Compatible, Breaking, Breaking]);
    let (open, shut) =
        (json!({ "type": "object" }), json!({ "type": "object", "additionalProperties": false }));
    holds(open, shut, [Breaking, Compatible, Compatible, Compatible]);
    // A map's value that gets a name of its own.
    let map = json!({ "additionalProperties": { "type": "string" } });
    let named =
        json!({ "additionalProperties": { "type": "string" }, "properties": { "a": { "type": "string" } } });
    holds(map, named, [Compatible, Compatible, Unknown, Breaking]);
}

#[test]
fn what_cannot_be_told_is_said_to_be_unknown() {
    for (old, new) in [
        (json!({ "pattern": "^a" }), json!({ "pattern": "^b" })),
        (json!({ "format": "date" }), json!({ "format": "date-time" })),
        (json!({ "not": { "type": "string" } }), json!({ "not": { "type": "number" } })),
        (json!({ "if": {} , "then": {}}), json!({ "if": {}, "then": { "type": "string" } })),
        (json!({ "type": "string" }), json!({ "type": "string", "$ref": "#/nowhere" })),
    ] {
        let [input, output, ..] = kinds(&old, &new);
        assert!(input.contains(&Unknown) && output.contains(&Unknown), "{old} {new}");
    }
    holds(json!({ "not": { "const": 1 } }), json!({ "not": { "const": 2 } }), UNCLEAR);
    holds(json!({ "default": 1 }), json!({ "default": 2 }), [Unknown, Compatible, Unknown, Compatible]);
    holds(json!({ "type": "string" }), json!({ "type": "object" }), [Breaking; 4]);
    assert_eq!(
        kinds(&json!({ "type": ["object", "null"] }), &json!({ "anyOf": [{ "type": "object" }] })),
        NARROWER.map(|kind| BTreeSet::from([kind]))
    );
    holds(json!({ "deprecated": false }), json!({ "deprecated": true }), [Compatible; 4]);
}

#[test]
fn words_for_people_references_and_order_are_no_differences() {
    for (old, new) in [
        (json!({ "title": "a", "description": "b" }), json!({ "examples": [1], "x-owner": "c" })),
        (
            json!({ "type": ["string", "null"] }),
            json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }),
        ),
        (
            json!({ "allOf": [{ "type": "object" }, { "required": ["a"] }] }),
            json!({ "type": "object", "required": ["a"] }),
        ),
        (json!({ "const": "a" }), json!({ "enum": ["a"] })),
        (json!({}), json!(true)),
        (
            json!({ "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "items": { "$ref": "#/$defs/A" } } } }),
            json!({ "properties": { "a": { "$ref": "#/$defs/B%20b" } }, "$defs": { "B b": { "items": { "$ref": "#/$defs/B%20b" } } } }),
        ),
        (
            json!({ "oneOf": [{ "minimum": 1 }, { "pattern": "a" }, { "type": "string" }] }),
            json!({ "oneOf": [{ "type": "string" }, { "pattern": "a" }, { "minimum": 1 }] }),
        ),
    ] {
        assert_eq!(kinds(&old, &new), [const { BTreeSet::new() }; 4], "{old} {new}");
    }
}

#[test]
fn differences_are_told_with_operation_and_place_once_and_in_order() {
    let order = |price: Value| {
        json!({
            "$ref": "#/$defs/Order",
            "$defs": {
                "Order": { "type": "object", "properties": { "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } }, "first": { "$ref": "#/$defs/Line" } } },
                "Line": { "type": "object", "properties": { "price": price, "order": { "$ref": "#/$defs/Order" } } },
            },
        })
    };
    let old = contract(order(json!({ "type": "number" })), json!({ "enum": ["open", "done"] }));
    let mut new = contract(order(json!({ "type": "string" })), json!({ "enum": ["open", "gone"] }));
    new.version = "2".into();
    new.operations[0].repeatable = false;
    new.operations[0].deprecated = true;
    new.operations[0].path = "PUT /call".into();
    new.operations[0].streaming = Streaming::Outputs;
    let mut extra = new.operations[0].clone();
    extra.name = "extra".into();
    new.operations.push(extra);
    let found = compare_contracts(&old, &new);
    let lines: Vec<_> =
        found.iter().map(|d| format!("{}|{}|{}|{}", d.operation, d.place, d.change, d.kind.word())).collect();
    assert_eq!(
        lines,
        [
            "|/version|version was `1`, is `2`|compatible",
            "call|/deprecated|is deprecated now|compatible",
            "call|/input/$defs/Line/properties/price|type was number, is string|breaking",
            "call|/output|values that are gone: \"done\"|compatible",
            "call|/output|values that are new: \"gone\"|breaking",
            "call|/path|path was `POST /call`, is `PUT /call`|breaking",
            "call|/repeatable|must not be repeated any more|breaking",
            "call|/streaming|streaming was `one input, one output`, is `one input, many outputs`|breaking",
            "extra||the operation is new|compatible",
        ]
    );
    let back = told(&new, &old);
    assert!(back.contains(&(" the operation is gone".to_owned(), Breaking)));
    assert!(back.contains(&("/repeatable may be repeated now".to_owned(), Compatible)));
    let mut grpc = old.clone();
    grpc.protocol = Protocol::Grpc;
    assert_eq!(told(&old, &grpc), [("/protocol protocol was `rest`, is `grpc`".to_owned(), Breaking)]);
}

#[test]
fn schemas_without_end_are_compared_within_bounds() {
    // Each definition refers to all, in alternatives that have no names.
    let web = |leaf: &str| {
        let all: Vec<_> = (0..60)
            .map(|n| json!({ "properties": { "next": { "$ref": format!("#/$defs/D{n}") } }, "minProperties": n }))
            .collect();
        let defs: Map<_, _> = (0..60)
            .map(|n| (format!("D{n}"), json!({ "oneOf": all, "properties": { "leaf": { "type": leaf } } })))
            .collect();
        json!({ "$ref": "#/$defs/D0", "$defs": defs })
    };
    let found = told(&contract(web("string"), json!({})), &contract(web("number"), json!({})));
    assert!(found.iter().any(|(change, _)| change.contains("/leaf type was string, is number")), "{found:?}");
    let chain = |end: Value| {
        let mut deep = end;
        for _ in 0..120 {
            deep = json!({ "items": deep });
        }
        contract(deep, json!({}))
    };
    let found = told(&chain(json!({ "type": "string" })), &chain(json!({ "type": "number" })));
    assert_eq!(found.len(), 1);
    assert!(found[0].0.contains("too large to be compared whole") && found[0].1 == Unknown);
    let many =
        |range: std::ops::Range<u32>| contract(json!({ "enum": range.collect::<Vec<_>>() }), json!({}));
    let found = compare_contracts(&many(0..60_000), &many(1..60_001));
    assert_eq!(found.iter().map(|d| d.kind).collect::<Vec<_>>(), [Breaking, Compatible]);
    // What refers to itself, against what asks nothing.
    let endless = contract(json!({ "additionalProperties": { "items": { "$ref": "#" } } }), json!({}));
    let found = compare_contracts(&endless, &contract(json!({}), json!({})));
    assert!(found.iter().all(|d| d.place.starts_with("/input")), "{found:?}");
    let circle = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/B" }, "B": { "$ref": "#/$defs/A" } } });
    told(&contract(circle, json!({})), &contract(json!({ "type": "string" }), json!({})));
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!(false)),
        "(string|integer|number|boolean|null|object|array)".prop_map(|name| json!({ "type": name })),
        prop::collection::btree_set("[a-d]", 1..4).prop_map(|values| json!({ "enum": values })),
        (0..5, 0..5).prop_map(|(min, max)| json!({ "type": "number", "minimum": min, "maximum": max })),
        Just(json!({ "type": "string", "format": "date", "pattern": "x", "deprecated": true })),
        "[A-C]".prop_map(|name| json!({ "$ref": format!("#/$defs/{name}") })),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        let closed = prop::option::of(inner.clone());
        let object = (prop::collection::btree_map("[a-d]", inner.clone(), 0..4), prop::collection::btree_set("[a-d]", 0..3), closed)
            .prop_map(|(properties, required, rest)| match rest {
                Some(rest) => json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": rest }),
                None => json!({ "properties": properties, "required": required }),
            });
        prop_oneof![
            3 => object,
            1 => inner.prop_map(|items| json!({ "type": "array", "items": items })),
            1 => some.clone().prop_map(|all| json!({ "oneOf": all })),
            1 => some.prop_map(|all| json!({ "allOf": all })),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    (schema(), schema(), schema(), schema())
        .prop_map(|(root, a, b, c)| json!({ "allOf": [root], "$defs": { "A": a, "B": b, "C": c } }))
}

/// The same with all lists of alternatives and enumerations turned round.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(all) => all.iter().map(|(name, inner)| (name.clone(), turned(inner))).collect(),
        Value::Array(all) => all.iter().rev().map(turned).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_contract_does_not_differ_from_itself_in_whatever_order_it_is_written(one in document(), two in document()) {
        let same = contract(one.clone(), two.clone());
        prop_assert_eq!(compare_contracts(&same, &same), vec![]);
        let other = contract(turned(&one), two);
        prop_assert_eq!(compare_contracts(&same, &other), vec![]);
    }

    #[test]
    fn any_two_contracts_are_compared_in_order_and_each_difference_once(one in document(), two in document()) {
        let (old, new) = (contract(one.clone(), two.clone()), contract(two, one));
        let found: Vec<Difference> = compare_contracts(&old, &new);
        prop_assert!(found.is_sorted_by(|a, b| a < b));
        prop_assert!(found.iter().all(|d| d.place.starts_with("/input") || d.place.starts_with("/output")));
    }

    #[test]
    fn what_is_added_and_removed_again_is_told_at_the_same_places(
        one in document(), two in schema(), name in "[e-h]", added in schema(), needed in any::<bool>(),
    ) {
        let of = |more: Option<&Value>| {
            let mut all = json!({ "properties": { "a": one["allOf"][0], "b": two }, "$defs": one["$defs"] });
            if let Some(more) = more {
                all["properties"][&name] = more.clone();
                all["required"] = if needed { json!([&name]) } else { json!([]) };
            }
            contract(all.clone(), all)
        };
        let (old, new) = (of(None), of(Some(&added)));
        let places = |found: Vec<Difference>| -> Vec<_> { found.into_iter().map(|d| (d.place, d.kind)).collect() };
        let at = |side| format!("/{side}/properties/{name}");
        let input = if needed { Breaking } else { Compatible };
        prop_assert_eq!(places(compare_contracts(&old, &new)), [(at("input"), input), (at("output"), Compatible)]);
        prop_assert_eq!(places(compare_contracts(&new, &old)), [(at("input"), Unknown), (at("output"), Breaking)]);
    }
}
