//! What is remembered of a service beside its manifest: its revisions with their configurations, its decided scale, what
//! was measured of it. It lies in the store and is written before what follows from it is done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sos_control::RolloutState;
use sos_control::scale::ScaleState;
use sos_control::vertical::{UsageCheckpoint, VerticalState};
use sos_runtime::{Limits, ServiceConfig};
use sos_store::{Store, StoreError, Tx};

use super::runtimes::Place;

/// Everything that is remembered of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Memory {
    /// Its revisions, and where the change to the newest stands.
    pub(super) rollout: RolloutState,
    /// Configurations of the revisions that may be deployed, by the hash of their description.
    pub(super) configurations: BTreeMap<String, Stored>,
    /// How often each secret that it uses has changed, with a fingerprint of its value.
    pub(super) secrets: BTreeMap<String, SecretSeen>,
    /// The port of its gateway, where a free one was taken.
    pub(super) gateway_port: Option<u16>,
    /// The number of replicas that was decided, where that is decided.
    pub(super) scale: Option<Scale>,
    /// How large its replicas are, where that is decided.
    pub(super) size: Option<Size>,
}

/// A configuration with what runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) config: ServiceConfig,
}

/// A secret as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SecretSeen {
    pub(super) fingerprint: String,
    pub(super) changes: u64,
}

/// The latest decision on the number of replicas, and what the next one needs to know of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    pub(super) replicas: u32,
    pub(super) state: ScaleState,
    /// Times from start to readiness of the latest replicas, in seconds.
    #[serde(default)]
    pub(super) start_ups: Vec<f64>,
}

/// How large replicas are, and what that is decided by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Size {
    /// What replicas used.
    pub(super) usage: UsageCheckpoint,
    pub(super) state: VerticalState,
    /// Limits that running replicas have been given.
    pub(super) in_place: Option<Limits>,
    /// Limits with which replicas are described.
    pub(super) rolled: Option<Limits>,
}

fn key(service: &str) -> String {
    format!("services/{service}")
}

impl Memory {
    /// What is stored; what cannot be read (of a newer version) is begun anew, and said so.
    pub(super) fn load(store: &Store, service: &str) -> Result<Self, StoreError> {
        let Some(value) = store.get_kv(&key(service))? else { return Ok(Self::default()) };
        Ok(serde_json::from_value(value).unwrap_or_else(|error| {
            tracing::warn!(service, %error, "what was remembered of its revisions cannot be read; it is made anew");
            Self::default()
        }))
    }

    pub(super) fn save(&self, service: &str, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        // Plain data always serialises.
        let value = serde_json::to_value(self).unwrap_or_default();
        tx.put_kv(&key(service), &value)
    }

    pub(super) fn forget(service: &str, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.delete_kv(&key(service)).map(drop)
    }

    /// Keeps the declared configuration, and drops those that no revision has any more.
    pub(super) fn keep(&mut self, hash: &str, place: &Place, config: &ServiceConfig) {
        if !self.configurations.contains_key(hash) {
            let stored = Stored { place: place.clone(), config: config.clone() };
            self.configurations.insert(hash.to_owned(), stored);
        }
        let used: BTreeSet<&str> =
            self.rollout.revisions.iter().map(|revision| revision.description_hash.as_str()).collect();
        self.configurations.retain(|known, _| known == hash || used.contains(known.as_str()));
    }

    /// The limits that were decided instead of the declared ones.
    pub(super) fn rolled_limits(&self) -> Option<Limits> {
        self.size.as_ref()?.rolled
    }

    /// Hashes of what can be deployed.
    pub(super) fn stored(&self) -> BTreeSet<String> {
        self.configurations.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_comes_back_as_it_was_and_one_that_cannot_be_read_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        let memory = Memory { gateway_port: Some(8080), ..Memory::default() };
        store.commit(|tx| memory.save("web", tx)).unwrap();
        assert_eq!(Memory::load(&store, "web").unwrap(), memory);
        store.put_kv("services/web", &serde_json::json!({"rollout": {"version": 9}})).unwrap();
        assert_eq!(Memory::load(&store, "web").unwrap(), Memory::default());
        store.commit(|tx| Memory::forget("web", tx)).unwrap();
        assert_eq!(Memory::load(&store, "web").unwrap(), Memory::default());
    }
}
