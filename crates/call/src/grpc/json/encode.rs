//! JSON to the wire, by the plan of its type.
//!
//! Only what is ordinary and right is written. For anything else the answer is `None`, and the library's message is made
//! instead ([`super::read`]), which knows the rest and says what is wrong and where.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{Kind, MapKey};
use serde_json::{Map, Value};

use super::plan::{Content, Field, Form, Message, Plans, Shape};
use super::{known, read, wire_type};
use crate::grpc::metadata::from_base64;

/// Appends the message of the type in this place. `depth` is how deep the JSON may be nested.
pub(super) fn message(
    plans: &Plans,
    place: usize,
    value: &Value,
    depth: usize,
    to: &mut Vec<u8>,
) -> Option<()> {
    let plan = plans.at(place);
    match plan.form {
        Form::Object => object(plans, plan, value.as_object()?, depth.checked_sub(1)?, to),
        Form::Timestamp => pair(known::timestamp(value).ok()?, to),
        Form::Duration => pair(known::duration(value).ok()?, to),
        Form::Wrapper => one(plans, plan.fields.first()?, value, depth, to),
        Form::Library => None,
    }
}

fn object(
    plans: &Plans,
    plan: &Message,
    object: &Map<String, Value>,
    depth: usize,
    to: &mut Vec<u8>,
) -> Option<()> {
    let (mut required, mut choices) = (0, 0);
    for (name, value) in object {
        let field = plan.named(name)?;
        if matches!(field.content, Content::Library) {
            return None;
        }
        if value.is_null() {
            continue;
        }
        let is_given_by_both_names = field.name != *name && object.contains_key(&field.name);
        if is_given_by_both_names || choices & field.choice != 0 {
            return None;
        }
        choices |= field.choice;
        required += usize::from(field.is_required);
        self::field(plans, field, value, depth, to)?;
    }
    (required == plan.required).then_some(())
}

/// Seconds and nanoseconds.
fn pair((seconds, nanos): (i64, i32), to: &mut Vec<u8>) -> Option<()> {
    if seconds != 0 {
        prost::encoding::int64::encode(1, &seconds, to);
    }
    if nanos != 0 {
        prost::encoding::int32::encode(2, &nanos, to);
    }
    Some(())
}

fn field(plans: &Plans, field: &Field, value: &Value, depth: usize, to: &mut Vec<u8>) -> Option<()> {
    match &field.shape {
        Shape::One => one(plans, field, value, depth, to),
        Shape::List { is_packed: true } => {
            let (Content::Plain(kind), Value::Array(all)) = (&field.content, value) else { return None };
            if all.is_empty() {
                return Some(());
            }
            encode_key(field.number, WireType::LengthDelimited, to);
            delimited(to, |to| all.iter().try_for_each(|value| plain(kind, value, to)))
        }
        Shape::List { is_packed: false } => value.as_array()?.iter().try_for_each(|value| {
            encode_key(field.number, content_type(&field.content), to);
            content(plans, &field.content, value, depth, to)
        }),
        Shape::Map { key: kind, .. } => value.as_object()?.iter().try_for_each(|(name, value)| {
            encode_key(field.number, WireType::LengthDelimited, to);
            delimited(to, |to| {
                encode_key(1, wire_type(kind), to);
                key(kind, name, to)?;
                encode_key(2, content_type(&field.content), to);
                content(plans, &field.content, value, depth, to)
            })
        }),
    }
}

/// A field that is there once; nothing where it has its default value and nobody could tell that it was given.
fn one(plans: &Plans, field: &Field, value: &Value, depth: usize, to: &mut Vec<u8>) -> Option<()> {
    let start = to.len();
    encode_key(field.number, content_type(&field.content), to);
    let inside = to.len();
    content(plans, &field.content, value, depth, to)?;
    if !field.has_presence && is_zero(&field.content, &to[inside..]) {
        to.truncate(start);
    }
    Some(())
}

