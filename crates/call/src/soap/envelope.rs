//! Envelopes: what goes around a message, and what comes back in one.

use serde_json::{Map, Value};

use super::addressing;
use super::decode::{Decoder, wrong};
use super::encode::{Encoder, Path, Refusal};
use super::generic;
use super::mime::Attachments;
use super::names::{ENVELOPE11, ENVELOPE12, WSA, WSSE, XSI, listed, short};
use super::operation::{Message, Operation};
use super::security::Security;
use super::values::told;
use super::wsdl::Version;
use super::xml::{Element, Writer};
use super::xsd::Schemas;
use crate::error::CallError;

/// What stands in the header of a request beside what the input says.
#[derive(Debug)]
pub(crate) struct Extras<'a> {
    pub(crate) security: Option<(&'a Security, [u8; 16])>,
    /// The address and the name of the message.
    pub(crate) addressing: Option<(&'a str, &'a str)>,
}

/// The text of a request.
///
/// # Errors
/// What is wrong with the input.
pub(crate) fn write(
    schemas: &Schemas,
    version: Version,
    operation: &Operation,
    input: &Value,
    extras: &Extras<'_>,
) -> Result<String, Refusal> {
    let mut encoder = Encoder { schemas, writer: Writer::new(), path: Path::default() };
    let (headers, body, nested) = split(input, &encoder.path)?;
    let envelope = version.envelope();
    encoder.writer.start_as("soap", envelope, "Envelope");
    encoder.writer.also("xsi", XSI);
    if headers.is_some() || extras.security.is_some() || extras.addressing.is_some() {
        encoder.writer.start_as("soap", envelope, "Header");
        if let Some((security, nonce)) = extras.security {
            security.write(&mut encoder.writer, version, nonce);
        }
        if let Some((to, id)) = extras.addressing {
            let one_way = operation.output.is_none();
            addressing::write(&mut encoder.writer, &operation.wsa_action, to, id, one_way);
        }
        if let Some(headers) = headers {
            encoder.path.push("$headers");
            write_headers(&mut encoder, &operation.input, headers)?;
            encoder.path.pop();
        }
        encoder.writer.end();
    }
    encoder.writer.start_as("soap", envelope, "Body");
    if nested {
        encoder.path.push("$body");
    }
    write_body(&mut encoder, &operation.input, &body)?;
    encoder.writer.end();
    encoder.writer.end();
    Ok(encoder.writer.finish())
}

/// Takes `$headers` and `$body` out of an input. The last value tells whether the body stood in `$body`.
fn split<'v>(
    input: &'v Value,
    path: &Path,
) -> Result<(Option<&'v Value>, std::borrow::Cow<'v, Value>, bool), Refusal> {
    use std::borrow::Cow;
    let Value::Object(object) = input else { return Ok((None, Cow::Borrowed(input), false)) };
    let headers = object.get("$headers");
    if let Some(body) = object.get("$body") {
        if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "$headers" | "$body")) {
            let mut path = path.clone();
            path.push(key);
            return Err(path.refuse("nothing but `$headers` stands beside `$body`"));
        }
        return Ok((headers, Cow::Borrowed(body), true));
    }
    if headers.is_none() {
        return Ok((None, Cow::Borrowed(input), false));
    }
    let mut rest = object.clone();
    rest.remove("$headers");
    Ok((headers, Cow::Owned(Value::Object(rest)), false))
}

fn write_headers(encoder: &mut Encoder<'_>, message: &Message, headers: &Value) -> Result<(), Refusal> {
    let Value::Object(headers) = headers else {
        return Err(encoder.path.refuse(format!("expected an object of headers, found {}", told(headers))));
    };
    let keys = message.header_keys(encoder.schemas);
    for (key, value) in headers {
        encoder.path.push(key);
        if key == "#any" {
            let Value::Array(list) = value else {
                return Err(encoder
                    .path
                    .refuse(format!("expected a list of elements, found {}", told(value))));
            };
            for (number, block) in list.iter().enumerate() {
                encoder.path.push(&number.to_string());
                generic::write(block, &mut encoder.path, &mut encoder.writer)?;
                encoder.path.pop();
            }
        } else {
            let Some(number) = keys.iter().position(|known| known == key) else {
                let known = listed(keys.iter().map(String::as_str).chain(["#any"]));
                return Err(encoder.path.refuse(format!("there is no such header; known: {known}")));
            };
            encoder.element(message.headers[number], value)?;
        }
        encoder.path.pop();
    }
    Ok(())
}

fn write_body(encoder: &mut Encoder<'_>, message: &Message, body: &Value) -> Result<(), Refusal> {
    if let [only] = message.body[..] {
        return encoder.element(only, body);
    }
    let none = Map::new();
    let object = match body {
        Value::Object(object) => object,
        Value::Null if message.body.is_empty() => &none,
        other => return Err(encoder.path.refuse(format!("expected an object, found {}", told(other)))),
    };
    let keys = message.keys(encoder.schemas);
    if let Some(key) = object.keys().find(|key| !keys.contains(key)) {
        encoder.path.push(key);
        let known = listed(keys.iter().map(String::as_str));
        return Err(encoder.path.refuse(format!("`{}` is not known here; known: {known}", short(key))));
    }
    for (key, element) in keys.iter().zip(&message.body) {
        let Some(value) = object.get(key) else {
            return Err(encoder.path.refuse(format!("`{key}` is missing")));
        };
        encoder.path.push(key);
        encoder.element(*element, value)?;
        encoder.path.pop();
    }
    Ok(())
}

