//! YAML of Prometheus and promtool, read with every problem and its place.

use std::collections::BTreeMap;

use sos_model::{Node, Position, Problem, Value, did_you_mean, known_list, shown};

use crate::duration;

/// The most problems that are listed of one file.
const MAX_PROBLEMS: usize = 200;

/// What is read of one file, and what was wrong so far.
pub(crate) struct Document<'p> {
    path: &'p str,
    problems: Vec<Problem>,
}

/// The entries of a map.
#[derive(Clone, Copy)]
pub(crate) struct Map<'n> {
    pub(crate) node: &'n Node,
}

impl<'n> Map<'n> {
    /// The value of a key; `null` counts as absent.
    pub(crate) fn get(self, key: &str) -> Option<&'n Node> {
        self.node.get(key).filter(|node| node.value != Value::Null)
    }

    /// Where a key is written, or the map when it is not.
    pub(crate) fn place(self, key: &str) -> Position {
        self.node.entry(key).map_or(self.node.position, |(key, _)| key.position)
    }
}

impl<'p> Document<'p> {
    pub(crate) fn new(path: &'p str) -> Self {
        Self { path, problems: Vec::new() }
    }

    pub(crate) fn report(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem::at(self.path, at, message, help));
        }
    }

    /// The value, when nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems;
        problems.sort();
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }

    /// A map with these keys and no others.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Map<'n>> {
        let Value::Map(entries) = &node.value else {
            let help = format!("expected {what} as a map; {}", known_list(known.iter().copied()));
            self.report(node.position, format!("{} here", node.what()), help);
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let near = did_you_mean(&key.text, known.iter().copied());
                let help = format!("{near}{}", known_list(known.iter().copied()));
                self.report(key.position, format!("unknown key \"{}\" in {what}", shown(&key.text)), help);
            }
        }
        Some(Map { node })
    }

    /// A list; nothing is an empty one.
    pub(crate) fn list<'n>(&mut self, map: Map<'n>, key: &str) -> &'n [Node] {
        match map.get(key).map(|node| (&node.value, node)) {
            None => &[],
            Some((Value::List(items), _)) => items,
            Some((_, node)) => {
                self.report(node.position, format!("{key}: {} here", node.what()), "expected a list");
                &[]
            }
        }
    }

    /// A text; nothing is none.
    pub(crate) fn text<'n>(&mut self, map: Map<'n>, key: &str) -> Option<&'n str> {
        let node = map.get(key)?;
        if node.text().is_none() {
            self.report(node.position, format!("{key}: {} here", node.what()), "expected text");
        }
        node.text()
    }

    /// A duration of Prometheus in ms; nothing is none.
    pub(crate) fn duration(&mut self, map: Map<'_>, key: &str) -> Option<i64> {
        let text = self.text(map, key)?;
        match duration::parse(text) {
            Ok(ms) => Some(ms),
            Err(message) => {
                let place = map.get(key).map_or(map.node.position, |node| node.position);
                self.report(place, format!("{key}: {message}"), "");
                None
            }
        }
    }

    /// A number as YAML writes it; nothing is none.
    pub(crate) fn number(&mut self, map: Map<'_>, key: &str) -> Option<f64> {
        let text = self.text(map, key)?;
        let value = yaml_number(text);
        if value.is_none() {
            let place = map.get(key).map_or(map.node.position, |node| node.position);
            let help = "expected a number such as 1.5, 1e3, .inf or .nan";
            self.report(place, format!("{key}: \"{}\" is no number", shown(text)), help);
        }
        value
    }

    /// `true` or `false`; nothing is false.
    pub(crate) fn flag(&mut self, map: Map<'_>, key: &str) -> bool {
        match self.text(map, key) {
            None => false,
            Some("true" | "True" | "TRUE" | "yes" | "on") => true,
            Some("false" | "False" | "FALSE" | "no" | "off") => false,
            Some(text) => {
                let message = format!("{key}: \"{}\" is no truth value", shown(text));
                self.report(map.place(key), message, "expected true or false");
                false
            }
        }
    }

    /// Names with texts; nothing is an empty map.
    pub(crate) fn texts(&mut self, map: Map<'_>, key: &str) -> BTreeMap<String, (Position, String)> {
        let mut texts = BTreeMap::new();
        let Some(node) = map.get(key) else { return texts };
        let Value::Map(entries) = &node.value else {
            let message = format!("{key}: {} here", node.what());
            self.report(node.position, message, "expected a map of names to texts");
            return texts;
        };
        for (name, value) in entries {
            let text = match &value.value {
                Value::Null => "",
                Value::Scalar(text) => text,
                _ => {
                    let message = format!("{key}: {} for \"{}\"", value.what(), shown(&name.text));
                    self.report(value.position, message, "expected text");
                    continue;
                }
            };
            texts.insert(name.text.clone(), (name.position, text.to_owned()));
        }
        texts
    }
}

