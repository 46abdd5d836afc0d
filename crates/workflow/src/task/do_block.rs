//! `do`: tasks one after the other.

use crate::shape::{Object, Property, Scoping, Shape};
use crate::task::COMMON;

pub(crate) static DO: Shape = Shape::Object(
    Object::of("a do task", &[Property::required("do", &Shape::Tasks(Scoping::Sequence))]).inherits(&COMMON),
);

#[cfg(test)]
mod tests {
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn tasks_stay_in_their_order() {
        let TaskKind::Do(tasks) = task("do: [{z: {wait: PT1S}}, {a: {wait: PT1S}}]").kind else {
            panic!("a do task")
        };
        assert_eq!(tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(tasks[1].reference, "/do/0/t/do/1/a");
    }

    #[test]
    fn tasks_are_a_list() {
        assert!(
            problems("do: {a: {wait: PT1S}}")[0]
                .contains("expected a list of named tasks, found a map; begin each with `- `")
        );
    }
}
