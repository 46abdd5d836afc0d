//! Faults of SOAP 1.1 and 1.2 as errors.

use serde_json::{Map, Value};

use super::decode::Decoder;
use super::envelope::Envelope;
use super::generic;
use super::mime::Attachments;
use super::names::{QName, WSSE, XML, short};
use super::operation::Operation;
use super::wsdl::Version;
use super::xml::Element;
use super::xsd::{ElementId, Schemas};
use crate::error::{CallError, ErrorKind, Fault};

/// Codes that say that the caller is to blame, of both versions; only the part before a dot counts.
const CALLERS: [&str; 5] = ["Client", "Sender", "MustUnderstand", "VersionMismatch", "DataEncodingUnknown"];
/// Codes by which services say that they are busy.
const BUSY: [&str; 4] = ["EndpointUnavailable", "ServiceBusy", "ServerTooBusy", "ServerBusy"];

/// What a service said in a fault. `status` is that of HTTP.
pub(crate) fn read(
    schemas: &Schemas,
    operation: &Operation,
    envelope: Envelope<'_>,
    fault: Element<'_>,
    status: u16,
) -> CallError {
    let told = match envelope.version {
        Version::V11 => told11(fault),
        Version::V12 => told12(fault),
    };
    let decoder = Details { schemas, operation };
    let mut detail = told.detail.map_or(Value::Null, |detail| decoder.detail(detail));
    if detail.is_null() {
        detail = envelope.header.map_or(Value::Null, |header| decoder.headers(header));
    }
    let own = envelope.version.envelope();
    let codes: Vec<String> = told.codes.iter().map(|code| written(code, own)).collect();
    let status = status_of(status, &told.codes);
    let busy = told.codes.iter().any(|code| BUSY.contains(&&*code.local));
    let temporary = busy || matches!(status, 408 | 429 | 502 | 503 | 504);
    let code = if codes.is_empty() { "soap:?".to_owned() } else { codes.join("/") };
    let reason = if told.reason.is_empty() { "no reason told" } else { &told.reason };
    let message = format!("{code}: {}", reason.chars().take(1000).collect::<String>());
    CallError::new(ErrorKind::Fault, "", message).with_fault(Fault { code, status, temporary, detail })
}

/// A fault as it is written.
struct Told<'t> {
    /// The code, then the codes within it.
    codes: Vec<QName>,
    reason: String,
    detail: Option<Element<'t>>,
}

fn told11(fault: Element<'_>) -> Told<'_> {
    // They are in no namespace, and some put them into that of the envelope.
    let child = |local: &str| fault.children().find(|child| child.local() == local);
    let code = child("faultcode").map(|code| code_of(code));
    let reason = child("faultstring").map(|text| text.text().trim().to_owned());
    Told { codes: code.into_iter().collect(), reason: reason.unwrap_or_default(), detail: child("detail") }
}

fn told12(fault: Element<'_>) -> Told<'_> {
    let own = fault.namespace();
    let mut codes = vec![];
    let mut next = fault.child(own, "Code");
    // A document is only so deep.
    while let Some(code) = next {
        codes.extend(code.child(own, "Value").map(code_of));
        next = code.child(own, "Subcode");
    }
    let reasons: Vec<Element<'_>> = fault
        .child(own, "Reason")
        .into_iter()
        .flat_map(Element::children)
        .filter(|child| child.is(own, "Text"))
        .collect();
    let english = reasons.iter().find(|text| {
        text.attribute_of(XML, "lang").is_some_and(|lang| lang.to_ascii_lowercase().starts_with("en"))
    });
    let reason = english.or_else(|| reasons.first()).map(|text| text.text().trim().to_owned());
    Told { codes, reason: reason.unwrap_or_default(), detail: fault.child(own, "Detail") }
}

fn code_of(element: Element<'_>) -> QName {
    let text = element.text();
    element.qname(&text).unwrap_or_else(|_| QName::new("", short(text.trim())))
}

/// `soap:Server` for those of SOAP itself, `{namespace}name` for others.
fn written(code: &QName, own: &str) -> String {
    if *code.namespace == *own { format!("soap:{}", code.local) } else { code.to_string() }
}

/// The HTTP status, or what the code stands for where SOAP leaves no other than 500 (SOAP 1.1, 6.2) or it is 200.
fn status_of(status: u16, codes: &[QName]) -> u16 {
    if status >= 400 && status != 500 {
        return status;
    }
    let secured = codes.iter().any(|code| {
        *code.namespace == *WSSE
            && matches!(
                &*code.local,
                "FailedAuthentication" | "InvalidSecurity" | "InvalidSecurityToken" | "FailedCheck"
            )
    });
    let callers =
        codes.first().is_some_and(|code| CALLERS.contains(&code.local.split('.').next().unwrap_or_default()));
    if secured {
        401
    } else if callers {
        400
    } else {
        500
    }
}

struct Details<'a> {
    schemas: &'a Schemas,
    operation: &'a Operation,
}

impl Details<'_> {
    /// `detail`: declared faults by their key, other elements in `#any`, a text where there is nothing else.
    fn detail(&self, detail: Element<'_>) -> Value {
        let (mut object, mut others) = (Map::new(), vec![]);
        for child in detail.children() {
            match self.declared(child) {
                Some((key, value)) if !object.contains_key(&key) => {
                    object.insert(key, value);
                }
                _ => others.push(generic::read(child)),
            }
        }
        if !others.is_empty() {
            object.insert("#any".to_owned(), others.into());
        }
        let text = detail.text();
        match (object.is_empty(), text.trim()) {
            (true, "") => Value::Null,
            (true, text) => Value::String(text.to_owned()),
            (false, _) => Value::Object(object),
        }
    }

    /// Errors of headers come back in headers (SOAP 1.1, 4.4).
    fn headers(&self, header: Element<'_>) -> Value {
        let declared = header.children().filter_map(|block| self.declared(block));
        let object: Map<String, Value> = declared.collect();
        if object.is_empty() { Value::Null } else { serde_json::json!({"$headers": object}) }
    }

    /// The value of a declared fault; `None` where it is none, or not as it is declared.
    fn declared(&self, element: Element<'_>) -> Option<(String, Value)> {
        let is = |id: &&ElementId| self.schemas.element(**id).name == element.name();
        let id = self.operation.faults.iter().find(is)?;
        let decoder = Decoder { schemas: self.schemas, attachments: &Attachments::new() };
        Some((element.local().to_owned(), decoder.element(*id, element).ok()?))
    }
}

/// What a service said without SOAP: an HTTP status of 400 or more.
pub(crate) fn plain(status: u16, reason: &str, kind: &str, body: &[u8]) -> CallError {
    const SHOWN: usize = 2_000;
    let is_text =
        kind.starts_with("text/") || kind.contains("xml") || kind.contains("json") || kind.is_empty();
    let text: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect();
    let detail = if is_text && !text.is_empty() { Value::String(text) } else { Value::Null };
    let temporary = matches!(status, 408 | 429 | 502 | 503 | 504);
    let message = format!("HTTP status {status} {reason}").trim_end().to_owned();
    CallError::new(ErrorKind::Fault, "", message).with_fault(Fault {
        code: status.to_string(),
        status,
        temporary,
        detail,
    })
}
