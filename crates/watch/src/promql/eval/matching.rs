//! Operators between two vectors: which series belong together, and what comes of each pair.

use super::binary::Operation;
use super::rows::{clash, merge};
use super::{ABSENT, Evaluation, Grid, Row, Value, is_present};
use crate::labels::{Kept, LabelIndex, Labels, Subset};
use crate::promql::ast::{Binary, BinaryOp, Group, Matching};
use crate::promql::error::{Error, Span};

fn kept(matching: &Matching) -> Kept<'_> {
    if matching.on { Kept::Only(&matching.labels) } else { Kept::AllBut(&matching.labels) }
}

/// Rows of one side by match group.
type Groups = LabelIndex<Vec<u32>>;

fn groups(rows: &[Row], kept: Kept<'_>) -> Groups {
    let mut groups = Groups::with_capacity_and_hasher(rows.len(), Default::default());
    for (index, row) in (0_u32..).zip(rows) {
        let part = Subset { labels: &row.labels, kept };
        match groups.get_mut(&part) {
            Some(members) => members.push(index),
            None => {
                groups.insert(part.to_labels(), vec![index]);
            }
        }
    }
    groups
}

/// The group of the other side that a row belongs to.
fn group_of(groups: &Groups, row: &Row, kept: Kept<'_>) -> Option<usize> {
    groups.get_index_of(&Subset { labels: &row.labels, kept })
}

/// At which steps any of the rows has a value.
fn presence<'r>(rows: impl Iterator<Item = &'r Row>, steps: usize) -> Vec<bool> {
    let mut present = vec![false; steps];
    for row in rows {
        for (flag, v) in present.iter_mut().zip(&row.values) {
            *flag |= is_present(*v);
        }
    }
    present
}

impl Evaluation<'_> {
    pub(super) fn matched(
        &mut self,
        binary: &Binary,
        operation: Operation,
        left: Vec<Row>,
        right: Vec<Row>,
        grid: &Grid,
        span: Span,
    ) -> Result<Value, Error> {
        if binary.op.is_set() {
            let rows = set_operation(binary, left, &right, grid.count);
            return Ok(Value::Vector(self.unify(rows, span)?));
        }
        let swapped = binary.matching.group == Group::Right;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        if many.is_empty() || one.is_empty() {
            return Ok(Value::Vector(Vec::new()));
        }
        self.cells(many.len(), grid.count, span)?;
        Pairing { binary, operation, swapped, many: &many, one: &one, steps: grid.count, span }
            .rows()
            .map(Value::Vector)
    }
}

fn set_operation(binary: &Binary, mut left: Vec<Row>, right: &[Row], steps: usize) -> Vec<Row> {
    let kept = kept(&binary.matching);
    if binary.op == BinaryOp::Or {
        let groups = groups(&left, kept);
        let flags: Vec<Vec<bool>> = presences(&groups, &left, steps);
        for row in right {
            let mut row = row.clone();
            if let Some(group) = group_of(&groups, &row, kept) {
                mask(&mut row, &flags[group], false);
            }
            left.push(row);
        }
    } else {
        let groups = groups(right, kept);
        let flags = presences(&groups, right, steps);
        let nothing = vec![false; steps];
        for row in &mut left {
            let flags = group_of(&groups, row, kept).map_or(&nothing, |group| &flags[group]);
            mask(row, flags, binary.op == BinaryOp::And);
        }
    }
    left.retain(Row::has_values);
    left
}

fn presences(groups: &Groups, rows: &[Row], steps: usize) -> Vec<Vec<bool>> {
    groups
        .values()
        .map(|members| presence(members.iter().map(|index| &rows[*index as usize]), steps))
        .collect()
}

/// Leaves the values at steps whose flag is as wanted.
fn mask(row: &mut Row, flags: &[bool], wanted: bool) {
    for (v, flag) in row.values.iter_mut().zip(flags) {
        if *flag != wanted {
            *v = ABSENT;
        }
    }
}

/// Pairs each row of the side that may have many with the one row of its group on the other side.
struct Pairing<'a> {
    binary: &'a Binary,
    operation: Operation,
    /// Whether the many are the right operand.
    swapped: bool,
    many: &'a [Row],
    one: &'a [Row],
    steps: usize,
    span: Span,
}

/// What of the "one" side is there.
enum Partner<'a> {
    Single(&'a Row),
    /// At each step another of several rows, at most one of them.
    Changing(Vec<Option<u32>>),
}

