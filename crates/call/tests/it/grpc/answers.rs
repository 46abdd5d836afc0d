//! Answers that are wrong in some way: each gives a typed error within the time, and nothing grows beyond its bound.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hyper::body::Bytes;
use hyper::{HeaderMap, Response};
use serde_json::{Value, json};
use sos_call::grpc::{Client, health};
use sos_call::{Address, Call, CallError, ErrorKind, Limits};
use tokio::io::AsyncWriteExt as _;
use tokio::task::AbortHandle;

use super::{call, client, soon, transport};

type Respond = SendResponse<Bytes>;
/// What a server does with a request.
type Answer = fn(Respond) -> BoxFuture<'static, ()>;

/// Far more time than any of these needs, but for those that never end.
const TIME: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A server that ends with the test.
struct Odd {
    address: Address,
    task: AbortHandle,
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// HTTP/2 with these answers.
async fn odd(answer: Answer) -> Odd {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((_, respond))) = connection.accept().await {
                    tokio::spawn(answer(respond));
                }
            });
        }
    });
    Odd { address, task: task.abort_handle() }
}

/// Plain bytes to whoever connects, who then is listened to until he has enough.
async fn plain(bytes: &'static [u8]) -> Odd {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(bytes).await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    Odd { address, task: task.abort_handle() }
}

fn head(status: u16, headers: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn begin(respond: &mut Respond, headers: &[(&'static str, &str)]) -> SendStream<Bytes> {
    let all: Vec<_> = [GRPC].iter().chain(headers).copied().collect();
    respond.send_response(head(200, &all), false).unwrap()
}

fn end(stream: &mut SendStream<Bytes>, trailers: &[(&'static str, &str)]) {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.insert(*name, value.parse().unwrap());
    }
    stream.send_trailers(map).unwrap();
}

/// A message as it is framed: flag, length, bytes.
fn frame(flag: u8, length: u32, bytes: &[u8]) -> Bytes {
    let mut frame = vec![flag];
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    frame.into()
}

fn message(bytes: &[u8]) -> Bytes {
    frame(0, u32::try_from(bytes.len()).unwrap(), bytes)
}

/// One answer with these headers, this body and these trailers.
macro_rules! answer {
    ($headers:expr, $body:expr, $trailers:expr) => {
        |mut respond: Respond| {
            async move {
                let mut stream = begin(&mut respond, $headers);
                stream.send_data($body, false).unwrap();
                end(&mut stream, $trailers);
            }
            .boxed()
        }
    };
}

const OK: &[(&str, &str)] = &[("grpc-status", "0")];

async fn asked(server: &Odd, operation: &str, limits: Limits, timeout: Duration) -> Result<Value, CallError> {
    let input = if operation == "Echo" { json!([]) } else { json!({}) };
    let call = Call { limits, timeout, ..call(&server.address, operation, &input) };
    client().call(&transport(), &call).await.map(|answer| answer.output)
}

/// The error of a call to a server with this answer: of a unary call and of one with a stream of outputs.
async fn refused(answer: Answer, kind: ErrorKind, words: &str) {
    let server = odd(answer).await;
    let start = Instant::now();
    for operation in ["Bench/Unary", "Count"] {
        let error = asked(&server, operation, Limits::default(), TIME).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(words), "`{words}` in: {error}");
    }
    // The same one by one.
    let call = Call { timeout: TIME, ..call(&server.address, "Count", &Value::Null) };
    let inputs = futures::stream::iter([json!({})]);
    let outputs = client().stream(&transport(), &call, inputs).await.unwrap();
    let last = outputs.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind, kind);
    assert!(start.elapsed() < TIME, "{words}");
}

#[tokio::test]
async fn answers_that_are_no_grpc_say_what_came_instead() {
    let html: Answer = |mut respond| {
        async move {
            let head = head(502, &[("content-type", "text/html"), ("retry-after", "7")]);
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"<h1>Bad\nGateway</h1>"), true).unwrap();
        }
        .boxed()
    };
    refused(html, ErrorKind::Fault, "HTTP 502 (UNAVAILABLE) with text/html: <h1>Bad Gateway</h1>").await;
    let server = odd(html).await;
    let error = asked(&server, "Count", Limits::default(), TIME).await.unwrap_err();
    let fault = error.fault.unwrap();
    assert_eq!((fault.code.as_str(), fault.status, fault.temporary), ("UNAVAILABLE", 502, true));
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert!(Client::reflect(&transport(), &server.address, &[], TIME).await.unwrap_err().fault.is_some());
    assert!(health(&transport(), &server.address, &[], "", TIME).await.unwrap_err().fault.is_some());

    let page: Answer = |mut respond| {
        async move {
            let head = head(200, &[("content-type", "text/html")]);
            let mut stream = respond.send_response(head, false).unwrap();
            // Endless, but only its beginning is looked at.
            while stream.send_data(Bytes::from(vec![b'x'; 1000]), false).is_ok() {
                tokio::task::yield_now().await;
            }
        }
        .boxed()
    };
    refused(page, ErrorKind::BadAnswer, "found HTTP 200 with text/html").await;
}

