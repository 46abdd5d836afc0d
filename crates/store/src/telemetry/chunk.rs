//! The bytes of a compressed chunk and of a hot batch.
//!
//! A chunk: format number, times, lags (`known - time`), reasons for missing values, values. Integer sequences that
//! rise by a constant step (a regular grid, a constant delay) take a few bytes; all else goes through `pco`. Values
//! that are whole thousandths (kW measured to 1 W) are compressed as integers, which is exact and smaller.

use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use pco::{ChunkConfig, DeltaSpec};

use super::bytes::{Cursor, checked, damaged, put_bytes, put_signed, put_varint, refused};
use super::columns::{middle, spread};
use super::{Raw, missing_of, tag_of};
use crate::error::{Result, StoreError};

const FORMAT: u8 = 1;
const STEADY: u8 = 0;
const COMPRESSED: u8 = 1;
const THOUSANDTHS: u8 = 0;
const FLOATS: u8 = 1;
/// Above it, integers are no longer exact in an `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(crate) fn encode(samples: &[Raw]) -> Result<Vec<u8>> {
    let mut out = vec![FORMAT];
    put_ints(&mut out, &samples.iter().map(|s| s.time).collect::<Vec<_>>())?;
    put_ints(&mut out, &samples.iter().map(|s| s.known.wrapping_sub(s.time)).collect::<Vec<_>>())?;
    put_tags(&mut out, samples);
    let values: Vec<f64> = samples.iter().filter_map(|s| s.value.ok()).collect();
    match values.iter().map(|v| thousandths(*v)).collect::<Option<Vec<_>>>() {
        Some(ints) => {
            out.push(THOUSANDTHS);
            put_ints(&mut out, &ints)?;
        }
        None => {
            out.push(FLOATS);
            put_bytes(&mut out, &smallest(&values)?);
        }
    }
    Ok(out)
}

pub(crate) fn decode(data: &[u8], samples: usize) -> Result<Vec<Raw>> {
    let mut cursor = Cursor(data);
    if cursor.byte()? != FORMAT {
        return Err(StoreError::corrupt("a telemetry chunk has an unknown format"));
    }
    let times = ints(&mut cursor, samples)?;
    let lags = ints(&mut cursor, samples)?;
    let tags = tags(&mut cursor, samples)?;
    let present = tags.iter().filter(|t| **t == 0).count();
    let values = match cursor.byte()? {
        #[expect(clippy::cast_precision_loss, reason = "only integers that are exact were encoded so")]
        THOUSANDTHS => ints(&mut cursor, present)?.into_iter().map(|i| i as f64 / 1e3).collect(),
        FLOATS => checked(simple_decompress::<f64>(cursor.bytes()?).map_err(damaged)?, present)?,
        other => return Err(StoreError::corrupt(format!("{other} is no encoding of telemetry values"))),
    };
    let mut values = values.into_iter();
    let mut out = Vec::with_capacity(samples);
    for ((time, lag), tag) in times.into_iter().zip(lags).zip(tags) {
        let value = match tag {
            0 => Ok(values.next().ok_or_else(|| StoreError::corrupt("a telemetry chunk ends early"))?),
            tag => Err(missing_of(tag)?),
        };
        out.push(Raw { time, known: time.wrapping_add(lag), value });
    }
    Ok(out)
}

/// The value as whole thousandths, when that gives the very same bits back.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "bounded, and compared back"
)]
fn thousandths(value: f64) -> Option<i64> {
    let scaled = (value * 1e3).round();
    if scaled.abs() >= EXACT {
        return None;
    }
    let whole = scaled as i64;
    (((whole as f64) / 1e3).to_bits() == value.to_bits()).then_some(whole)
}

/// Integers as they are or by their changes, whichever is smaller; both are tried where a look at their bits does not
/// tell. To let `pco` try all its encodings takes twice as long and is no smaller on what sites measure.
fn smaller(ints: &[i64]) -> Result<Vec<u8>> {
    let middle = middle(ints);
    let plain = spread(ints.iter().map(|v| v.wrapping_sub(middle)));
    let changes = spread(ints.windows(2).map(|w| w[1].wrapping_sub(w[0])));
    if plain < changes - changes / 4 {
        return packed(ints, 0);
    }
    let by_changes = packed(ints, 1)?;
    if changes < plain - plain / 4 {
        return Ok(by_changes);
    }
    let plain = packed(ints, 0)?;
    Ok(if plain.len() < by_changes.len() { plain } else { by_changes })
}

/// Floats of a smooth curve are smallest by the changes of their changes; a look does not tell, so all are tried.
fn smallest(values: &[f64]) -> Result<Vec<u8>> {
    let mut least = packed(values, 0)?;
    for order in [1, 2] {
        let other = packed(values, order)?;
        if other.len() < least.len() {
            least = other;
        }
    }
    Ok(least)
}

fn packed<T: Number>(numbers: &[T], order: usize) -> Result<Vec<u8>> {
    let config = ChunkConfig::default().with_compression_level(6);
    simple_compress(numbers, &config.with_delta_spec(DeltaSpec::TryConsecutive(order))).map_err(refused)
}

fn put_ints(out: &mut Vec<u8>, ints: &[i64]) -> Result<()> {
    let first = ints.first().copied().unwrap_or(0);
    let step = ints.get(1).map_or(0, |second| second.wrapping_sub(first));
    if ints.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
        out.push(STEADY);
        put_signed(out, first);
        put_signed(out, step);
        return Ok(());
    }
    out.push(COMPRESSED);
    put_bytes(out, &smaller(ints)?);
    Ok(())
}

