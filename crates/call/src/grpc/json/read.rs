//! JSON to a message.

use std::collections::HashMap;

use prost::bytes::Bytes;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Syntax, Value as Field,
};
use serde_json::{Map, Value};

use super::{INPUT_DEPTH, Wrong, known, named, shown};
use crate::grpc::metadata::from_base64;

/// The message of this type that a JSON value is.
///
/// # Errors
/// With the place when a field is not known, has another type or is out of range.
pub(super) fn read(descriptor: &MessageDescriptor, value: &Value) -> Result<DynamicMessage, Wrong> {
    message(descriptor, value, INPUT_DEPTH)
}

pub(super) fn message(
    descriptor: &MessageDescriptor,
    value: &Value,
    depth: usize,
) -> Result<DynamicMessage, Wrong> {
    if let Some(read) = known::read(descriptor, value, depth) {
        return read;
    }
    let mut message = DynamicMessage::new(descriptor.clone());
    fields(&mut message, descriptor, object(value)?, depth)?;
    Ok(message)
}

pub(super) fn object(value: &Value) -> Result<&Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| expected("an object", value))
}

pub(super) fn expected(what: &str, found: &Value) -> Wrong {
    Wrong::new(format!("expected {what}, found {}", shown(found)))
}

/// The fields of an object; `@type` is that of an `Any` and not one of them.
pub(super) fn fields(
    message: &mut DynamicMessage,
    descriptor: &MessageDescriptor,
    object: &Map<String, Value>,
    depth: usize,
) -> Result<(), Wrong> {
    let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(INPUT_DEPTH))?;
    for (name, value) in object.iter().filter(|(name, _)| *name != "@type") {
        if let Some(field) = field_of(descriptor, name) {
            let read = of_field(field.is_list(), field.is_map(), &field.kind(), value, depth);
            let Some(read) = read.map_err(|wrong| wrong.within(name))? else { continue };
            only_one_of(message, &field).map_err(|wrong| wrong.within(name))?;
            message
                .try_set_field(&field, read)
                .map_err(|error| Wrong::new(error.to_string()).within(name))?;
        } else if let Some(extension) = descriptor.get_extension_by_json_name(name) {
            let read = of_field(extension.is_list(), extension.is_map(), &extension.kind(), value, depth);
            if let Some(read) = read.map_err(|wrong| wrong.within(name))? {
                message.set_extension(&extension, read);
            }
        } else {
            let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
            let names = named(fields.iter().map(FieldDescriptor::json_name));
            let known =
                if names.is_empty() { "it has no fields".to_owned() } else { format!("known: {names}") };
            return Err(Wrong::new(format!("`{}` has no field `{name}`; {known}", descriptor.full_name()))
                .within(name));
        }
    }
    required(message, descriptor)
}

