//! What a field accepts, as data: the one source of `explain`, of JSON Schema and of the lists of known names.

use serde_json::{Map, Value as Json, json};

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Schema {
    /// A single value.
    Scalar(Scalar),
    /// One of these words.
    Words(Words),
    /// A list of values of one shape.
    List(Box<Schema>),
    /// A map from free keys to values of one shape.
    Map(Box<Schema>),
    /// A map with known keys.
    Object(Object),
    /// A map with exactly one of these keys.
    OneOf(Object),
    /// `true`, `false`, or the settings of what is switched on.
    Switch(Box<Schema>),
}

/// A single value with its notation.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// What people call it: `power`, `duration`, `name`.
    pub name: &'static str,
    /// How it is written, with an example: `number with a unit, such as 5 kW`.
    pub expected: String,
    /// Known units or values, for help; may be empty.
    pub known: Vec<String>,
    /// The JSON Schema of this notation.
    pub json: Json,
}

/// A closed list of words, each with its meaning.
#[derive(Clone, Debug)]
pub struct Words {
    /// Name of the type.
    pub name: &'static str,
    /// What the choice is about.
    pub doc: String,
    /// The words with their meanings.
    pub words: Vec<(String, String)>,
}

/// A map with known keys.
#[derive(Clone, Debug)]
pub struct Object {
    /// Name of the type.
    pub name: &'static str,
    /// What the map describes.
    pub doc: String,
    /// Its keys.
    pub fields: Vec<FieldSchema>,
    /// Sets of keys of which exactly one must be present, beside `fields`.
    pub choices: Vec<Vec<FieldSchema>>,
}

/// One key of a map.
#[derive(Clone, Debug)]
pub struct FieldSchema {
    /// The key as it is written.
    pub key: String,
    /// Meaning, unit, range.
    pub doc: String,
    /// Whether it must be present.
    pub required: bool,
    /// The value when it is absent, as it would be written.
    pub default: Option<Json>,
    /// The range, when there is one.
    pub range: Option<Range>,
    /// What it accepts.
    pub schema: Schema,
}

/// Bounds of a number in the canonical unit of its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest value.
    pub min: Option<f64>,
    /// Whether `min` itself is refused.
    pub above: bool,
    /// The largest value.
    pub max: Option<f64>,
}

/// Greater than zero.
pub const ABOVE_ZERO: Range = Range { min: Some(0.0), above: true, max: None };
/// Zero or greater.
pub const NOT_NEGATIVE: Range = Range { min: Some(0.0), above: false, max: None };

impl Range {
    /// Both bounds included.
    #[must_use]
    pub const fn between(min: f64, max: f64) -> Self {
        Self { min: Some(min), above: false, max: Some(max) }
    }

    /// Above `min`, up to and including `max`.
    #[must_use]
    pub const fn above_up_to(min: f64, max: f64) -> Self {
        Self { min: Some(min), above: true, max: Some(max) }
    }

    /// Whether a number lies inside; NaN never does.
    #[must_use]
    pub fn contains(&self, x: f64) -> bool {
        let low = self.min.is_none_or(|min| if self.above { x > min } else { x >= min });
        low && self.max.is_none_or(|max| x <= max) && !x.is_nan()
    }

    /// `above 0 kW`, `0 … 1`.
    #[must_use]
    pub fn text(&self, unit: &str) -> String {
        let with_unit = |x: f64| if unit.is_empty() { format!("{x}") } else { format!("{x} {unit}") };
        match (self.min, self.max) {
            (Some(min), Some(max)) if self.above => {
                format!("a value above {} and at most {}", with_unit(min), with_unit(max))
            }
            (Some(min), Some(max)) => format!("a value from {} to {}", with_unit(min), with_unit(max)),
            (Some(min), None) if self.above => format!("a value above {}", with_unit(min)),
            (Some(min), None) => format!("a value of {} or more", with_unit(min)),
            (None, Some(max)) => format!("a value of at most {}", with_unit(max)),
            (None, None) => "any value".to_owned(),
        }
    }
}

impl Object {
    /// All keys that may appear.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().chain(self.choices.iter().flatten()).map(|field| field.key.as_str())
    }
}

