//! What services can be asked, and calls of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One service in the registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractSummary {
    /// Name of the service.
    pub service: String,
    /// `rest`, `grpc` or `soap`; left out while nothing is known of what it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Title of the contract.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Version of the contract.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How many operations it has.
    pub operations: usize,
    /// Whether it runs elsewhere.
    pub external: bool,
    /// Where it is called now, without paths.
    pub endpoints: Vec<String>,
    /// `ready`, `not ready` or `unknown`.
    pub health: String,
    /// `closed`, `open` or `half-open`: whether calls are let through.
    pub circuit: String,
    /// Energy of one call, kWh, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_per_request_kwh: Option<f64>,
    /// Why it cannot be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was found of the words that were searched for: `getOffers: lists offers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
}

/// A contract with everything that can be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractDetail {
    /// The service.
    pub summary: ContractSummary,
    /// What can be asked, by name.
    pub operations: Vec<OperationView>,
}

/// One thing that can be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    /// Its name.
    pub name: String,
    /// How the protocol names it: `GET /offers/{id}`.
    pub path: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// `none`, `inputs`, `outputs` or `both`: what is a list of messages.
    pub streaming: String,
    /// Whether the same request again does no harm.
    pub repeatable: bool,
    /// Whether it should not be used any more.
    pub deprecated: bool,
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallRequest {
    /// Name of the operation.
    pub operation: String,
    /// The input: one JSON value; a list of messages where the operation streams its inputs.
    #[serde(default)]
    pub input: Value,
    /// Longest time, seconds. Default and at most: the service's `calls.deadline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Sent as `Idempotency-Key`, the same in every attempt; the call may then be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Further headers, or metadata of gRPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// What a service answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallAnswer {
    /// The output.
    pub output: Value,
    /// The status as the protocol writes it: `200`, `OK`.
    pub status: String,
    /// Headers and trailers.
    pub headers: Vec<(String, String)>,
    /// How many attempts it took, 1 or more.
    pub attempts: u32,
    /// Where it was answered, without the path.
    pub endpoint: String,
    /// The trace that the call belongs to, 32 hexadecimal digits.
    pub trace_id: String,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// Why a call gave no answer; the one entry of a problem's `problems`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallFailure {
    /// The whole, for people.
    pub text: String,
    /// One word: `bad_input`, `not_allowed`, `unreachable`, `timed_out`, `bad_answer`, `fault` …
    pub kind: String,
    /// Name of the service.
    pub service: String,
    /// Name of the operation.
    pub operation: String,
    /// Where: a JSON pointer, a line and column, a header.
    pub place: String,
    /// What the service said itself: `code`, `status`, `temporary`, `detail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Value>,
}
