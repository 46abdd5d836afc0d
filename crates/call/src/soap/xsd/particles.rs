//! Content models: sequences, choices, all, groups, elements and wildcards.

use std::sync::Arc;

use super::compile::{CHAIN, Compiled, Compiler, Context, PARTICLES};
use super::complex::sequence;
use super::load::Sort;
use super::{Particle, Simple, Term, Type, TypeId, TypeKind, Wildcard};
use crate::soap::names::{QName, XSD, is_ncname, short};
use crate::soap::xml::Element;

impl Compiler<'_> {
    /// The content model that stands directly within this element, if any.
    pub(super) fn model(&mut self, context: &Context, element: Element<'_>) -> Compiled<Option<Particle>> {
        let model = element.children().find(|child| {
            child.namespace() == XSD && matches!(child.local(), "sequence" | "choice" | "all" | "group")
        });
        match model {
            Some(model) => self.particle(context, model, 0),
            None => Ok(None),
        }
    }

    /// Counts what is read, so that groups of groups of groups end.
    pub(super) fn count(&mut self, context: &Context, element: Element<'_>) -> Compiled<()> {
        self.particles += 1;
        if self.particles > PARTICLES {
            return Err(self.failure(
                context,
                element,
                format!("the types have more than {PARTICLES} elements and attributes altogether"),
            ));
        }
        Ok(())
    }

    fn particle(
        &mut self,
        context: &Context,
        element: Element<'_>,
        depth: usize,
    ) -> Compiled<Option<Particle>> {
        self.count(context, element)?;
        let (min, max) = self.occurs(context, element)?;
        if max == Some(0) {
            return Ok(None);
        }
        if depth >= CHAIN {
            return Err(self.failure(
                context,
                element,
                format!("groups within each other more than {CHAIN} times, or within themselves"),
            ));
        }
        let term = match element.local() {
            "element" => self.element_term(context, element)?,
            "any" => Term::Any(self.wildcard(context, element)),
            "group" => return self.group(context, element, (min, max), depth),
            "sequence" => Term::Sequence(self.within(context, element, depth)?),
            "choice" => Term::Choice(self.within(context, element, depth)?),
            "all" => Term::All(self.within(context, element, depth)?),
            other => {
                return Err(self.failure(
                    context,
                    element,
                    format!("expected an element or a group, found `{}`", short(other)),
                ));
            }
        };
        Ok(Some(match term {
            Term::Sequence(list) => Particle { min, max, ..sequence(list) },
            term => Particle { min, max, term },
        }))
    }

    fn within(&mut self, context: &Context, element: Element<'_>, depth: usize) -> Compiled<Vec<Particle>> {
        let mut list = vec![];
        for child in
            element.children().filter(|child| child.namespace() == XSD && child.local() != "annotation")
        {
            list.extend(self.particle(context, child, depth + 1)?);
        }
        Ok(list)
    }

    fn group(
        &mut self,
        context: &Context,
        element: Element<'_>,
        (min, max): (u32, Option<u32>),
        depth: usize,
    ) -> Compiled<Option<Particle>> {
        let Some(name) = element.attribute("ref") else {
            return Err(self.failure(context, element, "a group within a type needs a `ref`"));
        };
        let name = self.resolve(context, element, name)?;
        let component = self.component(context, element, Sort::Group, &name)?;
        let there = self.context(&component, Some((Sort::Group, &name)));
        let declared = self.sources.element(component.at);
        let model = declared
            .children()
            .find(|child| child.namespace() == XSD && matches!(child.local(), "sequence" | "choice" | "all"));
        let Some(model) = model else {
            return Err(self.failure(
                &there,
                declared,
                format!("group `{name}` has no sequence, choice or all"),
            ));
        };
        let inner = self.particle(&there, model, depth + 1)?;
        Ok(inner.map(|inner| match (inner.min, inner.max) {
            // As they usually are: the numbers of the reference hold.
            (1, Some(1)) => Particle { min, max, ..inner },
            _ => Particle { min, max, term: Term::Sequence(vec![inner]) },
        }))
    }

    fn occurs(&self, context: &Context, element: Element<'_>) -> Compiled<(u32, Option<u32>)> {
        let number = |name: &str| match element.attribute(name).map(str::trim) {
            None => Ok(Some(1)),
            Some("unbounded") if name == "maxOccurs" => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                self.failure(
                    context,
                    element,
                    format!("expected a number for `{name}`, found `{}`", short(text)),
                )
            }),
        };
        let (min, max) = (number("minOccurs")?.unwrap_or(1), number("maxOccurs")?);
        if max.is_some_and(|max| max < min) {
            return Err(self.failure(
                context,
                element,
                format!("`minOccurs` {min} is more than `maxOccurs`"),
            ));
        }
        Ok((min, max))
    }

    fn element_term(&mut self, context: &Context, element: Element<'_>) -> Compiled<Term> {
        if let Some(name) = element.attribute("ref") {
            let name = self.resolve(context, element, name)?;
            // A schema within a message: how .NET says that it sends a table of any shape.
            if *name.namespace == *XSD {
                return Ok(Term::Any(Wildcard::Of(vec![Arc::from(XSD)])));
            }
            return Ok(Term::Element(self.global_element(context, element, &name)?, Box::default()));
        }
        let local = element.attribute("name").map(str::trim).filter(|name| is_ncname(name));
        let local =
            local.ok_or_else(|| self.failure(context, element, "an element needs a `name` or a `ref`"))?;
        let schema = &self.components.schemas[context.schema];
        let qualified = match element.attribute("form") {
            Some(form) => form == "qualified",
            None => schema.qualified_elements,
        };
        let namespace = if qualified { schema.target.clone() } else { Arc::from("") };
        let name = QName { namespace, local: Arc::from(local) };
        let ty = self.type_of(context, element, local)?;
        let declaration = self.declaration(context, element, name, ty);
        Ok(Term::Element(self.add_element(declaration), Box::default()))
    }

    /// A simple type that has no definition of its own.
    pub(super) fn add_simple(&mut self, simple: Simple, owner: Arc<str>) -> TypeId {
        self.schemas.types.push(Type {
            name: None,
            owner,
            is_abstract: false,
            kind: TypeKind::Simple(Arc::new(simple)),
            base: None,
            derived: vec![],
            documentation: None,
        });
        TypeId(self.schemas.types.len() as u32 - 1)
    }
}
