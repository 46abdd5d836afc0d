//! Data points → samples, as Prometheus translates them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sos_watch::{STALE, Sample, format};

use super::super::Decoded;
use super::super::batch::{Draft, Span, Wrong};
use super::names;
use super::point::{Attributes, Common, Head, Histogram, Kind, Number, Summary};

/// Data points that are not taken, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejected {
    pub(super) points: u64,
    reasons: BTreeMap<String, u64>,
}

/// Different reasons that are told.
const REASONS: usize = 10;

impl Rejected {
    fn add(&mut self, why: &str) {
        self.points += 1;
        if self.reasons.len() < REASONS || self.reasons.contains_key(why) {
            *self.reasons.entry(why.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn text(&self) -> String {
        let reasons: Vec<String> =
            self.reasons.iter().map(|(why, points)| format!("{points}: {why}")).collect();
        reasons.join("; ")
    }
}

/// Makes samples of what is handed to it: resources, their metrics, and their points.
#[derive(Debug, Default)]
pub(super) struct Translator {
    pub(super) decoded: Decoded,
    pub(super) rejected: Rejected,
    /// How many points came.
    pub(super) points: u64,
    draft: Draft,
    /// `job` and `instance` of the resource.
    identity: Vec<(Span, Span)>,
    /// Labels of the resource that are told once, and the newest time of its points.
    info: Vec<(String, String)>,
    newest_ms: Option<i64>,
    metric: Metric,
    words: Option<Words>,
}

/// Texts that every request needs.
#[derive(Clone, Copy, Debug)]
struct Words {
    le: Span,
    quantile: Span,
    infinity: Span,
}

/// The metric whose points come now.
#[derive(Debug, Default)]
struct Metric {
    base: String,
    /// The name, and with `_bucket`, `_sum`, `_count` behind it.
    name: Span,
    bucket: Span,
    sum: Span,
    count: Span,
    /// Why its points are not taken.
    wrong: Option<String>,
}

impl Translator {
    /// Begins a resource.
    pub(super) fn resource(&mut self, attributes: Attributes<'_>) -> Result<(), Wrong> {
        let batch = &mut self.decoded.batch;
        if self.words.is_none() {
            let words = Words {
                le: batch.text("le")?,
                quantile: batch.text("quantile")?,
                infinity: batch.text("+Inf")?,
            };
            self.words = Some(words);
        }
        self.identity.clear();
        self.info.clear();
        self.newest_ms = None;
        let find = |name: &str| attributes.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value);
        let (name, space, instance) =
            (find("service.name"), find("service.namespace"), find("service.instance.id"));
        let job = if space.is_empty() { name.to_owned() } else { format!("{space}/{name}") };
        for (label, value) in [("job", if name.is_empty() { "" } else { &job }), ("instance", instance)] {
            if !value.is_empty() {
                let pair = (batch.text(label)?, batch.text(value)?);
                self.identity.push(pair);
            }
        }
        let told = ["service.name", "service.namespace", "service.instance.id"];
        let rest: Attributes<'_> =
            attributes.into_iter().filter(|(name, _)| !told.contains(&&**name)).collect();
        self.info = label_pairs(&rest);
        Ok(())
    }

    /// Ends a resource: `target_info` tells its other attributes at the time of its newest point.
    pub(super) fn end_resource(&mut self) -> Result<(), Wrong> {
        let Some(t) = self.newest_ms.filter(|_| !self.info.is_empty() && !self.identity.is_empty()) else {
            return Ok(());
        };
        let Decoded { batch, refused, .. } = &mut self.decoded;
        self.draft.begin(batch);
        for (name, value) in &self.info {
            let pair = (batch.text(name)?, batch.text(value)?);
            if !self.identity.iter().any(|(own, _)| batch.piece(*own) == name) {
                self.draft.label(batch, pair.0, pair.1);
            }
        }
        for (name, value) in &self.identity {
            self.draft.label(batch, *name, *value);
        }
        self.draft.name(batch.text("target_info")?);
        batch.sample(Sample { t, v: 1.0 })?;
        batch.finish(&mut self.draft, refused)
    }

    /// Begins a metric.
    pub(super) fn metric(&mut self, head: Head<'_>, kind: Kind) -> Result<(), Wrong> {
        let counter = matches!(kind, Kind::Sum { monotonic: true, .. });
        let base = names::metric(head.name, head.unit, counter, kind == Kind::Gauge);
        let batch = &mut self.decoded.batch;
        let shown = super::super::batch::cut(head.name, 128).escape_debug();
        let wrong = match kind {
            _ if base.is_empty() => Some(format!("a metric without a name that can be kept (`{shown}`)")),
            Kind::Sum { cumulative: false, .. } | Kind::Histogram { cumulative: false } => Some(format!(
                "`{shown}` has delta temporality, and only cumulative is kept: set it at the sender \
                 (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative)"
            )),
            Kind::ExponentialHistogram => Some(format!(
                "`{shown}` is an exponential histogram, which is not kept: send one with explicit buckets"
            )),
            _ => None,
        };
        let mut named = |suffix: &str| batch.text(&format!("{base}{suffix}"));
        self.metric = Metric {
            name: named("")?,
            bucket: named("_bucket")?,
            sum: named("_sum")?,
            count: named("_count")?,
            base,
            wrong,
        };
        if self.metric.wrong.is_none() {
            let kind = match kind {
                Kind::Sum { monotonic: true, .. } => "counter",
                Kind::Gauge | Kind::Sum { .. } => "gauge",
                Kind::Histogram { .. } | Kind::ExponentialHistogram => "histogram",
                Kind::Summary => "summary",
            };
            batch.describe(&self.metric.base, kind, head.description, head.unit)?;
        }
        Ok(())
    }

    /// Whether a point of the metric may be taken.
    fn accepts(&mut self, common: &Common<'_>) -> bool {
        self.points += 1;
        if let Some(why) = &self.metric.wrong {
            self.rejected.add(why);
            return false;
        }
        if common.time_ns == 0 {
            self.rejected.add(&format!("a point of {} without a time", self.metric.base));
            return false;
        }
        self.newest_ms = self.newest_ms.max(Some(common.time_ms()));
        true
    }

    pub(super) fn number(&mut self, point: &Number<'_>) -> Result<(), Wrong> {
        if !self.accepts(&point.common) {
            return Ok(());
        }
        let labels = self.labels(&point.common.attributes)?;
        let value = if point.common.is_stale() { STALE } else { point.value };
        self.emit(self.metric.name, &labels, None, point.common.time_ms(), value)
    }

    pub(super) fn histogram(&mut self, point: &Histogram<'_>) -> Result<(), Wrong> {
        if !self.accepts(&point.common) {
            return Ok(());
        }
        let (buckets, bounds) = (point.counts.len(), point.bounds.len());
        if buckets != bounds + 1 && (buckets, bounds) != (0, 0) {
            let base = &self.metric.base;
            self.rejected.add(&format!("a point of {base} with {bounds} bounds and {buckets} buckets"));
            return Ok(());
        }
        let labels = self.labels(&point.common.attributes)?;
        let (t, stale) = (point.common.time_ms(), point.common.is_stale());
        let value = |v: f64| if stale { STALE } else { v };
        if let Some(sum) = point.sum {
            self.emit(self.metric.sum, &labels, None, t, value(sum))?;
        }
        self.emit(self.metric.count, &labels, None, t, value(point.count as f64))?;
        let mut below = 0_u64;
        for (count, bound) in point.counts.iter().zip(&point.bounds) {
            below = below.saturating_add(*count);
            let bound = self.decoded.batch.text(&format::float(*bound))?;
            let le = self.words.map(|words| (words.le, bound));
            self.emit(self.metric.bucket, &labels, le, t, value(below as f64))?;
        }
        let le = self.words.map(|words| (words.le, words.infinity));
        self.emit(self.metric.bucket, &labels, le, t, value(point.count as f64))
    }

    pub(super) fn summary(&mut self, point: &Summary<'_>) -> Result<(), Wrong> {
        if !self.accepts(&point.common) {
            return Ok(());
        }
        let labels = self.labels(&point.common.attributes)?;
        let (t, stale) = (point.common.time_ms(), point.common.is_stale());
        let value = |v: f64| if stale { STALE } else { v };
        self.emit(self.metric.sum, &labels, None, t, value(point.sum))?;
        self.emit(self.metric.count, &labels, None, t, value(point.count as f64))?;
        for (quantile, v) in &point.quantiles {
            let quantile = self.decoded.batch.text(&format::float(*quantile))?;
            let quantile = self.words.map(|words| (words.quantile, quantile));
            self.emit(self.metric.name, &labels, quantile, t, value(*v))?;
        }
        Ok(())
    }

    /// A point of a form that is not kept.
    pub(super) fn other(&mut self) {
        self.accepts(&Common::default());
    }

    /// The labels of a point: its attributes, and those that identify its resource.
    fn labels(&mut self, attributes: &Attributes<'_>) -> Result<Vec<(Span, Span)>, Wrong> {
        let batch = &mut self.decoded.batch;
        let mut labels = Vec::with_capacity(attributes.len() + self.identity.len());
        for (name, value) in label_pairs(attributes) {
            if !self.identity.iter().any(|(own, _)| batch.piece(*own) == name) {
                labels.push((batch.text(&name)?, batch.text(&value)?));
            }
        }
        labels.extend(&self.identity);
        Ok(labels)
    }

    fn emit(
        &mut self,
        name: Span,
        labels: &[(Span, Span)],
        further: Option<(Span, Span)>,
        t: i64,
        v: f64,
    ) -> Result<(), Wrong> {
        let Decoded { batch, refused, .. } = &mut self.decoded;
        self.draft.begin(batch);
        let own = further.map(|(name, _)| name);
        let is_own = |name: Span| own.is_some_and(|own| batch.piece(own) == batch.piece(name));
        for (name, value) in labels.iter().filter(|(name, _)| !is_own(*name)) {
            self.draft.label(batch, *name, *value);
        }
        if let Some((name, value)) = further {
            self.draft.label(batch, name, value);
        }
        self.draft.name(name);
        batch.sample(Sample { t, v })?;
        batch.finish(&mut self.draft, refused)
    }
}

/// Labels of attributes; values of attributes that become the same label are joined, in the order of their names.
fn label_pairs(attributes: &Attributes<'_>) -> Vec<(String, String)> {
    let mut ordered: Vec<&(Cow<'_, str>, Cow<'_, str>)> = attributes.iter().collect();
    ordered.sort_by(|a, b| a.0.cmp(&b.0));
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in ordered {
        let name = names::label(name);
        match pairs.get_mut(&name) {
            Some(known) => {
                known.push(';');
                known.push_str(value);
            }
            None => {
                pairs.insert(name, value.clone().into_owned());
            }
        }
    }
    pairs.into_iter().filter(|(name, _)| !name.is_empty()).collect()
}
