//! How values become text in paths, queries, headers, cookies and forms.
//!
//! Source: OpenAPI 3.1.1 §4.8.12.6 "Style Examples" and appendix C (RFC 6570); Swagger 2.0 `collectionFormat`.
//! Where these say nothing: `null` is left out; an empty list or map is left out of a query and refused in a path; lists
//! within `deepObject` are numbered (`a[0]=x`); cookies are separated by `; `, also those of one exploded value.

use serde_json::{Map, Value};

/// How a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) style: Style,
    /// Whether each part of a list or map stands for itself.
    pub(super) explode: bool,
    /// Whether characters that have a meaning in addresses stay as they are.
    pub(super) reserved: bool,
    /// What stands between parts; the second within the parts of the first, and so on.
    pub(super) delimiters: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Paths and headers: `blue,black`.
    Simple,
    /// Paths: `.blue.black`.
    Label,
    /// Paths: `;color=blue;color=black`.
    Matrix,
    /// Queries, cookies, forms: `color=blue&color=black`.
    Form,
    /// Queries: `color[R]=100&color[G]=200`.
    Deep,
    /// `content` of JSON: the whole value as one text.
    Json,
    /// `content` of anything else: text.
    Text,
}

impl Writing {
    pub(super) fn new(style: Style, explode: bool) -> Self {
        Self { style, explode, reserved: false, delimiters: vec![","] }
    }
}

/// Why a value cannot be written: where in it (a JSON pointer), and what.
pub(super) type Refused = (String, String);

