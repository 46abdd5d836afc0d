//! Step numbers to time of day and kind of day.

use jiff::{Timestamp, tz::TimeZone};

use crate::config::{Character, ForecastConfig};

const DAY: i64 = 86_400;
/// Shortest slot of a daily profile: finer ticks share a slot, so that memory stays small.
const MIN_SLOT: i64 = 300;

/// Where a step lies in the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Slot of the day, from 0.
    pub(crate) slot: usize,
    /// Whether the day is a Saturday or Sunday.
    pub(crate) weekend: bool,
    /// Number of the local day since 1970.
    pub(crate) day: i64,
    /// Seconds since local midnight.
    pub(crate) second: i64,
}

/// Maps step numbers (since 1970, UTC) to places.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    pub(crate) step: i64,
    slot: i64,
    zone: TimeZone,
    /// The sun knows no daylight saving: solar keeps to the standard time of the zone.
    fixed: Option<i64>,
}

impl Calendar {
    pub(crate) fn new(config: &ForecastConfig) -> Self {
        let step = config.step.as_secs();
        let zone = config.time_zone.clone();
        let fixed = (config.character == Character::Solar).then(|| standard_offset(&zone));
        // A slot must hold whole steps and divide the day: 300 s, or the step when it is longer or does not fit.
        let slot = if step < MIN_SLOT && MIN_SLOT % step == 0 { MIN_SLOT } else { step };
        Self { step, slot, zone, fixed }
    }

    pub(crate) fn slots(&self) -> usize {
        usize::try_from(DAY / self.slot).unwrap_or(1)
    }

    /// Length of a slot of the day.
    pub(crate) fn slot_seconds(&self) -> usize {
        usize::try_from(self.slot).unwrap_or(1).max(1)
    }

    pub(crate) fn index(&self, time: Timestamp) -> i64 {
        time.as_second().div_euclid(self.step)
    }

    pub(crate) fn time(&self, index: i64) -> Timestamp {
        Timestamp::from_second(index.saturating_mul(self.step)).unwrap_or(Timestamp::MAX)
    }

    /// Offset from UTC in seconds at a step.
    pub(crate) fn offset(&self, index: i64) -> i64 {
        self.fixed.unwrap_or_else(|| i64::from(self.zone.to_offset(self.time(index)).seconds()))
    }

    /// Number of a step since 1970 on the local clock.
    pub(crate) fn local_step(&self, index: i64) -> i64 {
        (index * self.step + self.offset(index)).div_euclid(self.step)
    }

    pub(crate) fn place(&self, index: i64) -> Place {
        self.place_with(index, self.offset(index))
    }

    /// As [`Self::place`], with the offset already looked up.
    pub(crate) fn place_with(&self, index: i64, offset: i64) -> Place {
        let local = index.saturating_mul(self.step).saturating_add(offset);
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let slot = usize::try_from(second / self.slot).unwrap_or(0).min(self.slots() - 1);
        // 1 January 1970 was a Thursday.
        let weekend = matches!((day + 4).rem_euclid(7), 0 | 6);
        Place { slot, weekend, day, second }
    }

    /// Which step within its hour, for steps shorter than an hour; 0 otherwise.
    pub(crate) fn step_of_hour(&self, place: Place) -> usize {
        usize::try_from(place.second % 3600 / self.step).unwrap_or(0)
    }

    /// Steps in an hour, at least 1.
    pub(crate) fn steps_per_hour(&self) -> i64 {
        (3600 / self.step).max(1)
    }
}

fn standard_offset(zone: &TimeZone) -> i64 {
    // The smaller offset of a January and a July is standard time on both hemispheres.
    [1_704_067_200, 1_719_792_000]
        .into_iter()
        .filter_map(|s| Timestamp::from_second(s).ok())
        .map(|t| i64::from(zone.to_offset(t).seconds()))
        .min()
        .unwrap_or(0)
}
