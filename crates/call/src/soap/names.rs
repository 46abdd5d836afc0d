//! Names with their namespaces, and the namespaces that have a meaning here.

use std::fmt;
use std::sync::Arc;

pub(crate) const XML: &str = "http://www.w3.org/XML/1998/namespace";
pub(crate) const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
pub(crate) const XSD: &str = "http://www.w3.org/2001/XMLSchema";
pub(crate) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
pub(crate) const WSDL: &str = "http://schemas.xmlsoap.org/wsdl/";
pub(crate) const WSDL_SOAP11: &str = "http://schemas.xmlsoap.org/wsdl/soap/";
pub(crate) const WSDL_SOAP12: &str = "http://schemas.xmlsoap.org/wsdl/soap12/";
pub(crate) const WSDL_MIME: &str = "http://schemas.xmlsoap.org/wsdl/mime/";
/// Extensions of WSDL 2.0 that also stand in WSDL 1.1 (`wsdlx:safe`).
pub(crate) const WSDLX: &str = "http://www.w3.org/ns/wsdl-extensions";
pub(crate) const ENVELOPE11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub(crate) const ENVELOPE12: &str = "http://www.w3.org/2003/05/soap-envelope";
pub(crate) const ENCODING11: &str = "http://schemas.xmlsoap.org/soap/encoding/";
pub(crate) const ENCODING12: &str = "http://www.w3.org/2003/05/soap-encoding";
pub(crate) const WSA: &str = "http://www.w3.org/2005/08/addressing";
/// WS-Addressing 1.0 in WSDL: the binding, and the metadata that followed it, each with drafts that are still met.
pub(crate) const WSAW: [&str; 3] = [
    "http://www.w3.org/2006/05/addressing/wsdl",
    "http://www.w3.org/2006/02/addressing/wsdl",
    "http://www.w3.org/2005/02/addressing/wsdl",
];
pub(crate) const WSAM: [&str; 2] =
    ["http://www.w3.org/2007/05/addressing/metadata", "http://www.w3.org/2007/02/addressing/metadata"];
/// WS-Policy 1.5 with a draft that is still met, and 1.2 before it.
pub(crate) const POLICY: [&str; 3] = [
    "http://www.w3.org/ns/ws-policy",
    "http://www.w3.org/2006/07/ws-policy",
    "http://schemas.xmlsoap.org/ws/2004/09/policy",
];
pub(crate) const WSU: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
pub(crate) const WSSE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
pub(crate) const XOP: &str = "http://www.w3.org/2004/08/xop/include";

/// A name with its namespace; the empty namespace is none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QName {
    pub(crate) namespace: Arc<str>,
    pub(crate) local: Arc<str>,
}

impl QName {
    pub(crate) fn new(namespace: impl Into<Arc<str>>, local: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), local: local.into() }
    }

    pub(crate) fn is(&self, namespace: &str, local: &str) -> bool {
        *self.namespace == *namespace && *self.local == *local
    }

    /// Reads `{namespace}local`, or `local` without a namespace (James Clark's notation).
    pub(crate) fn clark(text: &str) -> Option<Self> {
        let (namespace, local) = match text.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", text),
        };
        is_ncname(local).then(|| Self::new(namespace, local))
    }
}

/// `{namespace}local`, or `local` without a namespace.
impl fmt::Display for QName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.local)
        } else {
            write!(f, "{{{}}}{}", self.namespace, self.local)
        }
    }
}

impl fmt::Debug for QName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether this is a name without a colon (Namespaces in XML 1.0, 4; XML 1.0 fifth edition, 2.3).
pub(crate) fn is_ncname(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| starts_name(first) && first != ':')
        && chars.all(|char| continues_name(char) && char != ':')
}

/// `NameStartChar`.
pub(crate) const fn starts_name(char: char) -> bool {
    matches!(char, ':' | 'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
        | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar`.
pub(crate) const fn continues_name(char: char) -> bool {
    starts_name(char)
        || matches!(char, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Whether XML 1.0 can hold this character at all.
pub(crate) const fn is_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// Names for a message, at most so many that people read them.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 30;
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = names.count();
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A text for a message, shortened.
pub(crate) fn short(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_a_namespace() {
        assert_eq!(QName::clark("{urn:x}a").unwrap(), QName::new("urn:x", "a"));
        assert_eq!(QName::clark("a-1").unwrap().to_string(), "a-1");
        for wrong in ["", "{urn:x}", "{urn:x", "1a", "a b", "a:b", "-a"] {
            assert_eq!(QName::clark(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_lists_end_with_what_is_left_out() {
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("`29` and 10 more"));
        assert_eq!(listed([]), "none");
    }
}
