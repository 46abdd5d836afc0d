//! `call: asyncapi`: a message is published, or messages are consumed.

use serde_json::{Map, Value as Json};

use crate::definition::DURATION;
use crate::definition::authentication::{AUTHENTICATION, Authentication};
use crate::definition::event::{ITERATOR, SubscriptionIterator};
use crate::definition::resource::{EXTERNAL_RESOURCE, ExternalResource};
use crate::duration::DurationValue;
use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{MAP, Object, Property, Shape, TEXT, Text, WHOLE};
use crate::task::COMMON;

/// An operation of an AsyncAPI document.
#[derive(Clone, Debug, PartialEq)]
pub struct AsyncApiCall {
    /// The document.
    pub document: ExternalResource,
    /// What of the document is meant.
    pub target: AsyncApiTarget,
    /// `server`: its name and variables.
    pub server: Option<AsyncApiServer>,
    /// What the server has to speak.
    pub protocol: Option<String>,
    /// What is done there.
    pub action: AsyncApiAction,
    /// Who calls.
    pub authentication: Option<Authentication>,
}

/// What of a document is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsyncApiTarget {
    /// A channel (documents of version 2).
    Channel(String),
    /// An operation (documents of version 3).
    Operation(String),
}

/// A server of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct AsyncApiServer {
    /// Its name.
    pub name: String,
    /// Its variables.
    pub variables: Map<String, Json>,
}

/// Publishing or consuming.
#[derive(Clone, Debug, PartialEq)]
pub enum AsyncApiAction {
    /// `message`: it is published; both with expressions.
    Message {
        /// What it says.
        payload: Option<Map<String, Json>>,
        /// Its headers.
        headers: Option<Map<String, Json>>,
    },
    /// `subscription`: messages are consumed.
    Subscription(Box<AsyncApiSubscription>),
}

/// How messages are consumed.
#[derive(Clone, Debug, PartialEq)]
pub struct AsyncApiSubscription {
    /// An expression that a message has to pass.
    pub filter: Option<String>,
    /// `consume.for`: how long.
    pub r#for: Option<DurationValue>,
    /// How many, or until when.
    pub consume: Consume,
    /// What is done with each.
    pub foreach: Option<SubscriptionIterator>,
}

/// How many messages are consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consume {
    /// So many.
    Amount(i64),
    /// While an expression holds.
    While(String),
    /// Until an expression holds.
    Until(String),
}

static SERVER: Shape = Shape::Object(Object::of(
    "a server of AsyncAPI",
    &[Property::required("name", &TEXT), Property::optional("variables", &MAP)],
));

static MESSAGE: Shape = Shape::Object(Object::of(
    "a message",
    &[Property::optional("payload", &MAP), Property::optional("headers", &MAP)],
));

static CONSUME: Shape = Shape::Object(
    Object::of("a policy of consuming", &[Property::optional("for", &DURATION)]).alternatives(&[
        Property::optional("amount", &WHOLE),
        Property::optional("while", &Shape::Text(Text::Expression)),
        Property::optional("until", &Shape::Text(Text::Expression)),
    ]),
);

static SUBSCRIPTION: Shape = Shape::Object(Object::of(
    "a subscription",
    &[
        Property::optional("filter", &Shape::Text(Text::Expression)),
        Property::required("consume", &CONSUME),
        Property::optional("foreach", &ITERATOR),
    ],
));

static WITH: Shape = Shape::Object(
    Object::of(
        "a call of AsyncAPI",
        &[
            Property::required("document", &EXTERNAL_RESOURCE),
            Property::optional("channel", &TEXT),
            Property::optional("operation", &TEXT),
            Property::optional("server", &SERVER),
            Property::optional(
                "protocol",
                &Shape::Choice(&[
                    "amqp",
                    "amqp1",
                    "anypointmq",
                    "googlepubsub",
                    "http",
                    "ibmmq",
                    "jms",
                    "kafka",
                    "mercure",
                    "mqtt",
                    "mqtt5",
                    "nats",
                    "pulsar",
                    "redis",
                    "sns",
                    "solace",
                    "sqs",
                    "stomp",
                    "ws",
                ]),
            ),
            Property::optional("message", &MESSAGE),
            Property::optional("subscription", &SUBSCRIPTION),
            Property::optional("authentication", &AUTHENTICATION),
        ],
    )
    .exactly_one(&[&["channel", "operation"], &["message", "subscription"]]),
);

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

