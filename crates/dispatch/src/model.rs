//! A problem as a linear programme, and back.
//!
//! Per step: import and export (each with a dearer part above its limit), per group of storages charge, discharge
//! and energy in store, generation that may be turned down, work. Rows: the site's balance, each store's balance,
//! each work's "one start or none", and the reserve for the pessimistic net power where it can matter.

use std::collections::BTreeSet;

use crate::commitment::Commitment;
use crate::connection::{Behind, Meter};
use crate::exchange::{ChargeRows, Flow};
use crate::group::Group;
use crate::lp::Lp;
use crate::place::{Places, places};
use crate::problem::{Problem, Storage};
use crate::work::{Options, options, price_after};

/// Steps in which a choice must be made outright because prices reward going both ways at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exclusive {
    /// Whether the choices are made; else rows say what every choice keeps to, which is a linear programme still.
    pub(crate) whole: bool,
    /// Group and step: charge or discharge.
    pub(crate) storage: BTreeSet<(usize, usize)>,
    /// Meter and step: import or export.
    pub(crate) grid: BTreeSet<(usize, usize)>,
}

impl Exclusive {
    pub(crate) fn is_empty(&self) -> bool {
        self.storage.is_empty() && self.grid.is_empty()
    }
}

/// Columns of one piece of work.
#[derive(Clone, Debug)]
pub(crate) enum WorkColumns {
    GoesOn,
    /// One column per start, then the one for "not done".
    Block {
        starts: Vec<usize>,
        undone: usize,
    },
    /// Power per step of the window, energy left for later, energy not done.
    Free {
        power: Vec<usize>,
        later: usize,
    },
}

/// A linear programme with the meaning of its columns and rows.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) lp: Lp,
    /// Costs without the tie-breaking part that `lp.cost` carries.
    pub(crate) costs: Vec<f64>,
    /// Cost that no decision changes.
    pub(crate) constant: f64,
    /// Per meter and step.
    pub(crate) grid: Vec<Vec<Flow>>,
    /// Per meter and step.
    pub(crate) balance: Vec<Vec<usize>>,
    pub(crate) charged: ChargeRows,
    pub(crate) store_rows: Vec<Vec<usize>>,
    pub(crate) charge: Vec<Vec<usize>>,
    pub(crate) discharge: Vec<Vec<usize>>,
    pub(crate) stored: Vec<Vec<usize>>,
    /// Per group and step: use that goes without, or what comes in and is let go, with its sign; empty where nothing is used.
    pub(crate) missing: Vec<Vec<Option<(usize, f64)>>>,
    pub(crate) generation: Vec<Vec<usize>>,
    pub(crate) generators: Vec<Commitment>,
    pub(crate) work: Vec<WorkColumns>,
    pub(crate) options: Vec<Options>,
    /// Whether something is on or off: what is half on is no plan.
    pub(crate) commits: bool,
}

/// Horizons beyond this get no tie-breaking by time: its steps would fall below the solver's tolerance.
const LONG: usize = 1000;

/// Secondary costs that decide between plans of equal cost, far below any price.
///
/// Storing surplus costs a little more the later it happens, and import a little less: so surplus is stored as
/// early and grid power as late as its price allows, discharge comes first where hours are equally dear, and work
/// runs early. Moving energy at all costs a trace, so nothing is cycled for nothing.
pub(crate) struct Ties {
    unit: f64,
    time: Vec<f64>,
}

impl Ties {
    fn new(problem: &Problem) -> Self {
        let n = problem.len();
        let prices = (0..n).map(|t| problem.connection.full_import_price(t).as_per_kwh().abs());
        let mean = prices.sum::<f64>() / n as f64;
        let unit = 1e-5 * if mean > 0.0 { mean } else { 1.0 };
        let slope = if n > LONG { 0.0 } else { 1.0 / n as f64 };
        Self { unit, time: (0..n).map(|t| slope * t as f64).collect() }
    }
    fn charge(&self, t: usize) -> f64 {
        self.unit * (0.1 + self.time[t])
    }
    fn discharge(&self) -> f64 {
        self.unit * 0.1
    }
    pub(crate) fn import(&self, t: usize) -> f64 {
        -2.0 * self.unit * self.time[t]
    }
    fn generation(&self) -> f64 {
        -0.05 * self.unit
    }
    fn work(&self, t: usize) -> f64 {
        3.0 * self.unit * self.time[t]
    }
}

