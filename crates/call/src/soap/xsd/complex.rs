//! Definitions of complex types.

use std::sync::Arc;

use super::attributes::Attributes;
use super::compile::{Compiled, Compiler, Context, is_true};
use super::{Complex, Content, Keys, Particle, Term, TypeId, TypeKind};
use crate::soap::names::{ENCODING11, ENCODING12, XSD, short};
use crate::soap::sources::At;
use crate::soap::xml::Element;

impl Compiler<'_> {
    pub(super) fn complex(
        &mut self,
        context: &Context,
        element: Element<'_>,
        id: TypeId,
    ) -> Compiled<Complex> {
        let mut parts = element.children().filter(|child| child.namespace() == XSD);
        let content = parts.find(|child| matches!(child.local(), "simpleContent" | "complexContent"));
        let (content, attributes) = match content {
            Some(content) if content.local() == "simpleContent" => {
                self.simple_content(context, content, id)?
            }
            Some(content) => self.complex_content(context, element, content, id)?,
            None => {
                let mixed = is_true(element.attribute("mixed"));
                let content = content_of(self.model(context, element)?, mixed);
                (content, self.attributes(context, element)?)
            }
        };
        let attributes = attributes.keyed();
        let mut complex = Complex {
            content,
            attributes: attributes.uses,
            any_attribute: attributes.any,
            keys: Keys::default(),
        };
        if let Content::Elements { particle, .. } = &mut complex.content {
            let mut whole = (**particle).clone();
            complex.keys = self.keys(context, element, &mut whole)?;
            *particle = Arc::new(whole);
        }
        Ok(complex)
    }

    /// The base that an extension or restriction names.
    fn derived_from(
        &mut self,
        context: &Context,
        content: Element<'_>,
        id: TypeId,
    ) -> Compiled<(At, TypeId, bool)> {
        let step = content
            .children()
            .find(|child| child.namespace() == XSD && matches!(child.local(), "extension" | "restriction"));
        let Some(step) = step else {
            let message = format!("expected `extension` or `restriction` within `{}`", content.local());
            return Err(self.failure(context, content, message));
        };
        let Some(name) = step.attribute("base") else {
            return Err(self.failure(context, step, format!("`{}` needs a `base`", step.local())));
        };
        let name = self.resolve(context, step, name)?;
        if matches!(&*name.namespace, ENCODING11 | ENCODING12) {
            let message = format!(
                "`{}` of the SOAP encoding, which is not supported; only literal messages are",
                short(&name.local)
            );
            return Err(self.unsupported(context, step, message));
        }
        let base = self.type_named(context, step, &name)?;
        self.set_base(id, base);
        Ok((At { source: context.source, node: step.id() }, base, step.local() == "extension"))
    }

    fn simple_content(
        &mut self,
        context: &Context,
        content: Element<'_>,
        id: TypeId,
    ) -> Compiled<(Content, Attributes)> {
        let sources = self.sources;
        let (step, base, extends) = self.derived_from(context, content, id)?;
        let step = sources.element(step);
        let own = self.attributes(context, step)?;
        let (text, attributes) = match self.kind_of(base)? {
            TypeKind::Simple(_) => (base, own),
            TypeKind::Complex(complex) => {
                let all = own.over(&complex.attributes, complex.any_attribute.as_ref(), extends);
                match &complex.content {
                    Content::Text(text) => (*text, all),
                    // A restriction may say the text's type itself where the base is mixed.
                    _ if step.child(XSD, "simpleType").is_some() => (base, all),
                    _ => {
                        return Err(self.failure(
                            context,
                            step,
                            format!("type {} has no text", self.schemas.ty(base).label()),
                        ));
                    }
                }
            }
            _ => {
                return Err(self.failure(
                    context,
                    step,
                    format!("type {} has no text", self.schemas.ty(base).label()),
                ));
            }
        };
        if extends {
            return Ok((Content::Text(text), attributes));
        }
        let owner = self.schemas.ty(id).owner.clone();
        let text = match step.child(XSD, "simpleType") {
            Some(within) => self.anonymous(context, within, &owner)?,
            None => text,
        };
        let narrowed = self.simple_kind(context, step, text)?;
        let narrowed = self.narrowed(context, step, narrowed)?;
        Ok((Content::Text(self.add_simple(narrowed, owner)), attributes))
    }

    fn complex_content(
        &mut self,
        context: &Context,
        element: Element<'_>,
        content: Element<'_>,
        id: TypeId,
    ) -> Compiled<(Content, Attributes)> {
        let sources = self.sources;
        let (step, base, extends) = self.derived_from(context, content, id)?;
        let step = sources.element(step);
        let mixed = is_true(content.attribute("mixed").or_else(|| element.attribute("mixed")));
        let own = self.model(context, step)?;
        let attributes = self.attributes(context, step)?;
        match self.kind_of(base)? {
            TypeKind::Any => Ok((content_of(own, mixed), attributes)),
            TypeKind::Complex(complex) => {
                let attributes =
                    attributes.over(&complex.attributes, complex.any_attribute.as_ref(), extends);
                if !extends {
                    return Ok((content_of(own, mixed), attributes));
                }
                let content = match &complex.content {
                    Content::Empty => content_of(own, mixed),
                    Content::Text(text) if own.is_none() => Content::Text(*text),
                    Content::Text(_) => {
                        return Err(self.failure(
                            context,
                            step,
                            format!(
                                "type {} has text and can get no elements",
                                self.schemas.ty(base).label()
                            ),
                        ));
                    }
                    Content::Elements { particle, mixed } => {
                        self.particles += size(particle);
                        self.count(context, step)?;
                        let parts = std::iter::once((**particle).clone()).chain(own).collect();
                        Content::Elements { particle: Arc::new(sequence(parts)), mixed: *mixed }
                    }
                };
                Ok((content, attributes))
            }
            _ => Err(self.failure(
                context,
                step,
                format!("expected a complex type, found type {}", self.schemas.ty(base).label()),
            )),
        }
    }
}

fn content_of(model: Option<Particle>, mixed: bool) -> Content {
    match model {
        Some(particle) => Content::Elements { particle: Arc::new(particle), mixed },
        None if mixed => Content::Elements { particle: Arc::new(sequence(vec![])), mixed },
        None => Content::Empty,
    }
}

/// How many places a particle has.
fn size(particle: &Particle) -> usize {
    match &particle.term {
        Term::Element(..) | Term::Any(_) => 1,
        Term::Sequence(list) | Term::Choice(list) | Term::All(list) => {
            1 + list.iter().map(size).sum::<usize>()
        }
    }
}

/// A sequence that stands once; sequences within it that stand once are taken apart.
pub(super) fn sequence(parts: Vec<Particle>) -> Particle {
    let mut flat = vec![];
    for part in parts {
        match part {
            Particle { min: 1, max: Some(1), term: Term::Sequence(list) } => flat.extend(list),
            part => flat.push(part),
        }
    }
    Particle { min: 1, max: Some(1), term: Term::Sequence(flat) }
}
