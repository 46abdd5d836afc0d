//! Declared resources of some kinds, for whoever keeps something as they are declared.

use std::time::Duration;

use sos_model::{Declared, Kind};
use sos_store::{Part, Selector, Store, StoreError, Watched, Watcher};

use crate::resources;

/// Changes of the store that come at once are looked at together.
const QUIET: Duration = Duration::from_millis(200);

/// Tells when resources of some kinds are declared anew, changed or deleted.
pub(crate) struct Declarations {
    kinds: &'static [Kind],
    watcher: Watcher,
}

impl Declarations {
    /// What changes from now on. The caller reads what there is afterwards, so that nothing is missed.
    pub(crate) fn follow(store: &Store, kinds: &'static [Kind]) -> Self {
        Self { kinds, watcher: store.watch(store.revision().unwrap_or(0)) }
    }

    /// Resolves when some of them may have changed. When it is dropped before, nothing is lost.
    pub(crate) async fn changed(&mut self) {
        loop {
            self.watcher.changed().await;
            tokio::time::sleep(QUIET).await;
            match self.watcher.poll() {
                Ok(Watched::Changes(changes)) => {
                    let ours = |kind: &str| self.kinds.iter().any(|one| one.name() == kind);
                    let declared = |part| matches!(part, Part::Spec | Part::Deleted);
                    if changes.iter().any(|change| ours(&change.kind) && declared(change.part)) {
                        return;
                    }
                }
                Ok(Watched::Relist(_)) => return,
                Err(error) => {
                    // Reading them will tell as well.
                    tracing::warn!(%error, "changes of what is declared cannot be read");
                    return;
                }
            }
        }
    }
}

/// What is declared of a kind, each with the number that tells it from an earlier one of its name; what this version does not
/// understand is left out.
///
/// # Errors
/// What the store says.
pub(crate) fn of_kind(store: &Store, kind: Kind) -> Result<Vec<(u64, Declared)>, StoreError> {
    let resources = store.list(kind.name(), &Selector::default())?;
    let read = |resource| {
        let declared = resources::declared(resource).inspect_err(|problem| {
            tracing::error!(kind = resource.kind, name = resource.name, problem, "it is not understood");
        });
        Some((resource.uid, declared.ok()?))
    };
    Ok(resources.iter().filter_map(read).collect())
}

/// [`of_kind`], beside the tasks of the runtime.
///
/// # Errors
/// What the store says.
pub(crate) async fn read(store: &Store, kind: Kind) -> Result<Vec<(u64, Declared)>, String> {
    let store = store.clone();
    let found = tokio::task::spawn_blocking(move || of_kind(&store, kind));
    found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
