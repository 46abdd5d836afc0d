//! Messages from JSON and to JSON, as the ProtoJSON format says.
//!
//! The library has such a mapping too. This one names the place of what is wrong, bounds how deep messages are nested (an
//! `Any` starts a new message, so the decoder's own bound does not hold for it), and keeps an `Any` of unknown type as its bytes.

//!
//! Messages go directly between JSON and the wire, by a plan of their type. What a plan does not know, and what is wrong, goes
//! through the library's [`DynamicMessage`]: that way is slower, and says what is wrong and where.

mod decode;
mod encode;
mod known;
mod plan;
mod read;
mod write;

use std::sync::Arc;

use base64::Engine as _;
use prost::bytes::Buf;
use prost::encoding::WireType;
use prost::{DecodeError, Message as _};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde_json::Value;

use crate::error::{CallError, ErrorKind};

pub(super) use write::any;

use plan::Plans;
use read::read;
use write::write;

/// How deep the JSON of an input may be nested: what other implementations of protobuf read at least.
const INPUT_DEPTH: usize = 100;
/// Bytes that most messages have at most.
const SMALL: usize = 256;

/// How deep messages may be nested that are read by their plan. The library reads a hundred levels below the outermost;
/// what is deeper is left to it.
const PLANNED_DEPTH: usize = 100;

/// A type of messages, as it goes to the wire and comes from there. Cheap to clone.
#[derive(Clone)]
pub(super) struct Type {
    plans: Arc<Plans>,
    place: usize,
}

/// The types of these messages, in their order.
pub(super) fn types(descriptors: impl Iterator<Item = MessageDescriptor>) -> Vec<Type> {
    let (plans, places) = Plans::of(descriptors);
    let plans = Arc::new(plans);
    places.into_iter().map(|place| Type { plans: Arc::clone(&plans), place }).collect()
}

impl Type {
    /// The bytes of the message that a JSON value is.
    ///
    /// # Errors
    /// With the place when a field is not known, has another type or is out of range.
    pub(super) fn encode(&self, value: &Value) -> Result<Vec<u8>, Wrong> {
        let mut bytes = Vec::with_capacity(SMALL);
        if encode::message(&self.plans, self.place, value, INPUT_DEPTH, &mut bytes).is_some() {
            return Ok(bytes);
        }
        Ok(read(self.descriptor(), value)?.encode_to_vec())
    }

    /// The JSON of all these bytes. `defaults`: fields without presence are written although they have their default value.
    ///
    /// # Errors
    /// When these are not the bytes of such a message; within, when it is nested deeper than `depth`, or a well-known type
    /// holds what cannot be written.
    pub(super) fn decode(
        &self,
        mut bytes: impl Buf,
        depth: usize,
        defaults: bool,
    ) -> Result<Result<Value, Wrong>, DecodeError> {
        let decoder = decode::Decoder { plans: &self.plans, defaults };
        let whole = bytes.chunk();
        if whole.len() == bytes.remaining()
            && let Some(value) = decoder.message(self.place, whole, depth.min(PLANNED_DEPTH))
        {
            bytes.advance(bytes.remaining());
            return Ok(Ok(value));
        }
        let message = DynamicMessage::decode(self.descriptor().clone(), bytes)?;
        Ok(write(message, depth, defaults))
    }

    fn descriptor(&self) -> &MessageDescriptor {
        &self.plans.at(self.place).descriptor
    }
}

/// How values are marked on the wire.
fn wire_type(kind: &Kind) -> WireType {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        _ => WireType::Varint,
    }
}

/// What does not fit, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Steps of a JSON pointer, the innermost first.
    place: Vec<String>,
    message: String,
    deep: bool,
}

impl Wrong {
    fn new(message: impl Into<String>) -> Self {
        Self { place: vec![], message: message.into(), deep: false }
    }

    fn too_deep(limit: usize) -> Self {
        Self { deep: true, ..Self::new(format!("nested deeper than {limit}")) }
    }

    /// The same, seen from outside the field or element with this name.
    pub(super) fn within(mut self, step: impl ToString) -> Self {
        self.place.push(step.to_string());
        self
    }

