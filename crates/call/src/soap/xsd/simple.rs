//! Definitions of simple types.

use super::builtin::Builtin;
use super::compile::{Compiled, Compiler, Context, is_true};
use super::facets::{Facets, WhiteSpace};
use super::pattern::Pattern;
use super::{Simple, TypeId, TypeKind, Variety};
use crate::soap::names::{XSD, short};
use crate::soap::xml::Element;

impl Compiler<'_> {
    pub(super) fn simple(&mut self, context: &Context, element: Element<'_>, id: TypeId) -> Compiled<Simple> {
        let step = element.children().find(|child| child.namespace() == XSD && child.local() != "annotation");
        let owner = self.schemas.ty(id).owner.clone();
        match step.map(|step| (step.local(), step)) {
            Some(("restriction", step)) => {
                let base = self.base_or_within(context, step, "base", &owner)?;
                self.set_base(id, base);
                let base = self.simple_kind(context, step, base)?;
                self.narrowed(context, step, base)
            }
            Some(("list", step)) => {
                let item = self.base_or_within(context, step, "itemType", &owner)?;
                if let Variety::List(_) = self.simple_kind(context, step, item)?.variety {
                    return Err(self.failure(context, step, "a list of lists"));
                }
                let facets = Facets { white_space: WhiteSpace::Collapse, ..Facets::default() };
                Ok(Simple { variety: Variety::List(item), facets })
            }
            Some(("union", step)) => {
                let mut members = vec![];
                for name in step.attribute("memberTypes").unwrap_or_default().split_ascii_whitespace() {
                    let name = self.resolve(context, step, name)?;
                    members.push(self.type_named(context, step, &name)?);
                }
                for within in step.children().filter(|child| child.is(XSD, "simpleType")) {
                    members.push(self.anonymous(context, within, &owner)?);
                }
                if members.is_empty() {
                    return Err(self.failure(context, step, "a union of nothing"));
                }
                for member in &members {
                    self.simple_kind(context, step, *member)?;
                }
                Ok(Simple { variety: Variety::Union(members), facets: Facets::default() })
            }
            _ => Err(self.failure(
                context,
                element,
                "expected `restriction`, `list` or `union` within a simple type",
            )),
        }
    }

    /// The type that an attribute names or that stands within.
    fn base_or_within(
        &mut self,
        context: &Context,
        step: Element<'_>,
        attribute: &str,
        owner: &str,
    ) -> Compiled<TypeId> {
        if let Some(name) = step.attribute(attribute) {
            let name = self.resolve(context, step, name)?;
            return self.type_named(context, step, &name);
        }
        match step.child(XSD, "simpleType") {
            Some(within) => self.anonymous(context, within, owner),
            None => Err(self.failure(
                context,
                step,
                format!("`{}` needs `{attribute}` or a type within", step.local()),
            )),
        }
    }

    /// A type that must be simple.
    pub(super) fn simple_kind(
        &mut self,
        context: &Context,
        element: Element<'_>,
        id: TypeId,
    ) -> Compiled<Simple> {
        match self.kind_of(id)? {
            TypeKind::Simple(simple) => Ok((*simple).clone()),
            _ => {
                let label = self.schemas.ty(id).label();
                Err(self.failure(context, element, format!("expected a simple type, found type {label}")))
            }
        }
    }

    /// A simple type with the facets that stand in a restriction.
    pub(super) fn narrowed(
        &mut self,
        context: &Context,
        step: Element<'_>,
        mut base: Simple,
    ) -> Compiled<Simple> {
        let (mut patterns, mut values) = (vec![], vec![]);
        for facet in step.children().filter(|child| child.namespace() == XSD) {
            if matches!(
                facet.local(),
                "annotation"
                    | "simpleType"
                    | "attribute"
                    | "attributeGroup"
                    | "anyAttribute"
                    | "assertion"
                    | "explicitTimezone"
            ) {
                continue;
            }
            let Some(value) = facet.attribute("value") else {
                return Err(self.failure(
                    context,
                    facet,
                    format!("`{}` needs a `value`", short(facet.local())),
                ));
            };
            match facet.local() {
                "pattern" => patterns.push(value.to_owned()),
                "enumeration" => values.push(self.enumerated(context, facet, &base, value)?),
                _ => self.facet(context, facet, value, &mut base)?,
            }
        }
        if !patterns.is_empty() {
            base.facets.patterns.push(Pattern::of(&patterns));
        }
        if !values.is_empty() {
            base.facets.enumeration = Some(values);
        }
        Ok(base)
    }

    fn enumerated(
        &self,
        context: &Context,
        facet: Element<'_>,
        base: &Simple,
        value: &str,
    ) -> Compiled<String> {
        let value = base.facets.white_space.apply(value);
        if matches!(base.variety, Variety::Atomic(Builtin::QName)) {
            return Ok(self.resolve(context, facet, &value)?.to_string());
        }
        Ok(value.into_owned())
    }

    fn facet(&self, context: &Context, facet: Element<'_>, value: &str, base: &mut Simple) -> Compiled<()> {
        let number = || {
            value.trim().parse::<u64>().map_err(|_| {
                self.failure(
                    context,
                    facet,
                    format!("expected a number that is not negative, found `{}`", short(value)),
                )
            })
        };
        let bound = |inclusive: bool| Some((value.trim().to_owned(), inclusive));
        let facets = &mut base.facets;
        match facet.local() {
            "length" => (facets.min_length, facets.max_length) = (Some(number()?), Some(number()?)),
            "minLength" => facets.min_length = Some(number()?),
            "maxLength" => facets.max_length = Some(number()?),
            "totalDigits" => facets.total_digits = Some(number()?),
            "fractionDigits" => facets.fraction_digits = Some(number()?),
            "minInclusive" => facets.min = bound(true),
            "minExclusive" => facets.min = bound(false),
            "maxInclusive" => facets.max = bound(true),
            "maxExclusive" => facets.max = bound(false),
            "whiteSpace" => {
                facets.white_space = match value.trim() {
                    "preserve" => WhiteSpace::Preserve,
                    "replace" => WhiteSpace::Replace,
                    "collapse" => WhiteSpace::Collapse,
                    other => {
                        let message =
                            format!("expected `preserve`, `replace` or `collapse`, found `{}`", short(other));
                        return Err(self.failure(context, facet, message));
                    }
                }
            }
            other => {
                return Err(self.failure(
                    context,
                    facet,
                    format!("expected a facet, found `{}`", short(other)),
                ));
            }
        }
        if let (Variety::Atomic(builtin), Some((text, _))) = (
            &base.variety,
            if facet.local().starts_with("min") { &base.facets.min } else { &base.facets.max },
        ) && facet.local().ends_with("clusive")
            && !builtin.takes(text)
            && !is_true(Some(text))
        {
            return Err(self.failure(
                context,
                facet,
                format!("expected {}, found `{}`", builtin.label(), short(value)),
            ));
        }
        Ok(())
    }
}
