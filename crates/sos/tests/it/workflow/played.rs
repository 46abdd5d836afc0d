//! The other services that the examples of the specification call.

use serde_json::{Value, json};

use super::stub::{Asked, pet};

/// The names under which they answer.
pub(super) const HOSTS: &[&str] = &[
    "example.com",
    "external-service.example.com",
    "fake-chat-api.com",
    "fake-hospital.com",
    "fake.com",
    "hospital.example.com",
    "keycloak",
    "raw.githubusercontent.com",
    "superbet-casinos.com",
    "swapi.dev",
    "virtual-wf-powered-race.com",
];

/// Those that documents call without TLS.
pub(super) const PLAIN: &[&str] = &["keycloak"];

/// The answer to what was asked so often before; none where these services are not meant.
pub(super) fn answer(asked: &Asked, before: usize) -> Option<(u16, Option<Value>)> {
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    let found = |value: Value| Some((200, Some(value)));
    match (asked.host(), asked.method.as_str(), parts.as_slice()) {
        // Pets of a store that is busy at first, and pets that are sold.
        ("petstore.swagger.io", "GET", ["v2", "pet", id]) if id.starts_with("503") => {
            if before == 0 {
                Some((503, None))
            } else {
                found(pet(503))
            }
        }
        ("petstore.swagger.io", "PUT", ["v2", "pet"]) => found(body(asked)),
        ("swapi.dev", "GET", ["api", "people"]) => {
            found(json!({"count": 1, "results": [{"name": "Luke Skywalker"}], "asked": asked.query}))
        }
        ("swapi.dev", "GET", ["api", "people", _]) => {
            found(json!({"name": "Luke Skywalker", "homeworld": "https://swapi.dev/api/planets/1/"}))
        }
        ("swapi.dev", "GET", ["api", "planets", "1"]) => found(json!({"name": "Tatooine"})),
        ("superbet-casinos.com", "POST", ["api", "bet", "on", "football"]) => found(body(asked)),
        ("fake-hospital.com", "PUT", ["api", "v3", "alert", _]) => found(json!({"alerted": body(asked)})),
        ("fake-chat-api.com", "POST", ["room", room]) => found(json!({"room": room})),
        ("virtual-wf-powered-race.com", "POST", ["api", "v4", "cars", car, "start"]) => {
            found(json!({"started": car}))
        }
        ("fake.com", "GET", ["sample"]) => found(json!({"sample": true})),
        ("example.com", "POST", ["api", "v1", "backup", "start"]) => found(json!({"backup": "started"})),
        ("hospital.example.com", "POST", ["api", "v1", "notify"]) => found(body(asked)),
        ("external-service.example.com", ..) => Some((503, None)),
        ("raw.githubusercontent.com", "GET", [.., "log", "1.0.0", "function.yaml"]) => found(log()),
        ("keycloak", method, ["realms", "fake-authority", rest @ ..]) => Some(realm(asked, method, rest)),
        _ => None,
    }
}

fn body(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap_or_default()
}

/// A function of a catalog: JSON is YAML.
fn log() -> Value {
    json!({
        "input": {"schema": {"document": {"type": "object", "required": ["message"]}}},
        "set": {"logged": "${ .message }", "as": "${ .level | ascii_upcase }"},
    })
}

/// A realm that gives tokens to one client.
fn realm(asked: &Asked, method: &str, rest: &[&str]) -> (u16, Option<Value>) {
    let form: Vec<(String, String)> = form_urlencoded::parse(&asked.body).into_owned().collect();
    let is = |name: &str, value: &str| form.iter().any(|(known, given)| known == name && given == value);
    match (method, rest) {
        ("GET", [".well-known", "openid-configuration"]) => {
            let realm = "http://keycloak/realms/fake-authority";
            let token = format!("{realm}/protocol/openid-connect/token");
            (200, Some(json!({"issuer": realm, "token_endpoint": token})))
        }
        ("POST", ["auth", "token"] | ["protocol", "openid-connect", "token"]) => {
            let known = is("grant_type", "client_credentials")
                && is("client_id", "workflow-runtime-id")
                && is("client_secret", "workflow-runtime-secret");
            match known {
                true => {
                    (200, Some(json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": 60})))
                }
                false => (401, Some(json!({"error": "invalid_client"}))),
            }
        }
        _ => (404, None),
    }
}
