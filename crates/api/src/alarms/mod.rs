//! Alerts, silences and notifications for people; `alertmanager/` has the same as Alertmanager's clients expect it.

pub(crate) mod alertmanager;
mod outbox;
mod routing;
mod silences;
mod view;

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
    wire::{AcknowledgeRequest, Alarms},
};

pub(crate) use outbox::{__path_notifications, notifications};
pub use outbox::{Delivery, OutboxEntry};
pub(crate) use silences::{
    __path_end_silence, __path_make_silence, __path_silences, end_silence, make_silence, silences,
};
pub use view::AlarmView;

/// Alarms of one answer when the query does not say, and at most.
const LIMIT: (usize, usize) = (1_000, 10_000);
/// Most notifications that are looked through for what notifiers were told.
const TOLD: usize = 1_000;
/// Most bytes of a comment.
const MAX_COMMENT: usize = 4_096;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlarmsQuery {
    /// `firing` or `pending`; both when left out.
    state: Option<String>,
    /// 1…10000; 1000 when left out.
    limit: Option<usize>,
}

/// Every alert that is pending or firing: since when, how bad, who looks after it, why nobody is told, who was told.
#[utoipa::path(get, path = "/api/v1/alarms", tag = "alerts", params(AlarmsQuery),
    responses((status = 200, body = Alarms), (status = 400, body = Problem)))]
pub(crate) async fn alarms(
    State(app): State<App>,
    Query(query): Query<AlarmsQuery>,
) -> Result<Json<Alarms>, Problem> {
    if let Some(state) = &query.state
        && state != "firing"
        && state != "pending"
    {
        return Err(Problem::bad_request(format!("`state` is `{state}`: expected firing or pending")));
    }
    let limit = limit(query.limit, LIMIT)?;
    let view = app.platform.alarms();
    // Alerts are shown even when the outbox cannot be read.
    let told = app.platform.outbox(TOLD).await;
    if let Err(problem) = &told {
        tracing::warn!(%problem, "the outbox of notifications could not be read");
    }
    let mut all = view::alarms(&view, &app.platform.rule_groups(), told.ok().as_deref());
    all.retain(|alarm| query.state.as_ref().is_none_or(|state| *state == alarm.state));
    let total = all.len();
    all.truncate(limit);
    Ok(Json(Alarms { time: view::time(view.now_ms), total, alarms: all }))
}

fn limit(asked: Option<usize>, (usual, most): (usize, usize)) -> Result<usize, Problem> {
    match asked {
        None => Ok(usual),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::bad_request(format!("`limit` is {limit}: expected a number from 1 to {most}")))
        }
    }
}

/// Says that somebody looks after an alert: it is not repeated and not escalated until it ends.
#[utoipa::path(post, path = "/api/v1/alarms/{fingerprint}/acknowledge", tag = "alerts",
    params(("fingerprint" = String, Path)), request_body = AcknowledgeRequest,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let AcknowledgeRequest { comment } = extract::json(body).await?;
    check_comment(&comment)?;
    let view = app.platform.alarms();
    let labels = view::firing_labels(&view, &fingerprint).ok_or_else(|| {
        Problem::not_found(format!(
            "no alert with the fingerprint `{}` fires: /api/v1/alarms?state=firing lists those that do",
            fingerprint.escape_debug()
        ))
    })?;
    let detail = json!({ "labels": labels, "comment": comment });
    let by = who.name.clone();
    let entry = entry(who, &headers, "acknowledge", format!("Alert/{fingerprint}"), detail);
    command(&app, entry, move |platform| {
        Box::pin(async move { platform.acknowledge(&labels, &by, &comment).await })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_comment(comment: &str) -> Result<(), Problem> {
    if comment.len() <= MAX_COMMENT {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "the comment has {} bytes: at most {MAX_COMMENT} are kept",
        comment.len()
    )))
}
