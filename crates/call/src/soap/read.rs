//! Answers: from status, headers and bytes to an output or an error.

use std::time::Duration;

use http::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::client::Inner;
use super::envelope::{self, Envelope};
use super::mime::{self, Attachments, MediaType};
use super::names::short;
use super::operation::Operation;
use super::xml::{Bounds, Tree, XmlError, parse, text};
use super::{addressing, faults, generic};
use crate::call::{Answer, Limits};
use crate::error::{CallError, ErrorKind};

/// XML within XML, however deep the caller lets answers be: each level is a level of calls here.
const DEPTH: usize = 256;

/// What arrived.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) status: u16,
    pub(crate) reason: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// Reads an answer. `sent` is the name of our message where it was addressed.
///
/// # Errors
/// `Fault`, `BadAnswer`, `TooLarge`.
pub(crate) fn answer(
    inner: &Inner,
    operation: &Operation,
    arrived: &Arrived<'_>,
    sent: Option<&str>,
    limits: &Limits,
) -> Result<Answer, CallError> {
    let read = output(inner, operation, arrived, sent, limits);
    read.map_err(|mut error| {
        error.retry_after = retry_after(arrived.headers);
        if let Some(fault) = &mut error.fault {
            fault.temporary |= error.retry_after.is_some();
        }
        error
    })
}

fn output(
    inner: &Inner,
    operation: &Operation,
    arrived: &Arrived<'_>,
    sent: Option<&str>,
    limits: &Limits,
) -> Result<Answer, CallError> {
    let kind = header(arrived.headers, &CONTENT_TYPE);
    let media = MediaType::read(&kind);
    if (300..400).contains(&arrived.status) {
        let to = header(arrived.headers, &LOCATION);
        let message = format!(
            "HTTP status {}, and redirects are not followed{}",
            arrived.status,
            if to.is_empty() { "" } else { " (`location` is set)" }
        );
        return Err(CallError::new(ErrorKind::BadAnswer, "header location", message));
    }
    let empty = arrived.body.iter().all(u8::is_ascii_whitespace);
    if arrived.status < 300 && empty {
        return match operation.output {
            None => Ok(done(arrived, Value::Null, None)),
            Some(_) => Err(CallError::new(
                ErrorKind::BadAnswer,
                "",
                format!("expected an envelope, found nothing (HTTP status {})", arrived.status),
            )),
        };
    }
    if !is_xml(&media) {
        if arrived.status >= 400 {
            return Err(faults::plain(arrived.status, arrived.reason, &media.essence, arrived.body));
        }
        let begins = short(String::from_utf8_lossy(&arrived.body[..arrived.body.len().min(200)]).trim());
        let message =
            format!("expected text/xml or application/soap+xml, found `{}`: {begins}", short(&kind));
        return Err(CallError::new(ErrorKind::BadAnswer, "header content-type", message));
    }
    match soap(inner, operation, arrived, &media, sent, limits) {
        // An error page in XML, or a body that is none.
        Err(error) if arrived.status >= 400 && error.kind != ErrorKind::Fault => {
            Err(faults::plain(arrived.status, arrived.reason, &media.essence, arrived.body))
        }
        other => other,
    }
}

fn is_xml(media: &MediaType) -> bool {
    let kind = media.essence.as_str();
    matches!(kind, "text/xml" | "application/soap+xml" | "application/xml" | "multipart/related")
        || kind.ends_with("+xml") && !kind.contains("html")
}

fn soap(
    inner: &Inner,
    operation: &Operation,
    arrived: &Arrived<'_>,
    media: &MediaType,
    sent: Option<&str>,
    limits: &Limits,
) -> Result<Answer, CallError> {
    let (root, attachments);
    let (bytes, charset) = if media.essence == "multipart/related" {
        (root, attachments) = {
            let (root, kind, attachments) = mime::read(media, arrived.body)
                .map_err(|message| CallError::new(ErrorKind::BadAnswer, "", message))?;
            ((root, kind.parameter("charset").map(str::to_owned)), attachments)
        };
        (root.0.as_slice(), root.1)
    } else {
        attachments = Attachments::new();
        (arrived.body, media.parameter("charset").map(str::to_owned))
    };
    let tree = tree(bytes, charset.as_deref(), limits)?;
    let envelope = Envelope::of(tree.root())?;
    if let Some(fault) = envelope.fault() {
        return Err(faults::read(&inner.schemas, operation, envelope, fault, arrived.status));
    }
    if arrived.status >= 400 {
        return Err(faults::plain(arrived.status, arrived.reason, &media.essence, arrived.body));
    }
    if envelope.version != inner.version {
        let message =
            format!("expected SOAP {}, found SOAP {}", inner.version.word(), envelope.version.word());
        return Err(super::decode::wrong(tree.root(), message));
    }
    envelope.understood(&inner.schemas, operation.output.as_ref())?;
    if let Some(sent) = sent {
        addressing::check(envelope.header, sent)?;
    }
    let output = match &operation.output {
        Some(output) => envelope::read(&inner.schemas, output, envelope, &attachments)?,
        // Some answer an empty envelope where nothing was expected.
        None => Value::Null,
    };
    Ok(done(arrived, output, Some(envelope)))
}

fn tree(bytes: &[u8], charset: Option<&str>, limits: &Limits) -> Result<Tree, CallError> {
    let bounds = Bounds {
        // Text in UTF-16 or Latin-1 becomes longer as UTF-8.
        bytes: limits.bytes.saturating_mul(2),
        depth: limits.depth.min(DEPTH),
        nodes: 1_500_000,
        attributes: 256,
    };
    let told = |error: XmlError| {
        let kind = if error.too_large { ErrorKind::TooLarge } else { ErrorKind::BadAnswer };
        CallError::new(kind, error.place, error.message)
    };
    parse(&text(bytes, charset).map_err(told)?, &bounds).map_err(told)
}

fn done(arrived: &Arrived<'_>, output: Value, envelope: Option<Envelope<'_>>) -> Answer {
    let http = arrived.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let blocks =
        envelope.and_then(|envelope| envelope.header).into_iter().flat_map(super::xml::Element::children);
    let soap = blocks
        .map(|block| (format!("soap:{}", block.local().to_lowercase()), generic::read(block).to_string()));
    Answer { output, status: arrived.status.to_string(), headers: http.chain(soap).collect() }
}

fn header(headers: &HeaderMap, name: &http::HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// `Retry-After`: seconds, or a date measured against the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}
