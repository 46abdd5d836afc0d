//! Outputs of a call as they come.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use hyper::header::HeaderMap;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::Status;

use super::attempt::{self, Deadline};
use super::codec::Dynamic;
use super::response::{self, Answered, Refused};
use super::{json, metadata};
use crate::error::{CallError, ErrorKind};

/// Why an input could not be sent, for whoever reads the outputs.
type Spoilt = Arc<Mutex<Option<CallError>>>;

/// The outputs of a call, one by one. The call goes on while nobody looks; dropping this ends it, on the server too.
///
/// As a stream it ends after the last output, or after the one error that says why there are no more.
pub struct Outputs {
    state: State,
    headers: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
    /// The operation, for errors.
    operation: String,
    deadline: Deadline,
    over: Pin<Box<Sleep>>,
    /// Exactly one output is expected. It counts when the service says that all went well.
    single: bool,
    held: Option<Value>,
    spoilt: Spoilt,
    /// Ends the sending of inputs.
    inputs: Option<DropGuard>,
}

type Head = BoxFuture<'static, Result<Answered<Dynamic>, Box<Refused>>>;

enum State {
    /// Nothing came yet.
    Waiting(Head),
    Reading(Box<Answered<Dynamic>>),
    /// The error that is still to be told.
    Failed(Box<CallError>),
    Over,
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outputs").field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// How outputs are read.
pub(super) struct Reading {
    pub(super) operation: String,
    pub(super) deadline: Deadline,
    pub(super) single: bool,
}

impl Outputs {
    pub(super) fn new(head: Head, reading: Reading, spoilt: Spoilt, inputs: DropGuard) -> Self {
        Self {
            state: State::Waiting(head),
            headers: vec![],
            trailers: vec![],
            operation: reading.operation,
            deadline: reading.deadline,
            over: Box::pin(reading.deadline.sleep()),
            single: reading.single,
            held: None,
            spoilt,
            inputs: Some(inputs),
        }
    }

    /// The headers, as soon as they are there. A server may send them only with its first output.
    ///
    /// # Errors
    /// When none will come. The stream tells the same error.
    pub async fn headers(&mut self) -> Result<&[(String, String)], CallError> {
        std::future::poll_fn(|context| self.poll_head(context)).await?;
        Ok(&self.headers)
    }

    /// The trailers; empty until the stream has ended. They come with faults too.
    #[must_use]
    pub fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match &mut self.state {
            State::Failed(error) => return Poll::Ready(Err(CallError::clone(error))),
            State::Reading(_) | State::Over => return Poll::Ready(Ok(())),
            State::Waiting(head) => match head.as_mut().poll(context) {
                Poll::Ready(Ok(answered)) => {
                    self.headers = metadata::incoming(answered.headers());
                    self.state = State::Reading(Box::new(answered));
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(refused)) => {
                    self.trailers = metadata::incoming(&refused.trailers);
                    self.fail(refused.error);
                }
                Poll::Pending => {
                    ready!(self.over.as_mut().poll(context));
                    self.fail(self.deadline.error());
                }
            },
        }
        self.poll_head(context)
    }

    /// Keeps an error to be told. An input that could not be sent comes first: it is why the rest went wrong.
    fn fail(&mut self, error: CallError) {
        let spoilt = self.spoilt.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.state = State::Failed(Box::new(
            spoilt.unwrap_or_else(|| self.deadline.judged(error)).of("", &self.operation),
        ));
        self.inputs = None;
    }

    /// The next output, `None` after the last one.
    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Value, CallError>>> {
        if !self.single {
            return self.poll_message(context);
        }
        loop {
            match ready!(self.poll_message(context)) {
                Some(Ok(_)) if self.held.is_some() => {
                    return Poll::Ready(Some(Err(response::not_one("more"))));
                }
                Some(Ok(value)) => self.held = Some(value),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.state = State::Over;
                    return Poll::Ready(Some(self.held.take().ok_or_else(|| response::not_one("none"))));
                }
            }
        }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Value, CallError>>> {
        let State::Reading(answered) = &mut self.state else { return Poll::Ready(None) };
        match answered.poll_next(context) {
            Poll::Ready(Some(Ok(output))) => {
                Poll::Ready(Some(output.json.map_err(|wrong| wrong.into_error(ErrorKind::BadAnswer))))
            }
            Poll::Ready(end) => {
                self.trailers = metadata::incoming(answered.trailers());
                Poll::Ready(end.map(|end| end.map(|_| Value::Null)))
            }
            Poll::Pending => {
                ready!(self.over.as_mut().poll(context));
                Poll::Ready(Some(Err(self.deadline.error())))
            }
        }
    }
}

