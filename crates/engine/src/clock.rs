//! The only place that reads the real clock, and the clock of a site.
//!
//! Probes, back-off and stop time-outs run on wall time ([`wall_now`]). Signals, ticks, leases, plans and simulated
//! devices run on **site time** ([`SiteClock`]): the real time, the real time scaled, or lock-step, in which time
//! advances only when every simulated device has been handed it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The real time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the engine's only reading of the real clock")]
pub fn wall_now() -> Timestamp {
    Timestamp::now()
}

/// The last time at which something comes up to `now`, from one at which it comes: of times that were missed, the one that is made
/// up for.
pub(crate) fn latest(
    first: Timestamp,
    now: Timestamp,
    next: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Timestamp {
    let mut at = first;
    while let Some(later) = next(at).filter(|later| *later <= now) {
        at = later;
    }
    at
}

/// How fast site time passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Speed {
    /// Site seconds per wall second, above zero.
    Factor(f64),
    /// As fast as every device follows.
    LockStep,
}

impl std::str::FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::LockStep);
        }
        match text.parse::<f64>() {
            Ok(factor) if factor > 0.0 && factor <= 100_000.0 => Ok(Self::Factor(factor)),
            _ => Err(format!("speed \"{text}\" is neither \"max\" nor a number above 0 and up to 100000")),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Factor(factor) => write!(f, "{factor}"),
            Self::LockStep => f.write_str("max"),
        }
    }
}

/// Where a site's time began and how it passes; kept in the store so that a restart goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteClock {
    /// How fast it passes.
    pub speed: Speed,
    /// Site time at `wall_epoch`: the start of the first tick.
    pub site_epoch: Timestamp,
    /// Real time at which site time began.
    pub wall_epoch: Timestamp,
}

impl SiteClock {
    /// Site time at a real time; in lock-step the caller keeps it, and this is the epoch.
    #[must_use]
    pub fn site_time(&self, wall: Timestamp) -> Timestamp {
        match self.speed {
            Speed::LockStep => self.site_epoch,
            Speed::Factor(factor) => scaled(self.site_epoch, wall.duration_since(self.wall_epoch), factor),
        }
    }

    /// The real time at which a site time is reached; none in lock-step.
    #[must_use]
    pub fn wall_time(&self, site: Timestamp) -> Option<Timestamp> {
        match self.speed {
            Speed::LockStep => None,
            Speed::Factor(factor) => {
                Some(scaled(self.wall_epoch, site.duration_since(self.site_epoch), factor.recip()))
            }
        }
    }
}

fn scaled(origin: Timestamp, passed: SignedDuration, factor: f64) -> Timestamp {
    SignedDuration::try_from_secs_f64(passed.as_secs_f64() * factor)
        .ok()
        .and_then(|span| origin.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_time_goes_there_and_back() {
        let epoch: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let wall: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = SiteClock { speed: Speed::Factor(600.0), site_epoch: epoch, wall_epoch: wall };
        let later = clock.site_time(wall + SignedDuration::from_millis(1500));
        assert_eq!(later, epoch + SignedDuration::from_mins(15));
        assert_eq!(clock.wall_time(later), Some(wall + SignedDuration::from_millis(1500)));
    }

    #[test]
    fn a_speed_is_max_or_positive() {
        assert_eq!("max".parse(), Ok(Speed::LockStep));
        assert_eq!("600".parse(), Ok(Speed::Factor(600.0)));
        for wrong in ["0", "-1", "NaN", "inf", "fast", ""] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
