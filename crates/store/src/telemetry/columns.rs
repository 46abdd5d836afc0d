//! Columns of numbers, compressed: what chunks of metrics and of downsampled values are made of.
//!
//! Integers are brought to small residuals first (against their smallest, their predecessor or a regular grid) and
//! then stored by `pco` with as few bits as the largest residual needs; nothing is left to its automatic choice, which
//! takes several times as long and is no smaller here. Values that are decimal fractions of up to six digits are
//! stored as integers, which is exact; what is no finite number keeps its bits beside them.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::bytes::{Cursor, damaged, put_bytes, put_signed, put_varint, refused};
use crate::error::{Result, StoreError};

/// First number and step.
const STEADY: u8 = 0;
/// Above the smallest.
const PLAIN: u8 = 1;
/// Changes, above the smallest change.
const CHANGES: u8 = 2;
/// Distances from a grid of constant step, above the smallest.
const GRID: u8 = 3;

/// All values have the same bits.
const SAME: u8 = 0;
/// `DECIMAL + d`: integers, to be divided by 10^d.
const DECIMAL: u8 = 1;
const DIGITS: usize = 6;
const FLOATS: u8 = 16;
const POWERS: [f64; DIGITS + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// From here on integers are no longer exact in an `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Times, best on a grid or by their changes.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64]) -> Result<()> {
    put_ints(out, times, true)
}

fn put_ints(out: &mut Vec<u8>, ints: &[i64], may_be_grid: bool) -> Result<()> {
    let first = ints.first().copied().unwrap_or(0);
    let changes: Vec<i64> = ints.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let step = changes.first().copied().unwrap_or(0);
    if changes.iter().all(|change| *change == step) {
        out.push(STEADY);
        put_signed(out, first);
        put_signed(out, step);
        return Ok(());
    }
    let mean = mean_step(ints);
    let by_changes = spread(changes.iter().map(|change| change.wrapping_sub(mean)));
    if may_be_grid {
        let off: Vec<i64> = ints.iter().zip(grid(first, mean)).map(|(v, g)| v.wrapping_sub(g)).collect();
        if spread(off.iter().copied()) < by_changes {
            out.push(GRID);
            put_signed(out, first);
            put_signed(out, mean);
            return put_residuals(out, &off);
        }
    }
    let middle = middle(ints);
    if spread(ints.iter().map(|v| v.wrapping_sub(middle))) < by_changes {
        out.push(PLAIN);
        return put_residuals(out, ints);
    }
    out.push(CHANGES);
    put_signed(out, first);
    put_residuals(out, &changes)
}

/// The numbers that [`put_times`] or the values' integers were.
pub(crate) fn take_ints(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<i64>> {
    match cursor.byte()? {
        STEADY => {
            let (first, step) = (cursor.signed()?, cursor.signed()?);
            Ok(grid(first, step).take(n).collect())
        }
        PLAIN => take_residuals(cursor, n),
        GRID => {
            let (first, step) = (cursor.signed()?, cursor.signed()?);
            let mut all = take_residuals(cursor, n)?;
            all.iter_mut().zip(grid(first, step)).for_each(|(v, g)| *v = v.wrapping_add(g));
            Ok(all)
        }
        CHANGES => {
            let mut last = cursor.signed()?;
            let changes = take_residuals(cursor, n.saturating_sub(1))?;
            let mut all = Vec::with_capacity(n);
            all.push(last);
            all.extend(changes.into_iter().map(|change| {
                last = last.wrapping_add(change);
                last
            }));
            Ok(all)
        }
        other => Err(StoreError::corrupt(format!("{other} is no encoding of telemetry numbers"))),
    }
}

fn grid(first: i64, step: i64) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(first), move |previous| Some(previous.wrapping_add(step)))
}

fn mean_step(ints: &[i64]) -> i64 {
    let (Some(first), Some(last)) = (ints.first(), ints.last()) else { return 0 };
    let steps = i128::try_from(ints.len().max(2) - 1).unwrap_or(1);
    i64::try_from((i128::from(*last) - i128::from(*first) + steps / 2).div_euclid(steps)).unwrap_or(0)
}

