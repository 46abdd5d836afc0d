//! Calls of services: the registry of what can be asked, and one caller for each service, the same for the command line,
//! the API, rules and workflows.
//!
//! - `documents.rs`: a contract's documents, beside manifests.
//! - `settings.rs`: what a manifest says → connections, credentials, policy.
//! - `entry.rs`: one service, ready to be called.
//! - `changes.rs`: what a new contract breaks.
//! - `keeper.rs`: keeps the registry as declared.

mod changes;
pub mod documents;
mod entry;
mod keeper;
mod settings;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sos_call::policy::CircuitState;
use sos_call::{
    CallError, Contract, Egress, ErrorKind, Measures, Outcome, Request, Secret, Speak as _, TraceContext,
    search_contracts,
};
use sos_model::{ContractDocument, Declared, Problem, did_you_mean, known_list};
use sos_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::services::board::Board;
use entry::Entry;
pub(crate) use settings::{duration, random, trust};

/// How calls are started.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// What may be reached beside the addresses that services declare.
    pub egress: Egress,
    /// Seed of random choices: which replica, how long to wait.
    pub seed: u64,
}

/// All services that can be called. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    options: CallOptions,
    boards: watch::Receiver<Arc<Board>>,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// Whether what is declared was looked at.
    loaded: watch::Sender<bool>,
}

/// A service in the registry.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its name.
    pub service: String,
    /// What it can be asked; none while that is not known.
    pub contract: Option<Arc<Contract>>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Whether it runs elsewhere.
    pub external: bool,
    /// Where it is called now, without paths.
    pub endpoints: Vec<String>,
    /// Whether it is ready, where that is known.
    pub ready: Option<bool>,
    /// Whether calls are let through; none where there is no circuit.
    pub circuit: Option<CircuitState>,
    /// Energy of one call, kWh.
    pub energy_per_request_kwh: Option<f64>,
    /// Why it cannot be called.
    pub problem: Option<String>,
}

/// Something that was searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of the service.
    pub service: String,
    /// The operation; none when the service as a whole is meant.
    pub operation: Option<String>,
    /// What it does, in one line.
    pub summary: String,
}

/// A call that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Name of the operation.
    pub operation: String,
    /// Its input.
    pub input: Value,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Sent as `Idempotency-Key`.
    pub key: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// Longest time; at most the service's deadline.
    pub timeout: Option<Duration>,
}

/// The registry, kept up to date until it is dropped.
#[derive(Debug)]
pub struct RunningCalls {
    /// For whoever calls.
    pub calls: Calls,
    keeper: JoinHandle<()>,
}

/// What is wrong with the contracts of declared services, whose paths are absolute.
#[must_use]
pub fn check(declared: &[Declared]) -> Vec<Problem> {
    let wrong = |one: &Declared| {
        let contract = one.service()?.contract.as_ref()?;
        let error = contract_of(&contract.document).err()?;
        Some(one.problem("spec.contract", error.to_string(), "expected a document that can be read"))
    };
    declared.iter().filter_map(wrong).collect()
}

/// The contract that a document tells of, whose paths are absolute. Of a service that is asked by reflection nothing is
/// known here: that is no error.
///
/// # Errors
/// `BadDocument` with the place.
pub fn contract_of(document: &ContractDocument) -> Result<Option<Contract>, CallError> {
    if matches!(document, ContractDocument::Reflection(_)) {
        return Ok(None);
    }
    let documents = entry::documents(document, None)?;
    entry::speaker(document, &documents).map(|speaker| Some(speaker.contract().clone()))
}

impl RunningCalls {
    /// Reads what is declared and follows its changes, on the runtime of the caller.
    #[must_use]
    pub fn start(store: &Store, boards: watch::Receiver<Arc<Board>>, options: CallOptions) -> Self {
        let loaded = watch::Sender::new(false);
        let inner = Inner { store: store.clone(), options, boards, entries: RwLock::default(), loaded };
        let calls = Calls(Arc::new(inner));
        let keeper = tokio::spawn(keeper::keep(calls.clone()));
        Self { calls, keeper }
    }
}

