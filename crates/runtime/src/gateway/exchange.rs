//! One request: a replica is chosen, asked, and its answer passed on; what fails is tried elsewhere where that does no harm.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::{Answer, Own, verdict};
use super::connection::State;
use super::headers::{Kind, Origin, Unfit, for_http2, prepare_answer};
use super::measures::End;
use super::policy::Verdict;
use super::sent::{Sent, Source};
use super::service::{Attempt, Exchange, Held, Refusal, Service, Terms};
use super::upstream::{Failure, Link, send_http2, send_upgrade};
use super::{Protocol, tunnel};

/// Replicas that are asked for one request at most, those included where nothing listens.
const MOST_REPLICAS: usize = 32;
/// Times that a request is sent again because nobody read it.
const MOST_UNREAD: u32 = 8;
/// How often a request that waits looks whether a replica that refused connections takes them now.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) service: Arc<Service>,
    pub(super) state: Arc<State>,
    pub(super) origin: Origin,
    pub(super) worker: usize,
}

/// Answers a request.
pub(super) async fn exchange(client: Arc<Client>, mut request: Request<Incoming>) -> Response<Answer> {
    let service = Arc::clone(&client.service);
    let mut exchange = Exchange::begin(&service, client.state.begin());
    let terms = service.terms();
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    let kind = match client.origin.prepare(&mut head) {
        Ok(kind) => kind,
        Err(unfit) => return refuse(&service, exchange, Refusal::BadRequest, bad(unfit)),
    };
    exchange.set_grpc(kind.grpc);
    let rules = &terms.rules;
    if let (Some(allowed), Some(length)) = (rules.body_bytes, body.size_hint().exact())
        && length > allowed
    {
        return refuse(&service, exchange, Refusal::BadRequest, too_long());
    }
    let source = Source::new(body, rules.retries.kept_body, rules.body_bytes, rules.body_idle);
    if source.is_none() && matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        // RFC 9110, section 8.6: without it some servers wait for a body or ask for a length. HTTP/2 clients leave it out.
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    }
    let head = Some(head);
    let deadline = Instant::from_std(exchange.started()) + rules.timeout;
    let pass = Pass {
        client: &client,
        terms: &terms,
        kind,
        head,
        source,
        deadline,
        avoid: vec![],
        attempts: 0,
        unread: 0,
        began: false,
        held_until: None,
        place: None,
    };
    match pass.run().await {
        Ok((response, None, attempt)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(&terms, response, attempt, exchange, upgrade)
        }
        Ok((response, link, attempt)) => Answer::pass(response, link, attempt, exchange, rules.body_idle),
        Err((refusal, own)) => refuse(&service, exchange, refusal, own),
    }
}

fn refuse(service: &Service, mut exchange: Exchange, refusal: Refusal, own: Own) -> Response<Answer> {
    service.refuse(refusal);
    exchange.end(End::Answered { status: own.status, error: own.status.is_server_error() });
    own.respond(&service.name, exchange.grpc())
}

/// Passes on that a WebSocket is open, and joins both sides.
fn switch(
    terms: &Terms,
    mut response: Response<Incoming>,
    mut attempt: Attempt,
    mut exchange: Exchange,
    client: OnUpgrade,
) -> Response<Answer> {
    let status = response.status();
    let replica = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    prepare_answer(&mut parts);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    exchange.end(End::Answered { status, error: false });
    attempt.opened(status);
    tunnel::open(client, replica, attempt, terms.rules.tunnel_idle);
    Response::from_parts(parts, Answer::Own(None))
}

type Answered = (Response<Incoming>, Option<Box<Link>>, Attempt);
type Refused = (Refusal, Own);

/// A request on its way.
struct Pass<'a> {
    client: &'a Client,
    terms: &'a Terms,
    kind: Kind,
    /// `None` once it was given away and did not come back.
    head: Option<Parts>,
    source: Option<Source>,
    deadline: Instant,
    /// Replicas that failed.
    avoid: Vec<u64>,
    /// Attempts that reached a replica.
    attempts: u32,
    unread: u32,
    /// There was a first attempt.
    began: bool,
    held_until: Option<Instant>,
    /// Its place among those that wait, kept while it looks whether a replica takes connections now.
    place: Option<Held>,
}

