//! Flexible loads: jobs whose runs can be moved, services that may be slower, and workflows that may wait.

use jiff::SignedDuration;
use jiff::civil::Time;
use sos_units::{Energy, Money, Power};

use super::service::ServiceSpec;
use crate::declare::{choice, record};
use crate::field::Cx;
use crate::node::Node;
use crate::problem::Position;
use crate::quantity::{Amount, Fraction};
use crate::scalar::Name;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE};

/// The longest that work of workflows may wait: a year.
const MOST_HOURS_WAITED: i64 = 8784;

record! {
    /// A job whose run can be moved within a window.
    pub struct Batch checked by check_batch {
        /// Name of the `Site` whose energy it uses.
        site: Name;
        /// When it may run, every day.
        window: Window;
        /// Energy of one run, such as `2 kWh`; above zero.
        energy: Energy, in ABOVE_ZERO;
        /// Highest power while it runs, such as `1 kW`; above zero.
        power: Power, in ABOVE_ZERO;
        /// Lowest power while it runs; zero or above. Default: `power`.
        min_power: Option<Power>, in NOT_NEGATIVE;
        /// Site time that one run takes; above zero.
        duration: SignedDuration, in ABOVE_ZERO;
        /// Whether the run may pause and continue.
        interruptible: bool = false;
        /// What it is worth to finish in time, such as `5 USD`. Default: it must finish.
        value: Option<Amount<Money>>, in NOT_NEGATIVE;
    }
}

record! {
    /// Work of a workflow, or of one of its tasks, that may wait for power.
    pub struct Waiting checked by check_waiting {
        ..until: WaitingUntil;
        /// Name of the `Site` whose energy it uses.
        site: Name;
        /// Energy that it uses, such as `2 kWh`; above zero.
        energy: Energy, in ABOVE_ZERO;
        /// Highest power while it is at work, such as `1 kW`; above zero. `energy` at this power is how long it takes.
        power: Power, in ABOVE_ZERO;
        /// Lowest power while it is at work; zero or above. Default: `power`.
        min_power: Option<Power>, in NOT_NEGATIVE;
        /// Whether it may pause: before calls and programs, never within one.
        interruptible: bool = false;
        /// What it is worth to finish in time, such as `5 USD`. Default: it must finish.
        value: Option<Amount<Money>>, in NOT_NEGATIVE;
    }
}

choice! {
    /// When work that may wait is to be done.
    pub enum WaitingUntil {
        /// This much site time after it could begin, such as `8 h`.
        Within(SignedDuration),
        /// The next time of day that leaves enough time for it, such as `"06:00"`, in the site's local time.
        Deadline(Time),
    }
}

impl Waiting {
    /// How long it takes at full power, in whole seconds, at least one.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        ((self.energy.as_kwh() / self.power.as_kw() * 3600.0).ceil() as i64).max(1)
    }
}

record! {
    /// A window of every day in the site's local time; it may pass midnight.
    pub struct Window checked by check_window {
        /// Earliest start, such as `"22:00"`.
        from: Time;
        /// Deadline, such as `"06:00"`.
        to: Time;
    }
}

record! {
    /// A service that may be slower. What the guarantee needs is always there; what it wants beyond that is used when the site's
    /// plan says so.
    pub struct Slowdown checked by check_slowdown {
        ..guarantee: SlowdownGuarantee;
        /// Name of the `Site` whose energy it uses.
        site: Name;
        /// In which time of every day it wants `energy`.
        window: Window;
        /// Energy that it wants in each window, that of the guarantee included, such as `3 kWh`; above zero.
        energy: Energy, in ABOVE_ZERO;
        /// Power of all replicas together at full speed, such as `400 W`; above zero.
        power: Power, in ABOVE_ZERO;
        /// Power of all replicas together when they do nothing; zero or above.
        idle_power: Power = Power::ZERO, in NOT_NEGATIVE;
        /// What it is worth to get the energy, such as `5 USD`. Default: it must get it.
        value: Option<Amount<Money>>, in NOT_NEGATIVE;
    }
}

choice! {
    /// What always remains of a service that may be slower.
    pub enum SlowdownGuarantee {
        /// It is slowed down by fewer replicas; this many at least, 1 or more.
        MinReplicas(u32),
        /// It is slowed down by less processor time; this share of `resources.cpu` at least, above 0 and up to 1.
        MinShare(Fraction),
    }
}

fn check_window(window: &Window, node: &Node, cx: &mut Cx<'_>) {
    if window.from == window.to {
        let position = node.get("to").map_or(node.position, |n| n.position);
        cx.report(position, "the window is empty", "expected to after from, or past midnight before it");
    }
}

/// The length of the daily window, past midnight where `to` is before `from`.
fn window_length(window: &Window) -> SignedDuration {
    let span = window.from.duration_until(window.to);
    if span.is_negative() { span + SignedDuration::from_hours(24) } else { span }
}

