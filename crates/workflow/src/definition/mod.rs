//! A workflow: its shape as a whole, and its typed definition.

pub(crate) mod authentication;
pub(crate) mod data_flow;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod extension;
pub(crate) mod resource;
pub(crate) mod retry;
pub(crate) mod reuse;
pub(crate) mod schedule;
pub(crate) mod timeout;

use serde_json::{Map, Value as Json};

use crate::definition::data_flow::{INPUT, Input, OUTPUT, Output};
use crate::definition::reuse::{USE, Use};
use crate::definition::schedule::{SCHEDULE, Schedule};
use crate::definition::timeout::{TIMEOUT, Timeout};
use crate::duration::Duration;
use crate::node::{Key, Node};
use crate::path::Pointer;
use crate::shape::{Check, Extra, MAP, Object, Property, Scoping, Shape, TEXT, Text, WHOLE};
use crate::task::{Task, tasks_at};

/// A workflow that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// What the workflow is.
    pub document: DocumentInfo,
    /// How its input is checked and transformed.
    pub input: Option<Input>,
    /// What it declares.
    pub r#use: Use,
    /// `do`: what it does.
    pub tasks: Vec<Task>,
    /// How long it may take.
    pub timeout: Option<Timeout>,
    /// How its output is transformed and checked.
    pub output: Option<Output>,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
    /// How its expressions are meant.
    pub evaluate: Evaluate,
    json: Json,
}

/// `document`: what a workflow is.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentInfo {
    /// The version of the DSL it is written in.
    pub dsl: String,
    /// Where its name is unique.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// A name for people.
    pub title: Option<String>,
    /// What it does, as Markdown.
    pub summary: Option<String>,
    /// What it is found by.
    pub tags: Map<String, Json>,
    /// What else is known of it.
    pub metadata: Map<String, Json>,
}

/// `evaluate`: how expressions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// Their language, `jq` unless said.
    pub language: String,
    /// What is an expression.
    pub mode: EvaluateMode,
}

/// What is an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvaluateMode {
    /// What stands in `${ }`.
    #[default]
    Strict,
    /// Every text that is one.
    Loose,
}

static DOCUMENT: Shape = Shape::Object(Object::of(
    "the document's description",
    &[
        Property::required("dsl", &Shape::Text(Text::DslVersion)),
        Property::required("namespace", &Shape::Text(Text::Label)),
        Property::required("name", &Shape::Text(Text::Label)),
        Property::required("version", &Shape::Text(Text::Version)),
        Property::optional("title", &TEXT),
        Property::optional("summary", &TEXT),
        Property::optional("tags", &MAP),
        Property::optional("metadata", &MAP),
    ],
));

static EVALUATE: Shape = Shape::Object(Object::of(
    "`evaluate`",
    &[
        Property::optional("language", &TEXT),
        Property::optional("mode", &Shape::Choice(&["strict", "loose"])),
    ],
));

pub(crate) static WORKFLOW: Shape = Shape::Object(
    Object::of(
        "a workflow",
        &[
            Property::required("document", &DOCUMENT),
            Property::optional("input", &INPUT),
            Property::optional("use", &USE),
            Property::required("do", &Shape::Tasks(Scoping::Sequence)),
            Property::optional("timeout", &TIMEOUT),
            Property::optional("output", &OUTPUT),
            Property::optional("schedule", &SCHEDULE),
            Property::optional("evaluate", &EVALUATE),
        ],
    )
    .extra(Extra::Unread),
);

/// A duration: ISO 8601, a map, or an expression.
pub(crate) static DURATION: Shape = Shape::Either(&[
    &Shape::Text(Text::Duration),
    &Shape::Object(
        Object::of(
            "a duration",
            &[
                Property::optional("days", &WHOLE),
                Property::optional("hours", &WHOLE),
                Property::optional("minutes", &WHOLE),
                Property::optional("seconds", &WHOLE),
                Property::optional("milliseconds", &WHOLE),
            ],
        )
        .not_empty()
        .rule(lasts),
    ),
]);

fn lasts<'n>(node: &'n Node, check: &mut Check<'n>) {
    let right = |(unit, count): &(Key, Node)| Duration::has_unit(&unit.text) && count.is_whole();
    if !node.entries().is_empty()
        && node.entries().iter().all(right)
        && let Err(message) = Duration::from_json(&node.to_json())
    {
        check.object(node.position, message, "expected a time from 0 to ten thousand years");
    }
}

