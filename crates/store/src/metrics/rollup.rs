//! Downsampled values: what is kept of the samples of a step of five minutes or an hour.

use super::STALE_BITS;
use super::corrupt;
use super::lane::{Dot, Row};
use super::select::Aggregate;
use crate::error::Result;
use crate::telemetry::bytes::Cursor;
use crate::telemetry::columns::{put_times, put_values, take_ints, take_values};

const FORMAT: u8 = 3;
/// The steps, in seconds.
pub(crate) const FIVE_MINUTES: i64 = 300;
pub(crate) const HOUR: i64 = 3600;
pub(crate) const HOUR_MS: i64 = HOUR * 1000;

/// What is kept of the samples within one step; markers of an end are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Time of the last sample.
    pub(crate) time: i64,
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) last: f64,
    /// What was lost by going down, summed: each value that a smaller one follows, that before the step included. A
    /// counter has risen by `drops + last - last before`.
    pub(crate) drops: f64,
}

impl Row for Step {
    fn time(&self) -> i64 {
        self.time
    }

    fn encode(rows: &[Self]) -> Result<Vec<u8>> {
        let mut out = vec![FORMAT];
        put_times(&mut out, &rows.iter().map(|row| row.time).collect::<Vec<_>>())?;
        let columns: [fn(&Self) -> f64; 6] =
            [|r| r.count, |r| r.sum, |r| r.min, |r| r.max, |r| r.last, |r| r.drops];
        for column in columns {
            put_values(&mut out, &rows.iter().map(|row| column(row).to_bits()).collect::<Vec<_>>())?;
        }
        Ok(out)
    }

    fn decode(data: &[u8], n: usize) -> Result<Vec<Self>> {
        let mut cursor = Cursor(data);
        if cursor.byte()? != FORMAT {
            return Err(corrupt("a chunk of downsampled values has an unknown format"));
        }
        let times = take_ints(&mut cursor, n)?;
        let mut column = || take_values(&mut cursor, n);
        let (count, sum, min) = (column()?, column()?, column()?);
        let (max, last, drops) = (column()?, column()?, column()?);
        let row = |i: usize| Self {
            time: times[i],
            count: count[i],
            sum: sum[i],
            min: min[i],
            max: max[i],
            last: last[i],
            drops: drops[i],
        };
        Ok((0..n).map(row).collect())
    }
}

/// The steps of samples in order of time; `before` is the value before the first of them.
pub(crate) fn summarise(dots: &[Dot], step: i64, mut before: Option<f64>) -> Vec<Step> {
    let mut rows: Vec<Step> = Vec::new();
    let mut open = None;
    for dot in dots.iter().filter(|dot| dot.bits != STALE_BITS) {
        let value = f64::from_bits(dot.bits);
        let drop = before.filter(|before| value < *before).unwrap_or(0.0);
        let number = dot.time.div_euclid(step * 1000);
        match rows.last_mut() {
            Some(row) if open == Some(number) => {
                row.time = dot.time;
                row.count += 1.0;
                row.sum += value;
                row.min = row.min.min(value);
                row.max = row.max.max(value);
                row.last = value;
                row.drops += drop;
            }
            _ => rows.push(Step {
                time: dot.time,
                count: 1.0,
                sum: value,
                min: value,
                max: value,
                last: value,
                drops: drop,
            }),
        }
        open = Some(number);
        if !value.is_nan() {
            before = Some(value);
        }
    }
    rows
}

/// Hands out what an aggregate shows of a step; `before` is the point before it.
pub(crate) fn show(
    row: &Step,
    aggregate: Aggregate,
    before: Option<(i64, f64)>,
    mut point: impl FnMut(i64, f64),
) {
    let value = match aggregate {
        Aggregate::Last => row.last,
        Aggregate::Average => row.sum / row.count,
        Aggregate::Sum => row.sum,
        Aggregate::Count => row.count,
        Aggregate::Min => row.min,
        Aggregate::Max => row.max,
        Aggregate::Counter => {
            if let Some((time, last)) = before
                && row.drops > 0.0
                && row.time - time > 2
                && (row.last >= last || row.drops.to_bits() != last.to_bits())
            {
                // Resets within the step do not show by its last value alone: up to all that was lost, then zero.
                point(row.time - 2, row.drops);
                point(row.time - 1, 0.0);
            }
            row.last
        }
    };
    point(row.time, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dots(values: &[f64]) -> Vec<Dot> {
        (0..).zip(values).map(|(i, v)| Dot { time: i * 20_000, bits: v.to_bits() }).collect()
    }

    /// As Prometheus reckons it: what rises, and after a reset all of it.
    fn increase(values: impl IntoIterator<Item = f64>) -> f64 {
        let mut last = None;
        values.into_iter().fold(0.0, |sum, v| {
            let before = last.replace(v);
            sum + before.map_or(0.0, |before| if v < before { v } else { v - before })
        })
    }

    proptest! {
        #[test]
        fn a_downsampled_counter_has_risen_by_as_much(
            steps in prop::collection::vec(prop_oneof![5 => (0..90_u32).prop_map(Some), 1 => Just(None)], 20..200),
        ) {
            let mut value = 0.0;
            let values: Vec<f64> = steps.iter().map(|step| {
                value = step.map_or(0.0, |step| value + f64::from(step));
                value
            }).collect();
            let rows = summarise(&dots(&values), FIVE_MINUTES, None);
            let (mut shown, mut before) = (Vec::new(), None);
            for row in &rows {
                show(row, Aggregate::Counter, before, |_, v| shown.push(v));
                before = Some((row.time, row.last));
            }
            // The first value shown is the last one of the first step.
            let from = (FIVE_MINUTES / 20 - 1) as usize;
            let wanted = increase(values[from..].iter().copied());
            prop_assert_eq!(increase(shown).to_bits(), wanted.to_bits());
        }

        #[test]
        fn steps_come_back(values in prop::collection::vec(any::<f64>(), 1..200)) {
            let rows = summarise(&dots(&values), FIVE_MINUTES, Some(1.0));
            let back = Step::decode(&Step::encode(&rows).unwrap(), rows.len()).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{rows:?}"));
        }
    }

    #[test]
    fn a_step_keeps_what_statistics_need_and_no_marker() {
        let mut dots = dots(&[3.0, 1.0, 2.0]);
        dots.push(Dot { time: 60_000, bits: STALE_BITS });
        let rows = summarise(&dots, FIVE_MINUTES, Some(5.0));
        let wanted = Step { time: 40_000, count: 3.0, sum: 6.0, min: 1.0, max: 3.0, last: 2.0, drops: 8.0 };
        assert_eq!(rows, [wanted]);
    }
}
