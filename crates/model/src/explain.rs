//! The text of `explain KIND[.field.sub]`.

use std::fmt::Write as _;

use crate::declared::kind_schema;
use crate::kind::{API_VERSION, Kind};
use crate::problem::{did_you_mean, known_list, shown};
use crate::schema::{FieldSchema, Object, Schema};

/// Explains a kind or one of its fields: `Asset`, `asset.spec.battery`, `site.connection.importPrice`. The word
/// `spec` may be left out.
///
/// # Errors
/// A message with the known names when a part of the path is unknown.
pub fn explain(path: &str) -> Result<String, String> {
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let kind = Kind::resolve(parts.next().unwrap_or_default())?;
    let mut walked = kind.name().to_owned();
    let mut field: Option<FieldSchema> = None;
    let mut schema = kind_schema(kind);
    for part in parts {
        let object = schema.object().ok_or_else(|| format!("{walked} has no fields"))?;
        let next = find(object, part).or_else(|| (field.is_none()).then(|| in_spec(object, part)).flatten());
        let Some(next) = next else {
            let hint = did_you_mean(part, object.keys());
            return Err(format!(
                "{walked} has no field \"{}\"; {hint}{}",
                shown(part),
                known_list(object.keys())
            ));
        };
        walked = format!("{walked}.{}", next.key);
        schema = next.schema.clone();
        field = Some(next);
    }
    Ok(text(kind, &walked, field.as_ref(), &schema))
}

fn find(object: &Object, key: &str) -> Option<FieldSchema> {
    object.fields.iter().chain(object.choices.iter().flatten()).find(|field| field.key == key).cloned()
}

/// A field of the spec, so that `site.connection` is understood.
fn in_spec(object: &Object, key: &str) -> Option<FieldSchema> {
    find(object, "spec").and_then(|spec| spec.schema.object().and_then(|object| find(object, key)))
}

fn text(kind: Kind, path: &str, field: Option<&FieldSchema>, schema: &Schema) -> String {
    // Writing to a String cannot fail, so the results are of no interest.
    let mut out = String::new();
    let _ = writeln!(out, "KIND:     {kind}\nVERSION:  {API_VERSION}");
    if let Some(field) = field {
        let _ = writeln!(out, "FIELD:    {path}  <{}>{}", schema.type_name(), notes(field));
    }
    let doc =
        field.map_or_else(|| schema.object().map(|o| o.doc.clone()).unwrap_or_default(), |f| f.doc.clone());
    let _ = writeln!(out, "\nDESCRIPTION:\n{}", wrap(&doc, 4));
    match schema {
        Schema::Scalar(scalar) => {
            let _ = writeln!(out, "\nWRITTEN AS:\n{}", wrap(&scalar.expected, 4));
            if !scalar.known.is_empty() {
                let _ = writeln!(out, "    {}", known_list(scalar.known.iter().map(String::as_str)));
            }
        }
        Schema::Words(words) => {
            let _ = writeln!(out, "\nVALUES:");
            for (word, doc) in &words.words {
                let _ = writeln!(out, "  {word}\n{}", wrap(doc, 6));
            }
        }
        _ => {}
    }
    if let Some(object) = schema.object() {
        fields(&mut out, object, matches!(schema, Schema::OneOf(_)));
    }
    out
}

fn fields(out: &mut String, object: &Object, one_of: bool) {
    let _ = writeln!(out, "\nFIELDS{}:", if one_of { " (exactly one of them)" } else { "" });
    for choice in &object.choices {
        let keys: Vec<&str> = choice.iter().map(|field| field.key.as_str()).collect();
        let _ = writeln!(out, "  (exactly one of {})", keys.join(", "));
        choice.iter().for_each(|field| one_field(out, field));
    }
    object.fields.iter().for_each(|field| one_field(out, field));
}

fn one_field(out: &mut String, field: &FieldSchema) {
    let _ = writeln!(
        out,
        "  {}  <{}>{}\n{}",
        field.key,
        field.schema.type_name(),
        notes(field),
        wrap(&field.doc, 6)
    );
}

/// Whether it is required, its default and its range, in one line.
fn notes(field: &FieldSchema) -> String {
    let mut notes = Vec::new();
    if field.required {
        notes.push("required".to_owned());
    }
    if let Some(default) = &field.default {
        let simple = !default.is_object() && default.as_array().is_none_or(Vec::is_empty);
        let empty =
            default.as_object().is_some_and(serde_json::Map::is_empty) || default == &serde_json::json!([]);
        if simple && !empty {
            let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            notes.push(format!("default {text}"));
        }
    }
    if let Some(range) = field.range {
        notes.push(range.text(""));
    }
    if notes.is_empty() { String::new() } else { format!("  [{}]", notes.join("; ")) }
}

/// Lines of at most 100 characters, indented; paragraphs kept.
fn wrap(text: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > 100 {
                lines.push(format!("{pad}{line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(format!("{pad}{line}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_with_its_unit_default_and_doc() {
        let text = explain("asset.battery.capacity").unwrap();
        assert!(
            text.contains("FIELD:    Asset.battery.capacity  <energy>  [required; a value above 0]"),
            "{text}"
        );
        assert!(text.contains("known: Wh, kWh, MWh"), "{text}");
        let text = explain("svc.spec.probes.startup").unwrap();
        assert!(text.contains("period  <duration>  [default 10 s; a value above 0]"), "{text}");
        assert!(text.contains("(exactly one of http, tcp, exec)"), "{text}");
    }

    #[test]
    fn an_unknown_field_is_answered_with_the_known_ones() {
        let message = explain("asset.spec.batery").unwrap_err();
        assert!(
            message.starts_with(
                "Asset.spec has no field \"batery\"; did you mean \"battery\"?; known: site, type"
            ),
            "{message}"
        );
        assert!(explain("asset.mode.x").unwrap_err().contains("Asset.mode has no fields"));
    }

    #[test]
    fn every_field_of_every_kind_has_a_meaning() {
        fn walk(path: &str, object: &Object) {
            for field in object.fields.iter().chain(object.choices.iter().flatten()) {
                assert!(!field.doc.trim().is_empty(), "{path}.{}", field.key);
                if let Some(inner) = field.schema.object() {
                    walk(&format!("{path}.{}", field.key), inner);
                }
            }
        }
        for kind in Kind::ALL {
            walk(kind.name(), kind_schema(kind).object().unwrap());
        }
    }
}
