//! What was answered, read and held against the description.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::json;
use super::media::{Kind, Media};
use super::model::{AnswerSpec, Content, Route};
use super::shown;
use super::stream;
use crate::call::{Call, Limits};
use crate::error::{CallError, ErrorKind, Fault};
use crate::http::{Address, collect, retry_after};

/// Bytes of what is said with a refusal.
const FAULT_BYTES: usize = 256 << 10;
/// Parts of secrets below this length are found everywhere.
const SECRET_LENGTH: usize = 6;

/// A body that was read, and which description of it holds (answer, media type).
pub(super) struct Body {
    pub(super) value: Value,
    /// What it was on its way.
    pub(super) kind: Kind,
    pub(super) depth: usize,
    pub(super) bytes: usize,
    /// As it came, where that is asked for.
    pub(super) raw: Vec<u8>,
    pub(super) described: Option<(usize, usize)>,
}

/// Reads an answer that is no refusal. With `whole` a redirection is an answer like others, and the bytes are kept.
///
/// # Errors
/// `BadAnswer` when status, media type or text are not as described; `TooLarge`; `Broken`.
pub(super) async fn read(
    route: &Route,
    response: Response<Incoming>,
    limits: &Limits,
    whole: bool,
) -> Result<Body, CallError> {
    let status = response.status();
    let answer = described(route, status, response.headers(), whole)?;
    let media = media(response.headers())?;
    let nothing = route.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if nothing {
        return Ok(Body::nothing());
    }
    let bytes = collect(response, limits.bytes).await?;
    let contents = answer.map_or(&[][..], |(_, answer)| &answer.contents);
    let (content, media) = match (chosen(contents, media.as_ref()), media) {
        _ if bytes.is_empty() && contents.is_empty() => return Ok(Body::nothing()),
        (Some(number), media) => (Some(number), media.unwrap_or_else(|| contents[number].media.clone())),
        // Nothing is described: any type is taken by what it says of itself.
        (None, Some(media)) if contents.is_empty() => (None, media),
        (None, None) if contents.is_empty() => (None, untold(&bytes)),
        (None, media) => return Err(wrong_type(contents, media.as_ref())),
    };
    let (value, depth) = decode(&media, &bytes, limits)?;
    let described = answer.zip(content).map(|((answer, _), content)| (answer, content));
    let (length, raw) = (bytes.len(), if whole { bytes } else { Vec::new() });
    Ok(Body { value, kind: media.kind(), depth, bytes: length, raw, described })
}

impl Body {
    fn nothing() -> Self {
        let (value, kind, raw) = (Value::Null, Kind::Bytes, Vec::new());
        Self { value, kind, depth: 0, bytes: 0, raw, described: None }
    }
}

/// The answer that is described for a status.
fn described<'r>(
    route: &'r Route,
    status: StatusCode,
    headers: &HeaderMap,
    whole: bool,
) -> Result<Option<(usize, &'r AnswerSpec)>, CallError> {
    let code = status.as_u16();
    let best = route.answers.iter().enumerate().max_by_key(|(_, answer)| answer.status.fits(code));
    let best = best.filter(|(_, answer)| answer.status.fits(code) > 0);
    let exact = best.is_some_and(|(_, answer)| answer.status.fits(code) > 1);
    if status.is_redirection() && !exact {
        if whole {
            return Ok(None);
        }
        let to = headers.get(LOCATION).and_then(|to| Address::parse(to.to_str().ok()?).ok());
        let to = to.map_or(String::new(), |to| format!(" to {to}"));
        let message = format!("it answered {status}: redirections{to} are not followed");
        return Err(CallError::new(ErrorKind::BadAnswer, "status", message));
    }
    let any = route.answers.iter().any(|answer| answer.status.may_succeed());
    if best.is_none() && any {
        let known: Vec<String> = route.answers.iter().map(|answer| answer.status.to_string()).collect();
        let message = format!("it answered {status}; described are {}", shown(&known.join(", ")));
        return Err(CallError::new(ErrorKind::BadAnswer, "status", message));
    }
    Ok(best)
}

