//! Silences: made, listed, ended.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde_json::json;
use sos_watch::alerts::Silence;
use sos_watch::{Matcher, duration, promql};

use super::view::{AlarmView, time};
use crate::{
    Identity, Problem, extract,
    extract::Path,
    handlers::{command, entry},
    server::App,
    wire::{SilenceRecord, SilenceRequest},
};

/// Most silences that are not over.
const MAX_SILENCES: usize = 1_000;

/// All silences, those that ended a short while ago among them, the newest first.
#[utoipa::path(get, path = "/api/v1/silences", tag = "alerts", responses((status = 200, body = Vec<SilenceRecord>)))]
pub(crate) async fn silences(State(app): State<App>) -> Json<Vec<SilenceRecord>> {
    let view = app.platform.alarms();
    Json(newest_first(&view).into_iter().map(|silence| record(silence, view.now_ms)).collect())
}

/// Makes a silence: alerts that match are not told until it ends.
#[utoipa::path(post, path = "/api/v1/silences", tag = "alerts", request_body = SilenceRequest,
    responses((status = 201, body = SilenceRecord), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn make_silence(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<SilenceRecord>), Problem> {
    let request: SilenceRequest = extract::json(body).await?;
    let now_ms = app.platform.alarms().now_ms;
    let silence = asked(&request, &who.name, now_ms)?;
    let silence = make(&app, who, &headers, silence).await?;
    Ok((StatusCode::CREATED, Json(record(&silence, now_ms))))
}

/// Ends a silence now.
#[utoipa::path(delete, path = "/api/v1/silences/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn end_silence(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    end(&app, who, &headers, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks, records and makes a silence; with the id that it got.
pub(super) async fn make(
    app: &App,
    who: Identity,
    headers: &HeaderMap,
    mut silence: Silence,
) -> Result<Silence, Problem> {
    let view = app.platform.alarms();
    silence.check().map_err(Problem::bad_request)?;
    super::check_comment(&silence.comment)?;
    if silence.ends_at_ms <= view.now_ms {
        let (end, now) = (time(silence.ends_at_ms), time(view.now_ms));
        return Err(Problem::bad_request(format!(
            "the silence ends at {end}, and it is {now} already: expected a later end"
        )));
    }
    let others = view.state.silences().iter().filter(|s| s.ends_at_ms > view.now_ms && s.id != silence.id);
    if others.count() >= MAX_SILENCES {
        return Err(Problem::conflict(format!(
            "there are {MAX_SILENCES} silences that are not over, the most there may be: end some of them first"
        )));
    }
    let record = record(&silence, view.now_ms);
    let target =
        if silence.id.is_empty() { "Silence/new".to_owned() } else { format!("Silence/{}", silence.id) };
    let entry = entry(who, headers, "silence", target, json!(record));
    let made = silence.clone();
    silence.id = command(app, entry, move |platform| platform.silence(made)).await?;
    Ok(silence)
}

/// Records and performs the end of a silence.
pub(super) async fn end(app: &App, who: Identity, headers: &HeaderMap, id: String) -> Result<(), Problem> {
    let view = app.platform.alarms();
    let found =
        view.state.silences().iter().find(|silence| silence.id == id && silence.ends_at_ms > view.now_ms);
    let silence = found.ok_or_else(|| {
        let id = id.escape_debug();
        Problem::not_found(format!("there is no silence `{id}` that is not over: /api/v1/silences lists all"))
    })?;
    let detail = json!(record(silence, view.now_ms));
    let entry = entry(who, headers, "silence-end", format!("Silence/{id}"), detail);
    command(app, entry, move |platform| Box::pin(async move { platform.end_silence(&id).await })).await
}

pub(super) fn newest_first(view: &AlarmView) -> Vec<&Silence> {
    let mut all: Vec<&Silence> = view.state.silences().iter().collect();
    all.sort_by(|a, b| (b.starts_at_ms, &b.id).cmp(&(a.starts_at_ms, &a.id)));
    all
}

/// `pending`, `active` or `expired`.
pub(super) fn word(silence: &Silence, now_ms: i64) -> &'static str {
    match silence {
        silence if silence.ends_at_ms <= now_ms => "expired",
        silence if silence.starts_at_ms > now_ms => "pending",
        _ => "active",
    }
}

