//! `sos apply` and `sos diff`.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::Value;

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, Table};

/// Arguments of `sos apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// File or folder with manifests
    #[arg(short = 'f', long = "filename", required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Take over what another manager owns
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// File or folder with manifests
    #[arg(short = 'f', long = "filename", required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// All manifests as one stream of documents; what is wrong with them is told with file and line before it is sent.
fn manifests(paths: &[PathBuf]) -> Result<Vec<u8>, Failure> {
    let files = sos_engine::folder::files(paths)
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    sos_model::load(&files)
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    let mut all = Vec::new();
    for (_, bytes) in files {
        all.extend_from_slice(b"---\n");
        all.extend(bytes);
        all.push(b'\n');
    }
    Ok(all)
}

/// Declares resources as manager `cli`.
pub(crate) fn apply(args: &ApplyArgs) -> Outcome {
    let body = manifests(&args.paths)?;
    let path = format!("/api/v1/apply?manager=cli&dryRun={}&force={}", args.dry_run, args.force);
    let client = args.server.client()?;
    let results = block_on(client.send(Method::POST, &path, Some(Body::Yaml(body))))?;
    let note = if args.dry_run { " (dry run)" } else { "" };
    let line = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{}/{} {}{note}\n", text("kind").to_lowercase(), text("name"), text("action"))
    };
    output::text(&results.as_array().into_iter().flatten().map(line).collect::<String>())
}

/// Shows what an apply would change; exit code 1 when something differs.
pub(crate) fn diff(args: &DiffArgs) -> Outcome {
    let body = manifests(&args.paths)?;
    let client = args.server.client()?;
    let results = block_on(client.send(Method::POST, "/api/v1/diff", Some(Body::Yaml(body))))?;
    let mut table = Table::new(&["RESOURCE", "FIELD", "BEFORE", "AFTER"]);
    let mut differs = 0;
    for one in results.as_array().into_iter().flatten() {
        let name = format!("{}/{}", one["kind"].as_str().unwrap_or(""), one["name"].as_str().unwrap_or(""));
        if one["action"] == "created" {
            differs += 1;
            table.row(vec![name, String::new(), "does not exist".into(), "created".into()]);
            continue;
        }
        for change in one["changes"].as_array().into_iter().flatten() {
            differs += 1;
            let cell =
                |key: &str| if change[key].is_null() { "-".to_owned() } else { change[key].to_string() };
            let path = change["path"].as_str().unwrap_or_default().to_owned();
            table.row(vec![name.clone(), path, cell("before"), cell("after")]);
        }
    }
    if differs == 0 {
        return Ok(());
    }
    output::answer(Format::Table, &table, &results)?;
    Err(Failure::Unsuccessful(format!("{differs} differences")))
}
