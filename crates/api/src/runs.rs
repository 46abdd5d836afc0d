//! Runs of workflows: started, shown, ordered about.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::{
    Identity, Problem, extract,
    extract::{Path, Query},
    handlers::{command, entry},
    server::App,
    wire::{RunBegun, RunOrder, RunOrdered, RunQuery, RunSignal, RunStart, TaskDone},
};

/// Most bytes of an input, 16 MiB.
const MAX_INPUT_BYTES: usize = 16 << 20;
/// Most runs of one answer.
const MAX_RUNS: usize = 1000;
/// Longest wait for the end of a run, seconds.
const MAX_WAIT: f64 = 300.0;

/// Starts a run of a workflow; it is on disk when this answers. With a wait the answer has its output.
#[utoipa::path(post, path = "/api/v1/workflows/{name}/runs", tag = "workflows", params(("name" = String, Path)),
    request_body = RunStart,
    responses((status = 201, body = RunBegun), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn start(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<RunBegun>), Problem> {
    let bytes = extract::bytes(body, MAX_INPUT_BYTES).await?;
    let start: RunStart = match bytes.is_empty() {
        true => RunStart::default(),
        false => serde_json::from_slice(&bytes)
            .map_err(|error| Problem::bad_request(format!("the body is no start of a run: {error}")))?,
    };
    let seconds = start.wait_seconds.unwrap_or(0.0);
    if !(0.0..=MAX_WAIT).contains(&seconds) {
        return Err(Problem::bad_request(format!(
            "`waitSeconds` is {seconds}: expected 0 to {MAX_WAIT} seconds"
        )));
    }
    let wait = Duration::from_secs_f64(seconds);
    let begun = app.platform.start_run(&name, start, wait, &who.name).await?;
    let status = if begun.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(begun)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunsQuery {
    /// Only those of this workflow.
    workflow: Option<String>,
    /// Only those in one of these states, with commas: `running`, `waiting`, `suspended`, `completed`, `faulted`, `cancelled`.
    state: Option<String>,
    /// Only those whose labels match, `a=b,c!=d`.
    selector: Option<String>,
    /// The most of them, 1…1000; 200 when left out.
    limit: Option<usize>,
}

/// Runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "workflows", params(RunsQuery),
    responses((status = 200, body = Vec<Value>), (status = 400, body = Problem)))]
pub(crate) async fn runs(
    State(app): State<App>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Vec<Value>>, Problem> {
    let limit = query.limit.unwrap_or(200);
    if !(1..=MAX_RUNS).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is {limit}: expected 1 to {MAX_RUNS}")));
    }
    let states = query.state.iter().flat_map(|text| text.split(',')).filter(|word| !word.is_empty());
    let states = states.map(str::to_owned).collect();
    let query = RunQuery { workflow: query.workflow, states, selector: query.selector, limit };
    app.platform.runs(query).await.map(Json)
}

/// Orders runs to end, to rest, to go on or to try again: one, several by name, or all that match.
#[utoipa::path(post, path = "/api/v1/runs", tag = "workflows", request_body = RunOrder,
    responses((status = 200, body = RunOrdered), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn order(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RunOrdered>, Problem> {
    let order: RunOrder = extract::json_up_to(body, 1 << 20).await?;
    let target = match order.names.as_slice() {
        [one] => format!("Run/{one}"),
        _ => "Run/*".to_owned(),
    };
    let entry = entry(who, &headers, "run-order", target, json!(order));
    let done =
        command(&app, entry, move |platform| Box::pin(async move { platform.order_runs(order).await }));
    done.await.map(Json)
}

/// Sends an event to one run; it hears it when it listens, now or later.
#[utoipa::path(post, path = "/api/v1/runs/{name}/signal", tag = "workflows", params(("name" = String, Path)),
    request_body = RunSignal,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn signal(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let signal: RunSignal = extract::json_up_to(body, 1 << 20).await?;
    if signal.event_type.is_empty() {
        return Err(Problem::bad_request("`type` is empty: expected the type of the event"));
    }
    let entry = entry(who, &headers, "signal", format!("Run/{name}"), json!({ "type": signal.event_type }));
    let done = command(&app, entry, move |platform| {
        Box::pin(async move { platform.signal_run(&name, signal).await })
    });
    done.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What runs ask people to do, the oldest first.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "workflows", responses((status = 200, body = Vec<Value>)))]
pub(crate) async fn tasks(State(app): State<App>) -> Result<Json<Vec<Value>>, Problem> {
    app.platform.tasks().await.map(Json)
}

/// Claims a task, completes it with data that fits its form, or refuses it, in the name of the token's owner.
#[utoipa::path(post, path = "/api/v1/tasks/{id}", tag = "workflows", params(("id" = String, Path)),
    request_body = TaskDone,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn attend(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let done: TaskDone = extract::json_up_to(body, MAX_INPUT_BYTES).await?;
    let detail = json!({ "action": done.action, "reason": done.reason });
    let entry = entry(who.clone(), &headers, "task", format!("Task/{id}"), detail);
    let attended =
        command(&app, entry, move |platform| Box::pin(async move { platform.attend(&id, done, &who).await }));
    attended.await?;
    Ok(StatusCode::NO_CONTENT)
}
