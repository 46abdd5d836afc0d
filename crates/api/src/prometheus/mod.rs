//! The query API of Prometheus over everything stored, so that Grafana and all that speaks to a Prometheus connects here.
//!
//! Paths, parameters, answers and errors are those of Prometheus 2.42 (<https://prometheus.io/docs/prometheus/2.42/querying/api/>);
//! errors are its JSON, not [`crate::Problem`], because its clients read them. What access control refuses stays a problem.

mod answer;
mod params;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use sos_watch::promql::LOOKBACK_MS;
use sos_watch::{Answer, ErrorKind, Labels, Matcher, Query, Source, SourceError};

use crate::server::App;
use params::{Params, read};
pub use rules::RuleGroupView;
pub(crate) use rules::{__path_alerts, __path_rules, alerts, rules};

/// Longest time a query may take when it does not ask for less.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The series of the platform.
pub trait Series: Source + Send + Sync {
    /// The label sets of the series that satisfy all matchers of at least one set and have samples from `start_ms` to
    /// `end_ms`, both inclusive; in order, each once.
    ///
    /// # Errors
    /// When the data cannot be read.
    fn labels(&self, sets: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<Vec<Labels>, SourceError>;
    /// The names of the labels of those series, in order, each once.
    ///
    /// # Errors
    /// As [`Series::labels`].
    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError>;
    /// The values of a label of those series, in order, each once, none empty.
    ///
    /// # Errors
    /// As [`Series::labels`].
    fn label_values(
        &self,
        label: &str,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeSet<Arc<str>>, SourceError>;
    /// What is known of metrics.
    ///
    /// # Errors
    /// When the data cannot be read.
    fn metadata(&self) -> Result<Vec<Metadata>, SourceError>;
    /// The time at which a query is evaluated that names none, ms since 1970.
    fn now_ms(&self, query: &Query) -> i64;
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub metric: String,
    /// `counter`, `gauge`, `histogram`, `summary` or `unknown`.
    pub kind: String,
    /// For people.
    pub help: String,
    /// Its unit, empty where it has none.
    pub unit: String,
}

/// Why there is no answer, with the words that clients of Prometheus know.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self { kind: "bad_data", message: message.into() }
    }

    fn internal(message: impl Into<String>) -> Self {
        Self { kind: "internal", message: message.into() }
    }
}

impl From<sos_watch::Error> for Refusal {
    fn from(error: sos_watch::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Parse => "bad_data",
            ErrorKind::Execution | ErrorKind::TooMuch => "execution",
            ErrorKind::Stopped => "timeout",
            ErrorKind::Source => "internal",
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        Self::internal(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.kind {
            "bad_data" => StatusCode::BAD_REQUEST,
            "execution" => StatusCode::UNPROCESSABLE_ENTITY,
            "timeout" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = json!({ "status": "error", "errorType": self.kind, "error": self.message });
        (status, Json(body)).into_response()
    }
}

pub(crate) type Reply = Result<Json<Value>, Refusal>;
/// An answer that is JSON text already.
type Written = Result<([(header::HeaderName, &'static str); 1], String), Refusal>;

fn written(answer: &Answer) -> Written {
    Ok(([(header::CONTENT_TYPE, "application/json")], answer::text(answer)))
}

fn success(data: Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}

/// Runs what reads series on a thread for that, not more at once than the server has places for.
async fn with_series<T: Send + 'static>(
    app: App,
    work: impl FnOnce(&dyn Series) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let busy = || Refusal {
        kind: "unavailable",
        message: "all places for queries are taken: ask again in a moment".to_owned(),
    };
    let waiting = tokio::time::timeout(TIMEOUT, Arc::clone(&app.queries).acquire_owned());
    let place = waiting.await.map_err(|_| busy())?.map_err(|_| busy())?;
    let series = app.platform.series();
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        work(series.as_ref())
    });
    task.await
        .unwrap_or_else(|_| Err(Refusal::internal("the query failed inside the server; its log has more")))
}

/// Evaluates until the time is up.
fn evaluated(
    timeout: Duration,
    lookback: Option<i64>,
    evaluate: impl FnOnce(&sos_watch::Options<'_>) -> Result<Answer, sos_watch::Error>,
) -> Result<Answer, Refusal> {
    let began = Instant::now();
    let stop = || began.elapsed() > timeout;
    let lookback_ms = lookback.unwrap_or(LOOKBACK_MS);
    Ok(evaluate(&sos_watch::Options { stop: &stop, lookback_ms, ..Default::default() })?)
}

/// Evaluates a query at one time.
#[utoipa::path(get, path = "/api/v1/query", tag = "series", params(
    ("query" = String, Query, description = "PromQL"), ("time" = Option<String>, Query, description = "RFC 3339 or seconds since 1970; now when left out"),
    ("timeout" = Option<String>, Query, description = "at most 20s"), ("lookback_delta" = Option<String>, Query, description = "5m when left out")),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 422, body = Value), (status = 503, body = Value)))]
