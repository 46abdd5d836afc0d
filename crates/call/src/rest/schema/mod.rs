//! Schemas of all dialects as JSON Schema 2020-12: each converted once, references kept as references.

mod convert;
mod graph;
mod keyword;
mod pattern;

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use super::documents::{Problems, Set, Spot};

pub(super) use convert::is_binary;
pub(super) use graph::{Closure, chains};

/// Values of all converted schemas together; each place that references lead to is converted for itself.
const MAX_VALUES: usize = 6_000_000;
/// Bytes that an object of JSON and an entry of it take in memory, about.
const OBJECT: usize = 300;
const ENTRY: usize = 120;

/// What a schema is used for: some properties are only sent, some only answered, files are written in their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Mode {
    /// JSON that is sent; parameters.
    Request,
    /// Forms that are sent, where a file may be `{"$file": …}`.
    Form,
    /// JSON that is answered.
    Response,
}

/// One schema leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Number of the definition.
    pub(super) to: usize,
    /// Whether it is about the same value, not about a part of it.
    pub(super) in_place: bool,
}

/// A converted schema. Its references are `#/$defs/NAME`.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) value: Value,
    pub(super) edges: Vec<Edge>,
    /// Bytes in memory, about.
    pub(super) memory: usize,
    /// How many schemas within each other are about the same value, in this text alone.
    pub(super) nested: usize,
}

impl Schema {
    /// A schema of ours.
    pub(super) fn own(value: Value) -> Self {
        let memory = memory(&value);
        Self { value, edges: vec![], memory, nested: 8 }
    }

    /// Takes another's references over and gives its value, to be put into this one.
    pub(super) fn take(&mut self, other: Self) -> Value {
        self.edges.extend(other.edges);
        self.memory += other.memory;
        self.nested = self.nested.max(other.nested + 4);
        other.value
    }
}

/// A schema with a name.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) schema: Schema,
}

/// All schemas of a description.
pub(super) struct Store<'d> {
    set: &'d Set,
    keys: HashMap<(usize, String, Mode), usize>,
    pub(super) definitions: Vec<Definition>,
    queue: VecDeque<(usize, Spot<'d>, Mode)>,
    taken: HashSet<(String, bool)>,
    patterns: pattern::Patterns,
    values: usize,
}

impl<'d> Store<'d> {
    pub(super) fn new(set: &'d Set) -> Self {
        Self {
            set,
            keys: HashMap::new(),
            definitions: vec![],
            queue: VecDeque::new(),
            taken: HashSet::new(),
            patterns: pattern::Patterns::default(),
            values: 0,
        }
    }

    /// Converts a schema with all that it leads to.
    pub(super) fn convert(&mut self, spot: &Spot<'d>, mode: Mode, problems: &mut Problems) -> Schema {
        let schema = convert::schema(self, spot, mode, problems);
        while let Some((number, spot, mode)) = self.queue.pop_front() {
            self.definitions[number].schema = convert::schema(self, &spot, mode, problems);
        }
        schema
    }

    /// The number of the definition of a place; it is converted later.
    fn definition(&mut self, spot: Spot<'d>, mode: Mode) -> usize {
        let key = (spot.document, spot.pointer.clone(), mode);
        if let Some(number) = self.keys.get(&key) {
            return *number;
        }
        let number = self.definitions.len();
        let name = self.free_name(&spot, mode);
        self.definitions.push(Definition { name, schema: Schema::own(Value::Bool(true)) });
        self.keys.insert(key, number);
        self.queue.push_back((number, spot, mode));
        number
    }

    /// Inputs and outputs have `$defs` of their own, so a name may be in both.
    fn free_name(&mut self, spot: &Spot<'_>, mode: Mode) -> String {
        let document = &self.set.documents[spot.document].name;
        let file = || document.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
        let last = spot.pointer.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or_else(file);
        let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let mut name: String = super::names::unescaped(last).chars().take(100).map(kept).collect();
        if name.is_empty() {
            "schema".clone_into(&mut name);
        }
        let output = mode == Mode::Response;
        let mut number = 2;
        let mut tried = name.clone();
        while !self.taken.insert((tried.clone(), output)) {
            tried = format!("{name}_{number}");
            number += 1;
        }
        tried
    }
}

/// What stands for a file in a form.
pub(super) fn file() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "a file",
        "properties": {"$file": {
            "type": "object",
            "properties": {
                "name": text("file name that is told"),
                "contentType": text("media type that is told"),
                "base64": text("the bytes, in base64"),
                "text": text("the bytes, as text"),
            },
            "oneOf": [{"required": ["base64"]}, {"required": ["text"]}],
            "additionalProperties": false,
        }},
        "required": ["$file"],
        "additionalProperties": false,
    })
}

/// Bytes that a value takes in memory, about.
pub(super) fn memory(value: &Value) -> usize {
    match value {
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(memory).sum::<usize>(),
        Value::Object(entries) => object_memory(entries, entries.values().map(memory).sum()),
        _ => 32,
    }
}

