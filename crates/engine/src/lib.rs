//! Joins everything: manifests become services, sites and plans; snapshots become actions; what happens is recorded.
//!
//! One process runs a [`ServiceLoop`](services::ServiceLoop) for all services and one [`SiteTask`](site::task::SiteTask)
//! per site. Both see whole snapshots, record what they are about to do, and are harmless when repeated.

pub mod apply;
pub mod calls;
mod catalogue;
pub mod channels;
pub mod clock;
mod declarations;
pub mod faults;
pub mod folder;
pub mod live;
pub mod people;
pub mod permits;
pub mod platform;
pub mod policy;
pub mod query;
pub mod report;
pub mod resources;
pub mod rules;
pub mod services;
pub mod signals;
pub mod site;
pub mod sites;
mod waiting;
pub mod watch;
pub mod workflow;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A panic while a lock was held leaves nothing half-done in this crate.
pub(crate) fn relock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// RFC 3339 with the offset of a zone.
#[must_use]
pub fn time_text(time: Timestamp, zone: &TimeZone) -> String {
    time.display_with_offset(zone.to_offset(time)).to_string()
}
