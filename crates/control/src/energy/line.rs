//! Sums of energy and emissions.

use serde::{Deserialize, Serialize};
use sos_units::{
    CarbonIntensity, Emissions, Energy, ExactEmissions, ExactEnergy, ExactIntensity, Missing, Reading,
};

use super::share::apportion;

/// Energy and what was emitted for it, exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sums {
    /// All energy.
    pub energy: ExactEnergy,
    /// The part of it that counters of the processors measured.
    pub counted: ExactEnergy,
    /// Emissions of the energy whose carbon intensity is known.
    pub emissions: ExactEmissions,
    /// The energy whose carbon intensity is not known.
    pub without_carbon: ExactEnergy,
    /// Why not, the latest time.
    pub missing_carbon: Option<Missing>,
    /// The share of the machine's embodied emissions.
    pub embodied: ExactEmissions,
    /// How long it ran on a machine of which they are not declared, milliseconds.
    pub millis_without_embodied: i64,
}

impl Sums {
    /// What was emitted, if the carbon intensity of all energy is known.
    ///
    /// # Errors
    /// Why that of some is not.
    pub fn emissions(&self) -> Reading<Emissions> {
        match self.missing_carbon {
            Some(why) if self.without_carbon > ExactEnergy::ZERO => Err(why),
            _ => Ok(self.emissions.to_emissions()),
        }
    }

    /// The share of the machine's embodied emissions; `None` when they were not declared all the time.
    #[must_use]
    pub fn embodied(&self) -> Option<Emissions> {
        (self.millis_without_embodied == 0).then(|| self.embodied.to_emissions())
    }

    /// Energy of a while that falls apart into `parts` of seconds and carbon intensity.
    pub(super) fn of(energy: ExactEnergy, parts: &[(f64, Reading<CarbonIntensity>)]) -> Self {
        let mut sums = Self { energy, ..Self::default() };
        let seconds: Vec<f64> = parts.iter().map(|part| part.0).collect();
        let total = i128::from(energy.as_watt_seconds());
        let shares = apportion(total, &seconds).unwrap_or_else(|| {
            // No length at all: the energy is of that moment.
            (0..parts.len()).map(|i| if i + 1 == parts.len() { total } else { 0 }).collect()
        });
        for (share, (_, intensity)) in shares.into_iter().zip(parts) {
            let share = ExactEnergy::watt_seconds(i64::try_from(share).unwrap_or(i64::MAX));
            match intensity {
                Ok(intensity) => sums.emissions += ExactIntensity::from_intensity(*intensity) * share,
                Err(why) => {
                    sums.without_carbon += share;
                    sums.missing_carbon = Some(*why);
                }
            }
        }
        sums
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.energy += more.energy;
        self.counted += more.counted;
        self.emissions += more.emissions;
        self.without_carbon += more.without_carbon;
        self.missing_carbon = more.missing_carbon.or(self.missing_carbon);
        self.embodied += more.embodied;
        self.millis_without_embodied =
            self.millis_without_embodied.saturating_add(more.millis_without_embodied);
    }
}

/// The account of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Line {
    /// All of it.
    pub all: Sums,
    /// The part of it in which requests were counted.
    pub with_requests: Sums,
    /// Requests counted.
    pub requests: u64,
    /// Microjoules that do not fill a watt-second yet.
    pub(super) carry: i64,
    /// Processor time that was seen, milliseconds.
    pub cpu_millis: i64,
}

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerRequest {
    /// Mean energy.
    pub energy: Energy,
    /// Mean emissions of that energy, or why they are not known.
    pub emissions: Reading<Emissions>,
}

impl Line {
    /// The mean of all requests that were counted.
    ///
    /// # Errors
    /// [`Missing::NotYet`] when there was none.
    pub fn per_request(&self) -> Reading<PerRequest> {
        if self.requests == 0 {
            return Err(Missing::NotYet);
        }
        let count = self.requests as f64;
        Ok(PerRequest {
            energy: self.with_requests.energy.to_energy() / count,
            emissions: self.with_requests.emissions().map(|emissions| emissions / count),
        })
    }

    /// Turns microjoules into whole watt-seconds; what is left waits for more.
    pub(super) fn whole(&mut self, microjoules: i128) -> ExactEnergy {
        const PER_WATT_SECOND: i128 = 1_000_000;
        let all = microjoules.max(0) + i128::from(self.carry);
        self.carry = i64::try_from(all % PER_WATT_SECOND).unwrap_or(0);
        ExactEnergy::watt_seconds(i64::try_from(all / PER_WATT_SECOND).unwrap_or(i64::MAX))
    }

    pub(super) fn add(&mut self, window: &Sums, requests: Option<u64>) {
        self.all.add(window);
        if let Some(requests) = requests {
            self.with_requests.add(window);
            self.requests = self.requests.saturating_add(requests);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kg(value: f64) -> Reading<CarbonIntensity> {
        Ok(CarbonIntensity::kg_per_kwh(value))
    }

    #[test]
    fn emissions_follow_the_steps_of_the_signal() {
        let sums = Sums::of(ExactEnergy::watt_seconds(3_600_000), &[(10.0, kg(0.4)), (30.0, kg(0.2))]);
        assert_eq!(sums.emissions(), Ok(Emissions::kg(0.25)));
        let gap = Sums::of(ExactEnergy::watt_seconds(100), &[(1.0, kg(0.4)), (1.0, Err(Missing::Gap))]);
        assert_eq!((gap.emissions(), gap.without_carbon), (Err(Missing::Gap), ExactEnergy::watt_seconds(50)));
        let moment = Sums::of(ExactEnergy::watt_seconds(3_600_000), &[(0.0, kg(0.5))]);
        assert_eq!(moment.emissions(), Ok(Emissions::kg(0.5)));
    }

    #[test]
    fn parts_of_a_watt_second_wait_for_more() {
        let mut line = Line::default();
        let given: ExactEnergy = (0..10).map(|_| line.whole(350_000)).sum();
        assert_eq!((given, line.carry), (ExactEnergy::watt_seconds(3), 500_000));
    }

    #[test]
    fn without_a_request_there_is_no_energy_per_request() {
        let mut line = Line::default();
        line.add(&Sums::of(ExactEnergy::watt_seconds(100), &[(1.0, kg(0.36))]), None);
        assert_eq!(line.per_request(), Err(Missing::NotYet));
        line.add(&Sums::of(ExactEnergy::watt_seconds(3_600_000), &[(1.0, kg(0.36))]), Some(1000));
        let each = line.per_request().unwrap();
        assert!((each.energy.as_kwh() - 0.001).abs() < 1e-12);
        assert!((each.emissions.unwrap().as_kg() - 0.000_36).abs() < 1e-12);
    }
}
