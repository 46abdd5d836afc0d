//! `run.shell`: a command of the shell.

use serde_json::{Map, Value as Json};

use crate::node::Node;
use crate::shape::{MAP, Object, Property, Shape, TEXT, TEXTS};

/// A command of the shell.
#[derive(Clone, Debug, PartialEq)]
pub struct Shell {
    /// The command: text or an expression.
    pub command: String,
    /// What it reads: text or an expression.
    pub stdin: Option<String>,
    /// Its arguments; each may be an expression.
    pub arguments: Vec<String>,
    /// Its environment, with expressions.
    pub environment: Map<String, Json>,
}

pub(crate) static SHELL: Shape = Shape::Object(Object::of(
    "a command of the shell",
    &[
        Property::required("command", &TEXT),
        Property::optional("stdin", &TEXT),
        Property::optional("arguments", &TEXTS),
        Property::optional("environment", &MAP),
    ],
));

impl Shell {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            command: node.string_at("command"),
            stdin: node.text_at("stdin"),
            arguments: node.list_at("arguments"),
            environment: node.map_at("environment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::task::run::Process;
    use crate::testing::{problems, task};

    #[test]
    fn a_command_is_read() {
        let TaskKind::Run(run) = task("run: {shell: {command: echo, arguments: [a, '${ .b }']}}").kind else {
            panic!("a run task")
        };
        let Process::Shell(shell) = run.process else { panic!("a command") };
        assert_eq!(
            (shell.command.as_str(), shell.arguments),
            ("echo", vec!["a".to_owned(), "${ .b }".to_owned()])
        );
        assert!(
            problems("run: {shell: {arguments: [1]}}")
                .join("\n")
                .contains("`command` is missing in a command of the shell")
        );
    }
}
