//! One transaction: everything that can be written, and what the writer remembers between transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;

use crate::error::{Result, StoreError};
use crate::metrics::{
    IngestReport, Maintained, MetricKey, MetricMetadata, MetricSample, Metrics, Refusal, RetentionClass,
};
use crate::store::{Options, Store};
use crate::telemetry::hot::Hot;
use crate::{
    AuditEntry, Event, Labels, PutOutcome, PutResource, Resource, Role, Sample, SeriesId, StatusOutcome,
    audit, events, journal, kv, metrics, resources, secrets, telemetry, tokens,
};

/// What the writer remembers so as not to read it in every transaction. Dropped whenever a transaction fails or
/// another connection has written.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) data_version: Option<i64>,
    pub(crate) revision: Option<u64>,
    pub(crate) audit: Option<audit::End>,
    pub(crate) hot: Option<Hot>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) streams: BTreeMap<String, journal::StreamEnd>,
    pub(crate) events: Option<events::Extent>,
}

impl Cache {
    /// Forgets what a transaction that failed may have changed. Metrics take long to read again, so they are forgotten
    /// only when it touched them.
    pub(crate) fn forget(&mut self) {
        let metrics = self.metrics.take().filter(|metrics| !metrics.is_dirty());
        *self = Self { metrics, ..Self::default() };
    }
}

/// A transaction handed to the closure of [`Store::commit`]. What one call wrote the next one sees; all of it becomes
/// durable together, or nothing does.
#[derive(Debug)]
pub struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) cache: &'a mut Cache,
    pub(crate) options: &'a Options,
    pub(crate) dir: &'a Path,
    pub(crate) changed: BTreeSet<u64>,
    failed: bool,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(
        conn: &'a Connection,
        cache: &'a mut Cache,
        options: &'a Options,
        dir: &'a Path,
    ) -> Self {
        Self { conn, cache, options, dir, changed: BTreeSet::new(), failed: false }
    }

    /// One resource as it is inside the transaction, when it exists.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Resource>> {
        resources::get(self.conn, kind, name)
    }

    /// All resources as they are inside the transaction, in order of kind and name.
    pub fn list_all(&self) -> Result<Vec<Resource>> {
        resources::all(self.conn)
    }

    /// A named value as it is inside the transaction, when there is one.
    pub fn get_kv(&self, name: &str) -> Result<Option<Value>> {
        kv::get(self.conn, name)
    }

    /// Last work before the commit; answers the newest version when resources changed.
    pub(crate) fn finish(&mut self) -> Result<Option<u64>> {
        if self.failed {
            return Err(StoreError::invalid(
                "a write inside the transaction failed, so all of it is rolled back; pass its error on",
            ));
        }
        resources::trim_changes(self)?;
        Ok(self.changed.last().copied())
    }

    /// A storage error may leave one call half done inside the transaction, which must then not be committed.
    fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outcome = work(self);
        self.failed |= outcome.as_ref().is_err_and(|e| !e.is_refusal());
        outcome
    }
}

/// Declares each writing call once, for the transaction and, as a transaction of its own, for the store.
macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $function:path;)*) => {
        impl Tx<'_> {
            $($(#[$doc])* pub fn $name(&mut self, $($arg: $ty),*) -> Result<$out> {
                self.run(|tx| $function(tx, $($arg),*))
            })*
        }

        impl Store {
            $($(#[$doc])* pub fn $name(&self, $($arg: $ty),*) -> Result<$out> {
                self.commit(|tx| tx.$name($($arg),*))
            })*
        }
    };
}

