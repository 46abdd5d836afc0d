//! YAML 1.2 text to JSON values, within bounds; and where in a text a value stands.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// What a document may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How deep lists and maps may be nested.
    pub(crate) depth: usize,
    /// Values, those that aliases repeat among them.
    pub(crate) values: usize,
}

/// Line and column, both from one.
pub(crate) type Position = (usize, usize);

/// Reads one YAML document as JSON: keys become text, `yes` and `on` stay text (core schema of YAML 1.2), a merge key
/// (`<<`) adds what is not there.
///
/// # Errors
/// A message with its place: no YAML, too deep, too many values, a key twice, a key that is no scalar, a second document.
pub(crate) fn read(text: &str, bounds: Bounds) -> Result<Value, (Position, String)> {
    let mut builder = Builder { bounds, open: vec![], anchors: HashMap::new(), values: 0, done: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let place = (error.marker().line(), error.marker().col() + 1);
            let deep = error.info().contains("recursion limit");
            let message = if deep {
                format!("nested deeper than {} levels", bounds.depth)
            } else {
                format!("no YAML: {}", error.info())
            };
            (place, message)
        })?;
        builder.event(event).map_err(|message| (place(span), message))?;
    }
    Ok(builder.done.unwrap_or(Value::Null))
}

fn place(span: Span) -> Position {
    (span.start.line(), span.start.col() + 1)
}

enum Part {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<String>, merged: Vec<Value> },
}

struct Builder {
    bounds: Bounds,
    open: Vec<(usize, Part)>,
    /// What an alias stands for, with the number of its values and its depth.
    anchors: HashMap<usize, (Value, usize, usize)>,
    values: usize,
    done: Option<Value>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1)?;
                let value = scalar(&text, style, tag.as_deref());
                self.close(anchor, value, Some(&text))
            }
            Event::SequenceStart(anchor, _) => self.start(anchor, Part::List(vec![])),
            Event::MappingStart(anchor, _) => {
                self.start(anchor, Part::Map { entries: Map::new(), key: None, merged: vec![] })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((anchor, part)) = self.open.pop() else { return Ok(()) };
                let value = match part {
                    Part::List(items) => Value::Array(items),
                    Part::Map { mut entries, merged, .. } => {
                        for more in merged {
                            merge(&mut entries, more)?;
                        }
                        Value::Object(entries)
                    }
                };
                self.close(anchor, value, None)
            }
            Event::Alias(anchor) => {
                let Some((value, values, depth)) = self.anchors.get(&anchor).cloned() else {
                    return Err("an alias to something that is not finished".to_owned());
                };
                self.count(values)?;
                if self.open.len() + depth > self.bounds.depth {
                    return Err(format!("nested deeper than {} levels", self.bounds.depth));
                }
                self.put(value, None)
            }
            Event::DocumentStart(_) if self.done.is_some() => {
                Err("a second document; expected one".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(more);
        if self.values > self.bounds.values {
            return Err(format!("more than {} values, aliases counted", self.bounds.values));
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, part: Part) -> Result<(), String> {
        self.count(1)?;
        if self.open.len() >= self.bounds.depth {
            return Err(format!("nested deeper than {} levels", self.bounds.depth));
        }
        self.open.push((anchor, part));
        Ok(())
    }

    fn close(&mut self, anchor: usize, value: Value, text: Option<&str>) -> Result<(), String> {
        if anchor > 0 {
            let (values, depth) = weight(&value);
            // Kept copies are memory too.
            self.count(values)?;
            self.anchors.insert(anchor, (value.clone(), values, depth));
        }
        self.put(value, text)
    }

    fn put(&mut self, value: Value, text: Option<&str>) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some((_, Part::List(items))) => items.push(value),
            Some((_, Part::Map { entries, key, merged })) => match key.take() {
                None => {
                    let name = match (&value, text) {
                        (Value::Array(_) | Value::Object(_), _) => {
                            return Err("a list or map as a key; expected text before the colon".to_owned());
                        }
                        // As it is written: a status `200` and a version `1.0` are names.
                        (_, Some(text)) => text.to_owned(),
                        (Value::String(text), None) => text.clone(),
                        (other, None) => other.to_string(),
                    };
                    *key = Some(name);
                }
                Some(name) if name == "<<" && !value.is_string() => merged.push(value),
                Some(name) => {
                    if entries.contains_key(&name) {
                        return Err(format!("the key `{}` appears twice", name.escape_debug()));
                    }
                    entries.insert(name, value);
                }
            },
        }
        Ok(())
    }
}