impl Drop for RunningCalls {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Calls {
    fn entries(&self) -> BTreeMap<String, Arc<Entry>> {
        self.0.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn entry(&self, service: &str) -> Option<Arc<Entry>> {
        self.0.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(service).cloned()
    }

    /// All services that have a contract, by name.
    #[must_use]
    pub fn registered(&self) -> Vec<Registered> {
        let board = self.0.boards.borrow().clone();
        self.entries().iter().map(|(name, entry)| entry.registered(name, &board)).collect()
    }

    /// One service that has a contract.
    ///
    /// # Errors
    /// `BadInput` that there is none, with those that there are.
    pub fn one(&self, service: &str) -> Result<Registered, CallError> {
        let entry = self.entry(service).ok_or_else(|| self.unknown(service))?;
        Ok(entry.registered(service, &self.0.boards.borrow().clone()))
    }

    /// Services and operations in which all words are found, the best first.
    #[must_use]
    pub fn search(&self, words: &str) -> Vec<Found> {
        let contracts =
            self.entries().into_iter().filter_map(|(name, entry)| Some((name, entry.contract()?)));
        let contracts: Vec<(String, Arc<Contract>)> = contracts.collect();
        let contracts = contracts.iter().map(|(name, contract)| (name.as_str(), contract.as_ref()));
        let found = |hit: sos_call::Hit<'_>| Found {
            service: hit.service.to_owned(),
            operation: hit.operation.map(ToOwned::to_owned),
            summary: hit.summary.to_owned(),
        };
        search_contracts(contracts, words).into_iter().map(found).collect()
    }

    /// Calls a service under its policy.
    ///
    /// # Errors
    /// Every kind of [`CallError`], naming service and operation.
    pub async fn call(&self, service: &str, wanted: &Wanted) -> Result<Outcome, CallError> {
        // While the server starts, what is declared is looked at first. The sender is held here: nothing can fail.
        let mut loaded = self.0.loaded.subscribe();
        drop(loaded.wait_for(|loaded| *loaded).await);
        let told = |error: CallError| error.of(service, &wanted.operation);
        let entry = self.placed(service, wanted.timeout).await.map_err(told)?;
        let caller = entry.caller().map_err(told)?;
        let headers = entry
            .basis()
            .spec
            .calls
            .headers
            .iter()
            .chain(wanted.headers.iter().map(|(name, value)| (name, value)));
        let headers: Vec<(String, Secret)> =
            headers.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
        let request = Request {
            operation: &wanted.operation,
            input: &wanted.input,
            headers: &headers,
            key: wanted.key.as_deref(),
            trace: wanted.trace.as_ref(),
            timeout: wanted.timeout,
        };
        caller.call(&request).await
    }

    /// A service with somewhere to go. A managed one that should run may be nowhere for a moment, as when the server has just been started
    /// and looks at what runs: nothing is sent meanwhile, for as long as an attempt may take.
    async fn placed(&self, service: &str, timeout: Option<Duration>) -> Result<Arc<Entry>, CallError> {
        /// How often it is looked for.
        const LOOK: Duration = Duration::from_millis(20);
        let began = tokio::time::Instant::now();
        loop {
            let entry = self.entry(service).ok_or_else(|| self.unknown(service))?;
            let spec = &entry.basis().spec;
            let longest = duration(spec.calls.timeout).min(timeout.unwrap_or(Duration::MAX));
            let rests =
                self.0.boards.borrow().services.get(service).is_some_and(|view| view.status.replicas == 0);
            if spec.external.is_some() || entry.has_endpoint() || rests || began.elapsed() >= longest {
                return Ok(entry);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was measured of the calls of each service.
    #[must_use]
    pub fn measures(&self) -> Vec<(String, Measures)> {
        let measured = |(name, entry): (String, Arc<Entry>)| Some((name, entry.caller().ok()?.measures()));
        self.entries().into_iter().filter_map(measured).collect()
    }

    fn unknown(&self, service: &str) -> CallError {
        let entries = self.entries();
        let names = || entries.keys().map(String::as_str);
        let declared = self.0.store.get("Service", service).ok().flatten().is_some();
        let message = if declared {
            format!("service {service} has no contract; declare one in its manifest: spec.contract")
        } else {
            let hint = did_you_mean(service, names());
            format!("there is no service \"{service}\" that can be called; {hint}{}", known_list(names()))
        };
        CallError::new(ErrorKind::BadInput, "", message)
    }

    /// Told of by an event of the service.
    fn tell(
        &self,
        service: &str,
        level: sos_store::EventType,
        reason: &str,
        message: String,
        now: Timestamp,
    ) {
        let event = sos_store::Event {
            time: now,
            site_time: None,
            kind: "Service".into(),
            name: service.to_owned(),
            event_type: level,
            reason: reason.to_owned(),
            message,
        };
        if let Err(error) = self.0.store.commit(|tx| tx.record_event(&event)) {
            tracing::warn!(%error, service, "an event cannot be recorded");
        }
    }
}
