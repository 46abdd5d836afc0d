//! Solar generation from the geometry of the sun: a clear sky seen by tilted panels, times the clearness of the day.
//!
//! Sources: sun position by Cooper (1969) and the equation of time as in Duffie and Beckman, *Solar Engineering of
//! Thermal Processes*; global irradiance of a clear sky by Haurwitz (1945); a fixed quarter of it taken as diffuse.
//! Where the place is not declared, latitude, solar noon and tilt are those whose clear sky explains the series best.

use std::f64::consts::TAU;

use crate::panel::Seen;

/// Days that the place is learned from, at most.
const LEARN_DAYS: usize = 365;
/// Days of the fading mean of the day's shape.
const SHAPE_DAYS: i32 = 30;
/// Fewest days before the sun is believed.
const FEWEST_DAYS: usize = 21;
/// Parts of a step at which the sun is looked at.
const PARTS: usize = 4;

/// Where the panels are and how they stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// Degrees, north positive.
    pub(crate) latitude: f64,
    /// Local hour of the day at which the sun is highest, without the equation of time.
    pub(crate) noon: f64,
    /// Degrees from horizontal, facing the equator.
    pub(crate) tilt: f64,
}

impl Place {
    /// Irradiance of a clear sky on the panels, W/m², at a time of a day of the year (0…365) and hour of the local day.
    pub(crate) fn irradiance(&self, day_of_year: f64, hour: f64) -> f64 {
        let b = TAU * (day_of_year - 81.0) / 364.0;
        let minutes = 9.87 * (2.0 * b).sin() - 7.53 * b.cos() - 1.5 * b.sin();
        let declination = 23.45_f64.to_radians() * (TAU * (284.0 + day_of_year) / 365.0).sin();
        let angle = (15.0 * (hour + minutes / 60.0 - self.noon)).to_radians();
        let latitude = self.latitude.to_radians();
        let cosine = |latitude: f64| {
            latitude.sin() * declination.sin() + latitude.cos() * declination.cos() * angle.cos()
        };
        let height = cosine(latitude);
        if height <= 0.0 {
            return 0.0;
        }
        let global = 1098.0 * height * (-0.059 / height).exp();
        // A panel tilted towards the equator sees the sun as a flat one does nearer to it.
        let facing = cosine(latitude - self.tilt.to_radians() * latitude.signum()).max(0.0);
        global * (0.75 * (facing / height.max(0.1)).min(4.0) + 0.25)
    }

    /// Clear sky of a block of steps.
    pub(crate) fn block(&self, seen: &Seen<'_>, at: usize, steps: usize) -> Vec<f64> {
        (at..at + steps).map(|at| self.step(seen, at)).collect()
    }

    fn step(&self, seen: &Seen<'_>, at: usize) -> f64 {
        let hours = 24.0 / seen.per_day as f64;
        let season = season(seen.day(at)) * 365.0;
        let slot = seen.slot(at) as f64;
        let part = |n: usize| self.irradiance(season, (slot + (n as f64 + 0.5) / PARTS as f64) * hours);
        (0..PARTS).map(part).sum::<f64>() / PARTS as f64
    }

    /// The place whose clear sky explains the last year of a series best.
    pub(crate) fn learned(seen: &Seen<'_>, declared: Option<f64>) -> Option<Self> {
        let day = seen.per_day;
        let days = (seen.end() / day).min(LEARN_DAYS);
        if days < FEWEST_DAYS {
            return None;
        }
        let start = seen.end() - days * day;
        let noon = noon(seen, start)?;
        let latitudes: Vec<f64> =
            declared.map_or_else(|| (-13..=13).map(|n| f64::from(n) * 5.0).collect(), |l| vec![l]);
        // Every few days tell the place as well as all of them.
        let stride = (days / 40).max(1);
        let mut best: Option<(f64, Self)> = None;
        for latitude in latitudes {
            for tilt in [0.0, 30.0] {
                let place = Self { latitude, noon, tilt };
                let error: f64 = (0..days).step_by(stride).map(|n| place.misfit(seen, start + n * day)).sum();
                if best.is_none_or(|(least, _)| error < least) {
                    best = Some((error, place));
                }
            }
        }
        best.map(|(_, place)| place)
    }

    /// Absolute error of one day when its clearness is known.
    fn misfit(&self, seen: &Seen<'_>, at: usize) -> f64 {
        let measured = &seen.values[at..at + seen.per_day];
        let clear = self.block(seen, at, seen.per_day);
        let ratio = measured.iter().sum::<f64>() / clear.iter().sum::<f64>().max(1e-9);
        measured.iter().zip(clear).map(|(m, c)| (m - ratio * c).abs()).sum()
    }
}

