//! `call: a2a`: an agent is asked.

use crate::definition::resource::{ENDPOINT, EXTERNAL_RESOURCE, Endpoint, ExternalResource};
use crate::node::Node;
use crate::shape::{ANYTHING, Check, Least, Object, Property, Shape, TEXT};
use crate::task::COMMON;
use crate::task::call::{Arguments, arguments};

/// A method of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct A2aCall {
    /// `agentCard`: the document that describes the agent.
    pub agent_card: Option<ExternalResource>,
    /// Where the agent is; that of its card unless said.
    pub server: Option<Endpoint>,
    /// The method of the protocol.
    pub method: String,
    /// What the method is given.
    pub parameters: Option<Arguments>,
}

static WITH: Shape = Shape::Object(
    Object::of(
        "a call of A2A",
        &[
            Property::optional("agentCard", &EXTERNAL_RESOURCE),
            Property::optional("server", &ENDPOINT),
            Property::required(
                "method",
                &Shape::Choice(&[
                    "message/send",
                    "message/stream",
                    "tasks/get",
                    "tasks/list",
                    "tasks/cancel",
                    "tasks/resubscribe",
                    "tasks/pushNotificationConfig/set",
                    "tasks/pushNotificationConfig/get",
                    "tasks/pushNotificationConfig/list",
                    "tasks/pushNotificationConfig/delete",
                    "agent/getAuthenticatedExtendedCard",
                ]),
            ),
            Property::optional("parameters", &Shape::Either(&[&Shape::Map(&ANYTHING, Least::One), &TEXT])),
        ],
    )
    .rule(goes_somewhere),
);

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

fn goes_somewhere<'n>(node: &'n Node, check: &mut Check<'n>) {
    if node.get("agentCard").is_none() && node.get("server").is_none() {
        check.object(node.position, "a call of no agent", "expected agentCard or server");
    }
}

impl A2aCall {
    pub(crate) fn read(with: &Node) -> Self {
        Self {
            agent_card: with.read_at("agentCard", ExternalResource::read),
            server: with.read_at("server", Endpoint::read),
            method: with.string_at("method"),
            parameters: arguments(with, "parameters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::task::call::{Call, Named};
    use crate::testing::{problems, task};

    #[test]
    fn a_call_is_read() {
        let text = "call: a2a\nwith: {server: 'https://a', method: message/send, parameters: '${ .p }'}";
        let TaskKind::Call(call) = task(text).kind else { panic!("a call") };
        let Call::A2a(call) = *call else { panic!("of A2A") };
        assert_eq!(call.server.unwrap().uri, "https://a");
        assert_eq!(call.parameters, Some(Named::Expression("${ .p }".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let all = problems("call: a2a\nwith: {method: message/sent, parameters: {}}").join("\n");
        assert!(all.contains("did you mean \"message/send\"?") && all.contains("at least one entry"));
        assert!(all.contains("a call of no agent; expected agentCard or server"));
    }
}
