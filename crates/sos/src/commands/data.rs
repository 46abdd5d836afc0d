//! Commands on a data directory: `audit verify`, `backup`, `restore`, `secret`, `token`. They need no server.

use std::io::Read;
use std::path::{Path, PathBuf};

use sos_store::{Options, Role, Store, StoreError};

use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, Table};

/// The data directory.
#[derive(Debug, clap::Args)]
pub(crate) struct DataDir {
    /// The data directory of `sos up`
    #[arg(long, default_value = ".sos", value_name = "DIR")]
    data_dir: PathBuf,
}

/// What can be done with the audit record.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// Check that no entry was changed, removed or reordered
    Verify(DataDir),
}

/// Arguments of `sos backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// File to write; it must not exist
    file: PathBuf,
    #[command(flatten)]
    dir: DataDir,
}

/// Arguments of `sos restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// A file that `sos backup` wrote
    file: PathBuf,
    #[command(flatten)]
    dir: DataDir,
    /// Replace a data directory that is not empty; the old one is kept beside it
    #[arg(long)]
    force: bool,
}

/// Values in the encrypted store.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Secret {
    /// Set a value, read from stdin or a file
    Set {
        /// Name of the Secret
        name: String,
        /// Key in its data
        key: String,
        /// File to read the value from instead of stdin
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        dir: DataDir,
    },
    /// Names and keys, without values
    List(DataDir),
}

/// Access tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Create a token, or replace the one of that name; it is printed once
    Create {
        /// Who it is for
        name: String,
        /// viewer, operator or admin
        #[arg(long, value_parser = role)]
        role: Role,
        #[command(flatten)]
        dir: DataDir,
    },
    /// Names and roles
    List(DataDir),
    /// Withdraw a token
    Revoke {
        /// Who it was for
        name: String,
        #[command(flatten)]
        dir: DataDir,
    },
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_| format!("unknown role \"{text}\"; known: viewer, operator, admin"))
}

fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Io { .. } => Failure::input(error.to_string()),
        error => Failure::unsuccessful(error),
    }
}

fn existing(dir: &DataDir) -> Result<&Path, Failure> {
    let dir = dir.data_dir.as_path();
    if dir.join("sos.db").is_file() {
        return Ok(dir);
    }
    Err(Failure::input(format!(
        "{} is no data directory; name the one of `sos up` with --data-dir",
        dir.display()
    )))
}

fn open(dir: &DataDir) -> Result<Store, Failure> {
    Store::open(existing(dir)?, Options::default()).map_err(failure)
}

/// Runs `sos audit …`.
pub(crate) fn audit(audit: &Audit) -> Outcome {
    let Audit::Verify(dir) = audit;
    match sos_store::verify_audit(existing(dir)?) {
        Ok(summary) => {
            output::text(&format!("{} entries, last hash {}\n", summary.entries, summary.last_hash))
        }
        Err(error) => Err(Failure::unsuccessful(error)),
    }
}

/// Runs `sos backup`.
pub(crate) fn backup(args: &BackupArgs) -> Outcome {
    let store = Store::open_read_only(existing(&args.dir)?).map_err(failure)?;
    let summary = store.backup(&args.file).map_err(failure)?;
    let file = args.file.display();
    output::text(&format!("{file}: {} bytes, {} audit entries\n", summary.bytes, summary.audit.entries))
}

/// Runs `sos restore`.
pub(crate) fn restore(args: &RestoreArgs) -> Outcome {
    let summary = sos_store::restore(&args.file, &args.dir.data_dir, args.force).map_err(failure)?;
    let dir = args.dir.data_dir.display();
    let kept =
        summary.replaced.map(|old| format!("; the former one is {}", old.display())).unwrap_or_default();
    output::text(&format!("{dir} restored with {} audit entries{kept}\n", summary.audit.entries))
}

/// Runs `sos secret …`.
pub(crate) fn secret(secret: &Secret) -> Outcome {
    match secret {
        Secret::Set { name, key, from_file, dir } => {
            let value = value(from_file.as_deref())?;
            open(dir)?.set_secret(name, key, &value).map_err(failure)
        }
        Secret::List(dir) => {
            let mut table = Table::new(&["NAME", "KEY"]);
            for (name, key) in open(dir)?.list_secrets().map_err(failure)? {
                table.row(vec![name, key]);
            }
            output::answer(Format::Table, &table, &serde_json::Value::Null)
        }
    }
}

/// A value never stands on the command line, where everybody could read it.
fn value(from_file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    match from_file {
        Some(path) => {
            value = std::fs::read(path).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?
        }
        None => {
            std::io::stdin().read_to_end(&mut value).map_err(|e| Failure::input(format!("stdin: {e}")))?;
        }
    }
    while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        value.pop();
    }
    if value.is_empty() { Err(Failure::input("the value is empty")) } else { Ok(value) }
}

/// Runs `sos token …`.
pub(crate) fn token(token: &Token) -> Outcome {
    match token {
        Token::Create { name, role, dir } => {
            let token = open(dir)?.create_token(name, *role).map_err(failure)?;
            output::text(&format!("{}\n", token.expose_str().unwrap_or_default()))
        }
        Token::List(dir) => {
            let mut table = Table::new(&["NAME", "ROLE"]);
            for (name, role) in open(dir)?.list_tokens().map_err(failure)? {
                table.row(vec![name, role.to_string()]);
            }
            output::answer(Format::Table, &table, &serde_json::Value::Null)
        }
        Token::Revoke { name, dir } => match open(dir)?.revoke_token(name).map_err(failure)? {
            true => Ok(()),
            false => Err(Failure::unsuccessful(format!("there is no token {name}"))),
        },
    }
}
