//! Webhooks and pings.

use std::time::{Duration, Instant};

use sos_call::deliver::{DeliveryError, DeliveryErrorKind, PingMethod, Webhook, ping, post_json};
use sos_call::{Address, Auth, Login, Secret};

use crate::support::{SHORT, Server, WAIT, client, closed_port, http_server};

fn webhook(address: Address) -> Webhook {
    Webhook { address, auth: Auth::None, headers: vec![] }
}

async fn refused(server: &Server, path: &str) -> DeliveryError {
    let to = webhook(server.address(path));
    post_json(&client(), &to, "ops/1", b"{}".to_vec(), WAIT).await.unwrap_err()
}

#[tokio::test]
async fn json_is_posted_with_its_key_headers_and_login() {
    let Some(server) = http_server(&[]) else { return };
    let mut to = webhook(server.address("/status?code=202"));
    to.headers.push(("X-Team".into(), Secret::new("energy")));
    to.auth = Auth::Basic(Login { user: "ops".into(), password: Secret::new("hunter2") });
    let json = br#"{"text":"home 1 is down"}"#.to_vec();
    let delivered = post_json(&client(), &to, "ops/1", json, WAIT).await.unwrap();
    assert_eq!(delivered.answer, "202 Accepted");
    let request = &server.log()[0];
    assert_eq!(
        (request["method"].as_str(), request["body"].as_str()),
        (Some("POST"), Some(r#"{"text":"home 1 is down"}"#))
    );
    assert_eq!(request["headers"]["content-type"], "application/json");
    assert_eq!(request["headers"]["idempotency-key"], "ops/1");
    assert_eq!(request["headers"]["x-team"], "energy");
    assert_eq!(request["headers"]["authorization"], "Basic b3BzOmh1bnRlcjI=");
}

#[tokio::test]
async fn a_receiver_that_is_busy_says_when_to_come_again() {
    let Some(server) = http_server(&[]) else { return };
    for code in [429, 503] {
        let error = refused(&server, &format!("/status?code={code}&after=7")).await;
        assert_eq!(
            (error.kind, error.retry_after),
            (DeliveryErrorKind::Temporary, Some(Duration::from_secs(7)))
        );
    }
    let error = refused(&server, "/status?code=500").await;
    assert_eq!((error.kind, error.retry_after), (DeliveryErrorKind::Temporary, None));
}

#[tokio::test]
async fn a_refusal_is_shown_shortly_and_without_the_secret_path() {
    let Some(server) = http_server(&[]) else { return };
    let error = refused(&server, "/status?code=403&say=refused&times=100000&key=SECRET-PATH").await;
    assert_eq!(error.kind, DeliveryErrorKind::Permanent);
    assert!(error.message.contains("answered 403 Forbidden: refused"), "{error}");
    assert!(error.message.chars().count() < 280 && !error.message.contains("SECRET-PATH"), "{error}");
}

#[tokio::test]
async fn a_refusal_whose_words_never_come_is_still_a_refusal() {
    let Some(server) = http_server(&[]) else { return };
    let to = webhook(server.address("/refuse-slowly"));
    let error = post_json(&client(), &to, "ops/1", vec![], SHORT).await.unwrap_err();
    assert_eq!(error.kind, DeliveryErrorKind::Permanent);
    assert!(error.message.ends_with("answered 403 Forbidden"), "{error}");
}

#[tokio::test]
async fn a_post_follows_no_redirect() {
    let Some(server) = http_server(&[]) else { return };
    for status in [301, 307] {
        let error = refused(&server, &format!("/redirect?status={status}&to=/status?code=200")).await;
        assert_eq!(error.kind, DeliveryErrorKind::Permanent);
        assert!(error.message.contains("redirects are not followed"), "{error}");
    }
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_bounded_by_the_time_out_and_holds_up_no_other() {
    let Some(server) = http_server(&[]) else { return };
    let client = client();
    let start = Instant::now();
    let (hanging, good) = (webhook(server.address("/hang")), webhook(server.address("/status?code=200")));
    let slow = async { (post_json(&client, &hanging, "ops/1", vec![], SHORT).await, start.elapsed()) };
    let quick = async { (post_json(&client, &good, "ops/2", vec![], WAIT).await, start.elapsed()) };
    let ((slow, ended), (quick, delivered)) = tokio::join!(slow, quick);
    let error = slow.unwrap_err();
    assert_eq!(error.kind, DeliveryErrorKind::Temporary);
    assert!(error.message.ends_with("did not take it within 0.3 s"), "{error}");
    assert!(quick.is_ok() && delivered < ended && ended < WAIT, "{delivered:?} {ended:?}");
}

#[tokio::test]
async fn nobody_there_is_temporary_and_what_cannot_be_sent_is_permanent() {
    let address = Address::parse(&format!("http://127.0.0.1:{}/SECRET", closed_port())).unwrap();
    let mut to = webhook(address);
    let error = post_json(&client(), &to, "ops/1", vec![], WAIT).await.unwrap_err();
    assert!(
        error.is_temporary() && error.message.contains("refused") && !error.message.contains("SECRET"),
        "{error}"
    );
    let error = post_json(&client(), &to, "ops\n1", vec![], WAIT).await.unwrap_err();
    assert!(!error.is_temporary(), "{error}");
    to.headers.push(("Transfer-Encoding".into(), Secret::new("chunked")));
    let error = post_json(&client(), &to, "ops/1", vec![], WAIT).await.unwrap_err();
    assert!(!error.is_temporary() && error.message.contains("`transfer-encoding`"), "{error}");
    to.headers = vec![("no name".into(), Secret::new("x"))];
    let error = post_json(&client(), &to, "ops/1", vec![], WAIT).await.unwrap_err();
    assert!(!error.is_temporary() && error.message.contains("`no name`"), "{error}");
}

#[tokio::test]
async fn a_heartbeat_pings_by_get_or_post() {
    let Some(server) = http_server(&[]) else { return };
    let to = webhook(server.address("/status?code=200"));
    for method in [PingMethod::Get, PingMethod::Post] {
        ping(&client(), &to, method, WAIT).await.unwrap();
    }
    let methods: Vec<_> = server.log().iter().map(|request| request["method"].clone()).collect();
    assert_eq!(methods, ["GET", "POST"]);
    let error =
        ping(&client(), &webhook(server.address("/nothing")), PingMethod::Get, WAIT).await.unwrap_err();
    assert!(!error.is_temporary(), "{error}");
}
