use std::{sync::atomic::Ordering, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use sos_api::{
    MAX_MANIFEST_BYTES,
    wire::{SiteChart, SiteForecasts, SiteLive},
};

use crate::server::{Server, problem};

#[tokio::test]
async fn bodies_are_read_up_to_their_limit_and_not_a_byte_further() {
    let server = Server::start().await;
    let apply = |bytes: usize| server.admin(Method::POST, "/api/v1/apply").body(vec![b'a'; bytes]).send();
    assert_eq!(apply(MAX_MANIFEST_BYTES).await.unwrap().status(), 200);
    let request = |bytes: usize| {
        format!(
            "POST /api/v1/apply HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer admin-token\r\nConnection: close\r\n\
             Content-Length: {bytes}\r\n\r\n",
            server.address
        )
    };
    let refused = server.raw(&request(MAX_MANIFEST_BYTES + 1)).await;
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("4194304 bytes"), "{refused}");
    let chunks = vec![Ok::<_, std::io::Error>(vec![b'a'; MAX_MANIFEST_BYTES]), Ok(vec![b'a'])];
    let unannounced = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let unannounced = server.admin(Method::POST, "/api/v1/apply").body(unannounced).send().await.unwrap();
    problem(unannounced, 413).await;
    let huge = server.raw(&request(1 << 40)).await;
    assert!(huge.starts_with("HTTP/1.1 413"), "refused before a byte of it is sent: {huge}");
    let scale = server.admin(Method::PUT, "/api/v1/services/adapter/scale").body(vec![b' '; 17 * 1024]);
    problem(scale.send().await.unwrap(), 413).await;
}

#[tokio::test]
async fn wrong_requests_say_what_is_wrong_and_what_is_known() {
    let server = Server::start().await;
    let cases = [
        (Method::GET, "/api/v1/nothing", "", 404, "openapi.json"),
        (Method::PATCH, "/api/v1/sites", "", 405, "PATCH"),
        (Method::GET, "/api/v1/sites/nowhere/live", "", 404, "known: fontana"),
        (Method::GET, "/api/v1/sites/%FF/live", "", 400, "path"),
        (Method::GET, "/api/v1/sites/fontana/chart?from=noon", "", 400, "2016-08-01T00:00:00-08:00"),
        (Method::GET, "/api/v1/sites/fontana/chart?form=x", "", 400, "`from`"),
        (Method::GET, "/api/v1/sites/fontana/report?period=hour", "", 400, "`month`"),
        (Method::GET, "/api/v1/sites/nowhere/report?period=day", "", 404, "known: fontana"),
        (
            Method::GET,
            "/api/v1/sites/fontana/chart?from=2016-08-02T00:00:00Z&to=2016-08-01T00:00:00Z",
            "",
            400,
            "before",
        ),
        (Method::GET, "/api/v1/sites/fontana/chart?from=0001-01-01T00:00:00Z", "", 400, "at most"),
        (Method::GET, "/api/v1/events?since=-1", "", 400, "since"),
        (Method::GET, "/api/v1/services/adapter/logs?lines=1000000", "", 400, "10000"),
        (Method::GET, "/api/v1/services/other/logs", "", 404, "known: adapter"),
        (Method::PUT, "/api/v1/services/adapter/scale", "{\"replicas\":-1}", 400, "JSON"),
        (Method::PUT, "/api/v1/services/adapter/scale", "", 400, "JSON"),
        (Method::POST, "/api/v1/services/adapter/rollout", "{\"order\":\"back\"}", 400, "`undo`"),
        (Method::POST, "/api/v1/apply?dryrun=true", "", 400, "dryRun"),
        (Method::POST, "/api/v1/apply", "panic", 500, "log"),
    ];
    for (method, path, body, status, part) in cases {
        let response = server.admin(method.clone(), path).body(body).send().await.unwrap();
        let detail = problem(response, status).await.detail;
        assert!(detail.contains(part), "{method} {path}: {detail}");
    }
    let wrong = server.admin(Method::POST, "/api/v1/apply").body("wrong: 1").send().await.unwrap();
    assert_eq!(problem(wrong, 422).await.problems[0]["line"], 1, "the list of problems arrives as it was");
}

