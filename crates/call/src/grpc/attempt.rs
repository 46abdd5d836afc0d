//! One request to a method.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri, Version};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::codec::{CompressionEncoding, EncodeBody};

use super::codec::{self, Whole, Write};
use super::metadata;
use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Body, Transport};
use crate::secret::Secret;

const AGENT: &str = concat!("sos/", env!("CARGO_PKG_VERSION"));
const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
// Read once, as they are in each request.
static ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Where a request goes and what goes with it.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) transport: &'a Transport,
    pub(super) endpoint: &'a Address,
    /// `/package.Service/Method`
    pub(super) path: &'a PathAndQuery,
    pub(super) headers: &'a [(String, Secret)],
    pub(super) timeout: Duration,
    /// Whether messages are sent compressed.
    pub(super) gzip: bool,
}

impl Target<'_> {
    /// The request with this body.
    ///
    /// # Errors
    /// `BadInput` when a header cannot be sent.
    pub(super) fn request(&self, body: Body) -> Result<Request<Body>, CallError> {
        let mut headers = metadata::outgoing(self.headers, self.endpoint)?;
        self.add_own(&mut headers);
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri()?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn add_own(&self, headers: &mut HeaderMap) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, CONTENT);
        headers.remove(ACCEPT);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING.clone(), HeaderValue::from_static("gzip,identity"));
        if self.gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        if let Some(value) = metadata::timeout(self.timeout) {
            headers.insert(TIMEOUT.clone(), value);
        }
    }

    /// The path of the address stays in front, as proxies want it.
    fn uri(&self) -> Result<Uri, CallError> {
        let mut parts = self.endpoint.uri().clone().into_parts();
        let front = self.endpoint.uri().path().trim_end_matches('/');
        let path =
            if front.is_empty() { Ok(self.path.clone()) } else { format!("{front}{}", self.path).parse() };
        let wrong =
            || CallError::new(ErrorKind::BadInput, self.endpoint.to_string(), "the address cannot be used");
        parts.path_and_query = Some(path.map_err(|_| wrong())?);
        Uri::from_parts(parts).map_err(|_| wrong())
    }

    /// Sends a request and gives back what is answered first, when it is there.
    pub(super) async fn send(self, request: Request<Body>) -> Result<Response<Incoming>, CallError> {
        let sent = self.transport.send(request).await;
        sent.map_err(|error| told(error, self.endpoint))
    }
}

/// An error of the connection, with the place and, where the server seems not to know HTTP/2, what that means.
pub(super) fn told(mut error: CallError, endpoint: &Address) -> CallError {
    if error.place.is_empty() {
        error.place = endpoint.to_string();
    }
    if error.message.contains("frame with invalid size") {
        error.message = format!(
            "expected HTTP/2, which gRPC needs; the server speaks something else ({})",
            error.message
        );
    }
    error
}

/// Messages that are there, as one body.
pub(super) fn ready(messages: Vec<Vec<u8>>, gzip: bool) -> Result<Body, CallError> {
    if !gzip {
        let long =
            |_| CallError::new(ErrorKind::BadInput, "", "expected messages below 4 GiB, found a longer one");
        return codec::framed(&messages).map(whole).map_err(long);
    }
    let messages = stream::iter(messages).map(Ok::<_, Status>);
    let body = EncodeBody::new_client(Write::whole(), messages, encoding(gzip), None);
    // Nothing has to be waited for.
    match body.collect().now_or_never() {
        Some(Ok(collected)) => Ok(whole(collected.to_bytes())),
        Some(Err(status)) => Err(CallError::new(ErrorKind::BadInput, "", status.message())),
        None => Err(CallError::new(ErrorKind::BadInput, "", "the input is not complete")),
    }
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Whole::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Messages as they come.
pub(super) fn coming<S>(messages: S, gzip: bool) -> Body
where
    S: stream::Stream<Item = Result<Vec<u8>, Status>> + Send + 'static,
{
    let body = EncodeBody::new_client(Write::coming(), messages, encoding(gzip), None);
    body.map_err(Into::into).boxed_unsync()
}

fn encoding(gzip: bool) -> Option<CompressionEncoding> {
    gzip.then_some(CompressionEncoding::Gzip)
}

/// The time that a call has, from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    timeout: Duration,
    /// `None`: beyond what can be written.
    end: Option<Instant>,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { timeout, end: Instant::now().checked_add(timeout) }
    }

    /// What a call gives within its time.
    pub(super) async fn hold<T>(
        self,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let Some(end) = self.end else { return call.await };
        let held = tokio::time::timeout_at(end, call).await;
        held.unwrap_or_else(|_| Err(self.error())).map_err(|error| self.judged(error))
    }

    /// Ready when the time is over.
    pub(super) fn sleep(self) -> Sleep {
        self.end.map_or_else(|| tokio::time::sleep(Duration::MAX), tokio::time::sleep_until)
    }

    /// The error of a call whose time is over.
    pub(super) fn error(self) -> CallError {
        CallError::new(ErrorKind::TimedOut, "", format!("no answer within {:?}", self.timeout))
    }

    /// The server knows the deadline too, and may be the first to say so: by a status, or by a stream that it resets.
    pub(super) fn judged(self, error: CallError) -> CallError {
        let says_so = match &error.fault {
            Some(fault) => matches!(fault.code.as_str(), "DEADLINE_EXCEEDED" | "CANCELLED"),
            None => error.kind == ErrorKind::Broken,
        };
        if says_so && self.end.is_some_and(|end| Instant::now() >= end) {
            return CallError { place: error.place, fault: error.fault, ..self.error() };
        }
        error
    }
}
