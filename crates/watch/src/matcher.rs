//! Conditions on labels, with regular expressions as Prometheus understands them.

use std::fmt;
use std::sync::Arc;

use crate::labels::METRIC_NAME;
use crate::pattern::Pattern;

/// How a [`Matcher`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// As it is written in a selector.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label: `job="node"`, `path=~"/api/.*"`.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Arc<str>,
    op: MatchOp,
    value: Arc<str>,
    /// Of regular expressions only.
    pattern: Option<Pattern>,
}

impl Matcher {
    /// # Errors
    /// When the regular expression is none; the text says what is wrong with it.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Self, String> {
        let pattern = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self { name: name.into(), op, value: value.into(), pattern })
    }

    /// A condition as it is written in selectors, `job="node"`, or without quotes, `job=node`, as Alertmanager takes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no matcher: expected such as severity=\"critical\" or site=~\"a|b\"");
        let at = text.find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        if name.is_empty() || !is_name {
            return Err(wrong());
        }
        let ops = [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal];
        let op = ops.into_iter().find(|op| rest.starts_with(op.symbol())).ok_or_else(wrong)?;
        let value = rest[op.symbol().len()..].trim();
        if value.starts_with(['"', '\'', '`']) {
            let selector = format!("name{{{name}{}{value}}}", op.symbol());
            let found = crate::promql::parse_selector(&selector).map_err(|error| error.to_string())?;
            let mut others = found.into_iter().filter(|matcher| matcher.name() != METRIC_NAME);
            return others.next().filter(|_| others.next().is_none()).ok_or_else(wrong);
        }
        if value.contains(['"', '{', '}', ',']) {
            return Err(wrong());
        }
        Self::new(op, name, value)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn op(&self) -> MatchOp {
        self.op
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this value satisfies the condition; a missing label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => &*self.value == value,
            (MatchOp::NotEqual, _) => &*self.value != value,
            (MatchOp::Regex, pattern) => pattern.as_ref().is_some_and(|p| p.is_match(value)),
            (MatchOp::NotRegex, pattern) => pattern.as_ref().is_none_or(|p| !p.is_match(value)),
        }
    }

    /// The values that can match, when they are few and known: for an index of a source. None: any value may match.
    pub fn alternatives(&self) -> Option<Vec<&str>> {
        match self.op {
            MatchOp::Equal => Some(vec![&self.value]),
            MatchOp::Regex => self.pattern.as_ref()?.alternatives(),
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }

    /// The metric name that this condition demands, when it demands exactly one.
    pub fn metric_name(&self) -> Option<&str> {
        (self.op == MatchOp::Equal && &*self.name == METRIC_NAME).then_some(&*self.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.symbol(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_match_whole_values() {
        let matcher = |op, value| Matcher::new(op, "a", value).unwrap();
        assert!(matcher(MatchOp::Regex, "pro.*").matches("production"));
        assert!(!matcher(MatchOp::Regex, "pro").matches("production"));
        assert!(matcher(MatchOp::NotRegex, "pro").matches("production"));
        assert!(matcher(MatchOp::Regex, ".*").matches(""));
        assert!(Matcher::new(MatchOp::Regex, "a", "(.*").is_err());
    }

    #[test]
    fn matchers_are_read_with_and_without_quotes() {
        let read = |text| Matcher::parse(text).map(|matcher| matcher.to_string());
        for text in ["severity=critical", " severity = \"critical\" ", "severity='critical'"] {
            assert_eq!(read(text).unwrap(), "severity=\"critical\"");
        }
        assert_eq!(read("a!~\"x|y\"").unwrap(), "a!~\"x|y\"");
        assert_eq!(read("a!=").unwrap(), "a!=\"\"");
        for wrong in ["", "a", "=b", "1a=b", "a=\"b", "a=\"b\", c=\"d\"", "a=~(", "a b=c", "a={}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_words_is_known_to_indexes() {
        let matcher = Matcher::new(MatchOp::Regex, "a", "one|two").unwrap();
        assert_eq!(matcher.alternatives(), Some(vec!["one", "two"]));
        assert!(matcher.matches("two") && !matcher.matches("three"));
        assert_eq!(Matcher::new(MatchOp::Regex, "a", "o.e|two").unwrap().alternatives(), None);
    }
}
