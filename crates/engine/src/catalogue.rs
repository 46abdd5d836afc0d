//! The declared services as typed values: each is read anew only when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sos_model::{Declared, EnvSource, Reference, ServiceSpec, references};
use sos_store::{Resource, Selector, Store, StoreError, Watched, Watcher};

/// A stored service.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) resource: Resource,
    /// Its spec, or what this version does not understand of it.
    pub(crate) spec: Result<Arc<ServiceSpec>, String>,
    /// Services whose ports it is told.
    pub(crate) told_of: BTreeSet<String>,
}

/// All declared services, by name.
pub(crate) type Entries = BTreeMap<String, Arc<Entry>>;

/// What is known of the store.
#[derive(Debug)]
pub(crate) struct Catalogue {
    store: Store,
    /// None until everything was read once.
    watcher: Option<Watcher>,
    entries: Arc<Entries>,
}

impl Catalogue {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, watcher: None, entries: Arc::default() }
    }

    /// All services as they are declared now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn now(&mut self) -> Result<Arc<Entries>, StoreError> {
        loop {
            let Some(watcher) = &mut self.watcher else {
                self.read_all()?;
                continue;
            };
            let changes = match watcher.poll()? {
                Watched::Relist(_) => {
                    self.read_all()?;
                    continue;
                }
                Watched::Changes(changes) if changes.is_empty() => return Ok(Arc::clone(&self.entries)),
                Watched::Changes(changes) => changes,
            };
            let names: BTreeSet<String> = changes
                .into_iter()
                .filter(|change| change.kind == "Service")
                .map(|change| change.name)
                .collect();
            for name in names {
                if let Err(error) = self.read(&name) {
                    // The change has been taken off the watcher: everything is read again.
                    self.watcher = None;
                    return Err(error);
                }
            }
        }
    }

    /// Resolves when something may have changed.
    pub(crate) async fn changed(&self) {
        match &self.watcher {
            Some(watcher) => watcher.changed().await,
            None => std::future::pending().await,
        }
    }

    fn read_all(&mut self) -> Result<(), StoreError> {
        let (version, resources) = self.store.snapshot("Service", &Selector::default())?;
        let old = Arc::clone(&self.entries);
        let entries = resources.into_iter().map(|resource| {
            let name = resource.name.clone();
            let entry = entry(resource, old.get(&name));
            (name, Arc::new(entry))
        });
        self.entries = Arc::new(entries.collect());
        self.watcher = Some(self.store.watch(version));
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<(), StoreError> {
        let found = self.store.get("Service", name)?;
        let entries = Arc::make_mut(&mut self.entries);
        match found {
            Some(resource) => {
                let entry = entry(resource, entries.get(name));
                entries.insert(name.to_owned(), Arc::new(entry));
            }
            None => drop(entries.remove(name)),
        }
        Ok(())
    }
}

/// A status that changed leaves the spec as it was.
fn entry(resource: Resource, old: Option<&Arc<Entry>>) -> Entry {
    let same = |old: &&Arc<Entry>| {
        old.resource.uid == resource.uid && old.resource.generation == resource.generation
    };
    if let Some(old) = old.filter(same) {
        return Entry { resource, spec: old.spec.clone(), told_of: old.told_of.clone() };
    }
    let declared = crate::resources::declared(&resource);
    let spec = declared.and_then(|declared: Declared| {
        let spec = declared.service().cloned();
        spec.map(Arc::new).ok_or_else(|| "it is stored as a Service and declares another kind".to_owned())
    });
    let told_of = spec.as_ref().map(|spec| told_of(spec)).unwrap_or_default();
    Entry { resource, spec, told_of }
}

fn told_of(spec: &ServiceSpec) -> BTreeSet<String> {
    let env = spec.env.iter().filter_map(|variable| match &variable.source {
        EnvSource::Value(value) => Some(value),
        EnvSource::ValueFrom(_) => None,
    });
    let texts = spec.command.iter().chain(&spec.args).chain(spec.config.values()).chain(env);
    let found = texts
        .filter(|text| text.contains("${service:"))
        .flat_map(|text| references(text).unwrap_or_default());
    found
        .filter_map(|reference| match reference {
            Reference::Service { service, .. } => Some(service),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(store: &Store, name: &str, word: &str) {
        let text = format!(
            "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{command: [{word}, '${{service:db:sql}}']}}\n"
        );
        let declared = sos_model::load(&[("m.yaml".to_owned(), text.into_bytes())]).unwrap();
        store.put(&crate::resources::put(&declared[0], "test", false, false)).unwrap();
    }

    #[test]
    fn only_what_changed_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        declare(&store, "a", "one");
        let mut catalogue = Catalogue::new(store.clone());
        let first = catalogue.now().unwrap();
        assert_eq!(first["a"].told_of, BTreeSet::from(["db".to_owned()]));
        declare(&store, "b", "one");
        store.put_status("Service", "a", "test", &serde_json::json!({"restartedAt": "x"})).unwrap();
        let second = catalogue.now().unwrap();
        let spec = |entries: &Entries, name: &str| Arc::clone(entries[name].spec.as_ref().unwrap());
        assert!(Arc::ptr_eq(&spec(&first, "a"), &spec(&second, "a")), "its spec is as it was");
        assert_eq!(second["a"].resource.status["restartedAt"], "x");
        declare(&store, "a", "two");
        let third = catalogue.now().unwrap();
        assert_eq!(spec(&third, "a").command[0], "two");
        assert!(Arc::ptr_eq(&second["b"], &third["b"]));
        assert!(Arc::ptr_eq(&third, &catalogue.now().unwrap()));
    }
}
