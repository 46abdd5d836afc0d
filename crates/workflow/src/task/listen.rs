//! `listen`: events are waited for.

use crate::definition::event::{
    CONSUMPTION, EventConsumption, ITERATOR, READ_AS, ReadAs, SubscriptionIterator,
};
use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{Object, Property, Shape};
use crate::task::COMMON;

/// What is waited for, and what is done with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// The events.
    pub to: EventConsumption,
    /// How they are handed on.
    pub read: ReadAs,
    /// What is done with each.
    pub foreach: Option<SubscriptionIterator>,
}

pub(crate) static LISTEN: Shape = Shape::Object(
    Object::of(
        "a listen task",
        &[
            Property::required(
                "listen",
                &Shape::Object(Object::of(
                    "what is listened to",
                    &[Property::required("to", &CONSUMPTION), Property::optional("read", &READ_AS)],
                )),
            ),
            Property::optional("foreach", &ITERATOR),
        ],
    )
    .inherits(&COMMON),
);

impl Listen {
    pub(crate) fn read(node: &Node, listen: &Node, at: &Pointer) -> Self {
        Self {
            to: EventConsumption::read(listen.get("to").unwrap_or(listen)),
            read: ReadAs::read(listen),
            foreach: node.read_at("foreach", |each| SubscriptionIterator::read(each, &at.key("foreach"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn a_listen_task_is_read() {
        let text = "listen: {to: {any: []}, read: raw}\nforeach: {item: e, do: [{a: {wait: PT1S}}]}";
        let TaskKind::Listen(listen) = task(text).kind else { panic!("a listen task") };
        let foreach = listen.foreach.unwrap();
        assert_eq!((listen.read, foreach.item.as_str(), foreach.at.as_str()), (ReadAs::Raw, "e", "index"));
        assert_eq!(foreach.tasks[0].reference, "/do/0/t/foreach/do/0/a");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(problems("listen: {read: data}")[0].contains("`to` is missing"));
        assert!(problems("listen: {to: {any: []}, read: dat}")[0].contains("did you mean \"data\"?"));
    }
}
