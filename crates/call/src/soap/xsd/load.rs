//! Schema documents: what they include, import and redefine, and the components that they declare.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::CallError;
use crate::soap::names::{QName, XSD, is_ncname, short};
use crate::soap::sources::{At, Sources, not_expected};
use crate::soap::xml::Element;

/// What can be declared by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    Element,
    Type,
    Attribute,
    Group,
    AttributeGroup,
}

impl Sort {
    const fn of(local: &str) -> Option<Self> {
        match local.as_bytes() {
            b"element" => Some(Self::Element),
            b"complexType" | b"simpleType" => Some(Self::Type),
            b"attribute" => Some(Self::Attribute),
            b"group" => Some(Self::Group),
            b"attributeGroup" => Some(Self::AttributeGroup),
            _ => None,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::Type => "type",
            Self::Attribute => "attribute",
            Self::Group => "group",
            Self::AttributeGroup => "attribute group",
        }
    }
}

/// One `xsd:schema`, as seen by those who include it.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) target: Arc<str>,
    /// It has no namespace of its own and takes that of the includer, its references too.
    pub(crate) chameleon: bool,
    pub(crate) qualified_elements: bool,
    pub(crate) qualified_attributes: bool,
}

/// A declared component.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) schema: usize,
    pub(crate) at: At,
    /// What it redefines.
    pub(crate) original: Option<Box<Component>>,
}

/// All declared components.
#[derive(Debug, Default)]
pub(crate) struct Components {
    pub(crate) schemas: Vec<Schema>,
    pub(crate) all: HashMap<(Sort, QName), Component>,
    /// Names in the order of the documents.
    pub(crate) order: Vec<(Sort, QName)>,
    seen: HashSet<(At, Arc<str>)>,
    redefinitions: Vec<(usize, At)>,
    /// Locations that were named and are not among the documents.
    pub(crate) missing: Vec<String>,
}

impl Components {
    /// Adds a schema and all that it refers to.
    pub(crate) fn add(&mut self, sources: &mut Sources<'_>, at: At) -> Result<(), CallError> {
        let mut queue = vec![(at, None::<Arc<str>>)];
        while let Some((at, includer)) = queue.pop() {
            self.one(sources, at, includer, &mut queue)?;
        }
        Ok(())
    }

