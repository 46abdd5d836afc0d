//! The body of a request on its way to a replica. What was sent is kept up to a bound, so that it can be sent again.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::lock;

/// Why a body does not go on. Shown in no answer: only that the request cannot be read.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A body that can be sent several times.
#[derive(Clone, Debug)]
pub(super) struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Length, where the client said it.
    length: Option<u64>,
    state: Mutex<State>,
    /// All of it was read from the client.
    ended: AtomicBool,
    /// It is longer than allowed.
    too_long: AtomicBool,
    /// The client broke off or paused for too long.
    client_failed: AtomicBool,
}

#[derive(Debug)]
struct State {
    client: Incoming,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// Bytes that may still be kept; `None`: there were more, so nothing is kept any more.
    room: Option<usize>,
    /// Bytes that may still come.
    allowed: Option<u64>,
    /// Number of the attempt that reads.
    attempt: u32,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// A body as one attempt sends it.
#[derive(Debug)]
pub(super) struct Sent {
    source: Option<Source>,
    attempt: u32,
    /// Kept parts that this attempt has sent.
    at: usize,
    done: bool,
}

impl Source {
    /// `None` where the request has no body. At most `keep` bytes are kept, `allowed` are read, each within `pause`.
    pub(super) fn new(client: Incoming, keep: usize, allowed: Option<u64>, pause: Duration) -> Option<Self> {
        if client.is_end_stream() {
            return None;
        }
        let length = client.size_hint().exact();
        let state = State {
            client,
            kept: vec![],
            trailers: None,
            room: Some(keep),
            allowed,
            attempt: 0,
            pause,
            timer: None,
        };
        Some(Self(Arc::new(Inner {
            length,
            state: Mutex::new(state),
            ended: AtomicBool::new(false),
            too_long: AtomicBool::new(false),
            client_failed: AtomicBool::new(false),
        })))
    }

    /// The body for the next attempt, from its beginning. Older ones read no further.
    pub(super) fn sent(&self) -> Sent {
        let mut state = lock(&self.0.state);
        state.attempt += 1;
        Sent { source: Some(self.clone()), attempt: state.attempt, at: 0, done: false }
    }

    /// Whether all that was read is kept, so that it can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        lock(&self.0.state).room.is_some() && !self.0.client_failed.load(Relaxed)
    }

    /// Whether all of it was read.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Relaxed)
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.0.too_long.load(Relaxed)
    }

    pub(super) fn client_failed(&self) -> bool {
        self.0.client_failed.load(Relaxed)
    }

    fn poll(
        &self,
        attempt: u32,
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let mut state = lock(&self.0.state);
        if state.attempt != attempt {
            return Poll::Ready(Some(Err("another attempt reads this body".into())));
        }
        if let Some(part) = state.kept.get(*at) {
            *at += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        if self.0.ended.load(Relaxed) {
            return Poll::Ready(state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(self.poll_client(&mut state, cx));
        let result = match frame {
            None => {
                self.0.ended.store(true, Relaxed);
                None
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(self.take(&mut state, data, at)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    state.trailers = Some(trailers.clone());
                    self.0.ended.store(true, Relaxed);
                    Some(Ok(Frame::trailers(trailers)))
                }
            },
            Some(Err(error)) => {
                self.0.client_failed.store(true, Relaxed);
                Some(Err(error))
            }
        };
        if state.client.is_end_stream() {
            self.0.ended.store(true, Relaxed);
        }
        Poll::Ready(result)
    }

    fn poll_client(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        if let Poll::Ready(frame) = Pin::new(&mut state.client).poll_frame(cx) {
            state.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause = state.pause;
        let timer = state.timer.get_or_insert_with(|| Box::pin(sleep(pause)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err("the client sends no more".into())))
    }

    fn take(&self, state: &mut State, data: Bytes, at: &mut usize) -> Result<Frame<Bytes>, Trouble> {
        if let Some(allowed) = &mut state.allowed {
            let Some(left) = allowed.checked_sub(data.len() as u64) else {
                self.0.too_long.store(true, Relaxed);
                return Err("the body is longer than allowed".into());
            };
            *allowed = left;
        }
        match state.room.and_then(|room| room.checked_sub(data.len())) {
            // Many small parts cost more than their bytes.
            Some(room) if state.kept.len() < 1024 => {
                state.room = Some(room);
                state.kept.push(data.clone());
                *at += 1;
            }
            _ => (state.room, state.kept) = (None, vec![]),
        }
        Ok(Frame::data(data))
    }
}

impl Sent {
    /// No body.
    pub(super) const fn nothing() -> Self {
        Self { source: None, attempt: 0, at: 0, done: true }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let this = &mut *self;
        let Some(source) = this.source.as_ref().filter(|_| !this.done) else { return Poll::Ready(None) };
        let frame = ready!(source.poll(this.attempt, &mut this.at, cx));
        this.done = match &frame {
            None | Some(Err(_)) => true,
            Some(Ok(frame)) => frame.is_trailers(),
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(0),
            Some(source) => source.0.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
