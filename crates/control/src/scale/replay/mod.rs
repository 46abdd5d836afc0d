//! Plays a policy over a recorded load: what it would have cost, and whether it would have held.
//!
//! # Model
//! The demand of a step is even within the step. A pass of the autoscaler sees the mean demand of the time since the
//! pass before, as use of the ready replicas; a replica is ready its start-up time after it was ordered, and gone at once
//! when it is taken away, those that still start first. Demand above the ready capacity is lost, nothing queues.

mod forecast;
mod policy;
mod report;
mod simulate;
mod trace;

pub use forecast::{DemandForecaster, NoForecast, PastDemand, RecentDemand};
pub use policy::{CarbonValue, ReplayPolicy, Watts};
pub use report::{ReplayChange, ReplayError, ReplayReport, ReplayStep};
pub use simulate::replay;
pub use trace::{Trace, TraceError};

#[cfg(test)]
mod tests;
