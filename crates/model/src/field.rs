//! How a typed value is read from a document, described and written back.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::node::{Node, Value, join};
use crate::problem::{Position, Problem, did_you_mean, known_list, shown};
use crate::schema::{FieldSchema, Object, Range, Scalar, Schema, Words};

/// The most problems that are listed for one file.
pub const MAX_PROBLEMS: usize = 200;

/// A type that can be a value in a manifest.
pub trait Field: Sized {
    /// What it accepts.
    fn schema() -> Schema;

    /// The value; `None` when problems were reported instead.
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;

    /// The canonical JSON, which [`Field::read`] accepts again. Absent values are null.
    fn write(&self) -> Json;

    /// The value when nothing is written, for types that may be absent.
    fn absent() -> Option<Self> {
        None
    }

    /// The number in the canonical unit, for types that have one: what ranges are checked on.
    fn magnitude(&self) -> Option<f64> {
        None
    }

    /// The canonical unit of [`Field::magnitude`].
    fn unit() -> &'static str {
        ""
    }
}

/// A type that is a map; its keys can be merged into another map.
pub trait Record: Field {
    /// The keys it knows.
    fn object() -> Object;

    /// Adds the names of the keys it knows.
    fn add_keys(keys: &mut Vec<String>);

    /// Reads its own keys of a map and leaves all others alone.
    fn read_keys(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;

    /// Writes its own keys.
    fn write_keys(&self, into: &mut serde_json::Map<String, Json>);
}

/// The reading of one file: where we are and what was wrong so far.
#[derive(Debug)]
pub struct Cx<'p> {
    path: &'p str,
    /// Dotted path of the value that is read, for messages.
    field: String,
    /// Range of the value that is read, to say it at once when its notation is wrong.
    range: Option<Range>,
    problems: Vec<Problem>,
}

impl<'p> Cx<'p> {
    /// For a file with this display path.
    #[must_use]
    pub fn new(path: &'p str) -> Self {
        Self { path, field: String::new(), range: None, problems: Vec::new() }
    }

    /// What was wrong.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// How many problems there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// The problems that were reported since there were `count`.
    pub(crate) fn problems_since(&self, count: usize) -> &[Problem] {
        self.problems.get(count..).unwrap_or_default()
    }

    /// Reports a problem of the value that is read.
    pub fn report(&mut self, position: Position, message: impl AsRef<str>, help: impl Into<String>) {
        if self.problems.len() > MAX_PROBLEMS {
            return;
        }
        if self.problems.len() == MAX_PROBLEMS {
            let message = format!("more than {MAX_PROBLEMS} problems in this file");
            self.problems.push(Problem::at(
                self.path,
                position,
                message,
                "the rest is not listed; correct these first",
            ));
            return;
        }
        let message = match self.field.as_str() {
            "" => message.as_ref().to_owned(),
            field => format!("{field}: {}", message.as_ref()),
        };
        self.problems.push(Problem::at(self.path, position, message, help));
    }

    /// Reports that something of another shape was expected.
    pub fn mismatch(&mut self, node: &Node, schema: &Schema) {
        self.report(
            node.position,
            format!("{} here", node.what()),
            format!("expected {}", schema.expected()),
        );
    }

