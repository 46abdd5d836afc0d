//! A generator set: it takes its time to start, then gives what it is asked for between its least and its most power.

use serde::{Deserialize, Serialize};
use sos_units::{Hours, Power};

use crate::{from_watts, whole_seconds, whole_watts};

/// Its nameplate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorParams {
    least_w: i64,
    most_w: i64,
    start_s: i64,
}

impl GeneratorParams {
    /// Checks a nameplate and rounds it to watts and seconds; `None` unless 0 ≤ `least` ≤ `most`, `most` is above zero and
    /// `start` is zero or above.
    #[must_use]
    pub fn new(least: Power, most: Power, start: Hours) -> Option<Self> {
        let sound = least >= Power::ZERO && most >= least && most > Power::ZERO && most <= Power::kw(1e9);
        let start_s = whole_seconds(start);
        (sound && start.get() >= 0.0).then(|| Self {
            least_w: whole_watts(least),
            most_w: whole_watts(most),
            start_s,
        })
    }

    /// Most power.
    #[must_use]
    pub fn most(&self) -> Power {
        from_watts(self.most_w)
    }
}

/// What its engine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Engine {
    /// It rests.
    #[default]
    Off,
    /// It starts, and gives nothing for so many seconds more.
    Starting(i64),
    /// It gives power.
    Running,
}

/// Holds a set-point for `dt` and says what the engine does then and what really flowed: the **mean** power over the step, in
/// whole watts. Above zero it starts or goes on, at zero or without a number it stops at once.
#[must_use]
pub fn step(params: &GeneratorParams, engine: Engine, setpoint: Power, dt: Hours) -> (Engine, Power) {
    let seconds = whole_seconds(dt);
    let asked = whole_watts(setpoint);
    if asked <= 0 {
        return (Engine::Off, Power::ZERO);
    }
    let waits = match engine {
        Engine::Off => params.start_s,
        Engine::Starting(left) => left,
        Engine::Running => 0,
    };
    if waits > seconds {
        return (Engine::Starting(waits - seconds), Power::ZERO);
    }
    let watts = asked.clamp(params.least_w, params.most_w);
    let mean = if seconds == 0 { 0 } else { watts.saturating_mul(seconds - waits) / seconds };
    (Engine::Running, from_watts(mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Hours = Hours::new(1.0 / 60.0);

    fn set() -> GeneratorParams {
        GeneratorParams::new(Power::kw(4.0), Power::kw(10.0), Hours::new(1.5 / 60.0)).unwrap()
    }

    #[test]
    fn a_start_takes_its_time_and_then_power_is_between_least_and_most() {
        let (engine, power) = step(&set(), Engine::Off, Power::kw(20.0), MINUTE);
        assert_eq!((engine, power), (Engine::Starting(30), Power::ZERO));
        let (engine, power) = step(&set(), engine, Power::kw(20.0), MINUTE);
        assert_eq!((engine, power), (Engine::Running, Power::kw(5.0)), "half a minute at the most");
        assert_eq!(step(&set(), engine, Power::kw(1.0), MINUTE), (Engine::Running, Power::kw(4.0)));
    }

    #[test]
    fn it_stops_at_once_and_has_to_start_again() {
        let (engine, power) = step(&set(), Engine::Running, Power::ZERO, MINUTE);
        assert_eq!((engine, power), (Engine::Off, Power::ZERO));
        assert_eq!(step(&set(), engine, Power::kw(5.0), MINUTE).1, Power::ZERO);
        assert_eq!(step(&set(), Engine::Running, Power::kw(f64::NAN), MINUTE).0, Engine::Off);
    }

    #[test]
    fn impossible_nameplates_are_refused() {
        let new = |least, most| GeneratorParams::new(Power::kw(least), Power::kw(most), Hours::new(0.0));
        assert_eq!(new(5.0, 4.0), None);
        assert_eq!(new(0.0, 0.0), None);
        assert_eq!(new(-1.0, 4.0), None);
        assert_eq!(GeneratorParams::new(Power::ZERO, Power::kw(1.0), Hours::new(-1.0)), None);
    }
}
