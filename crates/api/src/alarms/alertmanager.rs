//! The part of Alertmanager's API (0.25, version 2) that its clients need to show alerts and to handle silences: amtool
//! and Grafana. Alerts come from rules only, so there is no way to post them.
//!
//! Errors are a JSON string, as its clients read them; what access control refuses stays a problem.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sos_watch::alerts::{MutedBy, NotifiedAlert, Silence, fingerprint};
use sos_watch::{Labels, MatchOp, Matcher, promql};

use super::routing::{self, Target};
use super::silences::{self, newest_first, word};
use super::view::{self, AlarmView, time};
use crate::{Identity, Problem, extract, server::App};

/// How long a client may take a firing alert for firing without hearing of it again, ms.
const RESOLVE_AFTER_MS: i64 = 300_000;

/// A problem in Alertmanager's form.
pub(crate) struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0.detail)).into_response()
    }
}

/// What narrows a list of alerts.
#[derive(Debug)]
struct Filter {
    matchers: Vec<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    receiver: Option<Matcher>,
}

impl Filter {
    fn read(text: Option<String>) -> Result<Self, Problem> {
        let mut filter =
            Self { matchers: Vec::new(), active: true, silenced: true, inhibited: true, receiver: None };
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            match &*name {
                "filter" => filter.matchers.extend(matchers(&value)?),
                "active" => filter.active = flag(&name, &value)?,
                "silenced" | "muted" => filter.silenced = flag(&name, &value)?,
                "inhibited" => filter.inhibited = flag(&name, &value)?,
                "receiver" if !value.is_empty() => {
                    let matcher = Matcher::new(MatchOp::Regex, "receiver", &value);
                    filter.receiver = Some(matcher.map_err(|error| {
                        Problem::bad_request(format!("`receiver` is no regular expression: {error}"))
                    })?);
                }
                // Alerts here are always processed.
                _ => (),
            }
        }
        Ok(filter)
    }

    fn takes(&self, alert: &NotifiedAlert, muted: Option<&MutedBy>, targets: &[Target]) -> bool {
        let state = match muted {
            None | Some(MutedBy::QuietHours(_)) => self.active,
            Some(MutedBy::Silence(_)) => self.silenced,
            Some(MutedBy::Inhibition(_)) => self.inhibited,
        };
        let labels = self.matchers.iter().all(|m| m.matches(alert.labels.get(m.name())));
        let told = self.receiver.as_ref().is_none_or(|m| targets.iter().any(|t| m.matches(&t.notifier)));
        state && labels && told
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Problem> {
    value.parse().map_err(|_| {
        let value = value.escape_debug();
        Problem::bad_request(format!("`{name}` is `{value}`: expected true or false"))
    })
}

/// `a="b"` or `a=b`, or several within braces; unlike a selector they may match alerts without the label.
fn matchers(text: &str) -> Result<Vec<Matcher>, Problem> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let mut quoted = false;
    let mut escaped = false;
    let pieces = inner.split(|c| {
        let ends = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let pieces = pieces.map(str::trim).filter(|piece| !piece.is_empty());
    let found = pieces.map(|piece| {
        matcher(piece)
            .map_err(|error| Problem::bad_request(format!("bad matcher {}: {error}", piece.escape_debug())))
    });
    found.collect()
}

fn matcher(piece: &str) -> Result<Matcher, String> {
    let expected = || "expected a label, one of = != =~ !~, and a value".to_owned();
    let at = piece.find(['=', '!']).ok_or_else(expected)?;
    let (name, rest) = (piece[..at].trim(), &piece[at..]);
    let ops = [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal];
    let op = ops.into_iter().find(|op| rest.starts_with(op.symbol())).ok_or_else(expected)?;
    let value = rest[op.symbol().len()..].trim();
    if name.is_empty() {
        return Err(expected());
    }
    if !value.starts_with('"') {
        return Matcher::new(op, name, value);
    }
    // Quoted as in a selector, which has to ask for something.
    let selector = format!("{{{name}{}{value},__some__!=\"\"}}", op.symbol());
    let found = promql::parse_selector(&selector).map_err(|error| error.to_string())?;
    match <[Matcher; 2]>::try_from(found) {
        Ok([matcher, _]) => Ok(matcher),
        Err(_) => Err(expected()),
    }
}

/// An alert as the filter lets it through, and who would be told.
type Shown = (NotifiedAlert, Option<MutedBy>, Vec<Target>);

fn shown(view: &AlarmView, filter: &Filter) -> Vec<Shown> {
    let firing = view::firing(view).into_iter().map(|(alert, muted)| {
        let targets = routing::targets(&view.config.root, &alert.labels);
        (alert, muted, targets)
    });
    firing.filter(|(alert, muted, targets)| filter.takes(alert, muted.as_ref(), targets)).collect()
}

fn alert((alert, muted, targets): &Shown, now_ms: i64) -> Value {
    let (state, silenced, inhibited) = match muted {
        Some(MutedBy::Silence(id)) => ("suppressed", vec![id.clone()], Vec::new()),
        Some(MutedBy::Inhibition(source)) => ("suppressed", Vec::new(), vec![fingerprint(source)]),
        Some(MutedBy::QuietHours(_)) | None => ("active", Vec::new(), Vec::new()),
    };
    json!({
        "annotations": alert.annotations,
        "endsAt": time(now_ms + RESOLVE_AFTER_MS),
        "fingerprint": fingerprint(&alert.labels),
        "receivers": targets.iter().map(|target| json!({ "name": target.notifier })).collect::<Vec<_>>(),
        "startsAt": time(alert.starts_at_ms),
        "status": { "inhibitedBy": inhibited, "silencedBy": silenced, "state": state },
        "updatedAt": time(now_ms),
        "generatorURL": alert.generator_url,
        "labels": alert.labels,
    })
}

/// Firing alerts, as Alertmanager answers them.
#[utoipa::path(get, path = "/api/v2/alerts", tag = "alertmanager", params(
    ("filter" = Option<Vec<String>>, Query, description = "matchers of labels"), ("active" = Option<bool>, Query),
    ("silenced" = Option<bool>, Query), ("inhibited" = Option<bool>, Query),
    ("receiver" = Option<String>, Query, description = "regular expression")),
    responses((status = 200, body = Vec<Value>), (status = 400, body = String)))]
