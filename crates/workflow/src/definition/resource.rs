//! Where things are: endpoints, documents elsewhere, catalogs.

use crate::definition::authentication::{AUTHENTICATION, Authentication};
use crate::node::Node;
use crate::shape::{Object, Property, Shape, TEXT, Text};

/// Where something is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// A URI, a URI template, or an expression that gives one.
    pub uri: String,
    /// Who calls.
    pub authentication: Option<Authentication>,
}

/// A document elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalResource {
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// A catalog of functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// Its root.
    pub endpoint: Endpoint,
}

static URI_OR_EXPRESSION: Shape = Shape::Text(Text::UriOrExpression);

pub(crate) static ENDPOINT: Shape = Shape::Either(&[
    &URI_OR_EXPRESSION,
    &Shape::Object(Object::of(
        "an endpoint",
        &[
            Property::required("uri", &URI_OR_EXPRESSION),
            Property::optional("authentication", &AUTHENTICATION),
        ],
    )),
]);

pub(crate) static EXTERNAL_RESOURCE: Shape = Shape::Object(Object::of(
    "an external resource",
    &[Property::optional("name", &TEXT), Property::required("endpoint", &ENDPOINT)],
));

pub(crate) static CATALOG: Shape =
    Shape::Object(Object::of("a catalog", &[Property::required("endpoint", &ENDPOINT)]));

impl Endpoint {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text() {
            Some(uri) => Self { uri: uri.to_owned(), authentication: None },
            None => Self {
                uri: node.string_at("uri"),
                authentication: node.read_at("authentication", Authentication::read),
            },
        }
    }

    /// The endpoint at a key that is required.
    pub(crate) fn of(node: &Node, key: &str) -> Self {
        let nowhere = || Self { uri: String::new(), authentication: None };
        node.read_at(key, Self::read).unwrap_or_else(nowhere)
    }
}

impl ExternalResource {
    pub(crate) fn read(node: &Node) -> Self {
        Self { name: node.text_at("name"), endpoint: Endpoint::of(node, "endpoint") }
    }

    /// The resource at a key that is required.
    pub(crate) fn of(node: &Node, key: &str) -> Self {
        let nowhere = || Self { name: None, endpoint: Endpoint { uri: String::new(), authentication: None } };
        node.read_at(key, Self::read).unwrap_or_else(nowhere)
    }
}

impl Catalog {
    pub(crate) fn read(node: &Node) -> Self {
        Self { endpoint: Endpoint::of(node, "endpoint") }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::problems;

    #[test]
    fn an_endpoint_is_a_uri_or_says_who_calls() {
        let call =
            |endpoint: &str| problems(&format!("call: http\nwith: {{method: get, endpoint: {endpoint}}}"));
        assert!(call("'https://a/{b}'").is_empty());
        assert!(call("'${ .uri }'").is_empty());
        assert!(call("{uri: '/relative', authentication: {bearer: {token: x}}}").is_empty());
        assert!(call("'not a uri'")[0].contains("expected a URI, URI template or expression"));
        assert!(call("{url: 'https://a'}").iter().any(|p| p.contains("did you mean \"uri\"?")));
    }
}
