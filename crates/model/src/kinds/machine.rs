//! `Machine`: what a machine that services run on takes and costs, for the account of their energy.

use jiff::SignedDuration;
use sos_units::{Emissions, Power};

use crate::declare::record;
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::Number;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// The machine whose host name is its name; a single one that is declared is meant whatever its name. Without any, usual
    /// figures are taken and there is no SCI score.
    pub struct MachineSpec checked by check_machine {
        /// Power when nothing runs, such as `30 W`. Default: that of a usual machine of its kind.
        idle_power: Option<Power>, in NOT_NEGATIVE;
        /// Power when all processors are busy. Default: that of a usual machine of its kind.
        max_power: Option<Power>, in ABOVE_ZERO;
        /// Of `idlePower`, the part that the processor's own energy counter counts. Default: all of it.
        package_idle_power: Option<Power>, in NOT_NEGATIVE;
        /// What the building adds for cooling and the like, as a factor on all energy (PUE), 1 … 10.
        pue: Number = Number::new(1.0), in Range::between(1.0, 10.0);
        /// What making and disposing of it emitted. Default: not known.
        embodied: Option<EmbodiedSpec>;
    }
}

record! {
    /// Embodied emissions of a machine.
    pub struct EmbodiedSpec {
        /// Of making and disposing of all of it, such as `1200 kg`.
        emissions: Emissions, in NOT_NEGATIVE;
        /// How long it is expected to be used.
        lifetime: SignedDuration = SignedDuration::from_hours(4 * 8766), in ABOVE_ZERO;
    }
}

fn check_machine(machine: &MachineSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    match (machine.idle_power, machine.max_power) {
        (Some(idle), Some(max)) if idle > max => {
            cx.report(at("idlePower"), "idlePower is above maxPower", format!("expected at most {max}"));
        }
        (Some(_), None) | (None, Some(_)) => {
            let key = if machine.idle_power.is_some() { "idlePower" } else { "maxPower" };
            let help = "power between both is on a line; give idlePower and maxPower, or none";
            cx.report(at(key), format!("{key} stands alone"), help);
        }
        _ => {}
    }
    if let Some(package) = machine.package_idle_power
        && machine.idle_power.is_none_or(|idle| package > idle)
    {
        let help = "expected at most idlePower, of which it is a part";
        cx.report(at("packageIdlePower"), "packageIdlePower is above idlePower", help);
    }
}
