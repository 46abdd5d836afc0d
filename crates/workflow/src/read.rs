//! YAML 1.2 or JSON text to a tree with positions, within bounds that no input can exceed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use sos_model::shown;

use crate::node::{Key, Node, Position, Value};
use crate::path::{Step, dotted};
use crate::problem::{MAX_PROBLEMS, Problem, ProblemKind, Problems};
use crate::scalar;

/// The largest document that is read, in bytes (4 MiB).
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting of lists and maps; a block of tasks within another takes three or four levels.
pub const MAX_DEPTH: usize = 100;
/// The most values in one document, aliases expanded.
pub const MAX_VALUES: usize = 200_000;
/// The most bytes that aliases may add to one document: enough to share settings, too little for a bomb.
pub const MAX_ALIAS_BYTES: usize = 1 << 20;

/// The tree of a text. A plain key `<<` takes in the entries of a map, or of a list of maps, as in YAML 1.1: 1.2 has no such key, but
/// people use it.
pub(crate) fn tree(text: &str) -> Result<Node, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let message = format!("the document has {} bytes", text.len());
        let help = format!("expected at most {MAX_BYTES}; split it into workflows that run each other");
        return Err(Problems::one(*problem(Position::NONE, message, help)));
    }
    let mut builder = Builder::default();
    let text = with_joined_surrogates(text);
    for event in Parser::new_from_str(&text) {
        let step =
            event.map_err(|error| refused(&error)).and_then(|(event, span)| builder.event(event, span));
        if let Err(problem) = step {
            let path = dotted(&builder.steps());
            builder.problems.push(Problem { path, ..*problem });
            break;
        }
    }
    match Problems::of(std::mem::take(&mut builder.problems), builder.more) {
        Some(problems) => Err(problems),
        None => builder.done.ok_or_else(|| {
            Problems::one(*problem(
                Position::NONE,
                "the document is empty",
                "expected a workflow as YAML or JSON",
            ))
        }),
    }
}

/// JSON writes characters beyond U+FFFF as two escapes (RFC 8259, 7), YAML as one; the two become the character. The rest
/// of such a line is a few columns further left than it was written.
fn with_joined_surrogates(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) || !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        joined.push_str(before);
        let pair = surrogates(escape);
        // Otherwise the backslash and what it escapes, so that an escaped backslash escapes nothing.
        let length = escape.chars().take(2).map(char::len_utf8).sum();
        let (taken, after) = escape.split_at(if pair.is_some() { 12 } else { length });
        match pair {
            Some(character) => joined.push(character),
            None => joined.push_str(taken),
        }
        rest = after;
    }
    joined.push_str(rest);
    Cow::Owned(joined)
}

/// The character of `\uD83D\uDE00` at the beginning of a text.
fn surrogates(text: &str) -> Option<char> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (high, low) = (unit(0)?, unit(6)?);
    if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
}

fn problem(position: Position, message: impl Into<String>, help: impl Into<String>) -> Box<Problem> {
    let (message, help) = (message.into(), help.into());
    Box::new(Problem { kind: ProblemKind::Text, position, path: String::new(), message, help })
}

fn refused(error: &saphyr_parser::ScanError) -> Box<Problem> {
    // The parser has a bound of its own on brackets that it must look beyond.
    if error.info().contains("recursion limit") {
        return too_deep(place(error.marker()));
    }
    let message = format!("not valid YAML: {}", shown(error.info()));
    problem(place(error.marker()), message, "check indentation, quotes and brackets here")
}

fn too_deep(position: Position) -> Box<Problem> {
    let message = format!("nested deeper than {MAX_DEPTH} levels");
    problem(position, message, "check brackets and indentation, or move inner tasks into functions")
}

fn place(marker: &Marker) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

/// A list or map that is still open.
struct Open {
    anchor: usize,
    position: Position,
    part: Part,
}

impl Open {
    /// The step to what is read next in it; none before a key.
    fn step(&self) -> Option<Step<'_>> {
        match &self.part {
            Part::List(items) => Some(Step::Index(items.len())),
            Part::Map { key, .. } => key.as_ref().map(|key| Step::Key(&key.text)),
        }
    }
}

enum Part {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, keys: BTreeMap<String, Position>, key: Option<Key>, merges: Merges },
}

/// What a map takes in.
#[derive(Default)]
struct Merges {
    /// The value that is read next is taken in.
    next: bool,
    entries: Vec<(Key, Node)>,
}

