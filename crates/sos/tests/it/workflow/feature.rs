//! Scenarios in the language of the conformance kit.

use std::path::Path;

use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) definition: String,
    pub(super) input: Option<String>,
    pub(super) secrets: Vec<String>,
    pub(super) then: Vec<Then>,
}

#[derive(Debug)]
pub(super) enum Then {
    Completes(Option<Value>),
    Faults(Option<Value>),
    HasProperties(Vec<String>),
    HasProperty(String, Expected),
    RunsFirst(String),
    RunsLast(String),
    RunsAfter(String, String),
    TaskIs(String, String),
    TaskRuns(String, usize),
}

#[derive(Debug)]
pub(super) enum Expected {
    Value(Value),
    Items(usize),
}

/// The scenarios of a file. A step that is not known fails the test: it would hold whatever happens.
pub(super) fn read(file: &Path) -> Vec<Scenario> {
    let text = std::fs::read_to_string(file).unwrap();
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let step = line.trim();
        if let Some(name) = step.strip_prefix("Scenario:") {
            scenarios.push(Scenario { name: format!("{stem}: {}", name.trim()), ..Scenario::default() });
            continue;
        }
        let words = ["Given ", "And ", "When ", "Then "].iter().find_map(|word| step.strip_prefix(word));
        let (Some(words), Some(scenario)) = (words, scenarios.last_mut()) else { continue };
        let mut document = || {
            let open = lines.next_if(|line| line.trim().starts_with("\"\"\""))?;
            let indent = open.len() - open.trim_start().len();
            let mut text = String::new();
            for line in lines.by_ref().take_while(|line| !line.trim().starts_with("\"\"\"")) {
                text.push_str(line.get(indent..).unwrap_or_else(|| line.trim_start()));
                text.push('\n');
            }
            Some(text)
        };
        step_of(scenario, words, &mut document);
    }
    scenarios
}

fn value(text: &str) -> Value {
    sos_workflow::read(text).unwrap_or_else(|problems| panic!("{problems}: {text}")).root().to_json()
}

fn step_of(scenario: &mut Scenario, words: &str, document: &mut dyn FnMut() -> Option<String>) {
    let quoted =
        |text: &str| -> Vec<String> { text.split('\'').skip(1).step_by(2).map(str::to_owned).collect() };
    match words {
        "a workflow with definition:" => scenario.definition = document().unwrap(),
        "given the workflow input is:" | "the workflow input is:" => scenario.input = document(),
        "the workflow is executed" => {}
        "the workflow should complete" => scenario.then.push(Then::Completes(None)),
        "the workflow should fault" => scenario.then.push(Then::Faults(None)),
        "the workflow should complete with output:" => {
            scenario.then.push(Then::Completes(document().as_deref().map(value)));
        }
        "the workflow should fault with error:" => {
            scenario.then.push(Then::Faults(document().as_deref().map(value)))
        }
        _ => {
            let then = if let Some(paths) = words.strip_prefix("the workflow output should have properties ")
            {
                Then::HasProperties(quoted(paths))
            } else if let Some(rest) = words.strip_prefix("the workflow output should have a ") {
                let path = quoted(rest).remove(0);
                match rest.split_once("containing ") {
                    Some((_, count)) => {
                        let count = count.split(' ').next().unwrap().parse().unwrap();
                        Then::HasProperty(path, Expected::Items(count))
                    }
                    None => Then::HasProperty(path, Expected::Value(value(&document().unwrap()))),
                }
            } else if let Some(secret) = words.strip_prefix("the secret ") {
                let parts = quoted(secret);
                scenario.secrets.push(format!("{}={}", parts[0], parts[1]));
                return;
            } else {
                of_task(words)
            };
            scenario.then.push(then);
        }
    }
}

fn of_task(words: &str) -> Then {
    let (task, rest) = words.split_once(" should ").unwrap_or_else(|| panic!("unknown step: {words}"));
    let task = task.to_owned();
    match rest.split(' ').collect::<Vec<_>>().as_slice() {
        ["run", "first"] => Then::RunsFirst(task),
        ["run", "last"] => Then::RunsLast(task),
        ["run", "after", other] => Then::RunsAfter(task, (*other).to_owned()),
        ["run", "before", other] => Then::RunsAfter((*other).to_owned(), task),
        ["run", count, "times"] => Then::TaskRuns(task, count.parse().unwrap()),
        ["complete"] => Then::TaskIs(task, "completed".to_owned()),
        ["fault"] => Then::TaskIs(task, "faulted".to_owned()),
        ["cancel"] => Then::TaskIs(task, "cancelled".to_owned()),
        ["be", "skipped"] => Then::TaskIs(task, "skipped".to_owned()),
        ["be", "retried"] => Then::TaskIs(task, "retried".to_owned()),
        _ => panic!("unknown step: {words}"),
    }
}
