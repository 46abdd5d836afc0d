//! Expressions as text again, written as Prometheus writes them.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::ast::{Aggregate, At, Binary, Call, Expr, Group, Grouping, Node, Selector, Shift, Subquery};
use crate::{duration, format};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number(value) => f.write_str(&format::float(*value)),
            Node::Text(text) => write!(f, "{text:?}"),
            Node::Paren(inner) => write!(f, "({inner})"),
            Node::Unary { negative, operand } => write!(f, "{}{operand}", if *negative { "-" } else { "+" }),
            Node::Binary(binary) => binary.fmt(f),
            Node::Call(Call { function, args }) => write!(f, "{}({})", function.name, joined(args)),
            Node::Aggregate(aggregate) => aggregate.fmt(f),
            Node::Selector(selector) => write!(f, "{selector}{}", selector.shift),
            Node::Range { selector, range_ms } => {
                write!(f, "{selector}[{}]{}", duration::format(*range_ms), selector.shift)
            }
            Node::Subquery(subquery) => subquery.fmt(f),
        }
    }
}

fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}(", self.op.name(), self.grouping)?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.without, self.labels.is_empty()) {
            (true, _) => write!(f, " without ({}) ", joined(&self.labels)),
            (false, false) => write!(f, " by ({}) ", joined(&self.labels)),
            (false, true) => Ok(()),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op.symbol())?;
        if self.bool {
            f.write_str(" bool")?;
        }
        let matching = &self.matching;
        if matching.on || !matching.labels.is_empty() || matching.group != Group::None {
            write!(f, " {} ({})", if matching.on { "on" } else { "ignoring" }, joined(&matching.labels))?;
        }
        match matching.group {
            Group::None => {}
            Group::Left => write!(f, " group_left ({})", joined(&matching.include))?,
            Group::Right => write!(f, " group_right ({})", joined(&matching.include))?,
        }
        write!(f, " {}", self.right)
    }
}

impl Display for Selector {
    /// Without its shift, which stands behind a range.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name: Option<&Arc<str>> = self.name.as_ref();
        f.write_str(name.map_or("", |name| name))?;
        // The matcher of the name stands last.
        let shown = &self.matchers[..self.matchers.len() - usize::from(name.is_some())];
        if shown.is_empty() && name.is_some() {
            return Ok(());
        }
        let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
        write!(f, "{{{}}}", shown.join(","))
    }
}

impl Display for Shift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(ms)) => {
                let sign = if ms < 0 { "-" } else { "" };
                write!(f, " @ {sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)?;
            }
        }
        match self.offset_ms {
            0 => Ok(()),
            ms => write!(f, " offset {}", duration::format(ms)),
        }
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let step = self.step_ms.map(duration::format).unwrap_or_default();
        write!(f, "{}[{}:{step}]{}", self.inner, duration::format(self.range_ms), self.shift)
    }
}
