//! `raise`: the workflow fails on purpose.

use crate::definition::error::{ERROR, ErrorDefinition};
use crate::node::Node;
use crate::shape::{Object, Property, Section, Shape, Text};
use crate::task::COMMON;

/// The error that is raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raise {
    /// The name of an error in `use.errors`.
    Named(String),
    /// The error itself.
    Error(ErrorDefinition),
}

pub(crate) static RAISE: Shape = Shape::Object(
    Object::of(
        "a raise task",
        &[Property::required(
            "raise",
            &Shape::Object(Object::of(
                "what is raised",
                &[Property::required(
                    "error",
                    &Shape::Either(&[&ERROR, &Shape::Text(Text::Declared(Section::Errors))]),
                )],
            )),
        )],
    )
    .inherits(&COMMON),
);

impl Raise {
    pub(crate) fn read(node: &Node) -> Self {
        let error = node.get("error").unwrap_or(node);
        match error.text() {
            Some(name) => Self::Named(name.to_owned()),
            None => Self::Error(ErrorDefinition::read(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn an_error_is_inline_or_declared() {
        let TaskKind::Raise(Raise::Error(error)) =
            task("raise: {error: {type: 'https://a', status: 400, title: x}}").kind
        else {
            panic!("a raise task")
        };
        assert_eq!(
            (error.kind.as_str(), error.status, error.title.as_deref()),
            ("https://a", 400, Some("x"))
        );
        assert!(
            problems("raise: {error: mine}")[0]
                .contains("\"mine\" is not declared in `use.errors`; none is known")
        );
        assert!(problems("raise: {}")[0].contains("`error` is missing"));
    }
}
