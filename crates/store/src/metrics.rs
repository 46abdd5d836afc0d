//! Metrics: series of plain floating-point numbers, as they are scraped, beside the readings of sites.
//!
//! Every series, of readings too, is in an index in memory from the first use on. New samples are written as one row
//! of a log per change, in the transaction of the caller, and held in a short list per series; full lists become
//! compressed chunks. Times are milliseconds since 1970-01-01T00:00:00Z.

mod heads;
mod index;
mod ingest;
mod labels;
mod lane;
mod log;
mod maintain;
mod matcher;
mod metadata;
mod rollup;
mod select;

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Result, StoreError};
use crate::rows;
use crate::telemetry::Labels;
use heads::Heads;
use index::Index;
pub(crate) use index::SeriesKind as Kind;
use log::Row;

pub use index::SeriesKind;
pub use ingest::{IngestReport, MetricSample, Refusal, Refused, SeriesRef};
pub(crate) use ingest::{ingest, metric_series};
pub use labels::{MetricKey, SeriesLabels};
pub use maintain::{Maintained, RetentionClass};
pub(crate) use maintain::{flush_metrics, maintain, shrink};
pub use matcher::Matcher;
pub use metadata::MetricMetadata;
pub(crate) use metadata::put_metadata;
pub use select::{Aggregate, Select, Selected, Selection, SeriesEntry};

/// Prometheus' marker of a series that has ended: a NaN of its own, told from others by its bits.
pub const STALE: f64 = f64::from_bits(STALE_BITS);
pub(crate) const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// How much of metrics is accepted. What exceeds a limit is refused, counted and named, and everything else is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricLimits {
    /// Series of metrics in total; each takes about 0.5 kB of memory beside its samples.
    pub series: usize,
    /// Series of one name.
    pub series_per_name: usize,
    /// Labels of a series, without its name.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value, and of a series' name.
    pub label_value_bytes: usize,
    /// Bytes of a help text; longer ones are cut.
    pub help_bytes: usize,
    /// Samples that are held in memory until they are compressed, 16 bytes each. With ten thousand series about a
    /// million are; fewer make chunks be written more often.
    pub samples_in_memory: usize,
}

impl Default for MetricLimits {
    fn default() -> Self {
        Self {
            series: 100_000,
            series_per_name: 20_000,
            labels: 64,
            label_name_bytes: 256,
            label_value_bytes: 4096,
            help_bytes: 1024,
            samples_in_memory: 2_000_000,
        }
    }
}

/// What the writer remembers of metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) index: Index,
    heads: Heads,
    metadata: metadata::Known,
    /// Highest series id handed out.
    last_series: u32,
    /// Time of the last step ever written; what is later has not been downsampled.
    coarse_until: i64,
    /// Series that maintenance looks at next.
    cursor: u32,
    /// Whether the transaction under way has changed this.
    dirty: bool,
}

impl Metrics {
    /// What is remembered, read from the database when nothing is.
    pub(crate) fn of<'c>(cached: &'c mut Option<Self>, conn: &Connection) -> Result<&'c mut Self> {
        let metrics = match cached.take() {
            Some(metrics) => metrics,
            None => Self::load(conn)?,
        };
        Ok(cached.insert(metrics))
    }

    /// As [`Metrics::of`], for a change that ends with [`Metrics::done`].
    fn change<'c>(cached: &'c mut Option<Self>, conn: &Connection) -> Result<&'c mut Self> {
        let metrics = Self::of(cached, conn)?;
        metrics.dirty = true;
        Ok(metrics)
    }

    fn load(conn: &Connection) -> Result<Self> {
        let coarse = "SELECT value FROM meta WHERE name = 'coarse until'";
        let coarse_until = conn.query_row(coarse, [], |r| r.get(0)).optional()?;
        Ok(Self {
            index: Index::load(conn)?,
            heads: Heads::load(conn)?,
            metadata: metadata::load(conn)?,
            last_series: last_series(conn)?,
            coarse_until: coarse_until.unwrap_or(i64::MIN),
            cursor: 0,
            dirty: false,
        })
    }

    /// Whether all that is remembered still is what the database holds: every change of metrics adds a row to the log,
    /// and every series an id.
    pub(crate) fn is_current(&self, conn: &Connection) -> Result<bool> {
        let batch: Option<i64> =
            conn.prepare_cached("SELECT max(batch) FROM metric_log")?.query_row([], |r| r.get(0))?;
        let current = batch.map_or(1, |batch| batch + 1) == self.heads.next_batch;
        Ok(current && last_series(conn)? == self.last_series)
    }

    /// Whether a transaction that failed has changed this.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn committed(&mut self) {
        self.dirty = false;
    }

    /// Writes the row of a change into the log.
    fn done(&mut self, conn: &Connection, row: &Row) -> Result<()> {
        self.heads.log(conn, row)
    }

    /// Stores a new series; labels in order.
    pub(crate) fn create(
        &mut self,
        conn: &Connection,
        name: &str,
        labels: &[(&str, &str)],
        kind: SeriesKind,
    ) -> Result<u32> {
        let text = rows::text(&labels.iter().copied().collect::<std::collections::BTreeMap<_, _>>())?;
        let id = insert_series(conn, name, &text, kind)?;
        self.created(id, name, labels, kind);
        Ok(id)
    }

    fn created(&mut self, id: u32, name: &str, labels: &[(&str, &str)], kind: SeriesKind) {
        self.index.insert(id, name, labels, kind);
        self.last_series = id;
    }

    /// Notes a series of readings that was made elsewhere.
    pub(crate) fn made(&mut self, id: u32, name: &str, labels: &Labels) {
        self.dirty = true;
        let pairs: Vec<_> = labels.iter().map(|(l, v)| (l.as_str(), v.as_str())).collect();
        self.created(id, name, &pairs, SeriesKind::Reading);
    }

    pub(crate) fn hot_samples(&self) -> usize {
        self.heads.samples
    }
}

pub(crate) fn insert_series(conn: &Connection, name: &str, labels: &str, kind: SeriesKind) -> Result<u32> {
    let kind = i64::from(kind == SeriesKind::Metric);
    let mut query =
        conn.prepare_cached("INSERT INTO series (name, labels, kind) VALUES (?, ?, ?) RETURNING id")?;
    Ok(query.query_row((name, labels, kind), |r| r.get(0))?)
}

fn last_series(conn: &Connection) -> Result<u32> {
    let last: Option<u32> = conn.prepare_cached("SELECT max(id) FROM series")?.query_row([], |r| r.get(0))?;
    Ok(last.unwrap_or(0))
}

/// Not every time a caller can give can be reckoned with.
const TIMES: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;

fn millis(time: jiff::Timestamp) -> i64 {
    time.as_millisecond()
}

fn corrupt(what: &str) -> StoreError {
    StoreError::corrupt(what)
}
