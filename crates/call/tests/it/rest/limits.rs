//! Descriptions that are large, deep or circular, and values that are: refused or read, within time and stack.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sos_call::rest::Client;
use sos_call::{Documents, ErrorKind, Limits};

use super::peers::echo;
use super::{Asked, described};

fn refused(text: impl Into<String>) -> String {
    let error = Client::read(&Documents::one("o.yaml", text.into())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadDocument);
    error.to_string()
}

/// A description of one operation that takes a body of the first of these schemas.
fn with_schemas(schemas: &serde_json::Map<String, Value>, first: &str) -> String {
    json!({
        "openapi": "3.1.0",
        "paths": {"/x": {"post": {
            "operationId": "x",
            "requestBody": {"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{first}")}}}},
            "responses": {"200": {"description": "x", "content": {"application/json": {}}}},
        }}},
        "components": {"schemas": schemas},
    })
    .to_string()
}

fn chain(length: usize, link: impl Fn(Value) -> Value) -> String {
    let mut schemas = serde_json::Map::new();
    for number in 0..length {
        let next = json!({"$ref": format!("#/components/schemas/S{}", number + 1)});
        schemas.insert(format!("S{number}"), link(next));
    }
    schemas.insert(format!("S{length}"), json!({"type": ["integer", "object", "array"]}));
    with_schemas(&schemas, "S0")
}

#[tokio::test]
async fn long_chains_of_references_are_checked_without_overflowing_a_stack() {
    let Some(server) = echo() else { return };
    // Definitions that each lead to the next in a part of the value.
    let parts = described(&chain(4000, |next| json!({"properties": {"a": {"allOf": [{"items": next}]}}})));
    let asked = Asked::new(&parts, server.port, "");
    asked.call("x", json!({"body": {"a": [{"a": []}]}})).await.unwrap();
    // About the same value, with a value as deep as is allowed.
    let same = described(&chain(900, |next| json!({"allOf": [next]})));
    let asked = Asked::new(&same, server.port, "");
    asked.call("x", json!({"body": 7})).await.unwrap();
    let refused = asked.call("x", json!({"body": "x"})).await.unwrap_err();
    assert_eq!((refused.kind, refused.place.as_str()), (ErrorKind::BadInput, "/body"));
    assert!(self::refused(chain(3000, |next| json!({"allOf": [next]}))).contains("chains of more than"));
    assert!(self::refused(chain(21_000, |next| json!({"items": next}))).contains("chains of more than"));
}

#[tokio::test]
async fn deep_values_meet_recursive_schemas_without_overflowing_a_stack() {
    let Some(server) = echo() else { return };
    let mut schemas = serde_json::Map::new();
    for number in 0..400 {
        let next = format!("#/components/schemas/S{}", (number + 1) % 400);
        let first = "#/components/schemas/S0";
        schemas.insert(
            format!("S{number}"),
            json!({"allOf": [{"$ref": next}], "anyOf": [{"items": {"$ref": first}}, {"type": "integer"}]}),
        );
    }
    let client = described(&with_schemas(&schemas, "S0"));
    let mut asked = Asked::new(&client, server.port, "");
    asked.timeout = Duration::from_secs(60);
    let mut deep = json!(7);
    for _ in 0..125 {
        deep = Value::Array(vec![deep]);
    }
    asked.call("x", json!({"body": deep})).await.unwrap();
    for _ in 0..100_000 {
        deep = Value::Array(vec![deep]);
    }
    // `json!` would recurse.
    let input = Value::Object(serde_json::Map::from_iter([("body".to_owned(), deep)]));
    let call = sos_call::Call {
        endpoint: &asked.endpoint,
        operation: "x",
        input: &input,
        headers: &[],
        query: &[],
        timeout: asked.timeout,
        limits: Limits::default(),
    };
    let error = client.call(&super::transport(), &call).await.unwrap_err();
    assert!(error.kind == ErrorKind::BadInput && error.message.contains("at most 127"), "{error}");
    // Dropping such a value recurses, which is not ours to mend here.
    std::mem::forget(input);
}

