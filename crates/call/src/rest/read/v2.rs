//! What Swagger 2 says in its own way: bodies among the parameters, media types of the whole document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Contents, Reader, body};
use crate::rest::documents::Spot;
use crate::rest::media::{Kind, Media};
use crate::rest::model::{Content, PartSpec, Place, RequestBody};
use crate::rest::schema::{Mode, Schema};
use crate::rest::shown;

impl<'d> Reader<'_, 'd> {
    /// Takes `in: body` and `in: formData` out of the parameters and makes a body of them.
    pub(super) fn body_of_v2(
        &mut self,
        declared: &mut Vec<Spot<'d>>,
        operation: &Spot<'d>,
    ) -> Option<RequestBody> {
        let (bodies, others): (Vec<_>, Vec<_>) = std::mem::take(declared)
            .into_iter()
            .partition(|spot| matches!(spot.text("in"), "body" | "formData"));
        *declared = others;
        let (whole, fields): (Vec<_>, Vec<_>) =
            bodies.into_iter().partition(|spot| spot.text("in") == "body");
        let consumes = self.media_of_v2(operation, "consumes");
        match (whole.first(), fields.is_empty()) {
            (Some(body), true) if whole.len() == 1 => self.whole_body(body, consumes),
            (None, true) => None,
            (None, false) => Some(self.form(&fields, &consumes)),
            _ => {
                self.problems.at(operation, "expected one `in: body` parameter, or `in: formData`, not both");
                None
            }
        }
    }

    fn whole_body(&mut self, spot: &Spot<'d>, mut consumes: Vec<Media>) -> Option<RequestBody> {
        if consumes.is_empty() {
            consumes.extend(Media::parse("application/json"));
        }
        let mut contents = vec![];
        for media in consumes {
            let looked_at = matches!(media.kind(), Kind::Json | Kind::Lines | Kind::Form | Kind::Multipart);
            let schema = spot.get("schema").filter(|_| looked_at);
            let schema = schema.map(|schema| self.schema(&schema, Mode::Request));
            contents.push(Content { media, schema, parts: BTreeMap::new() });
        }
        body::preferred_first(&mut contents);
        Some(RequestBody {
            required: spot.flag("required").unwrap_or_default(),
            description: spot.text("description").to_owned(),
            contents,
        })
    }

    /// Fields of a form as the properties of one value.
    fn form(&mut self, fields: &[Spot<'d>], consumes: &[Media]) -> RequestBody {
        let mut schema = Schema::own(json!({"type": "object", "additionalProperties": false}));
        let (mut properties, mut required) = (Map::new(), vec![]);
        let mut parts = BTreeMap::new();
        for field in fields {
            let name = field.text("name");
            let binary = field.text("type") == "file";
            // Explode is a thing of queries and forms alike.
            let writing = self.writing_of_v2(field, Place::Query);
            let converted = self.schema(field, Mode::Form);
            properties.insert(name.to_owned(), schema.take(converted));
            if field.flag("required") == Some(true) {
                required.push(Value::from(name));
            }
            parts.insert(name.to_owned(), PartSpec { media: None, writing, binary });
        }
        let has_files = parts.values().any(|part| part.binary);
        let needed = !required.is_empty();
        schema.value["properties"] = properties.into();
        if needed {
            schema.value["required"] = required.into();
        }
        let multipart = consumes.iter().any(|media| media.kind() == Kind::Multipart);
        let plain = consumes.iter().any(|media| media.kind() == Kind::Form);
        let multipart = has_files || multipart && !plain;
        let text = if multipart { "multipart/form-data" } else { "application/x-www-form-urlencoded" };
        let media = Media { text: text.to_owned(), essence: text.to_owned() };
        let contents = vec![Content { media, schema: Some(schema), parts }];
        RequestBody { required: needed, description: String::new(), contents }
    }

    pub(super) fn answer_of_v2(&mut self, operation: &Spot<'d>, response: &Spot<'d>) -> Contents {
        let Some(schema) = response.get("schema") else { return vec![] };
        let mut produces = self.media_of_v2(operation, "produces");
        let file = schema.text("type") == "file";
        if produces.is_empty() {
            produces.extend(Media::parse(if file { "*/*" } else { "application/json" }));
        }
        let mut contents = vec![];
        for media in produces {
            let looked_at = !file && matches!(media.kind(), Kind::Json | Kind::Lines);
            let schema = looked_at.then(|| self.schema(&schema, Mode::Response));
            contents.push(Content { media, schema, parts: BTreeMap::new() });
        }
        contents
    }

    /// `consumes` or `produces` of the operation, or of the document.
    fn media_of_v2(&mut self, operation: &Spot<'d>, key: &str) -> Vec<Media> {
        let root = self.set.root(operation.document);
        let Some(list) = operation.get(key).or_else(|| root.get(key)) else { return vec![] };
        let mut found = vec![];
        for item in list.items().into_iter().take(body::MAX_MEDIA_TYPES) {
            match item.value.as_str().and_then(Media::parse) {
                Some(media) => found.push(media),
                None => {
                    let text = shown(&item.value.to_string().replace('"', "`"));
                    self.problems.note(&item, format!("{text} is no media type and is left out"));
                }
            }
        }
        found
    }
}
