//! What changed between two versions of a contract, and whom it breaks.

mod flat;
mod schema;

use std::collections::BTreeMap;

use super::{Contract, Operation};
use schema::{Budget, Side};

/// Most differences that are told of two contracts.
const MOST: usize = 10_000;

/// One difference between two contracts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Name of the operation; empty where the contract as a whole is meant.
    pub operation: String,
    /// Where: `/input` or `/output` and a JSON pointer into that schema of the new contract (what is gone: below its
    /// parent there); `/path`, `/streaming` and the like for the rest. Empty for an operation that is new or gone.
    pub place: String,
    /// For people: a lower-case fragment.
    pub change: String,
    /// Whether callers that fit the old contract still fit the new one.
    pub kind: DifferenceKind,
}

/// Whether callers that fit the old contract still fit the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// Some do not.
    Breaking,
    /// It cannot be told from the documents.
    Unknown,
    /// All do.
    Compatible,
}

impl DifferenceKind {
    /// One word for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::Unknown => "unknown",
            Self::Compatible => "compatible",
        }
    }
}

/// What changed from `old` to `new`, each difference once, in order of operation and place.
///
/// # Rules
/// An input may be widened and an output narrowed; the other way round breaks. Of a schema: types, values, ranges,
/// patterns, formats, required properties, alternatives. As `oasdiff` has it for OpenAPI, `buf breaking` for protobuf:
/// - An operation that is gone breaks, deprecated or not. One that is new does not.
/// - A new required property breaks inputs; so does one that is gone where others are refused. Where others are let through, it
///   is not known whether it is only ignored now.
/// - A property that is gone or may be missing breaks outputs, and so does a further value, type or alternative: readers
///   do not know it. A further property does not: readers pass over what they do not know.
/// - Another path, method or action breaks, as `oasdiff` and `buf` count it: callers through `sos` name the operation and
///   go on, others do not. Another protocol, and streaming instead of one message, break everybody.
/// - No longer repeatable breaks: who repeats after a broken connection does harm now.
/// - Deprecation, title, version, and what is only told to people do not break. A summary, descriptions, examples and the
///   order of things are no differences, nor is a definition that only has another name.
/// - A default that changed is not known for inputs: those who leave the property out mean something else now. `not`, `if`,
///   `contains` and the like are compared as they stand, and what changed there is not known.
///
/// # Bounds
/// Schemas that are very large or refer to each other in very many ways are compared in part, which is told as one
/// unknown difference.
#[must_use]
pub fn compare(old: &Contract, new: &Contract) -> Vec<Difference> {
    let mut found = Found { differences: Vec::new(), budget: Budget::new(), operation: String::new() };
    found.told("/protocol", "protocol", old.protocol.word(), new.protocol.word(), DifferenceKind::Breaking);
    found.told("/title", "title", &old.title, &new.title, DifferenceKind::Compatible);
    found.told("/version", "version", &old.version, &new.version, DifferenceKind::Compatible);
    let by_name = |contract| -> BTreeMap<_, _> {
        let Contract { operations, .. }: &Contract = contract;
        operations.iter().map(|operation| (operation.name.as_str(), operation)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    for (name, operation) in &before {
        (*name).clone_into(&mut found.operation);
        match after.get(name) {
            Some(now) => found.operation(operation, now),
            None => found.add("", "the operation is gone".to_owned(), DifferenceKind::Breaking),
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        (*name).clone_into(&mut found.operation);
        found.add("", "the operation is new".to_owned(), DifferenceKind::Compatible);
    }
    found.end()
}

struct Found {
    differences: Vec<Difference>,
    budget: Budget,
    operation: String,
}

impl Found {
    fn add(&mut self, place: &str, change: String, kind: DifferenceKind) {
        let (operation, place) = (self.operation.clone(), place.to_owned());
        self.differences.push(Difference { operation, place, change, kind });
    }

    fn told(&mut self, place: &str, what: &str, old: &str, new: &str, kind: DifferenceKind) {
        if old != new {
            self.add(place, format!("{what} was `{}`, is `{}`", short(old), short(new)), kind);
        }
    }

    fn operation(&mut self, old: &Operation, new: &Operation) {
        use DifferenceKind::{Breaking, Compatible};
        self.told("/path", "path", &old.path, &new.path, Breaking);
        let flows =
            |operation: &Operation| match (operation.streaming.inputs(), operation.streaming.outputs()) {
                (false, false) => "one input, one output",
                (true, false) => "many inputs, one output",
                (false, true) => "one input, many outputs",
                (true, true) => "many inputs, many outputs",
            };
        self.told("/streaming", "streaming", flows(old), flows(new), Breaking);
        match (old.repeatable, new.repeatable) {
            (true, false) => self.add("/repeatable", "must not be repeated any more".to_owned(), Breaking),
            (false, true) => self.add("/repeatable", "may be repeated now".to_owned(), Compatible),
            _ => {}
        }
        match (old.deprecated, new.deprecated) {
            (false, true) => self.add("/deprecated", "is deprecated now".to_owned(), Compatible),
            (true, false) => self.add("/deprecated", "is no longer deprecated".to_owned(), Compatible),
            _ => {}
        }
        for (side, old, new) in
            [(Side::Input, &old.input, &new.input), (Side::Output, &old.output, &new.output)]
        {
            for (place, change, kind) in schema::compare(side, old, new, &mut self.budget) {
                self.add(&place, change, kind);
            }
        }
    }

    fn end(mut self) -> Vec<Difference> {
        self.operation.clear();
        self.differences.sort_unstable();
        self.differences.dedup();
        let surplus = self.differences.len().saturating_sub(MOST);
        self.differences.truncate(MOST);
        if surplus > 0 || self.budget.is_spent() {
            let change = "the contracts are too large to be compared whole: there may be more".to_owned();
            self.add("", change, DifferenceKind::Unknown);
            self.differences.sort_unstable();
        }
        self.differences
    }
}

/// At most the first 80 characters.
fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
