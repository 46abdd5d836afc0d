//! Credentials that servers of others check: tokens of OAuth 2.0, digests.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use sos_call::{
    Address, Answer, Call, CallError, Caller, ClientAuth, Contract, Credentials, Egress, ErrorKind, Login,
    Operation, Outcome, Protocol, Request, Secret, Settings, Speak, Streaming, TokenRequest, Transport,
    Version, fetch,
};

use crate::support::{Server, closed_port, digest_server, token_server};

/// Gets what is at the path that an operation is named after.
#[derive(Debug)]
struct Getter(Contract);

impl Speak for Getter {
    fn contract(&self) -> &Contract {
        &self.0
    }

    async fn call<'a>(&'a self, transport: &'a Transport, call: &'a Call<'a>) -> Result<Answer, CallError> {
        let address = Address::parse(&format!("{}/{}", call.endpoint, call.operation)).unwrap();
        let fetched = fetch(transport, &address, call.headers, call.limits.bytes, call.timeout).await?;
        let output = serde_json::from_slice(&fetched.bytes).unwrap();
        Ok(Answer { output, status: "200".to_owned(), headers: vec![] })
    }
}

fn caller(server: &Server, settings: &Settings, path: &str, credentials: Credentials) -> Caller<Getter> {
    let operation = Operation {
        name: path.to_owned(),
        path: String::new(),
        summary: String::new(),
        input: Value::Null,
        output: Value::Null,
        streaming: Streaming::None,
        repeatable: true,
        deprecated: false,
    };
    let (title, version) = (String::new(), String::new());
    let contract = Contract { protocol: Protocol::Rest, title, version, operations: vec![operation] };
    let transport = Transport::new(settings).unwrap();
    let policy = sos_call::policy::Policy::default();
    let caller = Caller::new("meter", Getter(contract), transport, policy, credentials, 1).unwrap();
    caller.set_endpoints(vec![server.address("/")]);
    caller
}

async fn get(caller: &Caller<Getter>) -> Result<Outcome, CallError> {
    let operation = caller.speak().0.operations[0].name.clone();
    caller.call(&Request::new(&operation, &Value::Null)).await
}

fn client(server: &Server, auth: fn(Secret) -> ClientAuth, secret: &str, scopes: &[&str]) -> Credentials {
    Credentials::OAuth(Box::new(TokenRequest {
        client_id: "meter reader".to_owned(),
        client_auth: auth(Secret::new(secret)),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        audiences: vec!["meters".to_owned()],
        ..TokenRequest::new(server.address("/token"))
    }))
}

fn asked(server: &Server, path: &str) -> usize {
    server.log().iter().filter(|request| request["path"] == path).count()
}

#[tokio::test]
async fn many_callers_share_one_token_and_a_revoked_one_is_replaced_once() {
    let Some(server) = token_server(&[]) else { return };
    for auth in [ClientAuth::Basic as fn(Secret) -> ClientAuth, ClientAuth::Body] {
        let tokens = asked(&server, "/token");
        let credentials = client(&server, auth, "open:sesame&1", &["read", "write"]);
        let caller = caller(&server, &Settings::default(), "data", credentials);
        for result in join_all((0..20).map(|_| get(&caller))).await {
            assert_eq!(result.unwrap().attempts, 1);
        }
        assert_eq!(asked(&server, "/token") - tokens, 1);
        let transport = Transport::new(&Settings::default()).unwrap();
        fetch(&transport, &server.address("/revoke"), &[], 100, Duration::from_secs(30)).await.unwrap();
        assert_eq!(get(&caller).await.unwrap().attempts, 2);
        assert_eq!(asked(&server, "/token") - tokens, 2);
    }
    let log = server.log();
    let first = log.iter().find(|request| request["path"] == "/token").unwrap();
    assert_eq!(first["body"], "grant_type=client_credentials&scope=read+write&audience=meters");
    assert_eq!(first["headers"]["Authorization"], "Basic bWV0ZXIrcmVhZGVyOm9wZW4lM0FzZXNhbWUlMjYx");
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let Some(server) = token_server(&["--life", "0"]) else { return };
    let credentials = client(&server, ClientAuth::Basic, "open:sesame&1", &[]);
    let caller = caller(&server, &Settings::default(), "data", credentials);
    for _ in 0..3 {
        assert_eq!(get(&caller).await.unwrap().attempts, 1);
    }
    assert_eq!(asked(&server, "/token"), 3);
}

