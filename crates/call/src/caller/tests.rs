//! Calls on a paused clock, of a service that is played.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::contract::{Operation, Protocol, Streaming};
use crate::error::Fault;
use crate::http::Settings;
use crate::policy::{Circuit, CircuitState, Concurrency, Outliers, Rate, Retries};
use crate::secret::Login;

type Play = Box<dyn Fn(usize, &Call<'_>) -> (Duration, Result<(), CallError>) + Send + Sync>;

/// A service that is played: for its nth attempt, what it does after which time.
struct Played {
    contract: Contract,
    play: Play,
    under_way: AtomicUsize,
    peak: AtomicUsize,
    seen: Mutex<Vec<Vec<(String, Secret)>>>,
}

/// Time of the paused clock goes by.
async fn passes(time: Duration) {
    let nothing = std::future::pending::<()>();
    assert!(tokio::time::timeout(time, nothing).await.is_err());
}

struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Speak for Played {
    fn contract(&self) -> &Contract {
        &self.contract
    }

    async fn call<'a>(&'a self, _: &'a Transport, call: &'a Call<'a>) -> Result<Answer, CallError> {
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(call.headers.iter().chain(call.query).cloned().collect());
            seen.len()
        };
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        let _leaves = Leaves(&self.under_way);
        let (time, result) = (self.play)(number, call);
        passes(time).await;
        result.map(|()| Answer { output: json!(number), status: "200".to_owned(), headers: vec![] })
    }
}

