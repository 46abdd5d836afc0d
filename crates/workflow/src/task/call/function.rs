//! `call` of a function: declared in `use.functions`, of a catalog, or at a URL.

use serde_json::{Map, Value as Json};

use crate::node::Node;
use crate::shape::{MAP, Object, Property, Shape, Text};
use crate::task::COMMON;

/// A function, with what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionCall {
    /// A name in `use.functions`, `name:version@catalog`, or a URL.
    pub function: String,
    /// What it is given, with expressions.
    pub with: Map<String, Json>,
}

pub(crate) static CALL: Shape = Shape::Object(
    Object::of(
        "a call task",
        &[Property::required("call", &Shape::Text(Text::Function)), Property::optional("with", &MAP)],
    )
    .inherits(&COMMON),
);

impl FunctionCall {
    pub(crate) fn read(function: &str, node: &Node) -> Self {
        Self { function: function.to_owned(), with: node.map_at("with") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::task::call::Call;
    use crate::testing::{problems, task};

    #[test]
    fn a_call_is_read() {
        let TaskKind::Call(call) = task("call: soap:1.0.0@default\nwith: {a: 1}").kind else {
            panic!("a call")
        };
        let Call::Function(FunctionCall { function, with }) = *call else { panic!("of a function") };
        assert_eq!((function.as_str(), with.len()), ("soap:1.0.0@default", 1));
    }

    #[test]
    fn a_slip_in_a_protocol_is_recognised() {
        assert_eq!(
            problems("call: htpp\nwith: {}"),
            [
                "8:13: do[0].t.call: \"htpp\" is not declared in `use.functions`; did you mean \"http\"?; known: a2a, asyncapi, grpc, http, mcp, openapi"
            ]
        );
        assert!(
            problems("call: 5")[0].contains("do[0].t.call: expected the name of a function, found a number")
        );
    }
}
