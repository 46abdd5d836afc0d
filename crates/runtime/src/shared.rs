//! What drivers on this machine have in common: their folders, and what they check before a start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::{Deployment, DriverError, EnvValue, LogSource, SecretValues};

/// Something shared, kept as what it is.
pub(crate) mod arc {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(shared: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(shared, to)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

pub(crate) fn file_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DriverError {
    move |source| DriverError::File { what, path: path.into(), source }
}

/// Makes a folder that only its owner can look into.
pub(crate) fn make_private(folder: &Path) -> Result<(), DriverError> {
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(file_error("protect", folder))
}

/// Tells a data directory, which exists, from others on the machine: 12 hexadecimal digits.
pub(crate) fn instance_of(data_dir: &Path) -> Result<String, DriverError> {
    let found = data_dir.canonicalize().map_err(file_error("find", data_dir))?;
    Ok(hex(&Sha256::digest(found.as_os_str().as_encoded_bytes())[..6]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replica ids that have a state file in a folder.
pub(crate) fn recorded(run: &Path) -> Result<BTreeSet<String>, DriverError> {
    let entries = fs::read_dir(run).map_err(file_error("list", run))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect())
}

/// All logs of a folder, by replica, listed on a thread where that disturbs nobody; `zone` is that of their times as long as
/// nothing more is known of them.
pub(crate) async fn listed_logs(
    folder: &Path,
    zone: &TimeZone,
) -> Result<BTreeMap<String, LogSource>, DriverError> {
    let folder = folder.to_owned();
    let listed = spawn_blocking(move || LogSource::in_folder(&folder).map_err(file_error("list", &folder)));
    let mut sources = listed.await.map_err(|error| DriverError::Worker(error.to_string()))??;
    sources.values_mut().for_each(|source| source.zone = zone.clone());
    Ok(sources)
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), DriverError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn check_secrets(deployment: &Deployment, secrets: &SecretValues) -> Result<(), DriverError> {
    for var in &deployment.env {
        if let EnvValue::Secret { secret, key } = &var.value
            && secrets.get(&var.name).is_none()
        {
            return Err(DriverError::SecretMissing {
                replica: deployment.replica.clone(),
                variable: var.name.clone(),
                secret: secret.clone(),
                key: key.clone(),
            });
        }
    }
    Ok(())
}

/// A missing folder would otherwise be reported as a missing program.
pub(crate) fn check_workdir(deployment: &Deployment) -> Result<(), DriverError> {
    let path = &deployment.workdir;
    let metadata = fs::metadata(path).map_err(file_error("enter working directory", path))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(file_error("enter working directory", path)(io::ErrorKind::NotADirectory.into()))
}
