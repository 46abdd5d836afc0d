//! `call: http`: a request over HTTP.

use serde_json::Value as Json;

use crate::definition::resource::{ENDPOINT, Endpoint};
use crate::node::Node;
use crate::shape::{ANYTHING, FLAG, MAP_OF_TEXTS, Object, Property, Shape, TEXT, Text};
use crate::task::COMMON;
use crate::task::call::{HTTP_OUTPUT, HttpOutput, Named, Texts};

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCall {
    /// The method, as it was written.
    pub method: String,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Its headers.
    pub headers: Option<Texts>,
    /// Its body, with expressions.
    pub body: Option<Json>,
    /// Its query.
    pub query: Option<Texts>,
    /// What comes out.
    pub output: HttpOutput,
    /// Whether a redirection counts as an answer.
    pub redirect: bool,
}

static TEXTS_OR_EXPRESSION: Shape = Shape::Either(&[&MAP_OF_TEXTS, &Shape::Text(Text::Expression)]);

static WITH: Shape = Shape::Object(Object::of(
    "a call of HTTP",
    &[
        Property::required("method", &TEXT),
        Property::required("endpoint", &ENDPOINT),
        Property::optional("headers", &TEXTS_OR_EXPRESSION),
        Property::optional("body", &ANYTHING),
        Property::optional("query", &TEXTS_OR_EXPRESSION),
        Property::optional("output", &HTTP_OUTPUT),
        Property::optional("redirect", &FLAG),
    ],
));

pub(crate) static CALL: Shape = Shape::Object(
    Object::of("a call task", &[Property::required("call", &TEXT), Property::required("with", &WITH)])
        .inherits(&COMMON),
);

impl HttpCall {
    pub(crate) fn read(with: &Node) -> Self {
        let texts = |key: &str| with.read_at(key, |node| Named::read(node, Node::texts));
        Self {
            method: with.string_at("method"),
            endpoint: Endpoint::of(with, "endpoint"),
            headers: texts("headers"),
            body: with.json_at("body"),
            query: texts("query"),
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
        let text = "call: http\nwith: {method: post, endpoint: 'https://a', headers: {x: '1'}, query: '${ .q }', body: [1], output: raw, redirect: true}";
        let TaskKind::Call(call) = task(text).kind else { panic!("a call") };
        let Call::Http(call) = *call else { panic!("of HTTP") };
        assert_eq!((call.method.as_str(), call.output, call.redirect), ("post", HttpOutput::Raw, true));
        assert_eq!(call.headers, Some(Named::Each([("x".to_owned(), "1".to_owned())].into())));
        assert_eq!(call.query, Some(Named::Expression("${ .q }".to_owned())));
    }

    #[test]
    fn everything_wrong_is_listed() {
        let wrong = problems("call: http\nwith: {endpont: 'https://a', headers: {x: 1}, query: .q}");
        assert_eq!(wrong.len(), 5, "{wrong:?}");
        let all = wrong.join("\n");
        assert!(
            all.contains("`method` is missing in a call of HTTP") && all.contains("`endpoint` is missing")
        );
        assert!(all.contains(
            "do[0].t.with.endpont: unknown property \"endpont\" in a call of HTTP; did you mean \"endpoint\"?"
        ));
        assert!(all.contains("do[0].t.with.headers.x: expected text, found a number; put it in quotes"));
        assert!(all.contains("do[0].t.with.query: expected an expression on one line, ${ … }, found \".q\""));
    }
}
