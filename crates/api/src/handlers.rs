//! Reading and changing resources and services.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream::BoxStream};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::{
    ApplyRequest, AuditEntry, Identity, Platform, Problem, Reply, extract,
    extract::{Path, Query},
    server::App,
    stream,
    wire::{ApplyResult, DiffResult, Revision, RolloutOrder, RolloutStatus, Scale},
};

/// Most bytes of manifests in one request, 4 MiB.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Lines of a log when the query does not say, and at most.
const LOG_LINES: (usize, usize) = (100, 10_000);

/// Records a command, then performs it, in a task of its own: a caller that goes away, or a slow answer, never leaves
/// it half done. What cannot be recorded is not performed.
pub(crate) async fn command<T, F>(app: &App, entry: AuditEntry, perform: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a dyn Platform) -> Reply<'a, T> + Send + 'static,
{
    let platform = Arc::clone(&app.platform);
    let task = tokio::spawn(async move {
        platform.audit(entry).await.map_err(|problem| {
            Problem::unavailable(format!(
                "the command could not be recorded, so it was not carried out: {problem}"
            ))
        })?;
        perform(platform.as_ref()).await
    });
    task.await
        .unwrap_or_else(|_| Err(Problem::internal("the command failed inside the server; its log has more")))
}

/// Who, what and why of a command.
pub(crate) fn entry(
    who: Identity,
    headers: &HeaderMap,
    action: &'static str,
    target: String,
    detail: Value,
) -> AuditEntry {
    let reason = headers.get("sos-reason").map(|r| String::from_utf8_lossy(r.as_bytes()).into_owned());
    AuditEntry { who: who.name, role: who.role, action, target, detail, reason }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Labels to match, `a=b,c!=d`.
    selector: Option<String>,
}

