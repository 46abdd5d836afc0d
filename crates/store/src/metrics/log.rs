//! The bytes of a row of the log: what one change added to the heads, and which heads went into chunks with it.

use super::lane::Dot;
use crate::error::{Result, StoreError};
use crate::telemetry::bytes::{Cursor, put_signed, put_varint};

const FORMAT: u8 = 1;
/// How a value is written, in the two lowest bits of a sample's first byte.
const RAW: u8 = 0;
const WHOLE: u8 = 1;
const THOUSANDTHS: u8 = 2;
/// Set when the time is that of the sample before.
const SAME_TIME: u8 = 4;
/// Set when the series is the one after that of the sample before.
const NEXT_SERIES: u8 = 8;
/// Beyond it the eight bytes of the float are as short.
const SHORT: f64 = 1e12;

/// A row that grows. Most samples of a scrape take one byte and their value.
#[derive(Debug, Default)]
pub(crate) struct Row {
    body: Vec<u8>,
    samples: u64,
    last: (i64, i64),
    flushed: Vec<u32>,
}

impl Row {
    pub(crate) fn push(&mut self, series: u32, dot: Dot) {
        let (id, time) = (i64::from(series), dot.time);
        let mut head = 0;
        if time == self.last.1 {
            head |= SAME_TIME;
        }
        if id == self.last.0 + 1 {
            head |= NEXT_SERIES;
        }
        let (kind, whole) = shortest(dot.bits);
        self.body.push(head | kind);
        if head & NEXT_SERIES == 0 {
            put_signed(&mut self.body, id - self.last.0);
        }
        if head & SAME_TIME == 0 {
            put_signed(&mut self.body, time.wrapping_sub(self.last.1));
        }
        match kind {
            RAW => self.body.extend_from_slice(&dot.bits.to_le_bytes()),
            _ => put_signed(&mut self.body, whole),
        }
        self.last = (id, time);
        self.samples += 1;
    }

    /// Notes that all samples of a series so far, those of this row included, are in chunks.
    pub(crate) fn flushed(&mut self, series: u32) {
        self.flushed.push(series);
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + self.flushed.len() * 5 + 12);
        out.push(FORMAT);
        put_varint(&mut out, self.samples);
        out.extend_from_slice(&self.body);
        for series in &self.flushed {
            put_varint(&mut out, u64::from(*series));
        }
        out
    }
}

/// Hands out the samples of a row, then the series that were flushed with it; answers how many samples there were.
pub(crate) fn read(data: &[u8], mut change: impl FnMut(u32, Option<Dot>)) -> Result<u64> {
    let mut cursor = Cursor(data);
    if cursor.byte()? != FORMAT {
        return Err(StoreError::corrupt("the log of metrics has an unknown format"));
    }
    let samples = cursor.varint()?;
    let (mut id, mut time) = (0_i64, 0_i64);
    for _ in 0..samples {
        let head = cursor.byte()?;
        id = id.wrapping_add(if head & NEXT_SERIES == 0 { cursor.signed()? } else { 1 });
        if head & SAME_TIME == 0 {
            time = time.wrapping_add(cursor.signed()?);
        }
        #[expect(clippy::cast_precision_loss, reason = "only integers that are exact were written so")]
        let bits = match head & 3 {
            RAW => u64::from_le_bytes(cursor.array()?),
            WHOLE => (cursor.signed()? as f64).to_bits(),
            THOUSANDTHS => (cursor.signed()? as f64 / 1e3).to_bits(),
            other => return Err(StoreError::corrupt(format!("{other} is no kind of value in the log"))),
        };
        change(series(id)?, Some(Dot { time, bits }));
    }
    while !cursor.0.is_empty() {
        let id = i64::try_from(cursor.varint()?).unwrap_or(-1);
        change(series(id)?, None);
    }
    Ok(samples)
}

fn series(id: i64) -> Result<u32> {
    u32::try_from(id).map_err(|_| StoreError::corrupt("the log of metrics names no series"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "bounded, and compared back"
)]
fn shortest(bits: u64) -> (u8, i64) {
    let value = f64::from_bits(bits);
    if value.abs() < SHORT {
        let whole = value as i64;
        if (whole as f64).to_bits() == bits {
            return (WHOLE, whole);
        }
        let thousandths = (value * 1e3).round() as i64;
        if (thousandths as f64 / 1e3).to_bits() == bits {
            return (THOUSANDTHS, thousandths);
        }
    }
    (RAW, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_gives_back_every_bit(
            dots in prop::collection::vec((1..50_u32, any::<i64>(), prop_oneof![any::<u64>(), (0..9_i32).prop_map(|v| (f64::from(v) / 4.0).to_bits())]), 0..200),
            flushed in prop::collection::vec(any::<u32>(), 0..5),
        ) {
            let mut row = Row::default();
            dots.iter().for_each(|(series, time, bits)| row.push(*series, Dot { time: *time, bits: *bits }));
            flushed.iter().for_each(|series| row.flushed(*series));
            let mut back = Vec::new();
            let samples = read(&row.bytes(), |series, dot| back.push((series, dot))).unwrap();
            prop_assert_eq!(samples as usize, dots.len());
            let dots = dots.into_iter().map(|(series, time, bits)| (series, Some(Dot { time, bits })));
            prop_assert_eq!(back, dots.chain(flushed.into_iter().map(|s| (s, None))).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_rows_are_reported_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&[&[FORMAT], &bytes[..]].concat(), |_, _| ());
        }
    }
}
