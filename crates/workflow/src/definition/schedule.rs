//! When workflows start by themselves.

use crate::cron::Cron;
use crate::definition::DURATION;
use crate::definition::event::{CONSUMPTION, EventConsumption, READ_AS, ReadAs};
use crate::duration::DurationValue;
use crate::node::Node;
use crate::shape::{Check, Object, Property, Shape, Text};

/// When a workflow starts; at least one of the first four is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// The interval between starts.
    pub every: Option<DurationValue>,
    /// The times of starts.
    pub cron: Option<Cron>,
    /// How long after its end it starts again.
    pub after: Option<DurationValue>,
    /// The events that start it.
    pub on: Option<EventConsumption>,
    /// How these events become its input.
    pub read: ReadAs,
}

pub(crate) static SCHEDULE: Shape = Shape::Object(
    Object::of(
        "a schedule",
        &[
            Property::optional("every", &DURATION),
            Property::optional("cron", &Shape::Text(Text::Cron)),
            Property::optional("after", &DURATION),
            Property::optional("on", &CONSUMPTION),
            Property::optional("read", &READ_AS),
        ],
    )
    .rule(comes),
);

fn comes<'n>(node: &'n Node, check: &mut Check<'n>) {
    let has = |key: &str| node.get(key).is_some();
    if has("read") && !has("on") {
        check.refuse(
            node.position,
            "`read` without `on`",
            "`read` says how events become the input: add `on`",
        );
    }
    if !["every", "cron", "after", "on"].into_iter().any(has) {
        check.object(node.position, "a schedule that never comes", "expected every, cron, after or on");
    }
    let zero =
        |every: &Node| matches!(DurationValue::read(every), DurationValue::Fixed(every) if every.is_zero());
    if let Some(every) = node.get("every").filter(|every| zero(every)) {
        check.object_at("every", every.position, "an interval of no time", "expected at least a millisecond");
    }
}

impl Schedule {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            every: node.read_at("every", DurationValue::read),
            cron: node.get("cron").and_then(Node::text).and_then(|text| Cron::parse(text).ok()),
            after: node.read_at("after", DurationValue::read),
            on: node.read_at("on", EventConsumption::read),
            read: ReadAs::read(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{workflow, workflow_problems};

    #[test]
    fn a_schedule_is_read() {
        let schedule = |text: &str| workflow(&format!("schedule: {text}\ndo: []")).schedule.unwrap();
        assert_eq!(schedule("{cron: '0 6 * * *'}").cron.unwrap().text(), "0 6 * * *");
        assert!(schedule("{every: {minutes: 5}, after: PT1S}").every.is_some());
        let on = schedule("{on: {one: {with: {type: a}}}, read: envelope}");
        assert!(on.on.is_some() && on.read == ReadAs::Envelope);
    }

    #[test]
    fn a_schedule_that_never_comes_is_a_problem_of_meaning() {
        let first = |text: &str| workflow_problems(&format!("schedule: {text}\ndo: []")).remove(0);
        assert!(first("{cron: '0 0 30 2 *'}").contains("schedule.cron: no month has such a day"));
        assert!(first("{cron: '0 0 * *'}").contains("five fields"));
        assert!(first("{}").contains("never comes"));
        assert!(first("{every: PT0S}").contains("schedule.every: an interval of no time"));
        assert!(first("{cron: '0 0 * * *', read: data}").contains("`read` without `on`"));
    }
}
