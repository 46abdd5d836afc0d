//! A parsed template; printed as Go prints its nodes, which messages quote.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::printf::go_quote;

/// One piece of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(Arc<str>),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { pos: usize, name: Arc<str>, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `if`, `with` and `range` with what follows.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) list: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands joined by `|`, with the variables that take the result.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    pub(super) variables: Vec<Arc<str>>,
    /// `=` instead of `:=`.
    pub(super) assign: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(super) struct Command {
    /// At least one.
    pub(super) args: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) pos: usize,
    pub(super) term: Term,
}

#[derive(Clone, Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// As written, and its value.
    Text(Arc<str>, Arc<str>),
    /// `.a.b`
    Field(Vec<Arc<str>>),
    /// `$x.a.b`
    Variable(Arc<str>, Vec<Arc<str>>),
    /// `(…).a.b`
    Chain(Box<Operand>, Vec<Arc<str>>),
    Function(Arc<str>),
    Pipe(Box<Pipe>),
}

/// A number as written, with the kinds of value it can be.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) text: Arc<str>,
    pub(super) int: Option<i64>,
    pub(super) float: f64,
    /// Written with a point or an exponent, so that it is no whole number to a function.
    pub(super) is_float: bool,
}

fn fields(f: &mut Formatter<'_>, names: &[Arc<str>]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&number.text),
            Term::Text(written, _) => f.write_str(written),
            Term::Field(names) => fields(f, names),
            Term::Variable(name, names) => f.write_str(name).and_then(|()| fields(f, names)),
            Term::Chain(inner, names) => {
                write!(f, "{inner}")?;
                fields(f, names)
            }
            Term::Function(name) => f.write_str(name),
            Term::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let names: Vec<&str> = self.variables.iter().map(|name| &**name).collect();
            write!(f, "{} {} ", names.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl Display for Node {
    /// Control structures only as far as messages need them.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&go_quote(text)),
            Self::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            Self::If(branch) => write!(f, "{{{{if {}}}}}", branch.pipe),
            Self::With(branch) => write!(f, "{{{{with {}}}}}", branch.pipe),
            Self::Range(branch) => write!(f, "{{{{range {}}}}}", branch.pipe),
            Self::Template { name, pipe, .. } => {
                write!(f, "{{{{template {}", go_quote(name))?;
                if let Some(pipe) = pipe {
                    write!(f, " {pipe}")?;
                }
                f.write_str("}}")
            }
            Self::Break => f.write_str("{{break}}"),
            Self::Continue => f.write_str("{{continue}}"),
        }
    }
}
