//! Tokens of OAuth 2.0: fetched, and kept while they live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::token::{Asking, TokenRequest, fields, headers};
use super::{Signed, Unsigned, issuer};
use crate::call::Pairs;
use crate::error::{CallError, ErrorKind, Fault};
use crate::http::{Transport, Version, collect, whole};
use crate::secret::Secret;

/// Time for one request of a token.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const LIMIT: usize = 64 * 1024;
/// A token is replaced this long before it ends, or after nine tenths of its life if that is later.
const EARLY: Duration = Duration::from_secs(60);
/// How long a token is used whose server does not say how long it lives, or says longer.
const LONGEST: Duration = Duration::from_hours(24);
/// Characters of what a server says that are shown.
const SAID: usize = 200;

/// A token.
#[derive(Debug)]
pub(super) struct Token {
    /// What carries it.
    pub(super) signed: Signed,
    until: Instant,
}

/// Fetches tokens and keeps the last one.
#[derive(Debug)]
pub(super) struct Tokens {
    request: TokenRequest,
    auth: Option<HeaderValue>,
    transport: Transport,
    kept: Mutex<Kept>,
    /// Held by the one caller who fetches; the others wait for what comes of it.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Arc<Token>>,
    /// How many requests have ended.
    ended: u64,
    /// What a server that changes refresh tokens gave in place of the one that was declared.
    refresh: Option<Secret>,
    /// Why the last one brought nothing.
    failure: Option<Unsigned>,
}

impl Tokens {
    pub(super) fn new(request: TokenRequest, transport: &Transport) -> Result<Self, String> {
        let auth = headers(&request)?;
        // What is wrong with a key is said before anything is sent.
        fields(&request, None)?;
        let transport = transport.speaking(Version::Any);
        let (kept, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { request, auth, transport, kept, fetching })
    }

