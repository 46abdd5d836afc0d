//! HTTP/2 to a replica, without TLS: many requests share a connection, which is a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::{Failure, Pool, connect, was_refused};
use crate::gateway::lock;
use crate::gateway::sent::Sent;
use crate::gateway::{Connections, service::Replica};

/// How often a connection is tested while requests are under way, and how long an answer to that may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Bytes under way of one body, and of all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Connections that are kept.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Kept {
    all: Vec<Shared>,
    /// Somebody opens one.
    opening: bool,
    /// How often that failed.
    failures: u64,
}

#[derive(Clone, Debug)]
struct Shared {
    sender: SendRequest<Sent>,
    /// Requests under way.
    busy: Arc<AtomicUsize>,
    /// When it was last used, as far as a sweep has seen.
    used: Instant,
    keep: Duration,
}

/// A request on a connection; gives its place back when it ends.
#[derive(Debug)]
pub(in crate::gateway) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Kept {
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.all.retain_mut(|shared| {
            if shared.busy.load(Relaxed) > 0 {
                shared.used = now;
            }
            !shared.sender.is_closed() && now.duration_since(shared.used) < shared.keep
        });
    }

    /// The least busy one, unless another should be opened.
    fn pick(&mut self, limits: &Connections) -> Option<Shared> {
        self.all.retain(|shared| !shared.sender.is_closed());
        let full = self.all.len() >= limits.http2 || self.opening;
        let best = self.all.iter_mut().min_by_key(|shared| shared.busy.load(Relaxed))?;
        let room = best.busy.load(Relaxed) < limits.streams;
        if !room && !full {
            return None;
        }
        best.used = Instant::now();
        Some(best.clone())
    }
}

/// Sends a request on a connection that there is, or on a new one.
pub(in crate::gateway) async fn send(
    replica: &Replica,
    worker: usize,
    limits: &Connections,
    request: Request<Sent>,
) -> Result<(Response<Incoming>, Place), Failure> {
    let mut shared = shared(replica, replica.pool(worker), limits).await?;
    shared.busy.fetch_add(1, Relaxed);
    let place = Place(Arc::clone(&shared.busy));
    match shared.sender.try_send_request(request).await {
        Ok(response) => Ok((response, place)),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Failure::NotSent(Some(Box::new(request)))),
            None if was_refused(error.error()) => Err(Failure::NotSent(None)),
            None => Err(Failure::Broken),
        },
    }
}

/// Opens one connection at a time: requests that come meanwhile wait for it, and fail with it.
async fn shared(replica: &Replica, pool: &Pool, limits: &Connections) -> Result<Shared, Failure> {
    loop {
        let opened = pool.opened.notified();
        let failures = {
            let mut kept = lock(&pool.http2);
            if let Some(shared) = kept.pick(limits) {
                return Ok(shared);
            }
            if !kept.opening {
                kept.opening = true;
                break;
            }
            kept.failures
        };
        opened.await;
        if lock(&pool.http2).failures != failures {
            return Err(Failure::NoConnection);
        }
    }
    let mut opening = Opening { pool, failed: false };
    let opened = open(replica, limits).await;
    opening.failed = opened.is_err();
    if let Ok(shared) = &opened {
        lock(&pool.http2).all.push(shared.clone());
    }
    opened
}

/// Tells those that wait how it went. When whoever opens is dropped, one of them goes on.
struct Opening<'a> {
    pool: &'a Pool,
    failed: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut kept = lock(&self.pool.http2);
        kept.opening = false;
        kept.failures += u64::from(self.failed);
        drop(kept);
        self.pool.opened.notify_waiters();
    }
}

async fn open(replica: &Replica, limits: &Connections) -> Result<Shared, Failure> {
    let stream = connect(replica.address, limits.connect_timeout).await?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| Failure::NoConnection)?;
    tokio::spawn(async move {
        // How it ends is told to each request.
        let _ended = connection.await;
    });
    Ok(Shared { sender, busy: Arc::default(), used: Instant::now(), keep: limits.idle_for })
}
