//! `call: http`.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sos_call::{Address, Asked, Credentials, Exchanged, Secret, Transport, exchange};
use sos_workflow::ErrorType;
use sos_workflow::machine::Fault;

use super::authentication::{credentials, discovered};
use super::executor::{Executor, LONGEST_CALL, MOST_BYTES, failed, text, wrong};
use super::uri;

pub(super) async fn call(
    executor: &Executor,
    key: &str,
    with: &Value,
    input: &Value,
) -> Result<Value, Fault> {
    let method = text(with, "method")?.to_ascii_uppercase();
    let endpoint = with.get("endpoint").unwrap_or(&Value::Null);
    let (uri, authentication) = match endpoint {
        Value::String(uri) => (uri.as_str(), None),
        _ => (text(endpoint, "uri")?, endpoint.get("authentication")),
    };
    let address = address(&uri::address(with, uri, input)?, with.get("query"))?;
    let credentials = credentials(discovered(executor, authentication).await?.as_ref())?;
    let mut headers = headers(with.get("headers"))?;
    let body = body(with.get("body"), &mut headers)?;
    if !has(&headers, "idempotency-key") && !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS") {
        headers.push(("idempotency-key".to_owned(), idempotency_key(key)));
    }
    let asked = Request { method: &method, address: &address, headers: &headers, body: &body };
    let answer = exchanged(executor, &credentials, key, asked).await?;
    let most = if with.get("redirect").and_then(Value::as_bool) == Some(true) { 399 } else { 299 };
    if !(200..=most).contains(&answer.status) {
        return Err(refused(&method, &address.to_string(), answer.status, &answer.bytes));
    }
    output(with, &method, &address, &headers, &answer)
}

/// A request without who asks.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    address: &'a Address,
    headers: &'a [(String, String)],
    body: &'a [u8],
}

/// Sends it; once more where a challenge is to be answered, or a token was no longer taken.
async fn exchanged(
    executor: &Executor,
    credentials: &Credentials,
    key: &str,
    request: Request<'_>,
) -> Result<Exchanged, Fault> {
    let Request { method, address, headers, body } = request;
    let transport = transport(&executor.transport, credentials, key);
    let mut first = true;
    loop {
        let own = if has(headers, "authorization") {
            Vec::new()
        } else {
            executor.wallet.headers(credentials, &executor.transport).await.map_err(|error| failed(&error))?
        };
        let sent = headers.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone())));
        let sent: Vec<(String, Secret)> = sent.chain(own.iter().cloned()).collect();
        let (limit, timeout) = (MOST_BYTES, LONGEST_CALL);
        let asked = Asked { method, address, headers: &sent, body, limit, timeout };
        let answer = exchange(&transport, asked).await.map_err(|error| failed(&error))?;
        let again = std::mem::take(&mut first)
            && answer.status == 401
            && (transport.answers_challenges() || executor.wallet.rejected(credentials, &own));
        if !again {
            return Ok(answer);
        }
    }
}

/// What calls are made over: it answers the challenges of digests.
pub(super) fn transport(over: &Transport, credentials: &Credentials, key: &str) -> Transport {
    match credentials {
        Credentials::Digest(login) => over.with_digests(login.clone(), seed(key)),
        _ => over.clone(),
    }
}