/// All resources of a kind.
#[utoipa::path(get, path = "/api/v1/resources/{kind}", tag = "resources", params(("kind" = String, Path), ListQuery),
    responses((status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Path(kind): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Value>>, Problem> {
    app.platform.list(&kind, query.selector.as_deref()).await.map(Json)
}

/// One resource with its status and conditions.
#[utoipa::path(get, path = "/api/v1/resources/{kind}/{name}", tag = "resources",
    params(("kind" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(crate) async fn resource(
    State(app): State<App>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    app.platform.get(&kind, &name).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// Also when others refer to it.
    #[serde(default)]
    force: bool,
}

/// Removes a resource and what runs for it.
#[utoipa::path(delete, path = "/api/v1/resources/{kind}/{name}", tag = "resources",
    params(("kind" = String, Path), ("name" = String, Path), DeleteQuery),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path((kind, name)): Path<(String, String)>,
    Query(DeleteQuery { force }): Query<DeleteQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let detail = if force { json!({ "force": true }) } else { Value::Null };
    let entry = entry(who, &headers, "delete", format!("{kind}/{name}"), detail);
    command(&app, entry, move |platform| Box::pin(async move { platform.delete(&kind, &name, force).await }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
    /// Take over what another manager owns.
    #[serde(default)]
    force: bool,
    /// Owner of what is applied; `cli` when left out.
    manager: Option<String>,
}

/// Applies manifests: all documents or none.
#[utoipa::path(post, path = "/api/v1/apply", tag = "resources", params(ApplyQuery),
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Vec<ApplyResult>), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn apply(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Query(query): Query<ApplyQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<ApplyResult>>, Problem> {
    let manifest = extract::bytes(body, MAX_MANIFEST_BYTES).await?;
    let manager = query.manager.unwrap_or_else(|| "cli".to_owned());
    let detail = json!({ "force": query.force, "bytes": manifest.len() });
    let target = manager.clone();
    let request =
        ApplyRequest { manifest, manager, who: who.name.clone(), dry_run: query.dry_run, force: query.force };
    if request.dry_run {
        return app.platform.apply(request).await.map(Json);
    }
    let entry = entry(who, &headers, "apply", target, detail);
    command(&app, entry, move |platform| platform.apply(request)).await.map(Json)
}

/// What an apply of these manifests would change; changes nothing.
#[utoipa::path(post, path = "/api/v1/diff", tag = "resources",
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Vec<DiffResult>), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn diff(State(app): State<App>, body: Body) -> Result<Json<Vec<DiffResult>>, Problem> {
    let manifest = extract::bytes(body, MAX_MANIFEST_BYTES).await?;
    app.platform.diff(manifest).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// How many of the last lines, 0…10000; 100 when left out.
    lines: Option<usize>,
    /// Whether new lines follow as they come.
    #[serde(default)]
    follow: bool,
}

/// The log of a service as text, one line each.
#[utoipa::path(get, path = "/api/v1/services/{name}/logs", tag = "services", params(("name" = String, Path), LogsQuery),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, body = Problem)))]
pub(crate) async fn logs(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Problem> {
    let lines = query.lines.unwrap_or(LOG_LINES.0);
    if lines > LOG_LINES.1 {
        return Err(Problem::bad_request(format!("`lines` is {lines}: at most {} are read", LOG_LINES.1)));
    }
    let place = if query.follow { Some(stream::place(&app)?) } else { None };
    let lines: BoxStream<'static, String> = app.platform.logs(&name, lines, query.follow).await?;
    let stop = app.stop.clone().cancelled_owned();
    let text = lines.take_until(Box::pin(stop)).map(move |mut line| {
        // The place is held as long as the stream lives.
        let _ = &place;
        line.push('\n');
        Ok::<_, std::convert::Infallible>(line)
    });
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(text)).into_response())
}

/// Sets the number of replicas of a service.
#[utoipa::path(put, path = "/api/v1/services/{name}/scale", tag = "services", params(("name" = String, Path)),
    request_body = Scale, responses((status = 200, body = Scale), (status = 404, body = Problem)))]
pub(crate) async fn scale(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Scale>, Problem> {
    let Scale { replicas } = extract::json(body).await?;
    let entry = entry(who, &headers, "scale", format!("Service/{name}"), json!({ "replicas": replicas }));
    command(&app, entry, move |platform| Box::pin(async move { platform.scale(&name, replicas).await }))
        .await
        .map(Json)
}

/// How far the rollout of a service is.
#[utoipa::path(get, path = "/api/v1/services/{name}/rollout", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = RolloutStatus), (status = 404, body = Problem)))]
pub(crate) async fn rollout_status(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<RolloutStatus>, Problem> {
    app.platform.rollout_status(&name).await.map(Json)
}

/// Revisions of a service, oldest first.
#[utoipa::path(get, path = "/api/v1/services/{name}/rollout/history", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = Vec<Revision>), (status = 404, body = Problem)))]
pub(crate) async fn rollout_history(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Revision>>, Problem> {
    app.platform.rollout_history(&name).await.map(Json)
}

/// Pauses, resumes, promotes, aborts, undoes or retries the rollout of a service.
#[utoipa::path(post, path = "/api/v1/services/{name}/rollout", tag = "services", params(("name" = String, Path)),
    request_body = RolloutOrder, responses((status = 200, body = RolloutStatus), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub(crate) async fn rollout(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RolloutStatus>, Problem> {
    let order: RolloutOrder = extract::json(body).await?;
    let by = who.name.clone();
    let entry = entry(who, &headers, "rollout", format!("Service/{name}"), json!(order));
    command(&app, entry, move |platform| Box::pin(async move { platform.rollout(&name, order, &by).await }))
        .await
        .map(Json)
}

/// Restarts all replicas of a service, one after the other.
#[utoipa::path(post, path = "/api/v1/services/{name}/rollout/restart", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = RolloutStatus), (status = 404, body = Problem)))]
pub(crate) async fn restart(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<RolloutStatus>, Problem> {
    let entry = entry(who, &headers, "restart", format!("Service/{name}"), Value::Null);
    command(&app, entry, move |platform| Box::pin(async move { platform.restart(&name).await }))
        .await
        .map(Json)
}
