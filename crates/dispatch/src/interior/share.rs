//! Parts of a programme and everything that the search knows about them.

use super::Reach;
use super::band::Band;

/// Products of variables and multipliers further than this factor from the centre are corrected.
const NARROW: f64 = 0.1;

/// A variable of the programme in equations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variable {
    /// Its column; none for slack.
    pub(super) column: Option<u32>,
    pub(super) cost: f64,
    pub(super) room: f64,
}

/// Variables that belong together, with the rows that only they have.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// Of each variable: its column, its cost, its room.
    columns: Vec<Option<u32>>,
    cost: Vec<f64>,
    room: Vec<f64>,
    /// Their entries in own rows and in shared ones, one variable after the other, with the ends of each.
    own: Vec<(u32, f64)>,
    shared: Vec<(u32, f64)>,
    ends: Vec<(u32, u32)>,
    /// Its rows in their order, as rows of the programme.
    pub(super) rows: Vec<usize>,
    /// How far from the diagonal its normal equations reach.
    reach: usize,
    /// Where own rows meet shared ones: shared row, own row; sorted.
    meets: Vec<(u32, u32)>,
    /// The places among `meets` of all pairs of entries of the variables, in their order.
    places: Vec<u32>,
}

impl Part {
    /// Adds a variable; see [`Part::close`].
    pub(super) fn push(&mut self, variable: Variable, own: &[(u32, f64)], shared: &[(u32, f64)]) {
        self.columns.push(variable.column);
        self.cost.push(variable.cost);
        self.room.push(variable.room);
        for &(a, _) in own {
            self.reach = own.iter().fold(self.reach, |reach, &(b, _)| reach.max(a.abs_diff(b) as usize));
            self.meets.extend(shared.iter().map(|&(row, _)| (row, a)));
        }
        self.own.extend_from_slice(own);
        self.shared.extend_from_slice(shared);
        self.ends.push((self.own.len() as u32, self.shared.len() as u32));
    }

    /// To be called after the last variable.
    pub(super) fn close(&mut self) {
        let pairs = std::mem::take(&mut self.meets);
        self.meets.clone_from(&pairs);
        self.meets.sort_unstable();
        self.meets.dedup();
        let place = |pair: &(u32, u32)| self.meets.partition_point(|other| other < pair) as u32;
        self.places = pairs.iter().map(place).collect();
        self.own.shrink_to_fit();
        self.shared.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.columns.shrink_to_fit();
        self.meets.shrink_to_fit();
    }

    /// Calls with each variable and its entries in own rows and in shared ones.
    fn each(&self, mut call: impl FnMut(usize, &[(u32, f64)], &[(u32, f64)])) {
        let (mut own, mut shared) = (0, 0);
        for (variable, &(own_end, shared_end)) in self.ends.iter().enumerate() {
            let ends = (own_end as usize, shared_end as usize);
            call(variable, &self.own[own..ends.0], &self.shared[shared..ends.1]);
            (own, shared) = ends;
        }
    }