/// Keys are at most 255 visible ASCII characters; what is not is told by its digest.
pub(super) fn idempotency_key(key: &str) -> String {
    use sha2::Digest as _;
    if key.len() <= 255 && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return key.to_owned();
    }
    sha2::Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seed(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn has<T>(headers: &[(String, T)], name: &str) -> bool {
    headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

fn address(uri: &str, query: Option<&Value>) -> Result<Address, Fault> {
    let unusable = |why: String| wrong(format!("the endpoint `{uri}` cannot be called: {why}"));
    let mut url = url::Url::parse(uri).map_err(|error| unusable(error.to_string()))?;
    if let Some(query) = query.filter(|query| !query.is_null()) {
        let Value::Object(entries) = query else { return Err(wrong("expected an object as `query`")) };
        let mut pairs = url.query_pairs_mut();
        for (name, value) in entries {
            for value in plain(value) {
                pairs.append_pair(name, &value);
            }
        }
    }
    Address::parse(url.as_str()).map_err(unusable)
}

/// A value of a query or a header: each of a list, nothing of null.
fn plain(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(plain).collect(),
        other => vec![other.to_string()],
    }
}

fn headers(declared: Option<&Value>) -> Result<Vec<(String, String)>, Fault> {
    let Some(declared) = declared.filter(|declared| !declared.is_null()) else { return Ok(Vec::new()) };
    let Value::Object(entries) = declared else { return Err(wrong("expected an object as `headers`")) };
    let header = |(name, value): (&String, &Value)| {
        plain(value).into_iter().map(|value| (name.clone(), value)).collect::<Vec<_>>()
    };
    Ok(entries.iter().flat_map(header).collect())
}

/// Text as it is, everything else as JSON.
fn body(declared: Option<&Value>, headers: &mut Vec<(String, String)>) -> Result<Vec<u8>, Fault> {
    let Some(declared) = declared.filter(|declared| !declared.is_null()) else { return Ok(Vec::new()) };
    let (bytes, kind) = match declared {
        Value::String(text) => (text.clone().into_bytes(), "text/plain; charset=utf-8"),
        other => (serde_json::to_vec(other).map_err(|error| wrong(error.to_string()))?, "application/json"),
    };
    if !has(headers, "content-type") {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    Ok(bytes)
}

/// What a status means that is no success; `said` came with it.
pub(super) fn refused(method: &str, address: &str, status: u16, said: &[u8]) -> Fault {
    let said = String::from_utf8_lossy(said);
    let said: String = said.trim().chars().take(400).collect();
    let detail =
        format!("{method} {address} answered {status}{}{said}", if said.is_empty() { "" } else { ": " });
    // The conformance kit wants any status as an error of communication, 401 too.
    let mut fault = Fault::of(ErrorType::Communication, "The service answered with an error", detail);
    fault.status = i64::from(status);
    fault
}

fn output(
    with: &Value,
    method: &str,
    address: &Address,
    headers: &[(String, String)],
    answer: &Exchanged,
) -> Result<Value, Fault> {
    let encoded = || Value::from(base64::engine::general_purpose::STANDARD.encode(&answer.bytes));
    match with.get("output").and_then(Value::as_str).unwrap_or("content") {
        "raw" => Ok(encoded()),
        "content" => content(answer),
        "response" => {
            let of = |headers: &mut dyn Iterator<Item = (String, String)>| {
                let mut all = Map::new();
                for (name, value) in headers {
                    match all.get_mut(&name) {
                        Some(Value::String(before)) => *before = format!("{before}, {value}"),
                        _ => drop(all.insert(name, Value::from(value))),
                    }
                }
                Value::Object(all)
            };
            // What says who asks stays with who asks.
            let sent = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            let sent = of(&mut sent.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
            Ok(json!({
                "request": {"method": method, "uri": address.text(), "headers": sent},
                "statusCode": answer.status,
                "headers": of(&mut answer.headers.iter().cloned()),
                "content": content(answer)?,
            }))
        }
        other => Err(wrong(format!("unknown output `{other}`; known: content, raw, response"))),
    }
}

/// The body by its type: JSON as it is, text as text, all else in base64; nothing is null.
fn content(answer: &Exchanged) -> Result<Value, Fault> {
    if answer.bytes.is_empty() {
        return Ok(Value::Null);
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let unreadable = |why: String| Fault::of(ErrorType::Communication, "The answer cannot be read", why);
    if kind == "application/json" || kind.ends_with("+json") {
        return serde_json::from_slice(&answer.bytes)
            .map_err(|error| unreadable(format!("no JSON: {error}")));
    }
    match std::str::from_utf8(&answer.bytes) {
        Ok(text) if kind.is_empty() => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        Ok(text) if kind.starts_with("text/") || kind.ends_with("xml") || kind.ends_with("yaml") => {
            Ok(Value::from(text))
        }
        _ => Ok(Value::from(base64::engine::general_purpose::STANDARD.encode(&answer.bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_headers_take_values_as_they_are() {
        let query = json!({"a": [1, "x y"], "b": null, "c": true});
        let address = address("http://h/p?z=1", Some(&query)).unwrap();
        assert_eq!(address.text(), "http://h/p?z=1&a=1&a=x+y&c=true");
        let sent = headers(Some(&json!({"X-A": 5}))).unwrap();
        assert_eq!((sent[0].0.as_str(), sent[0].1.as_str()), ("X-A", "5"));
    }

    #[test]
    fn bodies_are_text_or_json_and_answers_by_their_type() {
        let mut sent = Vec::new();
        assert_eq!(body(Some(&json!({"a": 1})), &mut sent).unwrap(), br#"{"a":1}"#);
        assert_eq!(sent[0].1.as_str(), "application/json");
        let answer = |kind: &str, bytes: &[u8]| Exchanged {
            status: 200,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            bytes: bytes.to_vec(),
        };
        assert_eq!(content(&answer("application/problem+json; charset=utf-8", b"[1]")).unwrap(), json!([1]));
        assert_eq!(content(&answer("text/html", b"<p>")).unwrap(), json!("<p>"));
        assert_eq!(content(&answer("image/png", &[255, 0])).unwrap(), json!("/wA="));
        assert_eq!(content(&answer("", b"{\"a\":1}")).unwrap(), json!({"a": 1}));
        assert_eq!(content(&answer("application/json", b"")).unwrap(), Value::Null);
        assert!(content(&answer("application/json", b"{")).is_err());
    }

    #[test]
    fn keys_that_a_header_cannot_carry_are_told_by_their_digest() {
        assert_eq!(idempotency_key("run/do/0/a"), "run/do/0/a");
        assert_eq!(idempotency_key("run/do/0/ä").len(), 64);
    }
}
