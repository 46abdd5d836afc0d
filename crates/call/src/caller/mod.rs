//! A declared service that is called: its policy asked, its attempts made, its calls counted.

mod attempt;
mod gate;
mod measures;
mod scrub;
mod trace;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::call::{Answer, Call};
use crate::contract::Contract;
use crate::credentials::{Credentials, Signed, Signer};
use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Transport};
use crate::policy::{Decider, Policy};
use crate::secret::Secret;

pub use measures::{DURATION_BOUNDS, EndpointMeasures, Measures, OperationMeasures, Refused};
pub use trace::TraceContext;

use attempt::{Failure, Way};
use gate::Gate;
use measures::{Meter, Refusals};

/// Operations whose names are told when one is unknown.
const TOLD: usize = 10;

/// A client of one protocol: makes one attempt.
pub trait Speak: Send + Sync {
    /// What can be asked. Always the same.
    fn contract(&self) -> &Contract;

    /// One attempt.
    fn call<'a>(
        &'a self,
        transport: &'a Transport,
        call: &'a Call<'a>,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + 'a;
}

/// One call, as whoever calls knows it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Name of the operation.
    pub operation: &'a str,
    /// The input: one JSON value; a list of messages where the operation streams its inputs.
    pub input: &'a Value,
    /// Headers beside those that the contract knows.
    pub headers: &'a [(String, Secret)],
    /// Sent as `Idempotency-Key`, the same in each attempt, so that the service recognises a repeat: 1 to 255 visible
    /// ASCII characters. With it every temporary failure may be repeated.
    pub key: Option<&'a str>,
    /// The trace that the call belongs to; without, it begins one.
    pub trace: Option<&'a TraceContext>,
    /// Time for the whole call, where that is less than the policy's.
    pub timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    /// A call with nothing but its input.
    #[must_use]
    pub const fn new(operation: &'a str, input: &'a Value) -> Self {
        Self { operation, input, headers: &[], key: None, trace: None, timeout: None }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the service answered.
    pub answer: Answer,
    /// Attempts that were sent.
    pub attempts: u32,
    /// Who answered.
    pub endpoint: Arc<Address>,
    /// The trace, with the span of the attempt that was answered.
    pub trace: TraceContext,
}

/// Calls one declared service by its policy. Shared by all who call it.
///
/// # Guarantees
/// Each call ends within its deadline. No more attempts are under way than the policy says, and together no more retries
/// than its budget. No lock is held while something is awaited, and a call that is dropped leaves nothing behind.
#[derive(Debug)]
pub struct Caller<S> {
    service: String,
    speak: S,
    signer: Signer,
    policy: Policy,
    gate: Gate,
    decider: Mutex<Decider>,
    origin: Instant,
    operations: HashMap<String, Known>,
    unknown: AtomicU64,
    refusals: Refusals,
}

/// What is known of an operation.
#[derive(Debug)]
struct Known {
    repeatable: bool,
    meter: Meter,
}

impl<S: Speak> Caller<S> {
    /// A caller without endpoints. `seed` makes all that is left to chance.
    ///
    /// # Errors
    /// `BadInput` when the policy has values out of their ranges, `NoCredentials` when the credentials cannot be sent.
    pub fn new(
        service: &str,
        speak: S,
        transport: Transport,
        policy: Policy,
        credentials: Credentials,
        seed: u64,
    ) -> Result<Self, CallError> {
        let named = |error: CallError| error.of(service, "");
        policy.check().map_err(|message| named(CallError::new(ErrorKind::BadInput, "policy", message)))?;
        let signer = Signer::new(credentials, transport, seed ^ 0x5eed).map_err(named)?;
        let known = |repeatable| Known { repeatable, meter: Meter::default() };
        let operations = &speak.contract().operations;
        let operations = operations.iter().map(|it| (it.name.clone(), known(it.repeatable))).collect();
        Ok(Self {
            service: service.to_owned(),
            speak,
            signer,
            gate: Gate::new(policy.concurrency),
            decider: Mutex::new(Decider::new(&policy, seed)),
            policy,
            origin: Instant::now(),
            operations,
            unknown: AtomicU64::new(0),
            refusals: Refusals::default(),
        })
    }

    /// The client of the protocol.
    pub const fn speak(&self) -> &S {
        &self.speak
    }

    /// Takes a new list of endpoints; what is known of those that stay is kept, attempts under way are not touched.
    pub fn set_endpoints(&self, addresses: Vec<Address>) {
        self.decider().set_endpoints(addresses);
    }

