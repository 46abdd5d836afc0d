//! One attempt: its turn, its credentials, its endpoint, its headers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::gate::Full;
use super::scrub::scrub;
use super::{Caller, Known, Outcome, Request, Speak, TraceContext};
use crate::call::{Call, Pairs};
use crate::credentials::{Signed, Unsigned};
use crate::error::{CallError, ErrorKind};
use crate::policy::{Refusal, Ticket, Verdict, may_repeat, verdict};
use crate::secret::Secret;

/// Headers that are written here, or by the credentials.
const OWN: [&str; 3] = ["traceparent", "tracestate", "idempotency-key"];

/// How far a call is.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) deadline: Instant,
    /// The whole time, for messages.
    pub(super) limit: Duration,
    pub(super) trace: TraceContext,
    /// Whether a repeat does no harm.
    pub(super) harmless: bool,
    /// Attempts that were begun.
    pub(super) made: u32,
    /// Attempts that came as far as an endpoint.
    pub(super) sent: u32,
    /// The endpoint that failed last.
    pub(super) avoid: Option<u64>,
    /// Whether credentials were replaced.
    pub(super) renewed: bool,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: CallError,
    /// Whether the same may be tried again.
    pub(super) again: bool,
    /// The credentials that were sent; `None` when it did not come as far as an endpoint.
    pub(super) signed: Option<Signed>,
}

/// A refusal of ours.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self { error, again: false, signed: None }
    }
}

impl From<Unsigned> for Failure {
    fn from(Unsigned { error, temporary }: Unsigned) -> Self {
        Self { error, again: temporary, signed: None }
    }
}

/// An attempt under way. Dropped without a verdict it says nothing, and its endpoint is free again.
struct Attempt<'a, S: Speak> {
    caller: &'a Caller<S>,
    ticket: Ticket,
    verdict: Verdict,
}

impl<S: Speak> Drop for Attempt<'_, S> {
    fn drop(&mut self) {
        self.caller.decider().end(self.caller.origin.elapsed(), &self.ticket, self.verdict);
    }
}

impl<S: Speak> Caller<S> {
    /// One attempt within what is left of the time.
    pub(super) async fn attempt(
        &self,
        request: &Request<'_>,
        known: &Known,
        way: &mut Way,
    ) -> Result<Outcome, Failure> {
        way.made += 1;
        let _place = self.turn(way).await?;
        let signed = self.sign(way).await?;
        if Instant::now() >= way.deadline {
            let message =
                format!("the {} s of the call were over before it could be sent", way.limit.as_secs_f64());
            return Err(CallError::new(ErrorKind::TimedOut, "", message).into());
        }
        let (attempt, trace) = {
            let mut decider = self.decider();
            let trace = way.trace.child(decider.id());
            let begun = decider.begin(self.origin.elapsed(), way.avoid);
            drop(decider);
            let ticket = begun.map_err(|refusal| self.refused(refusal))?;
            (Attempt { caller: self, ticket, verdict: Verdict::Unknown }, trace)
        };
        way.sent += 1;
        known.meter.attempt(way.sent == 1);
        way.avoid = Some(attempt.ticket.endpoint());
        self.send(request, way, attempt, signed, trace).await
    }

    async fn send(
        &self,
        request: &Request<'_>,
        way: &Way,
        mut attempt: Attempt<'_, S>,
        signed: Signed,
        trace: TraceContext,
    ) -> Result<Outcome, Failure> {
        let left = way.deadline.saturating_duration_since(Instant::now());
        let timeout = self.policy.timeout.min(left);
        let headers = headers(request, &signed.pairs, &trace);
        let endpoint = attempt.ticket.address().clone();
        let call = Call {
            endpoint: &endpoint,
            operation: request.operation,
            input: request.input,
            headers: &headers,
            query: &signed.pairs.query,
            timeout,
            limits: self.policy.limits,
        };
        let answered = tokio::time::timeout(timeout, self.speak.call(&self.signer.transport, &call)).await;
        let result = answered.unwrap_or_else(|_| {
            let message = format!("no whole answer within {} s", timeout.as_secs_f64());
            Err(CallError::new(ErrorKind::TimedOut, endpoint.to_string(), message))
        });
        attempt.verdict = self.verdict(result.as_ref().err(), timeout);
        drop(attempt);
        match result {
            Ok(answer) => Ok(Outcome { answer, attempts: way.sent, endpoint, trace }),
            Err(error) => {
                let secrets = request.headers.iter().chain(&signed.pairs.headers).chain(&signed.pairs.query);
                let secrets = secrets.map(|(_, value)| value).chain(self.signer.hidden());
                let again = may_repeat(&error, way.harmless);
                Err(Failure { error: scrub(error, secrets), again, signed: Some(signed) })
            }
        }
    }

