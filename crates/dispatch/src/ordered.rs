//! Power that people ordered of a storage, as far as it can be given: what it means for the steps of a plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::Power;

use crate::problem::{Step, Storage};

/// An order about a storage over a horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    /// Power that was ordered, kW, site sign.
    pub power: Power,
    /// Least and most mean power of each step, kW, site sign; `None` = free. Equal where the order lasts all of the step.
    pub range: Vec<Option<(Power, Power)>>,
    /// Who ordered it, until when and why, for people.
    pub because: String,
}

/// Rounding of energies that must not make a plan impossible.
const ALMOST: f64 = 1.0 - 1e-9;

impl Ordered {
    /// An order of `power` until `until`, over `steps` from the first one's start.
    ///
    /// # Guarantees
    /// The ranges can be held one after the other from the storage's state of charge: where it would become empty or
    /// full, or the power is beyond its limits, they hold what is left of the order. In a step that the order covers in
    /// part, the rest of the step is free.
    #[must_use]
    pub fn new(storage: &Storage, steps: &[Step], power: Power, until: Timestamp, because: String) -> Self {
        let mut stored = (storage.soc * storage.capacity).as_kwh();
        let range = (0..steps.len()).map(|t| {
            let hours = steps[t].duration.get();
            let covered = covered(steps[t], until);
            if covered <= 0.0 {
                return None;
            }
            if !storage.is_available(t) {
                return Some((Power::ZERO, Power::ZERO));
            }
            let given = clipped(storage, t, stored, finite(power), hours * covered);
            if covered < 1.0 {
                return Some(around(storage, t, stored, given * covered, 1.0 - covered, hours));
            }
            stored = after(storage, t, stored, given, hours);
            Some((Power::kw(given), Power::kw(given)))
        });
        Self { power, range: range.collect(), because }
    }

    /// Least and most charging (as a size) or discharging power in a step, kW; `None` = free.
    pub(crate) fn flow(&self, step: usize, charging: bool) -> Option<(f64, f64)> {
        let (low, high) = self.range.get(step).copied().flatten()?;
        let (low, high) = (low.as_kw(), high.as_kw());
        Some(if charging { ((-high).max(0.0), (-low).max(0.0)) } else { (low.max(0.0), high.max(0.0)) })
    }
}

impl Storage {
    /// What is ordered of it in `step`.
    #[must_use]
    pub fn ordered_in(&self, step: usize) -> Option<(Power, Power)> {
        self.ordered.as_ref()?.range.get(step).copied().flatten()
    }

    /// Most power out of it in `step`, kW; below zero where charging is ordered.
    pub(crate) fn most_out(&self, step: usize) -> f64 {
        self.ordered_in(step).map_or(self.max_discharge.as_kw(), |(_, high)| high.as_kw())
    }
}

/// The power nearest to `wanted` (kW, site sign) that a storage with `stored` kWh can hold for `hours` of a step.
pub(crate) fn clipped(s: &Storage, t: usize, stored: f64, wanted: f64, hours: f64) -> f64 {
    let [into, out] = s.room(t, hours, stored, s.energy_min().as_kwh());
    let given = wanted.clamp(-into * ALMOST, out * ALMOST);
    if given.abs() <= trace(s) { 0.0 } else { given }
}

/// Power below which nothing is ordered, kW: an either-or choice of the solver cannot tell less from nothing.
fn trace(s: &Storage) -> f64 {
    1e-5 * s.max_charge.max(s.max_discharge).as_kw()
}

/// Energy in store after `power` for the `hours` of a step.
pub(crate) fn after(s: &Storage, t: usize, stored: f64, power: f64, hours: f64) -> f64 {
    s.moved(t, hours, stored, s.energy_min().as_kwh().min(stored), power, 0.0).after
}

/// The mean powers of a step of which `mean` is spoken for and the share `free` is not.
fn around(s: &Storage, t: usize, stored: f64, mean: f64, free: f64, hours: f64) -> (Power, Power) {
    let mean = if mean.abs() <= trace(s) { 0.0 } else { mean };
    let low = clipped(s, t, stored, mean - free * s.max_charge.as_kw(), hours).min(mean);
    let high = clipped(s, t, stored, mean + free * s.max_discharge.as_kw(), hours).max(mean);
    (Power::kw(low), Power::kw(high))
}

