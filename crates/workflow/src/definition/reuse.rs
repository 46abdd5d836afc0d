//! `use`: what a workflow declares once and refers to by name.

use std::collections::BTreeMap;

use crate::definition::authentication::{self, AuthenticationPolicy};
use crate::definition::error::{ERROR, ErrorDefinition};
use crate::definition::extension::{EXTENSION, Extension};
use crate::definition::resource::{CATALOG, Catalog};
use crate::definition::retry::{self, RetryPolicy};
use crate::definition::timeout::{self, Timeout};
use crate::duration::DurationValue;
use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{Least, Object, Property, Shape, TEXTS};
use crate::task::{TASK, Task};

/// What a workflow declares once and refers to by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Use {
    /// Who calls.
    pub authentications: BTreeMap<String, AuthenticationPolicy>,
    /// Where functions come from.
    pub catalogs: BTreeMap<String, Catalog>,
    /// What is raised.
    pub errors: BTreeMap<String, ErrorDefinition>,
    /// What is put around tasks, in this order.
    pub extensions: Vec<Extension>,
    /// What is called by name.
    pub functions: BTreeMap<String, Task>,
    /// How something is tried again.
    pub retries: BTreeMap<String, RetryPolicy>,
    /// Names of secrets that expressions may read.
    pub secrets: Vec<String>,
    /// How long something may take.
    pub timeouts: BTreeMap<String, DurationValue>,
}

pub(crate) static USE: Shape = Shape::Object(Object::of(
    "`use`",
    &[
        Property::optional("authentications", &Shape::Map(&authentication::POLICY, Least::Zero)),
        Property::optional("catalogs", &Shape::Map(&CATALOG, Least::Zero)),
        Property::optional("errors", &Shape::Map(&ERROR, Least::Zero)),
        Property::optional("extensions", &Shape::Single("an extension", &EXTENSION, Least::Zero)),
        Property::optional("functions", &Shape::Map(&TASK, Least::Zero)),
        Property::optional("retries", &Shape::Map(&retry::POLICY, Least::Zero)),
        Property::optional("secrets", &TEXTS),
        Property::optional("timeouts", &Shape::Map(&timeout::DECLARED, Least::Zero)),
    ],
));

impl Use {
    pub(crate) fn read(node: &Node, at: &Pointer) -> Self {
        fn all<T>(node: &Node, key: &str, read: impl Fn(&Node) -> T) -> BTreeMap<String, T> {
            node.get(key).map(|node| node.named(read)).unwrap_or_default()
        }
        Self {
            authentications: all(node, "authentications", AuthenticationPolicy::read),
            catalogs: all(node, "catalogs", Catalog::read),
            errors: all(node, "errors", ErrorDefinition::read),
            extensions: extensions(node, &at.key("extensions")),
            functions: functions(node, &at.key("functions")),
            retries: all(node, "retries", RetryPolicy::read),
            secrets: node.list_at("secrets"),
            timeouts: all(node, "timeouts", Timeout::after),
        }
    }
}

fn extensions(node: &Node, at: &Pointer) -> Vec<Extension> {
    let items = node.get("extensions").map(Node::items).unwrap_or_default().iter().enumerate();
    items
        .flat_map(|(index, item)| item.entries().iter().map(move |(key, value)| (index, key, value)))
        .map(|(index, key, value)| Extension::read(&key.text, value, &at.index(index).key(&key.text)))
        .collect()
}

fn functions(node: &Node, at: &Pointer) -> BTreeMap<String, Task> {
    let entries = node.get("functions").map(Node::entries).unwrap_or_default();
    let task = |name: &str, node: &Node| (name.to_owned(), Task::read(name, node, &at.key(name)));
    entries.iter().map(|(key, node)| task(&key.text, node)).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{workflow, workflow_problems};

    #[test]
    fn everything_declared_is_read() {
        let text = "use:\n  catalogs: {c: {endpoint: 'https://a'}}\n  errors: {e: {type: 'https://a', status: 500}}\n  functions: {f: {set: {a: 1}}}\n  secrets: [s]\n  timeouts: {t: {after: PT1S}}\ndo: []";
        let declared = workflow(text).r#use;
        assert_eq!(declared.catalogs["c"].endpoint.uri, "https://a");
        assert_eq!(declared.errors["e"].status, 500);
        assert_eq!(declared.functions["f"].reference, "/use/functions/f");
        assert_eq!((declared.secrets.as_slice(), declared.timeouts.len()), (["s".to_owned()].as_slice(), 1));
    }

    #[test]
    fn a_function_has_no_task_beside_it() {
        let wrong =
            workflow_problems("use: {functions: {f: {set: {a: 1}, then: g}, g: {set: {a: 1}}}}\ndo: []");
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("\"g\" cannot follow a function"));
    }
}
