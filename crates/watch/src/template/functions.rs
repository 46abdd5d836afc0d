//! The functions of templates, one line each: those of Go, and those that Prometheus adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::{Point, Value};
use super::{Context, compare, hosts, humanize, links, printf};
use crate::pattern;

/// What a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Any,
    Text,
    /// One series of a query.
    Point,
    /// The result of a query.
    Vector,
}

impl Param {
    /// As Go calls it in messages.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Point => "*template.sample",
            Self::Vector => "template.queryResult",
        }
    }
}

type Body = fn(&Context<'_>, &[Value]) -> Result<Value, String>;

pub(super) struct Function {
    pub(super) name: &'static str,
    /// Those that must be given.
    pub(super) params: &'static [Param],
    /// What any number of further arguments are.
    pub(super) rest: Option<Param>,
    pub(super) run: Body,
}

impl Function {
    const fn new(name: &'static str, params: &'static [Param], rest: Option<Param>, run: Body) -> Self {
        Self { name, params, rest, run }
    }

    /// What the argument at a place is.
    pub(super) fn param(&self, index: usize) -> Param {
        self.params.get(index).copied().or(self.rest).unwrap_or(Param::Any)
    }
}

use Param::{Any, Point as One, Text, Vector};

const FUNCTIONS: &[Function] = &[
    Function::new("and", &[Any], Some(Any), |_, _| Ok(Value::Missing)),
    Function::new("args", &[], Some(Any), |_, args| Ok(numbered(args))),
    Function::new("call", &[Any], Some(Any), |_, args| Err(no_function(args))),
    Function::new("eq", &[Any], Some(Any), |_, args| compare::eq(args)),
    Function::new("externalURL", &[], None, |cx, _| Ok(Value::text(cx.external_url))),
    Function::new("first", &[Vector], None, |_, args| first(args)),
    Function::new("ge", &[Any, Any], None, |_, args| compare::order(args, |o| o.is_ge())),
    Function::new("graphLink", &[Text], None, |_, args| text1(args, |expr| links::graph(expr, 0))),
    Function::new("gt", &[Any, Any], None, |_, args| compare::order(args, |o| o.is_gt())),
    Function::new("html", &[], Some(Any), |_, args| Ok(Value::text(links::html(&joined(args))))),
    Function::new("humanize", &[Any], None, |_, args| humanize::decimal(args)),
    Function::new("humanize1024", &[Any], None, |_, args| humanize::binary(args)),
    Function::new("humanizeDuration", &[Any], None, |_, args| humanize::duration(args)),
    Function::new("humanizePercentage", &[Any], None, |_, args| humanize::percentage(args)),
    Function::new("humanizeTimestamp", &[Any], None, |_, args| humanize::timestamp(args)),
    Function::new("index", &[Any], Some(Any), |_, args| compare::index(args)),
    Function::new("js", &[], Some(Any), |_, args| Ok(Value::text(links::js(&joined(args))))),
    Function::new("label", &[Text, One], None, |_, args| label(args)),
    Function::new("le", &[Any, Any], None, |_, args| compare::order(args, |o| o.is_le())),
    Function::new("len", &[Any], None, |_, args| compare::len(args)),
    Function::new("lt", &[Any, Any], None, |_, args| compare::order(args, |o| o.is_lt())),
    Function::new("match", &[Text, Text], None, |_, args| matches(args)),
    Function::new("ne", &[Any, Any], None, |_, args| compare::ne(args)),
    Function::new("not", &[Any], None, |_, args| Ok(Value::Bool(!args.iter().any(Value::is_true)))),
    Function::new("now", &[], None, |cx, _| Ok(Value::Float(cx.now_ms as f64 / 1000.0))),
    Function::new("or", &[Any], Some(Any), |_, _| Ok(Value::Missing)),
    Function::new("parseDuration", &[Text], None, |_, args| humanize::parse_duration(args)),
    Function::new("pathPrefix", &[], None, |cx, _| Ok(Value::text(links::path(cx.external_url)))),
    Function::new("print", &[], Some(Any), |_, args| Ok(Value::text(printf::sprint(args)))),
    Function::new("printf", &[Text], Some(Any), |_, args| Ok(formatted(args))),
    Function::new("println", &[], Some(Any), |_, args| Ok(Value::text(printf::sprintln(args)))),
    Function::new("query", &[Text], None, query),
    Function::new("reReplaceAll", &[Text, Text, Text], None, |_, args| replace(args)),
    Function::new("safeHtml", &[Text], None, |_, args| text1(args, str::to_owned)),
    Function::new("slice", &[Any], Some(Any), |_, args| compare::slice(args)),
    Function::new("sortByLabel", &[Text, Vector], None, |_, args| sort_by_label(args)),
    Function::new("stripDomain", &[Text], None, |_, args| text1(args, hosts::strip_domain)),
    Function::new("stripPort", &[Text], None, |_, args| text1(args, hosts::strip_port)),
    Function::new("strvalue", &[One], None, |_, args| {
        point(args).map(|p| Value::text(p.labels.get("__value__")))
    }),
    Function::new("tableLink", &[Text], None, |_, args| text1(args, |expr| links::graph(expr, 1))),
    Function::new("title", &[Text], None, |_, args| text1(args, title)),
    Function::new("toDuration", &[Any], None, |_, args| humanize::to_duration(args)),
    Function::new("toLower", &[Text], None, |_, args| text1(args, |t| by_char(t, char::to_lowercase))),
    Function::new("toTime", &[Any], None, |_, args| humanize::to_time(args)),
    Function::new("toUpper", &[Text], None, |_, args| text1(args, |t| by_char(t, char::to_uppercase))),
    Function::new("urlQueryEscape", &[Text], None, |_, args| text1(args, links::query_escape)),
    Function::new("urlquery", &[], Some(Any), |_, args| Ok(Value::text(links::query_escape(&joined(args))))),
    Function::new("value", &[One], None, |_, args| point(args).map(|p| Value::Float(p.value))),
];

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|index| &FUNCTIONS[index])
}

