//! The documents that are read: each parsed once, found by the name that another one refers to it by.

use std::collections::HashMap;

use url::Url;

use super::names::{WSDL, XML, XSD, listed, short};
use super::xml::{Bounds, Element, Tree, XmlError, parse, text};
use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};

/// Documents that belong together, and their bytes altogether.
const DOCUMENTS: usize = 512;
const BYTES: usize = 64 << 20;

/// The documents that were opened, in the order in which they were needed.
#[derive(Debug)]
pub(crate) struct Sources<'d> {
    given: &'d Documents,
    opened: Vec<(String, Tree)>,
    by_name: HashMap<String, usize>,
    bytes: usize,
}

/// Where an element stands: a document and its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct At {
    pub(crate) source: usize,
    pub(crate) node: u32,
}

impl<'d> Sources<'d> {
    pub(crate) fn new(given: &'d Documents) -> Self {
        Self { given, opened: vec![], by_name: HashMap::new(), bytes: 0 }
    }

    /// The document with this name, parsed when it is first asked for. `None` where it is not among those given.
    pub(crate) fn open(&mut self, name: &str) -> Result<Option<usize>, CallError> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(Some(*known));
        }
        let Some(bytes) = self.given.get(name) else { return Ok(None) };
        self.bytes += bytes.len();
        if self.opened.len() >= DOCUMENTS || self.bytes > BYTES {
            let message = format!("more than {DOCUMENTS} documents or {BYTES} bytes of them belong together");
            return Err(CallError::new(ErrorKind::BadDocument, name, message));
        }
        let tree = read(bytes).map_err(|error| self.unreadable(name, &error))?;
        self.opened.push((name.to_owned(), tree));
        let number = self.opened.len() - 1;
        self.by_name.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn unreadable(&self, name: &str, error: &XmlError) -> CallError {
        let first = self.opened.is_empty();
        let place = if first { error.place.clone() } else { format!("{name}, {}", error.place) };
        CallError::new(ErrorKind::BadDocument, place, error.message.clone())
    }

    /// The document that `location` names, seen from another one.
    pub(crate) fn open_from(&mut self, from: usize, location: &str) -> Result<Option<usize>, CallError> {
        let resolved = resolve(&self.opened[from].0, location);
        match self.open(&resolved)? {
            Some(found) => Ok(Some(found)),
            // Whoever collected them may have kept the name that was written.
            None => self.open(location),
        }
    }

    pub(crate) fn root(&self, source: usize) -> Element<'_> {
        self.opened[source].1.root()
    }

    pub(crate) fn element(&self, at: At) -> Element<'_> {
        self.opened[at.source].1.element(at.node)
    }

    /// `line 4, column 7` in the first document, `types.xsd, line 4, column 7` in others.
    pub(crate) fn place(&self, at: At) -> String {
        let place = self.element(at).place();
        if at.source == 0 { place } else { format!("{}, {place}", self.opened[at.source].0) }
    }

    pub(crate) fn bad(&self, at: At, message: impl Into<String>) -> CallError {
        CallError::new(ErrorKind::BadDocument, self.place(at), message)
    }
}

fn read(bytes: &[u8]) -> Result<Tree, XmlError> {
    if bytes.len() > Bounds::DOCUMENT.bytes {
        let message = format!("the document has {} bytes, more than {}", bytes.len(), Bounds::DOCUMENT.bytes);
        return Err(XmlError::at_start(message));
    }
    parse(&text(bytes, None)?, &Bounds::DOCUMENT)
}

