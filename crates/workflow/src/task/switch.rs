//! `switch`: the first case that holds says what comes next.

use crate::node::Node;
use crate::shape::{CONDITION, Check, Least, Object, Property, Shape};
use crate::task::{COMMON, DIRECTIVE, FlowDirective};

/// Cases; the first that holds says what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The cases; at most one has no condition, which is the default.
    pub cases: Vec<Case>,
}

/// A case of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// An expression; the default has none.
    pub when: Option<String>,
    /// What comes next.
    pub then: FlowDirective,
}

static CASE: Shape = Shape::Object(Object::of(
    "a case",
    &[Property::optional("when", &CONDITION), Property::required("then", &DIRECTIVE)],
));

pub(crate) static SWITCH: Shape = Shape::Object(
    Object::of("a switch task", &[Property::required("switch", &Shape::Single("a case", &CASE, Least::One))])
        .inherits(&COMMON)
        .rule(one_default),
);

fn one_default<'n>(node: &'n Node, check: &mut Check<'n>) {
    let cases = node.get("switch").map(Node::items).unwrap_or_default().iter().flat_map(Node::entries);
    let defaults = cases.filter(|(_, case)| case.get("then").is_some() && case.get("when").is_none());
    for (key, _) in defaults.skip(1) {
        let message = format!("a second default, \"{}\"", sos_model::shown(&key.text));
        check.object_at("switch", key.position, message, "one case has no `when`: give the others theirs");
    }
}

impl Switch {
    pub(crate) fn read(node: &Node) -> Self {
        let case = |(key, case): &(crate::node::Key, Node)| Case {
            name: key.text.clone(),
            when: case.text_at("when"),
            then: case.get("then").map_or(FlowDirective::Continue, FlowDirective::read),
        };
        Self { cases: node.items().iter().flat_map(Node::entries).map(case).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn cases_are_read_in_their_order() {
        let TaskKind::Switch(switch) = task("switch: [{z: {when: .a, then: exit}}, {a: {then: t}}]").kind
        else {
            panic!("a switch task")
        };
        assert_eq!(
            switch.cases[0],
            Case { name: "z".to_owned(), when: Some(".a".to_owned()), then: FlowDirective::Exit }
        );
        assert_eq!(switch.cases[1].then, FlowDirective::Task("t".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(problems("switch: []")[0].contains("at least one entry"));
        assert!(problems("switch: [{a: {when: .a}}]")[0].contains("`then` is missing in a case"));
        assert!(problems("switch: [{a: {when: .a, then: b}}]")[0].contains("there is no task \"b\""));
        assert_eq!(
            problems("switch: [{a: {then: end}}, {b: {then: exit}}]"),
            ["8:35: do[0].t.switch: a second default, \"b\"; one case has no `when`: give the others theirs"]
        );
    }
}
