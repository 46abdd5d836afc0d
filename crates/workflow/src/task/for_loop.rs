//! `for`: tasks for each item.

use serde_json::Value as Json;

use crate::node::Node;
use crate::path::Pointer;
use crate::shape::{CONDITION, MAP, Object, Property, Scoping, Shape, TEXT};
use crate::task::{COMMON, Task, tasks_at};

/// A loop over items.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// The variable of the item.
    pub each: String,
    /// `in`: an expression that gives a list, or the list itself.
    pub r#in: Json,
    /// The variable of the index.
    pub at: String,
    /// An expression; the loop ends when it does not hold.
    pub r#while: Option<String>,
    /// `do`: what is done for each.
    pub tasks: Vec<Task>,
}

static EACH: Shape = Shape::Object(Object::of(
    "a loop",
    &[
        Property::optional("each", &TEXT),
        Property::required("in", &Shape::Either(&[&TEXT, &Shape::List(&MAP)])),
        Property::optional("at", &TEXT),
    ],
));

pub(crate) static FOR: Shape = Shape::Object(
    Object::of(
        "a for task",
        &[
            Property::required("for", &EACH),
            Property::optional("while", &CONDITION),
            Property::required("do", &Shape::Tasks(Scoping::Sequence)),
        ],
    )
    .inherits(&COMMON),
);

impl For {
    pub(crate) fn read(node: &Node, each: &Node, at: &Pointer) -> Self {
        Self {
            each: each.text_at("each").unwrap_or_else(|| "item".to_owned()),
            r#in: each.json_at("in").unwrap_or_default(),
            at: each.text_at("at").unwrap_or_else(|| "index".to_owned()),
            r#while: node.text_at("while"),
            tasks: tasks_at(node, "do", at),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn items_are_an_expression_or_a_list_of_maps() {
        let TaskKind::For(each) = task("for: {in: .pets}\nwhile: .go\ndo: [{a: {wait: PT1S}}]").kind else {
            panic!("a for task")
        };
        assert_eq!((each.each.as_str(), each.at.as_str(), each.r#in), ("item", "index", json!(".pets")));
        assert_eq!(
            (each.r#while.as_deref(), each.tasks[0].reference.as_str()),
            (Some(".go"), "/do/0/t/do/0/a")
        );
        assert!(problems("for: {each: pet, in: [{a: 1}]}\ndo: []").is_empty());
        assert!(problems("for: {in: [1]}\ndo: []")[0].contains("for.in[0]: expected a map, found a number"));
        assert!(problems("for: {each: pet}\ndo: []")[0].contains("`in` is missing in a loop"));
        assert!(problems("for: {in: .a}")[0].contains("`do` is missing in a for task"));
    }
}