/// One value as text, without encoding: numbers that are whole have no fraction.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(float) if number.is_f64() && float.fract().abs() < f64::EPSILON && float.abs() < 1e15 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encoded: unreserved characters (RFC 3986 §2.3) stay; with `reserved` also those with a meaning, but for `#`,
/// `[`, `]`, `&` and `+`, which would end or change the value, and sequences that are encoded already (RFC 6570 §3.2.3).
pub(super) fn encoded(text: &str, reserved: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let pair =
            || bytes.get(index + 1..index + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let kept = reserved && (b":/?@!$'()*,;=".contains(byte) || *byte == b'%' && pair());
        if plain || kept {
            out.push(char::from(*byte));
        } else {
            push_encoded(&mut out, *byte);
        }
    }
    out
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Lists and maps with their parts as texts, at one level.
enum Parts {
    One(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
    Nothing,
}

/// What is done with each text: percent-encoded in addresses, nothing in headers.
type Encode<'a> = &'a dyn Fn(&str) -> String;

fn parts(value: &Value, delimiters: &[&str], encode: Encode<'_>) -> Result<Parts, Refused> {
    let inner = |value: &Value, at: &dyn Fn() -> String| -> Result<Option<String>, Refused> {
        match value {
            Value::Null => Ok(None),
            Value::Array(items) if delimiters.len() > 1 => {
                let rest = &delimiters[1..];
                let nested = parts(&Value::Array(items.clone()), rest, encode);
                let nested = nested.map_err(|(place, message)| (format!("{}{place}", at()), message))?;
                Ok(match nested {
                    Parts::List(list) => Some(list.join(&encode(rest[0]))),
                    _ => None,
                })
            }
            _ => match scalar(value) {
                Some(text) => Ok(Some(encode(&text))),
                None => Err((at(), "lists and maps within lists and maps cannot be written here".to_owned())),
            },
        }
    };
    Ok(match value {
        Value::Null => Parts::Nothing,
        Value::Array(items) => {
            let mut list = vec![];
            for (index, item) in items.iter().enumerate() {
                list.extend(inner(item, &|| format!("/{index}"))?);
            }
            if list.is_empty() { Parts::Nothing } else { Parts::List(list) }
        }
        Value::Object(entries) => {
            let mut map = vec![];
            for (name, item) in entries {
                let at = || format!("/{}", super::names::escaped(name));
                if let Some(text) = inner(item, &at)? {
                    map.push((encode(name), text));
                }
            }
            if map.is_empty() { Parts::Nothing } else { Parts::Map(map) }
        }
        _ => Parts::One(encode(&scalar(value).unwrap_or_default())),
    })
}

/// `R,100,G,200`, or `R=100,G=200` exploded.
fn joined(map: Vec<(String, String)>, explode: bool, delimiter: &str) -> String {
    let pair = |(name, text): (String, String)| {
        if explode { format!("{name}={text}") } else { format!("{name}{delimiter}{text}") }
    };
    map.into_iter().map(pair).collect::<Vec<_>>().join(delimiter)
}

/// The value in a path.
///
/// # Errors
/// When it is empty, would be a step up (`..`), or holds what cannot be written.
pub(super) fn path(name: &str, value: &Value, writing: &Writing) -> Result<String, Refused> {
    let encode = |text: &str| encoded(text, writing.reserved);
    let delimiter = writing.delimiters.first().map_or(",".to_owned(), |one| path_delimiter(one));
    let name = encode(name);
    let text = match (writing.style, whole(value, writing)) {
        (_, Some(text)) => encode(&text?),
        (style, None) => match parts(value, &writing.delimiters, &encode)? {
            Parts::Nothing => String::new(),
            Parts::One(text) => match style {
                Style::Label => format!(".{text}"),
                Style::Matrix if text.is_empty() => format!(";{name}"),
                Style::Matrix => format!(";{name}={text}"),
                _ => text,
            },
            Parts::List(list) => match (style, writing.explode) {
                (Style::Label, true) => format!(".{}", list.join(".")),
                (Style::Label, false) => format!(".{}", list.join(&delimiter)),
                (Style::Matrix, true) => list.iter().map(|text| format!(";{name}={text}")).collect(),
                (Style::Matrix, false) => format!(";{name}={}", list.join(&delimiter)),
                _ => list.join(&delimiter),
            },
            Parts::Map(map) => match (style, writing.explode) {
                (Style::Label, true) => format!(".{}", joined(map, true, ".")),
                (Style::Label, false) => format!(".{}", joined(map, false, &delimiter)),
                (Style::Matrix, true) => format!(";{}", joined(map, true, ";")),
                (Style::Matrix, false) => format!(";{name}={}", joined(map, false, &delimiter)),
                (_, explode) => joined(map, explode, &delimiter),
            },
        },
    };
    if text.is_empty() {
        return Err((String::new(), "a part of a path cannot be empty".to_owned()));
    }
    Ok(text)
}

fn path_delimiter(delimiter: &str) -> String {
    if delimiter == "," { ",".to_owned() } else { encoded(delimiter, false) }
}

/// What is written as one text, whatever it is.
fn whole(value: &Value, writing: &Writing) -> Option<Result<String, Refused>> {
    match writing.style {
        Style::Json => Some(Ok(value.to_string())),
        Style::Text => {
            let refused = || (String::new(), "expected text, a number or a truth value".to_owned());
            Some(scalar(value).ok_or_else(refused))
        }
        _ => None,
    }
}

/// The value as `name=value` of a query or a form, percent-encoded; nothing where there is nothing to say.
///
/// # Errors
/// When it holds what cannot be written.
pub(super) fn pairs(name: &str, value: &Value, writing: &Writing) -> Result<Vec<(String, String)>, Refused> {
    let encode = |text: &str| encoded(text, writing.reserved);
    let key = encoded(name, false);
    if let Some(text) = whole(value, writing) {
        return Ok(vec![(key, encode(&text?))]);
    }
    if writing.style == Style::Deep {
        let mut out = vec![];
        deep(&key, value, &encode, &mut out);
        return Ok(out);
    }
    let delimiter = writing.delimiters.first().map_or(",".to_owned(), |one| path_delimiter(one));
    Ok(match parts(value, &writing.delimiters, &encode)? {
        Parts::Nothing => vec![],
        Parts::One(text) => vec![(key, text)],
        Parts::List(list) if writing.explode => list.into_iter().map(|text| (key.clone(), text)).collect(),
        Parts::List(list) => vec![(key, list.join(&delimiter))],
        // Names of parts become names of the query.
        Parts::Map(map) if writing.explode => map,
        Parts::Map(map) => vec![(key, joined(map, false, &delimiter))],
    })
}

/// `color[R]=100`; deeper maps and lists go on in the same way.
fn deep(key: &str, value: &Value, encode: Encode<'_>, out: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(entries) => {
            for (name, value) in entries {
                deep(&format!("{key}%5B{}%5D", encoded(name, false)), value, encode, out);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                deep(&format!("{key}%5B{index}%5D"), value, encode, out);
            }
        }
        _ => out.push((key.to_owned(), encode(&scalar(value).unwrap_or_default()))),
    }
}

/// The value of a header, not encoded; `None` where there is nothing to say.
///
/// # Errors
/// When it holds what cannot be written. Whether a header can carry the text is for the caller to see.
pub(super) fn header(value: &Value, writing: &Writing) -> Result<Option<String>, Refused> {
    if let Some(text) = whole(value, writing) {
        return text.map(Some);
    }
    let delimiter = writing.delimiters.first().copied().unwrap_or(",");
    Ok(match parts(value, &writing.delimiters, &str::to_owned)? {
        Parts::Nothing => None,
        Parts::One(text) => Some(text),
        Parts::List(list) => Some(list.join(delimiter)),
        Parts::Map(map) => Some(joined(map, writing.explode, delimiter)),
    })
}

