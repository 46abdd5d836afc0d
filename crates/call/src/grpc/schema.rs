//! JSON Schemas (2020-12) of messages, as the ProtoJSON format writes them.
//!
//! Enum fields also take numbers, 64-bit integers text or numbers. Fields are named in lowerCamelCase; inputs may use the names
//! of the `.proto` too, which the schema does not repeat.

use std::collections::BTreeMap;

use prost_reflect::{
    EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
};
use serde_json::{Map, Value, json};

use super::operations::Comments;

/// Fields and enum values that all schemas of a contract may describe together.
pub(super) const MOST: usize = 200_000;

/// Writes schemas; counts what it wrote.
pub(super) struct Schemas<'a> {
    pub(super) comments: &'a Comments,
    pub(super) written: usize,
}

impl Schemas<'_> {
    /// The schema of one message. Self-contained: types are below `$defs` by their full names.
    pub(super) fn of(&mut self, message: &MessageDescriptor) -> Value {
        let mut types = Types { schemas: self, definitions: BTreeMap::new(), wanted: vec![] };
        let root = types.message(message);
        while let Some(next) = types.wanted.pop() {
            let name = next.full_name().to_owned();
            let schema = types.definition(&next);
            types.definitions.insert(name, schema);
        }
        let definitions: Map<String, Value> = types.definitions.into_iter().collect();
        let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" });
        if let (Value::Object(schema), Value::Object(root)) = (&mut schema, root) {
            schema.extend(root);
            if !definitions.is_empty() {
                schema.insert("$defs".to_owned(), Value::Object(definitions));
            }
        }
        schema
    }
}

struct Types<'a, 'b> {
    schemas: &'a mut Schemas<'b>,
    definitions: BTreeMap<String, Value>,
    wanted: Vec<MessageDescriptor>,
}

impl Types<'_, '_> {
    /// A reference to a message, or the form of a well-known type itself.
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if let Some(known) = known(name) {
            return known;
        }
        if !self.definitions.contains_key(name) {
            // Found again while its own fields are described, it is known already.
            self.definitions.insert(name.to_owned(), Value::Null);
            self.wanted.push(message.clone());
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn definition(&mut self, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        let mut required = vec![];
        for field in message.fields().take(MOST.saturating_sub(self.schemas.written)) {
            self.schemas.written += 1;
            let mut schema = self.field(field.is_list(), field.is_map(), &field.kind());
            self.describe(&mut schema, &field);
            if field.is_required() {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let extensions: Vec<ExtensionDescriptor> = message.extensions().collect();
        for extension in extensions {
            self.schemas.written += 1;
            let schema = self.field(extension.is_list(), extension.is_map(), &extension.kind());
            properties.insert(extension.json_name().to_owned(), schema);
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic()).map(|oneof| at_most_one(&oneof));
        let oneofs: Vec<Value> = oneofs.collect();
        if !oneofs.is_empty() {
            schema["allOf"] = Value::Array(oneofs);
        }
        if let Some(text) = self.schemas.comments.of(message.parent_file().name(), message.path()) {
            schema["description"] = json!(text);
        }
        schema
    }

    fn describe(&self, schema: &mut Value, field: &FieldDescriptor) {
        let file = field.parent_file();
        if let Some(text) = self.schemas.comments.of(file.name(), field.path()) {
            schema["description"] = json!(text);
        }
        let options = field.field_descriptor_proto().options.as_ref();
        if options.is_some_and(prost_reflect::prost_types::FieldOptions::deprecated) {
            schema["deprecated"] = json!(true);
        }
    }

    fn field(&mut self, list: bool, map: bool, kind: &Kind) -> Value {
        if map && let Kind::Message(entry) = kind {
            let values = self.one(&entry.map_entry_value_field().kind());
            let mut schema = json!({ "type": "object", "additionalProperties": values });
            if let Some(names) = keys(&entry.map_entry_key_field().kind()) {
                schema["propertyNames"] = names;
            }
            return schema;
        }
        let one = self.one(kind);
        if list { json!({ "type": "array", "items": one }) } else { one }
    }

    fn one(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Message(message) => self.message(message),
            Kind::Enum(descriptor) => {
                self.schemas.written += descriptor.values().len();
                enumeration(descriptor)
            }
            scalar => scalar_schema(scalar),
        }
    }
}

fn scalar_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
        }
        Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({ "type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$", "minimum": i64::MIN, "maximum": i64::MAX })
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({ "type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]+$", "minimum": 0, "maximum": u64::MAX })
        }
        Kind::Float | Kind::Double => {
            json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
        }
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        _ => json!({ "type": "string" }),
    }
}

