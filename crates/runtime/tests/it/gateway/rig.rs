//! Replicas made of a function, clients that see bytes, and a gateway before them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sos_runtime::gateway::{Applied, Gateway, GatewayOptions, Measures, Route, Routes, ServiceMeasures};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) type Body = BoxBody<Bytes, hyper::Error>;
pub(super) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Nothing here takes that long; what does hangs.
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed())
}

pub(super) fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never: Infallible| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A replica in this process.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    /// Connections that it took.
    pub(super) connections: Arc<AtomicUsize>,
    /// Requests that it got.
    pub(super) requests: Arc<AtomicUsize>,
    task: tokio::task::AbortHandle,
}

impl Drop for Backend {
    /// Ends at once, with all its connections.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub(super) async fn http1<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve(false, answer).await
    }

    pub(super) async fn http2<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve(true, answer).await
    }

    /// Answers everything with these words.
    pub(super) async fn says(words: &'static str) -> Self {
        Self::http1(move |_| async move { text(words) }).await
    }

    async fn serve<F>(http2: bool, answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&requests);
        let answer: Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync> = Arc::new(move |request| {
            counted.fetch_add(1, SeqCst);
            Box::pin(answer(request))
        });
        let accepted = Arc::clone(&connections);
        let accept = async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, SeqCst);
                stream.set_nodelay(true).unwrap();
                let answer = Arc::clone(&answer);
                let service = hyper::service::service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                open.spawn(async move {
                    let io = TokioIo::new(stream);
                    if http2 {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _left = builder.serve_connection(io, service).await;
                    } else {
                        let builder = hyper::server::conn::http1::Builder::new();
                        let _left = builder.serve_connection(io, service).with_upgrades().await;
                    }
                });
            }
        };
        let task = tokio::spawn(accept).abort_handle();
        Self { address, connections, requests, task }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

/// An address on which nothing listens.
pub(super) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A gateway with one service, `web`.
pub(super) struct Front {
    pub(super) gateway: Gateway,
    pub(super) route: Route,
    pub(super) address: SocketAddr,
}

pub(super) fn web() -> Route {
    Route::new("127.0.0.1:0".parse().unwrap())
}

impl Front {
    pub(super) fn new(route: Route) -> Self {
        Self::with(GatewayOptions::default(), route)
    }

    pub(super) fn with(options: GatewayOptions, route: Route) -> Self {
        let gateway = Gateway::start(options).unwrap();
        let mut front = Self { gateway, route, address: "127.0.0.1:0".parse().unwrap() };
        let applied = front.apply();
        assert_eq!(applied.problem, None);
        front.address = applied.address.unwrap();
        front
    }

    /// A service of these replicas, all of revision `1`.
    pub(super) fn before(replicas: &[SocketAddr]) -> Self {
        Self::new(replicated(web(), replicas))
    }

    /// Applies the route again, after it was changed.
    pub(super) fn apply(&mut self) -> Applied {
        let services = [("web".to_owned(), self.route.clone())].into();
        self.gateway.set_routes(&Routes { services }).remove("web").unwrap()
    }

    pub(super) fn measures(&self) -> ServiceMeasures {
        self.all_measures().services.remove("web").unwrap()
    }

    pub(super) fn all_measures(&self) -> Measures {
        self.gateway.measures()
    }
}

pub(super) fn replicated(mut route: Route, replicas: &[SocketAddr]) -> Route {
    for (number, address) in replicas.iter().enumerate() {
        route = route.with_replica("1", &format!("web-{number}"), *address);
    }
    route
}

/// An HTTP/1.1 answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) status: u16,
    /// In lower case, with one line for each header.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Raw {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One connection of a client, as bytes.
pub(super) struct Wire<S = TcpStream> {
    pub(super) stream: S,
    pub(super) buffer: Vec<u8>,
}

impl Wire {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![] }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request without a body and reads its answer.
    pub(super) async fn get(&mut self, path: &str) -> Raw {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: web\r\n\r\n")).await;
        self.answer().await.expect("an answer")
    }

    pub(super) async fn request(&mut self, method: &str, path: &str, body: &str) -> Raw {
        let length = body.len();
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await;
        self.answer().await.expect("an answer")
    }

    /// Reads more; whether there was any.
    pub(super) async fn more(&mut self) -> bool {
        let mut part = vec![0; 16 << 10];
        let read = timeout(LONG, self.stream.read(&mut part)).await.expect("bytes or the end");
        let length = read.unwrap_or(0);
        self.buffer.extend_from_slice(&part[..length]);
        length > 0
    }

    /// Whether the other side closes the connection.
    pub(super) async fn closes(&mut self) -> bool {
        while self.more().await {}
        true
    }

    /// The next answer, to its end; `None` when the connection ends before.
    pub(super) async fn answer(&mut self) -> Option<Raw> {
        let mut raw = self.head().await?;
        if let Some(length) = raw.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            raw.body = self.buffer.drain(..length).collect();
        } else if raw.header("transfer-encoding") == Some("chunked") {
            loop {
                let part = self.chunk().await?;
                if part.is_empty() {
                    break;
                }
                raw.body.extend_from_slice(&part);
            }
        }
        Some(raw)
    }

    /// The head of the next answer.
    pub(super) async fn head(&mut self) -> Option<Raw> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase().replace("\r\n", "\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Raw { status, head, body: vec![] })
    }

    /// The next part of a chunked body; empty at its end.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = self.until(b"\r\n").await?;
        let length = usize::from_str_radix(std::str::from_utf8(&length).unwrap().trim(), 16).unwrap();
        while self.buffer.len() < length + 2 {
            if !self.more().await {
                return None;
            }
        }
        let part = self.buffer.drain(..length).collect();
        self.buffer.drain(..2);
        Some(part)
    }

    pub(super) async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }
}

/// One request on a connection of its own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Raw {
    Wire::open(address).await.get(path).await
}

/// A client of HTTP/2 without TLS.
pub(super) async fn h2c<B>(address: SocketAddr) -> http2::SendRequest<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.unwrap();
    h2_over(stream).await
}

pub(super) async fn h2_over<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> http2::SendRequest<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Waits for a condition, checked every few milliseconds.
pub(super) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    crate::rig::until(what, async || check().then_some(())).await;
}
