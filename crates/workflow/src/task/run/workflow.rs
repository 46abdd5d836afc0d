//! `run.workflow`: another workflow.

use serde_json::{Map, Value as Json};

use crate::node::Node;
use crate::shape::{MAP, Object, Property, Shape, TEXT};

/// Another workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct SubWorkflow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, or `latest`.
    pub version: String,
    /// Its input, with expressions; the input of the task unless said.
    pub input: Option<Map<String, Json>>,
}

pub(crate) static WORKFLOW: Shape = Shape::Object(Object::of(
    "a workflow that is run",
    &[
        Property::required("namespace", &TEXT),
        Property::required("name", &TEXT),
        Property::required("version", &TEXT),
        Property::optional("input", &MAP),
    ],
));

impl SubWorkflow {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            namespace: node.string_at("namespace"),
            name: node.string_at("name"),
            version: node.string_at("version"),
            input: node.get("input").map(|_| node.map_at("input")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::task::run::Process;
    use crate::testing::{problems, task};

    #[test]
    fn a_workflow_is_named_with_its_version() {
        let TaskKind::Run(run) = task("run: {workflow: {namespace: a, name: b, version: latest}}").kind
        else {
            panic!("a run task")
        };
        let Process::Workflow(workflow) = run.process else { panic!("a workflow") };
        assert_eq!((workflow.version.as_str(), workflow.input), ("latest", None));
        assert!(
            problems("run: {workflow: {namespace: a, name: b}}")
                .join("\n")
                .contains("`version` is missing in a workflow that is run")
        );
    }
}