/// A map as it is read by others: name and value, already encoded.
pub(super) fn form(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Whether a map has this one key only.
pub(super) fn only<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let entries: &Map<String, Value> = value.as_object()?;
    entries.get(key).filter(|_| entries.len() == 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn writing(style: Style, explode: bool) -> Writing {
        Writing::new(style, explode)
    }

    /// The table of OpenAPI 3.1.1; maps are in order of their names here.
    #[test]
    fn paths_are_written_as_in_the_table_of_styles() {
        let (one, list, map) =
            (json!("blue"), json!(["blue", "black", "brown"]), json!({"B": 150, "G": 200, "R": 100}));
        for (style, explode, of_one, of_list, of_map) in [
            (Style::Matrix, false, ";color=blue", ";color=blue,black,brown", ";color=B,150,G,200,R,100"),
            (Style::Matrix, true, ";color=blue", ";color=blue;color=black;color=brown", ";B=150;G=200;R=100"),
            (Style::Label, false, ".blue", ".blue,black,brown", ".B,150,G,200,R,100"),
            (Style::Label, true, ".blue", ".blue.black.brown", ".B=150.G=200.R=100"),
            (Style::Simple, false, "blue", "blue,black,brown", "B,150,G,200,R,100"),
            (Style::Simple, true, "blue", "blue,black,brown", "B=150,G=200,R=100"),
        ] {
            let write = |value| path("color", value, &writing(style, explode)).unwrap();
            assert_eq!(
                (write(&one), write(&list), write(&map)),
                (of_one.into(), of_list.into(), of_map.into())
            );
        }
        assert_eq!(path("color", &json!(""), &writing(Style::Matrix, false)).unwrap(), ";color");
        assert_eq!(path("color", &json!(""), &writing(Style::Label, false)).unwrap(), ".");
    }

    #[test]
    fn queries_are_written_as_in_the_table_of_styles() {
        let (one, list, map) =
            (json!("blue"), json!(["blue", "black", "brown"]), json!({"B": 150, "G": 200, "R": 100}));
        let write = |value: &Value, writing: &Writing| form(&pairs("color", value, writing).unwrap());
        let exploded = writing(Style::Form, true);
        assert_eq!(write(&one, &exploded), "color=blue");
        assert_eq!(write(&list, &exploded), "color=blue&color=black&color=brown");
        assert_eq!(write(&map, &exploded), "B=150&G=200&R=100");
        for (delimiter, text) in [(",", ","), (" ", "%20"), ("|", "%7C"), ("\t", "%09")] {
            let style = Writing { delimiters: vec![delimiter], ..writing(Style::Form, false) };
            assert_eq!(write(&list, &style), format!("color=blue{text}black{text}brown"));
            assert_eq!(write(&map, &style), ["color=B", "150", "G", "200", "R", "100"].join(text));
        }
        let deep = writing(Style::Deep, true);
        assert_eq!(write(&map, &deep), "color%5BB%5D=150&color%5BG%5D=200&color%5BR%5D=100");
        assert_eq!(
            write(&json!({"a": [1, {"b": null, "c": true}]}), &deep),
            "color%5Ba%5D%5B0%5D=1&color%5Ba%5D%5B1%5D%5Bc%5D=true"
        );
        assert_eq!(write(&json!([]), &exploded), "");
        assert_eq!(write(&json!(""), &exploded), "color=");
        assert_eq!(write(&json!({"a": [1]}), &writing(Style::Json, false)), "color=%7B%22a%22%3A%5B1%5D%7D");
    }

    #[test]
    fn reserved_characters_stay_where_they_are_allowed_and_harmless() {
        assert_eq!(encoded("a/b?c=d ä%20%x#&+[]", true), "a/b?c=d%20%C3%A4%20%25x%23%26%2B%5B%5D");
        assert_eq!(encoded("a/b ~-._", false), "a%2Fb%20~-._");
    }

    #[test]
    fn lists_within_lists_need_a_delimiter_of_their_own() {
        let nested = Writing { delimiters: vec![",", "|"], ..writing(Style::Form, false) };
        assert_eq!(pairs("a", &json!([[1, 2], [3]]), &nested).unwrap()[0].1, "1%7C2,3");
        let refused = pairs("a", &json!([[1]]), &writing(Style::Form, true)).unwrap_err();
        assert!(refused.0 == "/0" && refused.1.contains("cannot be written"), "{refused:?}");
    }

    #[test]
    fn headers_are_not_encoded_and_whole_numbers_have_no_fraction() {
        let simple = writing(Style::Simple, true);
        assert_eq!(header(&json!({"b": "x y", "c": 2.0}), &simple).unwrap().unwrap(), "b=x y,c=2");
        assert_eq!(header(&json!(1.5), &simple).unwrap().unwrap(), "1.5");
        assert_eq!(header(&Value::Null, &simple).unwrap(), None);
        assert!(path("a", &json!([]), &simple).unwrap_err().1.contains("cannot be empty"));
    }
}
