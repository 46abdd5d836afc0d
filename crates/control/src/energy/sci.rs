//! The Software Carbon Intensity of a service.

use serde::{Deserialize, Serialize};
use sos_units::{Emissions, Missing};

use super::line::Sums;

/// `((E · I) + M) / R` of ISO/IEC 21031:2024 (Software Carbon Intensity, Green Software Foundation), with its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SciScore {
    /// Operational emissions, `E · I`, of all units together.
    pub operational: Emissions,
    /// Embodied emissions, `M`: those of the machine, times the share of its lifetime, times the share of its
    /// processors that was reserved.
    pub embodied: Emissions,
    /// How many functional units, `R`.
    pub units: u64,
    /// What a unit is, such as `request`.
    pub unit: String,
    /// The score: emissions for each unit.
    pub score: Emissions,
}

/// Why there is no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoScore {
    /// The carbon intensity was not known all the time.
    NoCarbon(Missing),
    /// No embodied emissions are declared for the machine.
    NoEmbodied,
    /// No functional unit was counted.
    NoUnits,
}

impl std::fmt::Display for NoScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCarbon(why) => write!(f, "the carbon intensity is not known for all of the time: {why}"),
            Self::NoEmbodied => f.write_str("no embodied emissions are declared for the machine"),
            Self::NoUnits => f.write_str("nothing was counted yet that the score could be per"),
        }
    }
}
impl std::error::Error for NoScore {}

/// The score of what `sums` hold, for `units` of `unit`.
///
/// # Errors
/// What is missing for it; the standard leaves out neither part.
pub fn sci(sums: &Sums, units: u64, unit: &str) -> Result<SciScore, NoScore> {
    let operational = sums.emissions().map_err(NoScore::NoCarbon)?;
    let embodied = sums.embodied().ok_or(NoScore::NoEmbodied)?;
    if units == 0 {
        return Err(NoScore::NoUnits);
    }
    let score = (operational + embodied) / units as f64;
    Ok(SciScore { operational, embodied, units, unit: unit.into(), score })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sos_units::{CarbonIntensity, ExactEmissions, ExactEnergy};

    #[test]
    fn the_score_is_energy_times_intensity_and_embodied_for_each_unit() {
        let intensity = Ok(CarbonIntensity::kg_per_kwh(0.4));
        let mut sums = Sums::of(ExactEnergy::watt_seconds(7_200_000), &[(1.0, intensity)]);
        // The example of the specification: 1000 kg over four years, reserved for one hour.
        sums.embodied = ExactEmissions::from_units(3_600_000_000_000_000 / (4 * 365 * 24));
        let score = sci(&sums, 1000, "request").unwrap();
        assert!((score.embodied.as_kg() - 0.0285).abs() < 0.0001, "{score:?}");
        assert!((score.score.as_kg() - (0.8 + 1000.0 / 35_040.0) / 1000.0).abs() < 1e-12, "{score:?}");
        assert_eq!(sci(&sums, 0, "request"), Err(NoScore::NoUnits));
        let gap = Sums::of(ExactEnergy::watt_seconds(1), &[(1.0, Err(Missing::Gap))]);
        assert_eq!(sci(&gap, 1, "request"), Err(NoScore::NoCarbon(Missing::Gap)));
        let undeclared = Sums { millis_without_embodied: 1, ..sums };
        assert_eq!(sci(&undeclared, 1, "request"), Err(NoScore::NoEmbodied));
    }
}
