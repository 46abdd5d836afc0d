//! The carbon intensity of a site over time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_units::{CarbonIntensity, Missing, Reading};

/// From `start` to the start of the next step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarbonStep {
    /// Start of the step, site time.
    pub start: Timestamp,
    /// Its intensity, or why there is none.
    pub intensity: Reading<CarbonIntensity>,
}

/// A signal that is constant in steps; the last step has no end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepSignal {
    steps: Vec<CarbonStep>,
}

impl StepSignal {
    /// From steps in any order; of two with the same start the later one counts. Intensities that are not finite or
    /// below zero become [`Missing::Invalid`].
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = CarbonStep>) -> Self {
        let mut steps: Vec<_> = steps.into_iter().map(checked).collect();
        steps.sort_by_key(|step| step.start);
        // The last of equal starts is kept: from behind, the first.
        steps.reverse();
        steps.dedup_by_key(|step| step.start);
        steps.reverse();
        Self { steps }
    }

    /// The parts of `from` … `to` with the same intensity: seconds and intensity. Before the first step the
    /// intensity is [`Missing::NotYet`]. An empty span is one part of no length.
    #[must_use]
    pub fn parts(&self, from: Timestamp, to: Timestamp) -> Vec<(f64, Reading<CarbonIntensity>)> {
        let first = self.steps.partition_point(|step| step.start <= from);
        let mut intensity = match first.checked_sub(1) {
            Some(before) => self.steps[before].intensity,
            None => Err(Missing::NotYet),
        };
        let mut parts: Vec<(f64, Reading<CarbonIntensity>)> = vec![];
        let mut start = from;
        let inside = self.steps[first..].iter().take_while(|step| step.start < to);
        for step in inside {
            parts.push((step.start.duration_since(start).as_secs_f64(), intensity));
            (start, intensity) = (step.start, step.intensity);
        }
        parts.push((to.duration_since(start).as_secs_f64().max(0.0), intensity));
        parts
    }
}

fn checked(step: CarbonStep) -> CarbonStep {
    let usable = |value: CarbonIntensity| value.is_finite() && value >= CarbonIntensity::ZERO;
    let intensity =
        step.intensity.and_then(|value| if usable(value) { Ok(value) } else { Err(Missing::Invalid) });
    CarbonStep { intensity, ..step }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn step(start: i64, kg: f64) -> CarbonStep {
        CarbonStep { start: at(start), intensity: Ok(CarbonIntensity::kg_per_kwh(kg)) }
    }

    #[test]
    fn a_span_falls_apart_at_each_step() {
        let signal = StepSignal::new([step(100, 0.5), step(0, 0.2), step(100, 0.4), step(200, -1.0)]);
        let kg = |kg| Ok(CarbonIntensity::kg_per_kwh(kg));
        assert_eq!(signal.parts(at(-50), at(50)), [(50.0, Err(Missing::NotYet)), (50.0, kg(0.2))]);
        assert_eq!(signal.parts(at(90), at(100)), [(10.0, kg(0.2))]);
        assert_eq!(
            signal.parts(at(90), at(250)),
            [(10.0, kg(0.2)), (100.0, kg(0.4)), (50.0, Err(Missing::Invalid))]
        );
        assert_eq!(signal.parts(at(150), at(150)), [(0.0, kg(0.4))]);
        assert_eq!(StepSignal::default().parts(at(0), at(1)), [(1.0, Err(Missing::NotYet))]);
    }
}
