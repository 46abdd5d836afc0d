//! `call`: something is asked, over a protocol of the DSL or as a function.

pub(crate) mod a2a;
pub(crate) mod asyncapi;
pub(crate) mod function;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod mcp;
pub(crate) mod openapi;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{ByValue, Shape};

/// What is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// An agent, over A2A.
    A2a(a2a::A2aCall),
    /// An operation of an AsyncAPI document.
    AsyncApi(asyncapi::AsyncApiCall),
    /// A function.
    Function(function::FunctionCall),
    /// A method of a gRPC service.
    Grpc(grpc::GrpcCall),
    /// An endpoint of HTTP.
    Http(http::HttpCall),
    /// A server of the Model Context Protocol.
    Mcp(mcp::McpCall),
    /// An operation of an OpenAPI document.
    OpenApi(openapi::OpenApiCall),
}

/// Values that are named, or an expression that gives them.
#[derive(Clone, Debug, PartialEq)]
pub enum Named<T> {
    /// The values; each may be an expression.
    Each(T),
    /// The expression.
    Expression(String),
}

/// Arguments: a map with expressions, or an expression.
pub type Arguments = Named<Map<String, Json>>;
/// Texts by name (headers, a query), or an expression.
pub type Texts = Named<BTreeMap<String, String>>;

/// What a call over HTTP gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpOutput {
    /// The body, by its type.
    #[default]
    Content,
    /// The body as base64.
    Raw,
    /// The request, the status, the headers and the body.
    Response,
}

pub(crate) static HTTP_OUTPUT: Shape = Shape::Choice(&["raw", "content", "response"]);

/// The protocols of the DSL; every other call is one of a function.
pub(crate) static PROTOCOLS: [&str; 6] = ["a2a", "asyncapi", "grpc", "http", "mcp", "openapi"];

pub(crate) static CALL: Shape = Shape::ByValue(ByValue {
    key: "call",
    variants: &[
        ("a2a", &a2a::CALL),
        ("asyncapi", &asyncapi::CALL),
        ("grpc", &grpc::CALL),
        ("http", &http::CALL),
        ("mcp", &mcp::CALL),
        ("openapi", &openapi::CALL),
    ],
    otherwise: &function::CALL,
});

impl Call {
    pub(crate) fn read(node: &Node, at: &Pointer) -> Self {
        let with = node.get("with").unwrap_or(node);
        match node.get("call").and_then(Node::text) {
            Some("a2a") => Self::A2a(a2a::A2aCall::read(with)),
            Some("asyncapi") => Self::AsyncApi(asyncapi::AsyncApiCall::read(with, &at.key("with"))),
            Some("grpc") => Self::Grpc(grpc::GrpcCall::read(with)),
            Some("http") => Self::Http(http::HttpCall::read(with)),
            Some("mcp") => Self::Mcp(mcp::McpCall::read(with)),
            Some("openapi") => Self::OpenApi(openapi::OpenApiCall::read(with)),
            name => Self::Function(function::FunctionCall::read(name.unwrap_or_default(), node)),
        }
    }
}

impl<T> Named<T> {
    pub(crate) fn read(node: &Node, each: impl Fn(&Node) -> T) -> Self {
        match node.text() {
            Some(expression) => Self::Expression(expression.to_owned()),
            None => Self::Each(each(node)),
        }
    }
}

/// The arguments at a key.
pub(crate) fn arguments(node: &Node, key: &str) -> Option<Arguments> {
    node.read_at(key, |node| Named::read(node, |node| node.named(Node::to_json).into_iter().collect()))
}

impl HttpOutput {
    /// The value of `output`; the content unless said.
    pub(crate) fn read(node: &Node) -> Self {
        match node.get("output").and_then(Node::text) {
            Some("raw") => Self::Raw,
            Some("response") => Self::Response,
            _ => Self::Content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_are_those_that_have_a_shape() {
        let Shape::ByValue(by) = &CALL else { panic!("by value") };
        assert_eq!(by.variants.iter().map(|(name, _)| *name).collect::<Vec<_>>(), PROTOCOLS);
    }
}
