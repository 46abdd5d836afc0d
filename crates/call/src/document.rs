//! Descriptions in JSON or YAML, and what their references lead to.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};
use crate::yaml;

/// Bytes of one document.
const MAX_BYTES: usize = 16 << 20;
/// How deep lists and maps may be nested.
const MAX_DEPTH: usize = 120;
/// Values of one document, those that aliases repeat among them; and of a schema with all that it refers to.
const MAX_VALUES: usize = 1_000_000;
/// References that lead to references.
const MAX_HOPS: usize = 100;

fn bad(place: impl Into<String>, message: impl Into<String>) -> CallError {
    CallError::new(ErrorKind::BadDocument, place, message)
}

/// Reads JSON or YAML 1.2 (core schema).
///
/// # Errors
/// `TooLarge`; `BadDocument` with line and column.
fn read(name: &str, bytes: &[u8]) -> Result<Value, CallError> {
    if bytes.len() > MAX_BYTES {
        let message = format!("{} bytes, expected at most {MAX_BYTES}", bytes.len());
        return Err(CallError::new(ErrorKind::TooLarge, name, message));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        bad(format!("{name}, line {line}"), "expected UTF-8 text")
    })?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| {
            let place = format!("{name}, line {}, column {}", error.line(), error.column());
            bad(place, format!("no JSON: {error}"))
        });
    }
    yaml::read(text, yaml::Bounds { depth: MAX_DEPTH, values: MAX_VALUES })
        .map_err(|((line, column), message)| bad(format!("{name}, line {line}, column {column}"), message))
}

/// Documents that refer to each other, read.
pub(crate) struct Set {
    all: Vec<(String, Value)>,
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'s> {
    document: usize,
    pub(crate) value: &'s Value,
}

impl<'s> Spot<'s> {
    pub(crate) fn text(&self, name: &str) -> Option<&'s str> {
        self.value.get(name).and_then(Value::as_str)
    }

    /// Members by name; none where it is no object.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'s String, Self)> {
        let document = self.document;
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(move |(name, value)| (name, Self { document, value }))
    }

    /// Items; none where it is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'s> {
        let document = self.document;
        self.value.as_array().into_iter().flatten().map(move |value| Self { document, value })
    }
}

impl Set {
    /// Reads all documents.
    ///
    /// # Errors
    /// Where there is none, and as one document that cannot be read.
    pub(crate) fn read(documents: &Documents) -> Result<Self, CallError> {
        if documents.all.is_empty() {
            return Err(bad("", "expected a document, found none"));
        }
        let read = documents.all.iter().map(|(name, text)| Ok((name.clone(), read(name, text)?)));
        Ok(Self { all: read.collect::<Result<_, CallError>>()? })
    }

    /// The document that is meant.
    pub(crate) fn root(&self) -> Spot<'_> {
        Spot { document: 0, value: &self.all[0].1 }
    }

    /// The member with this name, references followed.
    pub(crate) fn get<'s>(&'s self, spot: Spot<'s>, name: &str) -> Result<Option<Spot<'s>>, CallError> {
        let found = spot.value.get(name).map(|value| Spot { value, ..spot });
        found.map(|found| self.follow(found)).transpose()
    }

    /// What a reference leads to; the spot itself where it is none.
    pub(crate) fn follow<'s>(&'s self, mut spot: Spot<'s>) -> Result<Spot<'s>, CallError> {
        for _ in 0..MAX_HOPS {
            let Some(reference) = spot.text("$ref") else { return Ok(spot) };
            let (document, pointer) = self.target(spot.document, reference)?;
            let value = self.all[document].1.pointer(&pointer);
            let value = value.ok_or_else(|| self.dangling(spot.document, reference))?;
            spot = Spot { document, value };
        }
        Err(bad(&self.all[spot.document].0, format!("more than {MAX_HOPS} references in a row")))
    }

    fn dangling(&self, document: usize, reference: &str) -> CallError {
        let message = format!("`{}` leads nowhere", reference.escape_debug());
        bad(&self.all[document].0, message)
    }

    /// Document and JSON pointer of a reference.
    pub(crate) fn target(&self, document: usize, reference: &str) -> Result<(usize, String), CallError> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let found = if file.is_empty() { Some(document) } else { self.named(document, file) };
        let found = found.ok_or_else(|| {
            let message = format!("`{}` is in none of the documents", reference.escape_debug());
            bad(&self.all[document].0, message)
        })?;
        let form = format!("p={}", fragment.replace('+', "%2B").replace('&', "%26"));
        let decoded = url::form_urlencoded::parse(form.as_bytes()).next();
        Ok((found, decoded.map_or(String::new(), |(_, pointer)| pointer.into_owned())))
    }

    /// A document by its name as another writes it.
    fn named(&self, from: usize, file: &str) -> Option<usize> {
        let by_name = |name: &str| self.all.iter().position(|(known, _)| known == name);
        let base = &self.all[from].0;
        if let Ok(address) = Url::parse(base) {
            return by_name(address.join(file).ok()?.as_str());
        }
        // Relative paths: as if they were below some address.
        let below = "file:///";
        let joined = Url::parse(below).ok()?.join(base).ok()?.join(file).ok()?;
        let path = joined.as_str().strip_prefix(below).unwrap_or(joined.as_str());
        by_name(path).or_else(|| by_name(file))
    }

    /// A schema that needs nothing outside of itself: what it refers to is in its `$defs`.
    pub(crate) fn schema(&self, spot: Spot<'_>) -> Result<Value, CallError> {
        let mut bundle = Bundle { set: self, names: BTreeMap::new(), waiting: vec![], values: 0 };
        let mut schema = bundle.copy(spot.document, spot.value)?;
        let mut definitions = Map::new();
        while let Some((name, document, pointer)) = bundle.waiting.pop() {
            let value = self.all[document].1.pointer(&pointer);
            let value = value.ok_or_else(|| self.dangling(document, &pointer))?;
            definitions.insert(name, bundle.copy(document, value)?);
        }
        if let (Value::Object(members), false) = (&mut schema, definitions.is_empty()) {
            members.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Ok(schema)
    }
}

