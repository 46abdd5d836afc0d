//! The service planner: what is declared and what is observed go in, ordered actions with their reasons come out.
//!
//! [`plan`] is a pure function of its arguments. It sees the whole state, never "what changed", and is idempotent:
//! planned again after its actions were performed, it asks for nothing. [`offer`] states a batch job's work as
//! [`sos_units::FlexibleWork`]; when that work runs is decided by the site's plan and comes back in a
//! [`BatchOrder`].
//!
//! Beside the planner, [`vertical`] says how much processor time and memory replicas should be allowed, and
//! [`energy`] what services take of a machine's energy and how fast they may be.
//!
//! # Revisions
//! A service whose description changes gets a new revision, which is brought in by the declared strategy and given up by
//! itself when it fails. What must be remembered for that is a small value, [`RolloutState`], that the caller stores.
//! `docs/decisions/0115-rollouts.md` says why it is so.
//!
//! # Two clocks
//! Probes, back-off and stop time-outs run on wall time, windows, deadlines and power envelopes on site time.
//! [`Now`] carries both.

mod backoff;
mod batch;
mod desired;
mod draft;
pub mod energy;
mod external;
mod findings;
mod health;
mod observed;
mod plan;
mod probe;
mod replicas;
mod report;
mod retire;
mod rollout;
pub mod scale;
mod status;
mod trouble;
pub mod vertical;
mod window;
mod world;

pub(crate) use backoff::recent_failures;
pub use backoff::{consecutive_failures, restart_delay};
pub use desired::{
    BatchOrder, Desired, DesiredService, Probes, RestartPolicy, RestartSpec, ServiceKind, replica_id,
};
pub use observed::{
    Exit, MAX_PAST_RUNS, Now, Observed, ObservedReplica, PastRun, ReplicaPhase, StopCause, UnknownStopCause,
};
pub use plan::{Action, BatchWork, Plan, plan};
pub use probe::{ProbeDue, ProbeKind, ProbeRecord, ProbeSpec, ReplicaProbes};
pub use rollout::{
    ALL_TRAFFIC, Amount, AnalysisSpec, BlueGreen, Canary, CanaryStep, Drain, HISTORY_LIMIT, Hold,
    Inconclusive, Measured, OrderError, Outcome, Pause, Revision, RevisionTraffic, Rollout, RolloutOrder,
    RolloutSpec, RolloutState, RolloutStatus, StateVersion, StepStatus, Strategy,
};
pub use status::{Condition, ServicePhase, ServiceStatus, Truth};
pub use trouble::{Problem, QUARANTINE_AFTER, QUARANTINE_WAIT, Refusal};
pub use window::{BatchProgress, BatchSpec, RunWindow, Window, WindowError, current_window, offer};
