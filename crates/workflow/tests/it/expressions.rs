//! Expressions come to what jq makes of them: `cases/workflow/expressions.jsonl`, a case a line, with what jq 1.8 said, or for what
//! its library leaves out (base 32, other names in `from_entries`) what its manual says. Known differences are in decision 0141.
//! `fails` is there where jq has an error; a line with `input` alone says what the cases after it work on.

use serde::Deserialize;
use serde_json::Value;
use sos_workflow::jq::{Expression, Limits};
use sos_workflow::template::{data, json};

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Case(Case),
    Input { input: Value },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expression: String,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    fails: bool,
}

fn wrong(case: &Case, input: &Value) -> Option<String> {
    let read = match Expression::read(&case.expression, &[]) {
        Ok(read) => read,
        Err(why) => return (!case.fails).then(|| why.to_string()),
    };
    let now = "2026-01-05T08:00:00Z".parse().expect("a time");
    match read.evaluate(&data(input), Vec::new(), now, Limits::default()) {
        Ok(value) if case.fails => Some(format!("{} instead of an error", json(&value))),
        Ok(value) => {
            (json(&value) != case.output).then(|| format!("{} instead of {}", json(&value), case.output))
        }
        Err(why) => (!case.fails).then(|| why.to_string()),
    }
}

#[test]
fn expressions_come_to_what_jq_makes_of_them() {
    let cases = include_str!("../../../../cases/workflow/expressions.jsonl");
    let (mut input, mut seen, mut faults) = (Value::Null, 0, Vec::new());
    for line in cases.lines() {
        match serde_json::from_str(line).unwrap() {
            Line::Input { input: next } => input = next,
            Line::Case(case) => {
                seen += 1;
                let why = wrong(&case, &input);
                faults.extend(why.map(|why| format!("{} on {input}: {why}", case.expression)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 300, "only {seen} cases");
}
