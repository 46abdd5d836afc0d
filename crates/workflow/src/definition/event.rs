//! Events that are emitted, waited for and consumed one by one.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::definition::data_flow::{EXPORT, Export, OUTPUT, Output};
use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{ANYTHING, ByKey, Extra, Least, Object, Property, Scoping, Shape, TEXT, Text};
use crate::task::{Task, tasks_at};

/// Which events are consumed.
#[derive(Clone, Debug, PartialEq)]
pub enum EventConsumption {
    /// One for each filter.
    All(Vec<EventFilter>),
    /// One that any filter lets pass, or more until something happens. Without filters every event passes.
    Any {
        /// The filters.
        filters: Vec<EventFilter>,
        /// Until when events are consumed; without it, the first is enough.
        until: Option<Until>,
    },
    /// One that this filter lets pass.
    One(EventFilter),
}

/// Until when events are consumed.
#[derive(Clone, Debug, PartialEq)]
pub enum Until {
    /// Until an expression holds.
    Condition(String),
    /// Until other events have come, which are not part of the output.
    Events(Box<EventConsumption>),
}

/// Which events pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// Attribute → a value, a regular expression or an expression.
    pub with: Map<String, Json>,
    /// Name → how events are found to belong together.
    pub correlate: BTreeMap<String, Correlation>,
}

/// How events are found to belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// An expression that takes the value out of an event.
    pub from: String,
    /// A constant or an expression; without it, the first value fixes what the others must have.
    pub expect: Option<String>,
}

/// How consumed events are handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadAs {
    /// Their data.
    #[default]
    Data,
    /// With their attributes.
    Envelope,
    /// Their data as it came.
    Raw,
}

/// `foreach`: what is done with each consumed event or message, one at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionIterator {
    /// The variable of the event.
    pub item: String,
    /// The variable of its index.
    pub at: String,
    /// `do`: the tasks.
    pub tasks: Vec<Task>,
    /// What comes out for each.
    pub output: Option<Output>,
    /// What becomes the context after each.
    pub export: Option<Export>,
}

/// Attributes of events. The schema's rule for `time` has the fault described at [`super::error::ERROR`].
static ATTRIBUTES: [Property; 8] = [
    Property::optional("id", &TEXT),
    Property::optional("source", &Shape::Text(Text::UriOrExpression)),
    Property::optional("type", &TEXT),
    Property::optional("time", &TEXT),
    Property::optional("subject", &TEXT),
    Property::optional("datacontenttype", &TEXT),
    Property::optional("dataschema", &Shape::Text(Text::UriOrExpression)),
    Property::optional("data", &ANYTHING),
];

static FILTER_WITH: Shape =
    Shape::Object(Object::of("a filter of events", &ATTRIBUTES).not_empty().extra(Extra::Free));

/// The attributes of an event that is emitted.
pub(crate) static EMITTED: Shape = Shape::Object(
    Object::of(
        "an event",
        &[Property::required("type", &TEXT), Property::optional("time", &Shape::Text(Text::Moment))],
    )
    .inherits(&ATTRIBUTES)
    .extra(Extra::Free),
);

static CORRELATION: Shape = Shape::Object(
    Object::of("a correlation", &[Property::required("from", &TEXT), Property::optional("expect", &TEXT)])
        .extra(Extra::Unread),
);

static FILTER: Shape = Shape::Object(Object::of(
    "a filter of events",
    &[
        Property::required("with", &FILTER_WITH),
        Property::optional("correlate", &Shape::Map(&CORRELATION, Least::Zero)),
    ],
));

static FILTERS: Shape = Shape::List(&FILTER);

static ALL: Shape =
    Shape::Object(Object::of("a strategy for all events", &[Property::required("all", &FILTERS)]));
static ONE: Shape =
    Shape::Object(Object::of("a strategy for one event", &[Property::required("one", &FILTER)]));
static ANY_WITHOUT_UNTIL: Shape =
    Shape::Object(Object::of("a strategy for any event", &[Property::required("any", &FILTERS)]));
static ANY: Shape = Shape::Object(Object::of(
    "a strategy for any event",
    &[
        Property::required("any", &FILTERS),
        Property::optional("until", &Shape::Either(&[&TEXT, &UNTIL_EVENTS])),
    ],
));

/// What ends a strategy has no end of its own.
static UNTIL_EVENTS: Shape = Shape::ByKey(ByKey {
    what: "a strategy for events",
    variants: &[("all", &ALL), ("any", &ANY_WITHOUT_UNTIL), ("one", &ONE)],
    otherwise: None,
});

