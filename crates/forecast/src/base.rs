//! What a time of day usually brings, and how far off that usually is.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::calendar::Place;
use crate::config::{Character, ForecastConfig};
use crate::shape::{Lent, Shape, Slots};

/// Days the clear-sky envelope looks back.
const ENVELOPE_DAYS: usize = 7;
/// Share of the highest envelope above which clearness is worth learning from.
const LIT: f64 = 0.15;
/// Weight of days of the other kind (weekend, workday) in a profile.
const OTHER_DAYS: f64 = 0.5;
/// Deviations beyond this many mean deviations are cut before they are learned: a rubbish value must not last.
const OUTLIER: f64 = 20.0;
/// Consumption of homes by hour of day relative to its mean: the standard shape when nothing is known.
const LOAD_SHAPE: [f64; 24] = [
    0.75, 0.7, 0.65, 0.65, 0.65, 0.7, 0.85, 0.95, 0.95, 0.9, 0.9, 0.95, 1.0, 0.95, 0.95, 1.0, 1.15, 1.35,
    1.5, 1.5, 1.4, 1.3, 1.15, 0.95,
];

/// Mean power of a wind plant as a share of its rated power, while nothing is measured.
const WIND_LOAD_FACTOR: f64 = 0.3;
/// A kind of day that was not seen yet differs from the other one as it does at the siblings, at most so many times.
const FARTHEST_RATIO: f64 = 5.0;
/// Share of the highest clear-sky power from which a value tells how large panels are, where their day was lent.
const HIGH_SUN: f64 = 0.5;
/// Weight of a kind of day from which it is told apart from the other one.
const SEEN: f64 = 0.4;
/// Days whose own deviations are told together with those of siblings.
const YOUNG_DAYS: f64 = 7.0;

/// Base and weight of a slot: forecast = base + weight × deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) base: f64,
    pub(crate) weight: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, keep: f64, value: f64) {
        self.add_weighed(keep, value, 1.0);
    }
    /// Adds what is already times its weight.
    fn add_weighed(&mut self, keep: f64, value: f64, weight: f64) {
        self.sum = self.sum * keep + value;
        self.weight = self.weight * keep + weight;
    }
    fn fade(&mut self, keep: f64) {
        self.sum *= keep;
        self.weight *= keep;
    }
    fn get(&self) -> Option<f64> {
        (self.weight > 1e-9).then(|| self.sum / self.weight)
    }
}

/// Daily profile (load, carbon, net) or clear-sky envelope and mean clearness (solar).
#[derive(Clone, Debug)]
pub(crate) struct Base {
    character: Character,
    prior: Option<f64>,
    /// Kept per slot and day.
    keep: f64,
    /// Kept per step, for means over all slots (7 days).
    keep_all: f64,
    profile: Vec<[Mean; 2]>,
    spread: Vec<Mean>,
    spread_all: Mean,
    level: Mean,
    days: Vec<VecDeque<(i64, f64)>>,
    envelope: Vec<f64>,
    clearness: Mean,
    count: usize,
    steps_per_day: f64,
    /// The day of siblings, or the own one before a change.
    borrowed: Option<Slots>,
}

impl Base {
    pub(crate) fn new(
        config: &ForecastConfig,
        slots: usize,
        steps_per_day: f64,
        shape: Option<&Shape>,
    ) -> Self {
        let quick = matches!(config.character, Character::Carbon | Character::Wind | Character::Price);
        let half_life = if quick { 3.0 } else { 6.0 };
        let per_day = steps_per_day / slots as f64;
        let solar = config.character == Character::Solar;
        Self {
            character: config.character,
            prior: config
                .prior
                .map(|p| if config.character == Character::Wind { WIND_LOAD_FACTOR * p } else { p }),
            keep: 0.5_f64.powf(1.0 / (half_life * per_day)),
            keep_all: 0.5_f64.powf(1.0 / (7.0 * steps_per_day)),
            profile: vec![[Mean::default(); 2]; if solar { 0 } else { slots }],
            spread: vec![Mean::default(); slots],
            spread_all: Mean::default(),
            level: Mean::default(),
            days: vec![VecDeque::new(); if solar { slots } else { 0 }],
            envelope: vec![f64::NAN; if solar { slots } else { 0 }],
            clearness: Mean::default(),
            count: 0,
            steps_per_day,
            borrowed: shape.filter(|shape| shape.sun() == solar).map(|shape| shape.slots(slots)),
        }
    }

