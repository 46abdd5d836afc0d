//! Attributes of complex types.

use std::sync::Arc;

use super::compile::{CHAIN, Compiled, Compiler, Context};
use super::load::Sort;
use super::{AttributeUse, Wildcard};
use crate::soap::names::{QName, XML, XSD, is_ncname, short};
use crate::soap::xml::Element;

/// Attributes as they are collected.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) uses: Vec<AttributeUse>,
    pub(super) prohibited: Vec<QName>,
    pub(super) any: Option<Wildcard>,
}

impl Attributes {
    fn add(&mut self, attribute: AttributeUse) {
        match self.uses.iter_mut().find(|known| known.name == attribute.name) {
            Some(known) => *known = attribute,
            None => self.uses.push(attribute),
        }
    }

    /// These, and those of the base that are not said anew.
    pub(super) fn over(self, base: &[AttributeUse], any: Option<&Wildcard>, extends: bool) -> Self {
        let mut all = Self { uses: base.to_vec(), prohibited: vec![], any: self.any.clone() };
        all.uses.retain(|known| !self.prohibited.contains(&known.name));
        for attribute in self.uses {
            all.add(attribute);
        }
        if extends && all.any.is_none() {
            all.any = any.cloned();
        }
        all
    }

    /// Gives each its key: `@name`, or `@{namespace}name` where two have the same local name.
    pub(super) fn keyed(mut self) -> Self {
        let locals: Vec<Arc<str>> = self.uses.iter().map(|one| one.name.local.clone()).collect();
        for one in &mut self.uses {
            let alone = locals.iter().filter(|local| **local == one.name.local).count() == 1;
            one.key = if alone { format!("@{}", one.name.local) } else { clark_key(&one.name) };
        }
        self
    }
}

/// `@{namespace}name`, with the namespace also where it is none.
fn clark_key(name: &QName) -> String {
    format!("@{{{}}}{}", name.namespace, name.local)
}

impl Compiler<'_> {
    /// The attributes that are declared directly within this element.
    pub(super) fn attributes(&mut self, context: &Context, element: Element<'_>) -> Compiled<Attributes> {
        let mut all = Attributes::default();
        self.collect(context, element, &mut all, 0)?;
        Ok(all)
    }

    fn collect(
        &mut self,
        context: &Context,
        element: Element<'_>,
        all: &mut Attributes,
        depth: usize,
    ) -> Compiled<()> {
        for child in element.children().filter(|child| child.namespace() == XSD) {
            match child.local() {
                "attribute" => self.attribute(context, child, all)?,
                "anyAttribute" => all.any = Some(self.wildcard(context, child)),
                "attributeGroup" => {
                    let Some(name) = child.attribute("ref") else { continue };
                    if depth >= CHAIN {
                        return Err(self.failure(context, child, format!("attribute groups within each other more than {CHAIN} times, or within themselves")));
                    }
                    let name = self.resolve(context, child, name)?;
                    let component = self.component(context, child, Sort::AttributeGroup, &name)?;
                    let there = self.context(&component, Some((Sort::AttributeGroup, &name)));
                    self.count(context, child)?;
                    self.collect(&there, self.sources.element(component.at), all, depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn attribute(&mut self, context: &Context, element: Element<'_>, all: &mut Attributes) -> Compiled<()> {
        self.count(context, element)?;
        let (name, ty, default, fixed) = match (element.attribute("ref"), element.attribute("name")) {
            (Some(name), _) => self.referred_attribute(context, element, name)?,
            (None, Some(local)) if is_ncname(local) => {
                let schema = &self.components.schemas[context.schema];
                let qualified = match element.attribute("form") {
                    Some(form) => form == "qualified",
                    None => schema.qualified_attributes,
                };
                let namespace = if qualified { schema.target.clone() } else { Arc::from("") };
                let name = QName { namespace, local: Arc::from(local) };
                (name, self.attribute_type(context, element, local)?, None, None)
            }
            _ => return Err(self.failure(context, element, "an attribute needs a `name` or a `ref`")),
        };
        match element.attribute("use") {
            Some("prohibited") => {
                all.prohibited.push(name);
                return Ok(());
            }
            None | Some("optional" | "required") => {}
            Some(other) => {
                let message =
                    format!("expected `optional`, `required` or `prohibited`, found `{}`", short(other));
                return Err(self.failure(context, element, message));
            }
        }
        let own = |attribute: &str, inherited: Option<String>| {
            element.attribute(attribute).map(str::to_owned).or(inherited)
        };
        all.add(AttributeUse {
            name,
            key: String::new(),
            ty,
            required: element.attribute("use") == Some("required"),
            default: own("default", default),
            fixed: own("fixed", fixed),
        });
        Ok(())
    }

    fn referred_attribute(
        &mut self,
        context: &Context,
        element: Element<'_>,
        name: &str,
    ) -> Compiled<(QName, super::TypeId, Option<String>, Option<String>)> {
        let name = self.resolve(context, element, name)?;
        let known = self.components.all.contains_key(&(Sort::Attribute, name.clone()));
        // `xml:lang` and the others need no schema of theirs.
        if *name.namespace == *XML && !known {
            return Ok((name, self.any_simple(), None, None));
        }
        let component = self.component(context, element, Sort::Attribute, &name)?;
        let there = self.context(&component, None);
        let declared = self.sources.element(component.at);
        let ty = self.attribute_type(&there, declared, &name.local)?;
        let value = |attribute: &str| declared.attribute(attribute).map(str::to_owned);
        Ok((name, ty, value("default"), value("fixed")))
    }

    fn attribute_type(
        &mut self,
        context: &Context,
        element: Element<'_>,
        owner: &str,
    ) -> Compiled<super::TypeId> {
        if element.attribute("type").is_none() && element.child(XSD, "simpleType").is_none() {
            return Ok(self.any_simple());
        }
        let ty = self.type_of(context, element, owner)?;
        self.simple_kind(context, element, ty)?;
        Ok(ty)
    }

    /// `namespace="##other"` and the like.
    pub(super) fn wildcard(&self, context: &Context, element: Element<'_>) -> Wildcard {
        let target = &self.components.schemas[context.schema].target;
        match element.attribute("namespace").map_or("##any", str::trim) {
            "##any" => Wildcard::Any,
            "##other" => Wildcard::Other(target.clone()),
            list => Wildcard::Of(
                list.split_ascii_whitespace()
                    .map(|one| match one {
                        "##targetNamespace" => target.clone(),
                        "##local" => Arc::from(""),
                        other => Arc::from(other),
                    })
                    .collect(),
            ),
        }
    }
}
