//! Parameters of OpenAPI 3 and Swagger 2.

use serde_json::{Value, json};

use super::{Reader, place_of};
use crate::rest::documents::{Dialect, Spot};
use crate::rest::media::{Kind, Media};
use crate::rest::model::{Parameter, Place};
use crate::rest::schema::{Mode, Schema};
use crate::rest::shown;
use crate::rest::style::{Style, Writing};

impl<'d> Reader<'_, 'd> {
    pub(super) fn parameters(&mut self, declared: &[Spot<'d>]) -> Vec<Parameter> {
        declared.iter().filter_map(|spot| self.parameter(spot)).collect()
    }

    fn parameter(&mut self, spot: &Spot<'d>) -> Option<Parameter> {
        let name = spot.text("name");
        if name.is_empty() {
            self.problems.note(spot, "a parameter without a `name` is left out");
            return None;
        }
        let Some(place) = place_of(spot.text("in")) else {
            let found = shown(spot.text("in"));
            self.problems
                .at(spot, format!("expected `in` to be path, query, header or cookie, found `{found}`"));
            return None;
        };
        // Content negotiation and credentials have their own ways (OpenAPI 3.1.1 §4.8.12.1).
        let reserved = ["accept", "content-type", "authorization"];
        if place == Place::Header && reserved.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return None;
        }
        let dialect = self.set.dialect(spot.document);
        let (writing, schema) = if dialect == Dialect::V2 {
            (self.writing_of_v2(spot, place)?, self.schema(spot, Mode::Request))
        } else if let Some(content) = spot.get("content") {
            self.content_of(&content)
        } else {
            let schema = spot.get("schema").map(|schema| self.schema(&schema, Mode::Request));
            let writing = self.writing(spot, place)?;
            (writing, schema.unwrap_or_else(|| Schema::own(json!({}))))
        };
        Some(Parameter {
            key: String::new(),
            name: name.to_owned(),
            place,
            required: place == Place::Path || spot.flag("required").unwrap_or_default(),
            writing,
            schema,
            description: spot.text("description").to_owned(),
        })
    }

    /// A parameter that is one text of a media type.
    fn content_of(&mut self, content: &Spot<'d>) -> (Writing, Schema) {
        let first = content.entries().into_iter().next();
        let Some((media, spot)) = first else {
            self.problems.at(content, "expected one media type");
            return (Writing::new(Style::Text, false), Schema::own(json!({})));
        };
        let json = Media::parse(media).is_some_and(|media| media.kind() == Kind::Json);
        let schema = spot.get("schema").map(|schema| self.schema(&schema, Mode::Request));
        let style = if json { Style::Json } else { Style::Text };
        (Writing::new(style, false), schema.unwrap_or_else(|| Schema::own(json!({}))))
    }

    /// `style`, `explode`, `allowReserved` with their defaults (OpenAPI 3.1.1 §4.8.12.2).
    pub(super) fn writing(&mut self, spot: &Spot<'d>, place: Place) -> Option<Writing> {
        let usual = if matches!(place, Place::Query | Place::Cookie) { "form" } else { "simple" };
        let named = match spot.value.get("style") {
            None => usual,
            Some(style) => style.as_str().unwrap_or("?"),
        };
        let (style, delimiter) = match (place, named) {
            (Place::Path | Place::Header, "simple") => (Style::Simple, ","),
            (Place::Path, "label") => (Style::Label, ","),
            (Place::Path, "matrix") => (Style::Matrix, ","),
            (Place::Query | Place::Cookie, "form") => (Style::Form, ","),
            (Place::Query, "spaceDelimited") => (Style::Form, " "),
            (Place::Query, "pipeDelimited") => (Style::Form, "|"),
            (Place::Query, "deepObject") => (Style::Deep, ","),
            _ => {
                let place = place.word();
                self.problems
                    .at(spot, format!("the style `{}` is none of a {place} parameter", shown(named)));
                return None;
            }
        };
        let explode = spot.flag("explode").unwrap_or(named == "form");
        // Some set it for paths as well, where 3.2 allows it; a `/` there would change the path.
        let reserved = place == Place::Query && spot.flag("allowReserved").unwrap_or_default();
        Some(Writing { style, explode, reserved, delimiters: vec![delimiter] })
    }

    /// `collectionFormat`, also of lists within lists.
    pub(super) fn writing_of_v2(&mut self, spot: &Spot<'d>, place: Place) -> Option<Writing> {
        let style = if matches!(place, Place::Query | Place::Cookie) { Style::Form } else { Style::Simple };
        let mut writing = Writing { style, explode: false, reserved: false, delimiters: vec![] };
        let mut at: Option<&Value> = Some(spot.value);
        while let Some(value) = at {
            let format = value.get("collectionFormat").and_then(Value::as_str).unwrap_or("csv");
            writing.delimiters.push(match format {
                "csv" => ",",
                "ssv" => " ",
                "tsv" => "\t",
                "pipes" => "|",
                "multi" if writing.delimiters.is_empty() && place == Place::Query => {
                    writing.explode = true;
                    ","
                }
                _ => {
                    let message = format!(
                        "expected `collectionFormat` csv, ssv, tsv or pipes (multi in queries and forms), found `{}`",
                        shown(format)
                    );
                    self.problems.at(spot, message);
                    return None;
                }
            });
            at = value.get("items").filter(|items| items.get("type") == Some(&Value::from("array")));
        }
        Some(writing)
    }
}
