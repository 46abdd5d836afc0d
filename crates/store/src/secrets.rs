//! Secrets, encrypted at rest.
//!
//! # Threat model
//! Values are sealed with XChaCha20-Poly1305 under the key in the file `key` of the data directory (mode 0600, made
//! once from the operating system's randomness), each with its own random nonce and bound to its name. This keeps
//! them out of the database file, its log, copies of it alone, and logs. It does not protect against whoever can read
//! the whole data directory or this process' memory, nor against putting an old value of the same name back.

use std::fmt;
use std::path::Path;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rusqlite::OptionalExtension as _;
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::tx::Tx;
use crate::{files, rows};

/// Name of the key file in the data directory.
pub(crate) const KEY: &str = "key";

/// A secret value: wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself. Keep it out of logs, errors and answers.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, when it is text. Keep it out of logs, errors and answers.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// A new token of 256 bits from the operating system's source of randomness, in hexadecimal.
///
/// # Errors
/// [`StoreError::Io`] when there is no randomness to be had.
pub fn random_token() -> Result<SecretValue> {
    Ok(SecretValue(Zeroizing::new(rows::hex(random::<32>()?.as_ref()).into_bytes())))
}

/// Bytes from the operating system's source of randomness.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(|e| StoreError::Io {
        action: "read randomness from",
        path: "/dev/urandom".into(),
        source: std::io::Error::other(e.to_string()),
    })?;
    Ok(bytes)
}

/// The cipher of a data directory; `create` makes the key when there is none.
fn cipher(dir: &Path, create: bool) -> Result<XChaCha20Poly1305> {
    let path = dir.join(KEY);
    if create && !path.exists() {
        let text = Zeroizing::new(rows::hex(random::<32>()?.as_ref()));
        // Written beside and linked into place, so that there is never half a key and never two.
        let draft = dir.join(format!("key.{}", std::process::id()));
        files::remove_if_there(&draft)?;
        files::write_new(&draft, text.as_bytes())?;
        let linked = std::fs::hard_link(&draft, &path);
        files::remove_if_there(&draft)?;
        match linked {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create", &path)(e));
            }
            _ => files::sync_dir(dir)?,
        }
    }
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(StoreError::io("read", &path))?);
    let bytes = Zeroizing::new(rows::unhex(text.trim()).unwrap_or_default());
    let key = Key::try_from(bytes.as_slice())
        .map_err(|_| StoreError::corrupt("the file `key` is not a key of 64 hexadecimal digits"))?;
    Ok(XChaCha20Poly1305::new(&key))
}

/// Binds a sealed value to its place; the length keeps `ab`/`c` and `a`/`bc` apart.
fn place(name: &str, key: &str) -> Vec<u8> {
    let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

pub(crate) fn set(tx: &mut Tx<'_>, name: &str, key: &str, value: &[u8]) -> Result<()> {
    if name.is_empty() || key.is_empty() {
        return Err(StoreError::invalid("a secret needs a name and a key"));
    }
    // A missing key file is only made anew while nothing is sealed with the old one.
    let first: bool = tx.conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM secret)", [], |r| r.get(0))?;
    let cipher = cipher(tx.dir, first)?;
    let nonce = random::<24>()?;
    let aad = place(name, key);
    let sealed = cipher
        .encrypt(&XNonce::from(*nonce), Payload { msg: value, aad: &aad })
        .map_err(|_| StoreError::invalid(format!("the value of secret {name}/{key} is too large")))?;
    tx.conn.prepare_cached("INSERT OR REPLACE INTO secret VALUES (?, ?, ?, ?)")?.execute((
        name,
        key,
        &nonce[..],
        sealed,
    ))?;
    Ok(())
}

pub(crate) fn delete(tx: &mut Tx<'_>, name: &str, key: Option<&str>) -> Result<u64> {
    let gone = tx
        .conn
        .prepare_cached("DELETE FROM secret WHERE name = ?1 AND (?2 IS NULL OR key = ?2)")?
        .execute((name, key))?;
    Ok(gone as u64)
}

impl Store {
    /// A secret value, when it exists.
    ///
    /// # Errors
    /// [`StoreError::Undecryptable`] when key file and value do not fit.
    pub fn get_secret(&self, name: &str, key: &str) -> Result<Option<SecretValue>> {
        let sealed: Option<([u8; 24], Vec<u8>)> = self.read(|conn| {
            let mut query =
                conn.prepare_cached("SELECT nonce, sealed FROM secret WHERE name = ? AND key = ?")?;
            Ok(query.query_row((name, key), |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
        })?;
        let Some((nonce, sealed)) = sealed else { return Ok(None) };
        let aad = place(name, key);
        let opened = cipher(self.dir(), false)?
            .decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: &aad })
            .map_err(|_| StoreError::Undecryptable { name: name.to_owned(), key: key.to_owned() })?;
        Ok(Some(SecretValue::new(opened)))
    }

    /// Names and keys of all secrets, without their values.
    pub fn list_secrets(&self) -> Result<Vec<(String, String)>> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT name, key FROM secret ORDER BY name, key")?;
            let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }
}
