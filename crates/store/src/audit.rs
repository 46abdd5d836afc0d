//! The audit record: append-only, each entry hashed together with its predecessor's hash.
//!
//! Changed, removed, inserted and reordered entries break the chain. Entries cut off the end do not, so the end is
//! noted a second time in `audit.head`. Whoever can write all files of the data directory can forge all of them
//! together; against that, keep the summary's hash somewhere else.

mod head;

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, types::ValueRef};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::tx::Tx;
use crate::{rows, schema};
pub(crate) use head::{HEAD, Head, required};

/// Number and hash of the last entry; (0, zeros) when there is none.
pub(crate) type End = (u64, [u8; 32]);

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// When it was decided, in the clock of the caller.
    pub time: Timestamp,
    /// Who: a person, token, controller.
    pub who: String,
    /// What is done: `set-point`, `apply`, `restart` …
    pub what: String,
    /// To what, as `kind/name`.
    pub target: String,
    /// The reason, for people.
    pub why: String,
    /// The state before, when there is one.
    pub before: Option<Value>,
    /// The state after, when there is one.
    pub after: Option<Value>,
}

/// An entry of the record with its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRecord {
    /// 1, 2, 3 … without gaps.
    pub seq: u64,
    /// What was recorded.
    pub entry: AuditEntry,
    /// SHA-256 over the previous hash and this entry.
    pub hash: [u8; 32],
}

/// A record that is what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSummary {
    /// How many entries there are.
    pub entries: u64,
    /// Hash of the last one, in hexadecimal; zeros when there is none.
    pub last_hash: String,
}

/// The first entry that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {why}")]
pub struct FirstBad {
    /// Number of the entry.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

pub(crate) fn append(tx: &mut Tx<'_>, entry: &AuditEntry) -> Result<u64> {
    let (last, previous) = match tx.cache.audit {
        Some(end) => end,
        None => end(tx.conn)?,
    };
    let seq = last + 1;
    let time = entry.time.to_string();
    let (before, after) = (rows::opt_text(entry.before.as_ref())?, rows::opt_text(entry.after.as_ref())?);
    let fields = [
        Some(time.as_str()),
        Some(&entry.who),
        Some(&entry.what),
        Some(&entry.target),
        Some(&entry.why),
        before.as_deref(),
        after.as_deref(),
    ];
    let hash = chain_hash(&previous, seq, fields.map(|f| f.map(str::as_bytes)));
    tx.conn.prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
        rusqlite::params![
            seq.cast_signed(),
            fields[0],
            fields[1],
            fields[2],
            fields[3],
            fields[4],
            fields[5],
            fields[6],
            hash
        ],
    )?;
    tx.cache.audit = Some((seq, hash));
    Ok(seq)
}

/// Each field is preceded by its length, so that moving a byte from one field to the next changes the hash; an absent
/// field has a length no text can have.
fn chain_hash(previous: &[u8; 32], seq: u64, fields: [Option<&[u8]>; 7]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"sos-audit-1");
    hash.update(previous);
    hash.update(seq.to_le_bytes());
    for field in fields {
        match field {
            Some(bytes) => {
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
            None => hash.update(u64::MAX.to_le_bytes()),
        }
    }
    hash.finalize().into()
}

/// The last entry as stored.
pub(crate) fn end(conn: &Connection) -> Result<End> {
    let last: Option<(i64, Vec<u8>)> = conn
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((seq, hash)) = last else { return Ok((0, [0; 32])) };
    let hash = hash.try_into().map_err(|_| StoreError::corrupt("an audit hash is not 32 bytes long"))?;
    Ok((seq.unsigned_abs(), hash))
}

/// The hash stored with entry `seq`; zeros for the empty beginning.
fn hash_at(conn: &Connection, seq: u64) -> Result<Option<Vec<u8>>> {
    if seq == 0 {
        return Ok(Some(vec![0; 32]));
    }
    let mut query = conn.prepare_cached("SELECT hash FROM audit WHERE seq = ?")?;
    Ok(query.query_row([seq.cast_signed()], |r| r.get(0)).optional()?)
}

/// Checks the audit record of a data directory, also of a stopped or running server. Reads row by row.
///
/// # Errors
/// [`StoreError::Audit`] with the first bad entry; other errors when the store cannot be read at all.
pub fn verify_audit(dir: &Path) -> Result<AuditSummary> {
    // The note is read first: what is committed meanwhile only makes the record longer than the note.
    let noted = required(dir);
    let conn = schema::open_reader(dir)?;
    verify(&conn, noted)
}

