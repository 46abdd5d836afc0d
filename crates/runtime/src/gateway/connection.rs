//! Connections of clients: which protocol they speak, how long they may take, how they end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Clients;
use super::answer::Answer;
use super::exchange::{Client, exchange};
use super::headers::Origin;
use super::service::{Service, Shared};

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Resets by a client of requests that were not looked at yet, before its connection is closed ("rapid reset").
const MOST_RESETS: usize = 50;
/// Bytes under way of one body, and of all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How often a client of HTTP/2 is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// After the requests under way.
    Gracefully = 1,
    /// Now.
    Now = 2,
}

/// What is known of a client's connection. Times are milliseconds since the start of the gateway.
#[derive(Debug)]
pub(super) struct State {
    shared: Arc<Shared>,
    pub(super) service: Arc<Service>,
    /// Requests under way.
    busy: AtomicUsize,
    /// Since when there is none.
    idle_since: AtomicU64,
    /// Since when the head of a request comes; 0: none does.
    head_since: AtomicU64,
    /// Since when the client reads nothing of what waits for it; 0: nothing waits.
    blocked_since: AtomicU64,
    stop: AtomicU8,
    waker: AtomicWaker,
}

/// A request under way on a connection.
#[derive(Debug)]
pub(super) struct Busy(Option<Arc<State>>);

impl Busy {
    /// The request has ended, so many milliseconds after the start.
    pub(super) fn end(&mut self, now: u64) {
        if let Some(state) = self.0.take() {
            state.idle_since.store(now, Relaxed);
            state.busy.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.0.as_ref().map_or(0, |state| state.shared.millis());
        self.end(now);
    }
}

impl State {
    pub(super) fn new(service: &Arc<Service>) -> Arc<Self> {
        let shared = Arc::clone(&service.shared);
        Arc::new(Self {
            idle_since: AtomicU64::new(shared.millis()),
            shared,
            service: Arc::clone(service),
            busy: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            stop: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        })
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        Busy(Some(Arc::clone(self)))
    }

    pub(super) fn stop(&self, stop: Stop) {
        self.stop.fetch_max(stop as u8, Relaxed);
        self.waker.wake();
    }

    /// Resolves when the connection is to end at least like that.
    pub(super) async fn stopped(&self, least: Stop) {
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.stop.load(Relaxed) >= least as u8 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether its time is over.
    fn overdue(&self, http2: bool) -> Option<Stop> {
        let (now, clients) = (self.shared.millis(), &self.shared.options.clients);
        let over = |since: u64, limit: Duration| now.saturating_sub(since) as u128 >= limit.as_millis();
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 && over(blocked, clients.send_timeout) {
            return Some(Stop::Now);
        }
        if self.busy.load(Relaxed) > 0 {
            return None;
        }
        let head = self.head_since.load(Relaxed);
        if !http2 && head != 0 && over(head, clients.head_timeout) {
            return Some(Stop::Now);
        }
        let idle = self.idle_since.load(Relaxed);
        if over(idle, clients.idle + clients.head_timeout) {
            return Some(Stop::Now);
        }
        ((http2 || head == 0) && over(idle, clients.idle)).then_some(Stop::Gracefully)
    }

    fn read(&self) {
        if self.busy.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.shared.millis().max(1), Relaxed);
        }
    }

    fn wrote(&self, blocked: bool) {
        let since = self.blocked_since.load(Relaxed);
        if blocked && since == 0 {
            self.blocked_since.store(self.shared.millis().max(1), Relaxed);
        } else if !blocked && since != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }
}

/// Serves a client until it leaves or its time is over.
pub(super) async fn serve(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: Arc<Service>,
    worker: usize,
) {
    let state = State::new(&service);
    let _opened = service.shared.opened(&state);
    let options = &service.shared.options;
    let secure = tls.is_some();
    let ready = timeout(options.clients.head_timeout, prepare(stream, tls, &state));
    // What does not even begin is no request: scanners, health checks of a port, clients that went away.
    let ready = tokio::select! {
        ready = ready => ready,
        () = state.stopped(Stop::Gracefully) => return,
    };
    let Ok(Ok((io, http2))) = ready else { return };
    let origin = Origin::new(peer.ip(), secure, options.trust_forwarded);
    let client =
        Arc::new(Client { service: Arc::clone(&service), state: Arc::clone(&state), origin, worker });
    let answer = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, std::convert::Infallible>(exchange(client, request).await) }
    });
    if http2 {
        Driven::new(http2_builder(&service).serve_connection(io, answer), state, true).await;
    } else {
        let connection = http1_builder(&service).serve_connection(io, answer).with_upgrades();
        Driven::new(connection, state, false).await;
    }
}

