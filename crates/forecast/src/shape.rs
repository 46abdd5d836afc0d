//! What series share with their siblings: the shape of the day without its level.

use jiff::Timestamp;

/// Parts of the day in which a shape is told: quarters of an hour.
const PARTS: usize = 96;
const PART_SECONDS: usize = 900;

/// The day of a series as it was learned, without its level: for series that are too young to know their own.
///
/// It is bound to the time at which it was lent: forecasts issued before do not see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    known_at: Timestamp,
    siblings: usize,
    /// Whether it is the series' own, from before a change.
    own: bool,
    sun: bool,
    /// Mean of the week (solar: highest clear-sky power), in the unit of the series, above 0.
    level: f64,
    /// Solar: highest clear-sky power by rated power, where that was told.
    rated: Option<f64>,
    /// Solar: mean share of the clear-sky power that came.
    clearness: f64,
    parts: Vec<Part>,
}

/// Relative to the level: on workdays and weekends, and how far off values are in the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Part {
    day: [f64; 2],
    spread: f64,
}

/// What is lent, by any place of the day, in the unit of the series.
pub(crate) struct Lent<'a> {
    pub(crate) known_at: Timestamp,
    pub(crate) sun: bool,
    pub(crate) rated: Option<f64>,
    pub(crate) clearness: f64,
    /// Value and mean deviation at a second of a workday, or of a weekend.
    pub(crate) at: &'a dyn Fn(usize, bool) -> (f64, f64),
}

impl Shape {
    /// Takes the level out; none where values are not clearly above 0 in the mean.
    pub(crate) fn of(lent: &Lent<'_>) -> Option<Self> {
        let part = |part: usize| {
            // Three looks, since slots of the day may be shorter or not fit.
            let looks = [150, 450, 750].map(|second| part * PART_SECONDS + second);
            let mean = |weekend: bool| looks.iter().map(|s| (lent.at)(*s, weekend).0).sum::<f64>() / 3.0;
            let spread = looks.iter().map(|s| (lent.at)(*s, false).1).sum::<f64>() / 3.0;
            Part { day: [mean(false), mean(true)], spread }
        };
        let parts: Vec<Part> = (0..PARTS).map(part).collect();
        let Lent { known_at, sun, rated, clearness, .. } = *lent;
        let shape = Self { known_at, siblings: 1, own: false, sun, level: 1.0, rated, clearness, parts };
        let rated = |shape: Self| Self { rated: rated.map(|rated| shape.level / rated), ..shape };
        shape.normal().map(rated)
    }

    /// The same at level 1.
    fn normal(self) -> Option<Self> {
        let values = || self.parts.iter().map(|part| (5.0 * part.day[0] + 2.0 * part.day[1]) / 7.0);
        let level =
            if self.sun { values().fold(0.0, f64::max) } else { values().sum::<f64>() / PARTS as f64 };
        let size = values().map(f64::abs).sum::<f64>() / PARTS as f64;
        if !(level.is_finite() && level > 1e-9 && 2.0 * level >= size) {
            return None;
        }
        let part = |part: &Part| Part { day: part.day.map(|v| v / level), spread: part.spread / level };
        let parts = self.parts.iter().map(part).collect();
        Some(Self { level: self.level * level, parts, ..self })
    }

    /// The median of several, of the same kind as the first one; known when the last of them was. None without any.
    #[must_use]
    pub fn median(siblings: &[Self]) -> Option<Self> {
        let first = siblings.first()?;
        let alike: Vec<&Self> = siblings.iter().filter(|s| s.sun == first.sun).collect();
        let of = |value: &dyn Fn(&Self) -> f64| median(alike.iter().map(|s| value(s)).collect());
        let part = |at: usize| Part {
            day: [0, 1].map(|kind| of(&|s: &Self| s.parts[at].day[kind])),
            spread: of(&|s: &Self| s.parts[at].spread),
        };
        let rated: Vec<f64> = alike.iter().filter_map(|s| s.rated).collect();
        let shape = Self {
            known_at: alike.iter().map(|s| s.known_at).max()?,
            siblings: alike.iter().map(|s| s.siblings).sum(),
            own: false,
            sun: first.sun,
            level: 1.0,
            rated: (!rated.is_empty()).then(|| median(rated)),
            clearness: of(&|s: &Self| s.clearness),
            parts: (0..PARTS).map(part).collect(),
        };
        let level = of(&|s: &Self| s.level);
        shape.normal().map(|shape| Self { level, ..shape })
    }

