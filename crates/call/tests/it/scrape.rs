//! Scrapes of targets that are good, slow, endless, lost or something else.

use std::time::{Duration, Instant};

use sos_call::exposition::{Format, MetricType, Told};
use sos_call::scrape::{ScrapeError, ScrapeErrorKind, Target, scrape};
use sos_call::{Address, Auth, HttpClient, Login, Secret, Trust};

use crate::support::{SHORT, Server, WAIT, certificates, client, closed_port, http_server, silent, trust};

fn target(server: &Server, path: &str) -> Target {
    Target { timeout: WAIT, ..Target::new(server.address(path)) }
}

async fn refused(target: &Target) -> ScrapeError {
    scrape(&client(), target).await.map(|scrape| scrape.scraped).unwrap_err()
}

#[tokio::test]
async fn a_target_is_asked_as_prometheus_asks_and_its_gzip_is_read() {
    let Some(server) = http_server(&[]) else { return };
    let target = Target { auth: Auth::Bearer(Secret::new("token")), ..target(&server, "/metrics") };
    let scraped = scrape(&client(), &target).await.unwrap();
    assert_eq!((scraped.scraped, scraped.body.format()), (2, Format::Text));
    assert_eq!(scraped.bytes, 108);
    let sample = scraped.body.samples().next().unwrap();
    assert_eq!((sample.name.as_ref(), sample.timestamp_ms), ("home_power_watts", Some(1_520_879_607_789)));
    let headers = &server.log()[0]["headers"];
    assert!(headers["accept"].as_str().unwrap().starts_with("application/openmetrics-text"));
    assert_eq!(headers["accept-encoding"], "gzip");
    assert_eq!(headers["authorization"], "Bearer token");
    assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "30");
    assert!(headers["user-agent"].as_str().unwrap().starts_with("sos/"));
}

#[tokio::test]
async fn timestamps_are_kept_only_where_they_are_honoured() {
    let Some(server) = http_server(&[]) else { return };
    let target = Target { honor_timestamps: false, ..target(&server, "/openmetrics") };
    let scraped = scrape(&client(), &target).await.unwrap();
    assert_eq!(scraped.body.format(), Format::OpenMetrics);
    assert!(scraped.body.samples().all(|sample| sample.timestamp_ms.is_none()));
    let told: Vec<_> = scraped.body.metadata().map(|metadata| metadata.told).collect();
    assert_eq!(told, [Told::Type(MetricType::Counter), Told::Unit("wh")]);
}

