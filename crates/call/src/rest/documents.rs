//! The documents of a description, read, and what their references lead to.

use std::collections::HashMap;

use serde_json::Value;

use super::names::{self, Target};
use super::walk::walk;
use super::{json, shown};
use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};
use crate::yaml;

/// Bytes of all documents together (64 MiB).
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Documents that belong together.
const MAX_DOCUMENTS: usize = 2000;
/// How deep lists and maps of a document may be nested.
const MAX_DEPTH: usize = 120;
/// Values of all documents together.
const MAX_VALUES: usize = 4_000_000;
/// Bytes that the values of a JSON document take in memory, about (2 GiB).
const MAX_MEMORY: usize = 2 << 30;
/// Bytes of texts that are looked through for the lines of problems.
const LOOKED_THROUGH: usize = 64 << 20;
/// References that lead to references.
const MAX_HOPS: usize = 100;
/// Problems and notes that are told.
const TOLD: usize = 20;
const NOTED: usize = 100;

/// How schemas of a document are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2: a part of JSON Schema draft 4.
    V2,
    /// OpenAPI 3.0: an extended part of JSON Schema draft 5.
    V30,
    /// OpenAPI 3.1: JSON Schema 2020-12.
    V31,
}

pub(super) struct Document {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) dialect: Dialect,
}

/// All documents, by number. The first is the one that is meant.
pub(super) struct Set {
    pub(super) documents: Vec<Document>,
    by_name: HashMap<String, usize>,
    /// Where `$id`, `$anchor` and `$dynamicAnchor` stand: by `document#name`, or by the address of an `$id`.
    named: HashMap<String, (usize, String)>,
    /// Names of `$dynamicAnchor` that stand more than once, so that what is meant depends on the way there.
    ambiguous: Vec<String>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spot<'d> {
    pub(super) document: usize,
    pub(super) pointer: String,
    pub(super) value: &'d Value,
}

impl<'d> Spot<'d> {
    /// The value with this key in it.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key)?;
        Some(Self {
            document: self.document,
            pointer: format!("{}/{}", self.pointer, names::escaped(key)),
            value,
        })
    }

    /// The items of a list; nothing where it is none.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        let spot = |(index, value)| Self {
            document: self.document,
            pointer: format!("{}/{index}", self.pointer),
            value,
        };
        items.iter().enumerate().map(spot).collect()
    }

    /// The entries of a map; nothing where it is none.
    pub(super) fn entries(&self) -> Vec<(&'d str, Self)> {
        let Value::Object(entries) = self.value else { return vec![] };
        let spot = |(key, value): (&'d String, _)| {
            let pointer = format!("{}/{}", self.pointer, names::escaped(key));
            (key.as_str(), Self { document: self.document, pointer, value })
        };
        entries.iter().map(spot).collect()
    }

    /// The text with this key in it; empty where there is none.
    pub(super) fn text(&self, key: &str) -> &'d str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The truth value with this key in it.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.value.get(key).and_then(Value::as_bool)
    }
}

/// What is wrong with a description: all of it, up to a bound.
#[derive(Default)]
pub(super) struct Problems {
    told: Vec<(usize, String, String)>,
    more: usize,
    /// What can be lived with.
    notes: Vec<(usize, String, String)>,
}

