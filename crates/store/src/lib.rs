//! The durable state of one data directory: resources with versions and watch, journals, the audit record,
//! telemetry, events, secrets and tokens, in one SQLite file; and channels of messages in another.
//!
//! Specs, statuses and journal records are opaque here; so are the units of telemetry. The store reads no clock: every
//! time is an argument.
//!
//! # Files of a data directory (0700; each file 0600)
//! | file | content |
//! |---|---|
//! | `sos.db`, `-wal`, `-shm` | the database |
//! | `audit.head` | the end of the audit record, so that a cut-off end is found |
//! | `key` | the key of the secrets, made with the first of them |
//! | `controller.lock` | locked by the controller: its process id and epoch |
//! | `store.lock` | locked (shared) by everyone who has the store open |
//! | `channels.db`, `-wal`, `-shm` | messages of [`Channels`] and who has consumed them; [`Runs`] with their journals |
//! | `channels.lock` | locked by the one process that has the channels open |

mod audit;
mod backup;
mod channels;
mod error;
mod events;
mod files;
mod journal;
mod kv;
mod lock;
mod metrics;
mod notify;
mod resources;
mod rows;
mod runs;
mod schema;
mod secrets;
mod selector;
mod store;
mod telemetry;
mod tokens;
mod tx;
mod watch;

pub use audit::{AuditEntry, AuditRecord, AuditSummary, FirstBad, verify_audit};
pub use backup::{BackupSummary, restore};
pub use channels::{
    Appended, Bounds, ChannelLimits, ChannelOptions, ChannelStatistics, ChannelWatch, Channels, Consumed,
    DeadLetter, Delivery, Enforced, GroupStatistics, Lag, NewMessage, Settled, Settlement, Start,
    StoredMessage,
};
pub use error::{Result, StoreError};
pub use events::{EVENTS_KEPT, Event, EventFilter, EventRecord, EventType};
pub use journal::JournalRecord;
pub use lock::ControllerLease;
pub use metrics::{
    Aggregate, IngestReport, Maintained, Matcher, MetricKey, MetricLimits, MetricMetadata, MetricSample,
    Refusal, Refused, RetentionClass, STALE, Select, Selected, Selection, SeriesEntry, SeriesKind,
    SeriesLabels, SeriesRef,
};
pub use notify::ChangeHook;
pub use resources::{PutOutcome, PutResource, Resource, SpecRevision, StatusOutcome};
pub use runs::{
    NewRun, NewTask, OpenRun, RunChange, RunEntry, RunEvent, RunFilter, RunId, RunRecord, RunState, RunWrite,
    RunWritten, Runs, Task,
};
pub use secrets::{SecretValue, random_token};
pub use selector::Selector;
pub use store::{Durability, FaultHook, FaultPoint, Options, Store};
pub use telemetry::{Labels, Point, Sample, SeriesId, SeriesInfo, TelemetryStats};
pub use tokens::Role;
pub use tx::Tx;
pub use watch::{Change, Part, Watched, Watcher, watch_overruns};
