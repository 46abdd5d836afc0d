//! `Override`: what a person orders of an asset, up to an end; it goes before the plan.

use jiff::Timestamp;
use sos_units::Power;

use crate::declare::{choice, record};
use crate::field::Cx;
use crate::node::Node;
use crate::scalar::Name;

/// Longest reason, in characters: it is repeated in every plan and set-point.
const LONGEST_REASON: usize = 200;

record! {
    /// An order of a person about an asset, up to an end. It goes before the plan and stays behind the guard. An asset has
    /// at most one; whoever declares it is recorded as its author.
    pub struct OverrideSpec checked by check_override {
        ..what: OverrideValue;
        /// Name of the `Asset` that it is about.
        asset: Name;
        /// Its end in the time of the site, such as `2016-08-01T18:00:00-07:00`. From then on it does nothing.
        until: Timestamp;
        /// Why, for those who see it; at most 200 characters.
        reason: String;
    }
}

choice! {
    /// What is ordered.
    pub enum OverrideValue {
        /// Power, positive from the asset into the site: `-2 kW` charges a battery with 2 kW. For a solar plant the most
        /// that it may give. The guard may narrow it.
        Power(Power),
        /// `true` for maintenance: nothing at all is written to the device, the plan takes what the asset does as given,
        /// and its alerts are not told.
        Hold(bool),
    }
}

impl OverrideSpec {
    /// Whether nothing may be written to the asset's device.
    #[must_use]
    pub const fn is_hold(&self) -> bool {
        matches!(self.what, OverrideValue::Hold(_))
    }

    /// Whether it acts at a site time.
    #[must_use]
    pub fn acts_at(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

fn check_override(spec: &OverrideSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if matches!(spec.what, OverrideValue::Hold(false)) {
        cx.report(at("hold"), "hold is false", "expected true; to end a hold, delete the Override");
    }
    if spec.reason.trim().is_empty() {
        cx.report(
            at("reason"),
            "the reason is empty",
            "expected why, such as \"inspection of the inverter\"",
        );
    }
    let length = spec.reason.chars().count();
    if length > LONGEST_REASON {
        let help = format!("expected at most {LONGEST_REASON}");
        cx.report(at("reason"), format!("the reason has {length} characters"), help);
    }
    if spec.reason.chars().any(char::is_control) {
        cx.report(at("reason"), "the reason has control characters", "expected one line of text");
    }
}
