//! The standard details of errors: messages of `google.rpc`, which services rarely describe.

use std::sync::OnceLock;

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{Any, DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};

use super::json;

/// How deep details may be nested.
const DEPTH: usize = 32;

/// A field: its name, its number, what it holds.
type Row = (&'static str, i32, Holds);

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Texts,
    Number,
    One(&'static str),
    Many(&'static str),
}
use Holds::{Many, Number, One, Text, Texts};

/// The messages of `google/rpc/error_details.proto`, and those within them.
const MESSAGES: [(&str, &[Row]); 16] = [
    ("RetryInfo", &[("retry_delay", 1, One("google.protobuf.Duration"))]),
    ("DebugInfo", &[("stack_entries", 1, Texts), ("detail", 2, Text)]),
    ("QuotaFailure", &[("violations", 1, Many("google.rpc.QuotaFailure.Violation"))]),
    (
        "QuotaFailure.Violation",
        &[
            ("subject", 1, Text),
            ("description", 2, Text),
            ("api_service", 3, Text),
            ("quota_metric", 4, Text),
            ("quota_id", 5, Text),
        ],
    ),
    (
        "ErrorInfo",
        &[
            ("reason", 1, Text),
            ("domain", 2, Text),
            ("metadata", 3, Many("google.rpc.ErrorInfo.MetadataEntry")),
        ],
    ),
    ("ErrorInfo.MetadataEntry", &[("key", 1, Text), ("value", 2, Text)]),
    ("PreconditionFailure", &[("violations", 1, Many("google.rpc.PreconditionFailure.Violation"))]),
    ("PreconditionFailure.Violation", &[("type", 1, Text), ("subject", 2, Text), ("description", 3, Text)]),
    ("BadRequest", &[("field_violations", 1, Many("google.rpc.BadRequest.FieldViolation"))]),
    (
        "BadRequest.FieldViolation",
        &[
            ("field", 1, Text),
            ("description", 2, Text),
            ("reason", 3, Text),
            ("localized_message", 4, One("google.rpc.LocalizedMessage")),
        ],
    ),
    ("RequestInfo", &[("request_id", 1, Text), ("serving_data", 2, Text)]),
    (
        "ResourceInfo",
        &[
            ("resource_type", 1, Text),
            ("resource_name", 2, Text),
            ("owner", 3, Text),
            ("description", 4, Text),
        ],
    ),
    ("Help", &[("links", 1, Many("google.rpc.Help.Link"))]),
    ("Help.Link", &[("description", 1, Text), ("url", 2, Text)]),
    ("LocalizedMessage", &[("locale", 1, Text), ("message", 2, Text)]),
    ("Status", &[("code", 1, Number), ("message", 2, Text), ("details", 3, Many("google.protobuf.Any"))]),
];

/// A detail as JSON with its `@type`: by the service's own description, else by ours; its bytes in base64 as `value` where
/// neither knows it.
pub(super) fn json(any: &Any, pool: &DescriptorPool) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let known = pool.get_message_by_name(name).or_else(|| standard().get_message_by_name(name));
    let read = known.and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok());
    read.and_then(|message| json::any(&any.type_url, message, DEPTH).ok())
        .unwrap_or_else(|| json!({ "@type": any.type_url, "value": json::base64(&any.value) }))
}

fn standard() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut pool = DescriptorPool::global();
        // A table that contradicted itself would leave details as bytes; a test reads each message of it.
        let _ = pool.add_file_descriptor_proto(described());
        pool
    })
}

fn described() -> FileDescriptorProto {
    let mut file = FileDescriptorProto {
        name: Some("google/rpc/sos_error_details.proto".to_owned()),
        package: Some("google.rpc".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: ["any", "duration"].map(|name| format!("google/protobuf/{name}.proto")).to_vec(),
        ..Default::default()
    };
    for (name, rows) in MESSAGES {
        let field = rows.iter().map(field).collect();
        match name.split_once('.') {
            None => file.message_type.push(DescriptorProto {
                name: Some(name.to_owned()),
                field,
                ..Default::default()
            }),
            Some((outer, inner)) => {
                let mut nested =
                    DescriptorProto { name: Some(inner.to_owned()), field, ..Default::default() };
                if inner.ends_with("Entry") {
                    nested.options.get_or_insert_default().map_entry = Some(true);
                }
                let outer = file.message_type.iter_mut().find(|message| message.name() == outer);
                outer.into_iter().for_each(|outer| outer.nested_type.push(nested.clone()));
            }
        }
    }
    file
}

fn field(row: &Row) -> FieldDescriptorProto {
    let (name, number, holds) = row;
    let (r#type, label, type_name) = match holds {
        Text => (Type::String, Label::Optional, None),
        Texts => (Type::String, Label::Repeated, None),
        Number => (Type::Int32, Label::Optional, None),
        One(name) => (Type::Message, Label::Optional, Some(name)),
        Many(name) => (Type::Message, Label::Repeated, Some(name)),
    };
    FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(*number),
        label: Some(label.into()),
        r#type: Some(r#type.into()),
        type_name: type_name.map(|name| format!(".{name}")),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_the_table_is_known() {
        for (name, rows) in MESSAGES {
            let message = standard().get_message_by_name(&format!("google.rpc.{name}"));
            assert_eq!(message.unwrap().fields().len(), rows.len(), "{name}");
        }
    }
}
