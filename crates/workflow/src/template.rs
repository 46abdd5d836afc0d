//! Values of a document in which strings may be expressions.

use jiff::Timestamp;
use serde_json::Value;

use crate::jq::{Data, Expression, Failed, Limits, Unreadable};

/// When a string is an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When it is written `${ … }`.
    #[default]
    Strict,
    /// Always; where it cannot be read or evaluated as one, it is what it says.
    Loose,
}

/// What expressions are evaluated against.
pub struct Scope<'a> {
    /// Their input.
    pub input: &'a Data,
    /// Gives the value of a variable, named without the leading `$`.
    pub variable: &'a dyn Fn(&str) -> Data,
    /// The time that they see.
    pub now: Timestamp,
    /// What they may use.
    pub limits: Limits,
}

/// A value of a document that has been read.
#[derive(Debug)]
pub enum Template {
    /// What it says.
    Constant(Data),
    /// An expression; in loose mode with the string that it is written as, which it is where it fails.
    Expression(Expression, Option<Data>),
    /// A list with an expression in it.
    Array(Vec<Template>),
    /// An object with an expression in it, in the order of its keys.
    Object(Vec<(String, Template)>),
}

/// An expression of a document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the value, as a JSON pointer.
    pub pointer: String,
    /// Why.
    pub why: Unreadable,
}

/// What stands between `${` and `}`, if a string is written so.
#[must_use]
pub fn enclosed(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}').map(str::trim)
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("input", self.input).field("now", &self.now).finish_non_exhaustive()
    }
}

impl Scope<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// When it fails, uses too much, or names a secret that is not there.
    pub fn evaluate(&self, expression: &Expression) -> Result<Data, Failed> {
        if let [_, ..] = expression.secrets() {
            let there = (self.variable)("secrets");
            let is_missing = |name: &&String| match &there {
                Data::Obj(all) => !all.contains_key(&Data::from((*name).clone())),
                _ => true,
            };
            if let Some(name) = expression.secrets().iter().find(is_missing) {
                return Err(Failed::NoSecret(name.clone()));
            }
        }
        let variables = expression.uses().iter().map(|name| (self.variable)(name)).collect();
        expression.evaluate(self.input, variables, self.now, self.limits)
    }
}

impl Template {
    /// Reads a value whose expressions may use these variables.
    ///
    /// # Errors
    /// Every expression in it that cannot be read.
    pub fn read(value: &Value, mode: Mode, variables: &[&str]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let read = part(value, mode, variables, &mut String::new(), &mut faults);
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    /// Reads a value that is an expression whether it is enclosed or not, such as a condition; what is no string is itself.
    ///
    /// # Errors
    /// When the expression cannot be read.
    pub fn read_bare(value: &Value, mode: Mode, variables: &[&str]) -> Result<Self, Vec<Fault>> {
        let Value::String(text) = value else { return Self::read(value, mode, variables) };
        let read = expression(value, enclosed(text).unwrap_or(text), mode, variables);
        read.map_err(|why| vec![Fault { pointer: String::new(), why }])
    }

    /// The value.
    ///
    /// # Errors
    /// When an expression fails or uses too much.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Data, Failed> {
        match self {
            Self::Constant(data) => Ok(data.clone()),
            Self::Expression(expression, None) => scope.evaluate(expression),
            Self::Expression(expression, Some(otherwise)) => match scope.evaluate(expression) {
                Err(Failed::Error(_)) => Ok(otherwise.clone()),
                value => value,
            },
            Self::Array(items) => items.iter().map(|item| item.evaluate(scope)).collect(),
            Self::Object(entries) => {
                let entry =
                    |(key, value): &(String, Self)| Ok((Data::from(key.clone()), value.evaluate(scope)?));
                Ok(Data::obj(entries.iter().map(entry).collect::<Result<_, Failed>>()?))
            }
        }
    }
}

