//! When and how often something is tried again.

use crate::definition::DURATION;
use crate::duration::DurationValue;
use crate::node::Node;
use crate::shape::{CONDITION, MAP, Object, Property, Section, Shape, Text, WHOLE};

/// How something is tried again.
#[derive(Clone, Debug, PartialEq)]
pub enum Retry {
    /// The name of a policy in `use.retries`.
    Named(String),
    /// The policy itself.
    Policy(Box<RetryPolicy>),
}

/// A policy of trying again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryPolicy {
    /// An expression: only then.
    pub when: Option<String>,
    /// `exceptWhen`, an expression: not then.
    pub except_when: Option<String>,
    /// How long is waited before the next attempt.
    pub delay: Option<DurationValue>,
    /// How the delay grows.
    pub backoff: Option<Backoff>,
    /// `limit.attempt.count`: the most attempts.
    pub limit_attempts: Option<i64>,
    /// `limit.attempt.duration`: how long one attempt may take.
    pub limit_attempt_duration: Option<DurationValue>,
    /// `limit.duration`: how long all attempts may take.
    pub limit_duration: Option<DurationValue>,
    /// By how much the delay is changed at random.
    pub jitter: Option<Jitter>,
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Not at all.
    Constant,
    /// By the same each time.
    Linear,
    /// Twice as long each time.
    Exponential,
}

/// The bounds of a random change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// The least.
    pub from: DurationValue,
    /// The most.
    pub to: DurationValue,
}

static BACKOFF: Shape = Shape::Object(Object::of("a backoff", &[]).alternatives(&[
    Property::optional("constant", &MAP),
    Property::optional("linear", &MAP),
    Property::optional("exponential", &MAP),
]));

static ATTEMPT: Shape = Shape::Object(Object::of(
    "a limit of attempts",
    &[Property::optional("count", &WHOLE), Property::optional("duration", &DURATION)],
));

static LIMIT: Shape = Shape::Object(Object::of(
    "a limit",
    &[Property::optional("attempt", &ATTEMPT), Property::optional("duration", &DURATION)],
));

static JITTER: Shape = Shape::Object(Object::of(
    "a jitter",
    &[Property::required("from", &DURATION), Property::required("to", &DURATION)],
));

pub(crate) static POLICY: Shape = Shape::Object(Object::of(
    "a retry policy",
    &[
        Property::optional("when", &CONDITION),
        Property::optional("exceptWhen", &CONDITION),
        Property::optional("delay", &DURATION),
        Property::optional("backoff", &BACKOFF),
        Property::optional("limit", &LIMIT),
        Property::optional("jitter", &JITTER),
    ],
));

pub(crate) static RETRY: Shape = Shape::Either(&[&POLICY, &Shape::Text(Text::Declared(Section::Retries))]);

impl Retry {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text() {
            Some(name) => Self::Named(name.to_owned()),
            None => Self::Policy(Box::new(RetryPolicy::read(node))),
        }
    }
}

impl RetryPolicy {
    pub(crate) fn read(node: &Node) -> Self {
        let limit = node.get("limit");
        let attempt = limit.and_then(|limit| limit.get("attempt"));
        let duration = |node: &Node| node.read_at("duration", DurationValue::read);
        Self {
            when: node.text_at("when"),
            except_when: node.text_at("exceptWhen"),
            delay: node.read_at("delay", DurationValue::read),
            backoff: node.get("backoff").and_then(Backoff::read),
            limit_attempts: attempt.and_then(|attempt| attempt.whole_at("count")),
            limit_attempt_duration: attempt.and_then(duration),
            limit_duration: limit.and_then(duration),
            jitter: node.get("jitter").and_then(Jitter::read),
        }
    }
}

impl Backoff {
    fn read(node: &Node) -> Option<Self> {
        let kinds =
            [("constant", Self::Constant), ("linear", Self::Linear), ("exponential", Self::Exponential)];
        kinds.into_iter().find(|(key, _)| node.get(key).is_some()).map(|(_, kind)| kind)
    }
}

impl Jitter {
    fn read(node: &Node) -> Option<Self> {
        let from = node.read_at("from", DurationValue::read)?;
        Some(Self { from, to: node.read_at("to", DurationValue::read)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{workflow, workflow_problems};

    fn used(policy: &str) -> String {
        format!("use: {{retries: {{r: {policy}}}}}\ndo: []")
    }

    #[test]
    fn a_policy_is_read() {
        let policy = "{delay: PT1S, backoff: {linear: {}}, limit: {attempt: {count: 3, duration: PT5S}, duration: PT1M}, jitter: {from: PT0S, to: PT1S}}";
        let policy = workflow(&used(policy)).r#use.retries["r"].clone();
        assert_eq!((policy.backoff, policy.limit_attempts), (Some(Backoff::Linear), Some(3)));
        assert!(policy.limit_attempt_duration.is_some() && policy.limit_duration.is_some());
        assert!(policy.jitter.is_some() && policy.delay.is_some());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let first = |policy: &str| workflow_problems(&used(policy)).remove(0);
        assert!(
            first("{backoff: {linear: {}, constant: {}}}").contains("a backoff has both constant and linear")
        );
        assert!(first("{backoff: {}}").contains("a backoff needs constant or linear or exponential"));
        assert!(first("{jitter: {from: PT1S}}").contains("`to` is missing in a jitter"));
        assert!(first("{delay: soon}").contains("expected a duration"));
    }
}
