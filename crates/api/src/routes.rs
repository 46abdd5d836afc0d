//! The one table of routes: method, path, access and handler. The router, the access matrix of the tests and the check
//! that every route is documented all read it.

use axum::{
    Json,
    http::Method,
    routing::{MethodRouter, delete, get, post, put},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use crate::{
    Access, Role,
    alarms::*,
    calls, channels,
    handlers::*,
    ingest::{otlp, remote_write},
    log_search, people,
    prometheus::*,
    runbooks, runs,
    server::App,
    session::*,
    sites::*,
    stream,
};

/// One route as others may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// HTTP method; `GET` answers `HEAD` too.
    pub method: Method,
    /// Path with its parameters in braces.
    pub path: &'static str,
    /// What it asks of the caller.
    pub access: Access,
}

pub(crate) struct Route {
    pub(crate) info: RouteInfo,
    pub(crate) handler: MethodRouter<App>,
}

/// All routes of the API, in the order of the documentation.
pub fn routes() -> Vec<RouteInfo> {
    table().into_iter().map(|route| route.info).collect()
}

pub(crate) fn table() -> Vec<Route> {
    let open = Access::Open;
    let viewer = Access::Needs(Role::Viewer);
    let operator = Access::Needs(Role::Operator);
    let admin = Access::Needs(Role::Admin);
    let route = |method, path, access, handler| Route { info: RouteInfo { method, path, access }, handler };
    vec![
        route(Method::GET, "/healthz", open, get(healthz)),
        route(Method::GET, "/metrics", viewer, get(metrics)),
        route(Method::POST, "/api/v1/login", open, post(login)),
        route(Method::GET, "/api/v1/session", viewer, get(session)),
        route(Method::DELETE, "/api/v1/session", viewer, delete(logout)),
        route(Method::GET, "/api/v1/sites", viewer, get(sites)),
        route(Method::GET, "/api/v1/sites/{name}/live", viewer, get(site_live)),
        route(Method::GET, "/api/v1/sites/{name}/chart", viewer, get(site_chart)),
        route(Method::GET, "/api/v1/sites/{name}/report", viewer, get(site_report)),
        route(Method::GET, "/api/v1/sites/{name}/forecasts", viewer, get(site_forecasts)),
        route(Method::GET, "/api/v1/stream", viewer, get(stream::stream)),
        route(Method::GET, "/api/v1/events", viewer, get(events)),
        route(Method::GET, "/api/v1/resources/{kind}", viewer, get(list)),
        route(Method::GET, "/api/v1/resources/{kind}/{name}", viewer, get(resource)),
        route(Method::DELETE, "/api/v1/resources/{kind}/{name}", admin, delete(remove)),
        route(Method::POST, "/api/v1/apply", admin, post(apply)),
        route(Method::POST, "/api/v1/diff", viewer, post(diff)),
        route(Method::GET, "/api/v1/logs", viewer, get(log_search::search)),
        route(Method::GET, "/api/v1/services/{name}/logs", viewer, get(logs)),
        route(Method::PUT, "/api/v1/assets/{name}/override", operator, put(people::order)),
        route(Method::DELETE, "/api/v1/assets/{name}/override", operator, delete(people::clear_order)),
        route(Method::PUT, "/api/v1/assets/{name}/hold", operator, put(people::hold)),
        route(Method::DELETE, "/api/v1/assets/{name}/hold", operator, delete(people::clear_hold)),
        route(Method::PUT, "/api/v1/services/{name}/scale", operator, put(scale)),
        route(Method::GET, "/api/v1/services/{name}/rollout", viewer, get(rollout_status)),
        route(Method::GET, "/api/v1/services/{name}/rollout/history", viewer, get(rollout_history)),
        route(Method::POST, "/api/v1/services/{name}/rollout", operator, post(rollout)),
        route(Method::POST, "/api/v1/services/{name}/rollout/restart", operator, post(restart)),
        route(Method::POST, "/api/v1/services/{name}/call", operator, post(calls::call)),
        route(Method::GET, "/api/v1/contracts", viewer, get(calls::contracts)),
        route(Method::GET, "/api/v1/contracts/{service}", viewer, get(calls::contract)),
        route(Method::GET, "/api/v1/channels", viewer, get(channels::channels)),
        route(Method::GET, "/api/v1/channels/{name}/events", viewer, get(channels::heard)),
        route(Method::POST, "/api/v1/channels/{name}/events", operator, post(channels::publish)),
        route(Method::PUT, "/api/v1/channels/{name}/groups/{group}", operator, put(channels::seek)),
        route(Method::DELETE, "/api/v1/channels/{name}/groups/{group}", operator, delete(channels::forget)),
        route(Method::POST, "/api/v1/channels/{name}/groups/{group}/take", operator, post(channels::take)),
        route(
            Method::POST,
            "/api/v1/channels/{name}/groups/{group}/settle",
            operator,
            post(channels::settle),
        ),
        route(Method::GET, "/api/v1/channels/{name}/dead-letters", viewer, get(channels::dead_letters)),
        route(Method::POST, "/api/v1/channels/{name}/dead-letters", operator, post(channels::redrive)),
        route(Method::POST, "/api/v1/workflows/{name}/runs", operator, post(runs::start)),
        route(Method::GET, "/api/v1/runs", viewer, get(runs::runs)),
        route(Method::POST, "/api/v1/runs", operator, post(runs::order)),
        route(Method::POST, "/api/v1/runs/{name}/signal", operator, post(runs::signal)),
        route(Method::GET, "/api/v1/tasks", viewer, get(runs::tasks)),
        route(Method::POST, "/api/v1/tasks/{id}", operator, post(runs::attend)),
        route(Method::GET, "/api/v1/query", viewer, get(query)),
        route(Method::POST, "/api/v1/query", viewer, post(query_form)),
        route(Method::GET, "/api/v1/query_range", viewer, get(query_range)),
        route(Method::POST, "/api/v1/query_range", viewer, post(query_range_form)),
        route(Method::GET, "/api/v1/series", viewer, get(series)),
        route(Method::POST, "/api/v1/series", viewer, post(series_form)),
        route(Method::GET, "/api/v1/labels", viewer, get(labels)),
        route(Method::POST, "/api/v1/labels", viewer, post(labels_form)),
        route(Method::GET, "/api/v1/label/{name}/values", viewer, get(label_values)),
        route(Method::GET, "/api/v1/metadata", viewer, get(metadata)),
        route(Method::GET, "/api/v1/rules", viewer, get(rules)),
        route(Method::GET, "/api/v1/alerts", viewer, get(alerts)),
        route(Method::GET, "/api/v1/alarms", viewer, get(alarms)),
        route(Method::POST, "/api/v1/alarms/{fingerprint}/acknowledge", operator, post(acknowledge)),
        route(Method::GET, "/api/v1/silences", viewer, get(silences)),
        route(Method::POST, "/api/v1/silences", operator, post(make_silence)),
        route(Method::DELETE, "/api/v1/silences/{id}", operator, delete(end_silence)),
        route(Method::GET, "/api/v1/notifications", viewer, get(notifications)),
        route(Method::GET, "/runbooks/{name}", viewer, get(runbooks::runbook)),
        route(Method::GET, "/api/v2/status", viewer, get(alertmanager::status)),
        route(Method::GET, "/api/v2/receivers", viewer, get(alertmanager::receivers)),
        route(Method::GET, "/api/v2/alerts", viewer, get(alertmanager::alerts)),
        route(Method::GET, "/api/v2/alerts/groups", viewer, get(alertmanager::groups)),
        route(Method::GET, "/api/v2/silences", viewer, get(alertmanager::silences)),
        route(Method::POST, "/api/v2/silences", operator, post(alertmanager::make_silence)),
        route(Method::GET, "/api/v2/silence/{id}", viewer, get(alertmanager::silence)),
        route(Method::DELETE, "/api/v2/silence/{id}", operator, delete(alertmanager::end_silence)),
        route(Method::POST, "/api/v1/otlp/v1/metrics", operator, post(otlp::metrics)),
        route(Method::POST, "/v1/metrics", operator, post(otlp::metrics_of_collectors)),
        route(Method::POST, "/api/v1/write", operator, post(remote_write::write)),
        route(Method::GET, "/api/v1/format_query", viewer, get(format_query)),
        route(Method::GET, "/api/v1/status/buildinfo", viewer, get(build_info)),
        route(Method::GET, "/api/v1/openapi.json", viewer, get(document)),
    ]
}

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Documentation::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "SOS", description = "Services and energy of one platform: resources, live state, commands."),
    paths(
        healthz, metrics, login, session, logout, sites, site_live, site_chart, site_report, site_forecasts, stream::stream, events, list, resource,
        remove, apply, diff, people::order, people::clear_order, people::hold, people::clear_hold, logs, scale, rollout_status, rollout_history, rollout, restart, calls::call, calls::contracts, calls::contract, channels::channels, channels::heard,
        channels::publish, channels::seek, channels::forget, channels::take, channels::settle, channels::dead_letters,
        channels::redrive, runs::start, runs::runs, runs::order, runs::signal, runs::tasks, runs::attend, query, query_form, query_range, query_range_form, series, series_form, labels, labels_form,
        label_values, metadata, rules, alerts, alarms, acknowledge, silences, make_silence, end_silence, notifications, runbooks::runbook,
        alertmanager::status, alertmanager::receivers, alertmanager::alerts, alertmanager::groups, alertmanager::silences,
        alertmanager::make_silence, alertmanager::silence, alertmanager::end_silence, log_search::search, otlp::metrics,
        otlp::metrics_of_collectors, remote_write::write, format_query, build_info, document
    ),
    components(schemas(crate::wire::SiteLive, crate::wire::EventRecord, crate::wire::ReportPeriod)),
    security(("token" = []), ("cookie" = [])),
    modifiers(&Tokens)
)]
struct Documentation;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let cookie = ApiKeyValue::with_description("sos_session_PORT", "set by /api/v1/login");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "server", responses((status = 200, body = serde_json::Value)))]
async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_documented_and_every_documented_route_exists() {
        let document = serde_json::to_value(openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let served: BTreeSet<_> =
            routes().iter().map(|r| (r.method.to_string(), r.path.to_owned())).collect();
        assert_eq!(documented, served);
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(|to| to.as_str()).map(ToOwned::to_owned));
                    map.values().for_each(|inner| references(inner, found));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
                _ => {}
            }
        }
        let document = serde_json::to_value(openapi()).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads to nothing");
        }
    }

    #[test]
    fn every_operation_says_what_it_does_and_what_it_answers() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let text = operation["summary"].as_str().unwrap_or("");
                assert!(text.len() > 10, "{method} {path} has no summary");
                assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            }
        }
    }

    #[test]
    fn only_health_and_login_are_open_and_only_reading_is_for_viewers() {
        // Clients of Prometheus send long queries as forms.
        let forms = ["/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels"];
        for route in routes() {
            let open = matches!(route.path, "/healthz" | "/api/v1/login");
            assert_eq!(route.access == Access::Open, open, "{route:?}");
            let harmless = route.method == Method::GET
                || matches!(route.path, "/api/v1/diff" | "/api/v1/session")
                || forms.contains(&route.path);
            if !open && !harmless {
                assert!(matches!(route.access, Access::Needs(role) if role > Role::Viewer), "{route:?}");
            }
        }
    }
}
