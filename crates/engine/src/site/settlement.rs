//! From readings to settled ticks: a tick waits here until every device's energy is known.
//!
//! A device that did not answer for a while still counted. When it answers again, the difference of its energy
//! counters is spread over the ticks that were missed, so that nothing is lost and nothing is counted twice. What
//! stays unknown for too long is estimated, and counted as such.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::ExactEnergy;

/// The longest that ticks wait for a device to answer again; then they are estimated.
pub const LONGEST_WAIT: usize = 2_000;

/// One tick whose energies are not all known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTick<T> {
    /// Start of the tick.
    pub start: Timestamp,
    /// Its length.
    pub seconds: i64,
    /// Energy per device, positive into the site; `None` while it is unknown.
    pub energy: Vec<Option<ExactEnergy>>,
    /// Which of them did not come from a reading of this tick.
    pub late: Vec<bool>,
    /// What the ledger needs besides.
    pub context: T,
}

/// What a device's counter said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    at: Timestamp,
    net: ExactEnergy,
}

/// Ticks in order of time that wait for completion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settlement<T> {
    open: VecDeque<OpenTick<T>>,
    counters: Vec<Option<Counter>>,
}

impl<T> Settlement<T> {
    /// Nothing open; `devices` devices.
    #[must_use]
    pub fn new(devices: usize) -> Self {
        Self { open: VecDeque::new(), counters: vec![None; devices] }
    }

    /// The number of devices it was made for.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.counters.len()
    }

    /// Adds the tick that has just ended; `readings` as energy, `None` where a device did not answer.
    pub fn push(&mut self, start: Timestamp, seconds: i64, readings: Vec<Option<ExactEnergy>>, context: T) {
        let late = readings.iter().map(Option::is_none).collect();
        self.open.push_back(OpenTick { start, seconds, energy: readings, late, context });
    }

    /// Tells what the energy counter of a device says at `at`, the end of the latest tick: fills what was missed
    /// since it was last read.
    pub fn counter(&mut self, device: usize, at: Timestamp, net: ExactEnergy) {
        let before = self.counters[device].replace(Counter { at, net });
        let Some(before) = before else { return };
        let since = || self.open.iter().filter(|tick| tick.start >= before.at && tick.start < at);
        let known: ExactEnergy = since().filter_map(|tick| tick.energy[device]).sum();
        let unknown: i64 =
            since().filter(|tick| tick.energy[device].is_none()).map(|tick| tick.seconds).sum();
        if unknown > 0 {
            self.spread(device, before.at, at, net - before.net - known, unknown);
        }
    }

    /// Spreads `energy` evenly over the unknown ticks of a device in `from..to`, to the last watt-second.
    fn spread(&mut self, device: usize, from: Timestamp, to: Timestamp, energy: ExactEnergy, seconds: i64) {
        let (mut left, mut time) = (energy.as_watt_seconds(), seconds);
        for tick in self.open.iter_mut().filter(|tick| tick.start >= from && tick.start < to) {
            if tick.energy[device].is_none() {
                let share = i128::from(left) * i128::from(tick.seconds) / i128::from(time.max(1));
                let share = i64::try_from(share).unwrap_or_default();
                tick.energy[device] = Some(ExactEnergy::watt_seconds(share));
                left -= share;
                time -= tick.seconds;
            }
        }
    }

    /// Estimates what is still unknown in ticks beyond the newest `keep`; returns how many values were estimated.
    pub fn estimate(&mut self, keep: usize, guess: impl Fn(usize, &OpenTick<T>) -> ExactEnergy) -> u64 {
        let mut estimated = 0;
        let beyond = self.open.len().saturating_sub(keep);
        for tick in self.open.iter_mut().take(beyond) {
            for device in 0..tick.energy.len() {
                if tick.energy[device].is_none() {
                    tick.energy[device] = Some(guess(device, tick));
                    estimated += 1;
                }
            }
        }
        estimated
    }

    /// Takes the oldest tick if it is complete. Ticks leave in order of time.
    pub fn pop(&mut self) -> Option<OpenTick<T>> {
        let complete = self.open.front()?.energy.iter().all(Option::is_some);
        if complete { self.open.pop_front() } else { None }
    }

    /// Ticks that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn ws(value: i64) -> ExactEnergy {
        ExactEnergy::watt_seconds(value)
    }

    proptest! {
        /// Whatever is missed, the settled energy is what the counter counted.
        #[test]
        fn outages_lose_nothing(steps in prop::collection::vec((-9000i64..9000, any::<bool>()), 1..60)) {
            let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
            let mut settlement = Settlement::new(1);
            settlement.counter(0, start, ws(0));
            let (mut counted, mut settled, mut at) = (0, 0, start);
            let last = steps.len() - 1;
            for (i, &(watts, down)) in steps.iter().enumerate() {
                let down = down && i != last;
                counted += watts * 900;
                settlement.push(at, 900, vec![(!down).then(|| ws(watts * 900))], ());
                at += SignedDuration::from_secs(900);
                if !down {
                    settlement.counter(0, at, ws(counted));
                }
                while let Some(tick) = settlement.pop() {
                    settled += tick.energy[0].unwrap().as_watt_seconds();
                }
            }
            prop_assert_eq!(settled, counted);
            prop_assert_eq!(settlement.waiting(), 0);
        }
    }

    #[test]
    fn what_stays_unknown_is_estimated_and_counted() {
        let start: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let mut settlement = Settlement::new(2);
        settlement.push(start, 900, vec![Some(ws(5)), None], ());
        assert!(settlement.pop().is_none());
        assert_eq!(settlement.estimate(0, |_, _| ws(7)), 1);
        let tick = settlement.pop().unwrap();
        assert_eq!((tick.energy, tick.late), (vec![Some(ws(5)), Some(ws(7))], vec![false, true]));
    }
}
