//! What a call through this crate costs beside the plain clients: `reqwest` for REST, `tonic` for gRPC, against an echo in
//! a process of its own. Each side has its turn several times, one after the other, so that both see the same machine.
//!
//! `cargo xtask bench call` runs it; `SECONDS ROUNDS` are for a quick look.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: prints its figures, fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use sos_call::policy::{Concurrency, Policy};
use sos_call::{Address, Caller, Credentials, Documents, Settings, Speaker, Transport, Version, grpc, rest};
use tonic::client::Grpc;
use tonic::transport::Channel;

/// Calls under way at the same time.
const AT_ONCE: [usize; 2] = [1, 32];
/// The least share of a plain client's throughput.
const GOAL: f64 = 0.8;

const OPENAPI: &str = r##"{"openapi": "3.1.0", "info": {"title": "echo", "version": "1"}, "paths": {"/echo": {"post": {
  "operationId": "echo",
  "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Reading"}}}},
  "responses": {"200": {"description": "the same", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Reading"}}}}}}}},
  "components": {"schemas": {"Reading": {"type": "object", "required": ["meter", "kwh"], "properties": {
    "meter": {"type": "string"}, "kwh": {"type": "number"}, "quality": {"type": "string"}, "values": {"type": "array", "items": {"type": "number"}}}}}}}"##;

const PROTO: &str = "syntax = \"proto3\"; package echo; service Echo { rpc Echo(Reading) returns (Reading); }
message Reading { string meter = 1; double kwh = 2; string quality = 3; repeated double values = 4; }";

/// The same message for the plain client.
#[derive(Clone, PartialEq, prost::Message)]
struct Reading {
    #[prost(string, tag = "1")]
    meter: String,
    #[prost(double, tag = "2")]
    kwh: f64,
    #[prost(string, tag = "3")]
    quality: String,
    #[prost(double, repeated, tag = "4")]
    values: Vec<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "serve") {
        return tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve());
    }
    let number = |at: usize, usual| arguments.get(at).map_or(usual, |text| text.parse().unwrap());
    // Many short turns: what else the machine does then meets both sides alike.
    let (seconds, rounds) = (number(0, 0.6), number(1, 25.0) as usize);
    let echo = Echo::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{:<8} {:>7} {:>14} {:>14} {:>7}", "", "at once", "plain [1/s]", "through call", "ratio");
    let mut reached = true;
    for at_once in AT_ONCE {
        for protocol in ["rest", "grpc"] {
            let (plain, ours) = runtime.block_on(measure(protocol, echo.address, at_once, seconds, rounds));
            let ratio = ours / plain;
            reached &= ratio >= GOAL;
            println!("{protocol:<8} {at_once:>7} {plain:>14.0} {ours:>14.0} {ratio:>7.2}");
        }
    }
    println!("goal: {GOAL} of the plain client: {}", if reached { "reached" } else { "missed" });
}

/// Median throughput of both sides, in calls a second.
async fn measure(
    protocol: &str,
    echo: SocketAddr,
    at_once: usize,
    seconds: f64,
    rounds: usize,
) -> (f64, f64) {
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        if protocol == "rest" {
            plain.push(run(at_once, seconds, plain_rest(echo)).await);
        } else {
            plain.push(run(at_once, seconds, plain_grpc(echo).await).await);
        }
        ours.push(run(at_once, seconds, through_call(protocol, echo)).await);
    }
    (median(plain), median(ours))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Calls a second with so many callers.
async fn run<F, C>(at_once: usize, seconds: f64, caller: F) -> f64
where
    F: Fn() -> C + Clone + Send + Sync + 'static,
    C: Future<Output = ()> + Send,
{
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (stop, count, caller) = (Arc::clone(&stop), Arc::clone(&count), caller.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    caller().await;
                    count.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    // Connections are made first; they are not what is measured.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (before, started) = (count.load(Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let rate = (count.load(Relaxed) - before) as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    rate
}

fn reading() -> Value {
    json!({ "meter": "home-1", "kwh": 2.25, "quality": "measured", "values": [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] })
}

fn plain_rest(echo: SocketAddr) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{echo}/echo");
    let body = Arc::new(reading());
    move || {
        let (client, url, body) = (client.clone(), url.clone(), Arc::clone(&body));
        Box::pin(async move {
            let answer: Value = client.post(&url).json(&*body).send().await.unwrap().json().await.unwrap();
            assert_eq!(answer, *body);
        })
    }
}

async fn plain_grpc(
    echo: SocketAddr,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone {
    let channel = Channel::from_shared(format!("http://{echo}")).unwrap().connect().await.unwrap();
    let message = Reading {
        meter: "home-1".to_owned(),
        kwh: 2.25,
        quality: "measured".to_owned(),
        values: vec![0.25, 0.5, 1.0, 2.0, 4.0, 8.0],
    };
    move || {
        let (mut client, message) = (Grpc::new(channel.clone()), message.clone());
        Box::pin(async move {
            client.ready().await.unwrap();
            let path = http::uri::PathAndQuery::from_static("/echo.Echo/Echo");
            let codec = tonic_prost::ProstCodec::<Reading, Reading>::default();
            let answer = client.unary(tonic::Request::new(message.clone()), path, codec).await.unwrap();
            assert_eq!(*answer.get_ref(), message);
        })
    }
}

fn through_call(
    protocol: &str,
    echo: SocketAddr,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone + use<> {
    let (speaker, version, operation) = if protocol == "rest" {
        let client = rest::Client::read(&Documents::one("echo.json", OPENAPI)).unwrap();
        (Speaker::Rest(client), Version::Any, "echo")
    } else {
        let client = grpc::Client::read(&Documents::one("echo.proto", PROTO)).unwrap();
        (Speaker::Grpc(client), Version::Http2, "Echo")
    };
    let transport = Transport::new(&Settings { version, ..Settings::default() }).unwrap();
    let policy = Policy {
        concurrency: Concurrency { in_flight: 1000, ..Concurrency::default() },
        ..Policy::default()
    };
    let caller = Caller::new("echo", speaker, transport, policy, Credentials::None, 1).unwrap();
    caller.set_endpoints(vec![Address::parse(&format!("http://{echo}")).unwrap()]);
    let (caller, input) = (
        Arc::new(caller),
        Arc::new(if protocol == "rest" { json!({ "body": reading() }) } else { reading() }),
    );
    move || {
        let (caller, input) = (Arc::clone(&caller), Arc::clone(&input));
        Box::pin(async move {
            let request = sos_call::Request::new(operation, &input);
            let outcome = caller.call(&request).await.unwrap();
            assert_eq!(outcome.answer.output, reading());
        })
    }
}

/// The echo in a process of its own.
struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(echo);
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// Gives back what came; of gRPC the frame as it is, with the status behind it.
async fn echo(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let grpc = request.uri().path() == "/echo.Echo/Echo";
    let bytes = request.into_body().collect().await?.to_bytes();
    let mut response = if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(bytes)), Ok(Frame::trailers(trailers))];
        Response::new(StreamBody::new(futures::stream::iter(frames)).boxed())
    } else {
        Response::new(Full::new(bytes).boxed())
    };
    let kind = if grpc { "application/grpc" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
