//! WSDL documents: what they import, and what they declare by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::CallError;
use crate::soap::names::{QName, WSDL, XSD, is_ncname, listed, short};
use crate::soap::sources::{At, Sources, not_expected};
use crate::soap::xsd::Components;

/// Everything that the WSDL documents declare.
#[derive(Debug, Default)]
pub(crate) struct Wsdl {
    /// The outermost elements, the one that is meant first.
    pub(crate) definitions: Vec<At>,
    messages: HashMap<QName, At>,
    port_types: HashMap<QName, At>,
    pub(crate) bindings: Vec<(QName, At)>,
    pub(crate) services: Vec<(QName, At)>,
    pub(crate) components: Components,
    missing: Vec<String>,
}

impl Wsdl {
    /// Reads the first document and all that it imports.
    ///
    /// # Errors
    /// `BadDocument`, with line and column.
    pub(crate) fn load(sources: &mut Sources<'_>, first: usize) -> Result<Self, CallError> {
        let mut this = Self::default();
        let mut queue = vec![first];
        let mut seen = vec![first];
        while let Some(source) = queue.pop() {
            let root = sources.root(source);
            let at = At { source, node: root.id() };
            if root.is(XSD, "schema") && source != first {
                this.components.add(sources, at)?;
                continue;
            }
            if !root.is(WSDL, "definitions") {
                return Err(sources.bad(at, not_expected(root)));
            }
            this.definitions.push(at);
            let children: Vec<At> = root.children().map(|child| At { source, node: child.id() }).collect();
            let target: Arc<str> = Arc::from(root.attribute("targetNamespace").unwrap_or_default());
            for child in children {
                if let Some(imported) = this.child(sources, &target, child)?
                    && !seen.contains(&imported)
                {
                    seen.push(imported);
                    queue.push(imported);
                }
            }
        }
        this.components.redefine(sources)?;
        Ok(this)
    }

    /// One element of `definitions`; the document that it imports, if it does.
    fn child(
        &mut self,
        sources: &mut Sources<'_>,
        target: &Arc<str>,
        at: At,
    ) -> Result<Option<usize>, CallError> {
        let element = sources.element(at);
        if element.namespace() != WSDL {
            return Ok(None);
        }
        match element.local() {
            "import" => {
                let Some(location) = element.attribute("location").map(str::to_owned) else {
                    return Ok(None);
                };
                let found = sources.open_from(at.source, &location)?;
                if found.is_none() {
                    self.missing.push(location);
                }
                Ok(found)
            }
            "types" => {
                let schemas: Vec<At> = element
                    .children()
                    .filter(|child| child.is(XSD, "schema"))
                    .map(|child| At { source: at.source, node: child.id() })
                    .collect();
                for schema in schemas {
                    self.components.add(sources, schema)?;
                }
                Ok(None)
            }
            "message" | "portType" | "binding" | "service" => {
                let name = element.attribute("name").map(str::trim).filter(|name| is_ncname(name));
                let name =
                    name.ok_or_else(|| sources.bad(at, format!("`{}` needs a `name`", element.local())))?;
                let name = QName { namespace: target.clone(), local: Arc::from(name) };
                self.declare(sources, element.local().to_owned().as_str(), name, at)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn declare(&mut self, sources: &Sources<'_>, sort: &str, name: QName, at: At) -> Result<(), CallError> {
        let known = match sort {
            "message" => self.messages.insert(name.clone(), at),
            "portType" => self.port_types.insert(name.clone(), at),
            list => {
                let list = if list == "binding" { &mut self.bindings } else { &mut self.services };
                let known = list.iter().find(|(known, _)| *known == name).map(|(_, at)| *at);
                if known.is_none() {
                    list.push((name.clone(), at));
                }
                known
            }
        };
        match known {
            Some(known) if !sources.element(known).same(sources.element(at)) => Err(sources
                .bad(at, format!("{sort} `{name}` is declared differently at {}", sources.place(known)))),
            _ => Ok(()),
        }
    }

    /// The message with this name, as `from` refers to it.
    pub(crate) fn message(&self, sources: &Sources<'_>, from: At, name: &QName) -> Result<At, CallError> {
        let found = self.messages.get(name).copied();
        found.ok_or_else(|| self.unknown(sources, from, "message", name, self.messages.keys()))
    }

    pub(crate) fn port_type(&self, sources: &Sources<'_>, from: At, name: &QName) -> Result<At, CallError> {
        let found = self.port_types.get(name).copied();
        found.ok_or_else(|| self.unknown(sources, from, "port type", name, self.port_types.keys()))
    }

    pub(crate) fn binding(&self, sources: &Sources<'_>, from: At, name: &QName) -> Result<At, CallError> {
        let found = self.bindings.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
        found.ok_or_else(|| {
            self.unknown(sources, from, "binding", name, self.bindings.iter().map(|(name, _)| name))
        })
    }

    fn unknown<'a>(
        &self,
        sources: &Sources<'_>,
        from: At,
        sort: &str,
        name: &QName,
        known: impl Iterator<Item = &'a QName>,
    ) -> CallError {
        let mut known: Vec<String> = known.map(ToString::to_string).collect();
        known.sort_unstable();
        let mut message = format!(
            "{sort} `{}` is declared nowhere; known: {}",
            short(&name.to_string()),
            listed(known.iter().map(String::as_str))
        );
        if !self.missing.is_empty() {
            let missing = listed(self.missing.iter().map(String::as_str));
            message = format!("{message}; not among the documents: {missing}");
        }
        sources.bad(from, message)
    }
}

/// What an attribute of an element names.
pub(crate) fn named(sources: &Sources<'_>, at: At, attribute: &str) -> Result<QName, CallError> {
    let element = sources.element(at);
    let Some(name) = element.attribute(attribute) else {
        return Err(sources.bad(at, format!("`{}` needs `{attribute}`", element.local())));
    };
    element.qname(name).map_err(|message| sources.bad(at, message))
}
