//! The well-known types of `google.protobuf`, which have a JSON form of their own.
//!
//! Their descriptions come with the contract, so a stranger may have changed them: what does not fit is an error.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, ReflectMessage as _, Value as Field};
use serde_json::{Map, Value};

use super::read::{self, expected, object};
use super::write::Writer;
use super::{INPUT_DEPTH, Wrong, base64};
use crate::grpc::metadata::from_base64;

const PREFIX: &str = "google.protobuf.";
const EPOCH: Date = Date::constant(1970, 1, 1);
/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z, between which timestamps are.
const OLDEST: i64 = -62_135_596_800;
const NEWEST: i64 = 253_402_300_799;
/// Seconds that a duration may have: 10,000 years.
const LONGEST: i64 = 315_576_000_000;

/// Whether JSON has a form of its own for this type; within an `Any` that form is below `value`.
pub(super) fn is_known(full_name: &str) -> bool {
    full_name.strip_prefix(PREFIX).is_some_and(|name| {
        wrapped(name)
            || matches!(
                name,
                "Any" | "Timestamp" | "Duration" | "FieldMask" | "Struct" | "Value" | "ListValue" | "Empty"
            )
    })
}

/// Whether it is a message around one value, which JSON leaves out.
pub(super) fn is_wrapper(full_name: &str) -> bool {
    full_name.strip_prefix(PREFIX).is_some_and(wrapped)
}

fn wrapped(name: &str) -> bool {
    matches!(
        name,
        "DoubleValue"
            | "FloatValue"
            | "Int64Value"
            | "UInt64Value"
            | "Int32Value"
            | "UInt32Value"
            | "BoolValue"
            | "StringValue"
            | "BytesValue"
    )
}

/// `None` where the type has no JSON form of its own.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    value: &Value,
    depth: usize,
) -> Option<Result<DynamicMessage, Wrong>> {
    let name = descriptor.full_name().strip_prefix(PREFIX)?;
    Some(match name {
        "Timestamp" => timestamp(value).and_then(|(seconds, nanos)| pair(descriptor, seconds, nanos)),
        "Duration" => duration(value).and_then(|(seconds, nanos)| pair(descriptor, seconds, nanos)),
        "FieldMask" => mask(value).and_then(|paths| built(descriptor, [(1, Field::List(paths))])),
        "Any" => any(descriptor, value, depth),
        "Value" => any_value(descriptor, value, depth),
        "Struct" => structure(descriptor, value, depth),
        "ListValue" => list(descriptor, value, depth),
        name if wrapped(name) => {
            let Some(field) = descriptor.get_field(1) else { return Some(Err(unfit(descriptor))) };
            read::one(&field.kind(), value, depth).and_then(|value| built(descriptor, [(1, value)]))
        }
        _ => return None,
    })
}

fn unfit(descriptor: &MessageDescriptor) -> Wrong {
    Wrong::new(format!(
        "the contract describes `{}` in another way than everybody else",
        descriptor.full_name()
    ))
}

fn built<const N: usize>(
    descriptor: &MessageDescriptor,
    fields: [(u32, Field); N],
) -> Result<DynamicMessage, Wrong> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (number, value) in fields {
        message.try_set_field_by_number(number, value).map_err(|_| unfit(descriptor))?;
    }
    Ok(message)
}

fn pair(descriptor: &MessageDescriptor, seconds: i64, nanos: i32) -> Result<DynamicMessage, Wrong> {
    built(descriptor, [(1, Field::I64(seconds)), (2, Field::I32(nanos))])
}

/// RFC 3339, with any number of digits up to nanoseconds.
pub(super) fn timestamp(value: &Value) -> Result<(i64, i32), Wrong> {
    let wrong = || expected("a time such as \"2016-08-03T18:00:00Z\"", value);
    let text = value.as_str().filter(|text| text.is_ascii() && text.len() >= 20).ok_or_else(wrong)?;
    let (local, rest) = text.split_at(19);
    let time: DateTime = local.parse().ok().filter(|_| local.as_bytes()[10] == b'T').ok_or_else(wrong)?;
    let (fraction, zone) = rest.split_at(rest.find(['Z', '+', '-']).ok_or_else(wrong)?);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => nanos(digits).ok_or_else(wrong)?,
        None if fraction.is_empty() => 0,
        None => return Err(wrong()),
    };
    let seconds = since_1970(time) - offset(zone).ok_or_else(wrong)?;
    if (OLDEST..=NEWEST).contains(&seconds) { Ok((seconds, nanos)) } else { Err(wrong()) }
}

fn since_1970(time: DateTime) -> i64 {
    let (date, clock) = (time.date(), time.time());
    let days = date.duration_since(EPOCH).as_secs();
    days + i64::from(clock.hour()) * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second())
}

/// Seconds that `Z` or `+02:00` is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, text) = zone.strip_prefix('-').map_or((1, zone.strip_prefix('+')), |text| (-1, Some(text)));
    let (hours, minutes) = text?.split_once(':')?;
    let two = |text: &str, most: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i64| digits && *number <= most)
    };
    Some(sign * (two(hours, 23)? * 3600 + two(minutes, 59)? * 60))
}

