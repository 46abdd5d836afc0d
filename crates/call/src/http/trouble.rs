//! What went wrong with a connection, in words.

use std::error::Error;
use std::fmt::Write as _;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::connect::ConnectError;
use crate::error::{CallError, ErrorKind};

/// An error with its causes; what a cause says again is left out.
pub(crate) fn full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            let _infallible = write!(text, ": {more}");
        }
        cause = inner.source();
    }
    text
}

/// Looks for an error of some type among an error and its causes, also within those of input and output.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Why there is no TLS.
pub(super) fn tls_trouble(error: &(dyn Error + 'static)) -> String {
    let plain = match find::<TlsError>(error) {
        Some(TlsError::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => "its certificate is of an authority that is not trusted",
            CertificateError::Revoked => "its certificate is revoked",
            _ => "its certificate cannot be trusted",
        },
        Some(TlsError::AlertReceived(alert)) if wants_certificate(*alert) => {
            "it wants a certificate of ours that it trusts"
        }
        Some(TlsError::InvalidMessage(_)) => "it does not speak TLS",
        _ => return full(error),
    };
    format!("{plain} ({})", full(error))
}

/// Alerts by which a server refuses who we are (RFC 8446, section 6.2).
const fn wants_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Why a request got no answer.
pub(super) fn sending_trouble(error: &hyper_util::client::legacy::Error) -> CallError {
    if let Some(connect) = find::<ConnectError>(error) {
        let kind = if connect.refused { ErrorKind::NotAllowed } else { ErrorKind::Unreachable };
        return CallError::new(kind, "", connect.message.clone());
    }
    // With TLS 1.3 a server refuses our certificate after we think that we are connected; it has read no request.
    if let Some(TlsError::AlertReceived(alert)) = find::<TlsError>(error)
        && wants_certificate(*alert)
    {
        return CallError::new(ErrorKind::Unreachable, "", format!("no TLS: {}", tls_trouble(error)));
    }
    let hyper = find::<hyper::Error>(error);
    let kind = match hyper {
        _ if error.is_connect() || was_refused_unread(error) => ErrorKind::Unreachable,
        Some(hyper) if hyper.is_canceled() => ErrorKind::Unreachable,
        Some(hyper) if hyper.is_parse_too_large() => ErrorKind::TooLarge,
        Some(hyper) if hyper.is_parse() => ErrorKind::BadAnswer,
        _ => ErrorKind::Broken,
    };
    CallError::new(kind, "", full(error))
}

/// Whether the server says that it did nothing with the request (RFC 9113, section 8.7).
fn was_refused_unread(error: &hyper_util::client::legacy::Error) -> bool {
    let refused = find::<h2::Error>(error).and_then(h2::Error::reason);
    refused == Some(h2::Reason::REFUSED_STREAM)
}
