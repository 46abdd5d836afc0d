//! Walks a document and its shape together and lists everything that does not fit.

use std::collections::BTreeSet;

use sos_model::{did_you_mean, known_list, shown};

use crate::node::{Key, Node, Position, Value};
use crate::path::{Step, dotted};
use crate::problem::{MAX_PROBLEMS, Problem, ProblemKind, Problems};
use crate::shape::scope::{Declared, Scope, directive_objection};
use crate::shape::{ByKey, Extra, Least, Object, Property, Scoping, Shape, Text};
use crate::task;

/// A check that is under way: where it is, and what it has found.
#[derive(Debug)]
pub(crate) struct Check<'n> {
    problems: Vec<Problem>,
    path: Vec<Step<'n>>,
    scopes: Vec<Scope<'n>>,
    declared: Declared<'n>,
    /// There were too many problems to list.
    more: bool,
}

/// Everything in which a document differs from a shape.
pub(crate) fn check(root: &Node, shape: &'static Shape) -> Option<Problems> {
    let declared = Declared::of(root);
    let mut check = Check { problems: vec![], path: vec![], scopes: vec![], declared, more: false };
    check.shape(root, shape);
    Problems::of(check.problems, check.more)
}

impl<'n> Check<'n> {
    /// A problem that the schema has with the value the check is at.
    pub(crate) fn refuse(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        self.add(ProblemKind::Schema, at, message.into(), help.into());
    }

    /// A problem that the schema does not see.
    pub(crate) fn object(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        self.add(ProblemKind::Meaning, at, message.into(), help.into());
    }

    /// The same of the value of a key.
    pub(crate) fn object_at(&mut self, key: &'n str, at: Position, message: impl Into<String>, help: &str) {
        self.path.push(Step::Key(key));
        self.object(at, message, help);
        self.path.pop();
    }

    fn add(&mut self, kind: ProblemKind, position: Position, message: String, help: String) {
        if !self.is_full(kind) {
            self.problems.push(Problem { kind, position, path: dotted(&self.path), message, help });
        }
    }

    /// Whether another problem of a kind is left out, which need not be looked into then. One of each kind is kept in any
    /// case: the verdict of the schema depends on it.
    fn is_full(&mut self, kind: ProblemKind) -> bool {
        let full =
            self.problems.len() >= MAX_PROBLEMS && self.problems.iter().any(|problem| problem.kind == kind);
        self.more |= full;
        full
    }

    fn step(&mut self, step: Step<'n>, node: &'n Node, shape: &'static Shape) {
        self.path.push(step);
        self.shape(node, shape);
        self.path.pop();
    }

    fn entry(&mut self, key: &'n Key, node: &'n Node, shape: &'static Shape) {
        self.step(Step::Key(&key.text), node, shape);
    }

    /// Checks the value the check is at.
    pub(crate) fn shape(&mut self, node: &'n Node, shape: &'static Shape) {
        if !takes(shape, &node.value) {
            let message = format!("expected {}, found {}", shape.expected(), node.what());
            return self.refuse(node.position, message, hint(shape, &node.value));
        }
        match shape {
            Shape::Anything | Shape::Flag => {}
            Shape::Text(text) => self.text(node, *text),
            Shape::Choice(names) => self.choice(node, names),
            Shape::Whole(bounds) => self.whole(node, *bounds),
            Shape::List(of) => self.list(node, of),
            Shape::Single(what, of, least) => self.single(node, what, of, *least),
            Shape::Tasks(scoping) => self.tasks(node, *scoping),
            Shape::Map(of, least) => self.map(node, of, *least),
            Shape::Object(object) => self.properties(node, object),
            Shape::ByKey(by) => self.by_key(node, by),
            Shape::ByValue(by) => {
                let value = node.get(by.key).and_then(Node::text);
                let variant = by.variants.iter().find(|(known, _)| Some(*known) == value);
                self.shape(node, variant.map_or(by.otherwise, |(_, shape)| shape));
            }
            Shape::Either(shapes) => {
                if let Some(shape) = shapes.iter().find(|shape| takes(shape, &node.value)) {
                    self.shape(node, shape);
                }
            }
        }
    }

    fn text(&mut self, node: &'n Node, rule: Text) {
        let Some(text) = node.text() else { return };
        if !rule.allows(text) {
            let message = format!("expected {}, found \"{}\"", rule.expected(), shown(text));
            return self.refuse(node.position, message, "");
        }
        if let Some(message) = rule.objection(text) {
            self.object(node.position, message, format!("expected {}", rule.expected()));
        }
        let objection = match rule {
            _ if self.is_full(ProblemKind::Meaning) => None,
            Text::Declared(section) => self.declared.objection(section, text),
            Text::Function => self.declared.function_objection(text, &task::call::PROTOCOLS),
            Text::Directive => directive_objection(self.scopes.last(), text),
            _ => None,
        };
        if let Some((message, help)) = objection {
            self.object(node.position, message, help);
        }
    }