    /// What siblings may begin with, known at `known_at`; `slot` in seconds.
    pub(crate) fn shape(&self, known_at: Timestamp, slot: usize) -> Option<Shape> {
        let at = |second: usize, weekend: bool| {
            let place = Place { slot: second / slot, weekend, day: 0, second: second as i64 };
            let sun = self.character == Character::Solar;
            (if sun { self.envelope_at(place) } else { self.kind_at(place) }, self.spread_at(place))
        };
        let sun = self.character == Character::Solar;
        let rated = self.prior.filter(|p| sun && *p > 0.0);
        Shape::of(&Lent { known_at, sun, rated, clearness: self.mean_clearness(), at: &at })
    }

    pub(crate) fn at(&self, place: Place) -> Level {
        if self.character == Character::Solar {
            let weight = self.envelope_at(place);
            Level { base: weight * self.mean_clearness(), weight }
        } else {
            Level { base: self.profile_at(place), weight: 1.0 }
        }
    }

    /// Mean absolute deviation expected at a place; 0 where the series cannot deviate (solar at night).
    pub(crate) fn spread_at(&self, place: Place) -> f64 {
        let level = self.at(place);
        let all = self.spread_all.get().unwrap_or(0.0);
        let slot = self.spread[place.slot];
        if let Some(usual) = self.borrowed_spread(place) {
            let none = self.character == Character::Solar && level.weight <= 0.0;
            return if none { 0.0 } else { (slot.sum + 2.0 * usual) / (slot.weight + 2.0) };
        }
        if self.character == Character::Solar {
            let usual = 0.25 * level.weight;
            return if level.weight <= 0.0 { 0.0 } else { (slot.sum + 2.0 * usual) / (slot.weight + 2.0) };
        }
        let usual = if self.count < 24 { all.max(0.4 * level.base.abs()) } else { all };
        (slot.sum + 2.0 * usual) / (slot.weight + 2.0)
    }

    /// Mean deviation that siblings have at a place, at the own level; none once the own ones are known well enough.
    fn borrowed_spread(&self, place: Place) -> Option<f64> {
        let borrowed = self.borrowed.as_ref()?;
        self.is_young().then(|| borrowed.spread[place.slot] * self.expected_level())
    }

    /// Level as measured so far, else as told, else that of siblings, else 0.
    fn expected_level(&self) -> f64 {
        let told = |b: &Slots| self.prior.map_or(b.level, |prior| prior * b.rated.unwrap_or(1.0));
        let told = || self.borrowed.as_ref().map(told).or(self.prior);
        self.level.get().or_else(told).unwrap_or(0.0)
    }

    /// Deviation of a value (cut when absurd) in units of the weight; none where it says nothing (solar in the dark).
    pub(crate) fn deviation(&self, place: Place, value: f64) -> Option<f64> {
        let value = self.plausible(place, value);
        if self.character != Character::Solar {
            return Some(value - self.profile_at(place));
        }
        let envelope = self.envelope_at(place);
        let highest = self.envelope.iter().copied().fold(0.0, f64::max);
        let lit = envelope > LIT * highest && envelope > 0.0;
        lit.then(|| (value / envelope).clamp(0.0, 1.5) - self.mean_clearness())
    }

    fn plausible(&self, place: Place, value: f64) -> f64 {
        let base = self.at(place).base;
        let reach = OUTLIER * self.spread_at(place).max(self.spread_all.get().unwrap_or(0.0));
        if self.count >= 48 && reach > 0.0 { value.clamp(base - reach, base + reach) } else { value }
    }

    /// Learns a value and returns its [`Self::deviation`] from what was expected before.
    pub(crate) fn learn(&mut self, place: Place, value: f64) -> Option<f64> {
        let before = self.at(place);
        let deviation = self.deviation(place, value);
        let value = self.plausible(place, value);
        self.count += 1;
        self.spread[place.slot].add(self.keep, (value - before.base).abs());
        self.spread_all.add(self.keep_all, (value - before.base).abs());
        if self.character == Character::Solar {
            self.learn_solar(place, value, deviation);
        } else {
            self.learn_profile(place, value);
        }
        deviation
    }

    fn learn_profile(&mut self, place: Place, value: f64) {
        let shape = self.shape_at(place);
        if self.borrowed.is_some() {
            // By sums, since a lent shape may be nothing at some time of day.
            self.level.add_weighed(self.keep_all, value, shape.max(0.0));
        } else {
            self.level.add(self.keep_all, value / shape);
        }
        let kinds = &mut self.profile[place.slot];
        let (same, other) = (usize::from(place.weekend), usize::from(!place.weekend));
        kinds[other].fade(self.keep);
        kinds[same].add(self.keep, value);
    }

