//! Vertical scaling: how much processor time and memory a replica should be allowed, and how that is brought about.
//!
//! Use goes into a [`UsageHistory`]; [`RecommenderSettings::recommend`] makes a [`Recommendation`] of it, as the
//! Vertical Pod Autoscaler of Kubernetes does; [`decide_vertical`] says what becomes of it. All on wall time.

mod buckets;
mod conditions;
mod decide;
mod histogram;
mod policy;
mod recommend;
mod usage;

pub use buckets::{Buckets, BucketsError, MAX_BUCKETS};
pub use decide::decide_vertical;
pub use histogram::{Histogram, HistogramCheckpoint, HistogramError, MAX_CHECKPOINT_WEIGHT};
pub use policy::{
    Allowed, InPlace, ResourceLimits, VerticalChange, VerticalDecision, VerticalFacts, VerticalMode,
    VerticalPolicy, VerticalState,
};
pub use recommend::{MAX_AMOUNT, Recommendation, RecommenderSettings, Resources, SettingError};
pub use usage::{
    CHECKPOINT_VERSION, MAX_TRACKED_REPLICAS, UsageCheckpoint, UsageError, UsageHistory, UsageSettings,
};
