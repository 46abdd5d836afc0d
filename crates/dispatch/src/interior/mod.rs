//! An interior-point method for programmes of many small parts behind a few shared rows.
//!
//! A storage has rows of its own, each of which meets its neighbours in time only, and shares with all others one balance for each
//! step. So the normal equations fall apart: each part is a narrow band, which is eliminated in a time linear in its rows for
//! each shared row that it meets, and what is left is one small dense system in the shared rows. Time and memory are linear in
//! the parts. Parts are dealt with in shares, each of which holds everything about its parts, by as many threads as there are
//! processors; what they hand back is added up in their order, so that an answer does not depend on the machine.
//!
//! The method is Mehrotra's predictor and corrector for variables with bounds on both sides (S. Mehrotra, "On the implementation
//! of a primal-dual interior point method", SIAM Journal on Optimization 2, 1992) with the corrections of J. Gondzio ("Multiple
//! centrality corrections in a primal-dual method for linear programming", Computational Optimization and Applications 6, 1996).
//! The answer is a point with its multipliers; what it is worth is told by [`Lp::dual_bound`], which holds for any multipliers.

mod band;
mod part;
mod share;
mod warm;

use std::num::NonZero;

use crate::lp::{Failure, Lp, Point};
use band::{factorise, substitute};
use part::{Part, Size, Variable};
use share::{Aim, Look, Push, Share};
pub(crate) use warm::{Frame, Iterate, NO_STEP};

/// Infeasibility that is left at the most, relative.
const FEASIBLE: f64 = 1e-7;
/// Most steps; a programme that needs more is ill-conditioned.
const MOST_STEPS: u32 = 100;
/// How far towards its bound a variable goes in one step.
const STEP: f64 = 0.9;
/// Multipliers of bounds to begin with, as a multiple of the mean cost that is left.
const BEGIN: f64 = 3.0;
/// Most corrections of one step.
const CORRECTIONS: u32 = 2;
/// How much further a corrected step is to lead; a correction that brings less than a tenth of it is the last one.
const FURTHER: f64 = 0.1;
/// Most rows that parts share: beyond, the dense system in them is no small one.
const MOST_SHARED: usize = 3_000;
/// Shares of the parts. Fixed, so that sums do not depend on the machine.
const SHARES: usize = 16;

/// A programme in equations, `A x = side` with `0 ≤ x ≤ room`, and where the search for its optimum stands.
struct Search {
    /// The parts; the last share holds the variables that are in shared rows only.
    shares: Vec<Share>,
    /// Of the shared rows: as rows of the programme, sides, multipliers.
    shared: Vec<usize>,
    side: Vec<f64>,
    y: Vec<f64>,
    /// Number of bounds.
    bounds: f64,
    /// Rows of the programme.
    rows: usize,
    threads: usize,
}

/// What was seen of a state, all shares together.
struct Seen {
    /// What is missing in the shared rows.
    missing: Vec<f64>,
    /// The factor of the normal equations in the shared rows.
    factor: Vec<f64>,
    look: Look,
}

/// How far variables and multipliers can go along a direction: as a share of it, beyond 1 where there is more room.
#[derive(Clone, Copy, Debug)]
struct Reach {
    primal: f64,
    dual: f64,
}

