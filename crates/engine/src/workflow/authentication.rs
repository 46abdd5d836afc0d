//! Who calls, as documents say it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sos_call::{
    Address, ClientAuth, Credentials, Grant, Key, Login, PassedToken, Secret, Signing, TokenRequest,
};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;
use tokio::time::Instant;

use super::executor::{Executor, wrong};
use crate::clock::wall_now;

/// How long it is known what an OpenID provider says of itself.
const KNOWN: Duration = Duration::from_hours(1);
/// So many providers are known; beyond that all are asked again.
const MOST_PROVIDERS: usize = 256;
/// The grant that exchanges a token for another.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The credentials that an `authentication` stands for; none where there is none.
///
/// # Errors
/// When it says what cannot be done.
pub(super) fn credentials(authentication: Option<&Value>) -> Result<Credentials, Fault> {
    let Some(declared) = authentication.filter(|value| !value.is_null()) else {
        return Ok(Credentials::None);
    };
    let of = |scheme: &str| declared.get(scheme).filter(|value| !value.is_null());
    if let Some(basic) = of("basic") {
        return Ok(Credentials::Basic(login(basic, "basic")?));
    }
    if let Some(digest) = of("digest") {
        return Ok(Credentials::Digest(login(digest, "digest")?));
    }
    if let Some(bearer) = of("bearer") {
        return Ok(Credentials::Bearer(Secret::new(part(bearer, "token", "bearer authentication")?)));
    }
    if let Some(oauth) = of("oauth2") {
        return Ok(Credentials::OAuth(Box::new(token_request(oauth)?)));
    }
    if let Some(name) = declared.get("use").and_then(Value::as_str).or_else(|| declared.as_str()) {
        return Err(wrong(format!("the authentication `{name}` is not declared in `use.authentications`")));
    }
    Err(wrong("expected basic, bearer, digest, oauth2 or oidc as authentication"))
}

/// What an OpenID provider says of itself takes the place of `oidc`: where it gives tokens.
///
/// # Errors
/// When it cannot be asked, or does not say, or is another one than it was taken for.
pub(super) async fn discovered(
    executor: &Executor,
    authentication: Option<&Value>,
) -> Result<Option<Value>, Fault> {
    let Some(declared) = authentication else { return Ok(None) };
    let Some(oidc) = declared.get("oidc").filter(|value| value.is_object()) else {
        return Ok(Some(declared.clone()));
    };
    let authority = part(oidc, "authority", "oidc authentication")?;
    let token = provider(executor, authority.trim_end_matches('/')).await?;
    let mut oauth = oidc.clone();
    oauth["tokenAddress"] = Value::from(token);
    Ok(Some(serde_json::json!({ "oauth2": oauth })))
}

/// Where a provider gives tokens (OpenID Connect Discovery, section 4).
async fn provider(executor: &Executor, authority: &str) -> Result<String, Fault> {
    let known = || executor.providers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((asked, token)) = known().get(authority)
        && asked.elapsed() < KNOWN
    {
        return Ok(token.clone());
    }
    let address = format!("{authority}/.well-known/openid-configuration");
    let said = super::resources::json(executor, &address).await?;
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    if let Some(issuer) = text("issuer").filter(|issuer| issuer.trim_end_matches('/') != authority) {
        let detail = format!("{address} is of the issuer {issuer}, expected {authority}");
        return Err(Fault::of(ErrorType::Authentication, "Another issuer", detail));
    }
    let token = text("token_endpoint");
    let token = token.ok_or_else(|| wrong(format!("{address} does not say its `token_endpoint`")))?;
    let mut known = known();
    if known.len() >= MOST_PROVIDERS {
        known.clear();
    }
    known.insert(authority.to_owned(), (Instant::now(), token.to_owned()));
    Ok(token.to_owned())
}

fn part(of: &Value, name: &str, whose: &str) -> Result<String, Fault> {
    let text = of.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| wrong(format!("expected text as `{name}` of {whose}")))
}

fn login(of: &Value, scheme: &str) -> Result<Login, Fault> {
    let whose = format!("{scheme} authentication");
    Ok(Login { user: part(of, "username", &whose)?, password: Secret::new(part(of, "password", &whose)?) })
}