/// Whether these bytes are zero, nothing or false. Minus zero is zero.
fn is_zero(content: &Content, bytes: &[u8]) -> bool {
    match (content, bytes) {
        (Content::Plain(Kind::Double | Kind::Float), [rest @ .., last]) => {
            last & 0x7f == 0 && rest.iter().all(|byte| *byte == 0)
        }
        _ => bytes.iter().all(|byte| *byte == 0),
    }
}

fn content_type(content: &Content) -> WireType {
    match content {
        Content::Plain(kind) => wire_type(kind),
        Content::Message(_) | Content::Library => WireType::LengthDelimited,
    }
}

fn content(plans: &Plans, content: &Content, value: &Value, depth: usize, to: &mut Vec<u8>) -> Option<()> {
    match content {
        Content::Plain(kind) => plain(kind, value, to),
        Content::Message(place) => delimited(to, |to| message(plans, *place, value, depth, to)),
        Content::Library => None,
    }
}

/// Writes something behind its length. One byte is kept for that; behind a longer length, what was written moves.
fn delimited(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let at = to.len();
    to.push(0);
    write(to)?;
    let length = to.len() - at - 1;
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => to[at] = short,
        _ => {
            let mut long = Vec::with_capacity(10);
            encode_varint(length as u64, &mut long);
            to.splice(at..=at, long);
        }
    }
    Some(())
}

fn key(kind: &Kind, name: &str, to: &mut Vec<u8>) -> Option<()> {
    if *kind == Kind::String {
        text(name.as_bytes(), to);
        return Some(());
    }
    match read::key(kind, name).ok()? {
        MapKey::Bool(value) => to.push(value.into()),
        MapKey::I32(value) => plain(kind, &Value::from(value), to)?,
        MapKey::I64(value) => plain(kind, &Value::from(value), to)?,
        MapKey::U32(value) => plain(kind, &Value::from(value), to)?,
        MapKey::U64(value) => plain(kind, &Value::from(value), to)?,
        MapKey::String(value) => text(value.as_bytes(), to),
    }
    Some(())
}

fn text(bytes: &[u8], to: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

/// A value without its key, as the format has it (<https://protobuf.dev/programming-guides/encoding/>).
#[expect(clippy::cast_sign_loss, reason = "negative numbers have all 64 bits on the wire")]
fn plain(kind: &Kind, value: &Value, to: &mut Vec<u8>) -> Option<()> {
    let signed = || read::integer::<i64>(value, "").ok();
    let small = || read::integer::<i32>(value, "").ok();
    let large = || read::integer::<u64>(value, "").ok();
    let unsigned = || read::integer::<u32>(value, "").ok();
    match kind {
        Kind::Bool => to.push(value.as_bool()?.into()),
        Kind::Int32 => encode_varint(i64::from(small()?) as u64, to),
        Kind::Int64 => encode_varint(signed()? as u64, to),
        Kind::Uint32 => encode_varint(unsigned()?.into(), to),
        Kind::Uint64 => encode_varint(large()?, to),
        Kind::Sint32 => {
            let value = small()?;
            encode_varint(u64::from(((value << 1) ^ (value >> 31)) as u32), to);
        }
        Kind::Sint64 => {
            let value = signed()?;
            encode_varint(((value << 1) ^ (value >> 63)) as u64, to);
        }
        Kind::Fixed32 => to.extend(unsigned()?.to_le_bytes()),
        Kind::Fixed64 => to.extend(large()?.to_le_bytes()),
        Kind::Sfixed32 => to.extend(small()?.to_le_bytes()),
        Kind::Sfixed64 => to.extend(signed()?.to_le_bytes()),
        Kind::Float => to.extend(read::float(value).ok()?.to_le_bytes()),
        Kind::Double => to.extend(read::double(value).ok()?.to_le_bytes()),
        Kind::String => text(value.as_str()?.as_bytes(), to),
        Kind::Bytes => text(&from_base64(value.as_str()?).ok()?, to),
        Kind::Enum(descriptor) => {
            encode_varint(i64::from(read::number(descriptor, value).ok()?) as u64, to);
        }
        Kind::Message(_) => return None,
    }
    Some(())
}
