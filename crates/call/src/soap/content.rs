//! Elements against content models: which element is meant by each, and in which order they are written.

use super::names::listed;
use super::xsd::{ANY, ElementId, Keys, Particle, Schemas, Term};

/// An element that stands within another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Its key; [`ANY`] where only a wildcard can take it.
    pub(crate) key: u32,
    pub(crate) namespace: &'a str,
}

/// Why elements do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The item that does not fit; the number of items where something is missing at the end.
    pub(crate) at: usize,
    /// What could stand there.
    pub(crate) expected: String,
}

/// Finds for each item whether its key or a wildcard takes it.
///
/// # Errors
/// The first item that has no place, or what is missing.
pub(crate) fn assign(
    schemas: &Schemas,
    particle: &Particle,
    items: &[Item<'_>],
) -> Result<Vec<bool>, Misfit> {
    let mut matcher = Matcher { schemas, items, at: 0, declared: Vec::with_capacity(items.len()) };
    matcher.run(particle)?;
    if matcher.at < items.len() {
        return Err(Misfit { at: matcher.at, expected: "nothing more".to_owned() });
    }
    Ok(matcher.declared)
}

/// Content models are deterministic (XML Schema Part 1, 3.8.6), so looking at the next item is enough.
struct Matcher<'a> {
    schemas: &'a Schemas,
    items: &'a [Item<'a>],
    at: usize,
    declared: Vec<bool>,
}

impl Matcher<'_> {
    fn run(&mut self, particle: &Particle) -> Result<(), Misfit> {
        let mut times = 0;
        while particle.max.is_none_or(|max| times < max) && self.begins(&particle.term) {
            let before = self.at;
            self.once(&particle.term)?;
            if self.at == before {
                break;
            }
            times += 1;
        }
        if times < particle.min && !is_emptiable(&particle.term) {
            return Err(Misfit { at: self.at, expected: first_names(self.schemas, &particle.term) });
        }
        Ok(())
    }

    fn begins(&self, term: &Term) -> bool {
        self.items.get(self.at).is_some_and(|item| can_begin(term, item))
    }

    fn take(&mut self, declared: bool) {
        self.declared.push(declared);
        self.at += 1;
    }

    fn once(&mut self, term: &Term) -> Result<(), Misfit> {
        match term {
            Term::Element(..) => self.take(true),
            Term::Any(_) => self.take(false),
            Term::Sequence(list) => list.iter().try_for_each(|part| self.run(part))?,
            Term::Choice(list) => {
                // A declared element before a wildcard that would take it too.
                let begins = |part: &&Particle| self.begins(&part.term);
                let named = list.iter().filter(|part| !matches!(part.term, Term::Any(_))).find(begins);
                if let Some(part) = named.or_else(|| list.iter().find(begins)) {
                    self.run(part)?;
                }
            }
            Term::All(list) => {
                let mut used = vec![false; list.len()];
                while let Some(number) = (0..list.len()).find(|n| !used[*n] && self.begins(&list[*n].term)) {
                    used[number] = true;
                    self.run(&list[number])?;
                }
                if let Some((part, _)) = list.iter().zip(used).find(|(part, used)| !used && needs(part)) {
                    return Err(Misfit { at: self.at, expected: first_names(self.schemas, &part.term) });
                }
            }
        }
        Ok(())
    }
}

fn needs(particle: &Particle) -> bool {
    particle.min > 0 && !is_emptiable(&particle.term)
}

pub(crate) fn is_emptiable(term: &Term) -> bool {
    match term {
        Term::Element(..) | Term::Any(_) => false,
        Term::Sequence(list) | Term::All(list) => !list.iter().any(needs),
        Term::Choice(list) => list.is_empty() || !list.iter().all(needs),
    }
}

fn can_begin(term: &Term, item: &Item<'_>) -> bool {
    match term {
        Term::Element(_, keys) => keys.contains(&item.key),
        Term::Any(wildcard) => wildcard.takes(item.namespace),
        Term::Choice(list) | Term::All(list) => list.iter().any(|part| can_begin(&part.term, item)),
        Term::Sequence(list) => {
            for part in list {
                if can_begin(&part.term, item) {
                    return true;
                }
                if needs(part) {
                    return false;
                }
            }
            false
        }
    }
}

/// What could stand first, for messages.
fn first_names(schemas: &Schemas, term: &Term) -> String {
    let mut names = vec![];
    collect_first(schemas, term, &mut names);
    if names.len() == 1 { names.swap_remove(0) } else { format!("one of {}", names.join(", ")) }
}

fn collect_first(schemas: &Schemas, term: &Term, names: &mut Vec<String>) {
    const SHOWN: usize = 30;
    if names.len() >= SHOWN {
        return;
    }
    let mut add = |id: ElementId| names.push(format!("`{}`", schemas.element(id).name.local));
    match term {
        Term::Element(id, _) => {
            let element = schemas.element(*id);
            if !element.is_abstract || element.members.is_empty() {
                add(*id);
            }
            element
                .members
                .iter()
                .filter(|id| !schemas.element(**id).is_abstract)
                .take(SHOWN)
                .for_each(|id| add(*id));
        }
        Term::Any(_) => names.push("any element".to_owned()),
        Term::Choice(list) | Term::All(list) => {
            list.iter().for_each(|part| collect_first(schemas, &part.term, names))
        }
        Term::Sequence(list) => {
            for part in list {
                collect_first(schemas, &part.term, names);
                if needs(part) {
                    break;
                }
            }
        }
    }
}