/// The mean.
pub(crate) fn middle(ints: &[i64]) -> i64 {
    let sum: i128 = ints.iter().map(|v| i128::from(*v)).sum();
    i64::try_from(sum / i128::try_from(ints.len().max(1)).unwrap_or(1)).unwrap_or(0)
}

/// How many bits the numbers need, roughly.
pub(crate) fn spread(numbers: impl Iterator<Item = i64>) -> u64 {
    numbers.map(|n| u64::from(64 - n.unsigned_abs().leading_zeros())).sum()
}

/// The smallest number, the width, and what the numbers are above the smallest.
#[expect(clippy::cast_possible_truncation, reason = "the largest was looked at")]
fn put_residuals(out: &mut Vec<u8>, numbers: &[i64]) -> Result<()> {
    let least = numbers.iter().copied().min().unwrap_or(0);
    let above = |n: &i64| n.wrapping_sub(least).cast_unsigned();
    let most = numbers.iter().map(above).max().unwrap_or(0);
    put_signed(out, least);
    if most <= u64::from(u16::MAX) {
        out.push(16);
        put_packed(out, &numbers.iter().map(|n| above(n) as u16).collect::<Vec<_>>(), &plain())
    } else if most <= u64::from(u32::MAX) {
        out.push(32);
        put_packed(out, &numbers.iter().map(|n| above(n) as u32).collect::<Vec<_>>(), &plain())
    } else {
        out.push(64);
        put_packed(out, &numbers.iter().map(above).collect::<Vec<_>>(), &plain())
    }
}