impl Stream for Outputs {
    type Item = Result<Value, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Its error, if any, is kept and told below.
        let _kept = ready!(this.poll_head(context));
        if matches!(this.state, State::Reading(_)) {
            match ready!(this.poll_output(context)) {
                Some(Ok(value)) => return Poll::Ready(Some(Ok(value))),
                Some(Err(error)) => this.fail(error),
                None => this.state = State::Over,
            }
        }
        this.inputs = None;
        match std::mem::replace(&mut this.state, State::Over) {
            State::Failed(error) => Poll::Ready(Some(Err(*error))),
            _ => Poll::Ready(None),
        }
    }
}

/// Inputs on their way: JSON to the bytes of messages, until somebody has enough.
pub(super) struct Inputs<S> {
    inputs: Pin<Box<S>>,
    of: json::Type,
    spoilt: Spoilt,
    enough: Pin<Box<WaitForCancellationFutureOwned>>,
    sent: usize,
}

impl<S> Inputs<S> {
    /// The inputs, where an error is kept, and what ends them when it is dropped.
    pub(super) fn new(inputs: S, of: json::Type) -> (Self, Spoilt, DropGuard) {
        let (token, spoilt) = (CancellationToken::new(), Spoilt::default());
        let enough = Box::pin(token.clone().cancelled_owned());
        (
            Self { inputs: Box::pin(inputs), of, spoilt: spoilt.clone(), enough, sent: 0 },
            spoilt,
            token.drop_guard(),
        )
    }
}

impl<S: Stream<Item = Value>> Stream for Inputs<S> {
    type Item = Result<Vec<u8>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.enough.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(cancelled())));
        }
        let Some(value) = ready!(this.inputs.as_mut().poll_next(context)) else { return Poll::Ready(None) };
        let read = this.of.encode(&value).map_err(|wrong| {
            let error = wrong.within(this.sent).into_error(ErrorKind::BadInput);
            *this.spoilt.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            cancelled()
        });
        this.sent += 1;
        Poll::Ready(Some(read))
    }
}

/// Resets the stream as a client does that wants no more (PROTOCOL-HTTP2, "Errors").
fn cancelled() -> Status {
    let mut status = Status::cancelled("the caller wants no more");
    status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
    status
}

/// The head of an answer that nobody has to wait for: the request is sent meanwhile.
pub(super) fn head(
    target: attempt::Target<'_>,
    request: hyper::Request<crate::http::Body>,
    output: Dynamic,
    limit: usize,
    pool: DescriptorPool,
) -> Head {
    let (transport, endpoint) = (target.transport.clone(), target.endpoint.clone());
    let mut sending = Sending(tokio::spawn(async move { transport.send(request).await }));
    Box::pin(async move {
        let gone = |_| Refused::from(CallError::new(ErrorKind::Broken, "", "the call was given up"));
        let sent = (&mut sending.0).await.map_err(|error| Box::new(gone(error)))?;
        let response = sent.map_err(|error| Box::new(Refused::from(attempt::told(error, &endpoint))))?;
        response::answered(response, output, limit, &pool).await
    })
}

/// A request that is given up when nobody waits for its answer any more.
struct Sending(tokio::task::JoinHandle<Result<hyper::Response<hyper::body::Incoming>, CallError>>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Headers and trailers of an answer that is there as a whole.
pub(super) fn both(headers: &HeaderMap, trailers: &HeaderMap) -> Vec<(String, String)> {
    let mut all = metadata::incoming(headers);
    all.extend(metadata::incoming(trailers));
    all
}