/// Nanoseconds of the digits behind a point: 1 to 9 of them.
fn nanos(digits: &str) -> Option<i32> {
    let good = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| format!("{digits:0<9}").parse().ok())?
}

pub(super) fn duration(value: &Value) -> Result<(i64, i32), Wrong> {
    let wrong = || expected("seconds such as \"1.5s\"", value);
    let text = value.as_str().and_then(|text| text.strip_suffix('s')).ok_or_else(wrong)?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) =
        text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = whole.parse().ok().filter(|_| digits(whole)).ok_or_else(wrong)?;
    let nanos = fraction.map_or(Some(0), nanos).ok_or_else(wrong)?;
    if seconds > LONGEST || (seconds == LONGEST && nanos > 0) {
        return Err(wrong());
    }
    Ok(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// `a.bC,d` to `a.b_c` and `d`.
fn mask(value: &Value) -> Result<Vec<Field>, Wrong> {
    let wrong = || expected("paths such as \"power,home.batteryLevel\"", value);
    let text = value.as_str().ok_or_else(wrong)?;
    let path = |path: &str| {
        let mut snake = String::with_capacity(path.len() + 4);
        for character in path.chars() {
            match character {
                'A'..='Z' => snake.extend(['_', character.to_ascii_lowercase()]),
                'a'..='z' | '0'..='9' | '.' => snake.push(character),
                _ => return Err(wrong()),
            }
        }
        Ok(Field::String(snake))
    };
    text.split(',').filter(|part| !part.is_empty()).map(path).collect()
}

fn any(descriptor: &MessageDescriptor, value: &Value, depth: usize) -> Result<DynamicMessage, Wrong> {
    let given = object(value)?;
    if given.is_empty() {
        return Ok(DynamicMessage::new(descriptor.clone()));
    }
    let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(INPUT_DEPTH))?;
    let url = given.get("@type").and_then(Value::as_str);
    let url =
        url.ok_or_else(|| Wrong::new("expected `@type` with the type of the message").within("@type"))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let unfold = |bytes: Vec<u8>| {
        built(descriptor, [(1, Field::String(url.to_owned())), (2, Field::Bytes(Bytes::from(bytes)))])
    };
    let Some(inner) = descriptor.parent_pool().get_message_by_name(name) else {
        // Bytes are taken as they are given out for types that nobody knows here.
        let bytes = given.get("value").and_then(Value::as_str).filter(|_| given.len() == 2);
        let bytes = bytes.and_then(|text| from_base64(text).ok());
        let unknown =
            || Wrong::new(format!("the contract has no type `{name}`; give its bytes in base64 as `value`"));
        return unfold(bytes.ok_or_else(|| unknown().within("@type"))?);
    };
    let mut message = DynamicMessage::new(inner.clone());
    if is_known(name) && name != "google.protobuf.Empty" {
        let value = given.get("value").ok_or_else(|| Wrong::new(format!("`{name}` needs its `value`")))?;
        message = read::message(&inner, value, depth).map_err(|wrong| wrong.within("value"))?;
    } else if name != "google.protobuf.Empty" {
        read::fields(&mut message, &inner, given, depth)?;
    }
    unfold(message.encode_to_vec())
}

/// The message in a field of another, as described there.
fn inner(descriptor: &MessageDescriptor, number: u32) -> Result<MessageDescriptor, Wrong> {
    let kind = descriptor.get_field(number).map(|field| field.kind());
    kind.and_then(|kind| kind.as_message().cloned()).ok_or_else(|| unfit(descriptor))
}

fn any_value(descriptor: &MessageDescriptor, value: &Value, depth: usize) -> Result<DynamicMessage, Wrong> {
    let (number, field) = match value {
        Value::Null => (1, Field::EnumNumber(0)),
        Value::Number(number) => (2, Field::F64(number.as_f64().ok_or_else(|| expected("a number", value))?)),
        Value::String(text) => (3, Field::String(text.clone())),
        Value::Bool(value) => (4, Field::Bool(*value)),
        Value::Object(_) => (5, Field::Message(structure(&inner(descriptor, 5)?, value, depth)?)),
        Value::Array(_) => (6, Field::Message(list(&inner(descriptor, 6)?, value, depth)?)),
    };
    built(descriptor, [(number, field)])
}

fn structure(descriptor: &MessageDescriptor, value: &Value, depth: usize) -> Result<DynamicMessage, Wrong> {
    let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(INPUT_DEPTH))?;
    let values = inner(&inner(descriptor, 1)?, 2)?;
    let entries = object(value)?.iter().map(|(name, value)| {
        let read = any_value(&values, value, depth).map_err(|wrong| wrong.within(name))?;
        Ok((MapKey::String(name.clone()), Field::Message(read)))
    });
    built(descriptor, [(1, Field::Map(entries.collect::<Result<_, Wrong>>()?))])
}

