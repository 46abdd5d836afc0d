//! HTTP for people and programs: the JSON API, server-sent events, access control, metrics and the dashboard that is
//! embedded in the binary.
//!
//! The crate knows nothing of engine and store: the binary implements [`Platform`] over them and calls [`serve`].
//! What travels is in [`wire`]; the dashboard's sources are in `web/` and are built by this crate's `build.rs`.

mod access;
mod alarms;
mod assets;
mod calls;
mod channels;
mod extract;
mod handlers;
mod ingest;
mod log_search;
mod metrics;
mod people;
mod platform;
mod problem;
mod prometheus;
mod routes;
mod runbooks;
mod runs;
mod server;
mod session;
mod sites;
mod stream;
pub mod wire;
#[cfg(test)]
mod wire_ts;

pub use access::Access;
pub use alarms::{AlarmView, Delivery, OutboxEntry};
pub use axum::body::Bytes;
pub use calls::MAX_CALL_BYTES;
pub use channels::MAX_EVENT_BYTES;
pub use handlers::MAX_MANIFEST_BYTES;
pub use ingest::{IngestBatch, IngestOutcome, IngestRefusal, IngestSeries, Refusals};
pub use metrics::Exposition;
pub use platform::{ApplyRequest, AuditEntry, Identity, LiveEvent, Measures, Platform, Reply, Role};
pub use problem::Problem;
pub use prometheus::{Metadata, RuleGroupView, Series};
pub use routes::{RouteInfo, openapi, routes};
pub use server::{Options, router, serve};
