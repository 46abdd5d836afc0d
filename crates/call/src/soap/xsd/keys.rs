//! Which keys the elements within a type have in JSON, and how often each may stand.

use std::collections::{BTreeMap, HashMap};

use super::compile::{Compiled, Compiler, Context};
use super::{ElementId, Key, Keys, Particle, Schemas, Term};
use crate::soap::names::QName;
use crate::soap::xml::Element;

type Range = (u32, Option<u32>);

impl Compiler<'_> {
    /// Finds the keys of a content model and notes in each place which of them it takes.
    pub(super) fn keys(
        &self,
        context: &Context,
        element: Element<'_>,
        particle: &mut Particle,
    ) -> Compiled<Keys> {
        let mut names: Vec<(QName, ElementId)> = vec![];
        let mut by_name = HashMap::new();
        collect(&self.schemas, particle, &mut names, &mut by_name).map_err(|(name, known, other)| {
            let message = format!("element `{name}` has two types within one type, {known} and {other}");
            self.failure(context, element, message)
        })?;
        let mut locals: HashMap<&str, usize> = HashMap::new();
        for (name, _) in &names {
            *locals.entry(&name.local).or_default() += 1;
        }
        let (mut ranges, mut places) = (BTreeMap::new(), vec![0; names.len() + 1]);
        count(particle, &mut ranges);
        let many = is_loose(particle, &mut places);
        let list: Vec<Key> = names
            .iter()
            .enumerate()
            .map(|(number, (name, element))| {
                let alone = locals[&*name.local] == 1;
                let key = if alone {
                    name.local.to_string()
                } else {
                    format!("{{{}}}{}", name.namespace, name.local)
                };
                let (min, max) = ranges.get(&(number as u32)).copied().unwrap_or((0, Some(0)));
                Key { key, element: *element, min, max }
            })
            .collect();
        let by_key = list.iter().enumerate().map(|(number, key)| (key.key.clone(), number as u32)).collect();
        let any = ranges.get(&ANY).copied().unwrap_or((0, Some(0)));
        Ok(Keys { list, by_name, by_key, any, loose: many || places.iter().any(|count| *count > 1) })
    }
}

/// Stands for what wildcards take.
pub(crate) const ANY: u32 = u32::MAX;

/// Numbers the elements of a particle by name.
fn collect(
    schemas: &Schemas,
    particle: &mut Particle,
    names: &mut Vec<(QName, ElementId)>,
    by_name: &mut HashMap<QName, u32>,
) -> Result<(), (QName, String, String)> {
    match &mut particle.term {
        Term::Element(id, keys) => {
            let head = schemas.element(*id);
            let all = std::iter::once(*id).chain(head.members.iter().copied());
            let mut taken = vec![];
            for id in all.filter(|id| !schemas.element(*id).is_abstract) {
                let element = schemas.element(id);
                let number = *by_name.entry(element.name.clone()).or_insert_with(|| {
                    names.push((element.name.clone(), id));
                    names.len() as u32 - 1
                });
                let known = schemas.element(names[number as usize].1).ty;
                if known != element.ty {
                    return Err((
                        element.name.clone(),
                        schemas.ty(known).label(),
                        schemas.ty(element.ty).label(),
                    ));
                }
                taken.push(number);
            }
            *keys = taken.into();
            Ok(())
        }
        Term::Sequence(list) | Term::Choice(list) | Term::All(list) => {
            list.iter_mut().try_for_each(|part| collect(schemas, part, names, by_name))
        }
        Term::Any(_) => Ok(()),
    }
}

/// How often each key may stand.
fn count(particle: &Particle, ranges: &mut BTreeMap<u32, Range>) {
    let mut own: BTreeMap<u32, Range> = BTreeMap::new();
    match &particle.term {
        Term::Element(_, keys) => {
            let min = u32::from(keys.len() == 1);
            own.extend(keys.iter().map(|key| (*key, (min, Some(1)))));
        }
        Term::Any(_) => {
            own.insert(ANY, (1, Some(1)));
        }
        Term::Sequence(list) | Term::All(list) => {
            for part in list {
                let mut of = BTreeMap::new();
                count(part, &mut of);
                for (key, (min, max)) in of {
                    let known = own.entry(key).or_insert((0, Some(0)));
                    *known = (known.0.saturating_add(min), sum(known.1, max));
                }
            }
        }
        Term::Choice(list) => {
            let branches: Vec<BTreeMap<u32, Range>> = list
                .iter()
                .map(|part| {
                    let mut of = BTreeMap::new();
                    count(part, &mut of);
                    of
                })
                .collect();
            for key in branches.iter().flat_map(BTreeMap::keys) {
                let of = branches.iter().map(|branch| branch.get(key).copied().unwrap_or((0, Some(0))));
                let folded = of.reduce(|one, two| (one.0.min(two.0), most(one.1, two.1)));
                own.insert(*key, folded.unwrap_or((0, Some(0))));
            }
        }
    }
    for (key, (min, max)) in own {
        ranges.insert(key, (min.saturating_mul(particle.min), product(max, particle.max)));
    }
}

const fn sum(one: Option<u32>, two: Option<u32>) -> Option<u32> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.saturating_add(two)),
        _ => None,
    }
}

fn most(one: Option<u32>, two: Option<u32>) -> Option<u32> {
    Some(one?.max(two?))
}

const fn product(one: Option<u32>, two: Option<u32>) -> Option<u32> {
    match (one, two) {
        (Some(0), _) | (_, Some(0)) => Some(0),
        (Some(one), Some(two)) => Some(one.saturating_mul(two)),
        _ => None,
    }
}

/// Whether a group of several places may stand more than once; counts the places of each key meanwhile, wildcards last.
fn is_loose(particle: &Particle, places: &mut [u32]) -> bool {
    let last = places.len() - 1;
    match &particle.term {
        Term::Element(_, keys) => {
            for key in keys {
                places[*key as usize] += 1;
            }
            // Which member stands when is not told by their numbers.
            particle.max != Some(1) && keys.len() > 1
        }
        Term::Any(_) => {
            places[last] += 1;
            false
        }
        Term::Sequence(list) | Term::Choice(list) | Term::All(list) => {
            // Each is looked at, as each counts its places.
            let within = list.iter().filter(|part| is_loose(part, places)).count() > 0;
            within
                || (particle.max != Some(1)
                    && (list.len() > 1 || list.iter().any(|part| part.max != Some(1))))
        }
    }
}