fn list(descriptor: &MessageDescriptor, value: &Value, depth: usize) -> Result<DynamicMessage, Wrong> {
    let depth = depth.checked_sub(1).ok_or_else(|| Wrong::too_deep(INPUT_DEPTH))?;
    let values = inner(descriptor, 1)?;
    let all = value.as_array().ok_or_else(|| expected("a list", value))?.iter().enumerate();
    let all = all.map(|(n, value)| {
        any_value(&values, value, depth).map(Field::Message).map_err(|wrong| wrong.within(n))
    });
    built(descriptor, [(1, Field::List(all.collect::<Result<_, _>>()?))])
}

/// `None` where the type has no JSON form of its own. `depth` is what is left below this message.
pub(super) fn write(
    writer: &Writer,
    message: &mut DynamicMessage,
    depth: usize,
) -> Option<Result<Value, Wrong>> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name().strip_prefix(PREFIX)?;
    let mut take = |number: u32| message.take_field_by_number(number);
    Some(match name {
        "Timestamp" => time_text(whole(take(1)), whole(take(2))).map(Value::String),
        "Duration" => duration_text(whole(take(1)), whole(take(2))).map(Value::String),
        "FieldMask" => mask_text(take(1)),
        "Any" => {
            let Some(Field::String(url)) = take(1) else { return Some(Ok(Value::Object(Map::new()))) };
            let Some(Field::Bytes(bytes)) = take(2).or(Some(Field::Bytes(Bytes::new()))) else {
                return Some(Err(unfit(&descriptor)));
            };
            any_text(writer, &descriptor, &url, bytes, depth)
        }
        "Value" => {
            // At most one is there.
            let Some((field, value)) = message.take_fields().next() else { return Some(Ok(Value::Null)) };
            writer.field(value, &field.kind(), depth)
        }
        "Struct" | "ListValue" => {
            let Some(field) = descriptor.get_field(1) else { return Some(Err(unfit(&descriptor))) };
            writer.field(take(1).unwrap_or_else(|| field.default_value()), &field.kind(), depth)
        }
        name if wrapped(name) => {
            let Some(field) = descriptor.get_field(1) else { return Some(Err(unfit(&descriptor))) };
            writer.field(take(1).unwrap_or_else(|| field.default_value()), &field.kind(), depth)
        }
        _ => return None,
    })
}

fn whole(field: Option<Field>) -> i64 {
    match field {
        Some(Field::I64(value)) => value,
        Some(Field::I32(value)) => i64::from(value),
        _ => 0,
    }
}

/// 0, 3, 6 or 9 digits.
fn fraction(nanos: i64) -> String {
    match nanos.unsigned_abs() {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1000 == 0 => format!(".{:06}", nanos / 1000),
        nanos => format!(".{nanos:09}"),
    }
}

pub(super) fn time_text(seconds: i64, nanos: i64) -> Result<String, Wrong> {
    let wrong =
        || Wrong::new(format!("expected a time of the years 1 to 9999, found {seconds} s and {nanos} ns"));
    if !(OLDEST..=NEWEST).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(wrong());
    }
    let time = EPOCH.to_datetime(Time::midnight()).checked_add(SignedDuration::from_secs(seconds));
    let text = time.map_err(|_| wrong())?.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    Ok(format!("{text}{}Z", fraction(nanos)))
}

pub(super) fn duration_text(seconds: i64, nanos: i64) -> Result<String, Wrong> {
    let signs_differ = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if seconds.unsigned_abs() > LONGEST.unsigned_abs() || nanos.unsigned_abs() > 999_999_999 || signs_differ {
        return Err(Wrong::new(format!(
            "expected a duration within 10,000 years, found {seconds} s and {nanos} ns"
        )));
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    Ok(format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos)))
}

fn mask_text(paths: Option<Field>) -> Result<Value, Wrong> {
    let paths = paths.unwrap_or_else(|| Field::List(vec![]));
    let camel = |path: &str| {
        let mut text = String::with_capacity(path.len());
        let mut upper = false;
        for character in path.chars() {
            match (upper, character) {
                (false, '_') => upper = true,
                (true, 'a'..='z') => {
                    text.push(character.to_ascii_uppercase());
                    upper = false;
                }
                (false, 'a'..='z' | '0'..='9' | '.') => text.push(character),
                _ => {
                    return Err(Wrong::new(format!(
                        "the path `{path}` of a field mask cannot be written in JSON"
                    )));
                }
            }
        }
        Ok(text)
    };
    let texts = paths.as_list().unwrap_or_default().iter().filter_map(Field::as_str).map(camel);
    Ok(Value::String(texts.collect::<Result<Vec<_>, _>>()?.join(",")))
}

fn any_text(
    writer: &Writer,
    descriptor: &MessageDescriptor,
    url: &str,
    bytes: Bytes,
    depth: usize,
) -> Result<Value, Wrong> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let Some(inner) = descriptor.parent_pool().get_message_by_name(name) else {
        let pairs = [("@type", url.to_owned()), ("value", base64(&bytes))];
        return Ok(Value::Object(
            pairs.map(|(name, text)| (name.to_owned(), Value::String(text))).into_iter().collect(),
        ));
    };
    let message = DynamicMessage::decode(inner, bytes);
    let message =
        message.map_err(|error| Wrong::new(format!("the bytes are no `{name}`: {error}")).within("value"))?;
    writer.any(url, message, depth)
}
