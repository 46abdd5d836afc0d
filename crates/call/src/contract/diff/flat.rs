//! A schema with its references and `allOf` resolved: everything that must hold of a value at one place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// References and parts of `allOf` that are followed for one place.
const MOST_PARTS: usize = 256;
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// Told to people, or only names for others.
const SILENT: [&str; 14] = [
    "$ref",
    "allOf",
    "title",
    "description",
    "summary",
    "examples",
    "example",
    "$comment",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "externalDocs",
    "xml",
];

/// A schema and its JSON pointer in its document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) schema: &'a Value,
    pub(super) at: String,
}

impl<'a> Node<'a> {
    fn child(&self, schema: &'a Value, steps: &[&str]) -> Self {
        let mut at = self.at.clone();
        for step in steps {
            at.push('/');
            at.push_str(&step.replace('~', "~0").replace('/', "~1"));
        }
        Self { schema, at }
    }

    /// What a schema refers to that is nothing but a reference, and so on.
    pub(super) fn resolved(&self, root: &'a Value) -> Self {
        let mut node = self.clone();
        for _ in 0..MOST_PARTS {
            let only = node.schema.as_object().filter(|object| object.len() == 1);
            match only.and_then(|object| object.get("$ref")).and_then(|to| follow(root, to)) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// A name by which alternatives are told apart.
    pub(super) fn label(&self) -> Option<&'a str> {
        let text = |name| self.schema.get(name).and_then(Value::as_str);
        text("$ref")
            .map(|to| to.rsplit('/').next().unwrap_or(to))
            .or_else(|| text("title"))
            .or_else(|| text("type"))
    }
}

fn follow<'a>(root: &'a Value, to: &Value) -> Option<Node<'a>> {
    let pointer = to.as_str()?.strip_prefix('#')?;
    let decoded = percent(pointer);
    root.pointer(&decoded).map(|schema| Node { schema, at: decoded })
}

/// A fragment of an address without its percent signs (RFC 3986, section 2.1).
fn percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What must hold of a value all at once.
#[derive(Debug, Default)]
pub(super) struct Flat<'a> {
    /// No value fits.
    pub(super) nothing: bool,
    /// `number` includes `integer`.
    pub(super) types: Option<BTreeSet<&'a str>>,
    /// Values that fit all lists.
    pub(super) values: Option<Vec<&'a Value>>,
    pub(super) properties: BTreeMap<&'a str, Vec<Node<'a>>>,
    pub(super) required: BTreeSet<&'a str>,
    /// Of properties that are not named.
    pub(super) additional: Vec<Node<'a>>,
    /// Of array items after those that have a place of their own.
    pub(super) items: Vec<Node<'a>>,
    pub(super) places: BTreeMap<usize, Vec<Node<'a>>>,
    /// Lists of `oneOf` and `anyOf`.
    pub(super) choices: Vec<Vec<Node<'a>>>,
    pub(super) numbers: BTreeMap<&'a str, Vec<&'a Value>>,
    /// Everything else, as it stands.
    pub(super) others: BTreeMap<&'a str, Vec<&'a Value>>,
    /// References that lead nowhere, and what is too much.
    pub(super) unresolved: bool,
}

/// Keywords whose value is a number, and whether a larger one lets less through.
pub(super) const NUMBERS: [(&str, bool); 10] = [
    ("minimum", true),
    ("maximum", false),
    ("exclusiveMinimum", true),
    ("exclusiveMaximum", false),
    ("minLength", true),
    ("maxLength", false),
    ("minItems", true),
    ("maxItems", false),
    ("minProperties", true),
    ("maxProperties", false),
];