impl Pass<'_> {
    async fn run(mut self) -> Result<Answered, Refused> {
        loop {
            let Some((mut attempt, again)) = self.client.service.attempt(&self.avoid, !self.began) else {
                Box::pin(self.hold(false)).await?;
                continue;
            };
            self.began = true;
            if again && self.attempts == 0 && self.unread == 0 {
                // Each replica was asked, and on none of them anything listens.
                attempt.close();
                drop(attempt);
                Box::pin(self.hold(true)).await?;
                self.avoid.clear();
                continue;
            }
            let until = self.until();
            let asked = timeout_at(until, self.ask(&mut attempt)).await;
            let refused = match asked {
                Ok(Ok((response, link))) if !self.is_busy(&response, &mut attempt) => {
                    return Ok((response, link, attempt));
                }
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => self.failed(failure, attempt),
                Err(_) => self.timed_out(attempt),
            };
            if let Some(refused) = refused {
                return Err(refused);
            }
            self.client.service.retried();
        }
    }

    /// When an attempt is given up.
    fn until(&self) -> Instant {
        let attempt = self.terms.rules.attempt_timeout.filter(|_| self.may_try_again());
        attempt.map_or(self.deadline, |time| self.deadline.min(Instant::now() + time))
    }

    /// One attempt.
    async fn ask(
        &mut self,
        attempt: &mut Attempt,
    ) -> Result<(Response<Incoming>, Option<Box<Link>>), Failure> {
        let http2 = match self.terms.protocol {
            Protocol::Auto => self.kind.grpc,
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        };
        let options = &self.client.service.shared.options.replicas;
        let (replica, worker) = (Arc::clone(&attempt.replica), self.client.worker);
        if self.kind.websocket {
            let request = self.request(false)?;
            let sent = Box::pin(send_upgrade(replica.address, options.connect_timeout, request)).await;
            self.place = None;
            return sent.map(|response| (response, None));
        }
        if http2 {
            let request = self.request(true)?;
            let (response, place) = Box::pin(send_http2(&replica, worker, options, request)).await?;
            self.place = None;
            attempt.place = Some(place);
            return Ok((response, None));
        }
        let link = std::future::poll_fn(|cx| Poll::Ready(replica.pool(worker).take(cx))).await;
        let link = match link {
            Some(link) => link,
            None => {
                let open = Link::open(replica.address, options.connect_timeout, options.idle_for, worker);
                Box::pin(open).await?
            }
        };
        self.place = None;
        let (response, link) = link.send(self.request(false)?).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for another protocol.
            return Err(Failure::Broken);
        }
        // What is answered before it was all sent goes on in both directions, each at its own pace.
        match link {
            Some(link) if !self.source.as_ref().is_none_or(Source::has_ended) => {
                link.detach();
                Ok((response, None))
            }
            link => Ok((response, link)),
        }
    }

    /// The request for an attempt. Its head is copied where it may be needed again.
    fn request(&mut self, http2: bool) -> Result<Request<Sent>, Failure> {
        let again = http2
            || self.kind.websocket
            || (self.kind.idempotent && self.attempts + 1 < self.terms.rules.retries.attempts);
        let head = if again { self.head.clone() } else { self.head.take() };
        let mut head = head.ok_or(Failure::Broken)?;
        if http2 {
            // `Host` was looked at before.
            for_http2(&mut head).map_err(|_| Failure::Broken)?;
        } else {
            head.version = http::Version::HTTP_11;
        }
        let body = self.source.as_ref().map_or(Sent::nothing(), Source::sent);
        Ok(Request::from_parts(head, body))
    }

    /// Whether the request may be sent again though a replica has seen it.
    fn may_try_again(&self) -> bool {
        self.kind.idempotent
            && self.attempts + 1 < self.terms.rules.retries.attempts
            && self.avoid.len() < MOST_REPLICAS
            && self.source.as_ref().is_none_or(Source::is_whole)
    }

    /// The same, and takes it out of the budget.
    fn try_again(&mut self, id: u64) -> bool {
        let may = self.may_try_again() && self.head.is_some() && self.client.service.may_retry();
        if may {
            self.attempts += 1;
            self.avoid.push(id);
        }
        may
    }

    /// Whether a replica says that it cannot answer now, and another is asked instead.
    fn is_busy(&mut self, response: &Response<Incoming>, attempt: &mut Attempt) -> bool {
        let status = response.status();
        if status != StatusCode::SERVICE_UNAVAILABLE || !self.terms.rules.retries.on_503 {
            return false;
        }
        // The same one would say the same.
        let another = self.client.service.has_replica(&[self.avoid.as_slice(), &[attempt.id]].concat());
        let again = another && self.try_again(attempt.id);
        if again {
            attempt.end(End::Answered { status, error: true }, verdict(status, false));
        }
        again
    }

    /// What follows of a failed attempt: `None`: another one.
    fn failed(&mut self, failure: Failure, mut attempt: Attempt) -> Option<Refused> {
        let id = attempt.id;
        let end = |attempt: &mut Attempt, verdict| attempt.end(End::Unanswered, verdict);
        match failure {
            Failure::Refused | Failure::NoConnection => {
                let refused = matches!(failure, Failure::Refused);
                end(&mut attempt, if refused { Verdict::Refused } else { Verdict::Failed });
                self.avoid.push(id);
                (self.avoid.len() >= MOST_REPLICAS).then(unreachable)
            }
            Failure::NotSent(request) => {
                attempt.close();
                if let Some(request) = request
                    && self.head.is_none()
                {
                    self.head = Some(request.into_parts().0);
                }
                self.unread += 1;
                let whole = self.head.is_some() && self.source.as_ref().is_none_or(Source::is_whole);
                (self.unread > MOST_UNREAD || !whole).then(broken)
            }
            Failure::Broken if self.source.as_ref().is_some_and(Source::is_too_long) => {
                end(&mut attempt, Verdict::Unknown);
                Some((Refusal::BadRequest, too_long()))
            }
            Failure::Broken if self.source.as_ref().is_some_and(Source::client_failed) => {
                drop(attempt);
                Some((Refusal::BadRequest, unread()))
            }
            Failure::Broken => {
                end(&mut attempt, Verdict::Failed);
                (!self.try_again(id)).then(broken)
            }
        }
    }

    fn timed_out(&mut self, mut attempt: Attempt) -> Option<Refused> {
        attempt.end(End::Unanswered, Verdict::Failed);
        let again = Instant::now() < self.deadline && self.try_again(attempt.id);
        (!again).then_some((Refusal::TimedOut, late()))
    }

    /// Waits for a replica. `refused`: there are some, but nothing listens there.
    async fn hold(&mut self, refused: bool) -> Result<(), Refused> {
        let client = self.client;
        let service = &client.service;
        let Some(hold) = self.terms.hold else { return Err(no_replica(1)) };
        let retry = hold.wait.as_secs().max(1);
        let Some(place) = self.place.take().or_else(|| service.hold(hold.requests)) else {
            return Err((
                Refusal::QueueFull,
                Own { why: "too many requests wait for a replica", ..no_replica(retry).1 },
            ));
        };
        let began = Instant::now();
        let end = *self.held_until.get_or_insert(began + hold.wait);
        loop {
            let changed = service.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if Instant::now() >= end || service.has_ended() {
                return Err(no_replica(retry));
            }
            if !refused && service.has_replica(&[]) {
                break;
            }
            let look = sleep(if refused { LOOK_EVERY } else { hold.wait });
            let waited = tokio::select! {
                () = changed => true,
                () = look => true,
                () = tokio::time::sleep_until(end) => false,
            };
            if waited && refused && service.has_replica(&[]) {
                break;
            }
        }
        self.deadline += began.elapsed();
        self.place = Some(place).filter(|_| refused);
        Ok(())
    }
}

