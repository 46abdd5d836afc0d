//! From readings to settled ticks: a tick waits here until every device's energy is known.
//!
//! A device that did not answer for a while still counted. When it answers again, the difference of its energy
//! counters is spread over the ticks that were missed, so that nothing is lost and nothing is counted twice. What no
//! counter will tell is estimated, and counted as such; a counter that speaks later corrects the sum.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::ExactEnergy;

/// The longest that ticks wait for a device to answer again; then they are estimated.
pub const LONGEST_WAIT: usize = 2_000;

/// How an energy became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// By the reading of its tick.
    Measured,
    /// By the counter of the device, later.
    Counted,
    /// Never: it is a best estimate.
    Estimated,
}

/// One tick whose energies are not all known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTick<T> {
    /// Start of the tick.
    pub start: Timestamp,
    /// Its length.
    pub seconds: i64,
    /// Energy per device, positive into the site; `None` while it is unknown.
    pub energy: Vec<Option<(ExactEnergy, Source)>>,
    /// What the ledger needs besides.
    pub context: T,
}

impl<T> OpenTick<T> {
    /// Energy of a device, when it is known.
    #[must_use]
    pub fn of(&self, device: usize) -> Option<ExactEnergy> {
        self.energy[device].map(|(energy, _)| energy)
    }
}

/// What a device's counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Energy into the site less energy out of it.
    pub net: ExactEnergy,
    /// A counter of this range begins again at zero when it is full.
    pub range: Option<ExactEnergy>,
}

/// What a device's counter said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    at: Timestamp,
    net: ExactEnergy,
    /// What has been settled since by estimates.
    settled: ExactEnergy,
}

/// Ticks in order of time that wait for completion. What is serialised has a constant size: the ticks that wait are
/// kept apart, see [`Settlement::unkept`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settlement<T> {
    #[serde(skip)]
    open: VecDeque<OpenTick<T>>,
    counters: Vec<Option<Counter>>,
    /// The first so many open ticks are kept as they are.
    #[serde(skip)]
    kept: usize,
    /// So many ticks before them are kept and no longer open.
    #[serde(skip)]
    gone: usize,
    /// Whether a tick that is kept has changed.
    #[serde(skip)]
    stale: bool,
}

/// What has to be written so that the open ticks are kept.
#[derive(Debug)]
pub struct Unkept<'a, T> {
    /// How many are kept now.
    pub stored: usize,
    /// How many of these, from the oldest on, are to be dropped.
    pub drop: usize,
    /// What is to be appended.
    pub append: Vec<&'a OpenTick<T>>,
}

impl<T> Settlement<T> {
    /// Nothing open; `devices` devices.
    #[must_use]
    pub fn new(devices: usize) -> Self {
        Self { open: VecDeque::new(), counters: vec![None; devices], kept: 0, gone: 0, stale: false }
    }

