//! Wind power from wind speed known ahead: a curve from a column to the series, learned from the series' own past.
//!
//! The curve rises and then saturates; it falls again at the far end (turbines that cut out in a storm) only where the
//! lessons say so beyond chance. Any column known ahead will do: wind speed in any unit, or somebody else's forecast of
//! the power. Of several columns the one whose curve was closest to what came is used. What the last value differed
//! from its curve is carried on as far as such differences last.
//!
//! Before there are lessons, a column whose values can be a wind speed in m/s gets a standard turbine: nothing below
//! 3 m/s, rated from 12 m/s on, cut out above 25 m/s, and between them as the cube of the speed, which is what the power
//! in the wind grows with. Source: Carrillo, Obando Montaño, Cidrás, Díaz-Dorado, *Review of power curve modelling for
//! wind turbines*, Renewable and Sustainable Energy Reviews 21 (2013). Speeds are forecasts, so it is a mean over 2 m/s
//! to either side.

use crate::config::{Character, ForecastConfig};
use crate::panel::Seen;

/// Columns that are looked at, at most.
pub(crate) const MOST_COLUMNS: usize = 8;
/// Bins of the range of a column.
const BINS: usize = 64;
/// Days after which the weight of a lesson halves.
const HALF_LIFE: f64 = 60.0;
/// Lessons before a curve without a standard one speaks.
const FEWEST: f64 = 24.0;
/// Lessons that the standard turbine counts as in a bin without any; none once there are four times as many.
const STANDARD: f64 = 2.0;
/// Chance of a falling end: its gain in squared error, in variances within bins, that is believed.
const BELIEVED: f64 = 12.0;
/// Values of a column beyond this say nothing.
const LARGEST: f64 = 1e12;
/// Cut-in, rated and cut-out wind speed of the standard turbine, m/s.
const CUT_IN: f64 = 3.0;
const RATED: f64 = 12.0;
const CUT_OUT: f64 = 25.0;
/// Highest wind speed that is one, m/s.
pub(crate) const STORM: f64 = 60.0;

/// Power of the standard turbine at a forecast wind speed in m/s, 0…1 of its rated power.
pub(crate) fn standard(speed: f64) -> f64 {
    let at = |v: f64| {
        if !(CUT_IN..=CUT_OUT).contains(&v) {
            return 0.0;
        }
        ((v.powi(3) - CUT_IN.powi(3)) / (RATED.powi(3) - CUT_IN.powi(3))).min(1.0)
    };
    [(-2.0, 0.1), (-1.0, 0.2), (0.0, 0.4), (1.0, 0.2), (2.0, 0.1)]
        .iter()
        .map(|(d, w)| w * at(speed + d))
        .sum()
}

/// Mean wind speed of a place over a day or more, m/s.
pub(crate) const MEAN_SPEED: std::ops::RangeInclusive<f64> = 0.5..=30.0;

/// What fell into a part of a column's range, faded.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    weight: f64,
    x: f64,
    y: f64,
    yy: f64,
}

impl Bin {
    fn times(self, factor: f64) -> Self {
        Self { weight: self.weight * factor, x: self.x * factor, y: self.y * factor, yy: self.yy * factor }
    }

    const fn join(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            x: self.x + other.x,
            y: self.y + other.y,
            yy: self.yy + other.yy,
        }
    }
}

/// The curve of one column, and how good it has been.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    low: f64,
    width: f64,
    bins: Vec<Bin>,
    /// Sums over all lessons, faded: of power, and of the standard turbine at the same speeds.
    power: f64,
    turbine: f64,
    /// Sum of all lessons' weights.
    weight: f64,
    /// Whether all values so far can be wind speeds in m/s.
    speeds: bool,
    /// Sum of values, for their mean.
    sum: f64,
    /// Sums of errors before each lesson, and their weight.
    error: f64,
    judged: f64,
    /// Of neighbouring errors.
    product: f64,
    square: f64,
    last: f64,
}

impl Curve {
    pub(crate) fn new() -> Self {
        Self {
            low: 0.0,
            width: 0.0,
            bins: vec![Bin::default(); BINS],
            power: 0.0,
            turbine: 0.0,
            weight: 0.0,
            speeds: true,
            sum: 0.0,
            error: 0.0,
            judged: 0.0,
            product: 0.0,
            square: 0.0,
            last: 0.0,
        }
    }

    fn fade(&mut self, keep: f64) {
        self.bins.iter_mut().for_each(|bin| *bin = bin.times(keep));
        let Self { power, turbine, weight, sum, error, judged, product, square, .. } = self;
        for faded in [power, turbine, weight, sum, error, judged, product, square] {
            *faded *= keep;
        }
    }

