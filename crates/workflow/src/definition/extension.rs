//! Tasks that are put around others.

use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{CONDITION, Object, Property, Scoping, Shape};
use crate::task::{Task, tasks_at};

/// Tasks around all tasks of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// `extend`: the kind of task, `composite` or `all`.
    pub extend: String,
    /// An expression: only then.
    pub when: Option<String>,
    /// The tasks before the extended one.
    pub before: Vec<Task>,
    /// The tasks after it.
    pub after: Vec<Task>,
}

pub(crate) static EXTENSION: Shape = Shape::Object(Object::of(
    "an extension",
    &[
        Property::required(
            "extend",
            &Shape::Choice(&[
                "call",
                "composite",
                "emit",
                "for",
                "listen",
                "raise",
                "run",
                "set",
                "switch",
                "try",
                "wait",
                "all",
            ]),
        ),
        Property::optional("when", &CONDITION),
        Property::optional("before", &Shape::Tasks(Scoping::Sequence)),
        Property::optional("after", &Shape::Tasks(Scoping::Sequence)),
    ],
));

impl Extension {
    pub(crate) fn read(name: &str, node: &Node, at: &Pointer) -> Self {
        Self {
            name: name.to_owned(),
            extend: node.string_at("extend"),
            when: node.text_at("when"),
            before: tasks_at(node, "before", at),
            after: tasks_at(node, "after", at),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{workflow, workflow_problems};

    #[test]
    fn an_extension_has_a_kind_and_tasks() {
        let text = "use: {extensions: [{log: {extend: all, after: [{a: {set: {b: 1}}}]}}]}\ndo: []";
        let extension = workflow(text).r#use.extensions.remove(0);
        assert_eq!((extension.name.as_str(), extension.extend.as_str()), ("log", "all"));
        assert_eq!(extension.after[0].reference, "/use/extensions/0/log/after/0/a");
        let wrong = workflow_problems("use: {extensions: [{log: {extend: do}}]}\ndo: []");
        assert!(wrong[0].contains("use.extensions[0].log.extend: \"do\" is not known here"));
    }
}