impl Problems {
    pub(super) fn add(&mut self, document: usize, pointer: impl Into<String>, message: impl Into<String>) {
        if self.told.len() < TOLD {
            self.told.push((document, pointer.into(), message.into()));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn at(&mut self, spot: &Spot<'_>, message: impl Into<String>) {
        self.add(spot.document, spot.pointer.clone(), message);
    }

    /// Notes something that is left out or taken otherwise than it is written.
    pub(super) fn note(&mut self, spot: &Spot<'_>, message: impl Into<String>) {
        if self.notes.len() < NOTED {
            self.notes.push((spot.document, spot.pointer.clone(), message.into()));
        }
    }

    /// The notes with their places, without lines.
    pub(super) fn notes(&mut self, documents: &Documents) -> Vec<String> {
        let told = std::mem::take(&mut self.notes).into_iter().map(|(document, pointer, message)| {
            let name = documents.all.get(document).map_or("", |(name, _)| name.as_str());
            format!("{} {}: {message}", shown(name), shown(&pointer))
        });
        told.collect()
    }

    /// The error that tells them all, or nothing. Lines are looked for in the texts only now.
    pub(super) fn into_error(self, documents: &Documents) -> Option<CallError> {
        let mut left = LOOKED_THROUGH;
        let mut list = self
            .told
            .into_iter()
            .map(|(document, pointer, message)| (place(documents, document, &pointer, &mut left), message));
        let (first_place, mut text) = list.next()?;
        for (place, message) in list {
            text = format!("{text}\n{place}: {message}");
        }
        if self.more > 0 {
            text = format!("{text}\nand {} more", self.more);
        }
        Some(CallError::new(ErrorKind::BadDocument, first_place, text))
    }
}

/// `openapi.yaml line 3, column 5, /paths/~1offers`
fn place(documents: &Documents, document: usize, pointer: &str, left: &mut usize) -> String {
    let Some((name, text)) = documents.all.get(document) else { return pointer.to_owned() };
    let looked_at = text.len() <= *left;
    *left = left.saturating_sub(text.len());
    let text = std::str::from_utf8(text).ok().filter(|_| looked_at);
    let line = text.and_then(|text| yaml::locate(text, pointer));
    let line = line.map_or(String::new(), |(line, column)| format!(" line {line}, column {column},"));
    let pointer = if pointer.is_empty() { "/" } else { pointer };
    format!("{}{line} {}", shown(name), shown(pointer))
}

/// Reads JSON or YAML. JSON is tried first where the text begins like it.
///
/// # Errors
/// `BadDocument` with name, line and column.
pub(super) fn parse(name: &str, text: &[u8]) -> Result<Value, CallError> {
    let refuse = |place: String, message: String| {
        Err(CallError::new(ErrorKind::BadDocument, format!("{}{place}", shown(name)), message))
    };
    if text.len() > MAX_BYTES {
        return refuse(String::new(), format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return refuse(format!(" byte {}", error.valid_up_to()), "no UTF-8 text".to_owned()),
    };
    let begins = text.trim_start().bytes().next();
    if begins == Some(b'{') {
        let found = json::extent(text.as_bytes());
        if found.depth > MAX_DEPTH {
            return refuse(String::new(), format!("nested deeper than {MAX_DEPTH} levels"));
        }
        if found.memory > MAX_MEMORY {
            return refuse(String::new(), format!("more than {MAX_VALUES} values"));
        }
        match serde_json::from_str(text) {
            Ok(value) => return Ok(value),
            // A flow map of YAML begins alike; what is neither is told as JSON.
            Err(error) => {
                let bounds = yaml::Bounds { depth: MAX_DEPTH, values: MAX_VALUES };
                if let Ok(value) = yaml::read(text, bounds) {
                    return Ok(value);
                }
                let place = format!(" line {}, column {}", error.line(), error.column());
                return refuse(place, format!("no JSON: {}", json::reason(&error)));
            }
        }
    }
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        return refuse(format!(" byte {at}"), "a binary file; expected JSON or YAML".to_owned());
    }
    let bounds = yaml::Bounds { depth: MAX_DEPTH, values: MAX_VALUES };
    yaml::read(text, bounds).or_else(|((line, column), message)| {
        refuse(format!(" line {line}, column {column}"), shown(&message))
    })
}

impl Set {
    /// Reads all documents.
    pub(super) fn read(documents: &Documents) -> Result<Self, CallError> {
        let refuse = |message: String| Err(CallError::new(ErrorKind::BadDocument, "", message));
        let bytes: usize = documents.all.iter().map(|(_, text)| text.len()).sum();
        if bytes > MAX_BYTES {
            return refuse(format!(
                "the documents have {bytes} bytes together, at most {MAX_BYTES} are read"
            ));
        }
        if documents.all.len() > MAX_DOCUMENTS {
            return refuse(format!("{} documents, at most {MAX_DOCUMENTS} are read", documents.all.len()));
        }
        let mut set =
            Self { documents: vec![], by_name: HashMap::new(), named: HashMap::new(), ambiguous: vec![] };
        let mut values = 0;
        let mut meant = Dialect::V31;
        for (index, (name, text)) in documents.all.iter().enumerate() {
            let value = parse(name, text)?;
            values += count(&value);
            if values > MAX_VALUES {
                return refuse(format!("the documents hold more than {MAX_VALUES} values"));
            }
            if index == 0 {
                meant = version(name, &value)?;
            }
            let dialect = if index == 0 { meant } else { version(name, &value).unwrap_or(meant) };
            set.by_name.entry(name.clone()).or_insert(index);
            set.documents.push(Document { name: name.clone(), value, dialect });
        }
        if set.documents.is_empty() {
            return refuse("no document; expected an OpenAPI or Swagger description".to_owned());
        }
        set.index();
        Ok(set)
    }

    /// Notes where `$id` and anchors stand.
    fn index(&mut self) {
        let mut named = HashMap::new();
        let mut ambiguous = vec![];
        for (number, document) in self.documents.iter().enumerate() {
            walk(&document.value, &mut |object, pointer| {
                let text = |key| object.get(key).and_then(Value::as_str);
                if let Some(id) = text("$id").filter(|id| !id.is_empty()) {
                    let target = names::resolve(&document.name, id);
                    named.entry(target.document).or_insert_with(|| (number, pointer.to_owned()));
                }
                if let Some(anchor) = text("$anchor") {
                    let name = format!("{}#{anchor}", document.name);
                    named.entry(name).or_insert_with(|| (number, pointer.to_owned()));
                }
                if let Some(anchor) = text("$dynamicAnchor") {
                    let name = format!("{}#{anchor}", document.name);
                    let known = format!("*#{anchor}");
                    if named.contains_key(&known) {
                        ambiguous.push(anchor.to_owned());
                    }
                    named.entry(name).or_insert_with(|| (number, pointer.to_owned()));
                    named.entry(known).or_insert_with(|| (number, pointer.to_owned()));
                }
            });
        }
        (self.named, self.ambiguous) = (named, ambiguous);
    }

    /// Whether a `$dynamicRef` to this name may mean more than one schema.
    pub(super) fn is_ambiguous(&self, reference: &str) -> bool {
        let name = reference.rsplit_once('#').map_or(reference, |(_, name)| name);
        self.ambiguous.iter().any(|known| known == name)
    }

    pub(super) fn root(&self, document: usize) -> Spot<'_> {
        Spot { document, pointer: String::new(), value: &self.documents[document].value }
    }

    pub(super) fn dialect(&self, document: usize) -> Dialect {
        self.documents[document].dialect
    }

    /// What one reference leads to.
    fn once(&self, from: usize, reference: &str) -> Result<Spot<'_>, String> {
        let base = &self.documents[from].name;
        let Target { document: name, fragment } = names::resolve(base, reference);
        let (document, start) = match self.by_name.get(&name) {
            Some(document) => (*document, String::new()),
            None => match self.named.get(&name).or_else(|| self.named.get(&names::decoded(&name))) {
                Some((document, pointer)) => (*document, pointer.clone()),
                None => match self.by_name.get(&names::decoded(&name)) {
                    Some(document) => (*document, String::new()),
                    None => {
                        return Err(format!(
                            "`$ref` leads to `{}`, and no such document was given",
                            shown(&name)
                        ));
                    }
                },
            },
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let anchor = format!("{}#{fragment}", self.documents[document].name);
            let Some((document, pointer)) = self.named.get(&anchor) else {
                return Err(format!(
                    "`$ref` leads to `#{}`, and there is no such `$anchor`",
                    shown(&fragment)
                ));
            };
            let value = self.documents[*document].value.pointer(pointer);
            let spot = value.map(|value| Spot { document: *document, pointer: pointer.clone(), value });
            return spot.ok_or_else(|| "`$ref` leads nowhere".to_owned());
        }
        let pointer = format!("{start}{fragment}");
        match self.documents[document].value.pointer(&pointer) {
            Some(value) => Ok(Spot { document, pointer, value }),
            None => Err(format!(
                "`$ref` leads to `{}`, which is not in `{}`",
                shown(&fragment),
                shown(&self.documents[document].name)
            )),
        }
    }

