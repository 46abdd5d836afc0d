//! Templates of alerts: Go's `text/template` as Prometheus uses it for labels and annotations.
//!
//! A template is read once and expanded per alert. What it may see is a [`Context`]; time and queries are arguments.
//! Text is never escaped here: labels may hold anything, and whoever writes HTML escapes it there.

mod ast;
mod compare;
mod exec;
mod functions;
mod hosts;
mod humanize;
mod lexer;
pub(crate) mod links;
mod number;
mod parser;
pub(crate) mod printf;
mod time;
mod value;

use std::fmt;
use std::sync::Arc;

use crate::labels::Labels;

/// Nodes that one expansion may run.
const MAX_STEPS: usize = 1_000_000;
/// Bytes that one expansion may write.
const MAX_OUTPUT: usize = 1 << 20;

/// What Prometheus puts before each template of an alert, so that places in messages are those of Prometheus.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Answers a query of a template: labels and values in the order of the result, or what is wrong.
pub type QueryFn<'q> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'q;

/// What an expansion may see.
pub struct Context<'c> {
    /// Labels of the series that made the alert, its metric name among them.
    pub labels: &'c Labels,
    /// The value of that series.
    pub value: f64,
    /// Labels that all alerts of this place carry.
    pub external_labels: &'c Labels,
    /// The address at which people reach this place, without a `/` at its end.
    pub external_url: &'c str,
    /// The time of the evaluation, in ms since 1970.
    pub now_ms: i64,
    /// Answers `query`.
    pub query: &'c QueryFn<'c>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("labels", &self.labels)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// A template that was read.
#[derive(Clone)]
pub struct Template {
    name: Arc<str>,
    /// With what Prometheus puts before it.
    text: Arc<str>,
    parts: parser::Parts,
    /// Without any `{{`: it stands for itself.
    plain: bool,
}

impl Template {
    /// The template of a label or an annotation of the alert `alert`.
    ///
    /// # Errors
    /// What is wrong with it, as `template: __alert_NAME:LINE: …`.
    pub fn of_alert(alert: &str, text: &str) -> Result<Self, String> {
        let name: Arc<str> = format!("__alert_{alert}").into();
        let full: Arc<str> = format!("{DEFINITIONS}{text}").into();
        let plain = !text.contains("{{");
        let parts = if plain { parser::Parts::new() } else { parser::parse(&name, &full)? };
        Ok(Self { name, text: full, parts, plain })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text[DEFINITIONS.len()..]
    }

    fn full_text(&self) -> &str {
        &self.text
    }

    /// The text for one alert.
    ///
    /// # Errors
    /// What went wrong, as Prometheus words it: `error executing template …`.
    pub fn expand(&self, context: &Context<'_>) -> Result<String, String> {
        if self.plain {
            return Ok(self.text().to_owned());
        }
        let top = value::Top {
            labels: context.labels.clone(),
            external_labels: context.external_labels.clone(),
            external_url: context.external_url.into(),
            value: context.value,
        };
        exec::run(self, top, context)
            .map_err(|message| format!("error executing template {}: {message}", self.name))
    }

    /// The text for one alert; what went wrong is the text then, so that no alert is lost for its annotation.
    pub fn expand_or_say(&self, context: &Context<'_>) -> String {
        self.expand(context).unwrap_or_else(|message| format!("<error expanding template: {message}>"))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.text) == (&other.name, &other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let none = Labels::empty();
        let context = Context {
            labels: &none,
            value: 1.0,
            external_labels: &none,
            external_url: "",
            now_ms: 0,
            query: &|_| Ok(Vec::new()),
        };
        Template::of_alert("A", text).unwrap().expand_or_say(&context)
    }

    #[test]
    fn what_would_not_end_is_ended() {
        let endless = expand("{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" }}");
        assert!(endless.contains("exceeded maximum template depth"), "{endless}");
        let deep =
            format!("{}{{{{ template \"r\" }}}}{}", "{{ if true }}".repeat(40), "{{ end }}".repeat(40));
        let deep = expand(&format!("{{{{ define \"r\" }}}}{deep}{{{{ end }}}}{{{{ template \"r\" }}}}"));
        assert!(deep.contains("nested deeper than"), "{deep}");
        let long = expand("{{ range 1000000 }}{{ range 1000000 }}x{{ end }}{{ end }}");
        assert!(long.contains("steps or"), "{long}");
    }
}