/// The text of an argument that was checked to be one.
pub(super) fn text_of(args: &[Value], index: usize) -> &str {
    match args.get(index) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn text1(args: &[Value], f: impl Fn(&str) -> String) -> Result<Value, String> {
    Ok(Value::text(f(text_of(args, 0))))
}

/// Arguments as the escaping functions of Go join them.
fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.to_string(),
        args => printf::sprint(args),
    }
}

fn no_function(args: &[Value]) -> String {
    let name = args.first().map_or("<nil>", Value::type_name);
    format!("non-function of type {name}")
}

fn numbered(args: &[Value]) -> Value {
    let pairs = args.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone()));
    Value::Args(Arc::new(pairs.collect::<BTreeMap<_, _>>()))
}

fn formatted(args: &[Value]) -> Value {
    Value::text(printf::sprintf(text_of(args, 0), args.get(1..).unwrap_or_default()))
}

fn first(args: &[Value]) -> Result<Value, String> {
    match args.first() {
        Some(Value::Vector(points)) if !points.is_empty() => Ok(Value::Point(Arc::clone(&points[0]))),
        _ => Err("first() called on vector with no elements".to_owned()),
    }
}

fn point(args: &[Value]) -> Result<&Point, String> {
    args.iter()
        .find_map(|arg| match arg {
            Value::Point(point) => Some(&**point),
            _ => None,
        })
        .ok_or_else(|| "runtime error: invalid memory address or nil pointer dereference".to_owned())
}

fn label(args: &[Value]) -> Result<Value, String> {
    point(args).map(|point| Value::text(point.labels.get(text_of(args, 0))))
}

fn sort_by_label(args: &[Value]) -> Result<Value, String> {
    let Some(Value::Vector(points)) = args.get(1) else { return Ok(Value::Vector(Arc::default())) };
    let name = text_of(args, 0);
    let mut points = Vec::clone(points);
    points.sort_by(|a, b| a.labels.get(name).cmp(b.labels.get(name)));
    Ok(Value::Vector(Arc::new(points)))
}

fn query(cx: &Context<'_>, args: &[Value]) -> Result<Value, String> {
    let found = (cx.query)(text_of(args, 0))?;
    let points = found.into_iter().map(|(labels, value)| Arc::new(Point { labels, value })).collect();
    Ok(Value::Vector(Arc::new(points)))
}

fn matches(args: &[Value]) -> Result<Value, String> {
    Ok(Value::Bool(pattern::free(text_of(args, 0))?.is_match(text_of(args, 1))))
}

fn replace(args: &[Value]) -> Result<Value, String> {
    let found = pattern::free(text_of(args, 0))?;
    Ok(Value::text(found.replace_all(text_of(args, 2), text_of(args, 1))))
}

/// Letter by letter; a letter that would become several stays, as in Go.
fn by_char<I: Iterator<Item = char>>(text: &str, f: impl Fn(char) -> I) -> String {
    text.chars()
        .map(|c| {
            let mut changed = f(c);
            match (changed.next(), changed.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        })
        .collect()
}

/// The first letter of each word large.
fn title(text: &str) -> String {
    let mut before = ' ';
    let separates = |c: char| match c {
        '_' => false,
        c if c.is_ascii() => !c.is_ascii_alphanumeric(),
        c => !c.is_alphanumeric() && c.is_whitespace(),
    };
    let upper = |c: char| {
        let starts = separates(before);
        before = c;
        if starts { by_char(c.encode_utf8(&mut [0; 4]), char::to_uppercase) } else { c.to_string() }
    };
    text.chars().map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_in_order_of_their_names() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|function| find(function.name).is_some()));
    }

    #[test]
    fn titles_begin_words() {
        assert_eq!(title("aa bb-cc d_e it's ß"), "Aa Bb-Cc D_e It'S ß");
    }
}
