//! Text to a tree, within bounds.

use std::collections::HashMap;
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{Attribute, Kind, NONE, Node, Scope, Tree};
use crate::soap::names::{XML, XMLNS, is_char, is_ncname, short};

/// What a document may have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of its decoded text; at most 1 GiB.
    pub(crate) bytes: usize,
    /// Elements within elements.
    pub(crate) depth: usize,
    /// Elements and texts.
    pub(crate) nodes: usize,
    /// Attributes of one element, declarations of namespaces among them.
    pub(crate) attributes: usize,
}

impl Bounds {
    /// Of documents that describe services.
    pub(crate) const DOCUMENT: Self = Self { bytes: 32 << 20, depth: 128, nodes: 1_000_000, attributes: 256 };
}

/// Prefixes that may hold at once.
const PREFIXES: usize = 256;

/// Why a text is no document that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XmlError {
    /// `line 4, column 7`
    pub(crate) place: String,
    pub(crate) message: String,
    /// Whether a bound was reached.
    pub(crate) too_large: bool,
}

impl XmlError {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), too_large: false }
    }

    pub(crate) fn at_start(message: impl Into<String>) -> Self {
        Self::new("line 1, column 1", message)
    }
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, has a DTD or entities, uses a prefix that is not declared, or passes a bound.
pub(crate) fn parse(text: &str, bounds: &Bounds) -> Result<Tree, XmlError> {
    if text.len() > bounds.bytes.min(1 << 30) {
        return Err(XmlError {
            too_large: true,
            ..XmlError::at_start(format!("the document has {} bytes, more than {}", text.len(), bounds.bytes))
        });
    }
    let mut builder = Builder {
        tree: Tree { names: vec![Arc::from("")], ..Tree::default() },
        ids: HashMap::from([(Arc::from(""), 0)]),
        open: vec![],
        last: vec![],
        bounds,
        ended: false,
    };
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    loop {
        let offset = reader.buffer_position();
        let event = reader.read_event();
        let step = match event {
            Ok(Event::Eof) => break,
            Ok(event) => builder.event(event, offset),
            Err(error) => {
                // Some errors are told where they begin, some only where reading stopped.
                let at = reader.error_position().max(offset);
                return Err(located(text, at, error.to_string(), false));
            }
        };
        step.map_err(|problem| located(text, offset, problem.message, problem.too_large))?;
    }
    if let Some(open) = builder.open.last() {
        let open = &builder.tree.nodes[*open as usize];
        let Kind::Element { local, .. } = open.kind else { unreachable!("only elements are open") };
        let message = format!("the document ends within `{}`", builder.tree.names[local as usize]);
        let place = located(text, u64::from(open.offset), message, false);
        return Err(place);
    }
    if builder.tree.nodes.is_empty() {
        return Err(XmlError::at_start("expected an XML document, found no element"));
    }
    builder.tree.lines = std::iter::once(0)
        .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1))
        .collect();
    builder.tree.source = text.into();
    Ok(builder.tree)
}

fn located(text: &str, offset: u64, message: String, too_large: bool) -> XmlError {
    let mut offset = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    XmlError { place: format!("line {line}, column {column}"), message, too_large }
}

struct Problem {
    message: String,
    too_large: bool,
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self { message, too_large: false }
    }
}