    /// Reads below a key or an index; `step` is `key` or `[3]`.
    pub fn inside<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.field.len();
        if step.starts_with('[') {
            self.field.push_str(step);
        } else {
            self.field = join(&self.field, &shown(step));
        }
        let value = read(self);
        self.field.truncate(outer);
        value
    }

    /// The single value of a node, or a report that it is none.
    pub fn scalar<'n, T: Field>(&mut self, node: &'n Node) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.mismatch(node, &T::schema());
        }
        text
    }

    /// Reports every key that a record does not know.
    pub fn unknown_keys<T: Record>(&mut self, node: &Node) {
        let Value::Map(entries) = &node.value else { return };
        let mut known = Vec::new();
        T::add_keys(&mut known);
        let names = || known.iter().map(String::as_str);
        for (key, _) in entries {
            if known.contains(&key.text) {
                continue;
            }
            let help = format!("{}{}", did_you_mean(&key.text, names()), known_list(names()));
            let merge = if key.text == "<<" { " (merge keys are not part of YAML 1.2)" } else { "" };
            self.report(key.position, format!("unknown key \"{}\"{merge}", shown(&key.text)), help);
        }
    }

    /// Whether the range holds; reports when it does not.
    pub fn in_range<T: Field>(&mut self, node: &Node, value: &T, range: Option<Range>) -> bool {
        let (Some(range), Some(number)) = (range, value.magnitude()) else { return true };
        let inside = range.contains(number);
        if !inside {
            let written = node.text().map_or_else(|| number.to_string(), shown);
            let message = format!("{written} is out of range");
            self.report(node.position, message, format!("expected {}", range.text(T::unit())));
        }
        inside
    }

    /// The value of one key of a map: read, defaulted, or reported as missing or out of range.
    pub fn key<T: Field>(
        &mut self,
        map: &Node,
        key: &str,
        default: Option<fn() -> T>,
        range: Option<Range>,
    ) -> Option<T> {
        let entry = map.entry(key);
        let position = entry.map_or(map.position, |(key, _)| key.position);
        match entry {
            Some((_, node)) if node.value != Value::Null => self.inside(key, |cx| {
                cx.range = range;
                let value = T::read(node, cx)?;
                cx.in_range(node, &value, range).then_some(value)
            }),
            _ => {
                let value = default.map(|default| default()).or_else(T::absent);
                if value.is_none() {
                    let written = if entry.is_some() { "has no value" } else { "is missing" };
                    let help = format!("expected {}", T::schema().expected());
                    self.report(position, format!("\"{key}\" {written}"), help);
                }
                value
            }
        }
    }
}

/// Describes one key from its type.
#[must_use]
pub fn field_schema<T: Field>(
    key: String,
    doc: String,
    default: Option<Json>,
    has_default: bool,
    range: Option<Range>,
) -> FieldSchema {
    let required = !has_default && T::absent().is_none();
    let default = default.filter(|json| !json.is_null());
    FieldSchema { key, doc, required, default, range, schema: T::schema() }
}

/// The schema of a single value.
#[must_use]
pub fn scalar_schema(name: &'static str, expected: &str, json: Json) -> Schema {
    Schema::Scalar(Scalar { name, expected: expected.to_owned(), known: Vec::new(), json })
}

/// Reads one word of a closed list; `later` are words that are known but not yet available.
pub fn read_word<T: Field + Copy>(
    node: &Node,
    cx: &mut Cx<'_>,
    words: &Words,
    values: &[T],
    later: &[&str],
) -> Option<T> {
    let text = cx.scalar::<T>(node)?;
    let names = || words.words.iter().map(|(word, _)| word.as_str());
    if let Some(index) = names().position(|word| word == text) {
        return values.get(index).copied();
    }
    if later.contains(&text) {
        cx.report(node.position, format!("\"{text}\" is not available in this version"), known_list(names()));
    } else {
        let help = format!("{}{}", did_you_mean(text, names()), known_list(names()));
        cx.report(node.position, format!("unknown {} \"{}\"", words.name, shown(text)), help);
    }
    None
}

/// The only key of a map that has exactly one of the given keys; other keys are left alone.
pub fn read_choice<'n>(node: &'n Node, cx: &mut Cx<'_>, keys: &[String]) -> Option<(usize, &'n Node)> {
    let present: Vec<usize> = (0..keys.len()).filter(|&i| node.entry(&keys[i]).is_some()).collect();
    match present.as_slice() {
        [one] => node.entry(&keys[*one]).map(|(_, value)| (*one, value)),
        [] => {
            cx.report(
                node.position,
                format!("none of the keys {} is there", keys.join(", ")),
                "expected exactly one of them",
            );
            None
        }
        several => {
            let written: Vec<&str> = several.iter().map(|&i| keys[i].as_str()).collect();
            let position = node.entry(&keys[several[1]]).map_or(node.position, |(key, _)| key.position);
            cx.report(
                position,
                format!("{} cannot stand together", written.join(" and ")),
                "expected exactly one of them",
            );
            None
        }
    }
}

