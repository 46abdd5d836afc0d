//! The series of one test: given ones appear when their time comes, and those of rules are added.

use crate::labels::{LabelIndex, Labels};
use crate::series::{Memory, Sample, Selection, Series, Source, SourceError};

pub(super) struct Store<'t> {
    memory: Memory,
    /// The newest sample of each series.
    newest: LabelIndex<Sample>,
    /// Given samples that have not appeared yet.
    waiting: Vec<(&'t Labels, &'t [Sample])>,
}

impl<'t> Store<'t> {
    pub(super) fn new(series: &'t LabelIndex<Vec<Sample>>) -> Self {
        let waiting = series.iter().map(|(labels, samples)| (labels, samples.as_slice())).collect();
        Self { memory: Memory::new(), newest: LabelIndex::default(), waiting }
    }

    /// Lets the given samples up to a time appear, inclusive.
    pub(super) fn load_until(&mut self, t_ms: i64) -> Result<(), String> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut result = Ok(());
        for (labels, samples) in &mut waiting {
            let (now, later) = samples.split_at(samples.partition_point(|sample| sample.t <= t_ms));
            for sample in now {
                result = result.and(self.append(labels, *sample));
            }
            *samples = later;
        }
        waiting.retain(|(_, samples)| !samples.is_empty());
        self.waiting = waiting;
        result
    }

    /// # Errors
    /// When the series has a newer sample, or another value at this time: as the storage of Prometheus refuses them.
    pub(super) fn append(&mut self, labels: &Labels, sample: Sample) -> Result<(), String> {
        if let Some(newest) = self.newest.get(labels) {
            if newest.t > sample.t {
                return Err(format!("out of order sample of {labels}"));
            }
            if newest.t == sample.t {
                let same = newest.v.to_bits() == sample.v.to_bits();
                let refuse =
                    || format!("duplicate sample for timestamp of {labels}: {} and {}", newest.v, sample.v);
                return if same { Ok(()) } else { Err(refuse()) };
            }
        }
        self.newest.insert(labels.clone(), sample);
        self.memory.append(labels, [sample]);
        Ok(())
    }
}

impl Source for Store<'_> {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, SourceError> {
        self.memory.select(selection)
    }
}