#[tokio::test]
async fn a_target_that_drips_or_hangs_is_ended_by_the_time_out() {
    let Some(server) = http_server(&[]) else { return };
    let (_listener, silent) = silent();
    let silent = Address::parse(&format!("http://127.0.0.1:{silent}/metrics")).unwrap();
    let drips = ["/drip", "/drip-head", "/hang"].map(|path| server.address(path));
    for address in drips.into_iter().chain([silent]) {
        let start = Instant::now();
        let error = refused(&Target { timeout: SHORT, ..Target::new(address) }).await;
        assert_eq!(error.kind, ScrapeErrorKind::TimedOut, "{error}");
        assert!(error.message.ends_with("gave no whole answer within 0.3 s"), "{error}");
        assert!(error.duration >= SHORT && start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn an_answer_of_a_gigabyte_is_cut_at_once() {
    let Some(server) = http_server(&[]) else { return };
    for (path, expected) in [
        ("/huge", "the answer is longer than 10485760 bytes (1073741824 announced)"),
        ("/huge-without-length", "the answer is longer than 10485760 bytes"),
        ("/bomb", "the answer is longer than 10485760 bytes"),
    ] {
        let error = refused(&target(&server, path)).await;
        assert_eq!(error.kind, ScrapeErrorKind::TooLong, "{error}");
        assert!(error.message.ends_with(expected), "{error}");
        assert!(error.duration < Duration::from_secs(5), "{path} {:?}", error.duration);
    }
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    let Some(server) = http_server(&[]) else { return };
    for (path, kind, expected) in [
        ("/truncated-gzip", ScrapeErrorKind::Connection, "the gzip of the answer is cut off"),
        ("/broken-gzip", ScrapeErrorKind::Connection, "the gzip of the answer is broken"),
        ("/brotli", ScrapeErrorKind::Connection, "expected content-encoding gzip or none, found `br`"),
        ("/short", ScrapeErrorKind::Connection, "the answer broke off"),
        ("/gone", ScrapeErrorKind::Connection, "cannot be asked"),
        ("/big-head", ScrapeErrorKind::Connection, "cannot be asked"),
        ("/status?code=503", ScrapeErrorKind::Status, "answered 503 Service Unavailable, expected 200 OK"),
        ("/status?code=204", ScrapeErrorKind::Status, "answered 204 No Content, expected 200 OK"),
        ("/protobuf", ScrapeErrorKind::Format, "expected text/plain or application/openmetrics-text"),
        (
            "/html",
            ScrapeErrorKind::Format,
            "line 1, column 1: expected a metric name, `{` or `#`, found `<!DOCTYPE` (its content-type is text/html",
        ),
    ] {
        let error = refused(&target(&server, path)).await;
        assert_eq!(error.kind, kind, "{path}: {error}");
        assert!(error.message.contains(expected), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_content_type_is_read_as_text() {
    let Some(server) = http_server(&[]) else { return };
    let scraped = scrape(&client(), &target(&server, "/wrong-type")).await.unwrap();
    assert_eq!((scraped.scraped, scraped.body.format()), (2, Format::Text));
}

#[tokio::test]
async fn more_samples_than_allowed_are_refused() {
    let Some(server) = http_server(&[]) else { return };
    let error = refused(&Target { sample_limit: 1, ..target(&server, "/metrics") }).await;
    assert_eq!(error.kind, ScrapeErrorKind::Format);
    assert!(error.message.contains("line 3, column 1: more than 1 samples"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let Some(server) = http_server(&[]) else { return };
    let scraped = scrape(&client(), &target(&server, "/redirect?to=/metrics")).await.unwrap();
    assert_eq!(scraped.scraped, 2);
    let error = refused(&target(&server, "/loop")).await;
    assert_eq!(error.kind, ScrapeErrorKind::Status);
    assert!(error.message.ends_with("redirects more than 5 times"), "{error}");
    assert_eq!(server.log().len(), 2 + 6);
    let error = refused(&target(&server, "/redirect?to=file:///etc/passwd")).await;
    assert!(error.message.contains("redirects to nowhere"), "{error}");
}

#[tokio::test]
async fn a_redirect_takes_no_password_to_another_host() {
    let (Some(server), Some(other)) = (http_server(&[]), http_server(&[])) else { return };
    let path = format!("/redirect?to=http://127.0.0.1:{}/metrics", other.port);
    let login = Login { user: "ops".into(), password: Secret::new("hunter2") };
    let target = Target { auth: Auth::Basic(login), ..target(&server, &path) };
    assert_eq!(scrape(&client(), &target).await.unwrap().scraped, 2);
    assert!(server.log()[0]["headers"]["authorization"].as_str().unwrap().starts_with("Basic "));
    assert!(other.log()[0]["headers"]["authorization"].is_null());
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_a_strange_one_is_not() {
    let Some(folder) = certificates() else { return };
    let certificate = folder.path().join("server.pem");
    let Some(server) = http_server(&["--certificate", certificate.to_str().unwrap()]) else { return };
    let address = Address::parse(&format!("https://localhost:{}/metrics", server.port)).unwrap();
    let target = Target { timeout: WAIT, ..Target::new(address) };
    let own = HttpClient::new(&trust(&folder, "authority.pem")).unwrap();
    assert_eq!(scrape(&own, &target).await.unwrap().scraped, 2);
    for stranger in [client(), HttpClient::new(&trust(&folder, "other.pem")).unwrap()] {
        let error = scrape(&stranger, &target).await.map(|scrape| scrape.scraped).unwrap_err();
        assert_eq!(error.kind, ScrapeErrorKind::Connection);
        assert!(error.message.contains("certificate"), "{error}");
    }
    assert!(HttpClient::new(&Trust::Authorities(vec![])).is_err());
}

#[tokio::test]
async fn nobody_there_is_told_with_the_host_only() {
    let address = Address::parse(&format!("http://ops:hunter2@127.0.0.1:{}/SECRET", closed_port())).unwrap();
    let error = refused(&Target::new(address)).await;
    assert_eq!(error.kind, ScrapeErrorKind::Connection);
    assert!(error.message.contains("refused") && !error.message.contains("SECRET"), "{error}");
    assert!(!error.message.contains("hunter2"), "{error}");
}