impl Pairing<'_> {
    fn rows(&self) -> Result<Vec<Row>, Error> {
        let kept = kept(&self.binary.matching);
        let groups = groups(self.one, kept);
        let partners = self.partners(&groups)?;
        let members: Vec<Option<usize>> = self.many.iter().map(|row| group_of(&groups, row, kept)).collect();
        let mut outputs = Outputs::new(self, groups.len());
        for (row, group) in self.many.iter().zip(&members) {
            let Some(group) = *group else { continue };
            match &partners[group] {
                Partner::Single(one) => {
                    let values =
                        row.values.iter().zip(&one.values).map(|(m, o)| self.apply(*m, *o)).collect();
                    outputs.add(group, self.labels(&row.labels, &one.labels), values)?;
                }
                Partner::Changing(choice) => {
                    for (one, values) in self.changing(row, choice) {
                        outputs.add(
                            group,
                            self.labels(&row.labels, &self.one[one as usize].labels),
                            values,
                        )?;
                    }
                }
            }
        }
        Ok(outputs.rows)
    }

    fn apply(&self, many: f64, one: f64) -> f64 {
        if !is_present(many) || !is_present(one) {
            return ABSENT;
        }
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        self.operation.apply(left, right, left)
    }

    /// Refuses two rows of a group on the "one" side at the same step.
    fn partners(&self, groups: &Groups) -> Result<Vec<Partner<'_>>, Error> {
        let mut busy: Option<Vec<bool>> = None;
        let mut partners = Vec::with_capacity(groups.len());
        for (key, members) in groups {
            if let [only] = members[..] {
                partners.push(Partner::Single(&self.one[only as usize]));
                continue;
            }
            // With nothing on the other side there is nothing to match, so nothing is refused.
            let busy = busy.get_or_insert_with(|| presence(self.many.iter(), self.steps));
            let mut choice: Vec<Option<u32>> = vec![None; self.steps];
            for index in members {
                for (step, v) in self.one[*index as usize].values.iter().enumerate() {
                    if !is_present(*v) || !busy[step] {
                        continue;
                    }
                    if let Some(other) = choice[step].replace(*index) {
                        return Err(self.duplicate(key, *index, other));
                    }
                }
            }
            partners.push(Partner::Changing(choice));
        }
        Ok(partners)
    }

    fn duplicate(&self, key: &Labels, new: u32, known: u32) -> Error {
        let side = if self.swapped { "left" } else { "right" };
        let [new, known] = [new, known].map(|index| &self.one[index as usize].labels);
        let message = format!(
            "found duplicate series for the match group {key} on the {side} hand-side of the operation: \
             [{new}, {known}];many-to-many matching not allowed: matching labels must be unique on one side"
        );
        Error::execution(self.span, message)
    }

    /// The values of a row with each of the partners it has over time.
    fn changing(&self, row: &Row, choice: &[Option<u32>]) -> Vec<(u32, Vec<f64>)> {
        let mut found: Vec<(u32, Vec<f64>)> = Vec::new();
        for (step, many) in row.values.iter().enumerate() {
            let Some(one) = choice[step].filter(|_| is_present(*many)) else { continue };
            let place = found.iter().position(|(known, _)| *known == one).unwrap_or_else(|| {
                found.push((one, vec![ABSENT; self.steps]));
                found.len() - 1
            });
            found[place].1[step] = self.apply(*many, self.one[one as usize].values[step]);
        }
        found
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.binary.matching;
        let mut labels = if self.binary.op.drops_name() { many.without_name() } else { many.clone() };
        if matching.group == Group::None {
            labels =
                if matching.on { labels.keep(&matching.labels) } else { labels.remove(&matching.labels) };
        }
        for label in &matching.include {
            labels = labels.with(label, one.get(label));
        }
        if self.binary.bool { labels.without_name() } else { labels }
    }
}

/// The results so far.
struct Outputs<'a> {
    pairing: &'a Pairing<'a>,
    rows: Vec<Row>,
    /// Row and group by labels.
    index: LabelIndex<(usize, usize)>,
    /// One-to-one: the steps at which a group has its result already.
    taken: Vec<Option<Vec<bool>>>,
}

impl<'a> Outputs<'a> {
    fn new(pairing: &'a Pairing<'a>, groups: usize) -> Self {
        let taken =
            if pairing.binary.matching.group == Group::None { vec![None; groups] } else { Vec::new() };
        let size = pairing.many.len();
        let index = LabelIndex::with_capacity_and_hasher(size, Default::default());
        Self { pairing, rows: Vec::with_capacity(size), index, taken }
    }

    fn add(&mut self, group: usize, labels: Labels, values: Vec<f64>) -> Result<(), Error> {
        if !values.iter().any(|v| is_present(*v)) {
            return Ok(());
        }
        let refuse = |message: &str| Err(Error::execution(self.pairing.span, message));
        if let Some(taken) = self.taken.get_mut(group) {
            let taken = taken.get_or_insert_with(|| vec![false; values.len()]);
            for (taken, _) in taken.iter_mut().zip(&values).filter(|(_, v)| is_present(**v)) {
                if std::mem::replace(taken, true) {
                    return refuse(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    );
                }
            }
        }
        let (place, first_group) = *self.index.entry(labels.clone()).or_insert((self.rows.len(), group));
        let Some(known) = self.rows.get_mut(place) else {
            self.rows.push(Row { labels, values });
            return Ok(());
        };
        if merge(&mut known.values, &values) {
            return Ok(());
        }
        if first_group == group {
            return refuse("multiple matches for labels: grouping labels must ensure unique matches");
        }
        Err(clash(&labels, self.pairing.span))
    }
}
