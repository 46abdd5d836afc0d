//! Orders of people about assets: overrides and holds.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    AuditEntry, Identity, Problem, extract,
    extract::{Path, Query},
    handlers::{command, entry},
    server::App,
    wire::{AssetHold, AssetOrder, AssetOrdered, AssetOverride},
};

/// Orders a power of an asset up to an end.
#[utoipa::path(put, path = "/api/v1/assets/{name}/override", tag = "people", params(("name" = String, Path)),
    request_body = AssetOverride, responses((status = 200, body = AssetOrdered), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn order(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AssetOrdered>, Problem> {
    let AssetOverride { power_kw, order } = extract::json(body).await?;
    if !power_kw.is_finite() {
        return Err(Problem::bad_request("power_kw is not a finite number"));
    }
    put(app, who, &headers, name, Some(power_kw), order).await
}

/// Holds an asset for maintenance: nothing is written to its device up to an end.
#[utoipa::path(put, path = "/api/v1/assets/{name}/hold", tag = "people", params(("name" = String, Path)),
    request_body = AssetHold, responses((status = 200, body = AssetOrdered), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn hold(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AssetOrdered>, Problem> {
    let AssetHold { order } = extract::json(body).await?;
    put(app, who, &headers, name, None, order).await
}

async fn put(
    app: App,
    who: Identity,
    headers: &HeaderMap,
    name: String,
    power_kw: Option<f64>,
    order: AssetOrder,
) -> Result<Json<AssetOrdered>, Problem> {
    if order.reason.trim().is_empty() {
        return Err(Problem::bad_request("the reason is empty: say why, for those who see the order"));
    }
    if order.until.is_some() == order.for_seconds.is_some() {
        return Err(Problem::bad_request("expected one of until and for_seconds: an order has an end"));
    }
    let action = if power_kw.is_some() { "override" } else { "hold" };
    let detail = json!({ "powerKw": power_kw, "until": order.until, "forSeconds": order.for_seconds });
    let by = who.name.clone();
    let entry = entry(who, headers, action, format!("Asset/{name}"), detail);
    let entry = AuditEntry { reason: Some(order.reason.clone()), ..entry };
    command(&app, entry, move |platform| {
        Box::pin(async move { platform.order_asset(&name, power_kw, order, &by).await })
    })
    .await
    .map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClearQuery {
    /// Why, for the record.
    reason: Option<String>,
}

/// Ends the override of an asset before its end.
#[utoipa::path(delete, path = "/api/v1/assets/{name}/override", tag = "people",
    params(("name" = String, Path), ClearQuery),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn clear_order(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    clear(app, who, &headers, name, query, false).await
}

/// Ends the hold of an asset before its end.
#[utoipa::path(delete, path = "/api/v1/assets/{name}/hold", tag = "people",
    params(("name" = String, Path), ClearQuery),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn clear_hold(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    clear(app, who, &headers, name, query, true).await
}

async fn clear(
    app: App,
    who: Identity,
    headers: &HeaderMap,
    name: String,
    query: ClearQuery,
    hold: bool,
) -> Result<StatusCode, Problem> {
    let action = if hold { "hold-clear" } else { "override-clear" };
    let entry = entry(who, headers, action, format!("Asset/{name}"), serde_json::Value::Null);
    let reason = query.reason.or_else(|| entry.reason.clone());
    command(&app, AuditEntry { reason, ..entry }, move |platform| {
        Box::pin(async move { platform.clear_order(&name, hold).await })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
