//! What a body holds, borrowed from its text.

use std::borrow::Cow;

use super::RawLabel;

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Name of its metric.
    pub name: Cow<'a, str>,
    /// Its labels in the order of the body.
    pub labels: Labels<'a>,
    /// Its value; NaN and infinities are values.
    pub value: f64,
    /// When it was taken, in ms since 1970, if the target says so.
    pub timestamp_ms: Option<i64>,
}

/// Labels of a sample: an iterator over name and value. Those with an empty value are left out, because they mean
/// the same as none. Each name comes once, and `__name__` never.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    text: &'a str,
    rest: std::slice::Iter<'a, RawLabel>,
}

impl<'a> Labels<'a> {
    pub(super) fn new(text: &'a str, labels: &'a [RawLabel]) -> Self {
        Self { text, rest: labels.iter() }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.rest.by_ref().find(|label| !label.value.is_empty())?;
        Some((label.name.unescaped(self.text), label.value.unescaped(self.text)))
    }
}

/// What a body says about a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Name of the metric's family: a counter `a_total` belongs to `a` in OpenMetrics and to itself in text.
    pub name: Cow<'a, str>,
    /// What is told.
    pub told: Told<'a>,
}

/// One thing about a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// `# TYPE`
    Type(MetricType),
    /// `# HELP`
    Help(Cow<'a, str>),
    /// `# UNIT`, in OpenMetrics only; may be empty.
    Unit(&'a str),
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    /// `unknown` of OpenMetrics and `untyped` of the text format.
    Unknown,
}

impl MetricType {
    pub(super) const TEXT: &'static [(&'static str, Self)] = &[
        ("counter", Self::Counter),
        ("gauge", Self::Gauge),
        ("histogram", Self::Histogram),
        ("summary", Self::Summary),
        ("untyped", Self::Unknown),
    ];
    pub(super) const OPEN_METRICS: &'static [(&'static str, Self)] = &[
        ("counter", Self::Counter),
        ("gauge", Self::Gauge),
        ("histogram", Self::Histogram),
        ("gaugehistogram", Self::GaugeHistogram),
        ("summary", Self::Summary),
        ("info", Self::Info),
        ("stateset", Self::StateSet),
        ("unknown", Self::Unknown),
    ];

    /// Its word as the API of Prometheus gives it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let known = Self::OPEN_METRICS.iter().find(|(_, kind)| *kind == self);
        known.map_or("unknown", |(word, _)| word)
    }
}
