//! How a token of OAuth 2.0 is asked for.

use hyper::header::HeaderValue;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::assertion::Signing;
use crate::http::{Address, Auth};
use crate::secret::{Login, Secret};

/// The kind of an access token in an exchange (RFC 8693, section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How a client says that it shows itself by a signed assertion (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A request for a token of OAuth 2.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Where tokens are handed out. The transport's egress rules must allow it.
    pub token_address: Address,
    /// What it is handed out for.
    pub grant: Grant,
    /// Name of the client; empty where the server wants none.
    pub client_id: String,
    /// How the client shows that it is the one.
    pub client_auth: ClientAuth,
    /// What the token is for; none: what the server gives.
    pub scopes: Vec<String>,
    /// Whom the token is for, where the server wants to know.
    pub audiences: Vec<String>,
    /// Who may have issued the token, which then has to say so; none: whoever the server is.
    pub issuers: Vec<String>,
    /// Whether the request is JSON, which the standard does not know, instead of a form.
    pub as_json: bool,
}

impl TokenRequest {
    /// A request of a client for itself, whose name and secret are still to be told.
    #[must_use]
    pub const fn new(token_address: Address) -> Self {
        Self {
            token_address,
            grant: Grant::ClientCredentials,
            client_id: String::new(),
            client_auth: ClientAuth::None,
            scopes: Vec::new(),
            audiences: Vec::new(),
            issuers: Vec::new(),
            as_json: false,
        }
    }

    /// All that must not be shown.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let client = match &self.client_auth {
            ClientAuth::None => None,
            ClientAuth::Basic(secret) | ClientAuth::Body(secret) | ClientAuth::Assertion(secret) => {
                Some(secret)
            }
            ClientAuth::Signed(signing) => Some(signing.key.secret()),
        };
        let granted = match &self.grant {
            Grant::ClientCredentials => vec![],
            Grant::Password(login) => vec![&login.password],
            Grant::RefreshToken(token) => vec![token],
            Grant::Exchange { subject, actor } => {
                [Some(subject), actor.as_ref()].into_iter().flatten().map(|token| &token.token).collect()
            }
        };
        client.into_iter().chain(granted)
    }
}

/// What a token is handed out for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The client itself (RFC 6749, section 4.4).
    ClientCredentials,
    /// Somebody's name and password (section 4.3), which newer servers refuse.
    Password(Login),
    /// An earlier grant (section 6). A server may give another refresh token with each token, which is used from then on.
    RefreshToken(Secret),
    /// Another token (RFC 8693).
    Exchange {
        /// On whose behalf it is asked for.
        subject: PassedToken,
        /// Who acts for them.
        actor: Option<PassedToken>,
    },
}

/// A token that is exchanged for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedToken {
    /// The token.
    pub token: Secret,
    /// Its kind, a URI of RFC 8693, section 3.
    pub kind: String,
}

/// How a client shows that it is the one (RFC 6749, section 2.3; RFC 7523; OpenID Connect Core, section 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not at all: a public client.
    None,
    /// By its secret in `Authorization: Basic …`, which every server must know.
    Basic(Secret),
    /// By its secret in the request.
    Body(Secret),
    /// By an assertion that somebody else has signed.
    Assertion(Secret),
    /// By an assertion that is signed for each request.
    Signed(Signing),
}

/// A request as it is sent.
pub(super) struct Asking {
    pub(super) body: Secret,
    pub(super) kind: &'static str,
}

/// The header by which the client shows itself.
pub(super) fn headers(request: &TokenRequest) -> Result<Option<HeaderValue>, String> {
    let ClientAuth::Basic(secret) = &request.client_auth else { return Ok(None) };
    // Both are encoded as a form first (RFC 6749, section 2.3.1).
    let encoded = |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let password = Secret::new(encoded(secret.expose()));
    Auth::Basic(Login { user: encoded(&request.client_id), password }).header()
}

