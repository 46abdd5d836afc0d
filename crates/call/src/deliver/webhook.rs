//! Webhooks: a POST of JSON, as chat programs take it too, and pings of heartbeats.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::{Delivered, DeliveryError, in_time, shown};
use crate::http::{Address, Auth, FRAMING, HttpClient, Outgoing, first_text, retry_after};
use crate::secret::Secret;

/// Bytes of an answer that are read.
const ANSWER_LIMIT: usize = 4 * 1024;
/// How long the words of a refusal are awaited.
const EXPLANATION: Duration = Duration::from_secs(2);
/// Parts of addresses below this length are no secrets, and would be found everywhere.
const SECRET_LENGTH: usize = 8;

/// A receiver over HTTP.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where it takes messages. A secret: only scheme, host and port are shown.
    pub address: Address,
    /// Who sends.
    pub auth: Auth,
    /// Further headers; they may be secrets as well.
    pub headers: Vec<(String, Secret)>,
}

/// How a heartbeat pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PingMethod {
    #[default]
    Get,
    /// Without a body.
    Post,
}

/// Posts a JSON text. `key` goes into `Idempotency-Key`, so that a receiver recognises what comes again.
///
/// # Errors
/// Temporary: no connection, no answer within `limit`, 408, 425, 429 and 5xx. Permanent: any other answer but 2xx,
/// redirects among them, and headers that cannot be sent.
pub async fn post_json(
    client: &HttpClient,
    to: &Webhook,
    key: &str,
    json: Vec<u8>,
    limit: Duration,
) -> Result<Delivered, DeliveryError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(key)
        .map_err(|_| DeliveryError::permanent("the notification's key cannot be sent in a header"))?;
    headers.insert(HeaderName::from_static("idempotency-key"), key);
    send(client, to, Method::POST, headers, json.into(), limit).await
}

/// Pings an address that expects to be asked regularly.
///
/// # Errors
/// As those of [`post_json`].
pub async fn ping(
    client: &HttpClient,
    to: &Webhook,
    method: PingMethod,
    limit: Duration,
) -> Result<Delivered, DeliveryError> {
    let method = match method {
        PingMethod::Get => Method::GET,
        PingMethod::Post => Method::POST,
    };
    send(client, to, method, HeaderMap::new(), Bytes::new(), limit).await
}

async fn send(
    client: &HttpClient,
    to: &Webhook,
    method: Method,
    mut headers: HeaderMap,
    body: Bytes,
    limit: Duration,
) -> Result<Delivered, DeliveryError> {
    let start = Instant::now();
    add_headers(&mut headers, &to.headers).map_err(DeliveryError::permanent)?;
    let outgoing = Outgoing { method, address: &to.address, auth: &to.auth, headers, body };
    let response = in_time(limit, &to.address, async {
        let sent = client.send(outgoing).await;
        sent.map_err(|message| {
            DeliveryError::temporary(format!("{} cannot be reached: {message}", to.address))
        })
    });
    let (head, body) = response.await?.into_parts();
    if head.status.is_success() {
        return Ok(Delivered { answer: head.status.to_string() });
    }
    // The status has decided; what else is said only explains it, and may come slowly.
    let rest = limit.saturating_sub(start.elapsed()).min(EXPLANATION);
    let said = tokio::time::timeout(rest, first_text(body, ANSWER_LIMIT)).await.unwrap_or_default();
    Err(refused(&to.address, head.status, &head.headers, &without_secrets(said, to)))
}

fn add_headers(headers: &mut HeaderMap, more: &[(String, Secret)]) -> Result<(), String> {
    for (name, value) in more {
        let known = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{}` cannot be the name of a header", shown(name)))?;
        if FRAMING.contains(&known.as_str()) {
            return Err(format!("the header `{known}` is set by the connection itself; leave it out"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of the header `{known}` has characters that cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(known, value);
    }
    Ok(())
}

fn refused(address: &Address, status: StatusCode, headers: &HeaderMap, said: &str) -> DeliveryError {
    let said = shown(said);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let message = format!("{address} answered {status}{said}");
    let temporary = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if temporary {
        DeliveryError { retry_after: retry_after(headers), ..DeliveryError::temporary(message) }
    } else if status.is_redirection() {
        DeliveryError::permanent(format!(
            "{message}; redirects are not followed, give the address it leads to"
        ))
    } else {
        DeliveryError::permanent(message)
    }
}

/// Receivers may repeat what they were asked.
fn without_secrets(said: String, to: &Webhook) -> String {
    let path = to.address.path();
    let mut secrets: Vec<&str> = path.split(['/', '?', '&', '=']).chain([path]).collect();
    match &to.auth {
        Auth::None => {}
        Auth::Bearer(token) => secrets.push(token.expose()),
        Auth::Basic(login) => secrets.push(login.password.expose()),
    }
    secrets.extend(to.headers.iter().map(|(_, value)| value.expose()));
    secrets.retain(|secret| secret.len() >= SECRET_LENGTH);
    // The longest first: the whole path, then its parts.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(said, |said, secret| said.replace(secret, "…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_repeats_of_its_secrets_is_left_out() {
        let to = Webhook {
            address: Address::parse("https://chat/services/T0000/abcdefghijkl?token=mnopqrstuv").unwrap(),
            auth: Auth::Bearer(Secret::new("bearer-token")),
            headers: vec![("x-key".to_owned(), Secret::new("header-value"))],
        };
        let said =
            "no /services/T0000/abcdefghijkl?token=mnopqrstuv or abcdefghijkl, bearer-token, header-value";
        assert_eq!(without_secrets(said.to_owned(), &to), "no … or …, …, …");
    }

    #[test]
    fn answers_are_worth_another_try_or_not() {
        let address = Address::parse("http://host:1/x").unwrap();
        for (status, temporary) in [
            (400, false),
            (401, false),
            (404, false),
            (410, false),
            (308, false),
            (408, true),
            (425, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            let error = refused(&address, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "x");
            assert_eq!(error.is_temporary(), temporary, "{error}");
        }
    }
}
