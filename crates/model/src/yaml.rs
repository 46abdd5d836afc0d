//! YAML text to [`Node`]s with positions, within bounds that no input can exceed.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::node::{Key, Node, Value};
use crate::problem::{Position, Problem, shown, too_large};

/// The largest manifest that is read, in bytes (4 MiB).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 32;
/// The most values in one file, aliases expanded.
pub const MAX_NODES: usize = 200_000;
/// The most bytes that aliases may add to one file: enough to share settings, too little for a bomb.
pub const MAX_ALIAS_BYTES: usize = 256 << 10;

/// The documents of a file; empty ones are left out.
///
/// # Errors
/// Not UTF-8, too large, not YAML, too deep, too many values, aliases that expand too far, foreign tags: the
/// first of these ends the reading. Duplicate keys are listed all.
pub fn parse(path: &str, bytes: &[u8]) -> Result<Vec<Node>, Vec<Problem>> {
    let size = bytes.len() as u64;
    if size > MAX_MANIFEST_BYTES {
        return Err(vec![too_large(path, size, MAX_MANIFEST_BYTES)]);
    }
    let text = text_of(path, bytes).map_err(|problem| vec![*problem])?;
    let mut builder = Builder { path, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let step = event
            .map_err(|error| {
                // The parser has a bound of its own, behind ours, on brackets that it must look beyond.
                let message = if error.info().contains("recursion limit") {
                    format!("nested deeper than {MAX_DEPTH} levels")
                } else {
                    format!("not valid YAML: {}", shown(error.info()))
                };
                Box::new(Problem::at(
                    path,
                    place(error.marker()),
                    message,
                    "check indentation, quotes and brackets here",
                ))
            })
            .and_then(|(event, span)| builder.event(event, span));
        if let Err(problem) = step {
            builder.problems.push(*problem);
            return Err(builder.problems);
        }
    }
    if builder.problems.is_empty() { Ok(builder.documents) } else { Err(builder.problems) }
}

fn text_of<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Problem>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let help = "expected YAML as UTF-8 text";
    let refuse = |index: usize, message: String| {
        let before = &bytes[..index];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        Err(Box::new(Problem::at(
            path,
            Position { line: number(line), column: number(column) },
            message,
            help,
        )))
    };
    if let Some(index) = bytes.iter().position(|b| *b == 0) {
        return refuse(index, "a binary file: byte 0x00 is not text".to_owned());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let index = error.valid_up_to();
            let byte = bytes.get(index).copied().unwrap_or_default();
            refuse(index, format!("not UTF-8 text: byte 0x{byte:02x}"))
        }
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn place(marker: &Marker) -> Position {
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

/// A list or map that is still open.
struct Open {
    anchor: usize,
    position: Position,
    part: Part,
}

enum Part {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, keys: BTreeMap<String, Position>, key: Option<Key> },
}

#[derive(Default)]
struct Builder<'p> {
    path: &'p str,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Anchored nodes with the number of values and bytes that an alias to them adds.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    nodes: usize,
    alias_bytes: usize,
    problems: Vec<Problem>,
}

type Step = Result<(), Box<Problem>>;

