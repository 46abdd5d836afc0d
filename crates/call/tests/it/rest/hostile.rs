//! Servers that answer badly: each a typed error within the time, with bounded memory.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sos_call::rest::Client;
use sos_call::{CallError, ErrorKind, Limits, Secret};

use super::peers::echo;
use super::{Asked, described};
use crate::support::{SHORT, WAIT};

/// One operation for each way to answer badly, named alike.
fn client(names: &[&str]) -> Client {
    let mut text = "
openapi: 3.0.3
info: {title: Bad, version: '1'}
components:
  responses:
    Number:
      description: a number
      content:
        application/json:
          schema:
            type: object
            properties:
              n: {type: integer}
              more: {type: object, properties: {list: {type: array, items: {type: integer}}}}
paths:
"
    .to_owned();
    for name in names {
        text += &format!(
            "  /bad/{name}:\n    get:\n      operationId: {name}\n      responses: {{'200': {{$ref: '#/components/responses/Number'}}}}\n"
        );
    }
    described(&text)
}

/// Peak memory of this process so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn what_cannot_be_read_is_a_typed_error_with_its_place() {
    let Some(server) = echo() else { return };
    let cases = [
        ("truncated", ErrorKind::Broken, ""),
        ("truncated-json", ErrorKind::BadAnswer, "line 1, column 11"),
        ("huge", ErrorKind::TooLarge, "1073741824 announced"),
        ("huge-chunked", ErrorKind::TooLarge, "longer than 16777216 bytes"),
        ("bomb", ErrorKind::TooLarge, "longer than 16777216 bytes"),
        ("broken-gzip", ErrorKind::BadAnswer, "gzip of the answer"),
        ("brotli", ErrorKind::BadAnswer, "found `br`"),
        ("html", ErrorKind::BadAnswer, "expected application/json, found `text/html; charset=utf-8`"),
        ("no-media-type", ErrorKind::BadAnswer, "expected a media type, found `no media type`"),
        ("deep", ErrorKind::TooLarge, "100000 levels deep, at most 127"),
        ("wide", ErrorKind::TooLarge, "more values than are read"),
        ("utf8", ErrorKind::BadAnswer, "byte 7"),
        ("utf16", ErrorKind::BadAnswer, "byte 0"),
        ("empty", ErrorKind::BadAnswer, "the answer is empty, expected JSON"),
        ("schema", ErrorKind::BadAnswer, "/body/more/list/1"),
        ("status", ErrorKind::BadAnswer, "202 Accepted; described are 200"),
        ("gone", ErrorKind::Broken, ""),
        ("no-http", ErrorKind::BadAnswer, ""),
        ("two-lengths", ErrorKind::BadAnswer, ""),
        ("wrong-length", ErrorKind::BadAnswer, ""),
        ("chunk", ErrorKind::Broken, ""),
        ("big-head", ErrorKind::TooLarge, ""),
        ("redirect", ErrorKind::BadAnswer, "redirections to http://127.0.0.1:1 are not followed"),
    ];
    let client = client(&cases.map(|(name, ..)| name));
    let asked = Asked::new(&client, server.port, "");
    let before = peak();
    for (name, kind, says) in cases {
        let error = asked.call(name, json!({})).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (kind, name), "{error}");
        let told = error.to_string();
        assert!(told.contains(says) && !told.contains("SECRET"), "{name}: {told}");
    }
    let grown = (peak() - before) >> 20;
    assert!(grown < 1024, "{grown} MiB for answers of 16 MiB at most, other tests among them");
}

#[tokio::test]
async fn what_comes_slowly_or_never_ends_with_the_time() {
    let Some(server) = echo() else { return };
    let names = ["drip", "drip-head", "hang"];
    let client = client(&names);
    let mut asked = Asked::new(&client, server.port, "");
    asked.timeout = SHORT;
    for name in names {
        let start = Instant::now();
        let error = asked.call(name, json!({})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut, "{name}: {error}");
        assert!(error.message.contains("did not answer within 0.3 s") && start.elapsed() < WAIT, "{error}");
    }
}

#[tokio::test]
async fn what_goes_beyond_its_length_is_not_read() {
    let Some(server) = echo() else { return };
    let client = client(&["longer"]);
    let answer = Asked::new(&client, server.port, "").call("longer", json!({})).await.unwrap();
    assert_eq!((answer.output, answer.status.as_str()), (json!({"n": 7}), "200"));
}

#[tokio::test]
async fn refusals_are_faults_with_what_was_said_and_no_secrets() {
    let Some(server) = echo() else { return };
    let names = ["refused", "busy", "refused-slowly", "refused-long", "refused-deep"];
    let client = client(&names);
    let mut asked = Asked::new(&client, server.port, "");
    asked.headers.push(("Authorization".into(), Secret::new("Bearer hunter2-hunter2")));
    let error = asked.call("refused", json!({})).await.unwrap_err();
    assert!(error.message.ends_with("422 Unprocessable Entity: No offer: it is gone"), "{error}");
    let fault = error.fault.unwrap();
    assert_eq!((fault.code.as_str(), fault.status, fault.temporary), ("422", 422, false));
    assert_eq!(fault.detail, json!({"title": "No offer", "detail": "it is gone", "token": "…"}));
    let error = asked.call("busy", json!({})).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert!(error.message.ends_with("503 Service Unavailable: later"), "{error}");
    let fault = error.fault.unwrap();
    assert!(fault.temporary && fault.detail == "later\nperhaps");
    for (name, status) in [("refused-slowly", 403), ("refused-long", 500), ("refused-deep", 400)] {
        let error = asked.call(name, json!({})).await.unwrap_err();
        let fault = error.fault.clone().unwrap_or_else(|| panic!("{name}: {error}"));
        assert_eq!((error.kind, fault.status), (ErrorKind::Fault, status), "{name}: {error}");
    }
}

#[tokio::test]
async fn endless_streams_end_at_their_bounds() {
    let Some(server) = echo() else { return };
    let client = described(
        "
openapi: 3.1.0
paths:
  /bad/endless:
    get:
      operationId: lines
      responses: {'200': {description: lines, content: {application/x-ndjson: {schema: {type: object}}}}}
",
    );
    let mut asked = Asked::new(&client, server.port, "");
    asked.limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let error: CallError = asked.call("lines", json!({})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_no_other_call() {
    let Some(server) = echo() else { return };
    let client = client(&["hang", "longer"]);
    let mut slow = Asked::new(&client, server.port, "");
    slow.timeout = Duration::from_secs(2);
    let quick = Asked::new(&client, server.port, "");
    let start = Instant::now();
    let quick = async { (quick.call("longer", Value::Null).await, start.elapsed()) };
    let (hung, (answer, took)) = tokio::join!(slow.call("hang", Value::Null), quick);
    assert_eq!(hung.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(answer.is_ok() && took < Duration::from_secs(2), "{took:?}");
}