fn object_memory(entries: &Map<String, Value>, inside: usize) -> usize {
    OBJECT + entries.keys().map(|key| ENTRY + key.len()).sum::<usize>() + inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Documents;

    /// Converts `#/s` of a document and gives it with its definitions.
    pub(super) fn converted(text: &str, mode: Mode) -> Result<(Value, Value), String> {
        let documents = Documents::one("o", text);
        let set = Set::read(&documents).unwrap();
        let mut store = Store::new(&set);
        let mut problems = Problems::default();
        let schema = store.convert(&set.root(0).get("s").unwrap(), mode, &mut problems);
        let definitions: Map<String, Value> =
            store.definitions.iter().map(|one| (one.name.clone(), one.schema.value.clone())).collect();
        match problems.into_error(&documents) {
            Some(error) => Err(error.to_string()),
            None => Ok((schema.value, definitions.into())),
        }
    }

    #[test]
    fn what_3_0_says_differently_is_said_in_2020_12() {
        let text = "
openapi: 3.0.3
s:
  type: object
  properties:
    a: {type: integer, minimum: 1, exclusiveMinimum: true, maximum: 5, exclusiveMaximum: false}
    b: {type: string, nullable: true, enum: [x]}
    c: {nullable: true, allOf: [{$ref: '#/X'}]}
    d: {$ref: '#/X', description: ignored}
  x-other: 1
  example: {a: 1}
X: {type: string}
";
        let (schema, definitions) = converted(text, Mode::Request).unwrap();
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {
                "a": {"type": "integer", "exclusiveMinimum": 1, "maximum": 5},
                "b": {"type": ["string", "null"], "enum": ["x", null]},
                "c": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/X"}]}]},
                "d": {"$ref": "#/$defs/X"},
            }})
        );
        assert_eq!(definitions, json!({"X": {"type": "string"}}));
    }

    #[test]
    fn what_is_only_answered_is_not_required_of_what_is_sent() {
        let text = "
openapi: 3.1.0
s:
  allOf:
    - $ref: '#/Base'
    - {required: [id, secret]}
  required: [id, name]
Base:
  properties: {id: {$ref: '#/Id'}, secret: {type: string, writeOnly: true}, name: {}}
  required: [id, name]
Id: {type: integer, readOnly: true}
";
        let required = |mode| {
            let (schema, definitions) = converted(text, mode).unwrap();
            let base = definitions["Base"]["required"].clone();
            (schema["required"].clone(), schema["allOf"][1]["required"].clone(), base)
        };
        assert_eq!(required(Mode::Request), (json!(["name"]), json!(["secret"]), json!(["name"])));
        assert_eq!(required(Mode::Response), (json!(["id", "name"]), json!(["id"]), json!(["id", "name"])));
    }

    #[test]
    fn files_of_forms_may_be_written_with_name_and_type() {
        let text = "{openapi: 3.0.0, s: {type: object, properties: {f: {type: string, format: binary}}}}";
        let (form, _) = converted(text, Mode::Form).unwrap();
        assert_eq!(form["properties"]["f"]["anyOf"][1], file());
        let (request, _) = converted(text, Mode::Request).unwrap();
        assert_eq!(request["properties"]["f"], json!({"type": "string", "format": "binary"}));
    }

    #[test]
    fn schemas_that_are_none_are_refused_with_their_place() {
        for (schema, says) in [
            ("{type: strin}", "`strin`"),
            ("{minLength: -1}", "/s/minLength"),
            ("{required: x}", "expected a list of names"),
            ("{allOf: []}", "expected a list"),
            ("{properties: [1]}", "expected a map"),
            ("7", "expected a schema"),
            ("{multipleOf: 0}", "above zero"),
            ("{items: {$ref: '#/nowhere'}}", "leads to `/nowhere`"),
        ] {
            let message = converted(&format!("openapi: 3.1.0\ns: {schema}\n"), Mode::Request).unwrap_err();
            assert!(message.contains(says) && message.contains("line 2"), "{schema}: {message}");
        }
    }

    #[test]
    fn recursive_schemas_stay_references() {
        let text = "{openapi: 3.1.0, s: {$ref: '#/T'}, T: {properties: {t: {$ref: '#/T'}}}}";
        let (schema, definitions) = converted(text, Mode::Request).unwrap();
        assert_eq!(schema, json!({"$ref": "#/$defs/T"}));
        assert_eq!(definitions["T"]["properties"]["t"], json!({"$ref": "#/$defs/T"}));
    }

    #[test]
    fn a_pattern_that_no_engine_knows_is_not_checked_and_says_so() {
        let text = "{openapi: 3.1.0, s: {pattern: '(?<a', type: string}}";
        let (schema, _) = converted(text, Mode::Request).unwrap();
        assert!(schema.get("pattern").is_none() && schema["$comment"].as_str().unwrap().contains("(?<a"));
    }

    #[test]
    fn older_drafts_are_converted_too() {
        let text = "
openapi: 3.1.0
s:
  items: [{type: string}, {type: number}]
  additionalItems: false
  dependencies: {a: [b], c: {required: [d]}}
";
        let (schema, _) = converted(text, Mode::Request).unwrap();
        assert_eq!(
            schema,
            json!({"prefixItems": [{"type": "string"}, {"type": "number"}], "items": false,
                "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}})
        );
    }
}