/// Runs of equal tags: length, tag.
fn put_tags(out: &mut Vec<u8>, samples: &[Raw]) {
    for run in samples.chunk_by(|a, b| tag_of(&a.value) == tag_of(&b.value)) {
        put_varint(out, run.len() as u64);
        out.push(tag_of(&run[0].value));
    }
}

/// One append: for each sample the change of series, time and lag against the one before, tag, value.
pub(crate) fn encode_batch(out: &mut Vec<u8>, samples: impl Iterator<Item = (u32, Raw)>) {
    out.push(FORMAT);
    let (mut series, mut time, mut lag) = (0_i64, 0_i64, 0_i64);
    for (id, raw) in samples {
        let next = (i64::from(id), raw.time, raw.known.wrapping_sub(raw.time));
        put_signed(out, next.0 - series);
        put_signed(out, next.1.wrapping_sub(time));
        put_signed(out, next.2.wrapping_sub(lag));
        (series, time, lag) = next;
        out.push(tag_of(&raw.value));
        if let Ok(value) = raw.value {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

pub(crate) fn decode_batch(data: &[u8], mut take: impl FnMut(u32, Raw)) -> Result<()> {
    let mut cursor = Cursor(data);
    if cursor.byte()? != FORMAT {
        return Err(StoreError::corrupt("a telemetry batch has an unknown format"));
    }
    let (mut series, mut time, mut lag) = (0_i64, 0_i64, 0_i64);
    while !cursor.0.is_empty() {
        series = series.wrapping_add(cursor.signed()?);
        time = time.wrapping_add(cursor.signed()?);
        lag = lag.wrapping_add(cursor.signed()?);
        let value = match cursor.byte()? {
            0 => Ok(f64::from_le_bytes(cursor.array()?)),
            tag => Err(missing_of(tag)?),
        };
        let id =
            u32::try_from(series).map_err(|_| StoreError::corrupt("a telemetry batch names no series"))?;
        take(id, Raw { time, known: time.wrapping_add(lag), value });
    }
    Ok(())
}

fn ints(cursor: &mut Cursor<'_>, expected: usize) -> Result<Vec<i64>> {
    match cursor.byte()? {
        STEADY => {
            let (first, step) = (cursor.signed()?, cursor.signed()?);
            let next = |previous: &i64| Some(previous.wrapping_add(step));
            Ok(std::iter::successors(Some(first), next).take(expected).collect())
        }
        COMPRESSED => checked(simple_decompress::<i64>(cursor.bytes()?).map_err(damaged)?, expected),
        other => Err(StoreError::corrupt(format!("{other} is no encoding of telemetry numbers"))),
    }
}

fn tags(cursor: &mut Cursor<'_>, samples: usize) -> Result<Vec<u8>> {
    let mut tags = Vec::with_capacity(samples);
    while tags.len() < samples {
        let run = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
        let tag = cursor.byte()?;
        if run == 0 || run > samples - tags.len() {
            return Err(StoreError::corrupt("a telemetry chunk counts its values wrongly"));
        }
        tags.resize(tags.len() + run, tag);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sos_units::{Missing, Reading};

    fn reading() -> impl Strategy<Value = Reading<f64>> {
        prop_oneof![
            4 => (-20_000_i32..20_000).prop_map(|w| Ok(f64::from(w) / 1e3)),
            1 => prop::num::f64::NORMAL.prop_map(Ok),
            1 => Just(Ok(-0.0)),
            1 => Just(Err(Missing::Gap)),
            1 => Just(Err(Missing::NotRunning)),
        ]
    }

    fn raws() -> impl Strategy<Value = Vec<Raw>> {
        let raw = (any::<i64>(), -1000..1_000_000_i64, reading());
        prop::collection::vec(raw, 0..300).prop_map(|all| {
            all.into_iter()
                .map(|(time, lag, value)| Raw { time, known: time.wrapping_add(lag), value })
                .collect()
        })
    }

    fn bits(raw: &Raw) -> (i64, i64, Reading<u64>) {
        (raw.time, raw.known, raw.value.map(f64::to_bits))
    }

    proptest! {
        #[test]
        fn a_chunk_gives_back_every_bit(samples in raws()) {
            let back = decode(&encode(&samples).unwrap(), samples.len()).unwrap();
            prop_assert_eq!(back.iter().map(bits).collect::<Vec<_>>(), samples.iter().map(bits).collect::<Vec<_>>());
        }

        #[test]
        fn a_batch_gives_back_every_bit(samples in raws()) {
            let mut bytes = Vec::new();
            encode_batch(&mut bytes, samples.iter().map(|s| (7, *s)));
            let mut back = Vec::new();
            decode_batch(&bytes, |id, raw| back.push((id, raw))).unwrap();
            prop_assert!(back.iter().all(|(id, _)| *id == 7));
            prop_assert_eq!(back.iter().map(|b| bits(&b.1)).collect::<Vec<_>>(), samples.iter().map(bits).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_chunks_are_reported_and_never_panic(samples in raws(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut bytes = encode(&samples).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            // Either it is noticed or as many samples come back as were promised.
            if let Ok(back) = decode(&bytes, samples.len()) {
                prop_assert_eq!(back.len(), samples.len());
            }
        }
    }
}
