//! One call, as every protocol takes and answers it.

use std::time::Duration;

use serde_json::Value;

use crate::http::Address;
use crate::secret::Secret;

/// One call. The caller has chosen the endpoint and added credentials; the protocol does one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Base address of the copy of the service that is asked.
    pub endpoint: &'a Address,
    /// Name of the operation.
    pub operation: &'a str,
    /// The input: one JSON value; a list of messages where the operation streams its inputs.
    pub input: &'a Value,
    /// Headers (metadata of gRPC) beside those that the contract knows: trace, idempotency key, credentials.
    pub headers: &'a [(String, Secret)],
    /// Query parameters beside those that the contract knows: keys that are given there.
    pub query: &'a [(String, Secret)],
    /// Time for this attempt, answer included.
    pub timeout: Duration,
    /// What is read of an answer.
    pub limits: Limits,
}

/// Headers and query parameters that go along with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) query: Vec<(String, Secret)>,
}

/// What is read of an answer at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, after decompression; of each message where outputs are streamed.
    pub bytes: usize,
    /// How deep JSON or XML may be nested.
    pub depth: usize,
    /// Messages of a stream that are collected into a list.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 128, messages: 100_000 }
    }
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The output: one JSON value; a list of messages where the operation streams its outputs.
    pub output: Value,
    /// The status as the protocol writes it: `200`, `OK`.
    pub status: String,
    /// Headers (and trailers of gRPC, headers of SOAP as JSON text) that came with it, lower-case names.
    pub headers: Vec<(String, String)>,
}
