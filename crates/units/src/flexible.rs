//! The two types that join services and energy. Both state **consumption as zero or above**.
//!
//! `control` and `workflow` offer [`FlexibleWork`] and obey a [`PowerEnvelope`]; only `dispatch` decides when power
//! is used, so that no two deciders spend the same kilowatt.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Energy, Money, Power};

/// Work of a service that may be done earlier or later within a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlexibleWork {
    /// Unique within the site, stable across plans.
    pub id: String,
    /// Energy still to be consumed, kWh, zero or above.
    pub energy: Energy,
    /// Not before this time.
    pub earliest: Timestamp,
    /// Done at this time.
    pub deadline: Timestamp,
    /// Power while running at its slowest, kW, zero or above, as consumption.
    pub min_power: Power,
    /// Power while running at its fastest, kW, at least `min_power`, as consumption.
    pub max_power: Power,
    /// Whether it may be paused once started.
    pub interruptible: bool,
    /// Whether it runs already; what may not be interrupted then goes on.
    pub running: bool,
    /// What is lost when it is not done by the deadline.
    pub value: Money,
    /// Whether it has to be done: `value` is then no worth that somebody declared, and a plan that leaves it undone does not hold.
    #[serde(default)]
    pub required: bool,
}

/// How much power a service may use, step by step, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerEnvelope {
    /// Steps in order of time, without gaps.
    pub steps: Vec<EnvelopeStep>,
}

/// One step of a [`PowerEnvelope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvelopeStep {
    /// Start of the step; it lasts to the start of the next one.
    pub start: Timestamp,
    /// Allowed consumption, kW, zero or above.
    pub max_power: Power,
    /// Why, in words for people.
    pub reason: String,
}

impl PowerEnvelope {
    /// The step in force at `time`, if the envelope reaches back to it.
    #[must_use]
    pub fn at(&self, time: Timestamp) -> Option<&EnvelopeStep> {
        self.steps.iter().rev().find(|step| step.start <= time)
    }
}