fn take_residuals(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<i64>> {
    let least = cursor.signed()?;
    let back = |above: u64| least.wrapping_add(above.cast_signed());
    Ok(match cursor.byte()? {
        16 => take_packed::<u16>(cursor, n)?.into_iter().map(|v| back(v.into())).collect(),
        32 => take_packed::<u32>(cursor, n)?.into_iter().map(|v| back(v.into())).collect(),
        64 => take_packed::<u64>(cursor, n)?.into_iter().map(back).collect(),
        other => return Err(StoreError::corrupt(format!("telemetry of {other} bits is unknown"))),
    })
}

fn plain() -> ChunkConfig {
    let config = ChunkConfig::default().with_compression_level(6);
    config.with_mode_spec(ModeSpec::Classic).with_delta_spec(DeltaSpec::NoOp)
}

/// `pco` without the frame of a file, which small chunks would pay dearly for.
fn put_packed<T: Number>(out: &mut Vec<u8>, numbers: &[T], config: &ChunkConfig) -> Result<()> {
    let file = FileCompressor::default();
    let mut packed = file.write_header(Vec::with_capacity(numbers.len() * 2)).map_err(refused)?;
    if !numbers.is_empty() {
        let mut chunk = file.chunk_compressor(numbers, config).map_err(refused)?;
        packed = chunk.write_meta(packed).map_err(refused)?;
        packed = chunk.write_page(0, packed).map_err(refused)?;
    }
    put_bytes(out, &packed);
    Ok(())
}

fn take_packed<T: Number>(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<T>> {
    let (file, rest) = FileDecompressor::new(cursor.bytes()?).map_err(damaged)?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let mut numbers = vec![T::default(); n];
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).map_err(damaged)?;
    let done =
        chunk.page_decompressor(rest, n).and_then(|mut page| page.read(&mut numbers)).map_err(damaged)?;
    if done.n_processed < n {
        return Err(StoreError::corrupt("a telemetry chunk ends early"));
    }
    Ok(numbers)
}

/// Values by their bits: every NaN, infinity and zero comes back as it was.
pub(crate) fn put_values(out: &mut Vec<u8>, bits: &[u64]) -> Result<()> {
    let first = bits.first().copied().unwrap_or(0);
    if bits.iter().all(|other| *other == first) {
        out.push(SAME);
        out.extend_from_slice(&first.to_le_bytes());
        return Ok(());
    }
    let usual: Vec<f64> = bits.iter().copied().filter(|b| !is_special(*b)).map(f64::from_bits).collect();
    let digits = common_digits(&usual);
    out.push(digits.as_ref().map_or(FLOATS, |(d, _)| DECIMAL + d));
    put_specials(out, bits);
    match digits {
        Some((_, ints)) => put_ints(out, &ints, false),
        None => put_packed(out, &usual, &floats(&usual)),
    }
}

/// The values that [`put_values`] was given.
#[expect(clippy::cast_precision_loss, reason = "only integers that are exact were encoded so")]
pub(crate) fn take_values(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<f64>> {
    let tag = cursor.byte()?;
    if tag == SAME {
        return Ok(vec![f64::from_bits(u64::from_le_bytes(cursor.array()?)); n]);
    }
    let specials = take_specials(cursor, n)?;
    let usual = n - specials.iter().map(|run| run.len).sum::<usize>();
    let digits = usize::from(tag.wrapping_sub(DECIMAL));
    let values: Vec<f64> = match POWERS.get(digits) {
        Some(power) => take_ints(cursor, usual)?.into_iter().map(|i| i as f64 / power).collect(),
        None if tag == FLOATS => take_packed(cursor, usual)?,
        None => return Err(StoreError::corrupt(format!("{tag} is no encoding of telemetry values"))),
    };
    if specials.is_empty() {
        return Ok(values);
    }
    let mut all = Vec::with_capacity(n);
    let mut values = values.into_iter();
    for run in specials {
        all.extend(values.by_ref().take(run.before));
        all.extend(std::iter::repeat_n(f64::from_bits(run.bits), run.len));
    }
    all.extend(values);
    Ok(all)
}

/// What no integer stands for: no finite number, or zero with a sign.
fn is_special(bits: u64) -> bool {
    bits == 1 << 63 || !f64::from_bits(bits).is_finite()
}

struct Run {
    before: usize,
    len: usize,
    bits: u64,
}

fn put_specials(out: &mut Vec<u8>, bits: &[u64]) {
    let mut runs: Vec<Run> = Vec::new();
    let mut before = 0;
    for run in bits.chunk_by(|a, b| a == b || !(is_special(*a) || is_special(*b))) {
        if is_special(run[0]) {
            runs.push(Run { before, len: run.len(), bits: run[0] });
            before = 0;
        } else {
            before += run.len();
        }
    }
    put_varint(out, runs.len() as u64);
    for run in runs {
        put_varint(out, run.before as u64);
        put_varint(out, run.len as u64);
        out.extend_from_slice(&run.bits.to_le_bytes());
    }
}

fn take_specials(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<Run>> {
    let count = cursor.varint()?;
    let mut runs = Vec::new();
    let mut left = n;
    for _ in 0..count {
        let mut length = || Ok::<_, StoreError>(usize::try_from(cursor.varint()?).unwrap_or(usize::MAX));
        let (before, len) = (length()?, length()?);
        left = left
            .checked_sub(before)
            .and_then(|left| left.checked_sub(len))
            .filter(|_| len > 0)
            .ok_or_else(|| StoreError::corrupt("a telemetry chunk counts its values wrongly"))?;
        runs.push(Run { before, len, bits: u64::from_le_bytes(cursor.array()?) });
    }
    Ok(runs)
}

/// With how few decimal digits all values can be written so that the very same bits come back, and the integers.
fn common_digits(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut digits = 0_usize;
    for value in values {
        while scaled(*value, digits).is_none() {
            digits += 1;
            if digits > DIGITS {
                return None;
            }
        }
    }
    let ints: Option<Vec<i64>> = values.iter().map(|value| scaled(*value, digits)).collect();
    Some((u8::try_from(digits).ok()?, ints?))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "bounded, and compared back"
)]
fn scaled(value: f64, digits: usize) -> Option<i64> {
    let power = POWERS[digits];
    let scaled = value * power;
    if scaled.is_nan() || scaled.abs() >= EXACT {
        return None;
    }
    // Rounded by hand: the call of the library takes longer than all the rest here.
    let whole = (scaled + 0.5_f64.copysign(scaled)) as i64;
    ((whole as f64 / power).to_bits() == value.to_bits()).then_some(whole)
}

/// `pco` finds floats that were narrower once; changes when they are smaller than the values' own spread.
fn floats(values: &[f64]) -> ChunkConfig {
    let order = |v: &f64| {
        let bits = v.to_bits().cast_signed();
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    };
    let middle = values.get(values.len() / 2).map_or(0, order);
    let plain = spread(values.iter().map(|v| order(v).wrapping_sub(middle)));
    let changes = spread(values.windows(2).map(|w| order(&w[1]).wrapping_sub(order(&w[0]))));
    let delta = if changes < plain { DeltaSpec::TryConsecutive(1) } else { DeltaSpec::NoOp };
    ChunkConfig::default().with_compression_level(6).with_mode_spec(ModeSpec::Auto).with_delta_spec(delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => (-20_000_i32..20_000).prop_map(|w| (f64::from(w) / 1e2).to_bits()),
            2 => (0..3_u32).prop_map(|w| f64::from(w).to_bits()),
            1 => any::<u64>(),
            1 => Just(0x7ff0_0000_0000_0002),
            1 => Just(f64::INFINITY.to_bits()),
            1 => Just((-0.0_f64).to_bits()),
            1 => Just(f64::MAX.to_bits()),
        ]
    }

    fn columns(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        put_values(&mut out, values).unwrap();
        out
    }

    proptest! {
        #[test]
        fn values_come_back_bit_for_bit(mixed in prop::collection::vec(bits(), 0..300), keep in 1..7_usize) {
            // The first of them alone, so that columns of a single kind are met too.
            for values in [&mixed[..], &mixed[..mixed.len() / keep]] {
                let bytes = columns(values);
                let back = take_values(&mut Cursor(&bytes), values.len()).unwrap();
                prop_assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values);
            }
        }

        #[test]
        fn decimals_and_counters_come_back(start in -1e6..1e6_f64, steps in prop::collection::vec(-5..500_i64, 1..300), digits in 0..=6_usize) {
            let mut whole = start as i64;
            let values: Vec<u64> = steps.iter().map(|s| { whole += s; (whole as f64 / POWERS[digits]).to_bits() }).collect();
            let bytes = columns(&values);
            prop_assert!(bytes[0] != FLOATS || values.len() < 3, "decimals are integers");
            let back = take_values(&mut Cursor(&bytes), values.len()).unwrap();
            prop_assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values);
        }

        #[test]
        fn times_come_back(mut times in prop::collection::vec(any::<i64>(), 0..200), step in 1..100_000_i64) {
            for _ in 0..2 {
                let mut out = Vec::new();
                put_times(&mut out, &times).unwrap();
                prop_assert_eq!(&take_ints(&mut Cursor(&out), times.len()).unwrap(), &times);
                // And once more near a grid, as scrapes are.
                times = times.iter().zip(0_i64..).map(|(t, i)| i * step + (t & 7)).collect();
            }
        }

        #[test]
        fn damaged_columns_are_reported_and_never_panic(values in prop::collection::vec(bits(), 1..300), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut bytes = columns(&values);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(back) = take_values(&mut Cursor(&bytes), values.len()) {
                prop_assert_eq!(back.len(), values.len());
            }
        }
    }

    #[test]
    fn regular_times_and_equal_values_take_a_few_bytes() {
        let mut out = Vec::new();
        put_times(&mut out, &(0..500).map(|i| 1_700_000_000_000 + i * 15_000).collect::<Vec<_>>()).unwrap();
        put_values(&mut out, &[1.5_f64.to_bits(); 500]).unwrap();
        assert!(out.len() < 25, "{}", out.len());
    }
}
