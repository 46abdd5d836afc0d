//! Exponential back-off: at once the first time, then doubling up to a cap.

use jiff::{SignedDuration, Timestamp};

use crate::observed::{Exit, ObservedReplica, PastRun, ReplicaPhase, StopCause};
use crate::{RestartPolicy, RestartSpec};

/// The wait before the restart that follows `failures` failed runs in a row. Never falls as `failures` grows,
/// never exceeds `spec.cap`.
#[must_use]
pub fn restart_delay(spec: &RestartSpec, failures: u32) -> SignedDuration {
    let Some(doublings) = failures.checked_sub(2) else { return SignedDuration::ZERO };
    let factor = 2_i32.checked_pow(doublings).unwrap_or(i32::MAX);
    spec.initial.checked_mul(factor).map_or(spec.cap, |wait| wait.min(spec.cap)).max(SignedDuration::ZERO)
}

/// How many runs in a row failed, the last one first, counting only runs of the present description. A run as
/// long as `spec.reset_after` is the last one counted; one that was stopped on purpose ends the count.
#[must_use]
pub fn consecutive_failures(spec: &RestartSpec, replica: &ObservedReplica) -> u32 {
    recent_failures(spec, replica, None)
}

/// [`consecutive_failures`] without those up to a time at which they were forgiven.
pub(crate) fn recent_failures(
    spec: &RestartSpec,
    replica: &ObservedReplica,
    forgiven_until: Option<Timestamp>,
) -> u32 {
    let mut count = 0;
    for run in last_run(replica).iter().chain(replica.past_runs.iter().rev()) {
        if run.description_hash != replica.description_hash
            || run.run != replica.run
            || forgiven_until.is_some_and(|until| run.ended_at <= until)
            || !is_failure(spec, run)
        {
            break;
        }
        count += 1;
        if run.ended_at.duration_since(run.started_at) >= spec.reset_after {
            break;
        }
    }
    count
}

/// The present run, if it is over.
fn last_run(replica: &ObservedReplica) -> Option<PastRun> {
    let ReplicaPhase::Exited { exit, at, asked } = &replica.phase else { return None };
    Some(PastRun {
        started_at: replica.started_at,
        ended_at: *at,
        description_hash: replica.description_hash.clone(),
        run: replica.run.clone(),
        exit: exit.clone(),
        asked: *asked,
    })
}

/// Ends that count towards the back-off. Under `Always` a clean exit counts as well: a program that ends at once
/// with code 0 must not be started in a tight loop.
fn is_failure(spec: &RestartSpec, run: &PastRun) -> bool {
    match run.asked {
        Some(StopCause::Unhealthy) => true,
        Some(_) => false,
        None => spec.policy == RestartPolicy::Always || run.exit != Exit::Code(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_then_waits_double_up_to_the_cap() {
        let spec = RestartSpec { cap: SignedDuration::from_secs(5), ..RestartSpec::default() };
        let waits: Vec<_> = (0..7).map(|n| restart_delay(&spec, n).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2, 4, 5, 5]);
        assert_eq!(restart_delay(&spec, u32::MAX).as_secs(), 5);
    }
}
