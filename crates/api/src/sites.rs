//! Reading sites, events, metrics and health.

use axum::{Json, extract::State, http::header, response::IntoResponse};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    Problem, extract,
    extract::{Path, Query},
    server::App,
    wire::{EventRecord, ReportPeriod, SiteChart, SiteForecasts, SiteLive, SiteReport, SiteSummary},
};

/// A chart reaches this far back and ahead when the query does not say.
const CHART_SPAN: SignedDuration = SignedDuration::from_hours(24);
/// Most steps of one chart (5.7 years of hours, 5.8 days of 10 s): it is held in memory at once.
const CHART_STEPS: i64 = 50_000;
/// Most events of one answer.
const EVENTS: usize = 500;

/// Says that the server answers. Needs no token and says nothing else.
#[utoipa::path(get, path = "/healthz", tag = "server", security(()), responses((status = 200, body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Metrics in Prometheus text form.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics())
}

/// Names of all sites.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", responses((status = 200, body = Vec<SiteSummary>)))]
pub(crate) async fn sites(State(app): State<App>) -> Json<Vec<SiteSummary>> {
    Json(app.platform.sites())
}

fn live(app: &App, name: &str) -> Result<std::sync::Arc<SiteLive>, Problem> {
    if let Some(state) = app.platform.site_live(name) {
        return Ok(state);
    }
    let known: Vec<_> = app.platform.sites().into_iter().map(|site| site.name).collect();
    if known.iter().any(|known| known == name) {
        return Err(Problem::unavailable(format!(
            "site `{name}` has had no tick yet: try again in a moment"
        )));
    }
    Err(Problem::not_found(format!("there is no site `{name}`; known: {}", known.join(", "))))
}

/// State of a site at its latest tick.
#[utoipa::path(get, path = "/api/v1/sites/{name}/live", tag = "sites", params(("name" = String, Path)),
    responses((status = 200, body = SiteLive), (status = 404, body = Problem)))]
pub(crate) async fn site_live(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let state = live(&app, &name)?;
    Ok(Json(SiteLive::clone(&state)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChartQuery {
    /// First step, RFC 3339; 24 hours before the latest tick when left out.
    from: Option<String>,
    /// Steps before this time; 24 hours after the latest tick when left out.
    to: Option<String>,
}

/// Measured series and the plan in force, for a chart.
#[utoipa::path(get, path = "/api/v1/sites/{name}/chart", tag = "sites", params(("name" = String, Path), ChartQuery),
    responses((status = 200, body = SiteChart), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn site_chart(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<ChartQuery>,
) -> Result<Json<SiteChart>, Problem> {
    let state = live(&app, &name)?;
    let now: Timestamp = state.time.parse().map_err(|_| {
        Problem::internal(format!("site `{name}` has a time that cannot be read: {}", state.time))
    })?;
    let from = match &query.from {
        Some(text) => extract::time("from", text)?,
        None => now.saturating_sub(CHART_SPAN).unwrap_or(now),
    };
    let to = match &query.to {
        Some(text) => extract::time("to", text)?,
        None => now.saturating_add(CHART_SPAN).unwrap_or(now),
    };
    if from >= to {
        return Err(Problem::bad_request(format!("`from` ({from}) has to be before `to` ({to})")));
    }
    let step = i64::try_from(state.step_seconds).unwrap_or(i64::MAX).max(1);
    let steps = from.duration_until(to).as_secs() / step;
    if steps > CHART_STEPS {
        return Err(Problem::bad_request(format!(
            "from {from} to {to} are {steps} steps, at most {CHART_STEPS} are read: ask for a shorter time"
        )));
    }
    app.platform.site_chart(&name, from, to).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// `day`, `week`, `month` (unless said) or `year`.
    #[serde(default)]
    period: ReportPeriod,
}

/// What a site cost, emitted and saved in each period since its start.
#[utoipa::path(get, path = "/api/v1/sites/{name}/report", tag = "sites", params(("name" = String, Path), ReportQuery),
    responses((status = 200, body = SiteReport), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn site_report(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<SiteReport>, Problem> {
    live(&app, &name)?;
    app.platform.site_report(&name, query.period).await.map(Json)
}

/// What is expected of every series of a site, with what was measured before and how good earlier forecasts were.
#[utoipa::path(get, path = "/api/v1/sites/{name}/forecasts", tag = "sites", params(("name" = String, Path)),
    responses((status = 200, body = SiteForecasts), (status = 404, body = Problem)))]
pub(crate) async fn site_forecasts(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<SiteForecasts>, Problem> {
    live(&app, &name)?;
    app.platform.site_forecasts(&name).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Only events with an id above this.
    #[serde(default)]
    since: u64,
}

/// What happened to resources, oldest first, the newest 500.
#[utoipa::path(get, path = "/api/v1/events", tag = "resources", params(EventsQuery),
    responses((status = 200, body = Vec<EventRecord>)))]
pub(crate) async fn events(
    State(app): State<App>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Vec<EventRecord>>, Problem> {
    app.platform.events(query.since, EVENTS).await.map(Json)
}
