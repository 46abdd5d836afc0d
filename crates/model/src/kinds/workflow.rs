//! `Workflow`: what runs step by step, in the Open Workflow DSL.

use jiff::SignedDuration;

use super::flexible::Waiting;
use crate::declare::{choice, record};
use crate::quantity::Bytes;
use crate::scalar::{Name, ZoneName};
use crate::schema::{ABOVE_ZERO, Range};

record! {
    /// Work in steps, in the Open Workflow DSL 1.0.3. Its runs survive the end of `sos`, and go on with the document that they
    /// began with.
    pub struct WorkflowSpec {
        ..source: WorkflowSource;
        /// Name of the `Channel` that its events are published to and heard from. `events` is there without being declared.
        channel: Option<Name>;
        /// The time zone of `schedule.cron`, an IANA name. Default: UTC.
        time_zone: Option<ZoneName>;
        /// Tells others what its runs and their tasks go through, by the events of the DSL; without it, nobody is told.
        lifecycle: Option<WorkflowLifecycle>;
        /// Addresses that its calls may reach beside those of declared services: hosts (`api.example.org`), or networks such
        /// as `10.1.0.0/16`.
        egress: Vec<String> = Vec::new();
        /// Within what it may run commands on this machine; without it, it may not. `{}` for the usual limits.
        shell: Option<WorkflowLimits>;
        /// Within what it may run containers of Docker; without it, it may not. `{}` for the usual limits.
        containers: Option<WorkflowLimits>;
        /// When a run as a whole may wait for power of a `Site`. Tasks say the same in their `metadata`.
        flexible: Option<Waiting>;
        /// How long its runs are kept after their end.
        keep: WorkflowKeep = WorkflowKeep::default();
    }
}

choice! {
    /// The document.
    pub enum WorkflowSource {
        /// Its file in YAML or JSON, relative to the manifest.
        File(String),
        /// Its text in YAML or JSON.
        Document(String),
    }
}

record! {
    /// Where it is told what runs go through.
    pub struct WorkflowLifecycle {
        /// Name of the `Channel`. `events` is there without being declared.
        channel: Option<Name>;
    }
}

record! {
    /// Within what a workflow runs commands or containers.
    pub struct WorkflowLimits {
        /// The most memory of one.
        memory: Bytes = Bytes(512 << 20), in Range { min: Some(6_291_456.0), above: false, max: None };
        /// Whether they may use a network.
        network: bool = false;
        /// The longest that one may take.
        timeout: SignedDuration = SignedDuration::from_hours(1), in ABOVE_ZERO;
    }
}

record! {
    /// How long runs are kept after their end.
    pub struct WorkflowKeep {
        /// Those that came to their end or were cancelled.
        completed: SignedDuration = SignedDuration::from_hours(24), in ABOVE_ZERO;
        /// Those that faulted, which can be retried as long.
        faulted: SignedDuration = SignedDuration::from_hours(168), in ABOVE_ZERO;
    }
}

impl Default for WorkflowKeep {
    fn default() -> Self {
        Self { completed: SignedDuration::from_hours(24), faulted: SignedDuration::from_hours(168) }
    }
}

impl WorkflowSpec {
    /// The channel that workflows use which name none.
    pub const CHANNEL: &str = "events";

    /// The channel on which is told what its runs go through.
    #[must_use]
    pub fn lifecycle(&self) -> Option<&str> {
        let lifecycle = self.lifecycle.as_ref()?;
        Some(lifecycle.channel.as_ref().map_or(Self::CHANNEL, |name| name))
    }

    /// The channel of its events.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_ref().map_or(Self::CHANNEL, |name| name)
    }
}