/// The parts of an envelope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'t> {
    pub(crate) version: Version,
    pub(crate) header: Option<Element<'t>>,
    pub(crate) body: Element<'t>,
}

impl<'t> Envelope<'t> {
    /// Finds header and body.
    ///
    /// # Errors
    /// `BadAnswer` when it is no envelope.
    pub(crate) fn of(root: Element<'t>) -> Result<Self, CallError> {
        let version = match root.namespace() {
            ENVELOPE11 => Version::V11,
            ENVELOPE12 => Version::V12,
            other => {
                let found = format!("`{}` of namespace `{}`", short(root.local()), short(other));
                return Err(wrong(root, format!("expected an envelope of SOAP 1.1 or 1.2, found {found}")));
            }
        };
        if root.local() != "Envelope" {
            return Err(wrong(root, format!("expected `Envelope`, found `{}`", short(root.local()))));
        }
        let mut children = root.children().peekable();
        let header = children.next_if(|child| child.is(root.namespace(), "Header"));
        match children.next() {
            Some(body) if body.is(root.namespace(), "Body") => Ok(Self { version, header, body }),
            Some(other) => {
                Err(wrong(other, format!("unexpected element `{}`; expected `Body`", short(other.local()))))
            }
            None => Err(wrong(root, "expected `Body` in `Envelope`, which ends")),
        }
    }

    /// The fault, where there is one.
    pub(crate) fn fault(self) -> Option<Element<'t>> {
        self.body.children().next().filter(|child| child.is(self.version.envelope(), "Fault"))
    }

    /// Refuses header blocks that have to be understood and are not (SOAP 1.2 Part 1, 2.4).
    pub(crate) fn understood(self, schemas: &Schemas, output: Option<&Message>) -> Result<(), CallError> {
        for block in self.header.into_iter().flat_map(Element::children) {
            let attribute = |local: &str| block.attribute_of(self.version.envelope(), local);
            let must = attribute("mustUnderstand").is_some_and(|must| matches!(must.trim(), "1" | "true"));
            let known = matches!(block.namespace(), WSA | WSSE)
                || output.is_some_and(|output| {
                    output.headers.iter().any(|id| schemas.element(*id).name == block.name())
                });
            let role = attribute("role").or_else(|| attribute("actor")).unwrap_or_default().trim();
            let ours = role.is_empty() || role.ends_with("/next") || role.ends_with("/ultimateReceiver");
            if must && ours && !known {
                return Err(wrong(
                    block,
                    format!("header `{}` has to be understood and is not known", short(block.local())),
                ));
            }
        }
        Ok(())
    }
}

/// The output of an answer, with the headers that the document declares in `$headers`.
///
/// # Errors
/// `BadAnswer`.
pub(crate) fn read(
    schemas: &Schemas,
    output: &Message,
    envelope: Envelope<'_>,
    attachments: &Attachments,
) -> Result<Value, CallError> {
    let decoder = Decoder { schemas, attachments };
    let body = body_of(decoder, output, envelope.body)?;
    let mut headers = Map::new();
    for (key, id) in output.header_keys(schemas).into_iter().zip(&output.headers) {
        let name = &schemas.element(*id).name;
        let block = envelope.header.and_then(|header| header.child(&name.namespace, &name.local));
        if let Some(block) = block {
            headers.insert(key, decoder.element(*id, block)?);
        }
    }
    if headers.is_empty() {
        return Ok(body);
    }
    Ok(match body {
        Value::Object(mut object) => {
            object.insert("$headers".to_owned(), headers.into());
            Value::Object(object)
        }
        other => {
            let mut object = Map::new();
            object.insert("$headers".to_owned(), headers.into());
            object.insert("$body".to_owned(), other);
            Value::Object(object)
        }
    })
}

fn body_of(decoder: Decoder<'_>, output: &Message, body: Element<'_>) -> Result<Value, CallError> {
    let schemas = decoder.schemas;
    let mut children = body.children();
    let mut object = Map::new();
    let keys = output.keys(schemas);
    for (key, id) in keys.into_iter().zip(&output.body) {
        let name = &schemas.element(*id).name;
        let Some(child) = children.next() else {
            return Err(wrong(body, format!("expected `{}` in `Body`, which ends", name.local)));
        };
        if child.name() != *name {
            let found = short(&child.name().to_string());
            return Err(wrong(child, format!("unexpected element `{found}`; expected `{name}`")));
        }
        object.insert(key, decoder.element(*id, child)?);
    }
    if let Some(more) = children.next() {
        return Err(wrong(
            more,
            format!("unexpected element `{}`; expected nothing more", short(more.local())),
        ));
    }
    if output.body.len() == 1 {
        return Ok(object.into_iter().next().map_or(Value::Null, |(_, value)| value));
    }
    Ok(Value::Object(object))
}
