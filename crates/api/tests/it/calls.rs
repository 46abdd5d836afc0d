use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::{
    CallAnswer, CallFailure, ContractDetail, ContractSummary, EventPage, HandedEvent, Published,
};

use crate::server::{Server, problem};

async fn get<T: serde::de::DeserializeOwned>(server: &Server, path: &str) -> T {
    server.admin(Method::GET, path).send().await.unwrap().json().await.unwrap()
}

const CALL: &str = "/api/v1/services/adapter/call";

#[tokio::test]
async fn a_service_is_called_and_a_failure_is_told_to_programs_too() {
    let server = Server::start().await;
    let request = json!({ "operation": "echo", "input": { "a": [1, 2] } });
    let answer = server.admin(Method::POST, CALL).json(&request).send().await.unwrap();
    let answer: CallAnswer = answer.json().await.unwrap();
    assert_eq!((answer.output, answer.attempts), (json!({ "a": [1, 2] }), 1));
    let wrong = server.admin(Method::POST, CALL).json(&json!({ "operation": "eco" })).send().await.unwrap();
    let told = problem(wrong, 422).await;
    let failure: CallFailure = serde_json::from_value(told.problems[0].clone()).unwrap();
    assert_eq!((failure.kind.as_str(), failure.operation.as_str()), ("bad_input", "eco"));
    let unknown = server.admin(Method::POST, CALL).json(&json!({ "operation": "echo", "inputs": 1 }));
    assert!(problem(unknown.send().await.unwrap(), 400).await.detail.contains("`inputs`"));
}

#[tokio::test]
async fn contracts_are_listed_searched_and_shown() {
    let server = Server::start().await;
    let all: Vec<ContractSummary> = get(&server, "/api/v1/contracts").await;
    assert_eq!(all[0].service, "adapter");
    let none: Vec<ContractSummary> = get(&server, "/api/v1/contracts?search=market").await;
    assert!(none.is_empty());
    let one: ContractDetail = get(&server, "/api/v1/contracts/adapter").await;
    assert_eq!(one.operations[0].name, "echo");
}

#[tokio::test]
async fn events_are_published_heard_taken_and_settled() {
    let server = Server::start().await;
    let path = "/api/v1/channels/orders";
    let event = |part: &str| server.admin(Method::POST, &format!("{path}{part}"));
    let batch = event("/events").header("content-type", "application/cloudevents-batch+json").body("[]");
    let published: Published = batch.send().await.unwrap().json().await.unwrap();
    assert_eq!(published.events, 1);
    problem(event("/events").body("{}").send().await.unwrap(), 422).await;
    let page: EventPage = get(&server, &format!("{path}/events?from=earliest&limit=1")).await;
    assert_eq!((page.events.len(), page.next), (1, 2));
    let taken: Vec<HandedEvent> =
        event("/groups/g/take").json(&json!({ "max": 1 })).send().await.unwrap().json().await.unwrap();
    assert_eq!((taken[0].position, taken[0].attempt), (1, 1));
    let settled = json!([{ "position": 1, "outcome": "done" }]);
    assert_eq!(event("/groups/g/settle").json(&settled).send().await.unwrap().status(), 204);
    for (part, body, expected) in [
        ("/groups/g/take", json!({ "max": 0 }), "1 to 1000"),
        ("/groups/g/take", json!({ "waitSeconds": 31.0 }), "0 to 30"),
        ("/groups/g/settle", json!([{ "position": 1, "outcome": "maybe" }]), "`done`"),
        ("/groups/g/take", json!({ "most": 1 }), "`max`"),
    ] {
        let refused = event(part).json(&body).send().await.unwrap();
        let detail = problem(refused, 400).await.detail;
        assert!(detail.contains(expected), "{part} {body}: {detail}");
    }
    let unknown = server.admin(Method::GET, "/api/v1/channels/nobody/events").send().await.unwrap();
    assert!(problem(unknown, 404).await.detail.contains("known: orders"));
    let letters: Vec<Value> = get(&server, &format!("{path}/dead-letters")).await;
    assert!(letters.is_empty());
}