pub(crate) async fn alerts(State(app): State<App>, RawQuery(text): RawQuery) -> Result<Json<Value>, Refused> {
    let view = app.platform.alarms();
    let found = shown(&view, &Filter::read(text)?);
    Ok(Json(found.iter().map(|one| alert(one, view.now_ms)).collect()))
}

/// Firing alerts by receiver and group, as Alertmanager answers them.
#[utoipa::path(get, path = "/api/v2/alerts/groups", tag = "alertmanager", params(
    ("filter" = Option<Vec<String>>, Query, description = "matchers of labels"), ("active" = Option<bool>, Query),
    ("silenced" = Option<bool>, Query), ("inhibited" = Option<bool>, Query),
    ("receiver" = Option<String>, Query, description = "regular expression")),
    responses((status = 200, body = Vec<Value>), (status = 400, body = String)))]
pub(crate) async fn groups(State(app): State<App>, RawQuery(text): RawQuery) -> Result<Json<Value>, Refused> {
    let view = app.platform.alarms();
    let found = shown(&view, &Filter::read(text)?);
    let mut groups: BTreeMap<(Labels, &str), Vec<Value>> = BTreeMap::new();
    for one in &found {
        for target in &one.2 {
            let group = groups.entry((target.group_labels(&one.0.labels), &target.notifier)).or_default();
            group.push(alert(one, view.now_ms));
        }
    }
    let groups = groups.into_iter().map(|((labels, receiver), alerts)| {
        json!({ "alerts": alerts, "labels": labels, "receiver": { "name": receiver } })
    });
    Ok(Json(groups.collect()))
}

/// Names of all notifiers, as Alertmanager answers them.
#[utoipa::path(get, path = "/api/v2/receivers", tag = "alertmanager", responses((status = 200, body = Vec<Value>)))]
pub(crate) async fn receivers(State(app): State<App>) -> Json<Value> {
    let view = app.platform.alarms();
    Json(view.config.root.notifiers().into_iter().map(|name| json!({ "name": name })).collect())
}

/// Version and state of the server, as Alertmanager answers them.
#[utoipa::path(get, path = "/api/v2/status", tag = "alertmanager", responses((status = 200, body = Value)))]
pub(crate) async fn status(State(app): State<App>) -> Json<Value> {
    let up_ms = i64::try_from(app.started.elapsed().as_millis()).unwrap_or(i64::MAX);
    let since = app.platform.alarms().now_ms.saturating_sub(up_ms);
    Json(json!({
        "cluster": { "peers": [], "status": "disabled" },
        "config": { "original": "" },
        "uptime": time(since),
        "versionInfo": {
            "branch": "sos", "buildDate": "", "buildUser": "", "goVersion": "", "revision": env!("CARGO_PKG_VERSION"),
            "version": "0.25.0",
        },
    }))
}

fn silence_json(silence: &Silence, now_ms: i64) -> Value {
    let matchers = silence.matchers.iter().map(|m| {
        json!({
            "name": m.name(),
            "value": m.value(),
            "isRegex": matches!(m.op(), MatchOp::Regex | MatchOp::NotRegex),
            "isEqual": matches!(m.op(), MatchOp::Equal | MatchOp::Regex),
        })
    });
    json!({
        "id": silence.id,
        "status": { "state": word(silence, now_ms) },
        "updatedAt": time(silence.starts_at_ms),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": time(silence.ends_at_ms),
        "startsAt": time(silence.starts_at_ms),
        "matchers": matchers.collect::<Vec<_>>(),
    })
}

