//! Where a search stood, for the next one to begin from.
//!
//! A plan that is made anew differs from the one before by a few minutes and by what was measured since, and a search that begins
//! where the one before it stood half-way is spared half of its steps. The very optimum is no place to begin from: all that it has at
//! a bound would have to come off it again (J. Gondzio, "Warm start of the primal-dual method applied in the cutting-plane scheme",
//! Mathematical Programming 83, 1998, keeps an early iterate for that reason). Where to begin changes how long a search takes, never
//! what its answer is worth.
//!
//! Kept are variables and multipliers of rows, by the name of their part, their step, and their number within the step. What is
//! different now comes into order before the search goes on: variables that contradict their costs come near the bound that these ask
//! for, rows are brought into order, and multipliers of bounds are those that the costs leave.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::share::Push;
use super::{STEP, Search, Seen};
use crate::lp::Lp;

/// The products of variables and multipliers, all together and relative to the objective, at which a search is kept.
const LEVEL: f64 = 1.0;
/// What rows may miss then, relative to their sides.
const NEARLY: f64 = 1e-2;
/// Products of variables and what their costs leave are at most this multiple of the mean.
const FAR: f64 = 100.0;
/// How often rows are brought into order before the search goes on.
const ROUNDS: u32 = 2;
/// In place of a step: of variables and rows that belong to none.
pub(crate) const NO_STEP: u16 = u16::MAX;

/// What the parts and steps of a programme are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Names of the parts, by their numbers.
    pub(crate) parts: &'a [String],
    /// When steps begin.
    pub(crate) starts: &'a [Timestamp],
}

/// Where a search stood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Iterate {
    starts: Vec<Timestamp>,
    /// How many steps a search took that began anew.
    pub(super) anew: u32,
    /// The mean product of a variable and its multiplier.
    centre: f64,
    parts: BTreeMap<String, Stood>,
    rest: Stood,
}

/// Variables of a part and multipliers of its rows; in single precision, which is enough to begin with.
#[derive(Clone, Debug, Default)]
struct Stood {
    variables: ByStep,
    rows: ByStep,
}

/// Values in the order of their steps, those of a step in the order in which they came.
#[derive(Clone, Debug, Default)]
struct ByStep {
    steps: Vec<u16>,
    values: Vec<f32>,
}

impl ByStep {
    fn new<'a>(steps: impl Iterator<Item = u16>, values: impl Iterator<Item = &'a f64>) -> Self {
        let mut all: Vec<(u16, f32)> = steps.zip(values.map(|&value| value as f32)).collect();
        all.sort_by_key(|(step, _)| *step);
        let (steps, values) = all.into_iter().unzip();
        Self { steps, values }
    }

    /// Those of a step.
    fn of(&self, step: u16) -> &[f32] {
        let from = self.steps.partition_point(|other| *other < step);
        let to = self.steps.partition_point(|other| *other <= step);
        &self.values[from..to]
    }

    /// For values of these steps, the ones of the steps that each of them `was`, in the same order within each.
    fn like(&self, steps: impl Iterator<Item = u16>, was: &[u16]) -> impl Iterator<Item = Option<f64>> {
        let mut counts = vec![0_usize; was.len() + 1];
        steps.map(move |step| {
            let place = usize::from(step).min(was.len());
            let number = counts[place];
            counts[place] += 1;
            let of = self.of(was.get(place).copied().unwrap_or(NO_STEP));
            of.get(number).map(|&value| f64::from(value))
        })
    }
}

impl Iterate {
    pub(super) fn with_anew(self, steps: u32) -> Self {
        Self { anew: steps, ..self }
    }

    /// For each of these steps, the one of this search in which it begins; the last one for what comes after.
    fn was(&self, starts: &[Timestamp]) -> Vec<u16> {
        let at = |start: &Timestamp| self.starts.partition_point(|other| other <= start).saturating_sub(1);
        starts.iter().map(|start| u16::try_from(at(start)).unwrap_or(NO_STEP)).collect()
    }
}

