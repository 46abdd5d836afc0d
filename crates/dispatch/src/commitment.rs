//! Unit commitment: generators as columns and rows of the programme.
//!
//! The three-variable formulation: whether it is on, comes on, goes off. Rows on shortest runs and rests are those of D. Rajan and
//! S. Takriti ("Minimum up/down polytopes of the unit commitment problem with start-up costs", IBM Research Report RC23628, 2005).

use crate::generator::Generator;
use crate::model::Builder;
use crate::problem::Problem;

/// Columns of one generator, per step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commitment {
    /// Whether it is on.
    pub(crate) on: Vec<usize>,
    /// Power in the pieces of its curve above the least power.
    pub(crate) pieces: Vec<Vec<usize>>,
}

/// Rows of one generator, per step; those that nothing needs are absent.
struct Rows {
    /// On, less on before, less started, plus stopped.
    change: Vec<usize>,
    /// Power above the least, less the room for it.
    room: Vec<usize>,
    rise: Vec<Option<usize>>,
    fall: Vec<Option<usize>>,
    /// Starts that still bind, less on.
    run: Vec<Option<usize>>,
    /// Stops that still bind, plus on. Both count those of the step itself, so that none starts and stops at once.
    rest: Vec<usize>,
}

impl Builder<'_> {
    pub(crate) fn generators(&mut self) {
        for g in 0..self.problem.generators.len() {
            let generator = self.problem.generators[g].clone();
            let rows = self.commitment_rows(&generator);
            let commitment = self.commitment(&generator, &rows);
            self.built.generators.push(commitment);
        }
    }

    fn commitment_rows(&mut self, generator: &Generator) -> Rows {
        let problem = self.problem;
        let (n, lp) = (problem.len(), &mut self.built.lp);
        let before = if generator.before.on { 1.0 } else { 0.0 };
        let power = power_before(problem, generator);
        let rising = |t: usize| {
            generator.edges(hours(problem, t)).0.min(ramps(problem, generator, t).0) < generator.most()
        };
        let falling = |t: usize| {
            let (_, down) = ramps(problem, generator, t);
            generator.is_available(t) && generator.edges(hours(problem, t)).1.min(down) < generator.most()
        };
        let first = |t: usize, side: f64| if t == 0 { side } else { 0.0 };
        let least = f64::NEG_INFINITY;
        Rows {
            change: (0..n).map(|t| lp.add_row(first(t, before), first(t, before))).collect(),
            room: (0..n).map(|_| lp.add_row(least, 0.0)).collect(),
            rise: (0..n)
                .map(|t| {
                    let side = first(t, power + before * ramps(problem, generator, t).0);
                    rising(t).then(|| lp.add_row(least, side))
                })
                .collect(),
            fall: (0..n).map(|t| falling(t).then(|| lp.add_row(least, first(t, -power)))).collect(),
            run: (0..n).map(|t| generator.is_available(t).then(|| lp.add_row(least, 0.0))).collect(),
            rest: (0..n).map(|_| lp.add_row(least, 1.0)).collect(),
        }
    }

    fn commitment(&mut self, generator: &Generator, rows: &Rows) -> Commitment {
        let bound = generator.bound_until(self.problem);
        let mut commitment = Commitment::default();
        for t in 0..self.problem.len() {
            // Power counts in the rows of this step and, the other way round, in those of the next one.
            let change = |of: &[Option<usize>], sign: f64| {
                let next = of.get(t + 1).copied().flatten();
                of[t].map(|row| (row, sign)).into_iter().chain(next.map(|row| (row, -sign)))
            };
            let ramp: Vec<(usize, f64)> = change(&rows.rise, 1.0).chain(change(&rows.fall, -1.0)).collect();
            commitment.on.push(self.on(generator, rows, &ramp, t, t < bound));
            self.started(generator, rows, t);
            self.stopped(generator, rows, t);
            commitment.pieces.push(self.pieces(generator, rows, &ramp, t));
        }
        commitment
    }

    /// Whether it is on in a step; `bound`: whether it has to stay as it was before.
    fn on(
        &mut self,
        generator: &Generator,
        rows: &Rows,
        ramp: &[(usize, f64)],
        t: usize,
        bound: bool,
    ) -> usize {
        let (problem, h) = (self.problem, self.hours(t));
        let least = generator.least();
        let mut entries: Vec<(usize, f64)> = ramp.iter().map(|&(row, sign)| (row, sign * least)).collect();
        entries.extend(self.in_balance(&generator.id, t, least));
        entries.extend([(rows.change[t], 1.0), (rows.room[t], least - generator.most())]);
        entries.extend(rows.change.get(t + 1).map(|&row| (row, -1.0)));
        entries.extend(rows.fall[t].map(|row| (row, -ramps(problem, generator, t).1)));
        if let Some(&Some(row)) = rows.rise.get(t + 1) {
            entries.push((row, -ramps(problem, generator, t + 1).0));
        }
        entries.extend(rows.run[t].map(|row| (row, -1.0)));
        entries.push((rows.rest[t], 1.0));
        let (low, high) = match (generator.is_available(t), bound) {
            (false, _) => (0.0, 0.0),
            (true, true) if generator.before.on => (1.0, 1.0),
            (true, true) => (0.0, 0.0),
            (true, false) => (0.0, 1.0),
        };
        let cost = generator.idle_cost(problem.connection.carbon_price) * h;
        let column = self.column(cost, 0.0, low, high, &summed(entries));
        self.built.lp.integer[column] = true;
        column
    }

    fn started(&mut self, generator: &Generator, rows: &Rows, t: usize) {
        let (start, _) = generator.edges(self.hours(t));
        let mut entries = vec![(rows.change[t], -1.0)];
        entries.extend(rows.rise[t].map(|row| (row, -start)));
        let run = bound_by(self.problem, generator, t, true);
        entries.extend(run.filter_map(|later| rows.run[later]).map(|row| (row, 1.0)));
        self.column(generator.start_cost.get(), 0.0, 0.0, 1.0, &entries);
    }

    fn stopped(&mut self, generator: &Generator, rows: &Rows, t: usize) {
        let (_, stop) = generator.edges(self.hours(t));
        let mut entries = vec![(rows.change[t], 1.0)];
        entries.extend(rows.fall[t].map(|row| (row, -stop)));
        entries.extend(bound_by(self.problem, generator, t, false).map(|later| (rows.rest[later], 1.0)));
        self.column(0.0, 0.0, 0.0, 1.0, &entries);
    }

    /// Power in the pieces of its curve above the least power.
    fn pieces(&mut self, generator: &Generator, rows: &Rows, ramp: &[(usize, f64)], t: usize) -> Vec<usize> {
        let mut entries = ramp.to_vec();
        entries.extend(self.in_balance(&generator.id, t, 1.0));
        entries.push((rows.room[t], 1.0));
        let (h, pieces) = (self.hours(t), generator.pieces(self.problem.connection.carbon_price));
        pieces.into_iter().map(|(width, price)| self.column(price * h, 0.0, 0.0, width, &entries)).collect()
    }
}

