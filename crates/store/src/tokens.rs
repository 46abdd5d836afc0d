//! Access tokens and one-time login codes. Only their hashes are stored; they are long random numbers, so a plain
//! SHA-256 suffices.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::{Result, StoreError};
use crate::rows;
use crate::secrets::{SecretValue, random};
use crate::store::Store;
use crate::tx::Tx;

/// What a token permits; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but secrets.
    Viewer,
    /// Also commands services and assets.
    Operator,
    /// Also changes resources, secrets and tokens.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(StoreError::invalid(format!("role `{text}` is none of viewer, operator, admin"))),
        }
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn fresh(prefix: &str) -> Result<SecretValue> {
    Ok(SecretValue::new(format!("{prefix}{}", rows::hex(random::<32>()?.as_ref())).into_bytes()))
}

pub(crate) fn create(tx: &mut Tx<'_>, name: &str, role: Role) -> Result<SecretValue> {
    if name.is_empty() {
        return Err(StoreError::invalid("a token needs a name"));
    }
    let token = fresh("sos_")?;
    let digest: [u8; 32] = Sha256::digest(token.expose()).into();
    tx.conn.prepare_cached("INSERT OR REPLACE INTO token VALUES (?, ?, ?)")?.execute((
        name,
        role.to_string(),
        digest,
    ))?;
    Ok(token)
}

pub(crate) fn revoke(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    Ok(tx.conn.prepare_cached("DELETE FROM token WHERE name = ?")?.execute([name])? > 0)
}

pub(crate) fn create_code(
    tx: &mut Tx<'_>,
    name: &str,
    role: Role,
    expires: Timestamp,
) -> Result<SecretValue> {
    let code = fresh("")?;
    let digest: [u8; 32] = Sha256::digest(code.expose()).into();
    tx.conn.prepare_cached("INSERT INTO login_code VALUES (?, ?, ?, ?)")?.execute((
        digest,
        name,
        role.to_string(),
        rows::micros(expires),
    ))?;
    Ok(code)
}

pub(crate) fn redeem(tx: &mut Tx<'_>, code: &str, now: Timestamp) -> Result<Option<(String, Role)>> {
    let now = rows::micros(now);
    tx.conn.prepare_cached("DELETE FROM login_code WHERE expires < ?")?.execute([now])?;
    let mut query = tx.conn.prepare_cached("SELECT hash, name, role FROM login_code ORDER BY hash")?;
    let found = pick(&mut query, &hash(code))?;
    if found.is_some() {
        tx.conn.prepare_cached("DELETE FROM login_code WHERE hash = ?")?.execute([hash(code)])?;
    }
    Ok(found)
}

/// Compares with every stored hash, each in constant time.
fn pick(query: &mut rusqlite::Statement<'_>, wanted: &[u8; 32]) -> Result<Option<(String, Role)>> {
    let mut rows = query.query([])?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        let stored: [u8; 32] = row.get(0)?;
        if bool::from(stored.ct_eq(wanted)) {
            found = Some((row.get::<_, String>(1)?, row.get::<_, String>(2)?));
        }
    }
    found.map(|(name, role)| Ok((name, role.parse()?))).transpose()
}

impl Store {
    /// Name and role of a token, or `None` when it is none of ours.
    pub fn check_token(&self, token: &str) -> Result<Option<(String, Role)>> {
        let wanted = hash(token);
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT hash, name, role FROM token ORDER BY name")?;
            pick(&mut query, &wanted)
        })
    }

    /// Names and roles of all tokens.
    pub fn list_tokens(&self) -> Result<Vec<(String, Role)>> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT name, role FROM token ORDER BY name")?;
            let found = query.query_map([], |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
            found.map(|row| row.map_err(StoreError::from).and_then(|(n, r)| Ok((n, r.parse()?)))).collect()
        })
    }
}