    pub(super) fn into_error(self, kind: ErrorKind) -> CallError {
        let kind = if self.deep && kind == ErrorKind::BadAnswer { ErrorKind::TooLarge } else { kind };
        let steps =
            self.place.iter().rev().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
        CallError::new(kind, steps.collect::<String>(), self.message)
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What was found instead, short enough for a message.
fn shown(value: &Value) -> String {
    const MOST: usize = 40;
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > MOST => {
            format!("\"{}…\"", text.chars().take(MOST).collect::<String>())
        }
        scalar => scalar.to_string(),
    }
}

/// Some of many names, for messages.
pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let mut names: Vec<&str> = names.take(MOST + 1).collect();
    if names.len() > MOST {
        names[MOST] = "…";
    }
    names.join(", ")
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DynamicMessage, MessageDescriptor};
    use serde_json::json;

    use super::*;
    use crate::grpc::testing;

    fn everything() -> MessageDescriptor {
        testing::client().types().get_message_by_name("lab.v1.Everything").unwrap()
    }

    fn over_the_wire(value: &Value) -> Result<Value, CallError> {
        let message = read(&everything(), value).map_err(|wrong| wrong.into_error(ErrorKind::BadInput))?;
        let message = DynamicMessage::decode(everything(), message.encode_to_vec().as_slice()).unwrap();
        write(message, 64, false).map_err(|wrong| wrong.into_error(ErrorKind::BadAnswer))
    }

    #[test]
    fn examples_come_back_as_the_library_writes_them() {
        for (value, fits) in testing::examples() {
            let back = over_the_wire(&value);
            assert_eq!(back.is_ok(), fits, "{value}: {back:?}");
            let library = DynamicMessage::deserialize(everything(), &value);
            // It takes more: "inf" for one.
            assert!(library.is_ok() || !fits, "{value}");
            if let (Ok(back), Ok(library)) = (back, library) {
                // As text, where 32-bit numbers are short too.
                let text = serde_json::to_string(&library).unwrap();
                assert_eq!(back, serde_json::from_str::<Value>(&text).unwrap(), "{value}");
            }
        }
    }

    #[test]
    fn both_names_of_a_field_and_all_forms_of_numbers_are_read() {
        let given = json!({ "small_unsigned": "7", "large": 1e3, "largeUnsigned": "1e2", "small": 2.0, "precise": "-1.5e3", "raw": "_-8", "by_name": null });
        let back = over_the_wire(&given).unwrap();
        let expected = json!({ "smallUnsigned": 7, "large": "1000", "largeUnsigned": "100", "small": 2, "precise": -1500.0, "raw": "/+8=" });
        assert_eq!(back, expected);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let told = |value: Value| over_the_wire(&value).unwrap_err().to_string();
        let deep = json!({ "children": [{}, { "byNumber": { "-1": { "small": 3_000_000_000_u32 } } }] });
        assert_eq!(
            told(deep),
            "expected a 32-bit integer, found 3000000000 (at /children/1/byNumber/-1/small)"
        );
        let unknown = told(json!({ "child": { "colr": 1 } }));
        assert!(
            unknown.starts_with("`lab.v1.Everything` has no field `colr`; known: yes, small, large"),
            "{unknown}"
        );
        assert!(unknown.ends_with("… (at /child/colr)"), "{unknown}");
        let colour = told(json!({ "colours": ["RED", "BLUE"] }));
        assert_eq!(colour, "expected one of GREEN, UNKNOWN, RED, found \"BLUE\" (at /colours/1)");
        assert_eq!(
            told(json!({ "word": "a", "whole": {} })),
            "only one of word, number, whole can be given, found `whole` too (at /word)"
        );
        assert_eq!(
            told(json!({ "largeUnsigned": -1 })),
            "expected an unsigned 64-bit integer, found -1 (at /largeUnsigned)"
        );
        assert!(
            told(json!({ "any": { "@type": "x/no.Such" } })).contains("the contract has no type `no.Such`")
        );
        assert!(told(json!({ "any": { "small": 1 } })).contains("expected `@type`"));
        assert!(told(json!({ "perhaps": 1, "at": "2016-08-03" })).contains("expected a time such as"));
        assert!(told(json!({ "a/b~c": 1 })).ends_with("(at /a~1b~0c)"));
    }

    #[test]
    fn times_and_durations_are_exact() {
        for (given, back) in [
            ("2016-08-03T18:00:00Z", "2016-08-03T18:00:00Z"),
            ("2016-08-03T18:00:00.1+02:00", "2016-08-03T16:00:00.100Z"),
            ("1969-12-31T23:59:59.000000001Z", "1969-12-31T23:59:59.000000001Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(over_the_wire(&json!({ "at": given })).unwrap(), json!({ "at": back }));
        }
        for (given, back) in [
            ("-0.5s", "-0.500s"),
            ("0s", "0s"),
            ("315576000000s", "315576000000s"),
            ("1.000001s", "1.000001s"),
        ] {
            assert_eq!(over_the_wire(&json!({ "lasts": given })).unwrap(), json!({ "lasts": back }));
        }
        for wrong in [
            "2016-08-03",
            "2016-08-03T18:00:00",
            "2016-08-03 18:00:00Z",
            "2016-08-03T18:00:00.Z",
            "2016-08-03T18:00:00+2:00",
            "2016-02-30T18:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "2016-08-03T18:00:00.0000000001Z",
            "2016-08-03T18:00:00ZZ",
            "ä016-08-03T18:00:00Z",
        ] {
            assert!(over_the_wire(&json!({ "at": wrong })).is_err(), "{wrong}");
        }
        for wrong in ["315576000001s", "1", "1.s", ".5s", "1.0000000001s", "+1s", "1e3s", " 1s"] {
            assert!(over_the_wire(&json!({ "lasts": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn depth_is_bounded_in_both_directions_and_through_any() {
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({ "child": deep });
        }
        let error = over_the_wire(&deep).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::BadInput, "nested deeper than 100"));
        // Each `Any` is a new message to the decoder, so only the writer sees how deep this is.
        let descriptor = everything();
        let mut bytes = vec![];
        for _ in 0..20_000 {
            let mut message = DynamicMessage::new(descriptor.clone());
            message.set_field_by_name(
                "any",
                prost_reflect::Value::Message({
                    let any = descriptor.get_field_by_name("any").unwrap();
                    let mut any = DynamicMessage::new(any.kind().as_message().unwrap().clone());
                    any.set_field_by_number(
                        1,
                        prost_reflect::Value::String("x/lab.v1.Everything".to_owned()),
                    );
                    any.set_field_by_number(2, prost_reflect::Value::Bytes(bytes.into()));
                    any
                }),
            );
            bytes = message.encode_to_vec();
        }
        let message = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
        let error = write(message, 128, false).unwrap_err().into_error(ErrorKind::BadAnswer);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::TooLarge, "nested deeper than 128"));
    }

    #[test]
    fn an_any_of_unknown_type_keeps_its_bytes() {
        let value = json!({ "any": { "@type": "type.googleapis.com/no.Such", "value": "CAE=" } });
        assert_eq!(over_the_wire(&value).unwrap(), value);
    }

    #[test]
    fn defaults_are_written_on_request() {
        let message = read(&everything(), &json!({ "perhaps": 0, "small": 0 })).unwrap();
        let plain = write(message.clone(), 64, false).unwrap();
        assert_eq!(plain, json!({ "perhaps": 0 }));
        let full = write(message, 64, true).unwrap();
        assert_eq!(
            (&full["small"], &full["large"], &full["numbers"], &full["byName"]),
            (&json!(0), &json!("0"), &json!([]), &json!({}))
        );
        assert_eq!((&full["colour"], full.get("child"), full.get("word")), (&json!("UNKNOWN"), None, None));
    }

    #[test]
    fn fields_of_proto2_are_required_where_it_says_so() {
        let old = testing::client().types().get_message_by_name("lab.v1.Old").unwrap();
        let error = read(&old, &json!({ "gone": 1 })).unwrap_err().into_error(ErrorKind::BadInput);
        assert_eq!(error.message, "the field `name` is required");
        let value = json!({ "name": "x", "part": { "size": 3 }, "[lab.v1.extra]": "more" });
        let message = read(&old, &value).unwrap();
        let message = DynamicMessage::decode(old, message.encode_to_vec().as_slice()).unwrap();
        assert_eq!(write(message, 64, false).unwrap(), value);
    }
}
