//! The direct way held against the library's, with messages that nobody thought of.

use std::fmt::Write as _;

use proptest::prelude::{ProptestConfig, TestCaseError, any, prop_assert_eq, proptest};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::FieldDescriptor;
use serde_json::{Map, json};

use super::*;
use crate::contract::Documents;
use crate::grpc::{Client, testing};

const PLAIN: [&str; 16] = [
    "bool", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
    "sfixed64", "float", "double", "string", "bytes", "Level",
];

/// Each type of field in each shape, in both syntaxes.
fn shapes() -> Client {
    let mut text = String::from(
        "syntax = \"proto3\"; package s; import \"old.proto\"; enum Level { LOW = 0; HIGH = 1; UNDER = -1; }\nmessage New {\n",
    );
    let mut old =
        String::from("syntax = \"proto2\"; package t; enum Level { FIRST = 3; NEXT = 1; }\nmessage Old {\n");
    for (n, kind) in PLAIN.iter().enumerate() {
        let number = n * 10 + 1;
        let key = if matches!(*kind, "float" | "double" | "bytes" | "Level") { "string" } else { kind };
        let [may, all, map, this, that] = [1, 2, 3, 4, 5].map(|more| number + more);
        let _ = writeln!(
            text,
            "{kind} one_{n} = {number}; optional {kind} may_{n} = {may}; repeated {kind} all_{n} = {all};
             map<{key}, {kind}> map_{n} = {map}; oneof choice_{n} {{ {kind} this_{n} = {this}; New that_{n} = {that}; }}"
        );
        let packed = if matches!(*kind, "string" | "bytes") { "" } else { " [packed = true]" };
        let (all, each, map) = (number + 1, number + 2, number + 3);
        let _ = writeln!(
            old,
            "optional {kind} one_{n} = {number}; repeated {kind} all_{n} = {all}{packed}; repeated {kind} each_{n} = {each};"
        );
        // Enums in maps begin with zero.
        if *kind != "Level" {
            let _ = writeln!(old, "map<{key}, {kind}> map_{n} = {map};");
        }
    }
    text += "New self = 200; repeated New selves = 201; map<int32, New> by_number = 202; int32 renamed = 203 [json_name = \"other\"]; }
             service S { rpc Call(New) returns (New); }";
    old += "required int32 must = 200; optional Old self = 201; repeated group Part = 202 { optional int32 size = 1 [default = 7]; }
            extensions 1000 to 2000; }
            extend Old { repeated int32 more = 1000; } service T { rpc Call(Old) returns (Old); }";
    Client::read(&testing::documents(&[("new.proto", &text), ("old.proto", &old)])).unwrap()
}

/// The types that are tried.
fn tried() -> Vec<Type> {
    let (lab, shapes) = (testing::client(), shapes());
    let of = |client: &Client, name: &str| {
        types([client.types().get_message_by_name(name).unwrap()].into_iter()).remove(0)
    };
    vec![of(&lab, "lab.v1.Everything"), of(&lab, "lab.v1.Old"), of(&shapes, "s.New"), of(&shapes, "t.Old")]
}