impl Search {
    /// Where the search stands, when that is a place to begin from.
    pub(super) fn stands(&self, seen: &Seen, lp: &Lp, frame: Frame<'_>) -> Option<Iterate> {
        let look = &seen.look;
        let side = self.side.iter().fold(look.largest_side, |most, side| most.max(side.abs()));
        let missing = seen.missing.iter().fold(look.worst_row, |most, row| most.max(row.abs()));
        if look.products > LEVEL * (1.0 + look.objective.abs()) || missing > NEARLY * (1.0 + side) {
            return None;
        }
        let (mut parts, mut rest) = (BTreeMap::new(), Stood::default());
        let (mut names, last) = (frame.parts.iter(), self.shares.len() - 1);
        for (number, share) in self.shares.iter().enumerate() {
            share.each_part(|part, x, y| {
                let variables = ByStep::new(part.steps(lp, &self.shared), x.iter());
                let (rows, y) = if number == last { (&self.shared, &self.y[..]) } else { (&part.rows, y) };
                let rows = ByStep::new(rows.iter().map(|&row| lp.step_of(row)), y.iter());
                let stood = Stood { variables, rows };
                if number == last {
                    rest = stood;
                } else if let Some(name) = names.next() {
                    parts.insert(name.clone(), stood);
                }
            });
        }
        let centre = look.products / self.bounds;
        Some(Iterate { starts: frame.starts.to_vec(), anew: 0, centre, parts, rest })
    }

    /// Begins where another search stood. None when the state cannot be looked at.
    pub(super) fn begin_at(&mut self, iterate: &Iterate, lp: &Lp, frame: Frame<'_>) -> Option<()> {
        self.take(iterate, lp, frame);
        let centre = iterate.centre;
        let y = &self.y;
        self.shares.iter_mut().for_each(|share| share.fit(y, centre, FAR));
        for _ in 0..ROUNDS {
            self.shares.iter_mut().for_each(|share| share.even(centre));
            let seen = self.look()?;
            let (_, reach) = self.direction(&seen, Push::Rows);
            self.accept(Push::Rows);
            let length = (STEP * reach.primal).min(1.0);
            self.shares.iter_mut().for_each(|share| share.go_for_rows(length));
            if length >= 1.0 {
                break;
            }
        }
        let y = &self.y;
        self.shares.iter_mut().for_each(|share| share.fit(y, centre, f64::INFINITY));
        Some(())
    }

    /// Takes over the variables and the multipliers of rows; what was not there is in the middle of its bounds.
    fn take(&mut self, iterate: &Iterate, lp: &Lp, frame: Frame<'_>) {
        let was = iterate.was(frame.starts);
        let nowhere = Stood::default();
        let (mut names, last) = (frame.parts.iter(), self.shares.len() - 1);
        let shared = &self.shared;
        for (number, share) in self.shares.iter_mut().enumerate() {
            share.each_part_mut(|part, room, x, y| {
                let stood = if number == last {
                    &iterate.rest
                } else {
                    names.next().and_then(|name| iterate.parts.get(name)).unwrap_or(&nowhere)
                };
                let kept = stood.variables.like(part.steps(lp, shared), &was);
                for ((x, &room), kept) in x.iter_mut().zip(room).zip(kept) {
                    let middle = if room.is_finite() { 0.5 * room } else { 1.0 };
                    *x = kept.filter(|kept| *kept > 0.0 && *kept < room).unwrap_or(middle);
                }
                let rows = part.rows.iter().map(|&row| lp.step_of(row));
                for (y, kept) in y.iter_mut().zip(stood.rows.like(rows, &was)) {
                    *y = kept.unwrap_or(0.0);
                }
            });
        }
        let rows = shared.iter().map(|&row| lp.step_of(row));
        for (y, kept) in self.y.iter_mut().zip(iterate.rest.rows.like(rows, &was)) {
            *y = kept.unwrap_or(0.0);
        }
    }
}
