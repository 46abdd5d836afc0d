//! Samples on their way in, with the labels of their series.

use std::collections::BTreeMap;
use std::fmt;

use sos_watch::Sample;
use sos_watch::labels::METRIC_NAME;

use crate::prometheus::Metadata;

/// Most labels of one series, `__name__` not counted; the store may allow fewer.
const MAX_LABELS: usize = 128;
/// Most of each in one request: together they bound its memory to some 200 MB.
const MAX_SAMPLES: usize = 1_000_000;
const MAX_PAIRS: usize = 4_000_000;
const MAX_TEXT: usize = 64 * 1024 * 1024;
const MAX_METADATA: usize = 20_000;
/// Most bytes of a help text, and of names and units in descriptions.
const MAX_HELP: usize = 4096;
const MAX_NAME: usize = 256;
/// Different refusals that are named; more are only counted.
const NAMED: usize = 100;

/// A piece of [`IngestBatch`]'s text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

/// What one request brings: samples by series, and what it says of metrics. All texts lie in one piece of memory, so a
/// series costs no allocation; labels are handed out as borrowed strings.
///
/// # Guarantees
/// Names of metrics and labels are valid in Prometheus' data model; labels are ordered by name, each once, none empty,
/// without `__name__`; each series has at least one sample, in the order in which they came. The same series may occur
/// more than once. At most a million samples.
#[derive(Clone, Default)]
pub struct IngestBatch {
    text: String,
    pairs: Vec<(Span, Span)>,
    series: Vec<Entry>,
    samples: Vec<Sample>,
    metadata: BTreeMap<String, Metadata>,
}

#[derive(Clone, Copy)]
struct Entry {
    name: Span,
    /// Ends in `pairs` and `samples`; they begin where those of the one before end.
    pairs_end: u32,
    samples_end: u32,
}

/// One series of a batch.
#[derive(Clone, Copy)]
pub struct IngestSeries<'b> {
    batch: &'b IngestBatch,
    name: Span,
    pairs: &'b [(Span, Span)],
    samples: &'b [Sample],
}

impl<'b> IngestSeries<'b> {
    /// Name of the metric, never empty.
    pub fn name(&self) -> &'b str {
        self.batch.piece(self.name)
    }

    /// Names and values of the labels, without `__name__`.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'b str, &'b str)> + use<'b> {
        let batch = self.batch;
        self.pairs.iter().map(move |(name, value)| (batch.piece(*name), batch.piece(*value)))
    }

    /// Times in ms since 1970 and values; every NaN keeps its bits, [`sos_watch::STALE`] among them.
    pub fn samples(&self) -> &'b [Sample] {
        self.samples
    }
}

impl fmt::Debug for IngestSeries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels().collect();
        f.debug_tuple("IngestSeries").field(&self.name()).field(&labels).field(&self.samples).finish()
    }
}

impl fmt::Debug for IngestBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.series()).finish()
    }
}

