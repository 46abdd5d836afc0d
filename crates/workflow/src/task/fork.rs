//! `fork`: tasks side by side.

use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{FLAG, Object, Property, Scoping, Shape};
use crate::task::{COMMON, Task, tasks_at};

/// Tasks side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The tasks.
    pub branches: Vec<Task>,
    /// Whether the first that is done ends the others.
    pub compete: bool,
}

pub(crate) static FORK: Shape = Shape::Object(
    Object::of(
        "a fork task",
        &[Property::required(
            "fork",
            &Shape::Object(Object::of(
                "a fork",
                &[
                    Property::required("branches", &Shape::Tasks(Scoping::Branches)),
                    Property::optional("compete", &FLAG),
                ],
            )),
        )],
    )
    .inherits(&COMMON),
);

impl Fork {
    pub(crate) fn read(node: &Node, at: &Pointer) -> Self {
        Self {
            branches: tasks_at(node, "branches", &at.key("fork")),
            compete: node.flag_at("compete").unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn branches_run_side_by_side() {
        let TaskKind::Fork(fork) = task("fork: {compete: true, branches: [{a: {wait: PT1S}}]}").kind else {
            panic!("a fork task")
        };
        assert!(fork.compete);
        assert_eq!(fork.branches[0].reference, "/do/0/t/fork/branches/0/a");
        let wrong = problems("fork: {branches: [{a: {wait: PT1S, then: b}}, {b: {wait: PT1S, then: exit}}]}");
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("\"b\" cannot follow a branch"));
        assert!(
            problems("fork: {branches: [], compete: 'yes'}")[0]
                .contains("expected true or false, found text")
        );
    }
}