pub(crate) struct Builder<'a> {
    pub(crate) problem: &'a Problem,
    groups: &'a [Group],
    pub(crate) ties: Ties,
    pub(crate) built: Built,
    /// Most import and export that could come about, kW, per meter and step.
    pub(crate) most: Vec<Vec<[f64; 2]>>,
    behind: &'a Behind<'a>,
    places: Places,
}

/// Writes the programme.
pub(crate) fn build(
    problem: &Problem,
    behind: &Behind<'_>,
    groups: &[Group],
    exclusive: &Exclusive,
) -> Built {
    let options: Vec<Options> = problem.work.iter().map(|work| options(problem, work)).collect();
    let built = Built {
        lp: Lp::default(),
        costs: Vec::new(),
        constant: 0.0,
        grid: Vec::new(),
        balance: Vec::new(),
        charged: ChargeRows::default(),
        store_rows: Vec::new(),
        charge: Vec::new(),
        discharge: Vec::new(),
        stored: Vec::new(),
        missing: Vec::new(),
        generation: Vec::new(),
        generators: Vec::new(),
        work: Vec::new(),
        options,
        commits: !problem.generators.is_empty(),
    };
    let mut builder = Builder {
        problem,
        groups,
        ties: Ties::new(problem),
        built,
        most: most_exchange(problem, behind),
        behind,
        places: places(problem, behind, groups),
    };
    builder.rows();
    builder.exchange(exclusive);
    builder.storages(exclusive);
    builder.generation();
    builder.generators();
    builder.carbon_cap();
    builder.work();
    builder.reserve();
    builder.stock();
    builder.spinning(groups);
    builder.built.lp.finish();
    builder.built.costs.shrink_to_fit();
    builder.built
}

/// Most import and most export that could come about, per meter and step. Tight, because either-or choices multiply with it.
fn most_exchange(problem: &Problem, behind: &Behind<'_>) -> Vec<Vec<[f64; 2]>> {
    let fixed = |meter: Meter<'_>| meter.fixed.iter().map(|p| [-p.as_kw(), p.as_kw()]).collect();
    let mut most: Vec<Vec<[f64; 2]>> = problem.meters().map(fixed).collect();
    let mut add = |id: &str, t: usize, most_in: f64, most_out: f64| {
        for &m in behind.meters(id) {
            most[m][t][0] += most_in;
            most[m][t][1] += most_out;
        }
    };
    for t in 0..problem.len() {
        for s in problem.storages.iter().filter(|s| s.is_available(t)) {
            add(&s.id, t, s.max_charge.as_kw(), s.max_discharge.as_kw());
        }
        problem.curtailable.iter().for_each(|plant| add(&plant.id, t, 0.0, plant.available[t].as_kw()));
        problem.generators.iter().for_each(|generator| add(&generator.id, t, 0.0, generator.most()));
        problem.work.iter().for_each(|work| add(&work.id, t, work.max_power.as_kw(), 0.0));
    }
    most.iter_mut().flatten().flatten().for_each(|power| *power = power.max(0.0));
    most
}

