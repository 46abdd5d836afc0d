//! Connections to replicas, kept for further requests. Each belongs to one worker, so that only its own runtime wakes for it.

mod http1;
mod http2;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::lock;
use super::sent::Sent;

pub(super) use http1::{Link, send_upgrade};
pub(super) use http2::{Place, send as send_http2};

/// Connections of one worker to one replica.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// HTTP/1.1 connections without a request; the last one used comes first.
    #[expect(
        clippy::vec_box,
        reason = "a connection goes from here to its request and back without being copied"
    )]
    idle: Mutex<Vec<Box<Link>>>,
    http2: Mutex<http2::Kept>,
    /// An HTTP/2 connection was opened, or could not be.
    opened: Notify,
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing listens there.
    Refused,
    /// No connection could be made.
    NoConnection,
    /// A connection was there, but the request was not read. Here it is again, where it was not begun.
    NotSent(Option<Box<Request<Sent>>>),
    /// The connection broke, or what came was no HTTP.
    Broken,
}

impl Pool {
    /// A connection that is still good, of those without a request.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Box<Link>> {
        loop {
            let mut link = lock(&self.idle).pop()?;
            if link.is_good(cx) {
                return Some(link);
            }
        }
    }

    pub(super) fn put(&self, link: Box<Link>, most: usize) {
        let mut idle = lock(&self.idle);
        if idle.len() < most {
            idle.push(link);
        }
    }

    /// Closes all connections without a request; HTTP/2 ones end with their last request.
    pub(super) fn clear(&self) {
        lock(&self.idle).clear();
        lock(&self.http2).clear();
    }

    /// Closes connections that were without a request for too long, or that the replica has closed.
    pub(super) fn sweep(&self) {
        let mut links = std::mem::take(&mut *lock(&self.idle));
        if !links.is_empty() {
            let mut nobody = Context::from_waker(Waker::noop());
            links.retain_mut(|link| link.is_good(&mut nobody));
            // What came meanwhile was used later.
            let mut idle = lock(&self.idle);
            links.append(&mut idle);
            *idle = links;
        }
        lock(&self.http2).sweep();
    }
}

/// Connects, without Nagle's wait.
async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, Failure> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
    match connected {
        Ok(Ok(stream)) => {
            let _slower = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(Failure::Refused),
        Ok(Err(_)) | Err(_) => Err(Failure::NoConnection),
    }
}

/// Whether HTTP/2 says that the request was not looked at (RFC 9113, section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote()
                && (refused || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)));
        }
        cause = inner.source();
    }
    false
}

fn later(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}