/// The block that begins where `seen` ends: clear sky × usual shape of the last weeks × expected clearness.
pub(crate) fn expect(seen: &Seen<'_>, place: &Place, leads: usize) -> Option<Vec<f64>> {
    let day = seen.per_day;
    let days = (seen.end() / day).min(90);
    if days < FEWEST_DAYS {
        return None;
    }
    // Blocks of a day that end where `seen` ends, newest first.
    let blocks: Vec<(Vec<f64>, &[f64])> = (1..=days)
        .map(|n| seen.end() - n * day)
        .map(|at| (place.block(seen, at, day), &seen.values[at..at + day]))
        .collect();
    let clearness: Vec<f64> = blocks
        .iter()
        .map(|(clear, measured)| measured.iter().sum::<f64>() / clear.iter().sum::<f64>().max(1e-9))
        .collect();
    let shape: Vec<f64> = (0..day)
        .map(|slot| {
            let (mut sum, mut weight, mut fade) = (0.0, 1e-9, 1.0);
            for ((clear, measured), k) in blocks.iter().zip(&clearness).take(2 * SHAPE_DAYS as usize) {
                sum += fade * measured[slot];
                weight += fade * clear[slot] * k;
                fade *= 0.5_f64.powf(1.0 / f64::from(SHAPE_DAYS));
            }
            (sum / weight).clamp(0.0, 5.0)
        })
        .collect();
    let lasting = lasting(&clearness);
    let usual = clearness.iter().take(14).sum::<f64>() / clearness.len().min(14) as f64;
    Some(
        (0..leads)
            .map(|lead| {
                let days_ahead = i32::try_from(lead / day + 1).unwrap_or(i32::MAX);
                let k = usual + lasting.powi(days_ahead) * (clearness[0] - usual);
                place.step(seen, seen.end() + lead) * shape[lead % day] * k.max(0.0)
            })
            .collect(),
    )
}

/// How much of a day's deviation in clearness the next day keeps.
fn lasting(clearness: &[f64]) -> f64 {
    let mean = clearness.iter().sum::<f64>() / clearness.len().max(1) as f64;
    let pairs = clearness.windows(2);
    let (product, square) = pairs.fold((0.0, 1e-9), |(p, s), w| {
        (p + (w[0] - mean) * (w[1] - mean), s + (w[1] - mean) * (w[1] - mean))
    });
    (product / square).clamp(0.0, 0.8)
}

/// Energy-weighted middle of the day, in local hours.
fn noon(seen: &Seen<'_>, start: usize) -> Option<f64> {
    let hours = 24.0 / seen.per_day as f64;
    // On the circle, because noon in UTC may be near midnight.
    let (mut sine, mut cosine, mut sum) = (0.0, 0.0, 0.0);
    for at in start..seen.end() {
        let angle = (seen.slot(at) as f64 + 0.5) * hours / 24.0 * TAU;
        let value = seen.values[at].max(0.0);
        sine += value * angle.sin();
        cosine += value * angle.cos();
        sum += value;
    }
    (sum > 0.0).then(|| (sine.atan2(cosine) / TAU * 24.0).rem_euclid(24.0))
}

/// Part of the year that has passed at a day since 1970, 0…1.
pub(crate) fn season(day: i64) -> f64 {
    (day as f64 / 365.2425).rem_euclid(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Panel;

    #[test]
    fn the_place_is_learned_from_the_series() {
        let truth = Place { latitude: 50.0, noon: 11.5, tilt: 30.0 };
        let mut panel = Panel::new(24, 0, 0);
        for at in 0..24 * 200_i64 {
            let (day, hour) = ((at / 24) as f64, (at % 24) as f64 + 0.5);
            let cloud = 0.6 + 0.4 * (day * 1.7).sin();
            panel.push(at, Some(truth.irradiance(day, hour) * cloud / 100.0));
        }
        let place = Place::learned(&panel.seen(usize::MAX), None).unwrap();
        assert!((place.latitude - 50.0).abs() <= 5.0, "{place:?}");
        assert!((place.noon - 11.5).abs() < 0.4, "{place:?}");
        let block = expect(&panel.seen(usize::MAX), &place, 24).unwrap();
        assert!(block[0] < 1e-9 && block[12] > 1.0, "{block:?}");
    }
}
