//! Following the pods of a namespace.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::cluster::{Cluster, MAX_OBJECTS};
use super::error::KubernetesError;
use super::names::check_namespace;
use super::pods::PodState;

/// How long one question of a watch stands, seconds; then it is asked again from where it was. Below the time that a
/// connection may be silent, so that one which has died is noticed.
const WATCH_SECONDS: u32 = 60;

/// What happened to the pods that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// These are all there are; sent first, and again whenever events may have been missed.
    All(Vec<PodState>),
    /// One is new or has changed.
    Changed(Box<PodState>),
    /// One is gone.
    Gone {
        /// Its name.
        name: String,
        /// Its id: another pod may have its name by now.
        uid: String,
    },
    /// There was no answer; it goes on by itself, later each time up to 30 s. What was known may be old until then.
    Interrupted(KubernetesError),
}

/// The pods that are watched, by name, as they were told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTable {
    /// The pods.
    pub pods: BTreeMap<String, PodState>,
    /// Why they may be old, while they may; also before the first answer, then without pods.
    pub interrupted: Option<KubernetesError>,
    /// Whether they have been told at least once.
    pub known: bool,
}

impl PodTable {
    /// Takes over what happened.
    pub fn apply(&mut self, event: PodEvent) {
        match event {
            PodEvent::All(pods) => {
                self.pods = pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
                self.known = true;
            }
            PodEvent::Changed(pod) => {
                self.pods.insert(pod.name.clone(), *pod);
            }
            PodEvent::Gone { name, uid } => {
                if self.pods.get(&name).is_some_and(|pod| pod.uid == uid) {
                    self.pods.remove(&name);
                }
            }
            PodEvent::Interrupted(error) => {
                self.interrupted = Some(error);
                return;
            }
        }
        self.interrupted = None;
    }
}

impl Cluster {
    /// Follows the pods of a namespace that a selector of labels takes (`app=shop`, all for an empty one), until it is dropped.
    ///
    /// # Errors
    /// When the namespace cannot be one. All else is told in the stream.
    pub fn watch_pods(
        &self,
        namespace: &str,
        selector: &str,
    ) -> Result<impl Stream<Item = PodEvent> + Send + use<>, KubernetesError> {
        check_namespace(namespace)?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let config = if selector.is_empty() { config } else { config.labels(selector) };
        let cluster = self.clone();
        let mut first = vec![];
        let events = watcher(api, config).default_backoff().filter_map(move |event| {
            let told = cluster.told(event, &mut first);
            async move { told }
        });
        Ok(events)
    }

    /// The event in our words; those of a list are kept in `first` until it is whole.
    fn told(
        &self,
        event: Result<watcher::Event<Pod>, watcher::Error>,
        first: &mut Vec<PodState>,
    ) -> Option<PodEvent> {
        match event {
            Ok(watcher::Event::Init) => {
                first.clear();
                None
            }
            Ok(watcher::Event::InitApply(pod)) => {
                if first.len() <= MAX_OBJECTS {
                    first.push(PodState::read(&pod));
                }
                None
            }
            Ok(watcher::Event::InitDone) if first.len() > MAX_OBJECTS => {
                first.clear();
                let what = "pods to watch".to_owned();
                Some(PodEvent::Interrupted(KubernetesError::TooMany { what, limit: MAX_OBJECTS }))
            }
            Ok(watcher::Event::InitDone) => Some(PodEvent::All(std::mem::take(first))),
            Ok(watcher::Event::Apply(pod)) => Some(PodEvent::Changed(Box::new(PodState::read(&pod)))),
            Ok(watcher::Event::Delete(pod)) => {
                let name = pod.metadata.name.unwrap_or_default();
                Some(PodEvent::Gone { name, uid: pod.metadata.uid.unwrap_or_default() })
            }
            Err(error) => self.watch_error(error).map(PodEvent::Interrupted),
        }
    }

    /// A list that has expired is only made again, which is told by itself.
    fn watch_error(&self, error: watcher::Error) -> Option<KubernetesError> {
        let inner = match error {
            watcher::Error::InitialListFailed(inner)
            | watcher::Error::WatchStartFailed(inner)
            | watcher::Error::WatchFailed(inner) => inner,
            watcher::Error::WatchError(status) => kube::Error::Api(status),
            watcher::Error::NoResourceVersion => {
                return Some(KubernetesError::Answer {
                    what: "watch pods".into(),
                    why: "it has no version".into(),
                });
            }
        };
        match inner {
            kube::Error::Api(status) if status.code == 410 => None,
            kube::Error::SerdeError(error) => Some(KubernetesError::Answer {
                what: "watch pods".into(),
                why: format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column()),
            }),
            other => Some(self.failed(&other, "watch pods")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> PodState {
        let mut state = PodState::read(&Pod::default());
        (state.name, state.uid) = (name.into(), uid.into());
        state
    }

    #[test]
    fn the_table_is_what_was_told_last_and_a_pod_of_the_same_name_is_not_mistaken() {
        let mut table = PodTable::default();
        table.apply(PodEvent::Changed(Box::new(pod("old", "0"))));
        table.apply(PodEvent::All(vec![pod("a", "1"), pod("b", "2")]));
        assert!(table.known && table.pods.len() == 2 && !table.pods.contains_key("old"));
        table.apply(PodEvent::Changed(Box::new(pod("a", "3"))));
        table.apply(PodEvent::Gone { name: "a".into(), uid: "1".into() });
        assert_eq!(table.pods["a"].uid, "3", "the pod that is gone was the one before");
        let error = KubernetesError::Missing("x".into());
        table.apply(PodEvent::Interrupted(error.clone()));
        assert_eq!(
            (table.interrupted.as_ref(), table.pods.len()),
            (Some(&error), 2),
            "what was known is kept"
        );
        table.apply(PodEvent::Gone { name: "a".into(), uid: "3".into() });
        assert_eq!((table.interrupted, table.pods.len()), (None, 1));
    }
}
