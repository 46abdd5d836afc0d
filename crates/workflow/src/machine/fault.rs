//! Errors of a run.

use crate::{ErrorFilter, ErrorType, same_error_type};
use serde_json::{Value, json};

use crate::jq::{Data, Failed};
use crate::template::data;

/// An error in the form of RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A URI.
    pub kind: String,
    /// A status like those of HTTP.
    pub status: i64,
    /// In short.
    pub title: Option<String>,
    /// In full.
    pub detail: Option<String>,
    /// The task that it comes from, as a JSON pointer into the document; empty until it is known.
    pub instance: String,
}

impl Fault {
    /// A standard error.
    #[must_use]
    pub fn of(kind: ErrorType, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.uri(),
            status: i64::from(kind.status()),
            title: Some(title.to_owned()),
            detail: Some(detail.into()),
            instance: String::new(),
        }
    }

    pub(super) fn timeout(what: &str) -> Self {
        Self::of(ErrorType::Timeout, "Timeout", format!("{what} took longer than it may"))
    }

    pub(crate) fn expression(why: &Failed) -> Self {
        match why {
            Failed::NoSecret(_) => Self::of(ErrorType::Authorization, "No such secret", why.to_string()),
            _ => Self::of(ErrorType::Expression, "Expression failed", why.to_string()),
        }
    }

    pub(super) fn validation(what: &str, why: &str) -> Self {
        Self::of(ErrorType::Validation, "Not valid", format!("{what} is not what its schema wants: {why}"))
    }

    /// The same error with the task that it comes from, where that is not known.
    #[must_use]
    pub fn at(mut self, reference: &str) -> Self {
        if self.instance.is_empty() {
            reference.clone_into(&mut self.instance);
        }
        self
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = json!({"type": self.kind, "status": self.status});
        let texts = [("title", &self.title), ("detail", &self.detail)];
        for (name, text) in texts {
            if let Some(text) = text {
                value[name] = json!(text);
            }
        }
        value["instance"] = json!(self.instance);
        value
    }

    pub(super) fn to_data(&self) -> Data {
        data(&self.to_json())
    }

    /// An error that was written by [`Self::to_json`].
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        Self::raised(value).ok()
    }

    /// The error that a task raises.
    pub(super) fn raised(value: &Value) -> Result<Self, String> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        // What an expression gives for these may be a number or the answer of a service: an error loses nothing of what it says.
        let said = |name: &str| match value.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let kind = text("type").ok_or("the type of an error has to be text")?;
        let status = value
            .get("status")
            .and_then(Value::as_i64)
            .ok_or("the status of an error has to be a whole number")?;
        Ok(Self {
            kind,
            status,
            title: said("title"),
            detail: said("detail"),
            instance: text("instance").unwrap_or_default(),
        })
    }

    pub(super) fn is_meant_by(&self, filter: &ErrorFilter) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        filter.kind.as_ref().is_none_or(|kind| same_error_type(kind, &self.kind))
            && filter.status.is_none_or(|status| status == self.status)
            && filter.instance.as_ref().is_none_or(|instance| *instance == self.instance)
            && same(&filter.title, &self.title)
            && same(&filter.detail, &self.detail)
    }
}