impl Schema {
    /// `{signal: …} or {fixed: …}` and the like, for messages.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.expected.clone(),
            Self::Words(words) => {
                format!(
                    "one of {}",
                    words.words.iter().map(|(w, _)| w.as_str()).collect::<Vec<_>>().join(", ")
                )
            }
            Self::List(inner) => format!("a list of {}", inner.plural()),
            Self::Map(_) => "a map of keys to values".to_owned(),
            Self::Object(object) => {
                format!("a map with the keys {}", object.keys().collect::<Vec<_>>().join(", "))
            }
            Self::OneOf(object) => {
                format!("a map with one of the keys {}", object.keys().collect::<Vec<_>>().join(", "))
            }
            Self::Switch(_) => "true, false or a map of settings".to_owned(),
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Scalar(scalar) => format!("values ({})", scalar.name),
            Self::Words(_) => "words".to_owned(),
            Self::List(_) => "lists".to_owned(),
            _ => "maps".to_owned(),
        }
    }

    /// Short name of the type for `explain`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.name.to_owned(),
            Self::Words(words) => words.name.to_owned(),
            Self::List(inner) => format!("list of {}", inner.type_name()),
            Self::Map(inner) => format!("map to {}", inner.type_name()),
            Self::Object(object) | Self::OneOf(object) => object.name.to_owned(),
            Self::Switch(inner) => format!("true, false or {}", inner.type_name()),
        }
    }

    /// The map that a dotted path goes on into, through lists, maps and switches.
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) | Self::OneOf(object) => Some(object),
            Self::List(inner) | Self::Map(inner) | Self::Switch(inner) => inner.object(),
            Self::Scalar(_) | Self::Words(_) => None,
        }
    }

    /// As JSON Schema, draft 2020-12, without the `$schema` line.
    #[must_use]
    pub fn to_json_schema(&self) -> Json {
        match self {
            Self::Scalar(scalar) => scalar.json.clone(),
            Self::Words(words) => {
                let names: Vec<&str> = words.words.iter().map(|(word, _)| word.as_str()).collect();
                json!({"enum": names, "description": words.doc})
            }
            Self::List(inner) => json!({"type": "array", "items": inner.to_json_schema()}),
            Self::Map(inner) => json!({"type": "object", "additionalProperties": inner.to_json_schema()}),
            Self::Object(object) => object.to_json_schema(false),
            Self::OneOf(object) => object.to_json_schema(true),
            Self::Switch(inner) => json!({"oneOf": [{"type": "boolean"}, inner.to_json_schema()]}),
        }
    }
}

impl Object {
    fn to_json_schema(&self, exactly_one: bool) -> Json {
        let mut properties = Map::new();
        for field in self.fields.iter().chain(self.choices.iter().flatten()) {
            properties.insert(field.key.clone(), field.to_json_schema());
        }
        let required: Vec<&str> = self.fields.iter().filter(|f| f.required).map(|f| f.key.as_str()).collect();
        let mut schema = json!({
            "type": "object", "description": self.doc, "properties": properties, "additionalProperties": false,
        });
        if exactly_one {
            schema["minProperties"] = json!(1);
            schema["maxProperties"] = json!(1);
        } else if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let one_of = |fields: &Vec<FieldSchema>| {
            let single: Vec<Json> = fields.iter().map(|field| json!({"required": [field.key]})).collect();
            json!({"oneOf": single})
        };
        if !self.choices.is_empty() {
            schema["allOf"] = self.choices.iter().map(one_of).collect();
        }
        schema
    }
}

impl FieldSchema {
    fn to_json_schema(&self) -> Json {
        let mut schema = self.schema.to_json_schema();
        schema["description"] = json!(self.doc);
        if let Some(default) = &self.default {
            schema["default"] = default.clone();
        }
        if let (Some(range), true) = (self.range, schema["type"] == "number" || schema["type"] == "integer") {
            if let Some(min) = range.min {
                schema[if range.above { "exclusiveMinimum" } else { "minimum" }] = json!(min);
            }
            if let Some(max) = range.max {
                schema["maximum"] = json!(max);
            }
        }
        schema
    }
}
