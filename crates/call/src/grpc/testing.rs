//! A contract with everything in it, for the unit tests of this folder.

use serde_json::{Value, json};

use super::Client;
use crate::contract::Documents;

pub(super) fn documents(all: &[(&str, &str)]) -> Documents {
    Documents { all: all.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect() }
}

const LAB: &str = r#"
syntax = "proto3";
package lab.v1;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "old.proto";

enum Colour { UNKNOWN = 0; RED = 1; GREEN = -2; }

message Everything {
  bool yes = 1;
  int32 small = 2;
  int64 large = 3;
  uint32 small_unsigned = 4;
  uint64 large_unsigned = 5;
  float single = 6;
  double precise = 7;
  string text = 8;
  bytes raw = 9;
  Colour colour = 10;
  Everything child = 11;
  repeated int32 numbers = 12;
  repeated Everything children = 13;
  map<string, double> by_name = 14;
  map<int32, Everything> by_number = 15;
  map<bool, string> by_truth = 16;
  oneof choice { string word = 17; int32 number = 18; Everything whole = 19; }
  optional int32 perhaps = 20;
  google.protobuf.Timestamp at = 21;
  google.protobuf.Duration lasts = 22;
  google.protobuf.Struct free = 23;
  google.protobuf.Value value = 24;
  google.protobuf.ListValue list = 25;
  google.protobuf.Any any = 26;
  google.protobuf.FieldMask mask = 27;
  google.protobuf.Int64Value wrapped = 28;
  google.protobuf.FloatValue wrapped_float = 29;
  google.protobuf.Empty nothing = 30;
  google.protobuf.NullValue null = 31;
  sint32 zigzag = 32;
  fixed64 fixed = 33;
  repeated Colour colours = 34;
  google.protobuf.BytesValue wrapped_bytes = 35;
  repeated google.protobuf.Value values = 36;
}

service Lab {
  // Takes everything and gives it back.
  // The rest of the comment is no summary.
  rpc Everything(Everything) returns (Everything) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Legacy(stream Old) returns (stream Old) { option deprecated = true; }
}
"#;

const OLD: &str = r#"
syntax = "proto2";
package lab.v1;
message Old {
  // What it is called.
  required string name = 1;
  optional int32 gone = 2 [deprecated = true, default = 7];
  optional group Part = 3 { optional int32 size = 1; }
  extensions 100 to 200;
}
extend Old { optional string extra = 100; }
"#;

pub(super) fn client() -> Client {
    Client::read(&documents(&[("lab.proto", LAB), ("old.proto", OLD)])).unwrap()
}

/// Values of `Everything`, and whether they fit.
pub(super) fn examples() -> Vec<(Value, bool)> {
    let good = [
        json!({}),
        json!({ "yes": true, "small": -5, "large": "-9007199254740993", "smallUnsigned": 4_294_967_295_u32, "largeUnsigned": "18446744073709551615" }),
        json!({ "large": 5, "single": 0.1, "precise": "NaN", "text": "ä", "raw": "AQI=", "colour": "RED" }),
        json!({ "child": { "child": { "text": "deep" } }, "numbers": [1, 2, 3], "children": [{}, { "yes": true }] }),
        json!({ "byName": { "a": 1.5 }, "byNumber": { "-1": { "small": 1 } }, "byTruth": { "true": "x" } }),
        json!({ "word": "" }),
        json!({ "whole": {}, "perhaps": 0, "zigzag": -1, "fixed": "7" }),
        json!({ "at": "2016-08-03T18:00:00.500Z", "lasts": "-1.500s", "mask": "smallUnsigned,child.byName" }),
        json!({ "free": { "a": [null, 1.5, "x", { "b": true }] }, "value": null, "list": [1.0, [2.5]], "values": [null, "x"] }),
        json!({ "any": { "@type": "type.googleapis.com/lab.v1.Everything", "small": 3 } }),
        json!({ "any": { "@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s" } }),
        json!({ "wrapped": "0", "wrappedFloat": 2.5, "wrappedBytes": "", "nothing": {}, "colours": ["GREEN", 17] }),
    ];
    let bad = [
        json!([]),
        json!({ "yes": 1 }),
        json!({ "small": 2_147_483_648_u32 }),
        json!({ "large": "1.5" }),
        json!({ "smallUnsigned": -1 }),
        json!({ "single": "inf" }),
        json!({ "text": 1 }),
        json!({ "colour": "BLUE" }),
        json!({ "child": [] }),
        json!({ "numbers": 1 }),
        json!({ "numbers": [1, "x"] }),
        json!({ "byNumber": { "x": {} } }),
        json!({ "byTruth": { "yes": "x" } }),
        json!({ "word": "a", "number": 1 }),
        json!({ "lasts": "1.5" }),
        json!({ "free": [] }),
        json!({ "list": {} }),
        json!({ "wrapped": true }),
        json!({ "mask": 1 }),
    ];
    good.map(|value| (value, true)).into_iter().chain(bad.map(|value| (value, false))).collect()
}