fn media(headers: &HeaderMap) -> Result<Option<Media>, CallError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || {
        let message = format!("expected a media type, found `{}`", shown(text));
        CallError::new(ErrorKind::BadAnswer, "header content-type", message)
    };
    Media::parse(text).map(Some).ok_or_else(refuse)
}

/// The described media type that fits best: itself, a range, or the only JSON when another kind of JSON is answered.
fn chosen(contents: &[Content], media: Option<&Media>) -> Option<usize> {
    let Some(media) = media else { return (contents.len() == 1).then_some(0) };
    let best = contents
        .iter()
        .enumerate()
        .max_by_key(|(number, content)| (content.media.fits(media), std::cmp::Reverse(*number)));
    if let Some((number, _)) = best.filter(|(_, content)| content.media.fits(media) > 0) {
        return Some(number);
    }
    let alike = |content: &Content| content.media.kind() == media.kind();
    let mut json = contents.iter().enumerate().filter(|(_, content)| alike(content));
    match (media.kind(), json.next(), json.next()) {
        (Kind::Json | Kind::Lines, Some((number, _)), None) => Some(number),
        _ => None,
    }
}

fn wrong_type(contents: &[Content], media: Option<&Media>) -> CallError {
    let known: Vec<&str> = contents.iter().map(|content| content.media.text.as_str()).collect();
    let found = media.map_or("none".to_owned(), |media| format!("`{}`", shown(&media.text)));
    let message = format!("expected {}, found {found}", shown(&known.join(" or ")));
    CallError::new(ErrorKind::BadAnswer, "header content-type", message)
}

/// The type of what tells none and is not described.
fn untold(bytes: &[u8]) -> Media {
    let text = if std::str::from_utf8(bytes).is_ok() { "text/plain" } else { "application/octet-stream" };
    Media { text: text.to_owned(), essence: text.to_owned() }
}

fn decode(media: &Media, bytes: &[u8], limits: &Limits) -> Result<(Value, usize), CallError> {
    match media.kind() {
        Kind::Json => {
            if bytes.is_empty() {
                let message = "the answer is empty, expected JSON";
                return Err(CallError::new(ErrorKind::BadAnswer, "", message));
            }
            let (value, extent) = json::read(bytes, limits.depth, limits.bytes)?;
            Ok((value, extent.depth))
        }
        Kind::Lines => {
            let (values, depth) = stream::lines(bytes, limits)?;
            Ok((values.into(), depth))
        }
        Kind::Events => Ok((stream::events(&text(media, bytes)?, limits)?.into(), 2)),
        Kind::Text | Kind::Form => Ok((text(media, bytes)?.into(), 0)),
        Kind::Bytes | Kind::Multipart => Ok((json!({"base64": STANDARD.encode(bytes)}), 1)),
    }
}

/// Text by its `charset`; UTF-8 where none is told.
fn text(media: &Media, bytes: &[u8]) -> Result<String, CallError> {
    let charset = media.parameter("charset").unwrap_or_else(|| "utf-8".to_owned());
    match charset.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|error| json::no_utf8(error.valid_up_to()))?;
            Ok(text.to_owned())
        }
        "iso-8859-1" | "latin1" => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        other => {
            let message = format!("expected charset utf-8 or iso-8859-1, found `{}`", shown(other));
            Err(CallError::new(ErrorKind::BadAnswer, "header content-type", message))
        }
    }
}

/// What a refusal says: status, how long to wait, and the body as JSON or text. Secrets that it repeats are left out.
pub(super) fn fault(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<Vec<u8>>,
    call: &Call<'_>,
) -> CallError {
    let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let text = without_secrets(text, call);
    let detail = match json::read(text.as_bytes(), call.limits.depth, FAULT_BYTES) {
        Ok((value, _)) => value,
        Err(_) if text.trim().is_empty() => Value::Null,
        Err(_) => Value::from(text),
    };
    let said = said(&detail);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let code = status.as_u16();
    let mut error = CallError::new(ErrorKind::Fault, "", format!("it answered {status}{said}"));
    error.retry_after = retry_after(headers);
    error.with_fault(Fault {
        code: code.to_string(),
        status: code,
        temporary: status.is_server_error() || matches!(code, 408 | 425 | 429),
        detail,
    })
}

/// Bytes of a refusal's body that are read.
pub(super) fn fault_limit(limits: &Limits) -> usize {
    limits.bytes.min(FAULT_BYTES)
}

