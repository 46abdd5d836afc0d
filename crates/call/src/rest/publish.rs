//! What of a description is published: the input and the output of each operation as one schema each.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::media::Kind;
use super::model::{AnswerSpec, Content, Parameter, RequestBody, Route, Statuses};
use super::read::Head;
use super::schema::{Closure, Definition, Schema};
use crate::contract::{Operation, Streaming};

/// Bytes of memory for the schemas of all operations of one description together (96 MiB), and of one at most (8 MiB).
const MEMORY: usize = 96 << 20;
const MEMORY_OF_ONE: usize = 8 << 20;
/// Bytes that each schema may have, however many there are.
const LEAST: usize = 2 << 10;
/// Definitions that are visited to find out how large schemas are.
const VISITS: usize = 2_000_000;
/// Media types in an `Accept`.
const MAX_ACCEPTED: usize = 50;

/// Bytes in JSON.
pub(super) fn bytes() -> Value {
    json!({
        "type": "object",
        "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
        "required": ["base64"],
        "additionalProperties": false,
    })
}

/// What a body of this media type is in JSON.
pub(super) fn body(content: &Content) -> Schema {
    let described = || content.schema.clone().unwrap_or_else(|| Schema::own(json!({})));
    match content.media.kind() {
        Kind::Json => described(),
        Kind::Form | Kind::Multipart => {
            content.schema.clone().unwrap_or_else(|| Schema::own(json!({"type": "object"})))
        }
        Kind::Lines => lines(described()),
        Kind::Events => Schema::own(json!({
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "event": {"type": "string"},
                    "data": {"type": "string"},
                    "id": {"type": "string"},
                    "retry": {"type": "integer"},
                },
                "required": ["data"],
            },
        })),
        Kind::Text => Schema::own(json!({"type": "string"})),
        Kind::Bytes => Schema::own(bytes()),
    }
}

/// Descriptions give the schema of one line, or of all of them as a list.
fn lines(described: Schema) -> Schema {
    if described.value.get("type").is_some_and(|name| name == "array") {
        return described;
    }
    let mut list = Schema::own(json!({"type": "array"}));
    list.value["items"] = list.take(described);
    list
}

/// The schema of an operation's input: its parameters by name, `body`, and `Content-Type` and `Accept` where there is a
/// choice.
pub(super) fn input(parameters: &[Parameter], sent: Option<&RequestBody>, answers: &[AnswerSpec]) -> Schema {
    let mut schema = Schema::own(json!({"type": "object", "additionalProperties": false}));
    let (mut properties, mut required) = (Map::new(), vec![]);
    for parameter in parameters {
        let value = schema.take(parameter.schema.clone());
        properties.insert(parameter.key.clone(), described(value, &parameter.description));
        if parameter.required {
            required.push(Value::from(parameter.key.as_str()));
        }
    }
    let accepted: Vec<&Content> = successes(answers).flat_map(|answer| &answer.contents).collect();
    if let Some(choice) = choice(&accepted) {
        properties.insert("Accept".to_owned(), described(choice, "media type of the answer that is wanted"));
    }
    let mut rules = vec![];
    if let Some(sent) = sent {
        if sent.required {
            required.push("body".into());
        }
        let contents: Vec<&Content> = sent.contents.iter().collect();
        let value = match (choice(&contents), contents.as_slice()) {
            (None, [only]) => schema.take(body(only)),
            (None, _) => json!({}),
            (Some(choice), _) => {
                properties.insert("Content-Type".to_owned(), described(choice, "media type of the body"));
                rules = contents
                    .iter()
                    .enumerate()
                    .map(|(at, content)| rule(&mut schema, content, at == 0))
                    .collect();
                json!({})
            }
        };
        properties.insert("body".to_owned(), described(value, &sent.description));
        // Without a body no type of it is told, and without a usual type one has to be.
        if contents.first().is_some_and(|content| content.media.usual().is_none()) {
            schema.value["dependentRequired"] = json!({"body": ["Content-Type"]});
        }
    }
    schema.value["properties"] = properties.into();
    if !required.is_empty() {
        schema.value["required"] = required.into();
    }
    if !rules.is_empty() {
        schema.value["allOf"] = rules.into();
    }
    schema
}

