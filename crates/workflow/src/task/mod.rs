//! Tasks: what all of them have, and the kinds. Each kind is a file with its shape, its definition and its tests.

pub(crate) mod call;
pub(crate) mod do_block;
pub(crate) mod emit;
pub(crate) mod for_loop;
pub(crate) mod fork;
pub(crate) mod listen;
pub(crate) mod raise;
pub(crate) mod run;
pub(crate) mod set;
pub(crate) mod switch;
pub(crate) mod try_catch;
pub(crate) mod wait;
mod walk;

use serde_json::{Map, Value as Json};

use crate::definition::data_flow::{EXPORT, Export, INPUT, Input, OUTPUT, Output};
use crate::definition::timeout::{TIMEOUT, Timeout};
use crate::node::{Node, Position};
use crate::path::Pointer;
use crate::shape::{ByKey, CONDITION, MAP, Property, Shape, Text};

/// One task of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name, unique in its list.
    pub name: String,
    /// Where it is in the document, as JSON pointer: `/do/0/tryGetPet/try/0/getPet`.
    pub reference: String,
    /// Where it was written; [`Position::NONE`] when the definition was not read from a text.
    pub position: Position,
    /// `if`: an expression; the task is left out when it does not hold.
    pub r#if: Option<String>,
    /// How its input is checked and transformed.
    pub input: Option<Input>,
    /// How its output is transformed and checked.
    pub output: Option<Output>,
    /// What becomes the context after it.
    pub export: Option<Export>,
    /// How long it may take.
    pub timeout: Option<Timeout>,
    /// What comes next; the next task of its list unless said.
    pub then: Option<FlowDirective>,
    /// What else is known of it.
    pub metadata: Map<String, Json>,
    /// What it does.
    pub kind: TaskKind,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowDirective {
    /// The next task of the list.
    Continue,
    /// What follows the list.
    Exit,
    /// Nothing: the workflow is complete.
    End,
    /// The task of this name in the same list.
    Task(String),
}

/// What a task does.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskKind {
    /// It calls something.
    Call(Box<call::Call>),
    /// It does tasks, one after the other.
    Do(Vec<Task>),
    /// It emits an event.
    Emit(emit::Emit),
    /// It does tasks for each item.
    For(for_loop::For),
    /// It does tasks side by side.
    Fork(fork::Fork),
    /// It waits for events.
    Listen(Box<listen::Listen>),
    /// It fails.
    Raise(raise::Raise),
    /// It runs a program or a workflow.
    Run(Box<run::Run>),
    /// It sets its output: a map with expressions, or an expression.
    Set(Json),
    /// It chooses what comes next.
    Switch(switch::Switch),
    /// It does tasks and catches their errors.
    Try(Box<try_catch::Try>),
    /// It waits.
    Wait(crate::duration::DurationValue),
}

/// What the definition of every task may have.
pub(crate) static COMMON: [Property; 7] = [
    Property::optional("if", &CONDITION),
    Property::optional("input", &INPUT),
    Property::optional("output", &OUTPUT),
    Property::optional("export", &EXPORT),
    Property::optional("timeout", &TIMEOUT),
    Property::optional("then", &DIRECTIVE),
    Property::optional("metadata", &MAP),
];

pub(crate) static DIRECTIVE: Shape = Shape::Text(Text::Directive);

/// Any task. `for` stands before `do`, which it has too.
pub(crate) static TASK: Shape = Shape::ByKey(ByKey {
    what: "a task",
    variants: &[
        ("call", &call::CALL),
        ("for", &for_loop::FOR),
        ("do", &do_block::DO),
        ("emit", &emit::EMIT),
        ("fork", &fork::FORK),
        ("listen", &listen::LISTEN),
        ("raise", &raise::RAISE),
        ("run", &run::RUN),
        ("set", &set::SET),
        ("switch", &switch::SWITCH),
        ("try", &try_catch::TRY),
        ("wait", &wait::WAIT),
    ],
    otherwise: None,
});

impl Task {
    pub(crate) fn read(name: &str, node: &Node, at: &Pointer) -> Self {
        Self {
            name: name.to_owned(),
            reference: at.to_string(),
            position: node.position,
            r#if: node.text_at("if"),
            input: node.read_at("input", Input::read),
            output: node.read_at("output", Output::read),
            export: node.read_at("export", Export::read),
            timeout: node.read_at("timeout", Timeout::read),
            then: node.read_at("then", FlowDirective::read),
            metadata: node.map_at("metadata"),
            kind: TaskKind::read(node, at),
        }
    }

