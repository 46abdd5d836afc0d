//! The faults of one driver in the order in which they come.

use jiff::{SignedDuration, Timestamp};

use super::faults::{Fault, FaultKind, FaultTarget, FaultTime, Faults, later};

/// A fault with its times.
#[derive(Clone, Debug)]
struct Due {
    at: Timestamp,
    until: Timestamp,
    fault: Fault,
}

/// Faults by time, and which of them have come.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    dues: Vec<Due>,
    /// So many of them have come.
    come: usize,
    /// Whose next answer is lost.
    unanswered: Vec<FaultTarget>,
}

impl Schedule {
    pub(super) fn new(faults: Faults, base: Timestamp) -> Self {
        let faults = faults.since(base);
        let due = |fault: &Fault| {
            let FaultTime::At(at) = fault.time else { return None };
            // What an earlier driver answered is over.
            let over = at < base && fault.kind == FaultKind::Unanswered;
            (!over).then(|| Due { at, until: later(at, fault.kind.lasts()), fault: fault.clone() })
        };
        let mut dues: Vec<Due> = faults.all().iter().filter_map(due).collect();
        dues.sort_by_key(|due| due.at);
        Self { dues, come: 0, unanswered: vec![] }
    }

    /// The next fault that has come by `now`, with its time.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(Timestamp, Fault)> {
        let due = self.dues.get(self.come).filter(|due| due.at <= now)?;
        self.come += 1;
        if due.fault.kind == FaultKind::Unanswered {
            self.unanswered.push(due.fault.target.clone());
        }
        Some((due.at, due.fault.clone()))
    }

    /// Faults that go on at a time.
    fn under_way(&self, now: Timestamp) -> impl Iterator<Item = &Due> {
        let begun = self.dues.iter().take_while(move |due| due.at <= now);
        begun.filter(move |due| now < due.until)
    }

    /// Until when the runtime does not answer, when it does not.
    pub(super) fn away_until(&self, now: Timestamp) -> Option<Timestamp> {
        let away = self.under_way(now).filter(|due| matches!(due.fault.kind, FaultKind::Away { .. }));
        away.map(|due| due.until).max()
    }

    /// Why a replica cannot be started, when it cannot.
    pub(super) fn refusal(&self, replica: &str, now: Timestamp) -> Option<&str> {
        self.under_way(now).find_map(|due| match &due.fault.kind {
            FaultKind::NotStarted { reason, .. } if due.fault.target.is(replica) => Some(reason.as_str()),
            _ => None,
        })
    }

    /// By how much longer its start takes.
    pub(super) fn delay(&self, replica: &str, now: Timestamp) -> SignedDuration {
        let delays = self.under_way(now).filter_map(|due| match due.fault.kind {
            FaultKind::SlowStart { by, .. } if due.fault.target.is(replica) => Some(by),
            _ => None,
        });
        delays.max().unwrap_or_default()
    }

    /// Whether the answer to a call about a replica is lost; only once for each such fault.
    pub(super) fn loses_answer(&mut self, replica: &str) -> bool {
        let found = self.unanswered.iter().position(|target| target.is(replica));
        found.map(|index| self.unanswered.remove(index)).is_some()
    }
}
