//! Schemas of data.

use jsonschema::Validator as Compiled;
use serde_json::Value;

use crate::jq::Data;
use crate::template::json;

/// A schema that was compiled.
#[derive(Debug)]
pub(crate) struct Validator(Compiled);

/// Checks a value against a JSON Schema.
///
/// # Errors
/// What is no JSON Schema, or why the value is not what it wants.
pub fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    Validator::compile(schema)?.check_json(value)
}

/// The most problems of a value that are listed.
const LISTED: usize = 5;

impl Validator {
    /// # Errors
    /// What is no JSON Schema.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::validator_for(schema).map(Self).map_err(|error| error.to_string())
    }

    /// # Errors
    /// Why the data is not what the schema wants.
    pub(crate) fn check(&self, data: &Data) -> Result<(), String> {
        self.check_json(&json(data))
    }

    fn check_json(&self, value: &Value) -> Result<(), String> {
        let said = |error: jsonschema::ValidationError<'_>| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("{path}: {error}"),
        };
        if self.0.is_valid(value) {
            return Ok(());
        }
        // Sorted, because the order in which they are found is not the same in every process.
        let mut found: Vec<String> = self.0.iter_errors(value).map(said).collect();
        found.sort();
        if found.len() > LISTED {
            found.truncate(LISTED);
            found.push("and more".to_owned());
        }
        Err(found.join("; "))
    }
}
