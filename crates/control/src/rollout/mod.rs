//! Revisions of long-running services: how a new one comes in, and when it is given up.
//!
//! [`RolloutState`] is what is remembered between two plans. [`Course`] brings it up to date and decides how many
//! replicas each revision is to have; [`crate::plan`] then makes the replicas so.

mod analysis;
mod census;
mod course;
mod failure;
mod orders;
mod progress;
mod revise;
mod sizes;
mod spec;
mod state;
mod step;
#[cfg(test)]
mod testing;
mod traffic;

pub use analysis::{AnalysisSpec, Inconclusive, Measured};
pub use orders::{OrderError, RolloutOrder};
pub use progress::{RolloutStatus, StepStatus};
pub use spec::{Amount, BlueGreen, Canary, CanaryStep, RolloutSpec, Strategy};
pub use state::{Drain, HISTORY_LIMIT, Hold, Outcome, Pause, Revision, Rollout, RolloutState, StateVersion};
pub use traffic::{ALL_TRAFFIC, RevisionTraffic};

pub(crate) use census::Member;
pub(crate) use course::Course;
pub(crate) use progress::progress;
pub(crate) use revise::revise;
pub(crate) use traffic::shares;