/// Bytes that choose what comes next; when there are no more, the first of everything.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.next()) % count.max(1)
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn field(&mut self, descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
        let all: Vec<FieldDescriptor> = descriptor.fields().collect();
        let at = (self.below(256) << 8 | self.below(256)) % all.len().max(1);
        all.get(at).cloned()
    }

    fn number(&mut self) -> u64 {
        let small = u64::from(self.next());
        self.of(&[0, 1, small, 300, u64::MAX, 1 << 31, (1 << 32) + small, u64::MAX >> 1, 1 << 63])
    }

    fn json(&mut self, kind: &Kind, depth: usize) -> Value {
        let others = [json!(null), json!(1), json!("x"), json!([]), json!({}), json!(true), json!(1.5)];
        if self.once_in(24) {
            return self.of(&others);
        }
        match kind {
            Kind::Bool => self.of(&[json!(false), json!(true)]),
            Kind::Float | Kind::Double => self.of(&[
                json!(0),
                json!(-0.0),
                json!(1.5),
                json!("NaN"),
                json!("-Infinity"),
                json!("2e3"),
                json!(0.1),
                json!(1e300),
            ]),
            Kind::String => self.of(&[json!(""), json!("a"), json!("ä\0"), json!("x".repeat(200))]),
            Kind::Bytes => self.of(&[json!(""), json!("AQI="), json!("AA"), json!("_-8"), json!("!")]),
            Kind::Enum(descriptor) => {
                let mut all: Vec<Value> = descriptor.values().map(|value| json!(value.name())).collect();
                all.extend([json!(0), json!(17), json!(-1), json!(null)]);
                self.of(&all)
            }
            Kind::Message(descriptor) => self.message(descriptor, depth),
            _ => self.of(&[
                json!(0),
                json!(1),
                json!(-1),
                json!("7"),
                json!(i32::MAX),
                json!(i32::MIN),
                json!(u32::MAX),
                json!(1e3),
                json!(i64::MIN.to_string()),
                json!(u64::MAX.to_string()),
                json!(u64::MAX),
                json!("-0"),
                json!("1e2"),
            ]),
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> Value {
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                self.of(&[json!("2016-08-03T18:00:00.5Z"), json!("1970-01-01T00:00:00Z"), json!("x")])
            }
            "google.protobuf.Duration" => {
                self.of(&[json!("1.5s"), json!("0s"), json!("-3.000000001s"), json!("1")])
            }
            "google.protobuf.FieldMask" => self.of(&[json!("a.bC,d"), json!("")]),
            "google.protobuf.Value" => self.of(&[json!(null), json!({ "a": [1, null] }), json!("x")]),
            "google.protobuf.Struct" => self.of(&[json!({ "a": [1, null] }), json!({})]),
            "google.protobuf.ListValue" => json!([1, "x"]),
            "google.protobuf.Any" => {
                self.of(&[json!({ "@type": "x/lab.v1.Everything", "small": 1 }), json!({})])
            }
            name if known::is_wrapper(name) => {
                let kind = descriptor.get_field(1).unwrap().kind();
                self.json(&kind, depth)
            }
            _ => self.object(descriptor, depth),
        }
    }

    fn object(&mut self, descriptor: &MessageDescriptor, depth: usize) -> Value {
        let mut object = Map::new();
        for _ in 0..if depth == 0 { 0 } else { self.below(6) } {
            let Some(field) = self.field(descriptor) else { break };
            let name = if self.once_in(4) { field.name() } else { field.json_name() };
            let value = if field.is_map() {
                let kind = field.kind().as_message().unwrap().map_entry_value_field().kind();
                let keys = ["1", "", "true", "01", "-2", "a", "1e0"];
                (0..self.below(3))
                    .map(|_| (self.of(&keys).to_owned(), without_minus_zero(self.json(&kind, depth - 1))))
                    .collect()
            } else if field.is_list() {
                (0..self.below(4)).map(|_| self.json(&field.kind(), depth - 1)).collect()
            } else {
                self.json(&field.kind(), depth - 1)
            };
            object.insert(name.to_owned(), value);
        }
        if self.once_in(40) {
            let name = self.of(&["nobody", "@type", "[t.more]", "[lab.v1.extra]"]);
            object.insert(name.to_owned(), self.of(&[json!([1]), json!("x")]));
        }
        if descriptor.name() == "Old" && !self.once_in(8) {
            let required = descriptor.fields().filter(FieldDescriptor::is_required);
            let all: Vec<FieldDescriptor> = required.collect();
            object.extend(all.iter().map(|field| (field.name().to_owned(), self.json(&field.kind(), 0))));
        }
        Value::Object(object)
    }

    /// The bytes of such a message, mostly.
    fn wire(&mut self, descriptor: &MessageDescriptor, depth: usize, to: &mut Vec<u8>) {
        for _ in 0..if depth == 0 { 0 } else { self.below(8) } {
            let Some(field) = self.field(descriptor).filter(|_| !self.once_in(24)) else {
                let wires = [
                    WireType::Varint,
                    WireType::LengthDelimited,
                    WireType::SixtyFourBit,
                    WireType::StartGroup,
                ];
                encode_key(self.of(&[1, 2, 4000, 1000]), self.of(&wires), to);
                to.extend((0..self.below(4)).map(|_| self.next() & 3));
                continue;
            };
            for _ in 0..=self.below(2) {
                self.wire_field(&field, depth - 1, to);
            }
        }
    }

    fn wire_field(&mut self, field: &FieldDescriptor, depth: usize, to: &mut Vec<u8>) {
        let kind = field.kind();
        if field.is_group() {
            encode_key(field.number(), WireType::StartGroup, to);
            self.wire(kind.as_message().unwrap(), depth, to);
            encode_key(field.number(), WireType::EndGroup, to);
            return;
        }
        let wire = wire_type(&kind);
        if field.is_list() && wire != WireType::LengthDelimited && self.once_in(2) {
            let mut packed = vec![];
            for _ in 0..self.below(4) {
                self.wire_value(&kind, depth, &mut packed);
            }
            encode_key(field.number(), WireType::LengthDelimited, to);
            encode_varint(packed.len() as u64, to);
            to.extend(packed);
            return;
        }
        let wrong = self.of(&[WireType::Varint, WireType::LengthDelimited, WireType::ThirtyTwoBit]);
        encode_key(field.number(), if self.once_in(40) { wrong } else { wire }, to);
        self.wire_value(&kind, depth, to);
    }

    fn wire_value(&mut self, kind: &Kind, depth: usize, to: &mut Vec<u8>) {
        let mut inside = vec![];
        match kind {
            Kind::Message(descriptor) => self.wire(descriptor, depth, &mut inside),
            Kind::String | Kind::Bytes => {
                inside.extend((0..self.below(4)).map(|_| if self.once_in(12) { 0xff } else { b'a' }));
            }
            _ => {
                let number = self.number();
                match wire_type(kind) {
                    WireType::SixtyFourBit => to.extend(number.to_le_bytes()),
                    WireType::ThirtyTwoBit => to.extend(number.to_le_bytes().get(..4).unwrap_or_default()),
                    _ => encode_varint(number, to),
                }
                return;
            }
        }
        encode_varint(inside.len() as u64, to);
        to.extend(inside);
    }
}