    /// The number of devices it was made for.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.counters.len()
    }

    /// The ticks that wait, oldest first.
    pub fn waiting_ticks(&self) -> impl Iterator<Item = &OpenTick<T>> {
        self.open.iter()
    }

    /// Goes on with open ticks that were kept.
    pub fn restore(&mut self, open: Vec<OpenTick<T>>) {
        self.open = open.into();
        self.kept = self.open.len();
    }

    /// What has to be written so that the open ticks are kept: nothing where every device answers.
    #[must_use]
    pub fn unkept(&self) -> Unkept<'_, T> {
        let stored = self.gone + self.kept;
        let (drop, from) = if self.stale { (stored, 0) } else { (self.gone, self.kept) };
        Unkept { stored, drop, append: self.open.iter().skip(from).collect() }
    }

    /// Notes that it has been written.
    pub fn kept(&mut self) {
        (self.kept, self.gone, self.stale) = (self.open.len(), 0, false);
    }

    /// Adds the tick that has just ended; `readings` as energy, `None` where a device did not answer.
    pub fn push(&mut self, start: Timestamp, seconds: i64, readings: Vec<Option<ExactEnergy>>, context: T) {
        let measured = |energy: Option<ExactEnergy>| energy.map(|energy| (energy, Source::Measured));
        let energy = readings.into_iter().map(measured).collect();
        self.open.push_back(OpenTick { start, seconds, energy, context });
    }

    /// Tells what the energy counter of a device says at `at`, the end of the latest tick: fills what was missed
    /// since it was last read.
    pub fn counter(&mut self, device: usize, at: Timestamp, count: Count) {
        let now = Counter { at, net: count.net, settled: ExactEnergy::ZERO };
        let Some(before) = self.counters[device].replace(now) else { return };
        let since = || self.open.iter().filter(|tick| tick.start >= before.at && tick.start < at);
        let known: ExactEnergy = since().filter_map(|tick| tick.of(device)).sum();
        let unknown: i64 =
            since().filter(|tick| tick.energy[device].is_none()).map(|tick| tick.seconds).sum();
        if unknown > 0 {
            let counted = unwrapped(count.net - before.net, count.range);
            self.spread(device, before.at, at, counted - before.settled - known, unknown);
        }
    }

    /// Spreads `energy` evenly over the unknown ticks of a device in `from..to`, to the last watt-second.
    fn spread(&mut self, device: usize, from: Timestamp, to: Timestamp, energy: ExactEnergy, seconds: i64) {
        let (mut left, mut time) = (energy.as_watt_seconds(), seconds);
        for (index, tick) in self.open.iter_mut().enumerate() {
            if tick.start >= from && tick.start < to && tick.energy[device].is_none() {
                let share = i128::from(left) * i128::from(tick.seconds) / i128::from(time.max(1));
                let share = i64::try_from(share).unwrap_or_default();
                tick.energy[device] = Some((ExactEnergy::watt_seconds(share), Source::Counted));
                self.stale |= index < self.kept;
                left -= share;
                time -= tick.seconds;
            }
        }
    }

    /// Estimates what is unknown wherever `guess` has a value for it; its last argument tells that the tick can wait no
    /// longer, being older than the newest `keep`. Only of these is it asked unless `any` tick may be estimated. Returns
    /// how many values were estimated.
    pub fn estimate(
        &mut self,
        keep: usize,
        any: bool,
        guess: impl Fn(usize, &OpenTick<T>, bool) -> Option<ExactEnergy>,
    ) -> u64 {
        let mut estimated = 0;
        let beyond = self.open.len().saturating_sub(keep);
        let asked = if any { self.open.len() } else { beyond };
        for (index, tick) in self.open.iter_mut().enumerate().take(asked) {
            for device in 0..tick.energy.len() {
                if tick.energy[device].is_none()
                    && let Some(energy) = guess(device, tick, index < beyond)
                {
                    tick.energy[device] = Some((energy, Source::Estimated));
                    self.stale |= index < self.kept;
                    estimated += 1;
                }
            }
        }
        estimated
    }

    /// Takes the oldest tick if it is complete. Ticks leave in order of time.
    pub fn pop(&mut self) -> Option<OpenTick<T>> {
        if !self.open.front()?.energy.iter().all(Option::is_some) {
            return None;
        }
        let tick = self.open.pop_front()?;
        if self.kept > 0 {
            self.kept -= 1;
            self.gone += 1;
        }
        for (device, counter) in self.counters.iter_mut().enumerate() {
            if let (Some(counter), Some(energy)) = (counter, tick.of(device))
                && tick.start >= counter.at
            {
                counter.settled += energy;
            }
        }
        Some(tick)
    }

    /// Ticks that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.len()
    }
}