/// `maxCharge` for the field `max_charge` or the variant `MaxCharge`.
#[must_use]
pub fn camel_case(ident: &str) -> String {
    let mut out = String::with_capacity(ident.len());
    let mut upper = false;
    for c in ident.trim_start_matches("r#").chars() {
        match c {
            '_' => upper = true,
            c if out.is_empty() => out.extend(c.to_lowercase()),
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Doc lines as one text: lines joined, paragraphs kept.
#[must_use]
pub fn doc_text(lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines.iter().map(|line| line.trim()) {
        match (out.as_str(), line) {
            ("", _) => {}
            (_, "") => out.push('\n'),
            (text, _) if text.ends_with('\n') => {}
            _ => out.push(' '),
        }
        out.push_str(line);
    }
    out
}

impl<T: Field> Field for Option<T> {
    fn schema() -> Schema {
        T::schema()
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if node.value == Value::Null { Some(None) } else { T::read(node, cx).map(Some) }
    }
    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::write)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn magnitude(&self) -> Option<f64> {
        self.as_ref().and_then(T::magnitude)
    }
    fn unit() -> &'static str {
        T::unit()
    }
}

impl<T: Field> Field for Box<T> {
    fn schema() -> Schema {
        T::schema()
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::read(node, cx).map(Box::new)
    }
    fn write(&self) -> Json {
        T::write(self)
    }
}

impl<T: Field> Field for Vec<T> {
    fn schema() -> Schema {
        Schema::List(Box::new(T::schema()))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            cx.mismatch(node, &Self::schema());
            return None;
        };
        let read = |(index, item): (usize, &Node)| cx.inside(&format!("[{index}]"), |cx| T::read(item, cx));
        // Every item is read before any failure counts, so that all problems are listed.
        let items: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        items.into_iter().collect()
    }
    fn write(&self) -> Json {
        self.iter().map(T::write).collect()
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn schema() -> Schema {
        Schema::Map(Box::new(T::schema()))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.mismatch(node, &Self::schema());
            return None;
        };
        let mut all = Some(Self::new());
        for (key, value) in entries {
            match cx.inside(&key.text, |cx| T::read(value, cx)) {
                Some(value) => {
                    if let Some(map) = all.as_mut() {
                        map.insert(key.text.clone(), value);
                    }
                }
                None => all = None,
            }
        }
        all
    }
    fn write(&self) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.clone(), value.write())).collect())
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl Field for String {
    fn schema() -> Schema {
        scalar_schema("text", "text", json!({"type": ["string", "number", "boolean"]}))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        if text.contains('\0') {
            cx.report(node.position, "text with a zero character", "remove it");
            return None;
        }
        Some(text.to_owned())
    }
    fn write(&self) -> Json {
        json!(self)
    }
}

impl Field for bool {
    fn schema() -> Schema {
        scalar_schema("flag", "true or false", json!({"type": "boolean"}))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.scalar::<Self>(node)? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            other => {
                cx.report(
                    node.position,
                    format!("\"{}\" is neither true nor false", shown(other)),
                    "expected true or false",
                );
                None
            }
        }
    }
    fn write(&self) -> Json {
        json!(self)
    }
}

macro_rules! whole_number {
    ($ty:ty) => {
        impl Field for $ty {
            fn schema() -> Schema {
                scalar_schema("whole number", "a whole number", json!({"type": "integer", "minimum": 0}))
            }
            fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                let text = cx.scalar::<Self>(node)?;
                match text.parse() {
                    Ok(number) => Some(number),
                    Err(_) => {
                        let range = cx.range.unwrap_or(Range::between(0.0, f64::from(Self::MAX)));
                        let help = format!("expected a whole number, {}", range.text(""));
                        cx.report(node.position, format!("\"{}\" is not a whole number of that range", shown(text)), help);
                        None
                    }
                }
            }
            fn write(&self) -> Json {
                json!(self)
            }
            fn magnitude(&self) -> Option<f64> {
                Some(f64::from(*self))
            }
        }
    };
}
whole_number!(u8);
whole_number!(u16);
whole_number!(u32);
