//! `set`: the output is what is said.

use crate::shape::{ANYTHING, Least, Object, Property, Shape, TEXT};
use crate::task::COMMON;

pub(crate) static SET: Shape = Shape::Object(
    Object::of(
        "a set task",
        &[Property::required("set", &Shape::Either(&[&Shape::Map(&ANYTHING, Least::One), &TEXT]))],
    )
    .inherits(&COMMON),
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn a_map_or_an_expression_is_set() {
        assert_eq!(task("set: {a: {b: '${ .c }'}}").kind, TaskKind::Set(json!({"a": {"b": "${ .c }"}})));
        assert_eq!(task("set: '${ .c }'").kind, TaskKind::Set(json!("${ .c }")));
        assert!(problems("set: 1")[0].contains("expected a map, or text, found a number"));
    }
}