fn check_batch(batch: &Batch, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let hours = batch.duration.as_secs_f64() / 3600.0;
    let most = batch.power.as_kw() * hours;
    if batch.energy.as_kwh() > most * (1.0 + 1e-9) {
        let message = format!(
            "{} kWh cannot be used at {} in {}",
            batch.energy.as_kwh(),
            batch.power,
            crate::quantity::duration_text(batch.duration)
        );
        cx.report(at("energy"), message, format!("expected at most {most} kWh, or more power or duration"));
    }
    if let Some(min) = batch.min_power {
        if min > batch.power {
            cx.report(at("minPower"), "minPower is above power", format!("expected at most {}", batch.power));
        } else if min.as_kw() * hours > batch.energy.as_kwh() * (1.0 + 1e-9) {
            let message = "minPower over the duration uses more than energy";
            cx.report(at("minPower"), message, "expected less power or more energy");
        }
    }
    let window = window_length(&batch.window);
    if batch.duration > window {
        let text = crate::quantity::duration_text;
        let message =
            format!("a run of {} does not fit the window of {}", text(batch.duration), text(window));
        cx.report(at("duration"), message, "expected a longer window or a shorter run");
    }
}

fn check_waiting(waiting: &Waiting, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let text = crate::quantity::duration_text;
    let takes = SignedDuration::from_secs(waiting.seconds());
    let (key, most) = match waiting.until {
        WaitingUntil::Within(within) => ("within", within),
        // The clock may be turned forward meanwhile.
        WaitingUntil::Deadline(_) => ("energy", SignedDuration::from_hours(23)),
    };
    if takes > most {
        let message = format!("{} at {} takes {}", waiting.energy, waiting.power, text(takes));
        cx.report(at(key), message, format!("expected it to fit into {}", text(most)));
    }
    if most > SignedDuration::from_hours(MOST_HOURS_WAITED) {
        let message = format!("{} is longer than anything may wait", text(most));
        cx.report(at(key), message, format!("expected at most {MOST_HOURS_WAITED} h"));
    }
    if waiting.min_power.is_some_and(|min| min > waiting.power) {
        cx.report(at("minPower"), "minPower is above power", format!("expected at most {}", waiting.power));
    }
}

fn check_slowdown(slowdown: &Slowdown, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    match slowdown.guarantee {
        SlowdownGuarantee::MinReplicas(0) => {
            cx.report(at("minReplicas"), "minReplicas is 0", "expected 1 or more");
        }
        SlowdownGuarantee::MinShare(share) if share.get() <= 0.0 => {
            let message = "minShare is 0";
            cx.report(at("minShare"), message, "expected a share above 0 and up to 1, such as 0.3");
        }
        _ => {}
    }
    if slowdown.idle_power > slowdown.power {
        let help = format!("expected at most {}", slowdown.power);
        cx.report(at("idlePower"), "idlePower is above power", help);
    }
    let hours = window_length(&slowdown.window).as_secs_f64() / 3600.0;
    let most = slowdown.power.as_kw() * hours;
    if slowdown.energy.as_kwh() > most * (1.0 + 1e-9) {
        let message = format!("{} cannot be used at {} in the window", slowdown.energy, slowdown.power);
        cx.report(at("energy"), message, format!("expected at most {most} kWh"));
    }
}

/// What of a slowdown contradicts the rest of its service.
pub(super) fn check_slowdown_of(
    service: &ServiceSpec,
    slowdown: &Slowdown,
    position: Position,
    cx: &mut Cx<'_>,
) {
    let most = service.scaling.as_ref().map_or(service.replicas, |scaling| scaling.max);
    match slowdown.guarantee {
        SlowdownGuarantee::MinReplicas(least) if least > most => {
            let message = format!("slowdown guarantees {least} replicas of {most}");
            cx.report(position, message, format!("expected minReplicas of 1 to {most}"));
        }
        SlowdownGuarantee::MinReplicas(_) => {}
        SlowdownGuarantee::MinShare(_) => {
            if service.resources.cpu.is_none() {
                let help = "expected resources: {cpu: …}, of which it is a share";
                cx.report(position, "slowdown by processor time without a limit of it", help);
            }
            if service.sizing.is_some() {
                let help = "both decide about processor time; use minReplicas, or remove one";
                cx.report(position, "slowdown with minShare and sizing cannot stand together", help);
            }
        }
    }
    if service.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.attach.is_some()) {
        let help = "what somebody else deployed is not slowed down; remove one";
        cx.report(position, "slowdown and kubernetes.attach cannot stand together", help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_pass_midnight() {
        let at = |hour| Time::constant(hour, 0, 0, 0);
        assert_eq!(window_length(&Window { from: at(22), to: at(6) }), SignedDuration::from_hours(8));
        assert_eq!(window_length(&Window { from: at(6), to: at(22) }), SignedDuration::from_hours(16));
    }
}