    /// A time that whoever calls cut short says nothing about the service.
    fn verdict(&self, error: Option<&CallError>, given: Duration) -> Verdict {
        let usual = self.policy.timeout.min(self.policy.deadline);
        let timed_out = error.is_some_and(|error| error.kind == ErrorKind::TimedOut);
        if timed_out && given < usual / 2 { Verdict::Unknown } else { verdict(error) }
    }

    /// Waits for a place among those under way, and for one in the rate.
    async fn turn(&self, way: &Way) -> Result<SemaphorePermit<'_>, CallError> {
        if way.made > 1 {
            // Before it waits: nobody queues for what is refused anyway. The first attempt was asked when the call began.
            let admitted = self.decider().would_begin(self.origin.elapsed());
            admitted.map_err(|refusal| self.refused(refusal))?;
        }
        let left = way.deadline.saturating_duration_since(Instant::now());
        let queue_wait = self.policy.concurrency.queue_wait;
        let place = self.gate.enter(queue_wait.min(left)).await;
        let place = place.map_err(|full| self.full(full, way))?;
        if self.policy.rate.is_some() {
            let left = way.deadline.saturating_duration_since(Instant::now());
            let wait = self.decider().place(self.origin.elapsed(), queue_wait.min(left));
            let wait = wait.map_err(|refusal| self.refused(refusal))?;
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        Ok(place)
    }

    async fn sign(&self, way: &Way) -> Result<Signed, Unsigned> {
        if let Some(signed) = self.signer.ready() {
            return Ok(signed);
        }
        let signed = tokio::time::timeout_at(way.deadline, self.signer.sign()).await;
        signed.unwrap_or_else(|_| {
            let message = format!("no credentials within {} s", way.limit.as_secs_f64());
            Err(Unsigned { error: CallError::new(ErrorKind::NoCredentials, "", message), temporary: false })
        })
    }

    fn full(&self, full: Full, way: &Way) -> CallError {
        self.refusals.concurrency.fetch_add(1, Ordering::Relaxed);
        let rules = self.policy.concurrency;
        let wait = rules.queue_wait.min(way.limit).as_secs_f64();
        let message = match full {
            Full::Queue => {
                format!(
                    "{} calls are under way and {} wait, which is all that may",
                    rules.in_flight, rules.queue
                )
            }
            Full::Wait => format!("{} calls are under way, and none ended within {wait} s", rules.in_flight),
        };
        CallError::new(ErrorKind::Overloaded, "", message)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> CallError {
        let (count, message, wait) = match refusal {
            Refusal::Circuit(wait) => {
                let message = "the circuit is open: most calls of late failed".to_owned();
                (&self.refusals.circuit, message, Some(wait))
            }
            Refusal::Rate(wait) => {
                let rate = self.policy.rate.map_or(0.0, |rate| rate.per_second);
                (
                    &self.refusals.rate,
                    format!("more than the {rate} calls in a second that may be made"),
                    Some(wait),
                )
            }
            Refusal::NoEndpoint => {
                (&self.refusals.no_endpoint, "the service has no endpoint".to_owned(), None)
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        let error = CallError::new(ErrorKind::Overloaded, "", message);
        CallError { retry_after: wait.filter(|wait| !wait.is_zero()), ..error }
    }
}

/// The headers of the request but those that are ours to write, then ours.
fn headers(request: &Request<'_>, pairs: &Pairs, trace: &TraceContext) -> Vec<(String, Secret)> {
    let is_ours = |name: &str| {
        let ours = |own: &str| own.eq_ignore_ascii_case(name);
        // Cookies of both may stand side by side.
        OWN.into_iter().any(ours)
            || pairs.headers.iter().any(|(own, _)| ours(own) && !own.eq_ignore_ascii_case("cookie"))
    };
    let others = request.headers.iter().filter(|(name, _)| !is_ours(name));
    let mut headers = Vec::with_capacity(request.headers.len() + pairs.headers.len() + OWN.len());
    headers.extend(others.chain(&pairs.headers).cloned());
    headers.push(("traceparent".to_owned(), Secret::new(trace.traceparent())));
    if !trace.tracestate().is_empty() {
        headers.push(("tracestate".to_owned(), Secret::new(trace.tracestate())));
    }
    if let Some(key) = request.key {
        headers.push(("idempotency-key".to_owned(), Secret::new(key)));
    }
    headers
}
