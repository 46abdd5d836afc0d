//! A parsed query.

use std::fmt;
use std::sync::Arc;

use super::error::Span;
use super::functions::Function;
use crate::matcher::Matcher;

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar,
    /// One value per series.
    Vector,
    /// Many values per series.
    Matrix,
    Text,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        })
    }
}

/// An expression with its place in the text.
#[derive(Clone, Debug)]
pub struct Expr {
    pub node: Node,
    pub span: Span,
    /// Levels of expressions below and including this one.
    pub(crate) depth: u32,
}

#[derive(Clone, Debug)]
pub enum Node {
    Number(f64),
    Text(Arc<str>),
    Paren(Box<Expr>),
    Unary {
        negative: bool,
        operand: Box<Expr>,
    },
    Binary(Box<Binary>),
    Call(Call),
    Aggregate(Box<Aggregate>),
    Selector(Selector),
    /// `selector[range]`, range in ms.
    Range {
        selector: Selector,
        range_ms: i64,
    },
    Subquery(Box<Subquery>),
}

/// Which series, and at which time.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The name before the braces, which is among the matchers too.
    pub name: Option<Arc<str>>,
    pub matchers: Arc<[Matcher]>,
    pub shift: Shift,
}

/// `offset` and `@`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// How far to look back, in ms; negative looks ahead.
    pub offset_ms: i64,
    pub at: Option<At>,
}

/// The time that `@` fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In ms since 1970.
    Time(i64),
    /// Of the whole query.
    Start,
    End,
}

#[derive(Clone, Debug)]
pub struct Subquery {
    pub inner: Expr,
    pub range_ms: i64,
    /// None: the default step of the evaluation.
    pub step_ms: Option<i64>,
    pub shift: Shift,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub function: &'static Function,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub param: Option<Expr>,
    pub inner: Expr,
    pub grouping: Grouping,
}

/// `by` or `without`; an absent clause is `by ()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    pub without: bool,
    pub labels: Vec<Arc<str>>,
}

/// An operator that makes one of many series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
}

impl AggregateOp {
    pub const ALL: [(&'static str, Self); 12] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::TopK),
        ("bottomk", Self::BottomK),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, op)| *op)
    }

    /// The type of the parameter before the series.
    pub(crate) fn param(self) -> Option<Type> {
        match self {
            Self::TopK | Self::BottomK | Self::Quantile => Some(Type::Scalar),
            Self::CountValues => Some(Type::Text),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    /// Comparisons only: 0 or 1 instead of leaving out.
    pub bool: bool,
    pub matching: Matching,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// `on` instead of `ignoring`; an absent clause is `ignoring ()`.
    pub on: bool,
    pub labels: Vec<Arc<str>>,
    pub group: Group,
    /// Labels copied from the side that has one series.
    pub include: Vec<Arc<str>>,
}

/// Which side may have several series of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    None,
    Left,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | Less | GreaterOrEqual | LessOrEqual)
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether the result is another quantity than the operands, so that it loses their name. `atan2` keeps it in
    /// Prometheus 2.42.
    pub(crate) fn drops_name(self) -> bool {
        use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
        matches!(self, Add | Sub | Mul | Div | Mod | Pow)
    }
}

impl Expr {
    pub(crate) fn new(node: Node, span: Span) -> Self {
        let depth = 1 + node.children().map(|child| child.depth).max().unwrap_or(0);
        Self { node, span, depth }
    }

    /// What the expression gives.
    pub fn ty(&self) -> Type {
        match &self.node {
            Node::Number(_) => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Paren(inner) => inner.ty(),
            Node::Unary { operand, .. } => operand.ty(),
            Node::Binary(binary) => match (binary.left.ty(), binary.right.ty()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Node::Call(call) => call.function.returns,
            Node::Aggregate(_) | Node::Selector(_) => Type::Vector,
            Node::Range { .. } | Node::Subquery(_) => Type::Matrix,
        }
    }

    /// The expression within any parentheses.
    pub fn bare(&self) -> &Expr {
        let mut expr = self;
        while let Node::Paren(inner) = &expr.node {
            expr = inner;
        }
        expr
    }
}

impl Node {
    /// The expressions directly below.
    pub fn children(&self) -> impl Iterator<Item = &Expr> {
        let (one, two, many): (Option<&Expr>, Option<&Expr>, &[Expr]) = match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range { .. } => (None, None, &[]),
            Self::Paren(inner) | Self::Unary { operand: inner, .. } => (Some(inner), None, &[]),
            Self::Binary(binary) => (Some(&binary.left), Some(&binary.right), &[]),
            Self::Call(call) => (None, None, &call.args),
            Self::Aggregate(aggregate) => (aggregate.param.as_ref(), Some(&aggregate.inner), &[]),
            Self::Subquery(subquery) => (Some(&subquery.inner), None, &[]),
        };
        one.into_iter().chain(two).chain(many)
    }
}
