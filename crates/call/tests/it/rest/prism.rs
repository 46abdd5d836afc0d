//! Calls to Prism, which plays our descriptions and refuses with 422 what does not fit them by its own judgement.

use serde_json::{Value, json};
use sos_call::rest::Client;
use sos_call::{ErrorKind, Secret};

use super::peers::prism;
use super::{Asked, cases, client, market};

async fn taken(asked: &Asked<'_>, operation: &str, input: Value) -> Value {
    let answer = asked.call(operation, input.clone()).await;
    answer.unwrap_or_else(|error| panic!("{operation} {input}: {error} {:?}", error.fault)).output
}

/// Prism 5.16 ends when a comma stands in a parameter of a path, and takes exploded maps of the label style apart at commas,
/// against the specification; those are held against its table in `wire.rs` only. Of a list with spaces it makes one item.
#[tokio::test]
async fn parameters_of_every_style_are_understood() {
    let Some(server) = prism(&cases().join("styles-3.0.yaml")) else { return };
    let client = client(&["styles-3.0.yaml"]);
    let asked = Asked::new(&client, server.port, "");
    let rgb = json!({"b": 150, "g": 200, "r": 100});
    let (list, one) = (json!(["blue", "black"]), json!({"r": 100}));
    for (operation, input) in [
        ("simpleExploded", json!({"one": "blue", "list": ["blue"], "map": one})),
        ("labelExploded", json!({"one": "blue", "list": list, "map": one})),
        ("matrixExploded", json!({"one": "blue", "list": list, "map": one})),
        ("form", json!({"one": "blue", "list": list, "map": rgb})),
        ("formExploded", json!({"one": "blue", "list": list, "map": rgb})),
        ("spaceDelimited", json!({"list": list})),
        ("pipeDelimited", json!({"list": list})),
        ("deepObject", json!({"map": rgb})),
        ("reserved", json!({"path": "/a/b?c", "plain": "ä&="})),
        ("headers", json!({"X-One": 7, "X-List": ["a", "b"], "X-Map": rgb, "X-Map-Exploded": rgb})),
        ("cookies", json!({"one": "a"})),
        ("sameNames", json!({"path.id": 2, "query.id": true, "page": "x"})),
    ] {
        taken(&asked, operation, input).await;
    }
}

/// That Prism looks at what it gets: the same calls by a description without limits are refused by it.
#[tokio::test]
async fn what_our_checks_would_refuse_prism_refuses_too() {
    let Some(server) = prism(&cases().join("styles-3.0.yaml")) else { return };
    let text = std::fs::read_to_string(cases().join("styles-3.0.yaml")).unwrap();
    let open = text.replace(", maxItems: 3", "").replace("required: [r]", "minProperties: 1");
    let open = open.replace("minimum: 1, exclusiveMinimum: true", "minimum: 0");
    let open = super::described(&open);
    let asked = Asked::new(&open, server.port, "");
    let strict = client(&["styles-3.0.yaml"]);
    let strict = Asked::new(&strict, server.port, "");
    let four = json!(["a", "b", "c", "d"]);
    for (operation, input) in [
        ("labelExploded", json!({"one": "x", "list": four, "map": {"r": 1}})),
        ("matrixExploded", json!({"one": "x", "list": four, "map": {"r": 1}})),
        ("form", json!({"list": four})),
        ("formExploded", json!({"list": four})),
        ("pipeDelimited", json!({"list": four})),
        ("deepObject", json!({"map": {"g": 1}})),
        ("sameNames", json!({"path.id": 1, "query.id": true})),
    ] {
        let refused = asked.call(operation, input.clone()).await.unwrap_err();
        assert_eq!(refused.fault.as_ref().map(|fault| fault.status), Some(422), "{operation}: {refused}");
        assert!(refused.message.contains("Invalid request"), "{refused}");
        let ours = strict.call(operation, input).await.unwrap_err();
        assert_eq!(ours.kind, ErrorKind::BadInput, "{operation}: {ours}");
    }
}

#[tokio::test]
async fn bodies_are_understood_and_answers_negotiated() {
    let Some(server) = prism(&cases().join("bodies-3.1.yaml")) else { return };
    let client = client(&["bodies-3.1.yaml"]);
    let mut asked = Asked::new(&client, server.port, "");
    let meter = json!({"name": "roof", "limits": {"max": 10.5}, "parent": null});
    let refused = asked.call("addMeter", json!({"body": meter})).await.unwrap_err();
    assert_eq!(refused.fault.map(|fault| fault.status), Some(401));
    asked.headers.push(("X-Key".into(), Secret::new("abc")));
    assert_eq!(taken(&asked, "addMeter", json!({"body": meter})).await["id"], 7);
    let readings = json!({"unit": "kWh", "values": [1.5, 2], "at": "a b&c"});
    assert_eq!(taken(&asked, "putReadings", json!({"id": 1, "body": readings})).await, Value::Null);
    let file = json!({"$file": {"name": "a.png", "contentType": "image/png", "base64": "aGk="}});
    // Prism reads every part of a form as text, so that a part in JSON is no object to it.
    let photo = json!({"photo": file, "title": "roof"});
    assert_eq!(taken(&asked, "putPhoto", json!({"id": 1, "body": photo})).await, Value::Null);
    let note = json!({"body": {"text": "hi"}});
    assert_eq!(taken(&asked, "addNote", note.clone()).await, json!({"text": "hi"}));
    for (media, body) in
        [("text/plain", json!("hi")), ("application/octet-stream", json!({"base64": "aGk="}))]
    {
        let input = json!({"Content-Type": media, "body": body, "Accept": "text/plain"});
        assert_eq!(taken(&asked, "addNote", input).await, "hi");
    }
}

#[tokio::test]
async fn swagger_2_is_understood() {
    let Some(server) = prism(&cases().join("grid-2.0.yaml")) else { return };
    let client = client(&["grid-2.0.yaml"]);
    let mut asked = Asked::new(&client, server.port, "");
    let ab = ["a", "b"];
    let input =
        json!({"ids": [1], "comma": ab, "space": ab, "tab": ab, "pipe": ab, "many": ab, "X-Ids": [1]});
    assert!(taken(&asked, "getLines", input).await.is_array());
    asked.query.push(("api_key".into(), Secret::new("abc")));
    let line = json!({"id": 1, "voltage": 20.5, "next": {"id": 2, "voltage": 1}, "comment": null});
    assert!(taken(&asked, "addLine", json!({"body": line})).await["voltage"].is_number());
    let search = json!({"name": "x", "kinds": ["ac", "dc"], "levels": [1, 2]});
    assert!(taken(&asked, "searchLines", json!({"body": search})).await.is_array());
    let plan = json!({"plan": {"$file": {"name": "p.pdf", "base64": "aGk="}}, "note": "x"});
    assert_eq!(taken(&asked, "addPlan", json!({"id": 7, "body": plan})).await, Value::Null);
}

#[tokio::test]
async fn descriptions_in_several_documents_are_understood() {
    let Some(server) = prism(&cases().join("market/openapi.yaml")) else { return };
    let client: Client = market();
    let asked = Asked::new(&client, server.port, "");
    let offers =
        taken(&asked, "findOffers", json!({"within": {"from": "2026-01-01T00:00:00Z"}, "area": "DE"})).await;
    assert_eq!(offers[0]["energy"], json!(12.5));
    assert_eq!(taken(&asked, "getOffersById", json!({"id": "a-1"})).await["id"], "a-1");
}