fn operation(name: &str, repeatable: bool) -> Operation {
    Operation {
        name: name.to_owned(),
        path: String::new(),
        summary: String::new(),
        input: Value::Null,
        output: Value::Null,
        streaming: Streaming::None,
        repeatable,
        deprecated: false,
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(port: u16) -> Address {
    Address::parse(&format!("http://meter:{port}")).unwrap()
}

fn caller_as(
    policy: Policy,
    credentials: Credentials,
    play: impl Fn(usize, &Call<'_>) -> (Duration, Result<(), CallError>) + Send + Sync + 'static,
) -> Caller<Played> {
    let operations = vec![operation("get", true), operation("order", false)];
    let contract =
        Contract { protocol: Protocol::Rest, title: String::new(), version: String::new(), operations };
    let (under_way, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let played = Played { contract, play: Box::new(play), under_way, peak, seen: Mutex::default() };
    let transport = Transport::new(&Settings::default()).unwrap();
    let caller = Caller::new("market", played, transport, policy, credentials, 7).unwrap();
    caller.set_endpoints(vec![address(1)]);
    caller
}

fn caller(
    policy: Policy,
    play: impl Fn(usize, &Call<'_>) -> (Duration, Result<(), CallError>) + Send + Sync + 'static,
) -> Caller<Played> {
    caller_as(policy, Credentials::None, play)
}

/// Without limits but those that a test sets.
fn plain() -> Policy {
    let retries = Retries { budget_minimum: 100.0, ..Retries::default() };
    Policy { circuit: None, outliers: None, retries, ..Policy::default() }
}

fn error(kind: ErrorKind) -> CallError {
    CallError::new(kind, "", "played")
}

fn fault(status: u16) -> CallError {
    let temporary = status >= 500 || status == 429;
    let (code, detail) = (status.to_string(), Value::Null);
    error(ErrorKind::Fault).with_fault(Fault { code, status, temporary, detail })
}

fn header(caller: &Caller<Played>, attempt: usize, name: &str) -> String {
    let seen = caller.speak().seen.lock().unwrap();
    let found = seen[attempt].iter().find(|(known, _)| known == name);
    found.map_or(String::new(), |(_, value)| value.expose().to_owned())
}

async fn get(caller: &Caller<Played>) -> Result<Outcome, CallError> {
    caller.call(&Request::new("get", &Value::Null)).await
}

async fn order(caller: &Caller<Played>, key: Option<&str>) -> Result<Outcome, CallError> {
    caller.call(&Request { key, ..Request::new("order", &Value::Null) }).await
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_with_the_same_key_and_trace_and_a_span_of_its_own() {
    let broken = |number, _: &Call<'_>| {
        (Duration::ZERO, if number < 3 { Err(error(ErrorKind::Broken)) } else { Ok(()) })
    };
    let caller = caller(plain(), broken);
    let outcome = order(&caller, Some("order-17")).await.unwrap();
    assert_eq!((outcome.attempts, outcome.answer.output), (3, json!(3)));
    assert_eq!(outcome.endpoint.to_string(), "http://meter:1");
    let parents: Vec<_> = (0..3).map(|at| header(&caller, at, "traceparent")).collect();
    assert_eq!(parents[2], outcome.trace.to_string());
    assert!(parents.iter().all(|parent| parent[..36] == parents[0][..36]), "{parents:?}");
    assert!(parents[0] != parents[1] && parents[1] != parents[2], "{parents:?}");
    assert!((0..3).all(|at| header(&caller, at, "idempotency-key") == "order-17"));

    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", &["a=1"]).unwrap();
    let headers = [("TraceParent".to_owned(), Secret::new("mine")), ("x-a".to_owned(), Secret::new("1"))];
    let request = Request { trace: Some(&trace), headers: &headers, ..Request::new("get", &Value::Null) };
    caller.call(&request).await.unwrap();
    assert!(header(&caller, 3, "traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(header(&caller, 3, "traceparent").ends_with("-00"));
    assert_eq!((header(&caller, 3, "tracestate"), header(&caller, 3, "x-a")), ("a=1".into(), "1".into()));
    assert_eq!(header(&caller, 3, "TraceParent"), "", "ours is the only one");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_taken_effect_is_repeated_only_where_that_does_no_harm() {
    for (failure, unsafe_attempts, safe_attempts) in [
        (error(ErrorKind::Unreachable), 3, 3),
        (error(ErrorKind::Broken), 1, 3),
        (fault(429), 3, 3),
        (fault(502), 1, 3),
        (fault(404), 1, 1),
        (error(ErrorKind::BadAnswer), 1, 1),
    ] {
        let told = failure.clone();
        let caller = caller(plain(), move |_, _| (Duration::ZERO, Err(failure.clone())));
        let seen = || caller.speak().seen.lock().unwrap().len();
        let error = order(&caller, None).await.unwrap_err();
        assert_eq!((error.kind, seen()), (told.kind, unsafe_attempts), "{told:?}");
        assert!(error.to_string().starts_with("market order · "), "{error}");
        get(&caller).await.unwrap_err();
        order(&caller, Some("k")).await.unwrap_err();
        assert_eq!(seen(), unsafe_attempts + 2 * safe_attempts, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_to_be_left_alone_is() {
    let busy = |number, _: &Call<'_>| {
        let asked = CallError { retry_after: Some(secs(3)), ..fault(503) };
        (Duration::ZERO, if number == 1 { Err(asked) } else { Ok(()) })
    };
    let caller = caller(plain(), busy);
    let begun = Instant::now();
    assert_eq!(order(&caller, None).await.unwrap().attempts, 2);
    assert!(begun.elapsed() >= secs(3) && begun.elapsed() < secs(4), "{:?}", begun.elapsed());
    let forever =
        |_, _: &Call<'_>| (Duration::ZERO, Err(CallError { retry_after: Some(secs(60)), ..fault(503) }));
    let caller = self::caller(plain(), forever);
    let begun = Instant::now();
    assert_eq!(order(&caller, None).await.unwrap_err().retry_after, Some(secs(60)));
    assert_eq!(begun.elapsed(), Duration::ZERO, "it would be over before");
}

#[tokio::test(start_paused = true)]
async fn attempts_and_calls_end_in_their_time() {
    let hangs = |_, _: &Call<'_>| (secs(1000), Ok(()));
    let caller = caller(Policy { deadline: secs(25), ..plain() }, hangs);
    let begun = Instant::now();
    let error = get(&caller).await.unwrap_err();
    assert_eq!((error.kind, begun.elapsed().as_secs()), (ErrorKind::TimedOut, 25), "{error}");
    assert_eq!(caller.speak().seen.lock().unwrap().len(), 3);
    let begun = Instant::now();
    let request = Request { timeout: Some(secs(2)), ..Request::new("order", &Value::Null) };
    let error = caller.call(&request).await.unwrap_err();
    assert_eq!(begun.elapsed(), secs(2));
    assert_eq!(
        (error.message.as_str(), error.place.as_str()),
        ("no whole answer within 2 s", "http://meter:1")
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_allowed_and_the_queue_is_bounded() {
    let concurrency = Concurrency { in_flight: 2, queue: 1, queue_wait: secs(3) };
    let caller = caller(Policy { concurrency, ..plain() }, |_, _| (secs(1), Ok(())));
    let results = join_all((0..5).map(|_| get(&caller))).await;
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|error| error.kind == ErrorKind::Overloaded));
    assert!(refused[0].message.contains("2 calls are under way and 1 wait"), "{}", refused[0]);
    let measures = caller.measures();
    assert_eq!((measures.refused.concurrency, measures.in_flight, measures.waiting), (2, 0, 0));
    assert_eq!(caller.speak().peak.load(Ordering::SeqCst), 2);

    let slow = self::caller(Policy { concurrency, ..plain() }, |_, _| (secs(9), Ok(())));
    let results = join_all((0..3).map(|_| get(&slow))).await;
    assert_eq!(results[2].as_ref().unwrap_err().message, "2 calls are under way, and none ended within 3 s");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn never_more_in_flight_than_allowed(
        in_flight in 1_usize..5,
        calls in prop::collection::vec((0_u64..2000, 1_u64..900, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let concurrency = Concurrency { in_flight, queue: 1000, queue_wait: secs(100) };
            let times: Vec<_> = calls.iter().map(|(_, time, fails, _)| (*time, *fails)).collect();
            let caller = caller(Policy { concurrency, ..plain() }, move |number, _| {
                let (time, fails) = times[number % times.len()];
                let result = if fails { Err(error(ErrorKind::Unreachable)) } else { Ok(()) };
                (Duration::from_millis(time), result)
            });
            join_all(calls.iter().map(|(begin, time, _, dropped)| {
                let caller = &caller;
                async move {
                    passes(Duration::from_millis(*begin)).await;
                    // Some do not wait for what comes of it.
                    let patience = Duration::from_millis(if *dropped { time / 2 } else { 1_000_000 });
                    let _ = tokio::time::timeout(patience, get(caller)).await;
                }
            }))
            .await;
            assert!(caller.speak().peak.load(Ordering::SeqCst) <= in_flight);
            let measures = caller.measures();
            assert_eq!((measures.in_flight, measures.waiting), (0, 0));
            assert_eq!(measures.endpoints[0].in_flight, 0);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_place_in_the_rate_or_are_refused() {
    let rate = Some(Rate { per_second: 10.0, burst: 2 });
    let concurrency = Concurrency { queue_wait: Duration::from_millis(300), ..Concurrency::default() };
    let caller = caller(Policy { rate, concurrency, ..plain() }, |_, _| (Duration::ZERO, Ok(())));
    let begun = Instant::now();
    let results = join_all((0..6).map(|_| get(&caller))).await;
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!((refused.len(), begun.elapsed().as_millis() / 10), (1, 30));
    assert_eq!(refused[0].kind, ErrorKind::Overloaded);
    assert!(refused[0].retry_after.is_some() && refused[0].message.contains("10 calls in a second"));
    assert_eq!(caller.measures().refused.rate, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_left_alone_until_probes_succeed() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let policy = Policy { circuit: Some(Circuit { probes: 1, ..Circuit::default() }), ..plain() };
    let caller = caller(policy, move |_, _| {
        let result = if is_down.load(Ordering::SeqCst) { Err(fault(500)) } else { Ok(()) };
        (Duration::from_millis(20), result)
    });
    for _ in 0..20 {
        let _failed = order(&caller, None).await;
    }
    assert_eq!(caller.measures().circuit, Some(CircuitState::Open));
    let sent = caller.speak().seen.lock().unwrap().len();
    let error = order(&caller, None).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after.is_some()), (ErrorKind::Overloaded, true));
    assert!(error.message.contains("the circuit is open"), "{error}");
    assert_eq!((caller.speak().seen.lock().unwrap().len(), caller.measures().refused.circuit), (sent, 1));
    tokio::time::advance(secs(10)).await;
    // A probe that nobody waits for makes room for another.
    assert!(tokio::time::timeout(Duration::from_millis(5), order(&caller, None)).await.is_err());
    down.store(false, Ordering::SeqCst);
    order(&caller, None).await.unwrap();
    assert_eq!(caller.measures().circuit, Some(CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_is_left_out_and_retries_go_elsewhere() {
    let policy = Policy { outliers: Some(Outliers::default()), ..plain() };
    let caller = caller(policy, |_, call| {
        let fails = call.endpoint.to_string().ends_with(":2");
        (Duration::from_millis(1), if fails { Err(error(ErrorKind::Unreachable)) } else { Ok(()) })
    });
    caller.set_endpoints(vec![address(1), address(2), address(3)]);
    for _ in 0..60 {
        let outcome = get(&caller).await.unwrap();
        assert!(outcome.attempts <= 2 && !outcome.endpoint.to_string().ends_with(":2"));
    }
    let measures = caller.measures();
    assert_eq!(measures.endpoints.iter().map(|it| it.ejected).collect::<Vec<_>>(), [false, true, false]);
    let counted = &measures.operations[0];
    assert_eq!((counted.operation.as_str(), counted.attempts, counted.retries), ("get", 65, 5));
    assert_eq!((counted.calls.as_slice(), counted.duration_buckets.last()), (&[("ok", 60)][..], Some(&60)));
    caller.set_endpoints(vec![]);
    let error = get(&caller).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "the service has no endpoint"));
}

#[tokio::test(start_paused = true)]
async fn times_that_are_cut_short_by_whoever_calls_blame_nobody() {
    let policy = Policy { circuit: Some(Circuit::default()), ..plain() };
    let caller = caller(policy, |_, _| (secs(1), Ok(())));
    for _ in 0..40 {
        let timeout = Some(Duration::from_millis(5));
        caller.call(&Request { timeout, ..Request::new("order", &Value::Null) }).await.unwrap_err();
    }
    assert_eq!(caller.measures().circuit, Some(CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn credentials_go_along_and_come_back_in_no_error() {
    let password = Secret::new("open sesame");
    let credentials = Credentials::Basic(Login { user: "Aladdin".into(), password });
    let caller = caller_as(plain(), credentials, |_, call| {
        let sent = call.headers.iter().map(|(_, value)| value.expose()).collect::<Vec<_>>().join(" ");
        let told = CallError { message: format!("{sent} open sesame"), ..fault(403) };
        (Duration::ZERO, Err(told))
    });
    let headers = [("Authorization".to_owned(), Secret::new("other-one"))];
    let request = Request { headers: &headers, ..Request::new("get", &Value::Null) };
    let error = caller.call(&request).await.unwrap_err();
    assert!(
        !error.message.contains("QWxhZGRpbjpvcGVuIHNlc2FtZQ") && !error.message.contains("sesame"),
        "{error}"
    );
    assert_eq!(header(&caller, 0, "authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(header(&caller, 0, "Authorization"), "", "the declared ones are the only ones");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_called_is_told_before_anything_is_sent() {
    let caller = caller(plain(), |_, _| (Duration::ZERO, Ok(())));
    let error = caller.call(&Request::new("gett", &Value::Null)).await.unwrap_err();
    assert_eq!(error.to_string(), "market gett · there is no operation `gett`; there are get, order");
    let long = "k".repeat(256);
    for key in ["", "a b", "a\n", "\u{e4}", &long] {
        let error = order(&caller, Some(key)).await.unwrap_err();
        assert_eq!((error.kind, error.place.as_str()), (ErrorKind::BadInput, "header idempotency-key"));
    }
    assert!(caller.speak().seen.lock().unwrap().is_empty());
    assert_eq!(caller.measures().unknown_operations, 1);
    let transport = Transport::new(&Settings::default()).unwrap();
    let wrong = Policy { timeout: Duration::ZERO, ..Policy::default() };
    let contract = caller.speak().contract.clone();
    let played = || Played {
        contract: contract.clone(),
        play: Box::new(|_, _| (Duration::ZERO, Ok(()))),
        under_way: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
        seen: Mutex::default(),
    };
    let refused =
        Caller::new("market", played(), transport.clone(), wrong, Credentials::None, 1).err().unwrap();
    assert_eq!((refused.kind, refused.place.as_str()), (ErrorKind::BadInput, "policy"));
    let token = Credentials::Bearer(Secret::new("SECRET\n"));
    let refused = Caller::new("market", played(), transport, Policy::default(), token, 1).err().unwrap();
    assert_eq!((refused.kind, refused.service.as_str()), (ErrorKind::NoCredentials, "market"));
}
