//! What a metric is: type, help and unit, by its name.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::ingest::cut;
use super::log::Row;
use super::{Metrics, SeriesKind};
use crate::error::Result;
use crate::store::Store;
use crate::tx::Tx;

/// What a metric is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricMetadata {
    /// Name of the metric as its source tells it (`http_requests_seconds`, without `_bucket` and the like).
    pub name: String,
    /// Its type: `counter`, `gauge`, `histogram`, …; empty when unknown.
    pub kind: String,
    /// For people.
    pub help: String,
    /// Its unit, empty when unknown.
    pub unit: String,
}

pub(super) type Known = BTreeMap<String, MetricMetadata>;

pub(super) fn load(conn: &Connection) -> Result<Known> {
    let mut query = conn.prepare("SELECT name, type, help, unit FROM metric")?;
    let found = query.query_map([], |r| {
        Ok(MetricMetadata { name: r.get(0)?, kind: r.get(1)?, help: r.get(2)?, unit: r.get(3)? })
    })?;
    Ok(found.map(|one| one.map(|m| (m.name.clone(), m))).collect::<std::result::Result<_, _>>()?)
}

pub(crate) fn put_metadata(tx: &mut Tx<'_>, all: &[MetricMetadata]) -> Result<u64> {
    let limits = &tx.options.metrics;
    let metrics = Metrics::change(&mut tx.cache.metrics, tx.conn)?;
    let mut changed = 0;
    for one in all {
        let mut one = one.clone();
        one.help.truncate(cut(&one.help, limits.help_bytes).len());
        let new = !metrics.metadata.contains_key(&one.name);
        let long = [&one.name, &one.kind, &one.unit].iter().any(|t| t.len() > limits.label_value_bytes);
        if long || one.name.is_empty() || (new && metrics.metadata.len() >= limits.series) {
            continue;
        }
        if metrics.metadata.get(&one.name) != Some(&one) {
            tx.conn
                .prepare_cached("INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?)")?
                .execute((&one.name, &one.kind, &one.help, &one.unit))?;
            metrics.metadata.insert(one.name.clone(), one);
            changed += 1;
        }
    }
    if changed > 0 {
        metrics.done(tx.conn, &Row::default())?;
    }
    Ok(changed)
}

impl Metrics {
    /// Forgets what is known of a metric that has no series any more. A histogram's series carry endings that its
    /// metadata do not.
    pub(super) fn forget_metadata(&mut self, conn: &Connection, series: &str) -> Result<()> {
        let stem = ["_bucket", "_count", "_sum", "_total", "_created", "_info"]
            .iter()
            .find_map(|end| series.strip_suffix(end));
        for name in [Some(series), stem].into_iter().flatten() {
            let used = self.index.values(super::labels::NAME).any(|other| other.starts_with(name));
            if !used && self.metadata.remove(name).is_some() {
                conn.prepare_cached("DELETE FROM metric WHERE name = ?")?.execute([name])?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// What is known of a metric, or of all of them, in order of their names.
    pub fn metadata(&self, name: Option<&str>) -> Result<Vec<MetricMetadata>> {
        self.look_at_metrics(|_, metrics| {
            Ok(match name {
                Some(name) => metrics.metadata.get(name).cloned().into_iter().collect(),
                None => metrics.metadata.values().cloned().collect(),
            })
        })
    }

    /// Whether a series holds readings or metrics; `None` when there is no such series.
    pub fn series_kind(&self, series: crate::SeriesId) -> Result<Option<SeriesKind>> {
        self.look_at_metrics(|_, metrics| Ok(metrics.index.get(series.0).map(|entry| entry.kind)))
    }
}
