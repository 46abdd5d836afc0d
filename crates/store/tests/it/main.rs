//! The store as its callers see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its data must fail")]

mod audit;
mod backup;
mod channels;
mod concurrency;
mod crash;
mod faults;
mod metrics;
mod migration;
mod resources;
mod retention;
mod small;
mod telemetry;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use sos_store::{AuditEntry, Durability, Labels, Options, PutResource, Store};

/// Test stores do not wait for the disk; what a process may lose is the same.
fn options() -> Options {
    Options { durability: Durability::Normal, ..Options::default() }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, options()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn entry(n: i64) -> AuditEntry {
    AuditEntry {
        time: at(n),
        who: "test".into(),
        what: "set-point".into(),
        target: format!("Asset/battery-{}", n % 3),
        why: format!("reason {n}"),
        before: (n % 2 == 0).then(|| serde_json::json!({ "power_kw": n })),
        after: Some(serde_json::json!({ "power_kw": n + 1 })),
    }
}

fn resource(name: &str, manager: &str, spec: serde_json::Value) -> PutResource {
    PutResource {
        kind: "Asset".into(),
        name: name.into(),
        manager: manager.into(),
        spec,
        labels: Labels::new(),
        force: false,
        expected_version: None,
        dry_run: false,
    }
}