impl Builder<'_> {
    pub(crate) fn hours(&self, t: usize) -> f64 {
        self.problem.steps[t].duration.get()
    }

    pub(crate) fn column(
        &mut self,
        cost: f64,
        tie: f64,
        low: f64,
        high: f64,
        entries: &[(usize, f64)],
    ) -> usize {
        self.built.costs.push(cost);
        self.built.lp.add_column(cost + tie, low, high, entries)
    }

    /// All rows but those of reserve and exclusion. A work that goes on anyway is part of the balance's side.
    fn rows(&mut self) {
        let n = self.problem.len();
        let meters: Vec<Meter<'_>> = self.problem.meters().collect();
        let side = |meter: &Meter<'_>| meter.fixed.iter().map(|p| -p.as_kw()).collect();
        let mut sides: Vec<Vec<f64>> = meters.iter().map(side).collect();
        for (work, option) in self.problem.work.iter().zip(&self.built.options) {
            if let Options::GoesOn(profile) = option {
                for (_, side) in meters.iter().zip(&mut sides).filter(|(meter, _)| meter.counts(&work.id)) {
                    let there = side.iter_mut().skip(profile.start);
                    there.zip(&profile.power).for_each(|(side, power)| *side += power);
                }
                self.built.constant += profile.later * price_after(self.problem);
                if profile.missed > 1e-9 {
                    self.built.constant += work.value.get();
                }
            }
        }
        let lp = &mut self.built.lp;
        self.built.balance =
            sides.iter().map(|side| side.iter().map(|&s| lp.add_row(s, s)).collect()).collect();
        for rows in &self.built.balance {
            rows.iter().enumerate().for_each(|(t, &row)| lp.at_step(row, t));
        }
        for (rows, place) in self.built.balance.iter().skip(1).zip(&self.places.feeders) {
            let Some(place) = place else { continue };
            rows.iter().enumerate().for_each(|(t, &row)| self.built.lp.own(row, place.part, place.at(t, 0)));
        }
        for (g, group) in self.groups.iter().enumerate() {
            let lp = &mut self.built.lp;
            let storage = &self.problem.storages[group.members[0]];
            let first = |t| if t == 0 { group.energy - storage.draw(0) } else { 0.0 - storage.draw(t) };
            let rows: Vec<usize> = (0..n).map(|t| lp.add_row(first(t), first(t))).collect();
            let place = self.places.groups[g];
            for (t, &row) in rows.iter().enumerate() {
                lp.own(row, place.part, place.at(t, 0));
                lp.at_step(row, t);
            }
            self.built.store_rows.push(rows);
        }
    }

    /// Entries of a power in the balance of every meter that it flows through.
    pub(crate) fn in_balance(&self, id: &str, t: usize, value: f64) -> impl Iterator<Item = (usize, f64)> {
        self.behind.meters(id).iter().map(move |&m| (self.built.balance[m][t], value))
    }

    /// Entries of two flows such that only one of them can be above zero: two rows with a binary column, `a ≤ A·z` and
    /// `b ≤ B·(1 − z)`, or what both together say for any `z`, `a/A + b/B ≤ 1`.
    pub(crate) fn choice(&mut self, a: f64, b: f64, whole: bool) -> [(usize, f64); 2] {
        let lp = &mut self.built.lp;
        if !whole {
            let row = lp.add_row(f64::NEG_INFINITY, 1.0);
            return [a, b].map(|most| (row, most.max(1e-9).recip()));
        }
        let rows = [lp.add_row(f64::NEG_INFINITY, 0.0), lp.add_row(f64::NEG_INFINITY, b)];
        let z = self.column(0.0, 0.0, 0.0, 1.0, &[(rows[0], -a), (rows[1], b)]);
        self.built.lp.integer[z] = true;
        rows.map(|row| (row, 1.0))
    }

    /// What going one way means for the energy of plain batteries: no more is taken out in a step than was there before it, and
    /// no more put in than there was room for.
    fn one_way(&mut self, group: &Group, t: usize, flows: [usize; 2], before: Option<usize>) {
        let storage = &self.problem.storages[group.members[0]];
        let (h, energy) = (self.hours(t), if before.is_none() { group.energy } else { 0.0 });
        let lp = &mut self.built.lp;
        let sides = [group.energy_max - energy, energy - group.energy_min];
        let each = [h * storage.charge_efficiency, h / storage.discharge_efficiency];
        for (((side, each), flow), sign) in sides.into_iter().zip(each).zip(flows).zip([1.0, -1.0]) {
            let row = lp.add_row(f64::NEG_INFINITY, side);
            lp.append(flow, row, each);
            before.into_iter().for_each(|stored| lp.append(stored, row, sign));
        }
    }

    fn storages(&mut self, exclusive: &Exclusive) {
        for (g, group) in self.groups.iter().enumerate() {
            let storage = &self.problem.storages[group.members[0]];
            let (mut charge, mut discharge, mut stored) = (Vec::new(), Vec::new(), Vec::new());
            let mut floor = group.energy_min;
            for t in 0..self.problem.len() {
                let choice = exclusive.storage.contains(&(g, t));
                let choice = choice.then(|| self.choice(group.charge, group.discharge, exclusive.whole));
                charge.push(self.flow(storage, group, g, t, true, choice.map(|entries| entries[0])));
                discharge.push(self.flow(storage, group, g, t, false, choice.map(|entries| entries[1])));
                if choice.is_some() && storage.is_plain() {
                    self.one_way(group, t, [charge[t], discharge[t]], stored.last().copied());
                }
                stored.push(self.stored(storage, group, g, t, floor));
                floor *= storage.kept(self.hours(t));
            }
            self.targets(storage, g, &stored);
            if !storage.is_plain() {
                self.dynamics(storage, g, &charge, &discharge, &stored);
            }
            let missing = if storage.is_plain() { Vec::new() } else { self.used(storage, g) };
            self.built.missing.push(missing);
            self.built.charge.push(charge);
            self.built.discharge.push(discharge);
            self.built.stored.push(stored);
        }
    }

    fn flow(
        &mut self,
        storage: &Storage,
        group: &Group,
        g: usize,
        t: usize,
        charging: bool,
        choice: Option<(usize, f64)>,
    ) -> usize {
        let h = self.hours(t);
        let store = self.built.store_rows[g][t];
        let (sign, change, tie, most) = if charging {
            (-1.0, -storage.charge_efficiency_in(t) * h, self.ties.charge(t), group.charge)
        } else {
            (1.0, h / storage.discharge_efficiency, self.ties.discharge(), group.discharge)
        };
        let mut entries: Vec<(usize, f64)> = self.in_balance(&storage.id, t, sign).collect();
        entries.push((store, change));
        entries.extend(choice);
        let most = if !storage.is_available(t) {
            0.0
        } else if t == 0 {
            most.min(self.first_step(group, charging))
        } else {
            most
        };
        // What is ordered lies within what can be done; it is of a group of its own.
        let ordered = storage.ordered.as_ref().and_then(|ordered| ordered.flow(t, charging));
        let (least, most) = ordered.unwrap_or((0.0, most));
        self.column(storage.wear_cost.as_per_kwh() * h, tie * h, least, most, &entries)
    }

    /// What the members of a group can do together in the first step, each within its own room: tightens the sum.
    fn first_step(&self, group: &Group, charging: bool) -> f64 {
        let h = self.hours(0);
        if !self.problem.storages[group.members[0]].is_plain() {
            return f64::INFINITY;
        }
        let each = |&i: &usize| {
            let s = &self.problem.storages[i];
            let energy = (s.soc * s.capacity).as_kwh();
            // Going both ways at once is ruled out elsewhere, so the room at the start is all there is.
            if charging {
                s.max_charge.as_kw().min((s.energy_max().as_kwh() - energy) / (s.charge_efficiency * h))
            } else {
                s.max_discharge.as_kw().min((energy - s.energy_min().as_kwh()) * s.discharge_efficiency / h)
            }
        };
        group.members.iter().map(each).map(|p| p.max(0.0)).sum()
    }

    /// What is in store after a step, of which a part was lost in it.
    fn stored(&mut self, storage: &Storage, group: &Group, g: usize, t: usize, floor: f64) -> usize {
        let last = t + 1 == self.problem.len();
        let kept = storage.kept(self.hours(t));
        let mut entries = vec![(self.built.store_rows[g][t], 1.0 / kept)];
        if !last {
            entries.push((self.built.store_rows[g][t + 1], -1.0));
        }
        let held = storage.dynamics.holding_cost.as_per_kwh() * self.hours(t);
        let value = if last { storage.end_value.as_per_kwh() } else { 0.0 };
        self.column(held - value, 0.0, floor * kept, group.energy_max * kept, &entries)
    }

    /// Power that falls with the state of charge, a least power, and wear that rises with power.
    fn dynamics(&mut self, s: &Storage, g: usize, charge: &[usize], discharge: &[usize], stored: &[usize]) {
        for t in 0..charge.len() {
            let (h, kept) = (self.hours(t), s.kept(self.hours(t)));
            let place = self.places.groups[g].at(t, 1);
            for (flow, charging) in [(charge[t], true), (discharge[t], false)] {
                for line in s.lines(charging) {
                    let row = self.row_of(g, place, line.at_zero);
                    self.built.lp.append(flow, row, 1.0);
                    self.built.lp.append(stored[t], row, -line.slope / kept);
                }
            }
            let least = s.dynamics.min_charge.as_kw();
            // What people order, or what a device on hold does by itself, is as it is.
            if least > 0.0 && s.is_available(t) && s.ordered_in(t).is_none() {
                let lp = &mut self.built.lp;
                let give = s.max_discharge.as_kw();
                let rows = [0.0, 0.0, give].map(|most| lp.add_row(f64::NEG_INFINITY, most));
                let entries = [(rows[0], least), (rows[1], -s.max_charge.as_kw()), (rows[2], give)];
                let on = self.column(0.0, 0.0, 0.0, 1.0, &entries);
                self.built.lp.integer[on] = true;
                self.built.commits = true;
                self.built.lp.append(charge[t], rows[0], -1.0);
                self.built.lp.append(discharge[t], rows[2], 1.0);
                self.built.lp.append(charge[t], rows[1], 1.0);
            }
            for &(above, more) in &s.dynamics.wear_above {
                let row = self.row_of(g, place, above.as_kw());
                self.built.lp.append(charge[t], row, 1.0);
                self.built.lp.append(discharge[t], row, 1.0);
                let most = (s.max_charge + s.max_discharge).as_kw();
                self.column(more.as_per_kwh() * h, 0.0, 0.0, most, &[(row, -1.0)]);
            }
        }
    }

    /// A row of a group with this upper side.
    fn row_of(&mut self, g: usize, place: usize, most: f64) -> usize {
        let row = self.built.lp.add_row(f64::NEG_INFINITY, most);
        self.built.lp.own(row, self.places.groups[g].part, place);
        row
    }

    /// Use that goes without, and what comes in and finds no room.
    fn used(&mut self, s: &Storage, g: usize) -> Vec<Option<(usize, f64)>> {
        let Some(draw) = &s.dynamics.draw else { return Vec::new() };
        let mut missing = Vec::with_capacity(draw.energy.len());
        for (t, energy) in draw.energy.iter().enumerate() {
            let row = self.built.store_rows[g][t];
            let energy = energy.as_kwh();
            let price = if energy > 0.0 { draw.price.as_per_kwh() } else { 0.0 };
            let sign = energy.signum();
            // What can be kept is kept.
            let tie = self.ties.discharge();
            let column =
                (energy.abs() > 0.0).then(|| self.column(price, tie, 0.0, energy.abs(), &[(row, -sign)]));
            missing.push(column.map(|column| (column, sign)));
        }
        missing
    }

    fn targets(&mut self, storage: &Storage, g: usize, stored: &[usize]) {
        for target in &storage.targets {
            let wanted = (target.soc * storage.capacity).as_kwh();
            let row = self.built.lp.add_row(wanted, f64::INFINITY);
            let place = self.places.groups[g];
            self.built.lp.own(row, place.part, place.at(target.step, 1));
            self.built.lp.append(stored[target.step], row, 1.0);
            self.column(target.price.as_per_kwh(), 0.0, 0.0, wanted.max(0.0), &[(row, 1.0)]);
        }
    }

    fn generation(&mut self) {
        for item in &self.problem.curtailable {
            let mut columns = Vec::new();
            for (t, available) in item.available.iter().enumerate() {
                let tie = self.ties.generation() * self.hours(t);
                let entries: Vec<(usize, f64)> = self.in_balance(&item.id, t, 1.0).collect();
                columns.push(self.column(0.0, tie, 0.0, available.as_kw(), &entries));
            }
            self.built.generation.push(columns);
        }
    }

    fn work(&mut self) {
        let after = price_after(self.problem);
        for (i, work) in self.problem.work.iter().enumerate() {
            let option = self.built.options[i].clone();
            let columns = match option {
                Options::GoesOn(_) => WorkColumns::GoesOn,
                Options::Block(profiles) => {
                    let one = self.built.lp.add_row(1.0, 1.0);
                    let mut starts = Vec::new();
                    for profile in &profiles {
                        let mut entries = vec![(one, 1.0)];
                        let powers = profile.power.iter().enumerate();
                        entries.extend(
                            powers.flat_map(|(k, &p)| self.in_balance(&work.id, profile.start + k, -p)),
                        );
                        let tie = self.ties.work(profile.start.min(self.problem.len() - 1));
                        let tie = tie * work.energy.as_kwh();
                        let start = self.column(after * profile.later, tie, 0.0, 1.0, &entries);
                        self.built.lp.integer[start] = true;
                        starts.push(start);
                    }
                    let undone = self.column(work.value.get(), 0.0, 0.0, 1.0, &[(one, 1.0)]);
                    self.built.lp.integer[undone] = true;
                    WorkColumns::Block { starts, undone }
                }
                Options::Free(free) => {
                    let energy = work.energy.as_kwh();
                    let all = self.built.lp.add_row(energy, energy);
                    self.built.lp.own(all, self.groups.len() + i, 0);
                    let mut power = Vec::new();
                    for (k, &most) in free.most.iter().enumerate() {
                        let t = free.start + k;
                        let h = self.hours(t);
                        let tie = self.ties.work(t) * h;
                        let mut entries: Vec<(usize, f64)> = self.in_balance(&work.id, t, -1.0).collect();
                        entries.push((all, h));
                        power.push(self.column(0.0, tie, 0.0, most, &entries));
                    }
                    let later = self.column(after, 0.0, 0.0, free.later.min(energy), &[(all, 1.0)]);
                    let each = if energy > 0.0 { work.value.get() / energy } else { 0.0 };
                    self.column(each, 0.0, 0.0, energy, &[(all, 1.0)]);
                    WorkColumns::Free { power, later }
                }
            };
            self.built.work.push(columns);
        }
    }

    /// Keeps energy and power for the pessimistic net, in steps where it alone exceeds the import limit; elsewhere
    /// charging less is enough and the follower does it.
    ///
    /// Over a run of such steps, `r` is the discharge beyond the plan: bounded by free power, and its sum so far
    /// (delivered) by what the plan leaves in store.
    fn reserve(&mut self) {
        let Some(low) = &self.problem.pessimistic else { return };
        let mut run: Vec<(usize, f64)> = Vec::new();
        for t in 0..self.problem.len() {
            let limit = self.problem.connection.import_limit[t].map(sos_units::Power::as_kw);
            let need = limit.map_or(0.0, |limit| -low.fixed[t].as_kw() - limit);
            if need <= 0.0 {
                run.clear();
                continue;
            }
            let h = self.hours(t);
            let able: Vec<usize> = (0..self.groups.len())
                .filter(|&g| self.problem.storages[self.groups[g].members[0]].is_available(t))
                .collect();
            let power: f64 = able.iter().map(|&g| self.most_out(g, t)).sum();
            let free = self.built.lp.add_row(-power, f64::INFINITY);
            let met = self.built.lp.add_row(need + self.going_on(t), f64::INFINITY);
            let kept: f64 = able.iter().map(|&g| self.efficiency(g) * self.groups[g].energy_min).sum();
            let energy = self.built.lp.add_row(kept, f64::INFINITY);
            for &g in &able {
                let (c, d, e) =
                    (self.built.charge[g][t], self.built.discharge[g][t], self.built.stored[g][t]);
                for (column, row, value) in [
                    (c, free, 1.0),
                    (d, free, -1.0),
                    (c, met, -1.0),
                    (d, met, 1.0),
                    (e, energy, self.efficiency(g)),
                ] {
                    self.built.lp.append(column, row, value);
                }
            }
            self.others_in(t, met);
            let r = self.column(0.0, 0.0, 0.0, power.max(0.0), &[(free, -1.0), (met, 1.0), (energy, -h)]);
            for &(earlier, hours) in &run {
                self.built.lp.append(earlier, energy, -hours);
            }
            run.push((r, h));
            // Whatever charges and works may count as missing, even what the expected surplus would feed.
            let most = need + self.most[0][t][0] + self.problem.fixed[t].as_kw().abs();
            self.column(low.price.as_per_kwh() * h, 0.0, 0.0, most, &[(met, 1.0)]);
        }
    }

    /// Keeps stored energy for the connection's limit.
    fn stock(&mut self) {
        let Some(reserve) = &self.problem.reserve else { return };
        let least: f64 = self.groups.iter().map(|g| g.energy_min).sum();
        for (t, wanted) in reserve.energy.iter().enumerate().filter(|(_, e)| e.as_kwh() > 0.0) {
            let row = self.built.lp.add_row(least + wanted.as_kwh(), f64::INFINITY);
            for stored in &self.built.stored {
                self.built.lp.append(stored[t], row, 1.0);
            }
            self.column(reserve.price.as_per_kwh(), 0.0, 0.0, wanted.as_kwh(), &[(row, 1.0)]);
        }
    }

    /// Most discharging power of a group in a step; below zero where charging is ordered.
    fn most_out(&self, g: usize, t: usize) -> f64 {
        let storage = &self.problem.storages[self.groups[g].members[0]];
        if storage.ordered_in(t).is_some() { storage.most_out(t) } else { self.groups[g].discharge }
    }

    fn efficiency(&self, g: usize) -> f64 {
        self.problem.storages[self.groups[g].members[0]].discharge_efficiency
    }

    /// Power of work that goes on in a step.
    fn going_on(&self, t: usize) -> f64 {
        let power = |option: &Options| match option {
            Options::GoesOn(p) => t.checked_sub(p.start).and_then(|k| p.power.get(k)).copied().unwrap_or(0.0),
            _ => 0.0,
        };
        self.built.options.iter().map(power).sum()
    }

    /// Generation and work enter the pessimistic balance as they enter the expected one.
    fn others_in(&mut self, t: usize, row: usize) {
        let mut entries: Vec<(usize, f64)> = self.built.generation.iter().map(|c| (c[t], 1.0)).collect();
        for (columns, option) in self.built.work.iter().zip(&self.built.options) {
            match (columns, option) {
                (WorkColumns::Block { starts, .. }, Options::Block(profiles)) => {
                    for (&column, profile) in starts.iter().zip(profiles) {
                        let k = t.checked_sub(profile.start);
                        let power = k.and_then(|k| profile.power.get(k)).copied().unwrap_or(0.0);
                        entries.push((column, -power));
                    }
                }
                (WorkColumns::Free { power, .. }, Options::Free(free)) => {
                    let column = t.checked_sub(free.start).and_then(|k| power.get(k));
                    entries.extend(column.map(|&c| (c, -1.0)));
                }
                _ => {}
            }
        }
        for (column, value) in entries {
            self.built.lp.append(column, row, value);
        }
    }
}