/// Silences, as Alertmanager answers them.
#[utoipa::path(get, path = "/api/v2/silences", tag = "alertmanager", params(
    ("filter" = Option<Vec<String>>, Query, description = "matchers that a silence has to match")),
    responses((status = 200, body = Vec<Value>), (status = 400, body = String)))]
pub(crate) async fn silences(
    State(app): State<App>,
    RawQuery(text): RawQuery,
) -> Result<Json<Value>, Refused> {
    let filter = Filter::read(text)?;
    let view = app.platform.alarms();
    // As in Alertmanager: a filter is held against the values that the silence's own matchers name.
    let value = |silence: &Silence, name: &str| {
        let of = silence.matchers.iter().find(|own| own.name() == name);
        of.map_or_else(String::new, |own| own.value().to_owned())
    };
    let fits = |silence: &&Silence| filter.matchers.iter().all(|m| m.matches(&value(silence, m.name())));
    let found = newest_first(&view).into_iter().filter(fits);
    Ok(Json(found.map(|silence| silence_json(silence, view.now_ms)).collect()))
}

/// One silence, as Alertmanager answers it.
#[utoipa::path(get, path = "/api/v2/silence/{id}", tag = "alertmanager", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = String)))]
pub(crate) async fn silence(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let view = app.platform.alarms();
    let found = view.state.silences().iter().find(|silence| silence.id == id);
    let silence =
        found.ok_or_else(|| Problem::not_found("there is no such silence: /api/v2/silences lists all"))?;
    Ok(Json(silence_json(silence, view.now_ms)))
}

/// Alertmanager's form of a silence to make, or with an id to change.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl PostedMatcher {
    fn read(&self) -> Result<Matcher, Problem> {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        if self.name.is_empty() {
            return Err(Problem::bad_request("a matcher has no name: expected the name of a label"));
        }
        Matcher::new(op, &self.name, &self.value).map_err(|error| {
            Problem::bad_request(format!("the matcher of `{}`: {error}", self.name.escape_debug()))
        })
    }
}

/// Makes or changes a silence, as Alertmanager takes it. Who made it is the token's owner, with the name in the body
/// behind it where that differs.
#[utoipa::path(post, path = "/api/v2/silences", tag = "alertmanager", request_body = Value,
    responses((status = 200, body = Value), (status = 400, body = String), (status = 404, body = String)))]
pub(crate) async fn make_silence(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let posted: Posted = extract::json(body).await?;
    let view = app.platform.alarms();
    let id = posted.id.unwrap_or_default();
    if !id.is_empty() && !view.state.silences().iter().any(|silence| silence.id == id) {
        return Err(Problem::not_found("there is no silence with this id to change: leave `id` out").into());
    }
    let own = posted.created_by == who.name || posted.created_by.is_empty();
    let created_by = if own { who.name.clone() } else { format!("{} ({})", who.name, posted.created_by) };
    let at = |name, text: &str| extract::time(name, text).map(|time| time.as_millisecond());
    let silence = Silence {
        id,
        matchers: posted.matchers.iter().map(PostedMatcher::read).collect::<Result<_, _>>()?,
        // As there, a silence never begins in the past.
        starts_at_ms: at("startsAt", &posted.starts_at)?.max(view.now_ms),
        ends_at_ms: at("endsAt", &posted.ends_at)?,
        created_by,
        comment: posted.comment,
    };
    let silence = silences::make(&app, who, &headers, silence).await?;
    Ok(Json(json!({ "silenceID": silence.id })))
}

/// Ends a silence, as Alertmanager does.
#[utoipa::path(delete, path = "/api/v2/silence/{id}", tag = "alertmanager", params(("id" = String, Path)),
    responses((status = 200), (status = 404, body = String)))]
pub(crate) async fn end_silence(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    silences::end(&app, who, &headers, id).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_with_and_without_braces() {
        let of =
            |text: &str| matchers(text).map(|all| all.iter().map(Matcher::to_string).collect::<Vec<_>>());
        assert_eq!(of("alertname=\"a\"").unwrap(), ["alertname=\"a\""]);
        assert_eq!(of("{a=~\".*\",b!=\"c\"}").unwrap(), ["a=~\".*\"", "b!=\"c\""]);
        assert_eq!(of("severity=page").unwrap(), ["severity=\"page\""]);
        assert_eq!(of("a=~b|c, d=\"x,\\\"y\"").unwrap(), ["a=~\"b|c\"", "d=\"x,\\\"y\""]);
        for wrong in ["=b", "a!b", "a=\"b", "a=\"b\"} or {c=\"d\"", "a=~("] {
            assert!(of(wrong).unwrap_err().detail.contains("bad matcher"), "{wrong}");
        }
        assert!(of("a").unwrap_err().detail.contains("bad matcher"));
        assert!(Filter::read(Some("active=maybe".into())).is_err());
        assert!(Filter::read(Some("receiver=%28".into())).is_err());
        assert!(!Filter::read(Some("silenced=false&unprocessed=true".into())).unwrap().silenced);
    }
}
