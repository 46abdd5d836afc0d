//! Variables that belong together, with the rows that only they have.

use super::NO_STEP;
use super::band::Band;
use crate::lp::Lp;

/// A variable of the programme in equations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Variable {
    Column(u32),
    /// What a row leaves, which costs nothing.
    Slack {
        room: f64,
    },
}

/// What a part will hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) variables: usize,
    /// Entries in own and in shared rows.
    pub(super) own: usize,
    pub(super) shared: usize,
}

/// In place of the column of slack.
pub(super) const SLACK: u32 = u32::MAX;

/// Entries in rows, those of many variables one after the other. Rows and values lie apart: together they take 16 bytes for 12.
#[derive(Clone, Debug, Default)]
struct Entries {
    rows: Vec<u32>,
    values: Vec<f64>,
}

impl Entries {
    fn reserve(&mut self, more: usize) {
        self.rows.reserve_exact(more);
        self.values.reserve_exact(more);
    }

    fn extend(&mut self, entries: &[(u32, f64)]) {
        self.rows.extend(entries.iter().map(|entry| entry.0));
        self.values.extend(entries.iter().map(|entry| entry.1));
    }

    fn some(&self, from: usize, count: u16) -> EntriesOf<'_> {
        let range = from..from + usize::from(count);
        EntriesOf { rows: &self.rows[range.clone()], values: &self.values[range] }
    }
}

/// The entries of one variable.
#[derive(Clone, Copy)]
pub(super) struct EntriesOf<'a> {
    rows: &'a [u32],
    values: &'a [f64],
}

impl<'a> EntriesOf<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = (u32, f64)> + 'a {
        self.rows.iter().copied().zip(self.values.iter().copied())
    }
}

/// Variables that belong together, with the rows that only they have.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// The column of each variable, and the rooms of those that are slack.
    pub(super) columns: Vec<u32>,
    slack: Vec<f64>,
    /// Their entries in own rows and in shared ones, one variable after the other, and how many each has.
    own: Entries,
    shared: Entries,
    counts: Vec<(u16, u16)>,
    /// Its rows in their order, as rows of the programme.
    pub(super) rows: Vec<usize>,
    /// How far from the diagonal its normal equations reach.
    pub(super) reach: usize,
    /// Where own rows meet shared ones: shared row, own row; sorted.
    pub(super) meets: Vec<(u32, u32)>,
    /// The places among `meets` of all pairs of entries of the variables, in their order.
    places: Vec<u32>,
}

impl Part {
    pub(super) fn reserve(&mut self, size: Size) {
        self.columns.reserve_exact(size.variables);
        self.counts.reserve_exact(size.variables);
        self.own.reserve(size.own);
        self.shared.reserve(size.shared);
    }

    /// Adds a variable; see [`Part::close`]. None when it has more entries than are counted.
    pub(super) fn push(
        &mut self,
        variable: Variable,
        own: &[(u32, f64)],
        shared: &[(u32, f64)],
    ) -> Option<()> {
        self.counts.push((u16::try_from(own.len()).ok()?, u16::try_from(shared.len()).ok()?));
        self.columns.push(match variable {
            Variable::Column(column) => column,
            Variable::Slack { .. } => SLACK,
        });
        if let Variable::Slack { room } = variable {
            self.slack.push(room);
        }
        self.own.extend(own);
        self.shared.extend(shared);
        Some(())
    }

    /// To be called after the last variable.
    pub(super) fn close(&mut self) {
        let (mut pairs, mut reach) = (Vec::new(), 0);
        self.each(|_, own, shared| {
            for &a in own.rows {
                reach = own.rows.iter().fold(reach, |reach, &b| reach.max(a.abs_diff(b) as usize));
                pairs.extend(shared.rows.iter().map(|&row| (row, a)));
            }
        });
        let mut meets = pairs.clone();
        meets.sort_unstable();
        meets.dedup();
        meets.shrink_to_fit();
        let place = |pair: &(u32, u32)| meets.partition_point(|other| other < pair) as u32;
        self.places = pairs.iter().map(place).collect();
        (self.meets, self.reach) = (meets, reach);
    }

    /// The cost and the room of each variable.
    pub(super) fn costs<'a>(&'a self, lp: &'a Lp) -> impl Iterator<Item = (f64, f64)> + 'a {
        let mut slack = self.slack.iter();
        self.columns.iter().map(move |&column| match column {
            SLACK => (0.0, slack.next().copied().unwrap_or(f64::INFINITY)),
            column => (lp.cost[column as usize], lp.high[column as usize] - lp.low[column as usize]),
        })
    }

