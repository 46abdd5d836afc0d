//! The search within a time. Plans themselves stop by gap and iterations, so that equal problems have equal plans; here
//! a person waits, so that the search runs beside and is left when the time is over.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sos_dispatch::{Budget, Conflict, Planned, Problem, Proof, Verification, conflict, solve_or_fallback};
use sos_engine::site::plan::{by_rule, verified};
use sos_model::duration_text;

use super::answer::within;
use crate::outcome::Failure;

/// Iterations of one linear programme; the time ends sooner.
const ITERATIONS: u32 = 20_000_000;
/// Nodes of the search over whole numbers; the time ends sooner.
const NODES: u32 = 1_000_000;
/// Nodes of the first searches, whose plans are there while the last one goes on.
const FEW: u32 = 1;
const MORE: u32 = 100;
/// Programmes that may be solved to make a set of limits in conflict small.
const PROBES: usize = 1_000;

/// Time that passes while something is awaited.
pub(crate) struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// From now on.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, limit }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The last of what comes in time, and whether the sender was done.
    fn last<T>(&self, receiver: &Receiver<T>, better: impl Fn(&T, &T) -> bool) -> (Option<T>, bool) {
        let mut best: Option<T> = None;
        loop {
            match receiver.recv_timeout(self.left()) {
                Ok(next) => {
                    if best.as_ref().is_none_or(|best| better(&next, best)) {
                        best = Some(next);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return (best, true),
                Err(RecvTimeoutError::Timeout) => return (best, false),
            }
        }
    }
}

/// The best plan that is found in time, as the verifier sees it; when there is none, that of the rule, with the reason.
///
/// # Errors
/// When the problem makes no sense.
pub(crate) fn plan(
    problem: &Arc<Problem>,
    gap: f64,
    threads: usize,
    deadline: &Deadline,
) -> Result<(Planned, Verification), Failure> {
    let (sender, receiver) = channel();
    let own = Arc::clone(problem);
    std::thread::spawn(move || {
        // Without branching first: that is all where nothing has to be whole, and else a plan to fall back on. With generators there is
        // none before the first nodes are searched.
        for nodes in [0, FEW, MORE, NODES] {
            let planned = solve_or_fallback(
                &own,
                &Budget { gap, iterations: ITERATIONS, nodes, threads, ..Budget::default() },
                None,
            );
            let last = planned
                .as_ref()
                .map_or(true, |planned| planned.proof.is_some_and(|proof| within(proof.gap, gap)));
            let by_rule = planned.as_ref().is_ok_and(|planned| planned.proof.is_none());
            if by_rule && nodes < NODES {
                continue;
            }
            if sender.send(planned).is_err() || last {
                return;
            }
        }
    });
    let better = |next: &Result<Planned, _>, best: &Result<Planned, _>| match (next, best) {
        (Ok(next), Ok(best)) => {
            next.proof.is_some() && best.proof.is_none()
                || next.costs.total() < best.costs.total()
                || tighter(next.proof, best.proof)
        }
        _ => true,
    };
    let found = match deadline.last(&receiver, better) {
        (Some(found), _) => found.map_err(|invalid| Failure::input(invalid.to_string()))?,
        (None, true) => {
            by_rule(problem, "the solver stopped without a word".into()).map_err(Failure::input)?
        }
        (None, false) => {
            let limit = jiff::SignedDuration::try_from(deadline.limit).unwrap_or_default();
            by_rule(problem, format!("no plan within {}", duration_text(limit))).map_err(Failure::input)?
        }
    };
    verified(problem, found).map_err(Failure::input)
}

/// Whether an equal plan is known to be nearer to the best.
fn tighter(next: Option<Proof>, best: Option<Proof>) -> bool {
    matches!((next, best), (Some(next), Some(best)) if next.objective <= best.objective && next.bound > best.bound)
}

/// Limits that no plan holds together, and whether that could be found out in time.
pub(crate) fn conflicting(problem: &Arc<Problem>, deadline: &Deadline) -> (Option<Conflict>, bool) {
    let (sender, receiver) = channel();
    let own = Arc::clone(problem);
    std::thread::spawn(move || {
        // A set that is not small is better than none.
        for probes in [1, PROBES] {
            let found = conflict(&own, probes).ok().flatten();
            let last = found.as_ref().is_none_or(|conflict| conflict.irreducible);
            if sender.send(found).is_err() || last {
                return;
            }
        }
    });
    let (found, _) = deadline.last(&receiver, |_, _| true);
    let known = found.is_some();
    (found.flatten(), known)
}
