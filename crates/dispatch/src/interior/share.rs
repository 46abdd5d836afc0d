//! Parts dealt with together, and everything that the search knows about them.

use super::Reach;
use super::band::Band;
use super::part::{Left, Part, SLACK};
use crate::lp::Lp;

/// Products of variables and multipliers further than this factor from the centre are corrected.
const NARROW: f64 = 0.1;

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
    /// Weights of the variables in the normal equations.
    theta: Vec<f64>,
    /// What costs miss. This and what follows in single precision is what remains to be corrected: what it is rounded by comes
    /// up again at the next look, and it would be a tenth of all memory otherwise.
    costs: Vec<f32>,
    /// What products are to miss the centre by.
    lower: Vec<f32>,
    upper: Vec<f32>,
    /// The direction that is taken, with that of the multipliers of bounds, and the one that was found last.
    step: Direction,
    step_z: Vec<f32>,
    step_q: Vec<f32>,
    found: Direction,
    /// Room and cost of each variable, here beside what else is read with them.
    room: Vec<f64>,
    cost: Vec<f64>,
}

impl Share {
    pub(super) fn new(parts: Vec<Part>, lp: &Lp, sides: &[f64]) -> Self {
        let side: Vec<f64> = parts.iter().flat_map(|part| &part.rows).map(|&row| sides[row]).collect();
        let n = parts.iter().map(|part| part.columns.len()).sum();
        let (mut cost, mut room) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for (price, most) in parts.iter().flat_map(|part| part.costs(lp)) {
            cost.push(price);
            room.push(most);
        }
        let rows = side.len();
        let (zero, single) = (vec![0.0; n], vec![0.0; n]);
        Self {
            bands: parts.iter().map(|part| Band::new(part.rows.len(), part.reach)).collect(),
            meets: parts.iter().map(|part| vec![0.0; part.meets.len()]).collect(),
            missing: side.clone(),
            side,
            x: zero.clone(),
            y: vec![0.0; rows],
            z: zero.clone(),
            q: zero.clone(),
            theta: zero,
            costs: single.clone(),
            lower: single.clone(),
            upper: single.clone(),
            step: Direction::new(n, rows),
            step_z: single.clone(),
            step_q: single,
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

    /// Multipliers such that all products are equal: variables are weighed by how far they are from their bounds.
    pub(super) fn even(&mut self, centre: f64) {
        for (i, &room) in self.room.iter().enumerate() {
            self.z[i] = centre / self.x[i];
            self.q[i] = if room.is_finite() { centre / (room - self.x[i]) } else { 0.0 };
        }
    }

    /// Goes along the direction taken with the variables alone.
    pub(super) fn go_for_rows(&mut self, length: f64) {
        self.x.iter_mut().zip(&self.step.x).for_each(|(x, step)| *x += length * step);
    }

    /// Gives the bounds what the multipliers of rows leave of the costs. Variables whose product with it would be more than `far`
    /// times the centre come nearer to the bound that it belongs to.
    pub(super) fn fit(&mut self, shared: &[f64], centre: f64, far: f64) {
        let Self { parts, x, y, z, q, room, cost, .. } = self;
        Self::each(parts, |_, part, first, row| {
            let own_y = &y[row..];
            part.each(|variable, own, others| {
                let i = first + variable;
                let own: f64 = own.iter().map(|(row, value)| value * own_y[row as usize]).sum();
                let others: f64 = others.iter().map(|(row, value)| value * shared[row as usize]).sum();
                let left = cost[i] - own - others;
                let nearest = far * centre / left.abs();
                if !room[i].is_finite() {
                    x[i] = if left > 0.0 { x[i].min(nearest) } else { x[i] };
                    (z[i], q[i]) = (left.max(centre / x[i]), 0.0);
                    return;
                }
                let above = if left < 0.0 { (room[i] - x[i]).min(nearest) } else { room[i] - x[i] };
                x[i] = if left > 0.0 { x[i].min(nearest) } else { room[i] - above };
                let least = centre / x[i].max(room[i] - x[i]);
                (z[i], q[i]) = (left.max(0.0) + least, (-left).max(0.0) + least);
            });
        });
    }

    /// Calls for each part with its variables, and the multipliers of its rows.
    pub(super) fn each_part(&self, mut call: impl FnMut(&Part, &[f64], &[f64])) {
        let Self { parts, x, y, .. } = self;
        Self::each(parts, |_, part, first, row| {
            call(part, &x[first..first + part.columns.len()], &y[row..row + part.rows.len()]);
        });
    }

    /// The same to write them, with the room of each variable.
    pub(super) fn each_part_mut(&mut self, mut call: impl FnMut(&Part, &[f64], &mut [f64], &mut [f64])) {
        let Self { parts, room, x, y, .. } = self;
        Self::each(parts, |_, part, first, row| {
            let here = first..first + part.columns.len();
            call(part, &room[here.clone()], &mut x[here], &mut y[row..row + part.rows.len()]);
        });
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
                for (row, value) in own.iter() {
                    missing[row as usize] -= value * x[i];
                    along += value * own_y[row as usize];
                }
                for (row, value) in others.iter() {
                    look.rows[row as usize] += value * x[i];
                    along += value * shared[row as usize];
                }
                let left = cost - along - z[i] + q[i];
                costs[i] = left as f32;
                // Of one division, which take most of this loop: 1 / (z / x + q / above).
                let above = if q[i] > 0.0 { room[i] - x[i] } else { 1.0 };
                let (lower, upper) = (z[i] * x[i], q[i] * above);
                theta[i] = x[i] * above / (z[i] * above + q[i] * x[i]);
                look.products += lower + upper;
                look.objective += cost * x[i];
                look.worst_cost = look.worst_cost.max(left.abs());
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
                let (dz, dq) = (f64::from(step_z[i]), f64::from(step_q[i]));
                let (below, over) = match push {
                    Push::Rows | Push::Costs | Push::Straight => (0.0, 0.0),
                    Push::Second { .. } => (step.x[i] * dz, -step.x[i] * dq),
                    Push::Outliers(aim) => {
                        let after = x[i] + aim.primal * step.x[i];
                        (
                            f64::from(lower[i]) - aim.outlier(after * (z[i] + aim.dual * dz)),
                            f64::from(upper[i]) - aim.outlier((room[i] - after) * (q[i] + aim.dual * dq)),
                        )
                    }
                };
                (lower[i], upper[i]) = (below as f32, over as f32);
                let wish = match push {
                    Push::Rows => 0.0,
                    Push::Costs => cost[i],
                    _ => {
                        let above = room[i] - x[i];
                        let upper =
                            if q[i] > 0.0 { (centre - f64::from(upper[i])) / above - q[i] } else { 0.0 };
                        f64::from(costs[i]) + z[i] - (centre - f64::from(lower[i])) / x[i] + upper
                    }
                };
                let moved = theta[i] * wish;
                // Until the multipliers are known.
                found.x[i] = moved;
                own.iter().for_each(|(row, value)| rows[row as usize] += value * moved);
                others.iter().for_each(|(row, value)| sums[row as usize] += value * moved);
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
                let own = own.iter().map(|(row, value)| value * rows[row as usize]).sum::<f64>();
                let others = others.iter().map(|(row, value)| value * shared[row as usize]).sum::<f64>();
                let dx = theta[i] * (own + others) - found.x[i];
                found.x[i] = dx;
                until(&mut reach.primal, x[i], dx);
                // Multipliers and their changes are taken by what they are multiplied with.
                let product = z[i] * x[i];
                until(&mut reach.dual, product, centre - f64::from(lower[i]) - z[i] * dx - product);
                if q[i] > 0.0 {
                    let above = room[i] - x[i];
                    let product = q[i] * above;
                    until(&mut reach.primal, above, -dx);
                    until(&mut reach.dual, product, centre - f64::from(upper[i]) + q[i] * dx - product);
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
            step_z[i] = ((centre - f64::from(lower[i]) - z[i] * step.x[i]) / x[i] - z[i]) as f32;
            if q[i] > 0.0 {
                let pull = centre - f64::from(upper[i]) + q[i] * step.x[i];
                step_q[i] = (pull / (room[i] - x[i]) - q[i]) as f32;
            }
        }
    }

    /// The products after a step of these lengths.
    pub(super) fn products_after(&self, primal: f64, dual: f64) -> f64 {
        let one = |i: usize| {
            let x = self.x[i] + primal * self.step.x[i];
            let (z, q) = (dual * f64::from(self.step_z[i]), dual * f64::from(self.step_q[i]));
            let upper = if self.q[i] > 0.0 { (self.room[i] - x) * (self.q[i] + q) } else { 0.0 };
            x * (self.z[i] + z) + upper
        };
        (0..self.x.len()).map(one).sum()
    }

    /// Goes; whether all values are finite.
    pub(super) fn go(&mut self, primal: f64, dual: f64) -> bool {
        go(&mut self.x, &self.step.x, primal)
            & go(&mut self.y, &self.step.y, dual)
            & go(&mut self.z, &self.step_z, dual)
            & go(&mut self.q, &self.step_q, dual)
    }

    /// Adds what columns have above their lower bounds, and writes multipliers of rows.
    pub(super) fn tell(&self, columns: &mut [f64], dual: &mut [f64]) {
        let all = self.parts.iter().flat_map(|part| &part.columns);
        for ((&column, x), &room) in
            all.zip(&self.x).zip(&self.room).filter(|((column, _), _)| **column != SLACK)
        {
            columns[column as usize] += x.clamp(0.0, room);
        }
        let rows = self.parts.iter().flat_map(|part| &part.rows);
        rows.zip(&self.y).for_each(|(&row, &y)| dual[row] = y);
    }
}

/// Adds a step of this length; whether all values are finite.
fn go<T: Copy + Into<f64>>(values: &mut [f64], step: &[T], by: f64) -> bool {
    values.iter_mut().zip(step).for_each(|(value, &step)| *value += by * step.into());
    values.iter().all(|value| value.is_finite())
}
