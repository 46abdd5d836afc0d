//! How long a task or workflow may take.

use crate::definition::DURATION;
use crate::duration::{Duration, DurationValue};
use crate::node::Node;
use crate::shape::{Object, Property, Section, Shape, Text};

/// How long something may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The name of a timeout in `use.timeouts`.
    Named(String),
    /// `after`: when it is interrupted.
    After(DurationValue),
}

pub(crate) static DECLARED: Shape =
    Shape::Object(Object::of("a timeout", &[Property::required("after", &DURATION)]));

pub(crate) static TIMEOUT: Shape =
    Shape::Either(&[&DECLARED, &Shape::Text(Text::Declared(Section::Timeouts))]);

impl Timeout {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text() {
            Some(name) => Self::Named(name.to_owned()),
            None => Self::After(Self::after(node)),
        }
    }

    /// The duration of a declared timeout.
    pub(crate) fn after(node: &Node) -> DurationValue {
        node.read_at("after", DurationValue::read).unwrap_or(DurationValue::Fixed(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{problems, task};

    #[test]
    fn a_timeout_is_inline_or_named() {
        let inline = task("set: {a: 1}\ntimeout: {after: PT1S}").timeout;
        assert_eq!(inline, Some(Timeout::After(DurationValue::Fixed(Duration::parse("PT1S").unwrap()))));
        let of_expression = task("set: {a: 1}\ntimeout: {after: '${ .t }'}").timeout;
        assert_eq!(of_expression, Some(Timeout::After(DurationValue::Expression("${ .t }".to_owned()))));
        assert!(
            problems("set: {a: 1}\ntimeout: long")[0].contains("\"long\" is not declared in `use.timeouts`")
        );
        assert!(problems("set: {a: 1}\ntimeout: {after: {hours: -1}}")[0].contains("below zero"));
    }
}
