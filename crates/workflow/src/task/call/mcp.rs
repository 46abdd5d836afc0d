//! `call: mcp`: a server of the Model Context Protocol is asked.

use std::collections::BTreeMap;

use crate::definition::DURATION;
use crate::definition::resource::{ENDPOINT, Endpoint};
use crate::duration::DurationValue;
use crate::node::Node;
use crate::shape::{Extra, MAP, MAP_OF_TEXTS, Object, Property, Shape, TEXT, TEXTS};
use crate::task::COMMON;
use crate::task::call::{Arguments, arguments};

/// A method of a server of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct McpCall {
    /// `protocolVersion`.
    pub protocol_version: String,
    /// The method of the protocol.
    pub method: String,
    /// What the method is given.
    pub parameters: Option<Arguments>,
    /// How long it may take.
    pub timeout: Option<DurationValue>,
    /// How the server is reached.
    pub transport: McpTransport,
    /// `transport.options`.
    pub options: BTreeMap<String, String>,
    /// `client`: as whom.
    pub client: Option<McpClient>,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum McpTransport {
    /// Over HTTP.
    Http {
        /// Where it is.
        endpoint: Endpoint,
        /// Headers of every request.
        headers: BTreeMap<String, String>,
    },
    /// As a program, over its standard streams.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment.
        environment: BTreeMap<String, String>,
    },
}

/// As whom a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpClient {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

static HTTP: Shape = Shape::Object(
    Object::of(
        "a transport over HTTP",
        &[Property::required("endpoint", &ENDPOINT), Property::optional("headers", &MAP_OF_TEXTS)],
    )
    .extra(Extra::Unread),
);

static STDIO: Shape = Shape::Object(
    Object::of(
        "a transport over standard streams",
        &[
            Property::required("command", &TEXT),
            Property::optional("arguments", &TEXTS),
            Property::optional("environment", &MAP_OF_TEXTS),
        ],
    )
    .extra(Extra::Unread),
);

static TRANSPORT: Shape = Shape::Object(
    Object::of(
        "a transport",
        &[
            Property::optional("http", &HTTP),
            Property::optional("stdio", &STDIO),
            Property::optional("options", &MAP_OF_TEXTS),
        ],
    )
    .exactly_one(&[&["http", "stdio"]])
    .extra(Extra::Unread),
);

static CLIENT: Shape = Shape::Object(
    Object::of("a client", &[Property::required("name", &TEXT), Property::required("version", &TEXT)])
        .extra(Extra::Unread),
);

static WITH: Shape = Shape::Object(
    Object::of(
        "a call of MCP",
        &[
            Property::optional("protocolVersion", &TEXT),
            Property::required(
                "method",
                &Shape::Choice(&[
                    "tools/list",
                    "tools/call",
                    "prompts/list",
                    "prompts/get",
                    "resources/list",
                    "resources/read",
                    "resources/templates/list",
                ]),
            ),
            Property::optional("parameters", &Shape::Either(&[&MAP, &TEXT])),
            Property::optional("timeout", &DURATION),
            Property::required("transport", &TRANSPORT),
            Property::optional("client", &CLIENT),
        ],
    )
    .extra(Extra::Unread),
);

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

impl McpCall {
    pub(crate) fn read(with: &Node) -> Self {
        let transport = with.get("transport").unwrap_or(with);
        let client =
            |node: &Node| McpClient { name: node.string_at("name"), version: node.string_at("version") };
        Self {
            protocol_version: with.text_at("protocolVersion").unwrap_or_else(|| "2025-06-18".to_owned()),
            method: with.string_at("method"),
            parameters: arguments(with, "parameters"),
            timeout: with.read_at("timeout", DurationValue::read),
            transport: McpTransport::read(transport),
            options: transport.texts_at("options"),
            client: with.read_at("client", client),
        }
    }
}

impl McpTransport {
    fn read(node: &Node) -> Self {
        if let Some(http) = node.get("http") {
            return Self::Http {
                endpoint: Endpoint::of(http, "endpoint"),
                headers: http.texts_at("headers"),
            };
        }
        let stdio = node.get("stdio").unwrap_or(node);
        Self::Stdio {
            command: stdio.string_at("command"),
            arguments: stdio.list_at("arguments"),
            environment: stdio.texts_at("environment"),
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
        let text = "call: mcp\nwith: {method: tools/call, parameters: {name: x}, transport: {stdio: {command: a, arguments: [b]}, options: {c: d}}}";
        let TaskKind::Call(call) = task(text).kind else { panic!("a call") };
        let Call::Mcp(call) = *call else { panic!("of MCP") };
        assert_eq!((call.protocol_version.as_str(), call.options.len()), ("2025-06-18", 1));
        assert!(matches!(call.transport, McpTransport::Stdio { arguments, .. } if arguments == ["b"]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let all = |with: &str| problems(&format!("call: mcp\nwith: {with}")).join("\n");
        assert!(all("{method: tools/list, transport: {}}").contains("a transport needs http or stdio"));
        assert!(
            all("{method: tools/list, transport: {http: {endpoint: a}, stdio: {command: b}}}")
                .contains("has both")
        );
        assert!(
            all("{method: tools/list, transport: {stdio: {comand: b}}}")
                .contains("did you mean \"command\"?")
        );
        assert!(
            all("{method: tools/list, timout: PT1S, transport: {stdio: {command: b}}}")
                .contains("nothing reads it")
        );
    }
}
