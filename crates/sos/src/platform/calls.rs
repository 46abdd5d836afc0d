//! What services can be asked, and calls of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sos_api::Problem;
use sos_api::wire::{CallAnswer, CallFailure, CallRequest, ContractDetail, ContractSummary, OperationView};
use sos_call::policy::CircuitState;
use sos_call::{CallError, ErrorKind, Operation, Streaming, TraceContext};
use sos_engine::calls::{Found, Registered, Wanted};
use sos_engine::platform::Platform as Engine;

/// Operations that a search shows of one service.
const SHOWN_HITS: usize = 10;

/// All services with a contract, or those in which words are found.
pub(super) fn contracts(engine: &Engine, words: Option<&str>) -> Vec<ContractSummary> {
    let registered = engine.calls().registered();
    let Some(words) = words.filter(|words| !words.trim().is_empty()) else {
        return registered.iter().map(summary).collect();
    };
    let mut order = Vec::new();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for hit in engine.calls().search(words) {
        if !found.contains_key(&hit.service) {
            order.push(hit.service.clone());
        }
        found.entry(hit.service.clone()).or_default().extend(shown(&hit));
    }
    let of = |name: &String| registered.iter().find(|one| one.service == *name);
    let told = |name: &String| {
        let mut summary = summary(of(name)?);
        summary.matches = found.remove(name).unwrap_or_default();
        summary.matches.truncate(SHOWN_HITS);
        Some(summary)
    };
    order.iter().filter_map(told).collect()
}

/// The operation of a hit; none when the service itself is meant.
fn shown(hit: &Found) -> Option<String> {
    let operation = hit.operation.as_ref()?;
    Some(if hit.summary.is_empty() { operation.clone() } else { format!("{operation}: {}", hit.summary) })
}

fn summary(one: &Registered) -> ContractSummary {
    let contract = one.contract.as_deref();
    ContractSummary {
        service: one.service.clone(),
        protocol: contract.map(|contract| contract.protocol.word().to_owned()),
        title: contract.map(|contract| contract.title.clone()).unwrap_or_default(),
        version: contract.map(|contract| contract.version.clone()).unwrap_or_default(),
        owner: one.owner.clone(),
        operations: contract.map_or(0, |contract| contract.operations.len()),
        external: one.external,
        endpoints: one.endpoints.clone(),
        health: match one.ready {
            Some(true) => "ready",
            Some(false) => "not ready",
            None => "unknown",
        }
        .to_owned(),
        circuit: match one.circuit {
            Some(CircuitState::Open) => "open",
            Some(CircuitState::HalfOpen) => "half-open",
            Some(CircuitState::Closed) | None => "closed",
        }
        .to_owned(),
        energy_per_request_kwh: one.energy_per_request_kwh,
        problem: one.problem.clone(),
        matches: Vec::new(),
    }
}

/// What one service can be asked.
pub(super) fn contract(engine: &Engine, service: &str) -> Result<ContractDetail, Problem> {
    let one = engine.calls().one(service).map_err(|error| Problem::not_found(error.message))?;
    let operations = one.contract.iter().flat_map(|contract| &contract.operations).map(operation).collect();
    Ok(ContractDetail { summary: summary(&one), operations })
}

fn operation(operation: &Operation) -> OperationView {
    OperationView {
        name: operation.name.clone(),
        path: operation.path.clone(),
        summary: operation.summary.clone(),
        input: operation.input.clone(),
        output: operation.output.clone(),
        streaming: match operation.streaming {
            Streaming::None => "none",
            Streaming::Inputs => "inputs",
            Streaming::Outputs => "outputs",
            Streaming::Both => "both",
        }
        .to_owned(),
        repeatable: operation.repeatable,
        deprecated: operation.deprecated,
    }
}

/// Calls a service.
pub(super) async fn call(
    engine: &Engine,
    service: &str,
    request: CallRequest,
    trace: Option<&str>,
) -> Result<CallAnswer, Problem> {
    let seconds = request.timeout_seconds;
    let timeout = seconds.map(|seconds| {
        let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
        let expected = format!("timeoutSeconds is {seconds}: expected a number above zero");
        time.ok_or_else(|| Problem::bad_request(expected))
    });
    let trace = trace.and_then(|text| TraceContext::parse(text, &[]));
    let wanted = Wanted {
        operation: request.operation,
        input: request.input,
        headers: request.headers,
        key: request.idempotency_key,
        timeout: timeout.transpose()?,
        trace,
    };
    let started = std::time::Instant::now();
    let outcome = engine.calls().call(service, &wanted).await.map_err(|error| failure(&error))?;
    Ok(CallAnswer {
        output: outcome.answer.output,
        status: outcome.answer.status,
        headers: outcome.answer.headers,
        attempts: outcome.attempts,
        endpoint: outcome.endpoint.to_string(),
        trace_id: outcome.trace.trace_id(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What went wrong, as the API tells it.
fn failure(error: &CallError) -> Problem {
    let fault = error.fault.as_deref().map(|fault| {
        json!({
            "code": fault.code, "status": fault.status, "temporary": fault.temporary, "detail": fault.detail,
        })
    });
    let told = CallFailure {
        text: error.to_string(),
        kind: error.kind.word().to_owned(),
        service: error.service.clone(),
        operation: error.operation.clone(),
        place: error.place.clone(),
        fault,
    };
    let mut problem = Problem::bad_request(error.to_string());
    let (status, title) = match error.kind {
        ErrorKind::BadInput => (422, "Unprocessable Entity"),
        ErrorKind::NotAllowed => (403, "Forbidden"),
        ErrorKind::Unreachable | ErrorKind::Broken => (502, "Bad Gateway"),
        ErrorKind::Overloaded => (503, "Service Unavailable"),
        ErrorKind::TimedOut => (504, "Gateway Timeout"),
        ErrorKind::BadDocument
        | ErrorKind::NoCredentials
        | ErrorKind::TooLarge
        | ErrorKind::BadAnswer
        | ErrorKind::Fault => (424, "Failed Dependency"),
    };
    problem.status = status;
    title.clone_into(&mut problem.title);
    problem.problems = vec![serde_json::to_value(told).unwrap_or(Value::Null)];
    problem
}