    /// A token that lives. One request at a time for all who wait; its failure is theirs too.
    pub(super) async fn get(&self) -> Result<Arc<Token>, Unsigned> {
        let seen = match self.living() {
            Ok(token) => return Ok(token),
            Err(ended) => ended,
        };
        let _fetching = self.fetching.lock().await;
        match self.living() {
            Ok(token) => return Ok(token),
            Err(ended) if ended > seen => {
                if let Some(failure) = &self.kept().failure {
                    return Err(failure.clone());
                }
            }
            Err(_) => {}
        }
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let message = format!("gave no whole answer within {} s", TIMEOUT.as_secs());
            Err(self.trouble(&message, true))
        });
        self.keep(fetched)
    }

    /// Told that a service did not take this token.
    pub(super) fn forget(&self, signed: &Signed) {
        // A newer one stays.
        self.kept().token.take_if(|token| Arc::ptr_eq(&token.signed.pairs, &signed.pairs));
    }

    /// The same, told by what carried it.
    pub(super) fn forget_headers(&self, headers: &[(String, Secret)]) {
        self.kept().token.take_if(|token| token.signed.pairs.headers == headers);
    }

    /// The token that is kept, or how many requests have ended.
    pub(super) fn living(&self) -> Result<Arc<Token>, u64> {
        let kept = self.kept();
        match &kept.token {
            Some(token) if Instant::now() < token.until => Ok(Arc::clone(token)),
            _ => Err(kept.ended),
        }
    }

    fn keep(&self, fetched: Result<(Secret, Duration), Unsigned>) -> Result<Arc<Token>, Unsigned> {
        let mut kept = self.kept();
        kept.ended += 1;
        match fetched {
            Ok((header, life)) => {
                let life = life.min(LONGEST);
                let until = Instant::now() + life.saturating_sub(EARLY).max(life.mul_f64(0.9));
                let headers = vec![("authorization".to_owned(), header)];
                let token = Arc::new(Token { signed: Pairs { headers, query: vec![] }.into(), until });
                kept.failure = None;
                kept.token = Some(Arc::clone(&token));
                Ok(token)
            }
            Err(failure) => {
                kept.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<(Secret, Duration), Unsigned> {
        let refresh = self.kept().refresh.clone();
        let Asking { body, kind } =
            fields(&self.request, refresh.as_ref()).map_err(|why| self.trouble(&why, false))?;
        let mut request = Request::new(whole(body.expose().to_owned()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.request.token_address.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(auth) = &self.auth {
            headers.insert(AUTHORIZATION, auth.clone());
        }
        let response = self.transport.send(request).await.map_err(|error| {
            let mut unsigned = self.trouble(&error.message, error.kind != ErrorKind::NotAllowed);
            if error.kind == ErrorKind::NotAllowed {
                unsigned.error.kind = error.kind;
            }
            unsigned
        })?;
        self.read(response).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<(Secret, Duration), Unsigned> {
        let status = response.status();
        let body = collect(response, LIMIT).await.map_err(|error| self.trouble(&error.message, true));
        if status != StatusCode::OK {
            return Err(self.refused(status, &body.unwrap_or_default()));
        }
        let json: Value = serde_json::from_slice(&body?)
            .map_err(|_| self.trouble("answered something else than JSON", false))?;
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let token = text("access_token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.trouble("answered without an `access_token`", false))?;
        // Some servers leave the type out, which the standard does not allow; there is only one in use.
        if let Some(other) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            let message = format!("gave a token of type `{}`, expected Bearer", said(other));
            return Err(self.trouble(&message, false));
        }
        let header = format!("Bearer {token}");
        if HeaderValue::from_str(&header).is_err() {
            return Err(self.trouble("gave a token that no header can carry", false));
        }
        issuer::check(&json, &self.request.issuers).map_err(|why| self.trouble(&why, false))?;
        if let Some(next) = text("refresh_token").filter(|next| !next.is_empty()) {
            self.kept().refresh = Some(Secret::new(next));
        }
        Ok((Secret::new(header), life(&json)))
    }

    /// RFC 6749, section 5.2.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Unsigned {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(said);
        let why = match (text("error"), text("error_description")) {
            (Some(error), Some(more)) => format!(": {error} ({more})"),
            (Some(error), None) => format!(": {error}"),
            _ => String::new(),
        };
        let secrets = self.request.secrets().map(Secret::expose).filter(|secret| !secret.is_empty());
        let why = secrets.fold(why, |why, secret| why.replace(secret, "…"));
        let temporary = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let mut unsigned = self.trouble(&format!("answered {status}{why}"), temporary);
        if status.as_u16() >= 400 {
            let (code, detail) = (status.as_u16().to_string(), Value::Null);
            unsigned.error =
                unsigned.error.with_fault(Fault { code, status: status.as_u16(), temporary, detail });
        }
        unsigned
    }

    fn trouble(&self, message: &str, temporary: bool) -> Unsigned {
        let address = &self.request.token_address;
        let message = format!("no token: the token server {address} {message}");
        let error = CallError::new(ErrorKind::NoCredentials, "", message);
        Unsigned { error, temporary }
    }
}

/// `expires_in` is a number of seconds; some servers write it as text.
fn life(json: &Value) -> Duration {
    let seconds = match json.get("expires_in") {
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(seconds)) => seconds.trim().parse().ok(),
        _ => None,
    };
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LONGEST)
}

fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_lives_as_long_as_its_server_says_but_no_longer_than_a_day() {
        assert_eq!(life(&json!({"expires_in": 3600})), Duration::from_secs(3600));
        assert_eq!(life(&json!({"expires_in": "300"})), Duration::from_secs(300));
        for unknown in [
            json!({}),
            json!({"expires_in": -1}),
            json!({"expires_in": "soon"}),
            json!({"expires_in": 1e300}),
        ] {
            assert_eq!(life(&unknown), LONGEST, "{unknown}");
        }
    }
}
