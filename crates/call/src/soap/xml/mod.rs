//! XML as a bounded tree: no DTD, no entities but the five of XML, every name with its namespace.

mod decode;
mod parse;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use decode::text;
pub(crate) use parse::{Bounds, XmlError, parse};
pub(crate) use write::Writer;

use super::names::{QName, XML, is_ncname, short};

/// A document. Nodes stand in one list, so that a deep one is dropped without recursion.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    attributes: Vec<Attribute>,
    /// All character data, one after the other.
    text: String,
    /// Each name, prefix and namespace once; the first is the empty one.
    names: Vec<Arc<str>>,
    scopes: Vec<Scope>,
    /// Where lines begin, in bytes of the decoded text.
    lines: Vec<u32>,
    /// The decoded text where lines have other than ASCII characters, for columns.
    source: Box<str>,
}

/// No node, no scope.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    parent: u32,
    next: u32,
    first: u32,
    /// Where it begins, in bytes of the decoded text.
    offset: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Element { namespace: u32, local: u32, attributes: u32, count: u16, scope: u32 },
    Text { start: u32, length: u32 },
}

#[derive(Debug)]
struct Attribute {
    namespace: u32,
    local: u32,
    value: Box<str>,
}

/// A declared prefix and the declaration before it that also holds.
#[derive(Debug)]
struct Scope {
    prefix: u32,
    namespace: u32,
    before: u32,
}

/// An element or a piece of text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'t> {
    Element(Element<'t>),
    Text(&'t str),
}

/// An element of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'t> {
    tree: &'t Tree,
    id: u32,
}

impl Tree {
    /// The outermost element.
    pub(crate) const fn root(&self) -> Element<'_> {
        Element { tree: self, id: 0 }
    }

    /// The element with this id, of [`Element::id`].
    pub(crate) const fn element(&self, id: u32) -> Element<'_> {
        Element { tree: self, id }
    }

    fn place(&self, offset: u32) -> String {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = self.source.get(start as usize..offset as usize).map_or(0, |text| text.chars().count());
        format!("line {line}, column {}", column + 1)
    }
}

