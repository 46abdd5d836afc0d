//! What the specification asks of attributes: CloudEvents 1.0.2, sections "Naming Conventions" and "Type System".

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::error::{EventError, shown};
use super::event::Attribute;

/// Bytes of an attribute.
const MAX_ATTRIBUTE: usize = 64 << 10;
/// Attributes beside those of the specification.
const MAX_EXTENSIONS: usize = 64;
/// Letters of an attribute's name; the specification recommends 20.
const MAX_NAME: usize = 64;
/// Names that no extension can have: those of the specification, and what JSON uses for data.
const RESERVED: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

type Check = Result<(), EventError>;

fn refuse(name: &str, message: impl Into<String>) -> Check {
    Err(EventError::bad(format!("/{name}"), message))
}

/// Text without control characters, surrogates and code points that are no characters.
fn characters(name: &str, text: &str) -> Check {
    if text.len() > MAX_ATTRIBUTE {
        return refuse(name, format!("has {} bytes, expected at most {MAX_ATTRIBUTE}", text.len()));
    }
    let none =
        |c: char| c.is_control() || (c as u32 & 0xfffe) == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&c);
    match text.chars().find(|c| none(*c)) {
        Some(c) => refuse(name, format!("has U+{:04X}, which is no character of text", c as u32)),
        None => Ok(()),
    }
}

/// Text that is not empty.
pub(crate) fn text(name: &str, text: &str) -> Check {
    if text.is_empty() {
        return refuse(name, "is empty");
    }
    characters(name, text)
}

/// RFC 3986, section 4.1, by its characters.
pub(crate) fn uri_reference(name: &str, uri: &str) -> Check {
    text(name, uri)?;
    let bytes = uri.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let good = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
        };
        if !good {
            return refuse(name, format!("expected a URI reference, found \"{}\"", shown(uri)));
        }
    }
    Ok(())
}

/// RFC 3986, section 4.3: with a scheme.
pub(crate) fn uri(name: &str, uri: &str) -> Check {
    uri_reference(name, uri)?;
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let mut characters = scheme.bytes();
    let good = characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if good {
        Ok(())
    } else {
        refuse(name, format!("expected a URI with a scheme, found \"{}\"", shown(uri)))
    }
}

/// RFC 2045, section 5.1: `type/subtype`, parameters behind a semicolon.
pub(crate) fn media_type(name: &str, media_type: &str) -> Check {
    text(name, media_type)?;
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    let essence = essence(media_type);
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => Ok(()),
        _ => {
            refuse(name, format!("expected a media type such as text/plain, found \"{}\"", shown(media_type)))
        }
    }
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type says JSON: `*/json` or `*/*+json`.
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type).to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

/// The charset that a media type names, in lower case.
pub(crate) fn charset(media_type: &str) -> Option<String> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })
}

/// Name and value of every extension.
pub(crate) fn extensions(all: &BTreeMap<String, Attribute>) -> Check {
    if all.len() > MAX_EXTENSIONS {
        return refuse("", format!("has {} extensions, expected at most {MAX_EXTENSIONS}", all.len()));
    }
    for (name, value) in all {
        extension_name(name)?;
        match value {
            Attribute::Text(value) if name == "partitionkey" => text(name, value)?,
            Attribute::Text(value) => characters(name, value)?,
            Attribute::Boolean(_) | Attribute::Integer(_) => {}
        }
    }
    Ok(())
}

/// Whether an extension can have this name.
pub(crate) fn extension_name(name: &str) -> Check {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !letters || name.is_empty() || name.len() > MAX_NAME {
        let message = format!(
            "expected a name of 1 to {MAX_NAME} lower-case letters and digits, found \"{}\"",
            shown(name)
        );
        return refuse(name, message);
    }
    if RESERVED.contains(&name) {
        return refuse(name, format!("no extension can be called \"{name}\""));
    }
    Ok(())
}

/// RFC 3339; digits below a nanosecond are dropped.
pub(crate) fn time(name: &str, text: &str) -> Result<Timestamp, EventError> {
    let wrong = || {
        let message = format!("expected a time such as 2026-04-05T17:31:00Z, found \"{}\"", shown(text));
        EventError::bad(format!("/{name}"), message)
    };
    let bytes = text.as_bytes();
    // Shapes that other readers of ISO 8601 take and RFC 3339 does not know.
    let shape = text.is_ascii()
        && bytes.len() >= 20
        && (bytes[4], bytes[7], bytes[13], bytes[16]) == (b'-', b'-', b':', b':')
        && matches!(bytes[10], b'T' | b't' | b' ')
        && !text.contains(['[', ',']);
    if !shape {
        return Err(wrong());
    }
    let (seconds, rest) = text.split_at(19);
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = rest.split_at(if digits == 0 { 0 } else { 1 + digits });
    let hours = offset.len() == 6 && offset.starts_with(['+', '-']) && offset.as_bytes()[3] == b':';
    if !hours && !offset.eq_ignore_ascii_case("z") {
        return Err(wrong());
    }
    let fraction = &fraction[..fraction.len().min(10)];
    format!("{seconds}{fraction}{offset}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let at = |text: &str| time("time", text).map(|at| at.to_string());
        assert_eq!(at("2018-04-05T17:31:00Z").unwrap(), "2018-04-05T17:31:00Z");
        assert_eq!(at("2018-04-05t19:31:00.123456789123+02:00").unwrap(), "2018-04-05T17:31:00.123456789Z");
        assert_eq!(at("1985-04-12 23:20:50.52z").unwrap(), "1985-04-12T23:20:50.52Z");
        for wrong in
            ["", "2018-04-05", "2018-04-05T17:31:00", "20180405T173100Z", "2018-13-05T17:31:00Z", "now"]
        {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "2018-04-05T17:31:00+02",
            "2018-04-05T17:31:00Z[UTC]",
            "2018-04-05T17:31:00.Z",
            "ä018-04-05T17:31:00Z",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn media_types_tell_json_and_charset() {
        assert!(is_json("Application/JSON; charset=utf-8") && is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain") && !is_json("application/jsonl") && !is_json("json"));
        assert_eq!(charset("text/plain; a=b; CharSet=\"ISO-8859-1\"").as_deref(), Some("iso-8859-1"));
    }
}
