//! The server: options, the router with its layers, and the loop that accepts connections.

use std::{
    fmt,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{Platform, Problem, access, assets, metrics::Counters, routes};

/// How the server listens and what it bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address that is bound; a loopback address narrows the accepted `Host`s to loopback.
    pub listen: SocketAddr,
    /// Names besides addresses and `localhost` under which people reach the server, without port.
    pub allowed_hosts: Vec<String>,
    /// Whether people reach it over HTTPS, so that the cookie is marked `Secure`.
    pub https: bool,
    /// Most event streams and followed logs at once; more are refused with 503.
    pub max_streams: usize,
    /// Most queries of series at once; more wait, and are refused with 503 when that takes long.
    pub max_queries: usize,
    /// Most requests that bring samples and are worked on at once; more wait, and are refused with 503 when that takes long.
    pub max_ingests: usize,
    /// Most connections at once; more wait in the system's queue.
    pub max_connections: usize,
    /// Longest time from the request's head to the answer's head.
    pub request_timeout: Duration,
    /// Longest time for a request's head, and for an idle connection.
    pub header_timeout: Duration,
    /// How long open answers may go on after a stop.
    pub stop_timeout: Duration,
}

impl Options {
    /// The defaults for an address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allowed_hosts: Vec::new(),
            https: false,
            max_streams: 64,
            max_queries: 4,
            max_ingests: 4,
            max_connections: 512,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    pub(crate) streams: Arc<Semaphore>,
    /// Places for queries of series.
    pub(crate) queries: Arc<Semaphore>,
    /// Places for requests that bring samples.
    pub(crate) ingests: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    pub(crate) started: Instant,
}

impl App {
    fn new(platform: Arc<dyn Platform>, options: Options, stop: CancellationToken) -> Self {
        let streams = Arc::new(Semaphore::new(options.max_streams));
        let queries = Arc::new(Semaphore::new(options.max_queries));
        let ingests = Arc::new(Semaphore::new(options.max_ingests));
        let (counters, started) = (Counters::default(), Instant::now());
        let inner = Inner { platform, options, counters, streams, queries, ingests, stop, started };
        let app = Self(Arc::new(inner));
        let served = Arc::downgrade(&app.0);
        let all = move || served.upgrade().map(|inner| inner.metrics()).unwrap_or_default();
        app.platform.served(Arc::new(all));
        app
    }
}

impl Inner {
    /// The platform's metrics and the server's own.
    pub(crate) fn metrics(&self) -> String {
        let mut text = self.platform.metrics();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text + &self.counters.expose(self.options.max_streams - self.streams.available_permits())
    }
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The whole HTTP surface as a router. [`serve`] runs it with connection limits; a caller that serves it otherwise
/// brings its own. Cancelling `stop` ends open streams.
pub fn router(platform: Arc<dyn Platform>, options: Options, stop: CancellationToken) -> Router {
    build(App::new(platform, options, stop))
}

fn build(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::table() {
        let guard = middleware::from_fn_with_state((app.clone(), route.info.access), access::guard);
        router = router.route(route.info.path, route.handler.layer(guard));
    }
    // The last layer is the outermost.
    router
        .fallback(assets::serve)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), answer_in_time))
        .layer(middleware::from_fn_with_state(app.clone(), access::host_check))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .layer(middleware::from_fn(security_headers))
        .with_state(app)
}

/// Serves until `stop` is cancelled; then streams end, running requests finish (at most [`Options::stop_timeout`]).
pub async fn serve(
    listener: TcpListener,
    platform: Arc<dyn Platform>,
    options: Options,
    stop: CancellationToken,
) {
    let app = App::new(platform, options, stop);
    let router = build(app.clone());
    let places = Arc::new(Semaphore::new(app.options.max_connections));
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.stop.cancelled() => break,
            accepted = accept(&listener, &places, &app) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(app.options.header_timeout);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(app.options.stop_timeout, open.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time and are dropped");
    }
}

/// The next connection and its place among the allowed ones; `None` when accepting failed and is worth another try.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    app: &App,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    if places.available_permits() == 0 {
        app.counters.connections_full.fetch_add(1, Relaxed);
    }
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small answers and events go out at once.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, most likely: trying again at once would only burn the processor.
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// A slow or faulty handler becomes an answer. Commands are not cut short by it: they run in tasks of their own.
async fn answer_in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.options.request_timeout;
    match tokio::time::timeout(limit, AssertUnwindSafe(next.run(request)).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::internal("the server failed on this request; its log has more").into_response(),
        Err(_) => Problem::unavailable(format!(
            "no answer within {} s; a command that was sent may still be carried out: look before repeating it",
            limit.as_secs()
        ))
        .into_response(),
    }
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    // A method is the caller's text: only the common ones become label values.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    app.counters.request(&method, &route, response.status().as_u16());
    response
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} is not possible here: /api/v1/openapi.json lists what is", request.method()),
    )
}

/// Scripts, styles and connections from this server only, nothing inline, never in a frame; text that a script tries to
/// write as HTML is refused by the browser.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Answers of the API are of the moment; the assets have said otherwise themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
