//! Types that need themselves and so never end.

use std::collections::VecDeque;

use super::compile::CHAIN;
use super::{Content, ElementId, Failure, Particle, Schemas, Term, TypeId, TypeKind};

/// Refuses each type of which no finite element can be written.
pub(super) fn refuse(schemas: &mut Schemas) {
    let ends = Ends::of(schemas);
    for number in 0..schemas.types.len() {
        if !ends.types[number] {
            let ty = &schemas.types[number];
            let place = place_of(schemas, number, &ends).unwrap_or_default();
            let message = format!("type {} needs itself within itself and never ends", ty.label());
            schemas.types[number].kind = TypeKind::Failed(Failure { place, message, unsupported: false });
        }
    }
}

/// Which types end.
struct Ends {
    types: Vec<bool>,
    /// Whether the type, or one that is derived from it and may stand for it, ends.
    families: Vec<bool>,
}

impl Ends {
    /// Begins with those that need nothing. Each type that is found to end is told to those that need it, so each need is
    /// looked at once for each thing that it needs.
    fn of(schemas: &Schemas) -> Self {
        let count = schemas.types.len();
        let mut this = Self { types: vec![false; count], families: vec![false; count] };
        let mut needed_by: Vec<Vec<usize>> = vec![vec![]; count];
        for number in 0..count {
            if let Some(particle) = model(schemas, number) {
                needs(schemas, particle, &mut |ty| needed_by[ty.0 as usize].push(number));
            }
        }
        let mut queue: VecDeque<usize> = (0..count).collect();
        while let Some(number) = queue.pop_front() {
            if this.types[number]
                || !model(schemas, number).is_none_or(|particle| this.particle(schemas, particle))
            {
                continue;
            }
            this.types[number] = true;
            for family in families_of(schemas, number) {
                if !std::mem::replace(&mut this.families[family], true) {
                    queue.extend(needed_by[family].iter().filter(|number| !this.types[**number]));
                }
            }
        }
        this
    }

    fn particle(&self, schemas: &Schemas, particle: &Particle) -> bool {
        particle.min == 0
            || match &particle.term {
                Term::Any(_) => true,
                Term::Element(id, _) => {
                    let members = &schemas.element(*id).members;
                    std::iter::once(id).chain(members).any(|id| self.element(schemas, *id))
                }
                Term::Sequence(list) | Term::All(list) => {
                    list.iter().all(|part| self.particle(schemas, part))
                }
                Term::Choice(list) => list.is_empty() || list.iter().any(|part| self.particle(schemas, part)),
            }
    }

    fn element(&self, schemas: &Schemas, id: ElementId) -> bool {
        let element = schemas.element(id);
        element.nillable || self.families[element.ty.0 as usize]
    }
}

/// The content model of a type of elements.
fn model(schemas: &Schemas, number: usize) -> Option<&Particle> {
    match &schemas.types[number].kind {
        TypeKind::Complex(complex) => match &complex.content {
            Content::Elements { particle, .. } => Some(particle),
            Content::Empty | Content::Text(_) => None,
        },
        _ => None,
    }
}

/// The type itself and those that it is derived from.
fn families_of(schemas: &Schemas, number: usize) -> impl Iterator<Item = usize> {
    let base = |number: &usize| schemas.types[*number].base.map(|base| base.0 as usize);
    // Chains are bounded when types are read, and circles have failed there.
    std::iter::successors(Some(number), base).take(CHAIN + 1)
}

/// The types of all elements that must stand.
fn needs(schemas: &Schemas, particle: &Particle, note: &mut dyn FnMut(TypeId)) {
    match &particle.term {
        _ if particle.min == 0 => {}
        Term::Any(_) => {}
        Term::Element(id, _) => {
            let head = schemas.element(*id);
            std::iter::once(id).chain(&head.members).for_each(|id| note(schemas.element(*id).ty));
        }
        Term::Sequence(list) | Term::All(list) | Term::Choice(list) => {
            list.iter().for_each(|part| needs(schemas, part, note));
        }
    }
}

/// Where an element stands that makes a type endless.
fn place_of(schemas: &Schemas, number: usize, ends: &Ends) -> Option<String> {
    fn find<'s>(schemas: &'s Schemas, particle: &Particle, ends: &Ends) -> Option<&'s str> {
        match &particle.term {
            _ if particle.min == 0 => None,
            Term::Element(id, _) if !ends.element(schemas, *id) => Some(&schemas.element(*id).place),
            Term::Element(..) | Term::Any(_) => None,
            Term::Sequence(list) | Term::All(list) | Term::Choice(list) => {
                list.iter().find_map(|part| find(schemas, part, ends))
            }
        }
    }
    find(schemas, model(schemas, number)?, ends).map(str::to_owned)
}