    fn learn_solar(&mut self, place: Place, value: f64, deviation: Option<f64>) {
        if let Some(deviation) = deviation {
            let ratio = deviation + self.mean_clearness();
            self.clearness.add(self.keep_all, ratio);
        }
        let days = &mut self.days[place.slot];
        match days.back_mut() {
            Some((day, most)) if *day == place.day => *most = most.max(value),
            _ => days.push_back((place.day, value)),
        }
        if days.len() > ENVELOPE_DAYS {
            days.pop_front();
        }
        self.envelope[place.slot] = days.iter().map(|(_, v)| *v).fold(0.0, f64::max);
        let shape = self.shape_at(place);
        if shape > if self.borrowed.is_some() { HIGH_SUN } else { 0.2 } {
            let peak = value / shape;
            self.level = if peak > self.level.sum { Mean { sum: peak, weight: 1.0 } } else { self.level };
        }
    }

    fn mean_clearness(&self) -> f64 {
        // Five hours of a usual 0.7 to begin with.
        let usual = self.borrowed.as_ref().map_or(3.5, |b| 5.0 * b.clearness);
        (self.clearness.sum + usual) / (self.clearness.weight + 5.0)
    }

    fn envelope_at(&self, place: Place) -> f64 {
        let seen = self.envelope[place.slot];
        // Siblings may face another way; the own panels before a change did not.
        let own = self.is_young() && self.borrowed.as_ref().is_some_and(|b| b.own);
        if !seen.is_nan() && !own {
            return seen;
        }
        // The rated power of panels that are told of tells more than the first hours under clouds.
        let told = self.borrowed.as_ref().and_then(|b| Some(self.prior? * b.rated?)).unwrap_or(0.0);
        let lent = self.expected_level().max(told) * self.shape_at(place);
        if seen.is_nan() { lent } else { seen.max(lent) }
    }

    /// Whether what was lent still counts beside what was seen.
    fn is_young(&self) -> bool {
        self.borrowed.is_some() && (self.count as f64) < YOUNG_DAYS * self.steps_per_day
    }

    fn profile_at(&self, place: Place) -> f64 {
        let kinds = &self.profile[place.slot];
        let (same, other) = (kinds[usize::from(place.weekend)], kinds[usize::from(!place.weekend)]);
        let weight = same.weight + OTHER_DAYS * other.weight;
        if weight > 1e-9 {
            let other_sum = self.borrowed.as_ref().map_or(other.sum, |b| as_this_kind(b, place, same, other));
            return (same.sum + OTHER_DAYS * other_sum) / weight;
        }
        self.expected_level() * self.shape_at(place)
    }

    /// The usual value of a place on its own kind of day alone, where that was seen.
    fn kind_at(&self, place: Place) -> f64 {
        let own = self.profile[place.slot][usize::from(place.weekend)];
        own.get().filter(|_| own.weight > SEEN).unwrap_or_else(|| self.profile_at(place))
    }

    /// Shape of siblings, else a standard one: relative to the mean for load, to the peak for solar, flat for all others.
    fn shape_at(&self, place: Place) -> f64 {
        if let Some(borrowed) = &self.borrowed {
            return borrowed.day[place.slot][usize::from(place.weekend)];
        }
        let hour = place.second as f64 / 3600.0;
        match self.character {
            Character::Load => LOAD_SHAPE[(hour as usize).min(23)],
            Character::Solar => {
                (std::f64::consts::PI * (hour + 0.25 - 6.0) / 12.0).sin().max(0.0) * daylight(hour)
            }
            _ => 1.0,
        }
    }
}

/// Sum of what days of the other kind brought at a place, as days of this kind would have: siblings differ in size, so it
/// is in proportion; what a series itself differed by before a change stays as large as it was.
fn as_this_kind(borrowed: &Slots, place: Place, same: Mean, other: Mean) -> f64 {
    let [workday, weekend] = borrowed.day[place.slot];
    let (this, that) = if place.weekend { (weekend, workday) } else { (workday, weekend) };
    if borrowed.own {
        return other.sum + other.weight * borrowed.level * (this - that);
    }
    // Once this kind of day was seen, that says more.
    let ratio = if that > 0.02 && this >= 0.0 && same.weight < SEEN { this / that } else { 1.0 };
    other.sum * ratio.clamp(1.0 / FARTHEST_RATIO, FARTHEST_RATIO)
}

/// 1 between 6:00 and 18:00 standard time, 0 outside.
fn daylight(hour: f64) -> f64 {
    if (6.0..18.0).contains(&hour) { 1.0 } else { 0.0 }
}
