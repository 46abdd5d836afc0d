//! Where secret values come from when a service is deployed. They go from here to the driver and nowhere else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sos_model::{SecretKey, SecretSource};
use sos_runtime::{EnvValue, SecretValues, ServiceConfig};
use sos_store::Store;

use super::convert::ADAPTER_SECRET;
use super::memory::SecretSeen;

/// The secret that holds the key of fingerprints.
const FINGERPRINTS: &str = "sos-fingerprints";

/// The values of all variables that come from secrets; one that cannot be had is left out, and the driver says so.
pub(super) fn values(store: &Store, config: &ServiceConfig, now: Timestamp) -> SecretValues {
    let mut values = SecretValues::new();
    for variable in &config.env {
        let EnvValue::Secret { secret, key } = &variable.value else { continue };
        match value(store, secret, key) {
            Ok(Some(text)) => values = values.with(&variable.name, text),
            Ok(None) => {}
            Err(problem) => tracing::warn!(secret, key, problem, %now, "a secret value cannot be had"),
        }
    }
    values
}

/// How often each secret of a configuration has changed, after what was seen of them before. Values leave no trace but a
/// fingerprint under a key of this data directory.
pub(super) fn seen(
    store: &Store,
    config: &ServiceConfig,
    before: &BTreeMap<String, SecretSeen>,
    now: Timestamp,
) -> BTreeMap<String, SecretSeen> {
    let key = match fingerprint_key(store) {
        Ok(key) => key,
        Err(problem) => {
            tracing::warn!(problem, "changes of secrets are not noticed");
            return before.clone();
        }
    };
    let mut seen = BTreeMap::new();
    for variable in &config.env {
        let EnvValue::Secret { secret, key: field } = &variable.value else { continue };
        let name = format!("{secret}/{field}");
        let old = before.get(&name);
        let present = match value(store, secret, field) {
            Ok(Some(text)) => fingerprint(&key, &text),
            // One that cannot be had now has not changed.
            Ok(None) | Err(_) => {
                seen.extend(old.map(|old| (name, old.clone())));
                continue;
            }
        };
        let changed = old.is_some_and(|old| old.fingerprint != present);
        if changed {
            tracing::info!(secret, key = field, service = config.service, %now, "a secret has changed");
        }
        let changes = old.map_or(0, |old| old.changes) + u64::from(changed);
        seen.insert(name, SecretSeen { fingerprint: present, changes });
    }
    seen
}

/// Of no use without the key, so that a weak secret cannot be guessed from what is stored.
fn fingerprint(key: &str, value: &str) -> String {
    let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(value).finalize();
    digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint_key(store: &Store) -> Result<String, String> {
    own_token(store, FINGERPRINTS, "key")
}

/// The value that a manifest needs.
///
/// # Errors
/// That there is none, or why it cannot be had.
pub(crate) fn needed(store: &Store, key: &SecretKey) -> Result<String, String> {
    let found = value(store, &key.name, &key.key)?;
    found.ok_or_else(|| format!("the key {} of Secret/{} has no value", key.key, key.name))
}

/// All values of a secret, an object of its keys.
///
/// # Errors
/// That there is no such secret, or the first value that cannot be had.
pub(crate) fn all(store: &Store, secret: &str) -> Result<serde_json::Value, String> {
    let missing = || format!("there is no Secret/{secret}");
    let resource = store.get("Secret", secret).map_err(|error| error.to_string())?.ok_or_else(missing)?;
    let declared = crate::resources::declared(&resource)?;
    let spec = declared.secret().ok_or_else(missing)?;
    let mut all = serde_json::Map::new();
    for key in spec.data.keys() {
        let found = value(store, secret, key)?;
        let found = found.ok_or_else(|| format!("the key {key} of Secret/{secret} has no value"))?;
        all.insert(key.clone(), found.into());
    }
    Ok(all.into())
}

fn value(store: &Store, secret: &str, key: &str) -> Result<Option<String>, String> {
    if secret == ADAPTER_SECRET {
        return adapter_token(store, key).map(Some);
    }
    let resource = store.get("Secret", secret).map_err(|error| error.to_string())?;
    let Some(resource) = resource else { return Ok(None) };
    let declared = crate::resources::declared(&resource)?;
    let Some(source) = declared.secret().and_then(|spec| spec.data.get(key)) else { return Ok(None) };
    match &source.0 {
        SecretSource::Env(name) => Ok(std::env::var(name).ok()),
        SecretSource::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(format!("cannot read {path}: {error}")),
        },
        SecretSource::Store(_) => {
            let stored = store.get_secret(secret, key).map_err(|error| error.to_string())?;
            Ok(stored.and_then(|value| value.expose_str().map(ToOwned::to_owned)))
        }
    }
}

/// The token of an adapter, made when it is first needed: what may command its devices.
///
/// # Errors
/// When it can neither be read nor stored.
pub(crate) fn adapter_token(store: &Store, service: &str) -> Result<String, String> {
    own_token(store, ADAPTER_SECRET, service)
}

/// A random value of our own, made when it is first needed.
fn own_token(store: &Store, name: &str, key: &str) -> Result<String, String> {
    let text = |error: sos_store::StoreError| error.to_string();
    if let Some(value) = store.get_secret(name, key).map_err(text)? {
        return Ok(value.expose_str().unwrap_or_default().to_owned());
    }
    let token = sos_store::random_token().map_err(text)?;
    store.set_secret(name, key, token.expose()).map_err(text)?;
    Ok(token.expose_str().unwrap_or_default().to_owned())
}
