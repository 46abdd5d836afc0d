//! Energy counters of processors (RAPL): what was used between two readings.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// The most power that a counter is believed, watts: above it, it was set back instead of having run full.
const MAX_WATTS_PER_COUNTER: f64 = 2000.0;

/// Counters at one time: those whose sum is the energy of the processors, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CounterReading {
    /// Which start of the machine this is; counters begin anew with it.
    pub boot: String,
    /// By name: microjoules so far, and the value at which it begins anew.
    pub counters: BTreeMap<String, (u64, u64)>,
}

/// Why counters give no energy; the power model is used instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoCounter {
    /// They could not be read, and why.
    Unreadable(String),
    /// This is the first reading.
    First,
    /// The machine was started anew in between.
    Restarted,
    /// Counters have come or gone.
    Changed,
    /// So much time has passed that a counter may have begun anew more than once.
    TooLong,
    /// A counter tells of more power than a processor takes.
    Implausible,
}

impl std::fmt::Display for NoCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(why) => f.write_str(why),
            Self::First => f.write_str("the energy counters were read for the first time"),
            Self::Restarted => f.write_str("the machine was started anew"),
            Self::Changed => f.write_str("other energy counters than before"),
            Self::TooLong => f.write_str("too long between two readings of the energy counters"),
            Self::Implausible => f.write_str("the energy counters tell of an impossible power"),
        }
    }
}

/// Microjoules between two readings that lie `elapsed` apart, over all counters; a counter that has begun anew once
/// is followed.
///
/// # Errors
/// Why the readings tell nothing.
pub fn counter_energy(
    before: Option<&CounterReading>,
    now: &CounterReading,
    elapsed: SignedDuration,
) -> Result<u64, NoCounter> {
    let before = before.ok_or(NoCounter::First)?;
    if before.boot != now.boot {
        return Err(NoCounter::Restarted);
    }
    if now.counters.is_empty() {
        return Err(NoCounter::Unreadable("there is no energy counter".into()));
    }
    if !before.counters.keys().eq(now.counters.keys()) {
        return Err(NoCounter::Changed);
    }
    let most = elapsed.as_secs_f64() * MAX_WATTS_PER_COUNTER * 1e6;
    let mut sum = 0_u64;
    for (name, (value, range)) in &now.counters {
        // A processor that was busy may have gone round once unseen.
        if (*range as f64) < elapsed.as_secs_f64() * PLAUSIBLE_WATTS * 1e6 {
            return Err(NoCounter::TooLong);
        }
        let earlier = before.counters.get(name).map_or(0, |counter| counter.0);
        let used =
            if *value >= earlier { value - earlier } else { begun_anew(*value, earlier, *range, elapsed)? };
        if used as f64 > most {
            return Err(NoCounter::Implausible);
        }
        sum = sum.saturating_add(used);
    }
    Ok(sum)
}

/// Power of a large processor, watts: a counter that this would fill within the time between two readings is not
/// trusted.
const PLAUSIBLE_WATTS: f64 = 400.0;

fn begun_anew(value: u64, earlier: u64, range: u64, elapsed: SignedDuration) -> Result<u64, NoCounter> {
    let rest = range.checked_sub(earlier).ok_or(NoCounter::Implausible)?;
    if elapsed <= SignedDuration::ZERO {
        return Err(NoCounter::Implausible);
    }
    Ok(rest.saturating_add(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: u64 = 262_143_328_850;

    fn reading(values: &[(&str, u64)]) -> CounterReading {
        let counters = values.iter().map(|(name, value)| ((*name).to_owned(), (*value, RANGE)));
        CounterReading { boot: "b".into(), counters: counters.collect() }
    }

    fn between(before: &CounterReading, now: &CounterReading, seconds: i64) -> Result<u64, NoCounter> {
        counter_energy(Some(before), now, SignedDuration::from_secs(seconds))
    }

    #[test]
    fn counters_are_added_up_and_followed_over_their_end() {
        let before = reading(&[("package-0", 1_000_000), ("dram-0", 10)]);
        let now = reading(&[("package-0", 51_000_000), ("dram-0", 5_000_010)]);
        assert_eq!(between(&before, &now, 5), Ok(55_000_000));
        let full = reading(&[("package-0", RANGE - 10)]);
        let anew = reading(&[("package-0", 20_000_000)]);
        assert_eq!(between(&full, &anew, 5), Ok(20_000_010));
    }

    #[test]
    fn what_cannot_be_is_not_believed_and_the_reason_told() {
        let (low, high) = (reading(&[("package-0", 5)]), reading(&[("package-0", 200_000_000_000)]));
        assert_eq!(between(&high, &low, 5), Err(NoCounter::Implausible), "set back, not begun anew");
        assert_eq!(between(&low, &high, 5), Err(NoCounter::Implausible));
        assert_eq!(between(&low, &low, 3600), Err(NoCounter::TooLong));
        assert_eq!(between(&low, &reading(&[("package-1", 9)]), 5), Err(NoCounter::Changed));
        assert_eq!(counter_energy(None, &low, SignedDuration::from_secs(5)), Err(NoCounter::First));
        let elsewhere = CounterReading { boot: "c".into(), ..low.clone() };
        assert_eq!(between(&low, &elsewhere, 5), Err(NoCounter::Restarted));
        let none = CounterReading { counters: BTreeMap::new(), ..low.clone() };
        assert!(matches!(between(&none, &none, 5), Err(NoCounter::Unreadable(_))));
        let odd = CounterReading {
            counters: BTreeMap::from([("package-0".into(), (1, 10_000_000_000))]),
            ..low.clone()
        };
        assert_eq!(between(&high, &odd, 5), Err(NoCounter::Implausible), "beyond its own range");
    }
}
