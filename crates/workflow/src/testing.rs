//! What unit tests of the parts share: a workflow around what they are about.

use crate::definition::Definition;
use crate::task::Task;

const DOCUMENT: &str = "document: {dsl: '1.0.3', namespace: test, name: test, version: '0.1.0'}\n";

fn read(text: &str) -> Result<Definition, crate::Problems> {
    crate::read(&format!("{DOCUMENT}\n{text}")).and_then(|document| document.check())
}

/// A workflow whose rest begins in line 3.
pub(crate) fn workflow(rest: &str) -> Definition {
    read(rest).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is wrong with it.
pub(crate) fn workflow_problems(rest: &str) -> Vec<String> {
    let problems = read(rest).err();
    problems.iter().flat_map(|problems| problems.all()).map(ToString::to_string).collect()
}

/// The workflow of one task `t`, whose text begins in line 8, column 7.
fn of_task(text: &str) -> String {
    format!("\n\ndo:\n  - t:\n\n      {}", text.replace('\n', "\n      "))
}

/// The task.
pub(crate) fn task(text: &str) -> Task {
    workflow(&of_task(text)).tasks.remove(0)
}

/// What is wrong with it.
pub(crate) fn problems(text: &str) -> Vec<String> {
    workflow_problems(&of_task(text))
}
