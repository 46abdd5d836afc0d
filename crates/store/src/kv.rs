//! Small named JSON values: the engine's own state.

use rusqlite::{Connection, OptionalExtension as _};
use serde_json::Value;

use crate::error::Result;
use crate::rows;
use crate::store::Store;
use crate::tx::Tx;

pub(crate) fn put(tx: &mut Tx<'_>, name: &str, value: &Value) -> Result<()> {
    tx.conn
        .prepare_cached("INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")?
        .execute((name, rows::text(value)?))?;
    Ok(())
}

pub(crate) fn delete(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    Ok(tx.conn.prepare_cached("DELETE FROM kv WHERE name = ?")?.execute([name])? > 0)
}

pub(crate) fn get(conn: &Connection, name: &str) -> Result<Option<Value>> {
    let mut query = conn.prepare_cached("SELECT value FROM kv WHERE name = ?")?;
    rows::opt_json(query.query_row([name], |r| r.get(0)).optional()?)
}

impl Store {
    /// A named value, when there is one.
    pub fn get_kv(&self, name: &str) -> Result<Option<Value>> {
        self.read(|conn| get(conn, name))
    }
}
