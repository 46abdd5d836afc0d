//! Each protocol, as it is on the wire.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use sos_runtime::gateway::{Protocol, Rules};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::rig::*;

/// Gives back what came, frame by frame, trailers too.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    seen(parts, body.boxed())
}

/// The same, but answers only once it has all.
async fn echo_whole(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let whole = body.collect().await.unwrap().to_bytes();
    seen(parts, text(whole).into_body())
}

/// Answers with a body and with the headers that came.
fn seen(parts: http::request::Parts, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("x-version", HeaderValue::try_from(format!("{:?}", parts.version)).unwrap());
    for (name, value) in &parts.headers {
        let name = format!("seen-{name}");
        response.headers_mut().append(hyper::header::HeaderName::try_from(name).unwrap(), value.clone());
    }
    response
}

#[tokio::test]
async fn chunked_bodies_go_through_in_both_directions_and_connections_are_kept() {
    let backend = Backend::http1(echo_whole).await;
    let front = Front::before(&[backend.address]);
    let mut wire = Wire::open(front.address).await;
    for turn in 0..3 {
        wire.send(format!(
            "POST /turn/{turn} HTTP/1.1\r\nHost: web.example:80\r\nConnection: keep-alive, x-hop\r\nx-hop: 1\r\n\
             traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Forwarded-For: 6.6.6.6\r\n\
             Transfer-Encoding: chunked\r\n\r\n4\r\nover\r\n"
        ))
        .await;
        wire.send("5\r\n here\r\n0\r\n\r\n").await;
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "over here"));
        assert_eq!(answer.header("seen-x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(answer.header("seen-x-forwarded-host"), Some("web.example:80"));
        assert_eq!(answer.header("seen-forwarded"), Some("for=127.0.0.1;host=\"web.example:80\";proto=http"));
        assert_eq!(answer.header("seen-via"), Some("1.1 sos"));
        assert_eq!(answer.header("via"), Some("1.1 sos"));
        let trace = answer.header("seen-traceparent").unwrap();
        assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{trace}");
        assert_eq!((answer.header("seen-x-hop"), answer.header("seen-host")), (None, Some("web.example:80")));
    }
    assert_eq!(backend.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let backend = Backend::http1(|request| async move {
        match request.uri().path() {
            "/head" => {
                let mut response = status(200);
                response.headers_mut().insert("content-length", HeaderValue::from_static("1234"));
                response
            }
            "/none" => status(204),
            "/same" => status(304),
            _ => {
                request.into_body().collect().await.unwrap();
                text("body")
            }
        }
    })
    .await;
    let front = Front::before(&[backend.address]);
    let mut wire = Wire::open(front.address).await;
    wire.send("HEAD /head HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().header("content-length"), Some("1234"));
    assert_eq!(wire.get("/none").await.status, 204);
    assert_eq!(wire.get("/same").await.status, 304);
    assert_eq!(wire.get("/").await.text(), "body");
    wire.send("POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status, 100);
    wire.send("hi").await;
    assert_eq!(wire.answer().await.unwrap().text(), "body");
    wire.send("GET /a HTTP/1.1\r\nhost: web\r\n\r\nGET /b HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert_eq!(
        (wire.answer().await.unwrap().status, wire.answer().await.unwrap().status),
        (200, 200),
        "pipelined"
    );
}

#[tokio::test]
async fn a_large_body_is_echoed_while_it_is_still_being_sent() {
    let backend = Backend::http1(echo).await;
    let front = Front::before(&[backend.address]);
    let wire = Wire::open(front.address).await;
    let (read, mut write) = wire.stream.into_split();
    let length = 8 << 20;
    let send = tokio::spawn(async move {
        write
            .write_all(format!("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        for at in 0..length / 1024 {
            write.write_all(&[u8::try_from(at % 251).unwrap(); 1024]).await.unwrap();
        }
        write
    });
    let mut reading = Wire { stream: tokio::io::join(read, tokio::io::sink()), buffer: vec![] };
    let answer = reading.answer().await.unwrap();
    let _write = send.await.unwrap();
    assert_eq!(answer.body.len(), length);
    assert!(
        answer
            .body
            .chunks(1024)
            .enumerate()
            .all(|(at, part)| part.iter().all(|byte| usize::from(*byte) == at % 251))
    );
}

#[tokio::test]
async fn http2_clients_are_served_by_replicas_of_http1_and_of_http2() {
    for (protocol, version) in
        [(Protocol::Auto, "HTTP/1.1"), (Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2.0")]
    {
        let backend =
            if protocol == Protocol::Http2 { Backend::http2(echo).await } else { Backend::http1(echo).await };
        let mut route = replicated(web(), &[backend.address]);
        route.protocol = protocol;
        let front = Front::new(route);
        let client = h2c::<Body>(front.address).await;
        let calls = (0..50).map(|number| {
            let mut client = client.clone();
            async move {
                let words = format!("call {number}");
                let request = Request::post("http://web/").body(text(words.clone()).into_body()).unwrap();
                let response = client.send_request(request).await.unwrap();
                let seen = response.headers()["x-version"].to_str().unwrap().to_owned();
                let via = response.headers()["seen-via"].to_str().unwrap().to_owned();
                (response.into_body().collect().await.unwrap().to_bytes() == words, seen, via)
            }
        });
        for (same, seen, via) in timeout(LONG, futures::future::join_all(calls)).await.unwrap() {
            assert_eq!((same, seen.as_str(), via.as_str()), (true, version, "2.0 sos"));
        }
        if protocol == Protocol::Http2 {
            assert_eq!(backend.connections.load(SeqCst), 1, "all share one connection");
        }
        let old = Wire::open(front.address).await.request("POST", "/", "old").await;
        assert_eq!(
            (old.text(), old.header("x-version")),
            ("old", Some(version.to_ascii_lowercase().as_str()))
        );
    }
}

/// Frames that are sent one by one.
fn frames() -> (mpsc::UnboundedSender<Frame<Bytes>>, Body) {
    let (send, mut receive) = mpsc::unbounded_channel();
    let stream = futures::stream::poll_fn(move |cx| receive.poll_recv(cx).map(|frame| frame.map(Ok)));
    (send, BodyExt::boxed(StreamBody::new(stream)))
}

fn message(text: &str) -> Frame<Bytes> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    Frame::data(frame.into())
}

/// Gives each message back as it comes; the status is that of `x-status`.
async fn grpc_echo(request: Request<Incoming>) -> Response<Body> {
    let status = request.headers().get("x-status").cloned().unwrap_or(HeaderValue::from_static("0"));
    assert_eq!(request.headers()["te"], "trailers");
    let mut body = request.into_body();
    let (send, answer) = frames();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let _left = send.send(frame);
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status)]);
        let _left = send.send(Frame::trailers(trailers));
    });
    let mut response = Response::new(answer);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn grpc(body: Body, status: &str) -> Request<Body> {
    Request::post("http://web/echo.Echo/Stream")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("x-status", status)
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn grpc_streams_both_ways_and_ends_with_its_trailers() {
    let backend = Backend::http2(grpc_echo).await;
    let front = Front::before(&[backend.address]);
    let mut client = h2c::<Body>(front.address).await;
    let (send, body) = frames();
    let response = timeout(LONG, client.send_request(grpc(body, "0"))).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut answer = response.into_body();
    for words in ["one", "two", "three"] {
        // Each answer comes before the next message is sent.
        send.send(message(words)).unwrap();
        let frame = timeout(LONG, answer.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, message(words).into_data().unwrap());
    }
    drop(send);
    let trailers = timeout(LONG, answer.frame()).await.unwrap().unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    until("it is counted", || front.measures().requests.by_class[1] == 1).await;
    assert_eq!(front.measures().requests.errors, 0);
    for (status, errors) in [("5", 0), ("13", 1)] {
        let (send, body) = frames();
        drop(send);
        let response = client.send_request(grpc(body, status)).await.unwrap();
        let trailers = response.into_body().collect().await.unwrap().trailers().unwrap().clone();
        assert_eq!(trailers["grpc-status"], status);
        until("it is counted", || front.measures().revisions["1"].requests.errors == errors).await;
    }
}

#[tokio::test]
async fn failures_of_grpc_are_told_as_its_status() {
    let front = Front::before(&[nowhere().await]);
    let mut client = h2c::<Body>(front.address).await;
    let (_send, body) = frames();
    let response = client.send_request(grpc(body, "0")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        (&response.headers()["grpc-status"], &response.headers()["content-type"]),
        (&HeaderValue::from_static("14"), &HeaderValue::from_static("application/grpc"))
    );
    assert!(response.headers()["grpc-message"].to_str().unwrap().contains("no replica is ready"));
    assert_eq!(front.measures().requests.by_class[4], 1, "it counts as what it is");
}

/// Turns into an echo of bytes.
async fn websocket(mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().get("upgrade").is_none_or(|upgrade| upgrade != "websocket") {
        return status(400);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = io.read(&mut buffer).await {
            io.write_all(&buffer[..read]).await.unwrap();
        }
    });
    let mut response = status(101);
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    response
}

async fn open_websocket(address: SocketAddr) -> Wire {
    let mut wire = Wire::open(address).await;
    wire.send(
        "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    .await;
    let head = wire.head().await.unwrap();
    assert_eq!(
        (head.status, head.header("upgrade"), head.header("connection")),
        (101, Some("websocket"), Some("upgrade"))
    );
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
    wire
}

async fn says(wire: &mut Wire, words: &[u8]) {
    wire.send(words).await;
    while wire.buffer.len() < words.len() {
        assert!(wire.more().await, "closed");
    }
    assert_eq!(wire.buffer.drain(..).collect::<Vec<u8>>(), words);
}

#[tokio::test]
async fn websockets_are_joined_and_end_with_either_side() {
    let backend = Backend::http1(websocket).await;
    let mut front = Front::before(&[backend.address]);
    let mut wire = open_websocket(front.address).await;
    says(&mut wire, b"\x81\x05hello").await;
    let measures = front.measures();
    assert_eq!((measures.tunnels, measures.in_flight, measures.requests.by_class[0]), (1, 0, 1));
    assert_eq!(measures.idle_for, Duration::ZERO);
    // The replica leaves: what is open goes on, and it is known that it is there.
    front.route.revisions.get_mut("1").unwrap().replicas.get_mut("web-0").unwrap().draining = true;
    front.apply();
    says(&mut wire, b"still here").await;
    assert_eq!(front.measures().revisions["1"].replicas["web-0"].in_flight, 1);
    drop(wire);
    timeout(LONG, front.gateway.drained("web", "web-0")).await.unwrap();
    // The replica is let go of first, then the tunnel is counted out.
    let counted_out = async {
        while front.measures().tunnels > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, counted_out).await.unwrap();
    front.route.revisions.get_mut("1").unwrap().replicas.get_mut("web-0").unwrap().draining = false;
    front.apply();
    let mut wire = open_websocket(front.address).await;
    says(&mut wire, b"again").await;
    drop(backend);
    drop(front);
    assert!(wire.closes().await);
}

#[tokio::test]
async fn a_websocket_that_is_silent_too_long_is_closed_and_one_that_is_not_stays() {
    let backend = Backend::http1(websocket).await;
    let mut route = replicated(web(), &[backend.address]);
    route.rules = Rules { tunnel_idle: Duration::from_millis(300), ..Rules::default() };
    let front = Front::new(route);
    let mut silent = open_websocket(front.address).await;
    let mut alive = open_websocket(front.address).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(20)); // between two looks
    while front.measures().tunnels == 2 {
        says(&mut alive, b"ping").await;
        ticks.tick().await;
    }
    assert!(silent.closes().await);
    says(&mut alive, b"pong").await;
}