fn http1_builder(service: &Service) -> hyper::server::conn::http1::Builder {
    let clients = &service.shared.options.clients;
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Heads are timed here, not by hyper, which makes a timer for each request.
    builder.header_read_timeout(None).max_buf_size(clients.head_bytes);
    // hyper's own limit costs less than the same one set.
    if clients.headers != Clients::default().headers {
        builder.max_headers(clients.headers);
    }
    builder
}

fn http2_builder(service: &Service) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let clients = &service.shared.options.clients;
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(clients.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(clients.streams)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(clients.head_timeout);
    builder
}

/// TLS where it is wanted, then the first bytes: whether it is HTTP/2.
async fn prepare(
    stream: std::net::TcpStream,
    tls: Option<TlsAcceptor>,
    state: &Arc<State>,
) -> io::Result<(TokioIo<Watched>, bool)> {
    let stream = TcpStream::from_std(stream)?;
    let _slower = stream.set_nodelay(true);
    let mut stream = match tls {
        Some(acceptor) => Stream::Tls(Box::new(acceptor.accept(stream).await?)),
        None => Stream::Plain(stream),
    };
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    while length < first.len() && PREFACE.starts_with(&first[..length]) {
        match stream.read(&mut first[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
    }
    state.read();
    let http2 = first == *PREFACE;
    let first = Bytes::copy_from_slice(&first[..length]);
    Ok((TokioIo::new(Watched { stream, first, state: Arc::clone(state) }), http2))
}

/// A connection of hyper's that can be asked to end after the requests under way.
trait Graceful: Future {
    fn end(self: Pin<&mut Self>);
}

type Io = TokioIo<Watched>;

impl<S> Graceful for hyper::server::conn::http1::UpgradeableConnection<Io, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = Answer>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Graceful for hyper::server::conn::http2::Connection<Io, S, TokioExecutor>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = Answer>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection, and ends it when it is told to or its time is over.
struct Driven<C> {
    connection: Pin<Box<C>>,
    state: Arc<State>,
    http2: bool,
    every: Duration,
    tick: Pin<Box<Sleep>>,
    /// The tick will wake this task.
    ticking: bool,
    registered: bool,
    ending: bool,
}

impl<C: Graceful> Driven<C> {
    fn new(connection: C, state: Arc<State>, http2: bool) -> Self {
        let clients = &state.shared.options.clients;
        let every = clients.head_timeout.min(clients.send_timeout).min(clients.idle) / 2;
        let every = every.max(Duration::from_millis(1));
        let tick = Box::pin(sleep(every));
        Self {
            connection: Box::pin(connection),
            state,
            http2,
            every,
            tick,
            ticking: false,
            registered: false,
            ending: false,
        }
    }

    /// What the connection was told, or its time says.
    fn order(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        // Being woken once takes the waker; it is needed again for what comes after a graceful end.
        if !std::mem::replace(&mut self.registered, true) || self.ending {
            self.state.waker.register(cx.waker());
        }
        match self.state.stop.load(Relaxed) {
            0 => {}
            1 if self.ending => {}
            1 => return Some(Stop::Gracefully),
            _ => return Some(Stop::Now),
        }
        // Asked once it wakes this task by itself; being asked each time costs more than looking whether it has.
        if self.ticking && !self.tick.is_elapsed() {
            return None;
        }
        self.ticking = true;
        while self.tick.as_mut().poll(cx).is_ready() {
            self.tick.as_mut().reset(Instant::now() + self.every);
            let overdue = self.state.overdue(self.http2);
            if overdue.is_some_and(|stop| stop == Stop::Now || !self.ending) {
                return overdue;
            }
        }
        None
    }
}

impl<C: Graceful> Future for Driven<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match self.order(cx) {
                None => return Poll::Pending,
                Some(Stop::Now) => return Poll::Ready(()),
                Some(Stop::Gracefully) => {
                    self.ending = true;
                    self.connection.as_mut().end();
                }
            }
        }
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a client sends and reads, with a look at how it does.
#[derive(Debug)]
struct Watched {
    stream: Stream,
    /// Bytes that were read before.
    first: Bytes,
    state: Arc<State>,
}

macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.state.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, inner => inner.poll_write(cx, buf));
        self.state.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, inner => inner.poll_write_vectored(cx, bufs));
        self.state.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = either!(&mut self.stream, inner => inner.poll_flush(cx));
        self.state.wrote(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.stream, inner => inner.poll_shutdown(cx))
    }
}
