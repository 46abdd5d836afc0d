//! A service that can be called and a channel, as sample data.

use serde_json::json;
use sos_api::Problem;
use sos_api::wire::{
    CallAnswer, CallFailure, CallRequest, ChannelView, ContractDetail, ContractSummary, EventPage, GroupView,
    OperationView, PlacedEvent,
};

pub(crate) fn summary() -> ContractSummary {
    ContractSummary {
        service: "adapter".into(),
        protocol: Some("rest".into()),
        title: "Adapter".into(),
        version: "1.0".into(),
        operations: 1,
        endpoints: vec!["http://127.0.0.1:8080".into()],
        health: "ready".into(),
        circuit: "closed".into(),
        ..ContractSummary::default()
    }
}

pub(crate) fn detail() -> ContractDetail {
    let operation = OperationView {
        name: "echo".into(),
        path: "POST /echo".into(),
        input: json!({ "type": "object" }),
        output: json!(true),
        streaming: "none".into(),
        ..OperationView::default()
    };
    ContractDetail { summary: summary(), operations: vec![operation] }
}

/// Echoes the input of `echo`; there is no other operation.
pub(crate) fn call(service: &str, request: CallRequest) -> Result<CallAnswer, Problem> {
    if request.operation == "echo" {
        return Ok(CallAnswer {
            output: request.input,
            status: "200".into(),
            attempts: 1,
            ..CallAnswer::default()
        });
    }
    let failure = CallFailure {
        text: format!("no operation `{}`; known: echo", request.operation),
        kind: "bad_input".into(),
        service: service.into(),
        operation: request.operation,
        ..CallFailure::default()
    };
    Err(Problem::bad_input(vec![json!(failure)]))
}

pub(crate) fn group(name: &str) -> GroupView {
    GroupView { name: name.into(), lag: 1, ..GroupView::default() }
}

pub(crate) fn channel() -> ChannelView {
    ChannelView {
        name: "orders".into(),
        over: "embedded".into(),
        connected: true,
        first: 1,
        last: 1,
        bytes: 100,
        groups: vec![group("billing")],
        ..ChannelView::default()
    }
}

pub(crate) fn known(channel: &str) -> Result<(), Problem> {
    if channel == "orders" {
        return Ok(());
    }
    Err(Problem::not_found(format!("there is no channel `{channel}`; known: orders")))
}

pub(crate) fn events() -> EventPage {
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": 1 });
    EventPage { events: vec![PlacedEvent { position: 1, event }], next: 2 }
}