fn bad(unfit: Unfit) -> Own {
    Own { status: unfit.status, why: unfit.why, error: "http_request_error", retry_after: None }
}

fn too_long() -> Own {
    let why = "the body is longer than this service takes";
    Own { status: StatusCode::PAYLOAD_TOO_LARGE, why, error: "http_request_error", retry_after: None }
}

fn unread() -> Own {
    let why = "the body of the request could not be read to its end";
    Own { status: StatusCode::BAD_REQUEST, why, error: "http_request_error", retry_after: None }
}

fn broken() -> Refused {
    let why = "the replica broke off before it answered";
    let own = Own { status: StatusCode::BAD_GATEWAY, why, error: "connection_terminated", retry_after: None };
    (Refusal::Broken, own)
}

fn late() -> Own {
    let why = "the replica did not answer in time";
    Own { status: StatusCode::GATEWAY_TIMEOUT, why, error: "http_response_timeout", retry_after: None }
}

fn no_replica(retry_after: u64) -> Refused {
    let why = "no replica is ready";
    let (status, error) = (StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable");
    (Refusal::NoReplica, Own { status, why, error, retry_after: Some(retry_after) })
}

fn unreachable() -> Refused {
    let own = Own { why: "no replica can be connected to", ..no_replica(1).1 };
    (Refusal::NoReplica, own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of<F: Future>(_: impl Fn(Arc<Client>, Request<Incoming>) -> F) -> usize {
        size_of_type::<F>()
    }

    const fn size_of_type<T>() -> usize {
        std::mem::size_of::<T>()
    }

    /// It is moved for each request; what is rare stands in boxes.
    #[test]
    fn the_future_of_a_request_is_small() {
        assert!(size_of(exchange) <= 3072, "{}", size_of(exchange));
    }
}
