//! What is refused, and how requests that two servers could read differently are not.

use std::time::Duration;

use sos_runtime::gateway::{Clients, GatewayOptions};

use super::rig::*;

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_the_replica_never_sees_them() {
    let backend = Backend::says("hello").await;
    let clients = Clients { head_bytes: 8 << 10, headers: 20, ..Clients::default() };
    let options = GatewayOptions { clients, ..GatewayOptions::default() };
    let front = Front::with(options, replicated(web(), &[backend.address]));
    let long = format!("GET / HTTP/1.1\r\nhost: web\r\nx-long: {}\r\n\r\n", "a".repeat(9000));
    let many: String = (0..30).map(|at| format!("x-{at}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: web\r\n{many}\r\n");
    for request in [long, many] {
        let mut wire = Wire::open(front.address).await;
        wire.send(request).await;
        assert_eq!(wire.answer().await.unwrap().status, 431);
        assert!(wire.closes().await);
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_whether_they_say_so_or_not() {
    let backend = Backend::http1(|request| async move {
        use http_body_util::BodyExt as _;
        let read = request.into_body().collect().await;
        read.map_or_else(|_| status(500), |body| text(body.to_bytes()))
    })
    .await;
    let mut route = replicated(web(), &[backend.address]);
    route.rules.body_bytes = Some(10);
    let front = Front::new(route);
    let told = Wire::open(front.address).await.request("POST", "/", "eleven bytes").await;
    assert_eq!((told.status, backend.requests()), (413, 0));
    let mut chunked = Wire::open(front.address).await;
    chunked.send("POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n6\r\nsix by\r\n").await;
    chunked.send("6\r\nsix by\r\n0\r\n\r\n").await;
    assert_eq!(chunked.answer().await.unwrap().status, 413);
    let fits = Wire::open(front.address).await.request("POST", "/", "ten bytes!").await;
    assert_eq!((fits.status, fits.text()), (200, "ten bytes!"));
    assert_eq!(front.measures().refused.bad_request, 2);
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused_or_have_one_meaning() {
    let backend = Backend::http1(|request| async move {
        use http_body_util::BodyExt as _;
        let (parts, body) = request.into_parts();
        let lengths = parts.headers.get_all("content-length").iter().count();
        let body = body.collect().await.unwrap().to_bytes();
        text(format!("{} {lengths} {}", parts.uri, String::from_utf8_lossy(&body)))
    })
    .await;
    let front = Front::before(&[backend.address]);
    let refused = [
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length : 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nhost: web\r\n x: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for request in refused {
        let mut wire = Wire::open(front.address).await;
        wire.send(request).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 400, "{request:?}");
    }
    assert_eq!(backend.requests(), 0);
    // Both lengths: the chunks count, and the other length is not passed on (RFC 9112, section 6.3).
    for first in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let mut wire = Wire::open(front.address).await;
        wire.send(format!("POST /a HTTP/1.1\r\nhost: web\r\n{first}\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
        assert_eq!(wire.answer().await.unwrap().text(), "/a 0 abc");
    }
    assert_eq!(backend.requests(), 2, "what follows the chunks is no request");
}

#[tokio::test]
async fn connect_is_refused_and_old_clients_are_served() {
    let backend = Backend::says("hello").await;
    let front = Front::before(&[backend.address]);
    let mut wire = Wire::open(front.address).await;
    wire.send("CONNECT web:443 HTTP/1.1\r\nhost: web:443\r\n\r\n").await;
    assert_eq!(wire.answer().await.unwrap().status, 501);
    let mut old = Wire::open(front.address).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = old.answer().await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert!(old.closes().await);
}

#[tokio::test]
async fn a_replica_that_takes_too_long_is_answered_with_504() {
    let backend = Backend::http1(|_| std::future::pending()).await;
    let mut route = replicated(web(), &[backend.address]);
    route.rules.timeout = Duration::from_millis(200);
    let front = Front::new(route);
    for _ in 0..2 {
        let answer = get(front.address, "/").await;
        assert_eq!(
            (answer.status, answer.header("proxy-status")),
            (504, Some("sos; error=http_response_timeout"))
        );
    }
    let measures = front.measures();
    assert_eq!((measures.refused.timed_out, measures.retries), (2, 0));
    assert_eq!(measures.revisions["1"].replicas["web-0"].requests.unanswered, 2);
}
