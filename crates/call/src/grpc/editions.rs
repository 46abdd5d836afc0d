//! Files of protobuf editions as the library below knows files: by syntax.
//!
//! It knows proto2 and proto3. An edition is a set of features for each field, and each of those has a form in proto2
//! (language specification, "Features"): a required label, the option `packed`, groups for delimited messages. What has no form
//! there changes nothing that a caller sees: a field without presence that was sent as zero is shown as zero.

use prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto};

use super::documents::bad;
use crate::error::CallError;

/// Editions whose defaults are alike: 2023 and 2024, as `google.protobuf.Edition` numbers them.
const KNOWN: [i32; 2] = [1000, 1001];

/// `google.protobuf.FeatureSet`, as far as it changes what is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Features {
    #[prost(int32, optional, tag = "1")]
    field_presence: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    repeated_field_encoding: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    message_encoding: Option<i32>,
}

const LEGACY_REQUIRED: i32 = 3;
const EXPANDED: i32 = 2;
const DELIMITED: i32 = 2;

/// The parts of a descriptor that hold features. Options number them differently.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Described>,
    #[prost(message, repeated, tag = "7")]
    extension: Vec<Field>,
    #[prost(message, optional, tag = "8")]
    options: Option<FileOptions>,
    #[prost(string, optional, tag = "12")]
    syntax: Option<String>,
    #[prost(int32, optional, tag = "14")]
    edition: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Described {
    #[prost(message, repeated, tag = "2")]
    field: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    nested_type: Vec<Described>,
    #[prost(message, repeated, tag = "6")]
    extension: Vec<Field>,
    #[prost(message, optional, tag = "7")]
    options: Option<MessageOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(message, optional, tag = "8")]
    options: Option<OwnOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct FileOptions {
    #[prost(message, optional, tag = "50")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageOptions {
    #[prost(message, optional, tag = "12")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct OwnOptions {
    #[prost(message, optional, tag = "21")]
    features: Option<Features>,
}

impl Features {
    /// What an outer scope says, where this one says nothing.
    fn within(own: Option<&Self>, outer: &Self) -> Self {
        let own = own.copied().unwrap_or_default();
        Self {
            field_presence: own.field_presence.or(outer.field_presence),
            repeated_field_encoding: own.repeated_field_encoding.or(outer.repeated_field_encoding),
            message_encoding: own.message_encoding.or(outer.message_encoding),
        }
    }
}

