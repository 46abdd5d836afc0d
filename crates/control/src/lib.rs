//! The service planner: what is declared and what is observed go in, ordered actions with their reasons come out.
//!
//! [`plan`] is a pure function of its arguments. It sees the whole state, never "what changed", and is idempotent:
//! planned again after its actions were performed, it asks for nothing. [`offer`] states a batch job's work as
//! [`sos_units::FlexibleWork`]; when that work runs is decided by the site's plan and comes back in a
//! [`BatchOrder`].
//!
//! # Two clocks
//! Probes, back-off and stop time-outs run on wall time, windows, deadlines and power envelopes on site time.
//! [`Now`] carries both.

mod backoff;
mod batch;
mod desired;
mod draft;
mod observed;
mod plan;
mod probe;
mod replicas;
mod status;
mod window;
mod world;

pub use backoff::{consecutive_failures, restart_delay};
pub use desired::{
    BatchOrder, Desired, DesiredService, Probes, RestartPolicy, RestartSpec, ServiceKind, replica_id,
};
pub use observed::{
    Exit, MAX_PAST_RUNS, Now, Observed, ObservedReplica, PastRun, ReplicaPhase, StopCause, UnknownStopCause,
};
pub use plan::{Action, BatchWork, Plan, plan};
pub use probe::{ProbeDue, ProbeKind, ProbeRecord, ProbeSpec, ReplicaProbes};
pub use status::{Condition, ServicePhase, ServiceStatus, Truth};
pub use window::{BatchProgress, BatchSpec, RunWindow, Window, WindowError, current_window, offer};
