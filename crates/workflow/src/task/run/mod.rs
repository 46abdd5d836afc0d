//! `run`: a container, a script, a command or another workflow.

pub(crate) mod container;
pub(crate) mod script;
pub(crate) mod shell;
pub(crate) mod workflow;

use crate::node::Node;
use crate::shape::{FLAG, Object, Property, Shape};
use crate::task::COMMON;

/// What is run, and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What is run.
    pub process: Process,
    /// Whether its end is waited for.
    pub r#await: bool,
    /// What comes out of a program; nothing of this concerns a workflow.
    pub r#return: RunReturn,
}

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub enum Process {
    /// A container.
    Container(container::Container),
    /// A script.
    Script(script::Script),
    /// A command of the shell.
    Shell(shell::Shell),
    /// Another workflow.
    Workflow(workflow::SubWorkflow),
}

/// What comes out of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunReturn {
    /// What it wrote.
    #[default]
    Stdout,
    /// What it wrote as errors.
    Stderr,
    /// Its exit code.
    Code,
    /// All three.
    All,
    /// Nothing.
    None,
}

pub(crate) static RUN: Shape = Shape::Object(
    Object::of(
        "a run task",
        &[Property::required(
            "run",
            &Shape::Object(
                Object::of(
                    "what is run",
                    &[
                        Property::optional("await", &FLAG),
                        Property::optional(
                            "return",
                            &Shape::Choice(&["stdout", "stderr", "code", "all", "none"]),
                        ),
                    ],
                )
                .alternatives(&[
                    Property::optional("container", &container::CONTAINER),
                    Property::optional("script", &script::SCRIPT),
                    Property::optional("shell", &shell::SHELL),
                    Property::optional("workflow", &workflow::WORKFLOW),
                ]),
            ),
        )],
    )
    .inherits(&COMMON),
);

impl Run {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            process: Process::read(node),
            r#await: node.flag_at("await").unwrap_or(true),
            r#return: RunReturn::read(node),
        }
    }
}

impl Process {
    fn read(node: &Node) -> Self {
        if let Some(container) = node.get("container") {
            Self::Container(container::Container::read(container))
        } else if let Some(script) = node.get("script") {
            Self::Script(script::Script::read(script))
        } else if let Some(shell) = node.get("shell") {
            Self::Shell(shell::Shell::read(shell))
        } else {
            Self::Workflow(workflow::SubWorkflow::read(node.get("workflow").unwrap_or(node)))
        }
    }
}

impl RunReturn {
    fn read(node: &Node) -> Self {
        match node.get("return").and_then(Node::text) {
            Some("stderr") => Self::Stderr,
            Some("code") => Self::Code,
            Some("all") => Self::All,
            Some("none") => Self::None,
            _ => Self::Stdout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn a_run_task_is_read() {
        let TaskKind::Run(run) = task("run: {shell: {command: ls}, await: false, return: all}").kind else {
            panic!("a run task")
        };
        assert_eq!((run.r#await, run.r#return), (false, RunReturn::All));
        assert!(matches!(run.process, Process::Shell(_)));
    }

    #[test]
    fn one_thing_is_run() {
        assert!(
            problems("run: {}")[0].contains("what is run needs container or script or shell or workflow")
        );
        assert!(
            problems("run: {shell: {command: a}, script: {language: js, code: b}}")[0]
                .contains("has both script and shell")
        );
        assert!(problems("run: {shel: {command: a}}").join("\n").contains("did you mean \"shell\"?"));
    }
}
