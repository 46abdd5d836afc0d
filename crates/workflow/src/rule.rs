//! What a rule decides, pure: whether something that happened counts, and when it is acted on.
//!
//! A cause passes the condition, then waits until nothing more came for the time of `debounce`, then passes the limit. What was decided
//! and why is told each time.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jq::{Data, Failed, Limits};
use crate::template::{Mode, Scope, Template, data, json};

/// What keeps a rule from acting.
#[derive(Debug, Default)]
pub struct Policy {
    /// Has to hold: anything but false and null does.
    pub condition: Option<Template>,
    /// Nothing more may come for so long.
    pub debounce: Option<SignedDuration>,
    /// So often in a span of this length.
    pub limit: Option<(u32, SignedDuration)>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The same for the same happening, and different for everything else.
    pub key: String,
    /// What expressions see of it.
    pub value: Value,
}

/// What a rule has to remember; it is kept together with how far it has looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When it acted last, as far as its limit needs that.
    #[serde(default)]
    pub acted: VecDeque<Timestamp>,
    /// What waits until nothing more comes.
    #[serde(default)]
    pub waiting: Option<(Timestamp, Cause)>,
}

/// What becomes of a cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is acted on.
    Act(Cause),
    /// It is acted on then, unless more comes.
    Later(Timestamp),
    /// It is not, and why.
    Not(String),
}

impl Policy {
    /// What becomes of something that happens.
    pub fn hear(&self, memory: &mut Memory, cause: Cause, now: Timestamp) -> Verdict {
        if let Some(condition) = &self.condition {
            match evaluate(condition, &data(&cause.value), now) {
                Ok(Value::Bool(false) | Value::Null) => return Verdict::Not("`if` does not hold".to_owned()),
                Ok(_) => {}
                Err(why) => return Verdict::Not(format!("`if` cannot be evaluated: {why}")),
            }
        }
        match self.debounce.and_then(|pause| now.checked_add(pause).ok()) {
            Some(until) => {
                memory.waiting = Some((until, cause));
                Verdict::Later(until)
            }
            None => self.act(memory, cause, now),
        }
    }

    /// What becomes of what has waited, if its time has come.
    pub fn waited(&self, memory: &mut Memory, now: Timestamp) -> Option<Verdict> {
        let (_, cause) = memory.waiting.take_if(|(until, _)| *until <= now)?;
        Some(self.act(memory, cause, now))
    }

    fn act(&self, memory: &mut Memory, cause: Cause, now: Timestamp) -> Verdict {
        if let Some((most, per)) = self.limit {
            let since = now.checked_sub(per).unwrap_or(Timestamp::MIN);
            while memory.acted.front().is_some_and(|at| *at <= since) {
                memory.acted.pop_front();
            }
            if memory.acted.len() >= most as usize {
                let free = memory.acted.front().and_then(|first| first.checked_add(per).ok());
                let free = free.map_or_else(String::new, |free| format!("; free again at {free:.0}"));
                return Verdict::Not(format!("its limit is reached: it acted {most} times already{free}"));
            }
            memory.acted.push_back(now);
        }
        Verdict::Act(cause)
    }
}

/// Reads a text that is an expression where it is written `${ … }`.
///
/// # Errors
/// What is wrong with it.
pub fn text(text: &str) -> Result<Template, String> {
    read(Template::read(&Value::String(text.to_owned()), Mode::Strict, &[]))
}

/// Reads an expression, enclosed or not.
///
/// # Errors
/// What is wrong with it.
pub fn expression(text: &str) -> Result<Template, String> {
    read(Template::read_bare(&Value::String(text.to_owned()), Mode::Strict, &[]))
}

fn read(read: Result<Template, Vec<crate::template::Fault>>) -> Result<Template, String> {
    read.map_err(|faults| faults.iter().map(|fault| fault.why.to_string()).collect::<Vec<_>>().join("; "))
}

/// The value of an expression over what happened.
///
/// # Errors
/// That it fails or uses too much.
pub fn evaluate(template: &Template, of: &Data, now: Timestamp) -> Result<Value, Failed> {
    let none = |_: &str| Data::default();
    template
        .evaluate(&Scope { input: of, variable: &none, now, limits: Limits::default() })
        .map(|value| json(&value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_600_000 + seconds).unwrap()
    }

    fn cause(key: &str, level: i64) -> Cause {
        Cause { key: key.to_owned(), value: json!({ "data": { "level": level } }) }
    }

    #[test]
    fn a_cause_counts_when_its_condition_holds() {
        let policy = Policy { condition: Some(expression(".data.level >= 2").unwrap()), ..Policy::default() };
        let mut memory = Memory::default();
        assert_eq!(policy.hear(&mut memory, cause("a", 2), at(0)), Verdict::Act(cause("a", 2)));
        assert_eq!(policy.hear(&mut memory, cause("b", 1), at(0)), Verdict::Not("`if` does not hold".into()));
        let wrong =
            Policy { condition: Some(expression(".data | keys[0] | . + 1").unwrap()), ..Policy::default() };
        let Verdict::Not(why) = wrong.hear(&mut memory, cause("c", 1), at(0)) else { panic!() };
        assert!(why.starts_with("`if` cannot be evaluated: "), "{why}");
        assert!(expression(".data |").is_err() && text("${ .x | }").is_err() && text(".x |").is_ok());
    }

    #[test]
    fn what_comes_too_often_is_limited_in_any_span() {
        let policy = Policy { limit: Some((2, SignedDuration::from_secs(60))), ..Policy::default() };
        let mut memory = Memory::default();
        let mut acts =
            |second| matches!(policy.hear(&mut memory, cause("a", 1), at(second)), Verdict::Act(_));
        assert_eq!([0, 10, 59, 60, 61, 70].map(&mut acts), [true, true, false, true, false, true]);
        let Verdict::Not(why) = policy.hear(&mut memory, cause("a", 1), at(71)) else { panic!() };
        assert_eq!(why, "its limit is reached: it acted 2 times already; free again at 2026-01-05T08:02:00Z");
    }

    #[test]
    fn of_what_comes_close_together_the_last_one_counts_when_it_is_quiet() {
        let policy = Policy { debounce: Some(SignedDuration::from_secs(5)), ..Policy::default() };
        let mut memory = Memory::default();
        assert_eq!(policy.hear(&mut memory, cause("a", 1), at(0)), Verdict::Later(at(5)));
        assert_eq!(policy.hear(&mut memory, cause("b", 2), at(4)), Verdict::Later(at(9)));
        assert_eq!(policy.waited(&mut memory, at(8)), None);
        let kept: Memory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
        assert_eq!(kept, memory);
        assert_eq!(policy.waited(&mut memory, at(9)), Some(Verdict::Act(cause("b", 2))));
        assert_eq!(policy.waited(&mut memory, at(99)), None);
    }
}