fn part(
    value: &Value,
    mode: Mode,
    variables: &[&str],
    pointer: &mut String,
    faults: &mut Vec<Fault>,
) -> Template {
    let mut inside = |value: &Value, key: &str, faults: &mut Vec<Fault>| {
        let before = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let read = part(value, mode, variables, pointer, faults);
        pointer.truncate(before);
        read
    };
    let constant = |read: &Template| matches!(read, Template::Constant(_));
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items: Vec<Template> = items.map(|(i, item)| inside(item, &i.to_string(), faults)).collect();
            if items.iter().all(constant) { Template::Constant(data(value)) } else { Template::Array(items) }
        }
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), inside(value, key, faults));
            let entries: Vec<(String, Template)> = entries.iter().map(entry).collect();
            let constant = entries.iter().all(|(_, value)| constant(value));
            if constant { Template::Constant(data(value)) } else { Template::Object(entries) }
        }
        Value::String(text) => {
            let source = match (enclosed(text), mode) {
                (Some(source), _) => source,
                (None, Mode::Loose) => text.as_str(),
                (None, Mode::Strict) => return Template::Constant(data(value)),
            };
            expression(value, source, mode, variables).unwrap_or_else(|why| {
                faults.push(Fault { pointer: pointer.clone(), why });
                Template::Constant(Data::Null)
            })
        }
        _ => Template::Constant(data(value)),
    }
}

/// An expression; loosely, where it cannot be read or fails, it is what is written.
fn expression(value: &Value, source: &str, mode: Mode, variables: &[&str]) -> Result<Template, Unreadable> {
    match (Expression::read(source, variables), mode) {
        (Ok(expression), Mode::Strict) => Ok(Template::Expression(expression, None)),
        (Ok(expression), Mode::Loose) => Ok(Template::Expression(expression, Some(data(value)))),
        (Err(_), Mode::Loose) => Ok(Template::Constant(data(value))),
        (Err(why), Mode::Strict) => Err(why),
    }
}

/// The value that a document holds.
#[must_use]
pub fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Null,
        Value::Bool(value) => Data::from(*value),
        Value::Number(number) => Data::Num(number_of(number)),
        Value::String(text) => Data::from(text.clone()),
        Value::Array(items) => items.iter().map(data).collect(),
        Value::Object(entries) => {
            Data::obj(entries.iter().map(|(key, value)| (Data::from(key.clone()), data(value))).collect())
        }
    }
}

fn number_of(number: &serde_json::Number) -> jaq_json::Num {
    let whole = number.as_i64().map(jaq_json::Num::from_integral);
    let large = || number.as_u64().map(jaq_json::Num::from_integral);
    whole.or_else(large).unwrap_or_else(|| jaq_json::Num::Float(number.as_f64().unwrap_or(f64::NAN)))
}

