//! `sos secret`: values of the encrypted store. A value never stands among the arguments, where others could read it.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use serde_json::json;
use sos_engine::services::convert::ADAPTER_SECRET;
use sos_model::Name;

use super::data_dir::{DataDir, local_entry, store_failure};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// More is no secret value, in bytes.
const MOST: u64 = 1 << 20;

/// Secret values.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Secret {
    /// Store a value that a Secret declares with `store: true`; it is read from stdin
    Set {
        /// Name of the Secret
        name: String,
        /// Key within it
        key: String,
        /// Read the value from this file instead of stdin
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        data: DataDir,
    },
}

/// Runs it.
pub(crate) fn run(secret: &Secret) -> Outcome {
    let Secret::Set { name, key, from_file, data } = secret;
    if Name::new(name).is_none() {
        return Err(Failure::input(format!(
            "secret name \"{name}\": expected lower-case letters, digits and \"-\", at most 63"
        )));
    }
    if name == ADAPTER_SECRET {
        return Err(Failure::input(format!(
            "secret name \"{name}\" is kept for the tokens of adapters: expected another"
        )));
    }
    if key.is_empty() || key.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::input("the key of a secret is empty or has spaces: expected such as password"));
    }
    let value = value(from_file.as_ref())?;
    let store = data.open_or_create()?;
    let entry = local_entry("secret-set", format!("Secret/{name}"), Some(json!({ "key": key })));
    let set = store.commit(|tx| {
        tx.audit(&entry)?;
        tx.set_secret(name, key, &value)
    });
    set.map_err(store_failure)?;
    output::text(&format!("Secret/{name} key {key} is set\n"))
}

/// The value without its last line ends, as a value from a file is used too.
fn value(from_file: Option<&PathBuf>) -> Result<Vec<u8>, Failure> {
    let (input, from): (Box<dyn Read>, String) = match from_file {
        Some(path) => {
            let shown = path.display().to_string();
            let file = std::fs::File::open(path)
                .map_err(|error| Failure::input(format!("{shown}: cannot be read: {error}")))?;
            (Box::new(file), shown)
        }
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                output::note("type the value (it is shown), then Ctrl-D on a line of its own");
            }
            (Box::new(stdin), "stdin".to_owned())
        }
    };
    let mut bytes = Vec::new();
    let read = input.take(MOST + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::input(format!("{from}: cannot be read: {error}")))?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::input(format!("{from} has more than 1 MiB: expected a secret value")));
    }
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    bytes.truncate(end);
    if bytes.is_empty() {
        return Err(Failure::input(format!("{from} is empty: expected the secret value")));
    }
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Failure::input(format!("{from} is no text: expected UTF-8, as variables need it")));
    }
    Ok(bytes)
}