fn hours(problem: &Problem, t: usize) -> f64 {
    problem.steps[t].duration.get()
}

/// Ramps that are not above the whole power: more says nothing, and infinity is no coefficient.
fn ramps(problem: &Problem, generator: &Generator, t: usize) -> (f64, f64) {
    let (up, down) = generator.ramps(hours(problem, t));
    (up.min(generator.most()), down.min(generator.most()))
}

/// The power before the first step, such that the first step can follow it.
fn power_before(problem: &Problem, generator: &Generator) -> f64 {
    if !generator.before.on {
        return 0.0;
    }
    let (_, down) = ramps(problem, generator, 0);
    generator.before.power.as_kw().clamp(generator.least(), (generator.most() + down).max(generator.least()))
}

/// Steps in which a start, or a stop, in step `t` still binds, the step itself among them.
fn bound_by<'a>(
    problem: &'a Problem,
    generator: &'a Generator,
    t: usize,
    start: bool,
) -> impl Iterator<Item = usize> + 'a {
    let least = if start { generator.min_up } else { generator.min_down };
    (t..problem.len())
        // A run that was broken off binds no longer.
        .take_while(move |&later| !start || generator.is_available(later))
        .take_while(move |&later| Generator::bound_since(problem, later, least) <= t)
}

/// Entries with those of the same row added up.
fn summed(mut entries: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    entries.sort_by_key(|&(row, _)| row);
    entries
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| (same[0].0, same.iter().map(|entry| entry.1).sum()))
        .collect()
}