/// For people: `title` and `detail` (RFC 9457), or what others call it; text as it is, its first line.
fn said(detail: &Value) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let all = match detail {
        Value::String(text) if text.trim_start().starts_with('<') => String::new(),
        Value::String(text) => {
            text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
        }
        Value::Object(_) => {
            let nested = detail.get("error").filter(|error| error.is_object()).unwrap_or(detail);
            let parts = ["title", "detail", "message", "error", "error_description", "reason"];
            let mut said: Vec<String> = parts.iter().filter_map(|key| text(nested, key)).collect();
            said.dedup();
            said.join(": ")
        }
        _ => String::new(),
    };
    shown(&all)
}

fn without_secrets(said: String, call: &Call<'_>) -> String {
    let secrets = call.headers.iter().chain(call.query).map(|(_, value)| value.expose());
    // A token is repeated without the word before it.
    let parts = secrets.flat_map(|secret| secret.split(' ').chain([secret]));
    let mut parts: Vec<&str> = parts.filter(|part| part.len() >= SECRET_LENGTH).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.into_iter().fold(said, |said, part| said.replace(part, "…"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secret::Secret;

    fn content(text: &str) -> Content {
        let parts = std::collections::BTreeMap::new();
        Content { media: Media::parse(text).unwrap(), schema: None, parts }
    }

    #[test]
    fn the_media_type_that_fits_best_is_chosen() {
        let contents = [content("*/*"), content("application/json"), content("text/*")];
        let at = |contents: &[Content], text: &str| chosen(contents, Media::parse(text).as_ref());
        assert_eq!(at(&contents, "application/json; charset=utf-8"), Some(1));
        assert_eq!(at(&contents, "text/csv"), Some(2));
        assert_eq!(at(&contents, "image/png"), Some(0));
        assert_eq!(at(&contents[1..2], "application/hal+json"), Some(0));
        assert_eq!(at(&contents[1..2], "text/html"), None);
        assert_eq!((chosen(&contents, None), chosen(&contents[1..2], None)), (None, Some(0)));
    }

    #[test]
    fn bodies_become_json_by_their_type() {
        let limits = Limits::default();
        let decoded = |media: &str, bytes: &[u8]| decode(&Media::parse(media).unwrap(), bytes, &limits);
        assert_eq!(decoded("text/plain; charset=ISO-8859-1", b"\xe4").unwrap().0, json!("ä"));
        assert_eq!(decoded("image/png", b"hi").unwrap().0, json!({"base64": "aGk="}));
        assert_eq!(decoded("text/plain", b"a\xff").unwrap_err().place, "byte 1");
        assert_eq!(decoded("text/plain; charset=utf-16", b"").unwrap_err().kind, ErrorKind::BadAnswer);
        assert!(decoded("application/json", b"").unwrap_err().message.contains("empty"));
    }

    #[test]
    fn refusals_say_what_is_meant_for_people_without_secrets() {
        let endpoint = Address::parse("http://h/").unwrap();
        let headers = [("authorization".to_owned(), Secret::new("Bearer hunter22"))];
        let call = Call {
            endpoint: &endpoint,
            operation: "x",
            input: &Value::Null,
            headers: &headers,
            query: &[],
            timeout: Duration::from_secs(1),
            limits: Limits::default(),
        };
        let fault = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            fault(status, &HeaderMap::new(), Some(body.as_bytes().to_vec()), &call)
        };
        let problem = fault(422, r#"{"title": "No offer", "detail": "7 is gone"}"#);
        assert!(problem.message.ends_with("422 Unprocessable Entity: No offer: 7 is gone"), "{problem}");
        assert_eq!(problem.fault.unwrap().detail["title"], "No offer");
        assert!(fault(500, r#"{"error": {"message": "x hunter22"}}"#).message.ends_with("Error: x …"));
        assert!(fault(500, "<html>").message.ends_with("500 Internal Server Error"));
        let temporary = [408, 425, 429, 500, 503].map(|status| fault(status, "").fault.unwrap().temporary);
        assert_eq!(temporary, [true; 5]);
        assert!(!fault(404, "").fault.unwrap().temporary);
    }
}
