//! How fast replicas use processor time, from one look to the next.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sos_runtime::ReplicaState;

/// Processor time of each replica when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    /// By replica: the start of its run, when it was looked at, seconds used by then.
    seen: BTreeMap<String, (Timestamp, Timestamp, f64)>,
}

/// Processors that a replica used on average.
pub(super) struct CpuUse<'a> {
    pub(super) state: &'a ReplicaState,
    /// Since the look before, or since its run started where there was none.
    pub(super) window: SignedDuration,
    pub(super) cores: f64,
    /// There was no look at this run before.
    pub(super) is_first: bool,
}

impl CpuMeter {
    /// Looks at replicas; those that are not among them are forgotten, and so are those whose use cannot be read.
    pub(super) fn look<'a>(&mut self, replicas: &[&'a ReplicaState], now: Timestamp) -> Vec<CpuUse<'a>> {
        let before = std::mem::take(&mut self.seen);
        let mut uses = Vec::new();
        for state in replicas {
            let (id, Some(usage)) = (&state.deployment.replica, state.usage) else { continue };
            let known = before.get(id).filter(|(started, ..)| *started == state.started_at);
            let (since, seconds) = known.map_or((state.started_at, 0.0), |(_, at, seconds)| (*at, *seconds));
            let window = now.duration_since(since);
            let cores = (usage.cpu_seconds - seconds).max(0.0) / window.as_secs_f64();
            uses.push(CpuUse { state, window, cores, is_first: known.is_none() });
            self.seen.insert(id.clone(), (state.started_at, now, usage.cpu_seconds));
        }
        uses
    }
}