    /// Adds lessons in order of time, (column, power); all earlier ones fade by `keep` first. They are judged by the
    /// curve as it was before. `rated` as in [`Self::fitted`].
    pub(crate) fn learn(&mut self, lessons: &[Option<(f64, f64)>], keep: f64, rated: Option<f64>) {
        let before = self.fitted(rated);
        self.fade(keep);
        for lesson in lessons {
            let Some((x, y)) = lesson.filter(|(x, _)| x.abs() <= LARGEST) else {
                self.last = 0.0;
                continue;
            };
            if let Some(before) = &before {
                let error = y - before.at(x);
                self.error += error.abs();
                self.judged += 1.0;
                self.product += self.last * error;
                self.square += self.last * self.last;
                self.last = error;
            }
            self.add(x, y);
        }
    }

    fn add(&mut self, x: f64, y: f64) {
        self.speeds &= (0.0..=STORM).contains(&x);
        if self.width <= 0.0 {
            // Half a metre a second for wind speeds; any other column widens it soon.
            (self.low, self.width) = if self.speeds { (0.0, 0.5) } else { (x, (x.abs() * 1e-3).max(1e-9)) };
        }
        while !(self.low..self.low + self.width * BINS as f64).contains(&x) {
            self.widen(x < self.low);
        }
        let at = (((x - self.low) / self.width) as usize).min(BINS - 1);
        self.bins[at] = self.bins[at].join(Bin { weight: 1.0, x, y, yy: y * y });
        self.weight += 1.0;
        self.sum += x;
        self.power += y;
        self.turbine += standard(x);
    }

    /// Doubles the range, downwards or upwards.
    fn widen(&mut self, down: bool) {
        let pairs: Vec<Bin> = self.bins.chunks_exact(2).map(|pair| pair[0].join(pair[1])).collect();
        let empty = vec![Bin::default(); BINS / 2];
        if down {
            self.low -= self.width * BINS as f64;
        }
        self.width *= 2.0;
        self.bins = if down { [empty, pairs].concat() } else { [pairs, empty].concat() };
    }

    /// Rated power of a standard turbine that gave as much at the same speeds; `rated` is what it is taken for at first.
    /// None where the column is no wind speed, or nothing says how large the plant is.
    pub(crate) fn rated(&self, rated: Option<f64>) -> Option<f64> {
        let mean = self.sum / self.weight.max(1e-12);
        if !self.speeds || (self.weight > 0.0 && !MEAN_SPEED.contains(&mean)) {
            return None;
        }
        // What is told of the plant counts as six hours at full power.
        let (power, turbine) = rated.map_or((0.0, 0.0), |r| (6.0 * r, 6.0));
        let (power, turbine) = (self.power + power, self.turbine + turbine);
        (turbine > 0.5 && power > 0.0).then(|| power / turbine)
    }

    /// The curve as the lessons have it, filled up with a standard turbine where that is possible.
    pub(crate) fn fitted(&self, rated: Option<f64>) -> Option<Fitted> {
        let turbine = self.rated(rated);
        if self.weight < FEWEST && turbine.is_none() {
            return None;
        }
        // Whether it cuts out is not asked of the standard any more once there were storms.
        let highest = self.bins.iter().rposition(|bin| bin.weight > 1e-6);
        let highest = highest.map_or(0.0, |at| self.low + (at + 1) as f64 * self.width);
        let end = if highest > CUT_OUT + 1.0 { CUT_OUT - 2.0 } else { STORM };
        let mut knots: Vec<Knot> = Vec::new();
        for (at, bin) in self.bins.iter().enumerate() {
            let mut bin = *bin;
            let middle = self.low + (at as f64 + 0.5) * self.width;
            let missing = (STANDARD - bin.weight / 4.0).max(0.0);
            if let Some(rated) = turbine.filter(|_| self.width > 0.0 && middle <= end) {
                let y = rated * standard(middle);
                let standard = Bin { weight: 1.0, x: middle, y, yy: y * y };
                bin = bin.join(standard.times(missing));
            }
            if bin.weight > 1e-6 {
                knots.push(Knot { x: bin.x / bin.weight, y: bin.y / bin.weight, weight: bin.weight });
            }
        }
        if knots.is_empty() {
            return turbine.map(Fitted::Standard);
        }
        let within: f64 =
            self.bins.iter().filter(|b| b.weight > 1e-6).map(|b| b.yy - b.y * b.y / b.weight).sum();
        shape(&mut knots, within.max(0.0) / self.weight.max(1.0));
        Some(Fitted::Knots(knots))
    }