writes! {
    /// Declares a resource: creates it, or replaces its spec and labels.
    ///
    /// # Guarantees
    /// The generation rises only when the spec differs, the version with every change; nothing changes (nor conflicts)
    /// when spec and labels are already so.
    /// # Errors
    /// [`StoreError::Conflict`] when another manager owns it and `force` is not set,
    /// [`StoreError::VersionMismatch`] when it is not at `expected_version`.
    put(resource: &PutResource) -> PutOutcome = resources::put;
    /// Deletes a resource with its status and history; answers whether it existed. With `expected_version` only when
    /// it is still at that version.
    delete(kind: &str, name: &str, expected_version: Option<u64>) -> bool = resources::delete;
    /// Replaces what `writer` reports about a resource. `value` is a JSON object, whose top-level fields belong to
    /// the writer that first reported them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] naming the writer that owns one of the fields, [`StoreError::NotFound`].
    put_status(kind: &str, name: &str, writer: &str, value: &Value) -> StatusOutcome = resources::put_status;
    /// Sets the wanted number of replicas beside the spec; `None` gives the decision back to the spec.
    put_scale(kind: &str, name: &str, replicas: Option<u32>) -> StatusOutcome = resources::put_scale;
    /// Appends a record to a journal and answers its number: 1, 2, 3 … per stream, never used twice.
    journal(stream: &str, kind: &str, version: u32, bytes: &[u8]) -> u64 = journal::append;
    /// Drops the records of a stream with numbers below `seq`; answers how many.
    truncate_journal(stream: &str, seq: u64) -> u64 = journal::truncate;
    /// Appends to the audit record; answers the entry's number.
    audit(entry: &AuditEntry) -> u64 = audit::append;
    /// The id of a series, which is created when it is new. Ids never change.
    series_id(name: &str, labels: &Labels) -> SeriesId = telemetry::series_id;
    /// Appends samples of any series, in any order. Times are kept to the millisecond (`time` rounded down,
    /// `known_at` up). A value that is not finite is kept as [`Missing::Invalid`](sos_units::Missing::Invalid).
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when a series id was never handed out.
    append_samples(batch: &[Sample]) -> () = telemetry::append;
    /// Drops the chunks of readings that are all older than `before`; answers how many samples that were.
    prune_samples(before: Timestamp) -> u64 = telemetry::prune;
    /// Takes in samples of metrics, in any order; series that are new are made. What cannot be kept (its time is outside
    /// `times` in milliseconds, it exceeds one of [`MetricLimits`](crate::MetricLimits)) is counted in the report and
    /// never fails the rest. Of two values for the same time the later given one stays.
    ingest(batch: &[MetricSample<'_>], times: &RangeInclusive<i64>) -> IngestReport = metrics::ingest;
    /// The ids of series of metrics, which are made when they are new, or why one cannot be. An id is good until its
    /// series vanishes, after which samples for it are counted as `unknown`.
    metric_series(keys: &[MetricKey<'_>]) -> Vec<std::result::Result<SeriesId, Refusal>> = metrics::metric_series;
    /// Keeps type, help and unit of metrics; answers how many were new or different. Beyond the limits of names and
    /// lengths nothing is kept, help is cut.
    put_metadata(all: &[MetricMetadata]) -> u64 = metrics::put_metadata;
    /// Does some of what is due by now: drops samples that are older than their class says, writes values of coarser
    /// steps in their place, lets series vanish of which nothing is left. The work of a call is bounded; call it
    /// regularly, and again at once while it answers that not all is done. Series of a kind that no class names are
    /// kept for ever. A class must not change often: steps are made once, when samples go.
    maintain(now: Timestamp, classes: &[RetentionClass]) -> Maintained = metrics::maintain;
    /// Gives at most so many pages of the file that hold nothing back to the file system, where they are more than a quarter
    /// of it; answers how many.
    /// A file of an earlier release keeps them.
    shrink(pages: u32) -> u64 = metrics::shrink;
    /// Moves all samples of metrics from memory and log into chunks; answers how many. Never needed, since this
    /// happens by itself; it makes a file smaller that is to be copied.
    flush_metrics() -> u64 = metrics::flush_metrics;
    /// Records an event, or counts it up when the same one (all but the time) is there. The last 10 000 are kept.
    record_event(event: &Event) -> () = events::record;
    /// Stores a small named value.
    put_kv(name: &str, value: &Value) -> () = kv::put;
    /// Removes a named value; answers whether it existed.
    delete_kv(name: &str) -> bool = kv::delete;
    /// Encrypts and stores a secret value.
    set_secret(name: &str, key: &str, value: &[u8]) -> () = secrets::set;
    /// Removes one key of a secret, or the whole secret; answers how many values.
    delete_secret(name: &str, key: Option<&str>) -> u64 = secrets::delete;
    /// Creates an access token (or replaces the one of that name) and answers its text, which is stored nowhere.
    create_token(name: &str, role: Role) -> secrets::SecretValue = tokens::create;
    /// Withdraws a token; answers whether it existed.
    revoke_token(name: &str) -> bool = tokens::revoke;
    /// Creates a code that can be redeemed once, until `expires`.
    create_login_code(name: &str, role: Role, expires: Timestamp) -> secrets::SecretValue = tokens::create_code;
    /// Redeems a login code: its name and role, or `None` when it is unknown, used or expired at `now`.
    redeem_login_code(code: &str, now: Timestamp) -> Option<(String, Role)> = tokens::redeem;
}