#[tokio::test]
async fn commands_are_recorded_first_and_not_carried_out_when_they_cannot_be() {
    let server = Server::start().await;
    let delete = || {
        server.admin(Method::DELETE, "/api/v1/resources/Service/adapter").header("sos-reason", "cleaning up")
    };
    assert_eq!(delete().send().await.unwrap().status(), 204);
    let dry = server.admin(Method::POST, "/api/v1/apply?dryRun=true&manager=ci").send().await.unwrap();
    assert_eq!(
        dry.json::<Value>().await.unwrap()[0],
        json!({"kind":"Service","name":"ci","action":"created","version":0})
    );
    {
        let audited = server.fake.audited.lock().unwrap();
        assert_eq!(audited.len(), 1, "a dry run changes nothing");
        assert_eq!((audited[0].action, audited[0].target.as_str()), ("delete", "Service/adapter"));
        assert_eq!((audited[0].who.as_str(), audited[0].reason.as_deref()), ("admin", Some("cleaning up")));
    }
    server.fake.audit_fails.store(true, Ordering::Relaxed);
    let detail = problem(delete().send().await.unwrap(), 503).await.detail;
    assert!(detail.contains("not carried out") && detail.contains("disk is full"), "{detail}");
}

#[tokio::test]
async fn live_and_chart_are_the_platforms_numbers() {
    let server = Server::start().await;
    let live: SiteLive =
        server.admin(Method::GET, "/api/v1/sites/fontana/live").send().await.unwrap().json().await.unwrap();
    assert_eq!(live.time, "2016-08-02T13:00:00-08:00", "times carry the site's offset");
    let chart =
        |query: &str| server.admin(Method::GET, &format!("/api/v1/sites/fontana/chart{query}")).send();
    let day: SiteChart = chart("").await.unwrap().json().await.unwrap();
    assert_eq!((day.actual.len(), day.plan.len()), (25, 23), "24 h back to 24 h ahead");
    let raw: Value = chart("").await.unwrap().json().await.unwrap();
    let gap =
        raw["actual"].as_array().unwrap().iter().find(|p| p["time"] == "2016-08-01T21:00:00-08:00").unwrap();
    assert!(
        gap["grid_kw"].is_null() && gap.get("grid_kw").is_some(),
        "a gap is null, not left out and not zero"
    );
    // 05:00+02:00 is before 00:00-08:00: offsets are heeded.
    let reversed = chart("?from=2016-08-01T00:00:00-08:00&to=2016-08-01T05:00:00%2B02:00").await.unwrap();
    assert!(problem(reversed, 400).await.detail.contains("before"));
    let plus: SiteChart = chart("?from=2016-08-01T10:00:00+02:00&to=2016-08-01T13:00:00%2B02:00")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let times: Vec<_> = plus.actual.iter().map(|point| point.time.as_str()).collect();
    assert_eq!(
        times,
        ["2016-08-01T00:00:00-08:00", "2016-08-01T01:00:00-08:00", "2016-08-01T02:00:00-08:00"]
    );
}

#[tokio::test]
async fn metrics_hold_the_platforms_and_the_servers_own() {
    let server = Server::start().await;
    server.get("/healthz").send().await.unwrap();
    server.get("/anything/%22%0A").send().await.unwrap();
    let response = server.admin(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "# TYPE sos_site_power_kw gauge",
        "sos_api_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1",
        "sos_api_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "sos_api_stream_clients 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_caller_that_sends_too_slowly_is_let_go() {
    let server = Server::with(|options| {
        options.header_timeout = Duration::from_millis(50);
        options.request_timeout = Duration::from_millis(50);
    })
    .await;
    let head = server.raw("GET /healthz HTTP/1.1\r\nHost: 127").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = format!(
        "POST /api/v1/apply HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer admin-token\r\nContent-Length: 9\r\n\r\nhalf",
        server.address
    );
    let answer = server.raw(&body).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("look before repeating"), "{answer}");
}

#[tokio::test]
async fn forecasts_come_with_their_band_what_was_measured_and_how_good_they_were() {
    let server = Server::start().await;
    let ask = |site: &str| server.admin(Method::GET, &format!("/api/v1/sites/{site}/forecasts")).send();
    let raw: Value = ask("fontana").await.unwrap().json().await.unwrap();
    let answer: SiteForecasts = serde_json::from_value(raw.clone()).unwrap();
    let [load] = answer.series.as_slice() else { panic!("{answer:?}") };
    assert_eq!((load.name.as_str(), load.unit.as_str(), load.steps.len()), ("home-1-load", "kW", 24));
    assert_eq!(load.steps[0].valid_at, load.issued_at, "the first step starts when it was issued");
    for step in &load.steps {
        let [low, high] = step.quantiles.as_slice() else { panic!("{step:?}") };
        assert!(low.q < high.q && low.value <= step.mean && step.mean <= high.value, "{step:?}");
        assert!(step.mean <= 0.0, "a load flows out of the site");
    }
    assert!(load.actual.iter().all(|step| step.time < load.issued_at));
    let horizons: Vec<_> = load.accuracy.iter().map(|row| row.horizon.as_str()).collect();
    assert_eq!(horizons, ["1h", "2-4h", "5-12h", "13-24h"]);
    assert_eq!(raw["series"][0]["type"], "load");
    assert!(problem(ask("nowhere").await.unwrap(), 404).await.detail.contains("known: fontana"));
}
