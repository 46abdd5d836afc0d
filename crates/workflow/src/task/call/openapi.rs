//! `call: openapi`: an operation of an OpenAPI document.

use serde_json::{Map, Value as Json};

use crate::definition::authentication::{AUTHENTICATION, Authentication};
use crate::definition::resource::{EXTERNAL_RESOURCE, ExternalResource};
use crate::node::Node;
use crate::shape::{FLAG, MAP, Object, Property, Shape, TEXT};
use crate::task::COMMON;
use crate::task::call::{HTTP_OUTPUT, HttpOutput};

/// An operation of an OpenAPI document.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenApiCall {
    /// The document.
    pub document: ExternalResource,
    /// `operationId`.
    pub operation_id: String,
    /// What the operation is given, with expressions.
    pub parameters: Map<String, Json>,
    /// Who calls.
    pub authentication: Option<Authentication>,
    /// What comes out.
    pub output: HttpOutput,
    /// Whether a redirection counts as an answer.
    pub redirect: bool,
}

static WITH: Shape = Shape::Object(Object::of(
    "a call of OpenAPI",
    &[
        Property::required("document", &EXTERNAL_RESOURCE),
        Property::required("operationId", &TEXT),
        Property::optional("parameters", &MAP),
        Property::optional("authentication", &AUTHENTICATION),
        Property::optional("output", &HTTP_OUTPUT),
        Property::optional("redirect", &FLAG),
    ],
));

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

impl OpenApiCall {
    pub(crate) fn read(with: &Node) -> Self {
        Self {
            document: ExternalResource::of(with, "document"),
            operation_id: with.string_at("operationId"),
            parameters: with.map_at("parameters"),
            authentication: with.read_at("authentication", Authentication::read),
            output: HttpOutput::read(with),
            redirect: with.flag_at("redirect").unwrap_or(false),
        }
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
        let text = "call: openapi\nwith: {document: {endpoint: 'https://a/swagger.json'}, operationId: getPet, parameters: {id: 1}, output: response}";
        let TaskKind::Call(call) = task(text).kind else { panic!("a call") };
        let Call::OpenApi(call) = *call else { panic!("of OpenAPI") };
        assert_eq!(
            (call.operation_id.as_str(), call.output, call.parameters.len()),
            ("getPet", HttpOutput::Response, 1)
        );
    }

    #[test]
    fn a_call_names_document_and_operation() {
        let all = problems("call: openapi\nwith: {document: 'https://a', operation: x}").join("\n");
        assert!(all.contains("expected an external resource (a map), found text"));
        assert!(all.contains("`operationId` is missing") && all.contains("did you mean \"operationId\"?"));
    }
}
