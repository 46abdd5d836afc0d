//! Keeps the registry as declared: manifests, files, secrets, replicas, and what services tell of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use sos_call::{Transport, grpc};
use sos_model::{ContractDocument, ServiceSpec};
use sos_store::EventType;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::entry::{Basis, Entry};
use super::{Calls, changes, settings};
use crate::catalogue::Catalogue;
use crate::clock::wall_now;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Changes of the store that come at once are looked at together.
const QUIET: Duration = Duration::from_millis(200);
/// Time for a service to tell what it can be asked.
const REFLECTION: Duration = Duration::from_secs(10);
/// Wait before a service is asked again that did not tell.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Failures in a row after which that is told.
const PATIENCE: u32 = 10;

/// Runs until it is aborted.
pub(super) async fn keep(calls: Calls) {
    let mut catalogue = Catalogue::new(calls.0.store.clone());
    let mut boards = calls.0.boards.clone();
    let mut reflecting = Reflecting::default();
    loop {
        catalogue = refresh(&calls, catalogue).await;
        calls.0.loaded.send_replace(true);
        reflecting.follow(&calls);
        let again = Instant::now() + LOOK;
        loop {
            let board = boards.borrow_and_update().clone();
            for entry in calls.entries().values() {
                entry.follow(&board);
            }
            tokio::select! {
                () = tokio::time::sleep_until(again) => break,
                () = catalogue.changed() => {
                    tokio::time::sleep(QUIET).await;
                    break;
                }
                changed = boards.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Makes entries anew whose basis has changed. Reads files and the store, so it blocks elsewhere.
async fn refresh(calls: &Calls, mut catalogue: Catalogue) -> Catalogue {
    let store = calls.0.store.clone();
    let calls = calls.clone();
    let done = tokio::task::spawn_blocking(move || {
        let before = calls.entries();
        let mut now = BTreeMap::new();
        for basis in wanted(&calls, &mut catalogue) {
            let name = basis.service.clone();
            let entry = match before.get(&name) {
                Some(entry) if entry.is_of(&basis) => Arc::clone(entry),
                old => make(&calls, basis, old),
            };
            now.insert(name, entry);
        }
        *calls.0.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
        catalogue
    });
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the registry of services cannot be brought up to date");
        Catalogue::new(store)
    })
}

fn make(calls: &Calls, basis: Basis, old: Option<&Arc<Entry>>) -> Arc<Entry> {
    let name = basis.service.clone();
    let entry = Arc::new(Entry::new(basis, &calls.0.options.egress, calls.0.options.seed));
    match (entry.contract(), entry.problem()) {
        (Some(contract), _) => changes::note(calls, &name, &contract),
        (None, Some(problem)) => {
            let text = problem.clone().of("", "").to_string();
            let told = old.and_then(|old| old.problem()).map(|old| old.clone().of("", "").to_string());
            // A service that has not been asked yet is no news.
            let waits =
                settings::needs_reflection(&entry.basis().contract) && entry.basis().reflected.is_none();
            if told.as_ref() != Some(&text) && !waits {
                calls.tell(&name, EventType::Warning, "ContractNotUsable", text, wall_now());
            }
        }
        (None, None) => {}
    }
    entry
}

/// The declared services that have a contract.
fn wanted(calls: &Calls, catalogue: &mut Catalogue) -> Vec<Basis> {
    let entries = match catalogue.now() {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(%error, "the declared services cannot be read");
            return calls.entries().values().map(|entry| entry.basis().clone()).collect();
        }
    };
    let understood = entries.iter().filter_map(|(name, entry)| Some((name, entry.spec.as_ref().ok()?)));
    understood.filter_map(|(name, spec)| basis(calls, name, spec)).collect()
}

fn basis(calls: &Calls, name: &str, spec: &ServiceSpec) -> Option<Basis> {
    let contract = spec.contract.clone()?;
    let (service, spec) = (name.to_owned(), spec.clone());
    let reflected = if settings::needs_reflection(&contract) { reflected(calls, &service) } else { None };
    let values = settings::secret_values(&calls.0.store, &spec.calls);
    Some(Basis { service, spec, contract, values, reflected })
}

fn key(service: &str) -> String {
    format!("reflected/{service}")
}

/// What a service told last of itself.
fn reflected(calls: &Calls, service: &str) -> Option<Vec<u8>> {
    let kept = calls.0.store.get_kv(&key(service)).ok().flatten()?;
    base64::engine::general_purpose::STANDARD.decode(kept.as_str()?).ok()
}

/// Tasks that ask services what they can be asked, by name.
#[derive(Default)]
struct Reflecting(BTreeMap<String, (Arc<Entry>, JoinHandle<()>)>);

impl Reflecting {
    fn follow(&mut self, calls: &Calls) {
        let entries = calls.entries();
        self.0.retain(|name, (entry, task)| {
            // What it told makes a new entry of the same declaration; that is no reason to ask at once again.
            let same = entries.get(name).is_some_and(|now| {
                now.basis().spec == entry.basis().spec && now.basis().values == entry.basis().values
            });
            if !same {
                task.abort();
            }
            same
        });
        for (name, entry) in entries {
            if settings::needs_reflection(&entry.basis().contract) && !self.0.contains_key(&name) {
                let task = tokio::spawn(ask_again_and_again(calls.clone(), name.clone(), Arc::clone(&entry)));
                self.0.insert(name, (entry, task));
            }
        }
    }
}

impl Drop for Reflecting {
    fn drop(&mut self) {
        for (_, task) in self.0.values() {
            task.abort();
        }
    }
}

async fn ask_again_and_again(calls: Calls, service: String, entry: Arc<Entry>) {
    let basis = entry.basis();
    let ContractDocument::Reflection(reflection) = &basis.contract.document else { return };
    let refresh = settings::duration(reflection.refresh);
    let mut failures = 0_u32;
    loop {
        let wait = match ask(&calls, &service, basis).await {
            Ok(()) => {
                failures = 0;
                refresh
            }
            Err(why) => {
                entry.note_untold(&why);
                failures = failures.saturating_add(1);
                // A service that starts is no news; one that does not tell for longer is, once.
                if failures == PATIENCE {
                    tracing::warn!(service, why, "the service does not tell what it can be asked");
                }
                ASK_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Asks once and keeps the answer; the store's change leads to a new entry.
async fn ask(calls: &Calls, service: &str, basis: &Basis) -> Result<(), String> {
    let values = basis.values.clone()?;
    let board = calls.0.boards.borrow().clone();
    let endpoints = settings::endpoints(&basis.spec, &basis.contract, service, &board);
    let endpoint = endpoints.first().ok_or("no copy of it runs")?;
    let connections = settings::connections(&basis.spec, &basis.contract, &values, &calls.0.options.egress)?;
    let transport = Transport::new(&connections).map_err(|error| error.to_string())?;
    let credentials = settings::credentials(&basis.spec.calls, &values)?;
    let headers = credentials.headers(&transport).await.map_err(|error| error.to_string())?;
    let told = grpc::Client::reflect(&transport, endpoint, &headers, REFLECTION).await;
    let bytes = told.map_err(|error| error.to_string())?.descriptor_set();
    let (calls, service) = (calls.clone(), service.to_owned());
    let kept = tokio::task::spawn_blocking(move || {
        if reflected(&calls, &service).as_ref() == Some(&bytes) {
            return Ok(());
        }
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        calls.0.store.commit(|tx| tx.put_kv(&key(&service), &json!(text))).map_err(|error| error.to_string())
    });
    kept.await.map_err(|error| error.to_string())?
}
