//! Rules: when something happens and a condition holds, something is done.
//!
//! - `ready.rs`: what is declared of a rule, ready.
//! - `follow.rs`: one rule as it goes.
//! - `causes.rs`: what happens: events, metrics, the clock.
//! - `act.rs`: what rules do.
//! - `order.rs`: orders of rules about assets, and which goes before which.
//! - `memory.rs`: what a rule keeps: how far it has looked, and what it decided and why.

mod act;
mod causes;
mod follow;
mod memory;
mod order;
mod ready;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;
use sos_model::{Declared, Kind};
use sos_store::Store;
use tokio::task::JoinHandle;

use crate::declarations::{self, Declarations};
use crate::platform::Platform;
use crate::relock;
use crate::resources::{self, Ready as ReadyCondition};

pub use order::MANAGER;
pub use ready::check;

use memory::State;
use ready::Ready;

/// The condition of a rule.
const READY: ReadyCondition = ReadyCondition { writer: "sos/rules", reason: "Usable", message: "it looks" };

/// All rules. Cheap to clone.
#[derive(Clone)]
pub struct Rules(Arc<Inner>);

struct Inner {
    platform: Weak<Platform>,
    store: Store,
    states: Mutex<BTreeMap<String, State>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// The rules, followed until this is dropped.
#[derive(Debug)]
pub struct RunningRules {
    /// For whoever asks about them.
    pub rules: Rules,
    keeper: JoinHandle<()>,
}

impl RunningRules {
    /// Follows what is declared, on the runtime of the caller.
    #[must_use]
    pub fn start(platform: &Arc<Platform>) -> Self {
        let inner = Inner {
            platform: Arc::downgrade(platform),
            store: platform.store().clone(),
            states: Mutex::default(),
        };
        let rules = Rules(Arc::new(inner));
        Self { rules: rules.clone(), keeper: tokio::spawn(keep(rules)) }
    }
}

impl Drop for RunningRules {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Rules {
    /// What is known of a rule beside its manifest: how often it acted, and what it decided last and why.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<Value> {
        relock(&self.0.states).get(name).map(State::shown)
    }

    /// Writes whether a rule looks, or why not, into its condition.
    fn tell(&self, rule: &str, problem: Option<&str>) {
        let told = resources::put_ready(&self.0.store, Kind::Rule, rule, &READY, problem);
        if let Err(error) = told {
            tracing::warn!(%error, rule, "the condition of a rule cannot be written");
        }
    }
}

/// A rule that is followed, until it is let go.
struct Followed {
    uid: u64,
    declared: Declared,
    task: Option<JoinHandle<()>>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Runs until it is aborted.
async fn keep(rules: Rules) {
    let store = rules.0.store.clone();
    let mut declarations = Declarations::follow(&store, &[Kind::Rule]);
    let mut followed: BTreeMap<String, Followed> = BTreeMap::new();
    loop {
        match declarations::read(&store, Kind::Rule).await {
            Ok(declared) => follow_all(&rules, &mut followed, declared),
            Err(why) => tracing::error!(why, "the declared rules cannot be read"),
        }
        declarations.changed().await;
    }
}

/// Starts, restarts and ends rules so that they are as declared.
fn follow_all(rules: &Rules, followed: &mut BTreeMap<String, Followed>, declared: Vec<(u64, Declared)>) {
    followed.retain(|name, _| declared.iter().any(|(_, one)| *one.name == **name));
    relock(&rules.0.states).retain(|name, _| declared.iter().any(|(_, one)| *one.name == **name));
    for (uid, one) in declared {
        let name = one.name.to_string();
        if followed.get(&name).is_some_and(|before| before.uid == uid && before.declared == one) {
            continue;
        }
        // The one before ends first: both keep what they decide under one name.
        followed.remove(&name);
        let ready = Ready::read(&one).inspect_err(|problem| {
            tracing::error!(rule = name, problem, "the rule cannot be followed");
            rules.tell(&name, Some(problem));
        });
        let task = ready.ok().map(|ready| tokio::spawn(follow::run(rules.clone(), uid, Arc::new(ready))));
        followed.insert(name, Followed { uid, declared: one, task });
    }
}