struct Bundle<'s> {
    set: &'s Set,
    /// What a definition is called, by where it stands.
    names: BTreeMap<(usize, String), String>,
    waiting: Vec<(String, usize, String)>,
    values: usize,
}

impl Bundle<'_> {
    fn copy(&mut self, document: usize, value: &Value) -> Result<Value, CallError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let message = format!("a schema of more than {MAX_VALUES} values");
            return Err(CallError::new(ErrorKind::TooLarge, &self.set.all[document].0, message));
        }
        Ok(match value {
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.copy(document, item)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let mut copied = Map::new();
                for (name, member) in members {
                    let member = match member {
                        Value::String(reference) if name == "$ref" => {
                            Value::from(self.name(document, reference)?)
                        }
                        // They would move what references are relative to.
                        _ if name == "$id" || name == "id" && members.contains_key("$schema") => continue,
                        member => self.copy(document, member)?,
                    };
                    copied.insert(name.clone(), member);
                }
                Value::Object(copied)
            }
            other => other.clone(),
        })
    }

    fn name(&mut self, document: usize, reference: &str) -> Result<String, CallError> {
        let target = self.set.target(document, reference)?;
        if let Some(known) = self.names.get(&target) {
            return Ok(format!("#/$defs/{known}"));
        }
        let last = target.1.rsplit('/').next().unwrap_or_default();
        let mut name: String =
            last.chars().filter(|c| c.is_alphanumeric() || "-_.".contains(*c)).take(100).collect();
        if name.is_empty() || self.names.values().any(|known| *known == name) {
            name = format!("{name}-{}", self.names.len() + 1);
        }
        self.names.insert(target.clone(), name.clone());
        self.waiting.push((name.clone(), target.0, target.1));
        Ok(format!("#/$defs/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_are_read_alike() {
        let yaml =
            "a: [1, -2, 0x1F, 1.5, yes, ~, true, '1', 1.2.3, .inf, 2026-01-01]\n200: &x {k: v}\nb: *x\n";
        let json = br#"{"a":[1,-2,31,1.5,"yes",null,true,"1","1.2.3",".inf","2026-01-01"],"200":{"k":"v"},"b":{"k":"v"}}"#;
        assert_eq!(read("x", yaml.as_bytes()).unwrap(), read("x", json).unwrap());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let place = |text: &[u8]| read("x", text).unwrap_err().place;
        assert_eq!(place(b"a: 1\na: 2\n"), "x, line 2, column 4");
        assert_eq!(place(b"{\"a\":\n}"), "x, line 2, column 1");
        assert_eq!(place(b"a: 1\n\xff"), "x, line 2");
        assert!(read("x", "[".repeat(100_000).as_bytes()).is_err());
        let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for level in 1..20 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(read("x", bomb.as_bytes()).unwrap_err().message.contains("aliases counted"));
        assert!(read("x", &vec![b' '; MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn schemas_bring_along_what_they_refer_to() {
        let main = json!({"a": {"$ref": "other.json#/node"}, "loop": {"$ref": "#/loop"}});
        let other =
            json!({"node": {"properties": {"next": {"$ref": "#/node"}, "n": {"$ref": "../x.json#/a~1b"}}}});
        let text = |value: &Value| value.to_string().into_bytes();
        let documents = Documents {
            all: vec![
                ("d/main.json".to_owned(), text(&main)),
                ("d/other.json".to_owned(), text(&other)),
                ("x.json".to_owned(), text(&json!({"a/b": {"type": "integer"}}))),
            ],
        };
        let set = Set::read(&documents).unwrap();
        let spot = set.get(set.root(), "a").unwrap().unwrap();
        let schema = set.schema(spot).unwrap();
        assert_eq!(
            schema,
            json!({
                "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"$ref": "#/$defs/a1b"}},
                "$defs": {
                    "node": {"properties": {"next": {"$ref": "#/$defs/node"}, "n": {"$ref": "#/$defs/a1b"}}},
                    "a1b": {"type": "integer"},
                },
            })
        );
        assert!(set.get(set.root(), "loop").unwrap_err().message.contains("in a row"));
        assert!(
            set.target(0, "https://example.org/x#/a").unwrap_err().message.contains("none of the documents")
        );
    }
}
