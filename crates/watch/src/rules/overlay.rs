//! Series with samples on top that are not stored yet: a rule sees what those before it gave.

use std::sync::Arc;

use crate::labels::{LabelIndex, Labels};
use crate::matcher::Matcher;
use crate::series::{Sample, Selection, Series, Source, SourceError};

/// A source, and at most a few newer samples of each series.
pub(super) struct Overlay<'s> {
    base: &'s dyn Source,
    /// By metric name, so that most selections are spared a look at each series.
    newer: std::collections::BTreeMap<Arc<str>, LabelIndex<Vec<Sample>>>,
}

impl<'s> Overlay<'s> {
    pub(super) fn new(base: &'s dyn Source) -> Self {
        Self { base, newer: std::collections::BTreeMap::new() }
    }

    pub(super) fn push(&mut self, labels: &Labels, sample: Sample) {
        let metric = self.newer.entry(labels.name().unwrap_or_default().into()).or_default();
        metric.entry(labels.clone()).or_default().push(sample);
    }
}

impl Source for Overlay<'_> {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError> {
        let mut found = self.base.select(selection)?;
        let name = selection.matchers.iter().find_map(Matcher::metric_name);
        let metrics: Vec<&LabelIndex<Vec<Sample>>> = match name {
            Some(name) => self.newer.get(name).into_iter().collect(),
            None => self.newer.values().collect(),
        };
        let fits = |labels: &Labels| selection.matchers.iter().all(|m| m.matches(labels.get(m.name())));
        let wanted = |sample: &&Sample| sample.t >= selection.start_ms && sample.t <= selection.end_ms;
        let mut places: Option<LabelIndex<usize>> = None;
        for (labels, samples) in metrics.into_iter().flatten().filter(|(labels, _)| fits(labels)) {
            let samples: Vec<Sample> = samples.iter().filter(wanted).copied().collect();
            if samples.is_empty() {
                continue;
            }
            let places = places.get_or_insert_with(|| {
                found.iter().enumerate().map(|(at, series)| (series.labels.clone(), at)).collect()
            });
            match places.get(labels) {
                Some(at) => {
                    let mut all = found[*at].samples().to_vec();
                    all.retain(|held| samples.iter().all(|new| new.t != held.t));
                    all.extend(samples);
                    all.sort_by_key(|sample| sample.t);
                    found[*at] = Series::new(labels.clone(), Arc::new(all));
                }
                None => found.push(Series::new(labels.clone(), Arc::new(samples))),
            }
        }
        Ok(found)
    }
}