/// Why elements by number cannot be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unordered {
    /// This is missing.
    Missing(String),
    /// More of this key than have a place.
    Surplus(u32),
}

/// The order in which elements are written of which there are so many of each key, and of wildcards at the end: keys,
/// [`ANY`] for a wildcard.
///
/// # Errors
/// What is missing, or what has no place.
pub(crate) fn order(
    schemas: &Schemas,
    keys: &Keys,
    particle: &Particle,
    counts: &[u32],
) -> Result<Vec<u32>, Unordered> {
    let mut planner = Planner {
        schemas,
        left: counts.to_vec(),
        reserved: vec![0; counts.len()],
        written: vec![],
        loose: keys.loose,
    };
    planner.run(particle)?;
    match planner.left.iter().position(|left| *left > 0) {
        None => Ok(planner.written),
        Some(key) if key == keys.list.len() => Err(Unordered::Surplus(ANY)),
        Some(key) => Err(Unordered::Surplus(key as u32)),
    }
}

struct Planner<'a> {
    schemas: &'a Schemas,
    /// How many of each key are not written yet; those of wildcards last.
    left: Vec<u32>,
    /// How many of each key later places need.
    reserved: Vec<u32>,
    written: Vec<u32>,
    loose: bool,
}

impl Planner<'_> {
    fn slot(&self, key: u32) -> usize {
        if key == ANY { self.left.len() - 1 } else { key as usize }
    }

    fn free(&self, key: u32) -> u32 {
        let slot = self.slot(key);
        self.left[slot].saturating_sub(self.reserved[slot])
    }

    fn run(&mut self, particle: &Particle) -> Result<(), Unordered> {
        let mut times = 0;
        while particle.max.is_none_or(|max| times < max) && self.has(&particle.term) {
            let before = self.written.len();
            self.once(&particle.term)?;
            if self.written.len() == before {
                break;
            }
            times += 1;
        }
        if times < particle.min && !is_emptiable(&particle.term) {
            return Err(Unordered::Missing(first_names(self.schemas, &particle.term)));
        }
        Ok(())
    }

    /// Whether something is left that has a place here.
    fn has(&self, term: &Term) -> bool {
        match term {
            Term::Element(_, keys) => keys.iter().any(|key| self.free(*key) > 0),
            Term::Any(_) => self.free(ANY) > 0,
            Term::Sequence(list) | Term::Choice(list) | Term::All(list) => {
                list.iter().any(|part| self.has(&part.term))
            }
        }
    }

    /// Whether all that is needed here is left.
    fn suffices(&self, particle: &Particle) -> bool {
        particle.min == 0
            || match &particle.term {
                Term::Element(_, keys) => {
                    keys.iter().map(|key| self.free(*key)).fold(0, u32::saturating_add) >= particle.min
                }
                Term::Any(_) => self.free(ANY) >= particle.min,
                Term::Sequence(list) | Term::All(list) => list.iter().all(|part| self.suffices(part)),
                Term::Choice(list) => list.is_empty() || list.iter().any(|part| self.suffices(part)),
            }
    }

    fn write(&mut self, key: u32) {
        let slot = self.slot(key);
        self.left[slot] -= 1;
        self.written.push(key);
    }

    fn once(&mut self, term: &Term) -> Result<(), Unordered> {
        match term {
            Term::Element(_, keys) => {
                if let Some(key) = keys.iter().copied().find(|key| self.free(*key) > 0) {
                    self.write(key);
                }
                Ok(())
            }
            Term::Any(_) => {
                self.write(ANY);
                Ok(())
            }
            Term::Sequence(list) | Term::All(list) => self.sequence(list),
            Term::Choice(list) => {
                let has = |part: &&Particle| self.has(&part.term);
                let chosen = list
                    .iter()
                    .filter(has)
                    .find(|part| self.suffices(part))
                    .or_else(|| list.iter().find(has));
                chosen.map_or(Ok(()), |part| self.run(part))
            }
        }
    }

    fn sequence(&mut self, list: &[Particle]) -> Result<(), Unordered> {
        if !self.loose {
            return list.iter().try_for_each(|part| self.run(part));
        }
        let before = self.reserved.clone();
        for part in list {
            self.reserve(part, 1);
        }
        for part in list {
            self.release(part, 1);
            self.run(part)?;
        }
        self.reserved = before;
        Ok(())
    }

    /// Keeps what a place surely needs.
    fn reserve(&mut self, particle: &Particle, times: u32) {
        for (key, count) in needed(particle, times) {
            let slot = self.slot(key);
            self.reserved[slot] = self.reserved[slot].saturating_add(count);
        }
    }

    fn release(&mut self, particle: &Particle, times: u32) {
        for (key, count) in needed(particle, times) {
            let slot = self.slot(key);
            self.reserved[slot] = self.reserved[slot].saturating_sub(count);
        }
    }
}

/// Keys that a place cannot do without, and how many of each.
fn needed(particle: &Particle, times: u32) -> Vec<(u32, u32)> {
    let times = times.saturating_mul(particle.min);
    if times == 0 {
        return vec![];
    }
    match &particle.term {
        Term::Element(_, keys) if keys.len() == 1 => vec![(keys[0], times)],
        Term::Any(_) => vec![(ANY, times)],
        Term::Sequence(list) | Term::All(list) => list.iter().flat_map(|part| needed(part, times)).collect(),
        Term::Element(..) | Term::Choice(_) => vec![],
    }
}

/// `known: a, b` for messages about names that are not known.
pub(crate) fn known(keys: &Keys) -> String {
    format!("known: {}", listed(keys.list.iter().map(|key| key.key.as_str())))
}
