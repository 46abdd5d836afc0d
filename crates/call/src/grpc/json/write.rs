//! A message to JSON.

use prost_reflect::ReflectMessage as _;
use prost_reflect::{DynamicMessage, Kind, MapKey, Value as Field};
use serde_json::{Map, Number, Value};

use super::{Wrong, base64, known};

/// The JSON of a message.
///
/// `defaults`: fields without presence are written although they have their default value.
///
/// # Errors
/// When it is nested deeper than `depth`, or a well-known type holds what cannot be written.
pub(super) fn write(message: DynamicMessage, depth: usize, defaults: bool) -> Result<Value, Wrong> {
    Writer { limit: depth, defaults }.message(message, depth)
}

/// The JSON of an `Any` that holds this message.
pub(in crate::grpc) fn any(type_url: &str, message: DynamicMessage, depth: usize) -> Result<Value, Wrong> {
    Writer { limit: depth, defaults: false }.any(type_url, message, depth)
}

pub(super) struct Writer {
    limit: usize,
    defaults: bool,
}

impl Writer {
    pub(super) fn message(&self, mut message: DynamicMessage, depth: usize) -> Result<Value, Wrong> {
        let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(self.limit))?;
        if let Some(written) = known::write(self, &mut message, depth) {
            return written;
        }
        let mut object = Map::new();
        self.fields(message, &mut object, depth)?;
        Ok(Value::Object(object))
    }

    fn fields(
        &self,
        mut message: DynamicMessage,
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Wrong> {
        let extensions: Vec<_> = message.take_extensions().collect();
        for (field, value) in message.take_fields() {
            let name = field.json_name();
            let written = self.field(value, &field.kind(), depth).map_err(|wrong| wrong.within(name))?;
            object.insert(name.to_owned(), written);
        }
        for (extension, value) in extensions {
            let name = extension.json_name();
            let written = self.field(value, &extension.kind(), depth).map_err(|wrong| wrong.within(name))?;
            object.insert(name.to_owned(), written);
        }
        if self.defaults {
            for field in message.descriptor().fields().filter(|field| !field.supports_presence()) {
                if !object.contains_key(field.json_name()) {
                    let written = self.field(field.default_value(), &field.kind(), depth)?;
                    object.insert(field.json_name().to_owned(), written);
                }
            }
        }
        Ok(())
    }

    pub(super) fn any(&self, type_url: &str, message: DynamicMessage, depth: usize) -> Result<Value, Wrong> {
        let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(self.limit))?;
        let mut object = Map::from_iter([("@type".to_owned(), Value::String(type_url.to_owned()))]);
        if known::is_known(message.descriptor().full_name()) {
            let value = self.message(message, depth).map_err(|wrong| wrong.within("value"))?;
            object.insert("value".to_owned(), value);
        } else {
            self.fields(message, &mut object, depth)?;
        }
        Ok(Value::Object(object))
    }

    pub(super) fn field(&self, value: Field, kind: &Kind, depth: usize) -> Result<Value, Wrong> {
        Ok(match value {
            Field::Message(message) => self.message(message, depth)?,
            Field::List(all) => {
                let mut written = Vec::with_capacity(all.len());
                for (n, value) in all.into_iter().enumerate() {
                    written.push(self.field(value, kind, depth).map_err(|wrong| wrong.within(n))?);
                }
                Value::Array(written)
            }
            Field::Map(entries) => {
                let values = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                let values = values.ok_or_else(|| Wrong::new("a map without entries"))?;
                let written = entries.into_iter().map(|(key, value)| {
                    let key = text(key);
                    let written = self.field(value, &values, depth).map_err(|wrong| wrong.within(&key))?;
                    Ok((key, written))
                });
                Value::Object(written.collect::<Result<_, _>>()?)
            }
            plain => self::plain(plain, kind),
        })
    }
}

/// The JSON of what is no message, list or map.
pub(super) fn plain(value: Field, kind: &Kind) -> Value {
    match value {
        Field::Bool(value) => Value::Bool(value),
        Field::I32(value) => Value::from(value),
        Field::U32(value) => Value::from(value),
        Field::I64(value) => Value::String(value.to_string()),
        Field::U64(value) => Value::String(value.to_string()),
        Field::F32(value) => float(value),
        Field::F64(value) => double(value),
        Field::String(value) => Value::String(value),
        Field::Bytes(value) => Value::String(base64(&value)),
        Field::EnumNumber(number) => name(number, kind),
        Field::Message(_) | Field::List(_) | Field::Map(_) => Value::Null,
    }
}

/// Enums by name; by number where the value is newer than the description.
pub(super) fn name(number: i32, kind: &Kind) -> Value {
    let Kind::Enum(descriptor) = kind else { return Value::from(number) };
    if descriptor.full_name() == "google.protobuf.NullValue" {
        return Value::Null;
    }
    descriptor
        .get_value(number)
        .map_or_else(|| Value::from(number), |known| Value::String(known.name().to_owned()))
}

fn text(key: MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key,
    }
}

pub(super) fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::String(special(value).to_owned()), Value::Number)
}

/// The shortest number that reads as the same 32 bits: 0.1, not 0.10000000149011612.
pub(super) fn float(value: f32) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e7 {
        return double(f64::from(value));
    }
    double(value.to_string().parse().unwrap_or_else(|_| f64::from(value)))
}

fn special(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}