impl Definition {
    /// The definition of a tree that was found to be right.
    pub(crate) fn read(root: &Node) -> Self {
        let at = Pointer::default();
        let uses = root.get("use").map(|uses| Use::read(uses, &at.key("use")));
        Self {
            document: DocumentInfo::read(root.get("document").unwrap_or(root)),
            input: root.read_at("input", Input::read),
            r#use: uses.unwrap_or_default(),
            tasks: tasks_at(root, "do", &at),
            timeout: root.read_at("timeout", Timeout::read),
            output: root.read_at("output", Output::read),
            schedule: root.read_at("schedule", Schedule::read),
            evaluate: Evaluate::read(root.get("evaluate").unwrap_or(root)),
            json: root.to_json(),
        }
    }

    /// The definition as it was written: what a run keeps, and what `$workflow.definition` is.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// A part of it by its JSON pointer; with [`Task::reference`], what `$task.definition` is.
    #[must_use]
    pub fn part(&self, reference: &str) -> Option<&Json> {
        self.json.pointer(reference)
    }
}

impl DocumentInfo {
    fn read(node: &Node) -> Self {
        Self {
            dsl: node.string_at("dsl"),
            namespace: node.string_at("namespace"),
            name: node.string_at("name"),
            version: node.string_at("version"),
            title: node.text_at("title"),
            summary: node.text_at("summary"),
            tags: node.map_at("tags"),
            metadata: node.map_at("metadata"),
        }
    }
}

impl Evaluate {
    fn read(node: &Node) -> Self {
        let mode = match node.get("mode").and_then(Node::text) {
            Some("loose") => EvaluateMode::Loose,
            _ => EvaluateMode::Strict,
        };
        Self { language: node.text_at("language").unwrap_or_else(|| "jq".to_owned()), mode }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{workflow, workflow_problems};

    #[test]
    fn a_workflow_is_read() {
        let definition = workflow(
            "timeout: {after: PT1H}\nevaluate: {mode: loose}\ndo:\n- a: {set: {x: 1}}\n- b/c: {do: [{d: {set: {y: 2}}}]}",
        );
        assert_eq!(
            (definition.document.name.as_str(), definition.document.version.as_str()),
            ("test", "0.1.0")
        );
        assert_eq!(definition.evaluate, Evaluate { language: "jq".to_owned(), mode: EvaluateMode::Loose });
        assert!(definition.timeout.is_some());
        assert_eq!(definition.tasks[1].reference, "/do/1/b~1c");
        assert_eq!(
            definition.part(&definition.tasks[1].reference),
            Some(&json!({"do": [{"d": {"set": {"y": 2}}}]}))
        );
        assert_eq!(definition.json()["do"][0]["a"], json!({"set": {"x": 1}}));
    }

    #[test]
    fn all_problems_are_listed_with_their_places() {
        let wrong = workflow_problems(
            "ouput: {}\ndo:\n- a: {sett: {}}\n- b: {set: {}}\n  c: {wait: PT1S}\n- d: {wait: 5}",
        );
        assert_eq!(
            wrong,
            [
                "3:1: ouput: unknown property \"ouput\" in a workflow; did you mean \"output\"?; nothing reads it",
                "5:6: do[0].a: a task without a kind; did you mean \"set\"?; one key says what it does, known: call, for, do, emit, fork, listen, raise, run, set, switch, try, wait",
                "6:3: do[1]: an item with 2 keys (b, c); the only one is the name of a task; begin each with `- ` and indent below its name what belongs to it",
                "6:12: do[1].b.set: expected at least one entry, found a map without any",
                "8:13: do[2].d.wait: expected a duration such as PT1M30S, or an expression ${ … }, or a duration (a map), found a number",
            ]
        );
    }

    #[test]
    fn a_description_is_complete() {
        let document = |text: &str| {
            crate::read(&format!("document: {text}\ndo: []")).unwrap().check().unwrap_err().to_string()
        };
        assert!(
            document("{dsl: '1.0.3', namespace: a_b, name: c, version: 1.0}")
                .contains("expected a semantic version such as '1.0.0', found a number; put it in quotes")
        );
        assert!(
            document("{dsl: '2.0.0', namespace: a, name: c, version: '1.0.0'}")
                .contains("version 2.0.0 of the DSL is not known")
        );
        assert!(document("{dsl: '1.0.3', namespace: a, name: c}").contains("`version` is missing"));
    }
}
