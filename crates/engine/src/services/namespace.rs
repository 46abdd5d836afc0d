//! A namespace of a cluster as a place where services run, and what is kept of it so that the next start finds it again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sos_model::ServiceSpec;
use sos_runtime::DriverError;
use sos_runtime::kubernetes::{KubeconfigSource, KubernetesDriver, KubernetesOptions};

/// The file in a driver's folder that says which namespace it is about.
const FILE: &str = "namespace";

/// Which cluster, as whom, and where in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// The kubeconfig; without one the usual ones.
    pub(super) config: Option<String>,
    /// The context in it; without one its current one.
    pub(super) context: Option<String>,
    pub(super) name: String,
}

impl Namespace {
    pub(super) fn of(spec: &ServiceSpec) -> Self {
        let declared = spec.kubernetes.clone();
        let (config, context, name) = match declared {
            Some(cluster) => (cluster.config, cluster.context, cluster.namespace),
            None => (None, None, "default".to_owned()),
        };
        Self { config, context, name }
    }

    pub(super) fn source(&self) -> KubeconfigSource {
        KubeconfigSource::usual(self.config.as_ref().map(PathBuf::from), self.context.clone())
    }

    /// What makes a service that runs there another one than the same elsewhere.
    pub(super) fn shown(&self) -> String {
        let context = self.context.as_deref().unwrap_or_default();
        format!("kubernetes/{}/{context}/{}", self.config.as_deref().unwrap_or_default(), self.name)
    }

    /// Tells it from others of the data directory. Services keep theirs, so it is made of what is declared.
    fn key(&self) -> String {
        // Plain data always serialises.
        let text = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    fn options(&self, data_dir: &Path) -> KubernetesOptions {
        KubernetesOptions {
            name: Some(self.key()),
            namespace: Some(self.name.clone()),
            ..KubernetesOptions::new(data_dir, self.source())
        }
    }

    /// A driver, whose place the next start finds again.
    pub(super) fn driver(&self, data_dir: &Path) -> Result<KubernetesDriver, DriverError> {
        let options = self.options(data_dir);
        let path = options.folder().join(FILE);
        let driver = KubernetesDriver::new(options)?;
        // Plain data always serialises.
        let text = serde_json::to_string(self).unwrap_or_default();
        std::fs::write(&path, text).map_err(|source| DriverError::File { what: "write", path, source })?;
        Ok(driver)
    }

    /// Those that an earlier run has used.
    pub(super) fn left_in(run: &Path) -> Vec<Self> {
        let folders = std::fs::read_dir(run.join("kubernetes")).into_iter().flatten().flatten();
        let mut found: Vec<Self> = folders
            .filter_map(|folder| {
                let text = std::fs::read(folder.path().join(FILE)).ok()?;
                serde_json::from_slice(&text).ok()
            })
            .collect();
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_were_used_are_found_again_and_each_has_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let named = |name: &str| Namespace { name: name.into(), ..Namespace::default() };
        let all = [named("a"), Namespace { context: Some("c".into()), ..named("a") }, named("b")];
        for one in &all {
            one.driver(dir.path()).unwrap();
        }
        let mut expected = all.to_vec();
        expected.sort();
        assert_eq!(Namespace::left_in(&dir.path().join("run")), expected);
        assert_eq!(Namespace::left_in(dir.path()), []);
    }
}
