//! Columns and rows of what flows through connections and feeders, and of what is charged for it.

use crate::connection::{Charge, Meter, Ramping, Sum};
use crate::model::{Builder, Exclusive};

/// Columns of the flow through a meter in a step: within the limit and above it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) import: usize,
    pub(crate) import_over: Option<usize>,
    pub(crate) export: usize,
    pub(crate) export_over: Option<usize>,
}

impl Flow {
    pub(crate) fn imports(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.import).chain(self.import_over)
    }

    pub(crate) fn exports(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.export).chain(self.export_over)
    }
}

/// Rows of what is charged, by whose multipliers the verifier finds a bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChargeRows {
    /// Of each charge: its id, and a row for each of its sums.
    pub(crate) charges: Vec<(String, Vec<usize>)>,
    /// Of each feeder with a price on ramps: its name, empty for the site's, and a row for each step.
    pub(crate) ramping: Vec<(String, Vec<Option<usize>>)>,
    /// Of the carbon cap.
    pub(crate) carbon: Option<usize>,
}

impl<'a> Builder<'a> {
    /// What flows through every meter, in their order.
    pub(crate) fn exchange(&mut self, exclusive: &Exclusive) {
        for (m, meter) in self.problem.meters().enumerate() {
            let flows = (0..self.problem.len()).map(|t| self.flows(&meter, m, t, exclusive)).collect();
            self.built.grid.push(flows);
            for charge in &meter.connection.charges {
                self.charge(m, charge);
            }
            if let Some(ramping) = &meter.connection.ramping {
                self.ramping(m, meter.id(), ramping);
            }
        }
    }

    fn flows(&mut self, meter: &Meter<'a>, m: usize, t: usize, exclusive: &Exclusive) -> Flow {
        let connection = meter.connection;
        let breach = connection.breach_price.as_per_kwh();
        let (h, [most_in, most_out], row) = (self.hours(t), self.most[m][t], self.built.balance[m][t]);
        let buy = connection.full_import_price(t).as_per_kwh() * h;
        let sell = connection.export_price[t].as_per_kwh() * h;
        let tie = if m == 0 { self.ties.import(t) * h } else { 0.0 };
        let choice = exclusive.grid.contains(&(m, t));
        let choice = choice.then(|| self.choice(most_in, most_out, exclusive.whole));
        let entries = |sign: f64, side: usize| {
            let mut entries = vec![(row, sign)];
            entries.extend(choice.map(|both| both[side]));
            entries
        };
        let (into, out) = (entries(1.0, 0), entries(-1.0, 1));
        let limit = connection.import_limit[t].map_or(most_in, |p| p.as_kw().min(most_in));
        let import = self.column(buy, tie, 0.0, limit, &into);
        let import_over = (limit < most_in).then(|| self.column(buy + breach * h, tie, 0.0, most_in, &into));
        let limit = connection.export_limit[t].map_or(most_out, |p| p.as_kw().min(most_out));
        let export = self.column(-sell, 0.0, 0.0, limit, &out);
        let export_over =
            (limit < most_out).then(|| self.column(-sell + breach * h, 0.0, 0.0, most_out, &out));
        Flow { import, import_over, export, export_over }
    }

    /// One column for what is above the free part, and a row for each sum that it has to cover.
    fn charge(&mut self, m: usize, charge: &Charge) {
        let most = |sum: &Sum| {
            sum.so_far + sum.steps.iter().map(|&(t, weight)| weight * self.most[m][t][0]).sum::<f64>()
        };
        let most = charge.sums.iter().map(most).fold(0.0, f64::max);
        let side = |sum: &Sum| charge.free - sum.so_far;
        let lp = &mut self.built.lp;
        let rows: Vec<usize> =
            charge.sums.iter().map(|sum| lp.add_row(f64::NEG_INFINITY, side(sum))).collect();
        for (sum, &row) in charge.sums.iter().zip(&rows) {
            for &(t, weight) in &sum.steps {
                let flow = self.built.grid[m][t];
                flow.imports().for_each(|column| self.built.lp.append(column, row, weight));
            }
        }
        let entries: Vec<(usize, f64)> = rows.iter().map(|&row| (row, -1.0)).collect();
        self.column(charge.price, 0.0, 0.0, (most - charge.free).max(0.0), &entries);
        self.built.charged.charges.push((charge.id.clone(), rows));
    }

    /// A rise and a fall for each step.
    fn ramping(&mut self, m: usize, id: &str, ramping: &Ramping) {
        let mut rows = Vec::with_capacity(self.problem.len());
        for t in 0..self.problem.len() {
            let before = match (t, ramping.before) {
                (0, None) => {
                    rows.push(None);
                    continue;
                }
                (0, Some(before)) => before.as_kw(),
                _ => 0.0,
            };
            let row = self.built.lp.add_row(before, before);
            let steps = [(Some(t), 1.0), (t.checked_sub(1), -1.0)];
            for (flow, sign) in steps.into_iter().filter_map(|(t, sign)| Some((self.built.grid[m][t?], sign)))
            {
                flow.imports().for_each(|column| self.built.lp.append(column, row, sign));
                flow.exports().for_each(|column| self.built.lp.append(column, row, -sign));
            }
            let most = |t: usize| self.most[m][t][0] + self.most[m][t][1];
            let most = most(t) + t.checked_sub(1).map_or(before.abs(), most);
            for sign in [-1.0, 1.0] {
                self.column(ramping.price, 0.0, 0.0, most, &[(row, sign)]);
            }
            rows.push(Some(row));
        }
        self.built.charged.ramping.push((id.to_owned(), rows));
    }

    /// Emissions of import and of generators against the cap.
    pub(crate) fn carbon_cap(&mut self) {
        let Some(cap) = self.problem.carbon_cap else { return };
        let row = self.built.lp.add_row(f64::NEG_INFINITY, cap.kg);
        let mut most = 0.0;
        for (m, meter) in self.problem.meters().enumerate() {
            for t in (0..self.problem.len()).filter(|&t| cap.counts(t)) {
                let each = meter.connection.carbon_intensity[t].as_kg_per_kwh() * self.hours(t);
                let flow = self.built.grid[m][t];
                flow.imports().for_each(|column| self.built.lp.append(column, row, each));
                most += each * self.most[m][t][0];
            }
        }
        for (generator, columns) in self.problem.generators.iter().zip(&self.built.generators) {
            let counted = columns.on.iter().zip(&columns.pieces).enumerate().filter(|(t, _)| cap.counts(*t));
            for (t, (&on, pieces)) in counted {
                let each = generator.emissions.as_kg_per_kwh() * self.problem.steps[t].duration.get();
                self.built.lp.append(on, row, each * generator.least());
                pieces.iter().for_each(|&column| self.built.lp.append(column, row, each));
                most += each * generator.most();
            }
        }
        self.column(cap.price.as_per_kg(), 0.0, 0.0, most, &[(row, -1.0)]);
        self.built.charged.carbon = Some(row);
    }
}
