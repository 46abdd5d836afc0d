//! How many replicas, and why: the autoscaler of Kubernetes in command, a forecast that raises its floor, a cap by
//! carbon and power that leaves the promised service level. [`decide`] takes one decision, [`replay`] plays a policy
//! over a recorded load.

mod decide;
pub mod hpa;
mod policy;
pub mod replay;
mod sentence;

pub use decide::{
    Binding, DecidedChange, DemandOutlook, ScaleDecision, ScaleDetails, ScaleInputs, ScaleState, decide,
};
pub use policy::{
    CapPolicy, CarbonStep, Day, Guarantee, MOST_REPLICAS, PredictivePolicy, ScaleMode, ScalePolicy, Schedule,
    ZeroPolicy,
};