    /// One schema; what it refers to is queued.
    fn one(
        &mut self,
        sources: &mut Sources<'_>,
        at: At,
        includer: Option<Arc<str>>,
        queue: &mut Vec<(At, Option<Arc<str>>)>,
    ) -> Result<(), CallError> {
        let root = sources.element(at);
        let own = root.attribute("targetNamespace");
        let chameleon = own.is_none() && includer.is_some();
        let target: Arc<str> =
            own.map_or_else(|| includer.clone().unwrap_or_else(|| Arc::from("")), Arc::from);
        if includer.is_some_and(|includer| includer != target) {
            return Err(sources.bad(
                at,
                format!("namespace `{}` is included by another one; expected xsd:import", short(&target)),
            ));
        }
        if !self.seen.insert((at, target.clone())) {
            return Ok(());
        }
        let qualified = |name: &str| root.attribute(name) == Some("qualified");
        self.schemas.push(Schema {
            target: target.clone(),
            chameleon,
            qualified_elements: qualified("elementFormDefault"),
            qualified_attributes: qualified("attributeFormDefault"),
        });
        let schema = self.schemas.len() - 1;
        let children: Vec<At> =
            root.children().map(|child| At { source: at.source, node: child.id() }).collect();
        for child in children {
            self.child(sources, schema, child, queue)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        sources: &mut Sources<'_>,
        schema: usize,
        at: At,
        queue: &mut Vec<(At, Option<Arc<str>>)>,
    ) -> Result<(), CallError> {
        let element = sources.element(at);
        if element.namespace() != XSD {
            return Err(sources
                .bad(at, format!("expected a component of XML Schema, found `{}`", short(element.local()))));
        }
        match element.local() {
            "import" => {
                let namespace = element.attribute("namespace").unwrap_or_default().to_owned();
                if let Some(found) = self.referred(sources, at)? {
                    let target = sources.element(found).attribute("targetNamespace").unwrap_or_default();
                    if target != namespace {
                        return Err(sources.bad(
                            at,
                            format!(
                                "expected a schema of namespace `{}`, found one of `{}`",
                                short(&namespace),
                                short(target)
                            ),
                        ));
                    }
                    queue.push((found, None));
                }
                Ok(())
            }
            "include" | "redefine" => {
                let redefines = element.local() == "redefine";
                let target = self.schemas[schema].target.clone();
                if let Some(found) = self.referred(sources, at)? {
                    queue.push((found, Some(target)));
                }
                if redefines {
                    let within = sources.element(at).children().filter(|child| child.namespace() == XSD);
                    let within = within.filter(|child| Sort::of(child.local()).is_some());
                    let within = within.map(|child| (schema, At { source: at.source, node: child.id() }));
                    self.redefinitions.extend(within);
                }
                Ok(())
            }
            "annotation" | "notation" | "defaultOpenContent" => Ok(()),
            local => {
                match Sort::of(local) {
                    Some(sort) => {
                        let name = self.name_of(sources, schema, at, element)?;
                        self.declare(sources, sort, name, Component { schema, at, original: None })
                    }
                    None => Err(sources
                        .bad(at, format!("expected a component of XML Schema, found `{}`", short(local)))),
                }
            }
        }
    }

    /// The schema that an import, include or redefine names; `None` where it is not among the documents.
    fn referred(&mut self, sources: &mut Sources<'_>, at: At) -> Result<Option<At>, CallError> {
        let Some(location) = sources.element(at).attribute("schemaLocation").map(str::to_owned) else {
            return Ok(None);
        };
        let Some(found) = sources.open_from(at.source, &location)? else {
            self.missing.push(location);
            return Ok(None);
        };
        let root = sources.root(found);
        let there = At { source: found, node: root.id() };
        if !root.is(XSD, "schema") {
            return Err(sources.bad(there, not_expected(root)));
        }
        Ok(Some(there))
    }

    fn name_of(
        &self,
        sources: &Sources<'_>,
        schema: usize,
        at: At,
        element: Element<'_>,
    ) -> Result<QName, CallError> {
        let name = element.attribute("name").map(str::trim).filter(|name| is_ncname(name));
        let name = name.ok_or_else(|| sources.bad(at, format!("`{}` needs a `name`", element.local())))?;
        Ok(QName { namespace: self.schemas[schema].target.clone(), local: Arc::from(name) })
    }

    fn declare(
        &mut self,
        sources: &Sources<'_>,
        sort: Sort,
        name: QName,
        component: Component,
    ) -> Result<(), CallError> {
        let key = (sort, name);
        let Some(known) = self.all.get(&key) else {
            self.order.push(key.clone());
            self.all.insert(key, component);
            return Ok(());
        };
        // The same document may be reached by two names, and generators repeat themselves.
        if sources.element(known.at).same(sources.element(component.at)) {
            return Ok(());
        }
        let message =
            format!("{} `{}` is declared differently at {}", sort.word(), key.1, sources.place(known.at));
        Err(sources.bad(component.at, message))
    }

    /// Puts redefinitions in the place of what they redefine, when all is there.
    pub(crate) fn redefine(&mut self, sources: &Sources<'_>) -> Result<(), CallError> {
        for (schema, at) in std::mem::take(&mut self.redefinitions) {
            let element = sources.element(at);
            let Some(sort) = Sort::of(element.local()) else { continue };
            let key = (sort, self.name_of(sources, schema, at, element)?);
            let Some(known) = self.all.get_mut(&key) else {
                return Err(sources.bad(
                    at,
                    format!("{} `{}`, which it redefines, is declared nowhere", sort.word(), key.1),
                ));
            };
            if known.at == at {
                continue;
            }
            let original = std::mem::replace(known, Component { schema, at, original: None });
            known.original = Some(Box::new(original));
        }
        Ok(())
    }
}