/// Whole and decimal numbers of YAML, with its `.inf` and `.nan`.
fn yaml_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        ".inf" | "+.inf" => return Some(f64::INFINITY),
        "-.inf" => return Some(f64::NEG_INFINITY),
        ".nan" => return Some(f64::NAN),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return i64::from_str_radix(digits, radix).ok().map(|value| value as f64);
        }
    }
    let plain = lower.replace('_', "");
    let starts = plain.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    plain.parse().ok().filter(|_| starts)
}

/// The first document of a file, with `<<` resolved; none when the file is empty.
pub(crate) fn first(path: &str, bytes: &[u8]) -> Result<Option<Node>, Vec<Problem>> {
    let mut documents = sos_model::parse_yaml(path, bytes)?;
    if documents.len() > 1 {
        let help = "expected one document; put what follows \"---\" into a file of its own";
        return Err(vec![Problem::at(path, documents[1].position, "a second document", help)]);
    }
    let mut problems = Vec::new();
    let document = documents.pop().map(|node| merged(node, path, &mut problems));
    if problems.is_empty() { Ok(document) } else { Err(problems) }
}

/// Keys of `<<` that a map does not have itself become its own, as YAML 1.1 has it and rule tests use it.
fn merged(node: Node, path: &str, problems: &mut Vec<Problem>) -> Node {
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|n| merged(n, path, problems)).collect()),
        Value::Map(entries) => {
            let entries: Vec<_> =
                entries.into_iter().map(|(key, node)| (key, merged(node, path, problems))).collect();
            let (merges, mut own): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|(key, _)| key.text == "<<");
            for (_, from) in merges {
                let sources = match from.value {
                    Value::List(items) => items,
                    _ => vec![from],
                };
                for source in sources {
                    let Value::Map(more) = source.value else {
                        let message = format!("{} behind \"<<\"", source.what());
                        problems.push(Problem::at(path, source.position, message, "expected a map"));
                        continue;
                    };
                    for (key, node) in more {
                        if own.iter().all(|(known, _)| known.text != key.text) {
                            own.push((key, node));
                        }
                    }
                }
            }
            Value::Map(own)
        }
        other => other,
    };
    Node { position: node.position, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keys_give_what_a_map_lacks() {
        let text = b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n";
        let document = first("x.yml", text).unwrap().unwrap();
        let b = document.get("b").unwrap();
        assert_eq!(
            (b.get("x").and_then(Node::text), b.get("y").and_then(Node::text)),
            (Some("1"), Some("3"))
        );
        assert!(first("x.yml", b"a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn numbers_are_those_of_yaml() {
        for (text, value) in
            [("1", 1.0), ("-1.5e3", -1500.0), ("0x10", 16.0), (".5", 0.5), ("-.INF", f64::NEG_INFINITY)]
        {
            assert_eq!(yaml_number(text).unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert!(yaml_number(".nan").unwrap().is_nan());
        assert!(yaml_number("NaN").is_none() && yaml_number("one").is_none());
    }
}