/// Names of keys that are no text; text needs no rule.
fn keys(kind: &Kind) -> Option<Value> {
    match kind {
        Kind::String => None,
        Kind::Bool => Some(json!({ "enum": ["true", "false"] })),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => Some(json!({ "pattern": "^[0-9]+$" })),
        _ => Some(json!({ "pattern": "^-?[0-9]+$" })),
    }
}

/// Values newer than the description come as numbers.
fn enumeration(descriptor: &EnumDescriptor) -> Value {
    if descriptor.full_name() == "google.protobuf.NullValue" {
        return json!({ "type": "null" });
    }
    let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
    json!({ "anyOf": [{ "enum": names }, { "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }] })
}

/// One of the fields or none of them.
fn at_most_one(oneof: &OneofDescriptor) -> Value {
    let with: Vec<Value> = oneof.fields().map(|field| json!({ "required": [field.json_name()] })).collect();
    let mut cases = with.clone();
    cases.push(json!({ "not": { "anyOf": with } }));
    json!({ "title": oneof.name(), "oneOf": cases })
}

/// Types whose JSON is no object of their fields.
fn known(full_name: &str) -> Option<Value> {
    let name = full_name.strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" }),
        "FieldMask" => {
            json!({ "type": "string", "pattern": "^([a-z0-9][A-Za-z0-9.]*(,[a-z0-9][A-Za-z0-9.]*)*)?$" })
        }
        "Any" => json!({ "type": "object", "properties": { "@type": { "type": "string" } } }),
        "Struct" => json!({ "type": "object" }),
        "ListValue" => json!({ "type": "array" }),
        "Value" => json!({}),
        "Empty" => json!({ "type": "object", "maxProperties": 0 }),
        "BoolValue" => scalar_schema(&Kind::Bool),
        "Int32Value" => scalar_schema(&Kind::Int32),
        "UInt32Value" => scalar_schema(&Kind::Uint32),
        "Int64Value" => scalar_schema(&Kind::Int64),
        "UInt64Value" => scalar_schema(&Kind::Uint64),
        "FloatValue" => scalar_schema(&Kind::Float),
        "DoubleValue" => scalar_schema(&Kind::Double),
        "StringValue" => scalar_schema(&Kind::String),
        "BytesValue" => scalar_schema(&Kind::Bytes),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::testing;

    fn input(operation: &str) -> Value {
        testing::client().contract().operation(operation).unwrap().input.clone()
    }

    #[test]
    fn a_schema_takes_what_the_reader_takes_and_refuses_the_rest() {
        let validator = jsonschema::draft202012::new(&input("Everything")).unwrap();
        for (value, fits) in testing::examples() {
            assert_eq!(validator.is_valid(&value), fits, "{value}");
        }
    }

    #[test]
    fn comments_required_fields_and_deprecated_ones_are_told() {
        let schema = input("Legacy");
        let definition = &schema["$defs"]["lab.v1.Old"];
        assert_eq!(definition["required"], json!(["name"]));
        assert_eq!(definition["properties"]["gone"]["deprecated"], true);
        assert_eq!(definition["properties"]["name"]["description"], "What it is called.");
        assert!(definition["properties"].get("[lab.v1.extra]").is_some(), "{definition}");
    }
}
