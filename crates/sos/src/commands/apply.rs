//! `sos apply` and `sos diff`.

use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;
use sos_api::wire::{ApplyResult, DiffResult, FieldChange};
use sos_model::{Declared, MAX_MANIFEST_BYTES, Problem};

use super::{block_on, resource};
use crate::client::{Body, Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, Table};

/// Arguments of `sos apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Take over what another manager owns
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which manifests.
#[derive(Debug, clap::Args)]
struct Files {
    /// A manifest or a folder of them, also several times; "-" is stdin
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// Declares resources at the server: all or none.
pub(crate) fn apply(args: &ApplyArgs) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let body = args.files.read(&client).await?;
        let query = [("dryRun", args.dry_run.to_string()), ("force", args.force.to_string())];
        let results: Vec<ApplyResult> =
            client.send(Method::POST, &["apply"], &query, Body::Yaml(body)).await?;
        let mut table = Table::new(&["RESOURCE", "RESULT"]);
        let dry = if args.dry_run { " (dry run)" } else { "" };
        for one in &results {
            table.row(vec![format!("{}/{}", one.kind, one.name), format!("{}{dry}", one.action)]);
        }
        output::answer(args.output.format(), &table, &results)
    })
}

/// Shows what an apply would change; exit code 1 when that is something.
pub(crate) fn diff(args: &DiffArgs) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let body = args.files.read(&client).await?;
        let results: Vec<DiffResult> = client.send(Method::POST, &["diff"], &[], Body::Yaml(body)).await?;
        let differ = results.iter().any(|one| one.action != "unchanged");
        match args.output.format() {
            Format::Table => output::text(&results.iter().map(differences).collect::<String>())?,
            format => output::answer(format, &changes(&results), &results)?,
        }
        if differ { Err(Failure::Told) } else { Ok(()) }
    })
}

fn differences(one: &DiffResult) -> String {
    if one.action == "unchanged" {
        return String::new();
    }
    let fields = one.changes.iter().map(|change| format!("  {}\n", changed(change)));
    format!("{}/{} would be {}\n{}", one.kind, one.name, one.action, fields.collect::<String>())
}

fn changed(change: &FieldChange) -> String {
    let FieldChange { path, before, after } = change;
    match (before, after) {
        (Value::Null, after) => format!("{path}: {after} is new"),
        (before, Value::Null) => format!("{path}: {before} goes"),
        (before, after) => format!("{path}: {before} → {after}"),
    }
}

fn changes(results: &[DiffResult]) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "ACTION", "FIELD", "BEFORE", "AFTER"]);
    let shown = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    for one in results {
        for change in &one.changes {
            let (before, after) = (shown(&change.before), shown(&change.after));
            let (kind, name, action) = (one.kind.clone(), one.name.clone(), one.action.clone());
            table.row(vec![kind, name, action, change.path.clone(), before, after]);
        }
    }
    table
}

impl Files {
    /// Reads and checks the manifests here, where their places are known, and gives them as the server takes them:
    /// complete, with absolute paths.
    async fn read(&self, client: &Client) -> Result<String, Failure> {
        let stored = resource::all_declared(client).await?;
        let stored: Vec<Declared> =
            stored.iter().filter_map(|object| Declared::from_json("server", object).ok()).collect();
        let (streams, paths): (Vec<PathBuf>, Vec<PathBuf>) =
            self.paths.iter().cloned().partition(|path| path == Path::new("-"));
        let declared = match (streams.is_empty(), paths.is_empty()) {
            (true, _) => sos_engine::folder::read(&paths, &stored),
            (false, true) => standard_input(&stored)?,
            (false, false) => {
                return Err(Failure::input(
                    "\"-\" cannot be mixed with files: apply them one after the other",
                ));
            }
        };
        let declared = declared
            .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
        // JSON is YAML, and needs no quoting rules of its own.
        Ok(declared.iter().map(|one| format!("---\n{}\n", one.to_json())).collect())
    }
}

fn standard_input(stored: &[Declared]) -> Result<Result<Vec<Declared>, Vec<Problem>>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::input(format!("stdin: cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(Failure::input("stdin has more than a manifest may have: apply it in parts"));
    }
    let here = std::env::current_dir().map_err(Failure::unsuccessful)?;
    let declared = sos_engine::folder::load(&[("stdin".to_owned(), bytes)], stored);
    Ok(declared.and_then(|mut declared| {
        if declared.is_empty() {
            return Err(vec![Problem::in_file(
                "stdin",
                "there is no resource here",
                "expected YAML documents",
            )]);
        }
        declared.iter_mut().for_each(|one| sos_engine::resources::anchor(one, &here));
        Ok(declared)
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_field_by_field() {
        let change =
            |before: Value, after: Value| FieldChange { path: "spec.replicas".into(), before, after };
        let one = DiffResult {
            kind: "Service".into(),
            name: "web".into(),
            action: "configured".into(),
            changes: vec![
                change(json!(1), json!(2)),
                change(Value::Null, json!("a")),
                change(json!(1), Value::Null),
            ],
        };
        assert_eq!(
            differences(&one),
            "Service/web would be configured\n  spec.replicas: 1 → 2\n  spec.replicas: \"a\" is new\n  spec.replicas: 1 goes\n"
        );
        assert_eq!(differences(&DiffResult { action: "unchanged".into(), ..one }), "");
    }
}