    fn choice(&mut self, node: &'n Node, names: &'static [&'static str]) {
        let Some(text) = node.text().filter(|text| !names.contains(text)) else { return };
        if self.is_full(ProblemKind::Schema) {
            return;
        }
        let message = format!("\"{}\" is not known here", shown(text));
        let help =
            format!("{}{}", did_you_mean(text, names.iter().copied()), known_list(names.iter().copied()));
        self.refuse(node.position, message, help);
    }

    fn whole(&mut self, node: &'n Node, bounds: Option<(i64, i64)>) {
        let fits = match bounds {
            None => node.is_whole(),
            Some((min, max)) => node.whole().is_some_and(|number| (min..=max).contains(&number)),
        };
        if !fits {
            let expected = Shape::Whole(bounds).expected();
            self.refuse(node.position, format!("expected {expected}, found {}", node.to_json()), "");
        }
    }

    fn list(&mut self, node: &'n Node, of: &'static Shape) {
        for (index, item) in node.items().iter().enumerate() {
            self.step(Step::Index(index), item, of);
        }
    }

    fn map(&mut self, node: &'n Node, of: &'static Shape, least: Least) {
        self.not_empty(node, least);
        for (key, value) in node.entries() {
            self.entry(key, value, of);
        }
    }

    fn not_empty(&mut self, node: &'n Node, least: Least) {
        if least == Least::One && node.entries().is_empty() && node.items().is_empty() {
            self.refuse(
                node.position,
                format!("expected at least one entry, found {} without any", node.what()),
                "",
            );
        }
    }

    fn single(&mut self, node: &'n Node, what: &'static str, of: &'static Shape, least: Least) {
        self.not_empty(node, least);
        for (index, item) in node.items().iter().enumerate() {
            self.path.push(Step::Index(index));
            self.one_key(item, what);
            for (key, value) in item.entries() {
                self.entry(key, value, of);
            }
            self.path.pop();
        }
    }

    /// An item of a list of named things is a map with one key, the name.
    fn one_key(&mut self, item: &'n Node, what: &str) {
        let Value::Map(entries) = &item.value else {
            let message = format!("expected a map with one key, the name of {what}, found {}", item.what());
            return self.refuse(item.position, message, "write `- name: …`");
        };
        if entries.len() != 1 {
            let names: Vec<&str> = entries.iter().take(5).map(|(key, _)| key.text.as_str()).collect();
            let message = match names.as_slice() {
                [] => format!("an item without the name of {what}"),
                _ => format!(
                    "an item with {} keys ({}); the only one is the name of {what}",
                    entries.len(),
                    shown(&names.join(", "))
                ),
            };
            let help = "begin each with `- ` and indent below its name what belongs to it";
            self.refuse(item.position, message, help);
        }
    }

    fn tasks(&mut self, node: &'n Node, scoping: Scoping) {
        let keys = node.items().iter().flat_map(Node::entries).map(|(key, _)| key);
        let mut names = BTreeSet::new();
        let mut again = Vec::new();
        for key in keys {
            if !names.insert(key.text.as_str()) {
                again.push(key);
            }
        }
        for key in again {
            let message = format!("a second task with the name \"{}\" in the same list", shown(&key.text));
            self.object(key.position, message, "give each its own name");
        }
        self.scopes.push(match scoping {
            Scoping::Sequence => Scope::Sequence(names),
            Scoping::Branches => Scope::Branches,
        });
        self.single(node, "a task", &task::TASK, Least::Zero);
        self.scopes.pop();
    }

    fn by_key(&mut self, node: &'n Node, by: &'static ByKey) {
        if let Some((_, shape)) = by.variants.iter().find(|(key, _)| node.get(key).is_some()) {
            return self.shape(node, shape);
        }
        if let Some(shape) = by.otherwise {
            return self.shape(node, shape);
        }
        if self.is_full(ProblemKind::Schema) {
            return;
        }
        let names = || by.variants.iter().map(|(key, _)| *key);
        let slips = node.entries().iter().map(|(key, _)| did_you_mean(&key.text, names()));
        let slip = slips.into_iter().find(|slip| !slip.is_empty()).unwrap_or_default();
        let message = format!("{} without a kind", by.what);
        self.refuse(
            node.position,
            message,
            format!("{slip}one key says what it does, {}", known_list(names())),
        );
    }

    fn properties(&mut self, node: &'n Node, object: &'static Object) {
        self.not_empty(node, object.least);
        for property in object.known().filter(|property| property.required) {
            if node.get(property.name).is_none() {
                let message = format!("`{}` is missing in {}", property.name, object.what);
                self.refuse(node.position, message, format!("expected {}", property.shape.expected()));
            }
        }
        for (key, value) in node.entries() {
            let own = object.properties.iter().chain(object.inherited);
            match own.clone().find(|property| property.name == key.text) {
                Some(property) => self.entry(key, value, property.shape),
                None if object.alternatives.iter().any(|property| property.name == key.text) => {}
                None => self.unknown(key, object),
            }
        }
        self.alternatives(node, object);
        for group in object.exactly_one {
            self.exactly_one(node, object.what, group);
        }
        if let Some(rule) = object.rule {
            rule(node, self);
        }
    }

    fn unknown(&mut self, key: &'n Key, object: &'static Object) {
        let kind = if object.extra == Extra::Refused { ProblemKind::Schema } else { ProblemKind::Meaning };
        if object.extra == Extra::Free || self.is_full(kind) {
            return;
        }
        let names = || object.known().map(|property| property.name);
        let slip = did_you_mean(&key.text, names());
        let message = format!("unknown property \"{}\" in {}", shown(&key.text), object.what);
        self.path.push(Step::Key(&key.text));
        if object.extra == Extra::Refused {
            self.refuse(key.position, message, format!("{slip}{}", known_list(names())));
        } else if !slip.is_empty() {
            self.object(key.position, message, format!("{slip}nothing reads it"));
        }
        self.path.pop();
    }

    fn exactly_one(&mut self, node: &'n Node, what: &str, names: &[&'static str]) {
        let found: Vec<&str> = names.iter().copied().filter(|name| node.get(name).is_some()).collect();
        match found.as_slice() {
            [_] => {}
            [] => self.refuse(
                node.position,
                format!("{what} needs {}", names.join(" or ")),
                "expected one of them",
            ),
            more => {
                let message = format!("{what} has both {}", more.join(" and "));
                self.refuse(node.position, message, "expected one of them: they exclude each other");
            }
        }
    }