/// The library loses the sign of a zero that is the value of a map.
fn without_minus_zero(value: Value) -> Value {
    if value.as_f64().is_some_and(|number| number.to_bits() == (-0.0_f64).to_bits()) {
        return json!(0.0);
    }
    value
}

/// What the library makes of these bytes, as text: of a number, each bit counts.
fn by_library(
    descriptor: &MessageDescriptor,
    bytes: &[u8],
    depth: usize,
    defaults: bool,
) -> Result<String, String> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| error.to_string())?;
    shown(write(message, depth, defaults))
}

fn shown(written: Result<Value, Wrong>) -> Result<String, String> {
    // Of several places in a map that are nested too deep, the library names any.
    written.map(|value| value.to_string()).map_err(|wrong| wrong.into_error(ErrorKind::BadAnswer).message)
}

fn decoded(of: &Type, bytes: &[u8], depth: usize, defaults: bool) -> Result<String, String> {
    of.decode(bytes, depth, defaults).map_err(|error| error.to_string()).and_then(shown)
}

/// Whether the plan alone was enough.
fn is_same_both_ways(of: &Type, value: &Value) -> Result<bool, TestCaseError> {
    let descriptor = of.descriptor();
    let encoded = of.encode(value).map_err(|wrong| wrong.into_error(ErrorKind::BadInput).to_string());
    let message = read(descriptor, value).map_err(|wrong| wrong.into_error(ErrorKind::BadInput).to_string());
    let json = |bytes: Vec<u8>| by_library(descriptor, &bytes, 200, true);
    prop_assert_eq!(
        encoded.clone().map(json),
        message.map(|message| json(message.encode_to_vec())),
        "{}",
        value
    );
    let direct = encode::message(&of.plans, of.place, value, INPUT_DEPTH, &mut vec![]).is_some();
    let decoder = decode::Decoder { plans: &of.plans, defaults: false };
    let back = encoded.is_ok_and(|bytes| decoder.message(of.place, &bytes, PLANNED_DEPTH).is_some());
    Ok(direct && back)
}

