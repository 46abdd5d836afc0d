//! Bodies that are sent: JSON, forms, text, bytes.
//!
//! Source: OpenAPI 3.1.1 §4.8.14 "Media Type Object" and §4.8.15 "Encoding Object"; RFC 7578 for forms in parts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::media::{Kind, Media};
use super::model::{Content, PartSpec};
use super::names::escaped;
use super::style::{self, Refused, Style, Writing};

/// A body with the media type that is told.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) media: String,
    pub(super) bytes: Vec<u8>,
}

/// Encodes a body by its media type.
///
/// # Errors
/// When it holds what this type cannot carry, with the JSON pointer within the body.
pub(super) fn body(content: &Content, media: &str, value: &Value) -> Result<Encoded, Refused> {
    let kind = Media::parse(media).map_or(Kind::Bytes, |media| media.kind());
    let refuse = |message: &str| Err((String::new(), message.to_owned()));
    let bytes = match kind {
        Kind::Json => value.to_string().into_bytes(),
        Kind::Lines => match value.as_array() {
            Some(items) => lines(items, media.to_ascii_lowercase().contains("json-seq")),
            None => return refuse("expected a list, one item for each line"),
        },
        Kind::Form => match value.as_object() {
            Some(entries) => form(content, entries)?.into_bytes(),
            None => return refuse("expected a map of the form's fields"),
        },
        Kind::Multipart => match value.as_object() {
            Some(entries) => return multipart(content, media, entries),
            None => return refuse("expected a map of the form's fields"),
        },
        Kind::Text | Kind::Events => match value.as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => return refuse("expected text"),
        },
        Kind::Bytes => match style::only(value, "base64") {
            Some(text) => decoded(text).map_err(|message| ("/base64".to_owned(), message))?,
            None => return refuse("expected `{\"base64\": …}`"),
        },
    };
    Ok(Encoded { media: media.to_owned(), bytes })
}

