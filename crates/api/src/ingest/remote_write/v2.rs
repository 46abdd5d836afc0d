//! `io.prometheus.write.v2.Request`: all texts stand once in a table of symbols.

use super::super::batch::{Draft, IngestBatch, Span, Wrong};
use super::super::fields::{Fields, Value, packed_varints, text};
use super::v1::sample;
use super::{Decoded, kind};

/// Most texts of the table.
const MAX_SYMBOLS: usize = 1_000_000;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Wrong> {
    let mut decoded = Decoded::default();
    // The table may stand behind what refers to it.
    let mut symbols = Vec::new();
    for field in Fields::new("Request", bytes) {
        if let (4, Value::Bytes(symbol)) = field? {
            if symbols.len() >= MAX_SYMBOLS {
                return Err(Wrong::too_much("symbols", MAX_SYMBOLS));
            }
            symbols.push(decoded.batch.text(text("a symbol", symbol)?)?);
        }
    }
    if let Some(first) = symbols.first()
        && !decoded.batch.piece(*first).is_empty()
    {
        return Err(Wrong::malformed("the first symbol is not empty, as the specification asks"));
    }
    let mut reading = Reading { symbols, draft: Draft::default(), refs: Vec::new() };
    for field in Fields::new("Request", bytes) {
        if let (5, Value::Bytes(series)) = field? {
            reading.time_series(series, &mut decoded)?;
        }
    }
    Ok(decoded)
}

struct Reading {
    symbols: Vec<Span>,
    draft: Draft,
    /// Of the series that is being read.
    refs: Vec<u64>,
}

impl Reading {
    fn time_series(&mut self, bytes: &[u8], decoded: &mut Decoded) -> Result<(), Wrong> {
        self.draft.begin(&decoded.batch);
        self.refs.clear();
        let mut described = None;
        for field in Fields::new("TimeSeries", bytes) {
            match field? {
                (1, Value::Bytes(packed)) => packed_varints("labels_refs", packed, |n| self.refs.push(n))?,
                (1, Value::Varint(one)) => self.refs.push(one),
                (2, Value::Bytes(one)) => decoded.batch.sample(sample(one)?)?,
                (3, Value::Bytes(_)) => decoded.histograms += 1,
                (4, Value::Bytes(_)) => decoded.exemplars += 1,
                (5, Value::Bytes(one)) => described = Some(one),
                _ => (),
            }
        }
        let (pairs, rest) = self.refs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Wrong::malformed("labels_refs of a time series has an odd length: expected pairs"));
        }
        for [name, value] in pairs {
            let (name, value) = (symbol(&self.symbols, *name)?, symbol(&self.symbols, *value)?);
            self.draft.label(&decoded.batch, name, value);
        }
        let name = self.draft.metric();
        decoded.batch.finish(&mut self.draft, &mut decoded.refused)?;
        match (described, name) {
            (Some(described), Some(name)) => self.metadata(described, name, &mut decoded.batch),
            _ => Ok(()),
        }
    }

    fn metadata(&self, bytes: &[u8], name: Span, batch: &mut IngestBatch) -> Result<(), Wrong> {
        if batch.is_described(batch.piece(name)) {
            return Ok(());
        }
        let (mut number, mut help, mut unit) = (0, 0, 0);
        for field in Fields::new("Metadata", bytes) {
            match field? {
                (1, Value::Varint(one)) => number = one,
                (3, Value::Varint(one)) => help = one,
                (4, Value::Varint(one)) => unit = one,
                _ => (),
            }
        }
        if number == 0 && help == 0 && unit == 0 {
            return Ok(());
        }
        let text = |number: u64| match number {
            // Even without a table 0 means nothing.
            0 => Ok(Span::default()),
            _ => symbol(&self.symbols, number),
        };
        let [metric, help, unit] = [name, text(help)?, text(unit)?].map(|span| batch.piece(span).to_owned());
        batch.describe(&metric, kind(number), &help, &unit)
    }
}

fn symbol(symbols: &[Span], number: u64) -> Result<Span, Wrong> {
    let found = usize::try_from(number).ok().and_then(|number| symbols.get(number)).copied();
    found.ok_or_else(|| {
        Wrong::malformed(format!("a series refers to symbol {number}; there are {}", symbols.len()))
    })
}