/// The body, with the latest refresh token where the server gave one.
pub(super) fn fields(request: &TokenRequest, refresh: Option<&Secret>) -> Result<Asking, String> {
    let signed;
    let mut fields: Vec<(&str, &str)> = Vec::new();
    match &request.grant {
        Grant::ClientCredentials => fields.push(("grant_type", "client_credentials")),
        Grant::Password(login) => {
            fields.push(("grant_type", "password"));
            fields.push(("username", &login.user));
            fields.push(("password", login.password.expose()));
        }
        Grant::RefreshToken(first) => {
            fields.push(("grant_type", "refresh_token"));
            fields.push(("refresh_token", refresh.unwrap_or(first).expose()));
        }
        Grant::Exchange { subject, actor } => {
            fields.push(("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"));
            fields.push(("subject_token", subject.token.expose()));
            fields.push(("subject_token_type", &subject.kind));
            if let Some(actor) = actor {
                fields.push(("actor_token", actor.token.expose()));
                fields.push(("actor_token_type", &actor.kind));
            }
            fields.push(("requested_token_type", ACCESS_TOKEN));
        }
    }
    let scopes = request.scopes.join(" ");
    if !scopes.is_empty() {
        fields.push(("scope", &scopes));
    }
    fields.extend(request.audiences.iter().map(|audience| ("audience", audience.as_str())));
    match &request.client_auth {
        ClientAuth::Basic(_) => {}
        ClientAuth::None if request.client_id.is_empty() => {}
        ClientAuth::None => fields.push(("client_id", &request.client_id)),
        ClientAuth::Body(secret) => {
            fields.push(("client_id", &request.client_id));
            fields.push(("client_secret", secret.expose()));
        }
        ClientAuth::Assertion(assertion) => {
            fields.extend(asserted(&request.client_id, assertion.expose()));
        }
        ClientAuth::Signed(signing) => {
            signed = signing.assertion(&request.client_id, request.token_address.text())?;
            fields.extend(asserted(&request.client_id, signed.expose()));
        }
    }
    Ok(written(&fields, request.as_json))
}

fn asserted<'a>(client: &'a str, assertion: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let named = (!client.is_empty()).then_some(("client_id", client));
    named.into_iter().chain([("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)])
}

fn written(fields: &[(&str, &str)], as_json: bool) -> Asking {
    if !as_json {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        return Asking { body: Secret::new(form), kind: "application/x-www-form-urlencoded" };
    }
    let mut object = Map::new();
    for (name, value) in fields {
        // What comes more than once is a list.
        let value = match object.remove(*name) {
            None => Value::from(*value),
            Some(Value::Array(mut all)) => {
                all.push(Value::from(*value));
                Value::Array(all)
            }
            Some(first) => Value::Array(vec![first, Value::from(*value)]),
        };
        object.insert((*name).to_owned(), value);
    }
    Asking { body: Secret::new(Value::Object(object).to_string()), kind: "application/json" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(grant: Grant, client_auth: ClientAuth) -> TokenRequest {
        let address = Address::parse("https://a/token").unwrap();
        TokenRequest { grant, client_id: "me".to_owned(), client_auth, ..TokenRequest::new(address) }
    }

    fn body(request: &TokenRequest) -> String {
        fields(request, None).unwrap().body.expose().to_owned()
    }

    #[test]
    fn each_grant_has_its_fields() {
        let secret = || ClientAuth::Body(Secret::new("s"));
        let login = Login { user: "eva".to_owned(), password: Secret::new("p&") };
        assert_eq!(
            body(&request(Grant::Password(login), secret())),
            "grant_type=password&username=eva&password=p%26&client_id=me&client_secret=s"
        );
        let refreshed = request(Grant::RefreshToken(Secret::new("r1")), ClientAuth::None);
        assert_eq!(body(&refreshed), "grant_type=refresh_token&refresh_token=r1&client_id=me");
        let again = fields(&refreshed, Some(&Secret::new("r2"))).unwrap().body;
        assert_eq!(again.expose(), "grant_type=refresh_token&refresh_token=r2&client_id=me");
        let passed = |token: &str| PassedToken { token: Secret::new(token), kind: "k".to_owned() };
        let exchange = Grant::Exchange { subject: passed("a"), actor: Some(passed("b")) };
        let mut exchange = request(exchange, ClientAuth::Basic(Secret::new("s")));
        exchange.audiences = vec!["x".to_owned(), "y".to_owned()];
        let text = body(&exchange);
        for part in [
            "subject_token=a&subject_token_type=k&actor_token=b&actor_token_type=k",
            "token-type%3Aaccess_token",
            "audience=x&audience=y",
        ] {
            assert!(text.contains(part), "{text}");
        }
        exchange.as_json = true;
        let json: Value = serde_json::from_str(&body(&exchange)).unwrap();
        assert_eq!(
            (&json["audience"], &json["subject_token"]),
            (&serde_json::json!(["x", "y"]), &"a".into())
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let login = Login { user: "eva".to_owned(), password: Secret::new("HIDDEN") };
        let request = request(Grant::Password(login), ClientAuth::Assertion(Secret::new("HIDDEN")));
        assert!(!format!("{request:?}").contains("HIDDEN"));
        assert_eq!(request.secrets().count(), 2);
        assert!(body(&request).contains("client_assertion=HIDDEN"));
    }
}
