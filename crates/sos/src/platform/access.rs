//! Tokens as the server checks them, sessions made from login codes, and the admin's token in its file.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use sos_api::{Identity, Role};
use sos_engine::clock::wall_now;
use sos_store::{Store, StoreError, Tx};

/// How long an answer of the store about a token is believed: a revoked token works no longer than this.
const BELIEVED: Duration = Duration::from_secs(2);
/// Most answers kept.
const KEPT: usize = 1024;
/// How long a login code can be redeemed.
pub(crate) const LOGIN_CODE_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// How long a session lasts: as long as the browser keeps its cookie.
const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Between the name of a session's owner and the time of the login, in the name of the session's token.
const LOGIN_OF: &str = " (login of ";

/// Answers of the store about tokens, by hash, so that most requests need no look into it.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<[u8; 32], (Instant, Identity)>>);

impl Tokens {
    /// The owner of a token.
    pub(super) fn check(&self, store: &Store, token: &str) -> Option<Identity> {
        // Compared by hash: how long a look-up takes says nothing about a token.
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some((_, identity)) = known.filter(|(at, _)| at.elapsed() < BELIEVED) {
            return Some(identity);
        }
        let found = tokio::task::block_in_place(|| store.check_token(token));
        let found = found.inspect_err(|error| tracing::error!(%error, "a token cannot be checked")).ok()?;
        let identity = found.and_then(|(name, role)| identity(&name, role, wall_now()));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        if let Some(identity) = &identity
            && kept.len() < KEPT
        {
            kept.insert(hash, (Instant::now(), identity.clone()));
        }
        identity
    }

    /// Looks into the store again when the token comes next.
    pub(super) fn forget(&self, token: &str) {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
    }
}

/// The owner of a stored token; a session that has lasted its time is over.
fn identity(name: &str, role: sos_store::Role, now: Timestamp) -> Option<Identity> {
    let role = match role {
        sos_store::Role::Viewer => Role::Viewer,
        sos_store::Role::Operator => Role::Operator,
        sos_store::Role::Admin => Role::Admin,
    };
    match name.split_once(LOGIN_OF) {
        None => Some(Identity { name: name.to_owned(), role }),
        Some((owner, _)) => (!session_over(name, now)).then(|| Identity { name: owner.to_owned(), role }),
    }
}

fn session_over(name: &str, now: Timestamp) -> bool {
    let time =
        name.split_once(LOGIN_OF).and_then(|(_, rest)| rest.strip_suffix(')')?.parse::<Timestamp>().ok());
    time.is_none_or(|time| now.duration_since(time) > SESSION_LIFE)
}

/// Exchanges a one-time code for the token of a new session.
pub(super) fn login(store: &Store, code: &str) -> Option<String> {
    new_session(store, |tx, now| tx.redeem_login_code(code, now))
}

/// The token of a new session for the owner of a token.
pub(super) fn open_session(store: &Store, token: &str) -> Option<String> {
    let owner = || -> Result<Option<(String, sos_store::Role)>, StoreError> {
        let known = store.check_token(token)?;
        Ok(known.filter(|(name, role)| identity(name, *role, wall_now()).is_some()))
    };
    let owner = tokio::task::block_in_place(owner);
    let (name, role) =
        owner.inspect_err(|error| tracing::error!(%error, "a token cannot be checked")).ok()??;
    let name = name.split_once(LOGIN_OF).map_or(name.as_str(), |(owner, _)| owner).to_owned();
    new_session(store, |_, _| Ok(Some((name.clone(), role))))
}

/// Makes a session for whom `owner` says, and forgets those that are over.
fn new_session(
    store: &Store,
    owner: impl Fn(&mut Tx<'_>, Timestamp) -> Result<Option<(String, sos_store::Role)>, StoreError>,
) -> Option<String> {
    let session = || -> Result<Option<String>, StoreError> {
        let now = wall_now();
        let all = store.list_tokens()?.into_iter().map(|(name, _)| name);
        let over: Vec<String> =
            all.filter(|name| name.contains(LOGIN_OF) && session_over(name, now)).collect();
        store.commit(|tx| {
            for name in &over {
                tx.revoke_token(name)?;
            }
            let Some((name, role)) = owner(tx, now)? else { return Ok(None) };
            let token = tx.create_token(&format!("{name}{LOGIN_OF}{now})"), role)?;
            Ok(token.expose_str().map(ToOwned::to_owned))
        })
    };
    tokio::task::block_in_place(session)
        .inspect_err(|error| tracing::error!(%error, "a session cannot be opened"))
        .ok()?
}

/// Ends the session of a token; one that is no session's stays.
pub(super) fn logout(store: &Store, token: &str) -> Result<(), StoreError> {
    match store.check_token(token)? {
        Some((name, _)) if name.contains(LOGIN_OF) => store.revoke_token(&name).map(drop),
        _ => Ok(()),
    }
}

/// Names of the sessions that were opened for the owner of a token, among the names of all tokens.
pub(crate) fn sessions_of<'a>(owner: &str, tokens: &'a [(String, sos_store::Role)]) -> Vec<&'a str> {
    let is = |name: &&str| name.split_once(LOGIN_OF).is_some_and(|(of, _)| of == owner);
    tokens.iter().map(|(name, _)| name.as_str()).filter(is).collect()
}

/// The admin's token: the one in the file while it is valid, else a new one, which is written there for its owner only.
///
/// # Errors
/// A sentence about the store or the file.
pub(crate) fn admin_token(store: &Store, file: &Path) -> Result<String, String> {
    let text = |error: StoreError| error.to_string();
    if let Ok(kept) = std::fs::read_to_string(file) {
        let kept = kept.trim();
        if store.check_token(kept).map_err(text)?.is_some_and(|(_, role)| role == sos_store::Role::Admin) {
            return Ok(kept.to_owned());
        }
    }
    let token = store.create_token("admin", sos_store::Role::Admin).map_err(text)?;
    let token = token.expose_str().unwrap_or_default().to_owned();
    let unwritable = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let fresh = file.with_extension("new");
    // A file of that name with wider rights, from wherever it came, would keep them.
    let _ = std::fs::remove_file(&fresh);
    let mut out =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(unwritable)?;
    writeln!(out, "{token}").and_then(|()| out.sync_all()).map_err(unwritable)?;
    std::fs::rename(&fresh, file).map_err(unwritable)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_its_time_and_shows_its_owner() {
        let now: Timestamp = "2026-01-08T00:00:01Z".parse().unwrap();
        let name = |time: &str| format!("admin{LOGIN_OF}{time})");
        let role = sos_store::Role::Admin;
        let fresh = identity(&name("2026-01-07T00:00:00Z"), role, now).unwrap();
        assert_eq!((fresh.name.as_str(), fresh.role), ("admin", Role::Admin));
        assert!(identity(&name("2026-01-01T00:00:00Z"), role, now).is_none());
        assert!(identity(&name("no time"), role, now).is_none());
        assert_eq!(identity("eva", sos_store::Role::Viewer, now).unwrap().name, "eva");
    }
}