#[tokio::test]
async fn schemas_that_circle_about_the_same_value_hold_what_they_say() {
    let Some(server) = echo() else { return };
    // Found in many descriptions: a base that lists its kinds, which are composed of the base.
    let client = described(
        "
openapi: 3.0.0
paths:
  /x:
    post:
      operationId: x
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Device'}}}}
      responses: {'200': {description: x, content: {application/json: {}}}}
components:
  schemas:
    Device:
      type: object
      required: [kind]
      oneOf: [{$ref: '#/components/schemas/Meter'}, {$ref: '#/components/schemas/Battery'}]
      discriminator: {propertyName: kind}
    Meter: {allOf: [{$ref: '#/components/schemas/Device'}, {properties: {kind: {enum: [meter]}}}]}
    Battery: {allOf: [{$ref: '#/components/schemas/Device'}, {properties: {kind: {enum: [battery]}}}]}
",
    );
    let asked = Asked::new(&client, server.port, "");
    assert!(asked.call("x", json!({"body": {"kind": "meter"}})).await.is_ok());
    assert!(asked.call("x", json!({"body": {"kind": "car"}})).await.is_err());
    assert!(asked.call("x", json!({"body": {}})).await.is_err());
}

#[test]
fn descriptions_beyond_the_bounds_are_refused_in_time() {
    let start = Instant::now();
    let mut paths = "openapi: 3.0.0\npaths:\n".to_owned();
    for number in 0..50_001 {
        writeln!(paths, "  /p{number}: {{get: {{responses: {{}}}}}}").unwrap();
    }
    assert!(refused(paths).contains("more than 50000 operations"));
    let values = format!("{{\"openapi\": \"3.0.0\", \"x\": [{}1]}}", "1,".repeat(4_000_001));
    assert!(refused(values).contains("more than 4000000 values"));
    assert!(refused(" ".repeat((64 << 20) + 1)).contains("at most 67108864 are read"));
    assert!(refused("{".repeat(100_000)).contains("deeper than 120 levels"));
    assert!(refused("[".repeat(100_000)).contains("deeper than 120 levels"));
    let circle = "openapi: 3.0.0\npaths: {/x: {$ref: '#/a'}}\na: {$ref: '#/b'}\nb: {$ref: '#/a'}\n";
    assert!(refused(circle).contains("in a circle to nothing"));
    assert!(
        refused("openapi: 3.0.0\npaths: {/x: {$ref: 'http://127.0.0.1:1/x.yaml'}}")
            .contains("no such document")
    );
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn all_problems_of_a_description_are_told_with_lines() {
    let text = "
openapi: 3.0.0
paths:
  /a:
    get:
      parameters: [{name: x, in: nowhere}]
      responses:
        '700': {description: no}
        '200': {description: x, content: {application/json: {schema: {type: strin}}}}
  b: {}
";
    let told = refused(text);
    for part in
        ["line 6", "`nowhere`", "line 8", "such as `200`", "line 9", "`strin`", "line 10", "begins with `/`"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn many_operations_share_large_schemas_within_bounded_memory() {
    let mut schemas = serde_json::Map::new();
    for number in 0..2000 {
        let other = |by: usize| json!({"$ref": format!("#/components/schemas/S{}", (number + by) % 2000)});
        schemas.insert(
            format!("S{number}"),
            json!({"type": "object", "description": "x".repeat(100), "properties": {"a": other(1), "b": other(7)}}),
        );
    }
    let mut description: Value = serde_json::from_str(&with_schemas(&schemas, "S0")).unwrap();
    let operation = description["paths"]["/x"]["post"].clone();
    for number in 0..2000 {
        let mut operation = operation.clone();
        operation["operationId"] = format!("x{number}").into();
        description["paths"][format!("/x{number}")] = json!({ "post": operation });
    }
    let start = Instant::now();
    let client = described(&description.to_string());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let text: usize = client.contract().operations.iter().map(|one| one.input.to_string().len()).sum();
    assert!(text < 96 << 20, "{text}");
    let cut = &client.contract().operation("x7").unwrap().input["$defs"];
    assert!(cut["S0"]["properties"].is_object());
    assert!(cut.to_string().contains("left out here"), "{cut}");
}