impl<'a> Flat<'a> {
    pub(super) fn new(root: &'a Value, nodes: &[Node<'a>]) -> Self {
        let mut flat = Self::default();
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<Node<'a>> = nodes.iter().rev().cloned().collect();
        while let Some(node) = waiting.pop() {
            if !seen.insert(node.at.clone()) {
                continue;
            }
            if seen.len() > MOST_PARTS {
                flat.unresolved = true;
                break;
            }
            match node.schema {
                Value::Bool(fits) => flat.nothing |= !fits,
                Value::Object(keywords) => flat.absorb(root, &node, keywords, &mut waiting),
                _ => flat.unresolved = true,
            }
        }
        flat
    }

    fn absorb(
        &mut self,
        root: &'a Value,
        node: &Node<'a>,
        keywords: &'a Map<String, Value>,
        waiting: &mut Vec<Node<'a>>,
    ) {
        if let Some(to) = keywords.get("$ref") {
            match follow(root, to) {
                Some(next) => waiting.push(next),
                None => {
                    self.unresolved = true;
                    self.others.entry("$ref").or_default().push(to);
                }
            }
        }
        for (index, part) in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            waiting.push(node.child(part, &["allOf", &index.to_string()]));
        }
        for (name, value) in keywords {
            if !SILENT.contains(&name.as_str()) && !name.starts_with("x-") {
                self.keyword(node, name, value);
            }
        }
    }

    fn keyword(&mut self, node: &Node<'a>, name: &'a str, value: &'a Value) {
        match (name, value) {
            ("type", Value::String(_) | Value::Array(_)) => self.narrow_types(value),
            ("const", value) => self.narrow_values(&[value]),
            ("enum", Value::Array(values)) => self.narrow_values(&values.iter().collect::<Vec<_>>()),
            ("properties", Value::Object(all)) => {
                for (name, schema) in all {
                    let child = node.child(schema, &["properties", name]);
                    self.properties.entry(name).or_default().push(child);
                }
            }
            ("required", Value::Array(names)) => self.required.extend(names.iter().filter_map(Value::as_str)),
            ("additionalProperties" | "unevaluatedProperties", _) => {
                self.additional.push(node.child(value, &[name]));
            }
            ("items" | "unevaluatedItems", Value::Object(_) | Value::Bool(_)) => {
                self.items.push(node.child(value, &[name]));
            }
            ("prefixItems", Value::Array(all)) => {
                for (index, schema) in all.iter().enumerate() {
                    let child = node.child(schema, &[name, &index.to_string()]);
                    self.places.entry(index).or_default().push(child);
                }
            }
            ("oneOf" | "anyOf", Value::Array(all)) => {
                let child =
                    |(index, schema): (usize, &'a Value)| node.child(schema, &[name, &index.to_string()]);
                self.choices.push(all.iter().enumerate().map(child).collect());
            }
            (_, Value::Number(_)) if NUMBERS.iter().any(|(known, _)| *known == name) => {
                self.numbers.entry(name).or_default().push(value);
            }
            _ => self.others.entry(name).or_default().push(value),
        }
    }

    fn narrow_types(&mut self, value: &'a Value) {
        let named = |value: &'a Value| value.as_str();
        let mut types: BTreeSet<&str> = match value {
            Value::Array(all) => all.iter().filter_map(named).collect(),
            one => named(one).into_iter().collect(),
        };
        if types.contains("number") {
            types.insert("integer");
        }
        self.types = Some(match self.types.take() {
            Some(before) => before.intersection(&types).copied().collect(),
            None => types,
        });
    }

    fn narrow_values(&mut self, values: &[&'a Value]) {
        self.values = Some(match self.values.take() {
            Some(before) => {
                let known: BTreeSet<String> = values.iter().map(ToString::to_string).collect();
                before.into_iter().filter(|value| known.contains(&value.to_string())).collect()
            }
            None => values.to_vec(),
        });
    }

    /// The types that fit.
    pub(super) fn all_types(&self) -> BTreeSet<&'a str> {
        self.types.clone().unwrap_or_else(|| TYPES.into())
    }

    /// Whether nothing is asked but perhaps alternatives.
    fn is_bare(&self) -> bool {
        !self.nothing
            && !self.unresolved
            && self.types.is_none()
            && self.values.is_none()
            && self.properties.is_empty()
            && self.required.is_empty()
            && self.additional.is_empty()
            && self.items.is_empty()
            && self.places.is_empty()
            && self.numbers.is_empty()
            && self.others.keys().all(|name| matches!(*name, "default" | "deprecated" | "discriminator"))
    }

    /// Whether anything fits.
    pub(super) fn asks_nothing(&self) -> bool {
        self.is_bare() && self.choices.is_empty()
    }

    /// The alternatives, when nothing but one list of them is asked.
    pub(super) fn only_choices(&self) -> Option<&[Node<'a>]> {
        match (self.is_bare(), self.choices.as_slice()) {
            (true, [choices]) => Some(choices),
            _ => None,
        }
    }
}
