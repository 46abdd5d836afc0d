//! What both forms of OTLP are read to: one metric and one data point at a time.

use std::borrow::Cow;

/// Name and value of an attribute, both as text.
pub(super) type Attributes<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// What a metric says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) unit: &'a str,
}

/// How a metric's points are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Sum { monotonic: bool, cumulative: bool },
    Histogram { cumulative: bool },
    ExponentialHistogram,
    Summary,
}

/// The flag of a point that says "no value here".
const NO_VALUE: u32 = 1;

/// What every point has.
#[derive(Clone, Debug, Default)]
pub(super) struct Common<'a> {
    pub(super) attributes: Attributes<'a>,
    /// Nanoseconds since 1970.
    pub(super) time_ns: u64,
    pub(super) flags: u32,
}

impl Common<'_> {
    pub(super) fn time_ms(&self) -> i64 {
        (self.time_ns / 1_000_000).cast_signed()
    }

    /// Whether the series ends here.
    pub(super) fn is_stale(&self) -> bool {
        self.flags & NO_VALUE != 0
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Number<'a> {
    pub(super) common: Common<'a>,
    pub(super) value: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Histogram<'a> {
    pub(super) common: Common<'a>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    /// One more than bounds, or none.
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Summary<'a> {
    pub(super) common: Common<'a>,
    pub(super) count: u64,
    pub(super) sum: f64,
    /// Quantile and value.
    pub(super) quantiles: Vec<(f64, f64)>,
}
