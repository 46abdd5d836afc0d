//! Messages, which both versions describe almost alike.

use serde_json::Value;

use super::MessageDescription;
use crate::document::{Set, Spot};
use crate::error::CallError;

/// The dialect that AsyncAPI's own schemas are a superset of.
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";

/// Describes a message. `name` is what it is called where it says nothing itself.
pub(crate) fn describe(
    set: &Set,
    message: Spot<'_>,
    name: &str,
    default_type: &str,
) -> Result<MessageDescription, CallError> {
    let mut content_type = message.text("contentType").map(str::to_owned);
    if let Some(traits) = set.get(message, "traits")? {
        for each in traits.items() {
            let found = set.follow(each)?.text("contentType").map(str::to_owned);
            content_type = content_type.or(found);
        }
    }
    let own = ["name", "messageId"].iter().find_map(|own| message.text(own));
    let (payload, schema_format) = schema(set, message, "payload")?;
    Ok(MessageDescription {
        name: own.unwrap_or(name).to_owned(),
        content_type: content_type.unwrap_or_else(|| default_type.to_owned()),
        payload,
        schema_format,
    })
}

/// The schema of payload or headers, and its language where it is another than JSON Schema. Version 2 tells the language beside
/// them, version 3 within.
pub(crate) fn schema(set: &Set, message: Spot<'_>, of: &str) -> Result<(Value, String), CallError> {
    let Some(declared) = set.get(message, of)? else { return Ok((Value::Bool(true), String::new())) };
    let within = declared.text("schemaFormat").filter(|_| declared.value.get("schema").is_some());
    let format = within.or_else(|| message.text("schemaFormat")).unwrap_or_default();
    if !is_json_schema(format) {
        return Ok((Value::Bool(true), format.to_owned()));
    }
    let schema = match within {
        Some(_) => set.get(declared, "schema")?.unwrap_or(declared),
        None => declared,
    };
    let mut schema = set.schema(schema)?;
    if let Value::Object(members) = &mut schema {
        members.entry("$schema").or_insert_with(|| Value::from(DRAFT_7));
    }
    Ok((schema, String::new()))
}

fn is_json_schema(format: &str) -> bool {
    let essence = format.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = ["application/vnd.aai.asyncapi", "application/schema", "application/vnd.oai.openapi"];
    // Each with `+json` or `+yaml` behind it, or not.
    essence.is_empty() || known.contains(&essence.split('+').next().unwrap_or_default())
}
