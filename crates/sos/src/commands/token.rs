//! `sos token`: who may use the server.

use serde_json::{Value, json};
use sos_model::Name;
use sos_store::Role;

use super::data_dir::{DataDir, local_entry, store_failure};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};
use crate::platform::sessions_of;

/// Access tokens, in the data directory of the server.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it, once
    Create {
        /// Whose it is, as the audit record will name them
        name: String,
        /// viewer (reads), operator (also scales, restarts, rolls back) or admin (all)
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        data: DataDir,
    },
    /// Names and roles of all tokens
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        data: DataDir,
    },
    /// Withdraw a token and the sessions on the page that were opened with it; a running server refuses them within seconds
    Revoke {
        /// Name of the token
        name: String,
        #[command(flatten)]
        data: DataDir,
    },
}

/// Runs it.
pub(crate) fn run(token: &Token) -> Outcome {
    match token {
        Token::Create { name, role, data } => create(name, *role, data),
        Token::List { output, data } => list(*output, data),
        Token::Revoke { name, data } => revoke(name, data),
    }
}

fn create(name: &str, role: Role, data: &DataDir) -> Outcome {
    if Name::new(name).is_none() {
        return Err(Failure::input(format!(
            "token name \"{name}\": expected lower-case letters, digits and \"-\", at most 63"
        )));
    }
    let store = data.open_or_create()?;
    if store.list_tokens().map_err(store_failure)?.iter().any(|(known, _)| known == name) {
        return Err(Failure::unsuccessful(format!(
            "there is a token of {name} already: choose another name, or revoke it first with `sos token revoke {name}`"
        )));
    }
    let entry =
        local_entry("token-create", format!("Token/{name}"), Some(json!({ "role": role.to_string() })));
    let made = store.commit(|tx| {
        tx.audit(&entry)?;
        tx.create_token(name, role)
    });
    let made = made.map_err(store_failure)?;
    output::note("keep it now: it is stored nowhere");
    output::text(&format!("{}\n", made.expose_str().unwrap_or_default()))
}

fn list(output: OutputArgs, data: &DataDir) -> Outcome {
    let tokens = data.open_read_only()?.list_tokens().map_err(store_failure)?;
    let mut table = Table::new(&["NAME", "ROLE"]);
    for (name, role) in &tokens {
        table.row(vec![name.clone(), role.to_string()]);
    }
    let value: Vec<Value> =
        tokens.iter().map(|(name, role)| json!({ "name": name, "role": role.to_string() })).collect();
    output::answer(output.format(), &table, &value)
}

fn revoke(name: &str, data: &DataDir) -> Outcome {
    let store = data.open()?;
    let entry = local_entry("token-revoke", format!("Token/{name}"), None);
    let all = store.list_tokens().map_err(store_failure)?;
    let sessions = sessions_of(name, &all);
    let revoked = store.commit(|tx| {
        tx.audit(&entry)?;
        for session in &sessions {
            tx.revoke_token(session)?;
        }
        Ok(tx.revoke_token(name)? || !sessions.is_empty())
    });
    if revoked.map_err(store_failure)? {
        let ended = match sessions.len() {
            0 => String::new(),
            1 => ", and a session on the page with it".to_owned(),
            n => format!(", and {n} sessions on the page with it"),
        };
        return output::text(&format!("the token of {name} is revoked{ended}\n"));
    }
    let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    Err(Failure::unsuccessful(format!("there is no token of {name}; known: {}", known.join(", "))))
}
