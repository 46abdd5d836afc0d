//! A request, made of an input that fits its schema.

use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use serde_json::{Map, Value};

use super::form;
use super::media::Media;
use super::model::{Content, Parameter, Piece, Place, Route};
use super::names::escaped;
use super::shown;
use super::style::{self, Refused, Writing};
use crate::call::Call;
use crate::error::{CallError, ErrorKind};
use crate::http::{Body, FRAMING, whole};

/// Bytes of an address and of all headers: more is refused by servers anyway.
const MAX_ADDRESS: usize = 64 << 10;
const MAX_HEADERS: usize = 64 << 10;

/// The request of a call.
///
/// # Errors
/// `BadInput` with the JSON pointer of what cannot be written; `NoCredentials` for a secret that no header can carry.
pub(super) fn build(route: &Route, call: &Call<'_>, input: &Value) -> Result<Request<Body>, CallError> {
    let none = Map::new();
    let input = input.as_object().unwrap_or(&none);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let accept = input.get("Accept").and_then(Value::as_str).unwrap_or(&route.accept);
    headers.insert(ACCEPT, header_value(accept, "/Accept")?);
    let (content, media) = match (&route.body, input.get("body")) {
        (Some(sent), Some(_)) => {
            let (content, media) = chosen(&sent.contents, input)?;
            (Some(content), media)
        }
        _ => (None, String::new()),
    };
    let mut body = Vec::new();
    if let (Some(content), Some(value)) = (content, input.get("body")) {
        let encoded = form::body(content, &media, value).map_err(|refused| bad("/body", refused))?;
        headers.insert(CONTENT_TYPE, header_value(&encoded.media, "/Content-Type")?);
        body = encoded.bytes;
    }
    let mut cookies = vec![];
    for parameter in &route.parameters {
        let Some(value) = input.get(&parameter.key) else { continue };
        match parameter.place {
            Place::Header => header(parameter, value, &mut headers)?,
            Place::Cookie => cookies.extend(written(parameter, value, style::pairs)?),
            Place::Path | Place::Query => {}
        }
    }
    let uri = address(route, call, input)?;
    credentials(call, &mut headers)?;
    add_cookies(&cookies, &mut headers)?;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADERS {
        let message = format!("the headers have {bytes} bytes, at most {MAX_HEADERS} are sent");
        return Err(CallError::new(ErrorKind::BadInput, "", message));
    }
    let mut request = Request::new(whole(body));
    *request.method_mut() = route.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn bad(at: &str, (place, message): Refused) -> CallError {
    CallError::new(ErrorKind::BadInput, format!("{at}{place}"), message)
}

/// What `/KEY` is called in pointers.
fn pointer(parameter: &Parameter) -> String {
    format!("/{}", escaped(&parameter.key))
}

fn written<T>(
    parameter: &Parameter,
    value: &Value,
    write: fn(&str, &Value, &Writing) -> Result<T, Refused>,
) -> Result<T, CallError> {
    write(&parameter.name, value, &parameter.writing).map_err(|refused| bad(&pointer(parameter), refused))
}

/// The content that `Content-Type` names, else the usual one, and the type that is told.
fn chosen<'r>(
    contents: &'r [Content],
    input: &Map<String, Value>,
) -> Result<(&'r Content, String), CallError> {
    let place = "/Content-Type";
    let refuse = |message: String| Err(CallError::new(ErrorKind::BadInput, place, message));
    let Some(named) = input.get("Content-Type").and_then(Value::as_str) else {
        let usual = contents.first().and_then(|content| Some((content, content.media.usual()?.to_owned())));
        return usual.map_or_else(|| refuse("expected the media type of the body".to_owned()), Ok);
    };
    let Some(media) = Media::parse(named).filter(|media| !media.is_range()) else {
        return refuse("expected a media type such as application/json".to_owned());
    };
    let best = contents.iter().max_by_key(|content| content.media.fits(&media));
    match best.filter(|content| content.media.fits(&media) > 0) {
        Some(content) => Ok((content, media.text)),
        None => {
            let known: Vec<&str> = contents.iter().map(|content| content.media.text.as_str()).collect();
            refuse(format!("expected one of {}", known.join(", ")))
        }
    }
}

fn header_value(text: &str, at: &str) -> Result<HeaderValue, CallError> {
    let refuse = || CallError::new(ErrorKind::BadInput, at, "it has characters that no header can carry");
    // Bytes above ASCII mean different things to different servers.
    let sendable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    HeaderValue::from_str(text).ok().filter(|_| sendable).ok_or_else(refuse)
}

