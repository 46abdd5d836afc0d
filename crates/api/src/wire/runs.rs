//! Runs of workflows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A run that is to begin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunStart {
    /// Its input; an empty object when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Equal for requests of which only the first starts a run; the others answer with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Labels beside those of the workflow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How long to wait for its end, seconds, 0…300; 0 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<f64>,
}

/// A run that began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunBegun {
    /// Its name.
    pub name: String,
    /// Whether it began by this request; if not, an earlier one had the same key.
    pub new: bool,
    /// `completed` or `faulted`; left out when it had not ended after the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its output, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Its error, when it faulted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Value>,
}

/// An order to runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunOrder {
    /// `cancel`, `suspend`, `resume` or `retry`.
    pub order: String,
    /// Names of the runs that are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Without names: those of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Without names: those in one of these states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Without names: those whose labels match, `a=b,c!=d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunOrdered {
    /// Names of the runs that follow it.
    pub done: Vec<String>,
    /// Those that it does not fit, and why.
    pub passed: Vec<RunPassed>,
    /// Whether there are more than one order takes: repeat it.
    pub more: bool,
}

/// A run that an order does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunPassed {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// An event for one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSignal {
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// What is done about a task of a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDone {
    /// `claim`, `complete` or `refuse`.
    pub action: String,
    /// What a complete task gives; it has to fit its form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which runs are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this workflow.
    pub workflow: Option<String>,
    /// In one of these states.
    pub states: Vec<String>,
    /// With these labels.
    pub selector: Option<String>,
    /// The most.
    pub limit: usize,
}