/// Finds a point of a programme whose rows know the part that they belong to, and the number of steps that it took. Between
/// primal and dual is at the most `distance`, relative to the objective. Zero `threads` are as many as there are processors.
///
/// With what is `kept` of the search before, the search begins where that one stood, and leaves there where it stood itself. When
/// that is no place to begin from after all, it begins anew.
///
/// # Errors
/// When a column meets two parts, a column has no lower bound, or the method does not come to an end: then another method is to
/// be tried.
pub(crate) fn solve(
    lp: &Lp,
    distance: f64,
    threads: usize,
    kept: Option<(Frame<'_>, &mut Option<Iterate>)>,
) -> Result<(Point, u32), Failure> {
    let mut search = Search::new(lp, threads)?;
    let Some((frame, kept)) = kept else {
        search.begin().ok_or(Failure::Solver)?;
        return search.run(lp, distance, MOST_STEPS, |_, _| {});
    };
    let mut in_vain = 0;
    if let Some(before) = kept.take() {
        let begun = search.begin_at(&before, lp, frame).ok_or(Failure::Solver);
        let found = begun.and_then(|()| search.run_kept(lp, distance, before.anew, frame));
        if let Ok((found, stood)) = found {
            *kept = stood.map(|stood| stood.with_anew(before.anew));
            return Ok(found);
        }
        in_vain = before.anew;
    }
    search.begin().ok_or(Failure::Solver)?;
    let ((point, steps), stood) = search.run_kept(lp, distance, MOST_STEPS, frame)?;
    *kept = stood.map(|stood| stood.with_anew(steps));
    Ok((point, in_vain + steps))
}

impl Search {
    fn new(lp: &Lp, threads: usize) -> Result<Self, Failure> {
        let sorted = Sorted::new(lp)?;
        let (shared, mut parts, rest) = (sorted.shared, sorted.parts, sorted.rest);
        let side_of = sides(lp);
        let each = parts.len().div_ceil(SHARES).max(1);
        let mut shares = Vec::with_capacity(SHARES + 1);
        while !parts.is_empty() {
            let others = parts.split_off(each.min(parts.len()));
            shares.push(Share::new(std::mem::replace(&mut parts, others), lp, &side_of));
        }
        shares.push(Share::new(vec![rest], lp, &side_of));
        Ok(Self {
            side: shared.iter().map(|&row| side_of[row]).collect(),
            y: vec![0.0; shared.len()],
            bounds: shares.iter().map(Share::bounds).sum(),
            rows: lp.row_low.len(),
            threads: match threads {
                0 => std::thread::available_parallelism().map_or(1, NonZero::get),
                threads => threads,
            },
            shares,
            shared,
        })
    }

    /// Goes on to the optimum in at most so many steps; `watch` sees every state on the way.
    fn run(
        &mut self,
        lp: &Lp,
        distance: f64,
        most: u32,
        mut watch: impl FnMut(&Self, &Seen),
    ) -> Result<(Point, u32), Failure> {
        for step in 0..most {
            let seen = self.look().ok_or(Failure::Solver)?;
            watch(self, &seen);
            if self.is_exact(&seen, distance) {
                return Ok((self.point(lp), step));
            }
            self.advance(&seen).ok_or(Failure::Solver)?;
        }
        Err(Failure::Budget)
    }

    /// The same, with the first state on the way that is a place to begin from.
    fn run_kept(
        &mut self,
        lp: &Lp,
        distance: f64,
        most: u32,
        frame: Frame<'_>,
    ) -> Result<((Point, u32), Option<Iterate>), Failure> {
        let mut stood = None;
        let found = self.run(lp, distance, most, |search, seen| {
            if stood.is_none() {
                stood = search.stands(seen, lp, frame);
            }
        })?;
        Ok((found, stood))
    }

    /// Begins near the middle of all bounds, with rows in order as far as they can be, and with the multipliers that fit the
    /// costs best.
    fn begin(&mut self) -> Option<()> {
        self.shares.iter_mut().for_each(Share::middle);
        let mut seen = self.look()?;
        let (_, reach) = self.direction(&seen, Push::Rows);
        self.accept(Push::Rows);
        seen.missing.fill(0.0);
        (self.y, _) = self.direction(&seen, Push::Costs);
        let variables: usize = self.shares.iter().map(|share| share.x.len()).sum();
        let reduced: f64 = self.shares.iter().flat_map(Share::reduced).map(f64::abs).sum();
        let floor = 1e-3 + BEGIN * reduced / variables as f64;
        let length = (STEP * reach.primal).min(1.0);
        self.shares.iter_mut().for_each(|share| share.begin(length, floor));
        Some(())
    }

    /// Looks at the state: what is wrong with it, and the normal equations. None when they cannot be solved.
    fn look(&mut self) -> Option<Seen> {
        let (m, y) = (self.shared.len(), &self.y);
        let mut all = each(self.threads, &mut self.shares, |share| share.look(y, m)).into_iter();
        let mut look = all.next()?;
        all.for_each(|more| look.add(&more));
        let missing = self.side.iter().zip(&look.rows).map(|(side, sum)| side - sum).collect();
        let mut factor = std::mem::take(&mut look.left);
        factorise(&mut factor, m)?;
        Some(Seen { missing, factor, look })
    }

    fn is_exact(&self, seen: &Seen, distance: f64) -> bool {
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let Look { worst_row, worst_cost, largest_side, largest_cost, .. } = seen.look;
        largest(&seen.missing).max(worst_row) <= FEASIBLE * (1.0 + largest(&self.side).max(largest_side))
            && worst_cost <= FEASIBLE * (1.0 + largest_cost)
            && seen.look.products <= distance * (1.0 + seen.look.objective.abs())
    }

    /// One step; none when it leads nowhere.
    fn advance(&mut self, seen: &Seen) -> Option<()> {
        // Straight for the optimum: how much of the way is free tells how far to keep from the bounds.
        let (_, reach) = self.direction(seen, Push::Straight);
        self.accept(Push::Straight);
        let (primal, dual) = (reach.primal.min(1.0), reach.dual.min(1.0));
        let after: f64 =
            each(self.threads, &mut self.shares, |share| share.products_after(primal, dual)).iter().sum();
        let products = seen.look.products;
        let centre = (after / products).powi(3).clamp(0.0, 1.0) * products / self.bounds;
        let (mut y, mut reach) = self.direction(seen, Push::Second { centre });
        self.accept(Push::Second { centre });
        for _ in 0..CORRECTIONS {
            let further = |reach: f64| (STEP * reach).min(1.0) * (1.0 + FURTHER);
            let aim =
                Aim { centre, primal: further(reach.primal).min(1.0), dual: further(reach.dual).min(1.0) };
            let (better, longer) = self.direction(seen, Push::Outliers(aim));
            let sum = |reach: Reach| (STEP * reach.primal).min(1.0) + (STEP * reach.dual).min(1.0);
            if sum(longer) < sum(reach) + 0.1 * FURTHER {
                break;
            }
            self.accept(Push::Outliers(aim));
            (y, reach) = (better, longer);
        }
        let (primal, dual) = ((STEP * reach.primal).min(1.0), (STEP * reach.dual).min(1.0));
        self.y.iter_mut().zip(&y).for_each(|(value, step)| *value += dual * step);
        let finite = each(self.threads, &mut self.shares, |share| share.go(primal, dual));
        (finite.into_iter().all(|finite| finite) && self.y.iter().all(|y| y.is_finite())).then_some(())
    }

    /// Finds the direction that brings rows and costs into order and products to where `push` wants them. The shares keep
    /// their parts of it; the multipliers of the shared rows are handed back.
    fn direction(&mut self, seen: &Seen, push: Push) -> (Vec<f64>, Reach) {
        let mut y = seen.missing.clone();
        for sums in each(self.threads, &mut self.shares, |share| share.lead(push, y.len())) {
            y.iter_mut().zip(&sums).for_each(|(sum, more)| *sum += more);
        }
        substitute(&seen.factor, &mut y);
        let reaches = each(self.threads, &mut self.shares, |share| share.follow(push, &y));
        let least = |a: Reach, b: Reach| Reach { primal: a.primal.min(b.primal), dual: a.dual.min(b.dual) };
        let free = Reach { primal: f64::INFINITY, dual: f64::INFINITY };
        (y, reaches.into_iter().fold(free, least))
    }

    /// Takes the direction that was found last, for `push`.
    fn accept(&mut self, push: Push) {
        each(self.threads, &mut self.shares, |share| share.accept(push));
    }

    fn point(&self, lp: &Lp) -> Point {
        let (mut x, mut dual) = (lp.low.clone(), vec![0.0; self.rows]);
        self.shares.iter().for_each(|share| share.tell(&mut x, &mut dual));
        self.shared.iter().zip(&self.y).for_each(|(&row, &y)| dual[row] = y);
        Point { x, dual }
    }
}

/// The sides of the equations: those of the rows less what columns have at their lower bounds.
fn sides(lp: &Lp) -> Vec<f64> {
    let pairs = lp.row_low.iter().zip(&lp.row_high);
    let mut sides: Vec<f64> = pairs.map(|(&low, &high)| if low.is_finite() { low } else { high }).collect();
    for column in 0..lp.columns() {
        if lp.low[column] != 0.0 {
            lp.entries(column).for_each(|(row, value)| sides[row] -= value * lp.low[column]);
        }
    }
    sides
}

/// The variables of a programme sorted by the parts whose rows they meet.
struct Sorted {
    parts: Vec<Part>,
    rest: Part,
    /// Shared rows, as rows of the programme.
    shared: Vec<usize>,
    /// The number of each row among those of its part, or among the shared ones.
    local: Vec<u32>,
    /// Entries of one variable in own and in shared rows.
    entries: [Vec<(u32, f64)>; 2],
}

impl Sorted {
    fn new(lp: &Lp) -> Result<Self, Failure> {
        let rows = lp.row_low.len();
        let mut sorted = Self {
            parts: Vec::new(),
            rest: Part::default(),
            shared: Vec::new(),
            local: vec![0; rows],
            entries: Default::default(),
        };
        let mut owned: Vec<(u32, u32, usize)> = Vec::new();
        for row in 0..rows {
            match lp.owner(row) {
                Some((part, place)) => owned.push((part, place, row)),
                None => {
                    sorted.local[row] = sorted.shared.len() as u32;
                    sorted.shared.push(row);
                }
            }
        }
        owned.sort_unstable();
        for (part, _, row) in owned {
            sorted.parts.resize_with(sorted.parts.len().max(part as usize + 1), Part::default);
            let part = &mut sorted.parts[part as usize];
            sorted.local[row] = part.rows.len() as u32;
            part.rows.push(row);
        }
        if sorted.shared.len() > MOST_SHARED {
            return Err(Failure::Solver);
        }
        sorted.reserve(lp)?;
        variables(lp, |variable, entries| {
            let part = sorted.part_of(lp, entries)?;
            let Self { parts, rest, entries: [own, shared], .. } = &mut sorted;
            let part = part.map_or(rest, |part| &mut parts[part as usize]);
            part.push(variable, own, shared).ok_or(Failure::Solver)
        })?;
        sorted.parts.iter_mut().chain([&mut sorted.rest]).for_each(Part::close);
        Ok(sorted)
    }

    /// Gives each part the memory that it needs, no more: lists that grow would leave holes of their own size behind.
    fn reserve(&mut self, lp: &Lp) -> Result<(), Failure> {
        let mut sizes = vec![Size::default(); self.parts.len() + 1];
        variables(lp, |_, entries| {
            let part = self.part_of(lp, entries)?;
            let last = self.parts.len();
            let size = &mut sizes[part.map_or(last, |part| part as usize)];
            let [own, shared] = &self.entries;
            size.variables += 1;
            size.own += own.len();
            size.shared += shared.len();
            Ok(())
        })?;
        let parts = self.parts.iter_mut().chain([&mut self.rest]);
        parts.zip(sizes).for_each(|(part, size)| part.reserve(size));
        Ok(())
    }

    /// The part that a variable belongs to, with its entries sorted into own and shared ones.
    fn part_of(&mut self, lp: &Lp, entries: &[(usize, f64)]) -> Result<Option<u32>, Failure> {
        let mut of = None;
        let [own, shared] = &mut self.entries;
        own.clear();
        shared.clear();
        for &(row, value) in entries {
            match lp.owner(row) {
                None => shared.push((self.local[row], value)),
                Some((part, _)) if of.is_none_or(|of| of == part) => {
                    of = Some(part);
                    own.push((self.local[row], value));
                }
                Some(_) => return Err(Failure::Solver),
            }
        }
        Ok(of)
    }
}

/// Calls with each variable of a programme in equations and its entries: columns that can move, and what is above the lower side of
/// a row or below its upper one.
fn variables(
    lp: &Lp,
    mut call: impl FnMut(Variable, &[(usize, f64)]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut entries = Vec::new();
    for column in 0..lp.columns() {
        if !lp.low[column].is_finite() {
            return Err(Failure::Solver);
        }
        // What cannot move is in the sides.
        if lp.high[column] > lp.low[column] {
            entries.clear();
            entries.extend(lp.entries(column));
            call(Variable::Column(column as u32), &entries)?;
        }
    }
    for row in 0..lp.row_low.len() {
        let (low, high) = (lp.row_low[row], lp.row_high[row]);
        if low < high {
            let (sign, room) = if low.is_finite() { (-1.0, high - low) } else { (1.0, f64::INFINITY) };
            call(Variable::Slack { room }, &[(row, sign)])?;
        }
    }
    Ok(())
}

/// Does something with every share, many at once; the results in their order.
fn each<R: Send>(threads: usize, shares: &mut [Share], work: impl Fn(&mut Share) -> R + Sync) -> Vec<R> {
    let workers = threads.min(shares.len());
    if workers <= 1 {
        return shares.iter_mut().map(work).collect();
    }
    let mut hands: Vec<Vec<(usize, &mut Share)>> = (0..workers).map(|_| Vec::new()).collect();
    for (number, share) in shares.iter_mut().enumerate() {
        hands[number % workers].push((number, share));
    }
    let run = |hand: Vec<(usize, &mut Share)>| -> Vec<(usize, R)> {
        hand.into_iter().map(|(number, share)| (number, work(share))).collect()
    };
    let mut results = std::thread::scope(|scope| {
        let mine = hands.pop().unwrap_or_default();
        let run = &run;
        let others: Vec<_> = hands.into_iter().map(|hand| scope.spawn(move || run(hand))).collect();
        let mut results = run(mine);
        for other in others {
            // A panic there is one here.
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Budget;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// Storages with rows of their own behind one balance for each step, with import and export.
    fn community(storages: &[(f64, f64, f64, f64)], prices: &[f64], loads: &[f64]) -> Lp {
        let mut lp = Lp::default();
        let balance: Vec<usize> = loads.iter().map(|&load| lp.add_row(load, load)).collect();
        balance.iter().enumerate().for_each(|(t, &row)| lp.at_step(row, t));
        for (&price, &row) in prices.iter().zip(&balance) {
            lp.add_column(price, 0.0, 50.0, &[(row, 1.0)]);
            lp.add_column(price + 100.0, 0.0, 1000.0, &[(row, 1.0)]);
            lp.add_column(-0.5 * price, 0.0, 1000.0, &[(row, -1.0)]);
        }
        for (g, &(capacity, power, efficiency, start)) in storages.iter().enumerate() {
            let rows: Vec<usize> = (0..loads.len())
                .map(|t| {
                    let side = if t == 0 { start * capacity } else { 0.0 };
                    let row = lp.add_row(side, side);
                    lp.own(row, g, t);
                    lp.at_step(row, t);
                    row
                })
                .collect();
            for t in 0..loads.len() {
                lp.add_column(0.001, 0.0, power, &[(balance[t], -1.0), (rows[t], -efficiency)]);
                lp.add_column(0.001, 0.0, power, &[(balance[t], 1.0), (rows[t], 1.0 / efficiency)]);
                let mut entries = vec![(rows[t], 1.0)];
                entries.extend(rows.get(t + 1).map(|&row| (row, -1.0)));
                lp.add_column(if t + 1 == loads.len() { -0.1 } else { 0.0 }, 0.0, capacity, &entries);
            }
        }
        lp
    }

    fn objective(lp: &Lp, point: &Point) -> f64 {
        lp.cost.iter().zip(&point.x).map(|(cost, x)| cost * x).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_finds_what_the_simplex_method_finds(
            storages in proptest::collection::vec((1.0..20.0_f64, 0.5..5.0_f64, 0.8..1.0_f64, 0.0..1.0_f64), 1..20),
            steps in proptest::collection::vec((0.01..0.5_f64, -20.0..80.0_f64), 2..30),
        ) {
            let (prices, loads): (Vec<f64>, Vec<f64>) = steps.into_iter().unzip();
            let lp = community(&storages, &prices, &loads);
            let (point, _) = solve(&lp, 1e-9, 0, None).unwrap();
            let simplex = lp.relaxed(&Budget::default()).unwrap().point;
            let (found, best) = (objective(&lp, &point), objective(&lp, &simplex));
            let near = 1e-6 * (1.0 + best.abs());
            prop_assert!((found - best).abs() < near, "{found} {best}");
            let bound = lp.dual_bound(&lp.cost, &point.dual);
            prop_assert!(bound <= best + near && bound > best - 10.0 * near, "{bound} {best}");
        }
    }

    /// The names and steps of such a community, from a quarter of an hour on.
    fn frame(storages: &[(f64, f64, f64, f64)], steps: usize, from: usize) -> (Vec<String>, Vec<Timestamp>) {
        let quarter = |t: usize| Timestamp::from_second(900 * (from + t) as i64).unwrap();
        let names = storages.iter().enumerate().map(|(number, _)| number.to_string()).collect();
        (names, (0..steps).map(quarter).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn where_a_search_begins_does_not_change_what_it_finds(
            storages in proptest::collection::vec((1.0..20.0_f64, 0.5..5.0_f64, 0.8..1.0_f64, 0.0..1.0_f64), 1..20),
            others in proptest::collection::vec((1.0..20.0_f64, 0.5..5.0_f64, 0.8..1.0_f64, 0.0..1.0_f64), 1..20),
            steps in proptest::collection::vec((0.01..0.5_f64, -20.0..80.0_f64), 2..30),
            different in proptest::collection::vec((0.01..0.5_f64, -20.0..80.0_f64), 2..30),
            later in 0..40_usize,
        ) {
            let mut kept = None;
            for (storages, steps, from) in [(&storages, &steps, 0), (&storages, &steps, 1), (&others, &different, later)] {
                let (prices, loads): (Vec<f64>, Vec<f64>) = steps.iter().copied().unzip();
                let lp = community(storages, &prices, &loads);
                let (parts, starts) = frame(storages, loads.len(), from);
                let frame = Frame { parts: &parts, starts: &starts };
                let (point, _) = solve(&lp, 1e-9, 1, Some((frame, &mut kept))).unwrap();
                let simplex = lp.relaxed(&Budget::default()).unwrap().point;
                let (found, best) = (objective(&lp, &point), objective(&lp, &simplex));
                prop_assert!((found - best).abs() < 1e-6 * (1.0 + best.abs()), "{found} {best}");
                prop_assert!(kept.is_some());
            }
        }
    }

    #[test]
    fn a_search_that_goes_on_takes_fewer_steps() {
        let storages: Vec<_> =
            (1..40).map(|n| (f64::from(n), 2.0, 0.8 + f64::from(n) / 200.0, 0.5)).collect();
        let day = |t: f64| 0.3 + 0.1 * (t / 7.0).sin();
        let of = |from: u32| {
            let prices: Vec<f64> = (from..from + 48).map(|t| day(f64::from(t))).collect();
            let loads: Vec<f64> =
                (from..from + 48).map(|t| 60.0 + 30.0 * (f64::from(t) / 5.0).cos()).collect();
            community(&storages, &prices, &loads)
        };
        let mut kept = None;
        let mut steps = |from: u32| {
            let (parts, starts) = frame(&storages, 48, from as usize);
            let frame = Frame { parts: &parts, starts: &starts };
            solve(&of(from), 1e-4, 1, Some((frame, &mut kept))).unwrap().1
        };
        let (first, second) = (steps(0), steps(1));
        let (_, anew) = solve(&of(1), 1e-4, 1, None).unwrap();
        assert!(second + 3 < anew && second < first, "{first} {second} {anew}");
    }

    #[test]
    fn a_column_that_meets_two_parts_is_left_to_another_method() {
        let mut lp = Lp::default();
        let rows = [lp.add_row(1.0, 1.0), lp.add_row(1.0, 1.0)];
        rows.iter().enumerate().for_each(|(part, &row)| lp.own(row, part, 0));
        lp.add_column(1.0, 0.0, 2.0, &[(rows[0], 1.0), (rows[1], 1.0)]);
        assert_eq!(solve(&lp, 1e-9, 0, None).unwrap_err(), Failure::Solver);
    }

    #[test]
    fn rows_with_one_side_and_fixed_columns_are_understood() {
        // x + y at least 3, x at most 2 and dearer, z fixed at 1 counts as well.
        let mut lp = Lp::default();
        let row = lp.add_row(3.0, f64::INFINITY);
        lp.add_column(2.0, 0.0, 2.0, &[(row, 1.0)]);
        lp.add_column(1.0, 0.5, 1.5, &[(row, 1.0)]);
        lp.add_column(7.0, 1.0, 1.0, &[(row, 1.0)]);
        let (point, _) = solve(&lp, 1e-9, 0, None).unwrap();
        for (found, expected) in point.x.iter().zip([0.5, 1.5, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{:?}", point.x);
        }
        assert!((point.dual[0] - 2.0).abs() < 1e-6, "{:?}", point.dual);
    }
}
