//! Operations: which elements their messages have, and what JSON stands for them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::json_schema::Definitions;
use super::names::QName;
use super::sources::At;
use super::wsdl::{Described, DescribedMessage, Part, PartType};
use super::xsd::{Compiled, Compiler, Content, ElementId, Failure, Schemas, Term, TypeId, TypeKind, Variety};

/// An operation that can be called.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) action: String,
    pub(crate) wsa_action: String,
    pub(crate) input: Message,
    /// `None`: nothing is answered.
    pub(crate) output: Option<Message>,
    /// Elements that faults may have in their details, or in headers.
    pub(crate) faults: Vec<ElementId>,
}

/// A message.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Elements within the body.
    pub(crate) body: Vec<ElementId>,
    pub(crate) headers: Vec<ElementId>,
}

impl Operation {
    /// Asks for all types that an operation needs.
    ///
    /// # Errors
    /// When one of them is not declared, or the style is not supported.
    pub(crate) fn compile(compiler: &mut Compiler<'_>, described: Described) -> Compiled<Self> {
        let messages = described.messages?;
        let (rpc, place) = (described.rpc, described.place);
        let style = |name: String| rpc.then_some((name, place));
        let input = message(compiler, &messages.input, style(described.local.clone()))?;
        let response = style(format!("{}Response", described.local));
        let output = match &messages.output {
            Some(output) => Some(message(compiler, output, response)?),
            None => None,
        };
        let mut faults = vec![];
        for part in &messages.faults {
            // A fault's part must be an element (WSDL 1.1, 3.6); another one is read as XML of no known type.
            if let PartType::Element(name) = &part.ty {
                faults.push(compiler.element_at(part.at, name)?);
            }
        }
        Ok(Self {
            name: described.name,
            action: described.action,
            wsa_action: described.wsa_action,
            input,
            output,
            faults,
        })
    }

    /// All elements of its messages.
    pub(crate) fn elements(&self) -> Vec<ElementId> {
        let messages = std::iter::once(&self.input).chain(&self.output);
        let of = |message: &Message| [message.body.clone(), message.headers.clone()].concat();
        messages.flat_map(of).chain(self.faults.iter().copied()).collect()
    }
}

fn message(
    compiler: &mut Compiler<'_>,
    described: &DescribedMessage,
    rpc: Option<(String, At)>,
) -> Compiled<Message> {
    let mut headers = vec![];
    for header in &described.headers {
        if let PartType::Element(name) = &header.part.ty {
            let element = compiler.element_at(header.part.at, name)?;
            if !headers.contains(&element) {
                headers.push(element);
            }
        }
    }
    let body = match rpc {
        Some((name, at)) => {
            let mut parts = vec![];
            for part in &described.body {
                let PartType::Type(ty) = &part.ty else {
                    return Err(unsupported(compiler, part, "a part of an rpc message needs a `type`"));
                };
                parts.push((part.name.clone(), compiler.type_at(part.at, ty)?));
            }
            let name = QName::new(described.namespace.as_str(), name);
            vec![compiler.wrapper(at, name, &parts)?]
        }
        None => {
            let mut elements = vec![];
            for part in &described.body {
                let PartType::Element(name) = &part.ty else {
                    return Err(unsupported(
                        compiler,
                        part,
                        "a part of a document message needs an `element`",
                    ));
                };
                let element = compiler.element_at(part.at, name)?;
                if elements.contains(&element) {
                    return Err(unsupported(compiler, part, "a part with the element of another part"));
                }
                elements.push(element);
            }
            elements
        }
    };
    Ok(Message { body, headers })
}

fn unsupported(compiler: &Compiler<'_>, part: &Part, message: &str) -> Failure {
    let place = compiler.place(part.at);
    Failure {
        place,
        message: format!("{message}; that of part `{}` is not supported", part.name),
        unsupported: true,
    }
}

impl Message {
    /// The key of each element of the body: its local name, with its namespace where two have the same.
    pub(crate) fn keys(&self, schemas: &Schemas) -> Vec<String> {
        keys(schemas, &self.body)
    }

