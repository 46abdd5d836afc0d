//! What a template computes with, and how Go's `%v` prints it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::number::{self, Form};
use crate::labels::Labels;

/// One series of a `query` in a template.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// What `.` is at the top of an alert's template.
#[derive(Clone, Debug)]
pub(super) struct Top {
    pub(super) labels: Labels,
    pub(super) external_labels: Labels,
    pub(super) external_url: Arc<str>,
    pub(super) value: f64,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing at all, printed as `<no value>`.
    Missing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// Of unknown names each is empty.
    Labels(Labels),
    /// What `args` makes.
    Args(Arc<BTreeMap<String, Value>>),
    Point(Arc<Point>),
    Vector(Arc<Vec<Arc<Point>>>),
    Top(Arc<Top>),
    /// In ns since 1970.
    Time(i128),
    /// In ns.
    Duration(i64),
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// As Go calls it in messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Args(_) => "map[string]interface {}",
            Self::Point(_) => "*template.sample",
            Self::Vector(_) => "template.queryResult",
            Self::Top(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; \
                 Value float64 }"
            }
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
        }
    }

    /// Whether `if` takes it.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Args(args) => !args.is_empty(),
            Self::Vector(points) => !points.is_empty(),
            Self::Point(_) | Self::Top(_) | Self::Time(_) | Self::Duration(_) => true,
        }
    }

    /// As `{{ }}` prints it.
    pub(super) fn printed(&self) -> String {
        match self {
            Self::Missing => "<no value>".to_owned(),
            other => other.shown(),
        }
    }

    /// As `%v` prints it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Missing => "<nil>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => number::format(*value, Form::General, None, false),
            Self::Text(text) => text.to_string(),
            Self::Labels(labels) => label_map(labels),
            Self::Args(args) => {
                let pairs: Vec<String> =
                    args.iter().map(|(name, value)| format!("{name}:{}", value.shown())).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Point(point) => point_text(point),
            Self::Vector(points) => {
                let points: Vec<String> = points.iter().map(|point| point_text(point)).collect();
                format!("[{}]", points.join(" "))
            }
            Self::Top(top) => format!(
                "{{{} {} {} {}}}",
                label_map(&top.labels),
                label_map(&top.external_labels),
                top.external_url,
                Self::Float(top.value).shown()
            ),
            Self::Time(ns) => super::time::text(*ns),
            Self::Duration(ns) => super::time::duration(*ns),
        }
    }
}

fn label_map(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("map[{}]", pairs.join(" "))
}

fn point_text(point: &Point) -> String {
    format!("{{{} {}}}", label_map(&point.labels), Value::Float(point.value).shown())
}
