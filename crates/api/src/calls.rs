//! What services can be asked, and calls of them.

use axum::{Extension, Json, body::Body, extract::State, http::HeaderMap};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    Identity, Problem, extract,
    extract::{Path, Query},
    handlers::{command, entry},
    server::App,
    wire::{CallAnswer, CallRequest, ContractDetail, ContractSummary},
};

/// Most bytes of the input of a call, 16 MiB.
pub const MAX_CALL_BYTES: usize = 16 << 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Words that names, titles and summaries are searched for.
    search: Option<String>,
}

/// All services that can be called, or those in which words are found.
#[utoipa::path(get, path = "/api/v1/contracts", tag = "calls", params(SearchQuery),
    responses((status = 200, body = Vec<ContractSummary>)))]
pub(crate) async fn contracts(
    State(app): State<App>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<Vec<ContractSummary>>, Problem> {
    app.platform.contracts(query.search.as_deref()).await.map(Json)
}

/// What one service can be asked, with the schemas of inputs and outputs.
#[utoipa::path(get, path = "/api/v1/contracts/{service}", tag = "calls", params(("service" = String, Path)),
    responses((status = 200, body = ContractDetail), (status = 404, body = Problem)))]
pub(crate) async fn contract(
    State(app): State<App>,
    Path(service): Path<String>,
) -> Result<Json<ContractDetail>, Problem> {
    app.platform.contract(&service).await.map(Json)
}

/// Calls an operation of a service. A refusal or failure holds one [`crate::wire::CallFailure`] in its `problems`: 422
/// the input does not fit, 403 the address is not allowed, 424 the service refused or answered what its contract does
/// not say, 502 it cannot be reached, 503 too many calls, 504 no answer in time.
#[utoipa::path(post, path = "/api/v1/services/{name}/call", tag = "calls", params(("name" = String, Path)),
    request_body = CallRequest,
    responses((status = 200, body = CallAnswer), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem), (status = 424, body = Problem), (status = 502, body = Problem),
        (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(crate) async fn call(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CallAnswer>, Problem> {
    let request: CallRequest = extract::json_up_to(body, MAX_CALL_BYTES).await?;
    let trace = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    // The input may hold personal data; the record says what was called, not with what.
    let detail = json!({ "operation": request.operation, "key": request.idempotency_key });
    let entry = entry(who, &headers, "call", format!("Service/{name}"), detail);
    let called = command(&app, entry, move |platform| {
        Box::pin(async move { platform.call(&name, request, trace.as_deref()).await })
    });
    called.await.map(Json)
}
