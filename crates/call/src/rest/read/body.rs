//! Bodies that are sent and answered, by media type.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Contents, Reader};
use crate::rest::documents::{Dialect, Spot};
use crate::rest::media::{Kind, Media};
use crate::rest::model::{Content, PartSpec, Place};
use crate::rest::schema::{Mode, is_binary};
use crate::rest::shown;

/// Media types of one body.
pub(super) const MAX_MEDIA_TYPES: usize = 100;
/// How far `allOf` of a form is followed to find its files.
const FOLLOWED: usize = 4;
/// Properties of a form that are looked at.
const LOOKED_AT: usize = 5000;

impl<'d> Reader<'_, 'd> {
    /// A map from media types.
    pub(super) fn contents(&mut self, content: &Spot<'d>, answered: bool) -> Contents {
        let mut contents = vec![];
        for (media, spot) in content.entries().into_iter().take(MAX_MEDIA_TYPES) {
            let Some(media) = Media::parse(media) else {
                self.problems.note(&spot, format!("`{}` is no media type and is left out", shown(media)));
                continue;
            };
            let form = !answered && matches!(media.kind(), Kind::Form | Kind::Multipart);
            let mode = match (answered, form) {
                (true, _) => Mode::Response,
                (false, true) => Mode::Form,
                (false, false) => Mode::Request,
            };
            // 3.2 names what one of many is; it is found in descriptions of streams before.
            let schema = spot.get("schema").or_else(|| spot.get("itemSchema"));
            // The schema of text and bytes describes what is in them, which is not looked at.
            let looked_at = matches!(media.kind(), Kind::Json | Kind::Lines | Kind::Form | Kind::Multipart);
            let converted = schema.as_ref().filter(|_| looked_at).map(|schema| self.schema(schema, mode));
            let parts = if form { self.parts(&spot, schema.as_ref()) } else { BTreeMap::new() };
            contents.push(Content { media, schema: converted, parts });
        }
        contents
    }

    /// How parts of a form are written: by `encoding`, and whether their schema is of bytes.
    fn parts(&mut self, spot: &Spot<'d>, schema: Option<&Spot<'d>>) -> BTreeMap<String, PartSpec> {
        let mut parts = BTreeMap::new();
        if let Some(schema) = schema {
            self.find_files(schema.clone(), FOLLOWED, &mut 0, &mut parts);
        }
        let Some(encoding) = spot.get("encoding") else { return parts };
        for (name, encoding) in encoding.entries() {
            let binary = parts.get(name).is_some_and(|part: &PartSpec| part.binary);
            let part = self.part(&encoding, binary);
            parts.insert(name.to_owned(), part);
        }
        parts
    }

    fn part(&mut self, encoding: &Spot<'d>, binary: bool) -> PartSpec {
        let explicit =
            ["style", "explode", "allowReserved"].iter().any(|key| encoding.value.get(key).is_some());
        let writing = if explicit { self.writing(encoding, Place::Query) } else { None };
        // A list of types is what may be sent; the first that is no range is.
        let listed = encoding.text("contentType").split(',').filter_map(Media::parse).collect::<Vec<_>>();
        let media = listed.iter().find(|media| !media.is_range()).or_else(|| listed.first()).cloned();
        PartSpec { media, writing, binary }
    }

    fn find_files(
        &mut self,
        schema: Spot<'d>,
        further: usize,
        looked_at: &mut usize,
        parts: &mut BTreeMap<String, PartSpec>,
    ) {
        // What is wrong with references was told when the schema was converted.
        let reference = schema.value.get("$ref").and_then(Value::as_str);
        let schema = match reference.map(|reference| self.set.target(schema.document, reference)) {
            Some(Ok(target)) => target,
            Some(Err(_)) => return,
            None => schema,
        };
        for (name, property) in schema.get("properties").map_or(vec![], |properties| properties.entries()) {
            *looked_at += 1;
            if *looked_at > LOOKED_AT {
                return;
            }
            let one = self.is_file(&property);
            let listed = || property.get("items").is_some_and(|items| self.is_file(&items));
            if one || listed() {
                parts.insert(name.to_owned(), PartSpec { binary: true, ..PartSpec::default() });
            }
        }
        if further > 0 {
            for part in schema.get("allOf").map_or(vec![], |all| all.items()) {
                self.find_files(part, further - 1, looked_at, parts);
            }
        }
    }

    fn is_file(&self, property: &Spot<'d>) -> bool {
        let reference = property.value.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|reference| self.set.target(property.document, reference).ok());
        let spot = target.as_ref().unwrap_or(property);
        let dialect: Dialect = self.set.dialect(spot.document);
        spot.value.as_object().is_some_and(|entries| is_binary(dialect, entries))
    }
}

/// JSON first, then forms, then what stands first.
pub(super) fn preferred_first(contents: &mut [Content]) {
    contents.sort_by_key(|content| match content.media.kind() {
        Kind::Json if !content.media.is_range() => 0,
        Kind::Json => 1,
        Kind::Form => 2,
        Kind::Multipart => 3,
        _ => 4,
    });
}
