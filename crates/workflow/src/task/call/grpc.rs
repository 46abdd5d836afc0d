//! `call: grpc`: a method of a gRPC service.

use serde_json::{Map, Value as Json};

use crate::definition::authentication::{AUTHENTICATION, Authentication};
use crate::definition::resource::{EXTERNAL_RESOURCE, ExternalResource};
use crate::node::Node;
use crate::shape::{MAP, Object, Property, Shape, TEXT, Text};
use crate::task::COMMON;

/// A method of a gRPC service.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcCall {
    /// The document that describes the service.
    pub proto: ExternalResource,
    /// `service.name`: with its package.
    pub service: String,
    /// `service.host`.
    pub host: String,
    /// `service.port`.
    pub port: Option<u16>,
    /// `service.authentication`.
    pub authentication: Option<Authentication>,
    /// The method.
    pub method: String,
    /// The fields of the message, with expressions.
    pub arguments: Map<String, Json>,
}

static SERVICE: Shape = Shape::Object(Object::of(
    "a gRPC service",
    &[
        Property::required("name", &TEXT),
        Property::required("host", &Shape::Text(Text::Host)),
        Property::optional("port", &Shape::Whole(Some((0, 65_535)))),
        Property::optional("authentication", &AUTHENTICATION),
    ],
));

static WITH: Shape = Shape::Object(Object::of(
    "a call of gRPC",
    &[
        Property::required("proto", &EXTERNAL_RESOURCE),
        Property::required("service", &SERVICE),
        Property::required("method", &TEXT),
        Property::optional("arguments", &MAP),
    ],
));

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

impl GrpcCall {
    pub(crate) fn read(with: &Node) -> Self {
        let service = with.get("service").unwrap_or(with);
        Self {
            proto: ExternalResource::of(with, "proto"),
            service: service.string_at("name"),
            host: service.string_at("host"),
            port: service.whole_at("port").and_then(|port| u16::try_from(port).ok()),
            authentication: service.read_at("authentication", Authentication::read),
            method: with.string_at("method"),
            arguments: with.map_at("arguments"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::task::call::Call;
    use crate::testing::{problems, task};

    #[test]
    fn a_call_is_read() {
        let text = "call: grpc\nwith: {proto: {endpoint: 'file://a.proto'}, service: {name: a.B, host: localhost, port: 50051}, method: C, arguments: {d: 1}}";
        let TaskKind::Call(call) = task(text).kind else { panic!("a call") };
        let Call::Grpc(call) = *call else { panic!("of gRPC") };
        assert_eq!(
            (call.service.as_str(), call.host.as_str(), call.port),
            ("a.B", "localhost", Some(50_051))
        );
        assert_eq!((call.proto.endpoint.uri.as_str(), call.arguments.len()), ("file://a.proto", 1));
    }

    #[test]
    fn a_port_and_a_host_are_checked() {
        let text = "call: grpc\nwith: {proto: {endpoint: a}, service: {name: a.B, host: 'a:1', port: 70000}, method: C}";
        let all = problems(text).join("\n");
        assert!(all.contains("expected a whole number from 0 to 65535, found 70000"));
        assert!(all.contains("expected the name of a host, without scheme and port, found \"a:1\""));
    }
}