/// A location that a document names, seen from there: an address against an address, a relative path against a path.
pub(crate) fn resolve(from: &str, location: &str) -> String {
    let location = location.trim();
    if Url::parse(location).is_ok_and(|url| url.scheme().len() > 1) {
        return location.to_owned();
    }
    if let Some(base) = Url::parse(from).ok().filter(|url| !url.cannot_be_a_base() && url.scheme().len() > 1)
    {
        return base.join(location).map_or_else(|_| location.to_owned(), |url| url.to_string());
    }
    let location = location.replace('\\', "/");
    if location.starts_with('/') {
        return location;
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = if folder.is_empty() { vec![] } else { folder.split('/').collect() };
    for part in location.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The documents that this one refers to, by `wsdl:import`, `xsd:import`, `xsd:include` and `xsd:redefine`: their
/// names seen from `name`, each once, in order. Those of namespaces that are known here are left out.
///
/// # Errors
/// `BadDocument`, with line and column, when the text is neither a WSDL 1.1 nor an XML Schema document.
pub fn imports(name: &str, document: &[u8]) -> Result<Vec<String>, CallError> {
    let tree =
        read(document).map_err(|error| CallError::new(ErrorKind::BadDocument, error.place, error.message))?;
    let root = tree.root();
    let schemas: Vec<Element<'_>> = if root.is(XSD, "schema") {
        vec![root]
    } else if root.is(WSDL, "definitions") {
        let types = root.children().filter(|child| child.is(WSDL, "types"));
        types.flat_map(Element::children).filter(|child| child.is(XSD, "schema")).collect()
    } else {
        return Err(CallError::new(ErrorKind::BadDocument, root.place(), not_expected(root)));
    };
    let mut found: Vec<String> = vec![];
    let wsdl = root.children().filter(|child| child.is(WSDL, "import"));
    let locations = wsdl.filter_map(|import| import.attribute("location"));
    let schemas = schemas.into_iter().flat_map(Element::children).filter(|child| {
        child.namespace() == XSD
            && matches!(child.local(), "import" | "include" | "redefine")
            && !child.attribute("namespace").is_some_and(is_known)
    });
    for location in locations.chain(schemas.filter_map(|child| child.attribute("schemaLocation"))) {
        let resolved = resolve(name, location);
        if resolved != name && !found.contains(&resolved) {
            found.push(resolved);
        }
    }
    Ok(found)
}

pub(crate) fn not_expected(root: Element<'_>) -> String {
    let known = listed(["definitions", "schema"]);
    let found = format!("`{}` of namespace `{}`", short(root.local()), short(root.namespace()));
    let hint = if root.namespace() == "http://www.w3.org/ns/wsdl" { "; WSDL 2.0 is not read" } else { "" };
    format!("expected WSDL 1.1 or XML Schema ({known}), found {found}{hint}")
}

/// Namespaces whose schemas are built in.
fn is_known(namespace: &str) -> bool {
    matches!(namespace, XML | XSD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_their_document() {
        for (from, location, expected) in [
            ("service.wsdl", "types.xsd", "types.xsd"),
            ("a/b/service.wsdl", "../types/t.xsd", "a/types/t.xsd"),
            ("a/service.wsdl", "./x//t.xsd", "a/x/t.xsd"),
            ("service.wsdl", "../t.xsd", "../t.xsd"),
            ("/a/service.wsdl", "../../t.xsd", "/../t.xsd"),
            ("http://h:1/s?wsdl", "s?xsd=1", "http://h:1/s?xsd=1"),
            ("http://h:1/a/s.wsdl", "../t.xsd", "http://h:1/t.xsd"),
            ("service.wsdl", "http://h/t.xsd", "http://h/t.xsd"),
            ("a/service.wsdl", "x\\t.xsd", "a/x/t.xsd"),
        ] {
            assert_eq!(resolve(from, location), expected, "{from} {location}");
        }
    }

    #[test]
    fn what_is_referred_to_is_listed_once() {
        let text = br#"<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:x="http://www.w3.org/2001/XMLSchema">
            <import namespace="urn:i" location="i.wsdl"/>
            <types><x:schema><x:include schemaLocation="a.xsd"/><x:import namespace="urn:b" schemaLocation="../b.xsd"/>
            <x:import namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="http://www.w3.org/2001/xml.xsd"/>
            <x:import namespace="urn:none"/></x:schema><x:schema><x:redefine schemaLocation="a.xsd"/></x:schema></types></definitions>"#;
        assert_eq!(imports("w/s.wsdl", text).unwrap(), ["w/i.wsdl", "w/a.xsd", "b.xsd"]);
        let error = imports("x", b"<html/>").unwrap_err();
        assert!(error.message.contains("found `html`") && error.place == "line 1, column 1", "{error}");
    }
}