impl From<&str> for Problem {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

fn bound(message: String) -> Problem {
    Problem { message, too_large: true }
}

struct Builder<'b> {
    tree: Tree,
    ids: HashMap<Arc<str>, u32>,
    /// Elements that are not closed yet.
    open: Vec<u32>,
    /// The last node within each of them.
    last: Vec<u32>,
    bounds: &'b Bounds,
    ended: bool,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, offset: u64) -> Result<(), Problem> {
        match event {
            Event::Start(start) => self.start(&start, offset),
            Event::Empty(start) => {
                self.start(&start, offset)?;
                self.end();
                Ok(())
            }
            Event::End(_) => {
                self.end();
                Ok(())
            }
            Event::Text(text) => {
                if text.contains("]]>") {
                    return Err("`]]>` in text".into());
                }
                self.text(&text.xml10_content(), offset)
            }
            Event::CData(text) => {
                if self.open.is_empty() {
                    return Err("text outside of the outermost element".into());
                }
                self.text(&text.xml10_content(), offset)
            }
            Event::GeneralRef(reference) => {
                let text = resolved(&reference)?;
                self.text(text.as_str(), offset)
            }
            Event::DocType(_) => Err("a document type declaration (DTD), which is refused here".into()),
            Event::Decl(declaration) => {
                let version = declaration.version().map_err(|error| error.to_string())?;
                if offset > 0 {
                    return Err("an XML declaration that is not at the beginning".into());
                }
                if matches!(&*version, "1.0" | "1.1") {
                    Ok(())
                } else {
                    Err(format!("expected XML 1.0, found version `{}`", short(&version)).into())
                }
            }
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.tree.names.len() as u32;
        let name: Arc<str> = Arc::from(name);
        self.tree.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    fn append(&mut self, kind: Kind, offset: u64) -> Result<u32, Problem> {
        if self.tree.nodes.len() >= self.bounds.nodes {
            return Err(bound(format!("more than {} elements and texts", self.bounds.nodes)));
        }
        let id = self.tree.nodes.len() as u32;
        let parent = self.open.last().copied().unwrap_or(NONE);
        self.tree.nodes.push(Node { parent, next: NONE, first: NONE, offset: offset as u32, kind });
        if let (Some(parent), Some(last)) = (self.open.last(), self.last.last_mut()) {
            if *last == NONE {
                self.tree.nodes[*parent as usize].first = id;
            } else {
                self.tree.nodes[*last as usize].next = id;
            }
            *last = id;
        }
        Ok(id)
    }

    fn end(&mut self) {
        self.open.pop();
        self.last.pop();
        self.ended = self.open.is_empty();
    }

    fn text(&mut self, text: &str, offset: u64) -> Result<(), Problem> {
        if self.open.is_empty() {
            let space = text.chars().all(|char| matches!(char, ' ' | '\t' | '\n' | '\r'));
            return if space { Ok(()) } else { Err("text outside of the outermost element".into()) };
        }
        if let Some(wrong) = text.chars().find(|char| !is_char(*char)) {
            return Err(format!("the character U+{:04X}, which XML does not allow", wrong as u32).into());
        }
        if text.is_empty() {
            return Ok(());
        }
        let (start, length) = (self.tree.text.len() as u32, text.len() as u32);
        self.tree.text.push_str(text);
        let last = self.last.last().copied().unwrap_or(NONE);
        if let Some(Node { kind: Kind::Text { length: before, .. }, .. }) =
            self.tree.nodes.get_mut(last as usize)
        {
            *before += length;
            return Ok(());
        }
        self.append(Kind::Text { start, length }, offset).map(|_| ())
    }

    fn start(&mut self, start: &BytesStart<'_>, offset: u64) -> Result<(), Problem> {
        if self.ended {
            return Err(format!("a second outermost element, `{}`", short(start.name().0)).into());
        }
        if self.open.len() >= self.bounds.depth {
            return Err(bound(format!("elements more than {} deep", self.bounds.depth)));
        }
        let inherited = self.open.last().map_or(NONE, |open| match self.tree.nodes[*open as usize].kind {
            Kind::Element { scope, .. } => scope,
            Kind::Text { .. } => NONE,
        });
        let (raw, scope) = self.declarations(start, inherited)?;
        let (namespace, local) = self.resolve(start.name().0, scope, true)?;
        let first = self.tree.attributes.len();
        for (name, value) in raw {
            let (namespace, local) = self.resolve(&name, scope, false)?;
            let before = &self.tree.attributes[first..];
            if before.iter().any(|other| other.namespace == namespace && other.local == local) {
                return Err(format!("the attribute `{}` twice", short(&name)).into());
            }
            self.tree.attributes.push(Attribute { namespace, local, value });
        }
        let count = (self.tree.attributes.len() - first) as u16;
        let id =
            self.append(Kind::Element { namespace, local, attributes: first as u32, count, scope }, offset)?;
        self.open.push(id);
        self.last.push(NONE);
        Ok(())
    }

    /// Reads attributes: those that declare prefixes are added to the scope, the others are handed back.
    #[expect(clippy::type_complexity, reason = "names and values, and the scope")]
    fn declarations(
        &mut self,
        start: &BytesStart<'_>,
        inherited: u32,
    ) -> Result<(Vec<(String, Box<str>)>, u32), Problem> {
        let (mut raw, mut scope) = (vec![], inherited);
        let mut declared: Vec<u32> = vec![];
        let mut attributes = start.attributes();
        // Ours knows namespaces, and is bounded before it compares each with each.
        attributes.with_checks(false);
        for (number, attribute) in attributes.enumerate() {
            if number >= self.bounds.attributes {
                return Err(bound(format!("more than {} attributes", self.bounds.attributes)));
            }
            let attribute = attribute.map_err(|error| error.to_string())?;
            let name = attribute.key.0;
            if attribute.value.contains('<') {
                return Err(format!("`<` in the value of `{}`", short(name)).into());
            }
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            if let Some(wrong) = value.chars().find(|char| !is_char(*char)) {
                return Err(format!("the character U+{:04X}, which XML does not allow", wrong as u32).into());
            }
            let prefix = if name == "xmlns" {
                ""
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                prefix
            } else {
                raw.push((name.to_owned(), value.into()));
                continue;
            };
            if name != "xmlns" && !is_ncname(prefix) {
                return Err(format!("expected a prefix, found `{}`", short(name)).into());
            }
            if prefix == "xml" && value == XML {
                continue;
            }
            if prefix == "xmlns" || prefix == "xml" || value == XML || value == XMLNS {
                return Err(format!("`{}` declares what is reserved", short(name)).into());
            }
            let (prefix, namespace) = (self.name(prefix), self.name(&value));
            if declared.contains(&prefix) {
                return Err(format!("the attribute `{}` twice", short(name)).into());
            }
            declared.push(prefix);
            scope = self.declare(prefix, namespace, scope)?;
        }
        Ok((raw, scope))
    }

    fn declare(&mut self, prefix: u32, namespace: u32, before: u32) -> Result<u32, Problem> {
        let (mut held, mut at) = (0, before);
        while let Some(scope) = self.tree.scopes.get(at as usize) {
            // What says the same again needs no place: each element of a list may declare its prefixes.
            if scope.prefix == prefix {
                if scope.namespace == namespace {
                    return Ok(before);
                }
                break;
            }
            (held, at) = (held + 1, scope.before);
        }
        if held >= PREFIXES {
            return Err(bound(format!("more than {PREFIXES} prefixes at once")));
        }
        self.tree.scopes.push(Scope { prefix, namespace, before });
        Ok(self.tree.scopes.len() as u32 - 1)
    }

    fn resolve(&mut self, name: &str, scope: u32, element: bool) -> Result<(u32, u32), Problem> {
        let (prefix, local) = match name.split_once(':') {
            Some((prefix, local)) => (Some(prefix), local),
            None => (None, name),
        };
        if !is_ncname(local) || prefix.is_some_and(|prefix| !is_ncname(prefix)) {
            return Err(format!("expected a name, found `{}`", short(name)).into());
        }
        let local = self.name(local);
        let namespace = match prefix {
            None if !element => 0,
            Some("xml") => self.name(XML),
            prefix => {
                let wanted = prefix.unwrap_or_default();
                let mut at = scope;
                loop {
                    let Some(declared) = self.tree.scopes.get(at as usize) else {
                        break if wanted.is_empty() { Some(0) } else { None };
                    };
                    if *self.tree.names[declared.prefix as usize] == *wanted {
                        break (wanted.is_empty() || declared.namespace != 0).then_some(declared.namespace);
                    }
                    at = declared.before;
                }
                .ok_or_else(|| format!("the prefix of `{}` is declared nowhere", short(name)))?
            }
        };
        Ok((namespace, local))
    }
}

/// The character that a reference stands for: a number, or one of the five of XML.
fn resolved(reference: &BytesRef<'_>) -> Result<String, Problem> {
    if let Some(char) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(char.to_string());
    }
    let name = reference.xml10_content();
    match resolve_xml_entity(&name) {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("the entity `&{};`, which is not one of the five of XML", short(&name)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soap::names::QName;

    fn tree(text: &str) -> Tree {
        parse(text, &Bounds::DOCUMENT).unwrap()
    }

    fn refused(text: &str) -> (String, String) {
        let error = parse(text, &Bounds::DOCUMENT).unwrap_err();
        (error.place, error.message)
    }

    #[test]
    fn names_have_their_namespaces() {
        let tree = tree(
            "<a xmlns='urn:1' xmlns:p='urn:2' x='1' p:x=' 2\n3 '><p:b>t&amp;<![CDATA[<c>]]>&#65;<!-- - -->u</p:b><b xmlns=''/></a>",
        );
        let root = tree.root();
        assert_eq!(root.name(), QName::new("urn:1", "a"));
        assert_eq!((root.attribute("x"), root.attribute_of("urn:2", "x")), (Some("1"), Some(" 2 3 ")));
        let b = root.child("urn:2", "b").unwrap();
        assert_eq!(b.text(), "t&<c>Au");
        assert_eq!(b.contents().count(), 1);
        let last = root.children().nth(1).unwrap();
        assert_eq!(
            (last.name(), last.qname("p:z").unwrap()),
            (QName::new("", "b"), QName::new("urn:2", "z"))
        );
        assert_eq!(b.qname("z").unwrap(), QName::new("urn:1", "z"));
        assert!(b.qname("q:z").is_err() && b.qname(":z").is_err() && b.qname("").is_err());
        assert_eq!((b.path().as_str(), last.path().as_str()), ("/a/b[1]", "/a/b[2]"));
    }

    #[test]
    fn places_are_lines_and_characters() {
        let tree = tree("<a>\n  <b>ü</b><c/>\n</a>");
        assert_eq!(tree.root().children().nth(1).unwrap().place(), "line 2, column 11");
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_place() {
        for (text, place, says) in [
            ("<a>\n <b></c></a>", "line 2, column 5", "expected"),
            ("<a><b>", "line 1, column 4", "ends within `b`"),
            ("<a", "line 1, column 1", "not closed"),
            ("", "line 1, column 1", "no element"),
            ("<a/><b/>", "line 1, column 5", "second outermost"),
            ("<a/>x", "line 1, column 5", "text outside"),
            ("x<a/>", "line 1, column 1", "text outside"),
            ("<a x='1' x='2'/>", "line 1, column 1", "`x` twice"),
            ("<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>", "line 1, column 1", "`q:x` twice"),
            ("<p:a/>", "line 1, column 1", "prefix of `p:a`"),
            ("<a p:x='1'/>", "line 1, column 1", "prefix of `p:x`"),
            ("<a xmlns:p='u'><b xmlns:p=''><p:c/></b></a>", "line 1, column 30", "prefix of `p:c`"),
            ("<a>&x;</a>", "line 1, column 4", "entity `&x;`"),
            ("<a x='&x;'/>", "line 1, column 1", "x"),
            ("<a>&#0;</a>", "line 1, column 4", ""),
            ("<a>&#1;</a>", "line 1, column 4", "U+0001"),
            ("<a>\u{1}</a>", "line 1, column 4", "U+0001"),
            ("<a x='<'/>", "line 1, column 1", "`<` in"),
            ("<1a/>", "line 1, column 1", "expected a name"),
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a/>", "line 1, column 1", "DTD"),
            ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "line 1, column 1", "DTD"),
            ("<a>]]></a>", "line 1, column 4", "`]]>`"),
            ("<a/><?xml version='1.0'?>", "line 1, column 5", "beginning"),
            ("<?xml version='2.0'?><a/>", "line 1, column 1", "2.0"),
        ] {
            let (found, message) = refused(text);
            assert!(message.contains(says), "{text}: {message}");
            assert_eq!(found, place, "{text}: {message}");
        }
    }

    #[test]
    fn bounds_hold() {
        let deep = "<a>".repeat(100_000);
        let error = parse(&deep, &Bounds::DOCUMENT).unwrap_err();
        assert!(error.too_large && error.message.contains("128 deep"), "{error:?}");
        let many = format!("<a {}/>", (0..5_000_000).map(|n| format!("a{n}='' ")).collect::<String>());
        let error = parse(&many, &Bounds { bytes: 1 << 30, ..Bounds::DOCUMENT }).unwrap_err();
        assert!(error.too_large && error.message.contains("256 attributes"), "{error:?}");
        let wide = format!("<a>{}</a>", "<b/>".repeat(1000));
        let error = parse(&wide, &Bounds { nodes: 1000, ..Bounds::DOCUMENT }).unwrap_err();
        assert!(error.too_large, "{error:?}");
        let error = parse(&wide, &Bounds { bytes: 1000, ..Bounds::DOCUMENT }).unwrap_err();
        assert!(error.too_large && error.message.contains("4007 bytes"), "{error:?}");
        let prefixes = (0..3).map(|d| (0..100).map(|n| format!("xmlns:p{d}x{n}='u' ")).collect::<String>());
        let nested: String = prefixes.map(|declared| format!("<a {declared}>")).collect();
        assert!(parse(&nested, &Bounds::DOCUMENT).unwrap_err().message.contains("256 prefixes"));
    }
}
