//! What performs the effects of runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use sos_call::{
    CallError, Egress, ErrorKind, Resolved, Settings, Speaker, Transport, Trust, Version, Wallet,
};
use sos_workflow::ErrorType;
use sos_workflow::machine::{Effect, Fault};
use sos_workflow::program::{CallKind, RunKind};
use sos_workflow::template::json;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::drive::Perform;
use super::subscriptions::{Messages, Subscribing};
use super::{asyncapi, calls, container, http, local, shell};

/// The longest that a call may take whose task says nothing else.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(300);
/// The most bytes of an answer or a document.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// So many of what is not waited for go on at once; others begin when one of them is done.
const MOST_LEFT: usize = 16;

/// What was begun and is not waited for.
#[derive(Debug)]
struct Left {
    tasks: Mutex<JoinSet<()>>,
    turns: Semaphore,
}

impl Default for Left {
    fn default() -> Self {
        Self { tasks: Mutex::default(), turns: Semaphore::new(MOST_LEFT) }
    }
}

/// Where runs may go.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Which addresses they may call.
    pub egress: Egress,
    /// Addresses of hosts that are not looked up.
    pub resolve: Vec<(String, Vec<Resolved>)>,
    /// Whose certificates are trusted.
    pub trust: Trust,
}

/// What runs may start on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Commands.
    pub shell: Option<Within>,
    /// Containers.
    pub containers: Option<Within>,
}

/// Within what commands and containers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The most memory of one, bytes.
    pub memory: u64,
    /// Whether they may use a network.
    pub network: bool,
    /// The longest that one may take.
    pub timeout: Duration,
}

impl Default for Within {
    fn default() -> Self {
        Self { memory: 512 << 20, network: false, timeout: Duration::from_secs(3600) }
    }
}

/// Performs effects. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Executor {
    pub(super) transport: Transport,
    /// For gRPC.
    pub(super) second: Transport,
    pub(super) allowed: Allowed,
    /// The folder against which relative addresses of documents are resolved.
    pub(super) base: PathBuf,
    /// How many runs stand above this one.
    pub(super) depth: u32,
    /// Tokens that live.
    pub(super) wallet: Wallet,
    /// Where OpenID providers give tokens, and since when that is known.
    pub(super) providers: Arc<Mutex<BTreeMap<String, (Instant, String)>>>,
    /// Clients of documents that were read, by their address.
    clients: Arc<Mutex<BTreeMap<String, Speaker>>>,
    /// AsyncAPI documents, and who keeps something for which subscription.
    pub(super) asyncapi: Arc<asyncapi::Known>,
    left: Arc<Left>,
}

impl Executor {
    /// An executor for documents of a folder.
    ///
    /// # Errors
    /// When certificates cannot be used.
    pub fn new(reach: &Reach, allowed: Allowed, base: PathBuf) -> Result<Self, CallError> {
        let Reach { egress, resolve, trust } = reach.clone();
        let transport = Transport::new(&Settings { egress, resolve, trust, ..Settings::default() })?;
        let second = transport.speaking(Version::Http2);
        let (wallet, providers, clients) = (Wallet::default(), Arc::default(), Arc::default());
        let (asyncapi, left) = (Arc::default(), Arc::default());
        Ok(Self { transport, second, allowed, base, depth: 0, wallet, providers, clients, asyncapi, left })
    }