fn record(silence: &Silence, now_ms: i64) -> SilenceRecord {
    SilenceRecord {
        id: silence.id.clone(),
        matchers: silence.matchers.iter().map(Matcher::to_string).collect(),
        starts_at: time(silence.starts_at_ms),
        ends_at: time(silence.ends_at_ms),
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        state: word(silence, now_ms).to_owned(),
    }
}

fn asked(request: &SilenceRequest, by: &str, now_ms: i64) -> Result<Silence, Problem> {
    let at = |name: &str, text: &String| extract::time(name, text).map(|time| time.as_millisecond());
    let starts_at_ms = request.starts_at.as_ref().map_or(Ok(now_ms), |text| at("startsAt", text))?;
    let ends_at_ms = match (&request.ends_at, &request.duration) {
        (Some(text), None) => at("endsAt", text)?,
        (None, Some(text)) => {
            let long = duration::parse(text)
                .map_err(|error| Problem::bad_request(format!("`duration`: {error}")))?;
            starts_at_ms.saturating_add(long)
        }
        _ => {
            let expected =
                "expected either `endsAt`, such as 2026-06-01T08:00:00+02:00, or `duration`, such as 2h";
            return Err(Problem::bad_request(format!("a silence needs one end: {expected}")));
        }
    };
    Ok(Silence {
        id: String::new(),
        matchers: matchers(&request.matchers)?,
        starts_at_ms,
        ends_at_ms,
        created_by: by.to_owned(),
        comment: request.comment.clone(),
    })
}

/// Matchers as they are written in a selector.
pub(super) fn matchers(texts: &[String]) -> Result<Vec<Matcher>, Problem> {
    if texts.is_empty() {
        return Err(Problem::bad_request(
            "`matchers` is empty: expected at least one, such as alertname=\"Name\"",
        ));
    }
    let text = format!("{{{}}}", texts.join(","));
    promql::parse_selector(&text).map_err(|error| {
        Problem::bad_request(format!("`matchers`, taken together as {}: {error}", text.escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_says_what_for_how_long_and_why() {
        let request = |json: &str| serde_json::from_str::<SilenceRequest>(json).unwrap();
        let whole =
            request(r#"{"matchers": ["site=\"x\"", "team!=\"y\""], "duration": "2h", "comment": "works"}"#);
        let silence = asked(&whole, "ann", 1_000).unwrap();
        assert_eq!(
            (silence.starts_at_ms, silence.ends_at_ms, silence.created_by.as_str()),
            (1_000, 7_201_000, "ann")
        );
        assert_eq!(record(&silence, 1_000).matchers, [r#"site="x""#, r#"team!="y""#]);
        assert_eq!([999, 1_000, 7_201_000].map(|now| word(&silence, now)), ["pending", "active", "expired"]);
        for (json, part) in [
            (r#"{"matchers": ["a=\"b\""], "comment": "c"}"#, "needs one end"),
            (
                r#"{"matchers": ["a=\"b\""], "comment": "c", "duration": "1h", "endsAt": "2026-01-01T00:00:00Z"}"#,
                "needs one end",
            ),
            (r#"{"matchers": ["a=\"b\""], "comment": "c", "duration": "soon"}"#, "`duration`"),
            (r#"{"matchers": ["a=\"b\""], "comment": "c", "endsAt": "soon"}"#, "`endsAt`"),
            (r#"{"matchers": [], "comment": "c", "duration": "1h"}"#, "empty"),
            (r#"{"matchers": ["a=b"], "comment": "c", "duration": "1h"}"#, "taken together as {a=b}"),
            (r#"{"matchers": ["a=\"b\"} or {c=\"d\""], "comment": "c", "duration": "1h"}"#, "taken together"),
            (r#"{"matchers": ["a=~\"(\""], "comment": "c", "duration": "1h"}"#, "taken together"),
            (r#"{"matchers": ["a=~\".*\""], "comment": "c", "duration": "1h"}"#, "taken together"),
        ] {
            let detail = asked(&request(json), "ann", 0).unwrap_err().detail;
            assert!(detail.contains(part), "{json}: {detail}");
        }
    }
}
