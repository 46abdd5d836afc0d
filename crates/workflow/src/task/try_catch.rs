//! `try`: tasks whose errors are caught.

use crate::definition::error::{ERROR_FILTER, ErrorFilter};
use crate::definition::retry::{RETRY, Retry};
use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{CONDITION, Extra, Object, Property, Scoping, Shape, TEXT};
use crate::task::{COMMON, DIRECTIVE, FlowDirective, Task, tasks_at};

/// Tasks, and what happens when one fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// `try`: the tasks.
    pub tasks: Vec<Task>,
    /// What happens when one fails.
    pub catch: Catch,
}

/// Which errors are caught, and what is done then.
#[derive(Clone, Debug, PartialEq)]
pub struct Catch {
    /// `errors.with`: which errors; all unless said.
    pub errors: Option<ErrorFilter>,
    /// The variable of the error.
    pub r#as: String,
    /// An expression: only then.
    pub when: Option<String>,
    /// `exceptWhen`, an expression: not then.
    pub except_when: Option<String>,
    /// How the tasks are tried again.
    pub retry: Option<Retry>,
    /// `do`: what is done with the error.
    pub tasks: Option<Vec<Task>>,
    /// What comes next after an error was caught.
    pub then: Option<FlowDirective>,
}

static ERRORS: Shape = Shape::Object(
    Object::of("errors that are caught", &[Property::optional("with", &ERROR_FILTER)]).extra(Extra::Unread),
);

static CATCH: Shape = Shape::Object(Object::of(
    "a catch",
    &[
        Property::optional("errors", &ERRORS),
        Property::optional("as", &TEXT),
        Property::optional("when", &CONDITION),
        Property::optional("exceptWhen", &CONDITION),
        Property::optional("retry", &RETRY),
        Property::optional("do", &Shape::Tasks(Scoping::Sequence)),
        Property::optional("then", &DIRECTIVE),
    ],
));

pub(crate) static TRY: Shape = Shape::Object(
    Object::of(
        "a try task",
        &[Property::required("try", &Shape::Tasks(Scoping::Sequence)), Property::required("catch", &CATCH)],
    )
    .inherits(&COMMON),
);

impl Try {
    pub(crate) fn read(node: &Node, catch: &Node, at: &Pointer) -> Self {
        Self { tasks: tasks_at(node, "try", at), catch: Catch::read(catch, &at.key("catch")) }
    }
}

impl Catch {
    fn read(node: &Node, at: &Pointer) -> Self {
        let errors = node.get("errors").and_then(|errors| errors.read_at("with", ErrorFilter::read));
        Self {
            errors,
            r#as: node.text_at("as").unwrap_or_else(|| "error".to_owned()),
            when: node.text_at("when"),
            except_when: node.text_at("exceptWhen"),
            retry: node.read_at("retry", Retry::read),
            tasks: node.get("do").map(|_| tasks_at(node, "do", at)),
            then: node.read_at("then", FlowDirective::read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn a_try_task_is_read() {
        let text = "try: [{a: {wait: PT1S}}]\ncatch: {errors: {with: {status: 503}}, exceptWhen: .b, retry: {delay: PT1S}, then: exit}";
        let TaskKind::Try(attempt) = task(text).kind else { panic!("a try task") };
        let catch = attempt.catch;
        assert_eq!((catch.errors.unwrap().status, catch.r#as.as_str()), (Some(503), "error"));
        assert_eq!((catch.except_when.as_deref(), catch.then), (Some(".b"), Some(FlowDirective::Exit)));
        assert!(matches!(catch.retry, Some(Retry::Policy(_))) && catch.tasks.is_none());
    }

    #[test]
    fn what_follows_a_catch_is_beside_the_try_task() {
        assert!(problems("try: [{a: {wait: PT1S}}]\ncatch: {then: t}").is_empty());
        assert!(problems("try: [{a: {wait: PT1S}}]\ncatch: {then: a}")[0].contains("there is no task \"a\""));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(problems("try: []")[0].contains("`catch` is missing in a try task"));
        assert!(
            problems("try: []\ncatch: {retry: none}")[0]
                .contains("\"none\" is not declared in `use.retries`")
        );
        assert!(problems("try: []\ncatch: {error: {}}")[0].contains("did you mean \"errors\"?"));
    }
}