pub(super) fn field_of(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

fn only_one_of(message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), Wrong> {
    let same_twice = || Wrong::new(format!("the field `{}` is given twice, by both its names", field.name()));
    if field.supports_presence() && message.has_field(field) {
        return Err(same_twice());
    }
    let Some(oneof) = field.containing_oneof() else { return Ok(()) };
    match oneof.fields().find(|other| message.has_field(other)) {
        Some(other) => Err(Wrong::new(format!(
            "only one of {} can be given, found `{}` too",
            named(oneof.fields().collect::<Vec<_>>().iter().map(FieldDescriptor::json_name)),
            other.json_name()
        ))),
        None => Ok(()),
    }
}

/// proto2 has fields that a message cannot be without.
fn required(message: &DynamicMessage, descriptor: &MessageDescriptor) -> Result<(), Wrong> {
    if descriptor.parent_file().syntax() == Syntax::Proto3 {
        return Ok(());
    }
    match descriptor.fields().find(|field| field.is_required() && !message.has_field(field)) {
        Some(field) => Err(Wrong::new(format!("the field `{}` is required", field.json_name()))),
        None => Ok(()),
    }
}

/// `None` where `null` leaves a field as if it were not given.
fn of_field(list: bool, map: bool, kind: &Kind, value: &Value, depth: usize) -> Result<Option<Field>, Wrong> {
    if value.is_null() && (list || map || !takes_null(kind)) {
        return Ok(None);
    }
    if list {
        let Value::Array(all) = value else { return Err(expected("a list", value)) };
        // Long series are common: one allocation for all.
        let mut read = Vec::with_capacity(all.len());
        for (n, value) in all.iter().enumerate() {
            read.push(one(kind, value, depth).map_err(|wrong| wrong.within(n))?);
        }
        return Ok(Some(Field::List(read)));
    }
    if map {
        return entries(kind, object(value)?, depth).map(|map| Some(Field::Map(map)));
    }
    one(kind, value, depth).map(Some)
}

fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value",
        Kind::Enum(descriptor) => descriptor.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

fn entries(kind: &Kind, object: &Map<String, Value>, depth: usize) -> Result<HashMap<MapKey, Field>, Wrong> {
    let Kind::Message(entry) = kind else { return Err(Wrong::new("a map without entries")) };
    let (keys, values) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let read = object.iter().map(|(name, value)| {
        let entry = key(&keys, name).and_then(|key| Ok((key, one(&values, value, depth)?)));
        entry.map_err(|wrong| wrong.within(name))
    });
    read.collect()
}

pub(super) fn key(kind: &Kind, name: &str) -> Result<MapKey, Wrong> {
    let text = Value::String(name.to_owned());
    match kind {
        Kind::String => Ok(MapKey::String(name.to_owned())),
        Kind::Bool => match name {
            "true" => Ok(MapKey::Bool(true)),
            "false" => Ok(MapKey::Bool(false)),
            _ => Err(Wrong::new("expected `true` or `false` as the key")),
        },
        _ => one(kind, &text, 1)?.into_map_key().ok_or_else(|| Wrong::new("expected an integer as the key")),
    }
}

pub(super) fn one(kind: &Kind, value: &Value, depth: usize) -> Result<Field, Wrong> {
    Ok(match kind {
        Kind::Bool => Field::Bool(value.as_bool().ok_or_else(|| expected("true or false", value))?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(integer(value, "32-bit integer")?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(integer(value, "64-bit integer")?),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(integer(value, "unsigned 32-bit integer")?),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(integer(value, "unsigned 64-bit integer")?),
        Kind::Float => Field::F32(float(value)?),
        Kind::Double => Field::F64(double(value)?),
        Kind::String => Field::String(value.as_str().ok_or_else(|| expected("text", value))?.to_owned()),
        Kind::Bytes => {
            let text = value.as_str().ok_or_else(|| expected("base64", value))?;
            Field::Bytes(Bytes::from(
                from_base64(text).map_err(|error| Wrong::new(format!("expected base64: {error}")))?,
            ))
        }
        Kind::Enum(descriptor) => Field::EnumNumber(number(descriptor, value)?),
        Kind::Message(descriptor) => Field::Message(message(descriptor, value, depth)?),
    })
}

/// A number without fraction, or its text.
pub(super) fn integer<T: TryFrom<i128>>(value: &Value, what: &str) -> Result<T, Wrong> {
    /// Up to here each integer is a 64-bit floating-point number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let of_float = |float: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "without fraction and within 64 bits")]
        (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i128)
    };
    let found = match value {
        Value::Number(number) => {
            let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            exact.or_else(|| number.as_f64().and_then(of_float))
        }
        Value::String(text) if begins_as_number(text) => {
            text.parse().ok().or_else(|| text.parse().ok().and_then(of_float))
        }
        _ => None,
    };
    found
        .and_then(|found| T::try_from(found).ok())
        .ok_or_else(|| expected(&format!("a {what}"), value).article())
}

impl Wrong {
    fn article(mut self) -> Self {
        self.message = self.message.replacen("a unsigned", "an unsigned", 1);
        self
    }
}

/// Texts such as `+1`, ` 1` and `inf` are numbers to Rust only.
fn begins_as_number(text: &str) -> bool {
    text.strip_prefix('-').unwrap_or(text).starts_with(|first: char| first.is_ascii_digit())
}

pub(super) fn double(value: &Value) -> Result<f64, Wrong> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text if begins_as_number(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| expected("a number, \"NaN\", \"Infinity\" or \"-Infinity\"", value))
}

pub(super) fn float(value: &Value) -> Result<f32, Wrong> {
    let double = double(value)?;
    #[expect(clippy::cast_possible_truncation, reason = "checked below")]
    let float = double as f32;
    if double.is_finite() && !float.is_finite() {
        return Err(expected("a number within the range of 32-bit floating point", value));
    }
    Ok(float)
}

pub(super) fn number(descriptor: &EnumDescriptor, value: &Value) -> Result<i32, Wrong> {
    if value.is_null() && descriptor.full_name() == "google.protobuf.NullValue" {
        return Ok(0);
    }
    let found = match value {
        Value::String(name) => descriptor.get_value_by_name(name).map(|known| known.number()),
        _ => integer(value, "number").ok(),
    };
    found.ok_or_else(|| {
        let values: Vec<_> = descriptor.values().collect();
        let names = named(values.iter().map(prost_reflect::EnumValueDescriptor::name));
        expected(&format!("one of {names}"), value)
    })
}
