//! What is answered: head, messages, and the status at the end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream as _;
use hyper::Response;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tonic::codec::{CompressionEncoding, Streaming};
use tonic::{Code, Status};

use super::codec::{Decode, End, Read, Watched};
use super::status;
use crate::error::{CallError, ErrorKind, Fault};
use crate::http::first_text;

/// Bytes of an answer that is no gRPC which are shown.
const SHOWN: usize = 300;

/// An answer whose head is there.
pub(super) struct Answered<R: Read> {
    headers: HeaderMap,
    trailers: HeaderMap,
    messages: Streaming<R::Message>,
    end: Arc<Mutex<End>>,
    pool: DescriptorPool,
    limit: usize,
    /// The status was in the head: there is nothing more.
    over: bool,
}

/// Why there are no messages, with the trailers where they came.
pub(super) struct Refused {
    pub(super) error: CallError,
    pub(super) trailers: HeaderMap,
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Self { error, trailers: HeaderMap::new() }
    }
}

/// Looks at the head of an answer.
///
/// # Errors
/// `Fault` when the service, or somebody before it, refused; `BadAnswer` when this is no gRPC.
pub(super) async fn answered<R: Read>(
    response: Response<Incoming>,
    read: R,
    limit: usize,
    pool: &DescriptorPool,
) -> Result<Answered<R>, Box<Refused>> {
    let (head, body) = response.into_parts();
    let told = status::read(&head.headers, pool);
    if head.status != 200 || !is_grpc(&head.headers) {
        // Whoever writes a status knows gRPC, whatever else is wrong with his answer.
        let error = match told {
            Some(Err(error)) => error,
            _ => no_grpc(head.status.as_u16(), &head.headers, body).await,
        };
        return Err(Box::new(error.into()));
    }
    // The status stands in the head only where nothing follows ("Trailers-Only").
    let only = told.filter(|_| body.is_end_stream());
    if let Some(Err(error)) = only {
        return Err(Box::new(Refused { error, trailers: head.headers }));
    }
    let over = only.is_some();
    let encoding = encoding(&head.headers).map_err(|error| Box::new(Refused::from(error)))?;
    let (body, end) = Watched::new(body);
    let (headers, trailers) =
        if over { (HeaderMap::new(), head.headers) } else { (head.headers, HeaderMap::new()) };
    let messages = Streaming::new_request(Decode(read), body, encoding, Some(limit));
    Ok(Answered { headers, trailers, messages, end, pool: pool.clone(), limit, over })
}

/// `application/grpc`, perhaps with `+proto` or parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let rest =
        text.get(..16).filter(|start| start.eq_ignore_ascii_case("application/grpc")).and(text.get(16..));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(';') || rest == "+proto" || rest.starts_with("+proto;")
    })
}

fn encoding(headers: &HeaderMap) -> Result<Option<CompressionEncoding>, CallError> {
    match headers.get("grpc-encoding").map(|value| value.to_str().unwrap_or("?")) {
        None | Some("identity" | "") => Ok(None),
        Some("gzip") => Ok(Some(CompressionEncoding::Gzip)),
        Some(other) => Err(CallError::new(
            ErrorKind::BadAnswer,
            "header grpc-encoding",
            format!("expected gzip or identity, found `{other}`"),
        )),
    }
}

/// An answer of somebody who does not speak gRPC: a proxy, another server.
async fn no_grpc(http: u16, headers: &HeaderMap, body: Incoming) -> CallError {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or("no content-type".into(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let beginning = first_text(body, SHOWN).await;
    let beginning: String = beginning.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    let shown = if beginning.is_empty() { String::new() } else { format!(": {beginning}") };
    if !(400..600).contains(&http) {
        let message = format!("expected an answer of gRPC, found HTTP {http} with {kind}{shown}");
        return CallError::new(ErrorKind::BadAnswer, "header content-type", message);
    }
    let code = status::code_of_http(http);
    let fault = Fault {
        code: code.to_owned(),
        status: http,
        temporary: code == "UNAVAILABLE",
        detail: if beginning.is_empty() { Value::Null } else { json!(beginning) },
    };
    let message = format!("expected an answer of gRPC, found HTTP {http} ({code}) with {kind}{shown}");
    let mut error = CallError::new(ErrorKind::Fault, "", message).with_fault(fault);
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    error.retry_after = seconds.map(Duration::from_secs);
    error
}

/// The error of an answer that should have had exactly one message.
pub(super) fn not_one(found: &str) -> CallError {
    CallError::new(ErrorKind::BadAnswer, "", format!("expected one message, found {found}"))
}

impl<R: Read> Answered<R> {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Those that came; all of them after the end.
    pub(super) fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// The next message; `None` after the last one, when the service said that all went well.
    ///
    /// # Errors
    /// `Fault`, `Broken`, `TooLarge`, `BadAnswer`. There is nothing to read after an error.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<R::Message, CallError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.messages).poll_next(context)) {
            Some(Ok(message)) => Poll::Ready(Some(Ok(message))),
            Some(Err(status)) => {
                self.over = true;
                let ended =
                    self.ended().err().filter(|error| error.kind != ErrorKind::Broken || self.was_cut());
                Poll::Ready(Some(Err(ended.unwrap_or_else(|| self.unreadable(&status)))))
            }
            None => {
                self.over = true;
                Poll::Ready(self.ended().err().map(Err))
            }
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<R::Message, CallError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Whether the connection broke, rather than ended without a status.
    fn was_cut(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).broken.is_some()
    }

    /// What the end of the body says.
    fn ended(&mut self) -> Result<(), CallError> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &end.broken {
            return Err(CallError::new(ErrorKind::Broken, "", format!("the answer broke off: {reason}")));
        }
        match end.trailers.take() {
            Some(trailers) => self.trailers = trailers,
            // As good as nothing followed the head.
            None if !end.data => self.trailers = self.headers.clone(),
            None => {}
        }
        status::read(&self.trailers, &self.pool).unwrap_or_else(|| {
            let message =
                "the answer ended without a status: it was cut off on the way, or the server speaks no gRPC";
            Err(CallError::new(ErrorKind::Broken, "", message))
        })
    }

    /// A message that tonic refused to read.
    fn unreadable(&self, status: &Status) -> CallError {
        let text = status.message().trim_end_matches(", while sending request");
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => {
                let message = format!("a message is longer than {} bytes ({text})", self.limit);
                CallError::new(ErrorKind::TooLarge, "", message)
            }
            Code::DataLoss if text.contains("recursion limit") => {
                CallError::new(ErrorKind::TooLarge, "", format!("a message is nested too deep: {text}"))
            }
            _ => CallError::new(ErrorKind::BadAnswer, "", format!("a message cannot be read: {text}")),
        }
    }
}
