//! Limits that are changed while a replica runs.

use super::Record;
use super::cgroup::ReplicaCgroup;
use crate::{DriverError, Enforcement, LimitEnforcement, Limits};

/// Changes the limits of the replica of `record`, which runs, and notes them in it. Limits that stay as they are
/// need no control group.
pub(crate) fn change(record: &mut Record, limits: &Limits) -> Result<LimitEnforcement, DriverError> {
    let old = record.deployment.limits;
    let none = ReplicaCgroup::default();
    let group = record.own.cgroup.as_ref().unwrap_or(&none);
    let replica = &record.deployment.replica;
    let refuse = |why: String| DriverError::NotInPlace { replica: replica.clone(), why };
    if *limits == old {
        return Ok(record.limits.clone());
    }
    check(group, &old, limits).map_err(refuse)?;
    if let Err(error) = group.change(&old, limits) {
        if let Err(again) = group.change(limits, &old) {
            tracing::warn!(replica, %again, "limits could be changed in part and not be set back");
        }
        return Err(refuse(error.to_string()));
    }
    let held = |limit: Option<u64>, controller| {
        limit.and_then(|_| group.enforcement(controller)).unwrap_or(Enforcement::NotRequested)
    };
    let mut enforcement = record.limits.clone();
    if limits.memory_bytes != old.memory_bytes {
        enforcement.memory = held(limits.memory_bytes, "memory");
    }
    if limits.cpu_millis != old.cpu_millis {
        enforcement.cpu = held(limits.cpu_millis, "cpu");
    }
    record.limits = enforcement.clone();
    record.deployment_mut().limits = *limits;
    Ok(enforcement)
}

/// Why limits cannot be changed to these.
fn check(group: &ReplicaCgroup, old: &Limits, new: &Limits) -> Result<(), String> {
    if new.cpu_millis == Some(0) || new.memory_bytes == Some(0) {
        return Err("limits must be above zero".into());
    }
    for (what, controller, differs) in [
        ("memory", "memory", new.memory_bytes != old.memory_bytes),
        ("processor", "cpu", new.cpu_millis != old.cpu_millis),
    ] {
        if differs && group.enforcement(controller).is_none() {
            return Err(format!("no control group holds its {what} limit"));
        }
    }
    // Taking away what is in use would end the replica, in version 2 at once.
    let lower = new.memory_bytes.filter(|new| old.memory_bytes.is_none_or(|old| *new < old));
    match lower.zip(group.held_memory()) {
        Some((limit, held)) if held > limit => {
            Err(format!("it holds {held} bytes of memory, more than the new limit of {limit}"))
        }
        _ => Ok(()),
    }
}
