//! `topk` and `bottomk`: the series with the greatest or least values, under their own labels.

use std::cmp::Ordering;

use super::aggregate::Groups;
use super::{ABSENT, Evaluation, Row, is_present};

impl Evaluation<'_> {
    /// The `k[step]` rows of each group with the greatest (or least) values. NaN comes last, of equal values the first.
    pub(super) fn top(&self, rows: Vec<Row>, groups: &Groups, k: &[usize], greatest: bool) -> Vec<Row> {
        let mut chosen: Vec<Option<Vec<f64>>> = vec![None; rows.len()];
        let mut order: Vec<usize> = Vec::new();
        let mut ranked: Vec<(usize, f64)> = Vec::new();
        for members in groups.members() {
            for (step, k) in k.iter().enumerate().filter(|(_, k)| **k > 0) {
                ranked.clear();
                let present = members.iter().map(|row| (*row, rows[*row].values[step]));
                ranked.extend(present.filter(|(_, v)| is_present(*v)));
                select(&mut ranked, *k, greatest);
                for (row, v) in &ranked {
                    let values = chosen[*row].get_or_insert_with(|| {
                        order.push(*row);
                        vec![ABSENT; rows[*row].values.len()]
                    });
                    values[step] = *v;
                }
            }
        }
        let row = |index: usize| {
            chosen[index].take().map(|values| Row { labels: rows[index].labels.clone(), values })
        };
        order.into_iter().filter_map(row).collect()
    }
}

/// Leaves the first `k` in order of rank.
fn select(ranked: &mut Vec<(usize, f64)>, k: usize, greatest: bool) {
    let compare = |a: &(usize, f64), b: &(usize, f64)| {
        let by_value = match (a.1.is_nan(), b.1.is_nan()) {
            (false, false) if greatest => b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal),
            (false, false) => a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal),
            (a_nan, b_nan) => a_nan.cmp(&b_nan),
        };
        by_value.then(a.0.cmp(&b.0))
    };
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, compare);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(compare);
}
