//! Channels: events published, heard, handed to groups, put aside.

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
    Identity, Problem, extract,
    extract::{Path, Query},
    handlers::{command, entry},
    server::App,
    wire::{
        ChannelView, DeadLetter, EventPage, GroupStart, GroupView, HandedEvent, Published, Redrive,
        SettledEvent, TakeRequest,
    },
};

/// Most bytes of events in one request, 64 MiB.
pub const MAX_EVENT_BYTES: usize = 64 << 20;
/// Most events of one answer.
const MAX_EVENTS: usize = 1000;
/// Longest wait for events, seconds.
const MAX_WAIT: f64 = 30.0;

/// All channels, with who hears them.
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", responses((status = 200, body = Vec<ChannelView>)))]
pub(crate) async fn channels(State(app): State<App>) -> Result<Json<Vec<ChannelView>>, Problem> {
    app.platform.channels().await.map(Json)
}

/// Publishes CloudEvents: one in its binary form (`ce-` headers) or structured (`application/cloudevents+json`), or
/// several as a batch (`application/cloudevents-batch+json`). All of them or none; durable when it answers.
#[utoipa::path(post, path = "/api/v1/channels/{name}/events", tag = "channels", params(("name" = String, Path)),
    request_body = Vec<serde_json::Value>,
    responses((status = 200, body = Published), (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn publish(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Published>, Problem> {
    let body = extract::bytes(body, MAX_EVENT_BYTES).await?;
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let wanted = |name: &str| name == "content-type" || name.starts_with("ce-");
    let headers = headers.iter().filter(|(name, _)| wanted(name.as_str()));
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    app.platform.publish(&name, headers, body).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// `earliest`, `latest`, a position, or a time in RFC 3339; `earliest` when left out.
    from: Option<String>,
    /// The most events, 1…1000; 100 when left out.
    limit: Option<usize>,
    /// How long to wait when there is none, seconds, 0…30; 0 when left out.
    wait: Option<f64>,
}

/// Events of a channel from a point on, without taking them from anybody.
#[utoipa::path(get, path = "/api/v1/channels/{name}/events", tag = "channels",
    params(("name" = String, Path), EventsQuery),
    responses((status = 200, body = EventPage), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn heard(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventPage>, Problem> {
    let limit = within("limit", query.limit.unwrap_or(100))?;
    let wait = waiting("wait", query.wait.unwrap_or(0.0))?;
    let from = query.from.unwrap_or_else(|| "earliest".to_owned());
    app.platform.events_of(&name, from, limit, wait).await.map(Json)
}

/// Makes a group of consumers, or moves it: what it has settled comes again, or what waits is left out.
#[utoipa::path(put, path = "/api/v1/channels/{name}/groups/{group}", tag = "channels",
    params(("name" = String, Path), ("group" = String, Path)), request_body = GroupStart,
    responses((status = 200, body = GroupView), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn seek(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path((name, group)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<GroupView>, Problem> {
    let start: GroupStart = extract::json(body).await?;
    let detail = json!({ "group": group, "from": start.from });
    let entry = entry(who, &headers, "seek", format!("Channel/{name}"), detail);
    let done = command(&app, entry, move |platform| {
        Box::pin(async move { platform.seek(&name, &group, start.from).await })
    });
    done.await.map(Json)
}

/// Forgets a group of consumers; what it had not settled is no longer kept for it.
#[utoipa::path(delete, path = "/api/v1/channels/{name}/groups/{group}", tag = "channels",
    params(("name" = String, Path), ("group" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn forget(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path((name, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let entry = entry(who, &headers, "group-delete", format!("Channel/{name}"), json!({ "group": group }));
    command(&app, entry, move |platform| Box::pin(async move { platform.forget_group(&name, &group).await }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes events for a group, in order for each key; they come again when they are not settled within the channel's
/// `delivery.lease`. A group that is not there yet begins with the oldest event.
#[utoipa::path(post, path = "/api/v1/channels/{name}/groups/{group}/take", tag = "channels",
    params(("name" = String, Path), ("group" = String, Path)), request_body = TakeRequest,
    responses((status = 200, body = Vec<HandedEvent>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn take(
    State(app): State<App>,
    Path((name, group)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Vec<HandedEvent>>, Problem> {
    let request: TakeRequest = extract::json(body).await?;
    let max = within("max", request.max.unwrap_or(1))?;
    let wait = waiting("waitSeconds", request.wait_seconds.unwrap_or(0.0))?;
    app.platform.take(&name, &group, max, wait).await.map(Json)
}

/// Says what became of events that were taken. One that is no longer this group's to settle is left alone.
#[utoipa::path(post, path = "/api/v1/channels/{name}/groups/{group}/settle", tag = "channels",
    params(("name" = String, Path), ("group" = String, Path)), request_body = Vec<SettledEvent>,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn settle(
    State(app): State<App>,
    Path((name, group)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let settled: Vec<SettledEvent> = extract::json_up_to(body, 1 << 20).await?;
    app.platform.settle(&name, &group, settled).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Events that were put aside, the newest first, at most 1,000.
#[utoipa::path(get, path = "/api/v1/channels/{name}/dead-letters", tag = "channels", params(("name" = String, Path)),
    responses((status = 200, body = Vec<DeadLetter>), (status = 404, body = Problem)))]
pub(crate) async fn dead_letters(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Vec<DeadLetter>>, Problem> {
    app.platform.dead_letters(&name, MAX_EVENTS).await.map(Json)
}

/// Brings events back that were put aside, or throws them away; tells how many.
#[utoipa::path(post, path = "/api/v1/channels/{name}/dead-letters", tag = "channels", params(("name" = String, Path)),
    request_body = Redrive, responses((status = 200, body = u64), (status = 404, body = Problem)))]
pub(crate) async fn redrive(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<u64>, Problem> {
    let which: Redrive = extract::json_up_to(body, 1 << 20).await?;
    let action = if which.discard { "dead-letters-discard" } else { "dead-letters-redrive" };
    let entry = entry(who, &headers, action, format!("Channel/{name}"), json!({ "ids": which.ids }));
    let done =
        command(&app, entry, move |platform| Box::pin(async move { platform.redrive(&name, which).await }));
    done.await.map(Json)
}

fn within(name: &str, count: usize) -> Result<usize, Problem> {
    if (1..=MAX_EVENTS).contains(&count) {
        return Ok(count);
    }
    Err(Problem::bad_request(format!("`{name}` is {count}: expected 1 to {MAX_EVENTS}")))
}

fn waiting(name: &str, seconds: f64) -> Result<std::time::Duration, Problem> {
    if (0.0..=MAX_WAIT).contains(&seconds) {
        return Ok(std::time::Duration::from_secs_f64(seconds));
    }
    Err(Problem::bad_request(format!("`{name}` is {seconds}: expected 0 to {MAX_WAIT} seconds")))
}