    /// When it was lent: forecasts issued before do not see it.
    #[must_use]
    pub const fn known_at(&self) -> Timestamp {
        self.known_at
    }

    /// How many series it is the median of.
    #[must_use]
    pub const fn siblings(&self) -> usize {
        self.siblings
    }

    /// The same for the series that lent it, after a change: what of its rated power the sun brought may be wrong.
    pub(crate) const fn for_itself(mut self) -> Self {
        self.own = true;
        self.rated = None;
        self
    }

    pub(crate) const fn sun(&self) -> bool {
        self.sun
    }

    /// As a series of `slots` a day needs it.
    pub(crate) fn slots(&self, slots: usize) -> Slots {
        let length = 86_400 / slots.max(1);
        let slot = |slot: usize| {
            let looks = (length / PART_SECONDS).max(1);
            let parts: Vec<Part> = (0..looks)
                .map(|n| slot * length + (2 * n + 1) * length / (2 * looks))
                .map(|second| self.parts[(second / PART_SECONDS).min(PARTS - 1)])
                .collect();
            let mean = |value: &dyn Fn(&Part) -> f64| parts.iter().map(value).sum::<f64>() / looks as f64;
            ([mean(&|p| p.day[0]), mean(&|p| p.day[1])], mean(&|p| p.spread))
        };
        let (day, spread) = (0..slots).map(slot).unzip();
        Slots { day, spread, own: self.own, level: self.level, rated: self.rated, clearness: self.clearness }
    }
}

/// A shape by the slots of a day.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// Relative to the level: on workdays and weekends.
    pub(crate) day: Vec<[f64; 2]>,
    /// Mean deviation relative to the level.
    pub(crate) spread: Vec<f64>,
    pub(crate) own: bool,
    pub(crate) level: f64,
    pub(crate) rated: Option<f64>,
    pub(crate) clearness: f64,
}

/// The middle value, or the mean of the two in the middle; 0 without any.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (n, middle) if n % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        (_, middle) => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(scale: f64) -> Shape {
        let at = |second: usize, weekend: bool| {
            (scale * if weekend { 1.0 } else { 1.0 + (second / 3600) as f64 }, scale * 0.5)
        };
        Shape::of(&Lent { known_at: Timestamp::UNIX_EPOCH, sun: false, rated: None, clearness: 0.7, at: &at })
            .unwrap()
    }

    #[test]
    fn the_level_is_taken_out_and_the_median_does_not_depend_on_it() {
        let (small, large) = (lent(1.0), lent(1000.0));
        let slots = Shape::median(&[small.clone(), large, lent(10.0)]).unwrap().slots(24);
        assert!((slots.level - 10.0 * small.level).abs() < 1e-6);
        let ratio = slots.day[23][0] / slots.day[0][0];
        assert!((ratio - 24.0).abs() < 1e-9, "{ratio}");
        assert!((slots.day[5][1] / slots.day[0][0] - 1.0).abs() < 1e-9);
        let mean = slots.day.iter().map(|d| (5.0 * d[0] + 2.0 * d[1]) / 7.0).sum::<f64>() / 24.0;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn what_is_not_clearly_above_nothing_has_no_shape() {
        let at = |second: usize, _| ((second as f64 / 43_200.0 - 1.0) * 5.0 + 0.1, 1.0);
        let lent = Lent { known_at: Timestamp::UNIX_EPOCH, sun: false, rated: None, clearness: 0.7, at: &at };
        assert_eq!(Shape::of(&lent), None);
        assert_eq!(Shape::median(&[]), None);
    }
}