fn token_request(of: &Value) -> Result<TokenRequest, Fault> {
    let grant = grant(of)?;
    let address = match of.get("tokenAddress").and_then(Value::as_str) {
        Some(known) => known.to_owned(),
        None => {
            let authority = part(of, "authority", "oauth2 authentication")?;
            let path = of.pointer("/endpoints/token").and_then(Value::as_str).unwrap_or("/oauth2/token");
            format!("{}/{}", authority.trim_end_matches('/'), path.trim_start_matches('/'))
        }
    };
    let client = of.get("client").filter(|client| !client.is_null());
    let texts = |name: &str| -> Vec<String> {
        let items = of.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (client_id, client_auth) = match client {
        Some(client) => (optional(client, "id").unwrap_or_default(), client_auth(client)?),
        None if grant == Grant::ClientCredentials => {
            return Err(wrong("expected `client` of oauth2 authentication: which client asks for the token"));
        }
        None => (String::new(), ClientAuth::None),
    };
    Ok(TokenRequest {
        token_address: Address::parse(&address).map_err(wrong)?,
        grant,
        client_id,
        client_auth,
        scopes: texts("scopes"),
        audiences: texts("audiences"),
        issuers: texts("issuers"),
        as_json: of.pointer("/request/encoding").and_then(Value::as_str) == Some("application/json"),
    })
}

fn optional(of: &Value, name: &str) -> Option<String> {
    of.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn grant(of: &Value) -> Result<Grant, Fault> {
    match of.get("grant").and_then(Value::as_str).unwrap_or("client_credentials") {
        "client_credentials" => Ok(Grant::ClientCredentials),
        "password" => {
            let whose = "the grant `password`";
            let (user, password) = (part(of, "username", whose)?, part(of, "password", whose)?);
            Ok(Grant::Password(Login { user, password: Secret::new(password) }))
        }
        // The DSL has no property for it: it is the token on whose behalf another one is asked for.
        "refresh_token" => {
            let whose = "`subject` of the grant `refresh_token`: the refresh token";
            let subject = of.get("subject").unwrap_or(&Value::Null);
            Ok(Grant::RefreshToken(Secret::new(part(subject, "token", whose)?)))
        }
        EXCHANGE => {
            let subject = of.get("subject").unwrap_or(&Value::Null);
            let actor = of.get("actor").filter(|actor| !actor.is_null());
            Ok(Grant::Exchange {
                subject: passed(subject, "subject")?,
                actor: actor.map(|actor| passed(actor, "actor")).transpose()?,
            })
        }
        "authorization_code" => {
            let detail = format!(
                "the grant `authorization_code` needs a person with a browser, which a workflow has not; expected client_credentials, refresh_token (with the \
                 refresh token that a person was given once, as `subject.token`), password or {EXCHANGE}"
            );
            Err(Fault::of(ErrorType::Authentication, "A person is needed", detail))
        }
        other => Err(wrong(format!(
            "the grant `{other}` is not known; expected client_credentials, password, refresh_token or {EXCHANGE}"
        ))),
    }
}

fn passed(of: &Value, name: &str) -> Result<PassedToken, Fault> {
    let whose = format!("`{name}` of an exchange of tokens");
    Ok(PassedToken { token: Secret::new(part(of, "token", &whose)?), kind: part(of, "type", &whose)? })
}

/// How a client shows itself: without a word by its secret in the request, as the DSL has it.
fn client_auth(client: &Value) -> Result<ClientAuth, Fault> {
    let whose = "`client` of oauth2 authentication";
    let id = || part(client, "id", whose).map(drop);
    let secret = || part(client, "secret", whose).map(Secret::new);
    let signed = |key: Key| ClientAuth::Signed(Signing { key, clock: Arc::new(wall_now) });
    let assertion = optional(client, "assertion");
    match client.get("authentication").and_then(Value::as_str).unwrap_or("client_secret_post") {
        "none" => id().map(|()| ClientAuth::None),
        "client_secret_post" => id().and_then(|()| secret()).map(ClientAuth::Body),
        "client_secret_basic" | "basic" => id().and_then(|()| secret()).map(ClientAuth::Basic),
        "client_secret_jwt" => match assertion {
            Some(assertion) => Ok(ClientAuth::Assertion(Secret::new(assertion))),
            None => id().and_then(|()| secret()).map(|secret| signed(Key::Shared(secret))),
        },
        "private_key_jwt" => match assertion {
            Some(key) if key.trim_start().starts_with("-----BEGIN ") => {
                id().map(|()| signed(Key::Private(Secret::new(key))))
            }
            Some(assertion) => Ok(ClientAuth::Assertion(Secret::new(assertion))),
            None => Err(wrong(format!(
                "expected text as `assertion` of {whose}: an assertion that is signed, or the private key in PEM that signs one for each request"
            ))),
        },
        other => Err(wrong(format!(
            "clients cannot show themselves by `{other}`; expected client_secret_post, client_secret_basic, client_secret_jwt, private_key_jwt or none"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Credentials, Fault> {
        credentials(Some(&value))
    }

    fn oauth(more: Value) -> Result<TokenRequest, Fault> {
        let mut oauth = json!({"authority": "https://a/", "client": {"id": "i", "secret": "s"}});
        oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match read(json!({ "oauth2": oauth }))? {
            Credentials::OAuth(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn schemes_are_read() {
        assert!(
            matches!(read(json!({"basic": {"username": "a", "password": "b"}})), Ok(Credentials::Basic(login)) if login.user == "a")
        );
        assert!(matches!(read(json!({"bearer": {"token": "t"}})), Ok(Credentials::Bearer(_))));
        let request =
            oauth(json!({"grant": "client_credentials", "scopes": ["x"], "audiences": ["y", "z"], "issuers": ["https://a"]})).unwrap();
        assert_eq!(request.token_address.text(), "https://a/oauth2/token");
        assert_eq!(request.client_auth, ClientAuth::Body(Secret::new("s")));
        assert_eq!((request.scopes.len(), request.audiences.len(), request.issuers.len()), (1, 2, 1));
        assert_eq!(credentials(None), Ok(Credentials::None));
    }

    #[test]
    fn grants_and_what_clients_show_are_read() {
        let password = oauth(json!({"grant": "password", "username": "u", "password": "p"})).unwrap();
        assert!(matches!(password.grant, Grant::Password(login) if login.user == "u"));
        let refresh =
            oauth(json!({"grant": "refresh_token", "subject": {"token": "r", "type": "t"}})).unwrap();
        assert_eq!(refresh.grant, Grant::RefreshToken(Secret::new("r")));
        let passed = json!({"token": "t", "type": "k"});
        let exchange = oauth(json!({"grant": EXCHANGE, "subject": passed, "actor": passed})).unwrap();
        assert!(matches!(exchange.grant, Grant::Exchange { actor: Some(actor), .. } if actor.kind == "k"));
        let client = |client: Value| oauth(json!({ "client": client })).map(|request| request.client_auth);
        assert_eq!(client(json!({"id": "i", "authentication": "none"})), Ok(ClientAuth::None));
        let shared =
            client(json!({"id": "i", "secret": "s", "authentication": "client_secret_jwt"})).unwrap();
        assert!(matches!(shared, ClientAuth::Signed(Signing { key: Key::Shared(_), .. })));
        let given = client(json!({"assertion": "a.b.c", "authentication": "private_key_jwt"}));
        assert_eq!(given, Ok(ClientAuth::Assertion(Secret::new("a.b.c"))));
        let key = "-----BEGIN PRIVATE KEY-----\n…";
        let signs =
            client(json!({"id": "i", "assertion": key, "authentication": "private_key_jwt"})).unwrap();
        assert!(matches!(signs, ClientAuth::Signed(Signing { key: Key::Private(_), .. })));
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |value: Value| read(value).unwrap_err().detail.unwrap();
        assert!(said(json!({"basic": {"username": "a"}})).contains("`password` of basic"));
        assert!(said(json!({"x": {}})).contains("expected basic"));
        let said = |value: Value| oauth(value).unwrap_err().detail.unwrap();
        assert!(said(json!({"grant": "password", "username": "u"})).contains("`password` of the grant"));
        assert!(said(json!({"grant": "refresh_token"})).contains("`subject`"));
        assert!(said(json!({"grant": EXCHANGE})).contains("`token` of `subject`"));
        assert!(said(json!({"client": {"id": "i"}})).contains("`secret` of `client`"));
        assert!(said(json!({"client": null})).contains("which client"));
        assert!(said(json!({"client": {"authentication": "private_key_jwt"}})).contains("`assertion`"));
        let person = oauth(json!({"grant": "authorization_code"})).unwrap_err();
        assert_eq!((person.status, person.title.as_deref()), (401, Some("A person is needed")));
    }
}
