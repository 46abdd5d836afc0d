//! Declared resources: one manager each, a version that rises with every change, a generation with every new spec.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Result, StoreError};
use crate::rows;
use crate::selector::Selector;
use crate::store::Store;
use crate::telemetry::Labels;
use crate::tx::Tx;
use crate::watch::{CHANGES_KEPT, Part};

/// What somebody declares.
#[derive(Clone, Debug, PartialEq)]
pub struct PutResource {
    /// Kind, as `Site`.
    pub kind: String,
    /// Name, unique within the kind.
    pub name: String,
    /// Who declares it: `dir`, `cli` …
    pub manager: String,
    /// The spec, opaque to the store.
    pub spec: Value,
    /// Labels for selection.
    pub labels: Labels,
    /// Takes a resource over that another manager owns.
    pub force: bool,
    /// Only when the resource is still at this version; 0 only when it does not exist.
    pub expected_version: Option<u64>,
    /// Answers what would happen and stores nothing.
    pub dry_run: bool,
}

/// What a declaration did, or would do in a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Version of the resource afterwards (in a dry run the one it would get now).
    pub version: u64,
    /// Generation afterwards.
    pub generation: u64,
    /// Whether anything differs from before.
    pub changed: bool,
    /// Whether it did not exist before.
    pub created: bool,
}

/// What writing a subresource did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusOutcome {
    /// Version of the resource afterwards.
    pub version: u64,
    /// Whether anything differs from before.
    pub changed: bool,
}

/// A resource as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resource {
    /// Kind.
    pub kind: String,
    /// Name, unique within the kind.
    pub name: String,
    /// Tells it from an earlier one of the same name.
    pub uid: u64,
    /// Who declares it.
    pub manager: String,
    /// Rises with every change of the spec, from 1.
    pub generation: u64,
    /// Rises with every change, over all resources of the store.
    pub version: u64,
    /// The spec.
    pub spec: Value,
    /// Labels.
    pub labels: Labels,
    /// What all writers report, joined into one object.
    pub status: Value,
    /// Number of replicas set beside the spec.
    pub replicas: Option<u32>,
}

/// A past spec.
#[derive(Clone, Debug, PartialEq)]
pub struct SpecRevision {
    /// Its generation.
    pub generation: u64,
    /// Version at which it was declared.
    pub version: u64,
    /// Who declared it.
    pub manager: String,
    /// The spec.
    pub spec: Value,
}

/// What decides about a change, without the status.
struct Declared {
    manager: String,
    generation: u64,
    version: u64,
    spec: String,
    labels: String,
}

pub(crate) fn put(tx: &mut Tx<'_>, put: &PutResource) -> Result<PutOutcome> {
    if put.kind.is_empty() || put.name.is_empty() || put.manager.is_empty() {
        return Err(StoreError::invalid("a resource needs a kind, a name and a manager"));
    }
    let (spec, labels) = (rows::text(&put.spec)?, rows::text(&put.labels)?);
    let old = declared(tx.conn, &put.kind, &put.name)?;
    expect_version(&put.kind, &put.name, put.expected_version, old.as_ref().map_or(0, |o| o.version))?;
    let spec_same = old.as_ref().is_some_and(|o| same_json(&o.spec, &spec, &put.spec));
    if let Some(old) = &old {
        let same = spec_same && old.labels == labels;
        let owned = old.manager == put.manager;
        if same && (owned || !put.force) {
            let (version, generation) = (old.version, old.generation);
            return Ok(PutOutcome { version, generation, changed: false, created: false });
        }
        if !owned && !put.force {
            return Err(conflict(&put.kind, &put.name, &old.manager));
        }
    }
    let generation = old.as_ref().map_or(1, |o| o.generation + u64::from(!spec_same));
    let created = old.is_none();
    if put.dry_run {
        return Ok(PutOutcome { version: revision(tx)? + 1, generation, changed: true, created });
    }
    let version = change(tx, &put.kind, &put.name, Part::Spec)?;
    write(tx, put, &spec, &labels, generation, version)?;
    if !spec_same {
        remember(tx, put, &spec, generation, version)?;
    }
    Ok(PutOutcome { version, generation, changed: true, created })
}

/// Equal as JSON values, also when the stored text orders its keys in another way.
fn same_json(stored: &str, text: &str, value: &Value) -> bool {
    stored == text || serde_json::from_str::<Value>(stored).is_ok_and(|v| v == *value)
}

fn conflict(kind: &str, name: &str, owner: &str) -> StoreError {
    StoreError::Conflict { kind: kind.to_owned(), name: name.to_owned(), owner: owner.to_owned() }
}