impl IngestBatch {
    /// Its series, in the order in which they came.
    pub fn series(&self) -> impl Iterator<Item = IngestSeries<'_>> {
        let (mut pairs, mut samples) = (0, 0);
        self.series.iter().map(move |entry| {
            let (pairs_end, samples_end) = (entry.pairs_end as usize, entry.samples_end as usize);
            let series = IngestSeries {
                batch: self,
                name: entry.name,
                pairs: &self.pairs[pairs..pairs_end],
                samples: &self.samples[samples..samples_end],
            };
            (pairs, samples) = (pairs_end, samples_end);
            series
        })
    }

    /// How many samples it has.
    pub fn sample_count(&self) -> usize {
        self.samples.len()
    }

    /// What it says of metrics, each once; of a metric that is described more than once the first counts.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = &Metadata> {
        self.metadata.values()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty()
    }

    pub(crate) fn piece(&self, span: Span) -> &str {
        &self.text[span.start as usize..(span.start + span.len) as usize]
    }

    /// Makes room for what a message of so many bytes usually brings, so that nothing is moved while it grows.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.text.reserve(bytes.min(MAX_TEXT));
        self.pairs.reserve((bytes / 24).min(MAX_PAIRS));
        self.series.reserve((bytes / 256).min(MAX_SAMPLES));
        self.samples.reserve((bytes / 256).min(MAX_SAMPLES));
    }

    /// Takes in a text.
    pub(crate) fn text(&mut self, text: &str) -> Result<Span, Wrong> {
        if self.text.len() + text.len() > MAX_TEXT {
            return Err(Wrong::too_much("bytes of names and labels", MAX_TEXT));
        }
        let span = Span { start: index(self.text.len()), len: index(text.len()) };
        self.text.push_str(text);
        Ok(span)
    }

    pub(crate) fn sample(&mut self, sample: Sample) -> Result<(), Wrong> {
        if self.samples.len() >= MAX_SAMPLES {
            return Err(Wrong::too_much("samples", MAX_SAMPLES));
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Whether a metric was described already; every series of it says the same again.
    pub(crate) fn is_described(&self, metric: &str) -> bool {
        self.metadata.contains_key(metric)
    }

    /// Long texts are cut; a metric whose name is too long is not described.
    pub(crate) fn describe(&mut self, metric: &str, kind: &str, help: &str, unit: &str) -> Result<(), Wrong> {
        if self.is_described(metric) || metric.is_empty() || metric.len() > MAX_NAME {
            return Ok(());
        }
        if self.metadata.len() >= MAX_METADATA {
            return Err(Wrong::too_much("descriptions of metrics", MAX_METADATA));
        }
        let metadata = Metadata {
            metric: metric.to_owned(),
            kind: kind.to_owned(),
            help: cut(help, MAX_HELP).to_owned(),
            unit: cut(unit, MAX_NAME).to_owned(),
        };
        self.metadata.insert(metric.to_owned(), metadata);
        Ok(())
    }

    fn pair(&mut self, name: Span, value: Span) -> Result<(), Wrong> {
        if self.pairs.len() >= MAX_PAIRS {
            return Err(Wrong::too_much("labels", MAX_PAIRS));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    fn samples_begin(&self) -> usize {
        self.series.last().map_or(0, |entry| entry.samples_end as usize)
    }

    fn pairs_begin(&self) -> usize {
        self.series.last().map_or(0, |entry| entry.pairs_end as usize)
    }

    /// Ends a series: the samples since the last one are its own. One that cannot be kept is forgotten with them and
    /// counted in `refusals`; one without samples is forgotten without a word.
    pub(crate) fn finish(&mut self, draft: &mut Draft, refusals: &mut Refusals) -> Result<(), Wrong> {
        let begin = self.samples_begin();
        let count = self.samples.len() - begin;
        if count > 0 {
            match self.checked(draft) {
                Ok(name) => return self.keep(name, draft),
                Err(why) => {
                    let name = draft.name.map_or("", |name| self.piece(name));
                    refusals.add(name, &why, count as u64);
                }
            }
        }
        self.samples.truncate(begin);
        self.text.truncate(draft.text_begin);
        Ok(())
    }

    fn keep(&mut self, name: Span, draft: &Draft) -> Result<(), Wrong> {
        for (name, value) in &draft.pairs {
            if value.len > 0 {
                self.pair(*name, *value)?;
            }
        }
        let entry =
            Entry { name, pairs_end: index(self.pairs.len()), samples_end: index(self.samples.len()) };
        self.series.push(entry);
        debug_assert!(self.pairs_begin() == self.pairs.len());
        Ok(())
    }

    /// The name of a series whose labels are in order after it.
    fn checked(&self, draft: &mut Draft) -> Result<Span, String> {
        let name = draft.name.filter(|name| name.len > 0);
        let Some(name) = name else { return Err("a series without __name__".to_owned()) };
        if !is_name(self.piece(name), true) {
            return Err("not the name of a metric: expected letters, digits, _ and :".to_owned());
        }
        if draft.too_many {
            return Err(format!("more than {MAX_LABELS} labels"));
        }
        let label = |pair: &(Span, Span)| self.piece(pair.0);
        if let Some(wrong) = draft.pairs.iter().map(label).find(|name| !is_name(name, false)) {
            return Err(format!("the label {:?}: expected letters, digits and _", cut(wrong, 64)));
        }
        if !draft.pairs.is_sorted_by(|a, b| label(a) < label(b)) {
            draft.pairs.sort_by(|a, b| label(a).cmp(label(b)));
            if let Some(twice) = draft.pairs.windows(2).find(|pair| label(&pair[0]) == label(&pair[1])) {
                return Err(format!("the label {:?} twice", cut(label(&twice[0]), 64)));
            }
        }
        Ok(name)
    }
}

/// Labels of the series that is being read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    name: Option<Span>,
    pairs: Vec<(Span, Span)>,
    too_many: bool,
    text_begin: usize,
}

impl Draft {
    /// For the next series.
    pub(crate) fn begin(&mut self, batch: &IngestBatch) {
        self.name = None;
        self.pairs.clear();
        self.too_many = false;
        self.text_begin = batch.text.len();
    }

    pub(crate) fn name(&mut self, name: Span) {
        self.name = Some(name);
    }

    pub(crate) fn metric(&self) -> Option<Span> {
        self.name
    }

    /// A label; the one called `__name__` is the name.
    pub(crate) fn label(&mut self, batch: &IngestBatch, name: Span, value: Span) {
        if batch.piece(name) == METRIC_NAME {
            self.name = Some(value);
        } else if self.pairs.len() < MAX_LABELS {
            self.pairs.push((name, value));
        } else {
            self.too_many = true;
        }
    }
}

/// Samples that were not kept for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestRefusal {
    /// Name of the metric, shortened when it is long; empty when there is none.
    pub metric: String,
    /// Why, a lower-case fragment for people: `too many series`.
    pub why: String,
    /// How many.
    pub samples: u64,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestOutcome {
    /// Samples that are stored now, those that were there already with the same value among them.
    pub accepted: u64,
    /// Samples that were not kept and never will be.
    pub refused: Refusals,
}

/// Refused samples by metric and reason, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    named: Vec<IngestRefusal>,
    samples: u64,
}

impl Refusals {
    /// Counts refused samples; the first hundred different metrics and reasons are named.
    pub fn add(&mut self, metric: &str, why: &str, samples: u64) {
        self.samples += samples;
        let metric = cut(metric, 256);
        let same = |known: &&mut IngestRefusal| known.why == why && known.metric == metric;
        if let Some(known) = self.named.iter_mut().find(same) {
            known.samples += samples;
        } else if self.named.len() < NAMED {
            self.named.push(IngestRefusal { metric: metric.to_owned(), why: why.to_owned(), samples });
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        let named: u64 = other.named.iter().map(|one| one.samples).sum();
        for one in other.named {
            self.add(&one.metric, &one.why, one.samples);
        }
        self.samples += other.samples.saturating_sub(named);
    }

    /// How many samples were refused.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The first hundred different ones.
    pub fn named(&self) -> &[IngestRefusal] {
        &self.named
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples were refused", self.samples)?;
        for (index, one) in self.named.iter().take(5).enumerate() {
            let sign = if index == 0 { ": " } else { "; " };
            write!(f, "{sign}{} of {:?} ({})", one.samples, one.metric, one.why)?;
        }
        let more = self.named.len().saturating_sub(5);
        if more > 0 { write!(f, "; and {more} more reasons") } else { Ok(()) }
    }
}

/// Why nothing of a request is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It cannot be read.
    Malformed(String),
    /// It is more than one request may bring.
    TooMuch(String),
}

impl Wrong {
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }

    pub(crate) fn too_much(what: &str, most: usize) -> Self {
        Self::TooMuch(format!("the request has more than {most} {what}: send it in smaller parts"))
    }
}