/// The key that takes in other maps.
const MERGE: &str = "<<";

impl Merges {
    /// Takes in a map, or each of a list of maps; the first that has a key counts. Otherwise what is wrong.
    fn take(&mut self, node: Node) -> Done {
        let position = node.position;
        let wrong = |found: &str| {
            let message = format!("the key \"{MERGE}\" takes in maps, and this is {found}");
            problem(position, message, "expected an alias of a map or a list of such, or the key in quotes")
        };
        match node.value {
            Value::Map(entries) => self.entries.extend(entries),
            Value::List(items) => {
                for item in items {
                    let found = item.what();
                    let Value::Map(entries) = item.value else { return Err(wrong(found)) };
                    self.entries.extend(entries);
                }
            }
            _ => return Err(wrong(node.what())),
        }
        Ok(())
    }

    /// All entries of a map whose own are these: its own count.
    fn into_all(self, mut own: Vec<(Key, Node)>, mut keys: BTreeMap<String, Position>) -> Vec<(Key, Node)> {
        for (key, node) in self.entries {
            if !keys.contains_key(&key.text) {
                keys.insert(key.text.clone(), key.position);
                own.push((key, node));
            }
        }
        own
    }
}

/// A node that has an anchor, and what an alias to it adds.
#[derive(Clone)]
struct Anchored {
    node: Node,
    /// Its own text when it is a scalar, as it was written: for aliases that are keys.
    text: Option<String>,
    values: usize,
    bytes: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    done: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    values: usize,
    alias_bytes: usize,
    problems: Vec<Problem>,
    /// There were too many problems to list.
    more: bool,
    /// Whether the scalar at hand is [`MERGE`] without quotes.
    merges: bool,
}

type Done = Result<(), Box<Problem>>;

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Done {
        let position = place(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, position)?;
                let value = typed(&text, style, tag.as_deref(), position)?;
                self.merges = style == ScalarStyle::Plain && text == MERGE;
                self.close(anchor, Node { position, value }, Some(&text))
            }
            Event::SequenceStart(anchor, tag) => {
                known_tag(tag.as_deref(), position)?;
                self.start(anchor, position, Part::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                known_tag(tag.as_deref(), position)?;
                let part = Part::Map {
                    entries: Vec::new(),
                    keys: BTreeMap::new(),
                    key: None,
                    merges: Merges::default(),
                };
                self.start(anchor, position, part)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::DocumentStart(_) if self.done.is_some() => Err(problem(
                position,
                "a second document begins here",
                "expected one workflow; put the others into files of their own",
            )),
            _ => Ok(()),
        }
    }

    /// The way to the value that is read now.
    fn steps(&self) -> Vec<Step<'_>> {
        self.open.iter().filter_map(Open::step).collect()
    }

    fn count(&mut self, more: usize, position: Position) -> Done {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_VALUES {
            let message = format!("the document has more than {MAX_VALUES} values");
            return Err(problem(
                position,
                message,
                "aliases count as often as they are used; split the document",
            ));
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, position: Position, part: Part) -> Done {
        self.count(1, position)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(position));
        }
        self.open.push(Open { anchor, position, part });
        Ok(())
    }

    fn end(&mut self) -> Done {
        let Some(Open { anchor, position, part }) = self.open.pop() else { return Ok(()) };
        let value = match part {
            Part::List(items) => Value::List(items),
            Part::Map { entries, keys, merges, .. } => Value::Map(merges.into_all(entries, keys)),
        };
        self.close(anchor, Node { position, value }, None)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Done {
        let Some(anchored) = self.anchors.get(&anchor).cloned() else {
            let help = "expected an anchor whose value is complete";
            return Err(problem(position, "an alias within what it stands for", help));
        };
        self.weigh(anchored.values, anchored.bytes, position)?;
        if self.open.len() + anchored.depth > MAX_DEPTH {
            return Err(too_deep(position));
        }
        self.put(Node { position, ..anchored.node }, anchored.text.as_deref())
    }

    fn weigh(&mut self, values: usize, bytes: usize, position: Position) -> Done {
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        if self.alias_bytes > MAX_ALIAS_BYTES {
            let message = format!("aliases expand to more than {} KiB", MAX_ALIAS_BYTES >> 10);
            return Err(problem(position, message, "write the values out, or share fewer of them"));
        }
        self.count(values, position)
    }

    fn close(&mut self, anchor: usize, node: Node, text: Option<&str>) -> Done {
        if anchor > 0 {
            let Weight { values, bytes, depth } = weight(&node);
            // What is kept for aliases is memory too.
            self.weigh(0, bytes, node.position)?;
            let kept = Anchored { node: node.clone(), text: text.map(str::to_owned), values, bytes, depth };
            self.anchors.insert(anchor, kept);
        }
        self.put(node, text)
    }

    /// Puts a finished node into what is open, or makes it the document. `text` is a scalar as it was written.
    fn put(&mut self, node: Node, text: Option<&str>) -> Done {
        let is_merge = std::mem::take(&mut self.merges);
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        match &mut open.part {
            Part::List(items) => items.push(node),
            Part::Map { entries, keys, key, merges } => match (key.take(), text) {
                (Some(key), _) => match keys.get(&key.text) {
                    Some(first) => {
                        let first = first.line;
                        self.twice(&key, first);
                    }
                    None => {
                        keys.insert(key.text.clone(), key.position);
                        if std::mem::take(&mut merges.next) {
                            merges.take(node)?;
                        } else {
                            entries.push((key, node));
                        }
                    }
                },
                // As it is written: a status `200` and a version `1.0` are names.
                (None, Some(text)) => {
                    *key = Some(Key { position: node.position, text: text.to_owned() });
                    merges.next = is_merge;
                }
                (None, None) => {
                    let message = format!("{} as a key", node.what());
                    return Err(problem(node.position, message, "expected text before the colon"));
                }
            },
        }
        Ok(())
    }

    fn twice(&mut self, key: &Key, first: u32) {
        if self.problems.len() < MAX_PROBLEMS {
            let message = format!("the key \"{}\" appears twice", shown(&key.text));
            let help = format!("keep one of them; the first is in line {first}");
            let mut steps = self.steps();
            steps.push(Step::Key(&key.text));
            let path = dotted(&steps);
            self.problems.push(Problem { path, ..*problem(key.position, message, help) });
        } else {
            self.more = true;
        }
    }
}

