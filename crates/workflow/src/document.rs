//! A document as it was written, and its way to a definition.

use serde_json::Value as Json;

use crate::definition::{Definition, WORKFLOW};
use crate::node::{Node, Position};
use crate::problem::{MAX_PROBLEMS, Problem, ProblemKind, Problems};
use crate::program::{Program, Resources};
use crate::read::{self, MAX_DEPTH};
use crate::shape::check::check;

/// A document that was read, right or wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    root: Node,
}

/// Reads a document from YAML 1.2 or JSON.
///
/// # Errors
/// What is no single document of at most [`crate::MAX_BYTES`] bytes, [`MAX_DEPTH`] levels and [`crate::MAX_VALUES`] values:
/// the first of these. Keys that appear twice are all listed.
pub fn read(text: &str) -> Result<Document, Problems> {
    Ok(Document { root: read::tree(text)? })
}

impl Document {
    /// A document from JSON, to read again what a run has kept; nothing in it has a place.
    ///
    /// # Errors
    /// More than [`MAX_DEPTH`] levels.
    pub fn from_json(json: &Json) -> Result<Self, Problems> {
        if is_deeper(json, MAX_DEPTH) {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Problems::one(Problem {
                kind: ProblemKind::Text,
                position: Position::NONE,
                path: String::new(),
                message,
                help: "move inner tasks into functions".to_owned(),
            }));
        }
        Ok(Self { root: Node::from_json(json) })
    }

    /// The values as they were written.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Everything that is wrong; `None` when nothing is.
    #[must_use]
    pub fn problems(&self) -> Option<Problems> {
        check(&self.root, &WORKFLOW)
    }

    /// Everything that is wrong, with what only the program of a document shows: expressions, schemas, functions. What lies elsewhere is
    /// not looked at. Where the schema of the DSL is broken, of the program only expressions are told: the rest may follow from that.
    #[must_use]
    pub fn all_problems(&self) -> Option<Problems> {
        let (mut all, more) = self.problems().map_or((Vec::new(), false), Problems::into_parts);
        let is_well = all.is_empty();
        if let Err(unbuilt) = Program::build(Definition::read(&self.root), &Resources::new()) {
            let refused = unbuilt.refused.iter().filter(|refused| is_well || refused.is_expression);
            all.extend(refused.take(MAX_PROBLEMS).map(|refused| refused.problem(self)));
        }
        Problems::of(all, more)
    }

    /// The definition.
    ///
    /// # Errors
    /// Everything that is wrong with the document, up to [`crate::MAX_PROBLEMS`].
    pub fn check(&self) -> Result<Definition, Problems> {
        match self.problems() {
            Some(problems) => Err(problems),
            None => Ok(Definition::read(&self.root)),
        }
    }
}

fn is_deeper(json: &Json, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return json.is_array() || json.is_object() };
    match json {
        Json::Array(items) => items.iter().any(|item| is_deeper(item, below)),
        Json::Object(map) => map.values().any(|value| is_deeper(value, below)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::workflow;

    #[test]
    fn a_definition_comes_back_from_its_json() {
        let definition = workflow(
            "do:\n- z: {call: http, with: {method: get, endpoint: 'https://a', query: {z: '1', a: '2'}}}\n- a: {wait: {hours: 1.0}}",
        );
        let mut again = Document::from_json(definition.json()).unwrap().check().unwrap();
        assert_eq!(again.tasks[0].position, Position::NONE);
        for (again, task) in again.tasks.iter_mut().zip(&definition.tasks) {
            again.position = task.position;
        }
        assert_eq!(again, definition);
    }

    #[test]
    fn expressions_are_looked_at_whatever_else_is_wrong() {
        let text = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\ndo:\n- a: {sett: {}}\n- b: {set: {x: '${ .a + }'}}\n- \"c\\nd\": {set: {x: '${ $contxt }'}}\n";
        let document = read(text).unwrap();
        let all = document.all_problems().unwrap().to_string();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 3, "{all}");
        assert!(lines[1].starts_with("4:16: do[1].b.set.x: the expression cannot be read"), "{all}");
        assert!(
            lines[2].contains("do[2][\"c d\"].set.x: the expression names the unknown variable"),
            "{all}"
        );
        assert_eq!(document.check().unwrap_err().all().len(), 1);
        assert_eq!(workflow("do: [{a: {set: {b: 1}}}]").json()["do"][0]["a"]["set"]["b"], 1);
    }

    #[test]
    fn of_very_many_problems_the_first_are_listed() {
        let text = format!("document: {{}}\ndo:\n{}", "- a: {sett: 1, then: b, xyz: {}}\n".repeat(20_000));
        let problems = read(&text).unwrap().check().unwrap_err();
        assert!(problems.are_more() && problems.breaks_schema());
        assert!(problems.all().len() <= crate::MAX_PROBLEMS + 1);
    }

    #[test]
    fn json_that_is_too_deep_is_refused() {
        let nested = |levels: usize| (0..levels).fold(Json::Null, |inner, _| Json::Array(vec![inner]));
        assert!(Document::from_json(&nested(MAX_DEPTH)).is_ok());
        assert!(Document::from_json(&nested(MAX_DEPTH + 1)).is_err());
    }
}