pub(crate) fn verify(conn: &Connection, noted: std::result::Result<End, String>) -> Result<AuditSummary> {
    let mut walk = Walk { end: (0, [0; 32]), noted: noted.as_ref().ok().copied(), note_seen: false };
    walk.check_note()?;
    let mut query = conn.prepare(
        r#"SELECT seq, time, who, what, target, why, "before", "after", hash FROM audit ORDER BY seq"#,
    )?;
    let mut rows = query.query([])?;
    loop {
        match rows.next() {
            Ok(Some(row)) => walk.step(row)?,
            Ok(None) => break,
            Err(e) => return Err(bad(walk.end.0 + 1, format!("it cannot be read ({e})"))),
        }
    }
    let (entries, hash) = walk.end;
    match noted {
        Err(why) => return Err(bad(entries, why)),
        Ok((expected, _)) if !walk.note_seen => {
            return Err(bad(
                entries + 1,
                format!("the record ends before it; {} entries were cut off the end", expected - entries),
            ));
        }
        _ => {}
    }
    Ok(AuditSummary { entries, last_hash: rows::hex(&hash) })
}

struct Walk {
    end: End,
    noted: Option<End>,
    note_seen: bool,
}

impl Walk {
    fn step(&mut self, row: &rusqlite::Row<'_>) -> Result<()> {
        let (last, previous) = self.end;
        let due = last + 1;
        match row.get_ref(0)? {
            ValueRef::Integer(seq) if seq == due.cast_signed() => {}
            ValueRef::Integer(seq) if seq > due.cast_signed() => {
                return Err(bad(due, format!("it was removed (the next one is {seq})")));
            }
            _ => return Err(bad(due, "an entry was inserted before it".to_owned())),
        }
        let mut fields = [None; 7];
        for (i, field) in fields.iter_mut().enumerate() {
            *field = match row.get_ref(i + 1)? {
                ValueRef::Text(bytes) => Some(bytes),
                ValueRef::Null if i >= 5 => None,
                _ => return Err(bad(due, "a field has another type than what was written".to_owned())),
            };
        }
        let hash = chain_hash(&previous, due, fields);
        if row.get_ref(8)?.as_blob().ok() != Some(&hash[..]) {
            return Err(bad(due, "its content or its predecessor does not match its hash".to_owned()));
        }
        self.end = (due, hash);
        self.check_note()
    }

    fn check_note(&mut self) -> Result<()> {
        if let Some((seq, hash)) = self.noted
            && seq == self.end.0
        {
            self.note_seen = true;
            if hash != self.end.1 {
                return Err(bad(
                    seq,
                    "it is not the entry noted in audit.head; the record was rewritten".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

fn bad(seq: u64, why: String) -> StoreError {
    StoreError::Audit(FirstBad { seq, why })
}

impl Store {
    /// Checks this store's audit record; see [`verify_audit`].
    pub fn verify_audit(&self) -> Result<AuditSummary> {
        verify_audit(self.dir())
    }

    /// Up to `limit` entries from number `from_seq` on, oldest first, only those of `target` when one is given.
    pub fn list_audit(&self, from_seq: u64, target: Option<&str>, limit: usize) -> Result<Vec<AuditRecord>> {
        self.read(|conn| records(conn, "ASC", from_seq, target, limit))
    }

    /// The last `limit` entries, oldest first, only those of `target` when one is given.
    pub fn recent_audit(&self, target: Option<&str>, limit: usize) -> Result<Vec<AuditRecord>> {
        let mut found = self.read(|conn| records(conn, "DESC", 0, target, limit))?;
        found.reverse();
        Ok(found)
    }
}

fn records(
    conn: &Connection,
    order: &str,
    from_seq: u64,
    target: Option<&str>,
    limit: usize,
) -> Result<Vec<AuditRecord>> {
    let mut query = conn.prepare_cached(&format!(
        r#"SELECT seq, time, who, what, target, why, "before", "after", hash FROM audit
           WHERE seq >= ?1 AND (?2 IS NULL OR target = ?2) ORDER BY seq {order} LIMIT ?3"#
    ))?;
    let found = query.query_map((rows::int(from_seq), target, rows::limit(limit)), record)?;
    found.map(|r| r?).collect()
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<AuditRecord>> {
    let time: String = row.get(1)?;
    let (before, after): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
    let entry = AuditEntry {
        time: match time.parse() {
            Ok(time) => time,
            Err(_) => return Ok(Err(StoreError::corrupt(format!("audit time `{time}` is no time")))),
        },
        who: row.get(2)?,
        what: row.get(3)?,
        target: row.get(4)?,
        why: row.get(5)?,
        before: None,
        after: None,
    };
    let (seq, hash): (i64, [u8; 32]) = (row.get(0)?, row.get(8)?);
    Ok(rows::opt_json(before).and_then(|before| {
        let after = rows::opt_json(after)?;
        Ok(AuditRecord { seq: seq.unsigned_abs(), entry: AuditEntry { before, after, ..entry }, hash })
    }))
}