/// All bounds are below 2³².
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// At most so many bytes of a text.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Whether a text is the name of a metric, or of a label.
fn is_name(text: &str, metric: bool) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || (metric && *b == b':');
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| !first.is_ascii_digit()) && bytes.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(batch: &mut IngestBatch, refusals: &mut Refusals, labels: &[(&str, &str)], samples: usize) {
        let mut draft = Draft::default();
        draft.begin(batch);
        for (name, value) in labels {
            let (name, value) = (batch.text(name).unwrap(), batch.text(value).unwrap());
            draft.label(batch, name, value);
        }
        for t in 0..samples {
            batch.sample(Sample { t: t as i64, v: 1.0 }).unwrap();
        }
        batch.finish(&mut draft, refusals).unwrap();
    }

    #[test]
    fn labels_come_out_in_order_and_empty_ones_are_left_out() {
        let (mut batch, mut refusals) = (IngestBatch::default(), Refusals::default());
        add(&mut batch, &mut refusals, &[("z", "1"), ("__name__", "up"), ("empty", ""), ("a", "é")], 2);
        add(&mut batch, &mut refusals, &[("__name__", "none")], 0);
        add(&mut batch, &mut refusals, &[("__name__", "a:b")], 1);
        let series: Vec<_> = batch.series().collect();
        assert_eq!(series.len(), 2);
        assert_eq!((series[0].name(), series[0].samples().len()), ("up", 2));
        assert_eq!(series[0].labels().collect::<Vec<_>>(), [("a", "é"), ("z", "1")]);
        assert_eq!((series[1].name(), series[1].labels().len(), series[1].samples().len()), ("a:b", 0, 1));
        assert_eq!(refusals, Refusals::default());
    }

    #[test]
    fn a_wrong_series_is_refused_with_its_reason_and_its_neighbours_stay() {
        let many: Vec<(String, String)> = (0..129).map(|n| (format!("l{n}"), "v".to_owned())).collect();
        let mut many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        many.push(("__name__", "many"));
        for (labels, part) in [
            (&[("a", "1")][..], "without __name__"),
            (&[("__name__", "")], "without __name__"),
            (&[("__name__", "9a")], "not the name"),
            (&[("__name__", "up"), ("a-b", "1")], "\"a-b\""),
            (&[("__name__", "up"), ("", "1")], "\"\""),
            (&[("__name__", "up"), ("a", "1"), ("b", "1"), ("a", "2")], "\"a\" twice"),
            (&many, "more than 128"),
        ] {
            let (mut batch, mut refusals) = (IngestBatch::default(), Refusals::default());
            add(&mut batch, &mut refusals, &[("__name__", "before"), ("x", "y")], 1);
            add(&mut batch, &mut refusals, labels, 3);
            add(&mut batch, &mut refusals, &[("__name__", "after"), ("x", "z")], 1);
            let names: Vec<_> = batch.series().map(|series| series.name().to_owned()).collect();
            assert_eq!(names, ["before", "after"]);
            assert_eq!(batch.series().nth(1).unwrap().labels().next(), Some(("x", "z")));
            assert_eq!((batch.sample_count(), refusals.samples()), (2, 3));
            assert!(refusals.to_string().contains(part), "{refusals}");
        }
    }

    #[test]
    fn refusals_are_counted_and_only_some_are_named() {
        let mut refusals = Refusals::default();
        for n in 0..150 {
            refusals.add(&format!("m{n}"), "too many series", 2);
        }
        refusals.add("m0", "too many series", 1);
        assert_eq!((refusals.samples(), refusals.named().len(), refusals.named()[0].samples), (301, 100, 3));
        let mut all = Refusals::default();
        all.join(refusals);
        assert_eq!((all.samples(), all.named().len()), (301, 100));
        assert!(all.to_string().starts_with("301 samples were refused: 3 of \"m0\" (too many series); 2 of"));
    }
}