pub(crate) async fn query(State(app): State<App>, RawQuery(text): RawQuery) -> impl IntoResponse {
    instant(app, Params::of_query(text)).await
}

/// Evaluates a query at one time; parameters in a form.
#[utoipa::path(post, path = "/api/v1/query", tag = "series",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 422, body = Value), (status = 503, body = Value)))]
pub(crate) async fn query_form(
    State(app): State<App>,
    RawQuery(text): RawQuery,
    body: Body,
) -> impl IntoResponse {
    instant(app, read(text, body).await?).await
}

async fn instant(app: App, params: Params) -> Written {
    let query = params.query()?;
    let (time, timeout, lookback) = (params.time("time")?, params.timeout(TIMEOUT)?, params.lookback()?);
    with_series(app, move |series| {
        let time = time.unwrap_or_else(|| series.now_ms(&query));
        let answer = evaluated(timeout, lookback, |options| query.instant(series, time, options))?;
        written(&answer)
    })
    .await
}

/// Evaluates a query at each step of a range.
#[utoipa::path(get, path = "/api/v1/query_range", tag = "series", params(
    ("query" = String, Query, description = "PromQL"), ("start" = String, Query, description = "RFC 3339 or seconds since 1970"),
    ("end" = String, Query, description = "as start, inclusive"), ("step" = String, Query, description = "duration such as 15s, or seconds"),
    ("timeout" = Option<String>, Query, description = "at most 20s")),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 422, body = Value), (status = 503, body = Value)))]
pub(crate) async fn query_range(State(app): State<App>, RawQuery(text): RawQuery) -> impl IntoResponse {
    range(app, Params::of_query(text)).await
}

/// Evaluates a query at each step of a range; parameters in a form.
#[utoipa::path(post, path = "/api/v1/query_range", tag = "series",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 422, body = Value), (status = 503, body = Value)))]
pub(crate) async fn query_range_form(
    State(app): State<App>,
    RawQuery(text): RawQuery,
    body: Body,
) -> impl IntoResponse {
    range(app, read(text, body).await?).await
}

async fn range(app: App, params: Params) -> Written {
    let (start, end, step) = (params.needed_time("start")?, params.needed_time("end")?, params.step()?);
    params.check_range(start, end, step)?;
    let query = params.query()?;
    let (timeout, lookback) = (params.timeout(TIMEOUT)?, params.lookback()?);
    with_series(app, move |series| {
        let answer = evaluated(timeout, lookback, |options| query.range(series, start, end, step, options))?;
        written(&answer)
    })
    .await
}

/// Finds series by selectors.
#[utoipa::path(get, path = "/api/v1/series", tag = "series", params(
    ("match[]" = Vec<String>, Query, description = "selectors, at least one"), ("start" = Option<String>, Query), ("end" = Option<String>, Query)),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn series(State(app): State<App>, RawQuery(text): RawQuery) -> Reply {
    found(app, Params::of_query(text)).await
}

/// Finds series by selectors; parameters in a form.
#[utoipa::path(post, path = "/api/v1/series", tag = "series",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn series_form(State(app): State<App>, RawQuery(text): RawQuery, body: Body) -> Reply {
    found(app, read(text, body).await?).await
}

