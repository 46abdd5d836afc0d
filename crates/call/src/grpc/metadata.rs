//! Metadata: headers and trailers of gRPC, and the deadline among them.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Auth};
use crate::secret::Secret;

/// Headers that belong to the protocol; metadata never replaces them.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_encode_padding(false);
const UNPADDED: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Base64 in either alphabet, with padding or without: ProtoJSON and metadata take all four.
pub(super) fn from_base64(text: impl AsRef<[u8]>) -> Result<Vec<u8>, base64::DecodeError> {
    let text = text.as_ref();
    if text.iter().any(|byte| matches!(byte, b'-' | b'_')) {
        URL_SAFE.decode(text)
    } else {
        UNPADDED.decode(text)
    }
}

/// Metadata as it is sent. Nobody prints the values.
///
/// # Errors
/// `BadInput` with the name when a header belongs to the protocol or cannot be written. Values are not repeated.
pub(super) fn outgoing(headers: &[(String, Secret)], endpoint: &Address) -> Result<HeaderMap, CallError> {
    let mut map = HeaderMap::with_capacity(headers.len() + 8);
    for (name, value) in headers {
        let wrong = |message: &str| CallError::new(ErrorKind::BadInput, format!("header {name}"), message);
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("expected letters, digits, `-`, `_` and `.` in the name of a header"))?;
        if key.as_str().starts_with("grpc-") || RESERVED.contains(&key.as_str()) {
            return Err(wrong("this header belongs to the protocol; give another name"));
        }
        let text = value.expose();
        let mut value = if key.as_str().ends_with("-bin") {
            binary(text).ok_or_else(|| wrong("expected base64, as the name ends in `-bin`"))?
        } else if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            HeaderValue::from_str(text).map_err(|_| wrong("the value cannot be written"))?
        } else {
            return Err(wrong("expected printable ASCII; other bytes need a name that ends in `-bin`"));
        };
        value.set_sensitive(true);
        map.append(key, value);
    }
    if let Auth::Basic(login) = endpoint.auth()
        && !map.contains_key(AUTHORIZATION)
    {
        let pair = format!("{}:{}", login.user, login.password.expose());
        let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            CallError::new(ErrorKind::NoCredentials, "", "the login cannot be written as a header")
        })?;
        value.set_sensitive(true);
        map.insert(AUTHORIZATION, value);
    }
    Ok(map)
}

/// Several values of one binary header may be joined by commas (PROTOCOL-HTTP2, "Custom-Metadata").
fn binary(text: &str) -> Option<HeaderValue> {
    let parts = text.split(',').map(|part| Some(UNPADDED.encode(from_base64(part.trim()).ok()?)));
    HeaderValue::from_str(&parts.collect::<Option<Vec<_>>>()?.join(",")).ok()
}

/// Metadata as it came, without what the protocol says with it. Values of `-bin` names are base64.
pub(super) fn incoming(headers: &HeaderMap) -> Vec<(String, String)> {
    let protocol = |name: &str| {
        matches!(
            name,
            "grpc-status"
                | "grpc-message"
                | "grpc-status-details-bin"
                | "grpc-encoding"
                | "grpc-accept-encoding"
                | "content-type"
        )
    };
    headers
        .iter()
        .filter(|(name, _)| !protocol(name.as_str()))
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// `grpc-timeout`: at most eight digits and a unit. `None` where the time is longer than can be written, as if it had no end.
pub(super) fn timeout(time: Duration) -> Option<HeaderValue> {
    const MOST: u32 = 99_999_999;
    let fit = |count: u128| u32::try_from(count).ok().filter(|count| *count <= MOST);
    let nanos = fit(time.as_nanos()).map(|count| (count, 'n'));
    let micros = || Some((fit(time.as_micros())?, 'u'));
    let millis = || Some((fit(time.as_millis())?, 'm'));
    let seconds = || Some((fit(time.as_secs().into())?, 'S'));
    let (count, unit) = nanos.or_else(micros).or_else(millis).or_else(seconds)?;
    let mut text = count.to_string();
    text.push(unit);
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &str, value: &str) -> Result<HeaderMap, CallError> {
        let endpoint = Address::parse("http://localhost:1").unwrap();
        outgoing(&[(name.to_owned(), Secret::new(value))], &endpoint)
    }

    #[test]
    fn metadata_is_written_as_the_protocol_says() {
        assert_eq!(sent("X-Key", "a b").unwrap()["x-key"], "a b");
        for text in ["+/8=", "+/8", "-_8"] {
            assert_eq!(sent("x-bin", text).unwrap()["x-bin"], "+/8", "{text}");
        }
        assert_eq!(sent("x-bin", "AA==, AQ").unwrap()["x-bin"], "AA,AQ");
        assert!(!format!("{:?}", sent("x-key", "SECRET").unwrap()).contains("SECRET"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_its_value() {
        for (name, value) in [
            ("grpc-timeout", "1S"),
            ("Content-Type", "x"),
            ("x y", "SECRET"),
            ("x", "SECRETä"),
            ("x", "SECRET\r\ny: z"),
            ("x-bin", "SECRET!"),
        ] {
            let error = sent(name, value).unwrap_err();
            assert_eq!((error.kind, error.place), (ErrorKind::BadInput, format!("header {name}")));
            assert!(!error.message.contains("SECRET"), "{}", error.message);
        }
    }

    #[test]
    fn a_login_in_the_address_is_sent_unless_a_header_says_otherwise() {
        let endpoint = Address::parse("http://Aladdin:open%20sesame@localhost:1").unwrap();
        assert_eq!(outgoing(&[], &endpoint).unwrap()["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let other = [("authorization".to_owned(), Secret::new("Bearer t"))];
        assert_eq!(outgoing(&other, &endpoint).unwrap()["authorization"], "Bearer t");
    }

    #[test]
    fn deadlines_have_at_most_eight_digits() {
        let text = |time: Duration| timeout(time).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text(Duration::from_nanos(7)).unwrap(), "7n");
        assert_eq!(text(Duration::from_millis(1500)).unwrap(), "1500000u");
        assert_eq!(text(Duration::from_secs(3600)).unwrap(), "3600000m");
        assert_eq!(text(Duration::from_secs(10_000_000)).unwrap(), "10000000S");
        assert_eq!(text(Duration::MAX), None);
    }
}