/// The difference of a counter that may have begun again: of all that fit, the one nearest to zero. Half a range is
/// far more than any device moves while it is away.
fn unwrapped(difference: ExactEnergy, range: Option<ExactEnergy>) -> ExactEnergy {
    let (difference, range) = (difference.as_watt_seconds(), range.map_or(0, ExactEnergy::as_watt_seconds));
    if range <= 0 {
        return ExactEnergy::watt_seconds(difference);
    }
    let rest = difference.rem_euclid(range);
    ExactEnergy::watt_seconds(if rest > range / 2 { rest - range } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn ws(value: i64) -> ExactEnergy {
        ExactEnergy::watt_seconds(value)
    }

    fn count(value: i64) -> Count {
        Count { net: ws(value), range: None }
    }

    fn start() -> Timestamp {
        "2016-08-01T07:00:00Z".parse().unwrap()
    }

    const STEP: SignedDuration = SignedDuration::from_secs(900);

    /// What is kept of a settlement: as after a restart of the controller.
    #[derive(Default)]
    struct Disk {
        open: Vec<OpenTick<()>>,
        state: String,
    }

    impl Disk {
        fn keep(&mut self, settlement: &mut Settlement<()>) {
            let unkept = settlement.unkept();
            assert_eq!(unkept.stored, self.open.len());
            self.open.drain(..unkept.drop);
            self.open.extend(unkept.append.into_iter().cloned());
            settlement.kept();
            self.state = serde_json::to_string(settlement).unwrap();
        }

        fn restart(&self) -> Settlement<()> {
            let mut settlement: Settlement<()> = serde_json::from_str(&self.state).unwrap();
            settlement.restore(self.open.clone());
            settlement
        }
    }

    proptest! {
        /// Whatever is missed, estimated meanwhile, or interrupted by a restart: the settled energy is what the counter
        /// counted, though it begins again at its range.
        #[test]
        fn outages_lose_nothing(
            steps in prop::collection::vec((-9000i64..9000, any::<bool>(), any::<bool>()), 2..60),
            other in prop::collection::vec(any::<bool>(), 60),
            wait in 0usize..20,
            offset in 0i64..200_000_000_000,
        ) {
            const RANGE: i64 = 200_000_000_000;
            let mut settlement = Settlement::new(2);
            let told = |counted: i64| Count { net: ws((offset + counted).rem_euclid(RANGE)), range: Some(ws(RANGE)) };
            settlement.counter(0, start(), told(0));
            settlement.counter(1, start(), count(0));
            let mut disk = Disk::default();
            disk.keep(&mut settlement);
            let (mut counted, mut settled, mut at) = (0, 0, start());
            let last = steps.len() - 1;
            for (i, &(watts, down, restart)) in steps.iter().enumerate() {
                // At the end both answer and nothing has been estimated beyond the last answer.
                let down = down && i != last;
                let other_down = other[i] && i != last;
                counted += watts * 900;
                let readings = vec![(!down).then(|| ws(watts * 900)), (!other_down).then(|| ws(0))];
                settlement.push(at, 900, readings, ());
                at += STEP;
                if !down {
                    settlement.counter(0, at, told(counted));
                }
                if !other_down {
                    settlement.counter(1, at, count(0));
                }
                let keep = if i == last { usize::MAX } else { wait.max(1) };
                settlement.estimate(keep, true, |_, _, beyond| beyond.then(|| ws(450_000)));
                while let Some(tick) = settlement.pop() {
                    settled += tick.of(0).unwrap().as_watt_seconds();
                }
                disk.keep(&mut settlement);
                if restart {
                    settlement = disk.restart();
                }
            }
            prop_assert_eq!(settlement.waiting(), 0);
            prop_assert_eq!(settled, counted);
        }
    }

    #[test]
    fn what_stays_unknown_is_estimated_and_counted() {
        let mut settlement = Settlement::new(2);
        settlement.push(start(), 900, vec![Some(ws(5)), None], ());
        assert!(settlement.pop().is_none());
        assert_eq!(settlement.estimate(1, true, |_, _, beyond| beyond.then(|| ws(7))), 0);
        assert_eq!(settlement.estimate(0, false, |_, _, beyond| beyond.then(|| ws(7))), 1);
        let tick = settlement.pop().unwrap();
        assert_eq!(tick.energy, [Some((ws(5), Source::Measured)), Some((ws(7), Source::Estimated))]);
    }

    #[test]
    fn a_counter_that_speaks_after_an_estimate_corrects_the_sum() {
        let mut settlement: Settlement<()> = Settlement::new(1);
        settlement.counter(0, start(), count(1_000));
        settlement.push(start(), 900, vec![None], ());
        settlement.estimate(0, false, |_, _, _| Some(ws(700)));
        assert_eq!(settlement.pop().unwrap().of(0), Some(ws(700)));
        settlement.push(start() + STEP, 900, vec![None], ());
        settlement.counter(0, start() + STEP * 2, count(2_000));
        assert_eq!(settlement.pop().unwrap().of(0), Some(ws(300)));
    }

    #[test]
    fn what_is_written_each_tick_has_a_constant_size_however_long_a_device_is_away() {
        let mut settlement: Settlement<()> = Settlement::new(2);
        let size = |settlement: &Settlement<()>| serde_json::to_string(settlement).unwrap().len();
        let empty = size(&settlement);
        for i in 0..1_000 {
            settlement.push(start() + STEP * i, 900, vec![None, Some(ws(1))], ());
            assert_eq!(settlement.unkept().append.len(), 1);
            settlement.kept();
        }
        assert_eq!(size(&settlement), empty);
    }
}