async fn found(app: App, params: Params) -> Reply {
    let sets = params.matchers()?;
    if sets.is_empty() {
        return Err(Refusal::bad("no match[] parameter provided: expected at least one selector such as up"));
    }
    let (start, end) = params.span()?;
    with_series(app, move |series| {
        let labels = series.labels(&sets, start, end)?;
        Ok(success(labels.iter().map(answer::labels).collect()))
    })
    .await
}

/// The names of labels.
#[utoipa::path(get, path = "/api/v1/labels", tag = "series", params(
    ("match[]" = Option<Vec<String>>, Query, description = "selectors"), ("start" = Option<String>, Query), ("end" = Option<String>, Query)),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn labels(State(app): State<App>, RawQuery(text): RawQuery) -> Reply {
    names(app, Params::of_query(text), None).await
}

/// The names of labels; parameters in a form.
#[utoipa::path(post, path = "/api/v1/labels", tag = "series",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn labels_form(State(app): State<App>, RawQuery(text): RawQuery, body: Body) -> Reply {
    names(app, read(text, body).await?, None).await
}

/// The values of a label; of `__name__` the names of metrics.
#[utoipa::path(get, path = "/api/v1/label/{name}/values", tag = "series", params(("name" = String, Path),
    ("match[]" = Option<Vec<String>>, Query, description = "selectors"), ("start" = Option<String>, Query), ("end" = Option<String>, Query)),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn label_values(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(text): RawQuery,
) -> Reply {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) || name.is_empty() {
        return Err(Refusal::bad(format!("invalid label name: {name:?}")));
    }
    names(app, Params::of_query(text), Some(name)).await
}

/// Names of labels, or the values of one.
async fn names(app: App, params: Params, of: Option<String>) -> Reply {
    let (sets, (start, end)) = (params.matchers()?, params.span()?);
    let sets = if sets.is_empty() { vec![Vec::new()] } else { sets };
    with_series(app, move |series| {
        let names = match &of {
            None => series.label_names(&sets, start, end)?,
            Some(label) => series.label_values(label, &sets, start, end)?,
        };
        Ok(success(json!(names.iter().map(|name| &**name).collect::<Vec<&str>>())))
    })
    .await
}

/// Type, help and unit of metrics.
#[utoipa::path(get, path = "/api/v1/metadata", tag = "series", params(
    ("metric" = Option<String>, Query, description = "name of one metric"), ("limit" = Option<u64>, Query, description = "most metrics")),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn metadata(State(app): State<App>, RawQuery(text): RawQuery) -> Reply {
    let params = Params::of_query(text);
    let (metric, limit) = (params.get("metric").map(str::to_owned), params.count("limit")?);
    with_series(app, move |series| {
        let all = series.metadata()?.into_iter();
        let wanted = all.filter(|one| metric.as_ref().is_none_or(|metric| *metric == one.metric));
        Ok(success(answer::metadata(wanted.take(limit.unwrap_or(usize::MAX)))))
    })
    .await
}

/// Writes a query in one way.
#[utoipa::path(get, path = "/api/v1/format_query", tag = "series", params(("query" = String, Query, description = "PromQL")),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn format_query(RawQuery(text): RawQuery) -> Reply {
    Ok(success(json!(Params::of_query(text).query()?.to_string())))
}

/// Whose queries are understood; clients choose their features by it.
#[utoipa::path(get, path = "/api/v1/status/buildinfo", tag = "series", responses((status = 200, body = Value)))]
pub(crate) async fn build_info() -> Json<Value> {
    success(json!({
        "version": "2.42.0", "revision": env!("CARGO_PKG_VERSION"), "branch": "sos", "buildUser": "", "buildDate": "",
        "goVersion": "",
    }))
}

/// A query as it was asked.
impl Params {
    fn query(&self) -> Result<Query, Refusal> {
        let text = self.needed("query")?;
        Query::parse(text).map_err(|error| Refusal {
            message: format!("invalid parameter \"query\": {error}"),
            ..Refusal::from(error)
        })
    }
}