    /// Calls with each variable and its entries in own rows and in shared ones.
    pub(super) fn each(&self, mut call: impl FnMut(usize, EntriesOf<'_>, EntriesOf<'_>)) {
        let (mut own, mut shared) = (0, 0);
        for (variable, &(owned, others)) in self.counts.iter().enumerate() {
            call(variable, self.own.some(own, owned), self.shared.some(shared, others));
            own += usize::from(owned);
            shared += usize::from(others);
        }
    }

    /// The step of each variable: the first of the steps of its rows.
    pub(super) fn steps(&self, lp: &Lp, shared: &[usize]) -> impl Iterator<Item = u16> {
        let mut steps = Vec::with_capacity(self.columns.len());
        self.each(|_, own, others| {
            let own = own.rows.iter().map(|&row| lp.step_of(self.rows[row as usize]));
            let others = others.rows.iter().map(|&row| lp.step_of(shared[row as usize]));
            steps.push(own.chain(others).min().unwrap_or(NO_STEP));
        });
        steps.into_iter()
    }

    /// Writes its normal equations into a band and `left`, and takes out of `left` what it meets.
    pub(super) fn eliminate(&self, theta: &[f64], band: &mut Band, meets: &mut [f64], left: &mut Left<'_>) {
        band.clear();
        meets.fill(0.0);
        let mut places = self.places.iter();
        self.each(|variable, own, shared| {
            let weight = theta[variable];
            for (a, value) in own.iter() {
                let weighed = weight * value;
                for (b, other) in own.iter().filter(|(b, _)| *b <= a) {
                    band.add(a as usize, b as usize, weighed * other);
                }
                for (other, &place) in shared.values.iter().zip(places.by_ref()) {
                    meets[place as usize] += weighed * other;
                }
            }
            for (a, value) in shared.iter() {
                for (b, other) in shared.iter().filter(|(b, _)| *b <= a) {
                    left.add(a, b, weight * value * other);
                }
            }
        });
        band.factorise();
        self.take_out(band, meets, left);
    }

    /// Takes what the shared rows meet here out of `left`.
    fn take_out(&self, band: &Band, meets: &[f64], left: &mut Left<'_>) {
        let groups: Vec<&[(u32, u32)]> = self.meets.chunk_by(|a, b| a.0 == b.0).collect();
        let all = groups.len();
        // From which own row on each side is not zero, and down to which one its solution is needed: the lower half of what is
        // left lies in later groups.
        let first: Vec<usize> = groups.iter().map(|group| group[0].1 as usize).collect();
        let mut last = first.clone();
        for g in (1..all).rev() {
            last[g - 1] = last[g - 1].min(last[g]);
        }
        let mut sides = vec![0.0; self.rows.len() * all];
        let mut values = meets.iter();
        for (g, group) in groups.iter().enumerate() {
            for (&(_, own), value) in group.iter().zip(values.by_ref()) {
                sides[own as usize * all + g] = *value;
            }
        }
        band.solve_all(&mut sides, &first, &last);
        // Shared rows that follow each other, as balances do, are a slice.
        let runs = runs(&groups);
        let mut values = meets.iter();
        for (g, group) in groups.iter().enumerate() {
            let row = left.row(group[0].0);
            for (&(_, own), value) in group.iter().zip(values.by_ref()) {
                let solved = &sides[own as usize * all..own as usize * all + g + 1];
                for &(first, begin, end) in runs.iter().take_while(|run| run.1 <= g) {
                    let solved = &solved[begin..end.min(g + 1)];
                    let row = &mut row[first..first + solved.len()];
                    row.iter_mut().zip(solved).for_each(|(sum, solved)| *sum -= value * solved);
                }
            }
        }
    }
}

/// Groups whose shared rows follow each other: the first row, and from which group on up to which.
fn runs(groups: &[&[(u32, u32)]]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let row = group[0].0 as usize;
        match runs.last_mut() {
            Some((first, begin, end)) if *first + g - *begin == row => *end = g + 1,
            _ => runs.push((row, g, g + 1)),
        }
    }
    runs
}

/// The normal equations in the shared rows, the lower half, by rows.
pub(super) struct Left<'a> {
    pub(super) values: &'a mut [f64],
    pub(super) m: usize,
}

impl Left<'_> {
    fn add(&mut self, row: u32, column: u32, value: f64) {
        self.values[row as usize * self.m + column as usize] += value;
    }

    fn row(&mut self, row: u32) -> &mut [f64] {
        let start = row as usize * self.m;
        &mut self.values[start..start + self.m]
    }
}