fn lines(items: &[Value], sequence: bool) -> Vec<u8> {
    let mut bytes = vec![];
    for item in items {
        // RFC 7464 §2.2: a record separator before each text.
        if sequence {
            bytes.push(0x1e);
        }
        bytes.extend_from_slice(item.to_string().as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

fn decoded(text: &Value) -> Result<Vec<u8>, String> {
    let text: String = text.as_str().unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text)).map_err(|error| format!("no base64: {error}"))
}

/// `application/x-www-form-urlencoded`. Without a style, lists are repeated and maps are JSON.
fn form(content: &Content, entries: &Map<String, Value>) -> Result<String, Refused> {
    let mut pairs = vec![];
    for (name, value) in entries {
        let at = |(place, message): Refused| (format!("/{}{place}", escaped(name)), message);
        let part = content.parts.get(name);
        if let Some(writing) = part.and_then(|part| part.writing.as_ref()) {
            let written = style::pairs(name, value, writing).map_err(at)?;
            // What stands between parts is a reserved character, which has no place in a body unless it is allowed.
            let encoded = |text: String| if writing.reserved { text } else { text.replace(',', "%2C") };
            pairs.extend(written.into_iter().map(|(name, value)| (name, encoded(value))));
            continue;
        }
        let json = part.and_then(|part| part.media.as_ref()).is_some_and(|media| media.kind() == Kind::Json);
        let whole = Writing::new(if json { Style::Json } else { Style::Text }, false);
        let items = match value {
            Value::Array(items) if !json => items.as_slice(),
            Value::Null => &[],
            one => std::slice::from_ref(one),
        };
        for item in items.iter().filter(|item| !item.is_null()) {
            let nested = Writing::new(Style::Json, false);
            let writing = if item.is_object() || item.is_array() { &nested } else { &whole };
            pairs.extend(style::pairs(name, item, writing).map_err(at)?);
        }
    }
    Ok(style::form(&pairs))
}

/// One part of a form.
struct Part {
    name: String,
    file: Option<String>,
    media: String,
    bytes: Vec<u8>,
}

fn multipart(content: &Content, media: &str, entries: &Map<String, Value>) -> Result<Encoded, Refused> {
    let usual = PartSpec::default();
    let mut parts = vec![];
    for (name, value) in entries {
        let spec = content.parts.get(name).unwrap_or(&usual);
        let at = |(place, message): Refused| (format!("/{}{place}", escaped(name)), message);
        if let Some(writing) = spec.writing.as_ref().filter(|_| !spec.binary && spec.media.is_none()) {
            // Percent-encoding is a thing of addresses; parts carry what is meant (OpenAPI 3.1.1 §4.8.15.1.2).
            for (name, value) in style::pairs(name, value, writing).map_err(at)? {
                let (name, bytes) =
                    (super::names::decoded(&name), super::names::decoded(&value).into_bytes());
                parts.push(Part { name, file: None, media: "text/plain; charset=utf-8".to_owned(), bytes });
            }
            continue;
        }
        let json = spec.media.as_ref().is_some_and(|media| media.kind() == Kind::Json);
        match value {
            Value::Null => {}
            Value::Array(items) if !json => {
                for (index, item) in items.iter().enumerate() {
                    let below = |(place, message): Refused| at((format!("/{index}{place}"), message));
                    parts.push(part(name, item, spec).map_err(below)?);
                }
            }
            one => parts.push(part(name, one, spec).map_err(at)?),
        }
    }
    Ok(join(&parts, media))
}

fn part(name: &str, value: &Value, spec: &PartSpec) -> Result<Part, Refused> {
    let told = spec.media.as_ref().filter(|media| !media.is_range()).map(|media| media.text.clone());
    let json = spec.media.as_ref().is_some_and(|media| media.kind() == Kind::Json);
    let part = |media: &str, bytes: Vec<u8>| Part {
        name: name.to_owned(),
        file: None,
        media: told.clone().unwrap_or_else(|| media.to_owned()),
        bytes,
    };
    if let Some(file) = style::only(value, "$file") {
        return self::file(name, file, told.as_deref());
    }
    Ok(match value {
        _ if json => part("application/json", value.to_string().into_bytes()),
        Value::String(text) if spec.binary => {
            Part { file: Some(name.to_owned()), ..part("application/octet-stream", text.as_bytes().to_vec()) }
        }
        Value::Object(_) | Value::Array(_) => part("application/json", value.to_string().into_bytes()),
        _ => part("text/plain; charset=utf-8", style::scalar(value).unwrap_or_default().into_bytes()),
    })
}

/// `{"$file": {"name", "contentType", "base64" or "text"}}`
fn file(name: &str, file: &Value, told: Option<&str>) -> Result<Part, Refused> {
    let text = |key: &str| file.get(key).and_then(Value::as_str);
    let bytes = match (file.get("base64"), text("text")) {
        (Some(base64), None) => decoded(base64).map_err(|message| ("/$file/base64".to_owned(), message))?,
        (None, Some(text)) => text.as_bytes().to_vec(),
        _ => return Err(("/$file".to_owned(), "expected `base64` or `text`, and not both".to_owned())),
    };
    let media = text("contentType").or(told).unwrap_or("application/octet-stream");
    if Media::parse(media).is_none() {
        return Err(("/$file/contentType".to_owned(), "expected a media type such as image/png".to_owned()));
    }
    let file = Some(text("name").unwrap_or(name).to_owned());
    Ok(Part { name: name.to_owned(), file, media: media.to_owned(), bytes })
}

/// RFC 2046 §5.1. The boundary is made of what is sent, so the same form is the same bytes, and nothing can hold it.
fn join(parts: &[Part], media: &str) -> Encoded {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.name.as_bytes());
        hash.update(&part.bytes);
    }
    let digest = hash.finalize();
    let boundary: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let boundary = format!("sos-{boundary}");
    let mut bytes = vec![];
    for part in parts {
        let file =
            part.file.as_ref().map_or(String::new(), |file| format!("; filename=\"{}\"", quoted(file)));
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"{file}\r\nContent-Type: {}\r\n\r\n",
            quoted(&part.name),
            part.media
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&part.bytes);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let essence = media.split(';').next().unwrap_or_default().trim();
    Encoded { media: format!("{essence}; boundary={boundary}"), bytes }
}