    /// What a reference leads to in the end: references that hold nothing else are followed.
    pub(super) fn target(&self, from: usize, reference: &str) -> Result<Spot<'_>, String> {
        let mut spot = self.once(from, reference)?;
        for _ in 0..MAX_HOPS {
            let Value::Object(entries) = spot.value else { return Ok(spot) };
            let Some(next) = entries.get("$ref").and_then(Value::as_str) else { return Ok(spot) };
            // In 3.1 what stands beside a `$ref` of a schema counts as well.
            if self.dialect(spot.document) == Dialect::V31 && entries.keys().any(|key| matters(key)) {
                return Ok(spot);
            }
            spot = self.once(spot.document, next)?;
        }
        Err(format!("`$ref` leads to more than {MAX_HOPS} references, or in a circle to nothing"))
    }

    /// The value itself, or what its `$ref` leads to; problems are noted and give nothing.
    pub(super) fn follow<'d>(&'d self, spot: Spot<'d>, problems: &mut Problems) -> Option<Spot<'d>> {
        let mut spot = spot;
        for _ in 0..MAX_HOPS {
            let Some(reference) = spot.value.get("$ref") else { return Some(spot) };
            let Some(reference) = reference.as_str() else {
                problems.at(&spot, "`$ref` is no text");
                return None;
            };
            match self.once(spot.document, reference) {
                Ok(next) => spot = next,
                Err(message) => {
                    problems.at(&spot, message);
                    return None;
                }
            }
        }
        problems.at(&spot, "`$ref` leads in a circle to nothing");
        None
    }
}

