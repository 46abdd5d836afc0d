//! Faults of WireMock.

use std::time::Instant;

use serde_json::{Value, json};
use sos_call::ErrorKind;

use super::peers::wiremock;
use super::{Asked, described};
use crate::support::{SHORT, WAIT};

fn mapping(name: &str, response: &Value) -> Value {
    json!({"request": {"method": "GET", "urlPath": format!("/{name}")}, "response": response})
}

#[tokio::test]
#[ignore = "slow: starts a Java server"]
async fn each_fault_is_a_typed_error_within_the_time() {
    let good = json!({"status": 200, "headers": {"Content-Type": "application/json"}, "body": "{\"n\": 7}"});
    let with = |key: &str, value: Value| {
        let mut response = good.clone();
        response[key] = value;
        response
    };
    let dribble = |milliseconds: u64| {
        with("chunkedDribbleDelay", json!({"numberOfChunks": 5, "totalDuration": milliseconds}))
    };
    let cases = [
        ("EMPTY_RESPONSE", json!({"fault": "EMPTY_RESPONSE"}), Some(ErrorKind::Broken)),
        ("MALFORMED_RESPONSE_CHUNK", json!({"fault": "MALFORMED_RESPONSE_CHUNK"}), Some(ErrorKind::Broken)),
        ("RANDOM_DATA_THEN_CLOSE", json!({"fault": "RANDOM_DATA_THEN_CLOSE"}), Some(ErrorKind::BadAnswer)),
        ("CONNECTION_RESET_BY_PEER", json!({"fault": "CONNECTION_RESET_BY_PEER"}), Some(ErrorKind::Broken)),
        ("dribble", dribble(60_000), Some(ErrorKind::TimedOut)),
        ("dribble-quick", dribble(50), None),
        ("delay", with("fixedDelayMilliseconds", json!(60_000)), Some(ErrorKind::TimedOut)),
        ("delay-quick", with("fixedDelayMilliseconds", json!(50)), None),
        ("fine", good.clone(), None),
    ];
    let mappings: Vec<Value> = cases.iter().map(|(name, response, _)| mapping(name, response)).collect();
    let Some(server) = wiremock(&mappings) else { return };
    let mut text = "openapi: 3.0.0\npaths:\n".to_owned();
    for (name, ..) in &cases {
        text += &format!(
            "  /{name}:\n    get:\n      operationId: {name}\n      responses: {{'200': {{description: n, content: {{application/json: {{schema: {{type: object}}}}}}}}}}\n"
        );
    }
    let client = described(&text);
    let mut asked = Asked::new(&client, server.port, "");
    // The first answer of a Java server takes its time.
    assert!(asked.call("fine", json!({})).await.is_ok());
    for (name, _, kind) in cases {
        asked.timeout = if kind == Some(ErrorKind::TimedOut) { SHORT } else { WAIT };
        let start = Instant::now();
        let result = asked.call(name, json!({})).await;
        let found = result.as_ref().err().map(|error| error.kind);
        assert!(found == kind && start.elapsed() < WAIT, "{name}: {result:?}");
        // A connection that broke is not used again.
        assert_eq!(asked_again(&asked).await, json!({"n": 7}), "after {name}");
    }
}

async fn asked_again(asked: &Asked<'_>) -> Value {
    let patient =
        Asked { timeout: WAIT, endpoint: asked.endpoint.clone(), ..Asked::new(asked.client, 1, "") };
    patient.call("fine", json!({})).await.unwrap().output
}