/// The value as JSON, as jq prints it: what is no number is null, what is too large is the largest number, bytes are text.
#[must_use]
pub fn json(data: &Data) -> Value {
    use jaq_json::Num;
    let float = |number: f64| match number {
        number if number.is_nan() => Value::Null,
        number => Value::from(number.clamp(f64::MIN, f64::MAX)),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        Data::Null => Value::Null,
        Data::Bool(value) => Value::from(*value),
        Data::Num(Num::Int(number)) => Value::from(*number),
        Data::Num(Num::Float(number)) => float(*number),
        Data::Num(number) => {
            let text = number.to_string();
            text.parse::<u64>().map_or_else(|_| float(text.parse().unwrap_or(f64::NAN)), Value::from)
        }
        Data::BStr(bytes) | Data::TStr(bytes) => Value::from(text(bytes)),
        Data::Arr(items) => items.iter().map(json).collect(),
        Data::Obj(entries) => {
            let key = |key: &Data| match key {
                Data::TStr(bytes) | Data::BStr(bytes) => text(bytes),
                other => other.to_string(),
            };
            Value::Object(entries.iter().map(|(name, value)| (key(name), json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    fn evaluated(template: Value, mode: Mode) -> Result<Value, Failed> {
        let template = Template::read(&template, mode, &["who"]).unwrap();
        let input = data(&value!({"a": [1, 2.5, "x"], "n": 3}));
        let variable = |_: &str| Data::from("anna".to_owned());
        let now = "2026-01-05T08:00:00Z".parse().unwrap();
        let scope = Scope { input: &input, variable: &variable, now, limits: Limits::default() };
        template.evaluate(&scope).map(|data| json(&data))
    }

    #[test]
    fn strings_written_as_expressions_are_evaluated_wherever_they_stand() {
        let template =
            value!({"z": ["${ .a[0] }", "as it is"], "b": {"who": "${$who}"}, "c": 4, "n": "${ .n / 2 }"});
        let expected = value!({"z": [1, "as it is"], "b": {"who": "anna"}, "c": 4, "n": 1.5});
        assert_eq!(evaluated(template, Mode::Strict), Ok(expected));
    }

    #[test]
    fn loosely_every_string_is_one_if_it_can_be() {
        let template = value!({"a": ".n + 1", "b": "as it is", "c": "${ .n }", "d": "length(", "e": ".n.x"});
        let expected = value!({"a": 4, "b": "as it is", "c": 3, "d": "length(", "e": ".n.x"});
        assert_eq!(evaluated(template, Mode::Loose), Ok(expected));
    }

    #[test]
    fn loosely_what_fails_is_what_is_written() {
        let template = value!({"a": "${ .n.x }", "b": "${ length( }", "c": "${ .n | debug }"});
        let expected = value!({"a": "${ .n.x }", "b": "${ length( }", "c": 3});
        assert_eq!(evaluated(template, Mode::Loose), Ok(expected));
        for text in ["not an expression at all", ".a ~", "${ nothing }"] {
            let read = Template::read_bare(&value!(text), Mode::Loose, &[]).unwrap();
            assert!(matches!(&read, Template::Constant(data) if json(data) == text), "{read:?}");
            assert!(Template::read_bare(&value!(text), Mode::Strict, &[]).is_err());
        }
    }

    #[test]
    fn every_expression_that_cannot_be_read_is_named() {
        let faults =
            Template::read(&value!({"a/b": ["${ . + }"], "c": "${ $where }"}), Mode::Strict, &["who"]);
        let pointers: Vec<String> = faults.unwrap_err().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(pointers, ["/a~1b/0", "/c"]);
    }

    #[test]
    fn a_secret_that_is_not_there_is_never_null() {
        let secrets = data(&value!({"a": null, "b c": 1}));
        let evaluated = |text: &str| {
            let template = Template::read(&value!(text), Mode::Strict, &["secrets"]).unwrap();
            let variable = |_: &str| secrets.clone();
            let now = "2026-01-05T08:00:00Z".parse().unwrap();
            let scope = Scope { input: &Data::Null, variable: &variable, now, limits: Limits::default() };
            template.evaluate(&scope).map(|data| json(&data))
        };
        assert_eq!(evaluated("${ $secrets.a }"), Ok(Value::Null));
        assert_eq!(evaluated("${ [$secrets[\"b c\"], $secrets.a] }"), Ok(value!([1, null])));
        for text in ["${ $secrets.z }", "${ $secrets.z.y // 1 }", "${ \"x\\($secrets[\"z\"])\" }"] {
            assert_eq!(evaluated(text), Err(Failed::NoSecret("z".to_owned())), "{text}");
        }
        assert_eq!(evaluated("${ $secrets | keys }"), Ok(value!(["a", "b c"])));
    }

    #[test]
    fn what_json_cannot_say_is_said_as_jq_does() {
        assert_eq!(
            evaluated(value!("${ [nan, infinite, 1e400, 12345678901234567890, 1.5] }"), Mode::Strict),
            Ok(value!([null, f64::MAX, f64::MAX, 12_345_678_901_234_567_890_u64, 1.5]))
        );
    }
}