/// Whether a key beside `$ref` says something about values.
fn matters(key: &str) -> bool {
    !matches!(
        key,
        "$ref" | "$comment" | "summary" | "description" | "title" | "example" | "examples" | "deprecated"
    ) && !key.starts_with("x-")
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn version(name: &str, value: &Value) -> Result<Dialect, CallError> {
    let text = |key| match value.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        // `swagger: 2.0` without quotes.
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let refuse = |pointer: &str, message: String| {
        Err(CallError::new(ErrorKind::BadDocument, format!("{} {pointer}", shown(name)), message))
    };
    if let Some(found) = text("swagger") {
        return match found.as_str() {
            "2.0" | "2" => Ok(Dialect::V2),
            _ => refuse("/swagger", format!("expected `swagger: \"2.0\"`, found `{}`", shown(&found))),
        };
    }
    match text("openapi") {
        Some(found) if found == "3.0" || found.starts_with("3.0.") => Ok(Dialect::V30),
        Some(found) if found == "3.1" || found.starts_with("3.1.") => Ok(Dialect::V31),
        Some(found) => refuse("/openapi", format!("expected version 3.0 or 3.1, found `{}`", shown(&found))),
        None => refuse(
            "/",
            "no OpenAPI: expected `openapi: 3.0.x`, `openapi: 3.1.x` or `swagger: \"2.0\"`".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(documents: &[(&str, &str)]) -> Set {
        let all =
            documents.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        Set::read(&Documents { all }).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn references_lead_to_pointers_anchors_ids_and_other_documents() {
        let set = set(&[
            (
                "a/openapi.yaml",
                "openapi: 3.1.0\nx: 1\nschemas: {A: {$anchor: here, type: string}, B: {$id: 'urn:b', type: number}}",
            ),
            ("a/b.json", "{\"c d\": {\"$ref\": \"openapi.yaml#/x\"}}"),
        ]);
        let at = |reference| set.target(0, reference).map(|spot| spot.value.clone());
        assert_eq!(at("#here").unwrap()["type"], "string");
        assert_eq!(at("urn:b#/type"), Ok(json!("number")));
        assert_eq!(at("b.json#/c%20d"), Ok(json!(1)));
        assert!(at("#/nothing").unwrap_err().contains("not in `a/openapi.yaml`"));
        assert!(at("c.json").unwrap_err().contains("`a/c.json`, and no such document was given"));
        assert!(at("#there").unwrap_err().contains("no such `$anchor`"));
    }

    #[test]
    fn a_circle_to_nothing_is_refused() {
        let set = set(&[("o", "{openapi: 3.0.0, a: {$ref: '#/b'}, b: {$ref: '#/a'}}")]);
        assert!(set.target(0, "#/a").unwrap_err().contains("in a circle"));
    }

    #[test]
    fn what_is_no_description_is_refused_with_what_was_expected() {
        let message = |text: &str| Set::read(&Documents::one("x", text)).map(|_| ()).unwrap_err().to_string();
        assert!(message("{}").contains("expected `openapi: 3.0.x`"));
        assert!(message("openapi: 4.0.0").contains("expected version 3.0 or 3.1, found `4.0.0`"));
        assert!(message("{\"a\": ").contains("no JSON"));
        assert!(message("a: [1").contains("x line 1") || message("a: [1").contains("x line 2"));
        assert!(message("\u{0}").contains("binary"));
        let deep = format!("{}\"openapi\": 1{}", "{\"a\": ".repeat(200), "}".repeat(200));
        assert!(message(&deep).contains("deeper than 120"));
    }
}