    pub(crate) fn header_keys(&self, schemas: &Schemas) -> Vec<String> {
        keys(schemas, &self.headers)
    }

    /// JSON Schema of the message, and its size.
    pub(crate) fn schema(&self, schemas: &Schemas, input: bool) -> (Value, usize) {
        let mut definitions = Definitions::new(schemas);
        let body = match self.body[..] {
            [only] => definitions.root(only),
            _ => {
                let (mut properties, mut required) = (Map::new(), vec![]);
                for (key, element) in self.keys(schemas).into_iter().zip(&self.body) {
                    properties.insert(key.clone(), definitions.element(*element));
                    required.push(key);
                }
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }
        };
        if !input && self.headers.is_empty() {
            return definitions.finish(body);
        }
        let mut properties = Map::new();
        for (key, element) in self.header_keys(schemas).into_iter().zip(&self.headers) {
            properties.insert(key, definitions.element(*element));
        }
        if input {
            properties.insert("#any".to_owned(), json!({"type": "array", "items": {"type": "object"}}));
        }
        let headers = json!({"type": "object", "properties": properties, "additionalProperties": false});
        definitions.finish(with_headers(body, headers))
    }
}

/// The schema of a body that may have `$headers` beside it.
fn with_headers(mut body: Value, headers: Value) -> Value {
    if body.get("properties").is_some() {
        body["properties"]["$headers"] = headers;
        return body;
    }
    let beside = json!({
        "type": "object",
        "properties": {"$headers": headers, "$body": body},
        "required": ["$body"],
        "additionalProperties": false,
    });
    json!({"anyOf": [body, beside]})
}

fn keys(schemas: &Schemas, elements: &[ElementId]) -> Vec<String> {
    let names: Vec<&QName> = elements.iter().map(|id| &schemas.element(*id).name).collect();
    names
        .iter()
        .map(|name| {
            let alone = names.iter().filter(|other| other.local == name.local).count() == 1;
            if alone { name.local.to_string() } else { name.to_string() }
        })
        .collect()
}

/// The first type that these elements need and that cannot be used.
pub(crate) fn first_failure(schemas: &Schemas, elements: &[ElementId]) -> Option<Failure> {
    let mut seen: HashSet<TypeId> = HashSet::new();
    let mut queue: Vec<TypeId> = elements.iter().map(|id| schemas.element(*id).ty).collect();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let ty = schemas.ty(id);
        // Types that are derived and not supported are not offered; those that are wrong are told.
        queue.extend(ty.derived.iter().filter(
            |id| !matches!(&schemas.ty(**id).kind, TypeKind::Failed(failure) if failure.unsupported),
        ));
        match &ty.kind {
            TypeKind::Failed(failure) => return Some(failure.clone()),
            TypeKind::Any | TypeKind::Unread => {}
            TypeKind::Simple(simple) => match &simple.variety {
                Variety::Atomic(_) => {}
                Variety::List(item) => queue.push(*item),
                Variety::Union(members) => queue.extend(members),
            },
            TypeKind::Complex(complex) => {
                queue.extend(complex.attributes.iter().map(|attribute| attribute.ty));
                match &complex.content {
                    Content::Empty => {}
                    Content::Text(text) => queue.push(*text),
                    Content::Elements { particle, .. } => {
                        needed(schemas, &particle.term, &mut queue);
                    }
                }
            }
        }
    }
    None
}

fn needed(schemas: &Schemas, term: &Term, queue: &mut Vec<TypeId>) {
    match term {
        Term::Element(id, _) => {
            let element = schemas.element(*id);
            queue.push(element.ty);
            queue.extend(element.members.iter().map(|id| schemas.element(*id).ty));
        }
        Term::Any(_) => {}
        Term::Sequence(list) | Term::Choice(list) | Term::All(list) => {
            list.iter().for_each(|part| needed(schemas, &part.term, queue));
        }
    }
}
