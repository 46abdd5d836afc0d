//! What a service can be asked, whatever it speaks.

mod diff;
mod search;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use diff::{Difference, DifferenceKind, compare as compare_contracts};
pub use search::{Hit, search as search_contracts};

/// What a service can be asked. Made from a document (OpenAPI, `.proto`, WSDL), the same for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// What it speaks.
    pub protocol: Protocol,
    /// The document's title: `info.title`, the gRPC service, the WSDL's service.
    pub title: String,
    /// The document's version: `info.version`, the last part of a package such as `v1`; empty where none is told.
    pub version: String,
    /// What can be asked, by name, each name once.
    pub operations: Vec<Operation>,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP with JSON, forms or bytes, described by OpenAPI.
    Rest,
    /// gRPC.
    Grpc,
    /// SOAP 1.1 or 1.2.
    Soap,
}

impl Protocol {
    /// Its name for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
            Self::Soap => "soap",
        }
    }
}

/// One thing that can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name, as `sos call SERVICE OPERATION` takes it.
    pub name: String,
    /// How the protocol names it: `GET /offers/{id}`, `/pkg.Service/Method`, `urn:action`.
    pub path: String,
    /// What it does, in one line; empty where the document does not say.
    pub summary: String,
    /// JSON Schema (2020-12) of the input, one JSON value. Self-contained: references lead to its own `$defs`.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// What flows more than once.
    pub streaming: Streaming,
    /// Whether the same request again does no harm, as the protocol or the document says.
    pub repeatable: bool,
    /// Whether its owner asks not to use it any more.
    pub deprecated: bool,
}

/// What flows more than once in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Streaming {
    /// One input, one output.
    #[default]
    None,
    /// Many inputs, one output.
    Inputs,
    /// One input, many outputs.
    Outputs,
    /// Many inputs, many outputs, in any order.
    Both,
}

impl Streaming {
    /// Whether the input is a list of messages.
    #[must_use]
    pub const fn inputs(self) -> bool {
        matches!(self, Self::Inputs | Self::Both)
    }

    /// Whether the output is a list of messages.
    #[must_use]
    pub const fn outputs(self) -> bool {
        matches!(self, Self::Outputs | Self::Both)
    }
}

impl Contract {
    /// The operation with this name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.name == name)
    }
}

/// A document with the others that it refers to, all by name. The first is the one that is meant.
///
/// Names are relative paths or addresses as the documents write them, resolved against the name of the document that
/// refers; nothing is ever fetched while a document is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// Name and text.
    pub all: Vec<(String, Vec<u8>)>,
}

impl Documents {
    /// One document that refers to no other.
    pub fn one(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { all: vec![(name.into(), text.into())] }
    }

    /// The text with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_slice())
    }
}
