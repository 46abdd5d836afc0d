//! Pods as the watch last told them, and how those that are gone were last seen.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Cluster, KubernetesError, PodEvent, PodState, PodTable};

/// How many pods that are gone are remembered.
const MAX_GONE: usize = 1000;
/// How long the first answer of a watch, or one after an outage, is waited for.
const FIRST: Duration = Duration::from_secs(10);

/// The watch. It ends when this goes.
#[derive(Debug)]
pub(super) struct Cache {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    table: PodTable,
    gone: VecDeque<PodState>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    pub(super) fn start(cluster: &Cluster, namespace: &str, selector: &str) -> Result<Self, KubernetesError> {
        let seen = Arc::new(Seen::default());
        let mut events = Box::pin(cluster.watch_pods(namespace, selector)?);
        let mine = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                mine.lock().apply(event);
                mine.changed.notify_waiters();
            }
        });
        Ok(Self { seen, task })
    }

    /// All pods. After an outage, and at first, it waits a moment for them.
    ///
    /// # Errors
    /// Why they are not known now.
    pub(super) async fn pods(&self) -> Result<Vec<PodState>, KubernetesError> {
        let wait = async {
            loop {
                let changed = self.seen.changed.notified();
                {
                    let state = self.seen.lock();
                    if let Some(why) = &state.table.interrupted {
                        return Err(why.clone());
                    }
                    if state.table.known {
                        return Ok(state.table.pods.values().cloned().collect());
                    }
                }
                changed.await;
            }
        };
        let what = "list and watch pods".to_owned();
        let late = KubernetesError::TimedOut { what, seconds: FIRST.as_secs() };
        tokio::time::timeout(FIRST, wait).await.unwrap_or(Err(late))
    }

    /// The nodes that the pods are on, as far as they are known now.
    pub(super) fn nodes(&self) -> BTreeSet<String> {
        self.seen.lock().table.pods.values().filter_map(|pod| pod.node.clone()).collect()
    }

    /// How a pod that is gone was last seen.
    pub(super) fn last_seen(&self, uid: &str) -> Option<PodState> {
        self.seen.lock().gone.iter().rev().find(|gone| gone.uid == uid).cloned()
    }
}

impl State {
    fn apply(&mut self, event: PodEvent) {
        let before = match &event {
            PodEvent::All(now) => {
                let stays = |pod: &PodState| now.iter().any(|other| other.uid == pod.uid);
                self.table.pods.values().filter(|pod| !stays(pod)).cloned().collect()
            }
            PodEvent::Gone { name, uid } => {
                self.table.pods.get(name).filter(|pod| pod.uid == *uid).cloned().into_iter().collect()
            }
            // A pod of the same name, such as one that was made by hand, means that the other is gone.
            PodEvent::Changed(pod) => {
                self.table.pods.get(&pod.name).filter(|old| old.uid != pod.uid).cloned().into_iter().collect()
            }
            PodEvent::Interrupted(_) => vec![],
        };
        self.gone.extend::<Vec<_>>(before);
        let surplus = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..surplus);
        self.table.apply(event);
    }
}