/// As browsers do it: what would end the quotes or the line is percent-encoded.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn content(media: &str, parts: BTreeMap<String, PartSpec>) -> Content {
        Content { media: Media::parse(media).unwrap(), schema: None, parts }
    }

    fn sent(media: &str, parts: BTreeMap<String, PartSpec>, value: &Value) -> Result<String, Refused> {
        let encoded = body(&content(media, parts), media, value)?;
        Ok(String::from_utf8(encoded.bytes).unwrap())
    }

    #[test]
    fn forms_repeat_lists_and_write_maps_as_json_unless_told_otherwise() {
        let deep = PartSpec { writing: Some(Writing::new(Style::Deep, true)), ..PartSpec::default() };
        let parts = BTreeMap::from([("d".to_owned(), deep)]);
        let value = json!({"a": [1, "x y"], "b": {"c": 1}, "d": {"e": 2}, "f": null, "g": "ä&="});
        assert_eq!(
            sent("application/x-www-form-urlencoded", parts, &value).unwrap(),
            "a=1&a=x%20y&b=%7B%22c%22%3A1%7D&d%5Be%5D=2&g=%C3%A4%26%3D"
        );
    }

    #[test]
    fn parts_carry_files_text_and_json() {
        let binary = PartSpec { binary: true, ..PartSpec::default() };
        let parts = BTreeMap::from([("b".to_owned(), binary)]);
        let value = json!({
            "a": {"$file": {"name": "x\"\r\n.png", "contentType": "image/png", "base64": "aGk="}},
            "b": "plain", "c": [1, 2], "d": {"e": true}, "f": null,
        });
        let text = sent("multipart/form-data", parts, &value).unwrap();
        for part in [
            "name=\"a\"; filename=\"x%22%0D%0A.png\"\r\nContent-Type: image/png\r\n\r\nhi\r\n--sos-",
            "name=\"b\"; filename=\"b\"\r\nContent-Type: application/octet-stream\r\n\r\nplain\r\n",
            "name=\"c\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n2\r\n",
            "name=\"d\"\r\nContent-Type: application/json\r\n\r\n{\"e\":true}\r\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.ends_with("--\r\n") && !text.contains("name=\"f\""));
    }

    #[test]
    fn what_a_body_cannot_carry_is_refused_with_its_place() {
        let place = |media: &str, value: Value| sent(media, BTreeMap::new(), &value).unwrap_err().0;
        assert_eq!(place("application/octet-stream", json!({"base64": "!"})), "/base64");
        assert_eq!(place("multipart/form-data", json!({"a": {"$file": {}}})), "/a/$file");
        assert_eq!(
            place("multipart/form-data", json!({"a": [{"$file": {"text": "x", "contentType": "a\r\nb"}}]})),
            "/a/0/$file/contentType"
        );
        assert_eq!(place("text/plain", json!(1)), "");
        assert_eq!(place("application/x-www-form-urlencoded", json!([])), "");
    }

    #[test]
    fn lines_and_bytes_are_sent_as_they_are_meant() {
        let lines = |media: &str| sent(media, BTreeMap::new(), &json!([{"a": 1}, 2])).unwrap();
        assert_eq!(lines("application/x-ndjson"), "{\"a\":1}\n2\n");
        assert_eq!(lines("application/json-seq"), "\u{1e}{\"a\":1}\n\u{1e}2\n");
        assert_eq!(sent("image/png", BTreeMap::new(), &json!({"base64": "aGk="})).unwrap(), "hi");
    }
}