impl<'t> Element<'t> {
    fn node(self) -> &'t Node {
        &self.tree.nodes[self.id as usize]
    }

    fn named(self, name: u32) -> &'t Arc<str> {
        &self.tree.names[name as usize]
    }

    fn parts(self) -> (u32, u32, u32, u16, u32) {
        match self.node().kind {
            Kind::Element { namespace, local, attributes, count, scope } => {
                (namespace, local, attributes, count, scope)
            }
            // Only elements are handed out.
            Kind::Text { .. } => (0, 0, 0, 0, NONE),
        }
    }

    pub(crate) const fn id(self) -> u32 {
        self.id
    }

    pub(crate) fn namespace(self) -> &'t str {
        self.named(self.parts().0)
    }

    pub(crate) fn local(self) -> &'t str {
        self.named(self.parts().1)
    }

    pub(crate) fn name(self) -> QName {
        let (namespace, local, ..) = self.parts();
        QName { namespace: self.named(namespace).clone(), local: self.named(local).clone() }
    }

    pub(crate) fn is(self, namespace: &str, local: &str) -> bool {
        self.local() == local && self.namespace() == namespace
    }

    /// The value of an attribute without a namespace.
    pub(crate) fn attribute(self, local: &str) -> Option<&'t str> {
        self.attribute_of("", local)
    }

    pub(crate) fn attribute_of(self, namespace: &str, local: &str) -> Option<&'t str> {
        self.attributes().find(|(ns, name, _)| *name == local && *ns == namespace).map(|(_, _, value)| value)
    }

    /// Namespace, local name and value of each attribute; declarations of namespaces are none.
    pub(crate) fn attributes(self) -> impl Iterator<Item = (&'t str, &'t str, &'t str)> {
        let (_, _, start, count, _) = self.parts();
        let range = start as usize..start as usize + usize::from(count);
        self.tree.attributes[range]
            .iter()
            .map(move |a| (&**self.named(a.namespace), &**self.named(a.local), &*a.value))
    }

    /// Elements and texts within, in order.
    pub(crate) fn contents(self) -> impl Iterator<Item = Content<'t>> {
        let tree = self.tree;
        let mut next = self.node().first;
        std::iter::from_fn(move || {
            let node = tree.nodes.get(next as usize)?;
            let content = match node.kind {
                Kind::Element { .. } => Content::Element(Element { tree, id: next }),
                Kind::Text { start, length } => {
                    Content::Text(&tree.text[start as usize..(start + length) as usize])
                }
            };
            next = node.next;
            Some(content)
        })
    }

    /// Elements within, in order.
    pub(crate) fn children(self) -> impl Iterator<Item = Self> {
        self.contents().filter_map(|content| match content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
    }

    pub(crate) fn child(self, namespace: &str, local: &str) -> Option<Self> {
        self.children().find(|child| child.is(namespace, local))
    }

    /// All text directly within.
    pub(crate) fn text(self) -> Cow<'t, str> {
        let mut whole = Cow::Borrowed("");
        for content in self.contents() {
            if let Content::Text(text) = content {
                if whole.is_empty() {
                    whole = Cow::Borrowed(text);
                } else {
                    whole.to_mut().push_str(text);
                }
            }
        }
        whole
    }

    pub(crate) fn parent(self) -> Option<Self> {
        let id = self.node().parent;
        (id != NONE).then_some(Self { tree: self.tree, id })
    }

    /// The namespace of a prefix here; the empty prefix is the default one. `None` where it is declared nowhere.
    pub(crate) fn prefix(self, prefix: &str) -> Option<Arc<str>> {
        if prefix == "xml" {
            return Some(Arc::from(XML));
        }
        let mut scope = self.parts().4;
        while let Some(declared) = self.tree.scopes.get(scope as usize) {
            if **self.named(declared.prefix) == *prefix {
                let namespace = self.named(declared.namespace);
                return (prefix.is_empty() || !namespace.is_empty()).then(|| namespace.clone());
            }
            scope = declared.before;
        }
        prefix.is_empty().then(|| self.named(0).clone())
    }

    /// Reads `prefix:name` by the declarations that hold here; a name without prefix is in the default namespace.
    ///
    /// # Errors
    /// When it is no name or its prefix is declared nowhere.
    pub(crate) fn qname(self, text: &str) -> Result<QName, String> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        let (prefix, local) = text.split_once(':').unwrap_or(("", text));
        if !is_ncname(local) || !(prefix.is_empty() || is_ncname(prefix)) || text.starts_with(':') {
            return Err(format!("expected a name such as `prefix:name`, found `{}`", short(text)));
        }
        let namespace = self.prefix(prefix);
        let namespace =
            namespace.ok_or_else(|| format!("the prefix of `{}` is declared nowhere", short(text)))?;
        Ok(QName { namespace, local: Arc::from(local) })
    }

    /// `line 4, column 7`
    pub(crate) fn place(self) -> String {
        self.tree.place(self.node().offset)
    }

    /// `/Envelope/Body/price[2]`: local names, with a number where a name stands more than once.
    pub(crate) fn path(self) -> String {
        let mut steps = vec![];
        let mut at = Some(self);
        while let Some(element) = at {
            at = element.parent();
            let same = |other: &Self| other.local() == element.local();
            let number = at.and_then(|parent| {
                let alike = parent.children().filter(same).take_while(|other| other.id != element.id).count();
                let only = alike == 0 && parent.children().filter(same).nth(1).is_none();
                (!only).then_some(alike + 1)
            });
            steps.push(number.map_or_else(
                || format!("/{}", element.local()),
                |number| format!("/{}[{number}]", element.local()),
            ));
        }
        steps.reverse();
        steps.concat()
    }

    /// Whether two elements say the same: names, attributes, texts but for space around them, elements in their order.
    pub(crate) fn same(self, other: Self) -> bool {
        let mut left = vec![(self, other)];
        while let Some((one, two)) = left.pop() {
            let mut attributes: (Vec<_>, Vec<_>) = (one.attributes().collect(), two.attributes().collect());
            attributes.0.sort_unstable();
            attributes.1.sort_unstable();
            let within: (Vec<_>, Vec<_>) = (one.children().collect(), two.children().collect());
            if !one.is(two.namespace(), two.local())
                || attributes.0 != attributes.1
                || one.text().trim() != two.text().trim()
                || within.0.len() != within.1.len()
            {
                return false;
            }
            left.extend(within.0.into_iter().zip(within.1));
        }
        true
    }
}
