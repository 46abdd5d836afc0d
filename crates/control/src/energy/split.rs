//! The energy of a machine over a while, and whose it is.

use serde::{Deserialize, Serialize};
use sos_units::Power;

use super::power::Machine;
use super::rapl::NoCounter;
use super::share::apportion;

/// How the power that a machine takes while it does nothing is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdlePolicy {
    /// In proportion to the processors that services have reserved (their limits; without one, what they use), as
    /// ISO/IEC 21031 asks: all of what is provisioned counts.
    #[default]
    ByReservation,
    /// Each service that runs has the same part.
    Equal,
    /// It is nobody's: it stays in the line of the machine itself.
    None,
}

/// How energy was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method", content = "because")]
pub enum Method {
    /// The counters of the processors, and the declared idle power of the rest of the machine.
    Counters,
    /// The power model, as the counters tell nothing, and why.
    Model(NoCounter),
}

/// One who has a part in the energy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Processor time, seconds.
    pub(super) cpu_seconds: f64,
    /// Reserved processors.
    pub(super) reserved: f64,
}

/// What a while took, in microjoules.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Split {
    /// All of the machine.
    pub(super) total: i128,
    /// By share, in their order.
    pub(super) parts: Vec<i128>,
    /// What is nobody's: `total` less all `parts`.
    pub(super) rest: i128,
    pub(super) method: Method,
}

/// The energy of `seconds`: what rises with processor time is shared by processor time, what does not, by `policy`.
pub(super) fn split(
    machine: &Machine,
    policy: IdlePolicy,
    seconds: f64,
    shares: &[Share],
    rest_cpu_seconds: f64,
    counted: Result<u64, NoCounter>,
) -> Split {
    let (constant, moving, method) = energy(machine, seconds, shares, rest_cpu_seconds, counted);
    let mut weights: Vec<f64> = shares.iter().map(|share| share.cpu_seconds).collect();
    weights.push(rest_cpu_seconds);
    let nobody = |total: i128| {
        let mut parts = vec![0; shares.len()];
        parts.push(total);
        parts
    };
    let moving_parts = apportion(moving, &weights).unwrap_or_else(|| nobody(moving));
    let mut constant_parts =
        constant_shares(policy, shares).and_then(|weights| apportion(constant, &weights));
    if let Some(parts) = &mut constant_parts {
        parts.push(0);
    }
    let constant_parts = constant_parts.unwrap_or_else(|| nobody(constant));
    let mut parts: Vec<i128> = moving_parts.iter().zip(&constant_parts).map(|(a, b)| a + b).collect();
    let rest = parts.pop().unwrap_or(0);
    Split { total: constant + moving, parts, rest, method }
}

/// Microjoules that flow whatever runs, and those that come with processor time.
fn energy(
    machine: &Machine,
    seconds: f64,
    shares: &[Share],
    rest_cpu_seconds: f64,
    counted: Result<u64, NoCounter>,
) -> (i128, i128, Method) {
    let microjoules = |power: Power| power.as_kw() * 1000.0 * seconds * 1e6;
    let whole = |energy: f64| (energy.max(0.0) * machine.overhead).round() as i128;
    let power = machine.power;
    match counted {
        Ok(counted) => {
            let counted = counted as f64;
            let idle = microjoules(power.idle_in_package).min(counted);
            let beside = microjoules(power.idle - power.idle_in_package);
            (whole(idle + beside), whole(counted - idle), Method::Counters)
        }
        Err(why) => {
            let busy = shares.iter().map(|share| share.cpu_seconds).sum::<f64>() + rest_cpu_seconds;
            let load = (busy / (seconds * f64::from(machine.processors))).min(1.0);
            let moving = microjoules(power.max - power.idle) * load;
            (whole(microjoules(power.idle)), whole(moving), Method::Model(why))
        }
    }
}

/// By whom constant power is borne; nobody: `None`.
fn constant_shares(policy: IdlePolicy, shares: &[Share]) -> Option<Vec<f64>> {
    let equal = || shares.iter().map(|_| 1.0).collect();
    match policy {
        IdlePolicy::None => None,
        IdlePolicy::Equal => Some(equal()),
        IdlePolicy::ByReservation => {
            let reserved: Vec<f64> = shares.iter().map(|share| share.reserved).collect();
            Some(if reserved.iter().any(|cores| *cores > 0.0) { reserved } else { equal() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::{MachinePower, PowerSource};

    /// Four processors, 10 W idle of which 6 W are the processor's, 50 W at the most.
    fn machine() -> Machine {
        let power =
            MachinePower { idle: Power::kw(0.010), max: Power::kw(0.050), idle_in_package: Power::kw(0.006) };
        Machine { processors: 4, power, source: PowerSource::Declared, overhead: 1.0, embodied: None }
    }

    fn share(cpu_seconds: f64, reserved: f64) -> Share {
        Share { cpu_seconds, reserved }
    }

    const J: i128 = 1_000_000;

    fn model(policy: IdlePolicy, shares: &[Share], rest: f64) -> Split {
        split(&machine(), policy, 10.0, shares, rest, Err(NoCounter::First))
    }

    #[test]
    fn the_model_is_a_line_between_idle_and_full() {
        // 20 of 40 processor-seconds: 10 W + half of 40 W, for 10 s.
        let found = model(IdlePolicy::ByReservation, &[share(10.0, 1.0), share(5.0, 3.0)], 5.0);
        assert_eq!(found.total, 300 * J);
        assert_eq!((found.parts, found.rest), (vec![125 * J, 125 * J], 50 * J));
        assert_eq!(model(IdlePolicy::None, &[share(400.0, 1.0)], 0.0).total, 500 * J, "never above full");
    }

    #[test]
    fn idle_power_is_shared_as_declared() {
        let shares = [share(0.0, 1.0), share(0.0, 4.0)];
        let by = |policy| {
            let found = model(policy, &shares, 0.0);
            (found.parts[0], found.parts[1], found.rest)
        };
        assert_eq!(by(IdlePolicy::ByReservation), (20 * J, 80 * J, 0));
        assert_eq!(by(IdlePolicy::Equal), (50 * J, 50 * J, 0));
        assert_eq!(by(IdlePolicy::None), (0, 0, 100 * J));
        assert_eq!(model(IdlePolicy::Equal, &[], 0.0).rest, 100 * J, "nobody is there");
        let unreserved = model(IdlePolicy::ByReservation, &[share(0.0, 0.0), share(0.0, 0.0)], 0.0);
        assert_eq!(unreserved.parts, [50 * J, 50 * J]);
    }

    #[test]
    fn counters_take_the_place_of_the_processors_part() {
        // 6 W of the processor's 200 J are idle, 4 W are beside it.
        let found = split(&machine(), IdlePolicy::Equal, 10.0, &[share(3.0, 1.0)], 1.0, Ok(200_000_000));
        assert_eq!((found.total, found.method), (240 * J, Method::Counters));
        assert_eq!((found.parts, found.rest), (vec![205 * J], 35 * J));
        let less = split(&machine(), IdlePolicy::None, 10.0, &[share(3.0, 1.0)], 1.0, Ok(20_000_000));
        assert_eq!((less.total, less.parts[0]), (60 * J, 0), "less than idle was declared to be");
    }

    #[test]
    fn the_building_adds_its_share() {
        let cooled = Machine { overhead: 1.5, ..machine() };
        let found = split(&cooled, IdlePolicy::Equal, 10.0, &[share(20.0, 1.0)], 0.0, Err(NoCounter::First));
        assert_eq!(found.total, 450 * J);
    }
}