impl AsyncApiCall {
    pub(crate) fn read(with: &Node, at: &Pointer) -> Self {
        let target = match with.text_at("channel") {
            Some(channel) => AsyncApiTarget::Channel(channel),
            None => AsyncApiTarget::Operation(with.string_at("operation")),
        };
        let subscription = |node: &Node| AsyncApiSubscription::read(node, &at.key("subscription"));
        let action = match with.read_at("subscription", subscription) {
            Some(subscription) => AsyncApiAction::Subscription(Box::new(subscription)),
            None => AsyncApiAction::message(with.get("message").unwrap_or(with)),
        };
        Self {
            document: ExternalResource::of(with, "document"),
            target,
            server: with.read_at("server", AsyncApiServer::read),
            protocol: with.text_at("protocol"),
            action,
            authentication: with.read_at("authentication", Authentication::read),
        }
    }
}

impl AsyncApiServer {
    fn read(node: &Node) -> Self {
        Self { name: node.string_at("name"), variables: node.map_at("variables") }
    }
}

impl AsyncApiAction {
    fn message(node: &Node) -> Self {
        let map = |key: &str| node.get(key).map(|_| node.map_at(key));
        Self::Message { payload: map("payload"), headers: map("headers") }
    }
}

impl AsyncApiSubscription {
    fn read(node: &Node, at: &Pointer) -> Self {
        let policy = node.get("consume").unwrap_or(node);
        Self {
            filter: node.text_at("filter"),
            r#for: policy.read_at("for", DurationValue::read),
            consume: Consume::read(policy),
            foreach: node.read_at("foreach", |each| SubscriptionIterator::read(each, &at.key("foreach"))),
        }
    }
}

impl Consume {
    fn read(node: &Node) -> Self {
        let until = || Self::Until(node.string_at("until"));
        let amount = node.whole_at("amount").map(Self::Amount);
        amount.or_else(|| node.text_at("while").map(Self::While)).unwrap_or_else(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::task::call::Call;
    use crate::testing::{problems, task};

    fn read(with: &str) -> AsyncApiCall {
        let TaskKind::Call(call) = task(&format!("call: asyncapi\nwith: {with}")).kind else {
            panic!("a call")
        };
        let Call::AsyncApi(call) = *call else { panic!("of AsyncAPI") };
        call
    }

    #[test]
    fn messages_are_published_or_consumed() {
        let call = read(
            "{document: {endpoint: a}, operation: o, server: {name: s}, protocol: mqtt, message: {payload: {x: 1}}}",
        );
        assert_eq!(
            (call.target, call.server.unwrap().name.as_str()),
            (AsyncApiTarget::Operation("o".to_owned()), "s")
        );
        assert!(matches!(call.action, AsyncApiAction::Message { payload: Some(_), headers: None }));
        let call = read(
            "{document: {endpoint: a}, channel: c, subscription: {consume: {amount: 3, for: PT1M}, foreach: {do: [{a: {wait: PT1S}}]}}}",
        );
        let AsyncApiAction::Subscription(subscription) = call.action else { panic!("a subscription") };
        assert_eq!((subscription.consume, subscription.r#for.is_some()), (Consume::Amount(3), true));
        assert_eq!(
            subscription.foreach.unwrap().tasks[0].reference,
            "/do/0/t/with/subscription/foreach/do/0/a"
        );
    }

    #[test]
    fn one_target_and_one_action() {
        let all = |with: &str| problems(&format!("call: asyncapi\nwith: {with}")).join("\n");
        assert!(all("{document: {endpoint: a}, operation: o}").contains("needs message or subscription"));
        assert!(
            all("{document: {endpoint: a}, operation: o, channel: c, message: {}}")
                .contains("has both channel and operation")
        );
        assert!(
            all("{operation: o, subscription: {consume: {for: PT1S}}}")
                .contains("a policy of consuming needs amount or while or until")
        );
        assert!(
            all("{document: {endpoint: a}, operation: o, message: {}, protocol: mqt}")
                .contains("did you mean \"mqtt\"?")
        );
    }
}