impl Builder<'_> {
    fn refuse(&self, position: Position, message: impl Into<String>, help: impl Into<String>) -> Step {
        Err(Box::new(Problem::at(self.path, position, message, help)))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let position = place(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), position)?;
                self.count(1, position)?;
                let plain = style == ScalarStyle::Plain;
                let value = match text.as_ref() {
                    "" | "null" | "Null" | "NULL" | "~" if plain => Value::Null,
                    text => Value::Scalar(text.to_owned()),
                };
                self.close(anchor, Node { position, value })
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), position)?;
                self.start(anchor, position, Part::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), position)?;
                self.start(
                    anchor,
                    position,
                    Part::Map { entries: Vec::new(), keys: BTreeMap::new(), key: None },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn check_tag(&self, tag: Option<&Tag>, position: Position) -> Step {
        const CORE: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str())) => {
                let name = shown(&format!("{}{}", tag.handle, tag.suffix));
                self.refuse(
                    position,
                    format!("tag \"{name}\" is not understood"),
                    "write the value without a tag",
                )
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, more: usize, position: Position) -> Step {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES {
            let message = format!("the file has more than {MAX_NODES} values");
            return self.refuse(position, message, "split it into several files");
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, position: Position, part: Part) -> Step {
        self.count(1, position)?;
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return self.refuse(position, message, "no kind is that deep; check brackets and indentation");
        }
        self.open.push(Open { anchor, position, part });
        Ok(())
    }

    fn end(&mut self) -> Step {
        let Some(Open { anchor, position, part }) = self.open.pop() else { return Ok(()) };
        let value = match part {
            Part::List(items) => Value::List(items),
            Part::Map { entries, .. } => Value::Map(entries),
        };
        self.close(anchor, Node { position, value })
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Step {
        let Some((node, nodes, bytes)) = self.anchors.get(&anchor).cloned() else {
            return self.refuse(
                position,
                "alias to something that is not finished",
                "expected an anchor that was closed before",
            );
        };
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        if self.alias_bytes > MAX_ALIAS_BYTES {
            let message = format!("aliases expand to more than {} KiB", MAX_ALIAS_BYTES >> 10);
            return self.refuse(position, message, "write the values out, or share fewer of them");
        }
        self.count(nodes, position)?;
        if self.open.len() + depth(&node) > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return self.refuse(position, message, "an alias here repeats a deep value");
        }
        self.place_node(Node { position, ..node })
    }

    fn close(&mut self, anchor: usize, node: Node) -> Step {
        if anchor > 0 {
            let (nodes, bytes) = weight(&node);
            self.anchors.insert(anchor, (node.clone(), nodes, bytes));
        }
        self.place_node(node)
    }

    /// Puts a finished node into what is open, or makes it a document.
    fn place_node(&mut self, node: Node) -> Step {
        let path = self.path;
        let Some(open) = self.open.last_mut() else {
            if node.value != Value::Null {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut open.part {
            Part::List(items) => items.push(node),
            Part::Map { entries, keys, key } => match key.take() {
                Some(key) => {
                    if let Some(first) = keys.get(&key.text) {
                        let message = format!("key \"{}\" appears twice", shown(&key.text));
                        let help = format!("keep one of them; the first is in line {}", first.line);
                        self.problems.push(Problem::at(path, key.position, message, help));
                    } else {
                        keys.insert(key.text.clone(), key.position);
                        entries.push((key, node));
                    }
                }
                None => match node.value {
                    Value::Scalar(text) => *key = Some(Key { position: node.position, text }),
                    _ => {
                        let message = format!("{} as a key", node.what());
                        return self.refuse(node.position, message, "expected text before the colon");
                    }
                },
            },
        }
        Ok(())
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
    }
}

/// Values and bytes of text in a tree.
fn weight(node: &Node) -> (usize, usize) {
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    match &node.value {
        Value::Null => (1, 8),
        Value::Scalar(text) => (1, 8 + text.len()),
        Value::List(items) => items.iter().map(weight).fold((1, 8), add),
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| add((0, 8 + key.text.len()), weight(node))).fold((1, 8), add)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> String {
        parse("x.yaml", text.as_bytes()).unwrap_err()[0].to_string()
    }

    #[test]
    fn positions_count_from_one_in_characters() {
        let documents = parse("x.yaml", "---\nä: [ö, 7 kW]\n".as_bytes()).unwrap();
        let (key, list) = documents[0].entry("ä").unwrap();
        assert_eq!(key.position, Position { line: 2, column: 1 });
        let Value::List(items) = &list.value else { panic!("a list") };
        assert_eq!(items[1].position, Position { line: 2, column: 8 });
    }

    #[test]
    fn a_small_alias_is_expanded_and_a_bomb_is_refused() {
        let documents = parse("x.yaml", b"a: &a {k: v}\nb: *a\n").unwrap();
        assert_eq!(documents[0].get("b").and_then(|b| b.get("k")).and_then(Node::text), Some("v"));
        let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(first(&bomb).contains("aliases expand to more than 256 KiB"), "{}", first(&bomb));
    }

    #[test]
    fn deep_nesting_and_many_values_are_refused() {
        assert!(first(&"[".repeat(100_000)).contains("nested deeper than 32 levels"));
        assert!(first(&"- a\n".repeat(MAX_NODES + 1)).contains("more than 200000 values"));
    }

    #[test]
    fn all_duplicate_keys_are_listed() {
        let problems = parse("x.yaml", b"a: 1\na: 2\nb: {c: 1, c: 2}\n").unwrap_err();
        let lines: Vec<u32> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn binary_and_other_encodings_are_refused_with_their_place() {
        let at = |bytes: &[u8]| parse("x.yaml", bytes).unwrap_err()[0].to_string();
        assert_eq!(
            at(b"a: 1\n\x7fELF\0"),
            "x.yaml:2:5: a binary file: byte 0x00 is not text; expected YAML as UTF-8 text"
        );
        assert!(at(b"a: \xe4").starts_with("x.yaml:1:4: not UTF-8 text: byte 0xe4"));
    }
}
