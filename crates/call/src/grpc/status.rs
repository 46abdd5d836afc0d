//! What a service says at the end of a call: its status.

use std::time::Duration;

use hyper::header::HeaderMap;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::{self, Any};
use serde_json::Value;

use super::{details, metadata};
use crate::error::{CallError, ErrorKind, Fault};

/// Names of the status codes in their order (statuscodes.md), with the HTTP status that each stands for
/// (`google/rpc/code.proto`).
const CODES: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];

/// The code that an HTTP status stands for where nobody said one (http-grpc-status-mapping.md).
pub(super) const fn code_of_http(status: u16) -> &'static str {
    match status {
        400 => "INTERNAL",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "UNIMPLEMENTED",
        429 | 502 | 503 | 504 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// `google.rpc.Status`, which `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// What headers or trailers say about the end of a call: nothing, that it went well, or why not.
pub(super) fn read(headers: &HeaderMap, pool: &DescriptorPool) -> Option<Result<(), CallError>> {
    let text = headers.get("grpc-status")?.as_bytes();
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
    if number == Some(0) {
        return Some(Ok(()));
    }
    let (code, status) = number.and_then(|number| CODES.get(number)).copied().unwrap_or(("UNKNOWN", 500));
    let details = headers.get("grpc-status-details-bin").map(|value| details_of(value.as_bytes()));
    let detail = match &details {
        None => Value::Null,
        Some(Some(all)) => Value::Array(all.iter().map(|any| details::json(any, pool)).collect()),
        // A detail that cannot be read hides nothing of the rest.
        Some(None) => Value::String("(the details cannot be read)".to_owned()),
    };
    let wait = details.flatten().and_then(|all| all.iter().find_map(delay));
    let pushback = headers.get("grpc-retry-pushback-ms").map(|value| pushback(value.as_bytes()));
    let temporary = match pushback {
        Some(pushback) => pushback.is_some(),
        None => wait.is_some() || matches!(code, "UNAVAILABLE" | "ABORTED" | "DEADLINE_EXCEEDED"),
    };
    let told = headers.get("grpc-message").map_or(String::new(), |value| percent_decoded(value.as_bytes()));
    let message = match (number, told.as_str()) {
        (Some(number), "") if number < CODES.len() => code.to_owned(),
        (Some(number), told) if number < CODES.len() => format!("{code}: {told}"),
        (_, told) => {
            format!("{code} (`grpc-status: {}`) {told}", String::from_utf8_lossy(text)).trim_end().to_owned()
        }
    };
    let fault = Fault { code: code.to_owned(), status, temporary, detail };
    let mut error = CallError::new(ErrorKind::Fault, "", message).with_fault(fault);
    error.retry_after = pushback.flatten().or(wait);
    Some(Err(error))
}

fn details_of(text: &[u8]) -> Option<Vec<Any>> {
    let bytes = metadata::from_base64(text).ok()?;
    Some(Status::decode(bytes.as_slice()).ok()?.details)
}

fn delay(any: &Any) -> Option<Duration> {
    if any.type_url.rsplit('/').next() != Some("google.rpc.RetryInfo") {
        return None;
    }
    RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?.try_into().ok()
}

/// Milliseconds until another try; what is negative or no number means: do not try again (gRFC A6).
fn pushback(text: &[u8]) -> Option<Duration> {
    Some(Duration::from_millis(std::str::from_utf8(text).ok()?.parse().ok()?))
}

/// `%XX` where bytes are no printable ASCII; what is no such form stays as it is (PROTOCOL-HTTP2, "Status-Message").
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        let escaped = match after {
            [a, b, tail @ ..] if *first == b'%' => hex(a).zip(hex(b)).map(|(a, b)| (a * 16 + b, tail)),
            _ => None,
        };
        // Two digits are below 256.
        let (byte, tail) =
            escaped.map_or((*first, after), |(byte, tail)| (u8::try_from(byte).unwrap_or(b'?'), tail));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::*;

    fn error(headers: &[(&'static str, &str)]) -> CallError {
        let map = headers
            .iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()));
        read(&map.collect(), &DescriptorPool::new()).unwrap().unwrap_err()
    }

    fn details(type_name: &str, value: Vec<u8>) -> String {
        let any = Any { type_url: format!("type.googleapis.com/{type_name}"), value };
        base64::engine::general_purpose::STANDARD.encode(Status { details: vec![any] }.encode_to_vec())
    }

    #[test]
    fn a_status_becomes_a_fault() {
        let error = error(&[("grpc-status", "5"), ("grpc-message", "no h%C3%B6me %zz 100%")]);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Fault, "NOT_FOUND: no höme %zz 100%"));
        let fault = error.fault.unwrap();
        assert_eq!(
            (fault.code.as_str(), fault.status, fault.temporary, fault.detail),
            ("NOT_FOUND", 404, false, Value::Null)
        );
    }

    #[test]
    fn codes_that_nobody_knows_are_unknown_and_named() {
        for text in ["17", "-1", "x", "99999999999999999999999"] {
            let error = error(&[("grpc-status", text)]);
            assert_eq!(error.fault.as_ref().unwrap().code, "UNKNOWN");
            assert!(error.message.contains(text), "{error}");
        }
        assert_eq!(read(&HeaderMap::new(), &DescriptorPool::new()), None);
    }

    #[test]
    fn what_may_succeed_later_is_temporary_and_says_when() {
        let temporary = |headers: &[(&'static str, &str)]| {
            let error = error(headers);
            (error.fault.unwrap().temporary, error.retry_after)
        };
        assert_eq!(temporary(&[("grpc-status", "14")]), (true, None));
        assert_eq!(temporary(&[("grpc-status", "8")]), (false, None));
        let delay = prost_types::Duration { seconds: 1, nanos: 500_000_000 };
        let text = details("google.rpc.RetryInfo", RetryInfo { retry_delay: Some(delay) }.encode_to_vec());
        let wait = Some(Duration::from_millis(1500));
        assert_eq!(temporary(&[("grpc-status", "8"), ("grpc-status-details-bin", &text)]), (true, wait));
        assert_eq!(temporary(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "1500")]), (true, wait));
        assert_eq!(temporary(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")]), (false, None));
    }

    #[test]
    fn details_are_read_and_rubbish_is_named() {
        let detail = |text: &str| {
            error(&[("grpc-status", "9"), ("grpc-status-details-bin", text)]).fault.unwrap().detail
        };
        let text = details("google.rpc.LocalizedMessage", vec![10, 2, b'd', b'e', 18, 2, b'h', b'i']);
        let expected = json!([{ "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "de", "message": "hi" }]);
        assert_eq!(detail(&text), expected);
        assert_eq!(detail(text.trim_end_matches('=')), expected);
        for rubbish in ["!!!", "AAAA", ""] {
            assert!(matches!(detail(rubbish), Value::String(_) | Value::Array(_)), "{rubbish}");
        }
        assert_eq!(
            detail(&details("x.Unknown", vec![8, 1])),
            json!([{ "@type": "type.googleapis.com/x.Unknown", "value": "CAE=" }])
        );
        let broken = details("google.rpc.LocalizedMessage", vec![10, 200]);
        assert_eq!(detail(&broken)[0]["value"], "Csg=");
    }
}