/// What `Content-Type` may be, where there is a choice.
fn choice(contents: &[&Content]) -> Option<Value> {
    if contents.iter().any(|content| content.media.is_range()) {
        return Some(json!({"type": "string", "pattern": "^[^/\\s]+/[^/\\s]+"}));
    }
    let mut names: Vec<&str> = contents.iter().map(|content| content.media.text.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    (names.len() > 1).then(|| json!({ "enum": names }))
}

/// If the body is of this media type, it fits this schema.
fn rule(schema: &mut Schema, content: &Content, usual: bool) -> Value {
    let media = &content.media;
    let named = if media.is_range() {
        let literal = |part: &str| part.replace('.', "\\.").replace('+', "\\+").replace('*', "[^/;]*");
        json!({ "pattern": format!("^{}(;|$)", literal(&media.essence)) })
    } else {
        json!({ "const": media.text })
    };
    let mut condition = json!({"properties": {"Content-Type": named}});
    if !usual {
        condition["required"] = json!(["Content-Type"]);
    }
    let value = schema.take(body(content));
    json!({"if": condition, "then": {"properties": {"body": value}}})
}

fn described(mut value: Value, description: &str) -> Value {
    if !description.is_empty()
        && let Value::Object(entries) = &mut value
        && !entries.contains_key("description")
    {
        entries.insert("description".to_owned(), description.into());
    }
    value
}

/// Answers that are outputs: those of 2xx, else the one for everything else, else redirections.
fn successes(answers: &[AnswerSpec]) -> impl Iterator<Item = &AnswerSpec> {
    let is = |status: Statuses, hundred: u16| match status {
        Statuses::Exact(exact) => exact / 100 == hundred,
        Statuses::Range(range) => range == hundred,
        Statuses::Default => false,
    };
    let twos = answers.iter().any(|answer| is(answer.status, 2));
    let default = answers.iter().any(|answer| answer.status == Statuses::Default);
    answers.iter().filter(move |answer| {
        if twos {
            is(answer.status, 2)
        } else if default {
            answer.status == Statuses::Default
        } else {
            answer.status.may_succeed()
        }
    })
}

/// The schema of an operation's output.
pub(super) fn output(method: &Method, answers: &[AnswerSpec]) -> Schema {
    let mut any = Schema::own(json!({}));
    let mut values: Vec<Value> = vec![];
    for answer in successes(answers) {
        let nothing = method == Method::HEAD || matches!(answer.status, Statuses::Exact(204 | 205 | 304));
        let bodies = if nothing {
            vec![Schema::own(json!({"type": "null"}))]
        } else if answer.contents.is_empty() {
            vec![Schema::own(json!({}))]
        } else {
            answer.contents.iter().map(body).collect()
        };
        for body in bodies {
            let value = any.take(body);
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    any.value = match values.len() {
        0 => json!({}),
        1 => values.remove(0),
        _ => json!({ "anyOf": values }),
    };
    any
}

/// Whether the output is a list of messages, because nothing else can be answered.
pub(super) fn streams(answers: &[AnswerSpec]) -> bool {
    let mut contents = successes(answers).flat_map(|answer| &answer.contents).peekable();
    contents.peek().is_some()
        && contents.all(|content| matches!(content.media.kind(), Kind::Lines | Kind::Events))
}

/// `Accept` (RFC 9110 §12.5.1): what outputs may be, JSON first, then with less weight what refusals may be.
pub(super) fn accept(answers: &[AnswerSpec]) -> String {
    let mut wanted: Vec<(&str, Kind)> = successes(answers)
        .flat_map(|answer| &answer.contents)
        .map(|one| (one.media.text.as_str(), one.media.kind()))
        .collect();
    wanted.sort_by_key(|(_, kind)| *kind != Kind::Json);
    if wanted.is_empty() {
        return "*/*".to_owned();
    }
    let mut parts: Vec<String> = vec![];
    let others = answers.iter().flat_map(|answer| &answer.contents).map(|one| one.media.text.as_str());
    let refusals = others.filter(|text| !wanted.iter().any(|(known, _)| known == text));
    let refusals = refusals.map(|text| format!("{text};q=0.5"));
    for part in wanted.iter().map(|(text, _)| (*text).to_owned()).chain(refusals) {
        if parts.len() < MAX_ACCEPTED && !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(", ")
}

/// Operations as they are published. Where the schemas of all would take too much memory, what the larger ones need is
/// left out from far to near; it is still checked.
pub(super) fn operations(definitions: &[Definition], read: &[(Head, Route)]) -> Vec<Operation> {
    let mut visits = 0;
    let roots = read.iter().flat_map(|(head, route)| [&route.input, &head.output]);
    let sizes: Vec<usize> = roots
        .map(|root| {
            if visits > VISITS {
                return LEAST;
            }
            let closure = Closure::of(definitions, root, MEMORY_OF_ONE);
            visits += 1 + closure.numbers.len();
            if closure.whole { closure.memory } else { MEMORY_OF_ONE }
        })
        .collect();
    // Too many to look at each: equal shares.
    let equal = MEMORY / (2 * read.len().max(1));
    let cap = if visits > VISITS { equal.max(LEAST) } else { share(sizes, MEMORY) };
    let published = |root: &Schema| Closure::of(definitions, root, cap).join(definitions, root);
    let operation = |(head, route): &(Head, Route)| Operation {
        name: head.name.clone(),
        path: head.path.clone(),
        summary: head.summary.clone(),
        input: published(&route.input),
        output: published(&head.output),
        streaming: if streams(&route.answers) { Streaming::Outputs } else { Streaming::None },
        // RFC 9110 §9.2.2: idempotent methods.
        repeatable: route.method.is_idempotent(),
        deprecated: head.deprecated,
    };
    read.iter().map(operation).collect()
}

/// The largest size that each may have so that all fit, where smaller ones leave their share to larger ones.
fn share(mut sizes: Vec<usize>, memory: usize) -> usize {
    sizes.sort_unstable();
    let mut left = memory;
    for (index, size) in sizes.iter().enumerate() {
        let each = left / (sizes.len() - index);
        if *size > each {
            return each.max(LEAST);
        }
        left -= size;
    }
    MEMORY_OF_ONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::media::Media;

    fn answer(status: &str, media: &[&str]) -> AnswerSpec {
        let content = |text: &&str| Content {
            media: Media::parse(text).unwrap(),
            schema: None,
            parts: std::collections::BTreeMap::new(),
        };
        AnswerSpec { status: Statuses::parse(status).unwrap(), contents: media.iter().map(content).collect() }
    }

    #[test]
    fn what_is_accepted_is_json_first_and_refusals_last() {
        let answers = [
            answer("200", &["text/csv", "application/json"]),
            answer("default", &["application/problem+json", "application/json"]),
        ];
        assert_eq!(accept(&answers), "application/json, text/csv, application/problem+json;q=0.5");
        assert_eq!(accept(&[answer("204", &[])]), "*/*");
        assert_eq!(accept(&answers[1..]), "application/problem+json, application/json");
    }

    #[test]
    fn outputs_are_those_of_successes() {
        let answers = [answer("200", &["text/csv"]), answer("204", &[]), answer("default", &["image/png"])];
        let output = output(&Method::GET, &answers).value;
        assert_eq!(output, json!({"anyOf": [{"type": "string"}, {"type": "null"}]}));
        assert!(streams(&[answer("200", &["application/x-ndjson"])]));
        assert!(!streams(&answers) && !streams(&[]));
    }

    #[test]
    fn small_schemas_leave_their_share_to_large_ones() {
        assert_eq!(share(vec![1000, 9000, 90_000], 30_000), 20_000);
        assert_eq!(share(vec![1, 2, 3], 30_000), MEMORY_OF_ONE);
        assert_eq!(share(vec![], 1), MEMORY_OF_ONE);
        assert_eq!(share(vec![MEMORY_OF_ONE; 1000], 10), LEAST);
    }
}