    /// The name of its kind in the DSL: `call`, `do`, …
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            TaskKind::Call(_) => "call",
            TaskKind::Do(_) => "do",
            TaskKind::Emit(_) => "emit",
            TaskKind::For(_) => "for",
            TaskKind::Fork(_) => "fork",
            TaskKind::Listen(_) => "listen",
            TaskKind::Raise(_) => "raise",
            TaskKind::Run(_) => "run",
            TaskKind::Set(_) => "set",
            TaskKind::Switch(_) => "switch",
            TaskKind::Try(_) => "try",
            TaskKind::Wait(_) => "wait",
        }
    }
}

impl TaskKind {
    fn read(node: &Node, at: &Pointer) -> Self {
        let has = |key: &str| node.get(key);
        if has("call").is_some() {
            Self::Call(Box::new(call::Call::read(node, at)))
        } else if let Some(each) = has("for") {
            Self::For(for_loop::For::read(node, each, at))
        } else if has("do").is_some() {
            Self::Do(tasks_at(node, "do", at))
        } else if let Some(emit) = has("emit") {
            Self::Emit(emit::Emit::read(emit))
        } else if let Some(fork) = has("fork") {
            Self::Fork(fork::Fork::read(fork, at))
        } else if let Some(listen) = has("listen") {
            Self::Listen(Box::new(listen::Listen::read(node, listen, at)))
        } else if let Some(raise) = has("raise") {
            Self::Raise(raise::Raise::read(raise))
        } else if let Some(run) = has("run") {
            Self::Run(Box::new(run::Run::read(run)))
        } else if let Some(switch) = has("switch") {
            Self::Switch(switch::Switch::read(switch))
        } else if let Some(catch) = has("catch") {
            Self::Try(Box::new(try_catch::Try::read(node, catch, at)))
        } else if let Some(wait) = has("wait") {
            Self::Wait(crate::duration::DurationValue::read(wait))
        } else {
            Self::Set(node.json_at("set").unwrap_or_default())
        }
    }
}

impl FlowDirective {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text() {
            None | Some("continue") => Self::Continue,
            Some("exit") => Self::Exit,
            Some("end") => Self::End,
            Some(name) => Self::Task(name.to_owned()),
        }
    }
}

/// The tasks of the list at a key; none when there is no list.
pub(crate) fn tasks_at(node: &Node, key: &str, at: &Pointer) -> Vec<Task> {
    let at = at.key(key);
    let items = node.get(key).map(Node::items).unwrap_or_default().iter().enumerate();
    items
        .flat_map(|(index, item)| item.entries().iter().map(move |(key, task)| (index, key, task)))
        .map(|(index, key, task)| Task::read(&key.text, task, &at.index(index).key(&key.text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{problems, task, workflow, workflow_problems};

    #[test]
    fn what_all_tasks_have_is_read() {
        let task = task("if: .a\nset: {b: 1}\nthen: end\nmetadata: {c: 2}\nexport: {as: .}");
        assert_eq!((task.r#if.as_deref(), &task.then), (Some(".a"), &Some(FlowDirective::End)));
        assert_eq!(task.metadata["c"], json!(2));
        assert!(task.export.is_some());
        assert_eq!((task.name.as_str(), task.reference.as_str(), task.kind_name()), ("t", "/do/0/t", "set"));
        assert_eq!(task.position.line, 8);
    }

    #[test]
    fn tasks_know_their_reference() {
        let definition = workflow(
            "do: [{tryGetPet: {try: [{getPet: {set: {a: 1}}}], catch: {do: [{other: {wait: PT1S}}]}}}]",
        );
        let TaskKind::Try(attempt) = &definition.tasks[0].kind else { panic!("a try task") };
        assert_eq!(attempt.tasks[0].reference, "/do/0/tryGetPet/try/0/getPet");
        assert_eq!(attempt.catch.tasks.as_ref().unwrap()[0].reference, "/do/0/tryGetPet/catch/do/0/other");
    }

    #[test]
    fn directives_name_tasks_of_the_same_list() {
        let list = |then: &str| {
            workflow_problems(&format!(
                "do: [{{a: {{set: {{x: 1}}, then: {then}}}}}, {{b: {{do: [{{c: {{wait: PT1S}}}}]}}}}]"
            ))
        };
        assert!(list("b").is_empty());
        assert_eq!(
            list("c"),
            ["3:30: do[0].a.then: there is no task \"c\" in the same list; known: a, b, continue, exit, end"]
        );
        let twice = workflow_problems("do: [{a: {wait: PT1S}}, {a: {wait: PT1S}}]");
        assert!(twice[0].contains("a second task with the name \"a\" in the same list"));
    }

    #[test]
    fn a_task_is_of_one_kind() {
        assert!(problems("set: {a: 1}\nwait: PT1S")[0].contains("unknown property \"wait\" in a set task"));
        assert!(problems("{}")[0].contains("a task without a kind"));
        assert!(problems("[]")[0].contains("expected a task (a map), found a list"));
    }
}