    /// Of the alternatives exactly one is there and right. Where more properties are allowed, a wrong one beside it
    /// is only one that nothing reads.
    fn alternatives(&mut self, node: &'n Node, object: &'static Object) {
        let found: Vec<(&'n Key, &'n Node, &'static Property)> = node
            .entries()
            .iter()
            .filter_map(|(key, value)| {
                let property = object.alternatives.iter().find(|property| property.name == key.text)?;
                Some((key, value, property))
            })
            .collect();
        if object.alternatives.is_empty() {
            return;
        }
        let before = self.problems.len();
        let mut right = 0;
        for (key, value, property) in &found {
            let wrong = self.schema_problems();
            self.entry(key, value, property.shape);
            right += usize::from(self.schema_problems() == wrong);
        }
        let all_told = self.problems.len() < MAX_PROBLEMS;
        if found.len() > 1 && right == 1 && object.extra != Extra::Refused && all_told {
            self.problems.truncate(before);
            let message = format!("{} with more than one kind", object.what);
            return self.object(node.position, message, "keep one of them");
        }
        if found.len() != 1 {
            let names: Vec<&str> = object.alternatives.iter().map(|property| property.name).collect();
            self.exactly_one(node, object.what, &names);
        }
    }

    fn schema_problems(&self) -> usize {
        self.problems.iter().filter(|problem| problem.kind == ProblemKind::Schema).count()
    }
}

/// Whether a shape is of the JSON type of a value.
fn takes(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Anything => true,
        Shape::Text(_) | Shape::Choice(_) => matches!(value, Value::Text(_)),
        Shape::Flag => matches!(value, Value::Bool(_)),
        Shape::Whole(_) => matches!(value, Value::Number(_)),
        Shape::List(_) | Shape::Single(..) | Shape::Tasks(_) => matches!(value, Value::List(_)),
        Shape::Map(..) | Shape::Object(_) | Shape::ByKey(_) | Shape::ByValue(_) => {
            matches!(value, Value::Map(_))
        }
        Shape::Either(shapes) => shapes.iter().any(|shape| takes(shape, value)),
    }
}

/// What to do about a value of the wrong type.
fn hint(shape: &Shape, value: &Value) -> &'static str {
    match (shape, value) {
        (Shape::Text(_) | Shape::Choice(_), Value::Number(_) | Value::Bool(_)) => "put it in quotes",
        (Shape::Tasks(_) | Shape::Single(..), Value::Map(_)) => "begin each with `- `",
        (_, Value::Null) => "write a value, or leave the key out",
        _ => "",
    }
}
