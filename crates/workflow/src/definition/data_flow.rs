//! What goes into tasks and workflows, what comes out, and what is kept in the context.

use serde_json::Value as Json;

use crate::definition::resource::{EXTERNAL_RESOURCE, ExternalResource};
use crate::node::Node;
use crate::shape::{ANYTHING, Object, Property, Shape, TEXT, TEXT_OR_MAP};

/// `input`: how the raw input is checked and transformed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// What the raw input has to be.
    pub schema: Option<Schema>,
    /// An expression, or a map with expressions, that makes the input of the task.
    pub from: Option<Json>,
}

/// `output`: how the raw output is transformed and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// What the transformed output has to be.
    pub schema: Option<Schema>,
    /// An expression, or a map with expressions, that makes the output.
    pub r#as: Option<Json>,
}

/// `export`: what becomes the context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// What the context has to be.
    pub schema: Option<Schema>,
    /// An expression, or a map with expressions, that makes the context.
    pub r#as: Option<Json>,
}

/// A schema of data.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// `json` unless something else is said; `name:version` where the version matters.
    pub format: String,
    /// Where it is.
    pub source: SchemaSource,
}

/// Where a schema is.
#[derive(Clone, Debug, PartialEq)]
pub enum SchemaSource {
    /// `document`: in the workflow itself.
    Document(Json),
    /// `resource`: elsewhere.
    Resource(ExternalResource),
}

static SCHEMA: Shape =
    Shape::Object(Object::of("a schema", &[Property::optional("format", &TEXT)]).alternatives(&[
        Property::optional("document", &ANYTHING),
        Property::optional("resource", &EXTERNAL_RESOURCE),
    ]));

pub(crate) static INPUT: Shape = Shape::Object(Object::of(
    "an input",
    &[Property::optional("schema", &SCHEMA), Property::optional("from", &TEXT_OR_MAP)],
));

pub(crate) static OUTPUT: Shape = Shape::Object(Object::of(
    "an output",
    &[Property::optional("schema", &SCHEMA), Property::optional("as", &TEXT_OR_MAP)],
));

pub(crate) static EXPORT: Shape = Shape::Object(Object::of(
    "an export",
    &[Property::optional("schema", &SCHEMA), Property::optional("as", &TEXT_OR_MAP)],
));

impl Input {
    pub(crate) fn read(node: &Node) -> Self {
        Self { schema: node.read_at("schema", Schema::read), from: node.json_at("from") }
    }
}

impl Output {
    pub(crate) fn read(node: &Node) -> Self {
        Self { schema: node.read_at("schema", Schema::read), r#as: node.json_at("as") }
    }
}

impl Export {
    pub(crate) fn read(node: &Node) -> Self {
        Self { schema: node.read_at("schema", Schema::read), r#as: node.json_at("as") }
    }
}

impl Schema {
    fn read(node: &Node) -> Self {
        let source = match node.read_at("resource", ExternalResource::read) {
            Some(resource) => SchemaSource::Resource(resource),
            None => SchemaSource::Document(node.json_at("document").unwrap_or_default()),
        };
        Self { format: node.text_at("format").unwrap_or_else(|| "json".to_owned()), source }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{problems, task};

    #[test]
    fn schemas_are_inline_or_elsewhere() {
        let task = task(
            "set: {a: 1}\ninput: {schema: {document: {type: object}}, from: .a}\noutput: {schema: {format: 'xsd:1', resource: {endpoint: 'https://a/b'}}, as: {b: '${ .a }'}}",
        );
        let input = task.input.unwrap();
        assert_eq!(input.from, Some(json!(".a")));
        let schema = input.schema.unwrap();
        assert_eq!(
            (schema.format.as_str(), schema.source),
            ("json", SchemaSource::Document(json!({"type": "object"})))
        );
        let output = task.output.unwrap();
        let schema = output.schema.unwrap();
        assert!(matches!(schema.source, SchemaSource::Resource(_)) && schema.format == "xsd:1");
        assert_eq!(output.r#as, Some(json!({"b": "${ .a }"})));
    }

    #[test]
    fn a_schema_has_one_place() {
        let both = "set: {a: 1}\ninput: {schema: {document: {}, resource: {endpoint: 'a'}}}";
        assert_eq!(
            problems(both),
            [
                "9:23: do[0].t.input.schema: a schema has both document and resource; expected one of them: they exclude each other"
            ]
        );
        assert!(
            problems("set: {a: 1}\nexport: {schema: {}}")[0].contains("a schema needs document or resource")
        );
        assert!(
            problems("set: {a: 1}\noutput: {as: [1]}")[0].contains("expected text, or a map, found a list")
        );
    }
}
