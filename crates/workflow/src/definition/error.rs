//! Errors that are raised, and filters of those that are caught.

use crate::node::Node;
use crate::shape::{Extra, Object, Property, Shape, TEXT, Text, WHOLE};

/// An error that is raised (RFC 9457). Texts may be expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDefinition {
    /// `type`: a URI; see [`crate::ErrorType`] for the standard ones.
    pub kind: String,
    /// A status like those of HTTP.
    pub status: i64,
    /// Where it came from, a JSON pointer; the raising task unless said.
    pub instance: Option<String>,
    /// In short.
    pub title: Option<String>,
    /// In full.
    pub detail: Option<String>,
}

/// Which errors are meant: those that are equal in everything that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFilter {
    /// `type`: compared as [`crate::same_error_type`] does.
    pub kind: Option<String>,
    /// The status.
    pub status: Option<i64>,
    /// Where it came from.
    pub instance: Option<String>,
    /// The title.
    pub title: Option<String>,
    /// The detail.
    pub detail: Option<String>,
}

// The schema says of `instance` that exactly one of "a JSON pointer" and "an expression" has to hold. Formats are not
// asserted, so both hold for an expression, which would refuse it: the one that is surely meant is accepted here.
pub(crate) static ERROR: Shape = Shape::Object(Object::of(
    "an error",
    &[
        Property::required("type", &Shape::Text(Text::UriOrExpression)),
        Property::required("status", &WHOLE),
        Property::optional("instance", &TEXT),
        Property::optional("title", &TEXT),
        Property::optional("detail", &TEXT),
    ],
));

pub(crate) static ERROR_FILTER: Shape = Shape::Object(
    Object::of(
        "a filter of errors",
        &[
            Property::optional("type", &TEXT),
            Property::optional("status", &WHOLE),
            Property::optional("instance", &TEXT),
            Property::optional("title", &TEXT),
            Property::optional("detail", &TEXT),
            // The same, as the schema called it for a while.
            Property::optional("details", &TEXT),
        ],
    )
    .not_empty()
    .extra(Extra::Unread),
);

impl ErrorDefinition {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            kind: node.string_at("type"),
            status: node.whole_at("status").unwrap_or_default(),
            instance: node.text_at("instance"),
            title: node.text_at("title"),
            detail: node.text_at("detail"),
        }
    }
}

impl ErrorFilter {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            kind: node.text_at("type"),
            status: node.whole_at("status"),
            instance: node.text_at("instance"),
            title: node.text_at("title"),
            detail: node.text_at("detail").or_else(|| node.text_at("details")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn an_error_has_a_type_and_a_whole_status() {
        assert!(
            problems("raise: {error: {type: 'https://a/b', status: 400, instance: '${ .at }'}}").is_empty()
        );
        let wrong = problems("raise: {error: {type: 'a b', status: 4.5, details: x}}");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[1].contains("expected a whole number, found 4.5"));
        assert!(wrong[2].contains("did you mean \"detail\"?"));
    }

    #[test]
    fn a_filter_says_something_and_slips_are_told() {
        let caught = |with: &str| problems(&format!("try: []\ncatch: {{errors: {{with: {with}}}}}"));
        assert!(caught("{status: 404}").is_empty());
        assert!(caught("{}")[0].contains("expected at least one entry"));
        assert!(caught("{detial: x}")[0].contains("nothing reads it"));
        assert!(caught("{x-mine: x}").is_empty());
    }

    #[test]
    fn a_filter_calls_the_detail_by_either_name() {
        for name in ["detail", "details"] {
            let task = task(&format!("try: []\ncatch: {{errors: {{with: {{{name}: x}}}}}}"));
            let TaskKind::Try(attempt) = task.kind else { panic!("a try task") };
            assert_eq!(attempt.catch.errors.unwrap().detail.as_deref(), Some("x"), "{name}");
        }
    }
}