    /// Mean absolute error before each lesson; none before there was one.
    pub(crate) fn error(&self) -> Option<f64> {
        (self.judged > 0.5).then(|| self.error / self.judged)
    }

    /// The same, where `usual` counts as the error of so many lessons more.
    pub(crate) fn error_with(&self, usual: f64, lessons: f64) -> f64 {
        (self.error + lessons * usual) / (self.judged + lessons)
    }

    /// How much of a difference from the curve lasts a step, 0…0.99; little while few were seen.
    fn lasting(&self) -> f64 {
        let trust = self.judged / (self.judged + FEWEST);
        if self.square > 0.0 { trust * (self.product / self.square).clamp(0.0, 0.99) } else { 0.0 }
    }

    /// Power at the column's values of the coming steps.
    pub(crate) fn expect(&self, rated: Option<f64>, ahead: impl Iterator<Item = f64>) -> Option<Vec<f64>> {
        let fitted = self.fitted(rated)?;
        let lasting = self.lasting();
        let mut difference = self.last;
        let step = |x: f64| {
            difference *= lasting;
            fitted.at(x) + difference
        };
        Some(ahead.map(step).collect())
    }
}

/// A point of a curve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knot {
    x: f64,
    y: f64,
    weight: f64,
}

/// A curve that can be asked.
#[derive(Clone, Debug)]
pub(crate) enum Fitted {
    /// A standard turbine of this rated power.
    Standard(f64),
    /// Straight lines between points in order of x, flat beyond them.
    Knots(Vec<Knot>),
}

impl Fitted {
    pub(crate) fn at(&self, x: f64) -> f64 {
        let knots = match self {
            Self::Standard(rated) => return rated * standard(x),
            Self::Knots(knots) => knots,
        };
        let high = knots.partition_point(|k| k.x < x);
        match (high.checked_sub(1).map(|low| knots[low]), knots.get(high)) {
            (Some(low), Some(high)) if high.x > low.x => {
                low.y + (high.y - low.y) * ((x - low.x) / (high.x - low.x)).clamp(0.0, 1.0)
            }
            (None, Some(only)) => only.y,
            (Some(only), _) => only.y,
            (None, None) => 0.0,
        }
    }
}

/// Makes a curve rise, or rise and then fall where that explains clearly more. `variance` is that of a single lesson.
fn shape(knots: &mut [Knot], variance: f64) {
    let (rising, plain) = rising(knots.iter());
    let mut best = (plain - BELIEVED * variance, rising);
    for peak in 1..knots.len() {
        // The far end falls: read backwards it rises. A peak that is lower than its far side is none.
        let (near, near_error) = self::rising(knots[..peak].iter());
        let (far, far_error) = self::rising(knots[peak..].iter().rev());
        let both = near_error + far_error;
        if both < best.0 && near.last() >= far.last() {
            best = (both, near.into_iter().chain(far.into_iter().rev()).collect());
        }
    }
    knots.iter_mut().zip(best.1).for_each(|(knot, y)| knot.y = y);
}

/// Isotonic regression by pooling adjacent violators: rising values closest to those of the knots, and their squared error.
fn rising<'a>(knots: impl Iterator<Item = &'a Knot>) -> (Vec<f64>, f64) {
    let mut pools: Vec<(f64, f64, f64, usize)> = Vec::new();
    for knot in knots {
        let mut pool = (knot.weight * knot.y, knot.weight, knot.weight * knot.y * knot.y, 1);
        while let Some(before) = pools.last().filter(|b| b.0 * pool.1 >= pool.0 * b.1) {
            pool = (pool.0 + before.0, pool.1 + before.1, pool.2 + before.2, pool.3 + before.3);
            pools.pop();
        }
        pools.push(pool);
    }
    let error = pools.iter().map(|(sum, weight, squares, _)| (squares - sum * sum / weight).max(0.0)).sum();
    let values = pools.iter().flat_map(|(sum, weight, _, n)| std::iter::repeat_n(sum / weight, *n)).collect();
    (values, error)
}

/// The member: a curve for each column known ahead.
#[derive(Clone, Debug)]
pub(crate) struct PowerCurve {
    curves: Vec<Curve>,
    next: usize,
}

impl PowerCurve {
    /// Learns from the step `from` of the panel on.
    pub(crate) const fn new(from: usize) -> Self {
        Self { curves: Vec::new(), next: from }
    }

