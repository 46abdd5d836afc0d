//! The wire to JSON, by the plan of its type.
//!
//! Only what is ordinary and right is read. For anything else the answer is `None`, and the library reads the message
//! instead, which knows the rest: groups, extensions, messages and choices that come in parts, and what is wrong.

use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType, decode_key, decode_varint};
use prost_reflect::Kind;
use serde_json::{Map, Value};

use super::plan::{Content, Field, Form, Message, Plans, Shape};
use super::{base64, known, wire_type, write};

/// Reads messages of one contract.
pub(super) struct Decoder<'a> {
    pub(super) plans: &'a Plans,
    /// Fields without presence are written although they have their default value.
    pub(super) defaults: bool,
}

impl Decoder<'_> {
    /// The JSON of the message of the type in this place, nested at most `depth` deep.
    pub(super) fn message(&self, place: usize, bytes: &[u8], depth: usize) -> Option<Value> {
        let plan = self.plans.at(place);
        let depth = depth.checked_sub(1)?;
        match plan.form {
            Form::Object => self.object(plan, bytes, depth).map(Value::Object),
            Form::Timestamp => {
                let (seconds, nanos) = pair(bytes)?;
                known::time_text(seconds, nanos.into()).ok().map(Value::String)
            }
            Form::Duration => {
                let (seconds, nanos) = pair(bytes)?;
                known::duration_text(seconds, nanos.into()).ok().map(Value::String)
            }
            Form::Wrapper => wrapper(plan, bytes),
            Form::Library => None,
        }
    }

    fn object(&self, plan: &Message, mut bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        let mut choices = 0;
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).ok()?;
            let Some(field) = plan.numbered(number) else {
                skip(number, wire, &mut bytes).filter(|()| !plan.is_extended)?;
                continue;
            };
            if choices & field.choice != 0 && !object.contains_key(&field.name) {
                return None;
            }
            choices |= field.choice;
            match &field.shape {
                Shape::One => self.one(field, wire, &mut bytes, depth, &mut object)?,
                Shape::List { .. } => self.list(field, wire, &mut bytes, depth, &mut object)?,
                Shape::Map { .. } => self.map(field, wire, &mut bytes, depth, &mut object)?,
            }
        }
        if self.defaults {
            for field in plan.fields.iter().filter(|field| !field.has_presence) {
                if !object.contains_key(&field.name) {
                    object.insert(field.name.clone(), field.default.clone());
                }
            }
        }
        Some(object)
    }

    /// The last one counts; messages in parts are left to the library.
    fn one(
        &self,
        field: &Field,
        wire: WireType,
        bytes: &mut &[u8],
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Option<()> {
        let value = self.content(&field.content, wire, bytes, depth)?;
        if !field.has_presence && value == field.default {
            object.remove(&field.name);
            return Some(());
        }
        let before = object.insert(field.name.clone(), value);
        (before.is_none() || matches!(field.content, Content::Plain(_))).then_some(())
    }

    /// Elements in one value or one by one, whatever the contract says.
    fn list(
        &self,
        field: &Field,
        wire: WireType,
        bytes: &mut &[u8],
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Option<()> {
        let mut all = match object.remove(&field.name) {
            Some(Value::Array(all)) => all,
            _ => vec![],
        };
        match &field.content {
            Content::Plain(kind) if wire == WireType::LengthDelimited && wire_type(kind) != wire => {
                packed(kind, delimited(wire, bytes)?, &mut all)?;
            }
            content => loop {
                all.push(self.content(content, wire, bytes, depth)?);
                if !is_next(field.number, wire, bytes) {
                    break;
                }
            },
        }
        if !all.is_empty() {
            object.insert(field.name.clone(), Value::Array(all));
        }
        Some(())
    }

    fn map(
        &self,
        field: &Field,
        wire: WireType,
        bytes: &mut &[u8],
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Option<()> {
        let mut entries = match object.remove(&field.name) {
            Some(Value::Object(entries)) => entries,
            _ => Map::new(),
        };
        loop {
            let (key, value) = self.entry(field, delimited(wire, bytes)?, depth)?;
            entries.insert(key, value);
            if !is_next(field.number, wire, bytes) {
                break;
            }
        }
        object.insert(field.name.clone(), Value::Object(entries));
        Some(())
    }

    fn entry(&self, field: &Field, mut bytes: &[u8], depth: usize) -> Option<(String, Value)> {
        let Shape::Map { key: kind, default } = &field.shape else { return None };
        let (mut key, mut value) = (None, None);
        while !bytes.is_empty() {
            match decode_key(&mut bytes).ok()? {
                (1, wire) => key = Some(plain(kind, wire, &mut bytes)?),
                // A message in parts.
                (2, _) if value.is_some() && matches!(field.content, Content::Message(_)) => return None,
                (2, wire) => value = Some(self.content(&field.content, wire, &mut bytes, depth)?),
                (number, wire) => skip(number, wire, &mut bytes)?,
            }
        }
        let key = match key {
            None => default.0.clone(),
            Some(Value::String(text)) => text,
            Some(scalar) => scalar.to_string(),
        };
        let value = match (value, &field.content) {
            (Some(value), _) => value,
            (None, Content::Message(place)) => self.message(*place, &[], depth)?,
            (None, _) => default.1.clone(),
        };
        Some((key, value))
    }

    fn content(&self, content: &Content, wire: WireType, bytes: &mut &[u8], depth: usize) -> Option<Value> {
        match content {
            Content::Plain(kind) => plain(kind, wire, bytes),
            Content::Message(place) => self.message(*place, delimited(wire, bytes)?, depth),
            Content::Library => None,
        }
    }
}

/// Takes the key of another element of the same field. Elements follow each other as a rule.
fn is_next(number: u32, wire: WireType, bytes: &mut &[u8]) -> bool {
    let mut ahead = *bytes;
    let is_next = !ahead.is_empty() && decode_key(&mut ahead).is_ok_and(|key| key == (number, wire));
    if is_next {
        *bytes = ahead;
    }
    is_next
}

/// Seconds and nanoseconds.
fn pair(mut bytes: &[u8]) -> Option<(i64, i32)> {
    let (mut seconds, mut nanos) = (0, 0);
    while !bytes.is_empty() {
        match decode_key(&mut bytes).ok()? {
            (1, wire) => seconds = merged(encoding::int64::merge, wire, &mut bytes)?,
            (2, wire) => nanos = merged(encoding::int32::merge, wire, &mut bytes)?,
            (number, wire) => skip(number, wire, &mut bytes)?,
        }
    }
    Some((seconds, nanos))
}

fn wrapper(plan: &Message, mut bytes: &[u8]) -> Option<Value> {
    let field = plan.fields.first()?;
    let Content::Plain(kind) = &field.content else { return None };
    let mut value = None;
    while !bytes.is_empty() {
        match decode_key(&mut bytes).ok()? {
            (1, wire) => value = Some(plain(kind, wire, &mut bytes)?),
            (number, wire) => skip(number, wire, &mut bytes)?,
        }
    }
    // Minus zero is the default too.
    let value = value.filter(|value| field.has_presence || *value != field.default);
    Some(value.unwrap_or_else(|| field.default.clone()))
}

/// Leaves out a field that nobody knows here.
fn skip(number: u32, wire: WireType, bytes: &mut &[u8]) -> Option<()> {
    if wire == WireType::StartGroup {
        return None;
    }
    encoding::skip_field(wire, number, bytes, DecodeContext::default()).ok()
}

fn delimited<'a>(wire: WireType, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    if wire != WireType::LengthDelimited {
        return None;
    }
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (inside, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(inside)
}

fn packed(kind: &Kind, mut bytes: &[u8], to: &mut Vec<Value>) -> Option<()> {
    let wire = wire_type(kind);
    to.reserve(match wire {
        WireType::SixtyFourBit => bytes.len() / 8,
        WireType::ThirtyTwoBit => bytes.len() / 4,
        // Each number ends with such a byte.
        _ => bytes.iter().filter(|byte| **byte < 0x80).count(),
    });
    while !bytes.is_empty() {
        to.push(plain(kind, wire, &mut bytes)?);
    }
    Some(())
}

/// A number, as the library reads it.
fn merged<'a, T: Default>(
    merge: impl FnOnce(WireType, &mut T, &mut &'a [u8], DecodeContext) -> Result<(), DecodeError>,
    wire: WireType,
    bytes: &mut &'a [u8],
) -> Option<T> {
    let mut value = T::default();
    merge(wire, &mut value, bytes, DecodeContext::default()).ok()?;
    Some(value)
}

fn plain(kind: &Kind, wire: WireType, bytes: &mut &[u8]) -> Option<Value> {
    Some(match kind {
        Kind::Bool => Value::Bool(merged(encoding::bool::merge, wire, bytes)?),
        Kind::Int32 => Value::from(merged(encoding::int32::merge, wire, bytes)?),
        Kind::Sint32 => Value::from(merged(encoding::sint32::merge, wire, bytes)?),
        Kind::Sfixed32 => Value::from(merged(encoding::sfixed32::merge, wire, bytes)?),
        Kind::Uint32 => Value::from(merged(encoding::uint32::merge, wire, bytes)?),
        Kind::Fixed32 => Value::from(merged(encoding::fixed32::merge, wire, bytes)?),
        Kind::Int64 => Value::String(merged(encoding::int64::merge, wire, bytes)?.to_string()),
        Kind::Sint64 => Value::String(merged(encoding::sint64::merge, wire, bytes)?.to_string()),
        Kind::Sfixed64 => Value::String(merged(encoding::sfixed64::merge, wire, bytes)?.to_string()),
        Kind::Uint64 => Value::String(merged(encoding::uint64::merge, wire, bytes)?.to_string()),
        Kind::Fixed64 => Value::String(merged(encoding::fixed64::merge, wire, bytes)?.to_string()),
        Kind::Float => write::float(merged(encoding::float::merge, wire, bytes)?),
        Kind::Double => write::double(merged(encoding::double::merge, wire, bytes)?),
        Kind::String => Value::String(std::str::from_utf8(delimited(wire, bytes)?).ok()?.to_owned()),
        Kind::Bytes => Value::String(base64(delimited(wire, bytes)?)),
        Kind::Enum(_) => write::name(merged(encoding::int32::merge, wire, bytes)?, kind),
        Kind::Message(_) => return None,
    })
}