fn expect_version(kind: &str, name: &str, expected: Option<u64>, found: u64) -> Result<()> {
    match expected {
        Some(expected) if expected != found => {
            Err(StoreError::VersionMismatch { kind: kind.to_owned(), name: name.to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}

fn declared(conn: &Connection, kind: &str, name: &str) -> Result<Option<Declared>> {
    let mut query = conn.prepare_cached(
        "SELECT manager, generation, version, spec, labels FROM resource WHERE kind = ? AND name = ?",
    )?;
    Ok(query
        .query_row((kind, name), |r| {
            Ok(Declared {
                manager: r.get(0)?,
                generation: r.get::<_, i64>(1)?.unsigned_abs(),
                version: r.get::<_, i64>(2)?.unsigned_abs(),
                spec: r.get(3)?,
                labels: r.get(4)?,
            })
        })
        .optional()?)
}

fn write(
    tx: &Tx<'_>,
    put: &PutResource,
    spec: &str,
    labels: &str,
    generation: u64,
    version: u64,
) -> Result<()> {
    tx.conn
        .prepare_cached(
            "INSERT INTO resource (kind, name, uid, manager, generation, version, spec, labels)
             VALUES (?1, ?2, ?5, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET manager = excluded.manager,
             generation = excluded.generation, version = excluded.version, spec = excluded.spec,
             labels = excluded.labels",
        )?
        .execute((
            &put.kind,
            &put.name,
            &put.manager,
            rows::int(generation),
            rows::int(version),
            spec,
            labels,
        ))?;
    Ok(())
}

/// Keeps the spec for a later undo, and only the newest ones.
fn remember(tx: &Tx<'_>, put: &PutResource, spec: &str, generation: u64, version: u64) -> Result<()> {
    tx.conn.prepare_cached("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?)")?.execute((
        &put.kind,
        &put.name,
        rows::int(generation),
        &put.manager,
        rows::int(version),
        spec,
    ))?;
    tx.conn
        .prepare_cached("DELETE FROM history WHERE kind = ? AND name = ? AND generation <= ?")?
        .execute((&put.kind, &put.name, rows::int(generation) - i64::from(tx.options.history.max(1))))?;
    Ok(())
}

/// All resources of all kinds, in order of kind and name.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Resource>> {
    query(conn, "true", [])
}

/// The newest version of the store.
pub(crate) fn revision_of(conn: &Connection) -> Result<u64> {
    let stored: Option<i64> =
        conn.prepare_cached("SELECT max(version) FROM change")?.query_row([], |r| r.get(0))?;
    Ok(stored.unwrap_or(0).unsigned_abs())
}

fn revision(tx: &mut Tx<'_>) -> Result<u64> {
    match tx.cache.revision {
        Some(revision) => Ok(revision),
        None => {
            let revision = revision_of(tx.conn)?;
            tx.cache.revision = Some(revision);
            Ok(revision)
        }
    }
}

/// Takes the next version and notes in the change log what it is about.
fn change(tx: &mut Tx<'_>, kind: &str, name: &str, part: Part) -> Result<u64> {
    let version = revision(tx)? + 1;
    tx.conn.prepare_cached("INSERT INTO change VALUES (?, ?, ?, ?)")?.execute((
        rows::int(version),
        kind,
        name,
        part as u8,
    ))?;
    tx.cache.revision = Some(version);
    tx.changed.insert(version);
    Ok(version)
}

/// Keeps the change log bounded; the newest entry always stays, for it is where versions go on.
pub(crate) fn trim_changes(tx: &mut Tx<'_>) -> Result<()> {
    if let Some(newest) = tx.changed.last() {
        let oldest = newest.saturating_sub(CHANGES_KEPT);
        tx.conn.prepare_cached("DELETE FROM change WHERE version <= ?")?.execute([rows::int(oldest)])?;
    }
    Ok(())
}

fn touch(tx: &mut Tx<'_>, kind: &str, name: &str, part: Part) -> Result<u64> {
    let version = change(tx, kind, name, part)?;
    tx.conn.prepare_cached("UPDATE resource SET version = ? WHERE kind = ? AND name = ?")?.execute((
        rows::int(version),
        kind,
        name,
    ))?;
    Ok(version)
}

fn existing_version(tx: &Tx<'_>, kind: &str, name: &str) -> Result<u64> {
    let mut query = tx.conn.prepare_cached("SELECT version FROM resource WHERE kind = ? AND name = ?")?;
    let version: Option<i64> = query.query_row((kind, name), |r| r.get(0)).optional()?;
    version.map(i64::unsigned_abs).ok_or_else(|| StoreError::NotFound { what: format!("{kind}/{name}") })
}

pub(crate) fn put_status(
    tx: &mut Tx<'_>,
    kind: &str,
    name: &str,
    writer: &str,
    value: &Value,
) -> Result<StatusOutcome> {
    let Value::Object(fields) = value else {
        return Err(StoreError::invalid(format!("the status of {kind}/{name} must be a JSON object")));
    };
    let version = existing_version(tx, kind, name)?;
    let text = rows::text(value)?;
    for (other, reported) in status_parts(tx.conn, kind, name)? {
        if other == writer && same_json(&reported, &text, value) {
            return Ok(StatusOutcome { version, changed: false });
        }
        if other != writer {
            let taken: Map<String, Value> = rows::json(&reported)?;
            if fields.keys().any(|field| taken.contains_key(field)) {
                return Err(conflict(kind, name, &other));
            }
        }
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO status VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute((kind, name, writer, &text))?;
    Ok(StatusOutcome { version: touch(tx, kind, name, Part::Status)?, changed: true })
}

pub(crate) fn put_scale(
    tx: &mut Tx<'_>,
    kind: &str,
    name: &str,
    replicas: Option<u32>,
) -> Result<StatusOutcome> {
    let version = existing_version(tx, kind, name)?;
    let changed = tx
        .conn
        .prepare_cached(
            "UPDATE resource SET replicas = ?3 WHERE kind = ?1 AND name = ?2 AND replicas IS NOT ?3",
        )?
        .execute((kind, name, replicas))?
        > 0;
    let version = if changed { touch(tx, kind, name, Part::Scale)? } else { version };
    Ok(StatusOutcome { version, changed })
}

pub(crate) fn delete(tx: &mut Tx<'_>, kind: &str, name: &str, expected: Option<u64>) -> Result<bool> {
    let found = declared(tx.conn, kind, name)?.map_or(0, |d| d.version);
    expect_version(kind, name, expected, found)?;
    if found == 0 {
        return Ok(false);
    }
    for table in ["resource", "status", "history"] {
        tx.conn
            .prepare_cached(&format!("DELETE FROM {table} WHERE kind = ? AND name = ?"))?
            .execute((kind, name))?;
    }
    change(tx, kind, name, Part::Deleted)?;
    Ok(true)
}

fn status_parts(conn: &Connection, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
    let mut query =
        conn.prepare_cached("SELECT writer, value FROM status WHERE kind = ? AND name = ? ORDER BY writer")?;
    let parts = query.query_map((kind, name), |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(parts.collect::<rusqlite::Result<_>>()?)
}

const COLUMNS: &str = "kind, name, uid, manager, generation, version, spec, labels, replicas";

fn query(conn: &Connection, filter: &str, values: impl rusqlite::Params) -> Result<Vec<Resource>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM resource WHERE {filter} ORDER BY kind, name"))?;
    let mut found = query.query(values)?;
    let mut out = Vec::new();
    while let Some(row) = found.next()? {
        out.push(from_row(conn, row)?);
    }
    Ok(out)
}

fn from_row(conn: &Connection, row: &rusqlite::Row<'_>) -> Result<Resource> {
    let number = |i| row.get::<_, i64>(i).map(i64::unsigned_abs);
    let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
    let mut status = Map::new();
    for (_, part) in status_parts(conn, &kind, &name)? {
        status.extend(rows::json::<Map<String, Value>>(&part)?);
    }
    Ok(Resource {
        kind,
        name,
        uid: number(2)?,
        manager: row.get(3)?,
        generation: number(4)?,
        version: number(5)?,
        spec: rows::json(&row.get::<_, String>(6)?)?,
        labels: rows::json::<BTreeMap<_, _>>(&row.get::<_, String>(7)?)?,
        status: Value::Object(status),
        replicas: row.get(8)?,
    })
}

pub(crate) fn get(conn: &Connection, kind: &str, name: &str) -> Result<Option<Resource>> {
    Ok(query(conn, "kind = ? AND name = ?", (kind, name))?.pop())
}

impl Store {
    /// One resource, when it exists.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Resource>> {
        self.read(|conn| get(conn, kind, name))
    }

    /// The resources of a kind that a selector matches, in order of their names.
    pub fn list(&self, kind: &str, selector: &Selector) -> Result<Vec<Resource>> {
        self.snapshot(kind, selector).map(|(_, found)| found)
    }

    /// As [`Store::list`], with the version of the store it shows; [`Store::watch`] from there misses nothing.
    pub fn snapshot(&self, kind: &str, selector: &Selector) -> Result<(u64, Vec<Resource>)> {
        self.read(|conn| {
            let mut found = query(conn, "kind = ?", [kind])?;
            found.retain(|resource| selector.matches(&resource.labels));
            Ok((revision_of(conn)?, found))
        })
    }

    /// All resources of all kinds, in order of kind and name.
    pub fn list_all(&self) -> Result<Vec<Resource>> {
        self.read(all)
    }

    /// The resources a manager declares, in order of kind and name; for pruning those it no longer declares.
    pub fn list_owned(&self, manager: &str) -> Result<Vec<Resource>> {
        self.read(|conn| query(conn, "manager = ?", [manager]))
    }

    /// The newest version of the store.
    pub fn revision(&self) -> Result<u64> {
        self.read(revision_of)
    }

    /// The newest specs of a resource, the latest first; how many: [`Options::history`](crate::Options::history).
    pub fn spec_history(&self, kind: &str, name: &str) -> Result<Vec<SpecRevision>> {
        self.read(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT generation, version, manager, spec FROM history WHERE kind = ? AND name = ?
                 ORDER BY generation DESC",
            )?;
            let found = query.query_map((kind, name), |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get(2)?, r.get::<_, String>(3)?))
            })?;
            found
                .map(|row| {
                    let (generation, version, manager, spec) = row?;
                    let (generation, version) = (generation.unsigned_abs(), version.unsigned_abs());
                    Ok(SpecRevision { generation, version, manager, spec: rows::json(&spec)? })
                })
                .collect()
        })
    }
}
