//! WebSockets: bytes in both directions, unread.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::sleep;

use super::connection::{State, Stop};
use super::service::Attempt;

/// Bytes that are moved at a time in one direction.
const BUFFER: usize = 16 << 10;

/// Joins both sides once they have changed their protocol. `idle`: how long nothing may come from either.
pub(super) fn open(client: OnUpgrade, replica: OnUpgrade, mut attempt: Attempt, idle: Duration) {
    let service = Arc::clone(attempt.service());
    let state = State::new(&service);
    let opened = service.shared.opened(&state);
    service.tunnels(true);
    tokio::spawn(async move {
        let moved = Arc::new(AtomicBool::new(false));
        let join = join(client, replica, &moved);
        let mut join = std::pin::pin!(join);
        loop {
            tokio::select! {
                () = &mut join => break,
                () = state.stopped(Stop::Now) => break,
                () = sleep(idle) => {
                    if !moved.swap(false, Relaxed) {
                        break;
                    }
                }
            }
        }
        attempt.close();
        service.tunnels(false);
        drop(opened);
    });
}

async fn join(client: OnUpgrade, replica: OnUpgrade, moved: &Arc<AtomicBool>) {
    let Ok((client, replica)) = tokio::try_join!(client, replica) else { return };
    let noted = |side| Noted { side: TokioIo::new(side), moved: Arc::clone(moved) };
    let (mut client, mut replica) = (noted(client), noted(replica));
    // Either side may leave without a word.
    let _left = copy_bidirectional_with_sizes(&mut client, &mut replica, BUFFER, BUFFER).await;
}

/// One side, with a note whenever something came from it.
struct Noted {
    side: TokioIo<Upgraded>,
    moved: Arc<AtomicBool>,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.side).poll_read(cx, buf);
        if read.is_ready() {
            self.moved.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.side).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}