    /// The block of `leads` steps that begins where `seen` ends; none for what is no wind power, or without a column.
    pub(crate) fn expect(
        &mut self,
        config: &ForecastConfig,
        seen: &Seen<'_>,
        leads: usize,
    ) -> Option<Vec<f64>> {
        if config.character != Character::Wind {
            return None;
        }
        let rated = config.rated();
        self.curves.resize_with(seen.known_columns().min(MOST_COLUMNS), Curve::new);
        while self.next < seen.end() {
            // A day at a time, so that a curve is judged by what it had not learned.
            let until = (self.next + seen.per_day).min(seen.end());
            let keep = 0.5_f64.powf((until - self.next) as f64 / (HALF_LIFE * seen.per_day as f64));
            for (column, curve) in self.curves.iter_mut().enumerate() {
                let lesson = |at: usize| {
                    let power = seen.raw[at];
                    seen.announced(column, at).filter(|_| power.is_finite()).map(|x| (x, power))
                };
                let lessons: Vec<_> = (self.next..until).map(lesson).collect();
                curve.learn(&lessons, keep, rated);
            }
            self.next = until;
        }
        let error = |curve: &Curve| curve.error().unwrap_or(f64::MAX);
        let (column, curve) =
            self.curves.iter().enumerate().min_by(|a, b| error(a.1).total_cmp(&error(b.1)))?;
        curve.expect(rated, (0..leads).map(|lead| seen.known(column, seen.end() + lead)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A speed that visits 0…30 m/s in no order.
    fn speed(n: usize) -> f64 {
        (n * 7919 % 3001) as f64 / 100.0
    }

    fn learned(law: impl Fn(f64) -> f64) -> Fitted {
        let mut curve = Curve::new();
        let lessons: Vec<_> =
            (0..3000).map(|n| Some((speed(n), law(speed(n)) + ((n % 7) as f64 - 3.0)))).collect();
        lessons.chunks(24).for_each(|day| curve.learn(day, 0.999, None));
        curve.fitted(None).unwrap()
    }

    #[test]
    fn a_curve_that_rises_and_saturates_is_learned_and_rises_only() {
        let fitted = learned(|v| (v * v * 2.0).min(200.0));
        for v in [2.0, 6.0, 9.0, 15.0, 29.0] {
            assert!((fitted.at(v) - (v * v * 2.0).min(200.0)).abs() < 5.0, "{v}: {}", fitted.at(v));
        }
        let values: Vec<f64> = (0..300).map(|n| fitted.at(f64::from(n) / 10.0)).collect();
        assert!(values.windows(2).all(|w| w[1] >= w[0] - 1e-9));
    }

    #[test]
    fn turbines_that_cut_out_are_believed_when_the_lessons_show_it() {
        let fitted = learned(|v| if v > 25.0 { 0.0 } else { (v * v * 2.0).min(200.0) });
        assert!((fitted.at(20.0) - 200.0).abs() < 5.0 && fitted.at(28.0) < 10.0, "{fitted:?}");
    }

    #[test]
    fn without_lessons_a_standard_turbine_of_the_told_size_speaks_and_lessons_scale_it() {
        let mut curve = Curve::new();
        assert!(curve.fitted(None).is_none());
        let cold = curve.fitted(Some(100.0)).unwrap();
        assert!(cold.at(0.0) < 1e-9 && (cold.at(15.0) - 100.0).abs() < 1e-9 && cold.at(28.0) < 1e-9);
        assert!((20.0..45.0).contains(&cold.at(8.0)), "{}", cold.at(8.0));
        // A plant of half the size at speeds around 8 m/s.
        let lessons: Vec<_> =
            (0..48).map(|n| f64::from(n % 5) + 6.0).map(|v| Some((v, 50.0 * standard(v)))).collect();
        lessons.chunks(24).for_each(|day| curve.learn(day, 1.0, Some(100.0)));
        let scaled = curve.fitted(Some(100.0)).unwrap();
        assert!((scaled.at(15.0) - 50.0).abs() < 20.0, "{}", scaled.at(15.0));
    }

    #[test]
    fn absurd_columns_do_no_harm() {
        let mut curve = Curve::new();
        let odd = [1e300, -1e300, 1e12, -1e12, 0.0, 1e-300, f64::MAX];
        let lessons: Vec<_> = (0..70).map(|n| Some((odd[n % 7], (n % 3) as f64))).collect();
        curve.learn(&lessons, 0.9, Some(1.0));
        let made = curve.expect(Some(1.0), odd.into_iter()).unwrap();
        assert!(made.iter().all(|v| v.is_finite()), "{made:?}");
    }
}
