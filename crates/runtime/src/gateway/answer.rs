//! The body of an answer on its way to the client, and answers of the gateway's own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::measures::{End, grpc_fault};
use super::policy::Verdict;
use super::service::{Attempt, Exchange};
use super::upstream::Link;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A body for a client.
#[derive(Debug)]
pub(super) enum Answer {
    /// The gateway's own words.
    Own(Option<Bytes>),
    /// What a replica sends.
    Passed(Box<Passed>),
}

/// What a replica sends, while it does.
#[derive(Debug)]
pub(super) struct Passed {
    body: Incoming,
    /// The HTTP/1.1 connection it comes by; driven here, so that no other task is woken for it.
    link: Option<Box<Link>>,
    attempt: Attempt,
    exchange: Exchange,
    status: StatusCode,
    grpc: bool,
    fault: bool,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the last part came; only looked at when the timer fires.
    moved: bool,
    done: bool,
}

impl Answer {
    /// Passes on what a replica answers. `link`: the connection to be driven, and to be kept afterwards.
    pub(super) fn pass(
        response: Response<Incoming>,
        link: Option<Box<Link>>,
        attempt: Attempt,
        exchange: Exchange,
        pause: Duration,
    ) -> Response<Self> {
        let (mut parts, body) = response.into_parts();
        super::headers::prepare_answer(&mut parts);
        let grpc = exchange.grpc();
        // An answer of trailers only has its status in the head.
        let fault = grpc && is_fault(&parts.headers);
        let status = parts.status;
        let (timer, moved, done) = (None, false, false);
        let mut passed = Box::new(Passed {
            body,
            link,
            attempt,
            exchange,
            status,
            grpc,
            fault,
            pause,
            timer,
            moved,
            done,
        });
        if passed.body.is_end_stream() {
            passed.settle();
            return Response::from_parts(parts, Self::Own(None));
        }
        Response::from_parts(parts, Self::Passed(passed))
    }
}

impl Passed {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(link) = &mut self.link else { return Poll::Pending };
        // Asked for, the connection reads on; when it ends, the body says how.
        if link.drive(cx).is_ready() {
            self.link = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pause)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + pause);
        }
        Poll::Pending
    }

    /// All of it was passed on.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let end = End::Answered { status: self.status, error: self.fault };
        let now = std::time::Instant::now();
        self.attempt.end_at(end, verdict(self.status, self.fault), now);
        self.exchange.end_at(end, now);
        if let Some(link) = self.link.take() {
            self.attempt.keep(link);
        }
    }

    fn break_off(&mut self) {
        self.done = true;
        self.link = None;
        self.attempt.end(End::BrokeOff(self.status), Verdict::Failed);
        self.exchange.end(End::BrokeOff(self.status));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = self.poll_body(cx) else {
            if self.poll_pause(cx).is_pending() {
                return Poll::Pending;
            }
            self.break_off();
            return Poll::Ready(Some(Err("the replica sends no more".into())));
        };
        self.moved = true;
        match &frame {
            None => self.settle(),
            Some(Err(_)) => self.break_off(),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.fault |= self.grpc && is_fault(trailers);
                }
                if self.body.is_end_stream() {
                    self.settle();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// What an answer says about the replica.
pub(super) fn verdict(status: StatusCode, fault: bool) -> Verdict {
    if fault || matches!(status.as_u16(), 500 | 502..=504) { Verdict::Failed } else { Verdict::Good }
}

fn is_fault(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| grpc_fault(status.as_bytes()))
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        match self.get_mut() {
            Self::Own(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Self::Passed(passed) => passed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(words) => words.is_none(),
            Self::Passed(passed) => passed.done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(words) => SizeHint::with_exact(words.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passed(passed) => passed.body.size_hint(),
        }
    }
}

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) status: StatusCode,
    /// What happened, for people.
    pub(super) why: &'static str,
    /// The same as a word of RFC 9209, section 2.3.
    pub(super) error: &'static str,
    /// When it is worth trying again, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Own {
    /// The answer; a client that speaks gRPC gets its status (`grpc/doc/http-grpc-status-mapping.md`).
    pub(super) fn respond(self, service: &str, grpc: bool) -> Response<Answer> {
        let text = format!("{}: {}\n", service, self.why);
        let mut response = Response::new(Answer::Own(None));
        let headers = response.headers_mut();
        let proxy = HeaderValue::try_from(format!("sos; error={}", self.error));
        headers.insert(PROXY_STATUS, proxy.unwrap_or(HeaderValue::from_static("sos")));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if grpc {
            let code = match self.status.as_u16() {
                413 => "8",
                400 => "13",
                501 => "12",
                504 => "4",
                _ => "14",
            };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static(code));
            if let Ok(message) = HeaderValue::try_from(text.trim_end().replace('%', "%25")) {
                headers.insert("grpc-message", message);
            }
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *response.status_mut() = self.status;
        *response.body_mut() = Answer::Own(Some(Bytes::from(text)));
        response
    }
}