    /// Makes a call, with as many attempts as the policy allows.
    ///
    /// # Errors
    /// Those of the last attempt that says something, told of service and operation.
    pub async fn call(&self, request: &Request<'_>) -> Result<Outcome, CallError> {
        let begun = Instant::now();
        let named = |error: CallError| error.of(&self.service, request.operation);
        let Some(known) = self.operations.get(request.operation) else {
            self.unknown.fetch_add(1, Ordering::Relaxed);
            return Err(named(self.no_such_operation(request.operation)));
        };
        let running = known.meter.begin();
        let result = self.attempts(request, known, begun).await;
        known.meter.result(result.as_ref().err().map(|error| error.kind), begun.elapsed());
        drop(running);
        result.map_err(named)
    }

    /// What was counted so far, and how things are.
    pub fn measures(&self) -> Measures {
        let (circuit, endpoints) = {
            let (decider, now) = (self.decider(), self.origin.elapsed());
            (decider.circuit(now), decider.endpoints(now))
        };
        let mut operations: Vec<_> =
            self.operations.iter().filter_map(|(name, known)| known.meter.read(name)).collect();
        operations.sort_by(|a, b| a.operation.cmp(&b.operation));
        let endpoints = endpoints.into_iter().map(|seen| EndpointMeasures {
            address: seen.address.to_string(),
            in_flight: seen.in_flight,
            ejected: seen.ejected,
        });
        Measures {
            operations,
            unknown_operations: self.unknown.load(Ordering::Relaxed),
            refused: self.refusals.read(),
            in_flight: self.gate.in_flight(),
            waiting: self.gate.waiting(),
            circuit,
            endpoints: endpoints.collect(),
        }
    }

    async fn attempts(
        &self,
        request: &Request<'_>,
        known: &Known,
        begun: Instant,
    ) -> Result<Outcome, CallError> {
        check_key(request.key)?;
        let limit = request.timeout.map_or(self.policy.deadline, |own| own.min(self.policy.deadline));
        let mut way = self.begin(request, known, begun, limit)?;
        let mut last = None;
        loop {
            let failure = match self.attempt(request, known, &mut way).await {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => failure,
            };
            if self.has_other_credentials(&failure, &mut way) {
                continue;
            }
            let wait = if failure.again { self.wait(&failure, &way) } else { None };
            // An attempt that was not even sent says less than the one before.
            let telling =
                if failure.signed.is_some() { failure.error } else { last.unwrap_or(failure.error) };
            let Some(wait) = wait else { return Err(telling) };
            last = Some(telling);
            tokio::time::sleep(wait).await;
        }
    }

    /// How long until the next attempt; `None` when the policy allows none.
    fn wait(&self, failure: &Failure, way: &Way) -> Option<Duration> {
        let left = way.deadline.saturating_duration_since(Instant::now());
        self.decider().retry(self.origin.elapsed(), way.made, failure.error.retry_after, left)
    }

    /// The policy's word on a call that begins.
    fn begin(
        &self,
        request: &Request<'_>,
        known: &Known,
        begun: Instant,
        limit: Duration,
    ) -> Result<Way, CallError> {
        let mut decider = self.decider();
        let trace = match request.trace {
            Some(trace) => trace.clone(),
            None => {
                let (high, low) = (decider.id(), decider.id());
                TraceContext::start(u128::from(high) << 64 | u128::from(low), decider.id())
            }
        };
        let admitted = decider.call(self.origin.elapsed());
        drop(decider);
        admitted.map_err(|refusal| self.refused(refusal))?;
        let harmless = known.repeatable || request.key.is_some();
        let deadline = begun + limit;
        Ok(Way { deadline, limit, trace, harmless, made: 0, sent: 0, avoid: None, renewed: false })
    }

    /// Whether a service that did not take the credentials can be shown others; once for each call.
    fn has_other_credentials(&self, failure: &Failure, way: &mut Way) -> bool {
        let status = failure.error.fault.as_ref().map(|fault| fault.status);
        let rejected = |signed: &Signed| self.signer.rejected(signed);
        let renew = status == Some(401) && !way.renewed && failure.signed.as_ref().is_some_and(rejected);
        way.renewed |= renew;
        renew
    }

    fn decider(&self) -> MutexGuard<'_, Decider> {
        self.decider.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_such_operation(&self, name: &str) -> CallError {
        let mut names: Vec<&str> = self.operations.keys().map(String::as_str).collect();
        names.sort_unstable();
        let more = if names.len() > TOLD { ", …" } else { "" };
        names.truncate(TOLD);
        let name: String = name.chars().take(80).collect();
        let message = format!("there is no operation `{name}`; there are {}{more}", names.join(", "));
        CallError::new(ErrorKind::BadInput, "", message)
    }
}

fn check_key(key: Option<&str>) -> Result<(), CallError> {
    match key {
        Some(key) if !(1..=255).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            let message = "expected 1 to 255 visible ASCII characters as idempotency key";
            Err(CallError::new(ErrorKind::BadInput, "header idempotency-key", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
