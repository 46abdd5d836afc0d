//! What documents look like, as data: each part of the DSL declares a [`Shape`] beside its typed definition, and
//! [`check`] walks both trees together.

pub(crate) mod check;
mod scope;
mod text;

pub(crate) use check::Check;
pub(crate) use scope::Section;
pub(crate) use text::Text;

use crate::node::Node;

/// What a value has to be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Whatever is written, nothing included.
    Anything,
    /// Text by a rule.
    Text(Text),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds; `None` leaves the size open.
    Whole(Option<(i64, i64)>),
    /// A list of the same.
    List(&'static Shape),
    /// A list of maps with one key each; the text says what the key names.
    Single(&'static str, &'static Shape, Least),
    /// A list of named tasks, with the scope that flow directives have in it.
    Tasks(Scoping),
    /// A map whose keys are free.
    Map(&'static Shape, Least),
    /// A map of known properties.
    Object(Object),
    /// Maps that are told apart by a key they have.
    ByKey(ByKey),
    /// Maps that are told apart by the text of one property.
    ByValue(ByValue),
    /// Shapes of different JSON types.
    Either(&'static [&'static Shape]),
}

/// How many there must be at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Least {
    /// It may be empty.
    Zero,
    /// It may not.
    One,
}

/// Where a flow directive can go from a task of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scoping {
    /// To any task of the same list.
    Sequence,
    /// Nowhere: the tasks run side by side.
    Branches,
}

/// A map of known properties.
#[derive(Debug)]
pub(crate) struct Object {
    /// What it is, with its article, for messages.
    pub(crate) what: &'static str,
    pub(crate) properties: &'static [Property],
    /// Properties that all of its family have.
    pub(crate) inherited: &'static [Property],
    /// Properties of which exactly one must be there and right.
    pub(crate) alternatives: &'static [Property],
    /// Names of properties of which exactly one must be there, in groups.
    pub(crate) exactly_one: &'static [&'static [&'static str]],
    pub(crate) extra: Extra,
    pub(crate) least: Least,
    /// What properties say about each other.
    pub(crate) rule: Option<for<'c, 'n> fn(&'n Node, &'c mut Check<'n>)>,
}

/// What becomes of properties that an object does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// They are problems.
    Refused,
    /// They are free to users.
    Free,
    /// The schema lets them pass, but nothing reads them: those that look like a slip are told.
    Unread,
}

/// A property of an object.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) required: bool,
}

/// Maps that are told apart by a key they have: the first of `variants` whose key is there.
#[derive(Debug)]
pub(crate) struct ByKey {
    /// What all of them are, with an article.
    pub(crate) what: &'static str,
    pub(crate) variants: &'static [(&'static str, &'static Shape)],
    /// What it is with none of the keys; without it, one of them is needed.
    pub(crate) otherwise: Option<&'static Shape>,
}

/// Maps that are told apart by the text of one property.
#[derive(Debug)]
pub(crate) struct ByValue {
    pub(crate) key: &'static str,
    pub(crate) variants: &'static [(&'static str, &'static Shape)],
    pub(crate) otherwise: &'static Shape,
}

impl Property {
    pub(crate) const fn required(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: true }
    }

    pub(crate) const fn optional(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: false }
    }
}

impl Object {
    /// An object that knows these properties and refuses others.
    pub(crate) const fn of(what: &'static str, properties: &'static [Property]) -> Self {
        Self {
            what,
            properties,
            inherited: &[],
            alternatives: &[],
            exactly_one: &[],
            extra: Extra::Refused,
            least: Least::Zero,
            rule: None,
        }
    }

    pub(crate) const fn inherits(self, inherited: &'static [Property]) -> Self {
        Self { inherited, ..self }
    }

    pub(crate) const fn alternatives(self, alternatives: &'static [Property]) -> Self {
        Self { alternatives, ..self }
    }

    pub(crate) const fn exactly_one(self, exactly_one: &'static [&'static [&'static str]]) -> Self {
        Self { exactly_one, ..self }
    }

    pub(crate) const fn extra(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    pub(crate) const fn not_empty(self) -> Self {
        Self { least: Least::One, ..self }
    }

    pub(crate) const fn rule(self, rule: for<'c, 'n> fn(&'n Node, &'c mut Check<'n>)) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// Everything it knows.
    pub(crate) fn known(&self) -> impl Iterator<Item = &'static Property> {
        self.properties.iter().chain(self.alternatives).chain(self.inherited)
    }
}

pub(crate) static ANYTHING: Shape = Shape::Anything;
pub(crate) static FLAG: Shape = Shape::Flag;
pub(crate) static WHOLE: Shape = Shape::Whole(None);
pub(crate) static TEXT: Shape = Shape::Text(Text::Free);
pub(crate) static TEXTS: Shape = Shape::List(&TEXT);
pub(crate) static MAP: Shape = Shape::Map(&ANYTHING, Least::Zero);
pub(crate) static MAP_OF_TEXTS: Shape = Shape::Map(&TEXT, Least::Zero);
pub(crate) static TEXT_OR_MAP: Shape = Shape::Either(&[&TEXT, &MAP]);
/// An expression as text, with or without `${ }`.
pub(crate) static CONDITION: Shape = Shape::Text(Text::Free);

impl Shape {
    /// What is expected, for messages.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Anything => "any value".to_owned(),
            Self::Text(text) => text.expected().to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Flag => "true or false".to_owned(),
            Self::Whole(None) => "a whole number".to_owned(),
            Self::Whole(Some((min, max))) => format!("a whole number from {min} to {max}"),
            Self::List(_) => "a list".to_owned(),
            Self::Single(what, ..) => format!("a list of maps with one key each, the name of {what}"),
            Self::Tasks(_) => "a list of named tasks".to_owned(),
            Self::Map(..) => "a map".to_owned(),
            Self::Object(object) => format!("{} (a map)", object.what),
            Self::ByKey(by) => format!("{} (a map)", by.what),
            Self::ByValue(by) => format!("a map with `{}`", by.key),
            Self::Either(shapes) => {
                shapes.iter().map(|shape| shape.expected()).collect::<Vec<_>>().join(", or ")
            }
        }
    }
}