/// The share of a step that lies before a time, 0…1.
#[must_use]
pub fn covered(step: Step, until: Timestamp) -> f64 {
    if until >= step.end() {
        return 1.0;
    }
    let share = until.duration_since(step.start).as_secs_f64() / (step.duration.get() * 3600.0);
    share.clamp(0.0, 1.0)
}

fn finite(power: Power) -> f64 {
    if power.is_finite() { power.as_kw() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sos_units::{Energy, Hours, Price, Soc};

    use super::*;

    fn storage(soc: f64) -> Storage {
        Storage {
            id: "b".into(),
            capacity: Energy::kwh(6.4),
            soc: Soc::fraction(soc),
            min_soc: Soc::fraction(0.1),
            max_soc: Soc::fraction(0.9),
            max_charge: Power::kw(3.0),
            max_discharge: Power::kw(5.0),
            charge_efficiency: 0.95,
            discharge_efficiency: 0.9,
            end_value: Price::ZERO,
            wear_cost: Price::ZERO,
            available: None,
            targets: Vec::new(),
            ordered: None,
            dynamics: Default::default(),
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_470_000_000 + minutes * 60).unwrap()
    }

    /// Half an hour, then whole hours.
    fn steps(n: i64) -> Vec<Step> {
        let hours = |minutes: f64| Hours::new(minutes / 60.0);
        let first = Step { start: at(0), duration: hours(30.0) };
        let rest = (0..n - 1).map(|t| Step { start: at(30 + 60 * t), duration: hours(60.0) });
        std::iter::once(first).chain(rest).collect()
    }

    fn ordered(soc: f64, kw: f64, minutes: i64) -> Vec<Option<(f64, f64)>> {
        let order = Ordered::new(&storage(soc), &steps(5), Power::kw(kw), at(minutes), String::new());
        order.range.into_iter().map(|r| r.map(|(low, high)| (low.as_kw(), high.as_kw()))).collect()
    }

    #[test]
    fn whole_steps_are_fixed_and_the_rest_of_the_last_one_is_free() {
        let range = ordered(0.2, -1.0, 105);
        assert_eq!(&range[..2], [Some((-1.0, -1.0)); 2]);
        let (low, high) = range[2].unwrap();
        // A quarter of the hour at −1 kW, the rest between full charging and what is in store.
        assert!((low - (-0.25 - 0.75 * 3.0)).abs() < 1e-9, "{low}");
        let stored = 0.1 * 6.4 + 1.0 * 0.95 * 1.5;
        assert!((high - stored * 0.9).abs() < 1e-6, "{high}");
        assert_eq!(&range[3..], [None, None]);
        assert_eq!(ordered(0.2, -1.0, 0), [None; 5]);
    }

    #[test]
    fn a_battery_that_becomes_full_or_empty_half_way_gives_what_is_left() {
        let room = 0.4 * 6.4 / 0.95;
        let range = ordered(0.5, -2.0, 600);
        assert_eq!(&range[..1], [Some((-2.0, -2.0))]);
        let second = range[1].unwrap().0;
        assert!((second + room - 1.0).abs() < 1e-6, "{second} of {room}");
        assert!(range[2..].iter().all(|r| r.unwrap().0.abs() < 1e-6), "{range:?}");
        let out = ordered(0.15, 50.0, 600)[0].unwrap();
        assert!((out.1 - 0.05 * 6.4 * 0.9 / 0.5).abs() < 1e-6, "{out:?}");
    }

    proptest! {
        /// Held at either end of its ranges, a storage stays within its limits all along.
        #[test]
        fn ranges_can_always_be_held(
            soc in 0.0..1.0_f64, kw in prop::num::f64::ANY, minutes in -10..400_i64, high in any::<bool>(),
        ) {
            let s = storage(soc);
            let steps = steps(6);
            let order = Ordered::new(&s, &steps, Power::kw(kw), at(minutes), String::new());
            let mut stored = (s.soc * s.capacity).as_kwh();
            for (t, step) in steps.iter().enumerate() {
                let Some(range) = order.range[t] else { continue };
                prop_assert!(range.0 <= range.1 && -s.max_charge <= range.0 && range.1 <= s.max_discharge, "{range:?}");
                let power = if high { range.1 } else { range.0 }.as_kw();
                let change = if power > 0.0 { -power / 0.9 } else { -power * 0.95 };
                stored += change * step.duration.get();
                prop_assert!(stored > s.energy_min().as_kwh() - 1e-6 && stored < s.energy_max().as_kwh() + 1e-6);
            }
        }
    }
}