#[tokio::test]
async fn servers_that_do_not_speak_http2_are_told_so() {
    let server = plain(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let error = asked(&server, "Count", Limits::default(), TIME).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Broken | ErrorKind::BadAnswer), "{error}");
    assert!(error.message.contains("expected HTTP/2"), "{error}");
    assert_eq!(error.place, server.address.to_string());
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_bad_answers() {
    let bad = ErrorKind::BadAnswer;
    refused(answer!(&[], message(&[0x0a, 0xff]), OK), bad, "cannot be read").await;
    refused(answer!(&[], message(&[0x0a, 2, 0xff, 0xfe]), OK), bad, "UTF-8").await;
    refused(answer!(&[], message(&[0xff; 20]), OK), bad, "cannot be read").await;
    refused(answer!(&[], frame(2, 0, &[]), OK), bad, "compression flag: 2").await;
    refused(answer!(&[], frame(1, 0, &[]), OK), bad, "no grpc-encoding").await;
    refused(answer!(&[("grpc-encoding", "gzip")], frame(1, 3, b"abc"), OK), bad, "cannot be read").await;
    refused(answer!(&[("grpc-encoding", "snappy")], frame(1, 3, b"abc"), OK), bad, "found `snappy`").await;
    // Cut off within a message, and within the five bytes before it.
    refused(answer!(&[], frame(0, 100, b"abc"), OK), bad, "Unexpected EOF").await;
    refused(answer!(&[], Bytes::from_static(&[0, 0]), OK), bad, "Unexpected EOF").await;
}

#[tokio::test]
async fn one_answer_is_one_message() {
    for (answer, words) in [
        (answer!(&[], Bytes::new(), OK) as Answer, "expected one message, found none"),
        (
            answer!(&[], Bytes::from([message(&[]), message(&[])].concat()), OK),
            "expected one message, found more",
        ),
    ] {
        let server = odd(answer).await;
        let error = asked(&server, "Bench/Unary", Limits::default(), TIME).await.unwrap_err();
        assert!(error.kind == ErrorKind::BadAnswer && error.message.contains(words), "{error}");
        let call = Call { timeout: TIME, ..call(&server.address, "Bench/Unary", &Value::Null) };
        let inputs = futures::stream::iter([json!({})]);
        let all: Vec<_> = client().stream(&transport(), &call, inputs).await.unwrap().collect().await;
        assert!(all.len() == 1 && all[0].as_ref().unwrap_err().message.contains(words), "{all:?}");
    }
}

#[tokio::test]
async fn the_status_decides_wherever_it_stands() {
    const STATUS: &[(&str, &str)] = &[("grpc-status", "5"), ("grpc-message", "gone")];
    const RUBBISH: &[(&str, &str)] = &[("grpc-status", "13"), ("grpc-status-details-bin", "!not base64!")];
    refused(answer!(&[], message(&[]), STATUS), ErrorKind::Fault, "NOT_FOUND: gone").await;
    let only: Answer = |mut respond| {
        async move {
            respond.send_response(head(200, &[GRPC, ("grpc-status", "5")]), true).unwrap();
        }
        .boxed()
    };
    refused(only, ErrorKind::Fault, "NOT_FOUND").await;
    // An empty frame after the head is nothing.
    let nearly: Answer = |mut respond| {
        async move {
            let mut stream = respond.send_response(head(200, &[GRPC, ("grpc-status", "5")]), false).unwrap();
            stream.send_data(Bytes::new(), true).unwrap();
        }
        .boxed()
    };
    refused(nearly, ErrorKind::Fault, "NOT_FOUND").await;
    refused(answer!(&[], message(&[]), RUBBISH), ErrorKind::Fault, "INTERNAL").await;
    refused(
        answer!(&[], message(&[]), &[("grpc-status", "seven")]),
        ErrorKind::Fault,
        "`grpc-status: seven`",
    )
    .await;
}

#[tokio::test]
async fn answers_that_break_off_are_broken() {
    let no_status: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            stream.send_data(message(&[]), true).unwrap();
        }
        .boxed()
    };
    refused(no_status, ErrorKind::Broken, "ended without a status").await;
    let reset: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            stream.send_data(message(&[]), false).unwrap();
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        .boxed()
    };
    refused(reset, ErrorKind::Broken, "").await;
    let at_once: Answer = |mut respond| async move { respond.send_reset(Reason::INTERNAL_ERROR) }.boxed();
    refused(at_once, ErrorKind::Broken, "").await;
    let unread: Answer = |mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) }.boxed();
    refused(unread, ErrorKind::Unreachable, "").await;
}

fn gzip(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    for _ in 0..bytes >> 20 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let large = ErrorKind::TooLarge;
    refused(answer!(&[], frame(0, u32::MAX, b"abc"), OK), large, "longer than 16777216 bytes").await;
    // 256 MiB in a quarter of one.
    refused(
        answer!(
            &[("grpc-encoding", "gzip")],
            {
                let all = gzip(256 << 20);
                frame(1, u32::try_from(all.len()).unwrap(), &all)
            },
            OK
        ),
        large,
        "longer than 16777216 bytes",
    )
    .await;
}