pub(crate) static CONSUMPTION: Shape = Shape::ByKey(ByKey {
    what: "a strategy for events",
    variants: &[("all", &ALL), ("any", &ANY), ("one", &ONE)],
    otherwise: None,
});

pub(crate) static READ_AS: Shape = Shape::Choice(&["data", "envelope", "raw"]);

pub(crate) static ITERATOR: Shape = Shape::Object(Object::of(
    "a loop over events",
    &[
        Property::optional("item", &TEXT),
        Property::optional("at", &TEXT),
        Property::optional("do", &Shape::Tasks(Scoping::Sequence)),
        Property::optional("output", &OUTPUT),
        Property::optional("export", &EXPORT),
    ],
));

impl EventConsumption {
    pub(crate) fn read(node: &Node) -> Self {
        let filters = |node: &Node| node.items().iter().map(EventFilter::read).collect();
        if let Some(all) = node.read_at("all", filters) {
            return Self::All(all);
        }
        if let Some(filters) = node.read_at("any", filters) {
            return Self::Any { filters, until: node.read_at("until", Until::read) };
        }
        Self::One(node.read_at("one", EventFilter::read).unwrap_or_default())
    }
}

impl Until {
    fn read(node: &Node) -> Self {
        match node.text() {
            Some(condition) => Self::Condition(condition.to_owned()),
            None => Self::Events(Box::new(EventConsumption::read(node))),
        }
    }
}

impl EventFilter {
    fn read(node: &Node) -> Self {
        let correlate = node.read_at("correlate", |node| node.named(Correlation::read));
        Self { with: node.map_at("with"), correlate: correlate.unwrap_or_default() }
    }
}

impl Correlation {
    fn read(node: &Node) -> Self {
        Self { from: node.string_at("from"), expect: node.text_at("expect") }
    }
}

impl ReadAs {
    /// The value of `read`; data unless said.
    pub(crate) fn read(node: &Node) -> Self {
        match node.get("read").and_then(Node::text) {
            Some("envelope") => Self::Envelope,
            Some("raw") => Self::Raw,
            _ => Self::Data,
        }
    }
}

impl SubscriptionIterator {
    pub(crate) fn read(node: &Node, at: &Pointer) -> Self {
        let or = |key: &str| {
            node.text_at(key).unwrap_or_else(|| if key == "at" { "index" } else { key }.to_owned())
        };
        Self {
            item: or("item"),
            at: or("at"),
            tasks: tasks_at(node, "do", at),
            output: node.read_at("output", Output::read),
            export: node.read_at("export", Export::read),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    fn listened(to: &str) -> EventConsumption {
        let TaskKind::Listen(listen) = task(&format!("listen: {{to: {to}}}")).kind else {
            panic!("a listen task")
        };
        listen.to
    }

    #[test]
    fn strategies_are_read() {
        let EventConsumption::All(filters) =
            listened("{all: [{with: {type: a}, correlate: {c: {from: .x}}}]}")
        else {
            panic!("all")
        };
        assert_eq!(filters[0].with["type"], json!("a"));
        assert_eq!(filters[0].correlate["c"], Correlation { from: ".x".to_owned(), expect: None });
        let EventConsumption::Any { filters, until } = listened("{any: [], until: {one: {with: {type: b}}}}")
        else {
            panic!("any")
        };
        assert!(filters.is_empty());
        assert!(matches!(until, Some(Until::Events(events)) if matches!(*events, EventConsumption::One(_))));
        let EventConsumption::Any { until, .. } = listened("{any: [], until: .done}") else { panic!("any") };
        assert_eq!(until, Some(Until::Condition(".done".to_owned())));
    }

    #[test]
    fn a_strategy_is_one_and_its_end_has_none() {
        let wrong = |to: &str| problems(&format!("listen: {{to: {to}}}")).join("\n");
        assert!(wrong("{any: [], until: {any: [], until: .x}}").contains("unknown property \"until\""));
        assert!(wrong("{one: {with: {type: a}}, until: .x}").contains("unknown property \"until\""));
        assert!(wrong("{all: [], any: []}").contains("unknown property \"any\""));
        assert!(wrong("{}").contains(
            "a strategy for events without a kind; one key says what it does, known: all, any, one"
        ));
        assert!(wrong("{one: {with: {}}}").contains("at least one entry"));
        assert!(wrong("{one: {with: {type: a}, correlate: {c: {}}}}").contains("`from` is missing"));
    }
}