#[tokio::test]
async fn a_client_that_gets_no_token_is_told_why_and_sends_nothing() {
    let Some(server) = token_server(&[]) else { return };
    for (secret, scope, expected) in
        [("SECRETWORD", "read", "invalid_client"), ("open:sesame&1", "all", "invalid_scope")]
    {
        let credentials = client(&server, ClientAuth::Body, secret, &[scope]);
        assert!(!format!("{credentials:?}").contains(secret));
        let caller = caller(&server, &Settings::default(), "data", credentials);
        let tokens = asked(&server, "/token");
        let error = get(&caller).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoCredentials);
        assert!(
            error.message.contains(expected) && error.message.contains("token server http://"),
            "{error}"
        );
        assert!(!format!("{error}{error:?}{caller:?}").contains(secret), "{error}");
        assert_eq!(asked(&server, "/token") - tokens, 1, "a refusal is not asked again");
    }
    for answer in ["200:no json", "200:{}", "200:{\"access_token\":\"a\\nb\"}", "302:", "400:SECRETWORD"] {
        let broken = token_server(&["--answer", answer]).unwrap();
        let credentials = client(&broken, ClientAuth::Basic, "SECRETWORD", &[]);
        let error = get(&caller(&server, &Settings::default(), "data", credentials)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoCredentials, "{answer}: {error}");
        assert!(!error.to_string().contains("SECRETWORD"), "{error}");
    }
    assert_eq!(asked(&server, "/data"), 0);
}

#[tokio::test]
async fn a_token_server_that_fails_is_asked_again_and_one_that_is_not_allowed_never() {
    let Some(server) = token_server(&["--answer", "503:{}"]) else { return };
    let credentials = || client(&server, ClientAuth::Basic, "open:sesame&1", &[]);
    let caller = |settings: &Settings, credentials| caller(&server, settings, "data", credentials);
    let error = get(&caller(&Settings::default(), credentials())).await.unwrap_err();
    assert_eq!((error.kind, error.fault.unwrap().status), (ErrorKind::NoCredentials, 503));
    assert_eq!(asked(&server, "/token"), 3);
    let nobody = Address::parse(&format!("http://127.0.0.1:{}/token", closed_port())).unwrap();
    let mut lost = TokenRequest {
        client_id: "a".to_owned(),
        client_auth: ClientAuth::Basic(Secret::new("SECRETWORD")),
        ..TokenRequest::new(nobody)
    };
    let error =
        get(&caller(&Settings::default(), Credentials::OAuth(Box::new(lost.clone())))).await.unwrap_err();
    assert!(error.kind == ErrorKind::NoCredentials && error.message.contains("refused"), "{error}");
    lost.token_address = Address::parse("http://169.254.169.254/token").unwrap();
    let error = get(&caller(&Settings::default(), Credentials::OAuth(Box::new(lost)))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotAllowed, "{error}");
    let egress = Egress::listed().allow("other.example").unwrap();
    let error = get(&caller(&Settings { egress, ..Settings::default() }, credentials())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotAllowed, "{error}");
}

#[tokio::test]
async fn a_grpc_like_transport_asks_for_tokens_over_what_the_server_speaks() {
    let Some(server) = token_server(&[]) else { return };
    let credentials = client(&server, ClientAuth::Basic, "open:sesame&1", &[]);
    let caller =
        caller(&server, &Settings { version: Version::Http2, ..Settings::default() }, "data", credentials);
    get(&caller).await.unwrap_err();
    assert_eq!(asked(&server, "/token"), 1);
}

#[tokio::test]
async fn digests_are_answered_in_each_form_that_the_server_asks_for() {
    let Some(server) = digest_server() else { return };
    let login =
        |password: &str| Credentials::Digest(Login { user: "ops".into(), password: Secret::new(password) });
    for algorithm in ["MD5", "SHA-256"] {
        let path = format!("digest-auth/auth/ops/hunter2/{algorithm}");
        // Its challenges name the cookies of the first answer, which it only checks where they come along.
        let caller = caller(&server, &Settings::default(), &path, login("hunter2"));
        let outcome = get(&caller).await.unwrap();
        assert_eq!((outcome.attempts, outcome.answer.output["authenticated"].as_bool()), (2, Some(true)));
        assert_eq!(get(&caller).await.unwrap().attempts, 1, "the challenge is known");
        let caller = self::caller(&server, &Settings::default(), &path, login("SECRETWORD"));
        let error = get(&caller).await.unwrap_err();
        assert_eq!(error.fault.as_ref().unwrap().status, 401);
        assert!(!format!("{error:?}{caller:?}").contains("SECRETWORD"));
    }
}