/// `child` of `Everything`, within itself.
fn nested(depth: usize) -> Bytes {
    let mut bytes: Vec<u8> = vec![];
    for _ in 0..depth {
        let mut outer = vec![0x5a];
        let mut length = bytes.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.extend(&bytes);
        bytes = outer;
    }
    let mut converted = vec![0x0a];
    let length = bytes.len();
    assert!((0x80..0x4000).contains(&length));
    converted.extend([u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()]);
    converted.extend(&bytes);
    message(&converted)
}

#[tokio::test]
async fn what_is_nested_too_deep_is_refused() {
    let server = odd(answer!(&[], nested(3000), OK)).await;
    let error = asked(&server, "Convert", Limits::default(), TIME).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    let server = odd(answer!(&[], nested(70), OK)).await;
    let limits = Limits { depth: 50, ..Limits::default() };
    let error = asked(&server, "Convert", limits, TIME).await.unwrap_err();
    assert!(error.kind == ErrorKind::TooLarge && error.message == "nested deeper than 50", "{error}");
    assert!(asked(&server, "Convert", Limits::default(), TIME).await.is_ok());
}

#[tokio::test]
async fn answers_without_end_end_with_the_time_or_the_count() {
    // Many in each frame: frames of a few bytes without end are an attack to the HTTP/2 below, as it has every right to say.
    let endless: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            // As fast as they are taken.
            loop {
                stream.reserve_capacity(500);
                let many = Bytes::from(message(&[]).repeat(100));
                match futures::future::poll_fn(|context| stream.poll_capacity(context)).await {
                    Some(Ok(1..)) if stream.send_data(many, false).is_ok() => {}
                    _ => return,
                }
            }
        }
        .boxed()
    };
    let server = odd(endless).await;
    let error = asked(&server, "Count", Limits::default(), TIME).await.unwrap_err();
    assert!(error.kind == ErrorKind::TooLarge && error.place == "/100000", "{error}");

    let slow: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            stream.send_data(frame(0, 1000, b""), false).unwrap();
            while stream.send_data(Bytes::from_static(b"x"), false).is_ok() {
                ticks.tick().await;
            }
        }
        .boxed()
    };
    let nothing: Answer = |respond| {
        async move {
            drop(futures::future::pending::<Respond>().await);
            drop(respond)
        }
        .boxed()
    };
    for answer in [slow, nothing] {
        let server = odd(answer).await;
        let start = Instant::now();
        for operation in ["Bench/Unary", "Count", "Echo"] {
            let error = asked(&server, operation, Limits::default(), SHORT).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
        }
        assert_eq!(
            health(&transport(), &server.address, &[], "", SHORT).await.unwrap_err().kind,
            ErrorKind::TimedOut
        );
        let error = Client::reflect(&transport(), &server.address, &[], SHORT).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
        assert!(start.elapsed() < soon(SHORT * 5));
    }
}

/// A server may be faster than we are: what it sent and nobody read yet costs no connection, however small the messages are.
#[tokio::test]
async fn small_messages_may_wait() {
    const COUNT: usize = 20_000;
    let burst: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            for _ in 0..COUNT {
                stream.send_data(message(&[]), false).unwrap();
            }
            end(&mut stream, OK);
        }
        .boxed()
    };
    let server = odd(burst).await;
    let (client, transport) = (client(), transport());
    let call = call(&server.address, "Count", &Value::Null);
    let mut waiting = client.stream(&transport, &call, futures::stream::iter([json!({})])).await.unwrap();
    waiting.headers().await.unwrap();
    // Other calls of the same connection go on meanwhile.
    for _ in 0..3 {
        let input = json!({});
        let call = Call { input: &input, ..call };
        assert_eq!(client.call(&transport, &call).await.unwrap().output.as_array().unwrap().len(), COUNT);
    }
    assert_eq!(waiting.filter(|output| futures::future::ready(output.is_ok())).count().await, COUNT);
}

#[tokio::test]
async fn descriptions_that_cannot_be_used_are_refused() {
    // A list of services, then for each question the same file that nobody asked for.
    let services: Answer = answer!(&[], message(&[0x32, 5, 0x0a, 3, 0x0a, 1, b'S']), OK);
    let server = odd(services).await;
    let error = Client::reflect(&transport(), &server.address, &[], TIME).await.unwrap_err();
    assert!(error.kind == ErrorKind::BadAnswer && error.message.contains("early"), "{error}");
    let rubbish: Answer = |mut respond| {
        async move {
            let mut stream = begin(&mut respond, &[]);
            stream.send_data(message(&[0x32, 5, 0x0a, 3, 0x0a, 1, b'S']), false).unwrap();
            stream.send_data(message(&[0x22, 4, 0x0a, 2, 0xff, 0xff]), false).unwrap();
            end(&mut stream, OK);
        }
        .boxed()
    };
    let server = odd(rubbish).await;
    let error = Client::reflect(&transport(), &server.address, &[], TIME).await.unwrap_err();
    assert!(error.kind == ErrorKind::BadDocument && error.place == "S", "{error}");
}
