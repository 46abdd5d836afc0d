//! What a machine is known to need.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use sos_units::{Emissions, Power};

/// How much power a machine takes, from idle to all processors busy. In between, power rises in a line with the
/// share of processor time that is used.
///
/// Source of the line: Fan, Weber, Barroso, "Power provisioning for a warehouse-sized computer", ISCA 2007; also used
/// by Cloud Carbon Footprint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachinePower {
    /// When nothing runs, zero or above as consumption.
    pub idle: Power,
    /// When all processors are busy, at least `idle`.
    pub max: Power,
    /// Of `idle`, the part that the processor's own energy counter counts; zero to `idle`. Where that counter is
    /// read, it takes the place of this part and of all that is above idle. Default of the engine: all of it.
    pub idle_in_package: Power,
}

/// Where the figures of a [`MachinePower`] are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerSource {
    /// The manifest.
    Declared,
    /// A measured single-board computer: Raspberry Pi 4 B, 540 mA and 1280 mA at 5 V ("Power consumption benchmarks",
    /// pidramble.com).
    SingleBoard,
    /// The mean of servers per logical processor, 0.74 W to 3.5 W (methodology of Cloud Carbon Footprint, from
    /// SPECpower_ssj2008 results).
    MeanServer,
}

impl PowerSource {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::SingleBoard => "a Raspberry Pi 4 B as measured by pidramble.com",
            Self::MeanServer => {
                "0.74 W to 3.5 W for each logical processor, the mean of Cloud Carbon Footprint"
            }
        }
    }
}

/// Embodied emissions of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Embodied {
    /// Of making and disposing of all of it, zero or above.
    pub total: Emissions,
    /// How long it is expected to be used, above zero.
    pub lifetime: SignedDuration,
}

/// A machine on which services run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Logical processors, above zero.
    pub processors: u32,
    /// Its power.
    pub power: MachinePower,
    /// Where that is from.
    pub source: PowerSource,
    /// What the building adds for cooling and the like, as a factor on all energy (PUE), 1 or above.
    pub overhead: f64,
    /// Its embodied emissions, where they are declared.
    pub embodied: Option<Embodied>,
}

/// A figure of a machine that is out of its range.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineError(pub String);

impl std::fmt::Display for MachineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for MachineError {}

/// The power of a machine of which none is declared, by its logical processors and its architecture as the kernel
/// names it (`x86_64`, `aarch64`, …): an ARM of up to four processors is taken for a single-board computer.
#[must_use]
pub fn default_power(processors: u32, architecture: &str) -> (MachinePower, PowerSource) {
    let arm = architecture.starts_with("arm") || architecture.starts_with("aarch64");
    let (idle, max, source) = if arm && processors <= 4 {
        (Power::kw(0.0027), Power::kw(0.0064), PowerSource::SingleBoard)
    } else {
        let count = f64::from(processors.max(1));
        (Power::kw(0.000_74) * count, Power::kw(0.0035) * count, PowerSource::MeanServer)
    };
    (MachinePower { idle, max, idle_in_package: idle }, source)
}

impl Machine {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first figure that is out of its range.
    pub fn check(&self) -> Result<(), MachineError> {
        const MOST: Power = Power::kw(1000.0);
        let MachinePower { idle, max, idle_in_package } = self.power;
        let wrong = |text: String| Err(MachineError(text));
        if self.processors == 0 {
            return wrong("a machine must have a processor".into());
        }
        if !(Power::ZERO..=MOST).contains(&idle) || !(idle..=MOST).contains(&max) {
            return wrong(format!(
                "the power of a machine is {idle} to {max}, expected 0 to {MOST}, idle not above max"
            ));
        }
        if !(Power::ZERO..=idle).contains(&idle_in_package) {
            return wrong(format!("the processor's idle power is {idle_in_package}, expected 0 to {idle}"));
        }
        if !(1.0..=10.0).contains(&self.overhead) {
            return wrong(format!("the overhead of the building is {}, expected 1 to 10", self.overhead));
        }
        match self.embodied {
            Some(Embodied { total, .. }) if !(total.is_finite() && total >= Emissions::ZERO) => {
                wrong(format!("the embodied emissions are {total}, expected zero or above"))
            }
            Some(Embodied { lifetime, .. }) if lifetime <= SignedDuration::ZERO => {
                wrong("the lifetime of a machine must be above zero".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let (power, source) = default_power(8, "x86_64");
        Machine { processors: 8, power, source, overhead: 1.0, embodied: None }
    }

    #[test]
    fn defaults_depend_on_processors_and_architecture() {
        let (server, source) = default_power(8, "x86_64");
        assert_eq!(source, PowerSource::MeanServer);
        assert!((server.idle.as_kw() - 0.00592).abs() < 1e-12 && (server.max.as_kw() - 0.028).abs() < 1e-12);
        assert_eq!(default_power(4, "aarch64").1, PowerSource::SingleBoard);
        assert_eq!(default_power(4, "armv7l").1, PowerSource::SingleBoard);
        assert_eq!(default_power(64, "aarch64").1, PowerSource::MeanServer);
        assert!(machine().check().is_ok());
    }

    #[test]
    fn figures_out_of_range_are_named() {
        let wrong = |machine: Machine| machine.check().unwrap_err().to_string();
        let power = MachinePower { max: Power::ZERO, ..machine().power };
        assert!(wrong(Machine { power, ..machine() }).contains("idle not above max"));
        let power = MachinePower { idle: Power::kw(f64::NAN), ..machine().power };
        assert!(wrong(Machine { power, ..machine() }).contains("power of a machine"));
        assert!(wrong(Machine { processors: 0, ..machine() }).contains("processor"));
        assert!(wrong(Machine { overhead: 0.9, ..machine() }).contains("1 to 10"));
        let embodied = Some(Embodied { total: Emissions::kg(1.0), lifetime: SignedDuration::ZERO });
        assert!(wrong(Machine { embodied, ..machine() }).contains("lifetime"));
    }
}