/// The file in proto2, where it is in an edition; itself otherwise.
///
/// # Errors
/// `BadDocument` for an edition that is not known.
pub(super) fn lowered(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, CallError> {
    let unreadable =
        |error: prost::DecodeError| bad(name, format!("a file descriptor cannot be read: {error}"));
    let features = File::decode(bytes.as_slice()).map_err(unreadable)?;
    if features.syntax.as_deref() != Some("editions") {
        return Ok(bytes);
    }
    let edition = features.edition.unwrap_or_default();
    if !KNOWN.contains(&edition) {
        return Err(bad(
            name,
            format!("expected edition 2023 or 2024, found the edition with number {edition}"),
        ));
    }
    let mut file = FileDescriptorProto::decode(bytes.as_slice()).map_err(unreadable)?;
    let of_file = Features::within(
        features.options.as_ref().and_then(|options| options.features.as_ref()),
        &Features::default(),
    );
    for (message, features) in file.message_type.iter_mut().zip(&features.message_type) {
        lower_message(message, features, &of_file);
    }
    lower_fields(&mut file.extension, &features.extension, &of_file);
    file.syntax = Some("proto2".to_owned());
    Ok(file.encode_to_vec())
}

/// The decoder bounds how deep messages are nested.
fn lower_message(message: &mut DescriptorProto, described: &Described, outer: &Features) {
    let features =
        Features::within(described.options.as_ref().and_then(|options| options.features.as_ref()), outer);
    let map = message.options.as_ref().is_some_and(prost_reflect::prost_types::MessageOptions::map_entry);
    // Keys and values of maps are always length-prefixed.
    let of_fields = if map { Features { message_encoding: None, ..features } } else { features };
    lower_fields(&mut message.field, &described.field, &of_fields);
    lower_fields(&mut message.extension, &described.extension, &features);
    for (nested, described) in message.nested_type.iter_mut().zip(&described.nested_type) {
        lower_message(nested, described, &features);
    }
    // A field that is a map is a message field as well; delimited encoding does not hold for it.
    let maps: Vec<String> = message
        .nested_type
        .iter()
        .filter(|nested| {
            nested.options.as_ref().is_some_and(prost_reflect::prost_types::MessageOptions::map_entry)
        })
        .map(|nested| nested.name().to_owned())
        .collect();
    for field in &mut message.field {
        let type_name = field.type_name().rsplit('.').next().unwrap_or_default();
        if field.r#type() == Type::Group
            && field.label() == Label::Repeated
            && maps.iter().any(|name| name == type_name)
        {
            field.set_type(Type::Message);
        }
    }
}

fn lower_fields(fields: &mut [FieldDescriptorProto], described: &[Field], outer: &Features) {
    for (field, described) in fields.iter_mut().zip(described) {
        let features =
            Features::within(described.options.as_ref().and_then(|options| options.features.as_ref()), outer);
        if field.label() == Label::Optional && features.field_presence == Some(LEGACY_REQUIRED) {
            field.set_label(Label::Required);
        }
        if field.r#type() == Type::Message && features.message_encoding == Some(DELIMITED) {
            field.set_type(Type::Group);
        }
        let packable = !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message | Type::Group);
        if field.label() == Label::Repeated && packable {
            let packed = features.repeated_field_encoding != Some(EXPANDED);
            field.options.get_or_insert_with(FieldOptions::default).packed = Some(packed);
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    fn field(
        name: &str,
        number: i32,
        label: Label,
        r#type: Type,
        type_name: Option<&str>,
    ) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(r#type.into()),
            type_name: type_name.map(str::to_owned),
            ..Default::default()
        }
    }

    /// A file of edition 2023 whose message has each feature once. Options are appended as bytes: the library's types have
    /// no features.
    fn file() -> Vec<u8> {
        let plain = FileDescriptorProto {
            name: Some("e.proto".to_owned()),
            syntax: Some("editions".to_owned()),
            message_type: vec![DescriptorProto {
                name: Some("M".to_owned()),
                field: vec![
                    field("packed", 1, Label::Repeated, Type::Int32, None),
                    field("child", 2, Label::Optional, Type::Message, Some(".M")),
                    field("plain", 3, Label::Optional, Type::Int32, None),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut bytes = plain.encode_to_vec();
        let features = Features { message_encoding: Some(DELIMITED), ..Features::default() };
        let more = File {
            edition: Some(1000),
            options: Some(FileOptions { features: Some(features) }),
            ..File::default()
        };
        bytes.extend(more.encode_to_vec());
        bytes
    }

    #[test]
    fn an_edition_becomes_proto2_with_the_same_wire_format() {
        let bytes = lowered("e.proto", file()).unwrap();
        let mut pool = DescriptorPool::new();
        pool.decode_file_descriptor_proto(bytes.as_slice()).unwrap();
        let message = pool.get_message_by_name("M").unwrap();
        let field = |name: &str| message.get_field_by_name(name).unwrap();
        assert!(field("packed").is_packed() && field("child").is_group());
        assert!(field("plain").supports_presence() && !field("plain").is_required());
    }

    #[test]
    fn an_edition_of_the_future_is_refused_by_number() {
        let mut bytes = file();
        bytes.extend(File { edition: Some(4711), ..File::default() }.encode_to_vec());
        assert!(lowered("e.proto", bytes).unwrap_err().message.contains("4711"));
    }
}