fn known_tag(tag: Option<&Tag>, position: Position) -> Done {
    const CORE: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str())) => {
            let name = shown(&format!("{}{}", tag.handle, tag.suffix));
            let message = format!("the tag \"{name}\" is not understood");
            Err(problem(position, message, "write the value without a tag"))
        }
        _ => Ok(()),
    }
}

/// A scalar's value: quoted and `!!str` is text, other core tags and plain ones follow the core schema.
fn typed(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    position: Position,
) -> Result<Value, Box<Problem>> {
    known_tag(tag, position)?;
    let is_text = match tag {
        Some(tag) => tag.suffix == "str",
        None => style != ScalarStyle::Plain,
    };
    if is_text {
        return Ok(Value::Text(text.to_owned()));
    }
    scalar::plain(text).ok_or_else(|| {
        let message = format!("{} is a number that JSON does not have", shown(text));
        problem(position, message, "put it in quotes when text is meant")
    })
}

struct Weight {
    values: usize,
    bytes: usize,
    depth: usize,
}

fn weight(node: &Node) -> Weight {
    const SELF: usize = 48;
    let add = |sum: Weight, part: Weight| Weight {
        values: sum.values + part.values,
        bytes: sum.bytes + part.bytes,
        depth: sum.depth.max(part.depth + 1),
    };
    let alone = |bytes, depth| Weight { values: 1, bytes: SELF + bytes, depth };
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) => alone(0, 0),
        Value::Text(text) => alone(text.len(), 0),
        Value::List(items) => items.iter().map(weight).fold(alone(0, 1), add),
        Value::Map(entries) => {
            let keys = entries.iter().map(|(key, _)| SELF + key.text.len()).sum();
            entries.iter().map(|(_, node)| weight(node)).fold(alone(keys, 1), add)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn first(text: &str) -> String {
        tree(text).unwrap_err().all()[0].to_string()
    }

    #[test]
    fn every_value_knows_its_place() {
        let root = tree("\u{feff}---\nä: [ö, 7]\nb:\n  c: x\n").unwrap();
        let items = root.get("ä").unwrap().items();
        assert_eq!(items[1].position, Position { line: 2, column: 8 });
        assert_eq!(root.get("b").and_then(|b| b.get("c")).unwrap().position, Position { line: 4, column: 6 });
        assert_eq!(root.entries()[1].0.position, Position { line: 3, column: 1 });
    }

    #[test]
    fn quoted_scalars_are_text_and_keys_are_as_written() {
        let root = tree("on: '1'\n200: \"true\"\n1.0: !!str 5\n~: !!int '7'\nx: |\n  a\n").unwrap();
        assert_eq!(root.to_json(), json!({"on": "1", "200": "true", "1.0": "5", "~": 7, "x": "a\n"}));
    }

    #[test]
    fn a_merge_key_takes_in_maps() {
        let json = |text: &str| tree(text).unwrap().to_json();
        let base = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\n";
        let both = json(&format!(
            "{base}c:\n  <<: [*a, *b]\n  x: 9\nd: {{w: 0, <<: *b}}\ne: &e {{<<: *a}}\nf: {{<<: *e}}"
        ));
        assert_eq!(both["c"], json!({"x": 9, "y": 2, "z": 4}));
        assert_eq!(both["d"], json!({"w": 0, "y": 3, "z": 4}));
        assert_eq!(both["f"], both["a"]);
        assert_eq!(json("'<<': 1\nb: {\"<<\": {c: 2}}"), json!({"<<": 1, "b": {"<<": {"c": 2}}}));
        assert_eq!(json("- <<"), json!(["<<"]));
        assert!(
            first("a: {<<: 5}").starts_with("1:9: a: the key \"<<\" takes in maps, and this is a number")
        );
        assert!(first("a: {<<: [{b: 1}, x]}").contains("this is text"));
    }

    #[test]
    fn the_order_of_keys_is_kept() {
        let root = tree("z: 1\na: 2\nm: 3\n").unwrap();
        let keys: Vec<&str> = root.entries().iter().map(|(key, _)| key.text.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
    }

    #[test]
    fn json_is_read_too() {
        let json = "{\n\t\"a\": [1, 2.5, null, true],\n\t\"b\": {\"c\": \"\\u00e9\\n\\/\"}\n}";
        assert_eq!(tree(json).unwrap().to_json(), json!({"a": [1, 2.5, null, true], "b": {"c": "é\n/"}}));
    }

    #[test]
    fn json_escapes_pairs_of_surrogates() {
        let json = r#"{"a": "\ud83d\ude00!", "b": "\\ud83d\\ude00"}"#;
        assert_eq!(tree(json).unwrap().to_json(), json!({"a": "😀!", "b": "\\ud83d\\ude00"}));
    }

    #[test]
    fn aliases_are_expanded_and_bombs_refused() {
        let root = tree("a: &a {k: v}\nb: *a\nc: &n name\n*n : 1\n").unwrap();
        assert_eq!(root.to_json(), json!({"a": {"k": "v"}, "b": {"k": "v"}, "c": "name", "name": 1}));
        let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(first(&bomb).contains("aliases expand to more than 1024 KiB"), "{}", first(&bomb));
        assert!(first("a: &a [*a]\n").contains("an alias within what it stands for"));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(first(&"[".repeat(100_000)).contains("nested deeper than 100 levels"));
        assert!(first(&"- ".repeat(5_000)).contains("nested deeper than 100 levels"));
        assert!(first(&"- a\n".repeat(MAX_VALUES + 1)).contains("more than 200000 values"));
        assert!(first(&" ".repeat(10 << 20)).contains("expected at most"));
    }

    #[test]
    fn all_duplicate_keys_are_listed() {
        let problems = tree("a: 1\n\"a\": 2\nb: {c: 1, c: 2}\n").unwrap_err();
        let places: Vec<_> = problems.all().iter().map(|p| (p.position.line, p.position.column)).collect();
        assert_eq!(places, [(2, 1), (3, 11)]);
        assert!(problems.breaks_schema());
    }

    #[test]
    fn what_is_no_single_document_is_refused() {
        assert!(first("a: 1\n---\nb: 2\n").contains("a second document begins here"));
        assert!(first("").contains("the document is empty"));
        assert!(first("# nothing\n").contains("the document is empty"));
        assert!(first("? [1]\n: 2\n").contains("a list as a key"));
        assert!(first("a: !mine 1\n").contains("the tag \"!mine\" is not understood"));
        assert!(first("a: .inf\n").contains("JSON does not have"));
        assert!(first("a: {b: [1, !mine 2]}\n").contains(": a.b[1]: the tag"));
        assert!(first("a: [1\n").starts_with("2:1: a[1]: not valid YAML"));
    }
}
