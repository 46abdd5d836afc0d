//! HTTP/1.1 to a replica. A connection has no task of its own: whoever uses it drives it.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failure, connect, later};
use crate::gateway::headers::keep_alive_seconds;
use crate::gateway::sent::Sent;

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(in crate::gateway) struct Link {
    sender: SendRequest<Sent>,
    connection: Connection<TokioIo<TcpStream>, Sent>,
    worker: usize,
    /// How long it may be without a request.
    keep: Duration,
    /// Until when it is good.
    until: Instant,
}

impl Link {
    /// Connects.
    pub(in crate::gateway) async fn open(
        address: SocketAddr,
        timeout: Duration,
        keep: Duration,
        worker: usize,
    ) -> Result<Box<Self>, Failure> {
        let stream = connect(address, timeout).await?;
        let made = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|_| Failure::NoConnection)?;
        Ok(Box::new(Self { sender, connection, worker, keep, until: later(Instant::now(), keep) }))
    }

    pub(in crate::gateway) const fn worker(&self) -> usize {
        self.worker
    }

    /// Moves bytes; ready when the connection has ended.
    pub(in crate::gateway) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.connection).poll(cx).map(|_ended| ())
    }

    /// Whether another request can be sent. Notices what the replica closed meanwhile.
    pub(super) fn is_good(&mut self, cx: &mut Context<'_>) -> bool {
        Instant::now() < self.until && self.drive(cx).is_pending() && self.sender.is_ready()
    }

    /// Drives it in a task of its own, to the end.
    pub(in crate::gateway) fn detach(self: Box<Self>) {
        let Self { sender, connection, .. } = *self;
        drop(sender);
        tokio::spawn(async move {
            // How it ends is told by the body of the answer.
            let _ended = connection.await;
        });
    }

    /// Sends a request. With the head of its answer comes the connection, which brings the body.
    pub(in crate::gateway) async fn send(
        mut self: Box<Self>,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Option<Box<Self>>), Failure> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let mut ended = false;
        let answered = std::future::poll_fn(|cx| {
            if !ended && self.drive(cx).is_ready() {
                ended = true;
            }
            answer.as_mut().poll(cx)
        });
        match answered.await {
            Ok(response) => {
                self.promise(&response);
                Ok((response, (!ended).then_some(self)))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failure::NotSent(Some(Box::new(request))),
                None => Failure::Broken,
            }),
        }
    }

    /// Notes how long the replica keeps the connection, from now on.
    fn promise(&mut self, response: &Response<Incoming>) {
        let told = keep_alive_seconds(response.headers());
        // A request that comes in the last moment would meet a connection that is being closed.
        let told = told.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
        self.until = later(Instant::now(), told.map_or(self.keep, |told| told.min(self.keep)));
    }
}

/// Sends a request that asks for another protocol, on a connection of its own.
pub(in crate::gateway) async fn send_upgrade(
    address: SocketAddr,
    timeout: Duration,
    request: Request<Sent>,
) -> Result<Response<Incoming>, Failure> {
    let stream = connect(address, timeout).await?;
    let made = Builder::new().handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|_| Failure::NoConnection)?;
    // Ends with its last user: dropping the answer, or what it became, closes it.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|_| Failure::Broken)
}