fn header(parameter: &Parameter, value: &Value, headers: &mut HeaderMap) -> Result<(), CallError> {
    let place = pointer(parameter);
    let text = style::header(value, &parameter.writing).map_err(|refused| bad(&place, refused))?;
    let Some(text) = text else { return Ok(()) };
    let name = HeaderName::from_bytes(parameter.name.as_bytes());
    let name = name.ok().filter(|name| !FRAMING.contains(&name.as_str()) && name.as_str() != "host");
    let Some(name) = name else {
        let message = format!("`{}` cannot be set as a header", shown(&parameter.name));
        return Err(CallError::new(ErrorKind::BadInput, place, message));
    };
    headers.insert(name, header_value(&text, &place)?);
    Ok(())
}

/// The address: what the endpoint has as its path, then that of the operation, then both queries.
fn address(route: &Route, call: &Call<'_>, input: &Map<String, Value>) -> Result<Uri, CallError> {
    let base = call.endpoint.uri();
    let mut text = base.path().trim_end_matches('/').to_owned();
    text.push_str(&path(route, input)?);
    let mut queries: Vec<String> = vec![];
    queries.extend(base.query().map(str::to_owned));
    if !route.query.is_empty() {
        queries.push(super::read::literal(&route.query));
    }
    for parameter in route.parameters.iter().filter(|parameter| parameter.place == Place::Query) {
        let Some(value) = input.get(&parameter.key) else { continue };
        let pairs = written(parameter, value, style::pairs)?;
        if !pairs.is_empty() {
            queries.push(style::form(&pairs));
        }
    }
    let secret = call.query.iter().map(|(name, value)| {
        format!("{}={}", style::encoded(name, false), style::encoded(value.expose(), false))
    });
    queries.extend(secret);
    let queries: Vec<String> = queries.into_iter().filter(|query| !query.is_empty()).collect();
    if !queries.is_empty() {
        text.push('?');
        text.push_str(&queries.join("&"));
    }
    let refuse = |message: String| CallError::new(ErrorKind::BadInput, "", message);
    if text.len() > MAX_ADDRESS {
        return Err(refuse(format!("the address has {} bytes, at most {MAX_ADDRESS} are sent", text.len())));
    }
    let mut parts = base.clone().into_parts();
    // The text holds keys and is not repeated.
    let path = text.parse().map_err(|_| refuse("the address cannot be written".to_owned()))?;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| refuse("the address cannot be written".to_owned()))
}

fn path(route: &Route, input: &Map<String, Value>) -> Result<String, CallError> {
    let mut text = String::new();
    let mut last = None;
    for piece in &route.path {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Parameter(number) => {
                let Some(parameter) = route.parameters.get(*number) else { continue };
                let value = input.get(&parameter.key).unwrap_or(&Value::Null);
                text.push_str(&written(parameter, value, style::path)?);
                last = Some(parameter);
            }
        }
    }
    // A step up would lead to another operation, or out of the base path.
    if let Some(parameter) = last.filter(|_| text.split('/').any(|segment| matches!(segment, "." | ".."))) {
        let message = "`.` and `..` cannot be parts of a path".to_owned();
        return Err(bad(&pointer(parameter), (String::new(), message)));
    }
    Ok(text)
}

/// Headers that the caller adds win over those of the contract; the login of the address is used where there is none.
fn credentials(call: &Call<'_>, headers: &mut HeaderMap) -> Result<(), CallError> {
    let refuse = |message: String| CallError::new(ErrorKind::NoCredentials, "", message);
    if let Some(login) = call.endpoint.auth().header().map_err(refuse)? {
        headers.insert(AUTHORIZATION, login);
    }
    for (name, value) in call.headers {
        let known = HeaderName::from_bytes(name.as_bytes());
        let known = known.ok().filter(|name| !FRAMING.contains(&name.as_str()));
        let known = known.ok_or_else(|| refuse(format!("`{}` cannot be set as a header", shown(name))))?;
        let value = HeaderValue::from_str(value.expose());
        let mut value = value.map_err(|_| {
            refuse(format!("the value of the header `{known}` has characters that cannot be sent"))
        })?;
        value.set_sensitive(true);
        headers.insert(known, value);
    }
    Ok(())
}

fn add_cookies(cookies: &[(String, String)], headers: &mut HeaderMap) -> Result<(), CallError> {
    if cookies.is_empty() {
        return Ok(());
    }
    let mut text: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if let Some(known) = headers.get(COOKIE).and_then(|value| value.to_str().ok()) {
        text.push(known.to_owned());
    }
    let mut value = header_value(&text.join("; "), "")?;
    value.set_sensitive(true);
    headers.insert(COOKIE, value);
    Ok(())
}
