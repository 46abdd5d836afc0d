//! Lines of services' logs that are searched for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which lines are wanted; what is left out narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Names of services; none: all.
    pub services: Vec<String>,
    /// Name of the replica, such as `home-1-0`.
    pub replica: Option<String>,
    /// `stdout` or `stderr`.
    pub stream: Option<String>,
    /// Level, in lower case: `error`.
    pub level: Option<String>,
    /// Trace id, in lower-case hexadecimal digits.
    pub trace: Option<String>,
    /// Id of the run of the process.
    pub run: Option<String>,
    /// Text that the line holds, upper and lower case alike.
    pub contains: Option<String>,
    /// From then on, inclusive.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// Most lines, 1…5000: with [`LogQuery::ascending`] the oldest, else the newest that match.
    pub limit: usize,
    /// The oldest first; else the newest first.
    pub ascending: bool,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    /// When it was written, RFC 3339; left out where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Whether the line says so itself; else it is reckoned from lines and files around it.
    pub time_exact: bool,
    /// Name of the service.
    pub service: String,
    /// Name of the replica.
    pub replica: String,
    /// `stdout` or `stderr`, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Level, in lower case; left out where the line names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// What it says.
    pub message: String,
    /// Trace it belongs to, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span it belongs to, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Id of the run of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Other fields of a structured line.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogAnswer {
    /// In the order that was asked for.
    pub records: Vec<LogRecord>,
    /// Whether there may be more: `limit` was reached, or the search ended at its bound.
    pub truncated: bool,
    /// How many bytes of logs were read.
    pub scanned_bytes: u64,
    /// Files that could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