fn is_read_the_same(of: &Type, bytes: &[u8]) -> Result<(), TestCaseError> {
    for (depth, defaults) in [(128, false), (128, true), (3, false)] {
        let expected = by_library(of.descriptor(), bytes, depth, defaults);
        prop_assert_eq!(decoded(of, bytes, depth, defaults), expected, "{:?}", bytes);
    }
    Ok(())
}

#[test]
fn examples_are_the_same_and_ordinary_ones_need_no_library() {
    let everything = &ALL[0];
    let mut direct = 0;
    for (value, _) in testing::examples() {
        direct += usize::from(is_same_both_ways(everything, &value).unwrap());
    }
    // Those with field masks, values of any type and `Any` are none; those that do not fit neither.
    assert_eq!(direct, 8, "of {}", testing::examples().len());
}

#[test]
fn nesting_ends_where_the_library_ends_it() {
    let everything = &ALL[0];
    for depth in [98, 99, 100, 101, 102, 127, 128, 129] {
        let (mut value, mut bytes) = (json!({}), vec![]);
        for _ in 1..depth {
            value = json!({ "child": value });
            let mut outer = vec![];
            encode_key(11, WireType::LengthDelimited, &mut outer);
            encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(bytes);
            bytes = outer;
        }
        is_same_both_ways(everything, &value).unwrap();
        is_read_the_same(everything, &bytes).unwrap();
    }
}

#[test]
fn a_type_that_only_has_a_well_known_name_is_left_to_the_library() {
    let text = "syntax = \"proto3\"; package google.protobuf; message Timestamp { string seconds = 1; }
                message Duration { int64 seconds = 1; int32 nanos = 2; int32 more = 3; } message Int32Value { repeated int32 value = 1; }
                message All { Timestamp at = 1; Duration lasts = 2; Int32Value number = 3; } service S { rpc Call(All) returns (All); }";
    let client = Client::read(&Documents::one("a.proto", text)).unwrap();
    let all = client.types().get_message_by_name("google.protobuf.All").unwrap();
    let of = types([all].into_iter()).remove(0);
    for value in [json!({ "at": "2016-08-03T18:00:00Z" }), json!({ "lasts": "1s" }), json!({ "number": 1 })] {
        assert!(!is_same_both_ways(&of, &value).unwrap());
    }
    is_read_the_same(&of, &[10, 1, b'x', 18, 2, 8, 1, 26, 2, 8, 1]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn json_becomes_the_same_message(choices in proptest::collection::vec(any::<u8>(), 0..200)) {
        for of in ALL.iter() {
            let value = Choices(choices.iter()).object(of.descriptor(), 4);
            is_same_both_ways(of, &value)?;
        }
    }

    #[test]
    fn bytes_become_the_same_json(choices in proptest::collection::vec(any::<u8>(), 0..300), changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..2)) {
        for of in ALL.iter() {
            let mut bytes = vec![];
            Choices(choices.iter()).wire(of.descriptor(), 4, &mut bytes);
            is_read_the_same(of, &bytes)?;
            for (at, byte) in &changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            is_read_the_same(of, &bytes)?;
        }
    }

    #[test]
    fn rubbish_is_read_or_refused_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for of in ALL.iter() {
            is_read_the_same(of, &bytes)?;
        }
    }
}

/// Made once for all cases.
static ALL: std::sync::LazyLock<Vec<Type>> = std::sync::LazyLock::new(tried);
