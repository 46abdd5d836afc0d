//! `emit`: an event is published.

use serde_json::{Map, Value as Json};

use crate::definition::event::EMITTED;
use crate::node::Node;
use crate::shape::{Check, Extra, Object, Property, Shape};
use crate::task::COMMON;

/// What is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// `event.with`: attribute → a value or an expression; `type` is there.
    pub with: Map<String, Json>,
}

static EVENT: Shape = Shape::Object(
    Object::of("an event", &[Property::optional("with", &EMITTED)]).extra(Extra::Unread).rule(has_attributes),
);

pub(crate) static EMIT: Shape = Shape::Object(
    Object::of(
        "an emit task",
        &[Property::required(
            "emit",
            &Shape::Object(Object::of("what is emitted", &[Property::required("event", &EVENT)])),
        )],
    )
    .inherits(&COMMON),
);

fn has_attributes<'n>(node: &'n Node, check: &mut Check<'n>) {
    if node.get("with").is_none() {
        check.object(node.position, "an event without a type", "expected `with` and in it at least `type`");
    }
}

impl Emit {
    pub(crate) fn read(node: &Node) -> Self {
        Self { with: node.get("event").map(|event| event.map_at("with")).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn an_event_has_a_type_and_free_attributes() {
        let text = "emit: {event: {with: {type: a.b, source: 'https://a', mine: '${ .x }', data: {y: [1]}}}}";
        let TaskKind::Emit(emit) = task(text).kind else { panic!("an emit task") };
        assert_eq!(emit.with["mine"], json!("${ .x }"));
        assert!(
            problems("emit: {event: {with: {source: 'https://a'}}}")[0]
                .contains("`type` is missing in an event")
        );
        assert!(problems("emit: {event: {}}")[0].contains("an event without a type"));
    }

    #[test]
    fn a_time_is_one_or_an_expression() {
        let at = |time: &str| problems(&format!("emit: {{event: {{with: {{type: a, time: '{time}'}}}}}}"));
        assert!(at("2026-07-01T12:00:00Z").is_empty() && at("${ now | todate }").is_empty());
        assert!(at("noon")[0].contains("\"noon\" is no time"));
    }
}