    /// Writes its normal equations into a band and `left`, and takes out of `left` what it meets.
    fn eliminate(&self, theta: &[f64], band: &mut Band, meets: &mut [f64], left: &mut Left<'_>) {
        band.clear();
        meets.fill(0.0);
        let mut places = self.places.iter();
        self.each(|variable, own, shared| {
            let weight = theta[variable];
            for &(a, value) in own {
                let weighed = weight * value;
                for &(b, other) in own.iter().filter(|(b, _)| *b <= a) {
                    band.add(a as usize, b as usize, weighed * other);
                }
                for (&(_, other), &place) in shared.iter().zip(places.by_ref()) {
                    meets[place as usize] += weighed * other;
                }
            }
            for &(a, value) in shared {
                for &(b, other) in shared.iter().filter(|(b, _)| *b <= a) {
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
struct Left<'a> {
    values: &'a mut [f64],
    m: usize,
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

/// Where a direction is to bring the products of variables and multipliers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Push {
    /// To where they are: rows alone come into order.
    Rows,
    /// To where they are, with no row missing anything: the multipliers that fit the costs best.
    Costs,
    /// To zero.
    Straight,
    /// To the centre, with the products of the straight direction taken into account.
    Second {
        /// The product that all are to have.
        centre: f64,
    },
    /// As before, and those that would come out far from the centre nearer to it.
    Outliers(Aim),
}

/// What a correction hopes to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) centre: f64,
    /// Length of the step of variables and of multipliers.
    pub(super) primal: f64,
    pub(super) dual: f64,
}

impl Aim {
    /// By how much a product is to be moved towards the centre.
    fn outlier(&self, product: f64) -> f64 {
        let wanted = product.clamp(NARROW * self.centre, self.centre / NARROW);
        (wanted - product).max(-self.centre / NARROW)
    }
}

impl Push {
    const fn centre(self) -> f64 {
        match self {
            Self::Rows | Self::Costs | Self::Straight => 0.0,
            Self::Second { centre } | Self::Outliers(Aim { centre, .. }) => centre,
        }
    }
}

/// A direction of variables and of multipliers of own rows.
#[derive(Clone, Debug, Default)]
struct Direction {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Direction {
    fn new(variables: usize, rows: usize) -> Self {
        Self { x: vec![0.0; variables], y: vec![0.0; rows] }
    }
}

/// What was seen of the parts of a share.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// What is left of the normal equations in the shared rows, and the sums of these rows.
    pub(super) left: Vec<f64>,
    pub(super) rows: Vec<f64>,
    pub(super) products: f64,
    pub(super) objective: f64,
    pub(super) worst_row: f64,
    pub(super) worst_cost: f64,
    pub(super) largest_side: f64,
    pub(super) largest_cost: f64,
}

impl Look {
    pub(super) fn add(&mut self, other: &Self) {
        let add = |a: &mut [f64], b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.left, &other.left);
        add(&mut self.rows, &other.rows);
        self.products += other.products;
        self.objective += other.objective;
        self.worst_row = self.worst_row.max(other.worst_row);
        self.worst_cost = self.worst_cost.max(other.worst_cost);
        self.largest_side = self.largest_side.max(other.largest_side);
        self.largest_cost = self.largest_cost.max(other.largest_cost);
    }
}

/// Parts, dealt with one after the other.
#[derive(Clone, Debug)]
pub(super) struct Share {
    parts: Vec<Part>,
    bands: Vec<Band>,
    /// Values at the `meets` of each part.
    meets: Vec<Vec<f64>>,
    /// Sides of own rows, and what is missing there.
    side: Vec<f64>,
    missing: Vec<f64>,
    /// Variables, multipliers of own rows, and of lower and upper bounds; the latter are zero where there is no bound.
    pub(super) x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
    q: Vec<f64>,
    /// What costs miss, weights of the variables in the normal equations.
    costs: Vec<f64>,
    theta: Vec<f64>,
    /// What products are to miss the centre by.
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// The direction that is taken, with that of the multipliers of bounds, and the one that was found last.
    step: Direction,
    step_z: Vec<f64>,
    step_q: Vec<f64>,
    found: Direction,
    /// Room and cost of each variable, here beside what else is read with them.
    room: Vec<f64>,
    cost: Vec<f64>,
}

impl Share {
    pub(super) fn new(mut parts: Vec<Part>, sides: &[f64]) -> Self {
        let side: Vec<f64> = parts.iter().flat_map(|part| &part.rows).map(|&row| sides[row]).collect();
        let mut all = |of: fn(&mut Part) -> Vec<f64>| -> Vec<f64> { parts.iter_mut().flat_map(of).collect() };
        let (cost, room) =
            (all(|part| std::mem::take(&mut part.cost)), all(|part| std::mem::take(&mut part.room)));
        let (n, rows) = (cost.len(), side.len());
        let zero = vec![0.0; n];
        Self {
            bands: parts.iter().map(|part| Band::new(part.rows.len(), part.reach)).collect(),
            meets: parts.iter().map(|part| vec![0.0; part.meets.len()]).collect(),
            missing: side.clone(),
            side,
            x: zero.clone(),
            y: vec![0.0; rows],
            z: zero.clone(),
            q: zero.clone(),
            costs: zero.clone(),
            theta: zero.clone(),
            lower: zero.clone(),
            upper: zero.clone(),
            step: Direction::new(n, rows),
            step_z: zero.clone(),
            step_q: zero,
            found: Direction::new(n, rows),
            room,
            cost,
            parts,
        }
    }

    pub(super) fn bounds(&self) -> f64 {
        self.room.iter().map(|room| if room.is_finite() { 2.0 } else { 1.0 }).sum()
    }

    /// In the middle of all bounds, with multipliers such that variables are weighed by the square of their room.
    pub(super) fn middle(&mut self) {
        for (i, &room) in self.room.iter().enumerate() {
            (self.x[i], self.z[i], self.q[i]) =
                if room.is_finite() { (0.5 * room, room.recip(), room.recip()) } else { (1.0, 1.0, 0.0) };
        }
    }

    /// The costs that are left under the multipliers that were found.
    pub(super) fn reduced(&self) -> impl Iterator<Item = f64> + '_ {
        self.found.x.iter().zip(&self.theta).map(|(x, theta)| -x / theta)
    }

    /// Goes along the direction taken, takes the multipliers that were found, and gives the costs that are left to the bounds.
    pub(super) fn begin(&mut self, length: f64, floor: f64) {
        let reduced: Vec<f64> = self.reduced().collect();
        for (i, cost) in reduced.into_iter().enumerate() {
            self.x[i] += length * self.step.x[i];
            self.z[i] = cost.max(0.0) + floor;
            if self.q[i] > 0.0 {
                self.q[i] = (-cost).max(0.0) + floor;
            } else {
                self.z[i] = cost.max(floor);
            }
        }
        self.y.clone_from(&self.found.y);
    }

    /// Calls for each part with its place among variables and rows.
    fn each(parts: &[Part], mut call: impl FnMut(usize, &Part, usize, usize)) {
        let (mut first, mut row) = (0, 0);
        for (number, part) in parts.iter().enumerate() {
            call(number, part, first, row);
            first += part.columns.len();
            row += part.rows.len();
        }
    }

    /// Sees what rows and costs miss under the multipliers of the shared rows, and eliminates the parts.
    pub(super) fn look(&mut self, shared: &[f64], m: usize) -> Look {
        let mut look = Look { left: vec![0.0; m * m], rows: vec![0.0; m], ..Look::default() };
        self.missing.clone_from(&self.side);
        let Self { parts, bands, meets, missing, x, y, z, q, costs, theta, side, room, cost, .. } = self;
        Self::each(parts, |number, part, first, row| {
            let (own_y, missing) = (&y[row..], &mut missing[row..row + part.rows.len()]);
            part.each(|variable, own, others| {
                let i = first + variable;
                let cost = cost[i];
                let mut along = 0.0;
                for &(row, value) in own {
                    missing[row as usize] -= value * x[i];
                    along += value * own_y[row as usize];
                }
                for &(row, value) in others {
                    look.rows[row as usize] += value * x[i];
                    along += value * shared[row as usize];
                }
                costs[i] = cost - along - z[i] + q[i];
                // Of one division, which take most of this loop: 1 / (z / x + q / above).
                let above = if q[i] > 0.0 { room[i] - x[i] } else { 1.0 };
                let (lower, upper) = (z[i] * x[i], q[i] * above);
                theta[i] = x[i] * above / (z[i] * above + q[i] * x[i]);
                look.products += lower + upper;
                look.objective += cost * x[i];
                look.worst_cost = look.worst_cost.max(costs[i].abs());
                look.largest_cost = look.largest_cost.max(cost.abs());
            });
            look.worst_row = missing.iter().fold(look.worst_row, |most, row| most.max(row.abs()));
            let mut left = Left { values: &mut look.left, m };
            part.eliminate(&theta[first..], &mut bands[number], &mut meets[number], &mut left);
        });
        look.largest_side = side.iter().fold(0.0, |most: f64, side| most.max(side.abs()));
        look
    }

    /// The first half of a direction: what the parts add to the sides of the shared rows.
    pub(super) fn lead(&mut self, push: Push, m: usize) -> Vec<f64> {
        let mut sums = vec![0.0; m];
        let mut own_side = Vec::new();
        let centre = push.centre();
        let Self {
            parts,
            bands,
            meets,
            missing,
            x,
            z,
            q,
            costs,
            theta,
            lower,
            upper,
            found,
            step,
            step_z,
            step_q,
            room,
            cost,
            ..
        } = self;
        Self::each(parts, |number, part, first, row| {
            let rows = &mut found.y[row..row + part.rows.len()];
            if matches!(push, Push::Costs) {
                rows.fill(0.0);
            } else {
                rows.copy_from_slice(&missing[row..row + part.rows.len()]);
            }
            part.each(|variable, own, others| {
                let i = first + variable;
                (lower[i], upper[i]) = match push {
                    Push::Rows | Push::Costs | Push::Straight => (0.0, 0.0),
                    Push::Second { .. } => (step.x[i] * step_z[i], -step.x[i] * step_q[i]),
                    Push::Outliers(aim) => {
                        let after = x[i] + aim.primal * step.x[i];
                        (
                            lower[i] - aim.outlier(after * (z[i] + aim.dual * step_z[i])),
                            upper[i] - aim.outlier((room[i] - after) * (q[i] + aim.dual * step_q[i])),
                        )
                    }
                };
                let wish = match push {
                    Push::Rows => 0.0,
                    Push::Costs => cost[i],
                    _ => {
                        let above = room[i] - x[i];
                        let upper = if q[i] > 0.0 { (centre - upper[i]) / above - q[i] } else { 0.0 };
                        costs[i] + z[i] - (centre - lower[i]) / x[i] + upper
                    }
                };
                let moved = theta[i] * wish;
                // Until the multipliers are known.
                found.x[i] = moved;
                own.iter().for_each(|&(row, value)| rows[row as usize] += value * moved);
                others.iter().for_each(|&(row, value)| sums[row as usize] += value * moved);
            });
            own_side.clear();
            own_side.extend_from_slice(rows);
            bands[number].solve(&mut own_side);
            for (&(shared, own), value) in part.meets.iter().zip(&meets[number]) {
                sums[shared as usize] -= value * own_side[own as usize];
            }
        });
        sums
    }

    /// The second half: the direction from that of the multipliers of the shared rows, and how far it can be gone.
    pub(super) fn follow(&mut self, push: Push, shared: &[f64]) -> Reach {
        let mut reach = Reach { primal: f64::INFINITY, dual: f64::INFINITY };
        // Divides where a bound is nearer than all before, which is rare.
        let until = |longest: &mut f64, value: f64, change: f64| {
            if -change * *longest > value {
                *longest = -value / change;
            }
        };
        let centre = push.centre();
        let Self { parts, bands, meets, x, z, q, theta, lower, upper, found, room, .. } = self;
        Self::each(parts, |number, part, first, row| {
            let rows = &mut found.y[row..row + part.rows.len()];
            for (&(shared_row, own), value) in part.meets.iter().zip(&meets[number]) {
                rows[own as usize] -= value * shared[shared_row as usize];
            }
            bands[number].solve(rows);
            part.each(|variable, own, others| {
                let i = first + variable;
                let own = own.iter().map(|&(row, value)| value * rows[row as usize]).sum::<f64>();
                let others = others.iter().map(|&(row, value)| value * shared[row as usize]).sum::<f64>();
                let dx = theta[i] * (own + others) - found.x[i];
                found.x[i] = dx;
                until(&mut reach.primal, x[i], dx);
                // Multipliers and their changes are taken by what they are multiplied with.
                let product = z[i] * x[i];
                until(&mut reach.dual, product, centre - lower[i] - z[i] * dx - product);
                if q[i] > 0.0 {
                    let above = room[i] - x[i];
                    let product = q[i] * above;
                    until(&mut reach.primal, above, -dx);
                    until(&mut reach.dual, product, centre - upper[i] + q[i] * dx - product);
                }
            });
        });
        reach
    }

    /// Takes the direction that was found last.
    pub(super) fn accept(&mut self, push: Push) {
        let centre = push.centre();
        std::mem::swap(&mut self.step, &mut self.found);
        let Self { x, z, q, lower, upper, step, step_z, step_q, room, .. } = self;
        for i in 0..x.len() {
            step_z[i] = (centre - lower[i] - z[i] * step.x[i]) / x[i] - z[i];
            if q[i] > 0.0 {
                step_q[i] = (centre - upper[i] + q[i] * step.x[i]) / (room[i] - x[i]) - q[i];
            }
        }
    }

    /// The products after a step of these lengths.
    pub(super) fn products_after(&self, primal: f64, dual: f64) -> f64 {
        let one = |i: usize| {
            let x = self.x[i] + primal * self.step.x[i];
            let upper =
                if self.q[i] > 0.0 { (self.room[i] - x) * (self.q[i] + dual * self.step_q[i]) } else { 0.0 };
            x * (self.z[i] + dual * self.step_z[i]) + upper
        };
        (0..self.x.len()).map(one).sum()
    }

    /// Goes; whether all values are finite.
    pub(super) fn go(&mut self, primal: f64, dual: f64) -> bool {
        let add = |values: &mut [f64], step: &[f64], by: f64| {
            values.iter_mut().zip(step).for_each(|(value, step)| *value += by * step);
            values.iter().all(|value| value.is_finite())
        };
        add(&mut self.x, &self.step.x, primal)
            & add(&mut self.y, &self.step.y, dual)
            & add(&mut self.z, &self.step_z, dual)
            & add(&mut self.q, &self.step_q, dual)
    }

    /// Adds what columns have above their lower bounds, and writes multipliers of rows.
    pub(super) fn tell(&self, columns: &mut [f64], dual: &mut [f64]) {
        let all = self.parts.iter().flat_map(|part| &part.columns);
        for ((column, x), &room) in all.zip(&self.x).zip(&self.room) {
            if let Some(column) = column {
                columns[*column as usize] += x.clamp(0.0, room);
            }
        }
        let rows = self.parts.iter().flat_map(|part| &part.rows);
        rows.zip(&self.y).for_each(|(&row, &y)| dual[row] = y);
    }
}