    /// The client of a document, read once.
    pub(super) fn client(&self, address: &str) -> Option<Speaker> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    pub(super) fn keep(&self, address: &str, client: &Speaker) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(address.to_owned(), client.clone());
    }

    /// Performs an effect; `key` is the same whenever it is repeated.
    ///
    /// # Errors
    /// What the task fails with.
    async fn carry_out(&self, key: &str, effect: &Effect) -> Result<Value, Fault> {
        match effect {
            Effect::Call { what, with, input } => {
                let (with, input) = (json(with), json(input));
                match what {
                    CallKind::Http => http::call(self, key, &with, &input).await,
                    CallKind::OpenApi | CallKind::Grpc | CallKind::Soap => {
                        calls::call(self, key, *what, &with, &input).await
                    }
                    CallKind::Service | CallKind::Human => {
                        let what = if *what == CallKind::Human { "people" } else { "declared services" };
                        Err(unsupported(&format!("{what} are asked in `sos up` only")))
                    }
                    CallKind::AsyncApi => asyncapi::publish(self, key, &with, &input).await,
                    CallKind::A2a | CallKind::Mcp => {
                        Err(unsupported(&format!("calls of {what:?} are not made yet")))
                    }
                }
            }
            Effect::Emit(event) => Ok(json(event)),
            Effect::Run { what, with, awaits: true } => self.run(key, *what, &json(with)).await,
            Effect::Run { what, with, awaits: false } => self.leave(key, *what, json(with)),
        }
    }

    async fn run(&self, key: &str, what: RunKind, with: &Value) -> Result<Value, Fault> {
        match what {
            RunKind::Shell => shell::run(self, with).await,
            RunKind::Container => container::run(self, key, with).await,
            RunKind::Workflow => local::run(self, key, with).await,
            RunKind::Script => Err(not_run(what)),
        }
    }

    /// Begins what is not waited for, where it may. What comes of it changes nothing of its run.
    fn leave(&self, key: &str, what: RunKind, with: Value) -> Result<Value, Fault> {
        match what {
            RunKind::Shell => shell::allowed(self).map(drop)?,
            RunKind::Container => container::allowed(self).map(drop)?,
            RunKind::Workflow => local::found(&self.base, local::named(&with)).map(drop)?,
            RunKind::Script => return Err(not_run(what)),
        }
        let (executor, key) = (self.clone(), key.to_owned());
        let mut tasks = self.left.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are done are forgotten.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            // It is never closed.
            let _turn = executor.left.turns.acquire().await;
            if let Err(fault) = executor.run(&key, what, &with).await {
                let why = fault.detail.or(fault.title).unwrap_or_default();
                tracing::warn!(key, why, "what a run began and did not wait for failed");
            }
        });
        Ok(Value::Null)
    }

    /// Waits for all that runs began and did not wait for.
    pub async fn finish(&self) {
        loop {
            let mut tasks =
                std::mem::take(&mut *self.left.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return;
            }
            // They may begin others, which are waited for in the next round.
            while tasks.join_next().await.is_some() {}
        }
    }
}

impl Perform for Executor {
    fn perform(&self, key: String, effect: Effect) -> BoxFuture<'static, Result<Value, Fault>> {
        let executor = self.clone();
        async move { executor.carry_out(&key, &effect).await }.boxed()
    }

    fn subscribe(&self, subscribing: Subscribing) -> Messages {
        asyncapi::messages(self.clone(), subscribing)
    }

    fn unsubscribe(&self, key: &str) -> BoxFuture<'static, ()> {
        asyncapi::unsubscribe(self.clone(), key.to_owned()).boxed()
    }
}

fn unsupported(detail: &str) -> Fault {
    Fault::of(ErrorType::Configuration, "Not supported", detail)
}

fn not_run(what: RunKind) -> Fault {
    unsupported(&format!("{what:?} is not run yet"))
}

/// What is wrong with the arguments of a task.
pub(super) fn wrong(detail: impl Into<String>) -> Fault {
    Fault::of(ErrorType::Configuration, "Wrong arguments", detail)
}

/// A text argument.
pub(super) fn text<'a>(with: &'a Value, name: &str) -> Result<&'a str, Fault> {
    with.get(name).and_then(Value::as_str).ok_or_else(|| wrong(format!("expected text as `{name}`")))
}

/// What a call that failed means for its task.
pub(super) fn failed(error: &CallError) -> Fault {
    let kind = match error.kind {
        ErrorKind::BadInput | ErrorKind::BadDocument => ErrorType::Configuration,
        ErrorKind::NotAllowed => ErrorType::Authorization,
        ErrorKind::NoCredentials => ErrorType::Authentication,
        ErrorKind::TimedOut => ErrorType::Timeout,
        _ => ErrorType::Communication,
    };
    let mut fault = Fault::of(kind, title(error.kind), error.to_string());
    if let Some(said) = &error.fault {
        fault.status = i64::from(said.status);
    }
    fault
}

const fn title(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadInput => "Wrong arguments",
        ErrorKind::BadDocument => "The document cannot be used",
        ErrorKind::NotAllowed => "The address may not be called",
        ErrorKind::NoCredentials => "No credentials",
        ErrorKind::TimedOut => "No answer in time",
        ErrorKind::TooLarge => "The answer is too large",
        ErrorKind::BadAnswer => "The answer cannot be used",
        ErrorKind::Fault => "The service answered with an error",
        ErrorKind::Overloaded => "Too many calls",
        ErrorKind::Unreachable | ErrorKind::Broken => "The service cannot be reached",
    }
}