fn merge(entries: &mut Map<String, Value>, more: Value) -> Result<(), String> {
    match more {
        Value::Object(more) => {
            for (name, value) in more {
                entries.entry(name).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|more| merge(entries, more)),
        _ => Err("`<<` merges maps; expected one or a list of them".to_owned()),
    }
}

fn weight(value: &Value) -> (usize, usize) {
    let sum = |parts: &mut dyn Iterator<Item = &Value>| {
        let (values, depth) =
            parts.map(weight).fold((0, 0), |(values, depth), part| (values + part.0, depth.max(part.1)));
        (values + 1, depth + 1)
    };
    match value {
        Value::Array(items) => sum(&mut items.iter()),
        Value::Object(entries) => sum(&mut entries.values()),
        _ => (1, 0),
    }
}

/// The core schema (YAML 1.2.2 §10.3.2); numbers that JSON does not have stay text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if style != ScalarStyle::Plain && core.is_none() || core == Some("str") {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = |text: &str, radix| u64::from_str_radix(text, radix).ok().map(Number::from);
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let begins = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = begins.bytes().next()?;
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    if !plain || !(first.is_ascii_digit() || first == b'.' && begins.len() > 1) {
        return None;
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = unsigned.parse::<u64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = unsigned.parse::<i64>() {
        return Some(whole.into());
    }
    unsigned.parse().ok().and_then(Number::from_f64)
}

/// Where the value of a JSON pointer stands in a YAML or JSON text; `None` when it cannot be found.
pub(crate) fn locate(text: &str, pointer: &str) -> Option<Position> {
    let mut path: Vec<Step> = vec![];
    let wanted: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    let total = wanted.len();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        let is_key = matches!(path.last(), Some(Step::Map { key: None, .. }));
        match event {
            Event::Scalar(name, ..) if is_key => {
                if let Some(Step::Map { key, .. }) = path.last_mut() {
                    *key = Some(name.into_owned());
                }
                // The key itself is the better place to look at.
                if path.len() == total && matches(&path, &wanted) {
                    return Some(place(span));
                }
            }
            Event::Scalar(..) | Event::Alias(_) => {
                if path.len() == total && matches(&path, &wanted) {
                    return Some(place(span));
                }
                advance(&mut path);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if path.len() == total && matches(&path, &wanted) {
                    return Some(place(span));
                }
                path.push(match event {
                    Event::SequenceStart(..) => Step::List(0),
                    _ => Step::Map { key: None },
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                path.pop();
                advance(&mut path);
            }
            _ => {}
        }
    }
    None
}

enum Step {
    List(usize),
    Map { key: Option<String> },
}

/// One part of a JSON pointer, as text (RFC 6901 §4).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn advance(path: &mut [Step]) {
    match path.last_mut() {
        Some(Step::List(index)) => *index += 1,
        Some(Step::Map { key }) => *key = None,
        None => {}
    }
}

fn matches(path: &[Step], wanted: &[String]) -> bool {
    // From the end: siblings differ there.
    path.iter().zip(wanted).rev().all(|(step, wanted)| match step {
        Step::List(index) => wanted.parse() == Ok(*index),
        Step::Map { key } => key.as_ref() == Some(wanted),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOUNDS: Bounds = Bounds { depth: 20, values: 1000 };

    #[test]
    fn scalars_become_what_the_core_schema_says() {
        let text = "a: [1, -2, 0x1F, 1.50, 1e3, .5, yes, on, ~, true, '1', 2026-01-01, 1.2.3, a-b, .inf, +7]\n200: ok\n1.0: v";
        let read = read(text, BOUNDS).unwrap();
        assert_eq!(
            read["a"],
            json!([
                1,
                -2,
                31,
                1.5,
                1000.0,
                0.5,
                "yes",
                "on",
                null,
                true,
                "1",
                "2026-01-01",
                "1.2.3",
                "a-b",
                ".inf",
                7
            ])
        );
        assert_eq!((&read["200"], &read["1.0"]), (&json!("ok"), &json!("v")));
    }

    #[test]
    fn aliases_repeat_and_merge_and_bombs_are_refused() {
        let text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nsame: *b\n";
        assert_eq!(
            read(text, BOUNDS).unwrap(),
            json!({"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}, "same": {"x": 1, "y": 2}})
        );
        let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(read(&bomb, BOUNDS).unwrap_err().1.contains("more than 1000 values"));
        assert!(read(&"[".repeat(100_000), BOUNDS).unwrap_err().1.contains("deeper than 20 levels"));
    }

    #[test]
    fn problems_have_their_place() {
        assert_eq!(read("a: 1\nb: 2\na: 3\n", BOUNDS).unwrap_err().0.0, 3);
        assert!(read("a: 1\n---\nb: 2\n", BOUNDS).unwrap_err().1.contains("second document"));
        assert!(read("? [1]\n: 2\n", BOUNDS).unwrap_err().1.contains("as a key"));
    }

    #[test]
    fn a_pointer_is_found_in_yaml_and_in_json() {
        let yaml = "paths:\n  /a/b:\n    get:\n      tags:\n        - x\n        - y\n";
        assert_eq!(locate(yaml, "/paths/~1a~1b/get/tags/1"), Some((6, 11)));
        assert_eq!(locate(yaml, "/paths/~1a~1b/get"), Some((3, 5)));
        assert_eq!(locate(yaml, "/paths/~1a~1b/put"), None);
        let json = "{\n  \"a\": {\"b\": 1,\n    \"c\": [1, {\"d\": 2}]}\n}";
        assert_eq!(locate(json, "/a/c/1/d"), Some((3, 15)));
    }
}
