//! Storages that differ only in size and state are planned as one and split afterwards.
//!
//! The sum of storages with equal efficiencies, wear, end value and availability is a relaxation: whatever the
//! single ones can do, the sum can. When its plan can be split within everybody's limits, the split plan costs
//! the same and is optimal too. Storages in the same state always split exactly (equal shares); others nearly always,
//! because the split keeps them level. Where it fails, the caller plans every storage by itself.

use crate::connection::Behind;
use crate::problem::{Problem, Storage};

/// Storages planned as one. Plain numbers: kW, kWh.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Indices into `Problem::storages`.
    pub(crate) members: Vec<usize>,
    pub(crate) energy: f64,
    pub(crate) energy_min: f64,
    pub(crate) energy_max: f64,
    pub(crate) charge: f64,
    pub(crate) discharge: f64,
}

/// Whether two storages behind the same feeders may be planned as one.
fn alike(a: &Storage, b: &Storage) -> bool {
    let same = |x: f64, y: f64| x.to_bits() == y.to_bits();
    same(a.charge_efficiency, b.charge_efficiency)
        && same(a.discharge_efficiency, b.discharge_efficiency)
        && same(a.wear_cost.as_per_kwh(), b.wear_cost.as_per_kwh())
        && same(a.end_value.as_per_kwh(), b.end_value.as_per_kwh())
        && a.available == b.available
        && a.is_plain()
        && b.is_plain()
        && a.ordered.is_none()
        && b.ordered.is_none()
        && a.targets.is_empty()
        && b.targets.is_empty()
}

/// Groups storages, in order of their first member; `single` keeps each by itself.
pub(crate) fn groups(problem: &Problem, behind: &Behind<'_>, single: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let same_place = |a: &Storage, b: &Storage| behind.meters(&a.id) == behind.meters(&b.id);
    for (index, storage) in problem.storages.iter().enumerate() {
        let fits = |other: &Storage| alike(other, storage) && same_place(other, storage);
        let found = groups.iter_mut().find(|g| !single && fits(&problem.storages[g.members[0]]));
        match found {
            Some(group) => group.add(index, storage),
            None => {
                let mut group = Group {
                    members: Vec::new(),
                    energy: 0.0,
                    energy_min: 0.0,
                    energy_max: 0.0,
                    charge: 0.0,
                    discharge: 0.0,
                };
                group.add(index, storage);
                groups.push(group);
            }
        }
    }
    groups
}

impl Group {
    fn add(&mut self, index: usize, s: &Storage) {
        self.members.push(index);
        self.energy += (s.soc * s.capacity).as_kwh();
        self.energy_min += s.energy_min().as_kwh();
        self.energy_max += s.energy_max().as_kwh();
        self.charge += s.max_charge.as_kw();
        self.discharge += s.max_discharge.as_kw();
    }
}

/// How far a split may fall short, kW, before it counts as failed.
const SHORT: f64 = 1e-6;

/// Splits a group's power (kW, discharge positive, per step) over its members.
/// Returns per member its power per step, or `None` when some member's limit is in the way.
///
/// Charging goes to those that would take longest to fill, discharging to those that would take longest to
/// empty, so that all keep their full power available for as long as possible.
pub(crate) fn split(problem: &Problem, group: &Group, power: &[f64]) -> Option<Vec<Vec<f64>>> {
    if !problem.storages[group.members[0]].is_plain() {
        return Some(vec![power.to_vec()]);
    }
    let members: Vec<&Storage> = group.members.iter().map(|&i| &problem.storages[i]).collect();
    let mut stored: Vec<f64> = members.iter().map(|s| (s.soc * s.capacity).as_kwh()).collect();
    let mut shares = vec![Vec::with_capacity(power.len()); members.len()];
    for (step, &total) in power.iter().enumerate() {
        let hours = problem.steps[step].duration.get();
        let rate: Vec<f64> = members
            .iter()
            .map(|s| if total > 0.0 { s.max_discharge.as_kw() } else { s.max_charge.as_kw() })
            .collect();
        let room: Vec<f64> = members
            .iter()
            .zip(&stored)
            .map(|(s, &e)| {
                if total > 0.0 {
                    (e - s.energy_min().as_kwh()).max(0.0) * s.discharge_efficiency
                } else {
                    (s.energy_max().as_kwh() - e).max(0.0) / s.charge_efficiency
                }
            })
            .collect();
        let filled = level(total.abs(), hours, &rate, &room);
        if total.abs() - filled.iter().sum::<f64>() > SHORT {
            return None;
        }
        for (i, s) in members.iter().enumerate() {
            let signed = if total > 0.0 { filled[i] } else { -filled[i] };
            stored[i] += if total > 0.0 {
                -filled[i] * hours / s.discharge_efficiency
            } else {
                filled[i] * hours * s.charge_efficiency
            };
            shares[i].push(signed);
        }
    }
    Some(shares)
}

/// Shares `total` kW so that the time everyone would still need (`room / rate`) is level afterwards.
/// `room` in kWh at the terminals, `rate` in kW.
pub(crate) fn level(total: f64, hours: f64, rate: &[f64], room: &[f64]) -> Vec<f64> {
    let most: Vec<f64> = rate.iter().zip(room).map(|(&r, &e)| r.min(e / hours).max(0.0)).collect();
    let sum: f64 = most.iter().sum();
    if total >= sum {
        return most;
    }
    if total <= 0.0 {
        return vec![0.0; rate.len()];
    }
    let at =
        |time: f64| -> Vec<f64> {
            (0..rate.len())
                .map(|i| {
                    if rate[i] > 0.0 { ((room[i] - time * rate[i]) / hours).clamp(0.0, most[i]) } else { 0.0 }
                })
                .collect()
        };
    // What is given falls as the level rises: bisect on the level.
    let (mut low, mut high) = (0.0, 0.0_f64);
    for i in 0..rate.len() {
        if rate[i] > 0.0 {
            high = high.max(room[i] / rate[i]);
        }
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at(middle).iter().sum::<f64>() > total { low = middle } else { high = middle }
    }
    scale_to(at(low), total)
}

/// Removes the rounding of the bisection; `given` sums to slightly more than `total`.
fn scale_to(mut given: Vec<f64>, total: f64) -> Vec<f64> {
    let sum: f64 = given.iter().sum();
    if sum > 0.0 {
        let factor = (total / sum).min(1.0);
        given.iter_mut().for_each(|g| *g *= factor);
    }
    given
}
